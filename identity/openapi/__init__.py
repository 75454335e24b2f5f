"""Pure: the OpenAPI document of every endpoint.

Answers are described by the very structs they are made of, closed lists by their enums, fields by the field table.
Only what no struct knows is written by hand: paths, what is sent to the tolerant endpoints, which problems may come.
"""

import msgspec

from identity.openapi import admin, crm, public, schemas, spec
from identity.openapi.spec import PROBLEMS, Json
from identity.routes import READING_PATHS
from profiles.access import Scope
from profiles.idempotency import IDEMPOTENCY_HOURS_KEPT, IDEMPOTENCY_KEY_CHARACTERS_MAX


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
        "components": {"securitySchemes": _SECURITY, "schemas": schemas.schemas()},
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
        **public.event_paths(),
        **public.croct_paths(),
        **public.segment_paths(),
        **crm.lookup_paths(),
        **crm.import_paths(),
        **crm.footprint_paths(),
        **admin.ledger_paths(),
        **admin.undo_paths(),
        **admin.join_paths(),
        **crm.erasure_paths(),
        **admin.explain_paths(),
        **admin.workspace_paths(),
        **admin.channel_paths(),
        **admin.key_paths(),
        **admin.webhook_paths(),
        **public.website_paths(),
        **admin.operations(),
    }


def _with_idempotency(paths: Json) -> Json:
    """Return the paths with the header that every write with a secret key takes, and the problems that it brings."""
    text = (
        "Makes a retry safe: the request is done once, and its answer given again, with Idempotent-Replayed: true, for "
        f"{IDEMPOTENCY_HOURS_KEPT} hours. 1 to {IDEMPOTENCY_KEY_CHARACTERS_MAX} visible ASCII characters, new for "
        "every request. Answers 429 and 5xx are not kept."
    )
    header = spec.parameter("Idempotency-Key", "header", text, maxLength=IDEMPOTENCY_KEY_CHARACTERS_MAX)
    problems = {
        code: PROBLEMS[code][0] for code in (*spec.IDEMPOTENCY, "body_cut_off", "body_too_slow", "body_too_large")
    }
    for path, item in paths.items():
        for method in {"post", "patch", "delete"} & item.keys() if path not in READING_PATHS else ():
            told = item[method]
            if any("secretKey" in choice for choice in told["security"]):
                told["parameters"] = [*told.get("parameters", []), header]
                for code, status in problems.items():
                    answer = told["responses"].setdefault(str(status), spec.problem_answer(status, []))
                    if f"{code}: " not in answer["description"]:
                        answer["description"] = f"{answer['description']} {code}: {PROBLEMS[code][1]}".strip()
    return paths
