"""The command line, as processes of their own beside a running service."""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import psycopg
import pytest

from identity.cli import main
from identity.partitions import MONTHS_AHEAD, name_of
from profiles.remarks import HINTS, Reason
from tests.harness import ADMIN_KEY, CHANNEL_ID, PROJECT, WRITE_KEY, Server, Urls, fresh_store

COMMANDS = (
    ("import",), ("export",),
    ("export-customer",), ("erase",), ("erasures",), ("reapply",), ("lift",), ("shred",),
    ("serve",), ("migrate",), ("verify",), ("profile",), ("visitor",), ("merges",), ("merge",),
    ("refusals",),
    ("undo",), ("undo-many",), ("operations",), ("lock",), ("unlock",), ("join",), ("unjoin",), ("suggestions",),
    ("workspace", "list"), ("workspace", "add"), ("workspace", "change"),
    ("channel", "list"), ("channel", "create"), ("channel", "change"), ("channel", "revoke"),
    ("key", "list"), ("key", "create"), ("key", "revoke"),
)  # fmt: skip
NOWHERE = "postgresql://someone:verysecret@127.0.0.1:1/nothing"


class Ended(NamedTuple):
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def run(*arguments: str, **environ: str) -> Ended:
    """Run a command with these variables and no other ``IDENTITY_`` ones."""
    found = {name: value for name, value in os.environ.items() if not name.startswith("IDENTITY_")}
    command = [sys.executable, "-m", "identity", *arguments]
    ended = subprocess.run(command, cwd=PROJECT, env=found | environ, capture_output=True, text=True, check=False)
    return Ended(ended.returncode, ended.stdout, ended.stderr)


def beside(server: Server, *arguments: str, **environ: str) -> Ended:
    """Run a command on the servers of a running service."""
    return run(*arguments, IDENTITY_DATABASE_URL=server.database, IDENTITY_REDIS_URL=server.redis, **environ)


@pytest.fixture(scope="module")
def told(server: Server) -> Server:
    """A service to which a few things were said."""
    server.authenticate({"visitor_id": "v1", "customer_id": "42", "display_name": "Ana", "phone": "0912345678"})
    server.authenticate({"visitor_id": "v1", "customer_id": "42", "display_name": "Ana Lin"})
    server.authenticate({"visitor_id": "v9", "display_name": "Nobody"})
    server.authenticate({"visitor_id": "v2", "customer_id": "7", "display_email": "\x1b[2Jno address"})
    return server


def test_help_is_a_table_of_contents():
    ended = run("--help")

    assert (ended.code, ended.err) == (0, "")
    lines = [line.split("  ")[1] for line in ended.out.splitlines() if line.startswith("  ")]
    for command in COMMANDS:
        assert any(line.startswith(command[0]) for line in lines), command
        assert all(word in ended.out for word in command)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as left:
        main([*command, "--help"])

    out = capsys.readouterr().out
    assert left.value.code == 0
    assert f"Example:\n  identity {' '.join(command)}" in out
    assert max(map(len, out.splitlines())) <= 100


def test_no_command_shows_the_help_and_is_wrong_usage():
    ended = run()

    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("usage: identity COMMAND")


def test_the_version_names_release_and_schema():
    ended = run("--version")

    assert ended.code == 0
    assert ended.out.startswith("identity ")
    assert "(schema 0" in ended.out


def test_a_profile_is_shown_to_a_person(told: Server):
    ended = beside(told, "profile", "42")

    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("Customer 42, version 2\n")
    assert '"Ana Lin"' in ended.out
    assert "0912345678" not in ended.out


def test_a_profile_in_json_is_the_answer_of_the_api(told: Server):
    ended = beside(told, "profile", "42", "--json")

    assert ended.code == 0
    assert ended.json == told.get("/api/v1/customers/42?include=provenance").json()


def test_an_unknown_customer_is_not_found(told: Server):
    assert beside(told, "profile", "nobody") == (1, "", "identity: No customer is held by this id.\n")


def test_a_visitor_in_json_is_the_answer_of_the_api(told: Server):
    ended = beside(told, "visitor", "v1", "--json")

    assert ended.code == 0
    assert ended.json == told.get("/api/v1/visitors/v1").json()


def test_a_visitor_is_shown_to_a_person(told: Server):
    ended = beside(told, "visitor", "v1")

    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("Visitor v1 is customer 42 since ")


