"""A request that did not arrive: what the service would say of it, check by check, by the functions that live traffic
goes through, and when its ids were last heard of. Nothing is written.
"""

from collections.abc import Callable
from enum import StrEnum

import msgspec

from identity import administration
from identity.admin.ledger import Ledger, RefusalView
from identity.channels import Channel
from identity.events.behaviour import Behaviour
from identity.events.identity import Event, Sender, SignedIdentity
from identity.gate import Gate, blocked_ids
from identity.intake import Intake
from identity.parse import (
    AUTHENTICATE_BYTES_MAX,
    EVENTS_BYTES_MAX,
    event_items,
    read_events,
    read_push,
    read_write_key,
    to_identify,
)
from identity.refusals import REFUSAL_HINTS, Refusal
from identity.resolve import ANONYMOUS_SOURCE, Outcome, find_refusal, is_unproven, read_fields
from identity.routes import EventError, event_errors
from identity.tokens import TOKEN_FAULT_HINTS, TokenFault, find_fault, read_identity_token
from identity.tolerant import Members, read_object, read_value
from profiles import merge as merging
from profiles.access import Access, Scope
from profiles.database import Database
from profiles.http import Problem, Request, Response, json_response
from profiles.profile import Policy
from profiles.remarks import HINTS, Decision, Reason, Verdict
from profiles.store import SKIPPED
from profiles.views import DecisionView, MergeView, decision_view

EXPLAIN_PATH = "/api/v1/admin/explain"
EXPLAIN_BYTES_MAX = 128 * 1024
"""A request that is to be explained, with what is said of it."""
_MEMBERS = ("write_key", "channel_id", "origin", "body")


class CheckName(StrEnum):
    """What is looked at, in this order."""

    KEY = "key"
    ORIGIN = "origin"
    TRACKING = "tracking"
    BODY = "body"
    CUSTOMER_ID = "customer_id"
    SIGNATURE = "signature"
    VISITOR_ID = "visitor_id"
    FIELDS = "fields"


class CheckCode(StrEnum):
    """How a check came out, where problems, refusals and tokens have no name for it. ``CHECK_CODES`` has a sentence for
    each.
    """

    OK = "ok"
    NOT_CHECKED = "not_checked"
    NO_ORIGIN = "no_origin"
    NOBODY_NAMED = "nobody_named"
    NOT_WANTED = "not_wanted"
    NOT_PROVEN = "not_proven"
    UNCHANGED = "unchanged"
    FIELDS_SKIPPED = "fields_skipped"
    FIELDS_LOST = "fields_lost"


CHECK_CODES: dict[CheckCode, str] = {
    CheckCode.OK: "Nothing is wrong here.",
    CheckCode.NOT_CHECKED: "It cannot be told: what it depends on is missing or wrong.",
    CheckCode.NO_ORIGIN: "No origin was named. Servers send none; browsers always do.",
    CheckCode.NOBODY_NAMED: "The event names nobody: it is about whoever the visitor is.",
    CheckCode.NOT_WANTED: "The channel does not look at signatures.",
    CheckCode.NOT_PROVEN: "Nobody vouches for the customer: it is taken, and counted or left to fill gaps.",
    CheckCode.UNCHANGED: "It says nothing new: all of it is held already, and nothing would be written.",
    CheckCode.FIELDS_SKIPPED: "Values cannot be held; the decisions tell which, and why. The rest is taken.",
    CheckCode.FIELDS_LOST: "Values would lose against what is held; the decisions tell which, and why.",
}

