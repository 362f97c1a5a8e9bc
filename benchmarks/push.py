"""What a change costs for each node that is called: requests, connections and CPU, from the webhook on.

    python benchmarks/push.py [--reports] [NODES] [RUNS]

The defaults are 1,000 nodes and 5 changes; 4,000 nodes need some 20,000 open files (`ulimit -n`). Nothing
else should run on the machine: under load the same work takes a third more CPU.

A real `reconcile watch` follows a repository. Each run commits a change of the setting, calls the webhook,
and waits until every node shows the change and the pass after it, which reads all nodes once more, has found
nothing to do. The time ends with the pass that made the change; requests, connections and CPU are of both.
The nodes are one process that answers as M2 does, and counts requests and connections. Beside it, in the same
run, a bare client makes the same calls over two connections for each node, with asyncio's streams alone.

With `--reports`, the cluster has `reports`: the watch writes URLs with a token of its own into each setting.

It prints, for each node: requests by kind, connections, and CPU of both.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httptools

BIN = Path(sys.executable).parent
EXAMPLE = Path(__file__).parents[1] / "examples/demo/edge/setting.json"
SECRET = "benchmark"
PATIENCE = 600.0
CALLS = (
    "GET /setting/setting.json",
    "GET /get/setting/running",
    "GET /get/setting/artifact",
    "POST /setting/upload",
    "GET /get/setting/artifact",
    "GET /setting/setting.json",
    "GET /get/setting/running",
)
"""What the watch sends to each node: for the plan, before and after the change, and for confirmation."""


class Nodes:
    """All nodes: what each of them has loaded, by address, and what they were asked."""

    def __init__(self, first: bytes) -> None:
        self.first = first
        self.loaded: dict[str, bytes] = {}
        self.calls: Counter[str] = Counter()
        self.connections = 0

    def answer(self, address: str, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        """The answer of the node at an address."""
        if path == "/benchmark":
            shown = Counter(hashlib.sha256(one).hexdigest() for one in self.loaded.values())
            told = {"calls": self.calls, "connections": self.connections, "shown": shown}
            return 200, json.dumps(told).encode()
        self.calls[f"{method} {path}"] += 1
        if method == "POST":
            self.loaded[address] = body
            return 200, b'{"version":"1","method":"reloadall","status":"OK","result":"accepted"}'
        if path in {"/setting/setting.json", "/get/setting/running", "/get/setting/artifact"}:
            return 200, self.loaded.get(address, self.first)
        return 404, b'{"version":"1","method":"get","status":"Fail","result":"Not Found"}'


class Connection(asyncio.Protocol):
    """One connection; which node it is to follows from its local address."""

    def __init__(self, nodes: Nodes) -> None:
        self.nodes = nodes
        self.parser = httptools.HttpRequestParser(self)
        self.url = b""
        self.body: list[bytes] = []

    def connection_made(self, transport: Any) -> None:
        """Note the node that is meant."""
        self.transport = transport
        self.address = transport.get_extra_info("sockname")[0]
        self.nodes.connections += 1

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        self.parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        """Keep the path."""
        self.url = url

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body."""
        self.body.append(body)

    def on_message_complete(self) -> None:
        """Answer."""
        method, path = self.parser.get_method().decode(), self.url.decode()
        status, body = self.nodes.answer(self.address, method, path, b"".join(self.body))
        kind = b"Content-Type: application/json\r\n"
        self.transport.write(
            b"HTTP/1.1 %d OK\r\n%sContent-Length: %d\r\n\r\n%s" % (status, kind, len(body), body)
        )
        self.body = []
        if not self.parser.should_keep_alive():
            self.transport.close()


async def serve(first: bytes) -> None:
    """Answer at every address of 127.0.0.0/8, on one free port, which is printed."""
    nodes = Nodes(first)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(nodes), "0.0.0.0", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def address(index: int) -> str:
    """The address of a node."""
    return f"127.9.{index >> 8}.{index & 255}"


def setting(version: int, allowed: str = "127.0.0.1", *, reports: bool = False) -> bytes:
    """The example, with a version and a schedule that differ each time."""
    document = json.loads(EXAMPLE.read_text(encoding="utf-8"))
    document.pop("$schema", None)
    if reports:  # the URLs of other servers give way
        document["env"]["management"].pop("server", None)
    document["meta"]["version"] = version
    document["env"]["management"]["api"]["allowList"][0]["addr"] = allowed
    document["env"]["management"]["cluster"]["balance"]["mode"] = "hash" if version % 2 else "rr"
    return json.dumps(document, indent=2).encode() + b"\n"


