"""``Idempotency-Key``: a request is done once, its retries are answered alike, and what is kept of it can't be read."""

import asyncio
import contextlib
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psycopg
import pytest

from identity.app import Service
from identity.openapi import document
from identity.routes import READING_PATHS
from identity.sweep import sweep
from profiles.http import Response, send_response
from profiles.idempotency import (
    CLAIM_SECONDS_MAX,
    IDEMPOTENCY_HOURS_KEPT,
    IDEMPOTENCY_KEY_CHARACTERS_MAX,
    IDEMPOTENT_ANSWER_BYTES_MAX,
    IDEMPOTENT_BODY_BYTES_MAX,
    Idempotency,
)
from tests.faults.load import workers_of
from tests.harness import ADMIN_KEY, CHANNEL_ID, WRITE_KEY, Server, Urls, fresh_store, opened_service

NOON = 1_780_000_000_000
HOUR = 3_600_000
NOBODY = "00000000-0000-4000-8000-000000000000"
CUSTOMERS = "/api/v1/customers"


def send(
    server: Server, method: str, path: str, body: object, name: str, *, key: str = ADMIN_KEY, **headers: str
) -> httpx.Response:
    """Send a request with an Idempotency-Key."""
    named = {"Authorization": f"Bearer {key}", "Idempotency-Key": name}
    sent = {header.replace("_", "-"): value for header, value in headers.items()}
    return server.client.request(method, path, json=body, headers={**named, **sent})


def told(response: httpx.Response) -> tuple[int, str, bytes, bool]:
    """Return what a caller has of an answer, and whether it is that to an earlier request."""
    kind, replayed = response.headers["content-type"], response.headers.get("idempotent-replayed")
    return response.status_code, kind, response.content, replayed == "true"