_CHECK_OF = {
    Refusal.MISSING_CUSTOMER_ID: CheckName.CUSTOMER_ID,
    Refusal.INVALID_CUSTOMER_ID: CheckName.CUSTOMER_ID,
    Refusal.BLOCKED_CUSTOMER_ID: CheckName.CUSTOMER_ID,
    Refusal.ERASED_CUSTOMER: CheckName.CUSTOMER_ID,
    Refusal.NOT_CURRENT_CUSTOMER: CheckName.CUSTOMER_ID,
    Refusal.ALIAS_OF_CUSTOMER: CheckName.CUSTOMER_ID,
    Refusal.UNVERIFIED_IDENTITY: CheckName.SIGNATURE,
    Refusal.MISSING_VISITOR_ID: CheckName.VISITOR_ID,
    Refusal.INVALID_PATCH: CheckName.FIELDS,
    Refusal.FAILED_PATCH: CheckName.FIELDS,
    Refusal.INVALID_EVENT: CheckName.FIELDS,
    Refusal.UNKNOWN_EVENT: CheckName.BODY,
}


class Asked(msgspec.Struct, frozen=True):
    """What is known of a request. ``body`` is what was pushed, as bytes; None: not at hand."""

    write_key: str | None = None
    channel_id: str | None = None
    origin: str | None = None
    body: bytes | None = None


class LastHeard(msgspec.Struct, frozen=True):
    """When an id last changed anything, and the last refused event that named it."""

    change: MergeView | None
    refusal: RefusalView | None


class CheckDetails(msgspec.Struct, frozen=True, omit_defaults=True):
    """What else there is to say of a check; each check has its own members."""

    channel_id: str | None = None
    channel: str | None = None
    revoked_at: str | None = None
    origins: list[str] | None = None
    event: str | None = None
    sent: str | None = None
    read: str | None = None
    last: LastHeard | None = None
    decisions: list[DecisionView] | None = None
    errors: tuple[EventError, ...] | None = None


class CheckView(msgspec.Struct, frozen=True):
    """One check: whether it is passed (null: it cannot be told), the code, what that means, and more."""

    check: CheckName
    ok: bool | None
    code: str
    sentence: str
    details: CheckDetails


class ArrivalExplanation(msgspec.Struct, frozen=True):
    """The checks in order. ``arrives``: the service would take the request; null if that cannot be told."""

    arrives: bool | None
    checks: list[CheckView]


