"""Why it is so, over HTTP: customers, visitors, requests that did not arrive, the past and what changed since."""

import time
from typing import Any
from urllib.parse import quote

import jwt
import pytest

from identity.admin.arrivals import _CHECK_OF, CHECK_CODES, EXPLAIN_BYTES_MAX, CheckCode
from identity.cli import main
from identity.explaining import FACT_OUTCOMES, STRETCH_REASONS, FactOutcome, StretchReason
from identity.parse import AUTHENTICATE_BYTES_MAX
from identity.refusals import Refusal
from tests.harness import ADMIN_KEY, CHANNEL_ID, WRITE_KEY, Server
from tests.http.test_cli import beside

HOUR = 3_600_000
ADMIN = "/api/v1/admin"
SECRET = "a-secret-of-the-own-server-of-a-website"
BEARER = {"Authorization": f"Bearer {ADMIN_KEY}"}


def now() -> int:
    return time.time_ns() // 1_000_000


def push(server: Server, customer_id: str, visitor_id: str, **fields: object) -> None:
    sent = {"visitor_id": visitor_id, "customer_id": customer_id, **fields}
    assert server.authenticate(sent).json() == {"status": "ok"}


def signed_in(visitor_id: str, customer_id: str | None, at: int) -> dict[str, Any]:
    said = {"visitor_id": visitor_id, "occurred_at": at}
    if customer_id is None:
        return {"type": "userSignedOut", **said}
    return {"type": "userSignedIn", "userId": customer_id, **said}


def explain(server: Server, body: object, *, write_key: str | None = WRITE_KEY, **more: object) -> dict[str, Any]:
    asked = {"body": body, **({"write_key": write_key} if write_key else {}), **more}
    answer = server.post(f"{ADMIN}/explain", asked)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def codes(found: dict[str, Any]) -> list[tuple[str, bool | None, str]]:
    return [(check["check"], check["ok"], check["code"]) for check in found["checks"]]


def test_a_field_names_its_winner_and_every_loser_with_the_reason(server: Server):
    push(server, "why/1", "w1", display_name="Ana", display_mobile="0912345678")
    push(server, "why/1", "w2", display_name="Zoe")

    answer = server.get(f"{ADMIN}/customers/{quote('why/1', safe='')}/explain")

    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    fields = {field["field"]: field for field in answer.json()["fields"]}
    name, mobile = fields["display_name"], fields["display_mobile"]
    assert (name["winner"]["value"], name["winner"]["visitor_id"], name["winner"]["channel_id"]) == (
        "Zoe", "w2", CHANNEL_ID,
    )  # fmt: skip
    assert [(o["value"], o["outcome"], o["by"]) for o in name["others"]] == [
        ("Ana", "overwritten", name["winner"]["merge_id"])
    ]
    assert mobile["winner"] is None
    assert [(o["raw"], o["outcome"], o["reason"]) for o in mobile["others"]] == [
        ("0912345678", "skipped_invalid", "no_country_code")
    ]
    assert "+" in mobile["others"][0]["hint"]


def test_one_field_is_explained_alone_and_a_wrong_name_is_told(server: Server):
    push(server, "why-2", "w1", display_name="Ana", gender="other")

    one = server.get(f"{ADMIN}/customers/why-2/explain?field=gender").json()
    wrong = server.get(f"{ADMIN}/customers/why-2/explain?field=shoe")
    unknown = server.get(f"{ADMIN}/customers/why-2/explain?fields=gender")

    assert [field["field"] for field in one["fields"]] == ["gender"]
    assert [(a.status_code, a.json()["code"]) for a in (wrong, unknown)] == [
        (400, "invalid_field"),
        (400, "unknown_parameter"),
    ]


def test_an_undone_merge_and_a_lock_are_part_of_the_explanation(server: Server):
    push(server, "why-3", "w1", display_name="Ana")
    push(server, "why-3", "w1", display_name="Zoe")
    wrong = server.get(f"{ADMIN}/merges?customer_id=why-3&limit=1").json()["items"][0]["merge_id"]
    undo = server.post(f"{ADMIN}/merges/{wrong}/undo", {"reason": "poisoned"}).json()
    lock = {"fields": ["display_name"], "locked": True, "reason": "by phone"}
    assert server.post(f"{ADMIN}/customers/why-3/locks", lock).status_code == 200

    (name,) = server.get(f"{ADMIN}/customers/why-3/explain").json()["fields"]

    assert name["winner"]["value"] == "Ana"
    assert [(o["value"], o["outcome"], o["by"]) for o in name["others"]] == [
        ("Zoe", "undone", undo["merge"]["merge_id"])
    ]
    assert name["lock"]["reason"] == "by phone"
    assert name["lock"]["actor"].startswith("key:")


