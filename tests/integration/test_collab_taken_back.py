"""A server that does not come back with its new file gets the former one, by the program's own executor."""

import json

import pytest
from conformance.test_every_driver import Stage, collab, settle

from reconciler.core.outcome import State


@pytest.fixture
async def stage(tmp_path):
    made = Stage(collab(), tmp_path)
    async with made.simulation:
        with made.store:
            yield made


def list_contents(world):
    return {name: json.loads(world.content(name)) for name in world.servers}


async def test_a_server_that_stays_paused_gets_its_former_file(stage):
    first = stage.life.first
    await settle(stage, first)
    world = stage.simulation.world("it")
    before = list_contents(world)
    wrong = json.loads(json.dumps(first))
    wrong["config.json"]["dataSource"] = {"host": "nowhere"}
    report = await stage.run(wrong)
    states = {one.step.id: one.state for one in report.outcomes}
    assert states["it/server-1/restart-server"] is State.UNDONE
    assert "it/server-2/restart-server" not in states or states["it/server-2/restart-server"] is State.SKIPPED
    assert list_contents(world) == before
    assert [one.code for one in report.findings if one.code == "node-taken-back"]
    # It is not tried again with the same content.
    again = await stage.look(wrong)
    assert "it/server-1/switch-file/collab-config" not in [step.id for step in again.plan.steps()]
