"""What tests start: databases of their own, the service as a process, the service's parts in this process."""

import contextlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qsl, urlencode, urlsplit
from uuid import uuid4

import httpx
import psycopg
import pytest
from psycopg import sql

from identity.app import Service
from identity.serve import prepare
from identity.settings import Settings, load
from profiles import cache

PROJECT = Path(__file__).resolve().parent.parent
CHANNEL_ID = "11111111-1111-4111-8111-111111111111"
WRITE_KEY = "wk_test_write_key_0001"
ADMIN_KEY = "sk_test_admin_key_0001"
START_SECONDS_MAX = 60.0
LATE_SECONDS_MAX = 5.0

_names = itertools.count(1)
_template: dict[str, str] = {}


class Urls(NamedTuple):
    """Where the servers are."""

    database: str
    redis: str


def settings_for(database: str, redis: str, **changes: str) -> Settings:
    """Return settings on these servers with known bootstrap keys."""
    return load(
        {
            "IDENTITY_DATABASE_URL": database,
            "IDENTITY_REDIS_URL": redis,
            "IDENTITY_BOOTSTRAP_CHANNEL_ID": CHANNEL_ID,
            "IDENTITY_BOOTSTRAP_WRITE_KEY": WRITE_KEY,
            "IDENTITY_BOOTSTRAP_ADMIN_KEY": ADMIN_KEY,
            **changes,
        }
    )


def with_database(url: str, name: str) -> str:
    """Return the URL of another database on the same server."""
    parts = urlsplit(url)
    query = [(key, value) for key, value in parse_qsl(parts.query) if key != "dbname"]
    query_string = f"?{urlencode(query)}" if query else ""
    return f"postgresql://{parts.netloc}/{name}{query_string}"


@contextlib.contextmanager
def fresh_store(url: str) -> Iterator[str]:
    """Give the URL of a migrated store with the known keys, dropped afterwards."""
    if url not in _template:
        template = f"identity_template_{os.getpid()}"
        _recreate(url, template)
        prepare(settings_for(with_database(url, template), "redis://unused"))
        _template[url] = template
    name = f"identity_test_{os.getpid()}_{next(_names)}"
    _recreate(url, name, _template[url])
    fresh = with_database(url, name)
    with psycopg.connect(fresh, autocommit=True) as connection:
        # The id is part of every key in Redis, which all tests share.
        connection.execute("UPDATE store SET store_id = %s", [uuid4().hex[:12]])
    try:
        yield fresh
    finally:
        _drop(url, name)


def _recreate(url: str, name: str, template: str | None = None) -> None:
    _drop(url, name)
    with psycopg.connect(url, autocommit=True) as connection:
        statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
        if template:
            statement += sql.SQL(" TEMPLATE {}").format(sql.Identifier(template))
        connection.execute(statement)


def _drop(url: str, name: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def be_patient_with_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Redis be late. On a busy machine it can be, by more than a worker waits for it, and then what was written is
    shown late, which is a story of its own: tests/store/test_cache.py and tests/faults."""
    monkeypatch.setattr(cache, "CALL_SECONDS_MAX", LATE_SECONDS_MAX)
    monkeypatch.setattr(cache, "CONNECT_SECONDS_MAX", LATE_SECONDS_MAX)


@contextlib.asynccontextmanager
async def opened_service(database: str, redis: str) -> AsyncIterator[Service]:
    """Give the parts of one worker, in this process and event loop."""
    settings = settings_for(database, redis)
    with psycopg.connect(database) as connection:
        row = connection.execute("SELECT store_id FROM store").fetchone()
    assert row is not None
    service = Service(settings, row[0])
    await service.open()
    try:
        yield service
    finally:
        await service.close()


class Server(contextlib.AbstractContextManager["Server"]):
    """``identity serve`` as a process of its own on a free port."""

    def __init__(
        self, database: str, redis: str, *, workers: int = 1, environ: Mapping[str, str] | None = None
    ) -> None:
        self.database = database
        self.redis = redis
        self._environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("IDENTITY_")},
            "IDENTITY_DATABASE_URL": database,
            "IDENTITY_REDIS_URL": redis,
            "IDENTITY_LISTEN": "127.0.0.1:0",
            "IDENTITY_WORKERS": str(workers),
            "IDENTITY_BOOTSTRAP_CHANNEL_ID": CHANNEL_ID,
            "IDENTITY_BOOTSTRAP_WRITE_KEY": WRITE_KEY,
            "IDENTITY_BOOTSTRAP_ADMIN_KEY": ADMIN_KEY,
            **(environ or {}),
        }
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""
        self.client = httpx.Client()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The supervisor."""
        assert self._process is not None
        return self._process

    @property
    def port(self) -> int:
        """Where it listens on 127.0.0.1."""
        return int(self.url.rpartition(":")[2])

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._errors.close()

    def start(self) -> None:
        """Start and wait until it is ready."""
        command = [sys.executable, "-m", "identity", "serve"]
        self._process = subprocess.Popen(
            command, cwd=PROJECT, env=self._environ, stdout=subprocess.PIPE, stderr=self._errors
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline().decode()
        found = re.search(r"http://[^ ]+", line)
        assert found, f"it did not start: {line}{self.logs()}"
        self.url = found.group()
        self.client = httpx.Client(base_url=self.url, timeout=20.0)
        deadline = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.HTTPError):
                if self.client.get("/readyz").status_code == 200:
                    return
            assert self.process.poll() is None, f"it did not start: {self.logs()}"
            time.sleep(0.05)
        raise AssertionError(f"it was not ready in time: {self.logs()}")

    def stop(self, *, seconds: float = 30.0) -> int:
        """Tell it to stop and return its exit code."""
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            if self.process.stdout is not None:
                self.process.stdout.close()

    def logs(self) -> str:
        """Return everything it has logged."""
        self._errors.seek(0)
        return self._errors.read().decode("utf-8", "replace")

    def authenticate(self, body: object, **headers: str) -> httpx.Response:
        """Push one identity with the write key."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.client.post("/api/v1/authenticate", content=content, headers={"X-Write-Key": WRITE_KEY, **headers})

    def events(self, *events: object) -> httpx.Response:
        """Send events with the write key."""
        return self.client.post("/api/v1/events", json={"events": events}, headers={"X-Write-Key": WRITE_KEY})

    def get(self, path: str, **options: Any) -> httpx.Response:
        """Ask with the admin key."""
        headers = {"Authorization": f"Bearer {ADMIN_KEY}", **options.pop("headers", {})}
        return self.client.get(path, headers=headers, **options)

    def post(self, path: str, body: object, **options: Any) -> httpx.Response:
        """Post JSON with the admin key."""
        headers = {"Authorization": f"Bearer {ADMIN_KEY}", **options.pop("headers", {})}
        return self.client.post(path, json=body, headers=headers, **options)
