"""The path of an event: what is held is loaded, the pure core decides, the changes are saved, all in batches.

    events ─ load ─▶ what is held ─ decide ─▶ changes ─ save ─▶ outcomes

A lone request is a batch of one; the coalescer gathers concurrent ones. A batch is one transaction: whoever gets an
outcome has it committed.
"""

import asyncio
import contextlib
import random
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from itertools import chain, count, islice

import msgspec
import psycopg

from identity import footprint, identifications, partitions
from identity.events.behaviour import Behaviour
from identity.events.identity import Event, Identify, Sender
from identity.resolve import (
    Changes,
    Held,
    Key,
    Outcome,
    customers_left_out,
    customers_named,
    customers_spoken_of,
    decide,
    digest_of,
    digest_under,
    missing,
    purchase_key,
    seen_key,
    unsigned_policy,
    visitors_named,
)
from identity.tombstones import Tombstones
from profiles import bulk, metrics, store
from profiles.cache import Cache
from profiles.clock import make_id, to_text
from profiles.coalesce import Coalescer
from profiles.database import (
    WORK_SECONDS_MAX,
    Conflict,
    Connection,
    Database,
    Unavailable,
    is_retryable,
    statement,
)
from profiles.http import log_fault
from profiles.pipeline import Command, copy_together, fetch_together, write_together
from profiles.profile import Profile
from profiles.store import Spreads

ATTEMPTS_MAX = 6
"""Times a batch is decided anew after another writer was faster; then it is halved."""
ALONE_ATTEMPTS_MAX = 40
"""The same for a batch of one, which can't be halved: its caller would be told to come back."""
MANY_ATTEMPTS_MAX = 2
"""The same for thousands of events: half of them meet fewer writers, in less time."""
MANY_SECONDS_MAX = 60.0
BACK_OFF_SECONDS_MAX = 0.02
FOOTPRINT_LANES = 3
"""Its batches under way at once: none waits for what another decides."""
FOOTPRINT_ITEMS_MAX = 1000
"""Behaviour events in one batch: no profile waits for theirs, and large statements are cheaper by the row."""
FOOTPRINT_WAITING_MAX = 16_384


class Faulty(Exception):
    """The database refuses what this one event wants to write: a fault of ours. Its neighbours were not harmed."""


