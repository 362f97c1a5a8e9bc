"""Ten thousand nodes that poll a real watch for ten minutes, with a commit, a `kill -9` and another commit.

    python benchmarks/soak.py [--nodes 10000] [--minutes 10] [--every 15] [--keep FOLDER]

A `reconcile watch` serves the nodes of `benchmarks/soak_nodes.py`, which is a process of its own: polls,
heartbeats each minute, and the whole setting after each load. First all nodes get the setting with the URLs
of the watch, in waves; then the watch is killed and started again; then a commit changes the setting of all.

It prints what the load saw (from the moment at which a call was due), memory and CPU, and reads from the
store whether each report that was acknowledged is there: of each node the newest of each kind, at the kill
and at the end, and all reports about offers. The exit status is 1 if a bound is broken.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NamedTuple

from reconciler.core.secret import reveal
from reconciler.ports.node_store import NodeReader
from reconciler.store.factory import open_reader
from reconciler.store.sql.host_key import HostKey
from reconciler.store.sqlite import FILE

BIN = Path(sys.executable).parent
CLUSTER = "edge"
VERSION = "soak-2"

LATE_SECONDS = 0.1
"""Bound of the 99th percentile of answers."""

GROWTH = 0.05
"""Bound of the growth of memory over the last part of the run, as a share."""

SAMPLE_SECONDS = 5.0
SHOWN_SECONDS = 30.0
_TICKS = os.sysconf("SC_CLK_TCK")
_PURPOSE = "report of a node"
_KINDS = {"heartbeat": "heartbeat.feedback", "feedback": "setting.feedback"}


class Sample(NamedTuple):
    """Memory and CPU of the watch and the load at one moment."""

    at: float
    watch: int
    memory: float
    watch_cpu: float
    load_cpu: float


class Marks(NamedTuple):
    """What the store has: (node, kind) -> mark of the newest report, and offer -> mark of its report."""

    newest: dict[tuple[str, str], int]
    offers: dict[str, int]


class Stage:
    """Folders, addresses and processes of one run."""

    def __init__(self, folder: Path, nodes: int, every: float, stack: ExitStack) -> None:
        self.folder, self.nodes, self.every, self._stack = folder, nodes, every, stack
        self.fleet, self.state = folder / "fleet", folder / "state"
        self.port, self.operators = free_port(), free_port()
        self.watch: subprocess.Popen[bytes] | None = None
        self.log = stack.enter_context((folder / "log").open("wb"))

    def prepare(self) -> None:
        """Write the fleet and the configuration of the host."""
        server = f"http://127.0.0.1:{self.port}"
        write = ("simulate", "--write", "--nodes", self.nodes, "--poll", server, self.fleet)
        subprocess.run([BIN / "reconcile", *map(str, write)], check=True, stdout=subprocess.DEVNULL)
        file = self.fleet / "fleet.yaml"
        before = f'poll: {{server: "{server}"}}'
        after = f'poll: {{server: "{server}", every: {self.every:g}s}}\n    rollout: {{waves: [20%, 100%]}}'
        text = file.read_text()
        assert before in text
        file.write_text(text.replace(before, after))
        host = {"nodes": {"listen": f"127.0.0.1:{self.port}"}}
        (self.folder / "host.yaml").write_text(json.dumps(host))

    def commit(self, version: str) -> None:
        """Change the setting of all nodes."""
        file = self.fleet / "setting.json"
        setting = json.loads(file.read_text())
        setting["meta"]["version"] = version
        new = self.folder / "setting.new"
        new.write_text(json.dumps(setting, indent=2))
        new.replace(file)

    def start_watch(self) -> None:
        """Start the watch, or start it again."""
        environment = {
            **os.environ,
            "HOME": str(self.folder),
            "RECONCILE_HOST_CONFIG": str(self.folder / "host.yaml"),
            "RECONCILE_STATE": str(self.state),
        }
        command = [BIN / "reconcile", "watch", self.fleet, "--listen", f"127.0.0.1:{self.operators}"]
        command += ["--log-format", "json", "--interval", "60s", "--poll", "5s"]
        self.watch = subprocess.Popen(list(map(str, command)), env=environment, stderr=self.log)
        self._stack.callback(end_process, self.watch)

    def start_load(self, tokens: dict[str, str], seconds: float) -> subprocess.Popen[bytes]:
        """Start the load."""
        setting = json.loads((self.fleet / "setting.json").read_text())
        setting["meta"]["version"] = "0"
        plan = {
            "host": "127.0.0.1",
            "port": self.port,
            "every": self.every,
            "heartbeats": 60.0,
            "seconds": seconds,
            "seed": 1,
            "setting": setting,
            "tokens": tokens,
        }
        (self.folder / "plan.json").write_text(json.dumps(plan))
        script = Path(__file__).with_name("soak_nodes.py")
        command = [
            sys.executable,
            str(script),
            str(self.folder / "plan.json"),
            str(self.folder / "result.json"),
        ]
        process = subprocess.Popen(command)
        self._stack.callback(end_process, process)
        return process

    def read(self, work: Callable[[NodeReader], Any]) -> Any:
        """Something from the store, as another process sees it."""

        async def read() -> Any:
            with open_reader(self.state) as reader:
                (fleet,) = await reader.fleets()
                return await work(reader.select_fleet(fleet.number))

        return asyncio.run(read())

    def list_names(self) -> list[str]:
        """The names of the nodes."""
        lines = (self.fleet / "fleet.yaml").read_text().splitlines()
        return [line.split("name: ")[1].rstrip("}") for line in lines if "- {name: " in line]

    def read_tokens(self) -> dict[str, str]:
        """Node -> its token, once the watch has enrolled all."""

        async def read(reader: NodeReader) -> dict[str, str]:
            found = await reader.tokens(CLUSTER, self.list_names())
            return {node: str(reveal(own.current)) for node, own in found.items()}

        end = time.monotonic() + 300
        while time.monotonic() < end:
            time.sleep(1)
            if self.watch is None or self.watch.poll() is not None:
                sys.exit(f"the watch has ended:\n{(self.folder / 'log').read_text()[-3000:]}")
            if (self.folder / "log").read_text().count("pass ended"):
                found: dict[str, str] = self.read(read)
                return found
        sys.exit("the watch has enrolled nobody")

    def read_marks(self) -> Marks:
        """The marks of all reports in the store."""
        key, marks = HostKey(self.state), Marks({}, {})
        with closing(sqlite3.connect(self.state / FILE)) as database:
            for node, kind, sealed in database.execute(
                "SELECT polled_node.node, node_report.kind, sealed FROM node_report"
                " JOIN polled_node ON number = node_report.node"
            ):
                marks.newest[node, kind] = read_mark(key.unseal(sealed, _PURPOSE))
            for offer, sealed in database.execute(
                "SELECT id, report FROM node_offer WHERE reported IS NOT NULL"
            ):
                marks.offers[offer] = read_mark(key.unseal(sealed, _PURPOSE))
        return marks


def end_process(process: subprocess.Popen[bytes]) -> None:
    """End a process that may have ended."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


