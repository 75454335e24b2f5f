"""The run of an import: lines are read in order and shared out to lanes, each of which commits its own.

Small files have one lane, in this process; larger ones a process for each. A file is looked through as a whole before
anything is written.
"""

import asyncio
import contextlib
import gc
import logging
import multiprocessing
import queue
import secrets
import signal
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol
from zlib import crc32

import msgspec

from identity.events.identity import Sender
from identity.gate import blocked_ids
from identity.imports.columns import SOURCE, Columns, Fault, ImportRefused, Line, Reader
from identity.imports.files import Source, read_lines
from identity.imports.lane import (
    BATCH_LINES_MAX,
    Claim,
    Counts,
    ImportBroken,
    Lane,
    Position,
    Progress,
    Result,
)
from identity.imports.rejects import Rejects
from identity.intake import Intake
from identity.operation_log import OperationLog
from identity.resolve import Key
from identity.settings import Settings
from identity.tombstones import Tombstones
from profiles.access import Access, Workspace
from profiles.cache import Cache
from profiles.clock import make_id, to_text
from profiles.database import Database
from profiles.store import Spreads

LANES_MAX = 8
LANES_BESIDE_CORES = 1
"""While one waits for the database, another has its core."""
ALONE_LINES_MAX = 20_000
"""A file of fewer lines has one lane: a process takes a second to start."""
AHEAD_BATCHES_MAX = 2
"""Batches that wait for one lane, while the file is read on."""
POLL_SECONDS = 0.5
COLLECT_BATCHES = 100
LEAVE_SECONDS_MAX = 60.0
CACHE_WAIT_SECONDS_MAX = 3.0
UNFINISHED_ROWS_MAX = 100
REJECTS_WAITING_MAX = 1000
BEYOND = 2**62
"""Beyond the last line of any file."""
NOTE_CHARACTERS_MAX = 500


# Between processes: pickle takes five times as long.
_encode = msgspec.msgpack.Encoder().encode
_lines = msgspec.msgpack.Decoder(list[Line])
_done = msgspec.msgpack.Decoder(tuple[Position, int, list[tuple[int, Line, tuple[Fault, ...]]]])


class Target(msgspec.Struct, frozen=True):
    """Where to import to."""

    settings: Settings
    store_id: str
    workspace: Workspace


class Order(msgspec.Struct, frozen=True):
    """What was asked for."""

    name: str
    """What people call the file."""
    actor: str
    rejects: Path | None
    """Where lines that can be mended are written; None: nowhere."""
    note: str | None = None
    is_dry: bool = False
    is_resumed: bool = False


class Parameters(msgspec.Struct, frozen=True):
    """What an import began with, so that it can be gone on with; the file's name without its folders."""

    file: str
    fingerprint: str
    occurred_at: int
    lanes: int
    columns: Columns


class Report(msgspec.Struct, frozen=True):
    """What became of an import. ``rejects`` is the file of what can be mended, if there is anything."""

    operation_id: str | None
    status: str
    lines: int
    counts: Counts
    rejects: str | None
    is_cache_told: bool


class _Begun(msgspec.Struct, frozen=True):
    operation_id: str | None
    claim: Claim | None
    parameters: Parameters
    positions: dict[int, Position]


