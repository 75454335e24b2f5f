"""Channels: the websites of a workspace, found by their public write keys."""

from collections.abc import Collection, Sequence
from secrets import token_urlsafe
from urllib.parse import urlsplit

import msgspec

from identity.events.identity import OnSignOut, Sender, SignedIdentity, UnsignedWrites
from identity.tokens import IdentityKey, IdentityKeys, keys_in_force
from profiles.access import Access
from profiles.database import Connection, statement

WRITE_KEY_PREFIX = "wk_"
LOOPBACK = "loopback"
"""Stands in a channel's origins for every port of this machine's own addresses."""
_LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


class Channel(msgspec.Struct, frozen=True):
    """A channel in force."""

    channel_id: str
    workspace_id: int
    name: str
    write_key: str
    website_tracking: bool
    origins: tuple[str, ...]
    sender: Sender
    identity_keys: IdentityKeys = {}

    def allows(self, origin: str) -> bool:
        """Return whether pages of this origin may send to the channel."""
        return is_allowed(origin, self.origins)


def is_allowed(origin: str, origins: Sequence[str]) -> bool:
    """Return whether an origin is one of the list, to the letter, or of this machine if the list has ``loopback``."""
    return origin in origins or (LOOPBACK in origins and is_loopback(origin))


def is_loopback(origin: str) -> bool:
    """Return whether an origin is of this machine itself."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.hostname in _LOOPBACK_HOSTS and not parts.path


def make_write_key() -> str:
    """Return a new write key."""
    return WRITE_KEY_PREFIX + token_urlsafe(18)


decode_identity_keys = msgspec.json.Decoder(list[IdentityKey]).decode


class Channels:
    """The channels of all workspaces, as of the snapshot of ``access``."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._by_key: dict[str, Channel] = {}
        self._by_id: dict[str, Channel] = {}
        self._origins: frozenset[str] = frozenset()
        access.loaders.append(self._load)

    def find(self, write_key: str) -> Channel | None:
        """Return the channel of a write key."""
        return self._by_key.get(write_key)

    def find_by_id(self, channel_id: str) -> Channel | None:
        """Return the channel of an id."""
        return self._by_id.get(channel_id)

    def in_force(self) -> Collection[Channel]:
        """Return all of them."""
        return self._by_key.values()

    def any_allows(self, origin: str) -> bool:
        """Return whether any channel takes pages of this origin; a preflight does not tell the key yet."""
        return origin in self._origins or (LOOPBACK in self._origins and is_loopback(origin))

    async def _load(self, connection: Connection) -> None:
        workspaces = await (await connection.execute(statement("profiles", "load_workspaces"))).fetchall()
        owners = {row[0]: row for row in workspaces}
        rows = await (await connection.execute(statement("identity", "load_channels"))).fetchall()
        found = {}
        for channel_id, workspace_id, name, write_key, tracking, origins, on_sign_out, signed, unsigned, keys in rows:
            sender = Sender(
                workspace_id=workspace_id,
                spread=owners[workspace_id][2],
                footprint_days=owners[workspace_id][4],
                channel_id=channel_id,
                website_tracking=tracking,
                on_sign_out=OnSignOut(on_sign_out),
                signed_identity=SignedIdentity(signed),
                unsigned_writes=UnsignedWrites(unsigned),
            )
            found[write_key] = Channel(
                channel_id,
                workspace_id,
                name,
                write_key,
                tracking,
                tuple(origins),
                sender,
                keys_in_force(decode_identity_keys(keys)),
            )
        self._by_key = found
        self._by_id = {channel.channel_id: channel for channel in found.values()}
        self._origins = frozenset(origin for channel in found.values() for origin in channel.origins)
