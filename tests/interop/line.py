"""The line between a client and the service, which a test may cut: a forwarder of bytes on a port that stays."""

import contextlib
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

CHUNK_BYTES = 65_536


class Line:
    """Forwards to the port that ``target`` gives at each connection, so that the service may come back on another."""

    def __init__(self, target: Callable[[], int]) -> None:
        self._target = target
        self._lock = threading.Lock()
        self._ends: set[socket.socket] = set()
        self._loses_answers = False
        self.lost_answers = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._port = int(self._listener.getsockname()[1])
        self._start()

    @property
    def url(self) -> str:
        """What a client is told to talk to."""
        return f"http://127.0.0.1:{self._port}"

    def cut(self) -> None:
        """Break every connection and let none in, as if nobody listened."""
        # Without the shutdown the port would stay open for as long as a thread waits in accept().
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join()
        self._break()

    def mend(self) -> None:
        """Listen again, on the same port."""
        self._listener = socket.create_server(("127.0.0.1", self._port))
        self._start()

    def lose_answers(self, *, loses: bool = True) -> None:
        """Let requests through, and break the connection where their answer would come back."""
        self._loses_answers = loses

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()

    def _start(self) -> None:
        self._accepting = threading.Thread(target=self._accept, args=(self._listener,), daemon=True)
        self._accepting.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._target()))
            except OSError:
                near.close()
                continue
            with self._lock:
                self._ends |= {near, far}
            threading.Thread(target=self._carry, args=(near, far), daemon=True).start()

    def _carry(self, near: socket.socket, far: socket.socket) -> None:
        requests = threading.Thread(target=self._pump, args=(near, far), daemon=True)
        requests.start()
        self._pump(far, near, carries_answers=True)
        requests.join()
        with self._lock:
            self._ends -= {near, far}
        near.close()
        far.close()

    def _pump(self, source: socket.socket, sink: socket.socket, *, carries_answers: bool = False) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(CHUNK_BYTES):
                if carries_answers and self._loses_answers:
                    self.lost_answers += 1
                    break
                sink.sendall(chunk)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _break(self) -> None:
        with self._lock:
            ends = list(self._ends)
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
