"""Two customers declared one, and taken apart: every story ends with the ledger replayed."""

from typing import Any

import psycopg
import pytest

from identity.acts import By
from identity.app import Service
from profiles import store
from profiles.http import Problem
from tests.harness import Urls
from tests.store.calls import find_visitors, look_up, submit
from tests.store.invariants import check_store, values_in
from tests.store.test_acts import WORKSPACE, fact_ids, footprint, identify, merge_ids, undo, unlink
from tests.store.test_rules import MINUTE, NOW, play

ADMIN = By("key:Ana", "one person, two cards")


async def join(service: Service, customer_id: str, into: str, *, dry_run: bool = False):
    return await service.joins.join(WORKSPACE, customer_id, into, ADMIN, dry_run=dry_run)


async def take_apart(service: Service, customer_id: str, *, dry_run: bool = False):
    return await service.joins.take_apart(WORKSPACE, customer_id, ADMIN, dry_run=dry_run)


async def two_customers(service: Service) -> None:
    """Ana bought with an old card on one device and with a new one on another."""
    await submit(service, identify("old", "v1", name="Ana", gender="other", address="1 Lane"), received_at=NOW)
    await submit(
        service, identify("new", "v2", at=5, name="Ana Lin", birthday="1995-01-31"), received_at=NOW + 5 * MINUTE
    )
    await submit(service, identify("old", "v1", at=9, address="2 Road"), received_at=NOW + 9 * MINUTE)


def held(service_url: str) -> list[dict[str, Any] | None]:
    return values_in(service_url, "old", "new")


def test_the_joined_id_answers_with_the_newest_of_both_and_the_dry_run_said_so(store_url: str, urls: Urls):
    async def story(service: Service):
        await two_customers(service)
        await look_up(service, "old")
        await look_up(service, "new")
        preview = await join(service, "old", "new", dry_run=True)
        unchanged = held(store_url)
        done = await join(service, "old", "new")
        return preview, unchanged, done, await look_up(service, "old"), await look_up(service, "new")

    preview, unchanged, done, (status, old), (_, new) = play(store_url, urls, story)

    assert unchanged[1] == {"display_name": "Ana Lin", "birth": "1995-01-31"}
    assert preview.into_after.values() == done.into_after.values() == new["fields"]
    assert (status, old) == (200, new)
    assert new["customer_id"] == "new"
    assert new["joined_ids"] == ["old"]
    assert new["fields"] == {
        "display_name": "Ana Lin",
        "birth": "1995-01-31",
        "gender": "other",
        "address": "2 Road",
    }
    assert [(v["visitor_id"], v["current"]) for v in new["visitors"]] == [("v2", True), ("v1", True)]
    check_store(store_url)


def test_taken_apart_both_are_to_the_byte_what_they_were(store_url: str, urls: Urls):
    async def story(service: Service):
        await two_customers(service)
        before = [(await look_up(service, customer_id))[1] for customer_id in ("old", "new")]
        await join(service, "old", "new")
        await take_apart(service, "old")
        return before, [(await look_up(service, customer_id))[1] for customer_id in ("old", "new")]

    before, after = play(store_url, urls, story)

    for was, now in zip(before, after, strict=True):
        assert (now["fields"], now["visitors"], "joined_ids" in now) == (was["fields"], was["visitors"], False)
    check_store(store_url)


def test_what_names_the_joined_id_meanwhile_is_merged_into_the_other_and_goes_home_afterwards(
    store_url: str, urls: Urls
):
    async def story(service: Service):
        await two_customers(service)
        await join(service, "old", "new")
        await submit(service, identify("old", "v3", at=20, name="Ana L."), received_at=NOW + 20 * MINUTE)
        await submit(service, identify("new", "v2", at=21, gender="female"), received_at=NOW + 21 * MINUTE)
        _, joined = await look_up(service, "new")
        own = held(store_url)
        visitors = await find_visitors(service, "v3")
        check_store(store_url)
        await take_apart(service, "old")
        return joined, own, visitors, held(store_url)

    joined, own, visitors, apart = play(store_url, urls, story)

    assert joined["fields"]["display_name"] == "Ana L."
    assert joined["fields"]["gender"] == "female"
    assert own[0] == {"display_name": "Ana", "gender": "other", "address": "2 Road"}
    assert visitors == [["new"]]
    assert apart == [
        {"display_name": "Ana L.", "gender": "other", "address": "2 Road"},
        {"display_name": "Ana Lin", "birth": "1995-01-31", "gender": "female"},
    ]
    check_store(store_url)


