"""Pure: which bucket a row belongs to. One function, so that a row is always looked for where it was put."""

from functools import lru_cache
from hashlib import blake2b

BUCKETS = 4096


def _h64(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


@lru_cache(maxsize=1024)
def _base(workspace_id: int) -> int:
    return _h64(str(workspace_id))


def bucket_of(workspace_id: int, spread: int, identifier: str) -> int:
    """Return the bucket, 0 to 4095, of the row that ``identifier`` names in a workspace.

    ``spread`` is the number of buckets the workspace covers: 1 keeps everything of a tenant together, so that each
    of its transactions touches one shard; 4096 lets a huge tenant use every shard.
    """
    if spread == 1:
        return _base(workspace_id) % BUCKETS
    return (_base(workspace_id) + _h64(f"{workspace_id}:{identifier}") % spread) % BUCKETS


def buckets_of(workspace_id: int, spread: int) -> list[int]:
    """Return every bucket that rows of the workspace may lie in, for reads across the whole workspace."""
    base = _base(workspace_id)
    return sorted((base + step) % BUCKETS for step in range(spread))
