"""Concurrent requests become batches: what arrives while a batch is under way is the next one.

No lingering: a lone request goes out at once, as a batch of one. A full queue sheds load instead of growing.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

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


class Coalescer(Generic[Item, Result]):
    """Gives a batch function the items of many callers, one batch at a time, in order of arrival.

    ``work`` takes 1 to ``items_max`` items and gives one result each, in order; a result that is an exception is
    raised to the item's caller alone. What ``work`` raises is raised to every caller of the batch.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Awaitable[Sequence[Result | Exception]]],
        *,
        items_max: int = ITEMS_MAX,
        waiting_max: int = WAITING_MAX,
    ) -> None:
        self._work = work
        self._items_max = items_max
        self._waiting_max = waiting_max
        self._waiting: deque[tuple[Item, asyncio.Future[Result], float]] = deque()
        self._runner: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Items that wait now."""
        return len(self._waiting)

    def submit(self, item: Item) -> asyncio.Future[Result]:
        """Queue an item and return the future of its result.

        Raises:
            Overloaded: the queue is full.
        """
        return self.submit_all((item,))[0]

    def submit_all(self, items: Sequence[Item]) -> list[asyncio.Future[Result]]:
        """Queue several items, all of them or none.

        Raises:
            Overloaded: the queue has no room for all.
        """
        self.require_room(len(items))
        loop = asyncio.get_running_loop()
        queued_at = time.monotonic()
        futures: list[asyncio.Future[Result]] = [loop.create_future() for _ in items]
        self._waiting.extend((item, future, queued_at) for item, future in zip(items, futures, strict=True))
        if self._runner is None and items:
            self._runner = loop.create_task(self._run())
        return futures

    def require_room(self, items: int) -> None:
        """Raise Overloaded unless so many items may be queued now."""
        if len(self._waiting) + items > self._waiting_max:
            raise Overloaded

    async def drain(self) -> None:
        """Wait until nothing waits and nothing is under way."""
        while self._runner is not None:
            await asyncio.wait({self._runner})

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch = self._next_batch()
                if batch:
                    await self._run_batch(batch)
        finally:
            self._runner = None

    def _next_batch(self) -> list[tuple[Item, asyncio.Future[Result]]]:
        batch: list[tuple[Item, asyncio.Future[Result]]] = []
        oldest = time.monotonic() - WAIT_SECONDS_MAX
        while self._waiting and len(batch) < self._items_max:
            item, future, queued_at = self._waiting.popleft()
            if future.done():
                continue
            if queued_at < oldest:
                future.set_exception(Overloaded())
            else:
                batch.append((item, future))
        return batch

    async def _run_batch(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        try:
            results = await self._work([item for item, _ in batch])
        except Exception as error:  # noqa: BLE001 - every caller of the batch is told, whatever it is
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), result in zip(batch, results, strict=True):
            if future.done():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
