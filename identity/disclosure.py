"""Everything that is held of one person as one JSON document: what an erasure would remove, but for what it takes from
rows that tell of others.

Read page by page and given as it is read, so that a long life needs no more memory than a short one.
"""

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from uuid import UUID

import msgspec

from identity import identifications
from identity.admin.ledger import RefusalView, refusal_view
from identity.belonging import Stretch
from identity.erasure import cleared, load_group
from identity.footprint import Footprints, Page, Retentions, Source, Told
from identity.footprint_routes import FootprintEvent, event_view
from identity.resolve import Fact, stretches_of
from identity.visitor_routes import IdentificationView, identification_view
from profiles.clock import to_text
from profiles.database import Connection, Database
from profiles.http import Problem
from profiles.profile import Merge, Profile
from profiles.remarks import JsonValue
from profiles.store import Spreads
from profiles.undoing import Ledgers
from profiles.views import MergeView, merge_view

PAGE_ROWS = 500
PAGE_VISITORS = 50
_FIRST_ID = str(UUID(int=0))
_encode = msgspec.json.Encoder().encode


class HeldValue(msgspec.Struct, frozen=True):
    """A value of a profile; null was removed. ``version`` is that of the merge that set it."""

    value: JsonValue
    set_at: str
    version: int


class HeldCustomer(msgspec.Struct, frozen=True):
    """A profile as it is held. ``locked`` fields are closed to websites."""

    customer_id: str
    version: int
    created_at: str
    updated_at: str
    joined_into: str | None
    fields: dict[str, HeldValue]
    locked: list[str]


class HeldVisitor(msgspec.Struct, frozen=True):
    """A visitor that was the person. Of one that others were too (``shared``), only what was said of the person."""

    visitor_id: str
    shared: bool
    identifications: list[IdentificationView]


class PersonDocument(msgspec.Struct, frozen=True):
    """Everything that is held of one person. ``customers``: the one asked for, and all that are joined with it."""

    customer_id: str
    told_at: str
    customers: list[HeldCustomer]
    merges: list[MergeView]
    visitors: list[HeldVisitor]
    footprint: list[FootprintEvent]
    refusals: list[RefusalView]


