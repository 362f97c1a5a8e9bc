"""The sora.conf of each node as a status tells it: how it compares, and whether its process uses it; pure."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.core.file_state import FileMatch, FileStatus, FileUse
from reconciler.core.observation import Observed, Present
from reconciler.drivers.sora.cluster_view import view_cluster
from reconciler.drivers.sora.conf_delivery import OUTDATED_START, plan_confs
from reconciler.drivers.sora.conf_drift import find_unused_keys
from reconciler.drivers.sora.schema import NodeView, SoraDesired
from reconciler.file_delivery.node_starts import UNREAD_START


def list_conf_statuses(
    desired: SoraDesired, observed: Observed[NodeView]
) -> Mapping[str, tuple[FileStatus, ...]]:
    """Node -> its sora.conf; empty for a cluster that has none."""
    conf = desired.entry.conf
    if conf is None:
        return {}
    cluster_view = view_cluster(desired, observed)
    found: dict[str, tuple[FileStatus, ...]] = {}
    for node, file_plan in plan_confs(desired, observed).items():
        is_read = isinstance(observed.files.get(node, {}).get(conf.file), Present)
        if file_plan.digest is not None and not file_plan.is_changed:
            match = FileMatch.AS_DESIRED
        else:
            match = FileMatch.DIFFERS if is_read else FileMatch.UNREADABLE
        use, words = _find_use(desired, observed, node)
        if match is not FileMatch.AS_DESIRED:
            # Somebody may have changed it since the process was started.
            use, words = FileUse.UNKNOWN, ""
        elif unused := "; ".join(find_unused_keys(desired, cluster_view, node)):
            use, words = FileUse.WAITS, unused
        found[node] = (FileStatus(conf.file, match, use, words),)
    return found


def _find_use(desired: SoraDesired, observed: Observed[NodeView], node: str) -> tuple[FileUse, str]:
    """By the start of the process, compared with the one that ran when a run changed the file last."""
    outdated = desired.recalled.get(node, {}).get(OUTDATED_START, "")
    if desired.entry.restart is None:
        return FileUse.UNKNOWN, "the fleet file names no `restart`, whose `started` would show it"
    started = observed.starts.get(node, "")
    if not started:
        return FileUse.UNKNOWN, f"{desired.entry.restart.started.command} shows no start"
    if not outdated:
        # Nothing that Sora answers shows which values a process has read.
        return FileUse.UNKNOWN, "no run of this host has changed it"
    if outdated == UNREAD_START:
        return FileUse.UNKNOWN, "it showed no start when a run changed the file"
    if started == outdated:
        return FileUse.WAITS, "it was started before a run changed the file"
    return FileUse.USED, ""
