"""Croct's SDK at the wire: what it asks for, what it is told, and what became of its beacons."""

import itertools
import json
import re
import time
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from identity.protocols.croct import BEACON_BYTES_MAX
from tests.harness import ADMIN_KEY, CHANNEL_ID, Server
from tests.http.test_cli import beside

TRACK = "/client/web/track"
CHANNELS = "/api/v1/admin/channels"
OK = b'{"status":"ok"}'
API_KEY = "9f2b54c3-7bfb-47f2-9d1a-3a4d5e6f7a8b"
KID = sha256(bytes.fromhex(API_KEY.replace("-", ""))).hexdigest()
PAGE = "http://localhost:3000"

_moments = itertools.count(int(time.time() * 1000) - 60_000)


def pem_of(private: ec.EllipticCurvePrivateKey) -> str:
    return private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def beacon(payload: object) -> dict[str, object]:
    moment = next(_moments)
    return {
        "context": {"tabId": "01a1fefd-85e7-44f3-9014-6f98ad16a787", "url": "https://shop.example/", "timeZone": "UTC"},
        "payload": payload,
        "originalTime": moment,
        "departureTime": moment + 200,
    }


def track(server: Server, client_id: str, body: object, *, app_id: str = CHANNEL_ID, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    told = {"X-App-Id": app_id, "X-Client-Id": client_id, "X-Client-Library": "Croct SDK JS v0.22.1", **headers}
    return server.client.post(TRACK, content=content, headers={"Content-Type": "application/json", **told})


def send(server: Server, client_id: str, payload: object, *, app_id: str = CHANNEL_ID, **headers: str) -> None:
    response = track(server, client_id, beacon(payload), app_id=app_id, **headers)
    assert (response.status_code, response.content) == (200, OK), response.text


def problem(response: httpx.Response) -> tuple[int, str]:
    document = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    # What the SDK reads; without a numeric status it takes even a 503 for final.
    assert (document["status"], bool(document["type"]), bool(document["title"])) == (response.status_code, True, True)
    return document["status"], document["code"]


def customer(server: Server, customer_id: str) -> Any:
    return server.get(f"/api/v1/customers/{customer_id}").json().get("fields")


def owner(server: Server, client_id: str) -> Any:
    return server.get(f"/api/v1/visitors/{client_id}").json().get("customer_id")


def refused(server: Server, channel_id: str) -> Mapping[str, int]:
    counts: Mapping[str, int] = server.get("/api/v1/admin/refusals", params={"channel_id": channel_id}).json()["counts"]
    return counts


def change(server: Server, channel_id: str, **changes: object) -> httpx.Response:
    headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
    return server.client.patch(f"{CHANNELS}/{channel_id}", json=changes, headers=headers)


def channel(server: Server, **changes: object) -> str:
    made = server.post(CHANNELS, {"name": "Croct", "origins": ["loopback"]}).json()
    assert change(server, made["channel_id"], **changes).status_code == 200
    return str(made["channel_id"])


def token(sub: str | None, private: ec.EllipticCurvePrivateKey, app_id: str, **changes: Any) -> str:
    claims = {"iss": "croct.io", "aud": "croct.io", "iat": int(time.time()), **({"sub": sub} if sub else {}), **changes}
    return jwt.encode(claims, private, "ES256", headers={"kid": KID, "appId": app_id})


def unsigned(sub: str, app_id: str = CHANNEL_ID) -> str:
    claims = {"iss": "croct.io", "aud": "croct.io", "iat": int(time.time()), "sub": sub}
    return jwt.encode(claims, "", "none", headers={"appId": app_id})


def new_client() -> str:
    return uuid4().hex


# The client id


def test_a_new_client_gets_an_id_as_bare_text(server: Server):
    answers = [server.client.get("/client/web/cid", headers={"X-Client-Library": "Croct"}) for _ in range(2)]

    assert all(re.fullmatch("[0-9a-f]{32}", answer.text) for answer in answers)
    assert answers[0].text != answers[1].text
    assert answers[0].headers["content-type"].startswith("text/plain")
    assert answers[0].headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "held",
    [new_client(), new_client().upper(), str(uuid4()), str(uuid4()).upper(), f'"{uuid4()}"', "shop-1"],
    ids=["hex", "HEX", "dashed", "DASHED", "quoted", "own"],
)
def test_a_client_id_that_is_mirrored_comes_back_as_it_was(server: Server, held: str):
    assert server.client.get("/client/web/cid", params={"cid": held}).text == held


