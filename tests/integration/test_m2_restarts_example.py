"""The example with restarts of M2 is planned as its expected plans say: a restart-only field, in waves."""

import re
import shutil

import pytest
import yaml

from reconciler.cli.demo_fixtures import DemoNodes, find_examples
from reconciler.cli.main import main
from reconciler.simulation.addresses import find_free_addresses

LOOPBACK = re.compile(r"127\.0\.0\.1:100\d{2}")
DIGEST = re.compile(r"\b[0-9a-f]{12,64}\b")


@pytest.mark.parametrize("form", ["text", "markdown"])
def test_its_change_is_planned_as_expected(tmp_path, monkeypatch, capsys, golden, form):
    monkeypatch.setenv("COLUMNS", "80")
    folder = tmp_path / "m2-restarts"
    shutil.copytree(find_examples() / "m2-restarts", folder)
    fleet, setting = folder / "fleet.yaml", folder / "edge" / "setting.json"
    former = LOOPBACK.findall(fleet.read_text())
    places = [str(place) for place in find_free_addresses(len(former))]
    for one, place in zip(former, places, strict=True):
        fleet.write_text(fleet.read_text().replace(one, place))
    host = tmp_path / "host.yaml"
    started = {"run": ["echo", "InvocationID={node}"], "reads": True}
    commands = {"restart-m2": {"run": ["false"]}, "m2-started": started}
    host.write_text(yaml.safe_dump({"commands": commands}))
    host.chmod(0o600)
    committed = setting.read_text()
    setting.write_text(committed.replace('"memoryUsage": 60', '"memoryUsage": 50'))
    with DemoNodes() as nodes:
        nodes.serve(folder, converged=True)
        setting.write_text(committed)
        options = ["--dry-run", "--no-check", "--host-config", str(host), "--format", form]
        main([*options, "--state", str(tmp_path / "state"), str(folder)])
    shown = capsys.readouterr().out
    for one, place in zip(former, places, strict=True):
        shown = shown.replace(place, one)
    golden(f"examples/m2-restarts.{form}", DIGEST.sub("DIGEST", shown.replace(str(tmp_path), "FOLDER")))
