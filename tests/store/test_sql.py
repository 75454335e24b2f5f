"""The statements: fit for tables spread over many machines, found by an index each, none left over; and the schema."""

import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePath
from typing import Any, LiteralString

import psycopg
import pytest

from profiles import database, migrate
from profiles.migrate import Migration, SchemaError
from tests import sql_lint
from tests.harness import Urls, _drop, _recreate, fresh_store, with_database
from tests.sql_lint import lint_file, lint_python, lint_redis, lint_schema, lint_statement

HEADER = "-- Purpose of it. Rows: one. Locks: none.\n"
STATEMENTS = sql_lint.statement_files()


@pytest.mark.parametrize("path", STATEMENTS)
def test_a_statement_keeps_the_rules_of_many_machines(path: str):
    assert lint_file(STATEMENTS[path]) == []


def test_modules_run_statements_from_files_and_only_where_the_store_is_dealt_with():
    found = {path: lint_python(path, source) for path, source in sql_lint.python_files().items()}

    assert {path: codes for path, codes in found.items() if codes} == {}


def test_no_module_is_excused_that_needs_no_excuse():
    sources = sql_lint.python_files()

    assert sql_lint.EXECUTES.keys() <= sources.keys()
    needless = [path for path in sql_lint.EXECUTES if not re.search(r"\.(execute|stream|copy)\(", sources[path])]
    assert needless == []
    assert [path for path in sql_lint.INLINE if not re.search("SELECT|INSERT", sources[path])] == []


def test_every_statement_is_used_and_every_used_one_is_there():
    used = sql_lint.names_used(sql_lint.python_files())

    assert [path for path in STATEMENTS if PurePath(path).stem not in used] == []
    asked_for = {
        f"{package}/sql/{name}.sql"
        for source in sql_lint.python_files().values()
        for package, name in re.findall(r'"(profiles|identity)", "([a-z_]+)"', source)
        if name not in sql_lint.PACKAGES
    }
    assert asked_for - STATEMENTS.keys() == set()
    assert len(asked_for) > 20


def test_redis_is_asked_for_one_key_at_a_time():
    assert lint_redis(sql_lint.python_files()["profiles/cache.py"]) == []


def test_the_schema_keeps_the_rules_of_many_machines(store_url: str):
    with psycopg.connect(store_url) as connection:
        assert lint_schema(connection) == []


SEEN = "INSERT INTO event_seen (bucket, event_id) SELECT 1, 'a'"
SEEN_ROWS = "INSERT INTO event_seen (bucket, workspace_id, event_id) SELECT r.bucket, r.workspace_id, r.event_id FROM r"
SEEN_KEY = "ON CONFLICT (workspace_id, event_id, bucket) DO NOTHING"

