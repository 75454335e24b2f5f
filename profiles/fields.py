"""The field table: how each field may be sent, what is held of it, its limit and its reader.

Pure: a reader takes one value as a JSON decoder gave it and never raises. Nothing here knows of time or of storage.
"""

import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import date
from enum import StrEnum
from functools import lru_cache, partial
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import TypeAlias

import email_validator
import msgspec
import phonenumbers
from phonenumbers.phonemetadata import PhoneMetadata, PhoneNumberDesc

from profiles.remarks import JsonValue, Kind, Reading, Reason, cut, storable

RULES_VERSION: int = 1
"""Part of the digest of a payload. Raise it with every change of a reader, so that unchanged data is read again."""

EMAIL_CHARACTERS_MAX = 254
PHONE_CHARACTERS_MAX = 40
DISPLAY_NAME_CHARACTERS_MAX = 200
ADDRESS_CHARACTERS_MAX = 500
NAME_CHARACTERS_MAX = 50
POSTAL_CHARACTERS_MAX = 100
POSTAL_CODE_CHARACTERS_MAX = 20
COMPANY_CHARACTERS_MAX = 200
URL_CHARACTERS_MAX = 500
LIST_ITEMS_MAX = 30
LIST_ITEM_CHARACTERS_MAX = 30
CUSTOM_NAMES_MAX = 10
CUSTOM_NAME_CHARACTERS_MAX = 50
CUSTOM_TEXT_CHARACTERS_MAX = 100
CUSTOM_ITEMS_MAX = 10
CUSTOM_KEY_CHARACTERS_MAX = 50
CUSTOM_LEVELS_MAX = 2
NUMBER_MAX = 2**53
"""Beyond it a JavaScript number is no longer exact."""
PATH_CHARACTERS_MAX = 100
FAULTY_NAMES_MAX = 10
"""So many unknown or surplus names of one map get a fault each, the rest one together: a remark must not cost more
than what it remarks on."""


class Doubtful(msgspec.Struct, frozen=True):
    """A value that is held, with a remark."""

    value: str
    remark: Reason


Reader: TypeAlias = Callable[[object], JsonValue | Reason | Doubtful]


# Readers. Each is asked about values that are not empty (``is_empty``); what it gives, it gives again when it reads it.

# Cc but for the three that are white space in an address, surrogates, and U+FFFD: what is left of a broken decoding.
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffd]")
_FORBIDDEN_IN_LINES = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffd]")


def is_empty(value: object) -> bool:
    """Return whether the value says nothing: null, "", only white space, [] or {}."""
    if isinstance(value, str):
        return not value or value.isspace()
    return value is None or (isinstance(value, list | dict) and not value)


def read_text(value: object, characters_max: int, *, is_multiline: bool = False) -> str | Reason:
    """Return the text without the white space around it.

    Takes every character but controls, U+0000, halves of surrogate pairs and U+FFFD; line ends and tabs only if
    ``is_multiline``. Characters are counted as code points.
    Refuses: WRONG_TYPE (a number is no text), TOO_LONG, FORBIDDEN_CHARACTER.
    Source: clIdentity specification, field table; limits of the Croct profile (``string`` constraints).
    """
    if not isinstance(value, str):
        return Reason.WRONG_TYPE
    text = value.strip()
    if len(text) > characters_max:
        return Reason.TOO_LONG
    if (_FORBIDDEN_IN_LINES if is_multiline else _FORBIDDEN).search(text):
        return Reason.FORBIDDEN_CHARACTER
    return text


# Dot-atom, then labels of letters and digits with single hyphens, then a top level of letters. A true subset of what
# the library accepts, so that nine addresses of ten cost 1 µs and not 34 (a law in the tests holds the two together).
_PLAIN_EMAIL = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@(?:(?=[A-Za-z0-9-]{1,63}\.)[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*\.)+[A-Za-z]{2,63}"
)

# Syntax alone decides: ana@crm.local and ana@shop.test are addresses. Emptying this list is the library's documented
# way to say so; no option of the call does.
email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()


def read_email(value: object) -> str | Reason:
    """Return the address, its domain in lower case and in Unicode, for example "Ana@bücher.example".

    The part before the @ is held as sent (in Unicode's composed form): only its owner knows whether case matters
    there; ``email_key`` serves lookups. Takes international addresses and domains that no DNS knows, but no
    quoted part, no bracketed IP address, no display name, and no domain without a dot. Never asks DNS.
    Refuses: WRONG_TYPE, TOO_LONG, FORBIDDEN_CHARACTER, NOT_AN_EMAIL.
    Source: clIdentity specification, field table, row "email" (2026.06); RFC 5321, 6531, 5891.
    """
    # The length comes first: the library needs 304 ms for 1 MB without an @.
    text = read_text(value, EMAIL_CHARACTERS_MAX)
    if isinstance(text, Reason):
        return text
    if _PLAIN_EMAIL.fullmatch(text):
        local, _, domain = text.rpartition("@")
        return f"{local}@{domain.lower()}"
    return _read_email_by_library(text)


