"""``PATCH /api/v1/customers/{customer_id}``."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from identity.customer_writes import PATCH_BYTES_MAX
from tests.harness import ADMIN_KEY, WRITE_KEY, Server

CREATE = {"If-None-Match": "*"}


def patch(server: Server, customer_id: str, body: object, *, key: str = ADMIN_KEY, **headers: str) -> httpx.Response:
    """Change a customer."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    path = f"/api/v1/customers/{quote(customer_id, safe='')}"
    if isinstance(body, bytes):
        return server.client.patch(path, content=body, headers={"Authorization": f"Bearer {key}", **sent})
    return server.client.patch(path, json=body, headers={"Authorization": f"Bearer {key}", **sent})


def make(server: Server, customer_id: str, **fields: object) -> dict[str, Any]:
    """Make a customer and return the merge."""
    response = patch(server, customer_id, fields, **CREATE)
    assert response.status_code == 200, response.text
    merge: dict[str, Any] = response.json()
    return merge


def fields_of(server: Server, customer_id: str) -> dict[str, Any]:
    found: dict[str, Any] = server.get(f"/api/v1/customers/{quote(customer_id, safe='')}").json()["fields"]
    return found


def problem(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


def test_the_answer_is_the_merge_as_admins_see_it_and_the_next_lookup_has_it(server: Server):
    server.authenticate(
        {"visitor_id": "m-v", "customer_id": "m-1", "display_name": "Ana", "display_email": "a@a.example"}
    )

    response = patch(server, "m-1", {"display_name": "Ana Lin", "display_mobile": "0912345678", "display_email": None})

    merge = response.json()
    assert (response.status_code, response.headers["cache-control"]) == (200, "no-store")
    assert server.get(f"/api/v1/admin/merges/{merge['merge_id']}").json() == merge
    assert (merge["source"], merge["event"], merge["created_customer"], merge["visitor_id"], merge["channel_id"]) == (
        "crm", "customerPatched", False, None, None,
    )  # fmt: skip
    assert [(d["field"], d["verdict"], d["reason"], d["old"], d["new"], d["raw"]) for d in merge["decisions"]] == [
        ("display_email", "unset", None, "a@a.example", None, None),
        ("display_name", "overwrote", None, "Ana", "Ana Lin", None),
        ("display_mobile", "skipped_invalid", "no_country_code", None, None, "0912345678"),
    ]
    found = server.get("/api/v1/customers/m-1").json()
    assert (found["fields"], found["version"]) == ({"display_name": "Ana Lin"}, merge["version"])


def test_nobody_is_made_unless_that_is_asked_for(server: Server):
    plain = patch(server, "new-1", {"display_name": "Bo"})
    made = patch(server, "new-1", {"display_name": "Bo"}, **CREATE)
    again = patch(server, "new-1", {"display_name": "Cy"}, **CREATE)

    assert problem(plain) == (404, "customer_not_found")
    assert (made.status_code, made.json()["created_customer"], made.json()["version"]) == (200, True, 1)
    assert problem(again) == (412, "customer_exists")
    assert fields_of(server, "new-1") == {"display_name": "Bo"}


def test_what_is_held_already_writes_nothing(server: Server):
    make(server, "same-1", display_name="Bo")

    merge = patch(server, "same-1", {"display_name": "Bo", "gender": ""}).json()

    assert (merge["merge_id"], merge["version"]) == (None, 1)
    assert [d["verdict"] for d in merge["decisions"]] == ["unchanged", "ignored_empty"]
    assert len(server.get("/api/v1/admin/merges?customer_id=same-1").json()["items"]) == 1


def test_a_push_that_was_applied_before_a_change_is_looked_at_again(server: Server):
    push = {"visitor_id": "again-v", "customer_id": "again-1", "display_name": "Ana"}
    server.authenticate(push)
    server.authenticate(push)

    patch(server, "again-1", {"display_name": "Bo"})
    server.authenticate(push)

    assert fields_of(server, "again-1") == {"display_name": "Ana"}


def test_the_etag_of_a_lookup_is_a_condition_and_so_is_the_version_of_the_last_answer(server: Server):
    make(server, "etag-1", display_name="Bo")
    tag = server.get("/api/v1/customers/etag-1").headers["etag"]

    first = patch(server, "etag-1", {"display_name": "Cy"}, If_Match=tag)
    late = patch(server, "etag-1", {"display_name": "Di"}, If_Match=tag)
    chained = patch(server, "etag-1", {"display_name": "Ed"}, If_Match=f'"{first.json()["version"]}"')
    weak = patch(server, "etag-1", {"display_name": "Fu"}, If_Match=f'"x", W/"{chained.json()["version"]}-0a1b2c3d"')
    whatever = patch(server, "etag-1", {"display_name": "Gi"}, If_Match="*")

    answers = (first, late, chained, weak, whatever)
    assert [answer.status_code for answer in answers] == [200, 412, 200, 200, 200]
    assert late.json()["code"] == "version_changed"
    assert fields_of(server, "etag-1") == {"display_name": "Gi"}


def test_of_many_changes_of_one_version_at_once_exactly_one_is_made(server: Server):
    make(server, "race-1", display_name="Bo")

    for version in range(1, 6):
        with ThreadPoolExecutor(12) as pool:
            answers = list(
                pool.map(
                    lambda number, seen=version: patch(
                        server, "race-1", {"custom.n": number + 100 * seen}, If_Match=f'"{seen}"'
                    ),
                    range(12),
                )
            )

        assert sorted(answer.status_code for answer in answers) == [200] + [412] * 11
        (made,) = (answer.json() for answer in answers if answer.status_code == 200)
        assert made["version"] == version + 1
        assert fields_of(server, "race-1")["custom.n"] == made["decisions"][0]["new"]


def test_of_many_that_would_make_a_customer_at_once_exactly_one_does(server: Server):
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda n: patch(server, "race-2", {"custom.n": n}, **CREATE), range(12)))

    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 11


