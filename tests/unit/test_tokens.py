"""User tokens: unsigned, signed, and what is neither."""

import hmac
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
    LEEWAY_MILLISECONDS,
    SECRET_BYTES_MAX,
    TOKEN_CHARACTERS_MAX,
    TOKEN_FAULT_HINTS,
    Algorithm,
    IdentityKey,
    IdentityKeys,
    TokenFault,
    find_fault,
    key_id_of,
    keys_in_force,
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


SECRET = "4b1f0c62-a-secret-of-the-website-9xQ4"
WITH_PUBLIC = IdentityKey(KID, Algorithm.ES256, public_pem(PRIVATE))
WITH_SECRET = read_identity_key({"kid": "shared", "secret": SECRET})
assert WITH_SECRET is not None
KEYS = keys_in_force([WITH_PUBLIC, WITH_SECRET])


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
    late = expires * 1000 + LEEWAY_MILLISECONDS

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


def test_a_secret_is_taken_as_text_and_as_jwk_and_only_its_end_can_be_seen():
    jwk = {"kty": "oct", "kid": "shared", "k": part(SECRET.encode()), "alg": "HS256", "use": "sig"}
    held = IdentityKey("shared", Algorithm.HS256, hint="9xQ4", secret=part(SECRET.encode()))

    assert read_identity_key({"kid": "shared", "algorithm": "HS256", "secret": SECRET}) == held
    assert read_identity_key(jwk) == IdentityKey("shared", Algorithm.HS256, hint=jwk["k"][-4:], secret=jwk["k"])
    assert repr(held) == "IdentityKey('shared', HS256)"
    assert repr(keys_in_force([held])) == "{'shared': KeyInForce(HS256)}"


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
        {"kid": "k", "kty": "oct", "k": part(b"x" * 31)},
        {"kid": "k", "kty": "oct", "k": part(b"x" * (SECRET_BYTES_MAX + 1))},
        {"kid": "k", "kty": "oct", "k": "!" * 43},
        {"kid": "k", "kty": "oct", "k": part(b"x" * 32), "alg": "HS512"},
        {"kid": "k", "kty": "RSA", "k": part(b"x" * 32)},
        {"kty": "oct", "k": part(b"x" * 32)},
        {"kid": "k", "kty": []},
        {"kid": "k", "secret": None},
        {"kid": "k", "secret": 5},
        {"kid": "k", "secret": "x" * 31},
        {"kid": "k", "secret": "x" * (SECRET_BYTES_MAX + 1)},
        {"kid": "k", "secret": "with a blank and then thirty more characters"},
        {"kid": "k", "secret": "é" * 32},
        {"kid": "k", "secret": "\x00" * 32},
        {"kid": "k", "secret": "x" * 32, "algorithm": "ES256"},
        {"kid": "k", "secret": "x" * 32, "public_key": public_pem(PRIVATE)},
    ],
)
def test_what_is_neither_a_public_key_for_es256_nor_a_long_secret_is_none(value: object):
    assert read_identity_key(value) is None


@pytest.mark.parametrize(
    "public",
    [
        public_pem(PRIVATE).encode(),
        "".join(public_pem(PRIVATE).splitlines()[1:-1]).encode(),
        PRIVATE.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        PRIVATE.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
        json.dumps(ECAlgorithm.to_jwk(PRIVATE.public_key(), as_dict=True)).encode(),
    ],
    ids=["pem", "base64", "der", "openssh", "jwk"],
)
def test_a_public_key_is_no_secret_in_whatever_form_it_comes(public: bytes):
    assert read_identity_key({"kid": "k", "secret": public.decode("latin-1")}) is None
    assert read_identity_key({"kid": "k", "kty": "oct", "k": part(public)}) is None


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
    assert find_fault(token, KEYS, NOW + 300_000 + LEEWAY_MILLISECONDS) is TokenFault.EXPIRED


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a.b",
        unsigned(exp=NOW),
        signed(),  # says not when it expires
        website_token().rpartition(".")[0] + ".",
        jwt.encode({"sub": "42"}, SECRET, "HS256"),  # nor does this
        jwt.encode({"sub": "42", "exp": 1}, "s" * 64, "HS512"),
        jwt.encode({"sub": "42", "exp": 1}, SECRET, "HS256", headers={"crit": ["x"]}),
        website_token(nbf="yesterday"),
        website_token(nbf=True),
        f"{part({'alg': 'ES256'})}.{part({'sub': True, 'exp': 1})}.{part(b'x')}",
        f"{part({'alg': 'ES256'})}.{part({'sub': '42', 'exp': '1'})}.{part(b'x')}",
        f"{part({'alg': 'ES256', 'kid': 5})}.{part({'sub': '42', 'exp': 1})}.{part(b'x')}",
        "x" * (TOKEN_CHARACTERS_MAX + 1),
    ],
)
def test_what_is_no_token_of_a_website_is_none(text: str):
    assert read_identity_token(text) is None


