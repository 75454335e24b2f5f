"""Pure: what the command line shows a person. Scripts ask for JSON instead.

Nothing that a stranger sent reaches the terminal as it is: a raw value may hold escape sequences.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence

import msgspec

from identity.admin.ledger import MergePage, RefusalPage, RefusalView
from identity.administration import ChannelView, KeyView, WorkspaceView
from identity.refusals import REFUSAL_HINTS
from identity.verify import EXPLANATIONS, Difference, Found, Report, summary
from identity.visitor_routes import IdentificationView, VisitorPage
from profiles.remarks import JsonValue
from profiles.views import CustomerView, DecisionView, MergeView

NOTHING = "–"

# Not covered by JSON's own escapes, though terminals may act on them: C1 controls and marks that turn the direction.
_UNSAFE_IN_JSON = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def as_json(view: object) -> str:
    """Return a view as JSON for scripts, in lines for whoever reads along, with nothing in it that moves a cursor."""
    text = msgspec.json.format(msgspec.json.encode(view), indent=2).decode()
    return _UNSAFE_IN_JSON.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def safe(text: str) -> str:
    """Return the text with everything unprintable written as an escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return rows under their head, each column as wide as its widest cell."""
    lines = [[*head], *([_cell(value) for value in row] for row in rows)]
    widths = [max(_width(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell + " " * (width - _width(cell)) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _cell(value: object) -> str:
    if value is None or value in ("", []):
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(_cell(item) for item in value)
    return safe(str(value))


def _width(text: str) -> int:
    """Return the columns that a terminal needs: letters of East Asia take two."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in ("W", "F") else 1 for c in text
    )


def shown(value: JsonValue) -> str:
    """Return a value of a field as JSON, safe to print."""
    return NOTHING if value is None else safe(msgspec.json.encode(value).decode())


def customer(view: CustomerView) -> str:
    """Return a profile: its fields with who set them, and its visitors."""
    lines = [
        f"Customer {safe(view.customer_id)}, version {view.version}",
        f"created {view.created_at}, updated {view.updated_at}",
        "",
    ]
    provenance = view.provenance or {}
    fields = [
        (name, shown(value), *((by.set_at, by.event, by.merge_id) if (by := provenance.get(name)) else (None,) * 3))
        for name, value in view.fields.items()
    ]
    lines.append(table(("FIELD", "VALUE", "SET AT", "BY EVENT", "IN MERGE"), fields) if fields else "No field is held.")
    lines.append("")
    visitors = [(v.visitor_id, v.linked_at, v.current) for v in view.visitors]
    lines.append(table(("VISITOR", "LINKED AT", "CURRENT"), visitors) if visitors else "No visitor was ever linked.")
    return "\n".join(lines)


def visitor(page: VisitorPage) -> str:
    """Return whose a visitor is, and everything that was said of it."""
    if page.customer_id is not None:
        state = f"is customer {safe(page.customer_id)} since {page.since}"
    elif page.since is not None:
        state = f"was signed out at {page.since}"
    else:
        state = "was never identified"
    rows = [_identification(said) for said in page.identifications]
    head = ("OCCURRED AT", "RECEIVED AT", "EVENT", "SAYS", "CUSTOMER", "APPLIED")
    return f"Visitor {safe(page.visitor_id)} {state}\n\n{table(head, rows)}"


def _identification(said: IdentificationView) -> tuple[object, ...]:
    return (said.occurred_at, said.received_at, said.event, said.kind, said.customer_id, said.applied)


def merges(page: MergePage) -> str:
    """Return merges, newest first, each with its decisions."""
    if not page.items:
        return "No merge is like that."
    shown = "\n\n".join(merge(view) for view in page.items)
    return shown if page.next_cursor is None else f"{shown}\n\nMore: --cursor {page.next_cursor}"


def merge(view: MergeView) -> str:
    """Return one merge: who, when, and what was decided of each field, with what to do about it."""
    origin = [f"customer {safe(view.customer_id)}", f"version {view.version}"]
    if view.created_customer:
        origin.append("created")
    if view.visitor_id is not None:
        origin.append(f"visitor {safe(view.visitor_id)}")
    if view.channel_id is not None:
        origin.append(f"channel {view.channel_id}")
    lines = [
        f"Merge {view.merge_id}  {safe(view.event)}",
        f"  {', '.join(origin)}",
        f"  occurred {view.occurred_at}, received {view.received_at}",
    ]
    if view.decisions:
        rows = [_decision(decision) for decision in view.decisions]
        shown = table(("FIELD", "VERDICT", "REASON", "OLD", "NEW", "SENT"), rows)
        lines += [f"  {line}" for line in shown.splitlines()]
        hints = {d.reason: d.hint for d in view.decisions if d.reason is not None}
        lines += [f"  {reason}: {hint}" for reason, hint in hints.items()]
    else:
        lines.append("  It changed links alone." if not view.created_customer else "  No field came along.")
    return "\n".join(lines)


