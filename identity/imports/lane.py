"""One lane of an import: lines become events, are decided and committed in batches, and how far it came with them.

All lines of one customer go through one lane, in their order. What a lane writes and how far it is are committed
together, so that whoever goes on with an import that was killed does no line twice and leaves none out.
"""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence

import msgspec
import psycopg

from identity.events.identity import Assertion
from identity.imports.columns import Fault, Line, Reader
from identity.intake import Intake
from identity.resolve import Changes, Key, Outcome, customers_named
from profiles.clock import to_text
from profiles.database import Conflict, Database, Unavailable
from profiles.pipeline import Command
from profiles.profile import Profile

BATCH_LINES_MAX = 4000
AWAY_SECONDS_MAX = 120.0
"""So long an import waits for a database that does not answer, before it gives up and can be resumed."""
BACK_OFF_SECONDS_MIN, BACK_OFF_SECONDS_MAX = 0.2, 5.0
ALONE_ATTEMPTS_MAX = 40
INTERNAL_ERROR = "internal_error"


class ImportBroken(Exception):
    """The import cannot go on now; the message says why. What was committed stays, and it can be resumed."""


class Counts(msgspec.Struct):
    """What became of lines. ``faulty`` lines lost some field, ``repeated`` ones name a customer once more."""

    lines: int = 0
    created: int = 0
    changed: int = 0
    unchanged: int = 0
    rejected: int = 0
    faulty: int = 0
    repeated: int = 0
    verdicts: dict[str, int] = {}
    reasons: dict[str, int] = {}
    """Field and reason, for example "display_mobile no_country_code", with the number of lines."""
    refusals: dict[str, int] = {}

    def add(self, other: "Counts") -> None:
        """Count the other's lines too."""
        for name in ("lines", "created", "changed", "unchanged", "rejected", "faulty", "repeated"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("verdicts", "reasons", "refusals"):
            setattr(self, name, dict(Counter(getattr(self, name)) + Counter(getattr(other, name))))

    def with_added(self, other: "Counts") -> "Counts":
        """Return both together."""
        both = msgspec.structs.replace(self)
        both.add(other)
        return both


class Position(msgspec.Struct):
    """How far a lane is: the number of the last line that is committed, and what became of its lines."""

    line: int = 0
    counts: Counts = msgspec.field(default_factory=Counts)


class Result(msgspec.Struct, frozen=True):
    """What became of one line. ``faults`` are what whoever sent it can mend."""

    line: Line
    status: str
    customer: str | None
    version: int | None
    faults: tuple[Fault, ...]


class Claim(msgspec.Struct, frozen=True):
    """Who goes on with which operation; nobody else may while this is in force."""

    operation_id: str
    claim: str


class _Read(msgspec.Struct, frozen=True):
    line: Line
    events: list[Assertion]
    faults: tuple[Fault, ...]


class Lane:
    """One lane of an import, or of its dry run (no ``claim``)."""

    def __init__(
        self,
        intake: Intake,
        database: Database,
        reader: Reader,
        claim: Claim | None,
        number: int,
        position: Position,
        clock: Callable[[], int],
    ) -> None:
        self._intake = intake
        self._database = database
        self._reader = reader
        self._claim = claim
        self._number = number
        self.position = position
        self._clock = clock
        self._overlay: dict[Key, Profile] = {}

    async def apply(self, lines: Sequence[Line]) -> list[Result]:
        """Have lines committed, in order; of a dry run, tell what would become of them.

        Raises:
            ImportBroken: the database stayed away, or another process goes on with the import.
        """
        received_at = self._clock()
        read = []
        for line in lines:
            events = self._reader.read(line.cells, received_at)
            read.append(_Read(line, events, self._reader.faults(events)))
        results: list[Result] = []
        for begin in range(0, len(read), BATCH_LINES_MAX):
            results += await self._take(read[begin : begin + BATCH_LINES_MAX])
        return results

    async def _take(self, read: Sequence[_Read]) -> list[Result]:
        """Take lines together, or, if their neighbours' fault or contention keeps them from that, in halves."""
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self._take_patiently(read)
            except Conflict:
                await self._require_claim()
                if len(read) == 1 and attempt < ALONE_ATTEMPTS_MAX:
                    await asyncio.sleep(random.uniform(0, BACK_OFF_SECONDS_MIN))  # noqa: S311 - no secret
                    continue
                if len(read) == 1:
                    raise ImportBroken("Other writers kept it from a customer for too long. Resume it.") from None
                break
            except psycopg.Error:
                if len(read) == 1:
                    return await self._pass_over(read[0])
                break
        middle = len(read) // 2
        return await self._take(read[:middle]) + await self._take(read[middle:])

    async def _take_patiently(self, read: Sequence[_Read]) -> list[Result]:
        deadline = time.monotonic() + AWAY_SECONDS_MAX
        wait = BACK_OFF_SECONDS_MIN
        is_unsure = False
        while True:
            try:
                if is_unsure and self._claim is not None:
                    held = await self._held_position()
                    if held.line >= read[-1].line.number:
                        # It was written, only nobody said so; which line did what is in the ledger alone.
                        self.position = held
                        return [_told_nothing(one) for one in read]
                return await self._take_once(read)
            except (Unavailable, OSError):
                is_unsure = True
                if time.monotonic() > deadline:
                    raise ImportBroken("PostgreSQL does not answer. Resume it once it does.") from None
                await asyncio.sleep(wait)
                wait = min(2 * wait, BACK_OFF_SECONDS_MAX)

    async def _take_once(self, read: Sequence[_Read]) -> list[Result]:
        events = [event for one in read for event in one.events]
        if self._claim is None:
            named = customers_named(events)
            before = {key: self._overlay[key] for key in named if key in self._overlay}
            changes = await self._intake.preview_many(events, before)
            for one, outcomes in _by_line(read, changes):
                if one.line.is_awaited:
                    self._keep(outcomes, changes)
            results, counts = _results(read, changes)
            self.position = Position(read[-1].line.number, self.position.counts.with_added(counts))
            return results
        made: list[tuple[list[Result], Position]] = []

        def last(changes: Changes) -> list[Command]:
            results, counts = _results(read, changes)
            position = Position(read[-1].line.number, self.position.counts.with_added(counts))
            made.append((results, position))
            return [self._advance(position)]

        await self._intake.take_many(events, last)
        results, self.position = made[-1]
        return results

    def _keep(self, outcomes: Sequence[Outcome], changes: Changes) -> None:
        """Remember what a dry run made of customers who come again."""
        ids = {merge.customer_id for outcome in outcomes for merge in outcome.merges}
        self._overlay.update({key: profile for key, profile in changes.customers.items() if key[1] in ids})

    def _advance(self, position: Position) -> Command:
        assert self._claim is not None
        parameters = {
            "operation_id": self._claim.operation_id.encode(),
            "claim": self._claim.claim.encode(),
            "lane": b"%d" % self._number,
            "state": msgspec.json.encode(position),
            "at": to_text(self._clock()).encode(),
        }
        return Command("identity", "advance_import", parameters)

    async def _pass_over(self, one: _Read) -> list[Result]:
        """Leave out a line that the database refuses, a fault of ours, and tell so."""
        counts = Counts(lines=1, rejected=1, refusals={INTERNAL_ERROR: 1})
        position = Position(one.line.number, self.position.counts.with_added(counts))
        if self._claim is not None:
            await self._intake.take_many((), lambda _: [self._advance(position)])
        self.position = position
        return [Result(one.line, "rejected", None, None, (Fault("", INTERNAL_ERROR),))]

    async def _held_position(self) -> Position:
        claim = self._claim
        assert claim is not None
        rows = await self._database.fetch("identity", "find_claim", {"operation_id": claim.operation_id})
        progress = Progress.read(rows[0][1])
        if rows[0][0] != "running" or progress.claim != claim.claim:
            raise ImportBroken("The import was ended, or another process goes on with it.")
        return progress.lanes.get(str(self._number), Position())

    async def _require_claim(self) -> None:
        if self._claim is not None:
            with contextlib.suppress(Unavailable):
                await self._held_position()


class Progress(msgspec.Struct):
    """What an operation's row tells of an import. ``lanes`` by number, as text."""

    claim: str
    lines: int
    lanes: dict[str, Position] = {}

    @classmethod
    def read(cls, text: str) -> "Progress":
        """Return the progress that a row holds."""
        return msgspec.json.decode(text.encode(), type=cls)

    def counts(self) -> Counts:
        """Return what became of the lines of all lanes."""
        total = Counts()
        for position in self.lanes.values():
            total.add(position.counts)
        return total


def _by_line(read: Sequence[_Read], changes: Changes) -> list[tuple[_Read, list[Outcome]]]:
    outcomes = iter(changes.outcomes)
    return [(one, [next(outcomes) for _ in one.events]) for one in read]


def _results(read: Sequence[_Read], changes: Changes) -> tuple[list[Result], Counts]:
    results: list[Result] = []
    counts = Counts(lines=len(read))
    verdicts: Counter[str] = Counter()
    reasons: Counter[tuple[str, str]] = Counter()
    refusals: Counter[str] = Counter()
    for one, outcomes in _by_line(read, changes):
        refusal = next((outcome.refusal for outcome in outcomes if outcome.refusal is not None), None)
        merges = [merge for outcome in outcomes for merge in outcome.merges]
        counts.repeated += one.line.is_repeated
        if refusal is not None:
            status = "rejected"
            counts.rejected += 1
            refusals[refusal] += 1
        else:
            counts.faulty += bool(one.faults)
            if not merges:
                status = "unchanged"
                counts.unchanged += 1
            elif any(merge.created_customer for merge in merges):
                status = "created"
                counts.created += 1
            else:
                status = "changed"
                counts.changed += 1
        for merge in merges:
            for decision in merge.decisions:
                verdicts[decision.verdict] += 1
                if decision.reason is not None:
                    reasons[decision.field, decision.reason] += 1
        customer = str(one.events[0].customer) if refusal is None else None
        faults = one.faults or (() if refusal is None else (Fault("", refusal),))
        results.append(Result(one.line, status, customer, merges[-1].version if merges else None, faults))
    counts.verdicts = {str(verdict): number for verdict, number in verdicts.items()}
    counts.reasons = {f"{field} {reason}": number for (field, reason), number in reasons.items()}
    counts.refusals = {str(reason): number for reason, number in refusals.items()}
    return results, counts


def _told_nothing(one: _Read) -> Result:
    return Result(one.line, "committed", None, None, one.faults)
