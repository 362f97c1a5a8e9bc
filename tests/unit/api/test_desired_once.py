"""The desired state of a cluster is made once for a revision, whatever is then done with it."""

import asyncio
from collections import Counter
from contextlib import asynccontextmanager

import pytest
from support.driver import NOWHERE, REVISION, FakeDriver, FleetSource, World, cluster, fleet
from support.memory_files import MemoryFiles
from support.rollouts import Bench

from reconciler.api.reader import Reader
from reconciler.desired.fleet import add_desired_state
from reconciler.errors import InputError
from reconciler.host.host import Host
from reconciler.ports.listener import SILENT
from reconciler.ports.source import Snapshot
from reconciler.server.bootstrap import FleetReader
from reconciler.server.cluster_pass import PassJob
from reconciler.server.pass_runner import DryRunPass
from reconciler.store.factory import open_store


class Counting(FakeDriver):
    """Counts how often each cluster's desired state is made, and its nodes are looked for in the files."""

    def __init__(self, world):
        super().__init__(world)
        self.made, self.found = Counter(), Counter()

    def desire(self, cluster_input):
        self.made[cluster_input.entry.name] += 1
        return super().desire(cluster_input)

    def endpoints(self, cluster_input):
        self.found[cluster_input.entry.name] += 1
        return super().endpoints(cluster_input)


ONCE = {"alpha": 1, "beta": 1}
CLUSTERS = (cluster("beta", {"b": "new"}), cluster("alpha", {"a": "new"}))
FILE = """
clusters:
  - {name: beta, kind: fake, nodes: [{name: b, value: new}]}
  - {name: alpha, kind: fake, nodes: [{name: a, value: new}]}
"""


async def test_a_dry_run_and_the_run_that_follows_it_make_it_once(tmp_path):
    with open_store(tmp_path) as store:
        await _run(store)


async def _run(store):
    bench = Bench(store, World({"a": "old", "b": "old"}), Counting)
    seen = await bench.plan_result(*CLUSTERS)
    assert bench.driver.made == ONCE
    report = await bench.apply(seen)
    assert len(report.outcomes) == 2
    assert bench.driver.made == ONCE


async def test_a_watch_makes_it_once_for_the_check_and_all_passes(tmp_path):
    driver = Counting(World({"a": "old", "b": "old"}))

    @asynccontextmanager
    async def way(host):
        yield NOWHERE

    snapshot = Snapshot(REVISION, MemoryFiles({"fleet.yaml": FILE}))
    loaded = FleetReader({"fake": driver}, Host()).load(snapshot)
    looking = DryRunPass(Reader(FleetSource(), drivers={"fake": driver}, connect=way), tmp_path)
    for name in ("alpha", "beta", "alpha"):
        turn = await looking(PassJob(loaded, name, "interval", SILENT, asyncio.Event()))
        assert turn.pending == 1
    assert driver.made == driver.found == ONCE


def test_what_was_made_from_another_desk_is_not_kept():
    drivers = {"fake": Counting(World())}
    first = add_desired_state(fleet(*CLUSTERS), drivers)
    assert [one.cluster_input.entry.name for one in first.desired] == ["alpha", "beta"]
    assert add_desired_state(first, drivers).desired == first.desired
    other = add_desired_state(fleet(*CLUSTERS), drivers)
    assert not {id(one) for one in other.desired} & {id(one) for one in first.desired}


def test_the_problems_of_all_clusters_are_reported_together():
    wrong = [cluster(name, {name: "bad"}) for name in ("b", "a")]
    with pytest.raises(InputError) as caught:
        add_desired_state(fleet(*wrong), {"fake": FakeDriver(World())})
    assert len(caught.value.problems) == 2
