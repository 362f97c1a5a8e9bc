"""Import of live M2 nodes: their cluster entry, and the settings that they have loaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reconciler.core.endpoint import InvalidAddress, parse_endpoint
from reconciler.core.observation import Absent, Observed, Present
from reconciler.drivers.m2.schema import LoadedSetting, M2Desired
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
    """The settings that the nodes have loaded, with what waits for a restart."""
    if desired.entry.reporting is not None:
        # They would bring the tokens of the nodes into files that many people read.
        words = "the settings of its nodes have URLs with tokens that no file may have"
        return LiveState(missing=(words,))
    documents, missing = {}, []
    for target in desired.targets:
        answer = observed.nodes.get(target.node)
        if isinstance(answer, Present):
            documents[target.node] = answer.value.content.document
        elif isinstance(answer, Absent):
            missing.append(f"{target.node} has no setting loaded")
        else:
            reason = getattr(answer, "reason", "") or "it was not asked"
            missing.append(f"{target.node} cannot be read: {reason}")
    return LiveState(documents, missing=tuple(missing))
