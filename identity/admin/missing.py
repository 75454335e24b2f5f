"""Why is my data missing? The checklist of the clIdentity specification, answered for one id from what is on record."""

from typing import Literal, Protocol

import msgspec

from identity.admin import search
from identity.admin.changes import Changes
from identity.admin.explain import Explanations
from identity.admin.ledger import Ledger, RefusalView
from identity.administration import ChannelView
from identity.erasure import Eraser
from identity.footprint import Page
from identity.footprint_routes import FootprintRoutes
from identity.gate import blocked_ids
from identity.refusals import Refusal
from identity.visitor_routes import VisitorRoutes
from identity.visitors import read_customer_id, read_known_customer_id, read_visitor_id
from profiles.access import Access
from profiles.clock import to_text
from profiles.http import Problem
from profiles.remarks import Verdict
from profiles.routes import CustomerRoutes
from profiles.views import CustomerView, DecisionView, MergeView

SKIPPED_SHOWN_MAX = 20
REFUSALS_SHOWN_MAX = 20
JOINED_ASKED_MAX = 5
"""Joined ids whose refused events are looked for: each is a question of its own."""
NAMELESS = (Refusal.MISSING_CUSTOMER_ID, Refusal.INVALID_CUSTOMER_ID, Refusal.BLOCKED_CUSTOMER_ID)
"""Refusals of events that named nobody usable: no id finds them."""
IDLE = ("id_usable", "arrived_once", "fields_unknown")
"""Lines that say nothing of use where it is known what became of the customer."""

State = Literal["good", "bad", "unsure"]


class Parts(Protocol):
    """What of a service is needed here."""

    access: Access
    customers: CustomerRoutes
    eraser: Eraser
    explanations: Explanations
    visitors: VisitorRoutes
    footprints: FootprintRoutes


class Check(msgspec.Struct, frozen=True):
    """One line of the checklist; its sentence is the text ``missing.<name>`` with these values."""

    name: str
    state: State
    values: dict[str, object] = {}


class Skipped(msgspec.Struct, frozen=True):
    """A field that was skipped, and in which merge."""

    merge: MergeView
    decision: DecisionView


class Findings(msgspec.Struct, frozen=True):
    """The answered checklist, the verdict of it all being the first check that is bad.

    ``gone_id`` is the customer of whom everything was taken back.
    """

    customer: CustomerView | None
    gone_id: str | None
    visitor_id: str | None
    checks: list[Check]
    skipped: list[Skipped]
    refusals: list[RefusalView]

    @property
    def first_fault(self) -> Check | None:
        """What to look at first."""
        return next((check for check in self.checks if check.state == "bad"), None)


async def find_out(parts: Parts, ledger: Ledger, changes: Changes, workspace_id: int, text: str) -> Findings:
    """Return the checklist of an id: a customer's, a visitor's, or an e-mail or a phone of a customer."""
    text = text.strip()[: search.TEXT_CHARACTERS_MAX]
    found = await search.find(parts, ledger, workspace_id, text)
    customer_id = found.customer_id or (found.by_contact[0].customer_id if found.by_contact else None)
    customer = await parts.customers.view(workspace_id, customer_id) if customer_id is not None else None
    gone_id = customer_id if customer is None else None
    visitor_id = found.visitor_id
    asked_id = customer_id or read_known_customer_id(text)
    refusals = await _refusals(ledger, workspace_id, _named(asked_id, customer), read_visitor_id(text))
    merges = await _merges(ledger, workspace_id, customer_id, customer, visitor_id)
    channels = (await changes.list_channels(workspace_id, {"limit": "200"})).items
    skipped = [
        Skipped(merge, decision)
        for merge in merges
        for decision in merge.decisions
        if decision.verdict in (Verdict.SKIPPED_INVALID, Verdict.SKIPPED_OLDER, Verdict.KEPT_EXISTING)
    ][:SKIPPED_SHOWN_MAX]
    last_seen = await _last_seen(parts, workspace_id, customer_id, visitor_id, merges)
    fate = await _fate(parts, workspace_id, asked_id, customer, gone_id)
    is_known = bool(fate) or customer is not None or visitor_id is not None
    checks = [
        *fate,
        *_of_channels(channels, has_arrived=last_seen is not None),
        *_of_id(text, blocked_ids(parts.access.workspaces[workspace_id]), customer, visitor_id),
        _arrived(refusals, last_seen, is_known=is_known),
        await _nameless(ledger, workspace_id, is_known=is_known),
        _of_fields(skipped, customer),
        *await _of_links(parts, workspace_id, customer, visitor_id),
    ]
    if fate:
        checks = [check for check in checks if check.name not in IDLE]
    return Findings(customer, gone_id, visitor_id, checks, skipped, refusals)


