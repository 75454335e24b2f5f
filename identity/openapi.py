"""Pure: the OpenAPI document of every endpoint.

Answers are described by the very structs they are made of, closed lists by their enums, fields by the field table.
Only what no struct knows is written by hand: paths, what is sent to the tolerant endpoints, which problems may come.
"""

import copy
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

import msgspec

from identity.acts import FACTS_MAX, NOTE_CHARACTERS_MAX
from identity.admin.acts import (
    BulkAsked,
    BulkPreview,
    OperationList,
    OperationView,
    StretchView,
    UndoAsked,
    UndoView,
    UnlinkView,
)
from identity.admin.arrivals import (
    CHECK_CODES,
    EXPLAIN_BYTES_MAX,
    ArrivalExplanation,
    CheckDetails,
    CheckName,
    CheckView,
)
from identity.admin.changes import (
    CHANNELS_MAX,
    KEYS_MAX,
    ChannelChange,
    ChannelPage,
    KeyPage,
    NewChannel,
    NewKey,
    WorkspaceChange,
)
from identity.admin.explain import (
    STRETCHES_SHOWN_MAX,
    ChangedBy,
    CustomerDiff,
    CustomerExplanation,
    FieldDiff,
    FieldExplanation,
    FieldLock,
    LinkDiff,
    OfferView,
    StretchExplanation,
    VisitorExplanation,
)
from identity.admin.joining import DismissAsked, JoinAsked, JoinView, LockAsked, LockView, SuggestionPage
from identity.admin.ledger import MERGE_FILTERS, REFUSAL_FILTERS, MergePage, RefusalPage, RefusalView
from identity.admin.query import LIMIT_DEFAULT, LIMIT_MAX
from identity.administration import (
    BLOCKED_IDS_MAX,
    FOOTPRINT_DAYS_MAX,
    IDENTITY_KEYS_MAX,
    NAME_CHARACTERS_MAX,
    ORIGINS_MAX,
    ChannelView,
    CreatedKeyView,
    KeyView,
    WorkspaceView,
)
from identity.changes import ChangeType
from identity.customer_writes import CRM_SOURCE, PATCH_BYTES_MAX
from identity.disclosure import HeldCustomer, HeldValue, PersonDocument
from identity.erasure import Receipt, Removed
from identity.erasure_routes import (
    DISCLOSURE_BYTES_MAX,
    ERASURES_PATH,
    ErasurePage,
    ErasureView,
)
from identity.explaining import FACT_OUTCOMES, STRETCH_REASONS, FactOutcome, StretchReason
from identity.feed import CHANGES_DEFAULT, CHANGES_MAX, Change, ChangePage
from identity.footprint_routes import TYPES_MAX, FootprintEvent, FootprintPage, FootprintSummary, Revenue
from identity.import_routes import (
    IMPORT_BYTES_MAX,
    IMPORT_LINE_BYTES_MAX,
    IMPORT_LINES_MAX,
    IMPORT_PATH,
    IMPORT_PAUSE_SECONDS_MAX,
    ImportFault,
    ImportResult,
)
from identity.imports.run import NOTE_CHARACTERS_MAX as IMPORT_NOTE_CHARACTERS_MAX
from identity.joins import JOINED_IDS_MAX
from identity.parse import (
    AUTHENTICATE_BYTES_MAX,
    CRM_PATCH,
    EVENT_NAMES,
    EVENTS_BYTES_MAX,
    EVENTS_MAX,
)
from identity.protocols.croct import BEACON_BYTES_MAX
from identity.protocols.segment import (
    BATCH_BYTES_MAX,
    MESSAGE_BYTES_MAX,
    MESSAGE_TYPES,
    MESSAGES_MAX,
)
from identity.protocols.segment_routes import BATCH_PATHS, MESSAGE_PATHS, METRICS_PATH, SEGMENT_PATH, SETTINGS_PATH
from identity.refusals import REFUSAL_HINTS, Refusal
from identity.resolve import FactKind
from identity.routes import READING_PATHS, EventError, EventResult, Preview, Validation
from identity.sdk import RELEASE_PATH, SCRIPT_PATH, SDK_PATH, TYPES_PATH, SdkRelease, release
from identity.tokens import SECRET_BYTES_MAX, SECRET_BYTES_MIN, Algorithm, IdentityKeyView, key_id_of
from identity.visitor_routes import IDENTIFICATIONS_MAX, IdentificationView, VisitorPage
from identity.visitors import CUSTOMER_ID_CHARACTERS_MAX, EVENT_ID_CHARACTERS_MAX, VISITOR_ID_CHARACTERS_MAX
from identity.webhooks.deliverer import DELIVERY_DAYS_KEPT
from identity.webhooks.endpoints import (
    DELIVERY_FILTERS,
    DESCRIPTION_CHARACTERS_MAX,
    WEBHOOKS_MAX,
    CreatedWebhookView,
    DeliveryPage,
    DeliveryStatus,
    DeliveryView,
    NewWebhook,
    OutcomeView,
    Resending,
    State,
    WebhookChange,
    WebhookPage,
    WebhookView,
)
from identity.webhooks.message import ROTATION_HOURS
from identity.webhooks.sending import FAULT_HINTS, Fault
from profiles.access import Scope
from profiles.explaining import OTHERS_SHOWN_MAX, OUTCOMES, Outcome
from profiles.fields import FIELDS, SPELLINGS, Dialect
from profiles.http import BODY_SECONDS_MAX, QUERY_BYTES_MAX
from profiles.idempotency import (
    IDEMPOTENCY_HOURS_KEPT,
    IDEMPOTENCY_KEY_CHARACTERS_MAX,
    IDEMPOTENT_ANSWER_BYTES_MAX,
)
from profiles.past import LEDGER_ROWS_MAX, ROWS_EXPLAINED_MAX
from profiles.patches import OPERATIONS, OPERATIONS_MAX, PATH_CHARACTERS_MAX
from profiles.profile import Act, Merge, Policy
from profiles.remarks import HINTS, Decision, Reason, Verdict
from profiles.routes import CUSTOMERS_PER_INPUT_MAX, LOOKUP_BYTES_MAX, LOOKUP_INPUTS_MAX, LookupResult
from profiles.suggestions import Suggestion
from profiles.views import CustomerView, DecisionView, MergeView, Provenance, VisitorView, merge_view

Json = dict[str, Any]

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

VERDICTS: dict[Verdict, str] = {
    Verdict.SET: "Nothing was held; now this value is.",
    Verdict.OVERWROTE: "Another value was held; now this one is.",
    Verdict.UNCHANGED: "This very value was held already.",
    Verdict.IGNORED_EMPTY: "Nothing overwrites with nothing: null, empty and blank values are passed over.",
    Verdict.SKIPPED_INVALID: "The value cannot be held; the reason tells why. The rest of the record lives on.",
    Verdict.SKIPPED_OLDER: "A newer value is held.",
    Verdict.KEPT_EXISTING: "What is held stays: the value may only fill gaps, or the field is locked; see the reason.",
    Verdict.UNSET: "The value was removed by a patch.",
}

_CLOSED_LISTS: tuple[tuple[type[StrEnum], Mapping[Any, str]], ...] = (
    (Verdict, VERDICTS),
    (Reason, HINTS),
    (Refusal, REFUSAL_HINTS),
    (Outcome, OUTCOMES),
    (StretchReason, STRETCH_REASONS),
    (FactOutcome, FACT_OUTCOMES),
)

