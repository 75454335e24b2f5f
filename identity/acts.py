"""What admins do to the past: merges and identifications taken back, fields locked. Planned, and then committed or not:
a preview is the plan itself.
"""

from collections.abc import Callable, Collection, Sequence

import msgspec

from identity import identifications
from identity.belonging import Stretch
from identity.intake import Intake
from identity.resolve import (
    Changes,
    Fact,
    FactKind,
    Pair,
    Visitor,
    customers_moved,
    follow,
    linked_since,
    stretches_of,
    undone_facts,
)
from profiles import fields as field_table
from profiles import ledger, store, undoing
from profiles.database import Conflict, Connection, Database
from profiles.http import Problem
from profiles.merge import Applied
from profiles.profile import Act, Link, Merge, Policy, Profile
from profiles.store import Spreads
from profiles.undoing import Ledgers

FACTS_MAX = 10_000
"""Facts of a visitor whose identifications can be taken back: all of them are read for it."""
LOCKED_FIELDS_MAX = 200
NOTE_CHARACTERS_MAX = 500
ADMIN_SOURCE = "admin"

UNDOABLE = frozenset({Act.UNDO})
"""Acts that can be taken back; the others have an opposite of their own."""


class By(msgspec.Struct, frozen=True):
    """Who acts, why, and as part of which operation."""

    actor: str
    note: str | None = None
    operation_id: str | None = None


class Undone(msgspec.Struct, frozen=True):
    """What taking merges of one customer back does. ``act`` is its ledger row; None: all were taken back before.

    ``also`` are the acts that take back the copies that joins made of them in other ledgers.
    """

    before: Profile
    after: Profile
    act: Merge | None
    targets: tuple[str, ...]
    also: tuple[Merge, ...] = ()


class Unlinked(msgspec.Struct, frozen=True):
    """What taking facts of one visitor back does. ``fact`` is its row in the log; None: all were taken back before."""

    before: Visitor
    after: Visitor
    fact: Fact | None
    targets: tuple[str, ...]
    stretches_before: list[Stretch]
    stretches_after: list[Stretch]
    customers: list[str]
    merges: list[Merge]
    """What it does to the ledgers of those customers: values that they got from the visitor go as well."""


