"""What must hold of a store at any time, whatever happened to it: I2, I3, I4, I9 and I15."""

from collections.abc import Iterable
from itertools import groupby
from typing import Any

import msgspec
import psycopg

from identity.identifications import fact_from
from identity.resolve import Fact, FactKind, Visitor, follow
from profiles import merge as merging
from profiles.profile import HeldField, Merge, Profile
from profiles.store import merge_from

MERGES = """
SELECT merge_id::text, customer_id, version, is_link, created_customer, policy, source, event, event_id, visitor_id,
       channel_id::text, (extract(epoch FROM occurred_at) * 1000)::bigint,
       (extract(epoch FROM received_at) * 1000)::bigint, digest, decisions::text
FROM merge ORDER BY customer_id, version
"""
CUSTOMERS = """
SELECT customer_id, version, (extract(epoch FROM created_at) * 1000)::bigint,
       (extract(epoch FROM updated_at) * 1000)::bigint, fields::text, digest
FROM customer
"""
FACTS = """
SELECT visitor_id, version, fact_id::text, kind, applied, customer_id, channel_id::text, source, event, event_id,
       (extract(epoch FROM occurred_at) * 1000)::bigint, (extract(epoch FROM received_at) * 1000)::bigint,
       decisions::text
FROM visitor_fact ORDER BY visitor_id, version
"""
VISITORS = """
SELECT visitor_id, version, customer_id, (extract(epoch FROM since) * 1000)::bigint, last_customer_id, anonymous::text
FROM visitor
"""
PAIRS = """
SELECT customer_id, visitor_id, (extract(epoch FROM linked_at) * 1000)::bigint, is_current FROM customer_visitor
"""


class Store:
    """Everything that one workspace holds, read in one snapshot."""

    def __init__(self, url: str) -> None:
        with psycopg.connect(url) as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            merges = [merge_from(row) for row in connection.execute(MERGES)]
            facts = [fact_from(row) for row in connection.execute(FACTS)]
            customers = connection.execute(CUSTOMERS).fetchall()
            visitors = connection.execute(VISITORS).fetchall()
            pairs = connection.execute(PAIRS).fetchall()
        self.merges: dict[str, list[Merge]] = _grouped(merges, "customer_id")
        self.facts: dict[str, list[Fact]] = _grouped(facts, "visitor_id")
        self.customers = {row[0]: _profile(row) for row in customers}
        self.visitors = {row[0]: _visitor(row) for row in visitors}
        self.pairs = {(customer, visitor): (linked_at, current) for customer, visitor, linked_at, current in pairs}

    def values(self, customer_id: str) -> dict[str, Any]:
        """Return what is held of a customer."""
        return self.customers[customer_id].values()

    def check(self) -> None:
        """Assert that what is held is the fold of what was said, with nothing missing and nothing left over."""
        for merges in self.merges.values():
            assert [merge.version for merge in merges] == list(range(1, len(merges) + 1))
            profile = None
            for merge in merges:
                applied = merging.replay(profile, merge)
                assert applied.merge == merge
                profile = applied.profile
        assert self.customers == {name: merging.fold(merges) for name, merges in self.merges.items()}
        for facts in self.facts.values():
            assert [fact.version for fact in facts] == list(range(1, len(facts) + 1))
        assert self.visitors == {name: _fold(name, facts) for name, facts in self.facts.items()}
        assert self.pairs == self._expected_pairs()

    def _expected_pairs(self) -> dict[tuple[str, str], tuple[int, bool]]:
        expected: dict[tuple[str, str], tuple[int, bool]] = {}
        for visitor_id, facts in self.facts.items():
            for fact in facts:
                if fact.kind is FactKind.IDENTIFIED and fact.applied:
                    key = (str(fact.customer_id), visitor_id)
                    former = expected.get(key, (0, False))[0]
                    is_current = self.visitors[visitor_id].customer_id == fact.customer_id
                    expected[key] = (max(former, fact.occurred_at), is_current)
        return expected


def check_store(url: str) -> Store:
    """Assert the invariants of a store and return what it holds."""
    store = Store(url)
    store.check()
    return store


def _grouped(rows: Iterable[Any], name: str) -> dict[str, list[Any]]:
    return {key: list(group) for key, group in groupby(rows, key=lambda row: str(getattr(row, name)))}


def _fold(visitor_id: str, facts: Iterable[Fact]) -> Visitor:
    visitor = Visitor(visitor_id=visitor_id)
    for fact in facts:
        visitor = follow(visitor, fact)
    return visitor


def _profile(row: tuple[Any, ...]) -> Profile:
    customer_id, version, created_at, updated_at, fields, digest = row
    held = msgspec.json.decode(fields, type=dict[str, HeldField])
    return Profile(customer_id, version, created_at, updated_at, held, digest)


def _visitor(row: tuple[Any, ...]) -> Visitor:
    visitor_id, version, customer_id, since, last_customer_id, anonymous = row
    return Visitor(
        visitor_id=visitor_id,
        version=version,
        customer_id=customer_id,
        since=since,
        last_customer_id=last_customer_id,
        anonymous=msgspec.json.decode(anonymous, type=dict[str, HeldField]),
    )