@pytest.mark.parametrize("customer_id", ["a/b", "a%2Fb", "ä-用户-🍪", "a b?c#d", "../admin"])
def test_an_id_with_every_kind_of_character_is_changed_by_path_and_by_query(server: Server, customer_id: str):
    make(server, customer_id, display_name="Bo")
    headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
    query = {"customer_id": customer_id}
    response = server.client.patch("/api/v1/customers", params=query, json={"gender": "other"}, headers=headers)

    assert response.status_code == 200
    assert fields_of(server, customer_id) == {"display_name": "Bo", "gender": "other"}


def test_a_placeholder_makes_nobody_and_admins_see_that(server: Server):
    refused = patch(server, "undefined", {"display_name": "Bo"}, **CREATE)
    absent = patch(server, "undefined", {"display_name": "Bo"})

    assert problem(refused) == (409, "write_refused")
    assert refused.json()["message"].startswith("blocked_customer_id: ")
    assert problem(absent) == (404, "customer_not_found")
    (listed,) = server.get("/api/v1/admin/refusals?reason=blocked_customer_id").json()["items"]
    assert listed["event"] == "customerPatched"


def test_a_key_that_may_only_read_changes_nothing(server: Server):
    make(server, "scope-1", display_name="Bo")
    key = server.post("/api/v1/admin/keys", {"name": "Reads", "scopes": ["profiles:read", "admin"]}).json()["secret"]
    writer = server.post("/api/v1/admin/keys", {"name": "Writes", "scopes": ["profiles:write"]}).json()["secret"]

    assert problem(patch(server, "scope-1", {"display_name": "Cy"}, key=key)) == (403, "missing_scope")
    assert problem(patch(server, "scope-1", {"display_name": "Cy"}, key=WRITE_KEY)) == (401, "unknown_key")
    assert patch(server, "scope-1", {"display_name": "Cy"}, key=writer).status_code == 200


def test_wrong_requests_are_problem_documents_and_change_nothing(server: Server):
    make(server, "wrong-1", display_name="Bo")

    assert problem(patch(server, "wrong-1", b"[]")) == (400, "not_a_json_object")
    assert problem(patch(server, "wrong-1", b"")) == (400, "not_a_json_object")
    assert problem(patch(server, "wrong-1", b'{"a":"%s"}' % (b"x" * PATCH_BYTES_MAX))) == (413, "body_too_large")
    assert problem(patch(server, "wrong-1", {"customer_id": "other"})) == (422, "other_customer_id")
    assert problem(patch(server, "wrong-1", {}, If_Match="7")) == (400, "invalid_condition")
    assert problem(patch(server, "wrong-1", {}, If_Match='"7')) == (400, "invalid_condition")
    assert problem(patch(server, "wrong-1", {}, If_None_Match='"7"')) == (400, "invalid_condition")
    assert problem(patch(server, "%00", {})) == (404, "customer_not_found")
    path = "/api/v1/customers/wrong-1/footprint"
    deeper = server.client.patch(path, json={}, headers={"Authorization": f"Bearer {ADMIN_KEY}"})
    assert problem(deeper) == (405, "method_not_allowed")
    assert "PATCH" not in deeper.headers["allow"]
    assert server.get("/api/v1/customers/wrong-1").json()["version"] == 1
