"""The browser SDKs of the Segment specification in Chromium, unchanged: only the host differs."""

import pytest

from tests.harness import WRITE_KEY, Server
from tests.interop import told
from tests.interop.line import Line
from tests.interop.stock import Client

PAGES = ("segment", "rudder")
TYPES = ("page", "track", "group")


@pytest.fixture(params=PAGES)
def page(request: pytest.FixtureRequest) -> str:
    """Which SDK the page carries."""
    return str(request.param)


@pytest.fixture
def analytics(chromium: Client, page: str, line: Line) -> Client:
    """The SDK, loaded on a page."""
    return load(chromium, page, line)


def load(chromium: Client, page: str, line: Line) -> Client:
    """Return the SDK, loaded on the landing page of a new website."""
    chromium.call("site", page, line.url, WRITE_KEY)
    visit(chromium, "/landing")
    return chromium


def visit(client: Client, path: str) -> None:
    """Go to a page, and load the SDK there."""
    client.call("open", path)
    client.call("load")


def test_the_life_of_a_member(analytics: Client, server: Server, suffix: str):
    member = f"life-{suffix}"
    traits = {"email": "ana@shop.example", "name": "Ana Lin", "phone": "0912345678", "plan": "pro"}
    order = {"order_id": f"o-{suffix}", "revenue": 25, "currency": "EUR", "products": [{"product_id": "tea-1"}]}
    visitor_id = analytics.call("ids")["anonymousId"]
    analytics.call("page", "Shop", "Landing")
    analytics.call("track", "Product Viewed", {"product_id": "tea-1"})
    analytics.call("identify", member, traits)
    analytics.call("track", "Order Completed", order)
    analytics.call("group", "tea-club", {"name": "Tea Club"})
    analytics.call("identify", member, {"name": "Ana Chen"})

    told.wait_until(lambda: told.owner(server, visitor_id) == member)
    told.wait_until(lambda: told.fields(server, member).get("display_name") == "Ana Chen")
    told.wait_until(lambda: len(told.footprint(server, member, *TYPES)) == 4)
    assert told.fields(server, member) == {
        "display_email": "ana@shop.example",
        "display_name": "Ana Chen",
        "custom.plan": "pro",
    }
    assert told.skipped(server, member)[0] == ("display_mobile", "no_country_code", "0912345678")
    assert told.visitors(server, member) == {visitor_id: True}
    assert sorted((event["type"], event["label"]) for event in told.footprint(server, member, *TYPES)) == [
        ("group", "tea-club"),
        ("page", "Landing"),
        ("track", "Order Completed"),
        ("track", "Product Viewed"),
    ]
    assert analytics.call("failures") == []


def test_a_switch_of_user_and_a_reset_merge_nobody(analytics: Client, page: str, server: Server, suffix: str):
    first, second = f"first-{suffix}", f"second-{suffix}"
    analytics.call("identify", first, {"firstName": "Ana"})
    analytics.call("track", "as the first")
    first_visitor = analytics.call("ids")["anonymousId"]
    analytics.call("identify", second, {"firstName": "Bo"})
    analytics.call("track", "as the second")
    second_visitor = analytics.call("ids")["anonymousId"]
    analytics.call("reset")
    third_visitor = analytics.call("ids")["anonymousId"]
    analytics.call("track", "after the reset")

    is_kept = page == "rudder"
    assert (first_visitor == second_visitor, second_visitor == third_visitor) == (is_kept, is_kept)
    told.wait_until(lambda: told.owner(server, second_visitor) == second)
    told.wait_until(lambda: "as the second" in told.labels(server, second, "track"))
    assert told.fields(server, first) == {"first_name": "Ana"}
    assert told.fields(server, second) == {"first_name": "Bo"}
    assert told.visitors(server, first) == {first_visitor: not is_kept}
    assert told.visitors(server, second) == {second_visitor: True}
    assert told.labels(server, first, "track") == ["as the first"]


def test_switches_without_a_pause_end_at_the_last_user(analytics: Client, server: Server, suffix: str):
    users = [f"quick-{suffix}-{number}" for number in range(6)]

    for user in users:
        analytics.start("identify", user, {"firstName": user[-1]})
    analytics.settled()

    told.wait_until(
        lambda: [told.fields(server, user) for user in users] == [{"first_name": user[-1]} for user in users]
    )
    visitor_id = analytics.call("ids")["anonymousId"]
    assert told.owner(server, visitor_id) == users[-1]


def test_an_alias_of_the_user_itself_and_of_another_merges_nobody(analytics: Client, server: Server, suffix: str):
    first, second = f"old-{suffix}", f"new-{suffix}"
    analytics.call("identify", first, {"firstName": "Ana"})
    analytics.call("alias", first, first)
    analytics.call("alias", second, first)
    analytics.call("track", "afterwards")

    told.wait_until(lambda: told.labels(server, first, "track") == ["afterwards"])
    assert told.fields(server, first) == {"first_name": "Ana"}


def test_everything_said_while_the_service_was_away_arrives_once(chromium: Client, page: str, own_server: Server):
    with Line(lambda: own_server.port) as line:
        analytics = load(chromium, page, line)
        analytics.call("track", "before")
        own_server.stop()
        analytics.start("identify", "42", {"firstName": "Ana"})
        for number in range(10):
            analytics.start("track", f"number {number}")
        own_server.start()

        told.wait_until(lambda: told.fields(own_server, "42") == {"first_name": "Ana"})
        told.wait_until(lambda: len(told.labels(own_server, "42", "track")) >= 11)
        assert sorted(told.labels(own_server, "42", "track")) == sorted(
            ["before", *(f"number {number}" for number in range(10))]
        )


def test_an_offline_browser_tells_everything_once_it_is_online(analytics: Client, server: Server, suffix: str):
    member = f"offline-{suffix}"
    analytics.call("identify", member)
    analytics.call("offline", True)
    for number in range(5):
        analytics.start("track", f"number {number}")

    analytics.call("offline", False)

    told.wait_until(lambda: len(told.labels(server, member, "track")) >= 5)
    assert sorted(told.labels(server, member, "track")) == [f"number {number}" for number in range(5)]


def test_an_event_whose_answer_was_lost_is_stored_once(analytics: Client, line: Line, server: Server, suffix: str):
    member = f"lost-{suffix}"
    analytics.call("identify", member)
    told.wait_until(lambda: told.fields(server, member) == {})
    line.lose_answers()

    analytics.start("track", "once")
    told.wait_until(lambda: line.lost_answers >= 1)
    line.lose_answers(loses=False)
    analytics.call("track", "afterwards")

    told.wait_until(lambda: set(told.labels(server, member, "track")) >= {"once", "afterwards"})
    assert sorted(told.labels(server, member, "track")) == ["afterwards", "once"]
