"""Simulated Sora nodes over real HTTP, asked as Sora's documents ask them."""

from __future__ import annotations

import asyncio
import http.client
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from reconciler.drivers.registry import DRIVERS
from reconciler.drivers.sora.choices import Choices, RepeatedInit
from reconciler.drivers.sora.schema import SoraCluster
from reconciler.errors import UsageError
from reconciler.simulation.addresses import find_free_addresses
from reconciler.simulation.node_host import Simulation

INIT = "Sora_20221221.InitCluster"
REGISTER = "Sora_20211215.RegisterClusterNode"
LIST = "Sora_20211215.ListClusterNodes"
PURGE = "Sora_20220629.PurgeClusterNode"
ONE, TWO, THREE, FOUR = NAMES = [f"node-0{number}@sora-0{number}.example.com" for number in range(1, 5)]


def fleet(temporary=(), scheme="http"):
    nodes = [
        {"name": name, "api": f"{scheme}://{address}/", "temporary": name in temporary}
        for name, address in zip(NAMES, find_free_addresses(len(NAMES)), strict=True)
    ]
    entry = SoraCluster.model_validate({"name": "live", "kind": "sora", "nodes": nodes})
    return SimpleNamespace(cluster_inputs=[SimpleNamespace(entry=entry)])


def _ask(address, target, argument):
    connection = http.client.HTTPConnection(*address, timeout=5)
    try:
        body = json.dumps(argument) if argument is not None else b""
        connection.request("POST", "/", body, {"x-sora-target": target} if target else {})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"null")
    finally:
        connection.close()


class Cluster:
    """The simulated cluster, asked by name of node and of call."""

    def __init__(self, simulation):
        self.simulation = simulation

    async def ask(self, node, target, **argument):
        return await asyncio.to_thread(_ask, self.simulation.nodes[node], target, argument or None)

    async def members(self, node):
        """Name -> connected, as one node tells it."""
        _, rows = await self.ask(node, LIST)
        return {row["node_name"]: row["connected"] for row in rows}


@pytest.fixture
async def cluster():
    async with Simulation(fleet(), DRIVERS) as simulation:
        yield Cluster(simulation)


async def httpie(*arguments):
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).parent / "http"),
        "--ignore-stdin",
        "--check-status",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    return process.returncode, json.loads(out)


async def test_httpie_forms_a_cluster_as_in_the_documents(cluster):
    at = cluster.simulation.nodes
    listed = f"node_name_list:={json.dumps([ONE, TWO, THREE])}"
    done, answer = await httpie("POST", f"{at[ONE]}/", f"x-sora-target:{INIT}", listed)
    assert (done, answer) == (0, {"node_name_list": [ONE, TWO, THREE]})
    joined, seen = await asyncio.gather(
        httpie("POST", f"{at[FOUR]}/", f"x-sora-target:{REGISTER}", f"contact_node_name={ONE}"),
        httpie("POST", f"{at[TWO]}/", f"x-sora-target:{LIST}"),
    )
    assert joined == (0, {"node_name_list": NAMES})
    assert seen[0] == 0
    assert {row["node_name"] for row in seen[1]} >= {ONE, TWO, THREE}
    alive = await httpie("POST", f"{at[ONE]}/", f"x-sora-target:{PURGE}", f"target_node_name={FOUR}")
    assert alive == (4, {"error_type": "NODE-IS-ALIVE", "error_reason": {"target_node": FOUR}})


async def test_a_killed_regular_node_stays_registered_until_it_is_purged(cluster):
    await cluster.ask(ONE, INIT, node_name_list=NAMES)
    await cluster.simulation.fault(FOUR, "killed")
    with pytest.raises(ConnectionRefusedError):
        await cluster.ask(FOUR, LIST)
    assert await cluster.members(ONE) == {ONE: True, TWO: True, THREE: True, FOUR: False}
    assert (await cluster.ask(TWO, PURGE, target_node_name=FOUR))[0] == 200
    assert await cluster.members(ONE) == {ONE: True, TWO: True, THREE: True}


async def test_a_restarted_regular_node_comes_back_by_itself(cluster):
    await cluster.ask(ONE, INIT, node_name_list=NAMES)
    await cluster.simulation.fault(FOUR, "restarted")
    assert await cluster.members(FOUR) == dict.fromkeys(NAMES, True)


async def test_a_restarted_temporary_node_has_to_register_again():
    async with Simulation(fleet(temporary=(FOUR,)), DRIVERS, converged=True) as simulation:
        cluster = Cluster(simulation)
        assert await cluster.members(ONE) == dict.fromkeys(NAMES, True)
        await simulation.fault(FOUR, "restarted")
        assert FOUR not in await cluster.members(ONE)
        assert (await cluster.ask(FOUR, REGISTER, contact_node_name=ONE))[0] == 200
        assert await cluster.members(ONE) == dict.fromkeys(NAMES, True)


