"""How long a dry run over many nodes without drift takes, against a bare client that makes the same GETs.

    python benchmarks/dry_run.py [NODES] [RUNS]

Both are whole processes, in turn, against the same simulated nodes; the time of the bare client's
requests alone is shown beside them. The figure is the median of the ratios. The bare client sends the same
GETs over one connection to each node, to as many nodes at once, and reads the answers without a look at them.

Where other programs keep the processors busy, both wait, and the ratio of the times says little: the ratio of
the CPU times depends less on it.
"""

from __future__ import annotations

import asyncio
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

BIN = Path(sys.executable).parent
FIRST = "127.9.0.1:20001"
"""Addresses of their own: port numbers of 127.0.0.1 are used by much."""

PATHS = ("/setting/setting.json", "/get/setting/running")


async def fetch(address: str, gate: asyncio.Semaphore) -> int:
    """The bytes of all GETs of one node, over one connection, with asyncio's streams alone."""
    host, _, port = address.rpartition(":")
    got = 0
    async with gate:
        reader, writer = await asyncio.open_connection(host, int(port))
        for path in PATHS:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
            got += len(await reader.readexactly(length))
        writer.close()
    return got


async def bare(addresses: list[str]) -> None:
    """All nodes, as many at once as the dry run has."""
    gate = asyncio.Semaphore(128)
    await asyncio.gather(*(fetch(address, gate) for address in addresses))


def timed(action) -> float:
    """Seconds that the action takes."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def used_by_children() -> float:
    """Seconds of CPU of all processes of this one that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def dry_run(folder: str) -> None:
    """The whole command; a drift or an unread node makes it fail."""
    # A state of its own: this host may have a watch, whose state an installed command would use.
    state = Path(folder).with_name("state")
    command = [BIN / "reconcile", "--dry-run", "--detailed-exitcode", "--state", state, folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"the dry run ended with {done.returncode}\n{done.stdout}{done.stderr}")


def addresses_of(folder: str) -> list[str]:
    """The nodes' addresses, from the fleet file."""
    from ruamel.yaml import YAML  # noqa: PLC0415  (not part of what is measured)

    fleet = YAML(typ="safe", pure=True).load(next(Path(folder).glob("fleet.*")))
    nodes = [node["address"] for cluster in fleet["clusters"] for node in cluster["nodes"]]
    return [urlsplit(node).netloc if "//" in node else node for node in nodes]


@contextmanager
def serving(count: int) -> Iterator[str]:
    """A folder with a fleet of this many nodes, which are served and as desired."""
    with tempfile.TemporaryDirectory() as place:
        folder = f"{place}/fleet"
        write = ["simulate", "--kind", "m2", "--nodes", str(count), "--first", FIRST, "--write", folder]
        subprocess.run([BIN / "reconcile", *write], check=True, stdout=subprocess.DEVNULL)
        serve = [BIN / "reconcile", "simulate", "--converged", folder]
        with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                while "ready" not in (line := server.stdout.readline()):
                    assert line, "the simulator ended"
                yield folder
            finally:
                server.terminate()


def main() -> None:
    """Write a fleet, serve it, measure both in turn, print the medians."""
    if sys.argv[1:] == ["--bare"]:
        addresses = sys.stdin.read().split()
        print(timed(lambda: asyncio.run(bare(addresses))))
        return
    # As an installed program: each module is compiled once, and not again by every process.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    count, runs = [*map(int, sys.argv[1:]), *(1000, 5)[len(sys.argv) - 1 :]][:2]
    with serving(count) as folder:
        rows = [compared(folder, addresses_of(folder)) for _ in range(runs + 1)][1:]
    whole, plain, requests, cpu, plain_cpu = (statistics.median(column) for column in zip(*rows, strict=True))
    ratio = statistics.median(row[0] / row[1] for row in rows)
    cpu_ratio = statistics.median(row[3] / row[4] for row in rows)
    print(f"{count} nodes, {len(PATHS)} GETs each, median of {runs} runs:")
    print(f"  bare asyncio client, whole process  {plain:6.2f} s, CPU {plain_cpu:.2f} s")
    print(f"    of it requests                    {requests:6.2f} s")
    print(f"  reconcile --dry-run, whole process  {whole:6.2f} s, CPU {cpu:.2f} s")
    print(f"  ratio                               {ratio:6.2f}  , CPU {cpu_ratio:.2f}")


def compared(folder: str, addresses: list[str]) -> tuple[float, float, float, float, float]:
    """Seconds of the dry run, of the bare client, and of its requests; of CPU, of the dry run and of it."""
    used = used_by_children()
    whole = timed(lambda: dry_run(folder))
    used_whole = used_by_children() - used
    began = time.perf_counter()
    command = [sys.executable, __file__, "--bare"]
    done = subprocess.run(command, input="\n".join(addresses), capture_output=True, text=True, check=True)
    took = time.perf_counter() - began
    return whole, took, float(done.stdout), used_whole, used_by_children() - used - used_whole


if __name__ == "__main__":
    main()
