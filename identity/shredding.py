"""Shredding: what was removed leaves the files of the tables as well.

PostgreSQL does not overwrite what is deleted. Once a row is vacuumed nobody can read it through the database, yet its
bytes stay in the free space of pages until other rows happen to fall there, and values stay in the planner's
statistics. Here every table that holds persons is written anew, which leaves all of that behind. It locks one table
after the other against everybody, and needs room for a copy of the largest one.
"""

import time
from collections.abc import Callable

import psycopg
from psycopg import sql

LOCK_SECONDS_MAX = 2
"""Whoever shreds gives way by then, so that traffic queues behind it no longer."""
ATTEMPTS_MAX = 30
CONNECT_SECONDS_MAX = 5
TABLES = (
    "customer", "merge", "customer_visitor", "visitor", "visitor_fact", "refusal", "purchase", "event", "erasure",
    "operation",
)  # fmt: skip
_OPTIONS = f"-c lock_timeout={LOCK_SECONDS_MAX}s -c statement_timeout=0"


class ShredError(Exception):
    """The tables cannot be written anew now; the message says what to do."""


def shred(url: str, told: Callable[[str], None]) -> list[str]:
    """Write all tables that hold persons anew, and return what else could not be done for want of rights.

    Raises:
        ShredError: other work holds the locks for longer than the attempts last; some tables may be done.
        psycopg.Error: the database is away, or refuses.
    """
    left: list[str] = []
    with psycopg.connect(
        url, autocommit=True, connect_timeout=CONNECT_SECONDS_MAX, options=_OPTIONS, prepare_threshold=None
    ) as connection:
        for table in TABLES:
            told(table)
            _rewrite(connection, table)
        # The values that the planner kept as the most common ones were in rows of its own.
        for what, text in (("pg_statistic", "VACUUM FULL pg_statistic"), ("checkpoint", "CHECKPOINT")):
            try:
                connection.execute(text)
            except psycopg.errors.InsufficientPrivilege:
                left.append(what)
    return left


def _rewrite(connection: psycopg.Connection[tuple[object, ...]], table: str) -> None:
    for attempt in range(ATTEMPTS_MAX):
        try:
            connection.execute(sql.SQL("VACUUM (FULL, ANALYZE) {}").format(sql.Identifier(table)))
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            time.sleep(0.1 * (attempt + 1))
        else:
            return
    raise ShredError(f"Table {table} is locked by other work; {ATTEMPTS_MAX} attempts were made. Try again later.")
