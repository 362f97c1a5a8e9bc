"""What a pull request is told: what the merge takes out of the fleet, and what the branch lacks."""

from __future__ import annotations

import asyncio
import json
import tarfile
from datetime import UTC, datetime

import pytest
from support.commands import run_program
from support.git_repositories import Repository, alone, git
from support.m2_settings import managed_setting

from reconciler.cli.demo_fixtures import DemoNodes
from reconciler.core.memory import FleetMemory
from reconciler.desired.fleet import load_fleet
from reconciler.drivers.m2.simulator import answers
from reconciler.drivers.m2.simulator.answers import make_failure
from reconciler.drivers.registry import DRIVERS
from reconciler.errors import UsageError
from reconciler.guards.merge_base import report_missing_comparison
from reconciler.planning.prior_revision_reader import MergeTarget, read_prior_revisions
from reconciler.simulation.addresses import find_free_addresses
from reconciler.sources.locate import locate_source

VARIABLES = ("GITHUB_BASE_REF", "CI_MERGE_REQUEST_TARGET_BRANCH_NAME", "CI_MERGE_REQUEST_DIFF_BASE_SHA")


def setting(hosting):
    return managed_setting(hosting, version="1")


class Site:
    def __init__(self, folder, nodes, capsys):
        self.folder, self.capsys = folder, capsys
        self.places = [str(place) for place in find_free_addresses(5)]
        self.repository = Repository.make(folder / "repo", {**self.fleet(), "s.json": setting("a.example")})
        nodes.serve(self.repository.folder)

    def fleet(self, edge=4, clusters=("edge", "side"), more="", version="", former=None):
        """`edge` has the first nodes, `side` the last one."""
        nodes = {"edge": list(range(edge)), "side": [4], "core": [4]}
        listed = [
            {
                "name": name,
                "kind": "m2",
                "setting": "s.json",
                **({"renamed_from": former[name]} if name in (former or {}) else {}),
                "nodes": [{"name": f"n{one}", "address": self.places[one]} for one in nodes[name]],
            }
            for name in clusters
        ]
        top = f"policy: {{max_risky: 100%, max_cache_lost: 100%, max_changed: 100%}}\n{version}{more}"
        return {"fleet.yaml": f"{top}clusters: {json.dumps(listed)}\n"}

    def branch(self, files):
        git(self.repository.folder, "checkout", "--quiet", "-b", "topic")
        return self.repository.commit(files)

    def run(self, *arguments, status=0, state="state"):
        where = (self.repository.folder, "--state", self.folder / state)
        return " ".join(run_program(self.capsys, *where, *arguments, status=status).split())


@pytest.fixture
def site(tmp_path, monkeypatch, capsys):
    alone(monkeypatch, tmp_path)
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    with DemoNodes() as nodes:
        yield Site(tmp_path, nodes, capsys)


def test_a_pull_request_is_told_what_leaves_and_refused_for_it(site, monkeypatch):
    site.branch(site.fleet(edge=1, clusters=("edge",)))
    assert "no-longer-managed" not in site.run("--dry-run")
    told = site.run("--dry-run", "--base", "main", status=3)
    assert "edge: 3 nodes are no longer managed: n1, n2, n3 [no-longer-managed]" in told
    assert "side: 1 node is no longer managed: with its cluster, n4 [no-longer-managed]" in told
    assert "edge: 3 of 4 nodes are no longer in the fleet file" in told
    assert "no longer names this cluster, which main names with 1 node" in told
    for variable in VARIABLES:
        with monkeypatch.context() as own:
            own.setenv(variable, "main")
            assert "[desired-shrank]" in site.run("--dry-run", status=3)
    keep = site.fleet(edge=4, clusters=("edge",))
    site.repository.commit({**keep, "s.json": setting("b.example")})
    told = site.run("--yes", "--base", "main", "--all-or-nothing", status=3)
    assert "Done" not in told
    told = site.run("--yes", "--base", "main", status=5)
    assert "[cluster-vanished]" in told
    assert "Done: 4 changes" in told, (
        "a cluster that only the base has holds itself alone, as any missing one"
    )
    allowed = "".join(
        f"  - {{guard: {guard}, until: 2999-01-01, reason: meant to go}}\n"
        for guard in ("cluster-vanished", "desired-shrank")
    )
    site.repository.commit(site.fleet(edge=1, clusters=("edge",), more=f"overrides:\n{allowed}"))
    told = site.run("--dry-run", "--base", "main", "--format", "json")
    left = [one["message"] for one in json.loads(told)["warnings"] if one["code"] == "no-longer-managed"]
    assert len(left) == 2


