"""What the command line does to webhooks, and how it tells of them and of the change feed."""

import argparse
from typing import TYPE_CHECKING, Any

from identity.admin.query import read_limit
from identity.changes import ChangeType
from identity.feed import CHANGES_DEFAULT, CHANGES_MAX, ChangePage
from identity.render import safe, table
from identity.webhooks.endpoints import (
    CreatedWebhookView,
    DeliveryPage,
    NewWebhook,
    OutcomeView,
    Resending,
    WebhookChange,
    WebhookPage,
    WebhookView,
)
from profiles.access import Workspace

if TYPE_CHECKING:
    from identity.app import Service


async def changes(service: "Service", workspace: Workspace, options: argparse.Namespace) -> ChangePage:
    """Return one page of the feed."""
    given = {} if options.limit is None else {"limit": options.limit}
    limit = read_limit(given, default=CHANGES_DEFAULT, most=CHANGES_MAX)
    return await service.feed.page(workspace.workspace_id, options.after, limit)


async def listed(service: "Service", workspace: Workspace, _: argparse.Namespace) -> WebhookPage:
    """Return all webhooks."""
    return await service.webhooks.list_all(workspace.workspace_id)


async def create(service: "Service", workspace: Workspace, options: argparse.Namespace) -> CreatedWebhookView:
    """Make a webhook."""
    new = NewWebhook(options.url, options.description or "", _types(options), options.from_beginning)
    return await service.webhooks.create(workspace.workspace_id, new)


async def change(service: "Service", workspace: Workspace, options: argparse.Namespace) -> WebhookView:
    """Change a webhook."""
    values = {"url": options.url, "description": options.description, "active": options.active}
    given: dict[str, Any] = {name: value for name, value in values.items() if value is not None}
    if options.types or options.all_types:
        given["types"] = _types(options)
    return await service.webhooks.change(workspace.workspace_id, options.id, WebhookChange(**given))


async def rotate(service: "Service", workspace: Workspace, options: argparse.Namespace) -> CreatedWebhookView:
    """Give a webhook a new secret."""
    return await service.webhooks.rotate(workspace.workspace_id, options.id)


async def delete(service: "Service", workspace: Workspace, options: argparse.Namespace) -> WebhookView:
    """Forget a webhook."""
    return await service.webhooks.delete(workspace.workspace_id, options.id)


async def test(service: "Service", workspace: Workspace, options: argparse.Namespace) -> OutcomeView:
    """Send a message that tells of nothing."""
    return await service.webhooks.test(workspace.workspace_id, options.id)


async def deliveries(service: "Service", workspace: Workspace, options: argparse.Namespace) -> DeliveryPage:
    """Return one page of what became of changes."""
    names = ("status", "from", "to", "limit", "cursor")
    query = {name: value for name in names if (value := getattr(options, name)) is not None}
    return await service.webhooks.list_deliveries(workspace.workspace_id, options.id, query)


async def resend(service: "Service", workspace: Workspace, options: argparse.Namespace) -> WebhookView | OutcomeView:
    """Send one change again, or let a webhook go on from another place."""
    if options.merge_id is not None:
        return await service.webhooks.resend_one(workspace.workspace_id, options.id, options.merge_id)
    return await service.webhooks.resend(
        workspace.workspace_id, options.id, Resending(since=options.since, after=options.after)
    )


def _types(options: argparse.Namespace) -> list[ChangeType]:
    return [ChangeType(kind) for kind in options.types or ()]


def render(view: object) -> str:
    """Return what a person reads."""
    if isinstance(view, ChangePage):
        head = ("RECEIVED AT", "CUSTOMER", "VERSION", "TYPES", "FIELDS", "EVENT", "MERGE")
        rows = [
            (c.received_at, c.customer_id or c.customer_hash, c.version, c.types, c.fields, c.event, c.merge_id)
            for c in view.items
        ]
        more = "More" if view.has_more else "Later ones"
        shown = table(head, rows) if rows else "Nothing changed."
        return f"{shown}\n\n{more}: identity changes --after {view.next_cursor}"
    if isinstance(view, WebhookPage):
        return _webhooks(view.items) if view.items else "There is no webhook. Make one: identity webhook create URL"
    if isinstance(view, CreatedWebhookView):
        return f"{_webhooks([view])}\n\nSecret  {view.secret}   (shown this once)"
    if isinstance(view, WebhookView):
        return _webhooks([view])
    if isinstance(view, DeliveryPage):
        return _deliveries(view)
    assert isinstance(view, OutcomeView)
    told = view.hint or f"It answered {view.answer}."
    return f"{view.status} after {view.milliseconds} ms. {safe(told)}"


def _webhooks(views: list[WebhookView] | list[CreatedWebhookView]) -> str:
    head = ("WEBHOOK", "URL", "TYPES", "STATE", "SINCE", "ATTEMPTS", "LAST FAULT", "DESCRIPTION")
    rows = [
        (
            v.webhook_id,
            v.url,
            v.types or "all",
            v.state,
            v.failing_since,
            v.attempts,
            v.hint and f"{v.fault} {v.answer or ''}".strip(),
            v.description,
        )
        for v in views
    ]
    return table(head, rows)


def _deliveries(page: DeliveryPage) -> str:
    head = ("MERGE", "STATUS", "ATTEMPTS", "ANSWER", "FAULT", "MS", "TRIED AT")
    rows = [(d.merge_id, d.status, d.attempts, d.answer, d.fault, d.milliseconds, d.tried_at) for d in page.items]
    more = f"\n\nMore: --cursor {page.next_cursor}" if page.next_cursor else ""
    return (table(head, rows) if rows else "Nothing was delivered.") + more
