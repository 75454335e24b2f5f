"""The service as a process while its servers die, hang, fill up and come back: slower or busy, never wrong."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest

from profiles import embedded
from tests.faults.load import Load, children_of, healthy, workers_of
from tests.harness import Server, Urls, fresh_store
from tests.store.invariants import check_store
from tests.store.redis_server import BINARIES, RedisServer


class OwnDatabase:
    """A PostgreSQL of these tests' own, which may be killed and stopped."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url

    @property
    def log(self) -> str:
        return (self.folder / "servers.log").read_text(errors="replace")

    def postmaster(self) -> int:
        return int((self.folder / "postgres" / "postmaster.pid").read_text().split()[0])

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Let it hang for the while: the postmaster and all of its children."""
        self._signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        postmaster = self.postmaster()
        for pid in (postmaster, *children_of(postmaster)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    async def is_back(self, *, but_not_as: int) -> None:
        """Wait until another postmaster lets callers in."""
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(psycopg.OperationalError, OSError, IndexError):
                if self.postmaster() != but_not_as:
                    psycopg.connect(self.url, connect_timeout=2).close()
                    return
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)


class Rig(NamedTuple):
    """A service of two workers on servers of these tests' own. It outlives the faults of all of them."""

    server: Server
    database: OwnDatabase
    redis: RedisServer

    def check(self, load: Load) -> None:
        """Assert that nothing was lost or wrong, and that the supervisor is still the same."""
        load.check(self.server.database)
        assert self.server.process.poll() is None


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnDatabase]:
    folder = tmp_path_factory.mktemp("own")
    with embedded.start(folder, redis=False) as servers:
        yield OwnDatabase(folder, servers.urls.database)


@pytest.fixture(scope="module")
def rig(own: OwnDatabase) -> Iterator[Rig]:
    if not BINARIES:
        pytest.skip("no Redis or Valkey server at hand")
    with fresh_store(own.url) as url, RedisServer() as redis, Server(url, redis.url, workers=2) as server:
        yield Rig(server, own, redis)


def dead(redis: RedisServer) -> Callable[[], object]:
    redis.stop()
    return redis.start


def hung(redis: RedisServer) -> Callable[[], object]:
    redis.freeze()
    return redis.thaw


def full(redis: RedisServer) -> Callable[[], object]:
    redis.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
    redis.command("CONFIG", "SET", "maxmemory", "1mb")
    with contextlib.suppress(Exception):
        for number in range(2000):
            redis.command("SET", f"junk:{number}", "x" * 1000)
    return lambda: redis.command("CONFIG", "SET", "maxmemory", "0")


def flushed(redis: RedisServer) -> Callable[[], object]:
    redis.command("FLUSHALL")
    return lambda: None


def holding_junk(redis: RedisServer) -> Callable[[], object]:
    for number, key in enumerate(redis.command("KEYS", "i:*")):
        match number % 4:
            case 0:
                redis.command("SET", key, "\x00 junk")
            case 1:
                redis.command("EVAL", "redis.call('DEL', KEYS[1]) redis.call('LPUSH', KEYS[1], 'x')", "1", key)
            case 2:
                redis.command("SET", key, "1|")
            case _:
                redis.command("SET", key, "!" * 100_000)
    return lambda: None


@pytest.mark.parametrize("fault", [dead, hung, full, flushed, holding_junk])
def test_whatever_becomes_of_redis_no_answer_is_an_error_or_wrong(
    rig: Rig, fault: Callable[[RedisServer], Callable[[], object]]
) -> None:
    load = Load([rig.server.url])

    async def story() -> None:
        heal = await asyncio.to_thread(fault, rig.redis)
        await asyncio.sleep(1)
        assert rig.server.get("/readyz").status_code == 200
        await asyncio.to_thread(heal)
        await _is_used_again(rig.redis)

    asyncio.run(load.during(story))

    rig.check(load)
    assert load.answers[503] == 0


async def _is_used_again(redis: RedisServer) -> None:
    deadline = time.monotonic() + 10
    before = redis.calls("mget")
    while redis.calls("mget") < before + 20:
        assert time.monotonic() < deadline, "the cache is not used again within 10 s (I14)"
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["restarted", "killed"])
def test_a_database_that_comes_back_has_every_acknowledged_write(rig: Rig, number: signal.Signals) -> None:
    load = Load([rig.server.url])

    async def story() -> None:
        postmaster = rig.database.postmaster()
        os.kill(postmaster, number)
        await rig.database.is_back(but_not_as=postmaster)
        await healthy(rig.server.url)

    asyncio.run(load.during(story))

    rig.check(load)


