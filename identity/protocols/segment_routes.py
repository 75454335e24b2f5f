"""The HTTP edge of the SDKs of Segment and RudderStack, which are told of this service by one setting, the host.

The answer is exactly 200 to whatever the protocol allows: some SDKs take even 204 for a failure, and none could mend a
message that is refused.
"""

import re
import zlib
from base64 import b64decode
from collections.abc import Callable
from urllib.parse import unquote_to_bytes

from identity.channels import is_loopback
from identity.gate import Gate
from identity.intake import Intake
from identity.protocols.segment import BATCH_BYTES_MAX, MESSAGE_TYPES, MESSAGES_MAX, Arrival, is_plain, read_messages
from identity.tolerant import Members, read_array, read_object, read_value
from profiles.clock import read_time
from profiles.http import Endpoint, Problem, Request, Response, json_response

SEGMENT_PATH = "/v1"
PROJECTS_PATH = f"{SEGMENT_PATH}/projects"
SETTINGS_PATH = f"{PROJECTS_PATH}/{{write_key}}/settings"
METRICS_PATH = f"{SEGMENT_PATH}/m"
MESSAGE_PATHS = {f"{SEGMENT_PATH}/{name}": kind for kind in MESSAGE_TYPES for name in dict.fromkeys((kind, kind[0]))}
"""Each type of message has an address; the browser's SDK knows it by its first letter."""
BATCH_PATHS = tuple(f"{SEGMENT_PATH}/{name}" for name in ("batch", "b", "import"))
ALLOWED_HEADERS = (
    b"authorization, content-type, anonymousid, sentat, x-write-key, x-retry-count, rsa-recovered, rsa-retry-attempt, "
    b"rsa-retry-reason, rsa-since-first-attempt, rsa-since-last-attempt"
)
"""Those of a second attempt too: a browser that may not send them keeps every event that failed once for good."""

_SUCCESS = Response(200, b'{"success":true}')
_SETTINGS = re.compile(rb"/([^/]+)/settings/?")
_HOST = re.compile(r"[\w.-]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?", re.ASCII)
_GZIP_MAGIC = b"\x1f\x8b"
_WINDOW_BITS = {b"gzip": 31, b"deflate": 15}


class SegmentRoutes:
    """What the SDKs call. ``clock`` gives milliseconds since 1970."""

    def __init__(self, intake: Intake, gate: Gate, clock: Callable[[], int]) -> None:
        self._intake = intake
        self._gate = gate
        self._clock = clock

    def endpoints(self) -> dict[str, Endpoint]:
        """Return the endpoints by route, fit for pages of other origins."""
        posted: dict[str, Endpoint] = {
            **{route: self._taking(route, kind) for route, kind in MESSAGE_PATHS.items()},
            **{route: self._taking(route, None) for route in BATCH_PATHS},
            METRICS_PATH: self.metrics,
        }
        return {
            **{
                route: self._gate.for_browsers(route, endpoint, allowed_headers=ALLOWED_HEADERS)
                for route, endpoint in posted.items()
            },
            PROJECTS_PATH: self._gate.for_browsers(
                SETTINGS_PATH, self.settings, methods=b"GET", allowed_headers=ALLOWED_HEADERS
            ),
        }

    def _taking(self, route: str, kind: str | None) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            return await self.take(request, route, kind)

        return endpoint

    async def take(self, request: Request, route: str, kind: str | None) -> Response:
        """``POST /v1/…``: one message of the type ``kind``, or a batch of messages of any type."""
        _require_post(request)
        body = inflate(
            await request.body(BATCH_BYTES_MAX), request.headers.get(b"content-encoding", b""), BATCH_BYTES_MAX
        )
        envelope = read_object(body)
        if envelope is None:
            raise Problem(400, "not_a_json_object", "The body must be one JSON object.")
        channel = self._gate.admit(await self._gate.channel(read_write_key(request, envelope)), request)
        arrival = Arrival(
            sender=channel.sender,
            received_at=self._clock(),
            sent_at=_read_sent_at(request, envelope),
            blocked=self._gate.blocked(channel),
            kind=kind,
            is_plain=is_plain(body),
        )
        events = read_messages([body] if kind is not None else _batch(envelope), arrival)
        await self._intake.take(route, events)
        return _SUCCESS

    async def metrics(self, request: Request) -> Response:
        """``POST /v1/m``: what the browser's SDK tells of itself is of no use here."""
        _require_post(request)
        return _SUCCESS

    async def settings(self, request: Request) -> Response:
        """``GET /v1/projects/{write_key}/settings``: what the browser's SDK asks before it starts; answered with this
        host as the one to send to."""
        if request.method not in ("GET", "HEAD"):
            raise Problem(405, "method_not_allowed", "Use GET.", ((b"allow", b"GET, HEAD, OPTIONS"),))
        raw: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
        match = _SETTINGS.fullmatch(raw.partition(b"?")[0][len(PROJECTS_PATH) :])
        if match is None:
            raise Problem(404, "not_found", "There is nothing at this address.")
        write_key = unquote_to_bytes(match[1]).decode("utf-8", "replace")
        self._gate.admit(await self._gate.channel(write_key), request)
        host = request.headers.get(b"host", b"").decode("latin-1")
        sending = (
            {"apiHost": host + SEGMENT_PATH, "protocol": _protocol(request, host)} if _HOST.fullmatch(host) else {}
        )
        return json_response(
            {
                "integrations": {"Segment.io": {"apiKey": write_key, **sending}},
                "plan": {},
                "metrics": {"sampleRate": 0},
            }
        )


