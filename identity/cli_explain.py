"""What the command line tells of why it is so, and how it tells it: explain, diff."""

import argparse
from typing import TYPE_CHECKING, Any

from identity.admin.explain import (
    CustomerDiff,
    CustomerExplanation,
    FieldExplanation,
    OfferView,
    StretchExplanation,
    VisitorExplanation,
)
from identity.admin.query import read_time_of
from identity.render import refusal_rows, safe, shown, table
from identity.visitors import read_known_customer_id, read_visitor_id
from profiles.access import Workspace
from profiles.http import Problem
from profiles.views import VisitorView

if TYPE_CHECKING:
    from identity.app import Service


async def explain(
    service: "Service", workspace: Workspace, options: argparse.Namespace
) -> CustomerExplanation | VisitorExplanation:
    """Explain the fields of a customer or, asked for, the time of a visitor."""
    if options.visitor:
        visitor_id = read_visitor_id(options.id)
        if visitor_id is None:
            raise Problem(404, "visitor_not_found", "No visitor with this id was ever seen.")
        return await service.explanations.visitor(workspace.workspace_id, visitor_id)
    return await service.explanations.customer(workspace.workspace_id, _customer(options.id), options.field)


async def diff(service: "Service", workspace: Workspace, options: argparse.Namespace) -> CustomerDiff:
    """Tell what changed of a customer between two instants."""
    query = {name: given for name in ("from", "to") if (given := getattr(options, name)) is not None}
    since, until = read_time_of(query, "from"), read_time_of(query, "to")
    return await service.explanations.diff(workspace.workspace_id, _customer(options.id), since, until)


def _customer(sent: str) -> str:
    customer_id = read_known_customer_id(sent)
    if customer_id is None:
        raise Problem(404, "customer_not_found", "No customer is held by this id.")
    return customer_id


def render(view: Any) -> str:
    """Return an explanation for people."""
    match view:
        case CustomerExplanation():
            return "\n\n".join(_explained(view))
        case VisitorExplanation():
            return "\n\n".join(_visitor(view))
        case CustomerDiff():
            return "\n\n".join(_diff(view))
    raise TypeError(type(view))


def _explained(view: CustomerExplanation) -> list[str]:
    parts = [f"Customer {safe(view.customer_id)}, version {view.version}"]
    if view.gone:
        parts.append("Every merge was taken back: nobody finds this customer until something is merged again.")
    if view.joined_into is not None:
        parts.append(f"It is joined into customer {safe(view.joined_into)}, who is found by its id.")
    parts += [_field(field) for field in view.fields] or ["Nothing was ever sent."]
    if not view.complete:
        parts.append("Older rows were not looked at: --field goes further back.")
    return parts


def _field(field: FieldExplanation) -> str:
    held = "nothing" if field.winner is None else shown(field.winner.value)
    lines = [f"{safe(field.field)}: {held}"]
    if field.lock is not None:
        why = f": {safe(field.lock.reason)}" if field.lock.reason else ""
        lines.append(f"  locked by {safe(field.lock.actor or '')} at {field.lock.locked_at}{why}")
    offers = [*([field.winner] if field.winner is not None else []), *field.others]
    if offers:
        head = ("VALUE", "OUTCOME", "REASON", "OCCURRED AT", "SOURCE", "EVENT", "VISITOR", "MERGE", "BY")
        lines += [f"  {line}" for line in table(head, map(_offer, offers)).splitlines()]
        lines += [f"  {name}: {hint}" for name, hint in {o.reason or o.outcome: o.hint for o in offers}.items()]
    else:
        lines.append("  It was never sent.")
    if field.more:
        lines.append("  … and older ones.")
    return "\n".join(lines)


def _offer(offer: OfferView) -> tuple[object, ...]:
    value = shown(offer.value) if offer.raw is None else offer.raw
    origin = (offer.occurred_at, offer.source, offer.event, offer.visitor_id, offer.merge_id)
    return (value, offer.outcome, offer.reason, *origin, offer.by)


def _visitor(view: VisitorExplanation) -> list[str]:
    state = "is nobody now" if view.customer_id is None else f"is customer {safe(view.customer_id)} since {view.since}"
    parts = [f"Visitor {safe(view.visitor_id)} {state}"]
    stretches = table(("FROM", "TO", "CUSTOMER", "WHY", "BECAUSE OF"), map(_stretch, view.stretches))
    hints = {stretch.reason: stretch.hint for stretch in view.stretches}
    parts.append("\n".join([stretches, *(f"{name}: {hint}" for name, hint in hints.items())]))
    facts = [
        (said.occurred_at, said.event, said.kind, said.customer_id, fact.outcome, fact.by, said.identification_id)
        for fact in view.identifications
        for said in (fact.identification,)
    ]
    if facts:
        head = ("OCCURRED AT", "EVENT", "SAYS", "CUSTOMER", "OUTCOME", "BY", "IDENTIFICATION")
        told = {fact.outcome: fact.hint for fact in view.identifications}
        parts.append("\n".join([table(head, facts), *(f"{name}: {hint}" for name, hint in told.items())]))
    if view.more:
        parts.append("Older ones are not shown.")
    if view.refusals:
        parts.append(refusal_rows(view.refusals))
    return parts


def _stretch(stretch: StretchExplanation) -> tuple[object, ...]:
    whose = stretch.customer_id or (" or ".join(stretch.between) if stretch.contested else None)
    because = stretch.settled_by or stretch.identification_id or stretch.taken_back
    return (stretch.since or "ever before", stretch.until or "ever after", whose, stretch.reason, because)


def _diff(view: CustomerDiff) -> list[str]:
    before, after = (
        "not held" if version is None else f"version {version}" for version in (view.version_before, view.version_after)
    )
    parts = [f"Customer {safe(view.customer_id)}: {before} -> {after}"]
    for field in view.fields:
        lines = [f"{safe(field.field)}: {shown(field.before)} -> {shown(field.after)}"]
        if field.merges:
            rows = [
                (
                    m.received_at,
                    m.source,
                    m.event,
                    m.actor,
                    m.visitor_id,
                    shown(m.old),
                    shown(m.new),
                    m.merge_id,
                )
                for m in field.merges
            ]
            head = ("RECEIVED AT", "SOURCE", "EVENT", "BY", "VISITOR", "OLD", "NEW", "MERGE")
            lines += [f"  {line}" for line in table(head, rows).splitlines()]
        if field.more:
            lines.append("  … and older ones.")
        parts.append("\n".join(lines))
    if view.links:
        links = [(link.visitor_id, _link(link.before), _link(link.after)) for link in view.links]
        parts.append(table(("VISITOR", "LINKED BEFORE", "LINKED AFTER"), links))
    if not view.fields and not view.links:
        parts.append("Nothing differs.")
    if not view.complete:
        parts.append("Only the newest rows in between were looked at.")
    return parts


def _link(link: VisitorView | None) -> str | None:
    return None if link is None else f"{link.linked_at}{', present' if link.current else ''}"
