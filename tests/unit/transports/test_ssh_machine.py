"""Machines over SSH, against asyncssh's own server: what runs there, how it ends, and what is known after."""

import asyncio
import shlex
import time
from pathlib import Path

import pytest
from support.ssh_servers import NODE, machines_of, ssh_site

from reconciler.errors import NodeRefused, NodeUnreachable
from reconciler.host.config import HostConfig
from reconciler.host.environment import Environment
from reconciler.host.host import Host
from reconciler.host.subprocesses import OutputTooLarge, ProgramMissing, ProgramTimeout
from reconciler.transports.command import CommandTransport
from reconciler.transports.machines.host_machines import HostMachines
from reconciler.transports.machines.machine import MachineUnreachable, ProgramLost
from reconciler.transports.machines.ssh import write_command_line


@pytest.fixture
async def site(tmp_path):
    async with ssh_site(tmp_path / "site") as found:
        yield found


@pytest.fixture
async def machine(site):
    async with machines_of({"far": site.way()}) as machines:
        yield machines.find("far", values=NODE)


HOSTILE = [
    "a b",
    "$(touch /tmp/x)",
    "`id`",
    "'",
    '"',
    "\\",
    "\n",
    ";",
    "&&",
    "|",
    ">",
    "*",
    "~",
    "!",
    "#",
    "",
]


async def test_each_argument_stays_one_argument(machine):
    done = await machine.run(["printf", "%s\\0", *HOSTILE], seconds=5)
    assert done.out.decode().split("\0")[:-1] == HOSTILE


def test_a_program_is_no_variable_and_no_word_of_the_shell_for_arguments():
    assert write_command_line(["A=b", "c"]) == "'A=b' c"
    assert write_command_line(["systemctl", "stop", "sora"]) == "systemctl stop sora"
    assert shlex.split(write_command_line(["it's", *HOSTILE])) == ["it's", *HOSTILE]
    with pytest.raises(ProgramMissing, match="NUL"):
        write_command_line(["a", "b\0c"])


async def test_input_output_and_status_are_those_of_the_program(machine):
    data = bytes(range(256)) * 2000
    done = await machine.run(["cat"], content=data, seconds=10, limit=len(data))
    assert done.out == data
    done = await machine.run(["sh", "-c", "echo out; echo err >&2; exit 3"], seconds=5)
    assert (done.status, done.out, done.error) == (3, b"out\n", b"err\n")
    assert (await machine.run(["/nowhere/x"], seconds=5)).status == 127
    done = await machine.run(["sh", "-c", "kill -TERM $$"], seconds=5)
    assert done.status in {-15, 128 + 15}  # by the server, or by the shell in between


async def test_the_tail_has_both_streams_and_is_bounded(machine):
    done = await machine.run(["sh", "-c", "seq 1000; sleep .1; echo end >&2"], seconds=5, limit=10, tail=True)
    assert done.out == b"0\n999\n1000\nend\n"[-10:]
    assert done.error == b""


async def test_a_program_that_takes_too_long_is_really_ended(machine, tmp_path):
    begun = time.monotonic()
    with pytest.raises(ProgramTimeout, match=r"within 0\.3 s and was killed"):
        await machine.run(["sh", "-c", f"echo $$ > {tmp_path}/pid; sleep 60; true"], seconds=0.3)
    assert time.monotonic() - begun < 3
    await _wait_for_end(tmp_path)


async def test_one_that_writes_too_much_is_really_ended(machine, tmp_path):
    with pytest.raises(OutputTooLarge, match=r"more than 1,000 bytes and was killed"):
        await machine.run(["sh", "-c", f"echo $$ > {tmp_path}/pid; exec yes"], seconds=30, limit=1000)
    await _wait_for_end(tmp_path)


async def test_one_that_is_cancelled_is_ended(machine, tmp_path):
    task = asyncio.ensure_future(machine.run(["sh", "-c", f"echo $$ > {tmp_path}/pid; sleep 60"], seconds=60))
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await _wait_for_end(tmp_path)


async def _wait_for_end(folder):
    for _ in range(200):
        if not _is_running(int((folder / "pid").read_text())):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it still runs")


