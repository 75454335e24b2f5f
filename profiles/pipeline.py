"""The hot path's statements: sent together, answered together, in one round trip.

psycopg's own pipeline waits on the socket around every statement, which for a batch costs more than the statements
do. Here nobody waits before all of them are on their way, and then once.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import NamedTuple
from weakref import WeakKeyDictionary

import psycopg
from psycopg import errors, pq

from profiles.database import Conflict, Connection, statement

Row = tuple[bytes | None, ...]
"""One row in PostgreSQL's text format."""

CANCEL_SECONDS_MAX = 2.0
"""How long a server may take to hear that what it works on was given up."""

_SUCCESS = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK)
_PARAMETER = re.compile(r"%\((\w+)\)s")
_prepared: WeakKeyDictionary[Connection, set[bytes]] = WeakKeyDictionary()


class Command(NamedTuple):
    """One statement out of ``<package>/sql/<name>.sql``, with its parameters in text format."""

    package: str
    name: str
    parameters: Mapping[str, bytes]


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
    connection: Connection, commands: Iterable[Command], copies: Sequence[Copy] = (), last: Iterable[Command] = ()
) -> None:
    """Run writing statements in one transaction, and commit it. Where another writer was faster, they fail by
    themselves (``lost_race``), so that nobody has to wait for their answers before the COMMIT.

    ``copies`` come once no row can conflict any more, and ``last`` at the end. BEGIN is explicit: on Citus, a pipeline
    is not atomic.

    Raises:
        Conflict: another writer was faster; nothing was written.
        psycopg.Error: one of them failed; nothing was written, unless the connection was lost within the commit.
    """
    async with _transaction(connection):
        if not copies:
            await _run(connection, chain(_BEGIN, _sent_early(connection, chain(commands, last)), _COMMIT))
            return
        await _run(connection, chain(_BEGIN, _sent_early(connection, commands)))
        for copied in copies:
            await _copy(connection, copied)
        await _run(connection, chain(_sent_early(connection, last), _COMMIT))


async def copy_together(connection: Connection, copies: Sequence[Copy], commands: Iterable[Command]) -> None:
    """Copy rows that take keys which another writer may have taken, then run the commands, in one transaction.

    Raises:
        Conflict: another writer was faster; nothing was written.
        psycopg.Error: as ``write_together``.
    """
    try:
        async with _transaction(connection):
            await _run(connection, _BEGIN)
            for copied in copies:
                await _copy(connection, copied)
            await _run(connection, chain(_sent_early(connection, commands), _COMMIT))
    except errors.UniqueViolation as error:
        raise Conflict from error


@contextlib.asynccontextmanager
async def _transaction(connection: Connection) -> AsyncIterator[None]:
    """Leave no transaction open behind whatever goes wrong in it."""
    try:
        yield
    except psycopg.Error as error:
        if not connection.closed:
            await _run(connection, [_Plain(b"ROLLBACK")])
        if isinstance(error, errors.SerializationFailure):
            raise Conflict from error
        raise


async def _copy(connection: Connection, copied: Copy) -> None:
    async with connection.cursor() as cursor, cursor.copy(statement(copied.package, copied.name)) as copy:
        await copy.write("".join(copied.lines))


def _sent_early(connection: Connection, commands: Iterable[Command]) -> "Iterator[_Parametrized]":
    """Give what is to be sent of each command as soon as it is made, so that the server works while the next is."""
    for command in commands:
        yield _sending(connection, command)
        connection.pgconn.flush()


class _Plain(NamedTuple):
    """A statement without parameters."""

    text: bytes

    def send(self, pgconn: pq.abc.PGconn) -> int:
        pgconn.send_query_params(self.text, None)
        return 1


_BEGIN = (_Plain(b"BEGIN"),)
_COMMIT = (_Plain(b"COMMIT"),)


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


async def _run(connection: Connection, sendings: Iterable[_Plain | _Parametrized]) -> list[list[Row]]:
    pgconn = connection.pgconn
    sent: list[tuple[_Plain | _Parametrized, int]] = []
    try:
        pgconn.enter_pipeline_mode()
        sent.extend((sending, sending.send(pgconn)) for sending in sendings)
        pgconn.pipeline_sync()
        results = await _Exchange(pgconn).results()
        pgconn.exit_pipeline_mode()
    except BaseException as error:
        try:
            if isinstance(error, asyncio.CancelledError):
                # Given up by whoever asked: what waits for a lock there must not be done after all, once it gets it.
                await connection.cancel_safe(timeout=CANCEL_SECONDS_MAX)
        finally:
            # Out of step with the server, or cut off: nobody may use this connection again.
            pgconn.finish()
        raise
    failed = next((result for result in results if result.status not in _SUCCESS), None)
    rows, at = [], 0
    for sending, count in sent:
        if failed is None:
            rows.append(_rows(results[at + count - 1]))
        elif isinstance(sending, _Parametrized) and count == 2 and results[at].status not in _SUCCESS:
            _prepared[connection].discard(sending.name)  # the others stay prepared, though nothing else is left
        at += count
    if failed is not None:
        raise errors.error_from_result(failed, encoding="utf-8")
    return rows


class _Exchange:
    """Sends what is buffered, and reads the result of every statement up to the sync.

    The loop's callbacks do so themselves: no task is woken before all is there.
    """

    def __init__(self, pgconn: pq.abc.PGconn) -> None:
        self._pgconn = pgconn
        self._socket = pgconn.socket
        self._results: list[pq.abc.PGresult] = []
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[list[pq.abc.PGresult]] = self._loop.create_future()

    async def results(self) -> list[pq.abc.PGresult]:
        is_sent = self._pgconn.flush() == 0
        self._loop.add_reader(self._socket, self._read)
        if not is_sent:
            self._loop.add_writer(self._socket, self._write)
        try:
            return await self._done
        except asyncio.CancelledError:
            self._leave()
            raise

    def _leave(self) -> None:
        # At once: libpq closes the socket of a connection that it finds lost, and the next one may get its number.
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)

    def _read(self) -> None:
        if self._done.done():
            return
        try:
            self._pgconn.consume_input()
            while not self._pgconn.is_busy():
                result = self._pgconn.get_result()
                if result is None:
                    if self._pgconn.status == pq.ConnStatus.BAD:
                        raise psycopg.OperationalError("connection lost")
                    continue
                if result.status == pq.ExecStatus.PIPELINE_SYNC:
                    self._leave()
                    self._done.set_result(self._results)
                    return
                self._results.append(result)
        except psycopg.Error as error:
            self._leave()
            self._done.set_exception(error)

    def _write(self) -> None:
        if self._done.done():
            return
        try:
            if self._pgconn.flush() == 0:
                self._loop.remove_writer(self._socket)
        except psycopg.Error as error:
            self._leave()
            self._done.set_exception(error)


def _rows(result: pq.abc.PGresult) -> list[Row]:
    columns = range(result.nfields)
    return [tuple(result.get_value(row, column) for column in columns) for row in range(result.ntuples)]
