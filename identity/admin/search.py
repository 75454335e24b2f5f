"""One box for everything: what a text may be the id, the e-mail or the phone of."""

from typing import Protocol

import msgspec

from identity.admin.explain import Explanations
from identity.admin.ledger import Ledger
from identity.footprint import Page
from identity.footprint_routes import FootprintRoutes
from identity.visitors import read_known_customer_id, read_visitor_id
from profiles.clock import bucket_of_id
from profiles.http import Problem
from profiles.routes import CustomerRoutes
from profiles.views import CustomerView

TEXT_CHARACTERS_MAX = 300


class Parts(Protocol):
    """What of a service is needed here."""

    customers: CustomerRoutes
    explanations: Explanations
    footprints: FootprintRoutes


class Found(msgspec.Struct, frozen=True):
    """Whom and what a text names. ``customer_id`` may be of one who is gone: it has a page all the same.

    ``by_contact``: customers who have the text as e-mail or phone.
    """

    merge_id: str | None
    customer_id: str | None
    visitor_id: str | None
    by_contact: list[CustomerView]

    @property
    def hits(self) -> int:
        """How many they are."""
        return sum(each is not None for each in (self.merge_id, self.customer_id, self.visitor_id)) + len(
            self.by_contact
        )


async def find(parts: Parts, ledger: Ledger, workspace_id: int, text: str) -> Found:
    """Return whom and what a text names in a workspace."""
    text = text.strip()[:TEXT_CHARACTERS_MAX]
    customer_id, visitor_id = read_known_customer_id(text), read_visitor_id(text)
    if customer_id is not None and not await _was_held(parts, workspace_id, customer_id):
        customer_id = None
    if visitor_id is not None and not await _was_seen(parts, workspace_id, visitor_id):
        visitor_id = None
    by_contact: dict[str, CustomerView] = {}
    for kind, mark in (("emails", "@"), ("phones", "+")):
        if mark in text:
            by_contact |= {view.customer_id: view for view in await _of(parts, workspace_id, kind, text)}
    by_contact.pop(customer_id or "", None)
    return Found(await _merge(ledger, workspace_id, text), customer_id, visitor_id, list(by_contact.values()))


async def _was_held(parts: Parts, workspace_id: int, customer_id: str) -> bool:
    """Return whether the customer is held, or is gone: everything that was merged into it was taken back."""
    if await _of(parts, workspace_id, "customer_ids", customer_id):
        return True
    try:
        return (await parts.explanations.customer(workspace_id, customer_id)).gone
    except Problem:
        return False


async def _was_seen(parts: Parts, workspace_id: int, visitor_id: str) -> bool:
    """Return whether the visitor ever said or did anything."""
    try:
        await parts.footprints.of_visitor(workspace_id, visitor_id, Page(limit=2))
    except Problem:
        return False
    return True


async def _of(parts: Parts, workspace_id: int, kind: str, text: str) -> list[CustomerView]:
    return (await parts.customers.find(workspace_id, kind, [text]))[0].customers


async def _merge(ledger: Ledger, workspace_id: int, text: str) -> str | None:
    if bucket_of_id(text.lower()) is None:
        return None
    try:
        return (await ledger.find_merge(workspace_id, text)).merge_id
    except Problem:
        return None
