"""Retention: what is kept for a while only."""

import asyncio

import psycopg

from identity.resolve import NO_CHANNEL
from identity.sweep import EVENT_IDS_DAYS_KEPT, REFUSALS_DAYS_KEPT, sweep
from profiles.clock import make_id, to_text
from tests.harness import Urls, opened_service

NOW = 1_780_000_000_000
DAY = 86_400_000


def test_old_event_ids_and_refusals_go_and_young_ones_and_counts_stay(urls: Urls, store_url: str):
    with psycopg.connect(store_url, autocommit=True) as connection:
        for name, age in (("old", EVENT_IDS_DAYS_KEPT + 1), ("young", EVENT_IDS_DAYS_KEPT - 1)):
            seen = (0, 1, name, to_text(NOW - age * DAY))
            connection.execute("INSERT INTO event_seen VALUES (%s, %s, %s, %s)", seen)
        for age in (REFUSALS_DAYS_KEPT + 1, REFUSALS_DAYS_KEPT - 1):
            at = NOW - age * DAY
            connection.execute(
                "INSERT INTO refusal VALUES (0, 1, %s, NULL, 'x', 'x', NULL, NULL, NULL, '{}', '[]', %s, %s)",
                (make_id(at, 0, 0), to_text(at), to_text(at)),
            )
        connection.execute("INSERT INTO refusal_count VALUES (0, 1, %s, 'x', '2020-01-01', 7)", [NO_CHANNEL])

        async def run() -> None:
            async with opened_service(store_url, urls.redis) as service:
                buckets = service.spreads.buckets(1)
                for table in ("event_seen", "refusal"):
                    connection.execute(f"UPDATE {table} SET bucket = %s", buckets)
                await sweep(service.database, service.spreads, [1], NOW)

        asyncio.run(run())

        assert connection.execute("SELECT event_id FROM event_seen").fetchall() == [("young",)]
        assert connection.execute("SELECT count(*) FROM refusal").fetchone() == (1,)
        assert connection.execute("SELECT refused FROM refusal_count").fetchone() == (7,)
