"""Why it is so: the fields of a customer, the time of a visitor; and what changed between two instants."""

from collections.abc import Callable, Sequence

import msgspec

from identity.admin.joining import Handler
from identity.admin.ledger import Ledger, RefusalView
from identity.admin.query import read_query, read_time_of
from identity.explaining import (
    FACT_OUTCOMES,
    STRETCH_REASONS,
    FactExplained,
    FactOutcome,
    StretchExplained,
    StretchReason,
    explain_facts,
    explain_stretches,
    visitor_of,
)
from identity.resolve import Fact
from identity.visitor_past import VisitorPast
from identity.visitor_routes import IdentificationView, identification_view
from profiles import fields as field_table
from profiles.access import SecretKey
from profiles.clock import to_text
from profiles.database import Connection, Database
from profiles.explaining import FieldExplained, Offer, Outcome
from profiles.http import Problem, Request, Response, json_response
from profiles.past import Held, Past
from profiles.profile import Act, Merge
from profiles.remarks import JsonValue, Reason
from profiles.views import VisitorView

STRETCHES_SHOWN_MAX = 200
"""Stretches and identifications in one explanation of a visitor: the newest."""
REFUSALS_SHOWN_MAX = 20
"""Refused events in it: the newest that named the visitor."""


class OfferView(msgspec.Struct, frozen=True):
    """A value that was seen for a field, where it came from, what became of it and why.

    ``raw`` is the text of one that cannot be held. ``by`` is the ledger row that beat it, or that took it back.
    """

    value: JsonValue
    raw: str | None
    merge_id: str
    event: str
    source: str
    channel_id: str | None
    visitor_id: str | None
    occurred_at: str
    received_at: str
    outcome: Outcome
    reason: Reason | None
    hint: str
    by: str | None


class FieldLock(msgspec.Struct, frozen=True):
    """The act that closed a field to websites."""

    merge_id: str
    actor: str | None
    reason: str | None
    locked_at: str


class FieldExplanation(msgspec.Struct, frozen=True):
    """A field: the value that is held, or null; the lock on it; every other value that was seen, newest first.

    ``more``: older ones are not shown.
    """

    field: str
    winner: OfferView | None
    lock: FieldLock | None
    others: list[OfferView]
    more: bool


class CustomerExplanation(msgspec.Struct, frozen=True):
    """Why a customer's fields hold what they hold.

    ``gone``: every merge was taken back, so that lookups don't find it. ``joined_into``: lookups answer with that
    customer instead. Not ``complete``: older rows of the ledger were not looked at; name a field to go further back.
    """

    customer_id: str
    version: int
    gone: bool
    joined_into: str | None
    fields: list[FieldExplanation]
    complete: bool


class StretchExplanation(msgspec.Struct, frozen=True):
    """A stretch of a visitor's time, whose it is and why.

    ``identification_id`` is what was said when it begins, ``settled_by`` the identification that came after it and
    decides whose it is; ``between`` are the customers on both sides of a contested one; ``taken_back`` what was said to
    have happened within it and does not count any more.
    """

    since: str | None
    until: str | None
    customer_id: str | None
    contested: bool
    reason: StretchReason
    hint: str
    identification_id: str | None
    settled_by: str | None
    between: list[str]
    taken_back: list[str]


class FactExplanation(msgspec.Struct, frozen=True):
    """Something that was said of a visitor, and what became of it. ``by``: what took it back."""

    identification: IdentificationView
    outcome: FactOutcome
    hint: str
    by: str | None


class VisitorExplanation(msgspec.Struct, frozen=True):
    """Why a visitor is linked to whom it is linked, or to nobody: its time, newest first; what was said of it, the last
    arrival first; the refused events that named it. ``more``: the oldest of these are not shown.
    """

    visitor_id: str
    customer_id: str | None
    since: str | None
    stretches: list[StretchExplanation]
    identifications: list[FactExplanation]
    more: bool
    refusals: list[RefusalView]


class ChangedBy(msgspec.Struct, frozen=True):
    """A row of the ledger that changed a field."""

    merge_id: str
    event: str
    source: str
    act: Act | None
    actor: str | None
    channel_id: str | None
    visitor_id: str | None
    occurred_at: str
    received_at: str
    old: JsonValue
    new: JsonValue


