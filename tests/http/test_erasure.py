"""Erasing a person over HTTP and on the command line, with traffic on all workers."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import psycopg
import pytest

from identity.cli import main
from tests.harness import ADMIN_KEY, WRITE_KEY, Server, Urls, fresh_store
from tests.http.test_cli import in_environment
from tests.store.invariants import check_store
from tests.store.test_erasure import tables_with

HEADERS = {"Authorization": f"Bearer {ADMIN_KEY}"}
