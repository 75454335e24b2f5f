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


class HeldField(msgspec.Struct, frozen=True, array_like=True):
    """A value and the merge that set it; ``value`` None is a removal, which still keeps older values out."""

    value: JsonValue
    set_at: int
    version: int


class Profile(msgspec.Struct, frozen=True):
    """What is held of one customer: the fold of its ledger up to ``version``."""

    customer_id: str
    version: int
    created_at: int
    updated_at: int
    fields: dict[str, HeldField]
    digest: str | None = None

    def values(self) -> dict[str, JsonValue]:
        """Return the held values by field name, removals left out, in name order."""
        return {name: held.value for name, held in sorted(self.fields.items()) if held.value is not None}


class Merge(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the ledger: one version of one customer.

    A row without decisions that created nothing (``is_link``) is a change of links alone.
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
