"""Workspaces, channels and secret keys made, changed and withdrawn: what the admin API and the command line share.

Each change is one transaction that takes the next generation with it. Whoever makes one tells the cache that generation
after the commit (``Access.announce``), so that every worker obeys with its next request.
"""

from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import msgspec
import psycopg

from identity.channels import LOOPBACK, decode_identity_keys, make_write_key
from identity.events.identity import OnSignOut, SignedIdentity, UnsignedWrites
from identity.tokens import (
    SECRET_BYTES_MAX,
    SECRET_BYTES_MIN,
    IdentityKey,
    IdentityKeyView,
    key_id_of,
    read_identity_key,
)
from identity.visitors import read_known_customer_id
from profiles.access import Scope, hash_of, make_secret
from profiles.clock import to_text
from profiles.database import Connection, statement
from profiles.fields import read_text
from profiles.remarks import Reason

NAME_CHARACTERS_MAX = 100
ORIGINS_MAX = 50
ORIGIN_CHARACTERS_MAX = 255
IDENTITY_KEYS_MAX = 10
"""Of one channel: more than one while they are changed over."""
ROWS_MAX = 1000
"""Channels or keys in one list, the newest."""
FOOTPRINT_DAYS_MAX = 3650
BLOCKED_IDS_MAX = 1000


