"""What admins do to the past, on real servers: every story ends with the ledger replayed."""

import asyncio
import contextlib
import random
from itertools import count
from typing import Any

import psycopg
import pytest

from identity.acts import Acts, By
from identity.app import Service
from profiles import undoing
from profiles.http import Problem
from profiles.ledger import LedgerBroken
from profiles.placement import bucket_of
from profiles.remarks import Verdict
from tests.harness import Urls, opened_service
from tests.store.calls import call, find_visitors, look_up, request, submit
from tests.store.invariants import check_store, currents_in, values_in
from tests.store.test_rules import MINUTE, NOW, OTHER_WRITE_KEY, add_workspace, play

ADMIN = By("key:Ana", "it was not her")
WORKSPACE = 1


def identify(customer_id: str, visitor_id: str = "v1", at: int = 0, **fields: object) -> dict[str, Any]:
    return {
        "type": "clIdentity",
        "visitor_id": visitor_id,
        "customerId": customer_id,
        "occurred_at": NOW + at * MINUTE,
        **fields,
    }


async def merge_ids(service: Service, customer_id: str) -> list[str]:
    """Return the ids of a customer's ledger, in version order."""
    async with service.database.connection() as connection:
        found = await connection.execute(
            "SELECT merge_id::text FROM merge WHERE customer_id = %s ORDER BY version", [customer_id]
        )
        return [row[0] for row in await found.fetchall()]


async def fact_ids(service: Service, visitor_id: str) -> list[str]:
    """Return the ids of what was said of a visitor, in order."""
    async with service.database.connection() as connection:
        found = await connection.execute(
            "SELECT fact_id::text FROM visitor_fact WHERE visitor_id = %s ORDER BY version", [visitor_id]
        )
        return [row[0] for row in await found.fetchall()]


async def undo(service: Service, customer_id: str, *merges: str, dry_run: bool = False):
    return await service.acts.undo_merges(WORKSPACE, customer_id, merges, ADMIN, dry_run=dry_run)


async def unlink(service: Service, visitor_id: str, *facts: str, dry_run: bool = False):
    return await service.acts.undo_facts(WORKSPACE, visitor_id, facts, ADMIN, dry_run=dry_run)


async def footprint(service: Service, customer_id: str) -> list[str]:
    asked = request("GET", "/", authorization="Bearer sk_test_admin_key_0001")
    _, page = await call(lambda r: service.footprints.customer(r, customer_id), asked)
    return [event["type"] for event in page["items"]] if "items" in page else [str(page["code"])]


def test_an_undone_merge_is_out_of_the_lookup_at_once_and_the_preview_said_so(store_url: str, urls: Urls):
    async def story(service: Service):
        await submit(service, identify("42", name="Ana", email="ana@shop.example"), received_at=NOW)
        await submit(service, identify("42", at=5, name="Zoe", gender="other"), received_at=NOW + 5 * MINUTE)
        await look_up(service, "42")
        _, wrong = await merge_ids(service, "42")
        preview = await undo(service, "42", wrong, dry_run=True)
        still = await look_up(service, "42")
        done = await undo(service, "42", wrong)
        return preview, still, done, await look_up(service, "42")

    preview, still, done, (status, customer) = play(store_url, urls, story)

    assert still[1]["fields"]["display_name"] == "Zoe"
    assert preview.act.decisions == done.act.decisions
    assert [(d.field, d.verdict, d.old, d.value) for d in done.act.decisions] == [
        ("display_name", Verdict.OVERWROTE, "Zoe", "Ana"),
        ("gender", Verdict.UNSET, "other", None),
    ]
    assert (done.act.actor, done.act.note) == ("key:Ana", "it was not her")
    assert status == 200
    assert customer["fields"] == {"display_email": "ana@shop.example", "display_name": "Ana"}
    check_store(store_url)


def test_what_was_set_since_is_kept_and_the_rest_falls_back_to_what_lost_before(store_url: str, urls: Urls):
    async def story(service: Service):
        await submit(service, identify("42", name="Ana", gender="female"), received_at=NOW)
        await submit(service, identify("42", at=5, name="Zoe", gender="other"), received_at=NOW + 5 * MINUTE)
        await submit(service, identify("42", at=6, name="Ana Lin"), received_at=NOW + 6 * MINUTE)
        late = {"gender": "unknown", "address": "1 Lane"}
        await submit(service, identify("42", at=3, **late), received_at=NOW + 7 * MINUTE)
        _, wrong, _, _ = await merge_ids(service, "42")
        await undo(service, "42", wrong)

    play(store_url, urls, story)

    assert values_in(store_url, "42") == [{"display_name": "Ana Lin", "gender": "unknown", "address": "1 Lane"}]
    check_store(store_url)


