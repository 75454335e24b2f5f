"""The past of a customer, read from its ledger page by page: what was held at an instant, and why it is held now.

A page is folded before the next one is read, so that a long ledger neither fills the memory nor keeps events waiting.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection

import msgspec

from profiles import ledger, store
from profiles.clock import read_time, to_text
from profiles.database import Connection, Database, statement
from profiles.explaining import Explanation, FieldExplained, Replay
from profiles.fields import CUSTOM
from profiles.http import Problem
from profiles.merge import same_value
from profiles.profile import Merge, Profile
from profiles.remarks import Verdict
from profiles.store import CustomerVisitor, Spreads
from profiles.undoing import Ledgers

LEDGER_ROWS_MAX = 50_000
"""Versions of a customer whose past is told: all up to the instant in question are folded."""
VISITORS_NAMED_MAX = 5_000
"""Visitors that such a ledger may name."""
ROWS_EXPLAINED_MAX = 10_000
"""The newest rows that an explanation looks at, where none was ever taken back; for one field it is LEDGER_ROWS_MAX."""
ROWS_COMPARED_MAX = 10_000
"""Rows between two instants that are looked through for what changed a field."""
CHANGES_SHOWN_MAX = 50
"""Merges shown of one field that changed between two instants: the newest."""
READS_MAX = 2
"""Such questions at once in one worker: the other connections stay with the events."""
READ_SECONDS_MAX = 20.0
_ROWS_AT_ONCE = 500
_CHANGES = frozenset({Verdict.SET, Verdict.OVERWROTE, Verdict.UNSET})

VisitorsAt = Callable[[Connection, int, Collection[str], Collection[str], int], Awaitable[list[CustomerVisitor]]]
"""Gives, for a workspace, customers who are joined and the visitors that their ledgers name: those that were linked to
one of them at an instant, as they were then."""


class Explained(msgspec.Struct, frozen=True):
    """A customer and why its fields hold what they hold; not ``complete``: there is more than was looked at."""

    profile: Profile
    fields: list[FieldExplained]
    complete: bool


class Held(msgspec.Struct, frozen=True):
    """What was held of a customer at an instant, and its visitors."""

    profile: Profile
    visitors: list[CustomerVisitor]


class FieldChanged(msgspec.Struct, frozen=True):
    """A field that differs between two instants, and the rows in between that changed it, newest first."""

    field: str
    merges: list[Merge]
    more: bool


class Compared(msgspec.Struct, frozen=True):
    """A customer at two instants, None where it was not held; not ``complete``: there are more rows in between."""

    before: Held | None
    after: Held | None
    changed: list[FieldChanged]
    complete: bool


def read_as_of(text: str) -> int:
    """Return the instant that ``as_of`` names, in milliseconds since 1970.

    Raises:
        Problem: 400, it names none.
    """
    moment = read_time(int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else text)
    if moment is None:
        raise Problem(
            400,
            "invalid_as_of",
            "as_of is an RFC 3339 time with its offset (a + is sent as %2B), or milliseconds since 1970.",
        )
    return moment


class Past:
    """Questions about the past of customers. ``visitors_at`` knows the links."""

    def __init__(self, database: Database, spreads: Spreads, visitors_at: VisitorsAt) -> None:
        self._database = database
        self._spreads = spreads
        self._visitors_at = visitors_at
        self._reads = asyncio.Semaphore(READS_MAX)

    async def at(self, workspace_id: int, customer_id: str, moment: int) -> Held | None:
        """Return what was held of a customer at an instant, or None.

        Raises:
            Problem: 409, its ledger is too long.
        """

        async def work(connection: Connection) -> Held | None:
            held, _ = await self._held(connection, workspace_id, customer_id, moment)
            return held

        async with self._reads:
            return await self._database.run(work, seconds_max=READ_SECONDS_MAX)

    async def compare(self, workspace_id: int, customer_id: str, since: int | None, until: int) -> Compared:
        """Return a customer at two instants, and what led from one to the other; ``since`` None is before everything.

        Raises:
            Problem: 404, there never was such a customer; 409, its ledger is too long.
        """

        async def work(connection: Connection) -> Compared:
            after, last = await self._held(connection, workspace_id, customer_id, until)
            if last is None and not await self._load(connection, workspace_id, customer_id):
                raise _no_customer()
            before: Held | None = None
            first: int | None = None
            if since is not None:
                before, first = await self._held(connection, workspace_id, customer_id, since)
            differing = _differing(before, after)
            merges: dict[str, list[Merge]] = {field: [] for field in differing}
            begin = max((first or 0) + 1, (last or 0) - ROWS_COMPARED_MAX + 1)
            ledgers = Ledgers(connection, self._spreads, workspace_id)
            async for row in _pages(ledgers, customer_id, begin, last or 0 if differing else 0, fields=differing):
                for field in {d.field for d in row.decisions if d.verdict in _CHANGES} & merges.keys():
                    merges[field].append(row)
            changed = [
                FieldChanged(field, rows[: -CHANGES_SHOWN_MAX - 1 : -1], len(rows) > CHANGES_SHOWN_MAX)
                for field, rows in merges.items()
            ]
            return Compared(before, after, changed, begin == (first or 0) + 1)

        async with self._reads:
            return await self._database.run(work, seconds_max=READ_SECONDS_MAX)

    async def explain(self, workspace_id: int, customer_id: str, field: str | None = None) -> Explained:
        """Return why the fields of a customer, or one of them, hold what they hold.

        Raises:
            Problem: 404, there never was such a customer; 409, its ledger is too long.
        """

        async def work(connection: Connection) -> Explained:
            profile = await self._load(connection, workspace_id, customer_id)
            if profile is None:
                raise _no_customer()
            return await self._explain(Ledgers(connection, self._spreads, workspace_id), profile, field)

        async with self._reads:
            return await self._database.run(work, seconds_max=READ_SECONDS_MAX)

    async def _explain(self, ledgers: Ledgers, profile: Profile, field: str | None) -> Explained:
        customer_id, last = profile.customer_id, profile.version
        acts = [act for act in await ledgers.acts(customer_id) if act.version <= last]
        undone = ledger.undone(acts)
        wanted = None if field is None else [field]
        replay, first = None, 1
        if any(act.act in ledger.TAKES_BACK for act in acts):
            # What the rows tell may have been true only before something was taken back.
            _require_short(last)
            if field is not None and field.startswith(CUSTOM):
                wanted = None  # custom fields share one limit
            heir = await ledgers.first_merge(customer_id, undone) if wanted is not None else None
            replay = Replay(undone, heir.version if heir is not None else None)
        else:
            first = max(1, last + 1 - (ROWS_EXPLAINED_MAX if field is None else LEDGER_ROWS_MAX))
        explanation = Explanation(profile, undone, replay, field)
        async for row in _pages(ledgers, customer_id, first, last, fields=wanted):
            explanation.take(row)
        unseen = sorted(explanation.unseen())
        more = await ledgers.rows(customer_id, fields=(), versions=unseen, rows_max=last) if unseen else []
        fields, is_all = explanation.explained(row for row in more if row.version in unseen)
        return Explained(profile, fields, complete=is_all and first == 1)

    async def _load(self, connection: Connection, workspace_id: int, customer_id: str) -> Profile | None:
        key = workspace_id, customer_id
        return (await store.load_customers(connection, self._database, self._spreads.key_rows([key]))).get(key)

    async def _held(
        self, connection: Connection, workspace_id: int, customer_id: str, moment: int
    ) -> tuple[Held | None, int | None]:
        """Return what was held at an instant, and the last version that had arrived by then."""
        parameters = self._parameters(workspace_id, customer_id, moment)
        cursor = await connection.execute(statement("profiles", "find_version_at"), parameters)
        found = await cursor.fetchone()
        last: int | None = found[0] if found is not None else None
        if last is None:
            return None, None
        _require_short(last)
        ledgers = Ledgers(connection, self._spreads, workspace_id)
        acts = [act for act in await ledgers.acts(customer_id) if act.version <= last]
        replay = Replay(ledger.undone(acts))
        async for row in _pages(ledgers, customer_id, 1, last):
            replay.take(row)
        profile = replay.profile
        if profile is not None and profile.joined_into is not None:
            return (await self._held(connection, workspace_id, profile.joined_into, moment))[0], last
        if profile is None or profile.is_gone:
            return None, last
        joined, visitor_ids = (customer_id, *profile.absorbs), set[str]()
        for named in joined:
            visitor_ids |= await self._visitor_ids(connection, workspace_id, named, moment)
        visitors = await self._visitors_at(connection, workspace_id, joined, visitor_ids, moment)
        return Held(profile, visitors), last

    async def _visitor_ids(self, connection: Connection, workspace_id: int, customer_id: str, moment: int) -> set[str]:
        parameters = {**self._parameters(workspace_id, customer_id, moment), "rows_max": VISITORS_NAMED_MAX + 1}
        cursor = await connection.execute(statement("profiles", "find_visitors_until"), parameters)
        found = {visitor_id for (visitor_id,) in await cursor.fetchall()}
        if len(found) > VISITORS_NAMED_MAX:
            raise Problem(
                409, "ledger_too_long", f"More than {VISITORS_NAMED_MAX} visitors were linked to this customer."
            )
        return found

    def _parameters(self, workspace_id: int, customer_id: str, moment: int) -> dict[str, object]:
        return {
            "workspace_id": workspace_id,
            "customer_id": customer_id,
            "bucket": self._spreads.bucket(workspace_id, customer_id),
            "moment": to_text(moment),
        }


async def _pages(
    ledgers: Ledgers, customer_id: str, first: int, last: int, *, fields: Collection[str] | None = None
) -> AsyncIterator[Merge]:
    """Give the rows of these versions, in order."""
    while first <= last:
        rows = await ledgers.rows(customer_id, first=first, last=last, fields=fields, rows_max=_ROWS_AT_ONCE)
        for row in rows:
            yield row
        if len(rows) < _ROWS_AT_ONCE:
            return
        first = rows[-1].version + 1


def _differing(before: Held | None, after: Held | None) -> list[str]:
    was = before.profile.values() if before is not None else {}
    is_now = after.profile.values() if after is not None else {}
    same = {name for name in was.keys() & is_now.keys() if same_value(was[name], is_now[name])}
    return sorted((was.keys() | is_now.keys()) - same)


def _require_short(version: int) -> None:
    if version > LEDGER_ROWS_MAX:
        raise Problem(409, "ledger_too_long", f"This customer's past has more than {LEDGER_ROWS_MAX} entries.")


def _no_customer() -> Problem:
    return Problem(404, "customer_not_found", "No customer is held by this id.")
