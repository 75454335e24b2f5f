"""What CRM systems call, with a secret key."""

from collections.abc import Callable
from typing import Any

import msgspec

from identity.customer_writes import CRM_SOURCE, PATCH_BYTES_MAX
from identity.disclosure import HeldCustomer, HeldValue, PersonDocument
from identity.erasure import Receipt, Removed
from identity.erasure_routes import (
    DISCLOSURE_BYTES_MAX,
    ERASURES_PATH,
    ErasurePage,
    ErasureView,
)
from identity.footprint_routes import FootprintEvent, FootprintPage, FootprintSummary, Revenue
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
from identity.openapi import spec
from identity.openapi.spec import Json
from identity.parse import (
    CRM_PATCH,
)
from identity.resolve import FactKind
from identity.visitor_routes import IDENTIFICATIONS_MAX, IdentificationView, VisitorPage
from profiles.access import Scope
from profiles.profile import Merge, Policy
from profiles.remarks import Decision, Reason, Verdict
from profiles.routes import CUSTOMERS_PER_INPUT_MAX, LOOKUP_BYTES_MAX, LOOKUP_INPUTS_MAX, LookupResult
from profiles.views import CustomerView, Provenance, VisitorView, merge_view


def _customer_change() -> Callable[..., Json]:
    """Return what describes a PATCH of a customer: by name and summary, the place of the id, and its own problems."""
    at = 1_780_302_600_000
    decisions = (
        Decision("display_name", Verdict.OVERWROTE, None, "Ana", "Ana Lin"),
        Decision("birth", Verdict.UNSET, None, "1995-01-31"),
    )
    merge = Merge(
        merge_id=spec.ID, customer_id="42", version=3, source=CRM_SOURCE, event=CRM_PATCH, occurred_at=at,
        received_at=at,
        policy=Policy.OVERWRITE, decisions=decisions, actor="key:CRM",
    )  # fmt: skip
    match = spec.parameter(
        "If-Match", "header", "The ETag of a lookup, or a version in quotes: changed only if still at that version."
    )
    none_match = spec.parameter("If-None-Match", "header", "Makes the customer, if there is none.", enum=["*"])
    text = (
        "Fields by the names that they are held by, or by clIdentity's. What is left out stays; null takes a value "
        "away; all else that is empty is ignored; a bad value is skipped and the rest taken. Locks do not hold against "
        "it. The answer tells what became of each field; its merge_id is null where nothing was to be changed."
    )

    def describe(name: str, summary: str, place: str, *problems: str) -> Json:
        return spec.operation(
            "Writes",
            name,
            summary,
            text,
            security=[{"secretKey": [str(Scope.PROFILES_WRITE)]}],
            parameters=[spec.customer_id_parameter(place), match, none_match],
            body=(
                "CustomerChange", {"display_name": "Ana Lin", "birth": None}, f"At most {PATCH_BYTES_MAX // 1024} KiB.",
            ),
            answer=("CustomerChanged", "The merge", merge_view(merge)),
            problems=(
                *spec.SECRET, *spec.BODY, "customer_not_found", "invalid_condition", "write_refused", "customer_exists",
                "version_changed", "other_customer_id", *problems,
            ),
        )  # fmt: skip

    return describe


_REMOVED = Removed(customers=1, merges=5, links=2, visitors=2, identifications=2, events=120, refusals=1)
_HASH = "5f2c" * 16


def _erase(name: str, summary: str, place: str, *problems: str) -> Json:
    dry_run = spec.parameter("dry_run", "query", "true: only tell what would be removed.", enum=["true", "false"])
    told = spec.operation(
        "Writes",
        name,
        summary,
        "Everything goes that is held of the customer and of all that are joined with it: profile, ledger, links, "
        "footprint, refusals; visitors that were nobody else's wholly, of shared ones what they did in the customer's "
        "time. A keyed hash of the id stays, by which later events that name the customer are refused as "
        "erased_customer. It cannot be taken back. Of who is erased already, the receipt is given again.",
        security=[{"secretKey": [str(Scope.PROFILES_WRITE)]}],
        parameters=[spec.customer_id_parameter(place), dry_run],
        answer=("Receipt", "What was removed, in rows", Receipt(_HASH, spec.MORNING, False, False, _REMOVED)),  # noqa: FBT003
        problems=(
            *spec.SECRET, "customer_not_found", "invalid_dry_run", "invalid_query", "query_too_long",
            "unknown_parameter",
            *problems,
        ),
    )  # fmt: skip
    told["responses"]["202"] = {
        **told["responses"]["200"],
        "description": "There is so much that it goes on after the answer; ask again for the final receipt.",
    }
    return told


