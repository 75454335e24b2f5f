"""Pure: the catalogue of Crescendo's Web SDK, ``clWidget.clSdk.clRe.record(name, {props})``.

Source: Crescendo behaviour event specification (2026.06). It names no limits but "at least one item" and "a Number, not
a text"; those of lengths are ours.
"""

from identity.events.shapes import (
    ID_CHARACTERS_MAX,
    ITEMS_MAX,
    LONG_TEXT_CHARACTERS_MAX,
    TEXT_CHARACTERS_MAX,
    EventShape,
    Family,
    Identifier,
    ListOf,
    Number,
    OrderNames,
    Shape,
    Text,
    describe_object,
)

PROPS = "props"
_CATEGORY_LEVELS = 5

_ID = Text(1, ID_CHARACTERS_MAX, is_blank_allowed=False)
_TEXT = Text(1, TEXT_CHARACTERS_MAX, is_blank_allowed=False)
_LONG_TEXT = Text(1, LONG_TEXT_CHARACTERS_MAX, is_blank_allowed=False)
_CURRENCY = Text(1, 10, is_blank_allowed=False)
_NUMBER = Number()

_ITEM = describe_object(
    {"item_id": _ID, "item_name": _TEXT, "price": _NUMBER, "quantity": _NUMBER},
    {
        "description": _LONG_TEXT,
        "affiliation": _TEXT,
        "coupon": _TEXT,
        "discount": _NUMBER,
        "index": _NUMBER,
        "item_brand": _TEXT,
        "item_category": _TEXT,
        **{f"item_category{level}": _TEXT for level in range(2, _CATEGORY_LEVELS + 1)},
        "item_list_id": _ID,
        "item_list_name": _TEXT,
        "item_variant": _TEXT,
        # The specification says text: pages send paths without a host here.
        "link": _LONG_TEXT,
        "image_link": _LONG_TEXT,
        "location_id": _ID,
    },
)
_ITEMS: dict[str, Shape] = {"items": ListOf(_ITEM, 1, ITEMS_MAX)}
_CART = describe_object(_ITEMS, {"currency": _CURRENCY})

CRESCENDO_EVENTS: tuple[EventShape, ...] = (
    EventShape(
        "page_view",
        Family.CRESCENDO,
        describe_object({"page_path": _LONG_TEXT, "page_title": _LONG_TEXT}),
        PROPS,
        label="page_title",
    ),
    EventShape("add_to_cart", Family.CRESCENDO, _CART, PROPS),
    EventShape("remove_from_cart", Family.CRESCENDO, _CART, PROPS),
    EventShape(
        "purchase",
        Family.CRESCENDO,
        describe_object(
            {"transaction_id": Identifier(), "revenue": _NUMBER, **_ITEMS},
            {"currency": _CURRENCY, "tax": _NUMBER, "shipping": _NUMBER, "coupon": _TEXT},
        ),
        PROPS,
        order=OrderNames("transaction_id", "revenue", "currency"),
        transaction_id="transaction_id",
    ),
)
