"""Merging: examples for every verdict, and the laws."""

from hypothesis import given, settings
from hypothesis import strategies as st

from profiles import ledger
from profiles import merge as merging
from profiles.profile import HeldField, Merge, Policy, Profile
from profiles.remarks import Decision, Kind, Reading, Reason, Verdict

NOON = 1_780_000_000_000


def incoming(*, policy: Policy = Policy.OVERWRITE, occurred_at: int = NOON, digest: str | None = None, is_link=False):
    return Merge(
        merge_id="m",
        customer_id="42",
        version=0,
        source="channel",
        event="clIdentity",
        occurred_at=occurred_at,
        received_at=max(NOON, occurred_at),
        policy=policy,
        digest=digest,
        is_link=is_link,
    )


def held(**fields: HeldField) -> Profile:
    return Profile("42", 7, NOON, NOON, fields, "digest of before")


def value(field: str, content: object) -> Reading:
    return Reading(field, Kind.VALUE, content)  # type: ignore[arg-type]


def decided(profile: Profile | None, *readings: Reading, **options: object) -> tuple[Decision, ...]:
    return merging.apply(profile, incoming(**options), readings).merge.decisions  # type: ignore[arg-type]


def test_a_value_is_set_where_nothing_is_held():
    assert decided(None, value("display_name", "Ana")) == (Decision("display_name", Verdict.SET, value="Ana"),)


def test_a_newer_value_overwrites():
    profile = held(display_name=HeldField("Ana", NOON - 1, 3))

    assert decided(profile, value("display_name", "Bo")) == (
        Decision("display_name", Verdict.OVERWROTE, old="Ana", value="Bo", old_version=3),
    )


def test_of_two_values_of_one_instant_the_later_to_arrive_wins():
    profile = held(display_name=HeldField("Ana", NOON, 3))

    assert [d.verdict for d in decided(profile, value("display_name", "Bo"))] == [Verdict.OVERWROTE]


def test_an_older_value_is_skipped_and_kept_in_the_ledger():
    profile = held(display_name=HeldField("Ana", NOON + 1, 3))

    assert decided(profile, value("display_name", "Bo")) == (
        Decision("display_name", Verdict.SKIPPED_OLDER, old="Ana", value="Bo", old_version=3),
    )


def test_a_repeated_value_does_not_renew_its_time():
    profile = held(display_name=HeldField("Ana", NOON - 9, 3))

    applied = merging.apply(profile, incoming(), [value("display_name", "Ana")])

    assert applied.merge.decisions == (
        Decision("display_name", Verdict.UNCHANGED, old="Ana", value="Ana", old_version=3),
    )
    assert applied.profile.fields == profile.fields
    assert not applied.leaves_trace


def test_nothing_overwrites_with_nothing():
    profile = held(display_name=HeldField("Ana", NOON - 1, 3))

    applied = merging.apply(profile, incoming(), [Reading("display_name", Kind.EMPTY)])

    assert applied.merge.decisions == (Decision("display_name", Verdict.IGNORED_EMPTY, old="Ana"),)
    assert applied.profile.values() == {"display_name": "Ana"}


def test_a_faulty_field_is_skipped_with_what_was_sent():
    fault = Reading("display_mobile", Kind.FAULT, reason=Reason.NO_COUNTRY_CODE, raw="0912345678")

    assert decided(None, fault) == (
        Decision("display_mobile", Verdict.SKIPPED_INVALID, Reason.NO_COUNTRY_CODE, raw="0912345678"),
    )


def test_a_sign_up_leaves_an_existing_profile_as_it_is():
    profile = held(display_name=HeldField("Ana", NOON - 1, 3))

    applied = merging.apply(
        profile, incoming(policy=Policy.CREATE_ONLY), [value("display_name", "Bo"), value("gender", "other")]
    )

    assert [(d.verdict, d.reason) for d in applied.merge.decisions] == [
        (Verdict.KEPT_EXISTING, Reason.PROFILE_EXISTS)
    ] * 2
    assert applied.profile.values() == {"display_name": "Ana"}