def problem(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


def make(server: Server, customer_id: str) -> None:
    answer = send(server, "PATCH", f"{CUSTOMERS}/{customer_id}", {}, f"make-{customer_id}", If_None_Match="*")
    assert answer.status_code == 200, answer.text


def test_a_retry_is_answered_alike_and_changes_nothing(server: Server):
    make(server, "once-1")

    first = send(server, "PATCH", f"{CUSTOMERS}/once-1", {"display_name": "Bo"}, "once")
    send(server, "PATCH", f"{CUSTOMERS}/once-1", {"display_name": "Cy"}, "between")
    retry = send(server, "PATCH", f"{CUSTOMERS}/once-1", {"display_name": "Bo"}, "once")

    assert told(first) == (200, "application/json", first.content, False)
    assert told(retry) == (200, "application/json", first.content, True)
    assert server.get(f"{CUSTOMERS}/once-1").json()["fields"] == {"display_name": "Cy"}


def test_a_secret_key_is_made_once_and_its_secret_shown_to_every_retry(server: Server):
    body = {"name": "Once", "scopes": ["profiles:read"]}

    first = send(server, "POST", "/api/v1/admin/keys", body, "key-1")
    retry = send(server, "POST", "/api/v1/admin/keys", body, "key-1")

    assert told(retry) == (*told(first)[:3], True)
    assert first.json()["secret"].startswith("sk_")
    keys = server.get("/api/v1/admin/keys").json()["items"]
    assert [key["key_id"] for key in keys if key["name"] == "Once"] == [first.json()["key_id"]]


def test_an_error_is_answered_alike_too(server: Server):
    first = send(server, "PATCH", f"{CUSTOMERS}/error-1", {"display_name": "Bo"}, "error")
    make(server, "error-1")
    retry = send(server, "PATCH", f"{CUSTOMERS}/error-1", {"display_name": "Bo"}, "error")

    assert problem(first) == (404, "customer_not_found")
    assert told(retry) == (*told(first)[:3], True)


def test_the_same_key_for_another_request_is_refused(server: Server):
    make(server, "other-1")
    make(server, "other-2")
    path = f"{CUSTOMERS}/other-1"
    first = send(server, "PATCH", path, {"display_name": "Bo"}, "other")

    others = [
        send(server, "PATCH", path, {"display_name": "Cy"}, "other"),
        send(server, "PATCH", f"{CUSTOMERS}/other-2", {"display_name": "Bo"}, "other"),
        send(server, "PATCH", f"{path}?a=1", {"display_name": "Bo"}, "other"),
        send(server, "DELETE", path, {"display_name": "Bo"}, "other"),
        send(server, "PATCH", path, {"display_name": "Bo"}, "other", If_Match='"1"'),
    ]

    assert first.status_code == 200
    assert [problem(answer) for answer in others] == [(422, "idempotency_key_reused")] * 5


def test_every_secret_key_has_idempotency_keys_of_its_own(server: Server):
    make(server, "own-1")
    body = {"name": "Own", "scopes": ["profiles:write"]}
    other = server.post("/api/v1/admin/keys", body).json()["secret"]

    mine = send(server, "PATCH", f"{CUSTOMERS}/own-1", {"display_name": "Bo"}, "own")
    theirs = send(server, "PATCH", f"{CUSTOMERS}/own-1", {"display_name": "Cy"}, "own", key=other)

    assert [answer.status_code for answer in (mine, theirs)] == [200, 200]
    assert told(theirs)[3] is False


@pytest.mark.parametrize("name", ["", "two words", "tab\tbed", "ä", "x" * (IDEMPOTENCY_KEY_CHARACTERS_MAX + 1)])
def test_a_key_that_is_none_is_refused_before_anything_is_done(server: Server, name: str):
    headers: Any = {"Authorization": f"Bearer {ADMIN_KEY}", "Idempotency-Key": name.encode()}
    answer = server.client.post("/api/v1/admin/channels", json={"name": "Nameless"}, headers=headers)

    assert problem(answer) == (400, "invalid_idempotency_key")
    assert "Nameless" not in server.get("/api/v1/admin/channels").text


def test_the_longest_key_and_odd_characters_are_taken(server: Server):
    make(server, "long-1")
    for name in ("x" * IDEMPOTENCY_KEY_CHARACTERS_MAX, '"8e03978e-40d5-43dd-bc93-6894a57f9324"', "!~"):
        answers = [send(server, "PATCH", f"{CUSTOMERS}/long-1", {"gender": "other"}, name) for _ in range(2)]

        assert [told(answer)[3] for answer in answers] == [False, True]


def test_a_body_that_is_too_long_to_be_known_again_is_refused(server: Server):
    answer = send(server, "POST", "/api/v1/admin/channels", {"name": "x" * IDEMPOTENT_BODY_BYTES_MAX}, "too-long")

    assert problem(answer) == (413, "body_too_large")


def test_reading_and_public_calls_pass_the_header_over(server: Server):
    lookups = [
        send(server, "POST", f"{CUSTOMERS}/lookup", {"customer_ids": [name]}, "read").json() for name in ("a", "b")
    ]
    pushes = [
        server.authenticate({"customer_id": f"public-{name}"}, **{"Idempotency-Key": "read"}).content
        for name in ("a", "b")
    ]
    headers = {"Authorization": "Bearer sk_nobody", "Idempotency-Key": "nobody"}
    unknown = server.client.post("/api/v1/admin/channels", json={"name": "x"}, headers=headers)

    assert [found["results"][0]["input"] for found in lookups] == ["a", "b"]
    assert pushes == [b'{"status":"ok"}'] * 2
    assert server.get(f"{CUSTOMERS}/public-b").status_code == 200
    assert problem(unknown) == (401, "unknown_key")


def secret_writes() -> Iterator[tuple[str, str]]:
    for path, item in document()["paths"].items():
        for method, operation in item.items():
            is_secret = any("secretKey" in choice for choice in operation["security"])
            if is_secret and path not in READING_PATHS and method in ("post", "patch", "delete"):
                yield path, method


@pytest.mark.parametrize(("path", "method"), list(secret_writes()))
def test_every_write_of_a_secret_key_is_covered_and_says_so(server: Server, path: str, method: str):
    address = re.sub(r"\{\w+\}", NOBODY, path)

    send(server, method.upper(), address, {}, f"cover {path} {method}".replace(" ", "-"))
    other = send(server, method.upper(), address, {"a": 1}, f"cover {path} {method}".replace(" ", "-"))

    assert problem(other) == (422, "idempotency_key_reused")
    operation = document()["paths"][path][method]
    assert "Idempotency-Key" in [parameter["name"] for parameter in operation["parameters"]]
    assert {"400", "409", "422"} <= operation["responses"].keys()


# Several workers, and workers that die.


@pytest.fixture
def two_workers(urls: Urls) -> Iterator[Server]:
    with fresh_store(urls.database) as url, Server(url, urls.redis, workers=2) as running:
        yield running


def test_many_at_once_on_two_workers_are_done_once(two_workers: Server):
    server = two_workers
    for number in range(5):
        body = {"name": f"Channel {number}"}

        def create(_: int, sent: object = body, name: str = f"at-once-{number}") -> httpx.Response:
            # A connection of its own each, so that both workers get some.
            headers = {"Authorization": f"Bearer {ADMIN_KEY}", "Idempotency-Key": name}
            return httpx.post(f"{server.url}/api/v1/admin/channels", json=sent, headers=headers, timeout=20.0)

        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(create, range(16)))
        retry = create(0)

        assert {answer.status_code for answer in answers} <= {200, 409}
        assert {answer.json()["code"] for answer in answers if answer.status_code == 409} <= {"idempotency_in_progress"}
        assert {answer.content for answer in answers if answer.status_code == 200} == {retry.content}
        assert told(retry)[3] is True
    channels = server.get("/api/v1/admin/channels").json()["items"]
    assert sorted(c["name"] for c in channels if c["name"].startswith("Channel ")) == [f"Channel {n}" for n in range(5)]


