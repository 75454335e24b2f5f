"""What pushes the feed to webhooks: a task in every worker, which share the webhooks out by leases on their rows.

A webhook is one worker's for as long as that one renews its lease; whoever finds a lease run out takes over from the
position that was saved last. It is saved after the receiver has answered, so that a worker that dies loses nothing:
what it had sent and not saved is sent once more, with the same webhook-id. Changes of one customer arrive in their
order, each after the one before was taken; those of several customers go side by side. A change that cannot be
delivered holds up those behind it: what is passed over would be lost, or come when it is no longer true.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple
from uuid import uuid4

import msgspec

from identity.feed import Change, Feed, Position, Stretch
from identity.webhooks.endpoints import Kept, Webhook, Webhooks, webhook_from
from identity.webhooks.message import is_hopeless, message_of, pause_milliseconds, signed_headers
from identity.webhooks.sending import Outcome, Sender
from profiles import metrics
from profiles.clock import make_id, to_text
from profiles.database import Database, Unavailable
from profiles.http import Problem, log_fault

POLL_SECONDS = 1.0
LEASE_SECONDS = 20.0
"""How long a webhook waits after its worker was killed. Hosts' clocks may differ by less than this."""
RENEW_SECONDS = 5.0
ROWS_MAX = 200
"""Rows of the ledger read at once for a webhook."""
IN_FLIGHT_MAX = 8
"""Messages to one webhook at once, each of another customer."""
DELIVERY_DAYS_KEPT = 30
SWEEP_SECONDS = 3600.0

_DAY_MILLISECONDS = 86_400_000
_GONE = 410

log = logging.getLogger(__name__)


class _Round(NamedTuple):
    """What came of a stretch of changes: how far all are done with, every outcome, and the first failure."""

    position: Position
    outcomes: list[tuple[str, Outcome]]
    failure: Outcome | None


