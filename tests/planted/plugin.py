"""The option of pytest that plants a bug: ``pytest -p tests.planted.plugin --planted NAME``."""

import os

import pytest

from tests.planted.plants import BY_NAME, PROJECT, VARIABLE, is_planted, plant_from_environment


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--planted``."""
    parser.addoption("--planted", choices=sorted(BY_NAME), help="plant this bug in the product first")


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Plant before any conftest, and so before anything of the product, is imported."""
    name = early_config.known_args_namespace.planted
    if name:
        site = str(PROJECT / "tests" / "planted" / "site")
        os.environ[VARIABLE] = name
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (site, os.environ.get("PYTHONPATH"))))
        plant_from_environment()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say whether the bug was in."""
    name = config.getoption("--planted")
    if name:
        terminalreporter.write_line(f"planted {name}: {'it was in' if is_planted(name) else 'IT WAS NEVER READ'}")