async def bare_node(index: int, port: int, body: bytes, gate: asyncio.Semaphore) -> None:
    """All calls of one node: readings over one connection, the change over another one."""
    host = address(index)
    async with gate:
        reading = await asyncio.open_connection(host, port)
        for call in CALLS:
            method, path = call.split()
            reader, writer = reading if method == "GET" else await asyncio.open_connection(host, port)
            head = f"{method} {path} HTTP/1.1\r\nHost: {host}:{port}\r\n"
            if method == "POST":
                head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
                writer.write(f"{head}Connection: close\r\n\r\n".encode() + body)
            else:
                writer.write(f"{head}\r\n".encode())
            answer = (await reader.readuntil(b"\r\n\r\n")).lower()
            json.loads(await reader.readexactly(int(answer.split(b"content-length:")[1].split(b"\r\n")[0])))
            if method == "POST":
                writer.close()
        reading[1].close()


async def bare(count: int, port: int, body: bytes) -> None:
    """All nodes, as many at once as the watch has."""
    gate = asyncio.Semaphore(64)
    await asyncio.gather(*(bare_node(index, port, body, gate) for index in range(count)))


def cpu_of(process: int) -> float:
    """CPU seconds of a process, and of those of its children that have ended."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return bytes(answer.read())


@contextmanager
def running(*command: Any, **more: Any) -> Iterator[subprocess.Popen[str]]:
    """A process, which is ended afterwards."""
    with subprocess.Popen(list(map(str, command)), text=True, **more) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)


def write_fleet(folder: Path, count: int, port: int, *, reports: bool) -> None:
    """A fleet file with so many nodes, in a new repository."""
    names = [f"  - {{name: edge-{index:05}, address: '{address(index)}:{port}'}}" for index in range(count)]
    head = (
        "name: benchmark\nclusters:\n- name: edge\n  kind: m2\n  setting: setting.json\n  concurrency: 64\n"
        "  policy: {max_changed: '100%', max_risky: '100%'}\n"
        + ("  reports: {server: 'http://127.0.0.1:9', every: 15s}\n" if reports else "")
        + "  nodes:\n"
    )
    (folder / "fleet.yaml").write_text(head + "\n".join(names) + "\n")
    git(folder, "init", "--quiet", "--initial-branch=main")


def git(folder: Path, *words: str) -> str:
    own = ["-c", "user.name=benchmark", "-c", "user.email=benchmark@example.com", "-C", str(folder)]
    return subprocess.run(["git", *own, *words], check=True, capture_output=True, text=True).stdout.strip()


def commit(folder: Path, body: bytes) -> str:
    """Commit a setting; gives the id of the commit."""
    (folder / "setting.json").write_bytes(body)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "change the setting")
    return git(folder, "rev-parse", "HEAD")


def call_webhook(listen: str, revision: str) -> None:
    """What a forge sends after a push."""
    body = json.dumps({"ref": "refs/heads/main", "after": revision}).encode()
    signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    headers = {
        "Content-Type": "application/json",
        "X-GitHub-Event": "push",
        "X-Hub-Signature-256": f"sha256={signature}",
    }
    request = urllib.request.Request(f"http://{listen}/webhook", data=body, headers=headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status < 300, answer.status


def wait_for_pass(
    listen: str, revision: str, states: set[str], watch: subprocess.Popen[str], pause: float = 0.05
) -> None:
    """Wait until a pass of this revision has ended in one of these states."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and watch.poll() is None:
        try:
            with urllib.request.urlopen(f"http://{listen}/readyz", timeout=10) as answer:
                told = json.load(answer)
        except urllib.error.HTTPError as error:
            told = json.load(error)
        except OSError:
            told = {}
        for cluster in told.get("clusters", ()):
            if cluster["doing"] == "idle" and (cluster.get("revision") or {}).get("id") == revision:
                if cluster["state"] in states:
                    return
                if cluster["state"] not in {"new", "applied"}:
                    sys.exit(f"the pass did not succeed: {cluster}")
        time.sleep(pause)
    sys.exit("the watch did not finish its pass")


def free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return f"127.0.0.1:{one.getsockname()[1]}"


