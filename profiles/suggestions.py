"""Customers who share an e-mail address or a phone number, for an admin to look at. Nothing is ever joined by this."""

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Literal

import msgspec

from profiles.clock import to_text
from profiles.database import WORK_SECONDS_MAX, Connection, Database, rows_json, statement
from profiles.store import Spreads

SUGGESTED_CUSTOMERS_MAX = 20
"""Customers shown of one shared value, in order of their ids."""
SUGGESTION_MILLISECONDS_MAX = 10_000

Shared = Literal["email", "phone"]


class Suggestion(msgspec.Struct, frozen=True):
    """Customers who share a value. ``customers`` counts them all; ``not_same`` are pairs known to be different ones."""

    shared: Shared
    value: str
    customer_ids: list[str]
    customers: int
    not_same: list[list[str]]


class Suggestions:
    """Suggests which customers may be one, in one workspace at a time. ``clock`` gives milliseconds since 1970."""

    def __init__(self, database: Database, spreads: Spreads, clock: Callable[[], int]) -> None:
        self._database = database
        self._spreads = spreads
        self._clock = clock

    async def page(
        self, workspace_id: int, shared: Shared, after: str, rows_max: int
    ) -> tuple[list[Suggestion], str | None]:
        """Return suggestions behind a value, in order of the values, and where to go on; None at the end.

        Values whose customers are all known to be different are left out.
        """
        parameters = {
            "workspace_id": workspace_id,
            "buckets": self._spreads.buckets(workspace_id),
            "by_email": shared == "email",
            "after": after,
            "customers_max": SUGGESTED_CUSTOMERS_MAX,
            "rows_max": rows_max,
        }

        async def work(connection: Connection) -> tuple[list[Suggestion], str | None]:
            async with connection.transaction():
                limit = {"milliseconds": SUGGESTION_MILLISECONDS_MAX}
                await connection.execute(statement("profiles", "limit_statements"), limit)
                cursor = await connection.execute(statement("profiles", "find_shared"), parameters, prepare=False)
                rows = await cursor.fetchall()
                different = await self._not_same(connection, workspace_id, {i for _, ids, _ in rows for i in ids})
            last = rows[-1][0] if len(rows) == rows_max else None
            found = [_suggestion(shared, value, ids, count, different) for value, ids, count in rows]
            return [suggestion for suggestion in found if suggestion is not None], last

        seconds_max = WORK_SECONDS_MAX + SUGGESTION_MILLISECONDS_MAX / 1000
        return await self._database.run(work, seconds_max=seconds_max)

    async def dismiss(
        self, workspace_id: int, one: str, other: str, *, actor: str, note: str | None, dismissed: bool = True
    ) -> None:
        """Remember, or forget, that two customers are not one person."""
        first, second = sorted((one, other))
        key = {
            "workspace_id": workspace_id,
            "customer_id": first,
            "other_id": second,
            "bucket": self._spreads.bucket(workspace_id, first),
        }
        told = {"actor": actor, "note": note, "created_at": to_text(self._clock())}

        async def work(connection: Connection) -> None:
            if dismissed:
                row = rows_json([{**key, **told}]).decode()
                await connection.execute(statement("profiles", "insert_not_same"), {"rows": row})
            else:
                await connection.execute(statement("profiles", "delete_not_same"), key)

        await self._database.run(work)

    async def _not_same(
        self, connection: Connection, workspace_id: int, customer_ids: set[str]
    ) -> set[tuple[str, str]]:
        parameters = {
            "workspace_id": workspace_id,
            "customer_ids": sorted(customer_ids),
            "buckets": self._spreads.buckets(workspace_id),
        }
        cursor = await connection.execute(statement("profiles", "find_not_same"), parameters)
        return set(await cursor.fetchall())


def _suggestion(
    shared: Shared, value: str, customer_ids: Sequence[str], customers: int, different: set[tuple[str, str]]
) -> Suggestion | None:
    pairs = list(combinations(sorted(customer_ids), 2))
    known = [list(pair) for pair in pairs if pair in different]
    if len(known) == len(pairs) and customers <= len(customer_ids):
        return None
    return Suggestion(shared, value, list(customer_ids), customers, known)
