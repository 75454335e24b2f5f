"""The schemas of what is sent and answered, out of the structs that are sent and answered."""

import copy
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from identity.admin.acts import (
    BulkAsked,
    BulkPreview,
    OperationList,
    OperationView,
    UndoAsked,
    UndoView,
    UnlinkView,
)
from identity.admin.arrivals import (
    CHECK_CODES,
    ArrivalExplanation,
)
from identity.admin.changes import (
    ChannelChange,
    ChannelPage,
    KeyPage,
    NewChannel,
    NewKey,
    WorkspaceChange,
)
from identity.admin.explain import (
    CustomerDiff,
    CustomerExplanation,
    VisitorExplanation,
)
from identity.admin.joining import DismissAsked, JoinAsked, JoinView, LockAsked, LockView, SuggestionPage
from identity.admin.ledger import MergePage, RefusalPage
from identity.administration import (
    FOOTPRINT_DAYS_MAX,
    IDENTITY_KEYS_MAX,
    NAME_CHARACTERS_MAX,
    ORIGINS_MAX,
    ChannelView,
    CreatedKeyView,
    KeyView,
    WorkspaceView,
)
from identity.disclosure import PersonDocument
from identity.erasure import Receipt
from identity.erasure_routes import (
    ErasurePage,
    ErasureView,
)
from identity.explaining import FACT_OUTCOMES, STRETCH_REASONS, FactOutcome, StretchReason
from identity.feed import ChangePage
from identity.footprint_routes import FootprintPage, FootprintSummary
from identity.import_routes import (
    ImportResult,
)
from identity.openapi import spec
from identity.openapi.spec import PROBLEMS, VERDICTS, Json
from identity.parse import (
    EVENT_NAMES,
    EVENTS_MAX,
)
from identity.protocols.segment import (
    MESSAGE_TYPES,
    MESSAGES_MAX,
)
from identity.refusals import REFUSAL_HINTS, Refusal
from identity.routes import EventResult, Validation
from identity.sdk import SdkRelease
from identity.visitor_routes import VisitorPage
from identity.visitors import CUSTOMER_ID_CHARACTERS_MAX, EVENT_ID_CHARACTERS_MAX, VISITOR_ID_CHARACTERS_MAX
from identity.webhooks.endpoints import (
    CreatedWebhookView,
    DeliveryPage,
    NewWebhook,
    OutcomeView,
    Resending,
    WebhookChange,
    WebhookPage,
    WebhookView,
)
from profiles.explaining import OUTCOMES, Outcome
from profiles.fields import FIELDS, SPELLINGS, Dialect
from profiles.patches import OPERATIONS, OPERATIONS_MAX, PATH_CHARACTERS_MAX
from profiles.remarks import HINTS, Reason, Verdict
from profiles.routes import LookupResult
from profiles.views import CustomerView

STRUCTS: tuple[type, ...] = (
    EventResult, Validation, CustomerView, LookupResult, VisitorPage, MergePage, RefusalPage, ChannelPage, ChannelView,
    NewChannel, ChannelChange, KeyPage, KeyView, NewKey, CreatedKeyView, FootprintPage, FootprintSummary, WorkspaceView,
    WorkspaceChange, SdkRelease,
    ChangePage, WebhookPage, WebhookView, CreatedWebhookView, NewWebhook, WebhookChange, Resending, OutcomeView,
    UndoAsked, UndoView, UnlinkView, BulkAsked, BulkPreview, OperationView, OperationList, LockAsked, LockView,
    JoinAsked, JoinView, SuggestionPage, DismissAsked, Receipt, ErasurePage, ErasureView, PersonDocument,
    DeliveryPage, ImportResult, CustomerExplanation, VisitorExplanation, CustomerDiff, ArrivalExplanation,
)  # fmt: skip
"""What answers and admins' bodies are made of; the structs within are found by themselves."""

