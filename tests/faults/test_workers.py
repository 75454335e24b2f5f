"""Supervisor and workers as processes: killed, told to stop at any moment, several hosts on one store."""

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg
import pytest

from tests.faults.load import Load, children_of, healthy, workers_of
from tests.harness import ADMIN_KEY, PROJECT, Server, Urls, fresh_store
from tests.http.receiver import wait_until

needs_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes in /proc")
pytestmark = needs_proc


def is_running(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def all_gone(pids: Sequence[int], *, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while any(map(is_running, pids)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def is_free(port: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def family_of(process: int) -> list[int]:
    """Return a process and all below it."""
    return [process, *(pid for child in children_of(process) for pid in family_of(child))]


@pytest.fixture
def database(urls: Urls) -> Iterator[str]:
    with fresh_store(urls.database) as url:
        yield url


def test_a_worker_killed_under_load_is_replaced_and_the_other_goes_on(database: str, urls: Urls) -> None:
    with Server(database, urls.redis, workers=2) as server:
        load = Load([server.url])
        before = workers_of(server)

        async def story() -> None:
            for _ in range(2):
                os.kill(workers_of(server)[0], signal.SIGKILL)
                await asyncio.sleep(0.3)
                await healthy(server.url)
                deadline = time.monotonic() + 15
                while len(workers_of(server)) < 2:
                    assert time.monotonic() < deadline
                    await asyncio.sleep(0.1)
            await asyncio.sleep(1)

        asyncio.run(load.during(story))

        load.check(database, cut_off_max=4 * load.writers)
        assert len(workers_of(server)) == 2
        assert set(workers_of(server)) != set(before)


def test_a_worker_that_cannot_start_yet_is_tried_again_and_does_not_take_the_service_down(
    database: str, urls: Urls
) -> None:
    with Server(database, urls.redis, workers=2) as server:
        with psycopg.connect(database) as connection:
            connection.execute("LOCK TABLE workspace IN ACCESS EXCLUSIVE MODE")  # as a change of the schema does
            os.kill(workers_of(server)[0], signal.SIGKILL)
            time.sleep(9)  # longer than a worker tries
            connection.rollback()
        is_alive = server.process.poll() is None
        asyncio.run(healthy(server.url))

        assert is_alive
        assert len(workers_of(server)) == 2


def test_told_to_stop_under_load_it_finishes_what_it_took_and_ends_with_0(database: str, urls: Urls) -> None:
    server = Server(database, urls.redis, workers=2)
    with server:
        load = Load([server.url])
        family = family_of(server.process.pid)

        async def story() -> int:
            began = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            code = await asyncio.to_thread(server.process.wait, 30)
            assert time.monotonic() - began < 15
            return code

        codes: list[int] = []

        async def noted() -> None:
            codes.append(await story())

        asyncio.run(load.during(noted, before=1, after=0))

        assert codes == [0]
        load.check(database, cut_off_max=1_000_000)  # who comes after the end finds nobody
        assert all_gone(family, seconds=2)
        assert [line for line in server.logs().splitlines() if "Traceback" in line or '"level": "error"' in line] == []


def test_a_request_under_way_when_it_is_told_to_stop_is_answered(database: str, urls: Urls) -> None:
    with Server(database, urls.redis) as server:
        body = b'{"visitor_id":"v1","customer_id":"c1","display_name":"Ana"}'
        with socket.create_connection(("127.0.0.1", server.port)) as slow:
            slow.sendall(
                b"POST /api/v1/authenticate HTTP/1.1\r\nHost: x\r\nX-Write-Key: wk_test_write_key_0001\r\n"
                b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body)
            )
            assert slow.recv(4096).startswith(b"HTTP/1.1 100")  # from here on it is under way
            slow.sendall(body[:10])
            server.process.send_signal(signal.SIGTERM)
            time.sleep(1)
            slow.sendall(body[10:])
            answer = b"".join(iter(lambda: slow.recv(4096), b""))

        assert server.process.wait(10) == 0
        assert answer.startswith(b"HTTP/1.1 200")
        assert answer.endswith(b'{"status":"ok"}')


def start_and_tell(
    database: str, redis: str, folder: Path, seconds: float, number: signal.Signals
) -> tuple[int, list[int], str]:
    """Start the service, send a signal after a while; return its code, its family at that time, and what it said."""
    server = Server(database, redis, workers=2, environ={"TMPDIR": str(folder)})
    process = subprocess.Popen(
        [sys.executable, "-m", "identity", "serve"],
        cwd=PROJECT,
        env=server._environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        time.sleep(seconds)
        family = family_of(process.pid)
        process.send_signal(number)
        _, errors = process.communicate(timeout=25)
        return process.returncode, family, errors
    finally:
        server._errors.close()
        if process.poll() is None:
            process.kill()
            process.wait()


def assert_it_leaves_nothing(
    database: str, redis: str, folder: Path, moments: Sequence[float], number: signal.Signals
) -> None:
    for seconds in moments:
        began = time.monotonic()
        code, family, errors = start_and_tell(database, redis, folder, seconds, number)
        took = time.monotonic() - began - seconds
        # Python itself, not yet ours, ends by the signal; where it is busy importing, so does a worker.
        assert code in (0, -number), errors
        assert took < 12
        assert all_gone(family, seconds=3)
        # Ctrl-C before our first line is Python's own to answer.
        assert "Traceback" not in errors or (code == -signal.SIGINT and errors.rstrip().endswith("KeyboardInterrupt"))
        assert list(folder.iterdir()) == []


def test_told_to_stop_while_it_starts_it_leaves_nothing_behind(database: str, urls: Urls, tmp_path: Path) -> None:
    assert_it_leaves_nothing(database, urls.redis, tmp_path, [0.05, 0.6, 1.2, 2.0], signal.SIGTERM)


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_at_any_moment_of_its_start_it_leaves_nothing_behind(
    database: str, urls: Urls, tmp_path: Path, number: signal.Signals
) -> None:
    assert_it_leaves_nothing(database, urls.redis, tmp_path, [0.1 * step for step in range(1, 45)], number)


def test_the_workers_of_a_killed_supervisor_leave_and_free_the_port(database: str, urls: Urls) -> None:
    with Server(database, urls.redis, workers=2) as server:
        family = family_of(server.process.pid)
        port = server.port

        server.process.kill()

        assert all_gone(family[1:], seconds=8)
        assert is_free(port)


def test_workers_still_starting_when_their_supervisor_is_killed_leave_too(database: str, urls: Urls) -> None:
    server = Server(database, urls.redis, workers=2)
    process = subprocess.Popen(
        [sys.executable, "-m", "identity", "serve"],
        cwd=PROJECT,
        env=server._environ,
        stdout=subprocess.PIPE,
        stderr=server._errors,
    )
    assert process.stdout is not None
    line = process.stdout.readline().decode()
    deadline = time.monotonic() + 10
    while len(family_of(process.pid)) < 4:  # itself, two workers, and the helper that tracks what they share
        assert time.monotonic() < deadline
        time.sleep(0.01)
    family = family_of(process.pid)

    process.kill()
    process.wait()  # not for the end of its output: that is open as long as its workers live

    found = re.search(r":(\d+) ", line)
    assert found
    assert all_gone(family[1:], seconds=20)
    assert is_free(int(found.group(1)))
    server._errors.close()


def test_two_hosts_of_two_workers_on_one_store_never_show_less_than_was_acknowledged(database: str, urls: Urls) -> None:
    with (
        Server(database, urls.redis, workers=2) as one,
        Server(database, urls.redis, workers=2) as other,
    ):
        load = Load([one.url, other.url], writers=8)

        async def story() -> None:
            await asyncio.sleep(3)

        asyncio.run(load.during(story))

        load.check(database)
        assert set(load.answers) == {200}


def test_a_key_revoked_on_one_host_is_refused_at_once_by_every_worker_of_the_other(database: str, urls: Urls) -> None:
    with (
        Server(database, urls.redis, workers=2) as one,
        Server(database, urls.redis, workers=2) as other,
    ):
        made = one.post("/api/v1/admin/keys", {"name": "CRM", "scopes": ["profiles:read"]}).json()
        headers = {"Authorization": f"Bearer {made['secret']}", "Connection": "close"}
        one.authenticate({"visitor_id": "v1", "customer_id": "c1", "display_name": "Ana"})
        path = "/api/v1/customers/c1"
        before = {server.client.get(path, headers=headers).status_code for server in (one, other) for _ in range(8)}

        revoked = one.client.delete(
            f"/api/v1/admin/keys/{made['key_id']}", headers={"Authorization": f"Bearer {ADMIN_KEY}"}
        )

        after = {server.client.get(path, headers=headers).status_code for server in (other, one) for _ in range(20)}
        assert revoked.status_code == 200
        assert (before, after) == ({200}, {401})


def test_metrics_of_any_worker_count_the_requests_of_all(database: str, urls: Urls) -> None:
    with Server(database, urls.redis, workers=2) as server:
        for number in range(40):
            push = {"visitor_id": f"v{number}", "customer_id": f"c{number}", "display_name": "Ana"}
            server.authenticate(push, Connection="close")
        server.authenticate(b"[]", Connection="close")
        everything = ((("/api/v1/authenticate", "200"), 40.0), (("/api/v1/authenticate", "400"), 1.0))

        def told() -> set[object]:
            return {counted(server.client.get("/metrics", headers={"Connection": "close"}).text) for _ in range(10)}

        wait_until(told, lambda seen: seen == {everything})  # each worker tells its numbers once a second

        assert told() == {everything}


def counted(text: str) -> tuple[tuple[tuple[str, str], float], ...]:
    pattern = re.compile(r'^identity_requests_total\{route="([^"]+)",status="(\d+)"\} ([0-9.]+)$', re.MULTILINE)
    found = {(route, status): float(number) for route, status, number in pattern.findall(text)}
    return tuple(sorted(item for item in found.items() if item[0][0] == "/api/v1/authenticate"))
