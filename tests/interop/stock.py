"""Stock clients of other vendors, each a process that is told line by line what to do, as clients/ask.js says."""

import json
import os
import queue
import shutil
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

FOLDER = Path(__file__).resolve().parent / "clients"
NODE_VERSION_MIN = 20
ANSWER_SECONDS_MAX = 40.0
EXIT_SECONDS_MAX = 15.0


class Refused(Exception):
    """The client's own call failed; the message is the client's."""


def find_obstacle() -> str | None:
    """Return why no client can run here, or None."""
    node = shutil.which("node")
    if node is None:
        return "there is no node"
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.removeprefix("v").partition(".")[0]) < NODE_VERSION_MIN:
        return f"node is {version}, and the clients need {NODE_VERSION_MIN} or newer"
    if shutil.which("chromium") is None:
        return "there is no chromium"
    if not (FOLDER / ".venv" / "installed").exists():
        return "the clients are not installed: run tests/interop/clients/install"
    return None


def node(driver: str, *arguments: str) -> list[str]:
    """Return the command of a driver for Node."""
    return ["node", str(FOLDER / driver), *arguments]


def python(module: str, *arguments: str) -> list[str]:
    """Return the command of a client that is a Python module."""
    return [str(FOLDER / ".venv" / "bin" / "python"), str(FOLDER / "python_client.py"), module, *arguments]


def browser() -> list[str]:
    """Return the command of Chromium, in which pages carry clients."""
    return node("browser.mjs", str(shutil.which("chromium")))


class Client:
    """A client that runs. Its calls are those of its page or driver."""

    def __init__(self, command: Sequence[str]) -> None:
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("IDENTITY_", "NODE_ENV"))}
        self._process = subprocess.Popen(
            command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(EXIT_SECONDS_MAX)
        finally:
            self._process.kill()
            self._process.wait()
            self._reader.join()
            self._process.stdout.close()

    def call(self, name: str, *arguments: object) -> Any:
        """Call, wait until the client is done with it, and return what it gives.

        Raises:
            Refused: the client's promise was rejected.
        """
        return self._ask(name, arguments, waits=True)

    def start(self, name: str, *arguments: object) -> None:
        """Call without waiting, as websites do."""
        self._ask(name, arguments, waits=False)

    def settled(self) -> list[str | None]:
        """Wait for everything that was started; return the error of each, None where there is none."""
        return [outcome.get("error") for outcome in self._ask("settled", (), waits=True)]

    def _ask(self, name: str, arguments: tuple[object, ...], *, waits: bool) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"call": name, "args": arguments, "waits": waits}) + "\n")
        return self._answer()

    def _answer(self) -> Any:
        line = self._answers.get(timeout=ANSWER_SECONDS_MAX)
        assert line, "the client ended"
        answer = json.loads(line)
        if "error" in answer:
            raise Refused(answer["error"])
        return answer["value"]

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put("")
