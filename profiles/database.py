"""The connections to PostgreSQL, and how a statement is run so that it stays on one shard."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, LiteralString, Protocol, TypeVar

import msgspec
import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout, TooManyRequests

CONNECTIONS_MAX = 6
CONNECTIONS_WAITING_MAX = 1024
CONNECTION_WAIT_SECONDS_MAX = 3.0
CONNECT_SECONDS_MAX = 3
WORK_SECONDS_MAX = 5.0
"""One unit of work on the database, retries included; beyond it the caller is told to come back."""

# Every statement of the service finds its rows by an index, key by key. Without these the planner, seeing tables that
# are still small, settles on scans of a table or of a whole index (for its buckets alone, once it knows which). A plan
# for any parameters is right for all of them, and is made once.
_OPTIONS = (
    "-c enable_seqscan=off -c enable_bitmapscan=off -c enable_hashjoin=off -c enable_mergejoin=off"
    " -c enable_material=off -c plan_cache_mode=force_generic_plan -c jit=off -c timezone=UTC"
    " -c statement_timeout=30s -c idle_in_transaction_session_timeout=5s"
)

# Only profiles/pipeline.py prepares statements. psycopg, once it has prepared any itself, deallocates all of a
# connection's after each ROLLBACK, those of others too. None would say that preparing is not allowed at all.
_NEVER = 2**31 - 1

Connection = psycopg.AsyncConnection[tuple[Any, ...]]
_Result = TypeVar("_Result")


class Unavailable(Exception):
    """The database did not answer in time, or not at all. What was asked may or may not have been done."""


class Conflict(Exception):
    """Another writer took a version that this batch had counted on. Nothing was written: load and decide again."""


class _Bucketed(Protocol):
    @property
    def bucket(self) -> int: ...


_Row = TypeVar("_Row", bound=_Bucketed)


@cache
def statement(package: str, name: str) -> LiteralString:
    """Return the text of ``<package>/sql/<name>.sql``."""
    return files(package).joinpath("sql", f"{name}.sql").read_text("utf-8")


def rows_json(rows: Sequence[object]) -> bytes:
    """Return rows as the one JSON parameter that ``json_to_recordset`` takes.

    The whole batch is encoded in C; arrays would be dumped item by item in Python.
    """
    return msgspec.json.encode(rows)


class Database:
    """A small pool on one database, and the map from buckets to shards."""

    def __init__(self, url: str, *, prepared: bool = True, connections_max: int = CONNECTIONS_MAX) -> None:
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            url,
            min_size=1,
            max_size=connections_max,
            max_waiting=CONNECTIONS_WAITING_MAX,
            timeout=CONNECTION_WAIT_SECONDS_MAX,
            reconnect_timeout=1.0,
            max_lifetime=3600.0,
            check=_check,
            kwargs={
                "autocommit": True,
                "connect_timeout": CONNECT_SECONDS_MAX,
                "options": _OPTIONS,
                "application_name": "identity",
                "prepare_threshold": _NEVER if prepared else None,
                # A server that vanished without a word is noticed within about 10 s; the system's own limits are hours.
                "keepalives_idle": 5,
                "keepalives_interval": 2,
                "keepalives_count": 3,
                "tcp_user_timeout": 10_000,
            },
            open=False,
        )
        self._shards: dict[int, int] = {}
        self._knows_shards = False
        self._abandoned: set[asyncio.Task[Any]] = set()

    async def open(self) -> None:
        """Begin to connect; the pool keeps trying while the server is away."""
        await self._pool.open()

    async def close(self) -> None:
        """Close every connection."""
        for task in self._abandoned:
            task.cancel()
        with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
            await asyncio.wait_for(self._pool.close(timeout=2.0), 4.0)

    async def learn_shards(self) -> None:
        """Ask where buckets lie. Plain PostgreSQL has one place for all.

        Raises:
            Unavailable: nobody told; whatever is run next asks again.
        """

        async def nothing(_: Connection) -> None:
            """Only what ``run`` does before any work."""

        await self.run(nothing)

    async def _ask_shards(self, connection: Connection) -> None:
        found = await connection.execute(statement("profiles", "is_citus"))
        if await found.fetchone():
            shards = await connection.execute(statement("profiles", "shards"))
            self._shards = dict(await shards.fetchall())
        self._knows_shards = True

    def by_shard(self, rows: Iterable[_Row]) -> list[list[_Row]]:
        """Return the rows in groups that one statement each can write without leaving its shard."""
        rows = list(rows)
        if not self._shards or not rows:
            return [rows] if rows else []
        groups: dict[int, list[_Row]] = {}
        for row in rows:
            groups.setdefault(self._shards[row.bucket], []).append(row)
        return [groups[shard] for shard in sorted(groups)]

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection that was alive a moment ago."""
        try:
            connection = await self._pool.getconn()
        except (PoolTimeout, TooManyRequests) as error:
            raise Unavailable(str(type(error).__name__)) from error
        try:
            yield connection
        finally:
            await self._pool.putconn(connection)

    async def run(
        self, work: Callable[[Connection], Coroutine[Any, Any, _Result]], *, seconds_max: float = WORK_SECONDS_MAX
    ) -> _Result:
        """Do the work on a connection, once more if the connection turns out lost, all of it within ``seconds_max``.

        A task that is still waiting then is cancelled and left behind, not awaited: cancelling on a server that
        hangs takes longer than the callers have. Work that writes must be safe to do twice.
        """
        task = asyncio.ensure_future(self._run_twice(work))
        try:
            done, _ = await asyncio.wait({task}, timeout=seconds_max)
        except asyncio.CancelledError:
            self._abandon(task)
            raise
        if not done:
            self._abandon(task)
            raise Unavailable("no answer in time")
        return task.result()

    async def _run_twice(self, work: Callable[[Connection], Coroutine[Any, Any, _Result]]) -> _Result:
        try:
            return await self._run_once(work)
        except psycopg.Error as error:
            if not is_lost(error):
                raise
        try:
            return await self._run_once(work)
        except psycopg.Error as error:
            if is_lost(error):
                raise Unavailable(type(error).__name__) from error
            raise

    async def _run_once(self, work: Callable[[Connection], Coroutine[Any, Any, _Result]]) -> _Result:
        async with self.connection() as connection:
            try:
                if not self._knows_shards:
                    await self._ask_shards(connection)
                return await work(connection)
            except psycopg.Error as error:
                # Of a pipeline that was cut short, psycopg takes statements for prepared that never were: whoever got
                # the connection next would fail with "prepared statement does not exist".
                await connection.close()
                if is_indisposed(error):
                    raise Unavailable(type(error).__name__) from error
                raise

    def _abandon(self, task: asyncio.Task[Any]) -> None:
        self._abandoned.add(task)
        task.add_done_callback(self._forget)
        task.cancel()

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._abandoned.discard(task)
        if not task.cancelled():
            task.exception()

    async def fetch(
        self, package: str, name: str, parameters: Mapping[str, object] | None = None
    ) -> list[tuple[Any, ...]]:
        """Return all rows of one query."""

        async def work(connection: Connection) -> list[tuple[Any, ...]]:
            return await (await connection.execute(statement(package, name), parameters)).fetchall()

        return await self.run(work)


async def _check(connection: Connection) -> None:
    """Notice a connection whose server went away, without a round trip for the healthy ones."""
    if connection.closed or connection.pgconn.status != psycopg.pq.ConnStatus.OK:
        raise psycopg.OperationalError("connection lost")
    # An idle healthy connection has nothing to say; a readable one brings the end of the connection.
    connection.pgconn.consume_input()
    if connection.pgconn.status != psycopg.pq.ConnStatus.OK:
        raise psycopg.OperationalError("connection lost")


def is_lost(error: psycopg.Error) -> bool:
    """Return whether the error means that the connection is gone, not that the statement was wrong."""
    state = error.sqlstate
    if state is None:
        return isinstance(error, psycopg.OperationalError)
    return state.startswith(("08", "57P"))


def is_indisposed(error: psycopg.Error) -> bool:
    """Return whether the server takes this from nobody now: it is full, was made read-only, was told to cancel."""
    state = error.sqlstate or ""
    return state.startswith(("53", "58")) or state in ("25006", "57014")


def is_retryable(error: psycopg.Error) -> bool:
    """Return whether the same statements may succeed now: a deadlock or a failed serialisation."""
    return error.sqlstate in ("40P01", "40001")
