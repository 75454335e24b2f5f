"""Patches: the nine operations, value by value; all of a patch or nothing of it."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiles import merge as merging
from profiles.fields import LIST_ITEMS_MAX, NUMBER_MAX, is_field, read_field
from profiles.patches import (
    OPERATIONS,
    PATH_CHARACTERS_MAX,
    PatchFailed,
    PatchOperation,
    _key,
    apply_patch,
    read_operation,
)
from profiles.profile import HeldField, Policy
from profiles.remarks import RAW_CHARACTERS_MAX, Decision, JsonValue, Kind, Reading, Reason, Verdict

NOON = 1_780_000_000_000


def held(**values: JsonValue) -> dict[str, HeldField]:
    """Return held fields; ``custom__x`` stands for custom.x and so on."""
    return {name.replace("__", "."): HeldField(value, NOON, 1) for name, value in values.items()}


def operation(kind: str, path: str, value: JsonValue = None) -> PatchOperation:
    return PatchOperation(kind, path, value)


def value(field: str, value: JsonValue, remark: Reason | None = None) -> Reading:
    return Reading(field, Kind.VALUE, value, remark)


def removal(field: str) -> Reading:
    return Reading(field, Kind.REMOVAL)


def empty(field: str) -> Reading:
    return Reading(field, Kind.EMPTY)


def fault(field: str, reason: Reason, raw: str | None) -> Reading:
    return Reading(field, Kind.FAULT, reason=reason, raw=raw)


def after(fields: dict[str, HeldField], *operations: PatchOperation, at: int = NOON) -> dict[str, JsonValue] | None:
    """Return the values that are held after a patch; None if it failed."""
    readings = apply_patch(fields, operations)
    if isinstance(readings, PatchFailed):
        return None
    _, fields = merging.decide(fields, readings, policy=Policy.OVERWRITE, exists=True, occurred_at=at, version=2)
    return {name: field.value for name, field in fields.items() if field.value is not None}


# What each operation makes of one value: the table of the Patch API, row by row.


@pytest.mark.parametrize(
    ("kind", "before", "given", "result"),
    [
        ("set", None, "a", "a"),
        ("set", "a", 5, 5),
        ("set", ["a"], ["b"], ["b"]),
        ("set", "a", {"k": 1}, {"k": 1}),
        ("add", None, "a", ["a"]),
        ("add", "a", None, ["a"]),
        ("add", "a", "b", ["a", "b"]),
        ("add", ["a"], None, ["a"]),
        ("add", ["a", "b"], "a", ["a", "b", "a"]),
        ("add", ["a"], ["b", "a", None], ["a", "b", "a"]),
        ("add", 1, {"k": 1}, [1, {"k": 1}]),
        ("combine", None, "a", ["a"]),
        ("combine", None, ["a"], ["a"]),
        ("combine", None, ["a", "a"], ["a"]),
        ("combine", ["a"], None, ["a"]),
        ("combine", ["a"], "b", ["a", "b"]),
        ("combine", ["a"], ["b", None], ["a", "b"]),
        ("combine", "a", "a", ["a"]),
        ("combine", "a", "b", ["a", "b"]),
        ("combine", "a", ["b"], ["a", "b"]),
        ("combine", ["c", "a", "c"], ["b", "a"], ["c", "a", "b"]),
        ("combine", [1, {"k": "v"}], [1.0, True, {"k": "v"}], [1, {"k": "v"}, True]),
        ("merge", None, {"a": 1}, {"a": 1}),
        ("merge", {"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ("merge", {"a": 1}, {"a": 2}, {"a": 2}),
        ("merge", {"a": {"x": 1}}, {"a": {"y": 2}}, {"a": {"y": 2}}),
        ("merge", {"a": 1}, {}, {"a": 1}),
        ("merge", None, [1], [1]),
        ("merge", 1, [2], [1, 2]),
        ("merge", [1], [2], [1, 2]),
        ("merge", ["a", "b"], ["b", "c"], ["a", "b", "b", "c"]),
        ("increment", None, 10, 10),
        ("increment", 0, 10, 10),
        ("increment", -1, 10, 9),
        ("increment", 0.5, 1, 1.5),
        ("increment", 5, None, 5),
        ("increment", None, None, 0),
        ("decrement", None, 10, -10),
        ("decrement", 0, 10, -10),
        ("decrement", 1, 10, -9),
        ("remove", ["a", "b", "c"], "a", ["b", "c"]),
        ("remove", ["a", "b", "c", "c"], "c", ["a", "b"]),
        ("remove", ["a", "b", "c"], "d", ["a", "b", "c"]),
        ("remove", ["a", {"b": 1}, "c"], {"b": 1}, ["a", "c"]),
        ("remove", ["a", "b", "c"], ["a", "c"], ["b"]),
        ("remove", ["a", ["b"], "c"], ["b"], ["a", "c"]),
        ("remove", [1, True], 1.0, [True]),
        ("remove", ["a"], "a", None),
        ("remove", None, "a", None),
        ("clear", ["a"], None, None),
        ("clear", {"a": 1}, None, None),
        ("clear", "foo", None, None),
        ("clear", None, None, None),
        ("unset", "foo", None, None),
        ("unset", None, None, None),
    ],
)
def test_an_operation_makes_of_a_value_what_the_table_says(
    kind: str, before: JsonValue, given: JsonValue, result: JsonValue
) -> None:
    fields = {} if before is None else held(custom__x=before)

    patched = after(fields, operation(kind, "custom.x", given))

    assert patched == ({} if result is None else {"custom.x": result})


@pytest.mark.parametrize(
    ("kind", "before", "given"),
    [
        ("add", {"a": 1}, "b"),
        ("combine", {"a": 1}, "b"),
        ("merge", {"a": 1}, [1]),
        ("merge", [1], {"a": 1}),
        ("merge", "a", {"a": 1}),
        ("merge", None, "a"),
        ("increment", "5", 1),
        ("increment", True, 1),
        ("increment", [1], 1),
        ("increment", 1, "1"),
        ("increment", 1, math.nan),
        ("decrement", 1, math.inf),
        ("decrement", {"a": 1}, 1),
        ("remove", "a", "a"),
        ("remove", {"a": 1}, "a"),
        ("collect", None, "a"),
    ],
)
def test_an_operation_that_does_not_fit_the_value_fails(kind: str, before: JsonValue, given: JsonValue) -> None:
    fields = {} if before is None else held(custom__x=before)

    assert apply_patch(fields, [operation(kind, "custom.x", given)]) == PatchFailed(0)


@pytest.mark.parametrize("kind", ["add", "combine", "merge"])
def test_a_list_that_comes_out_empty_of_nothing_overwrites_nothing(kind: str) -> None:
    assert apply_patch({}, [operation(kind, "interests", [])]) == (empty("interests"),)


# Paths.


@pytest.mark.parametrize(
    ("step", "result"),
    [
        (operation("set", "custom.x.list[0]", 9), {"list": [9, 2], "map": {"k": "v"}}),
        (operation("set", "custom.x.list[2]", 9), {"list": [1, 2, 9], "map": {"k": "v"}}),
        (operation("set", "custom.x.map.k", "w"), {"list": [1, 2], "map": {"k": "w"}}),
        (operation("set", "custom.x.map.l", "w"), {"list": [1, 2], "map": {"k": "v", "l": "w"}}),
        (operation("add", "custom.x.list", 3), {"list": [1, 2, 3], "map": {"k": "v"}}),
        (operation("add", "custom.x.new", 3), {"list": [1, 2], "map": {"k": "v"}, "new": [3]}),
        (operation("merge", "custom.x.map", {"l": "w"}), {"list": [1, 2], "map": {"k": "v", "l": "w"}}),
        (operation("increment", "custom.x.list[1]", 5), {"list": [1, 7], "map": {"k": "v"}}),
        (operation("remove", "custom.x.list", 1), {"list": [2], "map": {"k": "v"}}),
        (operation("remove", "custom.x.none.deep", 1), {"list": [1, 2], "map": {"k": "v"}}),
        (operation("clear", "custom.x.list"), {"list": [], "map": {"k": "v"}}),
        (operation("clear", "custom.x.map"), {"list": [1, 2], "map": {}}),
        (operation("clear", "custom.x.map.k"), {"list": [1, 2], "map": {}}),
        (operation("unset", "custom.x.list[0]"), {"list": [2], "map": {"k": "v"}}),
        (operation("unset", "custom.x.list[2]"), {"list": [1, 2], "map": {"k": "v"}}),
        (operation("unset", "custom.x.list.k"), {"list": [1, 2], "map": {"k": "v"}}),
        (operation("unset", "custom.x.none.deep[3]"), {"list": [1, 2], "map": {"k": "v"}}),
    ],
)
def test_a_path_leads_into_a_value(step: PatchOperation, result: JsonValue) -> None:
    fields = held(custom__x={"list": [1, 2], "map": {"k": "v"}})

    assert after(fields, step) == {"custom.x": result}
    assert fields == held(custom__x={"list": [1, 2], "map": {"k": "v"}})


@pytest.mark.parametrize("kind", ["set", "add", "combine", "merge", "increment", "decrement"])
@pytest.mark.parametrize(
    "path",
    [
        "custom.none.deep",
        "custom.text.k",
        "custom.text[0]",
        "custom.map[0]",
        "custom.list.k",
        "custom.list[2]",
        "custom.list[99999999999999999999]",
        "custom[0]",
        "address[0]",
        "firstName.x",
        "address.city.x",
        "interests[0]",
        "nope.deep[3].x",
        "__proto__.x",
        "[0].a",
        "[0]",
    ],
)
def test_nothing_is_put_below_nothing_nor_below_what_is_no_container(kind: str, path: str) -> None:
    fields = held(custom__text="a", custom__map={"k": 1}, custom__list=[1])
    given: JsonValue = [1] if kind == "merge" else 1

    assert apply_patch(fields, [operation(kind, path, given)]) == PatchFailed(0)


@pytest.mark.parametrize("kind", ["remove", "clear", "unset"])
@pytest.mark.parametrize("path", ["custom.none.deep", "custom.text.k[0]", "firstName.x", "interests[0]"])
def test_what_is_not_there_is_taken_away_without_a_word(kind: str, path: str) -> None:
    fields = held(custom__text="a")

    assert after(fields, operation(kind, path, "a")) == {"custom.text": "a"}


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (operation("set", "nickname", "Al"), fault("nickname", Reason.UNKNOWN_FIELD, "Al")),
        (operation("add", "nickname", "Al"), fault("nickname", Reason.UNKNOWN_FIELD, "Al")),
        (operation("increment", "display_email", 2), fault("profile.display_email", Reason.UNKNOWN_FIELD, "2")),
        (operation("unset", "nickname"), fault("nickname", Reason.UNKNOWN_FIELD, None)),
        (operation("clear", "__proto__.x"), fault("__proto__", Reason.UNKNOWN_FIELD, None)),
        (operation("remove", "[0].a", 1), fault("[0]", Reason.UNKNOWN_FIELD, None)),
        (operation("unset", "address.state"), fault("address.state", Reason.UNKNOWN_FIELD, None)),
        (operation("set", "custom." + "n" * 51, 1), fault("custom." + "n" * 49 + "…", Reason.NOT_A_NAME, "1")),
    ],
)
def test_an_unknown_name_is_remarked_on_and_fails_nothing(step: PatchOperation, expected: Reading) -> None:
    good = operation("set", "firstName", "Ana")

    assert apply_patch({}, [step, good]) == (expected, value("first_name", "Ana"))


def test_custom_names_keep_their_case() -> None:
    fields = held(custom__plan="a")

    assert after(fields, operation("set", "custom.Plan", "b")) == {"custom.plan": "a", "custom.Plan": "b"}


# Maps of fields.

ANA = held(
    first_name="Ana",
    gender="other",
    display_name="Ana L",
    address="Here 1",
    postal_address__city="Taipei",
    postal_address__street="Main St",
    custom__points=5,
    custom__plan="gold",
)


def test_to_set_the_address_takes_away_the_held_leaves_that_it_does_not_name() -> None:
    step = operation("set", "address", {"city": "Tainan"})

    assert apply_patch(ANA, [step]) == (value("postal_address.city", "Tainan"), removal("postal_address.street"))


def test_to_set_custom_takes_away_the_names_that_it_does_not_name() -> None:
    step = operation("set", "custom", {"points": 5, "new": 1})

    readings = apply_patch(ANA, [step])

    assert readings == (value("custom.points", 5), value("custom.new", 1), removal("custom.plan"))


def test_to_set_the_profile_leaves_only_what_no_profile_can_name() -> None:
    patched = after(ANA, operation("set", ".", {"firstName": "Bo", "address": {"city": "Tainan"}}))

    assert patched == {
        "first_name": "Bo", "display_name": "Ana L", "address": "Here 1", "postal_address.city": "Tainan",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("path", "given", "expected"),
    [
        ("address", {"city": 5}, fault("postal_address.city", Reason.WRONG_TYPE, "5")),
        ("address", {"state": "x"}, fault("address.state", Reason.UNKNOWN_FIELD, "x")),
        ("address", {"city": ""}, empty("postal_address.city")),
        ("address", "Taipei", fault("postal_address", Reason.WRONG_TYPE, "Taipei")),
        ("address", {}, empty("postal_address")),
        ("custom", None, empty("custom")),
        ("custom", [1], fault("custom", Reason.WRONG_TYPE, "[1]")),
        (".", 5, fault(".", Reason.WRONG_TYPE, "5")),
        (".", {}, empty(".")),
        (".", {"address": {"city": 5}}, fault("postal_address.city", Reason.WRONG_TYPE, "5")),
    ],
)
def test_a_map_of_which_nothing_can_be_held_takes_nothing_away(path: str, given: JsonValue, expected: Reading) -> None:
    assert apply_patch(ANA, [operation("set", path, given)]) == (expected,)


def test_a_value_of_a_map_that_cannot_be_held_leaves_the_held_one() -> None:
    patched = after(ANA, operation("set", "address", {"city": 5, "street": "New St"}))

    assert patched == {**after(ANA), "postal_address.street": "New St"}  # type: ignore[dict-item]


def test_a_profile_is_merged_at_its_root_one_level_deep() -> None:
    lead: JsonValue = {"lastName": "Lim", "address": {"city": "Tainan"}, "custom": {"points": 6}, "email": "x"}

    readings = apply_patch(ANA, [operation("merge", ".", lead)])

    assert readings == (
        fault("display_email", Reason.NOT_AN_EMAIL, "x"),
        value("last_name", "Lim"),
        value("postal_address.city", "Tainan"),
        removal("postal_address.street"),
        value("custom.points", 6),
        removal("custom.plan"),
    )


@pytest.mark.parametrize(
    ("path", "given", "changed"),
    [
        ("address", {"city": "Tainan"}, {"postal_address.city": "Tainan"}),
        ("custom", {"points": 6}, {"custom.points": 6}),
    ],
)
def test_a_map_of_fields_is_merged_name_by_name(path: str, given: JsonValue, changed: dict[str, JsonValue]) -> None:
    assert after(ANA, operation("merge", path, given)) == {**after(ANA), **changed}  # type: ignore[dict-item]


@pytest.mark.parametrize("kind", ["clear", "unset"])
def test_a_map_of_fields_is_taken_away_with_all_its_fields(kind: str) -> None:
    custom = apply_patch(ANA, [operation(kind, "custom")])
    address = apply_patch({}, [operation(kind, "address")])
    profile = after(ANA, operation(kind, "."))

    assert custom == (removal("custom.plan"), removal("custom.points"))
    leaves = ("street", "district", "city", "region", "country", "postal_code")
    assert address == tuple(removal(f"postal_address.{leaf}") for leaf in leaves)
    assert profile == {"display_name": "Ana L", "address": "Here 1"}


@pytest.mark.parametrize("kind", ["add", "combine", "increment", "decrement", "remove"])
@pytest.mark.parametrize("path", [".", "address", "custom"])
def test_a_map_of_fields_is_no_list_and_no_number(kind: str, path: str) -> None:
    assert apply_patch(ANA, [operation(kind, path, 1)]) == PatchFailed(0)


# Several operations.


def test_each_operation_goes_on_from_what_those_before_it_left() -> None:
    fields = held(custom__points=5, interests=["tea"])

    readings = apply_patch(
        fields,
        [
            operation("increment", "custom.points", 2),
            operation("add", "interests", "coffee"),
            operation("decrement", "custom.points", 10),
            operation("remove", "interests", "tea"),
            operation("set", "custom.map", {"k": 1}),
            operation("set", "custom.map.l", 2),
        ],
    )

    assert readings == (
        value("custom.points", -3),
        value("interests", ["coffee"]),
        value("custom.map", {"k": 1, "l": 2}),
    )


@pytest.mark.parametrize("at", [0, 1, 2])
def test_one_failing_operation_voids_the_whole_patch(at: int) -> None:
    operations = [operation("set", "firstName", "Bo"), operation("unset", "gender")]
    operations.insert(at, operation("increment", "custom.plan", 1))

    assert apply_patch(ANA, operations) == PatchFailed(at)


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (operation("set", "email", 12345), fault("display_email", Reason.WRONG_TYPE, "12345")),
        (operation("set", "firstName", ""), empty("first_name")),
        (operation("add", "firstName", "Bo"), fault("first_name", Reason.WRONG_TYPE, "Bo")),
        (operation("add", "interests", "x" * 31), fault("interests", Reason.TOO_LONG, "x" * 31)),
        (operation("increment", "birthDate", 1), fault("birth", Reason.WRONG_TYPE, "1")),
        (operation("set", "gender", "neutral"), value("gender", "other")),
        (operation("set", "phone", "+886 999 999 999"), value("display_mobile", "+886999999999")),
        (operation("unset", "phone"), removal("display_mobile")),
    ],
)
def test_a_value_is_what_its_own_field_makes_of_it(step: PatchOperation, expected: Reading) -> None:
    assert apply_patch({}, [step]) == (expected,)


def test_a_skipped_value_is_told_beside_the_one_that_is_held() -> None:
    steps = [operation("set", "email", "x"), operation("set", "email", "ana@shop.example")]

    assert apply_patch({}, steps) == (
        fault("display_email", Reason.NOT_AN_EMAIL, "x"),
        value("display_email", "ana@shop.example"),
    )
    assert after({}, *reversed(steps)) == {"display_email": "ana@shop.example"}


def test_a_list_grows_to_its_limit_and_no_further() -> None:
    fields = held(interests=["tea"] * LIST_ITEMS_MAX)

    assert apply_patch(fields, [operation("add", "interests", "milk")]) == (
        fault("interests", Reason.TOO_MANY, "milk"),
    )


def test_a_number_beyond_what_is_exact_is_skipped() -> None:
    fields = held(custom__points=NUMBER_MAX)

    readings = apply_patch(fields, [operation("increment", "custom.points", 1)])

    assert readings == (fault("custom.points", Reason.NOT_A_NUMBER, "1"),)


def test_an_item_is_read_as_its_field_reads_it() -> None:
    assert after(held(interests=["tea"]), operation("add", "interests", " milk ")) == {"interests": ["tea", "milk"]}


def test_a_field_that_ends_as_it_began_is_unchanged() -> None:
    steps = [
        operation("increment", "custom.points", 1),
        operation("decrement", "custom.points", 1),
        operation("remove", "custom.plan[0]", "gold"),
        operation("set", "gender", "neutral"),
    ]

    readings = apply_patch(ANA, steps)

    assert isinstance(readings, tuple)
    decisions, _ = merging.decide(ANA, readings, policy=Policy.OVERWRITE, exists=True, occurred_at=NOON + 1, version=2)
    assert decisions == (
        Decision("custom.points", Verdict.UNCHANGED, None, 5, 5, None, 1),
        Decision("custom.plan", Verdict.UNCHANGED, None, "gold", "gold", None, 1),
        Decision("gender", Verdict.UNCHANGED, None, "other", "other", None, 1),
    )


def test_a_removed_field_counts_as_nothing_and_is_removed_again() -> None:
    fields = {"custom.points": HeldField(None, NOON, 1)}

    assert apply_patch(fields, [operation("increment", "custom.points", 2)]) == (value("custom.points", 2),)
    assert apply_patch(fields, [operation("unset", "custom.points")]) == (removal("custom.points"),)


def test_a_late_patch_loses_to_newer_values_field_by_field() -> None:
    fields = {"custom.a": HeldField(1, NOON, 1), "custom.b": HeldField(1, NOON - 20, 1)}

    assert after(fields, operation("unset", "custom"), at=NOON - 10) == {"custom.a": 1}
    assert after(fields, operation("set", "custom", {"c": 1}), at=NOON - 10) == {"custom.a": 1, "custom.c": 1}


# Laws.

PATHS = st.sampled_from(
    [
        ".", "address", "custom", "firstName", "email", "phone", "gender", "interests", "activities", "address.city",
        "custom.a", "custom.b", "custom.a.k", "custom.a[0]", "custom.b[1].k", "interests[0]", "interests[1]",
        "address.state", "nickname", "nope.x", "__proto__.x", "[0]", "custom[0]", "custom." + "n" * 60,
    ]
)  # fmt: skip
TEXTS = st.sampled_from(["", " ", "tea", "ana@shop.example", "+886912345678", "neutral", "\x00", "\ud83d", "x" * 200])
SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.integers() | st.floats() | TEXTS
NAMES = st.sampled_from(["a", "b", "k", "city", "street", "custom", "address", "interests", "email", "firstName", "9"])
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=8,
)
STEPS = st.builds(PatchOperation, st.sampled_from(OPERATIONS), PATHS, VALUES | st.integers(-3, 3))
HELD = st.dictionaries(
    st.sampled_from(
        ["custom.a", "custom.b", "interests", "first_name", "display_email", "gender", "postal_address.city", "address"]
    ),
    VALUES,
).map(
    lambda values: {
        name: HeldField(reading.value, NOON, 1)
        for name, given in values.items()
        if (reading := read_field(name, given)).kind is Kind.VALUE
    }
)
law = settings(deadline=None, max_examples=200)


@law
@given(HELD, st.lists(STEPS, max_size=6))
def test_a_patch_never_raises_and_what_it_gives_is_sound(fields: dict[str, HeldField], steps: list[PatchOperation]):
    before = {name: HeldField(field.value, field.set_at, field.version) for name, field in fields.items()}

    readings = apply_patch(fields, steps)

    assert fields == before
    if isinstance(readings, PatchFailed):
        assert isinstance(apply_patch(fields, steps[: readings.operation]), tuple)
        assert isinstance(apply_patch(fields, steps[: readings.operation + 1]), PatchFailed)
        return
    settled = [reading.field for reading in readings if reading.kind is not Kind.FAULT]
    assert len(settled) == len(set(settled))
    assert len({(reading.field, reading.kind is Kind.FAULT) for reading in readings}) == len(readings)
    for reading in readings:
        assert "\x00" not in reading.field + (reading.raw or "")
        (reading.field + (reading.raw or "")).encode()
        assert reading.raw is None or len(reading.raw) <= RAW_CHARACTERS_MAX
        if reading.kind is Kind.VALUE:
            assert is_field(reading.field)
            assert read_field(reading.field, reading.value).value == reading.value


@law
@given(HELD, st.lists(STEPS, max_size=5))
def test_a_patch_in_two_halves_comes_to_the_same(fields: dict[str, HeldField], steps: list[PatchOperation]):
    whole = after(fields, *steps)
    half = apply_patch(fields, steps[:2])
    if whole is None or isinstance(half, PatchFailed):
        return
    _, between = merging.decide(fields, half, policy=Policy.OVERWRITE, exists=True, occurred_at=NOON, version=2)

    assert after(between, *steps[2:]) == whole


def test_an_empty_patch_touches_nothing():
    assert apply_patch(ANA, ()) == ()


@law
@given(st.text(max_size=8) | PATHS, st.sampled_from(OPERATIONS) | st.text(max_size=5), VALUES)
def test_no_operation_makes_it_raise(path: str, kind: str, given: Any):
    read_operation({"type": kind, "path": path, "value": given})
    apply_patch(ANA, [PatchOperation(kind, path, given)])


@law
@given(VALUES, VALUES)
def test_items_are_equal_as_held_values_are(one: Any, other: Any):
    assert (_key(one) == _key(other)) == merging.same_value(one, other)


def test_the_longest_path_leads_nowhere_and_one_longer_fails() -> None:
    longest = "custom.a" + "[9]" * ((PATH_CHARACTERS_MAX - 8) // 3)

    assert apply_patch({}, [operation("unset", longest)]) == ()
    assert apply_patch({}, [operation("unset", longest + ".long")]) == PatchFailed(0)
