"""A small model of the whole service, written from the rules and not from the code: slow, plain, without storage.

It takes the events as they are sent, those with readable ids and few fields, and tells what is held afterwards.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

HELD_AS = {
    "name": "display_name",
    "email": "display_email",
    "gender": "gender",
    "birthDate": "birth",
    "firstName": "first_name",
    "company": "company",
    "interests": "interests",
    "custom.points": "custom.points",
}
GENDERS = ("male", "female", "unknown")
TRACES = frozenset({"held", "lost", "skipped"})
"""What makes a merge more than a repetition."""

Sent = Mapping[str, Any]


class Value(NamedTuple):
    """What is held in a field since when; None was taken away."""

    value: Any
    at: int


class ChangePoint(NamedTuple):
    """From ``at`` on the visitor is this customer, or nobody."""

    at: int
    customer_id: str | None


Fields = dict[str, Value]


class Customer:
    """A customer's values, and the last push that was applied whole."""

    def __init__(self) -> None:
        self.fields: Fields = {}
        self.last_push: Sent | None = None


class Visitor:
    """A browser: its change points in order of arrival, and what it said while it was nobody."""

    def __init__(self) -> None:
        self.points: list[ChangePoint] = []
        self.anonymous: Fields = {}

    @property
    def last(self) -> str | None:
        """Return the customer of now or, of a visitor who signed out, the one before; whenever that was told."""
        known = [(point.at, arrival, point) for arrival, point in enumerate(self.points) if point.customer_id]
        return max(known)[2].customer_id if known else None

    def whose(self, at: float) -> str | None:
        """Return whose the visitor was at a time; of change points at the same time the last one to arrive holds."""
        known = [(point.at, arrival, point) for arrival, point in enumerate(self.points) if point.at <= at]
        return max(known)[2].customer_id if known else None

    @property
    def current(self) -> str | None:
        return self.whose(float("inf"))

    def add(self, point: ChangePoint) -> None:
        """Add a change point; unless it is a late one, it is in force now."""
        self.points.append(point)


