"""``identity_token``: who is named to ``authenticate`` and ``events`` is proven by the website's own server."""

import hmac
import json
import time
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.harness import Server
from tests.http.test_cli import beside

CHANNELS = "/api/v1/admin/channels"
PRIVATE = ec.generate_private_key(ec.SECP256R1())
FORGED = ec.generate_private_key(ec.SECP256R1())
PEM = PRIVATE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.fixture(scope="module", params=["required", "observe"])
def policy(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def write_key(server: Server, policy: str) -> str:
    made = server.post(CHANNELS, {"name": f"Signed {policy}", "origins": ["loopback"]}).json()
    changed = server.client.patch(
        f"{CHANNELS}/{made['channel_id']}",
        json={"signed_identity": policy, "identity_keys": [{"kid": "site", "public_key": PEM}]},
        headers=server.get("/livez").request.headers,
    )
    assert changed.status_code == 200, changed.text
    return str(made["write_key"])


def token(sub: object, private: ec.EllipticCurvePrivateKey = PRIVATE, **changes: Any) -> str:
    claims = {"sub": sub, "exp": int(time.time()) + 300, **changes}
    return jwt.encode(claims, private, "ES256", headers={"kid": "site"})


def push(server: Server, write_key: str, customer_id: str, **more: object) -> httpx.Response:
    return server.authenticate(
        {"customer_id": customer_id, "visitor_id": f"v-{customer_id}", "display_name": "Ana", **more},
        **{"X-Write-Key": write_key},
    )


def is_held(server: Server, customer_id: str) -> bool:
    return server.get(f"/api/v1/customers/{customer_id}").status_code == 200


def test_a_token_for_this_very_customer_is_taken_and_the_website_sees_no_difference(
    server: Server, write_key: str, policy: str
):
    signed = push(server, write_key, f"signed-{policy}", identity_token=token(f"signed-{policy}"))
    unsigned = push(server, write_key, f"unsigned-{policy}")

    assert (signed.status_code, signed.content) == (unsigned.status_code, unsigned.content) == (200, b'{"status":"ok"}')
    assert is_held(server, f"signed-{policy}")
    assert is_held(server, f"unsigned-{policy}") == (policy == "observe")


@pytest.mark.parametrize(
    ("name", "forged"),
    [
        ("forged", lambda sub: token(sub, FORGED)),
        ("expired", lambda sub: token(sub, exp=int(time.time()) - 3600)),
        ("endless", lambda sub: jwt.encode({"sub": sub}, PRIVATE, "ES256", headers={"kid": "site"})),
        ("junk", lambda sub: "x.y"),
        ("number", lambda sub: 5),
    ],
)
def test_a_token_that_proves_nothing_counts_as_none(
    server: Server, write_key: str, policy: str, name: str, forged: Any
):
    customer_id = f"{name}-{policy}"

    push(server, write_key, customer_id, identity_token=forged(customer_id))

    assert is_held(server, customer_id) == (policy == "observe")
    refused = server.get("/api/v1/admin/refusals?reason=unverified_identity").json()["items"]
    assert (customer_id in [item["customer_id"] for item in refused]) == (policy == "required")


def test_a_token_for_somebody_else_is_worse_than_none(server: Server, write_key: str, policy: str):
    push(server, write_key, f"victim-{policy}", identity_token=token("thief"))

    assert not is_held(server, f"victim-{policy}")


def test_each_event_brings_its_own_token(server: Server, write_key: str, policy: str):
    events = [
        {"type": "userSignedIn", "visitor_id": "w", "userId": "own-1", "identity_token": token("own-1")},
        {"type": "userSignedIn", "visitor_id": "w", "userId": "own-2", "identity_token": token("own-1")},
    ]

    answer = server.client.post("/api/v1/events", json={"events": events}, headers={"X-Write-Key": write_key})

    # The answer speaks of the input's form alone.
    assert [result["status"] for result in answer.json()["results"]] == ["accepted", "accepted"]
    assert server.get("/api/v1/visitors/w").json()["customer_id"] == "own-1"


def test_validation_tells_beforehand(server: Server, write_key: str, policy: str):
    body = {"customer_id": f"asked-{policy}", "visitor_id": "asked"}
    headers = {"X-Write-Key": write_key}

    without = server.client.post("/api/v1/validate/authenticate", json=body, headers=headers).json()
    proven = {**body, "identity_token": token(f"asked-{policy}")}
    signed = server.client.post("/api/v1/validate/authenticate", json=proven, headers=headers).json()

    assert without["refusal"] == ("unverified_identity" if policy == "required" else None)
    assert signed["refusal"] is None


SECRET = "4b1f0c62-a-secret-of-the-website-9xQ4"
SHOWN = {"kid": "shared", "algorithm": "HS256", "hint": "9xQ4"}


def make_channel(server: Server, **changes: object) -> dict[str, Any]:
    made = server.post(CHANNELS, {"name": "Signed", "origins": ["loopback"]}).json()
    answer = change(server, made["channel_id"], **changes)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def change(server: Server, channel_id: str, **changes: object) -> httpx.Response:
    headers = server.get("/livez").request.headers
    return server.client.patch(f"{CHANNELS}/{channel_id}", json=changes, headers=headers)


def shared_token(sub: object, secret: str = SECRET, kid: str | None = "shared", **changes: Any) -> str:
    claims = {"sub": sub, "exp": int(time.time()) + 300, **changes}
    return jwt.encode(claims, secret, "HS256", headers={"kid": kid} if kid else None)


def part(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def name_of(server: Server, customer_id: str) -> str | None:
    found = server.get(f"/api/v1/customers/{customer_id}")
    return found.json()["fields"].get("display_name") if found.status_code == 200 else None


def kept(server: Server, customer_id: str) -> list[str]:
    """Return the fields that stayed as they were because nobody vouched for what came, once per merge."""
    merges = server.get("/api/v1/admin/merges", params={"customer_id": customer_id}).json()["items"]
    decisions = [decision for merge in merges for decision in merge["decisions"]]
    return [d["field"] for d in decisions if (d["verdict"], d["reason"]) == ("kept_existing", "unsigned_value")]


def test_a_shared_secret_signs_as_well(server: Server):
    key = make_channel(server, signed_identity="required", identity_keys=[{"kid": "shared", "secret": SECRET}])[
        "write_key"
    ]

    push(server, key, "hs-1", identity_token=shared_token("hs-1"))
    push(server, key, "hs-2", identity_token=shared_token("hs-2", kid=None))
    push(server, key, "hs-3", identity_token=shared_token("hs-3", "x" * 32))
    push(server, key, "hs-4", identity_token=shared_token("hs-4", nbf=int(time.time()) + 3600))
    push(server, key, "hs-5", identity_token=shared_token("hs-5", exp=int(time.time()) - 3600))

    assert [is_held(server, f"hs-{number}") for number in range(1, 6)] == [True, True, False, False, False]


@pytest.mark.parametrize("header", [{"alg": "HS256", "kid": "site"}, {"alg": "HS256"}])
def test_a_public_key_is_no_secret_whatever_the_tokens_header_says(server: Server, header: dict[str, str]):
    keys = [{"kid": "site", "public_key": PEM}]
    key = make_channel(server, signed_identity="required", identity_keys=keys)["write_key"]
    customer_id = f"confused-{len(header)}"
    claims = json.dumps({"sub": customer_id, "exp": int(time.time()) + 300})
    signed = f"{part(json.dumps(header).encode())}.{part(claims.encode())}"

    for form in (PEM, PEM.strip()):
        signature = part(hmac.digest(form.encode(), signed.encode(), "sha256"))
        assert push(server, key, customer_id, identity_token=f"{signed}.{signature}").status_code == 200

    assert not is_held(server, customer_id)


def test_a_secret_is_never_shown_again(server: Server, tmp_path: Path):
    (tmp_path / "shared.secret").write_text(SECRET + "\n")
    channel = make_channel(server)
    command = ("channel", "change", channel["channel_id"], "--identity-key")

    set_up = beside(server, *command, str(tmp_path / "shared.secret"), "--json")
    listed = beside(server, "channel", "list")
    changed = change(server, channel["channel_id"], name="Renamed", signed_identity="required")
    answers = [
        changed.text,
        server.get(f"{CHANNELS}/{channel['channel_id']}").text,
        server.get(CHANNELS).text,
        change(server, channel["channel_id"], identity_keys=[{"kid": "shared", "secret": SECRET, "more": 1}]).text,
    ]

    assert set_up.json["identity_keys"] == changed.json()["identity_keys"] == [SHOWN]
    for text in (*answers, set_up.out, set_up.err, listed.out, server.logs()):
        assert SECRET not in text
        assert part(SECRET.encode()) not in text
    # What was not told is still in force.
    push(server, channel["write_key"], "hidden-1", identity_token=shared_token("hidden-1"))
    assert is_held(server, "hidden-1")


def test_keys_are_changed_over_without_a_break_and_without_telling_the_old_one_again(server: Server):
    channel = make_channel(server, signed_identity="required", identity_keys=[{"kid": "shared", "secret": SECRET}])
    newer = {"kid": "newer", "secret": "y" * 32}

    def taken(name: str) -> tuple[bool, bool]:
        """Return whether tokens of the old and of the new key are taken."""
        tokens = {
            f"{name}-old": shared_token(f"{name}-old"),
            f"{name}-new": shared_token(f"{name}-new", "y" * 32, "newer"),
        }
        for customer_id, signed in tokens.items():
            push(server, channel["write_key"], customer_id, identity_token=signed)
        old, new = (is_held(server, customer_id) for customer_id in tokens)
        return old, new

    before = taken("before")
    overlap = change(server, channel["channel_id"], identity_keys=[{"kid": "shared"}, newer])
    meanwhile = taken("meanwhile")
    again = change(server, channel["channel_id"], identity_keys=overlap.json()["identity_keys"])
    retired = change(server, channel["channel_id"], identity_keys=[{"kid": "newer"}])

    shown = {"kid": "newer", "algorithm": "HS256", "hint": "yyyy"}
    assert [answer.json()["identity_keys"] for answer in (overlap, again, retired)] == [
        [SHOWN, shown],
        [SHOWN, shown],
        [shown],
    ]
    assert (before, meanwhile, taken("after")) == ((True, False), (True, True), (False, True))


def test_the_command_line_keeps_a_key_by_its_kid(server: Server, tmp_path: Path):
    (tmp_path / "newer.secret").write_text("y" * 32)
    channel_id = make_channel(server, identity_keys=[{"kid": "shared", "secret": SECRET}])["channel_id"]
    command = ("channel", "change", channel_id, "--unsigned-writes", "fill_empty", "--json", "--identity-key")

    both = beside(server, *command, "kid:shared", "--identity-key", str(tmp_path / "newer.secret"))
    unknown = beside(server, *command, "kid:nobody")

    assert both.json["identity_keys"] == [SHOWN, {"kid": "newer", "algorithm": "HS256", "hint": "yyyy"}]
    assert both.json["unsigned_writes"] == "fill_empty"
    assert (unknown.code, "fill_empty" in beside(server, "channel", "list").out) == (2, True)


@pytest.mark.parametrize(
    "changes",
    [
        {"identity_keys": [{"kid": "gone"}]},
        {"identity_keys": [{"kid": "shared", "hint": "else"}]},
        {"identity_keys": [{"kid": "shared", "algorithm": "ES256"}]},
        {"identity_keys": [{"kid": "shared"}, {"kid": "shared"}]},
        {"identity_keys": [{"kid": "shared", "secret": "too short"}]},
        {"identity_keys": [{"kid": "shared", "secret": PEM}]},
        {"identity_keys": [{"kid": ["shared"]}]},
        {"unsigned_writes": "never"},
        {"unsigned_writes": None},
    ],
)
def test_a_key_or_rule_that_cannot_be_is_refused_and_nothing_is_changed(server: Server, changes: dict[str, object]):
    channel = make_channel(server, identity_keys=[{"kid": "shared", "secret": SECRET}])

    answer = change(server, channel["channel_id"], **changes)

    assert answer.status_code == 422
    assert answer.json()["code"] in ("invalid_body", "invalid_identity_keys", "invalid_unsigned_writes")
    assert server.get(f"{CHANNELS}/{channel['channel_id']}").json() == channel


def test_keys_of_a_channel_that_is_not_there_are_not_found(server: Server):
    nowhere = "00000000-0000-4000-8000-000000000000"

    assert change(server, nowhere, identity_keys=[{"kid": "shared"}]).status_code == 404


def test_unsigned_writes_fill_gaps_where_the_channel_says_so_and_a_signed_push_overwrites(server: Server):
    keys = [{"kid": "shared", "secret": SECRET}]
    key = make_channel(server, unsigned_writes="fill_empty", identity_keys=keys)["write_key"]
    server.authenticate({"customer_id": "fe-1", "display_name": "Ana"})
    bo = {"display_name": "Bo", "gender": "other", "visitor_id": "fe-v"}

    for _ in range(3):  # the third would be known by the cache
        push(server, key, "fe-1", **bo)
    unsigned = server.get("/api/v1/customers/fe-1").json()["fields"]
    for _ in range(3):
        push(server, key, "fe-1", **bo, identity_token=shared_token("fe-1", "x" * 32))
    forged = server.get("/api/v1/customers/fe-1").json()["fields"]
    push(server, key, "fe-1", **bo, identity_token=shared_token("fe-1"))
    signed = server.get("/api/v1/customers/fe-1").json()["fields"]
    push(server, key, "fe-1", **{**bo, "display_name": "Cy"})

    assert unsigned == forged == {"display_name": "Ana", "gender": "other"}
    assert signed == {"display_name": "Bo", "gender": "other"}
    assert name_of(server, "fe-1") == "Bo"
    # A repeated push leaves no trace, though it said something else than what is held.
    assert kept(server, "fe-1") == ["display_name"] * 2


def test_a_push_that_a_gap_filling_channel_knows_is_looked_at_where_another_channel_may_overwrite(server: Server):
    key = make_channel(server, unsigned_writes="fill_empty")["write_key"]
    body = {"customer_id": "fe-2", "visitor_id": "fe-2", "display_name": "Bo"}
    server.authenticate({**body, "display_name": "Ana"})
    for _ in range(3):
        push(server, key, **body)
    filled = name_of(server, "fe-2")

    server.authenticate(body)

    assert (filled, name_of(server, "fe-2")) == ("Ana", "Bo")


def test_a_token_for_somebody_else_is_listed_even_where_it_would_change_nothing(server: Server):
    keys = [{"kid": "shared", "secret": SECRET}]
    channel = make_channel(server, unsigned_writes="fill_empty", identity_keys=keys)
    for _ in range(3):
        push(server, channel["write_key"], "fe-3")

    push(server, channel["write_key"], "fe-3", identity_token=shared_token("thief"))

    listed = server.get("/api/v1/admin/refusals", params={"channel_id": channel["channel_id"]}).json()
    assert listed["counts"] == {"unverified_identity": 1}


def test_a_patch_is_unsigned_unless_its_token_vouches_for_the_visitors_customer(server: Server):
    keys = [{"kid": "shared", "secret": SECRET}]
    key = make_channel(server, unsigned_writes="fill_empty", identity_keys=keys)["write_key"]
    push(server, key, "fe-4")

    def rename(name: str, **more: object) -> str | None:
        operations = [{"type": "set", "path": "custom.nick", "value": name}]
        event = {"type": "userProfileChanged", "visitor_id": "v-fe-4", "patch": {"operations": operations}, **more}
        answer = server.client.post("/api/v1/events", json={"events": [event]}, headers={"X-Write-Key": key})
        assert answer.json() == {"results": [{"status": "accepted"}]}
        return str(server.get("/api/v1/customers/fe-4").json()["fields"]["custom.nick"])

    assert rename("first") == "first"
    assert rename("second") == "first"
    assert rename("third", identity_token=shared_token("thief")) == "first"
    assert rename("fourth", identity_token=shared_token("fe-4")) == "fourth"