class FieldDiff(msgspec.Struct, frozen=True):
    """A field that differs, and what changed it in between, newest first; ``more``: older ones are not shown."""

    field: str
    before: JsonValue
    after: JsonValue
    merges: list[ChangedBy]
    more: bool


class LinkDiff(msgspec.Struct, frozen=True):
    """A visitor whose link differs; null where there was none."""

    visitor_id: str
    before: VisitorView | None
    after: VisitorView | None


class CustomerDiff(msgspec.Struct, frozen=True):
    """What differs between two instants. A version is null where the customer was not held.

    Not ``complete``: of what lies in between only the newest rows were looked at.
    """

    customer_id: str
    version_before: int | None
    version_after: int | None
    fields: list[FieldDiff]
    links: list[LinkDiff]
    complete: bool


class Explanations:
    """Answers why, in one workspace at a time. ``clock`` gives milliseconds since 1970."""

    def __init__(
        self, database: Database, past: Past, visitor_past: VisitorPast, ledger: Ledger, clock: Callable[[], int]
    ) -> None:
        self._database = database
        self._past = past
        self._visitor_past = visitor_past
        self._ledger = ledger
        self._clock = clock

    def of_customers(self) -> dict[tuple[str, str], Handler]:
        """Return what answers about customers, by method and by what stands behind the id."""
        return {("GET", "explain"): self._customer, ("GET", "diff"): self._diff}

    def of_visitors(self) -> dict[tuple[str, str], Handler]:
        """Return what answers about visitors, in the same way."""
        return {("GET", "explain"): self._visitor}

    async def _customer(self, request: Request, key: SecretKey, customer_id: str) -> Response:
        field = read_query(request, ("field",)).get("field")
        return json_response(await self.customer(key.workspace_id, customer_id, field))

    async def _diff(self, request: Request, key: SecretKey, customer_id: str) -> Response:
        query = read_query(request, ("from", "to"))
        since, until = read_time_of(query, "from"), read_time_of(query, "to")
        return json_response(await self.diff(key.workspace_id, customer_id, since, until))

    async def _visitor(self, request: Request, key: SecretKey, visitor_id: str) -> Response:
        read_query(request, ())
        return json_response(await self.visitor(key.workspace_id, visitor_id))

    async def customer(self, workspace_id: int, customer_id: str, field: str | None = None) -> CustomerExplanation:
        """Return why the fields of a customer, or one of them, hold what they hold.

        Raises:
            Problem: 400, no field is called so; 404, there never was such a customer; 409, its ledger is too long.
        """
        if field is not None and not field_table.is_field(field):
            raise Problem(400, "invalid_field", "field is a name out of the field table, or custom.<name>.")
        found = await self._past.explain(workspace_id, customer_id, field)
        profile = found.profile
        return CustomerExplanation(
            customer_id=profile.customer_id,
            version=profile.version,
            gone=profile.is_gone,
            joined_into=profile.joined_into,
            fields=[_field(explained) for explained in found.fields],
            complete=found.complete,
        )

    async def diff(
        self, workspace_id: int, customer_id: str, since: int | None = None, until: int | None = None
    ) -> CustomerDiff:
        """Return what differs of a customer between two instants: from before everything, to now, if not said.

        Raises:
            Problem: 400, the second lies before the first; 404, there never was such a customer; 409, its ledger is too
                long.
        """
        until = self._clock() if until is None else until
        if since is not None and until < since:
            raise Problem(400, "invalid_to", "to is a time behind from.")
        found = await self._past.compare(workspace_id, customer_id, since, until)
        before, after = _values(found.before), _values(found.after)
        return CustomerDiff(
            customer_id=customer_id,
            version_before=None if found.before is None else found.before.profile.version,
            version_after=None if found.after is None else found.after.profile.version,
            fields=[
                FieldDiff(
                    field=changed.field,
                    before=before.get(changed.field),
                    after=after.get(changed.field),
                    merges=[_changed_by(row, changed.field) for row in changed.merges],
                    more=changed.more,
                )
                for changed in found.changed
            ],
            links=_links(found.before, found.after),
            complete=found.complete,
        )

    async def visitor(self, workspace_id: int, visitor_id: str) -> VisitorExplanation:
        """Return why a visitor is linked to whom it is linked, or to nobody.

        Raises:
            Problem: 404, nothing was ever said of it, not even refused; 409, too much was said of it.
        """

        async def work(connection: Connection) -> Sequence[Fact]:
            return await self._visitor_past.facts_of(connection, workspace_id, visitor_id)

        facts = await self._database.run(work)
        query = {"visitor_id": visitor_id, "limit": str(REFUSALS_SHOWN_MAX)}
        refusals = (await self._ledger.list_refusals(workspace_id, query)).items
        visitor = visitor_of(facts)
        if visitor is None and not refusals:
            raise Problem(404, "visitor_not_found", "No visitor with this id was ever seen.")
        stretches, told = explain_stretches(facts), explain_facts(facts)
        shown = -STRETCHES_SHOWN_MAX - 1
        return VisitorExplanation(
            visitor_id=visitor_id,
            customer_id=None if visitor is None else visitor.customer_id,
            since=None if visitor is None or visitor.since is None else to_text(visitor.since),
            stretches=[_stretch(explained) for explained in stretches[:shown:-1]],
            identifications=[_fact(explained) for explained in told[:shown:-1]],
            more=max(len(stretches), len(told)) > STRETCHES_SHOWN_MAX,
            refusals=refusals,
        )


