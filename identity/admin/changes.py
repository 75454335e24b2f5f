"""A workspace, its channels and keys, changed over HTTP: how many there may be, and in force before the answer."""

import logging
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
import psycopg
from msgspec import UNSET, UnsetType

from identity import administration, partitions
from identity.admin.query import make_cursor, read_cursor, read_limit
from identity.administration import ChannelView, CreatedKeyView, Invalid, KeyView, WorkspaceView
from identity.events.identity import OnSignOut, SignedIdentity, UnsignedWrites
from identity.partitions import PartitionError
from identity.routes import now_milliseconds
from profiles.access import Access, Scope
from profiles.database import Connection, Database, Unavailable, is_retryable, statement
from profiles.http import Problem

CHANNELS_MAX = 1000
"""Channels of one workspace that are in force."""
KEYS_MAX = 1000
"""Secret keys of one workspace that are in force."""
ATTEMPTS_MAX = 3

PAGE_PARAMETERS = ("limit", "cursor")

_NO_WORKSPACE = 0

log = logging.getLogger(__name__)

Result = TypeVar("Result")
Change = Callable[[Connection], Coroutine[Any, Any, tuple[Result, int]]]
"""Writes within a transaction, and gives its result and the generation that it took."""


class ChannelPage(msgspec.Struct, frozen=True):
    """Channels, newest first, revoked ones included."""

    items: list[ChannelView]
    next_cursor: str | None


class KeyPage(msgspec.Struct, frozen=True):
    """Secret keys, newest first, revoked ones included; the secrets themselves are kept nowhere."""

    items: list[KeyView]
    next_cursor: str | None


class NewChannel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A channel to be made."""

    name: str
    website_tracking: bool = True
    origins: list[str] = []
    on_sign_out: OnSignOut = OnSignOut.FORGET


class ChannelChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be changed of a channel; what is left out stays."""

    name: str | UnsetType = UNSET
    website_tracking: bool | UnsetType = UNSET
    origins: list[str] | UnsetType = UNSET
    on_sign_out: OnSignOut | UnsetType = UNSET
    signed_identity: SignedIdentity | UnsetType = UNSET
    unsigned_writes: UnsignedWrites | UnsetType = UNSET
    identity_keys: list[dict[str, object]] | UnsetType = UNSET


class WorkspaceChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be changed of a workspace; what is left out stays.

    ``blocked_customer_ids`` null: go back to the list that comes with the service.
    """

    footprint_days: int | UnsetType = UNSET
    blocked_customer_ids: list[str] | UnsetType | None = UNSET


class NewKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A secret key to be made."""

    name: str
    scopes: list[Scope]


