"""Erasing a person: everything that is held of a customer goes, and a tombstone stays.

One transaction takes the profile away and puts the tombstone in its place; from then on nothing is taken of the
customer. What else there is goes in steps of bounded size, each a transaction of its own that also tells how far it
came, so that whoever finds the work left undone goes on with it. Until it is done, the tombstone has the ids in clear.

What a visitor shared with others did in the customer's time is removed, and that time is nobody's from then on. A
visitor that was nobody else's is removed with all it ever did.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
import psycopg

from identity import identifications
from identity.intake import ALONE_ATTEMPTS_MAX, BACK_OFF_SECONDS_MAX, Intake
from identity.resolve import Fact, FactKind, Visitor, follow, stretches_of
from identity.tombstones import Tombstones
from profiles import ledger, store
from profiles.access import Access
from profiles.cache import Cache
from profiles.clock import to_text
from profiles.coalesce import Overloaded
from profiles.database import Conflict, Connection, Database, Unavailable, is_retryable, rows_json, statement
from profiles.http import Problem, log_fault
from profiles.profile import Act, Merge, Policy, Profile
from profiles.store import Spreads
from profiles.undoing import VERSION_MAX, Ledgers

STEP_ROWS_MAX = 5000
"""Rows that one step removes."""
STEP_VISITORS_MAX = 100
TOGETHER_ATTEMPTS_MAX = 4
"""Times that several visitors are tried together while others write of them; then half of them are."""
STEP_SECONDS_MAX = 20.0
PREVIEW_SECONDS_MAX = 20.0
ERASING_SECONDS_MAX = 10.0
"""A caller waits so long for everything to be removed; then it goes on without him."""
POLL_SECONDS = 5.0
LEFT_MILLISECONDS = 60_000
"""An erasure that is not done by then was left by its worker: whoever looks next goes on with it."""
BARRIER_SECONDS = 0.02
ERASURES_AT_ONCE = 1000
ERASE_EVENT = "erase"
ADMIN_SOURCE = "admin"
_ADDED_AT = 0
"""Stands for the time of a link in pairs that were added for the erasure to go through."""

log = logging.getLogger(__name__)

Result = TypeVar("Result")


class _Contended(Unavailable):
    """Other writers were faster every time."""


class _Moved(Exception):
    """Something was said of a visitor since its log was read."""


class Removed(msgspec.Struct):
    """What an erasure removes, in rows. ``cleared``: rows that tell of others, and named the customer besides."""

    customers: int = 0
    merges: int = 0
    links: int = 0
    visitors: int = 0
    identifications: int = 0
    events: int = 0
    purchases: int = 0
    refusals: int = 0
    cleared: int = 0


class Pending(msgspec.Struct, frozen=True):
    """Whom an erasure is of, the customers joined with each other: none where another tombstone tells.

    ``parted`` were joined with them once, and are somebody else again.
    """

    customer_ids: tuple[str, ...] = ()
    parted: tuple[str, ...] = ()


class Erasure(msgspec.Struct, frozen=True):
    """A tombstone as it is held. Times in milliseconds."""

    bucket: int
    customer_hash: str
    erasure_id: str
    version: int
    actor: str
    erased_at: int
    pending: Pending | None
    removed: Removed
    lifted_at: int | None = None
    lifted_by: str | None = None


class Receipt(msgspec.Struct, frozen=True):
    """What became of an erasure: how many rows of each kind it removed, or would.

    ``customer_hash`` is all that is kept of the id. ``pending``: not everything is removed yet; the numbers still grow.
    """

    customer_hash: str
    erased_at: str
    dry_run: bool
    pending: bool
    removed: Removed


class _ErasureRow(msgspec.Struct, frozen=True):
    bucket: int
    workspace_id: int
    customer_hash: str
    erasure_id: str
    version: int
    actor: str
    erased_at: str
    pending: Pending | None
    receipt: Removed


class _FactKey(msgspec.Struct, frozen=True):
    bucket: int
    workspace_id: int
    visitor_id: str
    version: int
    kind: str
    applied: bool


class _PurchaseKey(msgspec.Struct, frozen=True):
    bucket: int
    workspace_id: int
    transaction_id: str
    record_id: str


_removed = msgspec.json.Decoder(Removed)
_pending = msgspec.json.Decoder(Pending)


def cleared(facts: Sequence[Fact], customer_ids: Collection[str]) -> list[Fact]:
    """Return what was said of a visitor, in order of arrival, as it is left when these customers are erased.

    Facts that name one of them become ERASED. So do values that the visitor gave before it was one of them, or after,
    for they are theirs as far as anybody can tell.
    """
    theirs: set[str] = {fact.fact_id for fact in facts if fact.customer_id in customer_ids}
    visitor = Visitor(visitor_id=facts[0].visitor_id) if facts else None
    run: list[Fact] = []
    is_theirs = False
    for at, fact in enumerate(facts):
        assert visitor is not None
        before, visitor = visitor, follow(visitor, fact, facts[:at])
        if fact.kind is FactKind.UNDONE:
            # Values that were somebody's may be the visitor's own again.
            run = [earlier for earlier in facts[:at] if earlier.kind is FactKind.ANONYMOUS]
            is_theirs = is_theirs or any(earlier.fact_id in theirs for earlier in run)
            if any(fact_id in theirs for fact_id in fact.undoes):
                theirs.add(fact.fact_id)
        elif fact.kind is FactKind.ANONYMOUS and fact.applied:
            run.append(fact)
            is_theirs = is_theirs or before.last_customer_id in customer_ids
        elif run and before.anonymous and not visitor.anonymous:
            if is_theirs or visitor.customer_id in customer_ids:
                theirs.update(earlier.fact_id for earlier in run)
            run, is_theirs = [], False
    if is_theirs:
        theirs.update(fact.fact_id for fact in run)
    return [_cleared(fact) if fact.fact_id in theirs else fact for fact in facts]


def _cleared(fact: Fact) -> Fact:
    if fact.kind is FactKind.UNDONE:
        return msgspec.structs.replace(fact, actor=None, note=None)
    return msgspec.structs.replace(
        fact,
        kind=FactKind.ERASED,
        applied=fact.applied and fact.kind is not FactKind.ANONYMOUS,
        customer_id=None,
        event_id=None,
        decisions=(),
        actor=None,
        note=None,
    )


def folded(facts: Sequence[Fact]) -> Visitor:
    """Return what all facts of a visitor amount to."""
    visitor = Visitor(visitor_id=facts[0].visitor_id)
    for at, fact in enumerate(facts):
        visitor = follow(visitor, fact, facts[:at])
    return visitor


class _Under(msgspec.Struct):
    """An erasure under way. ``connection``: of a dry run, on which everything is taken back in the end."""

    workspace_id: int
    hashes: Mapping[str, str]
    """Of each customer that is erased, by its id."""
    main: str
    """The customer whose tombstone tells how far it is."""
    parted: Sequence[str]
    removed: Removed
    connection: Connection | None = None

    @property
    def customer_ids(self) -> list[str]:
        return sorted(self.hashes)


_Step = Callable[[Connection, Removed], Awaitable[Result]]


class _Done(Exception):
    """Another worker has finished the erasure meanwhile."""


class Eraser:
    """Erases customers, one workspace at a time. ``clock`` gives milliseconds since 1970."""

    def __init__(
        self,
        database: Database,
        cache: Cache,
        access: Access,
        spreads: Spreads,
        tombstones: Tombstones,
        intake: Intake,
        clock: Callable[[], int],
    ) -> None:
        self._database = database
        self._cache = cache
        self._access = access
        self._spreads = spreads
        self._tombstones = tombstones
        self._intake = intake
        self._clock = clock
        self._at_work: set[asyncio.Task[Removed]] = set()

    async def erase(self, workspace_id: int, customer_id: str, actor: str, *, dry_run: bool = False) -> Receipt:
        """Erase a customer, with all that are joined with it, and return what was removed, or would be.

        Of who is erased already, the receipt is given once more.

        Raises:
            Problem: 404, no such customer was ever held.
            Unavailable: the caller is to come back; nothing is done twice.
        """
        if dry_run:
            return await self._preview(workspace_id, customer_id)
        begun = await self._begin(workspace_id, customer_id, actor)
        if begun is None:
            found = await self.find(workspace_id, customer_id)
            if found is None or found.lifted_at is not None:
                raise Problem(404, "customer_not_found", "No customer is held by this id.")
            if found.pending is None:
                return receipt_of(found)
            if not found.pending.customer_ids:
                return receipt_of(found)
            begun = self._under(workspace_id, found)
        task = asyncio.create_task(self._finish(begun))
        self._at_work.add(task)
        task.add_done_callback(self._ended)
        await asyncio.wait({task}, timeout=ERASING_SECONDS_MAX)
        if task.done() and task.exception() is not None:
            log.warning("an erasure goes on later", extra={"error": [type(task.exception()).__name__]})
        left = await self.find(workspace_id, customer_id)
        assert left is not None, "a tombstone stays"
        return receipt_of(left)

    def _ended(self, task: asyncio.Task[Removed]) -> None:
        self._at_work.discard(task)
        if not task.cancelled():
            task.exception()

    async def find(self, workspace_id: int, customer_id: str) -> Erasure | None:
        """Return the tombstone of a customer."""
        return await self.find_by_hash(workspace_id, self._tombstones.hash_of(workspace_id, customer_id))

    async def find_by_hash(self, workspace_id: int, customer_hash: str) -> Erasure | None:
        """Return the tombstone with this hash."""
        parameters = {**self._everywhere(workspace_id), "customer_hash": customer_hash}
        rows = await self._database.fetch("identity", "find_erasure", parameters)
        return _erasure(rows[0]) if rows else None

    async def page(self, workspace_id: int, after: str, rows_max: int) -> list[Erasure]:
        """Return tombstones in order of their hashes, behind one of them."""
        parameters = {**self._everywhere(workspace_id), "after": after, "rows_max": rows_max}
        return [_erasure(row) for row in await self._database.fetch("identity", "list_erasures", parameters)]

    async def all(self, workspace_id: int) -> AsyncIterator[Erasure]:
        """Give all tombstones of a workspace."""
        after = ""
        while found := await self.page(workspace_id, after, ERASURES_AT_ONCE):
            for erasure in found:
                yield erasure
            after = found[-1].customer_hash

    async def lift(self, workspace_id: int, customer_hash: str, actor: str) -> Erasure:
        """Let a customer be taken again who was erased; the versions go on where they were.

        Raises:
            Problem: 404, nobody was erased by this hash; 409, not everything is removed yet.
        """
        parameters = {**self._everywhere(workspace_id), "customer_hash": customer_hash}

        async def work(connection: Connection) -> None:
            values = {**parameters, "now": to_text(self._clock()), "actor": actor}
            await connection.execute(statement("identity", "lift_erasure"), values)

        await self._database.run(work)
        found = await self.find_by_hash(workspace_id, customer_hash)
        if found is None:
            raise Problem(404, "erasure_not_found", "Nobody was erased by this hash.")
        if found.lifted_at is None:
            raise Problem(409, "erasure_pending", "Not everything of this customer is removed yet: come back later.")
        return found

    async def reapply(self, workspace_id: int, erasures: Sequence[Erasure], actor: str) -> list[Receipt]:
        """Put tombstones that were kept outside into a store that was restored from a backup, and erase whom it has got
        back. What the store knows better is left as it is.

        Raises:
            Unavailable: not all of it was done; what is done twice is the same as done once.
        """
        known = {erasure.customer_hash: erasure async for erasure in self.all(workspace_id)}
        newer = [erasure for erasure in erasures if _is_news(erasure, known.get(erasure.customer_hash))]
        for erasure in newer:
            await self._put(workspace_id, erasure)
        buried = {e.customer_hash async for e in self.all(workspace_id) if e.lifted_at is None}
        receipts: list[Receipt] = []
        after = ""
        while ids := await self._ids(workspace_id, after):
            back = [named for named in ids if self._tombstones.hash_of(workspace_id, named) in buried]
            receipts += [await self.erase(workspace_id, customer_id, actor) for customer_id in back]
            after = ids[-1]
        return receipts

    async def _put(self, workspace_id: int, erasure: Erasure) -> None:
        row = _ErasureRow(
            bucket=erasure.bucket,
            workspace_id=workspace_id,
            customer_hash=erasure.customer_hash,
            erasure_id=self._intake.new_id(erasure.bucket, self._clock()),
            version=erasure.version,
            actor=erasure.actor,
            erased_at=to_text(erasure.erased_at),
            pending=None,
            receipt=erasure.removed,
        )
        since = time.monotonic()

        async def work(connection: Connection) -> int | None:
            async with connection.transaction():
                await _rows(connection, "identity", "insert_erasure", {"rows": rows_json([row]).decode()})
                if erasure.lifted_at is not None:
                    lifted = {"customer_hash": row.customer_hash, "now": to_text(erasure.lifted_at)}
                    values = {**self._everywhere(workspace_id), **lifted, "actor": erasure.lifted_by}
                    await _rows(connection, "identity", "lift_erasure", values)
                return await _mark(connection, workspace_id)

        generation = await self._until_done(work)
        if generation is not None:
            await self._access.announce(generation, since)

    async def _ids(self, workspace_id: int, after: str) -> list[str]:
        values = {**self._everywhere(workspace_id), "after": after, "rows_max": STEP_ROWS_MAX}
        rows = await self._database.fetch("profiles", "list_customer_ids", values)
        return [customer_id for (customer_id,) in rows]

    async def run_for_ever(self, workspace_ids: Callable[[], Collection[int]]) -> None:
        """Go on with what other workers left."""
        while True:
            await asyncio.sleep(random.uniform(0.5, 1.0) * POLL_SECONDS)  # noqa: S311 - no secret
            for workspace_id in [at for at in workspace_ids() if self._tombstones.is_in_use(at)]:
                try:
                    await self.go_on(workspace_id, self._clock() - LEFT_MILLISECONDS)
                except (Unavailable, Overloaded):
                    break
                except Exception as error:  # noqa: BLE001 - the next look tries again
                    log_fault("erasure", error)

    async def go_on(self, workspace_id: int, before: int) -> int:
        """Finish the erasures of a workspace that were begun before a moment; return how many there were."""
        parameters = {**self._everywhere(workspace_id), "before": to_text(before)}
        rows = await self._database.fetch("identity", "find_pending_erasures", parameters)
        left = [erasure for erasure in map(_erasure, rows) if erasure.pending and erasure.pending.customer_ids]
        for erasure in left:
            await self._finish(self._under(workspace_id, erasure))
        return len(left)

    def _everywhere(self, workspace_id: int) -> dict[str, Any]:
        return {"workspace_id": workspace_id, "buckets": self._spreads.buckets(workspace_id)}

    def _under(self, workspace_id: int, erasure: Erasure) -> _Under:
        assert erasure.pending is not None
        ids = erasure.pending.customer_ids
        return _Under(
            workspace_id,
            {customer_id: self._tombstones.hash_of(workspace_id, customer_id) for customer_id in ids},
            ids[0],
            erasure.pending.parted,
            erasure.removed,
        )

    # The first transaction.

    async def _begin(self, workspace_id: int, customer_id: str, actor: str) -> _Under | None:
        since = time.monotonic()
        generation: int | None = None

        async def work(connection: Connection) -> _Under | None:
            nonlocal generation
            async with connection.transaction():
                under, generation = await self._bury(connection, workspace_id, customer_id, actor)
            return under

        under = await self._until_done(work)
        if generation is not None:
            await self._access.announce(generation, since)
        return under

    async def _close_cache(self, under: _Under) -> None:
        keys = []
        for customer_id, customer_hash in under.hashes.items():
            tombstone = await self.find_by_hash(under.workspace_id, customer_hash)
            assert tombstone is not None, "a tombstone stays"
            keys.append((self._cache.customer_key(under.workspace_id, customer_id), tombstone.version))
            keys.append((self._cache.profile_key(under.workspace_id, customer_id), tombstone.version))
        await self._cache.forget(keys)

    async def _bury(
        self, connection: Connection, workspace_id: int, customer_id: str, actor: str
    ) -> tuple[_Under | None, int | None]:
        """Put tombstones in the place of a customer and of all that are joined with it, within a transaction."""
        held = await load_group(connection, self._database, self._spreads, workspace_id, customer_id)
        if not held:
            return None, None
        now = self._clock()
        ids = [profile.customer_id for profile in held]
        hashes = {named: self._tombstones.hash_of(workspace_id, named) for named in ids}
        removed = Removed(customers=len(held))
        parted: set[str] = set()
        tombs = []
        for profile in held:
            acts = await Ledgers(connection, self._spreads, workspace_id).acts(profile.customer_id)
            parted.update(act.other_id for act in acts if act.other_id is not None and act.other_id not in hashes)
            where = self._of(workspace_id, profile.customer_id)
            # Whoever writes this version first has it; a writer who waits for it finds the profile gone.
            taken = self._last_row(workspace_id, profile, now)
            row = store.merge_row(self._spreads, workspace_id, taken)
            await _execute(connection, "profiles", "insert_merges", {"rows": rows_json([row]).decode()})
            if not await _rows(connection, "profiles", "delete_customer", {**where, "version": profile.version}):
                raise Conflict
            added = {**where, "linked_at": to_text(_ADDED_AT)}
            await _rows(connection, "profiles", "insert_pairs_of_ledger", added)
            merges = await _rows(connection, "profiles", "delete_ledger", {**where, "rows_max": STEP_ROWS_MAX})
            removed.merges += len(merges) - 1
            tombs.append(
                _ErasureRow(
                    bucket=where["bucket"],
                    workspace_id=workspace_id,
                    customer_hash=hashes[profile.customer_id],
                    erasure_id=self._intake.new_id(where["bucket"], now),
                    version=taken.version,
                    actor=actor,
                    erased_at=to_text(now),
                    pending=Pending(),
                    receipt=Removed(),
                )
            )
        pending = Pending(tuple(ids), tuple(sorted(parted)))
        tombs[0] = msgspec.structs.replace(tombs[0], pending=pending, receipt=removed)
        for tomb in sorted(tombs, key=lambda each: each.customer_hash):
            await _rows(connection, "identity", "insert_erasure", {"rows": rows_json([tomb]).decode()})
        under = _Under(workspace_id, hashes, ids[0], pending.parted, removed)
        return under, await _mark(connection, workspace_id)

    def _last_row(self, workspace_id: int, profile: Profile, now: int) -> Merge:
        return Merge(
            merge_id=self._intake.new_id(self._spreads.bucket(workspace_id, profile.customer_id), now),
            customer_id=profile.customer_id,
            version=profile.version + 1,
            source=ADMIN_SOURCE,
            event=ERASE_EVENT,
            occurred_at=now,
            received_at=now,
            policy=Policy.OVERWRITE,
            is_link=True,
        )

    def _of(self, workspace_id: int, customer_id: str) -> dict[str, Any]:
        bucket = self._spreads.bucket(workspace_id, customer_id)
        return {"workspace_id": workspace_id, "customer_id": customer_id, "bucket": bucket}

    # What is left.

    async def _preview(self, workspace_id: int, customer_id: str) -> Receipt:
        """Do all of it in one transaction that is taken back: a preview cannot differ from what it previews."""

        async def work(connection: Connection) -> Receipt:
            async with connection.transaction(force_rollback=True):
                under, _ = await self._bury(connection, workspace_id, customer_id, ADMIN_SOURCE)
                if under is None:
                    raise Problem(404, "customer_not_found", "No customer is held by this id.")
                under.connection = connection
                removed = await self._remove(under)
            hashed = self._tombstones.hash_of(workspace_id, customer_id)
            return Receipt(hashed, to_text(self._clock()), dry_run=True, pending=False, removed=removed)

        return await self._until_done(work, PREVIEW_SECONDS_MAX)

    async def _finish(self, under: _Under) -> Removed:
        try:
            return await self._remove(under)
        except _Done:
            return under.removed

    async def _remove(self, under: _Under) -> Removed:
        """Remove what the first transaction left."""
        if under.connection is None:
            await self._close_cache(under)
        for customer_id in under.customer_ids:
            await self._clear_visitors(under, customer_id)
        for other_id in under.parted:
            await self._clear_ledger(under, other_id)
        await self._await_writers(under)
        for customer_id in under.customer_ids:
            # Whoever was still writing when the tombstone was put may have said more, in vain.
            await self._clear_unapplied(under, customer_id)
            await self._remove_visitors(under, customer_id)
            await self._remove_rest(under, customer_id)

        async def finish(connection: Connection, removed: Removed) -> None:
            await _execute(connection, "profiles", "erase_answers", self._everywhere(under.workspace_id))
            for customer_id, customer_hash in under.hashes.items():
                where = self._of(under.workspace_id, customer_id)
                receipt = msgspec.json.encode(removed).decode()
                values = {**where, "customer_hash": customer_hash, "receipt": receipt, "is_done": True}
                await connection.execute(statement("identity", "save_erasure"), values)

        await self._step(under, finish)
        return under.removed

    async def _step(self, under: _Under, work: _Step[Result], attempts_max: int = ALONE_ATTEMPTS_MAX) -> Result:
        """Do a part of it in a transaction that also tells how far it is."""
        tombstone = {**self._of(under.workspace_id, under.main), "customer_hash": under.hashes[under.main]}

        async def once(connection: Connection) -> tuple[Result, Removed]:
            async with connection.transaction():
                found = await _rows(connection, "identity", "hold_erasure", tombstone)
                if not found:
                    raise _Done
                removed = _removed.decode(found[0][0])
                result = await work(connection, removed)
                told = {**tombstone, "receipt": msgspec.json.encode(removed).decode(), "is_done": False}
                await connection.execute(statement("identity", "save_erasure"), told)
            return result, removed

        if under.connection is not None:
            result, under.removed = await once(under.connection)
        else:
            result, under.removed = await self._until_done(once, STEP_SECONDS_MAX, attempts_max)
        return result

    async def _until_done(
        self,
        work: Callable[[Connection], Coroutine[Any, Any, Result]],
        seconds_max: float = STEP_SECONDS_MAX,
        attempts_max: int = ALONE_ATTEMPTS_MAX,
    ) -> Result:
        """Run a transaction, again whenever another writer was faster."""
        for attempt in range(attempts_max):
            try:
                return await self._database.run(work, seconds_max=seconds_max)
            except Conflict:
                pass
            except psycopg.Error as error:
                if not is_retryable(error):
                    raise
            await asyncio.sleep(random.uniform(0, BACK_OFF_SECONDS_MAX) * (attempt + 1))  # noqa: S311 - no secret
        raise _Contended("contention")

    async def _await_writers(self, under: _Under) -> None:
        """Wait until nobody writes any more who had begun before the tombstone was seen by all."""
        if under.connection is not None:
            return
        [(_, last)] = await self._database.fetch("identity", "load_snapshot")
        while True:
            [(oldest, _)] = await self._database.fetch("identity", "load_snapshot")
            if oldest >= last:
                return
            await asyncio.sleep(BARRIER_SECONDS)

    async def _visitors(self, under: _Under, customer_id: str, after: str) -> list[str]:
        """Return the next visitors of a customer."""
        values = {**self._of(under.workspace_id, customer_id), "after": after, "rows_max": STEP_VISITORS_MAX}
        rows = await self._read(under, "profiles", "list_pairs", values)
        return [visitor_id for visitor_id, _, _ in rows]

    async def _read(
        self, under: _Under, package: str, name: str, values: Mapping[str, object]
    ) -> list[tuple[Any, ...]]:
        if under.connection is not None:
            return await _rows(under.connection, package, name, values)
        return await self._database.fetch(package, name, values)

    async def _clear_visitors(self, under: _Under, customer_id: str) -> None:
        after = ""
        while found := await self._visitors(under, customer_id, after):
            await self._clear(under, found)
            after = found[-1]

    async def _clear_ledger(self, under: _Under, other_id: str) -> None:
        """Decide the ledger of someone with whom the customer was joined once anew, without what came from there."""
        key = workspace_id, _ = under.workspace_id, other_id
        bucket = self._spreads.bucket(*key)

        async def work(connection: Connection, removed: Removed) -> int | None:
            found = await store.load_customers(connection, self._database, self._spreads.key_rows([key]))
            rows = await Ledgers(connection, self._spreads, workspace_id).rows(other_id, rows_max=VERSION_MAX)
            if key not in found or not any(row.other_id in under.hashes for row in rows):
                return None
            tombstone = (await self._tombstones.find(connection, [key])).get(key)
            profile = None if tombstone is None or rows[0].version == 1 else tombstone.begun_at(other_id)
            history: list[Merge] = []
            for row in rows:
                applied = ledger.replay(profile, _emptied(row) if row.other_id in under.hashes else row, history)
                profile = applied.profile
                history.append(applied.merge)
            assert profile is not None, "there are rows"
            last = ledger.apply_act(profile, _emptied(self._last_row(workspace_id, profile, self._clock())))
            changed = [now for was, now in zip(rows, history, strict=True) if was != now]
            removed.cleared += sum(row.other_id in under.hashes for row in rows)
            told = [store.merge_row(self._spreads, workspace_id, merge) for merge in changed]
            taken = {"rows": rows_json([store.merge_row(self._spreads, workspace_id, last.merge)]).decode()}
            await _execute(connection, "profiles", "insert_merges", taken)
            values = {"rows": rows_json(told).decode(), "buckets": [bucket]}
            await _rows(connection, "profiles", "rewrite_merges", values)
            head = store.customer_row(self._spreads, workspace_id, last.profile, None, found[key].version)
            saved = {"rows": rows_json([head]).decode(), "buckets": [bucket]}
            await _execute(connection, "profiles", "save_customers", saved)
            return last.profile.version

        version = await self._step(under, work)
        if version is not None and under.connection is None:
            keys = [self._cache.customer_key(*key), self._cache.profile_key(*key)]
            await self._cache.forget([(name, version) for name in keys])

    async def _clear_unapplied(self, under: _Under, customer_id: str) -> None:
        values = {**self._everywhere(under.workspace_id), "customer_id": customer_id, "rows_max": STEP_VISITORS_MAX}
        while found := await self._read(under, "identity", "list_unapplied", values):
            await self._clear(under, [visitor_id for (visitor_id,) in found])

    async def _clear(self, under: _Under, visitor_ids: Sequence[str]) -> None:
        """Clear what was said of visitors, so that they are nobody's where they were the customer's."""
        workspace_id = under.workspace_id

        async def work(connection: Connection, removed: Removed) -> list[Visitor]:
            rows = self._spreads.key_rows((workspace_id, visitor_id) for visitor_id in visitor_ids)
            logs = await identifications.load_facts(connection, self._database, rows)
            return [
                visitor
                for (_, visitor_id), facts in sorted(logs.items())
                if facts and (visitor := await self._clear_one(connection, under, facts, removed)) is not None
            ]

        try:
            visitors = await self._step(
                under, work, TOGETHER_ATTEMPTS_MAX if len(visitor_ids) > 1 else ALONE_ATTEMPTS_MAX
            )
        except _Contended:
            if len(visitor_ids) == 1:
                raise
            # Each for itself meets fewer writers, in less time.
            middle = len(visitor_ids) // 2
            await self._clear(under, visitor_ids[:middle])
            await self._clear(under, visitor_ids[middle:])
            return
        if under.connection is None:
            await self._cache.forget(
                (self._cache.visitor_key(workspace_id, visitor.visitor_id), visitor.version) for visitor in visitors
            )

    async def _clear_one(
        self, connection: Connection, under: _Under, facts: Sequence[Fact], removed: Removed
    ) -> Visitor | None:
        left = cleared(facts, under.hashes.keys())
        changed = [(was, now) for was, now in zip(facts, left, strict=True) if was != now]
        if not changed:
            return None
        key = workspace_id, visitor_id = under.workspace_id, facts[0].visitor_id
        bucket = self._spreads.bucket(*key)
        last = self._last_fact(bucket, facts[-1])
        await identifications.insert_fact(connection, self._spreads, workspace_id, last)
        rows = [_FactKey(bucket, workspace_id, visitor_id, f.version, f.kind, f.applied) for _, f in changed]
        values = {"rows": rows_json(rows).decode(), "buckets": [bucket]}
        removed.identifications += len(await _rows(connection, "identity", "erase_facts", values))
        visitor = folded([*left, last])
        await identifications.save_visitor(connection, self._spreads, key, visitor, facts[-1].version)
        event_ids = sorted({was.event_id for was, _ in changed if was.event_id is not None})
        if event_ids:
            told = {
                **self._everywhere(workspace_id),
                "visitor_id": visitor_id,
                "event_ids": event_ids,
                "customer_ids": under.customer_ids,
            }
            removed.cleared += len(await _rows(connection, "profiles", "forget_event_ids", told))
        return visitor

    def _last_fact(self, bucket: int, before: Fact) -> Fact:
        """Return a fact that says nothing: it takes a version, so that nobody goes by what was said before."""
        now = self._clock()
        return Fact(
            fact_id=self._intake.new_id(bucket, now),
            visitor_id=before.visitor_id,
            version=before.version + 1,
            kind=FactKind.ERASED,
            applied=False,
            source=ADMIN_SOURCE,
            event=ERASE_EVENT,
            occurred_at=now,
            received_at=now,
        )

    async def _remove_visitors(self, under: _Under, customer_id: str) -> None:
        """Remove what the visitors did in the customer's time, and those that were nobody else's wholly."""
        while found := await self._visitors(under, customer_id, ""):
            for visitor_id in found:
                await self._remove_done(under, visitor_id)
            await self._step(under, self._unlinking(under, customer_id, found))

    def _unlinking(self, under: _Under, customer_id: str, visitor_ids: Sequence[str]) -> _Step[None]:
        values = {**self._of(under.workspace_id, customer_id), "visitor_ids": visitor_ids}

        async def work(connection: Connection, removed: Removed) -> None:
            gone = await _rows(connection, "profiles", "delete_pairs_of", values)
            removed.links += sum(linked_at != _ADDED_AT for (linked_at,) in gone)

        return work

    async def _remove_done(self, under: _Under, visitor_id: str) -> None:
        for _ in range(ALONE_ATTEMPTS_MAX):
            with contextlib.suppress(_Moved):
                return await self._remove_done_once(under, visitor_id)
        raise _Contended("contention")

    async def _remove_done_once(self, under: _Under, visitor_id: str) -> None:
        workspace_id = under.workspace_id
        facts = await self._facts(under, visitor_id)
        is_nobodys = bool(facts) and _is_last(facts[-1]) and all(f.customer_id is None for f in facts)
        if is_nobodys:
            spans: list[tuple[int | None, int | None]] = [(None, None)]
        else:
            spans = [(stretch.since, stretch.until) for stretch in stretches_of(facts) if stretch.erased]
        for since, until in spans:
            await self._remove_events(under, visitor_id, since, until, is_direct=False, version=facts[-1].version)
        if not is_nobodys:
            return
        key, bucket = (workspace_id, visitor_id), self._spreads.bucket(workspace_id, visitor_id)
        where = {"workspace_id": workspace_id, "visitor_id": visitor_id, "bucket": bucket}

        async def work(connection: Connection, removed: Removed) -> bool:
            # Somebody who uses the browser now has a visitor of his own, from which the person is gone.
            found = await identifications.load_visitors(connection, self._database, self._spreads.key_rows([key]))
            if key not in found or found[key].version != facts[-1].version:
                return False
            # Who has decided by what was said so far has to wait for this version, and then finds no visitor any more.
            last = self._last_fact(bucket, facts[-1])
            await identifications.insert_fact(connection, self._spreads, workspace_id, last)
            if not await _rows(connection, "identity", "delete_visitor", {**where, "version": facts[-1].version}):
                return False
            removed.visitors += 1
            kinds = await _rows(connection, "identity", "delete_facts", where)
            removed.identifications += sum(kind != FactKind.ERASED for (kind,) in kinds)
            return True

        if await self._step(under, work):
            await self._remove_refusals(under, None, visitor_id)
            await self._clear_operations(under, "visitor_id", visitor_id)

    async def _facts(self, under: _Under, visitor_id: str) -> list[Fact]:
        rows = self._spreads.key_rows([(under.workspace_id, visitor_id)])

        async def work(connection: Connection) -> list[Fact]:
            found = await identifications.load_facts(connection, self._database, rows)
            return found[under.workspace_id, visitor_id]

        return await (work(under.connection) if under.connection is not None else self._database.run(work))

    async def _remove_events(
        self,
        under: _Under,
        subject: str,
        since: int | None,
        until: int | None,
        *,
        is_direct: bool,
        version: int | None = None,
    ) -> None:
        """Remove events; those of a visitor as long as it is in this version: then nobody can have come meanwhile whose
        they are.

        Raises:
            _Moved: it is in another one.
        """
        workspace_id = under.workspace_id
        values = {
            "workspace_id": workspace_id,
            "bucket": self._spreads.bucket(workspace_id, subject),
            "is_direct": is_direct,
            "subject": subject,
            "since": "-infinity" if since is None else to_text(since),
            "until": "infinity" if until is None else to_text(until),
            "rows_max": STEP_ROWS_MAX,
        }

        async def work(connection: Connection, removed: Removed) -> int:
            if version is not None and await _rows(connection, "identity", "hold_visitor", values) != [(version,)]:
                raise _Moved
            gone = await _rows(connection, "identity", "delete_events", values)
            removed.events += len(gone)
            purchases = [
                _PurchaseKey(self._spreads.bucket(workspace_id, name), workspace_id, name, record_id)
                for record_id, channel_id, transaction_id in gone
                if transaction_id is not None
                for name in [f"{channel_id}:{transaction_id}"]
            ]
            if purchases:
                buckets = sorted({row.bucket for row in purchases})
                told = {"rows": rows_json(purchases).decode(), "buckets": buckets}
                removed.purchases += len(await _rows(connection, "identity", "delete_purchases", told))
            return len(gone)

        while await self._step(under, work) == STEP_ROWS_MAX:
            pass

    async def _remove_rest(self, under: _Under, customer_id: str) -> None:
        """Remove what names the customer otherwise."""
        where = {**self._of(under.workspace_id, customer_id), "rows_max": STEP_ROWS_MAX}
        everywhere = {**where, **self._everywhere(under.workspace_id)}

        async def ledger(connection: Connection, removed: Removed) -> int:
            gone = await _rows(connection, "profiles", "delete_ledger", where)
            removed.merges += len(gone)
            return len(gone)

        async def names(connection: Connection, removed: Removed) -> int:
            gone = await _rows(connection, "identity", "clear_names", everywhere)
            removed.cleared += len(gone)
            return len(gone)

        for work in (ledger, names):
            while await self._step(under, work) == STEP_ROWS_MAX:
                pass

        async def not_same(connection: Connection, removed: Removed) -> None:
            removed.cleared += len(await _rows(connection, "profiles", "forget_not_same", everywhere))

        await self._step(under, not_same)
        await self._remove_events(under, customer_id, None, None, is_direct=True)
        await self._remove_refusals(under, customer_id, None)
        await self._clear_operations(under, "customer_id", customer_id)

    async def _remove_refusals(self, under: _Under, customer_id: str | None, visitor_id: str | None) -> None:
        values = {
            **self._everywhere(under.workspace_id),
            "customer_id": customer_id,
            "visitor_id": visitor_id,
            "rows_max": STEP_ROWS_MAX,
        }

        async def work(connection: Connection, removed: Removed) -> int:
            gone = await _rows(connection, "identity", "delete_refusals", values)
            removed.refusals += len(gone)
            return len(gone)

        while await self._step(under, work) == STEP_ROWS_MAX:
            pass

    async def _clear_operations(self, under: _Under, name: str, identifier: str) -> None:
        async def work(connection: Connection, removed: Removed) -> None:
            values = {"workspace_id": under.workspace_id, "name": name, "id": identifier}
            removed.cleared += len(await _rows(connection, "identity", "clear_operations", values))

        await self._step(under, work)


def _is_last(fact: Fact) -> bool:
    return fact.kind is FactKind.ERASED and fact.source == ADMIN_SOURCE and fact.event == ERASE_EVENT


def _emptied(row: Merge) -> Merge:
    """Return a row of a ledger in whose place nothing is told: it opens no field."""
    return Merge(
        merge_id=row.merge_id,
        customer_id=row.customer_id,
        version=row.version,
        source=ADMIN_SOURCE,
        event=ERASE_EVENT,
        occurred_at=row.occurred_at,
        received_at=row.received_at,
        policy=Policy.OVERWRITE,
        act=Act.UNLOCK,
    )


async def _mark(connection: Connection, workspace_id: int) -> int | None:
    """Have all workers look for erased customers in a workspace; return the generation of it, if that is new."""
    if not await _rows(connection, "identity", "mark_erasures", {"workspace_id": workspace_id}):
        return None
    [(generation,)] = await _rows(connection, "profiles", "advance_generation", {})
    return int(generation)


def _is_news(erasure: Erasure, known: Erasure | None) -> bool:
    if known is None or erasure.erased_at != known.erased_at:
        return known is None or erasure.erased_at > known.erased_at
    return erasure.lifted_at is not None and known.lifted_at is None


async def load_group(
    connection: Connection, database: Database, spreads: Spreads, workspace_id: int, customer_id: str
) -> list[Profile]:
    """Return a customer and all that are joined with it, the one that they are joined into first."""

    async def load(customer_ids: Collection[str]) -> dict[str, Profile]:
        rows = spreads.key_rows((workspace_id, named) for named in customer_ids)
        found = await store.load_customers(connection, database, rows)
        return {named: profile for (_, named), profile in found.items()}

    found = await load({customer_id})
    if customer_id not in found:
        return []
    root = found[customer_id].joined_into or customer_id
    found |= await load({root})
    head = found.get(root, found[customer_id])
    found |= await load(head.absorbs)
    return [head, *(found[other] for other in sorted(found.keys() - {head.customer_id}))]


async def _execute(connection: Connection, package: str, name: str, values: Mapping[str, object]) -> None:
    await connection.execute(statement(package, name), values)


async def _rows(connection: Connection, package: str, name: str, values: Mapping[str, object]) -> list[tuple[Any, ...]]:
    return await (await connection.execute(statement(package, name), values)).fetchall()


def _erasure(row: Sequence[Any]) -> Erasure:
    bucket, customer_hash, erasure_id, version, actor, erased_at, pending, receipt, lifted_at, lifted_by = row
    return Erasure(
        bucket,
        customer_hash,
        erasure_id,
        version,
        actor,
        erased_at,
        None if pending is None else _pending.decode(pending),
        _removed.decode(receipt),
        lifted_at,
        lifted_by,
    )


def receipt_of(erasure: Erasure) -> Receipt:
    """Return the receipt of an erasure."""
    return Receipt(
        erasure.customer_hash,
        to_text(erasure.erased_at),
        dry_run=False,
        pending=erasure.pending is not None,
        removed=erasure.removed,
    )
