"""Debian's Chromium by Playwright. Without one these tests are skipped, or fail if IDENTITY_TEST_BROWSER=required."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.browser.stand_in import StandIn
from tests.browser.watch import Watch


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for the tests of a module; each has contexts of its own.

    Not for the session: while Playwright runs, no other test of this process can start an event loop.
    """
    program = shutil.which("chromium")
    if program is None:
        why = "no Chromium here: install Debian's package chromium"
        if os.environ.get("IDENTITY_TEST_BROWSER") == "required":
            pytest.fail(why)
        pytest.skip(why)
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=arguments)
        yield chromium
        chromium.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser without a past."""
    fresh = browser.new_context()
    yield fresh
    fresh.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    """A tab of it."""
    return context.new_page()


@pytest.fixture
def watch(page: Page) -> Watch:
    """What goes wrong in the tab, and what is written to its console."""
    return Watch(page)


@pytest.fixture
def shop() -> Iterator[StandIn]:
    """A website."""
    with StandIn() as site:
        yield site


@pytest.fixture
def service() -> Iterator[StandIn]:
    """What stands in for the service, on another origin."""
    with StandIn() as site:
        yield site


@pytest.fixture(scope="session")
def output() -> Path:
    """Where pictures are kept: IDENTITY_TEST_OUTPUT, or a folder that is told at the end of the test's output."""
    folder = Path(os.environ.get("IDENTITY_TEST_OUTPUT") or tempfile.mkdtemp(prefix="identity-pictures-"))
    folder.mkdir(parents=True, exist_ok=True)
    print(f"pictures: {folder}")  # noqa: T201 - so that they can be found
    return folder
