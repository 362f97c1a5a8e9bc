"""`reconcile doctor` with planted faults: each is found, nothing is written, and no fault hides another."""

import hashlib
import json
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path

import jsonschema_rs
import pytest
from support.commands import run_program, write_files
from support.m2_settings import managed_setting

from reconciler.cli.demo_fixtures import DemoNodes, DemoRepository, find_examples
from reconciler.cli.schema_table import SCHEMAS
from reconciler.doctor import machine_probe, recording_http
from reconciler.host.clock import utc_now
from reconciler.store.factory import open_store

DEAD = """clusters:
  - {name: edge, kind: m2, setting: s.json, nodes:
    [{name: n0, address: 'NODE:1'}, {name: n1, address: 'NODE:2'}]}
"""

USER = """
import sqlite3, sys
store = sqlite3.connect(sys.argv[1])
store.execute("PRAGMA wal_autocheckpoint = 0")
store.execute("CREATE TABLE more (x)")
store.commit()
print("open", flush=True)
sys.stdin.read()
"""
"""Keeps a store open after a write that is only in its -wal."""


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A fleet whose nodes all answer; no test changes it."""
    with DemoNodes() as nodes:
        repository = DemoRepository(tmp_path_factory.mktemp("demo") / "fleet", find_examples() / "demo")
        repository.commit("All of it")
        yield repository.folder, nodes.serve(repository.folder)


@pytest.fixture
def fleet(tmp_path, monkeypatch):
    """A fleet of two nodes that do not answer, and a host of its own."""
    monkeypatch.chdir(tmp_path)
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    files = {"fleet.yaml": DEAD.replace("NODE", "127.0.0.1"), "s.json": managed_setting("a.example")}
    return write_files(tmp_path / "fleet", files)


@pytest.fixture
def state(tmp_path):
    """A state folder with a store."""
    with closing(open_store(tmp_path / "state")):
        pass
    return tmp_path / "state"


def examine(capsys, fleet, state, *more, status=1):
    """Topic -> (state, text) of its findings; the text has where, what and what to do."""
    said = run_program(
        capsys, "doctor", fleet, "--state", state, "--format", "json", "--timeout", 20, *more, status=status
    )
    report = json.loads(said)
    jsonschema_rs.validator_for(SCHEMAS["doctor"]()).validate(report)
    assert report["exit_status"] == status
    found = {}
    for one in report["findings"]:
        assert one["remedy"] or one["state"] not in {"error", "warning"}, one
        text = f"{one['where']}: {one['what']} → {one['remedy']}"
        found.setdefault(one["topic"], []).append((one["state"], text))
    return found


def has(found, topic, state, words):
    return any(one == state and words in text for one, text in found[topic])


def list_files(folder):
    """Path -> content and times of everything below a folder."""
    return {
        str(path): (
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
            path.stat().st_mtime_ns,
            path.stat().st_mode,
        )
        for path in [folder, *folder.rglob("*")]
    }


def test_a_host_without_a_fault_passes_and_nothing_is_written(demo, state, capsys, monkeypatch):
    folder, simulation = demo
    before = list_files(state), list_files(folder)
    found = examine(capsys, folder, state, status=0)
    assert (list_files(state), list_files(folder)) == before
    assert simulation.calls()
    assert not simulation.calls(changes=True)
    assert has(found, "nodes", "ok", "edge: 3 nodes can be read")
    assert has(found, "source", "ok", "2 clusters, 6 nodes")
    assert has(found, "clock", "ok", "other clock")
    assert has(found, "store", "ok", "no fault found")
    text = run_program(capsys, "doctor", folder, "--state", state)
    assert text.endswith("not checked.\n")
    assert "0 errors" in text
    late = utc_now() + timedelta(seconds=300)
    monkeypatch.setattr(recording_http, "utc_now", lambda: late)
    assert has(examine(capsys, folder, state), "clock", "error", "this machine's clock is 300 s ahead")


def test_a_store_in_use_is_read_with_its_newest_records_and_stays_as_it_is(fleet, state, capsys):
    command = [sys.executable, "-c", USER, str(state / "state.sqlite")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as user:
        assert user.stdout.readline() == b"open\n"
        assert (state / "state.sqlite-wal").stat().st_size
        before = list_files(state)
        found = examine(capsys, fleet, state)
        assert list_files(state) == before
        user.stdin.close()
    assert user.returncode == 0
    assert has(found, "store", "ok", "no fault found")


def test_a_store_whose_user_was_killed_is_read_with_its_newest_records(fleet, state, capsys):
    command = [sys.executable, "-c", USER, str(state / "state.sqlite")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as user:
        assert user.stdout.readline() == b"open\n"
        user.kill()
    before = list_files(state)
    assert has(examine(capsys, fleet, state), "store", "ok", "no fault found")
    assert list_files(state) == before


def damage(file):
    data = bytearray(file.read_bytes())
    data[4096 : 4096 * 6] = bytes(index % 251 for index in range(4096 * 5))
    file.write_bytes(data)


def run_statement(statement):
    def plant(file):
        with closing(sqlite3.connect(file)) as store:
            store.execute(statement)
            store.commit()

    return plant


@pytest.mark.parametrize(
    ("plant", "words"),
    [
        (damage, "damaged"),
        (lambda file: file.write_text("no database at all, but long enough " * 40), "it is not a database"),
        (lambda file: file.write_bytes(b""), "the file is empty"),
        (run_statement("PRAGMA user_version = 999"), "a newer version of this program"),
        (run_statement("PRAGMA application_id = 7"), "another program"),
    ],
    ids=["damaged", "text", "empty", "newer", "foreign"],
)
def test_a_store_that_cannot_be_used_is_found_and_the_rest_is_still_examined(
    plant, words, fleet, state, capsys
):
    plant(state / "state.sqlite")
    before = list_files(state)
    found = examine(capsys, fleet, state)
    assert has(found, "store", "error", words), found["store"]
    assert list_files(state) == before
    assert has(found, "source", "ok", "1 cluster, 2 nodes")


def test_dead_nodes_are_one_finding_and_a_broken_host_configuration_another(fleet, state, tmp_path, capsys):
    (tmp_path / "host.yaml").write_text("networks: [here]\nnonsense: 1\n")
    found = examine(capsys, fleet, state, "--host-config", tmp_path / "host.yaml")
    assert has(found, "nodes", "error", "edge: n0, n1 (2 nodes): unreachable: connection refused")
    assert has(found, "host configuration", "error", "host.yaml:1")
    assert has(found, "host configuration", "error", "nonsense")
    (tmp_path / "host.yaml").chmod(0o666)
    found = examine(capsys, fleet, state, "--host-config", tmp_path / "host.yaml")
    assert has(found, "host configuration", "error", "may write")


def test_secrets_that_others_can_read_or_this_user_cannot_are_found_and_not_shown(
    fleet, state, tmp_path, capsys, monkeypatch
):
    secrets = write_files(tmp_path / "secrets", {"open": "hunter2hunter2", "closed": "hunter3hunter3"})
    secrets.chmod(0o700)
    (secrets / "open").chmod(0o644)
    (secrets / "closed").chmod(0o600)
    (secrets / "lost").symlink_to("nowhere")
    (tmp_path / "host.yaml").write_text(
        f"secrets: {{folders: [{secrets}]}}\nauthorities: {{office: {tmp_path}/missing.pem}}\n"
        f"ssh: {{way: {{user: me, keys: [$CREDENTIALS_DIRECTORY/id], known_hosts: {tmp_path}/host.yaml}}}}\n"
    )
    monkeypatch.setenv("RECONCILE_GIT_TOKEN", "hunter4hunter4")
    monkeypatch.setenv("RECONCILE_SOURCE_TOKEN_FILE", str(tmp_path / "away"))
    found = examine(capsys, fleet, state, "--host-config", tmp_path / "host.yaml")
    kept = found["permissions"]
    assert [text for one, text in kept if one == "error" and "secrets/open: others may read" in text]
    assert [text for one, text in kept if one == "error" and "secrets/lost: the secret file" in text]
    assert not [text for _, text in kept if "secrets/closed" in text]
    assert has(found, "permissions", "error", "missing.pem: `authorities.office` does not exist")
    assert has(found, "permissions", "error", "no credentials folder")
    assert has(found, "permissions", "error", "RECONCILE_SOURCE_TOKEN_FILE")
    assert has(found, "service", "not checked", "systemd unit")
    assert has(found, "host configuration", "ok", "does not use office of `authorities`")
    assert "hunter" not in json.dumps(found)


def test_a_name_that_does_not_resolve_is_found_with_those_who_use_it(fleet, state, tmp_path, capsys):
    (fleet / "fleet.yaml").write_text(DEAD.replace("NODE", "nowhere.invalid"))
    (tmp_path / "host.yaml").write_text(
        "kafka: {a: {brokers: ['broker.invalid:9092'], tls: {}}}\ndatabase: {url: 'postgresql://u@db.invalid/d'}\n"
    )
    found = examine(capsys, fleet, state, "--host-config", tmp_path / "host.yaml")
    assert has(found, "names", "error", "nowhere.invalid (2 nodes): the name does not resolve")
    assert has(found, "names", "error", "broker.invalid (`kafka.a.brokers` of the host configuration)")
    assert has(found, "names", "error", "db.invalid (`database.url` of the host configuration)")
    assert has(found, "nodes", "error", "n0, n1")


def test_proxies_are_told_with_what_they_would_catch_and_without_their_password(
    fleet, state, capsys, monkeypatch
):
    monkeypatch.setenv("http_proxy", "http://me:hunter2hunter2@127.0.0.1:1/")
    found = examine(capsys, fleet, state)
    assert has(found, "proxy", "warning", "1 host of nodes to a proxy")
    assert "http_proxy is http://127.0.0.1:1" in str(found["proxy"])
    url = "http://127.0.0.1:2/fleet.git"
    found = examine(capsys, url, state)
    assert has(found, "proxy", "warning", "the source 127.0.0.1 has an address of a private network")
    assert has(found, "source", "error", "")
    assert has(found, "nodes", "not checked", "the fleet could not be read")
    assert "hunter" not in json.dumps(found)
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1/")
    assert has(examine(capsys, url, state), "proxy", "error", "socks5")


@pytest.mark.parametrize(
    "planted",
    [("echo git version 2.20.1", "git 2.20.1 is too old"), ("exit 3", "status 3"), (None, "cannot be run")],
    ids=["old", "broken", "missing"],
)
def test_a_git_that_cannot_be_used_is_found(planted, fleet, state, capsys, monkeypatch):
    script, words = planted
    programs = state.parent / "bin"
    programs.mkdir()
    if script:
        (programs / "git").write_text(f"#!/bin/sh\n{script}\n")
        (programs / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    # A folder outside of a repository is read without git.
    assert has(examine(capsys, fleet, state), "versions", "warning", words)
    assert has(examine(capsys, state.parent / "some.git", state), "versions", "error", words)


def test_signers_without_a_key_are_found(fleet, state, tmp_path, capsys):
    (tmp_path / "signers").write_text("# nobody yet\n")
    options = ("--require-signed", "ssh", "--allowed-signers", tmp_path / "signers")
    found = examine(capsys, fleet, state, *options)
    assert has(found, "source", "error", "has no key")
    assert has(found, "source", "error", "nodes") or has(found, "source", "error", "sign")


def test_a_full_disk_is_found(fleet, state, capsys, monkeypatch):
    class Full:
        f_bavail, f_frsize, f_files, f_favail, f_flag = 3, 4096, 1000, 2, 0

    monkeypatch.setattr(machine_probe.os, "statvfs", lambda _: Full)
    found = examine(capsys, fleet, state)
    assert has(found, "disk", "error", "the disk is full")
    assert has(found, "disk", "error", "room for 2 more files")


def test_a_source_that_hangs_takes_no_longer_than_it_may_and_hides_nothing(state, capsys, unused_place):
    began = time.monotonic()
    found = examine(capsys, f"http://{unused_place}/fleet.git", state, "--timeout", 2)
    assert time.monotonic() - began < 10
    assert has(found, "source", "error", "did not end within 1 s")
    assert has(found, "store", "ok", "no fault found")


@pytest.fixture
def unused_place():
    """A place that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield "{}:{}".format(*server.getsockname())


def test_a_defect_in_one_check_hides_no_other_and_shows_no_message(fleet, state, capsys, monkeypatch):
    def fail(_):
        raise KeyError("hunter2hunter2")

    monkeypatch.setattr(machine_probe, "read_limits", fail)
    found = examine(capsys, fleet, state)
    assert has(found, "limits", "error", "a defect of this program: KeyError at ")
    assert has(found, "nodes", "error", "n0, n1")
    assert "hunter" not in json.dumps(found)


def test_a_source_with_errors_is_told_with_their_places(fleet, state, capsys):
    (fleet / "fleet.yaml").write_text("clusters:\n  - {name: edge, kind: nothing}\n")
    assert has(examine(capsys, fleet, state), "source", "error", "fleet.yaml:2")
    with suppress(FileNotFoundError):
        Path(fleet / "fleet.yaml").unlink()
    assert has(examine(capsys, fleet, state), "source", "error", "fleet")