def _read_email_by_library(text: str) -> str | Reason:
    try:
        address = email_validator.validate_email(text, check_deliverability=False)
    except ValueError:
        return Reason.NOT_AN_EMAIL
    local = unicodedata.normalize("NFC", text.rpartition("@")[0])
    # Not ``address.normalized``: that lower-cases "Info@" and "Sales@", and would give back less than was sent.
    held = f"{local}@{address.domain}"
    return held if len(held) <= EMAIL_CHARACTERS_MAX else Reason.TOO_LONG


def email_key(value: str) -> str:
    """Return what an address is looked up by: all of it, folded to one case."""
    return unicodedata.normalize("NFC", value.casefold())


_PHONE_SHAPE = re.compile(r"\+[0-9 .()-]*")
_NATIONAL_SHAPE = re.compile(r"[0-9 .()-]*[0-9][0-9 .()-]*")
_NEVER = "(?!)"  # a pattern that matches nothing
_WITHOUT_SEPARATORS = str.maketrans("", "", " .()-")


def read_phone(value: object) -> str | Doubtful | Reason:
    """Return the number in E.164, for example "+886912345678".

    Takes spaces, hyphens, dots and brackets between ASCII digits after a "+". Never completes a number from a default
    region. A number of possible length in no assigned range is held, with UNASSIGNED_NUMBER. A national prefix
    written after the country code, "+44 (0)20 …", is left out.
    Refuses: WRONG_TYPE, TOO_LONG, NO_COUNTRY_CODE ("0912…", "00886…"), NOT_A_PHONE (all else, with it the letters,
    full-width digits, "tel:" and ";ext=" that the library would take).
    Source: clIdentity specification, field table, row "phone" (2026.06); ITU-T E.164.
    """
    if not isinstance(value, str):
        return Reason.WRONG_TYPE
    text = value.strip()
    if len(text) > PHONE_CHARACTERS_MAX:
        return Reason.TOO_LONG
    if not _PHONE_SHAPE.fullmatch(text):
        return Reason.NO_COUNTRY_CODE if _NATIONAL_SHAPE.fullmatch(text) else Reason.NOT_A_PHONE
    number = text.translate(_WITHOUT_SEPARATORS)
    return number if _is_plainly_assigned(number) else _read_phone_by_library(number)


class _NumberingPlan(msgspec.Struct, frozen=True):
    """What the library knows of one calling code, compiled: 2 µs a number, not 46."""

    lengths: frozenset[int]
    stripped: re.Pattern[str]
    regions: tuple[tuple[re.Pattern[str] | None, re.Pattern[str]], ...]


def _is_plainly_assigned(number: str) -> bool:
    """Return whether the library, too, finds the number assigned and leaves its digits as they are.

    False only means: ask the library. The steps are those of ``phonenumbers.is_valid_number``.
    """
    for digits in (1, 2, 3):
        plan = _numbering_plan(number[1 : 1 + digits])
        if plan is not None:
            national = number[1 + digits :]
            if len(national) not in plan.lengths or plan.stripped.match(national):
                return False
            for leading, assigned in plan.regions:
                if leading is None and assigned.fullmatch(national):
                    return True
                if leading is not None and leading.match(national):
                    return assigned.fullmatch(national) is not None
            return False
    return False


@lru_cache(maxsize=1200)  # every text of one to three digits
def _numbering_plan(calling_code: str) -> _NumberingPlan | None:
    codes = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(int(calling_code or 0), ())
    regions = [found for code in codes if (found := PhoneMetadata.metadata_for_region(code, None)) is not None]
    if not regions or calling_code.startswith("0"):
        return None  # no such code, or one of no country ("+800…"): rare, so left to the library
    general = regions[0].general_desc
    return _NumberingPlan(
        lengths=frozenset(general.possible_length if general is not None else ()),
        stripped=re.compile(regions[0].national_prefix_for_parsing or _NEVER),
        regions=tuple(_assigned(region) for region in regions),
    )


def _assigned(region: PhoneMetadata) -> tuple[re.Pattern[str] | None, re.Pattern[str]]:
    kinds = (
        region.premium_rate, region.toll_free, region.shared_cost, region.voip, region.personal_number,
        region.pager, region.uan, region.voicemail, region.fixed_line, region.mobile,
    )  # fmt: skip
    ranges = "|".join(_range(kind) for kind in kinds)
    leading = re.compile(region.leading_digits) if region.leading_digits is not None else None
    return leading, re.compile(f"(?={_range(region.general_desc)}$)(?:{ranges})")


