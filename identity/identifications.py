"""Visitors, what was said of them, and the refused, in PostgreSQL."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

import msgspec

from identity.events.behaviour import Behaviour, EventFault
from identity.resolve import NO_CHANNEL, Changes, Fact, FactKind, Key, Refused, Visitor
from identity.visitors import read_known_customer_id
from profiles import store
from profiles.clock import to_text
from profiles.database import Connection, Database, rows_json, statement
from profiles.fields import RULES_VERSION
from profiles.pipeline import Command, Row, array_parameter, fetch_together
from profiles.profile import HeldField
from profiles.remarks import Decision
from profiles.store import KeyRow, PairRow, Spreads, number, text

_anonymous = msgspec.json.Decoder(dict[str, HeldField])
_decisions = msgspec.json.Decoder(tuple[Decision, ...])


class _FactRow(msgspec.Struct, frozen=True, omit_defaults=True):
    bucket: int
    workspace_id: int
    visitor_id: str
    version: int
    fact_id: str
    kind: str
    applied: bool
    customer_id: str | None
    channel_id: str | None
    source: str
    event: str
    event_id: str | None
    occurred_at: str
    received_at: str
    decisions: tuple[Decision, ...]
    rules: int
    undoes: tuple[str, ...] = ()
    actor: str | None = None
    note: str | None = None
    operation_id: str | None = None


class _PairKey(msgspec.Struct, frozen=True):
    bucket: int
    workspace_id: int
    customer_id: str
    visitor_id: str


class _VisitorRow(msgspec.Struct, frozen=True):
    bucket: int
    workspace_id: int
    visitor_id: str
    version: int
    customer_id: str | None
    since: str | None
    last_customer_id: str | None
    last_since: str | None
    anonymous: dict[str, HeldField]
    previous_version: int


class _SeenRow(msgspec.Struct, frozen=True):
    bucket: int
    workspace_id: int
    event_id: str
    received_at: str


class _RefusalRow(msgspec.Struct, frozen=True):
    bucket: int
    workspace_id: int
    refusal_id: str
    channel_id: str | None
    reason: str
    event: str
    event_id: str | None
    visitor_id: str | None
    customer_id: str | None
    fields: tuple[str, ...]
    faults: tuple[EventFault, ...]
    occurred_at: str
    received_at: str


class _CountRow(msgspec.Struct, frozen=True):
    bucket: int
    workspace_id: int
    channel_id: str
    reason: str
    day: str
    refused: int


def visitors_query(database: Database, rows: Sequence[KeyRow]) -> list[Command]:
    """Return the commands that load visitors; ``visitors_from`` reads their answers."""
    return store.loading(database, "identity", "load_visitors", rows)


def visitors_from(answers: Iterable[list[Row]]) -> dict[Key, Visitor]:
    """Return the visitors that ``visitors_query`` found."""
    found: dict[Key, Visitor] = {}
    for row in chain.from_iterable(answers):
        workspace_id, visitor_id, version, customer_id, since, last, last_since, anonymous = row
        visitor = Visitor(
            visitor_id=text(visitor_id),
            version=number(version),
            customer_id=_optional(customer_id),
            since=None if since is None else int(since),
            last_customer_id=_optional(last),
            last_since=None if last_since is None else int(last_since),
            anonymous=_anonymous.decode(anonymous or b"{}"),
        )
        found[number(workspace_id), visitor.visitor_id] = visitor
    return found


async def load_visitors(connection: Connection, database: Database, rows: Sequence[KeyRow]) -> dict[Key, Visitor]:
    """Return those of the visitors that exist."""
    return visitors_from(await fetch_together(connection, visitors_query(database, rows)))


async def load_facts(connection: Connection, database: Database, rows: Sequence[KeyRow]) -> dict[Key, list[Fact]]:
    """Return everything that was said of the visitors, in order of arrival."""
    found: dict[Key, list[Fact]] = {(row.workspace_id, row.id): [] for row in rows}
    for group in database.by_shard(rows):
        parameters = {"keys": rows_json(group).decode(), "buckets": sorted({row.bucket for row in group})}
        cursor = await connection.execute(statement("identity", "load_facts"), parameters)
        for row in await cursor.fetchall():
            found[row[0], row[1]].append(fact_from(row[1:]))
    return found


def _optional(value: bytes | None) -> str | None:
    return None if value is None else value.decode()


def fact_from(row: Sequence[object]) -> Fact:
    """Return the fact of a row as ``load_facts`` selects it, the workspace left out."""
    names = (
        "visitor_id", "version", "fact_id", "kind", "applied", "customer_id", "channel_id", "source", "event",
        "event_id", "occurred_at", "received_at", "decisions", "undoes", "actor", "note", "operation_id",
    )  # fmt: skip
    values = dict(zip(names, row, strict=True))
    values["kind"] = FactKind(str(values["kind"]))
    values["undoes"] = tuple(values["undoes"] or ())  # type: ignore[arg-type]
    values["decisions"] = _decisions.decode(str(values["decisions"]))
    return Fact(**values)  # type: ignore[arg-type]


def seen_query(database: Database, rows: Sequence[KeyRow]) -> list[Command]:
    """Return the commands that load which event ids were acted upon; ``seen_from`` reads their answers."""
    return store.loading(database, "identity", "load_seen", rows)


def seen_from(answers: Iterable[list[Row]]) -> frozenset[Key]:
    """Return those of the event ids that ``seen_query`` found."""
    return frozenset((number(workspace_id), text(key)) for workspace_id, key in chain.from_iterable(answers))


def pair_rows(spreads: Spreads, changes: Changes) -> list[PairRow]:
    """Return the links of a batch as rows."""
    return [
        PairRow(
            bucket=spreads.bucket(workspace_id, pair.customer_id),
            workspace_id=workspace_id,
            customer_id=pair.customer_id,
            visitor_id=pair.visitor_id,
            linked_at=to_text(pair.linked_at),
            is_current=pair.is_current,
        )
        for (workspace_id, _, _), pair in changes.pairs.items()
    ]


def unpairing(database: Database, spreads: Spreads, changes: Changes) -> Iterator[Command]:
    """Give the commands that forget links, before those that are left are told anew."""
    rows = [
        _PairKey(spreads.bucket(workspace_id, customer_id), workspace_id, customer_id, visitor_id)
        for workspace_id, customer_id, visitor_id in sorted(changes.unpaired)
    ]
    for group in database.by_shard(rows):
        parameters = {"rows": rows_json(group), "buckets": array_parameter(_buckets(group))}
        yield Command("profiles", "delete_pairs", parameters)


def _buckets(rows: Iterable[_PairKey]) -> list[int]:
    return sorted({row.bucket for row in rows})


def saving(database: Database, spreads: Spreads, changes: Changes) -> Iterator[Command]:
    """Give the commands that write facts, the visitors they fold to, event ids, and the refused."""
    facts = [_fact_row(spreads, workspace_id, fact) for workspace_id, fact in changes.facts]
    yield from store.writing(database, "identity", "insert_facts", facts)
    first: dict[Key, int] = {}
    for workspace_id, fact in changes.facts:
        key = workspace_id, fact.visitor_id
        first[key] = min(fact.version, first.get(key, fact.version))
    visitors = [visitor_row(spreads, key, visitor, first[key] - 1) for key, visitor in changes.visitors.items()]
    yield from store.writing(database, "identity", "save_visitors", visitors, bucketed=True)
    seen = [_SeenRow(spreads.bucket(*key), *key, to_text(received_at)) for key, received_at in changes.seen.items()]
    yield from store.writing(database, "identity", "insert_seen", seen)
    refusals = [_refusal_row(spreads, refused) for refused in changes.refused]
    yield from store.writing(database, "identity", "insert_refusals", refusals)


async def insert_fact(connection: Connection, spreads: Spreads, workspace_id: int, fact: Fact) -> None:
    """Write one fact within a transaction, which fails if another writer took its version first."""
    parameters = {"rows": rows_json([_fact_row(spreads, workspace_id, fact)]).decode()}
    await connection.execute(statement("identity", "insert_facts"), parameters)


async def save_visitor(
    connection: Connection, spreads: Spreads, key: Key, visitor: Visitor, previous_version: int
) -> None:
    """Write one visitor within a transaction, which fails if it is not in the version any more that it had before."""
    row = visitor_row(spreads, key, visitor, previous_version)
    parameters = {"rows": rows_json([row]).decode(), "buckets": [row.bucket]}
    await connection.execute(statement("identity", "save_visitors"), parameters)


def counting(database: Database, spreads: Spreads, changes: Changes) -> Iterator[Command]:
    """Give the commands that count the refused: all batches that refuse for one reason wait for one row."""
    counts = _counts(spreads, changes.refused)
    yield from store.writing(database, "identity", "count_refusals", counts)


def _fact_row(spreads: Spreads, workspace_id: int, fact: Fact) -> _FactRow:
    return _FactRow(
        bucket=spreads.bucket(workspace_id, fact.visitor_id),
        workspace_id=workspace_id,
        visitor_id=fact.visitor_id,
        version=fact.version,
        fact_id=fact.fact_id,
        kind=fact.kind,
        applied=fact.applied,
        customer_id=fact.customer_id,
        channel_id=fact.channel_id,
        source=fact.source,
        event=fact.event,
        event_id=fact.event_id,
        occurred_at=to_text(fact.occurred_at),
        received_at=to_text(fact.received_at),
        decisions=fact.decisions,
        rules=RULES_VERSION,
        undoes=fact.undoes,
        actor=fact.actor,
        note=fact.note,
        operation_id=fact.operation_id,
    )


def visitor_row(spreads: Spreads, key: Key, visitor: Visitor, previous_version: int) -> _VisitorRow:
    """Return the row of a visitor, whose version was that one before."""
    return _VisitorRow(
        bucket=spreads.bucket(*key),
        workspace_id=key[0],
        visitor_id=visitor.visitor_id,
        version=visitor.version,
        customer_id=visitor.customer_id,
        since=None if visitor.since is None else to_text(visitor.since),
        last_customer_id=visitor.last_customer_id,
        last_since=None if visitor.last_since is None else to_text(visitor.last_since),
        anonymous=visitor.anonymous,
        previous_version=previous_version,
    )


def _refusal_row(spreads: Spreads, refused: Refused) -> _RefusalRow:
    event = refused.event
    return _RefusalRow(
        bucket=spreads.bucket(event.sender.workspace_id, event.sender.channel_id or NO_CHANNEL),
        workspace_id=event.sender.workspace_id,
        refusal_id=refused.refusal_id,
        channel_id=event.sender.channel_id,
        reason=refused.reason,
        event=event.name,
        event_id=event.event_id,
        visitor_id=event.visitor_id,
        customer_id=read_known_customer_id(event.sent_customer) or event.sent_customer,
        fields=event.fields,
        faults=event.faults if isinstance(event, Behaviour) else (),
        occurred_at=to_text(event.occurred_at),
        received_at=to_text(event.received_at),
    )


def _counts(spreads: Spreads, refused: Sequence[Refused]) -> list[_CountRow]:
    counted: Mapping[tuple[int, str, str, str], int] = Counter(
        (
            r.event.sender.workspace_id,
            r.event.sender.channel_id or NO_CHANNEL,
            str(r.reason),
            to_text(r.event.received_at)[:10],
        )
        for r in refused
    )
    return [
        _CountRow(spreads.bucket(workspace_id, channel_id), workspace_id, channel_id, reason, day, count)
        for (workspace_id, channel_id, reason, day), count in counted.items()
    ]
