"""Pure: messages of the Segment specification, as the SDKs of Segment and RudderStack send them, become events.

Never raises, whatever a message is, and what is wrong with one concerns no other.
Source: Segment specification and HTTP tracking API; RudderStack event specification.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import msgspec

from identity.events.behaviour import Behaviour, EventFault, FaultCode, Order
from identity.events.catalogue import LABEL_CHARACTERS_MAX
from identity.events.identity import Alias, Event, Identify, Sender, TraitsChange, Unusable
from identity.events.shapes import INVALID, KEY_CHARACTERS_MAX, NUMBER_MAX, Held, Path, findings, tell
from identity.parse import EVENT_NAME_CHARACTERS_MAX, envelope_notes, field_names
from identity.refusals import Refusal
from identity.tolerant import read_object, read_value
from identity.visitors import BLOCKED_IDS, read_customer_id, read_event_id, read_visitor_id
from profiles.clock import event_time, read_time
from profiles.fields import RULES_VERSION, Dialect
from profiles.remarks import JsonValue, Reading, cut, storable

BATCH_BYTES_MAX = 4 * 1024 * 1024
"""Of a request, once it is inflated: what the largest SDK sends."""
MESSAGES_MAX = 2500
MESSAGE_BYTES_MAX = 32 * 1024
PROPERTY_LEVELS_MAX = 10
CONTEXT_CHARACTERS_MAX = 500
CURRENCY_CHARACTERS_MAX = 10

IDENTIFY, ALIAS, TRACK = "identify", "alias", "track"

BEHAVIOUR_MEMBERS: dict[str, tuple[str, str]] = {
    TRACK: ("event", "properties"),
    "page": ("name", "properties"),
    "screen": ("name", "properties"),
    "group": ("groupId", "traits"),
}
"""Per type of behaviour message: the member that labels the event, and the member that becomes its properties."""

MESSAGE_TYPES = (IDENTIFY, *BEHAVIOUR_MEMBERS, ALIAS)

_LABEL_REQUIRED = frozenset({TRACK, "group"})

ORDER_EVENTS = frozenset({"order completed", "completed order"})
"""Tracked events that tell of an order that was placed, in lower case, a space for each ``_``."""
_ORDER_IDS = ("order_id", "orderId")
_REVENUES = ("revenue", "total", "value")
_CURRENCY = "currency"

_PAGE_NAMES = ("url", "title", "referrer")
_RULES = b"%d %b" % (RULES_VERSION, Dialect.TRAITS.encode())
_ALWAYS_CLEAN = frozenset({str, bool, type(None)})
_NUMBERS = (int, float)
_PLAIN_TYPES = frozenset({str, bool, type(None), *_NUMBERS})
_encode_sorted = msgspec.json.Encoder(order="sorted").encode


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """What all messages of one request share.

    ``kind`` is the type that the endpoint, not the message, names. ``is_plain``: see the function of this name.
    """

    sender: Sender
    received_at: int
    sent_at: int | None = None
    blocked: frozenset[str] = BLOCKED_IDS
    kind: str | None = None
    is_plain: bool = False


def is_plain(body: bytes) -> bool:
    """Return whether no text in the body can hold what PostgreSQL cannot: U+0000 and halves of surrogate pairs come as
    escapes alone, or as a byte that is no JSON. Most bodies are plain, and need not be looked at text by text."""
    return b"\\u" not in body and b"\x00" not in body


def read_messages(items: Sequence[bytes], arrival: Arrival) -> list[Event]:
    """Return one event per message, in order; what is no message of the specification becomes ``Unusable``."""
    return [_read_message(item, arrival) for item in items]


def _read_message(item: bytes, arrival: Arrival) -> Event:
    is_too_large = len(item) > MESSAGE_BYTES_MAX
    message = _read_head(item) if is_too_large else read_value(item)
    if not isinstance(message, dict):
        return _unusable({}, arrival, "")
    kind = message.get("type") if arrival.kind is None else arrival.kind
    if not isinstance(kind, str) or kind not in MESSAGE_TYPES:
        return _unusable(message, arrival, kind if isinstance(kind, str) else "")
    if is_too_large:
        return _behaviour(message, kind, arrival, (EventFault("", FaultCode.TOO_LARGE),))
    if kind == IDENTIFY:
        return _identify(message, item, arrival)
    if kind == ALIAS:
        return _alias(message, arrival)
    return _behaviour(message, kind, arrival)


def _read_head(item: bytes) -> dict[str, object] | None:
    """Return what tells whose and when a message is that is too large to be read."""
    members = read_object(item)
    if members is None:
        return None
    names = ("type", "anonymousId", "userId", "messageId", "timestamp", "originalTimestamp", "sentAt")
    return {name: read_value(members[name]) for name in names if name in members}


class _Head(msgspec.Struct, frozen=True):
    """Whose a message is, and when it happened by the client's clock; ``sent`` and ``told`` are what came as these."""

    visitor_id: str | None
    sent: object
    occurred_at: int | None
    told: object

    @property
    def notes(self) -> tuple[Reading, ...]:
        return envelope_notes(self.visitor_id, self.sent, self.occurred_at, self.told)


