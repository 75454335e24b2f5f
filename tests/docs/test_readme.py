"""The README does what it says: its commands are run, its tables are the code's, its names are complete."""

import ast
import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from identity import openapi
from identity.parse import EVENT_NAMES
from tests.docs.clone import (
    INSTALLS_ANEW,
    PROJECT,
    Served,
    blocks_of,
    is_like,
    links_of,
    run,
    served,
    steps_of,
    tracked,
)
from tests.docs.tables import in_text, tables

README = (PROJECT / "README.md").read_text("utf-8")
RUNBOOK = (PROJECT / "deploy" / "README.md").read_text("utf-8")
DEFAULT_URL = "http://127.0.0.1:8000"
FIRST_COMMAND = blocks_of(README, "sh")[0].strip()

INTERNAL = {
    "identity.corking.CORKED_BYTES_MAX": "how an answer is written, not what is in it",
    "identity.admin.acts.EVENT_CHARACTERS_MAX": "as FILTER_CHARACTERS_MAX",
    "identity.bulk_undo.STEP_ROWS_MAX": "of one step; the next takes more",
    "identity.cli_acts.SUGGESTIONS_MAX": "of one page",
    "profiles.undoing.ROWS_AT_ONCE_MAX": "of one page of a ledger; the next has more",
    "profiles.pipeline.CANCEL_SECONDS_MAX": "behind an answer that was given already",
    "profiles.undoing.VERSION_MAX": "what a version can be in PostgreSQL",
    "identity.admin.changes.ATTEMPTS_MAX": "a retry that nobody sees",
    "identity.admin.query.MESSAGE_CHARACTERS_MAX": "of an error's text",
    "identity.admin.live.PUBLISHING_MAX": "a live page looks into the ledger anyway",
    "identity.admin.live.READ_ENTRIES_MAX": "what is left is read a moment later",
    "identity.admin.live.SEEN_MAX": "longer than anything stays on a live page",
    "identity.admin.pictures.BOX_COLUMNS_MAX": "of a drawing, which has the whole text as a title",
    "identity.admin.pictures.LABEL_COLUMNS_MAX": "the same",
    "identity.admin.sessions.ADDRESSES_MAX": "while Redis is away",
    "identity.admin.words.ACCEPTED_MAX": "languages that a browser asks for",
    "identity.feed.FIRST_ARRIVALS_MAX": "how a time is found in the feed",
    "identity.webhooks.deliverer.ROWS_MAX": "how the feed is read, not what is in it",
    "identity.webhooks.endpoints.ATTEMPTS_MAX": "a retry that nobody sees",
    "identity.webhooks.endpoints.DELETED_ROWS_MAX": "of one statement; the next takes more",
    "identity.webhooks.sending.ANSWER_BYTES_MAX": "of an answer that is kept nowhere",
    "identity.webhooks.sending.ANSWER_SECONDS_MAX": "the same",
    "identity.cli.CACHE_WAIT_SECONDS_MAX": "in the runbook: a revocation while Redis is away",
    "identity.erasure.STEP_ROWS_MAX": "of one step; there are as many as it takes",
    "identity.erasure.STEP_SECONDS_MAX": "the same",
    "identity.erasure.STEP_VISITORS_MAX": "the same",
    "identity.events.shapes.PATH_CHARACTERS_MAX": "of a fault's place",
    "identity.events.shapes.PATH_NAME_CHARACTERS_MAX": "of a fault's place",
    "identity.exports.CONNECT_SECONDS_MAX": "a connection's time-out",
    "identity.footprint.GROWTH_MAX": "how a page is read, not what is in it",
    "identity.footprint.SOURCES_MAX": "the same",
    "identity.admin.missing.JOINED_ASKED_MAX": "refusals that name further joined ids are found under those ids",
    "identity.erasure.TOGETHER_ATTEMPTS_MAX": "then they are cleared one by one",
    "identity.intake.ALONE_ATTEMPTS_MAX": "then the event is answered 503",
    "identity.intake.ATTEMPTS_MAX": "then the batch is halved",
    "identity.intake.BACK_OFF_SECONDS_MAX": "a pause between retries",
    "identity.import_routes.BLOCKS_WAITING_MAX": "how far a body is read ahead",
    "identity.imports.files.SEEN_BITS_MAX": "how customers who come again are found",
    "identity.imports.lane.ALONE_ATTEMPTS_MAX": "then the import stops and can be resumed",
    "identity.imports.lane.BACK_OFF_SECONDS_MAX": "a pause between retries",
    "identity.imports.run.AHEAD_BATCHES_MAX": "how far a file is read ahead",
    "identity.imports.run.CACHE_WAIT_SECONDS_MAX": "then it says that Redis is away",
    "identity.imports.run.LEAVE_SECONDS_MAX": "then its processes are ended, which harms nothing",
    "identity.imports.run.REJECTS_WAITING_MAX": "then they are written",
    "identity.imports.run.UNFINISHED_ROWS_MAX": "imports that were broken off, the newest",
    "identity.intake.MANY_ATTEMPTS_MAX": "then the batch is halved",
    "identity.intake.MANY_SECONDS_MAX": "a time-out of an import's batch, which is then looked for",
    "identity.partitions.CONNECT_SECONDS_MAX": "a connection's time-out",
    "identity.partitions.DROP_ATTEMPTS_MAX": "the next hour tries again",
    "identity.partitions.DROP_LOCK_MILLISECONDS_MAX": "the same",
    "identity.routes.SNAPSHOTS_MAX": "a retry that nobody sees",
    "identity.shredding.ATTEMPTS_MAX": "in the runbook: who shreds gives way",
    "identity.shredding.CONNECT_SECONDS_MAX": "a connection's time-out",
    "identity.shredding.LOCK_SECONDS_MAX": "in the runbook: who shreds gives way",
    "identity.tolerant.INTEGER_DIGITS_MAX": "a longer number reads as infinite, which no field takes",
    "identity.verify.CONNECT_SECONDS_MAX": "a connection's time-out",
    "identity.visitors.INTEGER_DIGITS_MAX": "as CUSTOMER_ID_CHARACTERS_MAX, for numbers",
    "profiles.cache.AWAY_SECONDS_MAX": "a pause between retries",
    "profiles.cache.CALLS_IN_FLIGHT_MAX": "what comes meanwhile is gathered",
    "profiles.cache.CONNECT_SECONDS_MAX": "part of CALL_SECONDS_MAX",
    "profiles.cache.FILL_SECONDS_MAX": "a rule of the fence",
    "profiles.cache.READS_WAITING_MAX": "beyond it a read is a miss",
    "profiles.cache.READ_KEYS_MAX": "a longer read is split",
    "profiles.cache.UNACKNOWLEDGED_MILLISECONDS_MAX": "a rule of the fence",
    "profiles.cache.VERSION_DIGITS_MAX": "of 64 bits",
    "profiles.cache.WRITES_WAITING_MAX": "beyond it Redis counts as away",
    "profiles.cache.WRITE_KEYS_MAX": "a longer write is split",
    "profiles.database.CONNECT_SECONDS_MAX": "a connection's time-out",
    "profiles.embedded.START_SECONDS_MAX": "the embedded servers' own",
    "profiles.embedded.STOP_SECONDS_MAX": "the embedded servers' own",
    "profiles.idempotency.ATTEMPTS_MAX": "a retry that nobody sees",
}
"""Constants that no user and no operator runs into, each with its why. All others stand in the README's limits."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The README's first command, run in a fresh copy."""
    with served(tmp_path_factory.mktemp("clone"), FIRST_COMMAND, installs_anew=INSTALLS_ANEW) as running:
        yield running


