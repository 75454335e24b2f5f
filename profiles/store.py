"""Profiles, their ledger and their visitors in PostgreSQL. Set-based: the number of statements does not grow."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, groupby
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec

from profiles.clock import bucket_of_id, to_text
from profiles.database import Connection, Database, rows_json, statement
from profiles.fields import RULES_VERSION, email_key
from profiles.ledger import taken_back
from profiles.pipeline import Command, Row, array_parameter, fetch_together
from profiles.placement import bucket_of, buckets_of
from profiles.profile import Act, HeldField, Link, Merge, Policy, Profile
from profiles.remarks import Decision, Verdict

VISITORS_SHOWN_MAX = 100
"""Visitors in one lookup answer: the current ones first, then the latest linked."""

Key = tuple[int, str]

_fields = msgspec.json.Decoder(dict[str, HeldField])
_decisions = msgspec.json.Decoder(tuple[Decision, ...])
_joins = msgspec.json.Decoder(tuple[dict[str, int], str | None, tuple[str, ...]])

SKIPPED = frozenset({Verdict.SKIPPED_INVALID, Verdict.SKIPPED_OLDER, Verdict.KEPT_EXISTING})
"""Verdicts that mark a ledger row as one that skipped something."""


class KeyRow(msgspec.Struct, frozen=True):
    """One key to look for."""

    bucket: int
    workspace_id: int
    id: str


class CustomerVisitor(msgspec.Struct, frozen=True):
    """A visitor that was ever linked to a customer."""

    visitor_id: str
    linked_at: int
    is_current: bool


class MergeRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """A ledger row as it is written."""

    bucket: int
    workspace_id: int
    customer_id: str
    version: int
    merge_id: str
    is_link: bool
    created_customer: bool
    skipped: bool
    policy: str
    source: str
    event: str
    event_id: str | None
    visitor_id: str | None
    channel_id: str | None
    occurred_at: str
    received_at: str
    digest: str | None
    decisions: tuple[Decision, ...]
    rules: int
    act: str | None = None
    undoes: tuple[str, ...] = ()
    act_fields: tuple[str, ...] = ()
    other_id: str | None = None
    actor: str | None = None
    note: str | None = None
    operation_id: str | None = None
    link: str | None = None
    copy_of: str | None = None


class CustomerRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """A profile as it is written, with what it is looked up by."""

    bucket: int
    workspace_id: int
    customer_id: str
    version: int
    created_at: str
    updated_at: str
    fields: dict[str, HeldField]
    digest: str | None
    email_key: str | None
    alternate_email_key: str | None
    mobile_key: str | None
    alternate_mobile_key: str | None
    is_gone: bool
    locks: dict[str, int] = {}
    joined_into: str | None = None
    absorbs: tuple[str, ...] = ()
    customer_hash: str | None = None
    previous_version: int = -1


class PairRow(msgspec.Struct, frozen=True):
    """A customer and a visitor to be remembered as linked."""

    bucket: int
    workspace_id: int
    customer_id: str
    visitor_id: str
    linked_at: str
    is_current: bool


class Spreads:
    """How far each workspace is spread, so that a key's bucket can be computed. One per process, grown only."""

    def __init__(self) -> None:
        self._spreads: dict[int, int] = {}

    def learn(self, workspace_id: int, spread: int) -> None:
        """Remember the spread of a workspace; it never changes once the workspace exists."""
        self._spreads[workspace_id] = spread

    def bucket(self, workspace_id: int, identifier: str) -> int:
        """Return the bucket of the row that ``identifier`` names."""
        return bucket_of(workspace_id, self._spreads[workspace_id], identifier)

    def buckets(self, workspace_id: int) -> list[int]:
        """Return all buckets of the workspace."""
        return buckets_of(workspace_id, self._spreads[workspace_id])

    def key_rows(self, keys: Iterable[Key]) -> list[KeyRow]:
        """Return the keys with their buckets, in key order."""
        return [KeyRow(self.bucket(*key), *key) for key in sorted(keys)]


def key_parameters(rows: Sequence[KeyRow]) -> dict[str, bytes]:
    """Return the parameters of a statement that loads rows by key."""
    return {"keys": rows_json(rows), "buckets": array_parameter(sorted({row.bucket for row in rows}))}