BAD_STATEMENTS: list[tuple[str, str]] = [
    ("star", "SELECT * FROM workspace"),
    ("star", "SELECT c.* FROM customer AS c WHERE c.bucket = %(bucket)s"),
    ("star", "SELECT workspace_id, * FROM workspace"),
    ("star", "UPDATE store SET generation = 1 RETURNING *"),
    ("volatile", "UPDATE customer SET updated_at = now() WHERE bucket = %(bucket)s"),
    ("volatile", "SELECT CURRENT_TIMESTAMP"),
    ("volatile", "SELECT clock_timestamp ( )"),
    ("volatile", "SELECT gen_random_uuid()"),
    ("volatile", "SELECT nextval('s')"),
    ("volatile", "SELECT 1 FROM visitor WHERE bucket = %(bucket)s AND since < current_date"),
    (
        "no bucket",
        "SELECT 1 FROM customer AS c, LATERAL (SELECT 1 FROM visitor WHERE bucket = c.bucket) x WHERE c.bucket = %(b)s",
    ),
    ("advisory lock", "SELECT pg_advisory_xact_lock(1)"),
    ("advisory lock", "SELECT pg_try_advisory_lock(1)"),
    ("session", "LISTEN changes"),
    ("session", "NOTIFY changes"),
    ("session", "SELECT pg_notify('changes', '')"),
    ("session", "SET statement_timeout = 1"),
    ("session", "SET SESSION statement_timeout = 1"),
    ("session", "SELECT set_config('statement_timeout', %(limit)s::text, false)"),
    ("session", "PREPARE p AS SELECT 1"),
    ("session", "CREATE TEMP TABLE x (a integer)"),
    ("session", "SELECT 1 INTO TEMPORARY x"),
    ("session", "DECLARE c CURSOR WITH HOLD FOR SELECT 1"),
    ("definition", "ALTER TABLE customer ADD COLUMN x text"),
    ("definition", "LOCK TABLE customer"),
    ("definition", "TRUNCATE customer"),
    ("merge statement", "MERGE INTO customer USING x ON true WHEN MATCHED THEN DELETE"),
    ("unnamed parameter", "SELECT 1 FROM workspace WHERE workspace_id = %s"),
    ("two statements", "SELECT 1; SELECT 2"),
    ("row locks", "SELECT 1 FROM customer WHERE bucket = %(bucket)s FOR UPDATE"),
    ("row locks", "SELECT 1 FROM visitor AS v WHERE v.bucket = %(bucket)s FOR NO KEY UPDATE OF v"),
    ("row locks", "SELECT 1 FROM merge WHERE bucket = 7 FOR SHARE"),
    ("no bucket", "SELECT 1 FROM customer WHERE workspace_id = %(workspace_id)s"),
    ("no bucket", "SELECT bucket FROM customer WHERE workspace_id = %(workspace_id)s ORDER BY bucket"),
    ("no bucket", "SELECT 1 FROM customer -- bucket = %(bucket)s"),
    ("no bucket", "SELECT 1 FROM customer WHERE fields::text = 'bucket = 7'"),
    ("no bucket", "SELECT 1 FROM customer WHERE bucket <> %(bucket)s"),
    ("no bucket", "SELECT 1 FROM public.customer WHERE workspace_id = 1"),
    ("no bucket", "DELETE FROM event_seen WHERE workspace_id = %(workspace_id)s"),
    ("no bucket", "UPDATE visitor SET customer_id = NULL WHERE workspace_id = %(workspace_id)s"),
    ("no bucket", "SELECT 1 FROM customer AS c JOIN merge AS m ON m.bucket = c.bucket WHERE c.bucket = %(bucket)s"),
    ("no bucket", "SELECT 1 FROM customer AS c, merge AS m WHERE c.bucket = %(bucket)s AND m.bucket = c.bucket"),
    ("no bucket", "SELECT 1 FROM customer c JOIN merge m USING (workspace_id) WHERE bucket = %(bucket)s"),
    ("no bucket", "SELECT 1 FROM json_to_recordset(%(k)s) AS k (bucket int) JOIN visitor AS v ON v.bucket = k.bucket"),
    ("no bucket", "SELECT 1 FROM customer WHERE bucket = %(b)s UNION SELECT 1 FROM merge WHERE workspace_id = 1"),
    ("no bucket", "SELECT (SELECT 1 FROM merge WHERE workspace_id = 1) FROM customer WHERE bucket = %(bucket)s"),
    (
        "no bucket",
        "SELECT 1 FROM customer WHERE bucket = 1 AND EXISTS (SELECT 1 FROM merge AS m WHERE m.bucket = bucket)",
    ),
    ("no bucket", "WITH x AS (SELECT 1 FROM visitor WHERE workspace_id = 1) SELECT 1 FROM x"),
    ("no bucket", "DELETE FROM refusal USING customer AS c WHERE c.bucket = 1"),
    ("no bucket", f"INSERT INTO event_seen (event_id) SELECT 'a' ORDER BY workspace_id, event_id {SEEN_KEY}"),
    ("no conflict key", f"{SEEN} ORDER BY event_id"),
    ("no conflict key", "INSERT INTO event_seen (bucket, event_id) VALUES (1, 'a') ON CONFLICT DO NOTHING"),
    ("bucket not last", f"{SEEN} ORDER BY bucket ON CONFLICT (bucket, event_id) DO NOTHING"),
    ("not in key order", f"{SEEN_ROWS} {SEEN_KEY}"),
    ("not in key order", f'{SEEN_ROWS} ORDER BY r.event_id COLLATE "C", r.workspace_id {SEEN_KEY}'),
    ("not in key order", f"{SEEN_ROWS} ORDER BY r.workspace_id, r.event_id DESC {SEEN_KEY}"),
    ("not in key order", f"INSERT INTO event_seen (bucket, event_id) VALUES (1, 'b'), (1, 'a') {SEEN_KEY}"),
    ("bucket moved", "UPDATE customer SET bucket = 2 WHERE bucket = %(bucket)s"),
    ("bucket moved", "UPDATE customer AS c SET version = 1, bucket = 2 WHERE c.bucket = %(bucket)s"),
    ("bucket moved", "UPDATE customer SET (version, bucket) = (1, 2) WHERE bucket = %(bucket)s"),
    ("bucket moved", f"{SEEN} ORDER BY event_id ON CONFLICT (event_id, bucket) DO UPDATE SET bucket = excluded.bucket"),
    ("subselect in values", "INSERT INTO channel (name) VALUES ((SELECT slug FROM workspace))"),
    (
        "subselect in do update",
        f"{SEEN} ORDER BY event_id ON CONFLICT (event_id, bucket) DO UPDATE SET event_id = (SELECT 'b')",
    ),
]


