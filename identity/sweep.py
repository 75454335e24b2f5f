"""What is kept for a while only is deleted when its while is over, by every worker, so that no one is in charge."""

import asyncio
import logging
import random
from collections.abc import Callable, Iterable

from identity import partitions
from profiles.clock import make_id, to_text
from profiles.database import Connection, Database, Unavailable, statement
from profiles.idempotency import IDEMPOTENCY_HOURS_KEPT
from profiles.store import Spreads

EVENT_IDS_DAYS_KEPT = 30
"""Longer than any client holds on to an event that it could not send."""
REFUSALS_DAYS_KEPT = 90
"""The list of the refused; the counts are kept for good."""
SWEEP_SECONDS = 3600.0
_DAY_MILLISECONDS = 86_400_000

log = logging.getLogger(__name__)


async def sweep(database: Database, spreads: Spreads, workspace_ids: Iterable[int], now: int) -> None:
    """Delete what is past its retention at ``now`` (milliseconds since 1970), and keep the partitions up."""
    oldest_event_id = to_text(now - EVENT_IDS_DAYS_KEPT * _DAY_MILLISECONDS)
    oldest_refusal = make_id(now - REFUSALS_DAYS_KEPT * _DAY_MILLISECONDS, 0, 0)
    oldest_request = to_text(now - IDEMPOTENCY_HOURS_KEPT * 3_600_000)
    for workspace_id in list(workspace_ids):
        where = {"workspace_id": workspace_id, "buckets": spreads.buckets(workspace_id)}

        async def work(connection: Connection, where: dict[str, object] = where) -> None:
            await connection.execute(statement("identity", "delete_old_seen"), {**where, "before": oldest_event_id})
            await connection.execute(statement("identity", "delete_old_refusals"), {**where, "before": oldest_refusal})
            await connection.execute(statement("profiles", "delete_old_requests"), {**where, "before": oldest_request})

        await database.run(work, seconds_max=60.0)
    await partitions.keep_up_on(database, partitions.day_of(now))


async def sweep_for_ever(
    database: Database, spreads: Spreads, workspace_ids: Callable[[], Iterable[int]], clock: Callable[[], int]
) -> None:
    """Sweep every hour, each worker at its own minute."""
    while True:
        await asyncio.sleep(random.uniform(0.5, 1.0) * SWEEP_SECONDS)  # noqa: S311 - no secret
        try:
            await sweep(database, spreads, workspace_ids(), clock())
        except (Unavailable, OSError):
            log.warning("not swept: the database is away")
        except Exception as error:  # noqa: BLE001 - the next hour tries again
            log.warning("not swept", extra={"error": type(error).__name__})
