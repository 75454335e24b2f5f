"""What the events are measured against: COPY of the rows that they become, into the same table, and nothing else.

python -m tests.benchmarks.copying DATABASE_URL REDIS_URL SECONDS FIRST
"""

import asyncio
import json
import sys
import time

import psycopg

from identity import footprint
from identity.protocols.segment import Arrival, read_messages
from identity.resolve import Held, decide
from profiles.database import statement
from tests.benchmarks.people import FOLDER, identifier
from tests.harness import WRITE_KEY, opened_service

EVENTS_PER_REQUEST = 100
"""As in events.lua."""

_ID = "{id}"
_TEMPLATE = (FOLDER / "track.json").read_text("utf-8").strip()


def main(database: str, redis: str, seconds: int, first: int) -> None:
    """Copy for so long, and print how many rows were committed, in how many seconds and with how much CPU time."""
    request = asyncio.run(_rows_of_one_request(database, redis))
    rows, batch = 0, first
    with psycopg.connect(database, autocommit=True) as connection, connection.cursor() as cursor:
        began, began_cpu = time.monotonic(), time.process_time()
        while time.monotonic() - began < seconds:
            with cursor.copy(statement("identity", "copy_events")) as copy:
                batch += 1
                copy.write(request.replace(_ID.encode(), b"%08x" % identifier(batch)))
            rows += EVENTS_PER_REQUEST
        told = {
            "rows": rows,
            "seconds": time.monotonic() - began,
            "cpu_seconds": time.process_time() - began_cpu,
        }
    print(json.dumps(told))


async def _rows_of_one_request(database: str, redis: str) -> bytes:
    """Return the lines of COPY that one request becomes, by the product's own path but for its end."""
    async with opened_service(database, redis) as service:
        channel = service.channels.find(WRITE_KEY)
        assert channel is not None
        items = [_TEMPLATE.replace("{n}", f"{number:02d}").encode() for number in range(EVENTS_PER_REQUEST)]
        events = read_messages(items, Arrival(sender=channel.sender, received_at=time.time_ns() // 1_000_000))
        records = decide(events, Held(), service.intake.new_id).records
        assert len(records) == EVENTS_PER_REQUEST
        lines = []
        for number, record in enumerate(records):
            line = footprint.event_row(service.spreads, record).line
            lines.append(line.replace(record.record_id, f"{record.record_id[:24]}{_ID}{number:04x}"))
        return "".join(lines).encode()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
