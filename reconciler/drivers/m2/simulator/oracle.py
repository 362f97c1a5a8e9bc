"""The oracle of simulated M2 nodes: their true state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from reconciler.core.plan import Step
from reconciler.core.pointer_pattern import Pattern
from reconciler.core.secret import Secret, reveal
from reconciler.core.unmanaged import list_patterns
from reconciler.drivers.m2 import machine
from reconciler.drivers.m2.arguments import is_restart, read_delivery, read_restart
from reconciler.drivers.m2.content import ContentCache
from reconciler.drivers.m2.desired_state import make_desired, stamp_document
from reconciler.drivers.m2.feed_rendering import assign_tokens
from reconciler.drivers.m2.judge import has_files
from reconciler.drivers.m2.package import compute_digests
from reconciler.drivers.m2.schema import Content, ExpectedSetting, M2Cluster
from reconciler.drivers.m2.setting.diagnostics import get_object, get_value
from reconciler.drivers.m2.simulator.world import M2World
from reconciler.ports.cluster_input import ClusterInput
from reconciler.ports.node_store import NodeTokens
from reconciler.ports.simulator import NodeRequest

Nodes = Mapping[str, machine.M2NodeState]

_FEATURES: Final = ("env", "management", "server", "features")


class M2Oracle:
    """Judges by the settings that the nodes have accepted."""

    def __init__(self, cluster_input: ClusterInput, world: M2World) -> None:
        self._cluster_input = cluster_input
        self._world = world
        self._caches: dict[tuple[Pattern, ...], ContentCache] = {}
        self._known: dict[tuple[int, tuple[Pattern, ...]], tuple[machine.AcceptedSetting, Content]] = {}

    def state(self) -> Nodes:
        return {name: self._world.state(name) for name in self._world.names}

    def find_affected_node(self, node: str, request: NodeRequest) -> str:  # noqa: ARG002  (the contract's parameter)
        return node

    def is_repetition(self, node: str, request: NodeRequest, before: Nodes, after: Nodes) -> bool:  # noqa: ARG002
        # The same meaning and the same files: another notation of a setting is no other setting.
        old, new = before[node], after[node]
        if old.loaded is None or new.loaded is None or new.reloads == old.reloads:
            return False
        files = old.loaded.package.resources == new.loaded.package.resources
        return (
            files
            and self._content(node, old.loaded).fingerprint == self._content(node, new.loaded).fingerprint
        )

    def find_broken_invariant(
        self, _node: str, _request: NodeRequest, _before: Nodes, _after: Nodes
    ) -> tuple[str, str]:
        return "", ""  # a single delivery to M2 breaks no invariant

    def is_effective(self, step: Step, seen: Nodes) -> bool:
        node = seen.get(step.node)
        if node is None or node.loaded is None:
            return False
        if is_restart(step):
            own = read_restart(step)
            content = self._content(step.node, node.loaded)
            is_loaded = ExpectedSetting(own.after, own.unstamped).is_met_by(
                content.fingerprint, content.unstamped
            )
            return node.up and is_loaded and not machine.find_waiting_fields(node)
        held = compute_digests(node.loaded.package.resources)
        same = self._content(step.node, node.loaded).fingerprint == read_delivery(step).after
        return same and has_files(held, read_delivery(step).resources) is True

    def list_differences(self) -> list[str]:
        found = []
        entry = self._cluster_input.entry
        assert isinstance(entry, M2Cluster)
        for name, document in sorted(self._cluster_input.documents.items()):
            loaded = self._world.state(name).loaded
            if entry.reporting is None:
                text = stamp_document(reveal(document.value), self._cluster_input)
            else:
                text = self._render(name, loaded, entry.reporting.server)
            wanted = self._get_cache(name).of(text)
            shown = self._content(name, loaded) if loaded is not None else None
            # A node keeps the stamp of the revision that changed its content last, so any stamp counts.
            if (
                shown is None
                or wanted.unstamped != shown.unstamped
                or not (entry.is_stamped or wanted.fingerprint == shown.fingerprint)
            ):
                found.append(f"{name} has another setting than the fleet file gives it")
        return found

    def list_unmanageable_nodes(self, peer: str) -> list[str]:
        request = NodeRequest("GET", "/setting/setting.json", {}, b"", peer)
        running = [name for name in self._world.names if self._world.running(name)]
        return [name for name in running if self._world.answer(name, request)[0] not in {200, 404}]

    def _render(self, name: str, loaded: machine.AcceptedSetting | None, server: str) -> Mapping[str, Any]:
        """The setting of a node with URLs of its own: their token is the one that it shows, if any."""
        token = _find_token(loaded.document, server) if loaded else ""
        desired = assign_tokens(make_desired(self._cluster_input), {name: NodeTokens(Secret(token))})
        target = next(one for one in desired.targets if one.node == name)
        return cast("Mapping[str, Any]", reveal(target.content.document))

    def _get_cache(self, node: str) -> ContentCache:
        """Reads settings without the fields in which the node keeps what it has."""
        patterns = list_patterns(self._cluster_input.unmanaged.get(node, ()))
        return self._caches.setdefault(patterns, ContentCache(unmanaged=patterns))

    def _content(self, node: str, setting: machine.AcceptedSetting) -> Content:
        """The setting's meaning; a setting that many nodes share is read once."""
        cache = self._get_cache(node)
        key = (id(setting), cache.unmanaged)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = (setting, cache.of(setting.document))
        return known[1]


def _find_token(document: Any, server: str) -> str:
    """The token in the URLs of a setting; a node that is told by a message bus may poll for purges alone."""
    features = get_object(document, *_FEATURES)
    urls = (
        get_value(feature, (side, "info", "url"))
        for feature in features.values()
        for side in ("feedback", "feed")
    )
    own = (str(url).removeprefix(f"{server}/") for url in urls if str(url).startswith(f"{server}/"))
    return next(own, "").partition("/")[0]
