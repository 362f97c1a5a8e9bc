"""Runs of the collab driver against a simulated cluster, with faults, without executor, store and host."""

import asyncio
import json
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import ClassVar
from urllib.parse import urlsplit

from reconciler.core.observation import Observed
from reconciler.core.plan import Revision
from reconciler.core.prior_revisions import PriorCluster, PriorRevisions
from reconciler.core.secret import Secret
from reconciler.core.step_status import StepStatus
from reconciler.documents.document import ParsedDocument, parse_document
from reconciler.drivers.collab.machine import finish_waiting
from reconciler.drivers.collab.product import CollabDriver
from reconciler.drivers.collab.schema import CollabCluster
from reconciler.drivers.collab.simulator.loaded_files import read_server_file
from reconciler.drivers.collab.simulator.world import CollabWorld, SiteNames
from reconciler.errors import NodeError, NodeUnreachable
from reconciler.file_delivery.simulated_machines import (
    SimulatedCommands,
    SimulatedFile,
    SimulatedFiles,
    SimulatedMachine,
)
from reconciler.ports.cluster_input import ClusterInput
from reconciler.ports.simulator import NodeRequest
from reconciler.ports.transport import Http, HttpAnswer, Streams, Transports
from support.collab_worlds import AT_ONCE, REDIS_FILE, make_config, make_nginx

REVISION = Revision("file:///fleet", "1" * 40, "1" * 7)

KEYS = {"command": "restart"}


def make_entry(names=("c1", "c2"), **changes):
    """The entry of a cluster with everything managed."""
    value = {
        "name": "collab",
        "kind": "collab",
        "config": {"source": "config.json", "file": "config"},
        "restart": {"command": "restart"},
        "start": {"command": "start"},
        "stop": {"command": "stop"},
        "nodes": [{"name": name, "host": f"192.0.2.{name[1:]}"} for name in names],
        "redis": {
            "name": "redis",
            "host": "127.0.0.1",
            "source": "redis.json",
            "file": "redis-conf",
            "restart": {"command": "restart"},
        },
        "loadBalancer": {
            "name": "lb",
            "url": "http://127.0.0.1:8080",
            "file": "nginx",
            "reload": {"command": "reload"},
        },
        "timeouts": {"settle": 1},
        "drain": 4,
    }
    return {key: own for key, own in {**value, **changes}.items() if own is not None}


def make_input(entry, config=None, redis=None, each=None):
    """The input of a cluster; `each` has the config.json of single servers."""
    cluster = CollabCluster.model_validate(entry)
    fleet = parse_document("fleet.json", json.dumps({"clusters": [entry]}).encode())
    shared = _make_document("config.json", config if config is not None else json.loads(make_config()))
    documents = {
        node.name: _make_document(f"{node.name}.json", each[node.name])
        if node.name in (each or {})
        else shared
        for node in cluster.nodes
        if cluster.config is not None
    }
    if cluster.redis is not None and cluster.redis.source:
        documents[cluster.redis.name] = _make_document("redis.json", redis or {"bind": "127.0.0.1"})
    return ClusterInput(cluster, fleet, "/clusters/0", REVISION, documents)


def _make_document(name, value):
    text = json.dumps(value, default=str, indent=1)
    return ParsedDocument(name, value, text)


def with_password(text, **values):
    """config.json and keys of redis.conf with a password, as secrets of the desired state."""
    config = json.loads(make_config()) | values
    config["redisServerUrl"] = Secret(f"redis://:{text}@127.0.0.1:6379", "redis://:${env:P}@127.0.0.1:6379")
    return config, {"bind": "127.0.0.1", "requirepass": Secret(text, "${env:P}")}


