"""The whole service against a small model: any history of events, and what is held after each step."""

import asyncio
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from identity.resolve import Outcome
from profiles.clock import read_time
from tests.harness import WRITE_KEY, Urls, fresh_store, opened_service
from tests.model import Model, Sent
from tests.store.calls import (
    KEEPING_KEY,
    add_keeping_channel,
    authenticate,
    find_visitors,
    look_up,
    post_events,
    read,
)
from tests.store.invariants import check_store

START = 1_800_000_000_000
CUSTOMERS = ("ana", "bo", "cy")
VISITORS = ("v1", "v2", "v3")
_names = count(1)

values = {
    "email": strategies.sampled_from(["a@shop.example", "b@shop.example", "not an address", ""]),
    "gender": strategies.sampled_from(["male", "female", "other?", None]),
}
params = strategies.fixed_dictionaries({}, optional={"name": strategies.sampled_from(["Ana", "Bo", " "]), **values})
profiles = strategies.fixed_dictionaries({}, optional={"firstName": strategies.sampled_from(["Ana", "Bo"]), **values})
operations = strategies.one_of(
    strategies.builds(lambda value: {"type": "set", "path": "email", "value": value}, values["email"]),
    strategies.builds(lambda value: {"type": "set", "path": "gender", "value": value}, values["gender"]),
    strategies.builds(lambda value: {"type": "merge", "path": ".", "value": value}, profiles),
    strategies.builds(
        lambda kind, path: {"type": kind, "path": path},
        strategies.sampled_from(["unset", "clear"]),
        strategies.sampled_from(["email", "gender", "firstName", "interests", "custom.points"]),
    ),
    strategies.builds(
        lambda kind, path, value: {"type": kind, "path": path, "value": value},
        strategies.sampled_from(["add", "combine", "remove"]),
        strategies.sampled_from(["interests", "interests", "interests", "email", "custom.points"]),
        strategies.sampled_from(["tea", "milk", "rice"]),
    ),
    strategies.builds(
        lambda kind, path, value: {"type": kind, "path": path, "value": value},
        strategies.sampled_from(["increment", "decrement"]),
        strategies.sampled_from(["custom.points", "custom.points", "gender"]),
        strategies.sampled_from([1, 2, 0]),
    ),
)
ages = strategies.sampled_from([None, None, 0, 1, 2, 5, 40, -10])
"""How long before now it happened by the client's own clock; None where the client tells no time."""
event_ids = strategies.sampled_from([None, None, None, "e1", "e2", "e3"])
visitors = strategies.sampled_from(VISITORS)
customers = strategies.sampled_from(CUSTOMERS)
somebody = strategies.one_of(strategies.none(), customers)


def _event(kind: str, **parts: object) -> Sent:
    return {"type": kind, **{name: value for name, value in parts.items() if value is not None}}


common: dict[str, Any] = {"age": ages, "event_id": event_ids}
events = strategies.one_of(
    strategies.builds(
        lambda who, params, **parts: _event("clIdentity", params={"customerId": who, **params}, **parts),
        who=customers,
        params=params,
        visitor_id=strategies.one_of(visitors, visitors, visitors, strategies.none()),
        **common,
    ),
    strategies.builds(_event, strategies.just("userSignedIn"), userId=customers, visitor_id=visitors, **common),
    strategies.builds(
        _event, strategies.just("userSignedUp"), userId=customers, visitor_id=visitors, profile=profiles, **common
    ),
    strategies.builds(_event, strategies.just("userSignedOut"), userId=somebody, visitor_id=visitors, **common),
    strategies.builds(
        _event,
        strategies.just("userProfileChanged"),
        userId=strategies.one_of(strategies.none(), strategies.none(), customers),
        visitor_id=visitors,
        patch=strategies.builds(
            lambda steps: {"operations": steps}, strategies.lists(operations, min_size=1, max_size=3)
        ),
        **common,
    ),
)


