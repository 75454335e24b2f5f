"""``@croct/plug`` unchanged, in jsdom and in Chromium: only ``baseEndpointUrl`` is another than the vendor's."""

import pytest

from tests.harness import ADMIN_KEY, CHANNEL_ID, Server
from tests.interop import stock, told
from tests.interop.line import Line
from tests.interop.stock import Client

PLACES = ("jsdom", "chromium")
TEA = {"productId": "tea-1", "name": "Oolong", "displayPrice": 12.5, "currency": "EUR"}
CART = {
    "currency": "EUR",
    "total": 25,
    "items": [{"index": 0, "quantity": 2, "total": 25, "product": TEA}],
    "taxes": {"VAT": 4.1},
}


def plug(client: Client, line: Line) -> Client:
    """Return the plug on the landing page of a new website, plugged."""
    client.call("site", "croct", line.url, CHANNEL_ID)
    visit(client, "/landing")
    return client


def visit(client: Client, path: str) -> None:
    """Go to a page, which plugs there."""
    client.call("open", path)
    client.call("plug")
    client.call("flushed")


@pytest.fixture(params=PLACES)
def croct(request: pytest.FixtureRequest, line: Line) -> Client:
    """The plug on a page, in either place."""
    return plug(request.getfixturevalue(request.param), line)


@pytest.fixture
def browser(chromium: Client, line: Line) -> Client:
    """The plug on a page, in Chromium."""
    return plug(chromium, line)


def become(croct: Client, customer_id: str | None) -> None:
    """Sign in as the customer, or out, and wait until the service has heard it."""
    if customer_id is None:
        croct.call("anonymize")
    else:
        croct.call("identify", customer_id)
    croct.call("flushed")


def visitor_of(croct: Client) -> str:
    """Return the visitor as the service holds it."""
    return str(croct.call("clientId")).replace("-", "")


def happen(croct: Client, name: str) -> None:
    """Track an event that is known again by its name."""
    croct.call("track", "eventOccurred", {"name": name})


def test_the_life_of_a_member(croct: Client, server: Server, suffix: str):
    member = f"life-{suffix}"
    croct.call("track", "productViewed", {"product": TEA})
    croct.call("edit", "user", [["set", "firstName", "Ana"], ["add", "interests", "tea"]])
    profile = {"email": "ana@shop.example", "phone": "0912345678", "birthDate": "1995-01-31", "custom": {"points": 1}}
    croct.call("track", "userSignedUp", {"userId": member, "profile": profile})
    become(croct, member)
    croct.call(
        "edit",
        "user",
        [
            ["set", "company", "Tea House"],
            ["combine", "interests", ["tea", "pots"]],
            ["increment", "custom.points", 2],
            ["merge", "address", {"city": "Taipei"}],
        ],
    )
    croct.call("edit", "session", [["set", "campaign", "spring"]])
    croct.call("track", "cartViewed", {"cart": CART})
    croct.call("track", "checkoutStarted", {"cart": CART, "orderId": f"o-{member}"})
    croct.call("track", "orderPlaced", {"order": {**CART, "orderId": f"o-{member}", "status": "paid"}})
    become(croct, None)

    visitor_id = visitor_of(croct)
    assert told.fields(server, member) == {
        "display_email": "ana@shop.example",
        "birth": "1995-01-31",
        "first_name": "Ana",
        "company": "Tea House",
        "interests": ["tea", "pots"],
        "custom.points": 3,
        "postal_address.city": "Taipei",
    }
    assert told.skipped(server, member) == [("display_mobile", "no_country_code", "0912345678")]
    assert list(told.visitors(server, member).values()) == [False]
    assert told.owner(server, visitor_id) is None
    assert told.facts(server, visitor_id) == [("anonymous", None), ("identified", member), ("signed_out", None)]
    commerce = ("productViewed", "cartViewed", "checkoutStarted", "orderPlaced", "sessionAttributesChanged")
    assert [event["type"] for event in told.footprint(server, member, *commerce)] == [
        "productViewed",
        "sessionAttributesChanged",
        "cartViewed",
        "checkoutStarted",
        "orderPlaced",
    ]