class Acts:
    """Does what admins ask, in one workspace at a time. ``clock`` gives milliseconds since 1970."""

    def __init__(self, database: Database, intake: Intake, spreads: Spreads, clock: Callable[[], int]) -> None:
        self._database = database
        self._intake = intake
        self._spreads = spreads
        self._clock = clock

    async def undo_merges(
        self, workspace_id: int, customer_id: str, merge_ids: Collection[str], by: By, *, dry_run: bool
    ) -> Undone:
        """Take rows of one ledger back: merges, or undoings, which lets count again what these took back.

        Raises:
            Problem: 404, no such customer or row; 409, a row is of a kind that is not taken back this way.
        """
        found: Undone | None = None

        async def plan(connection: Connection) -> Changes:
            nonlocal found
            changes = Changes()
            held = await self._customer(connection, workspace_id, customer_id)
            copies = await Ledgers(connection, self._spreads, workspace_id).copies(merge_ids)
            own = {row.merge_id for row in copies if row.customer_id == held.customer_id}
            found = await self._undo(connection, workspace_id, held, {*merge_ids, *own}, by, changes)
            elsewhere = [row for row in copies if row.merge_id not in own]
            also = await self._undo_copies(connection, workspace_id, found, elsewhere, by, changes)
            found = msgspec.structs.replace(found, also=also)
            return changes

        await self.do(plan, dry_run=dry_run)
        assert found is not None, "the plan was made"
        return found

    async def undo_facts(
        self, workspace_id: int, visitor_id: str, fact_ids: Collection[str], by: By, *, dry_run: bool
    ) -> Unlinked:
        """Take identifications, sign-outs or such undoings of one visitor back. Whose its time is, follows from the
        rest; values of the anonymous visitor that a customer got by them go as well.

        Raises:
            Problem: 404, no such visitor or fact; 409, its log is too long.
        """
        found: Unlinked | None = None

        async def plan(connection: Connection) -> Changes:
            nonlocal found
            changes = Changes()
            found = await self._unlink(connection, workspace_id, visitor_id, fact_ids, by, changes)
            return changes

        await self.do(plan, dry_run=dry_run)
        assert found is not None, "the plan was made"
        return found

    async def lock(
        self, workspace_id: int, customer_id: str, fields: Sequence[str], by: By, *, locked: bool
    ) -> tuple[Profile, Merge | None]:
        """Close fields of a customer, or of whom it is joined into, to what channels send, or open them again; return
        the profile and the ledger row, None if they were so before.

        Raises:
            Problem: 404, no such customer; 422, no field is called so.
        """
        unknown = [name for name in fields if not field_table.is_field(name)]
        if unknown or not 0 < len(fields) <= LOCKED_FIELDS_MAX:
            raise Problem(422, "invalid_fields", f"Name 1 to {LOCKED_FIELDS_MAX} fields as the field table holds them.")
        found: tuple[Profile, Merge | None] | None = None

        async def plan(connection: Connection) -> Changes:
            nonlocal found
            changes = Changes()
            held = await self._customer(connection, workspace_id, customer_id)
            if held.joined_into is not None:
                owner = await self._customer(connection, workspace_id, held.joined_into)
                if held.is_apart_from(owner):
                    raise Conflict
                held = owner
            if held.is_gone:
                raise no_customer()
            affected = tuple(sorted({name for name in fields if (name in held.locks) != locked}))
            found = held, None
            if affected:
                act = self.new_act(workspace_id, held.customer_id, Act.LOCK if locked else Act.UNLOCK, by)
                applied = ledger.apply_act(held, msgspec.structs.replace(act, act_fields=affected))
                keep(changes, workspace_id, applied)
                found = applied.profile, applied.merge
            return changes

        await self.do(plan, dry_run=False)
        assert found is not None, "the plan was made"
        return found

    async def do(self, plan: Callable[[Connection], object], *, dry_run: bool) -> None:
        """Make a plan and have what it changes committed, or with ``dry_run`` only make it."""
        if dry_run:
            await self._database.run(plan)  # type: ignore[arg-type]
        else:
            await self._intake.act(plan)  # type: ignore[arg-type]

    async def _customer(self, connection: Connection, workspace_id: int, customer_id: str) -> Profile:
        key = workspace_id, customer_id
        found = await store.load_customers(connection, self._database, self._spreads.key_rows([key]))
        if key not in found:
            raise no_customer()
        return found[key]

    async def _undo(
        self,
        connection: Connection,
        workspace_id: int,
        held: Profile,
        merge_ids: Collection[str],
        by: By,
        changes: Changes,
        copy_of: str | None = None,
    ) -> Undone:
        ledgers = Ledgers(connection, self._spreads, workspace_id)
        rows = await ledgers.named(held.customer_id, merge_ids)
        if len(rows) < len(set(merge_ids)):
            raise Problem(404, "merge_not_found", "No merge of this customer has this id.")
        for row in rows:
            if not row.is_merge and row.act not in UNDOABLE:
                raise _not_undoable(row)
        undone = ledger.undone(await ledgers.acts(held.customer_id))
        targets = tuple(sorted(row.merge_id for row in rows if row.merge_id not in undone))
        if not targets:
            return Undone(held, held, None, ())
        act = self.new_act(workspace_id, held.customer_id, Act.UNDO, by)
        act = msgspec.structs.replace(act, undoes=targets, copy_of=copy_of)
        applied = await undoing.take_back(ledgers, held, act)
        keep(changes, workspace_id, applied)
        return Undone(held, applied.profile, applied.merge, targets)

    async def _undo_copies(
        self,
        connection: Connection,
        workspace_id: int,
        done: Undone,
        copies: Sequence[Merge],
        by: By,
        changes: Changes,
    ) -> tuple[Merge, ...]:
        """Take back what is the same in other ledgers, by acts that are copies of this one: they come back with it."""
        also: list[Merge] = []
        for customer_id in sorted({row.customer_id for row in copies}):
            held = await self._customer(connection, workspace_id, customer_id)
            theirs = [row.merge_id for row in copies if row.customer_id == customer_id]
            copied = await self._undo(
                connection, workspace_id, held, theirs, by, changes, None if done.act is None else done.act.merge_id
            )
            also += [] if copied.act is None else [copied.act]
        return tuple(also)

    async def _unlink(
        self,
        connection: Connection,
        workspace_id: int,
        visitor_id: str,
        fact_ids: Collection[str],
        by: By,
        changes: Changes,
    ) -> Unlinked:
        key = workspace_id, visitor_id
        rows = self._spreads.key_rows([key])
        visitors = await identifications.load_visitors(connection, self._database, rows)
        if key not in visitors:
            raise Problem(404, "visitor_not_found", "No visitor with this id was ever seen.")
        before = visitors[key]
        if before.version > FACTS_MAX:
            raise Problem(409, "log_too_long", f"More than {FACTS_MAX} things were said of this visitor.")
        facts = (await identifications.load_facts(connection, self._database, rows))[key]
        facts = [fact for fact in facts if fact.version <= before.version]
        undone = undone_facts(facts)
        wanted = [fact for fact in facts if fact.fact_id in set(fact_ids)]
        if len(wanted) < len(set(fact_ids)):
            raise Problem(404, "identification_not_found", "Nothing with this id was said of this visitor.")
        if any(fact.kind is FactKind.ERASED for fact in wanted):
            # What was done then would be the customer's who came before.
            raise Problem(409, "not_undoable", "It named a customer who was erased; that time is nobody's for good.")
        targets = tuple(sorted(fact.fact_id for fact in wanted if fact.fact_id not in undone))
        if not targets:
            stretches = stretches_of(facts)
            return Unlinked(before, before, None, (), stretches, stretches, [], [])
        now = self._clock()
        fact = Fact(
            fact_id=self._intake.new_id(self._spreads.bucket(*key), now),
            visitor_id=visitor_id,
            version=before.version + 1,
            kind=FactKind.UNDONE,
            applied=True,
            source=ADMIN_SOURCE,
            event=Act.UNDO,
            occurred_at=now,
            received_at=now,
            undoes=targets,
            actor=by.actor,
            note=by.note,
            operation_id=by.operation_id,
        )
        after = follow(before, fact, facts)
        changes.facts.append((workspace_id, fact))
        changes.visitors[key] = after
        changed = undone.keys() ^ undone_facts([*facts, fact]).keys()
        moved = customers_moved(before, fact, after, facts)
        since = linked_since([*facts, fact])
        for customer_id in moved:
            changes.unpaired.add((workspace_id, customer_id, visitor_id))
            if customer_id in since:
                is_current = after.customer_id == customer_id
                pair = Pair(customer_id, visitor_id, since[customer_id], is_current=is_current)
                changes.pairs[workspace_id, customer_id, visitor_id] = pair
        found = await store.load_customers(
            connection, self._database, self._spreads.key_rows((workspace_id, customer_id) for customer_id in moved)
        )
        for customer_id in moved:
            held = found[workspace_id, customer_id]
            link = Link.LINKED if customer_id in since else Link.UNLINKED
            row = self.new_act(workspace_id, customer_id, None, by, now)
            row = msgspec.structs.replace(row, is_link=True, link=link, visitor_id=visitor_id)
            keep(changes, workspace_id, ledger.replay(held, row, ()))
        told = [f for f in facts if f.fact_id in changed and f.applied and f.customer_id is not None]
        gone, back = [f for f in told if f.fact_id not in undone], [f for f in told if f.fact_id in undone]
        await self._unadopt(connection, workspace_id, visitor_id, gone, back, by, changes)
        merges = [merge for _, merge in changes.merges]
        was, will_be = stretches_of(facts), stretches_of([*facts, fact])
        return Unlinked(before, after, fact, targets, was, will_be, moved, merges)

    async def _unadopt(
        self,
        connection: Connection,
        workspace_id: int,
        visitor_id: str,
        gone: Sequence[Fact],
        back: Sequence[Fact],
        by: By,
        changes: Changes,
    ) -> None:
        """Take back what customers got of the anonymous visitor by facts that are gone, and let count again what they
        got by those that are back. Whoever is joined got it in the other's ledger, too."""
        named = {(workspace_id, str(fact.customer_id)) for fact in (*gone, *back)}
        joined = {(workspace_id, other) for key in named if (other := changes.customers[key].joined_into) is not None}
        rows = self._spreads.key_rows(joined - changes.customers.keys())
        found = {**await store.load_customers(connection, self._database, rows), **changes.customers}
        ledgers = Ledgers(connection, self._spreads, workspace_id)
        for key in sorted(named | joined):
            adopted, again = [await self._adopted(ledgers, found[key], facts) for facts in (gone, back)]
            if not adopted and not again:
                continue
            acts = await ledgers.acts(key[1])
            undone = ledger.undone(acts)
            # What an admin took back alone has no visitor: that stays.
            theirs = [row for row in acts if row.act is Act.UNDO and row.visitor_id == visitor_id]
            wanted = {row.merge_id for row in theirs if not again.isdisjoint(row.undoes)} | adopted
            wanted -= undone.keys()
            if wanted:
                act = self.new_act(workspace_id, key[1], Act.UNDO, by)
                act = msgspec.structs.replace(act, undoes=tuple(sorted(wanted)), visitor_id=visitor_id)
                keep(changes, workspace_id, await undoing.take_back(ledgers, found[key], act))

    async def _adopted(self, ledgers: Ledgers, held: Profile, facts: Sequence[Fact]) -> set[str]:
        """Return the ids of the merges by which these facts gave a ledger what the anonymous visitor had said."""
        return {
            row.merge_id
            for fact in facts
            for row in await ledgers.adopted(held.customer_id, fact.visitor_id, fact.occurred_at, fact.received_at)
            if fact.customer_id == (row.other_id if row.other_id in held.absorbs else held.customer_id)
        }

    def new_act(self, workspace_id: int, customer_id: str, act: Act | None, by: By, now: int | None = None) -> Merge:
        """Return the ledger row of an act, yet without a version; None: of a change of links alone."""
        now = self._clock() if now is None else now
        return Merge(
            merge_id=self._intake.new_id(self._spreads.bucket(workspace_id, customer_id), now),
            customer_id=customer_id,
            version=0,
            source=ADMIN_SOURCE,
            event=Act.UNDO if act is None else act,
            occurred_at=now,
            received_at=now,
            policy=Policy.OVERWRITE,
            act=act,
            actor=by.actor,
            note=by.note,
            operation_id=by.operation_id,
        )


def keep(changes: Changes, workspace_id: int, applied: Applied) -> None:
    """Add a ledger row, and the profile after it, to what is to be written."""
    changes.customers[workspace_id, applied.profile.customer_id] = applied.profile
    changes.merges.append((workspace_id, applied.merge))


def no_customer() -> Problem:
    """Return the answer to who asks for a customer that is not held."""
    return Problem(404, "customer_not_found", "No customer is held by this id.")


def _not_undoable(row: Merge) -> Problem:
    instead = {
        None: "This row tells of a link alone: take the identification of the visitor back.",
        Act.LOCK: "Unlock the field instead.",
        Act.UNLOCK: "Lock the field instead.",
    }
    message = instead.get(row.act, "Undo the join instead.")
    return Problem(409, "not_undoable", message)
