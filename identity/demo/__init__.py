"""The demo shop: two browsers of one member on one page, and beside them what the service makes of what they say.

It shows what is held without asking for a key, so it is careful with whom it answers and with what:

- only where the demo is on, which is the default with the embedded servers alone, and only to this machine: the
  connection, the Host (a page of another name that resolves to here would be read by that page's scripts) and no
  trace of a proxy (behind one on this machine, the whole world connects from here);
- only what is held of the demo's own sample customers, whose ids end in random digits that one browser made and no
  list tells. Neither an admin key nor anybody else's profile is within reach of the page.
"""

from html import escape
from ipaddress import ip_address
from pathlib import Path
from re import fullmatch
from typing import Any, Protocol

import msgspec
from litestar import Request as LitestarRequest
from litestar import Response as LitestarResponse
from litestar import get
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler

from identity.admin.ledger import Ledger
from identity.channels import Channel, Channels, is_loopback
from identity.events.identity import SignedIdentity
from identity.footprint import Page
from identity.footprint_routes import FootprintEvent, FootprintRoutes
from identity.gate import Gate
from profiles.database import Database
from profiles.http import Problem, Request
from profiles.routes import CustomerRoutes
from profiles.store import Spreads
from profiles.views import CustomerView, MergeView

DEMO_PATH = "/demo"
FOLDER = Path(__file__).parent
SAMPLES = ("ana", "bo")
DEVICES = ("laptop", "phone")
_RUN = "[0-9a-f]{16}"
_LISTED = 20
_TRACES = (b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip")
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    ),
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}


class Parts(Protocol):
    """What of a service is needed here."""

    is_demo: bool
    database: Database
    spreads: Spreads
    channels: Channels
    gate: Gate
    customers: CustomerRoutes
    footprints: FootprintRoutes


class Sample(msgspec.Struct, frozen=True):
    """A sample customer: what is held, and the newest merges and events."""

    name: str
    customer: CustomerView
    merges: list[MergeView]
    events: list[FootprintEvent]


def demo_handlers(service: Parts) -> list[ControllerRouterHandler]:
    """Return the handlers below ``DEMO_PATH``. They answer 404 where there is no demo."""
    demo = _Demo(service)

    @get(DEMO_PATH, status_code=200)
    async def page(request: LitestarRequest[Any, Any, Any]) -> LitestarResponse[bytes]:
        return await demo.answer(_request(request), "demo.html")

    @get(f"{DEMO_PATH}/{{name:str}}", status_code=200)
    async def part(request: LitestarRequest[Any, Any, Any], name: FromPath[str]) -> LitestarResponse[bytes]:
        return await demo.answer(_request(request), name)

    return [page, part]


class _Demo:
    """What the demo consists of: files of its folder, the shop with a device and the write key in it, and the told."""

    def __init__(self, service: Parts) -> None:
        self._service = service
        self._ledger = Ledger(service.database, service.spreads)
        self._files = {path.name: path.read_bytes() for path in FOLDER.iterdir() if path.suffix in _TYPES}

    async def answer(self, request: Request, name: str) -> LitestarResponse[bytes]:
        """Return a part of the demo by its name.

        Raises:
            Problem: 404, there is no such part, no demo, or none for who asks.
        """
        if not self._service.is_demo or not is_local(request):
            raise _nothing()
        if name == "told":
            told = await self._told(await self._channel(), request.query().get("run", ""))
            return LitestarResponse(msgspec.json.encode(told), headers=_HEADERS, media_type="application/json")
        body = self._files.get(name)
        if body is None:
            raise _nothing()
        if name == "shop.html":
            device = request.query().get("device")
            words = {"device": device if device in DEVICES else DEVICES[0], "key": (await self._channel()).write_key}
            for word, value in words.items():
                body = body.replace(b"{%s}" % word.encode(), escape(value).encode())
        return LitestarResponse(body, headers=_HEADERS, media_type=_TYPES[Path(name).suffix])

    async def _channel(self) -> Channel:
        """Return the channel that the shop sends to: the first that takes pages of this machine as they are."""
        await self._service.gate.channel("")
        usable = [
            channel
            for channel in self._service.channels.in_force()
            if channel.allows("http://localhost")
            and channel.website_tracking
            and channel.sender.signed_identity is not SignedIdentity.REQUIRED
        ]
        if not usable:
            raise _nothing()
        return min(usable, key=lambda channel: (channel.workspace_id, channel.channel_id))

    async def _told(self, channel: Channel, run: str) -> list[Sample]:
        """Return the sample customers of one run that exist by now."""
        if not fullmatch(_RUN, run):
            raise _nothing()
        workspace_id, samples = channel.workspace_id, []
        for name in SAMPLES:
            customer_id = f"demo-{name}-{run}"
            customer = await self._service.customers.view(workspace_id, customer_id)
            if customer is None:
                continue
            merges = await self._ledger.list_merges(workspace_id, {"customer_id": customer_id, "limit": str(_LISTED)})
            page = await self._service.footprints.of_customer(workspace_id, customer_id, Page(limit=_LISTED + 1))
            samples.append(Sample(name, customer, merges.items, page.items))
        return samples


def is_local(request: Request) -> bool:
    """Return whether a request was made on this machine, by the name of this machine, and by nobody in between."""
    client, host = request.scope.get("client"), request.headers.get(b"host", b"").decode("latin-1")
    if client is None or any(name in request.headers for name in _TRACES):
        return False
    try:
        address = ip_address(client[0])
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback and is_loopback(f"http://{host}")


def _nothing() -> Problem:
    return Problem(404, "not_found", "There is nothing at this address.")


def _request(request: LitestarRequest[Any, Any, Any]) -> Request:
    scope: Any = request.scope
    return Request(scope["method"], dict(scope["headers"]), scope, request.receive)
