"""The browser SDK in Chromium, on websites of every kind, against services that work and that do not."""

import contextlib
import json
import time
from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page
from playwright.sync_api import Error as PlaywrightError

from identity.sdk import PRESENT
from tests.browser.stand_in import CORS, Answer, Posted, StandIn, tag
from tests.browser.watch import Watch, settle, wait_until

PUSH = "window.dataLayer = window.dataLayer || []; dataLayer.push({event: 'clIdentity', params: {customerId: '42'}});"
CART = (
    "clWidget.clSdk.clRe.record('add_to_cart',"
    " {props: {items: [{item_id: 'tea', item_name: 'Tea', price: 4, quantity: 1}]}})"
)
GTM = """
<script>
  window.dataLayer = window.dataLayer || [];
  window.gtmSaw = [];
  (function () {
    var layer = window.dataLayer, push = layer.push;
    layer.push = function () {
      for (var i = 0; i < arguments.length; i++) {
        if (arguments[i] && arguments[i].event) arguments[i]["gtm.uniqueEventId"] = i;
        window.gtmSaw.push(arguments[i]);
      }
      return push.apply(layer, arguments);
    };
  })();
</script>
"""
"""Wraps ``push`` as GTM does, and adds its own key to the entry."""


def identify(page: Page, customer: object, **fields: object) -> None:
    """Push one identity as a page does."""
    page.evaluate("params => { dataLayer.push({event: 'clIdentity', params}) }", {"customerId": customer, **fields})


def open_page(page: Page, address: str) -> None:
    """Open a page and wait until its SDK has run."""
    page.goto(address)
    page.wait_for_function("!!window.clWidget?.clSdk?.consent")


def hide(page: Page) -> None:
    """Tell the page that another tab is in front of it, which a headless browser never does."""
    page.evaluate(
        "Object.defineProperty(document, 'visibilityState', {value: 'hidden'});"
        " document.dispatchEvent(new Event('visibilitychange', {bubbles: true}))"
    )


def kept(page: Page) -> list[str]:
    """Return the names of what the page's browser holds for its site."""
    names: list[str] = page.evaluate(
        "[...Object.keys(localStorage),"
        " ...document.cookie.split('; ').filter(Boolean).map(pair => pair.split('=')[0])].sort()"
    )
    return names


def test_an_identity_is_posted_once_with_the_mapped_names_and_without_a_preflight(
    page: Page, watch: Watch, shop: StandIn, service: StandIn
):
    params = {
        "email": "ana@shop.example", "name": "Ana", "phone": "+886912345678", "gender": "female",
        "birthday": "1995-01-31", "address": "123 Main St", "unknown": "x",
    }  # fmt: skip
    open_page(page, shop.page("/", tag(service.url)))

    identify(page, "42", **params)
    identify(page, "42", **params)
    wait_until(page, lambda: service.posted)
    open_page(page, shop.url + "/")
    identify(page, "42", **params)
    settle(page)

    (posted,) = service.posted
    visitor = page.evaluate("document.cookie.match(/identityVisitor=([0-9a-f]{32})/)[1]")
    at, sent = posted.body.pop("occurred_at"), posted.body.pop("sent_at")
    assert abs(time.time() * 1000 - at) < 60_000
    assert at <= sent
    assert (posted.path, posted.headers["content-type"]) == ("/api/v1/authenticate", "text/plain;charset=UTF-8")
    assert posted.body == {
        "write_key": "wk_test", "visitor_id": visitor, "customer_id": "42", "display_email": "ana@shop.example",
        "display_name": "Ana", "display_mobile": "+886912345678", "gender": "female", "birth": "1995-01-31",
        "address": "123 Main St",
    }  # fmt: skip
    assert service.preflights == 0
    assert (watch.errors, watch.console) == ([], [])


