"""One host has one state folder: every command finds the same one, and says so where it may not use it."""

import asyncio
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from reconciler.cli import host as host_module
from reconciler.cli import state_folder
from reconciler.cli.main import main
from reconciler.errors import SourceError
from reconciler.sources.locate import locate
from reconciler.store.factory import open_store

NOBODY = 65534
AUTHOR = ("-c", "user.name=k", "-c", "user.email=k@example.com")

FLEET = """clusters:
  - name: edge
    kind: m2
    setting: s.json
    nodes: [{name: e-1, address: "127.0.0.1:9"}]
"""


def as_user(user, arguments, environment):
    """What a command ends with and writes, run by a user who is not root."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        out = io.StringIO()
        sys.stdout = sys.stderr = out
        status = 99
        try:
            os.setgroups([])
            os.setgid(user)
            os.setuid(user)
            status = main([*map(str, arguments)], environment)
        finally:
            os.write(writing, out.getvalue().encode()[:60_000])
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read().decode()
    _, ended = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(ended), told


class Machine:
    def __init__(self, folder, monkeypatch, capfd):
        self.folder, self.capfd = folder, capfd
        self.system, self.file = folder / "var/lib/reconciler", folder / "etc/host.yaml"
        self.own = folder / "home/reconciler"
        self.fleet = folder / "fleet"
        self.fleet.mkdir()
        (self.fleet / "fleet.yaml").write_text(FLEET)
        (self.fleet / "s.json").write_text(json.dumps({"meta": {"version": "1"}, "hosting": []}))
        self.file.parent.mkdir()
        self.system.parent.mkdir(parents=True)
        monkeypatch.setattr(state_folder, "SYSTEM", self.system)
        monkeypatch.setattr(host_module, "SYSTEM", self.file)
        monkeypatch.setenv("XDG_STATE_HOME", str(folder / "home"))
        monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        self.environment = {"PATH": os.environ["PATH"]}

    def run(self, *arguments, status=0):
        self.capfd.readouterr()
        ended = main([*map(str, arguments)], self.environment)
        out, error = self.capfd.readouterr()
        assert ended == status, out + error
        return out + error

    def run_as_nobody(self, *arguments):
        return as_user(NOBODY, arguments, self.environment)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """What commands import as they run is read now: another user may not read where it is installed."""
    folder = tmp_path_factory.mktemp("loaded")
    (folder / "fleet.yaml").write_text(FLEET)
    (folder / "s.json").write_text(json.dumps({"meta": {"version": "1"}, "hosting": []}))
    for command in (("--dry-run",), ("status",), ("check",), ("validate",), ("render",)):
        without = () if command[0] in {"validate", "render"} else ("--no-state",)
        main([*command, str(folder), *without], {"PATH": os.environ["PATH"]})
    main(["explain", "suspended"], {})
    main(["watch", "--listen", "wrong", str(folder)], {})
    main(["rollback", "HEAD", str(folder), "--state", str(folder / "fleet.yaml")], {})


@pytest.fixture
def machine(monkeypatch, capfd, loaded):
    """Outside of pytest's own folder, which it closes to other users."""
    with TemporaryDirectory(prefix="host-") as name:
        folder = Path(name).resolve()
        folder.chmod(0o755)
        yield Machine(folder, monkeypatch, capfd)


def suspensions(folder):
    with open_store(folder) as store:
        return asyncio.run(store.orders()).suspensions


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def test_option_variable_host_system_and_user_take_precedence_in_this_order(machine):
    option, variable, hosts = (machine.folder / name for name in ("option", "variable", "hosts"))
    machine.environment["RECONCILE_STATE"] = str(variable)
    machine.file.write_text(f"state: {hosts}\n")
    machine.system.mkdir()

    def used(*arguments):
        return machine.run("suspend", "--reason", "r", *arguments).rpartition("State: ")[2].strip()

    assert used("--state", option) == f"{option} (--state)"
    assert used() == f"{variable} (RECONCILE_STATE)"
    del machine.environment["RECONCILE_STATE"]
    assert used() == f"{hosts} (host configuration {machine.file})"
    machine.file.unlink()
    assert used() == f"{machine.system} (system folder)"
    for written in (option, variable, hosts, machine.system):
        assert suspensions(written)
    assert not machine.own.exists()
    (machine.system / "state.sqlite").unlink()
    machine.system.rename(machine.folder / "gone")
    assert used() == f"{machine.own} (this user's own)"


@pytest.mark.parametrize(
    "command",
    [
        ("suspend", "--reason", "r"),
        ("resume",),
        ("approve", "--list"),
        ("history",),
        ("history", "show", "x"),
        ("rollback", "HEAD", "FLEET"),
        ("status", "FLEET"),
        ("--dry-run", "FLEET"),
        ("--yes", "FLEET"),
        ("check", "FLEET"),
        ("watch", "--listen", "off", "FLEET"),
    ],
)
@needs_root
def test_a_folder_that_exists_and_may_not_be_used_is_never_passed_over(machine, command):
    machine.system.mkdir(mode=0o700)
    arguments = [machine.fleet if word == "FLEET" else word for word in command]
    status, told = machine.run_as_nobody(*arguments)
    assert status == 1
    assert f"the state folder {machine.system} (system folder) cannot be used" in told
    assert "as root" in told
    assert not machine.own.exists()


