"""What runs beside the benchmark: servers and load generators, each on its core, and the CPU time they take."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import psycopg

from profiles import embedded
from tests.benchmarks.measure import Load, read_pgbench, read_wrk
from tests.benchmarks.people import FOLDER
from tests.harness import PROJECT, START_SECONDS_MAX, Server

CONNECTIONS = 64
_TICKS = os.sysconf("SC_CLK_TCK")


class BenchmarkError(Exception):
    """The benchmark cannot run, or what it ran went wrong; the message says why."""


def cores() -> tuple[int, int]:
    """Return the core of the server under test, and that of everything else."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        raise BenchmarkError("Two cores are needed: one for the server, one for load and databases.")
    return usable[0], usable[1]


@contextlib.contextmanager
def on_core(core: int) -> Iterator[None]:
    """Start processes on this core alone."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Served(Server):
    """A service of one worker; ``factory`` is what ``tests.benchmarks.launch`` is to serve instead."""

    def __init__(self, database: str, redis: str, core: int, factory: str | None = None) -> None:
        super().__init__(database, redis)
        self._core = core
        self._command = (
            ["-m", "identity", "serve"] if factory is None else ["-m", "tests.benchmarks.launch", *factory.split()]
        )

    def start(self) -> None:
        with on_core(self._core):
            self._process = subprocess.Popen(
                [sys.executable, *self._command],
                cwd=PROJECT,
                env=self._environ,
                stdout=subprocess.PIPE,
                stderr=self._errors,
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline().decode()
        found = re.search(r"http://[^ ]+", line)
        if not found:
            raise BenchmarkError(f"{self._command} did not start: {line}{self.logs()}")
        self.url = found.group()
        self.client = httpx.Client(base_url=self.url, timeout=20.0)
        deadline = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.HTTPError):
                if self.client.get("/readyz").status_code in (200, 503):  # 503: its cache is away, as it should be
                    return
            time.sleep(0.05)
        raise BenchmarkError(f"{self._command} was not ready in time: {self.logs()}")

    def workers(self) -> list[int]:
        """Return the processes that answer."""
        return children(self.process.pid)

    def resident_bytes(self) -> int:
        """Return the memory of the one worker."""
        return max(resident_bytes(pid) for pid in self.workers())


def children(pid: int) -> list[int]:
    """Return the processes that this one started and that still live."""
    found = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for path in found for child in path.read_text().split()]


def cpu_seconds(pid: int, *, with_ended: bool = False) -> float:
    """Return the CPU time of a process; ``with_ended``: and of its children that ended. 0 if there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0.0
    # The name, in brackets, may hold spaces; utime, stime, cutime and cstime are the fields 14 to 17.
    ticks = text.rpartition(")")[2].split()[11:15]
    return sum(map(int, ticks if with_ended else ticks[:2])) / _TICKS


def resident_bytes(pid: int) -> int:
    """Return the memory of a process that lies in RAM."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) * 1024 if found else 0


class Postgres:
    """The database server, as far as its CPU time goes."""

    def __init__(self, url: str) -> None:
        with psycopg.connect(url) as connection:
            backend = connection.info.backend_pid
            self.version = connection.info.parameter_status("server_version") or "?"
            self._pid = int(Path(f"/proc/{backend}/stat").read_text().rpartition(")")[2].split()[1])

    def cpu_seconds(self) -> float:
        """Return the CPU time of the server and of its children, living and ended."""
        living = sum(cpu_seconds(child) for child in children(self._pid))
        return cpu_seconds(self._pid, with_ended=True) + living


def find_wrk() -> str:
    """Return the load generator."""
    found = shutil.which("wrk")
    if found is None:
        raise BenchmarkError("wrk is missing. On Debian and Ubuntu: apt-get install wrk")
    return found


def find_pgbench() -> str:
    """Return the pgbench that came with the PostgreSQL that the embedded start would use, or any other."""
    beside = embedded._find_postgres() / "pgbench"
    found = str(beside) if beside.is_file() else shutil.which("pgbench")
    if found is None:
        raise BenchmarkError("pgbench is missing. On Debian and Ubuntu: apt-get install postgresql")
    return found


def wrk(url: str, script: str, arguments: Sequence[int], seconds: int, core: int) -> Load:
    """Run a scenario against a server.

    Raises:
        BenchmarkError: any answer was not 2xx, or did not come.
    """
    command = [find_wrk(), "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "10s", "--latency"]
    command += ["-s", f"{script}.lua", url, "--", *map(str, arguments)]
    with on_core(core):
        ran = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise BenchmarkError(f"wrk failed: {ran.stdout}{ran.stderr}")
    load = read_wrk(ran.stdout)
    if load.errors:
        raise BenchmarkError(f"{script}: {load.errors} of {load.requests} answers were not 2xx: {ran.stdout}")
    return load


def pgbench(url: str, script: Path, variables: dict[str, int], seconds: int, core: int) -> tuple[Load, float]:
    """Run a script of statements with as many clients; return what it says, and its own CPU time.

    Raises:
        BenchmarkError: it failed, or any transaction did.
    """
    command = [find_pgbench(), "-n", "-M", "prepared", "-c", str(CONNECTIONS), "-j", "1", "-T", str(seconds)]
    command += ["-f", str(script)]
    for name, value in variables.items():
        command += ["-D", f"{name}={value}"]
    with on_core(core):
        before = os.times()
        ran = subprocess.run([*command, url], capture_output=True, text=True, check=False)
        after = os.times()
    if ran.returncode:
        raise BenchmarkError(f"pgbench failed: {ran.stdout}{ran.stderr}")
    load = read_pgbench(ran.stdout)
    if load.errors:
        raise BenchmarkError(f"{load.errors} transactions of pgbench failed: {ran.stdout}")
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return load, spent


def copy_rows(database: str, redis: str, seconds: int, first: int, core: int) -> tuple[Load, float]:
    """Run ``tests.benchmarks.copying``; return what it says, and its CPU time.

    Raises:
        BenchmarkError: it failed.
    """
    command = [sys.executable, "-m", "tests.benchmarks.copying", database, redis, str(seconds), str(first)]
    with on_core(core):
        ran = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise BenchmarkError(f"COPY failed: {ran.stdout}{ran.stderr}")
    told = json.loads(ran.stdout)
    return Load(told["rows"], told["seconds"], 0, None, None), told["cpu_seconds"]