def test_an_unknown_visitor_is_not_found(told: Server):
    assert beside(told, "visitor", "nobody") == (1, "", "identity: No visitor with this id was ever seen.\n")


def test_merges_tell_verdict_reason_and_what_to_do(told: Server):
    ended = beside(told, "merges", "42")

    assert (ended.code, ended.err) == (0, "")
    skipped = next(line.split() for line in ended.out.splitlines() if "skipped_invalid" in line)
    assert skipped == ["display_mobile", "skipped_invalid", "no_country_code", "–", "–", "0912345678"]
    assert f"no_country_code: {HINTS[Reason.NO_COUNTRY_CODE]}" in ended.out


def test_merges_in_json_are_the_answer_of_the_api_page_by_page(told: Server):
    first = beside(told, "merges", "42", "--limit", "1", "--json")
    second = beside(told, "merges", "42", "--limit", "1", "--cursor", first.json["next_cursor"], "--json")

    pages = [first.json, second.json]
    assert [page["items"] for page in pages] == [
        [item] for item in told.get("/api/v1/admin/merges?customer_id=42").json()["items"]
    ]
    assert pages[1]["next_cursor"] is None


def test_merges_are_filtered(told: Server):
    ended = beside(told, "merges", "--verdict", "skipped_invalid", "--field", "display_mobile", "--json")

    assert [item["customer_id"] for item in ended.json["items"]] == ["42"]


def test_what_a_stranger_sent_cannot_move_the_cursor_of_a_terminal(told: Server):
    shown, scripted = beside(told, "merges", "7"), beside(told, "merges", "7", "--json")

    assert "\x1b" not in shown.out + scripted.out
    assert "\\x1b[2Jno address" in shown.out


def test_one_merge_is_shown_by_its_id(told: Server):
    merge = told.get("/api/v1/admin/merges?customer_id=42").json()["items"][0]

    ended = beside(told, "merge", merge["merge_id"], "--json")

    assert (ended.code, ended.json) == (0, merge)


def test_an_unknown_merge_is_not_found(told: Server):
    assert beside(told, "merge", "junk") == (1, "", "identity: No merge has this id.\n")


def test_a_filter_of_the_wrong_form_is_wrong_usage(told: Server):
    assert beside(told, "merges", "--from", "yesterday").code == 2
    assert beside(told, "merges", "--limit", "0").code == 2


def test_refusals_are_counted_and_listed(told: Server):
    shown, scripted = beside(told, "refusals"), beside(told, "refusals", "--json")

    assert (shown.code, shown.err) == (0, "")
    assert "missing_customer_id" in shown.out
    assert scripted.json == told.get("/api/v1/admin/refusals").json()


def test_the_ledger_verifies_beside_the_running_service(told: Server):
    ended = beside(told, "verify", "--json")

    assert (ended.code, ended.err) == (0, "")
    assert (ended.json["clean"], ended.json["differences"], ended.json["shown"]) == (True, {}, [])
    assert ended.json["checked"]["merges"] >= 3


def test_a_difference_exits_with_one_and_names_nobody_unless_asked(urls: Urls):
    with fresh_store(urls.database) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                "INSERT INTO customer SELECT 0, workspace_id, 'secret-id', 1, '2026-01-01', '2026-01-01', '{}'"
                " FROM workspace"
            )

        ended = run("verify", IDENTITY_DATABASE_URL=url)
        named = run("verify", "--show-ids", "--json", IDENTITY_DATABASE_URL=url)

    assert ended.code == 1
    assert "customer_orphan" in ended.out
    assert "secret-id" not in ended.out + ended.err
    assert (named.code, named.json["differences"]["customer_orphan"]) == (1, 1)
    assert {difference["customer_id"] for difference in named.json["shown"]} == {"secret-id"}


def test_an_unknown_workspace_is_wrong_usage_and_the_known_ones_are_named(told: Server):
    ended = beside(told, "profile", "42", "--workspace", "elsewhere")

    assert ended == (2, "", "identity: No workspace is called elsewhere. There is: main.\n")
    assert beside(told, "verify", "--workspace", "elsewhere").code == 2


def test_of_several_workspaces_one_must_be_named(urls: Urls):
    with fresh_store(urls.database) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                "INSERT INTO workspace (workspace_id, slug, created_at) VALUES (2, 'other', '2026-01-01')"
            )

        unnamed = run("key", "list", IDENTITY_DATABASE_URL=url, IDENTITY_REDIS_URL=urls.redis)
        other = run("key", "list", "--workspace", "other", IDENTITY_DATABASE_URL=url, IDENTITY_REDIS_URL=urls.redis)

    message = "identity: There are several workspaces. Name one with --workspace: main, other.\n"
    assert unnamed == (2, "", message)
    assert other.out == "There is no key. Make one: identity key create --name CRM --scope profiles:read\n"