async def _fate(
    parts: Parts, workspace_id: int, asked_id: str | None, customer: CustomerView | None, gone_id: str | None
) -> list[Check]:
    """Return what became of a customer who was held once: everything was taken back, or it was erased."""
    if gone_id is not None:
        return [Check("id_gone", "bad")]
    if asked_id is None or customer is not None:
        return []
    erasure = await parts.eraser.find(workspace_id, asked_id)
    if erasure is None or erasure.lifted_at is not None:
        return []
    return [Check("id_erased", "bad", {"at": _when(to_text(erasure.erased_at))})]


def _of_channels(channels: list[ChannelView], *, has_arrived: bool) -> list[Check]:
    in_force = [channel for channel in channels if channel.revoked_at is None]
    if not in_force:
        return [Check("no_channel", "bad")]
    off = [channel.name for channel in in_force if not channel.website_tracking]
    closed = [channel.name for channel in in_force if not channel.origins]
    signed = [channel.name for channel in in_force if channel.signed_identity == "required"]
    checks = [Check("keys", "good", {"count": len(in_force)})]
    names: dict[str, object] = {"names": ", ".join(off)}
    if has_arrived and 0 < len(off) < len(in_force):  # it came by another one, so this explains little of it
        checks.append(Check("tracking_off_elsewhere", "unsure", names))
    else:
        checks.append(Check("tracking_off", "bad", names) if off else Check("tracking_on", "good"))
    checks.append(Check("no_origins", "unsure", {"names": ", ".join(closed)}) if closed else Check("origins", "good"))
    if signed:
        checks.append(Check("signed_only", "unsure", {"names": ", ".join(signed)}))
    return checks


def _of_id(text: str, blocked: frozenset[str], customer: CustomerView | None, visitor_id: str | None) -> list[Check]:
    if customer is not None:
        return [Check("id_held", "good", {"version": customer.version})]
    read = read_customer_id(text, blocked)
    if isinstance(read, Refusal):
        return [Check(f"id_{read}", "bad")]
    if visitor_id is not None:
        return [Check("id_of_visitor", "good")]
    return [Check("id_usable", "good")]


def _arrived(refusals: list[RefusalView], last_seen: str | None, *, is_known: bool) -> Check:
    if refusals:
        newest = refusals[0]
        values = {"count": len(refusals), "reason": newest.reason, "at": _when(newest.received_at)}
        return Check("refused", "bad", values)
    if last_seen is not None:
        return Check("arrived", "good", {"at": _when(last_seen)})
    return Check("arrived_once" if is_known else "never_arrived", "good" if is_known else "bad")


def _when(text: str) -> str:
    return text[:19].replace("T", " ")


async def _nameless(ledger: Ledger, workspace_id: int, *, is_known: bool) -> Check:
    counts = (await ledger.list_refusals(workspace_id, {"limit": "1"})).counts
    nameless = sum(counts.get(reason, 0) for reason in NAMELESS)
    if not nameless:
        return Check("all_named", "good")
    return Check("nameless", "good" if is_known else "unsure", {"count": nameless})


