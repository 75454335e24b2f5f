"""Redis dead, frozen, hidden, restarted: reads are misses in no time, and nothing stale is trusted afterwards."""

import asyncio
import itertools
import logging
import socket
import time
from collections.abc import Iterator

import pytest

from profiles import cache as module
from profiles.cache import Cache, Entry
from tests.store.redis_server import BINARIES, RedisServer, free_port

pytestmark = pytest.mark.skipif(not BINARIES, reason="no Redis or Valkey server at hand")

SLACK_SECONDS = 0.4
"""What a loaded machine may add to a time-out."""


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """For servers that refuse at once: a loaded machine is no fault of theirs."""
    monkeypatch.setattr(module, "CONNECT_SECONDS_MAX", 2.0)
    monkeypatch.setattr(module, "CALL_SECONDS_MAX", 2.0)


async def back(cache: Cache) -> None:
    ends = time.monotonic() + 10
    while not cache.available:
        assert time.monotonic() < ends, "the cache did not come back within 10 s (I14)"
        await asyncio.sleep(0.01)


async def works(cache: Cache) -> None:
    """Write and read once more; a machine that stalls may cost one time-out on the way."""
    key = cache.visitor_key(1, "after the fault")
    ends = time.monotonic() + 10
    while (await cache.read([key])).entries != [Entry(1, b"x")]:
        assert time.monotonic() < ends, "the cache did not work again within 10 s (I14)"
        await back(cache)
        await cache.write([(key, 1, b"x")], time.monotonic())


@pytest.mark.parametrize("kind", ["port", "socket", "cluster", "sentinel"])
def test_a_dead_server_is_a_miss_at_once_and_the_breaker_opens(kind: str) -> None:
    port = free_port()
    url = {
        "port": f"redis://127.0.0.1:{port}",
        "socket": "unix:///nonexistent/socket",
        "cluster": f"redis+cluster://127.0.0.1:{port}",
        "sentinel": f"redis+sentinel://127.0.0.1:{port}/main",
    }[kind]

    async def story() -> None:
        cache = Cache(url, "s1")
        key = cache.visitor_key(1, "V")
        seconds = []
        for _ in range(10):
            begin = time.monotonic()
            assert (await cache.read([key])).entries == [None]
            seconds.append(time.monotonic() - begin)

        assert max(seconds) < module.CALL_SECONDS_MAX + SLACK_SECONDS
        assert sorted(seconds)[-2] < 0.05
        assert (cache.available, cache.suspect, cache.failures, cache.misses) == (False, False, 1, 10)
        assert not await cache.write([(key, 1, b"")], time.monotonic())
        assert not await cache.forget([(key, 1)])
        assert not await cache.ping()
        assert (cache.suspect, cache.failures) == (True, 1)
        cache.fill([(key, 1, b"")], time.monotonic())
        await cache.close()

    asyncio.run(story())


def test_the_breaker_tries_ever_more_rarely_and_then_comes_back(server: RedisServer) -> None:
    async def story() -> None:
        cache = Cache(server.url, "s1")
        tried: list[float] = []
        ping = cache.ping

        async def counted() -> bool:
            tried.append(time.monotonic())
            return await ping()

        cache.ping = counted  # type: ignore[method-assign]
        server.stop()
        await cache.read([cache.visitor_key(1, "V")])
        while len(tried) < 4:  # noqa: ASYNC110 - the breaker tells nobody
            await asyncio.sleep(0.05)

        pauses = [then - before for before, then in itertools.pairwise(tried[:4])]
        assert [pause >= least for pause, least in zip(pauses, (0.5, 1.0, 2.0), strict=True)] == [True] * 3
        server.start()
        await back(cache)
        await works(cache)
        await cache.close()

    asyncio.run(story())


