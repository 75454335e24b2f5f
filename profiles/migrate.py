"""The schema: numbered migrations, run once each, under a lock and time-outs, while older code may be running."""

import time
from collections.abc import Sequence
from importlib.resources import files
from typing import LiteralString, NamedTuple

import psycopg
from psycopg import sql

LOCK_SECONDS_MAX = 5
"""A migration that cannot have its locks by then gives way, so that traffic queues behind it no longer."""
STATEMENT_SECONDS_MAX = 600
ATTEMPTS_MAX = 20
_ADVISORY_LOCK = 0x1DE47117


class Migration(NamedTuple):
    """One step of the schema."""

    number: int
    name: str
    sql: LiteralString


class SchemaError(Exception):
    """The database's schema and this release do not fit; the message says what to do."""


def migrations(packages: Sequence[str] = ("profiles", "identity")) -> list[Migration]:
    """Return all migrations of the packages, in order of their numbers."""
    found = [
        Migration(int(entry.name[:4]), entry.name.removesuffix(".sql"), entry.read_text("utf-8"))
        for package in packages
        for entry in files(package).joinpath("sql", "migrations").iterdir()
        if entry.name.endswith(".sql")
    ]
    return sorted(found)


def head() -> int:
    """Return the number of the newest migration of this release."""
    return migrations()[-1].number


def migrate(url: str, *, store_id: str) -> list[str]:
    """Bring the schema to this release's head and return the names of the migrations that were run.

    ``store_id`` names the store if it is made now. Several processes may call this at once. A database that is
    newer than this release is left alone: the release before it runs on it by design.

    Raises:
        SchemaError: locks could not be had; traffic holds them for longer than the attempts last.
        psycopg.Error: the database is away, or refuses.
    """
    for attempt in range(ATTEMPTS_MAX):
        try:
            return _migrate_once(url, store_id)
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            time.sleep(0.1 * (attempt + 1))
    raise SchemaError(f"The schema is locked by other work; {ATTEMPTS_MAX} attempts were made. Try again later.")


def _migrate_once(url: str, store_id: str) -> list[str]:
    done: list[str] = []
    with psycopg.connect(url, connect_timeout=LOCK_SECONDS_MAX, prepare_threshold=None) as connection:
        for migration in migrations():
            with connection.transaction():
                connection.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS_MAX}s'")
                connection.execute(f"SET LOCAL statement_timeout = '{STATEMENT_SECONDS_MAX}s'")
                connection.execute("SELECT pg_advisory_xact_lock(%s)", [_ADVISORY_LOCK])
                connection.execute(
                    "CREATE TABLE IF NOT EXISTS migration (number integer NOT NULL PRIMARY KEY, name text NOT NULL)"
                )
                applied = connection.execute("SELECT 1 FROM migration WHERE number = %s", [migration.number])
                if applied.fetchone():
                    continue
                connection.execute(migration.sql)
                connection.execute("INSERT INTO migration VALUES (%s, %s)", [migration.number, migration.name])
                done.append(migration.name)
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [_ADVISORY_LOCK])
            connection.execute(
                "INSERT INTO store (store_id, generation) SELECT %s, 1 WHERE NOT EXISTS (SELECT FROM store)", [store_id]
            )
    return done


def restored(url: str, *, store_id: str) -> None:
    """Let a store that was restored from a backup begin anew, as the store ``store_id``. No host may be running.

    Whatever was told of it before no longer counts: entries of the cache, cursors of the change feed. Another cluster
    counts its transactions anew; what is written from now on is numbered from behind the last row, wherever that is,
    so that the feed keeps its order.

    Raises:
        SchemaError: the schema is older than this release.
        psycopg.Error: the database is away, or refuses.
    """
    read_store_id(url, seconds_max=0)
    with psycopg.connect(url, connect_timeout=LOCK_SECONDS_MAX, prepare_threshold=None) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [_ADVISORY_LOCK])
        offset = 0
        for table in map(sql.Identifier, _IN_FEED):
            newest = sql.SQL("SELECT coalesce(max(xid), 0) FROM {} WHERE bucket BETWEEN 0 AND 4095").format(table)
            (number,) = connection.execute(newest).fetchone() or (0,)
            offset = max(offset, int(number) + _ROOM)
        for table in map(sql.Identifier, _IN_FEED):
            default = sql.SQL("ALTER TABLE {} ALTER COLUMN xid SET DEFAULT (pg_current_xact_id()::text::bigint + {})")
            connection.execute(default.format(table, offset))
        connection.execute("UPDATE store SET store_id = %s, xid_offset = %s", [store_id, offset])


_IN_FEED = ("merge", "erasure")
"""Tables whose rows the change feed has."""
_ROOM = 1 << 32
"""For the rows behind the last one that were erased: somebody may have read the feed up to them."""


def read_store_id(url: str, *, seconds_max: float = 10.0) -> str:
    """Return the id of the store, waiting a while for a database that is restarting.

    Raises:
        SchemaError: there is no store yet, or the schema is older than this release.
        psycopg.OperationalError: the database is away.
    """
    deadline = time.monotonic() + seconds_max
    while True:
        try:
            with psycopg.connect(url, connect_timeout=LOCK_SECONDS_MAX, prepare_threshold=None) as connection:
                row = connection.execute("SELECT store_id, (SELECT max(number) FROM migration) FROM store").fetchone()
        except psycopg.errors.UndefinedTable:
            row = None
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
            continue
        if row is None or row[1] < head():
            raise SchemaError("The database's schema is older than this release: run `identity migrate`.")
        return str(row[0])