def _head(message: Mapping[str, object], sent: object) -> _Head:
    # The other one may have been corrected by somebody on the way.
    told = message.get("originalTimestamp") or message.get("timestamp") or None
    return _Head(read_visitor_id(sent), sent, None if told is None else read_time(told), told)


def _envelope(message: Mapping[str, object], kind: str, head: _Head, arrival: Arrival) -> dict[str, Any]:
    told = message.get("sentAt")
    sent_at = read_time(told) if told is not None else None
    if sent_at is None:
        sent_at = arrival.sent_at
    return {
        "sender": arrival.sender,
        "name": kind,
        "visitor_id": head.visitor_id,
        "occurred_at": event_time(head.occurred_at, sent_at, arrival.received_at),
        "received_at": arrival.received_at,
        "event_id": read_event_id(message.get("messageId")),
    }


def _sent_customer(message: Mapping[str, object]) -> str | None:
    user_id = message.get("userId")
    return None if user_id is None else cut(user_id)


def _unusable(message: Mapping[str, object], arrival: Arrival, kind: str) -> Event:
    head = _head(message, message.get("anonymousId"))
    return Unusable(
        **_envelope(message, storable(kind[:EVENT_NAME_CHARACTERS_MAX]), head, arrival),
        customer=None,
        fields=field_names(message),
        refusal=Refusal.UNKNOWN_EVENT,
    )


def _identify(message: Mapping[str, object], item: bytes, arrival: Arrival) -> Event:
    head = _head(message, message.get("anonymousId"))
    traits = _traits(message)
    common = _envelope(message, IDENTIFY, head, arrival)
    common.update(notes=head.notes, sent_customer=_sent_customer(message), fields=field_names(traits))
    customer = read_customer_id(message.get("userId"), arrival.blocked)
    if customer is Refusal.MISSING_CUSTOMER_ID and head.visitor_id is not None:
        return TraitsChange(**common, customer=None, traits=traits)
    return Identify(
        **common, customer=customer, params=traits, digest=digest_of_traits(traits, item), dialect=Dialect.TRAITS
    )


def _traits(message: Mapping[str, object]) -> dict[str, object]:
    """Return the traits of the message over those of its context: RudderStack's SDKs have them only there."""
    context = message.get("context")
    inner = context.get("traits") if isinstance(context, dict) else None
    outer = message.get("traits")
    return {**(inner if isinstance(inner, dict) else {}), **(outer if isinstance(outer, dict) else {})}


def digest_of_traits(traits: Mapping[str, object], message: bytes) -> str:
    """Return the digest of a message's traits, in whichever order they came, under the present rules of validation."""
    try:
        content = _encode_sorted(traits)
    except (msgspec.MsgspecError, ValueError, RecursionError):  # half a surrogate pair: it is looked at every time
        content = message
    return blake2b(b"\x00".join((_RULES, content)), digest_size=16).hexdigest()


