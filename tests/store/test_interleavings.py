"""Two workers on one store, held up at chosen points: whoever is overtaken decides anew, and nothing is lost."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import psycopg
import pytest

from identity.app import Service
from identity.resolve import Changes, Outcome
from profiles import pipeline
from profiles.database import Connection
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


def hold_before_saving(service: Service, gate: Gate) -> None:
    """Hold the worker up when it has loaded and decided, and has written nothing yet."""
    save = service.intake._save

    async def held(connection: Connection, changes: Changes) -> None:
        await gate.pass_through()
        await save(connection, changes)

    service.intake._save = held  # type: ignore[method-assign]


def hold_after_loading(service: Service, gate: Gate) -> None:
    """Hold the worker up when it has loaded, also where it will find nothing to save."""
    load = service.intake._load

    async def held(connection: Connection, events: Any) -> Any:
        loaded = await load(connection, events)
        await gate.pass_through()
        return loaded

    service.intake._load = held  # type: ignore[method-assign]


@contextlib.contextmanager
def held_before_commit(service: Service, gate: Gate, patch: pytest.MonkeyPatch) -> Any:
    """Hold the worker up within its transaction, when all its rows are written and locked."""
    save, commit = service.intake._save, pipeline.commit
    is_ours = False

    async def marked(connection: Connection, changes: Changes) -> None:
        nonlocal is_ours
        is_ours = True
        await save(connection, changes)

    async def held(connection: Connection) -> None:
        nonlocal is_ours
        ours, is_ours = is_ours, False
        if ours:
            await gate.pass_through()
        await commit(connection)

    with patch.context() as patched:
        patched.setattr(service.intake, "_save", marked)
        patched.setattr(pipeline, "commit", held)
        yield


@contextlib.asynccontextmanager
async def two_workers(database: str, redis: str) -> AsyncIterator[tuple[Service, Service]]:
    async with opened_service(database, redis) as one, opened_service(database, redis) as other:
        yield one, other


async def shown(service: Service) -> Any:
    """Return everything that lookups show."""
    customers: dict[str, Any] = {}
    for customer_id in CUSTOMERS:
        status, found = await look_up(service, customer_id)
        if status == 200:
            visitors = {visitor["visitor_id"]: visitor["current"] for visitor in found["visitors"]}
            customers[customer_id] = found["fields"], visitors
    return customers, await find_visitors(service, *VISITORS)


def modelled(sent: Sequence[Sent]) -> Any:
    """Return what lookups show after these events in this order."""
    model = Model()
    for event in sent:
        model.take(event, NOW)
    customers = {}
    for customer_id in CUSTOMERS:
        answer = model.answer(customer_id)
        if answer is not None:
            visitors = {visitor: current for visitor, (_, current) in answer["visitors"].items()}
            customers[customer_id] = answer["fields"], visitors
    currents = [model.current(visitor_id) for visitor_id in VISITORS]
    return customers, [[customer] if customer is not None else [] for customer in currents]


async def prepare(service: Service, race: Race) -> None:
    for event in race.before:
        await submit(service, event, received_at=NOW)


def turned(race: Race, *, is_turned: bool) -> Race:
    return Race(race.before, race.other, race.one) if is_turned else race


@pytest.mark.parametrize("is_turned", [False, True], ids=["", "the other way round"])
@pytest.mark.parametrize("hold", [hold_before_saving, hold_after_loading])
@pytest.mark.parametrize("race", RACES.values(), ids=RACES.keys())
def test_whoever_is_overtaken_before_it_saves_decides_anew(
    store_url: str, urls: Urls, race: Race, hold: Callable[[Service, Gate], None], is_turned: bool
) -> None:
    before, slow, fast = turned(race, is_turned=is_turned)

    async def story() -> None:
        async with two_workers(store_url, urls.redis) as (one, other):
            await prepare(one, race)
            gate = Gate()
            hold(one, gate)
            overtaken = asyncio.create_task(submit(one, slow, received_at=NOW))
            with contextlib.suppress(TimeoutError):  # what has nothing to save never gets there
                await asyncio.wait_for(gate._reached.wait(), 0.5)
            was_held = gate._reached.is_set()
            await submit(other, fast, received_at=NOW)
            gate.open()
            await overtaken

            serial = [modelled([*before, fast, slow]), modelled([*before, slow, fast])]
            expected = serial[:1] if was_held and hold is hold_before_saving else serial
            assert await shown(one) in expected
            assert await shown(other) in expected

    asyncio.run(story())
    check_store(store_url)


@pytest.mark.parametrize("is_turned", [False, True], ids=["", "the other way round"])
@pytest.mark.parametrize("race", RACES.values(), ids=RACES.keys())
def test_whoever_meets_rows_that_are_not_committed_yet_waits_and_decides_anew(
    store_url: str, urls: Urls, monkeypatch: pytest.MonkeyPatch, race: Race, is_turned: bool
) -> None:
    before, first, second = turned(race, is_turned=is_turned)

    async def story() -> None:
        async with two_workers(store_url, urls.redis) as (one, other):
            await prepare(one, race)
            gate = Gate()
            with held_before_commit(one, gate, monkeypatch):
                leading = asyncio.create_task(submit(one, first, received_at=NOW))
                await asyncio.wait({leading, asyncio.create_task(gate.reached())}, return_when="FIRST_COMPLETED")
                following = asyncio.create_task(submit(other, second, received_at=NOW))
                await asyncio.wait({following}, timeout=0.1)
                gate.open()
                await leading
                await following

            serial = [modelled([*before, first, second]), modelled([*before, second, first])]
            assert await shown(one) in serial
            assert await shown(other) in serial

    asyncio.run(story())
    check_store(store_url)


def test_three_at_once_make_one_visitor_one_customers_and_keep_all_facts(store_url: str, urls: Urls) -> None:
    async def story() -> list[list[str]]:
        async with two_workers(store_url, urls.redis) as (one, other), opened_service(store_url, urls.redis) as third:
            workers = (one, other, third)
            gates = [Gate() for _ in workers]
            for worker, gate in zip(workers, gates, strict=True):
                hold_before_saving(worker, gate)
            tasks = [
                asyncio.create_task(submit(worker, identify(customer, "v1", name=customer), received_at=NOW))
                for worker, customer in zip(workers, CUSTOMERS, strict=True)
            ]
            await asyncio.gather(*(gate.reached() for gate in gates))
            for gate in gates:
                gate.open()
            await asyncio.gather(*tasks)
            return await find_visitors(one, "v1")

    [current] = asyncio.run(story())
    check_store(store_url)
    with psycopg.connect(store_url) as connection:
        pairs = connection.execute("SELECT customer_id, is_current FROM customer_visitor ORDER BY 1").fetchall()
        facts = connection.execute("SELECT customer_id FROM visitor_fact ORDER BY version").fetchall()
    assert len(current) == 1
    assert pairs == [(customer, customer == current[0]) for customer in CUSTOMERS]
    assert sorted(customer for (customer,) in facts) == list(CUSTOMERS)
    assert facts[-1] == (current[0],)


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