PROBLEMS: dict[str, tuple[int, str]] = {
    "not_a_json_object": (400, "The body must be one JSON object."),
    "body_cut_off": (400, "The connection ended within the body."),
    "invalid_events": (400, '"events" must be a list.'),
    "invalid_batch": (400, '"batch" must be a list.'),
    "invalid_encoding": (400, "The compressed body is damaged, or not what its Content-Encoding says."),
    "invalid_lookup": (400, "Not one list of texts (customer ids may be whole numbers)."),
    "invalid_query": (400, "The query is not percent-encoded UTF-8."),
    "invalid_condition": (400, "If-Match is * or ETags in quotes; the If-None-Match of a PATCH is *."),
    "invalid_idempotency_key": (
        400,
        f"An Idempotency-Key has 1 to {IDEMPOTENCY_KEY_CHARACTERS_MAX} visible ASCII characters.",
    ),
    "missing_customer_id": (400, "The query does not name the customer."),
    "missing_visitor_id": (400, "The query does not name the visitor."),
    "missing_subject": (400, "The query names neither a customer nor a visitor, or both."),
    "unknown_include": (400, "Something else than provenance was to be included."),
    "unknown_parameter": (400, "A query parameter is not one of those listed here."),
    "invalid_dry_run": (400, "dry_run is true or false."),
    "invalid_cursor": (400, "The cursor is not one that the page before gave."),
    "invalid_limit": (400, f"The limit is a whole number from 1 to {LIMIT_MAX}, of changes to {CHANGES_MAX}."),
    "invalid_as_of": (400, "Neither an RFC 3339 time with its offset nor milliseconds since 1970."),
    "invalid_from": (400, "Neither an RFC 3339 time with its offset nor milliseconds since 1970."),
    "invalid_since": (400, "Neither an RFC 3339 time with its offset nor milliseconds since 1970."),
    "invalid_status": (400, "The status is delivered or failed."),
    "invalid_to": (400, "Neither an RFC 3339 time with its offset nor milliseconds since 1970."),
    "invalid_customer_id": (400, "No customer can have this id."),
    "invalid_visitor_id": (400, "No visitor can have this id."),
    "invalid_channel_id": (400, "Not a UUID."),
    "invalid_type": (400, f"More than {TYPES_MAX} names of events, or one that none can have."),
    "invalid_event": (400, "Too long, or with control characters."),
    "invalid_field": (400, "Too long, with control characters, or no field's name where one field is asked about."),
    "invalid_verdict": (400, "Not one of the closed list; the message names it."),
    "invalid_reason": (400, "Not one of the closed list; the message names it."),
    "invalid_shared": (400, "shared is email or phone."),
    "invalid_after": (400, "after is what the page before gave."),
    "missing_key": (401, "No key came along."),
    "unknown_app_id": (401, "The app id is the id of no channel in force."),
    "invalid_token": (
        401,
        "The channel wants signed identities, and this token is a wrong one; the message tells why.",
    ),
    "unknown_key": (401, "No key in force is this one."),
    "missing_scope": (403, "The secret key does not have the scope that this call wants."),
    "origin_not_allowed": (403, "The channel does not take events from pages of this origin."),
    "other_workspace": (403, "The secret key and the write key are of different workspaces."),
    "not_found": (404, "There is nothing at this address."),
    "customer_not_found": (404, "No customer is held by this id."),
    "visitor_not_found": (404, "No visitor with this id was ever seen."),
    "identification_not_found": (404, "Nothing with this id was said of this visitor."),
    "operation_not_found": (404, "No import and no bulk undo has this id."),
    "erasure_not_found": (404, "Nobody was erased by this hash, in this workspace."),
    "merge_not_found": (404, "No merge of this workspace has this id."),
    "channel_not_found": (404, "No channel of this workspace has this id."),
    "webhook_not_found": (404, "No webhook of this workspace has this id."),
    "change_not_found": (404, "No change of this workspace has this id, or none is left of it."),
    "key_not_found": (404, "No key of this workspace has this id."),
    "method_not_allowed": (405, "The address takes other methods."),
    "body_too_slow": (408, f"The body did not arrive within {BODY_SECONDS_MAX:.0f} s."),
    "not_undoable": (409, "A row of this kind is not taken back by an undo: the message says by what instead."),
    "already_joined": (409, "One of the two is joined into a customer already."),
    "has_joined": (409, "Others are joined into this customer: join the other way round."),
    "too_many_joined": (409, f"At most {JOINED_IDS_MAX} customers may be joined into one."),
    "not_joined": (409, "This customer is not joined into another one."),
    "erasure_pending": (409, "Not everything of the customer is removed yet."),
    "channel_revoked": (409, "The channel was revoked, for good."),
    "ledger_too_long": (409, f"The customer's ledger has more than {LEDGER_ROWS_MAX:,} rows, or too many to join."),
    "log_too_long": (409, f"More than {FACTS_MAX:,} things were said of the visitor, or too many of several."),
    "too_many_channels": (409, f"A workspace may have {CHANNELS_MAX} channels in force."),
    "too_many_keys": (409, f"A workspace may have {KEYS_MAX} keys in force."),
    "too_many_webhooks": (409, f"A workspace may have {WEBHOOKS_MAX} webhooks."),
    "webhook_changed": (409, "Somebody else was changing the webhook: try again."),
    "last_admin_key": (409, "The last key with the scope admin cannot be revoked."),
    "write_refused": (409, "The customer may not be written; the message names the refusal."),
    "idempotency_in_progress": (409, "The first request with this Idempotency-Key is not answered yet."),
    "idempotency_answer_too_large": (
        409,
        f"It was done before, and its answer not kept: over {IDEMPOTENT_ANSWER_BYTES_MAX // 1024} KiB.",
    ),
    "feed_restarted": (410, "The store was restored from a backup: read the feed again from its beginning."),
    "customer_exists": (412, "If-None-Match: * was sent, and there is a customer of this id."),
    "version_changed": (412, "The customer is not at the version that If-Match names."),
    "too_much_held": (413, "More is held of the person than one answer may have."),
    "body_too_large": (413, "The body is over its limit."),
    "unsupported_encoding": (415, "The body comes with a Content-Encoding; send it as it is."),
    "too_many_events": (413, f"One request may carry {EVENTS_MAX} events."),
    "too_many_messages": (413, f"One request may carry {MESSAGES_MAX} messages."),
    "too_many_inputs": (413, f"One lookup may have {LOOKUP_INPUTS_MAX} inputs."),
    "query_too_long": (414, f"The query may have {QUERY_BYTES_MAX} bytes."),
    "invalid_filter": (422, "Name an operation_id; or a channel_id, visitor_id or customer_id, and from."),
    "invalid_fields": (422, "Name fields as the field table holds them."),
    "invalid_into": (422, "into is the id of the customer who this one is."),
    "join_with_itself": (422, "A customer cannot be joined with itself."),
    "invalid_customer_ids": (422, "customer_ids are the ids of two customers."),
    "unusable_reason": (422, f"reason is a text of at most {NOTE_CHARACTERS_MAX} characters."),
    "invalid_body": (422, "A member of the body is missing, unknown or of another type; the message tells where."),
    "other_customer_id": (422, "The body has a customer_id, and it is not the one of the address."),
    "idempotency_key_reused": (422, "This Idempotency-Key came with another request before."),
    "invalid_url": (422, "No address that a webhook may have; the message tells more."),
    "invalid_description": (422, f"A description is a text of up to {DESCRIPTION_CHARACTERS_MAX} characters."),
    "invalid_resend": (422, "Say either since, a time, or after, a cursor."),
    "invalid_name": (422, f"A name is a text of 1 to {NAME_CHARACTERS_MAX} characters."),
    "invalid_origins": (422, "Not origins as browsers send them; the message tells more."),
    "invalid_on_sign_out": (422, "on_sign_out is forget or keep."),
    "invalid_signed_identity": (422, "signed_identity is off, observe or required."),
    "invalid_unsigned_writes": (422, "unsigned_writes is overwrite or fill_empty."),
    "invalid_identity_keys": (422, "Not keys as the channel takes them; the message tells more."),
    "invalid_footprint_days": (422, f"footprint_days is a whole number from 1 to {FOOTPRINT_DAYS_MAX}."),
    "invalid_blocked_customer_ids": (422, f"Not a list of at most {BLOCKED_IDS_MAX} ids that a customer could have."),
    "invalid_scopes": (422, "Not one or more of the scopes."),
    "internal_error": (500, "A fault of ours; it has been logged."),
    "not_provided": (501, "Something that the SDK's own service has, and this one does not."),
    "query_too_slow": (503, "Too much to look through: narrow the time range."),
    "unavailable": (503, "Too busy, or a server behind this one is away: try again after Retry-After."),
}
"""Every code that a problem document can have."""

_IDEMPOTENCY = (
    "invalid_idempotency_key", "idempotency_in_progress", "idempotency_answer_too_large", "idempotency_key_reused",
)  # fmt: skip
_BODY = ("not_a_json_object", "body_cut_off", "body_too_slow", "body_too_large")
_ALWAYS = ("method_not_allowed", "internal_error", "unavailable")
_PUBLIC = ("missing_key", "unknown_key", "origin_not_allowed", *_BODY, *_ALWAYS)
_SECRET = ("missing_key", "unknown_key", "missing_scope", *_ALWAYS)
_PAST = ("invalid_query", "query_too_long", "invalid_as_of", "log_too_long")
_QUERY = ("invalid_query", "query_too_long", "unknown_parameter", "invalid_limit", "invalid_cursor")
_RANGE = (*_QUERY, "invalid_from", "invalid_to", "invalid_channel_id", "invalid_reason", "query_too_slow")
_NAMED = ("invalid_body", "invalid_name")

_WRITE_KEY: list[Json] = [{"writeKey": []}, {}]
"""In the header; the empty choice stands for the key in the body, which OpenAPI has no word for."""
_PREVIEW_KEY: list[Json] = [*_WRITE_KEY, {"secretKey": ["profiles:read"]}]

_UUIDS = ("merge_id", "channel_id", "channel", "key_id", "refusal_id", "identification_id", "undone_by", "operation_id",
          "record_id", "webhook_id")  # fmt: skip
_TIMES = ("occurred_at", "received_at", "created_at", "updated_at", "revoked_at", "linked_at", "set_at", "since",
          "first_seen", "last_seen", "failing_since", "retry_at", "tried_at",
          "erased_at", "lifted_at", "told_at")  # fmt: skip
_ID = "0197a3b0-5c00-7a1b-8c2d-0123456789ab"
_CHANNEL = "6f1f7a52-7a3e-4c8e-9d62-0c6f3a3a4a11"
_PUBLIC_KEY = "-----BEGIN PUBLIC KEY-----\n…\n-----END PUBLIC KEY-----\n"
_MORNING = "2026-06-01T08:30:00.000Z"


def document() -> Json:
    """Return the OpenAPI 3.1 document, made of plain JSON types alone."""
    described = {
        "openapi": "3.1.0",
        "info": {
            "title": "Identity",
            "version": "1",
            "summary": "Who is this visitor, and what is known of them?",
            "description": (
                "JSON in, JSON out. Times are RFC 3339 in UTC with milliseconds; epoch milliseconds are taken too. "
                "Errors are RFC 9457 problem documents with a code. What a public key sends is answered the same way "
                "whatever was made of it; what was skipped or refused, and why, is seen by admins."
            ),
        },
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": _with_idempotency(_paths()),
        "components": {"securitySchemes": _SECURITY, "schemas": _schemas()},
    }
    whole: Json = msgspec.json.decode(msgspec.json.encode(described))
    return whole


_TAGS = {
    "Events": "For websites, with a channel's public write key. These calls write and never read anything back. "
    "Browsers' preflights are answered with the exact origins of the channels.",
    "Croct": "For Croct's SDK (0.22), whose setting baseEndpointUrl names this service, and appId a channel's id. It "
    "is never told that an event was refused: an error that is final blocks its tab.",
    "Segment": "For the SDKs of Segment and RudderStack, which are told of this service as their host. They are never "
    "told that a message was refused; admins see it.",
    "Footprint": "For CRM systems, with a secret key of the scope profiles:read.",
    "Lookups": "For CRM systems, with a secret key of the scope profiles:read.",
    "Writes": "For CRM systems, with a secret key of the scope profiles:write.",
    "Admin": "With a secret key of the scope admin; everything is within the key's own workspace.",
    "Website": "The browser SDK, for pages of every origin, and the demo shop.",
    "Operations": "For whoever runs the service.",
}

_SECURITY: Json = {
    "writeKey": {
        "type": "apiKey", "in": "header", "name": "X-Write-Key",
        "description": "A channel's public write key. It may also come as the member write_key of the body, so that a "
        "page can post text/plain without a preflight.",
    },
    "appId": {
        "type": "apiKey", "in": "header", "name": "X-App-Id",
        "description": "The id of a channel, as Croct's SDK sends it; public.",
    },
    "segmentKey": {
        "type": "http", "scheme": "basic",
        "description": "A channel's public write key as the user, without a password, as the SDKs send it. It may also "
        "come as writeKey in the body.",
    },
    "secretKey": {
        "type": "http", "scheme": "bearer",
        "description": f"A secret key, sk_…, with scopes out of: {', '.join(Scope)}.",
    },
}  # fmt: skip


def _paths() -> Json:
    return {
        **_event_paths(),
        **_croct_paths(),
        **_segment_paths(),
        **_lookup_paths(),
        **_import_paths(),
        **_footprint_paths(),
        **_ledger_paths(),
        **_undo_paths(),
        **_join_paths(),
        **_erasure_paths(),
        **_explain_paths(),
        **_workspace_paths(),
        **_channel_paths(),
        **_key_paths(),
        **_webhook_paths(),
        **_website_paths(),
        **_operations(),
    }


