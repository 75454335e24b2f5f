"""``POST /api/v1/events`` and ``/api/v1/validate/*`` over a real server, and who may send."""

from typing import Any

import httpx
import pytest

from tests.harness import WRITE_KEY, Server

ACCEPTED = {"status": "accepted"}


def rejected(path: str, code: str) -> tuple[str, str, str]:
    return ("rejected", path, code)


def results(response: httpx.Response) -> list[Any]:
    assert response.status_code == 200
    return [
        ACCEPTED if r == ACCEPTED else (r["status"], r["errors"][0]["path"], r["errors"][0]["code"])
        for r in response.json()["results"]
    ]


def fields(server: Server, customer_id: str) -> Any:
    return server.get(f"/api/v1/customers/{customer_id}").json()["fields"]


def test_a_life_from_sign_up_to_sign_out(server: Server):
    visitor = {"visitor_id": "life"}
    sent = server.events(
        {
            "type": "userSignedUp",
            "userId": "life-1",
            "profile": {"firstName": "Ana", "custom": {"points": 1}},
            **visitor,
        },
        {"type": "userSignedIn", "userId": "life-1", **visitor},
        {
            "type": "userProfileChanged",
            "patch": {
                "operations": [
                    {"type": "set", "path": "address.city", "value": "Taipei"},
                    {"type": "unset", "path": "firstName"},
                ]
            },
            **visitor,
        },
        {"type": "userSignedOut", **visitor},
    )

    assert results(sent) == [ACCEPTED] * 4
    assert fields(server, "life-1") == {"custom.points": 1, "postal_address.city": "Taipei"}
    assert server.get("/api/v1/visitors/life").json()["customer_id"] is None


def test_results_speak_of_the_input_alone_one_for_each_in_order(server: Server):
    sent = server.events(
        {"type": "clIdentity", "customerId": "ok-1", "visitor_id": "v"},
        {"type": "clIdentity", "visitor_id": "v"},
        {"type": "userSignedIn", "userId": "undefined"},
        {"type": "userSignedUp", "userId": 4.2},
        {"type": "userSignedOut"},
        {"type": "userProfileChanged", "visitor_id": "v", "patch": []},
        {"type": "teleported"},
        "no event",
        {"type": "userSignedOut", "userId": "somebody else", "visitor_id": "v"},
        {"type": "clIdentity", "customerId": "ok-2", "params": {"phone": "bad"}},
    )

    assert results(sent) == [
        ACCEPTED,
        rejected("/customer_id", "missing_customer_id"),
        rejected("/customer_id", "blocked_customer_id"),
        rejected("/customer_id", "invalid_customer_id"),
        rejected("/visitor_id", "missing_visitor_id"),
        rejected("/patch", "invalid_patch"),
        rejected("/type", "unknown_event"),
        rejected("/type", "unknown_event"),
        ACCEPTED,
        ACCEPTED,
    ]


def test_one_event_needs_no_list(server: Server):
    event = {"type": "clIdentity", "customerId": "alone", "name": "Ana"}

    sent = server.client.post("/api/v1/events", json=event, headers={"X-Write-Key": WRITE_KEY})

    assert results(sent) == [ACCEPTED]
    assert fields(server, "alone") == {"display_name": "Ana"}


def test_an_event_id_counts_once_and_a_late_event_loses(server: Server):
    old = {"type": "clIdentity", "customerId": "time-1", "name": "old", "event_id": "e1"}
    server.events(old)
    server.events({"type": "clIdentity", "customerId": "time-1", "name": "new"})

    server.events(old)
    server.events({"type": "clIdentity", "customerId": "time-1", "name": "late", "occurred_at": "2020-01-01T00:00:00Z"})

    assert fields(server, "time-1") == {"display_name": "new"}
    merge = server.get("/api/v1/admin/merges?customer_id=time-1").json()["items"][0]
    assert [(d["verdict"], d["old"], d["new"], d["raw"]) for d in merge["decisions"][-1:]] == [
        ("skipped_older", "new", None, "late")
    ]


