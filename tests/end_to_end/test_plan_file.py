"""`--dry-run --out` and `reconcile apply` by the entry point, over simulated nodes and real HTTP."""

import json
import re
import urllib.request

import pytest
from support.commands import run_program
from support.git_repositories import Repository, alone, git
from support.m2_settings import managed_setting

from reconciler.cli.demo_fixtures import DemoNodes
from reconciler.core.canonical import fingerprint
from reconciler.core.plan import load_plan
from reconciler.simulation.addresses import find_free_addresses

FLEET = """version: commit
policy: {{max_risky: 100%}}
clusters:
  - name: edge
    kind: m2
    setting: s.json
    timeouts: {{settle: 5}}
    nodes:
      - {{name: n0, address: '{0}'}}
      - {{name: n1, address: '{1}'}}
  - name: live
    kind: sora
    initialise: true
    timeouts: {{settle: 5}}
    nodes:
      - {{name: l0@127.0.0.1, api: 'http://{2}/'}}
      - {{name: l1@127.0.0.1, api: 'http://{3}/'}}
      - {{name: l2@127.0.0.1, api: 'http://{4}/'}}
"""


class Site:
    """A repository, its nodes, a plan file, and a way to run the program."""

    def __init__(self, folder, nodes, capsys):
        places = [str(place) for place in find_free_addresses(5)]
        self.files = {"fleet.yaml": FLEET.format(*places), "s.json": managed_setting("a.example")}
        self.repository = Repository.make(folder / "repo", self.files)
        self.simulation = nodes.serve(self.repository.folder)
        self.folder, self.nodes, self.capsys = folder, nodes, capsys
        self.plan = folder / "plan.json"

    def run(self, *arguments, status=0):
        return run_program(self.capsys, *arguments, "--state", self.folder / "state", status=status)

    def apply(self, *more, status=0):
        return self.run("apply", self.plan, self.repository.folder, *more, status=status)

    def check(self, *more, status=0):
        return self.run("check", self.plan, self.repository.folder, *more, status=status)

    def planned(self, *more, status=0):
        return self.run(self.repository.folder, "--dry-run", "--out", self.plan, *more, status=status)

    def fault(self, node, kind, argument=None, **more):
        self.nodes.run_on_loop(self.simulation.fault(node, kind, argument, **more))

    @property
    def changed(self):
        return [call.node for call in self.simulation.calls(changes=True)]

    def edit(self, change):
        """Change the file, and give it the digest that fits again."""
        value = json.loads(self.plan.read_text())
        change(value)
        value["digest"] = fingerprint({key: item for key, item in value.items() if key != "digest"})
        self.plan.write_text(json.dumps(value))


@pytest.fixture
def site(tmp_path, monkeypatch, capsys):
    alone(monkeypatch, tmp_path)
    with DemoNodes() as nodes:
        yield Site(tmp_path, nodes, capsys)


def drift(site, node):
    """Somebody else uploads another setting to a node."""
    (address,) = re.findall(rf"name: {node}, address: '([^']+)'", site.files["fleet.yaml"])
    body = managed_setting("other.example").encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"http://{address}/setting/upload", body, headers)
    urllib.request.urlopen(request, timeout=10).close()


def test_a_plan_file_is_applied_as_it_stands_though_the_branch_has_moved_on(site):
    told = site.planned()
    assert "`reconcile apply" in told
    assert site.plan.stat().st_mode & 0o077 == 0
    value = json.loads(site.plan.read_text())
    planned = value["plan"]["revision"]["id"]
    assert sorted(value["observed"]) == ["edge", "live"]
    assert sorted(value["files"]) == ["fleet.yaml", "s.json"]
    assert site.changed == []

    site.repository.commit({"README": "nothing of the fleet\n"})
    told = site.apply()
    assert "verified: no changes remain." in told
    assert sorted(set(site.changed)) == ["l0@127.0.0.1", "n0", "n1"]
    newest = json.loads(site.run("history", "--format", "json"))[0]
    assert (newest["trigger"], newest["revision"]) == ("plan file", planned)
    shown = json.loads(site.run("history", "show", newest["id"], "--format", "json"))
    assert shown["ids"] == load_plan(value["plan"]).ids

    before = len(site.changed)
    site.apply()
    assert len(site.changed) == before


