"""``POST /api/v1/import`` over real sockets: lines in, one result a line out."""

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from identity import import_routes
from identity.verify import verify
from tests.harness import ADMIN_KEY, Server
from tests.http.receiver import wait_until

PATH = "/api/v1/import"
KEY = {"Authorization": f"Bearer {ADMIN_KEY}"}


def results(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def body(*lines: object) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def test_every_line_has_its_result_in_order_and_is_held(server: Server):
    lines = body(
        {"customer_id": "h-1", "name": "Ana", "phone": "0912345678"},
        {"customer_id": "h-1", "name": "Ana"},
        {"name": "Nobody"},
        {"customer_id": "h-2", "hat": "red", "fields": {"display_name": "Bo"}},
    )

    answer = server.client.post(PATH, content=lines + b"no json", headers=KEY, params={"note": "nightly"})

    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-ndjson")
    told = results(answer.text)
    assert [(one["line"], one["status"], one["customer_id"], one["version"]) for one in told] == [
        (1, "created", "h-1", 1),
        (2, "unchanged", "h-1", None),
        (3, "rejected", None, None),
        (4, "created", "h-2", 1),
        (5, "rejected", None, None),
    ]
    assert [[(error["field"], error["code"]) for error in one["errors"]] for one in told] == [
        [("display_mobile", "no_country_code")],
        [],
        [("", "missing_customer_id")],
        [("hat", "unknown_field")],
        [("", "invalid_event")],
    ]
    assert all(error["hint"] for one in told for error in one["errors"])
    operation_id = answer.headers["identity-operation-id"]
    with psycopg.connect(server.database) as connection:
        ledger = connection.execute(
            "SELECT DISTINCT source, actor, note FROM merge WHERE operation_id = %s", [operation_id]
        ).fetchall()
        ended = connection.execute(
            "SELECT status, kind FROM operation WHERE operation_id = %s", [operation_id]
        ).fetchall()
    assert [(source, actor[:4], note) for source, actor, note in ledger] == [("import", "key:", "nightly")]
    assert ended == [("done", "import")]
    assert server.get("/api/v1/customers/h-2").json()["fields"] == {"display_name": "Bo"}


def test_results_come_while_the_body_is_still_on_its_way(server: Server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.sendall(head("Transfer-Encoding: chunked") + chunk(body({"customer_id": "s-1"})))
        received = until(client, b'"line":1')
        client.sendall(chunk(body({"customer_id": "s-2"})) + b"0\r\n\r\n")
        received += until(client, b"0\r\n\r\n")

    assert received.startswith(b"HTTP/1.1 200")
    assert b'"customer_id":"s-2"' in received


def head(framing: str) -> bytes:
    return f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN_KEY}\r\n{framing}\r\n\r\n".encode()


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(content), content)


def until(client: socket.socket, end: bytes) -> bytes:
    received = b""
    while end not in received:
        more = client.recv(65536)
        assert more, received
        received += more
    return received


def test_a_client_that_reads_nothing_until_it_has_sent_everything_is_served(server: Server):
    def lines() -> Iterator[bytes]:
        for n in range(30):
            yield body(*({"customer_id": f"b-{n}-{k}", "name": f"N {k}"} for k in range(300)))

    answer = server.client.post(PATH, content=lines(), headers=KEY, timeout=120.0)

    told = results(answer.text)
    assert [one["line"] for one in told] == list(range(1, 9001))
    assert {one["status"] for one in told} == {"created"}


