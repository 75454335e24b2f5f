"""The inspector's forms after a try that failed: what was typed is still there, and nothing else is asked for."""

from collections.abc import Iterator
from html.parser import HTMLParser

import httpx
import pytest

from tests.harness import Server, Urls, fresh_store
from tests.http.test_inspector import Inspector, said

WRONG_URL = 'ftp://crm.example/"a"'
TOO_LONG = "she said so\r\n" * 40
"""A reason that cannot be kept: a browser counts the end of a line as one character, and sends two."""


class Filled(HTMLParser):
    """What a browser would send of each form of a page that was left as it came: a box that is not ticked is nothing,
    and a button is what could be pressed.
    """

    def __init__(self, page: httpx.Response) -> None:
        super().__init__()
        self.forms: list[dict[str, str]] = []
        self.buttons: list[list[str]] = []
        self._text = ""
        self.feed(page.text.partition("<main")[2].partition("</main>")[0])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Read a field."""
        held = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append({})
            self.buttons.append([])
        elif tag == "input" and (held.get("type") != "checkbox" or "checked" in held):
            self.forms[-1][held["name"]] = held.get("value", "on" if held.get("type") == "checkbox" else "")
        elif tag == "textarea":
            self._text = held["name"]
            self.forms[-1][self._text] = ""
        elif tag == "button" and "name" in held:
            self.buttons[-1].append(held["value"])

    def handle_data(self, data: str) -> None:
        """Read the text of a large field."""
        if self._text:
            self.forms[-1][self._text] += data

    def handle_endtag(self, tag: str) -> None:
        """End a large field."""
        if tag == "textarea":
            self._text = ""


def form_of(page: httpx.Response, **named: str) -> dict[str, str]:
    """Return what the one form with these values would send."""
    found = [form for form in Filled(page).forms if named.items() <= form.items()]
    assert len(found) == 1, found
    return {name: value for name, value in found[0].items() if name != "token"}


@pytest.fixture(scope="module")
def server(urls: Urls) -> Iterator[Server]:
    """A service with customers, whose webhooks may go to this machine."""
    environ = {"IDENTITY_WEBHOOK_ALLOW_PRIVATE": "on"}
    with fresh_store(urls.database) as url, Server(url, urls.redis, environ=environ) as running:
        for customer_id in ("una-1", "una-2", "una-3"):
            running.authenticate({"customer_id": customer_id, "visitor_id": f"of-{customer_id}", "display_name": "Una"})
        yield running


@pytest.fixture(scope="module")
def person(server: Server) -> Inspector:
    """Someone who is signed in."""
    return Inspector(server)


def test_a_new_webhook_is_asked_for_again_with_the_types_that_were_ticked(server: Server, person: Inspector):
    typed = {"url": WRONG_URL, "description": "<b>CRM", "type:created": "on", "from_beginning": "on"}

    failed = person.post("/webhooks", **typed)
    again = form_of(failed, url=WRONG_URL)
    person.post("/webhooks", **{**again, "url": f"{server.url}/livez"})

    assert failed.status_code == 422
    assert again == typed
    assert [hook["types"] for hook in server.get("/api/v1/admin/webhooks").json()["items"]] == [["created"]]
    assert "checked" not in person.get("/webhooks").text


def test_a_change_of_a_webhook_keeps_what_was_typed_and_ticked(server: Server, person: Inspector):
    of_all = {"url": f"{server.url}/livez", "description": "Mail", "types": ["created", "updated"]}
    webhook_id = server.post("/api/v1/admin/webhooks", of_all).json()["webhook_id"]
    change = {"webhook_id": webhook_id, "action": "change"}
    typed = {**change, "url": WRONG_URL, "description": "", "type:erased": "on"}

    failed = person.post("/webhook", **typed)
    other = person.post("/webhook", webhook_id=webhook_id, action="delete", url=WRONG_URL)

    held = {**change, "url": of_all["url"], "description": "Mail", "type:created": "on", "type:updated": "on"}
    assert (failed.status_code, other.status_code) == (422, 422)
    assert form_of(failed, action="change") == typed
    assert form_of(other, action="change") == held
    assert form_of(person.get(f"/webhook?webhook_id={webhook_id}"), action="change") == held


@pytest.mark.parametrize("typed", [{"name": '"CRM"'}, {"name": "", "scope:profiles:read": "on", "scope:admin": "on"}])
def test_a_new_key_keeps_its_name_and_its_scopes(person: Inspector, typed: dict[str, str]):
    failed = person.post("/keys", action="create", **typed)
    other = person.post("/keys", action="revoke", **typed)

    assert (failed.status_code, other.status_code) == (422, 422)
    assert form_of(failed, action="create") == {"action": "create", **typed}
    assert form_of(other, action="create") == {"action": "create", "name": ""}


@pytest.mark.parametrize(("field", "reason"), [("shoe size", "passport seen"), ("gender", "passport\x07 seen")])
def test_the_lock_card_keeps_the_field_and_the_reason(person: Inspector, field: str, reason: str):
    typed = {"customer_id": "una-1", "action": "lock", "field": field, "reason": reason}

    failed = person.post("/customer", **typed)
    unlocking = person.post("/customer", **{**typed, "action": "unlock"})

    assert (failed.status_code, unlocking.status_code) == (422, 422)
    assert form_of(failed, action="lock", field=field) == typed
    assert form_of(unlocking, action="lock", field="")["reason"] == ""


def test_a_join_for_a_reason_that_cannot_be_kept_stays_on_the_page_with_its_comparison(
    server: Server, person: Inspector
):
    pair = {"customer_id": "una-1", "into": "una-2"}

    failed = person.post("/customer/join", action="join", reason=TOO_LONG, **pair)
    untouched = server.get("/api/v1/customers/una-1").json()["customer_id"]
    person.post("/customer/join", action="join", **pair)
    failed_apart = person.post("/customer/join", action="take_apart", customer_id="una-1", reason=TOO_LONG)
    still = server.get("/api/v1/customers/una-1").json()["customer_id"]
    person.post("/customer/join", action="take_apart", customer_id="una-1")

    assert (failed.status_code, failed_apart.status_code) == (422, 422)
    assert (untouched, still) == ("una-1", "una-2")
    assert form_of(failed) == {**pair, "reason": TOO_LONG}
    assert form_of(failed_apart) == {"customer_id": "una-1", "reason": TOO_LONG}
    assert "display_name Una Una Una" in said(failed)
    assert "display_name Una Una Una" in said(failed_apart)
    assert Filled(failed).buttons == [["join", "swap"]]
    assert Filled(failed_apart).buttons == [["take_apart"]]


def test_a_join_that_cannot_be_keeps_its_reason_and_asks_for_a_comparison_first(person: Inspector):
    person.post("/customer/join", action="join", customer_id="una-2", into="una-3")
    pair = {"customer_id": "una-3", "into": "una-1"}

    failed = person.post("/customer/join", action="join", reason="she said so", **pair)
    swapped = person.post("/customer/join", action="swap", **form_of(failed))
    person.post("/customer/join", action="take_apart", customer_id="una-2")
    again = person.post("/customer/join", action="preview", **form_of(failed))

    assert (failed.status_code, swapped.status_code) == (409, 200)
    assert form_of(failed) == {**pair, "reason": "she said so"}
    assert Filled(failed).buttons == [["preview", "swap"]]
    assert "una-1 becomes part of una-3" in said(swapped)
    assert form_of(again) == form_of(failed)
    assert Filled(again).buttons == [["join", "swap"]]