def test_a_change_is_posted_and_a_switch_back_too(page: Page, shop: StandIn, service: StandIn):
    open_page(page, shop.page("/", tag(service.url)))

    for customer, name in (("a", "Ana"), ("b", "Bo"), ("a", "Ana"), ("a", "Ana Lin"), ("a", "Ana Lin")):
        identify(page, customer, name=name)
    wait_until(page, lambda: len(service.posted) == 4)
    settle(page)

    told = [(posted.body["customer_id"], posted.body["display_name"]) for posted in service.posted]
    times = [posted.body["occurred_at"] for posted in service.posted]
    assert told == [("a", "Ana"), ("b", "Bo"), ("a", "Ana"), ("a", "Ana Lin")]
    assert times == sorted(set(times))


def test_who_signs_out_and_in_again_is_posted_again(page: Page, shop: StandIn, service: StandIn):
    open_page(page, shop.page("/", tag(service.url)))
    identify(page, "42")
    page.evaluate("clWidget.clSdk.clRe.record('userSignedOut')")
    identify(page, "42")

    wait_until(page, lambda: len(service.identities) == 2)

    assert [event["type"] for event in service.events] == ["userSignedOut"]


def test_a_visitor_whom_subdomains_share_is_posted_at_every_push(page: Page, shop: StandIn, service: StandIn):
    address = shop.page("/", tag(service.url, 'data-cookie-domain="localhost"')).replace("127.0.0.1", "localhost")
    open_page(page, address)

    identify(page, "42")
    identify(page, "42")
    wait_until(page, lambda: len(service.posted) == 2)

    assert service.identities == ["42", "42"]
    assert len({posted.body["visitor_id"] for posted in service.posted}) == 1


def test_what_one_service_or_write_key_was_told_is_new_to_another(page: Page, shop: StandIn, service: StandIn):
    elsewhere = tag(service.url, f'data-endpoint="{shop.url}"')
    for sdk in (tag(service.url), elsewhere, elsewhere.replace("wk_test", "wk_other")):
        open_page(page, shop.page("/", sdk))
        identify(page, "42")
        wait_until(page, lambda: not [name for name in kept(page) if "Queue" in name])

    assert [posted.body["write_key"] for posted in service.posted] == ["wk_test"]
    assert [posted.body["write_key"] for posted in shop.posted] == ["wk_test", "wk_other"]


def test_entries_pushed_before_it_loaded_are_read_once_in_order(page: Page, shop: StandIn, service: StandIn):
    pushes = (
        "dataLayer = [{event: 'gtm.js'}];"
        "for (const id of ['1', '2']) dataLayer.push({event: 'clIdentity', params: {customerId: id}})"
    )
    open_page(page, shop.page("/", f"<script>{pushes}</script>{tag(service.url)}"))

    identify(page, "3")
    wait_until(page, lambda: len(service.posted) == 3)
    settle(page)

    assert service.identities == ["1", "2", "3"]
    assert page.evaluate("dataLayer.length") == 4


@pytest.mark.parametrize("is_first", [True, False], ids=["gtm before it", "gtm after it"])
def test_tag_manager_and_sdk_both_see_every_push(page: Page, shop: StandIn, service: StandIn, is_first: bool):
    sdk = f'<script src="{service.url}/sdk.js" data-write-key="wk"></script>'
    before = "<script>dataLayer = [{event: 'clIdentity', params: {customerId: '1'}}]</script>"
    open_page(page, shop.page("/", before + (GTM + sdk if is_first else sdk + GTM)))

    returned = page.evaluate(
        "dataLayer.push({event: 'other'}, {event: 'clIdentity', params: {customerId: '2'}},"
        " {event: 'clIdentity', params: {customerId: '3', name: 'Bo'}})"
    )
    wait_until(page, lambda: len(service.posted) == 3)

    assert service.identities == ["1", "2", "3"]
    assert (returned, page.evaluate("[dataLayer.length, gtmSaw.length]")) == (4, [4, 3])


