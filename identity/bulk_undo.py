"""Taking back many merges and identifications at once: all of one channel in one stretch of time, or of one operation.

In steps of bounded size, each customer's part in a transaction of its own. How far it is stands in the operation log,
so that a worker which dies leaves it to the next one; a step that is done twice takes nothing back twice.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec

from identity import identifications
from identity.acts import Acts, By, Undone, Unlinked
from identity.operation_log import Operation, OperationLog
from identity.resolve import Fact, FactKind
from profiles.coalesce import Overloaded
from profiles.database import Connection, Database, Unavailable, statement
from profiles.http import Problem, log_fault
from profiles.store import Spreads

STEP_ROWS_MAX = 500
"""Rows of the ledger that one step looks at."""
PREVIEW_ROWS_MAX = 10_000
"""Rows that a preview counts; beyond, it says that there are more."""
PREVIEW_SHOWN_MAX = 20
"""Customers, and visitors, of whom a preview shows what would become of them."""
STEP_MILLISECONDS_MAX = 20_000
POLL_SECONDS = 1.0

FIRST_ID = str(UUID(int=0))

log = logging.getLogger(__name__)


class Filter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be taken back: what meets all that is given. Times of arrival, in milliseconds, ``until`` excluded."""

    until: int
    since: int | None = None
    channel_id: str | None = None
    visitor_id: str | None = None
    customer_id: str | None = None
    event: str | None = None
    operation_id: str | None = None


class Counts(msgspec.Struct):
    """How far a bulk undo is. ``refused``: could not be taken back; ``cursor`` is the row that it came to."""

    cursor: str = FIRST_ID
    rows: int = 0
    customers: int = 0
    merges: int = 0
    visitors: int = 0
    identifications: int = 0
    refused: int = 0


class Preview(msgspec.Struct):
    """What a bulk undo would take back; ``more``: and more than was counted."""

    counts: Counts
    more: bool
    undone: list[Undone]
    unlinked: list[Unlinked]


