"""Pure: the past of a profile, field by field, and of a customer, moment by moment, from what the ledger tells."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from identity.admin.pictures import Happening
from identity.footprint_routes import FootprintEvent
from identity.resolve import FactKind
from identity.visitor_routes import IdentificationView, VisitorPage
from profiles.clock import read_time
from profiles.remarks import JsonValue, Reason, Verdict
from profiles.views import CustomerView, DecisionView, MergeView, Provenance

OTHERS_SHOWN_MAX = 5
"""Other values shown of one field; the ledger has all of them."""

_KEPT = (Verdict.SET, Verdict.OVERWROTE, Verdict.UNCHANGED)
_OFFERED = (Verdict.SKIPPED_OLDER, Verdict.KEPT_EXISTING)


class OtherValue(msgspec.Struct, frozen=True):
    """A value that was sent for a field and is not the one that is held."""

    value: JsonValue
    verdict: Verdict
    reason: Reason | None
    merge: MergeView


class FieldRow(msgspec.Struct, frozen=True):
    """A field: what is held, who set it, and what else was seen. ``winner`` is None if that merge is not at hand."""

    field: str
    value: JsonValue
    set_by: Provenance | None
    winner: MergeView | None
    replaced: JsonValue
    others: list[OtherValue]
    more: int


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


def field_rows(view: CustomerView, merges: Sequence[MergeView], winners: Mapping[str, MergeView]) -> list[FieldRow]:
    """Return every field that is held or was ever sent, those held first. ``merges``: the newest first."""
    provenance = view.provenance or {}
    others: dict[str, list[OtherValue]] = {}
    told: set[tuple[str, str]] = set()
    for merge in merges:
        for decision in merge.decisions:
            found = _other(decision, merge, provenance.get(decision.field), view.fields.get(decision.field))
            if found is None:
                continue
            key = decision.field, f"{decision.verdict} {found.value!r}"
            if key not in told:
                told.add(key)
                others.setdefault(decision.field, []).append(found)
    rows = []
    for field in [*view.fields, *sorted(others.keys() - view.fields.keys())]:
        set_by = provenance.get(field)
        winner = winners.get(set_by.merge_id or "") if set_by is not None else None
        found_others = others.get(field, [])
        rows.append(
            FieldRow(
                field=field,
                value=view.fields.get(field),
                set_by=set_by,
                winner=winner,
                replaced=_replaced(winner, field),
                others=found_others[:OTHERS_SHOWN_MAX],
                more=max(0, len(found_others) - OTHERS_SHOWN_MAX),
            )
        )
    return rows


def _replaced(winner: MergeView | None, field: str) -> JsonValue:
    decisions = winner.decisions if winner is not None else []
    found = [d.old for d in decisions if d.field == field and d.verdict is Verdict.OVERWROTE]
    return found[-1] if found else None


def _other(decision: DecisionView, merge: MergeView, set_by: Provenance | None, held: JsonValue) -> OtherValue | None:
    """Return what a decision tells beside what is held: another value, or a remark."""
    verdict = decision.verdict
    if verdict is Verdict.IGNORED_EMPTY or (set_by is not None and set_by.merge_id == merge.merge_id):
        return None
    value = decision.raw if verdict is Verdict.SKIPPED_INVALID else _value(decision)
    if verdict in _KEPT and value == held:
        return None
    return OtherValue(value, verdict, decision.reason, merge)


class Entry(msgspec.Struct, frozen=True):
    """One entry of the timeline: an event of the footprint, or an identification."""

    at: str
    visitor_id: str | None
    event: FootprintEvent | None = None
    said: IdentificationView | None = None
    is_switch: bool = False


def entries(
    events: Sequence[FootprintEvent],
    visitors: Iterable[VisitorPage],
    *,
    is_first: bool,
    is_last: bool,
    before: str | None = None,
) -> list[Entry]:
    """Return a page of the timeline, the newest first: the events, and every identification that falls among them.

    ``before`` is when the page before ended: what happened from then on stood there.
    """
    found = [Entry(event.occurred_at, event.visitor_id, event=event) for event in events]
    oldest = events[-1].occurred_at if events else None
    for page in visitors:
        switches = _switches(page)
        for said in page.identifications:
            if not is_first and before is not None and said.occurred_at >= before:
                continue
            if not is_last and oldest is not None and said.occurred_at < oldest:
                continue
            is_switch = said.identification_id in switches
            found.append(Entry(said.occurred_at, page.visitor_id, said=said, is_switch=is_switch))
    return sorted(found, key=lambda entry: entry.at, reverse=True)


def _switches(page: VisitorPage) -> set[str]:
    """Return the identifications that ended the link of another customer."""
    found: set[str] = set()
    before: str | None = None
    applied = [said for said in page.identifications if said.applied and said.kind is not FactKind.ANONYMOUS]
    for said in sorted(applied, key=lambda each: each.occurred_at):
        if said.customer_id is not None and before not in (None, said.customer_id):
            found.add(said.identification_id)
        before = said.customer_id
    return found


def happenings(found: Iterable[Entry], visitors: Iterable[VisitorPage]) -> list[Happening]:
    """Return what is marked in the lanes: all identifications, and the events of this page."""
    marked = []
    for page in visitors:
        switches = _switches(page)
        for said in page.identifications:
            if not said.applied:
                kind = "unapplied"
            elif said.identification_id in switches:
                kind = "switched"
            else:
                kind = str(said.kind)
            title = f"{said.event} {said.customer_id or ''} {said.occurred_at}"
            marked.append(Happening(page.visitor_id, moment(said.occurred_at), kind, title))
    for entry in found:
        if entry.event is not None and entry.visitor_id is not None:
            name = entry.event.label or entry.event.type
            marked.append(Happening(entry.visitor_id, moment(entry.at), "event", f"{name} {entry.at}"))
    return marked


def moment(text: str) -> int:
    """Return a time of a view in milliseconds since 1970."""
    found = read_time(text)
    assert found is not None, "views have times as texts of ours"
    return found