def test_the_footprint_of_both_is_one_and_the_time_between_them_is_not_contested(store_url: str, urls: Urls):
    def page(visitor_id: str, at: int) -> dict[str, Any]:
        opened = {"type": "pageOpened", "visitor_id": visitor_id, "url": "https://shop.example/"}
        return {**opened, "occurred_at": NOW + at * MINUTE}

    out = {"type": "userSignedOut", "visitor_id": "v1", "occurred_at": NOW + 10 * MINUTE}

    async def story(service: Service):
        await two_customers(service)
        await submit(service, out, received_at=NOW + 10 * MINUTE)
        await submit(service, page("v1", 11), received_at=NOW + 11 * MINUTE)
        await submit(service, identify("new", "v1", at=12), received_at=NOW + 12 * MINUTE)
        await submit(service, page("v2", 13), received_at=NOW + 13 * MINUTE)
        before = [await footprint(service, customer_id) for customer_id in ("old", "new")]
        await join(service, "old", "new")
        joined = [await footprint(service, customer_id) for customer_id in ("old", "new")]
        await take_apart(service, "old")
        return before, joined, [await footprint(service, customer_id) for customer_id in ("old", "new")]

    before, joined, after = play(store_url, urls, story)

    assert before == after == [[], ["pageOpened"]]
    assert joined == [["pageOpened", "pageOpened"]] * 2
    check_store(store_url)


def test_a_merge_that_came_by_the_join_can_be_undone_alone(store_url: str, urls: Urls):
    async def story(service: Service):
        await two_customers(service)
        done = await join(service, "old", "new")
        address = next(row for row in done.into_rows if row.decisions and row.decisions[0].value == "2 Road")
        await undo(service, "new", address.merge_id)
        between = held(store_url)
        await take_apart(service, "old")
        return between, held(store_url)

    between, after = play(store_url, urls, story)

    assert between[1] is not None
    assert between[1]["address"] == "1 Lane"
    assert after[1] == {"display_name": "Ana Lin", "birth": "1995-01-31"}
    check_store(store_url)


def test_neither_a_circle_nor_a_chain_nor_oneself_is_joined(store_url: str, urls: Urls):
    async def story(service: Service):
        await submit(service, identify("a"), identify("b", "v2"), identify("c", "v3"), received_at=NOW)
        await join(service, "a", "b")
        codes = []
        for one, other in (("a", "a"), ("b", "a"), ("b", "c"), ("c", "a"), ("a", "c"), ("a", "nobody")):
            with pytest.raises(Problem) as problem:
                await join(service, one, other)
            codes.append(problem.value.code)
        again = await join(service, "a", "b")
        with pytest.raises(Problem) as problem:
            await take_apart(service, "c")
        return codes, again.into_rows, problem.value.code

    codes, again, apart = play(store_url, urls, story)

    assert codes == [
        "join_with_itself", "already_joined", "has_joined", "already_joined", "already_joined", "customer_not_found",
    ]  # fmt: skip
    assert again == []
    assert apart == "not_joined"
    check_store(store_url)


def test_a_repeated_push_that_names_the_joined_id_writes_nothing(store_url: str, urls: Urls):
    async def story(service: Service):
        await two_customers(service)
        await join(service, "old", "new")
        for at in (20, 21, 22):
            await submit(service, identify("old", "v1", at=at, name="Ana L."), received_at=NOW + at * MINUTE)
        first = len(await merge_ids(service, "new"))
        await submit(service, identify("old", "v1", at=23, name="Ana L."), received_at=NOW + 23 * MINUTE)
        return first, len(await merge_ids(service, "new"))

    first, last = play(store_url, urls, story)

    assert first == last
    check_store(store_url)


