"""The one place where parts are built and joined: one worker's application."""

import asyncio
import contextlib
import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from types import FrameType
from typing import Any

from litestar import Litestar, asgi
from litestar import Request as LitestarRequest
from litestar import Response as LitestarResponse
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException
from litestar.types import ASGIApp, ControllerRouterHandler, Receive, Scope, Send

from identity import identifications
from identity.acts import Acts
from identity.admin.arrivals import EXPLAIN_PATH, Arrivals
from identity.admin.customers import ADMIN_CUSTOMERS_PATH, ADMIN_VISITORS_PATH, SubjectRoutes
from identity.admin.explain import Explanations
from identity.admin.joining import CustomerActs
from identity.admin.ledger import Ledger
from identity.admin.pages import Inspector
from identity.admin.routes import admin_handlers
from identity.admin.visits import INSPECTOR_PATH
from identity.bulk_undo import BulkUndo
from identity.channels import Channels
from identity.customer_writes import CustomerWrites
from identity.demo import demo_handlers
from identity.disclosure import Disclosure
from identity.docs import docs_handlers
from identity.erasure import Eraser
from identity.erasure_routes import ERASURES_PATH, ErasureRoutes
from identity.feed import CHANGES_PATH, ChangeRoutes, Feed
from identity.footprint_routes import FOOTPRINT_PATH, SUMMARY_PATH, FootprintRoutes
from identity.gate import Gate
from identity.import_routes import IMPORT_PATH, ImportRoutes
from identity.intake import Intake
from identity.joins import Joins
from identity.logs import configure_logging
from identity.operation_log import OperationLog
from identity.operations import OperationRoutes
from identity.protocols.croct_routes import CroctRoutes
from identity.protocols.segment_routes import PROJECTS_PATH, SegmentRoutes
from identity.routes import READING_PATHS, EventRoutes, now_milliseconds
from identity.sdk import sdk_handlers
from identity.settings import Settings, load
from identity.sweep import sweep_for_ever
from identity.tombstones import Tombstones
from identity.visitor_past import VisitorPast
from identity.visitor_routes import VISITORS_PATH, VisitorRoutes
from identity.visitors import read_known_customer_id, read_visitor_id
from identity.webhooks.deliverer import Deliverer
from identity.webhooks.endpoints import Webhooks
from profiles import metrics, migrate
from profiles.access import Access
from profiles.cache import Cache
from profiles.coalesce import Overloaded
from profiles.database import Connection, Database, Unavailable
from profiles.http import Endpoint, Problem, Response, asgi_app, busy, log_fault, problem_response
from profiles.idempotency import Idempotency
from profiles.past import Past
from profiles.routes import CUSTOMERS_PATH, CustomerRoutes
from profiles.store import Spreads
from profiles.suggestions import Suggestions

AUTHENTICATE_PATH = "/api/v1/authenticate"
GC_THRESHOLD = 20_000
"""Objects made between two looks for garbage; few of ours are ever part of a cycle."""
PARENT_POLL_SECONDS = 1.0
"""How soon a worker notices that its supervisor was killed."""
_MOUNTED = (CUSTOMERS_PATH, VISITORS_PATH, PROJECTS_PATH, ADMIN_CUSTOMERS_PATH, ADMIN_VISITORS_PATH, ERASURES_PATH)


