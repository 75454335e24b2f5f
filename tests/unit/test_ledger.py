"""The ledger of one customer: taking back and counting again, by examples and by laws."""

from collections.abc import Sequence

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from profiles import ledger
from profiles import merge as merging
from profiles.ledger import Comparison
from profiles.profile import Act, HeldField, Merge, Policy, Profile
from profiles.remarks import Decision, Kind, Reading, Reason, Verdict

NOON = 1_780_000_000_000
FIELDS = ("display_name", "display_email", "custom.points")
CUSTOM_FIELDS_MAX = merging.CUSTOM_FIELDS_MAX


class Ledger:
    """A ledger that grows row by row, with the profile that it amounts to."""

    def __init__(self) -> None:
        self.rows: list[Merge] = []
        self.profile: Profile | None = None

    def merge(self, at: int = 0, policy: Policy = Policy.OVERWRITE, source: str = "channel", **sent: object) -> Merge:
        kinds = {None: Kind.REMOVAL, "": Kind.EMPTY}
        readings = [
            Reading(name.replace("custom_", "custom."), kinds.get(value, Kind.VALUE), value or None)  # type: ignore[arg-type, call-overload]
            for name, value in sent.items()
        ]
        return self.keep(merging.apply(self.profile, self.row(at, policy, source), readings))

    def act(self, act: Act, *targets: Merge, fields: Sequence[str] = ()) -> Merge:
        row = self.row(0, Policy.OVERWRITE, "admin")
        row = msgspec.structs.replace(
            row, act=act, undoes=tuple(target.merge_id for target in targets), act_fields=tuple(fields)
        )
        return self.keep(ledger.replay(self.profile, row, self.rows))

    def row(self, at: int, policy: Policy, source: str) -> Merge:
        return Merge(
            merge_id=f"m{len(self.rows) + 1}",
            customer_id="42",
            version=0,
            source=source,
            event="clIdentity",
            occurred_at=NOON + at,
            received_at=NOON + 1000 + len(self.rows),
            policy=policy,
        )

    def keep(self, applied: merging.Applied) -> Merge:
        self.rows.append(applied.merge)
        self.profile = applied.profile
        return applied.merge

    @property
    def values(self) -> dict[str, object]:
        assert self.profile is not None
        return dict(self.profile.values())


def by_pages(rows: Sequence[Merge], act: Merge) -> dict[str, HeldField]:
    """Return what an act leaves, computed from the rows that must be read for it, as the store reads them."""
    held = ledger.fold(rows)
    assert held is not None
    acts = [row for row in rows if row.act is not None]
    before, after = ledger.undone(acts), ledger.undone([*acts, act])
    changed = [row for row in rows if row.merge_id in before.keys() ^ after.keys() and row.is_merge]
    if not changed:
        return held.fields
    ever = {target for row in acts for target in row.undoes}
    heirs = [
        next((row for row in rows if row.is_merge and row.merge_id not in without), None) for without in (before, after)
    ]
    first, second = heirs
    is_same = first is not None and second is not None and first.merge_id == second.merge_id
    extent = ledger.reach(
        held.fields,
        changed,
        (row.version for row in rows if row.merge_id in ever and row.is_merge),
        () if is_same else [heir for heir in heirs if heir],
    )
    locks: dict[str, int] = {}
    for row in rows[: extent.first - 1]:
        locks = ledger.locks_after(locks, row)
    comparison = Comparison(
        extent,
        before=before,
        after=after,
        since=(first.version if first else None, second.version if second else None),
        locks=locks,
        set_at={row.version: row.occurred_at for row in rows},
    )
    read = [
        row
        for row in rows[extent.first - 1 :]
        if "custom." in extent.fields
        or row.act in (Act.LOCK, Act.UNLOCK)
        or row.version == extent.last
        or extent.fields & {decision.field for decision in row.decisions}
    ]
    any(map(comparison.feed, read))
    return comparison.outcome(held.fields)