class Invalid(Exception):
    """What was asked for cannot be; ``code`` and ``message`` tell the person why, nothing was changed."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class SlugTakenError(Exception):
    """There is a workspace of this slug."""


class WorkspaceView(msgspec.Struct, frozen=True):
    """A workspace, as admins see it. ``footprint_days``: behaviour events are kept so many days from their arrival.

    ``blocked_customer_ids`` stand for nobody; null: the list that comes with the service.
    """

    slug: str
    spread: int
    footprint_days: int
    blocked_customer_ids: list[str] | None
    created_at: str


class ChannelView(msgspec.Struct, frozen=True):
    """A channel, as admins see it. The write key is public: it stands in the website."""

    channel_id: str
    name: str
    write_key: str
    website_tracking: bool
    origins: list[str]
    on_sign_out: str
    signed_identity: str
    unsigned_writes: str
    identity_keys: list[IdentityKeyView]
    created_at: str
    revoked_at: str | None


class KeyView(msgspec.Struct, frozen=True):
    """A secret key, as admins see it: ``hint`` is its last characters, the key itself is not kept."""

    key_id: str
    name: str
    scopes: list[str]
    hint: str
    created_at: str
    revoked_at: str | None


class CreatedKeyView(KeyView, frozen=True):
    """A secret key that was just made. ``secret`` is shown this once."""

    secret: str


def read_name(value: object) -> str:
    """Return the name of a channel or key.

    Raises:
        Invalid: it is no text of 1 to 100 characters, or holds control characters.
    """
    name = read_text(value, NAME_CHARACTERS_MAX)
    if isinstance(name, Reason) or not name:
        raise Invalid("invalid_name", f"A name is a text of 1 to {NAME_CHARACTERS_MAX} characters.")
    return name


def read_origins(value: object) -> list[str]:
    """Return origins as browsers send them, for example "https://shop.example", each once; ``loopback`` stands for
    every port of this machine.

    Raises:
        Invalid: one is no origin (a path, a wildcard, no scheme), or they are too many.
    """
    if not isinstance(value, list | tuple) or len(value) > ORIGINS_MAX:
        raise Invalid("invalid_origins", f"Origins are a list of at most {ORIGINS_MAX}.")
    return list(dict.fromkeys(_read_origin(origin) for origin in value))


def _read_origin(value: object) -> str:
    wrong = Invalid(
        "invalid_origins",
        f'Each origin is a scheme and a host as browsers send them, like "https://shop.example", or "{LOOPBACK}".',
    )
    if (
        not isinstance(value, str)
        or len(value) > ORIGIN_CHARACTERS_MAX
        or not value.isascii()
        or not value.isprintable()
    ):
        raise wrong
    if value == LOOPBACK:
        return value
    try:
        parts = urlsplit(value)
        port, host = parts.port, parts.hostname
    except ValueError:
        raise wrong from None
    # Browsers leave the usual port out and write the host in lower case; anything else would never match.
    usual = {"http": 80, "https": 443}.get(parts.scheme, 0)
    shown = f"[{host}]" if host and ":" in host else host
    origin = f"{parts.scheme}://{shown}" if port in (None, usual) else f"{parts.scheme}://{shown}:{port}"
    if (
        not usual
        or not host
        or "*" in host
        or " " in host
        or value.lower().rstrip("/") not in (origin, f"{origin}:{usual}")
    ):
        raise wrong
    return origin


def read_on_sign_out(value: object) -> str:
    """Return what a sign-out does on a channel.

    Raises:
        Invalid: it is neither forget nor keep.
    """
    if value not in tuple(OnSignOut):
        raise Invalid("invalid_on_sign_out", "on_sign_out is forget or keep.")
    return str(value)


def read_signed_identity(value: object) -> str:
    """Return whether a channel wants identities that are signed.

    Raises:
        Invalid: it is none of off, observe and required.
    """
    if value not in tuple(SignedIdentity):
        raise Invalid("invalid_signed_identity", "signed_identity is off, observe or required.")
    return str(value)


def read_unsigned_writes(value: object) -> str:
    """Return what events that nobody vouches for may do to held values on a channel.

    Raises:
        Invalid: it is neither overwrite nor fill_empty.
    """
    if value not in tuple(UnsignedWrites):
        raise Invalid("invalid_unsigned_writes", "unsigned_writes is overwrite or fill_empty.")
    return str(value)


def read_identity_keys(value: object, held: Sequence[IdentityKey] = ()) -> list[IdentityKey]:
    """Return the keys that a channel's tokens are signed with, as JSON has them; of those held already the kid will do,
    or all that was told of them.

    Raises:
        Invalid: one is neither held nor a key for ES256 or HS256, two have one kid, or they are too many.
    """
    if not isinstance(value, list | tuple) or len(value) > IDENTITY_KEYS_MAX:
        raise Invalid("invalid_identity_keys", f"Identity keys are a list of at most {IDENTITY_KEYS_MAX}.")
    keys = [_find_held(key, held) or read_identity_key(key) for key in value]
    kept = [key for key in keys if key is not None]
    if len(kept) < len(keys):
        raise Invalid(
            "invalid_identity_keys",
            'Each identity key is {"kid", "public_key"} with the PEM of a public P-256 key; {"kid", "secret"} with '
            f"{SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} ASCII characters, none of them blank; a JWK with its kid; or "
            "the kid of one that the channel has. Private keys stay with whoever signs.",
        )
    if len({key.kid for key in kept}) < len(kept):
        raise Invalid("invalid_identity_keys", "Two identity keys have the same kid.")
    return kept


def _find_held(value: object, held: Sequence[IdentityKey]) -> IdentityKey | None:
    """Return the held key that is named, if what else is said of it is so."""
    kid = value.get("kid") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(kid, str):
        return None
    for key in held:
        told = {"kid": kid, "algorithm": key.algorithm, "hint": key.hint}
        if key.kid in (kid, key_id_of(kid)) and value.items() <= told.items():
            return key
    return None


def read_footprint_days(value: object) -> int:
    """Return for how many days a workspace keeps its behaviour events.

    Raises:
        Invalid: it is no whole number from 1 to 3650.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= FOOTPRINT_DAYS_MAX:
        raise Invalid("invalid_footprint_days", f"footprint_days is a whole number from 1 to {FOOTPRINT_DAYS_MAX}.")
    return value