def loading(database: Database, package: str, name: str, rows: Sequence[KeyRow], **more: bytes) -> list[Command]:
    """Return the commands, one per shard, that load rows by key."""
    return [Command(package, name, {**key_parameters(group), **more}) for group in database.by_shard(rows)]


def writing(
    database: Database, package: str, name: str, rows: Sequence[Any], *, bucketed: bool = False
) -> Iterator[Command]:
    """Give the commands, one per shard, that write rows. ``bucketed``: the statement looks at what is there, and wants
    to know in which buckets."""
    for group in database.by_shard(rows):
        parameters = {"rows": rows_json(group)}
        if bucketed:
            parameters["buckets"] = array_parameter(sorted({row.bucket for row in group}))
        yield Command(package, name, parameters)


def customers_query(database: Database, rows: Sequence[KeyRow]) -> list[Command]:
    """Return the commands that load profiles; ``customers_from`` reads their answers."""
    return loading(database, "profiles", "load_customers", rows)


def customers_from(answers: Iterable[list[Row]]) -> dict[Key, Profile]:
    """Return the profiles that ``customers_query`` found."""
    found: dict[Key, Profile] = {}
    for row in chain.from_iterable(answers):
        workspace_id, customer_id, version, created_at, updated_at, fields, digest, is_gone, joins = row
        profile = Profile(
            text(customer_id), number(version), number(created_at), number(updated_at), _fields.decode(fields or b"{}"),
            digest.decode() if digest is not None else None, is_gone == b"t", *_joins.decode(joins or b"[{},null,[]]"),
        )  # fmt: skip
        found[number(workspace_id), profile.customer_id] = profile
    return found


def pairs_query(database: Database, rows: Sequence[KeyRow]) -> list[Command]:
    """Return the commands that load the visitors of customers; ``pairs_from`` reads their answers."""
    return loading(database, "profiles", "load_pairs", rows, visitors_max=b"%d" % VISITORS_SHOWN_MAX)


def pairs_from(answers: Iterable[list[Row]]) -> dict[Key, list[CustomerVisitor]]:
    """Return the visitors of each customer that ``pairs_query`` found, at most ``VISITORS_SHOWN_MAX`` each."""
    found: dict[Key, list[CustomerVisitor]] = {}
    for workspace_id, customer_id, visitor_id, linked_at, is_current in chain.from_iterable(answers):
        visitor = CustomerVisitor(text(visitor_id), number(linked_at), is_current == b"t")
        found.setdefault((number(workspace_id), text(customer_id)), []).append(visitor)
    return found


async def load_customers(connection: Connection, database: Database, rows: Sequence[KeyRow]) -> dict[Key, Profile]:
    """Return those of the profiles that exist."""
    return customers_from(await fetch_together(connection, customers_query(database, rows)))


async def load_with_visitors(
    connection: Connection, database: Database, spreads: Spreads, keys: Iterable[Key]
) -> dict[Key, tuple[Profile, list[CustomerVisitor]]]:
    """Return those of the profiles that anybody finds, each with its visitors as of the same version or a later one.

    A joined customer's is the profile of whom it is joined into; visitors are those of all who are joined.
    """
    rows = spreads.key_rows(keys)
    customers, pairs = customers_query(database, rows), pairs_query(database, rows)
    answers = await fetch_together(connection, [*customers, *pairs])
    profiles = customers_from(answers[: len(customers)])
    visitors = pairs_from(answers[len(customers) :])
    owners = {key: (key[0], profile.joined_into or profile.customer_id) for key, profile in profiles.items()}
    if any(profile.joined_into or profile.absorbs for profile in profiles.values()):
        profiles = {**profiles, **await _absent(connection, database, spreads, profiles, owners.values())}
        if any(profiles[key].is_apart_from(profiles[owner]) for key, owner in owners.items() if owner in profiles):
            return await load_with_visitors(connection, database, spreads, list(owners))
        groups = {(key[0], other) for key in owners.values() for other in _group(profiles.get(key))}
        answers = await fetch_together(connection, pairs_query(database, spreads.key_rows(groups)))
        visitors = pairs_from(answers)
    found: dict[Key, tuple[Profile, list[CustomerVisitor]]] = {}
    for key, owner in owners.items():
        profile = profiles.get(owner)
        if profile is not None and not profile.is_gone:
            found[key] = profile, _visitors(visitors, key[0], profile)
    return found


