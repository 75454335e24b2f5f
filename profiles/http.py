"""The HTTP edge that every endpoint shares: bounded bodies, problem documents, one log line for our own faults.

Hot endpoints are plain ASGI functions registered in Litestar: a typed handler costs as much as all the rest, and
answers 500 to bodies that JSON decoders choke on.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec
from litestar.types import ASGIApp, Receive, Scope, Send

from profiles import metrics
from profiles.coalesce import Overloaded
from profiles.database import Unavailable

BODY_SECONDS_MAX = 10.0
"""A request's body must have arrived by then; a slower sender is told 408."""
RETRY_AFTER_SECONDS = 1
QUERY_BYTES_MAX = 8 * 1024

JSON_TYPE = (b"content-type", b"application/json")
PROBLEM_TYPE = (b"content-type", b"application/problem+json")
NO_STORE = (b"cache-control", b"no-store")

log = logging.getLogger(__name__)

Headers = Mapping[bytes, bytes]
HeaderPairs = tuple[tuple[bytes, bytes], ...]


class Problem(Exception):
    """A request that cannot be served; becomes an RFC 9457 problem document."""

    def __init__(self, status: int, code: str, message: str, headers: HeaderPairs = ()) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers


class Response(msgspec.Struct, frozen=True):
    """Status, body and headers as they go out."""

    status: int
    body: bytes
    headers: HeaderPairs = (JSON_TYPE, NO_STORE)


class Request(msgspec.Struct, frozen=True):
    """What an endpoint sees of a request."""

    method: str
    headers: Headers
    scope: Any
    receive: Any

    def query(self) -> dict[str, str]:
        """Return the query parameters; of one given twice, the last.

        Raises:
            Problem: 400, the query is not UTF-8 or too long.
        """
        raw = self.scope["query_string"]
        if len(raw) > QUERY_BYTES_MAX:
            raise Problem(414, "query_too_long", f"The query may have {QUERY_BYTES_MAX} bytes.")
        try:
            return dict(parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=50))
        except (UnicodeError, ValueError) as error:
            raise Problem(400, "invalid_query", "The query is not percent-encoded UTF-8.") from error

    async def body(self, bytes_max: int) -> bytes:
        """Return the whole body.

        Raises:
            Problem: 413, it is larger than ``bytes_max``; 408, it did not arrive in time; 400, it was cut off.
        """
        declared = self.headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > bytes_max:
            raise _too_large(bytes_max)
        return await _arrivals.bounded(_read(self.receive, bytes_max))


class _Arrivals:
    """Bodies that are on their way. One look a second at all of them costs less than a timer for each."""

    def __init__(self) -> None:
        self._deadlines: dict[asyncio.Task[Any], float] = {}
        self._is_watching = False

    async def bounded(self, body: Coroutine[Any, Any, bytes]) -> bytes:
        """Wait for a body of the current task's request, BODY_SECONDS_MAX at most."""
        task = asyncio.current_task()
        assert task is not None
        self._deadlines[task] = time.monotonic() + BODY_SECONDS_MAX
        if not self._is_watching:
            self._watch()
        try:
            return await body
        except asyncio.CancelledError as error:
            if self._deadlines[task] > time.monotonic():
                raise
            task.uncancel()
            message = f"The body did not arrive within {BODY_SECONDS_MAX:.0f} s."
            raise Problem(408, "body_too_slow", message, _CLOSE) from error
        finally:
            del self._deadlines[task]

    def _watch(self) -> None:
        now = time.monotonic()
        for task, deadline in self._deadlines.items():
            if deadline <= now:
                task.cancel()
        self._is_watching = bool(self._deadlines)
        if self._is_watching:
            asyncio.get_running_loop().call_later(1.0, self._watch)


_CLOSE: HeaderPairs = ((b"connection", b"close"),)
_arrivals = _Arrivals()

Endpoint = Callable[[Request], Awaitable[Response]]
_Answer = TypeVar("_Answer")