def test_addresses_below_a_customer_or_visitor_are_strict(server: Server):
    push(server, "why-4", "w1")

    answers = [
        server.get(f"{ADMIN}/customers/nobody/explain"),
        server.get(f"{ADMIN}/customers/%00/explain"),
        server.get(f"{ADMIN}/visitors/nobody/explain"),
        server.get(f"{ADMIN}/visitors/%FF/explain"),
        server.get(f"{ADMIN}/customers/why-4/shoes"),
        server.get(f"{ADMIN}/customersx/why-4/explain"),
        server.get(f"{ADMIN}/customers"),
        server.post(f"{ADMIN}/customers/why-4/explain", {}),
        server.get(f"{ADMIN}/customers/why-4/explain", headers={"Authorization": "Bearer sk_wrong"}),
    ]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [
        (404, "customer_not_found"),
        (404, "customer_not_found"),
        (404, "visitor_not_found"),
        (404, "visitor_not_found"),
        (404, "not_found"),
        (404, "not_found"),
        (404, "not_found"),
        (405, "method_not_allowed"),
        (401, "unknown_key"),
    ]


def test_a_key_without_the_scope_admin_explains_nothing(server: Server):
    key = server.post(f"{ADMIN}/keys", {"name": "CRM", "scopes": ["profiles:read"]}).json()["secret"]
    headers = {"Authorization": f"Bearer {key}"}
    push(server, "why-5", "w5")

    answers = [
        server.get(f"{ADMIN}/customers/why-5/explain", headers=headers),
        server.get(f"{ADMIN}/customers/why-5/diff", headers=headers),
        server.get(f"{ADMIN}/visitors/w5/explain", headers=headers),
        server.post(f"{ADMIN}/explain", {}, headers=headers),
    ]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(403, "missing_scope")] * 4
    assert server.get(f"/api/v1/customers/why-5?as_of={now()}", headers=headers).status_code == 200


def test_the_time_of_a_visitor_is_told_stretch_by_stretch(server: Server):
    begin = now() - 10 * HOUR
    said = [("ana", 1), (None, 2), ("ana", 3), (None, 4), ("zoe", 5), (None, 6)]
    for customer_id, hour in said:
        server.events(signed_in("s/1", customer_id, begin + hour * HOUR))
    server.events({**signed_in("s/1", None, begin + 5 * HOUR + 1), "userId": "eve"})
    server.authenticate({"visitor_id": "s/1", "customer_id": "undefined"})

    page = server.get(f"{ADMIN}/visitors/{quote('s/1', safe='')}/explain").json()

    assert page["customer_id"] is None
    assert [(s["customer_id"], s["reason"], s["contested"], s["between"]) for s in page["stretches"]] == [
        (None, "nobody_since", False, []),
        ("zoe", "identified", False, []),
        (None, "contested", True, ["ana", "zoe"]),
        ("ana", "identified", False, []),
        ("ana", "returned", False, []),
        ("ana", "identified", False, []),
        ("ana", "before_first", False, []),
    ]
    facts = page["identifications"]
    assert [fact["outcome"] for fact in facts] == ["not_current", "in_force", *["past"] * 5]
    first = facts[-1]["identification"]["identification_id"]
    assert (page["stretches"][-1]["settled_by"], page["stretches"][-2]["identification_id"]) == (first, first)
    assert [refusal["reason"] for refusal in page["refusals"]] == ["blocked_customer_id"]


def test_what_was_taken_back_of_a_visitor_is_told_and_what_took_it_back(server: Server):
    push(server, "taken", "t1")
    (fact,) = server.get("/api/v1/visitors/t1").json()["identifications"]
    asked = {"visitor_id": "t1"}
    undo = server.post(f"{ADMIN}/identifications/{fact['identification_id']}/undo", asked).json()

    page = server.get(f"{ADMIN}/visitors/t1/explain").json()

    assert [(f["outcome"], f["by"]) for f in page["identifications"]] == [
        ("undoing", None),
        ("undone", undo["identification_id"]),
    ]
    assert [(s["customer_id"], s["reason"], s["taken_back"]) for s in page["stretches"]] == [
        (None, "taken_back", [fact["identification_id"]])
    ]


def test_a_visitor_who_was_only_ever_refused_has_that_for_an_explanation(server: Server):
    server.authenticate({"visitor_id": "refused-only", "customer_id": "null"})

    page = server.get(f"{ADMIN}/visitors/refused-only/explain").json()

    assert [stretch["reason"] for stretch in page["stretches"]] == ["never_identified"]
    assert [refusal["reason"] for refusal in page["refusals"]] == ["blocked_customer_id"]


