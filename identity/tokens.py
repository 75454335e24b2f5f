"""Pure: user tokens (JWT), unsigned and signed, and the keys that signatures are checked with.

A key is for one algorithm alone, so that no token can choose how it is checked; a public key is never a secret.
Source: Croct SDK (0.22), tokens and API keys; RFC 7515, RFC 7518 sections 3.2 and 3.4, RFC 7519 section 4.1.
"""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, HMACAlgorithm
from jwt.exceptions import PyJWTError

from identity.tolerant import read_object, read_value

TOKEN_CHARACTERS_MAX = 8 * 1024
PUBLIC_KEY_CHARACTERS_MAX = 2_000
KEY_ID_CHARACTERS_MAX = 128
SECRET_BYTES_MIN = 32
"""As long as the hash (RFC 7518, 3.2): a shorter one could be guessed from any token that it signed."""
SECRET_BYTES_MAX = 512
HINT_CHARACTERS = 4
_SECONDS_MAX = 10**12
"""Of a time in a token, either side of 1970; NaN and the infinities are beyond it too."""
LEEWAY_MILLISECONDS = 60_000
"""Clocks of whoever signs and of whoever checks may differ by this much, either way."""

_ES256 = ECAlgorithm(ECAlgorithm.SHA256, SECP256R1)
_HS256 = HMACAlgorithm(HMACAlgorithm.SHA256)
_HEADER_NAMES = frozenset({"typ", "alg", "kid", "appId"})
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")
_HEX = "[0-9a-fA-F]"
_UUID = re.compile(f"({_HEX}{{8}})-({_HEX}{{4}})-({_HEX}{{4}})-({_HEX}{{4}})-({_HEX}{{12}})")
_KEY_ID = re.compile(rf"[!-~]{{1,{KEY_ID_CHARACTERS_MAX}}}")
_SECRET = re.compile(rf"[!-~]{{{SECRET_BYTES_MIN},{SECRET_BYTES_MAX}}}")
_PEM = re.compile(r"\s*-----BEGIN PUBLIC KEY-----[A-Za-z0-9+/=\s]+-----END PUBLIC KEY-----\s*")


class Algorithm(StrEnum):
    """How a key's signatures are made."""

    ES256 = "ES256"
    HS256 = "HS256"


_SIGNATURES: Mapping[Algorithm, ECAlgorithm | HMACAlgorithm] = {Algorithm.ES256: _ES256, Algorithm.HS256: _HS256}


class IdentityKeyView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A key of whoever vouches for a website's customers, as admins see it: a public key is PEM, of a secret there is
    its end (``hint``).
    """

    kid: str
    algorithm: Algorithm
    public_key: str | None = None
    hint: str | None = None


class IdentityKey(IdentityKeyView, frozen=True, omit_defaults=True):
    """The key itself, as it is held. ``secret`` is base64url, and never told again."""

    secret: str | None = None

    def __repr__(self) -> str:
        """Return what a log may have."""
        return f"IdentityKey({self.kid!r}, {self.algorithm})"


class KeyInForce(msgspec.Struct, frozen=True):
    """A key ready for use: a public key for ES256, a secret for HS256."""

    algorithm: Algorithm
    material: EllipticCurvePublicKey | bytes

    def __repr__(self) -> str:
        """Return what a log may have."""
        return f"KeyInForce({self.algorithm})"

    def verifies(self, token: "Token") -> bool:
        """Return whether the token was signed by this key, in the way that is this key's own."""
        return _SIGNATURES[self.algorithm].verify(token.signed, self.material, token.signature)  # type: ignore[arg-type]


IdentityKeys = Mapping[str, KeyInForce]
"""The keys in force, by their id."""


class TokenFault(StrEnum):
    """Why a token proves nothing."""

    UNSIGNED = "unsigned"
    MALFORMED = "malformed"
    UNKNOWN_KEY = "unknown_key"
    WRONG_SIGNATURE = "wrong_signature"
    OTHER_APP = "other_app"
    NOT_YET_VALID = "not_yet_valid"
    EXPIRED = "expired"


