"""Pure: declarations of what an event's properties look like, and the readers that follow from them.

A declaration is data; ``compile_object`` makes one closure of it. A reader never raises: it gives the clean value, or
``Flaw.INVALID`` after it told what is wrong where. Being wrong stops at the nearest optional value around it, which is
left out with remarks; without such a one it is a fault of the event.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from enum import Enum, StrEnum
from typing import Final, Literal, TypeAlias

import msgspec

from identity.events.behaviour import EventFault, FaultCode
from identity.visitors import is_storable_id
from profiles.remarks import JsonValue, storable

ID_CHARACTERS_MAX = 254
TEXT_CHARACTERS_MAX = 1_000
LONG_TEXT_CHARACTERS_MAX = 8_192
KEY_CHARACTERS_MAX = 300
ITEMS_MAX = 500
ENTRIES_MAX = 100
NUMBER_MAX = 10**15
FINDINGS_MAX = 20
"""Faults and remarks of one event that are listed; ``FaultCode.MORE`` stands for the rest."""
PATH_NAME_CHARACTERS_MAX = 64
PATH_CHARACTERS_MAX = 400


# The declarations. Lengths of texts are counted as JavaScript counts them, in UTF-16 units.


class Text(msgspec.Struct, frozen=True):
    """A text. What PostgreSQL cannot hold (U+0000, a half of a cut emoji) is replaced by U+FFFD.

    ``pattern`` is matched by the whole text, else ``code`` is the fault and ``form`` says it in words.
    """

    characters_min: int
    characters_max: int
    is_blank_allowed: bool = True
    pattern: str | None = None
    code: FaultCode = FaultCode.NOT_A_NAME
    form: str = "a text"


class Identifier(msgspec.Struct, frozen=True):
    """A text that is compared exactly: held trimmed, and never repaired, lest two of them become one."""

    characters_max: int = ID_CHARACTERS_MAX


class Url(msgspec.Struct, frozen=True):
    """Whatever a browser's ``new URL()`` takes without a base, so javascript:void(0) too. It is only data."""

    characters_max: int = LONG_TEXT_CHARACTERS_MAX


class Choice(msgspec.Struct, frozen=True):
    """One of these texts, exactly."""

    values: tuple[str, ...]


class Number(msgspec.Struct, frozen=True):
    """A finite number within ±``NUMBER_MAX``, not below ``minimum``, above ``above``."""

    minimum: int | None = None
    above: int | None = None
    is_whole: bool = False


class Json(msgspec.Struct, frozen=True):
    """null, a boolean, a number or a text; lists and maps of these, ``levels`` deep. All or nothing."""

    levels: int
    characters_max: int
    items_max: int = 0


class OneOf(msgspec.Struct, frozen=True):
    """The first of these that takes the value."""

    leaves: tuple["Text | Number", ...]


class ListOf(msgspec.Struct, frozen=True):
    """A list. An optional one loses its wrong items, a required one is wrong with them."""

    item: "Shape"
    items_min: int = 0
    items_max: int = ITEMS_MAX


class MapOf(msgspec.Struct, frozen=True):
    """A map with names of the sender's choice; a wrong entry is left out."""

    value: "Shape"
    name: Text
    entries_max: int = ENTRIES_MAX


class Property(msgspec.Struct, frozen=True):
    """One property of an object."""

    name: str
    shape: "Shape"
    is_required: bool


class Object(msgspec.Struct, frozen=True):
    """An object; properties that it does not declare are left out."""

    properties: tuple[Property, ...]


Shape: TypeAlias = Text | Identifier | Url | Choice | Number | Json | OneOf | ListOf | MapOf | Object


def describe_object(required: Mapping[str, Shape], optional: Mapping[str, Shape] | None = None) -> Object:
    """Return the object with these properties."""
    return Object(
        (
            *(Property(name, shape, is_required=True) for name, shape in required.items()),
            *(Property(name, shape, is_required=False) for name, shape in (optional or {}).items()),
        )
    )


