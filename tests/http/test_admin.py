"""The admin JSON API: the ledger, the refused, channels and keys."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import psycopg
import pytest

from identity import administration
from identity.admin import changes, ledger
from identity.app import Service, build
from profiles.clock import read_time, to_text
from tests.harness import ADMIN_KEY, CHANNEL_ID, WRITE_KEY, Server, Urls, opened_service
from tests.store.redis_server import BINARIES, RedisServer

MERGES = "/api/v1/admin/merges"
REFUSALS = "/api/v1/admin/refusals"
CHANNELS = "/api/v1/admin/channels"
KEYS = "/api/v1/admin/keys"
WORKSPACE = "/api/v1/admin/workspace"
NOBODY = "00000000-0000-4000-8000-000000000000"
OK = b'{"status":"ok"}'


def problem(response: httpx.Response) -> tuple[int, str]:
    """Return status and code of a problem document, whose form is checked."""
    document = response.json()
    assert response.headers["content-type"].startswith("application/problem+json")
    assert document["status"] == response.status_code
    assert document["message"] == document["detail"] != ""
    return response.status_code, document["code"]


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def new_key(server: Server, *scopes: str) -> dict[str, Any]:
    key: dict[str, Any] = server.post(KEYS, {"name": "A key", "scopes": list(scopes)}).json()
    return key


def change(server: Server, method: str, path: str, body: object = None, **options: Any) -> httpx.Response:
    return server.client.request(method, path, json=body, headers=bearer(ADMIN_KEY), **options)


# Merges


def test_a_merge_tells_everything_of_its_event_and_every_decision(server: Server):
    entry = {"event": "clIdentity", "params": {"customerId": "m-1", "name": "Ana", "phone": "0912345678"}}
    server.authenticate({"visitor_id": "m-v1", **entry})

    page = server.get(MERGES, params={"customer_id": "m-1"})

    merge = page.json()["items"][0]
    merge_id, received_at = merge["merge_id"], merge["received_at"]
    assert page.json() == {
        "items": [
            {
                "merge_id": merge_id,
                "customer_id": "m-1",
                "visitor_id": "m-v1",
                "channel_id": CHANNEL_ID,
                "source": "channel",
                "event": "clIdentity",
                "event_id": None,
                "occurred_at": received_at,
                "received_at": received_at,
                "created_customer": True,
                "undone_by": None,
                "version": 1,
                "decisions": merge["decisions"],
                "link": "linked",
            }
        ],
        "next_cursor": None,
    }
    assert {d["field"]: (d["verdict"], d["reason"], d["old"], d["new"], d["raw"]) for d in merge["decisions"]} == {
        "display_name": ("set", None, None, "Ana", None),
        "display_mobile": ("skipped_invalid", "no_country_code", None, None, "0912345678"),
    }
    assert (page.headers["cache-control"], "link" in page.headers) == ("no-store", False)
    assert server.get(f"{MERGES}/{merge_id}").json() == merge
    assert server.get(f"{MERGES}/{merge_id.upper()}").json() == merge


def test_every_filter_lets_its_own_merges_by_and_no_others(server: Server):
    other = server.post(CHANNELS, {"name": "Other"}).json()
    server.authenticate({"visitor_id": "f-v1", "customer_id": "f-1", "display_name": "Ana", "birth": "soon"})
    server.authenticate({"visitor_id": "f-v2", "customer_id": "f-2", "display_name": "Bo", "gender": "x"})
    server.authenticate(
        {"visitor_id": "f-v3", "customer_id": "f-3", "display_email": "ana"}, **{"X-Write-Key": other["write_key"]}
    )
    server.events({"type": "userSignedUp", "visitor_id": "f-v4", "customer_id": "f-4", "profile": {"firstName": "Di"}})
    newest = server.get(MERGES, params={"limit": "1"}).json()["items"][0]
    moment = str(read_time(newest["received_at"]))

    def found(**filters: str) -> list[str]:
        return [item["customer_id"] for item in server.get(MERGES, params=filters).json()["items"]]

    assert newest["customer_id"] == "f-4"
    assert found(customer_id="f-1") == ["f-1"]
    assert found(visitor_id="f-v2") == ["f-2"]
    assert found(channel_id=other["channel_id"]) == ["f-3"]
    assert found(event="userSignedUp") == ["f-4"]
    assert found(field="first_name") == ["f-4"]
    assert found(verdict="skipped_invalid", reason="not_in_list") == ["f-2"]
    assert found(reason="not_a_date") == ["f-1"]
    assert found(field="display_name", verdict="skipped_invalid") == []
    assert found(field="display_name", verdict="set", visitor_id="f-v1") == ["f-1"]
    assert found(customer_id="f-4", **{"from": moment}) == ["f-4"]
    assert found(customer_id="f-4", to=moment) == []
    assert found(customer_id="f-4", **{"from": newest["received_at"], "to": str(int(moment) + 1)}) == ["f-4"]


def test_pages_follow_each_other_without_gap_or_repetition(server: Server):
    for number in range(7):
        server.authenticate({"visitor_id": "p-v", "customer_id": "p-1", "display_name": f"Ana {number}"})

    url, pages = f"{MERGES}?customer_id=p-1&limit=3", []
    while url:
        page = server.get(url)
        pages.append(page)
        url = page.links.get("next", {}).get("url", "")

    names = [[item["decisions"][0]["new"] for item in page.json()["items"]] for page in pages]
    assert names == [["Ana 6", "Ana 5", "Ana 4"], ["Ana 3", "Ana 2", "Ana 1"], ["Ana 0"]]
    assert [page.json()["next_cursor"] is None for page in pages] == [False, False, True]


def test_a_change_of_links_alone_is_shown_by_its_id_and_not_listed(server: Server):
    server.authenticate({"visitor_id": "l-v", "customer_id": "l-1", "display_name": "Ana"})
    server.authenticate({"visitor_id": "l-v", "customer_id": "l-2", "display_name": "Bo"})
    with psycopg.connect(server.database) as connection:
        row = connection.execute("SELECT merge_id::text FROM merge WHERE customer_id = 'l-1' AND is_link").fetchone()
    assert row is not None

    listed = server.get(MERGES, params={"customer_id": "l-1"}).json()["items"]

    assert [item["version"] for item in listed] == [1]
    shown = server.get(f"{MERGES}/{row[0]}").json()
    assert (shown["customer_id"], shown["visitor_id"], shown["decisions"]) == ("l-1", "l-v", [])


@pytest.mark.parametrize(
    ("query", "code", "named"),
    [
        ("customer=1", "unknown_parameter", "customer_id"),
        ("verdict=wrong", "invalid_verdict", "skipped_invalid"),
        ("reason=wrong", "invalid_reason", "no_country_code"),
        ("reason=", "invalid_reason", "no_country_code"),
        ("from=yesterday", "invalid_from", "RFC 3339"),
        ("to=2026-01-01T00:00:00+01:00", "invalid_to", "%2B"),
        ("from=1e400", "invalid_from", "RFC 3339"),
        ("from=99999999999999999999", "invalid_from", "RFC 3339"),
        ("limit=0", "invalid_limit", "200"),
        ("limit=201", "invalid_limit", "200"),
        ("limit=%D9%A3", "invalid_limit", "200"),
        ("cursor=", "invalid_cursor", "next_cursor"),
        ("cursor=AAAA", "invalid_cursor", "next_cursor"),
        ("cursor=%F0%9F%8D%AA", "invalid_cursor", "next_cursor"),
        ("channel_id=1", "invalid_channel_id", "UUID"),
        ("customer_id=%00", "invalid_customer_id", "customer"),
        ("customer_id=", "invalid_customer_id", "customer"),
        ("visitor_id=a%00b", "invalid_visitor_id", "visitor"),
        ("event=%00", "invalid_event", "control"),
        ("field=a%00", "invalid_field", "control"),
        ("field=%ED%A0%80", "invalid_query", "UTF-8"),
        ("field=%FF", "invalid_query", "UTF-8"),
    ],
)
def test_a_bad_filter_is_told_and_never_a_fault(server: Server, query: str, code: str, named: str):
    response = server.get(f"{MERGES}?{query}")

    assert problem(response) == (400, code)
    assert named in response.json()["message"]


@pytest.mark.parametrize("merge_id", [NOBODY, "x", "%00", "%FF", "0197a3b0-0000-7000-8000-000000000000", "x" * 3000])
def test_an_id_that_no_merge_has_is_not_found(server: Server, merge_id: str):
    assert problem(server.get(f"{MERGES}/{merge_id}")) == (404, "merge_not_found")


def test_a_question_that_takes_too_long_asks_for_a_narrower_one(
    urls: Urls, store_url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(ledger, "QUERY_MILLISECONDS_MAX", 100)

    async def main() -> tuple[httpx.Response, httpx.Response]:
        async with worker(store_url, urls.redis) as (_, client):
            with psycopg.connect(store_url) as connection:
                connection.execute("LOCK TABLE merge IN ACCESS EXCLUSIVE MODE")
                slow = await client.get(MERGES)
            return slow, await client.get(MERGES)

    slow, after = asyncio.run(main())

    assert problem(slow) == (503, "query_too_slow")
    assert "from and to" in slow.json()["message"]
    assert after.json() == {"items": [], "next_cursor": None}


# Refusals


def test_the_refused_are_listed_with_what_they_sent_and_counted_completely(server: Server):
    channel = server.post(CHANNELS, {"name": "Refusing"}).json()
    key = {"X-Write-Key": channel["write_key"]}
    server.authenticate({"visitor_id": "r-v", "customer_id": "undefined", "display_name": "Ana"}, **key)
    for _ in range(3):
        server.authenticate({"visitor_id": "r-v", "display_email": "ana@shop.example"}, **key)

    page = server.get(REFUSALS, params={"channel_id": channel["channel_id"], "limit": "3"}).json()
    rest = server.get(REFUSALS, params={"channel_id": channel["channel_id"], "cursor": page["next_cursor"]}).json()

    assert [item["reason"] for item in page["items"]] == ["missing_customer_id"] * 3
    first = rest["items"][0]
    assert rest == {
        "items": [
            {
                "refusal_id": first["refusal_id"],
                "reason": "blocked_customer_id",
                "hint": first["hint"],
                "event": "clIdentity",
                "event_id": None,
                "visitor_id": "r-v",
                "customer_id": "undefined",
                "channel_id": channel["channel_id"],
                "fields": ["display_name"],
                "faults": [],
                "occurred_at": first["received_at"],
                "received_at": first["received_at"],
            }
        ],
        "next_cursor": None,
        "counts": {"blocked_customer_id": 1, "missing_customer_id": 3},
    }
    assert "placeholder" in first["hint"]
    only = server.get(REFUSALS, params={"channel_id": channel["channel_id"], "reason": "blocked_customer_id"}).json()
    assert only == rest
    assert server.get(REFUSALS, params={"to": first["received_at"], "channel_id": channel["channel_id"]}).json() == {
        "items": [],
        "next_cursor": None,
        "counts": rest["counts"],
    }
    assert problem(server.get(REFUSALS, params={"reason": "no_country_code"})) == (400, "invalid_reason")
    assert problem(server.get(REFUSALS, params={"verdict": "set"})) == (400, "unknown_parameter")


# Channels


def test_a_channel_is_made_shown_changed_and_revoked(server: Server):
    made = server.post(
        CHANNELS, {"name": " Shop ", "origins": ["https://shop.example", "http://[::1]:3000", "loopback"]}
    ).json()

    assert made == {
        "channel_id": made["channel_id"],
        "name": "Shop",
        "write_key": made["write_key"],
        "website_tracking": True,
        "origins": ["https://shop.example", "http://[::1]:3000", "loopback"],
        "on_sign_out": "forget",
        "signed_identity": "off",
        "unsigned_writes": "overwrite",
        "identity_keys": [],
        "created_at": made["created_at"],
        "revoked_at": None,
    }
    path = f"{CHANNELS}/{made['channel_id']}"
    assert server.get(path).json() == made
    assert made in server.get(CHANNELS).json()["items"]
    body = {"visitor_id": "c-v", "customer_id": "c-1"}
    assert server.authenticate(body, **{"X-Write-Key": made["write_key"]}).content == OK

    changed = change(server, "PATCH", path, {"on_sign_out": "keep", "origins": []}).json()
    assert changed == {**made, "on_sign_out": "keep", "origins": []}
    assert change(server, "PATCH", path, {}).json() == changed

    revoked = change(server, "DELETE", path).json()
    assert revoked == {**changed, "revoked_at": revoked["revoked_at"]}
    assert revoked["revoked_at"] is not None
    assert change(server, "DELETE", path).json() == revoked
    assert problem(change(server, "PATCH", path, {"name": "Again"})) == (409, "channel_revoked")
    assert problem(server.authenticate(body, **{"X-Write-Key": made["write_key"]})) == (401, "unknown_key")


def test_a_changed_channel_counts_with_the_next_event(server: Server):
    channel = server.post(CHANNELS, {"name": "Switched"}).json()
    key = {"X-Write-Key": channel["write_key"]}
    path = f"{CHANNELS}/{channel['channel_id']}"

    change(server, "PATCH", path, {"website_tracking": False})
    server.authenticate({"visitor_id": "s-v", "customer_id": "s-1"}, **key)
    change(server, "PATCH", path, {"website_tracking": True})
    server.authenticate({"visitor_id": "s-v", "customer_id": "s-2"}, **key)

    counts = server.get(REFUSALS, params={"channel_id": channel["channel_id"]}).json()["counts"]
    assert counts == {"tracking_disabled": 1}
    statuses = [server.get(f"/api/v1/customers/{name}").status_code for name in ("s-1", "s-2")]
    assert statuses == [404, 200]


@pytest.mark.parametrize(
    "body",
    [
        {"name": ""},
        {"name": " "},
        {"name": "x" * 101},
        {"name": "a\x00b"},
        {"name": "a\nb"},
        {"name": 1},
        {"name": None},
        {},
        {"name": "x", "unknown": 1},
        {"name": "x", "website_tracking": "yes"},
        {"name": "x", "on_sign_out": "remember"},
        {"name": "x", "origins": "loopback"},
        {"name": "x", "origins": ["*"]},
        {"name": "x", "origins": ["https://*.shop.example"]},
        {"name": "x", "origins": ["shop.example"]},
        {"name": "x", "origins": ["https://shop.example/path"]},
        {"name": "x", "origins": ["https://ana@shop.example"]},
        {"name": "x", "origins": ["https://shop.example:99999"]},
        {"name": "x", "origins": ["file://"]},
        {"name": "x", "origins": ["null"]},
        {"name": "x", "origins": ["https://shöp.example"]},
        {"name": "x", "origins": ["https://a\x00b"]},
        {"name": "x", "origins": ["https://"]},
        {"name": "x", "origins": [f"https://{number}.example" for number in range(51)]},
        [],
        "x",
    ],
)
def test_a_channel_that_cannot_be_is_refused_with_a_clear_word(server: Server, body: object):
    assert problem(server.post(CHANNELS, body))[0] == 422


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe", b'{"name":"\\ud83d"}', b'{"name":NaN}', b"[" * 30_000, b'{"name":1e400', b"null,"]
)
@pytest.mark.parametrize("path", [CHANNELS, KEYS])
def test_bytes_that_are_no_json_are_a_problem_and_never_a_fault(server: Server, path: str, body: bytes):
    response = server.client.post(path, content=body, headers=bearer(ADMIN_KEY))

    assert problem(response)[0] in (400, 422)


def test_a_body_over_the_limit_is_refused(server: Server):
    assert problem(server.post(CHANNELS, {"name": "x" * 40_000})) == (413, "body_too_large")


@pytest.mark.parametrize("identifier", [NOBODY, "x", "%00", "%FF", "1 or 1=1"])
@pytest.mark.parametrize(("method", "path"), [("GET", CHANNELS), ("PATCH", CHANNELS), ("DELETE", CHANNELS)])
def test_an_id_that_no_channel_has_is_not_found(server: Server, method: str, path: str, identifier: str):
    assert problem(change(server, method, f"{path}/{identifier}", {})) == (404, "channel_not_found")


def test_lists_of_channels_and_keys_come_in_pages(server: Server):
    made = [server.post(CHANNELS, {"name": f"Page {number}"}).json() for number in range(3)]
    keys = [new_key(server, "profiles:read") for _ in range(3)]

    first = server.get(CHANNELS, params={"limit": "2"})
    second = server.get(first.links["next"]["url"])
    first_keys = server.get(KEYS, params={"limit": "2"})
    second_keys = server.get(first_keys.links["next"]["url"])

    found = [item["channel_id"] for page in (first, second) for item in page.json()["items"]][:3]
    assert sorted(found) == sorted(channel["channel_id"] for channel in made)
    found = [item["key_id"] for page in (first_keys, second_keys) for item in page.json()["items"]][:3]
    assert sorted(found) == sorted(key["key_id"] for key in keys)
    assert problem(server.get(KEYS, params={"cursor": "?"})) == (400, "invalid_cursor")


# Keys


def test_a_key_is_shown_once_works_and_is_refused_once_revoked(server: Server):
    made = server.post(KEYS, {"name": "CRM", "scopes": ["profiles:read", "profiles:read"]}).json()
    secret = made.pop("secret")

    assert made == {
        "key_id": made["key_id"],
        "name": "CRM",
        "scopes": ["profiles:read"],
        "hint": secret[-4:],
        "created_at": made["created_at"],
        "revoked_at": None,
    }
    listed = server.get(KEYS)
    assert made in listed.json()["items"]
    assert secret not in listed.text
    with psycopg.connect(server.database) as connection:
        rows = connection.execute("SELECT k::text FROM secret_key AS k").fetchall()
    assert secret not in str(rows)
    client = server.client
    assert client.get("/api/v1/customers/nobody", headers=bearer(secret)).status_code == 404
    assert problem(client.get(KEYS, headers=bearer(secret))) == (403, "missing_scope")

    revoked = change(server, "DELETE", f"{KEYS}/{made['key_id']}").json()

    assert revoked == {**made, "revoked_at": revoked["revoked_at"]}
    assert problem(client.get("/api/v1/customers/nobody", headers=bearer(secret))) == (401, "unknown_key")
    assert change(server, "DELETE", f"{KEYS}/{made['key_id']}").json() == revoked
    assert problem(change(server, "DELETE", f"{KEYS}/{NOBODY}")) == (404, "key_not_found")
    assert problem(change(server, "DELETE", f"{KEYS}/%00")) == (404, "key_not_found")


@pytest.mark.parametrize(
    "body",
    [
        {"name": "x"},
        {"name": "x", "scopes": []},
        {"name": "x", "scopes": ["all"]},
        {"name": "x", "scopes": "admin"},
        {"name": "", "scopes": ["admin"]},
        {"name": "x", "scopes": ["admin"], "secret": "sk_mine"},
    ],
)
def test_a_key_that_cannot_be_is_refused_with_a_clear_word(server: Server, body: object):
    assert problem(server.post(KEYS, body))[0] == 422


def test_the_last_admin_key_cannot_lock_everybody_out(server: Server):
    second = new_key(server, "admin")
    first_id = next(k["key_id"] for k in server.get(KEYS).json()["items"] if k["hint"] == ADMIN_KEY[-4:])

    assert change(server, "DELETE", f"{KEYS}/{second['key_id']}").status_code == 200
    response = change(server, "DELETE", f"{KEYS}/{first_id}")

    assert problem(response) == (409, "last_admin_key")
    assert server.get(KEYS).status_code == 200


def test_a_workspace_has_no_more_channels_and_keys_than_the_limits(
    urls: Urls, store_url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(changes, "CHANNELS_MAX", 2)
    monkeypatch.setattr(changes, "KEYS_MAX", 2)

    async def main() -> list[httpx.Response]:
        async with worker(store_url, urls.redis) as (_, client):
            answers = [await client.post(CHANNELS, json={"name": "x"}) for _ in range(2)]
            answers += [await client.post(KEYS, json={"name": "x", "scopes": ["admin"]}) for _ in range(2)]
            for kind in (CHANNELS, KEYS):
                answers.append(await client.get(kind))
            await client.delete(f"{KEYS}/{answers[2].json()['key_id']}")
            answers.append(await client.post(KEYS, json={"name": "y", "scopes": ["admin"]}))
            return answers

    answers = asyncio.run(main())

    assert problem(answers[1]) == (409, "too_many_channels")
    assert problem(answers[3]) == (409, "too_many_keys")
    assert [len(answer.json()["items"]) for answer in answers[4:6]] == [2, 2]
    assert [answers[number].status_code for number in (0, 2, 6)] == [200, 200, 200]


# Who may ask


def test_the_workspace_is_shown_and_changed_and_what_is_left_out_stays(server: Server):
    before = server.get(WORKSPACE).json()
    days = change(server, "PATCH", WORKSPACE, {"footprint_days": 90}).json()
    blocked = change(server, "PATCH", WORKSPACE, {"blocked_customer_ids": ["Test", " 007 ", "Test"]}).json()
    shown = server.get(WORKSPACE).json()
    after = change(server, "PATCH", WORKSPACE, {"blocked_customer_ids": None, "footprint_days": 395}).json()

    assert before == after
    assert before == {
        "slug": "main",
        "spread": 1,
        "footprint_days": 395,
        "blocked_customer_ids": None,
        "created_at": before["created_at"],
    }
    assert days == {**before, "footprint_days": 90}
    assert blocked == shown == {**days, "blocked_customer_ids": ["Test", "007"]}


def test_what_a_workspace_blocks_counts_with_the_next_event(server: Server):
    def push(customer_id: str) -> int:
        server.authenticate({"visitor_id": "w-v", "customer_id": customer_id})
        return server.get(f"/api/v1/customers/{customer_id}").status_code

    change(server, "PATCH", WORKSPACE, {"blocked_customer_ids": ["w-1"]})
    blocked = push("W-1"), push("guest")
    change(server, "PATCH", WORKSPACE, {"blocked_customer_ids": None})

    assert (blocked, push("W-1"), push("anonymous")) == ((404, 200), 200, 404)


def test_months_for_a_longer_retention_are_there_once_it_is_answered(server: Server):
    year = time.gmtime().tm_year
    change(server, "PATCH", WORKSPACE, {"footprint_days": 3650})
    with psycopg.connect(server.database) as connection:
        months = connection.execute("SELECT max(inhrelid::regclass::text) FROM pg_inherits").fetchone()
    change(server, "PATCH", WORKSPACE, {"footprint_days": 395})

    assert months is not None
    assert months[0] >= f"event_{year + 10}"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"footprint_days": 0}, "invalid_footprint_days"),
        ({"footprint_days": 3651}, "invalid_footprint_days"),
        ({"footprint_days": "90"}, "invalid_body"),
        ({"footprint_days": None}, "invalid_body"),
        ({"blocked_customer_ids": ["\u0000"]}, "invalid_blocked_customer_ids"),
        ({"blocked_customer_ids": [""]}, "invalid_blocked_customer_ids"),
        ({"blocked_customer_ids": ["x"] * 1001}, "invalid_blocked_customer_ids"),
        ({"blocked_customer_ids": [1]}, "invalid_body"),
        ({"slug": "mine"}, "invalid_body"),
        ([], "invalid_body"),
    ],
)
def test_a_workspace_that_cannot_be_is_refused_with_a_clear_word(server: Server, body: object, code: str):
    before = server.get(WORKSPACE).json()

    assert problem(change(server, "PATCH", WORKSPACE, body)) == (422, code)
    assert server.get(WORKSPACE).json() == before


@pytest.mark.parametrize("path", [MERGES, f"{MERGES}/x", REFUSALS, CHANNELS, f"{CHANNELS}/x", KEYS, WORKSPACE])
def test_only_a_key_with_the_scope_admin_may_ask(server: Server, path: str):
    reader = new_key(server, "profiles:read", "profiles:write")["secret"]

    def ask(headers: dict[str, str]) -> tuple[int, str]:
        return problem(server.client.get(path, headers=headers))

    assert ask({}) == (401, "missing_key")
    assert ask(bearer("sk_nobody")) == (401, "unknown_key")
    assert ask({"Authorization": "Basic eDp5"}) == (401, "unknown_key")
    assert ask(bearer(WRITE_KEY)) == (401, "unknown_key")
    assert ask(bearer(reader)) == (403, "missing_scope")


def test_answers_are_counted_under_the_documented_path(server: Server):
    server.get(f"{MERGES}/nothing")
    server.get(f"{MERGES}?limit=0")

    counted = server.client.get("/metrics").text

    for line in (
        'identity_requests_total{route="/api/v1/admin/merges/{merge_id}",status="404"}',
        'identity_requests_total{route="/api/v1/admin/merges",status="400"}',
        'identity_requests_total{route="/api/v1/admin/merges",status="200"}',
    ):
        assert line in counted


def test_wrong_methods_and_addresses_are_problem_documents(server: Server):
    refused = change(server, "PUT", KEYS, {})
    assert problem(refused) == (405, "method_not_allowed")
    assert {"GET", "POST"} <= set(refused.headers["allow"].split(", "))
    assert problem(server.get("/api/v1/admin/nothing")) == (404, "not_found")


def test_nothing_of_another_workspace_is_seen_or_changed(urls: Urls, store_url: str):
    secret = "sk_other_admin_key_0001"

    async def main() -> list[Any]:
        async with worker(store_url, urls.redis) as (service, client):
            await other_workspace(service, secret)
            own = await client.get(CHANNELS)
            await client.post(
                "/api/v1/authenticate",
                content=json.dumps({"visitor_id": "v", "customer_id": "1", "display_name": "Ana"}),
                headers={"X-Write-Key": WRITE_KEY},
            )
            merge = (await client.get(MERGES)).json()["items"][0]
            keys = (await client.get(KEYS)).json()["items"]
            client.headers.update(bearer(secret))
            channel = own.json()["items"][0]
            return [
                (await client.get(MERGES)).json()["items"],
                (await client.get(REFUSALS)).json(),
                (await client.get(CHANNELS)).json()["items"],
                [key["name"] for key in (await client.get(KEYS)).json()["items"]],
                problem(await client.get(f"{MERGES}/{merge['merge_id']}")),
                problem(await client.get(f"{CHANNELS}/{channel['channel_id']}")),
                problem(await client.patch(f"{CHANNELS}/{channel['channel_id']}", json={"name": "Mine"})),
                problem(await client.delete(f"{CHANNELS}/{channel['channel_id']}")),
                problem(await client.delete(f"{KEYS}/{keys[0]['key_id']}")),
                problem(await client.get("/api/v1/visitors/v")),
                (await client.patch(WORKSPACE, json={"footprint_days": 7})).json()["slug"],
                (await client.get(WORKSPACE, headers=bearer(ADMIN_KEY))).json()["footprint_days"],
            ]

    assert asyncio.run(main()) == [
        [],
        {"items": [], "next_cursor": None, "counts": {}},
        [],
        ["Other"],
        (404, "merge_not_found"),
        (404, "channel_not_found"),
        (404, "channel_not_found"),
        (404, "channel_not_found"),
        (404, "key_not_found"),
        (404, "visitor_not_found"),
        "other",
        395,
    ]


async def other_workspace(service: Service, secret: str) -> None:
    """Make a second workspace with one key of all scopes."""
    async with service.database.connection() as connection:
        await connection.execute(
            "INSERT INTO workspace (workspace_id, slug, created_at) VALUES (77, 'other', %s::timestamptz)",
            [to_text(int(time.time() * 1000))],
        )
        await connection.execute(
            "INSERT INTO secret_key (key_id, workspace_id, name, scopes, secret_hash, hint, created_at)"
            " VALUES (gen_random_uuid(), 77, 'Other', '{admin,profiles:read}', encode(sha256(%s::bytea), 'hex'), 'x',"
            " %s::timestamptz)",
            [secret.encode(), to_text(int(time.time() * 1000))],
        )
        generation = await administration.advance(connection)
    await service.access.announce(generation, time.monotonic())


# At once and everywhere


@asynccontextmanager
async def worker(database: str, redis: str) -> AsyncIterator[tuple[Service, httpx.AsyncClient]]:
    """Give one worker in this process, and a client of it that has the admin key."""
    async with opened_service(database, redis) as service:
        app: Any = build(service)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://worker", headers=bearer(ADMIN_KEY)
        ) as client:
            yield service, client


async def push(client: httpx.AsyncClient, write_key: str) -> int:
    body = {"visitor_id": "v", "customer_id": "42"}
    answer = await client.post("/api/v1/authenticate", json=body, headers={"X-Write-Key": write_key})
    return answer.status_code


async def tell_of_everything(here: httpx.AsyncClient, there: httpx.AsyncClient) -> list[int]:
    """Make and revoke a channel and a key at one worker; return what the other answers after each step."""
    answers = []
    channel = (await here.post(CHANNELS, json={"name": "x"})).json()
    answers.append(await push(there, channel["write_key"]))
    await here.delete(f"{CHANNELS}/{channel['channel_id']}")
    answers.append(await push(there, channel["write_key"]))
    key = (await here.post(KEYS, json={"name": "x", "scopes": ["admin"]})).json()
    answers.append((await there.get(KEYS, headers=bearer(key["secret"]))).status_code)
    await here.delete(f"{KEYS}/{key['key_id']}")
    answers.append((await there.get(KEYS, headers=bearer(key["secret"]))).status_code)
    return answers


def test_what_one_worker_revokes_the_other_refuses_with_its_next_request(urls: Urls, store_url: str):
    async def main() -> list[int]:
        async with worker(store_url, urls.redis) as (_, here), worker(store_url, urls.redis) as (_, there):
            return await tell_of_everything(here, there) + await tell_of_everything(there, here)

    assert asyncio.run(main()) == [200, 401, 200, 401] * 2


def test_without_redis_what_one_worker_revokes_the_other_refuses_with_its_next_request(store_url: str):
    nowhere = "unix:///nonexistent/socket"

    async def main() -> list[int]:
        async with worker(store_url, nowhere) as (_, here), worker(store_url, nowhere) as (_, there):
            return await tell_of_everything(here, there)

    assert asyncio.run(main()) == [200, 401, 200, 401]


@pytest.mark.skipif(not BINARIES, reason="no Redis or Valkey server at hand")
def test_redis_away_during_the_change_and_back_before_the_next_request_hides_nothing(store_url: str):
    async def main() -> list[int]:
        with RedisServer() as redis:
            async with worker(store_url, redis.url) as (service, here), worker(store_url, redis.url) as (_, there):
                channel = (await here.post(CHANNELS, json={"name": "x"})).json()
                answers = [await push(there, channel["write_key"])]
                redis.hide()
                await here.delete(f"{CHANNELS}/{channel['channel_id']}")
                answers.append(await push(there, channel["write_key"]))
                redis.show()
                while not service.cache.available:  # noqa: ASYNC110 - the cache tells nobody
                    await asyncio.sleep(0.01)
                answers.append(await push(there, channel["write_key"]))
                answers.append(await push(here, channel["write_key"]))
                return answers

    assert asyncio.run(main()) == [200, 401, 401, 401]


def test_an_old_generation_that_is_filled_late_does_not_bring_a_revoked_key_back(urls: Urls, store_url: str):
    async def main() -> list[int]:
        async with worker(store_url, urls.redis) as (_, here), worker(store_url, urls.redis) as (service, there):
            key = (await here.post(KEYS, json={"name": "x", "scopes": ["admin"]})).json()
            answers = [(await there.get(KEYS, headers=bearer(key["secret"]))).status_code]
            old, since = service.access.generation, time.monotonic()
            await here.delete(f"{KEYS}/{key['key_id']}")
            service.cache.fill([(service.cache.generation_key(), old, b"")], since)
            await service.cache.write([], since)
            answers.append((await there.get(KEYS, headers=bearer(key["secret"]))).status_code)
            return answers

    assert asyncio.run(main()) == [200, 401]


def test_a_channel_revoked_before_a_push_is_refused_though_another_request_reloads_in_between(
    urls: Urls, store_url: str, monkeypatch: pytest.MonkeyPatch
):
    async def main() -> list[int]:
        async with worker(store_url, urls.redis) as (_, here), worker(store_url, urls.redis) as (service, there):
            channel = (await here.post(CHANNELS, json={"name": "x"})).json()
            answers = [await push(there, channel["write_key"])]
            await here.delete(f"{CHANNELS}/{channel['channel_id']}")
            knows = service.intake.knows

            async def knows_after_another_request(*question: Any) -> Any:
                await service.access.confirm(None)
                return await knows(*question)

            monkeypatch.setattr(service.intake, "knows", knows_after_another_request)
            answers.append(await push(there, channel["write_key"]))
            return answers

    assert asyncio.run(main()) == [200, 401]


def test_two_admins_who_revoke_each_other_leave_one(urls: Urls, store_url: str):
    async def main() -> list[int]:
        async with worker(store_url, urls.redis) as (_, here), worker(store_url, urls.redis) as (_, there):
            second = (await here.post(KEYS, json={"name": "x", "scopes": ["admin"]})).json()
            there.headers.update(bearer(second["secret"]))
            first_id = next(k["key_id"] for k in (await here.get(KEYS)).json()["items"] if k["name"] != "x")
            answers = await asyncio.gather(
                here.delete(f"{KEYS}/{second['key_id']}"), there.delete(f"{KEYS}/{first_id}")
            )
            return sorted(answer.status_code for answer in answers)

    assert asyncio.run(main()) in ([200, 401], [200, 409])
