"""What the service tells of what a client sent, through its public API alone."""

import contextlib
import time
from collections.abc import Callable
from typing import Any

from tests.harness import Server

WAIT_SECONDS_MAX = 30.0


def customer(server: Server, customer_id: str) -> Any:
    """Return the lookup's answer."""
    response = server.get(f"/api/v1/customers/{customer_id}")
    assert response.status_code == 200, response.text
    return response.json()


def fields(server: Server, customer_id: str) -> Any:
    """Return what is held of the customer."""
    return customer(server, customer_id)["fields"]


def visitors(server: Server, customer_id: str) -> dict[str, bool]:
    """Return the customer's visitors, and of each whether it is theirs now."""
    return {visitor["visitor_id"]: visitor["current"] for visitor in customer(server, customer_id)["visitors"]}


def visitor(server: Server, visitor_id: str) -> Any:
    """Return the page of the visitor."""
    response = server.get(f"/api/v1/visitors/{visitor_id}")
    assert response.status_code == 200, response.text
    return response.json()


def owner(server: Server, visitor_id: str) -> Any:
    """Return whose the visitor is now."""
    return visitor(server, visitor_id)["customer_id"]


def facts(server: Server, visitor_id: str) -> list[tuple[str, str | None]]:
    """Return the visitor's identifications, oldest first: what was said, and the customer."""
    items = visitor(server, visitor_id)["identifications"]
    return [(item["kind"], item["customer_id"]) for item in reversed(items)]


def merges(server: Server, customer_id: str) -> list[Any]:
    """Return the customer's ledger, oldest first."""
    return list(reversed(server.get(f"/api/v1/admin/merges?customer_id={customer_id}").json()["items"]))


def skipped(server: Server, customer_id: str) -> list[tuple[str, str, object]]:
    """Return the values of the customer's merges that were skipped as invalid: field, reason, value as sent."""
    return [
        (decision["field"], decision["reason"], decision["raw"])
        for merge in merges(server, customer_id)
        for decision in merge["decisions"]
        if decision["verdict"] == "skipped_invalid"
    ]


def refusals(server: Server, visitor_id: str) -> list[tuple[str, str]]:
    """Return the visitor's refused events, oldest first: event and reason."""
    items = server.get("/api/v1/admin/refusals?limit=200").json()["items"]
    return [(item["event"], item["reason"]) for item in reversed(items) if item["visitor_id"] == visitor_id]


def footprint(server: Server, customer_id: str, *types: str) -> list[Any]:
    """Return the customer's events of these types, oldest first."""
    response = server.get(f"/api/v1/customers/{customer_id}/footprint?limit=200")
    assert response.status_code == 200, response.text
    return [item for item in reversed(response.json()["items"]) if item["type"] in types]


def labels(server: Server, customer_id: str, *types: str) -> list[str]:
    """Return the labels of the customer's events of these types, oldest first."""
    return [item["label"] for item in footprint(server, customer_id, *types)]


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait for what a client does in its own time; whom it is about may not be known yet."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while time.monotonic() < deadline:
        with contextlib.suppress(AssertionError):
            if holds():
                return
        time.sleep(0.05)
    assert holds(), "it did not come about"