def _range(kind: PhoneNumberDesc | None) -> str:
    if kind is None or not kind.national_number_pattern:
        return _NEVER
    lengths = "|".join(f"[0-9]{{{length}}}$" for length in kind.possible_length)
    return f"(?:(?={lengths})(?:{kind.national_number_pattern}))"


def _read_phone_by_library(number: str) -> str | Doubtful | Reason:
    try:
        parsed = phonenumbers.parse(number)
        held = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
        # The library strips one national prefix a time; what would lose another on the next reading is no number.
        if not phonenumbers.is_possible_number(parsed) or phonenumbers.parse(held) != parsed:
            return Reason.NOT_A_PHONE
    except phonenumbers.NumberParseException:
        return Reason.NOT_A_PHONE
    return held if phonenumbers.is_valid_number(parsed) else Doubtful(held, Reason.UNASSIGNED_NUMBER)


_DATE_SHAPE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def read_date(value: object) -> str | Reason:
    """Return the date as it was sent, for example "1995-01-31".

    Takes exactly YYYY-MM-DD in ASCII digits, of a day that was or will be, from year 1 on.
    Refuses: WRONG_TYPE, NOT_A_DATE.
    Source: clIdentity specification, field table, row "birthday" (2026.06).
    """
    if not isinstance(value, str):
        return Reason.WRONG_TYPE
    text = value.strip()
    if not _DATE_SHAPE.fullmatch(text):  # fromisoformat would also take 19950101 and 1995-W01-1
        return Reason.NOT_A_DATE
    try:
        date.fromisoformat(text)
    except ValueError:
        return Reason.NOT_A_DATE
    return text


GENDERS = {"male": "male", "female": "female", "other": "other", "unknown": "unknown"}
PROFILE_GENDERS = {"male": "male", "female": "female", "neutral": "other", "unknown": "unknown"}


def read_choice(value: object, choices: Mapping[str, str]) -> str | Reason:
    """Return what is held for one of the choices, which are compared exactly, in lower case.

    Refuses: WRONG_TYPE, NOT_IN_LIST.
    Source: clIdentity specification, field table, row "gender" (2026.06); Croct profile, ``gender``.
    """
    if not isinstance(value, str):
        return Reason.WRONG_TYPE
    return choices.get(value.strip(), Reason.NOT_IN_LIST)


def read_gender_trait(value: object) -> str | Reason:
    """Return what is held for a gender, whichever dialect's word it is and in any case.

    Refuses: WRONG_TYPE, NOT_IN_LIST (Segment itself takes any text).
    Source: Segment specification, identify, reserved traits, ``gender``.
    """
    return read_choice(value.lower() if isinstance(value, str) else value, {**PROFILE_GENDERS, **GENDERS})


_TIME_SHAPE = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})[T ][0-9]{2}:[0-9]{2}[0-9:.]*(?:Z|[+-][0-9]{2}:?[0-9]{2})?")


def read_date_trait(value: object) -> str | Reason:
    """Return the date of a birthday that may be a whole ISO 8601 time, as a Date becomes in JSON.

    The date is taken as it is written: which day it was where the sender's clock stood, nobody knows any more.
    Refuses: WRONG_TYPE, NOT_A_DATE.
    Source: Segment specification, identify, reserved traits, ``birthday``.
    """
    time = _TIME_SHAPE.fullmatch(value.strip()) if isinstance(value, str) else None
    return read_date(time[1] if time else value)


# RFC 3986 with the letters of RFC 3987: white space and "<>\^`{|} never stand unescaped. No part can match in two ways.
_URL_SHAPE = re.compile(
    r"""https?://
        (?: [^\s"<>\\^`{|}\[\]/?#@]* @ )?
        (?: (?P<host> [\w-]{1,63} (?: \. [\w-]{1,63} )* ) \.? | \[ (?P<ipv6> [0-9A-Fa-f:.]{2,45} ) \] )
        (?: : (?P<port> [0-9]{0,5} ) )?
        (?: [/?#] [^\s"<>\\^`{|}]* )?""",
    re.VERBOSE | re.IGNORECASE,
)


