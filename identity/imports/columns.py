"""Pure: what the columns of a file mean, and what one line of it says."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache
from typing import NamedTuple

import msgspec

from identity.events.identity import Assertion, Sender
from identity.refusals import Refusal
from identity.tolerant import read_value
from identity.visitors import BLOCKED_IDS, read_customer_id
from profiles.clock import event_time, read_time
from profiles.fields import CUSTOM, FIELDS, SPELLINGS, Dialect, field_reader, is_empty, is_field, read_field
from profiles.remarks import Kind, Reading, Reason, cut

COLUMNS_MAX = 500
NAME_CHARACTERS_MAX = 100
CUSTOMER_ID, OCCURRED_AT = "customer_id", "occurred_at"
ERRORS = "import_errors"
"""The column of a rejects file that tells why each line is there; passed over when the file is imported again."""
SET_AT, REMOVED, FIELDS_MEMBER = "set_at", "removed", "fields"
"""Members of an exported line: when each field was set, when each was removed, and the fields themselves."""
EVENT = "import"
SOURCE = "import"

_MEMBERS = frozenset({SET_AT, REMOVED, FIELDS_MEMBER})
_MAPS = frozenset({"custom", "postal_address"})
_NAMES_SHOWN_MAX = 20
_LISTS = frozenset({"interests", "activities"})
_FORMULA = re.compile(r"'(?='*[=+\-@\t\r\n＝＋－＠])")
_RISKY = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
_JSON_SCALAR = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false")
_DIGITS = re.compile(r"[0-9]{12,15}", re.ASCII)


class ImportRefused(Exception):
    """The file cannot be imported as it is; the message says what to do. Nothing was written."""


class Line(msgspec.Struct, frozen=True, array_like=True):
    """One line of a file, by its number in the file; ``is_awaited`` if another line names the same customer."""

    number: int
    cells: list[str]
    """The cells of a CSV line; of NDJSON, the line itself as the only one."""
    is_repeated: bool = False
    is_awaited: bool = False


class Columns(msgspec.Struct, frozen=True):
    """What each column means. ``names`` are those of the file, in order; ``targets`` what each is held as, or None."""

    names: tuple[str, ...]
    targets: tuple[str | None, ...]
    is_json: bool = False

    def name_of(self, target: str) -> str:
        """Return what the file calls a field."""
        return self.names[self.targets.index(target)] if target in self.targets else target


def _spelling(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).casefold()


class Fault(NamedTuple):
    """What is wrong with a line: which column, empty for all of it, and the code."""

    name: str
    code: str


@lru_cache(maxsize=1)
def _known() -> dict[str, str]:
    """Return what each name that needs no mapping is held as: clIdentity's, the profile's and those that are held."""
    spellings = [SPELLINGS[Dialect.PROFILE], SPELLINGS[Dialect.CLIDENTITY], SPELLINGS[Dialect.AUTHENTICATE]]
    known = {_spelling(sent): held for table in spellings for sent, held in table.items()}
    known |= {_spelling(field.name): field.name for field in FIELDS}
    known |= {_spelling(name): CUSTOMER_ID for name in ("customer_id", "userId", "externalUserId")}
    known |= {_spelling(name): name for name in (OCCURRED_AT, ERRORS)}
    return {sent: held for sent, held in known.items() if not held.startswith(CUSTOM)}


@lru_cache(maxsize=2 * COLUMNS_MAX)
def find_target(name: str) -> str | None:
    """Return what a column of this name is held as, or None if it says nothing to anybody."""
    if len(name) > NAME_CHARACTERS_MAX:
        return None
    if name.startswith(CUSTOM):
        return name if is_field(name) else None
    return _known().get(_spelling(name))


def read_columns(
    names: Sequence[str], mapping: Mapping[str, str], *, ignores_unknown: bool = False, is_json: bool = False
) -> Columns:
    """Return what the columns mean. ``mapping`` tells it of those that don't tell it themselves.

    Raises:
        ImportRefused: a column is there twice, unknown, or missing; two are held as one; a mapping leads nowhere.
    """
    if len(names) > COLUMNS_MAX:
        raise ImportRefused(f"The file has {len(names)} columns; {COLUMNS_MAX} are the most.")
    for name, wanted in mapping.items():
        if name not in names:
            raise ImportRefused(f"--map names a column {name!r}, which the file does not have. It has: {_told(names)}.")
        if find_target(wanted) in (None, ERRORS):
            close = get_close_matches(_spelling(wanted), _known(), 1)
            hint = f" Did you mean {_known()[close[0]]}?" if close else " See the field table, or use custom.<name>."
            raise ImportRefused(f"--map leads to {wanted!r}, which is no field.{hint}")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ImportRefused(f"The file has columns of the same name: {_told(twice)}. Rename or remove all but one.")
    targets = [find_target(mapping.get(name, name)) for name in names]
    unknown = [name for name, target in zip(names, targets, strict=True) if target is None]
    if unknown and not ignores_unknown:
        raise ImportRefused(
            f"Nobody knows what these columns are: {_told(unknown)}. Map each (--map {unknown[0]!r}=FIELD), or pass "
            "them over with --ignore-unknown."
        )
    for target in dict.fromkeys(targets):
        same = [name for name, found in zip(names, targets, strict=True) if found == target]
        if target is not None and len(same) > 1:
            raise ImportRefused(f"These columns are all {target}: {_told(same)}. Rename or remove all but one.")
    if CUSTOMER_ID not in targets:
        example = repr(names[0]) if names else "ID"
        raise ImportRefused(
            f"No column tells the customer id. Map the one that does: --map {example}=customer_id. There is: "
            f"{_told(names)}."
        )
    return Columns(tuple(names), tuple(targets), is_json)


def _told(names: Iterable[str]) -> str:
    shown = [repr(name) for name in names]
    more = len(shown) - _NAMES_SHOWN_MAX
    return ", ".join(shown[:_NAMES_SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")


class Reader:
    """Reads lines by their columns; without any, lines of JSON, whose unknown members are faults.

    ``occurred_at`` is when it happened where a line does not tell.
    """

    def __init__(
        self, columns: Columns | None, sender: Sender, occurred_at: int, blocked: frozenset[str] = BLOCKED_IDS
    ) -> None:
        self._columns = columns
        self._sender = sender
        self._occurred_at = occurred_at
        self._blocked = blocked
        self._is_json = columns is None or columns.is_json
        names, held_as = (columns.names, columns.targets) if columns is not None else ((), ())
        self._width = len(names)
        self._by_name = dict(zip(names, held_as, strict=True))
        targets = {target: at for at, target in enumerate(held_as) if target is not None}
        self._id_at = targets.pop(CUSTOMER_ID, 0)
        self._time_at = targets.pop(OCCURRED_AT, None)
        targets.pop(ERRORS, None)
        self._fields = [(at, _cell_reader(target), field_reader(target)) for target, at in targets.items()]

    def customer(self, cells: Sequence[str]) -> str | None:
        """Return whom a line names, or None if it names nobody who can be held."""
        if self._is_json:
            value = read_value(cells[0].encode("utf-8", "surrogatepass"))
            found = self._customer_of(self._members(value) if isinstance(value, dict) else None)
        elif len(cells) != self._width:
            return None
        else:
            found = read_customer_id(_unquoted(cells[self._id_at]), self._blocked)
        return None if isinstance(found, Refusal) else found

    def read(self, cells: Sequence[str], received_at: int) -> list[Assertion]:
        """Return what a line says: one event for each time at which it says that something was so, oldest first."""
        if self._is_json:
            return self._read_json(cells[0], received_at)
        if len(cells) != self._width:
            return [self._assertion(Refusal.INVALID_EVENT, (), self._occurred_at, received_at)]
        customer = read_customer_id(_unquoted(cells[self._id_at]), self._blocked)
        readings = []
        for at, prepare, read in self._fields:
            cell = cells[at]
            if cell and not cell.isspace():  # an empty cell says nothing
                cell = _unquoted(cell)
                readings.append(read(cell if prepare is None else prepare(cell)))
        told = "" if self._time_at is None else _unquoted(cells[self._time_at]).strip()
        occurred_at, notes = self._time(int(told) if _DIGITS.fullmatch(told) else told)
        return [self._assertion(customer, (*notes, *readings), occurred_at, received_at)]

    def _read_json(self, line: str, received_at: int) -> list[Assertion]:
        value = read_value(line.encode("utf-8", "surrogatepass"))
        members = self._members(value) if isinstance(value, dict) else None
        customer = self._customer_of(members)
        if members is None or not isinstance(value, dict):
            return [self._assertion(customer, (), self._occurred_at, received_at)]
        occurred_at, notes = self._time(members.get(OCCURRED_AT))
        said: dict[int, list[Reading]] = {}
        set_at = _map(value.get(SET_AT))
        for target, told in members.items():
            if target in (CUSTOMER_ID, OCCURRED_AT, ERRORS):
                continue
            at = read_time(set_at[target]) if target in set_at else occurred_at
            said.setdefault(at if at is not None else occurred_at, []).append(read_field(target, told))
        for name, told in _map(value.get(REMOVED)).items():
            at = read_time(told)
            if at is not None and is_field(name):
                said.setdefault(at, []).append(Reading(name, Kind.REMOVAL))
        if not said:
            said[occurred_at] = []
        first = min(said)
        return [
            self._assertion(customer, (*(notes if at == first else ()), *said[at]), at, received_at)
            for at in sorted(said)
        ]

    def _members(self, value: dict[str, object]) -> dict[str, object]:
        """Return what a line of JSON tells, by what it is held as; those that nobody knows left out."""
        told: dict[str, object] = {}
        for name, member in flattened(value):
            target = self._target_of(name)
            if target is not None:
                told[target] = member
        return told

    def _customer_of(self, members: dict[str, object] | None) -> str | Refusal:
        if members is None:
            return Refusal.INVALID_EVENT
        return read_customer_id(members.get(CUSTOMER_ID), self._blocked)

    def _time(self, told: object) -> tuple[int, tuple[Reading, ...]]:
        if is_empty(told):
            return self._occurred_at, ()
        occurred_at = read_time(told)
        if occurred_at is None:
            return self._occurred_at, (Reading(OCCURRED_AT, Kind.FAULT, reason=Reason.NOT_A_TIME, raw=cut(told)),)
        return occurred_at, ()

    def _assertion(
        self, customer: str | Refusal, readings: tuple[Reading, ...], occurred_at: int, received_at: int
    ) -> Assertion:
        return Assertion(
            sender=self._sender,
            name=EVENT,
            visitor_id=None,
            customer=customer,
            occurred_at=event_time(occurred_at, None, received_at),
            received_at=received_at,
            readings=readings,
        )

    def faults(self, said: Iterable[Assertion]) -> tuple[Fault, ...]:
        """Return what is wrong with a line itself, so that whoever sent it can mend it."""
        found: list[Fault] = []
        for event in said:
            if isinstance(event.customer, Refusal):
                return (Fault("", event.customer),)
            found += [
                Fault(self._name_of(reading.field), reading.reason or Reason.WRONG_TYPE)
                for reading in event.readings
                if reading.kind is Kind.FAULT
            ]
        return tuple(found)

    def _name_of(self, field: str) -> str:
        return field if self._columns is None else self._columns.name_of(field)

    def _target_of(self, name: str) -> str | None:
        if self._columns is not None:
            return self._by_name.get(name)
        return find_target(name) or name


def flattened(line: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Give the members of a line of JSON; those of ``fields``, and with a dot those of maps, as if beside."""
    for name, member in (*line.items(), *_map(line.get(FIELDS_MEMBER)).items()):
        if name in _MAPS and isinstance(member, dict):
            yield from ((f"{name}.{leaf}", value) for leaf, value in member.items())
        elif name not in _MEMBERS:
            yield name, member


def _map(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def quoted(cell: str) -> str:
    """Return a cell as a spreadsheet may see it: what it would take for a formula gets an apostrophe before it."""
    return f"'{cell}" if _RISKY.match(cell) else cell


def _unquoted(cell: str) -> str:
    """Return a cell without the apostrophe that keeps a spreadsheet from taking it for a formula."""
    return cell[1:] if cell[:1] == "'" and _FORMULA.match(cell) else cell


def _cell_reader(target: str) -> Callable[[str], object] | None:
    """Return what makes a value of a cell's text, or None where the text is the value."""
    if target in _LISTS:
        return _list_of
    return _custom_of if target.startswith(CUSTOM) else None


def _list_of(cell: str) -> object:
    value = read_value(cell.encode("utf-8", "replace")) if cell.lstrip().startswith("[") else None
    return value if isinstance(value, list) else [item.strip() for item in cell.split(";")]


def _custom_of(cell: str) -> object:
    """Return the value of a custom field: a number, true, false, a JSON list or map, or else the text."""
    text = cell.strip()
    if text[:1] in ("[", "{") or _JSON_SCALAR.fullmatch(text):
        value = read_value(text.encode("utf-8", "replace"))
        return cell if value is None else value
    return cell
