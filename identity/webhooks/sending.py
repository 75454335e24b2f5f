"""One message to one address, and nothing but that: no redirect, no proxy, no address inside the own network.

A name is resolved anew for every message, what it resolves to is checked, and the connection goes to the very address
that was checked, so that a name which means another address a moment later leads nowhere.
"""

import asyncio
import contextlib
import ipaddress
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from enum import StrEnum
from functools import cache
from urllib.parse import urlsplit

import certifi
import httpx
import msgspec

POST_SECONDS_MAX = 10.0
"""From the look-up of the name to the head of the answer."""
ANSWER_BYTES_MAX = 16 * 1024
"""What of an answer's body is read, to use the connection again; it is kept nowhere."""
ANSWER_SECONDS_MAX = 1.0
URL_CHARACTERS_MAX = 500

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Gives the addresses of a host, as text."""

_INSIDE = tuple(
    map(
        ipaddress.ip_network,
        (
            "192.0.0.0/24",  # of protocols themselves; Oracle's cloud has the keys of its machines there
            "168.63.129.16/32",  # Azure's
            "::/96", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/32", "2002::/16", "192.88.99.0/24",  # IPv4 wrapped up
            "fec0::/10",  # what private addresses were once
        ),
    )
)  # fmt: skip
"""What Python does not call private, all of it or in all versions, and leads inside all the same."""


class Fault(StrEnum):
    """Why a message did not arrive."""

    REFUSED_ADDRESS = "refused_address"
    NOT_FOUND = "not_found"
    NOT_CONNECTED = "not_connected"
    NOT_TRUSTED = "not_trusted"
    TIMED_OUT = "timed_out"
    ANSWERED = "answered"
    BROKEN_ANSWER = "broken_answer"


FAULT_HINTS: dict[Fault, str] = {
    Fault.REFUSED_ADDRESS: "The name leads to an address that is not of the public Internet.",
    Fault.NOT_FOUND: "The name leads to no address.",
    Fault.NOT_CONNECTED: "Nothing takes connections there.",
    Fault.NOT_TRUSTED: "Its certificate is not valid for the name, or not trusted.",
    Fault.TIMED_OUT: f"It did not answer within {POST_SECONDS_MAX:.0f} s.",
    Fault.ANSWERED: "It answered with a status other than 200 to 299; redirects are not followed.",
    Fault.BROKEN_ANSWER: "What it answered is no HTTP.",
}


class Outcome(msgspec.Struct, frozen=True):
    """What became of one try. ``answer`` is the HTTP status, if there was one."""

    answer: int | None
    fault: Fault | None
    milliseconds: int

    @property
    def is_delivered(self) -> bool:
        """Whether the receiver has it."""
        return self.fault is None


class WrongUrlError(Exception):
    """The address cannot be a webhook's; the message says why."""


class _RefusedError(Exception):
    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.fault = fault


def is_public(address: Address) -> bool:
    """Return whether an address is one of the public Internet."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address.scope_id is not None:
            return False
    kinds = (
        address.is_private, address.is_loopback, address.is_link_local, address.is_multicast, address.is_reserved,
        address.is_unspecified,
    )  # fmt: skip
    return address.is_global and not any(kinds) and not any(address in network for network in _INSIDE)


def check_url(url: str, *, allow_private: bool) -> None:
    """Check the form of a webhook's address.

    Raises:
        WrongUrlError: not https, or whatever else is wrong with it.
    """
    schemes = ("https", "http") if allow_private else ("https",)
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname
        httpx.URL(url)
    except (ValueError, httpx.InvalidURL):
        raise WrongUrlError("This is no URL.") from None
    if len(url) > URL_CHARACTERS_MAX or not url.isascii() or not url.isprintable() or " " in url:
        raise WrongUrlError(f"A URL has up to {URL_CHARACTERS_MAX} ASCII characters.")
    if parts.scheme not in schemes or not host or port == 0:
        raise WrongUrlError(f"A URL begins with {' or '.join(f'{scheme}://' for scheme in schemes)} and a host.")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise WrongUrlError("A URL has neither a user nor a fragment: messages are proved by their signature.")


async def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a host, as the system's resolver gives them."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Sender:
    """Posts to one URL, over connections of its own: they were made for this host's name alone."""

    def __init__(self, url: str, *, allow_private: bool, resolve: Resolve = resolve) -> None:
        self._url = httpx.URL(url)
        self._allow_private = allow_private
        self._resolve = resolve
        self._client = httpx.AsyncClient(
            verify=_trusted(),
            trust_env=False,
            follow_redirects=False,
            timeout=POST_SECONDS_MAX,
            headers={"user-agent": "identity-webhooks", "content-type": "application/json"},
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def check(self) -> Fault | None:
        """Return why nothing could be sent there now, as far as the name tells."""
        try:
            async with asyncio.timeout(POST_SECONDS_MAX):
                await self._address()
        except _RefusedError as refused:
            return refused.fault
        except TimeoutError:
            return Fault.TIMED_OUT
        return None

    async def post(self, body: bytes, headers: dict[str, str]) -> Outcome:
        """Post a message and return what became of it. Never raises for what the receiver does."""
        started = time.monotonic()
        answer: int | None = None
        fault: Fault | None = None
        try:
            async with asyncio.timeout(POST_SECONDS_MAX):
                answer = await self._post(body, headers)
            fault = None if 200 <= answer <= 299 else Fault.ANSWERED
        except _RefusedError as refused:
            fault = refused.fault
        except (TimeoutError, httpx.TimeoutException):
            fault = Fault.TIMED_OUT
        except httpx.ConnectError as error:
            fault = Fault.NOT_TRUSTED if _is_about_trust(error) else Fault.NOT_CONNECTED
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError):
            fault = Fault.BROKEN_ANSWER
        return Outcome(answer, fault, int((time.monotonic() - started) * 1000))

    async def _post(self, body: bytes, headers: dict[str, str]) -> int:
        address = await self._address()
        request = self._client.build_request(
            "POST",
            self._url.copy_with(host=address),
            content=body,
            headers={**headers, "host": self._url.netloc.decode("ascii")},
            extensions={"sni_hostname": self._url.raw_host.decode("ascii")},
        )
        response = await self._client.send(request, stream=True)
        try:
            # The head has said all. A short body is read to its end, which leaves the connection fit for more.
            with contextlib.suppress(TimeoutError, httpx.HTTPError):
                async with asyncio.timeout(ANSWER_SECONDS_MAX):
                    size = 0
                    async for chunk in response.aiter_raw():
                        size += len(chunk)
                        if size > ANSWER_BYTES_MAX:
                            break
        finally:
            await response.aclose()
        return response.status_code

    async def _address(self) -> str:
        host = self._url.raw_host.decode("ascii")
        try:
            found = await self._resolve(host, self._url.port or (443 if self._url.scheme == "https" else 80))
        except (OSError, UnicodeError) as error:
            raise _RefusedError(Fault.NOT_FOUND) from error
        if not found:
            raise _RefusedError(Fault.NOT_FOUND)
        if not self._allow_private and not all(is_public(ipaddress.ip_address(address)) for address in found):
            raise _RefusedError(Fault.REFUSED_ADDRESS)
        return found[0]


@cache
def _trusted() -> ssl.SSLContext:
    """Return what is trusted: the certificates of this system, and those that came with the client."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def _is_about_trust(error: BaseException) -> bool:
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLError):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
