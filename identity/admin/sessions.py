"""Who is signed in to the inspector: a signed cookie that names a key, and the key is asked for with every request.

A cookie is signed with what follows from the hash of its key's secret. So every worker of every host can check it,
nothing is kept of it anywhere, and it ends in the moment in which the key is revoked. Whoever can read the table of
secret keys could sign one; such a person can read everything else as well.
"""

import hmac
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from hashlib import sha256
from urllib.parse import urlsplit

import msgspec

from profiles.access import Access, Scope, SecretKey, hash_of
from profiles.cache import Cache
from profiles.http import Problem, Request

COOKIE = "__Host-inspector"
SESSION_SECONDS_MAX = 12 * 3600
"""A session ends then, whatever is done in it."""
IDLE_SECONDS_MAX = 3600
"""A session in which nothing is asked for ends then."""
RENEW_SECONDS = 300
"""A cookie older than this is given anew, so that it shows when it was last used."""
SECRET_CHARACTERS_MAX = 200
FAILURES_MAX = 10
"""Failed sign-ins from one address in FAILURE_SECONDS; then it has to wait, also with the right key."""
FAILURE_SECONDS = 300
ADDRESSES_MAX = 10_000
"""Addresses that one worker counts by itself while Redis is away; then it counts anew."""

# KEYS: the address. ARGV: how many more, seconds to live. Gives how many there are.
_COUNT = """
local held = tonumber(redis.call('GET', KEYS[1]) or '0') or 0
if ARGV[1] == '0' then return held end
held = redis.call('INCRBY', KEYS[1], ARGV[1])
if held == tonumber(ARGV[1]) then redis.call('EXPIRE', KEYS[1], ARGV[2]) end
return held
"""


class Session(msgspec.Struct, frozen=True):
    """Someone who is signed in. Times are seconds since 1970. ``form_token`` stands in every form of the session."""

    key: SecretKey
    began_at: int
    seen_at: int
    nonce: str
    value: str
    form_token: str


class Sessions:
    """The sessions of one worker's requests."""

    def __init__(self, access: Access, cache: Cache, clock: Callable[[], float] = time.time) -> None:
        self._access = access
        self._cache = cache
        self._clock = clock
        self._failures: dict[str, tuple[int, float]] = {}

    async def sign_in(self, request: Request, secret: str) -> Session:
        """Return a new session of the key whose secret this is.

        Raises:
            Problem: 401, no key in force is this one; 403, it has not the scope admin; 429, too many have failed.
        """
        counter = self._cache.own_key(f"f:{sha256(_address(request).encode()).hexdigest()[:24]}")
        if await self._count(counter, 0) >= FAILURES_MAX:
            raise Problem(429, "too_many_sign_ins", "Too many sign-ins have failed from here: wait five minutes.")
        await self._confirm()
        secret = secret.strip()
        key = self._access.find_key(secret) if len(secret) <= SECRET_CHARACTERS_MAX else None
        if key is None:
            await self._count(counter, 1)
            raise Problem(401, "unknown_key", "No key in force is this one.")
        if Scope.ADMIN not in key.scopes:
            raise Problem(403, "missing_scope", f"This key does not have the scope {Scope.ADMIN}.")
        now = int(self._clock())
        return _session(key, hash_of(secret), now, now, secrets.token_hex(16))

    async def find(self, request: Request) -> Session | None:
        """Return whose request this is, or None: no cookie, one that is not ours, too old, or its key is revoked."""
        parts = (_cookie(request) or "").split(".")
        if len(parts) != 5 or not parts[1].isdecimal() or not parts[2].isdecimal() or max(map(len, parts)) > 64:
            return None
        key_id, began_at, seen_at, nonce, _ = parts
        await self._confirm()
        held = self._access.find_key_by_id(key_id)
        if held is None:
            return None
        session = _session(held[0], held[1], int(began_at), int(seen_at), nonce)
        if not hmac.compare_digest(session.value.encode(), ".".join(parts).encode()):
            return None
        now = self._clock()
        is_present = now - session.began_at < SESSION_SECONDS_MAX and now - session.seen_at < IDLE_SECONDS_MAX
        return session if is_present and Scope.ADMIN in session.key.scopes else None

    def renewed(self, session: Session) -> Session | None:
        """Return the session as it was seen now, if that is worth another cookie."""
        now = int(self._clock())
        held = self._access.find_key_by_id(session.key.key_id)
        if held is None or now - session.seen_at < RENEW_SECONDS:
            return None
        return _session(held[0], held[1], session.began_at, now, session.nonce)

    async def _confirm(self) -> None:
        await self._access.confirm((await self._cache.read(())).generation)

    async def _count(self, counter: str, more: int) -> int:
        found = await self._cache.ask("EVAL", _COUNT, 1, counter, more, FAILURE_SECONDS)
        if isinstance(found, int):
            return found
        now = self._clock()
        held, until = self._failures.get(counter, (0, now + FAILURE_SECONDS))
        if until <= now:
            held, until = 0, now + FAILURE_SECONDS
        if more:
            if len(self._failures) >= ADDRESSES_MAX:
                self._failures.clear()
            self._failures[counter] = (held + more, until)
        return held + more