class BulkUndo:
    """Takes back what a filter finds. ``clock`` gives milliseconds since 1970."""

    def __init__(
        self, database: Database, spreads: Spreads, acts: Acts, operations: OperationLog, clock: Callable[[], int]
    ) -> None:
        self._database = database
        self._spreads = spreads
        self._acts = acts
        self._operations = operations
        self._clock = clock

    async def begin(self, workspace_id: int, wanted: Filter, by: By, *, taken: bool = False) -> Operation:
        """Write a bulk undo down; a worker begins with it within seconds unless the caller has ``taken`` it."""
        return await self._operations.begin(
            workspace_id,
            "undo",
            actor=by.actor,
            note=by.note,
            parameters=msgspec.to_builtins(wanted),
            progress=msgspec.to_builtins(Counts()),
            now=self._clock(),
            taken=taken,
        )

    async def preview(self, workspace_id: int, wanted: Filter, by: By) -> Preview:
        """Return what a bulk undo would do now; nothing is written."""
        found = Preview(Counts(), more=False, undone=[], unlinked=[])
        while True:
            rows = await self._find(workspace_id, wanted, found.counts.cursor)
            await self._step(workspace_id, wanted, by, rows, found.counts, found)
            if len(rows) < STEP_ROWS_MAX:
                return found
            if found.counts.rows >= PREVIEW_ROWS_MAX:
                found.more = True
                return found

    async def go_on(self, operation: Operation, told: Callable[[Counts], None] = lambda _: None) -> Counts:
        """Do what is left of a bulk undo."""
        wanted = msgspec.convert(operation.parameters, Filter)
        counts = msgspec.convert(operation.progress, Counts)
        by = By(operation.actor, operation.note, operation.operation_id)
        while True:
            rows = await self._find(operation.workspace_id, wanted, counts.cursor)
            await self._step(operation.workspace_id, wanted, by, rows, counts, None)
            is_done = len(rows) < STEP_ROWS_MAX
            progress = msgspec.to_builtins(counts)
            await self._operations.tell(operation, progress, self._clock(), "done" if is_done else "running")
            told(counts)
            if is_done:
                return counts

    async def run_for_ever(self) -> None:
        """Do the bulk undos that nobody does, one after another."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                operation = await self._operations.take("undo", self._clock())
                if operation is not None:
                    await self.go_on(operation)
            except (Unavailable, Overloaded):
                continue  # it goes on where it was, once the database is back
            except Exception as error:  # noqa: BLE001 - the next one must not wait for ever behind a broken one
                log_fault("bulk undo", error)

    async def _find(self, workspace_id: int, wanted: Filter, after: str) -> list[tuple[Any, ...]]:
        parameters = {
            **msgspec.structs.asdict(wanted),
            "workspace_id": workspace_id,
            "buckets": self._spreads.buckets(workspace_id),
            "after": max(after, _id_at(wanted.since or 0)),
            "before": _id_at(wanted.until),
            "rows_max": STEP_ROWS_MAX,
        }

        async def work(connection: Connection) -> list[tuple[Any, ...]]:
            async with connection.transaction():
                await connection.execute(
                    statement("profiles", "limit_statements"), {"milliseconds": STEP_MILLISECONDS_MAX}
                )
                cursor = await connection.execute(statement("identity", "find_undoable"), parameters, prepare=False)
                return await cursor.fetchall()

        return await self._database.run(work, seconds_max=STEP_MILLISECONDS_MAX / 1000 + 5)

    async def _step(
        self,
        workspace_id: int,
        wanted: Filter,
        by: By,
        rows: Sequence[Sequence[Any]],
        counts: Counts,
        preview: Preview | None,
    ) -> None:
        merges: dict[str, list[str]] = {}
        visitors: set[str] = set()
        for merge_id, customer_id, is_link, link, visitor_id in rows:
            counts.cursor = merge_id
            if not is_link:
                merges.setdefault(customer_id, []).append(merge_id)
            if visitor_id is not None and (link is not None or is_link):
                visitors.add(visitor_id)
        counts.rows += len(rows)
        facts = await self._facts(workspace_id, wanted, visitors)
        for customer_id, merge_ids in sorted(merges.items()):
            await self._undo(workspace_id, customer_id, merge_ids, by, counts, preview)
        for visitor_id, fact_ids in sorted(facts.items()):
            await self._unlink(workspace_id, visitor_id, fact_ids, by, counts, preview)

    async def _undo(
        self,
        workspace_id: int,
        customer_id: str,
        merge_ids: Sequence[str],
        by: By,
        counts: Counts,
        preview: Preview | None,
    ) -> None:
        if preview is not None and len(preview.undone) >= PREVIEW_SHOWN_MAX:
            counts.customers += 1
            counts.merges += len(merge_ids)
            return
        try:
            done = await self._acts.undo_merges(workspace_id, customer_id, merge_ids, by, dry_run=preview is not None)
        except Problem:
            counts.refused += len(merge_ids)
            return
        counts.customers += done.act is not None
        counts.merges += len(done.targets)
        if preview is not None and (done.act is not None or done.also):
            preview.undone.append(done)

    async def _unlink(
        self,
        workspace_id: int,
        visitor_id: str,
        fact_ids: Sequence[str],
        by: By,
        counts: Counts,
        preview: Preview | None,
    ) -> None:
        if preview is not None and len(preview.unlinked) >= PREVIEW_SHOWN_MAX:
            counts.visitors += 1
            counts.identifications += len(fact_ids)
            return
        try:
            done = await self._acts.undo_facts(workspace_id, visitor_id, fact_ids, by, dry_run=preview is not None)
        except Problem:
            counts.refused += len(fact_ids)
            return
        counts.visitors += done.fact is not None
        counts.identifications += len(done.targets)
        if preview is not None and done.fact is not None:
            preview.unlinked.append(done)

    async def _facts(self, workspace_id: int, wanted: Filter, visitor_ids: set[str]) -> Mapping[str, list[str]]:
        """Return the ids of what was said of each visitor that is to be taken back."""
        rows = self._spreads.key_rows((workspace_id, visitor_id) for visitor_id in visitor_ids)

        async def work(connection: Connection) -> dict[tuple[int, str], list[Fact]]:
            return await identifications.load_facts(connection, self._database, rows)

        found = await self._database.run(work)
        chosen = {
            visitor_id: [fact.fact_id for fact in facts if _is_wanted(wanted, fact)]
            for (_, visitor_id), facts in found.items()
        }
        return {visitor_id: fact_ids for visitor_id, fact_ids in chosen.items() if fact_ids}


def _is_wanted(wanted: Filter, fact: Fact) -> bool:
    if fact.kind in (FactKind.ANONYMOUS, FactKind.ERASED):
        return False
    if fact.kind is FactKind.UNDONE and wanted.operation_id is None:
        return False
    asked = (
        (wanted.channel_id, fact.channel_id),
        (wanted.visitor_id, fact.visitor_id),
        (wanted.event, fact.event),
        (wanted.operation_id, fact.operation_id),
    )
    is_theirs = wanted.customer_id is None or fact.customer_id in (wanted.customer_id, None)
    in_time = (wanted.since or 0) <= fact.received_at < wanted.until
    return in_time and is_theirs and all(want in (None, has) for want, has in asked)


def _id_at(milliseconds: int) -> str:
    """Return the first id of a moment."""
    return str(UUID(int=milliseconds << 80))
