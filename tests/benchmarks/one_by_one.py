"""The service without batches: each request loads, decides and saves in its own transaction, over the same pool.

``create`` does so as one does with psycopg, a call a statement; ``create_pipelined`` sends the statements of a
transaction together, as the service does.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import chain
from unittest.mock import patch

from litestar.types import ASGIApp
from psycopg import errors

from identity.app import Service, before, build
from identity.events.identity import Event
from identity.logs import configure_logging
from identity.resolve import Outcome
from identity.settings import load
from profiles import migrate
from profiles.coalesce import Coalescer
from profiles.database import CONNECTIONS_MAX, Conflict, Connection, statement
from profiles.pipeline import Command, Copy, Row, _rows


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


async def execute(connection: Connection, command: Command) -> list[Row]:
    parameters = {name: value.decode() for name, value in command.parameters.items()}
    cursor = await connection.execute(statement(command.package, command.name), parameters, prepare=True)
    assert cursor.pgresult is not None
    return _rows(cursor.pgresult)


async def fetch_one_by_one(connection: Connection, commands: Sequence[Command]) -> list[list[Row]]:
    return [await execute(connection, command) for command in commands]


async def write_one_by_one(
    connection: Connection, commands: Iterable[Command], copies: Sequence[Copy] = (), last: Iterable[Command] = ()
) -> None:
    assert not copies
    try:
        async with connection.transaction():
            for command in chain(commands, last):
                await execute(connection, command)
    except errors.SerializationFailure as error:
        raise Conflict from error


def create() -> ASGIApp:
    """Return the application of one worker, with the settings of the environment."""
    for name, function in (
        ("identity.intake.fetch_together", fetch_one_by_one),
        ("identity.intake.write_together", write_one_by_one),
        ("profiles.store.fetch_together", fetch_one_by_one),
        ("identity.identifications.fetch_together", fetch_one_by_one),
        ("identity.tombstones.fetch_together", fetch_one_by_one),
    ):
        patch(name, function).start()
    return create_pipelined()


def create_pipelined() -> ASGIApp:
    """Return the same with the statements of each transaction sent together."""
    configure_logging()
    settings = load()
    assert settings.database_url is not None
    service = Service(settings, migrate.read_store_id(settings.database_url))
    service.intake._deciding = OneByOne(service.intake._take)
    return before(build(service), service)