def erasure_paths() -> Json:
    view = ErasureView(
        customer_hash=_HASH, erased_at=spec.MORNING, erased_by="key:CRM", pending=False, version=7, bucket=1910,
        removed=_REMOVED, lifted_at=None, lifted_by=None,
    )  # fmt: skip
    lifted = msgspec.structs.replace(view, lifted_at=spec.MORNING, lifted_by="key:admin")
    held = HeldCustomer(
        "42", 2, spec.MORNING, spec.MORNING, None, {"display_name": HeldValue("Ana Lin", spec.MORNING, 2)}, locked=[]
    )  # fmt: skip
    megabytes = DISCLOSURE_BYTES_MAX // 1024 // 1024
    return {
        "/api/v1/customers/{customer_id}/export": {
            "get": spec.operation(
                "Lookups",
                "exportCustomer",
                "Everything that is held of a person",
                "Profile, ledger, visitors, footprint and refusals of the customer and of all that are joined with it, "
                f"as one document of at most {megabytes} MiB; the command line writes longer ones. Of visitors that "
                "others were too, only what is the person's.",
                security=[{"secretKey": [str(Scope.PROFILES_READ)]}],
                parameters=[spec.customer_id_parameter("path")],
                answer=("PersonDocument", "The document", PersonDocument("42", spec.MORNING, [held], [], [], [], [])),
                problems=(
                    *spec.SECRET, "customer_not_found", "too_much_held", "invalid_query", "query_too_long",
                    "unknown_parameter", "not_found",
                ),
            )
        },
        ERASURES_PATH: {
            "get": spec.admin_operation(
                "listErasures",
                "Who was erased",
                "By keyed hashes of the ids, in order of these. Nothing else is left of anybody.",
                parameters=[spec.filter_parameter(name, Reason) for name in ("limit", "cursor")],
                answer=("ErasurePage", "Erasures", ErasurePage([view], None)),
                problems=spec.QUERY,
                paged=True,
            )
        },
        f"{ERASURES_PATH}/{{customer_hash}}/lift": {
            "post": spec.admin_operation(
                "liftErasure",
                "Let an erased customer be taken again",
                "From the next event on. Nothing comes back by itself; the customer's versions go on where they were.",
                parameters=[spec.parameter("customer_hash", "path", "As the receipt tells it.")],
                answer=("ErasureView", "The erasure, lifted", lifted),
                problems=("erasure_not_found", "erasure_pending", "not_found"),
            )
        },
    }  # fmt: skip


def import_paths() -> Json:
    sent = {"customer_id": "42", "display_name": "Ana Lin", "phone": "0912345678"}
    limits = (
        f"At most {IMPORT_LINES_MAX} lines, {IMPORT_LINE_BYTES_MAX // 1024} KiB each, "
        f"{IMPORT_BYTES_MAX // 1024 // 1024} MiB together, and no pause of more than {IMPORT_PAUSE_SECONDS_MAX:.0f} s."
    )
    fault = ImportFault("display_mobile", "no_country_code", "Send the number with + and its country code.")
    told = spec.operation(
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
        parameters=[spec.parameter("note", "query", "Why, for those who read the ledger.",
                               maxLength=IMPORT_NOTE_CHARACTERS_MAX)],
        body=("ImportLine", sent, limits),
        answer=("ImportResult", "One result a line", ImportResult(1, "created", "42", 1, [fault])),
        problems=(*spec.SECRET, "body_too_large", "unsupported_encoding", "invalid_query", "query_too_long"),
    )  # fmt: skip
    content = told["responses"]["200"]["content"]
    content["application/x-ndjson"] = content.pop("application/json")
    told["responses"]["200"]["headers"] = {
        "Identity-Operation-Id": spec.header("The operation, to look it up or undo it.")
    }
    lines = told["requestBody"]["content"]
    lines["application/x-ndjson"] = lines["application/json"]
    return {IMPORT_PATH: {"post": told}}