@pytest.mark.parametrize(("code", "text"), BAD_STATEMENTS)
def test_the_lint_catches_a_bad_statement(code: str, text: str):
    assert code in lint_statement(text)


GOOD_STATEMENTS = [
    "SELECT count(*) FROM workspace",
    "SELECT version * 2 FROM customer WHERE bucket = %(bucket)s",
    "SELECT 1 FROM customer WHERE (workspace_id = 1 AND (bucket = ANY (%(buckets)s::smallint[])))",
    "SELECT c.version FROM customer c JOIN merge m USING (workspace_id) WHERE c.bucket = %(b)s AND m.bucket = %(b)s",
    "SELECT 1 FROM customer WHERE (bucket, customer_id) IN ((%(b)s, %(c)s))",
    "SELECT extract(epoch FROM m.received_at) FROM merge AS m WHERE m.bucket BETWEEN 0 AND 4095",
    "SELECT 'now()', 'SELECT *' FROM workspace FOR UPDATE -- now()",
    f"{SEEN} ORDER BY event_id ON CONFLICT (event_id, bucket) DO NOTHING",
    f'{SEEN_ROWS} ORDER BY r.workspace_id, r.event_id COLLATE "C" {SEEN_KEY}',
    "SELECT set_config('statement_timeout', %(limit)s::integer::text, true)",
    "WITH x AS (SELECT 1 FROM visitor WHERE bucket = 1) DELETE FROM refusal WHERE bucket = %(bucket)s",
]


@pytest.mark.parametrize("text", GOOD_STATEMENTS)
def test_the_lint_lets_a_good_statement_pass(text: str):
    assert lint_statement(text) == []


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("no purpose", "SELECT 1"),
        ("no purpose", "-- Rows: one. Locks: none.\nSELECT 1"),
        ("no rows", "-- Purpose of it. Locks: none.\nSELECT 1"),
        ("no locks", "-- Purpose of it. Rows: one.\nSELECT 1"),
        ("no locks", "SELECT 1\n-- Purpose of it. Rows: one. Locks: none.\n"),
        ("placeholder in a comment", "-- All 100 % of it. Rows: one. Locks: none.\nSELECT 1"),
        ("placeholder in a comment", HEADER + "SELECT 1 /* %s */"),
        ("star", HEADER + "SELECT * FROM workspace"),
    ],
)
def test_the_lint_catches_a_bad_file(code: str, text: str):
    assert code in lint_file(text)
    assert lint_file(HEADER + "SELECT 1") == []


@pytest.mark.parametrize(
    ("code", "path", "source"),
    [
        ("executes", "identity/routes.py", 'connection.execute(statement("identity", "load_facts"))'),
        ("executes", "profiles/views.py", 'cursor.executemany(statement("identity", "load_facts"), rows)'),
        ("inline", "identity/routes.py", 'TEXT = "SELECT 1 FROM workspace"'),
        ("inline", "profiles/store.py", 'connection.execute("DELETE FROM workspace")'),
        ("inline", "profiles/store.py", 'connection.execute(f"SELECT 1 FROM {table}")'),
        ("built from text", "profiles/store.py", 'connection.execute(f"SELECT 1 FROM {table}")'),
        ("no bucket", "identity/serve.py", 'connection.execute("SELECT 1 FROM customer")'),
        ("volatile", "identity/serve.py", 'connection.execute("SELECT now()")'),
        ("advisory lock", "profiles/store.py", 'connection.execute("SELECT pg_advisory_lock(1)")'),
        ("advisory lock", "identity/serve.py", 'connection.execute("SELECT pg_advisory_lock(1)")'),
        ("session", "profiles/access.py", "async for _ in connection.notifies(): pass"),
        ("session", "identity/serve.py", 'connection.execute("LISTEN changes")'),
        ("redis", "identity/intake.py", "from redis.asyncio import Redis"),
        ("redis", "identity/intake.py", "import redis"),
    ],
)
def test_the_lint_catches_a_bad_module(code: str, path: str, source: str):
    assert code in lint_python(path, source)


