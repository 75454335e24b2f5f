"""Pure: what counts as an id of a customer, a visitor or an event."""

import re

from identity.refusals import Refusal

CUSTOMER_ID_CHARACTERS_MAX = 254
VISITOR_ID_CHARACTERS_MAX = 128
EVENT_ID_CHARACTERS_MAX = 128
INTEGER_DIGITS_MAX = 254

BLOCKED_IDS = frozenset(
    {
        "null", "undefined", "none", "nil", "nan", "true", "false", "0", "-1", "anonymous", "guest", "user", "id",
        "email", "customer_id", "customerid", "userid", "[object object]", "required_unique_id",
    }
)  # fmt: skip
"""Placeholders that broken pages send, in lower case; a workspace may have a list of its own."""

_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffd]")
_QUOTES = "\"'`"


def is_storable_id(text: str, characters_max: int) -> bool:
    """Return whether PostgreSQL, its indexes and a log line can take the text as an id."""
    return 0 < len(text) <= characters_max and not _FORBIDDEN.search(text)


def is_blocked(identifier: str, blocked: frozenset[str] = BLOCKED_IDS) -> bool:
    """Return whether the id is a placeholder, in any case and also in quotes."""
    lowered = identifier.casefold()
    return lowered in blocked or lowered.strip(_QUOTES).strip() in blocked


def read_customer_id(value: object, blocked: frozenset[str] = BLOCKED_IDS) -> str | Refusal:
    """Return the customer id as it is held and compared, or why it is none.

    Takes texts, trimmed, and integers as their decimal text. Case matters.
    Refuses: MISSING_CUSTOMER_ID (absent, empty, blank), INVALID_CUSTOMER_ID, BLOCKED_CUSTOMER_ID.
    """
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**INTEGER_DIGITS_MAX:
        value = str(value)
    if value is None:
        return Refusal.MISSING_CUSTOMER_ID
    if not isinstance(value, str):
        return Refusal.INVALID_CUSTOMER_ID
    text = value.strip().strip("\ufeff").strip()
    if not text:
        return Refusal.MISSING_CUSTOMER_ID
    if not is_storable_id(text, CUSTOMER_ID_CHARACTERS_MAX):
        return Refusal.INVALID_CUSTOMER_ID
    return Refusal.BLOCKED_CUSTOMER_ID if is_blocked(text, blocked) else text


def read_known_customer_id(value: object) -> str | None:
    """Return the id of a customer as it may be held, or None for what no customer can have."""
    customer_id = read_customer_id(value, frozenset())
    return None if isinstance(customer_id, Refusal) else customer_id


def read_visitor_id(value: object) -> str | None:
    """Return the visitor id as it is held, or None for what names no browser.

    Takes texts of 1 to 128 characters, trimmed, and integers. A placeholder counts as absent: else all the broken
    pages of the world would be one visitor.
    """
    return _read_id(value, VISITOR_ID_CHARACTERS_MAX)


def read_event_id(value: object) -> str | None:
    """Return the event id, or None where there is none to tell retries by."""
    return _read_id(value, EVENT_ID_CHARACTERS_MAX)


def _read_id(value: object, characters_max: int) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**characters_max:
        value = str(value)
    if not isinstance(value, str) or len(value) > characters_max:
        return None
    text = value.strip()
    if not is_storable_id(text, characters_max) or is_blocked(text):
        return None
    return text