def test_what_was_held_before_is_answered_with_an_etag_and_what_changed_with_the_merges(server: Server):
    push(server, "past/1", "p1", display_name="Ana")
    between = now()
    time.sleep(0.01)
    push(server, "past/1", "p2", display_name="Zoe")
    path = quote("past/1", safe="")

    then = server.get(f"/api/v1/customers/{path}?as_of={between}&include=provenance")
    again = server.get(
        f"/api/v1/customers/{path}?as_of={between}&include=provenance", headers={"If-None-Match": then.headers["etag"]}
    )
    by_query = server.get(f"/api/v1/customers?customer_id={path}&as_of={between}")
    present = server.get(f"/api/v1/customers/{path}?as_of={now()}").json()
    diff = server.get(f"{ADMIN}/customers/{path}/diff?from={between}").json()

    assert then.json()["fields"] == by_query.json()["fields"] == {"display_name": "Ana"}
    assert [v["visitor_id"] for v in then.json()["visitors"]] == ["p1"]
    assert then.json()["provenance"]["display_name"]["event"] == "clIdentity"
    assert again.status_code == 304
    assert present == server.get(f"/api/v1/customers/{path}").json()
    assert (diff["version_before"], diff["version_after"], diff["complete"]) == (1, 2, True)
    (name,) = diff["fields"]
    assert (name["field"], name["before"], name["after"]) == ("display_name", "Ana", "Zoe")
    assert [(m["old"], m["new"], m["visitor_id"]) for m in name["merges"]] == [("Ana", "Zoe", "p2")]
    assert [(link["visitor_id"], link["before"]) for link in diff["links"]] == [("p2", None)]


def test_a_visitor_of_an_instant_is_whose_it_was(server: Server):
    push(server, "past-2", "p3")
    between = now()
    time.sleep(0.01)
    push(server, "past-3", "p3")

    then = server.get(f"/api/v1/visitors/p3?as_of={between}").json()
    wrong = server.get("/api/v1/visitors/p3?as_of=yesterday")

    assert (then["customer_id"], len(then["identifications"])) == ("past-2", 1)
    assert (wrong.status_code, wrong.json()["code"]) == (400, "invalid_as_of")


def test_bounds_of_a_diff_are_checked(server: Server):
    push(server, "past-4", "p4")

    answers = [
        server.get(f"{ADMIN}/customers/past-4/diff?from=soon"),
        server.get(f"{ADMIN}/customers/past-4/diff?from={now()}&to={now() - HOUR}"),
        server.get(f"{ADMIN}/customers/nobody/diff"),
    ]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [
        (400, "invalid_from"),
        (400, "invalid_to"),
        (404, "customer_not_found"),
    ]


def test_a_request_that_would_arrive_passes_every_check_and_is_not_written(server: Server):
    sent = {"visitor_id": "r1", "customer_id": "r-1", "display_name": "Ana", "gender": "other"}

    found = explain(server, sent, origin="http://localhost:3000")

    assert found["arrives"] is True
    assert codes(found) == [
        ("key", True, "ok"),
        ("origin", True, "ok"),
        ("tracking", True, "ok"),
        ("body", True, "ok"),
        ("customer_id", True, "ok"),
        ("signature", True, "not_wanted"),
        ("visitor_id", True, "ok"),
        ("fields", True, "ok"),
    ]
    assert [d["verdict"] for d in found["checks"][-1]["details"]["decisions"]] == ["set", "set"]
    assert server.get("/api/v1/customers/r-1").status_code == 404


