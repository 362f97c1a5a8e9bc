"""The part of the demonstration with all products: their files, restarts and memberships, from one fleet."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from reconciler.cli.demo_fixtures import DemoNodes

CHANGES: Final[Mapping[str, tuple[str, str]]] = {
    "edge/setting.json": ('"rr"', '"hash"'),
    "live/sora.conf": ("cluster_affinity_threshold = 20", "cluster_affinity_threshold = 30"),
    "collab/config.json": ('"logging": true', '"logging": false'),
    "scores/values.yaml": ("level: info", "level: debug"),
}
"""File of the desired state -> what a commit changes in it, one for each product."""

FILES: Final[Mapping[str, str]] = {
    "node-02@sora-02.example.com/sora-conf": "cluster_affinity_threshold = 30",
    "collab-2/collab-config": '"logging": false',
    "scores-2/app-config": '"level": "debug"',
}
"""File of a node -> what it has after that commit."""


class ProductsDemo:
    """A fleet with M2, Sora, Collaboration Servers with Redis and nginx, and a Go cluster.

    Args:
        folder: for everything that it writes.
        nodes: serves the simulated nodes.
    """

    def __init__(self, folder: Path, nodes: DemoNodes) -> None:
        from reconciler.cli.demo_fixtures import DemoRepository, find_examples  # noqa: PLC0415  (heavy)

        folder.mkdir()
        self._machines = folder / "machines"
        self.host_file = self._machines / "host.yaml"
        self.state = folder / "state"
        self.repository: DemoRepository = DemoRepository(folder / "products", find_examples() / "products")
        self.first = self.repository.commit("All four products")
        nodes.serve(self.repository.folder, machines=self._machines)

    def commit_changes(self) -> str:
        """Commit one change for each product; gives the short id."""
        for name, change in CHANGES.items():
            self.repository.edit(name, partial(_replace, *change))
        return self.repository.commit("Something new for each product")

    def list_missing_changes(self) -> list[str]:
        """Files of nodes that do not have what the commit changed."""
        texts = {name: (self._machines / name).read_text(encoding="utf-8") for name in FILES}
        return [name for name, wanted in FILES.items() if wanted not in texts[name]]


def _replace(old: str, new: str, text: str) -> str:
    return text.replace(old, new)
