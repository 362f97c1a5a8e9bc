"""`reconcile import` by the entry point, over simulated nodes and real HTTP."""

import copy
import json
import os
import shutil
from contextlib import contextmanager

import pytest
from support.m2_settings import MANAGEMENT
from support.m2_wire import canonicalise

from reconciler.cli.demo_fixtures import DemoNodes
from reconciler.cli.file_writer import write_files
from reconciler.cli.main import main
from reconciler.errors import StateError
from reconciler.host.atomic_write import write_atomically
from reconciler.simulation.addresses import find_free_addresses

KEY = "wJalrXUtnFEMI/K7MDENG"
FLEET = """\
# two edge nodes and three that talk
clusters:
  - name: edge
    kind: m2
    setting: edge/base.json   # what both have
    nodes:
      - {name: e1, address: "A0"}
      - {name: e2, address: "A1"}
  - name: live
    kind: sora
    nodes:
      - {name: n1@sora-1.example.com, api: "http://A2/"}
      - {name: n2@sora-2.example.com, api: "http://A3/"}
      # the third one
      - {name: n3@sora-3.example.com, api: "http://A4/"}
"""
INFO = {
    "accessKeyId": "${env:RECONCILE_SECRET_KEY_ID}",
    "secretAccessKey": "${env:RECONCILE_SECRET_KEY}",
    "region": "r",
}
BASE = {
    "meta": {"version": "7"},
    "env": {
        "management": {
            **MANAGEMENT,
            "server": {"connection": [{"name": "cloud", "type": "awssdk3", "info": INFO}]},
        }
    },
    "hosting": [{"name": "a.example.com", "listen": "*:80"}],
}


