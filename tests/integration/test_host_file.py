"""The host's file from the command line: where it is looked for, who may write it, and what comes of it."""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from support.commands import run_program

from reconciler.cli import host_loader as host_module

FLEET = """clusters:
  - name: edge
    kind: m2
    setting: s.json
    nodes: [{name: e-1, address: "127.0.0.1:9"}]
"""


class Site:
    def __init__(self, folder, monkeypatch, capsys):
        self.folder, self.capsys = folder, capsys
        self.fleet = folder / "fleet"
        self.fleet.mkdir()
        (self.fleet / "fleet.yaml").write_text(FLEET)
        (self.fleet / "s.json").write_text(json.dumps({"meta": {"version": "1"}, "hosting": []}))
        (folder / "etc").mkdir()
        self.file = folder / "etc/host.yaml"
        monkeypatch.setattr(host_module, "SYSTEM", self.file)
        monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
        monkeypatch.delenv("RECONCILE_HOST_CONFIG", raising=False)

    def run(self, *arguments, status=0):
        return run_program(self.capsys, *arguments, status=status)


@pytest.fixture
def site(tmp_path, monkeypatch, capsys):
    return Site(tmp_path, monkeypatch, capsys)


def test_a_pipe_in_the_place_of_certificates_is_refused_before_anything_waits_for_it(site, monkeypatch):
    pipe = site.folder / "pipe"
    os.mkfifo(pipe)
    monkeypatch.setenv("SSL_CERT_FILE", str(pipe))
    for command in ((site.fleet, "--dry-run"), ("watch", site.fleet), ("status", site.fleet)):
        words = site.run(*command, status=1)
        assert words.startswith(
            f"error: the variable SSL_CERT_FILE names {pipe}, which is not a regular file"
        )


def test_the_option_wins_over_the_variable_over_the_system_over_the_user(site, monkeypatch):
    places = [site.folder / name for name in ("option.yaml", "variable.yaml")]
    users = site.folder / "config/reconciler/host.yaml"
    users.parent.mkdir(parents=True)
    for number, place in enumerate([*places, site.file, users]):
        place.write_text(f"state: {site.folder}/state-{number}\n")

    def used(*arguments):
        site.run("suspend", "--reason", "r", *arguments)
        (found,) = site.folder.glob("state-*")
        (found / "state.sqlite").unlink()
        for left in found.iterdir():
            left.unlink()
        found.rmdir()
        return found.name

    monkeypatch.setenv("RECONCILE_HOST_CONFIG", str(places[1]))
    assert used("--host-config", places[0]) == "state-0"
    assert used() == "state-1"
    monkeypatch.delenv("RECONCILE_HOST_CONFIG")
    assert used() == "state-2"
    site.file.unlink()
    assert used() == "state-3"


def test_a_state_folder_that_is_named_wins_over_the_hosts(site):
    site.file.write_text(f"state: {site.folder}/hosts\n")
    site.run("suspend", "--reason", "r", "--state", site.folder / "mine")
    assert (site.folder / "mine").exists()
    assert not (site.folder / "hosts").exists()


def test_a_file_that_is_named_must_be_there(site, monkeypatch):
    told = site.run("validate", site.fleet, "--host-config", site.folder / "gone.yaml", status=1)
    assert "--host-config: there is no file" in told
    monkeypatch.setenv("RECONCILE_HOST_CONFIG", str(site.folder / "gone.yaml"))
    assert "RECONCILE_HOST_CONFIG: there is no file" in site.run("validate", site.fleet, status=1)


def test_a_systems_file_that_cannot_be_looked_for_is_not_passed_over(site, monkeypatch):
    class Closed(type(site.file)):
        def lstat(self):
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(host_module, "SYSTEM", Closed(site.file))
    told = site.run("validate", site.fleet, status=1)
    assert "exists: Permission denied" in told


def test_what_is_wrong_in_it_is_said_with_its_place(site):
    site.file.write_text("networks:\n  - 10.0.0.1/8\n")
    assert f"{site.file}:2:5: item 1 of `networks` is `10.0.0.1/8`" in site.run(
        "validate", site.fleet, status=1
    )


@pytest.mark.parametrize(
    ("place", "mode"),
    [("etc/host.yaml", 0o666), ("etc/host.yaml", 0o660), ("etc", 0o777), ("etc", 0o1777), (".", 0o777)],
)
def test_a_file_that_others_may_write_or_replace_is_refused(site, place, mode):
    site.file.write_text("{}\n")
    (site.folder / place).chmod(mode)
    told = site.run("--dry-run", site.fleet, status=1)
    assert "others may write" in told
    assert f"chmod go-w {(site.folder / place).resolve()}" in told


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("place", ["etc/host.yaml", "etc", "."])
def test_a_file_or_folder_of_somebody_else_is_refused(site, place):
    site.file.write_text("{}\n")
    os.chown(site.folder / place, 12345, -1)
    assert "belongs to user 12345" in site.run("--dry-run", site.fleet, status=1)


def test_a_fifo_or_a_folder_is_refused_at_once(site):
    os.mkfifo(site.file)
    assert "regular file" in site.run("validate", site.fleet, status=1)
    site.file.unlink()
    site.file.mkdir()
    assert "regular file" in site.run("validate", site.fleet, status=1)


