"""The rules of every field, by example."""

import math
from typing import Any

import pytest

from profiles.fields import (
    EVERY_CUSTOM,
    FIELDS,
    GENDERS,
    PROFILE_GENDERS,
    SPELLINGS,
    Dialect,
    Doubtful,
    email_key,
    is_empty,
    is_field,
    read_choice,
    read_custom,
    read_date,
    read_email,
    read_field,
    read_identify,
    read_list,
    read_phone,
    read_profile,
    read_profile_path,
    read_text,
    read_url,
    removal_for_path,
)
from profiles.remarks import Kind, Reading, Reason


def value(field: str, held: Any, remark: Reason | None = None) -> Reading:
    return Reading(field, Kind.VALUE, held, remark)


def fault(field: str, reason: Reason, raw: str | None) -> Reading:
    return Reading(field, Kind.FAULT, reason=reason, raw=raw)


# One event.


def test_an_identify_is_read_in_clidentitys_spelling() -> None:
    readings = read_identify(
        {
            "customerId": "m-1",
            "email": " Ana@Shop.Example ",
            "name": "Ana",
            "phone": "+886 912-345-678",
            "gender": "female",
            "birthday": "1995-01-31",
            "address": "1 Main St\nTaipei",
        }
    )

    assert readings == (
        value("display_email", "Ana@shop.example"),
        value("display_name", "Ana"),
        value("display_mobile", "+886912345678"),
        value("gender", "female"),
        value("birth", "1995-01-31"),
        value("address", "1 Main St\nTaipei"),
    )


def test_an_identify_is_read_in_the_mapped_spelling() -> None:
    readings = read_identify({"display_email": "a@b.example", "display_mobile": "+886912345678", "birth": "1995-01-31"})

    assert readings == (
        value("display_email", "a@b.example"),
        value("display_mobile", "+886912345678"),
        value("birth", "1995-01-31"),
    )


def test_a_phone_without_country_code_is_a_fault_and_the_rest_is_read() -> None:
    readings = read_identify({"name": "Ana", "phone": "0912345678"})

    assert readings == (
        value("display_name", "Ana"),
        fault("display_mobile", Reason.NO_COUNTRY_CODE, "0912345678"),
    )


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"display_name": "Mapped", "name": "Other"}, value("display_name", "Mapped")),
        ({"display_name": 5, "name": "Other"}, fault("display_name", Reason.WRONG_TYPE, "5")),
        ({"display_name": " ", "name": "Other"}, value("display_name", "Other")),
        ({"display_name": None, "name": "Other"}, value("display_name", "Other")),
        ({"display_name": "", "name": None}, Reading("display_name", Kind.EMPTY)),
        ({"display_name": []}, Reading("display_name", Kind.EMPTY)),
        ({"name": {}}, Reading("display_name", Kind.EMPTY)),
    ],
)
def test_the_mapped_spelling_wins_unless_it_is_empty(params: dict[str, object], expected: Reading) -> None:
    assert read_identify(params) == (expected,)


def test_names_that_are_no_field_of_an_identify_are_passed_over() -> None:
    assert read_identify({"customer_id": "m", "first_name": "Ana", "custom": {"a": 1}, "": 1, "\ud800": 2}) == ()


@pytest.mark.parametrize("nothing", [None, "", " \t\n\u3000", [], {}])
def test_what_says_nothing_is_empty(nothing: object) -> None:
    assert is_empty(nothing)
    assert read_identify({"email": nothing}) == (Reading("display_email", Kind.EMPTY),)


@pytest.mark.parametrize("something", [0, False, "0", [None], {"": None}, 0.0])
def test_what_says_something_is_not_empty(something: object) -> None:
    assert not is_empty(something)


# Text.


