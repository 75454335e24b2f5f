"""Traits of the Segment specification, read by the field table: by example and by law."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.fields import (
    CUSTOM_NAMES_MAX,
    FAULTY_NAMES_MAX,
    FIELDS,
    SPELLINGS,
    Dialect,
    read_date_trait,
    read_gender_trait,
    read_traits,
)
from profiles.remarks import Kind, Reading, Reason
from tests.unit.test_fields import fault, value
from tests.unit.test_fields_laws import ADDRESSES, CUSTOMS, TEXTS, VALUES, assert_sound, law


def empty(field: str) -> Reading:
    return Reading(field, Kind.EMPTY)


def test_every_reserved_trait_is_read_into_its_field() -> None:
    readings = read_traits(
        {
            "email": "Ana@Shop.Example",
            "name": "Ana Lin",
            "phone": "+886 912-345-678",
            "gender": "Female",
            "birthday": "1995-01-31T00:00:00.000Z",
            "firstName": "Ana",
            "lastName": "Lin",
            "title": "Buyer",
            "avatar": "https://shop.example/ana.png",
            "company": {"name": "Tea & Co"},
            "address": {
                "street": "1 Main St",
                "city": "Taipei",
                "state": "TPE",
                "country": "Taiwan",
                "postalCode": "100",
            },
        }
    )

    assert readings == (
        value("display_email", "Ana@shop.example"),
        value("display_name", "Ana Lin"),
        value("display_mobile", "+886912345678"),
        value("gender", "female"),
        value("birth", "1995-01-31"),
        value("first_name", "Ana"),
        value("last_name", "Lin"),
        value("job_title", "Buyer"),
        value("postal_address.street", "1 Main St"),
        value("postal_address.city", "Taipei"),
        value("postal_address.region", "TPE"),
        value("postal_address.country", "Taiwan"),
        value("postal_address.postal_code", "100"),
        value("avatar_url", "https://shop.example/ana.png"),
        value("company", "Tea & Co"),
    )


def test_every_other_trait_is_a_custom_field_and_ids_are_none() -> None:
    readings = read_traits(
        {
            "id": "u-1",
            "userId": "u-1",
            "anonymousId": "a-1",
            "createdAt": "2020-01-01T00:00:00Z",
            "age": 30,
            "username": "ana",
            "website": "https://ana.example",
            "jobTitle": "Buyer",
            "first-visit": True,
        }
    )

    assert readings == (
        value("custom.createdAt", "2020-01-01T00:00:00Z"),
        value("custom.age", 30),
        value("custom.username", "ana"),
        value("custom.website", "https://ana.example"),
        value("custom.jobTitle", "Buyer"),
        fault("custom.first-visit", Reason.NOT_A_NAME, "true"),
    )


def test_an_address_and_a_company_may_be_texts() -> None:
    assert read_traits({"address": "1 Main St\nTaipei", "company": "Tea & Co"}) == (
        value("address", "1 Main St\nTaipei"),
        value("company", "Tea & Co"),
    )


def test_unknown_members_of_an_address_and_a_company_are_faults_and_the_rest_is_read() -> None:
    assert read_traits({"address": {"zip": "100", "city": "Taipei"}, "company": {"id": 7, "name": "Tea & Co"}}) == (
        value("postal_address.city", "Taipei"),
        value("company", "Tea & Co"),
        fault("address.zip", Reason.UNKNOWN_FIELD, "100"),
        fault("company.id", Reason.UNKNOWN_FIELD, "7"),
    )


def test_of_many_unknown_members_some_are_told() -> None:
    readings = read_traits({"address": {f"x{n}": n for n in range(FAULTY_NAMES_MAX + 5)}})

    assert len(readings) == FAULTY_NAMES_MAX + 1
    assert readings[-1] == fault("address.*", Reason.UNKNOWN_FIELD, "5 more")


@pytest.mark.parametrize("nothing", [None, "", " ", [], {}])
def test_nothing_is_no_value(nothing: object) -> None:
    assert read_traits({"email": nothing, "address": nothing, "company": nothing, "plan": nothing}) == (
        empty("display_email"),
        empty("address"),
        empty("company"),
        empty("custom.plan"),
    )


def test_a_bad_trait_is_a_fault_and_the_rest_is_read() -> None:
    assert read_traits({"phone": 912345678, "name": "Ana", "company": ["Tea"], "address": 1}) == (
        value("display_name", "Ana"),
        fault("display_mobile", Reason.WRONG_TYPE, "912345678"),
        fault("address", Reason.WRONG_TYPE, "1"),
        fault("company", Reason.WRONG_TYPE, '["Tea"]'),
    )


def test_custom_traits_are_kept_within_their_number() -> None:
    readings = read_traits({"name": "Ana", **{f"t{n}": n for n in range(CUSTOM_NAMES_MAX + 2)}})

    assert [reading.reason for reading in readings] == [None] * (CUSTOM_NAMES_MAX + 1) + [Reason.TOO_MANY] * 2


@pytest.mark.parametrize(
    ("sent", "held"),
    [
        ("1995-01-31", "1995-01-31"),
        (" 1995-01-31T23:59:59.999Z ", "1995-01-31"),
        ("1995-01-31T00:00:00", "1995-01-31"),
        ("1995-01-31 00:00:00+08:00", "1995-01-31"),
        ("1995-01-31T00:00:00+0800", "1995-01-31"),
        ("1995-02-30T00:00:00Z", Reason.NOT_A_DATE),
        ("19950131", Reason.NOT_A_DATE),
        ("1995-01-31T", Reason.NOT_A_DATE),
        ("1995-01-31Tomorrow", Reason.NOT_A_DATE),
        (791510400000, Reason.WRONG_TYPE),
    ],
)
def test_of_a_birthday_the_date_is_held(sent: object, held: object) -> None:
    assert read_date_trait(sent) == held


@pytest.mark.parametrize(
    ("sent", "held"),
    [
        ("female", "female"),
        ("MALE", "male"),
        (" Neutral ", "other"),
        ("other", "other"),
        ("unknown", "unknown"),
        ("f", Reason.NOT_IN_LIST),
        (1, Reason.WRONG_TYPE),
    ],
)
def test_a_gender_is_read_in_any_case_and_in_either_dialects_words(sent: object, held: object) -> None:
    assert read_gender_trait(sent) == held


def test_the_table_spells_each_trait_once() -> None:
    spelled = [field.spellings[Dialect.TRAITS] for field in FIELDS if Dialect.TRAITS in field.spellings]

    assert len(spelled) == len(set(spelled)) == len(SPELLINGS[Dialect.TRAITS])


TRAITS = st.tuples(
    st.dictionaries(st.sampled_from(list(SPELLINGS[Dialect.TRAITS])) | TEXTS, VALUES, max_size=6),
    st.fixed_dictionaries({}, optional={"address": ADDRESSES, "company": CUSTOMS | TEXTS}),
    CUSTOMS,
).map(lambda parts: {**parts[0], **parts[1], **parts[2]})


@law
@given(TRAITS)
def test_traits_never_raise_and_decide_each_field_once(traits: dict[str, Any]) -> None:
    readings = read_traits(traits)

    assert_sound(readings)
    customs = [r for r in readings if r.field.startswith("custom.") and r.kind is Kind.VALUE]
    assert len(customs) <= CUSTOM_NAMES_MAX
