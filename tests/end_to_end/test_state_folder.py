"""One host has one state folder: every command finds the same one, and says so where it may not use it."""

import asyncio
import grp
import io
import json
import os
import re
import socket
import subprocess
import sys
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from types import SimpleNamespace

import pytest
from support.commands import run_program
from support.git_repositories import Repository, alone, git
from support.m2_settings import managed_setting
from support.waiting import block_until, wait_until

from reconciler.api.operator import Operator
from reconciler.api.reader import Reader
from reconciler.cli import host_loader as host_module
from reconciler.cli import state_folder
from reconciler.cli.demo_fixtures import DemoNodes
from reconciler.cli.main import main
from reconciler.errors import SourceError
from reconciler.host import control_socket
from reconciler.host.access_rules import AccessRules, RoleRule
from reconciler.host.config import HostConfig
from reconciler.host.environment import Environment
from reconciler.host.host import Host
from reconciler.server.access.watch_access import make_access_control
from reconciler.server.acts.service import ActService
from reconciler.server.control_server import ControlServer
from reconciler.server.operations import OperationService
from reconciler.server.rollbacks import RollbackRunner
from reconciler.server.watch_options import WatchOptions
from reconciler.simulation.addresses import find_free_addresses
from reconciler.sources.locate import locate_source
from reconciler.store.factory import open_store

NOBODY = 65534
AUTHOR = ("-c", "user.name=k", "-c", "user.email=k@example.com")

FLEET = """clusters:
  - name: edge
    kind: m2
    setting: s.json
    nodes: [{name: e-1, address: "127.0.0.1:9"}]
"""


def setting(name):
    return managed_setting(name, version=name)


def as_user(user, arguments, environment, groups=()):
    """What a command ends with and writes, run by a user who is not root."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        out = io.StringIO()
        sys.stdout = sys.stderr = out
        status = 99
        try:
            os.setgroups(groups)
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
        self.folder, self.capfd, self.monkeypatch = folder, capfd, monkeypatch
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
        self.runtime = folder / "run/reconciler"
        monkeypatch.setattr(control_socket, "RUNTIME", self.runtime)
        monkeypatch.setenv("XDG_STATE_HOME", str(folder / "home"))
        monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        self.environment = {"PATH": os.environ["PATH"]}

    def run(self, *arguments, status=0):
        return run_program(self.capfd, *arguments, status=status, environment=self.environment)

    def run_as_nobody(self, *arguments, groups=()):
        return as_user(NOBODY, arguments, self.environment, groups)


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
    for command in (("suspend", "--reason", "r"), ("approve", "--list"), ("history",), ("resume",)):
        main([*command, "--state", str(folder / "state")], {})
    main(["watch", "--listen", "wrong", str(folder)], {})
    main(["rollback", "HEAD", str(folder), "--state", str(folder / "fleet.yaml")], {})
    import_module("reconciler.cli.rollback_by_watch")
    main(["purge", "a.example/x", "--state", str(folder / "fleet.yaml")], {})
    import_module("reconciler.cli.operation_run")


@pytest.fixture
def machine(monkeypatch, capfd, loaded):
    """Outside of pytest's own folder, which it closes to other users."""
    with TemporaryDirectory(prefix="host-") as name:
        folder = Path(name).resolve()
        folder.chmod(0o755)
        yield Machine(folder, monkeypatch, capfd)


class Log:
    def __init__(self):
        self.lines = []

    def info(self, event, **fields):
        self.lines.append((event, fields))

    warning = error = info