@pytest.mark.parametrize("held", ["", "undefined", "<b>", "x" * 129, "é", "\x00"])
def test_what_cannot_be_a_client_id_is_replaced(server: Server, held: str):
    answer = server.client.get("/client/web/cid", params={"cid": held})

    assert (answer.status_code, bool(re.fullmatch("[0-9a-f]{32}", answer.text))) == (200, True)


# What browsers ask before they let the page send


@pytest.mark.parametrize(
    ("path", "method", "headers", "credentials"),
    [
        ("cid", "GET", "x-client-library", "true"),
        ("track", "POST", "content-type,x-app-id,x-client-id,x-client-library,x-token", None),
        ("evaluate", "POST", "content-type,x-app-id,x-client-id,x-client-library,x-token", None),
        ("content", "POST", "content-type,x-app-id,x-client-id,x-client-library", None),
    ],
)
def test_a_preflight_is_answered_with_the_exact_origin_and_every_header_by_name(
    server: Server, path: str, method: str, headers: str, credentials: str | None
):
    asked = {"Origin": PAGE, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers}

    answer = server.client.options(f"/client/web/{path}", headers=asked)

    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers.get("access-control-allow-credentials") == credentials
    assert method in answer.headers["access-control-allow-methods"]
    allowed = set(answer.headers["access-control-allow-headers"].split(", "))
    assert set(headers.split(",")) <= allowed
    assert "*" not in allowed


def test_the_answers_themselves_may_be_read_by_the_page_errors_too(server: Server):
    cid = server.client.get("/client/web/cid", headers={"Origin": PAGE})
    declined = server.client.post("/client/web/evaluate", json={"query": "1"}, headers={"Origin": PAGE})
    wrong = track(server, new_client(), {}, app_id=API_KEY, Origin=PAGE)

    assert [a.headers["access-control-allow-origin"] for a in (cid, declined, wrong)] == [PAGE] * 3
    assert cid.headers["access-control-allow-credentials"] == "true"
    assert (
        server.client.get("/client/web/cid", headers={"Origin": "https://evil.example"}).headers.get(
            "access-control-allow-origin"
        )
        is None
    )


# Beacons


def test_a_life_from_sign_up_over_a_switch_to_sign_out(server: Server):
    client = new_client()
    sign_up = {"operations": [{"type": "merge", "path": ".", "value": {"firstName": "Ana", "custom": {"points": 1}}}]}
    edit = {"operations": [{"type": "set", "path": "address.city", "value": "Taipei"}]}

    send(server, client, {"type": "userSignedUp", "externalUserId": "croct-1", "patch": sign_up})
    after_sign_up = owner(server, client)
    send(server, client, {"type": "userSignedIn", "externalUserId": "croct-1"}, **{"X-Token": unsigned("croct-1")})
    after_sign_in = owner(server, client)
    send(server, client, {"type": "userProfileChanged", "patch": edit}, **{"X-Token": unsigned("croct-1")})
    send(server, client, {"type": "userSignedOut", "externalUserId": "croct-1"}, **{"X-Token": unsigned("croct-1")})
    between = owner(server, client)
    send(server, client, {"type": "userSignedIn", "externalUserId": "croct-2"}, **{"X-Token": unsigned("croct-2")})

    assert (after_sign_up, after_sign_in, between) == (None, "croct-1", None)
    assert owner(server, client) == "croct-2"
    assert customer(server, "croct-1") == {
        "first_name": "Ana",
        "custom.points": 1,
        "postal_address.city": "Taipei",
    }
    assert customer(server, "croct-2") == {}


def test_both_forms_of_a_client_id_are_one_visitor(server: Server):
    dashed = str(uuid4())

    send(server, dashed.upper(), {"type": "userSignedIn", "externalUserId": "dashed"})

    assert owner(server, dashed.replace("-", "")) == "dashed"


def test_a_beacon_that_is_sent_again_changes_nothing(server: Server):
    client = new_client()
    body = beacon({"type": "userSignedIn", "externalUserId": "again-1"})
    track(server, client, body)
    send(server, client, {"type": "userSignedIn", "externalUserId": "again-2"})

    again = track(server, client, {**body, "departureTime": next(_moments)}, **{"X-Token": unsigned("again-1")})

    assert again.content == OK
    assert owner(server, client) == "again-2"
    assert len(server.get(f"/api/v1/visitors/{client}").json()["identifications"]) == 2


