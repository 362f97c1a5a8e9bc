"""The mode of each node: set if the fleet file says so, not changed if the node may have set it itself."""

from __future__ import annotations

from reconciler.core.plan import Step
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.drivers.sora.cluster_view import ClusterView
from reconciler.drivers.sora.membership import Membership
from reconciler.drivers.sora.schema import SoraDesired, SoraNode
from reconciler.drivers.sora.steps import BLOCKED, StepContext, make_mode_step

SELF_BLOCKED = "block_new_connection"
"""The mode that a node also takes by itself after a file operation has failed."""


def plan_modes(desired: SoraDesired, cluster_view: ClusterView) -> tuple[list[Step], list[Diagnostic]]:
    """Steps for the nodes whose mode differs from the fleet file, findings for those left alone."""
    steps: list[Step] = []
    findings: list[Diagnostic] = []
    for node in sorted(desired.entry.nodes, key=lambda one: one.name):
        observed = find_mode(cluster_view, node.name)
        if not observed or observed == (node.mode or "normal"):
            continue
        context = StepContext(desired.entry, {node.name: node.api}, Membership(), Membership())
        # Only what a run of this host drained is set back: a node blocks itself when it cannot write a file,
        # and setting it back blindly would hide that (facts: sora.md, "State machine").
        is_drained = observed == BLOCKED and _was_set_by_us(desired, node, BLOCKED)
        back = desired.recalled[node.name].get("drained", "") if is_drained else ""
        if node.mode is None and back:
            why = (
                f"an earlier run drained it before a stop, and the fleet file names it again: back to {back}"
            )
            steps.append(make_mode_step(context, node.name, node.api, observed, mode=back, reason=why))
        elif node.mode is None:
            ours = ", which an earlier run set" if _was_set_by_us(desired, node, observed) else ""
            findings.append(
                Diagnostic(
                    Severity.NOTE,
                    "mode-left-alone",
                    f"{node.name} is in {observed}{ours}; the fleet file does not set the mode",
                    "set `mode: normal` for the node if it should serve",
                    target=f"{desired.entry.name}/{node.name}",
                )
            )
        elif observed == SELF_BLOCKED and not _was_set_by_us(desired, node, SELF_BLOCKED):
            findings.append(_warn_blocked_itself(desired, node))
        else:
            why = f"the fleet file says {node.mode}, the node is in {observed}"
            steps.append(make_mode_step(context, node.name, node.api, observed, mode=node.mode, reason=why))
    return steps, findings


def find_mode(cluster_view: ClusterView, name: str) -> str:
    """The mode that the node itself shows, or else its peers; empty if neither shows it."""
    for view in (cluster_view.own_view(name), *cluster_view.answering_nodes.values()):
        row = view.row(name) if view is not None else None
        if row is not None and row.mode:
            return row.mode
    return ""


def find_version(cluster_view: ClusterView, name: str) -> str:
    """The version that the node itself shows, or else its peers; empty if neither shows it."""
    for view in (cluster_view.own_view(name), *cluster_view.answering_nodes.values()):
        row = view.row(name) if view is not None else None
        if row is not None and row.version:
            return row.version
    return ""


def _was_set_by_us(desired: SoraDesired, node: SoraNode, mode: str) -> bool:
    """Whether the store remembers that an earlier run set this mode."""
    return desired.recalled.get(node.name, {}).get("mode") == mode


def _warn_blocked_itself(desired: SoraDesired, node: SoraNode) -> Diagnostic:
    return Diagnostic(
        Severity.WARNING,
        "node-blocked-itself",
        f"{node.name} is in {SELF_BLOCKED}, and no run of this host is known to have set it: a node sets "
        "it when it cannot write a file; an operator or another management host may also have set it",
        "check its log and disk; then set the mode by hand: the reconciler does not change it back "
        "automatically",
        target=f"{desired.entry.name}/{node.name}",
    )