def test_a_frozen_server_costs_one_bounded_call_and_nothing_stale_is_trusted_after_it(server: RedisServer) -> None:
    async def story() -> None:
        ours, other = Cache(server.url, "s1"), Cache(server.url, "s1")
        keys = [ours.profile_key(1, str(i)) for i in range(50)]
        await ours.write([(key, 1, b"old") for key in keys], time.monotonic())
        assert (await other.read(keys)).entries == [Entry(1, b"old")] * 50

        server.freeze()
        begin = time.monotonic()
        other.fill([(key, 1, b"old") for key in keys], time.monotonic())  # on its way, and applied only after the thaw
        answers = await asyncio.gather(*(ours.read([key]) for key in keys))
        assert [answer.entries for answer in answers] == [[None]] * 50
        assert time.monotonic() - begin < 2 * module.CALL_SECONDS_MAX + SLACK_SECONDS

        begin = time.monotonic()
        assert not any(await asyncio.gather(*(ours.write([(key, 2, b"new")], time.monotonic()) for key in keys)))
        assert time.monotonic() - begin < 2 * module.CALL_SECONDS_MAX + SLACK_SECONDS
        assert (ours.available, ours.suspect) == (False, True)
        await asyncio.sleep(0.5)
        assert (await ours.read(keys)).entries == [None] * 50

        server.thaw()
        while not ours.available:
            assert set((await ours.read(keys)).entries) <= {None, Entry(2, b"new")}
            await asyncio.sleep(0.005)
        await back(other)
        assert not ours.suspect
        for cache in (ours, other):
            assert set((await cache.read(keys)).entries) <= {None, Entry(2, b"new")}
            other.fill([(key, 1, b"old") for key in keys], time.monotonic())
            await asyncio.sleep(0.05)
            assert set((await cache.read(keys)).entries) <= {None, Entry(2, b"new")}
            await works(cache)
            await cache.close()

    asyncio.run(story())


def test_a_write_that_timed_out_is_lost_though_no_read_noticed(server: RedisServer) -> None:
    async def story() -> None:
        cache = Cache(server.url, "s1")
        key = cache.profile_key(1, "Ana")
        await cache.write([(key, 1, b"old")], time.monotonic())

        server.freeze()
        begin = time.monotonic()
        assert not await cache.write([(key, 2, b"new")], time.monotonic())
        assert time.monotonic() - begin < module.CALL_SECONDS_MAX + SLACK_SECONDS
        server.thaw()

        assert (await cache.read([key])).entries == [None]
        await back(cache)
        assert server.raw.get(key) == b"2!"
        await cache.close()

    asyncio.run(story())


@pytest.mark.usefixtures("patient")
def test_a_fill_that_fails_leaves_no_suspicion(server: RedisServer) -> None:
    async def story() -> None:
        cache = Cache(server.url, "s1")
        key = cache.profile_key(1, "Ana")
        await cache.read([key])
        server.hide()

        cache.fill([(key, 1, b"x")], time.monotonic())
        await cache._writes.drain()

        assert (cache.available, cache.suspect) == (False, False)
        server.show()
        await works(cache)
        await cache.close()

    asyncio.run(story())


@pytest.mark.usefixtures("patient")
def test_keys_lost_while_the_server_was_out_of_reach_are_closed_before_anything_is_trusted(server: RedisServer) -> None:
    async def story() -> None:
        cache = Cache(server.url, "s1")
        keys = [cache.profile_key(1, str(i)) for i in range(500)]
        await cache.write([(key, 1, b"old") for key in keys], time.monotonic())

        server.hide()
        for version in (3, 2):
            assert not await cache.write([(key, version, b"new") for key in keys[:400]], time.monotonic())
        assert (cache.available, cache.suspect) == (False, True)
        server.show()
        assert (await cache.read(keys)).entries == [None] * 500
        await back(cache)

        assert not cache.suspect
        assert (await cache.read(keys)).entries == [None] * 400 + [Entry(1, b"old")] * 100
        assert server.raw.mget(keys[:400]) == [b"3!"] * 400
        cache.fill([(keys[0], 2, b"new")], time.monotonic())
        await works(cache)
        assert (await cache.read(keys[:1])).entries == [None]
        await cache.close()

    asyncio.run(story())