@pytest.mark.parametrize(
    ("sent", "held"),
    [
        ("  Ana  ", "Ana"),
        ("a" * 200, "a" * 200),
        (" " * 900 + "😀" * 200, "😀" * 200),
        ("a" * 201, Reason.TOO_LONG),
        (5, Reason.WRONG_TYPE),
        (True, Reason.WRONG_TYPE),
        (["Ana"], Reason.WRONG_TYPE),
        ({"a": 1}, Reason.WRONG_TYPE),
        ("A\x00na", Reason.FORBIDDEN_CHARACTER),
        ("A\nna", Reason.FORBIDDEN_CHARACTER),
        ("A\x7fna", Reason.FORBIDDEN_CHARACTER),
        ("A\x85na", Reason.FORBIDDEN_CHARACTER),
        ("A\ud83d", Reason.FORBIDDEN_CHARACTER),
        ("A\ufffdna", Reason.FORBIDDEN_CHARACTER),
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
        ("อานา 王", "อานา 王"),
    ],
)
def test_a_text_is_trimmed_and_bounded_and_holds_no_controls(sent: object, held: object) -> None:
    assert read_text(sent, 200) == held


def test_only_the_address_holds_line_ends_and_tabs() -> None:
    readings = read_identify({"name": "a\tb", "address": "a\r\n\tb"})

    assert readings == (
        fault("display_name", Reason.FORBIDDEN_CHARACTER, "a\tb"),
        value("address", "a\r\n\tb"),
    )
    assert read_text("a\x0bb", 500, is_multiline=True) is Reason.FORBIDDEN_CHARACTER


# E-mail.


@pytest.mark.parametrize(
    ("sent", "held"),
    [
        ("ana@shop.example", "ana@shop.example"),
        ("ana@mail.test", "ana@mail.test"),
        ("ana@crm.local", "ana@crm.local"),
        ("Ana.B+x@SHOP.Example", "Ana.B+x@shop.example"),
        ("Info@Shop.Example", "Info@shop.example"),
        ("ana@xn--bcher-kva.example", "ana@bücher.example"),
        ("ana@BÜCHER.example", "ana@bücher.example"),
        ("u\u0308na@shop.example", "üna@shop.example"),
        ("ana@sub--x.shop.example", "ana@sub--x.shop.example"),
        ("a" * 100 + "@shop.example", "a" * 100 + "@shop.example"),
        ("ana", Reason.NOT_AN_EMAIL),
        ("ana@shop", Reason.NOT_AN_EMAIL),
        ("ana@@shop.example", Reason.NOT_AN_EMAIL),
        ("ana@shop..example", Reason.NOT_AN_EMAIL),
        (".ana@shop.example", Reason.NOT_AN_EMAIL),
        ("ana@-shop.example", Reason.NOT_AN_EMAIL),
        ("ana@127.0.0.1", Reason.NOT_AN_EMAIL),
        ("ana@[127.0.0.1]", Reason.NOT_AN_EMAIL),
        ('"ana b"@shop.example', Reason.NOT_AN_EMAIL),
        ("Ana <ana@shop.example>", Reason.NOT_AN_EMAIL),
        ("mailto:ana@shop.example,b@shop.example", Reason.NOT_AN_EMAIL),
        ("ana\u202e@shop.example", Reason.NOT_AN_EMAIL),
        ("ana@shop.example\u200b", Reason.NOT_AN_EMAIL),
        ("ana@" + "x" * 64 + ".example", Reason.NOT_AN_EMAIL),
        ("an\x00a@shop.example", Reason.FORBIDDEN_CHARACTER),
        ("a" * 242 + "@shop.example", Reason.TOO_LONG),
        ("a" * 1_000_000, Reason.TOO_LONG),
        (7, Reason.WRONG_TYPE),
    ],
)
def test_an_email_is_held_as_sent_but_for_its_domain(sent: object, held: object) -> None:
    assert read_email(sent) == held


def test_emails_are_looked_up_without_regard_to_case() -> None:
    assert email_key("Ana@shop.example") == email_key("ANA@shop.example") == "ana@shop.example"