class Changes:
    """A workspace, its channels and keys, one workspace at a time.

    Everything here raises a Problem: 404, no such thing in this workspace; 409, a limit or the last way in stands
    against it; 422, a value cannot be.
    """

    def __init__(self, database: Database, access: Access) -> None:
        self._database = database
        self._access = access

    async def find_workspace(self, workspace_id: int) -> WorkspaceView:
        """Return the workspace itself."""

        async def work(connection: Connection) -> list[WorkspaceView]:
            return await administration.list_workspaces(connection, workspace_id)

        return (await self._database.run(work))[0]

    async def create_workspace(
        self,
        slug: str,
        *,
        spread: int,
        footprint_days: int | None = None,
        blocked_customer_ids: Sequence[str] | None = None,
    ) -> WorkspaceView:
        """Make another workspace, for the command line.

        Raises:
            SlugTakenError: there is one of this slug.
        """

        async def change(connection: Connection) -> tuple[WorkspaceView, int]:
            return await administration.create_workspace(
                connection,
                slug=slug,
                spread=spread,
                footprint_days=footprint_days,
                blocked_customer_ids=blocked_customer_ids,
                now=now_milliseconds(),
            )

        made = await self._change(_NO_WORKSPACE, change)
        await self._keep_partitions_up()
        return made

    async def change_workspace(self, workspace_id: int, wanted: WorkspaceChange) -> WorkspaceView:
        """Change what is given of the workspace; a shorter retention hides what is past it at once."""
        values: dict[str, Any] = {
            name: value for name, value in msgspec.structs.asdict(wanted).items() if value is not UNSET
        }
        default_blocked = values.get("blocked_customer_ids", UNSET) is None

        async def change(connection: Connection) -> tuple[WorkspaceView, int]:
            return await administration.change_workspace(
                connection, workspace_id, **values, default_blocked=default_blocked, now=now_milliseconds()
            )

        changed = await self._change(workspace_id, change)
        await self._keep_partitions_up()
        return changed

    async def _keep_partitions_up(self) -> None:
        try:
            await partitions.keep_up_on(self._database, partitions.day_of(now_milliseconds()))
        except (PartitionError, psycopg.Error, Unavailable) as error:
            # The change is made; an event whose month is missing makes it, and so does the next hour.
            log.warning("partitions not kept up", extra={"error": [type(error).__name__]})

    async def list_channels(self, workspace_id: int, query: Mapping[str, str]) -> ChannelPage:
        """Return one page of the channels."""
        limit, after = read_limit(query), read_cursor(query)

        async def work(connection: Connection) -> list[ChannelView]:
            return await administration.list_channels(connection, workspace_id, after=after, rows_max=limit + 1)

        found = await self._database.run(work)
        return ChannelPage(found[:limit], make_cursor(found[limit - 1].channel_id) if len(found) > limit else None)

    async def find_channel(self, workspace_id: int, channel_id: str) -> ChannelView:
        """Return one channel."""

        async def work(connection: Connection) -> ChannelView | None:
            return await administration.find_channel(connection, workspace_id, channel_id)

        channel = await self._database.run(work)
        if channel is None:
            raise _no_channel()
        return channel

    async def create_channel(self, workspace_id: int, new: NewChannel) -> ChannelView:
        """Make a channel with a write key of its own."""

        async def change(connection: Connection) -> tuple[ChannelView, int]:
            made = await administration.create_channel(
                connection, workspace_id, **msgspec.structs.asdict(new), now=now_milliseconds()
            )
            (channels,) = await _count(connection, "identity", "count_channels", {"workspace_id": workspace_id})
            if channels > CHANNELS_MAX:
                raise Problem(409, "too_many_channels", f"A workspace may have {CHANNELS_MAX} channels in force.")
            return made

        return await self._change(workspace_id, change)

    async def change_channel(self, workspace_id: int, channel_id: str, wanted: ChannelChange) -> ChannelView:
        """Change what is given of a channel in force."""
        values = {name: value for name, value in msgspec.structs.asdict(wanted).items() if value is not UNSET}

        async def change(connection: Connection) -> tuple[ChannelView, int]:
            changed = await administration.change_channel(connection, workspace_id, channel_id, **values)
            if changed is None:
                if await administration.find_channel(connection, workspace_id, channel_id):
                    raise Problem(409, "channel_revoked", "This channel was revoked, for good: make another one.")
                raise _no_channel()
            return changed

        return await self._change(workspace_id, change)

    async def revoke_channel(self, workspace_id: int, channel_id: str) -> ChannelView:
        """Put a channel out of force for good; one that was revoked before stays as it is."""

        async def change(connection: Connection) -> tuple[ChannelView, int]:
            revoked = await administration.revoke_channel(connection, workspace_id, channel_id, now=now_milliseconds())
            if revoked is None:
                raise _no_channel()
            return revoked

        return await self._change(workspace_id, change)

    async def list_keys(self, workspace_id: int, query: Mapping[str, str]) -> KeyPage:
        """Return one page of the keys."""
        limit, after = read_limit(query), read_cursor(query)

        async def work(connection: Connection) -> list[KeyView]:
            return await administration.list_keys(connection, workspace_id, after=after, rows_max=limit + 1)

        found = await self._database.run(work)
        return KeyPage(found[:limit], make_cursor(found[limit - 1].key_id) if len(found) > limit else None)

    async def create_key(self, workspace_id: int, new: NewKey) -> CreatedKeyView:
        """Make a secret key."""

        async def change(connection: Connection) -> tuple[CreatedKeyView, int]:
            made = await administration.create_key(
                connection, workspace_id, name=new.name, scopes=new.scopes, now=now_milliseconds()
            )
            in_force, _ = await self._count_keys(connection, workspace_id)
            if in_force > KEYS_MAX:
                raise Problem(409, "too_many_keys", f"A workspace may have {KEYS_MAX} keys in force: revoke some.")
            return made

        return await self._change(workspace_id, change)

    async def revoke_key(self, workspace_id: int, key_id: str) -> KeyView:
        """Put a key out of force for good; one that was revoked before stays as it is."""

        async def change(connection: Connection) -> tuple[KeyView, int]:
            revoked = await administration.revoke_key(connection, workspace_id, key_id, now=now_milliseconds())
            if revoked is None:
                raise Problem(404, "key_not_found", "No key of this workspace has this id.")
            _, admins = await self._count_keys(connection, workspace_id)
            if admins == 0:
                raise Problem(
                    409, "last_admin_key", "This is the last key with the scope admin: make another one before."
                )
            return (await administration.list_keys(connection, workspace_id, revoked[0]))[0], revoked[1]

        return await self._change(workspace_id, change)

    async def _count_keys(self, connection: Connection, workspace_id: int) -> tuple[int, int]:
        parameters = {"workspace_id": workspace_id, "scope": Scope.ADMIN}
        in_force, admins = await _count(connection, "profiles", "count_keys", parameters)
        return in_force, admins

    async def _change(self, workspace_id: int, change: Change[Result]) -> Result:
        """Make one change, and return when no worker anywhere goes by what was before."""
        for attempt in range(ATTEMPTS_MAX):
            since = time.monotonic()
            try:
                result, generation = await self._database.run(_once(workspace_id, change))
            except Invalid as error:
                raise Problem(422, error.code, error.message) from error
            except psycopg.Error as error:
                if not is_retryable(error) or attempt == ATTEMPTS_MAX - 1:
                    raise
            else:
                await self._access.announce(generation, since)
                return result
        raise Unavailable("contention")


def _once(workspace_id: int, change: Change[Result]) -> Change[Result]:
    is_written = False

    async def work(connection: Connection) -> tuple[Result, int]:
        nonlocal is_written
        if is_written:
            # The connection was lost at the commit: a second channel or key must not come of it.
            raise Unavailable("not known whether it was done")
        async with connection.transaction():
            await connection.execute(statement("profiles", "lock_workspace"), {"workspace_id": workspace_id})
            changed = await change(connection)
            is_written = True
        return changed

    return work


async def _count(connection: Connection, package: str, name: str, parameters: Mapping[str, object]) -> tuple[int, ...]:
    row = await (await connection.execute(statement(package, name), parameters)).fetchone()
    assert row is not None, "a count has one row"
    return row


def _no_channel() -> Problem:
    return Problem(404, "channel_not_found", "No channel of this workspace has this id.")
