"""Webhooks as they are kept, and what admins do with them."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any
from uuid import uuid4

import msgspec
from msgspec import UNSET, UnsetType

from identity.admin import query as queries
from identity.administration import read_uuid
from identity.changes import ChangeType
from identity.feed import BEGINNING, Change, Feed, Position, make_cursor
from identity.webhooks.message import SECRET_BYTES, Message, Secret, make_secret, message_of, rotated, signed_headers
from identity.webhooks.sending import (
    FAULT_HINTS,
    Fault,
    Outcome,
    Resolve,
    Sender,
    WrongUrlError,
    check_url,
    resolve,
)
from profiles.clock import to_text
from profiles.database import Database, rows_json
from profiles.fields import read_text
from profiles.http import Problem
from profiles.remarks import Reason
from profiles.store import Spreads

WEBHOOKS_MAX = 20
"""Webhooks of one workspace."""
DESCRIPTION_CHARACTERS_MAX = 200
ATTEMPTS_MAX = 3
DELETED_ROWS_MAX = 10_000
DELIVERY_FILTERS = ("status", "from", "to", "limit", "cursor")

_secrets = msgspec.json.Decoder(tuple[Secret, ...])


class Kept(StrEnum):
    """What a webhook is meant to do, as it is kept."""

    ACTIVE = "active"
    PAUSED = "paused"
    """An admin paused it."""
    FAILED = "failed"
    """It failed for days, and was given up."""
    GONE = "gone"
    """The receiver answered 410: it wants no more."""


class State(StrEnum):
    """How a webhook is doing. All but the first two send nothing until an admin makes it active."""

    ACTIVE = "active"
    FAILING = "failing"
    PAUSED = "paused"
    FAILED = "failed"
    GONE = "gone"


class DeliveryStatus(StrEnum):
    """What became of a change."""

    DELIVERED = "delivered"
    FAILED = "failed"


class Webhook(msgspec.Struct, frozen=True):
    """A webhook as it is kept. ``types`` empty: all. ``position`` is behind the last change that is done with."""

    webhook_id: str
    workspace_id: int
    url: str
    description: str
    types: tuple[str, ...]
    secrets: tuple[Secret, ...]
    state: Kept
    turn: int
    position: Position
    attempts: int
    failing_since: int | None
    retry_at: int | None
    answer: int | None
    fault: Fault | None
    created_at: int
    updated_at: int

    def wants(self, change: Change) -> bool:
        """Return whether it is to be told of a change."""
        return not self.types or any(kind in self.types for kind in change.types)


class WebhookView(msgspec.Struct, frozen=True):
    """A webhook. ``types`` empty: all. ``cursor``: all changes up to there are done with.

    While it is failing: since when, after how many tries, when it is tried again, and what the last try met with.
    """

    webhook_id: str
    url: str
    description: str
    types: list[ChangeType]
    state: State
    cursor: str
    failing_since: str | None
    attempts: int
    retry_at: str | None
    answer: int | None
    fault: Fault | None
    hint: str | None
    created_at: str
    updated_at: str


class CreatedWebhookView(WebhookView, frozen=True):
    """A webhook with its new secret, which is shown this once."""

    secret: str


class WebhookPage(msgspec.Struct, frozen=True):
    """All webhooks of the workspace, newest first."""

    items: list[WebhookView]
    next_cursor: str | None


class NewWebhook(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A webhook to be made. It is told of what changes from now on, or from the beginning of the ledger."""

    url: str
    description: str = ""
    types: list[ChangeType] = []
    from_beginning: bool = False


class WebhookChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be changed of a webhook; what is left out stays. ``active`` true also tries at once what failed."""

    url: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    types: list[ChangeType] | UnsetType = UNSET
    active: bool | UnsetType = UNSET


class Resending(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a webhook is to go on: with what arrived at ``since`` or later, or behind the cursor ``after``."""

    since: str | int | None = None
    after: str | None = None


class OutcomeView(msgspec.Struct, frozen=True):
    """What became of one message. ``answer`` is the HTTP status, if there was one."""

    status: DeliveryStatus
    answer: int | None
    fault: Fault | None
    hint: str | None
    milliseconds: int


class DeliveryView(msgspec.Struct, frozen=True):
    """What became of one change, by the last try. ``merge_id`` is also the webhook-id of its messages."""

    merge_id: str
    status: DeliveryStatus
    attempts: int
    answer: int | None
    fault: Fault | None
    hint: str | None
    milliseconds: int
    tried_at: str


class DeliveryPage(msgspec.Struct, frozen=True):
    """Deliveries, newest change first."""

    items: list[DeliveryView]
    next_cursor: str | None


