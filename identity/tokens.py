"""Pure: user tokens (JWT), unsigned and signed, and the public keys that signatures are checked with.

A key is for one algorithm alone, so that no token can choose how it is checked.
Source: Croct SDK (0.22), tokens and API keys; RFC 7515, RFC 7518 section 3.4.
"""

import re
from base64 import urlsafe_b64decode
from binascii import Error as Base64Error
from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm
from jwt.exceptions import PyJWTError

from identity.tolerant import read_object, read_value

TOKEN_CHARACTERS_MAX = 8 * 1024
PUBLIC_KEY_CHARACTERS_MAX = 2_000
KEY_ID_CHARACTERS_MAX = 128
_SECONDS_MAX = 10**12
"""Of a time in a token, either side of 1970; NaN and the infinities are beyond it too."""
EXPIRY_LEEWAY_MILLISECONDS = 60_000
"""Clocks of whoever signs and of whoever checks may differ by this much."""

PublicKeys = Mapping[str, EllipticCurvePublicKey]
"""The keys in force, by their id."""

_ES256 = ECAlgorithm(ECAlgorithm.SHA256, SECP256R1)
_HEADER_NAMES = frozenset({"typ", "alg", "kid", "appId"})
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")
_HEX = "[0-9a-fA-F]"
_UUID = re.compile(f"({_HEX}{{8}})-({_HEX}{{4}})-({_HEX}{{4}})-({_HEX}{{4}})-({_HEX}{{12}})")
_KEY_ID = re.compile(rf"[!-~]{{1,{KEY_ID_CHARACTERS_MAX}}}")
_PEM = re.compile(r"\s*-----BEGIN PUBLIC KEY-----[A-Za-z0-9+/=\s]+-----END PUBLIC KEY-----\s*")


class Algorithm(StrEnum):
    """How a key's signatures are made."""

    ES256 = "ES256"


class IdentityKey(msgspec.Struct, frozen=True):
    """A public key of whoever vouches for a website's customers. ``public_key`` is PEM."""

    kid: str
    algorithm: Algorithm
    public_key: str


class TokenFault(StrEnum):
    """Why a token proves nothing."""

    UNSIGNED = "unsigned"
    MALFORMED = "malformed"
    UNKNOWN_KEY = "unknown_key"
    WRONG_SIGNATURE = "wrong_signature"
    OTHER_APP = "other_app"
    EXPIRED = "expired"


TOKEN_FAULT_HINTS: dict[TokenFault, str] = {
    TokenFault.UNSIGNED: "The token is not signed.",
    TokenFault.MALFORMED: "The token is no JWT with the header typ, alg, kid, appId and the claims iss, aud, iat.",
    TokenFault.UNKNOWN_KEY: "The channel has no identity key with the token's kid and algorithm.",
    TokenFault.WRONG_SIGNATURE: "The token's signature is not of the key that it names.",
    TokenFault.OTHER_APP: "The token's appId is not the channel's id.",
    TokenFault.EXPIRED: "The token has expired: give the page a new one.",
}


class Token(msgspec.Struct, frozen=True):
    """A token as it came; what it says is not to be believed before ``find_fault`` has found nothing.

    ``subject`` is the customer, or None for an anonymous visitor. ``expires_at`` is in milliseconds. ``key_id`` is None
    of an unsigned one, and ``""`` of a signed one that names no key.
    """

    subject: str | None
    app_id: str | None
    key_id: str | None
    expires_at: float | None
    signed: bytes
    signature: bytes

    @property
    def is_signed(self) -> bool:
        """Whether it came with a signature; says nothing of its worth."""
        return self.key_id is not None


def read_token(text: str) -> Token | None:
    """Return the token, or None for what is none. Never raises.

    Takes ``alg`` none with an empty signature, and ES256. The header may have typ, alg, kid and appId; of the claims,
    iss, aud and iat must be there.
    """
    parts = _parts(text)
    if parts is None:
        return None
    header, claims, signed, signature = parts
    if not header.keys() <= _HEADER_NAMES:
        return None
    algorithm, key_id, app_id = header.get("alg"), header.get("kid"), header.get("appId")
    if not _is_text_or_none(key_id) or not _is_text_or_none(app_id) or header.get("typ") != "JWT":
        return None
    if algorithm not in ("none", Algorithm.ES256) or (algorithm == "none") != (signature == b""):
        return None
    subject, expires_at = claims.get("sub"), claims.get("exp")
    if not isinstance(claims.get("iss"), str) or not _is_audience(claims.get("aud")):
        return None
    if not _is_number(claims.get("iat")) or not _is_text_or_none(subject):
        return None
    if expires_at is not None and not _is_number(expires_at):
        return None
    return Token(
        subject=subject if isinstance(subject, str) else None,
        app_id=app_id if isinstance(app_id, str) else None,
        key_id=None if algorithm == "none" else str(key_id or ""),
        expires_at=expires_at * 1000.0 if isinstance(expires_at, int | float) else None,
        signed=signed,
        signature=signature,
    )