def test_a_patch_counts_on_from_what_the_joined_customer_holds(store_url: str, urls: Urls):
    def points(visitor_id: str, at: int, kind: str, value: int) -> dict[str, Any]:
        patch = {"operations": [{"type": kind, "path": "custom.points", "value": value}]}
        changed = {"type": "userProfileChanged", "visitor_id": visitor_id, "patch": patch}
        return {**changed, "occurred_at": NOW + at * MINUTE}

    async def story(service: Service):
        await two_customers(service)
        await submit(service, points("v2", 10, "set", 10), received_at=NOW + 10 * MINUTE)
        await join(service, "old", "new")
        await submit(service, points("v1", 11, "increment", 5), received_at=NOW + 11 * MINUTE)
        return (await look_up(service, "old"))[1]["fields"]["custom.points"]

    assert play(store_url, urls, story) == 15
    check_store(store_url)


def test_a_row_that_was_taken_back_before_they_were_taken_apart_never_counts_in_the_other_ledger_again(
    store_url: str, urls: Urls
):
    async def story(service: Service):
        await two_customers(service)
        done = await join(service, "old", "new")
        address = next(row for row in done.into_rows if row.decisions and row.decisions[0].value == "2 Road")
        undoing = await undo(service, "new", address.merge_id)
        await take_apart(service, "old")
        await undo(service, "new", undoing.act.merge_id)

    play(store_url, urls, story)

    assert held(store_url)[1] == {"display_name": "Ana Lin", "birth": "1995-01-31"}
    check_store(store_url)


def test_what_went_home_stays_there_when_they_are_joined_the_other_way_round_and_taken_apart(
    store_url: str, urls: Urls
):
    async def story(service: Service):
        await two_customers(service)
        await join(service, "old", "new")
        await submit(service, identify("old", "v3", at=20, name="Ana L."), received_at=NOW + 20 * MINUTE)
        await take_apart(service, "old")
        before = held(store_url)
        await join(service, "new", "old")
        await take_apart(service, "new")
        return before

    before = play(store_url, urls, story)

    assert before[0] == {"display_name": "Ana L.", "gender": "other", "address": "2 Road"}
    assert held(store_url) == before
    check_store(store_url)


def anonymous_name(visitor_id: str, at: int, name: str) -> dict[str, Any]:
    patch = {"operations": [{"type": "set", "path": "firstName", "value": name}]}
    told = {"type": "userProfileChanged", "visitor_id": visitor_id, "patch": patch}
    return {**told, "occurred_at": NOW + at * MINUTE}


@pytest.mark.parametrize("joined_before", [True, False], ids=["joined_before", "joined_after"])
def test_an_undone_identification_takes_its_values_out_of_the_customer_whom_it_is_joined_into(
    store_url: str, urls: Urls, *, joined_before: bool
):
    async def story(service: Service):
        await two_customers(service)
        if joined_before:
            await join(service, "old", "new")
        await submit(service, anonymous_name("v9", 20, "Bea"), received_at=NOW + 20 * MINUTE)
        await submit(service, identify("old", "v9", at=21), received_at=NOW + 21 * MINUTE)
        if not joined_before:
            await join(service, "old", "new")
        given = held(store_url)[1]
        _, wrong = await fact_ids(service, "v9")
        done = await unlink(service, "v9", wrong)
        taken = held(store_url)[1]
        check_store(store_url)
        await unlink(service, "v9", done.fact.fact_id)
        restored = held(store_url)[1]
        await take_apart(service, "old")
        _, _, undoing, _ = await fact_ids(service, "v9")
        await unlink(service, "v9", wrong)
        assert undoing == done.fact.fact_id
        return given, taken, restored

    given, taken, restored = play(store_url, urls, story)

    assert given == restored
    assert given is not None
    assert taken == {name: value for name, value in given.items() if name != "first_name"}
    assert given["first_name"] == "Bea"
    assert ["first_name" in (values or {}) for values in held(store_url)] == [False, False]
    check_store(store_url)


