"""What is doubtful, though not wrong, in the entry of a Go cluster; pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from reconciler.diagnostic import Diagnostic, Severity
from reconciler.documents.document import make_diagnostic
from reconciler.drivers.gocluster.desired_state import load_template
from reconciler.drivers.gocluster.quorum import count_needed
from reconciler.drivers.gocluster.schema import GoCluster
from reconciler.ports.cluster_input import ClusterInput

CODES: Final = frozenset({"mesh-of-two", "even-mesh", "admin-name", "template-without-peers"})

_ADMIN_LETTERS: Final = frozenset("/apiv1cluster")
"""The library trims these from the path of an admin call, with the name if it has no others."""


def lint(cluster_input: ClusterInput) -> Iterator[Diagnostic]:
    """Warnings about one cluster: its size, names without an admin API, a template without peers."""
    entry = cluster_input.entry
    assert isinstance(entry, GoCluster)
    count = len(entry.nodes)
    survived = count - 1 - count_needed(count - 1)
    if count == 2:  # noqa: PLR2004
        words = f"{entry.name} has two nodes: each always has a quorum in its own view, also when it is alone"
        yield _warn(cluster_input, "nodes", "mesh-of-two", words, "use three nodes")
    elif count % 2 == 0:
        words = f"{entry.name} has {count} nodes and survives the loss of {survived}, the same as {count - 1}"
        remedy = f"use {count + 1}, which survive the loss of {survived + 1}, or {count - 1}"
        yield _warn(cluster_input, "nodes", "even-mesh", words, remedy)
    for index, node in enumerate(entry.nodes):
        if _ADMIN_LETTERS.issuperset(node.name):
            words = f"every admin call for {node.name} is answered 501: it has only letters of the path"
            remedy = "use a name with another character, such as a hyphen"
            yield _warn(cluster_input, f"nodes/{index}/name", "admin-name", words, remedy)
    template = load_template(cluster_input)
    names = ("peers", "peer_addresses")
    if count > 1 and template is not None and not any(map(template.uses, names)):
        words = f"the template {entry.config.template} has no `peers`, so nodes do not learn of each other"
        remedy = "use {{peers}} or {{peer_addresses}}"
        yield _warn(cluster_input, "config/template", "template-without-peers", words, remedy)


def _warn(cluster_input: ClusterInput, place: str, code: str, message: str, remedy: str) -> Diagnostic:
    pointer, severity = f"{cluster_input.pointer}/{place}", Severity.WARNING
    return make_diagnostic(cluster_input.fleet, pointer, code, message, remedy, severity=severity)
