"""Pure: bytes become events. Never raises, whatever the bytes are."""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import msgspec

from identity.events.behaviour import Behaviour
from identity.events.catalogue import CATALOGUE, read_behaviour
from identity.events.identity import (
    CrmPatch,
    Event,
    Identify,
    ProfileChange,
    Sender,
    SignIn,
    SignOut,
    SignUp,
    Unusable,
)
from identity.refusals import Refusal
from identity.tolerant import Members, read_array, read_object, read_value
from identity.visitors import BLOCKED_IDS, read_customer_id, read_event_id, read_visitor_id
from profiles.clock import event_time, read_time
from profiles.fields import RULES_VERSION, SPELLINGS, Dialect, read_identify, read_record
from profiles.patches import OPERATIONS_MAX, PatchOperation, read_operation
from profiles.remarks import Kind, Reading, Reason, cut, storable

AUTHENTICATE_BYTES_MAX = 32 * 1024
EVENTS_BYTES_MAX = 512 * 1024
EVENTS_MAX = 500
FIELD_NAMES_MAX = 50
FIELD_NAME_CHARACTERS_MAX = 64
EVENT_NAME_CHARACTERS_MAX = 64

CLIDENTITY = "clIdentity"
CRM_PATCH = "customerPatched"
IDENTIFY_NAMES = tuple(dict.fromkeys((*SPELLINGS[Dialect.AUTHENTICATE], *SPELLINGS[Dialect.CLIDENTITY])))
"""The parameters that an identify may carry, under either spelling."""

_NULL = b"null"
_CUSTOMER_NAMES = ("customer_id", "customerId", "userId", "externalUserId")


class Push(msgspec.Struct, frozen=True):
    """An authenticate body as far as the unchanged check needs it: ids and digest, fields still raw."""

    visitor_id: str | None
    customer: str | Refusal
    digest: str
    members: Members
    params: Members


def read_write_key(members: Members) -> str | None:
    """Return the write key that came in the body, if any."""
    raw = members.get("write_key")
    value = read_value(raw) if raw is not None else None
    return value if isinstance(value, str) else None


def read_push(members: Members, blocked: frozenset[str] = BLOCKED_IDS) -> Push:
    """Return the push of an authenticate body: its fields, under either spelling, stand beside the ids or in
    ``params`` (the whole dataLayer entry)."""
    params = members
    entry = members.get("params")
    if entry is not None:
        inner = read_object(entry)
        params = {**members, **inner} if inner else members
    return Push(
        visitor_id=read_visitor_id(_value(members, "visitor_id")),
        customer=read_customer_id(_first(params, ("customer_id", "customerId")), blocked),
        digest=digest_of(params),
        members=members,
        params=params,
    )


def digest_of(params: Mapping[str, bytes]) -> str:
    """Return the digest of the parameters as they were sent, under the present rules of validation.

    Two spellings of one value (white space, escapes) may differ; such a push is looked at once more, that is all.
    """
    # JSON text holds no U+0000, so that byte parts names and values without doubt.
    parts: list[bytes] = [_RULES]
    for name, encoded in _DIGESTED:
        raw = params.get(name)
        # A Raw is equal to no bytes, so its content has to be compared.
        if raw is not None and (len(raw) != len(_NULL) or bytes(raw) != _NULL):
            parts += (encoded, raw)
    return blake2b(b"\x00".join(parts), digest_size=16).hexdigest()


_RULES = b"%d" % RULES_VERSION
_DIGESTED = tuple((name, name.encode()) for name in IDENTIFY_NAMES)


def to_identify(
    push: Push, sender: Sender, received_at: int, *, name: str = CLIDENTITY, is_alone: bool = False
) -> Identify:
    """Return the event of a push.

    ``is_alone``: its fields are read now, while others' batch is with the database. Those of events that come by the
    hundred are read batch by batch, so that nobody has to wait for all of them.
    """
    params = {field: read_value(push.params[field]) for field in IDENTIFY_NAMES if field in push.params}
    return Identify(
        **_envelope(push.members, sender, received_at, name, push.visitor_id),
        customer=push.customer,
        sent_customer=_sent(_first(push.params, ("customer_id", "customerId"))),
        fields=tuple(params),
        params=params,
        digest=push.digest,
        readings=read_identify(params) if is_alone else None,
    )


