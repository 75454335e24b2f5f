"""The footprint: whose events are, in which order they are shown, what they come to, and how long they are kept."""

import asyncio
import random
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import Any, LiteralString
from urllib.parse import parse_qsl, quote, urlencode, urlsplit
from uuid import uuid4

import msgspec
import psycopg
import pytest

from identity import footprint, partitions
from identity.acts import By
from identity.app import Service
from identity.events.behaviour import Behaviour, EventFault, FaultCode, Order
from identity.events.identity import Event
from identity.partitions import keep_up_at, keep_up_on, name_of, wanted
from identity.resolve import Outcome
from identity.sweep import sweep
from profiles.access import hash_of
from profiles.clock import to_text
from profiles.database import _OPTIONS, statement
from tests.harness import ADMIN_KEY, CHANNEL_ID, WRITE_KEY, Urls, opened_service
from tests.store.calls import KEEPING_KEY, add_keeping_channel, call, commit, request, submit
from tests.store.invariants import check_store
from tests.store.test_acts import fact_ids

NOW = 1_800_000_000_000
MINUTE, DAY = 60_000, 86_400_000
TODAY = datetime.fromtimestamp(NOW / 1000, UTC).date()
OTHER_KEY, OTHER_WRITE_KEY = "sk_test_other_0001", "wk_test_other_0001"

Story = Any


def run(store_url: str, urls: Urls, story: Story, *, now: int = NOW) -> Any:
    """Run a story on the parts of one worker, whose clock stands still."""

    async def started() -> Any:
        async with opened_service(store_url, urls.redis) as service:
            service.footprints._clock = lambda: now
            return await story(service)

    return asyncio.run(started())


def did(
    service: Service,
    visitor_id: str | None,
    at: int,
    name: str = "page_view",
    *,
    customer: str | None = None,
    key: str = WRITE_KEY,
    received_at: int | None = None,
    **more: Any,
) -> Behaviour:
    """Return a behaviour event as a parser would."""
    channel = service.channels.find(key)
    assert channel is not None
    return Behaviour(
        sender=channel.sender,
        name=name,
        visitor_id=visitor_id,
        customer=customer,
        occurred_at=NOW + at,
        received_at=NOW + at if received_at is None else received_at,
        **{"props": {}, **more},
    )


async def take(service: Service, *events: Event) -> list[Outcome]:
    """Have events committed."""
    return await commit(service, events)


async def sign_in(service: Service, visitor_id: str, customer_id: str, at: int, key: str = WRITE_KEY) -> None:
    sent = {"type": "userSignedIn", "visitor_id": visitor_id, "userId": customer_id, "occurred_at": NOW + at}
    await submit(service, sent, received_at=NOW + 10 * DAY, write_key=key)


async def sign_out(service: Service, visitor_id: str, at: int) -> None:
    sent = {"type": "userSignedOut", "visitor_id": visitor_id, "occurred_at": NOW + at}
    await submit(service, sent, received_at=NOW + 10 * DAY)


async def ask(service: Service, path: str, *, key: str = ADMIN_KEY, **query: str) -> tuple[int, Any]:
    """Ask for what stands below /api/v1."""
    asked = request("GET", f"/api/v1/{path}", query=urlencode(query), authorization=f"Bearer {key}")
    if path.startswith("footprint/summary"):
        return await call(service.footprints.summary_by_query, asked)
    if path.startswith("footprint"):
        return await call(service.footprints.by_query, asked)
    dispatch = service.customers.dispatch if path.startswith("customers") else service.visitors.dispatch
    return await call(dispatch, asked)


async def names(service: Service, path: str, **query: str) -> list[str]:
    """Return the labels of the events of a page."""
    status, page = await ask(service, f"{path}/footprint", **query)
    assert status == 200, page
    return [item["label"] for item in page["items"]]


async def tell(service: Service, visitor_id: str, *times: int) -> None:
    """Let a visitor do something at these times, which name the events."""
    await take(service, *(did(service, visitor_id, at, label=f"{visitor_id}@{at}") for at in times))


