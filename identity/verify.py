"""The proof of the ledger: all of it is replayed through the pure core and compared with what is held.

Every workspace is read in one snapshot, so live traffic gives no false alarm, through cursors in key order, so a
million customers need no more memory than a thousand. No rule stands here: merges are replayed by
``profiles.ledger.replay``, facts by ``identity.resolve.follow``, values by ``profiles.fields.read_field``.

On Citus no snapshot spans several shards: verify a spread workspace there while nothing is written.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from enum import StrEnum
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec
import psycopg

from identity.identifications import fact_from
from identity.resolve import Fact, FactKind, Pair, Visitor, customers_moved, follow, linked_since
from identity.tombstones import Tombstone, hash_of
from profiles import fields as field_table
from profiles import ledger
from profiles import merge as merging
from profiles.clock import bucket_of_id
from profiles.database import rows_json, statement
from profiles.ledger import LedgerBroken
from profiles.profile import HeldField, Merge, Policy, Profile
from profiles.remarks import Kind
from profiles.store import CustomerRow, Spreads, customer_row, has_skipped, merge_from

BATCH_ROWS = 2000
"""Rows that come from the server at a time, and visitors whose links are looked up at a time."""
SHOWN_MAX = 100
PROGRESS_SECONDS = 5.0
CONNECT_SECONDS_MAX = 5
VALUES_WERE_READ_BY_RULES = 1
"""Held values are read again only while these are the rules. The ledger's rows tell by which rules theirs were read, a
held value does not; once there are others, a value that they would refuse is no difference."""

_OPTIONS = (
    "-c enable_seqscan=off -c jit=off -c timezone=UTC -c statement_timeout=0 -c idle_in_transaction_session_timeout=0"
)

Row = Sequence[Any]
Connection = psycopg.Connection[tuple[Any, ...]]

_held = msgspec.json.Decoder(dict[str, HeldField])
_joins = msgspec.json.Decoder(tuple[dict[str, int], str | None, tuple[str, ...]])
_sorted = msgspec.json.Encoder(order="sorted")


class Difference(StrEnum):
    """What can be wrong. ``EXPLANATIONS`` has one sentence for each."""

    UNREADABLE = "unreadable"
    BUCKET = "bucket"
    LEDGER_GAP = "ledger_gap"
    DECISIONS = "decisions"
    MERGE = "merge"
    CUSTOMER = "customer"
    CUSTOMER_MISSING = "customer_missing"
    CUSTOMER_ORPHAN = "customer_orphan"
    VALUE = "value"
    FACT_GAP = "fact_gap"
    FACT = "fact"
    VISITOR = "visitor"
    VISITOR_MISSING = "visitor_missing"
    VISITOR_ORPHAN = "visitor_orphan"
    PAIR = "pair"
    PAIR_MISSING = "pair_missing"
    PAIR_ORPHAN = "pair_orphan"
    LINK_MISSING = "link_missing"
    LINK_ORPHAN = "link_orphan"
    ERASED_HELD = "erased_held"


EXPLANATIONS: dict[Difference, str] = {
    Difference.UNREADABLE: "A row holds what the service never writes.",
    Difference.BUCKET: "A row lies in a bucket where nobody looks for it.",
    Difference.LEDGER_GAP: "A version is missing from a customer's ledger, or is there twice.",
    Difference.DECISIONS: "The rules decide a merge otherwise than the ledger says.",
    Difference.MERGE: "A ledger row's digest or marks do not follow from its decisions.",
    Difference.CUSTOMER: "A customer's row is not what its ledger amounts to.",
    Difference.CUSTOMER_MISSING: "A ledger has no customer's row.",
    Difference.CUSTOMER_ORPHAN: "A customer's row has no ledger.",
    Difference.VALUE: "A held value does not pass the reader of its field.",
    Difference.FACT_GAP: "A version is missing from a visitor's log, or is there twice.",
    Difference.FACT: "The rules decide values of an anonymous visitor otherwise than the log says.",
    Difference.VISITOR: "A visitor's row is not what its log amounts to.",
    Difference.VISITOR_MISSING: "A visitor's log has no visitor's row.",
    Difference.VISITOR_ORPHAN: "A visitor's row has no log.",
    Difference.PAIR: "The time or the currentness of a customer's visitor is not what the visitor's log says.",
    Difference.PAIR_MISSING: "An identification has no entry among its customer's visitors.",
    Difference.PAIR_ORPHAN: "An entry among a customer's visitors has no identification.",
    Difference.LINK_MISSING: "An identification or sign-out is not told in the ledger of a customer whom it concerns.",
    Difference.LINK_ORPHAN: "A ledger tells of a link that no identification or sign-out made.",
    Difference.ERASED_HELD: "A customer is held who was erased.",
}


class Found(msgspec.Struct, frozen=True):
    """One difference, and where: the workspace's slug, whose row it is, its bucket and version, and which parts differ.

    The two ids are personal data: they are for the eyes of whoever asked for them, not for logs.
    """

    kind: Difference
    workspace: str
    bucket: int | None = None
    version: int | None = None
    parts: tuple[str, ...] = ()
    customer_id: str | None = None
    visitor_id: str | None = None


class Report(msgspec.Struct):
    """What was read, and every difference: all counted by kind, the first of them shown."""

    checked: Counter[str]
    differences: Counter[str]
    shown: list[Found]

    @property
    def is_clean(self) -> bool:
        """Whether what is held is what the ledger says."""
        return not self.differences


class UnknownWorkspace(Exception):
    """No workspace has this slug."""


class _Move(NamedTuple):
    """One change of a customer's links, as the ledger and the visitor's log both tell it."""

    visitor_id: str
    customer_id: str
    event: str
    event_id: str | None
    occurred_at: int
    received_at: int


class _Erased(NamedTuple):
    """What is left of an erased customer. ``is_pending``: some rows are left as well."""

    left: Tombstone
    is_pending: bool


class _PairKey(msgspec.Struct, frozen=True):
    bucket: int
    workspace_id: int
    customer_id: str
    visitor_id: str


def verify(
    url: str, *, slug: str | None = None, shown_max: int = SHOWN_MAX, progress: Callable[[str], None] = lambda _: None
) -> Report:
    """Replay the ledger of one workspace or of all, and return every difference from what is held.

    Raises:
        UnknownWorkspace: there is none by this slug.
        psycopg.Error: the database is away, or refuses.
    """
    report = Report(Counter(), Counter(), [])
    with psycopg.connect(
        url, connect_timeout=CONNECT_SECONDS_MAX, options=_OPTIONS, prepare_threshold=None, application_name="identity"
    ) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        workspaces = connection.execute(statement("profiles", "load_workspaces")).fetchall()
        chosen = [row for row in workspaces if slug in (None, row[1])]
        if slug is not None and not chosen:
            raise UnknownWorkspace(slug)
        for workspace_id, name, spread, *_ in chosen:
            _Workspace(connection, workspace_id, name, spread, report, shown_max, progress).verify()
    return report


class _Workspace:
    """The replay of one workspace."""

    def __init__(
        self,
        connection: Connection,
        workspace_id: int,
        slug: str,
        spread: int,
        report: Report,
        shown_max: int,
        progress: Callable[[str], None],
    ) -> None:
        self.connection = connection
        self.workspace_id = workspace_id
        self.slug = slug
        self.spreads = Spreads()
        self.spreads.learn(workspace_id, spread)
        self.report = report
        self.shown_max = shown_max
        self.progress = progress
        self.told_at = time.monotonic()
        self.pairs_found = 0
        self.links_found = 0
        self.links_told = 0
        self.erasure_key = b""
        self.tombstones: dict[str, _Erased] = {}

    def verify(self) -> None:
        self.erasure_key = bytes(self.connection.execute(statement("identity", "load_erasing")).fetchall()[0][0])
        for _, customer_hash, version, lifted_at, is_pending in self.stream("identity", "stream_erasures"):
            self.tombstones[customer_hash] = _Erased(Tombstone(version, lifted_at), is_pending)
        for identifier, heads, log in _joined(
            self.stream("profiles", "stream_customers"), self.stream("profiles", "stream_merges")
        ):
            self.check_customer(identifier, heads, log)
        batch: list[tuple[Visitor, Counter[_Move], dict[str, Pair]]] = []
        for identifier, heads, log in _joined(
            self.stream("identity", "stream_visitors"), self.stream("identity", "stream_facts")
        ):
            batch.append(self.check_visitor(identifier, heads, log))
            if len(batch) >= BATCH_ROWS:
                self.check_links(batch)
                batch.clear()
        self.check_links(batch)
        # Everything that the logs ask for was looked up: as long as the numbers agree, nothing is there beyond it.
        if self.count_pairs() != self.pairs_found:
            self.find_orphan_pairs()
        if self.links_told != self.links_found:
            self.find_orphan_links()

    # Customers.

    def check_customer(self, customer_id: str, heads: list[Row], log: Iterable[Row]) -> None:
        self.count("customers", len(heads))
        bucket = self.spreads.bucket(self.workspace_id, customer_id)

        def differs(kind: Difference, version: int | None = None, *parts: str) -> None:
            self.differs(Found(kind, self.slug, bucket, version, parts, customer_id=customer_id))

        tombstone = self.tombstone_of(customer_id)
        if tombstone is not None and tombstone.is_pending:
            return  # what is left of its ledger goes at any moment
        if tombstone is not None and tombstone.left.lifted_at is None:
            differs(Difference.ERASED_HELD)
        folded, is_whole = self.fold_ledger(
            bucket, log, differs, None if tombstone is None else tombstone.left.begun_at(customer_id)
        )
        for head in heads[1:]:
            differs(Difference.BUCKET, head[2])
        if not heads:
            differs(Difference.CUSTOMER_MISSING, folded.version if folded else None)
            return
        head = heads[0]
        if head[0] != bucket:
            differs(Difference.BUCKET, head[2])
        if folded is None and is_whole:
            differs(Difference.CUSTOMER_ORPHAN, head[2])
            return
        try:
            held = Profile(
                customer_id,
                head[2],
                head[3],
                head[4],
                _held.decode(head[5]),
                head[6],
                head[11],
                *_joins.decode(head[12]),
            )
        except ValueError:
            differs(Difference.UNREADABLE, head[2], "fields")
            return
        self.check_values(held.fields, differs)
        if folded is None or not is_whole:
            return
        written = customer_row(self.spreads, self.workspace_id, folded)
        parts = _unlike(held, folded) + tuple(
            name for name, value in zip(_KEYS, head[7:11], strict=True) if getattr(written, name) != value
        )
        if parts:
            unlike = sorted({_label(name) for name in _unlike_fields(held.fields, folded.fields)})
            differs(Difference.CUSTOMER, held.version, *parts, *unlike)

    def tombstone_of(self, customer_id: str) -> "_Erased | None":
        if not self.tombstones:
            return None
        return self.tombstones.get(hash_of(self.erasure_key, self.workspace_id, customer_id))

    def fold_ledger(
        self, bucket: int, log: Iterable[Row], differs: Callable[..., None], begun_at: Profile | None
    ) -> tuple[Profile | None, bool]:
        """Return what the ledger amounts to, and whether it could be followed to its end. ``begun_at``: what was there
        before its first row."""
        profile: Profile | None = None
        is_whole = True
        history: list[Merge] = []
        for row in log:
            self.count("merges")
            version = row[5]
            if profile is None and version > 1:
                profile = begun_at
            self.links_told += row[6]
            if row[0] != bucket or bucket_of_id(row[3]) != bucket:
                differs(Difference.BUCKET, version)
            if version != (profile.version if profile else 0) + 1:
                # Nothing after it can be replayed: what it was decided against is not known.
                if is_whole:
                    differs(Difference.LEDGER_GAP, version)
                is_whole = False
            if not is_whole:
                continue
            try:
                merge = merge_from(row[3:])
            except ValueError:
                differs(Difference.UNREADABLE, version, "merge")
                is_whole = False
                continue
            try:
                applied = ledger.replay(profile, merge, history)
            except LedgerBroken:
                differs(Difference.LEDGER_GAP, version)
                is_whole = False
                continue
            history.append(merge)
            parts = _unlike(merge, applied.merge)
            if "decisions" in parts:
                differs(Difference.DECISIONS, version)
            parts = tuple(part for part in parts if part != "decisions")
            # A row without decisions that created nothing tells of links alone, and only such a row does.
            if merge.act is None and merge.is_link != (not merge.decisions and not merge.created_customer):
                parts += ("is_link",)
            if row[2] != has_skipped(merge):
                parts += ("skipped",)
            if parts:
                differs(Difference.MERGE, version, *parts)
            profile = applied.profile
        return profile, is_whole

    def check_values(self, held: dict[str, HeldField], differs: Callable[..., None]) -> None:
        if field_table.RULES_VERSION != VALUES_WERE_READ_BY_RULES:
            return
        for name, field in held.items():
            if field.value is None:
                continue
            reading = field_table.read_field(name, field.value)
            if reading.kind is not Kind.VALUE or not merging.same_value(field.value, reading.value):
                differs(Difference.VALUE, field.version, _label(name))

    # Visitors.

    def check_visitor(
        self, visitor_id: str, heads: list[Row], log: Iterable[Row]
    ) -> tuple[Visitor, Counter[_Move], dict[str, Pair]]:
        """Return the visitor as it should be, and what its log moved among the customers' links."""
        self.count("visitors", len(heads))
        bucket = self.spreads.bucket(self.workspace_id, visitor_id)

        def differs(kind: Difference, version: int | None = None, *parts: str) -> None:
            self.differs(Found(kind, self.slug, bucket, version, parts, visitor_id=visitor_id))

        visitor, moves, linked, is_whole = self.fold_facts(visitor_id, bucket, log, differs)
        pairs = {
            customer_id: Pair(customer_id, visitor_id, linked_at, visitor.customer_id == customer_id)
            for customer_id, linked_at in linked.items()
        }
        for head in heads[1:]:
            differs(Difference.BUCKET, head[2])
        if not heads:
            differs(Difference.VISITOR_MISSING, visitor.version)
            return visitor, moves, pairs
        _, _, version, customer_id, since, last_customer_id, last_since, anonymous = head = heads[0]
        if head[0] != bucket:
            differs(Difference.BUCKET, version)
        if visitor.version == 0:
            if is_whole:
                differs(Difference.VISITOR_ORPHAN, version)
            return visitor, moves, pairs
        try:
            values = _held.decode(anonymous)
        except ValueError:
            differs(Difference.UNREADABLE, version, "anonymous")
            return visitor, moves, pairs
        self.check_values(values, differs)
        held = Visitor(
            visitor_id=visitor_id,
            version=version,
            customer_id=customer_id,
            since=since,
            last_customer_id=last_customer_id,
            last_since=last_since,
            anonymous=values,
        )
        parts = _unlike(held, visitor)
        if parts and is_whole:
            differs(Difference.VISITOR, version, *parts)
        return visitor, moves, pairs

    def fold_facts(
        self, visitor_id: str, bucket: int, log: Iterable[Row], differs: Callable[..., None]
    ) -> tuple[Visitor, Counter[_Move], dict[str, int], bool]:
        """Return what the log amounts to, the links it moved, when each customer was last linked, and whether it could
        be followed to its end."""
        visitor = Visitor(visitor_id=visitor_id)
        moves: Counter[_Move] = Counter()
        history: list[Fact] = []
        for row in log:
            self.count("facts")
            version = row[2]
            if row[0] != bucket or bucket_of_id(row[3]) != bucket:
                differs(Difference.BUCKET, version)
            if version != visitor.version + 1:
                differs(Difference.FACT_GAP, version)
            try:
                fact = fact_from(row[1:])
            except ValueError:
                differs(Difference.UNREADABLE, version, "fact")
                return visitor, moves, linked_since(history), False
            if fact.kind is FactKind.ANONYMOUS and not _is_decided_alike(visitor, fact):
                differs(Difference.FACT, version)
            after = follow(visitor, fact, history)
            for customer_id in customers_moved(visitor, fact, after, history):
                moves[
                    _Move(visitor_id, customer_id, fact.event, fact.event_id, fact.occurred_at, fact.received_at)
                ] += 1
            history.append(fact)
            visitor = after
        return visitor, moves, linked_since(history), True

    # Links, which stand on both sides.

    def check_links(self, batch: list[tuple[Visitor, Counter[_Move], dict[str, Pair]]]) -> None:
        self.check_pairs({(c, v.visitor_id): pair for v, _, pairs in batch for c, pair in pairs.items()})
        moves: Counter[_Move] = Counter()
        for _, moved, _ in batch:
            moves.update(moved)
        told: Counter[_Move] = Counter()
        told_alone: Counter[_Move] = Counter()
        parameters = {
            "workspace_id": self.workspace_id,
            "visitor_ids": sorted({visitor.visitor_id for visitor, _, _ in batch}),
        }
        for visitor_id, customer_id, version, is_link, *rest in self.stream(
            "profiles", "stream_merges_by_visitor", parameters
        ):
            move = _Move(visitor_id, customer_id, *rest)
            if move in moves:
                told[move] += 1
            if is_link:
                self.links_found += 1
                told_alone[move] += 1
                if told_alone[move] > moves[move]:
                    self.differs_in_link(Difference.LINK_ORPHAN, customer_id, visitor_id, version)
        for move, times in moves.items():
            if told[move] < times:
                self.differs_in_link(Difference.LINK_MISSING, move.customer_id, move.visitor_id)

    def check_pairs(self, expected: dict[tuple[str, str], Pair]) -> None:
        held = self.find_pairs(expected)
        self.pairs_found += len(held)
        self.count("pairs", len(held))
        for key, pair in expected.items():
            if key not in held:
                self.differs_in_link(Difference.PAIR_MISSING, *key)
                continue
            parts = _unlike(held[key], pair)
            if parts:
                self.differs_in_link(Difference.PAIR, *key, None, *parts)

    def find_pairs(self, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Pair]:
        rows = [_PairKey(self.spreads.bucket(self.workspace_id, c), self.workspace_id, c, v) for c, v in sorted(keys)]
        found: dict[tuple[str, str], Pair] = {}
        for start in range(0, len(rows), BATCH_ROWS):
            part = rows[start : start + BATCH_ROWS]
            parameters = {"keys": rows_json(part).decode(), "buckets": sorted({row.bucket for row in part})}
            for row in self.connection.execute(statement("profiles", "find_pairs"), parameters).fetchall():
                found[row[0], row[1]] = Pair(*row)
        return found

    def count_pairs(self) -> int:
        parameters = {"workspace_id": self.workspace_id}
        row = self.connection.execute(statement("profiles", "count_pairs"), parameters).fetchone()
        return int(row[0]) if row else 0

    def find_orphan_pairs(self) -> None:
        for rows in _batches(self.stream("profiles", "stream_pairs")):
            logs = self.facts_of({visitor_id for _, _, visitor_id in rows})
            for bucket, customer_id, visitor_id in rows:
                if customer_id not in linked_since(logs.get(visitor_id, [])):
                    self.differs_in_link(Difference.PAIR_ORPHAN, customer_id, visitor_id)
                elif bucket != self.spreads.bucket(self.workspace_id, customer_id):
                    self.differs_in_link(Difference.BUCKET, customer_id, visitor_id, None, "pair")

    def find_orphan_links(self) -> None:
        """Report the links in the ledger that name a visitor of whom nothing was ever said, or none at all."""
        links = (row for row in self.stream("profiles", "stream_merges") if row[6])
        for rows in _batches(links):
            logs = self.facts_of({row[12] for row in rows if row[12] is not None})
            for row in rows:
                if row[12] not in logs:
                    self.differs_in_link(Difference.LINK_ORPHAN, row[1], row[12], row[5])

    def facts_of(self, visitor_ids: set[str]) -> dict[str, list[Fact]]:
        rows = self.spreads.key_rows({(self.workspace_id, visitor_id) for visitor_id in visitor_ids})
        parameters = {"keys": rows_json(rows).decode(), "buckets": sorted({row.bucket for row in rows})}
        found: dict[str, list[Fact]] = {}
        for row in self.stream("identity", "load_facts", parameters):
            fact = fact_from(row[1:])
            found.setdefault(fact.visitor_id, []).append(fact)
        return found

    # Reading and reporting.

    def stream(self, package: str, name: str, parameters: Mapping[str, object] | None = None) -> Iterator[Row]:
        """Give the rows of a query as they come, through a cursor on the server."""
        with closing(self.connection.cursor(name)) as cursor:
            cursor.itersize = BATCH_ROWS
            yield from cursor.execute(statement(package, name), parameters or {"workspace_id": self.workspace_id})

    def count(self, what: str, rows: int = 1) -> None:
        self.report.checked[what] += rows
        now = time.monotonic()
        if now - self.told_at >= PROGRESS_SECONDS:
            self.told_at = now
            self.progress(f"{self.slug}: {summary(self.report)}")

    def differs_in_link(
        self, kind: Difference, customer_id: str, visitor_id: str | None, version: int | None = None, *parts: str
    ) -> None:
        tombstone = self.tombstone_of(customer_id)
        if tombstone is not None and tombstone.is_pending:
            return
        bucket = self.spreads.bucket(self.workspace_id, customer_id)
        self.differs(Found(kind, self.slug, bucket, version, parts, customer_id, visitor_id))

    def differs(self, found: Found) -> None:
        self.report.differences[found.kind] += 1
        if len(self.report.shown) < self.shown_max:
            self.report.shown.append(found)


