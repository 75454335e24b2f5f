"""The past on real servers: what was held at an instant, what changed between two, and why it is so."""

import itertools
from collections.abc import Sequence
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from identity.acts import By
from identity.app import Service
from profiles import past
from profiles.explaining import Outcome
from profiles.http import Problem
from profiles.ledger import fold
from profiles.remarks import Reason
from profiles.store import merge_from
from tests.harness import ADMIN_KEY, Urls
from tests.store.calls import call, look_up, request, submit
from tests.store.test_acts import ADMIN, WORKSPACE, fact_ids, identify, merge_ids
from tests.store.test_rules import MINUTE, NOW, play


async def as_of(service: Service, customer_id: str, moment: int, more: str = "") -> tuple[int, Any]:
    path, key = f"/api/v1/customers/{customer_id}", f"Bearer {ADMIN_KEY}"
    asked = request("GET", path, query=f"as_of={moment}{more}", authorization=key)
    return await call(service.customers.dispatch, asked)


async def visitor(service: Service, visitor_id: str, query: str = "") -> tuple[int, Any]:
    asked = request("GET", f"/api/v1/visitors/{visitor_id}", query=query, authorization=f"Bearer {ADMIN_KEY}")
    return await call(service.visitors.dispatch, asked)


def sign_out(visitor_id: str, at: int) -> dict[str, Any]:
    return {"type": "userSignedOut", "visitor_id": visitor_id, "occurred_at": NOW + at * MINUTE}


async def told(service: Service, customer_id: str) -> list[Any]:
    """Return a customer's ledger as it is stored."""
    async with service.database.connection() as connection:
        found = await connection.execute(
            "SELECT merge_id::text, customer_id, version, is_link, created_customer, policy, source, event, event_id,"
            " visitor_id, channel_id::text, (extract(epoch FROM occurred_at) * 1000)::bigint,"
            " (extract(epoch FROM received_at) * 1000)::bigint, digest, decisions::text, act, undoes::text[],"
            " act_fields, other_id, actor, note, operation_id::text, link, copy_of::text"
            " FROM merge WHERE customer_id = %s ORDER BY version",
            [customer_id],
        )
        return [merge_from(row) for row in await found.fetchall()]


def set_clock(service: Service, now: int) -> None:
    service.acts._clock = lambda: now


_numbers = itertools.count(1)
pushes = st.tuples(
    st.just("push"),
    st.sampled_from(["v", "w"]),
    st.sampled_from(["a", "b"]),
    st.integers(0, 3),
    st.dictionaries(st.sampled_from(["name", "gender"]), st.sampled_from(["other", "male"]), max_size=2),
)
outs = st.tuples(st.just("out"), st.sampled_from(["v", "w"]))
undos = st.tuples(st.just("undo"), st.sampled_from(["a", "b"]), st.integers(0, 9))
unlinks = st.tuples(st.just("unlink"), st.sampled_from(["v", "w"]), st.integers(0, 9))
locks = st.tuples(st.just("lock"), st.sampled_from(["a", "b"]), st.booleans())
histories = st.lists(st.one_of(pushes, pushes, pushes, outs, undos, unlinks, locks), min_size=1, max_size=12)


async def do(service: Service, names: dict[str, str], step: Sequence[Any], at: int) -> None:
    """Do one step of a history, at its minute."""
    now = NOW + at * MINUTE
    set_clock(service, now)
    if step[0] == "push":
        _, who, customer, ago, fields = step
        pushed = identify(names[customer], names[who], max(0, at - ago), **fields)
        await submit(service, pushed, received_at=now)
    elif step[0] == "out":
        await submit(service, sign_out(names[step[1]], at), received_at=now)
    elif step[0] == "undo":
        rows = [row for row in await told(service, names[step[1]]) if row.is_merge or row.act == "undo"]
        if rows:
            wanted = rows[step[2] % len(rows)].merge_id
            await service.acts.undo_merges(WORKSPACE, names[step[1]], [wanted], ADMIN, dry_run=False)
    elif step[0] == "unlink":
        facts = await fact_ids(service, names[step[1]])
        if facts:
            wanted = facts[step[2] % len(facts)]
            await service.acts.undo_facts(WORKSPACE, names[step[1]], [wanted], ADMIN, dry_run=False)
    elif (await look_up(service, names[step[1]]))[0] == 200:
        await service.acts.lock(WORKSPACE, names[step[1]], ["display_name"], ADMIN, locked=step[2])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=histories)
