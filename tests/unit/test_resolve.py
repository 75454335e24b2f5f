"""Resolution: the events table of the domain, links, refusals in their order."""

from collections.abc import Sequence
from itertools import count

import msgspec
import pytest

from identity.events.identity import (
    Alias,
    Event,
    Identify,
    OnSignOut,
    ProfileChange,
    Sender,
    SignIn,
    SignOut,
    SignUp,
    TraitsChange,
    UnsignedWrites,
    Unusable,
)
from identity.refusals import Refusal
from identity.resolve import Changes, Fact, Held, Key, Visitor, decide, find_refusal, missing, state_at
from profiles.patches import PatchOperation
from profiles.profile import Profile
from profiles.remarks import Reason, Verdict

NOON = 1_780_000_000_000
SENDER = Sender(workspace_id=1, channel_id="c")


class World:
    """What is held, kept in memory between batches."""

    def __init__(self) -> None:
        self.customers: dict[Key, Profile] = {}
        self.visitors: dict[Key, Visitor] = {}
        self.facts: dict[Key, list[Fact]] = {}
        self.seen: frozenset[Key] = frozenset()
        self._ids = count(1)

    def take(self, *events: Event) -> Changes:
        held = Held(self.customers, self.visitors, {}, self.seen)
        absent = missing(events, held)
        histories = {key: self.facts.get(key, []) for key in absent.histories}
        changes = decide(events, msgspec.structs.replace(held, histories=histories), lambda *_: f"id-{next(self._ids)}")
        self.customers = {**self.customers, **changes.customers}
        self.visitors = {**self.visitors, **changes.visitors}
        for workspace_id, fact in changes.facts:
            self.facts.setdefault((workspace_id, fact.visitor_id), []).append(fact)
        self.seen |= changes.seen.keys()
        return changes

    def customer_of(self, visitor_id: str) -> str | None:
        visitor = self.visitors.get((1, visitor_id))
        return visitor.customer_id if visitor else None

    def values(self, customer_id: str) -> dict[str, object]:
        return dict(self.customers[1, customer_id].values())


def event(
    kind: type[Event], customer: object = None, visitor: str | None = "v", at: int = NOON, **more: object
) -> Event:
    names = {Identify: "clIdentity", SignUp: "userSignedUp", SignIn: "userSignedIn", SignOut: "userSignedOut"}
    name = names.get(kind, "userProfileChanged")
    common = {"sender": SENDER, "name": name, "visitor_id": visitor, "customer": customer, "occurred_at": at}
    return kind(**{**common, "received_at": max(NOON, at), **more})  # type: ignore[arg-type]


def identify(customer: object, visitor: str | None = "v", at: int = NOON, **params: object) -> Event:
    return event(Identify, customer, visitor, at, params=params, digest=repr(sorted(params.items())))


def patch(*operations: PatchOperation, visitor: str = "v", at: int = NOON, customer: object = None) -> Event:
    return event(ProfileChange, customer, visitor, at, patch=operations)


def test_the_first_identification_creates_links_and_merges():
    world = World()

    changes = world.take(identify("42", name="Ana"))

    assert world.values("42") == {"display_name": "Ana"}
    assert world.customer_of("v") == "42"
    assert [(m.created_customer, m.version) for _, m in changes.merges] == [(True, 1)]
    assert [(p.customer_id, p.visitor_id, p.is_current) for p in changes.pairs.values()] == [("42", "v", True)]


def test_an_equal_push_of_a_linked_visitor_writes_nothing():
    world = World()
    world.take(identify("42", name="Ana"))

    changes = world.take(identify("42", at=NOON + 5, name="Ana"))

    assert changes.writes_nothing
    assert changes.outcomes[0].unchanged


def test_pushes_a_b_a_end_at_a():
    world = World()

    world.take(identify("42", "v1", NOON, name="A"))
    world.take(identify("42", "v2", NOON + 1, name="B"))
    world.take(identify("42", "v1", NOON + 2, name="A"))

    assert world.values("42") == {"display_name": "A"}