def read_mark(body: bytes | None) -> int:
    """The mark that the load gave a report."""
    assert body is not None
    return int(json.loads(body)["node"]["settingVer"])


def measure(process: subprocess.Popen[bytes]) -> tuple[float, float]:
    """Memory in MB and seconds of CPU of a process and its children."""
    memory = cpu = 0.0
    numbers = [process.pid]
    while numbers:
        number = numbers.pop()
        try:
            fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
            tasks = Path(f"/proc/{number}/task").glob("*/children")
            children = [child for task in tasks for child in task.read_text().split()]
        except OSError:
            continue
        numbers += map(int, children)
        cpu += (int(fields[11]) + int(fields[12])) / _TICKS
        memory += int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    return memory, cpu


def follow(stage: Stage, load: subprocess.Popen[bytes], until: float, samples: list[Sample]) -> None:
    """Take samples until a moment; show some of them."""
    begun, shown = samples[0].at if samples else time.monotonic(), -SHOWN_SECONDS
    while load.poll() is None and (now := time.monotonic()) < until:
        assert stage.watch is not None
        if stage.watch.poll() is not None:
            sys.exit(f"the watch has ended:\n{(stage.folder / 'log').read_text()[-3000:]}")
        memory, cpu = measure(stage.watch)
        samples.append(Sample(now, stage.watch.pid, memory, cpu, measure(load)[1]))
        if now - shown >= SHOWN_SECONDS:
            shown = now
            print(f"  {now - begun:5.0f} s  watch {memory:6.0f} MB", flush=True)
        time.sleep(max(0.0, min(SAMPLE_SECONDS, until - now)))


