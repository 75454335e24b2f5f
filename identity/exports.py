"""All customers of a workspace as NDJSON or CSV, out of one snapshot and without holding more than a few at a time.

NDJSON tells of each field when it was set, and which were removed when, so that an import of it into an empty workspace
gives profiles that are equal, field by field. Whoever was joined into another is told as that other; what a visitor did
and whose it is are no part of it.
"""

import csv
import io
from collections.abc import AsyncIterator, Iterable
from typing import BinaryIO, TextIO

import msgspec
import psycopg

from identity.imports.columns import CUSTOMER_ID, FIELDS_MEMBER, REMOVED, SET_AT, quoted
from identity.settings import Settings
from profiles.access import Workspace
from profiles.clock import to_text
from profiles.database import statement
from profiles.fields import CUSTOM, FIELDS
from profiles.profile import HeldField
from profiles.remarks import JsonValue

BATCH_ROWS = 2000
CONNECT_SECONDS_MAX = 5
_OPTIONS = "-c jit=off -c timezone=UTC -c statement_timeout=0 -c idle_in_transaction_session_timeout=0"

_held = msgspec.json.Decoder(dict[str, HeldField])


def export_line(customer_id: str, held: dict[str, HeldField]) -> bytes:
    """Return a customer as one line of NDJSON; what is read again by ``identity.imports.columns``."""
    fields = sorted(held.items())
    told: dict[str, object] = {
        CUSTOMER_ID: customer_id,
        FIELDS_MEMBER: {name: field.value for name, field in fields if field.value is not None},
        SET_AT: {name: to_text(field.set_at) for name, field in fields if field.value is not None},
    }
    removed = {name: to_text(field.set_at) for name, field in fields if field.value is None}
    if removed:
        told[REMOVED] = removed
    return msgspec.json.encode(told) + b"\n"


def cell(value: JsonValue) -> str:
    """Return a value as a spreadsheet may see it: no formula, and what is no text as JSON."""
    return quoted(value) if isinstance(value, str) else "" if value is None else msgspec.json.encode(value).decode()


def csv_header(custom: Iterable[str]) -> list[str]:
    """Return the columns of a CSV export."""
    return [CUSTOMER_ID, *(field.name for field in FIELDS if not field.name.startswith(CUSTOM)), *custom]


async def export(settings: Settings, workspace: Workspace, out: BinaryIO, *, is_csv: bool) -> int:
    """Write all customers of a workspace, and return how many there were.

    Raises:
        psycopg.Error: the database is away, or refuses.
    """
    assert settings.database_url is not None
    connection = await psycopg.AsyncConnection.connect(
        settings.database_url,
        connect_timeout=CONNECT_SECONDS_MAX,
        options=_OPTIONS,
        prepare_threshold=None,
        application_name="identity",
    )
    async with connection:
        await connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
        await connection.set_read_only(True)
        workspace_id = {"workspace_id": workspace.workspace_id}
        if not is_csv:
            return await _write_lines(_customers(connection, workspace_id), out)
        names = await (await connection.execute(statement("profiles", "list_custom_fields"), workspace_id)).fetchall()
        header = csv_header(name for (name,) in names)
        text = io.TextIOWrapper(
            out, "utf-8-sig", newline="", write_through=True
        )  # the mark tells Excel that it is UTF-8
        try:
            return await _write_rows(_customers(connection, workspace_id), header, text)
        finally:
            text.detach()


async def _customers(
    connection: psycopg.AsyncConnection[tuple[object, ...]], parameters: dict[str, int]
) -> AsyncIterator[tuple[str, dict[str, HeldField]]]:
    async with connection.cursor("export") as cursor:
        cursor.itersize = BATCH_ROWS
        await cursor.execute(statement("profiles", "export_customers"), parameters)
        async for customer_id, fields in cursor:
            yield str(customer_id), _held.decode(str(fields))


async def _write_lines(customers: AsyncIterator[tuple[str, dict[str, HeldField]]], out: BinaryIO) -> int:
    count = 0
    async for customer_id, held in customers:
        out.write(export_line(customer_id, held))
        count += 1
    return count


async def _write_rows(
    customers: AsyncIterator[tuple[str, dict[str, HeldField]]], header: list[str], out: TextIO
) -> int:
    rows = csv.writer(out, quoting=csv.QUOTE_ALL)
    rows.writerow(header)
    count = 0
    async for customer_id, held in customers:
        values = [cell(held[name].value) if name in held else "" for name in header[1:]]
        rows.writerow([quoted(customer_id), *values])
        count += 1
    return count
