"""One frozen struct from the environment. Nobody else reads it."""

import difflib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from uuid import UUID

import msgspec

PREFIX = "IDENTITY_"
TEST_PREFIX = "IDENTITY_TEST_"
WORKERS_MAX = 256
PROJECT = Path(__file__).resolve().parent.parent


class SettingsError(Exception):
    """The environment asks for what cannot be; the message says which variable, and what it takes."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can be set. ``None`` for a server means the embedded one."""

    database_url: str | None = None
    redis_url: str | None = None
    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    migrate_at_start: bool = True
    database_prepared: bool = True
    webhook_allow_private: bool = False
    bootstrap_channel_id: str | None = None
    bootstrap_write_key: str | None = None
    bootstrap_admin_key: str | None = None
    metrics_dir: str | None = None
    demo: bool = False


NAMES: dict[str, str] = {
    "IDENTITY_DATABASE_URL": "PostgreSQL 15 to 18, as a URL; left out, the embedded server starts",
    "IDENTITY_REDIS_URL": "Redis 6.2 or Valkey, as a URL; left out, the embedded server starts",
    "IDENTITY_DATA_DIR": "where the embedded servers keep their data (default: .data in the project)",
    "IDENTITY_LISTEN": "host:port to listen on (default 127.0.0.1:8000)",
    "IDENTITY_WORKERS": "worker processes (default: one per core)",
    "IDENTITY_MIGRATE_AT_START": "on (default) or off: bring the schema up to date before serving",
    "IDENTITY_DATABASE_PREPARED": "on (default) or off: off behind a pooler that can't keep prepared statements",
    "IDENTITY_WEBHOOK_ALLOW_PRIVATE": "off (default) or on: let webhooks go to private addresses, and by http://",
    "IDENTITY_BOOTSTRAP_CHANNEL_ID": "UUID of the first channel of an empty store",
    "IDENTITY_BOOTSTRAP_WRITE_KEY": "its public write key",
    "IDENTITY_BOOTSTRAP_ADMIN_KEY": "the first secret key of an empty store, with all scopes",
    "IDENTITY_METRICS_DIR": "folder that the workers share their metrics in (made by serve)",
    "IDENTITY_DEMO": "on or off: the demo shop, for this machine alone (default: on if both servers are embedded)",
}
"""Every variable and what it takes; the help text and the README's table are made of this."""

