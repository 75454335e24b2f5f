"""Pure: a batch of events and what is held become links, merges and refusals.

The only place where an event is decided. Live traffic, preview and import call ``decide``; ``follow`` folds the
facts of a visitor for all of them and for the replay.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from enum import StrEnum
from itertools import takewhile

import msgspec

from identity import belonging
from identity.belonging import ChangePoint, Stretch
from identity.events.behaviour import Behaviour
from identity.events.identity import (
    Alias,
    Assertion,
    CrmPatch,
    Event,
    Identify,
    OnSignOut,
    ProfileChange,
    Sender,
    SignedIdentity,
    SignIn,
    SignOut,
    SignUp,
    TraitsChange,
    UnsignedWrites,
    Unusable,
)
from identity.refusals import Refusal
from identity.visitors import read_known_customer_id
from profiles import fields as field_table
from profiles import merge as merging
from profiles.fields import Dialect
from profiles.ledger import taken_back
from profiles.patches import PatchFailed, apply_patch
from profiles.placement import bucket_of
from profiles.profile import HeldField, Link, Merge, Policy, Profile
from profiles.remarks import Decision, Reading

Key = tuple[int, str]
"""Workspace and id: nothing is ever looked up without its workspace."""

NO_CHANNEL = "00000000-0000-0000-0000-000000000000"
"""Stands for the channel in keys where there is none."""
ANONYMOUS_SOURCE = "anonymous"
ANONYMOUS_EVENT = "userProfileChanged"
UNSIGNED_MARK = "?"
"""Ends the digest of a push that could only fill gaps, for want of a signature."""


class FactKind(StrEnum):
    """What a row of a visitor's log says."""

    IDENTIFIED = "identified"
    SIGNED_OUT = "signed_out"
    ANONYMOUS = "anonymous"
    UNDONE = "undone"
    ERASED = "erased"


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """One row of a visitor's log: an identification, a sign-out, or values given while nobody was signed in.

    A fact that is not ``applied`` is recorded for the admin and changes nothing. One of kind UNDONE takes back those
    whose ids ``undoes`` has; ``actor`` did it, and ``note`` says why. What an ERASED one said of a customer is gone; if
    it is applied, the visitor is nobody's from then on, whom nobody else inherits anything of.
    """

    fact_id: str
    visitor_id: str
    version: int
    kind: FactKind
    applied: bool
    source: str
    event: str
    occurred_at: int
    received_at: int
    customer_id: str | None = None
    channel_id: str | None = None
    event_id: str | None = None
    decisions: tuple[Decision, ...] = ()
    undoes: tuple[str, ...] = ()
    actor: str | None = None
    note: str | None = None
    operation_id: str | None = None


class Visitor(msgspec.Struct, frozen=True, kw_only=True):
    """Whose a visitor is now: the fold of its facts.

    ``since`` is when the identification or sign-out in force happened; ``last_customer_id`` is the customer in
    force now or, after a sign-out, the one before it, identified at ``last_since``; ``anonymous`` holds values given
    while nobody was signed in.
    """

    visitor_id: str
    version: int = 0
    customer_id: str | None = None
    since: int | None = None
    last_customer_id: str | None = None
    last_since: int | None = None
    anonymous: dict[str, HeldField] = {}


class Pair(msgspec.Struct, frozen=True):
    """A customer and a visitor that were linked, for the reverse look-up."""

    customer_id: str
    visitor_id: str
    linked_at: int
    is_current: bool


class Record(msgspec.Struct, frozen=True):
    """A behaviour event that is stored."""

    record_id: str
    event: Behaviour

    @property
    def is_direct(self) -> bool:
        """Whether the event names a customer and no visitor."""
        return self.event.visitor_id is None

    @property
    def subject(self) -> str:
        """The visitor or, of a direct event, the customer."""
        return self.event.visitor_id if self.event.visitor_id is not None else str(self.event.customer)


class Held(msgspec.Struct, frozen=True):
    """What is held of everything a batch touches. Absent keys are held by nobody.

    ``histories`` has all facts of those visitors to whom a late event speaks (see ``missing``). ``erased`` are
    customers of whom nothing is taken any more.
    """

    customers: Mapping[Key, Profile] = {}
    visitors: Mapping[Key, Visitor] = {}
    histories: Mapping[Key, Sequence[Fact]] = {}
    seen: frozenset[Key] = frozenset()
    purchases: frozenset[Key] = frozenset()
    erased: frozenset[Key] = frozenset()