def shared_token(secret: str = SECRET, kid: str | None = "shared", **claims: object) -> str:
    return jwt.encode(
        {"sub": "42", "exp": NOW // 1000 + 300, **claims}, secret, "HS256", headers={"kid": kid} if kid else None
    )


def fault_of_websites(text: str, now: int = NOW, keys: IdentityKeys = KEYS) -> TokenFault | None:
    token = read_identity_token(text)
    assert token is not None
    return find_fault(token, keys, now)


def signed_with_bytes(secret: bytes, header: dict[str, object]) -> str:
    """Sign past PyJWT, which does not lend itself to attacks."""
    text = f"{part(header)}.{part({'sub': '42', 'exp': NOW // 1000 + 300})}"
    return f"{text}.{part(hmac.digest(secret, text.encode(), 'sha256'))}"


def test_a_token_that_was_signed_with_a_shared_secret_vouches_for_its_subject():
    assert fault_of_websites(shared_token()) is None
    assert fault_of_websites(shared_token("x" * 32)) is TokenFault.WRONG_SIGNATURE
    assert fault_of_websites(shared_token(kid="gone")) is TokenFault.UNKNOWN_KEY


@pytest.mark.parametrize("form", [public_pem(PRIVATE), public_pem(PRIVATE).strip()])
def test_a_token_cannot_choose_that_a_public_key_is_its_secret(form: str):
    forged = signed_with_bytes(form.encode(), {"alg": "HS256", "kid": KID})
    nameless = signed_with_bytes(form.encode(), {"alg": "HS256"})

    assert fault_of_websites(forged) is TokenFault.UNKNOWN_KEY
    assert fault_of_websites(nameless) is TokenFault.WRONG_SIGNATURE


def test_a_key_is_for_its_own_algorithm_alone():
    _, claims, signature = website_token().split(".")
    relabelled = ".".join((part({"alg": "HS256", "kid": KID}), claims, signature))
    shared = signed_with_bytes(SECRET.encode(), {"alg": "ES256", "kid": "shared"})

    assert [fault_of_websites(text) for text in (relabelled, shared)] == [TokenFault.UNKNOWN_KEY] * 2
    assert read_token(signed_with_bytes(SECRET.encode(), {"typ": "JWT", "alg": "HS256"})) is None


def test_a_token_need_not_name_its_key():
    nameless = jwt.encode({"sub": "42", "exp": NOW // 1000 + 300}, PRIVATE, "ES256")
    other = jwt.encode({"sub": "42", "exp": NOW // 1000 + 300}, OTHER, "ES256")

    assert [fault_of_websites(text) for text in (nameless, shared_token(kid=None))] == [None, None]
    assert [fault_of_websites(text) for text in (other, shared_token("x" * 32, kid=None))] == [
        TokenFault.WRONG_SIGNATURE
    ] * 2
    assert fault_of_websites(shared_token(kid=None), keys=keys_in_force([WITH_PUBLIC])) is TokenFault.UNKNOWN_KEY


def test_a_token_holds_from_its_nbf_on_and_a_little_before_for_clocks_that_differ():
    begins = NOW // 1000
    early = begins * 1000 - LEEWAY_MILLISECONDS

    for text in (website_token(nbf=begins), shared_token(nbf=begins)):
        assert [fault_of_websites(text, now) for now in (early - 1, early)] == [TokenFault.NOT_YET_VALID, None]


def test_while_keys_are_changed_over_both_count_and_afterwards_the_new_one_alone():
    newer = read_identity_key({"kid": "newer", "secret": "y" * 32})
    assert newer is not None
    tokens = shared_token(), shared_token("y" * 32, "newer"), shared_token(kid=None), shared_token("y" * 32, None)

    def faults(*keys: IdentityKey) -> list[TokenFault | None]:
        return [fault_of_websites(text, keys=keys_in_force(keys)) for text in tokens]

    unknown, wrong = TokenFault.UNKNOWN_KEY, TokenFault.WRONG_SIGNATURE
    assert WITH_SECRET is not None
    assert faults(WITH_SECRET) == [None, unknown, None, wrong]
    assert faults(WITH_SECRET, newer) == [None] * 4
    assert faults(newer) == [unknown, None, wrong, None]


@given(st.text() | st.lists(st.dictionaries(st.text(max_size=4), st.integers() | st.text()), max_size=3).map(str))
def test_whatever_comes_as_a_websites_token_nothing_is_raised(text: str):
    read_identity_token(text)
