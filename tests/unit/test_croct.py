"""The beacons of Croct's SDK, as they were captured, become events; whatever comes becomes one."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.events.behaviour import Behaviour
from identity.events.identity import Event, ProfileChange, Sender, SignedIdentity, SignIn, SignOut, SignUp, Unusable
from identity.protocols.croct import (
    EVENT_ID_PREFIX,
    Sending,
    is_client_id,
    read_beacon,
    read_client_id,
)
from identity.refusals import Refusal
from identity.resolve import find_refusal, is_unproven
from profiles.clock import CLOCK_STEP_MILLISECONDS
from profiles.patches import PatchOperation

ORIGINAL, DEPARTURE = 1_795_279_390_233, 1_795_279_390_451
NOW = DEPARTURE + 3_600_000  # the browser's clock is an hour behind
SENDER = Sender(workspace_id=1)
CLIENT = "1afefd85e744f39014f698ad16a787aa"
SENDING = Sending(CLIENT)


def beacon(payload: object, **changes: object) -> bytes:
    whole = {
        "context": {
            "tabId": "01a1fefd-85e7-44f3-9014-6f98ad16a787",
            "url": "https://shop.example/landing",
            "timeZone": "UTC",
            "metadata": {"sdkVersion": "0.22.1", "custom_appVersion": "1.2.3"},
        },
        "payload": payload,
        "originalTime": ORIGINAL,
        "departureTime": DEPARTURE,
        **changes,
    }
    return json.dumps({name: value for name, value in whole.items() if value is not ...}).encode()


def read(payload: object, sending: Sending = SENDING, sender: Sender = SENDER, **changes: object) -> Event:
    """Return the event of a beacon, without the sign-in that a token may be."""
    (event,) = said(read_beacon(beacon(payload, **changes), sending, sender, NOW))
    return event


def said(events: list[Event]) -> list[Event]:
    return [event for event in events if not (isinstance(event, SignIn) and event.only_first)]


def event_id(body: bytes, sending: Sending = SENDING) -> str | None:
    return read_beacon(body, sending, SENDER, NOW)[0].event_id


def test_a_sign_in_is_that_of_the_client_at_its_time_by_our_clock():
    event = read({"type": "userSignedIn", "externalUserId": "42"}, Sending(CLIENT, "42"))

    assert isinstance(event, SignIn)
    assert (event.visitor_id, event.customer, event.notes) == (CLIENT, "42", ())
    assert (event.occurred_at, event.received_at) == (NOW - (DEPARTURE - ORIGINAL), NOW)
    assert event.event_id is not None
    assert event.event_id.startswith(EVENT_ID_PREFIX)


def test_a_sign_out_names_whom_the_payload_names_and_not_the_token():
    event = read({"type": "userSignedOut", "externalUserId": "42"}, Sending(CLIENT, "43"))

    assert isinstance(event, SignOut)
    assert event.customer == "42"


@pytest.mark.parametrize(
    "told",
    [
        {"externalUserId": "42", "profile": {"firstName": "Ana"}},
        {"userId": "42", "profile": {"firstName": "Ana"}},
        {
            "externalUserId": "42",
            "patch": {"operations": [{"type": "merge", "path": ".", "value": {"firstName": "Ana"}}]},
        },
        {
            "externalUserId": "42",
            "patch": {
                "operations": [
                    {"type": "merge", "path": ".", "value": {"firstName": "Bo"}},
                    {"type": "set", "path": "lastName", "value": "Lin"},
                    {"type": "merge", "path": ".", "value": {"firstName": "Ana"}},
                ]
            },
        },
    ],
)
def test_a_sign_up_has_its_profile_in_the_form_of_the_reference_and_of_the_sdk(told: dict[str, object]):
    event = read({"type": "userSignedUp", **told})

    assert isinstance(event, SignUp)
    assert (event.customer, event.profile) == ("42", {"firstName": "Ana"})


@pytest.mark.parametrize(
    "told", [{}, {"patch": 1}, {"patch": {"operations": {}}}, {"patch": {"operations": [1, {}]}}, {"profile": []}]
)
def test_a_sign_up_without_a_profile_is_one_all_the_same(told: dict[str, object]):
    event = read({"type": "userSignedUp", "externalUserId": "42", **told})

    assert isinstance(event, SignUp)
    assert (event.customer, event.profile) == ("42", {})


@pytest.mark.parametrize(("subject", "customer"), [(None, None), ("42", "42"), ("undefined", None)])
def test_a_change_of_profile_is_of_whom_the_token_names(subject: str | None, customer: str | None):
    patch = {"operations": [{"type": "set", "path": "firstName", "value": "Ana"}]}

    event = read(
        {"type": "userProfileChanged", "patch": patch, "userId": "43", "customer_id": "44"}, Sending(CLIENT, subject)
    )

    assert isinstance(event, ProfileChange)
    assert (event.customer, event.patch) == (customer, (PatchOperation("set", "firstName", "Ana"),))


def test_a_lead_is_an_event_and_the_change_of_profile_that_it_carries():
    patch = {"operations": [{"type": "set", "path": "email", "value": "ana@shop.example"}]}
    body = beacon({"type": "leadGenerated", "leadId": "l-1", "patch": patch})

    lead, change = said(read_beacon(body, Sending(CLIENT, "42"), SENDER, NOW))

    assert lead.name == "leadGenerated"
    assert isinstance(change, ProfileChange)
    assert change.patch == (PatchOperation("set", "email", "ana@shop.example"),)
    assert (change.visitor_id, change.customer, change.occurred_at) == (CLIENT, "42", lead.occurred_at)
    assert change.event_id == f"{lead.event_id}:patch"


def test_a_lead_without_a_patch_changes_no_profile():
    assert len(read_beacon(beacon({"type": "leadGenerated"}), SENDING, SENDER, NOW)) == 1


def test_what_the_visitor_does_is_an_event_of_the_footprint_with_the_customer_of_the_token():
    event = read({"type": "pageOpened", "url": "https://shop.example/"}, Sending(CLIENT, "42"))

    assert isinstance(event, Behaviour)
    assert (event.visitor_id, event.customer, event.faults) == (CLIENT, "42", ())
    assert event.props == {"url": "https://shop.example/", "context": {"url": "https://shop.example/landing"}}
    assert find_refusal(event) is None


def test_an_event_that_breaks_its_rules_is_refused():
    event = read({"type": "goalCompleted", "goalId": ""})

    assert find_refusal(event) is Refusal.INVALID_EVENT


def test_what_a_customer_does_without_a_client_id_needs_proof_where_the_channel_wants_it():
    sender = Sender(workspace_id=1, signed_identity=SignedIdentity.REQUIRED)
    payload = {"type": "pageOpened", "url": "https://shop.example/"}
    sendings = (Sending(CLIENT, "42"), Sending(None, "42"), Sending(None, "42", "42"), Sending())

    refusals = [find_refusal(read(payload, sending, sender)) for sending in sendings]

    assert refusals == [None, Refusal.UNVERIFIED_IDENTITY, None, Refusal.MISSING_VISITOR_ID]


def test_a_payload_cannot_say_who_sends_and_when():
    event = read(
        {
            "type": "userSignedIn",
            "externalUserId": "42",
            "visitor_id": "stolen",
            "occurred_at": 1_600_000_000_000,
            "sent_at": 1_600_000_000_000,
            "event_id": "mine",
            "customer_id": "43",
        }
    )

    assert (event.visitor_id, event.customer, event.occurred_at) == (CLIENT, "42", NOW - (DEPARTURE - ORIGINAL))
    assert event.event_id != "mine"


@pytest.mark.parametrize(
    "sent",
    [
        CLIENT,
        CLIENT.upper(),
        "1afefd85-e744-f390-14f6-98ad16a787aa",
        "1AFEFD85-E744-F390-14F6-98AD16A787AA",
        f'"{CLIENT}"',
        f" {CLIENT} ",
    ],
)
def test_every_form_of_a_client_id_is_one_visitor(sent: str):
    assert read({"type": "userSignedIn", "externalUserId": "42"}, Sending(sent)).visitor_id == CLIENT


@pytest.mark.parametrize(
    "sent", ["", "x", CLIENT[1:], f"{CLIENT}0", f"{CLIENT[:8]}-{CLIENT[8:]}", f"{CLIENT}\n", "é" * 32]
)
def test_what_is_no_client_id_is_left_as_it_is(sent: str):
    assert not is_client_id(sent)
    assert read_client_id(sent) in (sent, CLIENT)


def test_without_a_client_id_there_is_no_visitor():
    event = read({"type": "userSignedOut", "externalUserId": "42"}, Sending())

    assert event.visitor_id is None
    assert find_refusal(event) is Refusal.MISSING_VISITOR_ID


def test_another_attempt_at_the_same_event_has_the_same_id_whatever_the_token_says_by_now():
    payload = {"type": "userSignedIn", "externalUserId": "42"}
    first = event_id(beacon(payload))

    assert event_id(beacon(payload, departureTime=DEPARTURE + 3_000)) == first
    assert event_id(beacon(payload), Sending(CLIENT.upper(), "42", "42")) == first
    assert event_id(beacon(payload, context={"tabId": "01a1fefd-85e7-44f3-9014-6f98ad16a787"})) == first


@pytest.mark.parametrize(
    "other",
    [
        beacon({"type": "userSignedIn", "externalUserId": "43"}),
        beacon({"type": "userSignedIn", "externalUserId": "42"}, originalTime=ORIGINAL + 1),
        beacon({"type": "userSignedIn", "externalUserId": "42"}, context={"tabId": "another"}),
        beacon({"type": "userSignedIn", "externalUserId": "42"}, context=None),
    ],
)
def test_another_event_has_another_id(other: bytes):
    assert event_id(other) != event_id(beacon({"type": "userSignedIn", "externalUserId": "42"}))


def test_the_same_event_of_another_client_has_another_id():
    body = beacon({"type": "userSignedIn", "externalUserId": "42"})

    assert event_id(body) != event_id(body, Sending("0" * 32))


@pytest.mark.parametrize("moment", [..., None, "soon", 0, -1, True, [], 10**30])
def test_an_event_without_a_time_has_no_id_for_its_next_would_be_taken_for_a_repetition(moment: object):
    event = read({"type": "userSignedIn", "externalUserId": "42"}, originalTime=moment)

    assert (event.event_id, event.occurred_at) == (None, NOW)


@pytest.mark.parametrize("error", [0, 3_600_000, -3_600_000, 20_000, 86_411_000])
def test_events_of_one_moment_stay_in_their_order_however_long_each_was_on_its_way(error: int):
    def received_after(milliseconds: int, departure: int) -> int:
        body = beacon({"type": "userSignedIn", "externalUserId": "42"}, departureTime=departure)
        return read_beacon(body, SENDING, SENDER, departure + error + milliseconds)[0].occurred_at

    slow, quick = received_after(900, ORIGINAL), received_after(5, ORIGINAL + 900)

    assert quick >= slow
    assert abs(slow - (ORIGINAL + error)) <= CLOCK_STEP_MILLISECONDS // 2


@pytest.mark.parametrize("departure", [..., None, "x", ORIGINAL - 86_400_000])
def test_a_departure_that_cannot_be_never_brings_an_event_into_the_future(departure: object):
    event = read({"type": "userSignedIn", "externalUserId": "42"}, departureTime=departure)

    assert event.occurred_at <= NOW


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"{",
        b"\xff",
        b"{}",
        b"[" * 10_000,
        beacon(None),
        beacon([]),
        beacon({}),
        beacon({"type": 1}),
        beacon({"type": ["userSignedIn"]}),
        beacon({"type": {"a": 1}}),
        beacon({"type": "teleported"}),
        beacon({"type": "clIdentity", "customerId": "42", "event": "clIdentity"}),
        beacon({"event": "userSignedIn", "userId": "42"}),
    ],
)
def test_what_is_no_event_is_refused_as_one_of_no_known_type(body: bytes):
    (event,) = read_beacon(body, SENDING, SENDER, NOW)

    assert isinstance(event, Unusable)
    assert (event.visitor_id, find_refusal(event)) == (CLIENT, Refusal.UNKNOWN_EVENT)


def test_half_an_emoji_and_a_number_that_is_none_leave_the_event_alone():
    body = (
        b'{"payload":{"type":"userSignedUp","externalUserId":"42","profile":{"firstName":"A\\ud83d","lastName":"Lin",'
        b'"custom":{"n":NaN}}},"originalTime":1795279390233,"departureTime":1795279390451}'
    )

    (event,) = read_beacon(body, SENDING, SENDER, NOW)

    assert isinstance(event, SignUp)
    assert (event.customer, event.profile["lastName"]) == ("42", "Lin")


@pytest.mark.parametrize(
    ("policy", "verified", "refusal"),
    [
        (SignedIdentity.OFF, None, None),
        (SignedIdentity.OBSERVE, None, None),
        (SignedIdentity.REQUIRED, None, Refusal.UNVERIFIED_IDENTITY),
        (SignedIdentity.REQUIRED, "42", None),
        (SignedIdentity.OBSERVE, "42", None),
        (SignedIdentity.REQUIRED, "43", Refusal.UNVERIFIED_IDENTITY),
        (SignedIdentity.OBSERVE, "43", Refusal.UNVERIFIED_IDENTITY),
    ],
)
@pytest.mark.parametrize("kind", ["userSignedIn", "userSignedUp"])
def test_who_says_who_someone_is_needs_a_token_that_says_the_same_where_the_channel_wants_one(
    kind: str, policy: SignedIdentity, verified: str | None, refusal: Refusal | None
):
    sender = Sender(workspace_id=1, signed_identity=policy)

    event = read({"type": kind, "externalUserId": "42"}, Sending(CLIENT, verified, verified), sender)

    assert find_refusal(event) == refusal
    assert is_unproven(event) == (verified != "42")


@pytest.mark.parametrize(
    "payload",
    [
        {"type": "userSignedOut", "externalUserId": "42"},
        {"type": "userProfileChanged", "patch": {"operations": [{"type": "unset", "path": "email"}]}},
    ],
)
def test_what_acts_on_whoever_the_visitor_is_needs_no_proof(payload: dict[str, Any]):
    sender = Sender(workspace_id=1, signed_identity=SignedIdentity.REQUIRED)

    assert find_refusal(read(payload, Sending(CLIENT, "42"), sender)) is None


def test_a_token_that_comes_with_anything_else_signs_in_who_is_not_known_yet():
    signed_in, page = read_beacon(
        beacon({"type": "pageOpened", "url": "https://shop.example/"}), Sending(CLIENT, "42"), SENDER, NOW
    )

    assert isinstance(signed_in, SignIn)
    assert (signed_in.customer, signed_in.visitor_id, signed_in.only_first) == ("42", read_client_id(CLIENT), True)
    assert (signed_in.occurred_at, signed_in.event_id) == (page.occurred_at, None)


@pytest.mark.parametrize("sending", [Sending(CLIENT, "undefined"), Sending(None, "42"), Sending(CLIENT, None)])
def test_a_token_of_nobody_or_of_no_browser_signs_nobody_in(sending: Sending):
    events = read_beacon(beacon({"type": "pageOpened", "url": "https://shop.example/"}), sending, SENDER, NOW)

    assert len(events) == 1


def test_the_address_of_the_page_stands_by_what_was_done_on_it():
    event = read({"type": "goalCompleted", "goalId": "newsletter"})

    assert isinstance(event, Behaviour)
    assert event.props == {"goalId": "newsletter", "context": {"url": "https://shop.example/landing"}}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["type", "patch", "profile", "operations", "externalUserId", "userId", "path", "value"])
KINDS = st.sampled_from(["userSignedUp", "userSignedIn", "userProfileChanged", "leadGenerated", "pageOpened", "x"])


@given(
    st.dictionaries(NAMES, JSON | KINDS, max_size=5),
    st.dictionaries(st.sampled_from(["context", "originalTime", "departureTime"]), JSON),
    st.builds(Sending, st.none() | st.text(), st.none() | st.text(), st.none()),
)
def test_whatever_a_beacon_says_it_is_one_event_or_a_lead_with_its_change(
    payload: dict[str, object], changes: dict[str, object], sending: Sending
):
    events = said(read_beacon(beacon(payload, **changes), sending, SENDER, NOW))

    assert len(events) == (2 if payload.get("type") == "leadGenerated" and "patch" in payload else 1)


@given(st.binary())
def test_whatever_bytes_come_they_are_an_event(body: bytes):
    assert len(read_beacon(body, SENDING, SENDER, NOW)) == 1
