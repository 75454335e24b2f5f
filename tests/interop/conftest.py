"""Skips everything here where the clients cannot run, or fails it if ``IDENTITY_TEST_INTEROP=required``."""

import os
from collections.abc import Iterator
from uuid import uuid4

import pytest

from tests.harness import Server, Urls, fresh_store
from tests.interop import stock
from tests.interop.line import Line
from tests.interop.stock import Client


@pytest.fixture(scope="session", autouse=True)
def _can_run() -> None:
    obstacle = stock.find_obstacle()
    if obstacle is None:
        return
    if os.environ.get("IDENTITY_TEST_INTEROP") == "required":
        pytest.fail(f"the stock clients cannot run: {obstacle}")
    pytest.skip(f"the stock clients cannot run: {obstacle}")


@pytest.fixture
def suffix() -> str:
    """Ends names that no other test uses."""
    return uuid4().hex[:8]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Client]:
    """One Chromium for all tests; each makes a website of its own there."""
    with Client(stock.browser()) as running:
        yield running


@pytest.fixture(scope="session")
def jsdom() -> Iterator[Client]:
    """One process with jsdom for all tests; each makes a website of its own there."""
    with Client(stock.node("jsdom.mjs")) as running:
        yield running


@pytest.fixture
def line(server: Server) -> Iterator[Line]:
    """A way to the service that the test may cut."""
    with Line(lambda: server.port) as between:
        yield between


@pytest.fixture
def own_server(urls: Urls) -> Iterator[Server]:
    """A service that the test may stop and start."""
    with fresh_store(urls.database) as url, Server(url, urls.redis) as running:
        yield running
