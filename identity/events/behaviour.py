"""Pure: behaviour events, which make up the footprint."""

from enum import StrEnum

import msgspec

from identity.events.identity import Event
from profiles.remarks import JsonValue


class FaultCode(StrEnum):
    """What is wrong with one value of an event. ``FAULT_HINTS`` has one sentence for each."""

    MISSING = "missing"
    WRONG_TYPE = "wrong_type"
    EMPTY = "empty"
    TOO_SHORT = "too_short"
    TOO_LONG = "too_long"
    TOO_MANY = "too_many"
    TOO_SMALL = "too_small"
    NOT_A_NUMBER = "not_a_number"
    NUMBER_AS_TEXT = "number_as_text"
    NOT_IN_LIST = "not_in_list"
    NOT_A_URL = "not_a_url"
    NOT_A_NAME = "not_a_name"
    NOT_A_DATE = "not_a_date"
    FORBIDDEN_CHARACTER = "forbidden_character"
    UNKNOWN_PROPERTY = "unknown_property"
    TOO_LARGE = "too_large"
    MORE = "more"


FAULT_HINTS: dict[FaultCode, str] = {
    FaultCode.MISSING: "Send this required property; null counts as absent, and NaN and Infinity become null in JSON.",
    FaultCode.WRONG_TYPE: "Send a value of the type that the table of events names.",
    FaultCode.EMPTY: "Send at least one character in a required text, and at least one item in a required list.",
    FaultCode.TOO_SHORT: "Send a longer text; the limits stand in the table of events.",
    FaultCode.TOO_LONG: "Shorten the text; the limits stand in the table of events.",
    FaultCode.TOO_MANY: "Send fewer items; the limits stand in the table of events.",
    FaultCode.TOO_SMALL: "Send a larger number; the limits stand in the table of events.",
    FaultCode.NOT_A_NUMBER: "Send a finite number within ±10^15, a whole one where the table of events says so.",
    FaultCode.NUMBER_AS_TEXT: 'Send a number, not a text: 490, not "490".',
    FaultCode.NOT_IN_LIST: "Send one of the values that the table of events lists, in the same case.",
    FaultCode.NOT_A_URL: "Send a complete address with its scheme, for example https://shop.example/p/1.",
    FaultCode.NOT_A_NAME: "Use only the characters that the table of events allows in this name, id or path.",
    FaultCode.NOT_A_DATE: "Send the date as YYYY-MM-DD, for example 1995-01-31.",
    FaultCode.FORBIDDEN_CHARACTER: "Remove control characters, U+0000, U+FFFD and halves of surrogate pairs.",
    FaultCode.UNKNOWN_PROPERTY: "The event has no property of this name, so it was left out; check its spelling.",
    FaultCode.TOO_LARGE: "Send less in one event: its properties may take 64 KiB of JSON.",
    FaultCode.MORE: "More values than are listed are faulty; mend the listed ones first.",
}


class EventFault(msgspec.Struct, frozen=True, array_like=True):
    """One faulty value: a JSON pointer into the event, for example "/props/items/0/price", and the code."""

    path: str
    code: FaultCode


class Order(msgspec.Struct, frozen=True):
    """What an event tells of an order: its id, and what it came to, if told."""

    order_id: str
    revenue: float | None = None
    currency: str | None = None


class Behaviour(Event, frozen=True, kw_only=True):
    """Something that a visitor (or a customer, named without a visitor) did.

    ``label`` is the name that the sender chose where the type alone says little (a tracked event, a page). ``props``
    are clean. ``faults`` refuse the event; ``remarks`` are values that were left out of it. ``transaction_id`` names
    what may be stored once only, whoever sends it again.
    """

    label: str | None = None
    props: dict[str, JsonValue]
    faults: tuple[EventFault, ...] = ()
    remarks: tuple[EventFault, ...] = ()
    order: Order | None = None
    transaction_id: str | None = None
