"""Import of live M2 nodes: their cluster entry, and the settings that they have loaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reconciler.core.endpoint import InvalidAddress, parse_endpoint
from reconciler.core.entries import Polling, Reporting
from reconciler.core.observation import Absent, Observed, Present
from reconciler.drivers.m2.feed_rendering import find_central_server, strip_feeds
from reconciler.drivers.m2.schema import LoadedSetting, M2Desired
from reconciler.drivers.m2.unmanaged import strip_values
from reconciler.errors import UsageError
from reconciler.ports.driver import LiveState


def make_entry(name: str, addresses: Sequence[str]) -> dict[str, Any]:
    """The entry of a cluster with nodes at these addresses, numbered in their order.

    Raises:
        UsageError: an address is invalid.
    """
    # Two digits at least: the names sort in their order, also after the cluster has grown.
    width = max(2, len(str(len(addresses))))
    nodes = []
    for number, address in enumerate(addresses, 1):
        try:
            parse_endpoint(address)
        except InvalidAddress as error:
            raise UsageError(f'--m2 {name}: "{address}" {error.message}', remedy=error.remedy) from error
        nodes.append({"name": f"{name}-{number:0{width}}", "address": address})
    return {"name": name, "kind": "m2", "setting": f"{name}/base.json", "nodes": nodes}


def read_live_settings(desired: M2Desired, observed: Observed[LoadedSetting]) -> LiveState:
    """The settings that the nodes have loaded, with what waits for a restart.

    Nodes that call a watch have URLs with their tokens, which no file may have: they are left out, and the
    entry of the cluster renders them again.
    """
    found: dict[str, Any] = {}
    missing: list[str] = []
    for target in desired.targets:
        answer = observed.nodes.get(target.node)
        if isinstance(answer, Present):
            found[target.node] = answer.value.content.document
        elif isinstance(answer, Absent):
            missing.append(f"{target.node} has no setting loaded")
        elif not target.bases:
            missing.append(f"{target.node} polls and has no address at which it could be read")
        else:
            reason = getattr(answer, "reason", "") or "it was not asked"
            missing.append(f"{target.node} cannot be read: {reason}")
    found = strip_values(desired, found)
    entry: dict[str, Any] = {}
    points: tuple[str, ...] = ()
    reporting = desired.entry.reporting
    if reporting is None:
        servers = sorted({find_central_server(document) for document in found.values()})
        if len(servers) > 1:
            names = ", ".join(server or "no watch" for server, _ in servers)
            missing.append(f"its nodes call different servers ({names}): they need a cluster for each")
        elif servers and servers[0][0]:
            server, polls = servers[0]
            own = {"server": server}
            entry = {"deliver": "poll", "poll": own} if polls else {"reports": own}
            reporting = Polling.model_validate(own) if polls else Reporting.model_validate(own)
            words = (
                f"{desired.entry.name}: its nodes {'poll' if polls else 'report to'} {server}; only the host "
                "that gave them their tokens knows these. The watch of another host gives them new ones with "
                "its first run"
            )
            points = (words,)
    if reporting is not None:
        found = {node: strip_feeds(document, reporting) for node, document in found.items()}
    return LiveState(found, missing=tuple(missing), open_points=points, entry=entry)
