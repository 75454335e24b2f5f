"""The footprint in PostgreSQL: what visitors did, kept for as many days as their workspace says."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from types import MappingProxyType
from typing import NamedTuple
from uuid import UUID

import msgspec

from identity import belonging
from identity.belonging import ChangePoint, Stretch
from identity.events.behaviour import Behaviour, EventFault
from identity.events.identity import Event
from identity.partitions import MONTHS_AHEAD
from identity.refusals import Refusal
from identity.resolve import Changes, Key, Record
from profiles import store
from profiles.access import Access
from profiles.clock import NEWEST, to_text
from profiles.database import Connection, Database, rows_json, statement
from profiles.ledger import taken_back
from profiles.pipeline import Command, Copy, array_parameter, copied, fetch_together
from profiles.profile import Profile
from profiles.store import CustomerVisitor, KeyRow, Spreads

VISITORS_MAX = 1000
"""Visitors of a customer whose events are looked for: the current ones, then the latest linked."""
CHANGE_POINTS_MAX = 1000
"""Identifications and sign-outs of a visitor that are looked at, the newest; what was done before them is nobody's."""
SOURCES_MAX = 500
"""Stretches that one statement looks at; a longer list is read in turns, the newest first."""
SOURCES_AT_ONCE = 8
"""So many stretches are read without a window: there is little to gain."""
QUOTA_MIN = 3
FIRST_WINDOW_MILLISECONDS = 2 * 86_400_000
GROWTH_MIN, GROWTH_MAX = 4.0, 32.0
SESSION_PAUSE_SECONDS_MAX = 1800
"""A visitor who comes back after a longer pause begins another session."""
SUM_MILLISECONDS_MAX = 5000
_DAY_MILLISECONDS = 86_400_000
_encode = msgspec.json.Encoder().encode
_CHANGE_MILLISECONDS = _DAY_MILLISECONDS
"""After a change of retention an event may still come by a worker, or a clock, that goes by what was before."""
_DAYS_AHEAD = 31 * MONTHS_AHEAD
_EVER = -1


class _EventRow(NamedTuple):
    """A row of ``copy_events``, but for the bucket, by which it finds its shard."""

    bucket: int
    line: str


class _PurchaseRow(msgspec.Struct, frozen=True):
    bucket: int
    workspace_id: int
    transaction_id: str
    record_id: str
    received_at: str


def purchases_query(database: Database, rows: Sequence[KeyRow]) -> list[Command]:
    """Return the commands that load which transactions were told before; ``seen_from`` reads their answers."""
    return store.loading(database, "identity", "load_purchases", rows)


def saving(database: Database, spreads: Spreads, changes: Changes) -> Iterator[Command]:
    """Give the commands that remember the transactions of a batch."""
    purchases = [_purchase_row(spreads, key, record) for key, record in changes.purchases.items()]
    yield from store.writing(database, "identity", "insert_purchases", purchases)


def copying(database: Database, spreads: Spreads, records: Iterable[Record]) -> list[Copy]:
    """Return what appends events to the footprint, a COPY per shard."""
    rows = [event_row(spreads, record) for record in records]
    return [Copy("identity", "copy_events", [row.line for row in group]) for group in database.by_shard(rows)]


def event_row(spreads: Spreads, record: Record) -> "_EventRow":
    """Return the row of an event."""
    event = record.event
    sender, order = event.sender, event.order
    bucket = spreads.bucket(sender.workspace_id, record.subject)
    customer_id = None if isinstance(event.customer, Refusal) else event.customer
    revenue = None if order is None or order.revenue is None else repr(order.revenue)
    remarks = _encode(event.remarks).decode() if event.remarks else "[]"
    line = (
        f"{bucket}\t{sender.workspace_id}\t{record.is_direct}\t{copied(record.subject)}\t{to_text(event.occurred_at)}\t"
        f"{record.record_id}\t{kept_until(event.received_at, sender.footprint_days)}\t{to_text(event.received_at)}\t"
        f"{copied(sender.channel_id)}\t{copied(event.name)}\t{copied(event.label)}\t{copied(event.event_id)}\t"
        f"{copied(customer_id)}\t{copied(order.order_id if order else None)}\t{copied(revenue)}\t"
        f"{copied(order.currency if order else None)}\t{copied(_encode(event.props).decode())}\t{copied(remarks)}\n"
    )
    return _EventRow(bucket, line)


def _purchase_row(spreads: Spreads, key: Key, record: Record) -> _PurchaseRow:
    return _PurchaseRow(spreads.bucket(*key), *key, record.record_id, to_text(record.event.received_at))