def test_undoing_twice_writes_once_and_undoing_the_undoing_restores(store_url: str, urls: Urls):
    async def story(service: Service):
        await submit(service, identify("42", name="Ana"), received_at=NOW)
        await submit(service, identify("42", at=1, name="Zoe"), received_at=NOW + MINUTE)
        _, wrong = await merge_ids(service, "42")
        first = await undo(service, "42", wrong)
        again = await undo(service, "42", wrong)
        between = values_in(store_url, "42")
        await undo(service, "42", first.act.merge_id)
        return again, between, values_in(store_url, "42")

    again, between, after = play(store_url, urls, story)

    assert again.act is None
    assert between == [{"display_name": "Ana"}]
    assert after == [{"display_name": "Zoe"}]
    check_store(store_url)


def test_a_customer_of_undone_merges_alone_is_not_found_and_comes_back_with_the_next_one(store_url: str, urls: Urls):
    async def story(service: Service):
        await submit(service, identify("42", name="Zoe"), received_at=NOW)
        (only,) = await merge_ids(service, "42")
        await undo(service, "42", only)
        gone = await look_up(service, "42")
        listed = await find_visitors(service, "v1")
        await submit(service, identify("42", at=1, name="Ana"), received_at=NOW + MINUTE)
        return gone, listed, await look_up(service, "42")

    gone, listed, (status, back) = play(store_url, urls, story)

    assert (gone[0], gone[1]["code"]) == (404, "customer_not_found")
    assert listed == [[]]
    assert (status, back["fields"], back["version"]) == (200, {"display_name": "Ana"}, 3)
    check_store(store_url)


def test_the_same_push_after_its_undoing_is_merged_again(store_url: str, urls: Urls):
    async def story(service: Service):
        push = identify("42", name="Ana")
        await submit(service, push, received_at=NOW)
        (only,) = await merge_ids(service, "42")
        await undo(service, "42", only)
        await submit(service, {**push, "occurred_at": NOW + MINUTE}, received_at=NOW + MINUTE)

    play(store_url, urls, story)

    assert values_in(store_url, "42") == [{"display_name": "Ana"}]
    check_store(store_url)


def test_an_undone_identification_gives_the_visitor_and_the_footprint_back(store_url: str, urls: Urls):
    async def story(service: Service):
        await submit(service, identify("ana"), received_at=NOW)
        await submit(service, identify("zoe", at=10), received_at=NOW + 10 * MINUTE)
        seen = {
            "type": "pageOpened",
            "visitor_id": "v1",
            "url": "https://shop.example/",
            "occurred_at": NOW + 11 * MINUTE,
        }
        await submit(service, seen, received_at=NOW + 11 * MINUTE)
        before = [await footprint(service, "ana"), await footprint(service, "zoe")]
        _, wrong = await fact_ids(service, "v1")
        preview = await unlink(service, "v1", wrong, dry_run=True)
        done = await unlink(service, "v1", wrong)
        between = [await footprint(service, "ana"), await footprint(service, "zoe")]
        visitors = await find_visitors(service, "v1")
        check_store(store_url)
        await unlink(service, "v1", done.fact.fact_id)
        return before, preview, done, between, visitors, await find_visitors(service, "v1")

    before, preview, done, between, visitors, restored = play(store_url, urls, story)

    assert before == [[], ["pageOpened"]]
    assert between == [["pageOpened"], []]
    assert visitors == [["ana"]]
    assert restored == [["zoe"]]
    assert preview.stretches_after == done.stretches_after
    assert [stretch.customer_id for stretch in done.stretches_before] == ["ana", "zoe"]
    assert [stretch.customer_id for stretch in done.stretches_after] == ["ana"]
    check_store(store_url)


def test_values_of_the_anonymous_visitor_go_with_the_identification_that_gave_them_away(store_url: str, urls: Urls):
    anonymous = {
        "type": "userProfileChanged",
        "visitor_id": "v1",
        "occurred_at": NOW,
        "patch": {"operations": [{"type": "set", "path": "firstName", "value": "Bea"}]},
    }

    async def story(service: Service):
        await submit(service, anonymous, received_at=NOW)
        await submit(service, identify("zoe", at=1, name="Zoe"), received_at=NOW + MINUTE)
        given = values_in(store_url, "zoe")
        _, wrong = await fact_ids(service, "v1")
        done = await unlink(service, "v1", wrong)
        taken = values_in(store_url, "zoe")
        check_store(store_url)
        await submit(service, identify("bea", at=2), received_at=NOW + 2 * MINUTE)
        adopted = values_in(store_url, "bea")
        return given, taken, adopted, done

    given, taken, adopted, done = play(store_url, urls, story)

    assert given == [{"display_name": "Zoe", "first_name": "Bea"}]
    assert taken == [{"display_name": "Zoe"}]
    assert adopted == [{"first_name": "Bea"}]
    assert done.customers == ["zoe"]
    check_store(store_url)