def test_a_link_that_leads_nowhere_and_a_file_are_no_state_folders(machine):
    machine.system.symlink_to(machine.folder / "private")
    assert "is a link that leads nowhere" in machine.run("suspend", "--reason", "r", status=1)
    machine.system.unlink()
    machine.system.write_text("")
    assert f"{machine.system} (system folder) is not a folder" in machine.run("history", status=1)
    assert not machine.own.exists()


@needs_root
def test_what_lies_behind_a_closed_folder_is_no_empty_history(machine):
    """As with the folder of a unit with a dynamic user, which is a link into a folder of root alone."""
    private = machine.folder / "private"
    (private / "reconciler").mkdir(parents=True)
    machine.system.symlink_to(private / "reconciler")
    machine.run("suspend", "--reason", "r")
    private.chmod(0o700)
    status, told = machine.run_as_nobody("history")
    assert (status, "Permission denied" in told) == (1, True)


@needs_root
def test_commands_that_need_no_past_open_no_state(machine):
    machine.system.mkdir(mode=0o700)
    for command in (("validate", machine.fleet), ("render", machine.fleet), ("explain", "suspended")):
        status, told = machine.run_as_nobody(*command)
        assert status == 0, told
    assert not any(machine.system.iterdir())


@needs_root
def test_a_plan_without_a_past_is_asked_for_and_says_so(machine):
    machine.system.mkdir(mode=0o700)
    for command in (("--dry-run", machine.fleet), ("status", machine.fleet), ("check", machine.fleet)):
        _, told = machine.run_as_nobody(*command, "--no-state")
        assert "--no-state: no state folder is open" in told
        assert "edge" in told
    words = machine.run("--yes", machine.fleet, "--no-state", status=1)
    assert "--no-state works only with --dry-run" in words
    words = machine.run("status", machine.fleet, "--no-state", "--state", "x", status=1)
    assert "contradict each other" in words


def test_copies_of_sources_are_never_left_in_another_users_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert state_folder.copies_of_sources(tmp_path / "new") == tmp_path / "new/sources"
    assert state_folder.copies_of_sources(tmp_path) == tmp_path / "sources"
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    assert state_folder.copies_of_sources(tmp_path) == tmp_path / "cache/reconciler/sources"


@pytest.mark.parametrize("command", [("--dry-run",), ("--yes",), ("status",), ("watch", "--listen", "off")])
def test_a_state_folder_in_the_source_is_refused(machine, command):
    words = machine.run(*command, machine.fleet, "--state", machine.fleet / "state", status=1)
    assert f"the state folder {machine.fleet}/state lies in the source {machine.fleet}" in words
    assert not (machine.fleet / "state").exists()


@pytest.mark.parametrize(
    ("state", "source"),
    [
        (".", "fleet"),
        ("state", "fleet"),
        ("deep/er/state", "fleet"),
        ("../fleet/state", "fleet"),
        ("../link/state", "fleet"),
        ("../inner/state", "fleet"),
        ("state", "link"),
        ("state", "../{}/fleet"),
        ("state", "file/../fleet"),
    ],
)
def test_every_spelling_of_a_state_folder_in_the_source_is_refused(machine, monkeypatch, state, source):
    monkeypatch.chdir(machine.fleet)
    (machine.folder / "file").mkdir()
    (machine.folder / "link").symlink_to(machine.fleet)
    (machine.fleet / "deep").mkdir()
    (machine.folder / "inner").symlink_to(machine.fleet / "deep")
    place = machine.folder / source.format(machine.folder.name)
    assert "lies in the source" in machine.run("--dry-run", place, "--state", state, status=1)


def test_a_state_folder_in_a_work_tree_is_refused_and_one_beside_the_folder_that_is_read_is_not(machine):
    (machine.fleet / "sub").mkdir()
    for name in ("fleet.yaml", "s.json"):
        (machine.fleet / name).rename(machine.fleet / "sub" / name)
    for words in (("init", "-q"), ("add", "."), (*AUTHOR, "commit", "-qm", "first")):
        subprocess.run(["git", "-C", str(machine.fleet), *words], check=True, env=machine.environment)
    watch = ("watch", "--listen", "off", machine.fleet)
    assert "lies in the source" in machine.run(*watch, "--state", machine.fleet / "s", status=1)
    watch = (*watch, "--uncommitted", "--state", machine.fleet / "s")
    assert "lies in the source" in machine.run(*watch, status=1)
    within = ("--dry-run", machine.fleet, "--path", "sub", "--state")
    assert "lies in the source" in machine.run(*within, machine.fleet / "sub/s", status=1)
    assert "lies in the source" not in machine.run(*within, machine.fleet / "s", status=1)


def test_a_link_that_is_switched_to_a_folder_with_the_state_in_it_is_not_followed(machine):
    current, state = machine.folder / "current", machine.folder / "new/state"
    current.symlink_to(machine.fleet)
    (machine.folder / "new").mkdir()
    source = locate(str(current), cache=machine.folder / "copies", state=state)
    assert asyncio.run(source.snapshot()).revision.source == str(current)
    current.unlink()
    current.symlink_to(machine.folder / "new")
    with pytest.raises(SourceError, match="lies in the source"):
        asyncio.run(source.snapshot())
