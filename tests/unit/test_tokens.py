"""User tokens: unsigned, signed, and what is neither."""

import json
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm

from identity.tokens import (
    EXPIRY_LEEWAY_MILLISECONDS,
    TOKEN_CHARACTERS_MAX,
    TOKEN_FAULT_HINTS,
    Algorithm,
    IdentityKey,
    TokenFault,
    find_fault,
    key_id_of,
    public_keys,
    read_identity_key,
    read_identity_token,
    read_token,
)

NOW = 1_795_279_800_000
APP = "11111111-1111-4111-8111-111111111111"
API_KEY = "9f2b54c3-7bfb-47f2-9d1a-3a4d5e6f7a8b"
KID = sha256(bytes.fromhex(API_KEY.replace("-", ""))).hexdigest()
CLAIMS = {"iss": "croct.io", "aud": "croct.io", "iat": 1_795_279_777, "sub": "42"}
PRIVATE = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())


def public_pem(private: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    return private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


KEYS = public_keys([IdentityKey(KID, Algorithm.ES256, public_pem(PRIVATE))])


def part(value: object) -> str:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return urlsafe_b64encode(text).decode().rstrip("=")


def unsigned(header: dict[str, object] | None = None, **claims: object) -> str:
    return f"{part(header or {'typ': 'JWT', 'alg': 'none', 'appId': APP})}.{part({**CLAIMS, **claims})}."


def unsigned_with(claims: bytes) -> str:
    return f"{part({'typ': 'JWT', 'alg': 'none'})}.{part(claims)}."


def signed(
    private: ec.EllipticCurvePrivateKey = PRIVATE, header: dict[str, object] | None = None, **claims: object
) -> str:
    headers: dict[str, Any] = {"kid": KID, "appId": APP, **(header or {})}
    return jwt.encode({**CLAIMS, **claims}, private, "ES256", headers=headers)


def fault_of(text: str, *, now: int = NOW, app_id: str | None = APP) -> TokenFault | None:
    token = read_token(text)
    assert token is not None
    return find_fault(token, KEYS, now, app_id=app_id)


def test_the_token_that_the_sdk_makes_is_read_and_proves_nothing():
    token = read_token(
        "eyJ0eXAiOiJKV1QiLCJhbGciOiJub25lIiwiYXBwSWQiOiIxMTExMTExMS0xMTExLTQxMTEtODExMS0xMTExMTExMTExMTEifQ."
        "eyJpc3MiOiJjcm9jdC5pbyIsImF1ZCI6ImNyb2N0LmlvIiwiaWF0IjoxNzk1Mjc5Nzc3LCJzdWIiOiI0MiJ9."
    )

    assert token is not None
    assert (token.subject, token.app_id, token.is_signed, token.expires_at) == ("42", APP, False, None)
    assert find_fault(token, KEYS, NOW, app_id=APP) is TokenFault.UNSIGNED


def test_a_token_that_was_signed_by_a_key_in_force_vouches_for_its_subject():
    token = read_token(signed(jti="5a1e1c9e-1b1f-4c9e-8d0a-111111111111", exp=NOW // 1000 + 60, role="vip"))

    assert token is not None
    assert (token.subject, token.is_signed, find_fault(token, KEYS, NOW, app_id=APP)) == ("42", True, None)


def test_an_anonymous_token_has_no_subject():
    token = read_token(f"{part({'typ': 'JWT', 'alg': 'none'})}.{part({'iss': 'i', 'aud': ['a', 'b'], 'iat': 1})}.")

    assert token is not None
    assert (token.subject, token.app_id) == (None, None)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (signed(OTHER), TokenFault.WRONG_SIGNATURE),
        (signed(header={"kid": "someone else's"}), TokenFault.UNKNOWN_KEY),
        (signed(header={"appId": API_KEY}), TokenFault.OTHER_APP),
        (signed(exp=1), TokenFault.EXPIRED),
        (signed()[:-4] + "AAAA", TokenFault.WRONG_SIGNATURE),
        (f"{signed().rpartition('.')[0]}.{part(b'x' * 63)}", TokenFault.WRONG_SIGNATURE),
        (
            f"{signed().partition('.')[0]}.{part({**CLAIMS, 'sub': '43'})}.{signed().rpartition('.')[2]}",
            "wrong_signature",
        ),
    ],
)
def test_a_signed_token_that_is_wrong_proves_nothing(text: str, fault: TokenFault):
    assert fault_of(text) == fault


def test_a_token_is_good_until_its_expiry_and_a_little_longer_for_clocks_that_differ():
    expires = NOW // 1000
    late = expires * 1000 + EXPIRY_LEEWAY_MILLISECONDS

    assert [fault_of(signed(exp=expires), now=now) for now in (late - 1, late)] == [None, TokenFault.EXPIRED]


def test_who_does_not_ask_for_an_app_gets_none_checked():
    assert fault_of(signed(header={"appId": API_KEY}), app_id=None) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "..",
        "a.b.c",
        unsigned() + "x",
        unsigned()[:-1],
        f"{signed().rpartition('.')[0]}.",  # signed, and the signature cut off
        unsigned({"typ": "JWT", "alg": "none", "jwk": {}}),
        unsigned({"typ": "JWT", "alg": "HS256", "appId": APP}) + part(b"x"),
        unsigned({"typ": "JWT", "alg": "None", "appId": APP}),
        unsigned({"typ": "at+jwt", "alg": "none"}),
        unsigned({"typ": "JWT", "alg": "none", "appId": 1}),
        unsigned({"typ": "JWT", "alg": ["none"]}),
        unsigned(sub=42),
        unsigned(sub=None).replace(".", "!.", 1),
        unsigned(iss=None),
        unsigned(aud=[1]),
        unsigned(iat="1"),
        unsigned(iat=True),
        unsigned(exp="never"),
        unsigned_with(b"{"),
        f"{part([])}.{part(CLAIMS)}.",
        unsigned_with(b'{"iss":"i","aud":"a","iat":1,"exp":NaN}'),
        unsigned_with(b'{"iss":"i","aud":"a","iat":%b}' % (b"9" * 400)),
        unsigned(sub="x" * TOKEN_CHARACTERS_MAX),
        "é.é.é",
        "\x00.\x00.",
    ],
)
def test_what_is_no_token_is_none(text: str):
    assert read_token(text) is None