@pytest.mark.usefixtures("patient")
def test_after_more_lost_keys_than_are_remembered_everything_must_expire_first(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOST_KEYS_MAX", 10)
    monkeypatch.setattr(module, "CACHE_SECONDS_MAX", 1.0)
    monkeypatch.setattr(module, "CLOSED_MILLISECONDS", 500)

    async def story() -> None:
        cache = Cache(server.url, "s1")
        keys = [cache.profile_key(1, str(i)) for i in range(20)]

        server.hide()
        await cache.write([(key, 2, b"new") for key in keys], time.monotonic())
        since = time.monotonic()
        server.show()
        other = Cache(server.url, "s1")
        await other.write([(key, 1, b"old") for key in keys], time.monotonic())
        await back(cache)
        while cache.suspect:
            assert (await cache.read(keys)).entries == [None] * 20
            await cache.write([(cache.generation_key(), 1, b"")], time.monotonic())
            await asyncio.sleep(0.02)

        assert time.monotonic() - since > 1.5
        assert (await cache.read(keys)).entries == [None] * 20
        await works(cache)
        for one in (cache, other):
            await one.close()

    asyncio.run(story())


@pytest.mark.usefixtures("patient")
def test_a_server_that_refuses_writes_is_not_trusted_until_it_takes_them(server: RedisServer) -> None:
    async def story() -> None:
        cache = Cache(server.url, "s1")
        key = cache.profile_key(1, "Ana")
        await cache.write([(key, 1, b"old")], time.monotonic())
        server.command("CONFIG", "SET", "min-replicas-to-write", "1")  # NOREPLICAS, as READONLY and MISCONF do

        assert not await cache.write([(key, 2, b"new")], time.monotonic())

        await asyncio.sleep(1)
        assert (cache.available, cache.suspect) == (False, True)
        assert (await cache.read([key])).entries == [None]
        server.command("CONFIG", "SET", "min-replicas-to-write", "0")
        await back(cache)
        assert server.raw.get(key) == b"2!"
        await cache.close()

    asyncio.run(story())


def test_connections_killed_under_load_never_mix_answers_up(server: RedisServer) -> None:
    async def story() -> None:
        cache = Cache(server.url, "s1")
        keys = {cache.visitor_key(1, str(i)): b"%d" % i for i in range(200)}
        await cache.write([(key, 1, payload) for key, payload in keys.items()], time.monotonic())
        pauses = itertools.cycle((0.09, 0.1, 0.2))  # about the time-out, so that answers arrive as callers give up
        begin = time.monotonic()
        hits = 0

        def goes_on() -> bool:
            """For three seconds, and on a loaded machine until enough was read and has failed."""
            seconds = time.monotonic() - begin
            return seconds < 3 or (seconds < 60 and not (hits > 1_000 and cache.failures > 0))

        async def reader() -> None:
            nonlocal hits
            while goes_on():
                for key, payload in keys.items():
                    entry = (await cache.read([key])).entries[0]
                    assert entry in (None, Entry(1, payload))
                    hits += entry is not None
                await asyncio.sleep(0.001)

        async def killer() -> None:
            while goes_on():
                await asyncio.sleep(0.3)
                if cache.available:
                    server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
                await asyncio.sleep(0.3)
                server.freeze()
                await asyncio.sleep(next(pauses))
                server.thaw()

        await asyncio.gather(killer(), *(reader() for _ in range(32)))

        assert hits > 1_000
        assert cache.failures > 0
        await works(cache)
        await cache.close()

    asyncio.run(story())


def test_what_the_network_holds_back_is_dropped_by_the_kernel() -> None:
    with RedisServer(port=free_port()) as server:

        async def story() -> None:
            cache = Cache(server.url, "s1")
            await works(cache)
            pool = cache._client.connection_pool  # type: ignore[union-attr]
            connection = await pool.get_connection()
            wire = connection._writer.get_extra_info("socket")

            held = wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)

            assert held == module.UNACKNOWLEDGED_MILLISECONDS_MAX
            await pool.release(connection)
            await cache.close()

        asyncio.run(story())


@pytest.mark.usefixtures("patient")
def test_logs_tell_counts_and_no_ids(server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def story() -> None:
        cache = Cache(server.url, "s1")
        key = cache.profile_key(1, "ana@shop.example")
        await cache.write([(key, 1, b"secret")], time.monotonic())
        server.hide()
        assert not await cache.write([(key, 2, b"secret")], time.monotonic())
        server.show()
        await back(cache)
        await cache.close()

    asyncio.run(story())

    lines = [record.getMessage() for record in caplog.records if record.name == "profiles.cache"]
    assert lines == ["cache away: ConnectionError", "cache back: 1 keys closed, trusted"]
    assert "ana@" not in caplog.text
    assert "secret" not in caplog.text
