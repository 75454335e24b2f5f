"""What websites call, with a public write key."""

from identity.openapi import spec
from identity.openapi.spec import Json
from identity.parse import (
    AUTHENTICATE_BYTES_MAX,
    EVENTS_BYTES_MAX,
    EVENTS_MAX,
)
from identity.protocols.croct import BEACON_BYTES_MAX
from identity.protocols.segment import (
    BATCH_BYTES_MAX,
    MESSAGE_BYTES_MAX,
    MESSAGES_MAX,
)
from identity.protocols.segment_routes import BATCH_PATHS, MESSAGE_PATHS, METRICS_PATH, SEGMENT_PATH, SETTINGS_PATH
from identity.refusals import REFUSAL_HINTS, Refusal
from identity.routes import EventError, EventResult, Preview, Validation
from identity.sdk import RELEASE_PATH, SCRIPT_PATH, SDK_PATH, TYPES_PATH, release
from profiles.remarks import Verdict
from profiles.views import DecisionView


def event_paths() -> Json:
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
            "post": spec.operation(
                "Events",
                "authenticate",
                "This visitor is this customer, and here are some fields",
                "New values overwrite old ones, empty ones are ignored, a bad one is skipped and the rest lives on. "
                "The answer is always the same: it tells a holder of the public key nothing about what is held.",
                security=spec.WRITE_KEY,
                body=("Push", push, f"At most {AUTHENTICATE_BYTES_MAX // 1024} KiB; Content-Type is not relied on."),
                answer=("Taken", "Taken in, whatever was made of it", {"status": "ok"}),
                problems=spec.PUBLIC,
            )
        },
        "/api/v1/events": {
            "post": spec.operation(
                "Events",
                "sendEvents",
                "Send events",
                f"{one_or_more} A retry with the same event_id changes nothing. The answer has one result per event, "
                "in order, and speaks of what was sent alone.",
                security=spec.WRITE_KEY,
                body=("Events", {"events": [sign_in]}, one_or_more),
                answer=("EventResults", "One result per event", {"results": [EventResult("accepted"), rejected]}),
                problems=(*spec.PUBLIC, "invalid_events", "too_many_events"),
            )
        },
        "/api/v1/validate/authenticate": {
            "post": spec.operation(
                "Events",
                "validateAuthenticate",
                "What would be made of a push",
                "Stores nothing. With a secret key also the preview: exactly what the live call would decide now.",
                security=spec.PREVIEW_KEY,
                body=("Push", push, f"At most {AUTHENTICATE_BYTES_MAX // 1024} KiB."),
                answer=("Validation", "What would be made of it", validation),
                problems=(*spec.PUBLIC, "other_workspace"),
            )
        },
        "/api/v1/validate/events": {
            "post": spec.operation(
                "Events",
                "validateEvents",
                "What would be made of events",
                "The same for events, each looked at by itself.",
                security=spec.PREVIEW_KEY,
                body=("Events", {"events": [sign_in]}, one_or_more),
                answer=("Validations", "One validation per event, in order", {"results": [validation]}),
                problems=(*spec.PUBLIC, "invalid_events", "too_many_events", "other_workspace"),
            )
        },
    }


