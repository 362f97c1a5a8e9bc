"""The `$schema` of a setting.json is for editors: no node gets it, and nobody misses it."""

import json

import orjson
import pytest
from memory_files import fleet_of
from support_m2_wire import BASE, WorldWire, content, desk, world

from reconciler.cli.commands.render import rendering
from reconciler.core.editors import delivered
from reconciler.drivers.m2.package import setting_bytes
from reconciler.drivers.m2.product import DRIVER
from reconciler.drivers.m2.setting.check import problems_of
from reconciler.ports.transport import Transports

WITH = {"$schema": "../schemas/setting.schema.json", **BASE}


def test_it_is_no_problem_of_the_file():
    (document,) = desk(WITH).documents.values()
    assert problems_of(document) == []


def test_no_node_gets_it():
    desired = DRIVER.desire(desk(WITH))
    (payload,) = desired.payloads.values()
    assert orjson.loads(setting_bytes(payload.document)) == BASE


def test_it_changes_neither_meaning_nor_payload():
    assert content(WITH) == content(BASE)
    assert set(DRIVER.desire(desk(WITH)).payloads) == set(DRIVER.desire(desk(BASE)).payloads)


@pytest.mark.parametrize(("wanted", "shown"), [(WITH, BASE), (BASE, WITH), (WITH, WITH)])
async def test_a_node_that_shows_it_or_not_is_as_desired(wanted, shown):
    desired = DRIVER.desire(desk(wanted))
    wire = WorldWire(world(shown))
    plan = DRIVER.plan(desired, await DRIVER.observe(desired, Transports(wire)))
    assert (plan.unchanged, plan.steps) == (1, ())


def test_only_the_one_at_the_top_is_for_editors():
    deep = {"functions": {"$schema": "x"}, "meta": {"version": 1}}
    assert delivered(deep) is deep
    assert delivered({"$schema": 1, **deep}) == deep
    assert delivered(["$schema"]) == ["$schema"]


def test_what_a_node_gets_is_rendered_without_it():
    node = {"name": "edge-01", "address": "10.0.0.1"}
    fleet = {"clusters": [{"name": "edge", "kind": "m2", "setting": "setting.json", "nodes": [node]}]}
    found = fleet_of({"fleet.json": json.dumps(fleet), "setting.json": json.dumps(WITH)})
    assert json.loads(rendering(found, "", explain=False)) == BASE
    assert "$schema" not in rendering(found, "", explain=True)