def test_a_step_whose_node_has_changed_is_left_out_and_planned_anew(site):
    site.planned()
    drift(site, "n1")
    before = len(site.changed)
    told = site.apply(status=5)
    assert "n1 has changed since the plan was made" in told
    anew = told.partition("New plan for the nodes")[2]
    assert "n1" in anew
    assert "n0" not in anew
    assert "2 nodes, 1 as desired, 1 change" in anew  # n0 was done a moment ago
    assert "upload" in anew
    assert sorted(site.changed[before:]) == ["l0@127.0.0.1", "n0"]


def test_where_every_node_has_changed_nothing_is_done(site):
    site.planned("--only", "edge")
    drift(site, "n0")
    drift(site, "n1")
    before = len(site.changed)
    told = site.apply(status=4)
    assert "2 node changed" in site.run("history")
    assert "New plan for the nodes" in told
    assert len(site.changed) == before


def test_a_sora_cluster_is_one_unit(site):
    site.planned("--only", "live")
    site.fault("l2@127.0.0.1", "killed")
    told = site.apply(status=4)
    assert "the membership of live is planned as a whole, and l2@127.0.0.1 answered" in told
    assert site.changed == []


def test_a_file_that_was_edited_is_refused(site):
    site.planned()
    text = site.plan.read_text()
    site.plan.write_text(text.replace('"settle": 5.0', '"settle": 6.0', 1))
    assert "[plan-edited]" in site.apply(status=1)
    twice = text.replace('"format":', '"format": "reconcile-plan", "format":', 1)
    site.plan.write_text(twice)
    assert "an object has a key twice" in site.apply(status=1)
    site.plan.write_text("{}")
    assert "is not a plan file" in site.apply(status=1)
    assert site.changed == []


def test_an_edited_file_whose_digest_fits_still_cannot_do_anything_else(site):
    site.planned("--only", "edge")

    def forge(value):
        step = value["plan"]["clusters"][0]["steps"][0]
        step["arguments"]["after"] = "0" * 64

    site.edit(forge)
    told = site.apply(status=5)
    assert "a new plan would change n0 differently" in told
    assert site.changed == ["n1"]


def test_another_version_another_commit_and_other_files_are_refused(site):
    site.planned()
    text = site.plan.read_text()
    site.edit(lambda value: value["plan"].update(program="0.0.1"))
    assert "program version 0.0.1 made the plan" in site.apply(status=4)
    site.plan.write_text(text)
    other = Repository.make(site.folder / "other", {"fleet.yaml": "of another fleet"})
    told = site.run("apply", site.plan, str(other.folder / ".git"), status=4)
    assert "[plan-outdated]" in told
    site.repository.write({"s.json": managed_setting("b.example")})
    site.planned()
    site.repository.write({"s.json": managed_setting("c.example")})
    told = site.apply(status=4)
    assert "the plan was made from revision" in told
    assert site.changed == []


def test_guards_judge_anew_and_an_approval_of_the_plan_counts(site):
    policy = "policy: {approve: [high, restart, membership], max_risky: 100%}"
    fleet = site.files["fleet.yaml"].replace("policy: {max_risky: 100%}", policy)
    site.repository.commit({"fleet.yaml": fleet})
    told = site.planned()
    assert "[approval-needed]" in told
    assert "[approval-needed]" in site.apply(status=5)
    assert sorted(site.changed) == ["n0", "n1"]
    told = site.planned("--only", "live")
    (digest,) = set(re.findall(r"this\s+plan's\s+id\s+is\s+([0-9a-f]{12})", told))
    looked = (str(site.repository.folder), "--dry-run")
    whole = json.loads(site.run(*looked, "--format", "json"))["ids"]["live"]
    assert whole.startswith(digest)
    assert f"| `{digest}` |" in site.run(*looked, "--format", "markdown")
    assert load_plan(json.loads(site.plan.read_text())["plan"]).ids["live"] == whole
    assert digest in site.run("approve", "--list")
    site.run("approve", digest, "--by", "kim")
    site.apply()
    assert site.changed[2:] == ["l0@127.0.0.1"]
    used = json.loads(site.run("history", "orders", "--format", "json"))
    assert {one["plan"] for one in used} == {whole}
    newest = json.loads(site.run("history", "--format", "json"))[0]["id"]
    assert json.loads(site.run("history", "show", newest, "--format", "json"))["ids"] == {"live": whole}
    assert f"live, plan {digest}" in site.run("history", "show", newest)