def require_own_page(request: Request) -> None:
    """Make sure that a form was sent by a page of ours, and not by another site in the name of who is signed in.

    Raises:
        Problem: 403, it came from elsewhere, or nothing tells where from.
    """
    site = request.headers.get(b"sec-fetch-site")
    origin = request.headers.get(b"origin", b"").decode("latin-1")
    host = request.headers.get(b"host", b"").decode("latin-1")
    if site != b"same-origin" if site is not None else not _is_of(origin, host):
        raise Problem(403, "other_site", "This form was not sent by a page of this service.")


def require_token(session: Session, token: str | None) -> None:
    """Make sure that a form is one of this session.

    Raises:
        Problem: 403, it is not: it was opened before the last sign-in, or made by someone else.
    """
    if token is None or not hmac.compare_digest(session.form_token.encode(), token.encode("utf-8", "replace")):
        raise Problem(403, "stale_form", "This form is of an earlier sign-in: open the page again.")


def set_cookie(session: Session) -> tuple[bytes, bytes]:
    """Return the header that gives the browser the session."""
    return _header(session.value, IDLE_SECONDS_MAX)


def end_cookie() -> tuple[bytes, bytes]:
    """Return the header that takes it away."""
    return _header("", 0)


def _header(value: str, seconds: int) -> tuple[bytes, bytes]:
    text = f"{COOKIE}={value}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Strict"
    return b"set-cookie", text.encode("ascii")


def _session(key: SecretKey, secret_hash: str, began_at: int, seen_at: int, nonce: str) -> Session:
    signing = hmac.digest(secret_hash.encode(), b"inspector", sha256)
    named = f"{key.key_id}.{began_at}.{seen_at}.{nonce}"
    return Session(
        key=key,
        began_at=began_at,
        seen_at=seen_at,
        nonce=nonce,
        value=f"{named}.{_signature(signing, named)}",
        form_token=_signature(signing, f"form.{key.key_id}.{began_at}.{nonce}"),
    )


def _signature(signing: bytes, text: str) -> str:
    return urlsafe_b64encode(hmac.digest(signing, text.encode("utf-8", "replace"), sha256)).decode().rstrip("=")


def read_cookies(request: Request) -> dict[str, str]:
    """Return the cookies of a request; of one sent twice, the first."""
    found: dict[str, str] = {}
    for part in request.headers.get(b"cookie", b"").decode("latin-1").split(";"):
        name, _, value = part.strip().partition("=")
        found.setdefault(name, value)
    return found


def _cookie(request: Request) -> str | None:
    return read_cookies(request).get(COOKIE)


def _address(request: Request) -> str:
    client = request.scope.get("client")
    return str(client[0]) if client else ""


def _is_of(origin: str, host: str) -> bool:
    try:
        return bool(host) and urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        return False