class Site:
    def __init__(self, folder):
        self.folder = folder
        self.places = [str(place) for place in find_free_addresses(5)]
        text = FLEET
        for number, place in enumerate(self.places):
            text = text.replace(f"A{number}", place)
        (folder / "edge").mkdir(parents=True)
        self.write("fleet.yaml", text)
        self.write("edge/base.json", json.dumps(BASE, indent=4))

    def write(self, name, text):
        (self.folder / name).write_text(text)

    def read(self, name="fleet.yaml"):
        return (self.folder / name).read_text()

    def files(self):
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file())

    def run(self, *arguments, folder=None):
        return main([*arguments, str(folder or self.folder)])

    def planned(self, folder=None):
        state = ("--state", str(self.folder.parent / "state"))
        return self.run("--dry-run", "--detailed-exitcode", *state, folder=folder)


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.setenv("RECONCILE_SECRET_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("RECONCILE_SECRET_KEY", KEY)
    made = Site(tmp_path / "fleet")
    with DemoNodes() as nodes:
        made.simulation = nodes.serve(made.folder, converged=True)
        made.nodes = nodes
        yield made


def test_a_new_folder_is_written_from_addresses_and_its_plan_is_empty(site, tmp_path, capsys, monkeypatch):
    new = tmp_path / "new"
    m2, sora = f"edge={site.places[0]},{site.places[1]}", f"live=http://{site.places[3]}/"
    assert site.run("import", "--m2", m2, "--sora", sora, "--dry-run", folder=new) == 0
    assert not new.exists()
    assert site.run("import", "--m2", m2, "--sora", sora, "--yes", folder=new) == 0
    output = capsys.readouterr().out
    names = ("RECONCILE_SECRET_CLOUD_ACCESS_KEY_ID", "RECONCILE_SECRET_CLOUD_SECRET_ACCESS_KEY")
    assert f"Set these variables wherever reconcile runs: {', '.join(names)}" in output
    written = "".join(path.read_text() for path in new.rglob("*.*"))
    assert KEY not in output + written
    assert "n3@sora-3.example.com" in (new / "fleet.yaml").read_text()
    monkeypatch.setenv("RECONCILE_SECRET_CLOUD_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("RECONCILE_SECRET_CLOUD_SECRET_ACCESS_KEY", KEY)
    assert site.planned(folder=new) == 0
    assert "No changes: 5 nodes are as desired." in capsys.readouterr().out
    assert site.simulation.calls(changes=True) == ()


def test_a_converged_fleet_is_left_byte_for_byte(site, capsys):
    before = {name: site.read(name) for name in site.files()}
    assert site.run("import", "--yes") == 0
    assert "Nothing to write" in capsys.readouterr().out
    assert {name: site.read(name) for name in site.files()} == before


def test_a_change_on_all_nodes_is_written_into_their_common_file(site, capsys):
    text = site.read("edge/base.json")
    site.write("edge/base.json", text.replace("*:80", "off").replace('"r"', '"elsewhere"'))
    assert site.run("import", "--yes") == 0
    assert '-            "listen": "off"' in capsys.readouterr().out
    assert site.read("edge/base.json") == text
    assert site.planned() == 0


@contextmanager
def another_setting_on_e2(site, path):
    """The fleet's node e2 is one that shows the setting in this file."""
    with DemoNodes() as nodes:
        odd = site.folder.parent / "odd"
        shutil.copytree(site.folder, odd)
        (place,) = find_free_addresses(1)
        (odd / "fleet.yaml").write_text(
            f"clusters: [{{name: edge, kind: m2, setting: {path}, "
            f"nodes: [{{name: e2, address: '{place}'}}]}}]\n"
        )
        nodes.serve(odd, converged=True)
        site.write("fleet.yaml", site.read().replace(site.places[1], str(place)))
        yield


def test_a_change_on_one_node_becomes_its_overlay(site):
    text = site.read("edge/base.json")
    other = json.loads(text.replace("*:80", "off"))
    site.write("edge/base.json", json.dumps(other, indent=4))
    with another_setting_on_e2(site, "edge/base.json"):
        site.write("edge/base.json", text)
        assert site.run("import", "--yes") == 0
        assert site.planned() == 0
    assert site.read("edge/base.json") == text
    assert '{name: e2, address: "' in site.read()
    assert "overlays: [edge/e2.json]" in site.read()
    assert json.loads(site.read("edge/e2.json")) == [
        {"op": "replace", "path": "/hosting/0/listen", "value": "off"}
    ]


def test_members_that_came_and_left_are_written_and_comments_stay(site):
    text = site.read()
    third = f'      - {{name: n3@sora-3.example.com, api: "http://{site.places[4]}/"}}\n'
    ghost = '      - {name: ghost@sora-9.example.com, api: "http://127.0.0.1:9/"}\n'
    site.write("fleet.yaml", text.replace(third, ghost))
    assert site.run("import", "--yes", "--only", "live") == 0
    assert site.planned() == 0
    # what stands above an entry is about it, and goes with it
    assert site.read() == text.replace("      # the third one\n", "")


def test_a_node_that_does_not_answer_stops_the_import_with_its_name(site, capsys):
    site.nodes.kill(site.simulation, "e2")
    before = site.read("edge/base.json")
    assert site.run("import", "--yes") == 1
    assert "cannot import edge: e2 cannot be read" in capsys.readouterr().err
    assert site.run("import", "--yes", "--only", "live") == 0
    assert site.read("edge/base.json") == before


def test_a_secret_that_was_changed_on_the_nodes_is_named_and_never_written(site, capsys, monkeypatch):
    monkeypatch.setenv("RECONCILE_SECRET_KEY", "another one")
    assert site.run("import", "--yes") == 1
    output = capsys.readouterr()
    assert "connection/0/info/secretAccessKey differs from ${env:RECONCILE_SECRET_KEY}" in output.err
    assert KEY not in output.out + output.err + "".join(site.read(name) for name in site.files())


def test_a_missing_terminal_and_wrong_arguments_are_errors(site, tmp_path, capsys):
    site.write("edge/base.json", site.read("edge/base.json").replace("*:80", "off"))
    assert site.run("import") == 1
    assert "add --yes to write without asking" in capsys.readouterr().err
    assert site.run("import", folder=tmp_path / "nothing") == 1
    assert "name the nodes to read" in capsys.readouterr().err
    assert site.run("import", "--m2", "edge", folder=tmp_path / "nothing") == 1
    assert "must be NAME=ADDRESS" in capsys.readouterr().err
    assert site.run("import", "--m2", f"edge={site.places[0]}", "--yes") == 1
    assert "the fleet already has a cluster edge" in capsys.readouterr().err


def test_a_cluster_is_added_to_a_fleet(site, capsys):
    text = site.read()
    site.write("fleet.yaml", text[: text.index("  - name: live")])
    assert site.run("import", "--sora", f"live=http://{site.places[2]}/", "--yes") == 0
    assert site.planned() == 0
    assert "setting: edge/base.json   # what both have" in site.read()


def test_files_are_written_all_or_not_at_all(tmp_path):
    (tmp_path / "a").write_text("old")
    with pytest.raises(StateError, match="cannot write"):
        write_files(tmp_path, {"a": b"old"}, {"a": "new", "b": "new", "b/x": "cannot be"})
    assert (tmp_path / "a").read_text() == "old"
    assert not (tmp_path / "b").exists()
    with pytest.raises(StateError, match="changed in the meantime"):
        write_files(tmp_path, {"a": b"older"}, {"a": "new"})
    assert (tmp_path / "a").read_text() == "old"


def test_a_secret_in_plain_text_is_masked_in_the_difference(site, capsys):
    text = site.read("edge/base.json").replace("${env:RECONCILE_SECRET_KEY}", KEY)
    site.write("edge/base.json", text.replace('"region": "r"', '"region": "elsewhere"'))
    assert site.run("import", "--dry-run") == 0
    output = capsys.readouterr().out
    assert '"secretAccessKey": "••••••"' in output
    assert '-                            "region": "elsewhere"' in output
    assert KEY not in output


def test_new_files_are_shown_and_overwrite_none(site, tmp_path, capsys):
    new = tmp_path / "new"
    (new / "other").mkdir(parents=True)
    (new / "other/base.json").write_text('{"mine": 1}')
    edge = f"other={site.places[0]}, {site.places[1]}"
    assert site.run("import", "--m2", edge, "--yes", folder=new) == 1
    output = capsys.readouterr()
    assert f'+      - {{name: other-02, address: "{site.places[1]}"}}' in output.out
    assert "other/base.json already exists" in output.err
    assert [path.name for path in new.rglob("*.*")] == ["base.json"]

    text = site.read()
    site.write(
        "fleet.yaml", text.replace("name: edge\n", "name: first\n").replace(site.places[1], "127.0.0.1:9")
    )
    before = {name: site.read(name) for name in site.files()}
    assert site.run("import", "--m2", f"edge={site.places[1]}", "--only", "edge", "--yes") == 1
    assert "edge/base.json already exists" in capsys.readouterr().err
    assert {name: site.read(name) for name in site.files()} == before


def test_an_interruption_restores_files_and_links_and_umask_are_respected(tmp_path, monkeypatch):
    (tmp_path / "real").write_text("old")
    (tmp_path / "a").symlink_to(tmp_path / "real")
    before = {"a": b"old"}

    def interrupted(path, data, *, mode):
        if path.name == "b":
            raise KeyboardInterrupt
        write_atomically(path, data, mode=mode)

    monkeypatch.setattr("reconciler.cli.file_writer.write_atomically", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_files(tmp_path, before, {"a": "new", "b": "new"})
    assert (tmp_path / "real").read_text() == "old"
    monkeypatch.undo()
    mask = os.umask(0o077)
    try:
        write_files(tmp_path, before, {"a": "new", "b": "new"})
    finally:
        os.umask(mask)
    assert (tmp_path / "a").is_symlink()
    assert (tmp_path / "real").read_text() == "new"
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o600
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        write_atomically(tmp_path / "pipe", b"x")


def test_one_value_of_a_file_that_people_wrote_changes_alone_and_the_whole_difference_is_shown(site, capsys):
    before = (
        "\ufeff---\r\n# do not sort\r\nhosting:\r\n    -   name: a.example.com    # first\r\n"
        '        listen: &port "*:81"'
    )
    site.write(
        "fleet.yaml", site.read().replace("edge/base.json", "edge/base.json\n    overlays: [site.yaml]")
    )
    (site.folder / "site.yaml").write_bytes(before.encode())
    assert site.run("import", "--yes") == 0
    output = capsys.readouterr().out
    assert '-        listen: &port "*:81"\n+        listen: &port "*:80"\n' in output
    after = (site.folder / "site.yaml").read_bytes().decode()
    assert after == before.replace("*:81", "*:80")
    assert site.planned() == 0


def test_one_change_on_a_node_that_writes_all_defaults_out_is_one_line_of_its_overlay(site):
    """Else the overlay would pin the node's access, and a narrower list in the base would pass it by."""
    text = site.read("edge/base.json")
    shown = copy.deepcopy(canonicalise(json.loads(text)))
    shown["env"]["management"]["cluster"]["balance"]["mode"] = "hash"
    shown["env"]["management"]["server"]["connection"][0]["info"] = INFO
    shown["env"]["management"]["api"]["allowList"][0]["addr"] = "127.0.0.1/32"
    site.write("edge/own.json", json.dumps(shown))
    with another_setting_on_e2(site, "edge/own.json"):
        assert site.run("import", "--yes") == 0
        assert json.loads(site.read("edge/e2.json")) == {
            "env": {"management": {"cluster": {"balance": {"mode": "hash"}}}}
        }
        assert site.planned() == 0


POLLING = {
    "enable": True,
    "features": {
        "setting": {
            "enable": True,
            "feed": {
                "type": "apiPolling",
                "info": {"url": "SERVER/TOKEN/setting", "schedule": "*/15 * * * * *", "timeout": 5},
            },
            "feedback": {
                "type": "api",
                "info": {"url": "SERVER/TOKEN/report", "timeout": 5},
                "uploadSetting": True,
            },
        },
        "heartbeat": {
            "enable": True,
            "feedback": {
                "type": "apiPolling",
                "info": {"url": "SERVER/TOKEN/report", "schedule": "*/30 * * * * *", "timeout": 5},
            },
        },
        "purge": {
            "enable": True,
            "workerCount": 3,
            "feed": {
                "type": "apiPolling",
                "info": {"url": "SERVER/TOKEN/purge", "schedule": "*/15 * * * * *", "timeout": 5},
            },
            "feedback": {"type": "api", "info": {"url": "SERVER/TOKEN/report", "timeout": 5}},
        },
    },
}
WATCH = "http://127.0.0.1:9"


@contextmanager
def polling_nodes(folder, servers=(WATCH, WATCH)):
    """Nodes whose settings have the URLs of a watch, each with its own token; gives them and their places."""
    places = [str(place) for place in find_free_addresses(2)]
    folder.mkdir()
    entries = []
    for number, (place, server) in enumerate(zip(places, servers, strict=True), 1):
        text = (
            json.dumps(POLLING).replace("SERVER", server).replace("TOKEN", f"token-{number}".ljust(43, "x"))
        )
        document = {**BASE, "env": {"management": {**MANAGEMENT, "server": json.loads(text)}}}
        (folder / f"{number}.json").write_text(json.dumps(document))
        entries.append({"name": f"n{number}", "address": place, "setting": f"{number}.json"})
    fleet = {"clusters": [{"name": "edge", "kind": "m2", "nodes": entries}]}
    (folder / "fleet.json").write_text(json.dumps(fleet))
    with DemoNodes() as nodes:
        yield nodes.serve(folder, converged=True), places


def test_nodes_that_poll_a_watch_become_a_cluster_that_polls_and_no_file_has_a_token(tmp_path, capsys):
    new = tmp_path / "new"
    with polling_nodes(tmp_path / "nodes") as (simulation, places):
        assert main(["import", "--m2", f"edge={','.join(places)}", "--yes", str(new)]) == 0
        output = capsys.readouterr().out
        assert (
            f"edge: its nodes poll {WATCH}; only the host that gave them their tokens knows these" in output
        )
        written = "".join(path.read_text() for path in new.rglob("*.*"))
        assert "token-" not in written + output
        assert "deliver: poll" in written
        setting = json.loads((new / "edge" / "base.json").read_text())
        features = setting["env"]["management"]["server"]["features"]
        # Only what differs from what the program writes itself.
        assert features == {
            "heartbeat": {"feedback": {"info": {"schedule": "*/30 * * * * *"}}},
            "purge": {"workerCount": 3},
        }
        assert main(["validate", str(new)]) == 0
        # Again: nothing has changed on the nodes, and a change of one of them is written alone.
        capsys.readouterr()
        assert main(["import", "--yes", str(new)]) == 0
        assert json.loads((new / "edge" / "base.json").read_text()) == setting
        assert simulation.calls(changes=True) == ()


def test_nodes_that_poll_different_servers_are_no_one_cluster(tmp_path, capsys):
    servers = (WATCH, "http://127.0.0.1:10")
    with polling_nodes(tmp_path / "nodes", servers) as (_, places):
        assert main(["import", "--m2", f"edge={','.join(places)}", "--yes", str(tmp_path / "new")]) == 1
    assert f"its nodes call different servers ({servers[1]}, {WATCH})" in capsys.readouterr().err


CONFS = """\
# by hand
cluster = true
node_name = {name}
external_signaling_url = wss://{host}/signaling
external_api_url = http://{api}/
turn_secret = a-secret-of-turn
cluster_cookie = a-cookie
title = ${{not a reference}} = # x
websocket_ping_interval = 30 s
"""


class ConfSite:
    """The Sora cluster of the demo, each of whose nodes has a sora.conf on this machine."""

    def __init__(self, site, folder):
        self.names = [f"n{number}@sora-{number}.example.com" for number in (1, 2, 3)]
        self.folder, self.fleet, self.site = folder, folder / "fleet", site
        self.host = folder / "host.yaml"
        file = {"path": str(folder / "machines" / "{node}" / "sora.conf"), "timeout": 30}
        folder.mkdir()
        self.host.write_text(json.dumps({"files": {"sora-conf": file, "motd": file | {"path": "/etc/motd"}}}))
        for name, api in zip(self.names, site.places[2:], strict=True):
            self.path(name).parent.mkdir(parents=True)
            text = CONFS.format(name=name, host=name.partition("@")[2], api=api)
            self.path(name).write_text(text)

    def path(self, name):
        return self.folder / "machines" / name / "sora.conf"

    def change(self, old, new, *, numbers=(0, 1, 2)):
        for number in numbers:
            path = self.path(self.names[number])
            path.write_text(path.read_text().replace(old, new))

    def run(self, *arguments):
        return main([*arguments, "--host-config", str(self.host), str(self.fleet)])

    def import_new(self):
        return self.run("import", "--sora", f"live=http://{self.site.places[3]}/", "--yes")

    def plan(self):
        state = ("--state", str(self.folder / "state"))
        return self.run("--dry-run", "--detailed-exitcode", *state)

    def read(self):
        return {
            str(path.relative_to(self.fleet)): path.read_text()
            for path in self.fleet.rglob("*")
            if path.is_file()
        }


@pytest.fixture
def conf_site(site, tmp_path, monkeypatch):
    monkeypatch.setenv("RECONCILE_SECRET_TURN_SECRET", "a-secret-of-turn")
    monkeypatch.setenv("RECONCILE_SECRET_CLUSTER_COOKIE", "a-cookie")
    return ConfSite(site, tmp_path / "confs")


def test_the_sora_conf_of_new_nodes_is_written_with_references_and_its_plan_is_empty(conf_site, capsys):
    conf_site.change("30 s", "60 s", numbers=[1])
    assert conf_site.import_new() == 0
    output = capsys.readouterr().out
    files = conf_site.read()
    assert files["live/sora.conf"] == (
        "turn_secret = ${env:RECONCILE_SECRET_TURN_SECRET}\n"
        "cluster_cookie = ${env:RECONCILE_SECRET_CLUSTER_COOKIE}\n"
        "title = $${not a reference} = # x\nwebsocket_ping_interval = 30 s\n"
    )
    second = json.loads(files[f"live/{conf_site.names[1]}.json"])
    assert second["websocket_ping_interval"] == "60 s"
    assert second["external_signaling_url"] == "wss://sora-2.example.com/signaling"
    assert "a-secret" not in output + "".join(files.values())
    assert "a-cookie" not in output + "".join(files.values())
    assert "name `restart`" in output
    assert conf_site.plan() == 0
    assert conf_site.site.simulation.calls(changes=True) == ()
    # Again, after changes by hand: of all nodes, of one, and of a line that is not committed.
    conf_site.change("30 s", "40 s")
    conf_site.change("60 s", "40 s")
    conf_site.change("= # x", "= # y", numbers=[2])
    conf_site.change("# by hand", "extra = 1", numbers=[0])
    capsys.readouterr()
    assert conf_site.run("import", "--yes") == 0
    output = capsys.readouterr().out
    changed = {name for name, text in conf_site.read().items() if files[name] != text}
    assert changed >= {f"live/{conf_site.names[2]}.json"}
    assert "extra" not in output
    assert conf_site.plan() == 0


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("node_name = n2@", "node_name = n9@", "another node_name than the node"),
        ("cluster = true", "cluster = false", "another cluster than the node"),
        ("title", "cluster_relay = yes\ntitle", "do not describe (cluster_relay)"),
        ("title =", "title", "at line 8: not `key = value`"),
        ("title", "turn_secret = b\ntitle", "duplicate key turn_secret"),
        ("wss://sora-2", "wss://sora-1", "several nodes have the same external_signaling_url"),
    ],
)
def test_a_sora_conf_that_is_not_that_of_its_node_is_not_imported(conf_site, capsys, old, new, words):
    conf_site.change(old, new, numbers=[1])
    assert conf_site.import_new() == 0
    output = " ".join(capsys.readouterr().out.split())
    assert words in output
    assert "a-secret" not in output
    assert {*conf_site.read()} == {"fleet.yaml"}
    assert "conf" not in conf_site.read()["fleet.yaml"]
    assert conf_site.plan() == 0


def test_a_sora_conf_that_cannot_be_read_is_named(conf_site, capsys):
    conf_site.path(conf_site.names[0]).unlink()
    conf_site.path(conf_site.names[0]).symlink_to("/etc/passwd")
    assert conf_site.import_new() == 0
    output = " ".join(capsys.readouterr().out.split())
    assert "is a symbolic link" in output
    assert "root:" not in output
    assert {*conf_site.read()} == {"fleet.yaml"}


def test_without_one_entry_for_a_sora_conf_the_import_says_what_to_write(site, tmp_path, capsys):
    assert site.run("import", "--sora", f"live=http://{site.places[3]}/", "--yes", folder=tmp_path / "n") == 0
    assert "name the file of the nodes, once, under `files`" in " ".join(capsys.readouterr().out.split())