def begin_and_hold(server: Server, customer_id: str, name: str) -> tuple[psycopg.Connection[Any], threading.Thread]:
    """Begin a change that cannot end before the connection lets go of the customer's row."""
    connection = psycopg.connect(server.database)
    connection.execute("SELECT 1 FROM customer WHERE customer_id = %s FOR UPDATE", [customer_id])

    def change() -> None:
        with contextlib.suppress(httpx.HTTPError):  # its worker may be killed
            send(server, "PATCH", f"{CUSTOMERS}/{customer_id}", {"display_name": "Bo"}, name)

    thread = threading.Thread(target=change)
    thread.start()
    with psycopg.connect(server.database, autocommit=True) as looking:
        while looking.execute("SELECT count(*) FROM idempotent_request WHERE answer IS NULL").fetchone() == (0,):
            time.sleep(0.02)
    return connection, thread


def test_a_request_that_is_worked_on_is_told_so_and_its_answer_comes_afterwards(server: Server):
    make(server, "busy-1")
    path = f"{CUSTOMERS}/busy-1"
    connection, thread = begin_and_hold(server, "busy-1", "busy")

    meanwhile = send(server, "PATCH", path, {"display_name": "Bo"}, "busy")
    another = send(server, "PATCH", path, {"display_name": "Cy"}, "busy")
    connection.close()
    thread.join()
    afterwards = send(server, "PATCH", path, {"display_name": "Bo"}, "busy")

    assert problem(meanwhile) == (409, "idempotency_in_progress")
    assert meanwhile.headers["retry-after"] == "1"
    assert problem(another) == (422, "idempotency_key_reused")
    assert (afterwards.json()["version"], told(afterwards)[3]) == (2, True)