@contextmanager
def control_of(
    machine, state, *operators, dry_run=False, variable="RUNTIME_DIRECTORY", source="/srv/fleet", **config
):
    """What a watch answers with, in a thread, as it does under systemd."""
    machine.runtime.parent.mkdir(parents=True, exist_ok=True)
    if variable:
        machine.runtime.mkdir(exist_ok=True)
    environment = Environment({variable: str(machine.runtime)})
    host = Host(HostConfig(operators=operators, **config), environment)
    options = WatchOptions(str(source), state, interval=300, poll=30, grace=90, host=host)
    log, ready, ends = Log(), Event(), []

    async def serve():
        stop = asyncio.Event()
        ends.append((asyncio.get_running_loop(), stop))
        with open_store(state) as store:
            rollbacks = None if dry_run else RollbackRunner(options, store, stop)
            operations, performing = None, None
            if Path(source).is_dir() and not dry_run:
                reader = Reader(locate_source(str(source), cache=state / "sources"), host=host)
                fleets = SimpleNamespace(fleet=await reader.read_fleet())
                operations = OperationService(Operator(reader, store), fleets, stop, log)
                performing = asyncio.create_task(operations.serve())
            acts = ActService(None if dry_run else store, log, rollbacks, operations, lambda _: ())
            access = make_access_control(host, acts.store)
            control = ControlServer(options, acts, log, access, "127.0.0.1:8642")
            serving = asyncio.create_task(control.serve(stop))
            await wait_until(lambda: serving.done() or any(state.glob("*.socket")))
            ready.set()
            await serving
            if performing is not None:
                await performing

    thread = Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert ready.wait(10)
    block_until(lambda: control_socket.find_running_watches(state))  # the socket exists before it listens
    try:
        yield log
    finally:
        loop, stop = ends[0]
        loop.call_soon_threadsafe(stop.set)
        thread.join()


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
        return machine.run("suspend", "--reason", "r", *arguments).rpartition("State: ")[2].partition("\n")[0]

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
    assert "is a broken symbolic link" in machine.run("suspend", "--reason", "r", status=1)
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
        assert "--no-state: no state folder is used" in told
        assert "edge" in told
    words = machine.run("--yes", machine.fleet, "--no-state", status=1)
    assert "--no-state works only with --dry-run" in words
    words = machine.run("status", machine.fleet, "--no-state", "--state", "x", status=1)
    assert "contradict each other" in words


def test_copies_of_sources_are_never_left_in_another_users_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert state_folder.find_source_cache(tmp_path / "new") == tmp_path / "new/sources"
    assert state_folder.find_source_cache(tmp_path) == tmp_path / "sources"
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    assert state_folder.find_source_cache(tmp_path) == tmp_path / "cache/reconciler/sources"


@pytest.mark.parametrize("command", [("--dry-run",), ("--yes",), ("status",), ("watch", "--listen", "off")])
def test_a_state_folder_in_the_source_is_refused(machine, command):
    words = machine.run(*command, machine.fleet, "--state", machine.fleet / "state", status=1)
    assert f"the state folder {machine.fleet}/state is inside the source {machine.fleet}" in words
    assert not (machine.fleet / "state").exists()


def test_a_plan_file_and_a_log_in_the_folder_that_is_read_are_refused(machine):
    inside = machine.fleet / "plan.json"
    words = machine.run("--dry-run", machine.fleet, "--out", inside, status=1)
    assert f"the plan file {inside} is inside the source" in words
    assert not inside.exists()
    command = [sys.executable, "-m", "reconciler.cli.main", "watch", "--listen", "off", machine.fleet]
    with (machine.fleet / "watch.log").open("w+") as log:
        environment = {**os.environ, "RECONCILE_STATE": str(machine.own)}
        ended = subprocess.run(command, stderr=log, env=environment, check=False, timeout=60)
        log.seek(0)
        assert (ended.returncode, "the log" in (told := log.read()), "is inside the source" in told) == (
            1,
            True,
            True,
        )


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
    assert "is inside the source" in machine.run("--dry-run", place, "--state", state, status=1)