def read_url(value: object) -> str | Reason:
    """Return the address as it was sent, without the white space around it.

    Takes http and https with a host: a name, an IPv4 or a bracketed IPv6 address. Nothing is fetched, resolved or
    rewritten.
    Refuses: WRONG_TYPE, TOO_LONG, FORBIDDEN_CHARACTER, NOT_A_URL.
    Source: Croct profile, ``avatar`` and ``companyUrl`` (``url``, narrowed to http: ``javascript:`` would pass there).
    """
    text = read_text(value, URL_CHARACTERS_MAX)
    if isinstance(text, Reason):
        return text
    parts = _URL_SHAPE.fullmatch(text)
    if parts is None or int(parts["port"] or 0) > 65535:
        return Reason.NOT_A_URL
    try:
        if parts["ipv6"] is not None:
            IPv6Address(parts["ipv6"])
        elif parts["host"].rpartition(".")[2].isdecimal():
            IPv4Address(parts["host"])  # a host that ends in a number is an address or nothing (WHATWG URL, 3.5)
    except AddressValueError:
        return Reason.NOT_A_URL
    return text


def read_list(value: object) -> list[JsonValue] | Reason:
    """Return the texts of the list, in their order, duplicates kept.

    Empty items (null, "" and blanks) are left out, as empty fields are; a list of nothing else gives [].
    Refuses: WRONG_TYPE (a lone text is no list), TOO_MANY, and what ``read_text`` refuses in any item.
    Source: Croct profile, ``interests`` and ``activities``.
    """
    if not isinstance(value, list):
        return Reason.WRONG_TYPE
    if len(value) > LIST_ITEMS_MAX:
        return Reason.TOO_MANY
    texts: list[JsonValue] = []
    for item in value:
        if item is None:
            continue
        text = read_text(item, LIST_ITEM_CHARACTERS_MAX)
        if isinstance(text, Reason):
            return text
        if text:
            texts.append(text)
    return texts


def read_custom(value: object) -> JsonValue | Reason:
    """Return the value of a custom field.

    Takes a text, a finite number within ±2^53, a boolean, or a list or map of these and of lists and maps of these.
    Refuses: WRONG_TYPE (also null inside, and a third level), TOO_LONG, TOO_MANY, FORBIDDEN_CHARACTER (in texts and
    keys), NOT_A_NUMBER (NaN, infinite or too large).
    Source: Croct profile, ``custom``.
    """
    return _read_nested(value, CUSTOM_LEVELS_MAX)


def _read_nested(value: object, levels: int) -> JsonValue | Reason:
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return value if -NUMBER_MAX <= value <= NUMBER_MAX else Reason.NOT_A_NUMBER  # NaN is neither
    if isinstance(value, str):
        return read_text(value, CUSTOM_TEXT_CHARACTERS_MAX)
    if not isinstance(value, list | dict) or not levels:
        return Reason.WRONG_TYPE
    if len(value) > CUSTOM_ITEMS_MAX:
        return Reason.TOO_MANY
    if isinstance(value, list):
        items: list[JsonValue] = []
        for item in value:
            held = _read_nested(item, levels - 1)
            if isinstance(held, Reason):
                return held
            items.append(held)
        return items
    entries: dict[str, JsonValue] = {}
    for key, item in value.items():
        if not isinstance(key, str):
            return Reason.WRONG_TYPE
        if len(key) > CUSTOM_KEY_CHARACTERS_MAX:
            return Reason.TOO_LONG
        if _FORBIDDEN.search(key):
            return Reason.FORBIDDEN_CHARACTER
        held = _read_nested(item, levels - 1)
        if isinstance(held, Reason):
            return held
        entries[key] = held
    return entries


# The table.


class Dialect(StrEnum):
    """Who spells the names."""

    CLIDENTITY = "clIdentity"
    AUTHENTICATE = "authenticate"
    PROFILE = "profile"
    TRAITS = "traits"


class Field(msgspec.Struct, frozen=True):
    """One row: the name it is held by, its spelling per dialect (a path in profile and traits), its limit in words, its
    reader.

    ``read_profile`` and ``read_trait`` are set where that dialect has values of its own; what is held passes ``read``.
    """

    name: str
    spellings: dict[Dialect, str]
    limit: str
    read: Reader
    read_profile: Reader | None = None
    read_trait: Reader | None = None


CUSTOM = "custom."
"""Begins the name of every custom field, in the store and in paths alike."""
ADDRESS = "address."
"""Begins the path of every leaf of a profile's address."""
EVERY_CUSTOM = "custom.*"
"""The field of a removal that means all custom fields, whichever are held."""


def _identity(clidentity: str, authenticate: str, profile: str | None = None) -> dict[Dialect, str]:
    # What clIdentity and Segment's reserved traits both name, they name alike.
    spellings = {Dialect.CLIDENTITY: clidentity, Dialect.AUTHENTICATE: authenticate, Dialect.TRAITS: clidentity}
    return spellings if profile is None else {**spellings, Dialect.PROFILE: profile}