def test_a_field_that_an_undone_merge_had_won_falls_back_to_the_next_best_value():
    book = Ledger()
    book.merge(1, display_name="Ana", display_email="ana@shop.example")
    book.merge(5, display_name="Bea")
    wrong = book.merge(9, display_name="Zoe", display_email="zoe@evil.example")
    late = book.merge(3, display_name="Cat")

    act = book.act(Act.UNDO, wrong)

    assert late.decisions[0].verdict is Verdict.SKIPPED_OLDER
    assert book.values == {"display_name": "Bea", "display_email": "ana@shop.example"}
    assert act.decisions == (
        Decision("display_email", Verdict.OVERWROTE, None, "zoe@evil.example", "ana@shop.example", None, 3),
        Decision("display_name", Verdict.OVERWROTE, None, "Zoe", "Bea", None, 3),
    )


def test_a_field_that_was_set_since_is_kept():
    book = Ledger()
    wrong = book.merge(1, display_name="Zoe", display_email="zoe@evil.example")
    book.merge(2, display_name="Ana")

    book.act(Act.UNDO, wrong)

    assert book.values == {"display_name": "Ana"}


def test_a_row_that_offered_nothing_does_not_tell_that_nothing_was_held_before_it():
    book = Ledger()
    book.merge(1, display_email="ana@shop.example")
    wrong = book.merge(2, display_name="Zoe", display_email="")
    again = book.merge(3, display_name="Zoe", display_email="new@shop.example")
    book.act(Act.UNDO, wrong)
    rows = list(book.rows)

    act = book.act(Act.UNDO, again)

    assert by_pages(rows, act) == {"display_email": HeldField("ana@shop.example", NOON + 1, 1)}


def test_what_a_row_tells_of_the_time_before_it_may_have_been_true_only_then():
    book = Ledger()
    book.merge(1, display_name="Ana")
    doubted = book.merge(2, display_name="Bea")
    undoing = book.act(Act.UNDO, doubted)
    wrong = book.merge(3, display_name="Zoe")
    book.act(Act.UNDO, undoing)
    rows = list(book.rows)

    act = book.act(Act.UNDO, wrong)

    assert wrong.decisions[0].old == "Ana"
    assert by_pages(rows, act) == {"display_name": HeldField("Bea", NOON + 2, 2)}


def test_undoing_the_undoing_restores_what_was_held():
    book = Ledger()
    book.merge(1, display_name="Ana")
    wrong = book.merge(2, display_name="Zoe", custom_points=5)
    before = book.profile
    undoing = book.act(Act.UNDO, wrong)

    book.act(Act.UNDO, undoing)

    assert before is not None
    assert book.profile is not None
    assert book.profile.fields == before.fields


def test_a_customer_of_whom_every_merge_is_undone_is_gone_and_the_next_merge_makes_it_anew():
    book = Ledger()
    only = book.merge(1, display_name="Zoe")

    book.act(Act.UNDO, only)
    gone = book.profile
    again = book.merge(2, Policy.CREATE_ONLY, display_name="Ana")

    assert gone is not None
    assert (gone.is_gone, gone.fields, gone.version) == (True, {}, 2)
    assert again.created_customer
    assert book.values == {"display_name": "Ana"}
    assert book.profile is not None
    assert not book.profile.is_gone


def test_a_sign_up_that_becomes_the_first_merge_sets_what_it_was_not_allowed_to():
    book = Ledger()
    forged = book.merge(1, display_name="Zoe")
    book.merge(2, Policy.CREATE_ONLY, display_name="Ana", display_email="ana@shop.example")

    book.act(Act.UNDO, forged)

    assert book.values == {"display_name": "Ana", "display_email": "ana@shop.example"}


def test_a_locked_field_keeps_its_value_against_a_channel_but_not_against_the_crm():
    book = Ledger()
    book.merge(1, display_name="Ana", display_email="ana@shop.example")
    book.act(Act.LOCK, fields=["display_name"])

    channel = book.merge(2, display_name="Zoe", display_email="new@shop.example")
    book.merge(3, source="crm", display_name="Anna")

    assert channel.decisions[0] == Decision("display_name", Verdict.KEPT_EXISTING, Reason.LOCKED, "Ana", "Zoe", None, 1)
    assert book.values == {"display_name": "Anna", "display_email": "new@shop.example"}


