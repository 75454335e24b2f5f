"""``identity import``: a file or standard input, with a progress bar."""

import contextlib
import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from tqdm import tqdm

from identity.gate import blocked_ids
from identity.imports.columns import Columns, ImportRefused, Reader
from identity.imports.files import BLOCK_BYTES, Wishes, open_source
from identity.imports.run import NOTE_CHARACTERS_MAX, Order, Report, Target, run, sender_of
from profiles.access import Workspace

if TYPE_CHECKING:  # importing it takes a second, and it imports the routes that import these modules
    from identity.app import Service

STDIN = "-"
ACTOR = "cli"


class Asked(msgspec.Struct, frozen=True):
    """What stood on the command line."""

    file: str
    mapping: Mapping[str, str]
    encoding: str | None
    ignores_unknown: bool
    is_dry: bool
    is_resumed: bool
    rejects: str | None
    note: str | None


def read_mapping(pairs: list[str]) -> dict[str, str]:
    """Return what ``--map "Mobile No=phone"`` tells.

    Raises:
        ImportRefused: one has no "=", or a column is mapped twice.
    """
    mapping: dict[str, str] = {}
    for pair in pairs:
        name, equals, target = pair.rpartition("=")
        if not equals or not name or not target:
            raise ImportRefused(f'--map wants COLUMN=FIELD, for example "Mobile No=phone", not {pair!r}.')
        if name in mapping:
            raise ImportRefused(f"--map names the column {name!r} twice.")
        mapping[name] = target
    return mapping


async def import_file(service: "Service", workspace: Workspace, asked: Asked) -> Report:
    """Look a file through, and import it.

    Raises:
        ImportRefused: it cannot be imported as it is; nothing was written.
        ImportBroken: it cannot go on now, but can be resumed.
    """
    if asked.note is not None and len(asked.note) > NOTE_CHARACTERS_MAX:
        raise ImportRefused(f"--note may have {NOTE_CHARACTERS_MAX} characters.")
    if asked.is_dry and asked.is_resumed:
        raise ImportRefused("A dry run writes nothing, so there is nothing to resume: leave out one of the two.")
    rejects = _rejects_path(asked)
    target = Target(service.settings, service.store_id, workspace)
    order = Order(_name(asked), ACTOR, rejects, asked.note, asked.is_dry, asked.is_resumed)
    wishes = Wishes(asked.mapping, asked.encoding, asked.ignores_unknown)
    blocked = blocked_ids(workspace)

    def make_reader(columns: Columns) -> Reader:
        return Reader(columns, sender_of(workspace, ACTOR, None, None), 0, blocked)

    with _opened(asked.file) as path, _uncollected():
        try:
            with tqdm(desc="Looking it through", unit="B", unit_scale=True, disable=None, leave=False) as bar:
                source = open_source(path, order.name, wishes, make_reader, _moving(bar))
        except OSError as error:
            raise ImportRefused(f"{asked.file} cannot be read ({error.strerror or type(error).__name__}).") from None
        with tqdm(total=source.lines, desc="Importing", unit=" lines", unit_scale=True, disable=None) as bar:
            return await run(
                target, service.database, service.intake, service.cache, source, order, _cores(), bar.update
            )


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Look for no garbage meanwhile: rows are made by the million, and none is part of a cycle."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _moving(bar: "tqdm[Any]") -> Callable[[int, int], None]:
    def moved(read: int, of: int) -> None:
        bar.total = of
        bar.update(read - bar.n)

    return moved


def _name(asked: Asked) -> str:
    return "standard input" if asked.file == STDIN else asked.file


def _rejects_path(asked: Asked) -> Path | None:
    if asked.rejects is None and asked.is_dry:
        return None
    if asked.rejects is not None:
        path = Path(asked.rejects)
    elif asked.file == STDIN:
        path = Path("import.rejects")
    else:
        source = Path(asked.file)
        path = source.with_name(f"{source.stem}.rejects{source.suffix}")
    if asked.file != STDIN and path.exists() and Path(asked.file).exists() and path.samefile(asked.file):
        raise ImportRefused("--rejects names the file that is imported.")
    return path


@contextlib.contextmanager
def _opened(file: str) -> Iterator[Path]:
    """Give the file; what comes by standard input is laid on disk first, so that it can be looked through."""
    if file != STDIN:
        if Path(file).is_dir():
            raise ImportRefused(f"{file} is a folder.")
        yield Path(file)
        return
    with tempfile.NamedTemporaryFile(prefix="identity-import-") as spool:
        shutil.copyfileobj(sys.stdin.buffer, spool, BLOCK_BYTES)
        spool.flush()
        yield Path(spool.name)
