"""The partitions of the footprint: a month of ``kept_until`` each, made before anything falls into them, dropped once
their month is over.

Anyone may do this at any time, several at once: at the start, hourly by every worker, after a workspace's retention
changes, and for an event whose month is missing after all.
"""

import asyncio
import re
from collections.abc import Callable, Coroutine, Iterable
from datetime import UTC, date, datetime, timedelta

import psycopg
from psycopg import sql

from profiles.database import Connection, Database, Unavailable, statement

MONTHS_AHEAD = 2
"""Months that are there before anything can fall into them."""
LOCK_SECONDS_MAX = 2
"""Whoever changes partitions gives way by then, so that traffic queues behind it no longer."""
ATTEMPTS_MAX = 20
DROP_LOCK_MILLISECONDS_MAX = 100
DROP_ATTEMPTS_MAX = 3
KEEP_UP_SECONDS_MAX = 300.0
"""For all of it. On a cluster one partition is as many tables as there are shards, which takes seconds."""
CONNECT_SECONDS_MAX = 5
_ADVISORY_LOCK = 0x1DE47118
_NAME = re.compile(r"event_([1-9]\d{3})_(0[1-9]|1[0-2])", re.ASCII)


class Missing(Exception):
    """An event has no partition to go to, and none can be made for it now."""


class PartitionError(Exception):
    """The partitions cannot be changed now; the message says what to do."""


def day_of(milliseconds: int) -> date:
    """Return the day, UTC, of a time in milliseconds since 1970."""
    return datetime.fromtimestamp(milliseconds // 1000, UTC).date()


def name_of(day: date) -> str:
    """Return the name of the partition that a day falls into, for example "event_2027_12"."""
    return f"event_{day:%Y_%m}"


def month_of(name: str) -> date | None:
    """Return the first day of a partition's month; None for a name that none of ours has."""
    match = _NAME.fullmatch(name)
    return date(int(match[1]), int(match[2]), 1) if match else None


def wanted(today: date, days_in_use: Iterable[int]) -> list[date]:
    """Return the months, by their first days, into which events of today and of the next months fall.

    ``days_in_use`` are the retentions of the workspaces: of the months between today and those days nothing is made,
    for nothing new falls into them.
    """
    found = set()
    for days in set(days_in_use):
        month = (today + timedelta(days=days)).replace(day=1)
        for _ in range(MONTHS_AHEAD + 1):
            found.add(month)
            month = _next(month)
    return sorted(found)


def _next(month: date) -> date:
    return (month.replace(day=1) + timedelta(days=32)).replace(day=1)


async def keep_up(connection: Connection, today: date) -> None:
    """Make the partitions that are wanted and not there, and drop those whose month is wholly over.

    Raises:
        PartitionError: other work holds the locks for longer than the attempts last.
        psycopg.Error: the database is away, or refuses.
    """
    rows = await (await connection.execute(statement("profiles", "load_workspaces"))).fetchall()
    there = await _list(connection)
    for month in wanted(today, [days for _, _, _, _, days in rows]):
        if name_of(month) not in there:
            await _change(connection, _make, month)
    for name in there:
        month_over = month_of(name)
        if month_over is not None and _next(month_over) <= today:
            # Never urgent, and all traffic queues behind a lock that is waited for: it is tried, and tried again later.
            await _change(
                connection,
                _drop,
                month_over,
                attempts_max=DROP_ATTEMPTS_MAX,
                lock_milliseconds_max=DROP_LOCK_MILLISECONDS_MAX,
            )


def keep_up_at(url: str, today: date) -> None:
    """Do the same on a connection of its own."""

    async def run() -> None:
        async with await psycopg.AsyncConnection.connect(
            url, autocommit=True, connect_timeout=CONNECT_SECONDS_MAX, prepare_threshold=None
        ) as connection:
            await keep_up(connection, today)

    asyncio.run(run())


async def keep_up_on(database: Database, today: date) -> None:
    """Do the same on a connection of the pool."""

    async def work(connection: Connection) -> None:
        await keep_up(connection, today)

    await database.run(work, seconds_max=KEEP_UP_SECONDS_MAX)


def is_missing(error: BaseException) -> bool:
    """Return whether a row was refused because there is no partition for it; checks of ours have names."""
    return isinstance(error, psycopg.errors.CheckViolation) and error.diag.constraint_name is None


async def make_missing(database: Database, days: Iterable[date]) -> None:
    """Make the partitions that these days fall into, for whoever could not insert.

    Raises:
        Missing: it cannot be done now.
    """
    months = sorted({day.replace(day=1) for day in days})

    async def work(connection: Connection) -> None:
        for month in months:
            await _change(connection, _make, month)

    try:
        await database.run(work)
    except (PartitionError, Unavailable, psycopg.Error) as error:
        raise Missing from error


async def _make(connection: Connection, month: date) -> None:
    name = name_of(month)
    if name in await _list(connection):
        return
    # Made apart and attached: inserts go on meanwhile, which CREATE TABLE … PARTITION OF would hold up. It is empty, so
    # there is nothing to be looked through and no need of a CHECK that would spare that.
    table = sql.Identifier(name)
    await connection.execute(
        sql.SQL("CREATE TABLE IF NOT EXISTS {} (LIKE event INCLUDING DEFAULTS INCLUDING CONSTRAINTS)").format(table)
    )
    await connection.execute(
        sql.SQL("ALTER TABLE event ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})").format(
            table, sql.Literal(month.isoformat()), sql.Literal(_next(month).isoformat())
        )
    )


async def _drop(connection: Connection, month: date) -> None:
    name = name_of(month)
    if name not in await _list(connection):
        return
    # Detached first: dropping it as a partition would hold inserts up for longer.
    await connection.execute(sql.SQL("ALTER TABLE event DETACH PARTITION {}").format(sql.Identifier(name)))
    await connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(name)))


_Change = Callable[[Connection, date], Coroutine[object, object, None]]


async def _list(connection: Connection) -> list[str]:
    cursor = await connection.execute(statement("identity", "list_partitions"))
    return [name for (name,) in await cursor.fetchall()]


async def _change(
    connection: Connection,
    change: _Change,
    month: date,
    *,
    attempts_max: int = ATTEMPTS_MAX,
    lock_milliseconds_max: int = LOCK_SECONDS_MAX * 1000,
) -> None:
    for attempt in range(attempts_max):
        try:
            async with connection.transaction():
                await connection.execute(f"SET LOCAL lock_timeout = '{lock_milliseconds_max}ms'")
                await connection.execute("SELECT pg_advisory_xact_lock(%s)", [_ADVISORY_LOCK])
                await change(connection, month)
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            await asyncio.sleep(0.1 * (attempt + 1))
        else:
            return
    raise PartitionError(
        f"The footprint's partitions are locked by other work; {attempts_max} attempts were made. Try again later."
    )
