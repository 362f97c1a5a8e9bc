"""From what M2 nodes are to have and what they show to the steps between; pure, the same every time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from reconciler.core.diff import Change, diff
from reconciler.core.observation import Absent, Observed, Present, Stale, Unauthorized, Unreachable
from reconciler.core.plan import ClusterPlan, Effect, Finding, Inverse, Risk, Step
from reconciler.core.problem import Severity
from reconciler.core.verdict import Standing, Verdict
from reconciler.drivers.m2.fault import at, named
from reconciler.drivers.m2.machine import RESTART_ONLY, lookup
from reconciler.drivers.m2.schema import Content, Deliver, Desired, Loaded, Target

_VERSION: Final = "/meta/version"
_ACCESS: Final = ("/env/management/api", "/env/management/roles")
_MEMBERSHIP: Final = (
    "/env/management/cluster/discover/port",
    "/env/management/cluster/discover/members",
    "/env/management/cluster/meta/baseHostingPort",
)


@dataclass(frozen=True, slots=True)
class Danger:
    """How risky a change is and why; `lost` names hostings whose cache goes with them."""

    risk: Risk
    reason: str
    lost: tuple[str, ...] = ()


def plan(desired: Desired, observed: Observed[Loaded]) -> ClusterPlan:
    """One step for each node that differs; nodes that did not answer get none, and a finding that says so."""
    steps: list[Step] = []
    findings = list(desired.notes)
    unchanged, same_version = 0, []
    for target in desired.targets:
        answer = observed.nodes.get(target.node, Unreachable("it was not asked"))
        if not isinstance(answer, Present | Absent):
            findings.append(_unread(desired, target, answer))
            continue
        loaded = answer.value if isinstance(answer, Present) else None
        findings += _left(desired, target, loaded)
        changes = differences(loaded.content if loaded else None, target.content)
        if loaded is not None and _as_desired(desired, target, loaded):
            unchanged += 1
            continue
        steps.append(_step(desired, target, loaded, changes))
        if loaded is not None and changes and all(change.pointer != _VERSION for change in changes):
            same_version.append(target.node)
    findings += _same_version(desired, same_version)
    return ClusterPlan(
        cluster=desired.entry.name,
        kind=desired.entry.kind,
        nodes=len(desired.targets),
        unchanged=unchanged,
        steps=tuple(steps),
        findings=tuple(findings),
        concurrency=desired.entry.concurrency,
        payloads=desired.payloads,
    )


def judge(
    step: Step, answer: Present[Loaded] | Absent | Unreachable | Unauthorized | Stale[Loaded]
) -> Verdict:
    """How a delivery stands, given what its node shows now."""
    before, after = step.arguments["before"], step.arguments["after"]
    if isinstance(answer, Absent):
        if before == "":
            return Verdict(Standing.READY)
        return Verdict(Standing.CHANGED, "the node has no setting loaded any more")
    if not isinstance(answer, Present):
        return Verdict(Standing.UNKNOWN, answer.reason)
    loaded, wanted = answer.value, step.arguments["resources"]
    carried = not wanted or loaded.held == wanted
    if loaded.shows(after) and (carried or (loaded.held is None and before != after)):
        return Verdict(Standing.DONE, "the node shows the desired setting")
    if before in (loaded.content.fingerprint, loaded.asked):
        return Verdict(Standing.READY)
    version = f" (version {loaded.content.version})" if loaded.content.version else ""
    return Verdict(
        Standing.CHANGED, f"the node shows a setting that is neither the old nor the new one{version}"
    )


def differences(observed: Content | None, desired: Content) -> tuple[Change, ...]:
    """What differs in meaning; only sections whose fingerprints differ are walked."""
    if observed is None:
        return diff({}, desired.canonical)
    keys = [
        key
        for key in sorted({*observed.prints, *desired.prints})
        if observed.prints.get(key) != desired.prints.get(key)
    ]
    return diff(_part(observed.canonical, keys), _part(desired.canonical, keys))


def _part(value: Any, keys: list[str]) -> Any:
    return {key: value[key] for key in keys if key in value} if isinstance(value, Mapping) else value


def _as_desired(desired: Desired, target: Target, loaded: Loaded) -> bool:
    carried = not desired.resources or loaded.held is None or loaded.held == desired.resources
    return loaded.shows(target.content.fingerprint) and carried


def _step(desired: Desired, target: Target, loaded: Loaded | None, changes: tuple[Change, ...]) -> Step:
    entry, action = desired.entry, desired.entry.deliver.value
    before = loaded.content if loaded else None
    danger = _danger(before, target.content, changes)
    restart = _restarting(before, target.content)
    return Step(
        id=f"{entry.name}/{target.node}/{action}",
        cluster=entry.name,
        node=target.node,
        action=action,
        arguments=_arguments(desired, target, loaded),
        reason=_reason(desired, target, loaded, changes),
        effect=Effect.RESTART if restart else Effect.HOT,
        risk=danger.risk,
        risk_reason=danger.reason
        + (f"; takes effect at the next restart only: {', '.join(restart)}" if restart else ""),
        needs="the node still shows the setting that was read for this plan",
        inverse=_inverse(before, danger),
        changes=changes,
        settle=entry.timeouts.settle,
    )


def _arguments(desired: Desired, target: Target, loaded: Loaded | None) -> dict[str, Any]:
    entry = desired.entry
    own = {"payload": target.payload, "part": _part_name(loaded)} if entry.deliver is Deliver.UPLOAD else {}
    pulled = {"method": entry.checkout_method} if entry.deliver is Deliver.CHECKOUT else {}
    bases = [loaded.base, *target.bases] if loaded and loaded.base else [*target.bases]
    return {
        "bases": list(dict.fromkeys(bases)),
        "before": loaded.content.fingerprint if loaded else "",
        "after": target.content.fingerprint,
        "resources": dict(desired.resources),
        "setting_version": at(target.content.document, ("meta", "version")),
        "timeout": entry.timeouts.read,
        "connect": entry.timeouts.connect,
        **own,
        **pulled,
    }


def _part_name(loaded: Loaded | None) -> str:
    name = at(loaded.content.document, ("env", "management", "api", "multipartName")) if loaded else None
    return name if isinstance(name, str) and name else "settingFile"


def _reason(desired: Desired, target: Target, loaded: Loaded | None, changes: tuple[Change, ...]) -> str:
    if loaded is None:
        return "no setting is loaded yet"
    now, then = loaded.content.version or "no version", target.content.version or "no version"
    if not changes:
        return "the files that go with its setting differ"
    if desired.entry.deliver is Deliver.LOCAL:
        return f"the setting on its disk is to be applied: {then} in place of {now}"
    places = sorted({_area(change.pointer) for change in changes if change.pointer != _VERSION})
    what = ", ".join(places) or "the version"
    return f"differs in {what}" + (f"; {now} becomes {then}" if now != then else f" (version {now})")


def _area(place: str) -> str:
    """The part of a setting that people speak of: such as `cluster.balance`."""
    parts = place.split("/")[1:]
    if parts[:2] == ["env", "management"]:
        return ".".join(part for part in parts[2:4] if not part.isdecimal()) or "management"
    return ".".join(part for part in parts[:2] if not part.isdecimal())


def _danger(before: Content | None, after: Content, changes: tuple[Change, ...]) -> Danger:
    kept = {name for _, name, _ in named(after.document, "hosting")}
    had = named(before.document, "hosting") if before else []
    lost = tuple(name for _, name, _ in had if name not in kept)
    if lost:
        return Danger(Risk.HIGH, f"the cache of {', '.join(lost)} is destroyed with its hosting", lost)
    touched = [change.pointer for change in changes]
    if any(place.startswith(_ACCESS) for place in touched):
        return Danger(Risk.MEDIUM, "who may call the node's API changes")
    if before is not None and any(place.startswith(_MEMBERSHIP) for place in touched):
        return Danger(Risk.MEDIUM, "nodes with the old and the new members do not find each other meanwhile")
    return Danger(Risk.LOW, "applies without interruption")


def _restarting(before: Content | None, after: Content) -> tuple[str, ...]:
    if before is None:
        return ()
    return tuple(
        name for name in RESTART_ONLY if lookup(before.document, name) != lookup(after.document, name)
    )


def _inverse(before: Content | None, danger: Danger) -> Inverse:
    if danger.lost:
        return Inverse(f"point of no return: the cache of {', '.join(danger.lost)} does not come back")
    if before is None:
        return Inverse("point of no return: a node cannot be made to have no setting")
    version = f"version {before.version}" if before.version else "the setting"
    return Inverse(f"deliver {version} again", "upload", {"fingerprint": before.fingerprint})


def _unread(desired: Desired, target: Target, answer: Unreachable | Unauthorized | Stale[Loaded]) -> Finding:
    barred = isinstance(answer, Unauthorized)
    return Finding(
        Severity.ERROR,
        "node-unauthorized" if barred else "node-unreachable",
        f"{desired.entry.name}/{target.node}",
        f"{target.node} was not read: {answer.reason}; nothing is planned for it",
        "give this host's address a role with enableSetting in the node's allowList"
        if barred
        else "start the node, or correct its address in the fleet file",
    )


def _left(desired: Desired, target: Target, loaded: Loaded | None) -> Iterator[Finding]:
    """What a node's reading leaves open."""
    if loaded is None:
        return
    place = f"{desired.entry.name}/{target.node}"
    if loaded.waiting:
        fields = ", ".join(loaded.waiting)
        said = f"{target.node} waits for a restart to put {fields} into effect"
        yield Finding(Severity.NOTE, "waits-for-restart", place, said, "restart it when it suits")
    if desired.resources and loaded.held is None and loaded.shows(target.content.fingerprint):
        said = f"{target.node} does not show its package: whether it has this revision's files is unknown"
        remedy = "change meta.version, or let the fleet file say `version: commit`, to deliver them"
        yield Finding(Severity.NOTE, "resources-unseen", place, said, remedy)


def _same_version(desired: Desired, nodes: list[str]) -> Iterator[Finding]:
    if nodes:
        who = nodes[0] if len(nodes) == 1 else f"{len(nodes)} nodes"
        yield Finding(
            Severity.WARNING,
            "same-version",
            desired.entry.name,
            f"the setting changes on {who}, but its meta.version does not, so they cannot tell them apart",
            "change meta.version, or let the fleet file say `version: commit`",
        )
