"""`reconcile rollback --to PACKAGE`: one cluster of a fleet goes back to a backup, and stays there."""

import json

import pytest
from support.git_repositories import Repository, alone
from support.m2_settings import managed_setting
from support.s3_server import BUCKET, make_host_file, make_package, s3_in_thread

from reconciler.cli.demo_fixtures import DemoNodes
from reconciler.cli.main import main
from reconciler.simulation.addresses import find_free_addresses

TIME = "20261103T141030000Z"


class Site:
    """A repository with two clusters, their simulated nodes, and backups in S3."""

    def __init__(self, folder, repository, s3):
        self.folder, self.repository, self.s3 = folder, repository, s3
        self.host = make_host_file(folder, s3)
        self.key = s3.put_backup(TIME, self.pack("backup.example"))

    @staticmethod
    def pack(name, **more):
        return make_package({"setting.json": managed_setting(name).encode(), **more})

    @property
    def address(self):
        return f"s3://{BUCKET}/{self.key}"

    def run(self, *arguments):
        return main([*arguments, "--state", str(self.folder / "state"), "--host-config", self.host])

    def roll_back(self, *arguments, to=None):
        return self.run(
            "rollback", "--to", to or self.address, str(self.repository.folder), "--yes", *arguments
        )

    def apply(self, *arguments):
        return self.run(str(self.repository.folder), "--yes", *arguments)


@pytest.fixture
def site(tmp_path, monkeypatch):
    alone(monkeypatch, tmp_path)
    text = "clusters:\n"
    for cluster, place in zip(("edge", "office"), find_free_addresses(2), strict=True):
        text += f"  - {{name: {cluster}, kind: m2, setting: {cluster}.json, "
        text += f"nodes: [{{name: n-{cluster}, address: '{place}'}}]}}\n"
    files = {
        "fleet.yaml": text,
        "edge.json": managed_setting("a.example"),
        "office.json": managed_setting("o"),
    }
    repository = Repository.make(tmp_path / "repo", files)
    with DemoNodes() as served, s3_in_thread() as s3:
        served.serve(repository.folder)
        yield Site(tmp_path, repository, s3)


def words(capsys):
    output = capsys.readouterr()
    return " ".join(f"{output.out} {output.err}".split())


def test_a_cluster_goes_back_to_a_backup_and_stays_there_until_a_commit_changes_it(site, capsys):
    assert site.apply() == 0
    capsys.readouterr()
    assert site.roll_back("--only", "edge", "--format", "json") == 0
    plan = json.loads(capsys.readouterr().out)["plan"]
    assert plan["revision"]["title"] == f"package setting_{TIME}.tgz of {site.address}"
    assert "backup.example" in json.dumps(plan)
    assert {step["cluster"] for cluster in plan["clusters"] for step in cluster["steps"]} == {"edge"}
    # The same again changes nothing.
    assert site.roll_back("--only", "edge", "--format", "json") == 0
    assert "backup.example" not in json.dumps(json.loads(capsys.readouterr().out)["plan"]["clusters"])
    # The next run does not undo it, and the other cluster is not held.
    site.repository.commit({"README": "a commit that changes no node"})
    assert site.apply() == 3
    shown = words(capsys)
    assert "rolled-back" in shown
    assert "edge" in shown
    site.repository.commit({"edge.json": managed_setting("c.example")})
    assert site.apply() == 0
    assert site.run("--dry-run", "--detailed-exitcode", str(site.repository.folder)) == 0
    assert site.run("history") == 0
    assert "rollback" in words(capsys)


def test_a_path_of_backups_means_the_newest_and_a_file_is_a_package_too(site, capsys):
    assert site.apply() == 0
    assert site.roll_back("--only", "edge/n-edge", to=f"s3://{BUCKET}/m2") == 0
    assert "backup.example" in words(capsys)
    file = site.folder / "package.tgz"
    file.write_bytes(site.pack("file.example", **{"certs/a.pem": b"pem"}))
    assert site.roll_back("--only", "edge", to=str(file)) == 0
    assert "file.example" in words(capsys)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "a package is for one cluster, and 2 are selected: edge, office"),
        (("--only", "nobody"), "nobody"),
        (("--only", "edge", "--previous"), "--to takes neither"),
    ],
)
def test_what_goes_back_must_be_clear(site, capsys, arguments, expected):
    assert site.roll_back(*arguments) == 1
    assert expected in words(capsys)


@pytest.mark.parametrize(
    ("package", "expected"),
    [
        (b"poison", "is not a tar archive"),
        (make_package({"fleet.yaml": b"clusters: []"}), "has a fleet file"),
        (make_package({"README": b"x"}), "no fleet.yaml found"),
        (make_package({"setting.json": b'{"env": '}), "setting.json"),
        (make_package({"setting.json": b'{"env": {"management": {"api": {"port": 70000}}}}'}), "65535"),
    ],
    # A package has the time in it: as the name of a test, each process of the runner would have another one.
    ids=["no-package", "fleet", "no-setting", "no-json", "bad-port"],
)
def test_a_package_that_cannot_be_used_changes_nothing(site, capsys, package, expected):
    assert site.apply() == 0
    capsys.readouterr()
    site.s3.put(site.key, package)
    assert site.roll_back("--only", "edge") == 1
    assert expected in words(capsys)
    assert site.run("--dry-run", "--detailed-exitcode", str(site.repository.folder)) == 0


def test_a_backup_that_this_host_may_not_read_changes_nothing(site, capsys):
    assert site.apply() == 0
    capsys.readouterr()
    assert site.roll_back("--only", "edge", to="s3://other-bucket/x.tgz") == 1
    assert "may not read the bucket other-bucket" in words(capsys)
    site.s3.denied.add(site.key)
    assert site.roll_back("--only", "edge") == 1
    assert "s3:GetObject" in words(capsys)
