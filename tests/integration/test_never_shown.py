"""Nodes that never show what they are sent, over real HTTP: the uploads end, and the node is named."""

from datetime import UTC, datetime, timedelta

import pytest
from support.m2_settings import MANAGEMENT
from support.memory_files import json_files

from reconciler.core.plan import Revision
from reconciler.desired.fleet import load_fleet
from reconciler.drivers.m2 import choices as m2
from reconciler.drivers.m2.choices import UploadBehaviour
from reconciler.drivers.registry import DRIVERS
from reconciler.planning.plan_pass import run_plan_pass
from reconciler.ports.source import Snapshot
from reconciler.rollout.apply_pass import RunContext, run_apply_pass
from reconciler.rollout.recovery import settle_open_runs
from reconciler.simulation.addresses import find_free_addresses
from reconciler.simulation.node_host import Simulation
from reconciler.store.factory import open_store
from reconciler.transports.bundle import open_transports


def setting(version, origin):
    host = {"name": "www.example.com", "origin": {"address": [origin]}}
    return {"meta": {"version": version}, "env": {"management": MANAGEMENT}, "hosting": [host]}


class Site:
    """Simulated nodes that begin with one setting, a store, and passes towards another."""

    def __init__(self, folder, cluster, takes=UploadBehaviour.WHOLE):
        self.now = datetime.now(UTC)
        self.cluster = {"name": "it", "timeouts": {"read": 1, "settle": 0.5}, **cluster}
        self.store = open_store(folder, clock=self.clock)
        choices = {"m2": m2.Choices(takes=takes)}
        self.simulation = Simulation(self.fleet("198.51.100.1"), DRIVERS, converged=True, choices=choices)

    def clock(self):
        self.now += timedelta(milliseconds=1)
        return self.now

    def fleet(self, origin, revision="1"):
        files = {"fleet.json": {"clusters": [self.cluster]}, "s.json": setting("v1", origin)}
        return load_fleet(
            Snapshot(Revision("memory", revision * 40, revision * 7), json_files(files)), DRIVERS
        )

    async def look(self, origin="198.51.100.2", revision="2"):
        async with open_transports() as transports:
            await settle_open_runs(self.store, DRIVERS, transports, clock=self.clock)
            recalled = await self.store.read_memory()
            return await run_plan_pass(
                self.fleet(origin, revision), drivers=DRIVERS, transports=transports, recalled=recalled
            )

    async def run(self, origin="198.51.100.2", revision="2"):
        seen = await self.look(origin, revision)
        async with open_transports() as transports:
            run_context = RunContext(clock=self.clock)
            return await run_apply_pass(
                seen, drivers=DRIVERS, transports=transports, journal=self.store, run_context=run_context
            )

    async def watch(self, hours=24, **more):
        """Passes every half hour of a day."""
        for _ in range(2 * hours):
            await self.run(**more)
            self.now += timedelta(minutes=30)

    @property
    def sent(self):
        return [call.asked for call in self.simulation.calls(changes=True)]


def edge(**more):
    (place,) = find_free_addresses(1)
    return {"kind": "m2", "setting": "s.json", "nodes": [{"name": "edge-01", "address": str(place)}], **more}


@pytest.mark.parametrize(
    ("takes", "number", "words"),
    [
        (UploadBehaviour.ADDS, 3, "at /licensed it shows true, which it was not sent"),
        (UploadBehaviour.CASE, 3, "WWW.EXAMPLE.COM"),
        (UploadBehaviour.KEEPS, 3, 'it shows "198.51.100.1" instead of "198.51.100.2"'),
        (UploadBehaviour.REFUSES, 1, "it does not accept the setting's content"),
        (UploadBehaviour.REDIRECTS, 1, "it refused /setting/upload with 307"),
    ],
    ids=lambda one: str(one) if isinstance(one, UploadBehaviour) else "",
)
async def test_a_node_that_never_shows_it_is_left_alone_after_a_few_tries(tmp_path, takes, number, words):
    site = Site(tmp_path, edge(version="commit"), takes)
    async with site.simulation:
        with site.store:
            await site.watch(hours=8)
            await site.run(revision="3")  # another stamp is no other content
            assert len(site.sent) == number
            (finding,) = [one for one in (await site.look()).plan.findings() if one.code == "node-stalled"]
            assert words in finding.message
            assert (await site.look()).plan.is_empty
            site.simulation.world("it").choices = m2.DEFAULTS
            await site.run(origin="198.51.100.3", revision="4")
            assert len(site.sent) == number + 1, "other content is sent"
            found = (await site.look("198.51.100.3", "4")).plan.findings()
            assert not [one for one in found if one.severity == "error"]


async def test_a_slow_node_gets_its_setting_once(tmp_path):
    site = Site(tmp_path, edge())
    async with site.simulation:
        with site.store:
            await site.simulation.fault("edge-01", "works", 2.5, count=1)
            report = await site.run()
            assert [outcome.state.value for outcome in report.outcomes] == ["unknown"]
            while [one.code for one in (await site.look()).plan.findings() if one.severity == "error"]:
                await site.run()
            assert len(site.sent) == 1
            (line,) = await site.store.runs()
            assert line.counts == {"done": 1}


@pytest.mark.parametrize("status", [502, 504])
async def test_an_answer_of_a_proxy_on_the_way_is_a_lost_one(tmp_path, status):
    site = Site(tmp_path, edge())
    async with site.simulation:
        with site.store:
            await site.simulation.fault("edge-01", "error", status, count=1, on="changes")
            report = await site.run()
            assert [outcome.state.value for outcome in report.outcomes] == ["unknown"]
            assert "call-in-flight" in [one.code for one in (await site.look()).plan.findings()]
            site.now += timedelta(minutes=6)
            assert (await site.run()).is_success


def live(count=3):
    nodes = [
        {"name": f"n{number}@10.0.0.{number}", "api": f"http://{place}/"}
        for number, place in enumerate(find_free_addresses(count), 1)
    ]
    return {"kind": "sora", "initialise": True, "nodes": nodes}


async def test_a_slow_initialisation_is_never_sent_a_second_time(tmp_path):
    site = Site(tmp_path, live())
    site.simulation = Simulation(site.fleet("x"), DRIVERS)
    async with site.simulation:
        with site.store:
            await site.simulation.fault("it", "works", 2.5, count=1)
            await site.run()
            while [one.code for one in (await site.look()).plan.findings() if one.severity == "error"]:
                await site.run()
            assert site.sent == ["Sora_20221221.InitCluster"]
            assert (await site.look()).plan.is_empty


async def test_a_registration_that_is_refused_each_time_ends(tmp_path):
    whole = live(4)
    site = Site(tmp_path, {**whole, "nodes": whole["nodes"][:3]})
    machines = Site(tmp_path / "machines", whole)
    machines.store.close()
    site.simulation = Simulation(machines.fleet("x"), DRIVERS, converged=True, fresh=["n4@10.0.0.4"])
    async with site.simulation:
        with site.store:
            site.cluster = {**site.cluster, "nodes": whole["nodes"]}
            await site.simulation.fault("n4@10.0.0.4", "refuse")
            await site.watch(hours=8)
            assert site.sent == ["Sora_20211215.RegisterClusterNode"] * 3
            assert "node-stalled" in [one.code for one in (await site.look()).plan.findings()]
            site.simulation.clear()
            await site.store.forget_attempts("it")
            assert (await site.run()).is_success