_CLOSED_LISTS: tuple[tuple[type[StrEnum], Mapping[Any, str]], ...] = (
    (Verdict, VERDICTS),
    (Reason, HINTS),
    (Refusal, REFUSAL_HINTS),
    (Outcome, OUTCOMES),
    (StretchReason, STRETCH_REASONS),
    (FactOutcome, FACT_OUTCOMES),
)

_UUIDS = ("merge_id", "channel_id", "channel", "key_id", "refusal_id", "identification_id", "undone_by", "operation_id",
          "record_id", "webhook_id")  # fmt: skip
_TIMES = ("occurred_at", "received_at", "created_at", "updated_at", "revoked_at", "linked_at", "set_at", "since",
          "first_seen", "last_seen", "failing_since", "retry_at", "tried_at",
          "erased_at", "lifted_at", "told_at")  # fmt: skip


def _segment_schemas() -> Json:
    fields = {field.name: field.limit for field in FIELDS}
    held: dict[str, list[str]] = {}
    for spelling, name in SPELLINGS[Dialect.TRAITS].items():
        top, _, leaf = spelling.partition(".")
        held.setdefault(top, []).append(f"{leaf + ' of a map h' if leaf else 'H'}eld as {name}: {fields[name]}.")
    customer = f'The customer; up to {CUSTOMER_ID_CHARACTERS_MAX} characters. Null and "" are nobody.'
    visitor = f'The visitor; up to {VISITOR_ID_CHARACTERS_MAX} characters. Null and "" are nobody.'
    time = {"$ref": "#/components/schemas/Time"}
    identifier: Json = {"type": ["string", "integer", "null"]}
    return {
        "SegmentMessage": {
            "type": "object",
            "description": "A message of the Segment specification. Members that are not named here are passed over.",
            "properties": {
                "type": {"enum": list(MESSAGE_TYPES), "description": "In a batch; elsewhere the address tells it."},
                "messageId": spec.text(f"Tells retries from new messages; up to {EVENT_ID_CHARACTERS_MAX} characters."),
                "anonymousId": {**identifier, "description": visitor},
                "userId": {**identifier, "description": customer},
                "previousId": {**identifier, "description": "Of alias: as whom the customer was known until now."},
                "groupId": {**identifier, "description": "Of group, required."},
                "event": spec.text("Of track, required: the name of the event."),
                "name": spec.text("Of page and screen."),
                "category": spec.text("Of page and screen; kept as a property."),
                "properties": {"type": ["object", "null"], "description": "Of track, page and screen."},
                "traits": spec.ref("SegmentTraits"),
                "context": {
                    "type": "object",
                    "description": "Kept are url, title and referrer of its page, and the name of its library. Of "
                    "identify its traits are read, under those of the message.",
                },
                "timestamp": {**time, "description": "When it happened; default: on arrival."},
                "originalTimestamp": {**time, "description": "The same; goes before timestamp."},
                "sentAt": {**time, "description": "The sender's clock as it sent this; takes its error out."},
                "writeKey": spec.text("The channel's write key, unless a header brings it."),
            },
        },
        "SegmentTraits": {
            "type": ["object", "null"],
            "description": "Null and empty values are passed over; id, userId and anonymousId are no fields. Any other "
            f"name: {' '.join(held.pop('<name>')).lower()}",
            "properties": {top: {"description": " ".join(texts)} for top, texts in held.items()},
            "additionalProperties": True,
        },
        "SegmentBatch": {
            "type": "object",
            "required": ["batch"],
            "properties": {
                "batch": {"type": "array", "items": spec.ref("SegmentMessage"), "maxItems": MESSAGES_MAX},
                "sentAt": {**time, "description": "Of the messages that do not tell it themselves."},
                "writeKey": spec.text("The channel's write key, unless a header brings it."),
            },
        },
        "SegmentSettings": {
            "type": "object",
            "required": ["integrations", "plan", "metrics"],
            "properties": {
                "integrations": {"type": "object", "description": "Segment.io: where to send, and the write key."},
                "plan": {"type": "object"},
                "metrics": {"type": "object", "description": "None are wanted."},
            },
        },
        "Success": {"type": "object", "required": ["success"], "properties": {"success": {"const": True}}},
    }