class Intake:
    """Takes events in. One per process."""

    def __init__(self, database: Database, cache: Cache, spreads: Spreads, tombstones: Tombstones) -> None:
        self._tombstones = tombstones
        self._database = database
        self._cache = cache
        self._spreads = spreads
        self.on_commit: Callable[[Changes], None] | None = None
        """Told of every batch that is committed. It must neither wait nor raise: callers are still to be answered."""
        self._ids = count(secrets.randbits(61))
        # One batch at a time: a second beside it makes both smaller, and costs more than the time it hides.
        self._deciding: Coalescer[Event, Outcome] = Coalescer(self._take)
        self._footprint: Coalescer[Event, Outcome] = Coalescer(
            self._take, items_max=FOOTPRINT_ITEMS_MAX, waiting_max=FOOTPRINT_WAITING_MAX, lanes=FOOTPRINT_LANES
        )

    @property
    def waiting(self) -> int:
        """Events that wait for their batch."""
        return self._deciding.waiting + self._footprint.waiting

    def submit_one(self, event: Event) -> asyncio.Future[Outcome]:
        """Queue one event. Its outcome comes when it is committed; raises as ``submit``, and what is its own fault."""
        return self._deciding.submit(event)

    def submit(self, events: Sequence[Event]) -> Awaitable[list[Outcome | Exception]]:
        """Queue events, all or none. Their outcomes come, in order, when they are committed; an event whose own fault
        kept it from that has an exception in its place. Identity and behaviour events are committed apart: of those
        that came together, one kind may be in when the other has to come again.

        Raises (here or when awaited):
            Overloaded: too much is waiting; nothing was done.
        """
        deciding = [event for event in events if not isinstance(event, Behaviour)]
        if not deciding:
            return self._footprint.submit_all(events)
        if len(deciding) == len(events):
            return self._deciding.submit_all(events)
        # Whose the footprint is, is computed when it is looked at: it may overtake what identifies the visitor.
        behaviour = [event for event in events if isinstance(event, Behaviour)]
        self._deciding.require_room(len(deciding))
        self._footprint.require_room(len(behaviour))
        return _in_order(events, self._deciding.submit_all(deciding), self._footprint.submit_all(behaviour))

    async def take(self, route: str, events: Sequence[Event]) -> None:
        """Have events committed for a caller who could mend none of them: a fault of ours with one is logged.

        Raises:
            Overloaded, Unavailable: the caller is to come back.
        """
        for outcome in await self.submit(events):
            if isinstance(outcome, Faulty):
                # It will not go better next time, and its neighbours are kept.
                log_fault(route, outcome)
            elif isinstance(outcome, Exception):
                raise outcome

    async def drain(self) -> None:
        """Wait until every event taken in is committed or has failed."""
        await self._deciding.drain()
        await self._footprint.drain()

    async def knows(
        self, sender: Sender, visitor_id: str | None, customer_id: str, digest: str
    ) -> tuple[bool, int | None]:
        """Return whether the cache is sure that a push without a token says nothing new, and the generation it told in
        one go."""
        keys = [self._cache.customer_key(sender.workspace_id, customer_id)]
        if visitor_id is not None:
            keys.append(self._cache.visitor_key(sender.workspace_id, visitor_id))
        found = await self._cache.read(keys)
        customer, visitor = found.entries[0], found.entries[-1]
        if customer is None or visitor is None or not customer.payload:
            return False, found.generation
        known = (digest.encode(), digest_under(unsigned_policy(sender), digest).encode())
        same = customer.payload in known and (visitor_id is None or visitor.payload == customer_id.encode())
        return same, found.generation

    async def preview(self, event: Event) -> Outcome:
        """Return what ``submit`` would do with the event now. Nothing is written."""
        return (await self.preview_all([event]))[0]

    async def preview_all(self, events: Sequence[Event]) -> list[Outcome]:
        """Return what ``submit`` would do with the events now, each after those before it. Nothing is written."""

        async def work(connection: Connection) -> list[Outcome]:
            held = await self._load(connection, events)
            held = await self._find_erased(connection, events, held, looks_closely=True)
            return decide(events, held, self.new_id).outcomes

        for _ in range(ATTEMPTS_MAX):
            with contextlib.suppress(Conflict):
                return await self._database.run(work)
        raise Unavailable("contention")

    def new_id(self, bucket: int, milliseconds: int) -> str:
        """Return an id for a ledger row or a fact."""
        return make_id(milliseconds, bucket, next(self._ids))

    async def _take(self, events: Sequence[Event]) -> list[Outcome | Exception]:
        """Take one batch; if its neighbours' fault or contention keeps it from being saved, take its halves."""
        try:
            return list(await self._take_together(events))
        except (Unavailable, OSError) as error:
            return [Unavailable(type(error).__name__)] * len(events)
        except partitions.Missing:
            # Of one workspace, mostly; its neighbours need not wait for what cannot be made.
            if len(events) == 1:
                return [Unavailable("a partition is missing")]
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one event must not reach its neighbours
            if len(events) == 1:
                if isinstance(error, Conflict) or (isinstance(error, psycopg.Error) and is_retryable(error)):
                    return [Unavailable("contention")]
                fault = Faulty(type(error).__name__)
                fault.__cause__ = error
                return [fault]
        middle = len(events) // 2
        return await self._take(events[:middle]) + await self._take(events[middle:])

    def _planner(self, events: Sequence[Event]) -> Callable[[Connection], Awaitable[tuple[Held, Changes]]]:
        attempts = count()

        async def plan(connection: Connection) -> tuple[Held, Changes]:
            held = await self._load(connection, events)
            held = await self._find_erased(connection, events, held, looks_closely=next(attempts) > 0)
            return held, decide(events, held, self.new_id)

        return plan

    async def _take_together(self, events: Sequence[Event]) -> Sequence[Outcome]:
        plan = self._planner(events)
        changes = await self._commit(plan, events, ATTEMPTS_MAX if len(events) > 1 else ALONE_ATTEMPTS_MAX)
        return changes.outcomes

    async def act(self, plan: Callable[[Connection], Awaitable[Changes]]) -> Changes:
        """Have changes committed that no event asked for. They are planned anew whenever another writer was faster.

        Raises:
            Unavailable: the caller is to come back; what is done twice must be the same as done once.
        """

        async def planned(connection: Connection) -> tuple[Held, Changes]:
            return Held(), await plan(connection)

        try:
            return await self._commit(planned, (), ALONE_ATTEMPTS_MAX)
        except Conflict as error:
            raise Unavailable("contention") from error

    async def take_many(self, events: Sequence[Event], last: Callable[[Changes], Sequence[Command]]) -> Changes:
        """Have thousands of events that name no visitor committed in one transaction, beside all others.

        What ``last`` gives is run in it, whether or not there is anything to write.

        Raises:
            Conflict: other writers were faster; nothing was written.
            Unavailable: nobody knows whether it was written.
        """
        database, spreads = self._database, self._spreads
        plan = self._planner(events)

        async def save(connection: Connection, changes: Changes) -> None:
            copied = {(at, merge.customer_id) for at, merge in changes.merges if merge.version == 1}
            commands = chain(
                bulk.saving(database, spreads, changes.merges, changes.customers, self._hashes(changes)),
                identifications.saving(database, spreads, changes),
                identifications.counting(database, spreads, changes),
                self._tombstones.forbidding(copied | customers_left_out(changes)),
                last(changes),
            )
            await copy_together(connection, bulk.copying(spreads, changes.merges, changes.customers), commands)

        return await self._commit(plan, events, MANY_ATTEMPTS_MAX, save, MANY_SECONDS_MAX)

    async def forget_many(self, keys: Collection[Key]) -> None:
        """Have the cache forget customers of whom nobody knows whether it was told what was committed last."""

        async def work(connection: Connection) -> Mapping[Key, Profile]:
            return await store.load_customers(connection, self._database, self._spreads.key_rows(keys))

        held = await self._database.run(work, seconds_max=MANY_SECONDS_MAX)
        await self._cache.forget((self._cache.customer_key(*key), profile.version) for key, profile in held.items())

    async def preview_many(self, events: Sequence[Event], before: Mapping[Key, Profile]) -> Changes:
        """Return what ``take_many`` would do now, if these customers were as ``before`` says. Nothing is written."""

        async def work(connection: Connection) -> Changes:
            held = await self._load(connection, events)
            held = await self._find_erased(connection, events, held, looks_closely=True)
            held = msgspec.structs.replace(held, customers={**held.customers, **before})
            return decide(events, held, self.new_id)

        return await self._database.run(work, seconds_max=MANY_SECONDS_MAX)

    async def _commit(
        self,
        plan: Callable[[Connection], Awaitable[tuple[Held, Changes]]],
        events: Sequence[Event],
        attempts_max: int,
        save: Callable[[Connection, Changes], Awaitable[None]] | None = None,
        seconds_max: float = WORK_SECONDS_MAX,
    ) -> Changes:
        since = time.monotonic()
        attempted: tuple[Held, Changes] | None = None

        async def work(connection: Connection) -> tuple[Held, Changes]:
            nonlocal attempted
            if attempted is not None and await self._was_written(connection, attempted[1]):
                return attempted
            held, changes = await plan(connection)
            if not changes.writes_nothing:
                attempted = held, changes
                await (save or self._save)(connection, changes)
            elif save is not None:
                await save(connection, changes)
            return held, changes

        for attempt in range(attempts_max):
            try:
                held, changes = await self._database.run(work, seconds_max=seconds_max)
            except (Conflict, psycopg.Error) as error:
                # The transaction is known to have been rolled back.
                attempted = None
                is_missing = partitions.is_missing(error)
                if attempt == attempts_max - 1 or not (
                    is_missing or isinstance(error, Conflict) or is_retryable(error)
                ):
                    raise
                if is_missing:
                    await partitions.make_missing(self._database, footprint.last_days(events))
                    since = time.monotonic()
                    continue
                metrics.CONFLICTS.inc()
                await asyncio.sleep(random.uniform(0, BACK_OFF_SECONDS_MAX))  # noqa: S311 - no secret
                since = time.monotonic()
            except Unavailable:
                # Nobody knows whether it was written, so the cache must not go on telling what was there before.
                if attempted is not None:
                    await self._cache.forget(self._versions(attempted[1]))
                raise
            else:
                await self._tell_cache(events, held, changes, since)
                _count(changes)
                if self.on_commit is not None:
                    self.on_commit(changes)
                return changes
        raise Conflict

    async def _load(self, connection: Connection, events: Sequence[Event]) -> Held:
        database, spreads = self._database, self._spreads
        visitor_rows = spreads.key_rows(visitors_named(events))
        customer_rows = spreads.key_rows(customers_named(events))
        seen_rows = spreads.key_rows({key for key in map(seen_key, events) if key is not None})
        purchase_rows = spreads.key_rows({key for key in map(purchase_key, events) if key is not None})
        queries = [
            identifications.visitors_query(database, visitor_rows),
            store.customers_query(database, customer_rows),
            identifications.seen_query(database, seen_rows),
            footprint.purchases_query(database, purchase_rows),
        ]
        answers = iter(await fetch_together(connection, [command for query in queries for command in query]))
        visitors, customers, seen, purchases = (list(islice(answers, len(query))) for query in queries)
        held = Held(
            visitors=identifications.visitors_from(visitors),
            customers=store.customers_from(customers),
            seen=identifications.seen_from(seen),
            purchases=identifications.seen_from(purchases),
        )
        sought: set[Key] = set()
        while True:
            absent = missing(events, held)
            wanted = absent.customers - sought
            if not wanted and not absent.histories:
                _require_one_moment(held)
                return held
            more = await store.load_customers(connection, database, spreads.key_rows(wanted))
            histories = await identifications.load_facts(connection, database, spreads.key_rows(absent.histories))
            sought |= wanted
            held = msgspec.structs.replace(
                held, customers={**held.customers, **more}, histories={**held.histories, **histories}
            )

    async def _find_erased(
        self, connection: Connection, events: Sequence[Event], held: Held, *, looks_closely: bool
    ) -> Held:
        """Add which customers that the events speak of were erased. In workspaces where nobody was, as far as is known,
        nobody is looked for, unless it must be (``looks_closely``); a customer whose erasure was lifted goes on behind
        the versions that there were."""
        in_use = self._tombstones.is_in_use
        looked_for = events if looks_closely else [event for event in events if in_use(event.sender.workspace_id)]
        # Somebody's visitor, or whom somebody is joined into, and nowhere held: an erasure is still under way.
        absent = missing(events, held).customers
        found = await self._tombstones.find(connection, customers_spoken_of(looked_for) | absent)
        joined = {(at, profile.joined_into) for (at, _), profile in held.customers.items()}
        if absent - found.keys() or absent & joined:
            raise Conflict  # erased since the others were read
        if not found:
            return held
        begun_at = {key: tombstone.begun_at(key[1]) for key, tombstone in found.items()}
        lifted = {key: profile for key, profile in begun_at.items() if profile is not None}
        erased = frozenset(found.keys() - lifted.keys())
        return msgspec.structs.replace(held, customers={**lifted, **held.customers}, erased=erased)

    async def _save(self, connection: Connection, changes: Changes) -> None:
        database, spreads = self._database, self._spreads
        pairs = identifications.pair_rows(spreads, changes)
        commands = chain(
            identifications.unpairing(database, spreads, changes),
            store.saving(database, spreads, changes.merges, changes.customers, pairs, self._hashes(changes)),
            identifications.saving(database, spreads, changes),
            footprint.saving(database, spreads, changes),
        )
        last = chain(
            self._tombstones.forbidding(customers_left_out(changes)),
            identifications.counting(database, spreads, changes),  # locks rows that others wait for
        )
        await write_together(connection, commands, footprint.copying(database, spreads, changes.records), last)

    def _hashes(self, changes: Changes) -> dict[Key, str]:
        """Return what stands for the customers whom the changes make: new ones, as far as was known."""
        made = {(at, merge.customer_id) for at, merge in changes.merges if merge.created_customer}
        return {key: self._tombstones.hash_of(*key) for key in made}

    async def _was_written(self, connection: Connection, changes: Changes) -> bool:
        """Return whether a batch whose commit was cut off is there after all; any of its rows proves it."""
        merges, facts, refused = changes.merges[:1], changes.facts[:1], changes.refused[:1]
        records = changes.records[:1]
        workspaces = {workspace_id for workspace_id, _ in (*merges, *facts)}
        workspaces |= {r.event.sender.workspace_id for r in refused}
        workspaces |= {r.event.sender.workspace_id for r in records}
        parameters = {
            "merge_ids": [merge.merge_id for _, merge in merges],
            "fact_ids": [fact.fact_id for _, fact in facts],
            "visitor_ids": [fact.visitor_id for _, fact in facts],
            "versions": [fact.version for _, fact in facts],
            "refusal_ids": [r.refusal_id for r in refused],
            "record_ids": [r.record_id for r in records],
            "subjects": [r.subject for r in records],
            "times": [to_text(r.event.occurred_at) for r in records],
            "workspace_ids": sorted(workspaces),
            "buckets": sorted({b for workspace_id in workspaces for b in self._spreads.buckets(workspace_id)}),
        }
        cursor = await connection.execute(statement("identity", "find_written"), parameters)
        return await cursor.fetchone() is not None

    async def _tell_cache(self, events: Sequence[Event], held: Held, changes: Changes, since: float) -> None:
        """Write what the commit left behind, before any caller is answered.

        Of what this batch made the cache holds nothing that could be stale: only what exists is ever cached.
        """
        cache = self._cache
        entries: list[tuple[str, int, bytes]] = []
        customers = {key: held.customers[key] for key in customers_named(events) if key in held.customers}
        customers.update(changes.customers)
        # A push that was found to say nothing new to this very version will be found so again, whatever digest it has.
        repeated = {
            (event.sender.workspace_id, str(event.customer)): digest_of(event)
            for event, outcome in zip(events, changes.outcomes, strict=True)
            if isinstance(event, Identify) and outcome.unchanged and event.event_id is None
        }
        made = {(workspace_id, merge.customer_id) for workspace_id, merge in changes.merges if merge.version == 1}
        for key in customers.keys() - made:
            profile = customers[key]
            digest = repeated.get(key, profile.digest) if key not in changes.customers else profile.digest
            if profile.joined_into is not None:
                digest = None  # what was said of it stands at another version
            entries.append((cache.customer_key(*key), profile.version, (digest or "").encode()))
        visitors = {key: held.visitors[key] for key in visitors_named(events) if key in held.visitors}
        visitors.update(changes.visitors)
        first_seen = {(workspace_id, fact.visitor_id) for workspace_id, fact in changes.facts if fact.version == 1}
        for key in visitors.keys() - first_seen:
            visitor = visitors[key]
            entries.append((cache.visitor_key(*key), visitor.version, (visitor.customer_id or "").encode()))
        if entries:
            await cache.write(entries, since)

    def _versions(self, changes: Changes) -> list[tuple[str, int]]:
        cache = self._cache
        customers = [(cache.customer_key(*key), profile.version) for key, profile in changes.customers.items()]
        return customers + [(cache.visitor_key(*key), visitor.version) for key, visitor in changes.visitors.items()]


