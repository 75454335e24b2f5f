"""Messages of the Segment specification become events: by example, by SDK, and by law."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from identity.events.behaviour import Behaviour, EventFault, FaultCode, Order
from identity.events.identity import Alias, Event, Identify, Sender, TraitsChange, Unusable
from identity.protocols.segment import (
    CONTEXT_CHARACTERS_MAX,
    CURRENCY_CHARACTERS_MAX,
    MESSAGE_BYTES_MAX,
    MESSAGE_TYPES,
    PROPERTY_LEVELS_MAX,
    Arrival,
    is_plain,
    read_messages,
)
from identity.refusals import Refusal
from identity.resolve import Held, decide, find_refusal, read_fields, seen_key
from profiles.clock import make_id, read_time
from profiles.fields import Dialect
from profiles.merge import NO_TRACE
from profiles.profile import HeldField, Profile
from profiles.remarks import Kind, Reading, Reason

SENDER = Sender(workspace_id=1, channel_id="11111111-1111-4111-8111-111111111111")
RECEIVED = read_time("2026-06-01T08:30:00.000Z") or 0
ARRIVAL = Arrival(sender=SENDER, received_at=RECEIVED)

# As the SDKs sent them to a recorder, shortened where nothing is read.
NODE_TRACK = {
    "type": "track",
    "event": "Order Completed",
    "userId": "u-1",
    "properties": {"order_id": "o-1", "revenue": 25, "currency": "EUR", "products": [{"product_id": "p", "price": 5}]},
    "timestamp": "2026-06-01T08:29:00.123Z",
    "messageId": "node-next-1780302600123-5a4f8b1e-0d1c-4d0c-8f3a-1b2c3d4e5f60",
    "context": {"library": {"name": "@segment/analytics-node", "version": "3.1.0"}},
    "integrations": {},
    "_metadata": {"nodeVersion": "20.20.0", "jsRuntime": "node"},
}
BROWSER_IDENTIFY = {
    "type": "identify",
    "userId": "u-1",
    "anonymousId": "0b5d6e0e-6b1d-4b69-9d3c-3d1f7c1a2b3c",
    "traits": {"email": "ana@shop.example", "plan": "pro"},
    "timestamp": "2026-06-01T08:29:58.000Z",
    "sentAt": "2026-06-01T08:29:59.000Z",
    "messageId": "ajs-next-1780302598000-5a4f8b1e-0d1c-4d0c-8f3a-1b2c3d4e5f60",
    "writeKey": "wk_1",
    "integrations": {"Segment.io": True},
    "context": {
        "page": {"path": "/", "referrer": "", "search": "", "title": "Shop", "url": "https://shop.example/"},
        "userAgent": "Mozilla/5.0",
        "library": {"name": "analytics.js", "version": "npm:next-1.84.3"},
    },
    "_metadata": {"bundled": ["Segment.io"], "unbundled": [], "bundledIds": []},
}
RUDDER_PAGE = {
    "channel": "web",
    "type": "page",
    "name": "Landing",
    "category": "Shop",
    "properties": {"name": "Landing", "category": "Shop", "path": "/landing", "url": "https://shop.example/landing"},
    "anonymousId": "a-1",
    "userId": "",
    "originalTimestamp": "2026-06-01T08:20:00.000Z",
    "sentAt": "2026-06-01T08:20:01.000Z",
    "messageId": "8a2f6f3c-9f5e-4f0b-9a37-7d1d3a1f2b4c",
    "context": {"traits": {"email": "ana@shop.example"}, "library": {"name": "RudderLabs JavaScript SDK"}},
    "integrations": {"All": True},
    "event": None,
}


def read(*messages: object, **told: Any) -> list[Event]:
    items = [message if isinstance(message, bytes) else json.dumps(message).encode() for message in messages]
    told.setdefault("is_plain", is_plain(b",".join(items)))
    return read_messages(items, msgspec.structs.replace(ARRIVAL, **told))


def behaviour(message: object, **told: Any) -> Behaviour:
    (event,) = read(message, **told)
    assert isinstance(event, Behaviour)
    return event


def track(**members: Any) -> Behaviour:
    return behaviour({"type": "track", "event": "Clicked", "anonymousId": "a-1", **members})


def outcome(events: list[Event], held: Held | None = None) -> Any:
    return decide(events, held or Held(), lambda bucket, at: make_id(at, bucket, 1))


# One message of each SDK.


def test_a_track_of_the_node_sdk_is_a_behaviour_of_the_customer_it_names():
    (event,) = read(NODE_TRACK)

    assert event == Behaviour(
        sender=SENDER,
        name="track",
        visitor_id=None,
        customer="u-1",
        occurred_at=RECEIVED - 59_877,
        received_at=RECEIVED,
        event_id="node-next-1780302600123-5a4f8b1e-0d1c-4d0c-8f3a-1b2c3d4e5f60",
        label="Order Completed",
        props={
            "order_id": "o-1",
            "revenue": 25,
            "currency": "EUR",
            "products": [{"product_id": "p", "price": 5}],
            "context": {"library": "@segment/analytics-node"},
        },
        order=Order("o-1", 25.0, "EUR"),
    )


def test_an_identify_of_the_browser_sdk_links_and_carries_its_traits():
    (event,) = read(BROWSER_IDENTIFY)

    assert isinstance(event, Identify)
    assert (event.name, event.visitor_id, event.customer) == (
        "identify",
        "0b5d6e0e-6b1d-4b69-9d3c-3d1f7c1a2b3c",
        "u-1",
    )
    assert (event.dialect, event.params) == (Dialect.TRAITS, {"email": "ana@shop.example", "plan": "pro"})
    assert event.occurred_at == RECEIVED - 2_000
    assert (event.fields, event.sent_customer, event.notes) == (("email", "plan"), "u-1", ())
    assert read_fields(event) == (
        Reading("display_email", Kind.VALUE, "ana@shop.example"),
        Reading("custom.plan", Kind.VALUE, "pro"),
    )


def test_a_page_of_rudderstack_is_labelled_by_its_name_and_its_empty_user_id_is_nobody():
    page = behaviour(RUDDER_PAGE)

    assert (page.name, page.label, page.visitor_id, page.customer) == ("page", "Landing", "a-1", None)
    assert page.occurred_at == RECEIVED
    assert page.props == {
        "name": "Landing",
        "category": "Shop",
        "path": "/landing",
        "url": "https://shop.example/landing",
        "context": {"library": "RudderLabs JavaScript SDK"},
    }
    assert (page.faults, page.remarks) == ((), ())


def test_the_traits_of_rudderstack_are_read_out_of_the_context_and_those_of_the_message_win():
    (event,) = read(
        {
            "type": "identify",
            "userId": "u-1",
            "traits": {"name": "Ana"},
            "context": {"traits": {"name": "Old", "email": "ana@shop.example"}},
        }
    )

    assert isinstance(event, Identify)
    assert event.params == {"name": "Ana", "email": "ana@shop.example"}


@pytest.mark.parametrize(("kind", "label", "props"), [("screen", "name", "properties"), ("group", "groupId", "traits")])
def test_a_screen_and_a_group_have_label_and_properties(kind: str, label: str, props: str):
    event = behaviour({"type": kind, "anonymousId": "a-1", label: "Tea", props: {"size": 3}})

    assert (event.name, event.label, event.props) == (kind, "Tea", {"size": 3})


def test_an_alias_says_that_who_was_known_by_the_previous_id_is_the_user():
    with_previous, without = read(
        {"type": "alias", "previousId": "a-1", "userId": "u-1", "anonymousId": "a-2"},
        {"type": "alias", "previousId": "", "userId": 7, "anonymousId": "a-2"},
    )

    assert isinstance(with_previous, Alias)
    assert isinstance(without, Alias)
    assert (with_previous.visitor_id, with_previous.customer) == ("a-1", "u-1")
    assert (without.visitor_id, without.customer) == ("a-2", "7")


def test_the_endpoint_names_the_type_of_a_message_that_does_not():
    event = behaviour({"event": "Clicked", "anonymousId": "a-1"}, kind="track")

    assert (event.name, event.label) == ("track", "Clicked")


# Ids.


@pytest.mark.parametrize("absent", [{}, {"userId": None}, {"userId": ""}])
def test_an_absent_user_id_comes_in_three_ways(absent: dict[str, object]):
    (identify,) = read({"type": "identify", "anonymousId": "a-1", "traits": {"name": "Ana"}, **absent})
    clicked = track(**absent)

    assert isinstance(identify, TraitsChange)
    assert (identify.visitor_id, identify.customer, identify.traits) == ("a-1", None, {"name": "Ana"})
    assert clicked.customer is None


def test_numbers_as_ids_are_their_digits():
    (event,) = read({"type": "identify", "userId": 42, "anonymousId": 7})

    assert (event.customer, event.visitor_id) == ("42", "7")


def test_a_message_without_any_id_is_refused():
    events = read(
        {"type": "track", "event": "Clicked", "anonymousId": "", "userId": None},
        {"type": "identify", "traits": {"name": "Ana"}},
        {"type": "alias", "userId": "u-1"},
        {"type": "alias", "previousId": "a-1"},
    )

    assert [find_refusal(event) for event in events] == [
        Refusal.MISSING_VISITOR_ID,
        Refusal.MISSING_CUSTOMER_ID,
        Refusal.MISSING_VISITOR_ID,
        Refusal.MISSING_CUSTOMER_ID,
    ]


def test_a_placeholder_as_user_id_refuses_what_identifies_and_leaves_the_rest_to_its_visitor():
    identify, clicked, alone = read(
        {"type": "identify", "userId": "undefined", "anonymousId": "a-1"},
        {"type": "track", "event": "Clicked", "userId": "undefined", "anonymousId": "a-1"},
        {"type": "track", "event": "Clicked", "userId": "undefined"},
    )

    assert [find_refusal(event) for event in (identify, clicked, alone)] == [
        Refusal.BLOCKED_CUSTOMER_ID,
        None,
        Refusal.BLOCKED_CUSTOMER_ID,
    ]
    assert alone.sent_customer == "undefined"


def test_an_unusable_visitor_id_and_time_of_an_identify_are_remarked_on():
    (event,) = read({"type": "identify", "userId": "u-1", "anonymousId": {"a": 1}, "timestamp": "yesterday"})

    assert event.visitor_id is None
    assert event.notes == (
        Reading("visitor_id", Kind.FAULT, reason=Reason.MISSING_VISITOR_ID, raw='{"a":1}'),
        Reading("occurred_at", Kind.FAULT, reason=Reason.NOT_A_TIME, raw="yesterday"),
    )


def test_a_message_id_tells_retries():
    first, again = read(NODE_TRACK, {**NODE_TRACK, "event": "Other"})
    changes = outcome([first, again])

    assert seen_key(first) == seen_key(again) == (1, f"{SENDER.channel_id}:{NODE_TRACK['messageId']}")
    assert [o.unchanged for o in changes.outcomes] == [False, True]
    assert [record.event.label for record in changes.records] == ["Order Completed"]


# Times.


@pytest.mark.parametrize(
    ("told", "before"),
    [
        ({}, 0),
        ({"timestamp": "2026-06-01T08:29:00.000Z"}, 60_000),
        ({"timestamp": "2026-06-01T10:29:00.000+02:00"}, 60_000),
        ({"timestamp": "2026-06-01T08:29:00.000123+00:00"}, 60_000),
        ({"originalTimestamp": "2026-06-01T08:29:00Z", "timestamp": "2020-01-01T00:00:00Z"}, 60_000),
        ({"timestamp": "2026-06-01T06:59:55Z", "sentAt": "2026-06-01T07:00:02Z"}, 5_000),
        ({"timestamp": "2026-06-01T08:59:55Z", "sentAt": "2026-06-01T08:59:58Z"}, 5_000),
        ({"timestamp": "2026-06-01T08:29:55Z", "sentAt": "2026-06-01T08:29:56Z"}, 5_000),
        ({"timestamp": "2026-06-01T08:30:01Z", "sentAt": "2026-06-01T08:30:02Z"}, 0),
        ({"timestamp": "2026-06-01T09:00:00Z"}, 0),
        ({"timestamp": "never"}, 0),
        ({"timestamp": "2026-06-01T08:29:00Z", "sentAt": {}}, 60_000),
    ],
)
def test_when_it_happened_is_corrected_by_what_the_client_thinks_of_now(told: dict[str, object], before: int):
    assert track(**told).occurred_at == RECEIVED - before


def test_the_time_of_sending_is_the_messages_or_else_the_batchs():
    batch_sent = read_time("2026-06-01T07:00:10Z")
    message = {"type": "track", "event": "Clicked", "anonymousId": "a-1", "timestamp": "2026-06-01T06:59:50Z"}

    of_batch = behaviour(message, sent_at=batch_sent)
    own = behaviour({**message, "sentAt": "2026-06-01T07:10:00Z"}, sent_at=batch_sent)

    assert (of_batch.occurred_at, own.occurred_at) == (RECEIVED - 10_000, RECEIVED - 610_000)


def test_the_time_that_a_request_took_does_not_change_the_order_of_events():
    slow, quick = (
        track(timestamp=f"2026-06-01T08:29:50.{late}Z", sentAt=sent)
        for late, sent in (("000", "2026-06-01T08:29:51Z"), ("001", "2026-06-01T08:29:59.990Z"))
    )

    assert quick.occurred_at - slow.occurred_at == 1


# Properties.


def test_what_cannot_be_held_of_the_properties_is_left_out_with_a_remark_and_the_rest_is_kept():
    message = (
        b'{"type":"track","event":"Clicked","anonymousId":"a-1","properties":{"good":1,"nan":NaN,"huge":1e400,'
        b'"cut":"a\\ud83d","nul":"a\\u0000b","bad\\u0000name":1,"list":[1,Infinity,{"x":-Infinity,"y":null}]}}'
    )

    event = behaviour(message)

    assert event.props == {"good": 1, "cut": "a\ufffd", "nul": "a\ufffdb", "list": [1, {"y": None}]}
    assert event.remarks == (
        EventFault("/properties/nan", FaultCode.NOT_A_NUMBER),
        EventFault("/properties/huge", FaultCode.NOT_A_NUMBER),
        EventFault("/properties/bad\ufffdname", FaultCode.FORBIDDEN_CHARACTER),
        EventFault("/properties/list/1", FaultCode.NOT_A_NUMBER),
        EventFault("/properties/list/2/x", FaultCode.NOT_A_NUMBER),
    )
    assert event.faults == ()


def test_a_name_that_cannot_be_held_is_left_out():
    event = track(properties={"a\x00": 1, "x" * 301: 2, "b": 3})

    assert event.props == {"b": 3}
    assert [remark.code for remark in event.remarks] == [FaultCode.FORBIDDEN_CHARACTER, FaultCode.TOO_LONG]


def test_properties_are_kept_to_their_depth():
    deep: Any = "end"
    for _ in range(PROPERTY_LEVELS_MAX):
        deep = {"a": deep}

    kept, cut = track(properties=deep), track(properties={"a": deep, "b": 1})

    assert (kept.props, kept.remarks) == (deep, ())
    assert (cut.remarks[0].code, len(cut.remarks)) == (FaultCode.WRONG_TYPE, 1)
    assert cut.props["b"] == 1


@pytest.mark.parametrize("absent", [None, "", {}])
def test_absent_properties_are_none(absent: object):
    event = track(properties=absent)

    assert (event.props, event.faults, event.remarks) == ({}, (), ())


def test_properties_that_are_no_map_are_left_out_with_a_remark():
    event = track(properties=["a"])

    assert (event.props, event.remarks) == ({}, (EventFault("/properties", FaultCode.WRONG_TYPE),))


def test_an_unusable_time_of_a_behaviour_is_remarked_on():
    assert track(timestamp="soon").remarks == (EventFault("/timestamp", FaultCode.WRONG_TYPE),)


def test_of_the_context_only_page_and_library_are_kept_and_a_property_of_that_name_wins():
    context = {
        "page": {"url": "https://shop.example/", "title": "x" * (CONTEXT_CHARACTERS_MAX + 1), "referrer": 1},
        "library": {"name": "analytics.js"},
        "ip": "192.0.2.1",
        "userAgent": "Mozilla/5.0",
    }

    kept, own = track(context=context), track(context=context, properties={"context": "mine"})

    assert kept.props == {"context": {"url": "https://shop.example/", "library": "analytics.js"}}
    assert own.props == {"context": "mine"}


def test_the_category_of_a_page_is_a_property():
    told = behaviour({"type": "page", "anonymousId": "a-1", "category": "Shop"})
    own = behaviour({"type": "page", "anonymousId": "a-1", "category": "Shop", "properties": {"category": "Own"}})

    assert (told.label, told.props, own.props) == (None, {"category": "Shop"}, {"category": "Own"})


# Labels.


@pytest.mark.parametrize(
    ("members", "fault"),
    [
        ({"type": "track"}, EventFault("/event", FaultCode.MISSING)),
        ({"type": "track", "event": ""}, EventFault("/event", FaultCode.MISSING)),
        ({"type": "track", "event": "  "}, EventFault("/event", FaultCode.MISSING)),
        ({"type": "track", "event": ["x"]}, EventFault("/event", FaultCode.WRONG_TYPE)),
        ({"type": "track", "event": "x" * 201}, EventFault("/event", FaultCode.TOO_LONG)),
        ({"type": "group"}, EventFault("/groupId", FaultCode.MISSING)),
    ],
)
def test_a_track_without_a_name_and_a_group_without_an_id_are_refused(members: dict[str, Any], fault: EventFault):
    event = behaviour({"anonymousId": "a-1", "properties": {"a": 1}, **members})

    assert event.faults == (fault,)
    assert find_refusal(event) is Refusal.INVALID_EVENT


def test_a_page_needs_no_name_and_loses_a_wrong_one():
    unnamed = behaviour({"type": "page", "anonymousId": "a-1", "name": None})
    wrong = behaviour({"type": "page", "anonymousId": "a-1", "name": {}})

    assert (unnamed.label, unnamed.remarks) == (None, ())
    assert (wrong.label, wrong.faults, wrong.remarks) == (None, (), (EventFault("/name", FaultCode.WRONG_TYPE),))


def test_a_group_id_may_be_a_number():
    assert behaviour({"type": "group", "anonymousId": "a-1", "groupId": 12}).label == "12"


# Orders.


@pytest.mark.parametrize(
    ("event", "props", "order"),
    [
        ("Order Completed", {"order_id": 5, "total": 30.5, "currency": "usd"}, Order("5", 30.5, "USD")),
        ("order_completed", {"orderId": "o", "revenue": 1, "total": 2}, Order("o", 1.0)),
        ("Completed Order", {"order_id": "o", "value": 3}, Order("o", 3.0)),
        ("Order Refunded", {"order_id": "o", "total": 3}, None),
        ("Clicked", {"order_id": "o", "total": 3}, None),
    ],
)
def test_an_order_is_told_by_the_event_that_completes_it(event: str, props: dict[str, Any], order: Order | None):
    told = track(event=event, properties=props)

    assert (told.order, told.transaction_id, told.remarks) == (order, None, ())


def test_an_order_without_id_or_with_amounts_as_texts_is_kept_with_remarks():
    without = track(event="Order Completed", properties={"revenue": 3})
    texts = track(
        event="Order Completed",
        properties={"order_id": "o", "revenue": "25.00", "currency": "x" * (CURRENCY_CHARACTERS_MAX + 1)},
    )

    assert (without.order, without.remarks) == (None, (EventFault("/properties/order_id", FaultCode.MISSING),))
    assert texts.order == Order("o")
    assert texts.props["revenue"] == "25.00"
    assert texts.remarks == (
        EventFault("/properties/revenue", FaultCode.NUMBER_AS_TEXT),
        EventFault("/properties/currency", FaultCode.TOO_LONG),
    )


# What is no message.


@pytest.mark.parametrize(
    "item", [b"1", b"null", b'"track"', b"[]", b'{"type":"purchase"}', b'{"type":["track"]}', b"{}"]
)
def test_what_is_no_message_of_the_specification_is_unusable(item: bytes):
    (event,) = read(item)

    assert isinstance(event, Unusable)
    assert find_refusal(event) is Refusal.UNKNOWN_EVENT


def test_a_message_that_is_too_large_is_refused_alone():
    large = {**NODE_TRACK, "properties": {"x": "y" * MESSAGE_BYTES_MAX}}

    first, second = read(large, NODE_TRACK)

    assert isinstance(first, Behaviour)
    assert (first.name, first.customer, first.event_id, first.props) == ("track", "u-1", NODE_TRACK["messageId"], {})
    assert first.faults == (EventFault("", FaultCode.TOO_LARGE),)
    assert [find_refusal(first), find_refusal(second)] == [Refusal.INVALID_EVENT, None]


def test_a_large_identify_is_refused_as_well():
    (event,) = read({"type": "identify", "userId": "u-1", "traits": {"x": "y" * MESSAGE_BYTES_MAX}})

    assert (event.name, find_refusal(event)) == ("identify", Refusal.INVALID_EVENT)


# Decisions.


def test_traits_in_another_order_have_the_same_digest_and_other_traits_another():
    one, same, other, damaged = (
        read({"type": "identify", "userId": "u-1", "traits": traits})[0]
        for traits in ({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 3, "c": 2}, "a": 1}, {"a": 2}, {"a": "\ud83d"})
    )

    assert isinstance(one, Identify)
    assert isinstance(same, Identify)
    assert isinstance(other, Identify)
    assert isinstance(damaged, Identify)
    assert one.digest == same.digest
    assert len({one.digest, other.digest, damaged.digest}) == 3


def test_an_identify_that_says_nothing_new_writes_nothing():
    (event,) = read({"type": "identify", "userId": "u-1", "anonymousId": "a-1", "traits": {"name": "Ana"}})
    first = outcome([event])

    again = outcome([event], Held(customers=first.customers, visitors=first.visitors))

    assert not first.writes_nothing
    assert again.writes_nothing


def test_traits_given_before_the_sign_in_are_held_and_adopted():
    events = read(
        {"type": "identify", "anonymousId": "a-1", "traits": {"name": "Ana", "email": "ana@shop.example"}},
        {"type": "identify", "userId": "u-1", "anonymousId": "a-1", "traits": {"name": "Ana Lin"}},
    )

    before = outcome(events[:1])
    after = outcome(events)

    assert before.customers == {}
    assert before.visitors[1, "a-1"].anonymous == {
        "display_name": HeldField("Ana", RECEIVED, 1),
        "display_email": HeldField("ana@shop.example", RECEIVED, 1),
    }
    held = after.customers[1, "u-1"].fields
    assert {name: field.value for name, field in held.items()} == {
        "display_name": "Ana Lin",
        "display_email": "ana@shop.example",
    }


def test_traits_without_a_user_go_to_the_visitors_present_customer():
    events = read(
        {"type": "identify", "userId": "u-1", "anonymousId": "a-1"},
        {"type": "identify", "userId": None, "anonymousId": "a-1", "traits": {"name": "Ana"}},
    )

    changes = outcome(events)

    assert changes.customers[1, "u-1"].fields["display_name"].value == "Ana"
    assert changes.visitors[1, "a-1"].anonymous == {}


def test_an_alias_links_and_never_joins_two_customers():
    held = Held(customers={(1, "u-2"): Profile("u-2", 1, RECEIVED, RECEIVED, {})})
    linked, of_customer, of_self = (
        outcome(read({"type": "alias", "previousId": previous, "userId": "u-1"}), held)
        for previous in ("a-1", "u-2", "u-1")
    )

    assert linked.visitors[1, "a-1"].customer_id == "u-1"
    assert [refused.reason for refused in of_customer.refused] == [Refusal.ALIAS_OF_CUSTOMER]
    assert of_customer.customers == {}
    assert of_self.writes_nothing


def test_a_bad_trait_is_skipped_and_the_rest_is_merged():
    changes = outcome(
        read({"type": "identify", "userId": "u-1", "traits": {"phone": "0912345678", "name": "Ana", "gender": ""}})
    )

    (merge,) = (merge for _, merge in changes.merges)
    assert {d.field: d.reason for d in merge.decisions if d.verdict not in NO_TRACE} == {
        "display_name": None,
        "display_mobile": Reason.NO_COUNTRY_CODE,
    }


# Laws.

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
MEMBERS = st.sampled_from(
    ["type", "event", "name", "groupId", "userId", "anonymousId", "previousId", "messageId", "timestamp", "sentAt",
     "originalTimestamp", "traits", "properties", "context", "category"]
)  # fmt: skip
MESSAGES = st.tuples(st.sampled_from(MESSAGE_TYPES), st.dictionaries(MEMBERS, JSON, max_size=10)).map(
    lambda pair: {"type": pair[0], **pair[1]}
)


@settings(deadline=None, max_examples=300)
@given(MESSAGES)
def test_any_message_becomes_one_event_that_can_be_decided_and_stored(message: dict[str, Any]):
    (event,) = read(message)

    changes = outcome([event])

    assert len(changes.outcomes) == 1
    if isinstance(event, Behaviour):
        msgspec.json.encode(event.props)  # no NaN is in it, and no half of a surrogate pair
        assert "\\u0000" not in json.dumps(event.props)
        assert "NaN" not in json.dumps(event.props)


@settings(deadline=None, max_examples=300)
@given(MESSAGES)
def test_a_plain_message_is_read_as_any_other(message: dict[str, Any]):
    item = json.dumps(message, ensure_ascii=False).encode("utf-8", "replace")

    assert read(item) == read(item, is_plain=False)


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=60))
def test_any_bytes_are_an_event(item: bytes):
    assert len(read(item)) == 1
