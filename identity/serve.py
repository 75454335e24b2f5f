"""The supervisor: embedded servers, schema, first channel and key, then the workers."""

import contextlib
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from secrets import token_hex
from types import FrameType
from typing import NoReturn, TextIO
from uuid import uuid4

import msgspec
import psycopg
import uvicorn
from uvicorn.config import STARTUP_FAILURE

from identity import partitions
from identity.channels import LOOPBACK, is_loopback, make_write_key
from identity.corking import CorkedProtocol
from identity.logs import configure_logging
from identity.partitions import PartitionError
from identity.settings import Settings, SettingsError, publish
from profiles import migrate
from profiles.access import Scope, hash_of, make_secret
from profiles.clock import to_text
from profiles.database import statement

DRAIN_SECONDS_MAX = 20
"""Requests under way may take this long to end once the service is told to stop."""
KEEP_ALIVE_SECONDS = 65
"""Longer than the idle time of common proxies, so that they close idle connections first."""
CONNECTIONS_MAX = 4096
"""Per worker; the next is answered 503 at once."""
BACKLOG_MAX = 2048

log = logging.getLogger(__name__)


class Bootstrap(msgspec.Struct, frozen=True):
    """What the first start on an empty store made. ``admin_key`` is None later: only its hash is kept."""

    workspace_id: int
    channel_id: str
    write_key: str
    admin_key: str | None


@contextlib.contextmanager
def servers(settings: Settings) -> Iterator[Settings]:
    """Give settings whose servers all run: those of the environment, or the embedded ones, started for the while.

    Beside a service that runs on the same data folder, its servers are used.
    """
    if settings.database_url is not None and settings.redis_url is not None:
        yield settings
        return
    from profiles import embedded

    urls = embedded.running(settings.data_dir)
    with contextlib.ExitStack() as stack:
        if urls is None:
            started = embedded.start(
                settings.data_dir, database=settings.database_url is None, redis=settings.redis_url is None
            )
            urls = stack.enter_context(started).urls
        yield msgspec.structs.replace(
            settings,
            database_url=settings.database_url or urls.database,
            redis_url=settings.redis_url or urls.redis,
        )


def prepare(settings: Settings) -> Bootstrap | None:
    """Bring the schema up to date and, on an empty store, make the first workspace, channel and key.

    Returns None if the only channels left are revoked.
    """
    assert settings.database_url is not None
    if settings.migrate_at_start:
        migrate.migrate(settings.database_url, store_id=token_hex(4))
    bootstrap = _first_channel(settings)
    try:
        partitions.keep_up_at(settings.database_url, datetime.now(UTC).date())
    except (PartitionError, psycopg.Error) as error:
        # There are some for months to come, the next hour tries again, and an event whose month is missing makes it.
        log.warning("partitions not kept up", extra={"error": [type(error).__name__]})
    return bootstrap


def _first_channel(settings: Settings) -> Bootstrap | None:
    assert settings.database_url is not None
    with psycopg.connect(settings.database_url, prepare_threshold=None) as connection, connection.transaction():
        # The store's row is the lock: of several first starts, one makes the workspace.
        connection.execute("SELECT 1 FROM store FOR UPDATE")
        row = connection.execute(
            "SELECT workspace_id, channel_id::text, write_key FROM channel"
            " WHERE revoked_at IS NULL ORDER BY created_at LIMIT 1"
        ).fetchone()
        if row:
            return Bootstrap(row[0], row[1], row[2], None)
        if connection.execute("SELECT 1 FROM workspace LIMIT 1").fetchone():
            return None
        return _bootstrap(connection, settings)


