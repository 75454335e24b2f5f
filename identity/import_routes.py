"""``POST /api/v1/import``: NDJSON in, one result a line out, while it comes in.

Nothing waits for the whole body: lines are committed as they come, and results go out as they are committed. A client
that reads nothing before it has sent everything is served as well, since nothing waits for its reading either; what is
kept for it meanwhile is bounded by the number of lines.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable

import msgspec
from litestar.types import Receive, Send
from litestar.types import Scope as AsgiScope

from identity.gate import blocked_ids
from identity.imports.columns import Line, Reader
from identity.imports.lane import Claim, ImportBroken, Lane, Position, Result
from identity.imports.run import NOTE_CHARACTERS_MAX, begin, end, sender_of
from identity.intake import Intake
from identity.refusals import REFUSAL_HINTS
from profiles import metrics
from profiles.access import Access, Scope, SecretKey
from profiles.database import Database
from profiles.http import NO_STORE, Problem, Request, Response, answer, log_fault, send_response
from profiles.remarks import HINTS

IMPORT_PATH = "/api/v1/import"
IMPORT_LINES_MAX = 100_000
IMPORT_BYTES_MAX = 64 * 1024 * 1024
IMPORT_LINE_BYTES_MAX = 64 * 1024
IMPORT_PAUSE_SECONDS_MAX = 30.0
"""So long a body may pause, and a client may let results wait after it."""
IMPORT_SECONDS_MAX = 3600.0
IMPORTS_MAX = 2
"""Imports that one worker takes at a time."""
STEP_LINES_MAX = 500
"""Lines in one transaction, at most; fewer whenever no more have arrived."""
BLOCKS_WAITING_MAX = 4
OPERATION_HEADER = b"identity-operation-id"

_NDJSON = (b"content-type", b"application/x-ndjson")
_HINTS = {str(code): hint for hints in (HINTS, REFUSAL_HINTS) for code, hint in hints.items()}


class ImportParameters(msgspec.Struct, frozen=True):
    """What an import over HTTP began with."""

    occurred_at: int


class ImportFault(msgspec.Struct, frozen=True):
    """What is wrong with a line: which member, empty for all of it, the code, and what to do."""

    field: str
    code: str
    hint: str | None


class ImportResult(msgspec.Struct, frozen=True):
    """What became of one line. ``version`` is the customer's, if the line wrote anything."""

    line: int
    status: str
    customer_id: str | None
    version: int | None
    errors: list[ImportFault]


class ImportEnd(msgspec.Struct, frozen=True):
    """Why an import ended before its last line; the lines told of before it are committed."""

    line: int
    status: str
    code: str
    message: str


