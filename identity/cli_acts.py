"""What the command line does to the past, and how it tells of it: undo, lock, join."""

import argparse
import sys
import time
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from identity.acts import By
from identity.admin.acts import (
    BulkAsked,
    BulkPreview,
    OperationList,
    OperationView,
    Takebacks,
    UndoAsked,
    UndoView,
    UnlinkView,
    operation_view,
    read_filter,
    read_note,
)
from identity.admin.joining import JoinView, LockView, join_view
from identity.bulk_undo import Counts
from identity.render import safe
from identity.visitors import read_known_customer_id
from profiles.access import Workspace
from profiles.http import Problem
from profiles.suggestions import Suggestion
from profiles.views import DecisionView, merge_view

if TYPE_CHECKING:
    from identity.app import Service

ACTOR = "cli"
SUGGESTIONS_MAX = 200
_FILTERS = ("from", "to", "channel_id", "visitor_id", "customer_id", "event", "operation_id")


def takebacks(service: "Service") -> Takebacks:
    """Return what takes back, on the parts of one worker."""
    return Takebacks(service.database, service.acts, service.bulk, service.operation_log)


async def undo(service: "Service", workspace: Workspace, options: argparse.Namespace) -> UndoView | UnlinkView:
    """Take one merge back or, with a visitor, one identification."""
    asked = UndoAsked(options.reason, options.dry_run, options.visitor_id)
    if options.visitor_id is not None:
        return await takebacks(service).undo_identification(workspace.workspace_id, options.id, asked, ACTOR)
    return await takebacks(service).undo_merge(workspace.workspace_id, options.id, asked, ACTOR)


async def undo_many(
    service: "Service", workspace: Workspace, options: argparse.Namespace
) -> BulkPreview | OperationView:
    """Take back what a filter finds, and wait until it is done."""
    now = time.time_ns() // 1_000_000
    given = {name: getattr(options, name) for name in _FILTERS}
    wanted = {name: value for name, value in given.items() if value is not None}
    if options.dry_run:
        asked = BulkAsked(wanted, options.reason, dry_run=True)
        return await takebacks(service).undo_many(workspace.workspace_id, asked, ACTOR, now)
    by = By(ACTOR, read_note(options.reason))
    operation = await service.bulk.begin(workspace.workspace_id, read_filter(wanted, now), by, taken=True)
    with tqdm(unit=" rows", file=sys.stderr, disable=not sys.stderr.isatty()) as bar:

        def told(counts: Counts) -> None:
            bar.update(counts.rows - bar.n)

        await service.bulk.go_on(operation, told)
    done = await service.operation_log.find(workspace.workspace_id, operation.operation_id)
    assert done is not None, "it was begun a moment ago"
    return operation_view(done)


async def operations(service: "Service", workspace: Workspace, _: argparse.Namespace) -> OperationList:
    """List the imports and bulk undos."""
    return await takebacks(service).operations(workspace.workspace_id)


async def lock(service: "Service", workspace: Workspace, options: argparse.Namespace) -> LockView:
    """Close fields to websites, or open them again."""
    customer_id = _customer(options.id)
    by = By(ACTOR, read_note(options.reason))
    profile, row = await service.acts.lock(
        workspace.workspace_id, customer_id, options.fields, by, locked=options.locked
    )
    return LockView(customer_id, sorted(profile.locks), None if row is None else merge_view(row))


async def join(service: "Service", workspace: Workspace, options: argparse.Namespace) -> JoinView:
    """Declare a customer to be another one."""
    by = By(ACTOR, read_note(options.reason))
    done = await service.joins.join(
        workspace.workspace_id, _customer(options.id), _customer(options.into), by, dry_run=options.dry_run
    )
    return join_view(done, dry_run=options.dry_run)


async def take_apart(service: "Service", workspace: Workspace, options: argparse.Namespace) -> JoinView:
    """Take that back."""
    by = By(ACTOR, read_note(options.reason))
    done = await service.joins.take_apart(workspace.workspace_id, _customer(options.id), by, dry_run=options.dry_run)
    return join_view(done, dry_run=options.dry_run)


