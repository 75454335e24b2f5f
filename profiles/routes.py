"""CRM lookups: what is held of customers, by their ids, e-mails, phones and visitors."""

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from urllib.parse import unquote_to_bytes
from zlib import crc32

import msgspec

from profiles import store
from profiles.access import Access, Scope, SecretKey
from profiles.cache import Cache
from profiles.clock import to_text
from profiles.coalesce import Coalescer
from profiles.database import Connection, Database, statement
from profiles.fields import email_key, read_email, read_phone
from profiles.http import JSON_TYPE, HeaderPairs, Problem, Request, Response, json_response
from profiles.past import Past, read_as_of
from profiles.profile import Profile
from profiles.remarks import Reason
from profiles.store import CustomerVisitor, Key, Spreads
from profiles.views import CustomerView, Provenance, customer_view, read_bearer

LOOKUP_BYTES_MAX = 512 * 1024
LOOKUP_INPUTS_MAX = 1000
CUSTOMERS_PER_INPUT_MAX = 100
"""Customers shown for one e-mail or phone, in order of their ids."""

_PRIVATE = (b"cache-control", b"private, no-cache")
CUSTOMERS_PATH = "/api/v1/customers"
LOOKUP_PATH = f"{CUSTOMERS_PATH}/lookup"


class Looked(msgspec.Struct, frozen=True):
    """A customer as it was found, and its answer as bytes."""

    profile: Profile
    visitors: list[CustomerVisitor]
    body: bytes


class LookupResult(msgspec.Struct, frozen=True):
    """One input and whom it found."""

    input: object
    customers: list[CustomerView]


FindByVisitor = Callable[[Connection, int, Sequence[str]], Awaitable[dict[str, str]]]
"""Gives, of visitors in a workspace, the customer whose each is now."""

SubPage = Callable[[Request, str], Awaitable[Response]]
"""Answers what is asked of an id, which is given as it was sent."""