def lookup_paths() -> Json:
    customer = CustomerView(
        customer_id="42",
        version=2,
        created_at=spec.MORNING,
        updated_at=spec.MORNING,
        fields={"display_name": "Ana Lin"},
        visitors=[VisitorView("visitor-1", spec.MORNING, current=True)],
        provenance={"display_name": Provenance(spec.MORNING, spec.ID, "clIdentity", spec.CHANNEL)},
    )
    identification = IdentificationView(
        identification_id=spec.ID,
        kind=FactKind.IDENTIFIED,
        customer_id="42",
        occurred_at=spec.MORNING,
        received_at=spec.MORNING,
        event="clIdentity",
        event_id=None,
        channel_id=spec.CHANNEL,
        source="channel",
        applied=True,
        decisions=[],
    )
    include = spec.parameter("include", "query", "Add, per field, which merge set it and when.", enum=["provenance"])
    as_of = spec.parameter("as_of", "query", "What was held at this instant: RFC 3339 or epoch milliseconds.")
    known = {
        "name": "If-None-Match", "in": "header", "description": "The ETag of an answer at hand.",
        "schema": {"type": "string"},
    }  # fmt: skip
    by_id: dict[str, Any] = {
        "security": [{"secretKey": [str(Scope.PROFILES_READ)]}],
        "answer": ("CustomerView", "The customer", customer),
        "not_modified": True,
    }
    problems = (*spec.SECRET, "customer_not_found", "unknown_include", *spec.PAST, "ledger_too_long")
    change = _customer_change()
    return {
        "/api/v1/customers/{customer_id}": {
            "get": spec.operation(
                "Lookups",
                "findCustomer",
                "A customer",
                "What is held: fields by name, and the visitors that were ever linked, the current ones first.",
                parameters=[spec.customer_id_parameter("path"), include, as_of, known],
                problems=(*problems, "not_found"),
                **by_id,
            ),
            "patch": change("changeCustomer", "Change a customer", "path", "not_found"),
            "delete": _erase("eraseCustomer", "Erase a customer", "path", "not_found"),
        },
        "/api/v1/customers": {
            "get": spec.operation(
                "Lookups",
                "findCustomerByQuery",
                "A customer whose id does not fit a path",
                "The same, for ids such as “..”, and behind proxies that decode %2F.",
                parameters=[spec.customer_id_parameter("query"), include, as_of, known],
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
            "post": spec.operation(
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
                problems=(*spec.SECRET, *spec.BODY, "invalid_lookup", "too_many_inputs"),
            )
        },
        **{
            path: {
                "get": spec.operation(
                    "Lookups",
                    name,
                    summary,
                    "Whose it is now, and everything that was said of it, the last arrival first, at most "
                    f"{IDENTIFICATIONS_MAX}.",
                    security=[{"secretKey": [str(Scope.PROFILES_READ)]}],
                    parameters=[spec.visitor_id_parameter(place), as_of],
                    answer=(
                        "VisitorPage",
                        "The visitor",
                        VisitorPage("visitor-1", "42", spec.MORNING, [identification]),
                    ),
                    problems=(*spec.SECRET, "visitor_not_found", *spec.PAST, *more),
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


def footprint_paths() -> Json:
    event = FootprintEvent(
        record_id=spec.ID,
        type="purchase",
        label=None,
        occurred_at=spec.MORNING,
        received_at=spec.MORNING,
        visitor_id="visitor-1",
        customer_id="42",
        contested=False,
        event_id="e-1",
        channel_id=spec.CHANNEL,
        props=msgspec.Raw(b'{"transaction_id":"o-1","revenue":490}'),
        remarks=(),
        order_id="o-1",
        revenue=490,
        currency="TWD",
    )
    shown = msgspec.json.decode(msgspec.json.encode(FootprintPage([event], None)))  # the props are raw
    summary = FootprintSummary(
        customer_id="42",
        first_seen=spec.MORNING,
        last_seen=spec.MORNING,
        events=1,
        types={"purchase": 1},
        sessions=1,
        visitors=1,
        orders=1,
        revenue=[Revenue("TWD", 490, 1)],
    )
    security = [{"secretKey": [str(Scope.PROFILES_READ)]}]
    filters = [
        spec.parameter("type", "query", "Only of this type; may be given again, or be a list with commas."),
        spec.parameter("from", "query", "Happened at this time or later: RFC 3339 or epoch milliseconds."),
        spec.parameter("to", "query", "Happened before this time: RFC 3339 or epoch milliseconds."),
        spec.filter_parameter("limit", Reason),
        spec.filter_parameter("cursor", Reason),
    ]
    paged = (*spec.SECRET, *spec.QUERY, "invalid_from", "invalid_to", "invalid_type")
    newest = "What was done, by the time it happened, the newest first. "
    whose = (
        "Whose it is follows from the identifications, now: what a visitor did from one identification to the next, "
        "what it did before the first one, and after a sign-out if the same customer comes back. "
    )
    kept = "What is past the workspace's footprint_days is not shown."

    def page(name: str, summary: str, text: str, parameters: list[Json], problems: tuple[str, ...]) -> Json:
        return {
            "get": spec.operation(
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
            "get": spec.operation(
                "Footprint",
                name,
                summary_line,
                f"Over everything that is shown of it. {kept}",
                security=security,
                parameters=[spec.customer_id_parameter(place)],
                answer=("FootprintSummary", "The summary", summary),
                problems=(*spec.SECRET, "customer_not_found", "query_too_slow", *problems),
            )
        }

    either = [
        {**spec.customer_id_parameter("query"), "required": False},
        {**spec.visitor_id_parameter("query"), "required": False},
    ]
    return {
        "/api/v1/customers/{customer_id}/footprint": page(
            "findFootprint",
            "What a customer did, on all devices",
            f"{newest}{whose}Also what named the customer without any visitor. {kept}",
            [spec.customer_id_parameter("path")],
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
            [spec.visitor_id_parameter("path")],
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