def croct_paths() -> Json:
    beacon = {
        "payload": {"type": "userSignedIn", "externalUserId": "42"},
        "context": {"tabId": "01a1fefd-85e7-44f3-9014-6f98ad16a787", "url": "https://shop.example/"},
        "originalTime": 1_780_300_000_000,
        "departureTime": 1_780_300_000_218,
    }
    client = spec.parameter(
        "X-Client-Id",
        "header",
        "The browser: 32 hexadecimal digits or a UUID; held as the visitor's id, without dashes.",
    )
    token = spec.parameter("X-Token", "header", "A JWT, unsigned or ES256; its subject is the customer.")
    cid = spec.parameter("cid", "query", "The client id that the SDK has.")
    minted: Json = {
        "tags": ["Croct"],
        "operationId": "assignClientId",
        "summary": "A client id",
        "description": "A new one, as bare text, or the one given, as it is. Nothing is looked up or kept.",
        "security": [],
        "parameters": [cid],
        "responses": {
            "200": spec.answer("The client id", "text/plain", {"type": "string"}),
            **spec.problem_answers(("method_not_allowed", "invalid_query", "query_too_long", "internal_error")),
        },
    }
    declined: Json = {
        "tags": ["Croct"],
        "description": "Not of this service: the SDK's promise is rejected, and its fallback used.",
        "security": [],
        "responses": spec.problem_answers(("not_provided", "method_not_allowed", "internal_error")),
    }
    return {
        "/client/web/cid": {"get": minted},
        "/client/web/track": {
            "post": spec.operation(
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
                    *spec.ALWAYS, "unknown_app_id", "invalid_token", "origin_not_allowed", "body_cut_off",
                    "body_too_slow",
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


def segment_paths() -> Json:
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
        "body_too_slow", "body_too_large", *spec.ALWAYS,
    )  # fmt: skip
    answer = ("Success", "Taken in, whatever was made of it", {"success": True})
    security: list[Json] = [{"segmentKey": []}, *spec.WRITE_KEY]
    paths: Json = {}
    for path, kind in MESSAGE_PATHS.items():
        is_short = not path.endswith(kind)
        paths[path] = {
            "post": spec.operation(
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
            "post": spec.operation(
                "Segment",
                f"segment{name.capitalize()}",
                "Messages of any type",
                "Each with its type. A wrong one is refused alone, and listed for admins."
                if path == BATCH_PATHS[0]
                else f"As {BATCH_PATHS[0]}.",
                security=security,
                body=(
                    "SegmentBatch",
                    {"batch": messages, "sentAt": spec.MORNING},
                    f"At most {MESSAGES_MAX} messages and {BATCH_BYTES_MAX // 1024} KiB, inflated. {size}",
                ),
                answer=answer,
                problems=(*problems, "invalid_batch", "too_many_messages"),
            )
        }
    paths[METRICS_PATH] = {
        "post": spec.operation(
            "Segment", "segmentMetrics", "Metrics of the browser's SDK", "Taken and dropped.",
            security=[], answer=answer, problems=("method_not_allowed", "internal_error"),
        )
    }  # fmt: skip
    sending = {"apiKey": "wk_…", "apiHost": f"identity.shop.example{SEGMENT_PATH}", "protocol": "https"}
    paths[SETTINGS_PATH] = {
        "get": spec.operation(
            "Segment",
            "segmentSettings",
            "What the browser's SDK asks before it starts",
            "It is told to send to the host that it asked; by https if its page came so, or X-Forwarded-Proto says so.",
            security=[],
            parameters=[spec.parameter("write_key", "path", "The channel's write key.")],
            answer=(
                "SegmentSettings",
                "The settings",
                {"integrations": {"Segment.io": sending}, "plan": {}, "metrics": {"sampleRate": 0}},
            ),
            problems=("not_found", "unknown_key", "origin_not_allowed", *spec.ALWAYS),
        )
    }
    return paths


def website_paths() -> Json:
    def get(name: str, summary: str, text: str, answers: Json, *problems: str, **parts: Json | list[Json]) -> Json:
        operation = {"tags": ["Website"], "operationId": name, "summary": summary, "description": text, "security": []}
        return {
            "get": {
                **operation,
                **parts,
                "responses": {**answers, **spec.problem_answers((*problems, "internal_error"))},
            }
        }

    script = {"200": spec.answer("The script", "text/javascript", {"type": "string"})}
    known = {"304": {"description": "Not modified since the answer with this ETag."}}
    page = {"200": spec.answer("The page", "text/html", {"type": "string"})}
    text = "Only with the embedded servers or IDENTITY_DEMO=on, and only to this machine itself; elsewhere 404."
    return {
        SCRIPT_PATH: get("sdk", "The browser SDK", "The present one; kept for five minutes.", {**script, **known}),
        f"{SDK_PATH}/{{name}}": get(
            "pinnedSdk", "A browser SDK that stays as it is",
            f"Named by its content, as {RELEASE_PATH} tells; kept for good.",
            {**script, **known}, "not_found",
            parameters=[spec.parameter("name", "path", "The first 16 digits of its SHA-256, with .js behind them.")],
        ),
        TYPES_PATH: get(
            "sdkTypes", "The types of the browser SDK", "For TypeScript.",
            {"200": spec.answer("The declarations", "text/plain", {"type": "string"})},
        ),
        RELEASE_PATH: get(
            "sdkRelease", "Where the browser SDK is, and its integrity", "For the script tag of a page.",
            {"200": spec.json_answer("The present release", "SdkRelease", release())},
        ),
        "/demo": get("demo", "The demo shop", text, page, "not_found"),
        "/demo/{name}": get(
            "demoPart", "A part of the demo shop", text, page, "not_found",
            parameters=[spec.parameter("name", "path",
                "A file, or told: what is held of the sample customers of ?run=.")],
        ),
    }  # fmt: skip
