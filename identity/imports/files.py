"""The file of an import: which kind it is, looked through as a whole before anything is written, and read line by line.

Nothing is held but a block of it, however large it is.
"""

import codecs
import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from pathlib import Path

import msgspec

from identity.imports.columns import COLUMNS_MAX, Columns, ImportRefused, Line, Reader, flattened, read_columns
from identity.tolerant import read_value

BLOCK_BYTES = 1024 * 1024
LINE_CHARACTERS_MAX = 128 * 1024
"""One line; csv has the same limit for one cell, which a quote that is never closed runs into."""
REPEATED_MAX = 1_000_000
SEEN_BITS_MAX = 2**28
"""32 MiB tell which customers may stand in the file twice; a million lines want a twentieth of it."""

_HEAD_BYTES = 64 * 1024
_MAGIC = (
    (b"PK\x03\x04", "an Excel workbook or a ZIP archive"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook"),
    (b"\x1f\x8b", "compressed by gzip"),
    (b"%PDF", "a PDF"),
    (b"SQLite format 3", "a database"),
)
_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_DELIMITERS = ",;\t|"
_CSV_SUFFIXES, _JSON_SUFFIXES = (".csv", ".tsv", ".txt"), (".ndjson", ".jsonl", ".json")
_NAMED_BY_PEOPLE = {"big5": "cp950", "big-5": "cp950", "utf16": "utf-16", "utf8": "utf-8"}


class Wishes(msgspec.Struct, frozen=True):
    """What was said about the file beforehand."""

    mapping: Mapping[str, str] = {}
    encoding: str | None = None
    ignores_unknown: bool = False


class Source(msgspec.Struct, frozen=True):
    """A file that was looked through. ``lines`` counts those that hold something, the header left out."""

    path: Path
    encoding: str
    delimiter: str
    columns: Columns
    fingerprint: str
    size: int
    lines: int = 0
    repeated: frozenset[str] = frozenset()
    """Ids of customers who may stand in the file more than once: all who do, and few others."""

    @property
    def is_json(self) -> bool:
        """Whether it has a JSON object on every line."""
        return self.columns.is_json


class _Kind(msgspec.Struct, frozen=True):
    path: Path
    is_json: bool
    encoding: str
    delimiter: str


def open_source(
    path: Path,
    name: str,
    wishes: Wishes,
    make_reader: Callable[[Columns], Reader],
    progress: Callable[[int, int], None] = lambda _read, _of: None,
) -> Source:
    """Return the file, looked through from its first line to its last. ``name`` is what people call it.

    Raises:
        ImportRefused: it cannot be imported; the message says where it is damaged, and what to do.
        OSError: it cannot be read.
    """
    fingerprint, size, sample = _fingerprint(path, progress)
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if not head.strip():
        raise ImportRefused(f"{name} is empty.")
    for magic, told in _MAGIC:
        if head.startswith(magic):
            raise ImportRefused(f"{name} is {told}. Save it as CSV (UTF-8), or as one JSON object a line.")
    encoding = _encoding(name, head, sample, wishes.encoding)
    kind = _Kind(path, *_form(name, head, encoding))
    try:
        names = _names(name, kind)
        columns = read_columns(names, wishes.mapping, ignores_unknown=wishes.ignores_unknown, is_json=kind.is_json)
        source = Source(path, encoding, kind.delimiter, columns, fingerprint, size)
        return _look_through(name, source, make_reader(columns), progress)
    except UnicodeDecodeError as error:
        raise ImportRefused(
            f"{name} is not {error.encoding} throughout (byte {error.object[error.start]:#04x} fits nowhere). Name its "
            "encoding: --encoding big5, for example."
        ) from None


def _fingerprint(path: Path, progress: Callable[[int, int], None]) -> tuple[str, int, bytes]:
    """Return the digest of the whole file, its size, and the first block that is more than ASCII."""
    digest, size, sample = blake2b(digest_size=16), 0, b""
    of = path.stat().st_size
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
            size += len(block)
            if not sample and not block.isascii():
                sample = block
            progress(size, of)
    return digest.hexdigest(), size, sample


def _encoding(name: str, head: bytes, sample: bytes, forced: str | None) -> str:
    if forced is not None:
        try:
            found = codecs.lookup(_NAMED_BY_PEOPLE.get(forced.lower(), forced)).name
        except LookupError:
            raise ImportRefused(f"No encoding is called {forced}. Say utf-8, big5 or utf-16, for example.") from None
        return "utf-8-sig" if found == "utf-8" and head.startswith(codecs.BOM_UTF8) else found
    for bom, encoding in _BOMS:
        if head.startswith(bom):
            return encoding
    if b"\0" in head[:4096]:
        zeros = [head[at:4096:2].count(0) for at in (0, 1)]
        if max(zeros) > len(head[:4096]) // 5:  # text in UTF-16: every other byte of ASCII is zero
            return "utf-16-le" if zeros[1] > zeros[0] else "utf-16-be"
        raise ImportRefused(f"{name} is no text: it holds zero bytes. Save it as CSV (UTF-8).")
    if not sample or _decodes(sample, "utf-8"):
        return "utf-8"
    if _decodes(sample, "cp950") and _reads_as_big5(sample):
        return "cp950"
    raise ImportRefused(f"{name} is neither UTF-8 nor Big5. Name its encoding: --encoding windows-1252, for example.")


def _decodes(block: bytes, encoding: str) -> bool:
    try:
        codecs.getincrementaldecoder(encoding)().decode(block)
    except UnicodeDecodeError:
        return False
    return True


def _reads_as_big5(block: bytes) -> bool:
    """Return whether most first bytes of pairs are those of marks and common characters.

    Accented letters of Western encodings decode as Big5 too, but as characters that hardly anyone writes.
    """
    common = pairs = at = 0
    while at < len(block):
        if block[at] < 0x80:
            at += 1
            continue
        pairs += 1
        common += 0xA1 <= block[at] <= 0xC6
        at += 2
    return common >= 0.7 * pairs


def _form(name: str, head: bytes, encoding: str) -> tuple[bool, str, str]:
    """Return whether it is NDJSON, its encoding, and the delimiter of its cells."""
    text = codecs.getincrementaldecoder(encoding)(errors="replace").decode(head).lstrip("\ufeff \r\n")
    suffix = Path(name).suffix.lower()
    looks_json = text.startswith("{")
    if suffix in _JSON_SUFFIXES:
        if text.startswith("["):
            raise ImportRefused(f"{name} is one JSON list. Write one object a line, without commas and brackets.")
        if not looks_json:
            raise ImportRefused(f"{name} does not hold what its name says: its first line is no JSON object.")
        return True, encoding, ""
    if suffix in _CSV_SUFFIXES and looks_json:
        raise ImportRefused(f"{name} does not hold what its name says: it looks like JSON. Call it .ndjson.")
    if looks_json:
        return True, encoding, ""
    first = text.splitlines()[0]
    if first.lower().startswith("sep=") and len(first) == 5:
        return False, encoding, first[4]
    unquoted = "".join(first.split('"')[::2])
    return False, encoding, max(_DELIMITERS, key=unquoted.count)


def _texts(kind: _Kind | Source) -> io.TextIOWrapper:
    return kind.path.open("r", encoding=kind.encoding, newline="")


def _limited(text: io.TextIOWrapper, told: list[str]) -> Iterator[str]:
    """Give the physical lines, none longer than may be; ``told`` gets the last one."""
    for number, line in enumerate(iter(partial(text.readline, LINE_CHARACTERS_MAX), ""), 1):
        if len(line) == LINE_CHARACTERS_MAX and not line.endswith(("\n", "\r")):
            raise ImportRefused(f"Line {number} is longer than {LINE_CHARACTERS_MAX} characters.")
        if "\0" in line:
            raise ImportRefused(f"Line {number} holds zero bytes: the file is damaged, or in another encoding.")
        told[0] = line
        yield line


def _rows(kind: _Kind | Source, text: io.TextIOWrapper, told: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Give the rows of CSV with their line numbers; blank ones are left out.

    Raises:
        ImportRefused: a quote is wrong, or never closed.
    """
    reader = csv.reader(_limited(text, told), delimiter=kind.delimiter, strict=True)
    try:
        for row in reader:
            if row and (row[0] or any(row)):
                yield reader.line_num, row
    except csv.Error as error:
        if "end of data" in str(error) or "field larger" in str(error):
            raise ImportRefused(
                f"A quote before line {reader.line_num} is never closed: the file is cut off."
            ) from None
        raise ImportRefused(
            f'Line {reader.line_num}: a quote stands where none may be. Within quotes, write "" for ".'
        ) from None


def _names(name: str, kind: _Kind) -> list[str]:
    with _texts(kind) as text:
        if not kind.is_json:
            names = _header(_rows(kind, text, [""]))
            if not names:
                raise ImportRefused(f"{name} has no header.")
            return names
        seen: dict[str, None] = {}
        told = [""]
        number = 0
        for number, line in enumerate(_limited(text, told), 1):
            value = read_value(line.encode("utf-8", "surrogatepass")) if not line.isspace() else {}
            if isinstance(value, dict):
                seen.update(dict.fromkeys(column for column, _ in flattened(value)))
                if len(seen) > COLUMNS_MAX:
                    raise ImportRefused(f"By line {number} there are more than {COLUMNS_MAX} names of members.")
            elif number == 1:
                raise ImportRefused(f"{name} does not hold what its name says: its first line is no JSON object.")
            elif not line.endswith(("\n", "\r")):
                raise ImportRefused(f"Line {number}, the last one, is cut off: the file is not complete.")
        return list(seen)


def _header(rows: Iterator[tuple[int, list[str]]]) -> list[str]:
    header = next(rows, (0, []))[1]
    if [cell.lower() for cell in header] == ["sep=", ""]:  # Excel's own way to tell the delimiter
        header = next(rows, (0, []))[1]
    names = [cell.strip().lstrip("\ufeff") for cell in header]
    while names and not names[-1]:
        names.pop()
    return names


def read_lines(source: Source, reader: Reader, told: list[str] | None = None) -> Iterator[tuple[Line, str | None]]:
    """Give the lines of a file with whom each names, in order.

    Raises:
        ImportRefused: the file is damaged.
    """
    last = [""] if told is None else told
    seen: set[str] = set()
    with _texts(source) as text:
        for number, cells in _json_lines(text, last) if source.is_json else _csv_lines(source, text, last):
            customer = reader.customer(cells)
            if customer is not None and customer in source.repeated:
                yield Line(number, cells, customer in seen, is_awaited=True), customer
                seen.add(customer)
            else:
                yield Line(number, cells), customer


def _json_lines(text: io.TextIOWrapper, told: list[str]) -> Iterator[tuple[int, list[str]]]:
    return ((number, [line]) for number, line in enumerate(_limited(text, told), 1) if not line.isspace())


def _csv_lines(source: Source, text: io.TextIOWrapper, told: list[str]) -> Iterator[tuple[int, list[str]]]:
    rows = _rows(source, text, told)
    _header(rows)
    width = len(source.columns.names)
    for number, row in rows:
        while len(row) > width and not row[-1]:
            row.pop()
        yield number, row


class _Seen:
    """Which ids may have been there before: never a wrong no, and few wrong yeses, in bounded memory."""

    def __init__(self, lines_max: int) -> None:
        bits = 1 << 16
        while bits < min(SEEN_BITS_MAX, lines_max * 16):
            bits <<= 1
        self._mask = bits - 1
        self._bits = bytearray(bits >> 3)
        self.repeated: set[str] = set()

    def add(self, identifier: str) -> None:
        number = hash(identifier)
        is_new = False
        for at in (number & self._mask, (number >> 28) & self._mask):
            bit = 1 << (at & 7)
            if not self._bits[at >> 3] & bit:
                self._bits[at >> 3] |= bit
                is_new = True
        if not is_new and len(self.repeated) < REPEATED_MAX:
            self.repeated.add(identifier)


def _look_through(name: str, source: Source, reader: Reader, progress: Callable[[int, int], None]) -> Source:
    lines = 0
    seen = _Seen(source.size // 20)
    told = [""]
    row: Sequence[str] = ()
    number = 0
    for line, customer in read_lines(source, reader, told):
        lines += 1
        number, row = line.number, line.cells
        if customer is not None:
            seen.add(customer)
    if not lines:
        raise ImportRefused(f"{name} has a header and no lines.")
    if not source.is_json and len(row) < len(source.columns.names) and not told[0].endswith(("\n", "\r")):
        raise ImportRefused(f"Line {number}, the last one, is cut off: the file is not complete.")
    progress(source.size, source.size)
    return msgspec.structs.replace(source, lines=lines, repeated=frozenset(seen.repeated))