def test_what_is_no_plain_clidentity_entry_is_left_alone(page: Page, watch: Watch, shop: StandIn, service: StandIn):
    open_page(page, shop.page("/", tag(service.url)))

    page.evaluate("""() => {
        function gtag() { dataLayer.push(arguments); }
        gtag("event", "clIdentity", {customerId: "1"});
        const marked = (function () { return arguments; })("event"); marked.event = "clIdentity";
        const hostile = {get event() { throw new Error("never read me"); }};
        const circle = {event: "clIdentity", params: {customerId: {}}}; circle.params.customerId.it = circle;
        dataLayer.push(marked, ["clIdentity", {}], () => 1, null, undefined, 7, "clIdentity", hostile, circle);
        dataLayer.push({event: "login"}, Object.create(null), {event: "clIdentity", params: {customerId: 1n}});
    }""")
    settle(page)

    assert service.posted == []
    assert (watch.errors, watch.rejections, watch.console) == ([], [], [])


def test_an_entry_of_another_realm_is_read(page: Page, shop: StandIn, service: StandIn):
    open_page(page, shop.page("/", "<iframe></iframe>" + tag(service.url)))

    page.evaluate("dataLayer.push(frames[0].eval(\"({event: 'clIdentity', params: {customerId: '7'}})\"))")

    wait_until(page, lambda: service.identities == ["7"])


def test_the_pushed_object_alone_is_read_and_at_once(page: Page, shop: StandIn, service: StandIn):
    open_page(page, shop.page("/", tag(service.url)))

    page.evaluate("""() => {
        const entry = {event: "clIdentity", params: {customerId: "a", email: "a@shop.example"}};
        dataLayer.push(entry);
        entry.params.customerId = "b"; delete entry.params.email;
        dataLayer.push(entry);
        entry.params = null;
    }""")
    wait_until(page, lambda: len(service.posted) == 2)

    told = [(posted.body["customer_id"], posted.body.get("display_email")) for posted in service.posted]
    assert told == [("a", "a@shop.example"), ("b", None)]


def test_a_data_layer_that_the_page_assigns_anew_is_followed(page: Page, shop: StandIn, service: StandIn):
    anew = "<script>dataLayer = [...dataLayer, {event: 'clIdentity', params: {customerId: '2'}}]</script>"
    sdk = f'<script src="{service.url}/sdk.js" data-write-key="wk"></script>'
    open_page(page, shop.page("/", f"<script>{PUSH}</script>{sdk}{anew}"))
    page.wait_for_load_state("load")

    identify(page, "3")
    wait_until(page, lambda: len(service.posted) == 3)

    assert service.identities == ["42", "2", "3"]


def test_recorded_events_arrive_together_with_ids_and_times(page: Page, shop: StandIn, service: StandIn):
    hook = "window.onClWidgetScriptLoad = () => { window.clWidget = window.createClWidget({clWebChannelId: 'x'});"
    view = "clWidget.clSdk.clRe.record('page_view', {props: {page_path: '/', page_title: 'Shop'}}); }"
    open_page(page, shop.page("/", f"<script>{hook}{view}</script>{tag(service.url)}"))

    page.evaluate(f"{CART}; {CART}")
    wait_until(page, lambda: len(service.events) == 3)

    first, second, third = service.events
    assert [event["type"] for event in service.events] == ["page_view", "add_to_cart", "add_to_cart"]
    assert first["props"] == {"page_path": "/", "page_title": "Shop"}
    assert second["props"] == third["props"]
    assert len({event["event_id"] for event in service.events}) == 3
    assert len({event["visitor_id"] for event in service.events}) == 1
    assert [len(p.body["events"]) for p in service.posted] == [1, 2]
    assert {p.body["write_key"] for p in service.posted} == {"wk_test"}