def summary(report: Report) -> str:
    """Return in one line what was read and how many differences there are."""
    read = ", ".join(f"{report.checked[what]} {what}" for what in ("customers", "merges", "visitors", "facts", "pairs"))
    total = report.differences.total()
    return f"{read}: {total or 'no'} difference{'' if total == 1 else 's'}"


_KEYS = tuple(name for name in CustomerRow.__struct_fields__ if name.endswith("_key"))


def _joined(heads: Iterator[Row], log: Iterator[Row]) -> Iterator[tuple[str, list[Row], Iterable[Row]]]:
    """Give, of two streams in order of the id in their second column, the rows of each id that either has."""
    head_groups, log_groups = groupby(heads, itemgetter(1)), groupby(log, itemgetter(1))
    head, entry = next(head_groups, None), next(log_groups, None)
    while head or entry:
        identifier = min(group[0] for group in (head, entry) if group)
        held = list(head[1]) if head and head[0] == identifier else []
        said = entry[1] if entry and entry[0] == identifier else ()
        yield identifier, held, said
        if held:
            head = next(head_groups, None)
        if entry and entry[0] == identifier:
            entry = next(log_groups, None)


def _batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    for row in rows:
        batch.append(row)
        if len(batch) >= BATCH_ROWS:
            yield batch
            batch = []
    if batch:
        yield batch