def inflate(body: bytes, encoding: bytes, bytes_max: int) -> bytes:
    """Return the body as it was before it was compressed; one that is not compressed is returned as it is.

    Gzip is known by its first bytes, whatever the header says: no JSON begins like it, and a proxy on the way may have
    inflated a body or forgotten to name its encoding.

    Raises:
        Problem: 413, it would be larger than ``bytes_max``; 400, it is damaged.
    """
    name = b"gzip" if body.startswith(_GZIP_MAGIC) else encoding.strip().lower()
    if name not in _WINDOW_BITS or (name == b"gzip" and not body.startswith(_GZIP_MAGIC)):
        return body
    decompressor = zlib.decompressobj(_WINDOW_BITS[name])
    try:
        inflated = decompressor.decompress(body, bytes_max + 1)
    except zlib.error as error:
        raise Problem(400, "invalid_encoding", "The body is not what its Content-Encoding says.") from error
    if len(inflated) > bytes_max:
        raise Problem(413, "body_too_large", f"The body may have {bytes_max} bytes, inflated.")
    if not decompressor.eof or decompressor.unused_data:
        raise Problem(400, "invalid_encoding", "The compressed body is cut off, or something comes after it.")
    return inflated


def read_write_key(request: Request, envelope: Members) -> str:
    """Return the write key: of the header X-Write-Key, of Basic authentication (its user), or ``writeKey`` of the body.

    Raises:
        Problem: 401, none of these is there.
    """
    key = request.headers.get(b"x-write-key", b"").decode("latin-1") or _basic_user(request)
    if not key and "writeKey" in envelope:
        sent = read_value(envelope["writeKey"])
        key = sent if isinstance(sent, str) else ""
    if not key:
        message = "Send the channel's write key as the user of Basic authentication, or as writeKey in the body."
        raise Problem(401, "missing_key", message)
    return key


def _basic_user(request: Request) -> str:
    scheme, _, value = request.headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() != b"basic":
        return ""
    try:
        return b64decode(value.strip()).partition(b":")[0].decode()
    except ValueError:
        return ""


def _batch(envelope: Members) -> list[bytes]:
    """Return the messages of a batch, each still raw."""
    sent = envelope.get("batch")
    items = read_array(sent) if sent is not None else None
    if items is None:
        raise Problem(400, "invalid_batch", '"batch" must be a list.')
    if len(items) > MESSAGES_MAX:
        raise Problem(413, "too_many_messages", f"One request may carry {MESSAGES_MAX} messages.")
    return list(items)


def _read_sent_at(request: Request, envelope: Members) -> int | None:
    sent = read_time(read_value(envelope["sentAt"])) if "sentAt" in envelope else None
    return read_time(request.headers.get(b"sentat", b"").decode("latin-1")) if sent is None else sent


def _require_post(request: Request) -> None:
    if request.method != "POST":
        raise Problem(405, "method_not_allowed", "Use POST.", ((b"allow", b"POST, OPTIONS"),))


def _protocol(request: Request, host: str) -> str:
    """Return by which scheme the browser came: as a proxy tells, or as it must be for the page that asks.

    A page that was loaded by https sends by https alone, but to this machine itself.
    """
    if request.headers.get(b"origin", b"").startswith(b"https://") and not is_loopback(f"http://{host}"):
        return "https"
    forwarded = request.headers.get(b"x-forwarded-proto", b"").decode("latin-1").lower()
    if forwarded in ("http", "https"):
        return forwarded
    scheme: str = request.scope.get("scheme", "http")
    return scheme