def read_blocked_customer_ids(value: object) -> list[str]:
    """Return the customer ids that stand for nobody, trimmed, each once; compared they will be in any case.

    Raises:
        Invalid: one is no id that a customer could have, or they are too many.
    """
    ids = [read_known_customer_id(item) for item in value] if isinstance(value, list | tuple) else [None]
    known = [item for item in ids if item is not None]
    if len(known) < len(ids) or len(ids) > BLOCKED_IDS_MAX:
        raise Invalid(
            "invalid_blocked_customer_ids",
            f"Blocked customer ids are a list of at most {BLOCKED_IDS_MAX} ids that a customer could have.",
        )
    return list(dict.fromkeys(known))


def read_scopes(value: object) -> list[str]:
    """Return the scopes of a key, in their own order.

    Raises:
        Invalid: there is none, or one is unknown.
    """
    known = [str(scope) for scope in Scope]
    if not isinstance(value, list | tuple) or not value or not all(isinstance(s, str) and s in known for s in value):
        raise Invalid("invalid_scopes", f"Scopes are a list of one or more of: {', '.join(known)}.")
    return [scope for scope in known if scope in value]


def read_uuid(value: str) -> str | None:
    """Return the id as PostgreSQL compares it, or None for what is no UUID."""
    try:
        return str(UUID(value))
    except ValueError:
        return None


async def list_workspaces(connection: Connection, workspace_id: int | None = None) -> list[WorkspaceView]:
    """Return the workspaces of the store, by slug, or the one with this number."""
    parameters = {"workspace_id": workspace_id}
    cursor = await connection.execute(statement("identity", "list_workspaces"), parameters)
    return [
        WorkspaceView(slug, spread, footprint_days, None if blocked is None else list(blocked), to_text(created))
        for slug, spread, footprint_days, blocked, created in await cursor.fetchall()
    ]


async def create_workspace(
    connection: Connection,
    *,
    slug: str,
    spread: int = 1,
    footprint_days: object | None = None,
    blocked_customer_ids: object | None = None,
    now: int,
) -> tuple[WorkspaceView, int]:
    """Make a workspace, without any channel or key; return it and the generation to tell.

    ``spread`` is how many buckets its rows are spread over (see profiles/placement.py), for good.

    Raises:
        Invalid: a value cannot be.
        SlugTakenError: there is one of this slug.
    """
    try:
        async with connection.transaction():
            # First, so that of several at once each sees the number that the one before it took.
            generation = await advance(connection)
            made = {"slug": slug, "spread": spread, "now": to_text(now)}
            row = await (await connection.execute(statement("profiles", "insert_workspace"), made)).fetchone()
            assert row is not None, "it gives its number"
            changed = await change_workspace(
                connection, row[0], footprint_days=footprint_days, blocked_customer_ids=blocked_customer_ids, now=now
            )
            return changed[0], generation
    except psycopg.errors.UniqueViolation as error:
        raise SlugTakenError from error


async def change_workspace(
    connection: Connection,
    workspace_id: int,
    *,
    footprint_days: object | None = None,
    blocked_customer_ids: object | None = None,
    default_blocked: bool = False,
    now: int,
) -> tuple[WorkspaceView, int]:
    """Change what is given and return the workspace and the generation to tell.

    ``default_blocked`` goes back to the list of blocked ids that comes with the service.

    Raises:
        Invalid: a value cannot be.
    """
    blocked = None if blocked_customer_ids is None else read_blocked_customer_ids(blocked_customer_ids)
    parameters = {
        "workspace_id": workspace_id,
        "footprint_days": None if footprint_days is None else read_footprint_days(footprint_days),
        "blocked_customer_ids": blocked,
        "default_blocked": default_blocked,
        "now": to_text(now),
    }
    async with connection.transaction():
        await connection.execute(statement("identity", "change_workspace"), parameters)
        changed = await list_workspaces(connection, workspace_id)
        return changed[0], await advance(connection)


