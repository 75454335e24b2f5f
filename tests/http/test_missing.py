"""The page "Why is my data missing?" about customers who were taken back, erased or joined."""

import pytest

from tests.harness import Server
from tests.http.test_inspector import Inspector, push, said


@pytest.fixture(scope="module")
def inspector(server: Server) -> Inspector:
    """Someone who is signed in. Each test has its own customers."""
    return Inspector(server)


def answer(inspector: Inspector, text: str) -> str:
    """Return what the checklist tells of an id."""
    return said(inspector.post("/missing", id=text)).partition(f"The answer for {text} ")[2]


def join(inspector: Inspector, customer_id: str, into: str) -> None:
    """Declare a customer to be another one."""
    form = {"customer_id": customer_id, "into": into}
    assert inspector.post("/customer/join", action="join", **form).status_code == 303


@pytest.fixture(scope="module")
def gone(server: Server, inspector: Inspector) -> str:
    """A customer of whom everything was taken back."""
    merge_id = push(server, "gone-42", display_name="Gone")
    assert inspector.post("/merge", merge_id=merge_id, action="undo").status_code == 303
    return "gone-42"


def test_search_finds_a_customer_of_whom_all_was_taken_back(inspector: Inspector, gone: str):
    found = inspector.post("/search", q=gone)

    assert found.headers.get("location") == f"/admin/customer?customer_id={gone}"
    assert "Nobody finds this customer" in inspector.text(f"/customer?customer_id={gone}")
    assert "Nothing is held by this." in said(inspector.post("/search", q="gone-43"))


def test_the_checklist_tells_that_all_was_taken_back_and_leads_to_the_customer(inspector: Inspector, gone: str):
    page = inspector.post("/missing", id=gone)

    assert f"The answer for {gone} Everything that was merged into this customer was taken back" in said(page)
    assert f'href="/admin/customer?customer_id={gone}"' in page.text
    assert "Something arrived" in said(page)
    assert "No field of this id is on record." not in said(page)


def test_the_checklist_tells_that_a_customer_was_erased_and_when(server: Server, inspector: Inspector):
    push(server, "erased-1", display_name="Ed")
    inspector.post("/customer/erase", customer_id="erased-1", action="erase", typed="erased-1")
    server.authenticate({"customer_id": "erased-1", "visitor_id": "later"})
    customer_hash, erased_at = (
        server.get("/api/v1/admin/erasures").json()["items"][0][name] for name in ("customer_hash", "erased_at")
    )

    told = answer(inspector, "erased-1")
    server.post(f"/api/v1/admin/erasures/{customer_hash}/lift", {})
    lifted = answer(inspector, "erased-1")

    assert told.startswith(f"This customer was erased at {erased_at[:19].replace('T', ' ')}; since then")
    assert "Nothing with this id ever arrived" not in told
    assert "It is on record." not in told
    assert "erased at" not in lifted


def test_a_phone_that_was_skipped_since_the_join_is_listed_for_the_joined_id(server: Server, inspector: Inspector):
    push(server, "joined-1", display_email="jo@old.example")
    push(server, "joined-2", display_name="Jo")
    join(inspector, "joined-1", "joined-2")
    server.authenticate({"customer_id": "joined-1", "visitor_id": "of-joined-1", "phone": "0912345678"})

    told = answer(inspector, "joined-1")

    assert told.startswith("Some values could not be held and were skipped: display_mobile.")
    assert "Customer joined-2" in told
    assert "0912345678" in told.partition("Fields that were not taken")[2]


def test_a_phone_that_was_skipped_before_the_join_is_still_listed_for_the_joined_id(
    server: Server, inspector: Inspector
):
    push(server, "joined-3", phone="0912345679")
    push(server, "joined-4", display_name="Jo")
    join(inspector, "joined-3", "joined-4")

    assert "0912345679" in answer(inspector, "joined-3").partition("Fields that were not taken")[2]


def test_a_refused_event_is_listed_for_every_one_of_the_joined_ids(server: Server, inspector: Inspector):
    push(server, "joined-5", display_name="Jo")
    push(server, "joined-6", display_name="Jo")
    join(inspector, "joined-5", "joined-6")
    server.events({"type": "page_view", "visitor_id": "of-joined-5", "customer_id": "joined-5", "props": {}})

    told = [answer(inspector, asked) for asked in ("joined-5", "joined-6")]

    assert [each.startswith("An event that names it was refused as invalid_event") for each in told] == [True, True]