def _is_running(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_what_remains_after_a_timeout_is_said(tmp_path):
    async def deaf(process):
        await asyncio.sleep(30)

    async with ssh_site(tmp_path, run=deaf) as site, machines_of({"far": site.way()}) as machines:
        with pytest.raises(ProgramTimeout, match=r"may still run at reconciler@127\.0\.0\.1:"):
            await machines.find("far", values=NODE).run(["x"], seconds=0.1)


async def test_a_daemon_that_holds_the_pipes_does_not_hold_the_command(machine):
    begun = time.monotonic()
    done = await machine.run(["sh", "-c", "echo out; sleep 20 & exit 0"], seconds=15)
    assert (done.status, done.out) == (0, b"out\n")
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("before", ["", "echo half; "])
async def test_a_connection_that_breaks_in_a_command_leaves_its_effect_unknown(
    site, machine, tmp_path, before
):
    task = asyncio.ensure_future(
        machine.run(["sh", "-c", f"{before}touch {tmp_path}/begun; sleep 5"], seconds=60)
    )
    while not (tmp_path / "begun").exists():
        await asyncio.sleep(0.01)
    site.cut()
    with pytest.raises(
        ProgramLost, match="broke while it ran; whether it had an effect is unknown"
    ) as caught:
        await task
    assert caught.value.sent
    assert (await machine.run(["echo", "again"], seconds=5)).out == b"again\n"


async def test_output_without_a_status_is_not_a_result(tmp_path):
    async def vanish(process):
        process.stdout.write(b"half")
        process.stdout.write_eof()
        process.channel.close()

    async with ssh_site(tmp_path, run=vanish) as site, machines_of({"far": site.way()}) as machines:
        with pytest.raises(ProgramLost):
            await machines.find("far", values=NODE).run(["x"], seconds=5)


async def test_sudo_stands_in_front_of_the_program(site):
    async with machines_of({"far": site.way(), "root": site.way(sudo=True)}) as machines:
        for machine in (machines.find("root", values=NODE), machines.find("far", sudo=True, values=NODE)):
            await machine.run(["id", "-u"], seconds=5)
        await machines.find("far", values=NODE).run(["id", "-u"], seconds=5)
    assert site.counts.commands == ["sudo -n -- id -u", "sudo -n -- id -u", "id -u"]


@pytest.mark.parametrize("host", ["", "-oProxyCommand=x", "a b", "a/b", "a;b", "é", "a@b", "{host}"])
async def test_a_host_of_the_fleet_file_is_a_name_or_an_address(site, host):
    async with machines_of({"far": site.way()}) as machines:
        with pytest.raises(MachineUnreachable, match="neither the name nor the address"):
            machines.find("far", values=NODE | {"host": host})
        with pytest.raises(MachineUnreachable, match="no way 'other'"):
            machines.find("other", values=NODE)


def commands(site, **entry):
    config = HostConfig(ssh={"far": site.way()}, commands={"restart": {"ssh": "far"} | entry})
    host = Host(config, Environment({"PATH": "/usr/bin:/bin"}))
    return CommandTransport(host, HostMachines(host))


async def test_a_command_of_the_host_runs_on_the_machine_of_the_node(site):
    transport = commands(site, run=["echo", "restarted", "{unit}"])
    done = await transport.run("restart", NODE | {"unit": "sora@1.service"}, node="n")
    assert done == "the command restart ended with status 0: restarted sora@1.service"
    with pytest.raises(NodeRefused, match="the value of unit"):
        await transport.run("restart", NODE | {"unit": "a;b"}, node="n")
    assert site.counts.commands == ["echo restarted sora@1.service"]
    await transport._machines.aclose()


async def test_the_failure_of_a_command_says_what_is_known(site):
    transport = commands(site, run=["sleep", "60"], timeout=0.2)
    with pytest.raises(
        NodeUnreachable, match=r"the command restart did not end within 0\.2 s and was killed"
    ):
        await transport.run("restart", NODE, node="n")
    transport = commands(site, run=["sh", "-c", "echo password=hunter2secret; exit 4"])
    with pytest.raises(NodeRefused, match="status 4") as caught:
        await transport.run("restart", NODE, node="n")
    assert "hunter2secret" not in str(caught.value)