def _text(name: str, profile: str, characters_max: int, trait: str | None = None) -> Field:
    spellings = {Dialect.PROFILE: profile}
    if trait is not None:
        spellings[Dialect.TRAITS] = trait
    limit = f"text, 1–{characters_max} characters"
    return Field(name, spellings, limit, partial(read_text, characters_max=characters_max))


_EMAIL = f"a valid address (syntax alone), at most {EMAIL_CHARACTERS_MAX} characters"
_PHONE = f"+ and country code, a possible number, at most {PHONE_CHARACTERS_MAX} characters; held in E.164"
_URL = f"an http or https address, at most {URL_CHARACTERS_MAX} characters"
_LIST = f"at most {LIST_ITEMS_MAX} texts of 1–{LIST_ITEM_CHARACTERS_MAX} characters"

FIELDS: tuple[Field, ...] = (
    Field("display_email", _identity("email", "display_email", "email"), _EMAIL, read_email),
    Field(
        "display_name",
        _identity("name", "display_name"),
        f"text, 1–{DISPLAY_NAME_CHARACTERS_MAX} characters",
        partial(read_text, characters_max=DISPLAY_NAME_CHARACTERS_MAX),
    ),
    Field("display_mobile", _identity("phone", "display_mobile", "phone"), _PHONE, read_phone),
    Field(
        "gender",
        _identity("gender", "gender", "gender"),
        "male, female, other or unknown; in a profile male, female, neutral (held as other) or unknown; in traits any "
        "of these, in any case",
        partial(read_choice, choices=GENDERS),
        partial(read_choice, choices=PROFILE_GENDERS),
        read_gender_trait,
    ),
    Field(
        "birth",
        _identity("birthday", "birth", "birthDate"),
        "a real date, YYYY-MM-DD; in traits also a time, of which the date is held",
        read_date,
        read_trait=read_date_trait,
    ),
    Field(
        "address",
        _identity("address", "address"),
        f"text, 1–{ADDRESS_CHARACTERS_MAX} characters, line ends and tabs allowed",
        partial(read_text, characters_max=ADDRESS_CHARACTERS_MAX, is_multiline=True),
    ),
    _text("first_name", "firstName", NAME_CHARACTERS_MAX, "firstName"),
    _text("last_name", "lastName", NAME_CHARACTERS_MAX, "lastName"),
    _text("job_title", "jobTitle", NAME_CHARACTERS_MAX, "title"),
    Field("alternate_email", {Dialect.PROFILE: "alternateEmail"}, _EMAIL, read_email),
    Field("alternate_mobile", {Dialect.PROFILE: "alternatePhone"}, _PHONE, read_phone),
    _text("postal_address.street", "address.street", POSTAL_CHARACTERS_MAX, "address.street"),
    _text("postal_address.district", "address.district", POSTAL_CHARACTERS_MAX),
    _text("postal_address.city", "address.city", POSTAL_CHARACTERS_MAX, "address.city"),
    _text("postal_address.region", "address.region", POSTAL_CHARACTERS_MAX, "address.state"),
    _text("postal_address.country", "address.country", POSTAL_CHARACTERS_MAX, "address.country"),
    _text("postal_address.postal_code", "address.postalCode", POSTAL_CODE_CHARACTERS_MAX, "address.postalCode"),
    Field("avatar_url", {Dialect.PROFILE: "avatar", Dialect.TRAITS: "avatar"}, _URL, read_url),
    Field("company_url", {Dialect.PROFILE: "companyUrl"}, _URL, read_url),
    _text("company", "company", COMPANY_CHARACTERS_MAX, "company.name"),
    Field("interests", {Dialect.PROFILE: "interests"}, _LIST, read_list),
    Field("activities", {Dialect.PROFILE: "activities"}, _LIST, read_list),
    Field(
        "custom.<name>",
        {Dialect.PROFILE: "custom.<name>", Dialect.TRAITS: "<name>"},
        f"at most {CUSTOM_NAMES_MAX} names an event, each a letter or _, then letters, digits or _, at most "
        f"{CUSTOM_NAME_CHARACTERS_MAX} characters; a text of at most {CUSTOM_TEXT_CHARACTERS_MAX} characters, a number "
        f"within ±2^53, a boolean, or lists and maps of at most {CUSTOM_ITEMS_MAX} of these, {CUSTOM_LEVELS_MAX} deep",
        read_custom,
    ),
)

SPELLINGS: dict[Dialect, dict[str, str]] = {
    dialect: {field.spellings[dialect]: field.name for field in FIELDS if dialect in field.spellings}
    for dialect in Dialect
}
"""Per dialect: the name as sent → the name it is held by."""