def test_a_new_key_is_let_in_at_once_and_refused_at_once_when_revoked(server: Server):
    made = beside(server, "key", "create", "--name", "CRM", "--scope", "profiles:read", "--json")
    headers = {"Authorization": f"Bearer {made.json['secret']}"}
    let_in = server.get("/api/v1/customers/nobody-at-all", headers=headers)

    revoked = beside(server, "key", "revoke", made.json["key_id"])

    refused = server.get("/api/v1/customers/nobody-at-all", headers=headers)
    assert (made.code, made.json["scopes"], made.err) == (0, ["profiles:read"], "")
    assert (revoked.code, revoked.err) == (0, "")
    assert (let_in.status_code, refused.status_code) == (404, 401)


def test_a_secret_is_shown_once_and_never_again(server: Server):
    made = beside(server, "key", "create", "--name", "Shown once", "--scope", "profiles:read")
    secret = made.out.partition("Secret key  ")[2].split()[0]

    listed = [beside(server, "key", "list"), beside(server, "key", "list", "--json")]

    assert secret.startswith("sk_")
    for ended in listed:
        assert ended.code == 0
        assert "Shown once" in ended.out
        assert secret not in ended.out
        assert ADMIN_KEY not in ended.out


def test_the_last_admin_key_cannot_be_revoked(server: Server):
    listed = beside(server, "key", "list", "--json").json["items"]
    admin = next(key for key in listed if "admin" in key["scopes"])

    ended = beside(server, "key", "revoke", admin["key_id"])

    assert (ended.code, ended.out) == (2, "")
    assert server.get("/api/v1/admin/keys").status_code == 200


def test_an_unknown_key_and_an_unknown_channel_are_not_found(server: Server):
    assert beside(server, "key", "revoke", CHANNEL_ID).code == 1
    assert beside(server, "channel", "revoke", "junk").code == 1


def test_a_scope_that_does_not_exist_is_wrong_usage(server: Server):
    assert beside(server, "key", "create", "--name", "CRM", "--scope", "everything").code == 2


def test_a_channel_is_made_changed_and_revoked_and_the_running_service_obeys_at_once(server: Server):
    def push() -> int:
        body = {"visitor_id": "v77", "customer_id": "by-the-new-channel", "write_key": key}
        return server.client.post(
            "/api/v1/authenticate", json=body, headers={"Origin": "https://b.example"}
        ).status_code

    made = beside(server, "channel", "create", "--name", "Shop", "--origin", "https://a.example", "--json")
    key, channel_id = made.json["write_key"], made.json["channel_id"]
    from_elsewhere = push()
    changed = beside(server, "channel", "change", channel_id, "--origin", "https://b.example", "--json")
    from_its_page = push()
    revoked = beside(server, "channel", "revoke", channel_id, "--json")
    afterwards = push()

    assert (from_elsewhere, from_its_page, afterwards) == (403, 200, 401)
    assert changed.json == {**made.json, "origins": ["https://b.example"]}
    assert revoked.json == {**changed.json, "revoked_at": revoked.json["revoked_at"]}
    assert revoked.json["revoked_at"] is not None


