"""Erasing a person: nothing is left, nothing comes back, nobody else loses anything."""

import asyncio
import hmac
import json
import os
import random
import re
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
import redis as redis_client
from psycopg import sql

from identity.app import Service
from identity.erasure import Erasure, Removed, cleared, folded
from identity.events.behaviour import Order
from identity.footprint import Page
from identity.refusals import Refusal
from identity.resolve import Changes, Fact, FactKind, Outcome
from identity.shredding import shred
from profiles import cache, embedded
from profiles.database import Connection
from profiles.http import Problem
from tests.harness import Urls, fresh_store, opened_service
from tests.model import Sent
from tests.store.calls import authenticate, find_visitors, look_up, submit
from tests.store.invariants import check_store, values_in
from tests.store.test_footprint import did, take
from tests.store.test_interleavings import Gate, held_before_saving, identify, sign_in, sign_out, two_workers
from tests.store.test_verify import random_event

NOW = 1_800_000_000_000
WORKSPACE = 1
Story = Callable[[Service], Awaitable[Any]]


def run(store_url: str, urls: Urls, story: Story) -> Any:
    """Run a story on the parts of one worker."""

    async def started() -> Any:
        async with opened_service(store_url, urls.redis) as service:
            return await story(service)

    return asyncio.run(started())


def everything_in(store_url: str) -> dict[str, list[str]]:
    """Return all rows of all tables as texts."""
    with psycopg.connect(store_url) as connection:
        tables = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
            " AND NOT relispartition"
        ).fetchall()
        return {
            name: [row for (row,) in connection.execute(sql.SQL("SELECT t::text FROM {} AS t").format(sql.Identifier(name)))]
            for (name,) in tables
        }


def tables_with(store_url: str, *texts: str) -> list[str]:
    """Return the tables in whose rows one of the texts stands."""
    return sorted(
        name for name, rows in everything_in(store_url).items() if any(text in row for row in rows for text in texts)
    )


async def erase(service: Service, customer_id: str, *, dry_run: bool = False) -> Removed:
    """Erase a customer and return what was removed, all of it."""
    receipt = await service.eraser.erase(WORKSPACE, customer_id, "test", dry_run=dry_run)
    assert not receipt.pending
    return receipt.removed


def reasons(outcomes: Sequence[Outcome]) -> list[Refusal | None]:
    return [outcome.refusal for outcome in outcomes]


def test_of_an_erased_customer_nothing_is_left_but_a_keyed_hash(store_url: str, urls: Urls):
    async def story(service: Service) -> Removed:
        push = identify("ana-id", "ana-laptop", name="Ana Lin", email="ana@shop.example", phone="+886912345678")
        await submit(service, push, {**identify("ana-id", "ana-phone", name="Ana"), "event_id": "e-ana"}, received_at=NOW)
        await submit(service, {"type": "userSignedOut", "visitor_id": "stranger", "userId": "ana-id"}, received_at=NOW)
        await submit(service, {"type": "purchase", "customer_id": " ana-id "}, received_at=NOW)
        await take(service, did(service, "ana-laptop", 1, props={"page": "ana-page"}))
        await take(service, did(service, None, 2, customer="ana-id", props={"page": "ana-page"}))
        await take(service, did(service, "stranger", 3, customer="ana-id"))
        return await erase(service, "ana-id")

    removed = run(store_url, urls, story)

    assert removed == Removed(
        customers=1, merges=2, links=2, visitors=2, identifications=3, events=2, refusals=1, cleared=1
    )
    assert tables_with(store_url, "ana-id", "Ana", "ana@shop.example", "912345678", "ana-laptop", "ana-phone") == []
    assert tables_with(store_url, "ana-page") == []
    check_store(store_url)


@pytest.mark.parametrize("spread", [1, 4096])
def test_erasing_out_of_a_busy_random_history_leaves_no_trace_and_all_others_whole(
    store_url: str, urls: Urls, spread: int
):
    chance = random.Random(20261122 + spread)
    with psycopg.connect(store_url) as connection:
        connection.execute("UPDATE workspace SET spread = %s", [spread])

    async def story(service: Service) -> list[str]:
        erased: list[str] = []
        for start in range(0, 900, 100):
            events = [own_ids(random_event(chance)) for _ in range(100)]
            for at in range(0, 100, 5):
                await submit(service, *events[at : at + 5], received_at=NOW + 1000 * start + at)
            await take(service, *(did(service, f"v{chance.randrange(30)}-", 1000 * start + n) for n in range(20)))
            named = f"c{chance.randrange(20)}-"
            if named not in erased and (await look_up(service, named))[0] == 200:
                before = values_in(store_url, *others(named))
                preview = await erase(service, named, dry_run=True)
                assert await erase(service, named) == preview
                assert values_in(store_url, *others(named)) == before
                erased.append(named)
                check_store(store_url)
        return erased

    erased = run(store_url, urls, story)

    assert len(erased) > 3
    assert [name for name in erased if tables_with(store_url, f'"{name}"', f",{name},")] == []
    check_store(store_url)


def own_ids(event: Sent) -> Sent:
    """Return the event with ids of which none begins like another."""
    names = {name: f"{event[name]}-" for name in ("customerId", "userId", "visitor_id") if event.get(name)}
    return {**event, **names}