def test_a_value_that_an_admin_took_back_alone_stays_so_when_the_identification_that_gave_it_counts_again(
    store_url: str, urls: Urls
):
    patch = {"operations": [{"type": "set", "path": "firstName", "value": "Bea"}]}
    anonymous = {"type": "userProfileChanged", "visitor_id": "v1", "occurred_at": NOW, "patch": patch}

    async def story(service: Service):
        await submit(service, anonymous, received_at=NOW)
        await submit(service, identify("zoe", at=1, name="Zoe"), received_at=NOW + MINUTE)
        *_, adopted = await merge_ids(service, "zoe")
        await undo(service, "zoe", adopted)
        _, said = await fact_ids(service, "v1")
        undoing = await unlink(service, "v1", said)
        await unlink(service, "v1", undoing.fact.fact_id)

    play(store_url, urls, story)

    assert values_in(store_url, "zoe") == [{"display_name": "Zoe"}]
    check_store(store_url)


def test_a_sign_out_that_named_somebody_unknown_is_taken_back_without_effect(store_url: str, urls: Urls):
    out = {"type": "userSignedOut", "visitor_id": "v1", "occurred_at": NOW + MINUTE, "userId": "nobody"}

    async def story(service: Service):
        await submit(service, identify("ana", name="Ana"), out, received_at=NOW + MINUTE)
        _, recorded = await fact_ids(service, "v1")
        done = await unlink(service, "v1", recorded)
        return done, await find_visitors(service, "v1")

    done, visitors = play(store_url, urls, story)

    assert (done.fact is not None, done.customers, done.merges) == (True, [], [])
    assert visitors == [["ana"]]
    check_store(store_url)


def test_a_late_event_goes_by_the_identifications_that_were_not_undone(store_url: str, urls: Urls):
    async def story(service: Service):
        await submit(service, identify("ana"), received_at=NOW)
        await submit(service, identify("zoe", at=10), received_at=NOW + 10 * MINUTE)
        await submit(service, identify("eve", at=20), received_at=NOW + 20 * MINUTE)
        await unlink(service, "v1", (await fact_ids(service, "v1"))[1])
        out = {"type": "userSignedOut", "visitor_id": "v1", "occurred_at": NOW + 15 * MINUTE, "userId": "ana"}
        await submit(service, out, received_at=NOW + 21 * MINUTE)

    play(store_url, urls, story)

    assert currents_in(store_url, "v1") == ["eve"]
    check_store(store_url)


def test_two_admins_who_undo_at_once_write_one_row(store_url: str, urls: Urls):
    async def story(service: Service):
        await submit(service, identify("42", name="Ana"), received_at=NOW)
        await submit(service, identify("42", at=1, name="Zoe"), received_at=NOW + MINUTE)
        _, wrong = await merge_ids(service, "42")
        async with opened_service(store_url, urls.redis) as other:
            results = await asyncio.gather(*(undo(s, "42", wrong) for s in (service, other) * 3))
        return results, await merge_ids(service, "42")

    results, rows = play(store_url, urls, story)

    assert sum(result.act is not None for result in results) == 1
    assert len(rows) == 3
    check_store(store_url)


def test_an_undo_takes_no_merge_of_another_workspace(store_url: str, urls: Urls):
    other = add_workspace(store_url)
    # Both customers are in one bucket, which would keep them apart otherwise.
    same = next(name for name in map(str, count()) if bucket_of(WORKSPACE, 4096, name) == bucket_of(other, 4096, name))

    async def story(service: Service):
        await submit(service, identify(same, "v2", name="Ana"), received_at=NOW)
        (mine,) = await merge_ids(service, same)
        await submit(service, identify(same, name="Zoe"), received_at=NOW, write_key=OTHER_WRITE_KEY)
        (theirs,) = {*await merge_ids(service, same)} - {mine}
        (said,) = await fact_ids(service, "v2")
        codes = []
        for act in (
            service.acts.undo_merges(WORKSPACE, same, [theirs], ADMIN, dry_run=False),
            service.acts.undo_merges(other, same, [mine], ADMIN, dry_run=False),
            service.acts.undo_facts(other, "v2", [said], ADMIN, dry_run=False),
        ):
            with pytest.raises(Problem) as problem:
                await act
            codes.append(problem.value.code)
        return codes, await merge_ids(service, same)

    codes, rows = play(store_url, urls, story)

    assert codes == ["merge_not_found", "merge_not_found", "visitor_not_found"]
    assert len(rows) == 2
    check_store(store_url)


