"""The footprint over HTTP: what a customer or a visitor did, newest first, and what it comes to."""

import asyncio
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import TypeVar
from urllib.parse import parse_qsl, quote
from uuid import UUID

import msgspec
import psycopg

from identity import identifications
from identity.admin.query import (
    FILTER_CHARACTERS_MAX,
    next_link,
    read_limit,
    read_query,
    read_time_of,
)
from identity.belonging import Stretch, stretch_at
from identity.footprint import (
    END,
    SUM_MILLISECONDS_MAX,
    Footprints,
    OrderTold,
    Page,
    Position,
    Retentions,
    Source,
    Sum,
    Told,
)
from identity.routes import EventError, event_errors
from identity.visitor_routes import VISITORS_PATH
from identity.visitors import is_storable_id, read_known_customer_id, read_visitor_id
from profiles.access import Access, Scope
from profiles.clock import to_text
from profiles.coalesce import Overloaded
from profiles.database import WORK_SECONDS_MAX, Connection, Database
from profiles.http import Problem, Request, Response, json_response
from profiles.routes import CUSTOMERS_PATH
from profiles.store import Spreads

FOOTPRINT_PATH = "/api/v1/footprint"
"""The footprint of an id that fits no path."""
SUMMARY_PATH = f"{FOOTPRINT_PATH}/summary"
FILTERS = ("type", "from", "to", "limit", "cursor")
TYPES_MAX = 50
"""Types in one question."""
SUMS_MAX = 2
"""Summaries at once in a worker; each looks at everything that its customer did."""
CURSOR_BYTES = 24
"""Eight of time and sixteen of id: no padding is left in its text."""

Result = TypeVar("Result")


class FootprintEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that was done. ``label`` is the name that the sender gave it, ``remarks`` are values that it lost.

    ``visitor_id`` is null where a customer was named directly. ``customer_id`` is whose it is now, or null;
    ``contested``: it is nobody's since it was done between two different customers. ``order_id``, ``revenue`` and
    ``currency`` are there if it told them.
    """

    record_id: str
    type: str
    label: str | None
    occurred_at: str
    received_at: str
    visitor_id: str | None
    customer_id: str | None
    contested: bool
    event_id: str | None
    channel_id: str | None
    props: msgspec.Raw
    remarks: tuple[EventError, ...]
    order_id: str | None = None
    revenue: float | None = None
    currency: str | None = None


class FootprintPage(msgspec.Struct, frozen=True):
    """Events, the newest first. ``next_cursor`` is null on the last page."""

    items: list[FootprintEvent]
    next_cursor: str | None


class Revenue(msgspec.Struct, frozen=True):
    """What the orders in one currency come to (null: none was told). Of each order the amount told last counts."""

    currency: str | None
    amount: float
    orders: int


class FootprintSummary(msgspec.Struct, frozen=True):
    """What a customer's footprint comes to.

    ``sessions``: a visitor's activity without a pause of more than 30 minutes is one. ``orders`` are the different
    ones, ``visitors`` those that did anything.
    """

    customer_id: str
    first_seen: str | None
    last_seen: str | None
    events: int
    types: dict[str, int]
    sessions: int
    visitors: int
    orders: int
    revenue: list[Revenue]


class FootprintRoutes:
    """What can be asked of the footprint. ``clock`` gives milliseconds since 1970."""

    def __init__(self, database: Database, access: Access, spreads: Spreads, clock: Callable[[], int]) -> None:
        self._database = database
        self._access = access
        self._spreads = spreads
        self.retentions = Retentions(access)
        self._clock = clock
        self._sums = asyncio.Semaphore(SUMS_MAX)

    async def by_query(self, request: Request) -> Response:
        """``GET /api/v1/footprint``: of ``?customer_id=`` or ``?visitor_id=``."""
        _require_get(request)
        query = request.query()
        if ("customer_id" in query) == ("visitor_id" in query):
            raise Problem(400, "missing_subject", "Name one: ?customer_id=… or ?visitor_id=…")
        if "customer_id" in query:
            return await self._customer_page(request, query["customer_id"], FOOTPRINT_PATH, "customer_id")
        return await self._visitor_page(request, query["visitor_id"], FOOTPRINT_PATH, "visitor_id")

    async def summary_by_query(self, request: Request) -> Response:
        """``GET /api/v1/footprint/summary``: of ``?customer_id=``."""
        _require_get(request)
        query = read_query(request, ("customer_id",))
        if "customer_id" not in query:
            raise Problem(400, "missing_customer_id", "Name the customer: ?customer_id=…")
        return await self.summary(request, query["customer_id"])

    async def customer(self, request: Request, sent: str) -> Response:
        """``GET /api/v1/customers/{customer_id}/footprint``."""
        return await self._customer_page(request, sent, f"{CUSTOMERS_PATH}/{quote(sent, safe='')}/footprint")

    async def visitor(self, request: Request, sent: str) -> Response:
        """``GET /api/v1/visitors/{visitor_id}/footprint``."""
        return await self._visitor_page(request, sent, f"{VISITORS_PATH}/{quote(sent, safe='')}/footprint")

    async def summary(self, request: Request, sent: str) -> Response:
        """``GET /api/v1/customers/{customer_id}/footprint/summary``."""
        key = await self._access.authorize(request, Scope.PROFILES_READ)
        customer_id = read_known_customer_id(sent)

        async def work(footprints: Footprints) -> list[Sum]:
            sources = await footprints.of_customer(customer_id) if customer_id is not None else None
            if sources is None:
                raise _no_customer()
            try:
                return await footprints.sum(sources)
            except psycopg.errors.QueryCanceled as error:
                raise Problem(503, "query_too_slow", "This footprint is too long to be summed up.") from error

        try:
            await asyncio.wait_for(self._sums.acquire(), WORK_SECONDS_MAX)
        except TimeoutError as error:
            raise Overloaded from error
        try:
            parts = await self._run(key.workspace_id, work, seconds_max=WORK_SECONDS_MAX + SUM_MILLISECONDS_MAX / 1000)
        finally:
            self._sums.release()
        return json_response(_summary(str(customer_id), parts))

    async def _customer_page(self, request: Request, sent: str, path: str, *named: str) -> Response:
        key = await self._access.authorize(request, Scope.PROFILES_READ)
        query, page = read_page(request, named)
        return _answer(path, query, await self.of_customer(key.workspace_id, sent, page))

    async def of_customer(self, workspace_id: int, sent: str, page: Page) -> FootprintPage:
        """Return a page of what a customer did; ``page`` asks for one event more than is shown.

        Raises:
            Problem: 404, there is no such customer.
        """
        customer_id = read_known_customer_id(sent)

        async def work(footprints: Footprints) -> list[tuple[Source, Told]]:
            sources = await footprints.of_customer(customer_id) if customer_id is not None else None
            if sources is None:
                raise _no_customer()
            return await footprints.newest(sources, page)

        found = await self._run(workspace_id, work)
        return _page(page, found, [event_view(told, source, source.stretch) for source, told in found])

    async def stretches_of(
        self, workspace_id: int, visitor_ids: Sequence[str], same: Mapping[str, str]
    ) -> dict[str, list[Stretch]]:
        """Return whose the time of each visitor is. ``same``: as in ``Footprints.stretches_of``."""

        async def work(footprints: Footprints) -> dict[str, list[Stretch]]:
            return await footprints.stretches_of(visitor_ids, same)

        return await self._run(workspace_id, work)

    async def _visitor_page(self, request: Request, sent: str, path: str, *named: str) -> Response:
        key = await self._access.authorize(request, Scope.PROFILES_READ)
        query, page = read_page(request, named)
        return _answer(path, query, await self.of_visitor(key.workspace_id, sent, page))

    async def of_visitor(self, workspace_id: int, sent: str, page: Page) -> FootprintPage:
        """Return a page of what a visitor did; ``page`` asks for one event more than is shown.

        Raises:
            Problem: 404, no such visitor was ever seen.
        """
        visitor_id = read_visitor_id(sent)
        if visitor_id is None:
            raise _no_visitor()
        whole = Source(visitor_id, Stretch(None, None, None))

        async def work(footprints: Footprints) -> tuple[list[Stretch], list[tuple[Source, Told]]]:
            stretches = (await footprints.stretches_of([visitor_id]))[visitor_id]
            found = await footprints.newest([whole], page)
            if not found and not await footprints.newest([whole], Page(limit=1)):
                rows = self._spreads.key_rows([(workspace_id, visitor_id)])
                if not await identifications.load_visitors(footprints.connection, self._database, rows):
                    raise _no_visitor()
            return stretches, found

        stretches, found = await self._run(workspace_id, work)
        return _page(page, found, [event_view(t, source, stretch_at(stretches, t.occurred_at)) for source, t in found])

    async def _run(
        self,
        workspace_id: int,
        work: Callable[[Footprints], Coroutine[object, object, Result]],
        *,
        seconds_max: float = WORK_SECONDS_MAX,
    ) -> Result:
        retention, now = self.retentions.of(workspace_id), self._clock()

        async def run(connection: Connection) -> Result:
            return await work(Footprints(connection, self._database, self._spreads, workspace_id, retention, now))

        return await self._database.run(run, seconds_max=seconds_max)


def _require_get(request: Request) -> None:
    if request.method not in ("GET", "HEAD"):
        raise Problem(405, "method_not_allowed", "Use GET.", ((b"allow", b"GET, HEAD"),))


def _no_customer() -> Problem:
    return Problem(404, "customer_not_found", "No customer is held by this id.")


def _no_visitor() -> Problem:
    return Problem(404, "visitor_not_found", "No visitor with this id was ever seen.")


def read_page(request: Request, named: Sequence[str]) -> tuple[dict[str, str], Page]:
    """Return the question in its own words, for the next page, and what it asks for: one more than it shows."""
    query = read_query(request, (*named, *FILTERS))
    types = _read_types(request)
    if types:
        query["type"] = ",".join(types)
    page = Page(
        limit=read_limit(query) + 1,
        before=_read_cursor(query),
        since=read_time_of(query, "from"),
        until=read_time_of(query, "to"),
        types=types,
    )
    return query, page


def _read_types(request: Request) -> tuple[str, ...]:
    """Return the types that are asked for: of every ``type``, and of every list with commas in it."""
    given = [value for name, value in parse_qsl(request.scope["query_string"].decode("ascii")) if name == "type"]
    types = tuple(dict.fromkeys(part.strip() for value in given for part in value.split(",") if part.strip()))
    if len(types) > TYPES_MAX or not all(is_storable_id(name, FILTER_CHARACTERS_MAX) for name in types):
        raise Problem(400, "invalid_type", f"type is one or more names of events, {TYPES_MAX} at most.")
    return types


def _read_cursor(query: Mapping[str, str]) -> Position:
    text = query.get("cursor")
    if text is None:
        return END
    try:
        place = urlsafe_b64decode(text.encode("ascii"))
        position = int.from_bytes(place[:-16], "big"), str(UUID(bytes=place[-16:]))
    except (ValueError, UnicodeError) as error:
        raise Problem(400, "invalid_cursor", "A cursor is what the page before gave as next_cursor.") from error
    if len(place) != CURSOR_BYTES or position > END:
        raise Problem(400, "invalid_cursor", "A cursor is what the page before gave as next_cursor.")
    return position


def _make_cursor(position: Position) -> str:
    return urlsafe_b64encode(position[0].to_bytes(CURSOR_BYTES - 16, "big") + UUID(position[1]).bytes).decode()


def _page(page: Page, found: Sequence[tuple[Source, Told]], events: list[FootprintEvent]) -> FootprintPage:
    has_more = len(found) == page.limit
    return FootprintPage(events[: page.limit - 1], _make_cursor(found[-2][1].position) if has_more else None)


def _answer(path: str, query: dict[str, str], page: FootprintPage) -> Response:
    link = [(name.encode(), value.encode()) for name, value in next_link(path, query, page.next_cursor).items()]
    return json_response(page, tuple(link))


def event_view(told: Told, source: Source, stretch: Stretch) -> FootprintEvent:
    """Return an event as seen from outside, in a stretch of its source."""
    return FootprintEvent(
        record_id=told.record_id,
        type=told.type,
        label=told.label,
        occurred_at=to_text(told.occurred_at),
        received_at=to_text(told.received_at),
        visitor_id=None if source.is_direct else source.subject,
        customer_id=stretch.customer_id,
        contested=stretch.contested,
        event_id=told.event_id,
        channel_id=told.channel_id,
        props=told.props,
        remarks=event_errors(told.remarks),
        order_id=told.order_id,
        revenue=told.revenue,
        currency=told.currency,
    )


def _summary(customer_id: str, parts: Sequence[Sum]) -> FootprintSummary:
    types: dict[str, int] = {}
    orders: dict[str, OrderTold] = {}
    for part in parts:
        for name, events in (part.types or {}).items():
            types[name] = types.get(name, 0) + events
        for order in part.orders or ():
            orders[order.order_id] = max(orders.get(order.order_id, order), order, key=_by_amount_and_time)
    first = [part.first_seen for part in parts if part.first_seen is not None]
    last = [part.last_seen for part in parts if part.last_seen is not None]
    return FootprintSummary(
        customer_id=customer_id,
        first_seen=to_text(min(first)) if first else None,
        last_seen=to_text(max(last)) if last else None,
        events=sum(types.values()),
        types=dict(sorted(types.items())),
        sessions=sum(part.sessions for part in parts),
        visitors=sum(part.visitors for part in parts),
        orders=len(orders),
        revenue=_revenue(orders.values()),
    )


def _by_amount_and_time(order: OrderTold) -> tuple[bool, int, str]:
    return order.revenue is not None, order.occurred_at, order.record_id


def _revenue(orders: Iterable[OrderTold]) -> list[Revenue]:
    """Return what orders come to, exactly: money is added in decimal figures, as it was told."""
    amounts: dict[str | None, list[Decimal]] = {}
    for order in orders:
        if order.revenue is not None:
            amounts.setdefault(order.currency, []).append(Decimal(repr(order.revenue)))
    ordered = sorted(amounts.items(), key=lambda item: item[0] or "")
    return [Revenue(currency, float(sum(told)), len(told)) for currency, told in ordered]
