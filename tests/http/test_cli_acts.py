"""Undo, lock and join on the command line, beside a running service."""

from tests.harness import CHANNEL_ID, Server
from tests.http.test_acts import fields_of, identify, newest
from tests.http.test_cli import beside


def test_a_merge_is_looked_at_undone_and_restored(server: Server):
    identify(server, "c-1", name="Ana")
    identify(server, "c-1", name="Zoe")
    merge_id = newest(server, "c-1")["merge_id"]

    preview = beside(server, "undo", merge_id, "--dry-run")
    untouched = fields_of(server, "c-1")
    done = beside(server, "undo", merge_id, "--reason", "a shared tablet")
    again = beside(server, "undo", merge_id)
    undone = fields_of(server, "c-1")
    restore = done.out.splitlines()[-1].removeprefix("To restore: identity ").split()
    restored = beside(server, *restore)

    assert (preview.code, preview.err) == (0, "")
    assert preview.out == "Would take 1 merge of customer c-1 back.\n  display_name: Zoe -> Ana\n"
    assert done.out.startswith("Took 1 merge of customer c-1 back.\n  display_name: Zoe -> Ana\nTo restore: ")
    assert again.out == "Nothing to do: this was taken back before.\n"
    assert untouched == {"display_name": "Zoe"}
    assert undone == {"display_name": "Ana"}
    assert restored.code == 0
    assert fields_of(server, "c-1") == untouched


def test_an_identification_is_undone_with_its_visitor(server: Server):
    identify(server, "c-2")
    server.authenticate({"visitor_id": "v-c-2", "customer_id": "c-3"})
    said = server.get("/api/v1/visitors/v-c-2").json()["identifications"][0]["identification_id"]

    done = beside(server, "undo", said, "--visitor", "v-c-2")

    assert (done.code, done.err) == (0, "")
    assert "whose it is now: c-3 -> c-2" in done.out
    assert server.get("/api/v1/visitors/v-c-2").json()["customer_id"] == "c-2"


def test_what_a_customer_got_since_a_time_is_taken_back_together(server: Server):
    identify(server, "c-4", name="Ana")
    since = newest(server, "c-4")["received_at"]

    preview = beside(server, "undo-many", "--customer", "c-4", "--from", since, "--channel", CHANNEL_ID, "--dry-run")
    done = beside(server, "undo-many", "--customer", "c-4", "--from", since, "--reason", "stolen key", "--json")
    listed = beside(server, "operations")
    refused = beside(server, "undo-many", "--channel", CHANNEL_ID)

    assert preview.out.startswith("Would take back 1 merges of 1 customers and 1 identifications of 1 visitors.\n")
    assert (done.json["status"], done.json["progress"]["merges"], done.json["actor"]) == ("done", 1, "cli")
    assert done.json["operation_id"] in listed.out
    assert server.get("/api/v1/customers/c-4").status_code == 404
    assert (refused.code, "from" in refused.err) == (2, True)


def test_a_field_is_locked_and_unlocked(server: Server):
    identify(server, "c-5", name="Ana")

    locked = beside(server, "lock", "c-5", "display_name", "--reason", "as on the card")
    identify(server, "c-5", name="Zoe")
    kept = fields_of(server, "c-5")
    unlocked = beside(server, "unlock", "c-5", "display_name")
    unknown = beside(server, "lock", "c-5", "nonsense")

    assert (locked.out, unlocked.out) == ("Locked: display_name.\n", "Locked: nothing.\n")
    assert kept == {"display_name": "Ana"}
    assert unknown.code == 2


def test_two_ids_are_joined_and_taken_apart(server: Server):
    identify(server, "c-6", name="Ana", email="c6@shop.example")
    identify(server, "c-7", email="c6@shop.example")

    suggested = beside(server, "suggestions")
    preview = beside(server, "join", "c-6", "--into", "c-7", "--dry-run")
    joined = beside(server, "join", "c-6", "--into", "c-7")
    answer = server.get("/api/v1/customers/c-6").json()
    apart = beside(server, "unjoin", "c-6")
    nobody = beside(server, "join", "c-6", "--into", "nobody")

    assert "c6@shop.example: c-6, c-7" in suggested.out
    assert preview.out.startswith("Customer c-6 and c-7, if this were done:\nc-7: 1 fields change\n")
    assert joined.code == apart.code == 0
    assert (answer["customer_id"], answer["fields"]["display_name"]) == ("c-7", "Ana")
    assert "display_name" not in fields_of(server, "c-7")
    assert nobody.code == 1
