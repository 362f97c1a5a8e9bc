"""The machine endpoint of a simulation: files and commands of nodes over its wire, and what it refuses."""

import asyncio
import json

import pytest
from support.machine_trials import FIRST, SECOND, MachineTrials

from reconciler.core.file_state import NO_FILE, FilePlace, compute_file_digest
from reconciler.drivers.registry import DRIVERS
from reconciler.errors import NodeRefused, NodeUnreachable, UsageError
from reconciler.fault_trials.setup import load_trial_fleet
from reconciler.ports.simulator import RequestWay
from reconciler.ports.transport import Transports
from reconciler.simulation.faults import make_fault
from reconciler.simulation.machine_call import make_call, make_target
from reconciler.simulation.machine_transports import add_machines
from reconciler.simulation.node_host import Simulation
from reconciler.transports.bundle import open_transports

PLACE = FilePlace("sora-conf", FIRST)
NEW = b"cluster = true\ncluster_relay = false\n"


@pytest.fixture
async def simulation(tmp_path):
    fleet = load_trial_fleet_in_thread(MachineTrials(tmp_path).folder / "machines-before")
    async with Simulation(await fleet, DRIVERS, converged=True) as served:
        yield served


async def load_trial_fleet_in_thread(folder):
    return await asyncio.to_thread(load_trial_fleet, folder)


@pytest.fixture
async def ways(simulation):
    async with open_transports() as transports:
        yield add_machines(transports, simulation.machines_url)


def get_file(simulation, node=FIRST):
    return simulation.world("live").machines[node].files["sora-conf"]


async def test_a_file_is_staged_switched_and_restored(simulation, ways):
    before = await ways.files.read(PLACE)
    assert b"signaling_port = 5000" in before.content
    await ways.files.stage(PLACE, NEW)
    staged = await ways.files.read(PLACE)
    assert (staged.content, staged.staged) == (before.content, compute_file_digest(NEW))
    await ways.files.switch(PLACE, before=before.digest, after=compute_file_digest(NEW))
    assert get_file(simulation).content == NEW
    await ways.files.restore(PLACE, before=compute_file_digest(NEW), after=before.digest)
    assert get_file(simulation).content == before.content
    await ways.files.discard(PLACE)


async def test_what_a_machine_refuses_is_told_with_its_reason(simulation, ways):
    with pytest.raises(NodeRefused, match=r"refused by its check: .*api_port") as refused:
        await ways.files.stage(PLACE, b"api_port = 99999\n")
    assert not refused.value.again
    with pytest.raises(NodeRefused, match="not in `files`"):
        await ways.files.read(FilePlace("passwords", FIRST))
    with pytest.raises(NodeRefused, match="no command 'rm'"):
        await ways.commands.run("rm", {}, node=FIRST)
    with pytest.raises(NodeRefused, match="does more than read"):
        await ways.commands.read("stop-sora", {}, node=FIRST)
    with pytest.raises(NodeRefused, match="no version was given"):
        await ways.commands.run("upgrade-sora", {}, node=FIRST)
    with pytest.raises(NodeUnreachable):
        await ways.commands.run("stop-sora", {}, node="somebody@else.example.com")
    assert simulation.is_up(FIRST)


async def test_a_content_that_comes_in_part_is_never_staged(simulation, ways):
    former = get_file(simulation).content
    for count in range(len(NEW) + 1):
        await simulation.fault(FIRST, "torn", count, count=1)
        with pytest.raises(NodeUnreachable):
            await ways.files.stage(PLACE, NEW)
        shown = await ways.files.read(PLACE)
        assert (shown.content, shown.staged, shown.leftover) == (former, NO_FILE, True)
        with pytest.raises(NodeRefused, match="not the content beside it"):
            await ways.files.switch(PLACE, before=shown.digest, after=compute_file_digest(NEW[:count]))


async def test_a_full_disk_holds_until_the_fault_ends(simulation, ways):
    await simulation.fault(FIRST, "full", count=2)
    for _ in range(2):
        with pytest.raises(NodeRefused, match="No space left on device"):
            await ways.files.stage(PLACE, NEW)
    await ways.files.stage(PLACE, NEW)


