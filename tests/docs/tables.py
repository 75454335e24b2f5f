"""The tables of the README that are made of the code: print them, or write them in place.

python -m tests.docs.tables --write
"""

import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from identity.events.behaviour import FAULT_HINTS
from identity.events.catalogue import CATALOGUE
from identity.openapi.spec import VERDICTS
from identity.refusals import REFUSAL_HINTS
from identity.settings import NAMES, SECRETS
from profiles.explaining import OUTCOMES
from profiles.fields import FIELDS, Dialect
from profiles.remarks import HINTS

README = Path(__file__).resolve().parents[2] / "README.md"
DIALECTS = (Dialect.CLIDENTITY, Dialect.AUTHENTICATE, Dialect.PROFILE, Dialect.TRAITS)


def tables() -> dict[str, str]:
    """Return every generated table by the name in its markers."""
    return {
        "fields": _table(
            ("held as", *(str(dialect) for dialect in DIALECTS), "rule"),
            (
                (_code(field.name), *(_code(field.spellings.get(dialect)) for dialect in DIALECTS), field.limit)
                for field in FIELDS
            ),
        ),
        "behaviour": _table(
            ("type", "of", "must have", "may have"),
            (
                (_code(name), event.family, _codes(event.required), _codes(event.optional))
                for name, event in CATALOGUE.items()
            ),
        ),
        "faults": _table(("code", "what to do"), ((_code(code), hint) for code, hint in FAULT_HINTS.items())),
        "verdicts": _table(("verdict", "what it means"), ((_code(name), text) for name, text in VERDICTS.items())),
        "reasons": _table(("reason", "what to do"), ((_code(name), hint) for name, hint in HINTS.items())),
        "outcomes": _table(("outcome", "what it means"), ((_code(name), text) for name, text in OUTCOMES.items())),
        "refusals": _table(("refusal", "what to do"), ((_code(name), hint) for name, hint in REFUSAL_HINTS.items())),
        "settings": _table(
            ("variable", "what it takes", "also as a file"),
            ((_code(name), text, _code(f"{name}_FILE" if name in SECRETS else None)) for name, text in NAMES.items()),
        ),
    }


def in_text(text: str) -> dict[str, str]:
    """Return the tables that stand between markers in a text."""
    return dict(re.findall(r"<!-- table: (\w+) -->\n(.*?)<!-- end -->", text, re.DOTALL))


def replaced(text: str) -> str:
    """Return the text with every table made anew."""
    made = tables()
    return re.sub(
        r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)",
        lambda match: match[1] + made[match[2]] + match[3],
        text,
        flags=re.DOTALL,
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def _codes(paths: Iterable[str]) -> str:
    """Return paths as code, an object's own path left out: its properties name it."""
    paths = list(paths)
    owners = {path.rpartition(".")[0].removesuffix("[*]") for path in paths}
    return ", ".join(f"`{path}`" for path in paths if path not in owners) or "–"


def _code(name: str | None) -> str:
    return f"`{name}`" if name else "–"


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        README.write_text(replaced(README.read_text("utf-8")), "utf-8")
    else:
        sys.stdout.write("\n".join(tables().values()))
