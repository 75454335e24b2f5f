"""Webhooks: what a real receiver gets, whatever happens to it, to the workers, or to the names it has."""

import asyncio
import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from standardwebhooks import Webhook as Verifier

from identity.webhooks.deliverer import Deliverer
from identity.webhooks.endpoints import NewWebhook, Webhooks
from identity.webhooks.sending import ANSWER_BYTES_MAX, Fault, Outcome, Sender
from profiles.http import Problem
from tests.harness import ADMIN_KEY, Server, Urls, fresh_store, opened_service
from tests.http.receiver import PATIENCE_SECONDS, Handler, Received, Receiver, takes, wait_until
from tests.store.calls import authenticate

HOOKS = "/api/v1/admin/webhooks"
PRIVATE = {"IDENTITY_WEBHOOK_ALLOW_PRIVATE": "on"}
NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def server(urls: Urls) -> Iterator[Server]:
    """Two workers, which share the webhooks."""
    with fresh_store(urls.database) as url, Server(url, urls.redis, workers=2, environ=PRIVATE) as running:
        yield running


def change(server: Server, method: str, path: str, body: object = None) -> httpx.Response:
    return server.client.request(method, path, json=body, headers={"Authorization": f"Bearer {ADMIN_KEY}"})


def make(server: Server, url: str, **more: object) -> dict[str, Any]:
    made = server.post(HOOKS, {"url": url, **more})
    assert made.status_code == 200, made.text
    hook: dict[str, Any] = made.json()
    return hook


