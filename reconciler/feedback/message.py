"""What became of a step as a message v1 in M2's `setting.feedback` format, for every product.

What is not known is left out, never guessed: `node.licenseId`, `node.productVer` and
`result.lastModified` unless a product tells them; `setting` is always null, because the
reconciler does not send settings around. Of the two keys `version` in the documented example the
applied `meta.version` is kept (facts: M2, "Central server"). `schema` has the format.

What a product knows of its step comes from the type of its arguments, see `core.arguments.StepFeedback`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from reconciler.core.canonical import fingerprint
from reconciler.core.outcome import SUCCESSES, Outcome, State
from reconciler.core.plan import Revision
from reconciler.core.timestamps import format_timestamp

_UNTOLD = frozenset({State.SKIPPED, State.WAITING, State.OFFERED, State.UNDONE})


def is_reported(outcome: Outcome) -> bool:
    """Whether a message is made of an outcome: not where nothing was tried, a person is awaited, or the node.

    The steps that take something back have messages of their own.
    """
    return outcome.state not in _UNTOLD


def make_message_id(run: str, outcome: Outcome) -> str:
    """The message's id: the same for the same outcome of the same step of the same run."""
    return fingerprint([run, outcome.step.id, outcome.state.value])[:32]


def make_message(outcome: Outcome, *, run: str, revision: Revision, now: datetime) -> dict[str, Any]:
    """A `setting.feedback` message v1 as plain JSON.

    `userdata` is ours: `{"source", "revision", "run"}`. The result's `status` is `ok`, or the reason.
    """
    step = outcome.step
    api = step.feedback.api or f"/{step.action}"
    return {
        "messageVer": "1",
        "timestamp": format_timestamp(now),
        "node": _node(outcome),
        "userdata": {"source": revision.source, "revision": revision.id, "run": run},
        "action": {"api": api, "event": f"/_api_{api}"},
        "parameters": [{"result": _result(outcome)}],
        "setting": None,
    }


def _node(outcome: Outcome) -> dict[str, Any]:
    told = outcome.step.feedback
    node: dict[str, Any] = {"hostname": outcome.step.node, "iplist": list(told.addresses)}
    if told.product_version:
        node["productVer"] = told.product_version
    if outcome.state in SUCCESSES and told.setting:
        node["settingVer"] = told.setting[0]
    return node


def _result(outcome: Outcome) -> dict[str, Any]:
    succeeded = outcome.state in SUCCESSES
    result: dict[str, Any] = {
        "method": "deploy",
        "status": "ok" if succeeded else outcome.reason or outcome.state.value,
    }
    if outcome.step.feedback.setting:
        result["version"] = outcome.step.feedback.setting[0]
    if outcome.waiting_for_restart:
        result["notupdated"] = [{"field": field} for field in outcome.waiting_for_restart]
    return result