def _with_idempotency(paths: Json) -> Json:
    """Return the paths with the header that every write with a secret key takes, and the problems that it brings."""
    text = (
        "Makes a retry safe: the request is done once, and its answer given again, with Idempotent-Replayed: true, for "
        f"{IDEMPOTENCY_HOURS_KEPT} hours. 1 to {IDEMPOTENCY_KEY_CHARACTERS_MAX} visible ASCII characters, new for "
        "every request. Answers 429 and 5xx are not kept."
    )
    header = _parameter("Idempotency-Key", "header", text, maxLength=IDEMPOTENCY_KEY_CHARACTERS_MAX)
    problems = {code: PROBLEMS[code][0] for code in (*_IDEMPOTENCY, "body_cut_off", "body_too_slow", "body_too_large")}
    for path, item in paths.items():
        for method in {"post", "patch", "delete"} & item.keys() if path not in READING_PATHS else ():
            told = item[method]
            if any("secretKey" in choice for choice in told["security"]):
                told["parameters"] = [*told.get("parameters", []), header]
                for code, status in problems.items():
                    answer = told["responses"].setdefault(str(status), _problem(status, []))
                    if f"{code}: " not in answer["description"]:
                        answer["description"] = f"{answer['description']} {code}: {PROBLEMS[code][1]}".strip()
    return paths


def _event_paths() -> Json:
    push = {
        "visitor_id": "visitor-1", "customer_id": "42", "display_name": "Ana Lin", "display_mobile": "+886912345678",
    }  # fmt: skip
    sign_in = {"type": "userSignedIn", "event_id": "e-1", "visitor_id": "visitor-1", "userId": "42"}
    decision = DecisionView("display_name", Verdict.SET, None, None, "Ana Lin", None, None)
    validation = Validation(
        accepted=True,
        refusal=None,
        hint=None,
        fields=[decision],
        preview=Preview(
            None, unchanged=False, created_customer=True, customer_id="42", linked=True, decisions=[decision]
        ),
    )
    rejected = EventResult(
        "rejected", (EventError("/customer_id", "missing_customer_id", REFUSAL_HINTS[Refusal.MISSING_CUSTOMER_ID]),)
    )
    one_or_more = f"One event, or as many as {EVENTS_MAX} in a list; {EVENTS_BYTES_MAX // 1024} KiB at most."
    return {
        "/api/v1/authenticate": {
            "post": _operation(
                "Events",
                "authenticate",
                "This visitor is this customer, and here are some fields",
                "New values overwrite old ones, empty ones are ignored, a bad one is skipped and the rest lives on. "
                "The answer is always the same: it tells a holder of the public key nothing about what is held.",
                security=_WRITE_KEY,
                body=("Push", push, f"At most {AUTHENTICATE_BYTES_MAX // 1024} KiB; Content-Type is not relied on."),
                answer=("Taken", "Taken in, whatever was made of it", {"status": "ok"}),
                problems=_PUBLIC,
            )
        },
        "/api/v1/events": {
            "post": _operation(
                "Events",
                "sendEvents",
                "Send events",
                f"{one_or_more} A retry with the same event_id changes nothing. The answer has one result per event, "
                "in order, and speaks of what was sent alone.",
                security=_WRITE_KEY,
                body=("Events", {"events": [sign_in]}, one_or_more),
                answer=("EventResults", "One result per event", {"results": [EventResult("accepted"), rejected]}),
                problems=(*_PUBLIC, "invalid_events", "too_many_events"),
            )
        },
        "/api/v1/validate/authenticate": {
            "post": _operation(
                "Events",
                "validateAuthenticate",
                "What would be made of a push",
                "Stores nothing. With a secret key also the preview: exactly what the live call would decide now.",
                security=_PREVIEW_KEY,
                body=("Push", push, f"At most {AUTHENTICATE_BYTES_MAX // 1024} KiB."),
                answer=("Validation", "What would be made of it", validation),
                problems=(*_PUBLIC, "other_workspace"),
            )
        },
        "/api/v1/validate/events": {
            "post": _operation(
                "Events",
                "validateEvents",
                "What would be made of events",
                "The same for events, each looked at by itself.",
                security=_PREVIEW_KEY,
                body=("Events", {"events": [sign_in]}, one_or_more),
                answer=("Validations", "One validation per event, in order", {"results": [validation]}),
                problems=(*_PUBLIC, "invalid_events", "too_many_events", "other_workspace"),
            )
        },
    }


def _croct_paths() -> Json:
    beacon = {
        "payload": {"type": "userSignedIn", "externalUserId": "42"},
        "context": {"tabId": "01a1fefd-85e7-44f3-9014-6f98ad16a787", "url": "https://shop.example/"},
        "originalTime": 1_780_300_000_000,
        "departureTime": 1_780_300_000_218,
    }
    client = _parameter(
        "X-Client-Id",
        "header",
        "The browser: 32 hexadecimal digits or a UUID; held as the visitor's id, without dashes.",
    )
    token = _parameter("X-Token", "header", "A JWT, unsigned or ES256; its subject is the customer.")
    cid = _parameter("cid", "query", "The client id that the SDK has.")
    minted: Json = {
        "tags": ["Croct"],
        "operationId": "assignClientId",
        "summary": "A client id",
        "description": "A new one, as bare text, or the one given, as it is. Nothing is looked up or kept.",
        "security": [],
        "parameters": [cid],
        "responses": {
            "200": _answer("The client id", "text/plain", {"type": "string"}),
            **_problems(("method_not_allowed", "invalid_query", "query_too_long", "internal_error")),
        },
    }
    declined: Json = {
        "tags": ["Croct"],
        "description": "Not of this service: the SDK's promise is rejected, and its fallback used.",
        "security": [],
        "responses": _problems(("not_provided", "method_not_allowed", "internal_error")),
    }
    return {
        "/client/web/cid": {"get": minted},
        "/client/web/track": {
            "post": _operation(
                "Croct",
                "track",
                "One event",
                "The answer is the same whatever was made of it; only a wrong app id, origin or signature is an error. "
                "A repeated attempt is known by its content and its originalTime, and changes nothing. occurred_at is "
                "originalTime, with the error of the browser's clock (departureTime tells it) taken out to the minute.",
                security=[{"appId": []}],
                parameters=[client, token],
                body=("Beacon", beacon, f"At most {BEACON_BYTES_MAX // 1024} KiB; Content-Type is not relied on."),
                answer=("Taken", "Taken in, whatever was made of it", {"status": "ok"}),
                problems=(
                    *_ALWAYS, "unknown_app_id", "invalid_token", "origin_not_allowed", "body_cut_off", "body_too_slow",
                    "body_too_large",
                ),
            )
        },
        "/client/web/evaluate": {"post": {**declined, "operationId": "evaluate", "summary": "Evaluate a query"}},
        "/client/web/content": {"post": {**declined, "operationId": "fetchContent", "summary": "Fetch content"}},
    }  # fmt: skip


_SEGMENT_EXAMPLES: dict[str, Json] = {
    "identify": {"userId": "42", "anonymousId": "visitor-1", "traits": {"name": "Ana Lin", "plan": "pro"}},
    "track": {"anonymousId": "visitor-1", "event": "Order Completed", "properties": {"order_id": "o-1", "revenue": 25}},
    "page": {"anonymousId": "visitor-1", "name": "Landing", "properties": {"url": "https://shop.example/"}},
    "screen": {"anonymousId": "visitor-1", "name": "Home"},
    "group": {"anonymousId": "visitor-1", "groupId": "tea-club", "traits": {"name": "Tea Club"}},
    "alias": {"previousId": "visitor-1", "userId": "42"},
}


def _segment_paths() -> Json:
    texts = {
        "identify": "With a userId, the visitor is this customer from now on, and the traits are merged. Without one, "
        "they are those of the visitor's present customer, or are kept until the visitor signs in.",
        "alias": "Who was known as previousId (left out: as anonymousId) is this customer. Two customers never become "
        "one, and an alias of an id to itself changes nothing.",
    }
    stored = "Stored in the footprint; it says of nobody who they are."
    size = f"At most {MESSAGE_BYTES_MAX // 1024} KiB a message. Content-Type is not relied on; gzip and deflate are."
    problems = (
        "missing_key", "unknown_key", "origin_not_allowed", "not_a_json_object", "invalid_encoding", "body_cut_off",
        "body_too_slow", "body_too_large", *_ALWAYS,
    )  # fmt: skip
    answer = ("Success", "Taken in, whatever was made of it", {"success": True})
    security: list[Json] = [{"segmentKey": []}, *_WRITE_KEY]
    paths: Json = {}
    for path, kind in MESSAGE_PATHS.items():
        is_short = not path.endswith(kind)
        paths[path] = {
            "post": _operation(
                "Segment",
                f"segment{kind.capitalize()}{'InBrowsers' * is_short}",
                f"{kind}, as browsers send it" if is_short else kind,
                f"As {SEGMENT_PATH}/{kind}." if is_short else texts.get(kind, stored),
                security=security,
                body=("SegmentMessage", _SEGMENT_EXAMPLES[kind], size),
                answer=answer,
                problems=problems,
            )
        }
    messages = [{"type": kind, **message} for kind, message in _SEGMENT_EXAMPLES.items()]
    for path in BATCH_PATHS:
        name = path.removeprefix(f"{SEGMENT_PATH}/")
        paths[path] = {
            "post": _operation(
                "Segment",
                f"segment{name.capitalize()}",
                "Messages of any type",
                "Each with its type. A wrong one is refused alone, and listed for admins."
                if path == BATCH_PATHS[0]
                else f"As {BATCH_PATHS[0]}.",
                security=security,
                body=(
                    "SegmentBatch",
                    {"batch": messages, "sentAt": _MORNING},
                    f"At most {MESSAGES_MAX} messages and {BATCH_BYTES_MAX // 1024} KiB, inflated. {size}",
                ),
                answer=answer,
                problems=(*problems, "invalid_batch", "too_many_messages"),
            )
        }
    paths[METRICS_PATH] = {
        "post": _operation(
            "Segment", "segmentMetrics", "Metrics of the browser's SDK", "Taken and dropped.",
            security=[], answer=answer, problems=("method_not_allowed", "internal_error"),
        )
    }  # fmt: skip
    sending = {"apiKey": "wk_…", "apiHost": f"identity.shop.example{SEGMENT_PATH}", "protocol": "https"}
    paths[SETTINGS_PATH] = {
        "get": _operation(
            "Segment",
            "segmentSettings",
            "What the browser's SDK asks before it starts",
            "It is told to send to the host that it asked; by https if its page came so, or X-Forwarded-Proto says so.",
            security=[],
            parameters=[_parameter("write_key", "path", "The channel's write key.")],
            answer=(
                "SegmentSettings",
                "The settings",
                {"integrations": {"Segment.io": sending}, "plan": {}, "metrics": {"sampleRate": 0}},
            ),
            problems=("not_found", "unknown_key", "origin_not_allowed", *_ALWAYS),
        )
    }
    return paths


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
                "messageId": _text(f"Tells retries from new messages; up to {EVENT_ID_CHARACTERS_MAX} characters."),
                "anonymousId": {**identifier, "description": visitor},
                "userId": {**identifier, "description": customer},
                "previousId": {**identifier, "description": "Of alias: as whom the customer was known until now."},
                "groupId": {**identifier, "description": "Of group, required."},
                "event": _text("Of track, required: the name of the event."),
                "name": _text("Of page and screen."),
                "category": _text("Of page and screen; kept as a property."),
                "properties": {"type": ["object", "null"], "description": "Of track, page and screen."},
                "traits": _ref("SegmentTraits"),
                "context": {
                    "type": "object",
                    "description": "Kept are url, title and referrer of its page, and the name of its library. Of "
                    "identify its traits are read, under those of the message.",
                },
                "timestamp": {**time, "description": "When it happened; default: on arrival."},
                "originalTimestamp": {**time, "description": "The same; goes before timestamp."},
                "sentAt": {**time, "description": "The sender's clock as it sent this; takes its error out."},
                "writeKey": _text("The channel's write key, unless a header brings it."),
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
                "batch": {"type": "array", "items": _ref("SegmentMessage"), "maxItems": MESSAGES_MAX},
                "sentAt": {**time, "description": "Of the messages that do not tell it themselves."},
                "writeKey": _text("The channel's write key, unless a header brings it."),
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


