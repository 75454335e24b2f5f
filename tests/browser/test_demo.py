"""The demo shop, walked as a person would; and the SDK with the real service behind it."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, Page, expect

from identity.sdk import release
from tests.browser.stand_in import StandIn
from tests.browser.watch import Watch, settle, wait_until
from tests.harness import WRITE_KEY, Server, Urls, fresh_store


@pytest.fixture(scope="module")
def demo(urls: Urls) -> Iterator[Server]:
    """A service with the demo, which the embedded servers alone have by themselves."""
    with (
        fresh_store(urls.database) as url,
        Server(url, urls.redis, environ={"IDENTITY_DEMO": "on"}) as running,
    ):
        yield running


@pytest.fixture(scope="module", autouse=True)
def _services_before_the_browser(demo: Server, server: Server) -> None:
    """While Playwright runs, no store can be made: that takes an event loop of its own."""


def contrasts(page: Page) -> list[str]:
    """Return what axe finds wrong on the page and in its frames."""
    return [f"{rule['id']}: {rule['help']}" for rule in Axe().run(page).response["violations"]]


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (360, "light"), (360, "dark")])
def test_the_demo_is_walked_through_its_five_steps(
    browser: Browser, demo: Server, output: Path, width: int, scheme: str
):
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    watch = Watch(page)
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    laptop, phone = page.frame_locator("#laptop iframe"), page.frame_locator("#phone iframe")
    held, merges = page.locator("#held"), page.locator("#merges > li")

    def picture(name: str) -> None:
        page.screenshot(path=output / f"demo-{name}-{width}-{scheme}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert contrasts(page) == []

    page.goto(f"{demo.url}/demo")
    expect(held).to_contain_text("Nothing yet")
    laptop.get_by_role("button", name="Add High mountain oolong").click()
    expect(page.locator("[data-step=browse]")).to_have_class("done")
    picture("1-browsed")

    laptop.get_by_role("button", name="Sign in as Ana").click()
    expect(merges).to_have_count(1)
    expect(held.locator(".customer")).to_contain_text("put High mountain oolong in the cart before the sign-in")
    expect(merges.first).to_contain_text("Send the number with + and its country code")
    picture("2-ana")

    page.get_by_role("button", name="Open the shop on the phone").click()
    phone.get_by_role("button", name="Sign in as Ana").click()
    expect(merges).to_have_count(2)
    expect(merges.first).to_contain_text("Ana → Ana Lin")
    expect(held.locator(".chip.now")).to_have_count(2)
    phone.get_by_role("button", name="Add Sencha").click()
    phone.get_by_role("button", name="Pay").click()
    expect(held).to_contain_text("Phone: bought Sencha for $320")
    picture("3-phone")

    laptop.get_by_role("button", name="Sign in as Bo").click()
    expect(merges).to_have_count(3)
    expect(held.locator(".customer")).to_have_count(2)
    expect(page.locator("[data-whose=laptop]")).to_have_text("known as Bo")
    expect(page.locator("[data-whose=phone]")).to_have_text("known as Ana")

    laptop.get_by_role("button", name="Sign out").click()
    expect(page.locator("[data-whose=laptop]")).to_have_text("nobody is known here")
    expect(page.locator("#steps .done")).to_have_count(5)
    picture("4-all")

    page.reload()
    expect(held.locator(".customer")).to_have_count(2)
    page.get_by_role("button", name="Start over").click()
    expect(held).to_contain_text("Nothing yet")
    expect(held.locator(".customer")).to_have_count(0)
    assert [url for url in requests if not url.startswith(demo.url)] == []
    assert (watch.errors, watch.rejections, watch.console) == ([], [], [])
    context.close()


def test_a_member_who_is_signed_in_already_is_sent_once_over_many_pages(page: Page, demo: Server):
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.url.endswith("/authenticate") else None)
    page.goto(f"{demo.url}/demo")
    page.frame_locator("#laptop iframe").get_by_role("button", name="Sign in as Bo").click()
    expect(page.locator("#merges > li")).to_have_count(1)

    for _ in range(3):
        page.reload()
        expect(page.locator("[data-whose=laptop]")).to_have_text("known as Bo")
    settle(page)

    assert len(sent) == 1


def told(url: str, **headers: str) -> int:
    return httpx.get(f"{url}/demo/told?run={'0' * 16}", headers=headers).status_code


def test_the_demo_answers_this_machine_alone_by_its_own_names_and_behind_no_proxy(demo: Server, server: Server):
    port = demo.port

    assert told(demo.url) == told(demo.url, host=f"localhost:{port}") == told(demo.url, host=f"[::1]:{port}") == 200
    assert told(demo.url, host=f"rebound.example:{port}") == 404
    assert told(demo.url, host=f"127.0.0.1.rebound.example:{port}") == 404
    for trace in ("x-forwarded-for", "forwarded", "via", "x-real-ip", "x-forwarded-host"):
        assert told(demo.url, **{trace: "127.0.0.1"}) == 404
    assert told(server.url) == 404
    assert {server.client.get(path).status_code for path in ("/demo", "/demo/shop.html", "/demo/demo.js")} == {404}


def test_the_demo_tells_of_nobody_but_the_samples_of_one_run(demo: Server):
    run = "a1" * 8
    demo.authenticate({"visitor_id": "real", "customer_id": "42", "display_name": "Real"})
    demo.authenticate({"visitor_id": "other", "customer_id": f"demo-ana-{'b2' * 8}", "display_name": "Other"})
    demo.authenticate({"visitor_id": "mine", "customer_id": f"demo-ana-{run}", "display_name": "Mine"})

    (sample,) = demo.client.get(f"/demo/told?run={run}").json()

    assert sample["customer"]["fields"] == {"display_name": "Mine"}
    for wrong in ("", "42", "a1", "%", f"{run}%0a", f"{run}&run=42", "A1" * 8, "../" + run):
        assert demo.client.get(f"/demo/told?run={wrong}").status_code == 404
    for name in ("__init__.py", "..%2f__init__.py", "%2e%2e", "nothing.html"):
        assert demo.client.get(f"/demo/{name}").status_code == 404


def test_a_device_that_is_none_and_a_hostile_one_are_the_laptop(demo: Server):
    pages = {
        demo.client.get("/demo/shop.html", params={"device": d}).text for d in ("laptop", "", '"><script>', "{key}")
    }

    assert len(pages) == 1
    assert f'data-write-key="{WRITE_KEY}" data-name="laptop"' in pages.pop()


def test_the_served_sdk_carries_a_sign_in_from_another_origin_to_the_profile(
    page: Page, watch: Watch, shop: StandIn, server: Server
):
    told = server.client.get("/sdk.json").json()
    sdk = (
        f'<script async src="{server.url}{told["pinned"]}" integrity="{told["integrity"]}" crossorigin="anonymous"'
        f' data-write-key="{WRITE_KEY}" data-debug></script>'
    )
    page.goto(shop.page("/", sdk, content_security_policy=f"script-src {server.url}; connect-src {server.url}"))
    page.wait_for_function("!!window.clWidget")
    page.evaluate("""() => {
        const items = [{item_id: "1", item_name: "Tea", price: "4", quantity: 1}];
        clWidget.clSdk.clRe.record("add_to_cart", {props: {items}});
        clWidget.clSdk.clRe.record("page_view", {props: {page_path: "/", page_title: "Shop"}});
        dataLayer.push({event: "clIdentity", params: {customerId: 42, name: "Ana", phone: "0912345678"}});
    }""")

    wait_until(page, lambda: server.get("/api/v1/customers/42").status_code == 200)
    wait_until(page, lambda: len(server.get("/api/v1/customers/42/footprint").json()["items"]) == 1)
    wait_until(page, lambda: len(watch.console) >= 5)

    customer = server.get("/api/v1/customers/42").json()
    visitor = page.evaluate("document.cookie.match(/identityVisitor=(\\w+)/)[1]")
    (seen,) = server.get("/api/v1/customers/42/footprint").json()["items"]
    said = " | ".join(watch.console)
    assert customer["fields"] == {"display_name": "Ana"}
    assert [v["visitor_id"] for v in customer["visitors"]] == [visitor]
    assert (seen["type"], seen["visitor_id"]) == ("page_view", visitor)
    assert "display_mobile 0912345678 no_country_code Send the number with +" in said
    assert "/props/items/0/price  number_as_text" in said
    assert watch.errors == []


def test_the_release_and_the_scripts_are_served_by_the_service(server: Server):
    answers = {path: server.client.get(path) for path in ("/sdk.js", release().pinned, "/sdk.d.ts", "/sdk.json")}

    assert {path: answer.status_code for path, answer in answers.items()} == dict.fromkeys(answers, 200)
    assert answers["/sdk.json"].json()["integrity"] == release().integrity
    assert answers["/sdk.js"].headers["content-encoding"] == "gzip"
    missing = server.client.get("/sdk/0000000000000000.js")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
