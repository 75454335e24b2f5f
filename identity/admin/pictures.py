"""Pure: where things stand in a drawing. Times become places on a line, visitors and customers become boxes.

Templates draw what is given here with attributes and classes alone: the pages allow no style within.
"""

import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from identity.belonging import Stretch
from profiles.clock import to_text

LANE_LEFT, LANE_RIGHT = 150, 990
LANE_TOP, LANE_HEIGHT = 34, 46
AXIS_TICKS = 5
LABEL_COLUMNS_MAX = 16
BAR_LABEL_WIDTH_MIN = 70
_DAY_MILLISECONDS = 86_400_000


class Bar(msgspec.Struct, frozen=True):
    """A stretch of a visitor's time. ``kind``: own, other, contested or nobody."""

    x: float
    width: float
    kind: str
    label: str
    customer_id: str | None
    since: str | None
    until: str | None


class Mark(msgspec.Struct, frozen=True):
    """Something that happened. ``kind``: what the history calls it, which the style sheet draws."""

    x: float
    kind: str
    title: str


class Lane(msgspec.Struct, frozen=True):
    """One visitor."""

    visitor_id: str
    label: str
    y: int
    bars: list[Bar]
    marks: list[Mark]


class Lanes(msgspec.Struct, frozen=True):
    """All lanes over one axis. ``window``: the place and width of what is listed below the drawing."""

    height: int
    axis: list[tuple[float, str]]
    lanes: list[Lane]
    window: tuple[float, float] | None


class Happening(msgspec.Struct, frozen=True):
    """What is to be marked in a visitor's lane."""

    visitor_id: str
    at: int
    kind: str
    title: str


def draw_lanes(
    stretches: Mapping[str, Sequence[Stretch]],
    happenings: Iterable[Happening],
    *,
    own: Collection[str],
    begin: int,
    end: int,
    window: tuple[int, int] | None = None,
) -> Lanes:
    """Return the lanes of visitors between two moments; ``own`` are the ids of the customer whose page it is."""
    span = max(1, end - begin)

    def place(moment: int) -> float:
        share = (min(max(moment, begin), end) - begin) / span
        return round(LANE_LEFT + share * (LANE_RIGHT - LANE_LEFT), 1)

    marks: dict[str, list[Mark]] = {visitor_id: [] for visitor_id in stretches}
    for happening in happenings:
        if happening.visitor_id in marks:
            marks[happening.visitor_id].append(Mark(place(happening.at), happening.kind, happening.title))
    lanes = []
    for number, (visitor_id, found) in enumerate(stretches.items()):
        bars = []
        for stretch in found:
            left = place(begin if stretch.since is None else stretch.since)
            right = place(end if stretch.until is None else stretch.until)
            if right > left or len(found) == 1:
                bars.append(_bar(stretch, left, right - left, own))
        lanes.append(
            Lane(
                visitor_id, cut(visitor_id, LABEL_COLUMNS_MAX), LANE_TOP + number * LANE_HEIGHT, bars, marks[visitor_id]
            )
        )
    step = span / AXIS_TICKS
    axis = [(place(int(begin + n * step)), _axis_text(int(begin + n * step), span)) for n in range(AXIS_TICKS + 1)]
    shaded = None
    if window is not None:
        left, right = place(window[0]), place(window[1])
        shaded = (left - 2, right - left + 4)
    return Lanes(LANE_TOP + len(lanes) * LANE_HEIGHT + 8, axis, lanes, shaded)