def test_a_pull_request_that_renames_a_cluster_takes_nothing_out(site):
    site.branch(site.fleet(clusters=("edge", "core"), former={"core": "side"}))
    told = site.run("--dry-run", "--base", "main")
    assert "no-longer-managed" not in told
    site.repository.commit(site.fleet(edge=3, clusters=("edge", "core")))
    told = site.run("--dry-run", "--base", "main", status=3)
    assert "side: 1 node is no longer managed: with its cluster, n4" in told


def test_nodes_that_leave_are_named_where_they_were_applied_from(site):
    site.run("--yes")
    site.repository.commit(site.fleet(edge=3))
    assert "edge: 1 node is no longer managed: n3" in site.run("--yes")
    assert "no-longer-managed" not in site.run("--yes"), "once is enough"


def test_a_gitlab_runner_without_the_branch_compares_with_the_commit_where_it_was_left(site, monkeypatch):
    first = site.repository.head
    site.branch(site.fleet(edge=1))
    monkeypatch.setenv("CI_MERGE_REQUEST_TARGET_BRANCH_NAME", "not-fetched")
    monkeypatch.setenv("CI_MERGE_REQUEST_DIFF_BASE_SHA", first)
    assert "[desired-shrank]" in site.run("--dry-run", status=3)


@pytest.mark.parametrize("version", ["", "version: commit\n"], ids=["unstamped", "stamped"])
def test_a_branch_behind_its_base_is_told_which_commit_it_lacks(site, version):
    site.repository.commit(site.fleet(version=version))
    folder = site.repository.folder
    site.branch({"README.md": "words"})
    git(folder, "checkout", "--quiet", "main")
    newer = site.repository.commit({"s.json": setting("b.example")})
    site.run("--yes")
    git(folder, "checkout", "--quiet", "topic")
    told = site.run("--dry-run", "--base", "main", state="ci", status=1 if version else 0)
    assert f"main changes this cluster in commits that this revision lacks, up to {newer[:12]}" in told
    if version:
        assert f"has the content of commit {newer[:12]} of main, which this revision lacks" in told
        assert "foreign-change" not in told
    git(folder, "merge", "--quiet", "--no-edit", "main")
    told = site.run("--dry-run", "--base", "main", state="ci")
    assert "lacks" not in told
    assert "No changes" in told


def test_a_base_that_went_on_with_words_alone_lacks_nothing(site):
    folder = site.repository.folder
    site.branch({"s.json": setting("b.example")})
    git(folder, "checkout", "--quiet", "main")
    site.repository.commit({"README.md": "words"})
    git(folder, "checkout", "--quiet", "topic")
    assert "lacks" not in site.run("--dry-run", "--base", "main")


STAMPED = "version: commit\n"


def squashed(site):
    """A branch that is applied, squashed to main, and gone; gives a clone of what there is then."""
    folder = site.repository.folder
    site.repository.commit(site.fleet(version=STAMPED))
    site.branch({"s.json": setting("b.example")})
    site.run("--yes")
    git(folder, "checkout", "--quiet", "main")
    site.repository.commit({"s.json": setting("b.example")}, "squashed")
    git(folder, "clone", "--quiet", "--no-local", "--single-branch", ".", str(site.folder / "ci"))
    site.repository = Repository(site.folder / "ci")
    git(site.repository.folder, "checkout", "--quiet", "-b", "next")
    return site.repository


def test_nodes_that_hide_their_package_are_sent_nothing_for_words_in_a_readme(site, monkeypatch):
    """Without any state, the revision whose stamp a node shows tells which files it has."""
    hidden = make_failure(406, "the backup function is disabled", "download")
    monkeypatch.setitem(answers._EXACT, "/setting/download", (("GET",), lambda call: (call.node, hidden)))
    fleet = site.fleet(version=STAMPED)["fleet.yaml"].replace(
        '"setting"', '"resources": ["a.pem"], "setting"'
    )
    site.repository.commit({"fleet.yaml": fleet, "a.pem": "one"})
    site.run("--yes")
    site.repository.commit({"README.md": "words"})
    told = site.run("--dry-run", state="none")
    assert "No changes" in told
    assert "resources-unseen" not in told
    folder = site.repository.folder
    git(folder, "clone", "--quiet", "--depth=1", f"file://{folder}", str(site.folder / "ci"))
    site.repository = Repository(site.folder / "ci")
    told = site.run("--dry-run", state="none")
    assert "No changes" in told
    assert "only the host that applies knows" in told
    site.repository.commit({"a.pem": "two"})
    assert "5 changes" in site.run("--dry-run", state="none")


