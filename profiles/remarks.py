"""The closed lists of what a merge can do to a field, and why."""

from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

if TYPE_CHECKING:
    JsonValue: TypeAlias = bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"] | None
else:  # msgspec decodes no type that refers to itself
    JsonValue = Any

RAW_CHARACTERS_MAX = 256


class Verdict(StrEnum):
    """What was done to one field."""

    SET = "set"
    OVERWROTE = "overwrote"
    UNCHANGED = "unchanged"
    IGNORED_EMPTY = "ignored_empty"
    SKIPPED_INVALID = "skipped_invalid"
    SKIPPED_OLDER = "skipped_older"
    KEPT_EXISTING = "kept_existing"
    UNSET = "unset"


class Reason(StrEnum):
    """Why it was done. ``HINTS`` has one sentence for each."""

    WRONG_TYPE = "wrong_type"
    TOO_LONG = "too_long"
    TOO_MANY = "too_many"
    FORBIDDEN_CHARACTER = "forbidden_character"
    NOT_AN_EMAIL = "not_an_email"
    NO_COUNTRY_CODE = "no_country_code"
    NOT_A_PHONE = "not_a_phone"
    UNASSIGNED_NUMBER = "unassigned_number"
    NOT_A_DATE = "not_a_date"
    NOT_A_TIME = "not_a_time"
    NOT_IN_LIST = "not_in_list"
    NOT_A_URL = "not_a_url"
    NOT_A_NUMBER = "not_a_number"
    NOT_A_NAME = "not_a_name"
    UNKNOWN_FIELD = "unknown_field"
    PROFILE_EXISTS = "profile_exists"
    ANONYMOUS_VALUE = "anonymous_value"
    UNSIGNED_VALUE = "unsigned_value"
    LOCKED = "locked"
    MISSING_VISITOR_ID = "missing_visitor_id"


HINTS: dict[Reason, str] = {
    Reason.WRONG_TYPE: "Send this field as the JSON type its row in the field table names; texts go in quotes.",
    Reason.TOO_LONG: "Shorten the value to the limit in the field table.",
    Reason.TOO_MANY: "Send fewer items; the limit stands in the field table.",
    Reason.FORBIDDEN_CHARACTER: "Remove control characters, U+0000, U+FFFD and halves of surrogate pairs.",
    Reason.NOT_AN_EMAIL: "Send a complete address, for example ana@shop.example.",
    Reason.NO_COUNTRY_CODE: "Send the number with + and its country code, for example +886912345678.",
    Reason.NOT_A_PHONE: "No telephone number has this form: check its digits and its length.",
    Reason.UNASSIGNED_NUMBER: "Kept as sent, though no operator is known to use this range; check it for a typo.",
    Reason.NOT_A_DATE: "Send a real date as YYYY-MM-DD, for example 1995-01-31.",
    Reason.NOT_A_TIME: "Send an RFC 3339 time or milliseconds since 1970; the time of arrival was used instead.",
    Reason.NOT_IN_LIST: "Send one of the values that the field table lists, in lower case.",
    Reason.NOT_A_URL: "Send a complete address that begins with http:// or https://.",
    Reason.NOT_A_NUMBER: "Send a finite number between -2^53 and 2^53.",
    Reason.NOT_A_NAME: "Begin the name with a letter or _ and go on with letters, digits or _, 50 at most.",
    Reason.UNKNOWN_FIELD: "No field has this name; see the field table, or use custom.<name>.",
    Reason.PROFILE_EXISTS: "A sign-up sets fields only when it creates the profile; this one existed already.",
    Reason.ANONYMOUS_VALUE: "A value given before sign-in fills gaps only; the member's own value stays.",
    Reason.UNSIGNED_VALUE: "This channel's unsigned events fill gaps only: send a token signed for this customer.",
    Reason.LOCKED: "An admin locked this field: websites cannot change it. Unlock it to let them.",
    Reason.MISSING_VISITOR_ID: "No usable visitor_id came along: the profile was merged, no visitor was linked.",
}


class Kind(StrEnum):
    """What a reader made of one value that was sent."""

    VALUE = "value"
    EMPTY = "empty"
    FAULT = "fault"
    REMOVAL = "removal"


class Reading(msgspec.Struct, frozen=True):
    """One field as it was sent, after its reader saw it.

    ``value`` is what would be held (only for ``Kind.VALUE``); ``reason`` says why it is a fault, or remarks on a
    value that is kept; ``raw`` is the text of what was sent, for faults, at most ``RAW_CHARACTERS_MAX`` characters
    and always storable (no U+0000, no surrogates).
    """

    field: str
    kind: Kind
    value: JsonValue = None
    reason: Reason | None = None
    raw: str | None = None


class Decision(msgspec.Struct, frozen=True, array_like=True):
    """What a merge did to one field.

    ``value`` is the clean value that was offered, kept for those that lost as well, so that the fold can fall back
    to it; ``old`` is what was held before; ``raw`` is the text that was sent, for faults. ``old_version`` is that of
    the merge which had set ``old``, wherever a value or a removal was offered, so that what was held before can be told
    from this row alone.
    """

    field: str
    verdict: Verdict
    reason: Reason | None = None
    old: JsonValue = None
    value: JsonValue = None
    raw: str | None = None
    old_version: int | None = None


def storable(text: str) -> str:
    """Return the text with everything that PostgreSQL refuses (U+0000, surrogates) replaced by U+FFFD.

    Two halves that stand side by side are the one character they were cut from.
    """
    if text.isprintable():  # as most are, and none that holds either
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").replace("\x00", "�")


def cut(value: object) -> str:
    """Return what was sent as one line for an admin: at most ``RAW_CHARACTERS_MAX`` characters, always storable.

    Never raises: a value that neither JSON nor Python can spell out (too deep, too many digits) is shown by its type.
    """
    text = value if isinstance(value, str) else _as_json(value)
    return storable(text[:RAW_CHARACTERS_MAX])


def _as_json(value: object) -> str:
    if isinstance(value, float):
        return repr(value)  # JSON would show NaN and the infinities as null
    try:
        return msgspec.json.encode(value).decode()
    except (UnicodeError, TypeError, ValueError, RecursionError, msgspec.MsgspecError):
        pass
    try:
        return repr(value)
    except (ValueError, RecursionError):
        return f"<{type(value).__name__}>"