def _customer_change() -> Callable[..., Json]:
    """Return what describes a PATCH of a customer: by name and summary, the place of the id, and its own problems."""
    at = 1_780_302_600_000
    decisions = (
        Decision("display_name", Verdict.OVERWROTE, None, "Ana", "Ana Lin"),
        Decision("birth", Verdict.UNSET, None, "1995-01-31"),
    )
    merge = Merge(
        merge_id=_ID, customer_id="42", version=3, source=CRM_SOURCE, event=CRM_PATCH, occurred_at=at, received_at=at,
        policy=Policy.OVERWRITE, decisions=decisions, actor="key:CRM",
    )  # fmt: skip
    match = _parameter(
        "If-Match", "header", "The ETag of a lookup, or a version in quotes: changed only if still at that version."
    )
    none_match = _parameter("If-None-Match", "header", "Makes the customer, if there is none.", enum=["*"])
    text = (
        "Fields by the names that they are held by, or by clIdentity's. What is left out stays; null takes a value "
        "away; all else that is empty is ignored; a bad value is skipped and the rest taken. Locks do not hold against "
        "it. The answer tells what became of each field; its merge_id is null where nothing was to be changed."
    )

    def describe(name: str, summary: str, place: str, *problems: str) -> Json:
        return _operation(
            "Writes",
            name,
            summary,
            text,
            security=[{"secretKey": [str(Scope.PROFILES_WRITE)]}],
            parameters=[_customer_id(place), match, none_match],
            body=(
                "CustomerChange", {"display_name": "Ana Lin", "birth": None}, f"At most {PATCH_BYTES_MAX // 1024} KiB.",
            ),
            answer=("CustomerChanged", "The merge", merge_view(merge)),
            problems=(
                *_SECRET, *_BODY, "customer_not_found", "invalid_condition", "write_refused", "customer_exists",
                "version_changed", "other_customer_id", *problems,
            ),
        )  # fmt: skip

    return describe


_REMOVED = Removed(customers=1, merges=5, links=2, visitors=2, identifications=2, events=120, refusals=1)
_HASH = "5f2c" * 16


def _erase(name: str, summary: str, place: str, *problems: str) -> Json:
    dry_run = _parameter("dry_run", "query", "true: only tell what would be removed.", enum=["true", "false"])
    told = _operation(
        "Writes",
        name,
        summary,
        "Everything goes that is held of the customer and of all that are joined with it: profile, ledger, links, "
        "footprint, refusals; visitors that were nobody else's wholly, of shared ones what they did in the customer's "
        "time. A keyed hash of the id stays, by which later events that name the customer are refused as "
        "erased_customer. It cannot be taken back. Of who is erased already, the receipt is given again.",
        security=[{"secretKey": [str(Scope.PROFILES_WRITE)]}],
        parameters=[_customer_id(place), dry_run],
        answer=("Receipt", "What was removed, in rows", Receipt(_HASH, _MORNING, False, False, _REMOVED)),  # noqa: FBT003
        problems=(
            *_SECRET, "customer_not_found", "invalid_dry_run", "invalid_query", "query_too_long", "unknown_parameter",
            *problems,
        ),
    )  # fmt: skip
    told["responses"]["202"] = {
        **told["responses"]["200"],
        "description": "There is so much that it goes on after the answer; ask again for the final receipt.",
    }
    return told


def _erasure_paths() -> Json:
    view = ErasureView(
        customer_hash=_HASH, erased_at=_MORNING, erased_by="key:CRM", pending=False, version=7, bucket=1910,
        removed=_REMOVED, lifted_at=None, lifted_by=None,
    )  # fmt: skip
    lifted = msgspec.structs.replace(view, lifted_at=_MORNING, lifted_by="key:admin")
    held = HeldCustomer(
        "42", 2, _MORNING, _MORNING, None, {"display_name": HeldValue("Ana Lin", _MORNING, 2)}, locked=[]
    )  # fmt: skip
    megabytes = DISCLOSURE_BYTES_MAX // 1024 // 1024
    return {
        "/api/v1/customers/{customer_id}/export": {
            "get": _operation(
                "Lookups",
                "exportCustomer",
                "Everything that is held of a person",
                "Profile, ledger, visitors, footprint and refusals of the customer and of all that are joined with it, "
                f"as one document of at most {megabytes} MiB; the command line writes longer ones. Of visitors that "
                "others were too, only what is the person's.",
                security=[{"secretKey": [str(Scope.PROFILES_READ)]}],
                parameters=[_customer_id("path")],
                answer=("PersonDocument", "The document", PersonDocument("42", _MORNING, [held], [], [], [], [])),
                problems=(
                    *_SECRET, "customer_not_found", "too_much_held", "invalid_query", "query_too_long",
                    "unknown_parameter", "not_found",
                ),
            )
        },
        ERASURES_PATH: {
            "get": _admin(
                "listErasures",
                "Who was erased",
                "By keyed hashes of the ids, in order of these. Nothing else is left of anybody.",
                parameters=[_filter(name, Reason) for name in ("limit", "cursor")],
                answer=("ErasurePage", "Erasures", ErasurePage([view], None)),
                problems=_QUERY,
                paged=True,
            )
        },
        f"{ERASURES_PATH}/{{customer_hash}}/lift": {
            "post": _admin(
                "liftErasure",
                "Let an erased customer be taken again",
                "From the next event on. Nothing comes back by itself; the customer's versions go on where they were.",
                parameters=[_parameter("customer_hash", "path", "As the receipt tells it.")],
                answer=("ErasureView", "The erasure, lifted", lifted),
                problems=("erasure_not_found", "erasure_pending", "not_found"),
            )
        },
    }  # fmt: skip


def _import_paths() -> Json:
    sent = {"customer_id": "42", "display_name": "Ana Lin", "phone": "0912345678"}
    limits = (
        f"At most {IMPORT_LINES_MAX} lines, {IMPORT_LINE_BYTES_MAX // 1024} KiB each, "
        f"{IMPORT_BYTES_MAX // 1024 // 1024} MiB together, and no pause of more than {IMPORT_PAUSE_SECONDS_MAX:.0f} s."
    )
    fault = ImportFault("display_mobile", "no_country_code", "Send the number with + and its country code.")
    told = _operation(
        "Writes",
        "importCustomers",
        "Many customers, a line each",
        "NDJSON in, one result a line out, in order and as soon as it is committed. A line is an object with "
        "customer_id and fields by the names that they are held by, or by clIdentity's, beside it or in fields; "
        "occurred_at or set_at (a time for each field) tell when they were so, removed when fields went. status is "
        "created, changed, unchanged, rejected, or committed, of what nobody told about. Faulty fields are skipped and "
        "told. A last line of status ended, with code and message, tells of a body that could not be read to its end: "
        "what was told of before it is committed. The whole is an operation, named in Identity-Operation-Id.",
        security=[{"secretKey": [str(Scope.PROFILES_WRITE)]}],
        parameters=[_parameter("note", "query", "Why, for those who read the ledger.",
                               maxLength=IMPORT_NOTE_CHARACTERS_MAX)],
        body=("ImportLine", sent, limits),
        answer=("ImportResult", "One result a line", ImportResult(1, "created", "42", 1, [fault])),
        problems=(*_SECRET, "body_too_large", "unsupported_encoding", "invalid_query", "query_too_long"),
    )  # fmt: skip
    content = told["responses"]["200"]["content"]
    content["application/x-ndjson"] = content.pop("application/json")
    told["responses"]["200"]["headers"] = {"Identity-Operation-Id": _header("The operation, to look it up or undo it.")}
    lines = told["requestBody"]["content"]
    lines["application/x-ndjson"] = lines["application/json"]
    return {IMPORT_PATH: {"post": told}}


def _lookup_paths() -> Json:
    customer = CustomerView(
        customer_id="42",
        version=2,
        created_at=_MORNING,
        updated_at=_MORNING,
        fields={"display_name": "Ana Lin"},
        visitors=[VisitorView("visitor-1", _MORNING, current=True)],
        provenance={"display_name": Provenance(_MORNING, _ID, "clIdentity", _CHANNEL)},
    )
    identification = IdentificationView(
        identification_id=_ID,
        kind=FactKind.IDENTIFIED,
        customer_id="42",
        occurred_at=_MORNING,
        received_at=_MORNING,
        event="clIdentity",
        event_id=None,
        channel_id=_CHANNEL,
        source="channel",
        applied=True,
        decisions=[],
    )
    include = _parameter("include", "query", "Add, per field, which merge set it and when.", enum=["provenance"])
    as_of = _parameter("as_of", "query", "What was held at this instant: RFC 3339 or epoch milliseconds.")
    known = {
        "name": "If-None-Match", "in": "header", "description": "The ETag of an answer at hand.",
        "schema": {"type": "string"},
    }  # fmt: skip
    by_id: dict[str, Any] = {
        "security": [{"secretKey": [str(Scope.PROFILES_READ)]}],
        "answer": ("CustomerView", "The customer", customer),
        "not_modified": True,
    }
    problems = (*_SECRET, "customer_not_found", "unknown_include", *_PAST, "ledger_too_long")
    change = _customer_change()
    return {
        "/api/v1/customers/{customer_id}": {
            "get": _operation(
                "Lookups",
                "findCustomer",
                "A customer",
                "What is held: fields by name, and the visitors that were ever linked, the current ones first.",
                parameters=[_customer_id("path"), include, as_of, known],
                problems=(*problems, "not_found"),
                **by_id,
            ),
            "patch": change("changeCustomer", "Change a customer", "path", "not_found"),
            "delete": _erase("eraseCustomer", "Erase a customer", "path", "not_found"),
        },
        "/api/v1/customers": {
            "get": _operation(
                "Lookups",
                "findCustomerByQuery",
                "A customer whose id does not fit a path",
                "The same, for ids such as “..”, and behind proxies that decode %2F.",
                parameters=[_customer_id("query"), include, as_of, known],
                problems=(*problems, "missing_customer_id"),
                **by_id,
            ),
            "patch": change(
                "changeCustomerByQuery",
                "Change a customer whose id does not fit a path",
                "query",
                "missing_customer_id",
                "invalid_query",
                "query_too_long",
            ),
            "delete": _erase(
                "eraseCustomerByQuery", "Erase a customer whose id does not fit a path", "query", "missing_customer_id"
            ),
        },
        "/api/v1/customers/lookup": {
            "post": _operation(
                "Lookups",
                "lookUpCustomers",
                "Customers by ids, e-mails, phones or visitors",
                f"One kind of input, at most {LOOKUP_INPUTS_MAX}. One result per input, in order; whom nothing is "
                f"found for has an empty list, and at most {CUSTOMERS_PER_INPUT_MAX} customers stand in one.",
                security=[{"secretKey": [str(Scope.PROFILES_READ)]}],
                body=("Lookup", {"emails": ["ana@shop.example"]}, f"At most {LOOKUP_BYTES_MAX // 1024} KiB."),
                answer=(
                    "LookupResults",
                    "One result per input",
                    {
                        "results": [
                            LookupResult("ana@shop.example", [msgspec.structs.replace(customer, provenance=None)])
                        ]
                    },
                ),
                problems=(*_SECRET, *_BODY, "invalid_lookup", "too_many_inputs"),
            )
        },
        **{
            path: {
                "get": _operation(
                    "Lookups",
                    name,
                    summary,
                    "Whose it is now, and everything that was said of it, the last arrival first, at most "
                    f"{IDENTIFICATIONS_MAX}.",
                    security=[{"secretKey": [str(Scope.PROFILES_READ)]}],
                    parameters=[_visitor_id(place), as_of],
                    answer=(
                        "VisitorPage",
                        "The visitor",
                        VisitorPage("visitor-1", "42", _MORNING, [identification]),
                    ),
                    problems=(*_SECRET, "visitor_not_found", *_PAST, *more),
                )
            }
            for path, name, summary, place, more in (
                ("/api/v1/visitors/{visitor_id}", "findVisitor", "A visitor", "path", ("not_found",)),
                (
                    "/api/v1/visitors",
                    "findVisitorByQuery",
                    "A visitor whose id does not fit a path",
                    "query",
                    ("missing_visitor_id",),
                ),
            )
        },
    }


