"""Pure: why each field of a customer holds what it holds, and what became of every other value that was seen.

Told by the ledger row by row, in one pass however many of its rows are taken back. No rule of merging stands here: what
is taken back is left out, and the rest is decided by ``profiles.merge`` once more.
"""

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum

import msgspec

from profiles import ledger
from profiles.merge import Applied, apply, readings_of
from profiles.profile import Act, Merge, Profile
from profiles.remarks import HINTS, Decision, JsonValue, Reason, Verdict

OTHERS_SHOWN_MAX = 50
"""Other values shown of one field: the newest."""
FIELDS_SHOWN_MAX = 500
"""Fields in one explanation: those held or locked, then those that were seen last."""


class Outcome(StrEnum):
    """What became of a value that was seen. ``OUTCOMES`` has one sentence for each."""

    HELD = "held"
    OVERWRITTEN = "overwritten"
    REMOVED = "removed"
    REMOVAL = "removal"
    UNDONE = "undone"
    SKIPPED_OLDER = "skipped_older"
    KEPT_EXISTING = "kept_existing"
    SKIPPED_INVALID = "skipped_invalid"
    IGNORED_EMPTY = "ignored_empty"
    UNCHANGED = "unchanged"


OUTCOMES: dict[Outcome, str] = {
    Outcome.HELD: "It is held.",
    Outcome.OVERWRITTEN: "It was held until another value came.",
    Outcome.REMOVED: "It was held until the field was removed.",
    Outcome.REMOVAL: "No value: the field was removed, which keeps older values out.",
    Outcome.UNDONE: "It does not count: its merge was taken back.",
    Outcome.SKIPPED_OLDER: "It came when a newer value was held.",
    Outcome.KEPT_EXISTING: "It was not allowed to replace what was held; the reason tells why.",
    Outcome.SKIPPED_INVALID: "It cannot be held; the reason tells why.",
    Outcome.IGNORED_EMPTY: "It was empty, and nothing overwrites with nothing.",
    Outcome.UNCHANGED: "This very value was held already.",
}

_OUTCOME_OF = {
    Verdict.SET: Outcome.HELD,
    Verdict.OVERWROTE: Outcome.HELD,
    Verdict.UNSET: Outcome.REMOVAL,
    Verdict.UNCHANGED: Outcome.UNCHANGED,
    Verdict.IGNORED_EMPTY: Outcome.IGNORED_EMPTY,
    Verdict.SKIPPED_INVALID: Outcome.SKIPPED_INVALID,
    Verdict.SKIPPED_OLDER: Outcome.SKIPPED_OLDER,
    Verdict.KEPT_EXISTING: Outcome.KEPT_EXISTING,
}
_CHANGES = frozenset({Verdict.SET, Verdict.OVERWROTE, Verdict.UNSET})
_NEVER_OFFERED = frozenset({Verdict.IGNORED_EMPTY, Verdict.SKIPPED_INVALID})


class Replay:
    """What the rows of one customer amount to, one after another, without those that are taken back in the end.

    Gives the profile that ``ledger.fold`` gives (its digest apart) once the last row was taken. Rows come in version
    order and may leave out what says nothing of the fields in question; ``since`` is then the version of the first
    merge that counts.
    """

    def __init__(self, undone: Collection[str], since: int | None = None) -> None:
        self.profile: Profile | None = None
        self._undone = undone
        self._since = since

    def take(self, row: Merge) -> tuple[Decision, ...]:
        """Take the next row and return what it does to the fields, nothing if it is taken back."""
        applied = self._applied(self._before(row), row)
        self.profile = applied.profile
        return applied.merge.decisions if row.is_merge else ()

    def _before(self, row: Merge) -> Profile:
        held = self.profile
        if held is None:
            held = Profile(row.customer_id, 0, row.received_at, row.received_at, {}, is_gone=True)
        is_gone = held.is_gone and not (self._since is not None and self._since < row.version)
        return msgspec.structs.replace(held, version=row.version - 1, is_gone=is_gone)

    def _applied(self, held: Profile, row: Merge) -> Applied:
        if row.act in ledger.TAKES_BACK:
            return ledger.take_back(held, row, held.fields, exists=not held.is_gone)
        if row.act is not None:
            return ledger.apply_act(held, row)
        if row.merge_id in self._undone:
            return apply(held, msgspec.structs.replace(row, is_link=True), ())
        return apply(held, row, readings_of(row.decisions))


class Offer(msgspec.Struct):
    """A value that was seen: where it came from and what became of it. ``raw`` is the text of one that cannot be held.

    ``by_version`` is the row that beat it, or under which it does not count.
    """

    merge_id: str
    version: int
    event: str
    source: str
    channel_id: str | None
    visitor_id: str | None
    occurred_at: int
    received_at: int
    value: JsonValue
    raw: str | None
    outcome: Outcome
    reason: Reason | None
    by_version: int | None = None
    by: str | None = None

    @property
    def hint(self) -> str:
        """What to do about it or, where nothing is to be done, what became of it."""
        return HINTS[self.reason] if self.reason is not None else OUTCOMES[self.outcome]


class FieldExplained(msgspec.Struct, frozen=True):
    """A field: the value that is held (``winner``), the act that locked it, all else that was seen, newest first.

    ``more``: older ones are not shown.
    """

    field: str
    winner: Offer | None
    lock: Merge | None
    others: list[Offer]
    more: bool


