"""Rules that only show with real servers, one small check each. tests/planted proves that each of them can fail."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, LiteralString

import msgspec
import psycopg
import pytest

from identity.admin.ledger import Ledger
from identity.administration import advance
from identity.app import Service
from identity.events.identity import Event
from identity.intake import Faulty, Intake
from identity.resolve import Held, Outcome
from profiles.access import hash_of
from profiles.database import Connection, statement
from profiles.http import Problem
from profiles.pipeline import Command, fetch_together
from tests.harness import Urls, opened_service
from tests.store.calls import authenticate, find_visitors, look_up, post_events, read, submit
from tests.store.invariants import check_store, values_in

NOW = 1_800_000_000_000
MINUTE = 60_000
OK = (200, {"status": "ok"})
OTHER_WRITE_KEY = "wk_test_of_another_workspace"
SECOND_KEY = "sk_test_second_key"

Story = Callable[[Service], Awaitable[Any]]


def play(store_url: str, urls: Urls, story: Story) -> Any:
    """Return what a story comes to on one worker."""

    async def main() -> Any:
        async with opened_service(store_url, urls.redis) as service:
            return await story(service)

    return asyncio.run(main())


def add_workspace(store_url: str) -> int:
    """Make a second workspace with a channel, spread both so far that they share all buckets, and return its number."""
    with psycopg.connect(store_url) as connection:
        connection.execute("UPDATE workspace SET spread = 4096")
        connection.execute(
            "INSERT INTO workspace (workspace_id, slug, spread, created_at)"
            " SELECT 2, 'other', 4096, created_at FROM workspace"
        )
        connection.execute(
            "INSERT INTO channel (channel_id, workspace_id, name, write_key, website_tracking, origins, on_sign_out,"
            " created_at) SELECT gen_random_uuid(), 2, 'Other', %s, true, origins, 'forget', created_at FROM channel",
            [OTHER_WRITE_KEY],
        )
    return 2


def count(store_url: str, table: LiteralString) -> int:
    """Return how many rows a table has."""
    with psycopg.connect(store_url) as connection:
        found = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    return int(found[0]) if found else 0


async def meet_before_saving(*services: Service) -> None:
    """Let the first batch of each service wait, when it has loaded what is held, until all of them have."""
    meeting = asyncio.Barrier(len(services))
    for service in services:
        wait_once(service.intake, meeting)


def wait_once(intake: Intake, meeting: asyncio.Barrier) -> None:
    load = intake._load

    async def load_and_wait(connection: Connection, events: Sequence[Event]) -> Held:
        held = await load(connection, events)
        intake._load = load  # type: ignore[method-assign]
        await meeting.wait()
        return held

    intake._load = load_and_wait  # type: ignore[method-assign]


async def push_at_once(store_url: str, urls: Urls) -> tuple[Any, Any]:
    """Have two workers decide the first push of one customer on the same state."""
    async with opened_service(store_url, urls.redis) as one, opened_service(store_url, urls.redis) as other:
        await meet_before_saving(one, other)
        first, second = await asyncio.gather(
            authenticate(one, {"visitor_id": "v1", "customer_id": "c", "display_name": "Ana"}),
            authenticate(other, {"visitor_id": "v2", "customer_id": "c", "address": "Here 1"}),
        )
        return first, second


def test_two_first_pushes_of_one_customer_at_once_are_both_kept(store_url: str, urls: Urls):
    asyncio.run(push_at_once(store_url, urls))

    check_store(store_url)
    assert values_in(store_url, "c") == [{"display_name": "Ana", "address": "Here 1"}]


def test_a_conflict_is_decided_anew_and_not_told_to_the_caller(store_url: str, urls: Urls):
    answers = asyncio.run(push_at_once(store_url, urls))

    assert answers == (OK, OK)


def test_an_older_cache_write_never_replaces_a_newer_one(store_url: str, urls: Urls):
    async def story(service: Service) -> object:
        cache, now = service.cache, asyncio.get_running_loop().time()
        key = cache.customer_key(1, "c")
        await cache.write([(key, 2, b"newer")], now)
        await cache.write([(key, 1, b"older")], now)
        return (await cache.read([key])).entries

    assert play(store_url, urls, story) == [(2, b"newer")]


def test_a_push_after_another_push_is_not_taken_for_unchanged(store_url: str, urls: Urls):
    """A, B, A again ends at A, also where a look-up has put A's digest into the cache in between."""

    async def story(service: Service) -> None:
        first = {"customer_id": "c", "display_name": "Ana"}
        await authenticate(service, first)
        await look_up(service, "c")
        await service.cache._writes.drain()
        await authenticate(service, {"customer_id": "c", "display_name": "Bo"})
        await authenticate(service, first)

    play(store_url, urls, story)

    assert values_in(store_url, "c") == [{"display_name": "Ana"}]


