"""The command line."""

import sys

from identity.serve import serve
from identity.settings import SettingsError, load


def main() -> int:
    """Run a command and return its exit code."""
    try:
        return serve(load())
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
