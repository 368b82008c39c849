"""Helpers lie beside the tests; no test waits between retries or leaves the machine."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def server():
    from http_server import Server

    with Server() as running:
        yield running