def test_no_admin_finds_a_merge_of_another_workspace(store_url: str, urls: Urls):
    other = add_workspace(store_url)

    async def story(service: Service) -> int:
        await authenticate(service, {"customer_id": "c"}, write_key=OTHER_WRITE_KEY)
        with psycopg.connect(store_url) as connection:
            found = connection.execute("SELECT merge_id::text FROM merge").fetchone()
        assert found is not None
        ledger = Ledger(service.database, service.spreads)
        assert (await ledger.find_merge(other, found[0])).customer_id == "c"
        with pytest.raises(Problem) as problem:
            await ledger.find_merge(1, found[0])
        return problem.value.status

    assert play(store_url, urls, story) == 404


def test_no_admin_lists_merges_of_another_workspace(store_url: str, urls: Urls):
    other = add_workspace(store_url)

    async def story(service: Service) -> list[list[str]]:
        await authenticate(service, {"customer_id": "mine"})
        await authenticate(service, {"customer_id": "theirs"}, write_key=OTHER_WRITE_KEY)
        ledger = Ledger(service.database, service.spreads)
        return [[merge.customer_id for merge in (await ledger.list_merges(n, {})).items] for n in (1, other)]

    assert play(store_url, urls, story) == [["mine"], ["theirs"]]


def test_no_email_finds_a_customer_of_another_workspace(store_url: str, urls: Urls):
    other = add_workspace(store_url)

    async def story(service: Service) -> list[list[list[str]]]:
        await authenticate(service, {"customer_id": "mine", "display_email": "ana@shop.example"})
        theirs = {"customer_id": "theirs", "display_email": "ana@shop.example"}
        await authenticate(service, theirs, write_key=OTHER_WRITE_KEY)
        async with service.database.connection() as connection:
            return [
                await service.customers._find_ids(connection, n, "emails", ["ana@shop.example"]) for n in (1, other)
            ]

    assert play(store_url, urls, story) == [[["mine"]], [["theirs"]]]


