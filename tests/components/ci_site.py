"""What the tests of the CI examples share: a fleet in a repository, its nodes, and a wheel of the program."""

import hashlib
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from support.git_repositories import Repository

from reconciler.simulation.addresses import find_free_addresses

ROOT = Path(__file__).parents[2]


def wheel_in(folder):
    """A wheel of the program, made in a folder, and its SHA-256."""
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT],
        check=True,
    )
    (wheel,) = folder.iterdir()
    assert wheel.name.startswith("fleet_reconciler-")
    return wheel, hashlib.sha256(wheel.read_bytes()).hexdigest()


@contextmanager
def nodes_of(fleet, ready):
    """The nodes of a fleet, simulated until they are needed no more."""
    command = [sys.executable, "-m", "reconciler.cli.main", "simulate", "--ready-file", ready, fleet]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as served:
        try:
            for _ in range(200):
                if ready.exists():
                    break
                time.sleep(0.1)
            assert ready.exists()
            yield
        finally:
            served.send_signal(signal.SIGINT)


def fleet_in(folder, **more):
    """A repository with a fleet on free addresses, and further files."""
    files = {
        str(path.relative_to(ROOT / "examples/demo")): path.read_bytes()
        for path in (ROOT / "examples/demo").rglob("*")
        if path.is_file()
    }
    places = iter(find_free_addresses(8))
    text = files["fleet.yaml"].decode()
    files["fleet.yaml"] = re.sub(r"127\.0\.0\.1:1\d{4}", lambda _: str(next(places)), text).encode()
    return Repository.make(folder, {**files, **more})
