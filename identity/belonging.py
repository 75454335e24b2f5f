"""Pure: whose the stretches of a visitor's time are. What the visitor did in one is its customer's footprint."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence

import msgspec


class ChangePoint(msgspec.Struct, frozen=True):
    """An applied identification (``customer_id``) or sign-out (None). The later version wins at one moment.

    ``is_erased``: it was an identification, of a customer who was erased.
    """

    occurred_at: int
    version: int
    customer_id: str | None
    is_erased: bool = False


class Stretch(msgspec.Struct, frozen=True):
    """A visitor's time from ``since`` (None: ever before) up to, not including, ``until`` (None: ever after).

    ``customer_id`` is whose it is, or None: nobody's. ``contested``: it lies between two different customers, so that
    it is nobody's on purpose; ``erased``: it was somebody's who was erased.
    """

    since: int | None
    until: int | None
    customer_id: str | None
    contested: bool = False
    erased: bool = False


_ERASED = "\0"
"""Stands for every customer who was erased; no id has this character."""


def stretches(change_points: Iterable[ChangePoint], *, is_whole: bool = True) -> list[Stretch]:
    """Return whose the visitor's time is, all of it, oldest first, no two neighbours alike.

    From an identification on it is that customer's. Before the first identification it is the first customer's. After
    a sign-out it is the customer's who was there before, if the same one comes next; if another one comes, it is
    contested; if nobody comes, nobody's. What was an erased customer's is nobody's. Where ``is_whole`` is false, older
    change points were left out, and whose the time before the first identification is, nobody knows.
    """
    points = sorted(change_points, key=lambda point: (point.occurred_at, point.version))
    following = _following(points)
    first = following[0] if points and is_whole else None
    found = [_stretch(None, points[0].occurred_at if points else None, first)]
    before: str | None = None
    for at, point in enumerate(points):
        until = points[at + 1].occurred_at if at + 1 < len(points) else None
        customer_id, contested = _who(point), False
        if customer_id is not None:
            before = customer_id
        elif following[at] is not None and (is_whole or before is not None):
            contested = before not in (None, following[at])
            customer_id = None if contested else following[at]
        if until != point.occurred_at:
            _append(found, _stretch(point.occurred_at, until, customer_id, contested=contested))
    return found


def _who(point: ChangePoint) -> str | None:
    return _ERASED if point.is_erased else point.customer_id


def _stretch(since: int | None, until: int | None, customer_id: str | None, *, contested: bool = False) -> Stretch:
    erased = customer_id == _ERASED
    return Stretch(since, until, None if erased else customer_id, contested, erased)


def _following(points: Sequence[ChangePoint]) -> list[str | None]:
    """Return, for each point, the customer of the first identification at it or after it."""
    found: list[str | None] = []
    customer_id: str | None = None
    for point in reversed(points):
        who = _who(point)
        customer_id = who if who is not None else customer_id
        found.append(customer_id)
    return found[::-1]


def _append(found: list[Stretch], stretch: Stretch) -> None:
    last = found[-1]
    if (last.customer_id, last.contested, last.erased) == (stretch.customer_id, stretch.contested, stretch.erased):
        found[-1] = msgspec.structs.replace(last, until=stretch.until)
    else:
        found.append(stretch)


def stretch_at(found: Sequence[Stretch], moment: int) -> Stretch:
    """Return the stretch that a moment lies in, out of those that ``stretches`` gave."""
    # The first has no beginning: a moment lies in it unless another one has begun.
    return found[bisect_right(found, moment, lo=1, key=lambda stretch: stretch.since or 0) - 1]
