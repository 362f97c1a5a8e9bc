"""Simulated Sora clusters for the host."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from reconciler.drivers.sora.choices import Choices
from reconciler.drivers.sora.simulator.world import SoraWorld
from reconciler.ports.desk import Desk
from reconciler.ports.simulator import Address, Reply, Request, Served, without_tls


class SoraServed(Served):
    """Sora: one path, requests differ by the header `x-sora-target`."""

    def __init__(self, desk: Desk, *, converged: bool, choices: Choices, fresh: Collection[str]) -> None:
        outside = [node.name for node in desk.entry.members() if node.name in fresh]
        self._world = SoraWorld.from_entry(desk.entry, converged=converged, outside=outside, choices=choices)
        self.addresses = {
            node.name: _place(node.name, getattr(node, "api", "")) for node in desk.entry.members()
        }

    @property
    def world(self) -> SoraWorld:
        """The nodes."""
        return self._world

    def answer(self, node: str, request: Request) -> Reply:
        """What the node answers, and the change it makes."""
        return self._world.answer(
            node, request.headers.get("x-sora-target", ""), request.method, request.body
        )

    def asked(self, request: Request) -> str:
        """The value of `x-sora-target`."""
        return request.headers.get("x-sora-target", "")

    def changes(self, request: Request) -> bool:
        """Whether it is anything but a getter or a list."""
        return not self.asked(request).partition(".")[2].startswith(("Get", "List"))

    def refusal(self) -> Reply:
        """How a node says no to a change."""
        return 400, {"Content-Type": "application/json"}, b'{"error_type":"REFUSED-ON-REQUEST"}'


def _place(node: str, url: str) -> Address:
    parts = urlsplit(url)
    return without_tls(node, parts.scheme, Address(parts.hostname or url, parts.port or 80))