def test_a_body_that_is_cut_off_leaves_what_was_committed_and_a_stopped_operation(server: Server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.sendall(head("Content-Length: 1000") + body({"customer_id": "cut-1", "name": "Ana"}))
        received = until(client, b'"line":1')
    operation_id = received.lower().partition(b"identity-operation-id: ")[2].split(b"\r\n")[0].decode()

    deadline = time.monotonic() + 20
    status = "running"
    while status == "running" and time.monotonic() < deadline:
        with psycopg.connect(server.database) as connection:
            ((status,),) = connection.execute(
                "SELECT status FROM operation WHERE operation_id = %s", [operation_id]
            ).fetchall()
        time.sleep(0.05)

    assert status == "stopped"
    assert server.get("/api/v1/customers/cut-1").json()["fields"] == {"display_name": "Ana"}


def test_a_line_that_is_too_long_ends_the_import_with_a_word_and_those_before_it_are_held(server: Server):
    long = b'{"customer_id":"l-2","name":"' + b"x" * import_routes.IMPORT_LINE_BYTES_MAX + b'"}\n'

    told = results(server.client.post(PATH, content=body({"customer_id": "l-1"}) + long, headers=KEY).text)

    assert [(one["line"], one["status"]) for one in told] == [(1, "created"), (2, "ended")]
    assert told[1]["code"] == "line_too_long"


@pytest.mark.parametrize(
    ("method", "headers", "status", "code"),
    [
        ("POST", {}, 401, "missing_key"),
        ("POST", {"Authorization": "Bearer sk_nobody"}, 401, "unknown_key"),
        ("GET", KEY, 405, "method_not_allowed"),
        ("POST", {**KEY, "Content-Encoding": "gzip"}, 415, "unsupported_encoding"),
        ("POST", {**KEY, "Content-Length": "99999999999"}, 413, "body_too_large"),
    ],
)
def test_what_cannot_begin_is_a_problem_document(
    server: Server, method: str, headers: dict[str, str], status: int, code: str
):
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        lines = [f"{method} {PATH} HTTP/1.1", "Host: x", *(f"{name}: {value}" for name, value in headers.items())]
        client.sendall("\r\n".join([*lines, "", ""]).encode())
        received = until(client, b"}")

    assert received.startswith(b"HTTP/1.1 %d" % status)
    assert json.loads(received.partition(b"\r\n\r\n")[2])["code"] == code


def test_an_import_ends_where_its_key_was_revoked(server: Server):
    made = server.post("/api/v1/admin/keys", {"name": "Stolen", "scopes": ["profiles:write"]}).json()

    def lines() -> Iterator[bytes]:
        yield body({"customer_id": "before-1", "name": "Ana"})
        wait_until(lambda: server.get("/api/v1/customers/before-1"), lambda answer: answer.status_code == 200)
        assert server.client.delete(f"/api/v1/admin/keys/{made['key_id']}", headers=KEY).status_code == 200
        yield body({"customer_id": "after-1", "name": "Eve"})

    answer = server.client.post(PATH, content=lines(), headers={"Authorization": f"Bearer {made['secret']}"})

    told = results(answer.text)
    assert [one["status"] for one in told] == ["created", "ended"]
    assert told[-1]["code"] == "unknown_key"
    assert server.get("/api/v1/customers/after-1").status_code == 404


def test_a_key_that_may_only_read_may_not_import(server: Server):
    made = server.post("/api/v1/admin/keys", {"name": "Reader", "scopes": ["profiles:read"]}).json()

    answer = server.client.post(PATH, content=b"", headers={"Authorization": f"Bearer {made['secret']}"})

    assert (answer.status_code, answer.json()["code"]) == (403, "missing_scope")


def test_hostile_bytes_are_results_and_never_a_fault(server: Server):
    hostile = [
        b"\xff\xfe\xfa", b"[" * 5000, b'{"customer_id":"\\u0000"}', b'{"customer_id":"x1","name":"\\ud800"}',
        b'{"customer_id":1e400}', b'{"customer_id":"x2","set_at":7,"fields":[],"removed":"x"}',
        b'{"customer_id":"x3","set_at":{"name":"never"},"name":{"a":[1]}}',
        b'{"customer_id":"x4","' + b"n" * 9000 + b'":1}', b'{"customer_id":"x5","occurred_at":{}}',
    ]  # fmt: skip

    answer = server.client.post(PATH, content=b"\n".join(hostile), headers=KEY)

    told = results(answer.text)
    assert [one["line"] for one in told] == list(range(1, len(hostile) + 1))
    assert {one["status"] for one in told} == {"created", "rejected"}
    assert "internal_error" not in answer.text
    assert verify(server.database).is_clean
