"""The hot path's statements: sent together, answered together, in one round trip.

psycopg's own pipeline waits on the socket around every statement, which for a batch costs more than the statements
do. Here all of them are put into libpq's buffer first, and the socket is waited for once.
"""

import re
from collections.abc import Generator, Mapping, Sequence
from typing import NamedTuple
from weakref import WeakKeyDictionary

import psycopg
from psycopg import errors, pq
from psycopg.waiting import Ready, Wait

from profiles.database import Conflict, Connection, statement

Row = tuple[bytes | None, ...]
"""One row in PostgreSQL's text format."""

_SUCCESS = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK)
_PARAMETER = re.compile(r"%\((\w+)\)s")
_prepared: WeakKeyDictionary[Connection, set[bytes]] = WeakKeyDictionary()


class Command(NamedTuple):
    """One statement out of ``<package>/sql/<name>.sql``, with its parameters in text format."""

    package: str
    name: str
    parameters: Mapping[str, bytes]
    rows_expected: int | None = None
    """Of a writing statement: the rows it must give back; fewer mean that another writer was faster."""


class Copy(NamedTuple):
    """Rows for a COPY out of ``<package>/sql/<name>.sql``, a line each, values made by ``copied``, tabs between."""

    package: str
    name: str
    lines: Sequence[str]


def copied(value: str | None) -> str:
    """Return a value as COPY's text format has it."""
    if value is None:
        return r"\N"
    if "\\" in value or not value.isprintable():
        return value.translate(_ESCAPED)
    return value


_ESCAPED = str.maketrans({"\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"})


def array_parameter(numbers: Sequence[int]) -> bytes:
    """Return whole numbers as an array."""
    return b"{%s}" % ",".join(map(str, numbers)).encode()


async def fetch_together(connection: Connection, commands: Sequence[Command]) -> list[list[Row]]:
    """Return the rows of several reading statements, each its own snapshot.

    Raises:
        psycopg.Error: one of them failed.
    """
    return await _run(connection, [_sending(connection, command) for command in commands]) if commands else []


async def write_together(
    connection: Connection,
    commands: Sequence[Command],
    copies: Sequence[Copy] = (),
    checks: Sequence[Command] = (),
    last: Sequence[Command] = (),
) -> None:
    """Run writing statements in one transaction; it is committed once they all gave back what was expected.

    ``copies`` come once no row can conflict any more; ``checks`` look at what there is once everything is written;
    ``last`` go with the COMMIT, since they lock rows that others wait for. BEGIN is explicit: on Citus, a pipeline is
    not atomic.

    Raises:
        Conflict: another writer was faster; nothing was written.
        psycopg.Error: one of them failed; nothing was written, unless the connection was lost within the commit.
    """
    try:
        answers = await _run(connection, [_Plain(b"BEGIN"), *(_sending(connection, c) for c in commands)])
    except psycopg.Error:
        if not connection.closed:
            await _run(connection, [_Plain(b"ROLLBACK")])
        raise
    expected = [command.rows_expected for command in commands]
    if any(count is not None and count != len(rows) for count, rows in zip(expected, answers[1:], strict=True)):
        await _run(connection, [_Plain(b"ROLLBACK")])
        raise Conflict
    try:
        for copied in copies:
            async with connection.cursor() as cursor, cursor.copy(statement(copied.package, copied.name)) as copy:
                await copy.write("".join(copied.lines))
        if checks:
            answers = await _run(connection, [_sending(connection, check) for check in checks])
            if any(check.rows_expected != len(rows) for check, rows in zip(checks, answers, strict=True)):
                raise Conflict
        await commit(connection, last)
    except (psycopg.Error, Conflict):
        if not connection.closed:
            await _run(connection, [_Plain(b"ROLLBACK")])
        raise


async def copy_together(connection: Connection, copies: Sequence[Copy], commands: Sequence[Command]) -> None:
    """Copy rows that take keys which another writer may have taken, then run the commands, in one transaction.

    Raises:
        Conflict: another writer was faster; nothing was written.
        psycopg.Error: as ``write_together``.
    """
    try:
        await _run(connection, [_Plain(b"BEGIN")])
        for copied in copies:
            async with connection.cursor() as cursor, cursor.copy(statement(copied.package, copied.name)) as copy:
                await copy.write("".join(copied.lines))
        answers = await _run(connection, [_sending(connection, command) for command in commands])
        expected = [command.rows_expected for command in commands]
        if any(count is not None and count != len(rows) for count, rows in zip(expected, answers, strict=True)):
            raise Conflict
        await commit(connection)
    except (psycopg.Error, Conflict) as error:
        if not connection.closed:
            await _run(connection, [_Plain(b"ROLLBACK")])
        if isinstance(error, errors.UniqueViolation):
            raise Conflict from error
        raise


