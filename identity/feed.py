"""The change feed: the ledger as other systems follow it, in an order that nothing comes into later.

Transactions are not committed in the order of merge ids, so that a reader who kept the last id would miss whatever was
committed behind it. Rows therefore carry the number of the transaction that wrote them, and only those of transactions
before the oldest open one are handed out: what is committed later has a higher number than everything handed out.
Whoever holds a transaction open, in any database of the same PostgreSQL, holds the feed back as long.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from identity.admin.query import read_limit, read_query
from identity.changes import ChangeType, types_of
from profiles.access import Access, Scope
from profiles.clock import bucket_of_id, to_text
from profiles.database import Connection, Database, statement
from profiles.http import Problem, Request, Response, json_response
from profiles.pipeline import Command, array_parameter, fetch_together
from profiles.profile import Act, Link
from profiles.store import Spreads, number, text

CHANGES_PATH = "/api/v1/changes"
CHANGES_DEFAULT = 200
CHANGES_MAX = 1000
"""Rows of the ledger looked through for one page."""
FIRST_ARRIVALS_MAX = 100_000
"""Changes looked through for the first of a time."""

_TAG_BYTES = 4
_CURSOR_BYTES = _TAG_BYTES + 8 + 16


_ERASE = "erase"
"""What an erasure, which is no row of the ledger, has in the place of an act."""


class Position(NamedTuple):
    """A place in the feed of a workspace: behind the change with this id, of this transaction."""

    xid: int
    change_id: str


BEGINNING = Position(-1, str(UUID(int=0)))


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One change of a customer: what it was, which version came of it, and the names of the fields that changed.

    Values are not told: who may see them looks them up. ``cursor`` is where to go on behind it. Of an erasure
    ``customer_hash`` stands for the id, which is held no more, and ``merge_id`` is the erasure's own.
    """

    cursor: str
    merge_id: str
    customer_id: str | None
    customer_hash: str | None
    types: list[ChangeType]
    version: int | None
    visitor_id: str | None
    occurred_at: str
    received_at: str
    event: str
    source: str
    fields: list[str]


class ChangePage(msgspec.Struct, frozen=True):
    """Changes, oldest first. ``next_cursor`` is where to go on, now if ``has_more``, otherwise some time later.

    A page may be empty although there is more: rows that changed nothing are passed over.
    """

    items: list[Change]
    next_cursor: str
    has_more: bool


class Stretch(NamedTuple):
    """Changes behind a position, each with its own, the position behind the last row looked at, whether it was the
    last there is."""

    changes: list[tuple[Position, Change]]
    end: Position
    has_more: bool


def make_cursor(store_id: str, position: Position) -> str:
    """Return a position as it is told outside; it is good for this store alone."""
    raw = _tag(store_id) + (position.xid + 1).to_bytes(8, "big") + UUID(position.change_id).bytes
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def read_cursor(cursor: str) -> tuple[bytes, Position]:
    """Return which store a cursor is of, and its position.

    Raises:
        Problem: 400, it is no cursor.
    """
    try:
        raw = urlsafe_b64decode(cursor.encode("ascii") + b"==")
    except (ValueError, UnicodeError):
        raw = b""
    if len(raw) != _CURSOR_BYTES or len(cursor) > 2 * _CURSOR_BYTES:
        raise Problem(400, "invalid_cursor", "A cursor is what the page before gave as next_cursor.")
    xid = int.from_bytes(raw[_TAG_BYTES : _TAG_BYTES + 8], "big") - 1
    return raw[:_TAG_BYTES], Position(min(xid, 2**63 - 1), str(UUID(bytes=raw[_TAG_BYTES + 8 :])))


def _tag(store_id: str) -> bytes:
    return blake2b(store_id.encode(), digest_size=_TAG_BYTES).digest()


class _Head(NamedTuple):
    """Where the feed of a workspace ends now: before the transaction ``before``; ``next`` is not yet begun."""

    store_id: str
    before: int
    next: int


