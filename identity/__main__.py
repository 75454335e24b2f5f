"""``python -m identity``: the command line."""

import sys

from identity.cli import main

if __name__ == "__main__":
    sys.exit(main())
