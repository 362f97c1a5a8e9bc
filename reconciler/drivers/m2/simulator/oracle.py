"""What really happened to simulated M2 nodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from reconciler.core.plan import Step
from reconciler.core.secret import reveal
from reconciler.drivers.m2 import machine
from reconciler.drivers.m2.arguments import read_delivery
from reconciler.drivers.m2.content import ContentCache
from reconciler.drivers.m2.desired_state import stamp_document
from reconciler.drivers.m2.judge import has_files
from reconciler.drivers.m2.package import compute_digests
from reconciler.drivers.m2.schema import Content, M2Cluster
from reconciler.drivers.m2.simulator import M2World
from reconciler.ports.cluster_input import ClusterInput
from reconciler.ports.simulator import NodeRequest

Nodes = Mapping[str, machine.M2NodeState]


class M2Oracle:
    """Judges by the settings that the nodes have accepted."""

    def __init__(self, cluster_input: ClusterInput, world: M2World) -> None:
        self._desk = cluster_input
        self._world = world
        self._contents = ContentCache()
        self._known: dict[int, tuple[machine.AcceptedSetting, Content]] = {}

    def state(self) -> Nodes:
        """Every node."""
        return {name: self._world.state(name) for name in self._world.names}

    def about(self, node: str, request: NodeRequest) -> str:  # noqa: ARG002  (the contract's parameter)
        """The node that was asked."""
        return node

    def repeated(self, node: str, request: NodeRequest, before: Nodes, after: Nodes) -> bool:  # noqa: ARG002
        """Whether a node accepted what it had: the same meaning, the same files."""
        old, new = before[node], after[node]
        if old.loaded is None or new.loaded is None or new.reloads == old.reloads:
            return False
        files = old.loaded.package.resources == new.loaded.package.resources
        return files and self._print(old.loaded) == self._print(new.loaded)

    def broken(self, node: str, request: NodeRequest, before: Nodes, after: Nodes) -> tuple[str, str]:  # noqa: ARG002
        """Nothing that a single delivery could break."""
        return "", ""

    def effective(self, step: Step, seen: Nodes) -> bool:
        """Whether the node had the setting that the step is for, and its files."""
        node = seen.get(step.node)
        if node is None or node.loaded is None:
            return False
        held = compute_digests(node.loaded.package.resources)
        same = self._print(node.loaded) == read_delivery(step).after
        return same and has_files(held, read_delivery(step).resources) is True

    def unlike(self) -> list[str]:
        """Nodes with another setting."""
        return list(self._unlike())

    def _unlike(self) -> Iterator[str]:
        for name, document in sorted(self._desk.documents.items()):
            wanted = self._contents.of(stamp_document(reveal(document.value), self._desk))
            loaded = self._world.state(name).loaded
            if loaded is None or not self._has(loaded, wanted):
                yield f"{name} has another setting than the fleet file gives it"

    def _has(self, setting: machine.AcceptedSetting, wanted: Content) -> bool:
        """Whether a node has a setting, with whichever stamp where one is."""
        assert isinstance(self._desk.entry, M2Cluster)
        shown = self._content(setting)
        return wanted.unstamped == shown.unstamped and (
            self._desk.entry.is_stamped or wanted.fingerprint == shown.fingerprint
        )

    def unmanageable(self, peer: str) -> list[str]:
        """Running nodes that turn this host away."""
        return [
            name for name in self._world.names if self._world.running(name) and not self._admits(name, peer)
        ]

    def _admits(self, node: str, peer: str) -> bool:
        status, _, _ = self._world.answer(
            node, "GET", "/setting/setting.json", headers={}, body=b"", peer=peer
        )
        return status in {200, 404}

    def _print(self, setting: machine.AcceptedSetting) -> str:
        return self._content(setting).fingerprint

    def _content(self, setting: machine.AcceptedSetting) -> Content:
        """The setting's meaning; a setting that many nodes share is read once."""
        known = self._known.get(id(setting))
        if known is None:
            known = self._known[id(setting)] = (setting, self._contents.of(setting.document))
        return known[1]
