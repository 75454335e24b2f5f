"""What the descriptions of all endpoints are made of: problems, answers, parameters, examples."""

from typing import Any

import msgspec

from identity.acts import FACTS_MAX, NOTE_CHARACTERS_MAX
from identity.admin.changes import (
    CHANNELS_MAX,
    KEYS_MAX,
)
from identity.admin.query import LIMIT_DEFAULT, LIMIT_MAX
from identity.administration import (
    BLOCKED_IDS_MAX,
    FOOTPRINT_DAYS_MAX,
    NAME_CHARACTERS_MAX,
)
from identity.feed import CHANGES_MAX
from identity.footprint_routes import TYPES_MAX
from identity.joins import JOINED_IDS_MAX
from identity.parse import (
    EVENTS_MAX,
)
from identity.protocols.segment import (
    MESSAGES_MAX,
)
from identity.refusals import Refusal
from identity.visitors import VISITOR_ID_CHARACTERS_MAX
from identity.webhooks.endpoints import (
    DESCRIPTION_CHARACTERS_MAX,
    WEBHOOKS_MAX,
)
from profiles.access import Scope
from profiles.http import BODY_SECONDS_MAX, QUERY_BYTES_MAX
from profiles.idempotency import (
    IDEMPOTENCY_KEY_CHARACTERS_MAX,
    IDEMPOTENT_ANSWER_BYTES_MAX,
)
from profiles.past import LEDGER_ROWS_MAX
from profiles.remarks import Reason, Verdict
from profiles.routes import LOOKUP_INPUTS_MAX

Json = dict[str, Any]

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
    "idempotency_answer_erased": (409, "It was done before; its answer was removed when a customer was erased."),
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

IDEMPOTENCY = (
    "invalid_idempotency_key", "idempotency_in_progress", "idempotency_answer_too_large", "idempotency_answer_erased",
    "idempotency_key_reused",
)  # fmt: skip
BODY = ("not_a_json_object", "body_cut_off", "body_too_slow", "body_too_large")
ALWAYS = ("method_not_allowed", "internal_error", "unavailable")
PUBLIC = ("missing_key", "unknown_key", "origin_not_allowed", *BODY, *ALWAYS)
SECRET = ("missing_key", "unknown_key", "missing_scope", *ALWAYS)
PAST = ("invalid_query", "query_too_long", "invalid_as_of", "log_too_long")
QUERY = ("invalid_query", "query_too_long", "unknown_parameter", "invalid_limit", "invalid_cursor")
RANGE = (*QUERY, "invalid_from", "invalid_to", "invalid_channel_id", "invalid_reason", "query_too_slow")
ASKED = (*BODY, "invalid_body", "invalid_query", "query_too_long", "unknown_parameter")
"""Of what admins ask for in a body, which must not be taken for a query."""

WRITE_KEY: list[Json] = [{"writeKey": []}, {}]
"""In the header; the empty choice stands for the key in the body, which OpenAPI has no word for."""
PREVIEW_KEY: list[Json] = [*WRITE_KEY, {"secretKey": ["profiles:read"]}]
ID = "0197a3b0-5c00-7a1b-8c2d-0123456789ab"
CHANNEL = "6f1f7a52-7a3e-4c8e-9d62-0c6f3a3a4a11"
PUBLIC_KEY = "-----BEGIN PUBLIC KEY-----\n…\n-----END PUBLIC KEY-----\n"
MORNING = "2026-06-01T08:30:00.000Z"


def admin_operation(
    operation_id: str, summary: str, description: str, *, problems: tuple[str, ...], **parts: Any
) -> Json:
    return operation(
        "Admin",
        operation_id,
        summary,
        description,
        security=[{"secretKey": [str(Scope.ADMIN)]}],
        problems=(*SECRET, *problems),
        **parts,
    )


def operation(
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
    done = json_answer(told, schema, example)
    if paged:
        done["headers"] = {"Link": header('The next page, rel="next"; there is none on the last page.')}
    answers = {"200": done}
    if not_modified:
        done["headers"] = {"ETag": header("Of this version of the customer.")}
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
            "content": {"application/json": {"schema": ref(kind), "example": sent}},
        }
    operation["responses"] = {**answers, **problem_answers(problems)}
    return operation


def problem_answers(codes: tuple[str, ...]) -> Json:
    by_status: dict[int, list[str]] = {}
    for code in PROBLEMS:
        if code in codes:
            by_status.setdefault(PROBLEMS[code][0], []).append(code)
    return {str(status): problem_answer(status, by_status[status]) for status in sorted(by_status)}


def problem_answer(status: int, codes: list[str]) -> Json:
    described = " ".join(f"{code}: {PROBLEMS[code][1]}" for code in codes)
    problem: Json = {
        "description": described,
        "content": {"application/problem+json": {"schema": ref("Problem")}},
    }
    if status == 503:
        problem["headers"] = {"Retry-After": header("Seconds; not with query_too_slow.")}
    return problem


def json_answer(description: str, schema: str, example: object) -> Json:
    choices = [ref(name) for name in schema.split("|")]
    described = choices[0] if len(choices) == 1 else {"anyOf": choices}
    return answer(description, "application/json", described, msgspec.to_builtins(example))


def answer(description: str, media_type: str, schema: Json, example: object = None) -> Json:
    content: Json = {"schema": schema} if example is None else {"schema": schema, "example": example}
    return {"description": description, "content": {media_type: content}}


def header(description: str) -> Json:
    return {"description": description, "schema": {"type": "string"}}


def ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def parameter(name: str, place: str, description: str, **schema: Any) -> Json:
    return {
        "name": name,
        "in": place,
        "required": place == "path",
        "description": description,
        "schema": {"type": "string", **schema},
    }


def uuid_parameter(name: str) -> Json:
    return parameter(name, "path", "Its id.", format="uuid")


def customer_id_parameter(place: str) -> Json:
    told = parameter("customer_id", place, "The website's own id, percent-encoded.", minLength=1)
    return {**told, "required": True}


def visitor_id_parameter(place: str) -> Json:
    told = parameter(
        "visitor_id", place, "The visitor's id, percent-encoded.", minLength=1, maxLength=VISITOR_ID_CHARACTERS_MAX
    )
    return {**told, "required": True}


def filter_parameter(name: str, reasons: type[Reason] | type[Refusal]) -> Json:
    described: dict[str, Json] = {
        "customer_id": parameter(name, "query", "Only of this customer."),
        "visitor_id": parameter(name, "query", "Only of this visitor."),
        "channel_id": parameter(name, "query", "Only of this channel.", format="uuid"),
        "event": parameter(name, "query", "Only of this event."),
        "field": parameter(name, "query", "Only with a decision on this field."),
        "from": parameter(name, "query", "Arrived at this time or later: RFC 3339 or epoch milliseconds."),
        "to": parameter(name, "query", "Arrived before this time: RFC 3339 or epoch milliseconds."),
        "cursor": parameter(name, "query", "next_cursor of the page before."),
    }
    if name == "limit":
        schema = {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT}
        return {**parameter(name, "query", "Items of a page."), "schema": schema}
    if name in ("verdict", "reason"):
        kind = Verdict if name == "verdict" else reasons
        return {**parameter(name, "query", f"Only with this {name}."), "schema": ref(kind.__name__)}
    return described[name]


def text(description: str) -> Json:
    return {"type": "string", "description": description}


def inputs(kind: str | list[str]) -> Json:
    return {"type": "array", "maxItems": LOOKUP_INPUTS_MAX, "items": {"type": kind}}