def test_a_switch_of_user_on_one_browser_merges_nobody(croct: Client, server: Server, suffix: str):
    first, second = (f"{name}-{suffix}" for name in ("first", "second"))
    happen(croct, "before anybody")
    become(croct, first)
    croct.call("edit", "user", [["set", "firstName", "Ana"]])
    happen(croct, "as the first")
    become(croct, second)
    croct.call("edit", "user", [["set", "firstName", "Bo"]])
    happen(croct, "as the second")
    become(croct, None)
    happen(croct, "between two")
    become(croct, first)
    happen(croct, "as the first again")
    become(croct, None)
    happen(croct, "between the same")
    become(croct, first)

    assert told.fields(server, first) == {"first_name": "Ana"}
    assert told.fields(server, second) == {"first_name": "Bo"}
    assert list(told.visitors(server, first).values()) == [True]
    assert list(told.visitors(server, second).values()) == [False]
    assert told.labels(server, first, "eventOccurred") == [
        "before anybody",
        "as the first",
        "as the first again",
        "between the same",
    ]
    assert told.labels(server, second, "eventOccurred") == ["as the second"]


def test_switches_without_a_pause_end_at_the_last_user(croct: Client, server: Server, suffix: str):
    users = [f"quick-{suffix}-{number}" for number in range(8)]

    for user in users:
        croct.call("identify", user)
    croct.call("flushed")

    assert [list(told.visitors(server, user).values()) for user in users] == [[False]] * 7 + [[True]]


def test_a_sign_up_leaves_an_existing_profile_as_it_is_and_signs_nobody_in(croct: Client, server: Server, suffix: str):
    member = f"twice-{suffix}"
    croct.call("track", "userSignedUp", {"userId": member, "profile": {"firstName": "Ana"}})

    croct.call("track", "userSignedUp", {"userId": member, "profile": {"firstName": "Eve", "lastName": "Lin"}})

    assert told.fields(server, member) == {"first_name": "Ana"}
    assert told.visitors(server, member) == {}


def test_refused_events_never_stop_those_behind_them(croct: Client, server: Server, suffix: str):
    member = f"poison-{suffix}"
    become(croct, member)
    croct.call(
        "edit", "user", [["set", "email", 12345], ["set", "firstName", "x" * 10_000], ["set", "lastName", "Lin"]]
    )
    croct.call("edit", "user", [["set", "nope.deep[3].x", 1], ["set", "jobTitle", "never"]])
    croct.call("edit", "user", [["increment", "lastName", 1], ["set", "jobTitle", "never"]])
    croct.call("edit", "user", [["set", "__proto__.x", 1]])
    croct.call("edit", "session", [["set", "[0].a", 1]])
    croct.call("track", "userSignedUp", {"userId": "undefined"})
    croct.call(
        "track", "userSignedUp", {"userId": f"{member}-half", "profile": {"email": "x", "birthDate": "2000-99-99"}}
    )
    croct.call("track", "linkOpened", {"link": "javascript:void(0)"})
    croct.call("track", "orderPlaced", {"order": {**CART, "orderId": "o", "total": 1e300}})
    happen(croct, "cut \ud83d emoji")
    happen(croct, "behind them all")
    croct.call("edit", "user", [["set", "company", "Tea House"]])

    assert told.fields(server, member) == {"last_name": "Lin", "company": "Tea House"}
    assert told.fields(server, f"{member}-half") == {}
    assert told.labels(server, member, "eventOccurred")[-1] == "behind them all"
    assert told.refusals(server, visitor_of(croct)) == [
        ("userProfileChanged", "failed_patch"),
        ("userProfileChanged", "failed_patch"),
        ("userProfileChanged", "failed_patch"),
        ("userSignedUp", "blocked_customer_id"),
        ("orderPlaced", "invalid_event"),
    ]
    assert croct.call("queued") == 0


@pytest.mark.parametrize("place", PLACES)
def test_everything_said_while_the_service_was_away_arrives_once(
    place: str, request: pytest.FixtureRequest, own_server: Server
):
    with Line(lambda: own_server.port) as line:
        croct = plug(request.getfixturevalue(place), line)
        own_server.stop()

        croct.call("identify", "42")
        croct.start("edit", "user", [["set", "firstName", "Ana"]])
        for number in range(20):
            croct.start("track", "eventOccurred", {"name": f"number {number}"})
        told.wait_until(lambda: croct.call("queued") == 22)
        own_server.start()

        assert croct.settled() == [None] * 21
        assert told.fields(own_server, "42") == {"first_name": "Ana"}
        assert told.labels(own_server, "42", "eventOccurred") == [f"number {number}" for number in range(20)]


