"""200 nodes over SSH in one pass, against bare asyncssh in the same run.

    python benchmarks/ssh_fleet.py [--nodes 200] [--at-once 50] [--server sshd|asyncssh]

Each node is an address of its own on this machine (127.0.K.L), so that each has its own connection. A pass
reads each node with one command, and with sshd a file of each as a plan does. Bare asyncssh connects, runs
and closes with the same number at once. The second pass uses the connections of the first one again, as far
as they are kept. `--server sshd` needs root and openssh-server: it makes and removes the user
`reconciler-bench`, whose shell is /bin/sh.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import asyncssh

from reconciler.core.file_state import FilePlace
from reconciler.core.observation import Present
from reconciler.file_delivery.reading import read_node_files
from reconciler.host.config import HostConfig
from reconciler.host.environment import Environment
from reconciler.host.host import Host
from reconciler.transports.command import CommandTransport
from reconciler.transports.files import FileTransport
from reconciler.transports.machines.host_machines import HostMachines

USER = "reconciler-bench"
CONTENT = b"cluster = true\n" * 100
"""What each node has in its file."""

FACTOR = 3.0
"""The goal: a pass takes at most this many times as long as bare asyncssh."""


def call(*command: object) -> None:
    subprocess.run([str(part) for part in command], check=True, capture_output=True)


async def run_asyncssh(folder: Path, port: int) -> asyncssh.SSHAcceptor:
    def handle(process: asyncssh.SSHServerProcess[bytes]) -> None:
        process.stdout.write(b"here\n")
        process.exit(0)

    return await asyncssh.create_server(
        asyncssh.SSHServer, "0.0.0.0", port, server_host_keys=[str(folder / "host")], encoding=None,
        authorized_client_keys=str(folder / "id.pub"), process_factory=handle, backlog=500,
    )  # fmt: skip


def run_sshd(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """Debian's sshd; it drops no beginners, or bare asyncssh would fail with many at once."""
    with contextlib.suppress(subprocess.CalledProcessError):
        call("userdel", "-r", USER)
    call("useradd", "-m", "-s", "/bin/sh", USER)
    call("usermod", "-p", "*", USER)
    Path("/run/sshd").mkdir(exist_ok=True)
    lines = {
        "Port": port, "ListenAddress": "0.0.0.0", "HostKey": folder / "host",
        "UsePAM": "no", "StrictModes": "no",
        "AuthorizedKeysFile": folder / "id.pub", "PidFile": folder / "pid", "MaxStartups": "500:30:1000",
    }  # fmt: skip
    (folder / "config").write_text("".join(f"{key} {value}\n" for key, value in lines.items()))
    server = subprocess.Popen(
        ["/usr/sbin/sshd", "-D", "-e", "-f", folder / "config"], stderr=subprocess.DEVNULL
    )
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return server
        time.sleep(0.02)
    raise SystemExit("sshd does not start")


async def measure_bare(
    hosts: list[str], folder: Path, port: int, at_once: int, *, path: Path | None = None
) -> float:
    gate = asyncio.Semaphore(at_once)
    key = asyncssh.read_private_key(str(folder / "id"))
    known = asyncssh.read_known_hosts(str(folder / "known_hosts"))

    async def ask(host: str) -> None:
        async with (
            gate,
            asyncssh.connect(
                host, port, username=USER, client_keys=[key], known_hosts=known, config=None, agent_path=None
            ) as connection,
        ):
            if path is not None:
                await read_bare(connection, path)
                return
            done = await connection.run("echo here", check=True)
            assert done.stdout == "here\n"

    begun = time.perf_counter()
    await asyncio.gather(*map(ask, hosts))
    return time.perf_counter() - begun


async def read_bare(connection: asyncssh.SSHClientConnection, path: Path) -> None:
    """The least that a file with its kind and size takes: one program after the other."""
    await connection.run(f"stat -c %f:%s {path}", check=True)
    assert (await connection.run(f"cat {path}", check=True, encoding=None)).stdout == CONTENT