def _footprint_paths() -> Json:
    event = FootprintEvent(
        record_id=_ID,
        type="purchase",
        label=None,
        occurred_at=_MORNING,
        received_at=_MORNING,
        visitor_id="visitor-1",
        customer_id="42",
        contested=False,
        event_id="e-1",
        channel_id=_CHANNEL,
        props=msgspec.Raw(b'{"transaction_id":"o-1","revenue":490}'),
        remarks=(),
        order_id="o-1",
        revenue=490,
        currency="TWD",
    )
    shown = msgspec.json.decode(msgspec.json.encode(FootprintPage([event], None)))  # the props are raw
    summary = FootprintSummary(
        customer_id="42",
        first_seen=_MORNING,
        last_seen=_MORNING,
        events=1,
        types={"purchase": 1},
        sessions=1,
        visitors=1,
        orders=1,
        revenue=[Revenue("TWD", 490, 1)],
    )
    security = [{"secretKey": [str(Scope.PROFILES_READ)]}]
    filters = [
        _parameter("type", "query", "Only of this type; may be given again, or be a list with commas."),
        _parameter("from", "query", "Happened at this time or later: RFC 3339 or epoch milliseconds."),
        _parameter("to", "query", "Happened before this time: RFC 3339 or epoch milliseconds."),
        _filter("limit", Reason),
        _filter("cursor", Reason),
    ]
    paged = (*_SECRET, *_QUERY, "invalid_from", "invalid_to", "invalid_type")
    newest = "What was done, by the time it happened, the newest first. "
    whose = (
        "Whose it is follows from the identifications, now: what a visitor did from one identification to the next, "
        "what it did before the first one, and after a sign-out if the same customer comes back. "
    )
    kept = "What is past the workspace's footprint_days is not shown."

    def page(name: str, summary: str, text: str, parameters: list[Json], problems: tuple[str, ...]) -> Json:
        return {
            "get": _operation(
                "Footprint",
                name,
                summary,
                text,
                security=security,
                parameters=[*parameters, *filters],
                answer=("FootprintPage", "One page", shown),
                paged=True,
                problems=(*paged, *problems),
            )
        }

    def total(name: str, summary_line: str, place: str, problems: tuple[str, ...]) -> Json:
        return {
            "get": _operation(
                "Footprint",
                name,
                summary_line,
                f"Over everything that is shown of it. {kept}",
                security=security,
                parameters=[_customer_id(place)],
                answer=("FootprintSummary", "The summary", summary),
                problems=(*_SECRET, "customer_not_found", "query_too_slow", *problems),
            )
        }

    either = [
        {**_customer_id("query"), "required": False},
        {**_visitor_id("query"), "required": False},
    ]
    return {
        "/api/v1/customers/{customer_id}/footprint": page(
            "findFootprint",
            "What a customer did, on all devices",
            f"{newest}{whose}Also what named the customer without any visitor. {kept}",
            [_customer_id("path")],
            ("customer_not_found", "not_found"),
        ),
        "/api/v1/customers/{customer_id}/footprint/summary": total(
            "sumFootprint", "What a customer's footprint comes to", "path", ("not_found",)
        ),
        "/api/v1/visitors/{visitor_id}/footprint": page(
            "findFootprintOfVisitor",
            "What a visitor did",
            f"{newest}customer_id is whose it is. {whose}Between two different customers it is contested, and "
            f"nobody's. {kept}",
            [_visitor_id("path")],
            ("visitor_not_found", "not_found"),
        ),
        "/api/v1/footprint": page(
            "findFootprintByQuery",
            "The footprint of an id that does not fit a path",
            "The same, of a customer or of a visitor: one of the two is to be named.",
            either,
            ("customer_not_found", "visitor_not_found", "missing_subject"),
        ),
        "/api/v1/footprint/summary": total(
            "sumFootprintByQuery",
            "The summary of a customer whose id does not fit a path",
            "query",
            ("missing_customer_id", "unknown_parameter", "invalid_query", "query_too_long"),
        ),
    }


def _ledger_paths() -> Json:
    merge = MergeView(
        merge_id=_ID,
        customer_id="42",
        visitor_id="visitor-1",
        channel_id=_CHANNEL,
        source="channel",
        event="clIdentity",
        event_id=None,
        occurred_at=_MORNING,
        received_at=_MORNING,
        created_customer=False,
        undone_by=None,
        version=2,
        decisions=[
            DecisionView("display_name", Verdict.OVERWROTE, None, "Ana", "Ana Lin", None, None),
            DecisionView(
                "display_mobile",
                Verdict.SKIPPED_INVALID,
                Reason.NO_COUNTRY_CODE,
                None,
                None,
                "0912345678",
                HINTS[Reason.NO_COUNTRY_CODE],
            ),
        ],
    )
    refusal = RefusalView(
        refusal_id=_ID,
        reason=Refusal.BLOCKED_CUSTOMER_ID,
        hint=REFUSAL_HINTS[Refusal.BLOCKED_CUSTOMER_ID],
        event="clIdentity",
        event_id=None,
        visitor_id="visitor-1",
        customer_id="undefined",
        channel_id=_CHANNEL,
        fields=["display_name"],
        faults=[],
        occurred_at=_MORNING,
        received_at=_MORNING,
    )
    return {
        "/api/v1/admin/merges": {
            "get": _admin(
                "listMerges",
                "Merges",
                "The ledger, newest first, changes of links alone left out. field, verdict and reason must meet in one "
                "decision. Times are those of arrival, from included, to not.",
                parameters=[_filter(name, Reason) for name in MERGE_FILTERS],
                answer=("MergePage", "One page", MergePage([merge], None)),
                paged=True,
                problems=(
                    *_RANGE,
                    "invalid_customer_id", "invalid_visitor_id", "invalid_event", "invalid_field", "invalid_verdict",
                ),
            )
        },
        "/api/v1/admin/merges/{merge_id}": {
            "get": _admin(
                "findMerge",
                "One merge",
                "Also one that changed links alone.",
                parameters=[_uuid("merge_id")],
                answer=("MergeView", "The merge", merge),
                problems=("merge_not_found",),
            )
        },
        "/api/v1/admin/refusals": {
            "get": _admin(
                "listRefusals",
                "Refused events",
                "Newest first. The counts are complete and of all time; only channel_id narrows them.",
                parameters=[_filter(name, Refusal) for name in REFUSAL_FILTERS],
                answer=(
                    "RefusalPage",
                    "One page, and the counts",
                    RefusalPage([refusal], None, {Refusal.BLOCKED_CUSTOMER_ID: 1}),
                ),
                paged=True,
                problems=_RANGE,
            )
        },
    }  # fmt: skip