def test_an_event_whose_answer_was_lost_is_stored_once(croct: Client, line: Line, server: Server, suffix: str):
    member = f"lost-{suffix}"
    become(croct, member)
    line.lose_answers()

    croct.start("track", "orderPlaced", {"order": {**CART, "orderId": f"o-{member}"}})
    croct.start("edit", "user", [["increment", "custom.points", 1]])
    told.wait_until(lambda: line.lost_answers >= 1)
    line.lose_answers(loses=False)

    assert croct.settled() == [None, None]
    assert [event["props"]["order"]["orderId"] for event in told.footprint(server, member, "orderPlaced")] == [
        f"o-{member}"
    ]
    assert told.fields(server, member) == {"custom.points": 1}


def test_what_is_not_served_fails_at_once_and_the_rest_goes_on(croct: Client, server: Server, suffix: str):
    member = f"rest-{suffix}"
    become(croct, member)

    content = croct.call("fetchContent", "home-banner@1", {"fallback": {"title": "Welcome"}})
    with pytest.raises(stock.Refused):
        croct.call("evaluate", "user is returning")
    happen(croct, "afterwards")

    assert content == {"title": "Welcome"}
    assert told.labels(server, member, "eventOccurred") == ["afterwards"]


def test_two_devices_share_one_profile_and_one_footprint(browser: Client, server: Server, suffix: str):
    member = f"devices-{suffix}"
    happen(browser, "on the laptop")
    become(browser, member)
    browser.call("device", "phone")
    visit(browser, "/landing")
    happen(browser, "on the phone")
    become(browser, member)
    browser.call("edit", "user", [["set", "firstName", "Ana"]])

    assert told.fields(server, member) == {"first_name": "Ana"}
    assert list(told.visitors(server, member).values()) == [True, True]
    assert told.labels(server, member, "eventOccurred") == ["on the laptop", "on the phone"]


def test_two_tabs_are_one_visitor_with_one_user(browser: Client, server: Server, suffix: str):
    member = f"tabs-{suffix}"
    browser.call("tab")
    visit(browser, "/other")

    become(browser, member)
    browser.call("device", "laptop")
    told.wait_until(lambda: bool(browser.call("userId") == member))
    browser.call("flushed")
    happen(browser, "in the first tab")

    visitor_id = visitor_of(browser)
    assert set(told.facts(server, visitor_id)) == {("identified", member)}  # each tab tells it
    assert told.owner(server, visitor_id) == member
    assert told.labels(server, member, "eventOccurred") == ["in the first tab"]


def test_the_queue_of_a_page_that_was_left_is_sent_by_the_next_one(
    browser: Client, line: Line, server: Server, suffix: str
):
    member = f"left-{suffix}"
    become(browser, member)
    line.cut()
    browser.start("track", "eventOccurred", {"name": "on the page that was left"})
    told.wait_until(lambda: bool(browser.call("queued") == 1))
    line.mend()

    visit(browser, "/next")
    happen(browser, "on the next")

    told.wait_until(lambda: bool(browser.call("queued") == 0))
    assert told.labels(server, member, "eventOccurred") == ["on the page that was left", "on the next"]


def test_a_browser_tells_its_automatic_events(browser: Client, server: Server, suffix: str):
    member = f"automatic-{suffix}"
    become(browser, member)

    browser.call("click", "#link")
    visit(browser, "/next")  # which sends what the page before it had no time for

    types = {"tabOpened", "pageOpened", "userClicked", "linkOpened"}
    told.wait_until(lambda: {event["type"] for event in told.footprint(server, member, *types)} == types)
    assert told.refusals(server, visitor_of(browser)) == []


def test_a_channel_that_wants_signatures_takes_those_of_the_vendors_package_alone(chromium: Client, own_server: Server):
    with Line(lambda: own_server.port) as line:
        croct = plug(chromium, line)
        made = croct.call("createApiKey")
        policy = {
            "signed_identity": "required",
            "identity_keys": [{"kid": made["kid"], "public_key": made["publicKey"]}],
        }
        headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
        changed = own_server.client.patch(f"/api/v1/admin/channels/{CHANNEL_ID}", json=policy, headers=headers)
        assert changed.status_code == 200, changed.text

        become(croct, "41")
        happen(croct, "unsigned")
        croct.call("setToken", croct.call("signToken", made["apiKey"], "42"))
        croct.call("flushed")
        happen(croct, "signed")

    assert own_server.get("/api/v1/customers/41").status_code == 404
    assert told.refusals(own_server, visitor_of(croct))[0] == ("userSignedIn", "unverified_identity")
    assert told.owner(own_server, visitor_of(croct)) == "42"
    assert told.labels(own_server, "42", "eventOccurred") == ["unsigned", "signed"]
