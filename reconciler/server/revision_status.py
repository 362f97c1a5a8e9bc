"""What the watch says about its newest commit: pending, success or failure, with a sentence; pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from reconciler.descriptions.values import format_count
from reconciler.forges.forge import StatusState
from reconciler.server.pass_result import PassResult
from reconciler.server.watch_state import SourceState, WatchedCluster, WatchState
from reconciler.text.one_line import join_some

_COMMIT: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_NAMES: Final = 3
_FAILURES: Final = frozenset(
    {
        PassResult.STALLED,
        PassResult.DOUBTFUL,
        PassResult.PARTIAL,
        PassResult.FAILED,
        PassResult.INVALID,
        PassResult.DEFECT,
    }
)


@dataclass(frozen=True, slots=True)
class RevisionStatus:
    """The status of one commit.

    Args:
        commit: its full id.
        description: one sentence, which names some clusters.
        is_read: whether every cluster has had a pass.
    """

    commit: str
    state: StatusState
    description: str
    is_read: bool = True


def judge_newest_commit(watch_state: WatchState) -> RevisionStatus | None:
    """The status of the newest commit of the source; None if there is none.

    A commit is a success if every cluster is as it desires, and a failure if a person has to act: its files
    are invalid, a guard refuses it, steps failed, or a cluster was rolled back from it. Otherwise it is
    pending, also as long as nodes do not answer or wait for a window, an approval or a restart.
    """
    source = watch_state.source
    if source.state is SourceState.INVALID and _COMMIT.fullmatch(source.rejected):
        return RevisionStatus(
            source.rejected, StatusState.FAILURE, "The files are invalid; nothing is applied"
        )
    if source.revision is None or not _COMMIT.fullmatch(source.revision.id):
        return None
    by_state: dict[StatusState, list[str]] = {state: [] for state in StatusState}
    for name, cluster in sorted(watch_state.clusters.items()):
        by_state[_judge_cluster(cluster)].append(name)
    failed, waiting, done = (
        by_state[state] for state in (StatusState.FAILURE, StatusState.PENDING, StatusState.SUCCESS)
    )
    state = StatusState.FAILURE if failed else StatusState.PENDING if waiting else StatusState.SUCCESS
    parts = [f"{len(done)} of {format_count(len(watch_state.clusters), 'cluster')} as desired"]
    parts += [f"not applied: {join_some(failed, _NAMES)}"] if failed else []
    parts += [f"pending: {join_some(waiting, _NAMES)}"] if waiting else []
    is_read = bool(watch_state.clusters) and all(
        one.pass_summary is not None for one in watch_state.clusters.values()
    )
    return RevisionStatus(source.revision.id, state, "; ".join(parts), is_read)


def _judge_cluster(cluster: WatchedCluster) -> StatusState:
    summary = cluster.pass_summary
    if summary is None or cluster.is_outdated:
        return StatusState.PENDING
    if summary.pin is not None:  # it was rolled back from this commit
        return StatusState.FAILURE
    if summary.is_good:
        return StatusState.SUCCESS
    if summary.result is PassResult.REFUSED:
        # A hold ends by itself or with an approval.
        is_held = all(one.hold for one in summary.violations)
        return StatusState.PENDING if is_held else StatusState.FAILURE
    return StatusState.FAILURE if summary.result in _FAILURES else StatusState.PENDING