def test_an_anonymous_value_fills_a_gap_only():
    profile = held(display_name=HeldField("Ana", NOON - 1, 3))

    applied = merging.apply(
        profile, incoming(policy=Policy.FILL_EMPTY), [value("display_name", "Bo"), value("gender", "other")]
    )

    assert [d.verdict for d in applied.merge.decisions] == [Verdict.KEPT_EXISTING, Verdict.SET]
    assert applied.profile.values() == {"display_name": "Ana", "gender": "other"}


def test_an_unsigned_value_fills_a_gap_only_and_says_why():
    profile = held(display_name=HeldField("Ana", NOON - 1, 3), birth=HeldField(None, NOON - 1, 3))

    applied = merging.apply(
        profile,
        incoming(policy=Policy.UNSIGNED, digest="d"),
        [value("display_name", "Bo"), value("gender", "other"), value("birth", "1995-01-31")],
    )

    assert [(d.verdict, d.reason) for d in applied.merge.decisions] == [
        (Verdict.KEPT_EXISTING, Reason.UNSIGNED_VALUE),
        (Verdict.SET, None),
        (Verdict.SET, None),
    ]
    assert applied.profile.values() == {"birth": "1995-01-31", "display_name": "Ana", "gender": "other"}
    # Sent again, it would lose again: the page that sends it with every view leaves no trace.
    assert applied.profile.digest == "d"
    late = merging.apply(
        profile, incoming(policy=Policy.UNSIGNED, digest="d", occurred_at=0), [value("birth", "1995-01-31")]
    )
    assert late.profile.digest is None


def test_an_unsigned_removal_takes_nothing_away_and_keeps_nothing_out():
    profile = held(display_name=HeldField("Ana", NOON - 1, 3))
    removals = [Reading(field, Kind.REMOVAL) for field in ("display_name", "gender")]

    applied = merging.apply(profile, incoming(policy=Policy.UNSIGNED), removals)

    assert [(d.verdict, d.reason) for d in applied.merge.decisions] == [
        (Verdict.KEPT_EXISTING, Reason.UNSIGNED_VALUE),
        (Verdict.UNCHANGED, None),
    ]
    assert applied.profile.fields == profile.fields


def test_a_removal_keeps_out_an_older_value_that_comes_late():
    removed = merging.apply(
        held(display_name=HeldField("Ana", NOON - 5, 3)), incoming(), [Reading("display_name", Kind.REMOVAL)]
    )

    late = merging.apply(removed.profile, incoming(occurred_at=NOON - 1), [value("display_name", "Bo")])

    assert removed.merge.decisions == (Decision("display_name", Verdict.UNSET, old="Ana", old_version=3),)
    assert [d.verdict for d in late.merge.decisions] == [Verdict.SKIPPED_OLDER]
    assert late.profile.values() == {}


def test_true_is_not_one():
    profile = held(**{"custom.member": HeldField(1, NOON - 1, 3)})

    assert [d.verdict for d in decided(profile, value("custom.member", content=True))] == [Verdict.OVERWROTE]


def test_custom_fields_are_bounded_and_known_ones_go_on():
    fields = {f"custom.f{i}": HeldField(i, NOON - 1, 1) for i in range(merging.CUSTOM_FIELDS_MAX)}

    decisions = decided(held(**fields), value("custom.new", 1), value("custom.f0", 9))

    assert decisions == (
        Decision("custom.new", Verdict.SKIPPED_INVALID, Reason.TOO_MANY, value=1),
        Decision("custom.f0", Verdict.OVERWROTE, old=0, value=9, old_version=1),
    )


def test_the_digest_is_carried_only_if_nothing_lost():
    newer = held(display_name=HeldField("Ana", NOON + 1, 3))

    lost = merging.apply(newer, incoming(digest="d"), [value("display_name", "Bo")])
    won = merging.apply(newer, incoming(digest="d"), [value("gender", "other")])

    assert lost.profile.digest is None
    assert won.profile.digest == "d"


