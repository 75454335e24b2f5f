"""Pure: times as whole milliseconds since 1970, UTC, and as RFC 3339 text; ids that carry time and bucket."""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(?:([Zz])|([+-]\d\d:\d\d))", re.ASCII)
OLDEST = 946_684_800_000
"""2000-01-01: an earlier event time is a client's mistake (often seconds sent as milliseconds)."""
NEWEST = 253_402_300_799_999
"""The end of the year 9999."""


def to_text(milliseconds: int) -> str:
    """Return the time as RFC 3339 in UTC with milliseconds, for example "2026-06-01T08:30:00.000Z"."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{_second_text(seconds)}.{rest:03d}Z"


@lru_cache(maxsize=1024)  # most times written in one moment are of that moment
def _second_text(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).isoformat()[:19]


def read_time(value: object) -> int | None:
    """Return milliseconds since 1970, or None for what is no time between the years 2000 and 9999.

    Takes RFC 3339 text with an offset, and whole or broken epoch milliseconds.
    """
    if isinstance(value, str):
        milliseconds = _read_text(value)
    elif isinstance(value, int | float) and not isinstance(value, bool) and OLDEST <= value <= NEWEST:
        milliseconds = int(value)
    else:
        return None
    return milliseconds if milliseconds is not None and OLDEST <= milliseconds <= NEWEST else None


def _read_text(text: str) -> int | None:
    match = _RFC3339.fullmatch(text) if len(text) <= 64 else None
    if not match:
        return None
    day, clock, fraction, zulu, offset = match.groups()
    seconds = _read_second(f"{day}T{clock}{'+00:00' if zulu else offset}")
    return None if seconds is None else seconds * 1000 + int((fraction or "0").ljust(3, "0")[:3])


@lru_cache(maxsize=1024)  # as for _second_text
def _read_second(text: str) -> int | None:
    try:
        return (datetime.fromisoformat(text) - _EPOCH) // timedelta(seconds=1)
    except (ValueError, OverflowError):
        return None


CLOCK_STEP_MILLISECONDS = 60_000
"""How far a client's clock is off is taken to the nearest of these steps. To the millisecond it would hold the time
that the request took, and of a sign-out and the sign-in right after it now the one, now the other would come first."""


CLOCK_ERROR_MILLISECONDS_MIN = 90_000
"""A smaller error is none: most clocks are right, and what is left is the time that the request took."""


def event_time(occurred_at: int | None, sent_at: int | None, received_at: int) -> int:
    """Return when it happened by our clock, never later than ``received_at``.

    A client that tells when it sent the event has its clock's error taken out, in whole steps.
    """
    if occurred_at is None:
        return received_at
    if sent_at is not None:
        error = received_at - sent_at
        if abs(error) >= CLOCK_ERROR_MILLISECONDS_MIN:
            occurred_at += round(error / CLOCK_STEP_MILLISECONDS) * CLOCK_STEP_MILLISECONDS
    return max(OLDEST, min(occurred_at, received_at))


def make_id(milliseconds: int, bucket: int, entropy: int) -> str:
    """Return a UUID of version 7 whose 12 bits after the time are the bucket, so that the id finds its own shard.

    ``entropy`` gives the last 62 bits. Ids of one process sort by time of making if it counts up.
    """
    number = (milliseconds & (1 << 48) - 1) << 80 | 7 << 76 | (bucket & 0xFFF) << 64 | 2 << 62 | entropy & (1 << 62) - 1
    digits = f"{number:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def bucket_of_id(identifier: str) -> int | None:
    """Return the bucket that an id of ``make_id`` carries; None if it is no such id."""
    if not re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", identifier):
        return None
    return int(identifier[15:18], 16)
