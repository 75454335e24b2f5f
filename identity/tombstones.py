"""Who was erased: each known by a keyed hash of the id alone, so that nothing of the person is taken any more.

Where nobody was ever erased this costs next to nothing: nobody is looked for before a batch is decided. That a batch
was wrong about someone shows when it is saved: a profile is written only if it is not erased (``save_customers``), and
other rows that name customers are looked at once more within their transaction (``forbidding``). Then the batch is
decided anew, and who was erased is looked for first.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import chain
from typing import NamedTuple

from identity.resolve import Key
from profiles import store
from profiles.access import Access
from profiles.database import Connection, Database, Unavailable, statement
from profiles.pipeline import Command, fetch_together
from profiles.profile import Profile
from profiles.store import KeyRow, Spreads


class Tombstone(NamedTuple):
    """What is left of an erased customer: the last version, and when the erasure was lifted, if it was."""

    version: int
    lifted_at: int | None

    def begun_at(self, customer_id: str) -> Profile | None:
        """Return what was there before the ledger that begins behind it; None: nobody can, it was not lifted."""
        if self.lifted_at is None:
            return None
        return Profile(customer_id, self.version, self.lifted_at, self.lifted_at, {}, is_gone=True)


class Tombstones:
    """Part of the snapshot that ``Access`` keeps: the key of the hashes, and where anybody was erased."""

    def __init__(self, database: Database, access: Access, spreads: Spreads) -> None:
        self._database = database
        self._spreads = spreads
        self._key: bytes | None = None
        self._workspaces: frozenset[int] = frozenset()
        access.loaders.append(self._load)

    def is_in_use(self, workspace_id: int) -> bool:
        """Return whether anybody was erased in the workspace, as of the snapshot."""
        return workspace_id in self._workspaces

    def hash_of(self, workspace_id: int, customer_id: str) -> str:
        """Return what stands for a customer once the id is held no more.

        Raises:
            Unavailable: the snapshot was never read; the database is away.
        """
        if self._key is None:
            raise Unavailable("the key of the tombstones is not known")
        return hash_of(self._key, workspace_id, customer_id)

    def proof(self) -> str:
        """Return what tells whether hashes are by this store's key."""
        return self.hash_of(0, "")[:16]

    async def find(self, connection: Connection, keys: Iterable[Key]) -> dict[Key, Tombstone]:
        """Return the tombstones of those of the customers that were erased."""
        by_hash = {
            (workspace_id, self.hash_of(workspace_id, named)): (workspace_id, named) for workspace_id, named in keys
        }
        commands = store.loading(self._database, "identity", "load_tombstones", self._rows(by_hash))
        found: dict[Key, Tombstone] = {}
        for workspace_id, customer_hash, version, lifted_at in chain.from_iterable(
            await fetch_together(connection, commands)
        ):
            key = by_hash[store.number(workspace_id), store.text(customer_hash)]
            found[key] = Tombstone(store.number(version), None if lifted_at is None else int(lifted_at))
        return found

    def forbidding(self, keys: Iterable[Key]) -> Iterator[Command]:
        """Give the commands that fail if one of the customers is erased by now."""
        by_hash = {
            (workspace_id, self.hash_of(workspace_id, named)): (workspace_id, named) for workspace_id, named in keys
        }
        for group in self._database.by_shard(self._rows(by_hash)):
            yield Command("identity", "forbid_erased", store.key_parameters(group))

    def _rows(self, by_hash: Mapping[Key, Key]) -> Sequence[KeyRow]:
        return [
            KeyRow(self._spreads.bucket(*key), workspace_id, customer_hash)
            for (workspace_id, customer_hash), key in sorted(by_hash.items())
        ]

    async def _load(self, connection: Connection) -> None:
        rows = await (await connection.execute(statement("identity", "load_erasing"))).fetchall()
        self._key = bytes(rows[0][0]) if rows else None
        self._workspaces = frozenset(workspace_id for _, workspace_id in rows if workspace_id is not None)


def hash_of(key: bytes, workspace_id: int, customer_id: str) -> str:
    """Return the keyed hash of a customer's id."""
    return blake2b(f"{workspace_id}:{customer_id}".encode(), key=key, digest_size=32).hexdigest()
