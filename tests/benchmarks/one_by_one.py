"""The service without batches: each request loads, decides and saves in its own transaction, over the same pool."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from litestar.types import ASGIApp

from identity.app import Service, before, build
from identity.events.identity import Event
from identity.logs import configure_logging
from identity.resolve import Outcome
from identity.settings import load
from profiles import migrate
from profiles.coalesce import Coalescer
from profiles.database import CONNECTIONS_MAX


class OneByOne(Coalescer[Event, Outcome]):
    """Takes every event alone, as many at once as there are connections."""

    def __init__(self, work: Callable[[Sequence[Event]], Awaitable[Sequence[Outcome | Exception]]]) -> None:
        super().__init__(work)
        self._turns = asyncio.Semaphore(CONNECTIONS_MAX)
        self._tasks: set[asyncio.Task[Outcome]] = set()

    def submit(self, item: Event) -> asyncio.Future[Outcome]:
        task = asyncio.create_task(self._take_one(item))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def drain(self) -> None:
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _take_one(self, item: Event) -> Outcome:
        async with self._turns:
            (result,) = await self._work((item,))
        if isinstance(result, Exception):
            raise result
        return result


def create() -> ASGIApp:
    """Return the application of one worker, with the settings of the environment."""
    configure_logging()
    settings = load()
    assert settings.database_url is not None
    service = Service(settings, migrate.read_store_id(settings.database_url))
    service.intake._deciding = OneByOne(service.intake._take)
    return before(build(service), service)
