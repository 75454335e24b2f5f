"""Laws of every reader, for values that nobody thought of (Hypothesis)."""

import random
import re
import unicodedata
from collections.abc import Iterator
from typing import Any

import email_validator
import phonenumbers
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from phonenumbers.phonemetadata import PhoneMetadata

from profiles import fields
from profiles.fields import (
    FIELDS,
    Doubtful,
    email_key,
    is_field,
    read_email,
    read_field,
    read_identify,
    read_phone,
    read_profile,
    read_profile_path,
    removal_for_path,
)
from profiles.remarks import RAW_CHARACTERS_MAX, Kind, Reading, Reason

law = settings(deadline=None, max_examples=100)

# Any text, surrogates and U+0000 among it, and texts that come close to what the readers take.
TEXTS = (
    st.text(st.characters(codec=None), max_size=40)
    | st.text(st.sampled_from("+0123456789 .()-"), max_size=20)
    | st.text(st.sampled_from("aB.-@é\u0308\u3002ß"), max_size=20)
    | st.text(st.sampled_from("a1.:@/[]?#-%é "), max_size=30).map("https://".__add__)
    | st.dates().map(str)
    | st.sampled_from(["male", "neutral", " other ", "ana@shop.example", "\ud83d", "\x00", "\ufffd", "a" * 600])
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | st.sampled_from([10**4000, -(10**400)])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=11) | st.dictionaries(TEXTS, inner, max_size=11),
    max_leaves=8,
)
NAMES = st.sampled_from([field.name for field in FIELDS[:-1]]) | st.just("custom.a")
PATHS = st.sampled_from([*fields.SPELLINGS[fields.Dialect.PROFILE], "address", "custom", ".", "custom.a"]) | TEXTS
SPELLED = [*fields.SPELLINGS[fields.Dialect.CLIDENTITY], *fields.SPELLINGS[fields.Dialect.AUTHENTICATE]]
PARAMS = st.dictionaries(st.sampled_from(SPELLED) | TEXTS, VALUES, max_size=8)
CUSTOMS = st.dictionaries(st.text(st.sampled_from("ab_1.é"), max_size=60), SCALARS, max_size=25)
ADDRESSES = st.dictionaries(st.sampled_from(["street", "city", "postalCode"]) | TEXTS, SCALARS, max_size=4)
PROFILES = st.tuples(
    st.dictionaries(PATHS, VALUES, max_size=6),
    st.fixed_dictionaries({}, optional={"address": ADDRESSES, "custom": CUSTOMS}),
).map(lambda parts: {**parts[0], **parts[1]})
FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffd]")


