"""Two workers on one store, held up at chosen points: whoever is overtaken decides anew, and nothing is lost."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

import psycopg
import pytest

from identity.app import Service
from identity.events.identity import Event
from identity.resolve import Changes, Held, Outcome
from profiles import pipeline
from profiles.database import Connection, Unavailable
from profiles.pipeline import Command, Copy
from tests.harness import Urls, opened_service
from tests.model import Model, Sent
from tests.store.calls import authenticate, find_visitors, look_up, submit
from tests.store.invariants import check_store

NOW = 1_800_000_000_000


def identify(customer_id: str, visitor_id: str, **params: str) -> Sent:
    return {"type": "clIdentity", "visitor_id": visitor_id, "params": {"customerId": customer_id, **params}}


def sign_in(customer_id: str, visitor_id: str) -> Sent:
    return {"type": "userSignedIn", "visitor_id": visitor_id, "userId": customer_id}


def sign_out(visitor_id: str) -> Sent:
    return {"type": "userSignedOut", "visitor_id": visitor_id}


def sign_up(customer_id: str, visitor_id: str, **profile: str) -> Sent:
    return {"type": "userSignedUp", "visitor_id": visitor_id, "userId": customer_id, "profile": profile}


def change(visitor_id: str, path: str, value: str) -> Sent:
    operation = {"type": "set", "path": path, "value": value}
    return {"type": "userProfileChanged", "visitor_id": visitor_id, "patch": {"operations": [operation]}}


class Race(NamedTuple):
    """What was there before, and two events at once."""

    before: Sequence[Sent]
    one: Sent
    other: Sent


RACES = {
    "two first identifications of one customer": Race(
        [], identify("ana", "v1", name="Ana"), identify("ana", "v2", email="ana@shop.example")
    ),
    "two first identifications of one customer, one field": Race(
        [], identify("ana", "v1", name="Ana"), identify("ana", "v2", name="Anna")
    ),
    "one visitor is two customers": Race([], identify("ana", "v1", name="Ana"), identify("bo", "v1", name="Bo")),
    "one visitor is the same new customer twice": Race([], identify("ana", "v1", name="Ana"), sign_in("ana", "v1")),
    "two sign-ups": Race([], sign_up("ana", "v1", firstName="Ana"), sign_up("ana", "v2", firstName="Anna")),
    "sign-up and identification": Race(
        [], sign_up("ana", "v1", email="a@shop.example"), identify("ana", "v1", name="Ana")
    ),
    "two switches": Race([identify("ana", "v1", name="Ana")], identify("bo", "v1"), identify("cy", "v1")),
    "two switches in a circle": Race(
        [identify("ana", "v1"), identify("bo", "v2")], identify("bo", "v1"), identify("ana", "v2")
    ),
    "switch and sign-out": Race([identify("ana", "v1", name="Ana")], identify("bo", "v1", name="Bo"), sign_out("v1")),
    "sign-out and profile change": Race(
        [identify("ana", "v1", name="Ana")], sign_out("v1"), change("v1", "firstName", "Ana")
    ),
    "switch and profile change": Race([identify("ana", "v1")], identify("bo", "v1"), change("v1", "firstName", "Ana")),
    "two sign-outs": Race([identify("ana", "v1")], sign_out("v1"), sign_out("v1")),
    "sign-out and the same push again": Race(
        [identify("ana", "v1", name="Ana")], sign_out("v1"), identify("ana", "v1", name="Ana")
    ),
    "an anonymous value and the first sign-in": Race(
        [], change("v1", "email", "ana@shop.example"), identify("ana", "v1", name="Ana")
    ),
    "two anonymous values": Race(
        [], change("v1", "email", "ana@shop.example"), change("v1", "email", "bo@shop.example")
    ),
    "one anonymous visitor becomes two customers": Race(
        [change("v1", "email", "ana@shop.example")], identify("ana", "v1"), identify("bo", "v1")
    ),
    "two values of one field": Race(
        [identify("ana", "v1", name="Ana")], identify("ana", "v1", name="Anna"), identify("ana", "v1", name="Anne")
    ),
    "two fields": Race(
        [identify("ana", "v1", name="Ana")],
        identify("ana", "v2", email="ana@shop.example"),
        change("v1", "firstName", "Ana"),
    ),
    "an unchanged push and an overwrite": Race(
        [identify("ana", "v1", name="Ana")], identify("ana", "v1", name="Anna"), identify("ana", "v1", name="Ana")
    ),
    "one event twice": Race(
        [identify("ana", "v1", name="Ana")],
        {**identify("ana", "v1", name="Anna"), "event_id": "e1"},
        {**identify("ana", "v1", name="Anna"), "event_id": "e1"},
    ),
    "one event id, two contents": Race(
        [],
        {**identify("ana", "v1", name="Ana"), "event_id": "e1"},
        {**identify("bo", "v2", name="Bo"), "event_id": "e1"},
    ),
    "a late identification and the present one": Race(
        [identify("ana", "v1")], {**identify("bo", "v1"), "occurred_at": NOW - 50}, identify("cy", "v1")
    ),
    "a late identification and a sign-out": Race(
        [identify("ana", "v1")], {**identify("bo", "v1"), "occurred_at": NOW - 50}, sign_out("v1")
    ),
}
CUSTOMERS = ("ana", "bo", "cy")
VISITORS = ("v1", "v2")


class Gate:
    """Holds up the first one who comes, until it is opened."""

    def __init__(self) -> None:
        self._reached, self._open, self._used = asyncio.Event(), asyncio.Event(), False

    async def pass_through(self) -> None:
        if not self._used:
            self._used = True
            self._reached.set()
            await self._open.wait()

    async def reached(self) -> None:
        await asyncio.wait_for(self._reached.wait(), 5)

    def open(self) -> None:
        self._open.set()


@contextlib.contextmanager
def held_before_saving(service: Service, gate: Gate, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hold the worker up when it has loaded and decided, and has written nothing yet."""
    save = service.intake._save

    async def held(connection: Connection, changes: Changes) -> None:
        await gate.pass_through()
        await save(connection, changes)

    with patch.context() as patched:
        patched.setattr(service.intake, "_save", held)
        yield