def schemas() -> Json:
    _, schemas = msgspec.json.schema_components(
        STRUCTS, schema_hook=_schema_of, ref_template="#/components/schemas/{name}"
    )
    for schema in schemas.values():
        schema.pop("title", None)
        if "description" in schema:
            schema["description"] = " ".join(schema["description"].replace("``", "").split())
        for name, member in schema.get("properties", {}).items():
            _specify(name, member)
    # Where the structs say less than is promised.
    schemas["FootprintEvent"]["properties"]["props"] = {"type": "object", "description": "As they were taken."}
    schemas["WorkspaceChange"]["properties"]["footprint_days"] |= {"minimum": 1, "maximum": FOOTPRINT_DAYS_MAX}
    schemas["RefusalPage"]["properties"]["counts"]["propertyNames"] = spec.ref("Refusal")
    schemas["ImportLine"] = {
        "type": "object", "description": "What is known of a customer.", "required": ["customer_id"],
        "additionalProperties": True,
        "properties": {
            "customer_id": {"type": ["string", "integer"]},
            "occurred_at": {"type": ["string", "integer"]},
            "fields": {"type": "object"},
            "set_at": {"type": "object", "additionalProperties": {"type": ["string", "integer"]}},
            "removed": {"type": "object", "additionalProperties": {"type": ["string", "integer"]}},
        },
    }  # fmt: skip
    schemas["EventResult"]["properties"]["status"] = {"enum": ["accepted", "rejected"], "type": "string"}
    schemas["ChannelView"]["properties"]["on_sign_out"] = spec.ref("OnSignOut")
    schemas["ChannelView"]["properties"]["signed_identity"] = spec.ref("SignedIdentity")
    schemas["ChannelView"]["properties"]["unsigned_writes"] = spec.ref("UnsignedWrites")
    schemas["ChannelChange"]["properties"]["identity_keys"] |= {"maxItems": IDENTITY_KEYS_MAX}
    for name in ("KeyView", "CreatedKeyView"):
        schemas[name]["properties"]["scopes"] = {"type": "array", "items": spec.ref("Scope")}
    for name in ("NewChannel", "ChannelChange", "NewKey"):
        schemas[name]["properties"]["name"] |= {"minLength": 1, "maxLength": NAME_CHARACTERS_MAX}
    for name in ("NewChannel", "ChannelChange"):
        schemas[name]["properties"]["origins"] |= {"maxItems": ORIGINS_MAX}
    schemas["NewKey"]["properties"]["scopes"] |= {"minItems": 1}
    schemas["CheckView"]["properties"]["code"]["description"] = (
        "The code of a problem, a refusal, a remark or a token's fault; or "
        f"{'; '.join(f'{code}: {sentence}' for code, sentence in CHECK_CODES.items())}"
    )
    for kind, hints in _CLOSED_LISTS:
        schemas[kind.__name__] |= {
            "type": "string",
            "enum": [str(value) for value in kind],
            "description": "\n".join(f"{value}: {hint}" for value, hint in hints.items()),
        }
    schemas["CustomerChanged"] = copy.deepcopy(schemas["MergeView"])
    schemas["CustomerChanged"]["description"] = "The merge of a CRM's change."
    schemas["CustomerChanged"]["properties"]["merge_id"] = {
        "anyOf": [{"type": "string", "format": "uuid"}, {"type": "null"}]
    }
    schemas |= _sent_schemas() | _segment_schemas() | _small_schemas()
    return dict(sorted(schemas.items()))


def _schema_of(kind: type) -> Json:
    if kind is object:
        return {"description": "Any JSON value."}
    raise NotImplementedError


