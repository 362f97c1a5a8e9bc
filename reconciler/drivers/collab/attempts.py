"""Fingerprints by which attempts are counted: of a step's purpose, and of what the nodes show; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from reconciler.core.canonical import fingerprint
from reconciler.core.observation import Observed, Present
from reconciler.core.plan import Step
from reconciler.core.secret import reveal
from reconciler.drivers.collab.arguments import (
    ADD_PASSWORD,
    DROP_PASSWORD,
    RELOAD,
    RESTART,
    RESTART_REDIS,
    START,
    STOP,
    read_collab_arguments,
)
from reconciler.drivers.collab.schema import CollabDesired
from reconciler.drivers.collab.status_view import StatusView
from reconciler.drivers.collab.views import CollabView
from reconciler.file_delivery.steps import (
    fingerprint_file_differences,
    fingerprint_file_purpose,
    is_file_step,
)

_ASKED: Final = ("server", "command", "values", "started", "run_id", "marker", "fixes", "heals")
"""Arguments that tell what is asked for; the same on another way is the same call."""

_REMEDIES: Final = {
    RESTART: "look at the log of the server on its machine: it does not come back with this file",
    START: "look at the log of the server on its machine: it does not start",
    STOP: "stop the server on its machine",
    RESTART_REDIS: "look at the log of Redis: it does not come back, or servers do not find it again",
    RELOAD: "look at the log of nginx, and whether something before it drops headers of /status",
    ADD_PASSWORD: "see whether Redis may write its own file (CONFIG REWRITE)",
    DROP_PASSWORD: "see whether Redis may write its own file (CONFIG REWRITE)",
}


def fingerprint_contents(desired: CollabDesired) -> Mapping[str, str]:
    """Node -> fingerprint of the whole cluster's desired state, with its secrets: its steps are one chain."""
    whole = fingerprint(
        [
            desired.entry.plain_content(),
            {name: reveal(dict(values)) for name, values in sorted(desired.configs.items())},
            reveal(dict(desired.redis_keys)) if desired.redis_keys is not None else None,
        ]
    )
    return {node.name: whole for node in desired.entry.members()}


def fingerprint_aim(step: Step, contents: Mapping[str, str]) -> str:
    """Fingerprint of what a step asks for, together with the cluster's desired state."""
    if is_file_step(step):
        return fingerprint_file_purpose(step)
    plain = step.arguments.plain()
    asked = {key: plain[key] for key in _ASKED if key in plain}
    return fingerprint([step.action, step.node, asked, next(iter(contents.values()), "")])


def fingerprint_readings(step: Step, observed: Observed[CollabView]) -> Mapping[str, str]:
    """What the nodes of a step show: node -> short fingerprint."""
    if is_file_step(step):
        return fingerprint_file_differences(step, observed)
    own = read_collab_arguments(step)
    found: dict[str, str] = {}
    for name in (*own.servers, step.node):
        answer = observed.nodes.get(name)
        shown = type(answer).__name__
        if isinstance(answer, Present):
            view = answer.value
            # A server's start is another one after each attempt: it is no progress.
            shown = f"{view.version} {view.is_healthy}" if isinstance(view, StatusView) else view.fingerprint
        found[name] = fingerprint(shown)[:16]
    return found


def suggest_remedy(step: Step) -> str:
    """The remedy for a step that fails at every attempt."""
    return _REMEDIES.get(step.action, "")
