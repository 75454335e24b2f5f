"""The change feed: every change once, in an order that nothing comes into later, over restores too."""

import asyncio
import secrets
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from identity.changes import ChangeType
from identity.feed import BEGINNING, Change, ChangePage, Position, make_cursor, read_cursor
from profiles import migrate
from profiles.http import Problem
from tests.harness import Urls, fresh_store, opened_service
from tests.store.calls import authenticate, post_events

WORKSPACE = 1


def pages(service: Any, *, after: str | None = None, limit: int = 1000) -> Any:
    return service.feed.page(WORKSPACE, after, limit)


def told(page: ChangePage) -> list[tuple[str | None, list[str]]]:
    return [(change.customer_id, [str(kind) for kind in change.types]) for change in page.items]


INSERT = """INSERT INTO merge (bucket, workspace_id, customer_id, version, merge_id, is_link, created_customer, skipped,
                               policy, source, event, occurred_at, received_at, decisions)
            VALUES (%s, 1, %s, 1, %s, false, true, false, 'overwrite', 'channel', 'clIdentity', '2026-01-01',
                    '2026-01-01', %s)"""


def write(connection: psycopg.Connection[Any], service: Any, customer_id: str, number: int) -> None:
    """Write a ledger row past the service, in whatever transaction the connection is in."""
    bucket = service.spreads.bucket(WORKSPACE, customer_id)
    merge_id = f"019f0000-0000-7{bucket:03x}-8000-{number:012x}"
    connection.execute(INSERT, [bucket, customer_id, merge_id, Jsonb([["display_name", "set", None, None, "Ana"]])])


def test_a_change_tells_what_it_was_and_the_names_of_the_fields_and_no_value(urls: Urls, store_url: str):
    async def main() -> ChangePage:
        async with opened_service(store_url, urls.redis) as service:
            await authenticate(
                service, {"visitor_id": "v1", "customer_id": "a", "display_name": "Ana", "gender": "female"}
            )
            await authenticate(service, {"visitor_id": "v1", "customer_id": "a", "display_name": "Ana Lin"})
            await post_events(service, {"type": "userSignedOut", "visitor_id": "v1"})
            page: ChangePage = await pages(service)
            return page

    page = asyncio.run(main())

    assert [(c.version, c.types, c.fields, c.event, c.visitor_id, c.source) for c in page.items] == [
        (1, [ChangeType.CREATED, ChangeType.LINKED], ["display_name", "gender"], "clIdentity", "v1", "channel"),
        (2, [ChangeType.UPDATED], ["display_name"], "clIdentity", "v1", "channel"),
        (3, [ChangeType.UNLINKED], [], "userSignedOut", "v1", "channel"),
    ]
    assert {c.customer_id for c in page.items} == {"a"}
    assert "Ana" not in str(page)
    assert (page.has_more, page.next_cursor) == (False, page.items[-1].cursor)


def test_a_row_that_only_skipped_something_is_passed_over(urls: Urls, store_url: str):
    async def main() -> tuple[ChangePage, ChangePage]:
        async with opened_service(store_url, urls.redis) as service:
            await authenticate(service, {"visitor_id": "v1", "customer_id": "a"})
            await authenticate(service, {"visitor_id": "v1", "customer_id": "a", "display_mobile": "0912345678"})
            first = await pages(service, limit=1)
            return first, await pages(service, after=first.next_cursor, limit=1)

    first, second = asyncio.run(main())

    assert (told(first), first.has_more) == ([("a", ["created", "linked"])], True)
    assert (told(second), second.has_more) == ([], True)
    assert second.next_cursor != first.next_cursor


def test_nothing_committed_later_comes_before_what_was_handed_out(urls: Urls, store_url: str):
    """A transaction that began first, with the lower merge id and the lower number, is committed last."""

    async def main() -> list[list[tuple[str | None, list[str]]]]:
        async with opened_service(store_url, urls.redis) as service:
            with psycopg.connect(store_url) as slow, psycopg.connect(store_url) as quick:
                write(slow, service, "slow", 1)
                write(quick, service, "quick", 2)
                quick.commit()
                held_back = await pages(service)
                slow.commit()
            everything = await pages(service, after=held_back.next_cursor)
            return [told(held_back), told(everything), told(await pages(service, after=everything.next_cursor))]

    held_back, everything, rest = asyncio.run(main())

    assert held_back == []
    assert everything == [("slow", ["created"]), ("quick", ["created"])]
    assert rest == []


