"""Pure: the five identity events."""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from identity.refusals import Refusal
from profiles.remarks import JsonValue, Reading


class OnSignOut(StrEnum):
    """What an explicit sign-out does to the link, by policy of the channel."""

    FORGET = "forget"
    KEEP = "keep"


class Sender(msgspec.Struct, frozen=True, kw_only=True):
    """Who sends: a channel, as far as the rules need to know it."""

    workspace_id: int
    spread: int = 1
    channel_id: str | None = None
    source: str = "channel"
    website_tracking: bool = True
    on_sign_out: OnSignOut = OnSignOut.FORGET


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """What every identity event has. Times in milliseconds; ``occurred_at`` is corrected and never in the future.

    ``customer`` is the id, why it is unusable, or None where the event names nobody. ``notes`` are remarks on
    the envelope (an unusable visitor id or time). ``fields`` are the names of the parameters that came along, for the
    list of the refused.
    """

    sender: Sender
    name: str
    visitor_id: str | None
    customer: str | Refusal | None
    occurred_at: int
    received_at: int
    event_id: str | None = None
    sent_customer: str | None = None
    notes: tuple[Reading, ...] = ()
    fields: tuple[str, ...] = ()


class Identify(Event, frozen=True, kw_only=True):
    """clIdentity: the visitor is this customer, and here are some fields. ``params`` are as sent, not yet read."""

    params: Mapping[str, object]
    digest: str


class SignUp(Event, frozen=True, kw_only=True):
    """userSignedUp: a profile came to be; not a sign-in."""

    profile: Mapping[str, object]


class SignIn(Event, frozen=True, kw_only=True):
    """userSignedIn: the visitor is this customer."""


class SignOut(Event, frozen=True, kw_only=True):
    """userSignedOut: the visitor is nobody any more."""


class PatchOperation(msgspec.Struct, frozen=True):
    """One step of a patch: ``type`` is "set" or "unset"."""

    type: str
    path: str
    value: JsonValue = None


class ProfileChange(Event, frozen=True, kw_only=True):
    """userProfileChanged: a patch of the visitor's current customer, or of the anonymous visitor."""

    patch: tuple[PatchOperation, ...] | Refusal


class Unusable(Event, frozen=True, kw_only=True):
    """An event that is refused whoever sends it: its type is unknown."""

    refusal: Refusal