TOKEN_FAULT_HINTS: dict[TokenFault, str] = {
    TokenFault.UNSIGNED: "The token is not signed.",
    TokenFault.MALFORMED: "The token is no JWT with the header typ, alg, kid, appId and the claims iss, aud, iat.",
    TokenFault.UNKNOWN_KEY: "The channel has no identity key with the token's kid and algorithm.",
    TokenFault.WRONG_SIGNATURE: "The token's signature is not of the key that it names, or of none if it names none.",
    TokenFault.OTHER_APP: "The token's appId is not the channel's id.",
    TokenFault.NOT_YET_VALID: "The token's nbf lies ahead: check the clock of whoever signs.",
    TokenFault.EXPIRED: "The token has expired: give the page a new one.",
}


class Token(msgspec.Struct, frozen=True):
    """A token as it came; what it says is not to be believed before ``find_fault`` has found nothing.

    ``subject`` is the customer, or None for an anonymous visitor. ``algorithm`` is None of an unsigned one, ``key_id``
    of one that names no key. ``not_before`` and ``expires_at`` are in milliseconds.
    """

    subject: str | None
    app_id: str | None
    algorithm: Algorithm | None
    key_id: str | None
    not_before: float | None
    expires_at: float | None
    signed: bytes
    signature: bytes

    @property
    def is_signed(self) -> bool:
        """Whether it came with a signature; says nothing of its worth."""
        return self.algorithm is not None


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
    subject, not_before, expires_at = claims.get("sub"), claims.get("nbf"), claims.get("exp")
    if not isinstance(claims.get("iss"), str) or not _is_audience(claims.get("aud")):
        return None
    if not _is_number(claims.get("iat")) or not _is_text_or_none(subject):
        return None
    if not _is_number_or_none(not_before) or not _is_number_or_none(expires_at):
        return None
    return Token(
        subject=subject if isinstance(subject, str) else None,
        app_id=app_id if isinstance(app_id, str) else None,
        algorithm=None if algorithm == "none" else Algorithm.ES256,
        key_id=key_id if isinstance(key_id, str) else None,
        not_before=_milliseconds(not_before),
        expires_at=_milliseconds(expires_at),
        signed=signed,
        signature=signature,
    )