def test_the_lint_lets_a_docstring_speak_of_sql():
    assert (
        lint_python("identity/routes.py", '"""SELECT * FROM customer"""\ndef f():\n    """DELETE FROM merge"""') == []
    )


@pytest.mark.parametrize(
    ("code", "source"),
    [
        ("transaction", "pipe = self._client.pipeline()"),
        ("transaction", "pipe = self._client.pipeline(transaction=True)"),
        ("method", "self._client.mset({})"),
        ("method", "self._client.delete(*keys)"),
        ("method", "pipe.watch(key)"),
        ("method", "call = self._client.eval"),
        ("method", "client.publish('a', 'b')"),
        ("many keys", 'command = ("EVAL", SCRIPT, 2, one, other)'),
        ("many keys", 'pipe.execute_command("EVAL", SCRIPT, len(keys), *keys)'),
        ("many keys", "SCRIPT = \"redis.call('SET', KEYS[2], ARGV[1])\""),
        ("many keys", "SCRIPT = \"redis.call('GET', 'fixed')\""),
        ("command", 'pipe.execute_command("MSET", one, 1, other, 2)'),
        ("command", 'command = ("DEL", one, other)'),
        ("command", 'command = ("EVALSHA", digest, 1, key)'),
        ("hash tag", 'def visitor_key(w, v):\n    return f"{{{w}}}:{v}"'),
        ("hash tag", 'self._prefix = f"i:{{{store_id}}}:"'),
    ],
)
def test_the_lint_catches_a_bad_call_to_redis(code: str, source: str):
    assert code in lint_redis(source)


@pytest.mark.parametrize(
    ("table", "code", "definition"),
    [
        ("bad", "no bucket", "CREATE TABLE bad (a integer PRIMARY KEY)"),
        ("bad", "no bucket", "CREATE TABLE bad (bucket integer NOT NULL, a integer, PRIMARY KEY (a, bucket))"),
        ("bad", "no key", "CREATE TABLE bad (bucket smallint NOT NULL)"),
        ("bad", "bucket not last", "CREATE TABLE bad (bucket smallint, a integer, PRIMARY KEY (bucket, a))"),
        ("customer", "bucket not last", "CREATE UNIQUE INDEX ON customer (bucket, workspace_id, customer_id)"),
        ("merge", "bucket not last", "ALTER TABLE merge ADD UNIQUE (merge_id)"),
        ("visitor", "identity", "ALTER TABLE visitor ADD COLUMN number bigint GENERATED ALWAYS AS IDENTITY"),
        ("visitor", "identity", "ALTER TABLE visitor ADD COLUMN number serial"),
        ("visitor", "volatile", "ALTER TABLE visitor ADD COLUMN made timestamptz DEFAULT now()"),
        ("customer", "foreign key", "ALTER TABLE customer ADD FOREIGN KEY (workspace_id) REFERENCES workspace"),
        (
            "customer",
            "trigger",
            """CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
            CREATE TRIGGER t BEFORE INSERT ON customer FOR EACH ROW EXECUTE FUNCTION f()""",
        ),
        ("customer", "policy", "ALTER TABLE customer ENABLE ROW LEVEL SECURITY"),
    ],
)
def test_the_lint_catches_a_bad_table(migrated: str, table: str, code: str, definition: LiteralString):
    with psycopg.connect(migrated) as connection:
        connection.execute(definition)
        found = lint_schema(connection)
        connection.rollback()

    assert (table, code) in found


# Every statement finds its rows by an index.

