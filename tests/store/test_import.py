"""Imports and exports against real servers: every line once, whatever happens meanwhile, and the ledger proves it."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import psycopg
import pytest

from identity.acts import By
from identity.app import Service
from identity.bulk_undo import Filter
from identity.exports import export
from identity.imports import lane, run
from identity.imports.columns import ImportRefused
from identity.imports.command import Asked, import_file
from identity.imports.lane import ImportBroken
from identity.imports.run import Report
from identity.verify import verify
from profiles.access import Workspace
from tests.harness import PROJECT, Server, Urls, fresh_store, opened_service
from tests.store.calls import authenticate, look_up, post_events

KILL_SECONDS_MAX = 60.0


def asked(file: Path | str, **changes: Any) -> Asked:
    values: dict[str, Any] = {
        "mapping": {}, "encoding": None, "ignores_unknown": False, "is_dry": False, "is_resumed": False,
        "rejects": None, "note": None,
    }  # fmt: skip
    return Asked(file=str(file), **{**values, **changes})


def within(urls: Urls, store: str, work: Callable[[Service, Workspace], Awaitable[Any]]) -> Any:
    """Run work on the parts of one worker."""

    async def main() -> Any:
        async with opened_service(store, urls.redis) as service:
            return await work(service, service.access.workspaces[1])

    return asyncio.run(main())


def imported(urls: Urls, store: str, file: Path, **changes: Any) -> Report:
    report = within(urls, store, lambda service, workspace: import_file(service, workspace, asked(file, **changes)))
    assert isinstance(report, Report)
    return report


def rows(store: str, text: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(store) as connection:
        return connection.execute(text).fetchall()


def values(store: str) -> dict[str, dict[str, list[Any]]]:
    """Return what is held of everybody: per field the value and when it was set."""
    held = rows(store, "SELECT customer_id, fields FROM customer")
    return {customer_id: {name: told[:2] for name, told in fields.items()} for customer_id, fields in held}


def file_of(tmp_path: Path, lines: Sequence[str], name: str = "members.csv") -> Path:
    path = tmp_path / name
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def many(tmp_path: Path, count: int, name: str = "many.csv") -> Path:
    lines = [f"m-{n},Member {n},m{n}@shop.example,+8869{n:08d}" for n in range(count)]
    return file_of(tmp_path, ["customer_id,name,email,phone", *lines], name)


def is_clean(store: str) -> bool:
    report = verify(store)
    assert report.shown == []
    return report.is_clean


def test_members_of_a_file_are_merged_by_the_rules_and_the_ledger_tells_who_brought_them(
    urls: Urls, store_url: str, tmp_path: Path
):
    path = file_of(
        tmp_path,
        [
            "Member No,name,phone,birthday",
            "1,Ana,+886912345678,1990-01-31",
            "2,Bo,0912345678,",
            ",Nobody,,",
            "2,Bo Lin,,1991-02-28",
        ],
    )

    report = imported(urls, store_url, path, mapping={"Member No": "customer_id"}, note="the shop's members")

    counts = report.counts
    assert (counts.lines, counts.created, counts.changed, counts.rejected) == (4, 2, 1, 1)
    assert (counts.faulty, counts.repeated, counts.refusals) == (1, 1, {"missing_customer_id": 1})
    assert counts.verdicts == {"set": 5, "skipped_invalid": 1, "overwrote": 1}
    assert counts.reasons == {"display_mobile no_country_code": 1}
    assert {key: {name: told[0] for name, told in held.items()} for key, held in values(store_url).items()} == {
        "1": {"display_name": "Ana", "display_mobile": "+886912345678", "birth": "1990-01-31"},
        "2": {"display_name": "Bo Lin", "birth": "1991-02-28"},
    }
    told = set(rows(store_url, "SELECT source, event, actor, note, operation_id::text, policy FROM merge"))
    assert told == {("import", "import", "cli", "the shop's members", report.operation_id, "overwrite")}
    assert rows(store_url, "SELECT operation_id::text, kind, status FROM operation") == [
        (report.operation_id, "import", "done")
    ]
    assert is_clean(store_url)


def test_a_dry_run_counts_what_the_import_then_does_and_writes_nothing(urls: Urls, store_url: str, tmp_path: Path):
    imported(urls, store_url, file_of(tmp_path, ["customer_id,name", "1,Ana", "2,Bo"], "before.csv"))
    path = file_of(
        tmp_path, ["customer_id,name,email", "1,Ana,", "2,Bob,no", "3,Cy,", "3,Cyd,", "3,Cyd,", "null,x,", "4,,"]
    )
    before = rows(store_url, "SELECT count(*), (SELECT count(*) FROM operation) FROM merge")

    dry = imported(urls, store_url, path, is_dry=True)
    between = rows(store_url, "SELECT count(*), (SELECT count(*) FROM operation) FROM merge")
    real = imported(urls, store_url, path)

    assert (before, dry.operation_id, dry.rejects) == (between, None, None)
    assert dry.counts == real.counts
    assert (dry.counts.created, dry.counts.changed, dry.counts.unchanged, dry.counts.repeated) == (2, 2, 2, 2)


def test_rejects_are_mended_and_fed_again(urls: Urls, store_url: str, tmp_path: Path):
    path = file_of(tmp_path, ["customer_id;phone;name", "1;0912345678;Ana", ";+886912345678;Bo", "3;;Cy"])
    first = imported(urls, store_url, path)
    assert first.rejects == str(tmp_path / "members.rejects.csv")
    rejected = Path(first.rejects).read_text("utf-8")

    Path(first.rejects).write_text(rejected.replace("0912345678;", "+886912345678;").replace("\n;", "\n2;"), "utf-8")
    again = imported(urls, store_url, Path(first.rejects))

    assert rejected.splitlines() == [
        "customer_id;phone;name;import_errors",
        "1;0912345678;Ana;phone: no_country_code",
        ";'+886912345678;Bo;missing_customer_id",
    ]
    assert (again.rejects, again.counts.changed, again.counts.created) == (None, 1, 1)
    assert {key: sorted(held) for key, held in values(store_url).items()} == {
        "1": ["display_mobile", "display_name"],
        "2": ["display_mobile", "display_name"],
        "3": ["display_name"],
    }


def test_a_file_imported_twice_changes_nothing_and_its_rejects_are_the_same(urls: Urls, store_url: str, tmp_path: Path):
    path = file_of(tmp_path, ["customer_id,name,phone", "1,Ana,0912", "2,Bo,"])
    first = imported(urls, store_url, path)
    told = Path(first.rejects or "").read_text("utf-8")

    again = imported(urls, store_url, path)

    assert (again.counts.created, again.counts.unchanged, again.counts.faulty) == (0, 1, 1)
    assert Path(again.rejects or "").read_text("utf-8") == told


def test_older_lines_do_not_overwrite_what_is_newer(urls: Urls, store_url: str, tmp_path: Path):
    async def work(service: Service, workspace: Workspace) -> Report:
        await authenticate(service, {"visitor_id": "v", "customer_id": "1", "display_name": "Newer"})
        path = file_of(tmp_path, ["customer_id,name,email,occurred_at", "1,Older,a@b.example,2020-01-01T00:00:00Z"])
        return await import_file(service, workspace, asked(path))

    report: Report = within(urls, store_url, work)

    assert report.counts.verdicts == {"skipped_older": 1, "set": 1}
    assert values(store_url)["1"]["display_email"] == ["a@b.example", 1577836800000]
    assert is_clean(store_url)


def test_an_export_imported_elsewhere_gives_equal_profiles(urls: Urls, store_url: str, tmp_path: Path):
    async def talk(service: Service, workspace: Workspace) -> bytes:
        for n in range(30):
            await authenticate(service, {"visitor_id": f"v{n}", "customer_id": f"c{n}", "name": f"N{n}"})
        events = [
            {"type": "set", "path": "custom.points", "value": 7},
            {"type": "set", "path": "interests", "value": ["=tea", "hats"]},
            {"type": "unset", "path": "lastName"},
        ]
        for n in range(0, 30, 2):
            change = {"type": "userProfileChanged", "visitor_id": f"v{n}", "patch": {"operations": events}}
            assert (await post_events(service, change))[0] == 200
            told = {"visitor_id": f"v{n}", "customer_id": f"c{n}", "email": f"=n{n}@shop.example"}
            await authenticate(service, told)
        out = BytesIO()
        assert await export(service.settings, workspace, out, is_csv=False) == 30
        return out.getvalue()

    path = tmp_path / "all.ndjson"
    path.write_bytes(within(urls, store_url, talk))
    with fresh_store(urls.database) as elsewhere:
        report = imported(urls, elsewhere, path)

        assert (report.counts.created, report.counts.rejected, report.counts.faulty) == (30, 0, 0)
        assert values(elsewhere) == values(store_url)
        assert is_clean(elsewhere)


def test_a_csv_export_holds_no_formula_and_is_read_back(urls: Urls, store_url: str, tmp_path: Path):
    line = {"customer_id": "-12", "name": "=cmd|' /C calc'!A0", "phone": "+886912345678", "custom.n": 7}
    path = file_of(tmp_path, [json.dumps(line)], "one.ndjson")
    imported(urls, store_url, path)

    async def taken(service: Service, workspace: Workspace) -> bytes:
        out = BytesIO()
        await export(service.settings, workspace, out, is_csv=True)
        return out.getvalue()

    written: bytes = within(urls, store_url, taken)
    (tmp_path / "all.csv").write_bytes(written)
    with fresh_store(urls.database) as elsewhere:
        imported(urls, elsewhere, tmp_path / "all.csv")

        assert {name: told[0] for name, told in values(elsewhere)["-12"].items()} == {
            "display_name": "=cmd|' /C calc'!A0", "display_mobile": "+886912345678", "custom.n": 7,
        }  # fmt: skip
    cells = written.decode("utf-8-sig").splitlines()[1].split('","')
    assert not any(cell.strip('"').startswith(("=", "+", "-", "@")) for cell in cells)


def test_an_import_through_processes_does_every_line_once_in_each_customers_order(
    urls: Urls, store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(run, "ALONE_LINES_MAX", 10)
    path = many(tmp_path, 9000)
    with path.open("a") as file:
        file.writelines(f"m-{n},Last {n},no address,\n" for n in range(0, 9000, 3))

    report = imported(urls, store_url, path)

    assert (report.counts.created, report.counts.changed, report.counts.repeated) == (9000, 3000, 3000)
    names = {key: held["display_name"][0] for key, held in values(store_url).items()}
    assert names == {f"m-{n}": f"Last {n}" if n % 3 == 0 else f"Member {n}" for n in range(9000)}
    lines = Path(report.rejects or "").read_text("utf-8").splitlines()[1:]
    assert [line.split(",")[0] for line in lines] == [f"m-{n}" for n in range(0, 9000, 3)]
    assert is_clean(store_url)


def test_an_import_killed_in_the_middle_is_resumed_and_does_no_line_twice(urls: Urls, store_url: str, tmp_path: Path):
    path = many(tmp_path, 30_000)
    with path.open("a") as file:
        file.writelines(f"m-{n},Again {n},not an address,\n" for n in range(5000))
    environ = {name: value for name, value in os.environ.items() if not name.startswith("IDENTITY_")}
    environ |= {"IDENTITY_DATABASE_URL": store_url, "IDENTITY_REDIS_URL": urls.redis}
    command = [sys.executable, "-m", "identity", "import", str(path), "--json"]

    process = subprocess.Popen(command, cwd=PROJECT, env=environ, start_new_session=True, stdout=subprocess.PIPE)
    deadline = time.monotonic() + KILL_SECONDS_MAX
    while rows(store_url, "SELECT count(*) FROM merge")[0][0] == 0 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    halfway = rows(store_url, "SELECT count(*) FROM merge")[0][0]
    clean_then = is_clean(store_url)
    changed = tmp_path / "changed" / "many.csv"
    changed.parent.mkdir()
    changed.write_bytes(path.read_bytes() + b"late,Late,,\n")
    refused = subprocess.run(
        [*command[:4], str(changed), "--resume"], cwd=PROJECT, env=environ, capture_output=True, text=True, check=False
    )
    resumed = subprocess.run(
        [*command, "--resume"], cwd=PROJECT, env=environ, capture_output=True, text=True, check=False
    )

    assert resumed.returncode == 0, resumed.stderr
    report = json.loads(resumed.stdout)
    assert 0 < halfway < 35_000
    assert (clean_then, refused.returncode) == (True, 2)
    assert "it has changed" in refused.stderr
    counts = report["counts"]
    assert (counts["lines"], counts["created"], counts["changed"]) == (35_000, 30_000, 5000)
    assert rows(store_url, "SELECT count(*), count(DISTINCT customer_id), max(version) FROM merge") == [
        (35_000, 30_000, 2)
    ]
    assert rows(store_url, "SELECT count(DISTINCT operation_id) FROM merge WHERE operation_id IS NOT NULL") == [(1,)]
    assert rows(store_url, "SELECT status FROM operation") == [("done",)]
    rejected = Path(report["rejects"]).read_text("utf-8").splitlines()[1:]
    assert [line.split(",")[0] for line in rejected] == [f"m-{n}" for n in range(5000)]
    assert is_clean(store_url)


def test_live_traffic_on_the_same_customers_loses_nothing_and_reads_nothing_old(
    urls: Urls, store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(lane, "BATCH_LINES_MAX", 200)
    names = 40
    lines = [f"c-{n % names},File {n}" for n in range(4000)]
    path = file_of(tmp_path, ["customer_id,name", *lines])

    async def work(service: Service, workspace: Workspace) -> tuple[Report, int]:
        is_done = asyncio.Event()
        pushed = [0] * 4

        async def push(own: int) -> None:
            while not is_done.is_set():
                pushed[own] += 1
                customer_id = f"c-{own + 4 * (pushed[own] % (names // 4))}"
                email = f"p{pushed[own]}@b.example"
                told = {"visitor_id": f"v-{customer_id}", "customer_id": customer_id, "email": email}
                assert (await authenticate(service, told))[0] == 200
                _, found = await look_up(service, customer_id)
                assert found["fields"]["display_email"] == email
                await asyncio.sleep(0)

        pushing = [asyncio.create_task(push(own)) for own in range(4)]
        report = await import_file(service, workspace, asked(path))
        is_done.set()
        await asyncio.gather(*pushing)
        for n in range(names):
            _, found = await look_up(service, f"c-{n}")
            assert found["fields"]["display_name"] == f"File {4000 - names + n}"
        return report, sum(pushed)

    report, pushed = within(urls, store_url, work)

    assert (report.counts.lines, report.counts.rejected) == (4000, 0)
    assert pushed > 10
    assert rows(store_url, "SELECT count(*) FROM merge WHERE source = 'import'") == [(4000,)]
    assert is_clean(store_url)


def test_a_whole_import_is_taken_back_by_its_operation_and_nothing_else_is(urls: Urls, store_url: str, tmp_path: Path):
    async def work(service: Service, workspace: Workspace) -> list[int]:
        await authenticate(service, {"visitor_id": "v", "customer_id": "1", "display_name": "Before"})
        path = file_of(tmp_path, ["customer_id,name,email", "1,Wrong,wrong@b.example", "2,Wrong,", "2,Wronger,"])
        report = await import_file(service, workspace, asked(path))
        wanted = Filter(until=run.clock() + 1000, operation_id=report.operation_id)
        operation = await service.bulk.begin(1, wanted, By("cli", "the wrong file"), taken=True)
        await service.bulk.go_on(operation)
        return [(await look_up(service, customer_id))[0] for customer_id in ("1", "2")]

    assert within(urls, store_url, work) == [200, 404]
    assert {name: told[0] for name, told in values(store_url)["1"].items()} == {"display_name": "Before"}
    assert is_clean(store_url)


def test_a_lookup_after_the_import_shows_what_it_wrote_however_warm_the_cache_was(
    urls: Urls, store_url: str, tmp_path: Path
):
    async def work(service: Service, workspace: Workspace) -> list[str]:
        seen = []
        for name in ("First", "Second", "Third"):
            path = file_of(tmp_path, ["customer_id,name", f"1,{name}"])
            await import_file(service, workspace, asked(path))
            for _ in range(2):
                _, found = await look_up(service, "1")
                seen.append(found["fields"]["display_name"])
        return seen

    assert within(urls, store_url, work) == ["First", "First", "Second", "Second", "Third", "Third"]


def test_an_import_that_another_process_took_over_goes_no_further(
    urls: Urls, store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(lane, "BATCH_LINES_MAX", 10)
    monkeypatch.setattr(run, "BATCH_LINES_MAX", 10)
    path = many(tmp_path, 100)
    take = lane.Lane.apply

    async def steal(self: lane.Lane, lines: Sequence[Any]) -> Any:
        if self.position.line > 50:
            with psycopg.connect(store_url) as connection:
                connection.execute("UPDATE operation SET progress = jsonb_set(progress, '{claim}', '\"other\"')")
        return await take(self, lines)

    monkeypatch.setattr(lane.Lane, "apply", steal)
    with pytest.raises(ImportBroken, match="another process"):
        imported(urls, store_url, path)

    assert rows(store_url, "SELECT count(*) FROM customer") == [(50,)]
    assert is_clean(store_url)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('customer_id,name\n1,Ana\n2,"Bo', "never closed"),
        ("customer_id,hat\n1,2\n", "'hat'"),
        ("customer_id,name\n1,Ana\n2", "cut off"),
    ],
)
def test_a_file_that_cannot_be_imported_writes_nothing_at_all(
    urls: Urls, store_url: str, tmp_path: Path, content: str, told: str
):
    path = tmp_path / "members.csv"
    path.write_text(content)

    with pytest.raises(ImportRefused, match=told):
        imported(urls, store_url, path)

    assert rows(store_url, "SELECT (SELECT count(*) FROM customer), (SELECT count(*) FROM operation)") == [(0, 0)]


def test_there_is_nothing_to_resume_of_a_file_that_was_imported(urls: Urls, store_url: str, tmp_path: Path):
    path = many(tmp_path, 3)
    imported(urls, store_url, path)

    with pytest.raises(ImportRefused, match="was broken off"):
        imported(urls, store_url, path, is_resumed=True)


def test_standard_input_is_imported_beside_a_running_service(server: Server, tmp_path: Path):
    environ = {name: value for name, value in os.environ.items() if not name.startswith("IDENTITY_")}
    environ |= {"IDENTITY_DATABASE_URL": server.database, "IDENTITY_REDIS_URL": server.redis}

    ended = subprocess.run(
        [sys.executable, "-m", "identity", "import", "-", "--rejects", str(tmp_path / "r.ndjson")],
        cwd=PROJECT,
        env={**environ, "PYTHONPATH": str(PROJECT)},
        input=b'{"customer_id":"s-1","name":"Ana"}\n{"customer_id":"s-2","phone":"0912"}\n',
        capture_output=True,
        check=False,
    )

    assert (ended.returncode, ended.stderr) == (0, b"")
    assert b"Read 2 lines; operation " in ended.stdout
    assert server.get("/api/v1/customers/s-1").json()["fields"] == {"display_name": "Ana"}
    assert json.loads((tmp_path / "r.ndjson").read_text()) == {
        "customer_id": "s-2", "phone": "0912", "import_errors": "phone: no_country_code",
    }  # fmt: skip
