"""The example unit read by systemd itself: every line is known to it, and little of the machine is open."""

import subprocess
from pathlib import Path

import pytest

from reconciler.host.config import HostConfig
from reconciler.host.systemd_drop_in import render_drop_in

UNIT = Path(__file__).parents[2] / "examples/systemd/reconcile-watch.service"
EXPOSED = 20
"""Tenths of systemd's own measure of what a service may do, from 0 to 100; "OK" ends at 40."""

pytestmark = pytest.mark.component("systemd-analyze")


def analyzed(*arguments):
    told = subprocess.run(
        ["systemd-analyze", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    return told.returncode, told.stdout + told.stderr


def test_systemd_knows_every_line_of_the_unit(tmp_path):
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/reconciler/bin/reconcile", "/bin/true"))
    assert analyzed("verify", "--man=no", "--recursive-errors=yes", unit) == (0, "")
    unit.write_text(unit.read_text().replace("DynamicUser", "DynamicUsers"))
    status, told = analyzed("verify", "--man=no", "--recursive-errors=yes", unit)
    assert (status, "'DynamicUsers'" in told) == (1, True)


def test_the_unit_leaves_little_of_the_machine_open():
    status, told = analyzed("security", "--offline=true", f"--threshold={EXPOSED}", "--no-pager", UNIT)
    assert status == 0, told


def test_systemd_knows_every_line_of_a_generated_drop_in(tmp_path):
    config = HostConfig(
        files={"a": {"path": '/srv/100% "a"/conf', "sudo": True}, "b": {"path": "/home/joe/conf"}},
        commands={"reload": {"run": ["systemctl", "reload", "nginx"], "sudo": True}},
    )
    unit = tmp_path / UNIT.name
    text = UNIT.read_text().replace("/opt/reconciler/bin/reconcile", "/bin/true")
    unit.write_text(text.replace("[Install]", render_drop_in(config).replace("[Service]", "") + "[Install]"))
    status, told = analyzed("verify", "--man=no", "--recursive-errors=yes", unit)
    # The user is made by the administrator who installs the drop-in.
    assert [line for line in told.splitlines() if "reconciler" not in line] == []
    assert status == 0 or "reconciler" in told