class _DeliveryRow(msgspec.Struct, frozen=True):
    bucket: int
    workspace_id: int
    webhook_id: str
    change_id: str
    is_delivered: bool
    answer: int | None
    fault: Fault | None
    milliseconds: int
    tried_at: str


class Webhooks:
    """The webhooks of every workspace. Raises a Problem for what admins ask and cannot have."""

    def __init__(
        self,
        database: Database,
        spreads: Spreads,
        feed: Feed,
        clock: Callable[[], int],
        *,
        allow_private: bool,
        resolve: Resolve = resolve,
    ) -> None:
        self._database = database
        self._spreads = spreads
        self._feed = feed
        self._clock = clock
        self._allow_private = allow_private
        self._resolve = resolve

    # What admins do.

    async def list_all(self, workspace_id: int) -> WebhookPage:
        """Return all webhooks of the workspace."""
        found = await self._load(workspace_id)
        store_id = await self._store_id()
        return WebhookPage([_view(webhook, store_id) for webhook in found], None)

    async def show(self, workspace_id: int, webhook_id: str) -> WebhookView:
        """Return one webhook."""
        return _view(await self.find(workspace_id, webhook_id), await self._store_id())

    async def create(self, workspace_id: int, new: NewWebhook) -> CreatedWebhookView:
        """Make a webhook."""
        await self._check(new.url)
        secret = make_secret(secrets.token_bytes(SECRET_BYTES))
        end = await self._feed.end(workspace_id)
        position = BEGINNING if new.from_beginning else end
        parameters = {
            "webhook_id": str(uuid4()),
            "workspace_id": workspace_id,
            "url": new.url,
            "description": _read_description(new.description),
            "types": sorted(set(new.types)),
            "secrets": rows_json((Secret(secret),)).decode(),
            "xid": position.xid,
            "change_id": position.change_id,
            "now": to_text(self._clock()),
            "webhooks_max": WEBHOOKS_MAX,
        }
        rows = await self._database.fetch("identity", "insert_webhook", parameters)
        if not rows:
            raise Problem(409, "too_many_webhooks", f"A workspace may have {WEBHOOKS_MAX} webhooks.")
        return await self._with_secret(webhook_from(rows[0]), secret)

    async def change(self, workspace_id: int, webhook_id: str, wanted: WebhookChange) -> WebhookView:
        """Change what is given of a webhook."""
        if wanted.url is not UNSET:
            await self._check(wanted.url)
        state = None if wanted.active is UNSET else Kept.ACTIVE if wanted.active else Kept.PAUSED
        description = None if wanted.description is UNSET else _read_description(wanted.description)
        changed = await self._change(
            workspace_id,
            webhook_id,
            lambda _: {
                "url": None if wanted.url is UNSET else wanted.url,
                "description": description,
                "types": None if wanted.types is UNSET else sorted(set(wanted.types)),
                "state": state,
            },
        )
        return _view(changed, await self._store_id())

    async def rotate(self, workspace_id: int, webhook_id: str) -> CreatedWebhookView:
        """Give a webhook a new secret; the one before signs beside it for a while."""
        secret = make_secret(secrets.token_bytes(SECRET_BYTES))

        def changes(webhook: Webhook) -> dict[str, object]:
            return {"secrets": rows_json(rotated(webhook.secrets, secret, self._clock())).decode()}

        return await self._with_secret(await self._change(workspace_id, webhook_id, changes), secret)

    async def delete(self, workspace_id: int, webhook_id: str) -> WebhookView:
        """Forget a webhook and what was delivered to it; return it as it was."""
        webhook = await self.find(workspace_id, webhook_id)
        parameters = {"workspace_id": workspace_id, "webhook_id": webhook.webhook_id}
        await self._database.fetch("identity", "delete_webhook", parameters)
        await self.forget_deliveries(workspace_id, webhook.webhook_id, queries.LAST_ID)
        return _view(webhook, await self._store_id())

    async def resend(self, workspace_id: int, webhook_id: str, wanted: Resending) -> WebhookView:
        """Let a webhook go on from another place, back or ahead; ids of messages stay as they were."""
        if (wanted.since is None) == (wanted.after is None):
            raise Problem(422, "invalid_resend", "Say either since, a time, or after, a cursor.")
        if wanted.after is not None:
            position = await self._feed.position_of(wanted.after)
        else:
            moment = queries.read_time_of({"since": str(wanted.since)}, "since")
            assert moment is not None
            end = await self._feed.end(workspace_id)
            # Not past the end: what is still being written there has a lower number than what is there to be found.
            position = min(await self._feed.position_at(workspace_id, moment) or end, end)
        where = {"xid": position.xid, "change_id": position.change_id}
        return _view(await self._change(workspace_id, webhook_id, lambda _: where), await self._store_id())

    async def resend_one(self, workspace_id: int, webhook_id: str, merge_id: str) -> OutcomeView:
        """Send one change now, whatever the webhook's state and types."""
        webhook = await self.find(workspace_id, webhook_id)
        change = await self._feed.find(workspace_id, merge_id.lower())
        if change is None or not change.types:
            raise Problem(404, "change_not_found", "No change of this workspace has this id, or none is left of it.")
        outcome = await self._post(webhook, change.merge_id, message_of(change))
        await self.save_deliveries(webhook, [(change.merge_id, outcome)])
        return _outcome(outcome)

    async def test(self, workspace_id: int, webhook_id: str) -> OutcomeView:
        """Send a message that tells of nothing, of the type ``test``."""
        webhook = await self.find(workspace_id, webhook_id)
        message = Message("test", to_text(self._clock()), {"webhook_id": webhook.webhook_id})
        return _outcome(await self._post(webhook, str(uuid4()), msgspec.json.encode(message)))

    async def list_deliveries(self, workspace_id: int, webhook_id: str, query: Mapping[str, str]) -> DeliveryPage:
        """Return one page of what became of changes."""
        webhook = await self.find(workspace_id, webhook_id)
        limit = queries.read_limit(query)
        not_before, before = queries.read_bounds(query)
        status = queries.read_choice(query, "status", DeliveryStatus)
        parameters = {
            **self._deliveries_of(workspace_id, webhook.webhook_id),
            "before": before,
            "not_before": not_before,
            "is_delivered": None if status is None else status == DeliveryStatus.DELIVERED,
            "rows_max": limit + 1,
        }
        rows = await self._database.fetch("identity", "list_deliveries", parameters)
        items = [_delivery(*row) for row in rows[:limit]]
        return DeliveryPage(items, queries.make_cursor(items[-1].merge_id) if len(rows) > limit else None)

    # What the deliverer needs too.

    async def find(self, workspace_id: int, webhook_id: str) -> Webhook:
        """Return one webhook as it is kept."""
        identifier = read_uuid(webhook_id)
        found = await self._load(workspace_id, identifier) if identifier is not None else []
        if not found:
            raise Problem(404, "webhook_not_found", "No webhook of this workspace has this id.")
        return found[0]

    def sender(self, url: str) -> Sender:
        """Return what posts to a webhook's URL."""
        return Sender(url, allow_private=self._allow_private, resolve=self._resolve)

    async def save_deliveries(self, webhook: Webhook, outcomes: Sequence[tuple[str, Outcome]]) -> None:
        """Remember what became of these changes, one try each."""
        if not outcomes:
            return
        where = self._deliveries_of(webhook.workspace_id, webhook.webhook_id)
        now = to_text(self._clock())
        rows = [
            _DeliveryRow(
                **where,
                change_id=change_id,
                is_delivered=outcome.is_delivered,
                answer=outcome.answer,
                fault=outcome.fault,
                milliseconds=outcome.milliseconds,
                tried_at=now,
            )
            for change_id, outcome in outcomes
        ]
        await self._database.fetch("identity", "save_deliveries", {"rows": rows_json(rows).decode()})

    async def forget_deliveries(self, workspace_id: int, webhook_id: str, before: str) -> None:
        """Forget what became of changes whose ids are lower."""
        parameters = {
            **self._deliveries_of(workspace_id, webhook_id),
            "before": before,
            "rows_max": DELETED_ROWS_MAX,
        }
        while len(await self._database.fetch("identity", "delete_deliveries", parameters)) == DELETED_ROWS_MAX:
            pass

    def _deliveries_of(self, workspace_id: int, webhook_id: str) -> dict[str, Any]:
        bucket = self._spreads.bucket(workspace_id, webhook_id)
        return {"workspace_id": workspace_id, "webhook_id": webhook_id, "bucket": bucket}

    async def _load(self, workspace_id: int, webhook_id: str | None = None) -> list[Webhook]:
        parameters = {"workspace_id": workspace_id, "webhook_id": webhook_id}
        return [webhook_from(row) for row in await self._database.fetch("identity", "list_webhooks", parameters)]

    async def _change(
        self, workspace_id: int, webhook_id: str, changes: Callable[[Webhook], Mapping[str, object]]
    ) -> Webhook:
        for _ in range(ATTEMPTS_MAX):
            webhook = await self.find(workspace_id, webhook_id)
            parameters = {
                **dict.fromkeys(("url", "description", "types", "secrets", "state", "xid", "change_id")),
                **changes(webhook),
                "workspace_id": workspace_id,
                "webhook_id": webhook.webhook_id,
                "turn": webhook.turn,
                "now": to_text(self._clock()),
            }
            rows = await self._database.fetch("identity", "change_webhook", parameters)
            if rows:
                return webhook_from(rows[0])
        raise Problem(409, "webhook_changed", "Somebody else was changing this webhook: try again.")

    async def _check(self, url: str) -> None:
        try:
            check_url(url, allow_private=self._allow_private)
        except WrongUrlError as error:
            raise Problem(422, "invalid_url", str(error)) from error
        sender = self.sender(url)
        try:
            fault = await sender.check()
        finally:
            await sender.close()
        if fault is Fault.REFUSED_ADDRESS:  # a name that leads nowhere yet may do so later
            raise Problem(422, "invalid_url", f"{FAULT_HINTS[fault]} See IDENTITY_WEBHOOK_ALLOW_PRIVATE.")

    async def _post(self, webhook: Webhook, message_id: str, body: bytes) -> Outcome:
        sender = self.sender(webhook.url)
        try:
            return await sender.post(body, signed_headers(message_id, body, webhook.secrets, self._clock()))
        finally:
            await sender.close()

    async def _with_secret(self, webhook: Webhook, secret: str) -> CreatedWebhookView:
        view = _view(webhook, await self._store_id())
        return CreatedWebhookView(**msgspec.structs.asdict(view), secret=secret)

    async def _store_id(self) -> str:
        ((store_id, _),) = await self._database.fetch("identity", "load_feed_store")
        return str(store_id)