def describe(seconds: Sequence[float]) -> str:
    """Percentiles in milliseconds."""
    if not seconds:
        return "none"
    ordered = sorted(seconds)
    found = [ordered[min(len(ordered) - 1, int(len(ordered) * share))] for share in (0.5, 0.99, 0.999)]
    half, most, nearly = (f"{one * 1e3:,.1f}" for one in found)
    return (
        f"{len(ordered):8,} answers, p50 {half} ms, p99 {most} ms, p99.9 {nearly} ms, "
        f"max {ordered[-1] * 1e3:,.0f} ms"
    )


def find_late(seconds: Sequence[float]) -> float:
    """The 99th percentile."""
    return sorted(seconds)[int(len(seconds) * 0.99)] if seconds else 0.0


def judge_latency(answers: Sequence[Sequence[Any]], killed: float, back: float) -> list[str]:
    """Print the latencies; gives what breaks a bound."""
    broken = []
    parts = {
        "before the kill": [one for one in answers if one[0] < killed],
        "after the restart": [one for one in answers if one[0] >= back],
    }
    for name, own in parts.items():
        good = (
            [one[1] for one in own if one[3] > 0 and one[0] + one[1] < killed] if name.startswith("b") else []
        )
        good = good or [one[1] for one in own if one[3] > 0]
        print(f"{name}: {describe(good)}")
        kinds = defaultdict(list)
        for one in own:
            kinds[f"{one[2]} {one[3]}" if one[3] >= 400 else one[2]].append(one[1])
        for kind, seconds in sorted(kinds.items()):
            print(f"  {kind:10} {describe(seconds)}")
        if find_late(good) > LATE_SECONDS:
            broken.append(f"{name}: 99 % of the answers within {find_late(good) * 1e3:.0f} ms")
        # What was due just before the kill, or just before the end, could not be answered any more.
        cut = [
            one for one in own if one[0] < killed <= one[0] + one[1] or (one[3] < 0 and one[1] < LATE_SECONDS)
        ]
        lost = len([one for one in own if one[3] <= 0]) - len([one for one in cut if one[3] <= 0])
        refused = [one for one in own if one[3] >= 400]
        if lost or refused:
            broken.append(f"{name}: {lost} calls without an answer, {len(refused)} refused")
    between = [one for one in answers if killed <= one[0] < back]
    failed = sum(one[3] <= 0 for one in between)
    print(
        f"down for {back - killed:.1f} s: {len(between):,} calls were due, {failed:,} of them got no answer"
    )
    return broken


def judge_reports(
    reports: Sequence[Sequence[Any]], restarted: float, at_kill: Marks, at_end: Marks
) -> list[str]:
    """Compare what was acknowledged with what the store has; gives what is missing."""
    missing = []
    for name, marks, end in (("the kill", at_kill, restarted), ("the end", at_end, float("inf"))):
        newest: dict[tuple[str, str], int] = {}
        for at, node, kind, mark, _ in reports:
            if at < end:
                key = node, _KINDS[kind]
                newest[key] = max(newest.get(key, 0), mark)
        lost = [key for key, mark in newest.items() if marks.newest.get(key, -1) < mark]
        print(f"at {name}: {len(newest):,} newest acknowledged reports, {len(lost)} of them missing")
        missing += [f"{node}: {kind} lost at {name}" for node, kind in lost[:3]]
    known = at_end.offers
    about = {offer: mark for _, _, _, mark, offer in reports if offer}
    lost_offers = [offer for offer, mark in about.items() if known.get(offer) != mark]
    print(f"{len(about):,} acknowledged reports about offers, {len(lost_offers)} of them missing")
    print(f"{len(reports):,} reports were acknowledged")
    return [*missing, *(f"report about the offer {offer} lost" for offer in lost_offers[:3])]


