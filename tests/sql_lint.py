"""What a database spread over many machines, and a pooler between, ask of every statement; checked without either.

Each ``lint_*`` takes texts and returns findings, one short code each, so that a table of bad snippets can prove that
every rule bites (tests/store/test_sql.py).
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

PROJECT = Path(__file__).resolve().parent.parent
PACKAGES = ("profiles", "identity")

GLOBAL_TABLES = frozenset({"workspace", "channel", "secret_key", "store", "migration", "operation", "webhook"})
"""Small tables that every machine has in full; all others belong to tenants and are spread by ``bucket``."""

EXECUTES = {
    "profiles/access.py": "the snapshot of workspaces and keys",
    "profiles/database.py": "runs what it is given",
    "profiles/embedded.py": "makes the database of the embedded server",
    "profiles/migrate.py": "the schema",
    "profiles/pipeline.py": "runs what it is given",
    "profiles/store.py": "what was taken back of ledgers",
    "profiles/suggestions.py": "shared values, under a limit of their own",
    "profiles/undoing.py": "the rows of a ledger that taking some of them back needs",
    "profiles/past.py": "the last version of a customer at an instant",
    "profiles/routes.py": "lookups by e-mail and phone",
    "identity/admin/changes.py": "changes of channels and keys in one transaction",
    "identity/admin/ledger.py": "questions about the past, under a limit of their own",
    "identity/administration.py": "channels and keys",
    "identity/bulk_undo.py": "what a bulk undo finds, under a limit of its own",
    "identity/operation_log.py": "long works and how far they are",
    "identity/channels.py": "the snapshot of channels",
    "identity/feed.py": "the change feed, within one connection",
    "identity/erasure.py": "what is held of an erased customer, step by step",
    "identity/exports.py": "all customers, through a cursor",
    "identity/footprint.py": "the snapshot of retentions, and sums under a limit of their own",
    "identity/identifications.py": "visitors and what was said of them",
    "identity/intake.py": "whether a batch was written after all",
    "identity/partitions.py": "makes and drops partitions",
    "identity/serve.py": "the first workspace, channel and key of an empty store",
    "identity/shredding.py": "writes tables anew",
    "identity/sweep.py": "what is past its retention",
    "identity/tombstones.py": "the snapshot of where anybody was erased",
    "identity/visitor_routes.py": "a visitor's page",
    "identity/verify.py": "the replay of the ledger",
}
"""The modules that may execute SQL, and what for."""

INLINE = {
    "profiles/migrate.py": "runs before there is any schema, on a connection of its own",
    "profiles/embedded.py": "runs before there is any database",
    "identity/partitions.py": "definitions, whose names and bounds no parameter can be",
    "identity/serve.py": "runs once at start, within the transaction that makes the first workspace",
}
"""The modules that may hold SQL outside a file, and why. Tenant tables are out of their reach all the same."""

LOCKING = frozenset({"profiles/migrate.py", "identity/partitions.py"})
"""The modules that may take advisory locks: an advisory lock holds on one machine only."""

ORDERED = frozenset({("merge", "xid"), ("erasure", "xid")})
"""The columns whose default is the number of the transaction: the change feed is ordered by them (identity/feed.py)."""

_TOKEN = re.compile(r"%\(\w+\)s|%s|%b|%t|\$\d+|[a-z_][\w$]*|\"[^\"]*\"|\d+|::|<=|>=|<>|!=|\|\||->>|->|[^\s\w]")
_LITERAL = re.compile(r"'(?:[^']|'')*'")
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_VALUE = r"(?:%\(\w+\)s|%s|\$\d+|\d+)"
_KEYWORDS = frozenset({
    "as", "on", "using", "where", "join", "inner", "left", "right", "full", "cross", "natural", "order", "group",
    "limit", "having", "union", "set", "values", "select", "returning", "default", "overriding", "for", "window",
    "offset", "fetch", "except", "intersect", "tablesample",
})  # fmt: skip
_VOLATILE = re.compile(
    r"\b(now|clock_timestamp|statement_timestamp|transaction_timestamp|timeofday|random|gen_random_uuid|uuidv7|uuidv4"
    r"|uuid_generate_v\w+|nextval|currval|lastval|setval|txid_current|pg_current_xact_id) \("
    r"|\b(current_timestamp|current_date|current_time|localtime|localtimestamp)\b"
)
_SESSION = re.compile(
    r"^(set (?!local\b)|reset\b|discard\b|listen\b|unlisten\b|notify\b|prepare\b|declare\b|load\b)|\bpg_notify \("
    r"|\b(temp|temporary)\b|\bwith hold\b|\bset_config \((?:[^()]|\([^()]*\))*, false \)|\bset session\b"
)
_DEFINITION = re.compile(r"^(create|alter|drop|truncate|lock|vacuum|cluster|reindex|grant|revoke|comment|do)\b")


def _files(pattern: str) -> dict[str, str]:
    found = {
        str(path.relative_to(PROJECT)): path.read_text("utf-8")
        for package in PACKAGES
        for path in sorted((PROJECT / package).rglob(pattern))
    }
    assert found
    return found


def statement_files() -> dict[str, str]:
    """Return the texts of all statements, by path, migrations apart."""
    return {path: text for path, text in _files("*.sql").items() if "/migrations/" not in path}


def python_files() -> dict[str, str]:
    """Return the sources of both packages, by path."""
    return _files("*.py")


@cache
def tenant_tables() -> frozenset[str]:
    """Return the tables that the migrations make for tenants."""
    texts = [text for path, text in _files("*.sql").items() if "/migrations/" in path]
    made = {name for text in texts for name in re.findall(r"(?m)^CREATE TABLE (\w+)", text)}
    return frozenset(made - GLOBAL_TABLES)


class Table(NamedTuple):
    """A tenant's table within a block: how it comes in (from, join, into, update, using), and what it is called."""

    via: str
    name: str
    alias: str


