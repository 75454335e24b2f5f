"""Taking back many merges at once, on real servers."""

import asyncio
import contextlib
from typing import Any

import psycopg

from identity import bulk_undo
from identity.acts import By
from identity.app import Service
from identity.bulk_undo import Filter
from tests.harness import CHANNEL_ID, Urls, opened_service
from tests.store.calls import KEEPING_KEY, add_keeping_channel, find_visitors, submit
from tests.store.invariants import check_store, values_in
from tests.store.test_acts import WORKSPACE, identify
from tests.store.test_rules import MINUTE, NOW, play

ADMIN = By("key:Ana", "the key was stolen")
CUSTOMERS = [f"c{number}" for number in range(30)]


async def poisoned(service: Service) -> None:
    """Let thirty customers come by a good channel, and be written over by a stolen key."""
    good = [identify(customer, f"v-{customer}", name="Ana") for customer in CUSTOMERS]
    await submit(service, *good, received_at=NOW, write_key=KEEPING_KEY)
    bad = [identify(customer, f"v-{customer}", at=1, name="Zoe", gender="other") for customer in CUSTOMERS]
    await submit(service, *bad, received_at=NOW + MINUTE)
    fakes = [identify(f"fake-{number}", f"v-c{number}", at=2, name="Eve") for number in range(10)]
    await submit(service, *fakes, received_at=NOW + 2 * MINUTE)
    again = [identify(customer, f"v-{customer}", at=3, address="1 Lane") for customer in CUSTOMERS[20:]]
    await submit(service, *again, received_at=NOW + 3 * MINUTE, write_key=KEEPING_KEY)


def stolen(until: int = 10) -> Filter:
    return Filter(since=NOW, until=NOW + until * MINUTE, channel_id=CHANNEL_ID)


def as_before() -> list[dict[str, Any] | None]:
    return [
        {"display_name": "Ana"} if number < 20 else {"display_name": "Ana", "address": "1 Lane"} for number in range(30)
    ]


def test_everything_of_a_stolen_key_is_taken_back_and_nothing_else(store_url: str, urls: Urls):
    add_keeping_channel(store_url)

    async def story(service: Service):
        await poisoned(service)
        preview = await service.bulk.preview(WORKSPACE, stolen(), ADMIN)
        untouched = values_in(store_url, "c0")
        operation = await service.bulk.begin(WORKSPACE, stolen(), ADMIN, taken=True)
        counts = await service.bulk.go_on(operation)
        told = await service.operation_log.find(WORKSPACE, operation.operation_id)
        return preview, untouched, counts, told, await find_visitors(service, "v-c0", "v-c15")

    preview, untouched, counts, told, visitors = play(store_url, urls, story)

    assert untouched == [{"display_name": "Zoe", "gender": "other"}]
    assert (counts.merges, counts.identifications, counts.refused) == (40, 10, 0)
    assert (preview.counts.merges, preview.counts.identifications, preview.more) == (40, 10, False)
    assert values_in(store_url, *CUSTOMERS) == as_before()
    assert visitors == [["c0"], ["c15"]]
    assert told is not None
    assert (told.status, told.progress["merges"], told.actor) == ("done", 40, "key:Ana")
    check_store(store_url)


def test_what_a_join_copied_did_not_arrive_with_the_channel_it_names(store_url: str, urls: Urls):
    add_keeping_channel(store_url)

    async def story(service: Service):
        await submit(service, identify("old", "v1", name="Ana", gender="other"), received_at=NOW)
        await submit(
            service, identify("new", "v2", at=1, name="Ana Lin"), received_at=NOW + MINUTE, write_key=KEEPING_KEY
        )
        now = service.acts._clock()
        await service.joins.join(WORKSPACE, "old", "new", ADMIN, dry_run=False)
        hour = Filter(since=now - 60 * MINUTE, until=now + 60 * MINUTE, channel_id=CHANNEL_ID)
        of_the_join = await service.bulk.preview(WORKSPACE, hour, ADMIN)
        before = values_in(store_url, "old", "new")
        operation = await service.bulk.begin(WORKSPACE, stolen(), ADMIN, taken=True)
        await service.bulk.go_on(operation)
        return of_the_join.counts.merges, before

    merges, before = play(store_url, urls, story)

    assert merges == 0
    assert before[1] == {"display_name": "Ana Lin", "gender": "other"}
    assert values_in(store_url, "new") == [{"display_name": "Ana Lin"}]
    check_store(store_url)