def clock() -> int:
    """Return milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def sender_of(workspace: Workspace, actor: str, note: str | None, operation_id: str | None) -> Sender:
    """Return who sends the events of an import."""
    return Sender(
        workspace_id=workspace.workspace_id,
        spread=workspace.spread,
        source=SOURCE,
        footprint_days=workspace.footprint_days,
        actor=actor,
        note=note,
        operation_id=operation_id,
    )


async def begin(
    database: Database, workspace_id: int, actor: str, note: str | None, parameters: msgspec.Struct, lines: int
) -> Claim:
    """Write the operation of a new import, and return the claim to it."""
    claim = make_id(clock(), 0, secrets.randbits(61))
    operation = await OperationLog(database).begin(
        workspace_id,
        "import",
        actor=actor,
        note=note,
        parameters=msgspec.to_builtins(parameters),
        progress=msgspec.to_builtins(Progress(claim, lines)),
        now=clock(),
        taken=True,
    )
    return Claim(operation.operation_id, claim)


async def end(database: Database, claim: Claim, status: str) -> None:
    """Close the operation, if it is still ours."""
    values = {"operation_id": claim.operation_id, "claim": claim.claim, "status": status, "at": to_text(clock())}
    await database.fetch("identity", "end_operation", values)


async def _go_on(database: Database, workspace_id: int, source: Source, order: Order) -> _Begun:
    """Return the newest import of this very file that was broken off, taken over.

    Raises:
        ImportRefused: there is none, or the file is another now.
    """
    rows = await database.fetch(
        "identity", "list_unfinished_imports", {"workspace_id": workspace_id, "rows_max": UNFINISHED_ROWS_MAX}
    )
    is_changed = False
    for operation_id, _, _, _, told, _ in rows:
        try:
            parameters = msgspec.json.decode(told.encode(), type=Parameters)
        except msgspec.MsgspecError:  # one that came over HTTP
            continue
        if parameters.fingerprint != source.fingerprint:
            is_changed = is_changed or parameters.file == Path(order.name).name
            continue
        if parameters.columns != source.columns:
            raise ImportRefused("The import was begun with other columns: give the same --map again.")
        claim = Claim(operation_id, make_id(clock(), 0, secrets.randbits(61)))
        values = {
            "workspace_id": workspace_id, "operation_id": operation_id, "claim": claim.claim, "at": to_text(clock()),
        }  # fmt: skip
        found = await database.fetch("identity", "claim_operation", values)
        if found:
            progress = Progress.read(found[0][0])
            positions = {int(lane): position for lane, position in progress.lanes.items()}
            return _Begun(operation_id, claim, parameters, positions)
    if is_changed:
        raise ImportRefused(
            f"{order.name} is not the file that the import began with: it has changed. Import it from its beginning, "
            "without --resume."
        )
    raise ImportRefused(f"No import of {order.name} was broken off.")


async def run(
    target: Target,
    database: Database,
    intake: Intake,
    cache: Cache,
    source: Source,
    order: Order,
    cores: int,
    advanced: Callable[[int], None],
) -> Report:
    """Import a file that was looked through. ``advanced`` is told how many lines are done besides.

    Raises:
        ImportRefused: there is nothing to go on with.
        ImportBroken: it cannot go on now, but can be resumed.
    """
    workspace = target.workspace
    if order.is_resumed:
        begun = await _go_on(database, workspace.workspace_id, source, order)
    else:
        lanes = 1 if source.lines <= ALONE_LINES_MAX else max(1, min(cores + LANES_BESIDE_CORES, LANES_MAX))
        parameters = Parameters(Path(order.name).name, source.fingerprint, clock(), lanes, source.columns)
        claim = None
        if not order.is_dry:
            claim = await begin(database, workspace.workspace_id, order.actor, order.note, parameters, source.lines)
        begun = _Begun(claim.operation_id if claim else None, claim, parameters, {})
    is_done = False
    try:
        with Rejects(order.rejects, source) as rejects:
            imported = _Import(target, database, intake, source, order, begun, rejects, advanced)
            told = await imported.run()
            told = await is_told(cache) and told
        is_done = True
        counts = imported.counts()
    finally:
        if begun.claim is not None:
            with contextlib.suppress(Exception):
                await asyncio.shield(end(database, begun.claim, "done" if is_done else "stopped"))
    path = str(order.rejects) if rejects.count and order.rejects is not None else None
    return Report(begun.operation_id, "done", source.lines, counts, path, told)


async def is_told(cache: Cache) -> bool:
    """Return whether the cache knows of everything that was committed, having waited for it a little."""
    deadline = time.monotonic() + CACHE_WAIT_SECONDS_MAX
    while not cache.available or cache.suspect:
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.05)
    return True


class _Track(Protocol):
    """Where the lines of one lane go."""

    @property
    def position(self) -> Position: ...

    @property
    def first_waiting(self) -> int: ...

    async def put(self, lines: list[Line]) -> None: ...

    async def finish(self) -> bool: ...


class _Import:
    """One import under way."""

    def __init__(
        self,
        target: Target,
        database: Database,
        intake: Intake,
        source: Source,
        order: Order,
        begun: _Begun,
        rejects: Rejects,
        advanced: Callable[[int], None],
    ) -> None:
        self._target = target
        self._database = database
        self._intake = intake
        self._source = source
        self._begun = begun
        self._rejects = rejects
        self._advanced = advanced
        self._sender = sender_of(target.workspace, order.actor, order.note, begun.operation_id)
        self._blocked = blocked_ids(target.workspace)
        self._reader = Reader(begun.parameters.columns, self._sender, begun.parameters.occurred_at, self._blocked)
        self._tracks: list[_Track] = []
        self._waiting: list[tuple[int, Line, tuple[Fault, ...]]] = []

    def counts(self) -> Counts:
        """Return what became of all lines."""
        total = Counts()
        for track in self._tracks:
            total.add(track.position.counts)
        return total

    async def run(self) -> bool:
        """Do it all, and return whether every lane's cache was told."""
        async with self._lanes() as tracks:
            self._tracks = tracks
            buffers: list[list[Line]] = [[] for _ in tracks]
            done = [track.position.line for track in tracks]
            passed: list[deque[Key]] = [deque(maxlen=BATCH_LINES_MAX) for _ in tracks]
            for line, customer in read_lines(self._source, self._reader):
                at = crc32(customer.encode("utf-8", "surrogatepass")) % len(tracks) if customer is not None else 0
                if line.number <= done[at]:
                    self._pass(line)
                    if customer is not None:
                        passed[at].append((self._target.workspace.workspace_id, customer))
                    if len(self._waiting) >= REJECTS_WAITING_MAX:
                        self._write_rejects(buffers)
                    continue
                buffers[at].append(line)
                if len(buffers[at]) >= BATCH_LINES_MAX:
                    lines, buffers[at] = buffers[at], []
                    await tracks[at].put(lines)
                    self._write_rejects(buffers)
            # Whoever was killed may have been so before the cache was told of what had been committed.
            for keys in filter(None, passed):
                await self._intake.forget_many(set(keys))
            for track, lines in zip(tracks, buffers, strict=True):
                if lines:
                    await track.put(lines)
            told = [await track.finish() for track in tracks]
        self._waiting.sort()
        self._flush_rejects(len(self._waiting))
        return all(told)

    def _pass(self, line: Line) -> None:
        """Pass over a line that was committed before; if it is a reject, it is one again."""
        faults = self._reader.faults(self._reader.read(line.cells, clock()))
        if faults:
            self._waiting.append((line.number, line, faults))
        self._advanced(1)

    def take(self, results: list[Result]) -> None:
        """Take in what became of lines."""
        self._waiting += [(result.line.number, result.line, result.faults) for result in results if result.faults]
        self._advanced(len(results))

    def note(self, lines: int, rejected: list[tuple[int, Line, tuple[Fault, ...]]]) -> None:
        """Take in what another process tells of lines."""
        self._waiting += rejected
        self._advanced(lines)

    def _write_rejects(self, buffers: list[list[Line]]) -> None:
        """Write the rejects before which nothing can come any more."""
        self._waiting.sort()
        pending = [lines[0].number for lines in buffers if lines]
        first = min(
            [*pending, *(track.first_waiting for track in self._tracks if isinstance(track, _Remote))], default=0
        )
        count = 0
        while count < len(self._waiting) and (self._waiting[count][0] < first or not first):
            count += 1
        self._flush_rejects(count)

    def _flush_rejects(self, count: int) -> None:
        for _, line, faults in self._waiting[:count]:
            self._rejects.write(line, faults)
        del self._waiting[:count]
        self._rejects.flush()

    @contextlib.asynccontextmanager
    async def _lanes(self) -> AsyncIterator[list[_Track]]:
        begun = self._begun
        positions = [begun.positions.get(number, Position()) for number in range(begun.parameters.lanes)]
        if len(positions) == 1:
            lane = Lane(self._intake, self._database, self._reader, begun.claim, 0, positions[0], clock)
            yield [_Local(lane, self.take)]
            return
        context = multiprocessing.get_context("spawn")
        outbox: Any = context.Queue()
        tracks: list[_Remote] = []
        for number, position in enumerate(positions):
            work = _Work(self._target, begun.parameters, self._sender, self._blocked, begun.claim, number, position)
            inbox: Any = context.Queue()
            process = context.Process(target=_serve, args=(work, inbox, outbox), daemon=True)
            process.start()
            tracks.append(_Remote(number, inbox, process, position))
        listening = asyncio.create_task(_listen(outbox, tracks, self.note))
        for track in tracks:
            track.listening = listening
        try:
            yield [*tracks]
        finally:
            for track in tracks:
                track.leave()
            deadline = time.monotonic() + LEAVE_SECONDS_MAX
            while any(track.process.is_alive() for track in tracks) and time.monotonic() < deadline:  # noqa: ASYNC110
                await asyncio.sleep(0.05)  # of another process' end nobody tells
            listening.cancel()
            for track in tracks:
                track.end()
            outbox.cancel_join_thread()
            outbox.close()


