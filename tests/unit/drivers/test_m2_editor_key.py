"""The `$schema` of a setting.json is for editors: no node gets it, and nobody misses it."""

import json

import orjson
import pytest
from support.m2_wire import BASE, WorldWire, cluster_input, content, world
from support.memory_files import fleet_of

from reconciler.cli.commands.render import format_documents
from reconciler.core.canonical import strip_editor_key
from reconciler.drivers.m2.package import encode_setting
from reconciler.drivers.m2.product import DRIVER
from reconciler.drivers.m2.setting.check import check_setting
from reconciler.ports.transport import Transports

WITH = {"$schema": "../schemas/setting.schema.json", **BASE}


def test_it_is_no_problem_of_the_file():
    (document,) = cluster_input(WITH).documents.values()
    assert check_setting(document) == []


def test_no_node_gets_it():
    desired = DRIVER.desire(cluster_input(WITH))
    (payload,) = desired.payloads.values()
    assert orjson.loads(encode_setting(payload.document)) == BASE


def test_it_changes_neither_meaning_nor_payload():
    assert content(WITH) == content(BASE)
    assert set(DRIVER.desire(cluster_input(WITH)).payloads) == set(
        DRIVER.desire(cluster_input(BASE)).payloads
    )


@pytest.mark.parametrize(("wanted", "shown"), [(WITH, BASE), (BASE, WITH), (WITH, WITH)])
async def test_a_node_that_shows_it_or_not_is_as_desired(wanted, shown):
    desired = DRIVER.desire(cluster_input(wanted))
    wire = WorldWire(world(shown))
    plan = DRIVER.plan(desired, await DRIVER.observe(desired, Transports(wire)))
    assert (plan.unchanged, plan.steps) == (1, ())


def test_only_the_one_at_the_top_is_for_editors():
    deep = {"functions": {"$schema": "x"}, "meta": {"version": 1}}
    assert strip_editor_key(deep) is deep
    assert strip_editor_key({"$schema": 1, **deep}) == deep
    assert strip_editor_key(["$schema"]) == ["$schema"]


def test_what_a_node_gets_is_rendered_without_it():
    node = {"name": "edge-01", "address": "10.0.0.1"}
    fleet = {"clusters": [{"name": "edge", "kind": "m2", "setting": "setting.json", "nodes": [node]}]}
    found = fleet_of({"fleet.json": json.dumps(fleet), "setting.json": json.dumps(WITH)})
    assert json.loads(format_documents(found, "", explain=False)) == BASE
    assert "$schema" not in format_documents(found, "", explain=True)
