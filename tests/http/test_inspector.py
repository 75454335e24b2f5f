"""The inspector over HTTP: who may open it, what it shows, and that nothing in it is ever more than text."""

import asyncio
import re
import time
from collections.abc import Iterator
from html import unescape
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
import redis

from identity.admin import sessions, words
from identity.admin.arrivals import CheckName
from identity.admin.changes import Changes, NewKey
from identity.admin.pages import SECTIONS
from identity.admin.sessions import COOKIE, FAILURES_MAX, IDLE_SECONDS_MAX, SESSION_SECONDS_MAX, Sessions
from identity.erasure import Removed
from identity.events.behaviour import FAULT_HINTS
from identity.explaining import STRETCH_REASONS
from identity.imports.columns import Columns
from identity.imports.run import Parameters
from identity.imports.run import begin as begin_import
from identity.refusals import Refusal
from identity.webhooks.endpoints import State
from identity.webhooks.sending import FAULT_HINTS as WEBHOOK_FAULT_HINTS
from profiles.access import Scope
from profiles.explaining import OUTCOMES
from profiles.http import Problem, Request
from profiles.profile import Act
from profiles.remarks import Reason, Verdict
from tests.harness import ADMIN_KEY, WRITE_KEY, Server, Urls, fresh_store, opened_service
from tests.http.corpus import TEXTS
from tests.http.test_admin import worker

OWN = {"Sec-Fetch-Site": "same-origin"}
SUBJECT = {"customer_id": "ana-42"}
PAGES = [
    *(path for path, _ in SECTIONS),
    "/customer?customer_id=ana-42",
    "/customer/timeline?customer_id=ana-42",
    "/customer/graph?customer_id=ana-42",
    "/visitor?visitor_id=laptop",
]


class Inspector:
    """Someone at the inspector, with a browser's cookies."""

    def __init__(self, server: Server, key: str = ADMIN_KEY, language: str = "en") -> None:
        self.client = httpx.Client(base_url=server.url, timeout=20.0, headers={"Accept-Language": language})
        self.answer = self.client.post("/admin/sign-in", data={"key": key}, headers=OWN)
        self.cookie = self.answer.headers.get("set-cookie", "").partition(";")[0]

    def get(self, path: str) -> httpx.Response:
        """Open a page."""
        return self.client.get(f"/admin{path}", headers={"Cookie": self.cookie})

    def text(self, path: str) -> str:
        """Return what a page says, without its tags."""
        page = self.get(path)
        assert page.status_code == 200, page.text
        return said(page)

    @property
    def token(self) -> str:
        """What stands in the forms."""
        found = re.search(r'name="token" value="([^"]+)"', self.get("").text)
        assert found is not None
        return found[1]

    def post(self, path: str, **form: str) -> httpx.Response:
        """Send a form as its page does."""
        headers = {"Cookie": self.cookie, **OWN}
        return self.client.post(f"/admin{path}", data={"token": self.token, **form}, headers=headers)


def said(page: httpx.Response) -> str:
    """Return the text of a page."""
    body = page.text.partition("<main")[2].partition("</main>")[0]
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", body.replace("<wbr>", ""))).split())


@pytest.fixture(scope="module")
def filled(server: Server) -> Server:
    """A server with a customer who has two visitors, one of them shared, and with refused events."""
    old = {"visitor_id": "laptop", "display_email": "ana@old.example", "phone": "0912345678"}
    server.authenticate({**SUBJECT, **old, "display_name": "Ana"})
    server.authenticate({**SUBJECT, "visitor_id": "phone", "display_email": "ana@shop.example", "gender": "woman"})
    server.authenticate({**SUBJECT, "visitor_id": "phone", "display_mobile": "+886912345678"})
    server.authenticate({"customer_id": "bo-7", "visitor_id": "phone", "display_email": "ana@shop.example"})
    server.authenticate({"customer_id": "undefined", "visitor_id": "broken"})
    page = {"type": "page_view", "visitor_id": "walker", "props": {"page_path": "/p", "page_title": "P"}}
    server.events(page, {**page, "visitor_id": "laptop"}, {**page, "visitor_id": "stray", "props": {}})
    return server


@pytest.fixture(scope="module")
def inspector(filled: Server) -> Inspector:
    """Someone who is signed in."""
    return Inspector(filled)


# Coming in.


@pytest.mark.parametrize("path", PAGES)
def test_without_a_session_every_page_is_the_way_in_and_shows_nothing_else(filled: Server, path: str):
    page = filled.client.get(f"/admin{path}")

    assert page.status_code == 200
    assert 'name="key"' in page.text
    assert not re.search("ana@|laptop</|undefined|Website", said(page))


def test_a_session_is_a_cookie_that_only_this_site_and_no_script_can_use(filled: Server):
    answer = Inspector(filled).answer

    assert (answer.status_code, answer.headers["location"]) == (303, "/admin")
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}=")
    assert set(cookie.split("; ")[1:]) == {
        "Path=/",
        f"Max-Age={IDLE_SECONDS_MAX}",
        "Secure",
        "HttpOnly",
        "SameSite=Strict",
    }
    assert ADMIN_KEY not in cookie


@pytest.mark.parametrize(("key", "status"), [("sk_nobody_has_this_one", 401), ("", 401), ("x" * 5_000, 401)])
def test_a_wrong_key_opens_nothing(filled: Server, key: str, status: int):
    wrong = Inspector(filled, key)

    assert (wrong.answer.status_code, wrong.cookie) == (status, "")
    assert "No key in force" in said(wrong.answer)


def test_a_key_without_the_scope_admin_opens_nothing(filled: Server):
    key = filled.post("/api/v1/admin/keys", {"name": "CRM", "scopes": ["profiles:read"]}).json()

    wrong = Inspector(filled, key["secret"])

    assert (wrong.answer.status_code, wrong.cookie) == (403, "")


def test_a_session_ends_with_its_key_at_the_next_request(filled: Server):
    key = filled.post("/api/v1/admin/keys", {"name": "Guest", "scopes": ["admin"]}).json()
    guest = Inspector(filled, key["secret"])
    assert "Latest merges" in guest.text("")

    filled.client.delete(f"/api/v1/admin/keys/{key['key_id']}", headers={"Authorization": f"Bearer {ADMIN_KEY}"})

    assert 'name="key"' in guest.get("").text


def test_a_cookie_that_was_changed_anywhere_is_none(inspector: Inspector):
    value = inspector.cookie.partition("=")[2]

    for at in range(0, len(value), 7):
        other = "0" if value[at] != "0" else "1"
        answer = inspector.client.get("/admin", headers={"Cookie": f"{COOKIE}={value[:at]}{other}{value[at + 1 :]}"})
        assert 'name="key"' in answer.text
    for junk in ("", ".", "....", "a.b.c.d.e", "ä.1.1.x.y", "." * 5000, f"{value}.", value[:-1]):
        answer = inspector.client.get("/admin", headers={b"Cookie": f"{COOKIE}={junk}".encode()})
        assert 'name="key"' in answer.text