def test_a_workspace_is_added_with_its_own_rules_and_listed(urls: Urls):
    with fresh_store(urls.database) as url:
        at = {"IDENTITY_DATABASE_URL": url, "IDENTITY_REDIS_URL": urls.redis}
        words = ("--spread", "16", "--footprint-days", "90", "--blocked-customer-id", " test ", "--json")
        made = run("workspace", "add", "shop-2", *words, **at)
        plain = run("workspace", "add", "plain", "--no-blocked", "--json", **at)
        again = run("workspace", "add", "plain", **at)
        listed = run("workspace", "list", "--json", **at)
        shown = run("workspace", "list", **at)
        key = run("key", "create", "--workspace", "shop-2", "--name", "CRM", "--scope", "admin", **at)
        with psycopg.connect(url) as connection:
            numbers = connection.execute("SELECT workspace_id, slug FROM workspace ORDER BY 1").fetchall()
            # Those of 395 days were made with the template, some of them perhaps in another month.
            months = connection.execute(
                "SELECT count(*) FROM pg_inherits"
                " WHERE inhparent = 'event'::regclass AND inhrelid::regclass::text < %s",
                [name_of(datetime.now(UTC).date() + timedelta(days=365))],
            ).fetchone()

    own = {"slug": "shop-2", "spread": 16, "footprint_days": 90, "blocked_customer_ids": ["test"]}
    assert (made.code, made.json, made.err) == (0, {**own, "created_at": made.json["created_at"]}, "")
    assert (plain.json["spread"], plain.json["footprint_days"], plain.json["blocked_customer_ids"]) == (1, 395, [])
    assert again == (2, "", "identity: There is a workspace called plain already.\n")
    assert [item["slug"] for item in listed.json["items"]] == ["main", "plain", "shop-2"]
    assert [line.split()[:3] for line in shown.out.splitlines()[1:]] == [
        ["main", "1", "395"],
        ["plain", "1", "395"],
        ["shop-2", "16", "90"],
    ]
    assert key.code == 0
    assert numbers == [(1, "main"), (2, "shop-2"), (3, "plain")]
    assert months == (MONTHS_AHEAD + 1,)


@pytest.mark.parametrize(
    "words",
    [
        ("add", "Shop"),
        ("add", "-shop"),
        ("add", "shop", "--spread", "0"),
        ("add", "shop", "--spread", "4097"),
        ("add", "shop", "--footprint-days", "0"),
        ("add", "shop", "--footprint-days", "3651"),
        ("add", "shop", "--blocked-customer-id", " "),
        ("change", "main"),
        ("change", "main", "--footprint-days", "many"),
        ("change", "nobody", "--footprint-days", "3"),
    ],
)
def test_a_workspace_that_cannot_be_is_wrong_usage_and_changes_nothing(server: Server, words: tuple[str, ...]):
    before = beside(server, "workspace", "list").out

    ended = beside(server, "workspace", *words)

    assert (ended.code, ended.out) == (2, "")
    assert ended.err != ""
    assert beside(server, "workspace", "list").out == before


def test_a_changed_workspace_is_obeyed_by_the_running_service_at_once(server: Server):
    def push() -> list[str]:
        server.authenticate({"visitor_id": "v78", "customer_id": "TESTER", "display_name": str(len(answers))})
        answers.append(server.get("/api/v1/customers/TESTER").json().get("version", "unknown"))
        return answers

    answers: list[str] = []
    changed = beside(
        server, "workspace", "change", "main", "--blocked-customer-id", "tester", "--footprint-days", "30", "--json"
    )
    push()
    told = server.get("/api/v1/admin/workspace").json()
    back = beside(server, "workspace", "change", "main", "--default-blocked", "--json")
    push()
    restored = beside(server, "workspace", "change", "main", "--footprint-days", "395")

    assert (changed.code, changed.json, changed.err) == (0, told, "")
    assert (told["blocked_customer_ids"], told["footprint_days"]) == (["tester"], 30)
    assert (back.json["blocked_customer_ids"], back.json["footprint_days"]) == (None, 30)
    assert answers == ["unknown", 1]
    assert restored.code == 0


def test_a_channel_is_listed_with_its_public_key(server: Server):
    ended = beside(server, "channel", "list")

    assert (ended.code, ended.err) == (0, "")
    assert WRITE_KEY in ended.out
    assert beside(server, "channel", "list", "--json").json == server.get("/api/v1/admin/channels").json()


def test_an_origin_with_a_path_is_wrong_usage(server: Server):
    ended = beside(server, "channel", "create", "--name", "Shop", "--origin", "https://a.example/shop")

    assert (ended.code, ended.out) == (2, "")
    assert "https://shop.example" in ended.err


def test_a_change_of_nothing_is_wrong_usage(server: Server):
    assert beside(server, "channel", "change", CHANNEL_ID).code == 2


def test_without_redis_a_change_is_made_and_says_when_workers_notice(urls: Urls):
    with fresh_store(urls.database) as url:
        environ = {"IDENTITY_DATABASE_URL": url, "IDENTITY_REDIS_URL": "redis://127.0.0.1:1"}

        ended = run("key", "create", "--name", "CRM", "--scope", "admin", "--json", **environ)
        listed = run("key", "list", "--json", **environ)

    assert ended.code == 0
    assert ended.err == "identity: Redis is away: running workers notice the change within 60 seconds.\n"
    assert ended.json["key_id"] in [key["key_id"] for key in listed.json["items"]]