def _of_fields(skipped: list[Skipped], customer: CustomerView | None) -> Check:
    invalid = [each for each in skipped if each.decision.verdict is Verdict.SKIPPED_INVALID]
    if invalid:
        return Check("fields_skipped", "bad", {"fields": ", ".join(dict.fromkeys(s.decision.field for s in invalid))})
    if skipped:
        return Check("fields_lost", "unsure", {"fields": ", ".join(dict.fromkeys(s.decision.field for s in skipped))})
    return Check("fields_fine" if customer is not None else "fields_unknown", "good" if customer else "unsure")


async def _of_links(
    parts: Parts, workspace_id: int, customer: CustomerView | None, visitor_id: str | None
) -> list[Check]:
    if customer is not None:
        present = sum(visitor.current for visitor in customer.visitors)
        if not customer.visitors:
            return [Check("never_linked", "bad")]
        return [Check("linked", "good", {"count": len(customer.visitors), "present": present})]
    if visitor_id is None:
        return []
    page = await parts.visitors.find(workspace_id, visitor_id)
    if page is None or page.customer_id is None:
        return [Check("visitor_nobodys", "bad")]
    return [Check("visitor_linked", "good", {"customer_id": page.customer_id})]


def _named(asked_id: str | None, customer: CustomerView | None) -> list[str]:
    """Return the ids that stand for a customer: the one asked for, the one that answers, the first that are joined."""
    named = [] if asked_id is None else [asked_id]
    if customer is not None:
        named += [customer.customer_id, *customer.joined_ids[:JOINED_ASKED_MAX]]
    return list(dict.fromkeys(named))


async def _refusals(
    ledger: Ledger, workspace_id: int, customer_ids: list[str], visitor_id: str | None
) -> list[RefusalView]:
    """Return the refused events that named one of the customers, or the visitor; newest first."""
    found: dict[str, RefusalView] = {}
    asked = [{"customer_id": customer_id} for customer_id in customer_ids]
    if visitor_id is not None:
        asked.append({"visitor_id": visitor_id})
    for query in asked:
        page = await ledger.list_refusals(workspace_id, {**query, "limit": str(REFUSALS_SHOWN_MAX)})
        found |= {refusal.refusal_id: refusal for refusal in page.items}
    return [found[refusal_id] for refusal_id in sorted(found, reverse=True)][:REFUSALS_SHOWN_MAX]


async def _merges(
    ledger: Ledger, workspace_id: int, customer_id: str | None, customer: CustomerView | None, visitor_id: str | None
) -> list[MergeView]:
    """Return the merges of a customer or else of a visitor, newest first.

    Of a joined customer, what named it since is in the ledger of the one that answers; what came before, in its own.
    """
    if customer_id is not None:
        answering = customer_id if customer is None else customer.customer_id
        asked = [{"customer_id": each} for each in dict.fromkeys((answering, customer_id))]
    else:
        asked = [{"visitor_id": visitor_id}] if visitor_id is not None else []
    found = [
        merge for query in asked for merge in (await ledger.list_merges(workspace_id, {**query, "limit": "50"})).items
    ]
    return sorted(found, key=lambda merge: merge.merge_id, reverse=True)


async def _last_seen(
    parts: Parts, workspace_id: int, customer_id: str | None, visitor_id: str | None, merges: list[MergeView]
) -> str | None:
    page = Page(limit=2)
    try:
        if customer_id is not None:
            events = (await parts.footprints.of_customer(workspace_id, customer_id, page)).items
        elif visitor_id is not None:
            events = (await parts.footprints.of_visitor(workspace_id, visitor_id, page)).items
        else:
            return None
    except Problem:
        events = []
    arrived = [merge.received_at for merge in merges if merge.act is None]
    return max([event.received_at for event in events[:1]] + arrived[:1], default=None)
