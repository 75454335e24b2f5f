"""Whose a visitor's time is: the rules by example, and against a model that decides moment by moment."""

import random
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.belonging import ChangePoint, Stretch, stretch_at, stretches


def said(*points: tuple[int, str | None]) -> list[ChangePoint]:
    """Return change points that arrived in this order."""
    return [ChangePoint(at, version, customer_id) for version, (at, customer_id) in enumerate(points, 1)]


def test_the_time_of_a_visitor_who_was_never_identified_is_nobodys():
    assert stretches([]) == [Stretch(None, None, None)]
    assert stretches(said((10, None))) == [Stretch(None, None, None)]


def test_the_time_before_the_first_identification_is_the_first_customers():
    assert stretches(said((10, "a"))) == [Stretch(None, None, "a")]


def test_a_sign_out_before_the_first_identification_changes_nothing():
    assert stretches(said((5, None), (10, "a"))) == [Stretch(None, None, "a")]


def test_another_customer_ends_one_stretch_and_begins_the_next():
    assert stretches(said((10, "a"), (20, "b"))) == [Stretch(None, 20, "a"), Stretch(20, None, "b")]


def test_after_the_last_sign_out_the_time_is_nobodys_and_not_contested():
    assert stretches(said((10, "a"), (20, None))) == [Stretch(None, 20, "a"), Stretch(20, None, None)]


def test_a_signed_out_stretch_is_the_customers_who_was_there_before_and_comes_back():
    assert stretches(said((10, "a"), (20, None), (30, None), (40, "a"))) == [Stretch(None, None, "a")]


def test_of_a_history_that_is_cut_off_nobody_knows_whose_its_beginning_is():
    points = [ChangePoint(10, 7, None), ChangePoint(20, 8, "A")]

    found = stretches(points, is_whole=False)

    assert [(stretch.since, stretch.customer_id) for stretch in found] == [(None, None), (20, "A")]


def test_a_signed_out_stretch_between_two_customers_is_contested_and_nobodys():
    assert stretches(said((10, "a"), (20, None), (25, None), (30, "b"), (40, None))) == [
        Stretch(None, 20, "a"),
        Stretch(20, 30, None, contested=True),
        Stretch(30, 40, "b"),
        Stretch(40, None, None),
    ]


def test_of_two_identifications_at_one_moment_the_later_arrival_holds_from_then_on():
    assert stretches(said((10, "a"), (10, "b"))) == [Stretch(None, 10, "a"), Stretch(10, None, "b")]


def test_a_late_identification_slots_in_by_its_own_time():
    assert stretches(said((10, "a"), (30, "c"), (20, "b"))) == [
        Stretch(None, 20, "a"),
        Stretch(20, 30, "b"),
        Stretch(30, None, "c"),
    ]


@pytest.mark.parametrize(("moment", "owner"), [(-1, "a"), (10, "a"), (19, "a"), (20, "b"), (99, "b")])
def test_a_stretch_begins_with_its_first_moment_and_ends_before_its_last(moment: int, owner: str):
    assert stretch_at(stretches(said((10, "a"), (20, "b"))), moment).customer_id == owner


def owner_by_the_letter(points: Sequence[ChangePoint], moment: int) -> tuple[str | None, bool]:
    """Decide for one moment alone, in the words of the rule: whose it is, and whether it is contested."""
    order = sorted(points, key=lambda point: (point.occurred_at, point.version))
    past = [point for point in order if point.occurred_at <= moment]
    named_before = [point.customer_id for point in past if point.customer_id is not None]
    named_after = [p.customer_id for p in order if p.occurred_at > moment and p.customer_id is not None]
    if past and past[-1].customer_id is not None:
        return past[-1].customer_id, False
    if not named_before:
        return (named_after[0] if named_after else None), False
    if not named_after:
        return None, False
    if named_after[0] == named_before[-1]:
        return named_after[0], False
    return None, True


POINTS = st.lists(st.tuples(st.integers(0, 12), st.sampled_from([None, "a", "b", "c"])), max_size=9)


@given(POINTS)
def test_every_moment_belongs_to_whom_the_rule_says(told: list[tuple[int, str | None]]):
    points = said(*told)

    found = stretches(points)

    for moment in range(-1, 14):
        stretch = stretch_at(found, moment)
        assert (stretch.customer_id, stretch.contested) == owner_by_the_letter(points, moment)


@given(POINTS)
def test_stretches_cover_all_time_without_gap_or_overlap_and_neighbours_differ(told: list[tuple[int, str | None]]):
    found = stretches(said(*told))

    assert (found[0].since, found[-1].until) == (None, None)
    for one, next_one in pairwise(found):
        assert one.until == next_one.since
        assert next_one.since is not None
        assert one.since is None or one.since < next_one.since
        assert (one.customer_id, one.contested) != (next_one.customer_id, next_one.contested)


@given(POINTS, st.randoms(use_true_random=False))
def test_the_order_of_arrival_of_what_was_said_does_not_matter_but_at_one_moment(
    told: list[tuple[int, str | None]], chance: random.Random
):
    points = said(*told)
    shuffled = list(points)
    chance.shuffle(shuffled)

    assert stretches(shuffled) == stretches(points)


def test_an_erased_customers_time_is_nobodys_and_no_neighbour_inherits_it():
    points = [
        ChangePoint(10, 1, "A"), ChangePoint(20, 2, None), ChangePoint(30, 3, None, is_erased=True),
        ChangePoint(40, 4, None), ChangePoint(50, 5, None, is_erased=True), ChangePoint(60, 6, "A"),
    ]  # fmt: skip

    assert stretches(points) == [
        Stretch(None, 20, "A"),
        Stretch(20, 30, None, contested=True),
        Stretch(30, 60, None, erased=True),
        Stretch(60, None, "A"),
    ]


def test_the_time_before_the_first_identification_goes_with_an_erased_customer():
    assert stretches([ChangePoint(10, 1, None, is_erased=True), ChangePoint(20, 2, "A")]) == [
        Stretch(None, 20, None, erased=True),
        Stretch(20, None, "A"),
    ]