def test_after_a_squash_a_pull_request_is_planned_without_any_state(site):
    later = squashed(site)
    later.commit({"README.md": "words"})
    assert "No changes" in site.run("--dry-run", "--base", "origin/main", state="none")
    later.commit({"s.json": setting("c.example")})
    told = site.run("--dry-run", "--base", "origin/main", "--detailed-exitcode", state="none", status=2)
    assert "which no commit here has" in told
    assert "5 changes on 2 clusters" in told
    assert "another reconciler wrote it, so the node is left unchanged" in site.run(
        "--yes", state="none", status=1
    )
    git(later.folder, "fetch", "--quiet", "origin", "topic")
    assert "foreign-change" not in site.run("--dry-run", "--base", "origin/main", state="none")


def told_of_base(source, base):
    """What a fleet at a source's revision is told of its base, without a look at the nodes."""

    async def read():
        source_ = locate_source(str(source), cache=source.parent / "none", environment={})
        fleet = load_fleet(await source_.snapshot(), DRIVERS)
        memory = FleetMemory(at=datetime(2026, 11, 21, tzinfo=UTC))
        return (await read_prior_revisions(memory, fleet, source_, drivers=DRIVERS, base=base)).base

    return asyncio.run(read())


def test_a_clone_without_the_base_says_what_is_not_compared(site):
    """Checkouts as CI systems make them: one commit alone, or the newest ones of a branch."""
    first, folder = site.repository.head, site.repository.folder
    site.branch(site.fleet(edge=1))
    for place, ref, depth in (("github", "HEAD", 1), ("gitlab", "HEAD", 20)):
        made = Repository.make(site.folder / place)
        git(made.folder, "fetch", "--quiet", f"--depth={depth}", f"file://{folder}", ref)
        git(made.folder, "checkout", "--quiet", "--detach", "FETCH_HEAD")
    told = told_of_base(site.folder / "github", MergeTarget("main", "GITHUB_BASE_REF"))
    (warning,) = report_missing_comparison(told, "fleet.yaml")
    assert "was not compared with main: GITHUB_BASE_REF names main, and" in warning.message
    told = told_of_base(
        site.folder / "gitlab", MergeTarget("main", "TARGET", MergeTarget(first, "DIFF_BASE"))
    )
    (warning,) = report_missing_comparison(told, "fleet.yaml")
    assert "was not fully compared with main: TARGET names main, and" in warning.message
    assert len(told.clusters["edge"]) == 4
    assert told_of_base(folder, MergeTarget("main")).unread == ""


def test_where_branches_were_merged_both_ways_the_nodes_of_every_commit_that_was_left_count(site):
    folder = site.repository.folder
    site.branch({"README.md": "words"})
    git(folder, "checkout", "--quiet", "main")
    site.repository.commit(site.fleet(edge=3, clusters=("edge",)))
    git(folder, "merge", "--quiet", "--no-edit", "topic")
    git(folder, "checkout", "--quiet", "topic")
    git(folder, "merge", "--quiet", "--no-edit", "main~1")
    site.repository.commit(site.fleet(edge=2))
    told = told_of_base(folder, MergeTarget("main"))
    assert {name: len(nodes) for name, nodes in told.clusters.items()} == {"edge": 4, "side": 1}


def test_a_base_is_for_git_alone_and_what_a_ci_system_tells_hinders_no_plain_folder(site):
    plain, packed = site.folder / "plain", site.folder / "fleet.tgz"
    plain.mkdir()
    for name in ("fleet.yaml", "s.json"):
        (plain / name).write_bytes((site.repository.folder / name).read_bytes())
    with tarfile.open(packed, "w:gz") as archive:
        archive.add(plain, ".")
    for place in (plain, packed):
        assert told_of_base(place, MergeTarget("main", "GITHUB_BASE_REF")) is None
        with pytest.raises(UsageError, match="--base main requires a git source"):
            told_of_base(place, MergeTarget("main"))