def to_crm_patch(
    members: Members,
    sender: Sender,
    customer: str | Refusal,
    received_at: int,
    *,
    versions: frozenset[int] | None = None,
    creates: bool = False,
) -> CrmPatch:
    """Return the change that a CRM's body means: its fields stand beside ``occurred_at``, or in ``fields``, as in the
    answer to a lookup. The customer is known already, so that a ``customer_id`` is passed over."""
    record = {name: read_value(raw) for name, raw in members.items() if name not in _BESIDE_FIELDS}
    fields = _value(members, "fields")
    if isinstance(fields, dict):
        record |= {storable(name): value for name, value in fields.items()}
    elif "fields" in members:
        record["fields"] = fields  # no field has that name, and the answer will say so
    told = _value(members, "occurred_at")
    occurred_at = read_time(told) if told is not None else None
    return CrmPatch(
        sender=sender,
        name=CRM_PATCH,
        visitor_id=None,
        customer=customer,
        occurred_at=event_time(occurred_at, None, received_at),
        received_at=received_at,
        notes=time_notes(occurred_at, told),
        fields=field_names(record),
        readings=read_record(record),
        versions=versions,
        creates=creates,
    )


_BESIDE_FIELDS = frozenset({"customer_id", "occurred_at", "fields"})


def read_events(
    items: list[msgspec.Raw], sender: Sender, received_at: int, blocked: frozenset[str] = BLOCKED_IDS
) -> list[Event]:
    """Return one event per item, in order; what is no event at all becomes ``Unusable``."""
    return [_read_event(item, sender, received_at, blocked) for item in items]


def event_items(members: Members) -> list[msgspec.Raw] | None:
    """Return the raw events of a body: those of its list ``events``, or the body itself as the only one.

    None if ``events`` is there and is no list.
    """
    events = members.get("events")
    return read_array(events) if events is not None else [msgspec.Raw(msgspec.json.encode(members))]


def _read_event(item: bytes, sender: Sender, received_at: int, blocked: frozenset[str]) -> Event:
    return read_event(read_object(item) or {}, sender, received_at, blocked)


def read_event(members: Members, sender: Sender, received_at: int, blocked: frozenset[str] = BLOCKED_IDS) -> Event:
    """Return the event that these members are; without a type that is known, ``Unusable``."""
    kind = _value(members, "type")
    if kind is None:
        kind = _value(members, "event")
    name = kind if isinstance(kind, str) else ""
    if name == CLIDENTITY:
        return to_identify(read_push(members, blocked), sender, received_at)
    if name not in _READERS and name not in CATALOGUE:
        return _unusable(members, sender, received_at, name)
    sent = _first(members, _CUSTOMER_NAMES)
    customer: str | Refusal | None = read_customer_id(sent, blocked)
    if name not in _MUST_NAME_SOMEBODY and customer in (Refusal.MISSING_CUSTOMER_ID, Refusal.BLOCKED_CUSTOMER_ID):
        customer = None  # a placeholder names nobody
    common = _envelope(members, sender, received_at, name, read_visitor_id(_value(members, "visitor_id")))
    common.update(customer=customer, sent_customer=_sent(sent))
    return _READERS[name](members, common) if name in _READERS else _behaviour(members, common)


def _unusable(members: Members, sender: Sender, received_at: int, name: str) -> Event:
    visitor_id = read_visitor_id(_value(members, "visitor_id"))
    return Unusable(
        **_envelope(members, sender, received_at, storable(name[:EVENT_NAME_CHARACTERS_MAX]), visitor_id),
        customer=None,
        fields=tuple(storable(field[:FIELD_NAME_CHARACTERS_MAX]) for field in list(members)[:FIELD_NAMES_MAX]),
        refusal=Refusal.UNKNOWN_EVENT,
    )


def _behaviour(members: Members, common: dict[str, Any]) -> Event:
    reading = read_behaviour(common["name"], {name: read_value(raw) for name, raw in members.items()})
    assert reading is not None
    return Behaviour(
        **common,
        props=reading.props,
        faults=reading.faults,
        remarks=reading.remarks,
        label=reading.label,
        order=reading.order,
        transaction_id=reading.transaction_id,
    )


