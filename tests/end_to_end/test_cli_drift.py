"""What somebody changed on a node is told from a commit, undone, or only reported, over real git."""

import json

import pytest
from support.commands import run_program
from support.git_repositories import Repository, alone
from support.m2_settings import managed_setting, upload

from reconciler.cli.demo_fixtures import DemoNodes
from reconciler.simulation.addresses import find_free_addresses

FLEET = """policy: {{max_risky: 100%, max_cache_lost: 100%}}
clusters:
  - name: edge
    kind: m2
    setting: s.json
{more}    nodes:
      - {{name: n0, address: '{places[0]}'}}
      - {{name: n1, address: '{places[1]}'}}
"""
REPORT = "    drift: report\n"


class Site:
    """A repository and two nodes, which were seen as desired after the first run."""

    def __init__(self, folder, nodes, capsys):
        self.places = find_free_addresses(2)
        self.folder, self.capsys = folder, capsys
        files = {"fleet.yaml": self.fleet(), "s.json": managed_setting("a.example")}
        self.repository = Repository.make(folder / "repo", files)
        nodes.serve(self.repository.folder)
        self.source = str(self.repository.folder)
        self.apply()
        self.apply()

    def fleet(self, more=""):
        return FLEET.format(places=self.places, more=more)

    def run(self, *arguments, status=0):
        told = run_program(self.capsys, *arguments, "--state", self.folder / "state", status=status)
        return " ".join(told.split())

    def apply(self, *more, status=0):
        return self.run(self.source, "--yes", *more, status=status)

    def plan(self, *more, status=0):
        return self.run(self.source, "--dry-run", *more, status=status)

    def commit(self, *hostings, more=""):
        self.repository.commit({"s.json": managed_setting(*hostings), "fleet.yaml": self.fleet(more)})

    def change(self, node, *hostings):
        upload(str(self.places[node]), managed_setting(*hostings))

    def nodes(self):
        (cluster,) = json.loads(self.run("status", self.source, "--format", "json"))["clusters"]
        return {node["node"]: (node["state"], node["drift"]) for node in cluster["nodes"]}


@pytest.fixture
def site(tmp_path, monkeypatch, capsys):
    alone(monkeypatch, tmp_path)
    with DemoNodes() as nodes:
        yield Site(tmp_path, nodes, capsys)


def test_drift_has_its_own_name_and_a_run_undoes_it_and_says_so(site):
    site.change(0, "a.example", "hand.example")
    assert site.nodes()["n0"] == (
        "drifted",
        {"since": None, "with_commit": False, "only_reported": False},
    )
    assert site.nodes()["n1"] == ("as desired", None)
    assert "1 as desired, 1 drifted." in site.run("status", site.source)
    for told in (site.plan(), site.plan("--format", "markdown")):
        assert "changed behind our back since last as desired: n0; a run undoes that" in told
    assert "undid drift of n0" in site.apply()
    run = json.loads(site.run("history", "--format", "json"))[0]["id"]
    assert "undid drift of n0" in site.run("history", "show", run)
    assert site.nodes()["n0"] == ("as desired", None)


def test_a_commit_alone_is_no_drift_and_both_together_are_told(site):
    site.commit("b.example")
    assert {state for state, _ in site.nodes().values()} == {"differs"}
    site.change(0, "hand.example")
    state, drift = site.nodes()["n0"]
    assert (state, drift["with_commit"]) == ("differs", True)
    assert site.nodes()["n1"] == ("differs", None)
    assert "a commit changes the same nodes: it is applied as a whole" in site.plan()


def test_a_commit_of_another_version_or_with_its_first_file_is_no_drift(site):
    """What is read of a node depends on how it differs: this must not look like a change of the node."""
    site.repository.commit({"s.json": managed_setting("a.example", version="2")})
    told = site.plan()
    assert "2 changes" in told
    assert "behind our back" not in told
    assert "drift" not in site.apply()
    site.repository.commit(
        {
            "fleet.yaml": site.fleet('    resources: ["files/*"]\n'),
            "files/page.html": "<p>",
            "s.json": managed_setting("a.example", version="3"),
        }
    )
    assert "behind our back" not in site.plan()
    assert "drift" not in site.apply()
    site.change(1, "other.example")
    site.repository.commit({"s.json": managed_setting("a.example", version="4")})
    assert "behind our back since last as desired: n1" in site.plan()


def test_where_drift_is_only_reported_nothing_is_sent_until_a_commit_changes_the_node(site):
    site.change(0, "a.example", "hand.example")
    site.commit("a.example", more=REPORT)
    assert "No changes" in site.apply()
    assert "it is only reported" in site.plan()
    site.plan("--detailed-exitcode", status=2)
    site.run("status", site.source, "--detailed-exitcode", status=2)
    state, drift = site.nodes()["n0"]
    assert (state, drift["only_reported"], bool(drift["since"])) == ("drifted", True, True)
    since = drift["since"]
    site.apply()
    assert site.nodes()["n0"][1]["since"] == since, "it has not begun again"
    site.commit("b.example", more=REPORT)
    assert "Done: 2 changes" in site.apply()
    assert set(site.nodes().values()) == {("as desired", None)}


def test_what_this_program_sent_is_no_drift(site):
    site.commit("b.example")
    site.apply("--only", "n0")
    site.commit("a.example", more=REPORT)
    assert "Done: 1 change" in site.apply(), "it goes back, because a commit says so"
    assert site.nodes()["n0"] == ("as desired", None)


def test_a_change_that_was_undone_by_hand_is_forgotten(site):
    site.change(0, "a.example", "hand.example")
    site.commit("a.example", more=REPORT)
    site.apply()
    site.change(0, "a.example")
    site.apply()
    assert site.nodes()["n0"] == ("as desired", None)
    site.change(0, "hand.example")
    assert site.nodes()["n0"][1]["since"] is None
