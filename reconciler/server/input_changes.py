"""Whether a newer revision changes a cluster, for one host and for several."""

from __future__ import annotations

from reconciler.desired.fleet import Fleet
from reconciler.server.pass_result import PassResult
from reconciler.server.watch_state import WatchedCluster


def get_input(fleet: Fleet, cluster: str) -> str:
    """The digest of what a pass over a cluster takes from the files; without one, each revision differs."""
    return fleet.input_digests.get(cluster, fleet.revision.id)


def needs_attempt(status: WatchedCluster) -> bool:
    """Whether a revision that does not change a cluster makes a pass due all the same.

    It does if the last pass did not leave the cluster as desired: it may have been refused for its revision,
    such as one without a signature, or one from which the cluster was rolled back. No running pass is stopped
    for it. Before the first pass, and after one that was stopped, one is due anyway.
    """
    summary = status.pass_summary
    if summary is None or summary.result is PassResult.STOPPED:
        return False
    return not summary.is_good or summary.pin is not None
