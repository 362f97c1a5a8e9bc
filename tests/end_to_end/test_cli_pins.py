"""A cluster stays where somebody rolled it back to, over real git and simulated nodes."""

import json
import re
import urllib.request

import pytest
from support.commands import run_program
from support.git_repositories import Repository, alone, git
from support.m2_settings import managed_setting, upload

from reconciler.cli.demo_fixtures import DemoNodes
from reconciler.simulation.addresses import find_free_addresses

FLEET = """{top}policy: {{max_risky: 100%, max_cache_lost: 100%}}
clusters:
  - name: {name}
    kind: m2
    setting: s.json
{more}    nodes:
      - {{name: n0, address: '{place}'}}
"""


class Site:
    """A repository, one node, and the commits `first` and `second`, both applied."""

    def __init__(self, folder, nodes, capsys):
        (self.place,) = find_free_addresses(1)
        self.folder, self.capsys = folder, capsys
        self.repository = Repository.make(
            folder / "repo", {"fleet.yaml": self.fleet(), "s.json": managed_setting("a.example")}
        )
        nodes.serve(self.repository.folder)
        self.source = str(self.repository.folder)
        self.first = self.repository.head
        self.apply()
        self.second = self.commit("b.example")
        self.apply()

    def fleet(self, name="edge", more="", top="version: commit\n"):
        return FLEET.format(name=name, more=more, place=self.place, top=top)

    def run(self, *arguments, status=0):
        told = run_program(self.capsys, *arguments, "--state", self.folder / "state", status=status)
        return " ".join(told.split())

    def apply(self, *more, status=0):
        return self.run(self.source, "--yes", *more, status=status)

    def plan(self, *more, status=0):
        return self.run(self.source, "--dry-run", *more, status=status)

    def roll_back(self, revision="", *more, status=0):
        return self.run("rollback", revision, self.source, "--yes", *more, status=status)

    def commit(self, *hostings, **files):
        return self.repository.commit({"s.json": managed_setting(*hostings), **files})

    def cluster(self):
        (found,) = self.read("status", self.source)["clusters"]
        return found

    def read(self, *arguments):
        state = ("--format", "json", "--state", self.folder / "state")
        return json.loads(run_program(self.capsys, *arguments, *state))

    @property
    def hostings(self):
        with urllib.request.urlopen(f"http://{self.place}/setting/setting.json", timeout=10) as answer:
            return sorted(one["name"] for one in json.load(answer)["hosting"])


@pytest.fixture
def site(tmp_path, monkeypatch, capsys):
    alone(monkeypatch, tmp_path)
    with DemoNodes() as nodes:
        yield Site(tmp_path, nodes, capsys)


def test_runs_keep_the_cluster_there_and_say_since_when_by_whom_and_why(site):
    told = site.roll_back(site.first, "--reason", "it broke", "--by", "kim")
    assert f"pins: this rollback pins edge at {site.first[:12]}" in told
    site.repository.commit({"README": "words"})
    assert "No changes: 1 node is as desired" in site.apply()
    assert site.hostings == ["a.example"]
    words = (
        rf"edge is pinned at {site.first[:12]} since [-0-9: ]+ UTC by .*on behalf of kim.*, rolled back from"
    )
    for told in (site.plan(), site.run("status", site.source), site.plan("--format", "markdown")):
        assert re.search(words, told.replace("\\", "")), told
        assert "it broke" in told
    (pin,) = site.read(site.source, "--dry-run")["pins"]
    assert (pin["cluster"], pin["effect"], pin["rolled_back_from"]) == ("edge", "holds", [site.second])
    assert (pin["revision"], pin["reason"]) == (site.first, "it broke")
    cluster = site.cluster()
    assert (cluster["converged"], cluster["pin"]["revision"]) == (True, site.first)
    assert cluster["nodes"][0]["revision"] == site.first
    orders = site.read("history", "orders")
    assert [one["kind"] for one in orders] == ["pin"]


def test_what_changes_there_is_put_back_to_the_revision_where_it_is_pinned(site):
    site.roll_back(site.first)
    upload(str(site.place), managed_setting("c.example", version=site.first[:12]))
    assert "Done: 1 change" in site.apply()
    assert site.hostings == ["a.example"]
    assert site.read("history")[0]["revision"] == site.first


def test_a_change_of_what_the_cluster_gets_ends_the_pin_and_its_plan_says_so(site):
    site.roll_back(site.first)
    third = site.commit("c.example")
    for told in (site.plan(), site.plan("--format", "markdown")):
        assert f"when revision {third[:12]} is applied to it, that pin ends" in told
    assert site.read(site.source, "--dry-run")["pins"][0]["effect"] == "ends"
    assert site.cluster()["pin"]["effect"] == "ends"
    assert "Done: 1 change" in site.apply()
    assert site.cluster()["pin"] is None
    assert site.read("history", "orders")[0]["kind"] == "unpin"
    site.commit("b.example")
    assert "Done: 1 change" in site.apply(), "the pin has ended for good"


