"""``GET /api/v1/changes`` over HTTP."""

from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from tests.harness import ADMIN_KEY, Server

CHANGES = "/api/v1/changes"


def follow(server: Server, cursor: str | None, limit: int) -> tuple[list[dict[str, Any]], str]:
    """Read on until there is no more."""
    items: list[dict[str, Any]] = []
    while True:
        query = {"limit": str(limit), **({} if cursor is None else {"after": cursor})}
        page = server.get(CHANGES, params=query).json()
        items += page["items"]
        cursor = str(page["next_cursor"])
        if not page["has_more"]:
            return items, cursor


def test_a_consumer_follows_from_the_beginning_and_then_from_where_it_was(server: Server):
    server.authenticate({"visitor_id": "v1", "customer_id": "h-1", "display_name": "Ana"})
    first, cursor = follow(server, None, 200)
    nothing, same = follow(server, cursor, 200)
    server.authenticate({"visitor_id": "v1", "customer_id": "h-2"})
    then, _ = follow(server, same, 1)
    whole, _ = follow(server, None, 1)

    assert nothing == []
    assert first[-1] == {
        **first[-1],
        "customer_id": "h-1",
        "customer_hash": None,
        "types": ["created", "linked"],
        "version": 1,
        "visitor_id": "v1",
        "fields": ["display_name"],
        "source": "channel",
    }
    # One commit wrote both: their order is that of their ids.
    assert sorted((item["customer_id"], *item["types"]) for item in then) == [
        ("h-1", "unlinked"),
        ("h-2", "created", "linked"),
    ]
    assert whole == first + then


def test_an_undo_is_told(server: Server):
    server.authenticate({"visitor_id": "v9", "customer_id": "u-1", "display_name": "Ana"})
    changed = server.authenticate({"visitor_id": "v9", "customer_id": "u-1", "display_name": "Bo"})
    items, cursor = follow(server, None, 200)
    undone = server.post(f"/api/v1/admin/merges/{items[-1]['merge_id']}/undo", {"reason": "wrong"})
    (told,), _ = follow(server, cursor, 200)

    assert (changed.status_code, undone.status_code) == (200, 200)
    assert (told["customer_id"], told["types"], told["fields"]) == ("u-1", ["undone", "updated"], ["display_name"])
    assert told["version"] == 3


def test_an_erasure_is_told_by_a_hash_and_what_was_erased_is_told_no_more(server: Server):
    server.authenticate({"visitor_id": "v8", "customer_id": "erased-one", "display_name": "Ana"})
    _, cursor = follow(server, None, 200)
    erased = server.client.delete("/api/v1/customers/erased-one", headers={"Authorization": f"Bearer {ADMIN_KEY}"})
    if erased.status_code == 405:
        pytest.skip("erasure is not served yet")
    told, _ = follow(server, cursor, 200)
    whole, _ = follow(server, None, 200)

    assert [(item["customer_id"], item["types"]) for item in told] == [(None, ["erased"])]
    assert told[0]["customer_hash"]
    assert "erased-one" not in str(whole)


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        ({"limit": "0"}, (400, "invalid_limit")),
        ({"limit": "1001"}, (400, "invalid_limit")),
        ({"limit": "x"}, (400, "invalid_limit")),
        ({"after": "x"}, (400, "invalid_cursor")),
        ({"after": "\x00"}, (400, "invalid_cursor")),
        ({"since": "x"}, (400, "unknown_parameter")),
        ({"after": "A" * 38}, (410, "feed_restarted")),
    ],
)
def test_a_question_that_cannot_be_is_refused(server: Server, query: dict[str, str], answer: tuple[int, str]):
    refused = server.get(f"{CHANGES}?{urlencode(query)}")

    assert (refused.status_code, refused.json()["code"]) == answer


def test_who_may_not_read_profiles_may_not_follow_them(server: Server):
    writer = server.post("/api/v1/admin/keys", {"name": "Writer", "scopes": ["profiles:write"]}).json()["secret"]

    def ask(secret: str) -> httpx.Response:
        return server.client.get(CHANGES, headers={"Authorization": f"Bearer {secret}"})

    assert [ask(secret).status_code for secret in (writer, "sk_nobody", ADMIN_KEY)] == [403, 401, 200]
    assert server.client.get(CHANGES).status_code == 401
