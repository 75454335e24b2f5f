"""The path of events over real servers: poison among neighbours, a full queue, huge batches, a connection cut off."""

import asyncio
import time
from collections.abc import Awaitable, Sequence
from typing import Any, LiteralString

import msgspec
import psycopg
import pytest

from identity.administration import advance
from identity.app import Service
from identity.events.identity import Event
from identity.intake import Faulty
from identity.resolve import Changes, Outcome
from profiles.coalesce import Overloaded
from profiles.database import Connection, Unavailable
from profiles.http import Response, answer
from tests.harness import ADMIN_KEY, WRITE_KEY, Urls, opened_service
from tests.model import Sent
from tests.store.calls import authenticate, call, find_visitors, look_up, post_events, read, request, submit
from tests.store.invariants import check_store, values_in

NOW = 1_800_000_000_000
OK = (200, {"status": "ok"})


def identify(number: int, **params: str) -> Sent:
    return {
        "type": "clIdentity",
        "visitor_id": f"v{number}",
        "params": {"customerId": f"c{number}", "name": f"Ana {number}", **params},
    }


async def take(service: Service, events: Sequence[Event]) -> list[Outcome | Exception]:
    return await service.intake.submit(events)


def spoiled_visitor(event: Event) -> Event:
    return msgspec.structs.replace(event, visitor_id="v\x00")


def spoiled_source(event: Event) -> Event:
    return msgspec.structs.replace(event, sender=msgspec.structs.replace(event.sender, source="\x00"))


def with_half_a_character(event: Event) -> Event:
    return msgspec.structs.replace(event, sender=msgspec.structs.replace(event.sender, source="\ud83d"))


def with_too_long_a_key(event: Event) -> Event:
    # Random, since the index holds keys compressed.
    return msgspec.structs.replace(event, visitor_id="".join(chr(0x4E00 + i * 7919 % 20000) for i in range(6000)))


def that_breaks_the_rules(event: Event) -> Event:
    return msgspec.structs.replace(event, params=None)


POISONS = [spoiled_visitor, spoiled_source, with_half_a_character, with_too_long_a_key, that_breaks_the_rules]


@pytest.mark.parametrize("spoil", POISONS)
def test_one_event_that_cannot_be_saved_fails_alone(store_url: str, urls: Urls, spoil: Any) -> None:
    async def story() -> list[Outcome | Exception]:
        async with opened_service(store_url, urls.redis) as service:
            events = read(service, *map(identify, range(51)), received_at=NOW)
            events[20] = spoil(events[20])
            return await take(service, events)

    outcomes = asyncio.run(story())

    check_store(store_url)
    assert [type(outcome) for outcome in outcomes] == [Outcome] * 20 + [Faulty] + [Outcome] * 30
    numbers = [number for number in range(51) if number != 20]
    assert values_in(store_url, *(f"c{n}" for n in range(51))) == [
        {"display_name": f"Ana {n}"} if n in numbers else None for n in range(51)
    ]


