"""Two customer ids declared one person by an admin, and taken apart again. Never automatic.

To join means: what the ledger of the one holds is merged into that of the other, row by row and by the same rules, each
row as old as it was; to take apart means that these rows are taken back. Between the two, whatever names the one is
merged into the other's ledger and says so; taken apart, these rows go home. Links stay with the id they named.
"""

from collections.abc import Iterable, Sequence
from uuid import uuid4

import msgspec

from identity.acts import Acts, By, keep, no_customer
from identity.intake import Intake
from identity.resolve import Changes
from profiles import ledger, store, undoing
from profiles import merge as merging
from profiles.database import Connection, Database
from profiles.http import Problem
from profiles.merge import Applied
from profiles.profile import Act, Merge, Policy, Profile
from profiles.remarks import Kind, Reading, Reason, Verdict
from profiles.store import Spreads
from profiles.undoing import Ledgers

JOINED_ROWS_MAX = 5_000
"""Rows of a ledger that is to be joined into another one: all of them are merged in one transaction."""
JOINED_IDS_MAX = 100
"""Customers that may be joined into one."""


class Joined(msgspec.Struct, frozen=True):
    """What a join, or taking apart, does: who is joined, and whom into, before and after, and the rows that are written
    to the ledger of either. None, if it was so before.
    """

    customer_before: Profile
    customer_after: Profile
    into_before: Profile
    into_after: Profile
    into_rows: list[Merge]
    customer_rows: list[Merge]


class Joins:
    """Joins customers of a workspace, and takes them apart."""

    def __init__(self, database: Database, intake: Intake, spreads: Spreads, acts: Acts) -> None:
        self._database = database
        self._intake = intake
        self._spreads = spreads
        self._acts = acts

    async def join(self, workspace_id: int, customer_id: str, into: str, by: By, *, dry_run: bool) -> Joined:
        """Declare a customer to be another one.

        Raises:
            Problem: 404, one of them is not held; 409, one of them is joined with a third, or its ledger is too long;
                422, they are the same.
        """
        if customer_id == into:
            raise Problem(422, "join_with_itself", "A customer cannot be joined with itself.")
        operation_id = str(uuid4())
        found: Joined | None = None

        async def plan(connection: Connection) -> Changes:
            nonlocal found
            changes = Changes()
            acting = msgspec.structs.replace(by, operation_id=operation_id)
            found = await self._join(connection, workspace_id, customer_id, into, acting, changes)
            return changes

        await self._acts.do(plan, dry_run=dry_run)
        assert found is not None, "the plan was made"
        return found

    async def take_apart(self, workspace_id: int, customer_id: str, by: By, *, dry_run: bool) -> Joined:
        """Take back that a customer was declared to be another one.

        Raises:
            Problem: 404, it is not held; 409, it is not joined.
        """
        operation_id = str(uuid4())
        found: Joined | None = None

        async def plan(connection: Connection) -> Changes:
            nonlocal found
            changes = Changes()
            acting = msgspec.structs.replace(by, operation_id=operation_id)
            found = await self._take_apart(connection, workspace_id, customer_id, acting, changes)
            return changes

        await self._acts.do(plan, dry_run=dry_run)
        assert found is not None, "the plan was made"
        return found

    async def _load(self, connection: Connection, workspace_id: int, customer_ids: Iterable[str]) -> dict[str, Profile]:
        rows = self._spreads.key_rows((workspace_id, customer_id) for customer_id in customer_ids)
        found = await store.load_customers(connection, self._database, rows)
        return {customer_id: profile for (_, customer_id), profile in found.items()}

    async def _join(
        self, connection: Connection, workspace_id: int, customer_id: str, into: str, by: By, changes: Changes
    ) -> Joined:
        held = await self._load(connection, workspace_id, (customer_id, into))
        customer, other = held.get(customer_id), held.get(into)
        if customer is None or other is None or other.is_gone or (customer.is_gone and not customer.joined_into):
            raise no_customer()
        if customer.joined_into == into:
            return Joined(customer, customer, other, other, [], [])
        _require_joinable(customer, other)
        ledgers = Ledgers(connection, self._spreads, workspace_id)
        rows = await ledgers.rows(customer_id, rows_max=JOINED_ROWS_MAX + 1)
        if len(rows) > JOINED_ROWS_MAX:
            raise Problem(
                409, "ledger_too_long", f"More than {JOINED_ROWS_MAX} rows would be merged: join the other way round."
            )
        absorbing = self._act(workspace_id, into, Act.ABSORB, by, customer_id)
        into_rows, after = self._merge_all(
            workspace_id, ledger.apply_act(other, absorbing), _offers(ledger.counting(rows)), customer_id, by
        )
        joining = ledger.apply_act(customer, self._act(workspace_id, customer_id, Act.JOIN, by, into))
        keep(changes, workspace_id, joining)
        for applied in into_rows:
            keep(changes, workspace_id, applied)
        return Joined(
            customer, joining.profile, other, after, [applied.merge for applied in into_rows], [joining.merge]
        )

    async def _take_apart(
        self, connection: Connection, workspace_id: int, customer_id: str, by: By, changes: Changes
    ) -> Joined:
        customer = (await self._load(connection, workspace_id, (customer_id,))).get(customer_id)
        if customer is None:
            raise no_customer()
        if customer.joined_into is None:
            raise Problem(409, "not_joined", "This customer is not joined into another one.")
        other = (await self._load(connection, workspace_id, (customer.joined_into,)))[customer.joined_into]
        ledgers = Ledgers(connection, self._spreads, workspace_id)
        acts = await ledgers.acts(other.customer_id)
        undone = ledger.undone(acts)
        joined = [act for act in acts if act.act is Act.ABSORB and act.other_id == customer_id][-1]
        rows = await ledgers.of_other(other.customer_id, customer_id)
        theirs = [row for row in rows if row.is_merge and row.version > joined.version]
        since = [row for row in theirs if row.operation_id != joined.operation_id and row.merge_id not in undone]
        # Also what was taken back before: it must not count here again once that is taken back.
        releasing = self._act(workspace_id, other.customer_id, Act.RELEASE, by, customer_id)
        releasing = msgspec.structs.replace(releasing, undoes=tuple(sorted(row.merge_id for row in theirs)))
        released = await undoing.take_back(ledgers, other, releasing)
        keep(changes, workspace_id, released)
        unjoining = self._act(workspace_id, customer_id, Act.UNJOIN, by, other.customer_id)
        customer_rows, after = self._merge_all(
            workspace_id, ledger.apply_act(customer, unjoining), _offers(since), None, by
        )
        for applied in customer_rows:
            keep(changes, workspace_id, applied)
        rows = [applied.merge for applied in customer_rows]
        return Joined(customer, after, other, released.profile, [released.merge], rows)

    def _merge_all(
        self,
        workspace_id: int,
        act: Applied,
        offers: Sequence[tuple[Merge, Sequence[Reading], Policy]],
        other_id: str | None,
        by: By,
    ) -> tuple[list[Applied], Profile]:
        """Return the act, the merges of all that another ledger offers after it, and the profile in the end.

        ``other_id`` is the joined customer of whom it was said.
        """
        done, profile = [act], act.profile
        bucket = self._spreads.bucket(workspace_id, profile.customer_id)
        for row, readings, policy in offers:
            merge = Merge(
                merge_id=self._intake.new_id(bucket, act.merge.received_at),
                customer_id=profile.customer_id,
                version=0,
                source=row.source,
                event=row.event,
                event_id=row.event_id,
                visitor_id=row.visitor_id,
                channel_id=row.channel_id,
                occurred_at=row.occurred_at,
                received_at=act.merge.received_at,
                policy=policy,
                other_id=other_id,
                actor=by.actor,
                note=by.note,
                operation_id=by.operation_id,
                copy_of=row.merge_id,
            )
            applied = merging.apply(profile, merge, readings)
            done.append(applied)
            profile = applied.profile
        return done, profile

    def _act(self, workspace_id: int, customer_id: str, act: Act, by: By, other_id: str) -> Merge:
        row = self._acts.new_act(workspace_id, customer_id, act, by)
        return msgspec.structs.replace(row, other_id=other_id)