_BY_NAME = {field.name: field for field in FIELDS if not field.name.startswith(CUSTOM)}
_BY_PATH = {
    field.spellings[Dialect.PROFILE]: field for field in _BY_NAME.values() if Dialect.PROFILE in field.spellings
}
_TOP = {path: field for path, field in _BY_PATH.items() if not path.startswith(ADDRESS)}
_LEAVES = {path.removeprefix(ADDRESS): field for path, field in _BY_PATH.items() if path.startswith(ADDRESS)}
_HELD_MAPS = {"postal_address": tuple(name for name in _BY_NAME if name.startswith("postal_address.")), "custom": ()}
"""The maps that a record may have, and the fields that are always in them."""
_IDENTITY = tuple(
    (field, field.spellings[Dialect.AUTHENTICATE], field.spellings[Dialect.CLIDENTITY])
    for field in FIELDS
    if Dialect.CLIDENTITY in field.spellings
)
_CLIDENTITY_ALONE = {spelled: mapped for _, mapped, spelled in _IDENTITY if spelled != mapped}
_TRAITS = tuple(
    (field, *field.spellings[Dialect.TRAITS].partition(".")[::2])
    for field in _BY_NAME.values()
    if Dialect.TRAITS in field.spellings
)
_TRAIT_MAPS = {top: {leaf for _, name, leaf in _TRAITS if name == top} - {""} for _, top, part in _TRAITS if part}
_NOT_CUSTOM = frozenset({"id", "userId", "anonymousId", *(top for _, top, _ in _TRAITS)})
"""Traits that are no custom fields: those of the table, and ids, which the message itself names."""
_CUSTOM_NAME = re.compile(rf"[A-Za-z_][A-Za-z0-9_]{{0,{CUSTOM_NAME_CHARACTERS_MAX - 1}}}")
_ABSENT = object()


def is_field(name: str) -> bool:
    """Return whether a profile can hold a value by this name."""
    return name in _BY_NAME or (name.startswith(CUSTOM) and _CUSTOM_NAME.fullmatch(name, len(CUSTOM)) is not None)


def read_field(name: str, value: object) -> Reading:
    """Return one field's reading, by the name it is held by (imports; the check of what is held)."""
    if name in _BY_NAME:
        return _reading(name, _BY_NAME[name].read, value)
    if name.startswith(CUSTOM):
        return _custom_reading(name.removeprefix(CUSTOM), value)
    return _fault(_label(name), Reason.UNKNOWN_FIELD, value)


def read_record(record: Mapping[str, object]) -> tuple[Reading, ...]:
    """Return a reading for each field of a CRM's record: the known ones in the order of the table, custom, unknown.

    Takes the names that fields are held by, and clIdentity's; sent both ways, the held name wins unless it is empty.
    ``postal_address`` and ``custom`` are maps, or their members stand beside the others with a dot. Null takes away
    what is held; all else that is empty is nothing. An unknown name is an UNKNOWN_FIELD fault.
    """
    readings: list[Reading] = []
    sent: dict[str, object] = {}
    for top, leaves in _HELD_MAPS.items():
        value = record.get(top, _ABSENT)
        if isinstance(value, dict) and value:
            sent.update((f"{top}.{leaf}", item) for leaf, item in value.items())
        elif value is None:
            sent.update(dict.fromkeys(leaves))
        elif value is not _ABSENT:
            readings.append(_not_a_map(top, value))
    for name, value in record.items():
        held = _CLIDENTITY_ALONE.get(name, name)
        is_better = held not in sent or is_empty(sent[held]) or (held == name and not is_empty(value))
        if held not in _HELD_MAPS and is_better:
            sent[held] = value
    readings += [_reading_or_removal(_BY_NAME[name].read, name, sent[name]) for name in _BY_NAME if name in sent]
    if record.get("custom", _ABSENT) is None:
        readings.append(Reading(EVERY_CUSTOM, Kind.REMOVAL))
    customs = [(name.removeprefix(CUSTOM), value) for name, value in sent.items() if name.startswith(CUSTOM)]
    for name, value in customs[:CUSTOM_NAMES_MAX]:
        is_name = _CUSTOM_NAME.fullmatch(name) is not None
        readings.append(
            _reading_or_removal(read_custom, CUSTOM + name, value) if is_name else _custom_reading(name, value)
        )
    readings += _faults(customs[CUSTOM_NAMES_MAX:], _custom_label, EVERY_CUSTOM, Reason.TOO_MANY)
    unknown = [(n, value) for n, value in sent.items() if n not in _BY_NAME and not n.startswith(CUSTOM)]
    return (*readings, *_faults(unknown, _label, "*", Reason.UNKNOWN_FIELD))


