"""A request that came with an Idempotency-Key is done once, however often it is sent; every retry is answered alike.

Around whole ASGI applications, so that raw endpoints and Litestar's handlers are covered by the same code. What is kept
of a request can be read with the secret key of its caller alone, which the service does not hold: answers have personal
data in them, and that to a new secret key has the secret.
"""

import hmac
import secrets
from collections.abc import Callable, Collection
from typing import Any
from uuid import uuid4

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from litestar.types import ASGIApp, Receive, Scope, Send

from profiles.access import Access
from profiles.clock import to_text
from profiles.coalesce import Overloaded
from profiles.database import Database, Unavailable
from profiles.http import Headers, Problem, Request, Response, answer, log_fault, send_response
from profiles.store import Spreads
from profiles.views import read_bearer

IDEMPOTENCY_KEY_CHARACTERS_MAX = 255
IDEMPOTENT_BODY_BYTES_MAX = 1024 * 1024
"""A request with an Idempotency-Key is read whole before anything is done: it must be known by its content."""
IDEMPOTENT_ANSWER_BYTES_MAX = 64 * 1024
"""A longer answer goes out and is not kept; a retry is told so."""
IDEMPOTENCY_HOURS_KEPT = 24
CLAIM_SECONDS_MAX = 60
"""Without an answer by then, its worker is dead: what one request does takes seconds."""
ATTEMPTS_MAX = 5
_METHODS = frozenset({"POST", "PATCH", "DELETE"})
_HEADER = b"idempotency-key"
_CONDITIONS = (b"if-match", b"if-none-match")
_NONCE_BYTES = 12
_REPLAYED = (b"idempotent-replayed", b"true")
_RETRY = ((b"retry-after", b"1"),)
_ROUTE = "idempotency"

_kept: msgspec.msgpack.Decoder[Response | None] = msgspec.msgpack.Decoder(Response | None)


