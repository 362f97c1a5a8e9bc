"""Findings about M2 nodes: not read, not identified, waiting for a restart, files unknown; pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from reconciler.core.defect import REPORT
from reconciler.core.observation import Liveness, Stale, Unauthorized, Unidentified, Unreachable
from reconciler.core.plan import Step
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.drivers.m2.caller_permissions import GET_PERMISSION, SETTING_PERMISSION
from reconciler.drivers.m2.feed_topology import find_bus_channel
from reconciler.drivers.m2.judge import has_files
from reconciler.drivers.m2.lock_out import extract_access, find_callers, has_same_access
from reconciler.drivers.m2.machine import RESTART_ONLY, lookup
from reconciler.drivers.m2.schema import Content, LoadedSetting, M2Desired, NodeTarget
from reconciler.drivers.m2.unresolved_secrets import UNKNOWN, UNKNOWN_URL
from reconciler.text.one_line import join_some

ALLOW_REMEDY = "give this host's address a role with enableSetting in the node's allowList"
"""The remedy where a node refuses this host."""

FILES_FACT = "files"
"""The fact with the fingerprint of the files that were delivered to a node last."""

WAITS_FACT = "waits"
"""The fact with the fields that a node named at its last delivery as waiting for a restart, in JSON."""

FIRST_DELIVERY = "first_delivery"
"""A key of the fleet file, and the fact with the URL at which it was used."""

DELIVER_AGAIN = (
    "to deliver them, change meta.version or add `version: commit` to the cluster in the fleet file"
)

_MAX_NAMED = 3

SAME_VERSION = "same-version"
"""Code of the finding that a setting changes and its version does not."""

WAITS = "waits-for-restart"
"""Code of the finding about fields that wait and that no step brings in."""


def report_unread(
    desired: M2Desired,
    target: NodeTarget,
    answer: Unreachable | Unidentified | Unauthorized | Stale[LoadedSetting],
) -> Diagnostic:
    """A node that did not show its setting, so that nothing is planned for it."""
    if isinstance(answer, Unidentified):
        return _report_unidentified(desired, target, answer)
    if desired.entry.polling is not None and not (isinstance(answer, Unreachable) and answer.defect):
        found = _report_unproven(desired, target, answer)
        if found is not None:
            return found
    is_unauthorized = isinstance(answer, Unauthorized)
    remedy = getattr(answer, "remedy", "")
    if isinstance(answer, Unreachable) and answer.defect:
        remedy = REPORT
    elif is_unauthorized:
        remedy = remedy or ALLOW_REMEDY
    return Diagnostic(
        Severity.ERROR,
        "node-unauthorized" if is_unauthorized else "node-unreachable",
        f"{target.node} could not be read: {answer.reason}; no change is planned there",
        remedy or "start the node, or correct its address in the fleet file",
        target=f"{desired.entry.name}/{target.node}",
    )


def _report_unproven(
    desired: M2Desired, target: NodeTarget, answer: Unreachable | Unauthorized | Stale[LoadedSetting]
) -> Diagnostic | None:
    """A node that polls whose mail does not prove what it has loaded; None where its API was asked."""
    polling = desired.entry.polling
    assert polling is not None
    place = f"{desired.entry.name}/{target.node}"
    is_unheard = isinstance(answer, Unreachable) and answer.liveness is Liveness.UNASKED
    if is_unheard and not target.bases and target.tokens is None:
        return Diagnostic(
            Severity.NOTE,
            "node-not-enrolled",
            f"{target.node} polls, and this host has no state that shows what it has; it is not compared",
            "nothing to do where changes are only checked",
            target=place,
        )
    if is_unheard and not target.bases:
        return Diagnostic(
            Severity.WARNING,
            "node-not-enrolled",
            f"{target.node} has never called {polling.server}; no change is planned there",
            "run `reconcile enroll NODE` and install the package on it, or give its `address` so "
            "that it is enrolled by one upload",
            target=place,
        )
    is_doubtful = isinstance(answer, Stale) and bool(answer.value.doubt)
    if is_doubtful or (isinstance(answer, Unreachable) and answer.liveness is Liveness.ALIVE):
        return Diagnostic(
            Severity.ERROR,
            "setting-unproven",
            f"{target.node}: {answer.reason}; no change is planned there",
            "let it report its setting (`uploadSetting: true`) and restart it or apply its setting once, or "
            "add its `address`, or `version: commit` to the cluster",
            target=place,
        )
    if isinstance(answer, Stale) or not target.bases:
        return Diagnostic(
            Severity.ERROR,
            "node-silent",
            f"{target.node}: {getattr(answer, 'reason', '')}; no change is planned there",
            _find_silence_remedy(target, polling.server),
            target=place,
        )
    return None


def _find_silence_remedy(target: NodeTarget, server: str) -> str:
    channel = find_bus_channel(target.content.document, "heartbeat", "feedback")
    if channel is None:
        return f"check that it runs and reaches {server}"
    return (
        f"check that it runs and reaches {channel.places[0]}; what several nodes send to one channel is only "
        "a claim (`reconcile status` shows it)"
    )


def _report_unidentified(desired: M2Desired, target: NodeTarget, answer: Unidentified) -> Diagnostic:
    """An answer without evidence that it comes from an M2 node, so that nothing is sent there."""
    remedy = answer.remedy or "correct the node's address in the fleet file"
    used = ""
    if answer.vacant and target.recalled.get(FIRST_DELIVERY):
        used = f"; `first_delivery` was already used, for {target.recalled[FIRST_DELIVERY]}"
        remedy += (
            "; to allow one more delivery, remove `first_delivery`, run once without it, and add it again"
        )
    elif answer.vacant:
        remedy += (
            "; if it is a new node without a setting, give this host's role enableMetric on it, or add "
            "`first_delivery: true` to the node in the fleet file"
        )
    return Diagnostic(
        Severity.ERROR,
        "node-unidentified",
        f"{target.node} was not identified: {answer.reason}; nothing is sent to it{used}",
        remedy,
        target=f"{desired.entry.name}/{target.node}",
    )


def report_unknown_tokens(desired: M2Desired) -> Iterator[Diagnostic]:
    """That the URLs of nodes that poll or report are not compared, because this host has no tokens."""
    if desired.entry.reporting is not None and any(target.tokens is None for target in desired.targets):
        yield Diagnostic(
            Severity.NOTE,
            "secret-unavailable",
            f"the URLs under {desired.entry.reporting.server} are not compared: {UNKNOWN_URL}",
            "nothing to do where changes are only checked",
            target=desired.entry.name,
        )


def report_unpinned_checkout(desired: M2Desired, steps: Sequence[Step]) -> Iterator[Diagnostic]:
    """That a feed which tells nodes to check out names no revision."""
    polling = desired.entry.polling
    if polling is not None and polling.checkout and steps:
        nodes = join_some([step.node for step in steps], _MAX_NAMED)
        yield Diagnostic(
            Severity.NOTE,
            "unpinned-checkout",
            f"{nodes} will check out what their repository has at that moment: the feed names no revision, "
            "so that it may be newer than this plan",
            "keep the branch of the nodes as it is until the rollout has ended, or deliver packages",
            target=desired.entry.name,
        )


def report_used_confirmations(desired: M2Desired) -> Iterator[Diagnostic]:
    """Nodes whose `first_delivery` was used and is still in the fleet file, where it has no effect."""
    given = {node.name for node in desired.entry.nodes if node.first_delivery}
    nodes = [one.node for one in desired.targets if one.node in given and not one.trusted]
    if nodes:
        yield Diagnostic(
            Severity.NOTE,
            "first-delivery-used",
            f"`first_delivery` was used for {join_some(nodes, _MAX_NAMED)} and no longer has an effect",
            "remove the line from the fleet file",
            target=desired.entry.name,
        )


def report_left_open(
    desired: M2Desired, target: NodeTarget, loaded: LoadedSetting, *, may_wait: bool
) -> Iterator[Diagnostic]:
    """What a node's answers do not show; what waits for a restart is in `restarts`.

    Args:
        desired: of the cluster.
        target: what the node should have.
        loaded: what it shows.
        may_wait: whether its setting has restart-only fields.
    """
    place = f"{desired.entry.name}/{target.node}"
    shows_wanted = loaded.shows(desired.expected(target.content))
    named = recall_waiting(target) if loaded.waiting is None else ()
    if named and shows_wanted:
        fields = join_some(named, _MAX_NAMED)
        message = (
            f"{target.node} named at its last delivery what waits for a restart ({fields}), and does not "
            "show whether it still waits"
        )
        remedy = (
            "restart it, and give this host's role enableGet, by which it is read what is in effect; without "
            "it, this stays until the next delivery"
        )
        yield Diagnostic(Severity.NOTE, WAITS, message, remedy, target=place)
    elif loaded.waiting is None and may_wait:
        message = f"{target.node} has restart-only fields and does not show whether any wait for a restart"
        if desired.entry.restart is not None:
            message += ", so it is not restarted"
        remedy = "give this host's role enableGet"
        yield Diagnostic(Severity.NOTE, "waiting-unknown", message, remedy, target=place)
    if shows_wanted and has_files(loaded.held, desired.resources) is None:
        yield from _report_unknown_files(desired, target, place, loaded.unread)


def report_lost_readings(
    desired: M2Desired, target: NodeTarget, loaded: LoadedSetting
) -> Iterator[Diagnostic]:
    """Management hosts that lose the permission to read what is in effect and what waits.

    The setting itself is read with the permission that delivers it; a guard protects that one.
    """
    if has_same_access(loaded.content, target.content):
        return
    hosts = find_callers(loaded.content, desired.entry.management, loaded.caller)
    after = extract_access(target.content)
    # Hosts that lose both are left to the guard, which refuses the step.
    locked_out = hosts.losing(after, SETTING_PERMISSION)
    lost = [host for host in hosts.losing(after, GET_PERMISSION) if host not in locked_out]
    if lost:
        yield Diagnostic(
            Severity.WARNING,
            "read-back-lost",
            f"after the change {', '.join(lost)} may lose {GET_PERMISSION} on {target.node}; then it cannot "
            "be read whether a change is in effect or waits for a restart",
            f"keep {GET_PERMISSION} in the role of this host",
            target=f"{desired.entry.name}/{target.node}",
        )


def has_wanted_files(desired: M2Desired, target: NodeTarget) -> bool:
    """Whether the files that were delivered to a node last are those that belong to its setting now."""
    # A file that cannot be decrypted here counts as delivered: every pass would send it again otherwise.
    return UNKNOWN in desired.resources.values() or target.recalled.get(FILES_FACT, "") == desired.files


def has_other_files(desired: M2Desired, target: NodeTarget) -> bool:
    """Whether other files were delivered to a node last than those that belong to its setting now.

    Never of a cluster with a stamp: the files came with the setting that has the stamp of this revision.
    """
    known = target.recalled.get(FILES_FACT, "")
    return bool(known) and not desired.entry.is_stamped and not has_wanted_files(desired, target)


def _report_unknown_files(
    desired: M2Desired, target: NodeTarget, place: str, unread: str
) -> Iterator[Diagnostic]:
    """The node has the setting and does not show its files; the store knows what was delivered last."""
    if unread:
        message = f"the package of {target.node} cannot be read: {unread}"
        remedy = f"check the answer of /setting/download on {target.node}, and the node's log"
        yield Diagnostic(Severity.WARNING, "package-unreadable", message, remedy, target=place)
    if target.recalled.get(FILES_FACT, "") or has_wanted_files(desired, target):
        return  # it has them, or a step delivers them
    message = (
        f"{target.node} does not show its package, so it is unknown whether it has this revision's files"
    )
    yield Diagnostic(Severity.NOTE, "resources-unseen", message, DELIVER_AGAIN, target=place)


def report_same_version(desired: M2Desired, targets: Sequence[NodeTarget]) -> Iterator[Diagnostic]:
    """Settings that change while their `meta.version` does not; not said of nodes that only drifted."""
    # With a stamp, the version changes with each commit: where it did not, somebody changed the node.
    for target in () if desired.entry.is_stamped else targets:
        stays = f"stays {target.content.version}" if target.content.version else "is missing"
        yield Diagnostic(
            Severity.WARNING,
            SAME_VERSION,
            f"the setting of {target.node} changes, but its meta.version {stays}",
            "change meta.version, or add `version: commit` to the cluster in the fleet file",
            target=f"{desired.entry.name}/{target.node}",
        )


def recall_waiting(target: NodeTarget) -> tuple[str, ...]:
    """The fields that a node named at its last delivery by this fleet as waiting for a restart."""
    text = target.recalled.get(WAITS_FACT)
    if not text:
        return ()
    try:
        named = json.loads(text)
    except ValueError:
        return ()
    return tuple(field for field in named if isinstance(field, str)) if isinstance(named, list) else ()


def may_need_restart(content: Content) -> bool:
    """Whether a setting has restart-only fields."""
    return any(lookup(content.document, name) is not None for name in RESTART_ONLY)