@pytest.mark.parametrize("fault", ["500", "503", "429", "hangs", "blocked by cors", "cut off", "not there"])
def test_a_service_that_fails_does_nothing_to_the_page_and_is_asked_again_with_pauses(
    page: Page, watch: Watch, shop: StandIn, service: StandIn, fault: str
):
    answers: dict[str, Callable[[Posted], Answer]] = {
        "500": lambda _: Answer(500, b"<html>oops"),
        "503": lambda _: Answer(503, b"{", {"retry-after": "1"}),
        "429": lambda _: Answer(429, b"", {"retry-after": "junk"}),
        "hangs": lambda _: Answer(200, b"", seconds=60),
        "cut off": lambda _: Answer(200, b"", {"content-length": "10"}),
    }
    service.answer = answers.get(fault, service.answer)
    service.cors = {} if fault == "blocked by cors" else CORS
    sdk = StandIn()
    endpoint = "http://127.0.0.1:9" if fault == "not there" else service.url
    with sdk:
        open_page(page, shop.page("/", tag(sdk.url, f'data-endpoint="{endpoint}/"')))
        identify(page, "42")
        page.evaluate(CART)
        wait_until(page, lambda: fault == "not there" or service.posted)
        page.wait_for_timeout(3_000)

        assert len(service.posted) <= 6
        assert len(service.posted) >= (0 if fault == "not there" else 1)
        assert (watch.errors, watch.rejections) == ([], [])
        assert [line for line in watch.console if "identity" in line.replace("/sdk", "")] == []


@pytest.mark.parametrize("fault", ["rubbish", "a megabyte", "400", "401", "403", "413"])
def test_what_is_answered_for_good_is_not_sent_again(
    page: Page, watch: Watch, shop: StandIn, service: StandIn, fault: str
):
    bodies = {"rubbish": b"\xff\x00<script>", "a megabyte": b"x" * 1_000_000}
    status = int(fault) if fault.isdecimal() else 200
    service.answer = lambda _: Answer(status, bodies.get(fault, b"{}"))
    open_page(page, shop.page("/", tag(service.url)))

    identify(page, "42")
    page.evaluate(CART)
    wait_until(page, lambda: len(service.posted) == 2)
    page.wait_for_timeout(2_500)

    assert len(service.posted) == 2
    assert [name for name in kept(page) if "Queue" in name] == []
    assert (watch.errors, watch.rejections) == ([], [])


def test_what_was_refused_by_the_protocol_is_tried_again_when_the_page_says_it_again(
    page: Page, shop: StandIn, service: StandIn
):
    service.answer = lambda _: Answer(401)
    open_page(page, shop.page("/", tag(service.url)))
    identify(page, "42")
    wait_until(page, lambda: len(service.posted) == 1 and not [n for n in kept(page) if "Queue" in n])
    service.answer = lambda _: Answer(200)

    identify(page, "42")

    wait_until(page, lambda: len(service.posted) == 2)


def test_work_and_faults_leave_no_long_task(page: Page, watch: Watch, shop: StandIn, service: StandIn):
    """A machine that is busy with other things makes long tasks of nothing, so the best of five pages counts."""
    service.answer = lambda posted: Answer(500 if len(service.posted) % 2 else 200)
    for attempt in range(5):
        open_page(page, shop.page("/", tag(service.url)))
        for number in range(40):
            identify(page, f"{attempt}-{number}", name="Ana" * 60)
            page.evaluate(CART)
        page.wait_for_timeout(1_500)
        if watch.long_tasks == []:
            break

    assert watch.long_tasks == []


@pytest.mark.parametrize("status", [429, 503])
def test_a_retry_after_is_kept_by_the_next_page_too(page: Page, shop: StandIn, service: StandIn, status: int):
    service.answer = lambda _: Answer(status, b"", {"retry-after": "3600"})
    open_page(page, shop.page("/", tag(service.url)))
    identify(page, "42")
    wait_until(page, lambda: page.evaluate("!!localStorage.identityPause"))

    open_page(page, shop.url + "/")
    identify(page, "43")
    page.wait_for_timeout(1_500)

    assert service.identities == ["42"]
    assert 3_590_000 < page.evaluate("localStorage.identityPause - Date.now()") <= 3_600_000