def _specify(name: str, member: Json) -> None:
    form = "date-time" if name in _TIMES else "uuid" if name in _UUIDS else None
    if form is not None:
        for choice in member.get("anyOf", [member]):
            if choice.get("type") == "string":
                choice["format"] = form


def _sent_schemas() -> Json:
    """Return what is sent to the tolerant endpoints: whatever is not as told here is skipped, not an error."""
    fields = {field.name: field.limit for field in FIELDS}
    envelope = {
        "visitor_id": spec.text(f"Names the browser; up to {VISITOR_ID_CHARACTERS_MAX} characters."),
        "occurred_at": {"$ref": "#/components/schemas/Time", "description": "When it happened; default: on arrival."},
        "sent_at": {
            "$ref": "#/components/schemas/Time",
            "description": "The sender's clock as it sent this; takes the clock's error out of occurred_at.",
        },
        "event_id": spec.text(f"Tells retries from new events; up to {EVENT_ID_CHARACTERS_MAX} characters."),
    }
    customer = {
        "type": ["string", "integer"],
        "description": f"The website's own stable id, up to {CUSTOMER_ID_CHARACTERS_MAX} characters.",
    }
    identify = {
        spelling: {"description": f"Held as {name}: {fields[name]}."}
        for dialect in (Dialect.AUTHENTICATE, Dialect.CLIDENTITY)
        for spelling, name in SPELLINGS[dialect].items()
    }
    ids = {"customer_id": customer, "customerId": customer}
    profile = {
        path: {"description": f"Held as {name}: {fields[name]}."}
        for path, name in SPELLINGS[Dialect.PROFILE].items()
        if "." not in path
    }
    leaves = {
        path.removeprefix("address."): {"description": f"Held as {name}: {fields[name]}."}
        for path, name in SPELLINGS[Dialect.PROFILE].items()
        if path.startswith("address.")
    }
    operation = {
        "type": "object",
        "required": ["type", "path"],
        "properties": {
            "type": {"enum": list(OPERATIONS)},
            "path": spec.text(
                "For example firstName, address.city, custom.points, interests[0], or . for the whole profile; "
                f"up to {PATH_CHARACTERS_MAX} characters."
            ),
            "value": {"description": "Not for clear and unset; 1 if left out to increment or decrement."},
        },
    }
    operations = {"type": "array", "minItems": 1, "maxItems": OPERATIONS_MAX, "items": operation}
    held: Json = {name: {"description": f"{limit}."} for name, limit in fields.items() if "." not in name}
    postal = {
        name.removeprefix("postal_address."): {"description": f"{limit}."}
        for name, limit in fields.items()
        if name.startswith("postal_address.")
    }
    held["postal_address"] = {"type": ["object", "null"], "properties": postal}
    held["custom"] = {"type": ["object", "null"], "description": f"custom.<name>: {fields['custom.<name>']}."}
    return {
        "CustomerChange": {
            "type": "object",
            "description": "Members of postal_address and custom may also stand beside the others, with a dot: "
            "postal_address.city, custom.points. Null takes away what is held.",
            "properties": {
                **held,
                "fields": {"type": "object", "description": "The same fields, as a lookup answers them."},
                "customer_id": customer,
                "occurred_at": envelope["occurred_at"],
            },
        },
        "Push": {
            "type": "object",
            "description": "The fields stand beside the ids, under either spelling, or in params: the dataLayer entry "
            "as it is. A value that is not as its row tells is skipped; the rest is taken.",
            "properties": {
                **envelope,
                **ids,
                **identify,
                "event": {"const": "clIdentity"},
                "params": {"type": "object", "properties": {**ids, **identify}},
                "write_key": spec.text("The write key, where no header can be sent."),
            },
            "anyOf": [{"required": ["customer_id"]}, {"required": ["customerId"]}, {"required": ["params"]}],
        },
        "Events": {
            "description": "Several events, or one event as the body itself.",
            "anyOf": [
                {
                    "type": "object",
                    "required": ["events"],
                    "properties": {
                        "events": {"type": "array", "maxItems": EVENTS_MAX, "items": spec.ref("Event")},
                        "write_key": spec.text("The write key, where no header can be sent."),
                    },
                },
                spec.ref("Event"),
            ],
        },
        "Event": {
            "type": "object",
            "description": "The customer comes as customer_id or as userId. userSignedUp: a profile came to be. "
            "userSignedIn: the visitor is this customer. userSignedOut: the visitor is nobody any more. "
            "userProfileChanged: a patch of the visitor's current customer. clIdentity: see Push.",
            "required": ["type"],
            "properties": {
                "type": {"enum": list(EVENT_NAMES)},
                **envelope,
                "customer_id": customer,
                "userId": customer,
                "profile": {
                    "type": "object",
                    "description": "Of userSignedUp.",
                    "properties": {
                        **profile,
                        "address": {"type": "object", "properties": leaves},
                        "custom": {"type": "object", "description": f"custom.<name>: {fields['custom.<name>']}."},
                    },
                },
                "patch": {
                    "description": "Of userProfileChanged: operations in order, all or none.",
                    "anyOf": [operations, {"type": "object", "properties": {"operations": operations}}],
                },
            },
        },
        "Beacon": {
            "type": "object",
            "description": "What Croct's SDK sends: one event, with its payload as the SDK makes it.",
            "properties": {
                "payload": {
                    "type": "object",
                    "description": "The type of the event, and its properties beside it.",
                },
                "context": {"type": "object", "description": "tabId tells events of two tabs apart."},
                "originalTime": {"$ref": "#/components/schemas/Time", "description": "When it happened."},
                "departureTime": {"$ref": "#/components/schemas/Time", "description": "When this attempt was made."},
            },
        },
        "RequestAsked": {
            "type": "object",
            "description": "What is known of a request: the channel by its write key or its id, the page's origin, and "
            "what was pushed.",
            "properties": {
                "write_key": spec.text("The channel's write key; default: the one in the body."),
                "channel_id": spec.text("The channel's id, instead."),
                "origin": spec.text("The page's origin, as the browser sent it."),
                "body": {"description": "What was pushed, as it is or as text: to authenticate, or to events."},
            },
        },
        "Lookup": {
            "type": "object",
            "description": "Exactly one of the lists.",
            "minProperties": 1,
            "maxProperties": 1,
            "properties": {
                "customer_ids": spec.inputs(["string", "integer"]),
                "emails": spec.inputs("string"),
                "phones": spec.inputs("string"),
                "visitor_ids": spec.inputs("string"),
            },
        },
    }


