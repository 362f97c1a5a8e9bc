"""`reconcile demo --keep`: at its end the fleet is shown in a browser, and an interrupt ends it."""

import re
import signal
import subprocess
import sys

import httpx
from support.waiting import block_until


def test_the_fleet_of_the_demonstration_is_shown_until_it_is_interrupted():
    command = [sys.executable, "-m", "reconciler.cli.main", "demo", "--keep", "--no-color"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:
        try:
            said = ""
            while not (found := re.search(r"dashboard: (http://127\.0\.0\.1:\d+)/", said)):
                line = running.stdout.readline()
                assert line, said[-3000:]
                said += line
            block_until(lambda: shows_nodes(found[1]), seconds=60)
        finally:
            running.send_signal(signal.SIGINT)
            rest, _ = running.communicate(timeout=60)
    assert running.returncode == 0, rest[-3000:]
    assert "Traceback" not in rest


def shows_nodes(base):
    try:
        answer = httpx.get(base, trust_env=False)
    except httpx.TransportError:
        return False
    return answer.status_code == 200 and "as desired" in answer.text
