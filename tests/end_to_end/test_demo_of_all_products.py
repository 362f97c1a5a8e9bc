"""`reconcile demo --all`: all four products converge from one fleet file, and every check of it holds."""

import socket
import subprocess
import sys
from contextlib import suppress

import pytest


@pytest.fixture(autouse=True)
def another_watch():
    """Whatever listens where a watch has its pages, as one that runs on this machine does."""
    with socket.socket() as taken:
        with suppress(OSError):  # a real one may run
            taken.bind(("127.0.0.1", 8642))
            taken.listen()
        yield


def test_all_products_converge():
    command = [sys.executable, "-m", "reconciler.cli.main", "demo", "--all", "--no-color"]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert shown.returncode == 0, shown.stdout[-3000:] + shown.stderr[-3000:]
    assert shown.stdout.count("No changes: 13 nodes are as desired.") == 2
    assert "Traceback" not in shown.stderr