def test_a_state_folder_in_a_work_tree_is_refused_and_one_beside_the_folder_that_is_read_is_not(machine):
    (machine.fleet / "sub").mkdir()
    for name in ("fleet.yaml", "s.json"):
        (machine.fleet / name).rename(machine.fleet / "sub" / name)
    for words in (("init", "-q"), ("add", "."), (*AUTHOR, "commit", "-qm", "first")):
        subprocess.run(["git", "-C", str(machine.fleet), *words], check=True, env=machine.environment)
    watch = ("watch", "--listen", "off", machine.fleet)
    assert "is inside the source" in machine.run(*watch, "--state", machine.fleet / "s", status=1)
    watch = (*watch, "--uncommitted", "--state", machine.fleet / "s")
    assert "is inside the source" in machine.run(*watch, status=1)
    url = ("--dry-run", f"file://{machine.fleet}", "--path", "sub", "--state", machine.fleet / "s")
    assert "is inside the source" in machine.run(*url, status=1)
    within = ("--dry-run", machine.fleet, "--path", "sub", "--state")
    assert "is inside the source" in machine.run(*within, machine.fleet / "sub/s", status=1)
    assert "is inside the source" not in machine.run(*within, machine.fleet / "s", status=1)


def test_a_link_that_is_switched_to_a_folder_with_the_state_in_it_is_not_followed(machine):
    current, state = machine.folder / "current", machine.folder / "new/state"
    current.symlink_to(machine.fleet)
    (machine.folder / "new").mkdir()
    source = locate_source(str(current), cache=machine.folder / "copies", state=state)
    assert asyncio.run(source.snapshot()).revision.source == str(current)
    current.unlink()
    current.symlink_to(machine.folder / "new")
    with pytest.raises(SourceError, match="is inside the source"):
        asyncio.run(source.snapshot())


OPERATORS = next(group for group in grp.getgrall() if group.gr_gid not in {0, NOBODY})


@needs_root
def test_an_operator_who_is_not_root_stops_every_cluster_where_the_host_allows_his_group(machine):
    machine.system.mkdir(mode=0o700)
    with control_of(machine, machine.system, OPERATORS.gr_name) as log:
        operator = {"groups": (OPERATORS.gr_gid,)}
        status, told = machine.run_as_nobody("suspend", "--reason", "a storm", "--by", "kim", **operator)
        assert status == 0, told
        assert told.startswith("All clusters are suspended: a storm")
        assert f"State: {machine.system} (system folder)" in told
        assert f"Watch: process {os.getpid()}, source /srv/fleet" in told
        (order,) = suspensions(machine.system)
        assert (order.cluster, order.reason) == ("", "a storm")
        assert "nobody" in repr(order)
        assert "kim" in repr(order)
        assert [fields["user"] for event, fields in log.lines if event == "order accepted"] == ["nobody"]
        for command in (("history",), ("approve", "--list"), ("status", machine.fleet)):
            status, told = machine.run_as_nobody(*command, **operator)
            assert "Watch: process" in told, told
        assert "a storm" in told
        _, told = machine.run_as_nobody("--dry-run", machine.fleet, **operator)
        assert "Watch: process" in told
        assert "Nothing planned: 1 of 1 node could not be read." in told
        plan = "a1" * 32
        status, told = machine.run_as_nobody(
            "approve", plan, "--reason", "read it", "--by", "lee", **operator
        )
        assert (status, "is approved for one run" in told) == (0, True), told
        with open_store(machine.system) as store:
            (approval,) = asyncio.run(store.orders()).approvals
        assert (approval.digest, approval.reason) == (plan, "read it")
        assert "nobody" in approval.by
        assert "lee (not checked)" in approval.by
        assert machine.run_as_nobody("resume", **operator)[0] == 0
        assert not suspensions(machine.system)
    assert not any(machine.runtime.iterdir())


