"""What a page suffers: errors, rejections, long tasks, words on the console."""

import time
from collections.abc import Callable

from playwright.sync_api import Page

from tests.browser.stand_in import WAIT_SECONDS_MAX

_OBSERVE = """
window.told = {rejections: [], long: []};
addEventListener("unhandledrejection", (event) => told.rejections.push(String(event.reason)));
new PerformanceObserver((list) => list.getEntries().forEach((task) => told.long.push(task.duration)))
  .observe({type: "longtask"});
"""


class Watch:
    """Everything that is reported from a tab. ``console`` leaves out what the browser itself says of requests."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.errors: list[str] = []
        self.console: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda message: self.console.append(message.text))
        page.add_init_script(_OBSERVE)

    @property
    def rejections(self) -> list[str]:
        """Promises that nobody caught."""
        told: list[str] = self.page.evaluate("told.rejections")
        return told

    @property
    def long_tasks(self) -> list[float]:
        """Tasks of over 50 ms, in milliseconds."""
        told: list[float] = self.page.evaluate("told.long")
        return told


def wait_until(page: Page, is_so: Callable[[], object]) -> None:
    """Wait for what is bound to come; the browser goes on meanwhile."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not is_so():
        assert time.monotonic() < deadline, "it did not come"
        page.wait_for_timeout(20)


def settle(page: Page) -> None:
    """Give what must not come the time to come."""
    page.wait_for_timeout(400)
