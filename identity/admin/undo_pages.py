"""The inspector's pages of taking back: a merge, an identification, whatever a filter finds; and of long works."""

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from identity.acts import UNDOABLE, Acts
from identity.admin import history
from identity.admin.acts import (
    BulkAsked,
    BulkPreview,
    OperationView,
    StretchView,
    Takebacks,
    UndoAsked,
    UndoView,
    UnlinkView,
)
from identity.admin.changes import Changes
from identity.admin.ledger import Ledger
from identity.admin.query import LIMIT_MAX
from identity.admin.visits import (
    Pages,
    Show,
    Visit,
    address,
    given,
    not_of_this_page,
    read_moment,
    redirect,
    require_confirmation,
    status_of,
)
from identity.bulk_undo import BulkUndo
from identity.imports.lane import Progress
from identity.operation_log import OperationLog
from identity.render import as_json
from identity.routes import now_milliseconds
from profiles.clock import to_text
from profiles.database import Database
from profiles.http import Problem, Response
from profiles.views import MergeView

FILTERS = ("channel_id", "from", "to", "customer_id", "visitor_id", "event", "operation_id")
_TIMES = ("from", "to")


class Parts(Protocol):
    """What of a service is needed here."""

    database: Database
    acts: Acts
    bulk: BulkUndo
    operation_log: OperationLog


class Moment(msgspec.Struct, frozen=True):
    """A piece of a visitor's time, and whose it is before and after something is done."""

    since: str | None
    until: str | None
    before: StretchView
    after: StretchView

    @property
    def is_changed(self) -> bool:
        """Whether it becomes somebody else's."""
        return (self.before.customer_id, self.before.contested) != (self.after.customer_id, self.after.contested)


class OperationRow(msgspec.Struct, frozen=True):
    """A long work, what it counted, and how far it is, where that is known, in hundredths."""

    operation: OperationView
    counts: dict[str, int]
    share: int | None