@needs_root
def test_an_operator_makes_tokens_and_links_through_the_watch(machine):
    machine.system.mkdir(mode=0o700)
    with control_of(machine, machine.system, OPERATORS.gr_name) as log:
        operator = {"groups": (OPERATORS.gr_gid,)}
        status, told = machine.run_as_nobody("tokens", "create", "ci", "--role", "look", "-q", **operator)
        assert (status, told.startswith("rcl_")) == (0, True), told
        assert machine.run_as_nobody("tokens", "create", "ci", "--role", "look", **operator)[0] == 1
        status, told = machine.run_as_nobody("tokens", "list", **operator)
        assert "look in *" in told, told
        status, told = machine.run_as_nobody("dashboard", "-q", **operator)
        assert re.fullmatch(r"http://127.0.0.1:8642/login/link\?code=[\w-]{43}\n", told), told
        assert machine.run_as_nobody("tokens", "revoke", "ci", **operator)[0] == 0
        lines = [(event, fields["user"]) for event, fields in log.lines]
    assert lines == [(event, "nobody") for event in ("order accepted", "login link made", "order accepted")]
    with open_store(machine.system) as store:
        (token,) = asyncio.run(store.list_access_tokens())
    assert (token.by.user, token.revoked is not None) == ("nobody", True)


@needs_root
def test_a_user_of_this_machine_does_what_the_host_configuration_allows_and_nothing_else(machine):
    machine.system.mkdir(mode=0o700)
    role = RoleRule(role="operate", clusters=("edge",), users=("nobody",), login=("local",))
    look = RoleRule(role="look", users=("nobody",), login=("local",))
    with control_of(machine, machine.system, access=AccessRules(roles=(role, look))) as log:
        status, told = machine.run_as_nobody("suspend", "edge", "--reason", "a storm")
        assert status == 0, told
        for refused in (
            ("suspend", "--reason", "a storm"),
            ("suspend", "live", "--reason", "a storm"),
            ("approve", "a1" * 32, "--reason", "read it"),
            ("tokens", "create", "ci", "--role", "operate", "--cluster", "edge"),
            ("tokens", "revoke", "ci"),
        ):
            status, told = machine.run_as_nobody(*refused)
            assert (status, "does not have the role" in " ".join(told.split())) == (1, True), told
        assert machine.run_as_nobody("history")[0] == 0
        assert machine.run_as_nobody("dashboard")[0] == 0
    with control_of(machine, machine.system, access=AccessRules(roles=(role,))):
        # A copy of the state has all clusters.
        assert machine.run_as_nobody("history")[0] == 1
    assert [event for event, _ in log.lines] == ["order accepted", "login link made"]
    assert [one.cluster for one in suspensions(machine.system)] == ["edge"]


@needs_root
def test_an_operator_purges_through_the_watch_and_a_stranger_does_not(machine):
    alone(machine.monkeypatch, machine.folder)
    (place,) = find_free_addresses(1)
    files = {"fleet.yaml": FLEET.replace("127.0.0.1:9", str(place)), "s.json": setting("a.example")}
    made = Repository.make(machine.folder / "repo", files)
    machine.system.mkdir(mode=0o700)
    with DemoNodes() as served:
        served.serve(made.folder)
        machine.run("--yes", made.folder)
        with control_of(machine, machine.system, OPERATORS.gr_name, source=made.folder) as log:

            def ask(*arguments, groups=(OPERATORS.gr_gid,)):
                return machine.run_as_nobody("purge", *arguments, groups=groups)

            assert ask("a.example/x", "--yes", groups=())[0] == 1
            assert ask("a.example/x")[0] == 1, "nobody can be asked, and nobody agreed"
            assert ask("a.example/*", "--yes")[0] == 1, "a whole host is confirmed all the same"
            assert log.lines == []
            status, told = ask("a.example/x", "--yes", "--by", "kim", "--reason", "a wrong logo")
            # The setting of the node gives this host no right to purge: it was called, and refused.
            assert (status, "enablePurge" in told, "nobody" in told) == (1, True, True), told
            assert [event for event, _ in log.lines] == ["order accepted", "operation over"]
            for wrong in (("--path", "x"), ("--source", str(machine.fleet))):
                status, told = ask("a.example/x", "--yes", *wrong)
                assert (status, "from its own source" in " ".join(told.split())) == (1, True), told
    with open_store(machine.system) as store:
        (found,) = asyncio.run(store.operations())
    assert (found.actor.user, found.actor.claim, found.actor.why) == ("nobody", "kim", "a wrong logo")


