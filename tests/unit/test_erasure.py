"""What is left of a visitor's log when a customer is erased."""

from typing import Any

from identity.erasure import cleared, folded
from identity.events.identity import Identify, Sender, Unusable
from identity.refusals import Refusal
from identity.resolve import Fact, FactKind, Held, Visitor, decide
from profiles.remarks import Decision, Verdict

SENDER = Sender(workspace_id=1, channel_id="c")


def said(version: int, kind: FactKind, customer_id: str | None = None, **more: Any) -> Fact:
    values = {
        "applied": True,
        "source": "channel",
        "event": "e",
        "occurred_at": version,
        "received_at": version,
        **more,
    }
    return Fact(fact_id=f"f{version}", visitor_id="v", version=version, kind=kind, customer_id=customer_id, **values)


def gave(version: int, name: str, **more: Any) -> Fact:
    decision = Decision("first_name", Verdict.SET, None, None, name)
    return said(version, FactKind.ANONYMOUS, decisions=(decision,), **more)


def kinds(facts: list[Fact]) -> list[tuple[str, str | None, bool]]:
    return [(fact.kind.value, fact.customer_id, fact.applied) for fact in facts]


def test_facts_that_name_the_customer_are_cleared_and_those_of_others_stay():
    facts = [
        said(1, FactKind.IDENTIFIED, "bo"),
        said(2, FactKind.IDENTIFIED, "ana", event_id="e-2"),
        said(3, FactKind.SIGNED_OUT),
        said(4, FactKind.SIGNED_OUT, "ana", applied=False),
        said(5, FactKind.IDENTIFIED, "bo"),
    ]

    left = cleared(facts, {"ana"})

    assert kinds(left) == [
        ("identified", "bo", True), ("erased", None, True), ("signed_out", None, True), ("erased", None, False),
        ("identified", "bo", True),
    ]  # fmt: skip
    assert left[1].event_id is None
    assert folded(left) == Visitor(
        visitor_id="v", version=5, customer_id="bo", since=5, last_customer_id="bo", last_since=5
    )


def test_values_that_the_customer_adopted_are_cleared_and_those_that_another_adopted_stay():
    facts = [gave(1, "Bo"), said(2, FactKind.IDENTIFIED, "bo"), said(3, FactKind.SIGNED_OUT), gave(4, "Bo again")]
    facts += [said(5, FactKind.IDENTIFIED, "bo"), said(6, FactKind.IDENTIFIED, "ana"), said(7, FactKind.SIGNED_OUT)]
    facts += [gave(8, "Ana"), said(9, FactKind.IDENTIFIED, "bo")]

    left = cleared(facts, {"ana"})

    changed = {fact.version for fact, was in zip(left, facts, strict=True) if fact != was}
    assert changed == {6, 8}
    assert left[7].decisions == ()
    assert not left[7].applied


def test_values_given_before_the_first_identification_go_with_the_customer():
    facts = [gave(1, "Ana"), said(2, FactKind.IDENTIFIED, "ana")]

    assert kinds(cleared(facts, {"ana"})) == [("erased", None, False), ("erased", None, True)]


def test_an_erased_identification_leaves_the_visitor_nobodys_whoever_was_there_before():
    left = cleared([said(1, FactKind.IDENTIFIED, "bo"), said(2, FactKind.IDENTIFIED, "ana")], {"ana"})

    assert folded(left) == Visitor(visitor_id="v", version=2, customer_id=None, since=2, last_since=2)


def test_an_undoing_keeps_its_targets_and_loses_its_note():
    facts = [said(1, FactKind.IDENTIFIED, "ana"), said(2, FactKind.UNDONE, undoes=("f1",), actor="cli", note="Ana!")]

    left = cleared(facts, {"ana"})

    assert kinds(left) == [("erased", None, True), ("undone", None, True)]
    assert (left[1].undoes, left[1].actor, left[1].note) == (("f1",), None, None)


def test_an_event_that_names_an_erased_customer_is_refused_by_its_place_in_the_order():
    def event(**more: Any) -> Identify:
        values: dict[str, Any] = {"params": {}, "digest": "d", "received_at": 5, **more}
        return Identify(
            sender=SENDER,
            name="clIdentity",
            visitor_id="v",
            customer="ana",
            occurred_at=5,
            sent_customer="ana",
            **values,
        )

    unknown = Unusable(
        sender=SENDER, name="x", visitor_id="v", customer=None, sent_customer=" ana ", occurred_at=5, received_at=5,
        refusal=Refusal.UNKNOWN_EVENT,
    )  # fmt: skip
    disproved = event(verified_customer="bo")
    held = Held(erased=frozenset({(1, "ana")}))

    changes = decide([event(), unknown, disproved], held, lambda bucket, at: f"{bucket}-{at}")

    assert [refused.reason for refused in changes.refused] == [
        Refusal.ERASED_CUSTOMER, Refusal.ERASED_CUSTOMER, Refusal.UNVERIFIED_IDENTITY,
    ]  # fmt: skip
    told = [(r.event.customer, r.event.sent_customer, r.event.visitor_id, r.event.event_id) for r in changes.refused]
    assert told == [(None, None, None, None)] * 3
    assert (changes.customers, changes.facts) == ({}, [])