def spelled_out(readings: Iterable[Reading], held: Collection[str]) -> tuple[Reading, ...]:
    """Return the readings with a removal of every held custom field instead of the one that means all of them.

    Those that have a reading of their own are left to that.
    """
    readings = tuple(readings)
    named = {reading.field for reading in readings}
    spelled: list[Reading] = []
    for reading in readings:
        if reading.field == EVERY_CUSTOM and reading.kind is Kind.REMOVAL:
            others = sorted(name for name in held if name.startswith(CUSTOM) and name not in named)
            spelled += [Reading(name, Kind.REMOVAL) for name in others]
        else:
            spelled.append(reading)
    return tuple(spelled)


def field_reader(name: str) -> Callable[[object], Reading]:
    """Return ``read_field`` of one name, for those who read a million of it."""
    return partial(_reading, name, _BY_NAME[name].read) if name in _BY_NAME else partial(read_field, name)


def read_identify(params: Mapping[str, object]) -> tuple[Reading, ...]:
    """Return a reading for each field that was sent, in the order of the table.

    Takes both spellings, clIdentity's and the mapped one; sent both ways, the mapped one wins unless it is empty.
    Other names are no fields and are passed over.
    Source: clIdentity specification, field table and table of mapped names (2026.06).
    """
    readings = []
    for field, mapped, spelled in _IDENTITY:
        value = params.get(mapped, _ABSENT)
        if value is _ABSENT or is_empty(value):
            value = params.get(spelled, value)
        if value is not _ABSENT:
            readings.append(_reading(field.name, field.read, value))
    return tuple(readings)


def read_profile(profile: Mapping[str, object]) -> tuple[Reading, ...]:
    """Return a reading for each field of a Croct profile: the known ones in the order of the table, custom, unknown.

    Each leaf of the address and each custom name is a field of its own. An unknown name is an UNKNOWN_FIELD fault.
    A field's name stands in one reading only, but for faults of names that no field can have.
    Source: Croct event reference, ``userSignedUp``, profile.
    """
    readings = [
        _reading(field.name, field.read_profile or field.read, profile[path])
        for path, field in _TOP.items()
        if path in profile
    ]
    if "address" in profile:
        readings += _read_address(profile["address"])
    if "custom" in profile:
        readings += _read_customs(profile["custom"])
    unknown = [
        (name, value) for name, value in profile.items() if name not in _TOP and name not in ("address", "custom")
    ]
    return (*readings, *_faults(unknown, _label, "*", Reason.UNKNOWN_FIELD))


def read_traits(traits: Mapping[str, object]) -> tuple[Reading, ...]:
    """Return a reading for each trait: the known ones in the order of the table, unknown members of maps, custom.

    An address may be a text or a map of leaves, a company a text or a map with its name. Every other trait is a custom
    field, within the limits of these; ``id``, ``userId`` and ``anonymousId`` are no fields and are passed over.
    Source: Segment specification, identify, reserved traits.
    """
    readings: list[Reading] = []
    for field, top, leaf in _TRAITS:
        value = traits.get(top, _ABSENT)
        if isinstance(value, dict) and value and top in _TRAIT_MAPS:
            value = value.get(leaf, _ABSENT) if leaf else _ABSENT
        elif leaf not in ("", "name"):  # what is no map is the text, or the name, of what it should be
            continue
        if value is not _ABSENT:
            readings.append(_reading(field.name, field.read_trait or field.read, value))
    for top, leaves in _TRAIT_MAPS.items():
        value = traits.get(top)
        if isinstance(value, dict):
            unknown = [(f"{top}.{name}", item) for name, item in value.items() if name not in leaves]
            readings += _faults(unknown, _label, f"{top}.*", Reason.UNKNOWN_FIELD)
    customs = {name: value for name, value in traits.items() if name not in _NOT_CUSTOM}
    return (*readings, *_read_customs(customs)) if customs else tuple(readings)


def read_profile_path(path: str, value: object) -> tuple[Reading, ...]:
    """Return the readings of a value that a patch sets on a path.

    Takes the path of one field ("firstName", "address.city", "custom.points") or of a map of fields ("address",
    "custom", "." for the whole profile). An unknown path is one UNKNOWN_FIELD fault; a list's index is unknown.
    Source: Croct patch operations, ``set``.
    """
    if path == ".":
        return read_profile(value) if isinstance(value, dict) and value else (_not_a_map(path, value),)
    if path == "address":
        return tuple(_read_address(value))
    if path == "custom":
        return tuple(_read_customs(value))
    if path.startswith(CUSTOM):
        return (_custom_reading(path.removeprefix(CUSTOM), value),)
    field = _BY_PATH.get(path)
    if field is None:
        return (_fault(_label(path), Reason.UNKNOWN_FIELD, value),)
    return (_reading(field.name, field.read_profile or field.read, value),)