@needs_root
def test_an_operator_rolls_back_through_the_watch_from_its_own_source(machine):
    alone(machine.monkeypatch, machine.folder)
    (place,) = find_free_addresses(1)
    files = {"fleet.yaml": FLEET.replace("127.0.0.1:9", str(place)), "s.json": setting("a.example")}
    made = Repository.make(machine.folder / "repo", files)
    first = made.head
    machine.system.mkdir(mode=0o700)
    with DemoNodes() as served:
        served.serve(made.folder)
        machine.run("--yes", made.folder)
        made.commit({"s.json": setting("b.example")})
        machine.run("--yes", made.folder)
        with control_of(machine, machine.system, OPERATORS.gr_name, source=made.folder) as log:

            def ask(*arguments):
                return machine.run_as_nobody("rollback", *arguments, groups=(OPERATORS.gr_gid,))

            assert ask(first)[0] == 1, "nobody can be asked, and nobody agreed"
            machine.run("suspend", "--reason", "a storm")
            status, told = ask(first, "--yes", "--by", "kim")
            assert (status, "becomes" in told, "nobody" in told) == (0, True, True), told
            assert f"Watch: process {os.getpid()}, source {made.folder}" in told
            assert [fields["order"] for _, fields in log.lines] == ["rollback"]
            assert "No changes" in ask(first, "--yes")[1]
            git(made.folder, "checkout", "--quiet", "-b", "elsewhere", first)
            pushed = made.commit({"s.json": setting("evil.example")})
            git(made.folder, "checkout", "--quiet", "main")
            assert "not in the history of the watched branch" in ask(pushed, "--yes")[1]
            for wrong in (("HEAD~9",), (), (first, machine.fleet), (first, "--path", "x")):
                status, told = ask(*wrong, "--yes")
                assert (status, "→" in told) == (1, True), told
        machine.run("resume")
        assert "edge is pinned" in machine.run("--yes", made.folder)


@needs_root
def test_a_watch_that_root_starts_by_hand_is_found_by_operators_and_whatever_its_state(machine):
    own = machine.folder / "units"
    own.mkdir(mode=0o700)
    machine.runtime.parent.mkdir()
    before = os.umask(0o077)
    with control_of(machine, own, OPERATORS.gr_name, variable=""):
        os.umask(before)
        operator = {"groups": (OPERATORS.gr_gid,)}
        status, told = machine.run_as_nobody("suspend", "--reason", "a storm", "--state", own, **operator)
        assert (status, f"State: {own} (--state)" in told) == (0, True), told
        assert f"uses the state {own}" in machine.run("suspend", "--reason", "r", status=1)
        (own / f"watch-{os.getpid()}.socket").stat()
    assert [one.reason for one in suspensions(own)] == ["a storm"]


@needs_root
def test_a_watch_without_a_folder_for_operators_says_so(machine, monkeypatch):
    monkeypatch.setattr(control_socket, "RUNTIME", machine.folder / "none/reconciler")
    with control_of(machine, machine.own, OPERATORS.gr_name, variable="") as log:
        pass
    assert [event for event, _ in log.lines] == ["cannot open control socket"]


@needs_root
def test_a_dry_run_tells_what_is_remembered_and_takes_no_orders(machine):
    machine.run("suspend", "--reason", "before")
    machine.own.rename(machine.system)
    with control_of(machine, machine.system, OPERATORS.gr_name, dry_run=True):
        operator = {"groups": (OPERATORS.gr_gid,)}
        status, told = machine.run_as_nobody("history", **operator)
        assert (status, "before" in told, ", dry run\n" in told) == (0, True, True), told
        status, told = machine.run_as_nobody("resume", **operator)
        assert (status, "is a dry run: it accepts no orders" in told) == (1, True), told
        assert ", dry run\n" in machine.run("resume")


