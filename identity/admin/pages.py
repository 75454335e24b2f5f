"""The inspector's pages: what the admin API does, for people. Nothing is decided or computed here a second time.

Every page is rendered on the server, escaped by the templates, and runs under a policy without anything inline. A form
is taken from our own pages only. What a page asks for by e-mail or phone comes in a form, never in its address.
"""

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from hashlib import sha256
from importlib.resources import files
from typing import Any, Protocol, TypeVar
from urllib.parse import parse_qsl, urlencode

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined
from litestar.types import ASGIApp, Receive, Scope, Send
from markupsafe import Markup, escape
from msgspec import UNSET

from identity.admin import customer_pages, health, history, missing, pictures, search, undo_pages, webhook_pages
from identity.admin.arrivals import Arrivals, Asked
from identity.admin.changes import PAGE_PARAMETERS, Changes, ChannelChange, NewChannel, NewKey
from identity.admin.customer_pages import CustomerPages
from identity.admin.ledger import MERGE_FILTERS, REFUSAL_FILTERS, Ledger, RefusalView
from identity.admin.live import Bell, Tick, follow
from identity.admin.query import read_query
from identity.admin.sessions import (
    Session,
    Sessions,
    end_cookie,
    read_cookies,
    require_own_page,
    require_token,
    set_cookie,
)
from identity.admin.undo_pages import UndoPages
from identity.admin.visits import (
    GUARDS,
    HTML,
    INSPECTOR_PATH,
    Pages,
    Visit,
    address,
    given,
    not_of_this_page,
    redirect,
    require_confirmation,
)
from identity.admin.webhook_pages import WebhookPages
from identity.admin.words import LANGUAGES, choose, speaker
from identity.belonging import Stretch
from identity.channels import Channels
from identity.events.identity import OnSignOut, SignedIdentity, UnsignedWrites
from identity.footprint_routes import FootprintPage, FootprintRoutes, read_page
from identity.operations import OperationRoutes
from identity.refusals import Refusal
from identity.render import safe
from identity.routes import now_milliseconds
from identity.visitor_past import VisitorPast
from identity.visitor_routes import IdentificationView, VisitorPage, VisitorRoutes
from identity.visitors import read_visitor_id
from profiles.access import Access
from profiles.access import Scope as KeyScope
from profiles.cache import Cache
from profiles.coalesce import Overloaded
from profiles.database import Connection, Database, Unavailable
from profiles.fields import FIELDS
from profiles.http import HeaderPairs, Problem, Request, Response, asgi_app, log_fault
from profiles.remarks import JsonValue, Reason, Verdict
from profiles.routes import CustomerRoutes
from profiles.store import Spreads
from profiles.views import CustomerView, MergeView

STATIC_PATH = f"{INSPECTOR_PATH}/static/"
STREAM_PATH = f"{INSPECTOR_PATH}/live/stream"
LANGUAGE_COOKIE = "inspector_language"
LANGUAGE_SECONDS = 365 * 86_400
FORM_BYTES_MAX = 256 * 1024
"""A request that is pasted to be explained is the longest; what a browser makes of it has up to nine bytes a letter."""
FORM_FIELDS_MAX = 50
VALUE_CHARACTERS_MAX = 400
"""Characters of one value in a table; the merge's record shows what is held of it."""
LANES_MAX = 20
"""Visitors drawn on a timeline: the present, then the latest linked."""
GRAPH_VISITORS_MAX = 60
TIMELINE_EVENTS = 100
RECENT_SHOWN = 10
WATCHERS_MAX = 20
"""Live pages that one worker serves at once."""
STREAM_SECONDS_MAX = 900
"""Then the browser opens the stream again, and shows its session anew."""
PING_SECONDS = 10.0

_STATIC_TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
_Named = TypeVar("_Named", Stretch, IdentificationView)

