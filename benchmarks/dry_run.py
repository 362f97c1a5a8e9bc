"""How long a dry run over many nodes without drift takes, against a bare client that makes the same GETs.

    python benchmarks/dry_run.py [NODES] [RUNS]

Both are measured in turn against the same simulated nodes, each as it is used: the dry run as a whole
process, the bare client by the time of its requests alone. The figure is the median ratio.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

BIN = Path(sys.executable).parent
PATHS = ("/setting/setting.json", "/get/setting/artifact")


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


def dry_run(folder: str) -> None:
    """The whole command; a drift or an unread node makes it fail."""
    command = [BIN / "reconcile", "--dry-run", "--detailed-exitcode", folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"the dry run ended with {done.returncode}\n{done.stdout}{done.stderr}")


def addresses_of(folder: str) -> list[str]:
    """The nodes' addresses, from the fleet file."""
    from ruamel.yaml import YAML  # noqa: PLC0415  (not part of what is measured)

    fleet = YAML(typ="safe", pure=True).load(next(Path(folder).glob("fleet.*")))
    nodes = [node["address"] for cluster in fleet["clusters"] for node in cluster["nodes"]]
    return [urlsplit(node).netloc if "//" in node else node for node in nodes]


def main() -> None:
    """Write a fleet, serve it, measure both in turn, print the medians."""
    count, runs = [*map(int, sys.argv[1:]), *(1000, 5)[len(sys.argv) - 1 :]][:2]
    with tempfile.TemporaryDirectory() as folder:
        write = ["simulate", "--kind", "m2", "--nodes", str(count), "--write", folder]
        subprocess.run([BIN / "reconcile", *write], check=True, stdout=subprocess.DEVNULL)
        serve = [BIN / "reconcile", "simulate", "--converged", folder]
        with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                while "ready" not in (line := server.stdout.readline()):
                    assert line, "the simulator ended"
                addresses = addresses_of(folder)
                pairs = [
                    (timed(lambda: dry_run(folder)), timed(lambda: asyncio.run(bare(addresses))))
                    for _ in range(runs + 1)
                ][1:]
            finally:
                server.terminate()
    ratio = statistics.median(whole / plain for whole, plain in pairs)
    whole, plain = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"{count} nodes, {len(PATHS)} GETs each, median of {runs} pairs:")
    print(f"  bare asyncio client, requests only  {plain:6.2f} s")
    print(f"  reconcile --dry-run, whole process  {whole:6.2f} s")
    print(f"  ratio                               {ratio:6.2f}")


if __name__ == "__main__":
    main()
