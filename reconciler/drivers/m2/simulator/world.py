"""One simulated cluster of M2 nodes: their states, and what they answer to whom."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from reconciler.core.canonical import encode_canonical
from reconciler.core.entries import ClusterEntry
from reconciler.core.json_reader import read_json
from reconciler.drivers.m2 import machine
from reconciler.drivers.m2.choices import DEFAULTS, Choices, PortChange
from reconciler.drivers.m2.setting.models import FACTORY_ROLES
from reconciler.drivers.m2.simulator.answers import (
    CLOSED,
    NodeCall,
    Reply,
    answer_change,
    answer_request,
    load_package,
    make_queued_purge,
    perform_command,
)
from reconciler.drivers.m2.simulator.cache import NodeCache
from reconciler.drivers.m2.simulator.content_sharing import share_content
from reconciler.drivers.m2.simulator.messages import UrlPurge, read_purge_result
from reconciler.drivers.m2.simulator.package import unpack_package
from reconciler.errors import UsageError
from reconciler.ports.simulator import NodeRequest, SimulatedWorld


def make_factory_setting(port: int, caller: str = "") -> dict[str, Any]:
    """The setting of a new node: the two roles of the manual (M2 manual, Roles), open to loopback.

    Args:
        port: its `api.port`.
        caller: one more address with the role `admin`; empty for none.
    """
    addresses = ["127.0.0.0/8", "::1", *filter(None, [caller])]
    api = {
        "port": port,
        "defaultRole": "admin",
        "multipartName": "settingFile",
        "allowList": [{"role": "admin", "addr": addr} for addr in addresses],
    }
    return {
        "meta": {"version": "factory"},
        "env": {"management": {"api": api, "roles": list(FACTORY_ROLES)}},
        "functions": {},
        "hosting": [],
    }


_PURGES: Final = frozenset({"/command/purge", "/command/async/purge"})

BOOTUP: Final = "/_sys_/bootup"
"""The event of a start."""

PROPAGATED: Final = "x-m2-propagated"
"""Header of a propagated purge, so that it is propagated once; not in the manual."""


@dataclass(frozen=True, slots=True)
class PurgeCall:
    """A purge that the API of a node was called for.

    Args:
        is_propagated: whether another node sent it.
    """

    urls: tuple[str, ...]
    results: tuple[UrlPurge, ...]
    is_propagated: bool


@dataclass(frozen=True, slots=True)
class NodeEvent:
    """Something after which a node reports, or reads its setting again.

    Args:
        name: as in `action.event` of a report; empty if there is nothing to report.
    """

    node: str
    name: str = ""
    purge: PurgeCall | None = None


class M2World(SimulatedWorld):
    """The nodes of one cluster; the only mutable state of the simulator.

    Args:
        nodes: name -> initial state.
        choices: the behaviour where M2's pages say nothing.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        nodes: Mapping[str, machine.M2NodeState],
        choices: Choices = DEFAULTS,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.choices = choices
        self._nodes = dict(nodes)
        self._clock = clock
        self._reloaded = dict.fromkeys(nodes, clock())
        # Node -> (requests for which it still shows its previous state, the state after them).
        self._late: dict[str, tuple[int, machine.M2NodeState]] = {}
        self._late_events: dict[str, NodeEvent] = {}
        self._ports = {name: _get_port(node.running) for name, node in nodes.items()}
        self._events: list[NodeEvent] = []
        self._is_watched = False
        self._latest: machine.M2NodeState | None = None
        self._caches: dict[str, NodeCache] = {}
        self.instances: dict[str, tuple[str, ...]] = {}
        """Tag of a list of nodes -> the addresses that the cloud knows for it."""
        self.first_start = 1
        self.starts: dict[str, int] = {}
        """Node -> how often it was started, of those that were started again."""
        self.complaints: deque[tuple[str, str]] = deque(maxlen=1000)
        """(node, sentence) for each answer of the central server that is not as in the manual."""

    @classmethod
    def from_entry(
        cls,
        entry: ClusterEntry,
        documents: Mapping[str, Any],
        *,
        converged: bool,
        choices: Choices = DEFAULTS,
        resources: Mapping[str, bytes] | None = None,
        fresh: Collection[str] = (),
    ) -> M2World:
        """The nodes of a fleet file's cluster.

        Args:
            entry: the cluster. With `deliver: local` or `checkout`, each document is on its node's disk or in
                its git repository, even where the node has not loaded it.
            documents: node name -> its desired `setting.json` as plain data.
            converged: whether the nodes have loaded it; otherwise `choices.factory` decides what they have.
            choices: the behaviour where M2's pages say nothing.
            resources: path -> bytes of the files that go with each document.
            fresh: nodes that have not loaded it even where `converged` is set.

        Raises:
            UsageError: a node would refuse the setting that it should have loaded.
        """
        made: dict[tuple[int, bool], machine.M2NodeState] = {}
        nodes: dict[str, machine.M2NodeState] = {}
        shared: machine.M2NodeState | None = None
        for node in entry.members():
            if node.name not in documents:
                continue
            document, is_converged = documents[node.name], converged and node.name not in fresh
            # Nodes with the same document share one state: a thousand nodes cost one encoded setting.
            key = (id(document), is_converged)
            if key not in made:
                wanted = loaded = machine.NodePackage(encode_canonical(document), dict(resources or {}))
                if not is_converged:
                    port = _get_port(read_json(wanted.text, machine.LIMITS))
                    loaded = machine.NodePackage(encode_canonical(make_factory_setting(port, choices.caller)))
                state = machine.M2NodeState()
                if is_converged or choices.factory:
                    result = machine.upload(state, loaded)
                    if isinstance(result, machine.ChangeRefused):
                        raise UsageError(
                            f"{node.name}: the simulated node refuses its setting: {result.reason}",
                            remedy="correct the setting, or simulate without --converged",
                        )
                    state = shared = share_content(result.node, shared)
                deliver = getattr(entry, "deliver", "upload")
                made[key] = replace(
                    state,
                    local=wanted if deliver == "local" else state.local,
                    repository=wanted if deliver == "checkout" else None,
                )
            nodes[node.name] = made[key]
        return cls(nodes, choices)

    @property
    def names(self) -> Iterable[str]:
        """The nodes' names, in the fleet file's order."""
        return self._nodes.keys()

    def answer(self, node: str, request: NodeRequest) -> Reply:
        """The answer of a node, after the change that the request makes; status 0 closes the connection."""
        if not self.running(node):
            return CLOSED
        if node in self._late:
            left, after = self._late.pop(node)
            if left:
                self._late[node] = (left - 1, after)
            else:
                self._show(node, after, self._late_events.pop(node))
        state = self._nodes[node]
        call = NodeCall(state, request, self.choices, self._reloaded[node], partial(self.cache, node))
        after, reply = answer_request(call)
        if after is not state:
            self._reloaded[node] = self._clock()
            event = NodeEvent(node, f"/_api_{call.path}")
            if self.choices.late:
                self._late[node] = (self.choices.late, after)
                self._late_events[node] = event
            else:
                self._show(node, after, event)
        elif call.path in _PURGES and reply[0] in {200, 201}:
            urls = tuple(call.url.split("|"))
            purge = PurgeCall(
                urls,
                (read_purge_result("|".join(urls), reply[0], reply[2]),),
                is_propagated=PROPAGATED in request.headers,
            )
            self._note(NodeEvent(node, f"/_api_{call.path}", purge))
            if self.choices.queues_purges and "/async/" in call.path:
                return make_queued_purge()
        return reply

    def take_events(self) -> list[NodeEvent]:
        """The events since the last call."""
        self._is_watched = True
        events, self._events = self._events, []
        return events

    def complain(self, node: str, sentence: str) -> None:
        """Note an answer of the central server that is not as in the manual."""
        self.complaints.append((node, sentence))

    def load(self, node: str, package: machine.NodePackage | machine.ChangeRefused) -> Reply:
        """Load a package that the node has fetched; the answer that a caller of the API would get."""
        after, reply = load_package(self._nodes[node], package, self.choices.takes)
        self._change_itself(node, after)
        return reply

    def check_out(self, node: str) -> Reply:
        """Check out the node's git repository, and load it; see `load`."""
        state = self._nodes[node]
        after, reply = answer_change(state, machine.checkout(state), 500)
        self._change_itself(node, after)
        return reply

    def connect_repository(self, node: str, text: bytes) -> None:
        """Connect a git repository with a `setting.json` to the node, and nothing else in it."""
        self._nodes[node] = replace(self._nodes[node], repository=machine.NodePackage(text, {}))

    def purge(self, node: str, request: NodeRequest) -> Reply:
        """Purge by a feed; see `load`."""
        state = self._nodes[node]
        call = NodeCall(state, request, self.choices, self._reloaded[node], partial(self.cache, node))
        return perform_command(call)[1]

    def find_instances(self, tags: str) -> tuple[str, ...]:
        """The addresses that the cloud knows for one of the tags `key=value;`, sorted."""
        named = [tag for tag in tags.split(";") if tag]
        return tuple(sorted({address for tag in named for address in self.instances.get(tag, ())}))

    def get_origin(self, node: str, hosting: str) -> list[str] | None:
        """The origin addresses of a running virtual host; None if there is no such host."""
        hosts = machine.lookup(self._nodes[node].running, "hosting") or ()
        found = [host for host in hosts if machine.lookup(host, "name") == hosting]
        return list(machine.lookup(found[0], "origin.address") or ()) if found else None

    def change_origin(self, node: str, hosting: str, addresses: Sequence[str]) -> None:
        """Change the origin of a running virtual host; the loaded setting stays as it is."""
        self._nodes[node] = machine.change_origin(self._nodes[node], hosting, addresses)
        self._note(NodeEvent(node))

    def _change_itself(self, node: str, after: machine.M2NodeState) -> None:
        if after is not self._nodes[node]:
            self._reloaded[node] = self._clock()
            self._show(node, after, NodeEvent(node))

    def _show(self, node: str, after: machine.M2NodeState, event: NodeEvent) -> None:
        """Set a node's state, and note that its setting is to be read again."""
        after = share_content(replace(after, history=after.history[-self.choices.retention :]), self._latest)
        self._nodes[node] = self._latest = after
        self._note(event)

    def _note(self, event: NodeEvent) -> None:
        if self._is_watched:
            self._events.append(event)

    def cache(self, node: str) -> NodeCache:
        """The cache of a node; it is made of the hosts that run when it is needed first."""
        if node not in self._caches:
            hosts = machine.lookup(self._nodes[node].running, "hosting") or ()
            names = [str(machine.lookup(host, "name")) for host in hosts]
            self._caches[node] = NodeCache(names, self.choices.cached_files)
        return self._caches[node]

    def state(self, node: str) -> machine.M2NodeState:
        """The state of a node, without a change that it does not show yet."""
        return self._nodes[node]

    def place(self, node: str, package: machine.NodePackage) -> None:
        """Put a file on a node's disk, as an operator does; the node does not load it."""
        self._nodes[node] = replace(self._nodes[node], local=package)

    def connect(self, node: str, package: machine.NodePackage) -> None:
        """Connect a git repository to a node, or add a commit to the connected one."""
        self._nodes[node] = replace(self._nodes[node], repository=package)

    def install(self, node: str, package: bytes) -> None:
        unpacked = unpack_package(package)
        if isinstance(unpacked, machine.NodePackage):
            setting = machine.parse_package(unpacked)
            if isinstance(setting, machine.AcceptedSetting):
                self.place(node, unpacked)
                return
            unpacked = setting
        raise UsageError(f"{node}: the node refuses the package: {unpacked.code} {unpacked.reason}")

    def get_starts(self, node: str) -> int:
        """How often a node was started."""
        return self.starts.get(node, self.first_start)

    def kill(self, node: str) -> None:
        self._change(node, machine.kill)
        self._note(NodeEvent(node))

    def start(self, node: str) -> None:
        self._change(node, machine.restart)
        self.starts[node] = self.get_starts(node) + 1
        self._caches.pop(node, None)
        self._note(NodeEvent(node, BOOTUP))

    def running(self, node: str) -> bool:
        return self._nodes[node].up

    def moved(self, node: str) -> int | None:
        """The port of the node after a restart; None where it is the initial one."""
        if self.choices.port is PortChange.STAYS:
            return None
        port = _get_port(self._nodes[node].running)
        return port if port != self._ports[node] else None

    def _change(self, node: str, transition: Callable[[machine.M2NodeState], machine.M2NodeState]) -> None:
        # A change that the node accepted and does not show yet is on its disk: a stop does not undo it.
        _, state = self._late.pop(node, (0, self._nodes[node]))
        self._late_events.pop(node, None)
        self._nodes[node] = transition(state)


def _get_port(document: Any) -> int:
    port = machine.lookup(document, "env.management.api.port")
    return port if isinstance(port, int) else 10040