def read_identity_token(text: str) -> Token | None:
    """Return a token of a website's own server, or None for what is none. Never raises.

    Takes JWTs signed by ES256 that name their customer (``sub``, a text or a whole number) and when they expire
    (``exp``); other headers and claims are passed over.
    """
    parts = _parts(text)
    if parts is None:
        return None
    header, claims, signed, signature = parts
    subject, expires_at, key_id = claims.get("sub"), claims.get("exp"), header.get("kid")
    if header.get("alg") != Algorithm.ES256 or not signature or not _is_text_or_none(key_id):
        return None
    if "crit" in header:  # what must be understood and is not (RFC 7515, 4.1.11)
        return None
    if isinstance(subject, int) and not isinstance(subject, bool):
        subject = str(subject)
    if not isinstance(subject, str) or not isinstance(expires_at, int | float) or not _is_number(expires_at):
        return None
    return Token(
        subject=subject,
        app_id=None,
        key_id=str(key_id or ""),
        expires_at=expires_at * 1000.0,
        signed=signed,
        signature=signature,
    )


def _parts(text: str) -> tuple[dict[str, object], dict[str, object], bytes, bytes] | None:
    """Return the header, the claims, what is signed and the signature of a JWT; None for what has another form."""
    parts = text.split(".") if len(text) <= TOKEN_CHARACTERS_MAX else []
    if len(parts) != 3:
        return None
    decoded = [_decode(part) for part in parts]
    header, claims, signature = _object(decoded[0]), _object(decoded[1]), decoded[2]
    if header is None or claims is None or signature is None:
        return None
    return header, claims, f"{parts[0]}.{parts[1]}".encode(), signature


def find_fault(token: Token, keys: PublicKeys, now: int, *, app_id: str | None = None) -> TokenFault | None:
    """Return why the token proves nothing at ``now`` (milliseconds); the first that holds, or None: its subject is
    vouched for.

    ``app_id``, if given, is the one that the token must name.
    """
    if token.key_id is None:
        return TokenFault.UNSIGNED
    key = keys.get(token.key_id)
    if key is None:
        return TokenFault.UNKNOWN_KEY
    if not _ES256.verify(token.signed, key, token.signature):
        return TokenFault.WRONG_SIGNATURE
    if app_id is not None and token.app_id != app_id:
        return TokenFault.OTHER_APP
    if token.expires_at is not None and token.expires_at + EXPIRY_LEEWAY_MILLISECONDS <= now:
        return TokenFault.EXPIRED
    return None


def public_keys(keys: Iterable[IdentityKey]) -> PublicKeys:
    """Return keys that were read by ``read_identity_key``, ready for use."""
    return {key.kid: _load(key.public_key) for key in keys}


def read_identity_key(value: object) -> IdentityKey | None:
    """Return a key for P-256 (ES256), or None for what is none, a private one above all.

    Takes ``{"kid", "algorithm"?, "public_key"}`` with PEM text or a JWK, and a JWK that has its kid. A kid that is a
    UUID is the id of an API key of Croct's: its tokens name it by the SHA-256 of its bytes.
    """
    if not isinstance(value, dict):
        return None
    is_jwk = "kty" in value
    if not is_jwk and not value.keys() <= {"kid", "algorithm", "public_key"}:
        return None
    kid, algorithm = value.get("kid"), value.get("alg" if is_jwk else "algorithm", Algorithm.ES256)
    pem = _read_public_key(value if is_jwk else value.get("public_key"))
    if not isinstance(kid, str) or not _KEY_ID.fullmatch(kid) or algorithm != Algorithm.ES256 or pem is None:
        return None
    return IdentityKey(key_id_of(kid), Algorithm.ES256, pem)


def key_id_of(kid: str) -> str:
    """Return the id that tokens name a key by: of a UUID the SHA-256 of its 16 bytes in hex, else itself."""
    identifier = _UUID.fullmatch(kid)
    return sha256(bytes.fromhex("".join(identifier.groups()))).hexdigest() if identifier else kid


def _read_public_key(value: object) -> str | None:
    try:
        if isinstance(value, str):
            # PEM alone: the library would also read other formats, and private keys, which have no place here.
            if len(value) > PUBLIC_KEY_CHARACTERS_MAX or not _PEM.fullmatch(value):
                return None
            key = _ES256.prepare_key(value.strip())
        elif isinstance(value, dict) and "d" not in value and all(_is_short(value.get(n)) for n in ("crv", "x", "y")):
            key = _ES256.prepare_key(ECAlgorithm.from_jwk(value))
        else:
            return None
    except (PyJWTError, UnsupportedAlgorithm, ValueError, TypeError):
        return None
    if not isinstance(key, EllipticCurvePublicKey):
        return None
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@lru_cache(maxsize=1024)  # every channel's keys are looked at again whenever one channel changes
def _load(pem: str) -> EllipticCurvePublicKey:
    key = _ES256.prepare_key(pem)
    assert isinstance(key, EllipticCurvePublicKey)
    return key


def _decode(part: str) -> bytes | None:
    if not _BASE64URL.fullmatch(part):
        return None
    try:
        return urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except Base64Error:
        return None


def _object(text: bytes | None) -> dict[str, object] | None:
    members = read_object(text) if text is not None else None
    return None if members is None else {name: read_value(raw) for name, raw in members.items()}


def _is_text_or_none(value: object) -> bool:
    return value is None or isinstance(value, str)


def _is_short(value: object) -> bool:
    return isinstance(value, str) and len(value) <= PUBLIC_KEY_CHARACTERS_MAX


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _SECONDS_MAX


def _is_audience(value: object) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(item, str) for item in value))
