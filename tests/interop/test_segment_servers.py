"""The server-side SDKs of the Segment specification, unchanged: only the host is another than their vendors'."""

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.harness import WRITE_KEY, Server
from tests.interop import stock, told
from tests.interop.line import Line
from tests.interop.stock import Client

PACKAGES = ("@segment/analytics-node", "segment-analytics-python", "rudder-sdk-python")
PYTHON_PACKAGES = {"segment-analytics-python": "segment.analytics", "rudder-sdk-python": "rudderstack.analytics"}


class Sdk:
    """One of the SDKs; arguments are named as on the wire, and spelled as the SDK does."""

    def __init__(self, package: str, url: str) -> None:
        self._is_python = package in PYTHON_PACKAGES
        if self._is_python:
            self.client = Client(stock.python(PYTHON_PACKAGES[package], url, WRITE_KEY))
        else:
            self.client = Client(stock.node("node.mjs", url, WRITE_KEY))

    def say(self, call: str, **message: object) -> None:
        """Hand a message to the SDK, which sends it in its own time."""
        if self._is_python:
            message = {re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", name): v for name, v in message.items()}
        self.client.start(call, message)
        # The order of events is told by their times alone, and those are told in milliseconds.
        time.sleep(0.002)

    def errors(self) -> list[str]:
        """Wait until everything is sent or given up; return what the SDK was told to be wrong."""
        return [error for error in self.client.settled() if error]


@pytest.fixture(params=PACKAGES)
def package(request: pytest.FixtureRequest) -> str:
    """An SDK's name."""
    return str(request.param)


@pytest.fixture
def sdk(package: str, line: Line) -> Iterator[Sdk]:
    """An SDK that is set up."""
    sdk = Sdk(package, line.url)
    with sdk.client:
        yield sdk


def test_the_life_of_a_member(sdk: Sdk, server: Server, suffix: str):
    member, device, phone = f"life-{suffix}", f"device-{suffix}", f"phone-{suffix}"
    traits: dict[str, Any] = {
        "email": "ana@shop.example",
        "name": "Ana Lin",
        "phone": "0912345678",
        "birthday": "1995-01-31",
        "gender": "female",
        "address": {"city": "Taipei", "postalCode": "100"},
        "company": {"name": "Tea House"},
        "plan": "pro",
    }
    order = {
        "order_id": f"o-{suffix}",
        "revenue": 25,
        "currency": "EUR",
        "products": [{"product_id": "tea-1", "quantity": 2}],
    }
    sdk.say("page", anonymousId=device, name="Landing", properties={"url": "https://shop.example/"})
    sdk.say("track", anonymousId=device, event="Product Viewed", properties={"product_id": "tea-1", "price": 12.5})
    sdk.say("identify", anonymousId=device, userId=member, traits=traits)
    sdk.say("track", anonymousId=device, userId=member, event="Order Completed", properties=order)
    sdk.say("track", userId=member, event="Order Shipped", properties={"order_id": f"o-{suffix}"})
    sdk.say("group", anonymousId=device, userId=member, groupId="tea-club", traits={"name": "Tea Club"})
    sdk.say("screen", anonymousId=phone, name="Home")
    sdk.say("alias", previousId=phone, userId=member)
    sdk.say("identify", anonymousId=device, userId=member, traits={"name": "Ana Chen", "email": "", "plan": None})

    assert sdk.errors() == []
    assert told.fields(server, member) == {
        "display_email": "ana@shop.example",
        "display_name": "Ana Chen",
        "birth": "1995-01-31",
        "gender": "female",
        "postal_address.city": "Taipei",
        "postal_address.postal_code": "100",
        "company": "Tea House",
        "custom.plan": "pro",
    }
    assert told.skipped(server, member) == [("display_mobile", "no_country_code", "0912345678")]
    assert told.visitors(server, member) == {device: True, phone: True}
    types = ("page", "track", "group", "screen")
    assert [(event["type"], event["label"]) for event in told.footprint(server, member, *types)] == [
        ("page", "Landing"),
        ("track", "Product Viewed"),
        ("track", "Order Completed"),
        ("track", "Order Shipped"),
        ("group", "tea-club"),
        ("screen", "Home"),
    ]


def test_one_device_with_two_users_merges_nobody(sdk: Sdk, server: Server, suffix: str):
    first, second, device = f"first-{suffix}", f"second-{suffix}", f"device-{suffix}"
    sdk.say("track", anonymousId=device, event="before anybody")
    sdk.say("identify", anonymousId=device, userId=first, traits={"email": "ana@shop.example"})
    sdk.say("track", anonymousId=device, userId=first, event="as the first")
    sdk.say("identify", anonymousId=device, userId=second, traits={"email": "ana@shop.example", "firstName": "Bo"})
    sdk.say("track", anonymousId=device, userId=second, event="as the second")
    sdk.say("alias", previousId=first, userId=second)
    sdk.say("alias", previousId=second, userId=second)

    assert sdk.errors() == []
    assert told.fields(server, first) == {"display_email": "ana@shop.example"}
    assert told.fields(server, second) == {"display_email": "ana@shop.example", "first_name": "Bo"}
    assert (told.visitors(server, first), told.visitors(server, second)) == ({device: False}, {device: True})
    assert told.labels(server, first, "track") == ["before anybody", "as the first"]
    assert told.labels(server, second, "track") == ["as the second"]
    assert told.refusals(server, first) == [("alias", "alias_of_customer")]


def test_a_bad_message_does_not_cost_its_batch(sdk: Sdk, package: str, server: Server, suffix: str):
    member, device = f"batch-{suffix}", f"device-{suffix}"
    traits: dict[str, Any] = {"email": "x", "name": "cut \ud83d emoji", "birthday": 19950131, "plan": ["pro"]}
    if package in PYTHON_PACKAGES:
        traits["score"] = float("nan")
    sdk.say("identify", anonymousId=device, userId="undefined", traits={"name": "Nobody"})
    sdk.say("identify", anonymousId=device, userId=member, traits=traits)
    sdk.say("track", anonymousId=device, event="x" * 300)
    sdk.say("track", anonymousId=device, event="fine")

    assert sdk.errors() == []
    assert told.fields(server, member) == {"custom.plan": ["pro"]}
    assert told.labels(server, member, "track") == ["fine"]
    assert sorted(told.refusals(server, device)) == [("identify", "blocked_customer_id"), ("track", "invalid_event")]


def test_a_message_of_the_same_id_counts_once(sdk: Sdk, server: Server, suffix: str):
    device, member = f"device-{suffix}", f"same-{suffix}"

    for _ in range(3):
        sdk.say("track", anonymousId=device, event="once", messageId=f"m-{suffix}")
    sdk.say("identify", anonymousId=device, userId=member)

    assert sdk.errors() == []
    assert told.labels(server, member, "track") == ["once"]


def test_everything_said_while_the_service_was_away_arrives_once(package: str, own_server: Server):
    with Line(lambda: own_server.port) as line:
        sdk = Sdk(package, line.url)
        with sdk.client:
            sdk.say("track", anonymousId="device", event="before")
            assert sdk.errors() == []
            own_server.stop()
            sdk.say("identify", anonymousId="device", userId="42", traits={"name": "Ana Lin"})
            for number in range(20):
                sdk.say("track", anonymousId="device", event=f"number {number}")
            own_server.start()

            assert sdk.errors() == []
        assert told.fields(own_server, "42") == {"display_name": "Ana Lin"}
        assert told.visitors(own_server, "42") == {"device": True}
        assert sorted(told.labels(own_server, "42", "track")) == sorted(
            ["before", *(f"number {number}" for number in range(20))]
        )


def test_a_batch_whose_answer_was_lost_is_stored_once(sdk: Sdk, line: Line, server: Server, suffix: str):
    member, device = f"lost-{suffix}", f"device-{suffix}"
    line.lose_answers()

    for number in range(5):
        sdk.say("track", anonymousId=device, event=f"number {number}")
    told.wait_until(lambda: line.lost_answers >= 1)
    line.lose_answers(loses=False)
    errors = sdk.errors()
    sdk.say("identify", anonymousId=device, userId=member)

    assert errors + sdk.errors() == []
    assert sorted(told.labels(server, member, "track")) == [f"number {number}" for number in range(5)]
