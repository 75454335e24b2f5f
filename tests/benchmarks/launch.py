"""Serve another application with exactly the processes and options of ``identity serve``; ``stock``: but for its HTTP,
which is as uvicorn brings it.

python -m tests.benchmarks.launch tests.benchmarks.bare:create stock
"""

import sys
from typing import Any
from unittest.mock import patch

import uvicorn

from identity.serve import serve
from identity.settings import load


def main(factory: str, *, is_stock: bool) -> int:
    config = uvicorn.Config

    def with_factory(_: str, **options: Any) -> uvicorn.Config:
        return config(factory, **{**options, "http": "httptools"} if is_stock else options)

    with patch.object(uvicorn, "Config", with_factory):
        return serve(load())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], is_stock=sys.argv[2:] == ["stock"]))
