"""A simulated Go cluster: the state machine, with the delays of the library and the locks of reads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from reconciler.drivers.gocluster import machine
from reconciler.drivers.gocluster.choices import DEFAULTS, Choices, DuplicateName, UnknownNames
from reconciler.drivers.gocluster.desired_state import NodeFile
from reconciler.drivers.gocluster.go_duration import parse_go_duration
from reconciler.drivers.gocluster.machine import GoNodeState, MeshState
from reconciler.drivers.gocluster.quorum import has_quorum
from reconciler.drivers.gocluster.schema import GoSettings
from reconciler.drivers.gocluster.simulator.loaded_file import LoadedFile, UnusableFile, load_file
from reconciler.drivers.gocluster.view import NEVER, OFFLINE, ONLINE, PeerRow
from reconciler.ports.simulated_machine import SimulatedFile, SimulatedMachine
from reconciler.ports.simulator import SimulatedWorld

_REFUSED: Final = "connection refused"


def tell_seconds() -> float:
    """Seconds of the running event loop, which a trial lets skip waits; elsewhere of the computer."""
    try:
        return asyncio.get_running_loop().time()
    except RuntimeError:
        return time.monotonic()


@dataclass(slots=True)
class Link:
    """A connection between two nodes.

    Args:
        since: when both had accepted it.
        until: when it is dropped, because nothing is read any more; None if it works.
    """

    since: float
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Stranger:
    """A process outside the cluster that has joined a node, by the name that it gave."""

    name: str
    address: str


@dataclass(slots=True)
class GoSite:
    """What the nodes of a cluster are.

    Args:
        addresses: node -> where it listens.
        entry: name of the file in `files` of the host configuration.
        settings: of the library.
        wanted: node -> the files that fleet files want it to have.
        signing_key: of the API's tokens.
        choices: what nodes do where the documents are silent.
    """

    addresses: Mapping[str, str]
    entry: str
    settings: GoSettings
    wanted: Mapping[str, tuple[NodeFile, ...]]
    signing_key: str = "simulated"
    choices: Choices = DEFAULTS
    log: list[str] = field(default_factory=list)


class GoWorld(SimulatedWorld):
    """The nodes, and what can happen to them.

    Args:
        site: the nodes.
        contents: node -> the content of its file at first; None for a node that is not installed.
        up: nodes that run at first.
        starts: how often each of them counts as started.
        clock: seconds, for the delays.
        now: the present moment, for `jointime`.
    """

    def __init__(
        self,
        site: GoSite,
        contents: Mapping[str, bytes | None],
        up: Iterable[str],
        *,
        starts: int = 1,
        clock: Callable[[], float] = tell_seconds,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.site, self._clock = site, clock
        self._epoch = now().timestamp() - clock()
        self.machines = {
            name: SimulatedMachine({site.entry: SimulatedFile(contents.get(name))}, starts=starts - 1)
            for name in site.addresses
        }
        self._state = machine.make_state(GoNodeState(name, False, frozenset()) for name in site.addresses)
        self.links: dict[tuple[str, str], Link] = {}
        self.locks: dict[str, int] = dict.fromkeys(site.addresses, 0)
        """Node -> read locks that its process will never release."""
        self.frozen: set[str] = set()
        """Nodes whose library waits for a lock for good, so that no call of it returns."""
        self.strangers: dict[str, dict[str, Stranger]] = {name: {} for name in site.addresses}
        self._halves = 0
        self._half_until: dict[str, float] = {}
        for name in up:
            self.start(name)
        # What runs at first has been running: its links are old.
        for link in self.links.values():
            link.since -= 3600

    @property
    def state(self) -> MeshState:
        """The machine state, with each file as it is now."""
        state = self._state
        for name in state.names:
            try:
                loaded = self._load(name)
            except UnusableFile:
                continue
            state = machine.switch_file(state, name, loaded.peers, loaded.auth)
        return state

    @property
    def noticed_state(self) -> MeshState:
        """The same as the nodes know it: who is cut off counts until the others drop the links."""
        state = self.state
        for node in state.nodes:
            is_shown = any(node.name in pair and self._find_link(*pair) for pair in list(self.links))
            if node.is_cut and is_shown:
                state = machine.replace_node(state, node._replace(is_cut=False))
        return state

    @property
    def names(self) -> tuple[str, ...]:
        """All nodes, sorted."""
        return self._state.names

    def running(self, node: str) -> bool:
        return self._state.node(node).up

    def kill(self, node: str) -> None:
        self._state = machine.stop(self._state, node)
        self.machines[node].stop()
        self.strangers[node] = {}
        self.locks[node] = 0
        self.frozen.discard(node)
        self._refresh()

    def start(self, node: str) -> None:
        if self.running(node):
            return
        try:
            loaded = self._load(node)
        except UnusableFile:
            return
        self.machines[node].start()
        ready = machine.switch_file(self._state, node, loaded.peers, loaded.auth)
        self._state = machine.start(ready, node)
        self._half_until.pop(node, None)
        if self._halves:
            self._halves -= 1
            waits = (self.site.settings.read_timeout, self.site.settings.connect_interval)
            self._half_until[node] = self._clock() + sum(map(self._seconds, waits))
        self._refresh()

    def isolate(self, node: str) -> None:
        self._state = machine.replace_node(self._state, self._state.node(node)._replace(is_cut=True))
        self._refresh()

    def rejoin(self, node: str) -> None:
        self._state = machine.replace_node(self._state, self._state.node(node)._replace(is_cut=False))
        self._refresh()

    def join_halfway(self, times: int = 1) -> None:
        """The next nodes that start show nobody until ReadTimeout is over, while the others show them."""
        self._halves += times

    def join_stranger(self, node: str, name: str, address: str) -> bool:
        """Another process joins a node by some name; whether its connection is kept.

        Of two connections of one name, that with the smaller `ip:port` as text is kept, or the first one.
        """
        own = self._state.node(node)
        if not own.up or own.is_deaf:
            return False
        is_known = name in own.peers
        if not is_known and self.site.choices.unknown_names is UnknownNames.REFUSE:
            return False
        other = self.strangers[node].get(name)
        rival = other.address if other is not None else ""
        if is_known and other is None and self.is_connected(node, name):
            rival = self.site.addresses[name]
        is_first = self.site.choices.duplicate_name is DuplicateName.FIRST
        if rival and (is_first or rival <= address):
            return False
        self.strangers[node][name] = Stranger(name, address)
        return True

    def try_secret(self, node: str) -> None:
        """Somebody calls a node with a wrong secret: it accepts no connection until it is restarted."""
        own = self._state.node(node)
        if own.up:
            self._state = machine.replace_node(self._state, own._replace(is_deaf=True))

    def add_node(self, node: str) -> bool:
        """The application calls AddNode; whether that returns: a leaked read lock freezes it for good."""
        if self.locks[node]:
            self.frozen.add(node)
        return node not in self.frozen

    def is_connected(self, node: str, peer: str) -> bool:
        """Whether a link is there and was announced."""
        link = self._find_link(node, peer)
        if link is None or self._clock() < self._half_until.get(node, 0.0):
            return False
        return self._clock() >= link.since + self._seconds(self.site.settings.join_delay)

    def has_quorum(self, node: str) -> bool:
        """The quorum as the library counts it: connected nodes that are not configured count, too."""
        own = self._state.node(node)
        connected = {name for name in self.names if name != node and self.is_connected(node, name)}
        return has_quorum(len(own.peers), len(connected | self.strangers[node].keys()))

    def list_rows(self, node: str) -> tuple[PeerRow, ...]:
        """What the API of a node shows; each call leaves a lock."""
        self.locks[node] += 1
        return tuple(self._make_row(node, peer) for peer in sorted(self._state.node(node).peers))

    def _make_row(self, node: str, peer: str) -> PeerRow:
        address, link = self.site.addresses.get(peer, ""), self._find_link(node, peer)
        if link is None or not self.is_connected(node, peer):
            # A link is Offline until JoinDelay is over, then Online.
            return PeerRow(peer, address, OFFLINE, "" if link is not None else _REFUSED, NEVER)
        begun = link.since + self._seconds(self.site.settings.join_delay)
        age = self._clock() - begun
        # From the moment of the link, so that each reading shows the same time.
        joined = datetime.fromtimestamp(self._epoch + begun, UTC)
        text = f"{joined:%Y-%m-%dT%H:%M:%S}.{int(begun * 1e9) % 10**9:09d}Z"
        packets = 1 + int(age / self._seconds(self.site.settings.ping_interval))
        return PeerRow(peer, address, ONLINE, "", text, 485_910, packets)

    def _find_link(self, node: str, peer: str) -> Link | None:
        pair = (min(node, peer), max(node, peer))
        link = self.links.get(pair)
        if link is not None and link.until is not None and self._clock() >= link.until:
            del self.links[pair]
            return None
        return link

    def _refresh(self) -> None:
        """Make and drop links after a change."""
        state, now = self._state, self._clock()
        for number, one in enumerate(state.nodes):
            for other in state.nodes[number + 1 :]:
                pair = (one.name, other.name)
                link = self._find_link(*pair)
                if machine.can_link(state, one, other, self.site.choices):
                    if link is None:
                        self.links[pair] = Link(now + self._seconds(self.site.settings.connect_interval))
                    else:
                        link.until = None
                elif link is not None and not (one.up and other.up):
                    # A process that ends is noticed at once.
                    del self.links[pair]
                elif link is not None and (one.is_cut or other.is_cut) and link.until is None:
                    link.until = now + self._seconds(self.site.settings.read_timeout)

    def _load(self, node: str) -> LoadedFile:
        file = self.machines[node].files[self.site.entry]
        return load_file(file.content, node, self.site.addresses, self.site.wanted.get(node, ()))

    @staticmethod
    def _seconds(duration: str) -> float:
        return parse_go_duration(duration) / 1e9