def hook_of(server: Server, hook: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = server.get(f"{HOOKS}/{hook['webhook_id']}").json()
    return found


def push(server: Server, customer_id: str, **fields: str) -> None:
    assert server.authenticate({"customer_id": customer_id, **fields}).status_code == 200


def unlease(server: Server) -> None:
    """Let leases run out at once."""
    with psycopg.connect(server.database) as connection:
        connection.execute("UPDATE webhook SET leased_until = '2020-01-01', retry_at = NULL")


def retry_now(server: Server, hook: dict[str, Any]) -> None:
    """Have what failed tried at once, as an admin does who knows that the receiver is well again."""
    assert change(server, "PATCH", f"{HOOKS}/{hook['webhook_id']}", {"active": True}).status_code == 200


def problem(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


def test_every_change_arrives_once_signed_and_in_the_order_of_its_customer(server: Server):
    with Receiver() as receiver:
        hook = make(server, receiver.url, description="CRM")
        for n in range(12):
            for customer in ("o-1", "o-2", "o-3"):
                push(server, customer, display_name=f"Name {n}")
        received = receiver.wait_for(lambda got: len(got) >= 36)
        time.sleep(1.5)  # two workers: a second one would have delivered by now

    assert len(receiver.received) == 36
    for customer in ("o-1", "o-2", "o-3"):
        assert [m.data["version"] for m in received if m.data["customer_id"] == customer] == list(range(1, 13))
    first = received[0]
    assert Verifier(hook["secret"]).verify(first.body, first.headers)["type"] == "created"
    assert first.id == first.data["merge_id"]
    assert first.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert first.headers["content-type"] == "application/json"
    assert "Name" not in str(received)
    change(server, "DELETE", f"{HOOKS}/{hook['webhook_id']}")


def test_only_the_types_asked_for_arrive(server: Server):
    with Receiver() as receiver:
        hook = make(server, receiver.url, types=["updated"])
        push(server, "t-1", display_name="Ana")
        push(server, "t-1", display_name="Ana Lin")
        push(server, "t-2")
        push(server, "t-1", display_name="Ana Wu")
        receiver.wait_for(lambda got: len(got) >= 2)
        wait_until(lambda: hook_of(server, hook), lambda now: now["cursor"] != hook["cursor"])

    assert [(m.data["customer_id"], m.data["version"], m.data["types"]) for m in receiver.received] == [
        ("t-1", 2, ["updated"]),
        ("t-1", 3, ["updated"]),
    ]
    change(server, "DELETE", f"{HOOKS}/{hook['webhook_id']}")


def test_what_fails_is_tried_again_with_the_same_id_and_body_and_holds_up_what_is_behind_it(server: Server):
    def fails(handler: Handler, _: Received) -> None:
        handler.respond(500)

    with Receiver(fails) as receiver:
        hook = make(server, receiver.url)
        push(server, "f-1", display_name="Ana")
        push(server, "f-1", display_name="Ana Lin")
        failing = wait_until(lambda: hook_of(server, hook), lambda now: now["state"] == "failing")
        metrics = wait_until(
            lambda: server.client.get("/metrics").text, lambda text: 'identity_webhooks{state="failing"} 1.0' in text
        )
        receiver.answer = takes
        retry_now(server, hook)
        receiver.wait_for(lambda got: got[-1].data["version"] == 2)
        well = wait_until(lambda: hook_of(server, hook), lambda now: now["state"] == "active" and now["fault"] is None)
        deliveries = wait_until(
            lambda: server.get(f"{HOOKS}/{hook['webhook_id']}/deliveries").json()["items"],
            lambda items: [item["status"] for item in items] == ["delivered"] * 2,
        )

    assert (failing["answer"], failing["fault"], failing["attempts"]) == (500, "answered", 1)
    assert failing["retry_at"] > failing["failing_since"]
    assert 'identity_webhook_messages_total{outcome="answered"}' in metrics
    *tries, then = receiver.received
    assert len(tries) >= 2  # more where the admin came later than the first pause ended
    assert {(m.data["version"], m.id, m.body) for m in tries} == {(1, tries[0].id, tries[0].body)}
    assert then.data["version"] == 2
    assert (well["failing_since"], well["retry_at"], well["fault"]) == (None, None, None)
    assert [(item["merge_id"], item["attempts"]) for item in deliveries] == [(then.id, 1), (tries[0].id, len(tries))]
    change(server, "DELETE", f"{HOOKS}/{hook['webhook_id']}")


def test_a_receiver_that_is_gone_is_sent_nothing_more_until_an_admin_says_so(server: Server):
    with Receiver(lambda handler, _: handler.respond(410)) as receiver:
        hook = make(server, receiver.url)
        push(server, "g-1")
        gone = wait_until(lambda: hook_of(server, hook), lambda now: now["state"] == "gone")
        push(server, "g-2")
        time.sleep(2)
        before = len(receiver.received)
        receiver.answer = takes
        retry_now(server, hook)
        receiver.wait_for(lambda got: len(got) >= 3)

    assert (gone["answer"], before) == (410, 1)
    assert sorted(m.data["customer_id"] for m in receiver.received) == ["g-1", "g-1", "g-2"]
    change(server, "DELETE", f"{HOOKS}/{hook['webhook_id']}")


def test_a_paused_webhook_loses_nothing(server: Server):
    with Receiver() as receiver:
        hook = make(server, receiver.url)
        paused = change(server, "PATCH", f"{HOOKS}/{hook['webhook_id']}", {"active": False}).json()
        push(server, "p-1")
        time.sleep(2)
        before = list(receiver.received)
        retry_now(server, hook)
        received = receiver.wait_for(lambda got: len(got) >= 1)

    assert (paused["state"], before) == ("paused", [])
    assert received[0].data["customer_id"] == "p-1"
    change(server, "DELETE", f"{HOOKS}/{hook['webhook_id']}")


def test_a_secret_is_changed_over_without_a_break_and_shown_once(server: Server):
    with Receiver() as receiver:
        hook = make(server, receiver.url)
        rotated = server.post(f"{HOOKS}/{hook['webhook_id']}/rotate", {}).json()
        tested = server.post(f"{HOOKS}/{hook['webhook_id']}/test", {}).json()
        (message,) = receiver.received

    assert tested["status"] == "delivered"
    assert [Verifier(s).verify(message.body, message.headers)["type"] for s in (hook["secret"], rotated["secret"])] == [
        "test",
        "test",
    ]
    assert hook["secret"] != rotated["secret"]
    assert "whsec_" not in server.get(HOOKS).text + server.get(f"{HOOKS}/{hook['webhook_id']}").text
    change(server, "DELETE", f"{HOOKS}/{hook['webhook_id']}")


def test_one_change_and_all_since_a_time_are_sent_again_with_their_ids(server: Server):
    with Receiver() as receiver:
        hook = make(server, receiver.url)
        push(server, "r-1")
        push(server, "r-2")
        # Several customers go side by side, so either may have come first.
        first, second = sorted(receiver.wait_for(lambda got: len(got) >= 2), key=lambda m: str(m.data["customer_id"]))
        one = server.post(f"{HOOKS}/{hook['webhook_id']}/deliveries/{first.id}/resend", {}).json()
        since = server.post(f"{HOOKS}/{hook['webhook_id']}/resend", {"since": first.data["received_at"]})
        ids = [m.id for m in receiver.wait_for(lambda got: len(got) >= 5)]
        wait_until(lambda: hook_of(server, hook)["cursor"], lambda cursor: cursor == second.data["cursor"])
        skipped = server.post(f"{HOOKS}/{hook['webhook_id']}/resend", {"after": first.data["cursor"]})
        again = [m.id for m in receiver.wait_for(lambda got: len(got) >= 6)]

    assert (one["status"], since.status_code, skipped.status_code) == ("delivered", 200, 200)
    assert {first.id, second.id} == set(ids)
    assert ids[2] == first.id
    assert sorted(ids[3:]) == sorted([first.id, second.id])
    assert again[5:] == [second.id]
    change(server, "DELETE", f"{HOOKS}/{hook['webhook_id']}")


def test_a_new_webhook_can_begin_with_the_beginning(server: Server):
    push(server, "b-1")
    everything = server.get("/api/v1/changes", params={"limit": 1000}).json()["items"]
    with Receiver() as receiver:
        hook = make(server, receiver.url, from_beginning=True)
        received = receiver.wait_for(lambda got: len(got) >= len(everything))

    assert {m.id for m in received} == {item["merge_id"] for item in everything}
    change(server, "DELETE", f"{HOOKS}/{hook['webhook_id']}")


def test_deliveries_are_paged_and_filtered(server: Server):
    with Receiver() as receiver:
        hook = make(server, receiver.url)
        for n in range(3):
            push(server, f"d-{n}")
        receiver.wait_for(lambda got: len(got) >= 3)
        path = f"{HOOKS}/{hook['webhook_id']}/deliveries"
        wait_until(lambda: server.get(path).json()["items"], lambda items: len(items) == 3)
        first = server.get(path, params={"limit": 2})
        rest = server.get(first.links["next"]["url"])
        failed = server.get(path, params={"status": "failed"}).json()["items"]

    ids = [item["merge_id"] for page in (first, rest) for item in page.json()["items"]]
    assert ids == sorted((m.id for m in receiver.received), reverse=True)
    assert (rest.json()["next_cursor"], failed) == (None, [])
    assert first.json()["items"][0]["answer"] == 204
    change(server, "DELETE", f"{HOOKS}/{hook['webhook_id']}")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"url": "ftp://a.example/"}, "invalid_url"),
        ({"url": 5}, "invalid_body"),
        ({}, "invalid_body"),
        ({"url": "http://127.0.0.1/", "types": ["nonsense"]}, "invalid_body"),
        ({"url": "http://127.0.0.1/", "description": "x" * 201}, "invalid_description"),
        ({"url": "http://127.0.0.1/", "description": "a\u0000b"}, "invalid_description"),
        ({"url": "http://127.0.0.1/", "secret": "whsec_x"}, "invalid_body"),
    ],
)
def test_a_webhook_that_cannot_be_is_refused(server: Server, body: object, code: str):
    before = server.get(HOOKS).json()

    assert problem(server.post(HOOKS, body)) == (422, code)
    assert server.get(HOOKS).json() == before


