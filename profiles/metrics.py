"""What Prometheus scrapes, summed over all workers of this host.

Labels are routes, reasons and verdicts out of closed lists; never anything a visitor sent.
"""

import os
from bisect import bisect_left
from collections.abc import Callable
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

REQUESTS = Counter("identity_requests", "HTTP requests answered.", ["route", "status"])
SECONDS = Histogram("identity_request_seconds", "Time from head to answer.", ["route"], buckets=SECONDS_BUCKETS)
EVENTS = Counter("identity_events", "Identity events decided, by outcome.", ["outcome"])
REFUSALS = Counter("identity_refusals", "Events refused, by reason.", ["reason"])
UNVERIFIED = Counter(
    "identity_unverified",
    "Identifications taken without proof, on channels that observe, by the token's fault.",
    ["fault"],
)
DECISIONS = Counter("identity_decisions", "Fields decided, by verdict.", ["verdict"])
BATCHES = Counter("identity_batches", "Batches committed.")
CONFLICTS = Counter("identity_conflicts", "Batches decided anew because another writer was faster.")
CACHE = Counter("identity_cache", "Cache look-ups, by result.", ["result"])
CACHE_AVAILABLE = Gauge("identity_cache_available", "Workers that reach the cache.", multiprocess_mode="livesum")
WEBHOOK_STATES = ("active", "failing", "paused", "failed", "gone")
WEBHOOKS = Gauge("identity_webhooks", "Webhooks, by state.", ["state"], multiprocess_mode="livemax")
WEBHOOK_MESSAGES = Counter("identity_webhook_messages", "Messages posted to webhooks, by outcome.", ["outcome"])
WAITING = Gauge("identity_waiting", "Events that wait for their batch.", multiprocess_mode="livesum")


class _Timed:
    """Times of one route that were not brought to its histogram yet."""

    def __init__(self, route: str) -> None:
        self._histogram = SECONDS.labels(route)
        self.counts = [0] * (len(SECONDS_BUCKETS) + 1)
        self.seconds = 0.0

    def flush(self) -> None:
        # As ``observe`` does it, but for many at once.
        for at, number in enumerate(self.counts):
            if number:
                self._histogram._buckets[at].inc(number)
                self.counts[at] = 0
        self._histogram._sum.inc(self.seconds)
        self.seconds = 0.0


def timer(route: str) -> Callable[[int, float], None]:
    """Return a function that counts one answer of the route: status, seconds."""
    timed = _timed.get(route) or _timed.setdefault(route, _Timed(route))

    def count(status: int, elapsed: float) -> None:
        key = route, status
        _answered[key] = _answered.get(key, 0) + 1
        timed.counts[bisect_left(SECONDS_BUCKETS, elapsed)] += 1
        timed.seconds += elapsed

    return count


_answered: dict[tuple[str, int], int] = {}
_timed: dict[str, _Timed] = {}


def flush() -> None:
    """Bring what was counted in plain numbers to where it is scraped; writing there costs more than counting."""
    while _answered:
        (route, status), number = _answered.popitem()
        REQUESTS.labels(route, str(status)).inc(number)
    for timed in _timed.values():
        timed.flush()


def exposition(multiprocess_dir: str | None) -> bytes:
    """Return the metrics in Prometheus' text format: of all workers that share the directory, or of this process."""
    if multiprocess_dir is None:
        return generate_latest()
    _forget_the_dead(Path(multiprocess_dir))
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=multiprocess_dir)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def _forget_the_dead(folder: Path) -> None:
    """Remove the gauges of workers that were killed; their counters stay."""
    for file in folder.glob("gauge_live*_*.db"):
        process = int(file.stem.rpartition("_")[2])
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            file.unlink(missing_ok=True)
        except PermissionError:
            continue
