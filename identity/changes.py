"""Pure: what a row of the ledger is called where other systems are told of it."""

from enum import StrEnum

from profiles.profile import Act, Link


class ChangeType(StrEnum):
    """What came of a row of the ledger, or of an erasure."""

    CREATED = "created"
    """There was no such customer before."""
    UPDATED = "updated"
    """Fields that are held changed."""
    LINKED = "linked"
    """The visitor is this customer now, or was at that time."""
    UNLINKED = "unlinked"
    """The visitor is this customer no longer."""
    UNDONE = "undone"
    """Merges, or undoings, were taken back."""
    JOINED = "joined"
    """The customer and another one were declared one person."""
    UNJOINED = "unjoined"
    ERASED = "erased"
    """Everything of the customer was removed; only a keyed hash of the id is told."""
    LOCKED = "locked"
    """Fields were closed to what websites send."""
    UNLOCKED = "unlocked"


_OF_ACT = {
    Act.UNDO: ChangeType.UNDONE,
    Act.LOCK: ChangeType.LOCKED,
    Act.UNLOCK: ChangeType.UNLOCKED,
    Act.JOIN: ChangeType.JOINED,
    Act.ABSORB: ChangeType.JOINED,
    Act.UNJOIN: ChangeType.UNJOINED,
    Act.RELEASE: ChangeType.UNJOINED,
}


def types_of(*, created: bool, act: Act | None, link: Link | None, has_fields: bool) -> list[ChangeType]:
    """Return what came of a row of the ledger; nothing, if it only tells what was skipped."""
    types = [ChangeType.CREATED] if created else []
    if act is not None:
        types.append(_OF_ACT[act])
    if has_fields and not created:
        types.append(ChangeType.UPDATED)
    if link is not None:
        types.append(ChangeType(link))
    return types