class Disclosure:
    """Tells what is held of a person. ``clock`` gives milliseconds since 1970."""

    def __init__(self, database: Database, spreads: Spreads, retentions: Retentions, clock: Callable[[], int]) -> None:
        self._database = database
        self._spreads = spreads
        self._retentions = retentions
        self._clock = clock

    async def tell(self, workspace_id: int, customer_id: str) -> AsyncIterator[bytes]:
        """Give the document in pieces, which together are a ``PersonDocument``.

        Raises:
            Problem: 404, no such customer; before anything is given.
        """
        held = await self._group(workspace_id, customer_id)
        if not held:
            raise Problem(404, "customer_not_found", "No customer is held by this id.")
        ids = [profile.customer_id for profile in held]
        yield b'{"customer_id":' + _encode(customer_id) + b',"told_at":' + _encode(to_text(self._clock()))
        yield b',"customers":' + _encode([_customer(profile) for profile in held])
        parts = {
            "merges": self._merges(workspace_id, ids),
            "visitors": self._visitors(workspace_id, ids),
            "footprint": self._footprint(workspace_id, ids),
            "refusals": self._refusals(workspace_id, ids),
        }
        for name, items in parts.items():
            yield b',"' + name.encode() + b'":['
            is_first = True
            async for item in items:
                yield _encode(item) if is_first else b"," + _encode(item)
                is_first = False
            yield b"]"
        yield b"}"

    async def _group(self, workspace_id: int, customer_id: str) -> list[Profile]:
        async def work(connection: Connection) -> list[Profile]:
            return await load_group(connection, self._database, self._spreads, workspace_id, customer_id)

        return await self._database.run(work)

    async def _merges(self, workspace_id: int, customer_ids: Sequence[str]) -> AsyncIterator[object]:
        for customer_id in customer_ids:
            rows = await self._ledger(workspace_id, customer_id, 1)
            while rows:
                for row in rows:
                    yield merge_view(row)
                rows = await self._ledger(workspace_id, customer_id, rows[-1].version + 1)

    async def _ledger(self, workspace_id: int, customer_id: str, first: int) -> list[Merge]:
        async def work(connection: Connection) -> list[Merge]:
            ledgers = Ledgers(connection, self._spreads, workspace_id)
            return await ledgers.rows(customer_id, first=first, rows_max=PAGE_ROWS)

        return await self._database.run(work)

    async def _visitors(self, workspace_id: int, customer_ids: Sequence[str]) -> AsyncIterator[object]:
        async for visitor_id, facts in self._logs(workspace_id, customer_ids):
            theirs = told_of(facts, customer_ids)
            said = [identification_view(fact) for fact in theirs]
            yield HeldVisitor(visitor_id, len(theirs) < len(facts), said)

    async def _footprint(self, workspace_id: int, customer_ids: Sequence[str]) -> AsyncIterator[object]:
        for customer_id in customer_ids:
            source = Source(customer_id, Stretch(None, None, customer_id), is_direct=True)
            async for event in self._events(workspace_id, [source]):
                yield event
        async for visitor_id, facts in self._logs(workspace_id, customer_ids):
            stretches = stretches_of(facts)
            if len(told_of(facts, customer_ids)) < len(facts):
                stretches = [stretch for stretch in stretches if stretch.customer_id in customer_ids]
            async for event in self._events(workspace_id, [Source(visitor_id, stretch) for stretch in stretches]):
                yield event

    async def _logs(self, workspace_id: int, customer_ids: Sequence[str]) -> AsyncIterator[tuple[str, list[Fact]]]:
        """Give the visitors that were linked to the customers, each with everything that was said of it."""
        told: set[str] = set()
        for customer_id in customer_ids:
            visitor_ids = await self._linked(workspace_id, customer_id, "")
            while visitor_ids:
                for visitor_id, facts in await self._facts(workspace_id, visitor_ids):
                    if visitor_id not in told:
                        told.add(visitor_id)
                        yield visitor_id, facts
                visitor_ids = await self._linked(workspace_id, customer_id, visitor_ids[-1])

    async def _linked(self, workspace_id: int, customer_id: str, after: str) -> list[str]:
        parameters = {
            "workspace_id": workspace_id,
            "customer_id": customer_id,
            "bucket": self._spreads.bucket(workspace_id, customer_id),
            "after": after,
            "rows_max": PAGE_VISITORS,
        }
        rows = await self._database.fetch("profiles", "list_pairs", parameters)
        return [visitor_id for visitor_id, _, _ in rows]

    async def _facts(self, workspace_id: int, visitor_ids: Sequence[str]) -> list[tuple[str, list[Fact]]]:
        rows = self._spreads.key_rows((workspace_id, visitor_id) for visitor_id in visitor_ids)

        async def work(connection: Connection) -> list[tuple[str, list[Fact]]]:
            found = await identifications.load_facts(connection, self._database, rows)
            return [(visitor_id, facts) for (_, visitor_id), facts in found.items()]

        return await self._database.run(work)

    async def _events(self, workspace_id: int, sources: Sequence[Source]) -> AsyncIterator[object]:
        page = Page(PAGE_ROWS)
        found = await self._newest(workspace_id, sources, page)
        while found:
            for source, told in found:
                yield event_view(told, source, source.stretch)
            page = msgspec.structs.replace(page, before=found[-1][1].position)
            found = await self._newest(workspace_id, sources, page)

    async def _newest(self, workspace_id: int, sources: Sequence[Source], page: Page) -> list[tuple[Source, Told]]:
        retention, now = self._retentions.of(workspace_id), self._clock()

        async def work(connection: Connection) -> list[tuple[Source, Told]]:
            footprints = Footprints(connection, self._database, self._spreads, workspace_id, retention, now)
            return await footprints.newest(sources, page)

        return await self._database.run(work)

    async def _refusals(self, workspace_id: int, customer_ids: Sequence[str]) -> AsyncIterator[object]:
        for customer_id in customer_ids:
            rows = await self._refused(workspace_id, customer_id, _FIRST_ID)
            while rows:
                for row in rows:
                    yield row
                rows = await self._refused(workspace_id, customer_id, rows[-1].refusal_id)

    async def _refused(self, workspace_id: int, customer_id: str, after: str) -> list[RefusalView]:
        parameters = {
            "workspace_id": workspace_id,
            "buckets": self._spreads.buckets(workspace_id),
            "customer_id": customer_id,
            "after": after,
            "rows_max": PAGE_ROWS,
        }
        rows = await self._database.fetch("identity", "load_refusals_of", parameters)
        return [refusal_view(*row) for row in rows]


def told_of(facts: Sequence[Fact], customer_ids: Collection[str]) -> Sequence[Fact]:
    """Return what of a visitor's log is the customers': all of it, unless others were the visitor too."""
    if all(fact.customer_id is None or fact.customer_id in customer_ids for fact in facts):
        return facts
    left = cleared(facts, customer_ids)
    return [was for was, now in zip(facts, left, strict=True) if was != now]


def _customer(profile: Profile) -> HeldCustomer:
    return HeldCustomer(
        profile.customer_id,
        profile.version,
        to_text(profile.created_at),
        to_text(profile.updated_at),
        profile.joined_into,
        {
            name: HeldValue(held.value, to_text(held.set_at), held.version)
            for name, held in sorted(profile.fields.items())
        },
        sorted(profile.locks),
    )
