"""``POST /api/v1/authenticate`` over a real server."""

from tests.harness import Server

OK = b'{"status":"ok"}'


def test_a_new_customer_is_created_with_its_fields_and_its_visitor(server: Server):
    response = server.authenticate({"visitor_id": "v1", "customer_id": "new-1", "display_name": "Ana"})

    assert (response.status_code, response.content) == (200, OK)
    found = server.get("/api/v1/customers/new-1").json()
    assert found["fields"] == {"display_name": "Ana"}
    assert [(v["visitor_id"], v["current"]) for v in found["visitors"]] == [("v1", True)]


def test_a_bad_field_is_skipped_and_the_record_lives(server: Server):
    entry = {"event": "clIdentity", "params": {"customerId": "skip-1", "name": "Ana", "phone": "0912345678"}}

    response = server.authenticate({"visitor_id": "v2", **entry})

    assert (response.status_code, response.content) == (200, OK)
    assert server.get("/api/v1/customers/skip-1").json()["fields"] == {"display_name": "Ana"}


def test_refused_accepted_and_unchanged_answer_the_same_bytes(server: Server):
    body = {"visitor_id": "v3", "customer_id": "same-1", "display_name": "Ana"}

    answers = [server.authenticate(body), server.authenticate(body), server.authenticate({"visitor_id": "v3"})]

    assert [(a.status_code, a.content) for a in answers] == [(200, OK)] * 3