async def list_channels(
    connection: Connection,
    workspace_id: int,
    channel_id: str | None = None,
    *,
    after: str | None = None,
    rows_max: int = ROWS_MAX,
) -> list[ChannelView]:
    """Return the channels of a workspace, revoked ones included, newest first, or the one with this id.

    ``after`` is the id of the last one already seen.
    """
    parameters = {"workspace_id": workspace_id, "channel_id": channel_id, "after": after, "rows_max": rows_max}
    cursor = await connection.execute(statement("identity", "list_channels"), parameters)
    return [
        ChannelView(
            found_id,
            name,
            write_key,
            tracking,
            list(origins),
            on_sign_out,
            signed_identity,
            unsigned_writes,
            _decode_key_views(keys),
            to_text(created),
            _text(revoked),
        )
        for (
            found_id,
            name,
            write_key,
            tracking,
            origins,
            on_sign_out,
            signed_identity,
            unsigned_writes,
            keys,
            created,
            revoked,
        ) in await cursor.fetchall()
    ]


async def find_channel(connection: Connection, workspace_id: int, channel_id: str) -> ChannelView | None:
    """Return one channel of a workspace, or None."""
    known = read_uuid(channel_id)
    return next(iter(await list_channels(connection, workspace_id, known)), None) if known else None


async def create_channel(
    connection: Connection,
    workspace_id: int,
    *,
    name: object,
    origins: object = (),
    website_tracking: bool = True,
    on_sign_out: object = "forget",
    now: int,
) -> tuple[ChannelView, int]:
    """Make a channel with a new write key; return it and the generation to tell.

    Raises:
        Invalid: the name, the origins or the policy cannot be.
    """
    channel_id = str(uuid4())
    parameters = {
        "channel_id": channel_id,
        "workspace_id": workspace_id,
        "name": read_name(name),
        "write_key": make_write_key(),
        "website_tracking": website_tracking,
        "origins": read_origins(origins),
        "on_sign_out": read_on_sign_out(on_sign_out),
        "now": to_text(now),
    }
    async with connection.transaction():
        await connection.execute(statement("identity", "insert_channel"), parameters)
        made = await list_channels(connection, workspace_id, channel_id)
        return made[0], await advance(connection)


async def change_channel(
    connection: Connection,
    workspace_id: int,
    channel_id: str,
    *,
    name: object | None = None,
    origins: object | None = None,
    website_tracking: bool | None = None,
    on_sign_out: object | None = None,
    signed_identity: object | None = None,
    unsigned_writes: object | None = None,
    identity_keys: object | None = None,
) -> tuple[ChannelView, int] | None:
    """Change what is given and return the channel and the generation to tell; None if no such channel is in force.

    Raises:
        Invalid: the name, the origins, a policy or a key cannot be.
    """
    parameters = {
        "name": None if name is None else read_name(name),
        "origins": None if origins is None else read_origins(origins),
        "website_tracking": website_tracking,
        "on_sign_out": None if on_sign_out is None else read_on_sign_out(on_sign_out),
        "signed_identity": None if signed_identity is None else read_signed_identity(signed_identity),
        "unsigned_writes": None if unsigned_writes is None else read_unsigned_writes(unsigned_writes),
        "identity_keys": None,
        "revoked_at": None,
    }
    async with connection.transaction():
        if identity_keys is not None:
            held = await _lock_identity_keys(connection, workspace_id, channel_id)
            if held is None:
                return None
            parameters["identity_keys"] = msgspec.json.encode(read_identity_keys(identity_keys, held)).decode()
        return await _update_channel(connection, workspace_id, channel_id, parameters)


async def _lock_identity_keys(connection: Connection, workspace_id: int, channel_id: str) -> list[IdentityKey] | None:
    parameters = {"workspace_id": workspace_id, "channel_id": read_uuid(channel_id)}
    row = await (await connection.execute(statement("identity", "lock_identity_keys"), parameters)).fetchone()
    return decode_identity_keys(row[0]) if row else None


