"""``GET /api/v1/visitors/{visitor_id}``."""

from typing import Any
from urllib.parse import quote

import pytest

from identity import visitor_routes
from tests.harness import CHANNEL_ID, WRITE_KEY, Server

T1, T2, T3 = "2026-03-01T10:00:00.000Z", "2026-03-02T10:00:00.000Z", "2026-03-03T10:00:00.000Z"


def visitor(server: Server, visitor_id: str) -> dict[str, Any]:
    """Return the page of a visitor."""
    response = server.get(f"/api/v1/visitors/{quote(visitor_id, safe='')}")
    assert (response.status_code, response.headers["cache-control"]) == (200, "no-store")
    page: dict[str, Any] = response.json()
    return page


def test_a_visitor_tells_whose_it_is_and_everything_said_of_it_the_last_arrival_first(server: Server):
    server.authenticate({"visitor_id": "all-v", "customer_id": "all-1", "occurred_at": T1})
    server.events(
        {"type": "userSignedOut", "visitor_id": "all-v", "customer_id": "all-9", "occurred_at": T2, "event_id": "e-1"},
        {"type": "userSignedIn", "visitor_id": "all-v", "customer_id": "all-2", "occurred_at": T3},
        {"type": "userSignedOut", "visitor_id": "all-v", "occurred_at": T2},
    )

    page = visitor(server, "all-v")

    said = page["identifications"]
    common = {"channel_id": CHANNEL_ID, "source": "channel", "decisions": []}
    assert page == {
        "visitor_id": "all-v",
        "customer_id": "all-2",
        "since": T3,
        "identifications": [
            {**common, **_own(said[0]), "kind": "signed_out", "customer_id": None, "occurred_at": T2, "applied": True}
            | {"event": "userSignedOut", "event_id": None},
            {**common, **_own(said[1]), "kind": "identified", "customer_id": "all-2", "occurred_at": T3}
            | {"event": "userSignedIn", "event_id": None, "applied": True},
            {**common, **_own(said[2]), "kind": "signed_out", "customer_id": "all-9", "occurred_at": T2}
            | {"event": "userSignedOut", "event_id": "e-1", "applied": False},
            {**common, **_own(said[3]), "kind": "identified", "customer_id": "all-1", "occurred_at": T1}
            | {"event": "clIdentity", "event_id": None, "applied": True},
        ],
    }


def _own(identification: dict[str, Any]) -> dict[str, Any]:
    """Return what only the service knows."""
    return {name: identification[name] for name in ("identification_id", "received_at")}


def test_a_signed_out_visitor_belongs_to_nobody_since_then(server: Server):
    server.authenticate({"visitor_id": "out-v", "customer_id": "out-1", "occurred_at": T1})
    server.events({"type": "userSignedOut", "visitor_id": "out-v", "occurred_at": T2})

    page = visitor(server, "out-v")

    assert (page["customer_id"], page["since"]) == (None, T2)


def test_values_of_an_anonymous_visitor_are_shown_with_their_decisions(server: Server):
    patch = [
        {"type": "set", "path": "firstName", "value": "Ana"},
        {"type": "set", "path": "phone", "value": "0912345678"},
    ]
    server.events({"type": "userProfileChanged", "visitor_id": "anon-v", "patch": patch})

    page = visitor(server, "anon-v")

    (said,) = page["identifications"]
    assert (page["customer_id"], page["since"], said["kind"], said["customer_id"]) == (None, None, "anonymous", None)
    assert [(d["field"], d["verdict"], d["reason"], d["new"], d["raw"]) for d in said["decisions"]] == [
        ("first_name", "set", None, "Ana", None),
        ("display_mobile", "skipped_invalid", "no_country_code", None, "0912345678"),
    ]


@pytest.mark.parametrize(
    "visitor_id", ["a/b", "a%2Fb", "a b?c#d", "ä-用户-🍪", "a+b&c=d", "../admin", "a\\b", "%", "'; DROP TABLE visitor"]
)
def test_an_id_with_every_kind_of_character_is_found(server: Server, visitor_id: str):
    server.authenticate({"visitor_id": visitor_id, "customer_id": "odd-1"})

    by_path = visitor(server, visitor_id)
    by_query = server.get("/api/v1/visitors", params={"visitor_id": visitor_id}).json()

    assert (by_path["visitor_id"], by_path["customer_id"]) == (visitor_id, "odd-1")
    assert by_query == by_path


@pytest.mark.parametrize("path", ["nobody", "%00", "a%00b", "%FF", "null", "undefined", "x" * 129, "%20"])
def test_a_visitor_that_was_never_seen_is_not_found(server: Server, path: str):
    response = server.get(f"/api/v1/visitors/{path}")

    assert (response.status_code, response.json()["code"]) == (404, "visitor_not_found")


def test_only_the_last_identifications_are_shown(server: Server):
    wanted = visitor_routes.IDENTIFICATIONS_MAX
    switches = [
        {"type": "userSignedIn", "visitor_id": "long-v", "customer_id": f"long-{number % 2}"}
        for number in range(wanted + 5)
    ]
    server.events(*switches)

    page = visitor(server, "long-v")

    assert len(page["identifications"]) == wanted
    assert page["identifications"][0]["customer_id"] == page["customer_id"] == "long-0"


def test_wrong_questions_are_problem_documents(server: Server):
    path = "/api/v1/visitors"

    def code(response: Any) -> tuple[int, str]:
        return response.status_code, response.json()["code"]

    assert code(server.get(path)) == (400, "missing_visitor_id")
    assert code(server.get(f"{path}?visitor_id=%FF")) == (400, "invalid_query")
    assert code(server.get(f"{path}/a/b")) == (404, "not_found")
    assert code(server.get(f"{path}nobody")) == (404, "not_found")
    assert code(server.post(f"{path}/a", {})) == (405, "method_not_allowed")
    assert code(server.client.get(f"{path}/a")) == (401, "missing_key")
    assert code(server.client.get(f"{path}/a", headers={"Authorization": f"Bearer {WRITE_KEY}"})) == (
        401,
        "unknown_key",
    )
