"""The HTTP edge of events: bytes, clock and key in; receipt out."""

import time
from collections.abc import Callable

import msgspec

from identity.channels import Channel, Channels
from identity.events.behaviour import FAULT_HINTS, Behaviour, EventFault
from identity.events.identity import Event, Sender, SignedIdentity
from identity.gate import Gate, blocked_ids
from identity.intake import Faulty, Intake
from identity.parse import (
    AUTHENTICATE_BYTES_MAX,
    EVENTS_BYTES_MAX,
    EVENTS_MAX,
    event_items,
    read_events,
    read_push,
    read_write_key,
    to_identify,
)
from identity.refusals import FROM_INPUT_ALONE, REFUSAL_HINTS, Refusal
from identity.resolve import Outcome, find_refusal, read_fields
from identity.tolerant import Members, read_object
from profiles import merge as merging
from profiles.access import Access, Scope, SecretKey
from profiles.cache import Cache
from profiles.database import Unavailable
from profiles.http import Problem, Request, Response, json_response, log_fault
from profiles.profile import Policy
from profiles.routes import LOOKUP_PATH
from profiles.views import DecisionView, decision_view, read_bearer

OK = b'{"status":"ok"}'
READING_PATHS = frozenset(
    {LOOKUP_PATH, "/api/v1/validate/authenticate", "/api/v1/validate/events", "/api/v1/admin/explain"}
)
"""Posted to by holders of secret keys, and nothing is changed by it."""
SNAPSHOTS_MAX = 3
"""Times a request is looked at anew because channels or keys changed meanwhile."""
_OK = Response(200, OK)


class EventError(msgspec.Struct, frozen=True):
    """Why an event was rejected: where in the event, the code, and what to do."""

    path: str
    code: str
    hint: str


class EventResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one event, as far as its sender may know: that follows from the input alone."""

    status: str
    errors: tuple[EventError, ...] = ()


class Validation(msgspec.Struct, frozen=True):
    """What validation says of one event.

    Of a behaviour event, ``errors`` refuse it and ``left_out`` are the values that it loses. ``preview`` tells what the
    live call would decide, to holders of a secret.
    """

    accepted: bool
    refusal: Refusal | None
    hint: str | None
    fields: list[DecisionView]
    errors: tuple[EventError, ...] = ()
    left_out: tuple[EventError, ...] = ()
    preview: "Preview | None" = None


class Preview(msgspec.Struct, frozen=True):
    """What the live call would do now, against what is held."""

    refusal: Refusal | None
    unchanged: bool
    created_customer: bool
    customer_id: str | None
    linked: bool
    decisions: list[DecisionView]


_PATHS = {
    Refusal.MISSING_CUSTOMER_ID: "/customer_id",
    Refusal.INVALID_CUSTOMER_ID: "/customer_id",
    Refusal.BLOCKED_CUSTOMER_ID: "/customer_id",
    Refusal.MISSING_VISITOR_ID: "/visitor_id",
    Refusal.INVALID_PATCH: "/patch",
    Refusal.UNKNOWN_EVENT: "/type",
}
_ACCEPTED = EventResult("accepted")
_FAULTY = EventResult("rejected", (EventError("", "internal_error", "A fault of ours; it has been logged."),))
_REJECTED = {
    reason: EventResult("rejected", (EventError(_PATHS[reason], reason, REFUSAL_HINTS[reason]),))
    for reason in FROM_INPUT_ALONE - {Refusal.INVALID_EVENT}
}


class EventRoutes:
    """The public endpoints. ``clock`` gives milliseconds since 1970."""

    def __init__(
        self,
        intake: Intake,
        cache: Cache,
        access: Access,
        channels: Channels,
        gate: Gate,
        clock: Callable[[], int],
    ) -> None:
        self._intake = intake
        self._cache = cache
        self._gate = gate
        self._access = access
        self._channels = channels
        self._clock = clock

    async def authenticate(self, request: Request) -> Response:
        """``POST /api/v1/authenticate``: the same bytes whatever was made of it."""
        members = await _object(request, AUTHENTICATE_BYTES_MAX)
        write_key = _write_key(request, members)
        channel, push, known = None, None, False
        for _ in range(SNAPSHOTS_MAX):
            snapshot = self._access.generation
            channel = self._channels.find(write_key)
            known, push = False, None
            if channel is not None and channel.website_tracking:
                push = read_push(members, self._gate.blocked(channel))
            if channel is not None and push is not None and not isinstance(push.customer, Refusal):
                known, generation = await self._intake.knows(
                    channel.sender, push.visitor_id, push.customer, push.digest
                )
            else:
                generation = (await self._cache.read(())).generation
            await self._access.confirm(generation)
            # Another request may have taken the snapshot anew since the key was looked up in it.
            if self._access.generation == snapshot:
                break
        else:
            raise Unavailable("channels and keys change too fast")
        channel = self._gate.admit(channel, request)
        # An event id must be remembered even where nothing changes, or a retry of it would win over a later push; and
        # what is not proven must be listed or counted, even where it would change nothing, and so must a token that
        # vouches for someone else.
        is_proof_wanted = channel.sender.signed_identity is not SignedIdentity.OFF or (
            channel.sender.looks_at_tokens and "identity_token" in members
        )
        if known and not is_proof_wanted and "event_id" not in members:
            return _OK
        if push is None:
            push = read_push(members, self._gate.blocked(channel))
        now = self._clock()
        event = to_identify(push, channel.sender, now, is_alone=True)
        await self._intake.submit_one(self._gate.vouched(channel, event, now))
        return _OK

    async def events(self, request: Request) -> Response:
        """``POST /api/v1/events``: one result per event, in order."""
        members = await _object(request, EVENTS_BYTES_MAX)
        channel = self._gate.admit(await self._gate.channel(_write_key(request, members)), request)
        now = self._clock()
        read = self._read_events(members, channel.sender, self._gate.blocked(channel), now)
        events = [self._gate.vouched(channel, event, now) for event in read]
        outcomes = await self._intake.submit(events)
        results = [_result(event, outcome) for event, outcome in zip(events, outcomes, strict=True)]
        return json_response({"results": results})

    async def validate_authenticate(self, request: Request) -> Response:
        """``POST /api/v1/validate/authenticate``: what would be made of it; nothing is stored."""
        members = await _object(request, AUTHENTICATE_BYTES_MAX)
        sender, blocked, reader, channel = await self._validator(request, members)
        event = to_identify(read_push(members, blocked), sender, self._clock())
        return json_response((await self._validate([event], reader, channel))[0])

    async def validate_events(self, request: Request) -> Response:
        """``POST /api/v1/validate/events``: the same for events, one result each, in order."""
        members = await _object(request, EVENTS_BYTES_MAX)
        sender, blocked, reader, channel = await self._validator(request, members)
        events = self._read_events(members, sender, blocked, self._clock())
        return json_response({"results": await self._validate(events, reader, channel)})

    async def _validate(
        self, events: list[Event], reader: SecretKey | None, channel: Channel | None
    ) -> list[Validation]:
        if channel is not None:
            now = self._clock()
            events = [self._gate.vouched(channel, event, now, is_live=False) for event in events]
        if reader is None:
            return [_validation(event, None) for event in events]
        # Together, as the live call takes them: an event finds what those before it left.
        outcomes = await self._intake.preview_all(events)
        return [_validation(event, _preview(outcome)) for event, outcome in zip(events, outcomes, strict=True)]

    async def _validator(
        self, request: Request, members: Members
    ) -> tuple[Sender, frozenset[str], SecretKey | None, Channel | None]:
        """Return who would send, and the secret key if one came along: it sees the preview of its own workspace."""
        secret = read_bearer(request)
        write_key = _write_key(request, members, required=secret is None)
        channel = await self._gate.channel(write_key)
        reader = self._access.find_key(secret) if secret else None
        if secret and (reader is None or not reader.scopes & {Scope.PROFILES_READ, Scope.ADMIN}):
            raise Problem(401, "unknown_key", "No secret key in force with the scope profiles:read is this one.")
        if reader and not write_key:
            workspace = self._access.workspaces[reader.workspace_id]
            sender = Sender(
                workspace_id=workspace.workspace_id,
                spread=workspace.spread,
                footprint_days=workspace.footprint_days,
            )
            return sender, blocked_ids(workspace), reader, None
        channel = self._gate.admit(channel, request)
        if reader and reader.workspace_id != channel.workspace_id:
            raise Problem(403, "other_workspace", "The secret key and the write key are of different workspaces.")
        return channel.sender, self._gate.blocked(channel), reader, channel

    def _read_events(self, members: Members, sender: Sender, blocked: frozenset[str], now: int) -> list[Event]:
        items = event_items(members)
        if items is None:
            raise Problem(400, "invalid_events", '"events" must be a list.')
        if len(items) > EVENTS_MAX:
            raise Problem(413, "too_many_events", f"One request may carry {EVENTS_MAX} events.")
        return read_events(items, sender, now, blocked)


def now_milliseconds() -> int:
    """Return our clock."""
    return time.time_ns() // 1_000_000


async def _object(request: Request, bytes_max: int) -> Members:
    if request.method != "POST":
        raise Problem(405, "method_not_allowed", "Use POST.", ((b"allow", b"POST, OPTIONS"),))
    members = read_object(await request.body(bytes_max))
    if members is None:
        raise Problem(400, "not_a_json_object", "The body must be one JSON object.")
    return members


def _write_key(request: Request, members: Members, *, required: bool = True) -> str:
    header = request.headers.get(b"x-write-key")
    key = header.decode("latin-1") if header is not None else read_write_key(members)
    if not key and required:
        raise Problem(401, "missing_key", "Send the channel's write key as X-Write-Key, or as write_key in the body.")
    return key or ""


def _result(event: Event, outcome: Outcome | BaseException) -> EventResult:
    if isinstance(outcome, Faulty):
        log_fault("/api/v1/events", outcome)
        return _FAULTY
    if isinstance(outcome, BaseException):
        raise outcome
    if outcome.refusal is Refusal.INVALID_EVENT and isinstance(event, Behaviour):
        return EventResult("rejected", event_errors(event.faults))
    return _REJECTED.get(outcome.refusal, _ACCEPTED) if outcome.refusal else _ACCEPTED


def event_errors(faults: tuple[EventFault, ...]) -> tuple[EventError, ...]:
    """Return faults or remarks as they are told, each with what to do."""
    return tuple(EventError(fault.path, fault.code, FAULT_HINTS[fault.code]) for fault in faults)


def _validation(event: Event, preview: Preview | None) -> Validation:
    refusal = find_refusal(event)
    decisions, _ = merging.decide(
        {}, read_fields(event), policy=Policy.OVERWRITE, exists=False, occurred_at=event.occurred_at, version=1
    )
    return Validation(
        accepted=refusal is None,
        refusal=refusal,
        hint=REFUSAL_HINTS[refusal] if refusal else None,
        fields=[decision_view(decision) for decision in decisions],
        errors=event_errors(event.faults) if isinstance(event, Behaviour) else (),
        left_out=event_errors(event.remarks) if isinstance(event, Behaviour) else (),
        preview=preview,
    )


def _preview(outcome: Outcome) -> Preview:
    """Return what an outcome tells: its merges, adopted values included, without changes of links alone."""
    merges = [merge for merge in outcome.merges if not merge.is_link]
    return Preview(
        refusal=outcome.refusal,
        unchanged=outcome.unchanged,
        created_customer=any(merge.created_customer for merge in merges),
        customer_id=merges[0].customer_id if merges else None,
        linked=any(fact.applied and fact.customer_id is not None for fact in outcome.facts),
        decisions=[decision_view(decision) for merge in merges for decision in merge.decisions],
    )