def test_a_patch_before_sign_in_is_the_anonymous_visitors(server: Server):
    channel_id, client = channel(server), new_client()
    patch = {"operations": [{"type": "set", "path": "firstName", "value": "Bo"}]}

    send(server, client, {"type": "userProfileChanged", "patch": patch}, app_id=channel_id)
    send(server, client, {"type": "userSignedIn", "externalUserId": "patched"}, app_id=channel_id)

    assert customer(server, "patched") == {"first_name": "Bo"}


def test_after_a_sign_out_a_patch_with_a_stale_token_is_nobodys(server: Server):
    channel_id, client = channel(server), new_client()
    patch = {"operations": [{"type": "set", "path": "firstName", "value": "Bo"}]}

    send(server, client, {"type": "userSignedIn", "externalUserId": "stale"}, app_id=channel_id)
    send(server, client, {"type": "userSignedOut", "externalUserId": "stale"}, app_id=channel_id)
    send(
        server, client, {"type": "userProfileChanged", "patch": patch}, app_id=channel_id,
        **{"X-Token": unsigned("stale")},
    )  # fmt: skip

    assert customer(server, "stale") == {}
    assert refused(server, channel_id) == {"not_current_customer": 1}


def test_a_browser_that_arrives_signed_in_is_known_by_its_token(server: Server):
    client = new_client()
    patch = {"operations": [{"type": "set", "path": "firstName", "value": "Bo"}]}

    send(server, client, {"type": "pageOpened", "url": "https://shop.example/"}, **{"X-Token": unsigned("arrived")})
    send(server, client, {"type": "userProfileChanged", "patch": patch}, **{"X-Token": unsigned("arrived")})

    assert owner(server, client) == "arrived"
    assert customer(server, "arrived") == {"first_name": "Bo"}


def test_a_lead_leaves_its_contact_with_the_visitor(server: Server):
    client = new_client()
    patch = {"operations": [{"type": "merge", "path": ".", "value": {"email": "lead@shop.example"}}]}

    send(server, client, {"type": "leadGenerated", "leadId": "l-1", "patch": patch})
    send(server, client, {"type": "userSignedIn", "externalUserId": "led"})

    assert customer(server, "led") == {"display_email": "lead@shop.example"}


def test_what_is_refused_is_answered_like_the_rest_and_listed(server: Server):
    channel_id, client = channel(server), new_client()
    bodies = [
        beacon({"type": "teleported"}),
        beacon({"type": "userSignedIn", "externalUserId": "undefined"}),
        beacon({"type": "userSignedIn"}),
        beacon({"type": "goalCompleted", "goalId": ""}),
        beacon({"type": "userProfileChanged", "patch": {"operations": [{"type": "explode", "path": "x"}]}}),
        b"",
        b"not JSON",
        b"[]",
        b'{"payload":',
    ]

    answers = [track(server, client, body, app_id=channel_id) for body in bodies]

    assert [(answer.status_code, answer.content) for answer in answers] == [(200, OK)] * len(bodies)
    assert refused(server, channel_id) == {
        "unknown_event": 5,
        "blocked_customer_id": 1,
        "missing_customer_id": 1,
        "invalid_event": 1,
        "invalid_patch": 1,
    }


def test_a_channel_that_does_not_track_answers_like_the_rest(server: Server):
    channel_id = channel(server, website_tracking=False)

    send(server, new_client(), {"type": "userSignedIn", "externalUserId": "untracked"}, app_id=channel_id)

    assert customer(server, "untracked") is None
    assert refused(server, channel_id) == {"tracking_disabled": 1}


def test_only_a_wrong_app_and_a_wrong_origin_are_errors(server: Server):
    body, client = beacon({"type": "userSignedIn", "externalUserId": "wrong"}), new_client()
    elsewhere = {"Origin": "https://evil.example"}

    assert problem(track(server, client, body, app_id=API_KEY)) == (401, "unknown_app_id")
    assert problem(track(server, client, body, app_id="")) == (401, "unknown_app_id")
    assert problem(track(server, client, body, **elsewhere)) == (403, "origin_not_allowed")
    assert problem(server.client.get(TRACK)) == (405, "method_not_allowed")
    assert track(server, client, body, app_id=CHANNEL_ID.upper(), Origin=PAGE).content == OK


def test_a_beacon_is_taken_up_to_the_limit_and_not_beyond(server: Server):
    payload = {"type": "userSignedIn", "externalUserId": "large", "padding": ""}
    head = len(json.dumps(beacon(payload)))
    at_limit = beacon({**payload, "padding": "x" * (BEACON_BYTES_MAX - head)})

    assert track(server, new_client(), at_limit).content == OK
    assert problem(track(server, new_client(), json.dumps(at_limit).encode() + b" ")) == (413, "body_too_large")
    assert customer(server, "large") == {}


