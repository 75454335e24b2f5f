"""Taking merges of one customer back, and letting them count again: what has to be read for it, page by page.

A long ledger costs no more than a short one: only rows from the first that changes its side are read, only those that
offered something to the fields in question, and only until both folds agree (profiles/ledger.py).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from profiles import ledger
from profiles.clock import to_text
from profiles.database import Connection, statement
from profiles.fields import CUSTOM
from profiles.ledger import Comparison, Reach
from profiles.merge import Applied
from profiles.profile import Merge, Profile
from profiles.remarks import Reason, Verdict
from profiles.store import Spreads, merge_from

ROWS_AT_ONCE = 100
"""Rows of the ledger in the first page; each further one has twice as many."""
ROWS_AT_ONCE_MAX = 5000
VERSION_MAX = 2**31 - 1


_WORDS = frozenset({*map(str, Verdict), *map(str, Reason)})


def _pattern(*words: str) -> str:
    """Return what a row's decisions contain if one of them has these words, in whatever place."""
    return msgspec.json.encode([words]).decode()


class Ledgers:
    """Reads the ledgers of one workspace on one connection."""

    def __init__(self, connection: Connection, spreads: Spreads, workspace_id: int) -> None:
        self._connection = connection
        self._spreads = spreads
        self._workspace_id = workspace_id

    async def acts(self, customer_id: str) -> list[Merge]:
        """Return what was done to a ledger itself, in version order."""
        return await self._rows("load_acts", customer_id)

    async def named(self, customer_id: str, merge_ids: Collection[str]) -> list[Merge]:
        """Return those rows of a ledger that are there, in version order."""
        return await self._rows("load_merges", customer_id, merge_ids=sorted(merge_ids)) if merge_ids else []

    async def copies(self, merge_ids: Collection[str]) -> list[Merge]:
        """Return the rows of whatever ledgers that are copies of these, and the copies of those."""
        where = {"workspace_id": self._workspace_id, "buckets": self._spreads.buckets(self._workspace_id)}
        known, originals = set(merge_ids), sorted(merge_ids)
        found: list[Merge] = []
        while originals:
            cursor = await self._connection.execute(
                statement("profiles", "find_copies"), {**where, "merge_ids": originals}
            )
            copies = [merge_from(row) for row in await cursor.fetchall()]
            found += [row for row in copies if row.merge_id not in known]
            originals = sorted({row.merge_id for row in copies} - known)
            known.update(originals)
        return found

    async def adopted(self, customer_id: str, visitor_id: str, occurred_at: int, received_at: int) -> list[Merge]:
        """Return the merges by which a customer got what the anonymous visitor had said, by an event of that time or
        by a join since then."""
        times = {"occurred_at": to_text(occurred_at), "received_at": to_text(received_at)}
        return await self._rows("find_adopted", customer_id, visitor_id=visitor_id, **times)

    async def of_other(self, customer_id: str, other_id: str) -> list[Merge]:
        """Return the rows of a ledger that speak of another customer, one who is joined or was, in version order."""
        return await self._rows("load_of_other", customer_id, other_id=other_id)

    async def first_merge(self, customer_id: str, without: Collection[str]) -> Merge | None:
        """Return the oldest merge of a customer but for those."""
        return next(iter(await self._rows("find_first_merge", customer_id, merge_ids=sorted(without))), None)

    async def rows(
        self,
        customer_id: str,
        *,
        first: int = 1,
        last: int = VERSION_MAX,
        fields: Collection[str] | None = None,
        versions: Sequence[int] = (),
        repeated: Mapping[str, str] = MappingProxyType({}),
        only_skipped: bool = False,
        rows_max: int,
    ) -> list[Merge]:
        """Return rows from the version ``first`` on; of ``fields`` only, with locks and ``versions``, or all.

        Those are left out that were found to repeat each of the texts in ``repeated``, by its field, and with
        ``only_skipped`` those in which every value won or repeated what was held.
        """
        wanted = None if fields is None else [_pattern(field) for field in sorted(fields)]
        unchanged = [_pattern(field, Verdict.UNCHANGED, text) for field, text in sorted(repeated.items())]
        return await self._rows(
            "load_ledger",
            customer_id,
            first=first,
            last=last,
            wanted=wanted,
            versions=list(versions),
            unchanged=unchanged or None,
            only_skipped=only_skipped,
            rows_max=rows_max,
        )

    async def set_at(self, customer_id: str, versions: Iterable[int]) -> dict[int, int]:
        """Return when what these versions told happened, in milliseconds."""
        parameters = {**self._of(customer_id), "versions": sorted(versions)}
        cursor = await self._connection.execute(statement("profiles", "load_set_at"), parameters)
        return dict(await cursor.fetchall())

    async def _rows(self, name: str, customer_id: str, **parameters: Any) -> list[Merge]:
        cursor = await self._connection.execute(statement("profiles", name), {**self._of(customer_id), **parameters})
        return [merge_from(row) for row in await cursor.fetchall()]

    def _of(self, customer_id: str) -> Mapping[str, object]:
        return {
            "workspace_id": self._workspace_id,
            "customer_id": customer_id,
            "bucket": self._spreads.bucket(self._workspace_id, customer_id),
        }