def test_an_email_that_very_many_hold_hides_nobody_who_holds_another(
    store_url: str, urls: Urls, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("profiles.routes.CUSTOMERS_PER_INPUT_MAX", 2)

    async def story(service: Service) -> list[list[str]]:
        for number in range(4):
            await authenticate(service, {"customer_id": f"c{number}", "display_email": "none@shop.example"})
        await authenticate(service, {"customer_id": "zoe", "display_email": "zoe@shop.example"})
        async with service.database.connection() as connection:
            sent = ["none@shop.example", "zoe@shop.example", "nobody@shop.example"]
            return await service.customers._find_ids(connection, 1, "emails", sent)

    assert play(store_url, urls, story) == [["c0", "c1"], ["zoe"], []]


def identify(customer_id: str, visitor_id: str = "v", **more: object) -> dict[str, object]:
    return {"type": "clIdentity", "visitor_id": visitor_id, "customer_id": customer_id, **more}


def test_a_late_event_does_not_overwrite_newer_data(store_url: str, urls: Urls):
    async def story(service: Service) -> None:
        await submit(service, identify("c", name="newer", occurred_at=NOW), received_at=NOW)
        await submit(service, identify("c", name="older", occurred_at=NOW - MINUTE), received_at=NOW + MINUTE)

    play(store_url, urls, story)

    assert values_in(store_url, "c") == [{"display_name": "newer"}]


def test_an_empty_value_overwrites_nothing(store_url: str, urls: Urls):
    async def story(service: Service) -> None:
        await submit(service, identify("c", name="Ana", address="Here 1"), received_at=NOW)
        await submit(service, identify("c", name="", address=None), received_at=NOW + MINUTE)
        await submit(service, identify("c", name=" ", address=[]), received_at=NOW + 2 * MINUTE)

    play(store_url, urls, story)

    assert values_in(store_url, "c") == [{"display_name": "Ana", "address": "Here 1"}]


def test_a_switch_ends_the_former_link(store_url: str, urls: Urls):
    async def story(service: Service) -> tuple[Any, Any, Any]:
        await submit(service, identify("a"), received_at=NOW)
        await submit(service, identify("b"), received_at=NOW + MINUTE)
        (_, a), (_, b) = await look_up(service, "a"), await look_up(service, "b")
        return a["visitors"][0]["current"], b["visitors"][0]["current"], await find_visitors(service, "v")

    assert play(store_url, urls, story) == (False, True, [["b"]])


def test_a_push_that_lost_is_looked_at_again_when_it_comes_again(store_url: str, urls: Urls):
    async def story(service: Service) -> None:
        await submit(service, identify("c", name="Bo", occurred_at=NOW), received_at=NOW)
        await submit(service, identify("c", name="Ana", occurred_at=NOW - MINUTE), received_at=NOW + MINUTE)
        await submit(service, identify("c", name="Ana"), received_at=NOW + 2 * MINUTE)

    play(store_url, urls, story)

    assert values_in(store_url, "c") == [{"display_name": "Ana"}]


def test_the_same_push_from_another_device_links_it(store_url: str, urls: Urls):
    async def story(service: Service) -> object:
        await submit(service, identify("c", "phone", name="Ana"), received_at=NOW)
        await submit(service, identify("c", "laptop", name="Ana"), received_at=NOW + MINUTE)
        return await find_visitors(service, "phone", "laptop")

    assert play(store_url, urls, story) == [["c"], ["c"]]


def test_an_acknowledged_push_is_committed(store_url: str, urls: Urls):
    async def story(service: Service) -> tuple[object, list[int]]:
        answer = await authenticate(service, {"visitor_id": "v", "customer_id": "c", "display_name": "Ana"})
        return answer, [count(store_url, "customer"), count(store_url, "merge"), count(store_url, "visitor_fact")]

    assert play(store_url, urls, story) == (OK, [1, 1, 1])


def test_a_repeated_event_changes_nothing(store_url: str, urls: Urls):
    async def story(service: Service) -> list[bool]:
        first = identify("c", name="Ana", event_id="e1")
        outcomes = await submit(service, first, received_at=NOW)
        outcomes += await submit(service, identify("c", name="Bo", event_id="e2"), received_at=NOW + MINUTE)
        outcomes += await submit(service, first, received_at=NOW + 2 * MINUTE)
        return [outcome.unchanged for outcome in outcomes]

    assert play(store_url, urls, story) == [False, False, True]
    assert values_in(store_url, "c") == [{"display_name": "Bo"}]


def test_a_revoked_key_is_refused_by_every_worker_at_once(store_url: str, urls: Urls):
    with psycopg.connect(store_url) as connection:
        connection.execute(
            "INSERT INTO secret_key (key_id, workspace_id, name, scopes, secret_hash, hint, created_at)"
            " SELECT gen_random_uuid(), workspace_id, 'Second', scopes, %s, 'key2', created_at FROM secret_key",
            [hash_of(SECOND_KEY)],
        )

    async def revoke(service: Service) -> None:
        async with service.database.connection() as connection, connection.transaction():
            await connection.execute("UPDATE secret_key SET revoked_at = created_at WHERE name = 'Second'")
            generation = await advance(connection)
        await service.access.announce(generation, asyncio.get_running_loop().time())

    async def main() -> list[list[int]]:
        async with opened_service(store_url, urls.redis) as one, opened_service(store_url, urls.redis) as other:
            await authenticate(one, {"customer_id": "c"})
            before = [(await look_up(service, "c", key=SECOND_KEY))[0] for service in (one, other)]
            await revoke(one)
            after = [(await look_up(service, "c", key=SECOND_KEY))[0] for service in (one, other)]
            return [before, after]

    assert asyncio.run(main()) == [[200, 200], [401, 401]]


def test_a_nul_costs_its_field_and_nothing_else(store_url: str, urls: Urls):
    async def story(service: Service) -> object:
        sent = identify("c", name="a\x00b", address="Here 1"), identify("neighbour", "w", name="Bo")
        return await post_events(service, *sent)

    accepted = {"status": "accepted"}
    assert play(store_url, urls, story) == (200, {"results": [accepted, accepted]})
    assert values_in(store_url, "c", "neighbour") == [{"address": "Here 1"}, {"display_name": "Bo"}]


def test_an_event_that_cannot_be_saved_harms_no_other(store_url: str, urls: Urls):
    async def story(service: Service) -> list[Outcome | Exception]:
        events = read(service, *(identify(f"c{n}", f"v{n}", name="Ana") for n in range(5)), received_at=NOW)
        events[2] = msgspec.structs.replace(events[2], sender=msgspec.structs.replace(events[2].sender, source="\x00"))
        return await service.intake.submit(events)

    outcomes = play(store_url, urls, story)

    assert [type(outcome) for outcome in outcomes] == [Outcome, Outcome, Faulty, Outcome, Outcome]
    held = {"display_name": "Ana"}
    assert values_in(store_url, *(f"c{n}" for n in range(5))) == [held, held, None, held, held]


def change(*operations: tuple[object, ...], visitor_id: str = "v") -> dict[str, object]:
    """Return a patch of what is the visitor's; each operation as type, path and value."""
    steps = [dict(zip(("type", "path", "value"), operation, strict=False)) for operation in operations]
    return {"type": "userProfileChanged", "visitor_id": visitor_id, "patch": {"operations": steps}}


def test_a_patch_counts_on_what_is_held_of_the_customer(store_url: str, urls: Urls):
    async def story(service: Service) -> None:
        await submit(service, identify("c"), received_at=NOW)
        for minute in (1, 2, 3):
            await submit(service, change(("increment", "custom.points", 5)), received_at=NOW + minute * MINUTE)
        last = change(("decrement", "custom.points"), ("merge", "custom", {"plan": "gold"}))
        await submit(service, last, received_at=NOW + 4 * MINUTE)

    play(store_url, urls, story)

    check_store(store_url)
    assert values_in(store_url, "c") == [{"custom.points": 14, "custom.plan": "gold"}]


def test_a_list_that_grew_before_sign_in_is_adopted(store_url: str, urls: Urls):
    async def story(service: Service) -> None:
        await submit(service, change(("add", "interests", "tea")), received_at=NOW)
        await submit(service, change(("combine", "interests", ["tea", "milk"])), received_at=NOW + MINUTE)
        await submit(service, identify("c"), received_at=NOW + 2 * MINUTE)
        await submit(service, change(("remove", "interests", "tea")), received_at=NOW + 3 * MINUTE)

    play(store_url, urls, story)

    check_store(store_url)
    assert values_in(store_url, "c") == [{"interests": ["milk"]}]


def test_one_failing_operation_voids_a_patch_and_only_the_admin_learns_of_it(store_url: str, urls: Urls):
    failing = change(("set", "firstName", "Bo"), ("increment", "custom.plan", 1))

    async def story(service: Service) -> tuple[object, dict[str, int]]:
        before = change(("set", "firstName", "Ana"), ("set", "custom.plan", "gold"))
        await post_events(service, identify("c"), before, {**before, "visitor_id": "nobody's"})
        answer = await post_events(service, failing, {**failing, "visitor_id": "nobody's"})
        refusals = await Ledger(service.database, service.spreads).list_refusals(1, {})
        return answer, {str(reason): count for reason, count in refusals.counts.items()}

    accepted = {"status": "accepted"}
    answer, refused = play(store_url, urls, story)

    assert answer == (200, {"results": [accepted, accepted]})
    assert refused == {"failed_patch": 2}
    check_store(store_url)
    assert values_in(store_url, "c") == [{"first_name": "Ana", "custom.plan": "gold"}]


def test_a_change_that_is_taken_back_leaves_the_connection_fit_for_events(store_url: str, urls: Urls):
    """psycopg deallocates prepared statements after a ROLLBACK, in its belief that all of them are its own."""
    command = Command("profiles", "load_customers", {"keys": b"[]", "buckets": b"{1}"})

    async def change_and_regret(connection: Connection) -> None:
        async with connection.transaction():
            for _ in range(10):
                await connection.execute(statement("profiles", "load_store"))
            raise LookupError

    async def story(service: Service) -> list[object]:
        async with service.database.connection() as connection:
            before = await fetch_together(connection, [command])
            with pytest.raises(LookupError):
                await change_and_regret(connection)
            return [before, await fetch_together(connection, [command])]

    assert play(store_url, urls, story) == [[[]], [[]]]
