"""What a browser talks to in these tests: websites of any content, and a service that fails in every way."""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any, NamedTuple, Self

from identity.sdk import PRESENT

WAIT_SECONDS_MAX = 20.0


class Answer(NamedTuple):
    """One answer. ``seconds`` passes before it."""

    status: int = 200
    body: bytes = b'{"status":"ok"}'
    headers: Mapping[str, str] = MappingProxyType({})
    seconds: float = 0.0


class Posted(NamedTuple):
    """One request that came in: the path, what the body says, and the headers."""

    path: str
    body: Any
    headers: dict[str, str]


OK = Answer()
CORS = {"access-control-allow-origin": "*", "access-control-expose-headers": "retry-after"}


class StandIn(contextlib.AbstractContextManager["StandIn"]):
    """A web server of its own on a free port: an origin. ``pages`` are GET, ``answer`` is what every POST gets."""

    def __init__(self) -> None:
        self.pages: dict[str, tuple[bytes, dict[str, str]]] = {}
        self.posted: list[Posted] = []
        self.answer: Callable[[Posted], Answer] = lambda _: OK
        self.cors = CORS
        self.preflights = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body, headers = outer.pages.get(self.path.partition("?")[0], (b"", {}))
                self._send(Answer(200, body, {"content-type": "text/html; charset=utf-8", **headers}))

            def do_OPTIONS(self) -> None:
                outer.preflights += 1
                self._send(Answer(204, b"", outer.cors))

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers.get("content-length", "0")))
                posted = Posted(self.path, json.loads(raw), {k.lower(): v for k, v in self.headers.items()})
                outer.posted.append(posted)
                answer = outer.answer(posted)
                time.sleep(answer.seconds)
                with contextlib.suppress(OSError):
                    self._send(answer._replace(headers={**outer.cors, **answer.headers}))

            def _send(self, answer: Answer) -> None:
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(answer.body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(answer.body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.serve_sdk()

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def serve_sdk(self) -> None:
        """Serve the present SDK, under its pinned path too."""
        headers = {"content-type": "text/javascript", "access-control-allow-origin": "*"}
        self.pages |= dict.fromkeys(("/sdk.js", PRESENT.pinned_path), (PRESENT.body, headers))

    def page(self, path: str, html: str, **headers: str) -> str:
        """Serve a page and return its address."""
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        self.pages[path] = (f"<!doctype html><meta charset=utf-8><title>Shop</title>{html}".encode(), told)
        return self.url + path

    @property
    def identities(self) -> list[Any]:
        """The customers whom the visitor was said to be, in the order of arrival."""
        return [posted.body.get("customer_id") for posted in self.posted if posted.path == "/api/v1/authenticate"]

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events that came, in the order of arrival."""
        return [event for p in self.posted if p.path == "/api/v1/events" for event in p.body["events"]]


def tag(service: str, attributes: str = "", path: str = "/sdk.js") -> str:
    """Return the script tag of the README."""
    return f'<script async src="{service}{path}" data-write-key="wk_test" {attributes}></script>'