def _explain_paths() -> Json:
    offer = OfferView(
        value="Ana Lin",
        raw=None,
        merge_id=_ID,
        event="clIdentity",
        source="channel",
        channel_id=_CHANNEL,
        visitor_id="visitor-1",
        occurred_at=_MORNING,
        received_at=_MORNING,
        outcome=Outcome.HELD,
        reason=None,
        hint=OUTCOMES[Outcome.HELD],
        by=None,
    )
    lost = msgspec.structs.replace(
        offer, value="Ana", outcome=Outcome.OVERWRITTEN, hint=OUTCOMES[Outcome.OVERWRITTEN], by=_ID
    )
    lock = FieldLock(_ID, "key:Admin", "checked by phone", _MORNING)
    stretch = StretchExplanation(
        since=None,
        until=None,
        customer_id="42",
        contested=False,
        reason=StretchReason.BEFORE_FIRST,
        hint=STRETCH_REASONS[StretchReason.BEFORE_FIRST],
        identification_id=None,
        settled_by=_ID,
        between=[],
        taken_back=[],
    )
    changed = ChangedBy(
        _ID, "clIdentity", "channel", None, None, _CHANNEL, "visitor-1", _MORNING, _MORNING, "Ana", "Ana Lin"
    )
    key = CheckView(
        CheckName.KEY, ok=False, code="unknown_key", sentence=PROBLEMS["unknown_key"][1], details=CheckDetails()
    )
    query = ("invalid_query", "query_too_long", "unknown_parameter", "not_found")
    return {
        "/api/v1/admin/customers/{customer_id}/explain": {
            "get": _admin(
                "explainCustomer",
                "Why a customer's fields hold what they hold",
                "Per field the value that is held, and every other one that was seen, with what became of it: at most "
                f"{OTHERS_SHOWN_MAX}, the newest. Where nothing was ever taken back, the newest {ROWS_EXPLAINED_MAX:,} "
                "rows of the ledger are looked at; of one field alone, all.",
                parameters=[
                    _customer_id("path"),
                    _parameter("field", "query", "Only this field, by the name it is held by."),
                ],
                answer=(
                    "CustomerExplanation",
                    "The explanation",
                    CustomerExplanation(
                        customer_id="42",
                        version=2,
                        gone=False,
                        joined_into=None,
                        fields=[FieldExplanation("display_name", offer, lock, [lost], more=False)],
                        complete=True,
                    ),
                ),
                problems=(*query, "customer_not_found", "invalid_field", "ledger_too_long"),
            )
        },
        "/api/v1/admin/customers/{customer_id}/diff": {
            "get": _admin(
                "compareCustomer",
                "What changed between two instants",
                "Fields and links that differ, and what changed the fields in between. Without from, all is new.",
                parameters=[
                    _customer_id("path"),
                    _parameter("from", "query", "The first instant: RFC 3339 or epoch milliseconds."),
                    _parameter("to", "query", "The second; default: now."),
                ],
                answer=(
                    "CustomerDiff",
                    "What differs",
                    CustomerDiff(
                        customer_id="42",
                        version_before=1,
                        version_after=2,
                        fields=[FieldDiff("display_name", "Ana", "Ana Lin", [changed], more=False)],
                        links=[LinkDiff("visitor-1", None, VisitorView("visitor-1", _MORNING, current=True))],
                        complete=True,
                    ),
                ),
                problems=(
                    *query, "customer_not_found", "invalid_from", "invalid_to", "ledger_too_long", "log_too_long",
                ),
            )
        },
        "/api/v1/admin/visitors/{visitor_id}/explain": {
            "get": _admin(
                "explainVisitor",
                "Why a visitor is whose it is",
                "Its time, stretch by stretch, and everything that was said of it, with what became of that: at most "
                f"{STRETCHES_SHOWN_MAX} of each, the newest; and the last refused events that named it.",
                parameters=[_visitor_id("path")],
                answer=(
                    "VisitorExplanation",
                    "The explanation",
                    VisitorExplanation("visitor-1", "42", _MORNING, [stretch], [], more=False, refusals=[]),
                ),
                problems=(*query, "visitor_not_found", "log_too_long", "query_too_slow"),
            )
        },
        "/api/v1/admin/explain": {
            "post": _admin(
                "explainRequest",
                "Why a request did not arrive",
                "What the service would say of it, check by check. Nothing is written.",
                body=(
                    "RequestAsked",
                    {"write_key": "wk_…", "origin": "https://shop.example", "body": {"customer_id": "42"}},
                    f"At most {EXPLAIN_BYTES_MAX // 1024} KiB.",
                ),
                answer=("ArrivalExplanation", "The checks, in order", ArrivalExplanation(arrives=False, checks=[key])),
                problems=(*_BODY, "invalid_body", "query_too_slow"),
            )
        },
    }  # fmt: skip


def _undo_paths() -> Json:
    before = DecisionView("display_name", Verdict.OVERWROTE, None, "Zoe", "Ana", None, None)
    act = MergeView(
        merge_id=_ID, customer_id="42", visitor_id=None, channel_id=None, source="admin", event="undo", event_id=None,
        occurred_at=_MORNING, received_at=_MORNING, created_customer=False, undone_by=None, version=3,
        decisions=[before], act=Act.UNDO, undoes=[_ID], actor="key:Ana", reason="a shared tablet",
    )  # fmt: skip
    undone = UndoView(dry_run=False, applied=True, customer_id="42", customer_gone=False, undone=[_ID], merge=act)
    unlinked = UnlinkView(
        dry_run=False, applied=True, visitor_id="visitor-1", undone=[_ID], identification_id=_ID, customer_before="42",
        customer_after=None, stretches_before=[StretchView(None, None, "42", contested=False)],
        stretches_after=[StretchView(None, None, None, contested=False)], merges=[],
    )  # fmt: skip
    operation = OperationView(
        operation_id=_ID, kind="undo", status="running", actor="key:Ana", reason="the key was stolen",
        parameters={"channel_id": _CHANNEL, "from": _MORNING}, progress={"merges": 120, "identifications": 14},
        created_at=_MORNING, finished_at=None,
    )  # fmt: skip
    asked = {"reason": "a shared tablet", "dry_run": True}
    return {
        "/api/v1/admin/merges/{merge_id}/undo": {
            "post": _admin(
                "undoMerge",
                "Take a merge back",
                "What it had set falls back to the next best value that counts, or to nothing; fields set since stay. "
                "The undo is a row of the ledger itself: undo that one to restore. What is undone already stays so: "
                "applied is false. With dry_run nothing is written, and the answer is what would be done.",
                parameters=[_uuid("merge_id")],
                body=("UndoAsked", asked, "Why, and whether really."),
                answer=("UndoView", "What was done", undone),
                problems=(*_BODY, "invalid_body", "unusable_reason", "merge_not_found", "not_undoable",
                          "customer_not_found"),
            )
        },
        "/api/v1/admin/identifications/{identification_id}/undo": {
            "post": _admin(
                "undoIdentification",
                "Take an identification or a sign-out back",
                "Whose the visitor and its footprint are follows from what is left. Values that a customer got of the "
                "anonymous visitor by it go as well. The answer's identification_id restores it, if that is undone.",
                parameters=[_uuid("identification_id")],
                body=("UndoAsked", {**asked, "visitor_id": "visitor-1"}, "Of which visitor it was said, and why."),
                answer=("UnlinkView", "What was done", unlinked),
                problems=(*_BODY, "invalid_body", "unusable_reason", "missing_visitor_id", "visitor_not_found",
                          "identification_not_found", "log_too_long"),
            )
        },
        "/api/v1/admin/undo": {
            "post": _admin(
                "undoMany",
                "Take back all that a filter finds",
                "All merges and identifications of one channel, visitor or customer since a time, or of one operation "
                "(an import, a bulk undo). A worker does it in steps; the answer's operation_id tells how far it is. "
                "With dry_run the answer counts, and shows the first ones as they would become.",
                body=(
                    "BulkAsked",
                    {"filter": {"channel_id": _CHANNEL, "from": _MORNING}, "reason": "the key was stolen"},
                    "filter: from, to, channel_id, visitor_id, customer_id, event, operation_id.",
                ),
                answer=("OperationView|BulkPreview", "What was begun or, with dry_run, would be done", operation),
                problems=(*_BODY, "invalid_body", "unusable_reason", "invalid_filter"),
            )
        },
        "/api/v1/admin/operations": {
            "get": _admin(
                "listOperations",
                "Imports and bulk undos",
                "The newest first, and how far they are.",
                answer=("OperationList", "The newest", OperationList([operation])),
                problems=(),
            )
        },
        "/api/v1/admin/operations/{operation_id}": {
            "get": _admin(
                "findOperation",
                "One import or bulk undo",
                "How far it is.",
                parameters=[_uuid("operation_id")],
                answer=("OperationView", "The operation", operation),
                problems=("operation_not_found",),
            )
        },
    }  # fmt: skip


def _join_paths() -> Json:
    locked = LockView(customer_id="42", locked=["display_name"], merge=None)
    change = DecisionView("display_name", Verdict.SET, None, None, "Ana", None, None)
    joined = JoinView(
        dry_run=False, applied=True, customer_id="17", into="42", changes={"17": [], "42": [change]},
        fields={"display_name": "Ana"}, merges=3, customer_merges=0,
    )  # fmt: skip
    taken_apart = msgspec.structs.replace(joined, changes={"17": [], "42": []}, fields={}, merges=0)
    asked = {"reason": "one person, two cards", "dry_run": True}
    joining = (*_BODY, "invalid_body", "unusable_reason", "customer_not_found")
    suggestion = Suggestion("email", "ana@shop.example", ["17", "42"], 2, [])
    return {
        "/api/v1/admin/customers/{customer_id}/locks": {
            "post": _admin(
                "lockFields",
                "Lock fields, or unlock them",
                "What websites send to a locked field is kept_existing with the reason locked. A CRM's writes and "
                "imports are not bound by locks.",
                parameters=[_customer_id("path")],
                body=("LockAsked", {"fields": ["display_name"], "locked": True, "reason": "as on the card"}, "Which."),
                answer=("LockView", "What is locked now", locked),
                problems=(*joining, "invalid_fields"),
            )
        },
        "/api/v1/admin/customers/{customer_id}/join": {
            "post": _admin(
                "joinCustomers",
                "Declare two customer ids one person",
                "The customer in the path answers with the profile of into ever after, and so do its visitors and its "
                "footprint. Its ledger is merged into that of into, by the same rules. unjoin takes them apart.",
                parameters=[_customer_id("path")],
                body=("JoinAsked", {"into": "42", **asked}, "Whom the customer is."),
                answer=("JoinView", "What was done", joined),
                problems=(*joining, "invalid_into", "join_with_itself", "already_joined", "has_joined",
                          "too_many_joined", "ledger_too_long"),
            )
        },
        "/api/v1/admin/customers/{customer_id}/unjoin": {
            "post": _admin(
                "unjoinCustomer",
                "Take a joined customer apart again",
                "Both hold what they would hold without the join; what named the customer meanwhile goes with it.",
                parameters=[_customer_id("path")],
                body=("JoinAsked", asked, "Why, and whether really."),
                answer=("JoinView", "What was done", taken_apart),
                problems=(*joining, "not_joined"),
            )
        },
        "/api/v1/admin/suggestions": {
            "get": _admin(
                "listSuggestions",
                "Customers who may be one",
                "They share an e-mail address or a phone number. Nothing is joined by that.",
                parameters=[
                    _parameter("shared", "query", "email (default) or phone."),
                    _parameter("after", "query", "next_after of the page before."),
                    _filter("limit", Reason),
                ],
                answer=("SuggestionPage", "One page", SuggestionPage([suggestion], None)),
                paged=True,
                problems=("invalid_query", "query_too_long", "unknown_parameter", "invalid_limit", "invalid_shared",
                          "invalid_after"),
            )
        },
        "/api/v1/admin/suggestions/dismiss": {
            "post": _admin(
                "dismissSuggestion",
                "Two customers are not one",
                "They are not suggested again; with dismissed false they may be.",
                body=("DismissAsked", {"customer_ids": ["17", "42"], "reason": "mother and child"}, "The two."),
                answer=("DismissAsked", "As it was taken", DismissAsked(["17", "42"], reason="mother and child")),
                problems=(*_BODY, "invalid_body", "unusable_reason", "invalid_customer_ids"),
            )
        },
    }  # fmt: skip


def _workspace_paths() -> Json:
    workspace = WorkspaceView(slug="main", spread=1, footprint_days=395, blocked_customer_ids=None, created_at=_MORNING)
    return {
        "/api/v1/admin/workspace": {
            "get": _admin(
                "findWorkspace",
                "The workspace itself",
                "blocked_customer_ids null: the list that comes with the service.",
                answer=("WorkspaceView", "The workspace", workspace),
                problems=(),
            ),
            "patch": _admin(
                "changeWorkspace",
                "Change the workspace",
                "What is left out stays. The change counts at once, in every worker. Fewer footprint_days hide what is "
                "past them at once; more do not bring it back, nor keep longer what has arrived.",
                body=("WorkspaceChange", {"footprint_days": 90}, "At least what is to be changed."),
                answer=("WorkspaceView", "The workspace", msgspec.structs.replace(workspace, footprint_days=90)),
                problems=(*_BODY, "invalid_body", "invalid_footprint_days", "invalid_blocked_customer_ids"),
            ),
        }
    }


