"""The cache against real servers: gathered, fenced, bounded, and never an error."""

import asyncio
import itertools
import random
import time
from collections.abc import Iterator
from typing import Any

import pytest

from profiles import cache as module
from profiles.cache import Cache, Entry, Found
from tests.store.redis_server import BINARIES, RedisServer, free_port

pytestmark = pytest.mark.skipif(not BINARIES, reason="no Redis or Valkey server at hand")

PLAIN_SET = "return redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])"
PLAIN_DELETE = "if string.sub(ARGV[2], -1) == '!' then return redis.call('DEL', KEYS[1]) end" + module.FENCED_SET


@pytest.fixture(scope="module", params=BINARIES, ids=lambda path: path.rsplit("/", 1)[-1])
def shared_server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    with RedisServer(binary=request.param) as server:
        yield server


@pytest.fixture
def server(shared_server: RedisServer) -> RedisServer:
    shared_server.raw.flushall()
    shared_server.raw.config_resetstat()
    return shared_server


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loaded machine is no fault of the server; ``tests/faults`` has the real time-outs."""
    monkeypatch.setattr(module, "CONNECT_SECONDS_MAX", 2.0)
    monkeypatch.setattr(module, "CALL_SECONDS_MAX", 2.0)


async def filled(cache: Cache, key: str, version: int, payload: bytes = b"") -> Entry | None:
    """Fill, wait until Redis has answered, and return what is held then."""
    cache.fill([(key, version, payload)], time.monotonic())
    assert await cache.write([], time.monotonic())
    assert await cache.write([(f"{key}'s neighbour", 0, b"")], time.monotonic())  # the same call: gathered
    return (await cache.read([key])).entries[0]


def test_what_was_written_is_read_with_the_generation(server: RedisServer) -> None:
    async def story() -> None:
        cache = Cache(server.url, "s1")
        visitor, customer, nobody = cache.visitor_key(1, "V"), cache.customer_key(1, "Ana"), cache.profile_key(1, "Bo")

        assert await cache.read([visitor]) == Found([None], None)
        now = time.monotonic()
        assert await cache.write([(visitor, 3, b"Ana"), (customer, 12, b"a|b"), (cache.generation_key(), 7, b"")], now)

        assert await cache.read([customer, nobody, visitor]) == Found([Entry(12, b"a|b"), None, Entry(3, b"Ana")], 7)
        assert await cache.read([]) == Found([], 7)
        assert (cache.hits, cache.misses, cache.failures, cache.suspect) == (2, 2, 0, False)
        assert {key: 59_000 < server.raw.pttl(key) <= 60_000 for key in server.raw.scan_iter()} == {
            b"i:s1:v:1:V": True,
            b"i:s1:c:1:Ana": True,
            b"i:s1:g": True,
        }
        await cache.close()

    asyncio.run(story())


def test_the_reads_of_one_tick_are_one_call(server: RedisServer) -> None:
    async def story() -> None:
        cache = Cache(server.url, "s1")
        keys = [cache.visitor_key(1, str(i)) for i in range(200)]
        await cache.write([(key, i, b"%d" % i) for i, key in enumerate(keys)], time.monotonic())

        answers = await asyncio.gather(*(cache.read([key]) for key in keys))

        assert [answer.entries for answer in answers] == [[Entry(i, b"%d" % i)] for i in range(200)]
        assert server.calls("mget") == 1
        await cache.close()

    asyncio.run(story())


def test_two_calls_are_in_flight_and_the_rest_piles_up(server: RedisServer) -> None:
    async def story() -> None:
        cache = Cache(server.url, "s1")

        async def client() -> None:
            for _ in range(50):
                await cache.read([cache.visitor_key(1, "V"), cache.visitor_key(1, "W")])

        await asyncio.gather(*(client() for _ in range(64)))

        assert server.calls("mget") < 64 * 50 / 10
        assert cache.failures == 0
        await cache.close()

    asyncio.run(story())


def test_many_keys_are_split_and_come_back_in_order(server: RedisServer) -> None:
    async def story() -> None:
        cache = Cache(server.url, "s1")
        keys = [cache.visitor_key(1, str(i)) for i in range(1_300)]
        assert await cache.write([(key, i, b"") for i, key in enumerate(keys)], time.monotonic())

        assert (await cache.read(keys)).entries == [Entry(i, b"") for i in range(1_300)]
        assert server.calls("mget") == 3
        await cache.close()

    asyncio.run(story())


def test_reads_beyond_the_bound_are_misses_at_once(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READS_WAITING_MAX", 10)

    async def story() -> None:
        cache = Cache(server.url, "s1")
        key = cache.visitor_key(1, "V")
        await cache.write([(key, 1, b"")], time.monotonic())

        answers = await asyncio.gather(*(cache.read([key]) for _ in range(15)))

        assert [answer.entries[0] for answer in answers] == [Entry(1, b"")] * 10 + [None] * 5
        assert (cache.available, cache.failures) == (True, 0)
        await cache.close()

    asyncio.run(story())


def test_writes_beyond_the_bound_are_lost_and_the_keys_are_closed(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WRITES_WAITING_MAX", 10)

    async def story() -> None:
        cache = Cache(server.url, "s1")
        key = cache.visitor_key(1, "V")
        await cache.write([(key, 1, b"old")], time.monotonic())

        done = await asyncio.gather(*(cache.write([(key, 2, b"new")], time.monotonic()) for _ in range(11)))

        assert False in done
        assert (cache.available, cache.suspect) == (False, True)
        await until_available(cache)
        assert server.raw.get(key) == b"2!"
        await cache.close()

    asyncio.run(story())


def test_a_reader_who_leaves_does_not_disturb_the_others(server: RedisServer) -> None:
    async def story() -> None:
        cache = Cache(server.url, "s1")
        key = cache.visitor_key(1, "V")
        await cache.write([(key, 1, b"x")], time.monotonic())

        for delay in (0, 0, 0.0001, 0.0003, 0.001):
            readers = [asyncio.create_task(cache.read([key])) for _ in range(20)]
            await asyncio.sleep(delay)
            for reader in readers[::2]:
                reader.cancel()
            answers = await asyncio.gather(*readers, return_exceptions=True)

            assert answers[1::2] == [Found([Entry(1, b"x")], None)] * 10
        assert (cache.available, cache.failures) == (True, 0)
        await cache.close()

    asyncio.run(story())


def test_a_writer_who_leaves_still_writes(server: RedisServer) -> None:
    async def story() -> None:
        cache = Cache(server.url, "s1")
        key = cache.visitor_key(1, "V")
        writer = asyncio.create_task(cache.write([(key, 1, b"x")], time.monotonic()))
        await asyncio.sleep(0)
        writer.cancel()
        await cache._writes.drain()

        assert (await cache.read([key])).entries == [Entry(1, b"x")]
        await cache.close()

    asyncio.run(story())


@pytest.mark.parametrize("versions", [(0, 1, 2), (8, 9, 10), (99, 100, 101), (2**53, 2**53 + 1, 2**63 - 1)])
def test_an_older_value_never_replaces_a_newer_one(server: RedisServer, versions: tuple[int, ...]) -> None:
    async def story() -> None:
        cache = Cache(server.url, "s1")
        for name, order in enumerate(itertools.permutations(versions)):
            key = cache.visitor_key(1, str(name))
            for version in order:
                assert await cache.write([(key, version, b"%d" % version)], time.monotonic())

            assert (await cache.read([key])).entries == [Entry(versions[-1], b"%d" % versions[-1])]
        await cache.close()

    asyncio.run(story())


JUNK = [
    b"",
    b"garbage",
    b"|",
    b"|x",
    b"-1|x",
    b"007|x",
    b"1.5|x",
    b" 1|x",
    b"1e3|x",
    b"\xff\x00\xfe",
    b"9" * 20 + b"|x",
    b"x" * 99,
]


@pytest.mark.parametrize("junk", [*JUNK, b"1|" + b"x" * 70_000, "list", "hash", "set"])
def test_junk_is_a_miss_and_is_overwritten(server: RedisServer, junk: bytes | str) -> None:
    async def story() -> None:
        cache = Cache(server.url, "s1")
        keys = [cache.visitor_key(1, "V"), cache.visitor_key(1, "W"), cache.generation_key()]
        for key in keys:
            match junk:
                case "list":
                    server.raw.rpush(key, "1|x")
                case "hash":
                    server.raw.hset(key, "1|x", "1|x")
                case "set":
                    server.raw.sadd(key, "1|x")
                case _:
                    server.raw.set(key, junk)

        assert await cache.read(keys[:2]) == Found([None, None], None)
        assert await cache.write([(key, 1, b"y") for key in keys], time.monotonic())
        assert await cache.read(keys[:2]) == Found([Entry(1, b"y")] * 2, 1)
        assert cache.available
        await cache.close()

    asyncio.run(story())


def test_an_odd_key_costs_the_others_nothing(server: RedisServer) -> None:
    async def story() -> None:
        cache = Cache(server.url, "s1")
        good = cache.visitor_key(1, "V")
        odd = [cache.visitor_key(1, text) for text in ("\ud800", "\x00\r\n", "{x}", "*", "", "é😀", "x" * 5_000)]

        done = await asyncio.gather(
            *(cache.write([(key, 1, key[:3].encode())], time.monotonic()) for key in [good, *odd])
        )

        assert all(done)
        answers = await asyncio.gather(*(cache.read([key]) for key in [good, *odd]))
        assert [answer.entries[0] for answer in answers] == [Entry(1, key[:3].encode()) for key in [good, *odd]]
        await cache.close()

    asyncio.run(story())


def test_a_flushed_server_is_a_miss(server: RedisServer) -> None:
    async def story() -> None:
        cache = Cache(server.url, "s1")
        key = cache.visitor_key(1, "V")
        await cache.write([(key, 1, b"")], time.monotonic())
        server.raw.flushall()
        server.raw.script_flush()

        assert (await cache.read([key])).entries == [None]
        assert await filled(cache, key, 1) == Entry(1, b"")
        await cache.close()

    asyncio.run(story())


def test_a_closed_key_takes_nothing_older(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CLOSED_MILLISECONDS", 1_000)

    async def story() -> None:
        cache = Cache(server.url, "s1")
        key, newer = cache.visitor_key(1, "V"), cache.visitor_key(1, "W")
        await cache.write([(key, 5, b"x"), (newer, 8, b"x")], time.monotonic())

        assert await cache.forget([(key, 5), (newer, 7)])

        assert (await cache.read([key, newer])).entries == [None, Entry(8, b"x")]
        assert await filled(cache, key, 4) is None
        assert await filled(cache, key, 5) == Entry(5, b"")
        assert await cache.forget([(key, 6)])
        assert await filled(cache, key, 5) is None
        while server.raw.exists(key):  # noqa: ASYNC110 - Redis tells nobody
            await asyncio.sleep(0.05)
        assert await filled(cache, key, 5) == Entry(5, b"")
        await cache.close()

    asyncio.run(story())


def test_a_late_writer_closes_the_key_and_a_late_fill_comes_to_nothing(server: RedisServer) -> None:
    async def story() -> None:
        cache = Cache(server.url, "s1")
        late, filled_late = cache.visitor_key(1, "V"), cache.visitor_key(1, "W")
        await cache.write([(late, 1, b"x"), (filled_late, 1, b"x")], time.monotonic())
        long_ago = time.monotonic() - module.FILL_SECONDS_MAX - 0.1

        assert await cache.write([(late, 2, b"y")], long_ago)
        cache.fill([(filled_late, 2, b"y")], long_ago)
        await asyncio.sleep(0.05)

        assert (await cache.read([late, filled_late])).entries == [None, Entry(1, b"x")]
        assert await filled(cache, late, 1) is None
        await cache.close()

    asyncio.run(story())


def test_a_value_dies_sixty_seconds_after_it_was_read_from_the_truth(server: RedisServer) -> None:
    async def story() -> None:
        cache = Cache(server.url, "s1")
        old, odd_clock = cache.visitor_key(1, "V"), cache.visitor_key(1, "W")
        await cache.write([(old, 1, b"")], time.monotonic() - 4)
        await cache.write([(odd_clock, 1, b"")], time.time())

        assert 55_000 < server.raw.pttl(old) <= 56_000
        assert server.raw.pttl(odd_clock) <= 60_000
        await cache.close()

    asyncio.run(story())


def test_a_payload_that_is_too_large_closes_the_key(server: RedisServer) -> None:
    async def story() -> None:
        cache = Cache(server.url, "s1")
        fits, written, offered = (cache.profile_key(1, name) for name in "ABC")
        most = b"x" * module.PAYLOAD_BYTES_MAX
        await cache.write([(written, 1, b"x"), (offered, 1, b"x")], time.monotonic())

        assert await cache.write([(fits, 2, most), (written, 2, most + b"x")], time.monotonic())
        assert await filled(cache, offered, 2, most + b"x") == Entry(1, b"x")

        assert (await cache.read([fits, written])).entries == [Entry(2, most), None]
        assert server.raw.get(written) == b"2!"
        await cache.close()

    asyncio.run(story())


def test_a_full_server_closes_the_key_instead(server: RedisServer) -> None:
    async def story() -> None:
        cache = Cache(server.url, "s1")
        held, new = cache.profile_key(1, "Ana"), cache.profile_key(1, "Bo")
        await cache.write([(held, 1, b"old")], time.monotonic())
        server.raw.config_set("maxmemory", "1")
        try:
            assert await cache.write([(held, 2, b"new"), (new, 1, b"new")], time.monotonic())

            assert (await cache.read([held, new])).entries == [None, None]
            assert await cache.forget([(held, 2)])
            assert (cache.available, cache.suspect, cache.failures) == (True, False, 0)
        finally:
            server.raw.config_set("maxmemory", "0")
        assert await filled(cache, held, 1, b"old") is None
        assert 0 < server.raw.pttl(held) <= module.CLOSED_MILLISECONDS
        await cache.close()

    asyncio.run(story())


@pytest.mark.parametrize(
    ("planted", "sound"),
    [({}, True), ({"FENCED_SET": PLAIN_SET}, False), ({"FENCED_SET": PLAIN_DELETE}, False)],
    ids=["as built", "planted: no fence", "planted: delete instead of close"],
)
def test_no_read_is_older_than_an_acknowledged_write(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch, planted: dict[str, str], *, sound: bool
) -> None:
    """I8, with two processes' worth of caches. The planted faults prove that the check can fail."""
    monkeypatch.setattr(module, "CLOSED_MILLISECONDS", 300)
    monkeypatch.setattr(module, "FILL_SECONDS_MAX", 0.04)
    for name, script in planted.items():
        monkeypatch.setattr(module, name, script)

    async def story() -> tuple[int, int, int]:
        chance = random.Random(8)
        caches = [Cache(server.url, "s1"), Cache(server.url, "s1")]
        keys = [caches[0].profile_key(1, str(i)) for i in range(30)]
        truth = dict.fromkeys(keys, 1)
        acknowledged = dict.fromkeys(keys, 1)
        reads = older = 0
        begin = time.monotonic()

        def goes_on() -> bool:
            """For a while, and on a loaded machine until enough was read and a planted fault was met."""
            seconds = time.monotonic() - begin
            is_enough = reads > 2_000 and sum(cache.hits for cache in caches) > 500 and (sound or older)
            return seconds < 1.5 or (seconds < 30 and not is_enough)

        async def writer(key: str) -> None:
            while goes_on():
                since = time.monotonic()
                truth[key] += 1
                version = truth[key]
                await asyncio.sleep(chance.random() * 0.003)
                if chance.random() < 0.5:
                    await chance.choice(caches).forget([(key, version)])
                else:
                    await chance.choice(caches).write([(key, version, b"x")], since)
                acknowledged[key] = version
                await asyncio.sleep(chance.random() * 0.02)

        async def reader() -> None:
            nonlocal reads, older
            while goes_on():
                key, cache = chance.choice(keys), chance.choice(caches)
                least = acknowledged[key]
                entry = (await cache.read([key])).entries[0]
                if entry is None:
                    since = time.monotonic()
                    version = truth[key]
                    await asyncio.sleep(chance.random() * 0.01)
                    cache.fill([(key, version, b"x")], since)
                else:
                    version = entry.version
                reads += 1
                older += version < least

        await asyncio.gather(*(writer(key) for key in keys), *(reader() for _ in range(40)))
        hits = sum(cache.hits for cache in caches)
        for cache in caches:
            await cache.close()
        return reads, hits, older

    reads, hits, older = asyncio.run(story())

    assert reads > 2_000
    assert hits > 500
    assert (older == 0) is sound, f"{older} of {reads} reads ({hits} hits) were older than an acknowledged write"