async def suggestions(service: "Service", workspace: Workspace, options: argparse.Namespace) -> list[Suggestion]:
    """List customers who share an e-mail address or a phone number."""
    found, _ = await service.suggestions.page(workspace.workspace_id, options.shared, "", SUGGESTIONS_MAX)
    return found


def _customer(sent: str) -> str:
    customer_id = read_known_customer_id(sent)
    if customer_id is None:
        raise Problem(404, "customer_not_found", "No customer is held by this id.")
    return customer_id


def render(view: Any) -> str:
    """Return what was done, or would be, for people; strangers' values cannot steer the terminal."""
    return "\n".join(map(safe, _render(view).splitlines()))


def _render(view: Any) -> str:
    match view:
        case UndoView():
            return "\n".join(_undo(view))
        case UnlinkView():
            return "\n".join(_unlink(view))
        case BulkPreview():
            return "\n".join(_bulk(view))
        case OperationView():
            return _operation(view)
        case OperationList():
            return "\n".join(map(_operation, view.items)) or "No import and no bulk undo was ever begun."
        case LockView():
            return f"Locked: {', '.join(view.locked) or 'nothing'}."
        case JoinView():
            return "\n".join(_join(view))
        case list():
            return "\n".join(map(_suggestion, view)) or "No two customers share one."
    return str(view)


def _undo(view: UndoView) -> list[str]:
    if view.merge is None:
        return ["Nothing to do: this was taken back before."]
    lines = [_did(view.applied, f"of customer {view.customer_id}", len(view.undone), "merge")]
    lines += _fields(view.merge.decisions)
    if view.customer_gone:
        lines.append("  No merge is left: nobody finds this customer any more, until something is merged again.")
    if view.applied:
        lines.append(f"To restore: identity undo {view.merge.merge_id}")
    return lines


def _unlink(view: UnlinkView) -> list[str]:
    if not view.undone:
        return ["Nothing to do: this was taken back before."]
    lines = [_did(view.applied, f"of visitor {view.visitor_id}", len(view.undone), "identification")]
    lines.append(f"  whose it is now: {view.customer_before or 'nobody'} -> {view.customer_after or 'nobody'}")
    for stretch in view.stretches_after:
        whose = stretch.customer_id or ("contested" if stretch.contested else "nobody")
        lines.append(f"  {stretch.since or 'ever before'} to {stretch.until or 'ever after'}: {whose}")
    if view.identification_id is not None:
        lines.append(f"To restore: identity undo {view.identification_id} --visitor {view.visitor_id}")
    return lines


def _did(applied: bool, whose: str, count: int, what: str) -> str:  # noqa: FBT001 - the view's own
    plural = "" if count == 1 else "s"
    return f"{'Took' if applied else 'Would take'} {count} {what}{plural} {whose} back."


def _fields(decisions: list[DecisionView]) -> list[str]:
    return [f"  {d.field}: {_value(d.old)} -> {_value(d.new)}" for d in decisions] or ["  no field changes"]


def _value(value: object) -> str:
    return "nothing" if value is None else str(value)


def _bulk(view: BulkPreview) -> list[str]:
    counts, more = view.counts, " or more" if view.more else ""
    merges = f"{counts.merges}{more} merges of {counts.customers} customers"
    identifications = f"{counts.identifications}{more} identifications of {counts.visitors} visitors"
    lines = [f"Would take back {merges} and {identifications}."]
    for undone in view.customers:
        lines += _undo(undone)
    for unlinked in view.visitors:
        lines += _unlink(unlinked)
    return lines


def _operation(view: OperationView) -> str:
    progress = ", ".join(f"{name} {value}" for name, value in view.progress.items() if isinstance(value, int))
    return f"{view.created_at}  {view.operation_id}  {view.kind:<6}  {view.status:<7}  {view.actor}  {progress}"


def _join(view: JoinView) -> list[str]:
    lines = [f"Customer {view.customer_id} and {view.into}{'' if view.applied else ', if this were done'}:"]
    for customer_id, decisions in view.changes.items():
        lines += [f"{customer_id}: {len(decisions)} fields change", *_fields(decisions)] if decisions else []
    return lines


def _suggestion(view: Suggestion) -> str:
    return f"{view.value}: {', '.join(view.customer_ids)}{' ...' if view.customers > len(view.customer_ids) else ''}"