def check_transcript(service: Served) -> None:
    first, *steps = steps_of(README)
    assert is_like(first.output.replace(DEFAULT_URL, service.url), service.printed), service.printed
    pasted = next(line for line in service.printed.splitlines() if "/authenticate" in line)
    assert run(pasted, service.folder, service.environ) == '{"status":"ok"}'
    environ = {**service.environ, "URL": service.url, **_keys(service.printed)}
    for step in steps:
        printed = run(step.command, service.folder, environ)
        assert is_like(step.output, printed), f"$ {step.command}\n{printed}"


def _keys(printed: str) -> dict[str, str]:
    return {
        "WRITE_KEY": re.findall(r"Write key +(\S+)", printed)[0],
        "ADMIN_KEY": re.findall(r"Admin key +(\S+)", printed)[0],
    }


def test_the_first_command_serves_the_transcript_in_a_fresh_copy(service: Served):
    check_transcript(service)


@pytest.mark.long
def test_the_first_command_installs_everything_in_a_fresh_copy(tmp_path: Path):
    with served(tmp_path, FIRST_COMMAND, installs_anew=True) as running:
        check_transcript(running)


def test_the_lookup_line_that_is_printed_works_as_pasted(service: Served):
    run(next(line for line in service.printed.splitlines() if "/authenticate" in line), service.folder, service.environ)
    pasted = next(line for line in service.printed.splitlines() if "/customers/42" in line)

    printed = run(pasted, service.folder, service.environ)

    assert printed.startswith('{"customer_id":"42","version":')