class CustomerRoutes:
    """The lookups.

    ``read_id`` reads a customer id or gives None; ``find_by_visitor`` knows the links, ``past`` what was held before;
    ``pages`` are what else is known of a customer, by what stands behind the id in the path; ``writes`` change a
    customer, by method.
    """

    def __init__(
        self,
        database: Database,
        cache: Cache,
        access: Access,
        spreads: Spreads,
        read_id: Callable[[object], str | None],
        find_by_visitor: FindByVisitor,
        past: Past,
        pages: Mapping[bytes, SubPage] = MappingProxyType({}),
        writes: Mapping[str, SubPage] = MappingProxyType({}),
    ) -> None:
        self._database = database
        self._cache = cache
        self._access = access
        self._spreads = spreads
        self._read_id = read_id
        self._find_by_visitor = find_by_visitor
        self._past = past
        self._pages = pages
        self._writes = writes
        self._lookups: Coalescer[Key, Looked | None] = Coalescer(self._look_up)

    async def dispatch(self, request: Request) -> Response:
        """Everything below ``/api/v1/customers``; ids are read from the path as it was sent, percent-encoded."""
        raw: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
        below = raw.partition(b"?")[0][len(CUSTOMERS_PATH) :]
        if below and not below.startswith(b"/"):  # a mount takes every path that begins like it
            raise Problem(404, "not_found", "There is nothing at this address.")
        parts = below.strip(b"/").split(b"/")
        if parts == [b"lookup"] and request.method == "POST":
            return await self.lookup(request)
        if request.method == "GET" and len(parts) == 1 and parts[0]:
            return await self.customer(request, self._read_id(unquote_to_bytes(parts[0]).decode("utf-8", "replace")))
        writes = self._writes if len(parts) == 1 else {}
        if request.method not in ("GET", "HEAD", *writes):
            allow = ", ".join(("GET", "HEAD", *writes))
            raise Problem(405, "method_not_allowed", f"Use {allow}.", ((b"allow", allow.encode()),))
        sent = unquote_to_bytes(parts[0]).decode("utf-8", "replace")  # no id has the character that replaces
        if parts == [b""]:
            query = request.query()
            if "customer_id" not in query:
                raise Problem(400, "missing_customer_id", "Name the customer: ?customer_id=…")
            sent = query["customer_id"]
        if request.method in writes:
            return await writes[request.method](request, sent)
        if len(parts) == 1:
            return await self.customer(request, self._read_id(sent))
        page = self._pages.get(b"/".join(parts[1:]))
        if page is None:
            raise Problem(404, "not_found", "There is nothing at this address. A slash within an id is sent as %2F.")
        return await page(request, sent)

    async def customer(self, request: Request, customer_id: str | None) -> Response:
        """``GET /api/v1/customers/{customer_id}`` and ``GET /api/v1/customers?customer_id=``."""
        query = request.query() if request.scope["query_string"] else {}
        include = query.get("include")
        if "as_of" in query:
            return await self._customer_at(request, customer_id, query["as_of"], include)
        if include is None and customer_id is not None:
            secret = read_bearer(request)
            snapshot = self._access.generation
            key = self._access.find_key(secret) if secret else None
            if key is not None and Scope.PROFILES_READ in key.scopes:
                # The cache gives answer and generation in one go; the key counts if it was found in that generation.
                cache, workspace_id = self._cache, key.workspace_id
                wanted = (cache.customer_key(workspace_id, customer_id), cache.profile_key(workspace_id, customer_id))
                (customer, answer), generation = await cache.read(wanted)
                if generation == snapshot == self._access.generation:
                    if customer and answer and customer.version == answer.version:
                        return _conditional(request, customer.version, answer.payload)
                    return await self._answer(request, await self._find(key, customer_id), None)
        key = await self._access.authorize(request, Scope.PROFILES_READ)
        return await self._answer(request, await self._find(key, customer_id), include)

    async def _customer_at(
        self, request: Request, customer_id: str | None, as_of: str, include: str | None
    ) -> Response:
        """Answer from the ledger alone: what was held is asked for too seldom to be worth a place in the cache."""
        key = await self._access.authorize(request, Scope.PROFILES_READ)
        moment = read_as_of(as_of)
        held = await self._past.at(key.workspace_id, customer_id, moment) if customer_id is not None else None
        if held is None:
            raise Problem(404, "customer_not_found", "No customer was held by this id.")
        return await self._answer(request, (key.workspace_id, _looked(held.profile, held.visitors)), include)

    async def lookup(self, request: Request) -> Response:
        """``POST /api/v1/customers/lookup``: one result per input, in order."""
        key = await self._access.authorize(request, Scope.PROFILES_READ)
        kind, inputs = _read_inputs(await request.body(LOOKUP_BYTES_MAX))
        return json_response({"results": await self.find(key.workspace_id, kind, inputs)})

    async def find(self, workspace_id: int, kind: str, inputs: Sequence[object]) -> list[LookupResult]:
        """Return, per input, whom it found. ``kind``: customer_ids, emails, phones or visitor_ids."""

        async def work(connection: Connection) -> list[LookupResult]:
            found = await self._find_ids(connection, workspace_id, kind, inputs)
            wanted = {(workspace_id, customer_id) for ids in found for customer_id in ids}
            looked = await self._load(connection, wanted)
            return [
                LookupResult(sent, _once(looked[workspace_id, i] for i in ids if (workspace_id, i) in looked))
                for sent, ids in zip(inputs, found, strict=True)
            ]

        return await self._database.run(work)

    async def view(self, workspace_id: int, customer_id: str) -> CustomerView | None:
        """Return a customer as held now, with the provenance of its fields, or None."""
        looked = await self._lookups.submit((workspace_id, customer_id))
        if looked is None:
            return None
        return customer_view(looked.profile, looked.visitors, await self._provenance(workspace_id, looked.profile))

    async def view_at(self, workspace_id: int, customer_id: str, moment: int) -> CustomerView | None:
        """Return a customer as held at an instant, with the provenance of its fields, or None.

        Raises:
            Problem: 409, its ledger is too long.
        """
        held = await self._past.at(workspace_id, customer_id, moment)
        if held is None:
            return None
        return customer_view(held.profile, held.visitors, await self._provenance(workspace_id, held.profile))

    async def _find(self, key: SecretKey, customer_id: str | None) -> tuple[int, Looked]:
        looked = await self._lookups.submit((key.workspace_id, customer_id)) if customer_id is not None else None
        if looked is None:
            raise Problem(404, "customer_not_found", "No customer is held by this id.")
        return key.workspace_id, looked

    async def _answer(self, request: Request, found: tuple[int, Looked], include: str | None) -> Response:
        workspace_id, looked = found
        if include is None:
            return _conditional(request, looked.profile.version, looked.body)
        if include != "provenance":
            raise Problem(400, "unknown_include", "What can be included is: provenance.")
        provenance = await self._provenance(workspace_id, looked.profile)
        view = customer_view(looked.profile, looked.visitors, provenance)
        return _conditional(request, looked.profile.version, msgspec.json.encode(view))

    async def _provenance(self, workspace_id: int, profile: Profile) -> dict[str, Provenance]:
        held = {name: field for name, field in sorted(profile.fields.items()) if field.value is not None}
        parameters = {
            "workspace_id": workspace_id,
            "customer_id": profile.customer_id,
            "bucket": self._spreads.bucket(workspace_id, profile.customer_id),
            "versions": sorted({field.version for field in held.values()}),
        }
        rows = await self._database.fetch("profiles", "load_provenance", parameters)
        by_version = {version: (merge_id, event, channel_id) for version, merge_id, event, channel_id in rows}
        nothing = (None, None, None)
        return {
            name: Provenance(to_text(field.set_at), *by_version.get(field.version, nothing))
            for name, field in held.items()
        }

    async def _look_up(self, keys: Sequence[Key]) -> list[Looked | None]:
        since = time.monotonic()

        async def work(connection: Connection) -> dict[Key, Looked]:
            found = await store.load_with_visitors(connection, self._database, self._spreads, set(keys))
            return {key: _looked(profile, visitors) for key, (profile, visitors) in found.items()}

        found = await self._database.run(work)
        entries: list[tuple[str, int, bytes]] = []
        for (workspace_id, customer_id), looked in found.items():
            profile = looked.profile
            # What joined customers' visitors do takes no version of it, and theirs are others than its own.
            if profile.absorbs or profile.customer_id != customer_id:
                continue
            digest = (profile.digest or "").encode()
            entries.append((self._cache.customer_key(workspace_id, customer_id), profile.version, digest))
            entries.append((self._cache.profile_key(workspace_id, customer_id), profile.version, looked.body))
        self._cache.fill(entries, since)
        return [found.get(key) for key in keys]

    async def _load(self, connection: Connection, keys: Iterable[Key]) -> dict[Key, CustomerView]:
        found = await store.load_with_visitors(connection, self._database, self._spreads, keys)
        return {key: customer_view(profile, visitors) for key, (profile, visitors) in found.items()}

    async def _find_ids(
        self, connection: Connection, workspace_id: int, kind: str, inputs: Sequence[object]
    ) -> list[list[str]]:
        """Return, per input, the ids of the customers it may mean, in order of the ids."""
        if kind == "customer_ids":
            read = [self._read_id(sent) for sent in inputs]
            return [[] if customer_id is None else [customer_id] for customer_id in read]
        if kind == "visitor_ids":
            found = await self._find_by_visitor(connection, workspace_id, [str(sent) for sent in inputs])
            return [[found[str(sent)]] if str(sent) in found else [] for sent in inputs]
        values = [_search_key(kind, sent) for sent in inputs]
        parameters = {
            "workspace_id": workspace_id,
            "buckets": self._spreads.buckets(workspace_id),
            "keys": sorted({value for value in values if value is not None}),
            "ids_max": CUSTOMERS_PER_INPUT_MAX,
        }
        name = "find_by_email" if kind == "emails" else "find_by_phone"
        cursor = await connection.execute(statement("profiles", name), parameters)
        by_value: dict[str, list[str]] = {}
        for value, customer_id in await cursor.fetchall():
            by_value.setdefault(value, []).append(customer_id)
        return [by_value.get(value, []) if value is not None else [] for value in values]


