"""Erasing a person, telling everything that is held of one, and the tombstones, over HTTP."""

import re
from collections.abc import Mapping

import msgspec

from identity.admin.query import next_link, read_limit, read_query
from identity.disclosure import Disclosure
from identity.erasure import Eraser, Erasure, Removed
from identity.visitors import read_known_customer_id
from profiles.access import Access, Scope
from profiles.clock import to_text
from profiles.http import JSON_TYPE, NO_STORE, Problem, Request, Response, json_response

ERASURES_PATH = "/api/v1/admin/erasures"
DISCLOSURE_BYTES_MAX = 32 * 1024 * 1024
"""More of one person is told by the command line alone, which holds none of it."""
_HASH = re.compile("[0-9a-f]{64}")


class ErasureView(msgspec.Struct, frozen=True):
    """A tombstone: who was erased is told by a keyed hash of the id alone. ``lifted_at``: taken again since then.

    ``version`` is the last that the customer came to, ``bucket`` the place of its rows.
    """

    customer_hash: str
    erased_at: str
    erased_by: str
    pending: bool
    version: int
    bucket: int
    removed: Removed
    lifted_at: str | None
    lifted_by: str | None


class ErasurePage(msgspec.Struct, frozen=True):
    """Tombstones in order of their hashes."""

    items: list[ErasureView]
    next_cursor: str | None


class ErasureRoutes:
    """What can be asked."""

    def __init__(self, access: Access, eraser: Eraser, disclosure: Disclosure) -> None:
        self._access = access
        self._eraser = eraser
        self._disclosure = disclosure

    async def erase(self, request: Request, sent: str) -> Response:
        """``DELETE /api/v1/customers/{customer_id}``: the receipt, with ``?dry_run=true`` of what would be removed."""
        key = await self._access.authorize(request, Scope.PROFILES_WRITE)
        dry_run = read_dry_run(read_query(request, ("dry_run", "customer_id")))
        receipt = await self._eraser.erase(key.workspace_id, _customer(sent), key.actor, dry_run=dry_run)
        return Response(202 if receipt.pending else 200, msgspec.json.encode(receipt), (JSON_TYPE, NO_STORE))

    async def disclose(self, request: Request, sent: str) -> Response:
        """``GET /api/v1/customers/{customer_id}/export``: everything that is held of the person."""
        key = await self._access.authorize(request, Scope.PROFILES_READ)
        read_query(request, ("customer_id",))
        pieces, size = [], 0
        async for piece in self._disclosure.tell(key.workspace_id, _customer(sent)):
            pieces.append(piece)
            size += len(piece)
            if size > DISCLOSURE_BYTES_MAX:
                megabytes = DISCLOSURE_BYTES_MAX // 1024 // 1024
                raise Problem(413, "too_much_held", f"Over {megabytes} MiB are held: use identity export-customer.")
        return Response(200, b"".join(pieces), (JSON_TYPE, NO_STORE))

    async def dispatch(self, request: Request) -> Response:
        """Everything below ``ERASURES_PATH``."""
        raw: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
        below = raw.partition(b"?")[0][len(ERASURES_PATH) :]
        if below and not below.startswith(b"/"):  # a mount takes every path that begins like it
            raise Problem(404, "not_found", "There is nothing at this address.")
        parts = below.decode("latin-1").strip("/").split("/")
        if parts == [""]:
            return await self._list(request)
        if len(parts) == 2 and parts[1] == "lift":
            return await self._lift(request, parts[0])
        raise Problem(404, "not_found", "There is nothing at this address.")

    async def _list(self, request: Request) -> Response:
        """``GET /api/v1/admin/erasures``."""
        if request.method not in ("GET", "HEAD"):
            raise Problem(405, "method_not_allowed", "Use GET.", ((b"allow", b"GET, HEAD"),))
        key = await self._access.authorize(request, Scope.ADMIN)
        query = read_query(request, ("limit", "cursor"))
        limit = read_limit(query)
        found = await self._eraser.page(key.workspace_id, _read_cursor(query), limit + 1)
        cursor = found[limit - 1].customer_hash if len(found) > limit else None
        page = ErasurePage([erasure_view(erasure) for erasure in found[:limit]], cursor)
        headers = next_link(ERASURES_PATH, query, cursor)
        return json_response(page, tuple((name.lower().encode(), text.encode()) for name, text in headers.items()))

    async def _lift(self, request: Request, customer_hash: str) -> Response:
        """``POST /api/v1/admin/erasures/{customer_hash}/lift``: the customer may be taken again."""
        if request.method != "POST":
            raise Problem(405, "method_not_allowed", "Use POST.", ((b"allow", b"POST"),))
        key = await self._access.authorize(request, Scope.ADMIN)
        if not is_hash(customer_hash):
            raise Problem(404, "erasure_not_found", "Nobody was erased by this hash.")
        return json_response(erasure_view(await self._eraser.lift(key.workspace_id, customer_hash, key.actor)))


def erasure_view(erasure: Erasure) -> ErasureView:
    """Return a tombstone as seen from outside."""
    return ErasureView(
        erasure.customer_hash,
        to_text(erasure.erased_at),
        erasure.actor,
        erasure.pending is not None,
        erasure.version,
        erasure.bucket,
        erasure.removed,
        None if erasure.lifted_at is None else to_text(erasure.lifted_at),
        erasure.lifted_by,
    )


def read_dry_run(query: Mapping[str, str]) -> bool:
    """Return whether only a preview is wanted.

    Raises:
        Problem: 400, neither true nor false: a slip of the pen must not erase anybody.
    """
    text = query.get("dry_run", "false")
    if text not in ("true", "false"):
        raise Problem(400, "invalid_dry_run", "dry_run is true or false.")
    return text == "true"


def _customer(sent: str) -> str:
    customer_id = read_known_customer_id(sent)
    if customer_id is None:
        raise Problem(404, "customer_not_found", "No customer is held by this id.")
    return customer_id


def is_hash(text: str) -> bool:
    """Return whether a text is what stands for a customer, as receipts tell it."""
    return _HASH.fullmatch(text) is not None


def _read_cursor(query: Mapping[str, str]) -> str:
    text = query.get("cursor", "")
    if text and not is_hash(text):
        raise Problem(400, "invalid_cursor", "A cursor is what the page before gave as next_cursor.")
    return text