def test_an_item_is_given_up_after_twenty_tries_or_three_days(page: Page, shop: StandIn, service: StandIn):
    def item(tries: int, hours: float) -> str:
        at = time.time() * 1000 - hours * 3_600_000
        return json.dumps({"kind": "events", "tries": tries, "lease": 0, "body": {"type": "t", "occurred_at": at}})

    items = {"a": item(19, 0), "b": item(20, 0), "c": item(0, 73), "d": item(0, 71), "e": "junk", "f": item(0, -80)}
    page.goto(shop.page("/empty", ""))
    page.evaluate("items => { for (const k in items) localStorage['identityQueue.' + k] = items[k] }", items)

    open_page(page, shop.page("/", tag(service.url)))
    wait_until(page, lambda: len(service.events) == 2)
    settle(page)

    assert [name for name in kept(page) if "Queue" in name] == []


def test_what_is_said_offline_is_sent_when_the_network_is_back_and_not_before(
    page: Page, context: BrowserContext, shop: StandIn, service: StandIn
):
    open_page(page, shop.page("/", tag(service.url)))
    context.set_offline(True)
    identify(page, "42")
    for _ in range(3):
        page.evaluate(CART)
    settle(page)
    assert service.posted == []

    context.set_offline(False)
    wait_until(page, lambda: len(service.posted) == 2)
    settle(page)

    assert (service.identities, len(service.events)) == (["42"], 3)
    assert [name for name in kept(page) if "Queue" in name] == []


def test_the_queue_outlives_a_tab_that_crashes(page: Page, context: BrowserContext, shop: StandIn, service: StandIn):
    open_page(page, shop.page("/", tag(service.url)))
    context.set_offline(True)
    identify(page, "42")
    page.evaluate(CART)
    at = page.evaluate("Date.now()")
    # A tab that is merely closed is online again for its last words.
    with contextlib.suppress(PlaywrightError):
        page.goto("chrome://crash")
    page.close()
    assert service.posted == []
    context.set_offline(False)

    later = context.new_page()
    open_page(later, shop.url + "/")
    wait_until(later, lambda: service.identities and service.events)

    assert service.identities == ["42"]
    assert service.posted[0].body["occurred_at"] <= at
    assert len({event["event_id"] for event in service.events}) == 1


def test_what_a_tab_was_sending_when_it_died_is_sent_once_its_lease_is_over(
    page: Page, shop: StandIn, service: StandIn
):
    page.goto(shop.page("/empty", ""))
    over = page.evaluate(
        "() => { const at = Date.now(), lease = at + 3000, body = {type: 't', occurred_at: at};"
        " localStorage['identityQueue.a'] = JSON.stringify({kind: 'events', tries: 1, lease, body}); return lease }"
    )

    open_page(page, shop.page("/", tag(service.url)))
    wait_until(page, lambda: service.events)

    assert service.events[0]["sent_at"] >= over


def test_the_queue_is_bounded_and_drops_the_oldest(
    page: Page, context: BrowserContext, shop: StandIn, service: StandIn
):
    open_page(page, shop.page("/", tag(service.url)))
    context.set_offline(True)
    page.evaluate("for (let i = 0; i < 130; i++) clWidget.clSdk.clRe.record('e' + i)")
    page.evaluate("clWidget.clSdk.clRe.record('large', {props: 'x'.repeat(40000)})")
    held = page.evaluate("Object.keys(localStorage).filter(k => k.startsWith('identityQueue')).length")
    page.evaluate("for (let i = 0; i < 20; i++) clWidget.clSdk.clRe.record('big' + i, {props: 'x'.repeat(20000)})")
    size = page.evaluate(
        "Object.entries(localStorage).filter(([key]) => key.startsWith('identityQueue'))"
        ".reduce((sum, [, value]) => sum + value.length, 0)"
    )
    context.set_offline(False)
    wait_until(page, lambda: any(event["type"] == "big19" for event in service.events))

    assert held == 100
    assert size <= 200_000
    assert [event["type"] for event in service.events] == [f"big{number}" for number in range(11, 20)]


