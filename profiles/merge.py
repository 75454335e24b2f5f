"""Pure: new overwrites old, nothing overwrites with nothing. The only place where a merge is decided.

Live traffic, preview, replay and everything else that needs to know what a merge does calls ``apply``.
"""

from collections.abc import Iterable, Sequence

import msgspec

from profiles.fields import CUSTOM
from profiles.profile import HeldField, Merge, Policy, Profile
from profiles.remarks import Decision, JsonValue, Kind, Reading, Reason, Verdict

CUSTOM_FIELDS_MAX = 100
"""Custom fields held of one customer, removed ones included; further names are skipped."""

NO_TRACE = frozenset({Verdict.UNCHANGED, Verdict.IGNORED_EMPTY})
"""Verdicts of which a merge that has no other writes nothing."""

_LOST = frozenset({Verdict.SKIPPED_OLDER, Verdict.KEPT_EXISTING})


class Applied(msgspec.Struct, frozen=True):
    """The profile after a merge, and the ledger row that tells it."""

    profile: Profile
    merge: Merge

    @property
    def leaves_trace(self) -> bool:
        """Whether there is anything to write: the profile is new, or some field did more than repeat itself."""
        return self.merge.created_customer or any(d.verdict not in NO_TRACE for d in self.merge.decisions)


def decide(
    held: dict[str, HeldField],
    readings: Iterable[Reading],
    *,
    policy: Policy,
    exists: bool,
    occurred_at: int,
    version: int,
) -> tuple[tuple[Decision, ...], dict[str, HeldField]]:
    """Return one decision per reading, in order, and the fields afterwards; ``held`` itself is not touched.

    ``exists`` tells whether the profile was there before; ``version`` is the one that this merge takes.
    """
    fields = dict(held)
    decisions: list[Decision] = []
    for reading in readings:
        decision = _decide_one(fields, reading, policy, occurred_at, exists=exists)
        decisions.append(decision)
        if decision.verdict in (Verdict.SET, Verdict.OVERWROTE, Verdict.UNSET):
            fields[decision.field] = HeldField(decision.value, occurred_at, version)
    return tuple(decisions), fields


def _decide_one(
    fields: dict[str, HeldField], reading: Reading, policy: Policy, occurred_at: int, *, exists: bool
) -> Decision:
    field, value, reason = reading.field, reading.value, reading.reason
    held = fields.get(field)
    old = held.value if held else None
    old_version = held.version if held else None
    if reading.kind is Kind.EMPTY:
        return Decision(field, Verdict.IGNORED_EMPTY, reason, old)
    if reading.kind is Kind.FAULT:
        return Decision(field, Verdict.SKIPPED_INVALID, reason, old, None, reading.raw)
    if held is not None and same_value(old, value):
        return Decision(field, Verdict.UNCHANGED, reason, old, value)
    if policy is Policy.CREATE_ONLY and exists:
        return Decision(field, Verdict.KEPT_EXISTING, Reason.PROFILE_EXISTS, old, value)
    if policy is Policy.FILL_EMPTY and old is not None:
        return Decision(field, Verdict.KEPT_EXISTING, Reason.ANONYMOUS_VALUE, old, value)
    if held is not None and occurred_at < held.set_at:
        return Decision(field, Verdict.SKIPPED_OLDER, reason, old, value)
    if held is None and field.startswith(CUSTOM) and _custom_count(fields) >= CUSTOM_FIELDS_MAX:
        if reading.kind is Kind.REMOVAL:
            return Decision(field, Verdict.UNCHANGED)
        return Decision(field, Verdict.SKIPPED_INVALID, Reason.TOO_MANY, None, value)
    if reading.kind is Kind.REMOVAL:
        # Even where nothing is held: the removal must keep out an older value that arrives late.
        return Decision(field, Verdict.UNSET, reason, old, old_version=old_version)
    verdict = Verdict.SET if old is None else Verdict.OVERWROTE
    return Decision(field, verdict, reason, old, value, old_version=old_version)


def _custom_count(fields: dict[str, HeldField]) -> int:
    return sum(name.startswith(CUSTOM) for name in fields)


def same_value(held: JsonValue, offered: JsonValue) -> bool:
    """Return whether two JSON values are the same; unlike in Python, true is not 1. Lists compare in order."""
    if isinstance(held, list) and isinstance(offered, list):
        return len(held) == len(offered) and all(map(same_value, held, offered))
    if isinstance(held, dict) and isinstance(offered, dict):
        return held.keys() == offered.keys() and all(same_value(held[key], offered[key]) for key in held)
    return held == offered and isinstance(held, bool) == isinstance(offered, bool)


def apply(held: Profile | None, incoming: Merge, readings: Iterable[Reading]) -> Applied:
    """Return the profile after ``readings`` were merged, and ``incoming`` completed to the ledger row of it.

    ``incoming`` brings what is known beforehand: ids, times, policy and the digest of what was sent; its version and
    decisions are filled in here. The profile carries the digest on only if nothing in it lost: a value that lost to
    a newer one would win if it were sent again now, so the next push must be looked at.
    """
    version = held.version + 1 if held else 1
    decisions, fields = decide(
        held.fields if held else {},
        readings,
        policy=incoming.policy,
        exists=held is not None,
        occurred_at=incoming.occurred_at,
        version=version,
    )
    digest = incoming.digest
    if incoming.is_link:
        digest = held.digest if held else None
    elif any(d.verdict in _LOST for d in decisions):
        digest = None
    profile = Profile(
        customer_id=incoming.customer_id,
        version=version,
        created_at=held.created_at if held else incoming.received_at,
        updated_at=max(held.updated_at, incoming.received_at) if held else incoming.received_at,
        fields=fields,
        digest=digest,
    )
    merge = msgspec.structs.replace(
        incoming, version=version, decisions=decisions, created_customer=held is None, digest=digest
    )
    return Applied(profile, merge)


def value_reading(field: str, value: JsonValue) -> Reading:
    """Return the reading of a value that was read and held before."""
    return Reading(field, Kind.VALUE, value)


def readings_of(decisions: Iterable[Decision]) -> tuple[Reading, ...]:
    """Return what was read when these decisions were made, so that they can be made again."""
    return tuple(_reading_of(decision) for decision in decisions)


def _reading_of(decision: Decision) -> Reading:
    reason = None if decision.verdict is Verdict.KEPT_EXISTING else decision.reason
    if decision.value is not None:
        return Reading(decision.field, Kind.VALUE, decision.value, None if reason is Reason.TOO_MANY else reason)
    if decision.verdict is Verdict.IGNORED_EMPTY:
        return Reading(decision.field, Kind.EMPTY, reason=reason)
    if decision.verdict is Verdict.SKIPPED_INVALID:
        return Reading(decision.field, Kind.FAULT, reason=reason, raw=decision.raw)
    return Reading(decision.field, Kind.REMOVAL)


def replay(held: Profile | None, merge: Merge) -> Applied:
    """Return what the pure core makes of a ledger row today, given the profile before it."""
    return apply(held, merge, readings_of(merge.decisions))


def fold(merges: Sequence[Merge]) -> Profile | None:
    """Return the profile that the rows of one customer, in version order, amount to."""
    profile: Profile | None = None
    for merge in merges:
        profile = replay(profile, merge).profile
    return profile
