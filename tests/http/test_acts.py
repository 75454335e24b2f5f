"""Undo, locks, joins and suggestions over HTTP, on a running service."""

import time
from typing import Any

import httpx
import psycopg
import pytest

from profiles.clock import read_time, to_text
from tests.harness import CHANNEL_ID, Server
from tests.http.test_admin import MERGES, bearer, new_key, problem

ADMIN = "/api/v1/admin"
CUSTOMERS = "/api/v1/customers"


def identify(server: Server, customer_id: str, **fields: object) -> None:
    assert (
        server.authenticate({"visitor_id": f"v-{customer_id}", "customer_id": customer_id, **fields}).status_code == 200
    )


def newest(server: Server, customer_id: str) -> dict[str, Any]:
    merge: dict[str, Any] = server.get(MERGES, params={"customer_id": customer_id}).json()["items"][0]
    return merge


def fields_of(server: Server, customer_id: str) -> dict[str, Any]:
    fields: dict[str, Any] = server.get(f"{CUSTOMERS}/{customer_id}").json()["fields"]
    return fields


def changed(view: dict[str, Any]) -> list[tuple[str, str, object, object]]:
    return [(d["field"], d["verdict"], d["old"], d["new"]) for d in view["merge"]["decisions"]]


def test_a_dry_run_that_stands_in_the_address_is_refused_instead_of_done(server: Server):
    identify(server, "u-dry", name="Ana")
    merge = newest(server, "u-dry")
    asked = (f"{MERGES}/{merge['merge_id']}/undo", f"{ADMIN}/customers/u-dry/join", f"{ADMIN}/undo")

    answers = [server.post(f"{path}?dry_run=true", {"reason": "to see"}) for path in asked]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(400, "unknown_parameter")] * 3
    assert fields_of(server, "u-dry") == {"display_name": "Ana"}


def test_an_undo_is_shown_first_then_done_and_can_be_undone(server: Server):
    identify(server, "u-1", name="Ana", gender="other")
    identify(server, "u-1", name="Zoe")
    wrong = newest(server, "u-1")
    path = f"{MERGES}/{wrong['merge_id']}/undo"

    preview = server.post(path, {"dry_run": True}).json()
    untouched = fields_of(server, "u-1")
    done = server.post(path, {"reason": "a shared tablet"}).json()
    again = server.post(path, {}).json()
    after = fields_of(server, "u-1")
    restored = server.post(f"{MERGES}/{done['merge']['merge_id']}/undo", {}).json()

    assert untouched == {"display_name": "Zoe", "gender": "other"}
    assert changed(preview) == changed(done) == [("display_name", "overwrote", "Zoe", "Ana")]
    assert (preview["applied"], done["applied"], again["applied"], again["merge"]) == (False, True, False, None)
    assert (done["merge"]["actor"][:4], done["merge"]["reason"]) == ("key:", "a shared tablet")
    assert after == {"display_name": "Ana", "gender": "other"}
    assert restored["applied"]
    assert fields_of(server, "u-1") == untouched
    listed = {
        merge["merge_id"]: merge["undone_by"]
        for merge in server.get(MERGES, params={"customer_id": "u-1"}).json()["items"]
    }
    assert listed[wrong["merge_id"]] is None
    assert listed[done["merge"]["merge_id"]] == restored["merge"]["merge_id"]


def test_an_identification_is_undone_with_its_visitor_named(server: Server):
    identify(server, "u-2")
    server.authenticate({"visitor_id": "v-u-2", "customer_id": "u-3"})
    said = server.get("/api/v1/visitors/v-u-2").json()["identifications"][0]
    path = f"{ADMIN}/identifications/{said['identification_id']}/undo"

    unnamed = server.post(path, {})
    preview = server.post(path, {"visitor_id": "v-u-2", "dry_run": True}).json()
    done = server.post(path, {"visitor_id": "v-u-2"}).json()

    assert problem(unnamed) == (422, "missing_visitor_id")
    assert (preview["customer_before"], preview["customer_after"], preview["applied"]) == ("u-3", "u-2", False)
    assert done["applied"]
    assert [stretch["customer_id"] for stretch in done["stretches_after"]] == ["u-2"]
    assert server.get("/api/v1/visitors/v-u-2").json()["customer_id"] == "u-2"
    assert [v["visitor_id"] for v in server.get(f"{CUSTOMERS}/u-3").json()["visitors"]] == []


