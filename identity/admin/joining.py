"""Locks, joins and suggestions over HTTP."""

from collections.abc import Awaitable, Callable
from urllib.parse import urlencode

import msgspec

from identity.acts import Acts, By
from identity.admin.acts import read_note
from identity.admin.query import read_body, read_limit, read_query
from identity.joins import Joined, Joins
from identity.visitors import is_storable_id, read_known_customer_id
from profiles import ledger
from profiles.access import SecretKey
from profiles.fields import EMAIL_CHARACTERS_MAX
from profiles.http import Problem, Request, Response, json_response
from profiles.profile import Merge, Profile
from profiles.remarks import JsonValue
from profiles.suggestions import Shared, Suggestion, Suggestions
from profiles.views import DecisionView, MergeView, decision_view, merge_view

Handler = Callable[[Request, SecretKey, str], Awaitable[Response]]
"""Answers what is asked of a customer's or visitor's id, which was read."""

SUGGESTION_PARAMETERS = ("shared", "after", "limit")


class LockAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Fields to be closed to websites, or opened again."""

    fields: list[str]
    locked: bool
    reason: str | None = None


class LockView(msgspec.Struct, frozen=True):
    """Which fields of a customer are locked, and the ledger's new row; null if they were so before."""

    customer_id: str
    locked: list[str]
    merge: MergeView | None


class JoinAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom a customer is declared to be. ``into`` is left out to take the two apart."""

    into: str | None = None
    reason: str | None = None
    dry_run: bool = False


class JoinView(msgspec.Struct, frozen=True):
    """What a join, or taking apart, did or would do.

    ``changes`` tells, of either customer, each field that is held otherwise afterwards; ``merges`` are the rows written
    to the ledger of ``into``, and to that of the customer.
    """

    dry_run: bool
    applied: bool
    customer_id: str
    into: str
    changes: dict[str, list[DecisionView]]
    fields: dict[str, JsonValue]
    merges: int
    customer_merges: int


class SuggestionPage(msgspec.Struct, frozen=True):
    """Customers who share a value, in order of the values. ``next_after`` is null at the end."""

    items: list[Suggestion]
    next_after: str | None


class DismissAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Two customers who are not one person; ``dismissed`` false: perhaps they are, after all."""

    customer_ids: list[str]
    dismissed: bool = True
    reason: str | None = None


class CustomerActs:
    """What admins do to one customer."""

    def __init__(self, acts: Acts, joins: Joins) -> None:
        self._acts = acts
        self._joins = joins

    def handlers(self) -> dict[tuple[str, str], Handler]:
        """Return what answers, by method and by what stands behind the customer's id."""
        return {("POST", "locks"): self.lock, ("POST", "join"): self.join, ("POST", "unjoin"): self.take_apart}

    async def lock(self, request: Request, key: SecretKey, customer_id: str) -> Response:
        """``POST …/locks``: close fields to websites, or open them again."""
        asked = await read_body(request, LockAsked)
        by = By(key.actor, read_note(asked.reason))
        profile, row = await self._acts.lock(key.workspace_id, customer_id, asked.fields, by, locked=asked.locked)
        view = LockView(customer_id, sorted(profile.locks), None if row is None else merge_view(row))
        return json_response(view)

    async def join(self, request: Request, key: SecretKey, customer_id: str) -> Response:
        """``POST …/join``: declare the customer to be another one."""
        asked = await read_body(request, JoinAsked)
        into = read_known_customer_id(asked.into)
        if into is None:
            raise Problem(422, "invalid_into", "into is the id of the customer who this one is.")
        by = By(key.actor, read_note(asked.reason))
        done = await self._joins.join(key.workspace_id, customer_id, into, by, dry_run=asked.dry_run)
        return json_response(join_view(done, dry_run=asked.dry_run))

    async def take_apart(self, request: Request, key: SecretKey, customer_id: str) -> Response:
        """``POST …/unjoin``: take that back."""
        asked = await read_body(request, JoinAsked)
        by = By(key.actor, read_note(asked.reason))
        done = await self._joins.take_apart(key.workspace_id, customer_id, by, dry_run=asked.dry_run)
        return json_response(join_view(done, dry_run=asked.dry_run))


def join_view(done: Joined, *, dry_run: bool) -> JoinView:
    """Return what a join does, as seen from outside."""
    customer, into = done.customer_after, done.into_after
    changes = {
        customer.customer_id: _changes(done.customer_before, customer),
        into.customer_id: _changes(done.into_before, into),
    }
    return JoinView(
        dry_run=dry_run,
        applied=bool(done.into_rows) and not dry_run,
        customer_id=customer.customer_id,
        into=into.customer_id,
        changes=changes,
        fields=into.values(),
        merges=_merges(done.into_rows),
        customer_merges=_merges(done.customer_rows),
    )


def _merges(rows: list[Merge]) -> int:
    return sum(row.is_merge for row in rows)


def _changes(before: Profile, after: Profile) -> list[DecisionView]:
    return [decision_view(decision) for decision in ledger.differences(before.fields, after.fields)]


class SuggestionRoutes:
    """Which customers may be one."""

    def __init__(self, suggestions: Suggestions) -> None:
        self._suggestions = suggestions

    async def page(self, request: Request, key: SecretKey) -> tuple[SuggestionPage, str | None]:
        """Return one page, and the address of the next."""
        query = read_query(request, SUGGESTION_PARAMETERS)
        shared, after = query.get("shared", "email"), query.get("after", "")
        if shared not in ("email", "phone"):
            raise Problem(400, "invalid_shared", "shared is email or phone.")
        if after and not is_storable_id(after, EMAIL_CHARACTERS_MAX):
            raise Problem(400, "invalid_after", "after is what the page before gave as next_after.")
        kind: Shared = "email" if shared == "email" else "phone"
        items, last = await self._suggestions.page(key.workspace_id, kind, after, read_limit(query))
        return SuggestionPage(items, last), None if last is None else urlencode({**query, "after": last})

    async def dismiss(self, request: Request, key: SecretKey) -> DismissAsked:
        """Remember that two customers are not one, or forget it."""
        asked = await read_body(request, DismissAsked)
        read = {read_known_customer_id(customer_id) for customer_id in asked.customer_ids} - {None}
        if len(asked.customer_ids) != 2 or len(read) != 2:
            raise Problem(422, "invalid_customer_ids", "customer_ids are the ids of two customers.")
        one, other = map(str, read)
        await self._suggestions.dismiss(
            key.workspace_id, one, other, actor=key.actor, note=read_note(asked.reason), dismissed=asked.dismissed
        )
        return asked
