"""Plans of the hot path: rows are found by their own keys, however small or new the tables are."""

import asyncio
import re

import msgspec
import psycopg
import pytest

from identity.parse import read_events
from profiles.database import _OPTIONS, statement
from tests.harness import WRITE_KEY, Urls, opened_service

HELD = 3000
LOADS = {
    ("identity", "load_visitors"): ("visitor_id", "v-%d"),
    ("identity", "load_facts"): ("visitor_id", "v-%d"),
    ("identity", "load_seen"): ("event_id", "e-%d"),
    ("identity", "load_purchases"): ("transaction_id", "t-%d"),
    ("profiles", "load_customers"): ("customer_id", "c-%d"),
    ("profiles", "load_pairs"): ("customer_id", "c-%d"),
}


def hold_customers(urls: Urls, store_url: str) -> None:
    async def main() -> None:
        async with opened_service(store_url, urls.redis) as service:
            channel = service.channels.find(WRITE_KEY)
            assert channel is not None
            sent = [
                {"type": "clIdentity", "visitor_id": f"v-{n}", "customerId": f"c-{n}", "event_id": f"e-{n}"}
                for n in range(HELD)
            ]
            for start in range(0, HELD, 250):
                items = [msgspec.Raw(msgspec.json.encode(event)) for event in sent[start : start + 250]]
                await service.intake.submit(read_events(items, channel.sender, 1_750_000_000_000))

    asyncio.run(main())


@pytest.mark.parametrize("mode", ["force_generic_plan", "force_custom_plan"])
def test_every_load_of_the_hot_path_finds_each_row_by_its_whole_key(urls: Urls, store_url: str, mode: str):
    hold_customers(urls, store_url)

    with psycopg.connect(store_url, autocommit=True, options=_OPTIONS) as connection:
        connection.execute(f"SET plan_cache_mode = {mode}".encode())
        conditions = {load: conditions_of(connection, *load, pattern) for load, (_, pattern) in LOADS.items()}

    for load, (column, _) in LOADS.items():
        assert conditions[load], load
        assert all(column in condition for condition in conditions[load]), (load, conditions[load])


def conditions_of(connection: psycopg.Connection, package: str, name: str, pattern: str) -> list[str]:
    """Return the conditions by which the plan of a load walks its indexes, and fail if it joins in any other way."""
    row = connection.execute("SELECT bucket FROM visitor LIMIT 1").fetchone()
    assert row is not None
    bucket = row[0]
    keys = [{"bucket": bucket, "workspace_id": 1, "id": pattern % n} for n in range(32)]
    text = statement(package, name)
    for parameter, placeholder in (("keys", "$1"), ("buckets", "$2"), ("visitors_max", "$3")):
        text = text.replace(f"%({parameter})s", placeholder)
    types = "json, smallint[]" + (", bigint" if "$3" in text else "")
    connection.execute(f"PREPARE {name} ({types}) AS {text}".encode())
    encoded = msgspec.json.encode(keys).decode()
    more = ", 20" if "$3" in text else ""
    query = f"EXPLAIN EXECUTE {name} ('{encoded}', '{{{bucket}}}'{more})"
    plan = "\n".join(line for (line,) in connection.execute(query.encode()))
    assert not re.search(r"Seq Scan|Materialize|Hash Join|Merge Join|Join Filter", plan), plan
    return re.findall(r"Index Cond: (.*)", plan)
