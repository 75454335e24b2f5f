"""Erasing a person over HTTP and on the command line, with traffic on all workers."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from identity.render import as_json
from tests.harness import ADMIN_KEY, WRITE_KEY, Server, Urls, fresh_store
from tests.http.receiver import wait_until
from tests.http.test_cli import beside
from tests.store.invariants import check_store
from tests.store.test_erasure import tables_with

HEADERS = {"Authorization": f"Bearer {ADMIN_KEY}"}


def push(server: Server, customer_id: str, visitor_id: str, **params: str) -> None:
    answer = server.authenticate({"visitor_id": visitor_id, "customer_id": customer_id, **params})
    assert answer.json() == {"status": "ok"}


def erase(server: Server, path: str, **headers: str) -> httpx.Response:
    return server.client.delete(f"/api/v1/customers{path}", headers={**HEADERS, **headers})


def erase_to_the_end(server: Server, path: str) -> httpx.Response:
    """Erase someone, asking again where it takes longer than one request waits."""
    answer: httpx.Response = wait_until(lambda: erase(server, path), lambda answer: answer.status_code != 202, 90)
    return answer


def key_of(server: Server, *scopes: str) -> dict[str, str]:
    made = server.post("/api/v1/admin/keys", {"name": "CRM", "scopes": scopes}).json()
    return {"Authorization": f"Bearer {made['secret']}"}


def test_a_customer_is_previewed_erased_and_erased_again_with_the_same_receipt(server: Server):
    push(server, "h/1", "h-v1", display_name="Ana")
    server.events({"type": "page_view", "visitor_id": "h-v1", "props": {}})

    preview = erase(server, "/h%2F1?dry_run=true").json()
    still = server.get("/api/v1/customers/h%2F1").status_code
    receipt = erase(server, "/h%2F1")
    again = erase(server, "?customer_id=h%2F1")

    assert (preview["dry_run"], preview["pending"], still) == (True, False, 200)
    assert preview["removed"]["customers"] == 1
    assert receipt.status_code == 200
    assert receipt.json() == {**preview, "dry_run": False, "erased_at": receipt.json()["erased_at"]}
    assert again.json() == receipt.json()
    assert server.get("/api/v1/customers/h%2F1").status_code == 404
    assert server.get("/api/v1/visitors/h-v1").status_code == 404
    refused = server.get("/api/v1/admin/refusals").json()["counts"].get("erased_customer", 0)
    push(server, "h/1", "h-v1", display_name="Ana")
    assert server.get("/api/v1/admin/refusals").json()["counts"]["erased_customer"] == refused + 1
    check_store(server.database)


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/nobody-here", 404, "customer_not_found"),
        ("/nobody-here?dry_run=true", 404, "customer_not_found"),
        ("/h-9?dry_run=yes", 400, "invalid_dry_run"),
        ("/h-9?dry-run=true", 400, "unknown_parameter"),
        ("/%00", 404, "customer_not_found"),
        ("", 400, "missing_customer_id"),
    ],
)
def test_a_slip_of_the_pen_erases_nobody(server: Server, path: str, status: int, code: str):
    push(server, "h-9", "h-v9")

    answer = erase(server, path)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert server.get("/api/v1/customers/h-9").status_code == 200


def test_each_call_wants_its_scope(server: Server):
    push(server, "h-2", "h-v2")
    reading, writing = key_of(server, "profiles:read"), key_of(server, "profiles:write")

    answers = [
        server.client.delete("/api/v1/customers/h-2", headers=reading),
        server.client.get("/api/v1/customers/h-2/export", headers=writing),
        server.client.get("/api/v1/admin/erasures", headers=writing),
        server.client.post(f"/api/v1/admin/erasures/{'0' * 64}/lift", headers=writing),
        server.client.delete("/api/v1/customers/h-2", headers=writing),
        server.client.get("/api/v1/customers/h-2/export", headers=reading),
    ]

    assert [answer.status_code for answer in answers] == [403, 403, 403, 403, 200, 404]


def test_everything_held_of_a_person_is_one_document_and_nothing_of_others(server: Server):
    push(server, "h-3", "h-v3", display_name="Cy", display_mobile="0912")
    push(server, "h-3", "h-shared", display_name="Cy Lin")
    push(server, "h-4", "h-shared", display_name="Someone else")
    server.events(
        {"type": "userSignedUp", "visitor_id": "h-v3", "userId": "h-3", "profile": {}},
        {"type": "purchase", "customer_id": "h-3", "props": {}},
    )

    told = server.get("/api/v1/customers/h-3/export").json()

    assert told["customers"][0]["fields"]["display_name"]["value"] == "Cy Lin"
    assert [merge["customer_id"] for merge in told["merges"]] == ["h-3"] * len(told["merges"])
    assert len(told["merges"]) == told["customers"][0]["version"]
    assert [(v["visitor_id"], v["shared"], len(v["identifications"])) for v in told["visitors"]] == [
        ("h-shared", True, 1), ("h-v3", False, 1),
    ]  # fmt: skip
    assert [refusal["customer_id"] for refusal in told["refusals"]] == ["h-3"]
    assert "h-4" not in json.dumps(told)
    assert "Someone else" not in json.dumps(told)


def test_who_was_erased_is_listed_by_hash_and_lifted(server: Server):
    for n in range(3):
        push(server, f"h-l{n}", f"h-vl{n}", display_name="Ana")
        erase(server, f"/h-l{n}")

    first = server.get("/api/v1/admin/erasures?limit=2")
    pages = [first]
    while "link" in pages[-1].headers:
        pages.append(server.get(pages[-1].headers["link"].partition(">")[0][1:]))
    hashed = erase(server, "/h-l0").json()["customer_hash"]
    lifted = server.post(f"/api/v1/admin/erasures/{hashed}/lift", None)
    unknown = server.post(f"/api/v1/admin/erasures/{'0' * 64}/lift", None)
    push(server, "h-l0", "h-vl0", display_name="Ana again")

    hashes = [item["customer_hash"] for page in pages for item in page.json()["items"]]
    assert (len(first.json()["items"]), hashed in hashes, hashes == sorted(hashes)) == (2, True, True)
    assert (lifted.status_code, lifted.json().get("customer_hash")) == (200, hashed), lifted.text
    assert (unknown.status_code, unknown.json()["code"]) == (404, "erasure_not_found")
    assert server.get("/api/v1/customers/h-l0").json()["version"] == 3
    check_store(server.database)


def test_a_retry_with_an_idempotency_key_gets_the_first_answer(server: Server):
    push(server, "h-5", "h-v5")

    answers = [erase(server, "/h-5", **{"Idempotency-Key": "once"}) for _ in range(2)]

    assert answers[0].json() == answers[1].json()
    assert answers[1].headers["idempotent-replayed"] == "true"


def test_an_answer_that_was_kept_tells_nothing_of_who_was_erased_since(server: Server):
    push(server, "h-kept", "h-vkept", display_name="Planted")
    patch = {"display_name": "Also planted"}
    key = {"Idempotency-Key": "patch-kept"}
    first = server.client.patch("/api/v1/customers/h-kept", json=patch, headers=HEADERS | key)
    assert "Planted" in first.text
    erase_to_the_end(server, "/h-kept")

    again = server.client.patch("/api/v1/customers/h-kept", json=patch, headers=HEADERS | key)

    assert (again.status_code, again.json()["code"]) == (409, "idempotency_answer_erased")
    assert "lanted" not in again.text


@pytest.fixture
def workers(urls: Urls) -> Iterator[Server]:
    with fresh_store(urls.database) as url, Server(url, urls.redis, workers=2) as running:
        yield running


def test_nobody_comes_back_who_is_erased_while_events_pour_in_on_all_workers(workers: Server):
    stop = threading.Event()
    failed: list[int] = []

    def pour(number: int) -> None:
        with httpx.Client(base_url=workers.url, headers={"X-Write-Key": WRITE_KEY}, timeout=60.0) as client:
            n = 0
            while not stop.is_set():
                n += 1
                events = [
                    {
                        "type": "clIdentity",
                        "visitor_id": f"w{number}-{n % 7}",
                        "customerId": f"p{n % 5}-",
                        "name": f"N{n}",
                    },
                    {"type": "add_to_cart", "customer_id": f"p{n % 5}-", "props": {}},
                    {"type": "userSignedOut", "visitor_id": f"w{number}-{n % 7}"},
                    {"type": "clIdentity", "visitor_id": f"w{number}-{n % 3}", "customerId": "keeper", "name": f"N{n}"},
                ]
                answer = client.post("/api/v1/events", json={"events": events})
                if answer.status_code != 200:
                    failed.append(answer.status_code)

    def statuses() -> list[int]:
        return [workers.get(f"/api/v1/customers/p{n}-").status_code for n in range(5)]

    threads = [threading.Thread(target=pour, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        wait_until(statuses, lambda found: found == [200] * 5)
        receipts = [erase_to_the_end(workers, f"/p{n}-") for n in range(4)]
    finally:
        stop.set()
        for thread in threads:
            thread.join()

    assert [receipt.status_code for receipt in receipts] == [200] * 4
    assert failed == []
    assert statuses() == [404] * 4 + [200]
    assert tables_with(workers.database, *(text for n in range(4) for text in (f",p{n}-,", f'"p{n}-"'))) == []
    assert "p0-" not in workers.logs()
    check_store(workers.database)


# The command line.


def test_the_command_line_erases_lists_and_lifts(server: Server, tmp_path: Path):
    push(server, "h-6", "h-v6", display_name="Ana")

    exported = beside(server, "export-customer", "h-6")
    preview = beside(server, "erase", "h-6", "--dry-run")
    erased = beside(server, "erase", "h-6", "--json")
    again = beside(server, "erase", "h-6", "--json")
    listed = beside(server, "erasures", "--json")
    lifted = beside(server, "lift", "h-6")
    nobody = beside(server, "erase", "nobody-at-all")

    assert exported.json["customers"][0]["customer_id"] == "h-6"
    assert (preview.code, preview.out.startswith("Nothing is removed: a dry run.")) == (0, True)
    assert (erased.code, erased.json["removed"]["customers"], again.json) == (0, 1, erased.json)
    assert erased.json["customer_hash"] in [item["customer_hash"] for item in listed.json["items"]]
    assert (lifted.code, nobody.code) == (0, 1)
    push(server, "h-6", "h-v6", display_name="Ana")
    assert server.get("/api/v1/customers/h-6").json()["version"] == 3


def test_a_kept_list_is_reapplied_and_one_of_another_store_is_refused(server: Server, tmp_path: Path):
    push(server, "h-7", "h-v7", display_name="Planted Seven")
    beside(server, "erase", "h-7")
    kept = tmp_path / "erasures.json"
    kept.write_text(beside(server, "erasures", "--json").out)
    with psycopg.connect(server.database) as connection:
        connection.execute("DELETE FROM erasure")
    push(server, "h-7", "h-v7", display_name="Planted Seven")
    foreign, broken = tmp_path / "foreign.json", tmp_path / "broken.json"
    foreign.write_text(as_json({**json.loads(kept.read_text()), "key_proof": "other"}))
    broken.write_text("{}")

    refused = [beside(server, "reapply", str(path)) for path in (foreign, broken, tmp_path / "none.json")]
    ended = beside(server, "reapply", str(kept), "--json")
    assert ended.code == 0, ended.err
    done: Any = ended.json

    assert [ended.code for ended in refused] == [2, 2, 2]
    assert len(done["erased"]) == 1
    assert server.get("/api/v1/customers/h-7").status_code == 404
    assert tables_with(server.database, "Planted Seven") == []
    check_store(server.database)


def test_the_command_line_shreds(server: Server):
    ended = beside(server, "shred")

    assert (ended.code, ended.out) == (0, "")
    assert "Writing event anew." in ended.err
    push(server, "h-8", "h-v8", display_name="Ana")
    assert server.get("/api/v1/customers/h-8").status_code == 200
