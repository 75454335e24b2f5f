"""What a CRM writes of one customer: fields by the same rules as those that websites send, and everything told back."""

import re
from collections.abc import Callable

import msgspec

from identity.events.identity import Sender
from identity.gate import blocked_ids
from identity.intake import Intake
from identity.parse import to_crm_patch
from identity.refusals import REFUSAL_HINTS, Refusal
from identity.resolve import Unmet
from identity.tolerant import read_object, read_value
from identity.visitors import read_customer_id, read_known_customer_id
from profiles.access import Access, Scope, SecretKey
from profiles.http import Headers, Problem, Request, Response, json_response
from profiles.views import MergeView, merge_view

PATCH_BYTES_MAX = 32 * 1024
CRM_SOURCE = "crm"

_TAGS = re.compile(rb'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"(?:[ \t]*,[ \t]*(?:W/)?"[\x21\x23-\x7e\x80-\xff]*")*')
_VERSION = re.compile(rb'"(\d{1,18})(?:-[0-9a-f]{8})?"')


class CustomerWrites:
    """The writes of CRM systems. ``clock`` gives milliseconds since 1970."""

    def __init__(self, intake: Intake, access: Access, clock: Callable[[], int]) -> None:
        self._intake = intake
        self._access = access
        self._clock = clock

    def sender(self, key: SecretKey) -> Sender:
        """Return who writes with this key."""
        workspace = self._access.workspaces[key.workspace_id]
        return Sender(
            workspace_id=workspace.workspace_id,
            spread=workspace.spread,
            source=CRM_SOURCE,
            footprint_days=workspace.footprint_days,
            actor=key.actor,
        )

    async def patch(self, request: Request, sent: str) -> Response:
        """``PATCH /api/v1/customers/{customer_id}``: the merge, also of what changed nothing."""
        key = await self._access.authorize(request, Scope.PROFILES_WRITE)
        versions, creates = _read_conditions(request.headers)
        members = read_object(await request.body(PATCH_BYTES_MAX))
        if members is None:
            raise Problem(400, "not_a_json_object", "The body must be one JSON object.")
        # Who is held already may have an id that was blocked later.
        blocked = blocked_ids(self._access.workspaces[key.workspace_id]) if creates else frozenset()
        customer = read_customer_id(sent, blocked)
        if isinstance(customer, Refusal) and customer is not Refusal.BLOCKED_CUSTOMER_ID:
            raise _absent()
        if "customer_id" in members and read_known_customer_id(read_value(members["customer_id"])) != customer:
            raise Problem(422, "other_customer_id", "The customer_id of the body is not the one of the address.")
        sender, now = self.sender(key), self._clock()
        event = to_crm_patch(members, sender, customer, now, versions=versions, creates=creates)
        outcome = await self._intake.submit_one(event)
        if outcome.refusal is not None:
            raise Problem(409, "write_refused", f"{outcome.refusal}: {REFUSAL_HINTS[outcome.refusal]}")
        if outcome.unmet is Unmet.ABSENT:
            raise _absent()
        if outcome.unmet is Unmet.PRESENT:
            raise Problem(412, "customer_exists", "There is a customer of this id: leave out If-None-Match.")
        if outcome.unmet is Unmet.CHANGED:
            raise Problem(412, "version_changed", "The customer was changed since: look it up again.")
        assert outcome.offered is not None
        view = merge_view(outcome.offered)
        return json_response(_unwritten(view) if outcome.unchanged else view)


def _unwritten(view: MergeView) -> dict[str, object]:
    """Return a merge that was not needed: nothing was written, so that it has no id, and the version is what it was."""
    return {**msgspec.to_builtins(view), "merge_id": None, "version": view.version - 1}


def _absent() -> Problem:
    message = "No customer is held by this id. A PATCH with If-None-Match: * makes one."
    return Problem(404, "customer_not_found", message)


def _read_conditions(headers: Headers) -> tuple[frozenset[int] | None, bool]:
    """Return the versions out of ``If-Match``, None for any, and whether ``If-None-Match`` wants nobody to be there.

    Only the version counts in an ETag; what it ends in tells caches apart. A weak one, as proxies make of it when they
    compress, names its version no less.
    """
    match, none_match = headers.get(b"if-match"), headers.get(b"if-none-match")
    if none_match is not None and none_match.strip() != b"*":
        raise Problem(400, "invalid_condition", "If-None-Match can only be *: make the customer, if there is none.")
    if match is None or match.strip() == b"*":
        return None, none_match is not None
    if not _TAGS.fullmatch(match.strip()):
        raise Problem(400, "invalid_condition", 'If-Match is * or ETags in quotes, such as "7-0a1b2c3d" or "7".')
    tags = [tag.strip().removeprefix(b"W/") for tag in match.split(b",")]
    found = [_VERSION.fullmatch(tag) for tag in tags]
    return frozenset(int(version[1]) for version in found if version), none_match is not None