async def measure_files(transport: FileTransport, hosts: list[str]) -> float:
    begun = time.perf_counter()
    found = await read_node_files(transport, [FilePlace("conf", host, host) for host in hosts])
    for host in hosts:
        reading = found[host]["conf"]
        assert isinstance(reading, Present), reading
        assert reading.value.content == CONTENT
    return time.perf_counter() - begun


async def measure_pass(transport: CommandTransport, hosts: list[str]) -> float:
    async def ask(host: str) -> None:
        assert await transport.read("look", {"node": host, "host": host}, node=host) == "here\n"

    begun = time.perf_counter()
    await asyncio.gather(*map(ask, hosts))
    return time.perf_counter() - begun


async def measure(arguments: argparse.Namespace, folder: Path) -> bool:
    for name in ("host", "id"):
        call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "known_hosts").write_text(f"[127.0.*]:{port} {(folder / 'host.pub').read_text()}")
    hosts = [f"127.0.{1 + n // 200}.{1 + n % 200}" for n in range(arguments.nodes)]
    is_sshd = arguments.server == "sshd"
    server = run_sshd(folder, port) if is_sshd else await run_asyncssh(folder, port)
    way = {
        "port": port, "user": USER, "keys": [str(folder / "id")], "known_hosts": str(folder / "known_hosts"),
        "connections": arguments.at_once,
    }  # fmt: skip
    kept = way | {"connections": arguments.nodes}
    look = {"run": ["echo", "here"], "ssh": "far", "reads": True}
    try:
        bare = min([await measure_bare(hosts, folder, port, arguments.at_once) for _ in range(2)])
        print(f"bare asyncssh, {arguments.nodes} nodes, {arguments.at_once} at once: {bare:.2f} s")
        worst = 0.0
        conf = folder / "nodes" / "{node}" / "sora.conf"
        if is_sshd:
            for host in hosts:
                place = Path(str(conf).replace("{node}", host))
                place.parent.mkdir(parents=True)
                place.write_bytes(CONTENT)
            whole = folder / "nodes" / hosts[0] / "sora.conf"
            bare_files = min(
                [await measure_bare(hosts, folder, port, arguments.at_once, path=whole) for _ in range(2)]
            )
            print(f"bare asyncssh, a file of each: {bare_files:.2f} s")
        for words, ways in (("bounded", way), ("kept", kept)):
            host = Host(HostConfig(ssh={"far": ways}, commands={"look": look}), Environment({"PATH": "/bin"}))
            machines = HostMachines(host)
            transport = CommandTransport(host, machines)
            for index in (1, 2):
                seconds = await measure_pass(transport, hosts)
                print(
                    f"pass {index}, {words} ({ways['connections']} connections): {seconds:.2f} s, "
                    f"{seconds / bare:.2f} times bare asyncssh"
                )
                worst = max(worst, seconds / bare)
            await machines.aclose()
            if not is_sshd:
                continue
            files = {"conf": {"path": str(conf), "ssh": "far"}}
            host = Host(HostConfig(ssh={"far": ways}, files=files), Environment({"PATH": "/bin"}))
            machines = HostMachines(host)
            for index in (1, 2):
                seconds = await measure_files(FileTransport(host, machines), hosts)
                print(
                    f"files {index}, {words} ({ways['connections']} connections): {seconds:.2f} s, "
                    f"{seconds / bare_files:.2f} times bare asyncssh"
                )
                worst = max(worst, seconds / bare_files)
            await machines.aclose()
        return worst <= FACTOR
    finally:
        if isinstance(server, subprocess.Popen):
            server.terminate()
            server.wait()
            with contextlib.suppress(subprocess.CalledProcessError):
                call("userdel", "-r", "-f", USER)
        else:
            server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--at-once", type=int, default=50)
    parser.add_argument("--server", choices=["sshd", "asyncssh"], default="asyncssh")
    folder = Path(tempfile.mkdtemp(prefix="ssh-fleet-"))
    folder.chmod(0o755)
    try:
        if not asyncio.run(measure(parser.parse_args(), folder)):
            raise SystemExit(f"more than {FACTOR} times bare asyncssh")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
