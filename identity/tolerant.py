"""Pure: JSON as it really arrives. Whatever one value is, the values beside it are read.

msgspec is fast and strict: invalid UTF-8, half a surrogate pair, a bare line end in a text, NaN, 1e400 or deep nesting
anywhere make it refuse the whole text. So values stay raw until their own reader sees them, and what msgspec refuses
is read again by the standard library, with the damage kept to the one value.
"""

import json
import re
from typing import Any

import msgspec

from profiles.remarks import storable

DEPTH_MAX = 64
"""Levels of nesting that are read; a deeper value reads as ``true``, which no text field takes."""
INTEGER_DIGITS_MAX = 300

Members = dict[str, msgspec.Raw]

_object = msgspec.json.Decoder(Members)
_array = msgspec.json.Decoder(list[msgspec.Raw])
_any = msgspec.json.Decoder(object)
# Possessive, and content without the closing quote: an unterminated text must not be tried in every other way.
_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)
_FAULTS = (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError)


def read_object(body: bytes) -> Members | None:
    """Return the members of a JSON object, each still raw, or None if it is not a JSON object at all."""
    try:
        return _object.decode(body)
    except _FAULTS:
        value = _read_damaged(body)
    return {storable(name): _raw(member) for name, member in value.items()} if isinstance(value, dict) else None


def read_array(raw: bytes) -> list[msgspec.Raw] | None:
    """Return the items of a JSON array, each still raw, or None if it is not a JSON array."""
    try:
        return _array.decode(raw)
    except _FAULTS:
        value = _read_damaged(raw)
    return [_raw(item) for item in value] if isinstance(value, list) else None


def read_value(raw: bytes) -> object:
    """Return the value as plain Python objects. NaN and numbers out of range become float; bad bytes U+FFFD."""
    try:
        return _any.decode(raw)
    except _FAULTS:
        return _read_damaged(raw)


def _raw(value: object) -> msgspec.Raw:
    try:
        return msgspec.Raw(json.dumps(value).encode())
    except RecursionError:  # just shallow enough to be read
        return msgspec.Raw(b"true")


def _read_damaged(body: bytes) -> Any:
    """Return the value of a text that msgspec refused; None if it is no JSON even with forbearance."""
    text = bytes(body).decode("utf-8", "replace").lstrip("\ufeff")
    try:
        return _loads(text)
    except RecursionError:
        pass
    except ValueError:
        return None
    try:
        return _loads(_cut_depth(text))
    except (ValueError, RecursionError):
        return None


def _loads(text: str) -> Any:
    # Not strict: bodies put together by hand have line ends within texts, and each field's reader sees to them.
    return json.loads(text, parse_int=_read_integer, strict=False)


def _read_integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= INTEGER_DIGITS_MAX else float("-inf" if digits[0] == "-" else "inf")


def _cut_depth(text: str) -> str:
    """Return the text with every value below ``DEPTH_MAX`` levels replaced by ``true``."""
    kept: list[str] = []
    depth, start = 0, 0
    for token in _TOKEN.finditer(text):
        bracket = token.group()
        if bracket in "[{":
            depth += 1
            if depth == DEPTH_MAX + 1:
                kept.append(text[start : token.start()])
        elif bracket in "]}":
            if depth == DEPTH_MAX + 1:
                kept.append("true")
                start = token.end()
            depth -= 1
    kept.append(text[start:] if depth <= DEPTH_MAX else "")
    return "".join(kept)