class Missing(msgspec.Struct, frozen=True):
    """What must be loaded besides, now that the visitors are known."""

    customers: frozenset[Key]
    histories: frozenset[Key]


class Refused(msgspec.Struct, frozen=True):
    """An event that wrote nothing, and why."""

    refusal_id: str
    event: Event
    reason: Refusal


class Unmet(StrEnum):
    """Why a change that was made on a condition was not made."""

    ABSENT = "absent"
    PRESENT = "present"
    CHANGED = "changed"


class Outcome(msgspec.Struct, frozen=True):
    """What became of one event. ``unchanged``: it said nothing new. ``merges``: the ledger rows it caused.

    ``unmet`` and ``offered`` are of a CRM's change: the condition that kept it from being made, or its merge, even
    where that said nothing new and was not written.
    """

    refusal: Refusal | None = None
    unmet: Unmet | None = None
    offered: Merge | None = None
    unchanged: bool = False
    merges: tuple[Merge, ...] = ()
    facts: tuple[Fact, ...] = ()


class Changes(msgspec.Struct):
    """What a batch writes. ``outcomes`` has one entry per event, in order."""

    outcomes: list[Outcome] = []
    customers: dict[Key, Profile] = {}
    visitors: dict[Key, Visitor] = {}
    merges: list[tuple[int, Merge]] = []
    facts: list[tuple[int, Fact]] = []
    pairs: dict[tuple[int, str, str], Pair] = {}
    seen: dict[Key, int] = {}
    refused: list[Refused] = []
    records: list[Record] = []
    purchases: dict[Key, Record] = {}
    unpaired: set[tuple[int, str, str]] = set()
    """Pairs whose every identification was taken back, or whose time must be told anew."""

    @property
    def writes_nothing(self) -> bool:
        """Whether there is nothing to save."""
        return not (self.merges or self.facts or self.seen or self.refused or self.records)


def customers_named(events: Iterable[Event]) -> set[Key]:
    """Return the keys of the customers that must be known to decide the events, as far as these name them."""
    deciding = [event for event in events if not isinstance(event, Behaviour)]
    named = {(e.sender.workspace_id, str(e.customer)) for e in deciding if _names(e, e.customer)}
    return named | {(e.sender.workspace_id, str(e.visitor_id)) for e in deciding if isinstance(e, Alias)}


def customers_spoken_of(events: Iterable[Event]) -> set[Key]:
    """Return the keys of all customers whom the events name, whatever these do, and whatever is wrong with them."""
    named = {(e.sender.workspace_id, _spoken_of(e)) for e in events}
    named |= {(e.sender.workspace_id, e.visitor_id) for e in events if isinstance(e, Alias)}
    return {(workspace_id, customer_id) for workspace_id, customer_id in named if customer_id is not None}


def _spoken_of(event: Event) -> str | None:
    if event.customer is None or isinstance(event.customer, Refusal):
        return None if event.sent_customer is None else read_known_customer_id(event.sent_customer)
    return event.customer


def customers_left_out(changes: Changes) -> set[Key]:
    """Return the keys of the customers whom rows name that are written whether or not there is such a profile."""
    events = [record.event for record in changes.records] + [refused.event for refused in changes.refused]
    unapplied = {(workspace_id, fact.customer_id) for workspace_id, fact in changes.facts if not fact.applied}
    return customers_spoken_of(events) | {(at, named) for at, named in unapplied if named is not None}


def visitors_named(events: Iterable[Event]) -> set[Key]:
    """Return the keys of the visitors that must be known to decide the events."""
    return {
        (e.sender.workspace_id, e.visitor_id)
        for e in events
        if e.visitor_id is not None and not isinstance(e, Behaviour)
    }


def _names(event: Event, customer_id: str | Refusal | None) -> bool:
    return event.customer == customer_id and customer_id is not None and not isinstance(customer_id, Refusal)


def seen_key(event: Event) -> Key | None:
    """Return what a retry of the event is known by: its id, as its own channel gives ids; None if it has none."""
    if event.event_id is None:
        return None
    return event.sender.workspace_id, f"{event.sender.channel_id or event.sender.source}:{event.event_id}"