def add_other_workspace(store_url: str) -> None:
    with psycopg.connect(store_url) as connection:
        connection.execute("INSERT INTO workspace (workspace_id, slug, created_at) VALUES (2, 'other', '2026-01-01')")
        connection.execute(
            "INSERT INTO channel (channel_id, workspace_id, name, write_key, website_tracking, origins, on_sign_out,"
            " created_at) VALUES (%s, 2, 'Other', %s, true, '{}', 'forget', '2026-01-01')",
            [uuid4(), OTHER_WRITE_KEY],
        )
        connection.execute(
            "INSERT INTO secret_key (key_id, workspace_id, name, scopes, secret_hash, hint, created_at)"
            " VALUES (%s, 2, 'Other', '{profiles:read}', %s, '0001', '2026-01-01')",
            [uuid4(), hash_of(OTHER_KEY)],
        )
        connection.execute("UPDATE store SET generation = generation + 1")


def rows_in(store_url: str, query: LiteralString) -> list[tuple[Any, ...]]:
    with psycopg.connect(store_url) as connection:
        return connection.execute(query).fetchall()


# Whose it is.


def test_what_was_done_before_the_first_sign_in_is_the_first_customers(store_url: str, urls: Urls):
    async def story(service: Service) -> Any:
        await tell(service, "v", -5, 5)
        before = (await ask(service, "customers/a/footprint"))[0], await names(service, "visitors/v")
        await sign_in(service, "v", "a", 0)
        return before, await names(service, "customers/a")

    before, after = run(store_url, urls, story)

    assert before == (404, ["v@5", "v@-5"])
    assert after == ["v@5", "v@-5"]
    check_store(store_url)


def test_another_customer_on_the_same_browser_begins_another_footprint(store_url: str, urls: Urls):
    async def story(service: Service) -> Any:
        await sign_in(service, "v", "a", 0)
        await sign_in(service, "v", "b", 100)
        await tell(service, "v", -5, 0, 99, 100, 101)
        sums = [(await ask(service, f"customers/{c}/footprint/summary"))[1]["events"] for c in ("a", "b")]
        return await names(service, "customers/a"), await names(service, "customers/b"), sums

    assert run(store_url, urls, story) == (["v@99", "v@0", "v@-5"], ["v@101", "v@100"], [3, 2])


def test_what_was_said_of_a_visitor_and_not_applied_changes_no_footprint(store_url: str, urls: Urls):
    async def story(service: Service) -> Any:
        await sign_in(service, "v", "a", 0)
        of_another = {"type": "userSignedOut", "visitor_id": "v", "userId": "b", "occurred_at": NOW + 10}
        (outcome,) = await submit(service, of_another, received_at=NOW + DAY)
        await tell(service, "v", 5, 15)
        return [fact.applied for fact in outcome.facts], await names(service, "customers/a")

    assert run(store_url, urls, story) == ([False], ["v@15", "v@5"])


def test_a_customer_who_signs_out_and_in_again_did_what_was_done_in_between(store_url: str, urls: Urls):
    async def story(service: Service) -> Any:
        await sign_in(service, "v", "a", 0)
        await sign_out(service, "v", 100)
        await tell(service, "v", 50, 150, 250)
        signed_out = await names(service, "customers/a")
        await sign_in(service, "v", "a", 200)
        return signed_out, await names(service, "customers/a")

    assert run(store_url, urls, story) == (["v@50"], ["v@250", "v@150", "v@50"])


def test_what_was_done_between_two_customers_is_contested_and_nobodys(store_url: str, urls: Urls):
    async def story(service: Service) -> Any:
        await sign_in(service, "v", "a", 0)
        await sign_out(service, "v", 100)
        await sign_in(service, "v", "b", 200)
        await sign_out(service, "v", 300)
        await tell(service, "v", 50, 150, 250, 350)
        _, page = await ask(service, "visitors/v/footprint")
        told = [(item["label"], item["customer_id"], item["contested"]) for item in page["items"]]
        return await names(service, "customers/a"), await names(service, "customers/b"), told

    assert run(store_url, urls, story) == (
        ["v@50"],
        ["v@250"],
        [("v@350", None, False), ("v@250", "b", False), ("v@150", None, True), ("v@50", "a", False)],
    )


def test_an_identification_that_comes_late_moves_the_footprint_at_once(store_url: str, urls: Urls):
    async def story(service: Service) -> Any:
        await sign_in(service, "v", "a", 0)
        await sign_in(service, "v", "c", 300)
        await tell(service, "v", 50, 150, 250, 350)
        before = await names(service, "customers/a")
        await sign_in(service, "v", "b", 100)
        return before, await names(service, "customers/a"), await names(service, "customers/b")

    assert run(store_url, urls, story) == (["v@250", "v@150", "v@50"], ["v@50"], ["v@250", "v@150"])


