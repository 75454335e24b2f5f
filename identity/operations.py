"""What operators ask: is it alive, is it ready, how is it doing."""

import asyncio

import msgspec

from profiles import metrics, migrate
from profiles.cache import Cache
from profiles.database import Database
from profiles.http import JSON_TYPE, NO_STORE, Problem, Request, Response, json_response

READY_SECONDS_MAX = 2.0


class OperationRoutes:
    """``/livez``, ``/readyz`` and ``/metrics``."""

    def __init__(self, database: Database, cache: Cache, metrics_dir: str | None) -> None:
        self._database = database
        self._cache = cache
        self._metrics_dir = metrics_dir
        self._head = migrate.head()

    async def livez(self, request: Request) -> Response:
        """The process answers; nothing else is asked."""
        _get_only(request)
        return json_response({"status": "ok"})

    async def readyz(self, request: Request) -> Response:
        """Whether traffic should come here. The cache may be away: then it is slower, not wrong."""
        _get_only(request)
        postgresql, schema = await self._ask_database()
        redis = "ok" if await self._cache.ping() else "away"
        ready = postgresql == "ok" and schema == "ok"
        checks = {"postgresql": postgresql, "schema": schema, "redis": redis}
        document = {"status": "ready" if ready else "not ready", "checks": checks}
        return Response(200 if ready else 503, msgspec.json.encode(document), (JSON_TYPE, NO_STORE))

    async def metrics(self, request: Request) -> Response:
        """Prometheus' text format, summed over the workers of this host."""
        _get_only(request)
        metrics.flush()
        body = await asyncio.to_thread(metrics.exposition, self._metrics_dir)
        return Response(200, body, ((b"content-type", b"text/plain; version=0.0.4; charset=utf-8"), NO_STORE))

    async def _ask_database(self) -> tuple[str, str]:
        try:
            async with asyncio.timeout(READY_SECONDS_MAX):
                rows = await self._database.fetch("profiles", "load_store")
        except Exception:  # noqa: BLE001 - whatever it is, the database is not ready
            return "away", "unknown"
        number = rows[0][2] if rows else None
        return "ok", "ok" if number is not None and number >= self._head else "behind"


def _get_only(request: Request) -> None:
    if request.method not in ("GET", "HEAD"):
        raise Problem(405, "method_not_allowed", "Use GET.", ((b"allow", b"GET, HEAD"),))
