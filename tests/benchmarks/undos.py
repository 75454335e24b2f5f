"""How long it takes to undo one merge, of a customer who had ten and of one who had ten thousand.

    python -m tests.benchmarks.undos

One undo after another, both customers in turn: a ratio of medians, in one process, with the servers of the tests. Which
merge is undone matters: the newest, one in the middle, the first; one whose field every merge set, and one whose field
nobody set since, so that all later rows are asked for it.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

from identity.acts import By
from identity.app import Service
from profiles import embedded
from tests.harness import fresh_store, opened_service
from tests.store.calls import submit

FEW, MANY = 10, 10_000
ROUNDS, MANY_ROUNDS = 15, 5
RATIO_MAX = 3.0
AT_ONCE = 200
NOW = 1_800_000_000_000
WHERE = {"newest": -1, "middle": 0.5, "first": 1, "first, its field never set again": 0}
BY = By("benchmark")


async def seed(service: Service, customer_id: str, merges: int) -> list[str]:
    """Give a customer so many merges, one of which set an e-mail address, and return their ids."""
    events = [
        {
            "type": "clIdentity",
            "visitor_id": f"v-{customer_id}",
            "customerId": customer_id,
            "occurred_at": NOW + number,
            **({"email": "ana@shop.example"} if number == 0 else {"name": f"Ana {number}", "gender": "other"}),
        }
        for number in range(merges)
    ]
    for at in range(0, merges, AT_ONCE):
        await submit(service, *events[at : at + AT_ONCE], received_at=NOW + merges)
    async with service.database.connection() as connection:
        found = await connection.execute(
            "SELECT merge_id::text FROM merge WHERE customer_id = %s ORDER BY version", [customer_id]
        )
        return [row[0] for row in await found.fetchall()]


def chosen(ids: list[str], where: float) -> str:
    """Return the merge to be undone."""
    return ids[round(where * len(ids))] if 0 < where < 1 else ids[round(where)]


async def seconds_of(service: Service, customer_id: str, merge_id: str) -> float:
    """Return how long one undo takes, which is restored afterwards."""
    started = time.perf_counter()
    done = await service.acts.undo_merges(1, customer_id, [merge_id], BY, dry_run=False)
    took = time.perf_counter() - started
    assert done.act is not None
    return took


async def measure(url: str, redis: str) -> float:
    """Print the ratios, and return the largest."""
    worst = 0.0
    async with opened_service(url, redis) as service:
        for where, place in WHERE.items():
            times: dict[int, list[float]] = {FEW: [], MANY: []}
            customers = {
                merges: [f"{where}-{merges}-{number}" for number in range(ROUNDS if merges == FEW else MANY_ROUNDS)]
                for merges in times
            }
            ids = {c: await seed(service, c, merges) for merges in times for c in customers[merges]}
            async with service.database.connection() as connection:
                await connection.execute("VACUUM ANALYZE merge")
            for number in range(ROUNDS):
                for merges, taken in times.items():
                    if number < len(customers[merges]):
                        customer_id = customers[merges][number]
                        taken.append(await seconds_of(service, customer_id, chosen(ids[customer_id], place)))
            few, many = (statistics.median(times[merges]) for merges in (FEW, MANY))
            worst = max(worst, many / few)
            print(f"{where}: {few * 1000:.1f} ms of {FEW}, {many * 1000:.1f} ms of {MANY:,}: {many / few:.2f} x")
    return worst


def main() -> int:
    """Measure on servers of its own, and return 1 if a ratio is above the promised one."""
    with (
        tempfile.TemporaryDirectory(prefix="identity-undos-") as folder,
        embedded.start(Path(folder)) as servers,
        fresh_store(str(servers.urls.database)) as url,
    ):
        return int(asyncio.run(measure(url, str(servers.urls.redis))) > RATIO_MAX)


if __name__ == "__main__":
    sys.exit(main())