class Line(msgspec.Struct, frozen=True):
    """One property in words: its path as in "cart.items[*].product.name", its limit, and whether an event needs it."""

    path: str
    limit: str
    is_required: bool


class Family(StrEnum):
    """Whose catalogue an event is of."""

    CRESCENDO = "crescendo"
    CROCT = "croct"


class OrderNames(msgspec.Struct, frozen=True):
    """Where an event tells of an order: these properties of the object ``within``, or of the event itself."""

    order_id: str
    revenue: str
    currency: str
    within: str | None = None


class EventShape(msgspec.Struct, frozen=True):
    """One event of a catalogue.

    Its properties stand in ``wrapper``, if it has one and that is sent, else beside the type. ``label`` names the
    property that says more than the type. ``transaction_id`` names the property by which the event is stored once only.
    """

    name: str
    family: Family
    shape: Object
    wrapper: str | None = None
    label: str | None = None
    order: OrderNames | None = None
    transaction_id: str | None = None

    @property
    def lines(self) -> tuple[Line, ...]:
        """All properties in words."""
        return tuple(lines_of(self.shape))

    @property
    def required(self) -> tuple[str, ...]:
        """The paths that no event of this name may lack."""
        return tuple(line.path for line in self.lines if line.is_required)

    @property
    def optional(self) -> tuple[str, ...]:
        """The other paths."""
        return tuple(line.path for line in self.lines if not line.is_required)


# The readers.


class Flaw(Enum):
    """What a reader gives instead of a value."""

    INVALID = "invalid"


INVALID: Final = Flaw.INVALID
Path: TypeAlias = "tuple[Path, str | int] | None"
Held: TypeAlias = JsonValue | Literal[Flaw.INVALID]
Read: TypeAlias = Callable[[object, Path, list[EventFault], list[EventFault]], Held]
"""Takes the value, where it stands, and where its faults and its remarks go."""
_ReadLeaf: TypeAlias = Callable[[object], JsonValue | FaultCode]


def compile_object(shape: Object, ignored: frozenset[str] = frozenset()) -> Read:
    """Return the reader of the object. The ``ignored`` names are passed over unless they are declared."""
    rows: dict[str, tuple[Read, bool, bool, bool]] = {
        declared.name: (
            _compile(declared.shape, is_strict=declared.is_required),
            declared.is_required,
            isinstance(declared.shape, Json),
            isinstance(declared.shape, Json)
            or (isinstance(declared.shape, Text) and not declared.shape.characters_min),
        )
        for declared in shape.properties
    }
    required = tuple(declared.name for declared in shape.properties if declared.is_required)

    def read(value: object, path: Path, faults: list[EventFault], remarks: list[EventFault]) -> Held:
        if not isinstance(value, dict):
            return tell(faults, path, FaultCode.WRONG_TYPE)
        clean: dict[str, JsonValue] = {}
        for name, sent in value.items():
            row = rows.get(name)
            if row is None:
                if name not in ignored:
                    tell(remarks, (path, name), FaultCode.UNKNOWN_PROPERTY)
                continue
            read_property, is_required, takes_null, takes_empty = row
            if (sent is None and not takes_null) or (sent == "" and not takes_empty):
                continue
            held = read_property(sent, (path, name), faults if is_required else remarks, remarks)
            if held is not INVALID:
                clean[name] = held
        is_whole = True
        for name in required:
            if name not in clean:
                is_whole = False
                sent = value.get(name)
                if sent is None or sent == "":
                    tell(faults, (path, name), FaultCode.MISSING if sent is None else FaultCode.EMPTY)
        return clean if is_whole else INVALID

    return read