def _small_schemas() -> Json:
    def results(name: str) -> Json:
        return {
            "type": "object",
            "required": ["results"],
            "properties": {"results": {"type": "array", "items": spec.ref(name)}},
        }

    return {
        "EventResults": results("EventResult"),
        "LookupResults": results("LookupResult"),
        "Validations": results("Validation"),
        "Taken": {"type": "object", "required": ["status"], "properties": {"status": {"const": "ok"}}},
        "Time": {"type": ["string", "number"], "description": "RFC 3339 with its offset, or milliseconds since 1970."},
        "Readiness": {
            "type": "object",
            "required": ["status", "checks"],
            "properties": {
                "status": {"enum": ["ready", "not ready"]},
                "checks": {
                    "type": "object",
                    "properties": {
                        "postgresql": {"enum": ["ok", "away"]},
                        "schema": {"enum": ["ok", "behind", "unknown"]},
                        "redis": {"enum": ["ok", "away"]},
                    },
                },
            },
        },
        "Problem": {
            "type": "object",
            "description": "RFC 9457. detail and message are the same text.",
            "required": ["type", "title", "status", "detail", "code", "message"],
            "properties": {
                "type": {"const": "about:blank"},
                "title": {"type": "string"},
                "status": {"type": "integer"},
                "detail": {"type": "string"},
                "code": {"enum": list(PROBLEMS)},
                "message": {"type": "string"},
            },
        },
    }
