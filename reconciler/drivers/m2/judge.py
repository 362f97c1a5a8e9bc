"""The status of a step, from what its node shows; used before and after it, and after a crash; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from reconciler.core.observation import (
    Absent,
    Observation,
    Observed,
    Present,
    Stale,
    Unauthorized,
    Unidentified,
    Unreachable,
)
from reconciler.core.plan import Step
from reconciler.core.step_status import StepStatus, StepVerdict
from reconciler.drivers.m2.arguments import (
    DeliveryArguments,
    OfferArguments,
    RestartArguments,
    UploadArguments,
    is_restart,
    read_delivery,
    read_restart,
)
from reconciler.drivers.m2.schema import Content, ExpectedSetting, LoadedSetting
from reconciler.drivers.m2.setting.diagnostics import get_value
from reconciler.drivers.m2.unresolved_secrets import UNKNOWN
from reconciler.secrets.patterns import is_masked
from reconciler.text.json_pointer import split_pointer
from reconciler.text.one_line import join_some

_MOST_MOVED: Final = 3

BLIND: Final = "the node does not show which files it has, so its answer to the upload counts"
"""Of a step that delivers files alone."""


def judge(step: Step, seen: Observed[LoadedSetting]) -> StepVerdict:
    """The status of a step, by the result of `observe_step`."""
    return judge_restart(step, seen) if is_restart(step) else judge_delivery(step, seen.nodes[step.node])


def judge_restart(step: Step, seen: Observed[LoadedSetting]) -> StepVerdict:
    """Done where the node was started again, shows its setting, and nothing waits for a restart any more.

    An answer alone proves nothing: the node answers before the restart, too.
    """
    own, answer = read_restart(step), seen.nodes.get(step.node, Unreachable("it was not asked"))
    started = seen.starts.get(step.node, "")
    is_again = bool(started) and started != own.started
    if not isinstance(answer, Present):
        return _judge_missing(own, answer, is_again=is_again)
    loaded = answer.value
    if not started:
        why = f"when it was started last cannot be read by the command {own.started_command}"
        return StepVerdict(StepStatus.UNKNOWN, why)
    if not loaded.shows(ExpectedSetting(own.after, own.unstamped)):
        return StepVerdict(StepStatus.CHANGED, "the node shows another setting than the one to bring in")
    if loaded.waiting is None:
        return StepVerdict(StepStatus.UNKNOWN, "the node does not show whether anything waits for a restart")
    return _judge_waiting(own, loaded.waiting, is_again=is_again)


def _judge_missing(
    own: RestartArguments,
    answer: Absent | Unreachable | Unidentified | Unauthorized | Stale[LoadedSetting],
    *,
    is_again: bool,
) -> StepVerdict:
    """Of a node that does not show its setting."""
    if isinstance(answer, Absent):
        return StepVerdict(StepStatus.CHANGED, "the node no longer has a setting")
    # Of a node that is called, silence after a new start is a failure; one that polls calls later.
    if is_again and not own.fresh:
        words = f"it was started again and does not come back: {answer.reason}"
        return StepVerdict(StepStatus.CHANGED, words)
    return StepVerdict(StepStatus.UNKNOWN, answer.reason)


def _judge_waiting(own: RestartArguments, waiting: Sequence[str], *, is_again: bool) -> StepVerdict:
    """By what waits for a restart, of a node with the right setting whose last start is known."""
    if waiting and not is_again:
        return StepVerdict(StepStatus.READY)
    if waiting and own.fresh:
        # Its report may be older than its start: only the next one shows what still waits.
        words = f"it was started again, and has not reported yet that {', '.join(waiting)} took effect"
        return StepVerdict(StepStatus.UNKNOWN, words)
    if waiting:
        # Not ready: a node that keeps its old values must not be restarted over and over by one step.
        words = f"it was started again, and {', '.join(waiting)} still waits for a restart"
        return StepVerdict(StepStatus.CHANGED, words)
    if is_again:
        return StepVerdict(StepStatus.DONE, "it was started again, and nothing waits for a restart any more")
    if own.returning:
        return StepVerdict(StepStatus.DONE, "nothing waits for a restart")
    return StepVerdict(StepStatus.CHANGED, "nothing waits for a restart any more, so it is not restarted")


def judge_delivery(step: Step, answer: Observation[LoadedSetting]) -> StepVerdict:
    """Done where the node shows the desired setting, ready where it shows the one it was planned from.

    Where only the files beside the setting differ, the node's own package decides. A node that does not show
    its package leaves the step unknown, so that nothing is sent again.
    """
    verdict = _judge_delivery(read_delivery(step), answer)
    if verdict.status is StepStatus.CHANGED and isinstance(answer, Present):
        moved = describe_moving_values(step, answer.value.content)
        verdict = replace(verdict, reason=f"{verdict.reason}{moved}")
    if not isinstance(answer, Present):
        return verdict
    said = answer.value.reported
    if answer.value.reported_step != step.id:
        said = replace(said, url="", last_modified="")  # of another package
    return replace(verdict, feedback=said)


def describe_moving_values(step: Step, shown: Content) -> str:
    """Numbers that the node showed for the plan, and that it neither keeps nor gets: they move."""
    moved = []
    for change in step.changes:
        path = split_pointer(change.pointer)
        now = get_value(shown.canonical, path)
        is_plain = all(isinstance(one, int | float) for one in (change.old, now))
        if is_plain and now not in (change.old, change.new):
            moved.append(f"{change.pointer} (was {change.old} for the plan, is {now} now)")
    if not moved:
        return ""
    words = "changes" if len(moved) == 1 else "change"
    return (
        f": {join_some(moved, _MOST_MOVED)} {words} from one reading to the next; a value that the node sets "
        "by itself belongs in `unmanaged` of the fleet file"
    )


def _judge_delivery(own: DeliveryArguments, answer: Observation[LoadedSetting]) -> StepVerdict:
    verdict = _judge_content(own, answer)
    if not isinstance(own, OfferArguments) or not isinstance(answer, Present | Stale):
        return verdict
    failed = answer.value.failed
    # Tied to this content: a report about an earlier offer says nothing about this one.
    if verdict.status is not StepStatus.DONE and failed is not None and failed.fingerprint == own.after:
        return StepVerdict(verdict.status, failed.reason, is_final=True)
    return verdict


def _judge_content(own: DeliveryArguments, answer: Observation[LoadedSetting]) -> StepVerdict:
    before = own.before
    if isinstance(answer, Absent):
        if before == "":
            return _judge_ready(own, answer.base)
        return StepVerdict(StepStatus.CHANGED, "the node no longer has a setting")
    if not isinstance(answer, Present):
        return StepVerdict(StepStatus.UNKNOWN, answer.reason)
    loaded, after = answer.value, own.after
    # An undo of restart-only fields finds the old values still in effect while the new ones wait. It is done
    # only when these no longer wait: a later restart would bring them back.
    waits = own.returning and loaded.asked not in {"", after}
    if loaded.shows(ExpectedSetting(after)) and not waits:
        return _judge_arrived(own, loaded)
    if before == loaded.content.fingerprint or (waits and before == loaded.asked):
        return _judge_ready(own, loaded.base)
    is_hidden = isinstance(own.setting_version, str) and is_masked(own.setting_version)
    shown = "" if is_hidden else loaded.content.version
    version = f" (version {shown})" if shown else ""
    reason = (
        f"the node shows a setting that is neither the old nor the new one{version}: somebody changed it "
        "meanwhile, or a value in it changes by itself"
    )
    return StepVerdict(StepStatus.CHANGED, reason)


def _judge_ready(own: DeliveryArguments, base: str) -> StepVerdict:
    if isinstance(own, OfferArguments):
        return StepVerdict(StepStatus.READY)  # it is not called
    # The node answered at another of its URLs than the step sends to: another server may have taken that one.
    if base and base != own.bases[0]:
        return StepVerdict(StepStatus.CHANGED, f"the node now answers at {base} instead of {own.bases[0]}")
    return StepVerdict(StepStatus.READY)


def has_files(held: Mapping[str, str] | None, wanted: Mapping[str, Any]) -> bool | None:
    """Whether a package has the wanted files with these contents; None where the package is unknown.

    Args:
        held: path -> SHA-256 of the files in the package. More files than wanted are accepted: a node keeps
            those of earlier deliveries.
        wanted: path -> SHA-256, or `UNKNOWN` where any content is accepted.
    """
    if not wanted:
        return True
    if held is None:
        return None
    return all(path in held and digest in (UNKNOWN, held[path]) for path, digest in wanted.items())


def _judge_arrived(own: DeliveryArguments, loaded: LoadedSetting) -> StepVerdict:
    found = has_files(loaded.held, own.resources)
    if found is False:
        return StepVerdict(StepStatus.READY, "the node has the setting, but not all of its files")
    # Without its package, a changed setting is the evidence that the files came with it: they travel in one
    # upload. Where the setting did not change, there is no evidence.
    if found is None and isinstance(own, UploadArguments) and own.is_blind:
        return StepVerdict(StepStatus.READY, BLIND, accepts_answer=True)
    if found is None and own.before == own.after:
        return StepVerdict(StepStatus.UNKNOWN, "the node does not show which files it has")
    return StepVerdict(StepStatus.DONE, "the node shows the desired setting")
