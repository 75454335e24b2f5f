"""The inspector in Chromium: walked by keyboard, checked by axe, seen in two widths and two schemes, and attacked."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import urlencode
from uuid import uuid4

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, BrowserContext, Dialog, Page, expect

from tests.harness import ADMIN_KEY, WRITE_KEY, Server, Urls, fresh_store
from tests.http.corpus import TEXTS

ANA = urlencode({"customer_id": "ana-42"})
PAGES = {
    "overview": "",
    "merges": "/merges",
    "refusals": "/refusals",
    "live": "/live",
    "missing": "/missing",
    "channels": "/channels",
    "keys": "/keys",
    "suggestions": "/suggestions",
    "operations": "/operations",
    "webhooks": "/webhooks",
    "health": "/health",
    "customer": f"/customer?{ANA}",
    "timeline": f"/customer/timeline?{ANA}",
    "graph": f"/customer/graph?{ANA}",
    "visitor": "/visitor?visitor_id=laptop",
    "as-of": f"/customer?{ANA}&as_of=2999-01-01T00:00",
    "no-customer": "/customer?customer_id=nobody",
}
EXECUTIONS = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    "</textarea><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    '"><script>alert(1)</script>',
    "'><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)" autofocus onfocus="alert(1)" x="',
    "' onfocus='alert(1)' autofocus '",
    "javascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "{{7*7}}{% for x in ().__class__.__base__.__subclasses__() %}{% endfor %}",
    "${alert(1)}",
    '<a href="javascript:alert(1)">x</a>',
    '<div hx-get="/admin" hx-trigger="load" hx-on:htmx:load="alert(1)">',
    '<iframe srcdoc="<script>parent.alert(1)</script>">',
    "<style>@import 'http://a.example'</style>",
    '<meta http-equiv="refresh" content="0;url=javascript:alert(1)">',
    "<base href=http://a.example/>",
    "<!--><script>alert(1)</script>-->",
    "<![CDATA[<script>alert(1)</script>]]>",
    "<math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "\\u003cscript\\u003ealert(1)\\u003c/script\\u003e",
    "data: x\n\nevent: rows\ndata: <script>alert(1)</script>",
    "<template><script>alert(1)</script></template>",
)
WAYS_OUT = ('"', "'", "`", ">", '">', "-->", "]]>", "</td></tr></table>", "</textarea>", "</title>", "</svg>", "\\")
PAYLOADS = (
    "<script>alert(1)</script>",
    "<ScRiPt src=data:,alert(1)></sCrIpT>",
    "<img/src/onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "<svg><animate onbegin=alert(1) attributeName=x dur=1s>",
    "<details open ontoggle=alert(1)>",
    "<input autofocus onfocus=alert(1)>",
    " onmouseover=alert(1) style=position:fixed;inset:0 x=",
    "<a href=javascript:alert(1) hx-boost=true>x</a>",
    "<div hx-get=/admin hx-trigger=load hx-on::load=alert(1)>",
)
HOSTILE = (*EXECUTIONS, *TEXTS.values(), *(way + payload for way in WAYS_OUT for payload in PAYLOADS))


@pytest.fixture(scope="module")
def server(urls: Urls) -> Iterator[Server]:
    """A service whose webhooks may go to this machine."""
    environ = {"IDENTITY_WEBHOOK_ALLOW_PRIVATE": "on"}
    with fresh_store(urls.database) as url, Server(url, urls.redis, environ=environ) as running:
        yield running


@pytest.fixture(scope="module", autouse=True)
def filled(server: Server) -> Server:
    """A server with a customer worth looking at; begun before the browser, which keeps other event loops out."""
    day = 86_400_000
    begin = 1_780_000_000_000

    def walk(visitor_id: str, from_day: float) -> None:
        server.events(
            *(
                {
                    "type": "page_view",
                    "visitor_id": visitor_id,
                    "occurred_at": int(begin + (from_day + n / 10) * day),
                    "props": {"page_path": f"/p/{n}", "page_title": f"Page {n}"},
                }
                for n in range(8)
            )
        )

    def identify(moment: float, **body: object) -> None:
        server.authenticate({**body, "occurred_at": int(begin + moment * day)})

    walk("laptop", 0)
    identify(2, customer_id="ana-42", visitor_id="laptop", email="ana@old.example", name="Ana", phone="0912345678")
    identify(4, customer_id="ana-42", visitor_id="phone", email="ana@shop.example", gender="woman", birthday="1/2/95")
    walk("phone", 5)
    out = {"type": "userSignedOut", "visitor_id": "laptop", "customer_id": "ana-42", "occurred_at": begin + 6 * day}
    server.events(out)
    walk("laptop", 6.5)
    identify(8, customer_id="bo-7", visitor_id="laptop", email="ana@shop.example", name="Bo")
    identify(9, customer_id="ana-42", visitor_id="laptop", phone="+886912345678")
    for customer_id in ("undefined", "", "null"):
        server.authenticate({"customer_id": customer_id, "visitor_id": "broken"})
    hook = server.post("/api/v1/admin/webhooks", {"url": f"{server.url}/livez", "description": "CRM"})
    assert hook.status_code == 200
    for number in (1, 2):
        identify(10, customer_id=f"power-{number}", visitor_id="kiosk", email="power@shop.example", name=f"P{number}")
    identify(11, customer_id="power-1", visitor_id="kiosk", email="power@new.example")
    for name in ("Right", "Wrong"):
        identify(12, customer_id="back-1", visitor_id="back", name=name)
    wrong = server.get("/api/v1/admin/merges?customer_id=back-1").json()["items"][0]["merge_id"]
    assert server.post(f"/api/v1/admin/merges/{wrong}/undo", {"reason": "the neighbour's"}).status_code == 200
    for number in (1, 2):
        identify(12, customer_id=f"part-{number}", visitor_id=f"part-{number}", name=f"Part {number}")
    assert server.post("/api/v1/admin/customers/part-1/join", {"into": "part-2"}).status_code == 200
    return server


def sign_in(page: Page, server: Server) -> None:
    """Sign in as a person does, by keyboard alone."""
    page.goto(f"{server.url}/admin")
    expect(page.get_by_label("Secret key")).to_be_focused()
    page.keyboard.type(ADMIN_KEY)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Find out who someone is, and why")


@pytest.fixture
def signed_in(page: Page, filled: Server) -> Page:
    """A tab in which someone is signed in."""
    sign_in(page, filled)
    return page


def test_the_session_holds_in_a_real_browser_and_ends_by_signing_out(signed_in: Page, filled: Server):
    names = {cookie["name"] for cookie in signed_in.context.cookies()}
    scripts = signed_in.evaluate("document.cookie")

    signed_in.get_by_role("button", name="Sign out").click()

    expect(signed_in.get_by_label("Secret key")).to_be_visible()
    assert names == {"__Host-inspector"}
    assert scripts == ""
    signed_in.goto(f"{filled.url}/admin/keys")
    expect(signed_in.get_by_label("Secret key")).to_be_visible()


def test_the_key_slash_leads_to_the_search_and_two_clicks_to_who_overwrote_the_email(signed_in: Page):
    signed_in.keyboard.press("/")
    signed_in.keyboard.type("ana-42")
    signed_in.keyboard.press("Enter")
    expect(signed_in.get_by_role("heading", level=1)).to_have_text("Customer ana-42")

    row = signed_in.get_by_role("row").filter(has=signed_in.get_by_role("rowheader", name="display_email"))
    expect(row).to_contain_text("visitor phone")
    row.get_by_role("link", name="clIdentity", exact=True).click()

    line = signed_in.get_by_role("row").filter(has=signed_in.get_by_role("rowheader", name="display_email"))
    expect(line).to_contain_text("ana@old.example")
    expect(line).to_contain_text("A newer value overwrites an older one.")


def test_an_email_that_is_searched_for_stands_in_no_address(signed_in: Page):
    seen: list[str] = []
    signed_in.on("request", lambda request: seen.append(request.url))

    signed_in.keyboard.press("/")
    signed_in.keyboard.type("ana@shop.example")
    signed_in.keyboard.press("Enter")

    expect(signed_in.get_by_text("This stands for more than one thing.")).to_be_visible()
    assert not [url for url in seen if "shop.example" in url or "%40" in url]


def test_the_next_page_of_a_list_is_added_to_it_without_leaving(signed_in: Page, filled: Server):
    for number in range(60):
        filled.authenticate({"customer_id": f"many-{number}", "visitor_id": f"m-{number}", "name": "M"})
    signed_in.goto(f"{filled.url}/admin/merges")
    rows = signed_in.locator("#rows > li[id]")
    expect(rows).to_have_count(50)
    address = signed_in.url

    signed_in.get_by_role("link", name="Show older").click()

    expect(signed_in.locator("#rows > li[id^=m-]").nth(60)).to_be_visible()
    assert signed_in.url == address
    ids = signed_in.eval_on_selector_all("#rows > li[id]", "rows => rows.map(row => row.id)")
    assert len(set(ids)) == len(ids)


def test_the_live_page_shows_what_comes_filters_it_and_can_be_paused(signed_in: Page, filled: Server):
    signed_in.goto(f"{filled.url}/admin/live")
    expect(signed_in.locator("#live-state")).to_have_text("Live")

    filled.authenticate({"customer_id": "live-1", "visitor_id": "live", "phone": "0912345678"})
    filled.authenticate({"customer_id": "guest", "visitor_id": "live"})
    shown = signed_in.locator("#live-rows > li:visible")
    expect(shown.first).to_contain_text("blocked_customer_id")
    expect(shown.nth(1)).to_contain_text("The phone number has no country code")

    signed_in.get_by_label("Show", exact=True).select_option("refused")
    expect(shown.filter(has_text="live-1")).to_have_count(0)
    signed_in.get_by_label("Show", exact=True).select_option("")
    signed_in.get_by_label("Contains").fill("live-1")
    expect(shown).to_have_count(1)
    signed_in.get_by_label("Contains").fill("")

    signed_in.get_by_role("button", name="Pause").click()
    filled.authenticate({"customer_id": "live-2", "visitor_id": "live"})
    expect(signed_in.get_by_role("button", name="Go on (")).to_be_visible()
    expect(signed_in.locator("#live-rows", has_text="live-2")).to_have_count(0)
    signed_in.get_by_role("button", name="Go on (").click()
    expect(signed_in.locator("#live-rows")).to_contain_text("live-2")


def test_the_checklist_tells_the_cause(signed_in: Page):
    signed_in.get_by_role("link", name="Why is it missing?").click()
    signed_in.get_by_label("Customer id, visitor id, e-mail or phone", exact=True).fill("undefined")
    signed_in.get_by_role("button", name="Check").click()

    expect(signed_in.locator("main [role=status]")).to_contain_text("This is a placeholder that stands for nobody")


def test_a_channel_and_a_key_are_made_by_keyboard_and_the_key_is_shown_once(signed_in: Page, filled: Server):
    signed_in.goto(f"{filled.url}/admin/keys")
    signed_in.get_by_label("Name").focus()
    signed_in.keyboard.type("Support")
    signed_in.keyboard.press("Tab")
    signed_in.keyboard.press("Space")
    signed_in.keyboard.press("Enter")

    secret = signed_in.locator(".secret").inner_text()
    assert re.fullmatch(r"sk_[\w-]{43}", secret)
    signed_in.goto(f"{filled.url}/admin/keys")
    expect(signed_in.get_by_role("row", name="Support")).to_contain_text(f"…{secret[-4:]}")
    assert secret not in signed_in.content()


def test_a_merge_is_previewed_and_taken_back_and_restored(signed_in: Page, filled: Server):
    filled.authenticate({"customer_id": "undo-1", "visitor_id": "u", "email": "right@shop.example"})
    filled.authenticate({"customer_id": "undo-1", "visitor_id": "u", "email": "wrong@shop.example"})
    signed_in.goto(f"{filled.url}/admin/customer?customer_id=undo-1")
    signed_in.get_by_role("row", name="display_email").get_by_role("link", name="clIdentity").first.click()

    signed_in.get_by_role("button", name="Take this merge back").click()
    row = signed_in.locator("#preview").get_by_role("row", name="display_email")
    expect(row).to_have_text(re.compile("wrong@shop.example\\s*right@shop.example"))
    assert email_of(filled, "undo-1") == "wrong@shop.example"
    signed_in.get_by_label("Reason").fill("the neighbour's")
    signed_in.get_by_role("button", name="Take it back").click()

    expect(signed_in.get_by_role("heading", level=1)).to_contain_text("Taken back")
    expect(signed_in.locator("main")).to_contain_text("the neighbour's")
    assert email_of(filled, "undo-1") == "right@shop.example"
    signed_in.get_by_role("button", name="Restore what it took back").click()
    signed_in.get_by_role("button", name="Restore it").click()
    expect(signed_in.get_by_role("heading", level=1)).to_contain_text("Taken back")
    assert email_of(filled, "undo-1") == "wrong@shop.example"


def email_of(server: Server, customer_id: str) -> object:
    """Return the e-mail that is held of a customer."""
    return server.get(f"/api/v1/customers/{customer_id}").json()["fields"].get("display_email")


def test_two_customers_are_compared_joined_and_taken_apart_from_the_suggestions(signed_in: Page, filled: Server):
    for number in (1, 2):
        filled.authenticate({"customer_id": f"twin-{number}", "visitor_id": "t", "email": "twin@shop.example"})
    signed_in.get_by_role("link", name="Same person?").click()
    item = signed_in.locator("#rows > li").filter(has_text="twin@shop.example")

    item.get_by_role("button", name="Compare and join").click()
    expect(signed_in.get_by_role("columnheader", name="Together")).to_be_visible()
    signed_in.get_by_role("button", name="They are one person: join").click()

    expect(signed_in.locator("main")).to_contain_text("the same person as the one who was asked for: twin-2")
    signed_in.get_by_role("button", name="Take apart").click()
    signed_in.get_by_role("button", name="Take them apart").click()
    expect(signed_in.get_by_role("heading", level=1)).to_have_text("Customer twin-2")
    signed_in.goto(f"{filled.url}/admin/suggestions")
    item.get_by_role("button", name="Not the same").click()
    expect(item).to_have_count(0)


def test_a_customer_is_erased_after_its_id_was_typed(signed_in: Page, filled: Server):
    filled.authenticate({"customer_id": "erase-1", "visitor_id": "e", "name": "Eve"})
    signed_in.goto(f"{filled.url}/admin/customer?customer_id=erase-1")

    signed_in.get_by_role("button", name="See what would be erased").click()
    signed_in.get_by_label("Type the customer's id").fill("erase-2")
    signed_in.keyboard.press("Enter")
    expect(signed_in.get_by_role("alert")).to_contain_text("Nothing was erased.")
    signed_in.get_by_label("Type the customer's id").fill("erase-1")
    signed_in.keyboard.press("Enter")

    expect(signed_in.get_by_role("status")).to_contain_text("Erased, for good.")
    assert filled.get("/api/v1/customers/erase-1").status_code == 404


def test_a_webhook_is_tested_paused_and_resumed(signed_in: Page, filled: Server):
    signed_in.get_by_role("link", name="Webhooks").click()
    signed_in.get_by_role("link", name="CRM").click()

    signed_in.get_by_role("button", name="Send a test").click()
    expect(signed_in.get_by_role("status")).to_contain_text("HTTP 405")
    signed_in.get_by_role("button", name="Pause").click()
    expect(signed_in.locator("main")).to_contain_text("An admin paused it")
    signed_in.get_by_role("button", name="Resume").click()
    expect(signed_in.locator("main")).not_to_contain_text("An admin paused it")


def test_what_came_through_a_channel_is_taken_back_and_the_page_follows_it(
    signed_in: Page, filled: Server, output: Path
):
    filled.authenticate({"customer_id": "bulk-1", "visitor_id": "b", "name": "Bulk"})
    signed_in.get_by_role("link", name="Channels").click()
    signed_in.get_by_role("link", name="Was a write key stolen?").click()
    signed_in.get_by_label("Channel", exact=True).select_option("Website")
    signed_in.get_by_label("Arrived from").fill("2020-01-01T00:00:00")
    signed_in.get_by_text("Narrow it further").click()
    signed_in.get_by_label("Customer id", exact=True).fill("bulk-1")

    signed_in.get_by_role("button", name="Preview").click()
    expect(signed_in.locator("#preview")).to_contain_text("Merges: 1, of customers: 1.")
    assert look(signed_in, output / "bulk-preview.png") == []
    signed_in.get_by_label("I am sure").check()
    signed_in.get_by_role("button", name="Take all of it back").click()

    expect(signed_in.locator("#operations .tag").first).to_have_text("done", timeout=20_000)
    assert look(signed_in, output / "bulk-done.png") == []
    assert filled.get("/api/v1/customers/bulk-1").status_code == 404


@pytest.mark.parametrize(
    ("language", "width", "scheme"),
    [("en", 360, "light"), ("en", 1280, "light"), ("en", 360, "dark"), ("en", 1280, "dark"), ("zh-TW", 360, "light")],
)
def test_every_page_is_clean_by_axe_fits_its_width_and_says_nothing_in_the_console(
    browser: Browser, filled: Server, output: Path, language: str, width: int, scheme: Literal["light", "dark"]
):
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, locale=language)
    page = context.new_page()
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    merge_id = filled.get(f"/api/v1/admin/merges?{ANA}&reason=no_country_code").json()["items"][0]["merge_id"]

    faults = {}
    page.goto(f"{filled.url}/admin")
    faults["sign-in"] = look(page, output / f"sign-in-{language}-{width}-{scheme}.png")
    page.fill("#key", ADMIN_KEY)
    page.keyboard.press("Enter")
    expect(page.locator("#q")).to_be_visible()
    for name, path in {**PAGES, "merge": f"/merge?merge_id={merge_id}"}.items():
        page.goto(f"{filled.url}/admin{path}")
        if name == "live":
            expect(page.locator("#live-rows > li").first).to_be_visible()
        faults[name] = look(page, output / f"{name}-{language}-{width}-{scheme}.png")
    for name, path, button in powers(filled):
        page.goto(f"{filled.url}/admin{path}")
        with page.expect_navigation():
            page.locator(button).first.click()
        expect(page.locator("main h1")).to_be_visible()
        faults[name] = look(page, output / f"{name}-{language}-{width}-{scheme}.png")
    faults["receipt"] = look(erased(page, filled), output / f"receipt-{language}-{width}-{scheme}.png")
    page.goto(f"{filled.url}/admin/missing")
    page.locator("summary").first.click()
    page.fill("#write_key", WRITE_KEY)
    page.fill("#body", '{"customerId": "ana-42", "visitor_id": "x", "phone": "0912345678", "gender": "woman"}')
    with page.expect_navigation():
        page.locator("details button").first.click()
    faults["request"] = look(page, output / f"request-{language}-{width}-{scheme}.png")
    for name, path, box, text in (("found", "", "#q", "ana@shop.example"), ("checked", "/missing", "#id", "ana-42")):
        page.goto(f"{filled.url}/admin{path}")
        page.fill(box, text)
        with page.expect_navigation():
            page.keyboard.press("Enter")
        faults[name] = look(page, output / f"{name}-{language}-{width}-{scheme}.png")
    context.close()

    assert faults == {name: [] for name in faults}
    assert [text for text in told if "404 (Not Found)" not in text] == []


def powers(server: Server) -> list[tuple[str, str, str]]:
    """Return the pages that come before something is done: a name, where one comes from, and what one presses."""
    merges = server.get("/api/v1/admin/merges?customer_id=power-1").json()["items"]
    merge_id = next(merge["merge_id"] for merge in merges if not merge.get("act") and not merge["created_customer"])
    customer = "/customer?customer_id=power-1"
    undo_id = server.get("/api/v1/admin/merges?customer_id=back-1").json()["items"][0]["merge_id"]
    return [
        ("undo", f"/merge?merge_id={merge_id}", "form[action='/admin/merge#preview'] button"),
        ("restore", f"/merge?merge_id={undo_id}", "form[action='/admin/merge#preview'] button"),
        ("apart", "/customer?customer_id=part-2", "#joins form button"),
        ("unlink", "/visitor?visitor_id=kiosk", "form[action='/admin/visitor/undo'] button"),
        ("join", "/suggestions", "form[action='/admin/customer/join'] button"),
        ("erase", customer, "form[action='/admin/customer/erase'] button"),
        ("webhook", "/webhooks", "main ul a"),
    ]


def erased(page: Page, server: Server) -> Page:
    """Erase a customer as a person does; return the page with the receipt."""
    customer_id = f"gone-{uuid4()}"
    server.authenticate({"customer_id": customer_id, "visitor_id": customer_id, "name": "Eve"})
    page.goto(f"{server.url}/admin/customer?customer_id={customer_id}")
    page.get_by_role("main").locator("button.danger").click()
    page.fill("#typed", customer_id)
    page.keyboard.press("Enter")
    expect(page.locator(".receipt")).to_be_visible()
    expect(page.locator("#typed")).to_have_count(0)
    return page


def look(page: Page, picture: Path) -> list[str]:
    """Keep a picture of the page, and return what is wrong with it."""
    page.screenshot(path=picture, full_page=True)
    found = [
        f"{violation['id']}: {[node['html'][:200] for node in violation['nodes'][:3]]}"
        for violation in Axe().run(page).response["violations"]
    ]
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return [*found, *([f"{wide} pixels too wide"] if wide > 0 else [])]


def test_the_graph_is_readable_with_sixty_nodes_and_prints_on_one_sheet_of_width(
    browser: Browser, filled: Server, output: Path
):
    for number in range(58):
        filled.authenticate({"customer_id": "hub", "visitor_id": f"spoke-{number}-of-a-long-name", "name": "Hub"})
        if number % 4 == 0:
            filled.authenticate({"customer_id": f"rim-{number % 3}", "visitor_id": f"spoke-{number}-of-a-long-name"})
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    sign_in(page, filled)

    page.goto(f"{filled.url}/admin/customer/graph?customer_id=hub")

    page.screenshot(path=output / "graph-of-60.png", full_page=True)
    page.emulate_media(media="print")
    page.screenshot(path=output / "graph-of-60-printed.png", full_page=True)
    boxes = page.eval_on_selector_all(
        ".drawing .box", "boxes => boxes.map(b => (({x, y, width, height}) => [x, y, width, height])(b.getBBox()))"
    )
    covering = page.evaluate(
        """() => [...document.querySelectorAll('.drawing a text')].filter(text => {
            const box = text.getBBox(); const frame = text.closest('a').previousElementSibling.getBBox();
            return box.width > frame.width; }).length"""
    )
    labels = page.eval_on_selector_all(
        ".drawing text.soft", "texts => texts.map(t => (({x, y, width, height}) => [x, y, width, height])(t.getBBox()))"
    )
    context.close()
    assert len(labels) > 60
    assert not [(label, box) for label in labels for box in boxes if _overlap(label, box)]
    assert len(boxes) == 62
    assert not [(a, b) for a in boxes for b in boxes if a < b and _overlap(a, b)]
    assert covering == 0


def _overlap(one: list[float], other: list[float]) -> bool:
    (x, y, width, height), (x2, y2, width2, height2) = one, other
    return x < x2 + width2 and x2 < x + width and y < y2 + height2 and y2 < y + height


@pytest.fixture(params=[False, True], ids=["policy on", "policy off"])
def watched(request: pytest.FixtureRequest, browser: Browser) -> Iterator[tuple[BrowserContext, list[str]]]:
    """A browser that tells of everything that was executed, with the pages' policy on and off."""
    context = browser.new_context(bypass_csp=request.param)
    executed: list[str] = []

    def dismiss(dialog: Dialog) -> None:
        executed.append(dialog.type)
        dialog.dismiss()

    context.expose_function("executed", lambda text: executed.append(str(text)))
    context.add_init_script(
        "for (const name of ['alert', 'confirm', 'prompt', 'print']) window[name] = () => executed(name);"
    )
    context.on("dialog", dismiss)
    yield context, executed
    context.close()