def _channel_paths() -> Json:
    channel = ChannelView(
        channel_id=_CHANNEL,
        name="Shop",
        write_key="wk_3kT0xUq9ZpQm2vYb5sLw1aRc",
        website_tracking=True,
        origins=["https://shop.example"],
        on_sign_out="forget",
        signed_identity="required",
        unsigned_writes="overwrite",
        identity_keys=[
            IdentityKeyView(key_id_of(_CHANNEL), Algorithm.ES256, public_key=_PUBLIC_KEY),
            IdentityKeyView("site-2027", Algorithm.HS256, hint="9xQ4"),
        ],
        created_at=_MORNING,
        revoked_at=None,
    )
    one = ("ChannelView", "The channel", channel)
    values = (*_BODY, *_NAMED, "invalid_origins")
    signed = ("invalid_signed_identity", "invalid_unsigned_writes", "invalid_identity_keys")
    return {
        "/api/v1/admin/channels": {
            "get": _admin(
                "listChannels",
                "Channels",
                "Newest first, revoked ones included.",
                parameters=[_filter(name, Reason) for name in ("limit", "cursor")],
                answer=("ChannelPage", "One page", ChannelPage([channel], None)),
                paged=True,
                problems=_QUERY,
            ),
            "post": _admin(
                "createChannel",
                "Make a channel",
                "It gets a write key of its own. Origins are those of the pages that may send, as browsers name them; "
                "loopback stands for every port of the page's own machine.",
                body=("NewChannel", {"name": "Shop", "origins": ["https://shop.example"]}, f"≤ {ORIGINS_MAX} origins."),
                answer=one,
                problems=(*values, "too_many_channels"),
            ),
        },
        "/api/v1/admin/channels/{channel_id}": {
            "get": _admin(
                "findChannel",
                "One channel",
                "Also a revoked one.",
                parameters=[_uuid("channel_id")],
                answer=one,
                problems=("channel_not_found",),
            ),
            "patch": _admin(
                "changeChannel",
                "Change a channel",
                "What is left out stays. The change counts at once, in every worker. An identity key is "
                '{"kid", "public_key"} with the PEM of a public P-256 key (ES256), {"kid", "secret"} with '
                f"{SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} ASCII characters, none of them blank (HS256), or a JWK with "
                "its kid. A public key's kid that is a UUID stands for the id of an API key of Croct's. All keys are "
                "replaced; one that the channel has is kept by its kid alone. A secret is never shown again: hint is "
                "its end.",
                parameters=[_uuid("channel_id")],
                body=("ChannelChange", {"website_tracking": False}, "At least what is to be changed."),
                answer=one,
                problems=(*values, *signed, "channel_not_found", "channel_revoked"),
            ),
            "delete": _admin(
                "revokeChannel",
                "Revoke a channel",
                "For good: its write key is refused at once, in every worker. What it sent stays. Twice does no harm.",
                parameters=[_uuid("channel_id")],
                answer=("ChannelView", "The channel", msgspec.structs.replace(channel, revoked_at=_MORNING)),
                problems=("channel_not_found",),
            ),
        },
    }


def _key_paths() -> Json:
    key = KeyView(
        key_id=_CHANNEL, name="CRM", scopes=["profiles:read"], hint="9xQ4", created_at=_MORNING, revoked_at=None
    )
    created = CreatedKeyView(**msgspec.structs.asdict(key), secret="sk_…9xQ4")  # noqa: S106 - an example
    return {
        "/api/v1/admin/keys": {
            "get": _admin(
                "listKeys",
                "Secret keys",
                "Newest first, revoked ones included. The secrets are kept nowhere; hint is the last four characters.",
                parameters=[_filter(name, Reason) for name in ("limit", "cursor")],
                answer=("KeyPage", "One page", KeyPage([key], None)),
                paged=True,
                problems=_QUERY,
            ),
            "post": _admin(
                "createKey",
                "Make a secret key",
                "The answer shows the secret, this once.",
                body=("NewKey", {"name": "CRM", "scopes": ["profiles:read"]}, "One scope or more."),
                answer=("CreatedKeyView", "The key with its secret", created),
                problems=(*_BODY, *_NAMED, "invalid_scopes", "too_many_keys"),
            ),
        },
        "/api/v1/admin/keys/{key_id}": {
            "delete": _admin(
                "revokeKey",
                "Revoke a secret key",
                "For good: it is refused at once, in every worker. Twice does no harm.",
                parameters=[_uuid("key_id")],
                answer=("KeyView", "The key", msgspec.structs.replace(key, revoked_at=_MORNING)),
                problems=("key_not_found", "last_admin_key"),
            )
        },
    }


def _website_paths() -> Json:
    def get(name: str, summary: str, text: str, answers: Json, *problems: str, **parts: Json | list[Json]) -> Json:
        operation = {"tags": ["Website"], "operationId": name, "summary": summary, "description": text, "security": []}
        return {"get": {**operation, **parts, "responses": {**answers, **_problems((*problems, "internal_error"))}}}

    script = {"200": _answer("The script", "text/javascript", {"type": "string"})}
    known = {"304": {"description": "Not modified since the answer with this ETag."}}
    page = {"200": _answer("The page", "text/html", {"type": "string"})}
    text = "Only with the embedded servers or IDENTITY_DEMO=on, and only to this machine itself; elsewhere 404."
    return {
        SCRIPT_PATH: get("sdk", "The browser SDK", "The present one; kept for five minutes.", {**script, **known}),
        f"{SDK_PATH}/{{name}}": get(
            "pinnedSdk", "A browser SDK that stays as it is",
            f"Named by its content, as {RELEASE_PATH} tells; kept for good.",
            {**script, **known}, "not_found",
            parameters=[_parameter("name", "path", "The first 16 digits of its SHA-256, with .js behind them.")],
        ),
        TYPES_PATH: get(
            "sdkTypes", "The types of the browser SDK", "For TypeScript.",
            {"200": _answer("The declarations", "text/plain", {"type": "string"})},
        ),
        RELEASE_PATH: get(
            "sdkRelease", "Where the browser SDK is, and its integrity", "For the script tag of a page.",
            {"200": _json_answer("The present release", "SdkRelease", release())},
        ),
        "/demo": get("demo", "The demo shop", text, page, "not_found"),
        "/demo/{name}": get(
            "demoPart", "A part of the demo shop", text, page, "not_found",
            parameters=[_parameter("name", "path", "A file, or told: what is held of the sample customers of ?run=.")],
        ),
    }  # fmt: skip


def _webhook_paths() -> Json:
    change = Change(
        cursor="xDg5sQAAAAAAAAP6AZejsFwAehuMLQEjRWeJqw", merge_id=_ID, customer_id="42", customer_hash=None,
        types=[ChangeType.CREATED, ChangeType.LINKED], version=1, visitor_id="visitor-1", occurred_at=_MORNING,
        received_at=_MORNING, event="clIdentity", source="channel", fields=["display_name"],
    )  # fmt: skip
    webhook = WebhookView(
        webhook_id=_CHANNEL, url="https://crm.example/hooks", description="CRM", types=[], state=State.FAILING,
        cursor=change.cursor, failing_since=_MORNING, attempts=3, retry_at=_MORNING, answer=500, fault=Fault.ANSWERED,
        hint=FAULT_HINTS[Fault.ANSWERED], created_at=_MORNING, updated_at=_MORNING,
    )  # fmt: skip
    created = CreatedWebhookView(**msgspec.structs.asdict(webhook), secret="whsec_…")  # noqa: S106 - an example
    outcome = OutcomeView(DeliveryStatus.DELIVERED, 204, None, None, 31)
    delivery = DeliveryView(_ID, DeliveryStatus.DELIVERED, 1, 204, None, None, 31, _MORNING)
    one = ("WebhookView", "The webhook", webhook)
    with_secret = ("CreatedWebhookView", "The webhook with its secret", created)
    named = [_uuid("webhook_id")]
    signed = (
        "Messages are signed as Standard Webhooks says (webhook-id, webhook-timestamp, webhook-signature); any status "
        "from 200 to 299 takes one, 410 ends them all. A message may come twice, with the same webhook-id."
    )
    feed: list[Json] = [
        _parameter("after", "query", "next_cursor of the page before; left out: from the beginning."),
        {
            **_parameter("limit", "query", "Rows of the ledger looked through."),
            "schema": {"type": "integer", "minimum": 1, "maximum": CHANGES_MAX, "default": CHANGES_DEFAULT},
        },
    ]
    return {
        "/api/v1/changes": {
            "get": _operation(
                "Lookups",
                "listChanges",
                "What changed",
                "Every change of a customer, oldest first, in an order that nothing comes into later; at least once. "
                "Names of fields, no values. Keep next_cursor, and ask again from there.",
                security=[{"secretKey": [str(Scope.PROFILES_READ)]}],
                parameters=feed,
                answer=("ChangePage", "One page", ChangePage([change], change.cursor, has_more=False)),
                problems=(*_SECRET, *_QUERY, "feed_restarted"),
            )
        },
        "/api/v1/admin/webhooks": {
            "get": _admin(
                "listWebhooks", "Webhooks", "All of them, newest first, and how they are doing.",
                answer=("WebhookPage", "All", WebhookPage([webhook], None)), problems=(),
            ),
            "post": _admin(
                "createWebhook", "Make a webhook", f"The answer shows its secret, this once. {signed}",
                body=("NewWebhook", {"url": "https://crm.example/hooks"}, "types empty: all of them."),
                answer=with_secret,
                problems=(
                    *_BODY, "invalid_body", "invalid_url", "invalid_description", "too_many_webhooks", "feed_restarted",
                ),
            ),
        },
        "/api/v1/admin/webhooks/{webhook_id}": {
            "get": _admin(
                "findWebhook", "One webhook", "How it is doing.", parameters=named, answer=one,
                problems=("webhook_not_found",),
            ),
            "patch": _admin(
                "changeWebhook", "Change a webhook",
                "What is left out stays. active false pauses it, and nothing is lost; true goes on, at once.",
                parameters=named, body=("WebhookChange", {"active": True}, "At least what is to be changed."),
                answer=one,
                problems=(
                    *_BODY, "invalid_body", "invalid_url", "invalid_description", "webhook_not_found",
                    "webhook_changed",
                ),
            ),
            "delete": _admin(
                "deleteWebhook", "Delete a webhook", "With what is known of its deliveries.", parameters=named,
                answer=one, problems=("webhook_not_found",),
            ),
        },
        "/api/v1/admin/webhooks/{webhook_id}/rotate": {
            "post": _admin(
                "rotateWebhookSecret", "Give a webhook a new secret",
                f"The answer shows it, this once. The one before signs beside it for {ROTATION_HOURS} hours.",
                parameters=named, answer=with_secret, problems=("webhook_not_found", "webhook_changed"),
            )
        },
        "/api/v1/admin/webhooks/{webhook_id}/test": {
            "post": _admin(
                "testWebhook", "Try a webhook", "Sends a message of the type test now, and tells what became of it.",
                parameters=named, answer=("OutcomeView", "What became of it", outcome),
                problems=("webhook_not_found",),
            )
        },
        "/api/v1/admin/webhooks/{webhook_id}/resend": {
            "post": _admin(
                "resendSince", "Let a webhook go on from another place",
                "Back or ahead: with what arrived at since or later, or behind the cursor after. Ids stay as they "
                "were.",
                parameters=named, body=("Resending", {"since": _MORNING}, "One of the two."), answer=one,
                problems=(
                    *_BODY, "invalid_body", "invalid_resend", "invalid_since", "invalid_cursor", "webhook_not_found",
                    "webhook_changed", "feed_restarted",
                ),
            )
        },
        "/api/v1/admin/webhooks/{webhook_id}/deliveries": {
            "get": _admin(
                "listDeliveries", "What became of changes",
                f"Newest first, for {DELIVERY_DAYS_KEPT} days. Times are those of the changes' arrival.",
                parameters=[*named, _delivery_status(), *(_filter(name, Reason) for name in DELIVERY_FILTERS[1:])],
                answer=("DeliveryPage", "One page", DeliveryPage([delivery], None)), paged=True,
                problems=(*_QUERY, "invalid_from", "invalid_to", "invalid_status", "webhook_not_found"),
            )
        },
        "/api/v1/admin/webhooks/{webhook_id}/deliveries/{merge_id}/resend": {
            "post": _admin(
                "resendChange", "Send one change again", "Now, whatever the webhook's state and types.",
                parameters=[*named, _uuid("merge_id")], answer=("OutcomeView", "What became of it", outcome),
                problems=("webhook_not_found", "change_not_found"),
            )
        },
    }  # fmt: skip


