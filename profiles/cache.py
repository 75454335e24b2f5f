"""What Redis remembers of PostgreSQL: fenced by version, never the truth, never a reason to fail.

**The promise.** Whoever reads after a write was acknowledged gets that write, something newer, or a miss. It holds
because of four rules, the first two of which are the caller's:

1. What is cached is read as one committed row, version and payload together, and ``since`` was taken before that read.
2. Before an event is acknowledged, ``write`` is awaited with what the commit left behind, also if the commit found
   nothing to change (an earlier attempt may have died between its commit and its cache write). A reader who filled a
   miss calls ``fill``, and waits for nothing.
3. A value never replaces a newer one (``FENCED_SET``), and lives no longer than CACHE_SECONDS_MAX after ``since``.
4. Nothing read more than FILL_SECONDS_MAX ago is set any more. Where no value may be set (late, too large, Redis full,
   the write had failed, forgotten) the key is *closed*: for CLOSED_MILLISECONDS it holds the version alone, reads as a
   miss and takes nothing older. A plain delete would take the fence away too, and let a reader who is still on his way
   put the old value back.

**When Redis cannot be reached.** Every read is a miss at once. A key whose ``write`` failed is remembered, and this
process trusts no entry until it has closed all of those keys; if they became more than LOST_KEYS_MAX, until every entry
of that time has expired. *Other* processes that still reach Redis, and this one if it is restarted meanwhile, can be
served the old value until the key is closed, at most CACHE_SECONDS_MAX after the commit. (The time in which
Redis itself stood still is not counted, and commands that were under way add at most a second.) The same bound holds if
Redis forgets a fence: by eviction, a flush, a restart from a snapshot, a failover to a replica that lagged.

**Where.** ``redis://``, ``rediss://``, ``unix://``; ``redis+cluster://host:port,host:port``;
``redis+sentinel://host:port,host:port/service?db=0``; the last two also as ``rediss+…``. Only one-key commands and
MGET are used. Keys carry ids, so nothing of a key, of a value or of an error's text is ever logged.
"""

import asyncio
import logging
import math
import socket
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import islice
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

from redis.asyncio import Redis, RedisCluster, Sentinel
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

CACHE_SECONDS_MAX = 60.0
FILL_SECONDS_MAX = 5.0
CLOSED_MILLISECONDS = 10_000
"""Longer than a fill may be on its way, FILL_SECONDS_MAX and the call itself, or a closed key would open too early."""

CONNECT_SECONDS_MAX = 0.05
CALL_SECONDS_MAX = 0.1
UNACKNOWLEDGED_MILLISECONDS_MAX = 500
"""Then the kernel drops what it could not deliver, or it would set old values once a partition heals."""
AWAY_SECONDS_MIN, AWAY_SECONDS_MAX = 0.25, 2.0

PAYLOAD_BYTES_MAX = 64 * 1024
VERSION_DIGITS_MAX = 19
READ_KEYS_MAX, READS_WAITING_MAX = 512, 16_384
WRITE_KEYS_MAX, WRITES_WAITING_MAX = 128, 16_384
CALLS_IN_FLIGHT_MAX = 2
LOST_KEYS_MAX = 10_000

# KEYS: the key. ARGV: version; value, ms to live; closed value, ms to live.
# Versions are compared as text, since Lua's numbers end at 2^53. Anything else at the key, of whatever type, is
# overwritten. A refused SET means out of memory: there only DEL works, and the SET after it, since a script may finish
# what it began.
FENCED_SET = """
local held = redis.pcall('GETRANGE', KEYS[1], 0, 19)
if type(held) == 'string' then
  local at = string.match(held, '^([1-9]%d*)[|!]') or string.match(held, '^(0)[|!]')
  if at and (#at > #ARGV[1] or (#at == #ARGV[1] and at > ARGV[1])) then return 0 end
end
if redis.pcall('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]).err then
  redis.call('DEL', KEYS[1])
  redis.call('SET', KEYS[1], ARGV[4], 'PX', ARGV[5])
end
return 1
"""

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")
Answer: TypeAlias = asyncio.Future[tuple[list[Result], int]]
"""The results of a whole call, and where the caller's own begin among them."""