FILLED: tuple[LiteralString, ...] = (
    """INSERT INTO customer (bucket, workspace_id, customer_id, version, created_at, updated_at, fields, digest,
                             email_key, alternate_email_key, mobile_key, alternate_mobile_key)
       SELECT 1 + n % 3, 1 + n % 3, 'c' || n, 1, '2026-01-01', '2026-01-01', '{}', 'd', 'e' || n || '@a.example',
              CASE WHEN n % 9 = 0 THEN 'f' || n || '@a.example' END, '+886' || n,
              CASE WHEN n % 9 = 0 THEN '+887' || n END
       FROM generate_series(1, 15000) AS n""",
    """INSERT INTO merge (bucket, workspace_id, customer_id, version, merge_id, is_link, created_customer, skipped,
                          policy, source, event, visitor_id, channel_id, occurred_at, received_at, decisions)
       SELECT 1 + n % 3, 1 + n % 3, 'c' || n / 2, n % 2, md5(n::text)::uuid, false, true, n % 5 = 0, 'overwrite',
              'channel', 'clIdentity', 'v' || n / 4, md5('c')::uuid, '2026-01-01', '2026-01-01', '[]'
       FROM generate_series(1, 15000) AS n""",
    """INSERT INTO customer_visitor (bucket, workspace_id, customer_id, visitor_id, linked_at, is_current)
       SELECT 1 + n % 3, 1 + n % 3, 'c' || n / 2, 'v' || n, '2026-01-01', true FROM generate_series(1, 15000) AS n""",
    """INSERT INTO visitor (bucket, workspace_id, visitor_id, version, anonymous)
       SELECT 1 + n % 3, 1 + n % 3, 'v' || n, 1, '{}' FROM generate_series(1, 15000) AS n""",
    """INSERT INTO visitor_fact (bucket, workspace_id, visitor_id, version, fact_id, kind, applied, source, event,
                                 occurred_at, received_at, decisions)
       SELECT 1 + n % 3, 1 + n % 3, 'v' || n / 2, n % 2, md5(n::text)::uuid, 'identified', true, 'channel',
              'userSignedIn', '2026-01-01', '2026-01-01', '[]' FROM generate_series(1, 15000) AS n""",
    """INSERT INTO event_seen (bucket, workspace_id, event_id, received_at)
       SELECT 1 + n % 3, 1 + n % 3, 'e' || n, '2026-01-01'::timestamptz + n * interval '1 min'
       FROM generate_series(1, 15000) AS n""",
    """INSERT INTO refusal (bucket, workspace_id, refusal_id, reason, event, fields, faults, occurred_at, received_at)
       SELECT 1 + n % 3, 1 + n % 3, md5(n::text)::uuid, 'unknown_event', 'x', '{}', '[]', '2026-01-01', '2026-01-01'
       FROM generate_series(1, 15000) AS n""",
    """INSERT INTO event (bucket, workspace_id, is_direct, subject, occurred_at, record_id, kept_until, received_at,
                          type, props, remarks)
       SELECT 1 + n % 3, 1 + n % 3, n % 9 = 0, 'v' || n / 20, '2026-01-01'::timestamptz + n * interval '1 min',
              md5(n::text)::uuid, now()::date + 395 + n % 3 * 30, '2026-01-01', 'page_view', '{}', '[]'
       FROM generate_series(1, 30000) AS n""",
    """INSERT INTO purchase (bucket, workspace_id, transaction_id, record_id, received_at)
       SELECT 1 + n % 3, 1 + n % 3, 'c' || n, md5(n::text)::uuid, '2026-01-01' FROM generate_series(1, 15000) AS n""",
    """INSERT INTO webhook_delivery (bucket, workspace_id, webhook_id, change_id, is_delivered, attempts, milliseconds,
                                     tried_at)
       SELECT 1 + n % 3, 1 + n % 3, md5((n % 5)::text)::uuid, md5(n::text)::uuid, true, 1, 5, '2026-01-01'
       FROM generate_series(1, 15000) AS n""",
    """INSERT INTO erasure (bucket, workspace_id, customer_hash, erasure_id, version, actor, erased_at, pending,
                           receipt)
       SELECT 1 + n % 3, 1 + n % 3, 'h' || n, md5(n::text)::uuid, 1, 'cli', '2026-01-01',
              CASE WHEN n % 999 = 0 THEN '{}'::jsonb END, '{}' FROM generate_series(1, 15000) AS n""",
    """INSERT INTO refusal_count (bucket, workspace_id, channel_id, reason, day, refused)
       SELECT 1 + n % 3, 1 + n % 3, md5(n::text)::uuid, 'unknown_event', '2026-01-01', 1
       FROM generate_series(1, 15000) AS n""",
)