def _field(explained: FieldExplained) -> FieldExplanation:
    lock = explained.lock
    return FieldExplanation(
        field=explained.field,
        winner=None if explained.winner is None else _offer(explained.winner),
        lock=None if lock is None else FieldLock(lock.merge_id, lock.actor, lock.note, to_text(lock.received_at)),
        others=[_offer(offer) for offer in explained.others],
        more=explained.more,
    )


def _offer(offer: Offer) -> OfferView:
    return OfferView(
        value=offer.value,
        raw=offer.raw,
        merge_id=offer.merge_id,
        event=offer.event,
        source=offer.source,
        channel_id=offer.channel_id,
        visitor_id=offer.visitor_id,
        occurred_at=to_text(offer.occurred_at),
        received_at=to_text(offer.received_at),
        outcome=offer.outcome,
        reason=offer.reason,
        hint=offer.hint,
        by=offer.by,
    )


def _stretch(explained: StretchExplained) -> StretchExplanation:
    stretch = explained.stretch
    return StretchExplanation(
        since=None if stretch.since is None else to_text(stretch.since),
        until=None if stretch.until is None else to_text(stretch.until),
        customer_id=stretch.customer_id,
        contested=stretch.contested,
        reason=explained.reason,
        hint=STRETCH_REASONS[explained.reason],
        identification_id=explained.begun_by,
        settled_by=explained.settled_by,
        between=list(explained.between),
        taken_back=list(explained.taken_back),
    )


def _fact(explained: FactExplained) -> FactExplanation:
    return FactExplanation(
        identification=identification_view(explained.fact),
        outcome=explained.outcome,
        hint=FACT_OUTCOMES[explained.outcome],
        by=explained.by,
    )


def _changed_by(row: Merge, field: str) -> ChangedBy:
    decision = next(decision for decision in reversed(row.decisions) if decision.field == field)
    return ChangedBy(
        merge_id=row.merge_id,
        event=row.event,
        source=row.source,
        act=row.act,
        actor=row.actor,
        channel_id=row.channel_id,
        visitor_id=row.visitor_id,
        occurred_at=to_text(row.occurred_at),
        received_at=to_text(row.received_at),
        old=decision.old,
        new=decision.value,
    )


def _values(held: Held | None) -> dict[str, JsonValue]:
    return {} if held is None else held.profile.values()


def _links(before: Held | None, after: Held | None) -> list[LinkDiff]:
    was, is_now = _visitors(before), _visitors(after)
    found = [LinkDiff(name, was.get(name), is_now.get(name)) for name in sorted(was.keys() | is_now.keys())]
    return [link for link in found if link.before != link.after]


def _visitors(held: Held | None) -> dict[str, VisitorView]:
    visitors = [] if held is None else held.visitors
    return {v.visitor_id: VisitorView(v.visitor_id, to_text(v.linked_at), v.is_current) for v in visitors}
