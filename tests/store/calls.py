"""Requests to the parts of one worker in this process, past the sockets: the same functions that HTTP calls."""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import psycopg

from identity.app import Service
from identity.events.identity import Event
from identity.parse import read_events
from identity.resolve import Outcome
from identity.tolerant import read_array
from profiles.http import Endpoint, Request, Response, answer
from tests.harness import ADMIN_KEY, WRITE_KEY

KEEPING_KEY = "wk_test_write_key_keep"
"""The write key of a channel that keeps the link on sign-out (``add_keeping_channel``)."""

Sent = Mapping[str, Any]


def request(method: str, path: str, body: object = None, *, query: str = "", **headers: str) -> Request:
    """Return a request as the endpoints see it."""
    content = b"" if body is None else json.dumps(body).encode()

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": content, "more_body": False}

    named = {name.replace("_", "-").lower().encode(): value.encode() for name, value in headers.items()}
    scope = {"path": path, "raw_path": path.encode(), "query_string": query.encode()}
    return Request(method, named, scope, receive)


async def call(endpoint: Endpoint, asked: Request) -> tuple[int, Any]:
    """Return status and JSON of an answer."""
    response: Response = await answer("test", endpoint, asked)
    return response.status, json.loads(response.body) if response.body else None


async def post_events(service: Service, *events: Sent, write_key: str = WRITE_KEY) -> tuple[int, Any]:
    """Send events in one request."""
    asked = request("POST", "/api/v1/events", {"events": events}, x_write_key=write_key)
    return await call(service.events.events, asked)


async def authenticate(service: Service, body: Sent, *, write_key: str = WRITE_KEY) -> tuple[int, Any]:
    """Push one identity."""
    return await call(service.events.authenticate, request("POST", "/api/v1/authenticate", body, x_write_key=write_key))


async def look_up(service: Service, customer_id: str, *, key: str = ADMIN_KEY) -> tuple[int, Any]:
    """Ask for one customer, by the path that may be answered by the cache."""
    path = f"/api/v1/customers/{quote(customer_id, safe='')}"
    return await call(service.customers.dispatch, request("GET", path, authorization=f"Bearer {key}"))


async def find_visitors(service: Service, *visitor_ids: str) -> list[list[str]]:
    """Return, per visitor, the ids of the customers whose it is now."""
    asked = request(
        "POST", "/api/v1/customers/lookup", {"visitor_ids": visitor_ids}, authorization=f"Bearer {ADMIN_KEY}"
    )
    status, found = await call(service.customers.dispatch, asked)
    assert status == 200
    return [[customer["customer_id"] for customer in result["customers"]] for result in found["results"]]


def read(service: Service, *sent: Sent, received_at: int, write_key: str = WRITE_KEY) -> list[Event]:
    """Return the events as the route would hand them to the intake."""
    channel = service.channels.find(write_key)
    items = read_array(json.dumps(sent).encode())
    assert channel is not None
    assert items is not None
    return read_events(items, channel.sender, received_at)


async def submit(service: Service, *sent: Sent, received_at: int, write_key: str = WRITE_KEY) -> list[Outcome]:
    """Have events decided and committed."""
    return await commit(service, read(service, *sent, received_at=received_at, write_key=write_key))


async def commit(service: Service, events: Sequence[Event]) -> list[Outcome]:
    """Have events committed that were read already."""
    outcomes: list[Outcome] = []
    for outcome in await service.intake.submit(events):
        if isinstance(outcome, Exception):
            raise outcome
        outcomes.append(outcome)
    return outcomes


def add_keeping_channel(database: str) -> None:
    """Make a second channel, which ignores sign-outs."""
    with psycopg.connect(database) as connection:
        connection.execute(
            "INSERT INTO channel (channel_id, workspace_id, name, write_key, website_tracking, origins, on_sign_out,"
            " created_at) SELECT gen_random_uuid(), workspace_id, 'Keeps', %s, true, origins, 'keep', created_at"
            " FROM channel LIMIT 1",
            [KEEPING_KEY],
        )
        connection.execute("UPDATE store SET generation = generation + 1")
