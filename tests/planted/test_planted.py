"""Every planted bug is caught by the check that is named for it, which passes without the bug."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.harness import PROJECT, Urls
from tests.planted.plants import PLANTS, Misfit, Plant, changed

AT_ONCE = 3
SOUND = "no bug at all"


def run(urls: Urls, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run tests on the servers that run already."""
    addresses = {"IDENTITY_TEST_DATABASE_URL": urls.database, "IDENTITY_TEST_REDIS_URL": urls.redis}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=PROJECT,
        env={**os.environ, **addresses, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def planted_runs(urls: Urls) -> Iterator[dict[str, Future[subprocess.CompletedProcess[str]]]]:
    """The run of each check with its bug, by name, and of all without one, a few at a time in the background."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        sound = pool.submit(run, urls, *dict.fromkeys(plant.caught_by for plant in PLANTS))
        planted = {
            plant.name: pool.submit(run, urls, "-p", "tests.planted.plugin", "--planted", plant.name, plant.caught_by)
            for plant in PLANTS
        }
        yield {SOUND: sound, **planted}


def test_every_plant_has_a_name_of_its_own():
    names = [plant.name for plant in PLANTS]

    assert len(names) >= 12
    assert sorted(set(names)) == sorted(names)


def test_every_plant_fits_the_product_as_it_is():
    for plant in PLANTS:
        changed(plant, (PROJECT / plant.file).read_text("utf-8"))


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.name)
def test_a_planted_bug_is_caught_by_its_check(
    planted_runs: dict[str, Future[subprocess.CompletedProcess[str]]], plant: Plant
):
    done = planted_runs[plant.name].result()

    assert f"planted {plant.name}: it was in" in done.stdout, done.stdout + done.stderr
    assert f"FAILED {plant.caught_by}" in done.stdout, done.stdout
    assert done.returncode == pytest.ExitCode.TESTS_FAILED


def test_without_a_bug_all_those_checks_pass(planted_runs: dict[str, Future[subprocess.CompletedProcess[str]]]):
    done = planted_runs[SOUND].result()

    assert done.returncode == pytest.ExitCode.OK, done.stdout


def test_a_plant_that_no_longer_fits_is_noticed():
    with pytest.raises(Misfit):
        changed(PLANTS[0], "")
