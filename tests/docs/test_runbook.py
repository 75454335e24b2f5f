"""The runbook: its commands are run or at least well-formed, its names are complete, its samples load."""

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from prometheus_client import REGISTRY

from identity.cli import main
from identity.serve import DRAIN_SECONDS_MAX
from profiles import embedded, metrics
from profiles.migrate import migrations
from tests.docs.clone import INSTALLS_ANEW, PROJECT, blocks_of, call, copy_to
from tests.harness import ADMIN_KEY, Server, Urls, with_database

RUNBOOK = (PROJECT / "deploy" / "README.md").read_text("utf-8")
# Those in lists are indented.
SH_BLOCKS = blocks_of(re.sub(r"^ {3}", "", RUNBOOK, flags=re.MULTILINE), "sh")
MARK, LONG_MARK = "# run by the tests\n", "# run by the tests (long)\n"


@pytest.fixture
def operator(server: Server, urls: Urls, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment in which an operator types the runbook's commands, with an empty database to restore into."""
    commands = tmp_path / "bin"
    commands.mkdir()
    identity = commands / "identity"
    identity.write_text(f'#!/bin/sh\nexport PYTHONPATH="{PROJECT}"\nexec "{sys.executable}" -m identity "$@"\n')
    identity.chmod(0o755)
    name = f"identity_restored_{os.getpid()}"
    with psycopg.connect(urls.database, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name}")
        connection.execute(f"CREATE DATABASE {name}")
    # The server's own pg_dump: an older one refuses, a newer one writes what the server does not know.
    programs = os.pathsep.join((str(commands), str(embedded._find_postgres()), os.environ["PATH"]))
    yield {
        **{key: value for key, value in os.environ.items() if not key.startswith("IDENTITY_")},
        "PATH": programs,
        "IDENTITY_DATABASE_URL": server.database,
        "IDENTITY_REDIS_URL": server.redis,
        "RESTORE_URL": with_database(urls.database, name),
        "URL": server.url,
        "ADMIN_KEY": ADMIN_KEY,
    }
    with psycopg.connect(urls.database, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        connection.execute("ALTER ROLE CURRENT_USER RESET ALL")


def test_the_commands_that_can_run_here_do(server: Server, operator: dict[str, str], tmp_path: Path):
    server.authenticate({"visitor_id": "laptop", "customer_id": "42", "display_name": "Ana"})
    blocks = [block for block in SH_BLOCKS if block.startswith(MARK)]

    printed = []
    for block in blocks:
        done = call(["sh", "-eux", "-c", block], tmp_path, operator)
        assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
        printed.append(done.stdout)

    assert len(blocks) == 13
    assert '"status":"ready"' in printed[0]
    assert "no differences" in printed[3]
    assert "identity_waiting 0.0" in printed[-1]


@pytest.mark.long
def test_a_production_install_holds_what_the_service_needs(tmp_path: Path):
    check_install(tmp_path)


@pytest.mark.skipif(not INSTALLS_ANEW, reason="installs from a registry: with CI=true, or -m long")
def test_a_production_install_holds_what_the_service_needs_in_ci(tmp_path: Path):
    check_install(tmp_path)


def check_install(folder: Path) -> None:
    copy_to(folder)
    (block,) = (block for block in SH_BLOCKS if block.startswith(LONG_MARK))

    done = call(["sh", "-eu", "-c", block], folder)

    assert done.returncode == 0, done.stderr
    parts: list[str | Path] = [
        folder / ".venv" / "bin" / "python",
        "-c",
        "import identity.app, identity.serve, identity.cli",
    ]
    assert call(parts, folder).stderr == ""


def test_every_command_is_well_formed():
    assert len(SH_BLOCKS) >= 12
    for block in SH_BLOCKS:
        done = call(["sh", "-n"], sent=block)

        assert (done.returncode, done.stderr) == (0, ""), block


def test_every_identity_command_that_is_named_exists(capsys: pytest.CaptureFixture[str]):
    texts = RUNBOOK + (PROJECT / "README.md").read_text("utf-8")
    help_text = _help(capsys)
    names = sorted(set(re.findall(r"`identity ([a-z]+)(?: [a-z]+)?", texts)))

    assert [name for name in names if not re.search(rf"^  {name}\b", help_text, re.MULTILINE)] == []
    for command, action in sorted(set(re.findall(r"\bidentity (workspace|channel|key) ([a-z]+)", texts))):
        assert action in _help(capsys, command), f"identity {command} {action}"
    for options in re.findall(r"identity ((?:[a-z]+ )+)[^`\n]*?(--[a-z-]+)", texts):
        assert options[1] in _help(capsys, *options[0].split()), options


def _help(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    with pytest.raises(SystemExit) as left:
        main([*command, "--help"])
    assert left.value.code == 0, command
    return capsys.readouterr().out


def test_every_metric_is_explained():
    named = set(re.findall(r"^\| `(identity_\w+)` \|", RUNBOOK, re.MULTILINE))

    kept = {family.name + ("_total" if family.type == "counter" else "") for family in REGISTRY.collect()}

    assert metrics.REQUESTS is not None
    assert named == {name for name in kept if name.startswith("identity_")}


def test_every_member_of_a_log_line_is_explained(server: Server):
    server.get("/livez")
    logged = [json.loads(line) for line in server.logs().splitlines()]
    members = {"time", "level", "logger", "message", "process", "route", "error", "places"}

    assert {name for line in logged for name in line} <= members
    assert [name for name in sorted(members) if f"`{name}`" not in RUNBOOK] == []


def test_the_tables_of_the_migrations_are_those_that_citus_is_told_of():
    schema = "\n".join(migration.sql for migration in migrations())
    tables = re.findall(r"CREATE TABLE (?:IF NOT EXISTS )?(\w+) \((.*?)^\)[^;\n]*;", schema, re.DOTALL | re.MULTILINE)
    told = (PROJECT / "deploy" / "citus.sql").read_text("utf-8")

    of_tenants = [name for name, columns in tables if "bucket smallint NOT NULL" in columns]
    of_all = [name for name, _ in tables if name not in of_tenants]

    assert re.findall(r"create_distributed_table\('(\w+)', 'bucket'", told) == of_tenants
    assert sorted(re.findall(r"create_reference_table\('(\w+)'\)", told)) == sorted(["migration", *of_all])
    assert told.count("colocate_with := 'customer'") == len(of_tenants) - 1


def test_the_proxy_sample_loads(tmp_path: Path):
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
    if nginx is None:
        pytest.skip("no nginx here to read deploy/nginx.conf")
    sample = (PROJECT / "deploy" / "nginx.conf").read_text("utf-8")
    (tmp_path / "nginx.conf").write_text(sample.replace("/run/identity-nginx.pid", str(tmp_path / "pid")))

    done = call([nginx, "-t", "-c", tmp_path / "nginx.conf"])

    assert done.returncode == 0, done.stderr


def test_the_unit_loads():
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("no systemd here to read deploy/identity.service")
    unit = PROJECT / "deploy" / "identity.service"

    done = call([analyze, "verify", "--man=no", unit])

    complaints = [line for line in done.stderr.splitlines() if line and "is not executable" not in line]
    assert complaints == []


def test_the_unit_gives_the_drain_more_time_than_it_takes():
    unit = (PROJECT / "deploy" / "identity.service").read_text("utf-8")

    (seconds,) = re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)

    assert int(seconds) > 2 * DRAIN_SECONDS_MAX
