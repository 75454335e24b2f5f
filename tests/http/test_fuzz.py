"""Whatever bytes arrive, the answer is one of the protocol, no neighbour is lost, and what was kept is clean."""

import asyncio
import contextlib
import http.client
import itertools
import json
import random
import re
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import LiteralString, NamedTuple
from urllib.parse import quote

import msgspec
import psycopg
import pytest

from identity.app import build
from identity.parse import AUTHENTICATE_BYTES_MAX, EVENTS_BYTES_MAX, EVENTS_MAX
from identity.protocols.croct import BEACON_BYTES_MAX
from identity.visitors import read_customer_id, read_event_id, read_visitor_id
from profiles.fields import FIELDS, read_field
from profiles.profile import HeldField
from profiles.remarks import Kind, Reading
from tests.harness import ADMIN_KEY, CHANNEL_ID, WRITE_KEY, Server, opened_service
from tests.http import corpus
from tests.store.invariants import check_store

OK = b'{"status":"ok"}'
SUCCESS = b'{"success":true}'
JSON_HEADERS = b"Content-Type: application/json\r\n"
WRITER = b"X-Write-Key: " + WRITE_KEY.encode() + b"\r\n"
ADMIN = b"Authorization: Bearer " + ADMIN_KEY.encode() + b"\r\n"
PUBLIC = ("/api/v1/authenticate", "/api/v1/events", "/api/v1/validate/authenticate", "/api/v1/validate/events")
SEGMENT = ("/v1/batch", "/v1/import", "/v1/identify", "/v1/track", "/v1/a")
SETTINGS = b"/v1/projects/" + WRITE_KEY.encode() + b"/settings"
REFUSED_BY_PROTOCOL = {400, 401, 403, 404, 405, 408, 409, 411, 412, 413, 414, 415, 422, 431}
METHODS = (b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE", b"PROPFIND")
GROUP_BYTES_MAX = 300_000
CALLERS = 16


class Answer(NamedTuple):
    """What came back."""

    status: int
    content_type: str
    body: bytes


class Wire:
    """Sends bytes as they are, over one connection for as long as the server keeps it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None

    def connect(self) -> socket.socket:
        """Return a new connection."""
        self.close()
        self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=20)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._socket

    def close(self) -> None:
        """Hang up."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def send(self, method: bytes, target: bytes, headers: bytes = b"", body: bytes | None = None) -> Answer:
        """Send a request whose Content-Length is right and return the answer."""
        length = b"" if body is None else b"Content-Length: %d\r\n" % len(body)
        head = method + b" " + target + b" HTTP/1.1\r\nHost: localhost\r\n" + headers + length + b"\r\n"
        for connection in (self._socket, None):
            connection = connection or self.connect()  # noqa: PLW2901 - a kept connection may have been closed meanwhile
            # The answer to a body that is too large can come, and the connection end, before all of it is sent.
            with contextlib.suppress(OSError):
                connection.sendall(head + (body or b""))
            try:
                return self.receive(connection, method)
            except (http.client.BadStatusLine, ConnectionError):
                self.close()
        raise AssertionError(f"no answer to {method!r} {target[:200]!r}")

    def receive(self, connection: socket.socket, method: bytes = b"POST") -> Answer:
        """Return the next answer on a connection."""
        response = http.client.HTTPResponse(connection, method=method.decode("latin-1"))
        response.begin()
        body = response.read()
        if response.getheader("connection") == "close":
            self.close()
        return Answer(response.status, response.getheader("content-type") or "", body)


Request = tuple[str, bytes, bytes, bytes, bytes | None]
"""What it is called in a message; method, target, headers, body."""


class Crowd:
    """Sends many requests at once, each over one of several connections."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._local = threading.local()
        self._wires: list[Wire] = []
        self._pool = ThreadPoolExecutor(CALLERS)

    def close(self) -> None:
        """Hang up."""
        self._pool.shutdown()
        for wire in self._wires:
            wire.close()

    def send(self, requests: Iterable[Request]) -> Iterator[tuple[str, Answer]]:
        """Give each request's name and answer, in order."""
        for some in batched(requests, 500):
            yield from self._pool.map(self._send_one, some)

    def _send_one(self, request: Request) -> tuple[str, Answer]:
        if not hasattr(self._local, "wire"):
            self._local.wire = Wire(self._port)
            self._wires.append(self._local.wire)
        label, method, target, headers, body = request
        return label, self._local.wire.send(method, target, headers, body)


def batched(items: Iterable[Request], size: int) -> Iterator[list[Request]]:
    """Give the items in lists of at most ``size``."""
    rest = iter(items)
    while some := list(itertools.islice(rest, size)):
        yield some


@pytest.fixture
def crowd(server: Server, wire: Wire) -> Iterator[Crowd]:
    """Several connections to the server, which must be well and without a fault afterwards."""
    callers = Crowd(server.port)
    try:
        yield callers
    finally:
        callers.close()


@pytest.fixture
def wire(server: Server) -> Iterator[Wire]:
    """A connection to the server, which must be well and without a fault afterwards."""
    client = Wire(server.port)
    logged = len(server.logs())
    try:
        yield client
    finally:
        client.close()
    assert server.client.get("/readyz").status_code == 200
    logs = server.logs()[logged:]
    assert [line for line in logs.splitlines() if '"fault"' in line or "Traceback" in line or '"error"' in line] == []


def check(answer: Answer, sent: object) -> None:
    """Assert that an answer is one of the protocol, whatever was sent."""
    status, content_type, body = answer
    about = (sent if isinstance(sent, str) else repr(sent)[:500], answer[:2], body[:500])
    if (status, content_type.partition(";")[0], body) == (400, "text/plain", b"Invalid HTTP request received."):
        return  # what is no HTTP is answered by the HTTP server itself
    assert status in {200, 201, 204, 304} | REFUSED_BY_PROTOCOL, about
    if status in {204, 304} or not body:
        assert not body, about
        return
    document = json.loads(body)
    if status >= 400:
        assert content_type == "application/problem+json", about
        assert document["status"] == status, about
        assert document["code"], about
        assert document["message"], about
    else:
        assert content_type == "application/json", about


def check_authenticate(answer: Answer, sent: object) -> None:
    """Assert that an authenticate answer tells nothing but that it came, or a protocol error."""
    check(answer, sent)
    assert answer.status in REFUSED_BY_PROTOCOL or (answer.status, answer.body) == (200, OK), (sent, answer)


def groups_of(events: Iterable[tuple[str, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    """Give the events in groups that fit one body, each with a good neighbour."""
    group: list[tuple[str, bytes]] = []
    size = 0
    for event in events:
        if group and (len(group) * 2 + 2 > EVENTS_MAX or size + len(event[1]) > GROUP_BYTES_MAX):
            yield group
            group, size = [], 0
        group.append(event)
        size += len(event[1]) + 200
    yield group


def held_customers(server: Server, customer_ids: list[str]) -> set[str]:
    """Return those of the customers that are held."""
    found: set[str] = set()
    for start in range(0, len(customer_ids), 1000):
        answer = server.post("/api/v1/customers/lookup", {"customer_ids": customer_ids[start : start + 1000]})
        found |= {c["customer_id"] for result in answer.json()["results"] for c in result["customers"]}
    return found


_numbers = itertools.count()


def send_with_neighbours(server: Server, wire: Wire, events: list[tuple[str, bytes]]) -> None:
    """Send events in one body, each followed by a good one, and assert that every good one is kept."""
    neighbours = [f"neighbour-{next(_numbers)}" for _ in events]
    good = [
        b'{"type":"clIdentity","visitor_id":"%b","customer_id":"%b","display_name":"Bo"}'
        % (name.encode(), name.encode())
        for name in neighbours
    ]
    body = b",".join(event + b"," + neighbour for (_, event), neighbour in zip(events, good, strict=True))

    answer = wire.send(b"POST", b"/api/v1/events", WRITER, b'{"events":[' + body + b"]}")

    labels = [label for label, _ in events]
    check(answer, labels)
    assert answer.status == 200, (labels, answer)
    results = json.loads(answer.body)["results"]
    assert len(results) == 2 * len(events), labels
    codes = [[error["code"] for error in result.get("errors", ())] for result in results]
    faulty = [label for label, code in zip(labels, codes[::2], strict=True) if "internal_error" in code]
    assert faulty == []
    assert [result["status"] for result in results[1::2]] == ["accepted"] * len(events), labels
    lost = set(neighbours) - held_customers(server, neighbours)
    assert lost == set(), labels


def authenticate_requests(bodies: Iterable[tuple[str, bytes]]) -> Iterator[Request]:
    """Give each body as a push."""
    for label, body in bodies:
        yield label, b"POST", b"/api/v1/authenticate", WRITER, body


def test_every_hostile_value_in_every_field_of_authenticate_gets_a_protocol_answer(server: Server, crowd: Crowd):
    answers = crowd.send(authenticate_requests(corpus.identify_bodies()))

    for label, answer in answers:
        check_authenticate(answer, label)


def test_every_hostile_value_in_every_place_of_an_event_leaves_its_neighbours_alone(server: Server, wire: Wire):
    for group in groups_of(corpus.hostile_events()):
        send_with_neighbours(server, wire, group)


def test_every_hostile_value_alone_beside_one_neighbour_leaves_it_alone(server: Server, wire: Wire):
    for label, value in corpus.VALUES.items():
        event = b'{"type":"clIdentity","customer_id":"beside","visitor_id":"beside","display_name":%b,"event_id":%b}'

        send_with_neighbours(server, wire, [(label, event % (value, value))])


def send_in_batch(server: Server, wire: Wire, messages: list[tuple[str, bytes]]) -> None:
    """Send messages in one batch, each followed by a good one, and assert that every good one is kept."""
    neighbours = [f"neighbour-{next(_numbers)}" for _ in messages]
    good = [b'{"type":"identify","userId":"%b","traits":{"name":"Bo"}}' % name.encode() for name in neighbours]
    body = b",".join(message + b"," + neighbour for (_, message), neighbour in zip(messages, good, strict=True))

    answer = wire.send(b"POST", b"/v1/batch", WRITER, b'{"batch":[' + body + b"]}")

    labels = [label for label, _ in messages]
    assert (answer.status, answer.body) == (200, SUCCESS), (labels, answer)
    lost = set(neighbours) - held_customers(server, neighbours)
    assert lost == set(), labels


def test_every_hostile_value_in_every_place_of_a_message_leaves_its_batch_alone(server: Server, wire: Wire):
    for group in groups_of(corpus.hostile_messages()):
        send_in_batch(server, wire, group)


def test_every_captured_message_and_its_hostile_twin_leave_their_batch_alone(server: Server, wire: Wire):
    for message in corpus.CAPTURED_MESSAGES:
        twins = [(label, message[:-1] + b',"extra":' + value + b"}") for label, value in corpus.VALUES.items()]

        send_in_batch(server, wire, [("captured", message), *twins])


@pytest.mark.parametrize("path", [*PUBLIC, *SEGMENT])
def test_every_hostile_body_gets_a_protocol_answer(server: Server, wire: Wire, path: str):
    for label, body in corpus.BODIES.items():
        for headers in (WRITER, WRITER + JSON_HEADERS, b"Content-Encoding: gzip\r\n" + WRITER, WRITER + ADMIN, b""):
            if len(body) > 100_000 and headers is not WRITER:
                continue
            answer = wire.send(b"POST", path.encode(), headers, body)

            (check_authenticate if path == "/api/v1/authenticate" else check)(answer, label)


@pytest.mark.parametrize("path", ["/api/v1/validate/authenticate", "/api/v1/validate/events"])
def test_validation_of_hostile_values_gets_a_protocol_answer_with_and_without_the_secret_key(
    server: Server, crowd: Crowd, path: str
):
    bodies = corpus.hostile_events() if path.endswith("events") else corpus.identify_bodies()
    some = itertools.islice(bodies, 0, None, 11)
    keys = (WRITER, WRITER + ADMIN, ADMIN)
    requests = ((label, b"POST", path.encode(), headers, body) for label, body in some for headers in keys)

    answers = crowd.send(requests)

    for label, answer in answers:
        check(answer, label)


def test_a_body_is_taken_up_to_its_limit_and_not_beyond(server: Server, wire: Wire):
    limits = {"authenticate": AUTHENTICATE_BYTES_MAX, "events": EVENTS_BYTES_MAX}
    for name, bytes_max in limits.items():
        head = b'{"customer_id":"limit-%b","type":"userSignedIn","x":"' % name.encode()
        body = head + b"x" * (bytes_max - len(head) - 2) + b'"}'

        at_limit = wire.send(b"POST", b"/api/v1/" + name.encode(), WRITER, body)
        over = wire.send(b"POST", b"/api/v1/" + name.encode(), WRITER, body + b" ")

        assert (at_limit.status, over.status) == (200, 413), name
        check(over, name)
        assert server.get(f"/api/v1/customers/limit-{name}").status_code == 200


def test_five_hundred_events_are_taken_and_one_more_is_not(server: Server, wire: Wire):
    event = b'{"type":"userSignedIn","customer_id":"many","visitor_id":"many"}'
    taken = wire.send(b"POST", b"/api/v1/events", WRITER, b'{"events":[' + b",".join([event] * EVENTS_MAX) + b"]}")
    refused = wire.send(b"POST", b"/api/v1/events", WRITER, b'{"events":[' + b",".join([event] * 501) + b"]}")

    assert json.loads(taken.body)["results"] == [{"status": "accepted"}] * EVENTS_MAX
    check(refused, "501 events")
    assert refused.status == 413


def test_a_chunked_body_is_taken_up_to_its_limit_and_not_beyond(server: Server, wire: Wire):
    head = b"POST /api/v1/authenticate HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n" + WRITER + b"\r\n"
    body = b'{"customer_id":"chunked","x":"' + b"x" * 30_000 + b'"}'
    small = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:1], body[1:999], body[999:])) + b"0\r\n\r\n"
    large = (b"1000\r\n" + b"x" * 4096 + b"\r\n") * 20 + b"0\r\n\r\n"
    answers = []
    for chunks in (small, large, b"zz\r\nxx\r\n", b"ffffffffffffffffff\r\nx\r\n", b"-1\r\nx\r\n0\r\n\r\n"):
        connection = wire.connect()
        connection.sendall(head + chunks)
        answers.append(wire.receive(connection))

    for answer in answers:
        check_authenticate(answer, "chunked")
    assert [answer.status for answer in answers] == [200, 413, 400, 400, 400]


def test_a_body_that_comes_byte_by_byte_is_read(server: Server, wire: Wire):
    body = b'{"customer_id":"bytewise","visitor_id":"bytewise","display_name":"\xe5\xae\x89"}'
    request = b"POST /api/v1/authenticate HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%b\r\n" % (len(body), WRITER)
    connection = wire.connect()
    for at in range(len(request + body)):
        connection.sendall((request + body)[at : at + 1])
    answer = wire.receive(connection)

    assert (answer.status, answer.body) == (200, OK)
    assert server.get("/api/v1/customers/bytewise").json()["fields"] == {"display_name": "安"}


def test_a_caller_who_promises_more_than_comes_hurts_nobody(server: Server, wire: Wire):
    """The wait for the rest is bounded by the service (BODY_SECONDS_MAX); here the callers hang up first."""
    for length in (b"100", b"32768", b"99999999", b"99999999999999999999999", b"-1", b"x", b"1, 2", b"+5", b""):
        connection = wire.connect()
        connection.sendall(
            b"POST /api/v1/authenticate HTTP/1.1\r\nHost: x\r\nContent-Length: %b\r\n%b\r\n{" % (length, WRITER)
        )
        if length in (b"100", b"32768"):
            connection.settimeout(0.05)
            with pytest.raises(TimeoutError):
                wire.receive(connection)
        else:
            check_authenticate(wire.receive(connection), length)
        assert server.authenticate({"customer_id": "patient"}).content == OK


def test_a_caller_who_promises_less_than_comes_gets_protocol_answers(server: Server, wire: Wire):
    connection = wire.connect()
    connection.sendall(
        b"POST /api/v1/authenticate HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n%b\r\n" % WRITER
        + b'{"customer_id":"too-short"}'
    )

    check_authenticate(wire.receive(connection), "short")
    assert server.get("/api/v1/customers/too-short").status_code == 404


def test_every_hostile_lookup_gets_a_protocol_answer(server: Server, crowd: Crowd):
    bodies = (*corpus.LOOKUPS.items(), *corpus.BODIES.items())

    answers = crowd.send((label, b"POST", b"/api/v1/customers/lookup", ADMIN, body) for label, body in bodies)

    for label, answer in answers:
        check(answer, label)


async def _routes(database: str, redis: str) -> list[str]:
    async with opened_service(database, redis) as service:
        return sorted({route.path for route in build(service).routes})


@pytest.fixture(scope="module")
def routes(server: Server) -> list[bytes]:
    """Every path that the service knows, with stand-ins for what varies in it."""
    paths = asyncio.run(_routes(server.database, server.redis))
    assert {*PUBLIC, *SEGMENT, "/api/v1/customers"} <= set(paths)
    return [re.sub(r"\{[^}]*\}", "x", path).encode() for path in paths]


def is_api(path: bytes) -> bool:
    """Return whether a path's answers are JSON. An import answers in lines, and all but a few at once come again."""
    is_ours = path.startswith(b"/api/") and path != b"/api/v1/import"
    return is_ours or path in (b"/v1/batch", b"/v1/t", b"/v1/m", b"/v1/projects")


def test_every_method_on_every_route_gets_a_protocol_answer(server: Server, crowd: Crowd, routes: list[bytes]):
    kinds = ((WRITER + ADMIN, b"{}"), (b"", None), (WRITER + ADMIN, b"\xff"), (ADMIN, None))
    requests = (
        (f"{method!r} {path!r}", method, path, headers, body)
        for path, method, (headers, body) in itertools.product(filter(is_api, routes), METHODS, kinds)
    )

    answers = crowd.send(requests)

    for label, answer in answers:
        check(answer, label)


def test_every_hostile_path_gets_a_protocol_answer(server: Server, crowd: Crowd, routes: list[bytes]):
    def requests() -> Iterator[Request]:
        for path, segment in itertools.product(filter(is_api, routes), corpus.SEGMENTS):
            below = path + b"/" + segment
            for target in (below, path + segment, below + b"/explain", b"/" + path + segment):
                yield repr(target), b"GET", target, ADMIN, None
            yield repr(segment), b"POST", below + b"/undo", ADMIN, b"{}"

    for label, answer in crowd.send(requests()):
        check(answer, label)


def test_only_what_lies_below_the_customers_is_a_customer(server: Server):
    server.authenticate({"customer_id": "below"})

    found = [
        server.get(f"/api/v1/{path}").status_code for path in ("customers/below", "customersbelow", "customers/a/b")
    ]

    assert found == [200, 404, 404]


def test_every_hostile_query_gets_a_protocol_answer(server: Server, crowd: Crowd, routes: list[bytes]):
    server.authenticate({"customer_id": "queried", "display_name": "Ana"})
    reads = [path for path in routes if is_api(path) and path.decode() not in PUBLIC]
    odd = (b"", b"&&&", b"=", b"%00=%ff", b"a=1&" * 1_000, b"a" + b"[]" * 500 + b"=1")
    queries = [name.encode() + b"=" + value for name in corpus.PARAMETERS for value in corpus.QUERY_VALUES]
    targets = (
        path + b"?" + query
        for path in (*reads, b"/api/v1/customers/queried", b"/api/v1/authenticate")
        for query in (*queries, *odd)
    )

    answers = crowd.send((repr(target), b"GET", target, ADMIN, None) for target in targets)

    for label, answer in answers:
        check(answer, label)


def test_every_hostile_body_to_the_admin_gets_a_protocol_answer(server: Server, crowd: Crowd):
    made = server.post("/api/v1/admin/channels", {"name": "Fuzzed"})
    if made.status_code == 404:
        pytest.skip("there is no way to make a channel yet")
    channel = f"/api/v1/admin/channels/{made.json()['channel_id']}".encode()
    targets = ((b"POST", b"/api/v1/admin/channels"), (b"POST", b"/api/v1/admin/keys"), (b"PATCH", channel))
    fields = (
        "name", "website_tracking", "origins", "on_sign_out", "signed_identity", "unsigned_writes", "identity_keys",
        "scopes", "extra"
    )  # fmt: skip

    def requests() -> Iterator[Request]:
        for (method, target), (label, body) in itertools.product(targets, corpus.BODIES.items()):
            yield label, method, target, ADMIN, body
        for (method, target), (label, value), field in itertools.product(targets, corpus.VALUES.items(), fields):
            others = {"name": b'"x"', **({"scopes": b'["profiles:read"]'} if target.endswith(b"keys") else {})}
            for held in (value, b"[" + value + b"]") if field in ("origins", "scopes", "identity_keys") else (value,):
                members = {**others, field: held}
                body = corpus.document(*(corpus.member(name, sent) for name, sent in members.items()))
                yield f"{label} as {field} of {target!r}", method, target, ADMIN, body

    for label, answer in crowd.send(requests()):
        check(answer, label)
    assert server.authenticate({"customer_id": "after-admin"}).content == OK


def test_every_hostile_body_and_condition_of_a_change_gets_a_protocol_answer(server: Server, crowd: Crowd):
    target, made = b"/api/v1/customers/patched", b"If-None-Match: *\r\n"
    others = ("custom.a", "custom", "postal_address", "email", "fields", "occurred_at", "customer_id", "other")
    fields = (*(field.name for field in FIELDS), *others)

    def requests() -> Iterator[Request]:
        yield "made", b"PATCH", target, ADMIN + made, b"{}"
        for label, body in corpus.BODIES.items():
            yield label, b"PATCH", target, ADMIN, body
            yield label, b"PATCH", target, ADMIN + b"Idempotency-Key: body\r\n", body
        for (label, value), field in itertools.product(corpus.VALUES.items(), fields):
            yield f"{label} as {field}", b"PATCH", target, ADMIN, corpus.document(corpus.member(field, value))
        for label, value in corpus.VALUES.items():
            body = corpus.document(corpus.member("fields", corpus.document(corpus.member("custom", value))))
            yield f"{label} within", b"PATCH", target, ADMIN, body
        for segment in corpus.SEGMENTS:
            yield repr(segment), b"PATCH", b"/api/v1/customers/" + segment, ADMIN + made, b'{"gender":"other"}'
        names = (b"If-Match", b"If-None-Match", b"Idempotency-Key", b"Authorization")
        for name, value in itertools.product(names, corpus.HEADERS):
            header = name + b": " + value + b"\r\n"
            for beside in (b"", ADMIN, ADMIN + b"Idempotency-Key: header\r\n"):
                yield repr(header), b"PATCH", target, header + beside, b'{"gender":"other"}'

    for label, answer in crowd.send(requests()):
        check(answer, label)
    headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
    changed = server.client.patch(target.decode(), json={"display_name": "Ana"}, headers=headers)
    assert changed.json()["decisions"][0]["new"] == "Ana"


def test_every_hostile_header_gets_a_protocol_answer(server: Server, crowd: Crowd):
    server.authenticate({"customer_id": "headed", "display_name": "Ana"})
    names = (
        b"X-Write-Key", b"Authorization", b"Origin", b"If-None-Match", b"Content-Type", b"Accept", b"Cookie",
        b"Content-Encoding", b"SentAt", b"X-Forwarded-Proto",
    )  # fmt: skip
    body = b'{"customer_id":"headed"}'

    def requests() -> Iterator[Request]:
        for name, value, others in itertools.product(names, corpus.HEADERS, (b"", WRITER, ADMIN)):
            header = name + b": " + value + b"\r\n"
            for path in (*PUBLIC, "/v1/track"):
                yield repr(header), b"POST", path.encode(), header + others, body
            yield repr(header), b"GET", SETTINGS, header + others, None
            yield repr(header), b"OPTIONS", b"/api/v1/events", header + others, None
            yield repr(header), b"GET", b"/api/v1/customers/headed", header + others, None
        for value in corpus.HEADERS:
            key = json.dumps(value.decode("latin-1")).encode()
            yield repr(value), b"POST", b"/api/v1/authenticate", b"", b'{"write_key":%b,"customer_id":"1"}' % key

    for label, answer in crowd.send(requests()):
        check(answer, label)


CROCT = b"/client/web/track"


def croct_headers(**changes: bytes) -> bytes:
    """Return the headers of a beacon."""
    headers = {"X-App-Id": CHANNEL_ID.encode(), "X-Client-Id": b"1afefd85e744f39014f698ad16a787aa", **changes}
    return b"".join(name.replace("_", "-").encode() + b": " + value + b"\r\n" for name, value in headers.items())


def test_croct_is_told_that_every_beacon_with_a_right_app_id_was_taken(server: Server, crowd: Crowd):
    """Any other answer would keep the tab from sending anything more."""
    bodies = (*corpus.croct_beacons(), *((k, b) for k, b in corpus.BODIES.items() if len(b) <= BEACON_BYTES_MAX))

    answers = crowd.send((label, b"POST", CROCT, croct_headers(), body) for label, body in bodies)

    for label, answer in answers:
        assert (answer.status, answer.body) == (200, OK), (label, answer)


def test_croct_is_told_so_of_mutated_beacons_too(server: Server, crowd: Crowd):
    chance = random.Random(3)
    beacons = [body for _, body in corpus.croct_beacons() if len(body) < 4_000]
    mutated = [corpus.mutated(chance, chance.choice(beacons), beacons) for _ in range(500)]

    answers = crowd.send((repr(body[:2000]), b"POST", CROCT, croct_headers(), body) for body in mutated)

    for label, answer in answers:
        assert (answer.status, answer.body) == (200, OK), (label, answer)


def test_croct_gets_protocol_answers_to_every_hostile_header(server: Server, crowd: Crowd):
    body = b'{"payload":{"type":"userSignedIn","externalUserId":"headed"},"originalTime":1780000000000}'
    values = (*corpus.HEADERS, b"e30.e30.", b"..", b"eyJhbGciOiJub25lIn0.e30.", b"." * 8_000)

    def requests() -> Iterator[Request]:
        for name, value in itertools.product(("X_App_Id", "X_Client_Id", "X_Token", "Origin"), values):
            yield f"{name}: {value!r}", b"POST", CROCT, croct_headers(**{name: value}), body
            yield f"{name}: {value!r}", b"OPTIONS", CROCT, croct_headers(**{name: value}), None

    for label, answer in crowd.send(requests()):
        check(answer, label)
        assert answer.status in (200, 204, 401, 403), (label, answer)


def test_croct_gets_a_client_id_whatever_it_says_it_has(server: Server, crowd: Crowd):
    targets = [b"/client/web/cid?cid=" + value for value in corpus.QUERY_VALUES]

    for label, answer in crowd.send((repr(target), b"GET", target, b"", None) for target in targets):
        if answer.status == 200:
            assert re.fullmatch(rb"[\w\"{}.:-]{1,128}", answer.body), (label, answer)
            assert answer.content_type.startswith("text/plain"), (label, answer)
        else:
            check(answer, label)


def mutants(*, seed: int, requests: int) -> Iterator[Request]:
    """Give requests with accidents, the same ones for the same seed."""
    chance = random.Random(seed)
    identify = [body for _, body in corpus.identify_bodies() if len(body) < 4_000]
    events = [body for _, body in corpus.hostile_events() if len(body) < 4_000]
    lookups = [body for body in corpus.LOOKUPS.values() if len(body) < 4_000]
    batches = [b'{"events":[' + b",".join(chance.choices(events, k=3)) + b"]}" for _ in range(200)]
    messages = [*corpus.CAPTURED_MESSAGES, *(body for _, body in corpus.hostile_messages() if len(body) < 4_000)]
    message_batches = [b'{"batch":[' + b",".join(chance.choices(messages, k=3)) + b"]}" for _ in range(200)]
    kinds: list[tuple[bytes, bytes, list[bytes]]] = [
        (b"/api/v1/authenticate", WRITER, identify),
        (b"/api/v1/events", WRITER, batches),
        (b"/api/v1/validate/authenticate", WRITER + ADMIN, identify),
        (b"/api/v1/validate/events", WRITER + ADMIN, batches),
        (b"/api/v1/customers/lookup", ADMIN, lookups),
        (b"/v1/batch", WRITER, message_batches),
        (b"/v1/track", WRITER, messages),
        (b"/v1/i", WRITER, messages),
    ]
    for number in range(requests):
        path, headers, bodies = chance.choice(kinds)
        body = corpus.mutated(chance, chance.choice(bodies), bodies)
        if chance.random() < 0.05:
            path = corpus.mutated(chance, path, [b"/api/v1/customers/a%2Fb?customer_id=%00&include=provenance"])
            path = b"/" + path.lstrip(b"/").translate(None, b" \r\n\x00")
        yield f"seed {seed}, request {number}: {path!r} {body[:2000]!r}", b"POST", path, headers, body


def test_mutated_requests_get_protocol_answers(server: Server, crowd: Crowd):
    for label, answer in crowd.send(mutants(seed=1, requests=1_500)):
        check(answer, label)


@pytest.mark.long
def test_many_mutated_requests_get_protocol_answers(server: Server, crowd: Crowd):
    for label, answer in crowd.send(mutants(seed=time.time_ns(), requests=50_000)):
        check(answer, label)


def held_fields(database: str) -> dict[str, dict[str, object]]:
    """Return the values that are held, by customer and field."""
    read = msgspec.json.Decoder(dict[str, HeldField]).decode
    with psycopg.connect(database) as connection:
        rows = connection.execute("SELECT customer_id, fields::text FROM customer").fetchall()
    return {
        customer_id: {name: field.value for name, field in read(fields).items() if field.value is not None}
        for customer_id, fields in rows
    }


def held_ids(database: str, query: LiteralString) -> list[str]:
    """Return the ids that a query finds."""
    with psycopg.connect(database) as connection:
        return [identifier for (identifier,) in connection.execute(query).fetchall()]


def test_what_all_this_left_behind_is_clean_and_equals_the_fold_of_its_ledger(server: Server, wire: Wire, crowd: Crowd):
    """Over whatever the tests above, as many as were run, have had accepted, and some more."""
    for label, answer in crowd.send(authenticate_requests(itertools.islice(corpus.identify_bodies(), 0, None, 7))):
        check_authenticate(answer, label)
    for group in groups_of(itertools.islice(corpus.hostile_events(), 0, None, 7)):
        send_with_neighbours(server, wire, group)

    check_store(server.database)
    kept = held_fields(server.database)
    assert len(kept) > 500
    for customer_id, fields in kept.items():
        assert read_customer_id(customer_id) == customer_id
        for name, value in fields.items():
            reading = read_field(name, value)
            assert (reading.field, reading.kind, reading.value) == (name, Kind.VALUE, value)
    visitor_ids = held_ids(server.database, "SELECT visitor_id FROM visitor")
    assert [read_visitor_id(visitor_id) for visitor_id in visitor_ids] == visitor_ids
    event_ids = held_ids(server.database, "SELECT event_id FROM merge WHERE event_id IS NOT NULL")
    assert [read_event_id(event_id) for event_id in event_ids] == event_ids


def test_every_customer_that_was_accepted_can_be_looked_up_by_path_query_and_list(
    server: Server, wire: Wire, crowd: Crowd
):
    for label, answer in crowd.send(authenticate_requests(corpus.identify_bodies(["customer_id"]))):
        check_authenticate(answer, label)

    kept = held_fields(server.database)

    assert held_customers(server, list(kept)) == set(kept)
    hostile = [customer_id for customer_id in kept if not customer_id.isascii() or not customer_id.isalnum()]
    for customer_id in sorted(hostile)[:: max(1, len(hostile) // 300)]:
        encoded = quote(customer_id, safe="")
        by_path = wire.send(b"GET", f"/api/v1/customers/{encoded}".encode(), ADMIN)
        by_query = wire.send(b"GET", f"/api/v1/customers?customer_id={encoded}".encode(), ADMIN)

        for answer in (by_path, by_query):
            document = json.loads(answer.body)
            assert (document.get("customer_id"), document.get("fields")) == (customer_id, kept[customer_id])
    for field, kind in (("display_email", "emails"), ("display_mobile", "phones")):
        sent = sorted({str(fields[field]) for fields in kept.values() if field in fields})[:1000]
        results = server.post("/api/v1/customers/lookup", {kind: sent}).json()["results"]
        missed = [result["input"] for result in results if not result["customers"]]
        assert missed == []


def test_the_admin_lists_every_merge_that_was_kept(server: Server, wire: Wire, crowd: Crowd):
    if server.get("/api/v1/admin/merges").status_code == 404:
        pytest.skip("there is no list of merges yet")
    for label, answer in crowd.send(authenticate_requests(itertools.islice(corpus.identify_bodies(), 0, None, 29))):
        check_authenticate(answer, label)
    kept = held_ids(server.database, "SELECT merge_id::text FROM merge WHERE NOT is_link ORDER BY merge_id DESC")
    listed: list[str] = []
    cursor: str | None = None
    while True:
        parameters = {"limit": 200, **({"cursor": cursor} if cursor else {})}
        page = server.get("/api/v1/admin/merges", params=parameters)
        assert page.status_code == 200
        listed += [merge["merge_id"] for merge in page.json()["items"]]
        cursor = page.json()["next_cursor"]
        if cursor is None:
            break

    assert listed == kept


def test_a_reading_of_what_was_read_is_the_same_reading():
    """The check of what is held rests on it: a reader gives again what it gave."""
    for text in corpus.TEXTS.values():
        for name in ("display_name", "address", "display_email", "display_mobile", "birth", "avatar_url", "custom.a"):
            reading = read_field(name, text)
            if reading.kind is Kind.VALUE:
                again = read_field(name, reading.value)
                assert again == Reading(name, Kind.VALUE, reading.value, reading.reason)
