"""What all stories over HTTP share."""

import pytest

from tests.harness import be_patient_with_redis


@pytest.fixture(autouse=True)
def _patient_with_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that a story opens in its own process; those that it starts are as they are."""
    be_patient_with_redis(monkeypatch)
