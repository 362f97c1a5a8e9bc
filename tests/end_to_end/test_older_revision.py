"""What was applied is not taken back unasked, and what somebody else wrote is left alone."""

import json
import re
import tarfile

import pytest
from support.commands import run_program
from support.git_repositories import Repository, alone, git
from support.m2_settings import managed_setting, upload
from support.signing import SSH_MISSING, SshPerson, signed_commit

from reconciler.cli.demo_fixtures import DemoNodes
from reconciler.simulation.addresses import find_free_addresses

FLEET = """version: commit
policy: {{max_risky: 100%, max_cache_lost: 100%}}
clusters:
  - name: edge
    kind: m2
    setting: s.json
    timeouts: {{settle: 5}}
    nodes:
      - {{name: n0, address: '{0}'}}
      - {{name: n1, address: '{1}'}}
"""


class Site:
    """A repository that is read by its `.git`, and its nodes."""

    def __init__(self, folder, nodes, capsys):
        self.fleet = FLEET.format(*(str(place) for place in find_free_addresses(2)))
        self.repository = Repository.make(
            folder / "repo", {"fleet.yaml": self.fleet, "s.json": managed_setting("a.example")}
        )
        nodes.serve(self.repository.folder)
        self.source = str(self.repository.folder / ".git")
        self.folder, self.capsys = folder, capsys

    def run(self, *arguments, status=0, state="state"):
        return run_program(self.capsys, *arguments, "--state", self.folder / state, status=status)

    def apply(self, *more, status=0, **where):
        return self.run(self.source, "--yes", *more, status=status, **where)

    def commit(self, *hostings):
        return self.repository.commit({"s.json": managed_setting(*hostings)})

    def write(self, node, version):
        """Somebody else delivers a setting with another stamp."""
        (address,) = re.findall(rf"name: {node}, address: '([^']+)'", self.fleet)
        upload(address, managed_setting("b.example", version=version))


@pytest.fixture
def site(tmp_path, monkeypatch, capsys):
    alone(monkeypatch, tmp_path)
    with DemoNodes() as nodes:
        yield Site(tmp_path, nodes, capsys)


def test_an_older_commit_is_refused_and_a_rollback_may(site):
    first = site.repository.head
    site.apply()
    site.commit("b.example")
    site.apply()
    told = site.apply("--ref", first, status=3)
    assert "is older than" in told
    assert "[older-revision]" in told
    assert "[older-revision]" in site.run(site.source, "--dry-run", "--ref", first, status=3)
    site.run("rollback", first, site.source, "--yes")
    assert "edge is pinned" in site.apply()
    site.commit("c.example")
    site.apply()
    assert "[older-revision]" in site.apply("--ref", first, status=3)


def test_a_rewritten_branch_is_refused_until_an_override_says_so(site):
    site.apply()
    site.commit("b.example")
    site.apply()
    git(site.repository.folder, "reset", "--quiet", "--hard", "HEAD~1")
    site.commit("c.example")
    assert "does not descend from" in site.apply(status=3)
    assert "does not descend from" in site.run(site.repository.folder, "--yes", status=3)
    override = "overrides: [{guard: older-revision, until: 2999-01-01, reason: rewritten on purpose}]\n"
    site.repository.commit({"fleet.yaml": site.fleet + override})
    site.apply()
    site.commit("d.example")
    site.apply()


def test_where_nodes_carry_stamps_a_copy_of_a_remote_has_its_history(site):
    remote = f"file://{site.repository.folder}/.git"
    for name in ("b.example", "c.example"):
        site.commit(name)
    site.run(remote, "--yes")
    (copy,) = (site.folder / "state/sources/git").glob("*/HEAD")
    assert not (copy.parent / "shallow").is_file()
    assert git(copy.parent, "rev-list", "--count", "refs/sources/all/heads/main") == "3"


def packed(site, name, *hostings, more=""):
    made = site.folder / name
    (site.folder / "s.json").write_text(managed_setting(*hostings))
    (site.folder / "fleet.yaml").write_text(site.fleet + more)
    with tarfile.open(made, "w") as archive:
        for file in ("fleet.yaml", "s.json"):
            archive.add(site.folder / file, file)
    return made


def test_a_tarball_that_was_applied_before_another_is_older(site):
    one, two = packed(site, "one.tar", "a.example"), packed(site, "two.tar", "b.example")
    deployed, link = site.folder / "current.tar", site.folder / "link"
    for release in (one, two):
        link.symlink_to(release)
        link.replace(deployed)
        site.run(deployed, "--yes")
    link.symlink_to(one)
    link.replace(deployed)
    told = site.run(deployed, "--yes", status=3)
    assert "[older-revision]" in told
    name = re.search(r"`reconcile\s+rollback\s+([0-9a-f]{12})", told)[1]
    site.run("rollback", name, deployed, "--yes")
    assert "is now revision" in site.run("rollback", "0123456789ab", deployed, "--yes", status=1)
    deployed.unlink()
    packed(site, "current.tar", "c.example")
    site.run(deployed, "--yes")


