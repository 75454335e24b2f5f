"""Run a command beside PostgreSQL and Redis from Debian, the oldest that are promised: the tests, pointed at them.

python -m tests.servers_debian pytest tests/store
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from profiles import embedded

POSTGRES_BIN = Path("/usr/lib/postgresql/15/bin")
REDIS_SERVER = Path("/usr/bin/redis-server")


def main(command: list[str]) -> int:
    with (
        tempfile.TemporaryDirectory() as folder,
        embedded.start(Path(folder), postgres_bin=POSTGRES_BIN, redis_server=REDIS_SERVER) as servers,
    ):
        addresses = {
            "IDENTITY_TEST_DATABASE_URL": servers.urls.database,
            "IDENTITY_TEST_REDIS_URL": servers.urls.redis,
        }
        return subprocess.run(command, env={**os.environ, **addresses}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
