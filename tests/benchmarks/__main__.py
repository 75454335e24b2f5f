"""Measure the service against a bare handler, against itself without batches, and against pgbench, on this machine.

The server has one core, load and databases another. Every round runs all rows, one after another; a ratio is the
median over the rounds of the two rows' ratio within the round, so that what else the machine does falls on both.
"""

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import litestar
import msgspec
import psycopg
import redis
import uvicorn

from profiles import embedded
from tests.benchmarks import footprints, importing, people
from tests.benchmarks.copying import EVENTS_PER_REQUEST
from tests.benchmarks.measure import Floor, Load, Ratio, Row, Run, ratios_of, table
from tests.benchmarks.processes import (
    CONNECTIONS,
    BenchmarkError,
    Postgres,
    Served,
    copy_rows,
    cores,
    cpu_seconds,
    find_pgbench,
    find_wrk,
    on_core,
    pgbench,
    wrk,
)
from tests.harness import PROJECT, Urls, fresh_store

KNOWN = 10_000
MILLION = 1_000_000
SOAK_REQUESTS = 1_000_000
SOAK_SECONDS = 5
SOAK_BYTES_MAX = 150_000_000
FLUSH_SECONDS = 0.4
IDS_PER_RUN = 1_000_000
LOG_CHARACTERS = 3000
WRITTEN_TABLES = ("customer", "merge", "visitor", "visitor_fact", "customer_visitor")

DATABASE_SETTINGS = {"shared_buffers": "1GB", "max_wal_size": "8GB", "checkpoint_timeout": "15min"}
"""As deploy/README.md advises for 4 GiB of memory. With the server's own, writes among a million members fill the WAL
within seconds, and each checkpoint has every page written whole once more."""

WAL_BYTES = 3 * 2**30
"""WAL files that lie ready before anything is measured. A server that has run for a while writes into files that it has
used before; a new one fills each with zeros first, which here stops every writer for a quarter of a second."""
WAL_BYTES_OF_A_MILLION = 8 * 2**30
"""The same where a million members are written first."""

BARE = Row("bare", "bare handler")
ROWS = (
    BARE,
    Row("unchanged", "authenticate, unchanged", (Floor("bare", 1.3),)),
    Row(
        "new",
        "authenticate, new identity",
        (
            Floor("bare", 0.5),
            Floor("one-by-one", 4.0),
            Floor("pipelined", None),
            Floor("pgbench", 1.5, by_cpu=False),
        ),
    ),
    Row("one-by-one", "the same, a transaction per request"),
    Row("pipelined", "the same, its statements sent together"),
    Row("pgbench", "pgbench, the same statements"),
    Row("lookup", "lookup, cached", (Floor("bare", 0.9),)),
    Row("lookup-miss", "lookup, not in the cache", (Floor("bare", 0.6),)),
    Row("lookup-away", "lookup, cache away", (Floor("bare", 0.6),)),
    Row("mix", "95 % unchanged, 5 % new", (Floor("bare", None),)),
    Row("events", f"events, {EVENTS_PER_REQUEST} a request", (Floor("copy", 0.5, by_cpu=False),)),
    Row("copy", f"COPY of the rows of events, {EVENTS_PER_REQUEST} a commit"),
    Row(
        "footprint-small", f"footprint page of {footprints.SMALL.events:,} events, {footprints.SMALL.visitors} visitors"
    ),
    Row(
        "footprint",
        f"footprint page of {footprints.LARGE.events:,} events, {footprints.LARGE.visitors} visitors",
        (Floor("footprint-small", 1 / 1.5),),
    ),
)
IMPORT_ROWS = (
    Row("import", "members imported, by the command", (Floor("upsert", None, by_cpu=False),)),
    Row("upsert", "bare COPY and one set-based upsert of the same"),
)
IMPORT_FLOOR = 0.25
"""Judged of a million members and more; below, the start of its processes counts for too much."""
MILLION_ROWS = (
    Row("unchanged-million", "unchanged, 1,000,000 held", (Floor("unchanged", 1 / 1.15, of_cost=True),)),
    Row("new-million", "new identity, 1,000,000 held", (Floor("new", 1 / 1.15, of_cost=True),)),
    Row("lookup-million", "lookup, cached, 1,000,000 held", (Floor("lookup", 1 / 1.15, of_cost=True),)),
    Row(
        "lookup-miss-million",
        "lookup, not in the cache, 1,000,000 held",
        (Floor("lookup-miss", 1 / 1.15, of_cost=True),),
    ),
)
FOOTPRINTS = {"footprint-small": footprints.SMALL, "footprint": footprints.LARGE}
_CACHED = ("unchanged", "lookup", "mix")
_STORES = {"bare": "service", "away": "service"}
"""Servers that have no store of their own."""
_NOBODY = ("events", "copy", "import", "upsert")
"""Stores that know nobody."""
_UNSERVED = ("pgbench", "copy", "import", "upsert")
"""Rows that go to the database without a server."""