def test_a_transaction_that_is_rolled_back_holds_nothing_back(urls: Urls, store_url: str):
    async def main() -> ChangePage:
        async with opened_service(store_url, urls.redis) as service:
            with psycopg.connect(store_url) as failed, psycopg.connect(store_url) as other:
                write(failed, service, "failed", 1)
                write(other, service, "other", 2)
                other.commit()
                failed.rollback()
            page: ChangePage = await pages(service)
            return page

    assert told(asyncio.run(main())) == [("other", ["created"])]


def test_a_reader_beside_many_writers_sees_every_change_once_and_in_the_order_of_a_later_reader(
    urls: Urls, store_url: str
):
    writers, each = 6, 40

    async def main() -> tuple[list[str], list[str]]:
        async with opened_service(store_url, urls.redis) as service:

            def write_some(writer: int) -> None:
                with psycopg.connect(store_url) as connection:
                    for n in range(each):
                        # Ids that say nothing about the order of commits.
                        write(connection, service, f"{writer}-{n}", (n * 7919 + writer * 104729) % 1_000_003)
                        connection.execute("SELECT pg_sleep(%s)", [secrets.randbelow(4) / 1000])
                        connection.commit()

            threads = [threading.Thread(target=write_some, args=[writer]) for writer in range(writers)]
            for thread in threads:
                thread.start()
            followed: list[str] = []
            cursor = None
            while len(followed) < writers * each:
                is_over = not any(thread.is_alive() for thread in threads)
                page = await pages(service, after=cursor, limit=7)
                followed += [change.merge_id for change in page.items]
                cursor = page.next_cursor
                if is_over and not page.has_more and not page.items:
                    break
                await asyncio.sleep(0)
            return followed, [change.merge_id for change in (await pages(service)).items]

    followed, afterwards = asyncio.run(main())

    assert len(set(afterwards)) == writers * each
    assert followed == afterwards


def test_rows_that_were_there_before_the_feed_come_first_in_the_order_of_their_ids(urls: Urls, store_url: str):
    async def main() -> list[list[tuple[str | None, list[str]]]]:
        async with opened_service(store_url, urls.redis) as service:
            with psycopg.connect(store_url) as connection:
                for number, customer_id in ((3, "third"), (1, "first"), (2, "second")):
                    write(connection, service, customer_id, number)
                connection.execute("UPDATE merge SET xid = NULL")
            with psycopg.connect(store_url) as connection:
                write(connection, service, "new", 0)
            first = await pages(service, limit=2)
            return [told(first), told(await pages(service, after=first.next_cursor))]

    first, rest = asyncio.run(main())

    assert [customer_id for customer_id, _ in first + rest] == ["first", "second", "third", "new"]


def test_nothing_of_another_workspace_is_told(urls: Urls, store_url: str):
    async def main() -> ChangePage:
        async with opened_service(store_url, urls.redis) as service:
            await authenticate(service, {"visitor_id": "v1", "customer_id": "a"})
            with psycopg.connect(store_url) as connection:
                connection.execute("UPDATE merge SET workspace_id = 2")
            page: ChangePage = await pages(service)
            return page

    assert told(asyncio.run(main())) == []


# Restores


def as_of_another_cluster(store_url: str) -> None:
    """Make the rows look as after a restore into a cluster that has given far fewer numbers."""
    with psycopg.connect(store_url) as connection:
        connection.execute("UPDATE merge SET xid = xid + 1000000")


def refused(call: Callable[[], Any]) -> tuple[int, str]:
    with pytest.raises(Problem) as raised:
        call()
    return raised.value.status, raised.value.code


