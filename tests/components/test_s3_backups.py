"""Backups in a real S3 server that verifies signatures and policies; boto3 writes them, as a node would."""

import json
import re
import shutil
import threading

import pytest
import yaml
from moto_process import BUCKET, REGION, MotoStorage
from support.git_repositories import Repository, alone
from support.s3_server import make_package

from reconciler.cli.demo_fixtures import DemoNodes, find_examples
from reconciler.cli.main import main
from reconciler.simulation.addresses import find_free_addresses

pytestmark = pytest.mark.component("moto_server")


class Site:
    """The example, with simulated nodes and the server."""

    def __init__(self, folder, moto):
        self.folder, self.moto = folder, moto
        example = folder / "example"
        shutil.copytree(find_examples() / "s3-backups", example)
        host = yaml.safe_load((example / "host.yaml").read_text())
        self.credentials = folder / "credentials"
        self.write_keys(*moto.keys["reconcile"])
        account = host["aws"]["backups"]
        account["credentials"] = str(self.credentials)
        account["s3"] |= {"endpoint": moto.url, "path_style": True}
        host["state"] = str(folder / "state")
        self.host = folder / "host.yaml"
        self.host.write_text(yaml.safe_dump(host))
        text = (example / "fleet.yaml").read_text()
        for place in find_free_addresses(2):
            text = re.sub(r'"192\.0\.2\.[0-9]+:10040"', f'"{place}"', text, count=1)
        (example / "fleet.yaml").write_text(text)
        files = {
            str(path.relative_to(example)): path.read_text() for path in example.rglob("*") if path.is_file()
        }
        self.repository = Repository.make(folder / "repo", files)
        self.text = files["edge/setting.json"]
        assert '"timeout": 30' in self.text
        self.text = self.text.replace('"timeout": 30', '"timeout": 8')
        self.repository.commit({"edge/setting.json": self.text})

    def write_keys(self, key_id, secret):
        self.credentials.write_text(
            f"[default]\naws_access_key_id = {key_id}\naws_secret_access_key = {secret}\n"
        )
        self.credentials.chmod(0o600)

    def commit(self, address, version):
        self.text = re.sub(r"198\.51\.100\.[0-9]+", address, self.text)
        self.text = re.sub(r"2026-11-30-[A-Z]", version, self.text)
        self.repository.commit({"edge/setting.json": self.text})

    def pack(self):
        """The setting as the node has it, with the values of its secrets."""
        text = self.text.replace("${env:RECONCILE_SECRET_BACKUP_KEY_ID}", "of-the-node")
        document = json.loads(text.replace("${env:RECONCILE_SECRET_BACKUP_KEY}", "secret-of-the-node"))
        del document["$schema"]
        return make_package({"setting.json": json.dumps(document).encode()})

    def run(self, capsys, *arguments, status=0):
        capsys.readouterr()
        found = main([*arguments, "--host-config", str(self.host)])
        output = capsys.readouterr()
        assert found == status, output.out + output.err
        assert "secret-of-the-node" not in output.out + output.err
        return output.out + output.err


@pytest.fixture
def site(tmp_path, monkeypatch):
    alone(monkeypatch, tmp_path)
    monkeypatch.setenv("RECONCILE_SECRET_BACKUP_KEY_ID", "of-the-node")
    monkeypatch.setenv("RECONCILE_SECRET_BACKUP_KEY", "secret-of-the-node")
    moto = MotoStorage(tmp_path)
    try:
        site = Site(tmp_path, moto)
        with DemoNodes() as served:
            served.serve(site.repository.folder)
            yield site
    finally:
        moto.stop()


def test_a_backup_is_checked_read_as_a_source_and_gone_back_to(site, capsys):
    fleet = str(site.repository.folder)
    # The node writes its backup some time after it has loaded the setting.
    late = threading.Timer(3, lambda: site.moto.write_backup(site.pack()))
    late.start()
    assert "backup-" not in site.run(capsys, fleet, "--yes", "--format", "json")
    late.join()
    first = site.pack()
    site.commit("198.51.100.12", "2026-11-30-B")
    shown = site.run(capsys, fleet, "--yes", "--format", "json")
    assert "is from before this run" in shown or "has another setting than was delivered" in shown
    # Back to the backup, and the other way by a commit.
    key = site.moto.write_backup(first)
    shown = site.run(capsys, "rollback", "--to", f"s3://{BUCKET}/{key}", fleet, "--only", "edge", "--yes")
    assert "198.51.100.11" in shown
    assert "rolled-back" in site.run(capsys, "--dry-run", fleet)
    site.commit("198.51.100.13", "2026-11-30-C")
    site.run(capsys, fleet, "--yes")


def test_refusals_of_a_real_server_are_told_in_plain_sentences(site, capsys):
    source = f"s3://{BUCKET}/edge"
    shown = site.run(capsys, "validate", source, status=1)
    assert "has neither feed.json nor a backup" in shown
    site.moto.write_backup(site.pack())
    site.run(capsys, "validate", source, status=1)  # it names no members, so its nodes are not known
    key_id, secret = site.moto.keys["reconcile"]
    site.write_keys(key_id, "wrong" + secret[5:])
    assert "the secret access key of `aws.backups`" in site.run(capsys, "validate", source, status=1)
    site.write_keys("AKIAIOSFODNN7EXAMPLE", secret)
    assert "does not know the access key id" in site.run(capsys, "validate", source, status=1)
    site.write_keys(*site.moto.keys["node"])  # which may only write
    assert "may not read it" in site.run(capsys, "validate", source, status=1)
    site.write_keys(key_id, secret)
    shown = site.run(capsys, "validate", "s3://another-bucket/edge", status=1)
    assert f"buckets that it may read: {BUCKET}" in shown


def test_keys_with_marks_lists_in_pages_and_unchanged_objects(site, capsys, monkeypatch):
    package = make_package({"setting.json": b"{}"})
    for minute in range(12):
        site.moto.put(f"a b+c/settings/2026/11/setting_20261101T14{minute:02}00000Z.tgz", package)
    newest = make_package({"setting.json": b'{"hosting": []}'})
    site.moto.write_backup(newest, path="a b+c", time="20261101T150000000Z")
    shown = site.run(capsys, "validate", f"s3://{BUCKET}/a b+c", status=1)
    assert "members" in shown
    assert REGION in site.host.read_text()
