"""The one place where parts are built and joined: one worker's application."""

import asyncio
import contextlib
import gc
import multiprocessing
import os
import signal
from collections.abc import AsyncIterator, Sequence
from typing import Any

from litestar import Litestar, asgi
from litestar import Request as LitestarRequest
from litestar import Response as LitestarResponse
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException
from litestar.types import ASGIApp, ControllerRouterHandler, Receive, Scope, Send

from identity import identifications
from identity.admin import admin_handlers
from identity.channels import Channels
from identity.docs import docs_handlers
from identity.footprint_routes import FOOTPRINT_PATH, SUMMARY_PATH, FootprintRoutes
from identity.gate import Gate
from identity.intake import Intake
from identity.logs import configure_logging
from identity.operations import OperationRoutes
from identity.protocols.croct_routes import CroctRoutes
from identity.protocols.segment_routes import PROJECTS_PATH, SegmentRoutes
from identity.routes import EventRoutes, now_milliseconds
from identity.settings import Settings, load
from identity.sweep import sweep_for_ever
from identity.visitor_routes import VISITORS_PATH, VisitorRoutes
from identity.visitors import read_known_customer_id, read_visitor_id
from profiles import metrics, migrate
from profiles.access import Access
from profiles.cache import Cache
from profiles.coalesce import Overloaded
from profiles.database import Connection, Database, Unavailable
from profiles.http import Endpoint, Problem, Response, asgi_app, busy, log_fault, problem_response
from profiles.routes import CUSTOMERS_PATH, CustomerRoutes
from profiles.store import Spreads

AUTHENTICATE_PATH = "/api/v1/authenticate"
GC_THRESHOLD = 20_000
"""Objects made between two looks for garbage; few of ours are ever part of a cycle."""
PARENT_POLL_SECONDS = 1.0
"""How soon a worker notices that its supervisor was killed."""
_MOUNTED = (CUSTOMERS_PATH, VISITORS_PATH, PROJECTS_PATH)


class Service:
    """The parts of one worker."""

    def __init__(self, settings: Settings, store_id: str) -> None:
        assert settings.database_url is not None
        assert settings.redis_url is not None
        self.database = Database(settings.database_url, prepared=settings.database_prepared)
        self.cache = Cache(settings.redis_url, store_id)
        self.spreads = Spreads()
        self.access = Access(self.database, self.cache, self.spreads)
        self.channels = Channels(self.access)
        self.intake = Intake(self.database, self.cache, self.spreads)
        self.gate = Gate(self.cache, self.access, self.channels)
        self.events = EventRoutes(self.intake, self.cache, self.access, self.channels, self.gate, now_milliseconds)
        self.croct = CroctRoutes(self.intake, self.gate, now_milliseconds)
        self.segment = SegmentRoutes(self.intake, self.gate, now_milliseconds)
        self.footprints = FootprintRoutes(self.database, self.access, self.spreads, now_milliseconds)
        self.customers = CustomerRoutes(
            self.database,
            self.cache,
            self.access,
            self.spreads,
            read_known_customer_id,
            self.find_by_visitor,
            {b"footprint": self.footprints.customer, b"footprint/summary": self.footprints.summary},
        )
        self.visitors = VisitorRoutes(self.database, self.access, self.spreads, {b"footprint": self.footprints.visitor})
        self.operations = OperationRoutes(self.database, self.cache, settings.metrics_dir)

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
    customers = asgi_app(CUSTOMERS_PATH, service.customers.dispatch)

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"] if scope["type"] == ScopeType.HTTP else ""
        if path == AUTHENTICATE_PATH:
            await authenticate(scope, receive, send)
        elif path.startswith(CUSTOMERS_PATH):
            await customers(scope, receive, send)
        else:
            await application(scope, receive, send)

    return answer


def build(service: Service) -> Litestar:
    """Return the application of these parts."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        await service.open()
        # What was made until now stays for good; nothing is gained by looking through it again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD)
        background = [
            asyncio.create_task(_leave_with_parent()),
            asyncio.create_task(_report(service)),
            asyncio.create_task(
                sweep_for_ever(service.database, service.spreads, lambda: service.access.workspaces, now_milliseconds)
            ),
        ]
        try:
            yield
        finally:
            for task in background:
                task.cancel()
            await service.close()
            metrics.flush()

    return Litestar(
        route_handlers=[*_raw_handlers(service), *admin_handlers(service), *docs_handlers()],
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
        "/livez": service.operations.livez,
        "/readyz": service.operations.readyz,
        "/metrics": service.operations.metrics,
    }
    return [_raw(route, endpoint) for route, endpoint in endpoints.items()]


def _public(service: Service) -> dict[str, Endpoint]:
    """Return the endpoints that pages of other origins call."""
    endpoints: dict[str, Endpoint] = {
        AUTHENTICATE_PATH: service.events.authenticate,
        "/api/v1/events": service.events.events,
        "/api/v1/validate/authenticate": service.events.validate_authenticate,
        "/api/v1/validate/events": service.events.validate_events,
    }
    return {route: service.gate.for_browsers(route, endpoint) for route, endpoint in endpoints.items()}


def _raw(route: str, endpoint: Endpoint) -> ControllerRouterHandler:
    app: Any = asgi_app(route, endpoint)

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
