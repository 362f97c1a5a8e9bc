"""The outcome of a step as a message v1 in M2's `setting.feedback` format, for every product.

Unknown values are omitted, never guessed: what a product has not said of itself, such as `node.licenseId`,
`node.productVer` and `result.lastModified`. `setting` is always null, because the reconciler does not send
settings to the sink. The documented example has two keys `version` in one object, which many readers refuse;
here `version` is the applied `meta.version`, and `productVersion` that of the product (facts: M2, "Central
server"). `parameters[].url` is the package's, or the URL to which the call was sent. The module `messages` of
M2 has the format.

What a product knows of its step comes from the type of its arguments and from what the node answered, see
`core.arguments.StepFeedback`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from reconciler.core.arguments import StepFeedback
from reconciler.core.canonical import fingerprint
from reconciler.core.outcome import SUCCESSES, Outcome, State
from reconciler.core.plan import Revision
from reconciler.core.timestamps import format_timestamp

_NOT_REPORTED = frozenset({State.SKIPPED, State.WAITING, State.OFFERED, State.SUPERSEDED, State.UNDONE})


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
    feedback = step.arguments.feedback.merge(outcome.feedback)
    api = feedback.api or f"/{step.action}"
    parameter = {"url": feedback.url} if feedback.url else {}
    return {
        "messageVer": "1",
        "timestamp": format_timestamp(now),
        "node": _make_node(outcome, feedback),
        "userdata": {"source": revision.source, "revision": revision.id, "run": run},
        "action": {"api": api, "event": f"/_api_{api}"},
        "parameters": [{**parameter, "result": _make_result(outcome, feedback)}],
        "setting": None,
    }


def _make_node(outcome: Outcome, feedback: StepFeedback) -> dict[str, Any]:
    node: dict[str, Any] = {"hostname": outcome.step.node, "iplist": list(feedback.addresses)}
    if feedback.product_version:
        node["productVer"] = feedback.product_version
    if feedback.license_id:
        node["licenseId"] = feedback.license_id
    if outcome.state in SUCCESSES and feedback.setting:  # after a failure the node's version is not known
        node["settingVer"] = feedback.setting[0]
    return node


def _make_result(outcome: Outcome, feedback: StepFeedback) -> dict[str, Any]:
    succeeded = outcome.state in SUCCESSES
    result: dict[str, Any] = {
        "method": "deploy",
        "status": "ok" if succeeded else outcome.reason or outcome.state.value,
    }
    if feedback.setting:
        result["version"] = feedback.setting[0]
    if feedback.result_version:
        result["productVersion"] = feedback.result_version
    if feedback.last_modified:
        result["lastModified"] = feedback.last_modified
    if outcome.waiting_for_restart:
        result["notupdated"] = [{"field": field} for field in outcome.waiting_for_restart]
    return result
