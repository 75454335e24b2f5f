"""What all stories on the parts of a worker share."""

import pytest

from tests.harness import be_patient_with_redis
from tests.store import test_cache


@pytest.fixture(autouse=True)
def _patient_with_redis(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """That Redis is late is what tests/store/test_cache.py is about, and no other story here."""
    if request.module is not test_cache:
        be_patient_with_redis(monkeypatch)