def test_a_bulk_undo_is_taken_back_as_a_whole(store_url: str, urls: Urls):
    add_keeping_channel(store_url)

    async def story(service: Service):
        await poisoned(service)
        before = values_in(store_url, *CUSTOMERS)
        first = await service.bulk.begin(WORKSPACE, stolen(), ADMIN, taken=True)
        await service.bulk.go_on(first)
        now = service.acts._clock() + MINUTE
        wanted = Filter(until=now, operation_id=first.operation_id)
        second = await service.bulk.begin(WORKSPACE, wanted, ADMIN, taken=True)
        counts = await service.bulk.go_on(second)
        return before, counts, await find_visitors(service, "v-c0", "v-c15")

    before, counts, visitors = play(store_url, urls, story)

    assert values_in(store_url, *CUSTOMERS) == before
    assert counts.identifications == 10
    assert visitors == [["fake-0"], ["c15"]]
    check_store(store_url)


def test_what_a_worker_left_half_done_another_one_finishes(store_url: str, urls: Urls, monkeypatch):
    monkeypatch.setattr(bulk_undo, "STEP_ROWS_MAX", 7)
    add_keeping_channel(store_url)

    async def story(service: Service):
        await poisoned(service)
        operation = await service.bulk.begin(WORKSPACE, stolen(), ADMIN)
        taken = await service.operation_log.take("undo", NOW)
        nobody = await service.operation_log.take("undo", NOW + 1000)
        steps = 0

        def die(_: bulk_undo.Counts) -> None:
            nonlocal steps
            steps += 1
            if steps == 3:
                raise ConnectionAbortedError

        assert taken is not None
        with contextlib.suppress(ConnectionAbortedError):
            await service.bulk.go_on(taken, die)
        with psycopg.connect(store_url) as connection:
            connection.execute("UPDATE operation SET updated_at = '2000-01-01'")
        async with opened_service(store_url, urls.redis) as other:
            runner = asyncio.create_task(other.bulk.run_for_ever())
            found = None
            for _ in range(200):
                found = await other.operation_log.find(WORKSPACE, operation.operation_id)
                if found is not None and found.status == "done":
                    break
                await asyncio.sleep(0.1)
            runner.cancel()
        return nobody, found

    nobody, found = play(store_url, urls, story)

    assert nobody is None
    assert found.status == "done"
    assert (found.progress["merges"], found.progress["identifications"]) == (40, 10)
    assert values_in(store_url, *CUSTOMERS) == as_before()
    check_store(store_url)


def test_traffic_meanwhile_is_neither_lost_nor_taken_back(store_url: str, urls: Urls, monkeypatch):
    monkeypatch.setattr(bulk_undo, "STEP_ROWS_MAX", 5)
    add_keeping_channel(store_url)

    async def story(service: Service):
        await poisoned(service)
        operation = await service.bulk.begin(WORKSPACE, stolen(), ADMIN, taken=True)
        undoing = asyncio.create_task(service.bulk.go_on(operation))
        for at in range(20, 40):
            events = [identify(customer, f"v-{customer}", at=at, birthday="1995-01-31") for customer in CUSTOMERS]
            await submit(service, *events, received_at=NOW + at * MINUTE, write_key=KEEPING_KEY)
        return await undoing

    counts = play(store_url, urls, story)

    assert counts.merges == 40
    assert values_in(store_url, *CUSTOMERS) == [{**values, "birth": "1995-01-31"} for values in as_before() if values]
    check_store(store_url)


def test_what_came_before_or_after_the_time_is_left_alone(store_url: str, urls: Urls):
    def at(minute: int, **fields: object) -> dict[str, Any]:
        return identify("c", "v-c", at=minute, **fields)

    async def story(service: Service):
        switch = identify("zoe", "v-c", at=6, name="Zoe")
        for minute, event in (
            (1, at(1, name="Ana")),
            (5, at(5, name="Eve", gender="other")),
            (6, switch),
            (9, at(9, address="1 Lane")),
        ):
            await submit(service, event, received_at=NOW + minute * MINUTE)
        wanted = Filter(since=NOW + 5 * MINUTE, until=NOW + 9 * MINUTE, channel_id=CHANNEL_ID)
        preview = await service.bulk.preview(WORKSPACE, wanted, ADMIN)
        operation = await service.bulk.begin(WORKSPACE, wanted, ADMIN, taken=True)
        return preview.counts, await service.bulk.go_on(operation), await find_visitors(service, "v-c")

    preview, counts, visitors = play(store_url, urls, story)

    assert preview == counts
    assert (counts.merges, counts.identifications, counts.refused) == (2, 1, 0)
    assert values_in(store_url, "c", "zoe") == [{"display_name": "Ana", "address": "1 Lane"}, {}]
    assert visitors == [["c"]]
    check_store(store_url)