def test_signing_out_takes_the_cookie_away(filled: Server):
    guest = Inspector(filled)

    answer = guest.post("/sign-out")

    assert answer.status_code == 303
    assert answer.headers["set-cookie"].startswith(f"{COOKIE}=; Path=/; Max-Age=0")


def test_after_signing_in_one_is_where_one_wanted_to_be_and_never_on_another_site(filled: Server):
    wanted = "/admin/customer?customer_id=ana-42"
    form = filled.client.get(wanted)
    places = {}
    for back in (wanted, "https://evil.example/", "//evil.example", "/admin@evil.example", "/admin/\\evil", "/other"):
        answer = filled.client.post("/admin/sign-in", data={"key": ADMIN_KEY, "back": back}, headers=OWN)
        places[back] = answer.headers["location"]

    assert f'name="back" value="{wanted}"' in form.text
    assert places.pop(wanted) == wanted
    assert set(places.values()) == {"/admin"}


def test_a_session_ends_after_its_longest_time_and_when_nobody_uses_it(urls: Urls, store_url: str):
    begin = 1_780_000_000

    async def main() -> tuple[list[tuple[int, bool, bool]], int]:
        async with opened_service(store_url, urls.redis) as service:

            def at(seconds: int) -> Sessions:
                return Sessions(service.access, service.cache, lambda: begin + seconds)

            session = await at(0).sign_in(_request(), ADMIN_KEY)
            found = []
            for seconds in (0, sessions.RENEW_SECONDS, IDLE_SECONDS_MAX - 1, IDLE_SECONDS_MAX):
                same = await at(seconds).find(_request(session.value))
                renewed = None if same is None else at(seconds).renewed(same)
                found.append((seconds, same is not None, renewed is not None))
            seconds, used = 0, session
            while (same := await at(seconds).find(_request(used.value))) is not None:
                used = at(seconds).renewed(same) or same
                seconds += IDLE_SECONDS_MAX // 2
            return found, seconds

    found, ended = asyncio.run(main())

    assert found == [
        (0, True, False),
        (sessions.RENEW_SECONDS, True, True),
        (IDLE_SECONDS_MAX - 1, True, True),
        (IDLE_SECONDS_MAX, False, False),
    ]
    assert ended == SESSION_SECONDS_MAX


def test_too_many_failed_sign_ins_make_one_wait_in_every_worker(
    urls: Urls, store_url: str, monkeypatch: pytest.MonkeyPatch
):
    # Of a Redis that a loaded machine keeps waiting nothing is known, and then each worker counts by itself.
    monkeypatch.setattr("profiles.cache.CONNECT_SECONDS_MAX", 5.0)
    monkeypatch.setattr("profiles.cache.CALL_SECONDS_MAX", 5.0)

    async def sign_in(client: httpx.AsyncClient, key: str) -> int:
        return (await client.post("/admin/sign-in", data={"key": key}, headers=OWN)).status_code

    async def main() -> tuple[list[int], list[int]]:
        async with worker(store_url, urls.redis) as (_, here), worker(store_url, urls.redis) as (_, there):
            both = (here, there)
            failed = [await sign_in(both[n % 2], f"sk_guess_{n}_of_someone") for n in range(FAILURES_MAX + 4)]
            return failed, [await sign_in(client, ADMIN_KEY) for client in both * 2]

    failed, right = asyncio.run(main())

    assert failed == [401] * FAILURES_MAX + [429] * 4
    assert right == [429] * 4


def test_failed_sign_ins_are_counted_without_redis_too(store_url: str):
    async def main() -> list[int]:
        async with opened_service(store_url, "redis://127.0.0.1:1") as service:
            held = Sessions(service.access, service.cache)
            statuses = []
            for _ in range(FAILURES_MAX + 1):
                try:
                    await held.sign_in(_request(), "sk_guess_of_someone")
                except Problem as problem:
                    statuses.append(problem.status)
            return statuses

    assert asyncio.run(main()) == [401] * FAILURES_MAX + [429]


def _request(cookie: str | None = None) -> Request:
    headers = {} if cookie is None else {b"cookie": f"{COOKIE}={cookie}".encode()}
    return Request("GET", headers, {"client": ("127.0.0.1", 1)}, None)


# Forms.


def test_a_form_is_taken_from_our_own_pages_with_the_sessions_token_only(filled: Server, inspector: Inspector):
    other = Inspector(filled).token
    data = {"action": "create", "name": "Stolen"}
    origin = filled.url
    tries: list[tuple[dict[str, str], dict[str, str]]] = [
        ({"Sec-Fetch-Site": "cross-site"}, {"token": inspector.token}),
        ({"Sec-Fetch-Site": "same-site"}, {"token": inspector.token}),
        ({"Sec-Fetch-Site": "none"}, {"token": inspector.token}),
        ({"Origin": "https://evil.example"}, {"token": inspector.token}),
        ({"Origin": "null"}, {"token": inspector.token}),
        ({}, {"token": inspector.token}),
        (OWN, {}),
        (OWN, {"token": other}),
        ({"Origin": origin}, {"token": "ä"}),
    ]

    answers = [
        inspector.client.post("/admin/channels", data={**data, **form}, headers={"Cookie": inspector.cookie, **headers})
        for headers, form in tries
    ]

    assert [answer.status_code for answer in answers] == [403] * len(tries)
    assert "Stolen" not in inspector.text("/channels")
    taken = inspector.client.post(
        "/admin/search",
        data={"q": "ana-42", "token": inspector.token},
        headers={"Cookie": inspector.cookie, "Origin": origin},
    )
    assert taken.status_code == 303


@pytest.mark.parametrize("body", [b"\xff=%ff", b"q=%ff", b"&" * 200, b"x" * 40_000, b"a=1&" * 60, b"", "q=ä".encode()])
def test_a_form_of_rubbish_is_refused_by_a_page(inspector: Inspector, body: bytes):
    answer = inspector.client.post("/admin/search", content=body, headers={"Cookie": inspector.cookie, **OWN})

    assert answer.status_code in (400, 403, 413)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"


def test_a_method_or_an_address_that_is_none_is_answered_by_a_page(inspector: Inspector):
    headers = {"Cookie": inspector.cookie, **OWN}
    answers = {
        (method, path): inspector.client.request(method, f"/admin{path}", headers=headers).status_code
        for method, path in (
            ("GET", "/nothing"),
            ("GET", "istrator"),
            ("GET", "/%2e%2e/x"),
            ("GET", "/static/nothing"),
            ("GET", "/static/../pages.py"),
            ("DELETE", "/channels"),
            ("PUT", ""),
            ("HEAD", ""),
        )
    }

    assert list(answers.values()) == [404, 404, 404, 404, 404, 405, 405, 200]