def test_a_poisoned_request_is_told_of_our_fault_and_its_neighbours_are_not(
    store_url: str, urls: Urls, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> Any:
        async with opened_service(store_url, urls.redis) as service:
            take = service.intake._take_together

            def spoiling(events: Sequence[Event]) -> Awaitable[Sequence[Outcome]]:
                return take([spoiled_source(e) if e.customer == "c7" else e for e in events])

            monkeypatch.setattr(service.intake, "_take_together", spoiling)
            pushes = [{"visitor_id": f"v{n}", "customer_id": f"c{n}", "display_name": f"Ana {n}"} for n in range(50)]
            alone = await asyncio.gather(*(authenticate(service, push) for push in pushes))
            together = await post_events(service, *(identify(n, email="ana@shop.example") for n in (6, 7, 8)))
            return alone, together

    alone, (status, together) = asyncio.run(story())

    check_store(store_url)
    assert [status for status, _ in alone] == [200] * 7 + [500] + [200] * 42
    assert alone[7][1]["code"] == "internal_error"
    assert (status, [result["status"] for result in together["results"]]) == (200, ["accepted", "rejected", "accepted"])
    assert "Ana 7" not in caplog.text


def test_a_full_queue_refuses_at_once_all_or_nothing_and_says_when_to_come_back(
    store_url: str, urls: Urls, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        async with opened_service(store_url, urls.redis) as service:
            intake, release = service.intake, asyncio.Event()
            save = intake._save

            async def held(connection: Connection, changes: Changes) -> None:
                await release.wait()
                await save(connection, changes)

            monkeypatch.setattr(intake, "_save", held)
            monkeypatch.setattr(intake._deciding, "_waiting_max", 10)
            first = intake.submit(read(service, identify(0), received_at=NOW))
            await asyncio.sleep(0.05)
            waiting = intake.submit(read(service, *map(identify, range(1, 9)), received_at=NOW))

            with pytest.raises(Overloaded):
                intake.submit(read(service, *map(identify, range(9, 12)), received_at=NOW))
            asked = request("POST", "/", {"events": [*map(identify, range(9, 12))]}, x_write_key=WRITE_KEY)
            response = await asyncio.wait_for(_answer(service, asked), 1)
            last = intake.submit(read(service, *map(identify, range(9, 11)), received_at=NOW))
            push = {"visitor_id": "v50", "customer_id": "c50", "display_name": "Ana"}
            refused = await asyncio.wait_for(authenticate(service, push), 1)
            release.set()
            await asyncio.gather(first, waiting, last)

            assert (response.status, dict(response.headers)[b"retry-after"]) == (503, b"1")
            assert (refused[0], refused[1]["code"]) == (503, "unavailable")

    asyncio.run(story())
    check_store(store_url)
    held = values_in(store_url, *(f"c{n}" for n in range(12)), "c50")
    assert held == [{"display_name": f"Ana {n}"} for n in range(11)] + [None, None]


async def _answer(service: Service, asked: Any) -> Response:
    return await answer("test", service.events.events, asked)


def test_more_than_one_batch_of_events_in_one_request_is_taken_in_order(store_url: str, urls: Urls) -> None:
    sent = [
        {"type": "clIdentity", "visitor_id": f"v{n % 3}", "params": {"customerId": f"c{n % 7}", "name": f"Ana {n}"}}
        for n in range(500)
    ]

    async def story() -> Any:
        async with opened_service(store_url, urls.redis) as service:
            return await post_events(service, *sent), await find_visitors(service, "v0", "v1", "v2")

    (status, answered), currents = asyncio.run(story())

    check_store(store_url)
    assert (status, answered["results"]) == (200, [{"status": "accepted"}] * 500)
    last = {n % 7: {"display_name": f"Ana {n}"} for n in range(500)}
    assert values_in(store_url, *(f"c{n}" for n in range(7))) == [last[n] for n in range(7)]
    assert currents == [["c1"], ["c2"], ["c0"]]  # 498, 499 and 497 were the last of them


def test_a_queue_of_thousands_is_worked_off(store_url: str, urls: Urls) -> None:
    async def story() -> list[Outcome | Exception]:
        async with opened_service(store_url, urls.redis) as service:
            return await take(service, read(service, *(identify(n) for n in range(2000)), received_at=NOW))

    outcomes = asyncio.run(story())

    check_store(store_url)
    assert all(isinstance(outcome, Outcome) and len(outcome.merges) == 1 for outcome in outcomes)
    assert values_in(store_url, "c0", "c1999") == [{"display_name": "Ana 0"}, {"display_name": "Ana 1999"}]


@pytest.mark.parametrize("is_written", [False, True], ids=["before the commit", "after the commit"])
@pytest.mark.parametrize(
    "sent",
    [
        identify(1),
        {"type": "userSignedOut", "visitor_id": "v0"},
        {"type": "userSignedOut", "visitor_id": "v0", "userId": "stranger"},
        {"type": "userSignedIn", "visitor_id": "v0", "userId": "null"},
        {
            "type": "userProfileChanged",
            "visitor_id": "v9",
            "patch": {"operations": [{"type": "set", "path": "firstName", "value": "Ana"}]},
        },
    ],
    ids=["identify", "sign-out", "sign-out of another", "refused", "anonymous value"],
)
def test_a_connection_cut_off_around_the_commit_leaves_the_event_done_exactly_once(
    store_url: str, urls: Urls, sent: Sent, is_written: bool
) -> None:
    async def story() -> tuple[Outcome, Outcome]:
        async with opened_service(store_url, urls.redis) as service:
            await submit(service, identify(0), received_at=NOW)
            [would_be] = [await service.intake.preview(e) for e in read(service, sent, received_at=NOW)]
            save, cuts = service.intake._save, [True]

            async def cut_off(connection: Connection, changes: Changes) -> None:
                if cuts and not is_written:
                    cuts.pop()
                    _terminate(store_url, connection.info.backend_pid)
                await save(connection, changes)
                if cuts:
                    cuts.pop()
                    _terminate(store_url, connection.info.backend_pid)
                    await connection.execute("SELECT 1")

            service.intake._save = cut_off  # type: ignore[method-assign]
            [outcome] = await submit(service, sent, received_at=NOW)
            assert cuts == []
            return would_be, outcome

    would_be, outcome = asyncio.run(story())

    check_store(store_url)
    with psycopg.connect(store_url) as connection:
        facts = connection.execute("SELECT count(*) FROM visitor_fact").fetchone()
        merges = connection.execute("SELECT count(*) FROM merge").fetchone()
        refusals = connection.execute(
            "SELECT count(*), (SELECT sum(refused) FROM refusal_count) FROM refusal"
        ).fetchone()
    refused = int(would_be.refusal is not None)
    assert (outcome.refusal, len(outcome.merges), len(outcome.facts)) == (
        would_be.refusal,
        len(would_be.merges),
        len(would_be.facts),
    )
    assert facts == (1 + len(would_be.facts),)
    assert merges == (1 + len(would_be.merges),)
    assert refusals == (refused, refused or None)


def _terminate(url: str, pid: int) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])