class Service:
    """The parts of one worker."""

    def __init__(self, settings: Settings, store_id: str) -> None:
        assert settings.database_url is not None
        assert settings.redis_url is not None
        self.settings = settings
        self.store_id = store_id
        self.database = Database(settings.database_url, prepared=settings.database_prepared)
        self.cache = Cache(settings.redis_url, store_id)
        self.spreads = Spreads()
        self.access = Access(self.database, self.cache, self.spreads)
        self.channels = Channels(self.access)
        self.tombstones = Tombstones(self.database, self.access, self.spreads)
        self.intake = Intake(self.database, self.cache, self.spreads, self.tombstones)
        self.acts = Acts(self.database, self.intake, self.spreads, now_milliseconds)
        self.suggestions = Suggestions(self.database, self.spreads, now_milliseconds)
        self.joins = Joins(self.database, self.intake, self.spreads, self.acts)
        self.operation_log = OperationLog(self.database)
        self.imports = ImportRoutes(self.intake, self.database, self.access, now_milliseconds)
        self.bulk = BulkUndo(self.database, self.spreads, self.acts, self.operation_log, now_milliseconds)
        self.idempotency = Idempotency(self.database, self.access, self.spreads, now_milliseconds, READING_PATHS)
        self.eraser = Eraser(
            self.database, self.cache, self.access, self.spreads, self.tombstones, self.intake, now_milliseconds
        )
        self.gate = Gate(self.cache, self.access, self.channels)
        self.events = EventRoutes(self.intake, self.cache, self.access, self.channels, self.gate, now_milliseconds)
        self.croct = CroctRoutes(self.intake, self.gate, now_milliseconds)
        self.segment = SegmentRoutes(self.intake, self.gate, now_milliseconds)
        self.footprints = FootprintRoutes(self.database, self.access, self.spreads, now_milliseconds)
        self.disclosure = Disclosure(self.database, self.spreads, self.footprints.retentions, now_milliseconds)
        self.erasures = ErasureRoutes(self.access, self.eraser, self.disclosure)
        self.writes = CustomerWrites(self.intake, self.access, now_milliseconds)
        visitor_past = VisitorPast(self.database, self.spreads)
        self.past = Past(self.database, self.spreads, visitor_past.linked_at)
        self.customers = CustomerRoutes(
            self.database,
            self.cache,
            self.access,
            self.spreads,
            read_known_customer_id,
            self.find_by_visitor,
            self.past,
            {
                b"footprint": self.footprints.customer,
                b"footprint/summary": self.footprints.summary,
                b"export": self.erasures.disclose,
            },
            {"PATCH": self.writes.patch, "DELETE": self.erasures.erase},
        )
        self.visitors = VisitorRoutes(self.database, self.access, self.spreads, {b"footprint": self.footprints.visitor})
        self.feed = Feed(self.database, self.spreads)
        self.changes = ChangeRoutes(self.feed, self.access)
        self.webhooks = Webhooks(
            self.database, self.spreads, self.feed, now_milliseconds, allow_private=settings.webhook_allow_private
        )
        self.deliverer = Deliverer(self.database, self.feed, self.webhooks, now_milliseconds)
        self.operations = OperationRoutes(self.database, self.cache, settings.metrics_dir)
        ledger = Ledger(self.database, self.spreads)
        self.explanations = Explanations(self.database, self.past, visitor_past, ledger, now_milliseconds)
        self.arrivals = Arrivals(self.database, self.access, self.gate, self.intake, ledger, now_milliseconds)
        self.admin_customers = SubjectRoutes(
            self.access,
            ADMIN_CUSTOMERS_PATH,
            "customer_id",
            read_known_customer_id,
            {**self.explanations.of_customers(), **CustomerActs(self.acts, self.joins).handlers()},
        )
        self.admin_visitors = SubjectRoutes(
            self.access, ADMIN_VISITORS_PATH, "visitor_id", read_visitor_id, self.explanations.of_visitors()
        )
        self.is_demo = settings.demo
        self.inspector = Inspector(self)
        self.intake.on_commit = self.inspector.bell.ring

    async def find_by_visitor(
        self, connection: Connection, workspace_id: int, visitor_ids: Sequence[str]
    ) -> dict[str, str]:
        """Return, of visitors as they were asked for, the customer whose each is now."""
        read = {sent: read_visitor_id(sent) for sent in visitor_ids}
        rows = self.spreads.key_rows({(workspace_id, visitor_id) for visitor_id in read.values() if visitor_id})
        visitors = await identifications.load_visitors(connection, self.database, rows)
        found = {sent: visitors.get((workspace_id, visitor_id)) for sent, visitor_id in read.items() if visitor_id}
        return {sent: v.customer_id for sent, v in found.items() if v is not None and v.customer_id is not None}

    async def open(self) -> None:
        """Connect, and learn who may come in; while the database is away, every request asks again."""
        await self.database.open()
        # A worker that does not start takes the supervisor, and with it all other workers, down.
        with contextlib.suppress(Unavailable, Overloaded):
            await self.database.learn_shards()
            await self.access.confirm(None)

    async def close(self) -> None:
        """Finish what was taken in, then let go of the servers."""
        await self.intake.drain()
        await self.deliverer.close()
        await self.cache.close()
        await self.database.close()