def _bar(stretch: Stretch, left: float, width: float, own: Collection[str]) -> Bar:
    if stretch.contested:
        kind = "contested"
    elif stretch.customer_id is None:
        kind = "nobody"
    else:
        kind = "own" if stretch.customer_id in own else "other"
    has_room = stretch.customer_id is not None and width >= BAR_LABEL_WIDTH_MIN
    label = cut(str(stretch.customer_id), int(width // 9)) if has_room else ""
    return Bar(
        x=left,
        width=round(max(width, 1.0), 1),
        kind=kind,
        label=label,
        customer_id=stretch.customer_id,
        since=None if stretch.since is None else to_text(stretch.since),
        until=None if stretch.until is None else to_text(stretch.until),
    )


def _axis_text(moment: int, span: int) -> str:
    text = to_text(moment)
    if span > 6 * _DAY_MILLISECONDS:
        return text[:10]
    return text[5:16].replace("T", " ") if span > _DAY_MILLISECONDS else text[11:19]


def cut(text: str, columns_max: int) -> str:
    """Return the beginning of a text that fits so many columns; letters of East Asia take two."""
    columns = 0
    for at, letter in enumerate(text):
        columns += 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        if columns > columns_max:
            return text[: max(1, at - 1)] + "…"
    return text


# The graph: the customer, its visitors in a column, and on the other side whom these belonged to besides.

ROW_HEIGHT = 44
BOX_HEIGHT = 32
LEFT_X, LEFT_WIDTH = 8, 170
VISITOR_X, VISITOR_WIDTH = 515, 210
RIGHT_X, RIGHT_WIDTH = 1060, 170
GRAPH_WIDTH = 1240
BOX_COLUMNS_MAX = 18
BEND = 50
"""Between a box and the label of its line, which has room for two times."""


class Link(msgspec.Struct, frozen=True):
    """A line between a visitor and a customer. ``kind``: present, past, contested, unapplied or undone.

    ``since`` and ``until`` are of its latest stretch, ``earlier`` is the number of those before.
    """

    visitor_id: str
    customer_id: str | None
    kind: str
    since: str | None
    until: str | None
    earlier: int = 0
    is_left: bool = False
    path: str = ""
    label_x: int = 0
    label_y: int = 0


class Box(msgspec.Struct, frozen=True):
    """A visitor or a customer (None: nobody)."""

    id: str | None
    label: str
    x: int
    y: int
    width: int


class Graph(msgspec.Struct, frozen=True):
    """The whole drawing."""

    width: int
    height: int
    customer: Box
    visitors: list[Box]
    others: list[Box]
    links: list[Link]


def links_of(
    visitor_id: str, stretches: Sequence[Stretch], in_vain: Mapping[str, str], first_named: Mapping[str, str]
) -> list[Link]:
    """Return a visitor's links, one per customer, the contested stretches as one with nobody.

    ``in_vain`` are customers that were named without effect, or no longer have any: unapplied or undone.
    ``first_named`` is when each customer was named first: what was before that became its own in hindsight.
    """
    held: dict[tuple[str | None, bool], list[Stretch]] = {}
    for stretch in stretches:
        if stretch.customer_id is not None or stretch.contested:
            held.setdefault((stretch.customer_id, stretch.contested), []).append(stretch)
    links = []
    for (customer_id, contested), found in held.items():
        last = found[-1]
        kind = "contested" if contested else "present" if last.until is None else "past"
        links.append(
            Link(
                visitor_id,
                customer_id,
                kind,
                first_named.get(str(customer_id)) if last.since is None else to_text(last.since),
                None if last.until is None else to_text(last.until),
                len(found) - 1,
            )
        )
    known = {link.customer_id for link in links}
    links += [Link(visitor_id, each, kind, None, None) for each, kind in in_vain.items() if each not in known]
    return links


def draw_graph(customer_id: str, links: Mapping[str, Sequence[Link]], nobody: str) -> Graph:
    """Return the graph of a customer, whose visitors come in the order of ``links``."""
    drawn: list[Link] = []
    visitors: list[Box] = []
    places: dict[str | None, list[int]] = {}
    row = 0
    for visitor_id, found in links.items():
        others = [link for link in found if link.customer_id != customer_id]
        rows = max(1, len(others))
        middle = row * ROW_HEIGHT + rows * ROW_HEIGHT // 2 + 8
        visitors.append(_box(visitor_id, VISITOR_X, middle, VISITOR_WIDTH))
        for at, link in enumerate(others):
            line = row * ROW_HEIGHT + at * ROW_HEIGHT + ROW_HEIGHT // 2 + 8
            places.setdefault(link.customer_id, []).append(line)
            drawn.append(msgspec.structs.replace(link, label_x=VISITOR_X + VISITOR_WIDTH + BEND, label_y=line))
        drawn += [
            msgspec.structs.replace(link, is_left=True, label_x=VISITOR_X - 8, label_y=middle)
            for link in found
            if link.customer_id == customer_id
        ]
        row += rows
    height = max(1, row) * ROW_HEIGHT + 16
    boxes, lowest = [], 0
    for other, lines in sorted(places.items(), key=lambda held: sum(held[1]) / len(held[1])):
        middle = max(sum(lines) // len(lines), lowest)
        lowest = middle + ROW_HEIGHT
        boxes.append(_box(other, RIGHT_X, middle, RIGHT_WIDTH, nobody))
    height = max(height, lowest)
    left = _box(customer_id, LEFT_X, height // 2, LEFT_WIDTH)
    middles = {box.id: box.y + BOX_HEIGHT // 2 for box in boxes}
    rows_of = {box.id: box.y + BOX_HEIGHT // 2 for box in visitors}
    paths = [
        msgspec.structs.replace(
            link,
            path=_left_path(height // 2, link.label_y)
            if link.is_left
            else _right_path(rows_of[link.visitor_id], link.label_y, middles[link.customer_id]),
        )
        for link in drawn
    ]
    return Graph(GRAPH_WIDTH, height, left, visitors, boxes, paths)


def _box(name: str | None, x: int, middle: int, width: int, nobody: str = "") -> Box:
    columns = BOX_COLUMNS_MAX if width == LEFT_WIDTH else BOX_COLUMNS_MAX + 3
    return Box(name, cut(nobody if name is None else name, columns), x, middle - BOX_HEIGHT // 2, width)


def _left_path(begin: int, end: int) -> str:
    left = LEFT_X + LEFT_WIDTH
    return f"M{left} {begin}C{left + BEND} {begin} {left} {end} {left + BEND} {end}H{VISITOR_X}"


def _right_path(begin: int, line: int, end: int) -> str:
    left, right = VISITOR_X + VISITOR_WIDTH, RIGHT_X
    return (
        f"M{left} {begin}C{left + BEND // 2} {begin} {left + BEND // 2} {line} {left + BEND} {line}"
        f"H{right - BEND}C{right} {line} {right - BEND} {end} {right} {end}"
    )