def read_identity_token(text: str) -> Token | None:
    """Return a token of a website's own server, or None for what is none. Never raises.

    Takes JWTs signed by ES256 or HS256 that name their customer (``sub``, a text or a whole number), when they expire
    (``exp``) and, if need be, from when on they hold (``nbf``); other headers and claims are passed over.
    """
    parts = _parts(text)
    if parts is None:
        return None
    header, claims, signed, signature = parts
    subject, not_before, expires_at = claims.get("sub"), claims.get("nbf"), claims.get("exp")
    algorithm, key_id = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in tuple(Algorithm) or not signature:
        return None
    if not _is_text_or_none(key_id) or not _is_number_or_none(not_before):
        return None
    if "crit" in header:  # what must be understood and is not (RFC 7515, 4.1.11)
        return None
    if isinstance(subject, int) and not isinstance(subject, bool):
        subject = str(subject)
    if not isinstance(subject, str) or not _is_number(expires_at):
        return None
    return Token(
        subject=subject,
        app_id=None,
        algorithm=Algorithm(algorithm),
        key_id=key_id if isinstance(key_id, str) else None,
        not_before=_milliseconds(not_before),
        expires_at=_milliseconds(expires_at),
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


def find_fault(token: Token, keys: IdentityKeys, now: int, *, app_id: str | None = None) -> TokenFault | None:
    """Return why the token proves nothing at ``now`` (milliseconds); the first that holds, or None: its subject is
    vouched for.

    ``app_id``, if given, is the one that the token must name. A token that names no key may be of any; its algorithm
    only tells which keys cannot be meant.
    """
    if token.algorithm is None:
        return TokenFault.UNSIGNED
    named = keys.values() if token.key_id is None else [keys[token.key_id]] if token.key_id in keys else []
    fitting = [key for key in named if key.algorithm is token.algorithm]
    if not fitting:
        return TokenFault.UNKNOWN_KEY
    if not any(key.verifies(token) for key in fitting):
        return TokenFault.WRONG_SIGNATURE
    if app_id is not None and token.app_id != app_id:
        return TokenFault.OTHER_APP
    if token.not_before is not None and token.not_before - LEEWAY_MILLISECONDS > now:
        return TokenFault.NOT_YET_VALID
    if token.expires_at is not None and token.expires_at + LEEWAY_MILLISECONDS <= now:
        return TokenFault.EXPIRED
    return None


def keys_in_force(keys: Iterable[IdentityKey]) -> IdentityKeys:
    """Return keys that were read by ``read_identity_key``, ready for use."""
    return {key.kid: KeyInForce(key.algorithm, _material(key)) for key in keys}


def read_identity_key(value: object) -> IdentityKey | None:
    """Return a public key for P-256 (ES256) or a secret (HS256), or None for what is neither: a private key above all,
    and a public one that is given as a secret.

    Takes ``{"kid", "algorithm"?, "public_key"}`` with PEM text or a JWK; ``{"kid", "algorithm"?, "secret"}`` with text,
    whose bytes are the secret; and a JWK that has its kid. A public key's kid that is a UUID is the id of an API key of
    Croct's: its tokens name it by the SHA-256 of its bytes.
    """
    kid = value.get("kid") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(kid, str) or not _KEY_ID.fullmatch(kid):
        return None
    is_jwk = "kty" in value
    is_secret = value["kty"] == "oct" if is_jwk else "secret" in value
    own = Algorithm.HS256 if is_secret else Algorithm.ES256
    if not is_jwk and not value.keys() <= {"kid", "algorithm", "secret" if is_secret else "public_key"}:
        return None
    if value.get("alg" if is_jwk else "algorithm", own) != own:
        return None
    if is_secret:
        return _read_secret(kid, value.get("k" if is_jwk else "secret"), is_base64url=is_jwk)
    pem = _read_public_key(value if is_jwk else value.get("public_key"))
    return None if pem is None else IdentityKey(key_id_of(kid), Algorithm.ES256, public_key=pem)


def key_id_of(kid: str) -> str:
    """Return the id that tokens name a key by: of a UUID the SHA-256 of its 16 bytes in hex, else itself."""
    identifier = _UUID.fullmatch(kid)
    return sha256(bytes.fromhex("".join(identifier.groups()))).hexdigest() if identifier else kid


def _read_secret(kid: str, value: object, *, is_base64url: bool) -> IdentityKey | None:
    if not isinstance(value, str) or len(value) > 2 * SECRET_BYTES_MAX:
        return None
    secret = _decode(value) if is_base64url else value.encode() if _SECRET.fullmatch(value) else None
    if secret is None or not SECRET_BYTES_MIN <= len(secret) <= SECRET_BYTES_MAX:
        return None
    # Everybody has a public key: whoever gives one as a secret, also without its PEM lines, lets all of them sign.
    lines = secret.decode("latin-1")
    if _read_public_key(f"-----BEGIN PUBLIC KEY-----\n{lines}\n-----END PUBLIC KEY-----") is not None:
        return None
    try:
        _HS256.prepare_key(secret)
    except PyJWTError:
        return None
    held = urlsafe_b64encode(secret).rstrip(b"=").decode()
    return IdentityKey(kid, Algorithm.HS256, hint=value[-HINT_CHARACTERS:], secret=held)


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


def _material(key: IdentityKey) -> EllipticCurvePublicKey | bytes:
    if key.algorithm is Algorithm.ES256:
        return _load(str(key.public_key))
    secret = _decode(str(key.secret))
    assert secret is not None
    return secret


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


def _is_number_or_none(value: object) -> bool:
    return value is None or _is_number(value)


def _milliseconds(seconds: object) -> float | None:
    return seconds * 1000.0 if isinstance(seconds, int | float) else None


def _is_audience(value: object) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(item, str) for item in value))
