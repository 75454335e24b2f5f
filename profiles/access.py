"""Who may come in: workspaces, secret keys and their scopes, known to every worker and withdrawn at once everywhere.

Each worker holds a snapshot and the store's generation at which it was taken. Every request compares that with the
generation as the cache tells it, or as PostgreSQL does where the cache can't; whoever changes keys or channels advances
it. So a revoked key is refused by the next request of every worker on every host.
"""

import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from hashlib import sha256
from secrets import token_urlsafe

import msgspec

from profiles.cache import Cache
from profiles.coalesce import Coalescer, Overloaded
from profiles.database import Connection, Database, Unavailable, statement
from profiles.http import Problem, Request
from profiles.store import Spreads
from profiles.views import read_bearer

SECRET_PREFIX = "sk_"  # noqa: S105 - what all secrets begin with
_BEARER = ((b"www-authenticate", b"Bearer"),)


class Scope(StrEnum):
    """What a secret key may do."""

    PROFILES_READ = "profiles:read"
    PROFILES_WRITE = "profiles:write"
    ADMIN = "admin"


class SecretKey(msgspec.Struct, frozen=True):
    """A secret key in force."""

    key_id: str
    workspace_id: int
    name: str
    scopes: frozenset[Scope]

    @property
    def actor(self) -> str:
        """What the ledger calls whoever holds it."""
        return f"key:{self.name}"


class Workspace(msgspec.Struct, frozen=True):
    """A tenant."""

    workspace_id: int
    slug: str
    spread: int
    blocked: frozenset[str] | None
    """Customer ids that stand for nobody, in lower case; None for the list that comes with the service."""
    footprint_days: int
    """How long behaviour events are kept, in days from their arrival."""


def hash_of(secret: str) -> str:
    """Return what is kept of a secret. It has 256 random bits, so one round of hashing is enough."""
    return sha256(secret.encode("utf-8", "replace")).hexdigest()


def make_secret() -> str:
    """Return a new secret key."""
    return SECRET_PREFIX + token_urlsafe(32)


class Access:
    """The snapshot of one worker. ``loaders`` read what others want to be part of it, on the same connection."""

    def __init__(self, database: Database, cache: Cache, spreads: Spreads) -> None:
        self._database = database
        self._cache = cache
        self._spreads = spreads
        self.generation = -1
        self.workspaces: dict[int, Workspace] = {}
        self.loaders: list[Callable[[Connection], Awaitable[None]]] = []
        self._keys: dict[str, SecretKey] = {}
        self._hashes: dict[str, str] = {}
        self._confirmations: Coalescer[None, int] = Coalescer(self._ask_database)

    def find_key(self, secret: str) -> SecretKey | None:
        """Return the key that a secret belongs to, as of the snapshot."""
        return self._keys.get(hash_of(secret))

    def find_key_by_id(self, key_id: str) -> tuple[SecretKey, str] | None:
        """Return the key with this id and the hash of its secret, as of the snapshot."""
        secret_hash = self._hashes.get(key_id)
        return None if secret_hash is None else (self._keys[secret_hash], secret_hash)

    async def authorize(self, request: Request, scope: Scope, generation: int | None = None) -> SecretKey:
        """Return the key of a request, whose scope was checked.

        Raises:
            Problem: 401, no key in force; 403, not its scope.
        """
        key = await self.authenticate(request, generation)
        if scope not in key.scopes:
            raise Problem(403, "missing_scope", f"This key does not have the scope {scope}.")
        return key

    async def authenticate(self, request: Request, generation: int | None = None) -> SecretKey:
        """Return the key of a request, whatever its scopes.

        ``generation`` is what the cache told in a read made for this very request, if there was one.

        Raises:
            Problem: 401, no key in force.
        """
        secret = read_bearer(request)
        if secret is None:
            raise Problem(401, "missing_key", "Send a secret key as Authorization: Bearer sk_…", _BEARER)
        if generation is None:
            generation = (await self._cache.read(())).generation
        await self.confirm(generation)
        key = self.find_key(secret)
        if key is None:
            raise Problem(401, "unknown_key", "No key in force is this one.", _BEARER)
        return key

    async def confirm(self, told: int | None) -> None:
        """Make sure that the snapshot is the present one. What was found in it before must be looked up again.

        ``told`` is the generation that the cache gave in answer to a read made for this very request, or None.

        Raises:
            Unavailable: neither the cache nor the database could tell.
        """
        if told == self.generation:
            return
        await self._confirmations.submit(None)
        if told is not None and told > self.generation:
            # Left by a database that was restored to an earlier day, or junk: the fence would keep the truth out.
            await self._cache.forget([(self._cache.generation_key(), told)])

    async def _ask_database(self, callers: Sequence[None]) -> list[int]:
        since = time.monotonic()
        rows = await self._database.fetch("profiles", "load_store")
        generation = int(rows[0][1])
        if generation != self.generation:
            await self._database.run(self._load)
        self._cache.fill([(self._cache.generation_key(), generation, b"")], since)
        return [generation] * len(callers)

    async def _load(self, connection: Connection) -> None:
        # The generation is read first: what changes after it shows in the next comparison.
        store = await (await connection.execute(statement("profiles", "load_store"))).fetchone()
        workspaces = await (await connection.execute(statement("profiles", "load_workspaces"))).fetchall()
        keys = await (await connection.execute(statement("profiles", "load_keys"))).fetchall()
        for loader in self.loaders:
            await loader(connection)
        for workspace_id, _, spread, _, _ in workspaces:
            self._spreads.learn(workspace_id, spread)
        self.workspaces = {
            workspace_id: Workspace(
                workspace_id,
                slug,
                spread,
                None if blocked is None else frozenset(map(str.casefold, blocked)),
                footprint_days,
            )
            for workspace_id, slug, spread, blocked, footprint_days in workspaces
        }
        self._keys = {
            secret_hash: SecretKey(key_id, workspace_id, name, frozenset(map(Scope, scopes)))
            for key_id, workspace_id, name, scopes, secret_hash in keys
        }
        self._hashes = {key.key_id: secret_hash for secret_hash, key in self._keys.items()}
        self.generation = int(store[1]) if store else -1

    async def announce(self, generation: int, since: float) -> None:
        """Tell the other workers, once the transaction is committed and before the caller is answered."""
        await self._cache.write([(self._cache.generation_key(), generation, b"")], since)
        # Only to be ready for the next request, which would ask by itself: the change is committed, so no failure here
        # may make it look undone.
        with contextlib.suppress(Unavailable, Overloaded):
            await self.confirm(None)
