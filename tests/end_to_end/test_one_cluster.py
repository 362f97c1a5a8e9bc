"""One Sora cluster, ever: commits that replace its nodes, over real git and HTTP, with or without a store."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.git_repositories import ALONE, Repository, git

from reconciler.desired.fleet import load_fleet
from reconciler.drivers.registry import DRIVERS
from reconciler.drivers.sora import machine
from reconciler.drivers.sora.cluster_state import find_groups, list_members
from reconciler.errors import GuardRefusal, SourceError
from reconciler.planning.ancestry import add_ancestry
from reconciler.planning.plan_pass import run_plan_pass
from reconciler.planning.prior_revision_reader import NO_BASE, MergeTarget, read_prior_revisions
from reconciler.ports.store import RunStart
from reconciler.rollout.apply_pass import run_apply_pass
from reconciler.rollout.recovery import settle_open_runs
from reconciler.simulation.addresses import find_free_addresses
from reconciler.simulation.node_host import Simulation
from reconciler.sources.folder import FolderSource
from reconciler.sources.locate import locate_source
from reconciler.store.factory import open_store
from reconciler.transports.bundle import open_transports

OLD, NEW = (1, 2, 3), (4, 5, 6)
INIT, REGISTER, PURGE = "InitCluster", "RegisterClusterNode", "PurgeClusterNode"


def name(number):
    return f"n{number}@sora-{number}.example.com"


@dataclass
class Site:
    """A repository, six simulated nodes, and management hosts by the name of their state folder."""

    folder: Path
    places: list = field(default_factory=lambda: [None, *find_free_addresses(6)])
    later: timedelta = timedelta()
    simulation: Simulation | None = None
    repository: Repository | None = None

    def clock(self):
        return datetime.now(UTC) + self.later

    def store(self, host):
        return open_store(self.folder / host, clock=self.clock)

    def text(
        self,
        *numbers,
        initialise=True,
        names=None,
        temporary=(),
        ports=None,
        cluster="live",
        by_default=False,
        **more,
    ):
        """A fleet file with these nodes; `names` and `ports`: other numbers for their names or addresses."""
        nodes = [
            {
                "name": name((names or {}).get(one, one)),
                "api": f"http://{self.places[(ports or {}).get(one, one)]}/",
                "temporary": one in temporary,
            }
            for one in numbers
        ]
        own = {"name": cluster, "kind": "sora", "drain": 0, "nodes": nodes, "initialise": initialise, **more}
        own["timeouts"] = {"connect": 0.5, "read": 1, "settle": 1}
        own["policy"] = {} if by_default else {"max_risky": "100%"}
        return json.dumps({"clusters": [own]})

    def commit(self, *numbers, **more):
        files = {"fleet.json": self.text(*numbers, **more)}
        if self.repository is None:
            self.repository = Repository.make(self.folder / "fleet", files)
            return self.repository.head
        return self.repository.commit(files)

    def nodes(self, members=OLD, *, temporary=()):
        """The six nodes, of which these form a cluster."""
        text = self.text(*range(1, 7), temporary=temporary)
        folder = self.folder / "machines"
        folder.mkdir()
        (folder / "fleet.json").write_text(text)
        return folder, [name(one) for one in range(1, 7) if one not in members]

    async def look(self, host="here", *, source=None, base=NO_BASE):
        """What a pass on a host finds."""
        source = source or FolderSource(self.repository.folder)
        fleet = load_fleet(await source.snapshot(), DRIVERS)
        async with open_transports() as transports:
            with self.store(host) as store:
                memory = await add_ancestry(await store.read_memory(), fleet, source, drivers=DRIVERS)
                memory = await read_prior_revisions(memory, fleet, source, drivers=DRIVERS, base=base)
                return await run_plan_pass(fleet, drivers=DRIVERS, transports=transports, recalled=memory)

    async def run(self, host="here", **more):
        """A pass on a host that applies; gives the steps, as `verb number: state`, or what refused."""
        async with open_transports() as transports:
            with self.store(host) as store:
                await settle_open_runs(store, DRIVERS, transports, clock=self.clock)
        seen = await self.look(host, **more)
        async with open_transports() as transports:
            with self.store(host) as store:
                try:
                    report = await run_apply_pass(seen, drivers=DRIVERS, transports=transports, journal=store)
                except GuardRefusal as refusal:
                    return sorted({one.code for one in refusal.violations})
        steps = [(one.step.action, one.step.node[1], one.state) for one in report.outcomes]
        return [f"{verb} {number}: {state}" for verb, number, state in steps] or sorted(
            {one.code for one in seen.plan.findings()}
        )

    def sent(self, call):
        return [one for one in self.simulation.calls(changes=True) if one.asked.endswith(call)]

    @property
    def clusters(self):
        """The nodes of each cluster that lives."""
        world = self.simulation.world("live")
        names = world.names
        return sorted(
            [names[n][1] for n in list_members(group.nodes)]
            for group in find_groups(world.state)
            if group.usable
        )

    async def stop(self, *numbers):
        for number in numbers:
            await self.simulation.fault(name(number), "killed")


@pytest.fixture
async def site(tmp_path):
    made = Site(tmp_path)
    folder, fresh = made.nodes()
    fleet = load_fleet(await FolderSource(folder).snapshot(), DRIVERS)
    async with Simulation(fleet, DRIVERS, converged=True, fresh=fresh) as made.simulation:
        yield made


async def applied(site, *numbers, host="here", **more):
    """The cluster of these nodes, committed and applied on a host."""
    site.commit(*(numbers or OLD), **more)
    assert await site.run(host) == []


def assert_no_second_cluster(site):
    assert site.sent(INIT) == []
    assert len(site.clusters) <= 1


FIVE, LEFT = (1, 2, 3, 4, 5), (1, 2, 6)
LOST = {"collapsed": {"reason": "three hosts burnt down", "until": "2999-12-31"}}


async def five_of_which_two_are_left(site):
    """A cluster of five, applied; three of its nodes are lost for good."""
    world, node_numbers = site.simulation.world("live"), site.simulation.world("live").site.node_numbers
    for number in (4, 5):
        contact, joining = node_numbers.at(name(1)), node_numbers.at(name(number))
        world.site.take(machine.register(world.state, joining, contact))
    await applied(site, *FIVE)
    await site.stop(3, 4, 5)


@pytest.mark.parametrize("host", ["here", "another"])
async def test_a_collapsed_cluster_of_five_is_rebuilt_with_three_and_the_entry_counts_once(site, host):
    await five_of_which_two_are_left(site)
    site.commit(*LEFT, by_default=True, **LOST)
    assert await site.run(host) == ["init 1: done"]
    assert site.clusters == [["1", "2", "6"]]
    assert await site.run(host) == await site.run("a third") == ["collapsed-unneeded"]
    for number in (1, 2):
        site.simulation.world("live").isolate(name(number))
    for state in (host, "a fourth"):
        assert await site.run(state)
    assert len(site.sent(INIT)) == 1
    site.simulation.world("live").heal()
    assert site.clusters == [["1", "2", "6"]]


async def test_a_node_that_the_plan_removes_is_not_called_one_that_keeps_what_it_has(site):
    await applied(site)
    site.commit(1, 2, 4)
    for stopped in ((), (3,)):
        await site.stop(*stopped)
        seen = await site.look()
        assert "purge" in {step.action for step in seen.plan.steps()}
        assert [one for one in seen.fleet.warnings if one.code == "no-longer-managed"] == []


HOSTS = ["here", "another"]
"""The host that applied the cluster, and one whose store knows nothing: the first is lost."""


@pytest.mark.parametrize("host", HOSTS)
async def test_all_nodes_are_replaced_while_the_cluster_lives(site, host):
    await applied(site)
    site.commit(*NEW)
    found = await site.run(host)
    assert "cluster-size" in found
    assert_no_second_cluster(site)
    assert site.clusters == [["1", "2", "3"]]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("silent", [OLD, (1, 2), (3,)])
async def test_all_nodes_are_replaced_while_old_ones_are_silent(site, host, silent):
    await applied(site)
    site.commit(*NEW)
    await site.stop(*silent)
    assert await site.run(host)
    assert_no_second_cluster(site)


@pytest.mark.parametrize("host", HOSTS)
async def test_the_node_that_still_answers_is_cut_off_from_the_others(site, host):
    await applied(site)
    site.commit(*NEW)
    await site.stop(2, 3)
    site.simulation.world("live").isolate(name(1))
    assert await site.run(host)
    seen = await site.look(host)
    assert "majority-lost" in {one.code for one in seen.plan.findings()}
    assert_no_second_cluster(site)


async def test_two_commits_in_a_row_hide_nothing_from_a_host_without_a_store(site):
    await applied(site)
    site.commit(*NEW)
    site.commit(*NEW, drain=1)
    await site.run("another")
    assert_no_second_cluster(site)


@pytest.mark.parametrize("host", HOSTS)
async def test_nodes_get_other_names_at_the_same_addresses(site, host):
    await applied(site)
    site.commit(*OLD, names={1: 7, 2: 8, 3: 9})
    assert await site.run(host)
    assert_no_second_cluster(site)


async def test_a_cluster_that_gets_another_name_and_other_nodes_is_not_founded(site):
    await applied(site)
    site.commit(*NEW, cluster="studio")
    assert await site.run("another") == ["cluster-renamed"]
    assert await site.run("here") == ["cluster-renamed", "cluster-vanished"]
    assert_no_second_cluster(site)


async def test_a_cluster_that_comes_after_another_went_is_a_new_one(site):
    await applied(site)
    (kept,) = json.loads(site.text(7, ports={7: 1}, cluster="kept"))["clusters"]
    kept["nodes"][0]["api"] = f"http://{find_free_addresses(1)[0]}/"
    both = [kept, *json.loads(site.text(*NEW, cluster="studio"))["clusters"]]
    site.repository.commit({"fleet.json": json.dumps({"clusters": [kept]})})
    site.repository.commit({"fleet.json": json.dumps({"clusters": both})})
    seen = await site.look("another")
    assert [step.action for step in seen.plan.steps()] == ["init"]
    assert seen.violations == ()


async def test_nodes_of_the_same_names_move_to_blank_machines(site):
    await applied(site)
    site.commit(*OLD, ports={1: 4, 2: 5, 3: 6})
    assert "cluster-size" not in await site.run()
    assert_no_second_cluster(site)
    assert await site.run("another")
    assert_no_second_cluster(site)


@pytest.mark.parametrize("host", HOSTS)
async def test_only_a_temporary_node_stays(tmp_path, host):
    site = Site(tmp_path)
    folder, fresh = site.nodes((1, 2, 3, 4), temporary=(4,))
    fleet = load_fleet(await FolderSource(folder).snapshot(), DRIVERS)
    async with Simulation(fleet, DRIVERS, converged=True, fresh=fresh) as site.simulation:
        await applied(site, 1, 2, 3, 4, temporary=(4,))
        site.commit(4, 5, 6, temporary=(4,))
        assert await site.run(host)
        assert_no_second_cluster(site)
        await site.simulation.fault(name(4), "killed")
        assert await site.run(host)
        assert_no_second_cluster(site)


async def test_a_shallow_clone_says_so_and_waits(site):
    await applied(site)
    site.commit(*NEW)
    clone = site.folder / "shallow"
    git(site.folder, "clone", "--quiet", "--depth", "1", f"file://{site.repository.folder}", str(clone))
    assert await site.run("ci", source=FolderSource(clone)) == ["past-unread"]
    assert_no_second_cluster(site)
    git(clone, "fetch", "--quiet", "--unshallow")
    assert "cluster-size" in await site.run("ci", source=FolderSource(clone))


async def test_the_past_of_a_remote_repository_is_fetched(site):
    await applied(site)
    site.commit(*NEW)
    bare = site.repository.bare(site.folder / "bare.git")
    source = locate_source(f"file://{bare}", cache=site.folder / "cache")
    assert "cluster-size" in await site.run("another", source=source)
    assert_no_second_cluster(site)


async def test_a_pull_request_is_held_against_what_it_goes_into(site):
    """Three commits on a branch: the first parent of the last one names the new nodes already."""
    await applied(site)
    git(site.repository.folder, "checkout", "--quiet", "-b", "topic")
    site.commit(*NEW)
    site.commit(*NEW, drain=1)
    seen = await site.look("ci", base=MergeTarget("main"))
    assert "cluster-size" in {one.code for one in seen.violations}
    with pytest.raises(SourceError, match="has no branch, tag or commit 'nowhere'"):
        await site.look("ci", base=MergeTarget("nowhere"))
    told = await site.look("ci", base=MergeTarget("nowhere", "GITHUB_BASE_REF"))
    assert [step for step in told.plan.steps() if step.action == "init"] == []


async def test_the_applied_revision_is_no_ancestor(site):
    """The branch was rewritten: what was applied is looked at all the same."""
    await applied(site)
    first = site.repository.head
    git(site.repository.folder, "checkout", "--quiet", "--orphan", "other")
    site.commit(*NEW)
    assert first != site.repository.head
    found = await site.run()
    assert "cluster-size" in found
    assert_no_second_cluster(site)


async def test_a_damaged_file_in_between_hides_nothing(site):
    await applied(site)
    site.repository.commit({"fleet.json": "{"})
    site.commit(*NEW)
    assert "cluster-size" in await site.run("another")
    assert_no_second_cluster(site)


async def test_uncommitted_changes_are_held_against_the_commit(site):
    await applied(site)
    site.repository.write({"fleet.json": site.text(*NEW)})
    assert "cluster-size" in await site.run("another")
    assert_no_second_cluster(site)


class TestFounding:
    """A cluster that never existed is founded, once, and by the word that says so."""

    @pytest.fixture
    async def blank(self, tmp_path):
        made = Site(tmp_path)
        folder, _ = made.nodes()
        fleet = load_fleet(await FolderSource(folder).snapshot(), DRIVERS)
        async with Simulation(fleet, DRIVERS) as made.simulation:
            yield made

    async def test_on_initialise(self, blank):
        blank.commit(*OLD, initialise=False)
        assert await blank.run() == ["initialise-needed"]
        blank.commit(*OLD)
        assert await blank.run() == ["init 1: done"]
        assert await blank.run() == []
        assert blank.clusters == [["1", "2", "3"]]

    async def test_of_other_nodes_than_a_commit_that_nobody_applied_named(self, blank):
        blank.commit(*OLD)
        blank.commit(*NEW)
        assert await blank.run() == ["init 4: done"]

    async def test_not_of_other_nodes_once_it_was_founded_and_its_nodes_are_wiped(self, blank):
        blank.commit(*OLD)
        assert await blank.run() == ["init 1: done"]
        await blank.stop(*OLD)
        blank.commit(*NEW)
        found = await blank.run()
        assert len(blank.sent(INIT)) == 1
        assert found

    async def test_after_a_pass_that_could_not_found_it(self, blank):
        """A revision that was applied without an effect makes no members."""
        blank.commit(*OLD)
        await blank.stop(3)
        assert await blank.run() == ["node-unreachable"]
        await blank.simulation.fault(name(3), "started")
        assert await blank.run() == ["init 1: done"]

    async def test_again_on_collapsed_alone(self, blank):
        blank.commit(*OLD)
        assert await blank.run() == ["init 1: done"]
        await blank.stop(*OLD)
        word = {"collapsed": {"reason": "the site burnt down", "until": "2999-12-31"}}
        blank.commit(*NEW, **word)
        assert await blank.run() == ["init 4: done"]
        await blank.stop(*NEW)
        blank.commit(*NEW, drain=2, **word)
        await blank.run()
        assert len(blank.sent(INIT)) == 2

    @pytest.mark.parametrize("sent", [False, True])
    async def test_a_kill_between_intent_and_outcome_is_settled_by_reading(self, blank, sent):
        """The store knows from the intent on who may be in a cluster, unless the call had no effect."""
        blank.commit(*OLD)
        seen = await blank.look()
        (step,) = seen.plan.steps()
        with blank.store("here") as store:
            run = await store.begin_run(RunStart("command", seen.plan))
            await store.record_intent(run, step)
            if sent:
                async with open_transports() as transports:
                    await DRIVERS["sora"].act(step, transports, {})
        if sent:
            blank.commit(*NEW)
            await blank.stop(*OLD)
            assert await blank.run()
            assert len(blank.sent(INIT)) == 1
        else:
            assert "call-in-flight" in await blank.run()
            blank.later = timedelta(hours=1)
            assert await blank.run() == ["init 1: done"]


class TestPurge:
    """Five nodes, of which one is taken out of the fleet file."""

    @pytest.fixture
    async def five(self, tmp_path):
        made = Site(tmp_path)
        folder, fresh = made.nodes((1, 2, 3, 4, 5))
        fleet = load_fleet(await FolderSource(folder).snapshot(), DRIVERS)
        async with Simulation(fleet, DRIVERS, converged=True, fresh=fresh) as made.simulation:
            await applied(made, 1, 2, 3, 4, 5)
            yield made

    @pytest.mark.parametrize("host", HOSTS)
    async def test_it_is_cut_off_from_its_peers_while_its_api_answers(self, five, host):
        five.simulation.world("live").isolate(name(5))
        five.commit(1, 2, 3, 4)
        for _ in range(2):
            assert await five.run(host) == ["stop 5: waiting", "purge 5: skipped"]
        assert five.sent(PURGE) == []

    @pytest.mark.parametrize("fault", ["silent", "garbage", "error", "slow"])
    async def test_it_is_cut_off_and_its_api_does_not_answer_as_it_should(self, five, fault):
        five.simulation.world("live").isolate(name(5))
        await five.simulation.fault(
            name(5), fault, argument=503 if fault == "error" else 3 if fault == "slow" else None
        )
        five.commit(1, 2, 3, 4)
        await five.run()
        assert five.sent(PURGE) == []

    @pytest.mark.parametrize("host", HOSTS)
    async def test_it_is_stopped_and_its_address_is_known_from_before(self, five, host):
        await five.stop(5)
        five.commit(1, 2, 3, 4)
        assert await five.run(host) == ["purge 5: done"]

    async def test_it_is_stopped_and_nobody_knows_its_address(self, five):
        await five.stop(5)
        five.commit(1, 2, 3, 4)
        alone = five.folder / "archive"
        alone.mkdir()
        (alone / "fleet.json").write_text(five.text(1, 2, 3, 4))
        assert await five.run("another", source=FolderSource(alone)) == ["purge-unproven"]
        word = {"node": name(5), "reason": "the host was taken away", "until": "2999-12-31"}
        (alone / "fleet.json").write_text(five.text(1, 2, 3, 4, stopped=[word]))
        assert await five.run("another", source=FolderSource(alone)) == ["purge 5: done"]

    async def test_a_new_node_has_its_address_by_now(self, five):
        """The answer at the old address lists node 5 as not connected and agrees with the others."""
        await five.stop(5)
        host = five.simulation
        five.commit(1, 2, 3, 4, 6)
        assert await five.run() == ["register 6: done", "purge 5: done"]
        assert host.world("live").running(name(6))


async def test_a_watch_never_founds_a_second_cluster(site):
    """The commit comes while nobody looks, to a watch with the store and to one without."""
    await applied(site)
    site.commit(*NEW)
    environment = {**os.environ, **ALONE, "HOME": str(site.folder)}
    for state in HOSTS:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "reconciler.cli.main", "watch", str(site.repository.folder)),
            *("--state", str(site.folder / state), "--listen", "off", "--log-format", "json"),
            env=environment,
            stderr=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(30):
            while json.loads(line := await process.stderr.readline())["event"] != "pass ended":
                assert line
        assert json.loads(line)["result"] == "refused"
        process.send_signal(signal.SIGTERM)
        await process.communicate()
        assert_no_second_cluster(site)