def _read_description(value: str) -> str:
    read = read_text(value, DESCRIPTION_CHARACTERS_MAX) if value.strip() else ""
    if isinstance(read, Reason) or read is None:
        raise Problem(
            422, "invalid_description", f"A description is a text of up to {DESCRIPTION_CHARACTERS_MAX} characters."
        )
    return str(read)


def webhook_from(row: Sequence[Any]) -> Webhook:
    """Return the webhook of a query that selects, in order, the columns named here."""
    webhook_id, workspace_id, url, description, types, held, state, turn, xid, change_id = row[:10]
    attempts, failing_since, retry_at, answer, fault, created_at, updated_at = row[10:]
    return Webhook(
        webhook_id=webhook_id,
        workspace_id=workspace_id,
        url=url,
        description=description,
        types=tuple(types),
        secrets=_secrets.decode(held),
        state=Kept(state),
        turn=turn,
        position=Position(xid, change_id),
        attempts=attempts,
        failing_since=failing_since,
        retry_at=retry_at,
        answer=answer,
        fault=None if fault is None else Fault(fault),
        created_at=created_at,
        updated_at=updated_at,
    )


def _view(webhook: Webhook, store_id: str) -> WebhookView:
    is_failing = webhook.state is Kept.ACTIVE and webhook.failing_since is not None
    return WebhookView(
        webhook_id=webhook.webhook_id,
        url=webhook.url,
        description=webhook.description,
        types=[ChangeType(kind) for kind in webhook.types],
        state=State.FAILING if is_failing else State(webhook.state),
        cursor=make_cursor(store_id, webhook.position),
        failing_since=_time(webhook.failing_since),
        attempts=webhook.attempts,
        retry_at=_time(webhook.retry_at),
        answer=webhook.answer,
        fault=webhook.fault,
        hint=None if webhook.fault is None else FAULT_HINTS[webhook.fault],
        created_at=to_text(webhook.created_at),
        updated_at=to_text(webhook.updated_at),
    )


def _time(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else to_text(milliseconds)


def _outcome(outcome: Outcome) -> OutcomeView:
    return OutcomeView(
        status=DeliveryStatus.DELIVERED if outcome.is_delivered else DeliveryStatus.FAILED,
        answer=outcome.answer,
        fault=outcome.fault,
        hint=None if outcome.fault is None else FAULT_HINTS[outcome.fault],
        milliseconds=outcome.milliseconds,
    )


def _delivery(
    change_id: str,
    is_delivered: bool,  # noqa: FBT001 - a row as it is selected
    attempts: int,
    answer: int | None,
    fault: str | None,
    milliseconds: int,
    tried_at: int,
) -> DeliveryView:
    return DeliveryView(
        merge_id=change_id,
        status=DeliveryStatus.DELIVERED if is_delivered else DeliveryStatus.FAILED,
        attempts=attempts,
        answer=answer,
        fault=None if fault is None else Fault(fault),
        hint=None if fault is None else FAULT_HINTS[Fault(fault)],
        milliseconds=milliseconds,
        tried_at=to_text(tried_at),
    )