def test_values_of_a_visitor_who_signed_out_go_to_the_customer_whom_it_is_by_a_join(store_url: str, urls: Urls):
    out = {"type": "userSignedOut", "visitor_id": "v1", "occurred_at": NOW + 10 * MINUTE}

    async def story(service: Service):
        await two_customers(service)
        await join(service, "old", "new")
        await submit(service, out, received_at=NOW + 10 * MINUTE)
        await submit(service, anonymous_name("v1", 11, "Bea"), received_at=NOW + 11 * MINUTE)
        await submit(service, identify("new", "v1", at=12), received_at=NOW + 12 * MINUTE)

    play(store_url, urls, story)

    assert (held(store_url)[1] or {}).get("first_name") == "Bea"
    check_store(store_url)


def test_a_late_patch_of_the_joined_customer_counts_for_the_other(store_url: str, urls: Urls):
    async def story(service: Service):
        await two_customers(service)
        await join(service, "old", "new")
        await submit(service, identify("new", "v1", at=12), received_at=NOW + 12 * MINUTE)
        await submit(service, anonymous_name("v1", 10, "Bea"), received_at=NOW + 13 * MINUTE)

    play(store_url, urls, story)

    assert (held(store_url)[1] or {}).get("first_name") == "Bea"
    check_store(store_url)


def test_what_a_sign_up_set_once_the_merge_before_it_was_undone_is_joined_too(store_url: str, urls: Urls):
    sign_up = {"type": "userSignedUp", "userId": "old", "visitor_id": "v1", "profile": {"company": "Acme"}}

    async def story(service: Service):
        await submit(service, identify("old", "v1", name="Ana"), identify("new", "v2"), received_at=NOW)
        await submit(service, {**sign_up, "occurred_at": NOW + MINUTE}, received_at=NOW + MINUTE)
        first, _ = await merge_ids(service, "old")
        await undo(service, "old", first)
        await join(service, "old", "new")

    play(store_url, urls, story)

    assert held(store_url) == [{"company": "Acme"}, {"company": "Acme"}]
    check_store(store_url)


def test_what_is_undone_of_a_joined_customer_goes_from_the_other_as_well_and_comes_back_with_it(
    store_url: str, urls: Urls
):
    async def story(service: Service):
        await two_customers(service)
        await submit(
            service, identify("old", "v1", at=30, name="Evil", email="evil@shop.example"), received_at=NOW + 30 * MINUTE
        )
        wrong = (await merge_ids(service, "old"))[-1]
        await join(service, "old", "new")
        poisoned = held(store_url)[1]
        done = await undo(service, "old", wrong)
        mended = held(store_url)
        again = await undo(service, "old", wrong)
        check_store(store_url)
        await undo(service, "old", done.act.merge_id)
        restored = held(store_url)[1]
        return poisoned, done, mended, again, restored

    poisoned, done, mended, again, restored = play(store_url, urls, story)

    assert poisoned["display_name"] == restored["display_name"] == "Evil"
    assert [act.customer_id for act in done.also] == ["new"]
    assert mended[0]["display_name"] == "Ana"
    assert mended[1]["display_name"] == "Ana Lin"
    assert "display_email" not in mended[1]
    assert (again.act, again.also) == (None, ())
    check_store(store_url)


def test_what_went_home_is_undone_with_the_row_that_it_is_a_copy_of(store_url: str, urls: Urls):
    async def story(service: Service):
        await two_customers(service)
        await join(service, "old", "new")
        await submit(service, identify("old", "v3", at=30, name="Evil"), received_at=NOW + 30 * MINUTE)
        wrong = (await merge_ids(service, "new"))[-1]
        await take_apart(service, "old")
        home = held(store_url)[0]
        await undo(service, "new", wrong)
        return home, held(store_url)[0]

    home, mended = play(store_url, urls, story)

    assert home["display_name"] == "Evil"
    assert mended["display_name"] == "Ana"
    check_store(store_url)