def test_each_fault_of_a_request_is_told_by_its_own_check(server: Server):
    good = {"visitor_id": "r2", "customer_id": "r-2"}
    known = {"visitor_id": "r3", "customer_id": "r-3", "display_name": "Ana"}
    push(server, "r-3", "r3", display_name="Ana")

    def fault(body: object, **more: Any) -> list[tuple[str, str]]:
        return [(check, code) for check, ok, code in codes(explain(server, body, **more)) if ok is False]

    told = {
        "no key": fault(good, write_key=None),
        "unknown key": fault(good, write_key="wk_nobody"),
        "key in the body": fault({**good, "write_key": WRITE_KEY}, write_key=None),
        "channel": fault(good, write_key=None, channel_id=CHANNEL_ID.upper()),
        "unknown channel": fault(good, write_key=None, channel_id="nothing"),
        "origin": fault(good, origin="https://evil.example"),
        "no JSON": fault("<html>"),
        "cut": fault('{"visitor_id": "r2", "customer'),
        "text": fault('{"visitor_id": "r2", "customer_id": "r-2"}'),
        "list": fault([1]),
        "too large": fault({**good, "address": "x" * AUTHENTICATE_BYTES_MAX}),
        "no customer": fault({"visitor_id": "r2"}),
        "placeholder": fault({**good, "customer_id": "[object Object]"}),
        "no visitor": fault({"customer_id": "r-2"}),
        "phone": fault({**good, "phone": "0912345678"}),
        "unknown event": fault({"type": "shoe", "visitor_id": "r2"}),
        "events": fault({"events": []}),
        "sign-out": fault({"type": "userSignedOut"}),
        "patch": fault({"type": "userProfileChanged", "visitor_id": "r2", "patch": [{"type": "jump"}]}),
        "behaviour": fault({"type": "productViewed", "visitor_id": "r2"}),
        "other's patch": fault({"type": "userProfileChanged", "visitor_id": "r3", "userId": "r-2",
                                "patch": [{"type": "set", "path": "firstName", "value": "Bo"}]}),
        "unchanged": fault(known),
        "older": fault({**known, "display_name": "Old", "occurred_at": now() - HOUR}),
    }  # fmt: skip

    assert told == {
        "no key": [("key", "missing_key")],
        "unknown key": [("key", "unknown_key")],
        "key in the body": [],
        "channel": [],
        "unknown channel": [("key", "unknown_key")],
        "origin": [("origin", "origin_not_allowed")],
        "no JSON": [("body", "not_a_json_object")],
        "cut": [("body", "not_a_json_object")],
        "text": [],
        "list": [("body", "not_a_json_object")],
        "too large": [("body", "body_too_large")],
        "no customer": [("customer_id", "missing_customer_id")],
        "placeholder": [("customer_id", "blocked_customer_id")],
        "no visitor": [("visitor_id", "missing_visitor_id")],
        "phone": [("fields", "fields_skipped")],
        "unknown event": [("body", "unknown_event")],
        "events": [("body", "invalid_events")],
        "sign-out": [("visitor_id", "missing_visitor_id")],
        "patch": [("fields", "invalid_patch")],
        "behaviour": [("fields", "invalid_event")],
        "other's patch": [("customer_id", "not_current_customer")],
        "unchanged": [],
        "older": [("fields", "fields_lost")],
    }
    assert codes(explain(server, known))[-1] == ("fields", True, "unchanged")


def test_a_missing_visitor_refuses_an_event_that_acts_on_one_and_no_push(server: Server):
    assert explain(server, {"customer_id": "r-4"})["arrives"] is True
    assert explain(server, {"type": "userSignedOut"})["arrives"] is False
    assert explain(server, {"customer_id": "r-4"}, write_key="wk_nobody")["arrives"] is False
    assert server.post(f"{ADMIN}/explain", {"write_key": WRITE_KEY}).json()["arrives"] is None


def test_a_channel_that_does_not_track_was_revoked_or_wants_signatures_says_so(server: Server):
    made = server.post(f"{ADMIN}/channels", {"name": "Shop", "origins": ["https://shop.example"]}).json()
    path, key = f"{ADMIN}/channels/{made['channel_id']}", made["write_key"]
    change = {
        "website_tracking": False,
        "signed_identity": "required",
        "identity_keys": [{"kid": "k", "secret": SECRET}],
    }
    assert server.client.patch(path, json=change, headers=BEARER).status_code == 200
    sent = {"visitor_id": "r5", "customer_id": "r-5"}
    exp = time.time() + 60
    token = jwt.encode({"sub": "r-5", "exp": exp}, SECRET, "HS256", headers={"kid": "k"})
    late = jwt.encode({"sub": "r-5", "exp": exp - 600}, SECRET, "HS256", headers={"kid": "k"})
    other = jwt.encode({"sub": "r-6", "exp": exp}, SECRET, "HS256", headers={"kid": "k"})

    tokens = [None, "no token", token, late, other]
    found = [explain(server, {**sent, **({"identity_token": t} if t else {})}, write_key=key) for t in tokens]
    server.client.delete(path, headers=BEARER)
    revoked = explain(server, sent, write_key=key)

    assert [codes(each)[2] for each in found] == [("tracking", False, "tracking_disabled")] * 5
    assert [codes(each)[5] for each in found] == [
        ("signature", False, "unverified_identity"),
        ("signature", False, "malformed"),
        ("signature", True, "ok"),
        ("signature", False, "expired"),
        ("signature", False, "unverified_identity"),
    ]
    assert codes(revoked)[0] == ("key", False, "unknown_key")
    assert revoked["checks"][0]["details"]["revoked_at"] is not None
    assert [check["ok"] for check in revoked["checks"]] == [False, None, None, True, True, None, True, True]


