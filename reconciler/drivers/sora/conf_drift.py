"""Values of sora.conf that a running node shows, compared with its file; pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from reconciler.core.canonical import fingerprint
from reconciler.core.observation import Present
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.drivers.sora.cluster_view import ClusterView
from reconciler.drivers.sora.schema import NodeRow, SoraDesired

RESTARTED_FOR: Final = "restarted_for"
"""Fact of a node: fingerprint of the shown keys of its sora.conf when a run restarted it last."""

_SHOWN: Final = {"external_signaling_url": "signaling", "external_api_url": "api"}
"""Key -> field of `NodeRow`: what ListClusterNodes shows of a sora.conf, beside name, kind and version."""


def fingerprint_shown_keys(desired: SoraDesired, node: str) -> str:
    """Fingerprint of the keys that the node shows, as desired; empty if none is."""
    wanted = _list_wanted(desired, node)
    return fingerprint(wanted)[:16] if wanted else ""


def find_unused_keys(desired: SoraDesired, cluster_view: ClusterView, node: str) -> Iterator[str]:
    """What the node itself shows otherwise than its sora.conf says, in words."""
    answer = cluster_view.observed.nodes.get(node)
    row: NodeRow | None = answer.value.row(node) if isinstance(answer, Present) else None
    for key, wanted in _list_wanted(desired, node).items():
        shown = getattr(row, _SHOWN[key]) if row is not None else None
        # A slash at the end means nothing; what a node does not show says nothing.
        if shown and shown.rstrip("/") != wanted.rstrip("/"):
            yield f"{key} is {shown} in place of {wanted}"


def was_restarted_for(desired: SoraDesired, node: str) -> bool:
    """Whether a run has restarted the node since these values were desired."""
    wanted = fingerprint_shown_keys(desired, node)
    return bool(wanted) and desired.recalled.get(node, {}).get(RESTARTED_FOR) == wanted


def report_unused_keys(desired: SoraDesired, node: str, words: str) -> Diagnostic:
    """The finding that a node does not use its file, and that no restart of this run changes that."""
    if was_restarted_for(desired, node):
        why, remedy = "although it was restarted with it", "look at the log of the node"
    else:
        why, remedy = "so it was started before the file was changed", "restart it"
    return Diagnostic(
        Severity.ERROR,
        "conf-not-used",
        f"{node} does not use its sora.conf, {why}: {words}",
        remedy,
        target=f"{desired.entry.name}/{node}",
    )


def _list_wanted(desired: SoraDesired, node: str) -> dict[str, str]:
    values = desired.confs[node].values if node in desired.confs else {}
    return {key: value for key in _SHOWN if isinstance(value := values.get(key), str)}
