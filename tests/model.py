"""A small model of the whole service, written from the rules and not from the code: slow, plain, without storage.

It takes the events as they are sent, those with readable ids and few fields, and what admins and a CRM do, and tells
what is held afterwards. It keeps what was said, row by row, and works out everything else from that, anew each time.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

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
TRACES = frozenset({"held", "lost", "kept", "no gap", "skipped"})
"""What makes a merge more than a repetition."""

Sent = Mapping[str, Any]


class Value(NamedTuple):
    """What is held in a field since when; None was taken away."""

    value: Any
    at: int


Fields = dict[str, Value]


@dataclass(eq=False)
class Said:
    """What was said of a visitor: who it is, that it is nobody, values of nobody, or that others count no more."""

    kind: str
    at: int = 0
    customer_id: str | None = None
    applied: bool = True
    values: Sent = field(default_factory=dict)
    takes_back: Sequence["Said"] = ()


@dataclass(eq=False)
class Row:
    """A row of a customer's ledger: values that were offered, or what an admin did to the ledger itself.

    ``kept_out`` are fields that it could not set when it came. ``named`` is the joined customer of whom it was said,
    ``by_join`` tells whether a join brought it. ``since`` is what was said of the visitor from whom the values came, or
    on whose account the rows were taken back.
    """

    kind: str
    at: int = 0
    values: Sent = field(default_factory=dict)
    policy: str = "overwrite"
    by_website: bool = True
    takes_back: Sequence["Row"] = ()
    fields: Collection[str] = ()
    kept_out: Collection[str] = ()
    named: str | None = None
    by_join: bool = False
    since: Said | None = None
    copy_of: "Row | None" = None


One = TypeVar("One", Said, Row)


def counts(one: One, all_of_them: Sequence[One]) -> bool:
    """Return whether something was not taken back: by nothing that counts itself."""
    return not any(one in other.takes_back and counts(other, all_of_them) for other in all_of_them)


class Customer:
    """A customer's ledger, whom it is joined into, and the last push that was applied whole."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.last_push: Sent | None = None
        self.joined_into: str | None = None

    def fold(self) -> tuple[Fields, bool, set[str], list[tuple[Row, list[str]]]]:
        """Return what is held, whether anything is, what is locked, and each merge that counts with what it offered
        and was not kept out."""
        fields: Fields = {}
        locks: set[str] = set()
        merges: list[tuple[Row, list[str]]] = []
        for row in self.rows:
            if row.kind == "lock":
                locks |= set(row.fields)
            elif row.kind == "unlock":
                locks -= set(row.fields)
            elif row.kind == "merge" and counts(row, self.rows):
                done = put(fields, row, locks, exists=bool(merges))
                merges.append((row, [name for name, outcome in done.items() if outcome != "kept"]))
        return fields, bool(merges), locks, merges

    @property
    def fields(self) -> Fields:
        return self.fold()[0]

    @property
    def is_there(self) -> bool:
        return self.fold()[1]

    def add(self, row: Row) -> None:
        """Add a row. Whatever is written lets every push be looked at again."""
        self.rows.append(row)
        self.last_push = None

    def take_back(self, rows: Iterable[Row], since: Said | None = None, copy_of: Row | None = None) -> Row | None:
        """Take rows back, unless they all are already; return the row that does it."""
        counting = [row for row in rows if counts(row, self.rows)]
        if not counting:
            return None
        act = Row("undo", takes_back=counting, since=since, copy_of=copy_of)
        self.add(act)
        return act


class Visitor:
    """A browser: what was said of it, in order of arrival."""

    def __init__(self) -> None:
        self.said: list[Said] = []

    @property
    def points(self) -> list[Said]:
        """Return the identifications and sign-outs that count."""
        return [s for s in self.said if s.kind in ("identified", "signed_out") and s.applied and counts(s, self.said)]

    @property
    def last(self) -> str | None:
        """Return the customer of now or, of a visitor who signed out, the one before; whenever that was told."""
        known = [(point.at, arrival, point) for arrival, point in enumerate(self.points) if point.customer_id]
        return max(known)[2].customer_id if known else None

    @property
    def current(self) -> str | None:
        return self.whose(float("inf"))

    @property
    def anonymous(self) -> Fields:
        """Return the values of nobody that no customer in force since then took over."""
        fields: Fields = {}
        newest = float("-inf")
        for said in self.said:
            if said.kind == "anonymous" and counts(said, self.said):
                put(fields, Row("merge", said.at, said.values), ())
            elif said in self.points and said.at >= newest:
                newest = said.at
                if said.customer_id is not None:
                    fields = {}
        return fields

    def whose(self, at: float) -> str | None:
        """Return whose the visitor was at a time; of change points at the same time the last one to arrive holds."""
        known = [(point.at, arrival, point) for arrival, point in enumerate(self.points) if point.at <= at]
        return max(known)[2].customer_id if known else None