_KINDS = ("customer_ids", "emails", "phones", "visitor_ids")


def _read_inputs(body: bytes) -> tuple[str, list[object]]:
    try:
        document = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise Problem(400, "not_a_json_object", "The body must be one JSON object.") from error
    given = [kind for kind in _KINDS if isinstance(document, dict) and kind in document]
    if len(given) != 1 or not isinstance(document[given[0]], list):
        raise Problem(400, "invalid_lookup", f"Send one list: {', '.join(_KINDS)}.")
    inputs = document[given[0]]
    if len(inputs) > LOOKUP_INPUTS_MAX:
        raise Problem(413, "too_many_inputs", f"One lookup may have {LOOKUP_INPUTS_MAX} inputs.")
    if not all(isinstance(sent, str | int) and not isinstance(sent, bool) for sent in inputs):
        raise Problem(400, "invalid_lookup", "Every input must be a text (customer ids may be whole numbers).")
    return given[0], inputs


def _once(customers: Iterable[CustomerView]) -> list[CustomerView]:
    """Return each customer once: several joined ones are one."""
    return list({customer.customer_id: customer for customer in customers}.values())


def _search_key(kind: str, sent: object) -> str | None:
    if kind == "emails":
        email = read_email(sent)
        return None if isinstance(email, Reason) else email_key(email)
    phone = read_phone(sent)
    if isinstance(phone, Reason):
        return None
    return phone if isinstance(phone, str) else str(phone.value)


def _looked(profile: Profile, visitors: list[CustomerVisitor]) -> Looked:
    return Looked(profile, visitors, msgspec.json.encode(customer_view(profile, visitors)))


def _conditional(request: Request, version: int, body: bytes) -> Response:
    """Return the body with its ETag, or 304 to a caller who has it.

    The version alone would not do: after a restore, versions are given anew.
    """
    tag = b'"%d-%08x"' % (version, crc32(body))
    headers: HeaderPairs = ((b"etag", tag), _PRIVATE)
    known = request.headers.get(b"if-none-match")
    tags = () if known is None else [part.strip().removeprefix(b"W/") for part in known.split(b",")]
    if tag in tags or b"*" in tags:
        return Response(304, b"", headers)
    return Response(200, body, (JSON_TYPE, *headers))