def test_a_database_that_hangs_for_8_seconds_makes_callers_come_back_and_loses_nothing(rig: Rig) -> None:
    load = Load([rig.server.url])

    async def story() -> None:
        with rig.database.stopped():
            await asyncio.sleep(8)
        await healthy(rig.server.url)

    asyncio.run(load.during(story, after=1))

    rig.check(load)
    assert load.answers[503] > 0


@pytest.mark.parametrize("how", ["pg_terminate_backend", "pg_cancel_backend"])
def test_connections_that_are_cut_off_again_and_again_cost_nobody_an_error(rig: Rig, how: str) -> None:
    load = Load([rig.server.url])

    def cut() -> None:
        with psycopg.connect(rig.server.database, autocommit=True) as connection:
            for _ in range(6):
                connection.execute(
                    f"SELECT {how}(pid) FROM pg_stat_activity"
                    " WHERE application_name = 'identity' AND datname = current_database()"
                )
                time.sleep(0.4)

    async def story() -> None:
        await asyncio.to_thread(cut)

    asyncio.run(load.during(story))

    rig.check(load)
    assert load.answers[200] > load.answers[503]


@pytest.mark.long
def test_redis_and_the_database_away_together_is_busy_and_then_healthy(rig: Rig) -> None:
    load = Load([rig.server.url])

    async def story() -> None:
        rig.redis.freeze()
        with rig.database.stopped():
            await asyncio.sleep(3)
        await asyncio.sleep(1)
        rig.redis.thaw()
        await healthy(rig.server.url)

    asyncio.run(load.during(story))

    rig.check(load)


REFUSED = "Planted-Refused"
PLANTED = ["Planted-Given-Name", "planted.address@shop.example", "+886912345678", "planted-customer", "planted-visitor"]


def test_nothing_that_was_sent_gets_into_a_log_even_with_faults(own: OwnDatabase) -> None:
    name, email, phone, customer, visitor = PLANTED
    with fresh_store(own.url) as database, RedisServer() as redis, Server(database, redis.url) as server:
        push = {"visitor_id": visitor, "customer_id": customer, "name": name, "email": email, "phone": phone}
        refused = {"type": "clIdentity", "visitor_id": visitor, "params": {"customerId": customer, "name": REFUSED}}
        fine = [
            server.authenticate(push),
            server.authenticate({**push, "phone": f"{phone}9999999"}),
            server.get(f"/api/v1/customers/{customer}"),
            server.post("/api/v1/customers/lookup", {"emails": [email, f"{name}\x00"]}),
            server.events({"type": name, "visitor_id": visitor}),
        ]
        with psycopg.connect(database, autocommit=True) as connection:
            # What the readers let pass and the database refuses is a fault of ours.
            connection.execute("ALTER TABLE merge ADD CONSTRAINT planted CHECK (decisions::text !~ 'Planted-Refused')")
        faulty = [server.authenticate({**push, "name": REFUSED})]
        rejected = server.events(refused).json()
        redis.stop()
        fine.append(server.authenticate({**push, "name": f"{name} 2"}))
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute("ALTER TABLE visitor_fact RENAME TO away")
        faulty.append(server.authenticate({**push, "visitor_id": f"{visitor}-2"}))
        postmaster = own.postmaster()
        os.kill(postmaster, signal.SIGKILL)
        away = [
            server.authenticate({**push, "name": f"{name} 3"}),
            server.get(f"/api/v1/customers/{customer}?include={name}"),
            server.client.get(f"/api/v1/customers/{customer}/{name}"),
            server.client.post("/api/v1/authenticate", content=b"\xff" + email.encode()),
        ]
        asyncio.run(own.is_back(but_not_as=postmaster))
        code = server.stop()
        logs = server.logs()

    assert [answer.status_code for answer in fine] == [200] * 6
    assert [answer.status_code for answer in faulty] == [500, 500]
    assert rejected["results"][0]["errors"][0]["code"] == "internal_error"
    assert [answer.status_code for answer in away if answer.status_code == 500] == []
    assert code == 0
    assert logs.count('"message": "fault"') == 3
    assert [value for value in (*PLANTED, "Planted") if value in logs] == []
    assert [value for value in (*PLANTED, "Planted") if value in own.log] == []


@pytest.mark.long
def test_workers_that_die_while_the_database_hangs_are_replaced_once_it_is_back(own: OwnDatabase, urls: Urls) -> None:
    with fresh_store(own.url) as database, Server(database, urls.redis, workers=2) as server:
        with own.stopped():
            for worker in workers_of(server):
                os.kill(worker, signal.SIGKILL)
            time.sleep(20)
        assert server.process.poll() is None
        asyncio.run(healthy(server.url, seconds=15))
        check_store(database)
