"""Machines over the server of OpenSSH, with sudo: what runs, what is ended, and who is refused why."""

import asyncio
import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from support.ssh_servers import machines_of

from reconciler.host.subprocesses import OutputTooLarge, ProgramTimeout
from reconciler.transports.machines.machine import (
    LoginRefused,
    MachineUnidentified,
    MachineUnreachable,
    ProgramLost,
    explain_sudo,
)

pytestmark = pytest.mark.component("sshd", "sudo", "ssh-keygen", "visudo", "useradd")

USER = "reconciler-test"
SUDOERS = Path("/etc/sudoers.d/reconciler-test")
NODE = {"node": "node-01", "host": "127.0.0.1"}


def call(*command, **more):
    return subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True, **more).stdout


@pytest.fixture(scope="module")
def user():
    """A user with /bin/sh, who may log in by key and run two programs as root."""
    with contextlib.suppress(subprocess.CalledProcessError):
        call("userdel", "-r", USER)
    call("useradd", "-m", "-s", "/bin/sh", USER)
    call("usermod", "-p", "*", USER)
    text = f"{USER} ALL=(root) NOPASSWD: /usr/bin/id -u, /bin/sleep 61\n"
    SUDOERS.write_text(text)
    SUDOERS.chmod(0o440)
    call("visudo", "-c", "-f", SUDOERS)
    yield USER
    SUDOERS.unlink()
    with contextlib.suppress(subprocess.CalledProcessError):
        call("pkill", "-KILL", "-u", USER)
    call("userdel", "-r", "-f", USER)


class Daemon:
    """A server of OpenSSH on a free port, with its own keys."""

    def __init__(self, folder, user, **options):
        self.folder = folder
        self.user = user
        folder.mkdir(parents=True)
        folder.chmod(0o755)
        for name in ("host", "id", "ca"):
            call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        (folder / "authorized").write_text((folder / "id.pub").read_text())
        (folder / "authorized").chmod(0o644)
        settings = {
            "Port": self.port,
            "ListenAddress": "127.0.0.1",
            "HostKey": folder / "host",
            "PidFile": folder / "pid",
            "AuthorizedKeysFile": folder / "authorized",
            "UsePAM": "no",
            "StrictModes": "no",
            "LogLevel": "VERBOSE",
        } | options
        (folder / "config").write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
        self.known = folder / "known_hosts"
        self.known.write_text(f"[127.0.0.1]:{self.port} {(folder / 'host.pub').read_text()}")

    async def __aenter__(self):
        Path("/run/sshd").mkdir(exist_ok=True)
        command = ["/usr/sbin/sshd", "-D", "-e", "-f", str(self.folder / "config")]
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(command, stderr=log)
        for _ in range(500):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return self
            await asyncio.sleep(0.01)
        raise AssertionError(self.log)

    async def __aexit__(self, *_):
        self.process.terminate()
        self.process.wait()

    @property
    def log(self):
        return (self.folder / "log").read_text()

    def cut(self):
        """End the processes that serve connections, not the one that accepts them."""
        call("pkill", "-KILL", "-f", f"^sshd: {self.user}")

    def way(self, **more):
        return {
            "port": self.port,
            "user": self.user,
            "keys": [str(self.folder / "id")],
            "known_hosts": str(self.known),
        } | more


