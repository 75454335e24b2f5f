"""What all stories on the parts of a worker share."""

import pytest

from profiles import cache
from tests.store import test_cache

LATE_SECONDS_MAX = 5.0


@pytest.fixture(autouse=True)
def _patient_with_redis(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine Redis can be late by more than a worker waits for it, and then what was written is shown late.

    That is what tests/store/test_cache.py and tests/faults are about, and no other story.
    """
    if request.module is not test_cache:
        monkeypatch.setattr(cache, "CALL_SECONDS_MAX", LATE_SECONDS_MAX)
        monkeypatch.setattr(cache, "CONNECT_SECONDS_MAX", LATE_SECONDS_MAX)
