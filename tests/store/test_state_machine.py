"""The whole service against a small model: any history of events, and what is held after each step."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any, LiteralString

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from identity.acts import By
from identity.resolve import Outcome
from profiles.clock import read_time
from profiles.http import Problem
from tests.harness import ADMIN_KEY, WRITE_KEY, Urls, fresh_store, opened_service
from tests.model import HELD_AS, Model, Refused, Sent
from tests.store.calls import (
    KEEPING_KEY,
    add_keeping_channel,
    authenticate,
    call,
    find_visitors,
    look_up,
    post_events,
    read,
    request,
)
from tests.store.invariants import check_store

START = 1_800_000_000_000
CUSTOMERS = ("ana", "bo", "cy")
VISITORS = ("v1", "v2", "v3")
WORKSPACE = 1
ADMIN = By("key:Ana", "it was not her")
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
several = strategies.one_of(
    strategies.lists(strategies.integers(0, 3), min_size=1, max_size=1),
    strategies.lists(strategies.integers(0, 9), min_size=1, max_size=3),
)
"""Places in what can be taken back, counted from the newest."""


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
        self.service.events._clock = self.service.acts._clock = self.service.writes._clock = lambda: self.now

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
        # All tell the same time: of others, a cache that is away lets in what one that is there takes for known.
        push = self._timed(sent)
        for _ in range(times):
            self.now += 1
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

    @precondition(lambda self: self.model.customers)
    @rule(milliseconds=strategies.sampled_from([0, 1, 30]), who=customers, several=several)
    def rows_of_a_ledger_taken_back(self, milliseconds: int, who: str, several: list[int]) -> None:
        self.now += milliseconds
        customer_id = self.prefix + who
        rows = self.runner.run(self._undoable(customer_id))
        places = {len(rows) - 1 - place for place in several if place < len(rows)}
        if places:
            merge_ids = [rows[place][0] for place in places]
            acts = self.service.acts
            self._previewed(lambda dry_run: acts.undo_merges(WORKSPACE, customer_id, merge_ids, ADMIN, dry_run=dry_run))
            self.model.undo_merges(customer_id, places)
            self._compare()

    @precondition(lambda self: self.model.visitors)
    @rule(milliseconds=strategies.sampled_from([0, 1, 30]), visitor_id=visitors, several=several)
    def identifications_taken_back(self, milliseconds: int, visitor_id: str, several: list[int]) -> None:
        self.now += milliseconds
        name = self.prefix + visitor_id
        said = self.runner.run(self._said(name))
        found = [place for place, (_, kind) in enumerate(said) if kind != "anonymous"]
        places = {found[-1 - place] for place in several if place < len(found)}
        if places:
            fact_ids = [said[place][0] for place in places]
            acts = self.service.acts
            self._previewed(lambda dry_run: acts.undo_facts(WORKSPACE, name, fact_ids, ADMIN, dry_run=dry_run))
            self.model.undo_facts(name, places)
            self._compare()

    @precondition(lambda self: self.model.customers)
    @rule(
        who=customers,
        names=strategies.lists(strategies.sampled_from(["name", "email", "gender"]), min_size=1, unique=True),
        locked=strategies.sampled_from([True, True, False]),
    )
    def fields_locked_or_unlocked(self, who: str, names: list[str], *, locked: bool) -> None:
        customer_id = self.prefix + who
        fields = [HELD_AS[name] for name in names]
        self._both(
            lambda: self.service.acts.lock(WORKSPACE, customer_id, fields, ADMIN, locked=locked),
            lambda: self.model.lock(customer_id, names, locked=locked),
        )
        self._compare()

    @precondition(lambda self: len(self.model.customers) > 1)
    @rule(milliseconds=strategies.sampled_from([0, 1, 30]), who=customers, into=customers)
    def two_customers_joined(self, milliseconds: int, who: str, into: str) -> None:
        self.now += milliseconds
        one, other = self.prefix + who, self.prefix + into
        joins = self.service.joins
        self._previewed(
            lambda dry_run: joins.join(WORKSPACE, one, other, ADMIN, dry_run=dry_run),
            lambda: self.model.join(one, other),
        )
        self._compare()

    @precondition(lambda self: any(customer.joined_into for customer in self.model.customers.values()))
    @rule(milliseconds=strategies.sampled_from([0, 1, 30]), place=strategies.integers(0, len(CUSTOMERS)))
    def a_customer_taken_apart(self, milliseconds: int, place: int) -> None:
        self.now += milliseconds
        joined = [name for name, customer in self.model.customers.items() if customer.joined_into]
        one = [*joined, self.prefix + CUSTOMERS[0]][place % (len(joined) + 1)]
        joins = self.service.joins
        self._previewed(
            lambda dry_run: joins.take_apart(WORKSPACE, one, ADMIN, dry_run=dry_run), lambda: self.model.take_apart(one)
        )
        self._compare()

    @rule(milliseconds=strategies.sampled_from([0, 1, 30]), who=customers, record=params)
    def a_change_by_a_crm(self, milliseconds: int, who: str, record: dict[str, str | None]) -> None:
        self.now += milliseconds
        customer_id = self.prefix + who
        body = {HELD_AS[name]: value for name, value in record.items()}
        asked = request("PATCH", f"/api/v1/customers/{customer_id}", body, authorization=f"Bearer {ADMIN_KEY}")
        status, _ = self.runner.run(call(self.service.customers.dispatch, asked))
        try:
            self.model.write(customer_id, record, self.now)
        except Refused:
            assert status == 404
        else:
            assert status == 200
        self._compare()

    def _previewed(self, act: Callable[[bool], Awaitable[Any]], same: Callable[[], None] = lambda: None) -> None:
        """Have something done that was previewed, by the service and by the model; both may refuse it."""
        previewed = self._both(lambda: act(True), lambda: None, may_differ=True)
        assert without_ids(self._both(lambda: act(False), same)) == without_ids(previewed)

    def _both(self, act: Callable[[], Awaitable[Any]], same: Callable[[], None], *, may_differ: bool = False) -> Any:
        """Return what the service did, or None if it refused, as the model must then."""

        async def done() -> Any:
            return await act()

        try:
            found = self.runner.run(done())
        except Problem:
            found = None
        try:
            same()
        except Refused:
            assert found is None
        else:
            assert may_differ or found is not None
        return found

    async def _undoable(self, customer_id: str) -> list[tuple[str, str]]:
        return await self._rows(
            "SELECT merge_id::text, coalesce(act, 'merge') FROM merge"
            " WHERE customer_id = %s AND NOT is_link AND (act IS NULL OR act = 'undo') ORDER BY version",
            customer_id,
        )

    async def _said(self, visitor_id: str) -> list[tuple[str, str]]:
        return await self._rows(
            "SELECT fact_id::text, kind FROM visitor_fact WHERE visitor_id = %s ORDER BY version", visitor_id
        )

    async def _rows(self, query: LiteralString, name: str) -> list[tuple[str, str]]:
        async with self.service.database.connection() as connection:
            return await (await connection.execute(query, [name])).fetchall()

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
                    assert found["customer_id"] == self.model.name_of(self.prefix + customer)
                    assert found.get("joined_ids", []) == self.model.joined_ids(found["customer_id"])
                    linked = {v["visitor_id"]: (_milliseconds(v["linked_at"]), v["current"]) for v in found["visitors"]}
                    held = {"fields": found["fields"], "visitors": linked}
                assert held == expected
            rows = await self._undoable(self.prefix + customer)
            assert [kind for _, kind in rows] == [row.kind for row in self.model.undoable(self.prefix + customer)]
        names = [self.prefix + visitor for visitor in VISITORS]
        currents = [self.model.current(name) for name in names]
        assert await find_visitors(self.service, *names) == [[c] if c is not None else [] for c in currents]
        for name in names:
            assert [kind for _, kind in await self._said(name)] == [said.kind for said in self.model.said(name)]


def told(outcome: Outcome) -> Any:
    """Return what an outcome says, without the ids that are made anew each time."""
    merges = [(m.customer_id, m.version, m.created_customer, m.source, m.event, m.decisions) for m in outcome.merges]
    facts = [(f.visitor_id, f.version, f.kind, f.applied, f.customer_id, f.decisions) for f in outcome.facts]
    return outcome.refusal, outcome.unchanged, merges, facts


def without_ids(done: Any) -> Any:
    """Return what was done, without the ids that are made anew each time."""
    if isinstance(done, list | tuple):
        return [without_ids(one) for one in done]
    if not isinstance(done, msgspec.Struct):
        return done
    told = msgspec.structs.asdict(done)
    if told.get("copy_of") is not None:
        told["copy_of"] = "a row, which may be of the same act"
    made_anew = ("merge_id", "fact_id", "operation_id")
    return {name: without_ids(value) for name, value in told.items() if name not in made_anew}


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
    _run(urls, examples=25, steps=20, shrinks=False)


@pytest.mark.long
def test_after_very_many_histories_the_service_holds_what_the_model_holds(urls: Urls) -> None:
    _run(urls, examples=400, steps=30)