def test_a_statement_that_an_administrator_cancelled_is_no_fault_of_the_event(store_url: str, urls: Urls) -> None:
    async def story() -> list[Outcome | Exception]:
        async with opened_service(store_url, urls.redis) as service:

            async def cancelled(connection: Connection, changes: Changes) -> None:
                await connection.execute("SET statement_timeout = 20")
                try:
                    await connection.execute("SELECT pg_sleep(5)")
                finally:
                    await connection.execute("RESET statement_timeout")

            service.intake._save = cancelled  # type: ignore[method-assign]
            return await take(service, read(service, identify(1), identify(2), received_at=NOW))

    assert [type(outcome) for outcome in asyncio.run(story())] == [Unavailable, Unavailable]


def test_a_database_that_takes_no_writes_is_a_bad_time_and_no_fault_of_the_event(store_url: str, urls: Urls) -> None:
    async def story() -> Any:
        async with opened_service(store_url, urls.redis) as service:
            with psycopg.connect(store_url, autocommit=True) as connection:
                name = connection.info.dbname
                connection.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
                connection.execute(
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND application_name = 'identity'"
                )
            push = {"visitor_id": "v1", "customer_id": "c1", "display_name": "Ana"}
            return await authenticate(service, push), await look_up(service, "c1")

    written, looked_up = asyncio.run(story())

    assert (written[0], written[1]["code"]) == (503, "unavailable")
    assert looked_up[0] == 404