class Arrivals:
    """Explains requests. ``clock`` gives milliseconds since 1970."""

    def __init__(
        self,
        database: Database,
        access: Access,
        gate: Gate,
        intake: Intake,
        ledger: Ledger,
        clock: Callable[[], int],
    ) -> None:
        self._database = database
        self._access = access
        self._gate = gate
        self._intake = intake
        self._ledger = ledger
        self._clock = clock

    async def endpoint(self, request: Request) -> Response:
        """``POST /api/v1/admin/explain``."""
        if request.method != "POST":
            raise Problem(405, "method_not_allowed", "Use POST.", ((b"allow", b"POST"),))
        key = await self._access.authorize(request, Scope.ADMIN)
        members = read_object(await request.body(EXPLAIN_BYTES_MAX))
        if members is None:
            raise Problem(400, "not_a_json_object", "The body must be one JSON object.")
        return json_response(await self.explain(key.workspace_id, read_asked(members)))

    async def explain(self, workspace_id: int, asked: Asked) -> ArrivalExplanation:
        """Return what would become of a request to a channel of the workspace."""
        members = read_object(asked.body) if asked.body is not None else None
        channel, key = await self._key(workspace_id, asked, members)
        now = self._clock()
        event, body = self._body(workspace_id, asked, members, channel, now)
        event = self._vouched(channel, event, now)
        refusal, outcome = await self._outcome(event)
        checks = [
            key,
            self._origin(channel, asked.origin),
            _tracking(channel),
            _refused(CheckName.BODY, refusal, body.details) or body,
            await self._customer(workspace_id, event, refusal),
            _signature(channel, event, now),
            await self._visitor(workspace_id, event, refusal),
            _fields(event, refusal, outcome),
        ]
        return ArrivalExplanation(_arrives(checks, event, refusal), checks)

    async def _key(self, workspace_id: int, asked: Asked, members: Members | None) -> tuple[Channel | None, CheckView]:
        write_key = asked.write_key or (read_write_key(members) if members is not None else None)
        if asked.channel_id is not None:
            channel = await self._gate.channel_by_id(asked.channel_id)
        elif write_key:
            channel = await self._gate.channel(write_key)
        else:
            hint = "Send the channel's write key as X-Write-Key, or as write_key in the body."
            return None, CheckView(CheckName.KEY, ok=False, code="missing_key", sentence=hint, details=CheckDetails())
        if channel is not None and channel.workspace_id != workspace_id:
            channel = None
        problem = self._problem(channel, None)
        if channel is not None and problem is None:
            return channel, _passed(
                CheckName.KEY, details=CheckDetails(channel_id=channel.channel_id, channel=channel.name)
            )
        assert problem is not None
        async with self._database.connection() as connection:
            views = await administration.list_channels(connection, workspace_id)
        revoked = next((v for v in views if asked.channel_id == v.channel_id or write_key == v.write_key), None)
        details = (
            CheckDetails()
            if revoked is None
            else CheckDetails(channel_id=revoked.channel_id, channel=revoked.name, revoked_at=revoked.revoked_at)
        )
        return None, CheckView(CheckName.KEY, ok=False, code=problem.code, sentence=problem.message, details=details)

    def _problem(self, channel: Channel | None, origin: str | None) -> Problem | None:
        headers = {} if origin is None else {b"origin": origin.encode("latin-1", "replace")}
        try:
            self._gate.admit(channel, Request("POST", headers, {}, None))
        except Problem as problem:
            return problem
        return None

    def _origin(self, channel: Channel | None, origin: str | None) -> CheckView:
        if channel is None:
            return _unknown(CheckName.ORIGIN)
        details = CheckDetails(sent=origin, origins=list(channel.origins))
        if origin is None:
            return _passed(CheckName.ORIGIN, CheckCode.NO_ORIGIN, details)
        problem = self._problem(channel, origin)
        if problem is None:
            return _passed(CheckName.ORIGIN, details=details)
        return CheckView(CheckName.ORIGIN, ok=False, code=problem.code, sentence=problem.message, details=details)

    def _body(
        self, workspace_id: int, asked: Asked, members: Members | None, channel: Channel | None, now: int
    ) -> tuple[Event | None, CheckView]:
        """Return the event as it would be decided if the channel tracked, and the check of the body."""
        if asked.body is None:
            return None, _unknown(CheckName.BODY)
        is_events = members is not None and ("events" in members or "type" in members)
        bytes_max = EVENTS_BYTES_MAX if is_events else AUTHENTICATE_BYTES_MAX
        if len(asked.body) > bytes_max:
            return None, _failed(CheckName.BODY, "body_too_large", f"The body may have {bytes_max} bytes.")
        if members is None:
            return None, _failed(CheckName.BODY, "not_a_json_object", "The body must be one JSON object.")
        workspace = self._access.workspaces[workspace_id]
        sender = Sender(workspace_id=workspace_id, spread=workspace.spread, footprint_days=workspace.footprint_days)
        if channel is not None:
            sender = msgspec.structs.replace(channel.sender, website_tracking=True)
        blocked = blocked_ids(workspace)
        if not is_events:
            event: Event = to_identify(read_push(members, blocked), sender, now)
        else:
            items = event_items(members)
            if not items:
                return None, _failed(CheckName.BODY, "invalid_events", '"events" must be a list, with an event in it.')
            event = read_events(items[:1], sender, now, blocked)[0]
        return event, _passed(CheckName.BODY, details=CheckDetails(event=event.name))

    def _vouched(self, channel: Channel | None, event: Event | None, now: int) -> Event | None:
        if channel is None or event is None:
            return event
        return self._gate.vouched(channel, event, now, is_live=False)

    async def _outcome(self, event: Event | None) -> tuple[Refusal | None, Outcome | None]:
        """Return why the event would be refused, as far as its channel may track, and what would become of it."""
        if event is None:
            return None, None
        refusal = find_refusal(event)
        if refusal is not None or isinstance(event, Behaviour):
            return refusal, None
        outcome = await self._intake.preview(event)
        return outcome.refusal, outcome

    async def _customer(self, workspace_id: int, event: Event | None, refusal: Refusal | None) -> CheckView:
        if event is None:
            return _unknown(CheckName.CUSTOMER_ID)
        read = event.customer if isinstance(event.customer, str) and not isinstance(event.customer, Refusal) else None
        named = read if read is not None else event.sent_customer
        last = None if named is None else await self._last(workspace_id, {"customer_id": named})
        details = CheckDetails(sent=event.sent_customer, read=read, last=last)
        unread = event.customer if isinstance(event.customer, Refusal) else refusal
        failed = _refused(CheckName.CUSTOMER_ID, unread, details)
        if failed is not None:
            return failed
        return _passed(
            CheckName.CUSTOMER_ID, CheckCode.NOBODY_NAMED if event.customer is None else CheckCode.OK, details
        )

    async def _visitor(self, workspace_id: int, event: Event | None, refusal: Refusal | None) -> CheckView:
        if event is None:
            return _unknown(CheckName.VISITOR_ID)
        if event.visitor_id is None:
            code = Reason.MISSING_VISITOR_ID
            return _refused(CheckName.VISITOR_ID, refusal, CheckDetails()) or _failed(
                CheckName.VISITOR_ID, code, HINTS[code]
            )
        last = await self._last(workspace_id, {"visitor_id": event.visitor_id})
        return _passed(CheckName.VISITOR_ID, details=CheckDetails(read=event.visitor_id, last=last))

    async def _last(self, workspace_id: int, query: dict[str, str]) -> LastHeard | None:
        """Return when an id was last heard of; None: it is none that anybody could have."""
        query = {**query, "limit": "1"}
        try:
            merges = (await self._ledger.list_merges(workspace_id, query)).items
            refusals = (await self._ledger.list_refusals(workspace_id, query)).items
        except Problem as problem:
            if problem.status != 400:
                raise
            return None
        return LastHeard(next(iter(merges), None), next(iter(refusals), None))


