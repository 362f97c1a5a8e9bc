"""A product of another package goes through every command, and no file of the program knows it.

Its clusters are changed as a whole, by commands of the host, without settings files and with no way back.
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from products.installed import HERE, install, installed
from support.commands import run_program
from support.git_repositories import ALONE

from reconciler.cli import host_loader as host_module
from reconciler.cli.demo_fixtures import DemoNodes
from reconciler.simulation.addresses import find_free_addresses
from reconciler.simulation.faults import make_fault

ROOT = Path(__file__).parents[2]
PATIENCE = 30


class Site:
    """Two simulated beacons, a fleet file for them, and a host with the commands that reach them."""

    def __init__(self, folder, monkeypatch, capsys):
        self.folder, self.capsys = folder, capsys
        self.places = [str(place) for place in find_free_addresses(2)]
        self.fleet = folder / "fleet"
        self.fleet.mkdir()
        self.write("slow")
        program = [sys.executable, "-I", "-S", str(HERE / "beacon/beaconctl.py"), "{host}"]
        commands = {"beacon-show": [*program, "show"], "beacon-set": [*program, "set", "{pattern}"]}
        host = {
            "commands": {
                name: {"run": run, "reads": name == "beacon-show"} for name, run in commands.items()
            },
            "state": str(folder / "state"),
        }
        self.host = folder / "host.yaml"
        self.host.write_text(json.dumps(host))
        monkeypatch.setattr(host_module, "SYSTEM", self.host)

    def write(self, pattern, more=""):
        listed = enumerate(self.places, 1)
        nodes = [f"      - {{name: light-{number}, address: '{place}'}}" for number, place in listed]
        head = ["clusters:", "  - name: harbour", "    kind: beacon", f"    pattern: {pattern}", "    nodes:"]
        (self.fleet / "fleet.yaml").write_text("\n".join([more, *head, *nodes, ""]))

    def run(self, *arguments, status=0):
        return run_program(self.capsys, *arguments, status=status)

    @property
    def patterns(self):
        return set(self.simulation.world("harbour").patterns.values())

    @property
    def changes(self):
        return [call.asked for call in self.simulation.calls(changes=True)]


@pytest.fixture
def site(tmp_path, monkeypatch, capsys):
    with installed("beacon", tmp_path / "packages"):
        yield Site(tmp_path, monkeypatch, capsys)


@pytest.fixture
def served(site):
    with DemoNodes() as nodes:
        site.simulation = nodes.serve(site.fleet)
        yield site


def test_it_is_validated_planned_checked_applied_and_remembered(served):
    assert "1 cluster with 2 nodes" in served.run("validate", served.fleet)
    plan = served.folder / "plan.json"
    told = served.run(served.fleet, "--dry-run", "--out", plan)
    assert "light-1 flashes dark, light-2 flashes dark" in told
    assert "there is no model of beacon to explore" in served.run("check", served.fleet)
    assert served.changes == []
    assert "Done: 1 change; verified: no changes remain." in served.run("apply", plan, served.fleet)
    assert (served.patterns, served.changes) == ({"slow"}, ["/set/slow"]), "one step for the whole cluster"
    assert "2 of 2 nodes as desired" in served.run("status", served.fleet)
    (run,) = json.loads(served.run("history", "--format", "json"))
    assert "light-1" in served.run("history", "show", run["id"])
    assert "No changes: 2 nodes are as desired." in served.run(served.fleet, "--yes")


def test_a_change_by_hand_is_planned_back_and_a_lost_answer_is_settled_by_reading(served):
    served.simulation.world("harbour").patterns["light-2"] = "fast"
    assert "0 of 2 nodes as desired" in served.run("status", served.fleet)
    served.simulation.lay("light-1", make_fault("lost"))
    assert "Done: 1 change" in served.run(served.fleet, "--yes")
    assert (served.patterns, served.changes) == ({"slow"}, ["/set/slow"])


def test_a_light_that_does_not_answer_holds_the_whole_cluster_up_and_none_can_be_planned_alone(served):
    served.simulation.lay("light-2", make_fault("cut"))
    told = served.run(served.fleet, "--dry-run", status=1)
    assert "light-2 cannot be asked" in told
    assert "[node-unreachable]" in told
    told = served.run(served.fleet, "--dry-run", "--only", "light-1", status=1)
    assert "light-1 cannot be planned alone: a beacon cluster is planned as a whole" in told


def test_live_beacons_are_imported_by_an_option_of_their_own(served):
    served.run(served.fleet, "--yes")
    new = served.folder / "new"
    told = served.run("import", new, "--beacon", f"harbour={','.join(served.places)}", "--yes")
    assert "+    pattern: slow" in told
    assert "No changes: 2 nodes are as desired." in served.run(new, "--yes")


def test_messages_of_its_steps_arrive(served):
    class Sink(BaseHTTPRequestHandler):
        def do_POST(self):
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            """Nothing."""

    got = []
    with HTTPServer(("127.0.0.1", 0), Sink) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        served.write("fast", f"feedback: {{url: 'http://127.0.0.1:{server.server_port}/'}}")
        served.run(served.fleet, "--yes")
        server.shutdown()
    (message,) = got
    assert message["node"]["hostname"] == "light-1"
    assert message["action"]["api"] == "/set"
    assert message["parameters"][0]["result"]["status"] == "ok"


def test_it_is_put_on_trial_with_faults_and_deaths_of_the_reconciler(site):
    scenario = site.folder / "scenario.yaml"
    scenario.write_text(
        "name: Storm\nfleet: fleet\nrandom: {faults: 4, kills: 2}\n"
        "faults: [{fault: lost, node: light-1, at: {change: 1}}]\n"
    )
    told = site.run("simulate", "--faults", scenario, "--runs", "20")
    assert "passed: 20 schedules" in told
    assert "every invariant held" in told


def test_a_fleet_of_it_is_made_up(site):
    site.run("simulate", site.folder / "made", "--write", "--kind", "beacon", "--nodes", "3")
    assert "1 cluster with 3 nodes" in site.run("validate", site.folder / "made")


def test_the_watch_keeps_it_as_desired(served):
    places = install("beacon", served.folder / "watched")
    environment = {**os.environ, **ALONE, "PYTHONPATH": os.pathsep.join(places), "HOME": str(served.folder)}
    command = [sys.executable, "-m", "reconciler.cli.main", "watch", str(served.fleet), "--interval", "1s"]
    options = ["--listen", "off", "--log-format", "json", "--host-config", str(served.host)]
    with subprocess.Popen([*command, *options], env=environment, stderr=subprocess.PIPE, text=True) as watch:
        late = threading.Timer(PATIENCE, watch.kill)
        late.start()
        try:
            await_applied(watch)
            assert served.patterns == {"slow"}
            served.simulation.world("harbour").patterns["light-2"] = "fast"
            await_applied(watch)
            assert served.patterns == {"slow"}
        finally:
            watch.send_signal(signal.SIGTERM)
            rest = watch.stderr.read()
            late.cancel()
    assert watch.returncode == 0, rest


def await_applied(watch):
    """Reads the log up to the end of a pass that applied something."""
    said = []
    for line in watch.stderr:
        said.append(line)
        if {"event": "pass ended", "result": "applied"}.items() <= json.loads(line).items():
            return
    raise AssertionError("".join(said))


def test_no_file_of_the_program_knows_it():
    folders = ("reconciler", "tools", "schemas", "examples", "benchmarks")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.*") if path.suffix != ".pyc"]
    word = re.compile(rb"\bbeacons?\b", re.IGNORECASE)
    assert [path for path in [*files, ROOT / "pyproject.toml"] if word.search(path.read_bytes())] == []


@pytest.mark.parametrize(("language", "file"), [("toml", "pyproject.toml"), ("python", "beacon/product.py")])
def test_the_example_in_the_documentation_is_the_one_that_runs(language, file):
    page = (ROOT / "docs/drivers.md").read_text("utf-8")
    text = (HERE / "beacon" / file).read_text("utf-8")
    assert f"```{language}\n{text}```\n" in page, f"docs/drivers.md does not show {file} as it is"
