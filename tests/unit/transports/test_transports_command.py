"""Commands of the host: the fleet file gives a name and data, and never decides what is run."""

import asyncio
import json
import sys

import pytest

from reconciler.errors import NodeRefused, NodeUnreachable
from reconciler.host.config import HostConfig
from reconciler.host.environment import Environment
from reconciler.host.host import Host
from reconciler.transports.command import BadCommand, CommandTransport, fill_arguments
from reconciler.transports.machines.host_machines import HostMachines

NODE = {"node": "node-01@h.example", "host": "h.example"}
TELL = "import json, os, sys; print(json.dumps([sys.argv[1:], dict(os.environ)]))"


def host(*run, environment=None, **more):
    config = HostConfig(commands={"stop-sora": {"run": run, **more}})
    return Host(config, Environment(environment or {"PATH": "/usr/bin:/bin"}))


def make_transport(own):
    return CommandTransport(own, HostMachines(own))


def run(*command, values=NODE, **more):
    return make_transport(host(*command, **more)).run("stop-sora", values, node="n")


@pytest.mark.parametrize(
    ("vector", "values", "filled"),
    [
        (["ssh", "{host}", "stop"], {}, ("ssh", "h.example", "stop")),
        (["x", "a@{host}", "--node={node}"], {}, ("x", "a@h.example", "--node=node-01@h.example")),
        (["x", "{unit}"], {"unit": "sora@1.service"}, ("x", "sora@1.service")),
        (["awk", "{{print}}", "{{{node}}}"], {}, ("awk", "{print}", "{node-01@h.example}")),
        (["x", "{Node}", "{ node }", "${HOME}", "$(x)"], {}, ("x", "{Node}", "{ node }", "${HOME}", "$(x)")),
    ],
)
def test_values_are_put_into_the_arguments_and_stay_single(vector, values, filled):
    assert fill_arguments(vector, NODE | values) == filled


@pytest.mark.parametrize(
    "value",
    ["-oProxyCommand=sh", "--", "-", "", "a b", "a\tb", "a\nb", "a;b", "a|b", "$(a)", "`a`", "a&b", "a>b",
     "~", "a*", "a?", "[a]", "{a}", "a'b", 'a"b', "a\\b", "a/b", "../a", "a\0b", "ä", "=a", "a" * 257,
     "%n", "#a", "!a", "a\n"],
)  # fmt: skip
def test_a_value_with_an_option_or_shell_characters_is_refused(value):
    for name in ("node", "host", "unit"):
        with pytest.raises(BadCommand, match=f"the value of {name}"):
            fill_arguments(["x", "{node}", "{host}", "{unit}"], NODE | {"unit": "u"} | {name: value})


def test_a_missing_or_unused_value_is_named():
    with pytest.raises(BadCommand, match=r"needs a value for \{unit\}"):
        fill_arguments(["x", "{unit}"], NODE)
    with pytest.raises(BadCommand, match="no placeholder for unit"):
        fill_arguments(["x", "{node}"], NODE | {"unit": "u"})


@pytest.mark.parametrize("program", ["{unit}", "/opt/{unit}", "{node}"])
def test_the_host_alone_chooses_the_program(program):
    with pytest.raises(ValueError, match="must not contain a placeholder"):
        host(program)


async def test_it_gets_its_arguments_and_an_environment_without_secrets():
    environment = {
        "PATH": "/usr/bin:/bin",
        "RECONCILE_GIT_TOKEN": "s3cret",
        "RECONCILE_SECRET_A": "s3cret",
        "LD_PRELOAD": "/tmp/x",
        "PYTHONPATH": "/tmp",
        "DISPLAY": "/tmp/agent",
    }
    said = await run(sys.executable, "-c", TELL, "{node}", environment=environment)
    arguments, seen = json.loads(said.partition(": ")[2])
    assert arguments == ["node-01@h.example"]
    assert {name for name in seen if not name.startswith("LC_")} == {"PATH"}
    said = await run(sys.executable, "-c", TELL, environment=environment, variables=["DISPLAY", "ABSENT"])
    assert json.loads(said.partition(": ")[2])[1]["DISPLAY"] == "/tmp/agent"


async def test_only_a_command_that_the_host_marks_as_reading_observes_nodes():
    transport = make_transport(host("echo", "7f", reads=True))
    assert await transport.read("stop-sora", {}, node="n") == "7f\n"
    with pytest.raises(NodeRefused, match="not marked as one that only reads, so nothing was run") as caught:
        await make_transport(host("touch", "/nonexistent/ran")).read("stop-sora", {}, node="n")
    assert "reads: true" in caught.value.remedy


async def test_the_end_of_the_output_is_kept():
    said = await run(sys.executable, "-c", "print('x' * 9999); print('stopped\\x1b[2J')")
    assert said.endswith("stopped [2J")
    assert len(said) < 500


async def test_what_the_host_does_not_have_is_refused():
    with pytest.raises(NodeRefused, match="no command 'other'") as caught:
        await make_transport(host("true")).run("other", NODE, node="n")
    assert "`commands` of the host configuration" in caught.value.remedy


async def test_a_missing_program_is_named():
    with pytest.raises(NodeRefused, match=r"cannot run the command stop-sora: No such file") as caught:
        await run("/nowhere/stop")
    assert caught.value.code == "COMMAND"


async def test_a_failure_has_its_status_and_output():
    with pytest.raises(NodeRefused, match="status 3: no such unit") as caught:
        await run(sys.executable, "-c", "import sys; print('no such unit'); sys.exit(3)")
    assert caught.value.status == 3


async def test_one_that_does_not_end_is_killed_and_its_effect_is_not_known():
    with pytest.raises(NodeUnreachable, match=r"did not end within 0\.2 s and was killed"):
        await run("sleep", "60", timeout=0.2)


async def test_one_that_is_cancelled_is_killed(tmp_path):
    task = asyncio.ensure_future(run("sh", "-c", f"touch {tmp_path}/began; sleep 60; touch {tmp_path}/ended"))
    while not (tmp_path / "began").exists():
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