class _Claim(msgspec.Struct, frozen=True):
    """A request that this worker has to do: what its row is found by, what its answer is sealed with, its body."""

    row: dict[str, Any]
    sealing_key: bytes
    body: bytes

    def seal(self, response: Response | None) -> bytes:
        """Return the answer as it is kept; None stands for one that is too long."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + AESGCM(self.sealing_key).encrypt(nonce, msgspec.msgpack.encode(response), self._context)

    def unseal(self, sealed: bytes) -> Response | None:
        """Return the answer that was kept."""
        nonce, content = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        return _kept.decode(AESGCM(self.sealing_key).decrypt(nonce, content, self._context))

    @property
    def _context(self) -> bytes:
        context: bytes = self.row["name"] + self.row["fingerprint"]
        return context


class Idempotency:
    """The requests of one worker that came with an Idempotency-Key.

    ``clock`` gives milliseconds since 1970. What is asked of the paths in ``reading`` changes nothing, by any method.
    """

    def __init__(
        self,
        database: Database,
        access: Access,
        spreads: Spreads,
        clock: Callable[[], int],
        reading: Collection[str] = (),
    ) -> None:
        self._database = database
        self._access = access
        self._spreads = spreads
        self._clock = clock
        self._reading = reading

    def wrap(self, app: ASGIApp) -> ASGIApp:
        """Return the application with every POST, PATCH and DELETE of a secret key done once per Idempotency-Key."""

        async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
            asked: Any = scope
            headers: Headers = dict(asked["headers"]) if asked.get("method") in _METHODS else {}
            if _HEADER not in headers or asked["path"] in self._reading:
                await app(scope, receive, send)
                return
            request = Request(asked["method"], headers, scope, receive)
            claim = await answer(_ROUTE, self._claim, request)
            if claim is None:
                await app(scope, receive, send)
            elif isinstance(claim, Response):
                await send_response(send, claim)
            else:
                recording = _Recording(send)
                await app(scope, _again(claim.body, receive), recording.take)
                await self._keep(claim, recording)
                await recording.pass_on()

        return wrapped

    async def _claim(self, request: Request) -> _Claim | Response | None:
        """Return what is to be done, or what was answered before; None if no secret key in force came along."""
        try:
            key = await self._access.authenticate(request)
        except Problem:
            return None  # the endpoint has its own word for that
        name = request.headers[_HEADER]
        if not (0 < len(name) <= IDEMPOTENCY_KEY_CHARACTERS_MAX and all(0x21 <= byte <= 0x7E for byte in name)):
            message = f"An Idempotency-Key has 1 to {IDEMPOTENCY_KEY_CHARACTERS_MAX} visible ASCII characters."
            raise Problem(400, "invalid_idempotency_key", message)
        body = await request.body(IDEMPOTENT_BODY_BYTES_MAX)
        secret = (read_bearer(request) or "").encode()
        digest = hmac.digest(_derived(secret, b"name"), name, "sha256")
        now = self._clock()
        row = {
            "bucket": self._spreads.bucket(key.workspace_id, digest.hex()),
            "workspace_id": key.workspace_id,
            "key_id": key.key_id,
            "name": digest,
            "fingerprint": hmac.digest(_derived(secret, b"request"), _identifying(request, body), "sha256"),
            "claim_id": str(uuid4()),
            "now": to_text(now),
            "expired": to_text(now - IDEMPOTENCY_HOURS_KEPT * 3_600_000),
            "lapsed": to_text(now - CLAIM_SECONDS_MAX * 1000),
        }
        claim = _Claim(row, _derived(secret, b"answer"), body)
        for _ in range(ATTEMPTS_MAX):
            if await self._database.fetch("profiles", "claim_request", row):
                return claim
            held = await self._database.fetch("profiles", "find_request", row)
            if held:
                return _answered(claim, *held[0])
        raise Unavailable("claimed and released by turns")

    async def _keep(self, claim: _Claim, recording: "_Recording") -> None:
        """Keep the answer, before the caller has it; what the caller is asked to try again is forgotten."""
        try:
            if recording.status >= 500 or recording.status == 429:
                await self._database.fetch("profiles", "release_request", claim.row)
            else:
                sealed = claim.seal(recording.response())
                await self._database.fetch("profiles", "answer_request", {**claim.row, "answer": sealed})
        except (Unavailable, Overloaded):
            pass  # it is done, and the caller must know; a retry will find the claim lapsed
        except Exception as error:  # noqa: BLE001 - the same
            log_fault(_ROUTE, error)


def _answered(claim: _Claim, claim_id: str, fingerprint: bytes, sealed: bytes | None) -> _Claim | Response:
    if claim_id == claim.row["claim_id"]:
        return claim  # ours after all: the connection was lost at the commit
    if fingerprint != claim.row["fingerprint"]:
        raise Problem(
            422, "idempotency_key_reused", "This Idempotency-Key came with another request before: take a new one."
        )
    if sealed is None:
        raise Problem(
            409, "idempotency_in_progress", "The first request with this Idempotency-Key is not answered yet.", _RETRY
        )
    if not sealed:
        message = "It was done before; its answer was removed when a customer was erased: look it up."
        raise Problem(409, "idempotency_answer_erased", message)
    response = claim.unseal(sealed)
    if response is None:
        raise Problem(
            409, "idempotency_answer_too_large", "It was done before; its answer was too large to be kept: look it up."
        )
    return msgspec.structs.replace(response, headers=(*response.headers, _REPLAYED))


def _derived(secret: bytes, purpose: bytes) -> bytes:
    """Return a key of its own for each purpose; a secret has 256 random bits, so one round is enough."""
    return hmac.digest(secret, b"identity/idempotency/" + purpose, "sha256")


def _identifying(request: Request, body: bytes) -> bytes:
    """Return everything that makes a request another one."""
    raw: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    conditions = [request.headers.get(name) for name in _CONDITIONS]
    return msgspec.msgpack.encode(
        [request.method, raw.partition(b"?")[0], request.scope["query_string"], conditions, body]
    )


def _again(body: bytes, receive: Receive) -> Receive:
    """Return what gives the body that was read already, and then what comes after it."""
    is_read = False

    async def again() -> Any:
        nonlocal is_read
        if is_read:
            return await receive()
        is_read = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


class _Recording:
    """An answer, held back until it is kept. One that is too long goes out as it comes."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._messages: list[Any] = []
        self._body_bytes = 0
        self._is_too_long = False
        self.status = 500

    async def take(self, message: Any) -> None:
        """Take a message of the application."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self._body_bytes += len(message.get("body", b""))
        self._messages.append(message)
        if self._body_bytes > IDEMPOTENT_ANSWER_BYTES_MAX:
            self._is_too_long = True
            await self.pass_on()

    def response(self) -> Response | None:
        """Return the answer, or None if it is too long."""
        if self._is_too_long:
            return None
        start, *parts = self._messages
        dropped = (b"content-length", b"connection")
        headers = tuple((bytes(n), bytes(value)) for n, value in start["headers"] if n.lower() not in dropped)
        body = b"".join(part.get("body", b"") for part in parts)
        return Response(self.status, body, headers)

    async def pass_on(self) -> None:
        """Let out what is held back."""
        messages, self._messages = self._messages, []
        for message in messages:
            await self._send(message)