@given(st.text() | st.lists(st.binary().map(part), min_size=3, max_size=3).map(".".join))
def test_no_text_makes_it_raise(text: str):
    read_token(text)


@given(st.dictionaries(st.sampled_from(["iss", "aud", "iat", "sub", "exp", "x"]), st.none() | st.text() | st.floats()))
def test_no_claims_make_it_raise(claims: dict[str, object]):
    token = read_token(f"{part({'typ': 'JWT', 'alg': 'none'})}.{part(claims)}.")

    assert token is None or find_fault(token, KEYS, NOW) is TokenFault.UNSIGNED


def test_a_key_is_taken_as_pem_and_as_jwk_and_a_uuid_names_it_by_its_hash():
    jwk = ECAlgorithm.to_jwk(PRIVATE.public_key(), as_dict=True)
    held = IdentityKey(KID, Algorithm.ES256, public_pem(PRIVATE))

    assert read_identity_key({"kid": API_KEY, "public_key": public_pem(PRIVATE)}) == held
    assert read_identity_key({"kid": API_KEY.upper(), "algorithm": "ES256", "public_key": jwk}) == held
    assert read_identity_key({**jwk, "kid": KID, "alg": "ES256", "use": "sig"}) == held
    assert key_id_of("any other") == "any other"


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"kid": "k"},
        {"kid": "", "public_key": public_pem(PRIVATE)},
        {"kid": "with space", "public_key": public_pem(PRIVATE)},
        {"kid": "k" * 129, "public_key": public_pem(PRIVATE)},
        {"kid": "k", "public_key": public_pem(PRIVATE), "algorithm": "none"},
        {"kid": "k", "public_key": public_pem(PRIVATE), "secret": "x"},
        {"kid": "k", "public_key": public_pem(ec.generate_private_key(ec.SECP384R1()))},
        {"kid": "k", "public_key": public_pem(rsa.generate_private_key(65537, 2048))},
        {"kid": "k", "public_key": "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"},
        {"kid": "k", "public_key": "ecdsa-sha2-nistp256 AAAA"},
        {
            "kid": "k",
            "public_key": PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        },
        {**ECAlgorithm.to_jwk(PRIVATE, as_dict=True), "kid": "k"},
        {"kid": "k", "kty": "EC", "crv": "P-256", "x": 1, "y": 2},
        {"kid": "k", "kty": "EC", "crv": "P-256", "x": "AAAA", "y": "é"},
        {"kid": "k", "kty": "EC", "crv": "P-256", "x": part(b"x" * 32), "y": part(b"y" * 32)},
        {"kid": "k", "kty": "oct", "k": "c2VjcmV0"},
    ],
)
def test_what_is_no_public_key_for_es256_is_none(value: object):
    assert read_identity_key(value) is None


def test_every_fault_has_its_hint():
    assert set(TOKEN_FAULT_HINTS) == set(TokenFault)


def website_token(private: ec.EllipticCurvePrivateKey = PRIVATE, **claims: object) -> str:
    return jwt.encode({"sub": "42", "exp": NOW // 1000 + 300, **claims}, private, "ES256", headers={"kid": KID})


@pytest.mark.parametrize(("sub", "subject"), [("42", "42"), (42, "42")])
def test_a_token_of_a_website_names_its_customer_and_when_it_expires(sub: object, subject: str):
    # PyJWT itself makes no token whose subject is a number, others do.
    header, _, signature = website_token().split(".")
    token = read_identity_token(f"{header}.{part({'sub': sub, 'exp': 1})}.{signature}")

    assert token is not None
    assert (token.subject, token.key_id, token.expires_at) == (subject, KID, 1000.0)


def test_a_websites_token_vouches_until_it_expires():
    token = read_identity_token(website_token())

    assert token is not None
    assert find_fault(token, KEYS, NOW) is None
    assert find_fault(token, KEYS, NOW + 300_000 + EXPIRY_LEEWAY_MILLISECONDS) is TokenFault.EXPIRED


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a.b",
        unsigned(exp=NOW),
        signed(),  # says not when it expires
        website_token().rpartition(".")[0] + ".",
        jwt.encode({"sub": "42", "exp": 1}, "s" * 64, "HS256"),
        f"{part({'alg': 'ES256'})}.{part({'sub': True, 'exp': 1})}.{part(b'x')}",
        f"{part({'alg': 'ES256'})}.{part({'sub': '42', 'exp': '1'})}.{part(b'x')}",
        f"{part({'alg': 'ES256', 'kid': 5})}.{part({'sub': '42', 'exp': 1})}.{part(b'x')}",
        "x" * (TOKEN_CHARACTERS_MAX + 1),
    ],
)
def test_what_is_no_token_of_a_website_is_none(text: str):
    assert read_identity_token(text) is None


@given(st.text() | st.lists(st.dictionaries(st.text(max_size=4), st.integers() | st.text()), max_size=3).map(str))
def test_whatever_comes_as_a_websites_token_nothing_is_raised(text: str):
    read_identity_token(text)