class Entry(NamedTuple):
    """What is held at a key."""

    version: int
    payload: bytes


class Found(NamedTuple):
    """The answer to a read: one entry or None per key, in the order asked, and the generation of channels and keys."""

    entries: list[Entry | None]
    generation: int | None


class _Write(NamedTuple):
    key: bytes
    version: int
    payload: bytes | None  # None: close the key
    since: float
    promised: bool = True  # an acknowledgement rests on it: if it fails, the key is lost


class _Gathered(Generic[Item, Result]):
    """Gathers what the callers of one loop tick ask into one call.

    At most CALLS_IN_FLIGHT_MAX calls are under way; what comes meanwhile piles up into the next one. A caller who is
    cancelled leaves the call to the others. ``send`` answers with at least one result per item, and never raises.
    """

    def __init__(self, send: Callable[[list[Item]], Awaitable[list[Result]]], call_max: int, waiting_max: int) -> None:
        self._send = send
        self._call_max = call_max
        self._waiting_max = waiting_max
        self._waiting = 0
        self._callers: deque[tuple[list[Item], Answer[Result]]] = deque()
        self._calls: set[asyncio.Task[None]] = set()
        self._scheduled = False

    def put(self, items: list[Item]) -> Answer[Result] | None:
        """Queue at most ``call_max`` items, or return None if too many wait."""
        if self._waiting + len(items) > self._waiting_max:
            return None
        loop = asyncio.get_running_loop()
        answer: Answer[Result] = loop.create_future()
        self._callers.append((items, answer))
        self._waiting += len(items)
        if not self._scheduled and len(self._calls) < CALLS_IN_FLIGHT_MAX:
            self._scheduled = True
            loop.call_soon(self._start)
        return answer

    def _start(self) -> None:
        self._scheduled = False
        while self._callers and len(self._calls) < CALLS_IN_FLIGHT_MAX:
            batch: list[Item] = []
            answers: list[tuple[Answer[Result], int]] = []
            while self._callers and len(batch) + len(self._callers[0][0]) <= self._call_max:
                items, answer = self._callers.popleft()
                answers.append((answer, len(batch)))
                batch += items
            self._waiting -= len(batch)
            call = asyncio.create_task(self._call(batch, answers))
            self._calls.add(call)
            call.add_done_callback(self._end)

    async def _call(self, batch: list[Item], answers: list[tuple[Answer[Result], int]]) -> None:
        results = await self._send(batch)
        for answer, at in answers:
            if not answer.done():  # cancelled
                answer.set_result((results, at))

    def _end(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        self._start()

    async def drain(self) -> None:
        await asyncio.sleep(0)  # what is scheduled, starts
        while self._calls:
            await asyncio.wait(self._calls)


class Cache:
    """One per process and event loop. No method raises because of Redis.

    ``available`` is False while Redis does not answer; ``suspect`` is True while it may hold what is stale. In both
    cases every read is a miss. ``hits``, ``misses`` and ``failures`` only grow.
    """

    def __init__(self, url: str, store_id: str) -> None:
        self.available = True
        self.hits = self.misses = self.failures = 0
        self._prefix = f"i:{store_id}:"
        self._client = _client(url)
        # RedisCluster has no MGET over several slots, Redis none that could be split.
        self._mget: Callable[[list[bytes]], Awaitable[Any]] = (
            self._client.mget_nonatomic if isinstance(self._client, RedisCluster) else self._client.mget
        )
        self._reads: _Gathered[bytes, Entry | None] = _Gathered(self._read_many, READ_KEYS_MAX, READS_WAITING_MAX)
        self._writes: _Gathered[_Write, bool] = _Gathered(self._write_many, WRITE_KEYS_MAX, WRITES_WAITING_MAX)
        self._lost: dict[bytes, int] = {}
        self._trusted_at = -math.inf
        self._recovery: asyncio.Task[None] | None = None
        self._generation_key = _encoded(self.generation_key())

    def visitor_key(self, workspace: int | str, visitor: str) -> str:
        """Version: of the visitor. Payload: the customer's id, or empty for nobody."""
        return f"{self._prefix}v:{workspace}:{visitor}"

    def customer_key(self, workspace: int | str, customer: str) -> str:
        """Version: of the customer. Payload: the digest of the last parameters applied, or empty."""
        return f"{self._prefix}c:{workspace}:{customer}"

    def profile_key(self, workspace: int | str, customer: str) -> str:
        """Version: of the customer. Payload: the lookup's answer."""
        return f"{self._prefix}p:{workspace}:{customer}"

    def generation_key(self) -> str:
        """Version: the generation of channels and keys. Payload: empty."""
        return f"{self._prefix}g"

    def own_key(self, name: str) -> str:
        """For ``ask``: a key of this store."""
        return f"{self._prefix}{name}"

    @property
    def suspect(self) -> bool:
        """Whether Redis may hold something older than what this process acknowledged."""
        return bool(self._lost) or time.monotonic() < self._trusted_at

    async def read(self, keys: Sequence[str]) -> Found:
        """Return what is held at each key. Junk, a fault and too many waiting are misses."""
        if len(keys) > READ_KEYS_MAX:
            parts = [await self.read(keys[i : i + READ_KEYS_MAX]) for i in range(0, len(keys), READ_KEYS_MAX)]
            return Found([entry for part in parts for entry in part.entries], parts[0].generation)
        if self.available and time.monotonic() >= self._trusted_at:
            future = self._reads.put([_encoded(key) for key in keys])
            if future is not None:
                results, at = await future
                generation = results[-1]
                return Found(results[at : at + len(keys)], None if generation is None else generation.version)
        self.misses += len(keys)
        return Found([None] * len(keys), None)

    async def write(self, entries: Iterable[tuple[str, int, bytes]], since: float) -> bool:
        """Set each key to (version, payload) unless it holds something newer; True if no key can hold anything older.

        ``since`` is ``time.monotonic()`` before the truth was read. The entries are queued before the first
        suspension: awaited straight after the commit, a cancellation cannot come between the two.
        """
        return await self._promise(
            [_Write(_encoded(key), version, payload, since) for key, version, payload in entries]
        )

    async def forget(self, keys: Iterable[tuple[str, int]]) -> bool:
        """Remove what is held at each key up to the version given, and close it; True if it is gone."""
        now = time.monotonic()
        return await self._promise([_Write(_encoded(key), version, None, now) for key, version in keys])

    def fill(self, entries: Iterable[tuple[str, int, bytes]], since: float) -> None:
        """Offer what was read after a miss: ``write`` without a promise, which may come to nothing."""
        if not self.available:
            return
        writes = [
            _Write(_encoded(key), version, payload, since, promised=False)
            for key, version, payload in entries
            if len(payload) <= PAYLOAD_BYTES_MAX
        ]
        for i in range(0, len(writes), WRITE_KEYS_MAX):
            self._writes.put(writes[i : i + WRITE_KEYS_MAX])

    async def ping(self) -> bool:
        """Ask Redis now, whatever is known of it, whether it answers."""
        try:
            await self._within(self._mget([self._generation_key]))
        except Exception:  # noqa: BLE001 - redis-py raises AttributeError during failover, among others
            return False
        return True

    async def ask(self, *command: str | bytes | int) -> Any:
        """Return Redis' answer to a command on one key that has nothing to do with the promise.

        None: there was no answer, and nobody knows whether the command was carried out. It is never tried again.
        """
        if not self.available:
            return None
        try:
            return await self._within(self._client.execute_command(*command))
        except Exception as error:  # noqa: BLE001 - see ping
            log.debug("cache: no answer: %s", type(error).__name__)
            return None

    async def close(self) -> None:
        """Let the calls under way end, then disconnect."""
        self.available = False
        if self._recovery is not None:
            self._recovery.cancel()
        await self._reads.drain()
        await self._writes.drain()
        try:
            await self._within(self._client.aclose())
        except Exception:  # noqa: BLE001 - there is nothing left to disconnect from
            log.debug("cache: not disconnected cleanly")

    async def _within(self, call: Awaitable[Any]) -> Any:
        async with asyncio.timeout(CALL_SECONDS_MAX):
            return await call

    async def _read_many(self, keys: list[bytes]) -> list[Entry | None]:
        if self.available:
            try:
                values = await self._within(self._mget([*keys, self._generation_key]))
                entries = [_read_entry(value) for value in values]
            except Exception as error:  # noqa: BLE001 - see ping
                self._fail(error)
            else:
                missed = entries[:-1].count(None)
                self.misses += missed
                self.hits += len(keys) - missed
                return entries
        self.misses += len(keys)
        return [None] * (len(keys) + 1)

    async def _promise(self, writes: list[_Write]) -> bool:
        chunks = [writes[i : i + WRITE_KEYS_MAX] for i in range(0, len(writes), WRITE_KEYS_MAX)]
        answers = [self._writes.put(chunk) for chunk in chunks]
        crowded_out = [
            write for chunk, answer in zip(chunks, answers, strict=True) if answer is None for write in chunk
        ]
        if crowded_out:
            self._lose(crowded_out)
            self._fail(asyncio.QueueFull())
        done = not crowded_out
        for chunk, answer in zip(chunks, answers, strict=True):
            if answer is not None:
                results, at = await answer
                done = done and all(results[at : at + len(chunk)])
        return done

    async def _write_many(self, writes: list[_Write]) -> list[bool]:
        if not self.available:
            self._lose(writes)
            return [False] * len(writes)
        now = time.monotonic()
        sent = [write for write in writes if write.promised or now - write.since <= FILL_SECONDS_MAX]
        replies = await self._execute([_command(write, now) for write in sent])
        faults = [(write, reply) for write, reply in zip(sent, replies, strict=True) if isinstance(reply, Exception)]
        if not faults:
            return [True] * len(writes)
        failed = [write for write, _ in faults]
        self._lose(failed)
        self._fail(faults[0][1])
        return [write not in failed for write in writes]

    async def _execute(self, commands: list[tuple[Any, ...]]) -> list[object]:
        """Return each command's answer or exception."""
        try:
            pipe = self._client.pipeline(transaction=False)
            for command in commands:
                pipe.execute_command(*command)
            replies: list[object] = await self._within(pipe.execute(raise_on_error=False))
        except Exception as error:  # noqa: BLE001 - see ping
            return [error] * len(commands)
        return replies

    def _lose(self, writes: Iterable[_Write]) -> None:
        """Remember the promised keys among these: Redis may hold something older there."""
        if self._trusted_at == math.inf:
            return
        for write in writes:
            if write.promised:
                self._lost[write.key] = max(write.version, self._lost.get(write.key, 0))
        if len(self._lost) > LOST_KEYS_MAX:
            self._lost.clear()
            self._trusted_at = math.inf

    def _fail(self, error: Exception) -> None:
        self.failures += 1
        if self.available:
            self.available = False
            log.warning("cache away: %s", type(error).__name__)
            self._recovery = asyncio.create_task(self._recover())

    async def _recover(self) -> None:
        """Try again and again; come back only when every lost key is closed."""
        wait = AWAY_SECONDS_MIN
        closed = 0
        while not self.available:
            await asyncio.sleep(wait)
            wait = min(2 * wait, AWAY_SECONDS_MAX)
            if not await self.ping():
                continue
            while self._lost:
                now = time.monotonic()
                writes = [
                    _Write(key, version, None, now) for key, version in islice(self._lost.items(), WRITE_KEYS_MAX)
                ]
                for write in writes:  # out first: what is lost again meanwhile is closed again
                    del self._lost[write.key]
                replies = await self._execute([_command(write, now) for write in writes])
                failed = [write for write, reply in zip(writes, replies, strict=True) if isinstance(reply, Exception)]
                self._lose(failed)
                closed += len(writes) - len(failed)
                if failed:
                    break
            else:
                if self._trusted_at == math.inf:
                    self._trusted_at = time.monotonic() + CACHE_SECONDS_MAX + CLOSED_MILLISECONDS / 1000
                self.available = True
                log.info("cache back: %d keys closed, %s", closed, "suspect" if self.suspect else "trusted")


def _encoded(key: str) -> bytes:
    # Never raises: one caller's odd key must not cost the others in the same call theirs.
    return key.encode("utf-8", "surrogatepass")


def _read_entry(value: object) -> Entry | None:
    if not isinstance(value, bytes):
        return None
    digits, bar, payload = value.partition(b"|")
    if not bar or not digits.isdigit() or len(digits) > VERSION_DIGITS_MAX or len(payload) > PAYLOAD_BYTES_MAX:
        return None
    if digits.startswith(b"0") and digits != b"0":
        return None
    return Entry(int(digits), payload)


def _command(write: _Write, now: float) -> tuple[Any, ...]:
    age = max(0.0, now - write.since)
    version = b"%d" % write.version
    closed = version + b"!"
    if write.payload is None or len(write.payload) > PAYLOAD_BYTES_MAX or age > FILL_SECONDS_MAX:
        value, lives_milliseconds = closed, CLOSED_MILLISECONDS
    else:
        value, lives_milliseconds = version + b"|" + write.payload, int((CACHE_SECONDS_MAX - age) * 1000)
    return ("EVAL", FENCED_SET, 1, write.key, version, value, lives_milliseconds, closed, CLOSED_MILLISECONDS)


def _client(url: str) -> Redis | RedisCluster:
    """The one place that knows which kind of Redis it is."""
    options: dict[str, Any] = {
        "protocol": 2,
        "socket_timeout": CALL_SECONDS_MAX,
        "socket_connect_timeout": CONNECT_SECONDS_MAX,
        "retry": Retry(NoBackoff(), 0),
    }
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return Redis.from_url(url, **options)
    options["socket_keepalive"] = True
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        options["socket_keepalive_options"] = {socket.TCP_USER_TIMEOUT: UNACKNOWLEDGED_MILLISECONDS_MAX}
    if parts.scheme in ("redis", "rediss"):
        return Redis.from_url(url, **options)
    transport, _, kind = parts.scheme.partition("+")
    if transport not in ("redis", "rediss") or kind not in ("cluster", "sentinel"):
        raise ValueError("REDIS URL: redis://, rediss://, unix://, redis+cluster:// or redis+sentinel:// is wanted")
    login, _, hosts = parts.netloc.rpartition("@")
    username, _, password = login.partition(":")
    options |= {"username": unquote(username) or None, "password": unquote(password) or None}
    options["ssl"] = transport == "rediss"
    nodes = [urlsplit(f"//{host}") for host in hosts.split(",")]
    addresses = [(node.hostname or "localhost", node.port) for node in nodes]
    if kind == "cluster":
        return RedisCluster(startup_nodes=[ClusterNode(host, port or 6379) for host, port in addresses], **options)
    sentinel_options = {name: option for name, option in options.items() if name not in ("username", "password")}
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        [(host, port or 26379) for host, port in addresses], sentinel_kwargs=sentinel_options
    )
    db = parse_qs(parts.query).get("db", ["0"])[0]
    master: Redis = sentinel.master_for(parts.path.strip("/"), db=int(db), **options)
    return master
