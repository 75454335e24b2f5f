"""The endpoints of the Segment specification over a real server."""

import gzip
import json
import zlib
from base64 import b64encode
from itertools import count
from typing import Any

import httpx
import psycopg
import pytest

from identity.protocols.segment import BATCH_BYTES_MAX, MESSAGE_BYTES_MAX, MESSAGES_MAX
from identity.protocols.segment_routes import BATCH_PATHS, MESSAGE_PATHS, METRICS_PATH
from tests.harness import WRITE_KEY, Server

SUCCESS = b'{"success":true}'
BASIC = {"Authorization": "Basic " + b64encode(f"{WRITE_KEY}:".encode()).decode()}
KEY = {"X-Write-Key": WRITE_KEY}
PAGE = {"Origin": "http://localhost:5173"}

_numbers = count(1)


@pytest.fixture
def one() -> str:
    """A name that no other test uses."""
    return f"segment-{next(_numbers)}"


def post(server: Server, path: str, body: object, headers: dict[str, str] = BASIC) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return server.client.post(path, content=content, headers=headers)


def is_taken(response: httpx.Response) -> bool:
    return (response.status_code, response.content) == (200, SUCCESS)


def batch(server: Server, *messages: object, **envelope: object) -> httpx.Response:
    return post(server, "/v1/batch", {"batch": messages, **envelope})


def clicked(visitor_id: str, **members: object) -> dict[str, object]:
    return {"type": "track", "event": "Clicked", "anonymousId": visitor_id, **members}


def fields(server: Server, customer_id: str) -> Any:
    return server.get(f"/api/v1/customers/{customer_id}").json().get("fields")


def stored(server: Server, subject: str) -> list[tuple[str, str | None, Any]]:
    """Return type, label and properties of what a visitor or a customer did, oldest first."""
    with psycopg.connect(server.database) as connection:
        rows = connection.execute(
            "SELECT type, label, props FROM event WHERE subject = %s ORDER BY occurred_at, record_id", [subject]
        )
        return rows.fetchall()


def refusals(server: Server, subject: str) -> list[tuple[str, str, Any]]:
    """Return event, reason and faults of what was refused, oldest first."""
    items = server.get("/api/v1/admin/refusals", params={"limit": 200}).json()["items"]
    return [(i["event"], i["reason"], i["faults"]) for i in reversed(items) if i["visitor_id"] == subject]


def code(response: httpx.Response) -> tuple[int, str]:
    """Return the status and the code of an error, which must have what every SDK reads."""
    problem = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    assert problem["status"] == response.status_code
    assert problem["title"]
    assert problem["message"]
    return response.status_code, problem["code"]


# What is taken.


@pytest.mark.parametrize(("path", "kind"), MESSAGE_PATHS.items())
def test_every_address_takes_messages_of_its_type(server: Server, one: str, path: str, kind: str):
    message = {
        "anonymousId": one,
        "userId": f"{one}-user",
        "event": "Clicked",
        "name": "Landing",
        "groupId": "g-1",
        "previousId": one,
    }

    assert is_taken(post(server, path, message))
    if kind in ("identify", "alias"):
        assert server.get(f"/api/v1/visitors/{one}").json()["customer_id"] == f"{one}-user"
    else:
        labels = {"track": "Clicked", "page": "Landing", "screen": "Landing", "group": "g-1"}
        assert [(name, label) for name, label, _ in stored(server, one)] == [(kind, labels[kind])]


@pytest.mark.parametrize("path", BATCH_PATHS)
def test_every_address_of_batches_takes_messages_of_all_types(server: Server, one: str, path: str):
    messages = [
        {"type": "page", "anonymousId": one, "name": "Landing"},
        clicked(one, properties={"n": 1}),
        {"type": "identify", "anonymousId": one, "userId": one, "traits": {"name": "Ana"}},
    ]

    assert is_taken(post(server, path, {"batch": messages}))
    assert stored(server, one) == [("page", "Landing", {}), ("track", "Clicked", {"n": 1})]
    assert fields(server, one) == {"display_name": "Ana"}


def test_an_empty_batch_is_taken(server: Server):
    assert is_taken(batch(server))


def test_what_the_browsers_sdk_tells_of_itself_is_taken_and_dropped(server: Server):
    sent = post(
        server, METRICS_PATH, {"series": [{"type": "Counter", "metric": "analytics_js.invoke", "value": 1}]}, {}
    )

    assert is_taken(sent)


