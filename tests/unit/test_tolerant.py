"""JSON as it really arrives: the damage stays with the one value."""

import pytest

from identity.tolerant import DEPTH_MAX, read_array, read_object, read_value


def read_all(body: bytes) -> dict[str, object] | None:
    """Return all members of an object, read."""
    members = read_object(body)
    return None if members is None else {name: read_value(raw) for name, raw in members.items()}


@pytest.mark.parametrize(
    ("damaged", "read"),
    [
        (b'"a\xffb"', "a\ufffdb"),
        (b'"\\ud83d"', "\ud83d"),
        (b'"two\r\nlines\t"', "two\r\nlines\t"),
        (b'"a\x00b"', "a\x00b"),
        (b"1e400", float("inf")),
        (b"-Infinity", float("-inf")),
        (b"9" * 5_000, float("inf")),
        (b"-" + b"9" * 5_000, float("-inf")),
    ],
)
def test_a_damaged_value_is_read_as_far_as_it_goes_and_its_neighbour_is_whole(damaged: bytes, read: object):
    assert read_all(b'{"damaged":' + damaged + b',"name":"Ana"}') == {"damaged": read, "name": "Ana"}


def test_a_damaged_name_is_repaired_and_its_neighbour_is_whole():
    assert read_all(b'{"\\ud83d":1,"a\xff":2,"name":"Ana"}') == {"\ufffd": 1, "a\ufffd": 2, "name": "Ana"}


@pytest.mark.parametrize("levels", [DEPTH_MAX + 1, 990, 1_000, 5_000, 200_000])
def test_deep_nesting_costs_its_own_value_only(levels: int):
    body = b'{"deep":' + b"[" * levels + b'"]"' + b"]" * levels + b',"broken":NaN,"name":"Ana","quoted":"}]["}'

    members = read_all(body)

    assert members is not None
    assert (members["name"], members["quoted"]) == ("Ana", "}][")


@pytest.mark.parametrize(
    "rest", [b'"' + b"a" * 30_000, b'"' + b'\\"' * 15_000, b'""' * 15_000 + b'"', b'"' + b"\\" * 9_999]
)
def test_an_open_text_below_deep_nesting_is_given_up_at_once(rest: bytes):
    """Tried in every possible way, 30 characters would take minutes."""
    assert read_object(b'{"a":' + b"[" * 2_000 + rest) is None


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'"x"', b"{", b'{"a":1} x', b"\xff", b"[" * 10_000])
def test_what_is_no_object_is_none(body: bytes):
    assert read_object(body) is None


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b"[1", b"[1,]", b'"[]"'])
def test_what_is_no_array_is_none(body: bytes):
    assert read_array(body) is None


def test_a_byte_order_mark_is_passed_over():
    assert read_all(b'\xef\xbb\xbf{"name":"Ana"}') == {"name": "Ana"}