@pytest.mark.parametrize("whose", ["old", "new"])
def test_what_went_home_and_came_again_by_another_join_is_undone_wherever_it_is(store_url: str, urls: Urls, whose: str):
    async def story(service: Service):
        await two_customers(service)
        await join(service, "old", "new")
        await submit(service, identify("old", "v3", at=30, email="evil@shop.example"), received_at=NOW + 30 * MINUTE)
        first = (await merge_ids(service, "new"))[-1]
        await take_apart(service, "old")
        home = (await merge_ids(service, "old"))[-1]
        await join(service, "old", "new")
        poisoned = held(store_url)
        done = await undo(service, whose, home if whose == "old" else first)
        mended = held(store_url)
        check_store(store_url)
        await undo(service, whose, done.act.merge_id)
        return poisoned, mended, held(store_url)

    poisoned, mended, restored = play(store_url, urls, story)

    assert ["display_email" in values for values in poisoned] == [True, True]
    assert ["display_email" in values for values in mended] == [False, False]
    assert restored == poisoned
    check_store(store_url)


def test_a_lock_of_the_joined_id_closes_the_field_of_whom_it_is(store_url: str, urls: Urls):
    async def story(service: Service):
        await two_customers(service)
        await join(service, "old", "new")
        profile, row = await service.acts.lock(WORKSPACE, "old", ["display_name"], ADMIN, locked=True)
        assert row is not None
        await submit(service, identify("old", "v1", at=30, name="Evil"), received_at=NOW + 30 * MINUTE)
        closed = held(store_url)[1]
        await service.acts.lock(WORKSPACE, "old", ["display_name"], ADMIN, locked=False)
        await submit(service, identify("old", "v1", at=31, name="Ana L."), received_at=NOW + 31 * MINUTE)
        return profile.customer_id, row.customer_id, closed

    *locked, closed = play(store_url, urls, story)

    assert locked == ["new", "new"]
    assert closed["display_name"] == "Ana Lin"
    assert (held(store_url)[1] or {})["display_name"] == "Ana L."
    check_store(store_url)


def test_what_found_no_gap_in_the_other_fills_the_one_at_home(store_url: str, urls: Urls):
    async def story(service: Service):
        await two_customers(service)
        await submit(service, anonymous_name("v2", 6, "Lin"), received_at=NOW + 6 * MINUTE)
        await join(service, "old", "new")
        await submit(service, anonymous_name("v9", 20, "Bea"), received_at=NOW + 20 * MINUTE)
        await submit(service, identify("old", "v9", at=21), received_at=NOW + 21 * MINUTE)
        joined = held(store_url)[1]
        await take_apart(service, "old")
        return joined

    joined = play(store_url, urls, story)

    assert joined["first_name"] == "Lin"
    assert [(values or {})["first_name"] for values in held(store_url)] == ["Bea", "Lin"]
    check_store(store_url)


@pytest.mark.parametrize("what", ["push", "lock", "look up"])
def test_who_was_read_before_they_were_taken_apart_is_not_taken_for_the_other(
    store_url: str, urls: Urls, monkeypatch: pytest.MonkeyPatch, what: str
):
    load = store.load_customers

    async def story(service: Service):
        await two_customers(service)
        await join(service, "old", "new")
        is_apart = False

        async def apart_before(connection: Any, database: Any, rows: Any) -> Any:
            nonlocal is_apart
            if not is_apart and [row.id for row in rows] == ["new"]:
                is_apart = True
                await take_apart(service, "old")
            return await load(connection, database, rows)

        monkeypatch.setattr(store, "load_customers", apart_before)
        match what:
            case "push":
                push = identify("old", "v1", at=30, email="ana@shop.example")
                await submit(service, push, received_at=NOW + 30 * MINUTE)
            case "lock":
                await service.acts.lock(WORKSPACE, "old", ["display_name"], ADMIN, locked=True)
            case _:
                await look_up(service, "old")
        assert is_apart
        monkeypatch.setattr(store, "load_customers", load)
        return (await look_up(service, "old"))[1], await merge_ids(service, "new")

    old, of_the_other = play(store_url, urls, story)

    assert old["customer_id"] == "old"
    assert old["fields"]["display_name"] == "Ana"
    with psycopg.connect(store_url) as connection:
        last = connection.execute("SELECT act FROM merge WHERE merge_id = %s", [of_the_other[-1]]).fetchone()
    assert last == ("release",)
    check_store(store_url)
