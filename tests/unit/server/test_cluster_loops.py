"""Which clusters are watched; clusters do not wait for each other."""

import asyncio

import pytest
from support.watch_server import CONVERGED, Rig, Script, fleet, until

from reconciler.core.selection import EVERYTHING, Selection
from reconciler.errors import UsageError
from reconciler.server.cluster_loops import ClusterLoops, select_clusters
from reconciler.server.pass_result import PassResult, PassSummary
from reconciler.server.supervision import Supervision


class SlowEdge(Script):
    """A pass that never ends for the cluster `edge`, and is quick for all others."""

    async def __call__(self, job):
        if job.cluster == "edge":
            self.jobs.append(job)
            await job.stop.wait()
            return PassSummary(PassResult.STOPPED)
        return await super().__call__(job)


async def test_a_slow_cluster_delays_no_other():
    rig, tasks, script = Rig(interval=0.005), Supervision(lambda: None, print), SlowEdge(CONVERGED)
    cluster_loops = ClusterLoops(script, rig.context, tasks.spawn)
    cluster_loops.publish(fleet("a", "edge", "live"), "start")
    await until(lambda: sum(job.cluster == "live" for job in script.jobs) >= 3)
    assert sum(job.cluster == "edge" for job in script.jobs) == 1
    cluster_loops.stop()
    assert await tasks.drain(10)


async def test_a_new_fleet_starts_loops_of_new_clusters_and_pauses_removed_ones():
    rig, tasks, script = Rig(), Supervision(lambda: None, print), Script()
    cluster_loops = ClusterLoops(script, rig.context, tasks.spawn)
    cluster_loops.publish(fleet("a", "edge", "live"), "start")
    await script.ran(2)
    cluster_loops.publish(fleet("b", "live", "lab"), "poll")
    await script.ran(4)
    assert sorted(rig.watch_state.clusters) == ["lab", "live"]
    assert tasks.running() == ("cluster edge", "cluster lab", "cluster live")  # one loop for each name, ever
    cluster_loops.publish(fleet("c", "edge"), "poll")
    await script.ran(5)
    assert tasks.running() == ("cluster edge", "cluster lab", "cluster live")
    cluster_loops.stop()
    assert await tasks.drain(10)


async def test_changed_secrets_of_the_same_revision_cause_a_pass():
    rig, tasks, script = Rig(), Supervision(lambda: None, print), Script()
    cluster_loops = ClusterLoops(script, rig.context, tasks.spawn)
    cluster_loops.publish(fleet("a", "edge"), "start")
    await script.ran(1)
    other = fleet("a", "edge")
    cluster_loops.publish(other, "poll")
    await script.ran(2)
    assert script.jobs[1].fleet is other
    cluster_loops.stop()
    assert await tasks.drain(10)


async def test_a_commit_that_changes_one_cluster_of_three_disturbs_no_other():
    rig, tasks, script = Rig(), Supervision(lambda: None, print), Script()
    names = ("edge", "lab", "live")
    script.gate = asyncio.Event()
    cluster_loops = ClusterLoops(script, rig.context, tasks.spawn)
    cluster_loops.publish(fleet("a", *names, inputs=dict.fromkeys(names, "1")), "start")
    await script.ran(3)
    cluster_loops.publish(fleet("b", *names, inputs={**dict.fromkeys(names, "1"), "lab": "2"}), "poll")
    clusters = rig.watch_state.clusters
    assert [clusters[name].is_outdated for name in names] == [True, True, True], "no pass has ended"
    await script.ran(4)
    script.gate.set()
    await until(lambda: all(one.doing == "idle" and one.success for one in clusters.values()))
    assert [job.cluster for job in script.jobs if job.stop.is_set()] == ["lab"]
    assert [job.cluster for job in script.jobs[3:]] == ["lab"]
    assert [(clusters[name].revision.id[0], clusters[name].target.id[0]) for name in names] == [
        ("a", "b"),
        ("b", "b"),
        ("a", "b"),
    ]
    assert not any(one.is_outdated for one in clusters.values())
    # What a later pass uses is the newest revision, although nothing in it is new for the cluster.
    cluster_loops.request_pass("edge")
    await script.ran(5)
    assert script.jobs[4].fleet.revision.id[0] == "b"
    cluster_loops.stop()
    assert await tasks.drain(10)


@pytest.mark.parametrize(
    ("summary", "passes"), [(CONVERGED, 1), (PassSummary(PassResult.REFUSED), 2)], ids=["good", "refused"]
)
async def test_a_revision_that_changes_nothing_is_tried_where_the_last_pass_was_not_good(summary, passes):
    rig, tasks, script = Rig(), Supervision(lambda: None, print), Script(summary)
    cluster_loops = ClusterLoops(script, rig.context, tasks.spawn)
    cluster_loops.publish(fleet("a", inputs={"edge": "1"}), "start")
    await until(lambda: "edge" in rig.watch_state.clusters and rig.watch_state.clusters["edge"].pass_summary)
    cluster_loops.publish(fleet("b", inputs={"edge": "1"}), "poll")
    await script.ran(passes)
    await asyncio.sleep(0.05)
    assert len(script.jobs) == passes
    cluster_loops.stop()
    assert await tasks.drain(10)


def test_only_names_a_cluster_or_a_node():
    whole = fleet("a", "edge", "live", nodes=("n1", "n2"))
    assert len(select_clusters(whole, EVERYTHING)) == 2
    assert [cluster_input.entry.name for cluster_input in select_clusters(whole, Selection.of("live"))] == [
        "live"
    ]
    assert [
        cluster_input.entry.name for cluster_input in select_clusters(whole, Selection.of("live/n2"))
    ] == ["live"]
    with pytest.raises(UsageError, match="nobody") as caught:
        select_clusters(whole, Selection.of("nobody"))
    assert "edge, live" in caught.value.remedy
    rest = Selection(skip=("live", "gone"))
    assert [one.entry.name for one in select_clusters(whole, rest)] == ["edge"], (
        "a later commit removed `gone`"
    )
    with pytest.raises(UsageError, match="--skip gone: no cluster and no node"):
        select_clusters(whole, rest, is_lenient=False)


async def test_after_a_stop_no_fleet_is_used_and_no_loop_starts():
    rig, script, begun = Rig(), Script(), []
    cluster_loops = ClusterLoops(script, rig.context, lambda loop, name: begun.append(name))
    cluster_loops.stop()
    cluster_loops.publish(fleet("a", "edge"), "poll")
    assert (begun, script.jobs, cluster_loops.fleet) == ([], [], None)