def judge_memory(samples: Sequence[Sample], watch: int) -> list[str]:
    """Print how memory grows in the last half of the time since the restart; gives what breaks the bound."""
    own = [one for one in samples if one.watch == watch]
    last = [one for one in own if one.at > (own[0].at + own[-1].at) / 2]
    slope, start = statistics.linear_regression(
        [one.at - last[0].at for one in last], [x.memory for x in last]
    )
    grown = slope * (last[-1].at - last[0].at)
    seconds = last[-1].at - last[0].at
    most = max(one.memory for one in own)
    print(f"memory over the last {seconds:.0f} s: {start:.0f} MB {grown:+.1f} MB, at most {most:.0f} MB")
    return [f"memory grows by {grown:.0f} MB in {seconds:.0f} s"] if grown > GROWTH * start else []


def print_cpu(samples: Sequence[Sample]) -> None:
    """Print which share of one core each process had."""
    for watch in dict.fromkeys(one.watch for one in samples):
        own = [one for one in samples if one.watch == watch]
        seconds = own[-1].at - own[0].at
        if seconds > 0:
            mine, load = own[-1].watch_cpu - own[0].watch_cpu, own[-1].load_cpu - own[0].load_cpu
            print(
                f"CPU over {seconds:.0f} s: watch {mine / seconds:.0%} of a core, load {load / seconds:.0%}"
            )


def read_log(stage: Stage) -> None:
    """Print what the watch said of its passes."""
    lines = [json.loads(line) for line in (stage.folder / "log").read_text().splitlines() if line[:1] == "{"]
    for line in lines:
        if line.get("level") in {"warning", "error"} or line.get("event") in {"pass ended", "watch started"}:
            kept = {key: value for key, value in line.items() if key not in {"unread_nodes", "version"}}
            print("  " + json.dumps(kept)[:300])


def run(stage: Stage, minutes: float) -> list[str]:
    """One run; gives the bounds that it broke."""
    stage.prepare()
    begun = time.monotonic()
    stage.start_watch()
    tokens = stage.read_tokens()
    print(f"{len(tokens):,} nodes enrolled after {time.monotonic() - begun:.1f} s", flush=True)
    time.sleep(3)  # the start of the watch is no part of the run
    seconds, samples = minutes * 60, list[Sample]()
    load = stage.start_load(tokens, seconds)
    start = time.monotonic()
    follow(stage, load, start + seconds * 0.4, samples)
    assert stage.watch is not None
    killed = time.monotonic()
    stage.watch.kill()
    stage.watch.wait()
    at_kill = stage.read_marks()
    restarted = time.monotonic()
    print(
        f"killed after {killed - start:.0f} s; the store was read in {restarted - killed:.1f} s", flush=True
    )
    stage.start_watch()
    follow(stage, load, start + seconds * 0.5, samples)
    stage.commit(VERSION)
    print("committed another setting", flush=True)
    follow(stage, load, start + seconds + 60, samples)
    if load.wait(60):
        sys.exit("the load has failed")
    end_process(stage.watch)
    at_end = stage.read_marks()
    read_log(stage)
    result = json.loads((stage.folder / "result.json").read_text())
    answers = result["answers"]
    back = min(one[0] + one[1] for one in answers if one[3] > 0 and one[0] + one[1] > restarted)
    broken = judge_latency(answers, killed, back)
    print_cpu(samples)
    broken += judge_memory(samples, samples[-1].watch)
    broken += judge_reports(result["reports"], restarted, at_kill, at_end)
    taken = sum(one[2] == "package" and one[3] == 200 for one in answers)
    late = sum(label != VERSION for label in result["labels"])
    print(
        f"{taken:,} packages downloaded by {stage.nodes:,} nodes, {late:,} of them have not the last commit"
    )
    if late:
        broken.append(f"{late:,} nodes do not have the last commit")
    return broken


def main() -> None:
    """Run, and say which bounds were broken."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--nodes", type=int, default=10_000)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--every", type=float, default=15.0, help="seconds between two polls of a node")
    parser.add_argument("--keep", type=Path, help="folder for state, log and results; default: removed")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        broken = run(Stage(folder, options.nodes, options.every, stack), options.minutes)
    for one in broken:
        print(f"BROKEN: {one}")
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
