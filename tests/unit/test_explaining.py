"""Why a field holds what it holds: by examples, and by laws for random histories with undoings and locks."""

from collections.abc import Sequence
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from profiles import ledger
from profiles.explaining import OTHERS_SHOWN_MAX, OUTCOMES, Explanation, FieldExplained, Offer, Outcome, Replay
from profiles.merge import CUSTOM_FIELDS_MAX, same_value
from profiles.profile import Act, Merge, Policy, Profile
from profiles.remarks import Decision, Reason
from tests.unit.test_ledger import Ledger, locks, merges, undos


def explain(book: Ledger, field: str | None = None, *, first: int = 1) -> dict[str, FieldExplained]:
    """Return the explanation of a whole ledger, read as the store reads it: from ``first`` on where it is believed."""
    assert book.profile is not None
    undone = ledger.undone(book.rows)
    rows = book.rows
    replay: Replay | None = None
    if any(row.act in ledger.TAKES_BACK for row in rows):
        heir = next((row.version for row in rows if row.is_merge and row.merge_id not in undone), None)
        replay = Replay(undone, None if field is None else heir)
        first = 1
    explanation = Explanation(book.profile, undone, replay, field)
    for row in rows[first - 1 :]:
        is_lock = row.act in (Act.LOCK, Act.UNLOCK)
        if field in (None, *(d.field for d in row.decisions)) or is_lock or str(field).startswith("custom."):
            explanation.take(row)
    unseen = explanation.unseen()
    found, _ = explanation.explained([row for row in rows if row.version in unseen])
    return {explained.field: explained for explained in found}


def told(offers: Sequence[Offer]) -> list[tuple[object, Outcome, Reason | None, str | None]]:
    return [(offer.value, offer.outcome, offer.reason, offer.by) for offer in offers]


def test_the_winner_stands_first_and_every_loser_tells_what_beat_it():
    book = Ledger()
    book.merge(1, display_name="Ana")
    book.merge(5, display_name="Zoe")
    book.merge(3, display_name="Eve")
    book.merge(6, display_name="Zoe", display_email="zoe@shop.example")
    book.merge(7, Policy.FILL_EMPTY, display_name="Bea")

    name = explain(book)["display_name"]

    assert name.winner is not None
    assert (name.winner.value, name.winner.merge_id, name.winner.outcome) == ("Zoe", "m2", Outcome.HELD)
    assert told(name.others) == [
        ("Bea", Outcome.KEPT_EXISTING, Reason.ANONYMOUS_VALUE, "m2"),
        ("Zoe", Outcome.UNCHANGED, None, "m2"),
        ("Eve", Outcome.SKIPPED_OLDER, None, "m2"),
        ("Ana", Outcome.OVERWRITTEN, None, "m2"),
    ]
    assert not name.more


def test_a_recorded_loser_that_holds_now_because_the_winner_was_undone_is_the_winner():
    book = Ledger()
    wrong = book.merge(5, display_name="Zoe")
    book.merge(3, display_name="Eve")

    act = book.act(Act.UNDO, wrong)
    name = explain(book)["display_name"]

    assert name.winner is not None
    assert (name.winner.value, name.winner.merge_id, name.winner.outcome) == ("Eve", "m2", Outcome.HELD)
    assert told(name.others) == [("Zoe", Outcome.UNDONE, None, act.merge_id)]


def test_of_a_removed_field_the_removal_is_told_and_nothing_wins():
    book = Ledger()
    book.merge(1, display_name="Ana")
    book.merge(2, display_name=None)
    book.merge(1, display_name="Old")

    name = explain(book)["display_name"]

    assert name.winner is None
    assert told(name.others) == [
        ("Old", Outcome.SKIPPED_OLDER, None, "m2"),
        (None, Outcome.REMOVAL, None, None),
        ("Ana", Outcome.REMOVED, None, "m2"),
    ]


def test_a_lock_is_shown_with_its_field_and_beats_what_channels_send():
    book = Ledger()
    book.merge(1, display_name="Ana")
    act = book.act(Act.LOCK, fields=["display_name", "gender"])
    book.merge(2, display_name="Zoe")

    fields = explain(book)

    assert fields["display_name"].lock is not None
    assert fields["display_name"].lock.merge_id == act.merge_id
    assert told(fields["display_name"].others) == [("Zoe", Outcome.KEPT_EXISTING, Reason.LOCKED, act.merge_id)]
    assert fields["gender"] == FieldExplained("gender", None, act, [], more=False)


def test_of_many_values_the_newest_are_shown_and_the_winner_however_old():
    book = Ledger()
    book.merge(500, display_name="Ana")
    for n in range(OTHERS_SHOWN_MAX + 5):
        book.merge(n, display_name=f"Ana {n}")

    name = explain(book)["display_name"]

    assert name.winner is not None
    assert name.winner.merge_id == "m1"
    assert name.more
    assert [offer.version for offer in name.others] == list(range(OTHERS_SHOWN_MAX + 6, 6, -1))


def test_a_winner_and_a_lock_from_before_the_rows_that_were_read_are_found():
    book = Ledger()
    book.merge(9, display_name="Ana")
    act = book.act(Act.LOCK, fields=["display_name"])
    book.merge(10, display_name="Zoe")

    name = explain(book, first=3)["display_name"]

    assert name.winner is not None
    assert (name.winner.value, name.winner.merge_id) == ("Ana", "m1")
    assert name.lock is not None
    assert told(name.others) == [("Zoe", Outcome.KEPT_EXISTING, Reason.LOCKED, act.merge_id)]