@pytest.mark.parametrize("path", ["evaluate", "content"])
def test_what_this_service_does_not_have_rejects_the_promise_and_no_more(server: Server, path: str):
    assert problem(server.client.post(f"/client/web/{path}", json={"query": "user"})) == (501, "not_provided")
    assert problem(server.client.get(f"/client/web/{path}")) == (405, "method_not_allowed")


# Signed identities


@pytest.fixture(scope="module")
def private() -> ec.EllipticCurvePrivateKey:
    """The key that the website signs with."""
    return ec.generate_private_key(ec.SECP256R1())


def signing(private: ec.EllipticCurvePrivateKey, policy: str) -> dict[str, object]:
    return {"signed_identity": policy, "identity_keys": [{"kid": API_KEY, "public_key": pem_of(private)}]}


def test_where_signed_identities_are_required_an_unsigned_one_is_refused_and_a_signed_one_is_taken(
    server: Server, private: ec.EllipticCurvePrivateKey
):
    app, client = channel(server, **signing(private, "required")), new_client()

    send(server, client, {"type": "userSignedIn", "externalUserId": "sig-1"}, app_id=app)
    send(
        server,
        client,
        {"type": "userSignedIn", "externalUserId": "sig-1"},
        app_id=app,
        **{"X-Token": unsigned("sig-1")},
    )
    unproven = owner(server, client)
    signed = {"X-Token": token("sig-1", private, app)}
    send(server, client, {"type": "userSignedIn", "externalUserId": "sig-2"}, app_id=app, **signed)
    send(server, client, {"type": "userSignedIn", "externalUserId": "sig-1"}, app_id=app, **signed)

    assert (unproven, owner(server, client)) == (None, "sig-1")
    assert customer(server, "sig-2") is None
    assert refused(server, app) == {"unverified_identity": 3}


def test_where_they_are_required_a_forged_token_is_an_error(server: Server, private: ec.EllipticCurvePrivateKey):
    app = channel(server, **signing(private, "required"))
    other = ec.generate_private_key(ec.SECP256R1())
    payload = {"type": "userSignedIn", "externalUserId": "forged-sig"}
    forged = [token("forged-sig", other, app), token("forged-sig", private, CHANNEL_ID)]

    answers = [track(server, new_client(), beacon(payload), app_id=app, **{"X-Token": text}) for text in forged]

    assert [problem(answer) for answer in answers] == [(401, "invalid_token")] * len(forged)
    assert customer(server, "forged-sig") is None


def test_where_they_are_required_a_token_that_proves_nothing_ends_no_tab(
    server: Server, private: ec.EllipticCurvePrivateKey
):
    app = channel(server, **signing(private, "required"))
    payload = {"type": "userSignedIn", "externalUserId": "wrong-sig"}
    wrong = [
        token("wrong-sig", private, app, exp=int(time.time()) - 3600),
        token("wrong-sig", private, app).rpartition(".")[0] + ".",
        jwt.encode({"iss": "i", "aud": "a", "iat": 1, "sub": "wrong-sig"}, "x" * 32, "HS256", headers={"kid": KID}),
        "no token",
    ]

    answers = [track(server, new_client(), beacon(payload), app_id=app, **{"X-Token": text}) for text in wrong]

    assert [answer.status_code for answer in answers] == [200] * len(wrong)
    assert customer(server, "wrong-sig") is None
    assert refused(server, app) == {"unverified_identity": len(wrong)}


def test_a_channel_that_observes_refuses_nothing_and_counts_what_would_be(
    server: Server, private: ec.EllipticCurvePrivateKey
):
    app, client = channel(server, **signing(private, "observe")), new_client()
    other = ec.generate_private_key(ec.SECP256R1())
    texts = [unsigned("seen", app), token("seen", other, app), token("seen", private, app)]

    for text in texts:
        send(server, client, {"type": "userSignedIn", "externalUserId": "seen"}, app_id=app, **{"X-Token": text})

    assert owner(server, client) == "seen"
    assert refused(server, app) == {}
    metrics = server.client.get("/metrics").text
    assert 'identity_unverified_total{fault="unsigned"} 1.0' in metrics
    assert 'identity_unverified_total{fault="wrong_signature"} 1.0' in metrics