def test_no_hostile_value_in_any_public_field_is_executed_on_any_page(
    watched: tuple[BrowserContext, list[str]], filled: Server
):
    context, executed = watched
    assert len(set(HOSTILE)) >= 200
    fields = ("display_name", "address", "email", "phone", "gender", "birthday", "unknown")
    for number, value in enumerate(HOSTILE):
        subject = {"customer_id": f"target-{number % 3}", "visitor_id": f"target-{number % 4}"}
        filled.authenticate({**subject, **dict.fromkeys(fields, value)})
        filled.authenticate({"customer_id": value, "visitor_id": value, "display_name": value})
        filled.authenticate({"customer_id": "null", "visitor_id": value, value: value})
        filled.events(
            {"type": value, "visitor_id": value, "event_id": value},
            {"type": "page_view", "visitor_id": "target-0", "props": {"page_path": value, "page_title": value}},
            {"type": "userSignedUp", "userId": f"new {value}", "profile": {"custom": {"text": value, "list": [value]}}},
        )
        track = {"type": "track", "anonymousId": "target-1", "event": value, "properties": {"order_id": value}}
        filled.client.post("/v1/track", json={**track, "writeKey": WRITE_KEY})
    page = context.new_page()
    elsewhere: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: elsewhere.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    sign_in(page, filled)

    paths = [*PAGES.values(), "/merges?limit=200", "/refusals?limit=200", "/visitor?visitor_id=target-0"]
    for number in range(3):
        paths += [f"/customer{view}?customer_id=target-{number}" for view in ("", "/timeline", "/graph")]
    for value in EXECUTIONS:
        paths += [f"/customer?{urlencode({'customer_id': value})}", f"/visitor?{urlencode({'visitor_id': value})}"]
    newest = filled.get("/api/v1/admin/merges?customer_id=target-0").json()["items"]
    paths += [f"/merge?merge_id={merge['merge_id']}" for merge in newest[:10]]
    for path in paths:
        page.goto(f"{filled.url}/admin{path}")
        page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
        page.mouse.move(200, 300)
    for merge in newest[:5]:
        page.goto(f"{filled.url}/admin/merge?merge_id={merge['merge_id']}")
        with page.expect_navigation():
            page.locator("form[action='/admin/merge#preview'] button").click()
    for value in EXECUTIONS[:8]:
        filled.authenticate({"customer_id": value, "visitor_id": "kiosk", "display_name": value, "address": value})
        page.goto(f"{filled.url}/admin/customer?customer_id=target-0")
        page.fill("#other", value)
        page.fill("#lock-reason", value)
        with page.expect_navigation():
            page.locator("#joins button").last.click()
        expect(page.get_by_role("columnheader", name="Together")).to_be_visible()
        page.goto(f"{filled.url}/admin/webhooks")
        page.fill("#url", f"{filled.url}/livez")
        page.fill("#description", value)
        with page.expect_navigation():
            page.locator("main form button").last.click()
        page.locator("input[name=sure]").check()
        with page.expect_navigation():
            page.locator("button.danger").click()
    for value in EXECUTIONS:
        page.goto(f"{filled.url}/admin/missing")
        page.fill("#id", value)
        with page.expect_navigation():
            page.keyboard.press("Enter")
    page.goto(f"{filled.url}/admin/live")
    expect(page.locator("#live-state")).to_have_text("Live")
    for value in EXECUTIONS:
        filled.authenticate({"customer_id": f"live {value}", "visitor_id": value, "gender": value})
    expect(page.locator("#live-rows")).to_contain_text(f"live {EXECUTIONS[-1]}")

    assert executed == []
    assert errors == []
    assert [url for url in elsewhere if not url.startswith(f"{filled.url}/admin")] == []
