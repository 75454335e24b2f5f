"""Events as they come, across workers: which rows were committed goes through Redis, what is in them does not.

Whoever commits a batch while someone watches appends the ids of its rows to one bounded stream. That someone watches is
a key with a short life, which is looked at twice a second at most, and only where batches are committed: while nobody
watches nothing else is sent. Whoever watches reads the stream, and then the rows from the ledger, as every page does.
"""

import asyncio
import time
from collections.abc import AsyncIterator

import msgspec

from identity.admin.ledger import Ledger, RefusalView
from identity.resolve import Changes
from profiles.cache import Cache
from profiles.http import Problem
from profiles.views import MergeView

LOOK_SECONDS = 0.5
"""How soon a worker that commits batches knows that someone watches."""
WATCHED_SECONDS = 10
WATCH_AGAIN_SECONDS = 3.0
TICK_SECONDS = 0.3
POLL_SECONDS = 1.0
"""How often the ledger is looked at while Redis is away."""
STREAM_ENTRIES_MAX = 1000
STREAM_SECONDS = 60
BATCH_IDS_MAX = 200
"""Ids of one batch that are passed on; of a larger one the number of the rest."""
READ_ENTRIES_MAX = 100
SHOWN_MAX = 100
"""Merges, and refused events, shown of one tick: the newest."""
LINKS_SHOWN_MAX = 20
"""The same for changes of links alone, which are read one by one."""
PUBLISHING_MAX = 8
SEEN_MAX = 5000

Row = MergeView | RefusalView


class _Entry(msgspec.Struct, frozen=True):
    """What one batch committed in one workspace."""

    workspace_id: int
    ids: list[str]
    more: int = 0


_read_entries = msgspec.json.Decoder(list[_Entry]).decode


class Tick(msgspec.Struct, frozen=True):
    """What came since the last one, the oldest first; ``left_out``: how many more there were."""

    rows: list[Row]
    left_out: int
    is_away: bool


class Bell:
    """Tells whoever watches, in whichever worker, what this one has committed."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._watched = cache.own_key("w")
        self._stream = cache.own_key("l")
        self._is_watched = False
        self._look_at = 0.0
        self._publishing: set[asyncio.Task[None]] = set()

    def ring(self, changes: Changes) -> None:
        """Pass on the ids of a batch, if anyone watches. Neither waits nor raises."""
        if not changes.merges and not changes.refused:
            return
        is_due = time.monotonic() >= self._look_at
        if not (self._is_watched or is_due) or len(self._publishing) >= PUBLISHING_MAX:
            return
        task = asyncio.create_task(self._publish(changes, is_due=is_due))
        self._publishing.add(task)
        task.add_done_callback(self._publishing.discard)

    async def _publish(self, changes: Changes, *, is_due: bool) -> None:
        if is_due:
            self._look_at = time.monotonic() + LOOK_SECONDS
            self._is_watched = await self._cache.ask("EXISTS", self._watched) == 1
        if self._is_watched:
            payload = msgspec.json.encode(_entries(changes))
            await self._cache.ask("XADD", self._stream, "MAXLEN", "~", STREAM_ENTRIES_MAX, "*", "e", payload)

    async def watch(self) -> None:
        """Have every worker pass on what it commits, for the next few seconds."""
        await self._cache.ask("SET", self._watched, "1", "EX", WATCHED_SECONDS)
        await self._cache.ask("EXPIRE", self._stream, STREAM_SECONDS)

    async def read(self, after: str | None) -> tuple[str | None, list[_Entry]] | None:
        """Return what was passed on after a place in the stream, and the place behind it; None: Redis is away.

        Without a place: nothing, and where the stream ends.
        """
        if after is None:
            found = await self._cache.ask("XREVRANGE", self._stream, "+", "-", "COUNT", 1)
            if found is None:
                return None
            return (found[0][0].decode() if found else "0-0"), []
        found = await self._cache.ask("XRANGE", self._stream, f"({after}", "+", "COUNT", READ_ENTRIES_MAX)
        if found is None:
            return None
        entries = [entry for _, held in found for entry in _read_entries(held[b"e"])]
        return (found[-1][0].decode() if found else after), entries


def _entries(changes: Changes) -> list[_Entry]:
    ids: dict[int, list[str]] = {}
    for workspace_id, merge in changes.merges:
        ids.setdefault(workspace_id, []).append(merge.merge_id)
    for refused in changes.refused:
        ids.setdefault(refused.event.sender.workspace_id, []).append(refused.refusal_id)
    return [
        _Entry(workspace_id, found[-BATCH_IDS_MAX:], max(0, len(found) - BATCH_IDS_MAX))
        for workspace_id, found in ids.items()
    ]


async def follow(bell: Bell, ledger: Ledger, workspace_id: int) -> AsyncIterator[Tick]:
    """Give what is committed in a workspace, tick by tick, beginning with the newest of what is there.

    While Redis is away the ledger is looked at once a second; it does not list changes of links alone.
    """
    place: str | None = None
    watch_at = 0.0
    # Twice at the beginning: what other workers commit before they know that someone watches rings no bell.
    looks_at = [0.0, time.monotonic() + LOOK_SECONDS + POLL_SECONDS]
    seen: dict[str, None] = {}
    while True:
        now = time.monotonic()
        if now >= watch_at:
            await bell.watch()
            watch_at = now + WATCH_AGAIN_SECONDS
        told = await bell.read(place)
        rung: list[_Entry] = []
        if told is None:
            place = None
            looks_at = looks_at or [now + POLL_SECONDS]
        else:
            was_away = place is None and bool(seen)
            place, entries = told
            rung = [entry for entry in entries if entry.workspace_id == workspace_id]
            if was_away:
                looks_at.append(now)
        rows: list[Row] = []
        left_out = 0
        if rung or (looks_at and now >= looks_at[0]):
            looks_at = looks_at[1:] if looks_at and now >= looks_at[0] else looks_at
            rows, left_out = await _look(ledger, workspace_id, rung, seen)
        yield Tick(rows, left_out, told is None)
        await asyncio.sleep(TICK_SECONDS)


async def _look(ledger: Ledger, workspace_id: int, rung: list[_Entry], seen: dict[str, None]) -> tuple[list[Row], int]:
    limit = {"limit": str(SHOWN_MAX)}
    merges = (await ledger.list_merges(workspace_id, limit)).items
    refusals = (await ledger.list_refusals(workspace_id, limit)).items
    found: dict[str, Row] = {row.merge_id: row for row in merges} | {row.refusal_id: row for row in refusals}
    told = [row_id for entry in rung for row_id in entry.ids if row_id not in seen]
    # Changes of links alone are in no list, and refused events are no merges: both are asked for in vain at worst.
    for row_id in [row_id for row_id in told if row_id not in found][-LINKS_SHOWN_MAX:]:
        try:
            found[row_id] = await ledger.find_merge(workspace_id, row_id)
        except Problem:
            continue
    left_out = sum(row_id not in found for row_id in told) + sum(entry.more for entry in rung)
    rows = [found[row_id] for row_id in sorted(found) if row_id not in seen]
    seen.update(dict.fromkeys([*found, *told]))
    for row_id in list(seen)[:-SEEN_MAX]:
        del seen[row_id]
    return rows, left_out
