"""The past of visitors, from what was said of them up to an instant."""

from collections.abc import Collection, Sequence

from identity import identifications
from identity.acts import FACTS_MAX
from identity.explaining import facts_until, link_of
from identity.resolve import Fact, undone_facts
from profiles.database import Connection, Database
from profiles.http import Problem
from profiles.store import VISITORS_SHOWN_MAX, CustomerVisitor, Spreads

LINKED_FACTS_MAX = 50_000
"""Facts of all visitors of a customer whose past is told: all of them are read for it."""


class VisitorPast:
    """Reads what was said of visitors."""

    def __init__(self, database: Database, spreads: Spreads) -> None:
        self._database = database
        self._spreads = spreads

    async def facts_of(
        self, connection: Connection, workspace_id: int, visitor_id: str, moment: int | None = None
    ) -> Sequence[Fact]:
        """Return all that was said of a visitor, or had been at an instant, in order of arrival; empty: nothing.

        Raises:
            Problem: 409, that is too much.
        """
        found = await self._facts(connection, workspace_id, [visitor_id], FACTS_MAX)
        facts = found.get(visitor_id, [])
        return facts if moment is None else facts_until(facts, moment)

    async def taken_back(
        self, connection: Connection, workspace_id: int, visitor_ids: Collection[str]
    ) -> dict[str, str]:
        """Return what was said of visitors and is taken back, each with what does it.

        Raises:
            Problem: 409, too much was said of them.
        """
        found = await self._facts(connection, workspace_id, visitor_ids, LINKED_FACTS_MAX)
        return {target: by for facts in found.values() for target, by in undone_facts(facts).items()}

    async def linked_at(
        self,
        connection: Connection,
        workspace_id: int,
        customer_ids: Collection[str],
        visitor_ids: Collection[str],
        moment: int,
    ) -> list[CustomerVisitor]:
        """Return which of these visitors were linked to one of these customers, who are joined, at an instant, in the
        order of a lookup.

        Raises:
            Problem: 409, too much was said of them.
        """
        found = await self._facts(connection, workspace_id, visitor_ids, LINKED_FACTS_MAX)
        links = [link_of(facts_until(facts, moment), customer_ids) for facts in found.values()]
        linked = [link for link in links if link is not None]
        linked.sort(key=lambda link: (not link.is_current, -link.linked_at, link.visitor_id))
        return linked[:VISITORS_SHOWN_MAX]

    async def _facts(
        self, connection: Connection, workspace_id: int, visitor_ids: Collection[str], facts_max: int
    ) -> dict[str, list[Fact]]:
        rows = self._spreads.key_rows((workspace_id, visitor_id) for visitor_id in visitor_ids)
        visitors = await identifications.load_visitors(connection, self._database, rows)
        if sum(visitor.version for visitor in visitors.values()) > facts_max:
            raise Problem(409, "log_too_long", f"More than {facts_max} things were said of it.")
        found = await identifications.load_facts(connection, self._database, rows)
        return {visitor_id: facts for (_, visitor_id), facts in found.items()}