def test_a_webhook_that_is_not_there_is_not_found(server: Server):
    for method, path in (
        ("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/rotate"), ("POST", "/test"), ("GET", "/deliveries"),
        ("POST", f"/deliveries/{NOBODY}/resend"),
    ):  # fmt: skip
        for webhook_id in (NOBODY, "nonsense", "%00"):
            assert problem(change(server, method, f"{HOOKS}/{webhook_id}{path}", {})) == (404, "webhook_not_found")


def test_what_cannot_be_sent_again_is_refused(server: Server):
    with Receiver() as receiver:
        hook = make(server, receiver.url)
        path = f"{HOOKS}/{hook['webhook_id']}"

        assert problem(server.post(f"{path}/resend", {})) == (422, "invalid_resend")
        assert problem(server.post(f"{path}/resend", {"since": "2026-01-01", "after": "x"})) == (422, "invalid_resend")
        assert problem(server.post(f"{path}/resend", {"since": "yesterday"})) == (400, "invalid_since")
        assert problem(server.post(f"{path}/resend", {"after": "x"})) == (400, "invalid_cursor")
        assert problem(server.post(f"{path}/deliveries/{NOBODY}/resend", {})) == (404, "change_not_found")
        assert receiver.received == []
    change(server, "DELETE", path)


# A worker that dies