def test_traits_of_rudderstack_before_and_with_the_sign_in(server: Server, one: str):
    anonymous = {"type": "identify", "anonymousId": one, "userId": "", "context": {"traits": {"plan": "free"}}}
    signed_in = {"type": "identify", "anonymousId": one, "userId": one, "context": {"traits": {"name": "Ana"}}}

    assert is_taken(batch(server, anonymous))
    assert server.get(f"/api/v1/customers/{one}").status_code == 404
    assert is_taken(batch(server, signed_in))

    assert fields(server, one) == {"custom.plan": "free", "display_name": "Ana"}


def test_the_same_visitor_with_another_user_is_a_switch_and_no_merge(server: Server, one: str):
    for name in ("a", "b"):
        batch(server, {"type": "identify", "anonymousId": one, "userId": f"{one}-{name}", "traits": {"name": name}})

    held = [fields(server, f"{one}-{name}") for name in ("a", "b")]

    assert held == [{"display_name": "a"}, {"display_name": "b"}]
    assert server.get(f"/api/v1/visitors/{one}").json()["customer_id"] == f"{one}-b"


def test_only_identify_and_alias_say_who_a_visitor_is(server: Server, one: str):
    for kind in ("track", "page", "screen", "group"):
        post(server, f"/v1/{kind}", {"anonymousId": one, "userId": f"{one}-user", "event": "E", "groupId": "g"})

    assert server.get(f"/api/v1/customers/{one}-user").status_code == 404
    assert len(stored(server, one)) == 4


def test_an_alias_of_a_customer_is_refused_and_listed(server: Server, one: str):
    batch(server, {"type": "identify", "userId": f"{one}-a"}, {"type": "identify", "userId": f"{one}-b"})

    taken = batch(server, {"type": "alias", "previousId": f"{one}-a", "userId": f"{one}-b"})

    assert is_taken(taken)
    assert refusals(server, f"{one}-a") == [("alias", "alias_of_customer", [])]


def test_a_retry_changes_nothing(server: Server, one: str):
    messages = (
        clicked(one, messageId=f"{one}-1"),
        {"type": "identify", "userId": one, "traits": {"name": "Ana"}, "messageId": f"{one}-2"},
    )
    batch(server, *messages)
    batch(server, {"type": "identify", "userId": one, "traits": {"name": "Bo"}, "messageId": f"{one}-3"})

    again = batch(server, *messages)

    assert is_taken(again)
    assert len(stored(server, one)) == 1
    assert fields(server, one) == {"display_name": "Bo"}


# A wrong message never costs its batch.


def test_wrong_messages_are_listed_and_their_neighbours_are_kept(server: Server, one: str):
    large = clicked(one, event="Large", properties={"x": "y" * MESSAGE_BYTES_MAX})
    wrong = [
        {"type": "track", "anonymousId": one},
        {"type": "identify", "anonymousId": one, "userId": "undefined"},
        {"type": "purchase", "anonymousId": one},
        large,
        "no message",
        None,
    ]

    sent = batch(server, *(message for item in wrong for message in (item, clicked(one))))

    assert is_taken(sent)
    assert len(stored(server, one)) == len(wrong)
    found = [(event, reason, [fault["code"] for fault in faults]) for event, reason, faults in refusals(server, one)]
    assert sorted(found) == [
        ("identify", "blocked_customer_id", []),
        ("purchase", "unknown_event", []),
        ("track", "invalid_event", ["missing"]),
        ("track", "invalid_event", ["too_large"]),
    ]


def test_nan_and_half_a_surrogate_pair_cost_their_own_value_only(server: Server, one: str):
    body = (
        b'{"batch":[{"type":"identify","userId":"%(one)b","traits":{"a":NaN,"b":1,"name":"A\\ud83d"}},'
        b'{"type":"track","event":"Clicked","anonymousId":"%(one)b","properties":{"x":Infinity,"y":-1e400,"z":1}}]}'
    ) % {b"one": one.encode()}

    assert is_taken(post(server, "/v1/batch", body))
    assert fields(server, one) == {"custom.b": 1}
    assert stored(server, one) == [("track", "Clicked", {"z": 1})]


# Bodies.


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [
        ("gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("", gzip.compress),
        ("deflate", zlib.compress),
        ("gzip", bytes),
        ("br", bytes),
    ],
    ids=["gzip", "in capitals", "undeclared gzip", "deflate", "inflated on the way", "not compressed at all"],
)
def test_a_compressed_body_is_inflated_whatever_the_headers_say(server: Server, one: str, encoding: str, compress: Any):
    body = compress(json.dumps({"batch": [clicked(one)]}).encode())
    headers = {**BASIC, **({"Content-Encoding": encoding} if encoding else {})}

    assert is_taken(post(server, "/v1/batch", body, headers))
    assert len(stored(server, one)) == 1