class Feed:
    """The changes of every workspace."""

    def __init__(self, database: Database, spreads: Spreads) -> None:
        self._database = database
        self._spreads = spreads

    async def page(self, workspace_id: int, after: str | None, limit: int) -> ChangePage:
        """Return the changes behind a cursor, or the first ones.

        Raises:
            Problem: 400, no cursor; 410, the cursor, or the order of the whole feed, is of before a restore.
        """
        tag, position = (None, BEGINNING) if after is None else read_cursor(after)

        async def work(connection: Connection) -> ChangePage:
            head = await self._head(connection, workspace_id)
            if tag is not None and (tag != _tag(head.store_id) or position.xid >= head.next):
                raise _restarted("The store was restored since this cursor: read again, without after.")
            stretch = await self._stretch(connection, head, workspace_id, position, limit)
            return ChangePage(
                [change for _, change in stretch.changes], make_cursor(head.store_id, stretch.end), stretch.has_more
            )

        return await self._database.run(work)

    async def read(self, workspace_id: int, after: Position, rows_max: int) -> Stretch:
        """Return the changes behind a position that this store itself kept, so that it went through restores with it.

        Raises:
            Problem: 410, the store was restored and nobody has said so yet.
        """

        async def work(connection: Connection) -> Stretch:
            head = await self._head(connection, workspace_id)
            return await self._stretch(connection, head, workspace_id, after, rows_max)

        return await self._database.run(work)

    async def end(self, workspace_id: int) -> Position:
        """Return the position behind which all is to come that is not over by now.

        Raises:
            Problem: 410, as ``read``.
        """

        async def work(connection: Connection) -> Position:
            return Position((await self._head(connection, workspace_id)).before - 1, str(UUID(int=2**128 - 1)))

        return await self._database.run(work)

    async def position_at(self, workspace_id: int, moment: int) -> Position | None:
        """Return the position before everything that arrived at ``moment`` (milliseconds since 1970) or later.

        None if nothing did.
        """
        parameters = {
            **self._where(workspace_id),
            "not_before": str(UUID(int=(moment & (1 << 48) - 1) << 80)),
            "rows_max": FIRST_ARRIVALS_MAX,
        }
        rows = await self._database.fetch("identity", "find_first_change", parameters)
        return None if rows[0][0] is None else Position(rows[0][0], BEGINNING.change_id)

    async def position_of(self, cursor: str) -> Position:
        """Return the position of a cursor of this store.

        Raises:
            Problem: 400, no cursor; 410, it is of before a restore.
        """
        tag, position = read_cursor(cursor)
        (store_id, _), *_ = await self._database.fetch("identity", "load_feed_store")
        if tag != _tag(store_id):
            raise _restarted("The store was restored since this cursor.")
        return position

    async def find(self, workspace_id: int, change_id: str) -> Change | None:
        """Return one change, or None if there is none of this id, or no more."""
        bucket = bucket_of_id(change_id)
        if bucket is None:
            return None
        parameters = {"workspace_id": workspace_id, "change_id": change_id, "bucket": bucket}
        rows = await self._database.fetch("identity", "find_change", parameters)
        (store_id, _), *_ = await self._database.fetch("identity", "load_feed_store")
        return _change(store_id, rows[0])[1] if rows else None

    def _where(self, workspace_id: int) -> dict[str, Any]:
        return {"workspace_id": workspace_id, "buckets": self._spreads.buckets(workspace_id)}

    async def _head(self, connection: Connection, workspace_id: int) -> _Head:
        buckets = array_parameter(self._spreads.buckets(workspace_id))
        # The newest row first: its transaction has begun before the snapshot that is taken after it.
        newest, stores, snapshots = await fetch_together(
            connection,
            [
                Command("identity", "find_newest_change", {"workspace_id": b"%d" % workspace_id, "buckets": buckets}),
                Command("identity", "load_feed_store", {}),
                Command("identity", "load_snapshot", {}),
            ],
        )
        offset = number(stores[0][1])
        before, after = (number(column) + offset for column in snapshots[0])
        if number(newest[0][0]) >= after:
            raise _restarted("This store was restored: once an operator has run `identity restored`, read again.")
        return _Head(text(stores[0][0]), before, after)

    async def _stretch(
        self, connection: Connection, head: _Head, workspace_id: int, after: Position, rows_max: int
    ) -> Stretch:
        parameters = {
            **self._where(workspace_id),
            "xid": after.xid,
            "change_id": after.change_id,
            "before": head.before,
            "rows_max": rows_max,
        }
        cursor = await connection.execute(statement("identity", "list_changes"), parameters)
        found = [_change(head.store_id, row) for row in await cursor.fetchall()]
        end = found[-1][0] if found else after
        return Stretch([pair for pair in found if pair[1].types], end, len(found) == rows_max)


def _change(store_id: str, row: Sequence[Any]) -> tuple[Position, Change]:
    xid, change_id, customer_id, customer_hash, version, visitor_id, occurred_at, received_at = row[:8]
    event, source, created, act, link, fields = row[8:]
    position = Position(xid, change_id)
    types = [ChangeType.ERASED]
    if act != _ERASE:
        types = types_of(
            created=created,
            act=None if act is None else Act(act),
            link=None if link is None else Link(link),
            has_fields=bool(fields),
        )
    change = Change(
        cursor=make_cursor(store_id, position),
        merge_id=change_id,
        customer_id=customer_id,
        customer_hash=customer_hash,
        types=types,
        version=version,
        visitor_id=visitor_id,
        occurred_at=to_text(occurred_at),
        received_at=to_text(received_at),
        event=event,
        source=source,
        fields=sorted(fields),
    )
    return position, change


def _restarted(message: str) -> Problem:
    return Problem(410, "feed_restarted", message)


class ChangeRoutes:
    """``GET /api/v1/changes``."""

    def __init__(self, feed: Feed, access: Access) -> None:
        self._feed = feed
        self._access = access

    async def changes(self, request: Request) -> Response:
        """Return one page of the changes of the key's workspace, oldest first."""
        if request.method not in ("GET", "HEAD"):
            raise Problem(405, "method_not_allowed", "Use GET.", ((b"allow", b"GET, HEAD"),))
        key = await self._access.authorize(request, Scope.PROFILES_READ)
        query = read_query(request, ("after", "limit"))
        limit = read_limit(query, default=CHANGES_DEFAULT, most=CHANGES_MAX)
        return json_response(await self._feed.page(key.workspace_id, query.get("after"), limit))
