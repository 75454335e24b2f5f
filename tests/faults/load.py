"""Traffic that keeps count: what was sent, what was acknowledged, and every answer that no fault excuses."""

import asyncio
import contextlib
import itertools
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import httpx
import psycopg

from tests.harness import ADMIN_KEY, WRITE_KEY, Server
from tests.store.invariants import check_store, values_in

HANG_SECONDS_MAX = 12.0
HEALTHY_SECONDS_MAX = 10.0
CUSTOMERS_EACH = 4

_numbers = itertools.count(1)


class Load:
    """Writers who each push ever new names of customers of their own, and look them up in between.

    ``broken`` has every answer that is neither right nor a timely "come back later"; ``cut_off`` counts connections
    that ended without an answer.
    """

    def __init__(self, urls: Sequence[str], *, writers: int = 6, pause_seconds: float = 0.0) -> None:
        self.name = f"load{next(_numbers)}"
        self.urls = urls
        self.writers = writers
        self.pause_seconds = pause_seconds
        self.sent: dict[str, int] = {}
        self.acknowledged: dict[str, list[int]] = {}
        self.answers: Counter[int] = Counter()
        self.broken: list[str] = []
        self.cut_off = 0
        self.slowest = 0.0
        self._is_over = False

    async def during(self, story: Callable[[], Awaitable[object]], *, before: float = 0.5, after: float = 0.5) -> None:
        """Keep the traffic up while the story happens, and a little longer."""
        tasks = [asyncio.create_task(self._write(number)) for number in range(self.writers)]
        await asyncio.sleep(before)
        try:
            await story()
            await asyncio.sleep(after)
        finally:
            self._is_over = True
            await asyncio.gather(*tasks)

    async def _write(self, number: int) -> None:
        client = httpx.AsyncClient(timeout=30.0)
        for count in range(1, 1_000_000):
            if self._is_over:
                break
            customer = f"{self.name}-{number}-{count % CUSTOMERS_EACH}"
            url = self.urls[count % len(self.urls)]
            self.sent[customer] = count
            body = {"visitor_id": f"{self.name}-{number}", "customer_id": customer, "display_name": f"name {count}"}
            headers = {"X-Write-Key": WRITE_KEY}
            answer = await self._ask(client.post(f"{url}/api/v1/authenticate", json=body, headers=headers))
            if answer is not None and answer.status_code == 200:
                self.acknowledged.setdefault(customer, []).append(count)
                if count % 3 == 0:
                    # By another server, where there is one: what was acknowledged here must be seen there.
                    await self._look_up(client, self.urls[(count + 1) % len(self.urls)], customer)
            if answer is None or answer.status_code != 200 or self.pause_seconds:
                await asyncio.sleep(self.pause_seconds or 0.05)
        await client.aclose()

    async def _look_up(self, client: httpx.AsyncClient, url: str, customer: str) -> None:
        held_at_least = self.acknowledged[customer][-1]
        headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
        answer = await self._ask(client.get(f"{url}/api/v1/customers/{customer}", headers=headers))
        if answer is not None and answer.status_code == 200:
            held = _number(answer.json()["fields"]["display_name"])
            if not held_at_least <= held <= self.sent[customer]:
                self.broken.append(f"{customer}: {held} was read after {held_at_least} was acknowledged")

    async def _ask(self, request: Awaitable[httpx.Response]) -> httpx.Response | None:
        began = time.monotonic()
        try:
            answer = await request
        except httpx.TransportError as error:
            if isinstance(error, httpx.TimeoutException):
                self.broken.append(type(error).__name__)
            self.cut_off += 1
            return None
        finally:
            self.slowest = max(self.slowest, time.monotonic() - began)
        self.answers[answer.status_code] += 1
        if answer.status_code not in (200, 503) or (answer.status_code == 503 and "retry-after" not in answer.headers):
            self.broken.append(f"{answer.status_code} {answer.text[:200]}")
        return answer

    def check(self, database: str, *, cut_off_max: int = 0) -> None:
        """Assert that nothing acknowledged is lost, nothing was answered wrongly and nobody waited for long."""
        check_store(database)
        assert self.broken == []
        assert self.cut_off <= cut_off_max
        assert self.slowest < HANG_SECONDS_MAX
        assert self.acknowledged
        customers = sorted(self.acknowledged)
        for customer, values in zip(customers, values_in(database, *customers), strict=True):
            assert values is not None
            assert self.acknowledged[customer][-1] <= _number(values["display_name"]) <= self.sent[customer]
        kept = ledger_of(database)
        acknowledged = {(name, number) for name, numbers in self.acknowledged.items() for number in numbers}
        assert acknowledged - kept == set()


def ledger_of(database: str) -> set[tuple[str, int]]:
    """Return customer and number of every name that the ledger tells of."""
    with psycopg.connect(database) as connection:
        rows = connection.execute(
            "SELECT customer_id, d ->> 4 FROM merge, jsonb_array_elements(decisions) AS d"
            " WHERE d ->> 0 = 'display_name' AND customer_id ~ '^load[0-9]+-'"
        ).fetchall()
    return {(customer, _number(name)) for customer, name in rows}


def _number(name: str) -> int:
    return int(name.removeprefix("name "))


async def healthy(url: str, *, seconds: float = HEALTHY_SECONDS_MAX) -> None:
    """Wait until the service is ready and takes an identity (I14)."""
    deadline = time.monotonic() + seconds
    said: list[int] = []
    async with httpx.AsyncClient(timeout=seconds) as client:
        while True:
            with contextlib.suppress(httpx.TransportError):
                body = {"visitor_id": "health", "customer_id": f"health-{time.monotonic()}", "display_name": "Ana"}
                ready = await client.get(f"{url}/readyz")
                taken = await client.post(f"{url}/api/v1/authenticate", json=body, headers={"X-Write-Key": WRITE_KEY})
                said = [ready.status_code, taken.status_code]
            if said == [200, 200]:
                return
            assert time.monotonic() < deadline, f"not healthy within {seconds} s: {said}"
            await asyncio.sleep(0.1)


def children_of(process: int) -> list[int]:
    """Return the children of a process."""
    return [int(pid) for pid in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def workers_of(server: Server) -> list[int]:
    """Return the worker processes of a service."""
    return [
        pid for pid in children_of(server.process.pid) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