class Model:
    """Everything that is held in one workspace."""

    def __init__(self) -> None:
        self.customers: dict[str, Customer] = {}
        self.visitors: dict[str, Visitor] = {}
        self.seen: set[tuple[bool, str | None]] = set()

    def take(self, event: Sent, received_at: int, *, keeps_on_sign_out: bool = False) -> bool:
        """Take one event of one of two channels in; return whether it was refused."""
        event_id = (keeps_on_sign_out, event.get("event_id"))  # each channel gives ids of its own
        if event_id in self.seen:
            return False
        told = event.get("occurred_at")
        at = received_at if told is None else min(told, received_at)
        refused = False
        match event["type"]:
            case "clIdentity":
                self._identify(event, at)
            case "userSignedUp":
                self._sign_up(event, at)
            case "userSignedIn":
                self._sign_in(event, at)
            case "userSignedOut" if not keeps_on_sign_out:
                self._sign_out(event, at)
            case "userProfileChanged":
                refused = self._change_profile(event, at)
        if event_id[1] is not None and not refused:
            self.seen.add(event_id)
        return refused

    def answer(self, customer_id: str) -> dict[str, Any] | None:
        """Return what a lookup shows: values, and per visitor ever linked when that was last, and whether it holds."""
        customer = self.customers.get(customer_id)
        if customer is None:
            return None
        visitors = {}
        for visitor_id, visitor in self.visitors.items():
            linked = [point.at for point in visitor.points if point.customer_id == customer_id]
            if linked:
                visitors[visitor_id] = (max(linked), visitor.current == customer_id)
        fields = {HELD_AS[name]: held.value for name, held in customer.fields.items() if held.value is not None}
        return {"fields": fields, "visitors": visitors}

    def current(self, visitor_id: str) -> str | None:
        """Return whose the visitor is."""
        visitor = self.visitors.get(visitor_id)
        return visitor.current if visitor else None

    def _identify(self, event: Sent, at: int) -> None:
        customer_id, visitor = event["params"]["customerId"], self._visitor(event)
        params = {name: value for name, value in event["params"].items() if value is not None}
        customer = self.customers.get(customer_id)
        if customer and customer.last_push == params and (visitor is None or visitor.current == customer_id):
            return
        fields = {name: value for name, value in params.items() if name in HELD_AS}
        links = visitor is not None and visitor.whose(at) != customer_id
        is_new = customer is None
        customer = self._customer(customer_id)
        outcomes = {self._put(customer.fields, name, value, at) for name, value in fields.items()}
        if is_new or outcomes & TRACES or (links and fields):
            customer.last_push = None if "lost" in outcomes else params
        if visitor is not None and links:
            self._link(visitor, customer_id, at)

    def _sign_up(self, event: Sent, at: int) -> None:
        exists = event["userId"] in self.customers
        customer = self._customer(event["userId"])
        outcomes = {
            self._put(dict(customer.fields) if exists else customer.fields, name, value, at)
            for name, value in event.get("profile", {}).items()
        }
        if outcomes & TRACES:
            customer.last_push = None

    def _sign_in(self, event: Sent, at: int) -> None:
        customer_id, visitor = event["userId"], self._visitor(event)
        self._customer(customer_id)
        if visitor is not None and visitor.whose(at) != customer_id:
            self._link(visitor, customer_id, at)

    def _sign_out(self, event: Sent, at: int) -> None:
        visitor = self._visitor(event)
        assert visitor is not None
        whose, named = visitor.whose(at), event.get("userId")
        is_repeated = whose is None and named is None and visitor.points
        if named in (None, whose) and not is_repeated:
            visitor.add(ChangePoint(at, None))

    def _change_profile(self, event: Sent, at: int) -> bool:
        visitor = self._visitor(event)
        assert visitor is not None
        if visitor.whose(at) != visitor.current or event.get("userId") not in (None, visitor.current):
            return True
        customer = self.customers[visitor.current] if visitor.current is not None else None
        fields = customer.fields if customer else visitor.anonymous
        now = {name: held.value for name, held in fields.items() if held.value is not None}
        touched: dict[str, Any] = {}
        outcomes = set()
        for operation in event["patch"]["operations"]:
            outcome = self._operate(now, touched, operation)
            if outcome == "failed":
                return True
            outcomes.add(outcome)
        outcomes |= {self._store(fields, name, value, at) for name, value in touched.items()}
        if customer and outcomes & TRACES:
            customer.last_push = None
        return False

    def _operate(self, now: dict[str, Any], touched: dict[str, Any], operation: Sent) -> str:
        """Carry out one operation on the values of now; ``touched`` are those to be stored in the end."""
        kind, name = operation["type"], operation["path"]
        given: Any = operation.get("value")
        if name == ".":
            each = [self._operate(now, touched, {**operation, "path": n, "value": v}) for n, v in given.items()]
            return "skipped" if "skipped" in each else "done"
        old = now.get(name)
        new: Any = None
        match kind:
            case "unset" | "clear":
                now.pop(name, None)
                touched[name] = None
                return "done"
            case "set" | "merge":
                new = given
            case "add":
                new = as_list(old) + as_list(given)
            case "combine":
                new = list(dict.fromkeys(as_list(old) + as_list(given)))
            case "increment" | "decrement":
                if not isinstance(old, int | None):
                    return "failed"
                new = (old or 0) + (given if kind == "increment" else -given)
            case "remove" if isinstance(old, list):
                new = [item for item in old if item != given]
                if not new:
                    return self._operate(now, touched, {"type": "unset", "path": name})
            case "remove":
                return "done" if old is None else "failed"
        if is_nothing(new):
            return "ignored"
        if not fits(name, new):
            return "skipped"
        now[name] = touched[name] = new
        return "done"

    def _link(self, visitor: Visitor, customer_id: str, at: int) -> None:
        last, was = visitor.last, visitor.current
        visitor.add(ChangePoint(at, customer_id))
        if visitor.current != customer_id or was == customer_id:
            return
        if last in (None, customer_id):
            customer = self.customers[customer_id]
            for name, held in visitor.anonymous.items():
                mine = customer.fields.get(name)
                if held.value is None or (mine and mine.value == held.value):
                    continue
                customer.last_push = None
                if mine is None or mine.value is None:
                    self._store(customer.fields, name, held.value, at)
        visitor.anonymous = {}

    def _visitor(self, event: Sent) -> Visitor | None:
        visitor_id = event.get("visitor_id")
        return None if visitor_id is None else self.visitors.setdefault(visitor_id, Visitor())

    def _customer(self, customer_id: str) -> Customer:
        return self.customers.setdefault(customer_id, Customer())

    def _put(self, fields: Fields, name: str, value: str | None, at: int) -> str:
        """Hold a value that was sent: nothing overwrites with nothing, and a value that can't be read loses."""
        if is_nothing(value):
            return "ignored"
        return self._store(fields, name, value, at) if fits(name, value) else "skipped"

    def _store(self, fields: Fields, name: str, value: Any, at: int) -> str:
        mine = fields.get(name)
        if mine is not None and mine.value == value:
            return "same"
        if mine is not None and at < mine.at:
            return "lost"
        fields[name] = Value(value, at)
        return "held"


def is_nothing(value: Any) -> bool:
    """Return whether a value is passed over."""
    return value in (None, []) or (isinstance(value, str) and not value.strip())


def fits(name: str, value: Any) -> bool:
    """Return whether a field can hold a value that is something."""
    if name == "custom.points":
        return True
    if name == "interests":
        return isinstance(value, list) and len(value) <= 30
    if not isinstance(value, str):
        return False
    return (name != "gender" or value in GENDERS) and (name != "email" or "@" in value)


def as_list(value: Any) -> list[Any]:
    """Return a value as the items that an operation on lists takes it for."""
    if isinstance(value, list):
        return value
    return [] if value is None else [value]
