"""Nodes that write keys of their own, over real HTTP: what they show there is delivered to them again."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import pytest
from support.memory_files import json_files
from test_never_shown import Site, edge, setting

from reconciler.core.canonical import write_json
from reconciler.core.plan import Revision
from reconciler.desired.fleet import load_fleet
from reconciler.drivers.m2 import machine
from reconciler.drivers.m2.choices import UploadBehaviour
from reconciler.drivers.registry import DRIVERS
from reconciler.ports.source import Snapshot
from reconciler.simulation.addresses import find_free_addresses

STATS = {"unmanaged": ["/hosting/*/stats"]}


def two(**more):
    nodes = [
        {"name": f"edge-0{i}", "address": str(place)} for i, place in enumerate(find_free_addresses(2), 1)
    ]
    return {"kind": "m2", "setting": "s.json", "nodes": nodes, **more}


def shown(site, node="edge-01"):
    return site.simulation.world("it").state(node).loaded.document


@pytest.mark.parametrize(
    ("takes", "fields"),
    [(UploadBehaviour.ADDS, ["/licensed"]), (UploadBehaviour.COUNTS, STATS["unmanaged"])],
)
async def test_a_node_that_writes_a_key_is_as_desired_after_one_upload(tmp_path, takes, fields):
    site = Site(tmp_path, edge(version="commit", unmanaged=fields), takes)
    async with site.simulation:
        with site.store:
            report = await site.run()
            assert [outcome.state.value for outcome in report.outcomes] == ["done"]
            await site.watch(hours=2)
            assert len(site.sent) == 1
            seen = await site.look()
            assert seen.plan.is_empty
            assert [one for one in seen.plan.findings() if one.severity != "note"] == []


async def test_without_it_the_node_stalls_and_is_told_what_to_write(tmp_path):
    site = Site(tmp_path, edge(version="commit"), UploadBehaviour.COUNTS)
    async with site.simulation:
        with site.store:
            await site.watch(hours=8)
            assert len(site.sent) == 4  # the change itself, and three attempts to take the count away
            (finding,) = [one for one in (await site.look()).plan.findings() if one.code == "node-stalled"]
            assert "at /hosting/www.example.com/stats it shows" in finding.message
            assert "`unmanaged: [/hosting/*/stats]`" in finding.remedy


async def test_what_each_node_shows_is_sent_to_it_and_to_no_other(tmp_path):
    site = Site(tmp_path, two(**STATS), UploadBehaviour.COUNTS)
    async with site.simulation:
        with site.store:
            put(site, "edge-02", hosting=[{**shown(site, "edge-02")["hosting"][0], "stats": {"reads": 500}}])
            plan = (await site.look()).plan.clusters[0]
            sent = {
                step.node: plan.payloads[step.payload].document["hosting"][0]["stats"] for step in plan.steps
            }
            assert sent["edge-01"]["reads"] < 100
            assert sent["edge-02"]["reads"] >= 500
            assert len({step.payload for step in plan.steps}) == 2
            report = await site.run()
            assert {outcome.state.value for outcome in report.outcomes} == {"done"}
            for node, least in (("edge-01", 1), ("edge-02", 500)):
                assert shown(site, node)["hosting"][0]["origin"]["address"] == ["198.51.100.2"]
                assert shown(site, node)["hosting"][0]["stats"]["reads"] >= least
            assert shown(site)["hosting"][0]["stats"]["reads"] < 100


async def test_a_moving_value_keeps_the_id_of_a_plan(tmp_path):
    site = Site(tmp_path, edge(**STATS), UploadBehaviour.COUNTS)
    async with site.simulation:
        with site.store:
            first, second = (await site.look()).plan, (await site.look()).plan
            assert first.digest == second.digest
            (step,) = first.steps()
            assert [change.pointer for change in step.changes] == [
                "/hosting/www.example.com/origin/address/0"
            ]
            assert step.arguments.plain() == next(iter(second.steps())).arguments.plain()


async def test_a_pattern_that_no_node_has_is_told(tmp_path):
    site = Site(tmp_path, edge(unmanaged=["/hosting/*/sttas"]), UploadBehaviour.COUNTS)
    async with site.simulation:
        with site.store:
            found = [one for one in (await site.look()).fleet.warnings if one.code == "unmanaged-unmatched"]
            assert "/hosting/*/sttas" in found[0].message


@pytest.mark.parametrize("value", [{"a": "x" * 300_000}, "deep"])
async def test_what_a_node_shows_there_is_bounded(tmp_path, value):
    if value == "deep":
        for _ in range(60):
            value = {"a": value}
    site = Site(tmp_path, edge(unmanaged=["/notes"]))
    async with site.simulation:
        with site.store:
            put(site, "edge-01", notes=value)
            seen = await site.look()
            assert seen.plan.is_empty
            (finding,) = [one for one in seen.plan.findings() if one.code == "unmanaged-unknown"]
            assert "what it shows" in finding.message
            assert len(finding.message) < 2000


def put(site, node, **more):
    """Write a key into what a node has loaded, as the node itself would."""
    world = site.simulation.world("it")
    state = world.state(node)
    document = {**copy.deepcopy(state.loaded.document), **more}
    loaded = machine.AcceptedSetting(document, machine.NodePackage(write_json(document)))
    world._nodes[node] = replace(state, loaded=loaded, running={**state.running, **more})


async def test_a_secret_there_reaches_its_node_alone_and_no_plan(tmp_path):
    site = Site(tmp_path, two(unmanaged=["/licence"]))
    async with site.simulation:
        with site.store:
            put(site, "edge-01", licence={"password": "hunter2-of-one"})
            put(site, "edge-02", licence={"password": "hunter2-of-two"})
            seen = await site.look()
            steps = list(seen.plan.steps())
            assert len(steps) == 2
            assert "hunter2" not in json.dumps([step.arguments.plain() for step in steps], default=str)
            assert "hunter2" not in repr([step.changes for step in steps])
            await site.run()
            assert shown(site, "edge-01")["licence"]["password"] == "hunter2-of-one"
            assert shown(site, "edge-02")["licence"]["password"] == "hunter2-of-two"


async def test_fields_of_a_group_alone(tmp_path):
    groups = [{"name": "canary", "nodes": ["edge-01"], "overlays": [STATS]}]
    site = Site(tmp_path, two(groups=groups), UploadBehaviour.COUNTS)
    async with site.simulation:
        with site.store:
            await site.run()
            assert {step.node for step in (await site.look()).plan.steps()} == {"edge-02"}


def test_an_import_leaves_them_out():
    files = {
        "fleet.json": {"clusters": [{"name": "it", **edge(**STATS)}]},
        "s.json": setting("v1", "198.51.100.1"),
    }
    fleet = load_fleet(Snapshot(Revision("memory", "1" * 40, "1" * 7), json_files(files)), DRIVERS)
    assert fleet.cluster_inputs[0].unmanaged["edge-01"][0].text == "/hosting/*/stats"
