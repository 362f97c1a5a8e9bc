"""Sora's `stop` as a command of the host: what a tree may say, and what is run where."""

import sys

import pytest
from support.commands import run_program

from reconciler.cli import host_loader as host_module
from reconciler.cli.demo_fixtures import DemoNodes
from reconciler.simulation.addresses import find_free_addresses

NAMES = [f"node-{number}@sora-{number}.example.com" for number in range(1, 6)]


class Site:
    """Five simulated Sora nodes, of which the fleet file no longer names the last."""

    def __init__(self, folder, monkeypatch, capsys, nodes):
        self.folder, self.capsys = folder, capsys
        self.places = [str(place) for place in find_free_addresses(5)]
        self.fleet = folder / "fleet"
        self.fleet.mkdir()
        self.write(NAMES)
        self.simulation = nodes.serve(self.fleet, converged=True)
        self.file = folder / "host.yaml"
        monkeypatch.setattr(host_module, "SYSTEM", self.file)

    def write(self, names, stop="{command: stop-sora, arguments: {unit: sora}}"):
        rows = "".join(
            f'      - {{name: {name}, api: "http://{place}/"}}\n'
            for name, place in zip(NAMES, self.places, strict=True)
            if name in names
        )
        head = f"clusters:\n  - name: live\n    kind: sora\n    stop: {stop}\n    drain: 0\n"
        head += "    timeouts: {settle: 1}\n    nodes:\n"
        (self.fleet / "fleet.yaml").write_text(head + rows)

    def run(self, *arguments, status):
        state = () if "validate" in arguments else ("--state", self.folder / "state")
        return " ".join(run_program(self.capsys, *arguments, self.fleet, *state, status=status).split())


@pytest.fixture
def site(tmp_path, monkeypatch, capsys):
    with DemoNodes() as nodes:
        yield Site(tmp_path, monkeypatch, capsys, nodes)


def test_a_command_line_in_a_tree_is_refused_with_what_to_write_instead(site, tmp_path):
    site.write(NAMES[:4], stop=f'[touch, "{tmp_path}/ran"]')
    for arguments in (["validate"], ["--dry-run"], ["--yes"]):
        output = site.run(*arguments, status=1)
        assert "fleet.yaml:4:11" in output
        assert "not a command line" in output
        assert "write `{command: NAME}` here" in output
        assert f'`commands: {{NAME: {{run: ["touch", "{tmp_path}/ran"]}}}}`' in output
    assert not (tmp_path / "ran").exists()


def test_without_a_host_file_a_dry_run_plans_and_an_apply_is_refused_before_anything_is_done(site):
    site.write(NAMES[:4])
    assert site.run("validate", status=0)
    output = site.run("--dry-run", status=0)
    assert "run the host's command stop-sora" in output
    output = site.run("--yes", status=3)
    assert "[unknown-command]" in output
    assert "this host has no commands" in output
    assert site.simulation.calls(changes=True) == ()


def test_a_dry_run_on_the_host_knows_its_commands(site):
    site.file.write_text("commands: {other: {run: [echo]}}\n")
    site.write(NAMES[:4])
    output = site.run("--dry-run", status=3)
    assert "this host has the commands other" in output


def test_the_hosts_command_is_run_with_the_trees_data(site, tmp_path):
    tell = f"import sys; open('{tmp_path}/ran', 'w').write(' '.join(sys.argv[1:]))"
    run = f'[{sys.executable}, -c, "{tell}", "{{node}}", "{{host}}", "{{unit}}"]'
    site.file.write_text(f"commands:\n  stop-sora:\n    run: {run}\n")
    site.write(NAMES[:4])
    site.run("--yes", status=1)  # the simulated node goes on, so that its stop does not show
    assert (tmp_path / "ran").read_text() == f"{NAMES[4]} sora-5.example.com sora"