def read_asked(members: Members) -> Asked:
    """Return what is known of a request; ``body`` is its text, or the JSON itself.

    Raises:
        Problem: 422, another member, or one of the wrong type.
    """
    unknown = [name for name in members if name not in _MEMBERS]
    texts = {name: read_value(members[name]) for name in _MEMBERS[:-1] if name in members}
    wrong = [name for name, value in texts.items() if not isinstance(value, str | None)]
    if unknown or wrong:
        raise Problem(422, "invalid_body", f"What can be told of a request is: {', '.join(_MEMBERS)}.")
    body: bytes | None = bytes(members["body"]) if "body" in members else None
    value = read_value(body) if body is not None else None
    if isinstance(value, str):
        body = value.encode("utf-8", "surrogatepass")
    elif value is None:
        body = None
    told = {name: value for name, value in texts.items() if isinstance(value, str)}
    if "channel_id" in told:
        told["channel_id"] = administration.read_uuid(told["channel_id"]) or told["channel_id"]
    return Asked(**told, body=body)


def _arrives(checks: list[CheckView], event: Event | None, refusal: Refusal | None) -> bool | None:
    by_name = {check.check: check for check in checks}
    door = [by_name[name].ok for name in (CheckName.KEY, CheckName.ORIGIN, CheckName.TRACKING, CheckName.BODY)]
    if False in door or refusal is not None:
        return False
    return None if event is None or None in door else True


def _passed(check: CheckName, code: CheckCode = CheckCode.OK, details: CheckDetails | None = None) -> CheckView:
    return CheckView(check, ok=True, code=code, sentence=CHECK_CODES[code], details=details or CheckDetails())


def _failed(check: CheckName, code: str, sentence: str, details: CheckDetails | None = None) -> CheckView:
    return CheckView(check, ok=False, code=code, sentence=sentence, details=details or CheckDetails())


