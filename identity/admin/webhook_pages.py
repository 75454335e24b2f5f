"""The inspector's pages of webhooks: who is told of changes, how that goes, and what to do when it does not."""

from typing import Protocol

from identity.admin.query import read_query
from identity.admin.visits import (
    Pages,
    Show,
    Visit,
    address,
    given,
    not_of_this_page,
    read_moment,
    redirect,
    require_confirmation,
    status_of,
)
from identity.changes import ChangeType
from identity.webhooks.endpoints import (
    DELIVERY_FILTERS,
    DeliveryStatus,
    NewWebhook,
    OutcomeView,
    Resending,
    WebhookChange,
    Webhooks,
)
from profiles.clock import to_text
from profiles.http import Problem, Response


class Parts(Protocol):
    """What of a service is needed here."""

    webhooks: Webhooks


class WebhookPages:
    """All webhooks of the workspace, and each of them."""

    def __init__(self, service: Parts, show: Show) -> None:
        self._webhooks = service.webhooks
        self._show = show

    def pages(self) -> Pages:
        """Return the pages by method and address."""
        return {
            ("GET", "/webhooks"): self._all_page,
            ("POST", "/webhooks"): self._create,
            ("GET", "/webhook"): self._one_page,
            ("POST", "/webhook"): self._act,
        }

    async def _all_page(self, visit: Visit, problem: Problem | None = None) -> Response:
        page = await self._webhooks.list_all(visit.workspace_id)
        return self._show(
            visit,
            "webhooks.html",
            status=status_of(problem),
            problem=problem,
            page=page,
            types=list(ChangeType),
            form=visit.form,
        )

    async def _create(self, visit: Visit) -> Response:
        form = visit.form
        new = NewWebhook(
            url=form.get("url", "").strip(),
            description=form.get("description", "").strip(),
            types=_types(form),
            from_beginning=form.get("from_beginning") == "on",
        )
        try:
            made = await self._webhooks.create(visit.workspace_id, new)
        except Problem as problem:
            return await self._all_page(visit, problem)
        return await self._one(visit, made.webhook_id, done="webhooks.created", secret=made.secret)

    async def _one_page(self, visit: Visit) -> Response:
        return await self._one(visit, visit.named("webhook_id"))

    async def _one(
        self,
        visit: Visit,
        webhook_id: str,
        *,
        problem: Problem | None = None,
        done: str = "",
        secret: str | None = None,
        outcome: OutcomeView | None = None,
    ) -> Response:
        webhook = await self._webhooks.show(visit.workspace_id, webhook_id)
        query = given(read_query(visit.request, (*DELIVERY_FILTERS, "webhook_id")))
        page = await self._webhooks.list_deliveries(visit.workspace_id, webhook_id, query)
        following = None
        if page.next_cursor is not None:
            asked = {**query, "webhook_id": webhook.webhook_id, "cursor": page.next_cursor}
            following = address("/webhook", **asked)
        return self._show(
            visit,
            "webhook.html",
            status=status_of(problem),
            problem=problem,
            webhook=webhook,
            page=page,
            following=following,
            done=done,
            secret=secret,
            outcome=outcome,
            types=list(ChangeType),
            form=visit.form if problem is not None else {},
            statuses=list(DeliveryStatus),
            status_asked=query.get("status", ""),
        )

    async def _act(self, visit: Visit) -> Response:
        webhook_id = visit.form.get("webhook_id", "")
        try:
            return await self._done(visit, webhook_id)
        except Problem as problem:
            if problem.code == "webhook_not_found":
                raise
            return await self._one(visit, webhook_id, problem=problem)

    async def _done(self, visit: Visit, webhook_id: str) -> Response:
        form, workspace_id, webhooks = visit.form, visit.workspace_id, self._webhooks
        match form.get("action"):
            case "test":
                outcome = await webhooks.test(workspace_id, webhook_id)
                return await self._one(visit, webhook_id, outcome=outcome)
            case "resend_one":
                outcome = await webhooks.resend_one(workspace_id, webhook_id, form.get("merge_id", ""))
                return await self._one(visit, webhook_id, outcome=outcome)
            case "pause" | "resume":
                await webhooks.change(workspace_id, webhook_id, WebhookChange(active=form["action"] == "resume"))
                return redirect(address("/webhook", webhook_id=webhook_id))
            case "change":
                wanted = WebhookChange(
                    url=form.get("url", "").strip(), description=form.get("description", "").strip(), types=_types(form)
                )
                await webhooks.change(workspace_id, webhook_id, wanted)
                return redirect(address("/webhook", webhook_id=webhook_id))
            case "rotate":
                made = await webhooks.rotate(workspace_id, webhook_id)
                return await self._one(visit, webhook_id, done="webhooks.rotated", secret=made.secret)
            case "resend":
                since = read_moment(form.get("since", ""))
                wanted_since = None if since is None else to_text(since)
                await webhooks.resend(workspace_id, webhook_id, Resending(since=wanted_since))
                return await self._one(visit, webhook_id, done="webhooks.resending")
            case "delete":
                require_confirmation(form)
                await webhooks.delete(workspace_id, webhook_id)
                return redirect(address("/webhooks"))
            case _:
                raise not_of_this_page()


def _types(form: dict[str, str]) -> list[ChangeType]:
    return [kind for kind in ChangeType if form.get(f"type:{kind}") == "on"]