def _unlike(held: msgspec.Struct, expected: msgspec.Struct) -> tuple[str, ...]:
    """Return the names of the parts in which two structs of one kind differ."""
    if held == expected and _sorted.encode(held) == _sorted.encode(expected):
        return ()
    names = expected.__struct_fields__
    return tuple(n for n in names if not _is_same(getattr(held, n), getattr(expected, n)))


def _is_same(held: object, expected: object) -> bool:
    # As JSON: jsonb gives 1e15 back as a whole number, which is the same value, and true is not 1.
    return merging.same_value(msgspec.to_builtins(held), msgspec.to_builtins(expected))


def _unlike_fields(held: dict[str, HeldField], expected: dict[str, HeldField]) -> set[str]:
    return {name for name in held.keys() | expected.keys() if not _is_same(held.get(name), expected.get(name))}


def _label(name: str) -> str:
    # Websites choose the names of custom fields, and anything may stand in them.
    return name if field_table.is_field(name) and not name.startswith(field_table.CUSTOM) else field_table.EVERY_CUSTOM


def _is_decided_alike(visitor: Visitor, fact: Fact) -> bool:
    decisions, _ = merging.decide(
        visitor.anonymous,
        merging.readings_of(fact.decisions),
        policy=Policy.OVERWRITE,
        exists=True,
        occurred_at=fact.occurred_at,
        version=fact.version,
    )
    return _is_same(fact.decisions, decisions)