def test_the_first_command_is_to_serve_and_the_second_to_test():
    assert FIRST_COMMAND == "deploy/serve"
    assert re.findall(r"`(deploy/\w+)`", README)[0] == "deploy/test"
    assert all(os.access(PROJECT / command, os.X_OK) for command in ("deploy/serve", "deploy/test"))


def test_the_forwarder_of_the_readme_posts_what_is_pushed_before_and_after_it(tmp_path: Path):
    node = "/usr/bin/node"
    if not os.access(node, os.X_OK):
        pytest.skip("no Node.js here to run the page's snippet")
    (snippet,) = re.findall(r"<!-- forwarder -->\n```js\n(.*?)```", README, re.DOTALL)
    page = """
        globalThis.window = globalThis; globalThis.localStorage = {};
        globalThis.posted = []; globalThis.fetch = (url, options) => { posted.push(options); return Promise.reject(); };
        window.dataLayer = [{event: "gtm.js"}, {event: "clIdentity", params: {customerId: "1"}}];
    """
    pushes = """
        dataLayer.push({event: "other"}, {event: "clIdentity", params: {customerId: "2"}});
        var circle = {event: "clIdentity"}; circle.params = {circle: circle}; dataLayer.push(circle);
        var bodies = posted.map(p => JSON.parse(p.body)), visitor = localStorage.identityVisitor;
        console.log(JSON.stringify([dataLayer.length, bodies.map(b => b.params.customerId),
            bodies.every(b => b.visitor_id === visitor && b.event === "clIdentity" && b.write_key.startsWith("wk_"))]));
    """
    script = tmp_path / "page.js"
    script.write_text(page + snippet + pushes)

    done = subprocess.run([node, script], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == '[5,["1","2"],true]'


def test_the_generated_tables_are_those_of_the_code():
    assert in_text(README) == tables(), "run: python -m tests.docs.tables --write"


def test_every_limit_has_the_value_of_its_constant():
    shown = re.findall(r"^\| `([\w.]+)\.([A-Z_]+)` \| ([\d,.]+)", README, re.MULTILINE)
    assert len(shown) > 60

    held = [(module, name, getattr(importlib.import_module(module), name)) for module, name, _ in shown]

    assert [(module, name, float(value.replace(",", ""))) for module, name, value in shown] == held


def test_every_limit_is_in_the_readme_or_known_to_concern_nobody():
    shown = {f"{module}.{name}" for module, name in re.findall(r"^\| `([\w.]+)\.([A-Z_]+)` ", README, re.MULTILINE)}

    held = {name for path in tracked() if re.match(r"(identity|profiles)/.*\.py$", path) for name in _limits(path)}

    assert sorted(held - shown - INTERNAL.keys()) == [], "add it to the README's limits, or to INTERNAL with its why"
    assert sorted(INTERNAL.keys() - held) == []
    assert sorted(INTERNAL.keys() & shown) == []


def _limits(path: str) -> Iterator[str]:
    module = path.removesuffix(".py").replace("/", ".")
    for node in ast.parse((PROJECT / path).read_text("utf-8")).body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        for name in (part for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)):
            if name.id.endswith("_MAX") and not name.id.startswith("_"):
                yield f"{module}.{name.id}"