def kept_until(received_at: int, days: int) -> str:
    """Return the last day on which an event is kept, as a date."""
    return _date_text(received_at // _DAY_MILLISECONDS + days)


def last_days(events: Iterable[Event]) -> set[date]:
    """Return the last days on which the behaviour events among these are kept."""
    return {
        date.fromisoformat(kept_until(event.received_at, event.sender.footprint_days))
        for event in events
        if isinstance(event, Behaviour)
    }


@lru_cache(maxsize=64)
def _date_text(day: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)).date().isoformat()


# Reading.


class Retention(msgspec.Struct, frozen=True):
    """How many days from their arrival a workspace keeps its events, and since when (None: ever) it is so many."""

    days: int
    changed_at: int | None

    def oldest(self, now: int) -> int:
        """Return when the oldest event arrived that is still shown."""
        return (now // _DAY_MILLISECONDS - self.days) * _DAY_MILLISECONDS

    def kept_from(self, now: int, since: int | None) -> str:
        """Return the day up to which, at least, every event is kept that happened at ``since`` or later.

        It arrived no earlier than it happened, and if retention was then what it is, its last day follows from that.
        """
        today = now // _DAY_MILLISECONDS
        if since is None or (self.changed_at is not None and since < self.changed_at + _CHANGE_MILLISECONDS):
            return _date_text(today)
        return _date_text(max(today, since // _DAY_MILLISECONDS + self.days))

    def kept_to(self, now: int) -> str:
        """Return the day up to which, at most, every event is kept that is shown."""
        if self.changed_at is not None and self.oldest(now) < self.changed_at + _CHANGE_MILLISECONDS:
            return "infinity"
        return _date_text(now // _DAY_MILLISECONDS + self.days + _DAYS_AHEAD)


class Retentions:
    """The retention of every workspace, part of the snapshot that ``Access`` keeps."""

    def __init__(self, access: Access) -> None:
        self._held: dict[int, Retention] = {}
        access.loaders.append(self._load)

    def of(self, workspace_id: int) -> Retention:
        """Return that of one workspace."""
        return self._held[workspace_id]

    async def _load(self, connection: Connection) -> None:
        rows = await (await connection.execute(statement("identity", "load_retentions"))).fetchall()
        self._held = {workspace_id: Retention(days, changed_at) for workspace_id, days, changed_at in rows}


Position = tuple[int, str]
"""The place of an event in the order of the footprint: when it happened, and its record's id."""

FIRST_ID = str(UUID(int=0))
END: Position = (NEWEST, str(UUID(int=(1 << 128) - 1)))


class Source(msgspec.Struct, frozen=True):
    """Where events come from: a visitor's stretch of time, or what names a customer directly."""

    subject: str
    stretch: Stretch
    is_direct: bool = False


class Told(msgspec.Struct, frozen=True):
    """An event as it is held."""

    record_id: str
    type: str
    label: str | None
    occurred_at: int
    received_at: int
    event_id: str | None
    channel_id: str | None
    order_id: str | None
    revenue: float | None
    currency: str | None
    props: msgspec.Raw
    remarks: tuple[EventFault, ...]

    @property
    def position(self) -> Position:
        """Where it stands."""
        return self.occurred_at, self.record_id


class Page(msgspec.Struct, frozen=True):
    """What is asked for: the newest ``limit`` events before a place, out of a range of time and a choice of types."""

    limit: int
    before: Position = END
    since: int | None = None
    until: int | None = None
    types: tuple[str, ...] = ()


class OrderTold(msgspec.Struct, frozen=True):
    """What was told last of an order."""

    order_id: str
    revenue: float | None
    currency: str | None
    occurred_at: int
    record_id: str


class Sum(msgspec.Struct, frozen=True):
    """What events come to."""

    types: dict[str, int] | None
    first_seen: int | None
    last_seen: int | None
    visitors: int
    sessions: int
    orders: list[OrderTold] | None


class _SourceRow(msgspec.Struct, frozen=True):
    number: int
    bucket: int
    workspace_id: int
    is_direct: bool
    subject: str
    since: str
    before_at: str
    before_id: str
    quota: int


class _StretchRow(msgspec.Struct, frozen=True):
    bucket: int
    workspace_id: int
    is_direct: bool
    subject: str
    since: str
    until: str


class _Reading:
    """How far a source has been read: everything from ``frontier`` on is known."""

    def __init__(self, source: Source, page: Page) -> None:
        stretch = source.stretch
        self.source = source
        self.floor = max((at for at in (stretch.since, page.since) if at is not None), default=None)
        ends = [(at, FIRST_ID) for at in (stretch.until, page.until) if at is not None]
        self.frontier = min([page.before, *ends])
        self.quota = 0

    def is_open(self, window: int | None) -> bool:
        """Return whether there may be more to read of it, within the window."""
        return self.frontier > (self.begin(window), FIRST_ID)

    def begin(self, window: int | None) -> int:
        """Return where it begins, within the window."""
        return max((at for at in (self.floor, window) if at is not None), default=_EVER)


_ids = msgspec.json.Decoder(list[str])
_told = msgspec.json.Decoder(list[Told])
_sum = msgspec.json.Decoder(Sum)


class Footprints:
    """Reads the footprint of one workspace, at one moment, on one connection."""

    def __init__(
        self,
        connection: Connection,
        database: Database,
        spreads: Spreads,
        workspace_id: int,
        retention: Retention,
        now: int,
    ) -> None:
        self.connection = connection
        self._database = database
        self._spreads = spreads
        self._workspace_id = workspace_id
        self._retention = retention
        self._now = now

    async def of_customer(self, customer_id: str) -> list[Source] | None:
        """Return where the footprint of a customer comes from, or None if no such customer is held."""
        profiles, linked = await self._linked([customer_id])
        profile = profiles.get(customer_id)
        if profile is not None and profile.joined_into is not None:
            profile = (await self._linked([profile.joined_into]))[0].get(profile.joined_into)
        if profile is None or profile.is_gone:
            return None
        named = [profile.customer_id, *profile.absorbs]
        if named != [customer_id]:
            _, linked = await self._linked(named)
        found = [Source(other, Stretch(None, None, profile.customer_id), is_direct=True) for other in named]
        same = dict.fromkeys(named, profile.customer_id)
        visitor_ids = list(dict.fromkeys(visitor.visitor_id for visitor in linked))
        for visitor_id, stretches in (await self.stretches_of(visitor_ids, same)).items():
            theirs = [stretch for stretch in stretches if stretch.customer_id == profile.customer_id]
            found += [Source(visitor_id, stretch) for stretch in theirs]
        return found

    async def _linked(self, customer_ids: Sequence[str]) -> tuple[dict[str, Profile], list[CustomerVisitor]]:
        rows = self._spreads.key_rows((self._workspace_id, customer_id) for customer_id in customer_ids)
        customers = store.customers_query(self._database, rows)
        pairs = store.loading(self._database, "profiles", "load_pairs", rows, visitors_max=b"%d" % VISITORS_MAX)
        answers = await fetch_together(self.connection, [*customers, *pairs])
        profiles = store.customers_from(answers[: len(customers)])
        linked = chain.from_iterable(store.pairs_from(answers[len(customers) :]).values())
        return {customer_id: profile for (_, customer_id), profile in profiles.items()}, list(linked)

    async def stretches_of(
        self, visitor_ids: Sequence[str], same: Mapping[str, str] = MappingProxyType({})
    ) -> dict[str, list[Stretch]]:
        """Return whose the time of each visitor is. ``same``: the customers who are joined, each with whom it is."""
        rows = self._spreads.key_rows((self._workspace_id, visitor_id) for visitor_id in visitor_ids)
        points: dict[str, list[ChangePoint]] = {visitor_id: [] for visitor_id in visitor_ids}
        limit = b"%d" % CHANGE_POINTS_MAX
        answers = await fetch_together(
            self.connection, store.loading(self._database, "identity", "load_change_points", rows, points_max=limit)
        )
        acts: list[tuple[int, str, list[str]]] = []
        ids: dict[str, list[str]] = {visitor_id: [] for visitor_id in visitor_ids}
        loaded = dict.fromkeys(visitor_ids, 0)  # what takes others back counts among those that are the newest
        for visitor_id, occurred_at, version, customer_id, fact_id, undoes, is_erased in chain.from_iterable(answers):
            loaded[store.text(visitor_id)] += 1
            if undoes is not None:
                acts.append((store.number(version), store.text(fact_id), _ids.decode(undoes)))
                continue
            named = None if customer_id is None else customer_id.decode()
            named = None if named is None else same.get(named, named)
            point = ChangePoint(store.number(occurred_at), store.number(version), named, is_erased == b"t")
            points[store.text(visitor_id)].append(point)
            ids[store.text(visitor_id)].append(store.text(fact_id))
        # Ids are unique, so that the acts of all visitors can be looked at together.
        undone = taken_back([(fact_id, targets) for _, fact_id, targets in sorted(acts)])
        counting = {
            visitor_id: [point for point, fact_id in zip(found, ids[visitor_id], strict=True) if fact_id not in undone]
            for visitor_id, found in points.items()
        }
        return {
            visitor_id: belonging.stretches(found, is_whole=loaded[visitor_id] < CHANGE_POINTS_MAX)
            for visitor_id, found in counting.items()
        }

    async def newest(self, sources: Sequence[Source], page: Page) -> list[tuple[Source, Told]]:
        """Return the newest events of all sources together, as many as the page takes.

        No source is read further than the page can need. Few sources are read at once, back to their beginning. Of
        many, a short window of time is read first, and a few events of each; who has much to tell fills a page with
        that, and a glance at every month of every visitor is spared. For others the window grows.
        """
        readings = [_Reading(source, page) for source in sources]
        newest = min(self._now, max((reading.frontier[0] for reading in readings), default=self._now))
        window = newest - FIRST_WINDOW_MILLISECONDS if len(readings) > SOURCES_AT_ONCE else None
        found: list[tuple[Position, Source, Told]] = []
        while True:
            found.sort(key=itemgetter(0), reverse=True)
            del found[page.limit :]
            last = found[-1][0] if len(found) == page.limit else None
            asked = [r for r in readings if r.is_open(window) and (last is None or r.frontier > last)]
            if asked:
                asked.sort(key=lambda reading: reading.frontier, reverse=True)
                for reading, events in await self._read(asked[:SOURCES_MAX], page, window):
                    found += [(told.position, reading.source, told) for told in events]
            elif window is None or last is not None:
                return [(source, told) for _, source, told in found]
            else:
                window = self._wider(newest, window, page.limit / max(1, len(found)))

    def _wider(self, newest: int, window: int, wanting: float) -> int | None:
        """Return where the next window begins; ``wanting``: how many times too few the last one had."""
        wider = newest - int((newest - window) * min(GROWTH_MAX, max(GROWTH_MIN, 2 * wanting)))
        return wider if wider > self._retention.oldest(self._now) else None

    async def _read(
        self, readings: Sequence[_Reading], page: Page, window: int | None
    ) -> list[tuple[_Reading, list[Told]]]:
        fair = -(-2 * page.limit // len(readings))
        rows = []
        for number, reading in enumerate(readings):
            reading.quota = min(page.limit, max(QUOTA_MIN, fair, 2 * reading.quota))
            begin = reading.begin(window)
            rows.append(
                _SourceRow(
                    number=number,
                    bucket=self._spreads.bucket(self._workspace_id, reading.source.subject),
                    workspace_id=self._workspace_id,
                    is_direct=reading.source.is_direct,
                    subject=reading.source.subject,
                    since="-infinity" if begin == _EVER else to_text(begin),
                    before_at=to_text(reading.frontier[0]),
                    before_id=reading.frontier[1],
                    quota=reading.quota,
                )
            )
        shown = {**self._shown(window), "types": _text_array(page.types)}
        commands = [
            Command("identity", "list_footprint", {**shown, "sources": rows_json(group), "buckets": _buckets(group)})
            for group in self._database.by_shard(rows)
        ]
        answers = []
        for at, events in chain.from_iterable(await fetch_together(self.connection, commands)):
            reading, told = readings[store.number(at)], _told.decode(events) if events is not None else []
            if len(told) == reading.quota:
                reading.frontier = told[-1].position
            else:
                reading.frontier = (reading.begin(window), FIRST_ID)
            answers.append((reading, told))
        return answers

    async def sum(self, sources: Sequence[Source]) -> list[Sum]:
        """Return what the sources come to, in parts that have no visitor in common; no longer than a limit."""
        rows = [
            _StretchRow(
                bucket=self._spreads.bucket(self._workspace_id, source.subject),
                workspace_id=self._workspace_id,
                is_direct=source.is_direct,
                subject=source.subject,
                since="-infinity" if source.stretch.since is None else to_text(source.stretch.since),
                until="infinity" if source.stretch.until is None else to_text(source.stretch.until),
            )
            for source in sources
        ]
        parts = []
        async with self.connection.transaction():
            limit = {"milliseconds": SUM_MILLISECONDS_MAX}
            await self.connection.execute(statement("profiles", "limit_statements"), limit)
            for group in self._database.by_shard(rows):
                parameters = {
                    **{name: value.decode() for name, value in self._shown(None).items()},
                    "sources": rows_json(group).decode(),
                    "buckets": sorted({row.bucket for row in group}),
                    "pause_max": f"{SESSION_PAUSE_SECONDS_MAX} s",
                }
                cursor = await self.connection.execute(statement("identity", "sum_footprint"), parameters)
                row = await cursor.fetchone()
                assert row is not None, "a sum has one row"
                parts.append(_sum.decode(row[0]))
        return parts

    def _shown(self, window: int | None) -> dict[str, bytes]:
        """Return the parameters that leave out what is past its retention, and months that cannot have the rest."""
        return {
            "kept_from": self._retention.kept_from(self._now, window).encode(),
            "kept_to": self._retention.kept_to(self._now).encode(),
            "oldest": to_text(self._retention.oldest(self._now)).encode(),
        }


def _buckets(rows: Iterable[_SourceRow]) -> bytes:
    return array_parameter(sorted({row.bucket for row in rows}))


def _text_array(texts: Iterable[str]) -> bytes:
    quoted = ('"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"' for text in texts)
    return b"{%s}" % ",".join(quoted).encode()