def test_migrate_says_what_it_did_and_then_that_there_is_nothing_to_do(urls: Urls):
    with fresh_store(urls.database) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")

        early = run("verify", IDENTITY_DATABASE_URL=url)
        first = run("migrate", IDENTITY_DATABASE_URL=url)
        second = run("migrate", "--json", IDENTITY_DATABASE_URL=url)

    assert (early.code, early.out) == (2, "")
    assert "run `identity migrate`" in early.err
    assert first.code == 0
    assert first.out.startswith("Applied 0001_profiles\nApplied 0002_identity\nApplied 0003_footprint\n")
    assert (second.code, second.json["applied"]) == (0, [])


@pytest.mark.parametrize("command", [("serve",), ("migrate",), ("verify",), ("profile", "42")], ids=" ".join)
def test_without_a_database_it_says_so_in_one_line_and_tells_no_password(command: tuple[str, ...]):
    ended = run(*command, IDENTITY_DATABASE_URL=NOWHERE, IDENTITY_REDIS_URL="redis://127.0.0.1:1")

    message = "identity: PostgreSQL does not answer (Connection refused). Check IDENTITY_DATABASE_URL.\n"
    assert ended == (2, "", message)


@pytest.mark.parametrize(
    "wrong",
    [
        {"IDENTITY_DATABASE_URL": "postgresql://someone:verysecret@[nowhere/x"},
        {"IDENTITY_DATABASE_URL": "postgresql://someone:very@secret@127.0.0.1:1/x"},
        {"IDENTITY_DATABASE_URL": "mysql://someone:verysecret@nowhere/x"},
        {"IDENTITY_NONSENSE": "verysecret"},
        {"IDENTITY_LISTEN": "verysecret"},
    ],
)
def test_settings_that_cannot_be_are_one_line_without_their_values(wrong: dict[str, str]):
    ended = run(
        "profile", "42", **{"IDENTITY_DATABASE_URL": NOWHERE, "IDENTITY_REDIS_URL": "redis://127.0.0.1:1", **wrong}
    )

    assert (ended.code, ended.out) == (2, "")
    assert (ended.err.count("\n"), "secret" in ended.err, "Traceback" in ended.err) == (1, False, False)


def test_a_redis_address_that_cannot_be_is_one_line_without_it(urls: Urls):
    with fresh_store(urls.database) as url:
        ended = run(
            "key", "list", IDENTITY_DATABASE_URL=url, IDENTITY_REDIS_URL="redis://:verysecret@127.0.0.1:verysecret"
        )

    assert ended == (2, "", "identity: IDENTITY_REDIS_URL is no address that a client of Redis can read.\n")


def test_options_of_serve_go_before_the_environment(urls: Urls):
    with fresh_store(urls.database) as url:
        environ = {"IDENTITY_DATABASE_URL": url, "IDENTITY_REDIS_URL": urls.redis, "IDENTITY_LISTEN": "192.0.2.1:1"}
        command = [sys.executable, "-m", "identity", "serve", "--listen", "127.0.0.1:0", "--workers", "1"]
        found = {name: value for name, value in os.environ.items() if not name.startswith("IDENTITY_")}
        process = subprocess.Popen(
            command, cwd=PROJECT, env=found | environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)

    assert line.startswith("Listening on http://127.0.0.1:")
    assert "(1 workers)" in line or "(1 worker)" in line


def test_an_address_that_is_taken_is_wrong_settings(server: Server):
    ended = beside(server, "serve", "--listen", f"127.0.0.1:{server.port}")

    assert (ended.code, ended.out) == (2, "")
    assert f"identity: Nothing can listen on 127.0.0.1:{server.port}: see IDENTITY_LISTEN." in ended.err.splitlines()


def test_ctrl_c_ends_a_command_with_130(urls: Urls):
    with fresh_store(urls.database) as url, psycopg.connect(url) as holder:
        holder.execute("LOCK TABLE migration IN ACCESS EXCLUSIVE MODE")
        found = {name: value for name, value in os.environ.items() if not name.startswith("IDENTITY_")}
        process = subprocess.Popen(
            [sys.executable, "-m", "identity", "migrate"],
            cwd=PROJECT,
            env={**found, "IDENTITY_DATABASE_URL": url},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with psycopg.connect(url, autocommit=True) as watcher:
            waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'migration'::regclass"
            while watcher.execute(waiting).fetchone() is None and process.poll() is None:
                time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)

    assert (process.returncode, out, err) == (130, "", "")
