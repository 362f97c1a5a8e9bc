"""Import of a cluster of Collaboration Servers whose files were changed by hand."""

import asyncio
import json

import pytest
from support.collab_runs import Site, make_config, make_entry, make_input, make_site
from support.memory_files import snapshot_of

from reconciler.adopt.importer import import_live_state
from reconciler.drivers.registry import DRIVERS
from reconciler.errors import StateError

CONFIG = json.loads(make_config())


@pytest.fixture
def site():
    site = Site(make_site(2), make_input(make_entry(), CONFIG))
    assert site.converge().steps == ()
    return site


def edit_by_hand(site, node):
    site.world.machines[node].files["config"].content = json.dumps(CONFIG | {"logging": False}).encode()


def import_files(site):
    fleet = {"fleet.json": json.dumps({"clusters": [make_entry()]}), "config.json": json.dumps(CONFIG)}
    snapshot = snapshot_of({**fleet, "redis.json": json.dumps({"bind": "127.0.0.1"})})
    drivers = {**DRIVERS, "collab": site.driver}
    return asyncio.run(
        import_live_state(snapshot, [], drivers=drivers, transports=site.transports, resolver=None)
    )


def test_a_value_that_a_server_uses_becomes_its_overlay(site):
    edit_by_hand(site, "c2")
    site.world.restart("c2")
    for _ in range(4):
        site.observe()
    after = import_files(site).after
    assert '"logging": false' in next(text for name, text in after.items() if "c2" in name)


def test_a_file_that_its_process_does_not_use_is_named(site):
    edit_by_hand(site, "c2")
    with pytest.raises(StateError, match=r"what c2 shows: c2 does not use its config.json \(logging is true"):
        import_files(site)


def test_a_file_that_differs_is_never_taken_for_equal_because_its_plan_waits(site):
    edit_by_hand(site, "c2")
    site.hidden["c2"] = "alive"
    with pytest.raises(StateError, match="what c2 shows: c2 is not known to work"):
        import_files(site)
