"""The footprints of the benchmarks: two customers with as many visitors and a year each, one with much more to tell."""

import asyncio
import json
import random
import time
from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

from identity.app import Service
from identity.events.identity import SignIn
from identity.footprint import kept_until
from identity.partitions import day_of, keep_up_at
from profiles.clock import make_id, to_text
from tests.harness import WRITE_KEY, opened_service

DAY = 86_400_000
DAYS = 394
_COLUMNS = (
    "bucket", "workspace_id", "is_direct", "subject", "occurred_at", "record_id", "kept_until", "received_at",
    "channel_id", "type", "props", "remarks",
)  # fmt: skip
_PROPS = json.dumps({"page_url": "https://shop.example/products/1017-trail-shoes", "page_title": "Trail shoes | Shop"})


class Told:
    """How much a customer has to tell, evenly over a year and its visitors."""

    def __init__(self, events: int, visitors: int) -> None:
        self.events = events
        self.visitors = visitors

    @property
    def customer_id(self) -> str:
        return f"footprint-{self.events}-{self.visitors}"


SMALL, LARGE = Told(1_000, 50), Told(100_000, 50)
STRANGERS = Told(300_000, 30_000)
"""Visitors whom nobody asks for, so that the indexes are as deep as those of a website."""


def seed(database: str, redis: str) -> None:
    """Let a store know the customers, by the product's own path, and what they did, by COPY."""
    now = time.time_ns() // 1_000_000
    for months in range(14):
        keep_up_at(database, day_of(now) - timedelta(days=30 * months))
    asyncio.run(_seed(database, redis, now))


async def _seed(database: str, redis: str, now: int) -> None:
    async with opened_service(database, redis) as service:
        await service.intake.submit([*_sign_ins(service, SMALL, now), *_sign_ins(service, LARGE, now)])
        async with service.database.connection() as connection:
            for told in (SMALL, LARGE, STRANGERS):
                columns = ", ".join(_COLUMNS)
                async with connection.cursor() as cursor, cursor.copy(f"COPY event ({columns}) FROM STDIN") as copy:
                    for row in _rows(service, told, now):
                        await copy.write_row(row)
            await connection.execute("VACUUM ANALYZE")
            await connection.execute("CHECKPOINT")


def _visitor(told: Told, number: int) -> str:
    return str(UUID(int=random.Random(f"{told.customer_id}:{number}").getrandbits(128), version=4))


def _sign_ins(service: Service, told: Told, now: int) -> list[SignIn]:
    channel = service.channels.find(WRITE_KEY)
    assert channel is not None
    return [
        SignIn(
            sender=channel.sender,
            name="userSignedIn",
            visitor_id=_visitor(told, number),
            customer=told.customer_id,
            occurred_at=now - DAYS * DAY,
            received_at=now,
        )
        for number in range(told.visitors)
    ]


def _rows(service: Service, told: Told, now: int) -> Iterator[tuple[object, ...]]:
    channel = service.channels.find(WRITE_KEY)
    assert channel is not None
    sender = channel.sender
    chance = random.Random(told.customer_id)
    visitors = [_visitor(told, number) for number in range(told.visitors)]
    for number, at in enumerate(sorted(now - chance.randrange(DAYS * DAY) for _ in range(told.events))):
        subject = chance.choice(visitors)
        bucket = service.spreads.bucket(sender.workspace_id, subject)
        moment = to_text(at)
        yield (
            bucket, sender.workspace_id, False, subject, moment, make_id(at, bucket, number),
            kept_until(at, sender.footprint_days), moment, sender.channel_id, "page_view", _PROPS, "[]",
        )  # fmt: skip