def measure_watch(folder: Path, count: int, runs: int, port: int, *, reports: bool) -> list[dict[str, float]]:
    """One row for each change."""
    nodes, fleet, listen = f"http://127.0.0.1:{port}/benchmark", folder / "fleet", free_address()
    first = commit(fleet, setting(0, reports=reports))
    environment = {**os.environ, "RECONCILE_WEBHOOK_SECRET": SECRET, "HOME": str(folder)}
    command = ("watch", fleet, "--ref", "main", "--state", folder / "state", "--listen", listen)
    more = ("--poll", "1h", "--interval", "1h", "--log-format", "json")
    rows = []
    log = (folder / "log").open("w")
    with log, running(BIN / "reconcile", *command, *more, env=environment, stderr=log) as watch:
        wait_for_pass(listen, first, {"converged"}, watch)
        for number in range(1, runs + 1):
            body = setting(number, reports=reports)
            revision = commit(fleet, body)
            before, used, began = json.loads(fetch(nodes)), cpu_of(watch.pid), time.perf_counter()
            call_webhook(listen, revision)
            wait_for_pass(listen, revision, {"applied", "converged"}, watch)
            took = time.perf_counter() - began
            # The next pass reads all nodes once more, after a random pause of at most 10 s.
            # Asked seldom: what the watch spends on answers to this program is no part of the change.
            wait_for_pass(listen, revision, {"converged"}, watch, pause=0.5)
            spent, after = cpu_of(watch.pid) - used, json.loads(fetch(nodes))
            settings = [1] * count if reports else [count]
            if list(after["shown"].values()) != settings:
                sys.exit(f"not every node shows the change: {after}\n{(folder / 'log').read_text()[-3000:]}")
            calls = {name: after["calls"][name] - before["calls"].get(name, 0) for name in after["calls"]}
            rows.append(
                {
                    "seconds": took,
                    "cpu": spent / count * 1000,
                    "requests": sum(calls.values()) / count,
                    # without the one that asked for the figures
                    "connections": (after["connections"] - before["connections"] - 1) / count,
                    **calls,
                }
            )
    return rows


def measure_bare(count: int, runs: int, port: int) -> list[dict[str, float]]:
    """The same of the bare client, in a process of its own."""
    rows, nodes = [], f"http://127.0.0.1:{port}/benchmark"
    for number in range(runs):
        before, began = json.loads(fetch(nodes)), time.perf_counter()
        command = [sys.executable, __file__, "--bare", str(count), str(port), str(number)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        took, after = time.perf_counter() - began, json.loads(fetch(nodes))
        made = sum(after["calls"].values()) - sum(before["calls"].values())
        rows.append(
            {
                "seconds": took,
                "cpu": float(done.stdout) / count * 1000,
                "requests": made / count,
                "connections": (after["connections"] - before["connections"] - 1) / count,
            }
        )
    return rows


def median(rows: list[dict[str, float]], name: str) -> float:
    return statistics.median(row[name] for row in rows)


def main() -> None:
    """Serve the nodes, measure both, print the medians."""
    if sys.argv[1:2] == ["--serve"]:
        asyncio.run(serve(setting(0, reports="--reports" in sys.argv)))
        return
    if sys.argv[1:2] == ["--bare"]:
        count, port, number = map(int, sys.argv[2:])
        began = time.process_time()
        asyncio.run(bare(count, port, setting(1000 + number)))
        print(time.process_time() - began)
        return
    words = [word for word in sys.argv[1:] if word != "--reports"]
    reports = len(words) < len(sys.argv) - 1
    count, runs = [*map(int, words), *(1000, 5)[len(words) :]][:2]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "fleet").mkdir()
        options = ["--serve", *(["--reports"] if reports else [])]
        with running(sys.executable, __file__, *options, stdout=subprocess.PIPE) as server:
            assert server.stdout is not None
            port = int(server.stdout.readline())
            write_fleet(folder / "fleet", count, port, reports=reports)
            rows = measure_watch(folder, count, runs, port, reports=reports)
            beside = measure_bare(count, runs, port)
    calls = {key: round(median(rows, key) / count, 2) for key in rows[0] if " " in key}
    print(f"{count} nodes, medians of {runs} changes; for each node:")
    print(f"  {'':<14}{'watch':>10}{'bare client':>15}")

    def show(name: str, key: str, unit: str = "") -> str:
        return f"  {name:<14}{median(rows, key):>7.2f}{unit:<3}{median(beside, key):>12.2f}{unit:<3}"

    print(show("requests", "requests"), calls, sep="   ")
    print(show("connections", "connections"))
    spread = f"{min(row['cpu'] for row in rows):.2f} to {max(row['cpu'] for row in rows):.2f} ms"
    print(show("CPU", "cpu", " ms"), spread, sep="   ")
    print(show("whole change", "seconds", " s"))


if __name__ == "__main__":
    main()
