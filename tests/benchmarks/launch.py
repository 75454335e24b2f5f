"""Serve another application with exactly the processes and options of ``identity serve``.

python -m tests.benchmarks.launch tests.benchmarks.bare:create
"""

import sys
from typing import Any
from unittest.mock import patch

import uvicorn

from identity.serve import serve
from identity.settings import load


def main(factory: str) -> int:
    config = uvicorn.Config

    def with_factory(_: str, **options: Any) -> uvicorn.Config:
        return config(factory, **options)

    with patch.object(uvicorn, "Config", with_factory):
        return serve(load())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