def _alias(message: Mapping[str, object], arrival: Arrival) -> Event:
    sent = message.get("previousId")
    if sent is None or sent == "":
        sent = message.get("anonymousId")
    head = _head(message, sent)
    return Alias(
        **_envelope(message, ALIAS, head, arrival),
        notes=head.notes,
        sent_customer=_sent_customer(message),
        customer=read_customer_id(message.get("userId"), arrival.blocked),
    )


def _behaviour(
    message: Mapping[str, object],
    kind: str,
    arrival: Arrival,
    faults: tuple[EventFault, ...] = (),
) -> Event:
    head = _head(message, message.get("anonymousId"))
    common = _envelope(message, kind, head, arrival)
    user_id = message.get("userId")
    customer: str | Refusal | None = None
    if user_id is not None and user_id != "":
        customer = read_customer_id(user_id, arrival.blocked)
        if isinstance(customer, Refusal):
            common["sent_customer"] = cut(user_id)
    if faults:
        return Behaviour(**common, customer=customer, props={}, faults=faults)
    found: list[EventFault] = []
    remarked: list[EventFault] = []
    label_name, props_name = BEHAVIOUR_MEMBERS[kind]
    label = _read_label(message.get(label_name), label_name, found if kind in _LABEL_REQUIRED else remarked)
    if label is None and kind in _LABEL_REQUIRED and not found:
        tell(found, (None, label_name), FaultCode.MISSING)
    sent = message.get(props_name)
    props: dict[str, JsonValue] = {}
    if isinstance(sent, dict):
        is_clean = arrival.is_plain and _is_clean((sent,), PROPERTY_LEVELS_MAX + 1)
        props = sent if is_clean else _read_map(sent, (None, props_name), PROPERTY_LEVELS_MAX, remarked)
    elif sent is not None and sent != "":
        tell(remarked, (None, props_name), FaultCode.WRONG_TYPE)
    if head.told is not None and head.occurred_at is None:
        tell(remarked, (None, "timestamp"), FaultCode.WRONG_TYPE)
    order = None
    if kind == TRACK:
        if label is not None and label.lower().replace("_", " ") in ORDER_EVENTS:
            order = _read_order(props, remarked)
    elif kind != "group" and "category" not in props:
        category = _read_label(message.get("category"), "category", remarked)
        if category is not None:
            props["category"] = category
    context = _read_context(message.get("context"))
    if context and "context" not in props:
        props["context"] = context
    if found or remarked:
        common["faults"], common["remarks"] = findings(found, remarked)
        if found:
            common["fields"] = field_names(props)
    return Behaviour(**common, customer=customer, label=label, props=props, order=order)