class UndoPages:
    """Everything on these pages is previewed by the plan itself, and then done by it."""

    def __init__(self, service: Parts, ledger: Ledger, changes: Changes, show: Show) -> None:
        self._takebacks = Takebacks(service.database, service.acts, service.bulk, service.operation_log)
        self._ledger = ledger
        self._changes = changes
        self._show = show

    def pages(self) -> Pages:
        """Return the pages by method and address."""
        return {
            ("GET", "/merge"): self._merge_page,
            ("POST", "/merge"): self._undo_merge,
            ("POST", "/visitor/undo"): self._undo_identification,
            ("GET", "/operations"): self._operations_page,
            ("POST", "/operations"): self._undo_many,
        }

    # One merge.

    async def _merge_page(
        self, visit: Visit, preview: UndoView | None = None, problem: Problem | None = None
    ) -> Response:
        merge = await self._ledger.find_merge(visit.workspace_id, visit.named("merge_id"))
        return self._show(
            visit,
            "merge.html",
            status=status_of(problem),
            merge=merge,
            lines=history.lines_of(merge),
            record=as_json(merge),
            preview=preview,
            problem=problem,
            reason=visit.form.get("reason", ""),
            may_undo=may_undo(merge),
        )

    async def _undo_merge(self, visit: Visit) -> Response:
        form, merge_id = visit.form, visit.form.get("merge_id", "")
        asked = UndoAsked(reason=form.get("reason"), dry_run=form.get("action") != "undo")
        try:
            done = await self._takebacks.undo_merge(visit.workspace_id, merge_id, asked, visit.actor)
        except Problem as problem:
            if problem.status == 404:
                raise
            return await self._merge_page(visit, problem=problem)
        if asked.dry_run:
            return await self._merge_page(visit, preview=done)
        return redirect(address("/merge", merge_id=merge_id if done.merge is None else done.merge.merge_id))

    # One identification.

    async def _undo_identification(self, visit: Visit) -> Response:
        form = visit.form
        visitor_id, identification_id = form.get("visitor_id"), form.get("identification_id", "")
        asked = UndoAsked(reason=form.get("reason"), dry_run=form.get("action") != "undo", visitor_id=visitor_id)
        problem = None
        try:
            done = await self._takebacks.undo_identification(visit.workspace_id, identification_id, asked, visit.actor)
        except Problem as wrong:
            if asked.dry_run:
                raise
            problem = wrong
            asked = UndoAsked(dry_run=True, visitor_id=visitor_id)
            done = await self._takebacks.undo_identification(visit.workspace_id, identification_id, asked, visit.actor)
        if not asked.dry_run:
            return redirect(address("/visitor", visitor_id=done.visitor_id))
        return self._show(
            visit,
            "unlink.html",
            status=status_of(problem),
            problem=problem,
            preview=done,
            moments=moments_of(done),
            identification_id=identification_id,
            is_restoring=form.get("restoring") == "yes",
            reason=form.get("reason", ""),
        )

    # Many at once, and how far that is.

    async def _operations_page(
        self, visit: Visit, preview: BulkPreview | None = None, problem: Problem | None = None
    ) -> Response:
        works = await self._takebacks.operations(visit.workspace_id)
        rows = [operation_row(operation) for operation in works.items]
        asked = visit.form or visit.request.query()
        return self._show(
            visit,
            "operations.html",
            status=status_of(problem),
            rows=rows,
            is_running=any(row.operation.status == "running" for row in rows),
            preview=preview,
            unlinked=[] if preview is None else [(each, moments_of(each)) for each in preview.visitors],
            problem=problem,
            asked={name: asked.get(name, "") for name in (*FILTERS, "reason")},
            channels=(await self._changes.list_channels(visit.workspace_id, {"limit": str(LIMIT_MAX)})).items,
        )

    async def _undo_many(self, visit: Visit) -> Response:
        form = visit.form
        if form.get("action") not in ("preview", "undo"):
            raise not_of_this_page()
        try:
            asked = BulkAsked(_filter(form), form.get("reason"), dry_run=form["action"] == "preview")
            if not asked.dry_run:
                require_confirmation(form)
            done = await self._takebacks.undo_many(visit.workspace_id, asked, visit.actor, now_milliseconds())
        except Problem as problem:
            return await self._operations_page(visit, problem=problem)
        if isinstance(done, BulkPreview):
            return await self._operations_page(visit, preview=done)
        return redirect(address("/operations"))


def may_undo(merge: MergeView) -> bool:
    """Return whether a row of the ledger can be taken back by itself."""
    if merge.undone_by is not None:
        return False
    return merge.act in UNDOABLE or (merge.act is None and bool(merge.decisions or merge.created_customer))


def moments_of(done: UnlinkView) -> list[Moment]:
    """Return whose a visitor's time is before and after, side by side, newest first."""
    both = (done.stretches_before, done.stretches_after)
    edges = sorted({stretch.since for stretches in both for stretch in stretches if stretch.since is not None})
    found = []
    for since, until in zip([None, *edges], [*edges, None], strict=True):
        before, after = (_at(stretches, since) for stretches in both)
        found.append(Moment(since, until, before, after))
    return found[::-1]


def _at(stretches: list[StretchView], since: str | None) -> StretchView:
    """Return the stretch that a moment is in; None: the first. Times are texts of one form, in their order."""
    return [s for s in stretches if s.since is None or (since is not None and s.since <= since)][-1]


def operation_row(operation: OperationView) -> OperationRow:
    """Return what a page shows of a long work."""
    progress = operation.progress
    lines = 0
    if operation.kind == "import":
        held = Progress.read(msgspec.json.encode(progress).decode())
        progress, lines = msgspec.to_builtins(held.counts()), held.lines
    counts = {name: count for name, count in progress.items() if isinstance(count, int)}
    done = counts.get("lines", 0)
    return OperationRow(operation, counts, min(100, 100 * done // lines) if lines > 0 else None)


def _filter(form: Mapping[str, str]) -> dict[str, Any]:
    """Return the filter that a form asks for, as the API takes it."""
    filled = {name: text for name, text in given(form).items() if name in FILTERS}
    moments = {name: read_moment(filled[name]) for name in _TIMES if name in filled}
    return {**filled, **{name: to_text(at) for name, at in moments.items() if at is not None}}
