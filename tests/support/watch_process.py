"""A real `reconcile watch` over a real repository and simulated nodes, for tests to talk to."""

import asyncio
import json
import os
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from reconciler.desired.fleet import load_fleet
from reconciler.drivers.registry import DRIVERS
from reconciler.simulation.addresses import find_free_addresses
from reconciler.simulation.node_host import Simulation
from reconciler.sources.locate import locate_source
from support.git_repositories import ALONE, Repository
from support.waiting import wait_until

PATIENCE = 90
"""Seconds for anything to happen; a test that works never waits so long."""

MODE_CALL = {"x-sora-target": "Sora_20211215.ChangeMode"}


def fleet_file(addresses, mode="normal", more=""):
    """Two Sora clusters of three nodes: `live`, whose mode is `mode`, and `lab`, whose mode is normal."""
    names = ["live", "lab"]
    text = f"{more}clusters:\n"
    for index, name in enumerate(names):
        wanted = mode if name == "live" else "normal"
        text += f"  - name: {name}\n    kind: sora\n    initialise: true\n    concurrency: 1\n"
        text += "    policy: {max_risky: '100%'}\n    nodes:\n"
        for number, address in enumerate(addresses[3 * index : 3 * index + 3], 1):
            node = f"{name}-{number}@127.0.0.1"
            text += f"      - {{name: {node}, api: 'http://{address}/', mode: {wanted}}}\n"
    return text


class Watch:
    """A running `reconcile watch` and its log, line by line."""

    def __init__(self, process):
        self.process = process
        self.lines = []
        self.raw = []
        self._news = asyncio.Event()
        self._reader = asyncio.create_task(self._read())
        self.client = None

    async def _read(self):
        async for line in self.process.stderr:
            self.raw.append(line.decode())
            try:
                self.lines.append(json.loads(line))
            except ValueError:
                self.lines.append({"event": "", "text": line.decode()})
            self._news.set()
        self._news.set()

    async def said(self, event, *, after=0, **fields):
        """The first line of this event with these fields, from the line number `after` on."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for line in self.lines[after:]:
                    if line["event"] == event and fields.items() <= line.items():
                        return line
                if self._reader.done():
                    raise AssertionError(f"{event} {fields} was never said:\n{self.log}")
                self._news.clear()
                await self._news.wait()

    @property
    def log(self):
        return "".join(self.raw)

    async def get(self, path, **headers):
        return await self.client.get(path, headers=headers)

    async def states(self):
        """Cluster -> its part of /readyz."""
        return {cluster["cluster"]: cluster for cluster in (await self.get("/readyz")).json()["clusters"]}

    async def until(self, condition):
        """Wait until /readyz's clusters fulfil a condition."""

        async def read():
            states = await self.states()
            return states if condition(states) else None

        return await wait_until(read, every=0.05)

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    async def ended(self):
        """The exit status, once the process has ended and its log is read."""
        async with asyncio.timeout(PATIENCE):
            status = await self.process.wait()
            await self._reader
        return status