# Phone.


@pytest.mark.parametrize(
    ("sent", "held"),
    [
        ("+886912345678", "+886912345678"),
        (" +886 (912) 345-678 ", "+886912345678"),
        ("+ 886.912.345.678", "+886912345678"),
        ("+44 (0)20 7031 3000", "+442070313000"),
        ("+39 06 1234 5678", "+390612345678"),
        ("+1 416 555 2671", "+14165552671"),
        ("+800 1234 5678", "+80012345678"),
        ("+12125550100", "+12125550100"),
        ("+11115550100", Doubtful("+11115550100", Reason.UNASSIGNED_NUMBER)),
        ("0912345678", Reason.NO_COUNTRY_CODE),
        ("00886912345678", Reason.NO_COUNTRY_CODE),
        ("886 912 345 678", Reason.NO_COUNTRY_CODE),
        ("+", Reason.NOT_A_PHONE),
        ("( ) -", Reason.NOT_A_PHONE),
        ("+0912345678", Reason.NOT_A_PHONE),
        ("+9991234567", Reason.NOT_A_PHONE),
        ("+88691", Reason.NOT_A_PHONE),
        ("+8869123456781234", Reason.NOT_A_PHONE),
        ("++886912345678", Reason.NOT_A_PHONE),
        ("(+886)912345678", Reason.NOT_A_PHONE),
        ("+\uff18\uff18\uff16912345678", Reason.NOT_A_PHONE),
        ("\uff0b886912345678", Reason.NOT_A_PHONE),
        ("+886\u200b912345678", Reason.NOT_A_PHONE),
        ("+886912345678;ext=5", Reason.NOT_A_PHONE),
        ("+886912345678 x5", Reason.NOT_A_PHONE),
        ("tel:+886912345678", Reason.NOT_A_PHONE),
        ("tel:0912345678;phone-context=+886", Reason.NOT_A_PHONE),
        ("+1800FLOWERS", Reason.NOT_A_PHONE),
        ("+886912345678\x00", Reason.NOT_A_PHONE),
        ("+" + "1" * 40, Reason.TOO_LONG),
        ("+" + "1" * 1_000_000, Reason.TOO_LONG),
        (886912345678, Reason.WRONG_TYPE),
    ],
)
def test_a_phone_has_a_country_code_and_is_held_in_e164(sent: object, held: object) -> None:
    assert read_phone(sent) == held


def test_a_possible_number_in_no_assigned_range_is_held_with_a_remark() -> None:
    readings = read_identify({"phone": "+1 111 555 0100"})

    assert readings == (value("display_mobile", "+11115550100", Reason.UNASSIGNED_NUMBER),)


# Gender, date, URL.


@pytest.mark.parametrize("gender", ["male", "female", "other", "unknown"])
def test_clidentity_knows_four_genders(gender: str) -> None:
    assert read_identify({"gender": f" {gender} "}) == (value("gender", gender),)


@pytest.mark.parametrize(
    ("sent", "held"), [("male", "male"), ("female", "female"), ("neutral", "other"), ("unknown", "unknown")]
)
def test_a_profiles_neutral_is_held_as_other(sent: str, held: str) -> None:
    assert read_profile({"gender": sent}) == read_profile_path("gender", sent) == (value("gender", held),)


@pytest.mark.parametrize(
    ("sent", "choices", "reason"),
    [
        ("neutral", GENDERS, Reason.NOT_IN_LIST),
        ("other", PROFILE_GENDERS, Reason.NOT_IN_LIST),
        ("Male", GENDERS, Reason.NOT_IN_LIST),
        ("m", GENDERS, Reason.NOT_IN_LIST),
        (1, GENDERS, Reason.WRONG_TYPE),
    ],
)
def test_other_genders_are_not_in_the_list(sent: object, choices: dict[str, str], reason: Reason) -> None:
    assert read_choice(sent, choices) is reason


