"""Pure: the past of a profile, field by field, and of a customer, moment by moment, from what the ledger tells."""

from collections.abc import Container, Iterable, Mapping, Sequence

import msgspec

from identity.admin.explain import CustomerExplanation, FieldExplanation, FieldLock, OfferView
from identity.admin.pictures import Happening
from identity.footprint_routes import FootprintEvent
from identity.resolve import FactKind
from identity.visitor_routes import IdentificationView, VisitorPage
from profiles.clock import read_time
from profiles.explaining import Outcome
from profiles.remarks import JsonValue, Verdict
from profiles.views import CustomerView, DecisionView, MergeView, Provenance

OTHERS_SHOWN_MAX = 4
"""Other values of one field that are shown at once; the rest unfolds."""

_KEPT = (Verdict.SET, Verdict.OVERWROTE, Verdict.UNCHANGED)
_OFFERED = (Verdict.SKIPPED_OLDER, Verdict.KEPT_EXISTING)


class FieldRow(msgspec.Struct, frozen=True):
    """A field: what is held, who set it, what that replaced, whether it is locked, and what else was seen.

    ``first`` are the newest of the other values, ``others`` the rest; ``more``: there are still older ones.
    """

    field: str
    value: JsonValue
    set_by: Provenance | None
    visitor_id: str | None
    replaced: JsonValue
    lock: FieldLock | None
    first: list[OfferView]
    others: list[OfferView]
    more: bool


class Line(msgspec.Struct, frozen=True):
    """One line of the comparison of a merge: sent, read, before, after."""

    decision: DecisionView
    sent: str | JsonValue
    read: JsonValue
    before: JsonValue
    after: JsonValue


def lines_of(merge: MergeView) -> list[Line]:
    """Return what a merge did, decision by decision. What could be read is shown as it was read."""
    return [_line(decision) for decision in merge.decisions]


def _line(decision: DecisionView) -> Line:
    read = _value(decision)
    sent = decision.raw if decision.raw is not None else decision.new
    after = None if decision.verdict is Verdict.UNSET else read if decision.verdict in _KEPT else decision.old
    return Line(decision, sent, read, decision.old, after)


def _value(decision: DecisionView) -> JsonValue:
    if decision.verdict in _KEPT:
        return decision.new
    return decision.raw if decision.verdict in _OFFERED else None


def field_rows(view: CustomerView, explained: CustomerExplanation | None) -> list[FieldRow]:
    """Return every field that is held or was ever sent, those held first; without an explanation, those held alone."""
    told = {} if explained is None else {field.field: field for field in explained.fields}
    names = [*view.fields, *(name for name in told if name not in view.fields)]
    return [_row(name, view, told.get(name)) for name in names]


def _row(name: str, view: CustomerView, told: FieldExplanation | None) -> FieldRow:
    set_by = (view.provenance or {}).get(name)
    others = [] if told is None else told.others
    winner = None if told is None else told.winner
    return FieldRow(
        field=name,
        value=view.fields.get(name),
        set_by=set_by,
        visitor_id=None if winner is None else winner.visitor_id,
        replaced=next(
            (o.value for o in others if o.outcome is Outcome.OVERWRITTEN and winner and o.by == winner.merge_id), None
        ),
        lock=None if told is None else told.lock,
        first=others[:OTHERS_SHOWN_MAX],
        others=others[OTHERS_SHOWN_MAX:],
        more=told is not None and told.more,
    )


class Entry(msgspec.Struct, frozen=True):
    """One entry of the timeline: an event of the footprint, or an identification."""

    at: str
    visitor_id: str | None
    event: FootprintEvent | None = None
    said: IdentificationView | None = None
    is_switch: bool = False
    undone_by: str | None = None

    @property
    def mark(self) -> str:
        """What it is called, and drawn as."""
        return (
            "event"
            if self.said is None
            else _mark(self.said, is_switch=self.is_switch, is_undone=self.undone_by is not None)
        )


def entries(
    events: Sequence[FootprintEvent],
    visitors: Iterable[VisitorPage],
    undone: Mapping[str, str],
    same: Mapping[str, str],
    *,
    is_first: bool,
    is_last: bool,
    before: str | None = None,
) -> list[Entry]:
    """Return a page of the timeline, the newest first: the events, and every identification that falls among them.

    ``before`` is when the page before ended: what happened from then on stood there. ``undone`` are the identifications
    that were taken back, each with what did it; ``same`` the customers who are joined, each with whom it is.
    """
    found = [Entry(event.occurred_at, event.visitor_id, event=event) for event in events]
    oldest = events[-1].occurred_at if events else None
    for page in visitors:
        switches = _switches(page, undone, same)
        for said in page.identifications:
            if not is_first and before is not None and said.occurred_at >= before:
                continue
            if not is_last and oldest is not None and said.occurred_at < oldest:
                continue
            is_switch, by = said.identification_id in switches, undone.get(said.identification_id)
            found.append(Entry(said.occurred_at, page.visitor_id, said=said, is_switch=is_switch, undone_by=by))
    return sorted(found, key=lambda entry: entry.at, reverse=True)


def _mark(said: IdentificationView, *, is_switch: bool, is_undone: bool) -> str:
    if said.kind is FactKind.UNDONE:
        return "undone_again" if is_undone else "undoing"
    if is_undone:
        return "undone"
    if not said.applied:
        return "unapplied"
    return "switched" if is_switch else str(said.kind)


def _switches(page: VisitorPage, undone: Container[str], same: Mapping[str, str]) -> set[str]:
    """Return the identifications that ended the link of another customer, who is not joined with that one."""
    found: set[str] = set()
    before: str | None = None
    counting = [said for said in page.identifications if said.applied and said.identification_id not in undone]
    for said in sorted(counting, key=lambda each: each.occurred_at):
        if said.kind not in (FactKind.IDENTIFIED, FactKind.SIGNED_OUT, FactKind.ERASED):
            continue
        named = None if said.customer_id is None else same.get(said.customer_id, said.customer_id)
        if named is not None and before not in (None, named):
            found.add(said.identification_id)
        before = named
    return found


def happenings(
    found: Iterable[Entry], visitors: Iterable[VisitorPage], undone: Mapping[str, str], same: Mapping[str, str]
) -> list[Happening]:
    """Return what is marked in the lanes: all identifications, and the events of this page."""
    marked = []
    for page in visitors:
        switches = _switches(page, undone, same)
        for said in page.identifications:
            is_switch, is_undone = said.identification_id in switches, said.identification_id in undone
            title = f"{said.event} {said.customer_id or ''} {said.occurred_at}"
            kind = _mark(said, is_switch=is_switch, is_undone=is_undone)
            marked.append(Happening(page.visitor_id, moment(said.occurred_at), kind, title))
    for entry in found:
        if entry.event is not None and entry.visitor_id is not None:
            name = entry.event.label or entry.event.type
            marked.append(Happening(entry.visitor_id, moment(entry.at), entry.mark, f"{name} {entry.at}"))
    return marked


def moment(text: str) -> int:
    """Return a time of a view in milliseconds since 1970."""
    found = read_time(text)
    assert found is not None, "views have times as texts of ours"
    return found