def _delivery_status() -> Json:
    return {**_parameter("status", "query", "Only these."), "schema": _ref("DeliveryStatus")}


def _operations() -> Json:
    def plain(name: str, summary: str, text: str, answers: Json) -> Json:
        operation = {"tags": ["Operations"], "operationId": name, "summary": summary, "description": text}
        return {"get": {**operation, "security": [], "responses": {**answers, **_problems(("internal_error",))}}}

    checks = {"postgresql": "ok", "schema": "ok", "redis": "ok"}
    ready = {"status": "ready", "checks": checks}
    not_ready = {"status": "not ready", "checks": {**checks, "postgresql": "away", "schema": "unknown"}}
    return {
        "/livez": plain(
            "isAlive", "The process answers", "Nothing else is asked.",
            {"200": _json_answer("It lives", "Taken", {"status": "ok"})},
        ),
        "/readyz": plain(
            "isReady", "Whether traffic should come here",
            "Each dependency by name. Without Redis the service is slower, not wrong, so that it stays ready.",
            {
                "200": _json_answer("Ready", "Readiness", ready),
                "503": _json_answer("Not ready", "Readiness", not_ready),
            },
        ),
        "/metrics": plain(
            "metrics", "Metrics", "Prometheus' text format, summed over the workers of this host.",
            {"200": _answer("The metrics", "text/plain", {"type": "string"})},
        ),
        "/docs": plain(
            "docs", "This documentation", "One page, without scripts and without any other address.",
            {"200": _answer("The page", "text/html", {"type": "string"})},
        ),
        "/docs/openapi.json": plain(
            "openapi", "This documentation for programs", "OpenAPI 3.1.",
            {"200": _answer("The document", "application/json", {"type": "object"})},
        ),
    }  # fmt: skip


def _admin(operation_id: str, summary: str, description: str, *, problems: tuple[str, ...], **parts: Any) -> Json:
    return _operation(
        "Admin",
        operation_id,
        summary,
        description,
        security=[{"secretKey": [str(Scope.ADMIN)]}],
        problems=(*_SECRET, *problems),
        **parts,
    )


def _operation(
    tag: str,
    operation_id: str,
    summary: str,
    description: str,
    *,
    security: list[Json],
    answer: tuple[str, str, object],
    problems: tuple[str, ...],
    parameters: list[Json] | None = None,
    body: tuple[str, object, str] | None = None,
    paged: bool = False,
    not_modified: bool = False,
) -> Json:
    schema, told, example = answer
    done = _json_answer(told, schema, example)
    if paged:
        done["headers"] = {"Link": _header('The next page, rel="next"; there is none on the last page.')}
    answers = {"200": done}
    if not_modified:
        done["headers"] = {"ETag": _header("Of this version of the customer.")}
        answers["304"] = {"description": "Not modified since the answer with this ETag."}
    operation: Json = {
        "tags": [tag],
        "operationId": operation_id,
        "summary": summary,
        "description": description,
        "security": security,
    }
    if parameters:
        operation["parameters"] = parameters
    if body:
        kind, sent, text = body
        operation["requestBody"] = {
            "required": True,
            "description": text,
            "content": {"application/json": {"schema": _ref(kind), "example": sent}},
        }
    operation["responses"] = {**answers, **_problems(problems)}
    return operation


def _problems(codes: tuple[str, ...]) -> Json:
    by_status: dict[int, list[str]] = {}
    for code in PROBLEMS:
        if code in codes:
            by_status.setdefault(PROBLEMS[code][0], []).append(code)
    return {str(status): _problem(status, by_status[status]) for status in sorted(by_status)}


def _problem(status: int, codes: list[str]) -> Json:
    described = " ".join(f"{code}: {PROBLEMS[code][1]}" for code in codes)
    problem: Json = {
        "description": described,
        "content": {"application/problem+json": {"schema": _ref("Problem")}},
    }
    if status == 503:
        problem["headers"] = {"Retry-After": _header("Seconds; not with query_too_slow.")}
    return problem


def _json_answer(description: str, schema: str, example: object) -> Json:
    choices = [_ref(name) for name in schema.split("|")]
    described = choices[0] if len(choices) == 1 else {"anyOf": choices}
    return _answer(description, "application/json", described, msgspec.to_builtins(example))


def _answer(description: str, media_type: str, schema: Json, example: object = None) -> Json:
    content: Json = {"schema": schema} if example is None else {"schema": schema, "example": example}
    return {"description": description, "content": {media_type: content}}


def _header(description: str) -> Json:
    return {"description": description, "schema": {"type": "string"}}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _parameter(name: str, place: str, description: str, **schema: Any) -> Json:
    return {
        "name": name,
        "in": place,
        "required": place == "path",
        "description": description,
        "schema": {"type": "string", **schema},
    }


def _uuid(name: str) -> Json:
    return _parameter(name, "path", "Its id.", format="uuid")


def _customer_id(place: str) -> Json:
    parameter = _parameter("customer_id", place, "The website's own id, percent-encoded.", minLength=1)
    return {**parameter, "required": True}


def _visitor_id(place: str) -> Json:
    parameter = _parameter(
        "visitor_id", place, "The visitor's id, percent-encoded.", minLength=1, maxLength=VISITOR_ID_CHARACTERS_MAX
    )
    return {**parameter, "required": True}


def _filter(name: str, reasons: type[Reason] | type[Refusal]) -> Json:
    described: dict[str, Json] = {
        "customer_id": _parameter(name, "query", "Only of this customer."),
        "visitor_id": _parameter(name, "query", "Only of this visitor."),
        "channel_id": _parameter(name, "query", "Only of this channel.", format="uuid"),
        "event": _parameter(name, "query", "Only of this event."),
        "field": _parameter(name, "query", "Only with a decision on this field."),
        "from": _parameter(name, "query", "Arrived at this time or later: RFC 3339 or epoch milliseconds."),
        "to": _parameter(name, "query", "Arrived before this time: RFC 3339 or epoch milliseconds."),
        "cursor": _parameter(name, "query", "next_cursor of the page before."),
    }
    if name == "limit":
        schema = {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT}
        return {**_parameter(name, "query", "Items of a page."), "schema": schema}
    if name in ("verdict", "reason"):
        kind = Verdict if name == "verdict" else reasons
        return {**_parameter(name, "query", f"Only with this {name}."), "schema": _ref(kind.__name__)}
    return described[name]


def _schemas() -> Json:
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
    schemas["RefusalPage"]["properties"]["counts"]["propertyNames"] = _ref("Refusal")
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
    schemas["ChannelView"]["properties"]["on_sign_out"] = _ref("OnSignOut")
    schemas["ChannelView"]["properties"]["signed_identity"] = _ref("SignedIdentity")
    schemas["ChannelView"]["properties"]["unsigned_writes"] = _ref("UnsignedWrites")
    schemas["ChannelChange"]["properties"]["identity_keys"] |= {"maxItems": IDENTITY_KEYS_MAX}
    for name in ("KeyView", "CreatedKeyView"):
        schemas[name]["properties"]["scopes"] = {"type": "array", "items": _ref("Scope")}
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
        "visitor_id": _text(f"Names the browser; up to {VISITOR_ID_CHARACTERS_MAX} characters."),
        "occurred_at": {"$ref": "#/components/schemas/Time", "description": "When it happened; default: on arrival."},
        "sent_at": {
            "$ref": "#/components/schemas/Time",
            "description": "The sender's clock as it sent this; takes the clock's error out of occurred_at.",
        },
        "event_id": _text(f"Tells retries from new events; up to {EVENT_ID_CHARACTERS_MAX} characters."),
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
            "path": _text(
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
                "write_key": _text("The write key, where no header can be sent."),
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
                        "events": {"type": "array", "maxItems": EVENTS_MAX, "items": _ref("Event")},
                        "write_key": _text("The write key, where no header can be sent."),
                    },
                },
                _ref("Event"),
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
                "write_key": _text("The channel's write key; default: the one in the body."),
                "channel_id": _text("The channel's id, instead."),
                "origin": _text("The page's origin, as the browser sent it."),
                "body": {"description": "What was pushed, as it is or as text: to authenticate, or to events."},
            },
        },
        "Lookup": {
            "type": "object",
            "description": "Exactly one of the lists.",
            "minProperties": 1,
            "maxProperties": 1,
            "properties": {
                "customer_ids": _inputs(["string", "integer"]),
                "emails": _inputs("string"),
                "phones": _inputs("string"),
                "visitor_ids": _inputs("string"),
            },
        },
    }


def _small_schemas() -> Json:
    def results(name: str) -> Json:
        return {
            "type": "object",
            "required": ["results"],
            "properties": {"results": {"type": "array", "items": _ref(name)}},
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


def _text(description: str) -> Json:
    return {"type": "string", "description": description}


def _inputs(kind: str | list[str]) -> Json:
    return {"type": "array", "maxItems": LOOKUP_INPUTS_MAX, "items": {"type": kind}}