def test_a_bomb_is_too_large_and_a_damaged_body_is_a_bad_request(server: Server):
    bomb = gzip.compress(b'{"batch":[' + b" " * (BATCH_BYTES_MAX + 1) + b"]}")
    good = gzip.compress(b'{"batch":[]}')
    gzipped = {**BASIC, "Content-Encoding": "gzip"}

    answers = [
        post(server, "/v1/batch", body, gzipped) for body in (bomb, good[:-3], good + b"x", good[:12] + b"\xff" * 9)
    ]
    deflated = post(server, "/v1/batch", b"{}", {**BASIC, "Content-Encoding": "deflate"})

    assert [code(answer) for answer in answers] == [
        (413, "body_too_large"),
        (400, "invalid_encoding"),
        (400, "invalid_encoding"),
        (400, "invalid_encoding"),
    ]
    assert code(deflated) == (400, "invalid_encoding")


@pytest.mark.parametrize("content_type", ["text/plain", "application/json;charset=UTF-8", "", "x"])
def test_the_content_type_is_ignored(server: Server, one: str, content_type: str):
    assert is_taken(post(server, "/v1/t", clicked(one), {**BASIC, "Content-Type": content_type}))


@pytest.mark.parametrize(
    ("path", "body", "answer"),
    [
        ("/v1/batch", b"", (400, "not_a_json_object")),
        ("/v1/batch", b"[]", (400, "not_a_json_object")),
        ("/v1/track", b'{"event":', (400, "not_a_json_object")),
        ("/v1/batch", b"{}", (400, "invalid_batch")),
        ("/v1/batch", b'{"batch":{}}', (400, "invalid_batch")),
        ("/v1/batch", b'{"batch":[' + b"1," * MESSAGES_MAX + b"1]}", (413, "too_many_messages")),
        ("/v1/batch", b" " * (BATCH_BYTES_MAX + 1), (413, "body_too_large")),
    ],
)
def test_a_body_that_breaks_the_protocol_is_an_error(server: Server, path: str, body: bytes, answer: tuple[int, str]):
    assert code(post(server, path, body)) == answer


def test_a_batch_is_taken_up_to_its_limits(server: Server, one: str):
    many = b'{"batch":[' + b",".join([json.dumps(clicked(one)).encode()] * MESSAGES_MAX) + b"]}"

    assert is_taken(post(server, "/v1/batch", many))
    assert len(stored(server, one)) == MESSAGES_MAX
    assert is_taken(post(server, "/v1/batch", many[:-1] + b" " * (BATCH_BYTES_MAX - len(many)) + b"}"))


def test_other_methods_are_refused(server: Server):
    answers = [server.client.get(path) for path in ("/v1/track", "/v1/batch", "/v1/m")]
    posted = server.client.post(f"/v1/projects/{WRITE_KEY}/settings")

    assert [code(answer) for answer in (*answers, posted)] == [(405, "method_not_allowed")] * 4


# Who sends.


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        (BASIC, None),
        (KEY, None),
        ({}, WRITE_KEY),
        ({"Authorization": "Basic !!!"}, WRITE_KEY),
        ({"Authorization": "Bearer x"}, WRITE_KEY),
        (BASIC, "wk_other"),
    ],
)
def test_the_write_key_comes_in_three_ways(server: Server, one: str, headers: dict[str, str], key: str | None):
    told = {} if key is None else {"writeKey": key}

    assert is_taken(post(server, "/v1/batch", {"batch": [], **told}, headers))
    assert is_taken(post(server, "/v1/track", {**clicked(one), **told}, headers))


@pytest.mark.parametrize(
    ("headers", "body", "answer"),
    [
        ({}, {}, "missing_key"),
        ({}, {"writeKey": 1}, "missing_key"),
        ({"Authorization": "Basic Og=="}, {}, "missing_key"),
        ({}, {"writeKey": "wk_other"}, "unknown_key"),
        ({"Authorization": "Basic " + b64encode(b"wk_other:").decode()}, {"writeKey": WRITE_KEY}, "unknown_key"),
    ],
)
def test_without_a_key_in_force_nothing_is_taken(
    server: Server, headers: dict[str, str], body: dict[str, object], answer: str
):
    assert code(post(server, "/v1/batch", {"batch": [], **body}, headers)) == (401, answer)