def test_as_of_every_instant_is_what_the_lookup_said_then(store_url: str, urls: Urls, steps):
    number = next(_numbers)
    names = {name: f"{name}{number}" for name in "abvw"}

    async def story(service: Service):
        then = []
        for at, step in enumerate(steps):
            await do(service, names, step, at)
            customers = [await look_up(service, names[name]) for name in "ab"]
            then.append((NOW + at * MINUTE, customers, [await visitor(service, names[name]) for name in "vw"]))
        found = [
            (
                moment,
                [await as_of(service, names[name], moment + 30_000) for name in "ab"],
                [await visitor(service, names[name], f"as_of={moment + 30_000}") for name in "vw"],
            )
            for moment, _, _ in then
        ]
        ledgers = [await told(service, names[name]) for name in "ab"]
        why = [await service.past.explain(WORKSPACE, names[n]) for n, rows in zip("ab", ledgers, strict=True) if rows]
        return then, found, ledgers, why

    then, found, ledgers, why = play(store_url, urls, story)

    for (moment, customers, visitors), (_, customers_then, visitors_then) in zip(then, found, strict=True):
        assert [body.get("code", body) for _, body in customers_then] == [
            body.get("code", body) for _, body in customers
        ]
        assert [body.get("code", body) for _, body in visitors_then] == [body.get("code", body) for _, body in visitors]
        for rows, (status, body) in zip(ledgers, customers_then, strict=True):
            profile = fold([row for row in rows if row.received_at <= moment])
            held = profile.values() if profile is not None and not profile.is_gone else None
            assert (body["fields"] if status == 200 else None) == held
    for explained in why:
        winners = {field.field: field.winner.value for field in explained.fields if field.winner is not None}
        assert winners == explained.profile.values()
        assert explained.complete


def test_as_of_before_the_first_event_is_nothing_and_provenance_is_that_of_the_time(store_url: str, urls: Urls):
    async def story(service: Service):
        await submit(service, identify("42", name="Ana"), received_at=NOW)
        await submit(service, identify("42", at=5, name="Zoe"), received_at=NOW + 5 * MINUTE)
        first, _ = await merge_ids(service, "42")
        answers = [
            await as_of(service, "42", NOW - 1),
            await as_of(service, "42", NOW + MINUTE, "&include=provenance"),
            await as_of(service, "nobody", NOW),
            await visitor(service, "v1", f"as_of={NOW - 1}"),
            await as_of(service, "42", 5),
            await visitor(service, "v1", "as_of=soon"),
        ]
        return first, answers

    first, (before, then, nobody, unseen, wrong, soon) = play(store_url, urls, story)

    assert [(status, body["code"]) for status, body in (before, nobody, unseen)] == [
        (404, "customer_not_found"),
        (404, "customer_not_found"),
        (404, "visitor_not_found"),
    ]
    assert then[1]["fields"] == {"display_name": "Ana"}
    assert then[1]["provenance"]["display_name"]["merge_id"] == first
    assert [(status, body["code"]) for status, body in (wrong, soon)] == [(400, "invalid_as_of")] * 2


def test_as_of_follows_a_join_that_stood_then(store_url: str, urls: Urls):
    async def story(service: Service):
        await submit(service, identify("old", "v1", name="Ana"), received_at=NOW)
        await submit(service, identify("new", "v2", at=1, gender="other"), received_at=NOW + MINUTE)
        set_clock(service, NOW + 2 * MINUTE)
        await service.joins.join(WORKSPACE, "old", "new", ADMIN, dry_run=False)
        joined = [await look_up(service, name) for name in ("old", "new")]
        set_clock(service, NOW + 3 * MINUTE)
        await service.joins.take_apart(WORKSPACE, "old", ADMIN, dry_run=False)
        apart = [await look_up(service, name) for name in ("old", "new")]
        then = [
            [await as_of(service, name, NOW + minutes * MINUTE) for name in ("old", "new")] for minutes in (1, 2, 3)
        ]
        return joined, apart, then

    joined, apart, then = play(store_url, urls, story)

    assert [body["fields"] for _, body in then[0]] == [{"display_name": "Ana"}, {"gender": "other"}]
    assert then[1] == joined
    assert then[2] == apart