_KEYS = (
    '[{"bucket":1,"workspace_id":1,"id":"c1","customer_id":"c1","visitor_id":"v1"},'
    '{"bucket":1,"workspace_id":1,"id":"c2","customer_id":"c2","visitor_id":"v2"}]'
)
_UUID = "019f0000-0000-7000-8000-000000000000"
_SOURCES = (
    '[{"number":0,"bucket":1,"workspace_id":1,"is_direct":false,"subject":"v1","since":"-infinity","until":"infinity",'
    f'"before_at":"2027-01-01","before_id":"{_UUID}","quota":3}}]'
)
TYPICAL: dict[str, object] = {
    "workspace_id": 1, "workspace_ids": "{1}", "bucket": 1, "buckets": "{1}", "keys": _KEYS, "rows": "[]",
    "versions": "{1,2}", "visitor_ids": "{v1,v2}", "merge_ids": f"{{{_UUID}}}", "refusal_ids": f"{{{_UUID}}}",
    "merge_id": _UUID, "before": _UUID, "not_before": "00000000-0000-0000-0000-000000000000", "customer_id": "c1",
    "visitor_id": "v1", "version": 5, "skipped": False, "rows_max": 51, "visitors_max": 100,
    "now": "2026-01-01T00:00:00Z", "key_id": _UUID, "spread": 1, "slug": "s", "name": "n", "scopes": "{admin}",
    "scope": "admin", "secret_hash": "h", "hint": "h", "write_key": "w", "website_tracking": True, "origins": "{}",
    "on_sign_out": "forget", "milliseconds": 1000, "channel_id": _UUID, "sources": _SOURCES, "types": "{}",
    "kept_from": "2026-01-01", "kept_to": "infinity", "oldest": "2026-01-01", "pause_max": "30 min",
    "xid": 700, "change_id": _UUID, "webhook_id": _UUID, "webhook_ids": f"{{{_UUID}}}", "webhooks_max": 20,
    "worker": _UUID, "until": "2026-01-01T00:00:20Z", "url": "https://a.example/", "description": "", "secrets": "[]",
    "turn": 1, "attempts": 0, "ids_max": 100,
    "record_ids": f"{{{_UUID}}}", "subjects": "{v1}", "times": "{2026-01-01}",
}  # fmt: skip
"""Parameters by name. What is not here is planned as null, as most filters are."""

SPECIAL: dict[str, dict[str, object]] = {
    "profiles/sql/find_by_email.sql": {"keys": "{e1@a.example,e2@a.example}"},
    "profiles/sql/find_by_phone.sql": {"keys": "{+8861,+8862}"},
    "profiles/sql/list_merges.sql": {"customer_id": None, "visitor_id": None, "channel_id": None},
    "identity/sql/list_refusals.sql": {"channel_id": None},
    "identity/sql/sum_refusals.sql": {"channel_id": None},
    "identity/sql/list_channels.sql": {"channel_id": None},
    "identity/sql/delete_old_seen.sql": {"before": "2026-01-01T00:01:00Z"},
    "identity/sql/find_pending_erasures.sql": {"before": "2026-01-01T00:01:00Z"},
    "identity/sql/list_changes.sql": {"before": 800},
    "identity/sql/change_webhook.sql": {"state": "active"},
    "identity/sql/save_webhook.sql": {"state": "active"},
    "profiles/sql/delete_old_requests.sql": {"before": "2026-01-01T00:01:00Z"},
}

WITHOUT_WORKSPACE = {
    "identity/sql/delete_old_seen.sql": "may begin from the age alone, by the index event_seen_age",
}
"""Statements that may come in by an index condition which does not name the workspace, and why."""

NOT_PLANNED = {
    "identity/sql/copy_events.sql": "a COPY has no plan",
    "profiles/sql/copy_customers.sql": "a COPY has no plan",
    "profiles/sql/copy_merges.sql": "a COPY has no plan",
    "profiles/sql/shards.sql": "calls a function that only Citus has",
}


@pytest.fixture(scope="module")
def migrated(urls: Urls) -> Iterator[str]:
    """An empty store for the tests of this module that leave it as it is."""
    with fresh_store(urls.database) as url:
        yield url


@pytest.fixture(scope="module")
def filled(urls: Urls) -> Iterator[psycopg.Connection[Any]]:
    """A connection, set up as the service's are, to a store that holds some thousand rows a table."""
    with fresh_store(urls.database) as url, psycopg.connect(url, options=database._OPTIONS) as connection:
        for statement in FILLED:
            connection.execute(statement)
        connection.execute("ANALYZE")
        yield connection