def test_what_a_page_says_as_it_goes_arrives(page: Page, shop: StandIn, service: StandIn):
    service.answer = lambda posted: Answer(seconds=2.0 if posted.body.get("customer_id") == "slow" else 0.0)
    said = f"addEventListener('pagehide', () => {{ {CART} }})"
    open_page(page, shop.page("/", f"<script>{said}</script>{tag(service.url)}"))
    identify(page, "slow")
    identify(page, "42")
    wait_until(page, lambda: service.posted)

    page.goto(shop.page("/next", "next"))
    wait_until(page, lambda: len(service.posted) == 3)

    assert service.identities == ["slow", "42"]
    assert [event["type"] for event in service.events] == ["add_to_cart"]


def test_to_hide_a_page_keeps_to_the_pause_and_to_leave_it_does_not(page: Page, shop: StandIn, service: StandIn):
    service.answer = lambda _: Answer(200, b"", {"content-length": "10"})
    open_page(page, shop.page("/", tag(service.url)))
    identify(page, "42")
    wait_until(page, lambda: page.evaluate("!!localStorage.identityPause"))
    page.evaluate("localStorage.identityPause = Date.now() + 60_000")
    page.evaluate(CART)

    hide(page)
    settle(page)
    assert service.events == []

    page.goto(shop.page("/next", "next"))
    wait_until(page, lambda: len(service.events) == 1)


def test_to_hide_a_page_sends_without_waiting_for_what_is_being_sent(page: Page, shop: StandIn, service: StandIn):
    service.answer = lambda _: Answer(seconds=4.0)
    open_page(page, shop.page("/", tag(service.url)))
    identify(page, "slow")
    wait_until(page, lambda: service.posted)
    identify(page, "42")

    hide(page)
    page.wait_for_timeout(2_000)

    assert service.identities == ["slow", "42"]


def test_two_tabs_send_what_waits_once(context: BrowserContext, shop: StandIn, service: StandIn):
    address = shop.page("/", tag(service.url))
    first, second = context.new_page(), context.new_page()
    open_page(first, address)
    open_page(second, address)
    context.set_offline(True)
    identify(first, "42")
    identify(second, "42")
    first.evaluate(CART)
    second.evaluate(CART)

    context.set_offline(False)
    wait_until(first, lambda: len(service.events) >= 2)
    first.wait_for_timeout(1_500)

    # Both may do the same thing at the same moment. An event's id is the same then, so it counts once, and a customer
    # who is named twice is no change.
    assert len({event["event_id"] for event in service.events}) == 2
    assert len(service.events) <= 4
    assert set(service.identities) == {"42"}
    assert len(service.identities) <= 4


def test_another_tab_leaves_alone_what_one_is_sending(context: BrowserContext, shop: StandIn, service: StandIn):
    service.answer = lambda _: Answer(seconds=4.0)
    address = shop.page("/", tag(service.url))
    first, second = context.new_page(), context.new_page()
    open_page(first, address)
    identify(first, "42")
    wait_until(first, lambda: service.posted)

    open_page(second, address)
    second.wait_for_timeout(2_000)

    assert service.identities == ["42"]


def test_the_visitor_is_a_random_cookie_with_a_copy_behind_it(
    page: Page, context: BrowserContext, shop: StandIn, service: StandIn
):
    open_page(page, shop.page("/", tag(service.url, 'data-cookie-days="30"')))
    (cookie,) = context.cookies()
    context.clear_cookies()
    open_page(page, shop.url + "/")
    (again,) = context.cookies()
    page.evaluate("localStorage.clear()")
    open_page(page, shop.url + "/")
    copied = page.evaluate("localStorage.identityVisitor.split(' ')[0]")

    assert cookie["name"] == "identityVisitor"
    assert len(cookie["value"]) == 32
    assert abs(cookie["expires"] - time.time() - 30 * 86_400) < 60
    assert (cookie["sameSite"], cookie["path"], cookie["secure"]) == ("Lax", "/", False)
    assert (again["value"], copied) == (cookie["value"], cookie["value"])