def test_an_undo_of_one_customer_takes_no_merge_of_another(store_url: str, urls: Urls):
    async def story(service: Service):
        await submit(service, identify("ana", name="Ana"), identify("zoe", name="Zoe"), received_at=NOW)
        (theirs,) = await merge_ids(service, "zoe")
        with pytest.raises(Problem) as problem:
            await undo(service, "ana", theirs)
        return problem.value.code

    assert play(store_url, urls, story) == "merge_not_found"
    assert values_in(store_url, "ana", "zoe") == [{"display_name": "Ana"}, {"display_name": "Zoe"}]


def test_a_locked_field_is_kept_from_websites_until_it_is_unlocked(store_url: str, urls: Urls):
    async def story(service: Service):
        acts: Acts = service.acts
        await submit(service, identify("42", name="Ana"), received_at=NOW)
        await acts.lock(WORKSPACE, "42", ["display_name"], ADMIN, locked=True)
        await submit(service, identify("42", at=1, name="Zoe", gender="other"), received_at=NOW + MINUTE)
        kept = values_in(store_url, "42")
        _, row = await acts.lock(WORKSPACE, "42", ["display_name"], ADMIN, locked=True)
        await acts.lock(WORKSPACE, "42", ["display_name"], ADMIN, locked=False)
        await submit(service, identify("42", at=2, name="Zoe"), received_at=NOW + 2 * MINUTE)
        return kept, row, values_in(store_url, "42")

    kept, row, after = play(store_url, urls, story)

    assert kept == [{"display_name": "Ana", "gender": "other"}]
    assert row is None
    assert after == [{"display_name": "Zoe", "gender": "other"}]
    check_store(store_url)


def test_undoing_one_of_many_merges_reads_few_of_them(store_url: str, urls: Urls):
    async def story(service: Service):
        for n in range(250):
            await submit(service, identify("42", at=n, name=f"Ana {n}"), received_at=NOW + n * MINUTE)
        rows = await merge_ids(service, "42")
        await undo(service, "42", rows[100])
        middle = values_in(store_url, "42")
        await undo(service, "42", *rows[200:250])
        last = values_in(store_url, "42")
        await undo(service, "42", rows[0])
        return middle, last, values_in(store_url, "42")

    middle, last, first = play(store_url, urls, story)

    assert middle == [{"display_name": "Ana 249"}]
    assert last == first == [{"display_name": "Ana 199"}]
    check_store(store_url)


def test_a_broken_ledger_is_not_built_upon(store_url: str, urls: Urls):
    async def story(service: Service):
        await submit(service, identify("42", name="Ana"), received_at=NOW)
        await submit(service, identify("42", at=1, name="Zoe"), received_at=NOW + MINUTE)
        with psycopg.connect(store_url) as connection:
            connection.execute('UPDATE customer SET fields = \'{"display_name": ["Eve", 1800000000000, 2]}\'')
        _, wrong = await merge_ids(service, "42")
        with pytest.raises(LedgerBroken):
            await undo(service, "42", wrong)
        return await merge_ids(service, "42")

    rows = play(store_url, urls, story)

    assert len(rows) == 2


@pytest.mark.parametrize("seed", range(8))
def test_however_few_rows_are_read_at_once_the_fold_without_the_undone_is_what_is_left(
    store_url: str, urls: Urls, monkeypatch, seed: int
):
    monkeypatch.setattr(undoing, "ROWS_AT_ONCE", 2)
    chance = random.Random(seed)
    texts = ("Ana", "Bea", "Zoe", "unchanged", "display_name")

    def push(at: int) -> dict[str, Any]:
        sent = {
            name: value
            for name, value in (
                ("name", chance.choice(texts)),
                ("gender", chance.choice(("male", "female"))),
                ("address", chance.choice(("1 Lane", "2 Road", ""))),
            )
            if chance.random() < 0.6
        }
        return identify("42", at=chance.randrange(at + 1) if chance.random() < 0.3 else at, **sent)

    async def story(service: Service):
        for at in range(1, 61):
            await submit(service, push(at), received_at=NOW + at * MINUTE)
            if at % 12 == 0:
                rows = await merge_ids(service, "42")
                merges = chance.sample(rows, min(len(rows), chance.choice((1, 1, 3))))
                for merge in merges:
                    with contextlib.suppress(Problem):  # a change of links alone
                        await undo(service, "42", merge)

    play(store_url, urls, story)

    check_store(store_url)
