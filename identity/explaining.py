"""Why a visitor's time is whose it is, and what became of everything that was said of the visitor."""

from collections.abc import Collection, Sequence
from enum import StrEnum

import msgspec

from identity.belonging import Stretch, stretch_at
from identity.resolve import Fact, FactKind, Visitor, counting_facts, follow, linked_since, stretches_of, undone_facts
from profiles.store import CustomerVisitor


class StretchReason(StrEnum):
    """Why a stretch is whose it is. ``STRETCH_REASONS`` has one sentence for each."""

    IDENTIFIED = "identified"
    BEFORE_FIRST = "before_first"
    RETURNED = "returned"
    CONTESTED = "contested"
    NOBODY_SINCE = "nobody_since"
    NEVER_IDENTIFIED = "never_identified"
    TAKEN_BACK = "taken_back"
    ERASED = "erased"


STRETCH_REASONS: dict[StretchReason, str] = {
    StretchReason.IDENTIFIED: "The visitor was identified as this customer when it begins.",
    StretchReason.BEFORE_FIRST: "Nobody was known yet: it belongs to the first customer who was identified.",
    StretchReason.RETURNED: "It follows a sign-out, and the same customer came back.",
    StretchReason.CONTESTED: "It follows a sign-out, and another customer came next: it stays with nobody.",
    StretchReason.NOBODY_SINCE: "It follows a sign-out, and nobody was identified since.",
    StretchReason.NEVER_IDENTIFIED: "Nobody was ever identified.",
    StretchReason.TAKEN_BACK: "Every identification was taken back.",
    StretchReason.ERASED: "It was a customer's who was erased, and is nobody's for good.",
}


class FactOutcome(StrEnum):
    """What became of something that was said of a visitor. ``FACT_OUTCOMES`` has one sentence for each."""

    IN_FORCE = "in_force"
    PAST = "past"
    LATE = "late"
    NOT_CURRENT = "not_current"
    ANONYMOUS = "anonymous"
    UNDONE = "undone"
    UNDOING = "undoing"
    ERASED = "erased"


FACT_OUTCOMES: dict[FactOutcome, str] = {
    FactOutcome.IN_FORCE: "It says whose the visitor is now.",
    FactOutcome.PAST: "It was in force until something later was said.",
    FactOutcome.LATE: "It arrived after something later was said: it decides its own time, not the present.",
    FactOutcome.NOT_CURRENT: "Not applied: a sign-out of someone whom the visitor was not at that time.",
    FactOutcome.ANONYMOUS: "Values given while nobody was signed in: they go to the customer who signs in next, "
    "where that one has gaps, unless another one signed out before.",
    FactOutcome.UNDONE: "It does not count: it was taken back.",
    FactOutcome.UNDOING: "It takes others back.",
    FactOutcome.ERASED: "It named a customer who was erased.",
}


class StretchExplained(msgspec.Struct, frozen=True):
    """A stretch between two things that were said, and why it is whose it is.

    ``begun_by`` is what was said when it begins; ``settled_by`` the identification after it that decides whose it is;
    ``between`` are the two customers of a contested one; ``taken_back`` what was said to have happened within it.
    """

    stretch: Stretch
    reason: StretchReason
    begun_by: str | None = None
    settled_by: str | None = None
    between: tuple[str, ...] = ()
    taken_back: tuple[str, ...] = ()


class FactExplained(msgspec.Struct, frozen=True):
    """Something that was said of a visitor, what became of it, and the id of what took it back."""

    fact: Fact
    outcome: FactOutcome
    by: str | None = None


def explain_stretches(facts: Sequence[Fact]) -> list[StretchExplained]:
    """Return why the time of a visitor, all of it, is whose it is, oldest first. ``facts``: all, in order."""
    whose = stretches_of(facts)
    undone = undone_facts(facts)
    gone = [fact for fact in facts if fact.fact_id in undone and fact.kind is FactKind.IDENTIFIED]
    points = _points(facts)
    beginnings: list[Fact | None] = [None, *points]
    found: list[StretchExplained] = []
    for at, begun_by in enumerate(beginnings):
        since = begun_by.occurred_at if begun_by is not None else None
        until = points[at].occurred_at if at < len(points) else None
        if since is not None and since == until:
            continue
        owner = whose[0] if since is None else stretch_at(whose, since)
        later = next((fact for fact in points[at:] if fact.kind is not FactKind.SIGNED_OUT), None)
        reason = _reason(owner, begun_by, is_taken_back=bool(gone))
        is_settled = reason in (StretchReason.BEFORE_FIRST, StretchReason.RETURNED, StretchReason.CONTESTED)
        before = next((fact.customer_id for fact in reversed(points[:at]) if fact.customer_id is not None), None)
        between = (before, later.customer_id if later is not None else None)
        found.append(
            StretchExplained(
                Stretch(since, until, owner.customer_id, owner.contested, owner.erased),
                reason,
                begun_by=begun_by.fact_id if begun_by is not None else None,
                settled_by=later.fact_id if later is not None and is_settled else None,
                between=tuple(c for c in between if c is not None) if reason is StretchReason.CONTESTED else (),
                taken_back=tuple(
                    fact.fact_id
                    for fact in gone
                    if (since is None or fact.occurred_at >= since) and (until is None or fact.occurred_at < until)
                ),
            )
        )
    return found


