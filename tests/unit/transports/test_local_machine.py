"""This machine as a machine: argument vectors, bounds, and what is known after a failure."""

import sys

import pytest

from reconciler.errors import NodeRefused, NodeUnauthorized, NodeUnidentified, NodeUnreachable
from reconciler.host.subprocesses import OutputTooLarge, ProgramMissing, ProgramResult, ProgramTimeout
from reconciler.transports.machines.local import LocalMachine
from reconciler.transports.machines.machine import (
    LoginRefused,
    MachineUnidentified,
    MachineUnreachable,
    ProgramLost,
    explain_sudo,
    make_node_error,
)

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "TOKEN": "s3cret", "SSH_AUTH_SOCK": "/tmp/agent"}


async def test_a_program_gets_its_arguments_and_its_input_unchanged():
    program = "import sys; print(sys.argv[1:], sys.stdin.read())"
    done = await LocalMachine(ENVIRONMENT).run(
        [sys.executable, "-c", program, "a b", "$(id)", "'\n"], content=b"data", seconds=10
    )
    assert done.out.decode() == "['a b', '$(id)', \"'\\n\"] data\n"
    assert done.status == 0


async def test_it_gets_the_named_variables_alone():
    machine = LocalMachine(ENVIRONMENT, variables=["SSH_AUTH_SOCK"])
    done = await machine.run(["env"], seconds=10)
    assert sorted(done.out.decode().split()) == ["PATH=/usr/bin:/bin", "SSH_AUTH_SOCK=/tmp/agent"]


async def test_time_and_output_are_bounded():
    machine = LocalMachine(ENVIRONMENT)
    with pytest.raises(ProgramTimeout):
        await machine.run(["sleep", "60"], seconds=0.1)
    with pytest.raises(OutputTooLarge):
        await machine.run(["seq", "1000"], seconds=10, limit=10)
    assert (await machine.run(["seq", "1000"], seconds=10, limit=5, tail=True)).out == b"1000\n"


async def test_sudo_asks_nobody(tmp_path):
    fake = tmp_path / "sudo"
    fake.write_text('#!/bin/sh\nprintf "%s " "$@"')
    fake.chmod(0o755)
    machine = LocalMachine({"PATH": f"{tmp_path}:/usr/bin:/bin"}, sudo=True)
    assert (await machine.run(["id", "-u"], seconds=10)).out == b"-n -- id -u "


@pytest.mark.parametrize(
    ("error", "expected", "is_lost"),
    [
        (LoginRefused("no"), NodeUnauthorized, False),
        (MachineUnidentified("no"), NodeUnidentified, False),
        (MachineUnreachable("no"), NodeUnreachable, False),
        (ProgramMissing("no"), NodeRefused, False),
        (ProgramLost("broke"), NodeUnreachable, True),
        (ProgramTimeout("did not end"), NodeUnreachable, True),
        (OutputTooLarge("wrote"), NodeUnreachable, True),
    ],
)
def test_each_failure_says_whether_the_program_may_have_had_an_effect(error, expected, is_lost):
    found = make_node_error(error, "n", "the command x")
    assert type(found) is expected
    assert found.is_lost is is_lost


@pytest.mark.parametrize(
    ("result", "is_sudo"),
    [
        (ProgramResult(1, b"", b"sudo: a password is required\n"), True),
        (ProgramResult(1, b"Sorry, user x is not allowed to execute '/bin/id' as root on h.\n", b""), True),
        (ProgramResult(0, b"sudo: fine", b""), False),
        (ProgramResult(1, b"", b"no such unit"), False),
    ],
)
def test_a_refusal_by_sudo_has_its_remedy(result, is_sudo):
    assert bool(explain_sudo(result)) is is_sudo
