"""``identity_token``: who is named to ``authenticate`` and ``events`` is proven by the website's own server."""

import time
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.harness import Server

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