def test_an_equal_push_of_a_new_visitor_links_it():
    world = World()
    world.take(identify("42", "v1", name="A"))

    changes = world.take(identify("42", "v2", name="A"))

    assert world.customer_of("v2") == "42"
    assert [d.verdict for _, m in changes.merges for d in m.decisions] == [Verdict.UNCHANGED]


def test_a_switch_ends_one_link_and_begins_the_next():
    world = World()
    world.take(identify("A"))

    changes = world.take(identify("B", at=NOON + 1))

    assert world.customer_of("v") == "B"
    assert {(p.customer_id, p.is_current) for p in changes.pairs.values()} == {("A", False), ("B", True)}
    assert {(m.customer_id, m.version, m.is_link) for _, m in changes.merges} == {("A", 2, True), ("B", 1, False)}


def test_a_late_identification_slots_in_and_leaves_the_present():
    world = World()
    world.take(identify("A", at=NOON))

    changes = world.take(identify("B", at=NOON - 9))

    assert world.customer_of("v") == "A"
    assert state_at(world.facts[1, "v"], NOON - 1) == "B"
    assert {(p.customer_id, p.is_current) for p in changes.pairs.values()} == {("B", False)}


def test_a_late_identification_within_one_batch_slots_in_too():
    world = World()

    world.take(identify("A", at=NOON), identify("B", at=NOON - 9), identify("B", at=NOON - 5))

    assert world.customer_of("v") == "A"
    assert [f.customer_id for f in world.facts[1, "v"]] == ["A", "B"]


def test_a_sign_up_is_no_sign_in():
    world = World()

    world.take(event(SignUp, "42", profile={"firstName": "Ana"}))

    assert world.values("42") == {"first_name": "Ana"}
    assert world.customer_of("v") is None


def test_a_sign_up_leaves_an_existing_profile_as_it_is():
    world = World()
    world.take(identify("42", name="Ana"))

    world.take(event(SignUp, "42", profile={"firstName": "Bo"}))

    assert world.values("42") == {"display_name": "Ana"}


def test_a_sign_in_creates_an_empty_profile_and_links():
    world = World()

    world.take(event(SignIn, "42"))

    assert (world.values("42"), world.customer_of("v")) == ({}, "42")


def test_a_sign_in_said_in_passing_counts_only_of_a_visitor_of_whom_nobody_spoke():
    world = World()

    first = world.take(event(SignIn, "A", only_first=True))
    other = world.take(event(SignIn, "B", at=NOON + 1, only_first=True))
    world.take(event(SignOut, None, at=NOON + 2))
    again = world.take(event(SignIn, "A", at=NOON + 3, only_first=True))

    assert [len(changes.facts) for changes in (first, other, again)] == [1, 0, 0]
    assert other.writes_nothing
    assert world.customer_of("v") is None


def test_an_alias_links_what_was_a_visitor_until_now():
    world = World()

    changes = world.take(event(Alias, "42", "anonymous-1"))

    assert world.customer_of("anonymous-1") == "42"
    assert not changes.refused


def test_an_alias_of_itself_changes_nothing():
    assert World().take(event(Alias, "42", "42")).writes_nothing


def test_an_alias_never_makes_two_customers_one():
    world = World()
    world.take(identify("u-1"), identify("u-2", "w"))

    changes = world.take(event(Alias, "u-2", "u-1", at=NOON + 1))

    assert [refused.reason for refused in changes.refused] == [Refusal.ALIAS_OF_CUSTOMER]
    assert not changes.facts


@pytest.mark.parametrize("named", [None, "A"])
def test_a_sign_out_that_names_nobody_or_the_current_customer_ends_the_link(named):
    world = World()
    world.take(identify("A"))

    world.take(event(SignOut, named, at=NOON + 1))

    assert world.customer_of("v") is None


