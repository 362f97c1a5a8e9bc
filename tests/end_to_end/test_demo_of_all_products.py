"""`reconcile demo --all`: all four products converge from one fleet file, and every check of it holds."""

import subprocess
import sys


def test_all_products_converge():
    command = [sys.executable, "-m", "reconciler.cli.main", "demo", "--all", "--no-color"]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert shown.returncode == 0, shown.stdout[-3000:] + shown.stderr[-3000:]
    assert shown.stdout.count("No changes: 13 nodes are as desired.") == 2
    assert "Traceback" not in shown.stderr
