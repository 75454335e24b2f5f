"""The rejects file: the lines that can be mended, as they came, with what is wrong with them; it can be fed again."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import msgspec

from identity.imports.columns import ERRORS, Fault, Line, quoted
from identity.imports.files import Source
from identity.tolerant import read_value

SENT = "sent"
"""Member of a rejected line that was no JSON object: the line itself."""


class Rejects:
    """Written in the source's own form and encoding. No file before the first reject, and none without a path."""

    def __init__(self, path: Path | None, source: Source) -> None:
        self.path = path
        self.count = 0
        self._source = source
        self._file: io.TextIOWrapper | None = None
        names = source.columns.names
        self._errors_at = names.index(ERRORS) if ERRORS in names else len(names)
        if path is not None:
            path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, line: Line, faults: Sequence[Fault]) -> None:
        """Write one line, and what is wrong with it."""
        self.count += 1
        if self.path is None:
            return
        if self._file is None:
            self._file = self.path.open("w", encoding=self._source.encoding, newline="")
            if not self._source.is_json:
                self._write_row([*self._source.columns.names], ERRORS)
        told = "; ".join(f"{name}: {code}" if name else code for name, code in faults)
        if not self._source.is_json:
            self._write_row(list(line.cells), told)
            return
        value = read_value(line.cells[0].encode("utf-8", "surrogatepass"))
        mended = {**value, ERRORS: told} if isinstance(value, dict) else {ERRORS: told, SENT: line.cells[0].strip()}
        self._file.write(msgspec.json.encode(mended).decode() + "\n")

    def flush(self) -> None:
        """Let others see what is written."""
        if self._file is not None:
            self._file.flush()

    def _write_row(self, cells: list[str], told: str) -> None:
        assert self._file is not None
        cells += [""] * (self._errors_at - len(cells))
        cells[self._errors_at : self._errors_at + (self._errors_at < len(self._source.columns.names))] = [told]
        csv.writer(self._file, delimiter=self._source.delimiter).writerow(map(quoted, cells))