def plan_nodes(connection: psycopg.Connection[Any], path: str, text: str) -> list[dict[str, Any]]:
    """Return all nodes of the plan of a statement with its typical parameters."""
    names: list[str] = []

    def number(match: re.Match[str]) -> str:
        if match.group(1) not in names:
            names.append(match.group(1))
        return f"${names.index(match.group(1)) + 1}"

    numbered = re.sub(r"%\((\w+)\)s", number, text)
    values = {**TYPICAL, **SPECIAL.get(path, {})}
    literals = ", ".join("NULL" if (v := values.get(name)) is None else "'" + str(v) + "'" for name in names)
    connection.execute(f"PREPARE planned AS {numbered}")
    try:
        arguments = f"({literals})" if names else ""
        plan = connection.execute(f"EXPLAIN (FORMAT JSON) EXECUTE planned {arguments}").fetchall()
    finally:
        connection.rollback()
        connection.execute("DEALLOCATE ALL")
        connection.commit()
    nodes = [plan[0][0][0]["Plan"]]
    for node in nodes:
        nodes.extend(node.get("Plans", ()))
    return nodes


def scans(path: str, nodes: list[dict[str, Any]]) -> list[str]:
    """Return the scans of tenants' tables that do not go straight to their rows."""
    found = []
    for node in nodes:
        is_of_tenant = node.get("Relation Name", node.get("Index Name", "")).startswith(tuple(sql_lint.tenant_tables()))
        reaches_far = "workspace_id" not in node.get("Index Cond", "") and path not in WITHOUT_WORKSPACE
        if is_of_tenant and (node["Node Type"] == "Seq Scan" or ("Index Name" in node and reaches_far)):
            found.append(f"{node['Node Type']} of {node.get('Index Name', node.get('Relation Name'))}")
    return found


@pytest.mark.parametrize("path", [path for path in STATEMENTS if path not in NOT_PLANNED])
def test_a_statement_is_planned_and_goes_straight_to_its_rows(filled: psycopg.Connection[Any], path: str):
    filled.commit()
    filled.execute("SET plan_cache_mode = force_custom_plan")
    custom = plan_nodes(filled, path, STATEMENTS[path])
    filled.execute("SET plan_cache_mode = force_generic_plan")
    generic = plan_nodes(filled, path, STATEMENTS[path])

    assert (scans(path, custom), scans(path, generic)) == ([], [])


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1 FROM customer WHERE digest = 'd'",
        "SELECT 1 FROM merge WHERE received_at < '2027-01-01'",
        "SELECT 1 FROM customer WHERE customer_id = 'c1' AND bucket = 1",
        "SELECT customer_id FROM customer ORDER BY workspace_id, customer_id",
        "SELECT 1 FROM merge WHERE merge_id = '019f0000-0000-7000-8000-000000000000'",
    ],
)
def test_a_statement_that_looks_through_a_whole_table_is_caught(filled: psycopg.Connection[Any], text: str):
    filled.commit()

    assert scans("a statement", plan_nodes(filled, "a statement", text)) != []


# The schema is the sum of its migrations.

_SHAPE = """
SELECT 'column', c.relname, a.attnum::text, a.attname::text,
       concat_ws(' ', format_type(a.atttypid, a.atttypmod), a.attnotnull, co.collname, pg_get_expr(d.adbin, d.adrelid))
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
LEFT JOIN pg_collation co ON co.oid = a.attcollation
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
UNION ALL
SELECT 'index', i.tablename, i.indexname, i.indexdef, ''
FROM pg_indexes i JOIN pg_class c ON c.relname = i.tablename AND NOT c.relispartition WHERE i.schemaname = 'public'
UNION ALL
SELECT 'constraint', o.conrelid::regclass::text, o.conname, pg_get_constraintdef(o.oid), ''
FROM pg_constraint o JOIN pg_class c ON c.oid = o.conrelid AND NOT c.relispartition
WHERE o.connamespace = 'public'::regnamespace
UNION ALL
SELECT 'migration', number::text, name, '', '' FROM migration
UNION ALL
SELECT 'store', store_id, generation::text, '', '' FROM store
ORDER BY 1, 2, 3, 4
"""


def shape(url: str) -> list[tuple[Any, ...]]:
    """Return everything that makes the schema; partitions are not of the schema, they come and go."""
    with psycopg.connect(url) as connection:
        return connection.execute(_SHAPE).fetchall()


@pytest.fixture
def empty(urls: Urls) -> Iterator[str]:
    """The URL of a database without any schema."""
    name = "identity_test_migrations"
    _recreate(urls.database, name)
    try:
        yield with_database(urls.database, name)
    finally:
        _drop(urls.database, name)


ALL = [migration.name for migration in migrate.migrations()]


def test_migrating_twice_changes_nothing_the_second_time(empty: str):
    first = migrate.migrate(empty, store_id="one")
    before = shape(empty)
    second = migrate.migrate(empty, store_id="two")

    assert (first, second) == (ALL, [])
    assert shape(empty) == before
    assert migrate.read_store_id(empty) == "one"


