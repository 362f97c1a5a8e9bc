"""Ten thousand simulated M2 nodes in a few processes, which poll a real watch and take a commit from it.

    python benchmarks/simulated_fleet.py [--nodes 10000] [--processes 4] [--minutes 10]

Each process is a `reconcile simulate --part I/N --converged --state STATE`. It waits until every node has
polled, commits another setting, and waits until every node shows it; then it prints the memory of each
process. The exit status is 1 if a wait is longer than the given time, or a process is larger than its bound.
"""

from __future__ import annotations

import argparse
import re
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path

from soak import BIN, CLUSTER, Stage, end_process, measure

BYTES_OF_NODE = 150_000
"""Bound of the memory of a simulated node."""

START_MB = 150.0
"""Megabytes of a process without nodes."""

VERSION = "committed"


def read_metric(stage: Stage, name: str, labels: str) -> float:
    """A metric of the watch; 0 if it has none."""
    with urllib.request.urlopen(f"http://127.0.0.1:{stage.operators}/metrics", timeout=60) as answer:
        found = re.search(rf"^{name}{re.escape(labels)} (\S+)$", answer.read().decode(), re.MULTILINE)
    return float(found[1]) if found else 0.0


def wait_until(stage: Stage, name: str, labels: str, wanted: float, seconds: float) -> float:
    """Wait until a metric has a value; gives the seconds."""
    begun = time.monotonic()
    while (shown := read_metric(stage, name, labels)) != wanted:
        if time.monotonic() - begun > seconds:
            sys.exit(f"BROKEN: {name}{labels} is {shown:,.0f} after {seconds:.0f} s, not {wanted:,.0f}")
        time.sleep(2)
    return time.monotonic() - begun


def simulate(stage: Stage, count: int, stack: ExitStack) -> list[subprocess.Popen[bytes]]:
    """Start the processes, and wait until their nodes are ready."""
    found = []
    for number in range(1, count + 1):
        command = ["simulate", "--converged", "--state", stage.state, "--part", f"{number}/{count}"]
        command += ["--sources", "100", "--ready-file", stage.folder / f"ready{number}", stage.fleet]
        process = subprocess.Popen([BIN / "reconcile", *map(str, command)], stdout=subprocess.DEVNULL)
        stack.callback(end_process, process)
        found.append(process)
    while not all((stage.folder / f"ready{number}").exists() for number in range(1, count + 1)):
        if any(process.poll() is not None for process in found):
            sys.exit("BROKEN: a process with simulated nodes has ended")
        time.sleep(0.5)
    return found


def run(stage: Stage, processes: int, seconds: float, stack: ExitStack) -> None:
    """One run."""
    stage.prepare()
    stage.start_watch()
    stage.read_tokens()
    begun = time.monotonic()
    simulated = simulate(stage, processes, stack)
    print(
        f"{stage.nodes:,} nodes in {processes} processes ready after {time.monotonic() - begun:.0f} s",
        flush=True,
    )
    cluster = f'{{cluster="{CLUSTER}"}}'
    wait_until(stage, "reconciler_polled_nodes", cluster, stage.nodes, seconds)
    took = wait_until(stage, "reconciler_polled_nodes_never_heard", cluster, 0, seconds)
    print(f"all have called after {took:.0f} s more", flush=True)
    stage.commit(VERSION)
    version = f'{{cluster="{CLUSTER}",version="{VERSION}"}}'
    took = wait_until(stage, "reconciler_polled_nodes_version", version, stage.nodes, seconds)
    print(f"all show the commit after {took:.0f} s", flush=True)
    memory = [measure(process)[0] for process in simulated]
    print(f"memory of each process: {', '.join(f'{one:.0f} MB' for one in memory)}")
    bound = START_MB + BYTES_OF_NODE * stage.nodes / processes / 1e6
    if max(memory) > bound:
        sys.exit(f"BROKEN: the bound is {bound:.0f} MB")


def main() -> None:
    """Run once."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--nodes", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--minutes", type=float, default=10.0, help="longest wait for each step")
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        run(Stage(folder, options.nodes, 15.0, stack), options.processes, options.minutes * 60, stack)


if __name__ == "__main__":
    main()