def purchase_key(event: Event) -> Key | None:
    """Return what a transaction is known by: its id, as its own website gives ids; None if the event tells none."""
    if not isinstance(event, Behaviour) or event.transaction_id is None:
        return None
    return event.sender.workspace_id, f"{event.sender.channel_id or event.sender.source}:{event.transaction_id}"


def missing(events: Sequence[Event], held: Held) -> Missing:
    """Return what ``decide`` needs besides: customers who a visitor is or was, as far as that is asked, those whom
    others are joined into, and histories for late events. What is loaded thereupon may want more."""
    customers = {
        (workspace_id, profile.joined_into)
        for (workspace_id, _), profile in held.customers.items()
        if profile.joined_into is not None
    }
    histories: set[Key] = set()
    latest: dict[Key, int] = {}
    for event in events:
        if event.visitor_id is None or isinstance(event, Behaviour):
            continue
        key = (event.sender.workspace_id, event.visitor_id)
        visitor = held.visitors.get(key)
        known = {visitor.customer_id, visitor.last_customer_id} if visitor else set()
        since = latest.get(key, visitor.since if visitor else None)
        if since is not None and event.occurred_at < since:
            if key not in held.histories:
                histories.add(key)
            known.add(state_at(held.histories.get(key, ()), event.occurred_at))
        customers.update((key[0], customer_id) for customer_id in known if customer_id is not None)
        latest[key] = event.occurred_at if since is None else max(since, event.occurred_at)
    return Missing(frozenset(customers - held.customers.keys()), frozenset(histories))


def read_fields(event: Event) -> tuple[Reading, ...]:
    """Return the readings of everything the event wants merged, remarks on its envelope first.

    A patch is read as that of a profile of which nothing is held.
    """
    match event:
        case Identify() if event.readings is not None:
            return (*event.notes, *event.readings)
        case Identify():
            is_traits = event.dialect is Dialect.TRAITS
            read = field_table.read_traits if is_traits else field_table.read_identify
            return (*event.notes, *read(event.params))
        case TraitsChange():
            return (*event.notes, *field_table.read_traits(event.traits))
        case SignUp():
            return (*event.notes, *field_table.read_profile(event.profile))
        case Assertion():
            return (*event.notes, *event.readings)
        case ProfileChange(patch=tuple() as operations):
            readings = apply_patch({}, operations)
            return event.notes if isinstance(readings, PatchFailed) else (*event.notes, *readings)
    return event.notes


_BEFORE_ERASED = frozenset(takewhile(lambda refusal: refusal is not Refusal.ERASED_CUSTOMER, Refusal))


def find_refusal_of(event: Event, erased: Collection[Key]) -> Refusal | None:
    """Return why the event writes nothing: as ``find_refusal``, or since it names someone who was erased."""
    reason = find_refusal(event)
    if reason in _BEFORE_ERASED or not names_any(event, erased):
        return reason
    return Refusal.ERASED_CUSTOMER


def names_any(event: Event, customers: Collection[Key]) -> bool:
    """Return whether the event names one of these customers."""
    return bool(customers) and not customers_spoken_of([event]).isdisjoint(customers)


def without_person(event: Event) -> Event:
    """Return the event as it may be listed among the refused when it names someone who was erased."""
    return msgspec.structs.replace(event, visitor_id=None, customer=None, sent_customer=None, event_id=None, fields=())


def find_refusal(event: Event) -> Refusal | None:
    """Return why the event writes nothing, as far as its channel and its own words tell; the first that holds."""
    if not event.sender.website_tracking:
        return Refusal.TRACKING_DISABLED
    if isinstance(event, Unusable):
        return event.refusal
    if isinstance(event, Behaviour):
        return _find_refusal_of_behaviour(event)
    if isinstance(event.customer, Refusal):
        return event.customer
    if event.customer is None and isinstance(event, Identify | SignUp | SignIn | Assertion):
        return Refusal.MISSING_CUSTOMER_ID
    if _is_disproved(event):
        return Refusal.UNVERIFIED_IDENTITY
    if event.visitor_id is None and isinstance(event, SignOut | ProfileChange | TraitsChange | Alias):
        return Refusal.MISSING_VISITOR_ID
    if isinstance(event, ProfileChange) and isinstance(event.patch, Refusal):
        return event.patch
    return None


def _find_refusal_of_behaviour(event: Behaviour) -> Refusal | None:
    if event.faults:
        return Refusal.INVALID_EVENT
    if event.visitor_id is not None:
        return None
    if isinstance(event.customer, Refusal):
        return event.customer
    if _is_disproved(event):
        return Refusal.UNVERIFIED_IDENTITY
    return Refusal.MISSING_VISITOR_ID if event.customer is None else None