@pytest.mark.parametrize("command", [["validate"], ["--dry-run"], ["render"], ["status"], ["check"]])
def test_a_file_in_the_source_is_refused_by_every_command_that_reads_it(site, command):
    inside = site.fleet / "host.yaml"
    inside.write_text("{}\n")
    told = site.run(*command, site.fleet, "--host-config", inside, status=1)
    assert "lies in the source" in told
    assert "a commit could change it" in told


def test_a_file_elsewhere_in_the_work_tree_or_behind_a_link_is_in_the_source_too(site, monkeypatch):
    (site.folder / ".git").mkdir()
    (site.folder / "other").mkdir()
    inside = site.folder / "other/host.yaml"
    inside.write_text("{}\n")
    assert "lies in the source" in site.run("validate", site.fleet, "--host-config", inside, status=1)
    (site.folder / ".git").rmdir()
    assert site.run("validate", site.fleet, "--host-config", inside)
    (site.fleet / "real.yaml").write_text("{}\n")
    site.file.symlink_to(site.fleet / "real.yaml")
    assert "lies in the source" in site.run("validate", site.fleet, status=1)
    site.file.unlink()
    site.file.write_text("{}\n")
    (site.fleet / "link.yaml").symlink_to(site.file)
    told = site.run("validate", site.fleet, "--host-config", site.fleet / "link.yaml", status=1)
    assert "lies in the source" in told
    monkeypatch.chdir(site.fleet)
    assert "lies in the source" in site.run("validate", "--host-config", "real.yaml", status=1)


@pytest.mark.parametrize("form", ["file://{}", "FILE://localhost{}", "git+file://{}", "file://{}/%66leet/.."])
def test_a_file_in_the_source_is_refused_however_the_source_is_written(site, form):
    inside = site.folder / "host.yaml"
    inside.write_text("{}\n")
    source = form.format(site.folder)
    told = site.run("validate", source, "--host-config", inside, status=1)
    assert f"{inside} lies in the source {site.folder}" in told


def test_a_file_beside_the_source_is_read_by_a_path_that_goes_through_the_source(site, monkeypatch):
    (site.folder / "host.yaml").write_text("{}\n")
    monkeypatch.chdir(site.fleet)
    assert site.run("validate", "--host-config", "../host.yaml")
    (site.fleet / "out").symlink_to(site.folder)
    told = site.run("validate", "--host-config", "out/host.yaml", status=1)
    assert "lies in the source" in told  # a commit could lead the link elsewhere


def test_signers_in_the_source_are_refused(site):
    (site.fleet / "signers").write_text("")
    site.file.write_text(f"signers: {{required: ssh, allowed: {site.fleet}/signers}}\n")
    told = site.run("--dry-run", site.fleet, status=1)
    assert "the file of signers" in told
    assert "lies in the source" in told


def test_signers_of_the_host_count_unless_the_command_names_others(site):
    allowed = site.folder / "etc/allowed"
    allowed.write_text("")
    site.file.write_text(f"signers: {{required: ssh, allowed: {allowed}}}\n")
    state = ("--state", site.folder / "state")
    assert "[unsigned]" in site.run("--dry-run", site.fleet, *state, status=3)
    told = site.run("--dry-run", site.fleet, "--allowed-signers", site.folder / "gone", *state, status=1)
    assert "--allowed-signers: there is no file" in told
    told = site.run("--dry-run", site.fleet, "--require-signed", "gpg", *state, status=1)
    assert "needs a file of accepted signers" in told  # the host's signers are for ssh


def test_a_node_outside_the_hosts_networks_is_named_with_the_setting(site):
    site.file.write_text("networks: [192.0.2.0/24]\n")
    told = site.run("--dry-run", site.fleet, "--state", site.folder / "state", status=1)
    assert "127.0.0.1 is in none of the networks" in " ".join(told.split())
    assert "`networks`" in told


class Node(BaseHTTPRequestHandler):
    """Shows a setting that differs from what the fleet's file says."""

    def do_GET(self):
        body = json.dumps({"meta": {"version": "0"}, "env": {"management": {}}, "hosting": []}).encode()
        self.send_response(200 if self.path == "/setting/setting.json" else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def node():
    with ThreadingHTTPServer(("127.0.0.1", 0), Node) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_the_host_says_how_many_runs_the_history_keeps_unless_the_command_does(site, node):
    (site.fleet / "fleet.yaml").write_text(FLEET.replace(":9", f":{node}"))

    def kept(*arguments):
        for number in range(4):
            site.run("suspend", "--reason", f"{arguments}{number}")
            site.run(site.fleet, "--yes", *arguments, status=3)
        return len(json.loads(site.run("history", "--format", "json")))

    site.file.write_text(f"state: {site.folder}/state\nhistory: {{keep: 15}}\n")
    assert kept() == 3
    assert kept("--keep", "5") == 1


@pytest.mark.parametrize("keep", ["0", "-1", "100001", "many", "1.5"])
def test_a_history_of_no_run_or_without_an_end_is_refused(site, keep):
    assert "--keep" in site.run(site.fleet, "--keep", keep, status=1)
    site.file.write_text(f"history: {{keep: {keep}}}\n")
    assert "host.yaml:1:17" in site.run("validate", site.fleet, status=1)