class Machine(RuleBasedStateMachine):
    """One service on a store that other runs have filled with customers of other names."""

    database = ""
    redis = ""

    def __init__(self) -> None:
        super().__init__()
        self.prefix = f"{next(_names)}-"
        self.now = START
        self.model = Model()
        self.runner = asyncio.Runner()
        self.opened = opened_service(self.database, self.redis)
        self.service = self.runner.run(self.opened.__aenter__())
        self.service.events._clock = lambda: self.now

    def teardown(self) -> None:
        self.runner.run(self.opened.__aexit__(None, None, None))
        self.runner.close()

    @rule(milliseconds=strategies.sampled_from([0, 1, 3, 30]), sent=events, keeps=strategies.booleans())
    def one_event(self, milliseconds: int, sent: Sent, *, keeps: bool) -> None:
        self._post([sent], milliseconds, keeps=keeps)

    @rule(
        milliseconds=strategies.sampled_from([0, 1, 30]),
        sent=strategies.lists(events, min_size=2, max_size=5),
        keeps=strategies.booleans(),
    )
    def several_events_in_one_request(self, milliseconds: int, sent: list[Sent], *, keeps: bool) -> None:
        self._post(sent, milliseconds, keeps=keeps)

    @rule(
        who=customers, params=params, visitor_id=visitors, age=ages, event_id=event_ids, times=strategies.integers(1, 3)
    )
    def the_same_push_several_times(
        self, who: str, params: dict[str, str], visitor_id: str, age: int | None, event_id: str | None, times: int
    ) -> None:
        sent = _event(
            "clIdentity", params={"customerId": who, **params}, visitor_id=visitor_id, age=age, event_id=event_id
        )
        for _ in range(times):
            self.now += 1
            push = self._timed(sent)
            body = {**{name: part for name, part in push.items() if name not in ("type", "params")}, **push["params"]}
            assert self.runner.run(authenticate(self.service, body)) == (200, {"status": "ok"})
            self.model.take(push, self.now)
            self._compare()

    @rule(milliseconds=strategies.sampled_from([0, 1, 30]), sent=events, keeps=strategies.booleans())
    def a_preview_and_then_the_event(self, milliseconds: int, sent: Sent, *, keeps: bool) -> None:
        self.now += milliseconds
        timed = self._timed(sent)
        previewed, live = self.runner.run(self._preview_and_submit(timed, KEEPING_KEY if keeps else WRITE_KEY))
        refused = self.model.take(timed, self.now, keeps_on_sign_out=keeps)

        assert previewed == live
        assert (live[0] is not None) == refused
        self._compare()

    async def _preview_and_submit(self, sent: Sent, write_key: str) -> tuple[Any, Any]:
        [event] = read(self.service, sent, received_at=self.now, write_key=write_key)
        previewed = await self.service.intake.preview(event)
        return told(previewed), told(await self.service.intake.submit_one(event))

    def _post(self, sent: list[Sent], milliseconds: int, *, keeps: bool) -> None:
        self.now += milliseconds
        timed = [self._timed(event) for event in sent]
        status, _ = self.runner.run(post_events(self.service, *timed, write_key=KEEPING_KEY if keeps else WRITE_KEY))
        for event in timed:
            self.model.take(event, self.now, keeps_on_sign_out=keeps)

        assert status == 200
        self._compare()

    def _timed(self, sent: Sent) -> Sent:
        """Give the event its time, and ids that no other run has."""
        event = dict(sent)
        age = event.pop("age", None)
        if age is not None:
            event["occurred_at"] = self.now - age
        for name in ("visitor_id", "userId", "event_id"):
            if name in event:
                event[name] = self.prefix + event[name]
        if "params" in event:
            event["params"] = {**event["params"], "customerId": self.prefix + event["params"]["customerId"]}
        return event

    def _compare(self) -> None:
        self.runner.run(self._compare_all())

    async def _compare_all(self) -> None:
        for customer in CUSTOMERS:
            expected = self.model.answer(self.prefix + customer)
            for _ in ("perhaps from the database", "perhaps from the cache"):
                status, found = await look_up(self.service, self.prefix + customer)
                held = None
                if status == 200:
                    linked = {v["visitor_id"]: (_milliseconds(v["linked_at"]), v["current"]) for v in found["visitors"]}
                    held = {"fields": found["fields"], "visitors": linked}
                assert held == expected
        names = [self.prefix + visitor for visitor in VISITORS]
        currents = [self.model.current(name) for name in names]
        assert await find_visitors(self.service, *names) == [[c] if c is not None else [] for c in currents]


def told(outcome: Outcome) -> Any:
    """Return what an outcome says, without the ids that are made anew each time."""
    merges = [(m.customer_id, m.version, m.created_customer, m.source, m.event, m.decisions) for m in outcome.merges]
    facts = [(f.visitor_id, f.version, f.kind, f.applied, f.customer_id, f.decisions) for f in outcome.facts]
    return outcome.refusal, outcome.unchanged, merges, facts


def _milliseconds(text: str) -> int:
    return read_time(text) or 0


def _run(urls: Urls, examples: int, steps: int, *, shrinks: bool = True) -> None:
    with fresh_store(urls.database) as database:
        add_keeping_channel(database)
        machine = type("BoundMachine", (Machine,), {"database": database, "redis": urls.redis})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=steps,
                deadline=None,
                phases=[phase for phase in Phase if shrinks or phase is not Phase.shrink],
                suppress_health_check=list(HealthCheck),
                print_blob=True,
            ),
        )
        check_store(database)


def test_after_any_history_the_service_holds_what_the_model_holds(urls: Urls) -> None:
    _run(urls, examples=25, steps=15, shrinks=False)


@pytest.mark.long
def test_after_very_many_histories_the_service_holds_what_the_model_holds(urls: Urls) -> None:
    _run(urls, examples=400, steps=30)
