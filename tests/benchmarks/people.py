"""The people of the benchmarks, the same as in people.lua, and a store that knows many of them."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

from identity.app import Service
from identity.events.identity import Event
from identity.parse import read_push, to_identify
from identity.resolve import Held, decide
from identity.tolerant import read_object
from profiles import ledger, store
from profiles.database import Connection
from tests.harness import WRITE_KEY, opened_service

FOLDER = Path(__file__).resolve().parent
BATCH = 2000
SAMPLE = 200

_TEMPLATE = (FOLDER / "authenticate.json").read_text("utf-8").strip()


def identifier(n: int) -> int:
    """Return the number in the ids of a person: scattered over the whole range, each taken once."""
    return (n * 48271 % 2147483647) * 69621 % 2147483647


def body(n: int) -> bytes:
    """Return what the person's browser pushes."""
    number = identifier(n)
    return _TEMPLATE.replace("{id}", f"{number:010d}").replace("{phone}", f"{number % 100_000_000:08d}").encode()


def seed(database: str, redis: str, count: int) -> None:
    """Let the store know the first ``count`` people, by the product's own core and statements but without its cache."""
    asyncio.run(_seed(database, redis, count))


async def _seed(database: str, redis: str, count: int) -> None:
    async with opened_service(database, redis) as service:
        chunks = iter(range(1, count + 1, BATCH))

        # Two at once: one is decided here while the database saves the other.
        async def save_chunks() -> None:
            async with service.database.connection() as connection:
                await connection.execute("SET synchronous_commit = off")
                for first in chunks:
                    await _save(service, connection, first, min(first + BATCH, count + 1))
                await connection.execute("RESET synchronous_commit")

        await asyncio.gather(save_chunks(), save_chunks())
        async with service.database.connection() as connection:
            await connection.execute("VACUUM ANALYZE")
            await connection.execute("CHECKPOINT")
            await _check(service, connection, count)


async def _save(service: Service, connection: Connection, first: int, end: int) -> None:
    events = list(_events(service, first, end))
    changes = decide(events, Held(), service.intake.new_id)
    await service.intake._save(connection, changes)


def _events(service: Service, first: int, end: int) -> Iterator[Event]:
    channel = service.channels.find(WRITE_KEY)
    assert channel is not None
    received_at = time.time_ns() // 1_000_000
    for n in range(first, end):
        members = read_object(body(n))
        assert members is not None
        yield to_identify(read_push(members), channel.sender, received_at)


async def _check(service: Service, connection: Connection, count: int) -> None:
    """Make sure that a sample of the profiles is the fold of its ledger."""
    wanted = [identifier(n) for n in range(1, count + 1, max(1, count // SAMPLE))]
    channel = service.channels.find(WRITE_KEY)
    assert channel is not None
    keys = [(channel.workspace_id, f"member-{number:010d}") for number in wanted]
    profiles = await store.load_customers(connection, service.database, service.spreads.key_rows(keys))
    assert len(profiles) == len(keys)
    for (workspace_id, customer_id), profile in profiles.items():
        found = await connection.execute(
            "SELECT merge_id::text FROM merge WHERE workspace_id = %s AND customer_id = %s ORDER BY version",
            [workspace_id, customer_id],
        )
        ids = [row[0] for row in await found.fetchall()]
        merges = [await store.find_merge(service.database, workspace_id, merge_id) for merge_id in ids]
        assert ledger.fold([merge for merge in merges if merge]) == profile
