"""Lines of sudoers: one for each program, exact, also where a fleet file fills in a value."""

import shutil
import subprocess

import pytest

from reconciler.cli.main import main
from reconciler.host.config import HostConfig
from reconciler.transports.sudoers import render_host_sudoers

WAY = {"user": "joe", "agent": True, "known_hosts": "/k"}
COMMANDS = {
    "stop": {"run": ["systemctl", "stop", "sora"], "ssh": "far", "sudo": True},
    "unit": {"run": ["systemctl", "restart", "{unit}"], "ssh": "far", "sudo": True},
    "bare": {"run": ["/opt/a b/reload"], "sudo": True},
    "mark": {"run": ["echo", "^x$", "a{{b}}#c", "v={node}"], "sudo": True},
    "line": {"run": ["echo", "a\nroot ALL=(ALL) ALL"], "sudo": True},
    "free": {"run": ["systemctl", "status"]},
}


def lines(text):
    return [line for line in text.splitlines() if line and line[0] != "#"]


def render(**more):
    config = HostConfig(ssh={"far": WAY}, commands=COMMANDS, files={})
    return lines(render_host_sudoers(config, **more))


def test_each_command_with_sudo_has_a_line_and_no_other():
    head = "reconciler ALL=(root) NOPASSWD:"
    value = "[0-9A-Za-z_.:@+][0-9A-Za-z_.:@+=,%-]*"
    assert render(way="") == [
        f'{head} /opt/a\\ b/reload ""',
        rf"{head} /usr/bin/echo ^\^x\$ a\{{b\}}\#c v={value}$",
    ]
    assert render(way="far") == [
        "joe ALL=(root) NOPASSWD: /usr/bin/systemctl stop sora",
        f"joe ALL=(root) NOPASSWD: /usr/bin/systemctl ^restart {value}$",
    ]
    assert render() == render(way="") + render(way="far")
    assert r"v=n1$" in render(way="", node="n1")[1]


def test_a_way_with_sudo_counts_for_all_its_entries():
    config = HostConfig(
        ssh={"far": WAY | {"sudo": True}},
        commands={"a": {"run": ["id"], "ssh": "far"}},
        files={"b": {"path": "/etc/{node}.conf", "ssh": "far"}},
    )
    found = lines(render_host_sudoers(config))
    assert 'joe ALL=(root) NOPASSWD: /usr/bin/id ""' in found
    assert any("^-f -T -- /etc/[0-9A-Za-z]" in line for line in found)
    assert not any("{node}" in line for line in found)
    assert not any("^" in line for line in lines(render_host_sudoers(config, node="n1")))
    assert "No entry has" in render_host_sudoers(HostConfig())


@pytest.mark.skipif(shutil.which("visudo") is None, reason="needs visudo")
def test_visudo_accepts_all_of_it(tmp_path):
    config = HostConfig(
        ssh={"far": WAY},
        commands=COMMANDS,
        files={"a": {"path": "/etc/a,b: =*?[x]!/{node}#", "sudo": True, "check": ["/opt/check", "{file}"]}},
    )
    path = tmp_path / "sudoers"
    path.write_text(render_host_sudoers(config))
    path.chmod(0o440)
    told = subprocess.run(["visudo", "-c", "-f", path], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr


def test_the_command_prints_it(tmp_path, capsys):
    host = tmp_path / "host.yaml"
    host.write_text("commands: {stop: {run: [systemctl, stop, sora], sudo: true}}\n")
    assert main(["sudoers", "--host-config", str(host)]) == 0
    assert "/usr/bin/systemctl stop sora" in capsys.readouterr().out
    assert main(["sudoers", "--ssh", "far", "--host-config", str(host)]) == 1
    assert "no way `far`" in capsys.readouterr().err