class Options(msgspec.Struct, frozen=True):
    """What was asked for on the command line."""

    names: tuple[str, ...]
    seconds: int
    rounds: int
    known: int
    soak: bool
    import_rows: int


class Store:
    """A database that knows some people. ``stride`` picks, of all of them, the ones that come back."""

    def __init__(self, url: str, held: int, active: int) -> None:
        self.url = url
        self.active = active
        self.stride = held // active

    def rows(self) -> dict[str, int]:
        """Return how many rows each table has that a new identity writes."""
        with psycopg.connect(self.url) as connection:
            counted = {}
            for name in WRITTEN_TABLES:
                row = connection.execute(f"SELECT count(*) FROM {name}").fetchone()
                assert row is not None
                counted[name] = int(row[0])
            return counted

    def events(self) -> int:
        """Return how many events are held."""
        with psycopg.connect(self.url) as connection:
            row = connection.execute("SELECT count(*) FROM event").fetchone()
            assert row is not None
            return int(row[0])


Count = TypeVar("Count")


def settled(read: Callable[[], Count]) -> Count:
    """Return what is held once what was under way when the load stopped is written."""
    before = read()
    while True:
        time.sleep(0.3)
        after = read()
        if after == before:
            return after
        before = after


class Bench:
    """All servers of a benchmark, and how each row is run."""

    def __init__(self, urls: Urls, options: Options, resources: contextlib.ExitStack) -> None:
        self.urls = urls
        self.options = options
        self.resources = resources
        self.server_core, self.load_core = cores()
        self.postgres = Postgres(urls.database)
        self.redis = redis.Redis.from_url(urls.redis)
        self._ids = count(100_000_000, IDS_PER_RUN)
        self._files: tuple[Path, Path] | None = None
        self._stores: dict[str, Store] = {}
        self._servers: dict[str, Served] = {}

    def store(self, name: str) -> Store:
        """Return a store of its own for each name, made on first use."""
        if name not in self._stores:
            held = MILLION if name == "million" else self.options.known
            url = self.resources.enter_context(fresh_store(self.urls.database))
            self._stores[name] = Store(url, held, self.options.known)
            if name == "footprint":
                say("seeding the footprints")
                footprints.seed(url, self.urls.redis)
            elif name not in _NOBODY:
                say(f"seeding {held:,} customers ({name})")
                people.seed(url, self.urls.redis, held)
        return self._stores[name]

    def server(self, name: str) -> Served:
        """Return the server of each name, started on first use."""
        if name not in self._servers:
            factory = {
                "bare": "tests.benchmarks.bare:create stock",
                "one-by-one": "tests.benchmarks.one_by_one:create",
                "pipelined": "tests.benchmarks.one_by_one:create_pipelined",
            }
            nowhere = f"unix://{urlsplit(self.urls.redis).path}.nowhere"
            url = nowhere if name == "away" else self.urls.redis
            store = self.store(_STORES.get(name, name))
            served = Served(store.url, url, self.server_core, factory.get(name))
            self.resources.enter_context(served)
            self._servers[name] = served
        return self._servers[name]

    def prepare(self, rows: Sequence[Row]) -> None:
        """Fill every store, which may take minutes, then start every server: all of them of the same code."""
        for row in rows:
            self.store(self._store_of(row.name))
        for row in rows:
            if row.name not in _UNSERVED:
                self.server(self._server_of(row.name))

    def run(self, name: str) -> Run:
        """Run a row once."""
        if name == "pgbench":
            return self._run_pgbench()
        if name == "copy":
            return self._run_copy()
        if name in ("import", "upsert"):
            return self._run_import(name)
        server = self.server(self._server_of(name))
        store = self.store(self._store_of(name))
        scenario = name.removesuffix("-million")
        known = [store.active, store.stride]
        if scenario in ("new", "one-by-one", "pipelined"):
            return self._run_new(server, store)
        if scenario == "events":
            return self._run_events(server, store)
        if scenario in FOOTPRINTS:
            told = FOOTPRINTS[scenario]
            return self._measured(server, "footprint", [told.events, told.visitors])
        if scenario == "lookup-miss":
            with self._flushing():
                return self._measured(server, "lookup", known)
        if scenario in _CACHED:
            self._warm(server, "lookup" if scenario == "lookup" else "unchanged", store)
        if scenario == "mix":
            return self._measured(server, "mix", [*known, next(self._ids)])
        if scenario == "unchanged":
            before = store.rows()
            measured = self._measured(server, "unchanged", known)
            if settled(store.rows) != before:
                raise BenchmarkError("unchanged data was written")
            return measured
        if scenario == "bare":
            return self._measured(server, "unchanged", known)
        return self._measured(server, "lookup", known)

    def _server_of(self, name: str) -> str:
        if name.endswith("-million"):
            return "million"
        if name in FOOTPRINTS:
            return "footprint"
        alone = {
            "bare": "bare",
            "one-by-one": "one-by-one",
            "pipelined": "pipelined",
            "lookup-away": "away",
            "events": "events",
        }
        return alone.get(name, "service")

    def _store_of(self, name: str) -> str:
        return name if name in _UNSERVED else _STORES.get(self._server_of(name), self._server_of(name))

    def _measured(self, server: Served, script: str, arguments: Sequence[int], seconds: int | None = None) -> Run:
        workers = server.workers()
        before, database_before = sum(map(cpu_seconds, workers)), self.postgres.cpu_seconds()
        load = self._wrk(server, script, arguments, seconds or self.options.seconds)
        after, database_after = sum(map(cpu_seconds, workers)), self.postgres.cpu_seconds()
        return Run(load, after - before, database_after - database_before)

    def _wrk(self, server: Served, script: str, arguments: Sequence[int], seconds: int) -> Load:
        try:
            return wrk(server.url, script, arguments, seconds, self.load_core)
        except BenchmarkError as error:
            raise BenchmarkError(f"{error}\nThe end of the server's log:\n{server.logs()[-LOG_CHARACTERS:]}") from error

    def _warm(self, server: Served, script: str, store: Store) -> None:
        """Have every known customer in the cache, where an entry stays a minute."""
        asked = 0
        while asked < 2 * store.active:
            asked += self._wrk(server, script, [store.active, store.stride], 1).requests

    def _run_new(self, server: Served, store: Store) -> Run:
        before = store.rows()
        measured = self._measured(server, "new", [next(self._ids)])
        written = {name: rows - before[name] for name, rows in settled(store.rows).items()}
        acknowledged = measured.load.requests
        # wrk hangs up with a request under way on each connection; those may be written as well.
        if any(not acknowledged <= rows <= acknowledged + CONNECTIONS for rows in written.values()):
            raise BenchmarkError(f"{acknowledged} identities were acknowledged, written were {written}")
        return measured

    def _run_pgbench(self) -> Run:
        store = self.store("pgbench")
        before, database_before = store.rows(), self.postgres.cpu_seconds()
        # Its clients take the ids from the end of the range, far from each other.
        variables = {"i": 0, "first": 1_000_000_000 + next(self._ids) % 100_000_000 * 10}
        load, seconds = pgbench(
            store.url, people.FOLDER / "new_identity.sql", variables, self.options.seconds, self.server_core
        )
        database_seconds = self.postgres.cpu_seconds() - database_before
        written = {name: rows - before[name] for name, rows in store.rows().items()}
        if set(written.values()) != {load.requests}:
            raise BenchmarkError(f"pgbench ran {load.requests} transactions, written were {written}")
        return Run(load, seconds, database_seconds)

    def _run_events(self, server: Served, store: Store) -> Run:
        before = store.events()
        measured = self._measured(server, "events", [next(self._ids)])
        written = settled(store.events) - before
        acknowledged = measured.load.requests * EVENTS_PER_REQUEST
        if not acknowledged <= written <= acknowledged + CONNECTIONS * EVENTS_PER_REQUEST:
            raise BenchmarkError(f"{acknowledged} events were acknowledged, written were {written}")
        return msgspec.structs.replace(measured, load=msgspec.structs.replace(measured.load, requests=acknowledged))

    def _run_copy(self) -> Run:
        store = self.store("copy")
        before, database_before = store.events(), self.postgres.cpu_seconds()
        load, seconds = copy_rows(store.url, self.urls.redis, self.options.seconds, next(self._ids), self.server_core)
        database_seconds = self.postgres.cpu_seconds() - database_before
        if store.events() - before != load.requests:
            raise BenchmarkError(f"{load.requests} rows were copied, written were {store.events() - before}")
        return Run(load, seconds, database_seconds)

    def _run_import(self, name: str) -> Run:
        rows = self.options.import_rows
        members, lines = self._members()
        before, database_before = os.times(), self.postgres.cpu_seconds()
        if name == "import":
            seconds = importing.run_import(self.urls.database, self.urls.redis, members, rows)
        else:
            seconds = importing.run_bare(self.urls.database, lines)
        after, database_after = os.times(), self.postgres.cpu_seconds()
        spent = sum(after[:4]) - sum(before[:4])
        return Run(Load(rows, seconds, 0, None, None), spent, database_after - database_before)

    def _members(self) -> tuple[Path, Path]:
        """Return the file of members, and the rows that they become."""
        if self._files is None:
            folder = Path(self.resources.enter_context(tempfile.TemporaryDirectory(prefix="identity-members-")))
            self._files = folder / "members.csv", folder / "members.rows"
            say(f"writing {self.options.import_rows:,} members")
            importing.write_file(self._files[0], self.options.import_rows)
            importing.write_rows(self._files[1], self.options.import_rows)
        return self._files

    @contextlib.contextmanager
    def _flushing(self) -> Iterator[None]:
        """Empty the cache again and again, before the same customer's turn comes once more."""
        stopping = threading.Event()

        def flush() -> None:
            while not stopping.wait(FLUSH_SECONDS):
                self.redis.flushdb()

        self.redis.flushdb()
        thread = threading.Thread(target=flush)
        thread.start()
        try:
            yield
        finally:
            stopping.set()
            thread.join()

    def soak(self) -> list[tuple[int, int]]:
        """Return the worker's memory after so many requests of all kinds."""
        server, store = self.server("service"), self.store("service")
        known = [store.active, store.stride]
        requests, told = 0, 0
        memory = [(0, server.resident_bytes())]
        while requests < SOAK_REQUESTS:
            for script, arguments in (
                ("unchanged", known),
                ("new", [next(self._ids)]),
                ("lookup", known),
                ("mix", [*known, next(self._ids)]),
            ):
                requests += self._wrk(server, script, arguments, SOAK_SECONDS).requests
            if requests // (SOAK_REQUESTS // 4) > told:
                told = requests // (SOAK_REQUESTS // 4)
                memory.append((requests, server.resident_bytes()))
                say(f"{requests:,} requests: {memory[-1][1] / 1e6:.1f} MB")
        return memory