class _Local:
    """A lane in this process."""

    def __init__(self, lane: Lane, take: Callable[[list[Result]], None]) -> None:
        self._lane = lane
        self._take = take

    @property
    def position(self) -> Position:
        return self._lane.position

    @property
    def first_waiting(self) -> int:
        return BEYOND

    async def put(self, lines: list[Line]) -> None:
        self._take(await self._lane.apply(lines))

    async def finish(self) -> bool:
        return True


class _Remote:
    """A lane in a process of its own."""

    def __init__(self, number: int, inbox: Any, process: BaseProcess, position: Position) -> None:
        self.number = number
        self.process = process
        self.position = position
        self.listening: asyncio.Task[None] | None = None
        self.room = asyncio.Semaphore(AHEAD_BATCHES_MAX)
        self.ended = asyncio.Event()
        self.is_told = False
        self.under_way: list[int] = []
        self._inbox = inbox
        self._has_left = False

    @property
    def first_waiting(self) -> int:
        """The first line of those under way; beyond all lines if there is none."""
        return self.under_way[0] if self.under_way else BEYOND

    async def put(self, lines: list[Line]) -> None:
        await self._while_listening(self.room.acquire())
        self.under_way.append(lines[0].number)
        self._inbox.put(_encode(lines))
        await asyncio.sleep(0)

    async def finish(self) -> bool:
        self.leave()
        await self._while_listening(self.ended.wait())
        return self.is_told

    async def _while_listening(self, waiting: Any) -> None:
        """Wait, unless the lanes are found broken first."""
        assert self.listening is not None
        task = asyncio.ensure_future(waiting)
        await asyncio.wait({task, self.listening}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            task.cancel()
            self.listening.result()
            raise ImportBroken("A lane ended.")

    def leave(self) -> None:
        """Let the lane end once it has done what it was given."""
        if not self._has_left:
            self._has_left = True
            self._inbox.put(None)

    def end(self) -> None:
        """End the lane now."""
        if self.process.is_alive():
            self.process.kill()
        self.process.join()
        self._inbox.cancel_join_thread()
        self._inbox.close()


class _Work(msgspec.Struct, frozen=True):
    target: Target
    parameters: Parameters
    sender: Sender
    blocked: frozenset[str]
    claim: Claim | None
    number: int
    position: Position


async def _listen(
    outbox: Any, tracks: list[_Remote], note: Callable[[int, list[tuple[int, Line, tuple[Fault, ...]]]], None]
) -> None:
    """Take in what lanes tell, until the last one ended.

    Raises:
        ImportBroken: one of them broke off.
    """
    while not all(track.ended.is_set() for track in tracks):
        try:
            told = await asyncio.to_thread(outbox.get, timeout=POLL_SECONDS)
        except queue.Empty:
            if any(not track.process.is_alive() and not track.ended.is_set() for track in tracks) and outbox.empty():
                raise ImportBroken("A process of the import was ended from outside. Resume it.") from None
            continue
        match told:
            case ("done", number, encoded):
                track = tracks[number]
                track.position, lines, rejected = _done.decode(encoded)
                track.under_way.pop(0)
                note(lines, rejected)
                track.room.release()
            case ("ended", number, is_cache_told):
                tracks[number].is_told = is_cache_told
                tracks[number].ended.set()
            case ("broken", message):
                raise ImportBroken(message)


def _serve(work: _Work, inbox: Any, outbox: Any) -> None:
    """Be one lane, in a process of its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever runs the import tells its lanes when to end
    logging.disable(logging.CRITICAL)  # failures come as exceptions, to whoever runs the import
    try:
        asyncio.run(_serve_lane(work, inbox, outbox))
    except ImportBroken as error:
        outbox.put(("broken", str(error)))


async def _serve_lane(work: _Work, inbox: Any, outbox: Any) -> None:
    target = work.target
    assert target.settings.database_url is not None
    assert target.settings.redis_url is not None
    database = Database(target.settings.database_url, prepared=target.settings.database_prepared)
    cache = Cache(target.settings.redis_url, target.store_id)
    spreads = Spreads()
    access = Access(database, cache, spreads)
    intake = Intake(database, cache, spreads, Tombstones(database, access, spreads))
    await database.open()
    try:
        await access.confirm(None)
        reader = Reader(work.parameters.columns, work.sender, work.parameters.occurred_at, work.blocked)
        lane = Lane(intake, database, reader, work.claim, work.number, work.position, clock)
        parent = multiprocessing.parent_process()
        assert parent is not None
        # What is made for one batch is gone with it; looking for cycles in it would cost as much as deciding it.
        gc.collect()
        gc.freeze()
        gc.disable()
        batches = 0
        while parent.is_alive():
            try:
                lines = await asyncio.to_thread(inbox.get, timeout=POLL_SECONDS)
            except queue.Empty:
                continue
            if lines is None:
                break
            results = await lane.apply(_lines.decode(lines))
            batches += 1
            if batches % COLLECT_BATCHES == 0:
                gc.collect()
            rejected = [(one.line.number, one.line, one.faults) for one in results if one.faults]
            told = (lane.position, len(results), rejected)
            outbox.put(("done", work.number, _encode(told)))
        outbox.put(("ended", work.number, await is_told(cache)))
    finally:
        await cache.close()
        await database.close()