def others(customer_id: str) -> list[str]:
    return [f"c{n}-" for n in range(20) if f"c{n}-" != customer_id]


PUSH = identify("ana", "v1", name="Ana Planted", email="ana@shop.example")


def test_late_and_replayed_events_are_refused_and_leave_no_trace(store_url: str, urls: Urls):
    late = [
        PUSH,
        sign_in("ana", "v1"),
        {"type": "userSignedUp", "visitor_id": "v1", "userId": "ana", "profile": {"firstName": "Ana Planted"}},
        {"type": "userSignedOut", "visitor_id": "v9", "userId": "ana"},
        {"type": "purchase", "visitor_id": "v1", "customer_id": " ana ", "props": {}},
        {**PUSH, "event_id": "told-before"},
    ]

    async def story(service: Service) -> tuple[list[Refusal | None], Any, Any]:
        await submit(service, {**PUSH, "event_id": "told-before"}, received_at=NOW)
        await erase(service, "ana")
        outcomes = await submit(service, *late, received_at=NOW + 1)
        outcomes += await take(service, did(service, None, 2, customer="ana"), did(service, "v9", 2, customer="ana"))
        return reasons(outcomes), await authenticate(service, {"visitor_id": "v1", "customer_id": "ana"}), None

    refusals, answer, _ = run(store_url, urls, story)

    assert refusals == [Refusal.ERASED_CUSTOMER] * 8
    assert answer == (200, {"status": "ok"})
    assert tables_with(store_url, ",ana,", '"ana"', "Ana Planted", "v1", "v9") == []
    with psycopg.connect(store_url) as connection:
        listed = connection.execute("SELECT reason, customer_id, visitor_id, event_id, fields FROM refusal").fetchall()
        counted = connection.execute("SELECT reason, sum(refused)::int FROM refusal_count GROUP BY 1 ORDER BY 1").fetchall()
    assert listed == [("erased_customer", None, None, None, [])] * 9
    assert counted == [("erased_customer", 9)]
    check_store(store_url)


def test_what_was_wrong_with_an_event_besides_is_told_by_the_order_of_refusals(store_url: str, urls: Urls):
    async def story(service: Service) -> list[Refusal | None]:
        await submit(service, PUSH, received_at=NOW)
        await erase(service, "ana")
        service.channels._by_key = {
            key: msgspec.structs.replace(channel, sender=msgspec.structs.replace(channel.sender, website_tracking=False))
            for key, channel in service.channels._by_key.items()
        }
        return reasons(await submit(service, PUSH, received_at=NOW + 1))

    assert run(store_url, urls, story) == [Refusal.TRACKING_DISABLED]
    assert tables_with(store_url, ",ana,", ",v1,") == []


def test_what_a_shared_visitor_did_in_the_customers_time_goes_and_is_nobodys_for_good(store_url: str, urls: Urls):
    async def story(service: Service) -> tuple[Removed, list[Any], list[Any]]:
        await take(service, did(service, "v1", -10, label="before"))
        await submit(service, sign_in("bo", "v1"), received_at=NOW)
        await submit(service, sign_in("ana", "v1"), received_at=NOW + 100)
        await submit(service, sign_out("v1"), received_at=NOW + 150)
        await submit(service, sign_in("ana", "v1"), received_at=NOW + 200)
        await submit(service, sign_in("bo", "v1"), received_at=NOW + 300)
        labels = {50: "bo's", 120: "ana's", 160: "ana's, too", 250: "ana's again", 350: "bo's again"}
        await take(service, *(did(service, "v1", at, label=label) for at, label in labels.items()))
        removed = await erase(service, "ana")
        await take(service, did(service, "v1", 130, label="late", received_at=NOW + 500))
        theirs = await service.footprints.of_customer(WORKSPACE, "bo", Page(11))
        all_of_it = await service.footprints.of_visitor(WORKSPACE, "v1", Page(11))
        return removed, theirs.items, all_of_it.items

    removed, theirs, all_of_it = run(store_url, urls, story)

    assert removed == Removed(customers=1, merges=4, links=1, identifications=2, events=3)
    assert [event.label for event in theirs] == ["bo's again", "bo's", "before"]
    assert [(event.label, event.customer_id) for event in all_of_it] == [
        ("bo's again", "bo"), ("late", None), ("bo's", "bo"), ("before", "bo"),
    ]  # fmt: skip
    assert tables_with(store_url, ",ana,") == []
    check_store(store_url)


def test_purchases_of_removed_events_are_forgotten(store_url: str, urls: Urls):
    async def story(service: Service) -> Removed:
        await submit(service, PUSH, sign_in("bo", "v2"), received_at=NOW)
        for visitor_id, order_id in (("v1", "t-1"), ("v2", "t-2")):
            told = {"transaction_id": order_id, "order": Order(order_id), "props": {"transaction_id": order_id}}
            await take(service, did(service, visitor_id, 1, "purchase", **told))
        return await erase(service, "ana")

    removed = run(store_url, urls, story)

    assert (removed.events, removed.purchases) == (1, 1)
    assert tables_with(store_url, "t-2") == ["event", "purchase"]
    assert tables_with(store_url, "t-1") == []