@pytest.fixture
def place():
    """A folder that the user can reach: sshd reads the keys of a user as this user."""
    folder = Path(tempfile.mkdtemp(prefix="sshd-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
async def daemon(place, user):
    async with Daemon(place / "sshd", user) as found:
        yield found


def run(machines, *arguments, name="far", values=NODE, seconds=20, **more):
    return machines.find(name, values=values).run(arguments, seconds=seconds, **more)


def find_processes(user):
    number = pwd.getpwnam(user).pw_uid
    found = []
    for place in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if place.name.isdigit() and place.stat().st_uid == number:
                found.append((place / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip())
    return [line for line in found if line and not line.startswith("sshd")]


async def wait_for(check, seconds=5):
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


async def test_programs_run_with_their_arguments_input_and_status(daemon):
    hostile = ["a b", "$(id)", "`id`", "'", '"', "\\", "\n", ";", "*", "~", "!", ""]
    async with machines_of({"far": daemon.way()}) as machines:
        done = await run(machines, "printf", "%s\\0", *hostile)
        assert done.out.decode().split("\0")[:-1] == hostile
        data = os.urandom(1_000_000)
        assert (await run(machines, "cat", content=data, limit=len(data))).out == data
        done = await run(machines, "sh", "-c", "echo out; echo err >&2; exit 3")
        assert (done.status, done.out, done.error) == (3, b"out\n", b"err\n")
        assert (await run(machines, "/nowhere/x")).status == 127
        found = await asyncio.gather(*(run(machines, "echo", str(n)) for n in range(40)))
        assert [one.out.decode().strip() for one in found] == [str(n) for n in range(40)]
    assert daemon.log.count("Accepted publickey") == 1


async def test_what_takes_too_long_or_writes_too_much_is_ended_there(daemon, user):
    async with machines_of({"far": daemon.way()}) as machines:
        with pytest.raises(ProgramTimeout, match="and was killed"):
            await run(machines, "sh", "-c", "sleep 62; true", seconds=0.5)
        with pytest.raises(OutputTooLarge, match="and was killed"):
            await run(machines, "yes", limit=1000)
        task = asyncio.ensure_future(run(machines, "sleep", "63", seconds=60))
        await wait_for(lambda: "sleep 63" in find_processes(user))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await wait_for(lambda: find_processes(user) == [])


async def test_what_sudo_runs_may_outlive_its_time_and_that_is_said(daemon):
    async with machines_of({"far": daemon.way(sudo=True)}) as machines:
        with pytest.raises(ProgramTimeout, match="nothing confirms that it was killed: it may still run at"):
            await run(machines, "sleep", "61", seconds=0.5)
    call("pkill", "-KILL", "-f", "^sleep 61$")


async def test_sudo_runs_what_the_sudoers_file_names_and_nothing_else(daemon):
    async with machines_of({"far": daemon.way(), "root": daemon.way(sudo=True)}) as machines:
        assert (await run(machines, "id", "-u", name="root")).out == b"0\n"
        assert (await run(machines, "id", "-u")).out != b"0\n"
        done = await run(machines, "cat", "/etc/shadow", name="root")
        assert done.status == 1
        assert not done.out
        assert "NOPASSWD" in explain_sudo(done)


async def test_a_connection_that_breaks_in_a_command_leaves_its_effect_unknown(daemon, user):
    async with machines_of({"far": daemon.way()}) as machines:
        task = asyncio.ensure_future(run(machines, "sleep", "4"))
        await wait_for(lambda: "sleep 4" in find_processes(user))
        daemon.cut()
        with pytest.raises(ProgramLost):
            await task
        assert (await run(machines, "echo", "again")).out == b"again\n"


async def test_host_keys_and_logins_are_refused_with_what_to_do(daemon):
    known = daemon.known.read_text()
    daemon.known.write_text("")
    fingerprint = call("ssh-keygen", "-l", "-f", daemon.folder / "host.pub").split()[1]
    async with machines_of({"far": daemon.way()}) as machines:
        with pytest.raises(MachineUnidentified, match="not known") as caught:
            await run(machines, "true")
        assert fingerprint in str(caught.value)
        scanned = call("ssh-keyscan", "-p", daemon.port, "-t", "ed25519", "127.0.0.1")
        assert scanned.strip() in caught.value.remedy
        daemon.known.write_text(
            known.replace((daemon.folder / "host.pub").read_text(), (daemon.folder / "id.pub").read_text())
        )
        with pytest.raises(MachineUnidentified, match="CHANGED"):
            await run(machines, "true")
        daemon.known.write_text(known)
        (daemon.folder / "authorized").write_text("")
        with pytest.raises(LoginRefused, match=f"refuses the login of {daemon.user}"):
            await run(machines, "true")


async def test_certificates_of_user_and_host(place, user):
    folder = place / "sshd"
    daemon = Daemon(
        folder,
        user,
        TrustedUserCAKeys=folder / "ca.pub",
        HostCertificate=folder / "host-cert.pub",
        AuthorizedKeysFile="none",
    )
    call(
        "ssh-keygen",
        "-q",
        "-s",
        folder / "ca",
        "-I",
        "h",
        "-h",
        "-n",
        "127.0.0.1",
        "-V",
        "+1d",
        folder / "host.pub",
    )
    daemon.known.write_text(f"@cert-authority [127.0.0.1]:{daemon.port} {(folder / 'ca.pub').read_text()}")
    async with daemon, machines_of({"far": daemon.way()}) as machines:
        with pytest.raises(LoginRefused):
            await run(machines, "true")
        call("ssh-keygen", "-q", "-s", folder / "ca", "-I", "me", "-n", user, "-V", "+1d", folder / "id.pub")
        assert (await run(machines, "echo", "here")).out == b"here\n"


async def test_a_jump_host_has_its_own_keys_and_known_hosts(place, user):
    door, far = Daemon(place / "door", user), Daemon(place / "far", user)
    ways = {"door": door.way(host="127.0.0.1"), "far": far.way(jump="door")}
    async with door, far, machines_of(ways) as machines:
        done = await asyncio.gather(*(run(machines, "echo", "here") for _ in range(5)))
        assert {one.out for one in done} == {b"here\n"}
        door.known.write_text("")
        with pytest.raises(MachineUnidentified, match=r"the jump host of .*`ssh\.door`"):
            await run(machines, "true")


async def test_a_jump_host_that_forwards_nothing_is_named(place, user):
    door, far = Daemon(place / "door", user, AllowTcpForwarding="no"), Daemon(place / "far", user)
    ways = {"door": door.way(host="127.0.0.1"), "far": far.way(jump="door")}
    async with door, far, machines_of(ways) as machines:
        with pytest.raises(
            MachineUnreachable, match=r"the jump host `ssh\.door` cannot connect to it"
        ) as caught:
            await run(machines, "true")
        assert "AllowTcpForwarding" in caught.value.remedy


@pytest.mark.parametrize("start", ["10:30:100", "2:100:2"])
async def test_many_at_once_get_in_although_the_server_drops_beginners(place, user, start):
    daemon = Daemon(place / "sshd", user, MaxStartups=start, MaxSessions=2)
    nodes = [{"node": f"n{n}", "host": f"127.0.0.{n}"} for n in range(1, 41)]
    daemon.known.write_text(daemon.known.read_text().replace("[127.0.0.1]", "[127.0.0.*]"))
    (daemon.folder / "config").write_text(
        (daemon.folder / "config").read_text().replace("ListenAddress 127.0.0.1", "ListenAddress 0.0.0.0")
    )
    async with daemon, machines_of({"far": daemon.way()}) as machines:
        done = await asyncio.gather(*(run(machines, "echo", "here", values=node) for node in nodes))
        assert [one.out for one in done] == [b"here\n"] * 40
        done = await asyncio.gather(*(run(machines, "echo", "here") for _ in range(20)))
        assert [one.out for one in done] == [b"here\n"] * 20