class Stage:
    """A repository, its simulated nodes, a state folder, and watches over them."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.addresses = find_free_addresses(6)
        self.repository = Repository.make(folder / "fleet", {"fleet.yaml": fleet_file(self.addresses)})
        self.state = folder / "state"
        self.simulation = None

    @asynccontextmanager
    async def nodes(self, *, converged=True):
        source = locate_source(str(self.repository.folder), cache=self.folder / "cache")
        async with Simulation(
            load_fleet(await source.snapshot(), DRIVERS), DRIVERS, converged=converged
        ) as simulation:
            self.simulation = simulation
            yield self

    @asynccontextmanager
    async def watch(self, *options, source=None, secret=""):
        """A watch that listens; it is ended in good order unless the test has ended it."""
        environment = {**os.environ, **ALONE, "HOME": str(self.folder), "NO_COLOR": "1"}
        environment.pop("RECONCILE_WEBHOOK_SECRET", None)
        if secret:
            environment["RECONCILE_WEBHOOK_SECRET"] = secret
        arguments = [
            *("watch", source or str(self.repository.folder), "--state", str(self.state)),
            *("--listen", "127.0.0.1:0", "--log-format", "json", *options),
        ]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "reconciler.cli.main",
            *arguments,
            env=environment,
            cwd=self.folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        watch = Watch(process)
        try:
            address = (await watch.said("watch started"))["listen"]
            async with httpx.AsyncClient(base_url=f"http://{address}", trust_env=False) as watch.client:
                yield watch
                if process.returncode is None:
                    watch.signal()
                    assert await watch.ended() in {0, 5}, watch.log
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            await watch._reader

    async def run(self, *arguments):
        """Run the program as an operator does beside the watch; gives what it prints, in one line."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "reconciler.cli.main", *arguments, "--state", str(self.state)),
            env={**ALONE, "HOME": str(self.folder), "NO_COLOR": "1", "PATH": "/usr/bin:/bin"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        told, _ = await process.communicate()
        assert process.returncode == 0, told.decode()
        return " ".join(told.decode().split())

    def changes(self, node=""):
        """Calls that changed a node, in order."""
        return [call.node for call in self.simulation.calls(node, changes=True)]

    async def changed(self):
        """Wait until some node got a call that changes it."""
        await wait_until(self.changes)

    async def drift(self, node, mode="block_new_session"):
        """Change a node's mode behind the watch's back."""
        address = self.simulation.nodes[node]
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.post(f"http://{address}/", headers=MODE_CALL, json={"mode": mode})
        assert answer.status_code == 200, answer.text

    async def mode(self, node):
        address = self.simulation.nodes[node]
        headers = {"x-sora-target": "Sora_20211215.GetMode"}
        async with httpx.AsyncClient(trust_env=False) as client:
            return (await client.post(f"http://{address}/", headers=headers)).json()["mode"]


@asynccontextmanager
async def unread_watch(stage, stderr, wrapper=()):
    """A watch of whose log nothing is read here; gives a client of its endpoints."""
    (address,) = find_free_addresses(1)
    command = [
        *(sys.executable, "-m", "reconciler.cli.main", "watch", str(stage.repository.folder)),
        *("--state", str(stage.state), "--listen", str(address), "--interval", "0.3s", "--poll", "0.3s"),
        *("--log-format", "json"),
    ]
    environment = {**os.environ, **ALONE, "HOME": str(stage.folder)}
    process = await asyncio.create_subprocess_exec(*wrapper, *command, env=environment, stderr=stderr)
    try:
        async with httpx.AsyncClient(base_url=f"http://{address}", trust_env=False) as client:
            yield client, process
            process.terminate()
            async with asyncio.timeout(PATIENCE):
                assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def told(client, condition):
    """What /readyz says, once it fulfils a condition."""

    async def read():
        try:
            found = (await client.get("/readyz")).json()
        except httpx.TransportError:
            return None
        return found if condition(found) else None

    return await wait_until(read, every=0.05)


M2_RULES = "policy: {max_risky: 100%, max_cache_lost: 100%}\n"


def m2_fleet(addresses, keys=None, rules=""):
    """A cluster `edge` of M2 nodes `n0`, `n1`, …; `keys` has further keys of a node, by its number."""
    nodes = "".join(
        f"      - {{name: n{index}, address: '{place}'{(keys or {}).get(index, '')}}}\n"
        for index, place in enumerate(addresses)
    )
    return (
        f"{M2_RULES}clusters:\n  - name: edge\n    kind: m2\n    setting: plain.json\n"
        f"    timeouts: {{read: 5, settle: 5}}\n{rules}    nodes:\n{nodes}"
    )


def make_m2_stage(folder, files, keys=None, rules=""):
    """Three M2 nodes in place of the two Sora clusters."""
    stage = Stage(folder)
    stage.addresses = find_free_addresses(3)
    fleet = {"fleet.yaml": m2_fleet(stage.addresses, keys, rules)}
    stage.repository = Repository.make(folder / "m2", fleet | files)
    return stage


def hung_git(folder):
    """A git that hangs with a helper of its own, as one does that waits for ssh; tells both processes."""
    folder.mkdir()
    script = folder / "git"
    script.write_text(
        f'#!/bin/sh\ncase "$*" in *ls-remote*|*fetch*) sleep 600 & echo $$ $! > {folder}/pids; wait;; esac\n'
        'exec /usr/bin/git "$@"\n'
    )
    script.chmod(0o755)
    return folder


def is_alive(process):
    """Whether a process runs; one that has ended and waits to be collected does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