def test_answers_outlive_a_restart_and_the_claim_of_a_killed_worker_lapses(urls: Urls):
    with fresh_store(urls.database) as url:
        server = Server(url, urls.redis, workers=2)
        server.start()
        make(server, "dead-1")
        first = send(server, "POST", "/api/v1/admin/channels", {"name": "Lasting"}, "lasting")
        connection, thread = begin_and_hold(server, "dead-1", "dead")
        for pid in workers_of(server):
            os.kill(pid, signal.SIGKILL)
        thread.join()
        connection.close()
        server.stop()
        server.start()
        try:
            replayed = send(server, "POST", "/api/v1/admin/channels", {"name": "Lasting"}, "lasting")
            early = send(server, "PATCH", f"{CUSTOMERS}/dead-1", {"display_name": "Bo"}, "dead")
            with psycopg.connect(url, autocommit=True) as aging:
                age = f"{CLAIM_SECONDS_MAX + 1} s"
                aging.execute("UPDATE idempotent_request SET claimed_at = claimed_at - %s::interval", [age])
            other = send(server, "PATCH", f"{CUSTOMERS}/dead-1", {"display_name": "Cy"}, "dead")
            done = send(server, "PATCH", f"{CUSTOMERS}/dead-1", {"display_name": "Bo"}, "dead")
            again = send(server, "PATCH", f"{CUSTOMERS}/dead-1", {"display_name": "Bo"}, "dead")

            assert told(replayed) == (*told(first)[:3], True)
            assert problem(early) == (409, "idempotency_in_progress")
            assert problem(other) == (422, "idempotency_key_reused")
            assert told(done) == (200, "application/json", done.content, False)
            assert told(again) == (*told(done)[:3], True)
            assert server.get(f"{CUSTOMERS}/dead-1").json()["fields"] == {"display_name": "Bo"}
        finally:
            server.stop()


# In this process, with a clock of our own and endpoints that answer what they are told to.


async def ask(service: Service, clock: Callable[[], int], app: Any, name: str = "n") -> tuple[int, bytes]:
    """Send a POST through the wrapper and return status and body."""
    wrapped = Idempotency(service.database, service.access, service.spreads, clock).wrap(app)
    headers = [(b"authorization", b"Bearer " + ADMIN_KEY.encode()), (b"idempotency-key", name.encode())]
    scope: Any = {"type": "http", "method": "POST", "path": "/x", "query_string": b"", "headers": headers}
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def keep(message: Any) -> None:
        sent.append(message)

    await wrapped(scope, receive, keep)
    return sent[0]["status"], b"".join(message["body"] for message in sent[1:])


def answering(*responses: Response) -> Any:
    """Return an application that gives these answers one after another."""
    following = iter(responses)

    async def app(_scope: Any, receive: Any, respond: Any) -> None:
        assert (await receive())["body"] == b"{}"
        await send_response(respond, next(following))

    return app


def in_process(store_url: str, urls: Urls, story: Callable[[Service], Any]) -> None:
    async def main() -> None:
        async with opened_service(store_url, urls.redis) as service:
            await story(service)

    asyncio.run(main())


def test_an_answer_is_given_again_for_a_day_and_then_the_request_is_new(store_url: str, urls: Urls):
    day = IDEMPOTENCY_HOURS_KEPT * HOUR
    app = answering(Response(200, b"first"), Response(200, b"second"))

    async def story(service: Service) -> None:
        assert await ask(service, lambda: NOON, app) == (200, b"first")
        assert await ask(service, lambda: NOON + day, app) == (200, b"first")
        assert await ask(service, lambda: NOON + day + 1, app) == (200, b"second")
        assert await ask(service, lambda: NOON + 2 * day + 1, app) == (200, b"second")

    in_process(store_url, urls, story)