def test_a_lock_holds_in_the_fold_without_a_merge_as_it_held_with_it():
    book = Ledger()
    book.merge(1, display_name="Ana")
    wrong = book.merge(2, source="crm", display_name="Zoe")
    book.act(Act.LOCK, fields=["display_name"])
    book.merge(3, display_name="Eve")

    book.act(Act.UNDO, wrong)

    assert book.values == {"display_name": "Ana"}


def test_undoing_a_custom_field_lets_in_the_one_that_was_too_many():
    book = Ledger()
    many: dict[str, object] = {f"custom_f{n}": n for n in range(CUSTOM_FIELDS_MAX - 1)}
    book.merge(0, Policy.OVERWRITE, "channel", **many)
    last = book.merge(1, custom_last=1)
    refused = book.merge(2, custom_more=2)

    book.act(Act.UNDO, last)

    assert refused.decisions[0].reason is Reason.TOO_MANY
    assert book.values["custom.more"] == 2
    assert "custom.last" not in book.values


merges = st.tuples(
    st.just("merge"),
    st.integers(0, 9),
    st.sampled_from([Policy.OVERWRITE, Policy.OVERWRITE, Policy.OVERWRITE, Policy.CREATE_ONLY, Policy.FILL_EMPTY]),
    st.sampled_from(["channel", "crm"]),
    st.dictionaries(
        st.sampled_from(["display_name", "display_email", "custom_a", "custom_b"]),
        st.sampled_from(["x", "y", "z", None, ""]),
        max_size=3,
    ),
)
undos = st.tuples(st.just("undo"), st.lists(st.integers(0, 30), min_size=1, max_size=3))
locks = st.tuples(st.sampled_from(["lock", "unlock"]), st.sampled_from(["display_name", "display_email"]))


@settings(max_examples=400, deadline=None)
@given(merges, st.lists(st.one_of(merges, merges, undos, locks), max_size=18))
def test_what_is_read_for_an_undo_is_enough_and_the_fold_without_it_is_what_is_left(first, steps):
    book = Ledger()

    for step in [first, *steps]:
        if step[0] == "merge":
            _, at, policy, source, sent = step
            book.merge(at, policy, source, **sent)
        elif step[0] == "undo":
            targets = [book.rows[n % len(book.rows)] for n in step[1]]
            targets = [row for row in targets if row.is_merge or row.act is Act.UNDO]
            rows = list(book.rows)
            act = book.act(Act.UNDO, *targets)
            assert by_pages(rows, msgspec.structs.replace(act, decisions=())) == book.profile.fields  # type: ignore[union-attr]
        else:
            book.act(Act(step[0]), fields=[step[1]])

    taken = ledger.undone(book.rows)
    left = Ledger()
    left.profile = Profile("42", 0, NOON, NOON, {}, is_gone=True)
    for row in book.rows:
        if row.act in (Act.LOCK, Act.UNLOCK):
            left.act(row.act, fields=row.act_fields)
        elif row.is_merge and row.merge_id not in taken:
            incoming = msgspec.structs.replace(row, version=0, decisions=())
            left.keep(merging.apply(left.profile, incoming, merging.readings_of(row.decisions)))
    assert ledger.fold(book.rows) == book.profile
    assert book.values == left.values


@settings(max_examples=200, deadline=None)
@given(merges, st.lists(merges, max_size=8), merges)
def test_undoing_a_merge_right_after_it_is_the_identity(first, steps, last):
    book = Ledger()
    for _, at, policy, source, sent in [first, *steps]:
        book.merge(at, policy, source, **sent)
    before = book.profile
    _, at, policy, source, sent = last
    merge = book.merge(at, policy, source, **sent)

    book.act(Act.UNDO, merge)

    assert before is not None
    assert book.profile is not None
    assert book.profile.fields == before.fields
    assert not book.profile.is_gone