def test_a_change_of_links_leaves_the_digest():
    applied = merging.apply(held(), incoming(is_link=True), [])

    assert (applied.profile.digest, applied.profile.version) == ("digest of before", 8)


values = st.one_of(
    st.booleans(), st.integers(-3, 3), st.sampled_from(["", "a", "b"]), st.lists(st.integers(0, 1), max_size=2)
).filter(lambda v: v not in ("", []))
readings = st.one_of(
    st.builds(value, st.sampled_from(["display_name", "gender", "custom.a", "custom.b"]), values),
    st.builds(Reading, st.sampled_from(["display_name", "custom.a"]), st.just(Kind.REMOVAL)),
    st.builds(Reading, st.just("gender"), st.just(Kind.EMPTY)),
    st.builds(
        Reading,
        st.just("birth"),
        st.just(Kind.FAULT),
        reason=st.just(Reason.NOT_A_DATE),
        raw=st.sampled_from(["x", ""]),
    ),
)
steps = st.lists(
    st.tuples(
        st.sampled_from(Policy),
        st.integers(NOON - 3, NOON),
        st.sampled_from([None, "d"]),
        st.lists(readings, max_size=4),
    ),
    max_size=8,
)


def run(history) -> list[merging.Applied]:
    profile, done = None, []
    for policy, occurred_at, digest, read in history:
        applied = merging.apply(profile, incoming(policy=policy, occurred_at=occurred_at, digest=digest), read)
        profile = applied.profile
        done.append(applied)
    return done


@given(steps)
@settings(deadline=None)
def test_every_row_decides_the_same_when_it_is_replayed(history):
    profile = None
    for applied in run(history):
        assert ledger.replay(profile, applied.merge, ()) == applied
        profile = applied.profile


@given(steps)
@settings(deadline=None)
def test_the_profile_is_the_fold_of_its_ledger(history):
    done = run(history)

    assert ledger.fold([applied.merge for applied in done]) == (done[-1].profile if done else None)


@given(steps, st.lists(readings, max_size=4), st.sampled_from([Policy.FILL_EMPTY, Policy.UNSIGNED]))
@settings(deadline=None)
def test_what_may_only_fill_gaps_leaves_every_held_value_as_it_is(history, read, policy):
    done = run(history)
    before = done[-1].profile if done else None

    after = merging.apply(before, incoming(policy=policy, occurred_at=NOON + 1), read).profile

    kept = before.values() if before else {}
    assert {name: after.values().get(name) for name in kept} == kept
    # A gap may be left by a removal, which a value fills; nothing else turns into one.
    removed = {name for name, field in after.fields.items() if field.value is None}
    assert removed <= (before.fields.keys() if before else set())


@given(steps)
@settings(deadline=None)
def test_sending_the_same_again_leaves_no_trace_unless_something_had_lost(history):
    done = run(history)
    if not done:
        return
    profile = done[-1].profile
    fresh = [value("display_name", "fresh"), value("custom.a", 1)]

    first = merging.apply(profile, incoming(digest="x"), fresh)
    second = merging.apply(first.profile, incoming(digest="x"), fresh)

    assert not second.leaves_trace
    assert second.profile.fields == first.profile.fields


@given(steps, st.lists(st.builds(value, st.sampled_from(["gender", "custom.a"]), values), max_size=2))
@settings(deadline=None)
def test_a_field_changes_only_by_a_decision_that_says_so(history, read):
    done = run(history)
    profile = done[-1].profile if done else None
    before = dict(profile.fields) if profile else {}

    applied = merging.apply(profile, incoming(), read)

    said = {d.field for d in applied.merge.decisions if d.verdict in (Verdict.SET, Verdict.OVERWROTE, Verdict.UNSET)}
    changed = {name for name in before | applied.profile.fields if before.get(name) != applied.profile.fields.get(name)}
    assert changed == said
    assert all(applied.profile.fields[name].version == applied.profile.version for name in said)