@pytest.mark.parametrize(
    ("sent", "held"),
    [
        (" 1995-01-31 ", "1995-01-31"),
        ("2000-02-29", "2000-02-29"),
        ("0001-01-01", "0001-01-01"),
        ("9999-12-31", "9999-12-31"),
        ("1900-02-29", Reason.NOT_A_DATE),
        ("2000-99-99", Reason.NOT_A_DATE),
        ("0000-01-01", Reason.NOT_A_DATE),
        ("19950101", Reason.NOT_A_DATE),
        ("1995-W01-1", Reason.NOT_A_DATE),
        ("1995-1-1", Reason.NOT_A_DATE),
        ("1995-01-31T00:00:00Z", Reason.NOT_A_DATE),
        ("31/01/1995", Reason.NOT_A_DATE),
        ("１９９５-01-31", Reason.NOT_A_DATE),
        (799286400000, Reason.WRONG_TYPE),
    ],
)
def test_a_date_is_real_and_written_in_one_way(sent: object, held: object) -> None:
    assert read_date(sent) == held


@pytest.mark.parametrize(
    "url",
    [
        "https://shop.example",
        "http://shop.example:8080/a/b?c=d&e=[f]#g",
        "HTTPS://Shop.Example/",
        "https://bücher.example/ä",
        "https://user:pass@shop.example/",
        "http://127.0.0.1/",
        "http://[::1]:80/",
        "http://localhost",
        "https://my_bucket.shop.example./x",
        "https://shop.example/" + "a" * 479,
    ],
)
def test_a_url_is_held_as_sent(url: str) -> None:
    assert read_url(f" {url} ") == url


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        ("shop.example/a.png", Reason.NOT_A_URL),
        ("//shop.example/a.png", Reason.NOT_A_URL),
        ("ftp://shop.example", Reason.NOT_A_URL),
        ("javascript:alert(1)", Reason.NOT_A_URL),
        ("javascript://shop.example/%0aalert(1)", Reason.NOT_A_URL),
        ("https://", Reason.NOT_A_URL),
        ("https:///path", Reason.NOT_A_URL),
        ("https://?q", Reason.NOT_A_URL),
        ("https://user@", Reason.NOT_A_URL),
        ("https://a..b/", Reason.NOT_A_URL),
        ("https://shop.example:65536/", Reason.NOT_A_URL),
        ("https://shop.example:x/", Reason.NOT_A_URL),
        ("https://[::1", Reason.NOT_A_URL),
        ("https://[nope]/", Reason.NOT_A_URL),
        ("https://[:::]/", Reason.NOT_A_URL),
        ("https://1.2.3.999/", Reason.NOT_A_URL),
        ("https://a@b@c.example/", Reason.NOT_A_URL),
        ("https://shop.example/a b", Reason.NOT_A_URL),
        ("https://shop.example/a\u00a0b", Reason.NOT_A_URL),
        ("https://shop.example\\@evil.example/", Reason.NOT_A_URL),
        ('https://shop.example/"><script>', Reason.NOT_A_URL),
        ("https://shop.example/\n", None),
        ("https://shop.example/a\nb", Reason.FORBIDDEN_CHARACTER),
        ("https://shop.example/" + "a" * 480, Reason.TOO_LONG),
        ("h" * 1_000_000, Reason.TOO_LONG),
        (5, Reason.WRONG_TYPE),
    ],
)
def test_what_is_no_web_address_is_refused(sent: object, reason: Reason | None) -> None:
    assert read_url(sent) == (reason or "https://shop.example/")


# Lists and custom values.