def test_a_page_gets_leave_for_the_headers_that_the_sdks_send(server: Server):
    asked = "anonymousid,authorization,content-type,sentat,x-retry-count,rsa-recovered"
    preflight = server.client.options("/v1/track", headers={**PAGE, "Access-Control-Request-Headers": asked})

    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == PAGE["Origin"]
    assert set(asked.split(",")) <= set(preflight.headers["access-control-allow-headers"].split(", "))


def test_a_page_may_read_every_answer_errors_too(server: Server):
    answers = [
        post(server, "/v1/track", clicked("cors"), {**BASIC, **PAGE}),
        post(server, "/v1/track", b"{", {**BASIC, **PAGE}),
        post(server, "/v1/track", {}, PAGE),
        server.client.get(f"/v1/projects/{WRITE_KEY}/settings", headers=PAGE),
        server.client.get("/v1/projects/wk_other/settings", headers=PAGE),
    ]

    assert [answer.status_code for answer in answers] == [200, 400, 401, 200, 401]
    assert [answer.headers.get("access-control-allow-origin") for answer in answers] == [PAGE["Origin"]] * 5


def test_a_page_of_an_origin_that_the_channel_does_not_list_is_refused(server: Server):
    assert code(post(server, "/v1/track", clicked("x"), {**BASIC, "Origin": "https://evil.example"})) == (
        403,
        "origin_not_allowed",
    )


def test_the_header_of_the_time_of_sending_corrects_the_clients_clock(server: Server, one: str):
    headers = {**BASIC, "SentAt": "2001-01-01T01:00:00.000Z", "AnonymousId": b64encode(one.encode()).decode()}

    post(server, "/v1/track", clicked(one, originalTimestamp="2001-01-01T00:00:00.000Z"), headers)

    with psycopg.connect(server.database) as connection:
        row = connection.execute(
            "SELECT extract(epoch FROM received_at - occurred_at)::float FROM event WHERE subject = %s", [one]
        ).fetchone()
    assert row is not None
    assert abs(row[0] - 3600) <= 30  # a clock's error is told to the minute


# What the browser's SDK asks before it starts.


def settings_of(server: Server, **headers: str) -> Any:
    response = server.client.get(f"/v1/projects/{WRITE_KEY}/settings", headers=headers)
    assert response.status_code == 200
    return response.json()


def test_the_settings_tell_the_browsers_sdk_to_send_here(server: Server):
    assert settings_of(server) == {
        "integrations": {
            "Segment.io": {"apiKey": WRITE_KEY, "apiHost": f"127.0.0.1:{server.port}/v1", "protocol": "http"}
        },
        "plan": {},
        "metrics": {"sampleRate": 0},
    }


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({"Host": "id.shop.example", "X-Forwarded-Proto": "https"}, ("id.shop.example/v1", "https")),
        ({"Host": "id.shop.example", "X-Forwarded-Proto": "gopher"}, ("id.shop.example/v1", "http")),
        ({"Host": "[::1]:8000"}, ("[::1]:8000/v1", "http")),
        ({"Host": "localhost:x"}, (None, None)),
    ],
)
def test_the_settings_name_the_host_that_was_asked(
    server: Server, headers: dict[str, str], told: tuple[str | None, str | None]
):
    found = settings_of(server, **headers)["integrations"]["Segment.io"]

    assert (found.get("apiHost"), found.get("protocol")) == told


def test_a_page_loaded_by_https_is_told_to_send_by_https(server: Server):
    made = server.post("/api/v1/admin/channels", {"name": "Secure", "origins": ["https://shop.example"]})
    path = f"/v1/projects/{made.json()['write_key']}/settings"
    origin = {"Origin": "https://shop.example"}

    answers = [
        server.client.get(path, headers={**origin, "Host": host}) for host in ("id.shop.example", "localhost:80")
    ]

    assert [answer.json()["integrations"]["Segment.io"]["protocol"] for answer in answers] == ["https", "http"]


def test_nothing_else_lies_below_the_projects(server: Server):
    paths = ("", "/", "/x", "/x/settings/y", f"/{WRITE_KEY}/other", f"x/{WRITE_KEY}/settings", "//settings")

    answers = [server.client.get(f"/v1/projects{path}") for path in paths]

    assert [code(answer) for answer in answers] == [(404, "not_found")] * len(paths)