def test_ids_tell_when_they_last_changed_anything_and_were_last_refused(server: Server):
    push(server, "r-7", "r7", display_name="Ana")
    server.authenticate({"visitor_id": "r7", "customer_id": "none"})

    checks = {check["check"]: check for check in explain(server, {"visitor_id": "r7", "customer_id": "r-7"})["checks"]}

    customer, visitor = checks["customer_id"]["details"]["last"], checks["visitor_id"]["details"]["last"]
    assert (customer["change"]["customer_id"], customer["refusal"]) == ("r-7", None)
    assert (visitor["change"]["visitor_id"], visitor["refusal"]["reason"]) == ("r7", "blocked_customer_id")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"[]", 400, "not_a_json_object"),
        (b'{"shoe": 1}', 422, "invalid_body"),
        (b'{"origin": 1}', 422, "invalid_body"),
        (b" " * (EXPLAIN_BYTES_MAX + 1), 413, "body_too_large"),
    ],
)
def test_what_is_asked_about_a_request_is_checked(server: Server, body: bytes, status: int, code: str):
    answer = server.client.post(f"{ADMIN}/explain", content=body, headers=BEARER)

    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize(
    "body", ['{"body": "\\ud800"}', '{"body": {"customer_id": "\\ud800", "visitor_id": 1e400}}', '{"body": NaN}']
)
def test_a_broken_body_is_explained_and_no_fault_of_ours(server: Server, body: str):
    answer = server.client.post(f"{ADMIN}/explain", content=body.encode(), headers=BEARER)

    assert (answer.status_code, answer.json()["arrives"]) == (200, False)


def test_the_past_is_measured_under_the_names_of_its_addresses(server: Server):
    push(server, "why-9", "w9")
    server.get(f"{ADMIN}/customers/why-9/explain")

    metrics = server.client.get("/metrics").text

    assert "/api/v1/admin/customers/{customer_id}/explain" in metrics
    assert "why-9" not in metrics


@pytest.mark.parametrize("command", ["explain", "diff"])
def test_the_command_line_has_help_with_an_example(command: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as left:
        main([command, "--help"])

    out = capsys.readouterr().out
    assert left.value.code == 0
    assert f"Example:\n  identity {command} 42" in out
    assert max(map(len, out.splitlines())) <= 100


def test_the_command_line_tells_the_same_to_people_and_to_scripts(server: Server):
    push(server, "cli-1", "c1", display_name="Ana", display_email="\x1b[2Jno address")
    between = now()
    time.sleep(0.01)
    push(server, "cli-1", "c2", display_name="Zoe")

    asked = {
        "explain": ("explain", "cli-1"),
        "visitor": ("explain", "c1", "--visitor"),
        "diff": ("diff", "cli-1", "--from", str(between)),
        "profile": ("profile", "cli-1", "--as-of", str(between)),
    }
    shown = {name: beside(server, *words) for name, words in asked.items()}
    scripted = {name: beside(server, *words, "--json") for name, words in asked.items()}
    nobody = beside(server, "explain", "nobody")
    wrong = beside(server, "profile", "cli-1", "--as-of", "soon")

    assert [ended.code for ended in (*shown.values(), *scripted.values())] == [0] * 8
    assert "\x1b" not in "".join(ended.out for ended in (*shown.values(), *scripted.values()))
    assert 'display_name: "Zoe"' in shown["explain"].out
    assert "overwritten: It was held until another value came." in shown["explain"].out
    assert "\\x1b[2Jno address" in shown["explain"].out
    assert "before_first: Nobody was known yet" in shown["visitor"].out
    assert 'display_name: "Ana" -> "Zoe"' in shown["diff"].out
    assert ('"Ana"' in shown["profile"].out, '"Zoe"' in shown["profile"].out) == (True, False)
    assert scripted["explain"].json == server.get(f"{ADMIN}/customers/cli-1/explain").json()
    assert scripted["visitor"].json == server.get(f"{ADMIN}/visitors/c1/explain").json()
    assert (nobody.code, nobody.err) == (1, "identity: No customer is held by this id.\n")
    assert wrong.code == 2


def test_every_code_has_its_sentence_and_every_refusal_its_check():
    assert CHECK_CODES.keys() == set(CheckCode)
    assert STRETCH_REASONS.keys() == set(StretchReason)
    assert FACT_OUTCOMES.keys() == set(FactOutcome)
    assert _CHECK_OF.keys() == set(Refusal) - {Refusal.TRACKING_DISABLED}