def create() -> ASGIApp:
    """Return the application of one worker, with the settings of the environment."""
    configure_logging()
    settings = load()
    assert settings.database_url is not None, "the supervisor tells its workers where the database is"
    service = Service(settings, migrate.read_store_id(settings.database_url))
    return before(build(service), service)


def before(application: Litestar, service: Service) -> ASGIApp:
    """Return the application with its two hottest routes answered before it.

    They are the same functions that it would call, after 35 µs of routing and middleware which they have no use for;
    its cache of routes would also keep the paths of lookups, with the ids in them.
    """
    authenticate = asgi_app(AUTHENTICATE_PATH, _public(service)[AUTHENTICATE_PATH])
    lookups = asgi_app(CUSTOMERS_PATH, service.customers.dispatch)
    customers = service.idempotency.wrap(lookups)

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"] if scope["type"] == ScopeType.HTTP else ""
        if path == AUTHENTICATE_PATH:
            await authenticate(scope, receive, send)
        elif path.startswith(CUSTOMERS_PATH):
            await (lookups if scope["method"] == "GET" else customers)(scope, receive, send)  # type: ignore[typeddict-item]
        else:
            await application(scope, receive, send)

    return answer


def build(service: Service) -> Litestar:
    """Return the application of these parts."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        await service.open()
        _when_told_to_stop(service.inspector.stop)
        # What was made until now stays for good; nothing is gained by looking through it again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD)
        background = [
            asyncio.create_task(_leave_with_parent()),
            asyncio.create_task(_report(service)),
            asyncio.create_task(service.bulk.run_for_ever()),
            asyncio.create_task(service.eraser.run_for_ever(lambda: service.access.workspaces)),
            asyncio.create_task(
                sweep_for_ever(service.database, service.spreads, lambda: service.access.workspaces, now_milliseconds)
            ),
            asyncio.create_task(service.deliverer.run_for_ever()),
        ]
        try:
            yield
        finally:
            for task in background:
                task.cancel()
            await service.close()
            metrics.flush()

    return Litestar(
        route_handlers=[
            *_raw_handlers(service),
            *admin_handlers(service),
            *docs_handlers(),
            *sdk_handlers(),
            *demo_handlers(service),
            asgi(INSPECTOR_PATH, is_mount=True, copy_scope=False)(service.inspector.app),
        ],
        lifespan=[lifespan],
        openapi_config=None,
        exception_handlers={Exception: _problem},
        logging_config=None,
        request_max_body_size=1024 * 1024,
    )


def _raw_handlers(service: Service) -> list[ControllerRouterHandler]:
    endpoints: dict[str, Endpoint] = {
        **_public(service),
        **service.croct.endpoints(),
        **service.segment.endpoints(),
        CUSTOMERS_PATH: service.customers.dispatch,
        VISITORS_PATH: service.visitors.dispatch,
        FOOTPRINT_PATH: service.footprints.by_query,
        SUMMARY_PATH: service.footprints.summary_by_query,
        CHANGES_PATH: service.changes.changes,
        ERASURES_PATH: service.erasures.dispatch,
        EXPLAIN_PATH: service.arrivals.endpoint,
        "/livez": service.operations.livez,
        "/readyz": service.operations.readyz,
        "/metrics": service.operations.metrics,
    }
    apps = {route: asgi_app(route, endpoint) for route, endpoint in endpoints.items()}
    apps[IMPORT_PATH] = service.imports.app
    apps[ADMIN_CUSTOMERS_PATH] = service.admin_customers.app
    apps[ADMIN_VISITORS_PATH] = service.admin_visitors.app
    return [_raw(route, service.idempotency.wrap(app)) for route, app in apps.items()]


def _public(service: Service) -> dict[str, Endpoint]:
    """Return the endpoints that pages of other origins call."""
    endpoints: dict[str, Endpoint] = {
        AUTHENTICATE_PATH: service.events.authenticate,
        "/api/v1/events": service.events.events,
        "/api/v1/validate/authenticate": service.events.validate_authenticate,
        "/api/v1/validate/events": service.events.validate_events,
    }
    return {route: service.gate.for_browsers(route, endpoint) for route, endpoint in endpoints.items()}


def _raw(route: str, app: Any) -> ControllerRouterHandler:
    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)

    # Mounted, since Litestar finds no ASGI function behind a path parameter.
    return asgi(route, is_mount=route in _MOUNTED, copy_scope=False)(handle)


def _problem(_: LitestarRequest[Any, Any, Any], error: Exception) -> LitestarResponse[bytes]:
    """Answer every exception of Litestar's own handlers with a problem document."""
    if isinstance(error, Problem):
        response = problem_response(error.status, error.code, error.message, error.headers)
    elif isinstance(error, Overloaded | Unavailable):
        response = busy()
    elif isinstance(error, HTTPException) and error.status_code < 500:
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "invalid_request")
        message = {404: "There is nothing at this address.", 405: "Not with this method."}.get(
            error.status_code, "The request is not of the form that the documentation at /docs tells."
        )
        allow = (error.headers or {}).get("allow", "").encode()
        response = problem_response(error.status_code, code, message, ((b"allow", allow),) if allow else ())
    else:
        log_fault("litestar", error)
        response = problem_response(500, "internal_error", "A fault of ours; it has been logged.")
    return to_litestar(response)


