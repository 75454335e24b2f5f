"""Pure: a patch carried out on what is held, read as the Croct profile that a website sees.

Operations follow one another: each finds what those before it left. One that cannot be carried out (a number added to a
text, a value put below nothing) voids the whole patch. One whose result its field cannot hold is skipped, with its
reason, and the next goes on from what was there; so is one that would overwrite with nothing.

Source: Croct SDK reference, Patch API (set, add, combine, merge, increment, decrement, remove, clear, unset).
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum, auto
from typing import Any, TypeAlias, TypeGuard

import msgspec

from profiles.fields import (
    ADDRESS,
    CUSTOM,
    EVERY_CUSTOM,
    NUMBER_MAX,
    SPELLINGS,
    Dialect,
    is_empty,
    read_profile_path,
    removal_for_path,
)
from profiles.profile import HeldField
from profiles.remarks import JsonValue, Kind, Reading, cut

OPERATIONS_MAX = 100
PATH_CHARACTERS_MAX = 200
PATH_PATTERN = r"\.|(?:[A-Za-z_][A-Za-z0-9_]*|\[[0-9]+])(?:\.[A-Za-z_][A-Za-z0-9_]*|\[[0-9]+])*"

_ROOT = "."
_PARTS = (ADDRESS.removesuffix("."), CUSTOM.removesuffix("."))
"""The maps of a profile that hold fields; like the profile itself they are always there."""

_PATH = re.compile(PATH_PATTERN)
_STEP = re.compile(r"([A-Za-z_]\w*)|\[(\d+)]", re.ASCII)


class PatchOperation(msgspec.Struct, frozen=True):
    """One step of a patch; ``type`` is one of ``OPERATIONS``."""

    type: str
    path: str
    value: JsonValue = None


class PatchFailed(msgspec.Struct, frozen=True):
    """The patch is void; ``operation`` tells which one cannot be carried out, counted from 0."""

    operation: int


class _Outcome(Enum):
    FAILED = auto()


_Result: TypeAlias = JsonValue | _Outcome
_FAILED = _Outcome.FAILED


# What each operation makes of one value. None is a value that is not there.


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and -NUMBER_MAX <= value <= NUMBER_MAX


def _items(value: JsonValue) -> list[JsonValue]:
    if isinstance(value, list):
        return [item for item in value if item is not None]
    return [] if value is None else [value]


def _key(value: JsonValue) -> object:
    """Return something that can be looked up in a set, equal for values that ``profiles.merge.same_value`` calls so."""
    if isinstance(value, list):
        return tuple(map(_key, value))
    if isinstance(value, dict):
        return frozenset((name, _key(item)) for name, item in value.items())
    return isinstance(value, bool), value


def _set(_: JsonValue, given: JsonValue) -> _Result:
    return given


def _add(held: JsonValue, given: JsonValue) -> _Result:
    return _FAILED if isinstance(held, dict) else _items(held) + _items(given)


def _combine(held: JsonValue, given: JsonValue) -> _Result:
    if isinstance(held, dict):
        return _FAILED
    union: dict[object, JsonValue] = {}
    for item in _items(held) + _items(given):
        union.setdefault(_key(item), item)
    return list(union.values())


def _merge(held: JsonValue, given: JsonValue) -> _Result:
    if held is None:
        return given
    if isinstance(held, dict) and isinstance(given, dict):
        return {**held, **given}
    if isinstance(held, dict) or not isinstance(given, list):
        return _FAILED
    return _items(held) + given


def _increment(held: JsonValue, given: JsonValue) -> _Result:
    return _sum(held, given, 1)


def _decrement(held: JsonValue, given: JsonValue) -> _Result:
    return _sum(held, given, -1)


def _sum(held: JsonValue, given: JsonValue, sign: int) -> _Result:
    one, other = 0 if held is None else held, 0 if given is None else given
    if not _is_number(one) or not _is_number(other):
        return _FAILED
    return one + sign * other


def _remove(held: JsonValue, given: JsonValue) -> _Result:
    if held is None:
        return None
    if not isinstance(held, list):
        return _FAILED
    unwanted = {_key(given), *map(_key, _items(given))}
    kept = [item for item in held if _key(item) not in unwanted]
    return held if len(kept) == len(held) else kept


def _clear(held: JsonValue, _: JsonValue) -> _Result:
    if isinstance(held, list):
        return []
    return {} if isinstance(held, dict) else None


def _unset(_held: JsonValue, _given: JsonValue) -> _Result:
    return None


_CHANGES: dict[str, Callable[[JsonValue, JsonValue], _Result]] = {
    "set": _set,
    "add": _add,
    "combine": _combine,
    "merge": _merge,
    "increment": _increment,
    "decrement": _decrement,
    "remove": _remove,
    "clear": _clear,
    "unset": _unset,
}
OPERATIONS = tuple(_CHANGES)
"""The types of operations."""

_WITHOUT_VALUE = frozenset({"clear", "unset"})
_TAKES_AWAY = frozenset({"remove", "clear", "unset"})
_COUNTS = frozenset({"increment", "decrement"})
_HAS_DEFAULT = _WITHOUT_VALUE | _COUNTS


def read_operation(sent: Mapping[str, JsonValue]) -> PatchOperation | None:
    """Return one operation as it was sent, or None if no profile is such that it could be carried out.

    Takes a type of ``OPERATIONS``; a path of names and indexes, "address.city", "custom.tags[0]", or "." for the whole
    profile; and a value, but for clear and unset: to increment and decrement a number within ±2^53 or null (which is
    what NaN becomes on its way, and counts as 0), by default 1; to merge a list or a map; else anything.
    Source: Croct SDK, ``Patch`` and its path expression.
    """
    kind, path = sent.get("type"), sent.get("path")
    if not isinstance(kind, str) or not isinstance(path, str) or not ("value" in sent or kind in _HAS_DEFAULT):
        return None
    value = None if kind in _WITHOUT_VALUE else sent.get("value", 1)
    operation = PatchOperation(kind, path, value)
    return operation if _is_sound(operation) else None


def _is_sound(operation: PatchOperation) -> bool:
    kind, path, value = operation.type, operation.path, operation.value
    if kind not in _CHANGES or len(path) > PATH_CHARACTERS_MAX or not _PATH.fullmatch(path):
        return False
    if kind in _COUNTS:
        return value is None or _is_number(value)
    return kind != "merge" or isinstance(value, list | dict)


def apply_patch(
    held: Mapping[str, HeldField], operations: Iterable[PatchOperation]
) -> tuple[Reading, ...] | PatchFailed:
    """Return what the operations, in their order, make of the fields they touch, or that they cannot be carried out.

    One reading tells what becomes of a field: the value that its own reader gave, a removal, or nothing (EMPTY). Beside
    it stands a fault where a value was skipped on the way. What is not touched, and what clear, unset and remove do
    not find below a field, has no reading.

    - A map of fields ("address", "custom", ".") is always there. To set it takes away the held fields that the new map
      does not name, if anything in the new map can be held; to merge it leaves them, but is shallow: a map within the
      given one is set.
    - A field that comes out empty ([], {}) by clear, unset or remove is removed; no other operation empties one. Below
      a field, where null is not held, a cleared text or number is removed too.
    - A removal of a field that is not held is told all the same: it keeps out an older value that arrives late.
    - An index fits a list only, and at most its end.
    """
    patch = _Patch(held)
    for number, operation in enumerate(operations):
        if not _is_sound(operation) or not patch.carry_out(operation):
            return PatchFailed(number)
    return tuple(patch.readings.values())


class _Patch:
    """The working state of one patch: the values that are held now, and a reading for each field touched so far."""

    def __init__(self, held: Mapping[str, HeldField]) -> None:
        self.values: dict[str, JsonValue] = {
            name: field.value for name, field in held.items() if field.value is not None
        }
        self.readings: dict[tuple[str, bool], Reading] = {}

    def carry_out(self, operation: PatchOperation) -> bool:
        if operation.path == _ROOT or operation.path in _PARTS:
            return self.on_map(operation)
        steps = list(_STEP.finditer(operation.path))
        names = 2 if steps[0][1] in _PARTS else 1
        path = operation.path[: steps[names - 1].end()]
        below = [step[1] if step[1] is not None else int(step[2]) for step in steps[names:]]
        (removal,) = removal_for_path(path)
        if removal.kind is Kind.REMOVAL:
            return self.on_field(operation, path, removal.field, below)
        if operation.type in _TAKES_AWAY:
            self.take(removal)
            return True
        if below or any(step[1] is None for step in steps[:names]):
            return False
        self.take(*read_profile_path(path, operation.value))
        return True

    def on_map(self, operation: PatchOperation) -> bool:
        path, value = operation.path, operation.value
        match operation.type:
            case "clear" | "unset":
                self.remove(path)
            case "set":
                self.put(path, value)
            case "merge" if isinstance(value, dict):
                self.put(path, value, keeps_others=True)
            case _:
                return False
        return True

    def on_field(self, operation: PatchOperation, path: str, name: str, below: Sequence[str | int]) -> bool:
        held = self.values.get(name)
        value = _changed(held, below, operation)
        if isinstance(value, _Outcome):
            return False
        takes_away = operation.type in _TAKES_AWAY
        if takes_away and value is held and held is not None:
            self.take(Reading(name, Kind.VALUE, held))
        elif takes_away and is_empty(value):
            if held is not None or (operation.type in _WITHOUT_VALUE and not below):
                self.take(Reading(name, Kind.REMOVAL))
        else:
            (reading,) = read_profile_path(path, value)
            # What was sent is not the whole list that it would have become a part of.
            is_fault = reading.kind is Kind.FAULT
            self.take(msgspec.structs.replace(reading, raw=cut(operation.value)) if is_fault else reading)
        return True

    def put(self, path: str, given: JsonValue, *, keeps_others: bool = False) -> bool:
        """Let a map of fields be what is given; return whether anything of that can be held."""
        named = given if isinstance(given, dict) else {}
        maps = {part: named.get(part) for part in _PARTS if path == _ROOT}
        parts = {part: value for part, value in maps.items() if isinstance(value, dict) and value}
        rest = {name: value for name, value in named.items() if name not in parts} if parts else given
        readings = read_profile_path(path, rest) if rest or not parts else ()
        for reading in readings:
            self.take(reading)
        takes = [self.put(part, value) for part, value in parts.items()]
        is_taken = any(takes) or any(reading.kind is Kind.VALUE for reading in readings)
        if is_taken and not keeps_others:
            for field in sorted(self.values):
                name = _name_in(path, field)
                if name is not None and name not in named:
                    self.take(Reading(field, Kind.REMOVAL))
        return is_taken

    def remove(self, path: str) -> None:
        for removal in removal_for_path(path):
            fields = [removal.field]
            if removal.field == EVERY_CUSTOM:
                fields = sorted(field for field in self.values if field.startswith(CUSTOM))
            for field in fields:
                self.take(Reading(field, Kind.REMOVAL))

    def take(self, reading: Reading) -> None:
        if reading.kind is Kind.VALUE:
            self.values[reading.field] = reading.value
        elif reading.kind is Kind.REMOVAL:
            self.values.pop(reading.field, None)
        key = (reading.field, reading.kind is Kind.FAULT)
        if reading.kind is not Kind.EMPTY or key not in self.readings:
            self.readings[key] = reading


_SPELLED = {name: path for path, name in SPELLINGS[Dialect.PROFILE].items()}


def _name_in(path: str, field: str) -> str | None:
    """Return the name that a held field, or the map it stands in, has in this map of fields; None if not in there."""
    spelled = field if field.startswith(CUSTOM) else _SPELLED.get(field)
    if spelled is None:
        return None
    first, _, leaf = spelled.partition(".")
    if path == _ROOT:
        return first
    return leaf if first == path else None


def _changed(held: JsonValue, below: Sequence[str | int], operation: PatchOperation) -> _Result:
    """Return the value after an operation on it or on something ``below`` it; the same object if nothing is changed."""
    if not below:
        return _CHANGES[operation.type](held, operation.value)
    step, *rest = below
    takes_away = operation.type in _TAKES_AWAY
    inner: JsonValue = None
    if isinstance(held, list) and isinstance(step, int) and step <= len(held):
        inner = held[step] if step < len(held) else None
    elif isinstance(held, dict) and isinstance(step, str):
        inner = held.get(step)
    else:
        return held if takes_away else _FAILED
    value = _changed(inner, rest, operation)
    if isinstance(value, _Outcome):
        return value
    if takes_away and value is inner:
        return held
    after: Any = list(held) if isinstance(held, list) else dict(held)
    if takes_away and value is None:
        del after[step]
    elif step == len(after):
        after.append(value)
    else:
        after[step] = value
    changed: JsonValue = after
    return changed
