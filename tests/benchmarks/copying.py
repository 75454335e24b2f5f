"""What the events are measured against: COPY of the rows that they become, into the same table, and nothing else.

python -m tests.benchmarks.copying DATABASE_URL REDIS_URL SECONDS FIRST
"""

import asyncio
import json
import sys
import time

import msgspec
import psycopg

from identity import footprint
from identity.app import Service
from identity.intake import FOOTPRINT_ITEMS_MAX
from identity.protocols.segment import Arrival, read_messages
from identity.resolve import Held, decide
from profiles.remarks import JsonValue
from tests.benchmarks.people import FOLDER, identifier
from tests.harness import WRITE_KEY, opened_service

EVENTS_PER_REQUEST = 100
"""As in events.lua."""
REQUESTS_PER_COMMIT = FOOTPRINT_ITEMS_MAX // EVENTS_PER_REQUEST
"""No more than the service commits at once."""

_ID = "{id}"
_TEMPLATE = (FOLDER / "track.json").read_text("utf-8").strip()


def main(database: str, redis: str, seconds: int, first: int) -> None:
    """Copy for so long, and print how many rows were committed, in how many seconds and with how much CPU time."""
    columns, request = asyncio.run(_rows_of_one_request(database, redis))
    statement = f"COPY event ({', '.join(columns)}) FROM STDIN"
    rows, batch = 0, first
    with psycopg.connect(database, autocommit=True) as connection, connection.cursor() as cursor:
        began, began_cpu = time.monotonic(), time.process_time()
        while time.monotonic() - began < seconds:
            with cursor.copy(statement) as copy:
                for batch in range(batch + 1, batch + 1 + REQUESTS_PER_COMMIT):  # noqa: B020 - goes on from there
                    copy.write(request.replace(_ID.encode(), b"%08x" % identifier(batch)))
            rows += REQUESTS_PER_COMMIT * EVENTS_PER_REQUEST
        told = {
            "rows": rows,
            "seconds": time.monotonic() - began,
            "cpu_seconds": time.process_time() - began_cpu,
        }
    print(json.dumps(told))


async def _rows_of_one_request(database: str, redis: str) -> tuple[tuple[str, ...], bytes]:
    """Return the columns, and the lines of COPY that one request becomes, by the product's own path but for its end."""
    async with opened_service(database, redis) as service:
        rows = _event_rows(service)
        columns = tuple(msgspec.structs.fields(rows[0]))
        names = tuple(field.name for field in columns)
        lines = []
        for number, row in enumerate(rows):
            values: dict[str, JsonValue] = msgspec.to_builtins(row)
            values["record_id"] = f"{str(values['record_id'])[:24]}{_ID}{number:04x}"
            lines.append("\t".join(_text(values[name]) for name in names))
        return names, ("\n".join(lines) + "\n").encode()


def _event_rows(service: Service) -> list[footprint._EventRow]:
    channel = service.channels.find(WRITE_KEY)
    assert channel is not None
    items = [_TEMPLATE.replace("{n}", f"{number:02d}").encode() for number in range(EVENTS_PER_REQUEST)]
    events = read_messages(items, Arrival(sender=channel.sender, received_at=time.time_ns() // 1_000_000))
    changes = decide(events, Held(), service.intake._new_id)
    assert len(changes.records) == EVENTS_PER_REQUEST
    return [footprint._event_row(service.spreads, record) for record in changes.records]


def _text(value: JsonValue) -> str:
    """Return a value as COPY's text format has it."""
    if value is None:
        return r"\N"
    if isinstance(value, bool):
        return "t" if value else "f"
    text = value if isinstance(value, str) else json.dumps(value)
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