def test_a_visitor_whose_lifetime_is_over_is_a_new_one(
    page: Page, context: BrowserContext, shop: StandIn, service: StandIn
):
    page.goto(shop.page("/empty", ""))
    page.evaluate("localStorage.identityVisitor = 'a'.repeat(32) + ' ' + (Date.now() - 31 * 864e5)")

    open_page(page, shop.page("/", tag(service.url, 'data-cookie-days="30"')))

    (cookie,) = context.cookies()
    assert cookie["value"] != "a" * 32


def test_name_and_domain_of_the_cookie_can_be_chosen(
    page: Page, context: BrowserContext, shop: StandIn, service: StandIn
):
    attributes = 'data-name="tea" data-cookie-domain="localhost"'
    address = shop.page("/", tag(service.url, attributes)).replace("127.0.0.1", "localhost")

    open_page(page, address)

    names = {cookie["name"] for cookie in context.cookies()} | set(page.evaluate("Object.keys(localStorage)"))
    assert names == {"teaVisitor"}


def test_a_browser_that_keeps_nothing_still_sends(page: Page, watch: Watch, shop: StandIn, service: StandIn):
    page.add_init_script("""
        const no = () => { throw new DOMException("no", "SecurityError"); };
        Object.defineProperty(window, "localStorage", {get: no});
        Object.defineProperty(document, "cookie", {get: no, set: no});
    """)
    open_page(page, shop.page("/", tag(service.url)))
    identify(page, "42")
    identify(page, "42")
    page.evaluate(CART)
    wait_until(page, lambda: service.identities and service.events)
    settle(page)

    assert service.identities == ["42"]
    assert service.events[0]["visitor_id"] == service.posted[0].body["visitor_id"]
    assert (watch.errors, watch.rejections, watch.console) == ([], [], [])


def test_a_full_storage_still_sends(page: Page, watch: Watch, shop: StandIn, service: StandIn):
    address = shop.page("/", tag(service.url))
    page.goto(shop.page("/empty", ""))
    page.evaluate("""() => {
        for (let size = 4e6, i = 0; size >= 1; )
            try { localStorage["fill" + i++] = "x".repeat(size); } catch { size /= 2; }
    }""")
    open_page(page, address)
    identify(page, "42")

    wait_until(page, lambda: service.identities == ["42"])

    assert (watch.errors, watch.console) == ([], [])


def test_without_consent_nothing_is_kept_or_sent_and_with_it_what_was_said_arrives(
    page: Page, shop: StandIn, service: StandIn
):
    open_page(page, shop.page("/", f"<script>{PUSH}</script>" + tag(service.url, 'data-consent="required"')))
    page.evaluate(CART)
    settle(page)
    assert (kept(page), service.posted) == ([], [])

    page.evaluate("clWidget.clSdk.consent(true)")
    wait_until(page, lambda: service.identities and service.events)

    wait_until(page, lambda: kept(page) == ["identityLast", "identityVisitor", "identityVisitor"])
    assert service.identities == ["42"]


def test_a_withdrawal_deletes_everything_in_every_tab(context: BrowserContext, shop: StandIn, service: StandIn):
    address = shop.page("/", tag(service.url, 'data-consent="required"'))
    first, second = context.new_page(), context.new_page()
    for tab in (first, second):
        open_page(tab, address)
        tab.evaluate("clWidget.clSdk.consent(true)")
    context.set_offline(True)
    identify(first, "42")
    second.evaluate(CART)
    assert len(kept(first)) > 3

    first.evaluate("clWidget.clSdk.consent(false)")
    settle(second)
    identify(first, "43")
    second.evaluate(CART)
    context.set_offline(False)
    settle(first)
    settle(second)

    assert (kept(first), kept(second), service.posted) == ([], [], [])
    first.evaluate("clWidget.clSdk.consent(true)")
    identify(first, "44")
    wait_until(first, lambda: service.identities == ["44"])