async def commit(connection: Connection, last: Sequence[Command] = ()) -> None:
    """End the transaction for good, after these statements; if one of them fails, nothing is committed."""
    await _run(connection, [*(_sending(connection, command) for command in last), _Plain(b"COMMIT")])


class _Plain(NamedTuple):
    """A statement without parameters."""

    text: bytes

    def send(self, pgconn: pq.abc.PGconn) -> int:
        pgconn.send_query_params(self.text, None)
        return 1


class _Parametrized(NamedTuple):
    """A statement with parameters, prepared under ``name`` unless that is empty."""

    text: bytes
    values: Sequence[bytes]
    name: bytes
    is_prepared: bool

    def send(self, pgconn: pq.abc.PGconn) -> int:
        if not self.name:
            pgconn.send_query_params(self.text, self.values)
            return 1
        if not self.is_prepared:
            pgconn.send_prepare(self.name, self.text)
        pgconn.send_query_prepared(self.name, self.values)
        return 1 if self.is_prepared else 2


def _sending(connection: Connection, command: Command) -> _Parametrized:
    text, names = _numbered(command.package, command.name)
    values = [command.parameters[name] for name in names]
    if connection.prepare_threshold is None:
        return _Parametrized(text, values, b"", is_prepared=False)
    name = f"{command.package}.{command.name}".encode()
    prepared = _prepared.setdefault(connection, set())
    is_prepared = name in prepared
    prepared.add(name)
    return _Parametrized(text, values, name, is_prepared=is_prepared)


_texts: dict[tuple[str, str], tuple[bytes, tuple[str, ...]]] = {}


def _numbered(package: str, name: str) -> tuple[bytes, tuple[str, ...]]:
    """Return a statement with $1, $2 … for its named parameters, and their names in that order."""
    found = _texts.get((package, name))
    if found is None:
        text = statement(package, name)
        names = tuple(dict.fromkeys(_PARAMETER.findall(text)))
        numbered = _PARAMETER.sub(lambda match: f"${names.index(match.group(1)) + 1}", text)
        found = _texts[package, name] = (numbered.encode(), names)
    return found


async def _run(connection: Connection, sendings: Sequence[_Plain | _Parametrized]) -> list[list[Row]]:
    pgconn = connection.pgconn
    try:
        pgconn.enter_pipeline_mode()
        answers = [sending.send(pgconn) for sending in sendings]
        pgconn.pipeline_sync()
        results = await connection.wait(_communicate(pgconn))
        pgconn.exit_pipeline_mode()
    except BaseException:
        # Out of step with the server, or cut off: nobody may use this connection again.
        pgconn.finish()
        raise
    failed = next((result for result in results if result.status not in _SUCCESS), None)
    if failed is not None:
        _prepared.pop(connection, None)
        raise errors.error_from_result(failed, encoding="utf-8")
    rows, at = [], 0
    for count in answers:
        at += count
        rows.append(_rows(results[at - 1]))
    return rows


def _communicate(pgconn: pq.abc.PGconn) -> Generator[Wait, Ready | int, list[pq.abc.PGresult]]:
    """Send what is buffered, and read the result of every statement up to the sync."""
    results: list[pq.abc.PGresult] = []
    is_sent = pgconn.flush() == 0
    while True:
        while not pgconn.is_busy():
            result = pgconn.get_result()
            if result is None:
                continue
            if result.status == pq.ExecStatus.PIPELINE_SYNC:
                return results
            results.append(result)
        ready = yield Wait.R if is_sent else Wait.RW
        if ready & Ready.R:
            pgconn.consume_input()
        if not is_sent:
            is_sent = pgconn.flush() == 0


def _rows(result: pq.abc.PGresult) -> list[Row]:
    columns = range(result.nfields)
    return [tuple(result.get_value(row, column) for column in columns) for row in range(result.ntuples)]