def test_a_refused_change_ends_no_pin(site):
    site.roll_back(site.first)
    site.commit("c.example", **{"fleet.yaml": site.fleet(more="    suspend: {reason: a pause}\n")})
    site.apply(status=3)
    site.commit("b.example", **{"fleet.yaml": site.fleet()})
    assert "No changes" in site.apply()
    assert site.hostings == ["a.example"]


def test_a_revert_ends_the_pin_without_a_change(site):
    site.roll_back(site.first)
    site.commit("a.example")
    assert "No changes" in site.apply()
    assert site.cluster()["pin"] is None


def test_resume_ends_no_pin_and_unpin_does(site):
    site.run("suspend", "--reason", "a storm")
    site.roll_back(site.first)
    site.run("resume")
    site.run("resume", "edge")
    assert "No changes" in site.apply()
    assert "edge was not pinned" not in site.run("unpin", "edge", "--reason", "fixed elsewhere")
    assert "Done: 1 change" in site.apply()
    assert site.hostings == ["b.example"]
    assert "edge was not pinned" in site.run("unpin", "edge")
    assert "No run on this host has seen a cluster 'egde'; did you mean edge?" in site.run("unpin", "egde")


def test_an_older_revision_ends_no_pin(site):
    site.roll_back(site.first)
    site.apply("--ref", site.first)
    assert "No changes" in site.apply()


def test_without_a_revision_a_further_rollback_goes_further_back(site):
    third = site.commit("c.example")
    site.apply()
    site.roll_back()
    assert (site.hostings, site.cluster()["pin"]["revision"]) == (["b.example"], site.second)
    site.roll_back()
    pin = site.cluster()["pin"]
    assert (site.hostings, pin["revision"]) == (["a.example"], site.first)
    assert pin["rolled_back_from"] == [third, site.second]
    site.commit("b.example")
    assert "No changes" in site.apply(), "that was rolled back from, too"
    assert "ends a pin" in site.roll_back(third) or site.cluster()["pin"]["rolled_back_from"] == [site.second]


def test_the_same_rollback_again_keeps_its_begin(site):
    site.roll_back(site.first, "--by", "kim")
    before = site.cluster()["pin"]
    site.roll_back(site.first, "--by", "lee")
    assert site.cluster()["pin"] == before


def test_a_renamed_cluster_stays_pinned(site):
    site.roll_back(site.first)
    site.repository.commit({"fleet.yaml": site.fleet("rim", more="    renamed_from: edge\n")})
    assert "rim is pinned" in site.apply()
    assert site.hostings == ["a.example"]
    assert "no longer pinned" in site.run("unpin", "rim")
    assert "Done: 1 change" in site.apply()


def test_a_changed_version_label_alone_is_no_change(site):
    fleet = site.fleet(top="")
    labelled = [
        site.commit(*hostings, **{"fleet.yaml": fleet}) for hostings in (("a.example",), ("b.example",))
    ]
    site.run("unpin", "edge")
    site.repository.commit({"s.json": managed_setting("a.example", version="v1")})
    first = site.repository.head
    site.apply()
    site.repository.commit({"s.json": managed_setting("b.example", version="v2")})
    site.apply()
    site.roll_back(first)
    site.repository.commit({"s.json": managed_setting("b.example", version="v3")})
    assert "No changes" in site.apply()
    assert site.hostings == ["a.example"]
    site.repository.commit({"s.json": managed_setting("c.example", version="v3")})
    assert "Done: 1 change" in site.apply()
    assert labelled


def test_where_the_pinned_revision_is_gone_nothing_is_sent(site):
    site.commit("c.example")
    site.apply()
    site.roll_back(site.second)
    folder = site.repository.folder
    git(folder, "reset", "--quiet", "--hard", site.first)
    site.commit("c.example")
    git(folder, "reflog", "expire", "--expire=now", "--all")
    git(folder, "gc", "--quiet", "--prune=now")
    told = site.apply(status=3)
    assert "nothing is sent to it: revision" in told
    assert "[rolled-back]" in told
    assert site.hostings == ["b.example"]


def test_an_override_applies_the_newest_revision_and_ends_the_pin(site):
    site.roll_back(site.first)
    override = "{guard: rolled-back, target: edge, until: 2999-01-01, reason: we know better}"
    site.repository.commit({"fleet.yaml": site.fleet() + f"overrides: [{override}]\n"})
    assert "Done: 1 change" in site.apply()
    assert site.hostings == ["b.example"]
    site.repository.commit({"fleet.yaml": site.fleet()})
    assert "No changes" in site.apply()
    assert site.cluster()["pin"] is None
