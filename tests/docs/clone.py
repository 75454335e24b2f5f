"""A copy of the project as somebody else would get it, and its console blocks run in it."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

PROJECT = Path(__file__).resolve().parents[2]
INSTALLS_ANEW = os.environ.get("CI") == "true"
"""Whether the copy makes a .venv of its own, as a stranger's would, or borrows this one's packages, which is faster."""
START_SECONDS_MAX = 600.0
STOP_SECONDS_MAX = 60.0


class Step(NamedTuple):
    """One command of a console block and what it prints."""

    command: str
    output: str


class Served(NamedTuple):
    """A service that runs in a copy, and what its start printed."""

    folder: Path
    environ: dict[str, str]
    url: str
    printed: str


def tracked() -> list[str]:
    """Return the files of the project: those that git keeps, and those that it would if they were added."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, text=True).stdout
    return sorted(name for name in set(listed.split("\0")) if name and (PROJECT / name).is_file())


def copy_to(folder: Path) -> None:
    """Make a fresh clone, with what is not committed yet."""
    for name in tracked():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(PROJECT / name, folder / name)


def borrow_venv(folder: Path) -> None:
    """Give the copy a .venv that is installed, by the packages of the interpreter that runs the tests.

    The project itself is the copy's: nothing of the original is imported.
    """
    venv = folder / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    site = next(venv.glob("lib/python*/site-packages"))
    (site / "borrowed.pth").write_text(f"{folder}\n{sysconfig.get_paths()['purelib']}\n")
    script = venv / "bin" / "identity"
    # As pip writes them; without the condition, each worker would be one more service.
    program = "import sys\nfrom identity.cli import main\nif __name__ == '__main__':\n    sys.exit(main())\n"
    script.write_text(f"#!{venv}/bin/python\n{program}")
    script.chmod(0o755)
    pins = (folder / "deploy" / "requirements-embedded.txt").read_text()
    stamp = f"{folder}\n{(folder / 'pyproject.toml').read_text()}{pins}"
    (venv / "installed-embedded").write_text(stamp)


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def served(folder: Path, command: str, *, installs_anew: bool) -> Iterator[Served]:
    """Run the command that starts the service in a fresh copy, wait until it listens, and stop it afterwards."""
    copy_to(folder)
    if not installs_anew:
        borrow_venv(folder)
    port = free_port()
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("IDENTITY_", "PYTHONPATH"))}
    environ |= {
        "IDENTITY_LISTEN": f"127.0.0.1:{port}",
        "IDENTITY_DATA_DIR": str(folder / ".data"),
        "PYTHON": sys.executable,
    }
    errors = folder / "errors.log"
    with errors.open("wb") as log:
        process = subprocess.Popen(
            ["sh", "-c", f"exec {command}"], cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=log
        )
        try:
            printed = _read_announcement(process, errors)
            yield Served(folder, environ, f"http://127.0.0.1:{port}", printed)
        finally:
            process.send_signal(signal.SIGTERM)
            status = process.wait(STOP_SECONDS_MAX)
            assert process.stdout is not None
            process.stdout.close()
    assert status == 0, f"it did not stop cleanly: {status}\n{errors.read_text()}"


def _read_announcement(process: "subprocess.Popen[bytes]", errors: Path) -> str:
    assert process.stdout is not None
    deadline = time.monotonic() + START_SECONDS_MAX
    lines: list[str] = []
    for raw in process.stdout:
        lines.append(raw.decode())
        if "/api/v1/customers/" in lines[-1]:
            return "".join(lines)
        if time.monotonic() > deadline:
            break
    raise AssertionError(f"it did not start:\n{''.join(lines)}{errors.read_text()}")


def steps_of(text: str) -> list[Step]:
    """Return the commands of all console blocks, in order."""
    steps = []
    for block in re.findall(r"^```console\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            steps.append(Step(command, output))
    return steps


def is_like(pattern: str, text: str) -> bool:
    """Return whether the text is the pattern, in which … stands for anything. White space does not count."""
    parts = ["".join(part.split()) for part in pattern.split("…")]
    return re.fullmatch(".+?".join(map(re.escape, parts)), "".join(text.split()), re.DOTALL) is not None


def run(command: str, folder: Path, environ: Mapping[str, str]) -> str:
    """Run a line as it would be typed and return what it prints, errors included."""
    done = subprocess.run(
        ["sh", "-eu", "-c", command],
        cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120, check=False,
    )  # fmt: skip
    return done.stdout.decode()


def call(
    command: Sequence[str | Path], folder: Path = PROJECT, environ: Mapping[str, str] | None = None, sent: str = ""
) -> "subprocess.CompletedProcess[str]":
    """Run a program to its end, whatever that is."""
    return subprocess.run(
        command, cwd=folder, env=environ, input=sent, capture_output=True, text=True, timeout=600, check=False
    )


def blocks_of(text: str, language: str) -> Sequence[str]:
    """Return the fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def links_of(text: str) -> Sequence[str]:
    """Return what a document links to, places within documents left out."""
    return [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if not link.startswith("#")]
