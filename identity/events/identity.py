"""Pure: the five identity events."""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from identity.refusals import Refusal
from profiles.fields import Dialect
from profiles.patches import PatchOperation
from profiles.remarks import Reading


class OnSignOut(StrEnum):
    """What an explicit sign-out does to the link, by policy of the channel."""

    FORGET = "forget"
    KEEP = "keep"


class SignedIdentity(StrEnum):
    """Whether who a visitor is must be vouched for by a signed token, by policy of the channel.

    ``OBSERVE`` refuses nothing for lack of it, and counts what ``REQUIRED`` would refuse.
    """

    OFF = "off"
    OBSERVE = "observe"
    REQUIRED = "required"


class UnsignedWrites(StrEnum):
    """What an event that no signed token vouches for may do to held values, by policy of the channel."""

    OVERWRITE = "overwrite"
    FILL_EMPTY = "fill_empty"


class Sender(msgspec.Struct, frozen=True, kw_only=True):
    """Who sends: a channel, as far as the rules need to know it, or whoever holds a secret.

    ``actor``, ``note`` and ``operation_id`` go into the ledger as they are (see profiles.profile.Merge).
    """

    workspace_id: int
    spread: int = 1
    channel_id: str | None = None
    source: str = "channel"
    website_tracking: bool = True
    on_sign_out: OnSignOut = OnSignOut.FORGET
    signed_identity: SignedIdentity = SignedIdentity.OFF
    unsigned_writes: UnsignedWrites = UnsignedWrites.OVERWRITE
    footprint_days: int = 395
    actor: str | None = None
    note: str | None = None
    operation_id: str | None = None

    @property
    def looks_at_tokens(self) -> bool:
        """Whether it makes a difference who vouches for an event."""
        return self.signed_identity is not SignedIdentity.OFF or self.unsigned_writes is not UnsignedWrites.OVERWRITE


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """What every identity event has. Times in milliseconds; ``occurred_at`` is corrected and never in the future.

    ``customer`` is the id, why it is unusable, or None where the event names nobody. ``notes`` are remarks on
    the envelope (an unusable visitor id or time). ``fields`` are the names of the parameters that came along, for the
    list of the refused. ``identity_token`` is a signed token as it came, ``verified_customer`` whom one vouches for.
    """

    sender: Sender
    name: str
    visitor_id: str | None
    customer: str | Refusal | None
    occurred_at: int
    received_at: int
    event_id: str | None = None
    sent_customer: str | None = None
    identity_token: str | None = None
    verified_customer: str | None = None
    notes: tuple[Reading, ...] = ()
    fields: tuple[str, ...] = ()


class Identify(Event, frozen=True, kw_only=True):
    """clIdentity: the visitor is this customer, and here are some fields. ``params`` are as sent; ``readings`` are of
    these, where they have been read already."""

    params: Mapping[str, object]
    digest: str
    readings: tuple[Reading, ...] | None = None
    dialect: Dialect = Dialect.CLIDENTITY


class SignUp(Event, frozen=True, kw_only=True):
    """userSignedUp: a profile came to be; not a sign-in."""

    profile: Mapping[str, object]


class SignIn(Event, frozen=True, kw_only=True):
    """userSignedIn: the visitor is this customer.

    ``only_first``: said in passing, by a token that came with something else; it counts only of a visitor of whom
    nobody has said anything yet.
    """

    only_first: bool = False


class Alias(SignIn, frozen=True, kw_only=True):
    """A visitor, known as ``visitor_id`` until now, is this customer from now on. Never joins two customers."""


class SignOut(Event, frozen=True, kw_only=True):
    """userSignedOut: the visitor is nobody any more."""


class ProfileChange(Event, frozen=True, kw_only=True):
    """userProfileChanged: a patch of the visitor's current customer, or of the anonymous visitor."""

    patch: tuple[PatchOperation, ...] | Refusal


class TraitsChange(Event, frozen=True, kw_only=True):
    """Segment's identify without a user: traits of the visitor's current customer, or of the anonymous visitor."""

    traits: Mapping[str, object]


class Assertion(Event, frozen=True, kw_only=True):
    """What someone with a secret says of a customer, by the names that fields are held by: a line of an import, a CRM's
    write. Nobody is linked by it."""

    readings: tuple[Reading, ...]


class CrmPatch(Assertion, frozen=True, kw_only=True):
    """A CRM's change of one customer, made only if the customer is there and, with ``versions``, at one of these; or,
    with ``creates``, only if nobody is there yet."""

    versions: frozenset[int] | None = None
    creates: bool = False


class Unusable(Event, frozen=True, kw_only=True):
    """An event that is refused whoever sends it: its type is unknown."""

    refusal: Refusal