def test_a_caller_who_leaves_while_waiting_takes_nobody_along(store_url: str, urls: Urls) -> None:
    async def story() -> list[Any]:
        async with opened_service(store_url, urls.redis) as service:
            pushes = [{"visitor_id": f"v{n}", "customer_id": f"c{n}", "display_name": f"Ana {n}"} for n in range(30)]
            tasks = [asyncio.create_task(authenticate(service, push)) for push in pushes]
            await asyncio.sleep(0.005)
            for task in tasks[::3]:
                task.cancel()
            return list(await asyncio.gather(*tasks, return_exceptions=True))

    answers = asyncio.run(story())

    check_store(store_url)
    stayed = [n for n in range(30) if n % 3]
    assert [answers[n] for n in stayed] == [OK] * 20
    assert values_in(store_url, *(f"c{n}" for n in stayed)) == [{"display_name": f"Ana {n}"} for n in stayed]


def test_a_revoked_channel_and_key_are_refused_at_once_by_every_worker(store_url: str, urls: Urls) -> None:
    async def story(*, redis: str) -> None:
        async with opened_service(store_url, redis) as one, opened_service(store_url, redis) as other:
            push = {"visitor_id": "v1", "customer_id": "c1", "display_name": "Ana"}
            for worker in (one, other, one, other):
                assert await authenticate(worker, push) == OK
                assert (await look_up(worker, "c1"))[0] == 200

            await _revoke(one)

            for worker in (other, one, other):
                assert (await authenticate(worker, push))[0] == 401
                assert (await authenticate(worker, {**push, "display_name": "Anna"}))[0] == 401
                assert (await post_events(worker, identify(1)))[0] == 401
                assert (await look_up(worker, "c1"))[0] == 401
            await _restore(one)

    asyncio.run(story(redis=urls.redis))
    asyncio.run(story(redis="unix:///nonexistent/socket"))
    assert values_in(store_url, "c1") == [{"display_name": "Ana"}]


async def _change_access(service: Service, channels: LiteralString, keys: LiteralString) -> None:
    async def work(connection: Connection) -> int:
        async with connection.transaction():
            await connection.execute(channels)
            await connection.execute(keys)
            return await advance(connection)

    since = time.monotonic()
    await service.access.announce(await service.database.run(work), since)


async def _revoke(service: Service) -> None:
    await _change_access(
        service, "UPDATE channel SET revoked_at = created_at", "UPDATE secret_key SET revoked_at = created_at"
    )


async def _restore(service: Service) -> None:
    await _change_access(service, "UPDATE channel SET revoked_at = NULL", "UPDATE secret_key SET revoked_at = NULL")


def test_lookups_and_events_answer_busy_when_the_pool_has_nothing_to_lend(
    store_url: str, urls: Urls, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> Any:
        async with opened_service(store_url, urls.redis) as service:

            async def nothing(*_: object, **__: object) -> Any:
                raise psycopg.OperationalError("server closed the connection unexpectedly")

            monkeypatch.setattr(service.database._pool, "getconn", nothing)
            push = {"visitor_id": "v1", "customer_id": "c1", "display_name": "Ana"}
            asked = request(
                "POST",
                "/api/v1/customers/lookup",
                {"emails": ["a@b.example"]},
                authorization=f"Bearer {ADMIN_KEY}",
            )
            return [
                await authenticate(service, push),
                await look_up(service, "c1"),
                await call(service.customers.dispatch, asked),
            ]

    assert [(status, body["code"]) for status, body in asyncio.run(story())] == [(503, "unavailable")] * 3


def test_a_preflight_knows_an_origin_that_another_worker_was_told_of(store_url: str, urls: Urls) -> None:
    async def story() -> list[bytes]:
        async with opened_service(store_url, urls.redis) as asked, opened_service(store_url, urls.redis) as told:
            preflight = asked.gate.for_browsers("/api/v1/events", asked.events.events)
            before = await preflight(request("OPTIONS", "/", origin="https://new.example"))
            await _change_access(
                told, "UPDATE channel SET origins = array_append(origins, 'https://new.example')", "SELECT"
            )
            after = await preflight(request("OPTIONS", "/", origin="https://new.example"))
            return [dict(answer.headers).get(b"access-control-allow-origin", b"") for answer in (before, after)]

    assert asyncio.run(story()) == [b"", b"https://new.example"]