def test_a_sign_out_that_names_another_customer_is_recorded_and_not_applied():
    world = World()
    world.take(identify("A"))

    changes = world.take(event(SignOut, "B", at=NOON + 1))

    assert world.customer_of("v") == "A"
    assert [(f.customer_id, f.applied) for _, f in changes.facts] == [("B", False)]


def test_a_channel_that_keeps_ignores_sign_outs():
    world = World()
    world.take(identify("A"))
    keeping = msgspec.structs.replace(SENDER, on_sign_out=OnSignOut.KEEP)

    changes = world.take(event(SignOut, None, at=NOON + 1, sender=keeping))

    assert world.customer_of("v") == "A"
    assert changes.writes_nothing


def test_a_patch_sets_and_unsets_on_the_current_customer():
    world = World()
    world.take(identify("A", name="Ana", gender="other"))

    world.take(patch(PatchOperation("set", "firstName", "Ana"), PatchOperation("unset", "gender"), at=NOON + 1))

    assert world.values("A") == {"display_name": "Ana", "first_name": "Ana"}


def test_a_patch_counts_on_what_the_event_before_it_in_the_batch_left():
    world = World()
    one_more = PatchOperation("increment", "custom.points", 1)

    world.take(identify("A"), patch(one_more, at=NOON + 1), patch(one_more, one_more, at=NOON + 2))

    assert world.values("A") == {"custom.points": 3}


def test_one_failing_operation_voids_the_patch_of_a_customer_and_of_nobody():
    world = World()
    operations = [PatchOperation("set", "custom.plan", "gold"), PatchOperation("increment", "custom.plan", 1)]
    world.take(identify("A"))

    of_customer = world.take(patch(*operations))
    of_nobody = world.take(patch(*operations, visitor="w"))

    assert [c.outcomes[0].refusal for c in (of_customer, of_nobody)] == [Refusal.FAILED_PATCH] * 2
    assert (world.values("A"), world.visitors.get((1, "w"))) == ({}, None)


def test_a_patch_that_names_another_customer_changes_nobody():
    world = World()
    world.take(identify("A"), identify("B", "v2"))

    changes = world.take(patch(PatchOperation("set", "firstName", "X"), customer="B"))

    assert changes.outcomes[0].refusal is Refusal.NOT_CURRENT_CUSTOMER
    assert world.values("A") == world.values("B") == {}


def test_anonymous_values_fill_gaps_of_the_first_customer_only():
    world = World()
    world.take(patch(PatchOperation("set", "firstName", "Ana"), PatchOperation("set", "gender", "female")))

    world.take(identify("A", at=NOON + 1, gender="male"))
    world.take(identify("B", at=NOON + 2))

    assert world.values("A") == {"first_name": "Ana", "gender": "male"}
    assert world.values("B") == {}


def test_anonymous_values_between_two_different_customers_stay_with_nobody():
    world = World()
    world.take(identify("A"), event(SignOut, None, at=NOON + 1))
    world.take(patch(PatchOperation("set", "firstName", "X"), at=NOON + 2))

    world.take(identify("B", at=NOON + 3))

    assert world.values("A") == world.values("B") == {}


def test_anonymous_values_after_a_sign_out_go_to_the_same_customer_who_returns():
    world = World()
    world.take(identify("A"), event(SignOut, None, at=NOON + 1))
    world.take(patch(PatchOperation("set", "firstName", "Ana"), at=NOON + 2))

    world.take(identify("A", at=NOON + 3))

    assert world.values("A") == {"first_name": "Ana"}


def test_a_late_identification_contests_what_was_said_after_the_sign_out():
    world = World()
    world.take(identify("A"), event(SignOut, None, at=NOON + 20))
    world.take(identify("B", at=NOON + 10))
    world.take(patch(PatchOperation("set", "firstName", "X"), at=NOON + 30))

    world.take(identify("A", at=NOON + 40))

    assert (world.values("A"), world.values("B")) == ({}, {})


