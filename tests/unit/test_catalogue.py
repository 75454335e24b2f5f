"""The catalogues of behaviour events: what is taken, what is left out, what refuses an event."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from identity.events.behaviour import FAULT_HINTS, EventFault, FaultCode, Order
from identity.events.catalogue import (
    CATALOGUE,
    ENVELOPE_NAMES,
    LABEL_CHARACTERS_MAX,
    PROPS_BYTES_MAX,
    BehaviourReading,
    read_behaviour,
)
from identity.events.shapes import (
    FINDINGS_MAX,
    ITEMS_MAX,
    PATH_CHARACTERS_MAX,
    Choice,
    Family,
    Identifier,
    Json,
    ListOf,
    MapOf,
    Number,
    Object,
    OneOf,
    Shape,
    Text,
    Url,
    is_over,
)

Props = dict[str, Any]

# One pair of examples for each event: the least that is taken, and everything that can be told.

TEE: Props = {"item_id": "T-1", "item_name": "Linen tee", "price": 490, "quantity": 2}
FULL_TEE: Props = {
    **TEE,
    "description": "Cool\nin summer",
    "affiliation": "Main street",
    "coupon": "TEE10",
    "discount": 10.5,
    "index": 1,
    "item_brand": "Loom",
    "item_category": "Clothes",
    "item_category2": "Tops",
    "item_category3": "Tees",
    "item_category4": "Linen",
    "item_category5": "White",
    "item_list_id": "related",
    "item_list_name": "Related products",
    "item_variant": "White / M",
    "link": "https://shop.example/p/t-1",
    "image_link": "/images/t-1.jpg",
    "location_id": "ChIJexample",
}
CHAIR: Props = {"productId": "C-9", "name": "Oak chair", "displayPrice": 120}
FULL_CHAIR: Props = {
    **CHAIR,
    "sku": "C-9-DARK",
    "category": "Chairs",
    "brand": "Alder",
    "variant": "Dark",
    "originalPrice": 150.5,
    "currency": "EUR",
    "url": "https://shop.example/p/c-9",
    "imageUrl": "https://shop.example/i/c-9.png",
}
LINE: Props = {"index": 0, "quantity": 1, "total": 120, "product": CHAIR}
FULL_LINE: Props = {**LINE, "product": FULL_CHAIR, "discount": 5, "coupon": "OAK"}
SUMS: Props = {
    "subtotal": 240,
    "shippingPrice": 9.9,
    "taxes": {"state": 12.5, "local": -1, "": 3},
    "costs": {"wood": 80},
    "discount": 5,
    "coupon": "SPRING",
}
CART: Props = {"currency": "EUR", "items": [LINE], "total": 120}
FULL_CART: Props = {**CART, "items": [FULL_LINE, LINE], **SUMS, "lastUpdateTime": 1_780_000_000_000}
ORDER: Props = {**CART, "orderId": "O-7"}
FULL_ORDER: Props = {
    **ORDER,
    "items": [FULL_LINE, LINE],
    **SUMS,
    "paymentMethod": "credit-card",
    "installments": 3,
    "status": "paid",
}
POST: Props = {"postId": "wood", "title": "On wood", "publishTime": 1_780_000_000_000}
LEAD: Props = {
    "firstName": "Ana",
    "lastName": "Lin",
    "birthDate": "1995-01-31",
    "gender": "neutral",
    "email": "ana@shop.example",
    "alternateEmail": "x",
    "phone": "0912345678",
    "alternatePhone": "+886912345678",
    "address": {
        "street": "1 Main Street",
        "district": "Daan",
        "city": "Taipei",
        "region": "North",
        "country": "TW",
        "postalCode": "106",
    },
    "avatar": "https://shop.example/a.png",
    "company": "Alder",
    "companyUrl": "https://alder.example",
    "jobTitle": "Joiner",
    "interests": ["oak"],
    "activities": ["rowing"],
    "custom": {"points": 1, "tags": ["a", None], "plan": {"name": "gold", "levels": [1, 2]}},
}
PATCH: Props = {
    "operations": [
        {"type": "set", "path": "plan", "value": "gold"},
        {"type": "add", "path": "tags", "value": "new"},
        {"type": "combine", "path": "tags", "value": None},
        {"type": "merge", "path": ".", "value": {"a": {"b": [1]}}},
        {"type": "increment", "path": "visits", "value": 1},
        {"type": "decrement", "path": "left", "value": 2.5},
        {"type": "remove", "path": "tags[0].name", "value": True},
        {"type": "clear", "path": "cart_1"},
        {"type": "unset", "path": "[3].x"},
    ]
}
SHOP = "https://shop.example/p"
POINT: Props = {"x": 10, "y": 0}
SIZE: Props = {"width": 1280, "height": 4000}

EXAMPLES: dict[str, tuple[Props, Props]] = {
    "page_view": ({"page_path": "/p", "page_title": "Tees"}, {"page_path": "/p?q=1", "page_title": "Tees | Shop"}),
    "add_to_cart": ({"items": [TEE]}, {"items": [FULL_TEE, TEE], "currency": "TWD"}),
    "remove_from_cart": ({"items": [TEE]}, {"items": [FULL_TEE], "currency": "TWD"}),
    "purchase": (
        {"transaction_id": "O-1", "revenue": 980, "items": [TEE]},
        {
            "transaction_id": "O-1",
            "revenue": 980.5,
            "items": [FULL_TEE],
            "currency": "TWD",
            "tax": 0,
            "shipping": 60,
            "coupon": "SUMMER",
        },
    ),
    "tabOpened": ({"tabId": "t"}, {"tabId": "01a1fefd-85e7-44f3-9014-6f98ad16a787"}),
    "tabUrlChanged": ({"tabId": "t", "url": SHOP}, {"tabId": "t", "url": "about:blank"}),
    "tabVisibilityChanged": ({"tabId": "t", "visibility": "hidden"}, {"tabId": "t", "visibility": "visible"}),
    "pageOpened": ({"url": SHOP}, {"url": SHOP, "referrer": "https://r.example/"}),
    "pageLoaded": ({"url": SHOP, "title": ""}, {"url": SHOP, "title": "Chairs", "lastModifiedTime": 1_780_000_000_000}),
    "userClicked": ({"point": POINT}, {"point": POINT, "surfaceSize": SIZE}),
    "userScrolled": ({"end": POINT}, {"start": POINT, "end": POINT, "surfaceSize": SIZE, "viewportSize": SIZE}),
    "productViewed": ({"product": CHAIR}, {"product": FULL_CHAIR}),
    "cartViewed": ({"cart": CART}, {"cart": FULL_CART}),
    "cartModified": ({"cart": {**CART, "items": []}}, {"cart": FULL_CART}),
    "checkoutStarted": ({"cart": CART}, {"cart": FULL_CART, "orderId": "O-7"}),
    "orderPlaced": ({"order": ORDER}, {"order": FULL_ORDER}),
    "goalCompleted": ({"goalId": "sign-up"}, {"goalId": "sign-up", "value": 9.99, "currency": "USD"}),
    "interestShown": ({"interests": ["oak"]}, {"interests": ["oak", "ash", "oak"]}),
    "postViewed": (
        {"post": POST},
        {"post": {**POST, "url": SHOP, "tags": ["a"], "categories": ["b"], "authors": ["Ana"], "updateTime": -1}},
    ),
    "linkOpened": ({"link": ""}, {"link": "https://other.example/"}),
    "sessionAttributesChanged": ({"patch": {"operations": [{"type": "clear", "path": "."}]}}, {"patch": PATCH}),
    "nothingChanged": ({"sinceTime": 1_780_000_000_000}, {"sinceTime": 1_780_000_000_000.5}),
    "eventOccurred": (
        {"name": "liked"},
        {
            "name": "liked",
            "personalizationId": "home",
            "audience": "loyal",
            "testId": "t-1",
            "groupId": "A",
            "details": {"a": None, "b": True, "c": 1.5, "_d1": "", "e": "text"},
        },
    ),
    "leadGenerated": (
        {},
        {
            "leadId": "L-1",
            "currency": "EUR",
            "value": 10,
            "lead": LEAD,
            "patch": {"operations": [{"type": "merge", "path": ".", "value": LEAD}]},
        },
    ),
}


def reading(name: str, members: Props) -> BehaviourReading:
    read = read_behaviour(name, members)
    assert read is not None
    return read


def faults_of(name: str, members: Props) -> tuple[tuple[str, str], ...]:
    read = reading(name, members)
    assert not read.remarks
    assert bool(read.props) is not bool(read.faults)
    return tuple((fault.path, fault.code.value) for fault in read.faults)


def remarks_of(name: str, members: Props) -> tuple[tuple[str, str], ...]:
    read = reading(name, members)
    assert not read.faults
    return tuple((remark.path, remark.code.value) for remark in read.remarks)


def without(members: Props, name: str) -> Props:
    return {key: value for key, value in members.items() if key != name}


def in_envelope(name: str, props: Props) -> Props:
    return {"props": props} if CATALOGUE[name].family is Family.CRESCENDO else props


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_least_and_the_fullest_example_of_an_event_are_kept_as_they_were_sent(name: str):
    least, fullest = EXAMPLES[name]

    for props in (least, fullest):
        read = reading(name, in_envelope(name, props))
        assert (read.props, read.faults, read.remarks) == (props, (), ())


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_fullest_example_names_every_property_that_is_declared(name: str):
    def paths(value: object, path: str = "") -> Iterator[str]:
        if isinstance(value, dict):
            for key, item in value.items():
                yield f"{path}.{key}".lstrip(".")
                yield from paths(item, f"{path}.{key}".lstrip("."))
        elif isinstance(value, list):
            for item in value:
                yield from paths(item, path + "[*]")

    assert {line.path for line in CATALOGUE[name].lines} <= set(paths(EXAMPLES[name][1]))


def test_an_event_that_no_catalogue_knows_is_no_behaviour():
    assert read_behaviour("clIdentity", {}) is None
    assert read_behaviour("", {}) is None


def test_every_fault_has_a_hint():
    assert set(FAULT_HINTS) == set(FaultCode)
    assert "64 KiB" in FAULT_HINTS[FaultCode.TOO_LARGE]
    assert PROPS_BYTES_MAX == 64 * 1024


# The table of common errors of the Crescendo specification.


@pytest.mark.parametrize("name", ["add_to_cart", "remove_from_cart", "purchase"])
def test_items_without_an_item_are_a_fault(name: str):
    least = EXAMPLES[name][0]

    assert faults_of(name, {"props": {**least, "items": []}}) == (("/props/items", "empty"),)
    assert faults_of(name, {"props": {**least, "items": None}}) == (("/props/items", "missing"),)
    assert faults_of(name, {"props": {**least, "items": TEE}}) == (("/props/items", "wrong_type"),)


@pytest.mark.parametrize("field", ["item_id", "item_name", "price", "quantity"])
def test_each_of_the_four_fields_is_required_of_every_item(field: str):
    lacking, null, empty = without(TEE, field), {**TEE, field: None}, {**TEE, field: ""}

    assert faults_of("add_to_cart", {"props": {"items": [TEE, lacking, null, empty]}}) == (
        (f"/props/items/1/{field}", "missing"),
        (f"/props/items/2/{field}", "missing"),
        (f"/props/items/3/{field}", "empty"),
    )


@pytest.mark.parametrize("field", ["transaction_id", "revenue"])
def test_a_purchase_needs_its_transaction_and_its_revenue(field: str):
    assert faults_of("purchase", {"props": without(EXAMPLES["purchase"][0], field)}) == (
        (f"/props/{field}", "missing"),
    )


def test_a_number_sent_as_a_text_is_a_fault_that_says_so():
    props = {"transaction_id": "O-1", "revenue": "980", "items": [{**TEE, "price": "490", "quantity": "1"}]}

    assert faults_of("purchase", {"props": props}) == (
        ("/props/revenue", "number_as_text"),
        ("/props/items/0/price", "number_as_text"),
        ("/props/items/0/quantity", "number_as_text"),
    )


@pytest.mark.parametrize("field", ["page_path", "page_title"])
def test_a_page_view_needs_both_its_fields(field: str):
    least = EXAMPLES["page_view"][0]

    assert faults_of("page_view", {"props": without(least, field)}) == ((f"/props/{field}", "missing"),)
    assert faults_of("page_view", {"props": {**least, field: " "}}) == ((f"/props/{field}", "empty"),)
    assert faults_of("page_view", {"props": {**least, field: 7}}) == ((f"/props/{field}", "wrong_type"),)


@pytest.mark.parametrize(
    ("price", "code"),
    [
        (True, "wrong_type"),
        ([490], "wrong_type"),
        (float("nan"), "not_a_number"),
        (float("inf"), "not_a_number"),
        (10**15 + 1, "not_a_number"),
        (-(10**400), "not_a_number"),
    ],
)
def test_a_price_that_is_no_finite_number_is_a_fault(price: object, code: str):
    assert faults_of("add_to_cart", {"props": {"items": [{**TEE, "price": price}]}}) == (
        ("/props/items/0/price", code),
    )


def test_amounts_below_zero_and_up_to_the_limit_are_numbers():
    items = [{**TEE, "price": -490}, {**TEE, "price": 10**15}, {**TEE, "price": -0.5}]

    assert reading("add_to_cart", {"props": {"items": items}}).props == {"items": items}


# What is left out.


def test_wrong_optional_values_are_left_out_one_by_one():
    tee = {**TEE, "index": "1", "item_brand": 7, "discount": True, "item_variant": " ", "link": "/p/1"}

    read = reading("add_to_cart", {"props": {"items": [tee], "currency": "New Taiwan dollars"}})

    assert read == BehaviourReading(
        {"items": [{**TEE, "link": "/p/1"}]},
        remarks=(
            EventFault("/props/items/0/index", FaultCode.NUMBER_AS_TEXT),
            EventFault("/props/items/0/item_brand", FaultCode.WRONG_TYPE),
            EventFault("/props/items/0/discount", FaultCode.WRONG_TYPE),
            EventFault("/props/items/0/item_variant", FaultCode.EMPTY),
            EventFault("/props/currency", FaultCode.TOO_LONG),
        ),
    )


def test_null_and_the_empty_text_are_absent_and_need_no_remark():
    read = reading("add_to_cart", {"props": {"items": [{**TEE, "coupon": "", "index": None}], "currency": None}})

    assert read == BehaviourReading({"items": [TEE]})


def test_unknown_properties_are_left_out_with_a_remark_each():
    cart = {"items": [{**TEE, "colour": "red"}], "total": 490}

    assert remarks_of("add_to_cart", {"props": cart, "page": "/"}) == (
        ("/props/items/0/colour", "unknown_property"),
        ("/props/total", "unknown_property"),
        ("/page", "unknown_property"),
    )
    assert reading("add_to_cart", {"props": cart}).props == {"items": [TEE]}


def test_the_envelope_needs_no_remark():
    envelope = dict.fromkeys(ENVELOPE_NAMES, "x")

    assert reading("add_to_cart", {**envelope, "props": {"items": [TEE]}}).remarks == ()
    assert reading("productViewed", {**envelope, "product": CHAIR}).remarks == ()


def test_without_props_the_names_may_stand_beside_the_type():
    assert reading("add_to_cart", {"items": [TEE]}).props == {"items": [TEE]}
    assert reading("add_to_cart", {"items": [TEE], "props": None}).props == {"items": [TEE]}
    assert faults_of("add_to_cart", {"items": []}) == (("/items", "empty"),)
    assert faults_of("add_to_cart", {}) == (("/items", "missing"),)


@pytest.mark.parametrize("props", [[], "x", 7, True])
def test_props_that_are_no_object_are_a_fault(props: object):
    assert faults_of("add_to_cart", {"props": props}) == (("/props", "wrong_type"),)


def test_a_wrong_part_of_an_optional_object_costs_that_object_alone():
    read = reading("userScrolled", {"end": POINT, "start": {"x": -1, "y": 0}, "surfaceSize": {"width": 1}})

    assert read == BehaviourReading(
        {"end": POINT},
        remarks=(
            EventFault("/start/x", FaultCode.TOO_SMALL),
            EventFault("/surfaceSize/height", FaultCode.MISSING),
        ),
    )


def test_an_optional_list_loses_its_wrong_items_and_a_required_one_is_wrong_with_them():
    read = reading("postViewed", {"post": {**POST, "tags": ["oak", 7, "x" * 51]}})

    assert (read.props, read.faults) == ({"post": {**POST, "tags": ["oak"]}}, ())
    assert read.remarks == (
        EventFault("/post/tags/1", FaultCode.WRONG_TYPE),
        EventFault("/post/tags/2", FaultCode.TOO_LONG),
    )
    assert faults_of("interestShown", {"interests": ["oak", 7]}) == (("/interests/1", "wrong_type"),)


def test_a_wrong_operation_costs_a_lead_its_patch_because_patches_are_atomic():
    patch = {"operations": [{"type": "set", "path": "a", "value": 1}, {"type": "collect", "path": "a"}]}

    assert reading("leadGenerated", {"leadId": "L", "patch": patch}) == BehaviourReading(
        {"leadId": "L"}, remarks=(EventFault("/patch/operations/1/type", FaultCode.NOT_IN_LIST),)
    )
    assert faults_of("sessionAttributesChanged", {"patch": patch}) == (("/patch/operations/1/type", "not_in_list"),)


# Limits.


def test_findings_are_bounded_and_the_rest_is_told_as_one():
    read = reading("add_to_cart", {"props": {"items": [{}] * ITEMS_MAX, **{f"x{n}": 1 for n in range(1_000)}}})

    more = EventFault("", FaultCode.MORE)
    assert (len(read.faults), read.faults[0], read.faults[-1]) == (
        FINDINGS_MAX + 1,
        EventFault("/props/items/0/item_id", FaultCode.MISSING),
        more,
    )
    assert read.remarks == (more,)


def test_remarks_never_hide_a_fault():
    read = reading("add_to_cart", {"props": {**{f"x{n}": 1 for n in range(1_000)}, "items": []}})

    assert read.faults == (EventFault("/props/items", FaultCode.EMPTY),)
    assert len(read.remarks) == FINDINGS_MAX


def test_the_path_of_a_finding_is_a_storable_json_pointer_of_bounded_length():
    read = reading("linkOpened", {"link": "x", "a/b~c": 1, "\x00\ud83d": 1, "k" * 10_000: 1})

    assert [remark.path for remark in read.remarks] == ["/a~1b~0c", "/\ufffd\ufffd", "/" + "k" * 64]


def test_lists_are_bounded():
    assert reading("add_to_cart", {"items": [TEE] * 400}).faults == ()
    assert faults_of("add_to_cart", {"items": [TEE] * (ITEMS_MAX + 1)}) == (("/items", "too_many"),)
    assert faults_of("interestShown", {"interests": ["oak"] * 11}) == (("/interests", "too_many"),)
    assert faults_of("interestShown", {"interests": []}) == (("/interests", "empty"),)


def test_properties_of_over_64_kib_of_json_are_too_large_as_a_whole():
    tee = {**TEE, "description": "é" * 4_000}

    assert reading("add_to_cart", {"items": [tee] * 8}).faults == ()
    assert reading("add_to_cart", {"items": [tee] * 9}) == BehaviourReading({}, (EventFault("", FaultCode.TOO_LARGE),))


def test_texts_are_counted_in_utf16_units():
    emoji = chr(0x1F40A)

    assert reading("eventOccurred", {"name": emoji * 25}).faults == ()
    assert faults_of("eventOccurred", {"name": emoji * 25 + "x"}) == (("/name", "too_long"),)
    assert not is_over("é" * 50, 50)
    assert is_over("é" * 49 + emoji, 50)


def test_a_text_that_cannot_be_stored_is_repaired_and_an_id_is_refused():
    read = reading("eventOccurred", {"name": "a\x00b \ud83d", "details": {"k": "\udc0a"}})

    assert read.props == {"name": "a\ufffdb \ufffd", "details": {"k": "\ufffd"}}
    assert read.label == "a\ufffdb \ufffd"
    assert read.remarks == ()
    cart: Props = {**CART, "taxes": {"state": 1, "\x00": 2, "\ud83d": 3}}
    assert remarks_of("cartViewed", {"cart": cart}) == (("/cart/taxes/\ufffd", "forbidden_character"),) * 2
    for damaged in ("O\x00", "O\ud83d", "O\ufffd", "O\n1"):
        assert faults_of("purchase", {**EXAMPLES["purchase"][0], "transaction_id": damaged}) == (
            ("/transaction_id", "forbidden_character"),
        )


# What else a reading tells.


def test_a_purchase_tells_its_order_and_the_transaction_that_is_stored_once():
    props: Props = {"transaction_id": " O-1 ", "revenue": 980, "items": [TEE], "currency": "twd"}

    assert reading("purchase", {"props": props}) == BehaviourReading(
        {**props, "transaction_id": "O-1"},
        order=Order("O-1", 980.0, "TWD"),
        transaction_id="O-1",
    )


def test_an_order_without_a_currency_has_none():
    assert reading("purchase", EXAMPLES["purchase"][0]).order == Order("O-1", 980.0)


@pytest.mark.parametrize(
    ("sent", "code"),
    [("", "empty"), (" \t", "empty"), (1, "wrong_type"), ("x" * 255, "too_long")],
)
def test_a_transaction_id_is_a_text_that_an_index_can_hold(sent: object, code: str):
    assert faults_of("purchase", {**EXAMPLES["purchase"][0], "transaction_id": sent}) == (("/transaction_id", code),)


def test_an_order_placed_tells_its_order_and_may_be_told_again():
    read = reading("orderPlaced", {"order": ORDER})

    assert (read.order, read.transaction_id) == (Order("O-7", 120.0, "EUR"), None)


@pytest.mark.parametrize("name", [name for name in CATALOGUE if name not in ("purchase", "orderPlaced")])
def test_other_events_tell_no_order(name: str):
    read = reading(name, in_envelope(name, EXAMPLES[name][1]))

    assert (read.order, read.transaction_id) == (None, None)


@pytest.mark.parametrize(
    ("name", "members", "label"),
    [
        ("page_view", {"page_path": "/", "page_title": "Home"}, "Home"),
        ("page_view", {"page_path": "/", "page_title": "x" * 500}, "x" * LABEL_CHARACTERS_MAX),
        ("pageLoaded", {"url": SHOP, "title": "Home"}, "Home"),
        ("pageLoaded", {"url": SHOP, "title": ""}, None),
        ("eventOccurred", {"name": "liked"}, "liked"),
        ("pageOpened", {"url": SHOP}, None),
        ("linkOpened", {"link": SHOP}, None),
    ],
)
def test_the_label_is_what_says_more_than_the_type(name: str, members: Props, label: str | None):
    assert reading(name, members).label == label


# The corrections of the Croct reference: names lost in it, and what it or the SDK alone takes.


def placed(path: str, value: object) -> Props:
    """Return the fullest example of an order with one value exchanged."""
    exchanged: Props = msgspec.json.decode(msgspec.json.encode(FULL_ORDER))
    *parents, name = path.split(".")
    place: Any = exchanged
    for parent in parents:
        place = place[int(parent)] if parent.isdigit() else place[parent]
    place[name] = value
    return {"order": exchanged}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("status", "placed"),
        ("status", "paid"),
        ("status", "complete"),
        ("status", "completed"),
        ("items", []),  # the reference asks for a list, the SDK for one item
        ("items.0.coupon", 10),  # a number in the reference, a text in the SDK
        ("items.0.coupon", "OAK"),
        ("items.0.index", 0.5),
        ("items.0.quantity", 1.5),
        ("items.0.quantity", 0.5),  # positive in the reference, 1 or more in the SDK
        ("installments", 0),
        ("installments", 1.5),
        ("orderId", "x" * 254),
        ("taxes", {"": -1}),
        ("taxes", {"state": "5%"}),
        ("costs", {}),
        ("items.0.product.currency", "EUR"),
        ("items.0.product.url", "javascript:void(0)"),
        ("items.0.product.name", "x" * 200),
        ("items.0.product.productId", "x" * 50),
    ],
)
def test_an_order_takes_what_either_the_reference_or_the_sdk_takes(path: str, value: object):
    assert reading("orderPlaced", placed(path, value)).props == placed(path, value)
    assert reading("orderPlaced", placed(path, value)).remarks == ()


@pytest.mark.parametrize(
    ("path", "value", "code"),
    [
        ("total", -1, "too_small"),
        ("total", None, "missing"),  # NaN and Infinity are null on the wire
        ("total", "120", "number_as_text"),
        ("currency", "x" * 11, "too_long"),
        ("orderId", "", "empty"),
        ("orderId", "x" * 255, "too_long"),
        ("items.0.quantity", 0, "too_small"),
        ("items.0.index", -1, "too_small"),
        ("items.1.product", "C-9", "wrong_type"),
        ("items.0.product.name", None, "missing"),
        ("items.0.product.name", "x" * 201, "too_long"),
        ("items.0.product.productId", "x" * 51, "too_long"),
        ("items.0.product.displayPrice", float("nan"), "not_a_number"),
    ],
)
def test_an_order_with_a_wrong_required_value_is_refused(path: str, value: object, code: str):
    order = placed(path, value)

    assert faults_of("orderPlaced", order) == ((f"/order/{path.replace('.', '/')}", code),)


@pytest.mark.parametrize(
    ("path", "value", "code"),
    [
        ("discount", -1, "too_small"),
        ("coupon", "x" * 51, "too_long"),
        ("status", "sent", "not_in_list"),
        ("status", 1, "wrong_type"),
        ("installments", -1, "too_small"),
        ("taxes", [1], "wrong_type"),
        ("lastUpdateTime", 1, "unknown_property"),  # a cart has it, an order has not
        ("items.0.coupon", "x" * 51, "too_long"),
        ("items.0.coupon", True, "wrong_type"),
        ("items.0.product.url", "/p/1", "not_a_url"),
        ("items.0.product.imageUrl", "shop.example/p", "not_a_url"),
        ("items.0.product.sku", "x" * 51, "too_long"),
    ],
)
def test_an_order_without_a_wrong_optional_value_is_kept(path: str, value: object, code: str):
    assert remarks_of("orderPlaced", placed(path, value)) == ((f"/order/{path.replace('.', '/')}", code),)


def test_a_wrong_entry_of_a_map_is_left_out_alone():
    read = reading("cartViewed", {"cart": {**CART, "taxes": {"state": 1, "local": None, "x" * 101: 2}}})

    assert read.props == {"cart": {**CART, "taxes": {"state": 1}}}
    assert [remark.code.value for remark in read.remarks] == ["wrong_type", "too_long"]


@pytest.mark.parametrize("name", ["cartViewed", "cartModified", "checkoutStarted"])
def test_a_cart_needs_a_currency_items_and_a_total(name: str):
    assert faults_of(name, {"cart": {"coupon": "SPRING"}}) == (
        ("/cart/currency", "missing"),
        ("/cart/items", "missing"),
        ("/cart/total", "missing"),
    )
    assert remarks_of(name, {"cart": {**CART, "lastUpdateTime": -1.5, "discount": -1}}) == (
        ("/cart/discount", "too_small"),
    )


@pytest.mark.parametrize(
    ("goal", "codes"),
    [
        ("abc", ()),
        ("A:b_c-9", ()),
        ("x" * 100, ()),
        ("ab", ("too_short",)),
        ("x" * 101, ("too_long",)),
        ("-abc", ("not_a_name",)),
        ("abc\n", ("not_a_name",)),
        ("äbc", ("not_a_name",)),
    ],
)
def test_goal_ids(goal: str, codes: tuple[str, ...]):
    assert tuple(code for _, code in faults_of("goalCompleted", {"goalId": goal})) == codes


@pytest.mark.parametrize(
    ("post", "codes"),
    [
        ({"postId": "x" * 200, "title": "x" * 200, "publishTime": -1}, ()),
        ({"postId": "x" * 201, "title": "t", "publishTime": 1}, ("too_long",)),
        ({"postId": "p", "title": "t", "publishTime": None}, ("missing",)),
        ({"postId": "p", "title": "", "publishTime": 1}, ("empty",)),
    ],
)
def test_posts(post: Props, codes: tuple[str, ...]):
    assert tuple(code for _, code in faults_of("postViewed", {"post": post})) == codes


def test_details_take_simple_values_under_ten_names():
    kept: Props = {"a" * 300: "x" * 300, "_1": None}
    left_out = {"1a": 1, "a b": 1, "": 1, "é": 1, "list": [1], "nan": float("nan"), "long": "x" * 301}

    read = reading("eventOccurred", {"name": "liked", "details": {**kept, **left_out}})

    assert read.props == {"name": "liked", "details": kept}
    assert [remark.code.value for remark in read.remarks] == [
        *("not_a_name", "not_a_name", "empty", "not_a_name"),
        *("wrong_type", "not_a_number", "too_long"),
    ]
    details = {f"k{index}": index for index in range(11)}
    assert remarks_of("eventOccurred", {"name": "liked", "details": details}) == (("/details", "too_many"),)


def test_a_lead_is_kept_as_sent_by_the_rules_of_the_sdk():
    lax: Props = {"email": "x", "phone": "call me", "birthDate": "2000-99-99"}
    wrong = {"birthDate": "2000-1-1", "gender": "other", "avatar": "a.png", "address": {"state": "CA", "city": "LA"}}

    assert reading("leadGenerated", {"lead": lax}) == BehaviourReading({"lead": lax})
    read = reading("leadGenerated", {"lead": wrong})
    assert read.props == {"lead": {"address": {"city": "LA"}}}
    assert [(remark.path, remark.code.value) for remark in read.remarks] == [
        ("/lead/birthDate", "not_a_date"),
        ("/lead/gender", "not_in_list"),
        ("/lead/avatar", "not_a_url"),
        ("/lead/address/state", "unknown_property"),
    ]


def test_custom_attributes_are_two_levels_deep():
    deep = {"deep": {"a": [[1]]}, "long": "x" * 101, "wide": list(range(31)), "key": {"\ud83d": 1}, "big": [10**16]}

    read = reading("leadGenerated", {"lead": {"custom": {"ok": [[1], {"a": None}], **deep}}})

    assert read.props == {"lead": {"custom": {"ok": [[1], {"a": None}]}}}
    assert [remark.code.value for remark in read.remarks] == [
        *("wrong_type", "too_long", "too_many", "forbidden_character", "not_a_number")
    ]


@pytest.mark.parametrize(
    ("operation", "fault"),
    [
        ({"type": "set", "path": "a..b", "value": 1}, ("/path", "not_a_name")),
        ({"type": "set", "path": "a.b\n", "value": 1}, ("/path", "not_a_name")),
        ({"type": "set", "value": 1}, ("/path", "missing")),
        ({"path": "a"}, ("/type", "missing")),
    ],
)
def test_operations_need_a_type_and_a_path(operation: Props, fault: tuple[str, str]):
    assert faults_of("sessionAttributesChanged", {"patch": {"operations": [operation]}}) == (
        ("/patch/operations/0" + fault[0], fault[1]),
    )


def test_points_are_whole_numbers_from_zero():
    assert faults_of("userClicked", {"point": {"x": 1.5, "y": -1}}) == (
        ("/point/x", "not_a_number"),
        ("/point/y", "too_small"),
    )
    assert faults_of("userClicked", {"point": {"x": 1.0, "y": 0}}) == ()


@pytest.mark.parametrize(
    "url",
    [
        "https://shop.example",
        "HTTP:shop.example/a b",
        "https:\\\\shop.example\\p",
        "https://ana:pw@shop.example:8443/?q#f",
        "http://[::1]:80/",
        "https://bücher.example/ü",
        "javascript:void(0)",
        "mailto:ana@shop.example",
        "data:,",
        "file:///c:/x",
        "a+b-1.c:",
        "about:blank",
        "ht\ntps://shop.example",
    ],
)
def test_what_a_browser_takes_as_a_url_is_one(url: str):
    assert reading("pageOpened", {"url": url}) == BehaviourReading({"url": url})


@pytest.mark.parametrize(
    "url", ["/p/1", "p", "//shop.example", "?q", "https://", "http:///?x", "https://a b/", "http://:80", "1a:b", ":"]
)
def test_what_a_browser_refuses_as_a_url_is_none(url: str):
    assert faults_of("pageOpened", {"url": url}) == (("/url", "not_a_url"),)


def test_the_space_around_a_url_is_not_part_of_it():
    assert reading("pageOpened", {"url": " \x00https://shop.example/\n"}).props == {"url": "https://shop.example/"}


# The documentation.


def test_the_table_of_events_can_be_made_from_the_catalogue():
    purchase = CATALOGUE["purchase"]

    assert (purchase.family.value, purchase.required) == (
        "crescendo",
        (
            "transaction_id",
            "revenue",
            "items",
            "items[*].item_id",
            "items[*].item_name",
            "items[*].price",
            "items[*].quantity",
        ),
    )
    assert purchase.optional[-4:] == ("currency", "tax", "shipping", "coupon")
    assert all(line.limit for event in CATALOGUE.values() for line in event.lines)
    assert [line.limit for line in CATALOGUE["goalCompleted"].lines] == [
        "letters, digits and - _ : between them, 3–100 characters",
        "a number ≥ 0",
        "a text, 1–10 characters",
    ]


# Laws.

TEXTS = (
    st.text(st.characters(codec=None), max_size=30)
    | st.text(st.sampled_from("a1:/?#@[]\\ .\n\x00\ud83d\udc0a"), max_size=20).map("http:".__add__)
    | st.sampled_from(["", " ", "EUR", "paid", "/p", "javascript:void(0)", "2000-99-99", "\x00", "\ufffd", "x" * 300])
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | TEXTS
    | st.sampled_from([10**15, -(10**15), 10**400, 1e15, -0.0])
)
NAMES = TEXTS | st.sampled_from(["props", "items", "type", "value", "custom", "details", "patch"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=12) | st.dictionaries(NAMES, inner, max_size=12),
    max_leaves=10,
)


def draw_near(draw: st.DrawFn, shape: Shape) -> Any:
    """Return a value that comes close to what the shape takes."""
    if not draw(st.integers(0, 11)):
        return draw(VALUES)
    match shape:
        case Text(pattern=str() as pattern):
            return draw(st.from_regex(pattern, fullmatch=True) | TEXTS)
        case Text() | Identifier() | Url():
            return draw(TEXTS | st.just("https://shop.example"))
        case Choice():
            return draw(st.sampled_from(shape.values))
        case Number():
            return draw(st.one_of(st.integers(0, 9), st.floats()))
        case Json():
            return draw(VALUES)
        case OneOf():
            return draw_near(draw, draw(st.sampled_from(shape.leaves)))
        case ListOf():
            return [draw_near(draw, shape.item) for _ in range(draw(st.integers(0, 3)))]
        case MapOf():
            entries = range(draw(st.integers(0, 3)))
            return {str(draw_near(draw, shape.name)): draw_near(draw, shape.value) for _ in entries}
        case Object():
            sent = [declared for declared in shape.properties if declared.is_required or draw(st.booleans())]
            return {declared.name: draw_near(draw, declared.shape) for declared in sent}


@st.composite
def almost_right(draw: st.DrawFn) -> tuple[str, Props]:
    name = draw(st.sampled_from(list(CATALOGUE)))
    members = draw_near(draw, CATALOGUE[name].shape)
    return name, members if isinstance(members, dict) else {"props": members}


law = settings(deadline=None, max_examples=60)


def texts_of(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from texts_of(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from texts_of(item)


def assert_sound(name: str, members: Props) -> None:
    """Nothing raises; what comes out can be stored, is bounded, and reads as the same again."""
    read = reading(name, members)
    encoded = msgspec.json.encode(read)
    assert msgspec.json.decode(encoded)["props"] == read.props
    assert len(msgspec.json.encode(read.props)) <= PROPS_BYTES_MAX
    assert not any(re.search("[\x00\ud800-\udfff]", text) for text in texts_of(read.props))
    assert len(read.faults) + len(read.remarks) <= FINDINGS_MAX + 2
    for finding in (*read.faults, *read.remarks):
        assert len(finding.path) <= PATH_CHARACTERS_MAX
        assert not re.search("[\x00\ud800-\udfff]", finding.path)
    if read.faults:
        assert read == BehaviourReading({}, read.faults, read.remarks)
    else:
        again = reading(name, in_envelope(name, read.props))
        assert again == msgspec.structs.replace(read, remarks=())


@law
@given(st.sampled_from(list(CATALOGUE)), st.dictionaries(NAMES, VALUES, max_size=8))
@example("add_to_cart", {"props": {"items": [{}]}})
def test_any_members_are_read_without_raising(name: str, members: Props) -> None:
    assert_sound(name, members)


@settings(deadline=None, max_examples=400)
@given(almost_right())
def test_members_that_are_almost_right_are_read_soundly(sent: tuple[str, Props]) -> None:
    name, members = sent

    assert_sound(name, in_envelope(name, members))