@pytest.mark.parametrize(
    ("sent", "held"),
    [
        (["tea", " chess ", "tea"], ["tea", "chess", "tea"]),
        (["tea", None, "", " "], ["tea"]),
        (["x" * 30] * 30, ["x" * 30] * 30),
        (["x"] * 31, Reason.TOO_MANY),
        (["x" * 31], Reason.TOO_LONG),
        (["tea", 5], Reason.WRONG_TYPE),
        (["tea", []], Reason.WRONG_TYPE),
        (["te\x00a"], Reason.FORBIDDEN_CHARACTER),
        ("tea", Reason.WRONG_TYPE),
        ({"tea": 1}, Reason.WRONG_TYPE),
    ],
)
def test_a_list_holds_short_texts(sent: object, held: object) -> None:
    assert read_list(sent) == held


def test_a_list_of_empty_items_is_empty() -> None:
    assert read_profile({"interests": [None, " "]}) == (Reading("interests", Kind.EMPTY),)


@pytest.mark.parametrize(
    ("sent", "held"),
    [
        (" gold ", "gold"),
        (0, 0),
        (2**53, 2**53),
        (-1.5, -1.5),
        (False, False),
        ([1, [True, "b"], {"c": 2.5}], [1, [True, "b"], {"c": 2.5}]),
        ({"a": {"b": 1}, "": []}, {"a": {"b": 1}, "": []}),
        ("a" * 101, Reason.TOO_LONG),
        (2**53 + 1, Reason.NOT_A_NUMBER),
        (10**400, Reason.NOT_A_NUMBER),
        (math.nan, Reason.NOT_A_NUMBER),
        (-math.inf, Reason.NOT_A_NUMBER),
        ([[math.nan]], Reason.NOT_A_NUMBER),
        ([None], Reason.WRONG_TYPE),
        ([[[1]]], Reason.WRONG_TYPE),
        ({"a": {"b": {}}}, Reason.WRONG_TYPE),
        ([1] * 11, Reason.TOO_MANY),
        ([[1] * 11], Reason.TOO_MANY),
        ({str(n): n for n in range(11)}, Reason.TOO_MANY),
        ({"k" * 51: 1}, Reason.TOO_LONG),
        ({"k\x00": 1}, Reason.FORBIDDEN_CHARACTER),
        ({"k": "\ud83d"}, Reason.FORBIDDEN_CHARACTER),
    ],
)
def test_a_custom_value_is_small_and_at_most_two_levels_deep(sent: object, held: object) -> None:
    got = read_custom(sent)

    assert got == held
    assert type(got) is type(held)


# A profile.


def test_a_whole_profile_is_read() -> None:
    readings = read_profile(
        {
            "firstName": "Ana",
            "lastName": "Lim",
            "birthDate": "1995-01-31",
            "gender": "neutral",
            "email": "ana@shop.example",
            "alternateEmail": "x",
            "phone": "+886912345678",
            "alternatePhone": "0912",
            "address": {
                "street": "1 Main St",
                "district": "Da'an",
                "city": "Taipei",
                "region": "TPE",
                "country": "TW",
                "postalCode": "106",
                "state": "none",
            },
            "avatar": "https://shop.example/a.png",
            "companyUrl": "https://shop.example",
            "company": "Shop",
            "jobTitle": "Buyer",
            "interests": ["tea"],
            "activities": [],
            "custom": {"points": 5, "9lives": True},
            "nickname": "A",
        }
    )

    assert readings == (
        value("display_email", "ana@shop.example"),
        value("display_mobile", "+886912345678"),
        value("gender", "other"),
        value("birth", "1995-01-31"),
        value("first_name", "Ana"),
        value("last_name", "Lim"),
        value("job_title", "Buyer"),
        fault("alternate_email", Reason.NOT_AN_EMAIL, "x"),
        fault("alternate_mobile", Reason.NO_COUNTRY_CODE, "0912"),
        value("avatar_url", "https://shop.example/a.png"),
        value("company_url", "https://shop.example"),
        value("company", "Shop"),
        value("interests", ["tea"]),
        Reading("activities", Kind.EMPTY),
        value("postal_address.street", "1 Main St"),
        value("postal_address.district", "Da'an"),
        value("postal_address.city", "Taipei"),
        value("postal_address.region", "TPE"),
        value("postal_address.country", "TW"),
        value("postal_address.postal_code", "106"),
        fault("address.state", Reason.UNKNOWN_FIELD, "none"),
        value("custom.points", 5),
        fault("custom.9lives", Reason.NOT_A_NAME, "true"),
        fault("nickname", Reason.UNKNOWN_FIELD, "A"),
    )


