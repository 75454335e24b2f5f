"""Real servers for every test: IDENTITY_TEST_DATABASE_URL and IDENTITY_TEST_REDIS_URL, or the embedded ones."""

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from profiles import embedded
from tests.harness import Server, Urls, fresh_store

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what runs in its background with SIGINT ignored, and every process of the tests would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def urls() -> Iterator[Urls]:
    """Both servers, for the whole run. The database's account may create databases."""
    database, redis = os.environ.get("IDENTITY_TEST_DATABASE_URL"), os.environ.get("IDENTITY_TEST_REDIS_URL")
    if database and redis:
        yield Urls(database, redis)
        return
    with (
        tempfile.TemporaryDirectory(prefix="identity-test-", ignore_cleanup_errors=True) as folder,
        embedded.start(Path(folder), database=not database, redis=not redis) as servers,
    ):
        yield Urls(database or servers.urls.database, redis or servers.urls.redis)


@pytest.fixture
def store_url(urls: Urls) -> Iterator[str]:
    """A migrated, empty database of its own."""
    with fresh_store(urls.database) as url:
        yield url


@pytest.fixture(scope="module")
def server(urls: Urls) -> Iterator[Server]:
    """A service of one worker in a process of its own, on an empty store, for the tests of one module."""
    with fresh_store(urls.database) as url, Server(url, urls.redis) as running:
        yield running
