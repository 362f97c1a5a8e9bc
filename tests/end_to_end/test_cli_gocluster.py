"""Go clusters by the entry point: may a node be stopped, foreign answers, hostile templates, secrets."""

import base64
import hashlib
import json
from pathlib import Path

import pytest
import yaml
from support.gocluster import TEMPLATE

from reconciler.cli.demo_fixtures import DemoNodes
from reconciler.cli.main import main
from reconciler.simulation.addresses import find_free_addresses

SECRET = "the-secret-of-all-nodes"
NAMES = [f"node-{number}" for number in range(1, 6)]


class Site:
    """Five simulated nodes whose files and commands are on this machine."""

    def __init__(self, folder, nodes):
        self.folder, self.fleet = folder, folder / "fleet"
        self.apis = dict(zip(NAMES, map(str, find_free_addresses(5)), strict=True))
        self.fleet.mkdir()
        self.write()
        self.simulation = nodes.serve(self.fleet, converged=True, machines=folder / "machines")
        self.nodes = nodes

    def write(self, template=TEMPLATE, **more):
        entry = {
            "name": "scores",
            "kind": "gocluster",
            "observe": True,
            "config": {"template": "app.tmpl", "values": "values.json", "file": "app-config"},
            "restart": {"command": "restart-app", "started": {"command": "app-started"}},
            "start": {"command": "start-app"},
            "stop": {"command": "stop-app"},
            "timeouts": {"read": 3, "connect": 2, "settle": 3},
            "settings": {"join_delay": "50ms", "connect_interval": "50ms", "connect_timeout": "1s"},
            "nodes": [
                {"name": name, "addr": f"10.20.0.{name[-1]}:9654", "api": f"http://{self.apis[name]}"}
                for name in NAMES
            ],
            **more,
        }
        (self.fleet / "fleet.yaml").write_text(yaml.safe_dump({"clusters": [entry]}))
        (self.fleet / "app.tmpl").write_text(template)
        values = {"secret": "${env:RECONCILE_SECRET_CLUSTER_KEY}", "workers": 4}
        (self.fleet / "values.json").write_text(json.dumps(values))

    def run(self, *arguments, fleet=True):
        host = ("--host-config", str(self.folder / "machines" / "host.yaml"))
        return main([*arguments, *host, *([str(self.fleet)] if fleet else [])])

    def ask(self, node, *options):
        return self.run("allow-stop", node, "--source", str(self.fleet), *options, fleet=False)

    def fault(self, *arguments, **more):
        """A fault of the simulation, from another thread than its own."""
        self.nodes.run_on_loop(self.simulation.fault(*arguments, **more))


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.setenv("RECONCILE_SECRET_CLUSTER_KEY", SECRET)
    with DemoNodes() as nodes:
        yield Site(tmp_path, nodes)


def squeeze(capsys):
    out = capsys.readouterr()
    return " ".join((out.out + out.err).split())


def test_two_of_five_may_be_stopped_and_not_a_third(site, capsys):
    assert site.run("--yes") == 0
    capsys.readouterr()
    assert site.ask("node-1", "--for", "1h", "--by", "kim") == 0
    shown = squeeze(capsys)
    assert "every other node keeps its quorum" in shown
    assert "views without it: node-2: connected to 3 of 4 peers, at least 2 of them needed" in shown
    assert site.ask("node-2", "--for", "1h") == 0
    capsys.readouterr()
    assert site.ask("node-3") == 6
    shown = squeeze(capsys)
    assert "without node-3, node-4 would lose the quorum in its view: connected to 1 of 4 peers" in shown
    assert "node-1 is reserved until" in shown
    site.write(settings={"join_delay": "50ms", "connect_interval": "60ms", "connect_timeout": "1s"})
    assert site.run("--yes") != 0
    shown = squeeze(capsys)
    assert "each node gets another file, and waits: node-1, node-2 counts as away" in shown
    assert "0 of 5 nodes are as desired" in shown
    site.run("status")
    assert "gets another file, and waits" in squeeze(capsys)


