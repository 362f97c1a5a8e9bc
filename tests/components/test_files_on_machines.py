"""Files with the real components: OpenSSH, sudo with the lines that the program writes, ACLs, a full disk."""

import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from support.machines import ENVIRONMENT, FaultyMachine, make_file_transport

from reconciler.core.file_state import FilePlace, FileState, compute_file_digest
from reconciler.errors import NodeRefused, NodeUnauthorized
from reconciler.host.config import HostConfig
from reconciler.host.environment import Environment
from reconciler.host.host import Host
from reconciler.transports.files import FileTransport
from reconciler.transports.machines.host_machines import HostMachines
from reconciler.transports.sudoers import render_command_sudoers, render_sudoers

pytestmark = pytest.mark.component("sshd", "sudo", "visudo", "setfacl", "getfacl", "useradd", "mount")

USER = f"rcfiles{os.getpid()}"
PLACE = FilePlace("conf", "node-01", "127.0.0.1")
OLD, NEW = b"cluster = true\n", b"cluster = false\n"
BEFORE, AFTER = compute_file_digest(OLD), compute_file_digest(NEW)


def run(*command, **options):
    return subprocess.run(command, check=True, capture_output=True, timeout=60, **options).stdout.decode()


@pytest.fixture
def user(tmp_path):
    """A user without rights who may log in with a key."""
    run("useradd", "--create-home", "--shell", "/bin/sh", USER)
    try:
        # Without a password a login is refused as locked; this one has none that fits.
        run("usermod", "--password", "*", USER)
        yield USER
    finally:
        for _ in range(50):  # its last session may take a moment to end
            if (
                subprocess.run(["userdel", "--remove", USER], check=False, capture_output=True).returncode
                == 0
            ):
                break
            time.sleep(0.1)


@contextmanager
def sudo_rules(text):
    """Lines of /etc/sudoers.d for the time of a test."""
    path = Path("/etc/sudoers.d", USER)
    path.touch(mode=0o440)
    path.write_text(text, encoding="utf-8")
    try:
        run("visudo", "-c", "-q", "-f", path)
        yield
    finally:
        path.unlink()


@contextmanager
def open_ssh(folder):
    """An sshd on a free port; gives the way to it."""
    folder.mkdir()
    Path("/run/sshd").mkdir(exist_ok=True)
    for name in ("host_key", "id"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    keys = folder / "authorized_keys"
    shutil.copy(folder / "id.pub", keys)
    for path in (*reversed(folder.parents), folder):
        if path.stat().st_uid == os.getuid() and path.is_relative_to("/tmp/"):
            path.chmod(path.stat().st_mode | 0o011)
    keys.chmod(0o644)
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host_key\nAuthorizedKeysFile {keys}\n"
        "StrictModes no\nUsePAM no\nPidFile none\nPasswordAuthentication no\n"
    )
    host_key = (folder / "host_key.pub").read_text().split()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key[0]} {host_key[1]}\n")
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [shutil.which("sshd"), "-D", "-e", "-f", folder / "sshd_config"], stderr=log
        )
    try:
        for _ in range(100):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.05)
        yield {
            "port": port,
            "user": USER,
            "keys": [str(folder / "id")],
            "known_hosts": str(folder / "known_hosts"),
        }
    finally:
        server.terminate()
        server.wait(10)
        sys.stderr.write((folder / "log").read_text())


async def test_root_s_file_is_delivered_over_ssh_with_exactly_the_rights_that_sudoers_gives(tmp_path, user):
    folder = tmp_path / "etc"
    folder.mkdir(mode=0o700)
    path, other = folder / "sora.conf", folder / "shadow"
    for one in (path, other):
        one.write_bytes(OLD)
        one.chmod(0o640)
    os.chown(path, 1234, 4321)
    run("setfacl", "-m", "u:65534:r", path)
    rights = run("getfacl", "-cpn", path)
    with open_ssh(tmp_path / "ssh") as way:
        entry = {"path": str(path), "ssh": "sora", "sudo": True, "check": ["/usr/bin/test", "-s", "{file}"]}
        config = HostConfig(
            ssh={"sora": way}, files={"conf": entry, "other": {**entry, "path": str(other), "check": []}}
        )
        host = Host(config, Environment(ENVIRONMENT))
        machines = HostMachines(host)
        files = FileTransport(host, machines)
        try:
            with pytest.raises(NodeUnauthorized, match="sudo") as caught:
                await files.read(PLACE)
            assert "sudoers" in caught.value.remedy
            with sudo_rules(render_sudoers("conf", config.files["conf"], user=user)):
                assert await files.read(PLACE) == FileState(OLD)
                await files.stage(PLACE, NEW)
                beside = folder / ".sora.conf.reconciler-new"
                assert run("getfacl", "-cpn", beside) == rights
                await files.switch(PLACE, before=BEFORE, after=AFTER)
                assert await files.read(PLACE) == FileState(NEW, backup=BEFORE)
                assert (run("getfacl", "-cpn", path), path.stat().st_uid, path.stat().st_gid) == (
                    rights,
                    1234,
                    4321,
                )
                with pytest.raises(NodeRefused, match="is refused by its check"):
                    await files.stage(PLACE, b"")
                with pytest.raises(NodeUnauthorized):
                    await files.read(FilePlace("other", "node-01", "127.0.0.1"))
                await files.restore(PLACE, before=AFTER, after=BEFORE)
                assert await files.read(PLACE) == FileState(OLD)
                path.unlink()
                assert await files.read(PLACE) == FileState(None)
                await files.stage(PLACE, NEW)
                await files.switch(PLACE, before="", after=AFTER)
                await files.restore(PLACE, before=AFTER, after="")
                await files.discard(PLACE)
        finally:
            await machines.aclose()
    assert sorted(one.name for one in folder.iterdir()) == ["shadow"]