SECTIONS = (
    ("", "search"),
    ("/merges", "merges"),
    ("/refusals", "refusals"),
    ("/live", "live"),
    ("/missing", "missing"),
    ("/suggestions", "suggestions"),
    ("/operations", "operations"),
    ("/webhooks", "webhooks"),
    ("/channels", "channels"),
    ("/keys", "keys"),
    ("/health", "health"),
)
"""The pages of the menu, by what stands behind ``INSPECTOR_PATH``, and the names of their texts."""


class Parts(customer_pages.Parts, undo_pages.Parts, webhook_pages.Parts, Protocol):
    """What of a service is needed here."""

    database: Database
    arrivals: Arrivals
    cache: Cache
    access: Access
    spreads: Spreads
    channels: Channels
    customers: CustomerRoutes
    visitors: VisitorRoutes
    footprints: FootprintRoutes
    operations: OperationRoutes


class Inspector:
    """Everything below ``INSPECTOR_PATH``. One per worker."""

    def __init__(self, service: Parts) -> None:
        self._service = service
        self._sessions = Sessions(service.access, service.cache)
        self._ledger = Ledger(service.database, service.spreads)
        self._changes = Changes(service.database, service.access)
        self.bell = Bell(service.cache)
        self._visitor_past = VisitorPast(service.database, service.spreads)
        self._is_stopping = False
        self._watchers = 0
        self._static = _load_static()
        self._templates = self._environment()
        self._customer_pages = CustomerPages(service, self._ledger, self._show)
        self._pages: Pages = {
            ("GET", ""): self._home,
            ("POST", "/search"): self._search,
            ("GET", "/customer/timeline"): self._timeline,
            ("GET", "/customer/graph"): self._graph,
            ("GET", "/visitor"): self._visitor,
            ("GET", "/merges"): self._merges,
            ("GET", "/refusals"): self._refusals,
            ("GET", "/live"): self._live,
            ("GET", "/missing"): self._missing,
            ("POST", "/missing"): self._missing,
            ("GET", "/channels"): self._list_channels,
            ("POST", "/channels"): self._change_channels,
            ("GET", "/keys"): self._list_keys,
            ("POST", "/keys"): self._change_keys,
            ("GET", "/health"): self._health,
            ("POST", "/sign-out"): self._sign_out,
            **self._customer_pages.pages(),
            **WebhookPages(service, self._show).pages(),
            **UndoPages(service, self._ledger, self._changes, self._show).pages(),
        }
        self._application: ASGIApp = asgi_app(INSPECTOR_PATH, self.answer)

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application: one stream, and pages."""
        if _path_of(scope) == STREAM_PATH:
            await self._stream(scope, receive, send)
        else:
            await self._application(scope, receive, send)

    def stop(self) -> None:
        """End every stream: a worker that is told to stop waits for its answers."""
        self._is_stopping = True

    async def answer(self, request: Request) -> Response:
        """Return the page, or the one that tells why there is none."""
        path = _path_of(request.scope)
        if path.startswith(STATIC_PATH):
            return self._file(path.removeprefix(STATIC_PATH))
        language = choose(
            read_cookies(request).get(LANGUAGE_COOKIE),
            request.headers.get(b"accept-language", b"").decode("latin-1"),
        )
        try:
            return await self._answer(request, path.removeprefix(INSPECTOR_PATH).rstrip("/"), language)
        except Problem as problem:
            return await self._problem(request, language, problem)
        except (Overloaded, Unavailable):
            return await self._problem(request, language, Problem(503, "unavailable", ""))
        except Exception as error:  # noqa: BLE001 - the last resort of a request
            log_fault(INSPECTOR_PATH, error)
            return await self._problem(request, language, Problem(500, "internal_error", ""))

    async def _answer(self, request: Request, path: str, language: str) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        form = {}
        if method == "POST":
            require_own_page(request)
            form = await _read_form(request)
        if (method, path) == ("POST", "/language"):
            return _choose_language(form)
        if (method, path) == ("POST", "/sign-in"):
            return await self._sign_in(request, form, language)
        if (method, path) == ("GET", "/sign-in"):
            return redirect(INSPECTOR_PATH)  # the address that is left after a sign-in that failed
        page = self._pages.get((method, path))
        if page is None:
            known = [m for m, known_path in self._pages if known_path == path]
            if known:
                allow = ", ".join(known).encode()
                raise Problem(405, "method_not_allowed", "Not with this method.", ((b"allow", allow),))
            raise Problem(404, "not_found", "There is nothing at this address.")
        session = await self._sessions.find(request)
        if session is None:
            return self._sign_in_form(request, language, back=_own_address(request) if method == "GET" else "")
        if method == "POST":
            require_token(session, form.get("token"))
        response = await page(Visit(request, session, language, form))
        renewed = self._sessions.renewed(session)
        if renewed is None or path == "/sign-out":
            return response
        return msgspec.structs.replace(response, headers=(*response.headers, set_cookie(renewed)))

    # Coming and going.

    async def _sign_in(self, request: Request, form: Mapping[str, str], language: str) -> Response:
        back = form.get("back", "")
        try:
            session = await self._sessions.sign_in(request, form.get("key", ""))
        except Problem as problem:
            return self._sign_in_form(request, language, back=back, problem=problem)
        return redirect(back if _is_own(back) else INSPECTOR_PATH, (set_cookie(session),))

    def _sign_in_form(self, request: Request, language: str, *, back: str, problem: Problem | None = None) -> Response:
        if request.headers.get(b"hx-request") is not None:
            # A piece of a page was asked for: the whole page has to go to where one signs in.
            return Response(401, b"", (*HTML, (b"hx-redirect", INSPECTOR_PATH.encode())))
        status = 200 if problem is None else problem.status
        return self._render(None, language, "sign_in.html", status=status, back=back, problem=problem)

    async def _sign_out(self, _: Visit) -> Response:
        return redirect(INSPECTOR_PATH, (end_cookie(),))

    # Finding.

    async def _home(self, visit: Visit) -> Response:
        merges = await self._ledger.list_merges(visit.workspace_id, {"limit": str(RECENT_SHOWN)})
        refusals = await self._ledger.list_refusals(visit.workspace_id, {"limit": str(RECENT_SHOWN)})
        counts = health.bars(sorted(((str(k), n) for k, n in refusals.counts.items()), key=lambda held: -held[1]))
        return self._show(visit, "home.html", merges=merges.items, refusals=refusals.items, counts=counts)

    async def _search(self, visit: Visit) -> Response:
        text = visit.form.get("q", "").strip()
        if not text:
            return redirect(INSPECTOR_PATH)
        found = await search.find(self._service, self._ledger, visit.workspace_id, text)
        if found.hits == 1:
            if found.merge_id is not None:
                return redirect(address("/merge", merge_id=found.merge_id))
            if found.visitor_id is not None:
                return redirect(address("/visitor", visitor_id=found.visitor_id))
            customer_id = found.customer_id or found.by_contact[0].customer_id
            return redirect(address("/customer", customer_id=customer_id))
        return self._show(visit, "found.html", text=text, found=found)

    # Customers and visitors.

    async def _timeline(self, visit: Visit) -> Response:
        view = await self._customer_pages.find(visit)
        query, page = _timeline_page(visit.request, "customer_id")
        footprint = await self._service.footprints.of_customer(visit.workspace_id, view.customer_id, page)
        visitor_ids = [visitor.visitor_id for visitor in view.visitors[:LANES_MAX]]
        values = await self._lanes(visit, visitor_ids, view, footprint, query)
        shown = len(view.visitors) - len(visitor_ids)
        return self._show(visit, "timeline.html", customer=view, visitors_left_out=shown, **values)

    async def _visitor(self, visit: Visit) -> Response:
        visitor_id = read_visitor_id(visit.request.query().get("visitor_id"))
        if visitor_id is None:
            raise Problem(404, "visitor_not_found", "No visitor with this id was ever seen.")
        query, page = _timeline_page(visit.request, "visitor_id")
        footprint = await self._service.footprints.of_visitor(visit.workspace_id, visitor_id, page)
        told = await self._service.visitors.find(visit.workspace_id, visitor_id)
        whose = None if told is None else told.customer_id
        view = None if whose is None else await self._service.customers.view(visit.workspace_id, whose)
        values = await self._lanes(visit, [visitor_id], view, footprint, query)
        try:
            explained = await self._service.explanations.visitor(visit.workspace_id, visitor_id)
        except Problem:  # nothing was ever said of it, or too much to tell why
            explained = None
        return self._show(visit, "visitor.html", visitor_id=visitor_id, told=told, explained=explained, **values)

    async def _lanes(
        self,
        visit: Visit,
        visitor_ids: Sequence[str],
        customer: CustomerView | None,
        footprint: FootprintPage,
        query: Mapping[str, str],
    ) -> dict[str, Any]:
        """Return what a timeline of this customer's shows: the drawing, the entries of this page, and where the next
        one is."""
        told, undone = await self._told(visit, visitor_ids), await self._taken_back(visit, visitor_ids)
        same = _joined(customer)
        stretches = await self._stretches(visit, visitor_ids, same)
        entries = history.entries(
            footprint.items,
            told,
            undone,
            same,
            is_first="cursor" not in query,
            is_last=footprint.next_cursor is None,
            before=query.get("before"),
        )
        marked = history.happenings(entries, told, undone, same)
        times = [happening.at for happening in marked] or [now_milliseconds()]
        begin, end = min(times), max(*times, now_milliseconds())
        margin = max(1000, (end - begin) // 50)
        listed = [history.moment(entry.at) for entry in entries]
        following = None
        if footprint.next_cursor is not None:
            before = footprint.items[-1].occurred_at
            following = _address_of(visit.request, {**query, "cursor": footprint.next_cursor, "before": before})
        return {
            "lanes": pictures.draw_lanes(
                stretches,
                marked,
                own=() if customer is None else (customer.customer_id,),
                begin=begin - margin,
                end=end,
                window=(min(listed), max(listed)) if listed and (following or "cursor" in query) else None,
            ),
            "entries": entries,
            "following": following,
            "is_first": "cursor" not in query,
        }

    async def _stretches(
        self, visit: Visit, visitor_ids: Sequence[str], same: Mapping[str, str]
    ) -> Mapping[str, Sequence[Stretch]]:
        if not visitor_ids:
            return {}
        return await self._service.footprints.stretches_of(visit.workspace_id, visitor_ids, same)

    async def _told(self, visit: Visit, visitor_ids: Sequence[str]) -> list[VisitorPage]:
        pages = [await self._service.visitors.find(visit.workspace_id, each) for each in visitor_ids]
        return [page for page in pages if page is not None]

    async def _taken_back(self, visit: Visit, visitor_ids: Sequence[str]) -> dict[str, str]:
        async def work(connection: Connection) -> dict[str, str]:
            return await self._visitor_past.taken_back(connection, visit.workspace_id, visitor_ids)

        try:
            return await self._service.database.run(work) if visitor_ids else {}
        except Problem:  # too much was said of them to look through it all: nothing is marked
            return {}

    async def _graph(self, visit: Visit) -> Response:
        view = await self._customer_pages.find(visit)
        visitor_ids = [visitor.visitor_id for visitor in view.visitors[:GRAPH_VISITORS_MAX]]
        told = {page.visitor_id: page for page in await self._told(visit, visitor_ids)}
        joined = _joined(view)
        stretches = await self._stretches(visit, visitor_ids, joined)
        undone = await self._taken_back(visit, visitor_ids)
        links = {}
        for visitor_id in visitor_ids:
            said = [_as_joined(each, joined) for each in told[visitor_id].identifications] if visitor_id in told else []
            found = stretches.get(visitor_id, ())
            named_in_vain = {
                each.customer_id: "undone" if each.identification_id in undone else "unapplied"
                for each in said
                if each.customer_id is not None and (not each.applied or each.identification_id in undone)
            }
            named: dict[str, str] = {}
            for each in sorted(said, key=lambda held: held.occurred_at):
                if each.applied and each.customer_id is not None and each.identification_id not in undone:
                    named.setdefault(each.customer_id, each.occurred_at)
            links[visitor_id] = pictures.links_of(visitor_id, found, named_in_vain, named)
        # Those that others have used too come last, whoever shares another customer side by side.
        links = dict(sorted(links.items(), key=lambda held: sorted(str(link.customer_id) for link in held[1][1:])))
        say = speaker(visit.language)
        return self._show(
            visit,
            "graph.html",
            customer=view,
            graph=pictures.draw_graph(view.customer_id, links, say("graph.nobody")),
            links=[link for found in links.values() for link in found],
            visitors_left_out=len(view.visitors) - len(visitor_ids),
        )

    # The ledger.

    async def _merges(self, visit: Visit) -> Response:
        query = given(read_query(visit.request, MERGE_FILTERS))
        page = await self._ledger.list_merges(visit.workspace_id, query)
        return self._show(
            visit,
            "merges.html",
            page=page,
            query=query,
            following=_following(visit.request, query, page.next_cursor),
            choices={"verdict": list(Verdict), "reason": list(Reason), "field": [field.name for field in FIELDS]},
        )

    async def _refusals(self, visit: Visit) -> Response:
        query = given(read_query(visit.request, REFUSAL_FILTERS))
        page = await self._ledger.list_refusals(visit.workspace_id, query)
        counts = health.bars(sorted(((str(k), n) for k, n in page.counts.items()), key=lambda held: -held[1]))
        return self._show(
            visit,
            "refusals.html",
            page=page,
            query=query,
            counts=counts,
            following=_following(visit.request, query, page.next_cursor),
            choices={"reason": list(Refusal)},
        )

    # Live.

    async def _live(self, visit: Visit) -> Response:
        return self._show(visit, "live.html", reasons=[*Refusal, *Reason])

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        held: Any = scope
        request = Request(held["method"], dict(held["headers"]), held, receive)
        status, session = 503, None
        if self._watchers < WATCHERS_MAX and not self._is_stopping:
            with contextlib.suppress(Unavailable, Overloaded):
                session = await self._sessions.find(request)
                status = 401 if session is None else 200
        start: Any = {"type": "http.response.start", "status": status, "headers": _stream_headers(status)}
        await send(start)
        if session is None:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        self._watchers += 1
        gone = asyncio.ensure_future(_until_gone(receive))
        try:
            await self._tell(request, session, send, gone)
        except OSError:
            pass  # who watched is gone
        except Exception as error:  # noqa: BLE001 - the answer has begun: it can only end
            log_fault(STREAM_PATH, error)
        finally:
            gone.cancel()
            self._watchers -= 1
        with contextlib.suppress(OSError):
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _tell(self, request: Request, session: Session, send: Send, gone: "asyncio.Future[None]") -> None:
        language = choose(
            read_cookies(request).get(LANGUAGE_COOKIE), request.headers.get(b"accept-language", b"").decode("latin-1")
        )
        begun = told_at = checked_at = time.monotonic()
        was_away: bool | None = None
        with contextlib.suppress(Unavailable, Overloaded, Problem):
            async for tick in follow(self.bell, self._ledger, session.key.workspace_id):
                now = time.monotonic()
                if gone.done() or self._is_stopping or now - begun > STREAM_SECONDS_MAX:
                    return
                if now - checked_at >= 1.0:
                    checked_at = now
                    if await self._sessions.find(request) is None:
                        await send(_told("over", ""))
                        return
                if tick.is_away is not was_away:
                    was_away = tick.is_away
                    await send(_told("state", "away" if was_away else "live"))
                if tick.rows or tick.left_out:
                    await send(_told("rows", self._rows(session, language, tick)))
                    told_at = now
                elif now - told_at > PING_SECONDS:
                    told_at = now
                    await send(_told("ping", ""))

    def _rows(self, session: Session, language: str, tick: Tick) -> str:
        values = self._values(session, language)
        return self._templates.get_template("live_rows.html").render(**values, tick=tick)

    # The checklist.

    async def _missing(self, visit: Visit) -> Response:
        form = visit.form
        text, body = form.get("id", "").strip(), form.get("body", "").strip()
        findings = explained = None
        if text:
            findings = await missing.find_out(self._service, self._ledger, self._changes, visit.workspace_id, text)
        if form.get("action") == "request":
            asked = Asked(
                write_key=form.get("write_key", "").strip() or None,
                origin=form.get("origin", "").strip() or None,
                body=body.encode() or None,
            )
            explained = await self._service.arrivals.explain(visit.workspace_id, asked)
        return self._show(visit, "missing.html", text=text, findings=findings, explained=explained, form=form)

    # Channels and keys.

    async def _list_channels(self, visit: Visit) -> Response:
        return await self._channels_page(visit)

    async def _channels_page(self, visit: Visit, problem: Problem | None = None, done: str = "") -> Response:
        query = given(read_query(visit.request, PAGE_PARAMETERS))
        page = await self._changes.list_channels(visit.workspace_id, query)
        following = _following(visit.request, query, page.next_cursor)
        return self._show(
            visit,
            "channels.html",
            status=200 if problem is None else problem.status,
            page=page,
            following=following,
            problem=problem,
            done=done,
            form=visit.form if problem is not None else {},
            choices={
                "on_sign_out": list(OnSignOut),
                "signed_identity": list(SignedIdentity),
                "unsigned_writes": list(UnsignedWrites),
            },
        )

    async def _change_channels(self, visit: Visit) -> Response:
        form, channel_id = visit.form, visit.form.get("channel_id", "")
        origins = form.get("origins", "").split()
        try:
            match form.get("action"):
                case "create":
                    new = NewChannel(name=form.get("name", ""), origins=origins)
                    await self._changes.create_channel(visit.workspace_id, new)
                    return await self._channels_page(visit, done="channels.created")
                case "change":
                    wanted = ChannelChange(
                        name=form.get("name", ""),
                        website_tracking=form.get("website_tracking") == "on",
                        origins=origins,
                        on_sign_out=_choice(OnSignOut, form.get("on_sign_out")),
                        signed_identity=_choice(SignedIdentity, form.get("signed_identity")),
                        unsigned_writes=_choice(UnsignedWrites, form.get("unsigned_writes")),
                    )
                    await self._changes.change_channel(visit.workspace_id, channel_id, wanted)
                    return await self._channels_page(visit, done="channels.changed")
                case "revoke":
                    require_confirmation(form)
                    await self._changes.revoke_channel(visit.workspace_id, channel_id)
                    return await self._channels_page(visit, done="channels.revoked")
                case _:
                    raise not_of_this_page()
        except Problem as problem:
            return await self._channels_page(visit, problem)

    async def _list_keys(self, visit: Visit) -> Response:
        return await self._keys_page(visit)

    async def _keys_page(
        self, visit: Visit, problem: Problem | None = None, done: str = "", secret: str | None = None
    ) -> Response:
        query = given(read_query(visit.request, PAGE_PARAMETERS))
        page = await self._changes.list_keys(visit.workspace_id, query)
        return self._show(
            visit,
            "keys.html",
            status=200 if problem is None else problem.status,
            page=page,
            following=_following(visit.request, query, page.next_cursor),
            problem=problem,
            done=done,
            secret=secret,
            form=visit.form if problem is not None else {},
            scopes=list(KeyScope),
            own_key_id=visit.session.key.key_id,
        )

    async def _change_keys(self, visit: Visit) -> Response:
        form = visit.form
        try:
            match form.get("action"):
                case "create":
                    scopes = [scope for scope in KeyScope if form.get(f"scope:{scope}") == "on"]
                    made = await self._changes.create_key(visit.workspace_id, NewKey(form.get("name", ""), scopes))
                    return await self._keys_page(visit, done="keys.created", secret=made.secret)
                case "revoke":
                    require_confirmation(form)
                    await self._changes.revoke_key(visit.workspace_id, form.get("key_id", ""))
                    return await self._keys_page(visit, done="keys.revoked")
                case _:
                    raise not_of_this_page()
        except Problem as problem:
            return await self._keys_page(visit, problem)

    async def _health(self, visit: Visit) -> Response:
        found = await health.look(self._service.operations, visit.request)
        return self._show(visit, "health.html", health=found)

    # Rendering.

    def _show(self, visit: Visit, template: str, *, status: int = 200, **values: object) -> Response:
        return self._render(visit, visit.language, template, status=status, **values)

    def _render(
        self, visit: Visit | None, language: str, template: str, *, status: int = 200, **values: object
    ) -> Response:
        session = None if visit is None else visit.session
        shared = self._values(session, language)
        shared["here"] = "" if visit is None else _path_of(visit.request.scope)
        shared["own_address"] = INSPECTOR_PATH if visit is None else _own_address(visit.request)
        body = self._templates.get_template(template).render(**{**shared, **values})
        return Response(status, body.encode("utf-8", "replace"), HTML)

    def _values(self, session: Session | None, language: str) -> dict[str, object]:
        return {
            "session": session,
            "t": speaker(language),
            "language": language,
            "languages": LANGUAGES,
            "sections": SECTIONS,
            "base": INSPECTOR_PATH,
        }

    async def _problem(self, request: Request, language: str, problem: Problem) -> Response:
        session = None
        with contextlib.suppress(Problem, Unavailable, Overloaded):
            session = await self._sessions.find(request)
        visit = None if session is None else Visit(request, session, language)
        response = self._render(visit, language, "problem.html", status=problem.status, problem=problem)
        return msgspec.structs.replace(response, headers=(*response.headers, *problem.headers))

    def _file(self, path: str) -> Response:
        held = self._static.get(path)
        if held is None:
            return Response(404, b"", ((b"content-type", b"text/plain"), *GUARDS))
        kind = _STATIC_TYPES[path.rpartition(".")[2]].encode()
        forever = (b"cache-control", b"public, max-age=31536000, immutable")
        return Response(200, held, ((b"content-type", kind), forever, *GUARDS))

    def _environment(self) -> Environment:
        environment = Environment(
            loader=PackageLoader("identity.admin", "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        named = {path.partition("/")[2]: STATIC_PATH + path for path in self._static}
        environment.globals["static"] = named.__getitem__
        environment.globals["address"] = address
        environment.globals["channel_name"] = self._channel_name
        environment.globals["is_refusal"] = lambda row: isinstance(row, RefusalView)
        environment.globals["outcome"] = outcome_of
        environment.filters["when"] = when
        environment.filters["value"] = shown
        environment.filters["breakable"] = breakable
        environment.filters["safe_text"] = safe
        environment.filters["cut"] = lambda text, columns: pictures.cut(safe(text), columns)
        return environment

    def _channel_name(self, channel_id: str | None) -> str | None:
        if channel_id is None:
            return None
        channel = self._service.channels.find_by_id(channel_id)
        return channel.name if channel is not None else channel_id


def when(text: str | None) -> Markup:
    """Return a time of a view as an element that people and programs can read."""
    if text is None:
        return Markup("–")
    return Markup('<time datetime="{}">{}</time>').format(text, text[:19].replace("T", " "))


def shown(value: JsonValue) -> str:
    """Return a value for people: texts as they are, the rest as JSON, nothing in it that turns or hides the text."""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return safe(text if len(text) <= VALUE_CHARACTERS_MAX else f"{text[:VALUE_CHARACTERS_MAX]}…")


def breakable(text: str) -> Markup:
    """Return a text that goes on in the next line, where it must, behind an @ rather than within a word."""
    return escape(text).replace("@", Markup("@<wbr>"))


def outcome_of(merge: MergeView) -> list[tuple[str, int]]:
    """Return how many fields of a merge had each verdict, in the order in which they came."""
    counts: dict[str, int] = {}
    for decision in merge.decisions:
        counts[decision.verdict] = counts.get(decision.verdict, 0) + 1
    return list(counts.items())


def _load_static() -> dict[str, bytes]:
    """Return the files that pages load, by an address that changes with what is in them."""
    found = {}
    for file in files("identity.admin").joinpath("static").iterdir():
        if file.name.rpartition(".")[2] in _STATIC_TYPES:
            body = file.read_bytes()
            found[f"{sha256(body).hexdigest()[:12]}/{file.name}"] = body
    return found


async def _read_form(request: Request) -> dict[str, str]:
    body = await request.body(FORM_BYTES_MAX)
    try:
        return dict(
            parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=FORM_FIELDS_MAX)
        )
    except (UnicodeError, ValueError) as error:
        raise not_of_this_page() from error


def _choice(kind: Any, value: str | None) -> Any:
    return kind(value) if value in tuple(kind) else UNSET


def _choose_language(form: Mapping[str, str]) -> Response:
    back, language = form.get("back", ""), form.get("language")
    headers: HeaderPairs = ()
    if language in LANGUAGES:
        text = f"{LANGUAGE_COOKIE}={language}; Path={INSPECTOR_PATH}; Max-Age={LANGUAGE_SECONDS}; SameSite=Strict"
        headers = ((b"set-cookie", f"{text}; HttpOnly".encode("ascii")),)
    return redirect(back if _is_own(back) else INSPECTOR_PATH, headers)


def _is_own(address: str) -> bool:
    """Return whether an address is one of the inspector's own pages, to go to without looking."""
    is_below = address == INSPECTOR_PATH or address.startswith((f"{INSPECTOR_PATH}/", f"{INSPECTOR_PATH}?"))
    return is_below and address.isascii() and address.isprintable() and not set('\\ "<>') & set(address)