def test_what_a_channel_wrote_in_a_stretch_of_time_is_taken_back_while_one_looks_on(server: Server):
    start = newest_time(server)
    for number in range(5):
        identify(server, f"b-{number}", name="Eve")
    wanted = {"channel_id": CHANNEL_ID, "from": start}

    preview = server.post(f"{ADMIN}/undo", {"filter": wanted, "dry_run": True}).json()
    operation = server.post(f"{ADMIN}/undo", {"filter": wanted, "reason": "stolen key"}).json()
    done = wait_for(server, operation["operation_id"])

    assert preview["counts"]["merges"] == 5
    assert [view["customer_id"] for view in preview["customers"]] == [f"b-{number}" for number in range(5)]
    assert (operation["status"], operation["kind"], operation["reason"]) == ("running", "undo", "stolen key")
    assert (done["progress"]["merges"], done["progress"]["identifications"]) == (5, 5)
    assert [problem(server.get(f"{CUSTOMERS}/b-{number}")) for number in range(5)] == [(404, "customer_not_found")] * 5
    assert operation["operation_id"] in {o["operation_id"] for o in server.get(f"{ADMIN}/operations").json()["items"]}


def newest_time(server: Server) -> str:
    """Return a time behind everything that was received so far."""
    identify(server, "clock", name=str(time.monotonic_ns()))
    time.sleep(0.01)
    moment = read_time(newest(server, "clock")["received_at"])
    assert moment is not None
    return to_text(moment + 1)


def wait_for(server: Server, operation_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found: dict[str, Any] = server.get(f"{ADMIN}/operations/{operation_id}").json()
        if found["status"] != "running":
            return found
        time.sleep(0.1)
    raise AssertionError("it was not done in time")


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ({"filter": {}}, (422, "invalid_filter")),
        ({"filter": {"channel_id": CHANNEL_ID}}, (422, "invalid_filter")),
        ({"filter": {"from": "2026-01-01T00:00:00Z"}}, (422, "invalid_filter")),
        ({"filter": {"channel_id": "x", "from": "2026-01-01T00:00:00Z"}}, (422, "invalid_filter")),
        ({"filter": {"channel_id": CHANNEL_ID, "from": "yesterday"}}, (422, "invalid_filter")),
        ({"filter": {"channel": CHANNEL_ID}}, (422, "invalid_filter")),
        ({"filter": []}, (422, "invalid_body")),
        ({}, (422, "invalid_body")),
        ([], (422, "invalid_body")),
    ],
)
def test_a_bulk_undo_says_what_it_wants_or_is_not_begun(server: Server, sent: object, expected: tuple[int, str]):
    before = len(server.get(f"{ADMIN}/operations").json()["items"])

    assert problem(server.post(f"{ADMIN}/undo", sent)) == expected
    assert len(server.get(f"{ADMIN}/operations").json()["items"]) == before


@pytest.mark.parametrize(
    ("path", "sent", "expected"),
    [
        ("/merges/00000000-0000-7000-8000-000000000000/undo", {}, (404, "merge_not_found")),
        ("/merges/x/undo", {}, (404, "merge_not_found")),
        ("/merges/x/undo", {"reason": 5}, (422, "invalid_body")),
        ("/identifications/x/undo", {"visitor_id": "v-nobody"}, (404, "visitor_not_found")),
        ("/customers/nobody/locks", {"fields": ["display_name"], "locked": True}, (404, "customer_not_found")),
        ("/customers/l-1/locks", {"fields": ["nothing"], "locked": True}, (422, "invalid_fields")),
        ("/customers/l-1/locks", {"fields": [], "locked": True}, (422, "invalid_fields")),
        ("/customers/l-1/join", {"into": "l-1"}, (422, "join_with_itself")),
        ("/customers/l-1/join", {"into": "nobody"}, (404, "customer_not_found")),
        ("/customers/l-1/join", {}, (422, "invalid_into")),
        ("/customers/l-1/unjoin", {}, (409, "not_joined")),
        ("/suggestions/dismiss", {"customer_ids": ["a", "a"]}, (422, "invalid_customer_ids")),
        ("/suggestions/dismiss", {"customer_ids": ["a"]}, (422, "invalid_customer_ids")),
        ("/customers/l-1/locks", {"fields": ["gender"], "locked": True, "reason": "x" * 501}, (422, "unusable_reason")),
    ],
)
def test_what_cannot_be_done_is_answered_clearly(server: Server, path: str, sent: object, expected: tuple[int, str]):
    identify(server, "l-1", name="Ana")

    assert problem(server.post(f"{ADMIN}{path}", sent)) == expected


def test_a_link_alone_is_undone_by_its_identification(server: Server):
    identify(server, "k-1", name="Ana")
    server.authenticate({"visitor_id": "v-k-1", "customer_id": "k-2"})
    link = [row for row in ledger_of(server, "k-1") if row["link"] == "unlinked"]

    assert problem(server.post(f"{MERGES}/{link[0]['merge_id']}/undo", {})) == (409, "not_undoable")