async def _in_order(
    events: Sequence[Event],
    deciding: Awaitable[list[Outcome | Exception]],
    behaviour: Awaitable[list[Outcome | Exception]],
) -> list[Outcome | Exception]:
    decided, recorded = (iter(outcomes) for outcomes in await asyncio.gather(deciding, behaviour))
    return [next(recorded if isinstance(event, Behaviour) else decided) for event in events]


def _require_one_moment(held: Held) -> None:
    """Raise Conflict where customers were taken apart between two readings: what is said of the one would be merged
    into the other, and stay there."""
    for (workspace_id, _), profile in held.customers.items():
        owner = held.customers.get((workspace_id, str(profile.joined_into)))
        if owner is not None and profile.is_apart_from(owner):
            raise Conflict


def _count(changes: Changes) -> None:
    if not changes.writes_nothing:
        metrics.BATCHES.inc()
    for name, number in Counter(map(_name_of, changes.outcomes)).items():
        metrics.EVENTS.labels(name).inc(number)
    for reason, number in Counter(refused.reason for refused in changes.refused).items():
        metrics.REFUSALS.labels(reason).inc(number)
    verdicts = Counter(d.verdict for _, merge in changes.merges for d in merge.decisions)
    for verdict, number in verdicts.items():
        metrics.DECISIONS.labels(verdict).inc(number)


def _name_of(outcome: Outcome) -> str:
    return "refused" if outcome.refusal else "unchanged" if outcome.unchanged else "applied"