async def test_a_lost_answer_leaves_the_change_to_be_read(cluster):
    await cluster.ask(ONE, INIT, node_name_list=[ONE, TWO, THREE])
    await cluster.simulation.fault(FOUR, "lost", count=1)
    assert (await cluster.ask(FOUR, LIST))[0] == 200
    with pytest.raises(http.client.RemoteDisconnected):
        await cluster.ask(FOUR, REGISTER, contact_node_name=ONE)
    assert await cluster.members(ONE) == dict.fromkeys(NAMES, True)
    changes = cluster.simulation.calls(changes=True)
    assert [(call.node, call.asked, call.fault) for call in changes] == [
        (ONE, INIT, ""),
        (FOUR, REGISTER, "lost"),
    ]


async def test_a_cut_change_is_not_done_and_a_refused_one_is_400(cluster):
    await cluster.ask(ONE, INIT, node_name_list=[ONE, TWO, THREE])
    await cluster.simulation.fault(FOUR, "cut", count=1, on="changes")
    await cluster.simulation.fault(FOUR, "refuse", count=1)
    with pytest.raises(http.client.RemoteDisconnected):
        await cluster.ask(FOUR, REGISTER, contact_node_name=ONE)
    assert (await cluster.ask(FOUR, REGISTER, contact_node_name=ONE))[0] == 400
    assert FOUR not in await cluster.members(ONE)


async def test_what_the_framework_refuses(cluster):
    address = cluster.simulation.nodes[ONE]
    assert await asyncio.to_thread(_ask, address, "", None) == (400, {"error_type": "MissingHeaderName"})
    status, answer = await cluster.ask(ONE, "Sora_20991231.Fly")
    assert status == 400
    assert answer["error_type"] in {"MissingTarget", "SchemaNotFound"}


async def test_the_choices_of_the_product_reach_its_nodes():
    choices = {"sora": Choices(repeated_init=RepeatedInit.ACCEPT_SAME)}
    async with Simulation(fleet(), DRIVERS, converged=True, choices=choices) as simulation:
        status, _ = await Cluster(simulation).ask(ONE, INIT, node_name_list=NAMES)
        assert status == 200


async def test_a_fresh_node_among_converged_ones_is_in_no_cluster():
    async with Simulation(fleet(), DRIVERS, converged=True, fresh=[FOUR]) as simulation:
        cluster = Cluster(simulation)
        assert await cluster.members(ONE) == dict.fromkeys([ONE, TWO, THREE], True)
        assert (await cluster.ask(FOUR, REGISTER, contact_node_name=TWO))[0] == 200
    with pytest.raises(UsageError, match="no node or cluster 'node-09'"):
        Simulation(fleet(), DRIVERS, fresh=["node-09"])


async def test_faults_of_the_world_itself_are_at_hand(cluster):
    await cluster.ask(ONE, INIT, node_name_list=NAMES)
    cluster.simulation.world("live").partition([ONE])
    assert (await cluster.members(TWO))[ONE] is False


async def test_an_isolated_node_is_away_for_the_others_and_comes_back_by_itself(cluster):
    await cluster.ask(ONE, INIT, node_name_list=[ONE, TWO, THREE])
    await cluster.simulation.fault(TWO, "isolated")
    assert await cluster.members(ONE) == {ONE: True, TWO: False, THREE: True}
    assert await cluster.members(TWO) == {ONE: False, TWO: True, THREE: False}
    await cluster.simulation.fault(TWO, "rejoined")
    assert await cluster.members(TWO) == {ONE: True, TWO: True, THREE: True}


async def test_a_registration_that_fails_halfway_raises_the_number_of_nodes_alone(cluster):
    await cluster.ask(ONE, INIT, node_name_list=[ONE, TWO, THREE])
    await cluster.simulation.fault(FOUR, "halfway")
    status, _ = await cluster.ask(FOUR, REGISTER, contact_node_name=ONE)
    assert status == 500
    assert await cluster.members(ONE) == {ONE: True, TWO: True, THREE: True, FOUR: False}


async def test_a_stale_node_answers_as_it_did_before_the_change(cluster):
    await cluster.ask(ONE, INIT, node_name_list=[ONE, TWO, THREE])
    await cluster.members(TWO)
    await cluster.simulation.fault(TWO, "stale", count=2)
    await cluster.ask(FOUR, REGISTER, contact_node_name=ONE)
    shown = [FOUR in await cluster.members(node) for node in (ONE, TWO, TWO, TWO)]
    assert shown == [True, False, False, True]


async def test_a_duplicated_change_is_performed_twice_and_seen_once_by_who_looks_on():
    seen = []

    def around(cluster, node, request, perform):
        before = world().state
        reply = perform()
        seen.append((cluster, node, before != world().state))
        return reply

    def world():
        return simulation.world("live")

    choices = {"sora": Choices(repeated_init=RepeatedInit.RESET)}
    async with Simulation(fleet(), DRIVERS, choices=choices, around=around) as simulation:
        await simulation.fault(ONE, "duplicate")
        status, _ = await Cluster(simulation).ask(ONE, INIT, node_name_list=NAMES)
        assert status == 200
        assert world().state[0].log.epoch == 1
    assert seen == [("live", ONE, True)]


def test_a_node_that_speaks_tls_is_refused():
    with pytest.raises(UsageError, match=r"node-01.*: simulated nodes support only plain HTTP"):
        Simulation(fleet(scheme="https"), DRIVERS)
