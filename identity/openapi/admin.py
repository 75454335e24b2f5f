"""What admins and operators call."""

import msgspec

from identity.admin.acts import (
    OperationList,
    OperationView,
    StretchView,
    UndoView,
    UnlinkView,
)
from identity.admin.arrivals import (
    EXPLAIN_BYTES_MAX,
    ArrivalExplanation,
    CheckDetails,
    CheckName,
    CheckView,
)
from identity.admin.changes import (
    ChannelPage,
    KeyPage,
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
from identity.admin.joining import DismissAsked, JoinView, LockView, SuggestionPage
from identity.admin.ledger import MERGE_FILTERS, REFUSAL_FILTERS, MergePage, RefusalPage, RefusalView
from identity.administration import (
    ORIGINS_MAX,
    ChannelView,
    CreatedKeyView,
    KeyView,
    WorkspaceView,
)
from identity.changes import ChangeType
from identity.explaining import STRETCH_REASONS, StretchReason
from identity.feed import CHANGES_DEFAULT, CHANGES_MAX, Change, ChangePage
from identity.openapi import spec
from identity.openapi.spec import PROBLEMS, Json
from identity.refusals import REFUSAL_HINTS, Refusal
from identity.tokens import SECRET_BYTES_MAX, SECRET_BYTES_MIN, Algorithm, IdentityKeyView, key_id_of
from identity.webhooks.deliverer import DELIVERY_DAYS_KEPT
from identity.webhooks.endpoints import (
    DELIVERY_FILTERS,
    CreatedWebhookView,
    DeliveryPage,
    DeliveryStatus,
    DeliveryView,
    OutcomeView,
    State,
    WebhookPage,
    WebhookView,
)
from identity.webhooks.message import ROTATION_HOURS
from identity.webhooks.sending import FAULT_HINTS, Fault
from profiles.access import Scope
from profiles.explaining import OTHERS_SHOWN_MAX, OUTCOMES, Outcome
from profiles.past import ROWS_EXPLAINED_MAX
from profiles.profile import Act
from profiles.remarks import HINTS, Reason, Verdict
from profiles.suggestions import Suggestion
from profiles.views import DecisionView, MergeView, VisitorView


def ledger_paths() -> Json:
    merge = MergeView(
        merge_id=spec.ID,
        customer_id="42",
        visitor_id="visitor-1",
        channel_id=spec.CHANNEL,
        source="channel",
        event="clIdentity",
        event_id=None,
        occurred_at=spec.MORNING,
        received_at=spec.MORNING,
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
        refusal_id=spec.ID,
        reason=Refusal.BLOCKED_CUSTOMER_ID,
        hint=REFUSAL_HINTS[Refusal.BLOCKED_CUSTOMER_ID],
        event="clIdentity",
        event_id=None,
        visitor_id="visitor-1",
        customer_id="undefined",
        channel_id=spec.CHANNEL,
        fields=["display_name"],
        faults=[],
        occurred_at=spec.MORNING,
        received_at=spec.MORNING,
    )
    return {
        "/api/v1/admin/merges": {
            "get": spec.admin_operation(
                "listMerges",
                "Merges",
                "The ledger, newest first, changes of links alone left out. field, verdict and reason must meet in one "
                "decision. Times are those of arrival, from included, to not.",
                parameters=[spec.filter_parameter(name, Reason) for name in MERGE_FILTERS],
                answer=("MergePage", "One page", MergePage([merge], None)),
                paged=True,
                problems=(
                    *spec.RANGE,
                    "invalid_customer_id", "invalid_visitor_id", "invalid_event", "invalid_field", "invalid_verdict",
                ),
            )
        },
        "/api/v1/admin/merges/{merge_id}": {
            "get": spec.admin_operation(
                "findMerge",
                "One merge",
                "Also one that changed links alone.",
                parameters=[spec.uuid_parameter("merge_id")],
                answer=("MergeView", "The merge", merge),
                problems=("merge_not_found",),
            )
        },
        "/api/v1/admin/refusals": {
            "get": spec.admin_operation(
                "listRefusals",
                "Refused events",
                "Newest first. The counts are complete and of all time; only channel_id narrows them.",
                parameters=[spec.filter_parameter(name, Refusal) for name in REFUSAL_FILTERS],
                answer=(
                    "RefusalPage",
                    "One page, and the counts",
                    RefusalPage([refusal], None, {Refusal.BLOCKED_CUSTOMER_ID: 1}),
                ),
                paged=True,
                problems=spec.RANGE,
            )
        },
    }  # fmt: skip


def explain_paths() -> Json:
    offer = OfferView(
        value="Ana Lin",
        raw=None,
        merge_id=spec.ID,
        event="clIdentity",
        source="channel",
        channel_id=spec.CHANNEL,
        visitor_id="visitor-1",
        occurred_at=spec.MORNING,
        received_at=spec.MORNING,
        outcome=Outcome.HELD,
        reason=None,
        hint=OUTCOMES[Outcome.HELD],
        by=None,
    )
    lost = msgspec.structs.replace(
        offer, value="Ana", outcome=Outcome.OVERWRITTEN, hint=OUTCOMES[Outcome.OVERWRITTEN], by=spec.ID
    )
    lock = FieldLock(spec.ID, "key:Admin", "checked by phone", spec.MORNING)
    stretch = StretchExplanation(
        since=None,
        until=None,
        customer_id="42",
        contested=False,
        reason=StretchReason.BEFORE_FIRST,
        hint=STRETCH_REASONS[StretchReason.BEFORE_FIRST],
        identification_id=None,
        settled_by=spec.ID,
        between=[],
        taken_back=[],
    )
    changed = ChangedBy(
        spec.ID,
        "clIdentity",
        "channel",
        None,
        None,
        spec.CHANNEL,
        "visitor-1",
        spec.MORNING,
        spec.MORNING,
        "Ana",
        "Ana Lin",
    )
    key = CheckView(
        CheckName.KEY, ok=False, code="unknown_key", sentence=PROBLEMS["unknown_key"][1], details=CheckDetails()
    )
    query = ("invalid_query", "query_too_long", "unknown_parameter", "not_found")
    return {
        "/api/v1/admin/customers/{customer_id}/explain": {
            "get": spec.admin_operation(
                "explainCustomer",
                "Why a customer's fields hold what they hold",
                "Per field the value that is held, and every other one that was seen, with what became of it: at most "
                f"{OTHERS_SHOWN_MAX}, the newest. Where nothing was ever taken back, the newest {ROWS_EXPLAINED_MAX:,} "
                "rows of the ledger are looked at; of one field alone, all.",
                parameters=[
                    spec.customer_id_parameter("path"),
                    spec.parameter("field", "query", "Only this field, by the name it is held by."),
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
            "get": spec.admin_operation(
                "compareCustomer",
                "What changed between two instants",
                "Fields and links that differ, and what changed the fields in between. Without from, all is new.",
                parameters=[
                    spec.customer_id_parameter("path"),
                    spec.parameter("from", "query", "The first instant: RFC 3339 or epoch milliseconds."),
                    spec.parameter("to", "query", "The second; default: now."),
                ],
                answer=(
                    "CustomerDiff",
                    "What differs",
                    CustomerDiff(
                        customer_id="42",
                        version_before=1,
                        version_after=2,
                        fields=[FieldDiff("display_name", "Ana", "Ana Lin", [changed], more=False)],
                        links=[LinkDiff("visitor-1", None, VisitorView("visitor-1", spec.MORNING, current=True))],
                        complete=True,
                    ),
                ),
                problems=(
                    *query, "customer_not_found", "invalid_from", "invalid_to", "ledger_too_long", "log_too_long",
                ),
            )
        },
        "/api/v1/admin/visitors/{visitor_id}/explain": {
            "get": spec.admin_operation(
                "explainVisitor",
                "Why a visitor is whose it is",
                "Its time, stretch by stretch, and everything that was said of it, with what became of that: at most "
                f"{STRETCHES_SHOWN_MAX} of each, the newest; and the last refused events that named it.",
                parameters=[spec.visitor_id_parameter("path")],
                answer=(
                    "VisitorExplanation",
                    "The explanation",
                    VisitorExplanation("visitor-1", "42", spec.MORNING, [stretch], [], more=False, refusals=[]),
                ),
                problems=(*query, "visitor_not_found", "log_too_long", "query_too_slow"),
            )
        },
        "/api/v1/admin/explain": {
            "post": spec.admin_operation(
                "explainRequest",
                "Why a request did not arrive",
                "What the service would say of it, check by check. Nothing is written.",
                body=(
                    "RequestAsked",
                    {"write_key": "wk_…", "origin": "https://shop.example", "body": {"customer_id": "42"}},
                    f"At most {EXPLAIN_BYTES_MAX // 1024} KiB.",
                ),
                answer=("ArrivalExplanation", "The checks, in order", ArrivalExplanation(arrives=False, checks=[key])),
                problems=(*spec.BODY, "invalid_body", "query_too_slow"),
            )
        },
    }  # fmt: skip


def undo_paths() -> Json:
    before = DecisionView("display_name", Verdict.OVERWROTE, None, "Zoe", "Ana", None, None)
    act = MergeView(
        merge_id=spec.ID, customer_id="42", visitor_id=None, channel_id=None, source="admin", event="undo",
        event_id=None,
        occurred_at=spec.MORNING, received_at=spec.MORNING, created_customer=False, undone_by=None, version=3,
        decisions=[before], act=Act.UNDO, undoes=[spec.ID], actor="key:Ana", reason="a shared tablet",
    )  # fmt: skip
    undone = UndoView(dry_run=False, applied=True, customer_id="42", customer_gone=False, undone=[spec.ID], merge=act)
    unlinked = UnlinkView(
        dry_run=False, applied=True, visitor_id="visitor-1", undone=[spec.ID], identification_id=spec.ID,
        customer_before="42",
        customer_after=None, stretches_before=[StretchView(None, None, "42", contested=False)],
        stretches_after=[StretchView(None, None, None, contested=False)], merges=[],
    )  # fmt: skip
    operation = OperationView(
        operation_id=spec.ID, kind="undo", status="running", actor="key:Ana", reason="the key was stolen",
        parameters={"channel_id": spec.CHANNEL, "from": spec.MORNING}, progress={"merges": 120, "identifications": 14},
        created_at=spec.MORNING, finished_at=None,
    )  # fmt: skip
    asked = {"reason": "a shared tablet", "dry_run": True}
    return {
        "/api/v1/admin/merges/{merge_id}/undo": {
            "post": spec.admin_operation(
                "undoMerge",
                "Take a merge back",
                "What it had set falls back to the next best value that counts, or to nothing; fields set since stay. "
                "The undo is a row of the ledger itself: undo that one to restore. What is undone already stays so: "
                "applied is false. With dry_run nothing is written, and the answer is what would be done.",
                parameters=[spec.uuid_parameter("merge_id")],
                body=("UndoAsked", asked, "Why, and whether really."),
                answer=("UndoView", "What was done", undone),
                problems=(*spec.ASKED, "unusable_reason", "merge_not_found", "not_undoable",
                          "customer_not_found"),
            )
        },
        "/api/v1/admin/identifications/{identification_id}/undo": {
            "post": spec.admin_operation(
                "undoIdentification",
                "Take an identification or a sign-out back",
                "Whose the visitor and its footprint are follows from what is left. Values that a customer got of the "
                "anonymous visitor by it go as well. The answer's identification_id restores it, if that is undone.",
                parameters=[spec.uuid_parameter("identification_id")],
                body=("UndoAsked", {**asked, "visitor_id": "visitor-1"}, "Of which visitor it was said, and why."),
                answer=("UnlinkView", "What was done", unlinked),
                problems=(*spec.ASKED, "unusable_reason", "missing_visitor_id", "visitor_not_found",
                          "identification_not_found", "log_too_long"),
            )
        },
        "/api/v1/admin/undo": {
            "post": spec.admin_operation(
                "undoMany",
                "Take back all that a filter finds",
                "All merges and identifications of one channel, visitor or customer since a time, or of one operation "
                "(an import, a bulk undo). A worker does it in steps; the answer's operation_id tells how far it is. "
                "With dry_run the answer counts, and shows the first ones as they would become.",
                body=(
                    "BulkAsked",
                    {"filter": {"channel_id": spec.CHANNEL, "from": spec.MORNING}, "reason": "the key was stolen"},
                    "filter: from, to, channel_id, visitor_id, customer_id, event, operation_id.",
                ),
                answer=("OperationView|BulkPreview", "What was begun or, with dry_run, would be done", operation),
                problems=(*spec.ASKED, "unusable_reason", "invalid_filter"),
            )
        },
        "/api/v1/admin/operations": {
            "get": spec.admin_operation(
                "listOperations",
                "Imports and bulk undos",
                "The newest first, and how far they are.",
                answer=("OperationList", "The newest", OperationList([operation])),
                problems=(),
            )
        },
        "/api/v1/admin/operations/{operation_id}": {
            "get": spec.admin_operation(
                "findOperation",
                "One import or bulk undo",
                "How far it is.",
                parameters=[spec.uuid_parameter("operation_id")],
                answer=("OperationView", "The operation", operation),
                problems=("operation_not_found",),
            )
        },
    }  # fmt: skip


def join_paths() -> Json:
    locked = LockView(customer_id="42", locked=["display_name"], merge=None)
    change = DecisionView("display_name", Verdict.SET, None, None, "Ana", None, None)
    joined = JoinView(
        dry_run=False, applied=True, customer_id="17", into="42", changes={"17": [], "42": [change]},
        fields={"display_name": "Ana"}, merges=3, customer_merges=0,
    )  # fmt: skip
    taken_apart = msgspec.structs.replace(joined, changes={"17": [], "42": []}, fields={}, merges=0)
    asked = {"reason": "one person, two cards", "dry_run": True}
    joining = (*spec.ASKED, "unusable_reason", "customer_not_found")
    suggestion = Suggestion("email", "ana@shop.example", ["17", "42"], 2, [])
    return {
        "/api/v1/admin/customers/{customer_id}/locks": {
            "post": spec.admin_operation(
                "lockFields",
                "Lock fields, or unlock them",
                "What websites send to a locked field is kept_existing with the reason locked. A CRM's writes and "
                "imports are not bound by locks.",
                parameters=[spec.customer_id_parameter("path")],
                body=("LockAsked", {"fields": ["display_name"], "locked": True, "reason": "as on the card"}, "Which."),
                answer=("LockView", "What is locked now", locked),
                problems=(*joining, "invalid_fields"),
            )
        },
        "/api/v1/admin/customers/{customer_id}/join": {
            "post": spec.admin_operation(
                "joinCustomers",
                "Declare two customer ids one person",
                "The customer in the path answers with the profile of into ever after, and so do its visitors and its "
                "footprint. Its ledger is merged into that of into, by the same rules. unjoin takes them apart.",
                parameters=[spec.customer_id_parameter("path")],
                body=("JoinAsked", {"into": "42", **asked}, "Whom the customer is."),
                answer=("JoinView", "What was done", joined),
                problems=(*joining, "invalid_into", "join_with_itself", "already_joined", "has_joined",
                          "too_many_joined", "ledger_too_long"),
            )
        },
        "/api/v1/admin/customers/{customer_id}/unjoin": {
            "post": spec.admin_operation(
                "unjoinCustomer",
                "Take a joined customer apart again",
                "Both hold what they would hold without the join; what named the customer meanwhile goes with it.",
                parameters=[spec.customer_id_parameter("path")],
                body=("JoinAsked", asked, "Why, and whether really."),
                answer=("JoinView", "What was done", taken_apart),
                problems=(*joining, "not_joined"),
            )
        },
        "/api/v1/admin/suggestions": {
            "get": spec.admin_operation(
                "listSuggestions",
                "Customers who may be one",
                "They share an e-mail address or a phone number. Nothing is joined by that.",
                parameters=[
                    spec.parameter("shared", "query", "email (default) or phone."),
                    spec.parameter("after", "query", "next_after of the page before."),
                    spec.filter_parameter("limit", Reason),
                ],
                answer=("SuggestionPage", "One page", SuggestionPage([suggestion], None)),
                paged=True,
                problems=("invalid_query", "query_too_long", "unknown_parameter", "invalid_limit", "invalid_shared",
                          "invalid_after"),
            )
        },
        "/api/v1/admin/suggestions/dismiss": {
            "post": spec.admin_operation(
                "dismissSuggestion",
                "Two customers are not one",
                "They are not suggested again; with dismissed false they may be.",
                body=("DismissAsked", {"customer_ids": ["17", "42"], "reason": "mother and child"}, "The two."),
                answer=("DismissAsked", "As it was taken", DismissAsked(["17", "42"], reason="mother and child")),
                problems=(*spec.ASKED, "unusable_reason", "invalid_customer_ids"),
            )
        },
    }  # fmt: skip


def workspace_paths() -> Json:
    workspace = WorkspaceView(
        slug="main", spread=1, footprint_days=395, blocked_customer_ids=None, created_at=spec.MORNING
    )
    return {
        "/api/v1/admin/workspace": {
            "get": spec.admin_operation(
                "findWorkspace",
                "The workspace itself",
                "blocked_customer_ids null: the list that comes with the service.",
                answer=("WorkspaceView", "The workspace", workspace),
                problems=(),
            ),
            "patch": spec.admin_operation(
                "changeWorkspace",
                "Change the workspace",
                "What is left out stays. The change counts at once, in every worker. Fewer footprint_days hide what is "
                "past them at once; more do not bring it back, nor keep longer what has arrived.",
                body=("WorkspaceChange", {"footprint_days": 90}, "At least what is to be changed."),
                answer=("WorkspaceView", "The workspace", msgspec.structs.replace(workspace, footprint_days=90)),
                problems=(*spec.ASKED, "invalid_footprint_days", "invalid_blocked_customer_ids"),
            ),
        }
    }


def channel_paths() -> Json:
    channel = ChannelView(
        channel_id=spec.CHANNEL,
        name="Shop",
        write_key="wk_3kT0xUq9ZpQm2vYb5sLw1aRc",
        website_tracking=True,
        origins=["https://shop.example"],
        on_sign_out="forget",
        signed_identity="required",
        unsigned_writes="overwrite",
        identity_keys=[
            IdentityKeyView(key_id_of(spec.CHANNEL), Algorithm.ES256, public_key=spec.PUBLIC_KEY),
            IdentityKeyView("site-2027", Algorithm.HS256, hint="9xQ4"),
        ],
        created_at=spec.MORNING,
        revoked_at=None,
    )
    one = ("ChannelView", "The channel", channel)
    values = (*spec.ASKED, "invalid_name", "invalid_origins")
    signed = ("invalid_signed_identity", "invalid_unsigned_writes", "invalid_identity_keys")
    return {
        "/api/v1/admin/channels": {
            "get": spec.admin_operation(
                "listChannels",
                "Channels",
                "Newest first, revoked ones included.",
                parameters=[spec.filter_parameter(name, Reason) for name in ("limit", "cursor")],
                answer=("ChannelPage", "One page", ChannelPage([channel], None)),
                paged=True,
                problems=spec.QUERY,
            ),
            "post": spec.admin_operation(
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
            "get": spec.admin_operation(
                "findChannel",
                "One channel",
                "Also a revoked one.",
                parameters=[spec.uuid_parameter("channel_id")],
                answer=one,
                problems=("channel_not_found",),
            ),
            "patch": spec.admin_operation(
                "changeChannel",
                "Change a channel",
                "What is left out stays. The change counts at once, in every worker. An identity key is "
                '{"kid", "public_key"} with the PEM of a public P-256 key (ES256), {"kid", "secret"} with '
                f"{SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} ASCII characters, none of them blank (HS256), or a JWK with "
                "its kid. A public key's kid that is a UUID stands for the id of an API key of Croct's. All keys are "
                "replaced; one that the channel has is kept by its kid alone. A secret is never shown again: hint is "
                "its end.",
                parameters=[spec.uuid_parameter("channel_id")],
                body=("ChannelChange", {"website_tracking": False}, "At least what is to be changed."),
                answer=one,
                problems=(*values, *signed, "channel_not_found", "channel_revoked"),
            ),
            "delete": spec.admin_operation(
                "revokeChannel",
                "Revoke a channel",
                "For good: its write key is refused at once, in every worker. What it sent stays. Twice does no harm.",
                parameters=[spec.uuid_parameter("channel_id")],
                answer=("ChannelView", "The channel", msgspec.structs.replace(channel, revoked_at=spec.MORNING)),
                problems=("channel_not_found",),
            ),
        },
    }


def key_paths() -> Json:
    key = KeyView(
        key_id=spec.CHANNEL,
        name="CRM",
        scopes=["profiles:read"],
        hint="9xQ4",
        created_at=spec.MORNING,
        revoked_at=None,
    )
    created = CreatedKeyView(**msgspec.structs.asdict(key), secret="sk_…9xQ4")  # noqa: S106 - an example
    return {
        "/api/v1/admin/keys": {
            "get": spec.admin_operation(
                "listKeys",
                "Secret keys",
                "Newest first, revoked ones included. The secrets are kept nowhere; hint is the last four characters.",
                parameters=[spec.filter_parameter(name, Reason) for name in ("limit", "cursor")],
                answer=("KeyPage", "One page", KeyPage([key], None)),
                paged=True,
                problems=spec.QUERY,
            ),
            "post": spec.admin_operation(
                "createKey",
                "Make a secret key",
                "The answer shows the secret, this once.",
                body=("NewKey", {"name": "CRM", "scopes": ["profiles:read"]}, "One scope or more."),
                answer=("CreatedKeyView", "The key with its secret", created),
                problems=(*spec.ASKED, "invalid_name", "invalid_scopes", "too_many_keys"),
            ),
        },
        "/api/v1/admin/keys/{key_id}": {
            "delete": spec.admin_operation(
                "revokeKey",
                "Revoke a secret key",
                "For good: it is refused at once, in every worker. Twice does no harm.",
                parameters=[spec.uuid_parameter("key_id")],
                answer=("KeyView", "The key", msgspec.structs.replace(key, revoked_at=spec.MORNING)),
                problems=("key_not_found", "last_admin_key"),
            )
        },
    }


def webhook_paths() -> Json:
    change = Change(
        cursor="xDg5sQAAAAAAAAP6AZejsFwAehuMLQEjRWeJqw", merge_id=spec.ID, customer_id="42", customer_hash=None,
        types=[ChangeType.CREATED, ChangeType.LINKED], version=1, visitor_id="visitor-1", occurred_at=spec.MORNING,
        received_at=spec.MORNING, event="clIdentity", source="channel", fields=["display_name"],
    )  # fmt: skip
    webhook = WebhookView(
        webhook_id=spec.CHANNEL, url="https://crm.example/hooks", description="CRM", types=[], state=State.FAILING,
        cursor=change.cursor, failing_since=spec.MORNING, attempts=3, retry_at=spec.MORNING, answer=500,
        fault=Fault.ANSWERED,
        hint=FAULT_HINTS[Fault.ANSWERED], created_at=spec.MORNING, updated_at=spec.MORNING,
    )  # fmt: skip
    created = CreatedWebhookView(**msgspec.structs.asdict(webhook), secret="whsec_…")  # noqa: S106 - an example
    outcome = OutcomeView(DeliveryStatus.DELIVERED, 204, None, None, 31)
    delivery = DeliveryView(spec.ID, DeliveryStatus.DELIVERED, 1, 204, None, None, 31, spec.MORNING)
    one = ("WebhookView", "The webhook", webhook)
    with_secret = ("CreatedWebhookView", "The webhook with its secret", created)
    named = [spec.uuid_parameter("webhook_id")]
    signed = (
        "Messages are signed as Standard Webhooks says (webhook-id, webhook-timestamp, webhook-signature); any status "
        "from 200 to 299 takes one, 410 ends them all. A message may come twice, with the same webhook-id."
    )
    feed: list[Json] = [
        spec.parameter("after", "query", "next_cursor of the page before; left out: from the beginning."),
        {
            **spec.parameter("limit", "query", "Rows of the ledger looked through."),
            "schema": {"type": "integer", "minimum": 1, "maximum": CHANGES_MAX, "default": CHANGES_DEFAULT},
        },
    ]
    return {
        "/api/v1/changes": {
            "get": spec.operation(
                "Lookups",
                "listChanges",
                "What changed",
                "Every change of a customer, oldest first, in an order that nothing comes into later; at least once. "
                "Names of fields, no values. Keep next_cursor, and ask again from there.",
                security=[{"secretKey": [str(Scope.PROFILES_READ)]}],
                parameters=feed,
                answer=("ChangePage", "One page", ChangePage([change], change.cursor, has_more=False)),
                problems=(*spec.SECRET, *spec.QUERY, "feed_restarted"),
            )
        },
        "/api/v1/admin/webhooks": {
            "get": spec.admin_operation(
                "listWebhooks", "Webhooks", "All of them, newest first, and how they are doing.",
                answer=("WebhookPage", "All", WebhookPage([webhook], None)), problems=(),
            ),
            "post": spec.admin_operation(
                "createWebhook", "Make a webhook", f"The answer shows its secret, this once. {signed}",
                body=("NewWebhook", {"url": "https://crm.example/hooks"}, "types empty: all of them."),
                answer=with_secret,
                problems=(
                    *spec.ASKED, "invalid_url", "invalid_description", "too_many_webhooks",
                    "feed_restarted",
                ),
            ),
        },
        "/api/v1/admin/webhooks/{webhook_id}": {
            "get": spec.admin_operation(
                "findWebhook", "One webhook", "How it is doing.", parameters=named, answer=one,
                problems=("webhook_not_found",),
            ),
            "patch": spec.admin_operation(
                "changeWebhook", "Change a webhook",
                "What is left out stays. active false pauses it, and nothing is lost; true goes on, at once.",
                parameters=named, body=("WebhookChange", {"active": True}, "At least what is to be changed."),
                answer=one,
                problems=(
                    *spec.ASKED, "invalid_url", "invalid_description", "webhook_not_found",
                    "webhook_changed",
                ),
            ),
            "delete": spec.admin_operation(
                "deleteWebhook", "Delete a webhook", "With what is known of its deliveries.", parameters=named,
                answer=one, problems=("webhook_not_found",),
            ),
        },
        "/api/v1/admin/webhooks/{webhook_id}/rotate": {
            "post": spec.admin_operation(
                "rotateWebhookSecret", "Give a webhook a new secret",
                f"The answer shows it, this once. The one before signs beside it for {ROTATION_HOURS} hours.",
                parameters=named, answer=with_secret, problems=("webhook_not_found", "webhook_changed"),
            )
        },
        "/api/v1/admin/webhooks/{webhook_id}/test": {
            "post": spec.admin_operation(
                "testWebhook", "Try a webhook", "Sends a message of the type test now, and tells what became of it.",
                parameters=named, answer=("OutcomeView", "What became of it", outcome),
                problems=("webhook_not_found",),
            )
        },
        "/api/v1/admin/webhooks/{webhook_id}/resend": {
            "post": spec.admin_operation(
                "resendSince", "Let a webhook go on from another place",
                "Back or ahead: with what arrived at since or later, or behind the cursor after. Ids stay as they "
                "were.",
                parameters=named, body=("Resending", {"since": spec.MORNING}, "One of the two."), answer=one,
                problems=(
                    *spec.ASKED, "invalid_resend", "invalid_since", "invalid_cursor",
                    "webhook_not_found",
                    "webhook_changed", "feed_restarted",
                ),
            )
        },
        "/api/v1/admin/webhooks/{webhook_id}/deliveries": {
            "get": spec.admin_operation(
                "listDeliveries", "What became of changes",
                f"Newest first, for {DELIVERY_DAYS_KEPT} days. Times are those of the changes' arrival.",
                parameters=[*named, _delivery_status(), *(spec.filter_parameter(name,
                    Reason) for name in DELIVERY_FILTERS[1:])],
                answer=("DeliveryPage", "One page", DeliveryPage([delivery], None)), paged=True,
                problems=(*spec.QUERY, "invalid_from", "invalid_to", "invalid_status", "webhook_not_found"),
            )
        },
        "/api/v1/admin/webhooks/{webhook_id}/deliveries/{merge_id}/resend": {
            "post": spec.admin_operation(
                "resendChange", "Send one change again", "Now, whatever the webhook's state and types.",
                parameters=[*named, spec.uuid_parameter("merge_id")], answer=("OutcomeView", "What became of it",
                    outcome),
                problems=("webhook_not_found", "change_not_found"),
            )
        },
    }  # fmt: skip


def _delivery_status() -> Json:
    return {**spec.parameter("status", "query", "Only these."), "schema": spec.ref("DeliveryStatus")}


def operations() -> Json:
    def plain(name: str, summary: str, text: str, answers: Json) -> Json:
        operation = {"tags": ["Operations"], "operationId": name, "summary": summary, "description": text}
        return {
            "get": {**operation, "security": [], "responses": {**answers, **spec.problem_answers(("internal_error",))}}
        }

    checks = {"postgresql": "ok", "schema": "ok", "redis": "ok"}
    ready = {"status": "ready", "checks": checks}
    not_ready = {"status": "not ready", "checks": {**checks, "postgresql": "away", "schema": "unknown"}}
    return {
        "/livez": plain(
            "isAlive", "The process answers", "Nothing else is asked.",
            {"200": spec.json_answer("It lives", "Taken", {"status": "ok"})},
        ),
        "/readyz": plain(
            "isReady", "Whether traffic should come here",
            "Each dependency by name. Without Redis the service is slower, not wrong, so that it stays ready.",
            {
                "200": spec.json_answer("Ready", "Readiness", ready),
                "503": spec.json_answer("Not ready", "Readiness", not_ready),
            },
        ),
        "/metrics": plain(
            "metrics", "Metrics", "Prometheus' text format, summed over the workers of this host.",
            {"200": spec.answer("The metrics", "text/plain", {"type": "string"})},
        ),
        "/docs": plain(
            "docs", "This documentation", "One page, without scripts and without any other address.",
            {"200": spec.answer("The page", "text/html", {"type": "string"})},
        ),
        "/docs/openapi.json": plain(
            "openapi", "This documentation for programs", "OpenAPI 3.1.",
            {"200": spec.answer("The document", "application/json", {"type": "object"})},
        ),
    }  # fmt: skip
