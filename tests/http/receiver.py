"""A receiver of webhooks: a real HTTP server in this process, which answers as a test wants."""

import contextlib
import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self

PATIENCE_SECONDS = 30.0


class Received(NamedTuple):
    """One message as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def data(self) -> Any:
        return json.loads(self.body)["data"]


Answer = Callable[["Handler", Received], None]


class Handler(BaseHTTPRequestHandler):
    """Keeps what comes, and lets the receiver's ``answer`` answer."""

    protocol_version = "HTTP/1.1"
    receiver: "Receiver"

    def do_POST(self) -> None:
        length = int(self.headers["content-length"])
        headers = {name.lower(): value for name, value in self.headers.items()}
        received = Received(self.path, headers, self.rfile.read(length))
        with self.receiver.lock:
            self.receiver.received.append(received)
        with contextlib.suppress(OSError):
            self.receiver.answer(self, received)

    def respond(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def takes(handler: Handler, _: Received) -> None:
    """Answer as a receiver that is well."""
    handler.respond(204)


class Receiver(contextlib.AbstractContextManager["Receiver"]):
    """Listens on 127.0.0.1; ``answer`` may be changed at any time."""

    def __init__(self, answer: Answer = takes) -> None:
        self.answer = answer
        self.received: list[Received] = []
        self.lock = threading.Lock()
        handler = type("OwnHandler", (Handler,), {"receiver": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        self.port = self._server.server_port

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=[0.05], daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def wait_for(self, is_enough: Callable[[list[Received]], bool]) -> list[Received]:
        """Return what was received once that is enough."""
        wait_until(lambda: list(self.received), is_enough)
        return list(self.received)


def wait_until(ask: Callable[[], Any], is_enough: Callable[[Any], bool], seconds: float = PATIENCE_SECONDS) -> Any:
    """Ask until the answer is the one waited for, and return it."""
    deadline = time.monotonic() + seconds
    while not is_enough(answer := ask()):
        assert time.monotonic() < deadline, f"still {answer!r}"
        time.sleep(0.05)
    return answer
