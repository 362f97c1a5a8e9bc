"""Fingerprints by which attempts are counted: of a step's purpose, and of what the nodes show; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reconciler.core.canonical import fingerprint
from reconciler.core.observation import Observed, Present
from reconciler.core.plan import Step
from reconciler.drivers.gocluster.arguments import read_node_arguments
from reconciler.drivers.gocluster.desired_state import GoDesired
from reconciler.drivers.gocluster.view import NodeView
from reconciler.file_delivery.steps import (
    fingerprint_file_differences,
    fingerprint_file_purpose,
    is_file_step,
)


def fingerprint_contents(desired: GoDesired) -> Mapping[str, str]:
    """Node -> fingerprint of the cluster's entry and of its file, with its secrets."""
    entry = desired.entry.plain_content()
    return {
        node: fingerprint([entry, file.content.render(None).decode("utf-8", "replace")])
        for node, file in desired.files.items()
    }


def fingerprint_purpose(step: Step, contents: Mapping[str, str]) -> str:
    """Fingerprint of what a step requests; of a file, of its content."""
    if is_file_step(step):
        return fingerprint_file_purpose(step)
    own = read_node_arguments(step)
    started = getattr(own, "started", "")
    return fingerprint([step.action, step.node, own.command, started, contents.get(step.node, "")])


def fingerprint_readings(step: Step, observed: Observed[NodeView | None]) -> Mapping[str, str]:
    """Who is connected to whom; of a file, its content."""
    if is_file_step(step):
        return fingerprint_file_differences(step, observed)
    found = {}
    for name in read_node_arguments(step).apis:
        answer = observed.nodes.get(name)
        shown: Any = type(answer).__name__
        if isinstance(answer, Present) and answer.value is not None:
            shown = [shown, [[row.name, row.status] for row in answer.value.peers]]
        found[name] = fingerprint(shown)[:16]
    return found


def suggest_remedy(step: Step) -> str:
    """The remedy for a step that fails at every attempt."""
    if is_file_step(step) or step.action == "stop":
        return ""
    return (
        f"look at the log of the application on {step.node}: a file that it does not load, an address that "
        "the others do not reach, or another secret, after which listeners stay closed until a restart"
    )