def is_unproven(event: Event) -> bool:
    """Return whether the event's word alone says that this is somebody's: no signed token vouches for it.

    What acts on whoever the visitor is (a sign-out, a patch, what a visitor does) says so of nobody.
    """
    is_word = isinstance(event, Identify | SignUp | SignIn) or (
        isinstance(event, Behaviour) and event.visitor_id is None
    )
    return is_word and isinstance(event.customer, str) and event.verified_customer != event.customer


def _is_disproved(event: Event) -> bool:
    # A token that vouches for someone else is worse than none.
    is_required = event.sender.signed_identity is SignedIdentity.REQUIRED or event.verified_customer is not None
    return is_required and is_unproven(event)


def policy_of(event: Event, customer_id: str) -> Policy:
    """Return what the values of an event may do to those that are held of a customer."""
    if isinstance(event, SignUp):
        return Policy.CREATE_ONLY
    # A patch need not name whose it is.
    is_signed = event.verified_customer is not None and event.verified_customer in (event.customer, customer_id)
    return Policy.OVERWRITE if is_signed else unsigned_policy(event.sender)


def unsigned_policy(sender: Sender) -> Policy:
    """Return what values may do that nobody vouches for."""
    return Policy.UNSIGNED if sender.unsigned_writes is UnsignedWrites.FILL_EMPTY else Policy.OVERWRITE


def digest_under(policy: Policy, digest: str) -> str:
    """Return what a push is known by once it was applied: what an unsigned one could not do, a signed one still may."""
    return digest + UNSIGNED_MARK if policy is Policy.UNSIGNED else digest


def digest_of(event: Identify) -> str:
    """Return what this push is known by once it was applied."""
    return digest_under(policy_of(event, str(event.customer)), event.digest)


def is_unchanged(event: Identify, profile_digest: str | None, visitor_customer_id: str | None) -> bool:
    """Return whether the push equals the last one applied, by a visitor who is linked already."""
    is_known = profile_digest in (event.digest, digest_of(event))
    return is_known and (event.visitor_id is None or visitor_customer_id == event.customer)


def _linked(fact: Fact | None) -> Link | None:
    return None if fact is None else Link.LINKED


def undone_facts(facts: Iterable[Fact]) -> dict[str, str]:
    """Return the ids of the facts that are taken back, each with that of the fact that does it; facts in order."""
    return taken_back([(fact.fact_id, fact.undoes) for fact in facts if fact.kind is FactKind.UNDONE])


def counting_facts(facts: Sequence[Fact]) -> list[Fact]:
    """Return the facts that are not taken back, without those that take back."""
    undone = undone_facts(facts)
    return [fact for fact in facts if fact.kind is not FactKind.UNDONE and fact.fact_id not in undone]


def stretches_of(facts: Sequence[Fact]) -> list[Stretch]:
    """Return whose the time of a visitor is of whom this was said."""
    return belonging.stretches(
        ChangePoint(fact.occurred_at, fact.version, fact.customer_id, fact.kind is FactKind.ERASED)
        for fact in counting_facts(facts)
        if fact.applied and fact.kind is not FactKind.ANONYMOUS
    )


def linked_since(facts: Sequence[Fact]) -> dict[str, int]:
    """Return the customers whom a visitor was said to be, each with when that happened last."""
    found: dict[str, int] = {}
    for fact in counting_facts(facts):
        if fact.applied and fact.customer_id is not None:
            found[fact.customer_id] = max(fact.occurred_at, found.get(fact.customer_id, fact.occurred_at))
    return found


def customers_moved(before: Visitor, fact: Fact, after: Visitor, history: Sequence[Fact]) -> list[str]:
    """Return the customers in whose ledger a fact must be told: whom the visitor left, and whom it was said to be or,
    if the fact takes others back, those whom these named."""
    if not fact.applied or fact.kind is FactKind.ANONYMOUS:
        return []
    if fact.kind is FactKind.UNDONE:
        changed = undone_facts(history).keys() ^ undone_facts([*history, fact]).keys()
        named = {f.customer_id for f in history if f.fact_id in changed and f.applied and f.kind is not FactKind.UNDONE}
        named |= {before.customer_id, after.customer_id} if before.customer_id != after.customer_id else set()
        return sorted(customer_id for customer_id in named if customer_id is not None)
    left = before.customer_id if before.customer_id != after.customer_id else None
    return [customer_id for customer_id in (left, fact.customer_id) if customer_id is not None]