def _unknown(check: CheckName) -> CheckView:
    code = CheckCode.NOT_CHECKED
    return CheckView(check, ok=None, code=code, sentence=CHECK_CODES[code], details=CheckDetails())


def _refused(check: CheckName, refusal: Refusal | None, details: CheckDetails) -> CheckView | None:
    """Return that the check is what the event is refused for, if it is."""
    if refusal is None or _CHECK_OF.get(refusal) is not check:
        return None
    return _failed(check, refusal, REFUSAL_HINTS[refusal], details)


def _tracking(channel: Channel | None) -> CheckView:
    if channel is None:
        return _unknown(CheckName.TRACKING)
    if channel.website_tracking:
        return _passed(CheckName.TRACKING)
    return _failed(CheckName.TRACKING, Refusal.TRACKING_DISABLED, REFUSAL_HINTS[Refusal.TRACKING_DISABLED])


def _signature(channel: Channel | None, event: Event | None, now: int) -> CheckView:
    if channel is None or event is None or isinstance(event.customer, Refusal):
        return _unknown(CheckName.SIGNATURE)
    if not channel.sender.looks_at_tokens:
        return _passed(CheckName.SIGNATURE, CheckCode.NOT_WANTED)
    if not is_unproven(event):
        return _passed(CheckName.SIGNATURE)
    fault = _token_fault(channel, event, now)
    code = Refusal.UNVERIFIED_IDENTITY if fault is None else fault
    sentence = REFUSAL_HINTS[Refusal.UNVERIFIED_IDENTITY] if fault is None else TOKEN_FAULT_HINTS[fault]
    if channel.sender.signed_identity is SignedIdentity.REQUIRED or event.verified_customer is not None:
        return _failed(CheckName.SIGNATURE, code, sentence)
    return _passed(CheckName.SIGNATURE, CheckCode.NOT_PROVEN, CheckDetails(errors=(EventError("", code, sentence),)))


def _token_fault(channel: Channel, event: Event, now: int) -> TokenFault | None:
    """Return what is wrong with the token that came along; None: no token came, or it vouches for someone else."""
    if event.identity_token is None:
        return None
    token = read_identity_token(event.identity_token)
    return TokenFault.MALFORMED if token is None else find_fault(token, channel.identity_keys, now)


def _fields(event: Event | None, refusal: Refusal | None, outcome: Outcome | None) -> CheckView:
    if event is None:
        return _unknown(CheckName.FIELDS)
    errors = event_errors((*event.faults, *event.remarks)) if isinstance(event, Behaviour) else None
    decisions = _decisions(event, outcome)
    details = CheckDetails(decisions=[decision_view(decision) for decision in decisions], errors=errors)
    failed = _refused(CheckName.FIELDS, refusal, details)
    if failed is not None:
        return failed
    verdicts = {decision.verdict for decision in decisions}
    code = CheckCode.UNCHANGED if outcome is not None and outcome.unchanged else CheckCode.OK
    if Verdict.SKIPPED_INVALID in verdicts:
        code = CheckCode.FIELDS_SKIPPED
    elif verdicts & SKIPPED:
        code = CheckCode.FIELDS_LOST
    is_passed = code in (CheckCode.OK, CheckCode.UNCHANGED)
    return CheckView(CheckName.FIELDS, ok=is_passed, code=code, sentence=CHECK_CODES[code], details=details)


def _decisions(event: Event, outcome: Outcome | None) -> list[Decision]:
    """Return what would be decided now or, where nothing would be, of a customer of whom nothing is held."""
    merges = [] if outcome is None else [merge for merge in outcome.merges if merge.source != ANONYMOUS_SOURCE]
    decided = [decision for merge in merges for decision in merge.decisions]
    if decided:
        return decided
    decisions, _ = merging.decide(
        {}, read_fields(event), policy=Policy.OVERWRITE, exists=False, occurred_at=event.occurred_at, version=1
    )
    return list(decisions)