def make_site(count=2, *, choices=AT_ONCE, config=None, redis_file=REDIS_FILE, upstream=None, down=()):
    """A world of `c1` … with `redis` and `lb`, whose machines have the commands of `make_entry`."""
    servers = {f"c{number}": f"192.0.2.{number}:3000" for number in range(1, count + 1)}
    used = [servers[name] for name in (servers if upstream is None else upstream)]
    files = {name: ("config", config or make_config()) for name in servers}
    files |= {"redis": ("redis-conf", redis_file), "lb": ("nginx", make_lines(*used))}
    machines = {
        name: SimulatedMachine({entry: SimulatedFile(content)}) for name, (entry, content) in files.items()
    }
    entries = {name: entry for name, (entry, _) in files.items()}
    names = SiteNames(servers, "redis", "127.0.0.1", "lb", entries=entries)
    databases = frozenset({read_server_file(make_config()).database})
    world = CollabWorld(names, machines, databases, choices)
    for name, machine in machines.items():
        machine.commands.update(
            restart=lambda _, values, name=name: world.restart(name),
            start=lambda _, values, name=name: world.start(name) or "started",
            stop=lambda _, values, name=name: world.kill(name) or "stopped",
            reload=lambda _, values, name=name: world.reload(name),
        )
    for node in ("redis", *servers, "lb"):
        if node not in down:
            world.start(node)
    world.state = finish_waiting(world.state)
    return world


def make_lines(*servers):
    """An nginx file in lines, as people write it."""
    text = make_nginx().decode()
    lines = "\n".join(f"        server {place};" for place in servers)
    return (
        text.replace(
            "upstream collabServer { ip_hash; }",
            f"upstream collabServer {{\n        ip_hash;\n{lines}\n      }}",
        )
        .replace(
            "location /status { proxy_pass http://collabServer/status; }",
            "location /status {\n          proxy_pass http://collabServer/status;\n        }",
        )
        .encode()
    )


class Killed(Exception):
    """The reconciler dies here."""


@dataclass
class Faults:
    """What happens at the calls of a run, by their number from 1: `lost`, `nothing`, `before`, `after`."""

    by_call: dict[int, str] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)

    async def call(self, name, node, perform):
        self.calls.append(f"{name} {node}")
        fault = self.by_call.get(len(self.calls), "")
        if fault == "before":
            raise Killed
        if fault == "nothing":
            raise NodeUnreachable(node, "timed out")
        answer = await perform()
        if fault == "after":
            raise Killed
        if fault == "lost":
            raise NodeUnreachable(node, "timed out")
        return answer


class WorldHttp(Http):
    """HTTP to the nodes of a world; `aliases` has further hosts, of load balancers."""

    aliases: ClassVar[dict[str, str]] = {}

    def __init__(self, world, hidden):
        self.world, self.hidden = world, hidden

    async def send(self, method, url, *, node, timeout, connect=0.0, headers=None, content=b""):
        parts = urlsplit(url)
        # A server listens where its process was started.
        places = dict(zip(self.world.state.addresses, self.world.servers, strict=True))
        places["127.0.0.1:8080"] = self.world.names.balancer
        name = places.get(parts.netloc) or self.aliases.get(parts.netloc, "")
        if name in self.world.servers and name not in self.hidden:
            running = self.world.state.servers[self.world.servers.index(name)].running
            if running is not None and running.enable_tls is not (parts.scheme == "https"):
                raise NodeUnreachable(node, "TLS failed: wrong version number", sign="alive")
        if not name or name in self.hidden:
            sign = self.hidden.get(name, "silent")
            raise NodeUnreachable(node, "no answer", sign=sign)
        lower = {key.lower(): value for key, value in (headers or {}).items()}
        if "upgrade" in lower:
            lower.setdefault("connection", "Upgrade")
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        status, found, body = self.world.answer(
            name, NodeRequest(method, target, lower, content, "127.0.0.1")
        )
        if status == 0:
            raise NodeUnreachable(node, "connection refused", sign="silent")
        return HttpAnswer(int(status), {key.lower(): value for key, value in found.items()}, body)


class WorldStreams(Streams):
    """TCP to the Redis of a world."""

    def __init__(self, world, faults):
        self.world, self.faults = world, faults

    async def ask(self, address, request, *, is_complete, node, timeout, limit):
        if self.world.redis is None:
            raise NodeUnreachable(node, "connection refused", sign="silent")
        answer = self.world.open_session(self.world.names.redis).receive(request)
        assert is_complete(answer), (request, answer)
        return answer

    async def send(self, address, request, *, is_complete, node, timeout, limit):
        return await self.faults.call(
            "redis",
            node,
            lambda: self.ask(
                address, request, is_complete=is_complete, node=node, timeout=timeout, limit=limit
            ),
        )