def test_every_endpoint_and_every_event_is_named():
    paths = [path for path in openapi.document()["paths"] if path not in README]
    methods = [
        f"{method.upper()} {path}"
        for path, calls in openapi.document()["paths"].items()
        for method in calls
        if path.startswith("/api/")
        and not re.search(rf"`(GET |POST |PATCH |DELETE )*{method.upper()} .*{path}", README)
    ]

    assert (paths, methods) == ([], [])
    assert [name for name in EVENT_NAMES if f"| `{name}` |" not in README] == []
    assert "`/docs`" in README


def test_every_file_that_is_linked_to_exists():
    assert [link for link in links_of(README) if not (PROJECT / link).exists()] == []
    assert [link for link in links_of(RUNBOOK) if not (PROJECT / "deploy" / link).exists()] == []


def test_the_picture_is_as_the_browser_tests_take_it_and_loads_fast():
    (name,) = re.findall(r"^!\[[^\]]+\]\(([^)]+)\)$", README, re.MULTILINE)
    picture = (PROJECT / name).read_bytes()

    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    assert int.from_bytes(picture[16:20]) == 1280
    assert len(picture) < 300_000


def test_the_modules_are_listed_where_to_look():
    section = README.partition("## Where to look")[2]

    assert [link for link in links_of(section) if link.endswith(".py") and link not in tracked()] == []
    assert "**the path**" in section


def test_a_field_is_added_by_one_row(tmp_path: Path):
    (tmp_path / "profiles").mkdir()
    for name in tracked():
        if name.startswith(("profiles/", "identity/")):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes((PROJECT / name).read_bytes())
    table = tmp_path / "profiles" / "fields.py"
    row = '    _text("nickname", "nickname", NAME_CHARACTERS_MAX),\n'
    head = "FIELDS: tuple[Field, ...] = (\n"
    table.write_text(table.read_text("utf-8").replace(head, head + row), "utf-8")
    program = """if True:
        from identity.openapi import document
        from profiles.fields import read_profile, read_profile_path, is_field
        print([(r.field, r.value) for r in (*read_profile({"nickname": " An "}), *read_profile_path("nickname", "Al"))])
        print(is_field("nickname"), "nickname" in str(document()))
    """

    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)

    assert done.stdout == "[('nickname', 'An'), ('nickname', 'Al')]\nTrue True\n"


def test_a_licence_is_mentioned_only_if_there_is_one():
    has_file = any(re.match(r"(?i)(licen[cs]e|copying)", name) for name in tracked())

    assert bool(re.search(r"(?i)\blicen[cs]e", README)) == has_file


def test_no_file_names_a_place_of_this_machine_or_of_a_package_registry():
    # Put together here, or this file would be found itself.
    hosts = ["pypi" + ".org", "python" + "hosted", "registry.npm" + "js", "yarn" + "pkg", "proxy.golang" + ".org"]
    places = [f"{PROJECT}/", "/home" + "/", *hosts]
    found = [
        f"{name}: {place}" for name in tracked() for place in places if place.encode() in (PROJECT / name).read_bytes()
    ]

    assert found == []


def test_no_lock_file_that_records_addresses_is_kept():
    forbidden = {"uv.lock", "package-lock.json", "npm-shrinkwrap.json", "yarn.lock", "pnpm-lock.yaml", "poetry.lock"}
    pins = (PROJECT / "tests" / "interop" / "clients" / "pins.json").read_text("utf-8")

    assert [name for name in tracked() if Path(name).name in forbidden] == []
    assert re.findall(r'"resolved"|https?:', pins) == []
