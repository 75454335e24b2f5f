"""The admin JSON API: ordinary Litestar handlers; bodies are read raw, for a typed one answers 500 to broken bytes."""

import time
from typing import Any, Protocol
from urllib.parse import quote

from litestar import Request as LitestarRequest
from litestar import Response as LitestarResponse
from litestar import Router, delete, get, patch, post
from litestar.datastructures import CacheControlHeader
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, SkipValidation
from litestar.types import ASGIApp, ControllerRouterHandler, Message, Receive, Send
from litestar.types import Scope as AsgiScope

from identity.acts import Acts
from identity.admin.acts import (
    BulkAsked,
    BulkPreview,
    OperationList,
    OperationView,
    Takebacks,
    UndoAsked,
    UndoView,
    UnlinkView,
)
from identity.admin.changes import (
    PAGE_PARAMETERS,
    Changes,
    ChannelChange,
    ChannelPage,
    KeyPage,
    NewChannel,
    NewKey,
    WorkspaceChange,
)
from identity.admin.joining import DismissAsked, SuggestionPage, SuggestionRoutes
from identity.admin.ledger import MERGE_FILTERS, REFUSAL_FILTERS, Ledger, MergePage, RefusalPage
from identity.admin.query import next_link, read_body, read_query
from identity.administration import ChannelView, CreatedKeyView, KeyView, WorkspaceView
from identity.bulk_undo import BulkUndo
from identity.operation_log import OperationLog
from identity.routes import now_milliseconds
from identity.webhooks.endpoints import (
    DELIVERY_FILTERS,
    CreatedWebhookView,
    DeliveryPage,
    NewWebhook,
    OutcomeView,
    Resending,
    WebhookChange,
    WebhookPage,
    Webhooks,
    WebhookView,
)
from profiles import metrics
from profiles.access import Access, Scope, SecretKey
from profiles.database import Database
from profiles.http import Request
from profiles.idempotency import Idempotency
from profiles.store import Spreads
from profiles.suggestions import Suggestions
from profiles.views import MergeView

ADMIN_PATH = "/api/v1/admin"

Incoming = LitestarRequest[Any, Any, Any]
Admin = NamedDependency[SkipValidation[SecretKey]]
"""The key of the request, which has the scope ``admin``. What is asked for or changed is of its workspace."""


class Parts(Protocol):
    """What of a service is needed here."""

    database: Database
    access: Access
    spreads: Spreads
    webhooks: Webhooks
    acts: Acts
    bulk: BulkUndo
    operation_log: OperationLog
    suggestions: Suggestions
    idempotency: Idempotency


def admin_handlers(service: Parts) -> list[ControllerRouterHandler]:
    """Return the handlers below ``ADMIN_PATH``."""

    async def authorize(request: Incoming) -> SecretKey:
        return await service.access.authorize(_request(request), Scope.ADMIN)

    def once(app: ASGIApp) -> ASGIApp:
        # Not the method itself: Litestar copies its middleware, deeply.
        return service.idempotency.wrap(app)

    handlers = [
        *_ledger_handlers(Ledger(service.database, service.spreads)),
        *_undo_handlers(Takebacks(service.database, service.acts, service.bulk, service.operation_log)),
        *_suggestion_handlers(SuggestionRoutes(service.suggestions)),
        *_workspace_handlers(Changes(service.database, service.access)),
        *_channel_handlers(Changes(service.database, service.access)),
        *_key_handlers(Changes(service.database, service.access)),
        *_webhook_handlers(service.webhooks),
    ]
    return [
        Router(
            ADMIN_PATH,
            route_handlers=handlers,
            dependencies={"key": Provide(authorize)},
            middleware=[_measured, once],
            cache_control=CacheControlHeader(no_store=True),
        )
    ]


def _ledger_handlers(ledger: Ledger) -> list[ControllerRouterHandler]:
    @get("/merges", status_code=200)
    async def list_merges(request: Incoming, key: Admin) -> LitestarResponse[MergePage]:
        query = read_query(_request(request), MERGE_FILTERS)
        page = await ledger.list_merges(key.workspace_id, query)
        return LitestarResponse(page, headers=next_link(f"{ADMIN_PATH}/merges", query, page.next_cursor))

    @get("/merges/{merge_id:str}", status_code=200)
    async def find_merge(merge_id: FromPath[str], key: Admin) -> MergeView:
        return await ledger.find_merge(key.workspace_id, merge_id)

    @get("/refusals", status_code=200)
    async def list_refusals(request: Incoming, key: Admin) -> LitestarResponse[RefusalPage]:
        query = read_query(_request(request), REFUSAL_FILTERS)
        page = await ledger.list_refusals(key.workspace_id, query)
        return LitestarResponse(page, headers=next_link(f"{ADMIN_PATH}/refusals", query, page.next_cursor))

    return [list_merges, find_merge, list_refusals]


