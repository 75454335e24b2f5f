"""What a profile, a merge and a decision look like from outside."""

import msgspec

from profiles.clock import to_text
from profiles.http import Problem, Request
from profiles.profile import Act, Link, Merge, Profile
from profiles.remarks import HINTS, Decision, JsonValue, Reason, Verdict, cut
from profiles.store import CustomerVisitor

_HELD_AFTER = frozenset({Verdict.SET, Verdict.OVERWROTE, Verdict.UNCHANGED})


class DecisionView(msgspec.Struct, frozen=True):
    """One decision. ``new`` is what is held after it; ``raw`` what was sent and lost, cut at 256 characters."""

    field: str
    verdict: Verdict
    reason: Reason | None
    old: JsonValue
    new: JsonValue
    raw: str | None
    hint: str | None


class MergeView(msgspec.Struct, frozen=True, omit_defaults=True):
    """One row of the ledger, as admins see it: a merge or, with an ``act``, what was done to the ledger itself.

    ``undone_by`` is the act that took it back, ``undoes`` what it takes back itself, ``fields`` what it locks or
    unlocks. ``customer_id_sent`` is the joined customer whom its event named; of a join, the other customer.
    """

    merge_id: str
    customer_id: str
    visitor_id: str | None
    channel_id: str | None
    source: str
    event: str
    event_id: str | None
    occurred_at: str
    received_at: str
    created_customer: bool
    undone_by: str | None
    version: int
    decisions: list[DecisionView]
    act: Act | None = None
    undoes: list[str] = []
    fields: list[str] = []
    customer_id_sent: str | None = None
    link: Link | None = None
    actor: str | None = None
    reason: str | None = None
    operation_id: str | None = None


class VisitorView(msgspec.Struct, frozen=True):
    """A visitor of a customer."""

    visitor_id: str
    linked_at: str
    current: bool


class Provenance(msgspec.Struct, frozen=True):
    """Which merge set a field."""

    set_at: str
    merge_id: str | None
    event: str | None
    channel: str | None


class CustomerView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A customer: fields by the names they are held by, and the visitors that were ever linked.

    ``joined_ids`` are the customers that were declared to be this one; they answer with it.
    """

    customer_id: str
    version: int
    created_at: str
    updated_at: str
    fields: dict[str, JsonValue]
    visitors: list[VisitorView]
    provenance: dict[str, Provenance] | None = None
    joined_ids: list[str] = []


def decision_view(decision: Decision) -> DecisionView:
    """Return a decision as seen from outside."""
    held_after = decision.verdict in _HELD_AFTER
    raw = decision.raw
    if raw is None and not held_after and decision.value is not None:
        raw = cut(decision.value)
    return DecisionView(
        field=decision.field,
        verdict=decision.verdict,
        reason=decision.reason,
        old=decision.old,
        new=decision.value if held_after else None,
        raw=raw,
        hint=HINTS[decision.reason] if decision.reason else None,
    )


def merge_view(merge: Merge, undone_by: str | None = None) -> MergeView:
    """Return a ledger row as seen from outside; ``undone_by`` is the id of the act that took it back."""
    return MergeView(
        merge_id=merge.merge_id,
        customer_id=merge.customer_id,
        visitor_id=merge.visitor_id,
        channel_id=merge.channel_id,
        source=merge.source,
        event=merge.event,
        event_id=merge.event_id,
        occurred_at=to_text(merge.occurred_at),
        received_at=to_text(merge.received_at),
        created_customer=merge.created_customer,
        undone_by=undone_by,
        version=merge.version,
        decisions=[decision_view(decision) for decision in merge.decisions],
        act=merge.act,
        undoes=list(merge.undoes),
        fields=list(merge.act_fields),
        customer_id_sent=merge.other_id,
        link=merge.link,
        actor=merge.actor,
        reason=merge.note,
        operation_id=merge.operation_id,
    )


def customer_view(
    profile: Profile, visitors: list[CustomerVisitor], provenance: dict[str, Provenance] | None = None
) -> CustomerView:
    """Return a profile and its visitors as seen from outside."""
    return CustomerView(
        customer_id=profile.customer_id,
        version=profile.version,
        created_at=to_text(profile.created_at),
        updated_at=to_text(profile.updated_at),
        fields=profile.values(),
        visitors=[VisitorView(v.visitor_id, to_text(v.linked_at), v.is_current) for v in visitors],
        provenance=provenance,
        joined_ids=list(profile.absorbs),
    )


def read_bearer(request: Request) -> str | None:
    """Return the secret that came as ``Authorization: Bearer``, or None if there is no such header.

    Raises:
        Problem: 401, the header has another form.
    """
    header = request.headers.get(b"authorization")
    if header is None:
        return None
    scheme, _, secret = header.decode("latin-1").partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        raise Problem(401, "unknown_key", "Send the secret key as Authorization: Bearer sk_…")
    return secret.strip()