def findings(
    faults: list[EventFault], remarks: list[EventFault]
) -> tuple[tuple[EventFault, ...], tuple[EventFault, ...]]:
    """Return both, ``FINDINGS_MAX`` at most together, faults first; one entry each says that there are more."""
    shown = tuple(faults[:FINDINGS_MAX])
    left = tuple(remarks[: FINDINGS_MAX - len(shown)])
    return (
        (*shown, _MORE) if len(shown) < len(faults) else shown,
        (*left, _MORE) if len(left) < len(remarks) else left,
    )


_MORE = EventFault("", FaultCode.MORE)


def _compile(shape: Shape, *, is_strict: bool) -> Read:
    match shape:
        case Object():
            return compile_object(shape)
        case ListOf():
            return _list(shape, is_strict=is_strict)
        case MapOf():
            return _map(shape)
    read_leaf = _compile_leaf(shape)

    def read(value: object, path: Path, faults: list[EventFault], _: list[EventFault]) -> Held:
        held = read_leaf(value)
        return tell(faults, path, held) if type(held) is FaultCode else held

    return read


def _list(shape: ListOf, *, is_strict: bool) -> Read:
    read_item = _compile(shape.item, is_strict=True)
    items_min, items_max = shape.items_min, shape.items_max

    def read(value: object, path: Path, faults: list[EventFault], remarks: list[EventFault]) -> Held:
        if not isinstance(value, list):
            return tell(faults, path, FaultCode.WRONG_TYPE)
        if len(value) < items_min:
            return tell(faults, path, FaultCode.EMPTY)
        if len(value) > items_max:
            return tell(faults, path, FaultCode.TOO_MANY)
        items: list[JsonValue] = []
        for index, sent in enumerate(value):
            held = read_item(sent, (path, index), faults, remarks)
            if held is not INVALID:
                items.append(held)
        if len(items) < (len(value) if is_strict else items_min):
            return INVALID
        return items

    return read


def _map(shape: MapOf) -> Read:
    read_entry = _compile(shape.value, is_strict=True)
    read_name = _compile_leaf(shape.name)
    entries_max = shape.entries_max

    def read(value: object, path: Path, faults: list[EventFault], remarks: list[EventFault]) -> Held:
        if not isinstance(value, dict):
            return tell(faults, path, FaultCode.WRONG_TYPE)
        if len(value) > entries_max:
            return tell(faults, path, FaultCode.TOO_MANY)
        entries: dict[str, JsonValue] = {}
        for name, sent in value.items():
            known = read_name(name)
            if known != name:  # repaired names could be one name
                tell(remarks, (path, name), known if type(known) is FaultCode else FaultCode.FORBIDDEN_CHARACTER)
                continue
            held = read_entry(sent, (path, name), remarks, remarks)
            if held is not INVALID:
                entries[name] = held
        return entries

    return read


def _compile_leaf(shape: Text | Identifier | Url | Choice | Number | Json | OneOf) -> _ReadLeaf:
    match shape:
        case Text():
            return _text(shape)
        case Number():
            return _number(shape)
        case OneOf():
            return _one_of(shape)
        case Json():
            return lambda value: _read_json(value, shape, shape.levels)
        case Identifier():
            return lambda value: _read_identifier(value, shape.characters_max)
        case Url():
            return lambda value: _read_url(value, shape.characters_max)
        case Choice():
            return lambda value: _read_choice(value, shape.values)


def _text(shape: Text) -> _ReadLeaf:
    characters_min, characters_max = shape.characters_min, shape.characters_max
    is_blank_allowed, code = shape.is_blank_allowed, shape.code
    matches = re.compile(shape.pattern, re.ASCII).fullmatch if shape.pattern else None

    def read(value: object) -> JsonValue | FaultCode:
        if not isinstance(value, str):
            return FaultCode.WRONG_TYPE
        if is_over(value, characters_max):
            return FaultCode.TOO_LONG
        if len(value) < characters_min:
            return FaultCode.TOO_SHORT if value else FaultCode.EMPTY
        if not is_blank_allowed and value.isspace():
            return FaultCode.EMPTY
        text = value if value.isascii() and "\x00" not in value else storable(value)
        return code if matches is not None and not matches(text) else text

    return read