@contextmanager
def small_disk(path, size="64k"):
    path.mkdir()
    run("mount", "-t", "tmpfs", "-o", f"size={size}", "none", path)
    try:
        yield
    finally:
        run("umount", path)


async def test_a_full_disk_leaves_the_file_and_a_switch_is_taken_back_on_it(tmp_path):
    disk = tmp_path / "disk"
    with small_disk(disk):
        path = disk / "sora.conf"
        path.write_bytes(OLD)
        files = make_file_transport(path, FaultyMachine())
        with pytest.raises(NodeRefused, match=r"is as it was: .*No space left on device") as caught:
            await files.stage(PLACE, b"x" * 200_000)
        assert not caught.value.is_final
        assert await files.read(PLACE) == FileState(OLD)
        assert [one.name for one in disk.iterdir()] == ["sora.conf"]
        await files.stage(PLACE, NEW)
        await files.switch(PLACE, before=BEFORE, after=AFTER)
        with suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(b"x" * 1024)
        with pytest.raises(NodeRefused, match="No space left"):
            await files.stage(PLACE, b"y" * 20_000)
        await files.restore(PLACE, before=AFTER, after=BEFORE)
        assert path.read_bytes() == OLD


async def test_a_read_only_file_system_is_told(tmp_path):
    disk = tmp_path / "disk"
    with small_disk(disk):
        path = disk / "sora.conf"
        path.write_bytes(OLD)
        run("mount", "-o", "remount,ro", disk)
        files = make_file_transport(path, FaultyMachine())
        assert await files.read(PLACE) == FileState(OLD)
        with pytest.raises(NodeRefused, match="Read-only file system"):
            await files.stage(PLACE, NEW)


def test_sudo_allows_what_a_command_can_be_filled_with_and_nothing_else(user):
    config = HostConfig(commands={"say": {"run": ["echo", "unit", "v={unit}"], "sudo": True}})
    bare = HostConfig(commands={"id": {"run": ["id"], "sudo": True}})
    rules = render_command_sudoers("say", config.commands["say"], user=user)
    rules += render_command_sudoers("id", bare.commands["id"], user=user)

    def may(*words):
        command = ["runuser", "-u", user, "--", "sudo", "-n", "--", *words]
        return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0

    with sudo_rules(rules):
        assert may("echo", "unit", "v=sora@1.service")
        assert may("id")
        for words in (
            ["echo", "unit", "v=a", "b"],
            ["echo", "unit", "v=a b"],
            ["echo", "unit", "v=a;b"],
            ["echo", "unit", "v=-n"],
            ["echo", "unit", "v="],
            ["echo", "unit"],
            ["echo", "-n", "unit", "v=a"],
            ["id", "-u"],
            ["cat", "/etc/shadow"],
        ):
            assert not may(*words), words


def test_sudo_allows_the_path_of_every_node_and_no_other(user, tmp_path):
    path = tmp_path / "a b" / "{node}.conf"
    path.parent.mkdir()
    entry = HostConfig(files={"conf": {"path": str(path), "sudo": True}}).files["conf"]
    with sudo_rules(render_sudoers("conf", entry, user=user)):

        def may(name):
            command = ["runuser", "-u", user, "--", "sudo", "-n", "-l", "--", "sha256sum", "-b", "--", name]
            return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0

        assert may(str(path).replace("{node}", "n1@n1.example.com"))
        for name in ("../x", ".n1", "a/b", "n1.conf /etc/shadow", ""):
            assert not may(str(path).replace("{node}", name)), name


LABEL = b"system_u:object_r:sora_etc_t:s0\0"


def read_label(path):
    return os.getxattr(path, "security.selinux")


@contextmanager
def labelled_file(*folders):
    """A file with a context, in the first of the folders whose file system takes one."""
    refusals = []
    for folder in folders:
        with TemporaryDirectory(dir=folder) as made:
            path = Path(made, "sora.conf")
            path.write_bytes(OLD)
            try:
                os.setxattr(path, "security.selinux", LABEL)
            except OSError as error:
                refusals.append(f"{folder}: {error.strerror}")
                continue
            yield path
            return
    pytest.fail(
        "no file system here takes security.selinux, so that nothing is shown about contexts: "
        + "; ".join(refusals)
    )


async def test_the_context_of_selinux_is_kept_by_stage_switch_and_restore(tmp_path):
    # A kernel without SELinux keeps any context as it is. This shows that the programs keep the attribute,
    # not whether a policy would let them.
    with labelled_file(tmp_path, "/var/tmp", "/dev/shm") as path:
        await deliver_with_label(path)


async def deliver_with_label(path):
    files = make_file_transport(path, FaultyMachine())
    await files.stage(PLACE, NEW)
    assert read_label(path.parent / ".sora.conf.reconciler-new") == LABEL
    await files.switch(PLACE, before=BEFORE, after=AFTER)
    assert path.read_bytes() == NEW
    assert read_label(path) == LABEL
    await files.restore(PLACE, before=AFTER, after=BEFORE)
    assert path.read_bytes() == OLD
    assert read_label(path) == LABEL