def test_after_a_restore_into_another_cluster_the_feed_says_so_until_it_is_mended_and_then_goes_on_in_order(
    urls: Urls, store_url: str
):
    async def write_one(customer_id: str) -> ChangePage:
        async with opened_service(store_url, urls.redis) as service:
            await authenticate(service, {"visitor_id": f"v-{customer_id}", "customer_id": customer_id})
            page: ChangePage = await pages(service)
            return page

    async def ask(after: str | None) -> ChangePage:
        async with opened_service(store_url, urls.redis) as service:
            page: ChangePage = await pages(service, after=after)
            return page

    before = asyncio.run(write_one("before"))
    as_of_another_cluster(store_url)
    unmended = [refused(lambda: asyncio.run(ask(None))), refused(lambda: asyncio.run(ask(before.next_cursor)))]
    migrate.restored(store_url, store_id="restored1")
    old_cursor = refused(lambda: asyncio.run(ask(before.next_cursor)))
    mended = asyncio.run(write_one("after"))
    migrate.restored(store_url, store_id="restored2")
    again = asyncio.run(write_one("later"))

    assert unmended == [(410, "feed_restarted")] * 2
    assert old_cursor == (410, "feed_restarted")
    assert [change.customer_id for change in mended.items] == ["before", "after"]
    assert [change.customer_id for change in again.items] == ["before", "after", "later"]


def test_a_cursor_of_a_time_that_was_taken_back_is_refused(urls: Urls, store_url: str):
    """A restore to a point in time: the same store, whose transactions go on from an earlier number."""
    with psycopg.connect(store_url) as connection:
        (store_id,) = connection.execute("SELECT store_id FROM store").fetchone() or ("",)
    ahead = make_cursor(store_id, Position(10**12, BEGINNING.change_id))

    async def ask() -> None:
        async with opened_service(store_url, urls.redis) as service:
            await pages(service, after=ahead)

    assert refused(lambda: asyncio.run(ask())) == (410, "feed_restarted")


@pytest.mark.parametrize(
    "position",
    [
        BEGINNING,
        Position(0, BEGINNING.change_id),
        Position(2**62, "f" * 8 + "-" + "-".join(["f" * 4] * 3) + "-" + "f" * 12),
    ],
)
def test_a_cursor_is_read_as_it_was_made(position: Position):
    assert read_cursor(make_cursor("store", position))[1] == position


@pytest.mark.parametrize("cursor", ["", "x", "é", "A" * 37, "A" * 39, "A" * 400, "\x00", "=" * 38])
def test_what_is_no_cursor_is_refused(cursor: str):
    assert refused(lambda: read_cursor(cursor)) == (400, "invalid_cursor")


def test_the_migration_does_not_write_the_ledger_anew(urls: Urls):
    """Both steps of 0008 on a table with rows leave the file it is in."""
    with fresh_store(urls.database) as url, psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE many AS SELECT n FROM generate_series(1, 1000) AS n")
        before = connection.execute("SELECT pg_relation_filenode('many')").fetchone()
        connection.execute("ALTER TABLE many ADD COLUMN xid bigint")
        connection.execute("ALTER TABLE many ALTER COLUMN xid SET DEFAULT (pg_current_xact_id()::text::bigint)")
        after = connection.execute("SELECT pg_relation_filenode('many')").fetchone()
        held = connection.execute("SELECT count(xid) FROM many").fetchone()

    assert (after, held) == (before, (0,))


def test_changes_are_told_apart_from_each_other(urls: Urls, store_url: str):
    """One transaction writes many rows: their order is that of their ids, and a page may end among them."""

    async def main() -> Iterator[Change]:
        async with opened_service(store_url, urls.redis) as service:
            with psycopg.connect(store_url) as connection:
                for number in (5, 2, 4, 1, 3):
                    write(connection, service, str(number), number)
            found: list[Change] = []
            cursor = None
            while True:
                page = await pages(service, after=cursor, limit=2)
                found += page.items
                cursor = page.next_cursor
                if not page.has_more:
                    return iter(found)

    assert [change.customer_id for change in asyncio.run(main())] == ["1", "2", "3", "4", "5"]