def _sign_up(members: Members, common: dict[str, Any]) -> Event:
    profile = _value(members, "profile")
    profile = profile if isinstance(profile, dict) else {}
    return SignUp(**common, profile=profile, fields=field_names(profile))


def _sign_in(_: Members, common: dict[str, Any]) -> Event:
    return SignIn(**common)


def _sign_out(_: Members, common: dict[str, Any]) -> Event:
    return SignOut(**common)


def _profile_change(members: Members, common: dict[str, Any]) -> Event:
    patch = read_patch(_value(members, "patch"))
    fields = () if isinstance(patch, Refusal) else tuple(operation.path for operation in patch)[:FIELD_NAMES_MAX]
    return ProfileChange(**common, patch=patch, fields=fields)


_READERS = {
    "userSignedUp": _sign_up,
    "userSignedIn": _sign_in,
    "userSignedOut": _sign_out,
    "userProfileChanged": _profile_change,
}
_MUST_NAME_SOMEBODY = frozenset({"userSignedUp", "userSignedIn"})
EVENT_NAMES = (CLIDENTITY, *_READERS)
"""The identity events; those of behaviour stand in ``CATALOGUE``."""


def read_patch(value: object) -> tuple[PatchOperation, ...] | Refusal:
    """Return the operations of a patch, in order. One that no profile could take voids the whole patch.

    Takes ``{"operations": [{"type": "set", "path": "email", "value": …}, {"type": "unset", "path": "phone"}]}`` or
    the bare list.
    """
    operations = value.get("operations") if isinstance(value, dict) else value
    if not isinstance(operations, list) or not 0 < len(operations) <= OPERATIONS_MAX:
        return Refusal.INVALID_PATCH
    read: list[PatchOperation] = []
    for operation in operations:
        step = read_operation(operation) if isinstance(operation, dict) else None
        if step is None:
            return Refusal.INVALID_PATCH
        read.append(step)
    return tuple(read)


def _envelope(members: Members, sender: Sender, received_at: int, name: str, visitor_id: str | None) -> dict[str, Any]:
    sent = _value(members, "visitor_id") if visitor_id is None else None
    told = _value(members, "occurred_at")
    occurred_at = read_time(told) if told is not None else None
    token = _value(members, "identity_token")
    return {
        "sender": sender,
        "name": name,
        "visitor_id": visitor_id,
        "occurred_at": event_time(occurred_at, read_time(_value(members, "sent_at")), received_at),
        "received_at": received_at,
        "event_id": read_event_id(_value(members, "event_id")),
        "identity_token": token if isinstance(token, str) and token else None,
        "notes": envelope_notes(visitor_id, sent, occurred_at, told),
    }


def envelope_notes(visitor_id: str | None, sent: object, occurred_at: int | None, told: object) -> tuple[Reading, ...]:
    """Return the remarks on a visitor id and a time that are none; ``sent`` and ``told`` are what came as these."""
    notes: list[Reading] = []
    if visitor_id is None:
        blank = sent is None or sent == ""
        notes.append(
            Reading("visitor_id", Kind.EMPTY, reason=Reason.MISSING_VISITOR_ID)
            if blank
            else Reading("visitor_id", Kind.FAULT, reason=Reason.MISSING_VISITOR_ID, raw=cut(sent))
        )
    return (*notes, *time_notes(occurred_at, told))


def time_notes(occurred_at: int | None, told: object) -> tuple[Reading, ...]:
    """Return the remark on a time that is none."""
    if occurred_at is not None or told is None:
        return ()
    return (Reading("occurred_at", Kind.FAULT, reason=Reason.NOT_A_TIME, raw=cut(told)),)


def _value(members: Members, name: str) -> object:
    raw = members.get(name)
    return read_value(raw) if raw is not None else None


def _first(members: Members, names: tuple[str, ...]) -> object:
    """Return the first of several spellings that is not empty."""
    for name in names:
        value = _value(members, name)
        if value is not None and value != "":
            return value
    return None


def _sent(value: object) -> str | None:
    return None if value is None else cut(value)


def field_names(params: Mapping[str, object]) -> tuple[str, ...]:
    """Return the names of the parameters as the list of the refused shows them."""
    return tuple(storable(str(name)[:FIELD_NAME_CHARACTERS_MAX]) for name in list(params)[:FIELD_NAMES_MAX])