def test_what_is_refused_is_forgotten(page: Page, shop: StandIn, service: StandIn):
    open_page(page, shop.page("/", f"<script>{PUSH}</script>" + tag(service.url, 'data-consent="required"')))

    page.evaluate("clWidget.clSdk.consent(false); clWidget.clSdk.consent(true)")
    settle(page)

    assert service.posted == []


def test_debug_explains_every_skipped_field_and_rejected_event(
    page: Page, watch: Watch, shop: StandIn, service: StandIn
):
    field = {
        "field": "display_mobile",
        "verdict": "skipped_invalid",
        "reason": "no_country_code",
        "raw": "0912",
        "hint": "Use +.",
    }
    kept_field = {"field": "display_name", "verdict": "set", "reason": None, "raw": None, "hint": None}
    identity = {"refusal": None, "hint": None, "fields": [kept_field, field], "errors": [], "left_out": []}
    fault = {"path": "/props", "code": "missing", "hint": "Send it."}
    event = {"refusal": "invalid_event", "hint": "Mend it.", "fields": [], "errors": [fault], "left_out": []}
    told = {"authenticate": identity, "events": {"results": [event]}}
    service.answer = lambda posted: Answer(
        200, json.dumps(told[posted.path.rpartition("/")[2]] if "validate" in posted.path else {}).encode()
    )
    open_page(page, shop.page("/", tag(service.url, "data-debug")))

    identify(page, "42", phone="0912", name="Ana")
    page.evaluate("clWidget.clSdk.clRe.record('page_view')")
    wait_until(page, lambda: len(watch.console) >= 5)
    settle(page)

    assert sorted(watch.console) == [
        "identity: authenticate 200",
        "identity: events 200",
        "identity: refused: invalid_event Mend it.",
        "identity: skipped: /props  missing Send it.",
        "identity: skipped: display_mobile 0912 no_country_code Use +.",
    ]


def test_it_works_under_a_strict_policy_with_integrity_and_is_blocked_if_forged(
    page: Page, watch: Watch, shop: StandIn, service: StandIn
):
    policy = (
        "default-src 'none'; base-uri 'none'; script-src 'nonce-n0nce' 'strict-dynamic'; "
        f"connect-src {service.url}; require-trusted-types-for 'script'"
    )
    sdk = tag(
        service.url, f'integrity="{PRESENT.integrity}" crossorigin="anonymous" nonce="n0nce"', PRESENT.pinned_path
    )
    open_page(page, shop.page("/", sdk, content_security_policy=policy))
    page.evaluate(f"() => {{ {PUSH} }}")
    wait_until(page, lambda: service.identities == ["42"])
    assert (watch.errors, watch.console) == ([], [])

    body, headers = service.pages[PRESENT.pinned_path]
    service.pages[PRESENT.pinned_path] = (body + b"alert(1)", headers)
    page.goto(shop.page("/forged", sdk, content_security_policy=policy))
    settle(page)

    assert page.evaluate("typeof clWidget") == "undefined"


def test_it_is_harmless_twice_on_a_page_without_a_key_and_beside_a_page_that_owns_its_names(
    page: Page, watch: Watch, shop: StandIn, service: StandIn
):
    twice = tag(service.url) + tag(service.url + "/", "")
    open_page(page, shop.page("/", f"<script>{PUSH}</script>" + twice))
    wait_until(page, lambda: service.identities == ["42"])
    page.goto(shop.page("/none", f'<script async src="{service.url}/sdk.js"></script>'))
    settle(page)
    page.goto(shop.page("/odd", "<script>dataLayer = 'mine'; clWidget = 7</script>" + tag(service.url)))
    settle(page)

    assert service.identities == ["42"]
    assert (watch.errors, watch.rejections, watch.console) == ([], [], [])
