"""Pure: new overwrites old, nothing overwrites with nothing. The only place where a merge is decided.

Live traffic, preview, replay and everything else that needs to know what a merge does calls ``apply``.
"""

from collections.abc import Collection, Iterable
from typing import Any

import msgspec

from profiles.fields import CUSTOM
from profiles.profile import CHANNEL_SOURCES, HeldField, Merge, Policy, Profile
from profiles.remarks import Decision, JsonValue, Kind, Reading, Reason, Verdict

CUSTOM_FIELDS_MAX = 100
"""Custom fields held of one customer, removed ones included; further names are skipped."""

NO_TRACE = frozenset({Verdict.UNCHANGED, Verdict.IGNORED_EMPTY})
"""Verdicts of which a merge that has no other writes nothing."""

_FILLING = {Policy.FILL_EMPTY: Reason.ANONYMOUS_VALUE, Policy.UNSIGNED: Reason.UNSIGNED_VALUE}
"""Policies that fill gaps alone, and why what is held stays."""

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
    locked: Collection[str] = (),
) -> tuple[tuple[Decision, ...], dict[str, HeldField]]:
    """Return one decision per reading, in order, and the fields afterwards; ``held`` itself is not touched.

    ``exists`` tells whether the profile was there before; ``version`` is the one that this merge takes; ``locked`` are
    the fields that are closed to it.
    """
    fields = dict(held)
    decisions: list[Decision] = []
    for reading in readings:
        decision = _decide_one(fields, reading, policy, occurred_at, locked, exists=exists)
        decisions.append(decision)
        if decision.verdict in (Verdict.SET, Verdict.OVERWROTE, Verdict.UNSET):
            fields[decision.field] = HeldField(decision.value, occurred_at, version)
    return tuple(decisions), fields


def _decide_one(
    fields: dict[str, HeldField],
    reading: Reading,
    policy: Policy,
    occurred_at: int,
    locked: Collection[str],
    *,
    exists: bool,
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
        return Decision(field, Verdict.UNCHANGED, reason, old, value, None, old_version)
    if field in locked:
        return Decision(field, Verdict.KEPT_EXISTING, Reason.LOCKED, old, value, None, old_version)
    if policy is Policy.CREATE_ONLY and exists:
        return Decision(field, Verdict.KEPT_EXISTING, Reason.PROFILE_EXISTS, old, value, None, old_version)
    if policy in _FILLING and old is not None:
        return Decision(field, Verdict.KEPT_EXISTING, _FILLING[policy], old, value, None, old_version)
    if policy in _FILLING and reading.kind is Kind.REMOVAL:
        return Decision(field, Verdict.UNCHANGED)  # nor may it keep out what comes late: that fills no gap
    if held is not None and occurred_at < held.set_at:
        return Decision(field, Verdict.SKIPPED_OLDER, reason, old, value, None, old_version)
    if held is None and field.startswith(CUSTOM) and _custom_count(fields) >= CUSTOM_FIELDS_MAX:
        if reading.kind is Kind.REMOVAL:
            return Decision(field, Verdict.UNCHANGED)
        return Decision(field, Verdict.SKIPPED_INVALID, Reason.TOO_MANY, None, value)
    if reading.kind is Kind.REMOVAL:
        # Even where nothing is held: the removal must keep out an older value that arrives late.
        return Decision(field, Verdict.UNSET, reason, old, None, None, old_version)
    verdict = Verdict.SET if old is None else Verdict.OVERWROTE
    return Decision(field, verdict, reason, old, value, None, old_version)


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
    a newer one would win if it were sent again now, so the next push must be looked at. What may only fill gaps loses
    again to what is held, until another write takes the digest away.
    """
    version = held.version + 1 if held else 1
    exists = held is not None and not held.is_gone
    decisions, fields = decide(
        held.fields if held else {},
        readings,
        policy=incoming.policy,
        exists=exists,
        occurred_at=incoming.occurred_at,
        version=version,
        locked=held.locks if held and incoming.source in CHANNEL_SOURCES else (),
    )
    digest = incoming.digest
    lost = _LOST - {Verdict.KEPT_EXISTING} if incoming.policy in _FILLING else _LOST
    if incoming.is_link:
        digest = held.digest if held else None
    elif any(d.verdict in lost and d.reason is not Reason.LOCKED for d in decisions):  # to unlock drops it as well
        digest = None
    if held is None:
        received_at = incoming.received_at
        profile = Profile(incoming.customer_id, version, received_at, received_at, fields, digest)
    else:
        profile = advanced(held, incoming, fields=fields, digest=digest, is_gone=held.is_gone and incoming.is_link)
    created = not exists and not incoming.is_link
    merge = msgspec.structs.replace(
        incoming, version=version, decisions=decisions, created_customer=created, digest=digest
    )
    return Applied(profile, merge)


def advanced(held: Profile, row: Merge, **changes: Any) -> Profile:
    """Return the profile with these changes, at the version of the next ledger row."""
    updated_at = max(held.updated_at, row.received_at)
    return msgspec.structs.replace(held, version=held.version + 1, updated_at=updated_at, **changes)


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