@pytest.mark.parametrize(
    ("path", "sent", "expected"),
    [
        ("firstName", "Ana", (value("first_name", "Ana"),)),
        ("firstName", None, (Reading("first_name", Kind.EMPTY),)),
        ("address.postalCode", "1" * 21, (fault("postal_address.postal_code", Reason.TOO_LONG, "1" * 21),)),
        ("address", {"city": "Taipei"}, (value("postal_address.city", "Taipei"),)),
        ("address", "Taipei", (fault("postal_address", Reason.WRONG_TYPE, "Taipei"),)),
        ("address", {}, (Reading("postal_address", Kind.EMPTY),)),
        ("custom.points", 5, (value("custom.points", 5),)),
        ("custom", {"a": 1, "b": None}, (value("custom.a", 1), Reading("custom.b", Kind.EMPTY))),
        ("custom", [1], (fault("custom", Reason.WRONG_TYPE, "[1]"),)),
        ("custom.a.b", 1, (fault("custom.a.b", Reason.NOT_A_NAME, "1"),)),
        ("custom.", 1, (fault("custom.", Reason.NOT_A_NAME, "1"),)),
        (".", {"company": "Shop"}, (value("company", "Shop"),)),
        (".", None, (Reading(".", Kind.EMPTY),)),
        (".", 5, (fault(".", Reason.WRONG_TYPE, "5"),)),
        ("interests[0]", "tea", (fault("interests[0]", Reason.UNKNOWN_FIELD, "tea"),)),
        ("__proto__.x", 1, (fault("__proto__.x", Reason.UNKNOWN_FIELD, "1"),)),
        ("n" * 300, 1, (fault("n" * 100, Reason.UNKNOWN_FIELD, "1"),)),
    ],
)
def test_a_path_of_a_patch_is_read(path: str, sent: object, expected: tuple[Reading, ...]) -> None:
    assert read_profile_path(path, sent) == expected


def test_an_unknown_name_never_carries_the_name_of_a_field() -> None:
    readings = read_profile({"email": "ana@shop.example", "display_email": "b@shop.example"})

    assert readings == (
        value("display_email", "ana@shop.example"),
        fault("profile.display_email", Reason.UNKNOWN_FIELD, "b@shop.example"),
    )


def test_a_custom_name_that_was_cut_is_never_the_name_of_a_field() -> None:
    (reading,) = read_profile({"custom": {"n" * 51: 1}})

    assert reading == fault("custom." + "n" * 49 + "…", Reason.NOT_A_NAME, "1")


def test_custom_names_beyond_ten_are_too_many_and_the_first_ten_are_held() -> None:
    readings = read_profile({"custom": {f"n{n}": n for n in range(12)}})

    assert readings == (
        *(value(f"custom.n{n}", n) for n in range(10)),
        fault("custom.n10", Reason.TOO_MANY, "10"),
        fault("custom.n11", Reason.TOO_MANY, "11"),
    )


def test_thousands_of_surplus_names_do_not_give_thousands_of_remarks() -> None:
    readings = read_profile({"custom": {f"n{n}": n for n in range(5_000)}})

    assert len(readings) == 21
    assert readings[-1] == fault("custom.*", Reason.TOO_MANY, "4980 more")


def test_thousands_of_unknown_names_do_not_give_thousands_of_remarks() -> None:
    readings = read_profile({f"n{n}": n for n in range(5_000)})

    assert len(readings) == 11
    assert readings[-1] == fault("*", Reason.UNKNOWN_FIELD, "4990 more")


