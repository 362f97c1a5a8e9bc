"""`reconcile rollback` by the entry point, over a git repository and simulated nodes."""

import json

import pytest
from support.git_repositories import Repository, alone, git
from support.m2_settings import managed_setting

from reconciler.cli.demo_fixtures import DemoNodes
from reconciler.cli.main import main
from reconciler.simulation.addresses import find_free_addresses


@pytest.fixture
def repository(tmp_path, monkeypatch):
    alone(monkeypatch, tmp_path)
    (place,) = find_free_addresses(1)
    fleet = "version: commit\nclusters:\n  - name: edge\n    kind: m2\n    setting: s.json\n    nodes:\n"
    files = {
        "fleet.yaml": f"{fleet}      - {{name: n1, address: '{place}'}}\n",
        "s.json": managed_setting("a.example"),
    }
    made = Repository.make(tmp_path / "repo", files)
    with DemoNodes() as served:
        served.serve(made.folder)
        yield made


def run(repository, *arguments):
    return main([*arguments, "--state", str(repository.folder.parent / "state")])


def test_the_revision_before_the_current_one_is_planned_and_applied(repository, capsys):
    folder = str(repository.folder)
    first = git(repository.folder, "rev-parse", "HEAD").strip()
    assert run(repository, folder, "--yes") == 0
    repository.commit({"s.json": managed_setting("a.example", "b.example")})
    assert run(repository, folder, "--yes") == 0
    clone = str(repository.folder.parent / "clone")
    git(repository.folder, "clone", "--quiet", folder, clone)
    capsys.readouterr()
    assert run(repository, "rollback", "", clone, "--yes", "--format", "json") == 0
    output = capsys.readouterr()
    assert json.loads(output.out)["plan"]["revision"]["id"] == first
    assert f"State: {repository.folder.parent}/state (--state)\nWatch: none" in output.err
    assert run(repository, "history", "--format", "json") == 0
    newest = json.loads(capsys.readouterr().out)[0]
    assert (newest["trigger"], newest["revision"]) == ("rollback", first)
    capsys.readouterr()
    for files in ({}, {"README": "a commit that changes no node"}):
        repository.commit(files) if files else None
        assert run(repository, folder, "--yes") == 0
        assert f"edge is pinned at {first[:12]}" in " ".join(capsys.readouterr().out.split())
    second = git(repository.folder, "rev-parse", "HEAD").strip()
    repository.commit({"s.json": managed_setting("a.example", "c.example")})
    assert run(repository, folder, "--yes") == 0
    assert run(repository, "rollback", second, folder, "--yes") == 0, "it is named, so it is meant"
    assert run(repository, "suspend", "--reason", "a storm") == 0
    capsys.readouterr()
    assert run(repository, "rollback", first, folder, "--yes") == 0
    assert "a rollback is not held by a suspension" in " ".join(capsys.readouterr().out.split())
    repository.commit({"s.json": managed_setting("a.example", "d.example")})
    assert run(repository, folder, "--yes") == 3, "the suspension stays"
    assert run(repository, "resume") == 0
    assert run(repository, folder, "--yes") == 0
    repository.commit({"fleet.yaml": "clusters: nonsense\n"})
    capsys.readouterr()
    assert run(repository, "rollback", "--previous", folder, "--yes", "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["plan"]["revision"]["id"] == first


def test_a_bare_suspension_stops_every_cluster_of_every_fleet_of_the_host(repository, tmp_path, capsys):
    fleets = []
    with DemoNodes() as served:
        for name in ("one", "two"):
            text = f"name: {name}\nclusters:\n"
            for cluster, place in zip(("edge", f"own-{name}"), find_free_addresses(2), strict=True):
                text += f"  - {{name: {cluster}, kind: m2, setting: s.json, "
                text += f"nodes: [{{name: n-{cluster}, address: '{place}'}}]}}\n"
            made = Repository.make(
                tmp_path / name, {"fleet.yaml": text, "s.json": managed_setting("a.example")}
            )
            served.serve(made.folder)
            fleets.append(made)
            assert run(repository, str(made.folder), "--yes") == 0
            made.commit({"s.json": managed_setting("b.example")})
        assert run(repository, "suspend", "--reason", "a storm") == 0
        for made in fleets:
            capsys.readouterr()
            assert run(repository, str(made.folder), "--yes", "--format", "json") == 3
            refused = json.loads(capsys.readouterr().out)["violations"]
            assert [one["code"] for one in refused] == ["suspended", "suspended"]
        assert run(repository, "resume") == 0
        assert [run(repository, str(made.folder), "--yes") for made in fleets] == [0, 0]


def test_without_an_earlier_revision_rollback_is_refused(repository, capsys):
    folder = str(repository.folder)
    assert run(repository, folder, "--yes") == 0
    assert run(repository, "rollback", "", folder, "--yes") == 1
    assert "has no commit that was applied before" in capsys.readouterr().err


def test_a_folder_instead_of_a_revision_is_refused_with_the_right_command(tmp_path, monkeypatch, capsys):
    (tmp_path / "fleet").mkdir()
    monkeypatch.chdir(tmp_path)
    assert main(["rollback", "fleet", "--state", str(tmp_path / "state")]) == 1
    assert (
        "for the previously applied commit: `reconcile rollback --previous fleet`" in capsys.readouterr().err
    )