def test_a_custom_field_that_was_too_many_tells_so():
    book = Ledger()
    many: dict[str, object] = {f"custom_f{n}": n for n in range(CUSTOM_FIELDS_MAX)}
    book.merge(0, Policy.OVERWRITE, "channel", **many)
    book.merge(2, custom_more=2)

    more = explain(book, "custom.more")["custom.more"]

    assert told(more.others) == [(2, Outcome.SKIPPED_INVALID, Reason.TOO_MANY, None)]


def test_a_field_that_was_never_seen_has_nothing_to_tell():
    book = Ledger()
    book.merge(1, display_name="Ana")

    assert explain(book, "gender") == {"gender": FieldExplained("gender", None, None, [], more=False)}


def test_every_outcome_has_its_sentence():
    assert OUTCOMES.keys() == set(Outcome)


def played(first: tuple[Any, ...], steps: Sequence[tuple[Any, ...]]) -> Ledger:
    book = Ledger()
    for step in [first, *steps]:
        if step[0] == "merge":
            _, at, policy, source, sent = step
            book.merge(at, policy, source, **sent)
        elif step[0] == "undo":
            targets = [book.rows[n % len(book.rows)] for n in step[1]]
            targets = [row for row in targets if row.is_merge or row.act is Act.UNDO]
            book.act(Act.UNDO, *targets)
        else:
            book.act(Act(step[0]), fields=[step[1]])
    return book


histories = st.builds(played, merges, st.lists(st.one_of(merges, merges, undos, locks), max_size=20))


def without_digest(profile: Profile | None) -> Profile | None:
    return None if profile is None else msgspec.structs.replace(profile, digest=None)


@settings(max_examples=400, deadline=None)
@given(histories)
def test_the_winner_is_what_the_profile_holds_and_every_value_has_one_outcome(book):
    fields = explain(book)

    winners = {name: field.winner for name, field in fields.items() if field.winner is not None}
    assert {name: winner.value for name, winner in winners.items()} == book.values
    undone = ledger.undone(book.rows)
    seen = sorted((d.field, row.version) for row in book.rows if row.is_merge for d in row.decisions)
    told_of = [
        (name, offer.version) for name, field in fields.items() for offer in (field.winner, *field.others) if offer
    ]
    assert sorted(told_of) == seen
    ids = {row.merge_id: row for row in book.rows}
    for name, field in fields.items():
        held = book.profile.fields.get(name)
        assert (field.lock.version if field.lock else None) == book.profile.locks.get(name)
        for offer in field.others:
            assert offer.outcome is not Outcome.HELD
            assert (offer.outcome is Outcome.UNDONE) == (
                offer.merge_id in undone and offer.outcome is not Outcome.IGNORED_EMPTY
            )
            if offer.by is not None and offer.outcome is not Outcome.UNDONE:
                assert offer.by not in undone
                assert name in ids[offer.by].act_fields or name in {d.field for d in ids[offer.by].decisions}
            if offer.outcome is Outcome.UNCHANGED and held is None:
                assert offer.value is None or offer.by is not None


@settings(max_examples=300, deadline=None)
@given(histories, st.sampled_from(["display_name", "display_email", "custom.a"]))
def test_one_field_is_explained_alone_as_among_all(book, field):
    alone, among = explain(book, field)[field], explain(book).get(field)

    assert among is None or alone == among


@settings(max_examples=300, deadline=None)
@given(histories)
def test_one_pass_over_any_prefix_gives_the_fold_of_it(book):
    for length in range(1, len(book.rows) + 1):
        rows = book.rows[:length]
        replay = Replay(ledger.undone(rows))
        for row in rows:
            replay.take(row)
        assert without_digest(replay.profile) == without_digest(ledger.fold(rows))


@settings(max_examples=200, deadline=None)
@given(merges, st.lists(st.one_of(merges, merges, locks), max_size=20), st.integers(1, 8))
def test_where_nothing_was_taken_back_the_newest_rows_alone_name_the_same_winners(first, steps, begin):
    book = played(first, steps)

    whole, part = explain(book), explain(book, first=begin)

    for name, field in whole.items():
        if field.winner is not None:
            winner = part[name].winner
            assert winner is not None
            assert same_value(winner.value, field.winner.value)
            assert winner.merge_id == field.winner.merge_id


def test_an_empty_or_broken_value_of_an_undone_merge_is_still_told_as_what_it_was():
    row = Merge(
        merge_id="m1",
        customer_id="42",
        version=1,
        source="channel",
        event="clIdentity",
        occurred_at=1,
        received_at=1,
        policy=Policy.OVERWRITE,
        decisions=msgspec.convert(
            [["gender", "skipped_invalid", "not_in_list", None, None, "wrong"], ["birth", "ignored_empty"]],
            tuple[Decision, ...],
        ),
    )
    undo = msgspec.structs.replace(row, merge_id="m2", version=2, decisions=(), act=Act.UNDO, undoes=("m1",))
    profile = Profile("42", 2, 1, 1, {}, is_gone=True)
    undone = ledger.undone([row, undo])
    explanation = Explanation(profile, undone, Replay(undone))

    for each in (row, undo):
        explanation.take(each)
    fields, _ = explanation.explained()

    assert [(f.field, told(f.others)) for f in fields] == [
        ("birth", [(None, Outcome.IGNORED_EMPTY, None, None)]),
        ("gender", [(None, Outcome.SKIPPED_INVALID, Reason.NOT_IN_LIST, None)]),
    ]