def is_over(text: str, characters_max: int) -> bool:
    """Return whether the text has more UTF-16 units than this."""
    if 2 * len(text) <= characters_max or text.isascii():
        return len(text) > characters_max
    return len(text) > characters_max or len(text) + sum(character > "\uffff" for character in text) > characters_max


def _number(shape: Number) -> _ReadLeaf:
    minimum = -NUMBER_MAX if shape.minimum is None else shape.minimum
    above = -NUMBER_MAX - 1 if shape.above is None else shape.above
    is_whole = shape.is_whole

    def read(value: object) -> JsonValue | FaultCode:
        if not isinstance(value, int | float) or isinstance(value, bool):
            return FaultCode.NUMBER_AS_TEXT if isinstance(value, str) else FaultCode.WRONG_TYPE
        if not -NUMBER_MAX <= value <= NUMBER_MAX:  # NaN is neither
            return FaultCode.NOT_A_NUMBER
        if value < minimum or value <= above:
            return FaultCode.TOO_SMALL
        return FaultCode.NOT_A_NUMBER if is_whole and value != int(value) else value

    return read


def _one_of(shape: OneOf) -> _ReadLeaf:
    leaves = tuple(_compile_leaf(leaf) for leaf in shape.leaves)

    def read(value: object) -> JsonValue | FaultCode:
        code = FaultCode.WRONG_TYPE
        for leaf in leaves:
            held = leaf(value)
            if type(held) is not FaultCode:
                return held
            if held not in (FaultCode.WRONG_TYPE, FaultCode.NUMBER_AS_TEXT):
                code = held  # the type was right, so this tells most
        return code

    return read


def _read_json(value: object, shape: Json, levels: int) -> JsonValue | FaultCode:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return value if -NUMBER_MAX <= value <= NUMBER_MAX else FaultCode.NOT_A_NUMBER
    if isinstance(value, str):
        return FaultCode.TOO_LONG if is_over(value, shape.characters_max) else storable(value)
    if not isinstance(value, list | dict) or not levels:
        return FaultCode.WRONG_TYPE
    if len(value) > shape.items_max:
        return FaultCode.TOO_MANY
    if isinstance(value, list):
        items: list[JsonValue] = []
        for sent in value:
            held = _read_json(sent, shape, levels - 1)
            if type(held) is FaultCode:
                return held
            items.append(held)
        return items
    entries: dict[str, JsonValue] = {}
    for name, sent in value.items():
        if is_over(name, KEY_CHARACTERS_MAX):
            return FaultCode.TOO_LONG
        if storable(name) != name:
            return FaultCode.FORBIDDEN_CHARACTER
        held = _read_json(sent, shape, levels - 1)
        if type(held) is FaultCode:
            return held
        entries[name] = held
    return entries


def _read_identifier(value: object, characters_max: int) -> JsonValue | FaultCode:
    if not isinstance(value, str):
        return FaultCode.WRONG_TYPE
    text = value.strip()
    if not text:
        return FaultCode.EMPTY
    if is_over(text, characters_max):
        return FaultCode.TOO_LONG
    return text if is_storable_id(text, characters_max) else FaultCode.FORBIDDEN_CHARACTER


def _read_choice(value: object, values: tuple[str, ...]) -> JsonValue | FaultCode:
    if not isinstance(value, str):
        return FaultCode.WRONG_TYPE
    return value if value in values else FaultCode.NOT_IN_LIST


