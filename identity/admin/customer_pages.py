"""The inspector's pages of one customer: what is held and was, locks, joins, erasing; and of who may be the same."""

from collections.abc import Mapping
from itertools import combinations
from typing import Protocol, get_args

import msgspec

from identity.acts import Acts, By
from identity.admin import history
from identity.admin.acts import read_note
from identity.admin.explain import CustomerExplanation, Explanations
from identity.admin.ledger import Ledger
from identity.admin.query import LIMIT_DEFAULT
from identity.admin.visits import (
    Pages,
    Show,
    Visit,
    address,
    not_of_this_page,
    read_moment,
    redirect,
    status_of,
)
from identity.erasure import Eraser, Receipt
from identity.joins import Joined, Joins
from identity.visitors import is_storable_id, read_known_customer_id
from profiles.clock import to_text
from profiles.fields import EMAIL_CHARACTERS_MAX
from profiles.http import Problem, Response
from profiles.profile import Profile
from profiles.remarks import JsonValue
from profiles.routes import CustomerRoutes
from profiles.suggestions import Shared, Suggestion, Suggestions
from profiles.views import CustomerView

RECENT_SHOWN = 10
NOTHING_HELD = Problem(404, "customer_not_found", "No customer is held by this id.")


class Parts(Protocol):
    """What of a service is needed here."""

    acts: Acts
    joins: Joins
    eraser: Eraser
    customers: CustomerRoutes
    explanations: Explanations
    suggestions: Suggestions


class Both(msgspec.Struct, frozen=True):
    """A field of two customers, and what is held of the one that they become, or were."""

    field: str
    customer: JsonValue
    into: JsonValue
    together: JsonValue


class Offered(msgspec.Struct, frozen=True):
    """Customers who share a value, and the pairs of them that nobody has judged yet."""

    suggestion: Suggestion
    pairs: list[tuple[str, str]]