def _bootstrap(connection: psycopg.Connection[tuple[object, ...]], settings: Settings) -> Bootstrap:
    now = to_text(time.time_ns() // 1_000_000)
    channel_id = settings.bootstrap_channel_id or str(uuid4())
    write_key = settings.bootstrap_write_key or make_write_key()
    admin_key = settings.bootstrap_admin_key or make_secret()
    made = connection.execute(statement("profiles", "insert_workspace"), {"slug": "main", "spread": 1, "now": now})
    workspace_id = int(str((made.fetchone() or (0,))[0]))
    channel = {
        "channel_id": channel_id,
        "workspace_id": workspace_id,
        "name": "Website",
        "write_key": write_key,
        "website_tracking": True,
        "origins": [LOOPBACK],
        "on_sign_out": "forget",
        "now": now,
    }
    key = {
        "key_id": str(uuid4()),
        "workspace_id": workspace_id,
        "name": "First admin",
        "scopes": [str(scope) for scope in Scope],
        "secret_hash": hash_of(admin_key),
        "hint": admin_key[-4:],
        "now": now,
    }
    connection.execute(statement("identity", "insert_channel"), channel)
    connection.execute(statement("profiles", "insert_key"), key)
    connection.execute(statement("profiles", "advance_generation"))
    return Bootstrap(workspace_id, channel_id, write_key, admin_key)


def announce(settings: Settings, bootstrap: Bootstrap | None, out: TextIO = sys.stdout) -> None:
    """Print where the service listens, its pages for people, its keys if they are new, and a line to try it with."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    url = f"http://{host}:{settings.port}"
    # The demo answers this machine alone, by a name of this machine.
    demo = f"   Demo: {url}/demo" if settings.demo and is_loopback(url) else ""
    lines = [f"Listening on {url} ({settings.workers} workers). API: {url}/docs", f"Inspector: {url}/admin{demo}"]
    if bootstrap is None:
        lines.append("No channel is in force. Make one: identity channel create --name Website")
    else:
        lines.append(f"Channel      {bootstrap.channel_id}")
        lines.append(f"Write key    {bootstrap.write_key}   (public; goes into the website)")
        if bootstrap.admin_key:
            lines.append(f"Admin key    {bootstrap.admin_key}   (secret; shown this once)")
        lines.append("Try it:")
        lines.append(
            f"""  curl -s {url}/api/v1/authenticate -H 'X-Write-Key: {bootstrap.write_key}' """
            """-d '{"visitor_id":"laptop","customer_id":"42","display_name":"Ana"}'"""
        )
        if bootstrap.admin_key:
            lines.append(f"  curl -s {url}/api/v1/customers/42 -H 'Authorization: Bearer {bootstrap.admin_key}'")
    print("\n".join(lines), file=out, flush=True)


def serve(settings: Settings) -> int:
    """Run the service until it is told to stop; return the exit code."""
    # Told to stop while starting, leave through the finally clauses, so that nothing started stays behind.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    configure_logging()
    metrics_dir = tempfile.mkdtemp(prefix="identity-metrics-")
    try:
        with servers(msgspec.structs.replace(settings, metrics_dir=metrics_dir)) as running:
            bootstrap = prepare(running)
            os.environ.update(publish(running))
            for name in [name for name in os.environ if name.endswith("_FILE") and name.startswith("IDENTITY_")]:
                del os.environ[name]
            return _run_workers(running, bootstrap)
    finally:
        shutil.rmtree(metrics_dir, ignore_errors=True)


def _run_workers(settings: Settings, bootstrap: Bootstrap | None) -> int:
    config = uvicorn.Config(
        "identity.app:create",
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        loop="uvloop",
        http=CorkedProtocol,
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG_MAX,
        limit_concurrency=CONNECTIONS_MAX,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS_MAX,
    )
    try:
        socket = config.bind_socket()
    except SystemExit as error:  # uvicorn's way to say that the address is taken, or not this machine's
        raise SettingsError(f"Nothing can listen on {settings.host}:{settings.port}: see IDENTITY_LISTEN.") from error
    socket.listen(BACKLOG_MAX)  # what is announced must be true: who comes before the workers waits for them
    bound = msgspec.structs.replace(settings, port=socket.getsockname()[1])
    announce(bound, bootstrap)
    supervisor = uvicorn.supervisors.Multiprocess(config, [socket])
    try:
        supervisor.run()
    finally:
        socket.close()
    # A worker that could not start ends the service; whoever watches over it must not take that for a wish.
    return STARTUP_FAILURE if any(worker.exitcode == STARTUP_FAILURE for worker in supervisor.processes) else 0


def _leave(_number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)
