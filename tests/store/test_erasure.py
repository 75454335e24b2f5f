"""Erasing a person: nothing is left, nothing comes back, nobody else loses anything."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from psycopg import sql

from identity import erasure, intake
from identity.acts import By
from identity.app import Service
from identity.bulk_undo import Filter
from identity.erasure import Erasure, Removed
from identity.events.behaviour import EventFault, FaultCode, Order
from identity.footprint import Page
from identity.refusals import Refusal
from identity.resolve import Outcome
from identity.shredding import shred
from profiles import cache, embedded
from profiles.http import Problem
from tests.harness import Urls, fresh_store, opened_service
from tests.model import Sent
from tests.store.calls import authenticate, find_visitors, look_up, submit
from tests.store.invariants import check_store, values_in
from tests.store.redis_server import RedisServer
from tests.store.test_footprint import did, names, take
from tests.store.test_interleavings import (
    Gate,
    held_before_commit,
    held_before_saving,
    identify,
    sign_in,
    sign_out,
    two_workers,
)
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
            name: [
                row
                for (row,) in connection.execute(sql.SQL("SELECT t::text FROM {} AS t").format(sql.Identifier(name)))
            ]
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
        await submit(
            service, push, {**identify("ana-id", "ana-phone", name="Ana"), "event_id": "e-ana"}, received_at=NOW
        )
        await submit(service, {"type": "userSignedOut", "visitor_id": "stranger", "userId": "ana-id"}, received_at=NOW)
        await submit(service, {"type": "purchase", "customer_id": " ana-id "}, received_at=NOW)
        await take(service, did(service, "ana-laptop", 1, props={"page": "ana-page"}))
        await take(service, did(service, None, 2, customer="ana-id", props={"page": "ana-page"}))
        await take(service, did(service, "stranger", 3, customer="ana-id"))
        await service.bulk.begin(WORKSPACE, Filter(until=NOW, customer_id="ana-id"), By("test", "Ana asked for it"))
        await service.suggestions.dismiss(WORKSPACE, "ana-id", "bo-id", actor="test", note="not Ana")
        return await erase(service, "ana-id")

    removed = run(store_url, urls, story)

    assert removed == Removed(
        customers=1, merges=2, links=2, visitors=2, identifications=3, events=2, refusals=1, cleared=3
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
        counted = connection.execute(
            "SELECT reason, sum(refused)::int FROM refusal_count GROUP BY 1 ORDER BY 1"
        ).fetchall()
    assert listed == [("erased_customer", None, None, None, [])] * 9
    assert counted == [("erased_customer", 9)]
    check_store(store_url)


def test_what_was_wrong_with_an_event_besides_is_told_by_the_order_of_refusals(store_url: str, urls: Urls):
    async def story(service: Service) -> list[Refusal | None]:
        await submit(service, PUSH, received_at=NOW)
        await erase(service, "ana")
        service.channels._by_key = {
            key: msgspec.structs.replace(
                channel, sender=msgspec.structs.replace(channel.sender, website_tracking=False)
            )
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
            told: dict[str, Any] = {
                "transaction_id": order_id,
                "order": Order(order_id),
                "props": {"transaction_id": order_id},
            }
            await take(service, did(service, visitor_id, 1, "purchase", **told))
        return await erase(service, "ana")

    removed = run(store_url, urls, story)

    assert (removed.events, removed.purchases) == (1, 1)
    assert tables_with(store_url, "t-2") == ["event", "purchase"]
    assert tables_with(store_url, "t-1") == []


# Races: an event that was decided before the erasure, and saved after it.

EVENTS: dict[str, Sent] = {
    "the same push with another name": identify("ana", "v1", name="Anna Planted"),
    "a sign-in on another device": sign_in("ana", "v2"),
    "a sign-out": sign_out("v1"),
    "another customer on the device": identify("bo", "v1", name="Bo"),
    "a patch": {
        "type": "userProfileChanged", "visitor_id": "v1",
        "patch": {"operations": [{"type": "set", "path": "firstName", "value": "Ana Planted"}]},
    },
    "a sign-out in vain": {"type": "userSignedOut", "visitor_id": "v3", "userId": "ana"},
    "an alias": {"type": "userSignedIn", "visitor_id": "v1", "userId": "ana"},
}  # fmt: skip


@pytest.mark.parametrize("name", EVENTS)
@pytest.mark.parametrize("is_late", [False, True], ids=["rows written", "nothing written yet"])
def test_an_event_that_was_under_way_brings_nothing_back(
    store_url: str, urls: Urls, monkeypatch: pytest.MonkeyPatch, name: str, is_late: bool
):
    hold = held_before_saving if is_late else held_before_commit

    async def story() -> None:
        async with two_workers(store_url, urls.redis) as (one, other):
            await submit(one, PUSH, identify("bo", "v3", name="Bo"), received_at=NOW)
            gate = Gate()
            with hold(one, gate, monkeypatch):
                under_way = asyncio.create_task(submit(one, EVENTS[name], received_at=NOW + 1))
                arrival = asyncio.create_task(gate.reached())
                await asyncio.wait({under_way, arrival}, return_when=asyncio.FIRST_COMPLETED)
                arrival.cancel()
                erasing = asyncio.create_task(erase(other, "ana"))
                await asyncio.wait({erasing}, timeout=0.1 if hold is held_before_commit else 5)
                gate.open()
                await erasing
                await under_way
            for worker in (one, other):
                assert (await look_up(worker, "ana"))[0] == 404
                assert (await find_visitors(worker, "v1", "v2"))[1] == []

    asyncio.run(story())
    check_store(store_url)
    # What a browser says without naming anybody is an anonymous visitor's.
    values = () if name == "a patch" else ("Planted",)
    assert tables_with(store_url, ",ana,", '"ana"', *values) == []


BESIDE = {
    "a direct event": lambda service: did(service, None, 1, customer="ana"),
    "an event of a visitor that names the customer": lambda service: did(service, "v8", 1, customer="ana"),
    "a refused event": lambda service: did(
        service, None, 1, customer="ana", sent_customer="ana", faults=(EventFault("/", FaultCode.MISSING),)
    ),
}


def counted_polls(service: Service, patch: pytest.MonkeyPatch) -> asyncio.Event:
    """Return what is set once the worker has looked several times whether others are still writing."""
    fetch, polls, several = service.database.fetch, iter(range(5)), asyncio.Event()

    async def counted(package: str, name: str, *parameters: Any) -> Any:
        if name == "load_snapshot" and next(polls, None) is None:
            several.set()
        return await fetch(package, name, *parameters)

    patch.setattr(service.database, "fetch", counted)
    return several


@pytest.mark.parametrize("name", BESIDE)
@pytest.mark.parametrize("is_late", [False, True], ids=["rows written", "nothing written yet"])
def test_an_event_beside_the_profile_that_was_under_way_leaves_nothing(
    store_url: str, urls: Urls, monkeypatch: pytest.MonkeyPatch, name: str, is_late: bool
):
    hold = held_before_saving if is_late else held_before_commit

    async def story() -> tuple[list[Outcome], Removed, bool]:
        async with two_workers(store_url, urls.redis) as (one, other):
            await submit(one, PUSH, received_at=NOW)
            gate = Gate()
            with hold(one, gate, monkeypatch):
                under_way = asyncio.create_task(take(one, BESIDE[name](one)))
                await gate.reached()
                polls = counted_polls(other, monkeypatch)
                erasing = asyncio.create_task(erase(other, "ana"))
                waiting = asyncio.create_task(polls.wait())
                await asyncio.wait({erasing, waiting}, return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
                was_done = erasing.done()
                gate.open()
                return await under_way, await erasing, was_done

    outcomes, removed, was_done = asyncio.run(story())

    assert was_done == is_late, "who is still writing is waited for"
    if is_late:
        assert reasons(outcomes) == [Refusal.ERASED_CUSTOMER]
    else:
        assert removed.events + removed.refusals + removed.cleared == 1
    assert tables_with(store_url, ",ana,", '"ana"') == []


def test_values_of_a_signed_out_visitor_that_were_under_way_begin_a_visitor_of_their_own(
    store_url: str, urls: Urls, monkeypatch: pytest.MonkeyPatch
):
    async def story() -> None:
        async with two_workers(store_url, urls.redis) as (one, other):
            await submit(one, PUSH, sign_out("v1"), received_at=NOW)
            gate = Gate()
            with held_before_saving(one, gate, monkeypatch):
                under_way = asyncio.create_task(submit(one, EVENTS["a patch"], received_at=NOW + 1))
                await gate.reached()
                await erase(other, "ana")
                gate.open()
                await under_way

    asyncio.run(story())

    check_store(store_url)
    with psycopg.connect(store_url) as connection:
        held = connection.execute("SELECT version, customer_id, last_customer_id FROM visitor").fetchall()
    assert held == [(1, None, None)]


def test_a_worker_that_does_not_know_yet_that_anybody_was_erased_takes_nothing(
    store_url: str, urls: Urls, monkeypatch: pytest.MonkeyPatch
):
    async def story() -> list[Refusal | None]:
        async with two_workers(store_url, urls.redis) as (one, other):
            await submit(one, PUSH, received_at=NOW)
            await erase(other, "ana")
            assert not one.tombstones.is_in_use(WORKSPACE)
            outcomes = await submit(one, PUSH, received_at=NOW + 1)
            return reasons(outcomes + await take(one, did(one, None, 2, customer="ana")))

    assert asyncio.run(story()) == [Refusal.ERASED_CUSTOMER] * 2
    assert tables_with(store_url, ",ana,", "Planted") == []


def test_two_who_erase_at_once_get_one_receipt(store_url: str, urls: Urls):
    async def story() -> list[Any]:
        async with two_workers(store_url, urls.redis) as workers:
            await submit(workers[0], PUSH, received_at=NOW)
            return await asyncio.gather(*(worker.eraser.erase(WORKSPACE, "ana", "test") for worker in workers))

    one, other = asyncio.run(story())

    assert one == other
    assert one.removed == Removed(customers=1, merges=1, links=1, visitors=1, identifications=1)


def test_an_erased_customer_is_not_in_the_cache_of_any_worker(store_url: str, urls: Urls):
    push = {"visitor_id": "v1", "customer_id": "ana", "display_name": "Ana"}

    async def story() -> list[Any]:
        async with two_workers(store_url, urls.redis) as workers:
            for worker in workers:
                for _ in range(2):
                    await authenticate(worker, push)
                    await look_up(worker, "ana")
            await erase(workers[0], "ana")
            looked = [await look_up(worker, "ana") for worker in workers]
            for worker in workers:
                await authenticate(worker, push)
            return [status for status, _ in looked]

    assert asyncio.run(story()) == [404, 404]
    with psycopg.connect(store_url) as connection:
        assert connection.execute("SELECT sum(refused)::int FROM refusal_count").fetchone() == (2,)


# What is left undone.


async def until_one_waits_for_a_lock(store_url: str) -> None:
    waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with await psycopg.AsyncConnection.connect(store_url, autocommit=True) as connection:
        deadline = time.monotonic() + 5
        while await (await connection.execute(waiting)).fetchone() is None:
            assert time.monotonic() < deadline, "nobody waits"
            await asyncio.sleep(0.01)


def test_who_signs_in_on_a_browser_while_it_is_removed_begins_a_log_of_its_own(
    store_url: str, urls: Urls, monkeypatch: pytest.MonkeyPatch
):
    gate, rows = Gate(), erasure._rows

    async def held_after(connection: Any, package: str, name: str, values: Any) -> Any:
        found = await rows(connection, package, name, values)
        if name == "delete_facts":
            await gate.pass_through()
        return found

    async def story() -> Any:
        async with two_workers(store_url, urls.redis) as (one, other):
            await submit(one, PUSH, received_at=NOW)
            monkeypatch.setattr(erasure, "_rows", held_after)
            erasing = asyncio.create_task(erase(one, "ana"))
            await gate.reached()
            signing_in = asyncio.create_task(submit(other, identify("bo", "v1", name="Bo"), received_at=NOW + 1))
            await until_one_waits_for_a_lock(store_url)
            gate.open()
            await erasing
            await signing_in
            return await find_visitors(other, "v1")

    assert asyncio.run(story()) == [["bo"]]
    check_store(store_url)


def test_what_somebody_else_did_on_the_browser_while_it_is_cleared_stays(
    store_url: str, urls: Urls, monkeypatch: pytest.MonkeyPatch
):
    gate = Gate()

    async def story() -> Any:
        async with two_workers(store_url, urls.redis) as (one, other):
            await submit(one, PUSH, received_at=NOW)
            await take(one, did(one, "v1", 0))
            read = one.eraser._facts

            async def held_after(under: Any, visitor_id: str) -> Any:
                found = await read(under, visitor_id)
                await gate.pass_through()
                return found

            monkeypatch.setattr(one.eraser, "_facts", held_after)
            erasing = asyncio.create_task(erase(one, "ana"))
            await gate.reached()
            await submit(other, identify("bo", "v1", name="Bo"), received_at=NOW + 10)
            await take(other, did(other, "v1", 20))
            gate.open()
            removed = await erasing
            return removed.events, removed.visitors, len(await names(other, "customers/bo"))

    assert asyncio.run(story()) == (1, 0, 1)
    check_store(store_url)


def test_visitors_of_whom_others_write_all_the_time_are_cleared_one_by_one(
    store_url: str, urls: Urls, monkeypatch: pytest.MonkeyPatch
):
    tried: list[int] = []

    async def story(service: Service) -> Removed:
        await submit(service, *(identify("ana", f"v{n}", name="Ana") for n in range(5)), received_at=NOW)
        step = service.eraser._step

        async def contended(under: Any, work: Any, attempts_max: int = intake.ALONE_ATTEMPTS_MAX) -> Any:
            if attempts_max == erasure.TOGETHER_ATTEMPTS_MAX:
                tried.append(attempts_max)
                raise erasure._Contended("contention")
            return await step(under, work, attempts_max)

        monkeypatch.setattr(service.eraser, "_step", contended)
        return await erase(service, "ana")

    removed = run(store_url, urls, story)

    assert len(tried) == 4  # five, then two and three, then two of these
    assert (removed.visitors, removed.links) == (5, 5)
    assert tables_with(store_url, "ana", "Ana") == []
    check_store(store_url)


def test_an_erasure_that_was_left_undone_is_finished_by_another_worker_and_harms_nobody_meanwhile(
    store_url: str, urls: Urls, monkeypatch: pytest.MonkeyPatch
):
    async def dies(*_: object) -> None:
        raise ConnectionError

    async def story() -> tuple[bool, list[Refusal | None], int, Any]:
        async with two_workers(store_url, urls.redis) as (one, other):
            await submit(one, PUSH, identify("bo", "v2", name="Bo"), sign_in("ana", "v2"), received_at=NOW)
            with monkeypatch.context() as patched:
                patched.setattr(one.eraser, "_clear_visitors", dies)
                receipt = await one.eraser.erase(WORKSPACE, "ana", "test")
            check_store(store_url)
            traffic = [
                EVENTS["a patch"], sign_out("v2"), identify("bo", "v1", name="Bo"), PUSH,
                {**sign_in("bo", "v2"), "occurred_at": NOW - 5},
            ]  # fmt: skip
            refusals = reasons(await submit(other, *traffic, received_at=NOW + 1))
            finished = await other.eraser.go_on(WORKSPACE, int(time.time() * 1000) + 1000)
            return receipt.pending, refusals, finished, await other.eraser.find(WORKSPACE, "ana")

    was_pending, refusals, finished, tombstone = asyncio.run(story())

    assert (was_pending, finished, tombstone.pending) == (True, 1, None)
    assert refusals == [None, None, None, Refusal.ERASED_CUSTOMER, None]
    assert tombstone.removed.customers == 1
    assert tombstone.removed.links == 2
    check_store(store_url)
    assert tables_with(store_url, ",ana,", '"ana"', '\\"ana') == []


def test_a_step_that_fails_is_done_again_and_counted_once(store_url: str, urls: Urls, monkeypatch: pytest.MonkeyPatch):
    failures = iter([True, False, True, False, True] + [False] * 100)

    async def story(service: Service) -> Removed:
        await submit(service, PUSH, received_at=NOW)
        await take(service, *(did(service, "v1", n) for n in range(10)))
        monkeypatch.setattr("identity.erasure.STEP_ROWS_MAX", 3)
        step = service.eraser._step

        async def shaky(under: Any, work: Any, *attempts: int) -> Any:
            if next(failures):
                raise ConnectionError
            return await step(under, work, *attempts)

        monkeypatch.setattr(service.eraser, "_step", shaky)
        receipt = await service.eraser.erase(WORKSPACE, "ana", "test")
        while receipt.pending:
            receipt = await service.eraser.erase(WORKSPACE, "ana", "test")
        return receipt.removed

    removed = run(store_url, urls, story)

    assert removed == Removed(customers=1, merges=1, links=1, visitors=1, identifications=1, events=10)
    check_store(store_url)


# Lifting.


def test_a_customer_whose_erasure_was_lifted_goes_on_behind_its_last_version(store_url: str, urls: Urls):
    async def story(service: Service) -> list[int]:
        versions = []
        for _ in range(3):
            await submit(service, PUSH, identify("ana", "v1", name="Ana L"), received_at=NOW)
            versions.append((await look_up(service, "ana"))[1]["version"])
            await erase(service, "ana")
            await service.eraser.lift(WORKSPACE, service.tombstones.hash_of(WORKSPACE, "ana"), "test")
            check_store(store_url)
        return versions

    assert run(store_url, urls, story) == [2, 5, 8]


def test_two_first_events_after_a_lift_are_both_kept(store_url: str, urls: Urls, monkeypatch: pytest.MonkeyPatch):
    async def story() -> Any:
        async with two_workers(store_url, urls.redis) as (one, other):
            await submit(one, PUSH, received_at=NOW)
            await erase(one, "ana")
            await one.eraser.lift(WORKSPACE, one.tombstones.hash_of(WORKSPACE, "ana"), "test")
            gate = Gate()
            with held_before_saving(one, gate, monkeypatch):
                first = asyncio.create_task(submit(one, identify("ana", "v1", name="Ana"), received_at=NOW + 2))
                await gate.reached()
                await submit(other, identify("ana", "v2", email="ana@shop.example"), received_at=NOW + 2)
                gate.open()
                await first
            return (await look_up(other, "ana"))[1]

    found = asyncio.run(story())

    assert (found["version"], found["fields"]) == (4, {"display_email": "ana@shop.example", "display_name": "Ana"})
    check_store(store_url)


def test_who_was_decided_before_a_customer_was_erased_and_lifted_does_not_take_an_old_version(
    store_url: str, urls: Urls, monkeypatch: pytest.MonkeyPatch
):
    async def story() -> int:
        async with two_workers(store_url, urls.redis) as (one, other):
            gate = Gate()
            with held_before_saving(one, gate, monkeypatch):
                first = asyncio.create_task(submit(one, PUSH, received_at=NOW))
                await gate.reached()
                await submit(other, PUSH, identify("ana", "v1", name="Ana L"), received_at=NOW)
                await erase(other, "ana")
                await other.eraser.lift(WORKSPACE, other.tombstones.hash_of(WORKSPACE, "ana"), "test")
                gate.open()
                await first
            return int((await look_up(one, "ana"))[1]["version"])

    assert asyncio.run(story()) == 4
    check_store(store_url)


def test_an_erasure_that_is_not_done_is_not_lifted(store_url: str, urls: Urls, monkeypatch: pytest.MonkeyPatch):
    async def dies(*_: object) -> None:
        raise ConnectionError

    async def story(service: Service) -> None:
        await submit(service, PUSH, received_at=NOW)
        monkeypatch.setattr(service.eraser, "_clear_visitors", dies)
        await service.eraser.erase(WORKSPACE, "ana", "test")
        with pytest.raises(Problem, match="erasure_pending"):
            await service.eraser.lift(WORKSPACE, service.tombstones.hash_of(WORKSPACE, "ana"), "test")

    run(store_url, urls, story)


# Others.


def test_another_workspace_keeps_its_customer_of_the_same_id(store_url: str, urls: Urls):
    with psycopg.connect(store_url) as connection:
        connection.execute("INSERT INTO workspace (workspace_id, slug, created_at) VALUES (2, 'other', '2026-01-01')")
        connection.execute(
            "INSERT INTO channel (channel_id, workspace_id, name, write_key, website_tracking, origins, on_sign_out,"
            " created_at) SELECT gen_random_uuid(), 2, 'Other', 'wk_other', true, origins, 'keep', created_at"
            " FROM channel"
        )

    async def story(service: Service) -> list[Refusal | None]:
        for key in ("wk_test_write_key_0001", "wk_other"):
            await submit(service, PUSH, received_at=NOW, write_key=key)
        await take(service, did(service, None, 1, customer="ana", key="wk_other"))
        with psycopg.connect(store_url) as connection:
            before = connection.execute("SELECT count(*), max(version) FROM customer WHERE workspace_id = 2").fetchall()
        await erase(service, "ana")
        with psycopg.connect(store_url) as connection:
            after = connection.execute("SELECT count(*), max(version) FROM customer WHERE workspace_id = 2").fetchall()
            assert after == before == [(1, 1)]
            assert connection.execute("SELECT count(*) FROM event WHERE workspace_id = 2").fetchone() == (1,)
            assert connection.execute("SELECT count(*) FROM visitor WHERE workspace_id = 2").fetchone() == (1,)
        changed = identify("ana", "v1", name="Ana L")
        return reasons(await submit(service, changed, received_at=NOW + 2, write_key="wk_other"))

    assert run(store_url, urls, story) == [None]
    check_store(store_url)


def test_all_who_are_joined_are_erased_together_and_share_the_receipt(store_url: str, urls: Urls):
    async def story(service: Service) -> tuple[Removed, list[Removed], list[Refusal | None]]:
        await submit(service, PUSH, identify("anna", "v2", phone="+886912345678"), received_at=NOW)
        await service.joins.join(WORKSPACE, "anna", "ana", By("test"), dry_run=False)
        await submit(service, identify("anna", "v3", name="Ana Planted Lin"), received_at=NOW + 1)
        check_store(store_url)
        removed = await erase(service, "anna")
        again = [await erase(service, named) for named in ("ana", "anna")]
        late = await submit(service, PUSH, sign_in("anna", "v2"), received_at=NOW + 2)
        return removed, again, reasons(late)

    removed, again, refusals = run(store_url, urls, story)

    assert (removed.customers, removed.links, removed.visitors) == (2, 3, 3)
    assert again == [removed, removed]
    assert refusals == [Refusal.ERASED_CUSTOMER] * 2
    assert tables_with(store_url, ",ana,", '"ana"', "anna", "Planted", "912345678") == []
    check_store(store_url)


@pytest.mark.parametrize("erased", ["anna", "ana"])
def test_who_was_joined_once_keeps_nothing_of_the_erased_one_and_all_of_its_own(
    store_url: str, urls: Urls, erased: str
):
    other = {"anna": "ana", "ana": "anna"}[erased]
    values = {"anna": ("Anna-P", "912345678"), "ana": ("Ana-P", "ana@shop.example")}

    async def story(service: Service) -> tuple[Any, Any]:
        first = {"ana": {"email": "ana@shop.example"}, "anna": {"phone": "+886912345678"}}
        await submit(service, *(identify(n, f"v-{n}", name=values[n][0], **first[n]) for n in first), received_at=NOW)
        await service.joins.join(WORKSPACE, "anna", "ana", By("test"), dry_run=False)
        await submit(service, identify("anna", "v3", name="Anna-P Lin"), received_at=NOW + 1)
        await submit(service, identify("ana", "v-ana", name="Ana-P Lin"), received_at=NOW + 2)
        await service.joins.take_apart(WORKSPACE, "anna", By("test"), dry_run=False)
        before = (await look_up(service, other))[1]["fields"]
        removed = await erase(service, erased, dry_run=True)
        assert await erase(service, erased) == removed
        check_store(store_url)
        after = (await look_up(service, other))[1]["fields"]
        await submit(service, identify(other, f"v-{other}", name="Both"), received_at=NOW + 3)
        return before, after

    before, after = run(store_url, urls, story)

    assert after == before
    assert tables_with(store_url, f",{erased},", f'"{erased}"', *values[erased]) == []
    check_store(store_url)


def test_nobody_is_erased_who_was_never_held(store_url: str, urls: Urls):
    async def story(service: Service) -> None:
        for dry_run in (True, False):
            with pytest.raises(Problem, match="customer_not_found"):
                await service.eraser.erase(WORKSPACE, "nobody", "test", dry_run=dry_run)

    run(store_url, urls, story)
    assert everything_in(store_url)["erasure"] == []


# Backups.


def test_who_comes_back_out_of_a_backup_is_erased_anew_and_the_others_stay(store_url: str, urls: Urls):
    async def before(service: Service) -> list[Erasure]:
        await submit(service, PUSH, identify("bo", "v2", name="Bo"), identify("cy", "v3", name="Cy"), received_at=NOW)
        for named in ("ana", "cy"):
            await erase(service, named)
        await service.eraser.lift(WORKSPACE, service.tombstones.hash_of(WORKSPACE, "cy"), "test")
        return [erasure async for erasure in service.eraser.all(WORKSPACE)]

    kept = run(store_url, urls, before)
    with psycopg.connect(store_url) as connection:  # as a backup of before that has it
        connection.execute("DELETE FROM erasure")
        connection.execute("UPDATE workspace SET has_erasures = false")

    async def after(service: Service) -> tuple[int, list[int], list[Refusal | None]]:
        await submit(service, PUSH, identify("bo", "v2", name="Bo"), identify("cy", "v3", name="Cy"), received_at=NOW)
        done = await service.eraser.reapply(WORKSPACE, kept, "test")
        again = await service.eraser.reapply(WORKSPACE, kept, "test")
        statuses = [(await look_up(service, named))[0] for named in ("ana", "bo", "cy")]
        return len(done) + 10 * len(again), statuses, reasons(await submit(service, PUSH, received_at=NOW + 1))

    counts, statuses, refusals = run(store_url, urls, after)

    assert (counts, statuses, refusals) == (1, [404, 200, 200], [Refusal.ERASED_CUSTOMER])
    assert tables_with(store_url, ",ana,", "Planted") == []
    with psycopg.connect(store_url) as connection:
        versions = connection.execute("SELECT version FROM erasure WHERE lifted_at IS NULL").fetchall()
    assert versions == [(2,)]
    check_store(store_url)


def test_the_hash_is_keyed_by_the_store(store_url: str, urls: Urls):
    async def story(service: Service) -> str:
        return service.tombstones.hash_of(WORKSPACE, "ana")

    with psycopg.connect(store_url) as connection:
        [(key,)] = connection.execute("SELECT erasure_key FROM store").fetchall()

    assert len(key) == 32
    assert run(store_url, urls, story) == blake2b(b"1:ana", key=key, digest_size=32).hexdigest()


# The files below.

PLANTED = ("Planted Name", "planted@shop.example", "886912000111", "planted-id", "planted-browser", "planted-page")


def found_in(*folders: Path) -> dict[str, set[str]]:
    """Return in which files which of the planted values stand."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    contents = {str(path): path.read_bytes() for path in files}
    found = {name: {value for value in PLANTED if value.encode() in content} for name, content in contents.items()}
    return {name: values for name, values in found.items() if values}


