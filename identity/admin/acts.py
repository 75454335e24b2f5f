"""Taking back over HTTP: merges, identifications, whole stretches of time; and how far the long ones are."""

from typing import Any

import msgspec

from identity import administration
from identity.acts import NOTE_CHARACTERS_MAX, Acts, By, Undone, Unlinked
from identity.belonging import Stretch
from identity.bulk_undo import BulkUndo, Counts, Filter
from identity.operation_log import Operation, OperationLog
from identity.visitors import is_storable_id, read_known_customer_id, read_visitor_id
from profiles import store
from profiles.clock import read_time, to_text
from profiles.database import Database
from profiles.http import Problem
from profiles.views import MergeView, merge_view

OPERATIONS_SHOWN_MAX = 100
"""Long works in one list, the newest."""
EVENT_CHARACTERS_MAX = 200


class UndoAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What comes along when something is taken back. ``visitor_id``: whose, of an identification."""

    reason: str | None = None
    dry_run: bool = False
    visitor_id: str | None = None


class BulkAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be taken back together: ``filter`` has from, to, channel_id, visitor_id, customer_id, event,
    operation_id."""

    filter: dict[str, Any]
    reason: str | None = None
    dry_run: bool = False


class UndoView(msgspec.Struct, frozen=True):
    """What taking merges of a customer back did, or would do.

    ``merge`` is the ledger's new row: its decisions tell, for each field that changes, what was held before and after;
    null if all of it was taken back before. ``also`` are such rows of customers with whom it was joined: what a join
    copied into their ledgers goes as well.
    """

    dry_run: bool
    applied: bool
    customer_id: str
    customer_gone: bool
    undone: list[str]
    merge: MergeView | None
    also: list[MergeView] = []


class StretchView(msgspec.Struct, frozen=True):
    """A visitor's time from ``since`` (null: ever before) to ``until`` (null: ever after), and whose it is."""

    since: str | None
    until: str | None
    customer_id: str | None
    contested: bool


class UnlinkView(msgspec.Struct, frozen=True):
    """What taking identifications of a visitor back did, or would do.

    Whose it was and is, whose its time was and is, and what is told in the ledgers of the customers concerned.
    """

    dry_run: bool
    applied: bool
    visitor_id: str
    undone: list[str]
    identification_id: str | None
    customer_before: str | None
    customer_after: str | None
    stretches_before: list[StretchView]
    stretches_after: list[StretchView]
    merges: list[MergeView]


class BulkPreview(msgspec.Struct, frozen=True):
    """What a bulk undo would take back; ``more``: and more than was counted. Only the first are shown one by one."""

    counts: Counts
    more: bool
    customers: list[UndoView]
    visitors: list[UnlinkView]


class OperationView(msgspec.Struct, frozen=True):
    """A long work: an import or a bulk undo."""

    operation_id: str
    kind: str
    status: str
    actor: str
    reason: str | None
    parameters: dict[str, Any]
    progress: dict[str, Any]
    created_at: str
    finished_at: str | None


class OperationList(msgspec.Struct, frozen=True):
    """The long works that were begun last, the newest first."""

    items: list[OperationView]
    next_cursor: None = None


class Takebacks:
    """Takes back, for the workspace of a key. ``actor`` is what the ledger calls the holder of a key."""

    def __init__(self, database: Database, acts: Acts, bulk: BulkUndo, operations: OperationLog) -> None:
        self._database = database
        self._acts = acts
        self._bulk = bulk
        self._operations = operations

    async def undo_merge(self, workspace_id: int, merge_id: str, asked: UndoAsked, actor: str) -> UndoView:
        """Take one row of the ledger back.

        Raises:
            Problem: 404, there is no such row; 409, it is of a kind that is not taken back this way.
        """
        merge = await store.find_merge(self._database, workspace_id, merge_id.lower())
        if merge is None:
            raise Problem(404, "merge_not_found", "No merge has this id.")
        by = By(actor, read_note(asked.reason))
        done = await self._acts.undo_merges(
            workspace_id, merge.customer_id, [merge.merge_id], by, dry_run=asked.dry_run
        )
        return undo_view(done, dry_run=asked.dry_run)

    async def undo_identification(
        self, workspace_id: int, identification_id: str, asked: UndoAsked, actor: str
    ) -> UnlinkView:
        """Take one thing back that was said of a visitor.

        Raises:
            Problem: 404, there is no such identification; 422, the visitor is not named.
        """
        visitor_id = read_visitor_id(asked.visitor_id)
        if visitor_id is None:
            raise Problem(422, "missing_visitor_id", "Name the visitor of whom it was said: visitor_id.")
        fact_id = administration.read_uuid(identification_id)
        by = By(actor, read_note(asked.reason))
        done = await self._acts.undo_facts(
            workspace_id, visitor_id, [fact_id or identification_id], by, dry_run=asked.dry_run
        )
        return unlink_view(done, dry_run=asked.dry_run)

    async def undo_many(self, workspace_id: int, asked: BulkAsked, actor: str, now: int) -> BulkPreview | OperationView:
        """Begin to take back what a filter finds, or tell what that would be."""
        wanted = read_filter(asked.filter, now)
        by = By(actor, read_note(asked.reason))
        if not asked.dry_run:
            return operation_view(await self._bulk.begin(workspace_id, wanted, by))
        found = await self._bulk.preview(workspace_id, wanted, by)
        return BulkPreview(
            found.counts,
            found.more,
            [undo_view(done, dry_run=True) for done in found.undone],
            [unlink_view(done, dry_run=True) for done in found.unlinked],
        )

    async def operations(self, workspace_id: int) -> OperationList:
        """Return the long works of a workspace."""
        found = await self._operations.newest(workspace_id, OPERATIONS_SHOWN_MAX)
        return OperationList([operation_view(operation) for operation in found])

    async def operation(self, workspace_id: int, operation_id: str) -> OperationView:
        """Return one long work.

        Raises:
            Problem: 404, there is none with this id.
        """
        read = administration.read_uuid(operation_id)
        found = await self._operations.find(workspace_id, read) if read else None
        if found is None:
            raise Problem(404, "operation_not_found", "No import and no bulk undo has this id.")
        return operation_view(found)