def test_the_key_may_come_in_the_body_as_plain_text_from_a_page(server: Server):
    body = f'{{"write_key":"{WRITE_KEY}","customer_id":"plain-1","visitor_id":"v"}}'
    headers = {"Content-Type": "text/plain", "Origin": "http://localhost:3000"}

    sent = server.client.post("/api/v1/authenticate", content=body, headers=headers)

    assert (sent.status_code, sent.headers["access-control-allow-origin"]) == (200, "http://localhost:3000")
    assert server.get("/api/v1/customers/plain-1").status_code == 200


def test_a_page_may_read_how_long_it_is_asked_to_wait(server: Server):
    page, path = {"Origin": "http://localhost:3000"}, "/api/v1/events"

    taken = server.authenticate({"customer_id": "wait-1"}, **page)
    refused = server.client.post(path, content=b"[", headers=page)
    elsewhere = server.authenticate({"customer_id": "wait-1"}, Origin="https://evil.example")
    no_page = server.authenticate({"customer_id": "wait-1"})

    exposed = [a.headers.get("access-control-expose-headers") for a in (taken, refused, elsewhere, no_page)]
    assert exposed == ["retry-after", "retry-after", None, None]


def test_a_page_from_elsewhere_is_refused(server: Server):
    sent = server.authenticate({"customer_id": "elsewhere"}, Origin="https://evil.example")

    assert (sent.status_code, sent.json()["code"]) == (403, "origin_not_allowed")
    assert "access-control-allow-origin" not in sent.headers
    assert server.get("/api/v1/customers/elsewhere").status_code == 404


@pytest.mark.parametrize(("origin", "allowed"), [("http://127.0.0.1:5173", True), ("https://evil.example", False)])
def test_a_preflight_names_the_exact_origin_and_the_headers(server: Server, origin: str, *, allowed: bool):
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}

    answer = server.client.options("/api/v1/authenticate", headers=headers)

    assert answer.status_code == 204
    assert answer.headers.get("access-control-allow-origin") == (origin if allowed else None)
    assert answer.headers.get("access-control-allow-headers") == ("content-type, x-write-key" if allowed else None)


@pytest.mark.parametrize(
    ("content", "headers", "status", "code"),
    [
        (b"[1]", {"X-Write-Key": WRITE_KEY}, 400, "not_a_json_object"),
        (b'{"customer_id":"1"}', {}, 401, "missing_key"),
        (b'{"customer_id":"1"}', {"X-Write-Key": "wk_unknown"}, 401, "unknown_key"),
        (b'{"name":"' + b"x" * 33_000 + b'"}', {"X-Write-Key": WRITE_KEY}, 413, "body_too_large"),
    ],
)
def test_a_broken_protocol_is_a_problem_document(server: Server, content, headers, status, code):
    answer = server.client.post("/api/v1/authenticate", content=content, headers=headers)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["title"]
    assert problem["message"]


def test_a_body_over_the_limit_is_refused_also_in_chunks(server: Server):
    chunks = iter([b'{"name":"', *[b"x" * 1000] * 40, b'"}'])

    answer = server.client.post("/api/v1/authenticate", content=chunks, headers={"X-Write-Key": WRITE_KEY})

    assert answer.status_code == 413


def test_too_many_events_are_refused_whole(server: Server):
    answer = server.events(*[{"type": "clIdentity", "customerId": "many"}] * 501)

    assert (answer.status_code, answer.json()["code"]) == (413, "too_many_events")
    assert server.get("/api/v1/customers/many").status_code == 404


