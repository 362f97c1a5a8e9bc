"""Fingerprints by which attempts are counted: of a step's purpose, and of what the cluster shows; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from reconciler.core.canonical import fingerprint
from reconciler.core.observation import Observed, Present, Stale
from reconciler.core.plan import Step
from reconciler.core.secret import reveal
from reconciler.drivers.sora.arguments import RegisterArguments, read_cluster_arguments
from reconciler.drivers.sora.schema import NodeView, SoraDesired
from reconciler.file_delivery.steps import (
    fingerprint_file_differences,
    fingerprint_file_purpose,
    is_file_step,
)

_ASKED: Final = ("target", "names", "mode", "command", "values", "started", "version")
"""Arguments that a call requests; the same request through another contact is the same call."""

_SHORT: Final = 16


def fingerprint_contents(desired: SoraDesired) -> Mapping[str, str]:
    """Node -> fingerprint of its sora.conf, and of the entry, which decides who belongs to the cluster."""
    whole = fingerprint(desired.entry.plain_content())
    found = {node.name: whole for node in desired.entry.nodes}
    for name, conf in desired.confs.items():
        found[name] = fingerprint([whole, dict(reveal(conf.values)), conf.base])
    return found


def fingerprint_aim(step: Step, contents: Mapping[str, str]) -> str:
    """Fingerprint of what a call requests, together with the cluster's entry; of a file, of its content."""
    if is_file_step(step):
        return fingerprint_file_purpose(step)
    entry = contents.get(step.node) or next(iter(contents.values()), "")
    plain = step.arguments.plain()
    asked = {key: plain[key] for key in _ASKED if key in plain}
    return fingerprint([step.action, step.node, asked, entry])


def suggest_remedy(step: Step) -> str:
    """The remedy for a registration or a purge that fails at every attempt; see `Driver.find_remedy`.

    What a node keeps on disk decides whether a cluster takes it in: one that was purged, or whose
    registration broke off, still holds the log of before, and Sora's documents name no call that clears it.
    """
    if step.action == "purge":
        return (
            f"purge {step.node} by hand on another member (PurgeClusterNode), or start it again: it returns "
            "by itself"
        )
    if step.action != "register":
        return ""
    own = read_cluster_arguments(step)
    if isinstance(own, RegisterArguments) and own.again:
        return (
            f"stop {step.node} and remove it from the fleet file, so that the next run purges it; wipe its "
            "data, start it, and add it to the fleet file again"
        )
    return f"stop {step.node}, wipe the data of the cluster that it was in before, and start it"


def fingerprint_readings(step: Step, observed: Observed[NodeView]) -> Mapping[str, str]:
    """The members, and what each witness of the step shows of the other nodes; of a file, its content."""
    if is_file_step(step):
        return fingerprint_file_differences(step, observed)
    own = read_cluster_arguments(step)
    readings = {"members": fingerprint(own.before.plain())[:_SHORT]}
    for name in own.witnesses:
        answer = observed.nodes.get(name)
        shown: Any = type(answer).__name__
        if isinstance(answer, Present | Stale):
            # Without licences, URLs and versions: they change by themselves, and would reset the count of
            # attempts although nothing changed that a further attempt depends on.
            rows = [[row.node_name, row.connected, row.temporary, row.mode] for row in answer.value.rows]
            shown = [shown, answer.value.refusal, rows]
        readings[name] = fingerprint(shown)[:_SHORT]
    return readings