def _tokens(text: str) -> list[str]:
    return _TOKEN.findall(_LITERAL.sub("''", _COMMENT.sub(" ", text)).lower())


def _blocks(tokens: list[str]) -> list[list[str]]:
    """Return the query blocks of a statement: sub-selects apart, the arms of a UNION apart, other brackets inline."""
    children: list[list[str]] = []

    def flat(start: int) -> tuple[list[str], int]:
        kept: list[str] = []
        at = start
        while at < len(tokens) and tokens[at] != ")":
            if tokens[at] != "(":
                kept.append(tokens[at])
                at += 1
                continue
            inner, end = flat(at + 1)
            if inner and inner[0] in ("select", "with", "insert", "update", "delete", "values"):
                children.extend(_arms(inner))
                kept += ["(", "subselect", ")"]
            else:
                kept += ["(", *inner, ")"]
            at = end + 1
        return kept, at

    top, _ = flat(0)
    return [*_arms(top), *children]


def _arms(tokens: list[str]) -> list[list[str]]:
    arms: list[list[str]] = [[]]
    for token in tokens:
        if token in ("union", "intersect", "except"):
            arms.append([])
        else:
            arms[-1].append(token)
    return arms


def _tables(block: list[str]) -> list[Table]:
    found: list[Table] = []
    via = ""
    depth = depth_of_via = 0  # a comma within brackets is one of a list of columns
    for at, token in enumerate(block):
        depth += (token == "(") - (token == ")")
        if token in ("from", "join", "into", "update", "using"):
            via, depth_of_via = token, depth
        elif token in _KEYWORDS - {"as"}:
            via = ""
        elif (
            via
            and token in tenant_tables()
            and (block[at - 1] in (via, "only", ".") or (block[at - 1] == "," and depth == depth_of_via))
            and block[at + 1 : at + 2] != ["."]
        ):
            rest = block[at + 1 : at + 3]
            alias = rest[1] if rest[:1] == ["as"] else rest[0] if rest and re.match(r"[a-z_]", rest[0]) else token
            found.append(Table(via, token, token if alias in _KEYWORDS else alias))
    return found


