"""The structs of the ledger. Times are whole milliseconds since 1970, UTC."""

from enum import StrEnum

import msgspec

from profiles.remarks import Decision, JsonValue


class Policy(StrEnum):
    """What incoming values may do to held ones."""

    OVERWRITE = "overwrite"
    """New overwrites old, by event time; nothing overwrites with nothing."""
    CREATE_ONLY = "create_only"
    """Set only by the merge that creates the profile (a sign-up)."""
    FILL_EMPTY = "fill_empty"
    """Set where nothing is held (values that a visitor gave before sign-in)."""
    UNSIGNED = "unsigned"
    """The same, for what nobody vouches for, where a channel wants that."""


class Act(StrEnum):
    """What is done to a ledger itself. An act takes a version like a merge, and never an event."""

    UNDO = "undo"
    """Merges, or undoings, are taken back: those whose ids ``undoes`` has."""
    LOCK = "lock"
    """``act_fields`` are closed to what channels send."""
    UNLOCK = "unlock"
    JOIN = "join"
    """The customer is ``other_id`` from now on."""
    UNJOIN = "unjoin"
    ABSORB = "absorb"
    """``other_id`` is this customer from now on."""
    RELEASE = "release"
    """``other_id`` is itself again; ``undoes`` has what came from it."""


class Link(StrEnum):
    """What an event did to the link of its visitor to the customer in whose ledger it is told."""

    LINKED = "linked"
    UNLINKED = "unlinked"


CHANNEL_SOURCES = frozenset({"channel", "anonymous"})
"""Sources of what websites send, and what visitors gave there before they signed in. Locks hold against these."""


class HeldField(msgspec.Struct, frozen=True, array_like=True):
    """A value and the merge that set it; ``value`` None is a removal, which still keeps older values out."""

    value: JsonValue
    set_at: int
    version: int


class Profile(msgspec.Struct, frozen=True):
    """What is held of one customer: the fold of its ledger up to ``version``.

    ``is_gone``: every merge of it was taken back, so that nobody finds it. ``locks`` has the version that closed each
    field to channels. ``joined_into`` is the customer whom it is declared to be, ``absorbs`` whom it is besides.
    """

    customer_id: str
    version: int
    created_at: int
    updated_at: int
    fields: dict[str, HeldField]
    digest: str | None = None
    is_gone: bool = False
    locks: dict[str, int] = {}
    joined_into: str | None = None
    absorbs: tuple[str, ...] = ()

    def is_apart_from(self, owner: "Profile") -> bool:
        """Return whether the one that this customer is joined into has let go of it: this one was read before they were
        taken apart, and the other after that."""
        return self.joined_into == owner.customer_id and self.customer_id not in owner.absorbs

    def values(self) -> dict[str, JsonValue]:
        """Return the held values by field name, removals left out, in name order."""
        return {name: held.value for name, held in sorted(self.fields.items()) if held.value is not None}


class Merge(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the ledger: one version of one customer.

    A row without decisions that created nothing (``is_link``) is a change of links alone; one with an ``act`` is no
    merge either, and its decisions tell what the act changed. ``actor`` is who did the act or began the import, and
    ``note`` says why. ``other_id``: see Act; of a merge, the joined id that its event named. ``copy_of`` is the row of
    another ledger that came here by a join or when one was taken apart: what takes that back takes this back as well.
    """

    merge_id: str
    customer_id: str
    version: int
    source: str
    event: str
    occurred_at: int
    received_at: int
    policy: Policy
    decisions: tuple[Decision, ...] = ()
    created_customer: bool = False
    visitor_id: str | None = None
    channel_id: str | None = None
    event_id: str | None = None
    digest: str | None = None
    is_link: bool = False
    act: Act | None = None
    undoes: tuple[str, ...] = ()
    act_fields: tuple[str, ...] = ()
    other_id: str | None = None
    actor: str | None = None
    note: str | None = None
    operation_id: str | None = None
    link: Link | None = None
    copy_of: str | None = None

    @property
    def is_merge(self) -> bool:
        """Whether values were offered, and the customer made where there was none."""
        return self.act is None and not self.is_link