def test_migrating_in_steps_gives_the_schema_of_migrating_at_once(
    urls: Urls, empty: str, monkeypatch: pytest.MonkeyPatch
):
    steps = migrate.migrations()
    for number in range(1, len(steps) + 1):
        monkeypatch.setattr(migrate, "migrations", lambda number=number: steps[:number])
        assert migrate.migrate(empty, store_id="one") == [steps[number - 1].name]

    with fresh_store(urls.database) as at_once:
        assert [row for row in shape(empty) if row[0] != "store"] == [
            row for row in shape(at_once) if row[0] != "store"
        ]


def test_migration_numbers_are_unique_and_without_gaps():
    assert [migration.number for migration in migrate.migrations()] == list(range(1, len(ALL) + 1))


def test_four_processes_that_migrate_at_once_run_every_migration_once(empty: str):
    start = threading.Barrier(4)

    def run(number: int) -> list[str]:
        start.wait()
        return migrate.migrate(empty, store_id=f"store-{number}")

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(run, range(4)))

    assert sorted(name for names in done for name in names) == ALL
    with psycopg.connect(empty) as connection:
        assert connection.execute("SELECT count(*) FROM store").fetchone() == (1,)


def test_a_newer_database_is_left_alone_and_still_served(empty: str):
    migrate.migrate(empty, store_id="one")
    with psycopg.connect(empty) as connection:
        connection.execute("INSERT INTO migration VALUES (9999, '9999_from_the_future')")
    before = shape(empty)

    assert migrate.migrate(empty, store_id="two") == []
    assert shape(empty) == before
    assert migrate.read_store_id(empty) == "one"


def test_an_older_database_is_refused_with_what_to_do(empty: str, monkeypatch: pytest.MonkeyPatch):
    migrate.migrate(empty, store_id="one")
    later = [*migrate.migrations(), Migration(9999, "9999_later", "SELECT 1")]
    monkeypatch.setattr(migrate, "migrations", lambda: later)

    with pytest.raises(SchemaError, match="identity migrate"):
        migrate.read_store_id(empty)


def test_a_migration_that_fails_leaves_nothing_of_itself_and_keeps_those_before_it(
    empty: str, monkeypatch: pytest.MonkeyPatch
):
    steps = migrate.migrations()
    broken = Migration(9999, "9999_broken", "CREATE TABLE half (a integer); SELECT nonsense")
    monkeypatch.setattr(migrate, "migrations", lambda: [*steps, broken])

    with pytest.raises(psycopg.errors.UndefinedColumn):
        migrate.migrate(empty, store_id="one")

    with psycopg.connect(empty) as connection:
        names = connection.execute("SELECT name FROM migration ORDER BY number").fetchall()
        assert names == [(name,) for name in ALL]
        assert connection.execute("SELECT to_regclass('half')").fetchone() == (None,)


def test_a_migration_gives_way_to_traffic_and_is_run_when_its_locks_can_be_had(
    store_url: str, monkeypatch: pytest.MonkeyPatch
):
    """While one long transaction reads the table, writers queue behind the migration for its lock time at most."""
    steps = migrate.migrations()
    added = Migration(9999, "9999_added", "ALTER TABLE customer ADD COLUMN added integer")
    monkeypatch.setattr(migrate, "migrations", lambda: [*steps, added])
    monkeypatch.setattr(migrate, "LOCK_SECONDS_MAX", 1)
    monkeypatch.setattr(migrate, "ATTEMPTS_MAX", 2)
    is_over = threading.Event()
    written = []

    def write() -> None:
        with psycopg.connect(store_url, autocommit=True, options="-c statement_timeout=10s") as connection:
            while not is_over.is_set():
                connection.execute("DELETE FROM customer WHERE workspace_id = 1 AND customer_id = 'x' AND bucket = 1")
                written.append(True)

    with psycopg.connect(store_url) as reader, ThreadPoolExecutor(1) as pool:
        reader.execute("SELECT 1 FROM customer")
        writer = pool.submit(write)
        try:
            with pytest.raises(SchemaError, match="locked by other work"):
                migrate.migrate(store_url, store_id="one")
            before = len(written)
            reader.rollback()
            done = migrate.migrate(store_url, store_id="one")
        finally:
            is_over.set()
        writer.result()

    assert done == ["9999_added"]
    assert before > 0