async def _read(receive: Receive, bytes_max: int) -> bytes:
    message: Any = await receive()
    body: bytes = message.get("body", b"")
    if message["type"] == "http.request" and not message.get("more_body"):
        if len(body) > bytes_max:
            raise _too_large(bytes_max)
        return body
    chunks, size = [body], len(body)
    while message["type"] == "http.request" and message.get("more_body"):
        message = await receive()
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > bytes_max:
            raise _too_large(bytes_max)
        chunks.append(chunk)
    if message["type"] != "http.request":
        raise Problem(400, "body_cut_off", "The connection ended within the body.")
    return b"".join(chunks)


def _too_large(bytes_max: int) -> Problem:
    return Problem(413, "body_too_large", f"The body may have {bytes_max} bytes.", _CLOSE)


_TITLES = {
    304: "Not modified", 400: "Bad request", 401: "Unauthorized", 403: "Forbidden", 404: "Not found",
    405: "Method not allowed", 408: "Request timeout", 409: "Conflict", 412: "Precondition failed",
    413: "Content too large", 414: "URI too long", 422: "Unprocessable content", 500: "Internal server error",
    501: "Not implemented", 503: "Service unavailable",
}  # fmt: skip


def problem_response(status: int, code: str, message: str, headers: HeaderPairs = ()) -> Response:
    """Return a problem document. Stock SDKs read ``status`` as a number, and ``code`` and ``message``."""
    document = {
        "type": "about:blank",
        "title": _TITLES.get(status, "Error"),
        "status": status,
        "detail": message,
        "code": code,
        "message": message,
    }
    return Response(status, msgspec.json.encode(document), (PROBLEM_TYPE, NO_STORE, *headers))


def busy() -> Response:
    """Return the answer to a request that came at a bad time and may come again."""
    return problem_response(
        503, "unavailable", "Too busy, or a server behind this one is away: try again.",
        ((b"retry-after", b"%d" % RETRY_AFTER_SECONDS),),
    )  # fmt: skip


def json_response(value: object, headers: HeaderPairs = ()) -> Response:
    """Return 200 with the value as JSON."""
    return Response(200, msgspec.json.encode(value), (JSON_TYPE, NO_STORE, *headers))


async def answer(route: str, endpoint: Callable[[Request], Awaitable[_Answer]], request: Request) -> _Answer | Response:
    """Return what the endpoint answers, whatever happens in it: its faults are logged once, without any payload."""
    try:
        return await endpoint(request)
    except Problem as problem:
        return problem_response(problem.status, problem.code, problem.message, problem.headers)
    except (Overloaded, Unavailable):
        return busy()
    except Exception as error:  # noqa: BLE001 - the last resort of a request
        log_fault(route, error)
        return problem_response(500, "internal_error", "A fault of ours; it has been logged.")


def log_fault(route: str, error: BaseException) -> None:
    """Log our own fault: types and places, no messages, since those may quote what was sent."""
    chain: list[str] = []
    seen: BaseException | None = error
    while seen is not None and len(chain) < 5:
        chain.append(type(seen).__name__)
        seen = seen.__cause__ or seen.__context__
    places = []
    traceback = error.__traceback__
    while traceback is not None:
        places.append(f"{traceback.tb_frame.f_globals.get('__name__')}:{traceback.tb_lineno}")
        traceback = traceback.tb_next
    log.error("fault", extra={"route": route, "error": chain, "places": places[-8:]})


def asgi_app(route: str, endpoint: Endpoint) -> ASGIApp:
    """Return the endpoint as an ASGI application that measures itself under the name of its route."""
    timer = metrics.timer(route)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        request = Request(scope["method"], dict(scope["headers"]), scope, receive)  # type: ignore[typeddict-item]
        response = await answer(route, endpoint, request)
        await send_response(send, response, is_head=request.method == "HEAD")
        timer(response.status, time.perf_counter() - started)

    return app


async def send_response(send: Send, response: Response, *, is_head: bool = False) -> None:
    """Send a whole response; of one to HEAD the headers alone."""
    headers = list(response.headers)
    if response.status not in (204, 304):
        headers.append((b"content-length", b"%d" % len(response.body)))
    start: Any = {"type": "http.response.start", "status": response.status, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": b"" if is_head else response.body, "more_body": False})
