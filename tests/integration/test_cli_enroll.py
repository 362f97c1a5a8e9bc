"""`reconcile enroll` by the entry point: the file of a node, its token, and nodes that were never heard."""

import asyncio
import json
import stat
import tarfile
from contextlib import contextmanager
from dataclasses import replace

import pytest
from support.git_repositories import Repository, alone
from support.m2_settings import MANAGEMENT

from reconciler.cli import state_access
from reconciler.cli.main import main
from reconciler.host import atomic_write
from reconciler.host.control_socket import RunningWatch
from reconciler.store.factory import open_store

SETTING = json.dumps({"meta": {"version": "v1"}, "env": {"management": MANAGEMENT}})


def write_fleet(nodes=("n1", "n2"), **more):
    cluster = {
        "name": "edge",
        "kind": "m2",
        "setting": "s.json",
        "deliver": "poll",
        "poll": {"server": "https://central.example.com:9443"},
        "nodes": [{"name": name} for name in nodes],
        **more,
    }
    return json.dumps({"clusters": [cluster]})


@pytest.fixture
def repository(tmp_path, monkeypatch):
    alone(monkeypatch, tmp_path)
    monkeypatch.chdir(tmp_path)
    return Repository.make(tmp_path / "repo", {"fleet.json": write_fleet(), "s.json": SETTING})


def run(repository, *arguments):
    state = str(repository.folder.parent / "state")
    return main(["enroll", *arguments, "--source", str(repository.folder), "--state", state])


def tokens_in(text):
    """The token in each URL of the central server."""
    server = json.loads(text)["env"]["management"]["server"]["features"]
    urls = [
        side["info"]["url"]
        for feature in server.values()
        for name, side in feature.items()
        if name in {"feed", "feedback"}
    ]
    assert urls
    assert all(url.startswith("https://central.example.com:9443/") for url in urls)
    return {url.split("/")[3] for url in urls}


def test_the_file_of_a_node_has_its_own_token_and_is_for_this_user_alone(repository, tmp_path, capsys):
    assert run(repository, "n1") == 0
    output = capsys.readouterr().out
    assert "n1.json has the setting of n1" in output
    assert "/usr/local/m2/setting.json" in output
    file = tmp_path / "n1.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    (token,) = tokens_in(file.read_text())
    assert len(token) >= 40
    assert token not in output
    assert run(repository, "edge/n2", "--output", str(tmp_path / "second")) == 0
    assert tokens_in((tmp_path / "second").read_text()) != {token}
    assert run(repository, "n1", "--output", str(tmp_path / "again")) == 0
    assert tokens_in((tmp_path / "again").read_text()) == {token}


def test_a_setting_with_files_becomes_a_package(repository, tmp_path):
    repository.commit({"fleet.json": write_fleet(resources=["certs/*"]), "certs/a.pem": "cert"})
    assert run(repository, "n1") == 0
    with tarfile.open(tmp_path / "n1.tgz") as archive:
        assert sorted(archive.getnames()) == ["certs/a.pem", "setting.json"]
        assert tokens_in(archive.extractfile("setting.json").read())