def _names_bucket(block: str, alias: str, *, is_alone: bool) -> bool:
    name = rf"(?:\b{alias} \. bucket\b)" + (r"|(?:(?<!\. )\bbucket\b)" if is_alone else "")
    condition = rf"(?:{name}) (?:= (?:any \( )?{_VALUE}|between {_VALUE}|in \( {_VALUE})"
    row = rf"\( [^()]*(?:{name})[^()]* \) in \("
    return re.search(f"{condition}|{row}", block) is not None


def _list_after(tokens: list[str], start: int, ends: frozenset[str]) -> list[list[str]]:
    """Return the items of a comma list that begins at ``start``, up to one of the ``ends`` outside brackets."""
    items: list[list[str]] = [[]]
    depth = 0
    for token in tokens[start:]:
        if depth == 0 and token in ends:
            break
        depth += (token == "(") - (token == ")")
        if depth < 0:
            break
        if token == "," and depth == 0:
            items.append([])
        else:
            items[-1].append(token)
    return items


def lint_statement(text: str) -> list[str]:
    """Return what is wrong with a statement."""
    tokens = _tokens(text)
    flat = " ".join(tokens)
    found: list[str] = []
    if re.search(r"(\bselect (distinct )?|\. |, |\breturning )\*", flat):
        found.append("star")
    if _VOLATILE.search(flat):
        found.append("volatile")
    if re.search(r"\bpg_(try_)?advisory_\w+", flat):
        found.append("advisory lock")
    if _SESSION.search(flat):
        found.append("session")
    if _DEFINITION.search(flat):
        found.append("definition")
    if re.search(r"\bmerge into\b", flat):
        found.append("merge statement")
    if re.search(r"%s|%b|%t", flat):
        found.append("unnamed parameter")
    if ";" in tokens:
        found.append("two statements")
    blocks = _blocks(tokens)
    tables = [table for block in blocks for table in _tables(block)]
    if tables and re.search(r"\bfor (no key )?(update|share)\b|\bfor key share\b", flat):
        found.append("row locks")
    for block in blocks:
        found += _lint_block(block)
    return found


def _lint_block(block: list[str]) -> Iterator[str]:
    flat = " ".join(block)
    tables = _tables(block)
    froms = len(re.findall(r"\b(?:join|using)\b", flat)) + len(re.findall(r"(?<!epoch )\bfrom\b", flat))
    commas = sum(len(_list_after(block, at + 1, _KEYWORDS)) - 1 for at, token in enumerate(block) if token == "from")
    is_alone = len(tables) == 1 and froms + commas <= 1 and "join" not in block
    if "values" in block and "subselect" in block[block.index("values") :]:
        yield "subselect in values"
    for at, token in enumerate(block):
        if token == "set" and tables:
            ends = frozenset({"where", "returning", "from"})
            targets = [item[0] for item in _list_after(block, at + 1, ends) if item]
            targets += [
                name
                for item in _list_after(block, at + 1, ends)
                if item[:1] == ["("]
                for name in item[1 : item.index(")")]
            ]
            if "bucket" in targets:
                yield "bucket moved"
            if "subselect" in block[at:] and "conflict" in block[:at]:
                yield "subselect in do update"
    for table in tables:
        if table.via == "into":
            yield from _lint_insert(block, table)
        elif not _names_bucket(flat, table.alias, is_alone=is_alone):
            yield "no bucket"


def _lint_insert(block: list[str], table: Table) -> Iterator[str]:
    after = block.index(table.name) + 1
    opening = block.index("(", after) if "(" in block[after:] else len(block)
    columns = [item[0] for item in _list_after(block, opening + 1, frozenset({")"})) if item]
    if "bucket" not in columns:
        yield "no bucket"
    flat = " ".join(block)
    conflict = re.search(r"\bon conflict \( ([^()]*) \) do\b", flat)
    if conflict is None:
        yield "no conflict key"
        return
    key = conflict.group(1).split(" , ")
    if key[-1] != "bucket":
        yield "bucket not last"
    order = re.search(r"\border by (.*?) on conflict\b", flat)
    ordered = (
        []
        if order is None
        else [re.sub(r"^\w+ \. | collate \S+| asc$", "", item) for item in order.group(1).split(" , ")]
    )
    if ordered != key[:-1]:
        yield "not in key order"