def test_validation_tells_every_field_and_stores_nothing(server: Server):
    body = {"customer_id": "valid-1", "name": "Ana", "phone": "0912345678", "gender": "", "birthday": "1995-02-30"}

    answer = server.client.post("/api/v1/validate/authenticate", json=body, headers={"X-Write-Key": WRITE_KEY}).json()

    assert (answer["accepted"], answer["refusal"], answer["preview"]) == (True, None, None)
    told = [(f["field"], f["verdict"], f["reason"], f["new"]) for f in answer["fields"] if f["field"] != "visitor_id"]
    assert told == [
        ("display_name", "set", None, "Ana"),
        ("display_mobile", "skipped_invalid", "no_country_code", None),
        ("gender", "ignored_empty", None, None),
        ("birth", "skipped_invalid", "not_a_date", None),
    ]
    assert all(f["hint"] for f in answer["fields"] if f["reason"])
    assert server.get("/api/v1/customers/valid-1").status_code == 404


def test_validation_tells_why_an_event_would_be_refused(server: Server):
    body = {"customer_id": "undefined", "name": "Ana"}

    answer = server.client.post("/api/v1/validate/authenticate", json=body, headers={"X-Write-Key": WRITE_KEY}).json()

    assert (answer["accepted"], answer["refusal"]) == (False, "blocked_customer_id")
    assert "placeholder" in answer["hint"]


def test_a_preview_predicts_what_the_live_call_then_does(server: Server):
    server.authenticate({"visitor_id": "pv", "customer_id": "preview-1", "name": "Ana"})
    body = {"visitor_id": "pv2", "customer_id": "preview-1", "name": "Bo", "phone": "0912"}

    preview = server.post("/api/v1/validate/authenticate", body, headers={"X-Write-Key": WRITE_KEY}).json()["preview"]
    server.authenticate(body)

    merge = server.get("/api/v1/admin/merges?customer_id=preview-1").json()["items"][0]
    assert preview["decisions"] == merge["decisions"]
    assert (preview["created_customer"], preview["linked"], preview["unchanged"]) == (False, True, False)


def test_a_preview_of_events_finds_what_those_before_it_leave(server: Server):
    events = [
        {"type": "userSignedIn", "userId": "preview-2", "visitor_id": "pv3"},
        {
            "type": "userProfileChanged",
            "visitor_id": "pv3",
            "patch": {"operations": [{"type": "set", "path": "firstName", "value": "Ana"}]},
        },
    ]

    answer = server.post("/api/v1/validate/events", {"events": events}, headers={"X-Write-Key": WRITE_KEY}).json()
    previews = [(r["preview"]["customer_id"], r["preview"]["created_customer"]) for r in answer["results"]]

    assert previews == [("preview-2", True), ("preview-2", False)]
    assert server.get("/api/v1/customers/preview-2").status_code == 404


def test_events_are_validated_one_by_one(server: Server):
    events = [{"type": "userSignedUp", "userId": "u", "profile": {"email": "bad"}}, {"type": "nope"}]

    answer = server.client.post(
        "/api/v1/validate/events", json={"events": events}, headers={"X-Write-Key": WRITE_KEY}
    ).json()["results"]

    assert [(r["accepted"], r["refusal"]) for r in answer] == [(True, None), (False, "unknown_event")]
    assert ("display_email", "not_an_email") in [(f["field"], f["reason"]) for f in answer[0]["fields"]]


def test_a_channel_without_tracking_takes_nothing_and_says_nothing(server: Server):
    created = server.post("/api/v1/admin/channels", {"name": "off", "website_tracking": False}).json()

    sent = server.client.post(
        "/api/v1/authenticate",
        json={"customer_id": "dark", "name": "Ana"},
        headers={"X-Write-Key": created["write_key"]},
    )

    assert (sent.status_code, sent.content) == (200, b'{"status":"ok"}')
    assert server.get("/api/v1/customers/dark").status_code == 404
    refusals = server.get(f"/api/v1/admin/refusals?channel_id={created['channel_id']}").json()
    assert refusals["counts"] == {"tracking_disabled": 1}
    assert [(r["reason"], r["customer_id"], r["fields"]) for r in refusals["items"]] == [
        ("tracking_disabled", "dark", ["name"])
    ]
