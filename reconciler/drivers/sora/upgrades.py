"""Which nodes get another version of Sora, and what is said about versions; pure.

Sora's documents describe no upgrade. A node is drained, stopped, upgraded and started as one step, one node
after the other, never while another one is away, and the next one begins when every view shows this one
connected with its new version. A node that is down because a run of this host stopped it is brought back by
the next run; one that somebody else stopped is not started.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from typing import Final

from reconciler.diagnostic import Diagnostic, Severity
from reconciler.drivers.sora.cluster_view import ClusterView
from reconciler.drivers.sora.membership_plan import MembershipPlan
from reconciler.drivers.sora.modes import find_version
from reconciler.drivers.sora.schema import SoraCluster, SoraDesired, SoraNode
from reconciler.drivers.sora.steps import BLOCKED

UPGRADED: Final = "upgraded"
"""Fact of a temporary node: the version to which it was upgraded, which nothing shows before it is back."""

_VERSION: Final = re.compile(r"v?(?P<numbers>\d{1,9}(\.\d{1,9})*)(?P<rest>.*)", re.DOTALL)
_WORDS: Final = re.compile(r"\d{1,9}|[A-Za-z]+")


def is_older(one: str, other: str) -> bool:
    """Whether a version is known to be older than another one, by their numbers.

    With equal numbers, `2024.2.0-canary.3` is older than `2024.2.0-canary.10`, and both than `2024.2.0`.
    """
    found = (_VERSION.fullmatch(one), _VERSION.fullmatch(other))
    if found[0] is None or found[1] is None:
        return False
    numbers = [[*map(int, match["numbers"].split("."))] for match in found if match is not None]
    longest = max(map(len, numbers))
    filled = [part + [0] * (longest - len(part)) for part in numbers]
    if filled[0] != filled[1]:
        return filled[0] < filled[1]
    # What follows a `+` names a build, and orders nothing.
    before = [match["rest"].partition("+")[0] for match in found if match is not None]
    if "" in before or before[0] == before[1]:
        return before[1] == "" and before[0].startswith("-")
    words = [_WORDS.findall(text) for text in before]
    differing = next((pair for pair in zip(*words, strict=False) if pair[0] != pair[1]), None)
    if differing is None:
        return len(words[0]) < len(words[1])
    if all(map(str.isdigit, differing)):
        return int(differing[0]) < int(differing[1])
    return not any(map(str.isdigit, differing)) and differing[0] < differing[1]


def find_running_version(desired: SoraDesired, cluster_view: ClusterView, node: str) -> str:
    """The version of a running node that is not the desired one; empty if it is, or if it is not known."""
    running = find_version(cluster_view, node) if desired.entry.version else ""
    return running if running != desired.entry.version else ""


def set_mode_back(
    membership_plan: MembershipPlan, node: SoraNode, *, is_drained: bool, what: str = "upgrade"
) -> None:
    """Let a node that was drained and started again serve as before."""
    wanted = node.mode or "normal"
    if is_drained and wanted != BLOCKED:
        why = f"{node.name} was drained for its {what} only, and serves again"
        membership_plan.set_mode(node.name, BLOCKED, mode=wanted, reason=why)


def find_upgrade_obstacle(membership_plan: MembershipPlan) -> str:
    """Why no further node may be stopped for its upgrade; empty if one may."""
    # Stricter than for a restart: how long an upgrade takes, and whether the node comes back, is less sure.
    away = membership_plan.list_away()
    return f"{', '.join(away)} counts as away, and only one node at a time is upgraded" if away else ""


def report_waiting_upgrade(entry: SoraCluster, name: str, running: str, why: str) -> Diagnostic:
    """The finding that a node has another version, and is not upgraded now."""
    ask = f"before you stop it by hand, ask `reconcile allow-stop {name}`"
    remedy = f"remove the cause; the next run continues from there; {ask}"
    if entry.upgrade is None:
        remedy = f"add `upgrade`, `stop` and `start` to the cluster's entry, or upgrade it by hand; {ask}"
    words = f"{name} has version {running}, the fleet file says {entry.version}; it is not upgraded: {why}"
    return report_upgrade(entry, name, "upgrade-waits", words, remedy)


def find_failed_upgrade(desired: SoraDesired, name: str, running: str) -> Diagnostic | None:
    """The finding that a temporary node was upgraded and is back with another version."""
    # Before it is registered nothing shows its version, so that its step cannot have failed for it.
    if desired.recalled.get(name, {}).get(UPGRADED) != desired.entry.version:
        return None
    return report_upgrade(
        desired.entry,
        name,
        "upgrade-failed",
        f"{name} was upgraded to {desired.entry.version} and is back with version {running}",
        "look at what the upgrade command did on its host, and upgrade it by hand",
    )


def note_versions(
    desired: SoraDesired, cluster_view: ClusterView, upgraded: Container[str]
) -> Iterator[Diagnostic]:
    """What is said about the versions of a cluster: those that differ, and the time of an upgrade."""
    entry = desired.entry
    names = cluster_view.membership.names if cluster_view.membership is not None else ()
    versions: dict[str, list[str]] = {}
    for name in names:
        versions.setdefault(find_version(cluster_view, name), []).append(name)
    versions.pop("", None)
    if entry.version is None and len(versions) > 1:
        shown = "; ".join(f"{version}: {', '.join(nodes)}" for version, nodes in sorted(versions.items()))
        yield Diagnostic(
            Severity.NOTE,
            "versions-differ",
            f"the nodes of {entry.name} have different versions ({shown}), and Sora's documents say nothing "
            "about that",
            "give all nodes one version; `version` in the cluster's entry keeps it",
            target=entry.name,
        )
    changed = [name for name in names if name in upgraded]
    if not changed:
        return
    # Drained, read back after the start, and its mode set back.
    seconds = len(changed) * (entry.drain + 2 * entry.timeouts.settle)
    yield Diagnostic(
        Severity.NOTE,
        "mixed-versions",
        f"{len(changed)} of {len(names)} nodes of {entry.name} get version {entry.version}, one after the "
        "other: until the last one is back, the cluster has nodes of two versions, and Sora's documents say "
        f"nothing about that; this lasts at most {_describe_time(seconds)}, and the time of the host's "
        "commands",
        "apply it when the load is low, without waves; a failed node ends the upgrade of the others",
        target=entry.name,
    )


def _describe_time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"  # noqa: PLR2004  (two minutes)


def report_upgrade(entry: SoraCluster, name: str, code: str, words: str, remedy: str) -> Diagnostic:
    """A finding about the version of one node."""
    return Diagnostic(Severity.ERROR, code, words, remedy, target=f"{entry.name}/{name}")
