"""Head and body of an answer leave in one piece: one system call here, one wake-up of whoever waits there."""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

CORKED_BYTES_MAX = 64 * 1024
"""Beyond this nothing is held back, so that a slow reader is felt by whoever writes."""


class CorkedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP, whose writes within one turn of the event loop go out together."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a new connection."""
        super().connection_made(Corked(transport, self.loop))  # type: ignore[arg-type]


class Corked:
    """A transport, as far as uvicorn's HTTP uses one."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held: list[bytes] = []
        self._held_bytes = 0
        self.get_extra_info = transport.get_extra_info
        self.is_closing = transport.is_closing
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading

    def write(self, data: bytes) -> None:
        """Write at the end of this turn, or now if too much is held."""
        if not self._held:
            self._loop.call_soon(self._flush)
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes > CORKED_BYTES_MAX:
            self._flush()

    def close(self) -> None:
        """Close when everything is written."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._held:
            self._transport.write(b"".join(self._held))
            self._held.clear()
            self._held_bytes = 0
