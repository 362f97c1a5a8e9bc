"""The source that asks the inventory: once for a snapshot, and for what settings mean."""

from dataclasses import replace
from datetime import timedelta

import pytest
from support.inventories import NOW, inventory, listed, query
from support.memory_files import json_files

from reconciler.core.plan import Plan, Revision
from reconciler.desired.fleet import load_fleet
from reconciler.drivers.registry import DRIVERS
from reconciler.errors import WorldChanged
from reconciler.planning.inventory_origins import report_origins
from reconciler.planning.inventory_source import InventorySource
from reconciler.planning.plan_file import (
    PlanFile,
    PlanOrigin,
    check_inventory,
    make_plan_file,
    parse_plan_file,
)
from reconciler.planning.plan_pass import PlanResult
from reconciler.ports.inventory import Inventory, InventoryList, UnreadInventory
from reconciler.ports.source import Snapshot, Source

REVISION = Revision("here", "1" * 40, "1")
CLUSTER = {"name": "edge", "kind": "m2", "setting": "s.json", "nodes": [{"inventory": "aws:vm:tag=edge"}]}


class Files(Source):
    def __init__(self, **files):
        self.files = json_files({name.replace("_", "."): value for name, value in files.items()})

    async def snapshot(self):
        return Snapshot(REVISION, self.files)


class Resolver:
    """Answers from a table, and counts."""

    def __init__(self, **answers):
        self.answers, self.asked, self.now = answers, [], NOW

    def clock(self):
        return self.now

    async def resolve(self, queries):
        self.asked.append([str(one) for one in queries])
        found = {one: self.answers[one.expression.tags[0].key] for one in queries}
        return Inventory(found, self.now)


def source(resolver, origin="198.51.100.1"):
    hosting = [{"name": "a.example.com", "origin": {"address": [origin]}}]
    setting = {"meta": {"version": "1"}, "hosting": hosting}
    return InventorySource(Files(fleet_json={"clusters": [CLUSTER]}, s_json=setting), resolver, DRIVERS)


async def read(found):
    return load_fleet(await found.snapshot(), DRIVERS)


async def test_a_snapshot_has_the_answers_that_its_files_ask_for():
    resolver = Resolver(edge=listed(i_1="10.0.0.1"))
    fleet = await read(source(resolver))
    assert [node.name for node in fleet.cluster_inputs[0].entry.members()] == ["i-1"]
    assert resolver.asked == [["aws:vm:tag=edge"]]


async def test_a_fleet_without_expressions_asks_nobody():
    resolver = Resolver()
    plain = InventorySource(Files(fleet_json={"clusters": []}), resolver, DRIVERS)
    assert (await plain.snapshot()).inventory.answers == {}
    assert resolver.asked == []


async def test_what_an_origin_means_is_told_and_asked_for_once_in_a_while():
    resolver = Resolver(edge=listed(i_1="10.0.0.1"), origin=listed(i_7="10.0.0.7", i_8="10.0.0.8"))
    found = source(resolver, "#aws:vm:tag=origin#:8080")
    fleet = await read(found)
    for _ in range(2):
        told = await report_origins(fleet, found, DRIVERS, NOW + timedelta(seconds=5))
        (note,) = told.warnings
        assert (
            "origin.address/0 of a.example.com: aws:vm:tag=origin means 10.0.0.7:8080, 10.0.0.8:8080"
            in note.message
        )
        assert note.severity == "note"
    assert resolver.asked == [["aws:vm:tag=edge"], ["aws:vm:tag=origin"]]
    resolver.now += timedelta(seconds=61)
    await report_origins(fleet, found, DRIVERS, resolver.now)
    assert len(resolver.asked) == 3
    # What is delivered keeps the expression.
    (document,) = fleet.cluster_inputs[0].documents.values()
    assert document.value["hosting"][0]["origin"]["address"] == ["#aws:vm:tag=origin#:8080"]


@pytest.mark.parametrize(("is_asked", "severity"), [(True, "warning"), (False, "note")])
async def test_an_origin_without_instances_is_a_warning(is_asked, severity):
    nothing = UnreadInventory("it finds no running instance", is_asked=is_asked)
    found = source(Resolver(edge=listed(i_1="10.0.0.1"), origin=nothing), "#aws:vm:tag=origin")
    (note,) = (await report_origins(await read(found), found, DRIVERS, NOW)).warnings
    assert note.severity == severity
    assert "it finds no running instance" in note.message


def fleet_of(known):
    snapshot = Snapshot(
        REVISION, json_files({"fleet.json": {"clusters": [CLUSTER]}, "s.json": {}}), inventory=known
    )
    return load_fleet(snapshot, DRIVERS)


def plan_file(known):
    result = PlanResult(fleet_of(known), Plan(REVISION, "1", ()), (), ())
    return make_plan_file(result, PlanOrigin(source="here"), {}, NOW, DRIVERS)


def test_a_plan_file_has_the_instances_and_is_refused_if_one_moved_or_is_gone():
    file = parse_plan_file(plan_file(inventory(i_1="10.0.0.1", i_2="10.0.0.2")).encode(), "p")
    assert file.inventory == {"edge": {"i-1": "10.0.0.1", "i-2": "10.0.0.2"}}
    check_inventory(file, fleet_of(inventory(i_1="10.0.0.1", i_2="10.0.0.2", i_3="10.0.0.3")))
    with pytest.raises(WorldChanged, match=r"i-2 of edge had the address 10.0.0.2 and has 10.0.0.9"):
        check_inventory(file, fleet_of(inventory(i_1="10.0.0.1", i_2="10.0.0.9")))
    with pytest.raises(WorldChanged, match=r"i-2 of edge had the address 10.0.0.2 and is no longer listed"):
        check_inventory(file, fleet_of(inventory(i_1="10.0.0.1")))
    check_inventory(file, fleet_of(inventory(UnreadInventory("away"))))


def test_a_plan_file_without_an_inventory_is_what_it_was():
    whole = PlanFile(
        made="2026-11-30T12:00:00Z", origin=PlanOrigin(source="here"), files={}, observed={}, plan={}
    ).seal()
    assert b"inventory" not in whole.encode()
    assert parse_plan_file(whole.encode(), "p").digest == whole.digest


def test_the_list_itself_is_not_part_of_what_makes_nodes():
    one = inventory(i_1="10.0.0.1")
    later = Inventory({query(): replace(listed(i_1="10.0.0.1"), read_at=NOW + timedelta(minutes=1))}, NOW)
    assert isinstance(later.find(query()), InventoryList)
    assert one.content == later.content
    assert one.content != inventory(i_1="10.0.0.2").content