def lint_file(text: str) -> list[str]:
    """Return what is wrong with a file that holds one statement."""
    found = lint_statement(text)
    comments = re.match(r"(?:--[^\n]*\n)*", text)
    header = " ".join(line[2:].strip() for line in (comments.group() if comments else "").splitlines())
    purpose, rows, rest = header.partition("Rows:")
    if len(purpose.split()) < 2 or not purpose.strip().endswith("."):
        found.append("no purpose")
    if not rows:
        found.append("no rows")
    if "Locks:" not in rest:
        found.append("no locks")
    if any("%" in comment for comment in _COMMENT.findall(_LITERAL.sub("''", text))):
        found.append("placeholder in a comment")
    return found


_SQL = re.compile(
    r"\s*(SELECT\s|INSERT INTO|UPDATE \w+ SET|DELETE FROM|MERGE INTO|WITH \w+ AS|CREATE (TABLE|INDEX|TEMP|DATABASE)"
    r"|ALTER |DROP |TRUNCATE|LOCK |COPY |SET (LOCAL|SESSION)|LISTEN|NOTIFY|PREPARE|DECLARE|RESET|DISCARD)"
)


def _texts(tree: ast.AST) -> Iterator[str]:
    """Give every text of a module that is not a docstring; the filled-in parts of an f-string read ``x``."""
    ignored = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            ignored.update(id(part) for part in node.values)
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in ignored:
            yield node.value


def lint_python(path: str, source: str) -> list[str]:
    """Return what is wrong with a module's dealings with the database."""
    tree = ast.parse(source)
    found: list[str] = []
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    executing = {"execute", "executemany", "copy", "stream"}
    is_redis = path == "profiles/cache.py"
    if path not in EXECUTES and not is_redis and any(_method(call) in executing for call in calls):
        found.append("executes")
    if re.search(r"(?m)^\s*(import|from) redis\b", source) and path not in (
        "profiles/cache.py",
        "profiles/embedded.py",
    ):
        found.append("redis")
    if re.search(r"\badd_listener|\.notifies\(|add_notify_handler", source):
        found.append("session")
    for text in _texts(tree):
        if _SQL.match(text):
            if path not in INLINE:
                found.append("inline")
            allowed = {"definition", "unnamed parameter", *(["advisory lock"] if path in LOCKING else [])}
            if "ALTER COLUMN xid SET DEFAULT" in text:  # of the columns in ORDERED
                allowed.add("volatile")
            if path not in INLINE:
                allowed = set()
            found += [code for code in lint_statement(text) if code not in allowed]
        elif "advisory_" in text and path not in LOCKING:
            found.append("advisory lock")
    for call in calls:
        if _method(call) == "execute" and call.args and isinstance(call.args[0], ast.JoinedStr) and path not in LOCKING:
            found.append("built from text")
    return found