def _decision(decision: DecisionView) -> tuple[object, ...]:
    raw = None if decision.raw is None else decision.raw
    return (decision.field, decision.verdict, decision.reason, shown(decision.old), shown(decision.new), raw)


def refusals(page: RefusalPage) -> str:
    """Return the complete counts, and the refused events, newest first."""
    if not page.counts:
        return "No event was ever refused."
    counts = [(reason, count, REFUSAL_HINTS[reason]) for reason, count in page.counts.items()]
    parts = [table(("REASON", "EVENTS", "WHAT TO DO"), counts)]
    parts.append(refusal_rows(page.items) if page.items else "No event is like that.")
    if page.next_cursor is not None:
        parts.append(f"More: --cursor {page.next_cursor}")
    return "\n\n".join(parts)


def refusal_rows(refused: Sequence[RefusalView]) -> str:
    """Return refused events, one a line."""
    head = ("RECEIVED AT", "REASON", "EVENT", "CUSTOMER", "VISITOR", "CHANNEL", "FIELDS")
    rows = [(r.received_at, r.reason, r.event, r.customer_id, r.visitor_id, r.channel_id, r.fields) for r in refused]
    return table(head, rows)


def workspaces(views: Sequence[WorkspaceView]) -> str:
    """Return workspaces, one a line."""
    head = ("WORKSPACE", "SPREAD", "FOOTPRINT DAYS", "BLOCKED CUSTOMER IDS", "CREATED AT")
    rows = [(v.slug, v.spread, v.footprint_days, _blocked(v), v.created_at) for v in views]
    return table(head, rows) if rows else "There is no workspace. The first identity serve makes one."


def _blocked(view: WorkspaceView) -> object:
    return "as they come with the service" if view.blocked_customer_ids is None else view.blocked_customer_ids


def channels(views: Sequence[ChannelView]) -> str:
    """Return channels, one a line."""
    head = (
        "CHANNEL",
        "NAME",
        "WRITE KEY",
        "TRACKING",
        "ON SIGN-OUT",
        "SIGNED",
        "UNSIGNED WRITES",
        "ORIGINS",
        "CREATED AT",
        "REVOKED AT",
    )
    rows = [
        (
            v.channel_id,
            v.name,
            v.write_key,
            v.website_tracking,
            v.on_sign_out,
            _signed(v),
            v.unsigned_writes,
            v.origins,
            v.created_at,
            v.revoked_at,
        )
        for v in views
    ]
    return table(head, rows) if rows else "There is no channel. Make one: identity channel create --name Website"


def _signed(view: ChannelView) -> str:
    number = len(view.identity_keys)
    return f"{view.signed_identity} ({number} key{'s' * (number > 1)})" if number else view.signed_identity


def keys(views: Sequence[KeyView]) -> str:
    """Return secret keys, one a line, each by its last characters."""
    head = ("KEY", "NAME", "SCOPES", "ENDS IN", "CREATED AT", "REVOKED AT")
    rows = [(v.key_id, v.name, v.scopes, v.hint, v.created_at, v.revoked_at) for v in views]
    return (
        table(head, rows) if rows else "There is no key. Make one: identity key create --name CRM --scope profiles:read"
    )


def report(found: Report, *, show_ids: bool) -> str:
    """Return what the replay of the ledger found."""
    parts = [summary(found).capitalize() + "."]
    if found.differences:
        counts = [(kind, count, EXPLANATIONS[Difference(kind)]) for kind, count in sorted(found.differences.items())]
        parts.append(table(("DIFFERENCE", "ROWS", "MEANING"), counts))
        ids = ("CUSTOMER", "VISITOR") if show_ids else ()
        rows = [_difference(difference, show_ids=show_ids) for difference in found.shown]
        parts.append(table(("DIFFERENCE", "WORKSPACE", "BUCKET", "VERSION", "PARTS", *ids), rows))
        if len(found.shown) < found.differences.total():
            parts.append(f"{found.differences.total() - len(found.shown)} more were counted.")
    return "\n\n".join(parts)


def _difference(found: Found, *, show_ids: bool) -> tuple[object, ...]:
    ids = (found.customer_id, found.visitor_id) if show_ids else ()
    return (found.kind, found.workspace, found.bucket, found.version, found.parts, *ids)


def report_json(found: Report, *, show_ids: bool) -> dict[str, object]:
    """Return the same for scripts."""
    shown = msgspec.to_builtins(found.shown)
    if not show_ids:
        for difference in shown:
            del difference["customer_id"], difference["visitor_id"]
    return {
        "clean": found.is_clean,
        "checked": dict(found.checked),
        "differences": dict(found.differences),
        "shown": shown,
    }
