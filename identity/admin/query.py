"""Reading what admins send: filters, cursors, pages and bodies. Nothing that PostgreSQL could choke on gets by."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import TypeVar
from urllib.parse import urlencode
from uuid import UUID

import msgspec

from identity import administration
from identity.visitors import is_storable_id, read_known_customer_id, read_visitor_id
from profiles.clock import read_time
from profiles.http import Problem, Request

LIMIT_DEFAULT = 50
LIMIT_MAX = 200
FILTER_CHARACTERS_MAX = 200
BODY_BYTES_MAX = 32 * 1024
MESSAGE_CHARACTERS_MAX = 300

FIRST_ID = str(UUID(int=0))
LAST_ID = str(UUID(int=(1 << 128) - 1))

Body = TypeVar("Body")


def read_query(request: Request, known: Iterable[str]) -> dict[str, str]:
    """Return the query parameters.

    Raises:
        Problem: 400, one of them is unknown: ignoring it would answer another question than the one asked.
    """
    query = request.query()
    names = list(known)
    for name in query:
        if name not in names:
            told = (
                f"What can be asked for here is: {', '.join(names)}." if names else "What is wanted stands in the body."
            )
            raise Problem(400, "unknown_parameter", told)
    return query


def read_limit(query: Mapping[str, str], *, default: int = LIMIT_DEFAULT, most: int = LIMIT_MAX) -> int:
    """Return how many items a page may have."""
    text = query.get("limit", str(default))
    if not text.isascii() or not text.isdigit() or len(text) > len(str(most)) or not 1 <= int(text) <= most:
        raise _wrong("limit", f"a whole number from 1 to {most}")
    return int(text)


def read_cursor(query: Mapping[str, str]) -> str | None:
    """Return the id behind which a page begins, or None for the first page."""
    text = query.get("cursor")
    if text is None:
        return None
    try:
        return str(UUID(bytes=urlsafe_b64decode(text.encode("ascii") + b"==")))
    except (ValueError, UnicodeError) as error:
        raise Problem(400, "invalid_cursor", "A cursor is what the page before gave as next_cursor.") from error


def make_cursor(identifier: str) -> str:
    """Return the cursor of the page behind the row with this id."""
    return urlsafe_b64encode(UUID(identifier).bytes).rstrip(b"=").decode()


def next_link(path: str, query: Mapping[str, str], cursor: str | None) -> dict[str, str]:
    """Return the header that names the next page of the same question, if there is one."""
    if cursor is None:
        return {}
    return {"link": f'<{path}?{urlencode({**query, "cursor": cursor})}>; rel="next"'}


def read_bounds(query: Mapping[str, str]) -> tuple[str, str]:
    """Return the bounds of the ids to be shown, the first included, the second not: ``from``, ``to`` and the cursor.

    Ids begin with their time in milliseconds, so that times are bounds of ids.
    """
    not_before = _id_at(query, "from", FIRST_ID)
    before = min(_id_at(query, "to", LAST_ID), read_cursor(query) or LAST_ID)
    return not_before, before


def _id_at(query: Mapping[str, str], name: str, default: str) -> str:
    moment = read_time_of(query, name)
    return default if moment is None else str(UUID(int=moment << 80))


def read_time_of(query: Mapping[str, str], name: str) -> int | None:
    """Return a time that is a bound, in milliseconds since 1970."""
    text = query.get(name)
    if text is None:
        return None
    moment = read_time(int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else text)
    if moment is None:
        raise _wrong(name, "an RFC 3339 time with its offset (a + is sent as %2B), or milliseconds since 1970")
    return moment


def read_choice(query: Mapping[str, str], name: str, choices: type[StrEnum]) -> str | None:
    """Return a filter out of a closed list."""
    value = query.get(name)
    if value is not None and value not in tuple(choices):
        raise _wrong(name, f"one of: {', '.join(choices)}")
    return value


def read_uuid(query: Mapping[str, str], name: str) -> str | None:
    """Return a filter that is a UUID."""
    value = query.get(name)
    if value is None:
        return None
    found = administration.read_uuid(value)
    if found is None:
        raise _wrong(name, "a UUID")
    return found


def read_word(query: Mapping[str, str], name: str) -> str | None:
    """Return a filter that is a name of anything."""
    value = query.get(name)
    if value is not None and not is_storable_id(value, FILTER_CHARACTERS_MAX):
        raise _wrong(name, f"1 to {FILTER_CHARACTERS_MAX} characters, none of them a control character")
    return value


def read_customer(query: Mapping[str, str]) -> str | None:
    """Return the filter ``customer_id``."""
    value = query.get("customer_id")
    customer_id = read_known_customer_id(value) if value is not None else None
    if value is not None and customer_id is None:
        raise _wrong("customer_id", "an id that a customer can have")
    return customer_id


def read_visitor(query: Mapping[str, str]) -> str | None:
    """Return the filter ``visitor_id``."""
    value = query.get("visitor_id")
    visitor_id = read_visitor_id(value) if value is not None else None
    if value is not None and visitor_id is None:
        raise _wrong("visitor_id", "an id that a visitor can have")
    return visitor_id


def _wrong(name: str, wanted: str) -> Problem:
    return Problem(400, f"invalid_{name}", f"{name} is {wanted}.")


async def read_body(request: Request, kind: type[Body]) -> Body:
    """Return the body of a request.

    Raises:
        Problem: 400, not JSON, or something stands in the query: a ``dry_run`` there must not be passed over; 422, not
            of its form; those of ``Request.body``.
    """
    read_query(request, ())
    body = await request.body(BODY_BYTES_MAX)
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise Problem(422, "invalid_body", f"{str(error)[:MESSAGE_CHARACTERS_MAX]}.") from error
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise Problem(400, "not_a_json_object", "The body must be one JSON object.") from error
