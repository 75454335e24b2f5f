"""Pure: the closed list of reasons why a whole event wrote nothing, in order of precedence."""

from enum import StrEnum


class Refusal(StrEnum):
    """Why an event was refused. ``REFUSAL_HINTS`` has one sentence for each."""

    TRACKING_DISABLED = "tracking_disabled"
    MISSING_CUSTOMER_ID = "missing_customer_id"
    INVALID_CUSTOMER_ID = "invalid_customer_id"
    BLOCKED_CUSTOMER_ID = "blocked_customer_id"
    UNVERIFIED_IDENTITY = "unverified_identity"
    ERASED_CUSTOMER = "erased_customer"
    MISSING_VISITOR_ID = "missing_visitor_id"
    INVALID_PATCH = "invalid_patch"
    NOT_CURRENT_CUSTOMER = "not_current_customer"
    FAILED_PATCH = "failed_patch"
    ALIAS_OF_CUSTOMER = "alias_of_customer"
    UNKNOWN_EVENT = "unknown_event"
    INVALID_EVENT = "invalid_event"


REFUSAL_HINTS: dict[Refusal, str] = {
    Refusal.TRACKING_DISABLED: "Website tracking is off for this channel: turn it on to have its events taken.",
    Refusal.MISSING_CUSTOMER_ID: "Send the member's own id as customer_id (customerId); without one it is nobody.",
    Refusal.INVALID_CUSTOMER_ID: "Send customer_id as a text of 1 to 254 characters without control characters.",
    Refusal.BLOCKED_CUSTOMER_ID: "This customer_id is a placeholder that stands for nobody: send the member's own id.",
    Refusal.UNVERIFIED_IDENTITY: "This channel takes signed identities only: send a token signed for this customer.",
    Refusal.ERASED_CUSTOMER: "This customer was erased; nothing about the person is taken any more.",
    Refusal.MISSING_VISITOR_ID: "This event acts on a visitor: send a visitor_id.",
    Refusal.INVALID_PATCH: "The patch was not applied: each operation needs a known type, a path, and a fitting value.",
    Refusal.NOT_CURRENT_CUSTOMER: "The event names someone other than the visitor's current customer; nothing changed.",
    Refusal.FAILED_PATCH: "One operation does not fit what is held (no list, number or map there): none was applied.",
    Refusal.ALIAS_OF_CUSTOMER: "Both ids of the alias are customers; an event never makes two customers one.",
    Refusal.UNKNOWN_EVENT: "No event has this type; see the list of events.",
    Refusal.INVALID_EVENT: "The event breaks the rules of its type: mend what its faults name.",
}

FROM_INPUT_ALONE = frozenset(
    {
        Refusal.MISSING_CUSTOMER_ID,
        Refusal.INVALID_CUSTOMER_ID,
        Refusal.BLOCKED_CUSTOMER_ID,
        Refusal.MISSING_VISITOR_ID,
        Refusal.INVALID_PATCH,
        Refusal.UNKNOWN_EVENT,
        Refusal.INVALID_EVENT,
    }
)
"""Refusals that a public caller may be told: they follow from what was sent and give away nothing that is held."""
