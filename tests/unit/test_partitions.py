"""Which months there should be, and what they are called."""

from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from identity.footprint import kept_until
from identity.partitions import MONTHS_AHEAD, day_of, month_of, name_of, wanted

DAY = 86_400_000


def test_months_are_made_where_something_new_falls_and_two_ahead():
    assert wanted(date(2026, 11, 21), [395]) == [date(2027, 12, 1), date(2028, 1, 1), date(2028, 2, 1)]


def test_of_several_retentions_each_has_its_months_and_none_between():
    assert [name_of(month) for month in wanted(date(2026, 11, 21), [30, 395, 30])] == [
        "event_2026_12",
        "event_2027_01",
        "event_2027_02",
        "event_2027_12",
        "event_2028_01",
        "event_2028_02",
    ]


def test_without_a_workspace_nothing_is_made():
    assert wanted(date(2026, 11, 21), []) == []


def test_the_name_of_a_month_tells_it_and_no_other_name_does():
    assert month_of(name_of(date(2027, 12, 31))) == date(2027, 12, 1)
    assert [month_of(name) for name in ("event_seen", "event_2027_12_old", "event_2027_13")] == [None] * 3


@given(st.integers(1_600_000_000_000, 2_500_000_000_000), st.integers(1, 3650), st.integers(0, 31 * MONTHS_AHEAD - 5))
def test_whatever_arrives_in_the_months_ahead_has_its_partition(now: int, days: int, later: int):
    arrived = now + later * DAY

    month = date.fromisoformat(kept_until(arrived, days)).replace(day=1)

    assert month in wanted(day_of(now), [days])
