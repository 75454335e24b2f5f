"""A CRM's change of one customer: how its record is read, on what condition it is made, and what comes of it."""

from collections.abc import Mapping

import pytest

from identity.events.identity import Sender
from identity.parse import to_crm_patch
from identity.resolve import Held, Outcome, Unmet, decide
from identity.tolerant import read_object
from profiles.fields import CUSTOM_NAMES_MAX, EVERY_CUSTOM, FIELDS, read_record, spelled_out
from profiles.profile import HeldField, Merge, Profile
from profiles.remarks import Decision, JsonValue, Kind, Reading, Reason, Verdict

NOON = 1_780_000_000_000
HOUR = 3_600_000
CRM = Sender(workspace_id=1, source="crm", actor="key:CRM")


def profile(version: int = 7, locks: Mapping[str, int] | None = None, **held: JsonValue) -> Profile:
    """Return a customer whose fields were set an hour before noon."""
    fields = {name.replace("__", "."): HeldField(value, NOON - HOUR, version) for name, value in held.items()}
    return Profile("42", version, NOON - HOUR, NOON - HOUR, fields, "digest", locks=dict(locks or {}))


def patch(held: Profile | None, body: str, *, versions: frozenset[int] | None = None, creates: bool = False) -> Outcome:
    """Return what becomes of a body that comes at noon."""
    members = read_object(body.encode())
    assert members is not None
    event = to_crm_patch(members, CRM, "42", NOON, versions=versions, creates=creates)
    customers = {} if held is None else {(1, "42"): held}
    (outcome,) = decide([event], Held(customers), lambda *_: "id").outcomes
    return outcome


def decided(outcome: Outcome) -> list[tuple[str, Verdict, object]]:
    assert outcome.offered is not None
    return [(d.field, d.verdict, d.value) for d in outcome.offered.decisions]


def test_a_record_is_read_by_the_names_that_fields_are_held_by_and_by_those_of_cl_identity():
    held = read_record({"display_name": "Ana", "birth": "1995-01-31", "first_name": "An"})
    spelled = read_record({"name": "Ana", "birthday": "1995-01-31", "first_name": "An"})

    assert held == spelled
    assert [(r.field, r.kind, r.value) for r in held] == [
        ("display_name", Kind.VALUE, "Ana"),
        ("birth", Kind.VALUE, "1995-01-31"),
        ("first_name", Kind.VALUE, "An"),
    ]


def test_sent_both_ways_the_held_name_wins_unless_it_is_empty():
    in_order = read_record({"email": "b@a.example", "display_email": "a@a.example"})
    turned = read_record({"display_email": "a@a.example", "email": "b@a.example"})
    empty = read_record({"email": "b@a.example", "display_email": ""})

    assert [r.value for r in (*in_order, *turned, *empty)] == ["a@a.example", "a@a.example", "b@a.example"]


def test_null_takes_a_value_away_and_all_else_that_is_empty_is_nothing():
    readings = read_record({"display_name": None, "gender": "", "address": "  ", "interests": [], "custom": {}})

    assert readings == (
        Reading("custom", Kind.EMPTY),
        Reading("display_name", Kind.REMOVAL),
        Reading("gender", Kind.EMPTY),
        Reading("address", Kind.EMPTY),
        Reading("interests", Kind.EMPTY),
    )


def test_members_of_the_maps_may_stand_within_or_beside_with_a_dot():
    within = read_record({"postal_address": {"city": "Taipei"}, "custom": {"points": 3, "tier": None}})
    beside = read_record({"postal_address.city": "Taipei", "custom.points": 3, "custom.tier": None})

    assert within == beside
    assert within == (
        Reading("postal_address.city", Kind.VALUE, "Taipei"),
        Reading("custom.points", Kind.VALUE, 3),
        Reading("custom.tier", Kind.REMOVAL),
    )


def test_null_for_a_map_takes_all_of_it_away_but_what_is_given_beside_it():
    readings = read_record({"postal_address": None, "postal_address.city": "Taipei", "custom": None, "custom.b": 1})

    leaves = [field.name for field in FIELDS if field.name.startswith("postal_address.")]
    told = {r.field: r.kind for r in readings}
    assert told == {
        **dict.fromkeys(leaves, Kind.REMOVAL),
        "postal_address.city": Kind.VALUE,
        EVERY_CUSTOM: Kind.REMOVAL,
        "custom.b": Kind.VALUE,
    }
    assert [(r.field, r.kind) for r in spelled_out(readings, ["custom.a", "custom.b", "gender"])][-2:] == [
        ("custom.a", Kind.REMOVAL),
        ("custom.b", Kind.VALUE),
    ]


def test_what_no_field_is_named_is_told_and_so_are_bad_and_surplus_names():
    many = {f"custom.n{number}": number for number in range(CUSTOM_NAMES_MAX)}
    readings = read_record({"colour": "red", "firstName": "An", **many, "custom.more": 1, "custom.2": None})

    assert [(r.field, r.reason) for r in readings if r.kind is Kind.FAULT] == [
        ("custom.more", Reason.TOO_MANY),
        ("custom.2", Reason.TOO_MANY),
        ("colour", Reason.UNKNOWN_FIELD),
        ("firstName", Reason.UNKNOWN_FIELD),
    ]
    assert read_record({"custom": {"2x": None}}) == (
        Reading("custom.2x", Kind.FAULT, reason=Reason.NOT_A_NAME, raw="null"),
    )