def test_a_late_patch_never_reaches_a_customer_who_came_after():
    world = World()
    world.take(identify("A"), identify("B", at=NOON + 20))

    changes = world.take(patch(PatchOperation("set", "firstName", "Ana"), at=NOON + 10))

    assert changes.outcomes[0].refusal is Refusal.NOT_CURRENT_CUSTOMER
    assert (world.values("A"), world.values("B")) == ({}, {})


def test_a_sign_in_that_was_overtaken_by_its_sign_out_links_nobody_now():
    world = World()

    world.take(event(SignOut, None, at=NOON + 20))
    world.take(event(SignIn, "A", at=NOON + 10))

    assert world.customer_of("v") is None
    assert [f.customer_id for f in world.facts[1, "v"]] == [None, "A"]


def test_a_sign_out_of_somebody_while_nobody_is_signed_in_is_recorded_and_not_applied():
    changes = World().take(event(SignOut, "B"))

    assert [(f.customer_id, f.applied) for _, f in changes.facts] == [("B", False)]


def test_a_replayed_event_id_changes_nothing():
    world = World()
    world.take(identify("A", name="old"))
    first = msgspec.structs.replace(identify("A", at=NOON + 1, name="new"), event_id="e1")
    world.take(first, identify("A", at=NOON + 2, name="newest"))

    again = world.take(msgspec.structs.replace(first, occurred_at=NOON + 9, received_at=NOON + 9))

    assert again.outcomes[0].unchanged
    assert world.values("A") == {"display_name": "newest"}


def test_the_same_id_in_two_workspaces_is_two_customers():
    world = World()
    other = msgspec.structs.replace(SENDER, workspace_id=2)

    world.take(identify("42", name="Ana"), msgspec.structs.replace(identify("42", name="Bo"), sender=other))

    assert world.values("42") == {"display_name": "Ana"}
    assert world.customers[2, "42"].values() == {"display_name": "Bo"}


def test_without_a_visitor_the_profile_is_merged_and_nothing_linked():
    world = World()

    changes = world.take(identify("42", None, name="Ana"))

    assert world.values("42") == {"display_name": "Ana"}
    assert changes.facts == []


OFF = msgspec.structs.replace(SENDER, website_tracking=False)


@pytest.mark.parametrize(
    ("refused", "reason"),
    [
        (event(Identify, Refusal.MISSING_CUSTOMER_ID, params={}, digest="", sender=OFF), Refusal.TRACKING_DISABLED),
        (event(SignOut, None, None, sender=OFF), Refusal.TRACKING_DISABLED),
        (identify(Refusal.MISSING_CUSTOMER_ID, None), Refusal.MISSING_CUSTOMER_ID),
        (identify(Refusal.INVALID_CUSTOMER_ID), Refusal.INVALID_CUSTOMER_ID),
        (identify(Refusal.BLOCKED_CUSTOMER_ID), Refusal.BLOCKED_CUSTOMER_ID),
        (event(SignIn, None), Refusal.MISSING_CUSTOMER_ID),
        (event(SignOut, None, None), Refusal.MISSING_VISITOR_ID),
        (event(ProfileChange, None, "v", patch=Refusal.INVALID_PATCH), Refusal.INVALID_PATCH),
        (event(Unusable, None, "v", refusal=Refusal.UNKNOWN_EVENT), Refusal.UNKNOWN_EVENT),
    ],
)
def test_the_first_refusal_in_the_order_of_precedence_counts(refused: Event, reason: Refusal):
    changes = World().take(refused)

    assert find_refusal(refused) is reason
    assert [r.reason for r in changes.refused] == [reason]
    assert (changes.merges, changes.facts, changes.customers) == ([], [], {})


FILLING = msgspec.structs.replace(SENDER, unsigned_writes=UnsignedWrites.FILL_EMPTY)


def told_by(said: Event, verified: str | None, sender: Sender = FILLING) -> Event:
    """Return the event as it comes over another channel, with whom a token vouches for."""
    return msgspec.structs.replace(said, sender=sender, verified_customer=verified)


