"""Simulated Sora clusters for the host."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from urllib.parse import urlsplit

from reconciler.drivers.sora.simulator.world import SoraWorld
from reconciler.ports.desk import Desk
from reconciler.ports.simulator import Address, Reply, Request
from reconciler.simulation.addresses import without_tls


class SoraServed:
    """Sora: one path, requests differ by the header `x-sora-target`."""

    def __init__(self, desk: Desk, *, converged: bool, choices: Any, fresh: Collection[str]) -> None:
        outside = [node.name for node in desk.entry.members() if node.name in fresh]
        given = {} if choices is None else {"choices": choices}
        self.world = SoraWorld.from_entry(desk.entry, converged=converged, outside=outside, **given)
        self.addresses = {
            node.name: _place(node.name, getattr(node, "api", "")) for node in desk.entry.members()
        }

    def answer(self, node: str, request: Request) -> Reply:
        """What the node answers, and the change it makes."""
        return self.world.answer(node, request.headers.get("x-sora-target", ""), request.method, request.body)

    def asked(self, request: Request) -> str:
        """The value of `x-sora-target`."""
        return request.headers.get("x-sora-target", "")

    def changes(self, request: Request) -> bool:
        """Whether it is anything but a getter or a list."""
        return not self.asked(request).partition(".")[2].startswith(("Get", "List"))

    def refusal(self) -> Reply:
        """How a node says no to a change."""
        return 400, {"Content-Type": "application/json"}, b'{"error_type":"REFUSED-ON-REQUEST"}'

    def moved(self, node: str) -> int | None:  # noqa: ARG002  (the contract's parameter)
        """None: a node's port is not part of its state."""
        return None


def _place(node: str, url: str) -> Address:
    parts = urlsplit(url)
    return without_tls(node, parts.scheme, Address(parts.hostname or url, parts.port or 80))