class Deliverer:
    """The deliverer of one worker."""

    def __init__(self, database: Database, feed: Feed, webhooks: Webhooks, clock: Callable[[], int]) -> None:
        self._database = database
        self._feed = feed
        self._webhooks = webhooks
        self._clock = clock
        self._worker = str(uuid4())
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._turns: dict[str, int] = {}
        self._next_renewal = 0
        self._next_sweep = 0
        self._reading = asyncio.Semaphore(1)  # of the few connections, the events have the others

    async def run_for_ever(self) -> None:
        """Look for webhooks that nobody serves, serve them, and keep the leases up."""
        self._next_sweep = self._clock() + int(random.uniform(0.5, 1.0) * SWEEP_SECONDS * 1000)  # noqa: S311
        while True:
            await _calmly(self._look_around)
            await asyncio.sleep(random.uniform(0.5, 1.0) * POLL_SECONDS)  # noqa: S311 - no secret

    async def close(self) -> None:
        """Leave the webhooks to others, at once if the database hears of it."""
        served = list(self._tasks)
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._tasks.clear()
        if served:
            await _calmly(lambda: self._renew(served, until=0))

    async def _look_around(self) -> None:
        rows = await self._database.fetch("identity", "load_webhooks")
        now = self._clock()
        states = dict.fromkeys(metrics.WEBHOOK_STATES, 0)
        turns: dict[str, int] = {}
        free: list[str] = []
        for webhook_id, _, state, is_failing, turn, leased_by, leased_until in rows:
            states["failing" if state == Kept.ACTIVE and is_failing else state] += 1
            is_own = leased_by == self._worker
            if is_own:
                turns[webhook_id] = turn
            if state == Kept.ACTIVE and (is_own or leased_until is None or leased_until < now):
                free.append(webhook_id)
        for state, count in states.items():
            metrics.WEBHOOKS.labels(state).set(count)
        for webhook_id, task in list(self._tasks.items()):
            if turns.get(webhook_id) != self._turns.get(webhook_id):  # an admin changed it, or another worker has it
                task.cancel()
        for webhook_id in free:
            if webhook_id not in self._tasks:
                await self._take(webhook_id)
        if self._tasks and now >= self._next_renewal:
            self._next_renewal = now + int(RENEW_SECONDS * 1000)
            await self._renew(list(self._tasks), until=now + int(LEASE_SECONDS * 1000))
        if now >= self._next_sweep:
            self._next_sweep = now + int(SWEEP_SECONDS * 1000)
            oldest = make_id(now - DELIVERY_DAYS_KEPT * _DAY_MILLISECONDS, 0, 0)
            for webhook_id, workspace_id, *_ in rows:
                await self._webhooks.forget_deliveries(workspace_id, webhook_id, oldest)

    async def _take(self, webhook_id: str) -> None:
        now = self._clock()
        parameters = {
            "webhook_id": webhook_id,
            "worker": self._worker,
            "now": to_text(now),
            "until": to_text(now + int(LEASE_SECONDS * 1000)),
        }
        rows = await self._database.fetch("identity", "lease_webhook", parameters)
        if rows:
            webhook = webhook_from(rows[0])
            self._turns[webhook_id] = webhook.turn
            task = asyncio.create_task(self._serve(webhook))
            self._tasks[webhook_id] = task
            task.add_done_callback(lambda _: self._tasks.pop(webhook_id, None))

    async def _renew(self, webhook_ids: Sequence[str], *, until: int) -> None:
        parameters = {"worker": self._worker, "webhook_ids": list(webhook_ids), "until": to_text(until)}
        await self._database.fetch("identity", "renew_webhooks", parameters)

    async def _serve(self, webhook: Webhook) -> None:
        """Deliver to one webhook until it is paused, changed or taken away."""
        sender = self._webhooks.sender(webhook.url)
        done: set[str] = set()
        try:
            held: Webhook | None = webhook
            while held is not None and held.state is Kept.ACTIVE:
                held = await self._step(held, sender, done)
        except (Unavailable, OSError):
            log.warning("webhook left alone: the database is away")
            await asyncio.sleep(RENEW_SECONDS)
        except Problem as problem:
            log.warning("webhook left alone", extra={"error": [problem.code]})
            await asyncio.sleep(RENEW_SECONDS)
        except Exception as error:  # noqa: BLE001 - it is taken up again
            log_fault("webhook", error)
            await asyncio.sleep(RENEW_SECONDS)
        finally:
            await sender.close()

    async def _step(self, webhook: Webhook, sender: Sender, done: set[str]) -> Webhook | None:
        """Deliver what comes next, and return the webhook as it is then; None if it is this worker's no longer."""
        if webhook.retry_at is not None and (pause := webhook.retry_at - self._clock()) > 0:
            await asyncio.sleep(pause / 1000)
        async with self._reading:
            stretch = await self._feed.read(webhook.workspace_id, webhook.position, ROWS_MAX)
        if stretch.end == webhook.position:
            await asyncio.sleep(random.uniform(0.5, 1.0) * POLL_SECONDS)  # noqa: S311 - no secret
            return webhook
        came = await self._deliver(webhook, stretch, sender, done)
        await self._webhooks.save_deliveries(webhook, came.outcomes)
        after = self._judge(webhook, came)
        return after if await self._save(after) else None

    async def _deliver(self, webhook: Webhook, stretch: Stretch, sender: Sender, done: set[str]) -> _Round:
        """Send what the webhook wants of a stretch. ``done`` has what was taken in an earlier try of the same."""
        outcomes: list[tuple[str, Outcome]] = []
        failures: list[Outcome] = []
        flights = asyncio.Semaphore(IN_FLIGHT_MAX)
        wanted = [(position, change) for position, change in stretch.changes if webhook.wants(change)]
        lanes: dict[str | None, list[Change]] = {}
        for _, change in wanted:
            lanes.setdefault(change.customer_id or change.customer_hash, []).append(change)

        async def fly(changes: Sequence[Change]) -> None:
            for change in changes:
                async with flights:
                    if change.merge_id in done:
                        continue
                    if failures:
                        return
                    body = message_of(change)
                    headers = signed_headers(change.merge_id, body, webhook.secrets, self._clock())
                    outcome = await sender.post(body, headers)
                    outcomes.append((change.merge_id, outcome))
                    metrics.WEBHOOK_MESSAGES.labels(outcome.fault or "delivered").inc()
                    if not outcome.is_delivered:
                        failures.append(outcome)
                        return
                    done.add(change.merge_id)

        await asyncio.gather(*map(fly, lanes.values()))
        position = webhook.position
        for reached, change in wanted:
            if change.merge_id not in done:
                return _Round(position, outcomes, failures[0])
            position = reached
        done.clear()
        return _Round(stretch.end, outcomes, None)

    def _judge(self, webhook: Webhook, came: _Round) -> Webhook:
        moved = msgspec.structs.replace(webhook, position=came.position)
        if came.failure is None:
            return msgspec.structs.replace(
                moved, attempts=0, failing_since=None, retry_at=None, answer=None, fault=None
            )
        now = self._clock()
        has_moved = came.position != webhook.position
        failing_since = now if has_moved or webhook.failing_since is None else webhook.failing_since
        attempts = 1 if has_moved else webhook.attempts + 1
        state = Kept.ACTIVE
        if came.failure.answer == _GONE:
            state = Kept.GONE
        elif is_hopeless(failing_since, now):
            state = Kept.FAILED
        return msgspec.structs.replace(
            moved,
            state=state,
            attempts=attempts,
            failing_since=failing_since,
            retry_at=now + pause_milliseconds(attempts, random.random()),  # noqa: S311 - no secret
            answer=came.failure.answer,
            fault=came.failure.fault,
        )

    async def _save(self, webhook: Webhook) -> bool:
        parameters = {
            "webhook_id": webhook.webhook_id,
            "worker": self._worker,
            "turn": webhook.turn,
            "state": webhook.state,
            "xid": webhook.position.xid,
            "change_id": webhook.position.change_id,
            "attempts": webhook.attempts,
            "failing_since": None if webhook.failing_since is None else to_text(webhook.failing_since),
            "retry_at": None if webhook.retry_at is None else to_text(webhook.retry_at),
            "answer": webhook.answer,
            "fault": webhook.fault,
        }
        return bool(await self._database.fetch("identity", "save_webhook", parameters))


async def _calmly(work: Callable[[], Awaitable[None]]) -> None:
    """Do it; what goes wrong is logged, for it is done again soon."""
    try:
        await work()
    except (Unavailable, OSError):
        log.warning("webhooks wait: the database is away")
    except Exception as error:  # noqa: BLE001 - the task must live on
        log_fault("webhooks", error)