def removal_for_path(path: str) -> tuple[Reading, ...]:
    """Return a removal for each field that a patch's ``unset`` or ``clear`` of this path means.

    "address" means its leaves, "custom" whatever is held there (``EVERY_CUSTOM``), "." all that a profile can name.
    An unknown path is one UNKNOWN_FIELD fault.
    Source: Croct patch operations, ``unset`` and ``clear``.
    """
    every_custom = (Reading(EVERY_CUSTOM, Kind.REMOVAL),)
    if path == ".":
        return (*(Reading(field.name, Kind.REMOVAL) for field in _BY_PATH.values()), *every_custom)
    if path == "custom":
        return every_custom
    if path == "address":
        return tuple(Reading(field.name, Kind.REMOVAL) for field in _LEAVES.values())
    if path in _BY_PATH:
        return (Reading(_BY_PATH[path].name, Kind.REMOVAL),)
    if path.startswith(CUSTOM):
        if is_field(path):
            return (Reading(path, Kind.REMOVAL),)
        return (Reading(_custom_label(path.removeprefix(CUSTOM)), Kind.FAULT, reason=Reason.NOT_A_NAME),)
    return (Reading(_label(path), Kind.FAULT, reason=Reason.UNKNOWN_FIELD),)


def _reading(name: str, read: Reader, value: object) -> Reading:
    if is_empty(value):
        return Reading(name, Kind.EMPTY)
    held = read(value)
    if isinstance(held, Reason):
        return _fault(name, held, value)
    if isinstance(held, Doubtful):
        return Reading(name, Kind.VALUE, held.value, held.remark)
    return Reading(name, Kind.EMPTY) if is_empty(held) else Reading(name, Kind.VALUE, held)


def _reading_or_removal(read: Reader, name: str, value: object) -> Reading:
    return Reading(name, Kind.REMOVAL) if value is None else _reading(name, read, value)


def _read_address(value: object) -> list[Reading]:
    if not isinstance(value, dict) or not value:
        return [_not_a_map("postal_address", value)]
    readings = [_reading(field.name, field.read, value[leaf]) for leaf, field in _LEAVES.items() if leaf in value]
    unknown = [(ADDRESS + name, item) for name, item in value.items() if name not in _LEAVES]
    return readings + _faults(unknown, _label, ADDRESS + "*", Reason.UNKNOWN_FIELD)


def _read_customs(value: object) -> list[Reading]:
    if not isinstance(value, dict) or not value:
        return [_not_a_map("custom", value)]
    entries = list(value.items())
    readings = [_custom_reading(name, item) for name, item in entries[:CUSTOM_NAMES_MAX]]
    return readings + _faults(entries[CUSTOM_NAMES_MAX:], _custom_label, EVERY_CUSTOM, Reason.TOO_MANY)


def _custom_reading(name: str, value: object) -> Reading:
    if _CUSTOM_NAME.fullmatch(name):
        return _reading(CUSTOM + name, read_custom, value)
    return _fault(_custom_label(name), Reason.NOT_A_NAME, value)


def _custom_label(name: str) -> str:
    """Return the field that a remark on this custom name carries; a bad name's is never one that can be held."""
    shown = name if len(name) <= CUSTOM_NAME_CHARACTERS_MAX else name[: CUSTOM_NAME_CHARACTERS_MAX - 1] + "…"
    return CUSTOM + storable(shown)


def _label(path: str) -> str:
    """Return the field that a remark on an unknown path carries: never one that can be held."""
    shown = storable(path[:PATH_CHARACTERS_MAX])
    return f"{Dialect.PROFILE}.{shown}" if is_field(shown) else shown


def _not_a_map(name: str, value: object) -> Reading:
    return Reading(name, Kind.EMPTY) if is_empty(value) else _fault(name, Reason.WRONG_TYPE, value)


def _fault(name: str, reason: Reason, value: object) -> Reading:
    return Reading(name, Kind.FAULT, reason=reason, raw=_raw(value))


def _faults(
    entries: list[tuple[str, object]], label: Callable[[str], str], others: str, reason: Reason
) -> list[Reading]:
    """Return a fault for each of the first ``FAULTY_NAMES_MAX`` names and one for all the others together."""
    faults = [_fault(label(name), reason, value) for name, value in entries[:FAULTY_NAMES_MAX]]
    more = len(entries) - len(faults)
    return [*faults, _fault(others, reason, f"{more} more")] if more else faults


def _raw(value: object) -> str:
    if isinstance(value, float):
        return repr(value)  # NaN and the infinities would be shown as null
    try:
        return cut(value)
    except (ValueError, RecursionError):  # an integer of over 4,300 digits; lists nested beyond what can be shown
        return f"<{type(value).__name__}>"
