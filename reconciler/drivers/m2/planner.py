"""The plan of a cluster: from desired and observed state to steps and findings; pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from reconciler.core.diff import Change
from reconciler.core.endpoint import read_base_host
from reconciler.core.observation import Absent, Observed, Present, Unreachable
from reconciler.core.plan import ClusterPlan, Risk, Step
from reconciler.diagnostic import Diagnostic
from reconciler.drivers.m2 import findings
from reconciler.drivers.m2.arguments import ACTIONS
from reconciler.drivers.m2.feed_rendering import polls_here
from reconciler.drivers.m2.feed_topology import write_feed_channel
from reconciler.drivers.m2.judge import has_files
from reconciler.drivers.m2.redacted_fingerprints import RedactedFingerprints
from reconciler.drivers.m2.restarts import RestartPlanner
from reconciler.drivers.m2.risk import find_new_address, make_inverse
from reconciler.drivers.m2.schema import (
    Content,
    Deliver,
    ExpectedSetting,
    LoadedSetting,
    M2Desired,
    NodeTarget,
)
from reconciler.drivers.m2.setting.diagnostics import get_value
from reconciler.drivers.m2.setting_comparison import VERSION, SettingComparer, SettingComparison
from reconciler.drivers.m2.unmanaged import report_unfilled
from reconciler.drivers.m2.unresolved_secrets import assume_node_secrets
from reconciler.host.defect_capture import EXPECTED, make_defect_observation
from reconciler.text.json_pointer import make_pointer


def plan(desired: M2Desired, observed: Observed[LoadedSetting]) -> ClusterPlan:
    """One step for each node that differs; nodes that could not be read get a finding instead.

    Where something waits for a restart, or will after the step, a second step restarts the node, if the fleet
    file names a command for that; see `restarts`.
    """
    results: list[_NodeResult] = []
    fingerprints = RedactedFingerprints(desired.earlier)
    restart_planner = RestartPlanner(desired, observed, fingerprints)
    comparer = SettingComparer(desired.earlier, fingerprints)
    waiting = {id(target.content): target.content for target in desired.targets}
    may_wait = {key for key, content in waiting.items() if findings.may_need_restart(content)}
    for target in desired.targets:
        try:
            waits = id(target.content) in may_wait
            results.append(_plan_node(desired, target, observed, restart_planner, comparer, may_wait=waits))
        except EXPECTED:
            raise
        # A defect of this program at one node must not stop the plan of the others.
        except Exception as error:  # noqa: BLE001
            unread = findings.report_unread(desired, target, make_defect_observation(target.node, error))
            results.append(_NodeResult(findings=(unread,)))
    found = [finding for result in results for finding in result.findings]
    same_version = [result.same_version for result in results if result.same_version is not None]
    return ClusterPlan(
        cluster=desired.entry.name,
        kind=desired.entry.kind,
        nodes=len(desired.entry.nodes),
        unchanged=sum(result.as_desired for result in results),
        steps=tuple(step for result in results for step in (result.step, result.restart) if step is not None),
        findings=(
            *desired.notes,
            *found,
            *findings.report_unknown_tokens(desired),
            *findings.report_unpinned_checkout(desired, [each.step for each in results if each.step]),
            *findings.report_used_confirmations(desired),
            *findings.report_same_version(desired, same_version),
        ),
        concurrency=desired.entry.concurrency,
        payloads=desired.payloads,
    )


@dataclass(frozen=True, slots=True)
class _NodeResult:
    """The steps and the findings of one node.

    Args:
        restart: the step that restarts it, after `step` if there is one.
        same_version: the target of the node, where its setting changes and its version does not.
    """

    step: Step | None = None
    restart: Step | None = None
    findings: tuple[Diagnostic, ...] = ()
    as_desired: bool = False
    same_version: NodeTarget | None = None


def _plan_node(
    desired: M2Desired,
    target: NodeTarget,
    observed: Observed[LoadedSetting],
    restart_planner: RestartPlanner,
    comparer: SettingComparer,
    *,
    may_wait: bool,
) -> _NodeResult:
    answer = observed.nodes.get(target.node, Unreachable("it was not asked"))
    if not isinstance(answer, Present | Absent):
        return _NodeResult(findings=(findings.report_unread(desired, target, answer),))
    loaded = answer.value if isinstance(answer, Present) else None
    found: tuple[Diagnostic, ...] = ()
    if loaded is not None:
        if desired.payloads[target.payload].missing:
            target = replace(target, content=assume_node_secrets(target.content, loaded.content))
        found = tuple(findings.report_left_open(desired, target, loaded, may_wait=may_wait))
        if is_as_desired(desired, target, loaded):
            restart = restart_planner.plan(target, loaded, None)
            if restart is None:
                found += tuple(restart_planner.report_left(target, loaded, is_delivered=False))
            return _NodeResult(restart=restart, findings=found, as_desired=restart is None)
    if target.unfilled:
        return _NodeResult(findings=(*found, report_unfilled(desired, target)))
    base = answer.base if isinstance(answer, Absent) else loaded.base if loaded else ""
    comparison = comparer.compare(loaded.content if loaded else None, target.content)
    step = _make_step(desired, target, loaded, comparison, base)
    if loaded is None:
        return _NodeResult(step, findings=found)
    restart = restart_planner.plan(target, loaded, step)
    if restart is None:
        found += tuple(restart_planner.report_left(target, loaded, is_delivered=True))
    if not comparison.keeps_access:
        found += tuple(findings.report_lost_readings(desired, target, loaded))
    return _NodeResult(step, restart, found, same_version=target if comparison.keeps_version else None)


def is_as_desired(desired: M2Desired, target: NodeTarget, loaded: LoadedSetting) -> bool:
    """Whether a node needs no step: it shows the setting, with any stamp, and no file is missing."""
    if not loaded.shows(desired.expected(target.content)):
        return False
    has_wanted = has_files(loaded.held, desired.resources)
    if has_wanted is not None:
        return has_wanted
    # The node does not show its files. With this revision's stamp they came with the setting; otherwise only
    # the store knows what was delivered last.
    if not loaded.shows(ExpectedSetting(target.content.fingerprint)):
        return findings.has_wanted_files(desired, target)
    return not findings.has_other_files(desired, target)


def _make_step(
    desired: M2Desired,
    target: NodeTarget,
    loaded: LoadedSetting | None,
    comparison: SettingComparison,
    base: str,
) -> Step:
    entry, before = desired.entry, loaded.content if loaded else None
    changes, impact = comparison.changes, comparison.impact
    action = _choose_action(desired, target, loaded, base)
    # Nothing but the fleet file says that a node is there: no answer showed it.
    uses_confirmation = loaded is None and target.trusted and not base
    if uses_confirmation:
        reason = "only `first_delivery: true` in the fleet file confirms that an M2 node is there"
        impact = replace(impact, risk=Risk.MEDIUM, reason=f"{impact.reason}; {reason}")
    # Where the node answered, where else it may answer, and where the step may move it.
    moved = find_new_address(base, before, target.content) if before and base else ""
    bases = tuple(dict.fromkeys(filter(None, [base, *target.bases, moved])))
    # Nothing to compare with: the files of the setting are sent, and nothing that the node shows will change.
    is_blind = (
        action == "upload"
        and loaded is not None
        and not changes
        and has_files(loaded.held, desired.resources) is None
    )
    arguments = ACTIONS[action](
        bases=bases,
        addresses=(read_base_host(bases[0]),) if bases else (),
        before=before.fingerprint if before else "",
        after=target.content.fingerprint,
        restart=impact.restart,
        resources=dict(desired.resources),
        shown={
            "before": comparison.shown_before,
            "after": comparison.shown_after,
            "resources": dict(desired.shown_resources),
        },
        setting_version=comparison.version_after,
        timeout=entry.timeouts.read,
        connect=entry.timeouts.connect,
        uses={findings.FIRST_DELIVERY: target.bases[0]} if uses_confirmation else {},
        unmanaged=tuple(make_pointer(pattern) for pattern in target.unmanaged),
        **_make_action_arguments(action, desired, target, before, comparison.part),
        **({"is_blind": True} if is_blind else {}),
    )
    is_offer = action == "offer"
    return Step(
        id=f"{entry.name}/{target.node}/{action}",
        cluster=entry.name,
        node=target.node,
        action=action,
        arguments=arguments,
        reason=_explain(desired, target, comparison.version_before, changes, is_blind=is_blind),
        effect=impact.effect,
        risk=impact.risk,
        risk_reason=impact.reason,
        needs="the node still shows the setting that was read for this plan"
        if loaded
        else "the node still has no setting loaded",
        inverse=make_inverse(
            before,
            impact.lost,
            comparison.shown_before,
            comparison.version_before or "",
            "offer" if is_offer else "upload",
        ),
        changes=changes,
        settle=entry.timeouts.settle,
        in_flight=entry.polling.overdue_seconds if entry.polling and is_offer else entry.timeouts.in_flight,
    )


def _make_action_arguments(
    action: str, desired: M2Desired, target: NodeTarget, before: Content | None, part: str
) -> dict[str, Any]:
    """The arguments that only one kind of delivery has; `part` is the multipart name there."""
    entry, canonical = desired.entry, target.content.canonical
    label = get_value(canonical, ("meta", "version")) if entry.is_stamped else None
    label = label if isinstance(label, str) else ""
    match action:
        case "offer":
            assert entry.polling is not None
            node_id = entry.node_ids.get(target.node, "")
            return {
                "payload": target.payload,
                "label": label,
                "period": entry.polling.every,
                "fresh": entry.polling.fresh_seconds,
                "checkout": entry.polling.checkout,
                # A node is told by the setting that it has, not by the one that it is to get.
                "channel": write_feed_channel((before or target.content).document, node_id),
                "node_id": node_id,
            }
        case "upload":
            own = {"payload": target.payload, "part": part}
            return own | ({"reports": True, "label": label} if entry.reporting is not None else {})
        case "checkout":
            return {"method": entry.checkout_method}
    return {}


def _choose_action(desired: M2Desired, target: NodeTarget, loaded: LoadedSetting | None, base: str) -> str:
    """How a node gets its setting: one that polls is called only as long as it does not poll yet."""
    polling = desired.entry.polling
    if polling is None:
        return desired.entry.deliver.value
    # With a URL, its own API was read, because its mail shows nothing.
    if base and (loaded is None or not polls_here(loaded.content, polling, target.tokens)):
        return Deliver.UPLOAD.value
    return "offer"


def _explain(
    desired: M2Desired,
    target: NodeTarget,
    version: str | None,
    changes: tuple[Change, ...],
    *,
    is_blind: bool = False,
) -> str:
    """Why a delivery is planned; `version` is the node's, None where it has no setting."""
    if version is None:
        return "no setting is loaded yet"
    now, then = version or "(none)", target.content.version or "(none)"
    stamp_alone = desired.entry.is_stamped and all(change.pointer == VERSION for change in changes)
    if is_blind:
        return "the files of its setting changed since they were delivered; the node does not show them"
    if stamp_alone or not changes:
        return "the files of its setting differ, or the node does not show them"
    if desired.entry.deliver is Deliver.LOCAL:
        return f"applies the setting on its disk: {then} replaces {now}"
    areas = sorted({_get_area(change.pointer) for change in changes if change.pointer != VERSION})
    what = f"differs in {', '.join(areas)}" if areas else "only the version differs"
    return what + (f"; version {now} becomes {then}" if now != then else f" (version {now})")


def _get_area(pointer: str) -> str:
    """The part of a setting, for a message: such as `cluster.balance`, `roles` or `hosting`."""
    keys = pointer.split("/")[1:]
    if keys[:2] == ["env", "management"]:
        deep = keys[2:4] if keys[2:3] in (["cluster"], ["server"]) else keys[2:3]
        return ".".join(deep) or "management"
    return ".".join(keys[:2] if keys[:1] == ["env"] else keys[:1]) or "everything"