def test_what_changed_between_two_instants_is_told_with_the_merges_that_did_it(store_url: str, urls: Urls):
    async def story(service: Service):
        await submit(service, identify("42", name="Ana", gender="other"), received_at=NOW)
        await submit(service, identify("42", "v2", at=1, name="Eve"), received_at=NOW + MINUTE)
        await submit(service, identify("42", "v2", at=2, name="Zoe"), received_at=NOW + 2 * MINUTE)
        await submit(service, sign_out("v2", 3), received_at=NOW + 3 * MINUTE)
        rows = await merge_ids(service, "42")
        compared = await service.past.compare(WORKSPACE, "42", NOW, NOW + 3 * MINUTE)
        whole = await service.past.compare(WORKSPACE, "42", None, NOW + 3 * MINUTE)
        with pytest.raises(Problem) as problem:
            await service.past.compare(WORKSPACE, "nobody", NOW, NOW + MINUTE)
        return rows, compared, whole, problem.value.code

    rows, compared, whole, code = play(store_url, urls, story)

    assert [(c.field, [row.merge_id for row in c.merges], c.more) for c in compared.changed] == [
        ("display_name", [rows[2], rows[1]], False)
    ]
    assert [v.visitor_id for v in compared.before.visitors] == ["v1"]
    assert [(v.visitor_id, v.is_current) for v in compared.after.visitors] == [("v1", True), ("v2", False)]
    assert whole.before is None
    assert [change.field for change in whole.changed] == ["display_name", "gender"]
    assert code == "customer_not_found"


def test_an_explanation_reads_the_newest_rows_and_finds_older_winners(store_url: str, urls: Urls, monkeypatch):
    monkeypatch.setattr(past, "ROWS_EXPLAINED_MAX", 3)
    monkeypatch.setattr(past, "_ROWS_AT_ONCE", 2)

    async def story(service: Service):
        await submit(service, identify("42", name="Ana", gender="other"), received_at=NOW)
        for n in range(1, 6):
            await submit(service, identify("42", at=n, name=f"Ana {n}"), received_at=NOW + n * MINUTE)
        return await service.past.explain(WORKSPACE, "42"), await service.past.explain(WORKSPACE, "42", "display_name")

    cut, name = play(store_url, urls, story)

    fields = {field.field: field for field in cut.fields}
    assert not cut.complete
    assert fields["gender"].winner.value == "other"
    assert [offer.value for offer in fields["display_name"].others] == ["Ana 4", "Ana 3"]
    assert name.complete
    assert [field.field for field in name.fields] == ["display_name"]
    assert [offer.value for offer in name.fields[0].others] == ["Ana 4", "Ana 3", "Ana 2", "Ana 1", "Ana"]


def test_a_past_that_is_too_long_is_not_read(store_url: str, urls: Urls, monkeypatch):
    monkeypatch.setattr(past, "LEDGER_ROWS_MAX", 2)

    async def story(service: Service):
        for n in range(3):
            await submit(service, identify("42", at=n, name=f"Ana {n}"), received_at=NOW + n * MINUTE)
        early = await as_of(service, "42", NOW + MINUTE)
        return early, await as_of(service, "42", NOW + 2 * MINUTE)

    early, late = play(store_url, urls, story)

    assert early[1]["fields"] == {"display_name": "Ana 1"}
    assert (late[0], late[1]["code"]) == (409, "ledger_too_long")


def test_an_explanation_of_a_locked_and_undone_past_names_who_and_why(store_url: str, urls: Urls):
    async def story(service: Service):
        await submit(service, identify("42", name="Ana"), received_at=NOW)
        await submit(service, identify("42", at=1, name="Zoe"), received_at=NOW + MINUTE)
        _, wrong = await merge_ids(service, "42")
        undone = await service.acts.undo_merges(WORKSPACE, "42", [wrong], ADMIN, dry_run=False)
        await service.acts.lock(WORKSPACE, "42", ["display_name"], By("key:Bo", "checked by phone"), locked=True)
        await submit(service, identify("42", at=2, name="Eve"), received_at=NOW + 2 * MINUTE)
        assert undone.act is not None
        return undone.act.merge_id, (await service.past.explain(WORKSPACE, "42")).fields

    act, (name,) = play(store_url, urls, story)

    assert name.winner.value == "Ana"
    assert (name.lock.actor, name.lock.note) == ("key:Bo", "checked by phone")
    assert [(o.value, o.outcome, o.reason, o.by) for o in name.others] == [
        ("Eve", Outcome.KEPT_EXISTING, Reason.LOCKED, name.lock.merge_id),
        ("Zoe", Outcome.UNDONE, None, act),
    ]


def test_nothing_of_the_past_crosses_a_workspace(store_url: str, urls: Urls):
    async def story(service: Service):
        await submit(service, identify("42", name="Ana"), received_at=NOW)
        with psycopg.connect(store_url) as connection:
            connection.execute(
                "INSERT INTO workspace (workspace_id, slug, created_at) SELECT 2, 'other', created_at FROM workspace"
            )
        service.spreads.learn(2, 1)
        codes = []
        for question in (service.past.explain(2, "42"), service.past.compare(2, "42", None, NOW)):
            with pytest.raises(Problem) as problem:
                await question
            codes.append(problem.value.code)
        return codes, await service.past.at(2, "42", NOW)

    codes, held = play(store_url, urls, story)

    assert (codes, held) == (["customer_not_found"] * 2, None)