def read_note(reason: str | None) -> str | None:
    """Return why something is done, as it is held.

    Raises:
        Problem: 422, it is too long, or has characters that cannot be stored.
    """
    if reason is None or not reason.strip():
        return None
    note = reason.strip()
    if not is_storable_id(note.replace("\n", " ").replace("\r", " ").replace("\t", " "), NOTE_CHARACTERS_MAX):
        message = f"reason is a text of at most {NOTE_CHARACTERS_MAX} characters, none of them a control character."
        raise Problem(422, "unusable_reason", message)
    return note


def read_filter(sent: dict[str, Any], now: int) -> Filter:
    """Return what a bulk undo is to find. Without an operation, a channel or whoever is meant must be named, and since
    when.

    Raises:
        Problem: 422, it names too little, or something that cannot be.
    """
    known = ("from", "to", "channel_id", "visitor_id", "customer_id", "event", "operation_id")
    unknown = [name for name in sent if name not in known]
    if unknown:
        raise Problem(422, "invalid_filter", f"What can be filtered by is: {', '.join(known)}.")
    values = {
        "since": _read(sent, "from", _time),
        "until": min(_read(sent, "to", _time) or now, now),
        "channel_id": _read(sent, "channel_id", _uuid),
        "visitor_id": _read(sent, "visitor_id", read_visitor_id),
        "customer_id": _read(sent, "customer_id", read_known_customer_id),
        "event": _read(sent, "event", _word),
        "operation_id": _read(sent, "operation_id", _uuid),
    }
    named = [values[name] for name in ("channel_id", "visitor_id", "customer_id")]
    if values["operation_id"] is None and (values["since"] is None or not any(named)):
        message = "Name an operation_id; or a channel_id, visitor_id or customer_id, and from."
        raise Problem(422, "invalid_filter", message)
    return Filter(**values)


def _read(sent: dict[str, Any], name: str, reader: Any) -> Any:
    value = sent.get(name)
    if value is None:
        return None
    found = reader(value)
    if found is None:
        raise Problem(422, "invalid_filter", f"{name} is none that can be.")
    return found


def _time(value: object) -> int | None:
    return read_time(value)


def _uuid(value: object) -> str | None:
    return administration.read_uuid(value) if isinstance(value, str) else None


def _word(value: object) -> str | None:
    return value if isinstance(value, str) and is_storable_id(value, EVENT_CHARACTERS_MAX) else None


def undo_view(done: Undone, *, dry_run: bool) -> UndoView:
    """Return what taking merges back does, as seen from outside."""
    return UndoView(
        dry_run=dry_run,
        applied=bool(done.act or done.also) and not dry_run,
        customer_id=done.after.customer_id,
        customer_gone=done.after.is_gone,
        undone=list(done.targets),
        merge=None if done.act is None else merge_view(done.act),
        also=[merge_view(act) for act in done.also],
    )


def unlink_view(done: Unlinked, *, dry_run: bool) -> UnlinkView:
    """Return what taking identifications back does, as seen from outside."""
    return UnlinkView(
        dry_run=dry_run,
        applied=done.fact is not None and not dry_run,
        visitor_id=done.after.visitor_id,
        undone=list(done.targets),
        identification_id=None if done.fact is None or dry_run else done.fact.fact_id,
        customer_before=done.before.customer_id,
        customer_after=done.after.customer_id,
        stretches_before=[stretch_view(stretch) for stretch in done.stretches_before],
        stretches_after=[stretch_view(stretch) for stretch in done.stretches_after],
        merges=[merge_view(merge) for merge in done.merges],
    )


def stretch_view(stretch: Stretch) -> StretchView:
    """Return a stretch of time as seen from outside."""
    since = None if stretch.since is None else to_text(stretch.since)
    until = None if stretch.until is None else to_text(stretch.until)
    return StretchView(since, until, stretch.customer_id, stretch.contested)


def operation_view(operation: Operation) -> OperationView:
    """Return a long work as seen from outside."""
    parameters = dict(operation.parameters)
    if operation.kind == "undo":
        since, until = parameters.pop("since", None), parameters.pop("until", None)
        parameters = {name: value for name, value in parameters.items() if value is not None}
        bounds = {"from": since, "to": until}
        parameters |= {name: to_text(at) for name, at in bounds.items() if at is not None}
    return OperationView(
        operation_id=operation.operation_id,
        kind=operation.kind,
        status=operation.status,
        actor=operation.actor,
        reason=operation.note,
        parameters=parameters,
        progress=operation.progress,
        created_at=to_text(operation.created_at),
        finished_at=None if operation.finished_at is None else to_text(operation.finished_at),
    )