def to_litestar(response: Response) -> LitestarResponse[bytes]:
    """Return a response of ours as one of Litestar's."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in response.headers}
    media_type = headers.pop("content-type", "application/json")
    return LitestarResponse(response.body, status_code=response.status, headers=headers, media_type=media_type)


def _when_told_to_stop(act: Callable[[], None]) -> None:
    """Have it done before the server waits for its answers to end: some would not by themselves."""
    if threading.current_thread() is not threading.main_thread():
        return  # no server's, then
    for number in (signal.SIGTERM, signal.SIGINT):
        then = signal.getsignal(number)
        if callable(then):
            signal.signal(number, _both(act, then))


def _both(
    act: Callable[[], None], then: Callable[[int, FrameType | None], Any]
) -> Callable[[int, FrameType | None], None]:
    def handle(number: int, frame: FrameType | None) -> None:
        act()
        then(number, frame)

    return handle


async def _leave_with_parent() -> None:
    """Stop when the supervisor is gone: an orphan would hold the port against the next start."""
    # Not the parent of this moment: the supervisor may have been killed while this worker was still starting.
    supervisor = multiprocessing.parent_process()
    parent = supervisor.pid if supervisor is not None else os.getppid()
    while os.getppid() == parent:  # noqa: ASYNC110 - the kernel tells nobody; one look a second is cheap
        await asyncio.sleep(PARENT_POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


async def _report(service: Service) -> None:
    """Bring what is counted elsewhere to the metrics."""
    hits = misses = 0
    while True:
        await asyncio.sleep(PARENT_POLL_SECONDS)
        metrics.flush()
        metrics.WAITING.set(service.intake.waiting)
        metrics.CACHE_AVAILABLE.set(int(service.cache.available))
        metrics.CACHE.labels("hit").inc(service.cache.hits - hits)
        metrics.CACHE.labels("miss").inc(service.cache.misses - misses)
        hits, misses = service.cache.hits, service.cache.misses
