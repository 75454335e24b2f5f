"""Pure: the beacons of Croct's SDK become events.

The SDK sends one event a request and waits for the answer; an error that is final rejects every later event of its tab.
So whatever comes becomes an event: what can't be applied is refused by the rules, for admins to see.
Source: Croct SDK (0.22), traffic and validators.
"""

import json
import re
from hashlib import blake2b

import msgspec

from identity.events.behaviour import Behaviour
from identity.events.catalogue import ENVELOPE_NAMES
from identity.events.identity import Event, ProfileChange, Sender
from identity.parse import CLIDENTITY, read_event
from identity.resolve import find_refusal
from identity.tolerant import Members, read_array, read_object, read_value
from identity.visitors import BLOCKED_IDS
from profiles.clock import read_time
from profiles.remarks import storable

BEACON_BYTES_MAX = 512 * 1024
"""A browser sends no more than 64 KiB with a request that may outlive its page; other clients of the SDK do."""
EVENT_ID_PREFIX = "croct:"
PAGE_URL_CHARACTERS_MAX = 2000
"""Of the page of an event; a longer address is left out."""

LEAD = "leadGenerated"
_SIGN_UP = "userSignedUp"
_CHANGE = "userProfileChanged"
_SIGN_IN = "userSignedIn"
_NAMES_CUSTOMER = frozenset({_SIGN_UP, _SIGN_IN, "userSignedOut"})
_CUSTOMER_NAMES = ("externalUserId", "userId")
_CLIENT_ID = re.compile(r"[0-9a-fA-F]{32}|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_NULL = msgspec.Raw(b"null")


class Sending(msgspec.Struct, frozen=True):
    """What comes with a beacon besides its body: the client id as it was sent, and whom the token names.

    ``verified_subject`` is whom a signed token vouches for.
    """

    client_id: str | None = None
    subject: str | None = None
    verified_subject: str | None = None


def is_client_id(text: str) -> bool:
    """Return whether the SDK can have the text as its client id: 32 hexadecimal digits, or a UUID."""
    return _CLIENT_ID.fullmatch(text) is not None


def read_client_id(text: str) -> str:
    """Return the client id as a visitor's id: 32 lower-case digits, whichever of its two forms was sent.

    Something else is left as it is. An SDK that was once given its id as JSON keeps it in quotes.
    """
    bare = text.strip().strip('"')
    return bare.replace("-", "").lower() if is_client_id(bare) else text


def read_beacon(
    body: bytes, sending: Sending, sender: Sender, received_at: int, blocked: frozenset[str] = BLOCKED_IDS
) -> list[Event]:
    """Return the event of a beacon; of a lead also the change of profile that it carries. Never raises.

    The customer is named by the events that are about one, else by the token. A token that comes with anything else is
    a sign-in of a visitor of whom nothing was said: who arrives signed in, sends none. What is no beacon gives one
    event of no type, which is refused as such.
    """
    beacon = read_object(body) or {}
    payload = read_object(beacon.get("payload", _NULL)) or {}
    envelope: Members = {}
    if sending.client_id is not None:
        envelope["visitor_id"] = _json(read_client_id(sending.client_id))
    _copy(beacon, envelope, {"originalTime": "occurred_at", "departureTime": "sent_at"})
    event_id = _content_key(beacon, sending)
    kind = read_value(payload.get("type", _NULL))
    name = kind if isinstance(kind, str) else ""

    members = {told: raw for told, raw in payload.items() if told not in ENVELOPE_NAMES} | envelope
    if name != CLIDENTITY:  # which is no event of the SDK's
        _copy(payload, members, {"type": "type"})
    if name in _NAMES_CUSTOMER:
        _copy(payload, members, {told: told for told in _CUSTOMER_NAMES})
    else:
        _add(members, "userId", sending.subject)
    if name == _SIGN_UP and "profile" not in members:
        _copy({"profile": _merged(payload)}, members, {"profile": "profile"})
    events = [_read(members, event_id, sending, sender, received_at, blocked)]
    if isinstance(events[0], Behaviour):
        events[0] = _with_page(events[0], beacon)
    if sending.subject is not None and isinstance(events[0], Behaviour | ProfileChange):
        sign_in: Members = {**envelope, "type": _json(_SIGN_IN)}
        _add(sign_in, "userId", sending.subject)
        signed_in = _read(sign_in, None, sending, sender, received_at, blocked)
        if sending.client_id is not None and find_refusal(signed_in) is None:
            events.insert(0, msgspec.structs.replace(signed_in, only_first=True))
    if name == LEAD and "patch" in payload:
        change: Members = {**envelope, "type": _json(_CHANGE), "patch": payload["patch"]}
        _add(change, "userId", sending.subject)
        events.append(_read(change, f"{event_id}:patch" if event_id else None, sending, sender, received_at, blocked))
    return events


def _read(
    members: Members,
    event_id: str | None,
    sending: Sending,
    sender: Sender,
    received_at: int,
    blocked: frozenset[str],
) -> Event:
    _add(members, "event_id", event_id)
    event = read_event(members, sender, received_at, blocked)
    return msgspec.structs.replace(event, verified_customer=sending.verified_subject)


def _content_key(beacon: Members, sending: Sending) -> str | None:
    """Return an id that is the same for every attempt to send an event: the SDK gives none.

    Only with the time at which it happened, or the second of two equal events would be taken for the first.
    """
    moment, payload = beacon.get("originalTime", _NULL), beacon.get("payload", _NULL)
    if read_time(read_value(moment)) is None:
        return None
    tab = (read_object(beacon.get("context", _NULL)) or {}).get("tabId", _NULL)
    client_id = read_client_id(sending.client_id or "").encode("utf-8", "surrogatepass")
    # Neither JSON text nor a header holds U+0000, so that it parts them without doubt.
    parts = b"\x00".join((client_id, bytes(moment), bytes(tab), bytes(payload)))
    return EVENT_ID_PREFIX + blake2b(parts, digest_size=16).hexdigest()


def _merged(payload: Members) -> msgspec.Raw:
    """Return the profile of a sign-up, which the SDK sends as a patch that merges it into nothing."""
    patch = read_object(payload.get("patch", _NULL)) or {}
    profile: Members = {}
    for operation in read_array(patch.get("operations", _NULL)) or ():
        told = read_object(operation) or {}
        if read_value(told.get("type", _NULL)) == "merge" and read_value(told.get("path", _NULL)) == ".":
            profile |= read_object(told.get("value", _NULL)) or {}
    return msgspec.Raw(msgspec.json.encode(profile))


def _with_page(event: Behaviour, beacon: Members) -> Behaviour:
    """Return the event with the address of the page where it happened, which the SDK tells beside it."""
    url = read_value((read_object(beacon.get("context", _NULL)) or {}).get("url", _NULL))
    if event.faults or not isinstance(url, str) or not 0 < len(url) <= PAGE_URL_CHARACTERS_MAX:
        return event
    return msgspec.structs.replace(event, props={**event.props, "context": {"url": storable(url)}})


def _copy(source: Members, target: Members, names: dict[str, str]) -> None:
    target |= {name: source[told] for told, name in names.items() if told in source}


def _add(members: Members, name: str, value: str | None) -> None:
    if value is not None:
        members[name] = _json(value)


def _json(text: str) -> msgspec.Raw:
    # Not msgspec, which refuses the half of a cut emoji; who reads it repairs it.
    return msgspec.Raw(json.dumps(text).encode())