def test_a_worker_killed_after_the_commit_and_before_the_delivery_loses_nothing(urls: Urls):
    """The receiver answers nothing while the workers are killed; their supervisor starts new ones."""
    with (
        fresh_store(urls.database) as url,
        Server(url, urls.redis, workers=2, environ=PRIVATE) as server,
        Receiver(lambda handler, _: time.sleep(8)) as receiver,
    ):
        make(server, receiver.url)
        for n in range(5):
            push(server, f"k-{n}")
        caught = receiver.wait_for(lambda got: len(got) >= 1)
        for worker in _workers(server):
            os.kill(worker, signal.SIGKILL)
        receiver.answer = takes
        unlease(server)
        everybody = {f"k-{n}" for n in range(5)}
        received = receiver.wait_for(lambda got: {m.data["customer_id"] for m in got[len(caught) :]} >= everybody)

    assert {m.id for m in caught} <= {m.id for m in received[len(caught) :]}


def _workers(server: Server) -> list[int]:
    children = f"/proc/{server.process.pid}/task/{server.process.pid}/children"
    found = Path(children).read_text("ascii").split()
    return [int(child) for child in found if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


# Receivers that mean no good


def post(url: str, *, resolve: Any = None) -> Outcome:
    async def main() -> Outcome:
        sender = Sender(url, allow_private=True, **({"resolve": resolve} if resolve else {}))
        try:
            return await sender.post(b'{"a":1}', {"webhook-id": "1"})
        finally:
            await sender.close()

    return asyncio.run(main())


def test_a_redirect_is_not_followed():
    with Receiver() as elsewhere, Receiver(lambda h, _: h.respond(307, location=elsewhere.url)) as receiver:
        outcome = post(receiver.url)

    assert (outcome.answer, outcome.fault, elsewhere.received) == (307, Fault.ANSWERED, [])


def test_an_endless_answer_is_read_no_further_than_its_limit():
    written = []

    def endless(handler: Handler, _: Received) -> None:
        handler.send_response(200)
        handler.end_headers()
        while True:
            handler.wfile.write(b"x" * 65536)
            written.append(65536)

    with Receiver(endless) as receiver:
        outcome = post(receiver.url)
        wait_until(lambda: len(written), lambda _: True)

    assert (outcome.answer, outcome.fault) == (200, None)
    assert sum(written) < 1000 * ANSWER_BYTES_MAX


def test_a_receiver_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("identity.webhooks.sending.POST_SECONDS_MAX", 0.3)
    with Receiver(lambda handler, _: time.sleep(3)) as receiver:
        outcome = post(receiver.url)

    assert (outcome.answer, outcome.fault) == (None, Fault.TIMED_OUT)


def test_a_head_that_comes_drop_by_drop_is_given_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("identity.webhooks.sending.POST_SECONDS_MAX", 0.5)

    def drips(handler: Handler, _: Received) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        for n in range(30):
            handler.wfile.write(b"x-%d: y\r\n" % n)
            time.sleep(0.1)

    with Receiver(drips) as receiver:
        outcome = post(receiver.url)

    assert outcome.fault is Fault.TIMED_OUT


def rambles(handler: Handler, _: Received) -> None:
    handler.wfile.write(b"nonsense\r\n\r\n")


def test_what_is_no_http_is_a_broken_answer():
    with Receiver(rambles) as receiver:
        assert post(receiver.url).fault is Fault.BROKEN_ANSWER


def test_where_nothing_listens_nothing_is_connected():
    with Receiver() as receiver:
        url = receiver.url

    assert post(url).fault is Fault.NOT_CONNECTED


def test_a_plain_server_is_not_trusted_for_https():
    with Receiver() as receiver:
        assert post(receiver.url.replace("http:", "https:")).fault is Fault.NOT_TRUSTED


def test_the_connection_goes_to_the_very_address_that_was_checked_under_the_name_that_was_given():
    asked = []

    async def resolve(host: str, port: int) -> list[str]:
        asked.append((host, port))
        return ["127.0.0.1"]

    with Receiver() as receiver:
        outcome = post(f"http://hooks.example:{receiver.port}/x?y=z", resolve=resolve)
        (message,) = receiver.received

    assert outcome.fault is None
    assert asked == [("hooks.example", receiver.port)]
    assert (message.path, message.headers["host"]) == ("/x?y=z", f"hooks.example:{receiver.port}")


def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch):
    with Receiver() as proxy, Receiver() as receiver:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        outcome = post(receiver.url)

    assert (outcome.fault, proxy.received, len(receiver.received)) == (None, [], 1)


