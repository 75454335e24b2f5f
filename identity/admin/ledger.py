"""What happened: the ledger of merges, and the events that wrote nothing."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import psycopg

from identity.admin.query import (
    make_cursor,
    read_bounds,
    read_choice,
    read_customer,
    read_limit,
    read_uuid,
    read_visitor,
    read_word,
)
from identity.events.behaviour import FAULT_HINTS, EventFault, FaultCode
from identity.refusals import REFUSAL_HINTS, Refusal
from profiles import store
from profiles.clock import to_text
from profiles.database import WORK_SECONDS_MAX, Connection, Database, statement
from profiles.http import Problem
from profiles.profile import Merge
from profiles.remarks import Reason, Verdict
from profiles.store import Spreads
from profiles.views import MergeView, merge_view

QUERY_MILLISECONDS_MAX = 5_000
"""One question about the ledger; a rare filter over a long time finds no end of rows to look at."""
QUERIES_MAX = 2
"""Such questions at once in one worker: the other connections stay with the events."""

MERGE_FILTERS = (
    "customer_id", "visitor_id", "channel_id", "event", "field", "verdict", "reason", "from", "to", "limit", "cursor",
)  # fmt: skip
REFUSAL_FILTERS = ("customer_id", "visitor_id", "reason", "channel_id", "from", "to", "limit", "cursor")

# As the column `skipped` says, so that its index is used.

_faults = msgspec.json.Decoder(tuple[EventFault, ...])


class MergePage(msgspec.Struct, frozen=True):
    """Merges, newest first. ``next_cursor`` is null on the last page."""

    items: list[MergeView]
    next_cursor: str | None


class FaultView(msgspec.Struct, frozen=True):
    """What was wrong where in a behaviour event, and what to do."""

    path: str
    code: FaultCode
    hint: str


class RefusalView(msgspec.Struct, frozen=True):
    """An event that wrote nothing. Of the values that it carried only the names are kept."""

    refusal_id: str
    reason: Refusal
    hint: str
    event: str
    event_id: str | None
    visitor_id: str | None
    customer_id: str | None
    channel_id: str | None
    fields: list[str]
    faults: list[FaultView]
    occurred_at: str
    received_at: str


class RefusalPage(msgspec.Struct, frozen=True):
    """Refused events, newest first, and how many there ever were by reason, of the channel if one is asked for.

    The counts are complete and don't follow the other filters.
    """

    items: list[RefusalView]
    next_cursor: str | None
    counts: dict[Refusal, int]


class Ledger:
    """Questions about the past of one workspace."""

    def __init__(self, database: Database, spreads: Spreads) -> None:
        self._database = database
        self._spreads = spreads
        self._queries = asyncio.Semaphore(QUERIES_MAX)

    async def list_merges(self, workspace_id: int, query: Mapping[str, str]) -> MergePage:
        """Return one page of the merges that the filters let by.

        Raises:
            Problem: 400, a filter is not of its form; 503, the answer takes too long.
        """
        limit = read_limit(query)
        not_before, before = read_bounds(query)
        verdict = read_choice(query, "verdict", Verdict)
        parameters = {
            "workspace_id": workspace_id,
            "buckets": self._spreads.buckets(workspace_id),
            "before": before,
            "not_before": not_before,
            "customer_id": read_customer(query),
            "visitor_id": read_visitor(query),
            "channel_id": read_uuid(query, "channel_id"),
            "event": read_word(query, "event"),
            "field": read_word(query, "field"),
            "verdict": verdict,
            "reason": read_choice(query, "reason", Reason),
            "skipped": verdict in store.SKIPPED,
            "rows_max": limit + 1,
        }
        rows = await self._ask(("profiles", "list_merges"), parameters)
        items = await self._views(workspace_id, [store.merge_from(row) for row in rows[:limit]])
        return MergePage(items, make_cursor(items[-1].merge_id) if len(rows) > limit else None)

    async def find_merge(self, workspace_id: int, merge_id: str) -> MergeView:
        """Return one merge, also one that changed links alone.

        Raises:
            Problem: 404, there is none.
        """
        merge = await store.find_merge(self._database, workspace_id, merge_id.lower())
        if merge is None:
            raise Problem(404, "merge_not_found", "No merge has this id.")
        return (await self._views(workspace_id, [merge]))[0]

    async def _views(self, workspace_id: int, merges: Sequence[Merge]) -> list[MergeView]:
        async def work(connection: Connection) -> dict[str, str]:
            told = [(workspace_id, merge) for merge in merges]
            return await store.undone_in(connection, self._database, self._spreads, told)

        undone = await self._database.run(work) if merges else {}
        return [merge_view(merge, undone.get(merge.merge_id)) for merge in merges]

    async def list_refusals(self, workspace_id: int, query: Mapping[str, str]) -> RefusalPage:
        """Return one page of the refused events that the filters let by, with the complete counts.

        Raises:
            Problem: 400, a filter is not of its form; 503, the answer takes too long.
        """
        limit = read_limit(query)
        not_before, before = read_bounds(query)
        whole = {
            "workspace_id": workspace_id,
            "buckets": self._spreads.buckets(workspace_id),
            "channel_id": read_uuid(query, "channel_id"),
        }
        parameters = {
            **whole,
            "before": before,
            "not_before": not_before,
            "customer_id": read_customer(query),
            "visitor_id": read_visitor(query),
            "reason": read_choice(query, "reason", Refusal),
            "rows_max": limit + 1,
        }
        rows = await self._ask(("identity", "list_refusals"), parameters)
        counts = await self._ask(("identity", "sum_refusals"), whole)
        items = [refusal_view(*row) for row in rows[:limit]]
        cursor = make_cursor(items[-1].refusal_id) if len(rows) > limit else None
        return RefusalPage(items, cursor, {Refusal(reason): count for reason, count in counts})

    async def _ask(self, name: tuple[str, str], parameters: Mapping[str, object]) -> list[tuple[Any, ...]]:
        async def work(connection: Connection) -> list[tuple[Any, ...]]:
            try:
                async with connection.transaction():
                    limit = {"milliseconds": QUERY_MILLISECONDS_MAX}
                    await connection.execute(statement("profiles", "limit_statements"), limit)
                    # Planned anew each time: which index is right depends on which filters are given.
                    cursor = await connection.execute(statement(*name), parameters, prepare=False)
                    return await cursor.fetchall()
            except psycopg.errors.QueryCanceled as error:
                raise Problem(
                    503, "query_too_slow", "Too much to look through: narrow the time range with from and to."
                ) from error

        async with self._queries:
            return await self._database.run(work, seconds_max=WORK_SECONDS_MAX + QUERY_MILLISECONDS_MAX / 1000)


def refusal_view(
    refusal_id: str,
    channel_id: str | None,
    reason: str,
    event: str,
    event_id: str | None,
    visitor_id: str | None,
    customer_id: str | None,
    fields: list[str],
    faults: str,
    occurred_at: int,
    received_at: int,
) -> RefusalView:
    """Return a refused event as admins see it, out of a row that has these columns."""
    return RefusalView(
        refusal_id=refusal_id,
        reason=Refusal(reason),
        hint=REFUSAL_HINTS[Refusal(reason)],
        event=event,
        event_id=event_id,
        visitor_id=visitor_id,
        customer_id=customer_id,
        channel_id=channel_id,
        fields=fields,
        faults=[FaultView(f.path, f.code, FAULT_HINTS[f.code]) for f in _faults.decode(faults)],
        occurred_at=to_text(occurred_at),
        received_at=to_text(received_at),
    )