class ImportRoutes:
    """The endpoint. ``clock`` gives milliseconds since 1970."""

    def __init__(self, intake: Intake, database: Database, access: Access, clock: Callable[[], int]) -> None:
        self._intake = intake
        self._database = database
        self._access = access
        self._clock = clock
        self._under_way = 0

    async def app(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Answer a request, as an ASGI application."""
        started = time.perf_counter()
        asked = scope
        request = Request(asked["method"], dict(asked["headers"]), scope, receive)  # type: ignore[typeddict-item]
        admitted = await answer(IMPORT_PATH, self._admit, request)
        if isinstance(admitted, Response):
            await send_response(send, admitted)
            status = admitted.status
        else:
            self._under_way += 1
            try:
                status = await self._import(request, admitted[0], admitted[1], send)
            finally:
                self._under_way -= 1
        metrics.timer(IMPORT_PATH)(status, time.perf_counter() - started)

    async def _admit(self, request: Request) -> tuple[SecretKey, str | None]:
        if request.method != "POST":
            raise Problem(405, "method_not_allowed", "Not with this method.", ((b"allow", b"POST"),))
        key = await self._access.authorize(request, Scope.PROFILES_WRITE)
        note = request.query().get("note")
        if note is not None and len(note) > NOTE_CHARACTERS_MAX:
            raise Problem(400, "invalid_query", f"The note may have {NOTE_CHARACTERS_MAX} characters.")
        if request.headers.get(b"content-encoding", b"identity") != b"identity":
            raise Problem(415, "unsupported_encoding", "Send the lines as they are, without Content-Encoding.")
        declared = request.headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > IMPORT_BYTES_MAX:
            raise Problem(413, "body_too_large", f"The body may have {IMPORT_BYTES_MAX} bytes.", _CLOSE)
        if self._under_way >= IMPORTS_MAX:
            raise Problem(503, "unavailable", "Other imports are under way: try again.", ((b"retry-after", b"5"),))
        return key, note

    async def _import(self, request: Request, key: SecretKey, note: str | None, send: Send) -> int:
        began = await answer(IMPORT_PATH, lambda _: self._begin(key, note), request)
        if isinstance(began, Response):
            await send_response(send, began)
            return began.status
        lane, claim = began
        headers = [_NDJSON, NO_STORE, (OPERATION_HEADER, claim.operation_id.encode())]
        out = _Out(send)
        await out.start(headers)
        arriving = _Arriving(request)
        is_done = False
        try:
            await self._take_in(request, arriving, lane, out)
            is_done = True
        except _Ended as ended:
            out.write(ImportEnd(arriving.lines + 1, "ended", ended.code, ended.message))
        except ImportBroken as broken:
            out.write(ImportEnd(arriving.lines + 1, "ended", "unavailable", str(broken)))
        except Exception as error:  # noqa: BLE001 - the answer has begun, so that it must end in it
            log_fault(IMPORT_PATH, error)
            message = "A fault of ours; it has been logged."
            out.write(ImportEnd(arriving.lines + 1, "ended", "internal_error", message))
        finally:
            await arriving.close()
            with contextlib.suppress(Exception):
                await end(self._database, claim, "done" if is_done else "stopped")
            await out.end()
        return 200

    async def _begin(self, key: SecretKey, note: str | None) -> tuple[Lane, Claim]:
        workspace = self._access.workspaces[key.workspace_id]
        now = self._clock()
        parameters = ImportParameters(now)
        claim = await begin(self._database, workspace.workspace_id, key.actor, note, parameters, 0)
        sender = sender_of(workspace, key.actor, note, claim.operation_id)
        reader = Reader(None, sender, now, blocked_ids(workspace))
        return Lane(self._intake, self._database, reader, claim, 0, Position(), self._clock), claim

    async def _take_in(self, request: Request, arriving: "_Arriving", lane: Lane, out: "_Out") -> None:
        deadline = time.monotonic() + IMPORT_SECONDS_MAX
        while lines := await arriving.next(STEP_LINES_MAX):
            try:
                await self._access.authorize(request, Scope.PROFILES_WRITE)  # it may be revoked meanwhile
            except Problem as problem:
                raise _Ended(problem.code, problem.message) from problem
            for result in await lane.apply(lines):
                out.write(_view(result))
            if time.monotonic() > deadline:
                raise _Ended("import_too_long", f"An import may take {IMPORT_SECONDS_MAX:.0f} s; send the rest again.")


_CLOSE = ((b"connection", b"close"),)


class _Ended(Exception):
    """The body is not as it must be; what came before is committed."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code)
        self.code = code
        self.message = message


class _Arriving:
    """The lines of a body, as they arrive; read ahead a little while others are committed."""

    def __init__(self, request: Request) -> None:
        self.lines = 0
        self._bytes = 0
        self._number = 0
        self._rest = b""
        self._ready: deque[Line] = deque()
        self._is_last = False
        self._fault: _Ended | None = None
        self._blocks: asyncio.Queue[bytes | _Ended | None] = asyncio.Queue(BLOCKS_WAITING_MAX)
        self._task = asyncio.create_task(self._receive(request))

    async def next(self, lines_max: int) -> list[Line]:
        """Return what has arrived, at most so many lines; wait only while there is nothing at all. [] is the end.

        Raises:
            _Ended: the body is too long, too slow or cut off. All lines before that were returned.
        """
        while not self._is_last and (not self._ready or not self._blocks.empty()) and len(self._ready) < lines_max:
            self._split(await self._blocks.get())
        lines = [self._ready.popleft() for _ in range(min(lines_max, len(self._ready)))]
        if not lines and self._fault is not None:
            raise self._fault
        self.lines = lines[-1].number if lines else self.lines
        return lines

    def _split(self, block: "bytes | _Ended | None") -> None:
        if isinstance(block, _Ended):
            self._is_last, self._fault = True, block
            return
        self._is_last = block is None
        *lines, self._rest = (self._rest + (block or b"")).split(b"\n")
        if self._is_last:
            lines, self._rest = [*lines, self._rest], b""
        for line in lines:
            self._number += 1
            if not line.strip():
                continue
            if self._number > IMPORT_LINES_MAX:
                self._end("too_many_lines", f"An import may have {IMPORT_LINES_MAX} lines; send the rest again.")
                return
            if len(line) > IMPORT_LINE_BYTES_MAX:
                break
            self._ready.append(Line(self._number, [line.decode("utf-8", "surrogateescape")]))
        else:
            if len(self._rest) <= IMPORT_LINE_BYTES_MAX:
                return
        self._end("line_too_long", f"A line may have {IMPORT_LINE_BYTES_MAX} bytes; send the rest again.")

    def _end(self, code: str, message: str) -> None:
        self._is_last, self._fault = True, _Ended(code, message)

    async def _receive(self, request: Request) -> None:
        while True:
            try:
                async with asyncio.timeout(IMPORT_PAUSE_SECONDS_MAX):
                    message = await request.receive()
            except TimeoutError:
                text = f"The body paused for more than {IMPORT_PAUSE_SECONDS_MAX:.0f} s."
                await self._blocks.put(_Ended("body_too_slow", text))
                return
            if message["type"] != "http.request":
                await self._blocks.put(_Ended("body_cut_off", "The connection ended within the body."))
                return
            block = message.get("body", b"")
            self._bytes += len(block)
            if self._bytes > IMPORT_BYTES_MAX:
                text = f"The body may have {IMPORT_BYTES_MAX} bytes; send the rest again."
                await self._blocks.put(_Ended("body_too_large", text))
                return
            if block:
                await self._blocks.put(block)
            if not message.get("more_body"):
                await self._blocks.put(None)
                return

    async def close(self) -> None:
        """Receive no more."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await self._task


class _Out:
    """What goes out, sent by a task of its own: the reading of the body must not wait for the client's."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._waiting: list[bytes] = []
        self._has_more = asyncio.Event()
        self._is_last = False
        self._task: asyncio.Task[None] | None = None
        self._encoder = msgspec.json.Encoder()

    async def start(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Send the head."""
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        self._task = asyncio.create_task(self._run())

    def write(self, result: ImportResult | ImportEnd) -> None:
        """Have one line sent."""
        self._waiting.append(self._encoder.encode(result) + b"\n")
        self._has_more.set()

    async def end(self) -> None:
        """Send the rest, and the end."""
        self._is_last = True
        self._has_more.set()
        assert self._task is not None
        with contextlib.suppress(TimeoutError):  # whoever reads nothing any more
            await asyncio.wait_for(self._task, IMPORT_PAUSE_SECONDS_MAX)

    async def _run(self) -> None:
        with contextlib.suppress(OSError):  # whoever does not listen any more
            while not self._is_last or self._waiting:
                await self._has_more.wait()
                self._has_more.clear()
                lines, self._waiting = self._waiting, []
                if lines:
                    await self._send({"type": "http.response.body", "body": b"".join(lines), "more_body": True})
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})


def _view(result: Result) -> ImportResult:
    faults = [ImportFault(name, code, _HINTS.get(code)) for name, code in result.faults]
    return ImportResult(result.line.number, result.status, result.customer, result.version, faults)