def test_without_observe_nothing_is_known(site, capsys):
    assert site.run("--yes") == 0
    site.write(observe=False)
    assert site.ask("node-1") not in {0, 6}
    assert "`observe: true` is missing" in squeeze(capsys)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("garbage", "node-2 shows no view"),
        ("half", "node-2 shows no view"),
        ("error", "node-2 shows no view"),
        ("silent", "node-2 shows no view"),
    ],
)
def test_a_node_that_answers_something_else_stops_every_restart(site, capsys, fault, words):
    assert site.run("--yes") == 0
    site.write(settings={"join_delay": "50ms", "connect_interval": "60ms", "connect_timeout": "1s"})
    site.fault("node-2", fault)
    assert site.run("--yes") != 0
    shown = squeeze(capsys)
    assert words in shown
    assert "whether node-2 runs is not known" in shown
    assert not [one for one in site.simulation.calls(changes=True) if "restart" in str(one)]


def test_no_output_and_no_stored_file_has_the_secret(site, capsys, monkeypatch, tmp_path):
    assert site.run("--yes") == 0
    monkeypatch.setenv("RECONCILE_SECRET_CLUSTER_KEY", "another-secret-of-all-nodes")
    site.write(
        windows=[{"cron": "* * * * *", "duration": "1h", "timezone": "UTC"}], policy={"max_risky": "100%"}
    )
    assert site.run("--yes") == 3
    for form in ("json", "markdown", "text"):
        site.run("--dry-run", "--full", "--format", form)
    plan = tmp_path / "plan.json"
    site.run("--dry-run", "--out", str(plan))
    site.run("status", "--format", "json")
    site.run("history", fleet=False)
    shown = capsys.readouterr()
    stored = b"".join(
        path.read_bytes() for path in Path(site.folder / "machines/.state").rglob("*") if path.is_file()
    )
    stored += plan.read_bytes() if plan.exists() else b""
    everything = shown.out + shown.err + stored.decode("utf-8", "replace")
    for secret in (SECRET, "another-secret-of-all-nodes"):
        for form in (secret, base64.b64encode(secret.encode()).decode(), secret.encode().hex()):
            assert form not in everything
        assert hashlib.sha256(secret.encode()).hexdigest() not in everything


HOSTILE = {
    "a placeholder in a placeholder": ("{{text {{values.workers}}}}", "not a placeholder"),
    "an attribute": ("{{values.__class__}}", "there is no value"),
    "a call": ("{{values.workers()}}", "not a placeholder"),
    "a pipe": ("{{values.workers | sh}}", "not a placeholder"),
    "a reference": ("${env:RECONCILE_SECRET_CLUSTER_KEY}", "not resolved in a template"),
    "an include": ("{{include /etc/passwd}}", "not a placeholder"),
    "too many": ("{{peers}}" * 1001, "more than 1,000 placeholders"),
    "an object as text": ("{{text peers}}", "is a list or an object"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_template_can_do_nothing_but_name_values(site, capsys, name):
    template, words = HOSTILE[name]
    site.write(template)
    assert site.run("--dry-run") == 1
    shown = squeeze(capsys)
    assert words in shown
    assert "app.tmpl:1:1" in shown


@pytest.mark.parametrize(
    "path", ["../outside.tmpl", "/etc/passwd", "~/x", "a/../../outside.tmpl", "link.tmpl"]
)
def test_a_template_is_a_file_of_the_source(site, capsys, path):
    (site.folder / "outside.tmpl").write_text("outside-text")
    (site.fleet / "link.tmpl").symlink_to(site.folder / "outside.tmpl")
    site.write(config={"template": path, "values": "values.json", "file": "app-config"})
    assert site.run("--dry-run") != 0
    shown = squeeze(capsys)
    assert "outside-text" not in shown
    assert "root:" not in shown
