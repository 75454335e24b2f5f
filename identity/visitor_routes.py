"""``GET /api/v1/visitors/{visitor_id}``: whose a visitor is now, and everything that was said of it."""

from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import unquote_to_bytes

import msgspec

from identity import identifications
from identity.explaining import visitor_of
from identity.resolve import Fact, FactKind, Visitor
from identity.visitor_past import VisitorPast
from identity.visitors import read_visitor_id
from profiles.access import Access, Scope
from profiles.clock import to_text
from profiles.database import Connection, Database, statement
from profiles.http import Problem, Request, Response, json_response
from profiles.past import read_as_of
from profiles.routes import SubPage
from profiles.store import Spreads
from profiles.views import DecisionView, decision_view

VISITORS_PATH = "/api/v1/visitors"
IDENTIFICATIONS_MAX = 200
"""Identifications in one answer: the last that arrived."""


class IdentificationView(msgspec.Struct, frozen=True):
    """One thing that was said of a visitor. What is not ``applied`` is on record and changed nothing.

    ``decisions`` has the fields of an anonymous one: values given while nobody was signed in.
    """

    identification_id: str
    kind: FactKind
    customer_id: str | None
    occurred_at: str
    received_at: str
    event: str
    event_id: str | None
    channel_id: str | None
    source: str
    applied: bool
    decisions: list[DecisionView]


class VisitorPage(msgspec.Struct, frozen=True):
    """A visitor: the customer whose it is now or null, since when, and its identifications, the last arrival first."""

    visitor_id: str
    customer_id: str | None
    since: str | None
    identifications: list[IdentificationView]


class VisitorRoutes:
    """What can be asked of a visitor. ``pages`` are what else is known, by what stands behind the id in the path."""

    def __init__(
        self,
        database: Database,
        access: Access,
        spreads: Spreads,
        pages: Mapping[bytes, SubPage] = MappingProxyType({}),
    ) -> None:
        self._database = database
        self._access = access
        self._spreads = spreads
        self._past = VisitorPast(database, spreads)
        self._pages = pages

    async def dispatch(self, request: Request) -> Response:
        """Everything below ``VISITORS_PATH``; an id is read from the path as it was sent, percent-encoded.

        One that doesn't fit a path comes as ``?visitor_id=``.
        """
        if request.method not in ("GET", "HEAD"):
            raise Problem(405, "method_not_allowed", "Use GET.", ((b"allow", b"GET, HEAD"),))
        raw: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
        below = raw.partition(b"?")[0][len(VISITORS_PATH) :]
        parts = below.strip(b"/").split(b"/")
        page = self._pages.get(b"/".join(parts[1:]), None if len(parts) > 1 else self.visitor)
        if page is None or (below and not below.startswith(b"/")):  # a mount takes every path that begins like it
            raise Problem(404, "not_found", "There is nothing at this address. A slash within an id is sent as %2F.")
        if parts != [b""]:
            return await page(request, unquote_to_bytes(parts[0]).decode("utf-8", "replace"))
        query = request.query()
        if "visitor_id" not in query:
            raise Problem(400, "missing_visitor_id", "Name the visitor: ?visitor_id=…")
        return await self.visitor(request, query["visitor_id"])

    async def visitor(self, request: Request, sent: str) -> Response:
        """Return the page of one visitor."""
        key = await self._access.authorize(request, Scope.PROFILES_READ)
        visitor_id = read_visitor_id(sent)
        as_of = request.query().get("as_of")
        if visitor_id is None:
            page = None
        elif as_of is not None:
            page = await self.find_at(key.workspace_id, visitor_id, read_as_of(as_of))
        else:
            page = await self.find(key.workspace_id, visitor_id)
        if page is None:
            raise Problem(404, "visitor_not_found", "No visitor with this id was ever seen.")
        return json_response(page)

    async def find(self, workspace_id: int, visitor_id: str) -> VisitorPage | None:
        """Return what is known of a visitor, or None."""
        key = (workspace_id, visitor_id)

        async def work(connection: Connection) -> VisitorPage | None:
            rows = self._spreads.key_rows([key])
            visitor = (await identifications.load_visitors(connection, self._database, rows)).get(key)
            if visitor is None:
                return None
            # Up to the version just read: what is committed in between must not contradict whose the visitor is.
            parameters = {
                "workspace_id": workspace_id,
                "visitor_id": visitor_id,
                "bucket": rows[0].bucket,
                "version": visitor.version,
                "rows_max": IDENTIFICATIONS_MAX,
            }
            cursor = await connection.execute(statement("identity", "list_facts"), parameters)
            return _page(visitor, [identifications.fact_from(row) for row in await cursor.fetchall()])

        return await self._database.run(work)

    async def find_at(self, workspace_id: int, visitor_id: str, moment: int) -> VisitorPage | None:
        """Return what was known of a visitor at an instant, or None.

        Raises:
            Problem: 409, too much was said of it.
        """

        async def work(connection: Connection) -> VisitorPage | None:
            facts = await self._past.facts_of(connection, workspace_id, visitor_id, moment)
            visitor = visitor_of(facts)
            return None if visitor is None else _page(visitor, list(facts[: -IDENTIFICATIONS_MAX - 1 : -1]))

        return await self._database.run(work)


def _page(visitor: Visitor, facts: list[Fact]) -> VisitorPage:
    return VisitorPage(
        visitor_id=visitor.visitor_id,
        customer_id=visitor.customer_id,
        since=None if visitor.since is None else to_text(visitor.since),
        identifications=[identification_view(fact) for fact in facts],
    )


def identification_view(fact: Fact) -> IdentificationView:
    """Return what was said of a visitor, as seen from outside."""
    return IdentificationView(
        identification_id=fact.fact_id,
        kind=fact.kind,
        customer_id=fact.customer_id,
        occurred_at=to_text(fact.occurred_at),
        received_at=to_text(fact.received_at),
        event=fact.event,
        event_id=fact.event_id,
        channel_id=fact.channel_id,
        source=fact.source,
        applied=fact.applied,
        decisions=[decision_view(decision) for decision in fact.decisions],
    )