def _reason(owner: Stretch, begun_by: Fact | None, *, is_taken_back: bool) -> StretchReason:
    if owner.contested:
        return StretchReason.CONTESTED
    if owner.erased:
        return StretchReason.ERASED
    if begun_by is None and owner.customer_id is not None:
        return StretchReason.BEFORE_FIRST
    if begun_by is None:
        return StretchReason.TAKEN_BACK if is_taken_back else StretchReason.NEVER_IDENTIFIED
    if begun_by.customer_id is not None:
        return StretchReason.IDENTIFIED
    return StretchReason.NOBODY_SINCE if owner.customer_id is None else StretchReason.RETURNED


def _points(facts: Sequence[Fact]) -> list[Fact]:
    """Return the identifications and sign-outs that count, in order of when they happened."""
    counting = (fact for fact in counting_facts(facts) if fact.applied and fact.kind is not FactKind.ANONYMOUS)
    return sorted(counting, key=lambda fact: (fact.occurred_at, fact.version))


def explain_facts(facts: Sequence[Fact]) -> list[FactExplained]:
    """Return what became of everything that was said of a visitor, in order of arrival. ``facts``: all, in order."""
    undone = undone_facts(facts)
    points = _points(facts)
    in_force = points[-1].fact_id if points else None
    late: set[str] = set()
    newest: int | None = None
    for fact in sorted(points, key=lambda fact: fact.version):
        if newest is not None and fact.occurred_at < newest:
            late.add(fact.fact_id)
        newest = fact.occurred_at if newest is None else max(newest, fact.occurred_at)
    return [FactExplained(fact, _outcome(fact, undone, in_force, late), undone.get(fact.fact_id)) for fact in facts]


def _outcome(fact: Fact, undone: dict[str, str], in_force: str | None, late: set[str]) -> FactOutcome:
    if fact.fact_id in undone:
        return FactOutcome.UNDONE
    if not fact.applied:
        return FactOutcome.NOT_CURRENT
    if fact.kind is FactKind.UNDONE:
        return FactOutcome.UNDOING
    if fact.kind is FactKind.ANONYMOUS:
        return FactOutcome.ANONYMOUS
    if fact.kind is FactKind.ERASED:
        return FactOutcome.ERASED
    if fact.fact_id == in_force:
        return FactOutcome.IN_FORCE
    return FactOutcome.LATE if fact.fact_id in late else FactOutcome.PAST


def facts_until(facts: Sequence[Fact], moment: int) -> Sequence[Fact]:
    """Return what had been said up to an instant: all up to the last that had arrived by then."""
    last = max((at for at, fact in enumerate(facts) if fact.received_at <= moment), default=-1)
    return facts[: last + 1]


def visitor_of(facts: Sequence[Fact]) -> Visitor | None:
    """Return the visitor that the facts, all up to one of them, amount to; None of no fact at all.

    One pass, however many of the facts take others back.
    """
    if not facts:
        return None
    visitor = Visitor(visitor_id=facts[0].visitor_id)
    for fact in counting_facts(facts):
        visitor = follow(visitor, fact)
    return msgspec.structs.replace(visitor, version=facts[-1].version)


def link_of(facts: Sequence[Fact], customer_ids: Collection[str]) -> CustomerVisitor | None:
    """Return a visitor's link to a customer of these, who are joined, as the facts have it; None if there is none."""
    visitor = visitor_of(facts)
    since = [at for customer_id, at in linked_since(facts).items() if customer_id in customer_ids]
    if visitor is None or not since:
        return None
    return CustomerVisitor(visitor.visitor_id, max(since), visitor.customer_id in customer_ids)
