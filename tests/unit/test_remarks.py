"""What a remark keeps of a value that was sent."""

import pytest

from profiles.remarks import RAW_CHARACTERS_MAX, cut, storable


def _nested(levels: int) -> object:
    value: object = "deep"
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("", ""),
        ("Ana", "Ana"),
        ("Ana\x00", "Ana\ufffd"),
        ("安娜 😀", "安娜 😀"),
        ("安\x00娜", "安\ufffd娜"),
        ("\ud83d", "\ufffd"),
        ("\ude00x", "\ufffdx"),
        ("a\ud83db", "a\ufffdb"),
        ("\ude00\ud83d", "\ufffd\ufffd"),
        ("\ud83d\ud83d\ude00", "\ufffd😀"),
        ("\ud83d\x00", "\ufffd\ufffd"),
        ("\ufeffbom", "\ufeffbom"),
        ("\ufffe\uffff", "\ufffe\uffff"),
    ],
)
def test_what_postgresql_refuses_becomes_the_replacement_character_and_all_else_stays(text: str, held: str):
    assert storable(text) == held


def test_every_single_code_point_becomes_storable():
    for code in (*range(0x300), *range(0xD700, 0xE100), 0xFFFD, 0xFFFE, 0xFFFF, 0x10000, 0x10FFFF):
        kept = storable(chr(code))

        kept.encode()
        assert kept == (chr(code) if code != 0 and not 0xD800 <= code <= 0xDFFF else "\ufffd")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("0912", "0912"),
        (12, "12"),
        (True, "true"),
        (None, "null"),
        (1.5, "1.5"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        ([float("nan"), 1], "[null,1]"),
        ({"a": ["b", {"c": None}]}, '{"a":["b",{"c":null}]}'),
        (["\ud83d"], "['\\ud83d']"),
        ({"\udead": 1}, "{'\\udead': 1}"),
    ],
)
def test_a_value_is_shown_as_it_was_sent(value: object, shown: str):
    assert cut(value) == shown


def test_a_value_that_cannot_be_spelt_out_is_shown_by_its_type():
    digits = 10**5000

    shown = [cut(value) for value in (digits, [digits], {"a": -digits}, _nested(100_000))]

    assert shown == ["<int>", "<list>", "<dict>", "<list>"]


def test_what_is_shown_is_cut():
    assert cut("é" * 300) == "é" * RAW_CHARACTERS_MAX
    assert cut([1] * 300) == ("[" + "1," * 300)[:RAW_CHARACTERS_MAX]


def test_a_pair_that_the_cut_goes_through_leaves_nothing_that_cannot_be_stored():
    text = "a" * (RAW_CHARACTERS_MAX - 1) + "\ud83d\ude00"

    assert cut(text) == "a" * (RAW_CHARACTERS_MAX - 1) + "\ufffd"
