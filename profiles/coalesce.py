"""Concurrent requests become batches: what arrives while a batch is under way is the next one.

No lingering: a lone request goes out at once, as a batch of one. A full queue sheds load instead of growing.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

ITEMS_MAX = 256
"""Items in one batch."""
WAITING_MAX = 8192
"""Items that may wait; the next is refused at once."""
WAIT_SECONDS_MAX = 5.0
"""An item that waited longer is refused when its turn comes: its caller is about to give up."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class Overloaded(Exception):
    """Too much is waiting. Nothing was done; come back later."""


class _Group(NamedTuple):
    """Items that came together. ``is_lone``: its future gives the one result itself, not a list of one."""

    items: Sequence[Any]
    future: asyncio.Future[Any]
    queued_at: float
    is_lone: bool


class Coalescer(Generic[Item, Result]):
    """Gives a batch function the items of many callers, in order of arrival, one batch at a time or, where items need
    not wait for one another, ``lanes`` at a time.

    ``work`` takes up to ``items_max`` items and gives one result each, in order; a result that is an exception concerns
    that item alone. What ``work`` raises is raised to every caller of the batch.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Awaitable[Sequence[Result | Exception]]],
        *,
        items_max: int = ITEMS_MAX,
        waiting_max: int = WAITING_MAX,
        lanes: int = 1,
    ) -> None:
        self._work = work
        self._items_max = items_max
        self._waiting_max = waiting_max
        self._groups: deque[_Group] = deque()
        self._lanes = lanes
        self._runners: set[asyncio.Task[None]] = set()
        self.waiting = 0
        """Items that wait now."""

    def submit(self, item: Item) -> asyncio.Future[Result]:
        """Queue an item and return the future of its result.

        Raises:
            Overloaded: the queue is full.
        """
        return self._queue((item,), is_lone=True)

    def submit_all(self, items: Sequence[Item]) -> asyncio.Future[list[Result | Exception]]:
        """Queue several items, all of them or none, and return the future of their results. They share a batch, unless
        they are too many for one.

        Raises:
            Overloaded: the queue has no room for all.
        """
        if len(items) <= self._items_max:
            return self._queue(items, is_lone=False)
        self.require_room(len(items))
        size = self._items_max
        parts = [self._queue(items[at : at + size], is_lone=False) for at in range(0, len(items), size)]
        return asyncio.ensure_future(_joined(parts))

    def _queue(self, items: Sequence[Item], *, is_lone: bool) -> asyncio.Future[Any]:
        self.require_room(len(items))
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        if not items:
            future.set_result([])
            return future
        self._groups.append(_Group(items, future, time.monotonic(), is_lone))
        self.waiting += len(items)
        if len(self._runners) < self._lanes:
            self._runners.add(loop.create_task(self._run()))
        return future

    def require_room(self, items: int) -> None:
        """Raise Overloaded unless so many items may be queued now."""
        if self.waiting + items > self._waiting_max:
            raise Overloaded

    async def drain(self) -> None:
        """Wait until nothing waits and nothing is under way."""
        while self._runners:
            await asyncio.wait(self._runners)

    async def _run(self) -> None:
        try:
            while self._groups:
                batch = self._next_batch()
                if batch:
                    await self._run_batch(batch)
        finally:
            runner = asyncio.current_task()
            assert runner is not None
            self._runners.discard(runner)

    def _next_batch(self) -> list[_Group]:
        batch: list[_Group] = []
        size = 0
        oldest = time.monotonic() - WAIT_SECONDS_MAX
        while self._groups and (not batch or size + len(self._groups[0].items) <= self._items_max):
            group = self._groups.popleft()
            self.waiting -= len(group.items)
            if group.future.done():
                continue
            if group.queued_at < oldest:
                group.future.set_exception(Overloaded())
            else:
                batch.append(group)
                size += len(group.items)
        return batch

    async def _run_batch(self, batch: list[_Group]) -> None:
        try:
            results = await self._work([item for group in batch for item in group.items])
        except Exception as error:  # noqa: BLE001 - every caller of the batch is told, whatever it is
            for group in batch:
                if not group.future.done():
                    group.future.set_exception(error)
            return
        if self._groups:
            # Answering so many takes a while, in which the database would have nothing to do: the next batch is first.
            asyncio.get_running_loop().call_soon(_answer, batch, results)
        else:
            _answer(batch, results)


def _answer(batch: Sequence[_Group], results: Sequence[Any]) -> None:
    at = 0
    for group in batch:
        told = results[at : at + len(group.items)]
        at += len(told)
        if group.future.done():
            continue
        if not group.is_lone:
            group.future.set_result(list(told))
        elif isinstance(told[0], Exception):
            group.future.set_exception(told[0])
        else:
            group.future.set_result(told[0])


async def _joined(parts: Sequence[asyncio.Future[list[Any]]]) -> list[Any]:
    return [result for results in await asyncio.gather(*parts) for result in results]