def test_a_tarball_by_another_name_is_another_fleet_until_an_override_hands_the_nodes_over(site):
    site.run(packed(site, "release-1.tar", "a.example"), "--yes")
    told = " ".join(site.run(packed(site, "release-2.tar", "b.example"), "--yes", status=3).split())
    assert "[another-fleet]" in told
    assert "deploy each archive under the same path or URL" in told
    aside = "{guard: another-fleet, target: edge, until: 2999-01-01, reason: one path from now on}"
    moved = packed(site, "current.tar", "b.example", more=f"overrides: [{aside}]\n")
    assert "Done: 2 changes" in site.run(moved, "--yes")
    moved = packed(site, "current.tar", "c.example")
    assert "Done: 2 changes" in site.run(moved, "--yes"), "handed over for good"
    assert "[another-fleet]" in site.run(site.folder / "release-1.tar", "--yes", status=3)


def test_a_folder_without_git_has_no_order(site):
    folder = site.folder / "plain"
    folder.mkdir()
    (folder / "fleet.yaml").write_text(site.fleet)
    for name in ("a.example", "b.example", "a.example"):
        (folder / "s.json").write_text(managed_setting(name))
        site.run(folder, "--yes")


def test_a_plan_file_of_a_withdrawn_commit_is_refused(site):
    site.commit("b.example")
    plan = site.folder / "plan.json"
    site.run(site.source, "--dry-run", "--out", plan)
    git(site.repository.folder, "reset", "--quiet", "--hard", "HEAD~1")
    assert "was rewritten [plan-outdated]" in site.run("apply", plan, site.source, status=4)
    git(site.repository.folder, "branch", "--quiet", "-m", "other")
    assert "[plan-outdated]" in site.run("apply", plan, site.source, status=4)


def test_a_plan_file_older_than_what_was_applied_is_refused(site):
    plan = site.folder / "plan.json"
    site.run(site.source, "--dry-run", "--out", plan)
    site.commit("b.example")
    site.apply("--only", "n1")
    told = site.run("apply", plan, site.source, status=3)
    assert "[older-revision]" in told


def test_what_another_host_wrote_from_a_newer_revision_is_left_alone(site):
    first = site.repository.head
    site.apply()
    newer = site.commit("b.example")
    site.apply(state="other", status=0)
    third = site.run(site.source, "--ref", first, "--yes", state="third", status=1)
    assert f"has revision {newer[:12]}, which this host did not apply" in " ".join(third.split())
    assert "[foreign-change]" in third
    assert "upload" not in third
    assert "No changes" in site.apply()


def test_a_stamp_that_nobody_knows_is_left_alone_until_said(site):
    site.apply()
    site.write("n1", "0123456789ab")
    site.commit("c.example")
    told = site.apply(status=5)
    assert re.search(r"n1 has revision 0123456789ab", told)
    assert "done          edge  upload  n0" in told
    assert "upload  n1" not in told
    aside = "{guard: foreign-change, target: edge/n1, until: 2999-01-01, reason: the old host is gone}"
    override = f"overrides: [{aside}]\n"
    site.repository.commit({"fleet.yaml": site.fleet + override})
    site.apply()


def test_a_version_that_is_no_stamp_is_nobody_elses(site):
    site.apply()
    site.write("n1", "2022-06-21-A")
    assert "[foreign-change]" not in site.apply()


@pytest.mark.skipif(bool(SSH_MISSING), reason=SSH_MISSING or "-")
def test_a_fleet_file_can_ask_for_signatures_and_the_host_says_whose(site, monkeypatch):
    ada, bob = (SshPerson.make(site.folder, name) for name in ("ada", "bob"))
    allowed = site.folder / "allowed"
    allowed.write_text(ada.line())
    signed_commit(site.repository, ada, {"fleet.yaml": f"require_signed: ssh\n{site.fleet}"})
    assert "[signature-required]" in site.apply(status=3)
    host = ("--require-signed", "ssh", "--allowed-signers", allowed)
    plan = site.folder / "plan.json"
    told = site.run(site.source, "--dry-run", "--out", plan, *host)
    assert "signed by ada@example.org (ssh SHA256:" in " ".join(told.split())
    assert "this host does not check signatures" in site.run("apply", plan, site.source, status=4)
    site.run("apply", plan, site.source, *host)
    assert "signed by ada@example.org" in site.run("history", "show", newest(site))
    signed_commit(site.repository, bob, {"s.json": managed_setting("b.example")})
    monkeypatch.setenv("RECONCILE_REQUIRE_SIGNED", "ssh")
    monkeypatch.setenv("RECONCILE_ALLOWED_SIGNERS", str(allowed))
    for command in ((), ("status",), ("--dry-run",)):
        assert "[unknown-signer]" in site.run(*command, site.source, status=3)
    allowed.write_text(ada.line() + bob.line())
    site.apply()