def test_a_channel_that_asks_for_no_signatures_looks_at_none(server: Server, private: ec.EllipticCurvePrivateKey):
    client = new_client()

    for text in (token("off", private, API_KEY), "no token"):
        send(server, client, {"type": "userSignedIn", "externalUserId": "off"}, **{"X-Token": text})

    assert owner(server, client) == "off"


def test_two_keys_hold_at_once_while_they_are_changed_over(server: Server, private: ec.EllipticCurvePrivateKey):
    newer = ec.generate_private_key(ec.SECP256R1())
    old, new = {"kid": API_KEY, "public_key": pem_of(private)}, {"kid": "newer", "public_key": pem_of(newer)}
    app = channel(server, signed_identity="required", identity_keys=[old, new])
    text = jwt.encode(
        {"iss": "i", "aud": "a", "iat": 1, "sub": "turned"}, newer, "ES256", headers={"kid": "newer", "appId": app}
    )
    first, second = new_client(), new_client()

    send(server, first, {"type": "userSignedIn", "externalUserId": "turned"}, app_id=app, **{"X-Token": text})
    send(
        server, second, {"type": "userSignedIn", "externalUserId": "turned"}, app_id=app,
        **{"X-Token": token("turned", private, app)},
    )  # fmt: skip

    assert (owner(server, first), owner(server, second)) == ("turned", "turned")


def test_where_they_are_required_an_unsigned_authenticate_is_refused_even_if_it_says_nothing_new(server: Server):
    made = server.post(CHANNELS, {"name": "Required", "origins": ["loopback"]}).json()
    push, key = {"visitor_id": "req-v", "customer_id": "req-1", "display_name": "Ana"}, made["write_key"]
    for _ in range(3):
        server.authenticate(push, **{"X-Write-Key": key})
    change(server, made["channel_id"], signed_identity="required")

    answer = server.authenticate(push, **{"X-Write-Key": key})

    assert answer.content == OK
    assert refused(server, made["channel_id"]) == {"unverified_identity": 1}


@pytest.mark.parametrize(
    "changes",
    [
        {"signed_identity": "maybe"},
        {"signed_identity": None},
        {"identity_keys": {}},
        {"identity_keys": [1]},
        {"identity_keys": [{}]},
        {"identity_keys": [{"kid": "k", "public_key": "x"}]},
        {"identity_keys": [{"kid": "k", "kty": "oct", "k": "c2VjcmV0"}]},
        {"identity_keys": [{"kid": str(n), "public_key": "x"} for n in range(11)]},
    ],
)
def test_a_key_or_policy_that_cannot_be_is_refused_with_a_clear_word(server: Server, changes: dict[str, object]):
    answer = change(server, channel(server), **changes)

    assert answer.status_code == 422
    assert answer.json()["code"] in ("invalid_body", "invalid_signed_identity", "invalid_identity_keys")


def test_two_keys_of_one_name_are_refused(server: Server, private: ec.EllipticCurvePrivateKey):
    key = {"kid": API_KEY, "public_key": pem_of(private)}

    answer = change(server, channel(server), identity_keys=[key, key])

    assert problem(answer) == (422, "invalid_identity_keys")


def test_the_command_line_sets_policy_and_keys(server: Server, private: ec.EllipticCurvePrivateKey, tmp_path: Path):
    app = channel(server)
    file, pem, junk = (tmp_path / name for name in ("key.json", "newer.pem", "junk.json"))
    file.write_text(json.dumps({"kid": API_KEY, "public_key": pem_of(private)}))
    pem.write_text(pem_of(private))
    junk.write_bytes(b"\xff[")
    key = {"kid": KID, "algorithm": "ES256", "public_key": pem_of(private)}

    set_up = beside(
        server,
        "channel",
        "change",
        app,
        "--signed-identity",
        "required",
        "--identity-key",
        str(file),
        "--identity-key",
        str(pem),
        "--json",
    )
    shown = beside(server, "channel", "list")
    unset = beside(server, "channel", "change", app, "--signed-identity", "off", "--no-identity-keys", "--json")
    wrong = [
        beside(server, "channel", "change", app, "--identity-key", str(path)).code
        for path in (junk, tmp_path / "nowhere.json")
    ]

    assert (set_up.json["signed_identity"], set_up.json["identity_keys"]) == (
        "required",
        [key, {**key, "kid": "newer"}],
    )
    assert "required (2 keys)" in shown.out
    assert (unset.json["signed_identity"], unset.json["identity_keys"]) == ("off", [])
    assert wrong == [2, 2]
