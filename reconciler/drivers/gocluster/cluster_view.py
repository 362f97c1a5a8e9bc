"""What is known of each node of a cluster, from its answer and the views of the others; pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from reconciler.core.observation import Liveness, Observation, Observed, Present, Unreachable
from reconciler.drivers.gocluster.machine import GoNodeState, MeshState, make_state
from reconciler.drivers.gocluster.mesh import Mesh
from reconciler.drivers.gocluster.view import NodeView

NODE_NAME: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z._@\-]{0,252}")
"""Names that a fleet file may have; a view may show any text."""


class Process(StrEnum):
    """Whether a node runs."""

    RUNNING = "running"
    DOWN = "down"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ClusterView:
    """The answers of one cluster's nodes.

    Args:
        members: node -> its address, of the nodes that the fleet file names.
        observed: their answers.
    """

    members: Mapping[str, str]
    observed: Observed[NodeView | None]

    @property
    def mesh(self) -> Mesh:
        """The views of those that answered."""
        views = {
            name: view
            for name, view in self.observed.present().items()
            if view is not None and name in self.members
        }
        return Mesh(self.members, views, self.observed.reserved)

    def get_process(self, node: str) -> Process:
        """Whether a node runs; what is silent, and seen by nobody, is down."""
        answer = self.observed.nodes.get(node)
        if isinstance(answer, Present):
            return Process.RUNNING
        is_silent = isinstance(answer, Unreachable) and answer.liveness is Liveness.SILENT
        if is_silent and not self.mesh.is_seen_online(node):
            return Process.DOWN
        return Process.UNKNOWN

    def describe_answer(self, node: str) -> str:
        """The answer of a node, for people."""
        answer: Observation[NodeView | None] | None = self.observed.nodes.get(node)
        if answer is None:
            return "it was not asked"
        return getattr(answer, "reason", "") or "it answered"

    def list_unknown(self, but: Iterable[str] = ()) -> tuple[str, ...]:
        """Members of which it is not known whether they run."""
        left_out = frozenset(but)
        return tuple(
            name
            for name in sorted(self.members)
            if name not in left_out and self.get_process(name) is Process.UNKNOWN
        )

    def list_leaving(self) -> tuple[str, ...]:
        """Nodes that run, as views or their own APIs show, and that the fleet file does not name."""
        mesh = self.mesh
        seen = {name for name in mesh.list_extra() if mesh.is_seen_online(name)}
        return tuple(sorted(seen.union(self.observed.present().keys() - self.members.keys())))

    def make_state(self, files: Mapping[str, frozenset[str]] | None = None) -> MeshState:
        """The state that the answers show: who is not known to run counts as down.

        Args:
            files: node -> the peers of the file that its next start loads; without it, the running ones.
        """
        mesh, wanted = self.mesh, files or {}
        reserved = self.observed.reserved
        nodes = []
        for name in self.members:
            shown = mesh.views.get(name)
            default = frozenset(self.members) - {name}
            file_peers = wanted.get(name, default)
            peers = frozenset(row.name for row in shown.peers) if shown is not None else file_peers
            nodes.append(
                GoNodeState(
                    name,
                    up=shown is not None and name not in reserved,
                    peers=peers,
                    file_peers=file_peers,
                )
            )
        for name in sorted({*mesh.list_extra(), *self.list_leaving()}):
            peers = frozenset(one for one, view in mesh.views.items() if view.peer(name) is not None)
            is_up = name in self.list_leaving() and name not in reserved
            nodes.append(GoNodeState(name, is_up, peers, file_peers=peers, is_counted=False))
        broken = {
            (min(name, row.name), max(name, row.name))
            for name, view in mesh.views.items()
            for row in view.peers
            if not row.is_online and row.name != name
        }
        known = {
            (min(name, row.name), max(name, row.name))
            for name, view in mesh.views.items()
            for row in view.peers
            if row.is_online
        }
        return make_state(nodes, broken, known)