def state_at(facts: Sequence[Fact], moment: int) -> str | None:
    """Return whose the visitor was at ``moment``: by the last applied identification or sign-out at or before it."""
    in_force = max(
        (
            f
            for f in counting_facts(facts)
            if f.applied and f.kind is not FactKind.ANONYMOUS and f.occurred_at <= moment
        ),
        key=lambda f: (f.occurred_at, f.version),
        default=None,
    )
    return in_force.customer_id if in_force else None


def follow(visitor: Visitor, fact: Fact, history: Sequence[Fact] = ()) -> Visitor:
    """Return the visitor after one more fact, in order of arrival.

    An identification that is older than the one in force slots in before it and leaves the present as it is. A fact
    that takes others back leaves what the rest amounts to: it needs the ``history`` of all facts before it.
    """
    if fact.kind is FactKind.UNDONE:
        left = Visitor(visitor_id=visitor.visitor_id)
        for earlier in counting_facts([*history, fact]):
            left = follow(left, earlier)
        return msgspec.structs.replace(left, version=fact.version)
    if not fact.applied:
        return msgspec.structs.replace(visitor, version=fact.version)
    if fact.kind is FactKind.ANONYMOUS:
        _, anonymous = merging.decide(
            visitor.anonymous,
            merging.readings_of(fact.decisions),
            policy=Policy.OVERWRITE,
            exists=True,
            occurred_at=fact.occurred_at,
            version=fact.version,
        )
        return msgspec.structs.replace(visitor, version=fact.version, anonymous=anonymous)
    is_somebody = fact.customer_id is not None or fact.kind is FactKind.ERASED
    is_last = is_somebody and (visitor.last_since is None or fact.occurred_at >= visitor.last_since)
    visitor = msgspec.structs.replace(
        visitor,
        version=fact.version,
        last_customer_id=fact.customer_id if is_last else visitor.last_customer_id,
        last_since=fact.occurred_at if is_last else visitor.last_since,
    )
    if visitor.since is not None and fact.occurred_at < visitor.since:
        return visitor
    return msgspec.structs.replace(
        visitor,
        customer_id=fact.customer_id,
        since=fact.occurred_at,
        anonymous={} if is_somebody else visitor.anonymous,
    )


def decide(events: Sequence[Event], held: Held, new_id: Callable[[int, int], str]) -> Changes:
    """Return what the events, in order of arrival, change.

    ``new_id(bucket, milliseconds)`` gives ids for ledger rows and facts.
    """
    return _Batch(held, new_id).run(events)