def test_of_more_identifications_than_are_read_the_oldest_time_is_nobodys_also_where_one_was_taken_back(
    store_url: str, urls: Urls, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(footprint, "CHANGE_POINTS_MAX", 3)

    async def story(service: Service) -> Any:
        for at, customer_id in enumerate(("a", "b", "c")):
            await sign_in(service, "v", customer_id, at * 100)
        await tell(service, "v", 50, 150, 250)
        _, wrong, _ = await fact_ids(service, "v")
        monkeypatch.setattr(service.acts, "_clock", lambda: NOW + DAY)
        await service.acts.undo_facts(1, "v", [wrong], By("key:Ana", "not hers"), dry_run=False)
        return [await names(service, f"customers/{customer_id}") for customer_id in ("a", "b", "c")]

    assert run(store_url, urls, story) == [[], [], ["v@250"]]


def test_two_browsers_of_one_customer_make_one_footprint_newest_first(store_url: str, urls: Urls):
    async def story(service: Service) -> Any:
        await tell(service, "phone", 10, 30)
        await tell(service, "laptop", 20, 40)
        await sign_in(service, "phone", "a", 0)
        await sign_in(service, "laptop", "a", 0)
        return await names(service, "customers/a")

    assert run(store_url, urls, story) == ["laptop@40", "phone@30", "laptop@20", "phone@10"]


def test_an_event_that_names_a_customer_alone_is_theirs_and_with_a_visitor_too_it_is_the_visitors(
    store_url: str, urls: Urls
):
    async def story(service: Service) -> Any:
        await sign_in(service, "v", "a", 0)
        await sign_in(service, "w", "b", 0)
        await take(service, did(service, None, 10, label="direct", customer="a"))
        await take(service, did(service, "w", 20, label="both", customer="a"))
        _, page = await ask(service, "customers/a/footprint")
        told = [(item["label"], item["visitor_id"], item["customer_id"]) for item in page["items"]]
        return told, await names(service, "customers/b"), (await ask(service, "visitors/a/footprint"))[0]

    assert run(store_url, urls, story) == ([("direct", None, "a")], ["both"], 404)


def test_another_workspace_sees_nothing_of_it(store_url: str, urls: Urls):
    add_other_workspace(store_url)

    async def story(service: Service) -> Any:
        await tell(service, "v", 10)
        await sign_in(service, "v", "a", 0)
        strangers = [
            await ask(service, path, key=OTHER_KEY)
            for path in ("customers/a/footprint", "visitors/v/footprint", "customers/a/footprint/summary")
        ]
        await sign_in(service, "v", "a", 0, key=OTHER_WRITE_KEY)
        _, page = await ask(service, "customers/a/footprint", key=OTHER_KEY)
        _, sums = await ask(service, "customers/a/footprint/summary", key=OTHER_KEY)
        return [(status, body["code"]) for status, body in strangers], page["items"], sums["events"]

    assert run(store_url, urls, story) == (
        [(404, "customer_not_found"), (404, "visitor_not_found"), (404, "customer_not_found")],
        [],
        0,
    )


# What is stored.


def test_everything_that_an_event_told_is_shown_and_what_it_lost_with_what_to_do(store_url: str, urls: Urls):
    async def story(service: Service) -> Any:
        event = did(
            service,
            "v",
            -1,
            "purchase",
            label="Shoes",
            event_id="e-1",
            props={"items": [{"price": 1.5}], "text": "<&\u2028ü"},
            order=Order("o-1", 490.0, "TWD"),
            remarks=(EventFault("/props/coupon", FaultCode.TOO_LONG),),
        )
        await take(service, event)
        return (await ask(service, "visitors/v/footprint"))[1]

    page = run(store_url, urls, story)

    (item,) = page["items"]
    assert page == {"items": [item], "next_cursor": None}
    assert item == {
        "record_id": item["record_id"],
        "type": "purchase",
        "label": "Shoes",
        "occurred_at": to_text(NOW - 1),
        "received_at": to_text(NOW - 1),
        "visitor_id": "v",
        "customer_id": None,
        "contested": False,
        "event_id": "e-1",
        "channel_id": CHANNEL_ID,
        "props": {"items": [{"price": 1.5}], "text": "<&\u2028ü"},
        "remarks": [
            {
                "path": "/props/coupon",
                "code": "too_long",
                "hint": "Shorten the text; the limits stand in the table of events.",
            }
        ],
        "order_id": "o-1",
        "revenue": 490.0,
        "currency": "TWD",
    }


def test_a_transaction_that_is_told_twice_is_stored_once_for_its_website_whoever_tells_it(store_url: str, urls: Urls):
    add_keeping_channel(store_url)

    async def story(service: Service) -> Any:
        def told(visitor_id: str, key: str = WRITE_KEY) -> Behaviour:
            return did(
                service, visitor_id, 10, "purchase", key=key, transaction_id="t-1", order=Order("t-1", 5.0, "EUR")
            )

        await take(service, told("v"), told("v"))
        await take(service, told("w"))
        await take(service, told("x", KEEPING_KEY))
        found = [await ask(service, f"visitors/{v}/footprint") for v in ("v", "w", "x")]
        return [status for status, _ in found]

    assert run(store_url, urls, story) == [200, 404, 200]
    assert rows_in(store_url, "SELECT subject FROM event ORDER BY subject") == [("v",), ("x",)]


def test_a_retry_with_the_same_event_id_is_stored_once(store_url: str, urls: Urls):
    async def story(service: Service) -> Any:
        event = did(service, "v", 10, label="once", event_id="e-1")
        await take(service, event, event)
        outcomes = await take(service, msgspec.structs.replace(event, received_at=NOW + 20))
        return outcomes[0].unchanged, await names(service, "visitors/v")

    assert run(store_url, urls, story) == (True, ["once"])


# Pages.


def scattered(service: Service, chance: random.Random, visitors: int, events: int) -> list[Behaviour]:
    """Return events of many visitors, most of them of late, several at one moment."""
    found = []
    for number in range(events):
        at = -int(chance.choice((1, 3, 40, 300)) * DAY * chance.random()) // (6 * MINUTE) * 6 * MINUTE
        arrived = NOW + min(0, at + chance.choice((0, 0, 0, 2 * DAY)))
        name = chance.choice(("page_view", "page_view", "add_to_cart"))
        visitor_id = f"v{chance.randrange(visitors)}"
        found.append(did(service, visitor_id, at, name, label=str(number), received_at=arrived))
    return found


async def walk(service: Service, path: str, **query: str) -> list[dict[str, Any]]:
    """Return the items of all pages, by following the links."""
    items: list[dict[str, Any]] = []
    link: str | None = f"/api/v1/{path}?{urlencode(query)}"
    while link is not None:
        parts = urlsplit(link)
        asked = request("GET", parts.path, query=parts.query, authorization=f"Bearer {ADMIN_KEY}")
        endpoint = service.customers.dispatch if "/customers/" in link else service.visitors.dispatch
        response = await endpoint(asked)
        page = msgspec.json.decode(response.body)
        items += page["items"]
        found = dict(response.headers).get(b"link")
        link = found.decode().removeprefix("<").removesuffix('>; rel="next"') if found else None
        assert (link is None) == (page["next_cursor"] is None)
        assert link is None or dict(parse_qsl(urlsplit(link).query))["cursor"] == page["next_cursor"]
    return items


@pytest.mark.parametrize(("visitors", "limit"), [(1, "7"), (6, "50"), (30, "7"), (30, "200")])
def test_pages_show_every_event_once_in_order_whatever_the_visitors_and_the_limit(
    store_url: str, urls: Urls, visitors: int, limit: str
):
    chance = random.Random(visitors)

    async def story(service: Service) -> Any:
        events = scattered(service, chance, visitors, 400)
        await take(service, *events)
        for number in range(visitors):
            await sign_in(service, f"v{number}", "a", -200 * DAY)
            if number % 3 == 0:
                await sign_in(service, f"v{number}", "b", -2 * DAY)
        asked = {
            "all": {},
            "carts": {"type": "add_to_cart"},
            "range": {"from": to_text(NOW - 30 * DAY), "to": str(NOW - DAY)},
        }
        path = "customers/a/footprint"
        found = {name: await walk(service, path, limit=limit, **query) for name, query in asked.items()}
        return events, found

    events, found = run(store_url, urls, story)

    mine = [event for event in events if int(str(event.visitor_id)[1:]) % 3 or event.occurred_at < NOW - 2 * DAY]
    assert len(mine) > 100
    expected = {
        "all": mine,
        "carts": [event for event in mine if event.name == "add_to_cart"],
        "range": [event for event in mine if NOW - 30 * DAY <= event.occurred_at < NOW - DAY],
    }
    for name, items in found.items():
        assert sorted(item["label"] for item in items) == sorted(str(event.label) for event in expected[name]), name
        order = [(item["occurred_at"], item["record_id"]) for item in items]
        assert order == sorted(order, reverse=True)
        assert {item["customer_id"] for item in items} == {"a"}


@pytest.mark.parametrize("days", [(395, 30), (30, 395), (395, 3650)])
def test_pages_are_complete_though_retention_changed(store_url: str, urls: Urls, days: tuple[int, int]):
    """What arrived under another retention lies in other months than a reader of today would look into."""
    chance = random.Random(days[0])

    async def story(service: Service) -> Any:
        events = scattered(service, chance, 20, 300)

        def kept(event: Behaviour) -> Behaviour:
            rule = days[0] if event.received_at < NOW - 20 * DAY else days[1]
            return msgspec.structs.replace(event, sender=msgspec.structs.replace(event.sender, footprint_days=rule))

        await take(service, *map(kept, events))
        for number in range(20):
            await sign_in(service, f"v{number}", "a", -200 * DAY)
        async with service.database.connection() as connection:
            await connection.execute(
                "UPDATE workspace SET footprint_days = %s, footprint_changed_at = %s",
                [days[1], to_text(NOW - 20 * DAY)],
            )
            await connection.execute("UPDATE store SET generation = generation + 1")
        await service.access.confirm(None)
        return events, await walk(service, "customers/a/footprint", limit="20")

    events, items = run(store_url, urls, story)

    def is_shown(event: Behaviour) -> bool:
        arrived = event.received_at // DAY
        rule = days[0] if event.received_at < NOW - 20 * DAY else days[1]
        return arrived + days[1] >= NOW // DAY and arrived + rule >= NOW // DAY

    assert sorted(item["label"] for item in items) == sorted(str(event.label) for event in events if is_shown(event))


def test_types_may_be_given_again_or_in_a_list_and_come_back_in_the_link(store_url: str, urls: Urls):
    async def story(service: Service) -> Any:
        kinds = ("page_view", "add_to_cart", "purchase", "page_view")
        await take(service, *(did(service, "v", at, kind, label=kind) for at, kind in enumerate(kinds)))
        asked = request(
            "GET", "/api/v1/visitors/v/footprint", query="type=purchase&type=add_to_cart&limit=1",
            authorization=f"Bearer {ADMIN_KEY}",
        )  # fmt: skip
        response = await service.visitors.dispatch(asked)
        return (
            await names(service, "visitors/v", type="purchase,add_to_cart"),
            dict(response.headers)[b"link"].decode(),
            [
                item["type"]
                for item in await walk(service, "visitors/v/footprint", type="purchase,page_view", limit="1")
            ],
        )

    several, link, walked = run(store_url, urls, story)

    assert several == ["purchase", "add_to_cart"]
    assert link.startswith("</api/v1/visitors/v/footprint?type=purchase%2Cadd_to_cart&limit=1&cursor=")
    assert walked == ["page_view", "purchase", "page_view"]


@pytest.mark.parametrize("customer_id", ["footprint", "lookup", "a/b", "x y", "../é", "summary"])
def test_an_id_with_every_kind_of_character_has_its_footprint(store_url: str, urls: Urls, customer_id: str):
    async def story(service: Service) -> Any:
        await tell(service, customer_id, 10, 20)
        await sign_in(service, customer_id, customer_id, 0)
        sent = quote(customer_id, safe="")
        one = await ask(service, f"customers/{sent}/footprint", limit="1")
        two = await ask(service, "footprint", customer_id=customer_id, limit="1")
        three = await ask(service, f"customers/{sent}/footprint/summary")
        four = await ask(service, "footprint/summary", customer_id=customer_id)
        five = await ask(service, f"visitors/{sent}/footprint", limit="1")
        six = await ask(service, "footprint", visitor_id=customer_id, limit="1")
        assert (one, three, five) == (two, four, six)
        return (
            one[1]["items"][0]["label"],
            three[1]["events"],
            (await walk(service, f"customers/{sent}/footprint", limit="1")),
        )

    label, events, walked = run(store_url, urls, story)

    assert (label, events, len(walked)) == (f"{customer_id}@20", 2, 2)


@pytest.mark.parametrize(
    ("path", "query", "status", "code"),
    [
        ("customers/a/footprint", {"limit": "201"}, 400, "invalid_limit"),
        ("customers/a/footprint", {"cursor": "x"}, 400, "invalid_cursor"),
        ("customers/a/footprint", {"cursor": "A" * 31}, 400, "invalid_cursor"),
        ("customers/a/footprint", {"cursor": "_" * 32}, 400, "invalid_cursor"),
        ("customers/a/footprint", {"cursor": "é"}, 400, "invalid_cursor"),
        ("customers/a/footprint", {"type": "\x00"}, 400, "invalid_type"),
        ("customers/a/footprint", {"type": ",".join(map(str, range(51)))}, 400, "invalid_type"),
        ("customers/a/footprint", {"from": "yesterday"}, 400, "invalid_from"),
        ("customers/a/footprint", {"to": "1"}, 400, "invalid_to"),
        ("customers/a/footprint", {"customer_id": "b"}, 400, "unknown_parameter"),
        ("customers/a/footprint/sum", {}, 404, "not_found"),
        ("customers/%ff/footprint", {}, 404, "customer_not_found"),
        ("customers/nobody/footprint", {}, 404, "customer_not_found"),
        ("customers/nobody/footprint/summary", {}, 404, "customer_not_found"),
        ("visitors/nobody/footprint", {}, 404, "visitor_not_found"),
        ("visitors/undefined/footprint", {}, 404, "visitor_not_found"),
        ("visitors/a/footprint/summary", {}, 404, "not_found"),
        ("footprint", {}, 400, "missing_subject"),
        ("footprint", {"customer_id": "a", "visitor_id": "a"}, 400, "missing_subject"),
        ("footprint/summary", {}, 400, "missing_customer_id"),
        ("footprint/summary", {"visitor_id": "a"}, 400, "unknown_parameter"),
    ],
)
def test_a_wrong_question_is_told_what_is_wrong(
    store_url: str, urls: Urls, path: str, query: dict[str, str], status: int, code: str
):
    async def story(service: Service) -> Any:
        await sign_in(service, "a", "a", 0)
        return await ask(service, path, **query)

    found = run(store_url, urls, story)

    assert (found[0], found[1]["code"]) == (status, code)


def test_a_type_with_quotes_and_backslashes_is_only_a_type_that_nothing_has(store_url: str, urls: Urls):
    async def story(service: Service) -> Any:
        await tell(service, "v", 1)
        return await names(service, "visitors/v", type='\\"}{"'), await names(service, "visitors/v", type="NULL")

    assert run(store_url, urls, story) == ([], [])


def test_a_visitor_who_is_known_and_did_nothing_has_an_empty_footprint(store_url: str, urls: Urls):
    async def story(service: Service) -> Any:
        await sign_in(service, "v", "a", 0)
        return await names(service, "visitors/v"), await names(service, "customers/a")

    assert run(store_url, urls, story) == ([], [])


# The summary.


def test_the_summary_counts_sessions_orders_and_revenue_each_order_once(store_url: str, urls: Urls):
    async def story(service: Service) -> Any:
        def ordered(visitor_id: str, at: int, order: Order | None, name: str = "orderPlaced") -> Behaviour:
            return did(service, visitor_id, at, name, order=order)

        await take(
            service,
            did(service, "v", 0),
            did(service, "v", 30 * MINUTE),
            did(service, "v", 60 * MINUTE + 1),
            did(service, "w", 30 * MINUTE),
            did(service, None, 500 * MINUTE, "shipped", customer="a"),
            ordered("v", 61 * MINUTE, Order("o-1", 10.0, "EUR")),
            ordered("v", 62 * MINUTE, Order("o-1", 10.1, "EUR")),
            ordered("w", 63 * MINUTE, Order("o-1", None, None), "orderShipped"),
            ordered("w", 63 * MINUTE, Order("o-2", 0.2, "EUR")),
            ordered("w", 63 * MINUTE, Order("o-3", 490.0, "TWD")),
            ordered("w", 63 * MINUTE, Order("o-4", 7.0, None)),
            did(service, "stranger", 0),
        )
        for visitor_id in ("v", "w", "idle"):
            await sign_in(service, visitor_id, "a", 0)
        return await ask(service, "customers/a/footprint/summary")

    status, found = run(store_url, urls, story, now=NOW + DAY)

    assert status == 200
    assert found == {
        "customer_id": "a",
        "first_seen": to_text(NOW),
        "last_seen": to_text(NOW + 500 * MINUTE),
        "events": 11,
        "types": {"orderPlaced": 5, "orderShipped": 1, "page_view": 4, "shipped": 1},
        "sessions": 4,
        "visitors": 2,
        "orders": 4,
        "revenue": [
            {"currency": None, "amount": 7.0, "orders": 1},
            {"currency": "EUR", "amount": 10.3, "orders": 2},
            {"currency": "TWD", "amount": 490.0, "orders": 1},
        ],
    }


def test_the_summary_of_a_customer_who_did_nothing_is_empty(store_url: str, urls: Urls):
    async def story(service: Service) -> Any:
        await sign_in(service, "v", "a", 0)
        return (await ask(service, "customers/a/footprint/summary"))[1]

    assert run(store_url, urls, story) == {
        "customer_id": "a",
        "first_seen": None,
        "last_seen": None,
        "events": 0,
        "types": {},
        "sessions": 0,
        "visitors": 0,
        "orders": 0,
        "revenue": [],
    }


def test_a_summary_that_takes_too_long_says_so(store_url: str, urls: Urls, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("identity.footprint.SUM_MILLISECONDS_MAX", 1)

    async def story(service: Service) -> Any:
        await take(service, *(did(service, "v", -at) for at in range(8000)))
        await sign_in(service, "v", "a", 0)
        return await ask(service, "customers/a/footprint/summary")

    status, problem = run(store_url, urls, story)

    assert (status, problem["code"]) == (503, "query_too_slow")


# How long it is kept.


def test_what_is_past_its_retention_is_hidden_at_once_and_gone_with_its_month(store_url: str, urls: Urls):
    async def story(service: Service) -> Any:
        await tell(service, "v", -40 * DAY, -10 * DAY)
        await sign_in(service, "v", "a", 0)
        before = await names(service, "customers/a")
        async with service.database.connection() as connection:
            await connection.execute(
                "UPDATE workspace SET footprint_days = 30, footprint_changed_at = %s", [to_text(NOW)]
            )
            await connection.execute("UPDATE store SET generation = generation + 1")
        await service.access.confirm(None)
        hidden = await names(service, "customers/a")
        _, sums = await ask(service, "customers/a/footprint/summary")
        return before, hidden, sums["events"]

    old, young = f"v@{-40 * DAY}", f"v@{-10 * DAY}"
    assert run(store_url, urls, story) == ([young, old], [young], 1)
    assert rows_in(store_url, "SELECT count(*) FROM event") == [(2,)]


def test_an_event_is_shown_on_its_last_day_and_not_on_the_next(store_url: str, urls: Urls):
    async def story(service: Service) -> Any:
        await tell(service, "v", 0)
        await sign_in(service, "v", "a", 0)
        shown = []
        for now in (NOW + 395 * DAY, NOW + 396 * DAY):
            service.footprints._clock = iter([now]).__next__
            shown.append(await names(service, "customers/a"))
        return shown

    assert run(store_url, urls, story) == [["v@0"], []]


def test_the_sweep_makes_months_and_drops_those_that_are_over(store_url: str, urls: Urls):
    async def story(service: Service) -> Any:
        await tell(service, "v", -400 * DAY, 0)
        before = await listed(service)
        await sweep(service.database, service.spreads, [1], NOW)
        return before, await listed(service), await names(service, "visitors/v")

    before, after, shown = run(store_url, urls, story)

    over = name_of(TODAY + timedelta(days=-400 + 395))
    kept = [name for name in before if name >= name_of(TODAY)]
    assert over in before or over == name_of(TODAY)
    assert set(after) == {*kept, *map(name_of, wanted(TODAY, [395]))}
    assert shown == ["v@0"]


def test_months_that_are_over_are_dropped_with_what_is_in_them(store_url: str, urls: Urls):
    async def story(service: Service) -> Any:
        await tell(service, "v", -450 * DAY, 0)
        await keep_up_on(service.database, TODAY)
        return await listed(service)

    after = run(store_url, urls, story)

    assert min(after) >= name_of(TODAY)
    assert rows_in(store_url, "SELECT occurred_at = to_timestamp(1800000000) FROM event") == [(True,)]


def test_a_month_is_dropped_on_the_day_after_its_last_and_not_before(store_url: str):
    keep_up_at(store_url, date(2031, 1, 15))

    left = []
    for day in (date(2032, 2, 29), date(2032, 3, 1)):
        keep_up_at(store_url, day)
        left.append("event_2032_02" in [n for (n,) in rows_in(store_url, "SELECT relname::text FROM pg_class")])

    assert left == [True, False]


async def listed(service: Service) -> list[str]:
    async with service.database.connection() as connection:
        return await partitions._list(connection)


def test_an_event_whose_month_is_missing_makes_it_and_is_stored(store_url: str, urls: Urls):
    with psycopg.connect(store_url, autocommit=True) as connection:
        for (name,) in connection.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits JOIN pg_class"
            " ON pg_class.oid = inhparent WHERE relname = 'event'"
        ).fetchall():
            connection.execute(f"DROP TABLE {name}")

    async def story(service: Service) -> Any:
        far = msgspec.structs.replace(did(service, "v", 1, label="far"), received_at=NOW + 4000 * DAY)
        await asyncio.gather(take(service, did(service, "v", 0, label="near"), far), sign_in(service, "v", "a", 0))
        return await listed(service)

    made = run(store_url, urls, story)

    assert made == sorted({name_of(TODAY + timedelta(days=395)), name_of(TODAY + timedelta(days=4395))})
    assert rows_in(store_url, "SELECT label FROM event ORDER BY label") == [("far",), ("near",)]
    check_store(store_url)


def test_where_no_month_can_be_made_the_sender_is_told_to_come_back(
    store_url: str, urls: Urls, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(partitions, "LOCK_SECONDS_MAX", 1)
    monkeypatch.setattr(partitions, "ATTEMPTS_MAX", 1)

    async def story(service: Service) -> Any:
        event = msgspec.structs.replace(did(service, "v", 0), received_at=NOW + 4000 * DAY)
        with psycopg.connect(store_url) as holder:
            holder.execute("SELECT pg_advisory_xact_lock(%s)", [partitions._ADVISORY_LOCK])
            refused = await service.intake.submit([event])
        await take(service, event)
        return [type(outcome).__name__ for outcome in refused]

    assert run(store_url, urls, story) == ["Unavailable"]
    assert rows_in(store_url, "SELECT count(*) FROM event") == [(1,)]


def test_four_workers_make_and_drop_the_same_months_at_once_while_events_come_in(store_url: str, urls: Urls):
    days = [TODAY + timedelta(days=31 * step) for step in range(4)]

    def upkeep(day: date) -> None:
        keep_up_at(store_url, day)

    async def story(service: Service) -> Any:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(4) as pool:
            upkeeps = [loop.run_in_executor(pool, upkeep, day) for day in days for _ in range(4)]
            for number in range(40):
                await tell(service, f"v{number}", number)
            await asyncio.gather(*upkeeps)
        return await listed(service)

    after = run(store_url, urls, story)

    assert set(after) >= {name for day in days for name in map(name_of, wanted(day, [395]))}
    assert rows_in(store_url, "SELECT count(*) FROM event") == [(40,)]


def test_a_month_that_was_left_half_made_is_finished(store_url: str):
    (month, *_) = wanted(date(2031, 5, 5), [395])
    with psycopg.connect(store_url, autocommit=True) as connection:
        connection.execute(f"CREATE TABLE {name_of(month)} (LIKE event INCLUDING DEFAULTS)")

    keep_up_at(store_url, date(2031, 5, 5))

    found = [name for (name,) in rows_in(store_url, "SELECT inhrelid::regclass::text FROM pg_inherits")]
    assert name_of(month) in found


def test_a_page_is_read_in_the_order_of_the_index_and_only_where_it_can_be(store_url: str):
    for step in range(14):
        keep_up_at(store_url, TODAY - timedelta(days=30 * step) + timedelta(days=400))
    source = (
        '[{"number":0,"bucket":1,"workspace_id":1,"is_direct":false,"subject":"v","since":"-infinity",'
        '"before_at":"2027-01-01","before_id":"00000000-0000-0000-0000-000000000000","quota":3}]'
    )
    numbered = statement("identity", "list_footprint")
    for at, name in enumerate(("buckets", "kept_from", "kept_to", "oldest", "types", "sources"), 1):
        numbered = numbered.replace(f"%({name})s", f"${at}")

    with psycopg.connect(store_url, options=_OPTIONS) as connection:
        connection.execute(f"PREPARE planned AS {numbered}")
        months = [name for (name,) in connection.execute(statement("identity", "list_partitions")).fetchall()]
        day = f"{months[-2].removeprefix('event_').replace('_', '-')}-01"
        plan = "\n".join(
            line
            for (line,) in connection.execute(
                f"EXPLAIN (COSTS OFF) EXECUTE planned ('{{1}}', '{day}', 'infinity', '2000-01-01', '{{}}', '{source}')"
            ).fetchall()
        )

    assert len(months) > 14
    assert "Merge Append" in plan
    assert [word for word in ("Sort  ", "Seq Scan", "Bitmap") if word in plan] == []
    assert sorted(set(re.findall(r"on (event_\w+)", plan))) == months[-2:]
    assert f"Subplans Removed: {len(months) - 2}" in plan