async def until_available(cache: Cache, seconds: float = 10) -> None:
    ends = time.monotonic() + seconds
    while not cache.available:
        assert time.monotonic() < ends, "the cache did not come back"
        await asyncio.sleep(0.01)


async def works(cache: Cache) -> None:
    keys = [cache.visitor_key(1, str(i)) for i in range(300)]
    await cache.write([(cache.generation_key(), 1, b"")], time.monotonic())
    await until_available(cache)  # the first call also learns where the nodes are, which may take too long
    now = time.monotonic()

    done = await asyncio.gather(*(cache.write([(key, i, b"x")], now) for i, key in enumerate(keys)))

    assert all(done)
    assert await cache.write([(key, 0, b"old") for key in keys], now)
    assert (await cache.read(keys)).entries == [Entry(0, b"old")] + [Entry(i, b"x") for i in range(1, 300)]
    assert await cache.forget([(key, i) for i, key in enumerate(keys)])
    assert (await cache.read(keys)).entries == [None] * 300
    assert await cache.ping()
    assert cache.available


def test_a_cluster_works_the_same() -> None:
    ports = [free_port(), free_port()]
    options = ("--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1", "--cluster-port")
    with (
        RedisServer(*options, str(free_port()), port=ports[0]) as first,
        RedisServer(*options, str(free_port()), port=ports[1]) as second,
    ):
        first.command("CLUSTER", "ADDSLOTSRANGE", "0", "8191")
        second.command("CLUSTER", "ADDSLOTSRANGE", "8192", "16383")
        second.command("CLUSTER", "SET-CONFIG-EPOCH", "2")
        bus = str(first.raw.config_get("cluster-port")["cluster-port"])
        second.command("CLUSTER", "MEET", "127.0.0.1", str(ports[0]), bus)
        ends = time.monotonic() + 20
        while any("cluster_state:ok" not in str(node.command("CLUSTER", "INFO")) for node in (first, second)):
            assert time.monotonic() < ends
            time.sleep(0.05)

        async def story() -> None:
            cache = Cache(f"redis+cluster://127.0.0.1:{ports[0]},127.0.0.1:{ports[1]}", "s1")
            await works(cache)
            second.freeze()
            keys = [cache.visitor_key(1, str(i)) for i in range(50)]
            assert (await cache.read(keys)).entries == [None] * 50
            second.thaw()
            await until_available(cache)
            await works_again(cache)
            await cache.close()

        asyncio.run(story())