async def take_back(ledgers: Ledgers, held: Profile, act: Merge) -> Applied:
    """Return the profile after ``act`` took back what ``undoes`` names, and the act's row. Nothing is written.

    Raises:
        LedgerBroken: what is held is not what the ledger amounts to.
    """
    acts = await ledgers.acts(held.customer_id)
    before, after = ledger.undone(acts), ledger.undone([*acts, act])
    changed = await ledgers.named(held.customer_id, before.keys() ^ after.keys())
    merges = [row for row in changed if row.is_merge]
    if not merges:
        return ledger.take_back(held, act, held.fields, exists=not held.is_gone)
    ever = await ledgers.named(held.customer_id, {target for row in acts for target in row.undoes})
    heir_before = await ledgers.first_merge(held.customer_id, before)
    heir_after = await ledgers.first_merge(held.customer_id, after)
    heirs = [row for row in (heir_before, heir_after) if row is not None]
    is_same = len({row.merge_id for row in heirs}) == 1 and len(heirs) == 2
    extent = ledger.reach(held.fields, merges, (row.version for row in ever if row.is_merge), () if is_same else heirs)
    since = heir_before.version if heir_before else None, heir_after.version if heir_after else None
    fields = await _compare(ledgers, held, extent, acts, before, after, since)
    return ledger.take_back(held, act, fields, exists=heir_after is not None)


async def _compare(
    ledgers: Ledgers,
    held: Profile,
    extent: Reach,
    acts: Sequence[Merge],
    before: Collection[str],
    after: Collection[str],
    since: tuple[int | None, int | None],
) -> ledger.Fields:
    locks: dict[str, int] = {}
    for act in acts:
        if act.version < extent.first:
            locks = ledger.locks_after(locks, act)
    set_at: dict[int, int] = {}
    comparison = Comparison(extent, before=before, after=after, since=since, locks=locks, set_at=set_at)
    fields: Collection[str] | None = None if CUSTOM in extent.fields else extent.fields
    first, rows_max = extent.first, ROWS_AT_ONCE
    repeated: Mapping[str, str] | None = None
    while True:
        rows = await ledgers.rows(
            held.customer_id,
            first=first,
            last=held.version,
            fields=fields if repeated is None else repeated.keys(),
            versions=[extent.last],
            repeated=repeated or {},
            only_skipped=not acts and repeated is not None and comparison.is_last_winner(held.fields),
            rows_max=rows_max,
        )
        old = {d.old_version for row in rows for d in row.decisions if d.old_version is not None}
        set_at.update(await ledgers.set_at(held.customer_id, old - set_at.keys()))
        for row in rows:
            first = row.version + 1
            if comparison.feed(row):
                return comparison.outcome(held.fields)
            if repeated is not None and comparison.repeated() != repeated:
                break  # what was left out for it may matter now
        else:
            if len(rows) < rows_max:
                return comparison.outcome(held.fields)
        rows_max = min(rows_max * 2, ROWS_AT_ONCE_MAX)
        repeated = _findable(comparison.repeated()) if fields is not None else None


def _findable(repeated: Mapping[str, str] | None) -> Mapping[str, str] | None:
    """Return the texts, if rows that repeat them can be told from others by what they contain."""
    is_findable = repeated is not None and not any(text in _WORDS or text == field for field, text in repeated.items())
    return repeated if is_findable else None