async def test_commands_stop_start_and_upgrade_a_node(simulation, ways):
    first = await ways.commands.read("sora-started", {}, node=FIRST)
    await ways.commands.run("stop-sora", {"node": FIRST}, node=FIRST)
    assert (simulation.is_up(FIRST), simulation.is_stopped(FIRST)) == (False, True)
    await ways.commands.run("upgrade-sora", {"version": "9"}, node=FIRST)
    assert simulation.world("live").site.versions[FIRST] != "9", "the process is the former one"
    get_file(simulation).content = b"external_api_url = http://new.example.com/\n"
    await ways.commands.run("start-sora", {}, node=FIRST)
    assert (simulation.is_up(FIRST), simulation.is_stopped(FIRST)) == (True, False)
    assert await ways.commands.read("sora-started", {}, node=FIRST) != first
    assert simulation.world("live").site.versions[FIRST] == "9"
    rows = await ask(simulation, SECOND)
    (row,) = (one for one in rows if one["node_name"] == FIRST)
    assert (row["version"], row["external_api_url"]) == ("9", "http://new.example.com/")


async def test_a_node_does_not_start_with_a_file_that_it_cannot_read(simulation, ways):
    get_file(simulation).content = b"no pair\n"
    with pytest.raises(NodeRefused, match="does not start"):
        await ways.commands.run("restart-sora", {}, node=FIRST)
    assert not simulation.is_up(FIRST)


async def test_a_node_is_down_after_a_command_and_nobody_has_stopped_it(simulation, ways):
    await simulation.fault(FIRST, "down")
    await ways.commands.run("restart-sora", {}, node=FIRST)
    assert (simulation.is_up(FIRST), simulation.is_stopped(FIRST)) == (False, False)


async def test_an_edit_adds_a_line_and_needs_a_file(simulation):
    former = get_file(simulation).content
    await simulation.fault(FIRST, "edited")
    assert get_file(simulation).content == former + b"# changed by hand\n"
    with pytest.raises(UsageError, match="it has no files"):
        await simulation.fault("edge-01", "edited")


@pytest.mark.parametrize("target", ["/", "/x", "/a/b/c/d", "/a/file/read/b/c"])
async def test_other_requests_are_refused(simulation, ways, target):
    answer = await ways.http.send("POST", simulation.machines_url + target, node="x", timeout=5)
    assert answer.status in {400, 404}


def test_a_path_may_have_any_name_in_it():
    assert make_target("a/b@c d", RequestWay.FILE, "read", "é") == "/a%2Fb%40c%20d/file/read/%C3%A9"


@pytest.mark.parametrize("fault", ["torn", "full", "down"])
def test_faults_of_machines_have_one_scope(fault):
    with pytest.raises(UsageError, match="cannot be only for reads"):
        make_fault(fault, on="reads")


async def test_the_program_of_the_host_configuration_gives_a_status(simulation, capsys, tmp_path):
    async def call(*arguments):
        return await asyncio.to_thread(make_call, [simulation.machines_url, *map(str, arguments)])

    assert await call("read", "sora-started", FIRST) == 0
    assert capsys.readouterr().out.startswith("start ")
    assert await call("run", "upgrade-sora", FIRST, "version=9") == 0
    assert await call("run", "rm", FIRST) == 1
    assert "no command 'rm'" in capsys.readouterr().err
    folder = tmp_path / FIRST
    folder.mkdir()
    (folder / "good").write_bytes(NEW)
    (folder / "bad").write_bytes(b"no pair\n")
    assert await call("check", "sora-conf", folder / "good") == 0
    assert await call("check", "sora-conf", folder / "bad") == 1
    await simulation.fault(FIRST, "lost", on="commands")
    assert await call("run", "restart-sora", FIRST) == 255


async def ask(simulation, node):
    async with open_transports() as transports:
        answer = await transports.http.send(
            "POST",
            f"http://{simulation.nodes[node]}/",
            node=node,
            timeout=5,
            headers={"x-sora-target": "Sora_20211215.ListClusterNodes"},
        )
    return json.loads(answer.body)


def test_without_machines_the_transports_stay_as_they_are():
    ways = Transports()
    assert add_machines(ways, "") is ways