# What every page is.


class _Page(HTMLParser):
    """What a page asks a browser to do."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.links: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links |= {value or "" for name, value in attrs if name in ("href", "src", "action", "hx-get")}


@pytest.mark.parametrize("language", words.LANGUAGES)
@pytest.mark.parametrize("path", PAGES)
def test_a_page_has_nothing_inline_loads_nothing_from_elsewhere_and_is_kept_nowhere(
    filled: Server, inspector: Inspector, path: str, language: str
):
    headers = {"Cookie": f"{inspector.cookie}; inspector_language={language}"}

    answer = inspector.client.get(f"/admin{path}", headers=headers)

    page = _Page()
    page.feed(answer.text)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-security-policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    )
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert f'<html lang="{language}">' in answer.text
    assert page.tags.count("h1") == 1
    assert page.tags.count("script") == 2
    assert re.findall(r"<script[^>]*></script>", answer.text) == re.findall(r"<script.*", answer.text)
    assert not page.attributes & {"style"}
    assert not {name for name in page.attributes if name.startswith("on")}
    assert not [link for link in page.links if not re.match(r"(/admin|/docs$|#main$)", link)]
    for link in page.links:
        if link.startswith("/admin/static/"):
            file = filled.client.get(link)
            assert (file.status_code, "immutable" in file.headers["cache-control"]) == (200, True)


@pytest.mark.parametrize("path", PAGES)
def test_no_link_of_a_page_leads_nowhere(inspector: Inspector, path: str):
    page = _Page()
    page.feed(inspector.get(path).text)

    answers = {
        link: inspector.client.get(link, headers={"Cookie": inspector.cookie}).status_code
        for link in page.links - {"#main"}
    }

    posted = {"/admin/search", "/admin/sign-out", "/admin/language", "/admin/visitor/undo", "/admin/customer/join"}
    posted |= {"/admin/customer/erase", "/admin/customer"}
    assert {link for link, status in answers.items() if status != 200} == posted & set(answers)


def test_every_text_is_there_in_every_language_and_every_code_has_its_sentences():
    english = words.texts("en")
    names = [f"verdict.{verdict}" for verdict in Verdict]
    names += [f"name.verdict.{verdict}" for verdict in Verdict]
    names += [f"cause.{verdict}" for verdict in Verdict if verdict is not Verdict.SKIPPED_INVALID]
    names += [f"{kind}.{reason}" for reason in Reason for kind in ("cause", "hint")]
    names += [f"{kind}.refusal.{refusal}" for refusal in Refusal for kind in ("cause", "hint", "name")]
    names += [f"hint.fault.{code}" for code in FAULT_HINTS]
    names += [text for act in Act for text in (f"act.{act}", f"act.{act}.lead")]
    names += [f"offer.{outcome}" for outcome in OUTCOMES]
    names += [f"stretch.{reason}" for reason in STRETCH_REASONS]
    names += [f"request.check.{check}" for check in CheckName]
    names += [f"webhooks.state.{state}{end}" for state in State for end in ("", ".lead")]
    names += [f"erase.of.{kind}" for kind in Removed.__struct_fields__]
    names += [f"fault.{fault}" for fault in WEBHOOK_FAULT_HINTS]

    assert [name for name in names if name not in english] == []
    for language in words.LANGUAGES:
        held = words.texts(language)
        assert sorted(held.keys() ^ english.keys()) == []
        braces = re.compile(r"{\w+}")
        assert [n for n in held if sorted(braces.findall(held[n])) != sorted(braces.findall(english[n]))] == []


def test_every_cause_is_one_plain_sentence():
    for language in words.LANGUAGES:
        causes = {name: text for name, text in words.texts(language).items() if name.startswith("cause.")}

        assert [name for name, text in causes.items() if not re.fullmatch(r"[^.。]+(\.\w[^.。]*)*[.。]", text)] == []


@pytest.mark.parametrize(
    ("accepted", "chosen"),
    [
        ("", "en"),
        ("zh-TW,zh;q=0.9,en;q=0.8", "zh-Hant"),
        ("zh-Hant-HK", "zh-Hant"),
        ("de,en;q=0.7,zh;q=0.3", "en"),
        ("en;q=0,zh-TW;q=0.1", "zh-Hant"),
        ("fr", "en"),
        (";;q=,,en;q=x", "en"),
        (",".join(["xx"] * 5_000), "en"),
    ],
)
def test_the_language_is_the_browsers(accepted: str, chosen: str):
    assert words.choose(None, accepted) == chosen
    assert words.choose("zh-Hant", accepted) == "zh-Hant"


def test_the_language_can_be_switched_and_one_stays_on_the_page(filled: Server, inspector: Inspector):
    form = {"language": "zh-Hant", "back": "/admin/live"}

    answer = inspector.client.post("/admin/language", data=form, headers=OWN)

    assert (answer.status_code, answer.headers["location"]) == (303, "/admin/live")
    chosen = answer.headers["set-cookie"].partition(";")[0]
    page = inspector.client.get("/admin/live", headers={"Cookie": f"{inspector.cookie}; {chosen}"})
    assert "即時" in said(page)


# Searching.


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("ana-42", "/admin/customer?customer_id=ana-42"),
        ("  ana-42 ", "/admin/customer?customer_id=ana-42"),
        ("laptop", "/admin/visitor?visitor_id=laptop"),
        ("walker", "/admin/visitor?visitor_id=walker"),
        ("ANA@shop.example", None),
        ("+886 912-345-678", "/admin/customer?customer_id=ana-42"),
        ("ANA-42", None),
        ("ana@old.example", None),
        ("\x00\ud800", None),
        ("x" * 20_000, None),
    ],
)
def test_search_finds_each(inspector: Inspector, text: str, place: str | None):
    sent = text.encode("utf-8", "surrogatepass").decode("latin-1")
    form = text if sent.isascii() else "\x00"

    answer = inspector.post("/search", q=form)

    assert (answer.status_code, answer.headers.get("location")) == ((303, place) if place else (200, None))
    if text == "ANA@shop.example":
        assert {"ana-42", "bo-7"} <= set(said(answer).split())
    elif place is None:
        assert "Nothing is held by this." in said(answer)


def test_search_finds_a_merge_by_its_id(filled: Server, inspector: Inspector):
    merge_id = filled.get("/api/v1/admin/merges?customer_id=ana-42").json()["items"][0]["merge_id"]

    answer = inspector.post("/search", q=merge_id.upper())

    assert answer.headers["location"] == f"/admin/merge?merge_id={merge_id}"


def test_an_id_of_any_characters_has_a_page_behind_its_link(filled: Server, inspector: Inspector):
    for customer_id in ("a/b?c&d#e", "..", "lookup", "a b+c%2F", '"><script>', "ä語"):
        filled.authenticate({"customer_id": customer_id, "visitor_id": f"of {customer_id}", "display_name": "Odd"})

        for name, value in (("customer_id", customer_id), ("visitor_id", f"of {customer_id}")):
            place = inspector.post("/search", q=value).headers["location"]
            assert parse_qs(urlsplit(place).query) == {name: [value]}
            page = inspector.client.get(place, headers={"Cookie": inspector.cookie})
            assert value in said(page)


# What the pages tell.


def test_who_overwrote_the_email_stands_on_the_customers_page_and_two_clicks_show_the_merge(
    filled: Server, inspector: Inspector
):
    text = inspector.text("/customer?customer_id=ana-42")

    row = text.partition("display_email ")[2].partition("display_mobile ")[0]
    assert row.startswith("ana@shop.example clIdentity · Website · visitor phone")
    assert "It replaced ana@old.example" in row
    merge_id = filled.get("/api/v1/customers/ana-42?include=provenance").json()["provenance"]["display_email"][
        "merge_id"
    ]
    assert f"/admin/merge?merge_id={merge_id}" in inspector.get("/customer?customer_id=ana-42").text


def test_a_field_that_was_only_ever_skipped_is_there_with_its_cause(inspector: Inspector):
    text = inspector.text("/customer?customer_id=ana-42")

    row = text.partition(" gender ")[2]
    assert row.startswith("nothing is held woman skipped: not valid gender takes male, female, other or unknown")


def test_a_merge_tells_what_was_sent_read_held_before_and_after_and_what_to_do(filled: Server, inspector: Inspector):
    query = "/api/v1/admin/merges?customer_id=ana-42&reason=no_country_code"
    merge = filled.get(query).json()["items"][0]

    text = inspector.text(f"/merge?merge_id={merge['merge_id']}")

    assert (
        "display_mobile 0912345678 could not be read nothing nothing skipped: not valid The phone number has no country"
        " code, and none is ever guessed. no_country_code Send the number with + and its country code, for example"
        " +886912345678." in text
    )
    assert '"raw": "0912345678"' in text


def test_the_timeline_shows_every_entry_once_however_many_pages(filled: Server, inspector: Inspector):
    begin = 1_780_000_000_000
    for number in range(0, 240, 40):
        filled.authenticate(
            {"customer_id": "runner", "visitor_id": f"shoe-{number % 80}", "occurred_at": begin + number * 1000 + 500}
        )
        filled.events(
            *(
                {
                    "type": "page_view",
                    "visitor_id": f"shoe-{number % 80}",
                    "occurred_at": begin + (number + n) * 1000,
                    "props": {"page_path": f"/{number + n}", "page_title": f"step-{number + n}."},
                }
                for n in range(40)
            )
        )
    steps: list[str] = []
    identified = 0
    path: str | None = "/customer/timeline?customer_id=runner"
    while path is not None:
        page = inspector.get(path)
        body = page.text.partition('id="entries"')[2]
        steps += re.findall(r"<strong><bdi>(?:step-|/)(\d+)", body)
        identified += body.count("<bdi>clIdentity</bdi>")
        more = re.search(r'hx-get="/admin([^"]+)"', body)
        path = unescape(more[1]) if more else None

    assert [int(step) for step in steps] == list(range(239, -1, -1))
    assert identified == 2


def test_a_visitor_that_was_never_identified_has_a_page(inspector: Inspector):
    text = inspector.text("/visitor?visitor_id=walker")

    assert "It was never identified" in text
    assert "page_view" in text


def test_the_graph_names_whom_a_shared_visitor_belonged_to_besides(inspector: Inspector):
    page = inspector.get("/customer/graph?customer_id=ana-42")

    assert "/admin/customer/graph?customer_id=bo-7" in page.text
    assert 'class="link past"' in page.text
    assert 'class="link present"' in page.text


@pytest.mark.parametrize(
    ("text", "tells"),
    [
        ("ana-42", "Some values could not be held and were skipped: gender, display_mobile."),
        ("bo-7", "All is well"),
        ("undefined", "This is a placeholder that stands for nobody"),
        ("never-came", "Nothing with this id ever arrived"),
        ("walker", "Nobody is signed in on this visitor"),
        ("broken", "was refused as blocked_customer_id"),
        ("stray", "was refused as invalid_event"),
    ],
)
def test_the_checklist_names_the_cause(inspector: Inspector, text: str, tells: str):
    answer = inspector.post("/missing", id=text)

    assert answer.status_code == 200
    assert tells in said(answer).partition("The answer for")[2][:400]


def test_a_channel_whose_tracking_is_off_is_not_the_cause_where_another_one_delivered(urls: Urls, store_url: str):
    with Server(store_url, urls.redis) as server:
        person = Inspector(server)
        server.authenticate({"customer_id": "came-1", "visitor_id": "v", "phone": "0912345678"})
        old = {"name": "Old shop", "website_tracking": False, "origins": []}
        assert server.post("/api/v1/admin/channels", old).status_code == 200

        answer = said(person.post("/missing", id="came-1"))
        unknown = said(person.post("/missing", id="came-2"))

    assert "The answer for came-1 Some values could not be held and were skipped: display_mobile." in answer
    assert "look Website tracking is off for: Old shop." in answer
    assert "The answer for came-2 Website tracking is off for: Old shop." in unknown


def test_the_checklist_sees_a_channel_whose_tracking_is_off(urls: Urls, store_url: str):
    with Server(store_url, urls.redis) as server:
        someone = Inspector(server)
        page = someone.get("/channels").text
        channel_id = re.findall(r'name="channel_id" value="([^"]+)"', page)[0]
        form = {"channel_id": channel_id, "name": "Shop", "origins": "loopback", "on_sign_out": "keep"}
        changed = someone.post("/channels", action="change", signed_identity="off", **form)
        server.authenticate({"customer_id": "off", "visitor_id": "off"})

        answer = said(someone.post("/missing", id="off"))

    assert "Saved" in said(changed)
    assert "Website tracking is off for: Shop." in answer
    assert "tracking_disabled" in answer


def test_channels_and_keys_are_made_and_revoked(filled: Server, inspector: Inspector):
    wrong = inspector.post("/channels", action="create", name="Shop", origins="https://shop.example/path")
    made = inspector.post("/channels", action="create", name="Shop", origins="https://shop.example https://b.example")
    channel = next(c for c in filled.get("/api/v1/admin/channels").json()["items"] if c["name"] == "Shop")
    unsure = inspector.post("/channels", action="revoke", channel_id=channel["channel_id"])
    revoked = inspector.post("/channels", action="revoke", channel_id=channel["channel_id"], sure="on")
    key = inspector.post("/keys", action="create", name="CRM 2", **{"scope:profiles:read": "on"})
    secret = re.search(r"sk_[\w-]+", said(key))
    nothing = inspector.post("/keys", action="create", name="CRM 3")
    rubbish = inspector.post("/keys", action="drop")

    assert (wrong.status_code, "https://shop.example/path" in wrong.text) == (422, True)
    assert made.status_code == 200
    assert channel["origins"] == ["https://shop.example", "https://b.example"]
    assert (unsure.status_code, revoked.status_code) == (422, 200)
    assert filled.get(f"/api/v1/admin/channels/{channel['channel_id']}").json()["revoked_at"] is not None
    assert secret is not None
    bearer = {"Authorization": f"Bearer {secret[0]}"}
    assert filled.client.get("/api/v1/customers/ana-42", headers=bearer).status_code == 200
    assert secret[0] not in inspector.text("/keys")
    assert (nothing.status_code, rubbish.status_code) == (422, 400)


def test_the_address_that_a_failed_sign_in_leaves_leads_to_the_form(filled: Server):
    failed = filled.client.post("/admin/sign-in", data={"key": "sk_wrong"}, headers=OWN)
    again = filled.client.get("/admin/sign-in")

    assert (failed.status_code, again.status_code, again.headers["location"]) == (401, 303, "/admin")


def test_a_change_of_a_channel_that_fails_keeps_what_was_typed(filled: Server, inspector: Inspector):
    channels = {c["channel_id"]: c for c in filled.get("/api/v1/admin/channels").json()["items"]}
    before = next(channel for channel in channels.values() if channel["revoked_at"] is None)
    typed = {"name": "Nearly", "origins": "https://a.example/path", "on_sign_out": "keep", "signed_identity": "off"}
    form = {"action": "change", "channel_id": before["channel_id"], "unsigned_writes": "fill_empty", **typed}

    failed = inspector.post("/channels", **form)

    assert failed.status_code == 422
    card = failed.text[failed.text.index(before["channel_id"]) :]
    assert "<details open><summary>Change" in card
    assert 'value="Nearly"' in card
    assert ">https://a.example/path</textarea>" in card
    assert 'name="website_tracking">' in card
    assert '<option value="keep" selected>' in card
    assert '<option value="fill_empty" selected>' in card
    assert filled.get(f"/api/v1/admin/channels/{before['channel_id']}").json() == before


def test_an_import_that_is_not_done_says_what_taking_it_back_leaves(filled: Server, inspector: Inspector, urls: Urls):
    async def begin() -> None:
        async with opened_service(filled.database, urls.redis) as service:
            workspace_id = next(iter(service.access.workspaces))
            asked = Parameters("members.csv", "", 0, 1, Columns((), ()))
            await begin_import(service.database, workspace_id, "command", None, asked, 1)

    asyncio.run(begin())

    assert "or broken off; then identity import with --resume goes on with it" in inspector.text("/operations")


def test_nothing_of_another_workspace_is_shown(filled: Server, urls: Urls):
    async def main() -> str:
        async with opened_service(filled.database, urls.redis) as service:
            await Changes(service.database, service.access).create_workspace("elsewhere", spread=1)
            workspace = next(w for w in service.access.workspaces.values() if w.slug == "elsewhere")
            key = NewKey("Other", [Scope.ADMIN])
            return (await Changes(service.database, service.access).create_key(workspace.workspace_id, key)).secret

    stranger = Inspector(filled, asyncio.run(main()))

    merge_id = filled.get("/api/v1/admin/merges?customer_id=ana-42").json()["items"][0]["merge_id"]
    paths = [*PAGES[-4:], f"/merge?merge_id={merge_id}"]
    assert [stranger.get(path).status_code for path in paths] == [404] * len(paths)
    assert "Nothing has been merged yet" in stranger.text("")
    assert [stranger.post("/search", q=text).status_code for text in ("ana-42", "laptop", merge_id)] == [200] * 3
    assert "Website" not in stranger.text("/channels")


# What the pages do.


@pytest.fixture(scope="module")
def someone(urls: Urls) -> Iterator[tuple[Server, Inspector]]:
    """Someone who is signed in to a service whose webhooks may go to this machine. Each test has its own customers."""
    environ = {"IDENTITY_WEBHOOK_ALLOW_PRIVATE": "on"}
    with fresh_store(urls.database) as url, Server(url, urls.redis, environ=environ) as server:
        yield server, Inspector(server)


def push(server: Server, customer_id: str, **fields: object) -> str:
    """Push an identity and return the id of its merge."""
    server.authenticate({"customer_id": customer_id, "visitor_id": f"of-{customer_id}", **fields})
    found: str = server.get("/api/v1/admin/merges", params={"customer_id": customer_id}).json()["items"][0]["merge_id"]
    return found


def held(server: Server, customer_id: str) -> dict[str, object] | None:
    """Return the fields of a customer, None if there is none."""
    answer = server.get("/api/v1/customers", params={"customer_id": customer_id})
    fields: dict[str, object] | None = answer.json()["fields"] if answer.status_code == 200 else None
    return fields


def test_a_merge_is_previewed_taken_back_with_a_reason_and_restored(someone: tuple[Server, Inspector]):
    server, person = someone
    push(server, "cy-1", display_email="cy@old.example")
    merge_id = push(server, "cy-1", display_email="cy@new.example")

    preview = said(person.post("/merge", merge_id=merge_id, action="preview"))
    after_preview = held(server, "cy-1")
    done = person.post("/merge", merge_id=merge_id, action="undo", reason="typed by mistake")
    act = said(person.client.get(done.headers["location"], headers={"Cookie": person.cookie}))
    after_undo = held(server, "cy-1")
    undone = person.text(f"/merge?merge_id={merge_id}")
    act_id = parse_qs(urlsplit(done.headers["location"]).query)["merge_id"][0]
    restoring = said(person.post("/merge", merge_id=act_id, action="preview"))
    restored = person.post("/merge", merge_id=act_id, action="undo")
    ledger = person.text("/merges?customer_id=cy-1")

    assert "Held now Held afterwards display_email cy@new.example cy@old.example Reason" in preview
    assert after_preview == {"display_email": "cy@new.example"}
    assert after_undo == {"display_email": "cy@old.example"}
    assert "Taken back ×1 → Customer cy-1" in act
    assert "by key:First admin reason: typed by mistake" in act
    assert "undone. It does not count" in undone
    assert "Take this merge back" not in undone
    assert "display_email cy@old.example cy@new.example Reason" in restoring
    assert restored.status_code == 303
    assert held(server, "cy-1") == {"display_email": "cy@new.example"}
    assert ledger.count("Taken back ×1") == 2


def test_a_customer_of_whom_all_was_taken_back_has_a_page_that_leads_back(someone: tuple[Server, Inspector]):
    server, person = someone
    merge_id = push(server, "gone-1", display_name="Gone")

    preview = said(person.post("/merge", merge_id=merge_id, action="preview"))
    person.post("/merge", merge_id=merge_id, action="undo")

    assert "Nothing would be left of this customer" in preview
    assert held(server, "gone-1") is None
    assert "Nobody finds this customer" in person.text("/customer?customer_id=gone-1")
    assert [person.get(f"/customer?customer_id={each}").status_code for each in ("never-1", "%00", "")] == [404] * 3


def test_an_identification_is_taken_back_with_both_pasts_side_by_side(someone: tuple[Server, Inspector]):
    server, person = someone
    begin = 1_780_000_000_000
    for customer_id, moment in (("di-1", begin), ("ed-2", begin + 3_600_000)):
        server.authenticate({"customer_id": customer_id, "visitor_id": "tablet", "occurred_at": moment})
    said_of = server.get("/api/v1/visitors/tablet").json()["identifications"]
    wrong = next(each for each in said_of if each["customer_id"] == "ed-2")
    form = {"visitor_id": "tablet", "identification_id": wrong["identification_id"]}

    preview = said(person.post("/visitor/undo", action="preview", **form))
    before = server.get("/api/v1/visitors/tablet").json()["customer_id"]
    done = person.post("/visitor/undo", action="undo", reason="the neighbour", **form)
    page = person.get("/visitor?visitor_id=tablet")
    graph = person.get("/customer/graph?customer_id=di-1").text.partition("</svg>")[0]
    undoing = server.get("/api/v1/visitors/tablet").json()["identifications"][0]
    back = {"visitor_id": "tablet", "identification_id": undoing["identification_id"], "restoring": "yes"}
    restored = person.post("/visitor/undo", action="undo", **back)

    assert "The visitor is now ed-2 → afterwards di-1" in preview
    assert "– now ed-2 di-1" in preview
    assert before == "ed-2"
    assert done.headers["location"] == "/admin/visitor?visitor_id=tablet"
    assert '<circle class="undone"' in page.text
    assert "taken back, does not count clIdentity → Customer ed-2" in said(page)
    assert 'class="link undone"' in graph
    assert restored.status_code == 303
    assert server.get("/api/v1/visitors/tablet").json()["customer_id"] == "ed-2"


def test_a_field_is_locked_and_unlocked_and_the_page_tells_by_whom(someone: tuple[Server, Inspector]):
    server, person = someone
    push(server, "fay-1", display_name="Fay")

    locked = person.post("/customer", customer_id="fay-1", field="display_name", action="lock", reason="passport seen")
    push(server, "fay-1", display_name="Faye")
    page = person.text("/customer?customer_id=fay-1")
    unlocked = person.post("/customer", customer_id="fay-1", field="display_name", action="unlock")
    wrong = person.post("/customer", customer_id="fay-1", field="shoe size", action="lock")

    assert (locked.status_code, unlocked.status_code, wrong.status_code) == (303, 303, 422)
    assert "No field is called so." in said(wrong)
    assert "display_name locked Fay" in page
    assert "by key:First admin reason: passport seen" in page
    assert "Faye kept what was held" in page
    assert held(server, "fay-1") == {"display_name": "Fay"}
    assert "display_name locked" not in person.text("/customer?customer_id=fay-1")


def test_a_profile_is_shown_as_it_was_and_marked_as_the_past(someone: tuple[Server, Inspector]):
    server, person = someone
    merge_id = push(server, "gil-1", display_name="Gil")
    then = server.get(f"/api/v1/admin/merges/{merge_id}").json()["received_at"]
    time.sleep(0.01)
    push(server, "gil-1", display_name="Gill")

    past = person.get("/customer?" + urlencode({"customer_id": "gil-1", "as_of": then}))
    before = person.text("/customer?customer_id=gil-1&as_of=2020-01-01T00:00")
    rubbish = person.get("/customer?customer_id=gil-1&as_of=yesterday")

    assert "This is the past: as it was at" in said(past)
    assert "Held then" in said(past)
    assert " Gil " in said(past)
    assert "Gill" not in said(past)
    assert "Erase" not in said(past)
    assert "At that time, no customer was held by this id." in before
    assert rubbish.status_code == 422
    assert "A time is written like" in said(rubbish)


def test_two_customers_are_joined_after_a_preview_of_both_and_taken_apart(someone: tuple[Server, Inspector]):
    server, person = someone
    push(server, "hal-1", display_name="Hal")
    push(server, "hal-2", display_email="hal@shop.example")
    form = {"customer_id": "hal-1", "into": "hal-2"}

    preview = said(person.post("/customer/join", action="preview", **form))
    swapped = said(person.post("/customer/join", action="swap", **form))
    untouched = held(server, "hal-2")
    joined = person.post("/customer/join", action="join", reason="she said so", **form)
    page = person.text("/customer?customer_id=hal-1")
    together = held(server, "hal-1")
    graph, timeline = (person.get(f"/customer/{view}?customer_id=hal-2") for view in ("graph", "timeline"))
    apart = said(person.post("/customer/join", action="preview_apart", customer_id="hal-1"))
    person.post("/customer/join", action="take_apart", customer_id="hal-1")
    itself = person.post("/customer/join", action="preview", customer_id="hal-1", into="hal-1")

    assert "display_email nothing hal@shop.example hal@shop.example display_name Hal nothing Hal" in preview
    assert "hal-2 becomes part of hal-1" in swapped
    assert untouched == {"display_email": "hal@shop.example"}
    assert joined.status_code == 303
    assert together == {"display_email": "hal@shop.example", "display_name": "Hal"}
    assert "the same person as the one who was asked for: hal-1" in page
    for drawn in (graph, timeline):
        assert "Declared to be this customer, so their visitors stand here too: hal-1" in said(drawn)
    assert "/customer/graph?customer_id=hal-1" not in graph.text
    assert 'class="other"' not in timeline.text.partition("</svg>")[0]
    assert "hal-1 is itself again, apart from hal-2" in apart
    # What both answer now, and each afterwards.
    assert "display_email hal@shop.example nothing hal@shop.example display_name Hal Hal nothing" in apart
    assert (held(server, "hal-1"), held(server, "hal-2")) == ({"display_name": "Hal"}, untouched)
    assert (itself.status_code, "can't be joined with itself" in said(itself)) == (422, True)


def test_a_customer_is_erased_only_after_its_id_was_typed(someone: tuple[Server, Inspector]):
    server, person = someone
    push(server, "ida-1", display_name="Ida")

    preview = said(person.post("/customer/erase", customer_id="ida-1", action="preview"))
    wrong = person.post("/customer/erase", customer_id="ida-1", action="erase", typed="ida")
    still = held(server, "ida-1")
    done = said(person.post("/customer/erase", customer_id="ida-1", action="erase", typed="ida-1"))

    assert "This would be removed for good." in preview
    assert "customers 1 rows of the ledger 1" in preview
    assert (wrong.status_code, "Nothing was erased." in said(wrong)) == (422, True)
    assert still == {"display_name": "Ida"}
    assert "Erased, for good." in done
    assert re.search("[0-9a-f]{64}", done)
    assert held(server, "ida-1") is None


def test_who_shares_an_email_is_suggested_until_someone_says_that_they_are_not_the_same(
    someone: tuple[Server, Inspector],
):
    server, person = someone
    for customer_id in ("jo-1", "jo-2"):
        push(server, customer_id, display_email="jo@shop.example", phone="+886912000111")

    before = person.text("/suggestions")
    by_phone = said(person.post("/suggestions", action="page", shared="phone"))
    after = said(person.post("/suggestions", action="not_same", shared="email", one="jo-1", other="jo-2"))
    wrong = person.post("/suggestions", action="not_same", shared="email", one="jo-1", other="jo-1")

    assert "jo@shop.example 2 customers jo-1 · jo-2 jo-1 = jo-2 ? Compare and join… Not the same" in before
    assert "+886912000111 2 customers" in by_phone
    assert "No two customers share one here." in after
    assert wrong.status_code == 400


@pytest.fixture
def alone(urls: Urls, store_url: str) -> Iterator[tuple[Server, Inspector]]:
    """Someone who is signed in to a service in which nothing is held yet."""
    with Server(store_url, urls.redis) as server:
        yield server, Inspector(server)


def test_what_a_stolen_key_brought_is_previewed_and_taken_back_at_once(alone: tuple[Server, Inspector]):
    server, person = alone
    push(server, "kim-1", display_name="Kim")
    channel_id = server.get("/api/v1/admin/channels").json()["items"][0]["channel_id"]
    form = {"channel_id": channel_id, "from": "2020-01-01T00:00"}

    nothing = person.post("/operations", action="preview", channel_id=channel_id)
    preview = said(person.post("/operations", action="preview", **form))
    unsure = person.post("/operations", action="undo", **form)
    still = held(server, "kim-1")
    begun = person.post("/operations", action="undo", sure="on", reason="stolen key", **form)
    deadline = time.monotonic() + 20
    while server.get("/api/v1/admin/operations").json()["items"][0]["status"] == "running":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    page = person.text("/operations")

    assert (nothing.status_code, unsure.status_code, begun.status_code) == (422, 422, 303)
    assert "Merges: 1, of customers: 1. Identifications: 1, of visitors: 1." in preview
    assert still == {"display_name": "Kim"}
    assert "done Bulk undo channel Website" in page
    assert "by key:First admin reason: stolen key" in page
    assert held(server, "kim-1") is None
    assert "/admin/operations#bulk" in person.get("/channels").text


def test_a_webhook_is_made_tested_paused_and_its_deliveries_are_listed_and_sent_again(
    someone: tuple[Server, Inspector],
):
    server, person = someone
    made = person.post("/webhooks", url=f"{server.url}/livez", description="<b>CRM", **{"type:created": "on"})
    webhook = server.get("/api/v1/admin/webhooks").json()["items"][0]
    form = {"webhook_id": webhook["webhook_id"]}

    tested = said(person.post("/webhook", action="test", **form))
    merge_id = push(server, "lou-1", display_name="Lou")
    address = f"/webhook?webhook_id={form['webhook_id']}"
    deadline = time.monotonic() + 20
    # A delivery is listed a moment before the webhook is judged by it.
    while merge_id not in person.get(address).text or "Failing since" not in person.text(address):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    again = said(person.post("/webhook", action="resend_one", merge_id=merge_id, **form))
    rotated = said(person.post("/webhook", action="rotate", **form))
    person.post("/webhook", action="pause", **form)
    paused = person.text(address)
    unsure = person.post("/webhook", action="delete", **form)
    person.post("/webhook", action="delete", sure="on", **form)

    assert webhook["types"] == ["created"]
    assert re.search(r"whsec_[\w+/=]+", said(made))
    assert "failed – HTTP 405" in tested
    assert "failed – HTTP 405" in again
    assert re.search(r"whsec_[\w+/=]+", rotated)
    assert "whsec_" not in paused
    assert "An admin paused it" in paused
    assert unsure.status_code == 422
    assert server.get("/api/v1/admin/webhooks").json()["items"] == []
    assert person.get(address).status_code == 404
    wrong = person.post("/webhooks", url="ftp://crm.example")
    in_chinese = Inspector(server, language="zh-TW").post("/webhooks", url="ftp://crm.example")
    assert (wrong.status_code, "A webhook goes to a complete https:// URL" in said(wrong)) == (422, True)
    assert "webhook 須為公開網路上完整的 https:// 網址" in said(in_chinese)


def test_a_pasted_request_is_checked_as_live_traffic_is(filled: Server, inspector: Inspector):
    body = '{"customerId": "ana-42", "visitor_id": "x", "phone": "0912345678"}'

    fine = said(inspector.post("/missing", action="request", write_key=WRITE_KEY, body=body))
    refused = said(
        inspector.post("/missing", action="request", write_key=WRITE_KEY, origin="https://evil.example", body=body)
    )
    rubbish = said(inspector.post("/missing", action="request", write_key="pk_nobody", body="{"))

    assert "It would be taken." in fine
    assert "skipped: not valid The phone number has no country code" in fine
    assert "It would not be taken. Pages of this origin may not send to this channel." in refused
    assert "The body is not one JSON object. not_a_json_object" in rubbish


POSTS = [
    ("/merge", {"action": "undo", "merge_id": "x"}),
    ("/visitor/undo", {"action": "undo", "visitor_id": "x", "identification_id": "x"}),
    ("/customer", {"action": "lock", "customer_id": "x", "field": "gender"}),
    ("/customer/join", {"action": "join", "customer_id": "x", "into": "y"}),
    ("/customer/erase", {"action": "erase", "customer_id": "x", "typed": "x"}),
    ("/suggestions", {"action": "not_same", "one": "x", "other": "y"}),
    ("/operations", {"action": "undo", "customer_id": "x", "from": "2020-01-01T00:00", "sure": "on"}),
    ("/webhooks", {"url": "https://crm.example"}),
    ("/webhook", {"action": "delete", "webhook_id": "x", "sure": "on"}),
]


@pytest.mark.parametrize(("path", "form"), POSTS)
def test_no_power_is_used_by_a_form_of_another_site_or_without_the_sessions_token(
    filled: Server, inspector: Inspector, path: str, form: dict[str, str]
):
    address, cookie = f"/admin{path}", {"Cookie": inspector.cookie}
    elsewhere = {"token": inspector.token, **form}

    statuses = [
        inspector.client.post(address, data=elsewhere, headers={**cookie, "Sec-Fetch-Site": "cross-site"}).status_code,
        inspector.client.post(address, data=form, headers={**cookie, **OWN}).status_code,
    ]
    out = filled.client.post(address, data=form, headers=OWN)

    assert statuses == [403, 403]
    assert 'name="key"' in out.text


@pytest.mark.parametrize(("path", "form"), POSTS)
@pytest.mark.parametrize("text", ["", "\x00", "<script>alert(1)</script>", "x" * 3_000, "{{7*7}}"])
def test_rubbish_in_the_forms_of_the_powers_is_answered_by_a_page(
    inspector: Inspector, path: str, form: dict[str, str], text: str
):
    for name in form:
        answer = inspector.post(path, **{**form, name: text, "reason": text})

        assert answer.status_code in (200, 303, 400, 404, 422), (name, answer.status_code)
        assert "<script>alert" not in answer.text


# Live.

STREAM_SECONDS_MAX = 60.0


def events_of(stream: httpx.Response) -> Iterator[tuple[str, str]]:
    """Give the events of a stream: name and text. A stream that goes on without what is waited for fails the test."""
    name = ""
    held: list[str] = []
    deadline = time.monotonic() + STREAM_SECONDS_MAX
    for line in stream.iter_lines():
        assert time.monotonic() < deadline, "what was waited for did not come"
        if line.startswith("event: "):
            name, held = line.removeprefix("event: "), []
        elif line.startswith("data: "):
            held.append(line.removeprefix("data: "))
        elif not line and name:
            yield name, "\n".join(held)


def test_what_is_committed_comes_by_itself_whichever_worker_commits_it(urls: Urls, store_url: str):
    with Server(store_url, urls.redis, workers=2) as server:
        someone = Inspector(server)
        with someone.client.stream("GET", "/admin/live/stream", headers={"Cookie": someone.cookie}) as stream:
            events = events_of(stream)
            first = next(events)
            seen = ""
            wanted = [f"live-{n}" for n in range(12)]
            for number, customer_id in enumerate(wanted):
                with httpx.Client(base_url=server.url) as other:
                    body = {"customer_id": customer_id, "visitor_id": f"v-{number}", "write_key": WRITE_KEY}
                    other.post("/api/v1/authenticate", json=body)
            server.authenticate({"customer_id": "null", "visitor_id": "v"})
            server.events({"type": "userSignedIn", "visitor_id": "v-links", "userId": "live-0"})
            while not all(f">{each}<" in seen for each in [*wanted, "v-links", "blocked_customer_id"]):
                seen += next(events)[1]

    assert first == ("state", "live")
    assert "links only" in seen


def test_the_stream_is_for_who_is_signed_in_and_ends_with_the_key(filled: Server):
    key = filled.post("/api/v1/admin/keys", {"name": "Watcher", "scopes": ["admin"]}).json()
    someone = Inspector(filled, key["secret"])

    assert filled.client.get("/admin/live/stream").status_code == 401
    with someone.client.stream("GET", "/admin/live/stream", headers={"Cookie": someone.cookie}) as stream:
        events = events_of(stream)
        next(events)
        filled.client.delete(f"/api/v1/admin/keys/{key['key_id']}", headers={"Authorization": f"Bearer {ADMIN_KEY}"})
        rest = [name for name, _ in events]

    assert rest[-1] == "over"


def test_a_server_with_a_stream_open_stops_as_it_should(urls: Urls, store_url: str):
    with Server(store_url, urls.redis) as server:
        someone = Inspector(server)
        with someone.client.stream("GET", "/admin/live/stream", headers={"Cookie": someone.cookie}) as stream:
            next(events_of(stream))
            code = server.stop(seconds=15.0)

    assert code == 0


def test_while_nobody_watches_nothing_is_passed_on(urls: Urls, store_url: str):
    with redis.Redis.from_url(urls.redis) as client, Server(store_url, urls.redis) as server:
        before = _calls(client)
        for number in range(30):
            server.authenticate({"customer_id": f"quiet-{number}", "visitor_id": f"q-{number}"})
        after = _calls(client)

    assert after["xadd"] == before["xadd"]


def _calls(client: redis.Redis) -> dict[str, int]:
    told: Any = client.info("commandstats")
    return {name: int(told.get(f"cmdstat_{name}", {}).get("calls", 0)) for name in ("xadd", "exists")}


def test_without_redis_the_live_page_says_so_and_looks_into_the_ledger(store_url: str):
    with Server(store_url, "redis://127.0.0.1:1") as server:
        someone = Inspector(server)
        with someone.client.stream("GET", "/admin/live/stream", headers={"Cookie": someone.cookie}) as stream:
            events = events_of(stream)
            first = next(events)
            server.authenticate({"customer_id": "slow-1", "visitor_id": "slow"})
            seen = ""
            while ">slow-1<" not in seen:
                seen += next(events)[1]

    assert first == ("state", "away")


# Hostile values.


def test_hostile_values_are_text_on_every_page(filled: Server, inspector: Inspector):
    for number, text in enumerate(TEXTS.values()):
        fields = dict.fromkeys(("display_name", "address", "email", "phone", "gender", "birthday", "extra"), text)
        filled.authenticate({"customer_id": f"hostile-{number % 7}", "visitor_id": f"hostile-{number % 5}", **fields})
        filled.authenticate({"customer_id": text, "visitor_id": text, "display_name": text})
        filled.authenticate({"customer_id": "null", "visitor_id": text, text: text})
        filled.events(
            {"type": text, "visitor_id": text},
            {"type": "page_view", "visitor_id": "hostile-0", "props": {"page_path": text, "page_title": text}},
            {"type": "userSignedIn", "visitor_id": "hostile-1", "userId": text},
        )
    paths = ["", "/merges?limit=200", "/refusals?limit=200", "/live"]
    for number in range(7):
        paths += [f"/customer{page}?customer_id=hostile-{number}" for page in ("", "/timeline", "/graph")]
    paths += [f"/visitor?visitor_id=hostile-{number}" for number in range(5)]

    for path in paths:
        answer = inspector.get(path)
        page = _Page()
        page.feed(answer.text)
        assert answer.status_code == 200, path
        assert page.tags.count("script") == 2
        assert not {"img", "iframe", "object", "embed", "base", "style"} & set(page.tags)
        assert not {name for name in page.attributes if name.startswith("on") or name == "style"}
        assert not [link for link in page.links if not re.match(r"(/admin|/docs$|#main$)", link)]
        assert not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x08]", answer.text)
