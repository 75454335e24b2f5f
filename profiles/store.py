"""Profiles, their ledger and their visitors in PostgreSQL. Set-based: the number of statements does not grow."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import msgspec

from profiles.clock import bucket_of_id, to_text
from profiles.database import Connection, Database, rows_json
from profiles.fields import RULES_VERSION, email_key
from profiles.pipeline import Command, Row, array_parameter, fetch_together
from profiles.placement import bucket_of, buckets_of
from profiles.profile import HeldField, Merge, Policy, Profile
from profiles.remarks import Decision, Verdict

VISITORS_SHOWN_MAX = 100
"""Visitors in one lookup answer: the current ones first, then the latest linked."""

Key = tuple[int, str]

_fields = msgspec.json.Decoder(dict[str, HeldField])
_decisions = msgspec.json.Decoder(tuple[Decision, ...])

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


class _MergeRow(msgspec.Struct, frozen=True):
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
    rules: int = RULES_VERSION


class CustomerRow(msgspec.Struct, frozen=True):
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


def writing(database: Database, package: str, name: str, rows: Sequence[Any], *, counted: bool = True) -> list[Command]:
    """Return the commands, one per shard, that write rows. ``counted``: each row must be given back."""
    return [
        Command(package, name, {"rows": rows_json(group)}, len(group) if counted else None)
        for group in database.by_shard(rows)
    ]


def customers_query(database: Database, rows: Sequence[KeyRow]) -> list[Command]:
    """Return the commands that load profiles; ``customers_from`` reads their answers."""
    return loading(database, "profiles", "load_customers", rows)


def customers_from(answers: Iterable[list[Row]]) -> dict[Key, Profile]:
    """Return the profiles that ``customers_query`` found."""
    found: dict[Key, Profile] = {}
    for row in chain.from_iterable(answers):
        workspace_id, customer_id, version, created_at, updated_at, fields, digest = row
        profile = Profile(
            text(customer_id), number(version), number(created_at), number(updated_at), _fields.decode(fields or b"{}"),
            digest.decode() if digest is not None else None,
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
    connection: Connection, database: Database, rows: Sequence[KeyRow]
) -> dict[Key, tuple[Profile, list[CustomerVisitor]]]:
    """Return those of the profiles that exist, each with its visitors as of the same version or a later one."""
    customers, pairs = customers_query(database, rows), pairs_query(database, rows)
    answers = await fetch_together(connection, [*customers, *pairs])
    visitors = pairs_from(answers[len(customers) :])
    profiles = customers_from(answers[: len(customers)])
    return {key: (profile, visitors.get(key, [])) for key, profile in profiles.items()}


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
) -> list[Command]:
    """Return the commands that write the ledger rows, the profiles they fold to, and the links, in that order."""
    merge_rows = [_merge_row(spreads, workspace_id, merge) for workspace_id, merge in merges]
    customer_rows = [customer_row(spreads, workspace_id, profile) for (workspace_id, _), profile in customers.items()]
    return [
        *writing(database, "profiles", "insert_merges", merge_rows),
        *writing(database, "profiles", "save_customers", customer_rows),
        *writing(database, "profiles", "save_pairs", pairs),
    ]


def _merge_row(spreads: Spreads, workspace_id: int, merge: Merge) -> _MergeRow:
    return _MergeRow(
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
    )


def has_skipped(merge: Merge) -> bool:
    """Return whether any value of the merge lost or was unusable, which is what admins look for."""
    return any(decision.verdict in SKIPPED for decision in merge.decisions)


def customer_row(spreads: Spreads, workspace_id: int, profile: Profile) -> CustomerRow:
    """Return the row of a profile."""
    fields = profile.fields
    return CustomerRow(
        bucket=spreads.bucket(workspace_id, profile.customer_id),
        workspace_id=workspace_id,
        customer_id=profile.customer_id,
        version=profile.version,
        created_at=to_text(profile.created_at),
        updated_at=to_text(profile.updated_at),
        fields=fields,
        digest=profile.digest,
        email_key=_email_key(fields, "display_email"),
        alternate_email_key=_email_key(fields, "alternate_email"),
        mobile_key=_text(fields, "display_mobile"),
        alternate_mobile_key=_text(fields, "alternate_mobile"),
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
    channel_id, occurred_at, received_at, digest, decisions = row[10:15]
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
    )


async def find_merge(database: Database, workspace_id: int, merge_id: str) -> Merge | None:
    """Return the ledger row with this id, or None."""
    bucket = bucket_of_id(merge_id)
    if bucket is None:
        return None
    parameters = {"workspace_id": workspace_id, "merge_id": merge_id, "bucket": bucket}
    rows = await database.fetch("profiles", "find_merge", parameters)
    return merge_from(rows[0]) if rows else None