def reasons_of(changes: Changes) -> list[tuple[Verdict, Reason | None]]:
    return [(decision.verdict, decision.reason) for _, merge in changes.merges for decision in merge.decisions]


KEPT = (Verdict.KEPT_EXISTING, Reason.UNSIGNED_VALUE)


@pytest.mark.parametrize(
    "said",
    [
        identify("A", at=NOON + 1, name="Bo", gender="female"),
        patch(PatchOperation("set", "gender", "female"), PatchOperation("set", "custom.a", 2), at=NOON + 1),
        event(TraitsChange, at=NOON + 1, traits={"gender": "female", "name": "Bo"}),
    ],
)
def test_where_unsigned_writes_fill_gaps_only_a_held_value_stays_whoever_says_otherwise(said: Event):
    for verified in (None, "A"):
        world = World()
        world.take(identify("A", name="Ana"), patch(PatchOperation("set", "custom.a", 1)))

        changes = world.take(told_by(said, verified))

        before = {"custom.a": 1, "display_name": "Ana"}
        held = {name: world.values("A")[name] for name in before}
        assert world.values("A")["gender"] == "female"
        assert (held == before, KEPT in reasons_of(changes)) == ((True, True) if verified is None else (False, False))


def test_an_unsigned_patch_removes_nothing_and_a_signed_one_does():
    world = World()
    world.take(identify("A", name="Ana", gender="female"))
    removal = patch(PatchOperation("unset", "gender"), at=NOON + 1)

    unsigned = world.take(told_by(removal, None))
    somebody_elses = world.take(told_by(removal, "B"))

    assert [reasons_of(changes) for changes in (unsigned, somebody_elses)] == [[KEPT], [KEPT]]
    assert world.values("A") == {"display_name": "Ana", "gender": "female"}

    world.take(told_by(removal, "A"))

    assert world.values("A") == {"display_name": "Ana"}


def test_a_channel_that_lets_unsigned_events_overwrite_is_as_ever():
    world = World()
    world.take(identify("A", name="Ana"))

    world.take(told_by(identify("A", at=NOON + 1, name="Bo"), None, SENDER))

    assert world.values("A") == {"display_name": "Bo"}


def test_a_sign_up_and_what_was_said_before_sign_in_keep_their_own_rules():
    world = World()
    world.take(told_by(patch(PatchOperation("set", "firstName", "Anonymous")), None))

    world.take(told_by(patch(PatchOperation("set", "firstName", "Ana"), at=NOON + 1), None))
    world.take(told_by(identify("A", at=NOON + 2), None))
    changes = world.take(told_by(event(SignUp, "A", at=NOON + 3, profile={"firstName": "Bo"}), None))

    # Until somebody signs in, a visitor speaks of itself.
    assert world.values("A") == {"first_name": "Ana"}
    assert reasons_of(changes) == [(Verdict.KEPT_EXISTING, Reason.PROFILE_EXISTS)]


def test_what_an_unsigned_push_could_not_do_the_same_push_does_once_it_is_signed():
    world = World()
    world.take(identify("A", name="Ana"))
    push = identify("A", at=NOON + 1, name="Bo")
    world.take(told_by(push, None))
    assert world.take(told_by(push, None)).writes_nothing

    changes = world.take(told_by(push, "A"))

    assert not changes.outcomes[0].unchanged
    assert world.values("A") == {"display_name": "Bo"}
    assert world.take(told_by(push, None)).writes_nothing


def test_one_refused_event_harms_no_neighbour():
    world = World()

    events: Sequence[Event] = [identify("A", name="Ana"), identify(Refusal.BLOCKED_CUSTOMER_ID), identify("B", "w")]
    outcomes = world.take(*events).outcomes

    assert [o.refusal for o in outcomes] == [None, Refusal.BLOCKED_CUSTOMER_ID, None]
    assert world.values("A") == {"display_name": "Ana"}
