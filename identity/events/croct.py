"""Pure: the catalogue of Croct's SDK, all events but those that identify; they stand in an event beside its type.

Source: Croct event reference (2022) and the validators of the SDK (0.22). Where the two differ, what either takes is
taken: the SDK drops an event that the server refuses for good, and blocks those behind it.
"""

from identity.events.behaviour import FaultCode
from identity.events.shapes import (
    ID_CHARACTERS_MAX,
    ITEMS_MAX,
    LONG_TEXT_CHARACTERS_MAX,
    Choice,
    EventShape,
    Family,
    Json,
    ListOf,
    MapOf,
    Number,
    Object,
    OneOf,
    OrderNames,
    Shape,
    Text,
    Url,
    describe_object,
)
from profiles import fields
from profiles.patches import OPERATIONS, OPERATIONS_MAX, PATH_CHARACTERS_MAX, PATH_PATTERN

OPERATION_LEVELS_MAX = 5
"""A lead is merged as a whole: the profile, its custom attributes, one of them, a list in it, a list in that."""

_NAME_PATTERN = r"[A-Za-z_][A-Za-z0-9_]*"
_NAME_FORM = "a name (a letter or _, then letters, digits or _)"

_LONG_TEXT = Text(0, LONG_TEXT_CHARACTERS_MAX)
_SHORT_TEXT = Text(1, 50)
_ID = Text(1, ID_CHARACTERS_MAX)
_CURRENCY = Text(1, 10)
_AMOUNT = Number(minimum=0)
_ANY_NUMBER = Number()
_COUNT = Number(minimum=0, is_whole=True)
_URL = Url()
# The reference calls the coupon of an item a number, and the values of taxes and costs texts.
_ITEM_COUPON = OneOf((_SHORT_TEXT, _ANY_NUMBER))
_CHARGES = MapOf(OneOf((_ANY_NUMBER, _SHORT_TEXT)), Text(0, 100))

_PRODUCT = describe_object(
    {"productId": _SHORT_TEXT, "name": Text(1, 200), "displayPrice": _AMOUNT},
    {
        "sku": _SHORT_TEXT,
        "category": Text(1, 100),
        "brand": Text(1, 100),
        "variant": _SHORT_TEXT,
        "originalPrice": _AMOUNT,
        "currency": _CURRENCY,
        "url": _URL,
        "imageUrl": _URL,
    },
)
_LINE = describe_object(
    {"index": _AMOUNT, "quantity": Number(above=0), "total": _AMOUNT, "product": _PRODUCT},
    {"discount": _AMOUNT, "coupon": _ITEM_COUPON},
)
_LINES = ListOf(_LINE, 0, ITEMS_MAX)
_SUMS: dict[str, Shape] = {
    "subtotal": _AMOUNT,
    "shippingPrice": _AMOUNT,
    "taxes": _CHARGES,
    "costs": _CHARGES,
    "discount": _AMOUNT,
    "coupon": _SHORT_TEXT,
}
_CART = describe_object(
    {"currency": _CURRENCY, "items": _LINES, "total": _AMOUNT}, {**_SUMS, "lastUpdateTime": _ANY_NUMBER}
)
_ORDER = describe_object(
    {"orderId": _ID, "currency": _CURRENCY, "items": _LINES, "total": _AMOUNT},
    {
        **_SUMS,
        "paymentMethod": _SHORT_TEXT,
        "installments": _AMOUNT,
        "status": Choice(("placed", "paid", "complete", "completed")),
    },
)

_LABELS = ListOf(_SHORT_TEXT, 0, 10)
_POST = describe_object(
    {"postId": Text(1, 200), "title": Text(1, 200), "publishTime": _ANY_NUMBER},
    {"url": _URL, "tags": _LABELS, "categories": _LABELS, "authors": _LABELS, "updateTime": _ANY_NUMBER},
)

