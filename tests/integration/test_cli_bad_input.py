"""Bad input of every kind by the program's entry point: words, a place, a way out, status 1, nothing done."""

import io
import re
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from support import git_repositories
from support.commands import write_files

from reconciler.cli.main import main

FLEET = """\
clusters:
  - name: edge
    kind: m2
    setting: edge/setting.json
    nodes:
      - {name: edge-01, address: "127.0.0.1:9"}
"""
SETTING = """\
{
  "meta": {"version": 1},
  "env": {
    "management": {
      "api": {"allowList": [{"addr": "127.0.0.1"}]},
      "roles": [{"name": "admin", "permissions": {"enableSetting": true}}]
    }
  }
}
"""
GOOD = {"fleet.yaml": FLEET, "edge/setting.json": SETTING}


def edited(name, old, new):
    assert old in GOOD[name]
    return {**GOOD, name: GOOD[name].replace(old, new, 1)}


FILES = {
    "missing comma": (
        edited("edge/setting.json", '"version": 1},', '"version": 1}'),
        r"edge/setting\.json:[23]:\d+: ",
    ),
    "trailing comma": (
        edited("edge/setting.json", '"127.0.0.1"}]}', '"127.0.0.1"},]}'),
        r"edge/setting\.json:5:\d+: ",
    ),
    "half a file": ({**GOOD, "edge/setting.json": SETTING[:60]}, r"edge/setting\.json:\d+:\d+: "),
    "no JSON at all": ({**GOOD, "edge/setting.json": "<html>"}, r"edge/setting\.json:1:1: "),
    "malformed YAML": (edited("fleet.yaml", "kind: m2", "kind: [m2"), r"fleet\.yaml:\d+:\d+: "),
    "a key twice in YAML": (
        edited("fleet.yaml", "kind: m2\n", "kind: m2\n    kind: m2\n"),
        r"fleet\.yaml:4:5: .*kind",
    ),
    "a key twice in JSON": (
        edited("edge/setting.json", '"meta": {', '"meta": {"version": 2, '),
        r"edge/setting\.json:2:\d+: .*version",
    ),
    "an unknown role": (
        edited("edge/setting.json", '"addr": "127.0.0.1"', '"role": "amdin", "addr": "127.0.0.1"'),
        r"edge/setting\.json:5:\d+: .*amdin",
    ),
    "a bad address of a node": (
        edited("fleet.yaml", "127.0.0.1:9", "127.0.0.1:99999"),
        r"fleet\.yaml:6:\d+: .*99999",
    ),
    "a bad address in a list": (
        edited("edge/setting.json", '"127.0.0.1"', '"127.0.0.256"'),
        r"edge/setting\.json:5:\d+: ",
    ),
    "a setting that is not there": ({"fleet.yaml": FLEET}, r"fleet\.yaml:4:\d+: .*edge/setting\.json"),
    "a setting outside": (
        edited("fleet.yaml", "edge/setting.json", "../setting.json"),
        r"fleet\.yaml:4:\d+: ",
    ),
    "a node in two clusters": (
        {**GOOD, "fleet.yaml": FLEET + FLEET.partition("\n")[2].replace("name: edge\n", "name: other\n")},
        r"fleet\.yaml:\d+:\d+: .*edge-01",
    ),
    "an unknown product": (edited("fleet.yaml", "kind: m2", "kind: m3"), r"fleet\.yaml:3:\d+: .*m3"),
    "an unknown key": (edited("fleet.yaml", "setting: ", "seting: "), r"fleet\.yaml:4:\d+: .*seting"),
    "no clusters": ({"fleet.yaml": "clusters: []\n"}, r"fleet\.yaml:1:\d+: "),
    "an empty folder": ({}, r"fleet\.yaml"),
    "not even text": ({"fleet.yaml": "clusters: \x00\n"}, r"fleet\.yaml:1:\d+: "),
}


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """Runs the program and gives what it said of an error, with everything that has to hold of it."""
    git_repositories.alone(monkeypatch, tmp_path)
    state = tmp_path / "state"

    def run(*arguments) -> str:
        status = main(["--yes", "--state", str(state), *map(str, arguments)])
        out, error = capsys.readouterr()
        assert status == 1
        assert out == ""
        assert "Traceback" not in error
        assert "defect" not in error
        assert error.startswith("error: ")
        return error

    return run