def _read_label(value: object, name: str, found: list[EventFault]) -> str | None:
    """Return the text, of a whole number its digits, or None: there is none, or what is wrong with it was told."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= NUMBER_MAX:
        value = str(value)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        tell(found, (None, name), FaultCode.WRONG_TYPE)
        return None
    if len(value) > LABEL_CHARACTERS_MAX:
        tell(found, (None, name), FaultCode.TOO_LONG)
        return None
    return storable(value).strip() or None


def _is_clean(values: Iterable[object], levels: int) -> bool:
    """Return whether ``_read_json`` would give back as they are the values of a plain message: most need no copy."""
    for value in values:
        if type(value) in _ALWAYS_CLEAN:
            continue
        if isinstance(value, (int, float)):  # a union would take three times as long
            if not -NUMBER_MAX <= value <= NUMBER_MAX:
                return False
        elif levels <= 1:
            return False
        elif isinstance(value, dict):
            if max(map(len, value), default=0) > KEY_CHARACTERS_MAX or not _is_clean(value.values(), levels - 1):
                return False
        elif isinstance(value, list) and not _is_clean(value, levels - 1):
            return False
    return True


def _read_map(sent: Mapping[str, Any], path: Path, levels: int, remarks: list[EventFault]) -> dict[str, JsonValue]:
    """Return the map without the entries that cannot be held; each is remarked on."""
    if _is_plain(sent):
        return {**sent}
    kept: dict[str, JsonValue] = {}
    for name, value in sent.items():
        if len(name) > KEY_CHARACTERS_MAX:
            tell(remarks, (path, name), FaultCode.TOO_LONG)
        elif not name.isprintable() and storable(name) != name:
            tell(remarks, (path, name), FaultCode.FORBIDDEN_CHARACTER)
        elif type(value) is str:
            kept[name] = value if value.isprintable() else storable(value)
        else:
            held = _read_json(value, (path, name), levels, remarks)
            if held is not INVALID:
                kept[name] = held
    return kept


def _is_plain(sent: Mapping[str, Any]) -> bool:
    """Return whether all of the map can be held, as is nearly always so: looked at as a whole, in C."""
    values = sent.values()
    if not sent or not _PLAIN_TYPES.issuperset(map(type, values)) or max(map(len, sent)) > KEY_CHARACTERS_MAX:
        return False
    if not "".join(sent).isprintable() or not "".join([value for value in values if type(value) is str]).isprintable():
        return False
    return all(-NUMBER_MAX <= value <= NUMBER_MAX for value in values if type(value) in _NUMBERS)


def _read_json(value: object, path: Path, levels: int, remarks: list[EventFault]) -> Held:
    if isinstance(value, str):
        return storable(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return value if -NUMBER_MAX <= value <= NUMBER_MAX else tell(remarks, path, FaultCode.NOT_A_NUMBER)
    if levels <= 1:
        return tell(remarks, path, FaultCode.WRONG_TYPE)
    if isinstance(value, dict):
        return _read_map(value, path, levels - 1, remarks)
    items: list[JsonValue] = []
    for index, item in enumerate(value if isinstance(value, list) else ()):
        held = _read_json(item, (path, index), levels - 1, remarks)
        if held is not INVALID:
            items.append(held)
    return items


def _read_order(props: Mapping[str, JsonValue], remarks: list[EventFault]) -> Order | None:
    path: Path = (None, "properties")
    order_id = read_event_id(_first(props, _ORDER_IDS))
    if order_id is None:
        tell(remarks, (path, _ORDER_IDS[0]), FaultCode.MISSING)
        return None
    revenue = _first(props, _REVENUES)
    amount = None
    if isinstance(revenue, int | float) and not isinstance(revenue, bool):
        amount = float(revenue)
    elif isinstance(revenue, str):
        tell(remarks, (path, _REVENUES[0]), FaultCode.NUMBER_AS_TEXT)
    currency = props.get(_CURRENCY)
    # Revenue is added up by currency, whichever way a page spells it.
    currency = currency.strip().upper() if isinstance(currency, str) else ""
    if len(currency) > CURRENCY_CHARACTERS_MAX:
        tell(remarks, (path, _CURRENCY), FaultCode.TOO_LONG)
        currency = ""
    return Order(order_id, amount, currency or None)


def _first(props: Mapping[str, JsonValue], names: tuple[str, ...]) -> JsonValue:
    return next((value for name in names if (value := props.get(name)) is not None and value != ""), None)


def _read_context(context: object) -> dict[str, JsonValue]:
    """Return what is kept of a context: the page's address, title and referrer, and the library's name."""
    kept: dict[str, JsonValue] = {}
    if not isinstance(context, dict):
        return kept
    page, library = context.get("page"), context.get("library")
    found = [(name, page.get(name)) for name in _PAGE_NAMES] if isinstance(page, dict) else []
    if isinstance(library, dict):
        found.append(("library", library.get("name")))
    for name, value in found:
        if isinstance(value, str) and 0 < len(value) <= CONTEXT_CHARACTERS_MAX:
            kept[name] = storable(value)
    return kept
