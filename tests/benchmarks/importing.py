"""The import of members against a bare COPY and one set-based upsert of the same rows, on the same server.

Both write into a store of their own that knows nobody. The bare side copies rows that were made beforehand into an
unlogged staging table and upserts all of them into a table like ``customer``, with its indexes and its durability. The
import is the command as a person gives it, from the start of its process to its end: it reads the file twice, validates
and decides every field, and writes a ledger besides.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psycopg

from profiles.clock import to_text
from profiles.fields import read_email, read_phone
from profiles.pipeline import copied
from profiles.profile import HeldField
from tests.benchmarks.people import identifier
from tests.harness import PROJECT, fresh_store

HEADER = "customer_id,email,name,phone,gender,birthday,address\n"
BLOCK_LINES = 2000

_STAGING = """
CREATE UNLOGGED TABLE staging (
    bucket smallint, workspace_id integer, customer_id text COLLATE "C", version integer, created_at timestamptz,
    updated_at timestamptz, fields jsonb, email_key text, mobile_key text
)
"""
_COPY = """
COPY staging (
    bucket, workspace_id, customer_id, version, created_at, updated_at, fields, email_key, mobile_key
) FROM STDIN
"""
_UPSERT = """
INSERT INTO bare_customer AS c (
    bucket, workspace_id, customer_id, version, created_at, updated_at, fields, email_key, mobile_key
)
SELECT DISTINCT ON (workspace_id, customer_id, bucket)
       bucket, workspace_id, customer_id, version, created_at, updated_at, fields, email_key, mobile_key
FROM staging
ORDER BY workspace_id, customer_id, bucket
ON CONFLICT (workspace_id, customer_id, bucket) DO UPDATE SET
    version = excluded.version, updated_at = excluded.updated_at, fields = excluded.fields,
    email_key = excluded.email_key, mobile_key = excluded.mobile_key
WHERE c.fields IS DISTINCT FROM excluded.fields
"""


class Member(msgspec.Struct, frozen=True):
    """A member, as the file tells it."""

    customer_id: str
    email: str
    name: str
    phone: str
    gender: str
    birthday: str
    address: str


def member(n: int) -> Member:
    """Return one of the members; ids are scattered, as those of a shop's own system are."""
    number = identifier(n)
    return Member(
        customer_id=f"member-{number:010d}",
        email=f"member{number}@shop.example",
        name=f"Member Number {number}",
        phone=f"+8869{number % 100_000_000:08d}",
        gender=("male", "female")[number & 1],
        birthday=f"19{60 + number % 40}-0{1 + number % 9}-1{number % 10}",
        address=f"No. {number % 300}, Section {number % 7}, Zhongxiao East Road, Taipei",
    )


def write_file(path: Path, rows: int) -> None:
    """Write the members as a CRM exports them."""
    with path.open("w", encoding="utf-8") as file:
        file.write(HEADER)
        for n in range(1, rows + 1):
            told = member(n)
            file.write(
                f"{told.customer_id},{told.email},{told.name},{told.phone},{told.gender},{told.birthday},"
                f'"{told.address}"\n'
            )


def write_rows(path: Path, rows: int) -> None:
    """Write the rows that these members become, ready for COPY."""
    now = time.time_ns() // 1_000_000
    with path.open("w", encoding="utf-8") as file:
        for n in range(1, rows + 1):
            told = member(n)
            email, phone = str(read_email(told.email)), str(read_phone(told.phone))
            values = {
                "display_email": email,
                "display_name": told.name,
                "display_mobile": phone,
                "gender": told.gender,
                "birth": told.birthday,
                "address": told.address,
            }
            fields = msgspec.json.encode({name: HeldField(value, now, 1) for name, value in values.items()}).decode()
            line = (
                "1", "1", told.customer_id, "1", to_text(now), to_text(now), copied(fields), email.casefold(), phone,
            )  # fmt: skip
            file.write("\t".join(line) + "\n")


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(256 * 1024):
            yield block


def run_bare(server: str, rows_file: Path) -> float:
    """Return the seconds that COPY and the upsert take."""
    with fresh_store(server) as url, psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE bare_customer (LIKE customer INCLUDING ALL)")
        began = time.monotonic()
        connection.execute(_STAGING)
        with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
            for block in _blocks(rows_file):
                copy.write(block)
        connection.execute(_UPSERT)
        return time.monotonic() - began


def run_import(server: str, redis: str, file: Path, rows: int) -> float:
    """Return the seconds that the command takes; what it wrote is counted."""
    with fresh_store(server) as url:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("IDENTITY_")}
        environ |= {"IDENTITY_DATABASE_URL": url, "IDENTITY_REDIS_URL": redis}
        command = [sys.executable, "-m", "identity", "import", str(file)]
        began = time.monotonic()
        subprocess.run(command, cwd=PROJECT, env=environ, check=True, capture_output=True)
        seconds = time.monotonic() - began
        with psycopg.connect(url) as connection:
            for table in ("customer", "merge"):
                row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
                assert row == (rows,), (table, row)
    return seconds