async def _absent(
    connection: Connection, database: Database, spreads: Spreads, held: Mapping[Key, Profile], wanted: Iterable[Key]
) -> dict[Key, Profile]:
    rows = spreads.key_rows({key for key in wanted if key not in held})
    return await load_customers(connection, database, rows)


def _group(profile: Profile | None) -> tuple[str, ...]:
    return () if profile is None else (profile.customer_id, *profile.absorbs)


def _visitors(
    visitors: Mapping[Key, list[CustomerVisitor]], workspace_id: int, profile: Profile
) -> list[CustomerVisitor]:
    """Return the visitors of a customer and of whom it is besides: each once, the current ones first."""
    if not profile.absorbs:
        return visitors.get((workspace_id, profile.customer_id), [])
    found: dict[str, CustomerVisitor] = {}
    for customer_id in _group(profile):
        for visitor in visitors.get((workspace_id, customer_id), []):
            other = found.get(visitor.visitor_id, visitor)
            found[visitor.visitor_id] = CustomerVisitor(
                visitor.visitor_id,
                max(visitor.linked_at, other.linked_at),
                visitor.is_current or other.is_current,
            )
    ordered = sorted(found.values(), key=lambda v: (not v.is_current, -v.linked_at, v.visitor_id))
    return ordered[:VISITORS_SHOWN_MAX]


def text(value: bytes | None) -> str:
    """Return a column that is never null as text."""
    assert value is not None
    return value.decode()


def number(value: bytes | None) -> int:
    """Return a column that is never null as a whole number."""
    assert value is not None
    return int(value)


def saving(
    database: Database,
    spreads: Spreads,
    merges: Iterable[tuple[int, Merge]],
    customers: Mapping[Key, Profile],
    pairs: Sequence[PairRow],
    hashes: Mapping[Key, str],
) -> Iterator[Command]:
    """Give the commands that write the ledger rows, the profiles they fold to, and the links, in that order."""
    merge_rows = [merge_row(spreads, workspace_id, merge) for workspace_id, merge in merges]
    yield from writing(database, "profiles", "insert_merges", merge_rows)
    yield from saving_profiles(database, spreads, merges, customers, hashes)
    yield from writing(database, "profiles", "save_pairs", pairs)


def saving_profiles(
    database: Database,
    spreads: Spreads,
    merges: Iterable[tuple[int, Merge]],
    customers: Mapping[Key, Profile],
    hashes: Mapping[Key, str],
) -> Iterator[Command]:
    """Give the commands that write profiles, of which ``merges`` are the ledger rows. ``hashes`` stand for the ids of
    those that may be new; nobody is made anew who was erased."""
    first: dict[Key, int] = {}
    for workspace_id, merge in merges:
        key = workspace_id, merge.customer_id
        first[key] = min(merge.version, first.get(key, merge.version))
    rows = [
        customer_row(spreads, key[0], profile, hashes.get(key), first[key] - 1) for key, profile in customers.items()
    ]
    yield from writing(database, "profiles", "save_customers", rows, bucketed=True)


def merge_row(spreads: Spreads, workspace_id: int, merge: Merge) -> MergeRow:
    """Return the row of a merge."""
    return MergeRow(
        bucket=spreads.bucket(workspace_id, merge.customer_id),
        workspace_id=workspace_id,
        customer_id=merge.customer_id,
        version=merge.version,
        merge_id=merge.merge_id,
        is_link=merge.is_link,
        created_customer=merge.created_customer,
        skipped=has_skipped(merge),
        policy=merge.policy,
        source=merge.source,
        event=merge.event,
        event_id=merge.event_id,
        visitor_id=merge.visitor_id,
        channel_id=merge.channel_id,
        occurred_at=to_text(merge.occurred_at),
        received_at=to_text(merge.received_at),
        digest=merge.digest,
        decisions=merge.decisions,
        rules=RULES_VERSION,
        act=merge.act,
        undoes=merge.undoes,
        act_fields=merge.act_fields,
        other_id=merge.other_id,
        actor=merge.actor,
        note=merge.note,
        operation_id=merge.operation_id,
        link=merge.link,
        copy_of=merge.copy_of,
    )


def has_skipped(merge: Merge) -> bool:
    """Return whether any value of the merge lost or was unusable, which is what admins look for."""
    return any(decision.verdict in SKIPPED for decision in merge.decisions)