@contextlib.contextmanager
def held_after_loading(service: Service, gate: Gate, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hold the worker up when it has loaded, also where it will find nothing to save."""
    load = service.intake._load

    async def held(connection: Connection, events: Sequence[Event]) -> Held:
        loaded = await load(connection, events)
        await gate.pass_through()
        return loaded

    with patch.context() as patched:
        patched.setattr(service.intake, "_load", held)
        yield


@contextlib.contextmanager
def held_before_commit(service: Service, gate: Gate, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hold the worker up within its transaction, when all its rows are written and locked."""
    save, write, copy = service.intake._save, pipeline.write_together, pipeline._copy
    ours: list[Connection] = []
    pause = Copy("", "", ())  # what is copied comes when all else is written

    async def marked(connection: Connection, changes: Changes) -> None:
        ours.append(connection)
        await save(connection, changes)

    async def written(
        connection: Connection, commands: Iterable[Command], copies: Sequence[Copy], last: Iterable[Command]
    ) -> None:
        if connection in ours:
            await write(connection, chain(commands, last), [*copies, pause])
        else:
            await write(connection, commands, copies, last)

    async def copied(connection: Connection, one: Copy) -> None:
        await (gate.pass_through() if one is pause else copy(connection, one))

    with patch.context() as patched:
        patched.setattr(service.intake, "_save", marked)
        patched.setattr("identity.intake.write_together", written)
        patched.setattr(pipeline, "_copy", copied)
        yield


Hold = Callable[[Service, Gate, pytest.MonkeyPatch], contextlib.AbstractContextManager[None]]


@contextlib.asynccontextmanager
async def two_workers(database: str, redis: str) -> AsyncIterator[tuple[Service, Service]]:
    async with opened_service(database, redis) as one, opened_service(database, redis) as other:
        yield one, other


def renamed(race: Race, prefix: str) -> Race:
    """Return the race with ids that no other race has."""

    def own(event: Sent) -> Sent:
        ids = {name: prefix + event[name] for name in ("visitor_id", "userId", "event_id") if name in event}
        if "params" in event:
            ids["params"] = {**event["params"], "customerId": prefix + event["params"]["customerId"]}
        return {**event, **ids}

    return Race([own(event) for event in race.before], own(race.one), own(race.other))


async def shown(service: Service, prefix: str) -> Any:
    """Return everything that lookups show of a race."""
    customers: dict[str, Any] = {}
    for customer_id in CUSTOMERS:
        status, found = await look_up(service, prefix + customer_id)
        if status == 200:
            visitors = {visitor["visitor_id"]: visitor["current"] for visitor in found["visitors"]}
            customers[customer_id] = found["fields"], visitors
    return customers, await find_visitors(service, *(prefix + visitor_id for visitor_id in VISITORS))


def modelled(sent: Sequence[Sent], prefix: str) -> Any:
    """Return what lookups show after these events in this order."""
    model = Model()
    for event in sent:
        model.take(event, NOW)
    customers = {}
    for customer_id in CUSTOMERS:
        answer = model.answer(prefix + customer_id)
        if answer is not None:
            visitors = {visitor: current for visitor, (_, current) in answer["visitors"].items()}
            customers[customer_id] = answer["fields"], visitors
    currents = [model.current(prefix + visitor_id) for visitor_id in VISITORS]
    return customers, [[customer] if customer is not None else [] for customer in currents]


async def run_race(workers: tuple[Service, Service], race: Race, hold: Hold, patch: pytest.MonkeyPatch) -> bool:
    """Let the second event overtake the first one at the gate; return whether the first came there."""
    one, other = workers
    for event in race.before:
        await submit(one, event, received_at=NOW)
    gate = Gate()
    with hold(one, gate, patch):
        first = asyncio.create_task(submit(one, race.one, received_at=NOW))
        arrival = asyncio.create_task(gate.reached())
        await asyncio.wait({first, arrival}, return_when=asyncio.FIRST_COMPLETED)
        arrival.cancel()
        was_held = not first.done()
        second = asyncio.create_task(submit(other, race.other, received_at=NOW))
        await asyncio.wait({second}, timeout=0.05 if hold is held_before_commit else 5)
        gate.open()
        await first
        await second
    return was_held


@pytest.mark.parametrize("is_turned", [False, True], ids=["", "the other way round"])
@pytest.mark.parametrize("hold", [held_before_saving, held_after_loading, held_before_commit])
def test_two_events_at_once_end_as_if_one_had_come_after_the_other(
    store_url: str, urls: Urls, monkeypatch: pytest.MonkeyPatch, hold: Hold, is_turned: bool
) -> None:
    wrong: dict[str, Any] = {}

    async def story() -> None:
        async with two_workers(store_url, urls.redis) as workers:
            for number, (name, race) in enumerate(RACES.items()):
                prefix = f"{number}-"
                before, first, second = renamed(race, prefix)
                if is_turned:
                    first, second = second, first
                was_held = await run_race(workers, Race(before, first, second), hold, monkeypatch)
                overtaken = modelled([*before, second, first], prefix)
                in_order = modelled([*before, first, second], prefix)
                # Held up before it wrote anything, the first one must have been decided anew, after the second.
                expected = [overtaken] if was_held and hold is held_before_saving else [overtaken, in_order]
                for worker in workers:
                    held = await shown(worker, prefix)
                    if held not in expected:
                        wrong[name] = held, expected

    asyncio.run(story())
    check_store(store_url)
    assert wrong == {}


def test_three_at_once_make_one_visitor_one_customers_and_keep_all_facts(
    store_url: str, urls: Urls, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> list[list[str]]:
        async with contextlib.AsyncExitStack() as stack:
            workers = [await stack.enter_async_context(opened_service(store_url, urls.redis)) for _ in range(3)]
            gates = [Gate() for _ in workers]
            for worker, gate in zip(workers, gates, strict=True):
                stack.enter_context(held_before_saving(worker, gate, monkeypatch))
            tasks = [
                asyncio.create_task(submit(worker, identify(customer, "v1", name=customer), received_at=NOW))
                for worker, customer in zip(workers, CUSTOMERS, strict=True)
            ]
            await asyncio.gather(*(gate.reached() for gate in gates))
            for gate in gates:
                gate.open()
            await asyncio.gather(*tasks)
            return await find_visitors(workers[0], "v1")

    [current] = asyncio.run(story())
    check_store(store_url)
    with psycopg.connect(store_url) as connection:
        pairs = connection.execute("SELECT customer_id, is_current FROM customer_visitor ORDER BY 1").fetchall()
        facts = connection.execute("SELECT customer_id FROM visitor_fact ORDER BY version").fetchall()
    assert len(current) == 1
    assert pairs == [(customer, customer == current[0]) for customer in CUSTOMERS]
    assert sorted(customer for (customer,) in facts) == list(CUSTOMERS)
    assert facts[-1] == (current[0],)


def test_a_worker_that_freezes_within_its_transaction_holds_the_others_up_for_seconds_only(
    store_url: str, urls: Urls, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        async with two_workers(store_url, urls.redis) as (one, other):
            gate = Gate()
            with held_before_commit(one, gate, monkeypatch):
                frozen = asyncio.create_task(submit(one, identify("ana", "v1", name="Ana"), received_at=NOW))
                await gate.reached()
                began = time.monotonic()
                while True:
                    with contextlib.suppress(Unavailable):
                        await submit(other, identify("ana", "v2", name="Anna"), received_at=NOW)
                        break
                took = time.monotonic() - began
                gate.open()
                with contextlib.suppress(Unavailable):
                    await frozen

            assert took < 10
            assert (await look_up(other, "ana"))[1]["fields"]["display_name"] in ("Ana", "Anna")

    asyncio.run(story())
    check_store(store_url)


def test_pushes_a_b_a_by_turns_of_three_workers_end_at_a(store_url: str, urls: Urls) -> None:
    async def story() -> Any:
        async with two_workers(store_url, urls.redis) as (one, other), opened_service(store_url, urls.redis) as third:
            a = {"visitor_id": "v1", "customer_id": "ana", "display_name": "Ana"}
            b = {"visitor_id": "v1", "customer_id": "ana", "display_name": "Anna"}
            pushes: list[tuple[Service, Sent, str]] = [
                (one, a, "Ana"), (other, a, "Ana"), (other, b, "Anna"), (one, a, "Ana"), (third, b, "Anna"),
                (one, b, "Anna"), (other, a, "Ana"), (third, a, "Ana"), (one, b, "Anna"), (third, a, "Ana"),
            ]  # fmt: skip
            for worker, push, name in pushes:
                assert await authenticate(worker, push) == (200, {"status": "ok"})
                for reader in (one, other, third):
                    assert (await look_up(reader, "ana"))[1]["fields"] == {"display_name": name}

    asyncio.run(story())
    check_store(store_url)


def test_an_event_id_is_remembered_though_the_cache_knew_that_nothing_changes(store_url: str, urls: Urls) -> None:
    push = {"visitor_id": "v1", "customer_id": "ana", "display_name": "Ana"}

    async def story() -> Any:
        async with opened_service(store_url, urls.redis) as service:
            await authenticate(service, push)
            await authenticate(service, push)
            await authenticate(service, {**push, "event_id": "e1"})
            await authenticate(service, {**push, "display_name": "Anna"})
            await authenticate(service, {**push, "event_id": "e1"})
            return (await look_up(service, "ana"))[1]["fields"]

    assert asyncio.run(story()) == {"display_name": "Anna"}


def test_a_key_looked_up_before_another_request_took_the_snapshot_anew_does_not_count(
    store_url: str, urls: Urls
) -> None:
    async def story() -> list[int]:
        async with opened_service(store_url, urls.redis) as service:
            push = {"visitor_id": "v1", "customer_id": "ana", "display_name": "Ana"}
            assert (await authenticate(service, push))[0] == 200
            with psycopg.connect(store_url) as connection:
                connection.execute("UPDATE channel SET revoked_at = created_at")
                connection.execute("UPDATE store SET generation = generation + 1")
            service.cache.available = False
            answers = await asyncio.gather(
                *(authenticate(service, {**push, "display_name": str(i)}) for i in range(20))
            )
            return [status for status, _ in answers]

    assert asyncio.run(story()) == [401] * 20


class Found(NamedTuple):
    """A push, and what became of it."""

    customer_id: str
    name: str
    outcome: Outcome


async def write_all(
    writers: Sequence[Service],
    pushes: Sequence[tuple[str, str]],
    send: Callable[[Service, Sent], Awaitable[list[Outcome]]],
) -> list[Found]:
    """Push with all writers at once, each its share, several at a time."""

    async def write(writer: Service, number: int) -> list[Found]:
        mine = pushes[number :: len(writers)]
        found: list[Found] = []
        for i in range(0, len(mine), 5):
            outcomes = await asyncio.gather(
                *(send(writer, identify(customer, f"v-{name}", name=name)) for customer, name in mine[i : i + 5])
            )
            found += [Found(c, name, o[0]) for (c, name), o in zip(mine[i : i + 5], outcomes, strict=True)]
        return found

    written = await asyncio.gather(*(write(writer, number) for number, writer in enumerate(writers)))
    return [found for share in written for found in share]


def test_six_writers_on_ten_customers_lose_nothing_and_no_deadlock_reaches_a_caller(store_url: str, urls: Urls) -> None:
    pushes = [(f"c{i % 10}", f"name-{i}") for i in range(360)]

    async def story() -> list[Found]:
        async with contextlib.AsyncExitStack() as stack:
            writers = [await stack.enter_async_context(opened_service(store_url, urls.redis)) for _ in range(6)]
            return await write_all(writers, pushes, lambda writer, push: submit(writer, push, received_at=NOW))

    written = asyncio.run(story())

    check_store(store_url)
    with psycopg.connect(store_url) as connection:
        rows = connection.execute(
            "SELECT customer_id, d ->> 4 FROM merge, jsonb_array_elements(decisions) AS d"
            " WHERE d ->> 0 = 'display_name'"
        ).fetchall()
        versions = connection.execute("SELECT customer_id, count(*), max(version) FROM merge GROUP BY 1").fetchall()
        held = connection.execute("SELECT customer_id, fields #>> '{display_name,0}' FROM customer").fetchall()
        last = connection.execute(
            "SELECT DISTINCT ON (customer_id) customer_id, decisions #>> '{0,4}' FROM merge WHERE NOT is_link"
            " ORDER BY customer_id, version DESC"
        ).fetchall()
    assert sorted(rows) == sorted(pushes)
    assert sorted((found.customer_id, found.name) for found in written) == sorted(pushes)
    assert not any(found.outcome.unchanged or found.outcome.refusal for found in written)
    assert {count == newest for _, count, newest in versions} == {True}
    assert sorted(held) == sorted(last)
