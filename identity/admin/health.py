"""What the service says of itself, for people: the checks of ``/readyz`` and the counters of ``/metrics``."""

from collections.abc import Iterable, Sequence

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from identity.operations import OperationRoutes
from profiles.http import Request

ROUTES_SHOWN_MAX = 12


class Count(msgspec.Struct, frozen=True):
    """One bar of a chart: its share is of the longest bar, in whole parts of a thousand."""

    name: str
    count: int
    share: int


class RouteTime(msgspec.Struct, frozen=True):
    """How long a route takes: half of its answers within ``half_ms``, 99 of 100 within ``most_ms`` (None: longer)."""

    route: str
    count: int
    half_ms: float | None
    most_ms: float | None


class Health(msgspec.Struct, frozen=True):
    """What there is to see."""

    is_ready: bool
    checks: dict[str, str]
    events: list[Count]
    verdicts: list[Count]
    routes: list[RouteTime]
    waiting: int
    conflicts: int
    faults: int
    cache_hits: int
    cache_misses: int


async def look(operations: OperationRoutes, request: Request) -> Health:
    """Return how the service is doing, over all workers of this host, since it was started."""
    asked = msgspec.structs.replace(request, method="GET")
    ready = await operations.readyz(asked)
    document = msgspec.json.decode(ready.body)
    text = (await operations.metrics(asked)).body.decode()
    samples = [
        (sample.name, sample.labels, sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]

    def total(name: str, **labels: str) -> int:
        return int(sum(v for n, held, v in samples if n == name and labels.items() <= held.items()))

    def counts(name: str, label: str) -> list[Count]:
        return _counts((held[label], int(v)) for n, held, v in samples if n == name and v)

    return Health(
        is_ready=ready.status == 200,
        checks=document["checks"],
        events=counts("identity_events_total", "outcome"),
        verdicts=counts("identity_decisions_total", "verdict"),
        routes=_routes(samples),
        waiting=total("identity_waiting"),
        conflicts=total("identity_conflicts_total"),
        faults=total("identity_requests_total", status="500"),
        cache_hits=total("identity_cache_total", result="hit"),
        cache_misses=total("identity_cache_total", result="miss"),
    )


def _counts(found: Iterable[tuple[str, int]]) -> list[Count]:
    return bars(sorted(found, key=lambda held: -held[1]))


def bars(found: Sequence[tuple[str, int]]) -> list[Count]:
    """Return numbers as bars."""
    longest = max((count for _, count in found), default=1)
    return [Count(name, count, max(4, 1000 * count // longest)) for name, count in found]


def _routes(samples: Sequence[tuple[str, dict[str, str], float]]) -> list[RouteTime]:
    held: dict[str, list[tuple[float, float]]] = {}
    for name, labels, value in samples:
        if name == "identity_request_seconds_bucket":
            held.setdefault(labels["route"], []).append((float(labels["le"]), value))
    found = []
    for route, buckets in held.items():
        buckets.sort()
        count = int(buckets[-1][1])
        if count:
            found.append(RouteTime(route, count, _within(buckets, 0.5), _within(buckets, 0.99)))
    return sorted(found, key=lambda each: -each.count)[:ROUTES_SHOWN_MAX]


def _within(buckets: Sequence[tuple[float, float]], share: float) -> float | None:
    """Return the bound of the bucket in milliseconds within which this share of the answers came."""
    wanted = share * buckets[-1][1]
    bound = next(le for le, count in buckets if count >= wanted)
    return None if bound == float("inf") else round(bound * 1000, 1)