@needs_root
def test_a_user_of_no_group_that_is_allowed_gives_no_orders_and_reads_nothing(machine):
    machine.system.mkdir(mode=0o700)
    with control_of(machine, machine.system, OPERATORS.gr_name, "no-such-group"):
        for command in (("suspend", "--reason", "r"), ("history",), ("--dry-run", machine.fleet)):
            status, told = machine.run_as_nobody(*command)
            assert status == 1
            assert "cannot be used" in told
            assert "the watch refuses: user nobody may not give orders on this host" in told
    with control_of(machine, machine.system):
        status, told = machine.run_as_nobody("suspend", "--reason", "r", groups=(OPERATORS.gr_gid,))
        assert (status, "accepts orders only from root and its own user" in told) == (1, True)
    assert not suspensions(machine.system)


def test_a_command_that_would_use_another_state_than_the_running_watch_is_refused(machine):
    """The emergency stop that wrote elsewhere, said that all is suspended, and stopped nothing."""
    own = machine.folder / "units"
    with control_of(machine, own):
        words = machine.run("suspend", "--reason", "r", status=1)
        assert f"uses the state {own}, and this command would use {machine.own}" in words
        assert f"add --state {own}" in words
        assert "uses the state" in machine.run("status", machine.fleet, status=1)
        assert "uses the state" in machine.run("rollback", "HEAD", machine.fleet, status=1)
        assert not machine.own.exists()
        told = machine.run("status", machine.fleet, "--state", own, status=1)
        assert f"State: {own} (--state)\nWatch: process {os.getpid()}" in told
        assert "Watch: process" in machine.run("suspend", "--reason", "r", "--state", own)
    assert [one.cluster for one in suspensions(own)] == [""]


def test_where_no_watch_runs_the_order_is_kept_and_that_is_said(machine):
    assert "Watch: none is running on this host with this state" in machine.run("suspend", "--reason", "r")
    assert suspensions(machine.own)


def test_the_socket_of_a_watch_that_was_killed_is_no_watch(machine):
    machine.runtime.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(machine.runtime / "watch-1.socket"))
    assert "Watch: none" in machine.run("suspend", "--reason", "r")
    with control_of(machine, machine.own):
        assert [one.name for one in machine.runtime.iterdir()] == [f"watch-{os.getpid()}.socket"]


@needs_root
def test_what_listens_in_the_place_of_a_watch_is_believed_only_where_the_folder_is_not_its_own_choice(
    machine,
):
    with control_of(machine, machine.own):
        machine.runtime.chmod(0o777)
        assert control_socket.find_running_watches(machine.runtime) == ()
        machine.runtime.chmod(0o755)
        assert len(control_socket.find_running_watches(machine.runtime)) == 1


@pytest.mark.parametrize(
    "line",
    [
        *(b"no json\n", b"[]\n", b"{}\n", b"\n", b"x" * 70_000 + b"\n", b'{"do": "no"}\n'),
        b'{"do":' + b"[" * 30_000 + b"\n",
        b'{"do": "suspend"}\n',
        b'{"do": "suspend", "reason": ["r"]}\n',
        b'{"do": "suspend", "reason": "r", "cluster": "' + b"x" * 201 + b'"}\n',
        b'{"do": "approve", "digest": "zz"}\n',
        b'{"do": "rollback", "revision": "--upload-pack=id"}\n',
    ],
)
def test_what_is_no_request_is_answered_with_an_error_and_the_next_one_is_heard(machine, line):
    with control_of(machine, machine.own):
        (watch,) = control_socket.find_running_watches(machine.runtime)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(watch.path))
            connection.sendall(line)
            with connection.makefile("rb") as answer:
                assert "error" in json.loads(answer.readline())
        assert control_socket.find_running_watches(machine.runtime) == (watch,)


@needs_root
def test_root_leaves_nothing_in_the_state_folder_that_its_owner_cannot_open(machine):
    machine.system.mkdir(mode=0o700)
    os.chown(machine.system, NOBODY, NOBODY)
    machine.run("suspend", "--reason", "r")
    machine.run("--yes", machine.fleet, status=1)

    async def hold():
        with open_store(machine.system) as store:
            async with store.lock("edge"):
                pass

    asyncio.run(hold())
    owners = {one.stat().st_uid for one in machine.system.rglob("*")}
    assert owners == {NOBODY}