async def revoke_channel(
    connection: Connection, workspace_id: int, channel_id: str, *, now: int
) -> tuple[ChannelView, int] | None:
    """Put a channel out of force for good and return it and the generation to tell; None if there is none.

    One that was revoked before stays as it is.
    """
    parameters = dict.fromkeys(
        ("name", "origins", "website_tracking", "on_sign_out", "signed_identity", "unsigned_writes", "identity_keys")
    )
    changed = await _update_channel(connection, workspace_id, channel_id, {**parameters, "revoked_at": to_text(now)})
    if changed is not None:
        return changed
    async with connection.transaction():
        channel = await find_channel(connection, workspace_id, channel_id)
        return (channel, await advance(connection)) if channel else None


async def _update_channel(
    connection: Connection, workspace_id: int, channel_id: str, changes: Mapping[str, object]
) -> tuple[ChannelView, int] | None:
    known = read_uuid(channel_id)
    if known is None:
        return None
    async with connection.transaction():
        parameters = {**changes, "workspace_id": workspace_id, "channel_id": known}
        cursor = await connection.execute(statement("identity", "change_channel"), parameters)
        if await cursor.fetchone() is None:
            return None
        changed = await list_channels(connection, workspace_id, known)
        return changed[0], await advance(connection)


async def list_keys(
    connection: Connection,
    workspace_id: int,
    key_id: str | None = None,
    *,
    after: str | None = None,
    rows_max: int = ROWS_MAX,
) -> list[KeyView]:
    """Return the secret keys of a workspace, revoked ones included, newest first, or the one with this id.

    ``after`` is the id of the last one already seen.
    """
    parameters = {"workspace_id": workspace_id, "key_id": key_id, "after": after, "rows_max": rows_max}
    cursor = await connection.execute(statement("profiles", "list_keys"), parameters)
    return [
        KeyView(key_id, name, _scopes(scopes), hint, to_text(created), _text(revoked))
        for key_id, name, scopes, hint, created, revoked in await cursor.fetchall()
    ]


async def create_key(
    connection: Connection, workspace_id: int, *, name: object, scopes: object, now: int
) -> tuple[CreatedKeyView, int]:
    """Make a secret key; return it with the secret, which is kept nowhere, and the generation to tell.

    Raises:
        Invalid: the name or the scopes cannot be.
    """
    secret = make_secret()
    key = CreatedKeyView(str(uuid4()), read_name(name), read_scopes(scopes), secret[-4:], to_text(now), None, secret)
    parameters = {
        "key_id": key.key_id,
        "workspace_id": workspace_id,
        "name": key.name,
        "scopes": key.scopes,
        "secret_hash": hash_of(secret),
        "hint": key.hint,
        "now": key.created_at,
    }
    async with connection.transaction():
        await connection.execute(statement("profiles", "insert_key"), parameters)
        return key, await advance(connection)


async def revoke_key(connection: Connection, workspace_id: int, key_id: str, *, now: int) -> tuple[str, int] | None:
    """Put a key out of force for good and return its id and the generation to tell; None if there is none.

    One that was revoked before stays as it is.
    """
    known = read_uuid(key_id)
    if known is None:
        return None
    async with connection.transaction():
        parameters = {"workspace_id": workspace_id, "key_id": known, "now": to_text(now)}
        cursor = await connection.execute(statement("profiles", "revoke_key"), parameters)
        if await cursor.fetchone() is None:
            return None
        return known, await advance(connection)


async def advance(connection: Connection) -> int:
    """Take the next generation, as the last statement of the transaction that changed something."""
    row = await (await connection.execute(statement("profiles", "advance_generation"))).fetchone()
    assert row is not None, "a migrated store has its one row"
    return int(row[0])


_decode_key_views = msgspec.json.Decoder(list[IdentityKeyView]).decode  # which leaves a secret behind


def _scopes(scopes: Iterable[str]) -> list[str]:
    held: Sequence[str] = list(scopes)
    return [str(scope) for scope in Scope if scope in held]


def _text(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else to_text(milliseconds)