class Refused(Exception):
    """What an admin or a CRM asks for cannot be done."""


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
                self._merge(event["userId"], at, event.get("profile", {}), policy="create")
            case "userSignedIn":
                self._sign_in(event, at)
            case "userSignedOut" if not keeps_on_sign_out:
                self._sign_out(event, at)
            case "userProfileChanged":
                refused = self._change_profile(event, at)
        if event_id[1] is not None and not refused:
            self.seen.add(event_id)
        return refused

    def write(self, customer_id: str, record: Sent, at: int) -> None:
        """Take the change of a CRM in: no lock holds it, and null takes away.

        Raises:
            Refused: nobody is held by this id.
        """
        if not self.owner(customer_id).is_there:
            raise Refused
        removed = {name: None for name, value in record.items() if value is None}
        given = {name: value for name, value in record.items() if value is not None}
        self._merge(customer_id, at, given, removed, by_website=False)

    def undo_merges(self, customer_id: str, places: Iterable[int]) -> None:
        """Take merges, or undoings, back: those at these places of ``undoable``."""
        undoable = self.undoable(customer_id)
        rows = [undoable[place] for place in sorted(set(places))]
        copies = self._copies(rows)
        act = self.customers[customer_id].take_back([*rows, *copies.pop(customer_id, [])])
        for other_id, theirs in sorted(copies.items()):
            self.customers[other_id].take_back(theirs, copy_of=act)

    def _copies(self, rows: Iterable[Row]) -> dict[str, list[Row]]:
        """Return the copies of rows, and theirs, by customer."""
        ledgers = {name: customer.rows for name, customer in self.customers.items()}
        originals = {id(row) for row in rows}
        found: dict[str, list[Row]] = {}
        while True:
            more = [
                (name, row)
                for name, theirs in ledgers.items()
                for row in theirs
                if row.copy_of is not None and id(row.copy_of) in originals and id(row) not in originals
            ]
            if not more:
                return found
            for name, row in more:
                originals.add(id(row))
                found.setdefault(name, []).append(row)

    def undo_facts(self, visitor_id: str, places: Iterable[int]) -> None:
        """Take back what was said of a visitor, at these places. What was said later of its values goes by that: what
        customers got of them by an identification goes with it, and comes back with it."""
        said = self.visitors[visitor_id].said
        targets = [said[place] for place in sorted(set(places)) if counts(said[place], said)]
        if not targets:
            return
        before = {id(one) for one in said if counts(one, said)}
        act = Said("undone", takes_back=targets)
        said.append(act)
        now = {id(one) for one in said if counts(one, said)}
        named = [one.customer_id for one in said if id(one) in before ^ now and one.applied and one.customer_id]
        ledgers = {name for customer_id in named for name in (customer_id, self.name_of(customer_id))}
        for customer in (self.customers[name] for name in ledgers):
            since = [(row, id(row.since)) for row in customer.rows if row.since is not None]
            gone = [row for row, key in since if row.kind == "merge" and key in before - now]
            back = [row for row, key in since if row.kind == "undo" and key in before - now]
            customer.take_back([*gone, *back], act)

    def lock(self, customer_id: str, names: Iterable[str], *, locked: bool) -> None:
        """Close fields to websites, or open them again.

        Raises:
            Refused: nobody is held by this id.
        """
        customer = self.owner(customer_id)
        if not customer.is_there:
            raise Refused
        locks = customer.fold()[2]
        affected = [name for name in names if (name in locks) != locked]
        if affected:
            customer.add(Row("lock" if locked else "unlock", fields=affected))

    def join(self, customer_id: str, into: str) -> None:
        """Declare a customer to be another one, in whose ledger all of its is merged from now on.

        Raises:
            Refused: one of them is not held, or joined with a third; or they are the same.
        """
        customer, other = self.customers.get(customer_id), self.customers.get(into)
        if customer is None or other is None or customer is other or not other.is_there:
            raise Refused
        if customer.joined_into == into:
            return
        if customer.joined_into or other.joined_into or self.joined_ids(customer_id) or not customer.is_there:
            raise Refused
        other.add(Row("absorb"))
        _copy(customer.fold()[3], other, customer_id, by_join=True)
        customer.joined_into = into
        customer.last_push = None

    def take_apart(self, customer_id: str) -> None:
        """Take back that a customer was declared to be another one: what was said of it meanwhile goes home.

        Raises:
            Refused: it is joined into nobody.
        """
        customer = self.customers.get(customer_id)
        if customer is None or customer.joined_into is None:
            raise Refused
        other = self.customers[customer.joined_into]
        since = [
            (row, [name for name in row.values if name not in row.kept_out])
            for row, _ in other.fold()[3]
            if row.named == customer_id and not row.by_join
        ]
        other.add(Row("release", takes_back=[row for row in other.rows if row.named == customer_id]))
        for row in other.rows:
            row.named = None if row.named == customer_id else row.named  # of another join they are not
        customer.joined_into = None
        customer.last_push = None
        _copy(since, customer, None)

    def owner(self, customer_id: str) -> Customer:
        """Return the customer whose ledger takes what is said of this one; an empty one of nobody who is held."""
        customer = self.customers.get(customer_id, Customer())
        return customer if customer.joined_into is None else self.customers[customer.joined_into]

    def name_of(self, customer_id: str) -> str:
        """Return the id of that customer."""
        customer = self.customers.get(customer_id)
        return customer_id if customer is None or customer.joined_into is None else customer.joined_into

    def joined_ids(self, customer_id: str) -> list[str]:
        """Return who is joined into a customer."""
        return sorted(name for name, customer in self.customers.items() if customer.joined_into == customer_id)

    def answer(self, customer_id: str) -> dict[str, Any] | None:
        """Return what a lookup shows: values, and per visitor ever linked when that was last, and whether it holds."""
        owner = self.owner(customer_id)
        if not owner.is_there:
            return None
        name = self.name_of(customer_id)
        group = [name, *self.joined_ids(name)]
        visitors = {}
        for visitor_id, visitor in self.visitors.items():
            linked = [point.at for point in visitor.points if point.customer_id in group]
            if linked:
                visitors[visitor_id] = (max(linked), visitor.current in group)
        fields = {HELD_AS[name]: held.value for name, held in owner.fields.items() if held.value is not None}
        return {"fields": fields, "visitors": visitors}

    def current(self, visitor_id: str) -> str | None:
        """Return whose the visitor is: a customer who can be looked up."""
        visitor = self.visitors.get(visitor_id)
        if visitor is None or visitor.current is None or not self.owner(visitor.current).is_there:
            return None
        return self.name_of(visitor.current)

    def undoable(self, customer_id: str) -> list[Row]:
        """Return what can be taken back of a ledger, in order of arrival."""
        customer = self.customers.get(customer_id)
        return [row for row in customer.rows if row.kind in ("merge", "undo")] if customer else []

    def said(self, visitor_id: str) -> list[Said]:
        """Return everything that was said of a visitor, in order of arrival."""
        visitor = self.visitors.get(visitor_id)
        return visitor.said if visitor else []

    def _identify(self, event: Sent, at: int) -> None:
        customer_id, visitor = event["params"]["customerId"], self._visitor(event)
        push = {name: value for name, value in event["params"].items() if value is not None}
        if self.owner(customer_id).last_push == push and (visitor is None or visitor.current == customer_id):
            return
        links = visitor is not None and visitor.whose(at) != customer_id
        sent = {name: value for name, value in event["params"].items() if name in HELD_AS}
        self._merge(customer_id, at, sent, links=links, push=push)
        if visitor is not None and links:
            self._link(visitor, customer_id, at)

    def _sign_in(self, event: Sent, at: int) -> None:
        customer_id, visitor = event["userId"], self._visitor(event)
        self._merge(customer_id, at, {})
        if visitor is not None and visitor.whose(at) != customer_id:
            self._link(visitor, customer_id, at)

    def _sign_out(self, event: Sent, at: int) -> None:
        visitor = self._visitor(event)
        assert visitor is not None
        whose, named = visitor.whose(at), event.get("userId")
        if named is None and (whose is not None or not visitor.points):
            visitor.said.append(Said("signed_out", at))
        elif named is not None:
            applied = self._is_same(named, whose)
            visitor.said.append(Said("signed_out", at, None if applied else named, applied))

    def _change_profile(self, event: Sent, at: int) -> bool:
        visitor = self._visitor(event)
        assert visitor is not None
        current, named = visitor.current, event.get("userId")
        if not self._is_same(visitor.whose(at), current) or (named is not None and not self._is_same(named, current)):
            return True
        fields = visitor.anonymous if current is None else self.owner(current).fields
        now = {name: held.value for name, held in fields.items() if held.value is not None}
        touched: dict[str, Any] = {}
        outcomes = set()
        for operation in event["patch"]["operations"]:
            outcome = self._operate(now, touched, operation)
            if outcome == "failed":
                return True
            outcomes.add(outcome)
        if current is not None:
            self._merge(current, at, {}, touched, outcomes=outcomes)
        elif TRACES & (outcomes | set(put(fields, Row("merge", at, touched), ()).values())):
            visitor.said.append(Said("anonymous", at, values=touched))
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
        last, anonymous = visitor.last, visitor.anonymous
        said = Said("identified", at, customer_id)
        visitor.said.append(said)
        if visitor.current == customer_id and (last is None or self._is_same(last, customer_id)):
            given = {name: held.value for name, held in anonymous.items() if held.value is not None}
            self._merge(customer_id, at, {}, given, policy="fill", since=said)

    def _merge(
        self,
        customer_id: str,
        at: int,
        sent: Sent,
        values: Sent | None = None,
        *,
        outcomes: Collection[str] = (),
        policy: str = "overwrite",
        by_website: bool = True,
        links: bool = False,
        push: Sent | None = None,
        since: Said | None = None,
    ) -> None:
        """Merge what was sent, and values that were read already, unless that says nothing new."""
        self.customers.setdefault(customer_id, Customer())
        owner = self.owner(customer_id)
        named = None if owner is self.customers[customer_id] else customer_id
        offered = {name: value for name, value in sent.items() if not is_nothing(value) and fits(name, value)}
        row = Row("merge", at, {**offered, **(values or {})}, policy, by_website, named=named, since=since)
        fields, is_there, locks, _ = owner.fold()
        became = put(fields, row, locks, exists=is_there)
        row.kept_out = [name for name, outcome in became.items() if outcome == "kept"]
        done = {*outcomes, *became.values()}
        if any(not is_nothing(value) and not fits(name, value) for name, value in sent.items()):
            done.add("skipped")
        if not is_there or TRACES & done or (links and sent and named is None):
            owner.add(row)
            owner.last_push = None if "lost" in done else push

    def _is_same(self, one: str | None, other: str | None) -> bool:
        if one is None or other is None:
            return one == other
        return self.name_of(one) == self.name_of(other)

    def _visitor(self, event: Sent) -> Visitor | None:
        visitor_id = event.get("visitor_id")
        return None if visitor_id is None else self.visitors.setdefault(visitor_id, Visitor())