def _require_joinable(customer: Profile, other: Profile) -> None:
    """Neither a chain nor a circle is made: whoever is joined is so into one who is nobody else."""
    if customer.joined_into is not None:
        raise Problem(409, "already_joined", "It is joined into another customer already: take these apart first.")
    if other.joined_into is not None:
        raise Problem(409, "already_joined", "That customer is joined into another one: join into that one instead.")
    if customer.absorbs:
        raise Problem(409, "has_joined", "Others are joined into this customer: join the other way round.")
    if len(other.absorbs) >= JOINED_IDS_MAX:
        raise Problem(409, "too_many_joined", f"At most {JOINED_IDS_MAX} customers may be joined into one.")


def _offers(rows: Sequence[Merge]) -> list[tuple[Merge, Sequence[Reading], Policy]]:
    """Return what merges of a ledger offered, as old as it was, and what it may do elsewhere.

    What a sign-up was allowed to set there counts by its age here; what it, or a lock, kept out there is no offer.
    What may only fill gaps is one: there may be a gap here.
    """
    found: list[tuple[Merge, Sequence[Reading], Policy]] = []
    for row in rows:
        is_sign_up = row.policy is Policy.CREATE_ONLY
        kept_out = [d for d in row.decisions if d.verdict is Verdict.KEPT_EXISTING]
        barred = {d.field for d in kept_out if d.reason in (Reason.PROFILE_EXISTS, Reason.LOCKED)}
        readings = tuple(
            reading
            for reading in merging.readings_of(row.decisions)
            if reading.kind in (Kind.VALUE, Kind.REMOVAL) and reading.field not in barred
        )
        if readings:
            found.append((row, readings, Policy.OVERWRITE if is_sign_up else row.policy))
    return found
