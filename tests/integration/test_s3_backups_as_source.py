"""A fleet whose desired state is the newest backup in S3: applied, gone back in, and never silently older."""

import json

import pytest
from support.git_repositories import alone
from support.m2_settings import managed_setting
from support.s3_server import BUCKET, make_host_file, make_package, s3_in_thread

from reconciler.cli.demo_fixtures import DemoNodes
from reconciler.cli.main import main
from reconciler.simulation.addresses import find_free_addresses

SOURCE = f"s3://{BUCKET}/m2"
T1, T2, T3, T4 = (f"2026110{day}T141030000Z" for day in (1, 2, 3, 4))


class Site:
    def __init__(self, folder, s3):
        self.folder, self.s3 = folder, s3
        (place,) = find_free_addresses(1)
        self.port = place.port
        self.host = make_host_file(folder, s3)

    def pack(self, *hostings):
        document = json.loads(managed_setting(*hostings))
        management = document["env"]["management"]
        management["api"]["port"] = self.port
        document["custom"] = {"password": "hunter2-of-the-node"}
        management["cluster"] = {"discover": {"members": ["127.0.0.1"]}}
        return {
            "setting.json": json.dumps(document).encode(),
            "certs/a[1].pem": b"pem of " + hostings[-1].encode(),
        }

    def backup(self, time, *hostings, **more):
        return self.s3.put_backup(time, make_package(self.pack(*hostings)), **more)

    def run(self, capsys, *arguments, status=0):
        capsys.readouterr()
        options = ("--state", str(self.folder / "state"), "--host-config", self.host)
        found = main([*arguments, *options])
        output = capsys.readouterr()
        assert found == status, output.out + output.err
        return " ".join(f"{output.out} {output.err}".split())


@pytest.fixture
def site(tmp_path, monkeypatch):
    alone(monkeypatch, tmp_path)
    with DemoNodes() as served, s3_in_thread() as s3:
        site = Site(tmp_path, s3)
        folder = tmp_path / "served"
        folder.mkdir()
        (folder / "setting.json").write_bytes(site.pack("a.example")["setting.json"])
        served.serve(folder)
        yield site


def test_the_newest_backup_is_applied_with_its_files_and_an_older_one_only_by_name(site, capsys):
    site.backup(T1, "a.example")
    shown = site.run(capsys, SOURCE, "--yes", "--format", "json")
    assert "certs/a[1].pem" in shown
    assert "clear-secret" not in shown
    assert "hunter2" not in shown
    second = site.backup(T2, "a.example", "b.example")
    assert "b.example" in site.run(capsys, SOURCE, "--yes")
    # Late, twice, out of order: nothing changes.
    site.s3.put_feed(second.replace(T2, T1).replace("/02/", "/01/"))
    assert site.run(capsys, SOURCE, "--dry-run", "--detailed-exitcode")
    # Removed: refused, and the node keeps what it has.
    del site.s3.objects[second]
    assert "older than" in site.run(capsys, SOURCE, "--yes", status=1)
    site.backup(T2, "a.example", "b.example")
    # Poisoned: refused, and looked at again.
    third = site.backup(T3, "a.example", "b.example", "c.example")
    good = site.s3.objects[third]
    site.s3.put(third, good[: len(good) // 2])
    assert "damaged" in (shown := site.run(capsys, SOURCE, "--yes", status=1)) or "complete" in shown
    site.s3.put(third, good)
    assert "c.example" in site.run(capsys, SOURCE, "--yes")
    # Back by name, and kept there as long as the newest backup is the one that was left.
    assert "this rollback pins m2" in site.run(capsys, "rollback", T2, SOURCE, "--yes")
    assert "m2 is pinned" in (shown := site.run(capsys, SOURCE, "--yes")), shown
    assert "c.example" not in shown
    # A newer one ends the pin, and is no older revision.
    site.backup(T4, "a.example", "b.example", "d.example")
    assert "d.example" in site.run(capsys, SOURCE, "--yes")


def test_an_older_backup_under_the_name_of_a_package_is_refused(site, capsys):
    address = f"s3://{BUCKET}/current.tgz"
    for hostings in (("a.example",), ("a.example", "b.example")):
        site.s3.put("current.tgz", make_package(site.pack(*hostings)))
        site.run(capsys, address, "--yes")
    site.s3.put("current.tgz", make_package(site.pack("a.example")))
    assert "older-revision" in site.run(capsys, address, "--yes", status=3)
