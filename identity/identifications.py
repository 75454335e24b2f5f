"""Visitors, what was said of them, and the refused, in PostgreSQL."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from identity.resolve import NO_CHANNEL, Changes, Fact, FactKind, Key, Refused, Visitor
from profiles import store
from profiles.clock import to_text
from profiles.database import Connection, Database, statement
from profiles.profile import HeldField
from profiles.remarks import Decision
from profiles.store import Cursor, KeyRow, PairRow, Spreads, Writes

_anonymous = msgspec.json.Decoder(dict[str, HeldField])
_decisions = msgspec.json.Decoder(tuple[Decision, ...])


class _FactRow(msgspec.Struct, frozen=True):
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


class _VisitorRow(msgspec.Struct, frozen=True):
    bucket: int
    workspace_id: int
    visitor_id: str
    version: int
    customer_id: str | None
    since: str | None
    last_customer_id: str | None
    anonymous: dict[str, HeldField]


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
    occurred_at: str
    received_at: str


class _CountRow(msgspec.Struct, frozen=True):
    bucket: int
    workspace_id: int
    channel_id: str
    reason: str
    day: str
    refused: int


async def query_visitors(connection: Connection, database: Database, rows: Sequence[KeyRow]) -> list[Cursor]:
    """Send the query for visitors; ``visitors_from`` reads the answers."""
    return [
        await connection.execute(statement("identity", "load_visitors"), store.key_parameters(group))
        for group in database.by_shard(rows)
    ]


async def visitors_from(cursors: Iterable[Cursor]) -> dict[Key, Visitor]:
    """Return the visitors that ``query_visitors`` found."""
    found: dict[Key, Visitor] = {}
    for cursor in cursors:
        for workspace_id, visitor_id, version, customer_id, since, last, anonymous in await cursor.fetchall():
            found[workspace_id, visitor_id] = Visitor(
                visitor_id=visitor_id,
                version=version,
                customer_id=customer_id,
                since=since,
                last_customer_id=last,
                anonymous=_anonymous.decode(anonymous),
            )
    return found


async def load_visitors(connection: Connection, database: Database, rows: Sequence[KeyRow]) -> dict[Key, Visitor]:
    """Return those of the visitors that exist."""
    return await visitors_from(await query_visitors(connection, database, rows))


async def load_facts(connection: Connection, database: Database, rows: Sequence[KeyRow]) -> dict[Key, list[Fact]]:
    """Return everything that was said of the visitors, in order of arrival."""
    found: dict[Key, list[Fact]] = {(row.workspace_id, row.id): [] for row in rows}
    for group in database.by_shard(rows):
        cursor = await connection.execute(statement("identity", "load_facts"), store.key_parameters(group))
        for row in await cursor.fetchall():
            found[row[0], row[1]].append(fact_from(row[1:]))
    return found


def fact_from(row: Sequence[object]) -> Fact:
    """Return the fact of a row as ``load_facts`` selects it, the workspace left out."""
    names = (
        "visitor_id", "version", "fact_id", "kind", "applied", "customer_id", "channel_id", "source", "event",
        "event_id", "occurred_at", "received_at", "decisions",
    )  # fmt: skip
    values = dict(zip(names, row, strict=True))
    values["kind"] = FactKind(str(values["kind"]))
    values["decisions"] = _decisions.decode(str(values["decisions"]))
    return Fact(**values)  # type: ignore[arg-type]


async def load_seen(connection: Connection, database: Database, rows: Sequence[KeyRow]) -> frozenset[Key]:
    """Return those of the event ids that were acted upon before."""
    found: set[Key] = set()
    for group in database.by_shard(rows):
        cursor = await connection.execute(statement("identity", "load_seen"), store.key_parameters(group))
        found.update((workspace_id, event_id) for workspace_id, event_id in await cursor.fetchall())
    return frozenset(found)


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


async def save(connection: Connection, database: Database, spreads: Spreads, changes: Changes) -> Writes:
    """Send the facts and the visitors they fold to, the event ids, and the refused with their counts."""
    facts = [_fact_row(spreads, workspace_id, fact) for workspace_id, fact in changes.facts]
    visitors = [_visitor_row(spreads, key, visitor) for key, visitor in changes.visitors.items()]
    seen = [_SeenRow(spreads.bucket(*key), *key, to_text(received_at)) for key, received_at in changes.seen.items()]
    refusals = [_refusal_row(spreads, refused) for refused in changes.refused]
    writes = await store.write_rows(connection, database, "identity", "insert_facts", facts)
    writes += await store.write_rows(connection, database, "identity", "save_visitors", visitors)
    writes += await store.write_rows(connection, database, "identity", "insert_seen", seen)
    writes += await store.write_rows(connection, database, "identity", "insert_refusals", refusals)
    await store.write_rows(connection, database, "identity", "count_refusals", _counts(spreads, changes.refused))
    return writes


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
    )


def _visitor_row(spreads: Spreads, key: Key, visitor: Visitor) -> _VisitorRow:
    return _VisitorRow(
        bucket=spreads.bucket(*key),
        workspace_id=key[0],
        visitor_id=visitor.visitor_id,
        version=visitor.version,
        customer_id=visitor.customer_id,
        since=None if visitor.since is None else to_text(visitor.since),
        last_customer_id=visitor.last_customer_id,
        anonymous=visitor.anonymous,
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
        customer_id=event.sent_customer,
        fields=event.fields,
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