def _method(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else ""


def names_used(sources: dict[str, str]) -> set[str]:
    """Return every text of the sources that could be the name of a statement's file."""
    return {text for source in sources.values() for text in _texts(ast.parse(source)) if text.isidentifier()}


_REDIS_METHODS = frozenset({"mget", "mget_nonatomic", "pipeline", "aclose", "execute", "execute_command"})
"""MGET is the one command of many keys: redis-py splits it where keys lie in several slots (``mget_nonatomic``)."""
_REDIS_ONE_KEY = frozenset({"EVAL", "SET", "GET", "GETRANGE", "PING"})
_RECEIVER = re.compile(r"(^|\.)(_?client|pipe|_?redis)$")
_REDIS_COMMAND = re.compile(r"[A-Z]{2,}")


def lint_redis(source: str) -> list[str]:
    """Return what is wrong with the calls to Redis: one key each, no transaction, no hash tags of ours."""
    tree = ast.parse(source)
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr not in _REDIS_METHODS:
            found += ["method"] if _RECEIVER.search(ast.unparse(node.value)) else []
        if isinstance(node, ast.Call) and _method(node) == "pipeline":
            options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if options.get("transaction") != "False":
                found.append("transaction")
        command = _command(node)
        if command and command[0] not in _REDIS_ONE_KEY:
            found.append("command")
        if command and command[0] == "EVAL" and command[2:3] != ["1"]:
            found.append("many keys")
        if isinstance(node, ast.FunctionDef | ast.Assign) and _makes_keys(node):
            parts = [part for text in ast.walk(node) if isinstance(text, ast.JoinedStr) for part in text.values]
            if any(re.search("[{}]", str(part.value)) for part in parts if isinstance(part, ast.Constant)):
                found.append("hash tag")
    for text in _texts(tree):
        if "redis.call" in text or "redis.pcall" in text:
            called = re.findall(r"redis\.p?call\(\s*'(\w+)'\s*,\s*([^,)]+)", text)
            if any(key.strip() != "KEYS[1]" for _, key in called) or re.search(r"KEYS\[(?!1\])", text):
                found.append("many keys")
    return found


def _makes_keys(node: ast.FunctionDef | ast.Assign) -> bool:
    return node.name.endswith("_key") if isinstance(node, ast.FunctionDef) else "prefix" in ast.unparse(node.targets[0])


def _command(node: ast.AST) -> list[str]:
    """Return a command that is written out, as a tuple or as the arguments of a call."""
    items: list[ast.expr] = []
    if isinstance(node, ast.Tuple):
        items = node.elts
    elif isinstance(node, ast.Call) and _method(node) == "execute_command":
        items = node.args
    if not items or not isinstance(items[0], ast.Constant) or not isinstance(items[0].value, str):
        return []
    return [items[0].value, *map(ast.unparse, items[1:])] if _REDIS_COMMAND.fullmatch(items[0].value) else []


_COLUMNS = """
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity <> '',
       coalesce(pg_get_expr(d.adbin, d.adrelid), '')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'public'
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relkind IN ('r', 'p') ORDER BY c.relname, a.attnum
"""
_KEYS = """
SELECT c.relname, i.indisprimary,
       (SELECT array_agg(a.attname::text ORDER BY k.place)
        FROM unnest(i.indkey::int[]) WITH ORDINALITY AS k (number, place)
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.number)
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'public'
WHERE i.indisunique
"""
_OTHERS = """
SELECT c.relname, 'trigger' FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE NOT t.tgisinternal
UNION ALL
SELECT c.relname, 'foreign key' FROM pg_constraint f JOIN pg_class c ON c.oid = f.conrelid WHERE f.contype = 'f'
UNION ALL
SELECT c.relname, 'foreign key' FROM pg_constraint f JOIN pg_class c ON c.oid = f.confrelid WHERE f.contype = 'f'
UNION ALL
SELECT c.relname, 'policy' FROM pg_class c WHERE c.relrowsecurity AND c.relkind = 'r'
"""


def lint_schema(connection: psycopg.Connection[Any]) -> list[tuple[str, str]]:
    """Return what is wrong with the tables of a database: table and code."""
    columns = connection.execute(_COLUMNS).fetchall()
    tenants = {row[0] for row in columns} - GLOBAL_TABLES
    found: list[tuple[str, str]] = []
    found += [
        (table, "no bucket")
        for table in sorted(tenants)
        if not any(row[:4] == (table, "bucket", "smallint", True) for row in columns)
    ]
    keys = connection.execute(_KEYS).fetchall()
    found += [(table, "no key") for table in sorted(tenants) if not any(row[:2] == (table, True) for row in keys)]
    found += [(table, "bucket not last") for table, _, names in keys if table in tenants and names[-1] != "bucket"]
    for table, column, _, _, is_identity, default in columns:
        if table in tenants and (is_identity or "nextval" in default):
            found.append((table, "identity"))
        elif table in tenants and default and _VOLATILE.search(" ".join(_tokens(default))):
            found += [(table, "volatile")] if (table, column) not in ORDERED else []
    found += [(table, code) for table, code in connection.execute(_OTHERS).fetchall() if table in tenants]
    return found