def test_after_shredding_no_table_file_no_redis_dump_and_no_log_has_a_planted_value(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(cache, "CLOSED_MILLISECONDS", 200)
    caplog.set_level("DEBUG")

    async def story(service: Service) -> None:
        crowd = [identify(f"c{n}", f"v{n}", name=f"Name {n}", email=f"{n}@shop.example") for n in range(500)]
        await submit(service, *crowd[:250], received_at=NOW)
        push = identify("planted-id", "planted-browser", name=PLANTED[0], email=PLANTED[1], phone="+886912000111")
        await submit(service, push, received_at=NOW)
        await authenticate(service, {"visitor_id": "planted-browser", "customer_id": "planted-id"})
        await look_up(service, "planted-id")
        await take(service, did(service, "planted-browser", 1, props={"page": "planted-page"}))
        await take(service, did(service, None, 1, customer="planted-id", props={"page": "planted-page"}))
        await submit(service, *crowd[250:], received_at=NOW)
        await take(service, *(did(service, f"v{n}", 1, props={"page": "home"}) for n in range(500)))
        await submit(service, *({"type": "purchase", "customer_id": f"c{n}"} for n in range(50)), received_at=NOW)

    with (
        RedisServer() as redis,
        embedded.start(tmp_path, redis=False) as servers,
        fresh_store(servers.urls.database) as url,
    ):
        files = [tmp_path / "postgres" / "base", tmp_path / "postgres" / "global", redis.directory]
        own = Urls(servers.urls.database, redis.url)
        run(url, own, story)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("ANALYZE")
            connection.execute("CHECKPOINT")
        redis.command("SAVE")
        before = found_in(*files)

        async def erasing(service: Service) -> None:
            await erase(service, "planted-id")
            await submit(service, identify("planted-id", "planted-other", name=PLANTED[0]), received_at=NOW + 1)

        run(url, own, erasing)
        left = shred(url, lambda _: None)
        while found_in(redis.directory):  # what has expired is dumped until Redis comes by
            time.sleep(0.1)
            redis.command("SAVE")
        after = found_in(*files)

    assert any(name.endswith(".rdb") for name in before)
    assert {value for values in before.values() for value in values} == set(PLANTED)
    assert left == []
    assert after == {}
    assert [value for value in PLANTED if value in caplog.text] == []
    assert [value for value in PLANTED if value in (tmp_path / "servers.log").read_text("utf-8", "replace")] == []
