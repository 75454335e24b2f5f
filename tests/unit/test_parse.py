"""Parsing: what really arrives becomes events, and nothing makes it raise."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from identity.events.identity import Identify, ProfileChange, Sender, SignOut, Unusable
from identity.parse import event_items, read_events, read_patch, read_push, read_write_key, to_identify
from identity.refusals import Refusal
from identity.tolerant import read_object
from identity.visitors import read_customer_id, read_visitor_id
from profiles.clock import bucket_of_id, event_time, make_id, read_time, to_text
from profiles.patches import PATH_CHARACTERS_MAX, PatchOperation
from profiles.remarks import Reason

NOW = 1_780_000_000_000
SENDER = Sender(workspace_id=1)


def pushed(body: bytes | dict[str, object]) -> Identify:
    members = read_object(body if isinstance(body, bytes) else json.dumps(body).encode())
    assert members is not None
    return to_identify(read_push(members), SENDER, NOW)


@pytest.mark.parametrize(
    "body",
    [
        {"visitor_id": "v", "customer_id": "42", "display_name": "Ana"},
        {"visitor_id": "v", "customerId": "42", "name": "Ana"},
        {"visitor_id": "v", "event": "clIdentity", "params": {"customerId": 42, "name": "Ana"}},
        {"visitor_id": " v ", "customer_id": " 42 ", "name": "Ana", "unknown": [1]},
    ],
)
def test_every_spelling_of_a_push_is_the_same_customer(body: dict[str, object]):
    event = pushed(body)

    assert (event.visitor_id, event.customer) == ("v", "42")
    assert set(event.params.values()) == {"Ana"}


@pytest.mark.parametrize("junk", [b'"\xff"', b'"\\ud83d"', b"NaN", b"1e400", b"[" * 9000 + b"]" * 9000, b"9" * 5000])
def test_one_damaged_value_leaves_its_neighbours(junk: bytes):
    event = pushed(b'{"visitor_id":"v","customer_id":"42","name":"Ana","email":' + junk + b"}")

    assert (event.visitor_id, event.customer, event.params["name"]) == ("v", "42", "Ana")


@pytest.mark.parametrize("body", [b"", b"[]", b"42", b'"x"', b"{", b'{"a":}', b"\x1f\x8b\x00", b"null"])
def test_what_is_no_json_object_is_none(body: bytes):
    assert read_object(body) is None


@pytest.mark.parametrize("empty", [b"null", b" null "])
def test_a_parameter_that_is_null_is_none_to_the_digest(empty: bytes):
    without = pushed(b'{"customer_id":"42","name":"Ana"}')

    assert pushed(b'{"customer_id":"42","name":"Ana","phone":' + empty + b"}").digest == without.digest
    assert pushed(b'{"customer_id":"42","name":"Ana","phone":"null"}').digest != without.digest


def test_the_digest_tells_parameters_apart_and_nothing_else():
    one = pushed({"customer_id": "42", "visitor_id": "a", "name": "Ana", "occurred_at": NOW})
    same = pushed({"visitor_id": "b", "name": "Ana", "customer_id": "42", "page": "/x"})
    other = pushed({"customer_id": "42", "name": "Bo"})

    assert one.digest == same.digest != other.digest


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (None, Refusal.MISSING_CUSTOMER_ID),
        ("", Refusal.MISSING_CUSTOMER_ID),
        (" \u3000", Refusal.MISSING_CUSTOMER_ID),
        (42, "42"),
        (" a b ", "a b"),
        ("Case", "Case"),
        (4.2, Refusal.INVALID_CUSTOMER_ID),
        (True, Refusal.INVALID_CUSTOMER_ID),
        (["42"], Refusal.INVALID_CUSTOMER_ID),
        ("x" * 254, "x" * 254),
        ("x" * 255, Refusal.INVALID_CUSTOMER_ID),
        ("a\x00b", Refusal.INVALID_CUSTOMER_ID),
        ("a\nb", Refusal.INVALID_CUSTOMER_ID),
        ("a\ufffdb", Refusal.INVALID_CUSTOMER_ID),
        (f"a{chr(0xD800)}b", Refusal.INVALID_CUSTOMER_ID),
        ("NULL", Refusal.BLOCKED_CUSTOMER_ID),
        ("'undefined'", Refusal.BLOCKED_CUSTOMER_ID),
        ('"Guest"', Refusal.BLOCKED_CUSTOMER_ID),
        ("[object Object]", Refusal.BLOCKED_CUSTOMER_ID),
        ("REQUIRED_UNIQUE_ID", Refusal.BLOCKED_CUSTOMER_ID),
        (0, Refusal.BLOCKED_CUSTOMER_ID),
        (-1, Refusal.BLOCKED_CUSTOMER_ID),
        ("anonymous2", "anonymous2"),
    ],
)
def test_customer_ids(sent: object, read: object):
    assert read_customer_id(sent) == read


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ("v", "v"),
        (7, "7"),
        ("undefined", None),
        ("", None),
        (None, None),
        ("x" * 129, None),
        ("a\x00", None),
        ({}, None),
    ],
)
def test_visitor_ids(sent: object, read: str | None):
    assert read_visitor_id(sent) == read


def test_an_unusable_visitor_id_is_remarked_on():
    notes = pushed({"customer_id": "42", "visitor_id": {"no": "id"}}).notes

    assert [(n.field, n.reason, n.raw) for n in notes] == [("visitor_id", Reason.MISSING_VISITOR_ID, '{"no":"id"}')]


def test_a_clients_clock_is_corrected_by_its_own_sent_at():
    hour = 3_600_000
    event = pushed({"customer_id": "42", "occurred_at": NOW + hour - 5000, "sent_at": NOW + hour})

    assert event.occurred_at == NOW - 5000


def test_nothing_happens_in_the_future():
    assert pushed({"customer_id": "42", "occurred_at": NOW + 60_000}).occurred_at == NOW


def test_a_time_that_is_none_is_remarked_on_and_the_arrival_counts():
    event = pushed({"customer_id": "42", "occurred_at": 1_780_000_000})

    assert event.occurred_at == NOW
    assert Reason.NOT_A_TIME in [n.reason for n in event.notes]


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("2026-05-28T20:26:40Z", 1_780_000_000_000),
        ("2026-05-28T20:26:40.123456Z", 1_780_000_000_123),
        ("2026-05-29 04:26:40.5+08:00", 1_780_000_000_500),
        ("2026-05-28T20:26:40", None),
        ("2026-02-30T00:00:00Z", None),
        ("yesterday", None),
        ("２０２６-05-28T20:26:40Z", None),
    ],
)
def test_times(text: str, milliseconds: int | None):
    assert read_time(text) == milliseconds


@given(st.integers(946_684_800_000, 253_402_300_799_999))
def test_a_time_written_is_the_time_read(milliseconds: int):
    assert read_time(to_text(milliseconds)) == milliseconds


@given(st.integers(0, 2**47), st.integers(0, 4095), st.integers(0, 2**62 - 1))
def test_an_id_carries_its_bucket(milliseconds: int, bucket: int, entropy: int):
    assert bucket_of_id(make_id(milliseconds, bucket, entropy)) == bucket


@given(st.integers(0, 2**42), st.integers(0, 2**42), st.integers(946_684_800_000, 2**42))
def test_corrected_times_are_never_later_than_their_arrival(occurred_at: int, sent_at: int, received_at: int):
    assert event_time(occurred_at, sent_at, received_at) <= received_at


def parsed(*events: object):
    members = read_object(json.dumps({"events": events}).encode())
    assert members is not None
    items = event_items(members)
    assert items is not None
    return read_events(items, SENDER, NOW)


def test_one_body_may_be_one_event_or_a_list():
    alone = read_object(b'{"type":"userSignedIn","userId":"42","visitor_id":"v"}')
    assert alone is not None
    items = event_items(alone)
    assert items is not None

    assert read_events(items, SENDER, NOW) == parsed({"type": "userSignedIn", "userId": "42", "visitor_id": "v"})


def test_what_is_no_event_is_unusable_and_its_neighbours_are_read():
    events = parsed(7, {"type": "nope"}, {"type": ["x"]}, {"type": "userSignedOut", "visitor_id": "v"})

    assert [type(e) for e in events] == [Unusable, Unusable, Unusable, SignOut]


def test_a_patch_is_read_whole_or_not_at_all():
    good = {"type": "set", "path": "address.city", "value": "Taipei"}
    bad = {"type": "explode", "path": "email"}

    assert read_patch({"operations": [good]}) == (PatchOperation("set", "address.city", "Taipei"),)
    assert read_patch([good]) == (PatchOperation("set", "address.city", "Taipei"),)
    for operations in ([good, bad], [], [{"type": "set", "path": "x"}], [{"type": "unset", "path": "a[0"}], "x", None):
        assert read_patch({"operations": operations}) is Refusal.INVALID_PATCH
    change = parsed({"type": "userProfileChanged", "visitor_id": "v", "patch": {"operations": [bad]}})[0]
    assert isinstance(change, ProfileChange)
    assert change.patch is Refusal.INVALID_PATCH


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ({"type": "add", "path": "interests", "value": "tea"}, PatchOperation("add", "interests", "tea")),
        ({"type": "add", "path": "interests", "value": None}, PatchOperation("add", "interests", None)),
        ({"type": "merge", "path": ".", "value": {}}, PatchOperation("merge", ".", {})),
        ({"type": "increment", "path": "custom.points"}, PatchOperation("increment", "custom.points", 1)),
        ({"type": "decrement", "path": "custom.points", "value": None}, PatchOperation("decrement", "custom.points")),
        ({"type": "clear", "path": "custom.a.b[0][1].c"}, PatchOperation("clear", "custom.a.b[0][1].c")),
        ({"type": "unset", "path": "[0].a", "value": 5}, PatchOperation("unset", "[0].a")),
        ({"type": "set", "path": "__proto__.x", "value": 1}, PatchOperation("set", "__proto__.x", 1)),
    ],
)
def test_an_operation_is_read(sent: dict[str, object], read: PatchOperation):
    assert read_patch([sent]) == (read,)


@pytest.mark.parametrize(
    "sent",
    [
        {"type": "collect", "path": "interests", "value": "tea"},
        {"type": ["set"], "path": "interests", "value": "tea"},
        {"type": "set", "value": "tea"},
        {"type": "set", "path": 5, "value": "tea"},
        {"type": "set", "path": "interests"},
        {"type": "remove", "path": "interests"},
        {"type": "merge", "path": ".", "value": None},
        {"type": "merge", "path": "interests", "value": "tea"},
        {"type": "increment", "path": "custom.points", "value": "5"},
        {"type": "increment", "path": "custom.points", "value": True},
        {"type": "decrement", "path": "custom.points", "value": 2**53 + 1},
        *(
            {"type": "unset", "path": path}
            for path in (
                "",
                "..",
                ".a",
                "a.",
                "a..b",
                "a b",
                "a[]",
                "a[-1]",
                "a.[0]",
                "a[0]b",
                "9a",
                "é",
                "a\n",
                "a[٣]",
            )
        ),
        {"type": "unset", "path": "a" * (PATH_CHARACTERS_MAX + 1)},
    ],
)
def test_an_operation_that_no_profile_could_take_is_not_read(sent: dict[str, object]):
    assert read_patch([sent]) is Refusal.INVALID_PATCH


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(
    [
        "type", "event", "customer_id", "customerId", "userId", "visitor_id", "event_id", "occurred_at", "sent_at",
        "params", "profile", "patch", "events", "name", "email", "phone", "gender", "write_key",
    ]
)  # fmt: skip
kinds = st.sampled_from(["clIdentity", "userSignedUp", "userSignedIn", "userSignedOut", "userProfileChanged"])


@given(st.dictionaries(names, json_values, max_size=6), st.none() | kinds)
@settings(deadline=None, max_examples=300)
def test_no_json_makes_it_raise(members: dict[str, object], kind: str | None):
    if kind:
        members["type"] = kind

    _read_all(json.dumps(members).encode())


@given(st.binary(max_size=200), st.integers(0, 60))
@settings(deadline=None, max_examples=300)
def test_no_bytes_make_it_raise(junk: bytes, at: int):
    good = b'{"type":"clIdentity","customer_id":"42","visitor_id":"v","params":{"name":"Ana"}}'

    _read_all(good[:at] + junk + good[at:])
    _read_all(junk)


def _read_all(body: bytes) -> None:
    members = read_object(body)
    if members is None:
        return
    read_write_key(members)
    event = to_identify(read_push(members), SENDER, NOW)
    items = event_items(members) or []
    for each in [event, *read_events(items, SENDER, NOW)]:
        # What is kept of a refused event must be storable.
        raws = [note.raw for note in each.notes]
        kept = "".join(text for text in [each.sent_customer, *each.fields, each.name, *raws] if text)
        assert "\x00" not in kept
        kept.encode()
