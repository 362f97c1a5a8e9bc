"""A renewed certificate on M2 nodes that do not show which files they have: delivered, and said alike."""

import json

import pytest
from support.commands import run_program
from support.m2_settings import managed_setting

from reconciler.cli.demo_fixtures import DemoNodes
from reconciler.cli.main import main
from reconciler.drivers.m2.simulator import answers
from reconciler.drivers.m2.simulator.answers import make_failure
from reconciler.simulation.addresses import find_free_addresses


class Site:
    def __init__(self, folder, nodes, capsys):
        self.folder, self.capsys, self.nodes = folder / "fleet", capsys, nodes
        self.state = folder / "state"
        self.folder.mkdir()
        members = [
            {"name": f"n{at}", "address": str(place)} for at, place in enumerate(find_free_addresses(2))
        ]
        cluster = {
            "name": "edge",
            "kind": "m2",
            "setting": "s.json",
            "resources": ["a.pem"],
            "nodes": members,
        }
        cluster["timeouts"] = {"settle": 1, "in_flight": 1, "read": 1}
        self.write("fleet.yaml", json.dumps({"clusters": [cluster]}))
        self.write("s.json", managed_setting("a.example", version="1"))
        self.write("a.pem", "one")
        self.simulation = nodes.serve(self.folder)

    def write(self, name, text):
        (self.folder / name).write_text(text)

    def run(self, *arguments, status=0):
        told = run_program(self.capsys, *arguments, self.folder, "--state", self.state, status=status)
        return " ".join(told.split())


@pytest.fixture
def site(tmp_path, monkeypatch, capsys):
    hidden = make_failure(406, "the backup function is disabled", "download")
    monkeypatch.setitem(answers._EXACT, "/setting/download", (("GET",), lambda call: (call.node, hidden)))
    with DemoNodes() as nodes:
        yield Site(tmp_path, nodes, capsys)


def test_a_renewed_certificate_is_planned_delivered_and_then_as_desired_in_all_commands(site):
    site.run("--yes")
    site.write("a.pem", "two")
    assert "2 nodes, 0 as desired, 2 changes" in site.run("--dry-run", "--detailed-exitcode", status=2)
    assert "0 of 2 nodes as desired" in site.run("status", "--detailed-exitcode", status=2)
    assert "Done: 2 changes; verified: no changes remain." in site.run("--yes")
    assert "No changes: 2 nodes are as desired." in site.run("--dry-run", "--detailed-exitcode")
    assert "Converged: 2 nodes are as desired." in site.run("status", "--detailed-exitcode")
    calls = len(site.simulation.calls("n0"))
    site.run("--yes")
    assert not any(call.change for call in site.simulation.calls("n0")[calls:])


def test_a_lost_answer_proves_nothing_and_the_file_is_sent_again(site):
    site.run("--yes")
    site.write("a.pem", "two")
    site.nodes.run_on_loop(site.simulation.fault("n0", "lost", on="changes", count=1))
    site.run("--yes", status=5)
    told = site.run("status", status=1)
    assert "1 of 2 nodes as desired" in told
    assert "n0 waits for a retry" in told
    for command in ("--dry-run", "status"):
        site.run(command, "--detailed-exitcode", status=2)
    assert main(["resume", "edge", "--state", str(site.state)]) == 0
    assert "Done: 1 change" in site.run("--yes")
    assert "Converged" in site.run("status", "--detailed-exitcode")