def _undo_handlers(takebacks: Takebacks) -> list[ControllerRouterHandler]:
    @post("/merges/{merge_id:str}/undo", status_code=200)
    async def undo_merge(request: Incoming, merge_id: FromPath[str], key: Admin) -> UndoView:
        asked = await read_body(_request(request), UndoAsked)
        return await takebacks.undo_merge(key.workspace_id, merge_id, asked, key.actor)

    @post("/identifications/{identification_id:str}/undo", status_code=200)
    async def undo_identification(request: Incoming, identification_id: FromPath[str], key: Admin) -> UnlinkView:
        asked = await read_body(_request(request), UndoAsked)
        return await takebacks.undo_identification(key.workspace_id, identification_id, asked, key.actor)

    @post("/undo", status_code=200)
    async def undo_many(request: Incoming, key: Admin) -> LitestarResponse[BulkPreview | OperationView]:
        asked = await read_body(_request(request), BulkAsked)
        return LitestarResponse(await takebacks.undo_many(key.workspace_id, asked, key.actor, now_milliseconds()))

    @get("/operations", status_code=200)
    async def list_operations(key: Admin) -> OperationList:
        return await takebacks.operations(key.workspace_id)

    @get("/operations/{operation_id:str}", status_code=200)
    async def find_operation(operation_id: FromPath[str], key: Admin) -> OperationView:
        return await takebacks.operation(key.workspace_id, operation_id)

    return [undo_merge, undo_identification, undo_many, list_operations, find_operation]


def _suggestion_handlers(suggestions: SuggestionRoutes) -> list[ControllerRouterHandler]:
    @get("/suggestions", status_code=200)
    async def list_suggestions(request: Incoming, key: Admin) -> LitestarResponse[SuggestionPage]:
        page, following = await suggestions.page(_request(request), key)
        link = {} if following is None else {"link": f'<{ADMIN_PATH}/suggestions?{following}>; rel="next"'}
        return LitestarResponse(page, headers=link)

    @post("/suggestions/dismiss", status_code=200)
    async def dismiss_suggestion(request: Incoming, key: Admin) -> DismissAsked:
        return await suggestions.dismiss(_request(request), key)

    return [list_suggestions, dismiss_suggestion]


def _workspace_handlers(changes: Changes) -> list[ControllerRouterHandler]:
    @get("/workspace", status_code=200)
    async def find_workspace(key: Admin) -> WorkspaceView:
        return await changes.find_workspace(key.workspace_id)

    @patch("/workspace", status_code=200)
    async def change_workspace(request: Incoming, key: Admin) -> WorkspaceView:
        wanted = await read_body(_request(request), WorkspaceChange)
        return await changes.change_workspace(key.workspace_id, wanted)

    return [find_workspace, change_workspace]


def _channel_handlers(changes: Changes) -> list[ControllerRouterHandler]:
    @get("/channels", status_code=200)
    async def list_channels(request: Incoming, key: Admin) -> LitestarResponse[ChannelPage]:
        query = read_query(_request(request), PAGE_PARAMETERS)
        page = await changes.list_channels(key.workspace_id, query)
        return LitestarResponse(page, headers=next_link(f"{ADMIN_PATH}/channels", query, page.next_cursor))

    @post("/channels", status_code=200)
    async def create_channel(request: Incoming, key: Admin) -> ChannelView:
        return await changes.create_channel(key.workspace_id, await read_body(_request(request), NewChannel))

    @get("/channels/{channel_id:str}", status_code=200)
    async def find_channel(channel_id: FromPath[str], key: Admin) -> ChannelView:
        return await changes.find_channel(key.workspace_id, channel_id)

    @patch("/channels/{channel_id:str}", status_code=200)
    async def change_channel(request: Incoming, channel_id: FromPath[str], key: Admin) -> ChannelView:
        wanted = await read_body(_request(request), ChannelChange)
        return await changes.change_channel(key.workspace_id, channel_id, wanted)

    @delete("/channels/{channel_id:str}", status_code=200)
    async def revoke_channel(channel_id: FromPath[str], key: Admin) -> ChannelView:
        return await changes.revoke_channel(key.workspace_id, channel_id)

    return [list_channels, create_channel, find_channel, change_channel, revoke_channel]