def newest(site):
    return json.loads(site.run("history", "--format", "json"))[0]["id"]


def test_options_of_signing_that_do_not_fit_each_other_are_refused(site):
    here = site.folder / "repo/fleet.yaml"
    for options, said in (
        (("--allowed-signers", here), "no signature is required"),
        (("--require-signed", "ssh"), "needs a file of accepted signers"),
        (
            ("--require-signed", "gpg", "--allowed-signers", here, "--revoked-signers", here),
            "works only with ssh",
        ),
        (("--require-signed", "ssh", "--allowed-signers", "nowhere"), "there is no file nowhere"),
    ):
        assert said in site.run(site.source, "--dry-run", *options, status=1)


def test_a_commit_that_changes_no_content_changes_no_node(site):
    site.apply()
    first = site.repository.head
    second = site.repository.commit({"README.md": "words"})
    assert "No changes" in site.run(site.source, "--dry-run", "--detailed-exitcode")
    before = json.loads(site.run("status", site.source, "--format", "json"))
    assert "No changes" in site.apply()
    after = json.loads(site.run("status", site.source, "--format", "json"))
    for shown in (before, after):
        (cluster,) = shown["clusters"]
        for node in cluster["nodes"]:
            assert (node["state"], node["revision"], node["stamp"]) == ("as desired", second, first[:12])
    told = " ".join(site.run("status", site.source).split())  # lines are as long as the terminal is wide
    assert re.search(rf"n0 as desired content of {second[:12]} since .* UTC, stamped {first[:12]}", told)
    third = site.commit("b.example")
    told = " ".join(site.run("status", site.source).split())
    assert re.search(rf"n0 differs last seen with {second[:12]} since .*, stamped {first[:12]}", told)
    site.apply("--only", "n0")
    (cluster,) = json.loads(site.run("status", site.source, "--format", "json"))["clusters"]
    assert [(node["revision"], node["stamp"]) for node in cluster["nodes"]] == [
        (third, third[:12]),
        (second, first[:12]),
    ]


def test_a_node_with_the_content_may_carry_anybodys_stamp(site):
    site.apply()
    site.write("n1", "0123456789ab")
    site.commit("b.example")
    assert "Done: 1 change" in site.apply()
    assert "[foreign-change]" not in site.run("status", site.source)


def branch(site, *hostings):
    """A commit on a branch of its own, which is applied; the branch is gone afterwards."""
    folder = site.repository.folder
    git(folder, "checkout", "--quiet", "-b", "topic")
    commit = site.commit(*hostings)
    site.apply()
    git(folder, "checkout", "--quiet", "main")
    git(folder, "branch", "--quiet", "-D", "topic")
    return commit


@pytest.mark.parametrize("place", [".git", ""], ids=["repository", "work tree"])
def test_a_branch_that_was_applied_and_then_squashed_goes_on_by_its_content(site, place):
    site.source = str(site.repository.folder / place)
    site.apply()
    branch(site, "b.example")
    site.repository.commit({"README.md": "main went on"})
    site.commit("b.example")
    site.commit("c.example")
    assert "Done: 2 changes" in site.apply()
    site.commit("d.example")
    assert "Done: 2 changes" in site.apply()


def test_the_squashed_commit_itself_is_applied_from_then_on(site):
    site.apply()
    branch(site, "b.example")
    squashed = site.commit("b.example")
    assert "No changes" in site.apply()
    site.commit("c.example")
    git(site.repository.folder, "reset", "--quiet", "--hard", "HEAD~1")
    site.commit("d.example")
    assert "Done: 2 changes" in site.apply()
    (cluster,) = json.loads(site.run("status", site.source, "--format", "json"))["clusters"]
    assert squashed not in {node["revision"] for node in cluster["nodes"]}


def test_what_a_lost_branch_took_back_is_not_done_again_by_its_older_content(site):
    """The branch reverts a commit that main keeps: its content is older than where it left main."""
    site.apply()
    site.commit("b.example")
    site.apply()
    branch(site, "a.example")
    site.commit("c.example")
    told = " ".join(site.apply(status=3).split())
    assert "does not descend from" in told
    assert "none of its ancestors has the content" in told