class WorldFiles(SimulatedFiles):
    """Files whose changes can fail."""

    def __init__(self, world, faults):
        super().__init__(world.machines, check=lambda place, content: world.check(place.node, content))
        self.faults = faults

    async def stage(self, place, content):
        return await self.faults.call(
            "stage", place.node, lambda: super(WorldFiles, self).stage(place, content)
        )

    async def switch(self, place, *, before, after):
        own = super().switch
        return await self.faults.call("switch", place.node, lambda: own(place, before=before, after=after))

    async def discard(self, place):
        own = super().discard
        return await self.faults.call("discard", place.node, lambda: own(place))


class WorldCommands(SimulatedCommands):
    """Commands that can fail."""

    def __init__(self, world, faults):
        super().__init__(world.machines)
        self.faults = faults

    async def run(self, command, values, *, node):
        # A server that left the fleet file has a machine all the same.
        own = super().run
        return await self.faults.call(command, node, lambda: own(command, values, node=node))


@dataclass
class Site:
    """A world with a driver and the facts that a store would keep."""

    world: CollabWorld
    cluster_input: ClusterInput
    facts: dict[str, dict[str, str]] = field(default_factory=dict)
    prior: PriorRevisions = field(default_factory=PriorRevisions)
    faults: Faults = field(default_factory=Faults)
    hidden: dict[str, str] = field(default_factory=dict)
    reserved: frozenset = frozenset()
    watch: object = None
    log: list[str] = field(default_factory=list)

    def __post_init__(self):
        async def pause(seconds):
            self.world.state = self.world.state

        self.driver = CollabDriver(pause=pause)

    @property
    def transports(self):
        return Transports(
            http=WorldHttp(self.world, self.hidden),
            commands=WorldCommands(self.world, self.faults),
            files=WorldFiles(self.world, self.faults),
            streams=WorldStreams(self.world, self.faults),
        )

    @property
    def desired(self):
        return self.driver.add_history(self.driver.desire(self.cluster_input), self.facts, self.prior)

    def observe(self, desired=None) -> Observed:
        seen = asyncio.run(self.driver.observe(desired or self.desired, self.transports))
        return replace(seen, reserved=self.reserved)

    def plan(self):
        desired = self.desired
        observed = self.observe(desired)
        self._store(self.driver.derive_facts(desired, observed))
        return self.driver.plan(self.desired, observed)

    def context(self, plan, observed, **values):
        """What guards look at."""
        return SimpleNamespace(plan=plan, observed=observed, desired=self.desired, **values)

    def run(self):
        """One pass: the statuses by step; stops at the first step that is not done."""
        plan, found = self.plan(), {}
        for step in plan.steps:
            verdict = self._judge(step)
            if verdict.status is StepStatus.DONE:
                found[step.id] = "found"
                continue
            if verdict.status is not StepStatus.READY:
                found[step.id] = f"{verdict.status.value}: {verdict.reason}"
                break
            if step.is_manual:
                found[step.id] = f"waiting: {verdict.reason}"
                break
            self._store(step.arguments.facts_of_intent)
            try:
                answer = asyncio.run(self.driver.act(step, self.transports, plan.payloads))
                self._store({step.node: answer.facts})
            except NodeError as error:
                self.log.append(str(error))
            for _ in range(6):
                verdict = self._judge(step)
                if verdict.status is StepStatus.DONE:
                    break
            if self.watch is not None:
                self.watch(step)
            if verdict.status is not StepStatus.DONE:
                found[step.id] = f"failed: {verdict.reason}"
                break
            found[step.id] = "done"
        return found

    def converge(self, passes=6):
        """Passes until nothing is left to do; gives the last plan."""
        for _ in range(passes):
            plan = self.plan()
            if not plan.steps:
                return plan
            self.run()
        return self.plan()

    def _judge(self, step):
        seen = asyncio.run(self.driver.observe_step(step, self.transports))
        return self.driver.judge(step, replace(seen, reserved=self.reserved))

    def _store(self, facts):
        for node, own in facts.items():
            kept = self.facts.setdefault(node, {})
            kept.update(own)


def make_former(*servers):
    """An earlier revision that named these servers too: (name, host)."""
    nodes = {name: {"name": name, "host": host} for name, host in servers}
    return PriorRevisions((PriorCluster(nodes, "0000000", is_applied=True),))