def put(fields: Fields, row: Row, locks: Collection[str], *, exists: bool = True) -> dict[str, str]:
    """Hold what a row offers, and return what became of it, by field."""
    return {name: _put(fields, name, value, row, locks, exists=exists) for name, value in row.values.items()}


def _put(fields: Fields, name: str, value: Any, row: Row, locks: Collection[str], *, exists: bool) -> str:
    mine = fields.get(name)
    if mine is not None and mine.value == value:
        return "same"
    is_locked = name in locks and row.by_website
    is_filled = row.policy == "fill" and mine is not None and mine.value is not None
    if is_locked or (row.policy == "create" and exists):
        return "kept"
    if is_filled:
        return "no gap"
    if mine is not None and row.at < mine.at:
        return "lost"
    fields[name] = Value(value, row.at)
    return "held"


def _copy(merges: Iterable[tuple[Row, list[str]]], to: Customer, named: str | None, *, by_join: bool = False) -> None:
    """Merge what other merges offered into another ledger, as old as it was, and by the same rules. What a sign-up set
    where it made the customer counts by its age."""
    for row, names in merges:
        values = {name: row.values[name] for name in names}
        policy = "overwrite" if row.policy == "create" else row.policy
        if values:
            copy = Row("merge", row.at, values, policy, row.by_website, named=named, by_join=by_join, since=row.since)
            copy.copy_of = row
            to.add(copy)


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