def _key_handlers(changes: Changes) -> list[ControllerRouterHandler]:
    @get("/keys", status_code=200)
    async def list_keys(request: Incoming, key: Admin) -> LitestarResponse[KeyPage]:
        query = read_query(_request(request), PAGE_PARAMETERS)
        page = await changes.list_keys(key.workspace_id, query)
        return LitestarResponse(page, headers=next_link(f"{ADMIN_PATH}/keys", query, page.next_cursor))

    @post("/keys", status_code=200)
    async def create_key(request: Incoming, key: Admin) -> CreatedKeyView:
        return await changes.create_key(key.workspace_id, await read_body(_request(request), NewKey))

    @delete("/keys/{key_id:str}", status_code=200)
    async def revoke_key(key_id: FromPath[str], key: Admin) -> KeyView:
        return await changes.revoke_key(key.workspace_id, key_id)

    return [list_keys, create_key, revoke_key]


def _webhook_handlers(webhooks: Webhooks) -> list[ControllerRouterHandler]:
    @get("/webhooks", status_code=200)
    async def list_webhooks(key: Admin) -> WebhookPage:
        return await webhooks.list_all(key.workspace_id)

    @post("/webhooks", status_code=200)
    async def create_webhook(request: Incoming, key: Admin) -> CreatedWebhookView:
        return await webhooks.create(key.workspace_id, await read_body(_request(request), NewWebhook))

    @get("/webhooks/{webhook_id:str}", status_code=200)
    async def find_webhook(webhook_id: FromPath[str], key: Admin) -> WebhookView:
        return await webhooks.show(key.workspace_id, webhook_id)

    @patch("/webhooks/{webhook_id:str}", status_code=200)
    async def change_webhook(request: Incoming, webhook_id: FromPath[str], key: Admin) -> WebhookView:
        wanted = await read_body(_request(request), WebhookChange)
        return await webhooks.change(key.workspace_id, webhook_id, wanted)

    @delete("/webhooks/{webhook_id:str}", status_code=200)
    async def delete_webhook(webhook_id: FromPath[str], key: Admin) -> WebhookView:
        return await webhooks.delete(key.workspace_id, webhook_id)

    @post("/webhooks/{webhook_id:str}/rotate", status_code=200)
    async def rotate_secret(webhook_id: FromPath[str], key: Admin) -> CreatedWebhookView:
        return await webhooks.rotate(key.workspace_id, webhook_id)

    @post("/webhooks/{webhook_id:str}/test", status_code=200)
    async def test_webhook(webhook_id: FromPath[str], key: Admin) -> OutcomeView:
        return await webhooks.test(key.workspace_id, webhook_id)

    @post("/webhooks/{webhook_id:str}/resend", status_code=200)
    async def resend(request: Incoming, webhook_id: FromPath[str], key: Admin) -> WebhookView:
        return await webhooks.resend(key.workspace_id, webhook_id, await read_body(_request(request), Resending))

    @get("/webhooks/{webhook_id:str}/deliveries", status_code=200)
    async def list_deliveries(
        request: Incoming, webhook_id: FromPath[str], key: Admin
    ) -> LitestarResponse[DeliveryPage]:
        query = read_query(_request(request), DELIVERY_FILTERS)
        page = await webhooks.list_deliveries(key.workspace_id, webhook_id, query)
        path = f"{ADMIN_PATH}/webhooks/{quote(webhook_id, safe='')}/deliveries"
        return LitestarResponse(page, headers=next_link(path, query, page.next_cursor))

    @post("/webhooks/{webhook_id:str}/deliveries/{merge_id:str}/resend", status_code=200)
    async def resend_one(webhook_id: FromPath[str], merge_id: FromPath[str], key: Admin) -> OutcomeView:
        return await webhooks.resend_one(key.workspace_id, webhook_id, merge_id)

    return [
        list_webhooks, create_webhook, find_webhook, change_webhook, delete_webhook, rotate_secret, test_webhook,
        resend, list_deliveries, resend_one,
    ]  # fmt: skip


def _request(request: Incoming) -> Request:
    """Return the request as the raw endpoints see it: keys, queries and bodies are read in one way everywhere."""
    scope: Any = request.scope
    return Request(scope["method"], dict(scope["headers"]), scope, request.receive)


def _measured(app: ASGIApp) -> ASGIApp:
    """Count answers and time as ``asgi_app`` does, under the path as it stands in the documentation."""

    async def measured(scope: AsgiScope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        status = 500

        async def observe(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await app(scope, receive, observe)
        finally:
            metrics.timer(scope["path_template"])(status, time.perf_counter() - started)

    return measured