class _Story:
    """What was seen of one field so far."""

    def __init__(self) -> None:
        self.offers: deque[Offer] = deque(maxlen=OTHERS_SHOWN_MAX + 1)
        self.count = 0
        self.holder: Offer | None = None

    @property
    def newest(self) -> int:
        return self.offers[-1].version if self.offers else 0


class Explanation:
    """Why the fields of a profile, or one of them, hold what they hold.

    ``undone`` are the ids of the rows that are taken back, each with that of the act that does it. ``replay`` decides
    every row once more; without one, the rows are believed, which is right where none was ever taken back. Then they
    may begin at any version.
    """

    def __init__(
        self, profile: Profile, undone: Mapping[str, str], replay: Replay | None, field: str | None = None
    ) -> None:
        self._profile = profile
        self._undone = undone
        self._replay = replay
        self._field = field
        self._stories: dict[str, _Story] = {}
        self._ids: dict[int, str] = {}
        self._rows: dict[int, Merge] = {}
        self._locks: dict[str, int] = {}

    def take(self, row: Merge) -> None:
        """Take the next row, in version order."""
        self._ids[row.version] = row.merge_id
        self._locks = ledger.locks_after(self._locks, row)
        if row.act is Act.LOCK:
            self._rows[row.version] = row
        decisions = self._replay.take(row) if self._replay is not None else row.decisions
        if not row.is_merge:
            return
        is_undone = row.merge_id in self._undone
        for decision in row.decisions if is_undone else decisions:
            if self._field in (None, decision.field):
                self._add(row, decision, is_undone=is_undone and decision.verdict not in _NEVER_OFFERED)

    def _add(self, row: Merge, decision: Decision, *, is_undone: bool) -> None:
        story = self._stories.setdefault(decision.field, _Story())
        offer = self._offer(row, decision)
        story.offers.append(offer)
        story.count += 1
        if is_undone:
            offer.outcome, offer.by, offer.by_version = Outcome.UNDONE, self._undone[row.merge_id], None
            offer.reason = None
        elif decision.verdict in _CHANGES and row.merge_id not in self._undone:
            former = story.holder
            if former is not None and former.outcome is Outcome.HELD:
                former.outcome = Outcome.REMOVED if decision.verdict is Verdict.UNSET else Outcome.OVERWRITTEN
                former.reason, former.by_version = None, row.version
            story.holder = offer

    def _offer(self, row: Merge, decision: Decision) -> Offer:
        by_version = None
        if decision.reason is Reason.LOCKED:
            by_version = self._locks.get(decision.field, self._profile.locks.get(decision.field))
        elif decision.verdict not in _CHANGES | _NEVER_OFFERED:
            by_version = decision.old_version
        return Offer(
            merge_id=row.merge_id,
            version=row.version,
            event=row.event,
            source=row.source,
            channel_id=row.channel_id,
            visitor_id=row.visitor_id,
            occurred_at=row.occurred_at,
            received_at=row.received_at,
            value=decision.value,
            raw=decision.raw,
            outcome=_OUTCOME_OF[decision.verdict],
            reason=decision.reason,
            by_version=by_version,
        )

    def unseen(self) -> set[int]:
        """Return the versions of rows that are spoken of and did not come by: they are wanted by ``explained``."""
        locks = {self._profile.locks[field] for field in self._profile.locks if self._field in (None, field)}
        wanted = {offer.by_version for story in self._stories.values() for offer in story.offers}
        held = {field.version for name, field in self._profile.fields.items() if self._field in (None, name)}
        known = {version for version in wanted if version is not None}
        return (held | known) - self._ids.keys() | (locks - self._rows.keys())

    def explained(self, rows: Iterable[Merge] = ()) -> tuple[list[FieldExplained], bool]:
        """Return the fields in name order, and whether these are all; ``rows`` are those that ``unseen`` wants."""
        for row in rows:
            self._ids[row.version] = row.merge_id
            self._rows[row.version] = row
        held, locks = self._profile.fields, self._profile.locks
        first = [name for name in sorted(held.keys() | locks.keys()) if self._field in (None, name)]
        seen = sorted(self._stories.keys() - set(first), key=lambda name: (-self._stories[name].newest, name))
        names = [*first, *seen]
        if self._field is not None and not names:
            names = [self._field]
        shown = sorted(names[:FIELDS_SHOWN_MAX])
        return [self._explain(name) for name in shown], len(names) <= FIELDS_SHOWN_MAX

    def _explain(self, name: str) -> FieldExplained:
        story = self._stories.get(name, _Story())
        winner = self._winner(name, story)
        others = [offer for offer in reversed(story.offers) if offer is not winner]
        for offer in others:
            if offer.by is None and offer.by_version is not None:
                offer.by = self._ids.get(offer.by_version)
        is_seen = winner is not None and winner is story.holder
        lock = self._profile.locks.get(name)
        return FieldExplained(
            field=name,
            winner=winner,
            lock=None if lock is None else self._rows.get(lock),
            others=others[:OTHERS_SHOWN_MAX],
            more=story.count - is_seen > OTHERS_SHOWN_MAX,
        )

    def _winner(self, name: str, story: _Story) -> Offer | None:
        held = self._profile.fields.get(name)
        if held is None or held.value is None:
            return None
        if story.holder is not None and story.holder.version == held.version:
            return story.holder
        row = self._rows.get(held.version)
        decisions = [d for d in row.decisions if d.field == name and d.value is not None] if row is not None else []
        if row is None or not decisions:
            return None
        offer = self._offer(row, decisions[-1])
        offer.outcome = Outcome.HELD
        return offer