SECRETS = (
    "IDENTITY_DATABASE_URL",
    "IDENTITY_REDIS_URL",
    "IDENTITY_BOOTSTRAP_WRITE_KEY",
    "IDENTITY_BOOTSTRAP_ADMIN_KEY",
)
"""These may also be given as the name of a file that holds them: the same name with _FILE behind it."""


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of an environment (default: this process's).

    Raises:
        SettingsError: a name is unknown, or a value is not of its form.
    """
    environ = os.environ if environ is None else environ
    known = {*NAMES, *(f"{name}_FILE" for name in SECRETS)}
    for name in sorted(environ):
        if name.startswith(PREFIX) and not name.startswith(TEST_PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0)
            raise SettingsError(f"{name} is no setting. The nearest is {near[0]}.")

    def given(name: str) -> str | None:
        value = environ.get(name)
        path = environ.get(f"{name}_FILE") if name in SECRETS else None
        if value and path:
            raise SettingsError(f"{name} and {name}_FILE are both set: keep one.")
        if path:
            try:
                value = Path(path).read_text("utf-8").strip()
            except (OSError, UnicodeError) as error:
                raise SettingsError(f"{name}_FILE: {path} cannot be read ({type(error).__name__}).") from error
        return value or None

    host, port = _read_listen(given("IDENTITY_LISTEN") or "127.0.0.1:8000")
    return Settings(
        database_url=_checked(given("IDENTITY_DATABASE_URL"), "IDENTITY_DATABASE_URL", _is_postgresql),
        redis_url=_checked(given("IDENTITY_REDIS_URL"), "IDENTITY_REDIS_URL", _is_redis),
        data_dir=Path(given("IDENTITY_DATA_DIR") or PROJECT / ".data").absolute(),
        host=host,
        port=port,
        workers=_read_workers(given("IDENTITY_WORKERS")),
        migrate_at_start=_read_switch(given("IDENTITY_MIGRATE_AT_START"), "IDENTITY_MIGRATE_AT_START"),
        database_prepared=_read_switch(given("IDENTITY_DATABASE_PREPARED"), "IDENTITY_DATABASE_PREPARED"),
        webhook_allow_private=_read_switch(
            given("IDENTITY_WEBHOOK_ALLOW_PRIVATE") or "off", "IDENTITY_WEBHOOK_ALLOW_PRIVATE"
        ),
        bootstrap_channel_id=_read_uuid(given("IDENTITY_BOOTSTRAP_CHANNEL_ID")),
        bootstrap_write_key=_checked(given("IDENTITY_BOOTSTRAP_WRITE_KEY"), "IDENTITY_BOOTSTRAP_WRITE_KEY", _is_key),
        bootstrap_admin_key=_checked(given("IDENTITY_BOOTSTRAP_ADMIN_KEY"), "IDENTITY_BOOTSTRAP_ADMIN_KEY", _is_key),
        metrics_dir=given("IDENTITY_METRICS_DIR"),
        demo=_read_switch(
            given("IDENTITY_DEMO") or _default_demo(given("IDENTITY_DATABASE_URL"), given("IDENTITY_REDIS_URL")),
            "IDENTITY_DEMO",
        ),
    )


def publish(settings: Settings, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for workers that are to share what this process found out: servers and metrics."""
    found = dict(os.environ if environ is None else environ)
    for name in SECRETS:
        found.pop(f"{name}_FILE", None)
    told = {
        "IDENTITY_DATABASE_URL": settings.database_url,
        "IDENTITY_REDIS_URL": settings.redis_url,
        "IDENTITY_METRICS_DIR": settings.metrics_dir,
        "PROMETHEUS_MULTIPROC_DIR": settings.metrics_dir,
        "IDENTITY_DEMO": "on" if settings.demo else "off",
    }
    found.update({name: value for name, value in told.items() if value is not None})
    return found


def _checked(value: str | None, name: str, is_right: Callable[[str], bool]) -> str | None:
    if value is not None and not is_right(value):
        raise SettingsError(f"{name} is not of its form: {NAMES[name]}.")
    return value


def _is_postgresql(url: str) -> bool:
    return url.startswith(("postgresql://", "postgres://"))


def _is_redis(url: str) -> bool:
    return re.match(r"(rediss?(\+(cluster|sentinel))?|unix)://", url) is not None


def _is_key(key: str) -> bool:
    return 16 <= len(key) <= 200 and key.isascii() and key.isprintable() and " " not in key


def _read_listen(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 <= int(port) <= 65535:
        raise SettingsError(f"IDENTITY_LISTEN is not of its form: {NAMES['IDENTITY_LISTEN']}.")
    return host.strip("[]"), int(port)


def _read_workers(text: str | None) -> int:
    if text is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return min(cores, WORKERS_MAX)
    if not text.isdecimal() or not 1 <= int(text) <= WORKERS_MAX:
        raise SettingsError(f"IDENTITY_WORKERS takes a whole number from 1 to {WORKERS_MAX}.")
    return int(text)


def _read_switch(text: str | None, name: str) -> bool:
    if text not in (None, "on", "off"):
        raise SettingsError(f"{name} takes on or off.")
    return text != "off"


def _default_demo(*urls: str | None) -> str:
    return "off" if any(urls) else "on"


def _read_uuid(text: str | None) -> str | None:
    try:
        return None if text is None else str(UUID(text))
    except ValueError as error:
        raise SettingsError("IDENTITY_BOOTSTRAP_CHANNEL_ID takes a UUID.") from error