def test_no_secret_is_in_the_file_and_its_value_is_taken_at_the_last_moment(site, monkeypatch):
    monkeypatch.setenv("RECONCILE_SECRET_PLANTED", "planted-one")
    custom = {"key": "${env:RECONCILE_SECRET_PLANTED}"}
    site.repository.commit({"s.json": managed_setting("a.example", custom=custom)})
    site.planned("--only", "edge")
    assert "planted" not in site.plan.read_text()
    monkeypatch.setenv("RECONCILE_SECRET_PLANTED", "planted-two")
    site.apply()  # what was approved names the secret, and does not know its value
    assert sorted(site.changed) == ["n0", "n1"]


def test_the_source_is_the_hosts_whatever_stands_in_the_file(site, monkeypatch):
    """Whoever swaps the file, or edits it and makes its digest fit, chooses no source, branch or folder."""
    bad = site.files | {"s.json": managed_setting("evil.example")}
    other = Repository.make(site.folder / "other", bad)
    good = site.repository
    site.repository = other
    site.planned("--only", "edge")
    site.repository = good
    assert "the source of the desired state is unknown" in site.run("apply", site.plan, status=1)
    told = site.apply(status=4)
    assert "[plan-outdated]" in told
    monkeypatch.setenv("RECONCILE_SOURCE", str(good.folder))
    assert "[plan-outdated]" in site.run("apply", site.plan, status=4)
    monkeypatch.delenv("RECONCILE_SOURCE")
    assert site.changed == []
    site.planned("--only", "edge")
    site.edit(lambda value: value["origin"].update(source=str(other.folder), ref="topic", path="x"))
    site.apply()
    assert sorted(site.changed) == ["n0", "n1"]
    site.edit(lambda value: value["plan"]["revision"].update(short="0123456789ab"))
    assert "another short id or title" in site.apply(status=4)
    site.planned()
    site.run("apply", site.plan, f"file://{good.folder}", "--ref", "nowhere", status=4)
    site.run("apply", site.plan)  # the one fleet that the state remembers
    assert site.changed[2:] == ["l0@127.0.0.1"]


def test_a_commit_of_another_branch_is_not_applied_though_the_source_has_it(site):
    git(site.repository.folder, "checkout", "--quiet", "-b", "topic")
    site.repository.commit({"s.json": managed_setting("evil.example")})
    site.source = site.repository.folder / ".git"
    site.run(site.source, "--ref", "topic", "--dry-run", "--out", site.plan, "--only", "edge")
    git(site.repository.folder, "checkout", "--quiet", "main")
    told = " ".join(site.run("apply", site.plan, site.source, status=4).split())
    assert "the default branch of" in told
    assert "does not contain revision" in told
    assert site.changed == []
    site.run("apply", site.plan, site.source, "--ref", "topic")
    assert sorted(site.changed) == ["n0", "n1"]


def test_out_works_only_with_dry_run(site):
    assert "--out works only with --dry-run" in site.run("--out", "x", status=1)


def test_a_plan_file_is_walked_by_the_model_checker_less_what_has_changed(site):
    site.planned()
    whole = json.loads(site.check("--format", "json"))["clusters"]
    assert [one["cluster"] for one in whole] == ["edge", "live"]
    assert [one for one in whole if not (one["complete"] and (not one["broken"]))] == []
    drift(site, "n1")
    rest = json.loads(site.check("--format", "json"))["clusters"]
    assert rest[0]["states"] < whole[0]["states"]
    assert rest[1] == whole[1]
    assert site.changed == ["n1"]
    assert "do not work with a plan file" in site.check("--only", "edge", status=1)
    assert "works only with a plan file" in site.run("check", site.repository.folder, "elsewhere", status=1)


def test_the_model_checker_reads_a_plan_files_revision_where_the_host_says(site):
    site.planned("--only", "edge")
    elsewhere = site.folder / "elsewhere"
    git(site.repository.folder, "clone", "--quiet", ".", str(elsewhere))
    site.edit(lambda value: value["origin"].update(source=str(elsewhere), ref="topic", path="x", whole=False))
    assert "a plan file cannot choose it" in site.run("check", site.plan, status=1)
    assert "edge" in site.check()
    git(site.repository.folder, "commit", "--quiet", "--amend", "-m", "rewritten")
    assert "does not contain revision" in " ".join(site.check(status=4).split())