# Removals.


def removal(field: str) -> Reading:
    return Reading(field, Kind.REMOVAL)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("firstName", (removal("first_name"),)),
        ("address.city", (removal("postal_address.city"),)),
        ("custom.points", (removal("custom.points"),)),
        ("custom", (removal(EVERY_CUSTOM),)),
        (
            "address",
            tuple(
                removal(f"postal_address.{leaf}")
                for leaf in ("street", "district", "city", "region", "country", "postal_code")
            ),
        ),
        ("custom.9lives", (fault("custom.9lives", Reason.NOT_A_NAME, None),)),
        ("nickname", (fault("nickname", Reason.UNKNOWN_FIELD, None),)),
        ("first_name", (fault("profile.first_name", Reason.UNKNOWN_FIELD, None),)),
    ],
)
def test_a_path_names_the_fields_to_remove(path: str, expected: tuple[Reading, ...]) -> None:
    assert removal_for_path(path) == expected


def test_removing_the_root_removes_all_that_a_profile_can_name_and_nothing_else() -> None:
    names = {reading.field for reading in removal_for_path(".")}

    assert names == (set(SPELLINGS[Dialect.PROFILE].values()) - {"custom.<name>"}) | {EVERY_CUSTOM}
    assert not names & {"display_name", "address"}


# The table.


def test_the_table_spells_what_the_documents_spell() -> None:
    assert SPELLINGS[Dialect.CLIDENTITY] == {
        "email": "display_email",
        "name": "display_name",
        "phone": "display_mobile",
        "gender": "gender",
        "birthday": "birth",
        "address": "address",
    }
    assert SPELLINGS[Dialect.AUTHENTICATE] == {name: name for name in SPELLINGS[Dialect.CLIDENTITY].values()}
    assert len(SPELLINGS[Dialect.PROFILE]) == len(FIELDS) - 2 == 21


def test_every_field_of_the_table_has_a_limit_in_words() -> None:
    assert all(field.limit and field.spellings for field in FIELDS)
    assert len({field.name for field in FIELDS}) == len(FIELDS)


@pytest.mark.parametrize("name", ["display_email", "postal_address.city", "custom.a", "custom._" + "x" * 49])
def test_a_held_name_is_a_field(name: str) -> None:
    assert is_field(name)


@pytest.mark.parametrize(
    "name",
    [
        "email",
        "custom",
        "custom.",
        "custom.<name>",
        EVERY_CUSTOM,
        "custom.a\n",
        "custom._" + "x" * 50,
        "postal_address",
    ],
)
def test_another_name_is_no_field(name: str) -> None:
    assert not is_field(name)


def test_a_field_is_read_by_the_name_it_is_held_by() -> None:
    assert read_field("gender", "other") == value("gender", "other")
    assert read_field("custom.a", 1) == value("custom.a", 1)
    assert read_field("email", "a") == fault("email", Reason.UNKNOWN_FIELD, "a")


# What is shown of a fault.


def nested(levels: int) -> list[object]:
    outer: list[object] = []
    for _ in range(levels):
        outer = [outer]
    return outer


@pytest.mark.parametrize(
    ("sent", "reason", "raw"),
    [
        (math.nan, Reason.NOT_A_NUMBER, "nan"),
        (10**5000, Reason.NOT_A_NUMBER, "<int>"),
        (nested(100_000), Reason.WRONG_TYPE, "<list>"),
        ("x" * 300, Reason.TOO_LONG, "x" * 256),
    ],
    ids=["nan", "long integer", "deep list", "long text"],
)
def test_a_fault_shows_what_was_sent_whatever_it_was(sent: object, reason: Reason, raw: str) -> None:
    assert read_profile_path("custom.a", sent) == (fault("custom.a", reason, raw),)
