"""Lookups over a real server: by customer id, e-mail, phone and visitor; ETag and provenance."""

import re
from typing import Any

import pytest

from tests.harness import ADMIN_KEY, CHANNEL_ID, WRITE_KEY, Server


@pytest.fixture(scope="module", autouse=True)
def people(server: Server) -> None:
    server.authenticate(
        {"visitor_id": "laptop", "customer_id": "1", "display_name": "Ana", "email": "Ana@Shop.example"}
    )
    server.authenticate({"visitor_id": "phone", "customer_id": "1", "phone": "+886 912-345-678"})
    server.authenticate({"visitor_id": "tablet", "customer_id": "a/b ü", "email": "ana@shop.example"})


def ids(result: Any) -> list[str]:
    return [customer["customer_id"] for customer in result["customers"]]


def test_a_customer_has_fields_and_every_visitor(server: Server):
    found = server.get("/api/v1/customers/1").json()

    assert found["fields"] == {
        "display_email": "Ana@shop.example",
        "display_mobile": "+886912345678",
        "display_name": "Ana",
    }
    assert {visitor["visitor_id"]: visitor["current"] for visitor in found["visitors"]} == {
        "laptop": True,
        "phone": True,
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found["created_at"])


def test_the_second_answer_comes_from_the_cache_and_is_the_same(server: Server):
    first, second = server.get("/api/v1/customers/1"), server.get("/api/v1/customers/1")

    assert (first.content, first.headers["etag"]) == (second.content, second.headers["etag"])


def test_whoever_has_the_answer_gets_304_until_it_changes(server: Server):
    server.authenticate({"customer_id": "etag", "name": "Ana"})
    first = server.get("/api/v1/customers/etag")

    known = server.get("/api/v1/customers/etag", headers={"If-None-Match": f'"other", W/{first.headers["etag"]}'})
    server.authenticate({"customer_id": "etag", "name": "Bo"})
    changed = server.get("/api/v1/customers/etag", headers={"If-None-Match": first.headers["etag"]})

    assert (known.status_code, known.content) == (304, b"")
    assert (changed.status_code, changed.json()["fields"]) == (200, {"display_name": "Bo"})


@pytest.mark.parametrize("path", ["/api/v1/customers/a%2Fb%20%C3%BC", "/api/v1/customers?customer_id=a/b%20%C3%BC"])
def test_an_id_that_does_not_fit_a_path_is_found_both_ways(server: Server, path: str):
    assert server.get(path).json()["customer_id"] == "a/b ü"


@pytest.mark.parametrize("path", ["/api/v1/customers/nobody", "/api/v1/customers/%00", "/api/v1/customers/%ff"])
def test_whom_nobody_holds_is_404(server: Server, path: str):
    response = server.get(path)

    assert (response.status_code, response.json()["code"]) == (404, "customer_not_found")


def test_provenance_tells_which_merge_set_each_field(server: Server):
    merge = server.get("/api/v1/admin/merges?customer_id=1&visitor_id=phone").json()["items"][0]

    found = server.get("/api/v1/customers/1?include=provenance").json()["provenance"]

    assert found["display_mobile"] == {
        "set_at": merge["occurred_at"],
        "merge_id": merge["merge_id"],
        "event": "clIdentity",
        "channel": CHANNEL_ID,
    }
    assert found.keys() == {"display_email", "display_mobile", "display_name"}


def test_an_unknown_include_is_refused(server: Server):
    assert server.get("/api/v1/customers/1?include=everything").status_code == 400


def test_lookups_by_customer_id_answer_each_input_in_order(server: Server):
    results = server.post("/api/v1/customers/lookup", {"customer_ids": ["nobody", 1, "1", "\x00"]}).json()["results"]

    assert [(result["input"], ids(result)) for result in results] == [
        ("nobody", []),
        (1, ["1"]),
        ("1", ["1"]),
        ("\x00", []),
    ]


def test_lookups_by_email_fold_case_and_find_everyone(server: Server):
    body = {"emails": ["ANA@SHOP.EXAMPLE", "no address"]}

    results = server.post("/api/v1/customers/lookup", body).json()["results"]

    assert [ids(result) for result in results] == [["1", "a/b ü"], []]


def test_lookups_by_phone_take_any_way_of_writing_it(server: Server):
    results = server.post("/api/v1/customers/lookup", {"phones": ["+886 (912) 345 678", "0912345678"]}).json()[
        "results"
    ]

    assert [ids(result) for result in results] == [["1"], []]


def test_lookups_by_visitor_give_whose_it_is_now(server: Server):
    server.authenticate({"visitor_id": "shared", "customer_id": "1"})
    server.authenticate({"visitor_id": "shared", "customer_id": "2"})

    results = server.post("/api/v1/customers/lookup", {"visitor_ids": ["shared", "laptop", "never"]}).json()["results"]

    assert [ids(result) for result in results] == [["2"], ["1"], []]


@pytest.mark.parametrize(
    "body",
    [{}, [], {"emails": "x"}, {"emails": [], "phones": []}, {"emails": [1.5]}, {"emails": [None]}, {"nobody": []}],
)
def test_a_lookup_of_another_form_is_a_problem(server: Server, body: object):
    response = server.post("/api/v1/customers/lookup", body)

    assert (response.status_code, response.json()["code"]) == (400, "invalid_lookup")


def test_a_lookup_has_a_bound(server: Server):
    response = server.post("/api/v1/customers/lookup", {"customer_ids": ["x"] * 1001})

    assert (response.status_code, response.json()["code"]) == (413, "too_many_inputs")


@pytest.mark.parametrize(
    ("header", "code"),
    [(None, "missing_key"), ("Bearer sk_wrong", "unknown_key"), (f"Basic {ADMIN_KEY}", "unknown_key")],
)
def test_without_a_key_in_force_nothing_is_told(server: Server, header: str | None, code: str):
    response = server.client.get("/api/v1/customers/1", headers={"Authorization": header} if header else {})

    assert (response.status_code, response.json()["code"]) == (401, code)


def test_a_write_key_never_reads(server: Server):
    for headers in ({"X-Write-Key": WRITE_KEY}, {"Authorization": f"Bearer {WRITE_KEY}"}):
        assert server.client.get("/api/v1/customers/1", headers=headers).status_code == 401


def test_a_key_without_the_scope_is_refused_also_when_the_cache_has_the_answer(server: Server):
    created = server.post("/api/v1/admin/keys", {"name": "writer", "scopes": ["profiles:write"]}).json()
    server.get("/api/v1/customers/1")

    response = server.client.get("/api/v1/customers/1", headers={"Authorization": f"Bearer {created['secret']}"})

    assert (response.status_code, response.json()["code"]) == (403, "missing_scope")
