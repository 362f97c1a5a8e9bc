"""A fleet of Sora nodes for trying things out, in clusters of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from reconciler.ports.simulator import SocketAddress

MEMBERS: Final = 5
"""Nodes of one made-up Sora cluster; the last one may have 3 to 7, so that each has a majority to lose."""

_FEWEST: Final = 3


def make_sample_fleet(addresses: Sequence[SocketAddress]) -> dict[str, str]:
    """The fleet's files: path -> text; see `ports.simulator.Simulator`."""
    width = max(2, len(str(len(addresses))))
    lines = [f"# {len(addresses)} simulated Sora nodes in clusters of their own.", "clusters:"]
    begun = 0
    for cluster, size in enumerate(_sizes(len(addresses)), start=1):
        lines += [f"  - name: live-{cluster:0{width}}", "    kind: sora", "    initialise: true"]
        lines.append("    nodes:")
        for number in range(begun, begun + size):
            name = f"node-{number + 1:0{width}}@sora-{number + 1:0{width}}.example.com"
            lines.append(f'      - {{name: {name}, api: "http://{addresses[number]}/"}}')
        begun += size
    return {"fleet.yaml": "\n".join(lines) + "\n"}


def _sizes(nodes: int) -> list[int]:
    clusters, rest = divmod(nodes, MEMBERS)
    sizes = [MEMBERS] * clusters
    if rest >= _FEWEST or not clusters:
        sizes.append(rest)
    else:
        sizes[-1] += rest
    return sizes
