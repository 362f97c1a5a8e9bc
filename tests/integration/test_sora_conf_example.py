"""The example with a sora.conf is planned as its expected plans say, in each form of output."""

import re
import shutil

import pytest
import yaml

from reconciler.cli.demo_fixtures import DemoNodes, find_examples
from reconciler.cli.main import main
from reconciler.simulation.addresses import find_free_addresses

LOOPBACK = re.compile(r"127\.0\.0\.1:13\d{3}")
DIGEST = re.compile(r"\b[0-9a-f]{12,64}\b")


@pytest.fixture
def site(tmp_path, monkeypatch):
    """The example on free ports, whose nodes are files and commands of this machine, one change behind."""
    monkeypatch.setenv("COLUMNS", "80")
    folder = tmp_path / "sora-conf"
    shutil.copytree(find_examples() / "sora-conf", folder)
    names = [
        node["name"] for node in yaml.safe_load((folder / "fleet.yaml").read_text())["clusters"][0]["nodes"]
    ]
    ports = {}
    places = iter(find_free_addresses(len(names)))

    def move(found):
        return str(ports.setdefault(found[0], next(places)) if found[0] not in ports else ports[found[0]])

    for path in (folder / "fleet.yaml", *sorted((folder / "nodes").iterdir())):
        path.write_text(LOOPBACK.sub(move, path.read_text()))
    fleet = folder / "fleet.yaml"
    without = re.sub(r"    windows:\n( {6}- .*\n)+", "", fleet.read_text())  # else it depends on the hour
    fleet.write_text(without)
    committed = (folder / "sora.conf").read_text()
    for name in names:
        own = tmp_path / "machines" / name
        own.mkdir(parents=True)
        overlay = next((folder / "nodes").glob(f"{name.partition('@')[0]}.conf")).read_text()
        text = committed.replace("affinity_threshold = 20", "affinity_threshold = 5")
        lines = f"# by hand\ncluster = true\nnode_name = {name}\nlog_level = info\n"
        (own / "sora.conf").write_text(f"{lines}{text}{overlay}")
        (own / "started").write_text(f"InvocationID={name}\n")
    host = tmp_path / "host.yaml"
    machines = tmp_path / "machines"
    commands = yaml.safe_load((folder / "host.yaml").read_text())["commands"]
    host.write_text(
        yaml.safe_dump(
            {
                "files": {"sora-conf": {"path": f"{machines}/{{node}}/sora.conf"}},
                "commands": {
                    **{name: {"run": ["/bin/false", *entry["run"][-1:]]} for name, entry in commands.items()},
                    "sora-started": {"run": ["cat", f"{machines}/{{node}}/started"], "reads": True},
                },
            }
        )
    )
    host.chmod(0o600)
    with DemoNodes() as nodes:
        nodes.serve(folder, converged=True)
        yield folder, host, ports


@pytest.mark.parametrize("form", ["text", "json", "markdown"])
def test_its_change_is_planned_as_expected(site, capsys, golden, form):
    folder, host, ports = site
    more = ["--no-check"] if form == "markdown" else []
    main(
        [
            "--dry-run",
            "--host-config",
            str(host),
            "--state",
            str(folder.parent / "state"),
            "--format",
            form,
            *more,
            str(folder),
        ]
    )
    shown = capsys.readouterr().out
    for former, place in ports.items():
        shown = shown.replace(str(place), former)
    golden(f"examples/sora-conf.{form}", DIGEST.sub("DIGEST", shown.replace(str(folder.parent), "FOLDER")))