def say(text: str) -> None:
    """Tell whoever waits; the table alone goes to standard output."""
    print(f"{datetime.now(UTC):%H:%M:%S} {text}", file=sys.stderr, flush=True)


def machine(bench: Bench) -> str:
    """Return where and with what it was measured."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = next((line.partition(":")[2].strip() for line in cpuinfo.splitlines() if "model name" in line), "?")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cache: dict[str, str] = bench.redis.info("server")
    cache_version = (
        f"Valkey {cache['valkey_version']}" if "valkey_version" in cache else f"Redis {cache['redis_version']}"
    )
    return (
        f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB, Linux {platform.release()}; "
        f"Python {platform.python_version()}, PostgreSQL {bench.postgres.version}, {cache_version}, "
        f"uvicorn {uvicorn.__version__}, Litestar {litestar.__version__.formatted()}; commit {_commit()}, "
        f"{datetime.now(UTC):%Y-%m-%d}. One worker on a core of its own, {CONNECTIONS} connections; medians of "
        f"{bench.options.rounds} rounds of {bench.options.seconds} s."
    )


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    ran = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    return ran.stdout.strip() or "unknown"


@contextlib.contextmanager
def opened(options: Options, wal_bytes: int) -> Iterator[Bench]:
    """Give a benchmark whose database and cache run on the second core, with so much WAL ready to be written over."""
    find_wrk()
    find_pgbench()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="identity-bench-", ignore_cleanup_errors=True))
        with on_core(cores()[1]):
            with embedded.start(Path(folder)) as first, psycopg.connect(first.urls.database, autocommit=True) as fresh:
                for name, value in DATABASE_SETTINGS.items():
                    fresh.execute(f"ALTER SYSTEM SET {name} = '{value}'")
                _use_wal(fresh, wal_bytes)
            servers = stack.enter_context(embedded.start(Path(folder)))
        yield Bench(Urls(servers.urls.database, servers.urls.redis), options, stack)


def _use_wal(connection: psycopg.Connection, wal_bytes: int) -> None:
    """Have the server fill so much WAL, and keep the files for what comes."""
    row = connection.execute("SELECT setting::bigint FROM pg_settings WHERE name = 'wal_segment_size'").fetchone()
    assert row is not None
    files = wal_bytes // int(row[0])
    if not files:
        return
    say(f"filling {files} files of WAL")
    connection.execute(f"ALTER SYSTEM SET min_wal_size = '{wal_bytes // 2**20}MB'")
    connection.execute("SELECT pg_reload_conf()")
    for _ in range(files):
        connection.execute("SELECT pg_logical_emit_message(false, 'benchmark', '')")
        connection.execute("SELECT pg_switch_wal()")
    connection.execute("CHECKPOINT")


def measure(bench: Bench, rows: Sequence[Row]) -> dict[str, list[Run]]:
    """Return the runs of every row, in rounds that begin with another row each."""
    bench.prepare(rows)
    for row in rows:
        bench.run(row.name)  # connections, prepared statements, files that grow: not the steady state yet
    runs: dict[str, list[Run]] = {row.name: [] for row in rows}
    for number in range(bench.options.rounds):
        turn = number * len(rows) // max(1, bench.options.rounds)
        for row in (*rows[turn:], *rows[:turn]):
            run = bench.run(row.name)
            runs[row.name].append(run)
            say(
                f"round {number + 1} {row.name}: {run.per_second:,.0f}/s, server {run.server_us:.0f} us, "
                f"database {run.database_us:.0f} us, p99 {run.load.p99_ms or 0:.1f} ms"
            )
    return runs


def _with_floor(row: Row, at_least: float | None) -> Row:
    floors = tuple(msgspec.structs.replace(floor, at_least=at_least) for floor in row.floors)
    return msgspec.structs.replace(row, floors=floors)


def choose(names: Sequence[str], *, million: bool, import_rows: int = 0) -> list[Row]:
    """Return the rows asked for (none: all) and those that they are compared with."""
    floor = IMPORT_FLOOR if import_rows >= MILLION else None
    always = (*ROWS, *(_with_floor(row, floor) for row in IMPORT_ROWS))
    known = {row.name: row for row in (*always, *MILLION_ROWS)}
    for name in names:
        if name not in known:
            raise BenchmarkError(f"There is no row {name}. Rows: {', '.join(known)}.")
    offered = (*always, *MILLION_ROWS) if million or any(name.endswith("-million") for name in names) else always
    wanted = set(names) or {row.name for row in offered}
    wanted |= {floor.against for name in tuple(wanted) for floor in known[name].floors}
    return [row for row in offered if row.name in wanted]


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark; 1 if a floor is not reached, 2 if it could not be run."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", help=f"rows: {', '.join(row.name for row in (*ROWS, *IMPORT_ROWS, *MILLION_ROWS))}"
    )
    parser.add_argument("--seconds", type=int, default=5, help="of each run (default 5; at most 40)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one round of one second, to see that it runs")
    parser.add_argument("--million", action="store_true", help="also with 1,000,000 customers held (minutes to seed)")
    parser.add_argument("--import-rows", type=int, default=20_000, help="members to import (default 20,000)")
    parser.add_argument("--soak", action="store_true", help="also 1,000,000 requests, and the worker's memory")
    parser.add_argument("--json", type=Path, help="write every run to this file")
    given = parser.parse_args(arguments)
    options = Options(
        names=tuple(given.names),
        seconds=1 if given.quick else max(1, min(given.seconds, 40)),
        rounds=1 if given.quick else max(1, given.rounds),
        known=KNOWN,
        soak=given.soak,
        import_rows=max(1, given.import_rows),
    )
    try:
        rows = choose(options.names, million=given.million, import_rows=options.import_rows)
        has_million = options.import_rows >= MILLION or any(row in MILLION_ROWS for row in rows)
        wal_bytes = WAL_BYTES_OF_A_MILLION if has_million else WAL_BYTES
        with opened(options, 0 if given.quick else wal_bytes) as bench:
            text = machine(bench)
            runs = measure(bench, rows)
            memory = bench.soak() if options.soak else []
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        return 2
    ratios = ratios_of(rows, runs)
    print(f"{table(rows, runs)}\n\n{text}")
    if memory:
        print(f"\nMemory of the worker: {_told(memory)}.")
    if given.json:
        given.json.write_text(_json(text, runs, ratios, memory))
    too_large = any(size > SOAK_BYTES_MAX for _, size in memory)
    return int(too_large or not all(ratio.holds for ratio in ratios))


def _told(memory: Sequence[tuple[int, int]]) -> str:
    return ", ".join(f"{size / 1e6:.1f} MB after {requests:,}" for requests, size in memory)


def _json(text: str, runs: dict[str, list[Run]], ratios: Sequence[Ratio], memory: Sequence[tuple[int, int]]) -> str:
    document = {"machine": text, "runs": runs, "ratios": ratios, "memory": memory}
    return json.dumps(msgspec.to_builtins(document), indent=1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
