"""Statements sent together: what is left behind when they fail, are given up, or the server goes away."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import psycopg
import pytest

from profiles.database import Conflict, Connection, Database, Unavailable
from profiles.pipeline import Command, _Exchange, write_together

NOTHING = Command("profiles", "load_customers", {"keys": b"[]", "buckets": b"{1}"})
PATIENCE_SECONDS = 20.0


def remembering(*event_ids: str) -> list[Command]:
    """Return the statements that remember events, one each: an id that is remembered already is a lost race."""
    row = '[{"bucket": 1, "workspace_id": 1, "event_id": "%s", "received_at": "2026-06-01T08:30:00Z"}]'
    return [Command("identity", "insert_seen", {"rows": (row % event_id).encode()}) for event_id in event_ids]


def remembered(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        return [row[0] for row in connection.execute("SELECT event_id FROM event_seen ORDER BY event_id").fetchall()]


@contextlib.asynccontextmanager
async def opened(url: str, *, prepared: bool = True) -> AsyncIterator[Database]:
    database = Database(url, prepared=prepared, connections_max=1)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


def on_one(url: str, story: Callable[[Database], Awaitable[Any]], *, prepared: bool = True) -> Any:
    async def main() -> Any:
        async with opened(url, prepared=prepared) as database:
            return await story(database)

    return asyncio.run(main())


@pytest.mark.parametrize("prepared", [True, False], ids=["prepared", "behind a pooler"])
def test_a_lost_race_leaves_nothing_written_and_the_connection_fit_for_more(store_url: str, prepared: bool):
    async def story(database: Database) -> list[int]:
        pids: list[int] = []

        async def write(connection: Connection, *event_ids: str) -> None:
            pids.append(connection.info.backend_pid)
            await write_together(connection, remembering(*event_ids))

        await database.run(lambda connection: write(connection, "a"))
        with pytest.raises(Conflict):
            await database.run(lambda connection: write(connection, "b", "a", "c"))
        await database.run(lambda connection: write(connection, "d"))
        return pids

    pids = on_one(store_url, story, prepared=prepared)

    assert remembered(store_url) == ["a", "d"]
    assert len(set(pids)) == 1


def test_what_was_given_up_while_it_waited_for_a_lock_is_not_done_once_the_lock_is_free(store_url: str):
    async def story(database: Database) -> None:
        with pytest.raises(Unavailable):
            await database.run(lambda connection: write_together(connection, remembering("a", "b")), seconds_max=0.3)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while await asyncio.to_thread(active, store_url):
            assert time.monotonic() < deadline, "it still waits"
            await asyncio.sleep(0.05)

    with psycopg.connect(store_url) as holder:
        holder.execute(
            "INSERT INTO event_seen (bucket, workspace_id, event_id, received_at) VALUES (1, 1, 'b', '2026-06-01')"
        )
        on_one(store_url, story)
        holder.rollback()

    assert remembered(store_url) == []


def active(url: str) -> int:
    """Return how many of the service's connections have a transaction."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'identity' AND xact_start IS NOT NULL"
        ).fetchone()
    assert row is not None
    return int(row[0])


class _Losing:
    """A connection of libpq whose socket's number is taken by the next one in the moment in which it is lost."""

    def __init__(self, pgconn: Any) -> None:
        self._pgconn = pgconn
        self._loop = asyncio.get_running_loop()
        self.sockets: list[socket.socket] = []
        self.heard = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pgconn, name)

    def consume_input(self) -> None:
        number = self._pgconn.socket
        try:
            self._pgconn.consume_input()
        except psycopg.OperationalError:
            while number not in [taken.fileno() for taken in self.sockets]:
                self.sockets += socket.socketpair()
            self._loop.call_soon(self._loop.add_reader, number, self.heard.set)
            raise


def test_a_lost_connection_leaves_the_number_of_its_socket_to_the_next_one(store_url: str):
    async def story(database: Database) -> bool:
        async with database.connection() as connection:
            losing, number = _Losing(connection.pgconn), connection.pgconn.socket
            connection.pgconn.enter_pipeline_mode()
            connection.pgconn.send_query_params(b"SELECT pg_sleep(60)", None)
            connection.pgconn.pipeline_sync()
            exchange = asyncio.create_task(_Exchange(losing).results())  # type: ignore[arg-type]
            await asyncio.sleep(0.05)
            await asyncio.to_thread(terminate, store_url, connection.info.backend_pid)
            done, _ = await asyncio.wait({exchange}, timeout=PATIENCE_SECONDS)
            assert done, "nobody noticed"
            with pytest.raises(psycopg.OperationalError):
                exchange.result()
        at = [taken.fileno() for taken in losing.sockets].index(number)
        losing.sockets[at ^ 1].send(b"hello")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(losing.heard.wait(), 5)
        asyncio.get_running_loop().remove_reader(number)
        for taken in losing.sockets:
            taken.close()
        return losing.heard.is_set()

    assert on_one(store_url, story)


def terminate(url: str, pid: int) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