async def works_again(cache: Cache) -> None:
    ends = time.monotonic() + 10
    keys = [cache.customer_key(1, str(i)) for i in range(50)]
    while not await cache.write([(key, 1, b"") for key in keys], time.monotonic()):
        assert time.monotonic() < ends
        await until_available(cache)
    entries: list[Any] = (await cache.read(keys)).entries
    assert set(entries) <= {None, Entry(1, b"")}


def test_a_master_is_found_through_its_sentinel() -> None:
    port, sentinel_port = free_port(), free_port()
    with RedisServer("--requirepass", "p@ss", port=port, password="p@ss") as master:
        config = master.directory / "sentinel.conf"
        config.write_text(f"sentinel monitor main 127.0.0.1 {port} 1\nsentinel auth-pass main p@ss\n")
        with RedisServer("--sentinel", config=config, port=sentinel_port):

            async def story() -> None:
                cache = Cache(f"redis+sentinel://:p%40ss@127.0.0.1:{sentinel_port}/main?db=3", "s1")
                await works(cache)
                assert set(master.raw.info("keyspace")) == {"db3"}
                await cache.close()

            asyncio.run(story())


@pytest.mark.parametrize("url", ["http://x", "redis+cluster", "memcached+cluster://x", "redis+ring://x:1", ""])
def test_a_url_that_names_no_redis_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="is wanted"):
        Cache(url, "s1")
