"""What is doubtful, though not wrong, in the entry of a Sora cluster; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from reconciler.core.secret import reveal
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.documents.document import make_diagnostic
from reconciler.drivers.sora.cluster_state import compute_quorum
from reconciler.drivers.sora.schema import SoraCluster
from reconciler.ports.cluster_input import ClusterInput
from reconciler.text.json_pointer import make_pointer
from reconciler.text.suggestions import find_nearest

CODES: Final = frozenset(
    {"small-cluster", "even-cluster", "node-name-without-dot", "conf-uneven", "conf-similar-key"}
)

_EVEN: Final = ("cluster_relay", "default_cluster_affinity", "cluster_affinity_threshold")
"""Keys that decide where a connection goes: with different values, that depends on the node it reaches."""

KNOWN: Final = (
    *("cluster", "node_name", "external_signaling_url", "external_api_url", "cluster_relay"),
    *("default_cluster_affinity", "cluster_affinity_threshold", "cluster_temporary_node"),
    *("cluster_listen_min_port", "cluster_listen_max_port", "api_port", "license_file"),
)
"""The fields of `conf.SoraConfKeys`, which most fleets need not load."""

SMALLEST: Final = 3
"""Regular nodes of the smallest cluster that survives the loss of one."""


def lint(cluster_input: ClusterInput) -> Iterator[Diagnostic]:
    """Warnings about one cluster: its size, and names by which its nodes cannot reach each other."""
    assert isinstance(cluster_input.entry, SoraCluster)
    count = len(cluster_input.entry.regular)
    survived = count - compute_quorum(count)
    if 0 < count < SMALLEST:  # none at all is an error of its own
        nodes = "1 regular node" if count == 1 else f"{count} regular nodes"
        message = f"{cluster_input.entry.name} has {nodes}: if one fails, the cluster fails"
        yield _make_warning(
            cluster_input, "nodes", "small-cluster", message, "use at least three regular nodes"
        )
    elif count and count % 2 == 0:
        message = (
            f"{cluster_input.entry.name} has {count} regular nodes and survives the loss of {survived}, "
            f"the same as {count - 1}"
        )
        remedy = f"use {count + 1}, which survive the loss of {survived + 1}, or {count - 1}"
        yield _make_warning(cluster_input, "nodes", "even-cluster", message, remedy)
    for index, node in enumerate(cluster_input.entry.nodes):
        host = node.name.rpartition("@")[2]
        if "." not in host:
            message = f"the host after the @ of {node.name} has no dot, so other nodes cannot reach it"
            remedy = f"write a full domain name or an IP address, such as {node.name}.example.com"
            yield _make_warning(
                cluster_input, f"nodes/{index}/name", "node-name-without-dot", message, remedy
            )
    yield from _find_uneven_keys(cluster_input)
    yield from _find_similar_keys(cluster_input)


def _find_uneven_keys(cluster_input: ClusterInput) -> Iterator[Diagnostic]:
    documents = {id(one): one for one in cluster_input.documents.values() if isinstance(one.value, Mapping)}
    for key in _EVEN:
        given = [(str(reveal(one.value.get(key))), one) for one in documents.values()]
        if len({text for text, _ in given}) > 1:
            document = next(one for _, one in given if key in one.value)
            yield make_diagnostic(
                document,
                make_pointer((key,)),
                "conf-uneven",
                f"the nodes of {cluster_input.entry.name} have different values of {key}",
                "give all nodes of a cluster the same value",
                severity=Severity.WARNING,
            )


def _find_similar_keys(cluster_input: ClusterInput) -> Iterator[Diagnostic]:
    """Keys that look like a documented one: Sora would not know them."""
    documents = {id(one): one for one in cluster_input.documents.values() if isinstance(one.value, Mapping)}
    told: set[str] = set()
    for document in documents.values():
        for key in document.value:
            if key in KNOWN or key in told:
                continue
            told.add(key)
            # Most keys of a sora.conf are not in the clustering documents: only a slip of the pen is told.
            if near := find_nearest(key, KNOWN, cutoff=0.92):
                yield make_diagnostic(
                    document,
                    make_pointer((key,)),
                    "conf-similar-key",
                    f"the key {key} looks like {near}",
                    f"write {near}, if that is meant",
                    severity=Severity.WARNING,
                )


def _make_warning(
    cluster_input: ClusterInput, place: str, code: str, message: str, remedy: str
) -> Diagnostic:
    pointer, severity = f"{cluster_input.pointer}/{place}", Severity.WARNING
    return make_diagnostic(cluster_input.fleet, pointer, code, message, remedy, severity=severity)