def test_every_name_of_the_field_table_can_be_taken_away():
    names = [field.name for field in FIELDS if not field.name.startswith("custom.")]

    assert read_record(dict.fromkeys(names)) == tuple(Reading(name, Kind.REMOVAL) for name in names)


def test_a_change_is_a_merge_of_its_own_source_and_every_field_is_told():
    held = profile(display_name="Ana", display_email="a@a.example", custom__points=3)

    outcome = patch(held, '{"display_name": "Ana Lin", "display_mobile": "0912345678", "email": null, "custom": null}')

    assert isinstance(outcome.offered, Merge)
    assert outcome.merges == (outcome.offered,)
    assert (outcome.offered.source, outcome.offered.actor, outcome.offered.version) == ("crm", "key:CRM", 8)
    assert outcome.offered.decisions == (
        Decision("display_email", Verdict.UNSET, None, "a@a.example", None, None, 7),
        Decision("display_name", Verdict.OVERWROTE, None, "Ana", "Ana Lin", None, 7),
        Decision("display_mobile", Verdict.SKIPPED_INVALID, Reason.NO_COUNTRY_CODE, None, None, "0912345678"),
        Decision("custom.points", Verdict.UNSET, None, 3, None, None, 7),
    )


def test_the_fields_may_stand_in_a_map_as_a_lookup_answers_them():
    beside = patch(profile(), '{"display_name": "Ana", "custom.points": 3}')
    within = patch(profile(), '{"customer_id": "42", "fields": {"display_name": "Ana", "custom.points": 3}}')
    wrong = patch(profile(), '{"fields": 3}')

    assert decided(within) == decided(beside)
    assert decided(wrong) == [("fields", Verdict.SKIPPED_INVALID, None)]


def test_what_is_held_already_writes_nothing_and_is_told_all_the_same():
    outcome = patch(profile(display_name="Ana"), '{"display_name": "Ana", "gender": ""}')

    assert (outcome.unchanged, outcome.merges) == (True, ())
    assert decided(outcome) == [("display_name", Verdict.UNCHANGED, "Ana"), ("gender", Verdict.IGNORED_EMPTY, None)]


def test_a_lock_does_not_hold_against_a_crm():
    outcome = patch(profile(display_name="Ana", locks={"display_name": 7}), '{"display_name": "Bo"}')

    assert decided(outcome) == [("display_name", Verdict.OVERWROTE, "Bo")]


def test_a_change_that_happened_before_what_is_held_loses():
    outcome = patch(profile(display_name="Ana"), f'{{"display_name": "Bo", "occurred_at": {NOON - 2 * HOUR}}}')

    assert decided(outcome) == [("display_name", Verdict.SKIPPED_OLDER, "Bo")]


def test_a_time_that_is_none_is_told_and_the_change_counts_from_its_arrival():
    outcome = patch(profile(), '{"display_name": "Bo", "occurred_at": "yesterday"}')

    assert decided(outcome)[0][:2] == ("occurred_at", Verdict.SKIPPED_INVALID)
    assert outcome.offered is not None
    assert outcome.offered.occurred_at == NOON


GONE = Profile("42", 9, NOON - HOUR, NOON - HOUR, {}, is_gone=True)


@pytest.mark.parametrize(
    ("held", "versions", "creates", "unmet"),
    [
        (None, None, False, Unmet.ABSENT),
        (None, frozenset({1}), False, Unmet.ABSENT),
        (None, None, True, None),
        (GONE, None, False, Unmet.ABSENT),
        (GONE, frozenset({9}), False, Unmet.ABSENT),
        (GONE, None, True, None),
        (profile(7), None, False, None),
        (profile(7), frozenset({7}), False, None),
        (profile(7), frozenset({6, 7}), False, None),
        (profile(7), frozenset({6, 8}), False, Unmet.CHANGED),
        (profile(7), frozenset(), False, Unmet.CHANGED),
        (profile(7), None, True, Unmet.PRESENT),
        (profile(7), frozenset({7}), True, Unmet.PRESENT),
    ],
)
def test_a_change_is_made_only_on_its_condition(
    held: Profile | None, versions: frozenset[int] | None, creates: bool, unmet: Unmet | None
):
    outcome = patch(held, '{"display_name": "Bo"}', versions=versions, creates=creates)

    assert outcome.unmet is unmet
    assert bool(outcome.merges) is (unmet is None)
    assert outcome.offered is None or outcome.offered.created_customer is creates


def test_whoever_was_taken_back_altogether_is_made_anew_at_the_next_version():
    outcome = patch(GONE, '{"display_name": "Bo"}', creates=True)

    assert outcome.offered is not None
    assert (outcome.offered.version, outcome.offered.created_customer) == (10, True)


def test_of_two_changes_of_one_version_in_one_batch_the_second_is_not_made():
    members = [read_object(body) for body in (b'{"display_name": "Bo"}', b'{"display_name": "Cy"}')]
    events = [to_crm_patch(m or {}, CRM, "42", NOON, versions=frozenset({7})) for m in members]

    changes = decide(events, Held({(1, "42"): profile()}), lambda *_: "id")

    assert [outcome.unmet for outcome in changes.outcomes] == [None, Unmet.CHANGED]
    assert changes.customers[1, "42"].values() == {"display_name": "Bo"}
