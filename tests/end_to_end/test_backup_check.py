"""After a run: whether the one named node wrote its backup; a warning or a note, never a failed run."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from support.git_repositories import Repository, alone
from support.m2_settings import managed_setting
from support.s3_server import BUCKET, REGION, make_host_file, make_package, s3_in_thread

from reconciler.cli.demo_fixtures import DemoNodes
from reconciler.cli.main import main
from reconciler.rollout import backup_check
from reconciler.simulation.addresses import find_free_addresses


def make_setting(*hostings, **backup):
    """A setting whose node n1 backs it up."""
    wanted = {"enable": True, "hostname": "n1", "connect": "store", "path": "/m2/", "timeout": 1} | backup
    info = {
        "accessKeyId": "of-the-node",
        "secretAccessKey": "node-secret",
        "region": REGION,
        "bucket": BUCKET,
    }
    document = json.loads(managed_setting(*hostings))
    document["env"]["management"]["server"] = {
        "connection": [{"name": "store", "type": "httpAwsSig4", "info": info}],
        "events": {"onSettingLoad": {"backup": wanted}},
    }
    return document


class Site:
    def __init__(self, folder, repository, s3):
        self.folder, self.repository, self.s3 = folder, repository, s3
        self.host = make_host_file(folder, s3)

    def commit(self, *hostings, **backup):
        self.setting = make_setting(*hostings, **backup)
        self.repository.commit({"s.json": json.dumps(self.setting)})

    def write_backup(self, document=None, *, ago=0, files=None):
        """A backup as the node writes it."""
        made = datetime.now(UTC) - timedelta(seconds=ago)
        package = make_package(files or {"setting.json": json.dumps(document or self.setting).encode()})
        key = self.s3.put_backup(made.strftime("%Y%m%dT%H%M%S000Z"), package)
        self.s3.modified[key] = made

    def apply(self, capsys, *arguments, host=None):
        """Exit status, and the findings about the run."""
        capsys.readouterr()
        state = ("--state", str(self.folder / "state"))
        options = ("--host-config", host or self.host, "--yes", "--format", "json")
        status = main([str(self.repository.folder), *state, *options, *arguments])
        output = capsys.readouterr()
        document = json.loads(output.out)
        found = document["report"]["findings"] if document["report"] else []
        return status, [(one["code"], one["severity"], one["message"]) for one in found]


@pytest.fixture
def site(tmp_path, monkeypatch):
    alone(monkeypatch, tmp_path)
    text = "clusters:\n  - {name: edge, kind: m2, setting: s.json, nodes: ["
    text += ", ".join(
        f"{{name: n{number}, address: '{place}'}}" for number, place in enumerate(find_free_addresses(2), 1)
    )
    repository = Repository.make(tmp_path / "repo", {"fleet.yaml": text + "]}\n", "s.json": "{}"})
    with DemoNodes() as served, s3_in_thread() as s3:
        found = Site(tmp_path, repository, s3)
        found.commit("a.example")
        served.serve(repository.folder)
        yield found


def test_a_backup_that_was_written_is_no_news_and_the_keys_of_the_node_are_never_used(site, capsys):
    site.commit("b.example")
    site.s3.fail = lambda method, target: site.write_backup() if not site.s3.objects else None
    assert site.apply(capsys) == (0, [])
    assert site.s3.requests
    assert "of-the-node" not in str(site.s3.requests)


def test_a_backup_that_is_missing_old_or_of_another_setting_is_a_warning(site, capsys):
    site.commit("b.example")
    status, [(code, severity, message)] = site.apply(capsys)
    assert (status, code, severity) == (0, "backup-missing", "warning")
    assert f"the node with the hostname n1 should have backed up its setting to s3://{BUCKET}/m2" in message
    assert "there is no backup" in message
    site.commit("b.example", "c.example")
    site.write_backup(ago=3600)
    status, [(code, _, message)] = site.apply(capsys)
    assert (status, code) == (0, "backup-missing")
    assert "is from before this run" in message
    site.commit("b.example", "c.example", "d.example")
    site.write_backup(make_setting("x.example"))
    status, [(code, _, message)] = site.apply(capsys)
    assert (status, code) == (0, "backup-missing")
    assert "has another setting than was delivered" in message
    assert "x.example" not in message


def test_the_newest_of_several_backups_counts_and_one_that_comes_late_is_waited_for(site, capsys):
    site.commit("b.example", timeout=4)
    site.write_backup(make_setting("x.example"), ago=60)
    begun = []

    def fail(method, target):
        begun.append(target)
        if len(begun) == 6:  # the second look: three lists and the object make one
            site.write_backup()

    site.s3.fail = fail
    assert site.apply(capsys) == (0, [])


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"README": b"x"}, "has no setting.json"),
        ({"setting.json": b"[]"}, "cannot be read"),
        ({"setting.json": b"\xff"}, "cannot be read"),
    ],
)
def test_a_backup_with_anything_else_in_it_is_a_warning(site, capsys, files, words):
    site.commit("b.example")
    site.write_backup(files=files)
    status, [(code, _, message)] = site.apply(capsys)
    assert (status, code) == (0, "backup-missing")
    assert words in message


def test_a_poisoned_backup_and_a_bucket_that_cannot_be_read_fail_no_run(site, capsys):
    site.commit("b.example")
    site.write_backup()
    site.s3.objects |= {key: b"poison" for key in site.s3.objects if key.endswith(".tgz")}
    status, [(code, severity, message)] = site.apply(capsys)
    assert (status, code, severity) == (0, "backup-unknown", "warning")
    assert "is not a tar archive" in message
    site.commit("b.example", "c.example")
    site.s3.fail = lambda method, target: (403, "<Error><Code>AccessDenied</Code></Error>", {})
    status, [(code, severity, message)] = site.apply(capsys)
    assert (status, code, severity) == (0, "backup-unknown", "warning")
    assert "may not read it" in message


def test_what_nobody_can_know_is_a_note(site, capsys, tmp_path):
    site.commit("b.example", auto=False)
    status, [(code, severity, message)] = site.apply(capsys)
    assert (status, code, severity) == (0, "backup-unknown", "note")
    assert "`auto` is false" in message
    site.commit("b.example", "c.example")
    empty = tmp_path / "empty.yaml"
    empty.write_text("{}\n")
    status, [(code, severity, message)] = site.apply(capsys, host=str(empty))
    assert (status, code, severity) == (0, "backup-unknown", "note")
    assert f"may not read the bucket {BUCKET}" in message
    assert site.s3.requests == []


def test_nothing_is_looked_for_if_the_node_that_backs_up_was_not_changed(site, capsys):
    site.commit("b.example")
    site.write_backup()
    assert site.apply(capsys, "--only", "edge/n2") == (0, [])
    assert site.s3.requests == []
    site.commit("b.example", "c.example", hostname="named-otherwise")
    assert site.apply(capsys, "--only", "edge/n2") == (0, [])
    assert site.s3.requests == []
    site.write_backup()
    assert site.apply(capsys) == (0, [])
    assert site.apply(capsys) == (0, [])


def test_without_a_hostname_every_node_backs_up_and_the_setting_is_warned_about(site, capsys):
    site.commit("b.example", hostname="")
    site.write_backup()
    assert site.apply(capsys) == (0, [])


def test_a_look_ends_with_the_time_of_one_attempt(monkeypatch):
    assert sum(backup_check._PAUSES) <= backup_check._LONGEST