class CustomerPages:
    """Everything on these pages is done by the functions behind the JSON API."""

    def __init__(self, service: Parts, ledger: Ledger, show: Show) -> None:
        self._service = service
        self._ledger = ledger
        self._show = show

    def pages(self) -> Pages:
        """Return the pages by method and address."""
        return {
            ("GET", "/customer"): self._customer_page,
            ("POST", "/customer"): self._lock,
            ("POST", "/customer/join"): self._join,
            ("POST", "/customer/erase"): self._erase,
            ("GET", "/suggestions"): self._suggestions_page,
            ("POST", "/suggestions"): self._judge,
        }

    async def find(self, visit: Visit, moment: int | None = None) -> CustomerView:
        """Return the customer that a page is about, as held now or at a moment.

        Raises:
            Problem: 404, none is.
        """
        customer_id = read_known_customer_id(visit.named("customer_id"))
        if customer_id is None:
            raise NOTHING_HELD
        if moment is None:
            view = await self._service.customers.view(visit.workspace_id, customer_id)
        else:
            view = await self._service.customers.view_at(visit.workspace_id, customer_id, moment)
        if view is None:
            raise NOTHING_HELD
        return view

    # One customer.

    async def _customer_page(self, visit: Visit, problem: Problem | None = None) -> Response:
        asked = visit.request.query().get("as_of", "").strip()
        moment = None
        try:
            moment = read_moment(asked)
        except Problem as wrong:
            problem = wrong
        try:
            view = await self.find(visit, moment)
        except Problem as missing:
            if moment is not None and missing.status == 404:
                return await self._not_held_then(visit, moment)
            gone = await self._explanation(visit, visit.named("customer_id")) if missing.status == 404 else None
            if gone is None or not gone.gone:
                raise
            return await self._gone(visit, gone)
        explained = await self._explanation(visit, view.customer_id) if moment is None else None
        page = await self._ledger.list_merges(
            visit.workspace_id, {"customer_id": view.customer_id, "limit": str(RECENT_SHOWN)}
        )
        return self._show(
            visit,
            "customer.html",
            status=status_of(problem),
            problem=problem,
            customer=view,
            asked_id=visit.named("customer_id"),
            as_of=None if moment is None else to_text(moment),
            as_of_text=asked,
            rows=history.field_rows(view, explained),
            is_explained=explained is not None,
            is_complete=explained is None or explained.complete,
            merges=page.items,
            form=visit.form,
        )

    async def _explanation(self, visit: Visit, customer_id: str) -> CustomerExplanation | None:
        """Return why a customer's fields hold what they hold; None: there never was one, or the ledger is too long."""
        try:
            read = read_known_customer_id(customer_id)
            return None if read is None else await self._service.explanations.customer(visit.workspace_id, read)
        except Problem:
            return None

    async def _gone(self, visit: Visit, explained: CustomerExplanation) -> Response:
        query = {"customer_id": explained.customer_id, "limit": str(RECENT_SHOWN)}
        merges = (await self._ledger.list_merges(visit.workspace_id, query)).items
        return self._show(
            visit, "gone.html", customer_id=explained.customer_id, merges=merges, joined_into=explained.joined_into
        )

    async def _not_held_then(self, visit: Visit, moment: int) -> Response:
        view = await self.find(visit)
        return self._show(
            visit, "gone.html", customer_id=view.customer_id, merges=[], joined_into=None, as_of=to_text(moment)
        )

    async def _lock(self, visit: Visit) -> Response:
        form = visit.form
        customer_id, action = read_known_customer_id(form.get("customer_id", "")), form.get("action")
        if action not in ("lock", "unlock"):
            raise not_of_this_page()
        if customer_id is None:
            raise NOTHING_HELD
        try:
            by = By(visit.actor, read_note(form.get("reason")))
            fields = [form.get("field", "").strip()]
            await self._service.acts.lock(visit.workspace_id, customer_id, fields, by, locked=action == "lock")
        except Problem as problem:
            return await self._customer_page(visit, problem)
        return redirect(address("/customer", customer_id=customer_id) + "#fields")

    # Two customers.

    async def _join(self, visit: Visit) -> Response:
        form, action = visit.form, visit.form.get("action")
        one, other = (read_known_customer_id(form.get(name, "").strip()) for name in ("customer_id", "into"))
        if action == "swap":
            one, other, action = other, one, "preview"
        dry_run = action in ("preview", "preview_apart")
        is_apart = action in ("preview_apart", "take_apart")
        if not is_apart and action not in ("preview", "join"):
            raise not_of_this_page()
        if one is None or (other is None and not is_apart):
            raise NOTHING_HELD
        done, problem = None, None
        try:
            by = By(visit.actor, read_note(form.get("reason")))
        except Problem as wrong:
            # Nothing is done for a reason that cannot be kept; what it was about stays on the page to try again.
            by, dry_run, problem = By(visit.actor), True, wrong
        try:
            done = await self._done(visit, one, None if is_apart else other, by, dry_run=dry_run)
        except Problem as wrong:
            problem = wrong
        if done is not None and not dry_run:
            return redirect(address("/customer", customer_id=one))
        if done is None:
            rows = []
        elif is_apart:
            rows = both_of(done.customer_after, done.into_after, done.into_before)
        else:
            rows = both_of(done.customer_before, done.into_before, done.into_after)
        return self._show(
            visit,
            "join.html",
            status=status_of(problem),
            problem=problem,
            done=done,
            is_apart=is_apart,
            customer_id=one,
            into=done.into_after.customer_id if done is not None else other,
            rows=rows,
            reason=form.get("reason", ""),
        )

    async def _done(self, visit: Visit, one: str, into: str | None, by: By, *, dry_run: bool) -> Joined:
        joins = self._service.joins
        if into is None:
            return await joins.take_apart(visit.workspace_id, one, by, dry_run=dry_run)
        return await joins.join(visit.workspace_id, one, into, by, dry_run=dry_run)

    # Nobody any more.

    async def _erase(self, visit: Visit) -> Response:
        form, action = visit.form, visit.form.get("action")
        customer_id = read_known_customer_id(form.get("customer_id", ""))
        if action not in ("preview", "erase"):
            raise not_of_this_page()
        if customer_id is None:
            raise NOTHING_HELD
        problem = None
        if action == "erase" and form.get("typed", "").strip() != customer_id:
            problem = Problem(422, "not_the_same_id", "What was typed is not the id of this customer.")
        dry_run = action == "preview" or problem is not None
        receipt = await self._service.eraser.erase(visit.workspace_id, customer_id, visit.actor, dry_run=dry_run)
        return self._show(
            visit,
            "erase.html",
            status=status_of(problem),
            problem=problem,
            receipt=receipt,
            removed=removed_of(receipt),
            customer_id=customer_id,
        )

    # Who may be the same.

    async def _suggestions_page(
        self, visit: Visit, shared: Shared = "email", after: str = "", problem: Problem | None = None
    ) -> Response:
        items, following = await self._service.suggestions.page(visit.workspace_id, shared, after, LIMIT_DEFAULT)
        return self._show(
            visit,
            "suggestions.html",
            status=status_of(problem),
            problem=problem,
            shared=shared,
            kinds=get_args(Shared),
            after=after,
            items=[offered(suggestion) for suggestion in items],
            following=following,
        )

    async def _judge(self, visit: Visit) -> Response:
        """Show another page of suggestions (what is shared stands in no address), or remember what was judged."""
        form = visit.form
        shared: Shared = "phone" if form.get("shared") == "phone" else "email"
        after = form.get("after", "")
        if after and not is_storable_id(after, EMAIL_CHARACTERS_MAX):
            raise not_of_this_page()
        if form.get("action") == "page":
            return await self._suggestions_page(visit, shared, after)
        problem = None
        try:
            await self._remember(visit, form)
        except Problem as wrong:
            problem = wrong
        return await self._suggestions_page(visit, shared, after, problem)

    async def _remember(self, visit: Visit, form: Mapping[str, str]) -> None:
        read = [read_known_customer_id(form.get(name, "")) for name in ("one", "other")]
        one, other = read
        if form.get("action") not in ("not_same", "perhaps") or one is None or other is None or one == other:
            raise not_of_this_page()
        await self._service.suggestions.dismiss(
            visit.workspace_id,
            one,
            other,
            actor=visit.actor,
            note=read_note(form.get("reason")),
            dismissed=form["action"] == "not_same",
        )


def both_of(customer: Profile, into: Profile, joined: Profile) -> list[Both]:
    """Return the fields of two customers side by side, beside what they hold together."""
    one, other, together = customer.values(), into.values(), joined.values()
    names = sorted(one.keys() | other.keys() | together.keys())
    return [Both(name, one.get(name), other.get(name), together.get(name)) for name in names]


def removed_of(receipt: Receipt) -> dict[str, int]:
    """Return what an erasure removes, kind by kind."""
    return {name: count for name, count in msgspec.structs.asdict(receipt.removed).items() if isinstance(count, int)}


def offered(suggestion: Suggestion) -> Offered:
    """Return a suggestion with the pairs that are still to be judged."""
    known = {tuple(pair) for pair in suggestion.not_same}
    return Offered(suggestion, [pair for pair in combinations(sorted(suggestion.customer_ids), 2) if pair not in known])
