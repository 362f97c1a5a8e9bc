"""The drop-in of the unit: what local entries need is opened, and nothing else."""

import pytest

from reconciler.cli.main import main
from reconciler.host.config import HostConfig
from reconciler.host.systemd_drop_in import render_drop_in

WAY = {"user": "u", "agent": True, "known_hosts": "/k"}


def render(**config):
    return [line for line in render_drop_in(HostConfig(**config)).splitlines() if line and line[0] != "#"]


def test_entries_over_ssh_open_nothing():
    found = render(
        ssh={"far": WAY},
        files={"conf": {"path": "/etc/sora/sora.conf", "ssh": "far", "sudo": True}},
        commands={"restart": {"run": ["systemctl", "restart", "sora"], "ssh": "far", "sudo": True}},
    )
    assert found == []
    assert "needs no opening" in render_drop_in(HostConfig())


def test_the_folders_of_local_files_are_opened_once():
    files = {"a": {"path": "/etc/nginx/a.conf"}, "b": {"path": "/etc/nginx/b.conf"}}
    assert render(files=files) == ["[Service]", "ReadWritePaths=/etc/nginx"]


@pytest.mark.parametrize(
    ("path", "lines"),
    [
        ("/srv/{node}/x/conf", ["ReadWritePaths=/srv"]),
        ('/srv/100% "a"/conf', ['ReadWritePaths="/srv/100%% \\"a\\""']),
        ("/home/joe/conf", ["ProtectHome=tmpfs", "BindPaths=/home/joe"]),
        ("/tmp/x/conf", ["BindPaths=/tmp/x"]),
        ("/homes/joe/conf", ["ReadWritePaths=/homes/joe"]),
    ],
)
def test_a_folder_is_opened_as_the_unit_needs_it(path, lines):
    assert render(files={"a": {"path": path}})[1:] == lines


@pytest.mark.parametrize(
    ("path", "told"), [("/etc/app.conf", True), ("/{node}/conf", True), ("/etc/app/conf", False)]
)
def test_a_folder_that_belongs_to_much_else_is_told(path, told):
    text = render_drop_in(HostConfig(files={"a": {"path": path}}))
    assert ("a folder of its own for the file would open less" in text) is told


def test_sudo_is_opened_only_for_an_entry_that_says_so():
    command = {"run": ["systemctl", "reload", "nginx"]}
    assert render(commands={"reload": command}) == []
    found = render(commands={"reload": command | {"sudo": True}})
    assert {"DynamicUser=no", "NoNewPrivileges=no", "SystemCallFilter="} <= set(found)
    assert not any("ReadWritePaths" in line for line in found)


def test_the_command_prints_it(tmp_path, capsys):
    host = tmp_path / "host.yaml"
    host.write_text("files: {a: {path: /etc/nginx/a.conf}}\n")
    assert main(["unit", "--host-config", str(host)]) == 0
    assert "ReadWritePaths=/etc/nginx" in capsys.readouterr().out
