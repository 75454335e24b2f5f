"""The HTTP edge of Croct's SDK, which is told of this service by one setting, ``baseEndpointUrl``.

Its app id is a channel's id. Nothing but a wrong app id, origin or signature is an error to it: an error that is final
keeps its tab from sending anything else.
"""

import re
from collections.abc import Callable
from uuid import uuid4

from identity.channels import Channel
from identity.events.identity import SignedIdentity
from identity.gate import Gate, observe
from identity.intake import Intake
from identity.protocols.croct import BEACON_BYTES_MAX, Sending, read_beacon, read_client_id
from identity.tokens import TOKEN_FAULT_HINTS, TokenFault, find_fault, read_token
from identity.visitors import read_known_customer_id, read_visitor_id
from profiles.http import NO_STORE, Endpoint, Problem, Request, Response

CLIENT_PATH = "/client/web"
TRACK_PATH = f"{CLIENT_PATH}/track"
ALLOWED_HEADERS = b"content-type, x-app-id, x-client-id, x-client-library, x-token"

_ECHOED = re.compile(r'[\w"{}.:-]{1,128}', re.ASCII)
"""A client id that is given back: as the SDK has it, whatever its form."""
_TAKEN = Response(200, b'{"status":"ok"}')
_TEXT = (b"content-type", b"text/plain; charset=utf-8")


class CroctRoutes:
    """What the SDK calls. ``clock`` gives milliseconds since 1970."""

    def __init__(self, intake: Intake, gate: Gate, clock: Callable[[], int]) -> None:
        self._intake = intake
        self._gate = gate
        self._clock = clock

    def endpoints(self) -> dict[str, Endpoint]:
        """Return the endpoints by route, fit for pages of other origins."""

        def posted(route: str, endpoint: Endpoint) -> Endpoint:
            return self._gate.for_browsers(route, endpoint, allowed_headers=ALLOWED_HEADERS)

        cid, path = f"{CLIENT_PATH}/cid", CLIENT_PATH
        return {
            cid: self._gate.for_browsers(
                cid, self.cid, methods=b"GET", allowed_headers=ALLOWED_HEADERS, credentials=True
            ),
            TRACK_PATH: posted(TRACK_PATH, self.track),
            **{route: posted(route, self.decline) for route in (f"{path}/evaluate", f"{path}/content")},
        }

    async def cid(self, request: Request) -> Response:
        """``GET /client/web/cid``: a new client id, or the one that the SDK has, as it is.

        The SDK asks with nearly every event, and would replace its id by another answer. Nothing is looked up.
        """
        if request.method not in ("GET", "HEAD"):
            raise Problem(405, "method_not_allowed", "Use GET.", ((b"allow", b"GET, HEAD, OPTIONS"),))
        held = request.query().get("cid", "")
        is_usable = _ECHOED.fullmatch(held) is not None and read_visitor_id(read_client_id(held)) is not None
        client_id = held if is_usable else uuid4().hex
        # Bare text: the SDK keeps what it gets, JSON's quotes included.
        return Response(200, client_id.encode(), (_TEXT, NO_STORE))

    async def track(self, request: Request) -> Response:
        """``POST /client/web/track``: one beacon. 200 also for what is refused; admins see why."""
        _require_post(request)
        body = await request.body(BEACON_BYTES_MAX)
        app_id = _header(request, b"x-app-id") or ""
        channel = await self._gate.channel_by_id(app_id.strip().lower())
        if channel is None:
            raise Problem(401, "unknown_app_id", "X-App-Id is the id of no channel in force.")
        self._gate.admit(channel, request)
        received_at = self._clock()
        sending, fault = _read_sending(request, channel, received_at)
        events = read_beacon(body, sending, channel.sender, received_at, self._gate.blocked(channel))
        observe(channel, events, fault)
        await self._intake.take(TRACK_PATH, events)
        return _TAKEN

    async def decline(self, request: Request) -> Response:
        """``POST /client/web/evaluate`` and ``/content``: not of this service; the SDK goes on with its fallbacks."""
        _require_post(request)
        raise Problem(501, "not_provided", "This service evaluates no queries and holds no content.")


def _require_post(request: Request) -> None:
    if request.method != "POST":
        raise Problem(405, "method_not_allowed", "Use POST.", ((b"allow", b"POST, OPTIONS"),))


def _header(request: Request, name: bytes) -> str | None:
    value = request.headers.get(name)
    return value.decode("latin-1") if value else None


def _read_sending(request: Request, channel: Channel, now: int) -> tuple[Sending, TokenFault | None]:
    """Return what the headers tell, and why the token, if there is one, proves nothing.

    Raises:
        Problem: 401, the channel wants signed identities and this token is forged, or of another app. One that has
            expired, or whose key is gone, only proves nothing: the SDK sends old ones, and an error would end its tab.
    """
    client_id, text = _header(request, b"x-client-id"), _header(request, b"x-token")
    policy = channel.sender.signed_identity
    if text is None:
        return Sending(client_id), TokenFault.UNSIGNED
    token = read_token(text)
    if token is None:
        fault: TokenFault | None = TokenFault.MALFORMED
    elif not channel.sender.looks_at_tokens:
        fault = TokenFault.UNSIGNED
    else:
        fault = find_fault(token, channel.identity_keys, now, app_id=channel.channel_id)
    if policy is SignedIdentity.REQUIRED and fault in (TokenFault.WRONG_SIGNATURE, TokenFault.OTHER_APP):
        assert fault is not None
        raise Problem(401, "invalid_token", TOKEN_FAULT_HINTS[fault])
    subject = token.subject if token is not None else None
    verified = read_known_customer_id(subject) if fault is None else None
    return Sending(client_id, subject, verified), fault