# A browser trims controls and spaces around a URL and passes over tabs and line ends within it. Only these schemes
# need a host; which hosts are refused is a little less here than there.
_URL_PADDING = "".join(map(chr, range(0x21)))
_URL_PASSED_OVER = str.maketrans("", "", "\t\n\r")
_URL = re.compile(
    r"(?:(?:https?|wss?|ftp):[/\\]*+(?:[^/\\?#]*@)?(?:\[[^\]/\\?#]+\]|[^\x00-\x20<>\[\]^|:/\\?#@]+)(?::\d*)?(?:[/\\?#].*)?"
    r"|(?!(?:https?|wss?|ftp):)[a-z][a-z0-9+.-]*:.*)",
    re.ASCII | re.IGNORECASE | re.DOTALL,
)


def _read_url(value: object, characters_max: int) -> JsonValue | FaultCode:
    if not isinstance(value, str):
        return FaultCode.WRONG_TYPE
    if is_over(value, characters_max):
        return FaultCode.TOO_LONG
    text = storable(value.strip(_URL_PADDING))
    return text if _URL.fullmatch(text.translate(_URL_PASSED_OVER)) else FaultCode.NOT_A_URL


def tell(found: list[EventFault], path: Path, code: FaultCode) -> Literal[Flaw.INVALID]:
    """Note what is wrong where; the list stays bounded."""
    if len(found) <= FINDINGS_MAX:  # one more than is listed shows that there are more
        found.append(EventFault(_pointer(path), code))
    return INVALID


def _pointer(path: Path) -> str:
    """Return the JSON pointer, storable and bounded, so that a finding costs no more than what it is about."""
    parts: list[str] = []
    while path is not None:
        path, name = path
        shown = storable(str(name)[:PATH_NAME_CHARACTERS_MAX])
        parts.append(shown.replace("~", "~0").replace("/", "~1"))
    return "".join(f"/{part}" for part in reversed(parts))[:PATH_CHARACTERS_MAX]


# The declarations in words, for the documentation.


def lines_of(shape: Object, path: str = "", *, is_required: bool = True) -> Iterator[Line]:
    """Return every property with those inside it, in the order of the declaration."""
    for declared in shape.properties:
        name = f"{path}.{declared.name}" if path else declared.name
        yield from _lines(declared.shape, name, is_required=is_required and declared.is_required)


def _lines(shape: Shape, path: str, *, is_required: bool) -> Iterator[Line]:
    yield Line(path, limit_of(shape), is_required)
    inner = shape
    while isinstance(inner, ListOf):
        inner, path = inner.item, f"{path}[*]"
    if isinstance(inner, Object):
        yield from lines_of(inner, path, is_required=is_required)


def limit_of(shape: Shape) -> str:
    """Return the limits of a shape in words."""
    match shape:
        case Text():
            least, most = shape.characters_min, shape.characters_max
            span = f"{least}–{most}" if least else f"≤ {most}"
            return f"{shape.form}, {span} characters" + ("" if shape.is_blank_allowed else ", not blank")
        case Identifier():
            return f"a text, 1–{shape.characters_max} characters, no control characters, trimmed"
        case Url():
            return f"a URL with its scheme, ≤ {shape.characters_max} characters"
        case Choice():
            return " | ".join(shape.values)
        case Number():
            bound = "" if shape.minimum is None else f" ≥ {shape.minimum}"
            bound += "" if shape.above is None else f" > {shape.above}"
            return f"a {'whole ' * shape.is_whole}number{bound}"
        case OneOf():
            return " or ".join(limit_of(leaf) for leaf in shape.leaves)
        case Json():
            simple = f"null, a boolean, a number or a text, ≤ {shape.characters_max} characters"
            return simple + (f", or lists and maps of ≤ {shape.items_max}, {shape.levels} deep" * (shape.levels > 0))
        case ListOf():
            span = f"{shape.items_min}–{shape.items_max}" if shape.items_min else f"≤ {shape.items_max}"
            return f"a list of {span}: {limit_of(shape.item)}"
        case MapOf():
            return f"a map of ≤ {shape.entries_max}: {limit_of(shape.name)} → {limit_of(shape.value)}"
        case Object():
            return "an object"
