"""Pure: the ledger of one customer, folded, taken back and explained.

A merge that was taken back (undone) is left out of the fold, as if it had never come; so is an undoing that was taken
back itself. No rule of merging stands here: every row is decided by ``profiles.merge``.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from profiles.fields import CUSTOM
from profiles.merge import CUSTOM_FIELDS_MAX, Applied, advanced, apply, decide, readings_of, same_value
from profiles.profile import CHANNEL_SOURCES, Act, HeldField, Merge, Policy, Profile
from profiles.remarks import Decision, Kind, Verdict

TAKES_BACK = frozenset({Act.UNDO, Act.RELEASE})

Fields = dict[str, HeldField]


def taken_back(acts: Sequence[tuple[str, Sequence[str]]]) -> dict[str, str]:
    """Return the ids of what is taken back, each with that of the act that does it.

    ``acts`` are ids with what each takes back, in order of arrival; an act can be taken back itself.
    """
    found: dict[str, str] = {}
    for act_id, targets in reversed(acts):
        if act_id not in found:
            for target in targets:
                found.setdefault(target, act_id)
    return found


def undone(rows: Iterable[Merge]) -> dict[str, str]:
    """Return the ids of the rows that are taken back, each with that of the act that does it; rows in version order."""
    return taken_back([(row.merge_id, row.undoes) for row in rows if row.act is not None])


def offered(row: Merge) -> set[str]:
    """Return the fields to which the row offered a value or a removal."""
    readings = readings_of(row.decisions) if row.is_merge else ()
    return {reading.field for reading in readings if reading.kind in (Kind.VALUE, Kind.REMOVAL)}


def _is_offer(decision: Decision) -> bool:
    if decision.verdict is Verdict.SKIPPED_INVALID:
        return decision.value is not None
    return decision.verdict is not Verdict.IGNORED_EMPTY


class _Fold:
    """What rows amount to, some of them left out; of some fields only, or of all (``wanted`` None).

    ``since`` is the version of the first merge that counts, as soon as that is known.
    """

    def __init__(
        self, without: Collection[str], wanted: Collection[str] | None = None, since: int | None = None
    ) -> None:
        self.fields: Fields = {}
        self.since = since
        self._without = without
        self._wanted = wanted

    def take(self, row: Merge, locks: Collection[str]) -> tuple[Decision, ...] | None:
        """Add a row, and return what it decides now; None, if it does not count."""
        if not row.is_merge or row.merge_id in self._without:
            return None
        readings = [reading for reading in readings_of(row.decisions) if self.wants(reading.field)]
        decisions, self.fields = decide(
            self.fields,
            readings,
            policy=row.policy,
            exists=self.since is not None and self.since < row.version,
            occurred_at=row.occurred_at,
            version=row.version,
            locked=locks if row.source in CHANNEL_SOURCES else (),
        )
        if self.since is None:
            self.since = row.version
        return decisions

    def wants(self, field: str) -> bool:
        """Whether the field is one of those to be folded."""
        wanted = self._wanted
        return wanted is None or field in wanted or (CUSTOM in wanted and field.startswith(CUSTOM))


def locks_after(locks: dict[str, int], row: Merge) -> dict[str, int]:
    """Return the locks after a row; each field with the version that locked it."""
    if row.act is Act.LOCK:
        return {**locks, **dict.fromkeys(row.act_fields, row.version)}
    if row.act is Act.UNLOCK:
        return {field: version for field, version in locks.items() if field not in row.act_fields}
    return locks


def refold(rows: Iterable[Merge], without: Collection[str]) -> tuple[Fields, bool]:
    """Return the fields that all rows of a customer but those amount to, and whether any merge is left at all."""
    fold, locks = _Fold(without), dict[str, int]()
    for row in rows:
        locks = locks_after(locks, row)
        fold.take(row, locks)
    return fold.fields, fold.since is not None


def counting(rows: Sequence[Merge]) -> list[Merge]:
    """Return the merges of a whole ledger that count, each with what it decides now that the others do not."""
    fold, locks = _Fold(undone(rows)), dict[str, int]()
    found: list[Merge] = []
    for row in rows:
        locks = locks_after(locks, row)
        decisions = fold.take(row, locks)
        if decisions is not None:
            found.append(msgspec.structs.replace(row, decisions=decisions))
    return found


class Reach(msgspec.Struct, frozen=True):
    """How far taking rows back, or letting them count again, reaches.

    ``fields`` may come out otherwise (CUSTOM stands for all custom ones); nothing before the version ``first`` does.
    ``last`` is the newest row that changes its side: from there on, both folds may meet.
    """

    fields: frozenset[str]
    first: int
    last: int


def reach(held: Fields, changed: Iterable[Merge], ever_undone: Iterable[int], heirs: Collection[Merge]) -> Reach:
    """Return how far it reaches that the rows ``changed`` are taken back or count again.

    ``ever_undone`` are the versions of all rows that any act ever named: what rows after them tell of the time before
    them may have been true only then. ``heirs`` are the first merges that count, before and after the change, if these
    are two: a sign-up that becomes the first one, or is it no more, decides otherwise.
    """
    rows = [*changed, *(heir for heir in heirs if heir.policy is Policy.CREATE_ONLY)]
    fields = set[str]().union(*map(offered, rows))
    versions = [row.version for row in rows]
    first = min([*versions, *ever_undone])
    custom = {name for name in (*held, *fields) if name.startswith(CUSTOM)}
    if len(custom) >= CUSTOM_FIELDS_MAX and any(map(custom.__contains__, fields)):
        # One custom field less lets another one in that was too many.
        fields, first = fields | {CUSTOM}, 1
    return Reach(frozenset(fields), first, max(versions))


class Comparison:
    """Two folds of the same rows, before and after a change of what is taken back.

    Rows come in version order from ``Reach.first`` on; those that offered nothing to its fields may be left out, lock
    acts may not. Once the folds agree behind ``Reach.last`` they agree for good. ``before`` and ``after`` are the ids
    of what is taken back; ``exists``: whether there is a merge before ``Reach.first``; ``locks`` are those of that
    time; ``set_at`` has the event time of every version that a row names as ``old_version``, whenever it is fed.
    """

    def __init__(
        self,
        extent: Reach,
        *,
        before: Collection[str],
        after: Collection[str],
        since: tuple[int | None, int | None],
        locks: dict[str, int],
        set_at: Mapping[int, int],
    ) -> None:
        self._reach = extent
        self._before = _Fold(before, extent.fields, since[0])
        self._after = _Fold(after, extent.fields, since[1])
        self._locks = locks
        self._set_at = set_at
        self._told: set[str] = set()
        self._version = 0

    def feed(self, row: Merge) -> bool:
        """Take the next row on both sides, and return whether no further one can make a difference."""
        self._begin(row)
        self._locks = locks_after(self._locks, row)
        self._before.take(row, self._locks)
        self._after.take(row, self._locks)
        self._version = row.version
        return self._is_settled()

    def _begin(self, row: Merge) -> None:
        """What was held of a field before the first row that offered it something, that row itself tells."""
        for decision in row.decisions if row.is_merge else ():
            if decision.field in self._told or not self._before.wants(decision.field) or not _is_offer(decision):
                continue
            self._told.add(decision.field)
            if decision.old_version is not None:
                held = HeldField(decision.old, self._set_at[decision.old_version], decision.old_version)
                self._before.fields.setdefault(decision.field, held)
                self._after.fields.setdefault(decision.field, held)

    def _is_settled(self) -> bool:
        return self._version >= self._reach.last and not self.pending()

    def pending(self) -> set[str]:
        """Return the fields in which the folds differ."""
        before, after = self._before.fields, self._after.fields
        return {name for name in before.keys() | after.keys() if not _alike(before.get(name), after.get(name))}

    def repeated(self) -> dict[str, str] | None:
        """Return the pending fields with the one text that both folds hold, from different merges; None if a row that
        repeats that text may make a difference.

        Once behind ``Reach.last``, rows that were found to repeat it need not be fed.
        """
        found: dict[str, str] = {}
        for name in self.pending():
            before, after = self._before.fields.get(name), self._after.fields.get(name)
            if not before or not after or not isinstance(before.value, str) or before.value != after.value:
                return None
            found[name] = before.value
        return found if self._version >= self._reach.last else None

    def is_last_winner(self, held: Fields) -> bool:
        """Return whether, of each pending field, nothing ever replaced what the fold before the change holds now."""
        before = self._before.fields
        return all(
            name in before and name in held and before[name].version == held[name].version for name in self.pending()
        )

    def outcome(self, held: Fields) -> Fields:
        """Return what is held afterwards, once the comparison is settled or the last row was taken.

        Raises:
            LedgerBroken: the rows do not amount to what is held.
        """
        pending = self.pending()
        if not all(_alike(held.get(name), self._before.fields.get(name)) for name in pending):
            raise LedgerBroken
        kept = {name: field for name, field in held.items() if name not in pending}
        return {**kept, **{name: self._after.fields[name] for name in pending & self._after.fields.keys()}}


class LedgerBroken(Exception):
    """What is held is not what its ledger amounts to: nothing may be built on it before that is mended."""


def _alike(one: HeldField | None, other: HeldField | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.version == other.version and same_value(one.value, other.value)


def take_back(held: Profile, act: Merge, fields: Fields, *, exists: bool) -> Applied:
    """Return the profile after an act took rows back, and the act's row, whose decisions tell what it changed.

    ``fields`` are what is left, ``exists`` whether any merge is.
    """
    absorbs = tuple(other for other in held.absorbs if act.act is not Act.RELEASE or other != act.other_id)
    profile = advanced(held, act, fields=fields, digest=None, is_gone=not exists, absorbs=absorbs)
    told = tuple(differences(held.fields, fields))
    return Applied(profile, msgspec.structs.replace(act, version=profile.version, decisions=told, digest=None))


def differences(before: Fields, after: Fields) -> list[Decision]:
    """Return what became of the fields that are held otherwise, in order of their names."""
    names = sorted(before.keys() | after.keys())
    found = (_difference(name, before.get(name), after.get(name)) for name in names)
    return [decision for decision in found if decision is not None]


def _difference(name: str, before: HeldField | None, after: HeldField | None) -> Decision | None:
    old, new = before.value if before else None, after.value if after else None
    old_version = before.version if before else None
    if same_value(old, new):
        if new is None or (before and after and before.version == after.version):
            return None
        return Decision(name, Verdict.UNCHANGED, None, old, new, None, old_version)
    verdict = Verdict.UNSET if new is None else Verdict.SET if old is None else Verdict.OVERWROTE
    return Decision(name, verdict, None, old, new, None, old_version)


def apply_act(held: Profile, act: Merge) -> Applied:
    """Return the profile after an act that takes nothing back, and the act's row."""
    version = held.version + 1
    row = msgspec.structs.replace(act, version=version, decisions=(), digest=None)
    other = () if act.other_id is None else (act.other_id,)
    match act.act:
        case Act.LOCK | Act.UNLOCK:
            profile = advanced(held, row, locks=locks_after(held.locks, row), digest=None)
        case Act.JOIN:
            profile = advanced(held, row, joined_into=act.other_id, digest=None)
        case Act.UNJOIN:
            profile = advanced(held, row, joined_into=None, digest=None)
        case Act.ABSORB:
            absorbs = tuple(sorted({*held.absorbs, *other}))
            profile = advanced(held, row, absorbs=absorbs, is_gone=False, digest=None)
        case _:
            raise ValueError(act.act)
    return Applied(profile, row)


def replay(held: Profile | None, row: Merge, history: Sequence[Merge]) -> Applied:
    """Return what the pure core makes of a ledger row today, given the profile before it and all rows before it."""
    if row.act is None:
        return apply(held, row, readings_of(row.decisions))
    if held is None:
        raise LedgerBroken
    if row.act not in TAKES_BACK:
        return apply_act(held, row)
    taken = undone([*history, row])
    fields, exists = refold(history, taken)
    return take_back(held, row, fields, exists=exists)


def fold(rows: Iterable[Merge]) -> Profile | None:
    """Return the profile that the rows of one customer, in version order, amount to."""
    profile: Profile | None = None
    history: list[Merge] = []
    for row in rows:
        profile = replay(profile, row, history).profile
        history.append(row)
    return profile