def _path_of(scope: Any) -> str:
    """Return the path as it was sent; a mount gives its applications what stands behind their own."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    return raw.partition(b"?")[0].decode("latin-1")


def _own_address(request: Request) -> str:
    """Return the address of a page that can be opened again; the answer to a form is none."""
    path = _path_of(request.scope)
    if request.method not in ("GET", "HEAD"):
        return path if path in (f"{INSPECTOR_PATH}{section}" for section, _ in SECTIONS) else INSPECTOR_PATH
    query = request.scope["query_string"].decode("latin-1")
    address = f"{path}?{query}" if query else path
    return address if _is_own(address) else INSPECTOR_PATH


def _address_of(request: Request, query: Mapping[str, str]) -> str:
    return f"{_path_of(request.scope)}?{urlencode(query)}"


def _following(request: Request, query: Mapping[str, str], cursor: str | None) -> str | None:
    return None if cursor is None else _address_of(request, {**query, "cursor": cursor})


def _joined(customer: CustomerView | None) -> dict[str, str]:
    """Return whom an admin declared to be this customer, each with it: they are this customer here."""
    return {} if customer is None else dict.fromkeys(customer.joined_ids, customer.customer_id)


def _as_joined(row: _Named, joined: Mapping[str, str]) -> _Named:
    """Return a row with the customer whom the one that it names was joined into."""
    return msgspec.structs.replace(row, customer_id=joined.get(str(row.customer_id), row.customer_id))


def _timeline_page(request: Request, named: str) -> tuple[dict[str, str], Any]:
    """Return the question of a timeline, and the page of the footprint that it asks for."""
    query = dict(request.query())
    before = query.pop("before", None)
    query.setdefault("limit", str(TIMELINE_EVENTS))
    asked = msgspec.structs.replace(
        request, scope={**request.scope, "query_string": urlencode(given(query)).encode("ascii")}
    )
    read, page = read_page(asked, (named,))
    return read if before is None else {**read, "before": before}, page


async def _until_gone(receive: Receive) -> None:
    message: Any = {}
    while message.get("type") != "http.disconnect":
        message = await receive()


def _stream_headers(status: int) -> list[tuple[bytes, bytes]]:
    kind = b"text/event-stream" if status == 200 else b"text/plain"
    # A proxy that gathers what is sent would hold back what has just happened.
    return [(b"content-type", kind), (b"cache-control", b"no-store"), (b"x-accel-buffering", b"no"), *GUARDS]


def _told(event: str, text: str) -> Any:
    lines = "".join(f"data: {line}\n" for line in text.splitlines() or [""])
    return {"type": "http.response.body", "body": f"event: {event}\n{lines}\n".encode(), "more_body": True}