def texts_of(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from texts_of(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from texts_of(item)


def assert_sound(readings: tuple[Reading, ...]) -> None:
    """Each reading has the form that its kind promises, and can be stored."""
    for reading in readings:
        reading.field.encode()
        assert "\x00" not in reading.field
        if reading.kind is Kind.VALUE:
            assert is_field(reading.field)
            assert reading.reason in (None, Reason.UNASSIGNED_NUMBER)
            assert not any(FORBIDDEN.search(text) for text in texts_of(reading.value))
            assert read_field(reading.field, reading.value) == reading
        elif reading.kind is Kind.FAULT:
            assert reading.reason is not None
            if reading.raw is not None:
                assert len(reading.raw) <= RAW_CHARACTERS_MAX
                assert "\x00" not in reading.raw
                reading.raw.encode()
        else:
            assert reading == Reading(reading.field, reading.kind)
    decided = [reading.field for reading in readings if is_field(reading.field)]
    assert len(decided) == len(set(decided))


@law
@given(NAMES, VALUES)
def test_a_reader_never_raises_and_reads_what_it_gave_as_the_same_again(name: str, value: object) -> None:
    assert_sound((read_field(name, value),))


@law
@given(PARAMS)
def test_an_identify_never_raises_and_decides_each_field_once(params: dict[str, object]) -> None:
    assert_sound(read_identify(params))


@law
@given(PROFILES)
def test_a_profile_never_raises_and_decides_each_field_once(profile: dict[str, object]) -> None:
    assert_sound(read_profile(profile))


@law
@given(PATHS, VALUES | PROFILES)
def test_a_path_never_raises(path: str, value: object) -> None:
    assert_sound(read_profile_path(path, value))
    assert_sound(removal_for_path(path))


@law
@given(CUSTOMS)
def test_custom_never_holds_more_than_ten_names_of_an_event(customs: dict[str, object]) -> None:
    readings = read_profile_path("custom", customs)

    assert_sound(readings)
    assert sum(reading.kind is Kind.VALUE for reading in readings) <= fields.CUSTOM_NAMES_MAX


@law
@given(NAMES, TEXTS, st.text(st.sampled_from(" \t\n\u3000"), max_size=5))
def test_white_space_around_a_text_changes_nothing(name: str, text: str, space: str) -> None:
    bare, padded = read_field(name, text), read_field(name, space + text + space)

    assert (bare.kind, bare.value, bare.reason) == (padded.kind, padded.value, padded.reason)


@law
@given(NAMES, TEXTS)
def test_no_held_text_is_over_its_limit(name: str, text: str) -> None:
    held = read_field(name, text).value

    if isinstance(held, str):
        assert 0 < len(held) <= int(re.findall(r"(\d+) characters", LIMITS.get(name, "500 characters"))[-1])


LIMITS = {field.name: field.limit for field in FIELDS[:-1] if "characters" in field.limit}


# The fast paths say what the libraries say.

ATOMS = st.text(st.sampled_from("abzAZ09!#$%&'*+/=?^_`{|}~-"), min_size=1, max_size=70)
LABELS = st.text(st.sampled_from("abzAZ059-"), min_size=1, max_size=66) | st.sampled_from(
    ["xn--bcher-kva", "X-1", "com"]
)
PLAIN_EMAILS = st.builds(
    lambda local, domain: ".".join(local) + "@" + ".".join(domain),
    st.lists(ATOMS, min_size=1, max_size=3) | st.sampled_from([["Info"], ["POSTMASTER"], ["abuse"]]),
    st.lists(LABELS, min_size=1, max_size=4),
)


def email_by_library(text: str) -> str | Reason:
    try:
        address = email_validator.validate_email(text, check_deliverability=False)
    except email_validator.EmailNotValidError:
        return Reason.NOT_AN_EMAIL
    return unicodedata.normalize("NFC", text.rpartition("@")[0]) + "@" + address.domain


@settings(deadline=None, max_examples=1_000)
@given(PLAIN_EMAILS | st.emails())
@example("Info@Shop.Example")
@example("a@" + "b" * 63 + ".cc")
@example("a@" + "b" * 64 + ".cc")
@example("a@" + ("b" * 61 + ".") * 4 + "cc")
def test_an_email_is_read_as_the_library_reads_it(text: str) -> None:
    if len(text) > fields.EMAIL_CHARACTERS_MAX:
        assert read_email(text) is Reason.TOO_LONG
    else:
        assert read_email(text) == email_by_library(text)


@settings(deadline=None, max_examples=300)
@given(TEXTS)
def test_an_odd_email_is_read_as_the_library_reads_it(text: str) -> None:
    sent = text.strip()
    got = read_email(text)

    if got not in (Reason.TOO_LONG, Reason.FORBIDDEN_CHARACTER):
        assert got == email_by_library(sent)


@law
@given(st.emails())
def test_the_key_of_an_email_has_no_case(address: str) -> None:
    assert email_key(address) == email_key(address.upper()) == email_key(email_key(address))


def phone_by_library(number: str) -> str | Doubtful | Reason:
    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        return Reason.NOT_A_PHONE
    held = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
    if not phonenumbers.is_possible_number(parsed) or phonenumbers.parse(held) != parsed:
        return Reason.NOT_A_PHONE
    return held if phonenumbers.is_valid_number(parsed) else Doubtful(held, Reason.UNASSIGNED_NUMBER)


def numbers_of_all_calling_codes(count: int, seed: int) -> Iterator[str]:
    """Yield numbers near the assigned ones: examples with digits changed, and random ones of near-possible length."""
    chance = random.Random(seed)
    regions = []
    for code, names in phonenumbers.COUNTRY_CODE_TO_REGION_CODE.items():
        for name in names:
            region: Any = PhoneMetadata.metadata_for_region_or_calling_code(code, name)
            kinds = [region.fixed_line, region.mobile, region.toll_free, region.premium_rate, region.shared_cost]
            kinds += [region.voip, region.personal_number, region.pager, region.uan, region.voicemail]
            examples = [kind.example_number for kind in kinds if kind is not None and kind.example_number]
            lengths = [*region.general_desc.possible_length, *region.general_desc.possible_length_local_only]
            regions.append((code, examples, lengths, region.national_prefix or ""))
    for nth in range(count):
        code, examples, lengths, prefix = regions[nth % len(regions)]
        digits = list(chance.choice(examples)) if examples and chance.random() < 0.75 else []
        kept = chance.randrange(len(digits) + 1) if chance.random() < 0.5 else len(digits)
        digits[kept:] = chance.choices("0123456789", k=len(digits) - kept)
        if not digits:
            digits = chance.choices("0123456789", k=max(1, chance.choice(lengths) + chance.choice((0, 0, 1, -1))))
        digits[chance.randrange(len(digits))] = chance.choice("0123456789")
        national = "".join(digits)
        yield f"+{code}{prefix if chance.random() < 0.1 else ''}{national}"


@pytest.mark.parametrize(
    ("count", "seed"), [(5_000, 1), pytest.param(120_000, 2, marks=pytest.mark.long)], ids=["some", "many"]
)
def test_a_phone_of_any_calling_code_is_read_as_the_library_reads_it(count: int, seed: int) -> None:
    numbers = list(numbers_of_all_calling_codes(count, seed))

    disagreements = [number for number in numbers if read_phone(number) != phone_by_library(number)]

    assert disagreements == []
    assert sum(fields._is_plainly_assigned(number) for number in numbers) > count / 4  # the fast path is in use


@law
@given(st.text(st.sampled_from("0123456789"), max_size=20))
def test_a_phone_of_any_digits_is_read_as_the_library_reads_it(digits: str) -> None:
    assert read_phone("+" + digits) == phone_by_library("+" + digits)
