"""Nodes that this host cannot call: enrolled by a file that is installed by hand, and given new tokens."""

import asyncio
import json

from end_to_end.test_polled_fleet import NODES, PolledFleet, enrol, is_converged, setting
from end_to_end.test_polled_purge import run
from support.m2_settings import upload
from support.waiting import wait_until

from reconciler.simulation.call_sender import CallSender


def token_of(stage, node):
    running = stage.simulation.world("edge").state(node).running
    return running["env"]["management"]["server"]["features"]["setting"]["feed"]["info"]["url"].split("/")[3]


async def test_a_file_installed_by_hand_makes_a_node_poll(tmp_path):
    stage = PolledFleet(tmp_path)
    async with await stage.simulated() as stage.simulation, CallSender(stage.simulation):
        stage.repository.commit({"fleet.json": stage.fleet_file(addresses=False)})
        async with stage.watching() as watch:
            await watch.said("pass ended")
            _, out, _ = await run(stage, "enroll")
            assert [line.strip() for line in out.splitlines() if "edge/" in line] == [
                f"edge/{name}" for name in NODES
            ]
            for name in NODES:
                file = tmp_path / f"{name}.json"
                status, _, err = await run(stage, "enroll", name, "--output", str(file))
                assert status == 0, err
                await asyncio.to_thread(upload, stage.places[name], file.read_text())
            await watch.until(is_converged)
            stage.repository.commit({"s.json": setting("v2")})
            await wait_until(lambda: stage.versions() == dict.fromkeys(NODES, "v2"))
            await watch.until(is_converged)
            _, out, _ = await run(stage, "enroll")
            assert "Every node that polls or reports has called" in out


async def test_a_new_token_reaches_the_node_with_its_next_setting(tmp_path):
    stage = PolledFleet(tmp_path)
    async with (
        await stage.simulated() as stage.simulation,
        CallSender(stage.simulation),
        stage.watching() as watch,
    ):
        await enrol(stage, watch)
        before = {name: token_of(stage, name) for name in NODES}
        status, out, err = await run(stage, "enroll", "n1", "--rotate", "--reason", "a lost laptop")
        assert status == 0, err
        assert before["n1"] not in out + err
        await wait_until(lambda: token_of(stage, "n1") != before["n1"])
        await watch.until(is_converged)
        assert {name: token_of(stage, name) for name in NODES[1:]} == {
            name: before[name] for name in NODES[1:]
        }
        # The old one ends with the first use of the new one.
        _, out, _ = await run(stage, "history", "orders", "--format", "json")
        assert json.loads(out)[0]["kind"] == "rotate"
        stage.repository.commit({"s.json": setting("v2")})
        await wait_until(lambda: stage.versions() == dict.fromkeys(NODES, "v2"))
    assert not stage.simulation.world("edge").complaints
