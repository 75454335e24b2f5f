"""Pure: all behaviour events that are taken, and how one of them is read."""

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from identity.events.behaviour import EventFault, FaultCode, Order
from identity.events.crescendo import CRESCENDO_EVENTS
from identity.events.croct import CROCT_EVENTS
from identity.events.shapes import INVALID, EventShape, OrderNames, Read, compile_object, describe_object, findings
from profiles.remarks import JsonValue

PROPS_BYTES_MAX = 64 * 1024
"""As large as a beacon may be at all."""
LABEL_CHARACTERS_MAX = 200

ENVELOPE_NAMES = frozenset(
    {
        "type", "event", "event_id", "visitor_id", "customer_id", "customerId", "userId", "externalUserId",
        "occurred_at", "sent_at", "write_key", "identity_token",
    }
)  # fmt: skip
"""Members of an event that are not properties of it."""

CATALOGUE: Mapping[str, EventShape] = MappingProxyType(
    {event.name: event for event in (*CRESCENDO_EVENTS, *CROCT_EVENTS)}
)
"""Every behaviour event by its name, in the order of the documentation."""


class BehaviourReading(msgspec.Struct, frozen=True):
    """What the members of an event come to; the names are those of ``Behaviour``.

    With faults nothing else but remarks is told, and ``props`` are empty.
    """

    props: dict[str, JsonValue]
    faults: tuple[EventFault, ...] = ()
    remarks: tuple[EventFault, ...] = ()
    label: str | None = None
    order: Order | None = None
    transaction_id: str | None = None


def read_behaviour(name: str, members: Mapping[str, object]) -> BehaviourReading | None:
    """Return what is stored of an event and what is wrong with it, or None if the catalogues know no such event.

    Takes the members as ``tolerant.read_value`` gives them. A required property that is absent, empty or wrong is a
    fault, in a list's item too; an optional one that is wrong, and one that is unknown, is left out with a remark;
    null and "" are absent. Properties of over ``PROPS_BYTES_MAX`` bytes of JSON are a fault of the whole. Never raises.
    Source: Crescendo behaviour event specification; Croct event reference and SDK.
    """
    event = CATALOGUE.get(name)
    if event is None:
        return None
    bare, wrapped = _READERS[name]
    sent = members if isinstance(members, dict) else dict(members)
    is_wrapped = wrapped is not None and sent.get(event.wrapper) is not None
    found: list[EventFault] = []
    remarked: list[EventFault] = []
    read = wrapped if wrapped is not None and is_wrapped else bare
    held = read(sent, None, found, remarked)
    props: dict[str, JsonValue] = {}
    if held is not INVALID:
        assert isinstance(held, dict)
        inner = held[event.wrapper] if is_wrapped and event.wrapper else held
        assert isinstance(inner, dict)
        props = inner
        if len(_encode(props)) > PROPS_BYTES_MAX:
            found.append(EventFault("", FaultCode.TOO_LARGE))
    faults, remarks = findings(found, remarked)
    if faults:
        return BehaviourReading({}, faults, remarks)
    label = props.get(event.label) if event.label else None
    transaction_id = props.get(event.transaction_id) if event.transaction_id else None
    return BehaviourReading(
        props,
        faults,
        remarks,
        label=label[:LABEL_CHARACTERS_MAX] or None if isinstance(label, str) else None,
        order=_read_order(event.order, props) if event.order else None,
        transaction_id=transaction_id if isinstance(transaction_id, str) else None,
    )


def _read_order(names: OrderNames, props: dict[str, JsonValue]) -> Order | None:
    inner = props.get(names.within) if names.within else props
    assert isinstance(inner, dict)
    order_id, revenue, currency = inner.get(names.order_id), inner.get(names.revenue), inner.get(names.currency)
    assert isinstance(order_id, str)
    return Order(
        order_id.strip() or order_id,
        float(revenue) if isinstance(revenue, int | float) else None,
        # Revenue is added up by currency, whichever way a page spells it.
        currency.strip().upper() or None if isinstance(currency, str) else None,
    )


def _compile(event: EventShape) -> tuple[Read, Read | None]:
    wrapped = describe_object({event.wrapper: event.shape}) if event.wrapper else None
    return compile_object(event.shape, ENVELOPE_NAMES), compile_object(wrapped, ENVELOPE_NAMES) if wrapped else None


_encode = msgspec.json.Encoder().encode
_READERS = {name: _compile(event) for name, event in CATALOGUE.items()}