class _Batch:
    """The working state of one ``decide``: what is held, overlaid with what the batch has changed so far."""

    def __init__(self, held: Held, new_id: Callable[[int, int], str]) -> None:
        self.held = held
        self.new_id = new_id
        self.histories: dict[Key, list[Fact]] = {key: list(facts) for key, facts in held.histories.items()}
        self.changes = Changes()
        self.merges: list[Merge] = []
        self.facts: list[Fact] = []
        self.offered: Merge | None = None
        self.has_recorded = False

    def run(self, events: Sequence[Event]) -> Changes:
        for event in events:
            self.merges, self.facts, self.offered, self.has_recorded = [], [], None, False
            self.changes.outcomes.append(self.outcome_of(event))
        return self.changes

    def outcome_of(self, event: Event) -> Outcome:
        reason = find_refusal_of(event, self.held.erased)
        seen = seen_key(event)
        if reason is None and seen and (seen in self.held.seen or seen in self.changes.seen):
            return Outcome(unchanged=True)
        unmet = self.unmet(event) if reason is None and isinstance(event, CrmPatch) else None
        if unmet is not None:
            return Outcome(unmet=unmet, unchanged=True)
        if reason is None:
            reason = self.act(event)
        if reason is not None:
            sender = event.sender
            bucket = bucket_of(sender.workspace_id, sender.spread, sender.channel_id or NO_CHANNEL)
            listed = without_person(event) if names_any(event, self.held.erased) else event
            self.changes.refused.append(Refused(self.new_id(bucket, event.received_at), listed, reason))
            return Outcome(refusal=reason)
        unchanged = not self.merges and not self.facts and not self.has_recorded
        # Also if it changed nothing: sent again after something else did, it would.
        if seen:
            self.changes.seen[seen] = event.received_at
        return Outcome(offered=self.offered, unchanged=unchanged, merges=tuple(self.merges), facts=tuple(self.facts))

    def act(self, event: Event) -> Refusal | None:
        match event:
            case Identify():
                self.identify(event)
            case CrmPatch():
                self.patch(event)
            case SignUp() | Assertion():
                self.merge(event, str(event.customer), read_fields(event))
            case Behaviour():
                self.record(event)
            case Alias():
                return self.alias(event)
            case SignIn():
                self.sign_in(event)
            case SignOut():
                self.sign_out(event)
            case ProfileChange() | TraitsChange():
                return self.change_profile(event)
        return None

    def identify(self, event: Identify) -> None:
        customer_id = str(event.customer)
        profile = self.customer(event, self.owner(event, customer_id))
        visitor = self.visitor(event) if event.visitor_id is not None else None
        if profile and is_unchanged(event, profile.digest, visitor.customer_id if visitor else None):
            return
        fact = self.identification(event, visitor, customer_id) if visitor else None
        readings = read_fields(event)
        self.merge(event, customer_id, readings, digest=digest_of(event), link=_linked(fact))
        if visitor and fact:
            self.link(event, visitor, fact)

    def unmet(self, event: CrmPatch) -> Unmet | None:
        """Return the condition that does not hold of what the batch has found and done so far."""
        held = self.customer(event, self.owner(event, str(event.customer)))
        is_there = held is not None and not held.is_gone
        if event.creates:
            return Unmet.PRESENT if is_there else None
        if held is None or not is_there:
            return Unmet.ABSENT
        return Unmet.CHANGED if event.versions is not None and held.version not in event.versions else None

    def patch(self, event: CrmPatch) -> None:
        held = self.customer(event, self.owner(event, str(event.customer)))
        readings = field_table.spelled_out(read_fields(event), held.fields if held else ())
        self.offered = self.merge(event, str(event.customer), readings)

    def sign_in(self, event: SignIn) -> None:
        customer_id = str(event.customer)
        visitor = self.visitor(event) if event.visitor_id is not None else None
        if event.only_first and (visitor is None or visitor.since is not None):
            return
        fact = self.identification(event, visitor, customer_id) if visitor else None
        self.merge(event, customer_id, read_fields(event), link=_linked(fact))
        if visitor and fact:
            self.link(event, visitor, fact)

    def alias(self, event: Alias) -> Refusal | None:
        if event.visitor_id == event.customer:
            return None
        other = self.customer(event, str(event.visitor_id))
        if other is not None and not other.is_gone:
            return Refusal.ALIAS_OF_CUSTOMER
        self.sign_in(event)
        return None

    def record(self, event: Behaviour) -> None:
        purchase = purchase_key(event)
        if purchase and (purchase in self.held.purchases or purchase in self.changes.purchases):
            return
        sender = event.sender
        subject = event.visitor_id if event.visitor_id is not None else str(event.customer)
        bucket = bucket_of(sender.workspace_id, sender.spread, subject)
        record = Record(self.new_id(bucket, event.received_at), event)
        self.changes.records.append(record)
        self.has_recorded = True
        if purchase:
            self.changes.purchases[purchase] = record

    def sign_out(self, event: SignOut) -> None:
        visitor = self.visitor(event)
        belongs_to = self.belongs_to(event, visitor)
        # Of a visitor who is unknown, it is kept for the sign-in before it that may still be on its way.
        is_repeated = belongs_to is None and event.customer is None and visitor.since is not None
        if event.sender.on_sign_out is OnSignOut.KEEP or is_repeated:
            return
        applied = event.customer is None or self.is_same(event, str(event.customer), belongs_to)
        fact = self.new_fact(
            event, visitor, FactKind.SIGNED_OUT, None if applied else str(event.customer), applied=applied
        )
        if applied:
            self.link(event, visitor, fact)
        else:
            self.keep(event, fact)

    def change_profile(self, event: ProfileChange | TraitsChange) -> Refusal | None:
        visitor = self.visitor(event)
        # A late patch was meant for whose the visitor was then; nobody else's profile may get it.
        is_theirs = event.customer is None or self.is_same(event, str(event.customer), visitor.customer_id)
        if not is_theirs or not self.is_same(event, self.belongs_to(event, visitor), visitor.customer_id):
            return Refusal.NOT_CURRENT_CUSTOMER
        if isinstance(event, TraitsChange):
            readings = read_fields(event)
        else:
            whose = visitor.customer_id
            customer = None if whose is None else self.customer(event, self.owner(event, whose))
            assert not isinstance(event.patch, Refusal)
            patched = apply_patch(customer.fields if customer else visitor.anonymous, event.patch)
            if isinstance(patched, PatchFailed):
                return Refusal.FAILED_PATCH
            readings = (*event.notes, *patched)
        if visitor.customer_id is not None:
            self.merge(event, visitor.customer_id, readings)
            return None
        decisions, _ = merging.decide(
            visitor.anonymous,
            readings,
            policy=Policy.OVERWRITE,
            exists=True,
            occurred_at=event.occurred_at,
            version=visitor.version + 1,
        )
        if any(d.verdict not in merging.NO_TRACE for d in decisions):
            self.keep(event, self.new_fact(event, visitor, FactKind.ANONYMOUS, None, decisions=decisions))
        return None

    def identification(self, event: Event, visitor: Visitor, customer_id: str) -> Fact | None:
        """Return the fact that the visitor is this customer, or None where that is so already."""
        if self.belongs_to(event, visitor) == customer_id:
            return None
        return self.new_fact(event, visitor, FactKind.IDENTIFIED, customer_id)

    def belongs_to(self, event: Event, visitor: Visitor) -> str | None:
        if visitor.since is None or event.occurred_at >= visitor.since:
            return visitor.customer_id
        return state_at(self.histories[event.sender.workspace_id, visitor.visitor_id], event.occurred_at)

    def link(self, event: Event, before: Visitor, fact: Fact) -> None:
        """Keep an applied identification or sign-out, and let every customer whose links it moves know."""
        after = self.keep(event, fact)
        workspace_id = event.sender.workspace_id
        left = before.customer_id
        if left is not None and after.customer_id != left:
            self.pair(workspace_id, Pair(left, before.visitor_id, before.since or fact.occurred_at, is_current=False))
            self.merge(event, left, (), link=Link.UNLINKED)
        if fact.customer_id is None:
            return
        is_current = after.customer_id == fact.customer_id
        self.pair(workspace_id, Pair(fact.customer_id, before.visitor_id, fact.occurred_at, is_current=is_current))
        is_back = before.last_customer_id is None or self.is_same(event, before.last_customer_id, fact.customer_id)
        if is_current and before.anonymous and is_back:
            self.adopt(event, fact.customer_id, before.anonymous)

    def adopt(self, event: Event, customer_id: str, anonymous: Mapping[str, HeldField]) -> None:
        """Let the values that the visitor gave before sign-in fill gaps of the customer they turned out to be."""
        given = sorted(anonymous.items())
        readings = tuple(merging.value_reading(name, field.value) for name, field in given if field.value is not None)
        owner = self.owner(event, customer_id)
        incoming = self.new_merge(event, owner, Policy.FILL_EMPTY, source=ANONYMOUS_SOURCE, name=ANONYMOUS_EVENT)
        if owner != customer_id:
            incoming = msgspec.structs.replace(incoming, other_id=customer_id)
        applied = merging.apply(self.customer(event, owner), incoming, readings)
        if applied.leaves_trace:
            self.keep_merge(event, applied)

    def merge(
        self,
        event: Event,
        customer_id: str,
        readings: Sequence[Reading],
        *,
        digest: str | None = None,
        link: Link | None = None,
    ) -> Merge:
        """Merge into one customer, and return the merge, which is kept only if it leaves a trace.

        ``link``: its links change too, which takes a version even if no field does.
        """
        held = self.customer(event, customer_id)
        if held is None and not _names(event, customer_id):
            raise LookupError("a customer whom the event does not name was not loaded")
        owner = self.owner(event, customer_id)
        if owner != customer_id and link is not None:
            # Links stay with the id that was named, so that each keeps its own when the two are taken apart.
            link_row = self.new_merge(event, customer_id, Policy.OVERWRITE, link=link, is_link=True)
            self.keep_merge(event, merging.apply(held, link_row, ()))
        if owner != customer_id:
            held, link = self.customer(event, owner), None
        is_made = held is None or (held.is_gone and link is not Link.UNLINKED)
        is_link = link is not None and not is_made and not readings
        policy = policy_of(event, customer_id)
        incoming = self.new_merge(event, owner, policy, digest=digest, link=link, is_link=is_link)
        if owner != customer_id:
            incoming = msgspec.structs.replace(incoming, other_id=customer_id)
        applied = merging.apply(held, incoming, readings)
        if link is not None or applied.leaves_trace:
            self.keep_merge(event, applied)
        return applied.merge

    def new_merge(
        self,
        event: Event,
        customer_id: str,
        policy: Policy,
        *,
        digest: str | None = None,
        source: str | None = None,
        name: str | None = None,
        link: Link | None = None,
        is_link: bool = False,
    ) -> Merge:
        sender = event.sender
        bucket = bucket_of(sender.workspace_id, sender.spread, customer_id)
        return Merge(
            merge_id=self.new_id(bucket, event.received_at),
            customer_id=customer_id,
            version=0,
            source=source or sender.source,
            event=name or event.name,
            event_id=event.event_id,
            visitor_id=event.visitor_id,
            channel_id=sender.channel_id,
            occurred_at=event.occurred_at,
            received_at=event.received_at,
            policy=policy,
            digest=digest,
            link=link,
            is_link=is_link,
            actor=sender.actor,
            note=sender.note,
            operation_id=sender.operation_id,
        )

    def new_fact(
        self,
        event: Event,
        visitor: Visitor,
        kind: FactKind,
        customer_id: str | None,
        *,
        applied: bool = True,
        decisions: tuple[Decision, ...] = (),
    ) -> Fact:
        sender = event.sender
        bucket = bucket_of(sender.workspace_id, sender.spread, visitor.visitor_id)
        return Fact(
            fact_id=self.new_id(bucket, event.received_at),
            visitor_id=visitor.visitor_id,
            version=visitor.version + 1,
            kind=kind,
            applied=applied,
            customer_id=customer_id,
            channel_id=sender.channel_id,
            source=sender.source,
            event=event.name,
            event_id=event.event_id,
            occurred_at=event.occurred_at,
            received_at=event.received_at,
            decisions=decisions,
        )

    def keep(self, event: Event, fact: Fact) -> Visitor:
        workspace_id = event.sender.workspace_id
        key = (workspace_id, fact.visitor_id)
        visitor = follow(self.visitor(event), fact)
        self.changes.visitors[key] = visitor
        self.changes.facts.append((workspace_id, fact))
        self.facts.append(fact)
        if fact.version == 1 or key in self.histories:
            self.histories.setdefault(key, []).append(fact)
        return visitor

    def keep_merge(self, event: Event, applied: merging.Applied) -> None:
        workspace_id = event.sender.workspace_id
        self.changes.customers[workspace_id, applied.profile.customer_id] = applied.profile
        self.changes.merges.append((workspace_id, applied.merge))
        self.merges.append(applied.merge)

    def pair(self, workspace_id: int, pair: Pair) -> None:
        key = (workspace_id, pair.customer_id, pair.visitor_id)
        former = self.changes.pairs.get(key)
        if former and former.linked_at > pair.linked_at:
            pair = msgspec.structs.replace(pair, linked_at=former.linked_at)
        self.changes.pairs[key] = pair

    def customer(self, event: Event, customer_id: str) -> Profile | None:
        key = (event.sender.workspace_id, customer_id)
        return self.changes.customers.get(key) or self.held.customers.get(key)

    def owner(self, event: Event, customer_id: str) -> str:
        """Return the customer whose ledger takes what is said of this one: its own id, unless it is joined."""
        held = self.customer(event, customer_id)
        return customer_id if held is None or held.joined_into is None else held.joined_into

    def is_same(self, event: Event, one: str | None, other: str | None) -> bool:
        """Return whether two ids are one customer, or both nobody."""
        return one == other or (
            one is not None and other is not None and self.owner(event, one) == self.owner(event, other)
        )

    def visitor(self, event: Event) -> Visitor:
        key = (event.sender.workspace_id, str(event.visitor_id))
        found = self.changes.visitors.get(key) or self.held.visitors.get(key) or Visitor(visitor_id=key[1])
        if (key[0], found.customer_id) in self.held.erased:
            # The erasure is still under way: what was said of the visitor has not been cleared yet.
            return msgspec.structs.replace(found, customer_id=None, last_customer_id=None)
        return found
