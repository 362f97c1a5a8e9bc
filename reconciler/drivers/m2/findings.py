"""What a person should know about M2 nodes that is no step: unread, waiting, not told; pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reconciler.core.defect import REPORT
from reconciler.core.observation import Stale, Unauthorized, Unidentified, Unreachable
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.drivers.m2.judge import has_files
from reconciler.drivers.m2.machine import RESTART_ONLY, lookup
from reconciler.drivers.m2.management_access import READ_MORE, extract_access, find_callers, has_same_access
from reconciler.drivers.m2.risk import NEEDED
from reconciler.drivers.m2.schema import Content, LoadedSetting, M2Desired, NodeTarget
from reconciler.drivers.m2.unresolved_secrets import UNKNOWN

ALLOW = "give this host's address a role with enableSetting in the node's allowList"
"""What helps where a node turns this host away."""

FILES_FACT = "files"
"""The fact that remembers which files were delivered to a node: a fingerprint."""

WORD = "first_delivery"
"""That key of the fleet file, and the fact that remembers the URL at which it was used."""

DELIVER_AGAIN = "change meta.version, or let the fleet file say `version: commit`, to deliver them"

_MOST_NAMED = 3


def report_unread(
    desired: M2Desired,
    target: NodeTarget,
    answer: Unreachable | Unidentified | Unauthorized | Stale[LoadedSetting],
) -> Diagnostic:
    """A node that did not show its setting: nothing is planned for it."""
    if isinstance(answer, Unidentified):
        return _unidentified(desired, target, answer)
    barred = isinstance(answer, Unauthorized)
    remedy = ALLOW if barred else "start the node, or correct its address in the fleet file"
    if isinstance(answer, Unreachable) and answer.defect:
        remedy = REPORT
    return Diagnostic(
        Severity.ERROR,
        "node-unauthorized" if barred else "node-unreachable",
        f"{target.node} was not read: {answer.reason}; nothing is planned for it",
        remedy,
        target=f"{desired.entry.name}/{target.node}",
    )


def _unidentified(desired: M2Desired, target: NodeTarget, answer: Unidentified) -> Diagnostic:
    """Something answered that is not shown to be the node: nothing is sent there."""
    remedy = "correct the node's address in the fleet file"
    used = ""
    if answer.vacant and target.recalled.get(WORD):
        used = f"; `first_delivery` was used already, for {target.recalled[WORD]}"
        remedy += (
            "; to allow one more delivery, remove `first_delivery`, run once without it, and write it again"
        )
    elif answer.vacant:
        remedy += (
            "; where it is a new node that has no setting yet, give this host's role enableMetric on it, or "
            "write `first_delivery: true` beside it in the fleet file"
        )
    return Diagnostic(
        Severity.ERROR,
        "node-unidentified",
        f"{target.node} was not identified: {answer.reason}; nothing is sent to it{used}",
        remedy,
        target=f"{desired.entry.name}/{target.node}",
    )


def report_used_confirmations(desired: M2Desired) -> Iterator[Diagnostic]:
    """Nodes whose `first_delivery` was used and still stands in the fleet file; it has no effect any more."""
    given = {node.name for node in desired.entry.nodes if node.first_delivery}
    nodes = [one.node for one in desired.targets if one.node in given and not one.trusted]
    if nodes:
        yield Diagnostic(
            Severity.NOTE,
            "first-delivery-used",
            f"`first_delivery` was used for {_who(nodes)} and has no effect any more",
            "remove the line from the fleet file",
            target=desired.entry.name,
        )


def report_left_open(
    desired: M2Desired, target: NodeTarget, loaded: LoadedSetting, *, may_wait: bool
) -> Iterator[Diagnostic]:
    """What a node's own answers leave open: what waits for a restart, and what they do not tell.

    Args:
        desired: of the cluster.
        target: what the node is to have.
        loaded: what it shows.
        may_wait: whether its setting has fields that take effect at a restart only.
    """
    place = f"{desired.entry.name}/{target.node}"
    here = loaded.shows(desired.expected(target.content))
    if loaded.waiting:
        said = f"{target.node} waits for a restart to put {', '.join(loaded.waiting)} into effect"
        yield Diagnostic(Severity.NOTE, "waits-for-restart", said, "restart it when it suits", target=place)
    if loaded.waiting is None and may_wait:
        said = f"{target.node} does not tell what waits for a restart, and its setting has fields that may"
        remedy = "give this host's role enableGet to have that read too"
        yield Diagnostic(Severity.NOTE, "waiting-unknown", said, remedy, target=place)
    if here and has_files(loaded.held, desired.resources) is None:
        yield from _files(desired, target, place, loaded.unread)


def report_lost_readings(
    desired: M2Desired, target: NodeTarget, loaded: LoadedSetting
) -> Iterator[Diagnostic]:
    """The change takes from a management host what it reads of a node beside the setting itself.

    The setting itself is read with the permission that delivers it, which a guard looks after.
    """
    if has_same_access(loaded.content, target.content):
        return
    hosts = find_callers(loaded.content, desired.entry.management, loaded.caller)
    after = extract_access(target.content)
    shut_out = hosts.losing(after, NEEDED)
    lost = [host for host in hosts.losing(after, READ_MORE) if host not in shut_out]
    if lost:
        yield Diagnostic(
            Severity.WARNING,
            "read-back-lost",
            f"after the change {', '.join(lost)} would not be sure of {READ_MORE} on {target.node}: whether "
            "all of a change is in effect, or waits for a restart, could not be read any more",
            f"keep {READ_MORE} in the role of this host",
            target=f"{desired.entry.name}/{target.node}",
        )


def has_wanted_files(desired: M2Desired, target: NodeTarget) -> bool:
    """Whether the files that were delivered to a node last are those that go with its setting now."""
    return UNKNOWN in desired.resources.values() or target.recalled.get(FILES_FACT, "") == desired.files


def _files(desired: M2Desired, target: NodeTarget, place: str, unread: str) -> Iterator[Diagnostic]:
    """The setting is there, and whether its files are cannot be read: memory says what it can."""
    if unread:
        said = f"the package of {target.node} cannot be read: {unread}"
        remedy = f"open the answer of /setting/download on {target.node} yourself, and look at its log"
        yield Diagnostic(Severity.WARNING, "package-unreadable", said, remedy, target=place)
    if has_wanted_files(desired, target):
        return
    if target.recalled.get(FILES_FACT, ""):
        said = f"the files that go with the setting changed, and {target.node} does not show which it has"
        yield Diagnostic(Severity.WARNING, "resources-unseen", said, DELIVER_AGAIN, target=place)
        return
    said = f"{target.node} does not show its package: whether it has this revision's files is not known"
    yield Diagnostic(Severity.NOTE, "resources-unseen", said, DELIVER_AGAIN, target=place)


def report_same_version(desired: M2Desired, targets: Sequence[NodeTarget]) -> Iterator[Diagnostic]:
    """Settings that change while the version they tell does not; one finding for each version."""
    by_version: dict[str, list[str]] = {}
    for target in targets:
        by_version.setdefault(target.content.version, []).append(target.node)
    for version, nodes in sorted(by_version.items()):
        stays = f"stays {version}" if version else "is missing"
        yield Diagnostic(
            Severity.WARNING,
            "same-version",
            f"the setting of {_who(nodes)} changes, but its meta.version {stays}",
            "change meta.version, or let the fleet file say `version: commit`",
            target=desired.entry.name,
        )


def _who(nodes: list[str]) -> str:
    shown = ", ".join(nodes[:_MOST_NAMED])
    more = len(nodes) - _MOST_NAMED
    return f"{shown} and {more} more" if more > 0 else shown


def may_need_restart(content: Content) -> bool:
    """Whether a setting has fields that take effect at a restart only."""
    return any(lookup(content.document, name) is not None for name in RESTART_ONLY)
