"""The outcome of a step as a message v1 in M2's `setting.feedback` format, for every product.

Unknown values are omitted, never guessed: `node.licenseId`, `node.productVer` and `result.lastModified`
unless a product knows them. `setting` is always null, because the reconciler does not send settings to the
sink. The documented example has two keys `version`; this message has the applied `meta.version` (facts: M2,
"Central server"). The module `messages` of M2 has the format.

What a product knows of its step comes from the type of its arguments, see `core.arguments.StepFeedback`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from reconciler.core.canonical import fingerprint
from reconciler.core.outcome import SUCCESSES, Outcome, State
from reconciler.core.plan import Revision
from reconciler.core.timestamps import format_timestamp

_NOT_REPORTED = frozenset({State.SKIPPED, State.WAITING, State.OFFERED, State.UNDONE})


def is_reported(outcome: Outcome) -> bool:
    """Whether an outcome has a message: not if nothing was sent, or if an operator or the node must act.

    The steps that undo something have their own messages.
    """
    return outcome.state not in _NOT_REPORTED


def make_message_id(run: str, outcome: Outcome) -> str:
    """The id of the message: the same for the same outcome of the same step of the same run."""
    return fingerprint([run, outcome.step.id, outcome.state.value])[:32]


def make_message(outcome: Outcome, *, run: str, revision: Revision, now: datetime) -> dict[str, Any]:
    """A `setting.feedback` message v1 as plain JSON.

    `userdata` is `{"source", "revision", "run"}`. The `status` of the result is `ok` or the reason.
    """
    step = outcome.step
    api = step.arguments.feedback.api or f"/{step.action}"
    return {
        "messageVer": "1",
        "timestamp": format_timestamp(now),
        "node": _make_node(outcome),
        "userdata": {"source": revision.source, "revision": revision.id, "run": run},
        "action": {"api": api, "event": f"/_api_{api}"},
        "parameters": [{"result": _make_result(outcome)}],
        "setting": None,
    }


def _make_node(outcome: Outcome) -> dict[str, Any]:
    feedback = outcome.step.arguments.feedback
    node: dict[str, Any] = {"hostname": outcome.step.node, "iplist": list(feedback.addresses)}
    if feedback.product_version:
        node["productVer"] = feedback.product_version
    if outcome.state in SUCCESSES and feedback.setting:  # after a failure the node's version is not known
        node["settingVer"] = feedback.setting[0]
    return node


def _make_result(outcome: Outcome) -> dict[str, Any]:
    succeeded = outcome.state in SUCCESSES
    result: dict[str, Any] = {
        "method": "deploy",
        "status": "ok" if succeeded else outcome.reason or outcome.state.value,
    }
    if outcome.step.arguments.feedback.setting:
        result["version"] = outcome.step.arguments.feedback.setting[0]
    if outcome.waiting_for_restart:
        result["notupdated"] = [{"field": field} for field in outcome.waiting_for_restart]
    return result