def test_a_name_that_means_a_private_address_later_leads_nowhere(urls: Urls, store_url: str):
    """Rebinding: public while the webhook is made, the loopback address when it is used."""
    answers = iter([["1.1.1.1"]])

    async def resolve(host: str, port: int) -> list[str]:
        return next(answers, ["127.0.0.1"])

    async def main(port: int) -> tuple[Any, int]:
        async with opened_service(store_url, urls.redis) as service:
            webhooks = Webhooks(
                service.database, service.spreads, service.feed, _now, allow_private=False, resolve=resolve
            )
            made = await webhooks.create(1, NewWebhook(url=f"https://hooks.example:{port}/"))
            await authenticate(service, {"visitor_id": "v1", "customer_id": "a"})
            async with Delivering(service, webhooks):
                return await shown_once(webhooks, made.webhook_id, lambda shown: shown.fault is not None), port

    with Receiver() as receiver:
        shown, _ = asyncio.run(main(receiver.port))

    assert (shown.fault, shown.state, receiver.received) == (Fault.REFUSED_ADDRESS, "failing", [])


@pytest.mark.parametrize("url", ["https://127.0.0.1/", "https://localhost/", "http://1.1.1.1/", "https://[::1]/"])
def test_without_the_setting_no_webhook_leads_inside(urls: Urls, store_url: str, url: str):
    async def main() -> None:
        async with opened_service(store_url, urls.redis) as service:
            await service.webhooks.create(1, NewWebhook(url=url))

    with pytest.raises(Problem) as raised:
        asyncio.run(main())

    assert (raised.value.status, raised.value.code) == (422, "invalid_url")


def test_a_webhook_that_fails_for_days_is_given_up_and_says_so(urls: Urls, store_url: str):
    async def main(url: str) -> Any:
        async with opened_service(store_url, urls.redis) as service:
            webhooks = Webhooks(service.database, service.spreads, service.feed, _now, allow_private=True)
            made = await webhooks.create(1, NewWebhook(url=url))
            await authenticate(service, {"visitor_id": "v1", "customer_id": "a"})
            with psycopg.connect(store_url) as connection:
                connection.execute("UPDATE webhook SET failing_since = '2026-01-01', attempts = 80")
            async with Delivering(service, webhooks):
                return await shown_once(webhooks, made.webhook_id, lambda shown: shown.state == "failed")

    with Receiver(lambda handler, _: handler.respond(503)) as receiver:
        shown = asyncio.run(main(receiver.url))

    assert (shown.answer, shown.attempts, len(receiver.received)) == (503, 81, 1)


async def shown_once(webhooks: Webhooks, webhook_id: str, is_so: Callable[[Any], bool]) -> Any:
    """Return the webhook once it is as it is waited for."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so(shown := await webhooks.show(1, webhook_id)):
        assert time.monotonic() < deadline, f"still {shown!r}"
        await asyncio.sleep(0.05)
    return shown


def _now() -> int:
    return time.time_ns() // 1_000_000


class Delivering:
    """A deliverer of this process, for a while."""

    def __init__(self, service: Any, webhooks: Webhooks) -> None:
        self._deliverer = Deliverer(service.database, service.feed, webhooks, _now)

    async def __aenter__(self) -> Deliverer:
        self._task = asyncio.create_task(self._deliverer.run_for_ever())
        return self._deliverer

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await self._deliverer.close()


def test_a_worker_that_ends_leaves_its_webhooks_to_the_others_at_once(urls: Urls, store_url: str):
    async def main(url: str) -> Any:
        async with opened_service(store_url, urls.redis) as service:
            webhooks = Webhooks(service.database, service.spreads, service.feed, _now, allow_private=True)
            made = await webhooks.create(1, NewWebhook(url=url))
            async with Delivering(service, webhooks) as first:
                while not first._tasks:  # noqa: ASYNC110 - it tells nobody
                    await asyncio.sleep(0.05)
            return (await service.database.fetch("identity", "load_webhooks"))[0][-1], made

    with Receiver() as receiver:
        leased_until, _ = asyncio.run(main(receiver.url))

    assert leased_until == 0


def test_logs_name_neither_customers_nor_addresses(server: Server):
    with Receiver(lambda handler, _: handler.respond(500, b"planted-answer")) as receiver:
        hook = make(server, receiver.url + "?planted-query")
        push(server, "planted-customer")
        wait_until(lambda: hook_of(server, hook), lambda now: now["state"] == "failing")
        change(server, "DELETE", f"{HOOKS}/{hook['webhook_id']}")

    logs = server.logs() + server.client.get("/metrics").text
    assert [word for word in ("planted", 'hook"', "127.0.0.1") if word in logs] == []
    assert re.findall(rf"(?<![\d.]){receiver.port}\b", logs) == []  # a sum of seconds may well have these digits
    assert [json.loads(line)["level"] for line in server.logs().splitlines() if "fault" in line] == []
