"""The service as a process while its servers die, hang, fill up and come back: slower or busy, never wrong, never lost."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from profiles import embedded
from tests.faults.load import Load, healthy
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

    def signal_all(self, number: signal.Signals) -> None:
        """Send a signal to the postmaster and all of its children."""
        postmaster = self.postmaster()
        children = [int(pid) for pid in Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()]
        for pid in (postmaster, *children):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnDatabase]:
    folder = tmp_path_factory.mktemp("own")
    with embedded.start(folder, redis=False) as servers:
        yield OwnDatabase(folder, servers.urls.database)


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    if not BINARIES:
        pytest.skip("no Redis or Valkey server at hand")
    with RedisServer() as server:
        yield server


def dead(redis: RedisServer) -> Callable[[], None]:
    redis.stop()
    return redis.start


def hung(redis: RedisServer) -> Callable[[], None]:
    redis.freeze()
    return redis.thaw


def full(redis: RedisServer) -> Callable[[], None]:
    redis.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
    redis.command("CONFIG", "SET", "maxmemory", "1mb")
    with contextlib.suppress(Exception):
        for number in range(2000):
            redis.command("SET", f"junk:{number}", "x" * 1000)
    return lambda: redis.command("CONFIG", "SET", "maxmemory", "0")


def flushed(redis: RedisServer) -> Callable[[], None]:
    redis.command("FLUSHALL")
    return lambda: None


def holding_junk(redis: RedisServer) -> Callable[[], None]:
    for number, key in enumerate(redis.command("KEYS", "i:*")):
        match number % 4:
            case 0:
                redis.command("SET", key, b"\xff\x00 junk")
            case 1:
                redis.command("DEL", key)
                redis.command("LPUSH", key, "junk")
            case 2:
                redis.command("SET", key, "1|")
            case _:
                redis.command("SET", key, "!" * 100_000)
    return lambda: None


@pytest.mark.parametrize("fault", [dead, hung, full, flushed, holding_junk])
def test_whatever_becomes_of_redis_no_answer_is_an_error_or_wrong(
    urls: Urls, redis: RedisServer, fault: Callable[[RedisServer], Callable[[], None]]
) -> None:
    with fresh_store(urls.database) as database, Server(database, redis.url) as server:
        load = Load([server.url], writers=6)

        async def story() -> None:
            heal = await asyncio.to_thread(fault, redis)
            await asyncio.sleep(2)
            assert server.get("/readyz").status_code == 200
            await asyncio.to_thread(heal)
            await asyncio.sleep(2.5)
            before = redis.calls("mget")
            await asyncio.sleep(0.3)
            assert redis.calls("mget") > before  # it is used again

        asyncio.run(load.during(story))

        load.check(database)
        assert load.answers[503] == 0


@pytest.mark.parametrize("is_crash", [False, True], ids=["restarted", "killed"])
def test_a_database_that_comes_back_has_every_acknowledged_write(own: OwnDatabase, urls: Urls, is_crash: bool) -> None:
    with fresh_store(own.url) as database, Server(database, urls.redis, workers=2) as server:
        load = Load([server.url])

        async def story() -> None:
            os.kill(own.postmaster(), signal.SIGKILL if is_crash else signal.SIGINT)
            await asyncio.sleep(0.5)
            await healthy(server.url, seconds=20 if is_crash else 10)

        asyncio.run(load.during(story))

        load.check(database)


def test_a_database_that_hangs_for_8_seconds_makes_callers_come_back_and_loses_nothing(
    own: OwnDatabase, urls: Urls
) -> None:
    with fresh_store(own.url) as database, Server(database, urls.redis, workers=2) as server:
        load = Load([server.url])

        async def story() -> None:
            own.signal_all(signal.SIGSTOP)
            try:
                await asyncio.sleep(8)
            finally:
                own.signal_all(signal.SIGCONT)
            await healthy(server.url)

        asyncio.run(load.during(story, after=1))

        load.check(database)
        assert load.answers[503] > 0


@pytest.mark.parametrize("how", ["pg_terminate_backend", "pg_cancel_backend"])
def test_connections_that_are_cut_off_again_and_again_cost_nobody_an_error(
    own: OwnDatabase, urls: Urls, how: str
) -> None:
    with fresh_store(own.url) as database, Server(database, urls.redis) as server:
        load = Load([server.url])

        def cut() -> None:
            with psycopg.connect(database, autocommit=True) as connection:
                for _ in range(30):
                    connection.execute(
                        f"SELECT {how}(pid) FROM pg_stat_activity"
                        " WHERE application_name = 'identity' AND datname = current_database()"
                    )
                    time.sleep(0.05)

        async def story() -> None:
            await asyncio.to_thread(cut)

        asyncio.run(load.during(story))

        load.check(database)
        assert load.answers[200] > 10 * load.answers[503]


def test_redis_and_the_database_away_together_is_busy_and_then_healthy(own: OwnDatabase, redis: RedisServer) -> None:
    with fresh_store(own.url) as database, Server(database, redis.url) as server:
        load = Load([server.url])

        async def story() -> None:
            redis.freeze()
            own.signal_all(signal.SIGSTOP)
            await asyncio.sleep(3)
            own.signal_all(signal.SIGCONT)
            await asyncio.sleep(1)
            redis.thaw()
            await healthy(server.url)

        asyncio.run(load.during(story))

        load.check(database)


PLANTED = ["Planted-Given-Name", "planted.address@shop.example", "+886912345678", "planted-customer", "planted-visitor"]


def test_nothing_that_was_sent_gets_into_a_log_even_with_faults(own: OwnDatabase, redis: RedisServer) -> None:
    name, email, phone, customer, visitor = PLANTED
    with fresh_store(own.url) as database, Server(database, redis.url) as server:
        push = {"visitor_id": visitor, "customer_id": customer, "name": name, "email": email, "phone": phone}
        statuses = [server.authenticate(push).status_code]
        statuses += [server.authenticate({**push, "phone": f"{phone}9999999"}).status_code]
        statuses += [server.get(f"/api/v1/customers/{customer}").status_code]
        statuses += [server.post("/api/v1/customers/lookup", {"emails": [email, f"{name}\x00"]}).status_code]
        statuses += [server.events({"type": name, "visitor_id": visitor}).status_code]
        with psycopg.connect(database, autocommit=True) as connection:
            # What the readers let pass and the database refuses: our own fault.
            connection.execute("ALTER TABLE merge ADD CONSTRAINT planted CHECK (decisions::text !~ 'Planted-Refused')")
        statuses += [server.authenticate({**push, "name": f"{name} Planted-Refused"}).status_code]
        statuses += [
            server.events(
                {
                    "type": "clIdentity",
                    "visitor_id": visitor,
                    "params": {"customerId": customer, "name": "Planted-Refused"},
                }
            ).status_code
        ]
        redis.stop()
        statuses += [server.authenticate({**push, "name": f"{name} 2"}).status_code]
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute("ALTER TABLE visitor_fact RENAME TO away")
        statuses += [server.authenticate({**push, "visitor_id": f"{visitor}-2"}).status_code]
        statuses += [server.client.get(f"/api/v1/customers/{customer}/{name}").status_code]
        os.kill(own.postmaster(), signal.SIGKILL)
        statuses += [server.authenticate({**push, "name": f"{name} 3"}).status_code]
        statuses += [server.get(f"/api/v1/customers/{customer}?include={name}").status_code]
        server.client.post("/api/v1/authenticate", content=b"\xff" + email.encode())
        asyncio.run(_comes_back(database))
        code = server.stop()
        logs = server.logs()

    assert (statuses[:5], statuses[5:7], statuses[7]) == ([200] * 5, [500, 200], 200)
    assert statuses[8] == 500
    assert {"fault" in line for line in logs.splitlines() if '"error"' in line and "fault" in line} == {True}
    assert code == 0
    assert [value for value in (*PLANTED, "Planted-Refused", "Planted") if value in logs] == []
    assert [value for value in (*PLANTED, "Planted-Refused", "Planted") if value in own.log] == []


async def _comes_back(database: str) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            with psycopg.connect(database, connect_timeout=2):
                return
        except psycopg.OperationalError:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)


def test_a_service_whose_database_is_away_starts_serving_once_it_is_back(own: OwnDatabase, urls: Urls) -> None:
    with fresh_store(own.url) as database, Server(database, urls.redis, workers=2) as server:
        workers = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
        own.signal_all(signal.SIGSTOP)
        try:
            for pid in workers:
                if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(int(pid), signal.SIGKILL)
            time.sleep(20)
            is_alive = server.process.poll() is None
        finally:
            own.signal_all(signal.SIGCONT)
        assert is_alive
        asyncio.run(healthy(server.url, seconds=15))
        check_store(database)