def test_nothing_is_overwritten_and_nothing_lands_in_the_source(repository, tmp_path, capsys):
    target = tmp_path / "taken"
    target.write_text("mine")
    assert run(repository, "n1", "--output", str(target)) == 1
    assert "exists; nothing was overwritten" in capsys.readouterr().err
    assert target.read_text() == "mine"
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    assert run(repository, "n1", "--output", str(tmp_path / "link")) == 1
    assert not (tmp_path / "elsewhere").exists()
    assert run(repository, "n1", "--output", str(repository.folder / "n1.json")) == 1
    assert "is inside the source" in capsys.readouterr().err
    assert not (repository.folder / "n1.json").exists()
    for device in ("/dev/stdout", "/dev/tty", "-"):
        assert run(repository, "n1", "--output", device) == 1
    assert tmp_path.joinpath("n1.json").exists() is False
    assert run(repository, "n1", "--output", str(tmp_path / "no" / "folder")) == 1
    output = capsys.readouterr()
    assert "central.example.com" not in output.out + output.err


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def fail(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic_write.os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        atomic_write.create_file(tmp_path / "file", b"secret")
    assert list(tmp_path.iterdir()) == []


def test_nodes_that_never_called_are_listed(repository, tmp_path, capsys):
    assert run(repository) == 0
    assert "Never heard:\n  edge/n1\n  edge/n2\n" in capsys.readouterr().out


def test_a_user_who_cannot_open_the_state_is_told_the_command_and_may_list_nodes(
    repository, tmp_path, capsys, monkeypatch
):
    assert run(repository, "n1") == 0
    capsys.readouterr()
    real, state = state_access.open_writable_state, tmp_path / "state"

    @contextmanager
    def closed(folder):
        with real(folder) as access:
            watch = RunningWatch(tmp_path / "socket", 1, str(repository.folder), str(state))
            yield replace(access, is_open=False, watch=watch, watches=(watch,))

    def send(path, request, into=None, body=b""):
        assert request == {"do": "copy"}
        into.write_bytes((state / "state.sqlite").read_bytes())
        return {"ok": True}, 1

    monkeypatch.setattr(state_access, "open_writable_state", closed)
    monkeypatch.setattr(state_access, "send_request", send)
    assert run(repository, "n2") == 1
    output = capsys.readouterr()
    owner = state.owner()
    assert f"sudo -u {owner} reconcile enroll n2 --state {state} --output FILE" in output.out + output.err
    assert run(repository) == 0
    assert "Never heard:\n  edge/n1\n  edge/n2\n" in capsys.readouterr().out


def test_a_rotated_token_replaces_the_old_one_once_it_is_used(repository, tmp_path, capsys):
    assert run(repository, "n1", "--rotate") == 1
    assert "has no token to replace" in capsys.readouterr().err
    assert run(repository, "n1", "--output", str(tmp_path / "first")) == 0
    capsys.readouterr()
    assert run(repository, "n1", "--rotate", "--reason", "a lost laptop") == 0
    assert "edge/n1 has a new token" in capsys.readouterr().out
    assert run(repository, "n1", "--output", str(tmp_path / "second")) == 0
    (first,), (second,) = (tokens_in((tmp_path / name).read_text()) for name in ("first", "second"))
    assert first != second
    counting = asyncio.run(read_counting(tmp_path / "state"))
    assert len(counting["n1"]) == 2, "the old one counts until the new one is used"
    assert run(repository, "n1", "--rotate", "--output", str(tmp_path / "third")) == 0
    assert tokens_in((tmp_path / "third").read_text()) not in ({first}, {second})


async def read_counting(state):
    with open_store(state) as store:
        changes = await store.read_changes(0)
    found = {}
    for one in changes.tokens or ():
        if one.ended is None:
            found.setdefault(one.node, []).append(one.digest)
    return found


def test_enrolling_one_node_leaves_the_tokens_of_the_others(repository, tmp_path):
    assert run(repository, "n1") == 0
    assert run(repository, "n2") == 0
    assert {node: len(own) for node, own in asyncio.run(read_counting(tmp_path / "state")).items()} == {
        "n1": 1,
        "n2": 1,
    }


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("n3",), "no node 'n3' that polls"),
        (("n1\x1b[2J",), "that polls"),
        (("--rotate",), "name the node"),
        (("other/n1",), "that polls"),
    ],
)
def test_nodes_that_are_none(repository, capsys, arguments, words):
    assert run(repository, *arguments) == 1
    error = capsys.readouterr().err
    assert words in error
    assert "\x1b" not in error


def test_a_fleet_without_polling_nodes(repository, capsys):
    called = write_fleet(deliver="upload", poll=None, nodes=())
    fleet = json.loads(called)
    fleet["clusters"][0]["nodes"] = [{"name": "n1", "address": "192.0.2.1"}]
    repository.commit({"fleet.json": json.dumps(fleet)})
    assert run(repository, "n1") == 1
    assert "report in one with `reports`" in capsys.readouterr().err
    assert run(repository) == 0


def test_two_clusters_with_nodes_of_one_name_cannot_be_and_a_missing_secret_is_told(repository, capsys):
    setting = json.loads(SETTING)
    setting["env"]["management"]["server"] = {
        "connection": [
            {
                "name": "k",
                "type": "httpAwsSig4",
                "info": {
                    "accessKeyId": "a",
                    "secretAccessKey": "${env:RECONCILE_SECRET_NONE}",
                    "region": "r",
                },
            }
        ]
    }
    repository.commit({"s.json": json.dumps(setting)})
    assert run(repository, "n1") == 1
    assert "RECONCILE_SECRET_NONE" in capsys.readouterr().err