def test_a_claim_holds_for_a_minute_and_then_the_first_to_come_has_it(store_url: str, urls: Urls):
    async def story(service: Service) -> None:
        begun, ended = asyncio.Event(), asyncio.Event()

        async def hanging(_scope: Any, _receive: Any, respond: Any) -> None:
            begun.set()
            await ended.wait()
            await send_response(respond, Response(200, b"late"))

        first = asyncio.create_task(ask(service, lambda: NOON, hanging))
        await begun.wait()
        app = answering(Response(200, b"in its place"))

        status, body = await ask(service, lambda: NOON + CLAIM_SECONDS_MAX * 1000, app)
        taken_over = await ask(service, lambda: NOON + CLAIM_SECONDS_MAX * 1000 + 1, app)
        ended.set()

        assert (status, b'"idempotency_in_progress"' in body) == (409, True)
        assert taken_over == (200, b"in its place")
        assert await first == (200, b"late")
        assert await ask(service, lambda: NOON + HOUR, app) == (200, b"in its place")

    in_process(store_url, urls, story)


def test_what_is_older_than_a_day_is_swept_away(store_url: str, urls: Urls):
    async def story(service: Service) -> None:
        await ask(service, lambda: NOON, answering(Response(200, b"old")), "old")
        await ask(service, lambda: NOON + HOUR, answering(Response(200, b"young")), "young")

        await sweep(service.database, service.spreads, [1], NOON + IDEMPOTENCY_HOURS_KEPT * HOUR + 1)

        with psycopg.connect(store_url) as connection:
            assert connection.execute("SELECT count(*) FROM idempotent_request").fetchone() == (1,)

    in_process(store_url, urls, story)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_the_caller_is_asked_to_try_again_is_tried_again(store_url: str, urls: Urls, status: int):
    app = answering(Response(status, b"later"), Response(200, b"done"))

    async def story(service: Service) -> None:
        assert await ask(service, lambda: NOON, app) == (status, b"later")
        assert await ask(service, lambda: NOON, app) == (200, b"done")
        assert await ask(service, lambda: NOON, app) == (200, b"done")

    in_process(store_url, urls, story)


def test_an_answer_that_is_too_large_goes_out_once_and_the_request_is_done_once(store_url: str, urls: Urls):
    fits, large = b"x" * IDEMPOTENT_ANSWER_BYTES_MAX, b"x" * (IDEMPOTENT_ANSWER_BYTES_MAX + 1)
    app = answering(Response(200, large), Response(200, b"done twice"))

    async def story(service: Service) -> None:
        assert await ask(service, lambda: NOON, app) == (200, large)
        status, body = await ask(service, lambda: NOON, app)
        assert (status, b'"idempotency_answer_too_large"' in body) == (409, True)
        longest = answering(Response(200, fits))
        assert await ask(service, lambda: NOON, longest, "fits") == (200, fits)
        assert await ask(service, lambda: NOON, longest, "fits") == (200, fits)

    in_process(store_url, urls, story)


def test_nothing_that_is_kept_can_be_read_without_the_secret(store_url: str, urls: Urls):
    secret, name = b"sk_a-secret-that-was-shown-once", "ana@shop.example"

    async def story(service: Service) -> None:
        await ask(service, lambda: NOON, answering(Response(200, b'{"secret":"%s"}' % secret)), name)

    in_process(store_url, urls, story)

    with psycopg.connect(store_url) as connection:
        (row,) = connection.execute(
            "SELECT r::text, name || fingerprint || answer FROM idempotent_request r"
        ).fetchall()
    for planted in (secret, name.encode(), ADMIN_KEY.encode(), b'{"secret"', b"/x"):
        assert planted not in row[1]
        assert planted not in row[0].encode()
        assert planted.hex() not in row[0]


def test_a_write_key_names_no_request(server: Server):
    headers = {"Authorization": f"Bearer {WRITE_KEY}", "Idempotency-Key": "w", "X-Write-Key": WRITE_KEY}

    answers = [
        server.client.patch(f"/api/v1/admin/channels/{CHANNEL_ID}", json={"name": name}, headers=headers)
        for name in ("a", "b")
    ]

    assert [problem(answer) for answer in answers] == [(401, "unknown_key")] * 2