def ledger_of(server: Server, customer_id: str) -> list[dict[str, Any]]:
    """Return the whole ledger of a customer, links too, which the list of merges leaves out."""
    with psycopg.connect(server.database) as connection:
        rows = connection.execute(
            "SELECT merge_id::text FROM merge WHERE customer_id = %s ORDER BY version", [customer_id]
        ).fetchall()
    return [server.get(f"{MERGES}/{merge_id}").json() for (merge_id,) in rows]


def test_a_locked_field_tells_the_website_nothing_and_the_admin_everything(server: Server):
    identify(server, "l-2", name="Ana")

    locked = server.post(
        f"{ADMIN}/customers/l-2/locks", {"fields": ["display_name"], "locked": True, "reason": "as on the card"}
    ).json()
    identify(server, "l-2", name="Zoe", gender="other")
    kept = newest(server, "l-2")["decisions"][0]
    unlocked = server.post(f"{ADMIN}/customers/l-2/locks", {"fields": ["display_name"], "locked": False}).json()

    assert (locked["locked"], locked["merge"]["act"], locked["merge"]["fields"]) == (
        ["display_name"],
        "lock",
        ["display_name"],
    )
    assert (kept["verdict"], kept["reason"], kept["old"], kept["raw"]) == ("kept_existing", "locked", "Ana", "Zoe")
    assert unlocked["locked"] == []


def test_joined_ids_answer_as_one_until_they_are_taken_apart(server: Server):
    identify(server, "j/old", email="ana@shop.example", name="Ana")
    identify(server, "j-new", email="ana@shop.example", gender="other")
    path = f"{ADMIN}/customers/j%2Fold"

    preview = server.post(f"{path}/join", {"into": "j-new", "dry_run": True}).json()
    done = server.post(f"{path}/join", {"into": "j-new", "reason": "two cards"}).json()
    joined = server.get(f"{CUSTOMERS}/j%2Fold")
    found = server.post(f"{CUSTOMERS}/lookup", {"emails": ["ana@shop.example"]}).json()["results"][0]["customers"]
    apart = server.post(f"{path}/unjoin", {}).json()

    assert (preview["applied"], done["applied"], apart["applied"]) == (False, True, True)
    assert preview["fields"] == done["fields"] == joined.json()["fields"]
    assert [d["field"] for d in done["changes"]["j-new"]] == ["display_name"]
    assert (joined.json()["customer_id"], joined.json()["joined_ids"]) == ("j-new", ["j/old"])
    assert [customer["customer_id"] for customer in found] == ["j-new"]
    assert fields_of(server, "j-new") == {"display_email": "ana@shop.example", "gender": "other"}
    assert fields_of(server, "j%2Fold") == {"display_email": "ana@shop.example", "display_name": "Ana"}


def test_customers_who_share_a_value_are_suggested_until_somebody_knows_better(server: Server):
    for customer_id in ("s-1", "s-2"):
        identify(server, customer_id, email="shared@shop.example", phone="+886912345678")
    identify(server, "s-3", email="alone@shop.example")

    def suggested(shared: str) -> list[list[str]]:
        items = server.get(f"{ADMIN}/suggestions", params={"shared": shared}).json()["items"]
        return [item["customer_ids"] for item in items if "s-1" in item["customer_ids"]]

    before = suggested("email"), suggested("phone")
    server.post(f"{ADMIN}/suggestions/dismiss", {"customer_ids": ["s-2", "s-1"], "reason": "mother and child"})
    dismissed = suggested("email"), suggested("phone")
    server.post(f"{ADMIN}/suggestions/dismiss", {"customer_ids": ["s-1", "s-2"], "dismissed": False})

    assert before == ([["s-1", "s-2"]], [["s-1", "s-2"]])
    assert dismissed == ([], [])
    assert suggested("email") == [["s-1", "s-2"]]


def test_a_key_that_is_no_admin_takes_nothing_back(server: Server):
    identify(server, "a-1", name="Ana")
    secret = new_key(server, "profiles:write")["secret"]
    merge_id = newest(server, "a-1")["merge_id"]

    def refused(path: str, body: object) -> tuple[int, str]:
        response: httpx.Response = server.client.post(f"{ADMIN}{path}", json=body, headers=bearer(secret))
        return problem(response)

    assert refused(f"/merges/{merge_id}/undo", {}) == (403, "missing_scope")
    assert refused("/undo", {"filter": {}}) == (403, "missing_scope")
    assert refused("/customers/a-1/join", {"into": "b"}) == (403, "missing_scope")
    assert fields_of(server, "a-1") == {"display_name": "Ana"}
