"""Pure: what the load generators print becomes numbers, and the numbers the table."""

import re
from collections.abc import Mapping, Sequence
from statistics import median

import msgspec

_COLUMNS = (
    *("what", "per second", "server µs", "database µs", "p50 ms", "p99 ms"),
    *("against", "ratio", "by CPU", "by cost", "floor", ""),
)
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


class Load(msgspec.Struct, frozen=True):
    """What a load generator says of one run. Latencies are None where it does not tell them."""

    requests: int
    seconds: float
    errors: int
    p50_ms: float | None
    p99_ms: float | None


class Run(msgspec.Struct, frozen=True):
    """One run, with the CPU time it took: of the server, and of the database behind it."""

    load: Load
    server_seconds: float
    database_seconds: float

    @property
    def per_second(self) -> float:
        return self.load.requests / self.load.seconds

    @property
    def server_us(self) -> float:
        """Server CPU time per request."""
        return self.server_seconds * 1e6 / max(1, self.load.requests)

    @property
    def database_us(self) -> float:
        """Database CPU time per request."""
        return self.database_seconds * 1e6 / max(1, self.load.requests)

    @property
    def cost_us(self) -> float:
        """CPU time per request, the database's included."""
        return self.server_us + self.database_us


class Floor(msgspec.Struct, frozen=True):
    """A row's ratio to another. ``at_least`` None: told, not judged. ``by_cpu``: the servers' CPU times compare.
    ``of_cost``: judged by CPU time, the database's included, instead of by throughput."""

    against: str
    at_least: float | None
    by_cpu: bool = True
    of_cost: bool = False


class Row(msgspec.Struct, frozen=True):
    """A row of the table."""

    name: str
    label: str
    floors: tuple[Floor, ...] = ()


class Ratio(msgspec.Struct, frozen=True):
    """How a row compares: medians over the rounds of the ratios within each round. Above 1 is better than the other."""

    name: str
    against: str
    by_throughput: float
    by_cpu: float | None
    at_least: float | None
    by_cost: float | None = None
    """In the CPU time of server and database together, where that is what is judged."""

    @property
    def holds(self) -> bool:
        judged = self.by_throughput if self.by_cost is None else self.by_cost
        return self.at_least is None or judged >= self.at_least


def seconds_of(text: str) -> float:
    """Return a time as wrk prints it: "2.60ms", "1.00m"."""
    match = re.fullmatch(r"([\d.]+)(us|ms|s|m|h)", text)
    if not match:
        raise ValueError(f"not a time: {text}")
    return float(match[1]) * _SECONDS[match[2]]


def read_wrk(output: str) -> Load:
    """Return what ``wrk --latency`` printed.

    Raises:
        ValueError: it is not that.
    """
    total = re.search(r"(\d+) requests in (\S+),", output)
    percentiles = dict(re.findall(r"^ +(50|99)%\s+(\S+) *$", output, re.MULTILINE))
    if not total or percentiles.keys() != {"50", "99"}:
        raise ValueError(f"wrk printed no result: {output}")
    sockets = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", output)
    answers = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    return Load(
        requests=int(total[1]),
        seconds=seconds_of(total[2]),
        errors=sum(map(int, sockets.groups() if sockets else ())) + (int(answers[1]) if answers else 0),
        p50_ms=seconds_of(percentiles["50"]) * 1e3,
        p99_ms=seconds_of(percentiles["99"]) * 1e3,
    )


def read_pgbench(output: str) -> Load:
    """Return what pgbench printed.

    Raises:
        ValueError: it is not that.
    """
    done = re.search(r"number of transactions actually processed: (\d+)", output)
    failed = re.search(r"number of failed transactions: (\d+)", output)
    rate = re.search(r"tps = ([\d.]+)", output)
    if not done or not rate or float(rate[1]) == 0:
        raise ValueError(f"pgbench printed no result: {output}")
    errors = int(failed[1]) if failed else 0
    return Load(int(done[1]), int(done[1]) / float(rate[1]), errors, None, None)


def ratio_of(row: Row, floor: Floor, runs: Mapping[str, Sequence[Run]]) -> Ratio:
    """Return how the rounds of a row compare with those of another."""
    rounds = list(zip(runs[row.name], runs[floor.against], strict=True))
    return Ratio(
        name=row.name,
        against=floor.against,
        by_throughput=median(own.per_second / other.per_second for own, other in rounds),
        by_cpu=median(other.server_us / own.server_us for own, other in rounds) if floor.by_cpu else None,
        at_least=floor.at_least,
        by_cost=median(other.cost_us / own.cost_us for own, other in rounds) if floor.of_cost else None,
    )


def ratios_of(rows: Sequence[Row], runs: Mapping[str, Sequence[Run]]) -> list[Ratio]:
    """Return every ratio whose two rows were measured."""
    return [ratio_of(row, floor, runs) for row in rows for floor in row.floors if floor.against in runs]


def table(rows: Sequence[Row], runs: Mapping[str, Sequence[Run]]) -> str:
    """Return the table in Markdown: one line per row and ratio, medians of the rounds."""
    lines = [
        _line(_COLUMNS),
        "|---|---:|---:|---:|---:|---:|---|---:|---:|---:|---:|---|",
    ]
    labels = {row.name: row.label for row in rows}
    for row in rows:
        first = [
            row.label,
            f"{median(run.per_second for run in runs[row.name]):,.0f}",
            f"{median(run.server_us for run in runs[row.name]):.0f}",
            f"{median(run.database_us for run in runs[row.name]):.0f}",
            _median([run.load.p50_ms for run in runs[row.name]]),
            _median([run.load.p99_ms for run in runs[row.name]]),
        ]
        ratios = ratios_of([row], runs)
        for ratio in ratios:
            verdict = "" if ratio.at_least is None else "ok" if ratio.holds else "**below**"
            last = [
                labels[ratio.against],
                f"{ratio.by_throughput:.2f}",
                "" if ratio.by_cpu is None else f"{ratio.by_cpu:.2f}",
                "" if ratio.by_cost is None else f"{ratio.by_cost:.2f}",
                "" if ratio.at_least is None else f"{ratio.at_least:.2f}",
                verdict,
            ]
            lines.append(_line([*first, *last]))
            first = [""] * len(first)
        if not ratios:
            lines.append(_line([*first, "", "", "", "", "", ""]))
    return "\n".join(lines)


def _median(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{median(known):.1f}" if known else ""


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