_PERSON_NAME = Text(1, fields.NAME_CHARACTERS_MAX)
_EMAIL = Text(1, fields.EMAIL_CHARACTERS_MAX)
_PHONE = Text(1, fields.PHONE_CHARACTERS_MAX)
_POSTAL = Text(1, fields.POSTAL_CHARACTERS_MAX)
_WORDS = ListOf(Text(1, fields.LIST_ITEM_CHARACTERS_MAX), 0, fields.LIST_ITEMS_MAX)
# What a lead tells is data of the event, not of a profile: the SDK's rules hold, which know no valid e-mail or phone.
_LEAD = describe_object(
    {},
    {
        "firstName": _PERSON_NAME,
        "lastName": _PERSON_NAME,
        "birthDate": Text(
            1, 10, pattern=r"[0-9]{4}-[0-9]{2}-[0-9]{2}", code=FaultCode.NOT_A_DATE, form="a date, YYYY-MM-DD"
        ),
        "gender": Choice(tuple(fields.PROFILE_GENDERS)),
        "email": _EMAIL,
        "alternateEmail": _EMAIL,
        "phone": _PHONE,
        "alternatePhone": _PHONE,
        "address": describe_object(
            {},
            {
                **dict.fromkeys(("street", "district", "city", "region", "country"), _POSTAL),
                "postalCode": Text(1, fields.POSTAL_CODE_CHARACTERS_MAX),
            },
        ),
        "avatar": _URL,
        "company": Text(1, fields.COMPANY_CHARACTERS_MAX),
        "companyUrl": _URL,
        "jobTitle": _PERSON_NAME,
        "interests": _WORDS,
        "activities": _WORDS,
        "custom": MapOf(
            Json(fields.CUSTOM_LEVELS_MAX, fields.CUSTOM_TEXT_CHARACTERS_MAX, items_max=30),
            Text(1, fields.CUSTOM_NAME_CHARACTERS_MAX, pattern=_NAME_PATTERN, form=_NAME_FORM),
            fields.CUSTOM_NAMES_MAX,
        ),
    },
)

_PATCH = describe_object(
    {
        "operations": ListOf(
            describe_object(
                {
                    "type": Choice(tuple(OPERATIONS)),
                    "path": Text(
                        1,
                        PATH_CHARACTERS_MAX,
                        pattern=PATH_PATTERN,
                        form="a path (. or names and [indexes] with dots between)",
                    ),
                },
                {"value": Json(OPERATION_LEVELS_MAX, LONG_TEXT_CHARACTERS_MAX, items_max=100)},
            ),
            1,
            OPERATIONS_MAX,
        )
    }
)
_POINT = describe_object({"x": _COUNT, "y": _COUNT})
_SIZE = describe_object({"width": _COUNT, "height": _COUNT})


def _event(
    name: str,
    required: dict[str, Shape],
    optional: dict[str, Shape] | None = None,
    *,
    label: str | None = None,
    order: OrderNames | None = None,
) -> EventShape:
    shape: Object = describe_object(required, optional)
    return EventShape(name, Family.CROCT, shape, label=label, order=order)


CROCT_EVENTS: tuple[EventShape, ...] = (
    _event("tabOpened", {"tabId": _ID}),
    _event("tabUrlChanged", {"tabId": _ID, "url": _URL}),
    _event("tabVisibilityChanged", {"tabId": _ID, "visibility": Choice(("visible", "hidden"))}),
    _event("pageOpened", {"url": _URL}, {"referrer": _LONG_TEXT}),
    # A page may have no title, and a time of change that is no date (null on the wire).
    _event("pageLoaded", {"url": _URL, "title": _LONG_TEXT}, {"lastModifiedTime": _ANY_NUMBER}, label="title"),
    _event("userClicked", {"point": _POINT}, {"surfaceSize": _SIZE}),
    _event("userScrolled", {"end": _POINT}, {"start": _POINT, "surfaceSize": _SIZE, "viewportSize": _SIZE}),
    _event("productViewed", {"product": _PRODUCT}),
    _event("cartViewed", {"cart": _CART}),
    _event("cartModified", {"cart": _CART}),
    _event("checkoutStarted", {"cart": _CART}, {"orderId": _ID}),
    _event("orderPlaced", {"order": _ORDER}, order=OrderNames("orderId", "total", "currency", within="order")),
    _event(
        "goalCompleted",
        {
            "goalId": Text(
                3,
                100,
                pattern=r"[A-Za-z0-9][A-Za-z0-9:_-]+[A-Za-z0-9]",
                form="letters, digits and - _ : between them",
            )
        },
        {"value": _AMOUNT, "currency": _CURRENCY},
    ),
    _event("interestShown", {"interests": ListOf(_SHORT_TEXT, 1, 10)}),
    _event("postViewed", {"post": _POST}),
    _event("linkOpened", {"link": _LONG_TEXT}),
    _event("sessionAttributesChanged", {"patch": _PATCH}),
    _event("nothingChanged", {"sinceTime": _ANY_NUMBER}),
    _event(
        "eventOccurred",
        {"name": _SHORT_TEXT},
        {
            **dict.fromkeys(("personalizationId", "audience", "testId", "groupId"), _SHORT_TEXT),
            "details": MapOf(
                Json(0, characters_max=300), Text(1, 300, pattern=_NAME_PATTERN, form=_NAME_FORM), entries_max=10
            ),
        },
        label="name",
    ),
    # On the wire the lead is the one operation of a patch.
    _event(
        "leadGenerated",
        {},
        {"leadId": Text(1, 100), "currency": _CURRENCY, "value": _AMOUNT, "lead": _LEAD, "patch": _PATCH},
    ),
)