@pytest.mark.parametrize("case", FILES)
def test_a_wrong_file_is_named_with_its_place(case, tmp_path, refused):
    files, place = FILES[case]
    output = refused(write_files(tmp_path / "fleet", files))
    assert re.search(rf"^error: .*{place}", output, re.MULTILINE), output


def test_all_problems_of_all_files_are_shown_at_once(tmp_path, refused):
    files = edited("edge/setting.json", '"127.0.0.1"', '"127.0.0.256"')
    files["fleet.yaml"] = FLEET.replace("127.0.0.1:9", "127.0.0.1:99999")
    output = refused(write_files(tmp_path / "fleet", files))
    assert "error: edge/setting.json:5:" in output
    assert "error: fleet.yaml:6:" in output
    assert output.endswith("2 errors in 2 files; nothing was done.\n")


def test_a_source_that_is_not_there(tmp_path, refused):
    assert "no-such-folder" in refused(tmp_path / "no-such-folder")


def test_a_ref_that_does_not_exist(tmp_path, refused):
    folder = write_files(tmp_path / "fleet", GOOD)
    git_repositories.git(tmp_path, "init", "--quiet", str(folder))
    git_repositories.git(folder, "add", ".")
    git_repositories.git(folder, "commit", "--quiet", "-m", "All of it")
    output = refused("--ref", "no-such-branch", folder)
    assert "no-such-branch" in output
    assert "→" in output


def member(name, **more):
    info = tarfile.TarInfo(name)
    for key, value in more.items():
        setattr(info, key, value)
    return info


HOSTILE = {
    "upwards": member("../evil"),
    "absolute": member("/etc/evil"),
    "a link out": member("out", type=tarfile.SYMTYPE, linkname="../../etc/passwd"),
    "a hard link out": member("out", type=tarfile.LNKTYPE, linkname="/etc/passwd"),
    "a device": member("dev", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_tarball_is_refused_whole(case, tmp_path, refused):
    path = tmp_path / "fleet.tar"
    with tarfile.open(path, "w") as archive:
        for name, text in GOOD.items():
            archive.addfile(member(name, size=len(text)), io.BytesIO(text.encode()))
        archive.addfile(HOSTILE[case], io.BytesIO())
    assert HOSTILE[case].name.lstrip("/.") in refused(path)
    assert not (tmp_path / "evil").exists()


def test_a_bomb_is_refused(tmp_path, refused):
    path = tmp_path / "fleet.tgz"
    with tarfile.open(path, "w:gz", compresslevel=9) as archive:
        size = 40 * 1024 * 1024
        with (tmp_path / "zeros").open("wb") as zeros:
            zeros.truncate(size)
        archive.add(tmp_path / "zeros", "zeros")
    output = refused(path)
    assert "fleet.tgz" in output


def test_a_broken_tarball_is_refused(tmp_path, refused):
    (tmp_path / "fleet.tgz").write_bytes(b"\x1f\x8b nothing of the kind")
    assert "fleet.tgz" in refused(tmp_path / "fleet.tgz")


def test_a_web_page_is_no_tarball(refused):
    class Page(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>Sign in</title>")

        def log_message(self, *words):
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            output = refused(f"http://ann:hunter2@127.0.0.1:{server.server_port}/fleet.tgz")
        finally:
            server.shutdown()
            thread.join()
    assert "web page" in output or "HTML" in output
    assert "hunter2" not in output


def test_a_wrong_digest_is_refused(tmp_path, refused):
    path = tmp_path / "fleet.tar"
    with tarfile.open(path, "w") as archive:
        archive.addfile(member("fleet.yaml", size=len(FLEET)), io.BytesIO(FLEET.encode()))
    assert "fleet.tar" in refused("--sha256", "0" * 64, path)


def test_an_unknown_name_for_only_is_refused_with_a_suggestion(tmp_path, refused):
    output = refused("--only", "edge-02", write_files(tmp_path / "fleet", GOOD))
    assert "edge-02" in output
    assert "edge-01" in output


def test_a_folder_with_the_name_of_a_command_gets_a_note(tmp_path, monkeypatch, capsys):
    (tmp_path / "history").mkdir()
    (tmp_path / "history/fleet.yaml").write_text("clusters: []")
    monkeypatch.chdir(tmp_path)
    assert main(["history", "--state", str(tmp_path / "state")]) == 0
    assert (
        "note: `history` runs the command; for the folder of that name write ./history"
        in capsys.readouterr().err
    )