def customer_row(
    spreads: Spreads,
    workspace_id: int,
    profile: Profile,
    customer_hash: str | None = None,
    previous_version: int = -1,
) -> CustomerRow:
    """Return the row of a profile. The last two: see ``save_customers``."""
    fields = profile.fields
    keys = lookup_keys(fields)
    return CustomerRow(
        bucket=spreads.bucket(workspace_id, profile.customer_id),
        workspace_id=workspace_id,
        customer_id=profile.customer_id,
        version=profile.version,
        created_at=to_text(profile.created_at),
        updated_at=to_text(profile.updated_at),
        fields=fields,
        digest=profile.digest,
        email_key=keys.email,
        alternate_email_key=keys.alternate_email,
        mobile_key=keys.mobile,
        alternate_mobile_key=keys.alternate_mobile,
        is_gone=profile.is_gone,
        locks=profile.locks,
        joined_into=profile.joined_into,
        absorbs=profile.absorbs,
        customer_hash=customer_hash,
        previous_version=previous_version,
    )


class LookupKeys(NamedTuple):
    """What a profile is looked up by, besides its id."""

    email: str | None
    alternate_email: str | None
    mobile: str | None
    alternate_mobile: str | None


def lookup_keys(fields: Mapping[str, HeldField]) -> LookupKeys:
    """Return what a profile with these fields is looked up by."""
    return LookupKeys(
        _email_key(fields, "display_email"),
        _email_key(fields, "alternate_email"),
        _text(fields, "display_mobile"),
        _text(fields, "alternate_mobile"),
    )


def _text(fields: Mapping[str, HeldField], name: str) -> str | None:
    held = fields.get(name)
    return held.value if held is not None and isinstance(held.value, str) else None


def _email_key(fields: Mapping[str, HeldField], name: str) -> str | None:
    value = _text(fields, name)
    return None if value is None else email_key(value)


def merge_from(row: Sequence[Any]) -> Merge:
    """Return the ledger row of a query that selects, in order, the columns named here."""
    (merge_id, customer_id, version, is_link, created, policy, source, event, event_id, visitor_id) = row[:10]
    channel_id, occurred_at, received_at, digest, decisions, act, undoes, act_fields = row[10:18]
    other_id, actor, note, operation_id, link, copy_of = row[18:24]
    return Merge(
        merge_id=merge_id,
        customer_id=customer_id,
        version=version,
        is_link=is_link,
        created_customer=created,
        policy=Policy(policy),
        source=source,
        event=event,
        event_id=event_id,
        visitor_id=visitor_id,
        channel_id=channel_id,
        occurred_at=occurred_at,
        received_at=received_at,
        digest=digest,
        decisions=_decisions.decode(decisions),
        act=None if act is None else Act(act),
        undoes=tuple(undoes or ()),
        act_fields=tuple(act_fields or ()),
        other_id=other_id,
        actor=actor,
        note=note,
        operation_id=operation_id,
        link=None if link is None else Link(link),
        copy_of=copy_of,
    )


async def find_merge(database: Database, workspace_id: int, merge_id: str) -> Merge | None:
    """Return the ledger row with this id, or None."""
    bucket = bucket_of_id(merge_id)
    if bucket is None:
        return None
    parameters = {"workspace_id": workspace_id, "merge_id": merge_id, "bucket": bucket}
    rows = await database.fetch("profiles", "find_merge", parameters)
    return merge_from(rows[0]) if rows else None


async def undone_in(
    connection: Connection, database: Database, spreads: Spreads, merges: Sequence[tuple[int, Merge]]
) -> dict[str, str]:
    """Return which rows of these rows' ledgers are taken back, each with the id of the act that does it."""
    found: dict[str, str] = {}
    rows = spreads.key_rows({(workspace_id, merge.customer_id) for workspace_id, merge in merges})
    for group in database.by_shard(rows):
        parameters = {"keys": rows_json(group).decode(), "buckets": sorted({row.bucket for row in group})}
        cursor = await connection.execute(statement("profiles", "load_undoing"), parameters)
        acts = groupby(await cursor.fetchall(), itemgetter(0))
        for _, theirs in acts:
            found.update(taken_back([(merge_id, undoes) for _, _, merge_id, undoes in theirs]))
    return found
