"""SSH servers for tests: asyncssh's in this process, with keys and known hosts of their own."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh

from reconciler.host.config import HostConfig
from reconciler.host.environment import Environment
from reconciler.host.host import Host
from reconciler.transports.machines.host_machines import HostMachines

NODE = {"node": "node-01", "host": "127.0.0.1"}


@dataclass
class Counts:
    """What a server saw."""

    connections: int = 0
    most: int = 0
    now: int = 0
    logins: int = 0
    commands: list[str] = field(default_factory=list)
    tunnels: list[tuple[str, int]] = field(default_factory=list)
    signals: list[str] = field(default_factory=list)


class Server(asyncssh.SSHServer):
    def __init__(self, site):
        self._site = site

    def connection_made(self, conn):
        counts = self._site.counts
        counts.connections += 1
        counts.now += 1
        counts.most = max(counts.most, counts.now)
        self._site.open.add(conn)
        self._conn = conn
        if self._site.drops > 0:
            self._site.drops -= 1
            conn.abort()

    def connection_lost(self, exc):
        self._site.counts.now -= 1
        self._site.open.discard(self._conn)

    def begin_auth(self, username):
        self._site.counts.logins += 1
        return True

    def connection_requested(self, dest_host, dest_port, orig_host, orig_port):
        self._site.counts.tunnels.append((dest_host, dest_port))
        if dest_host in self._site.names:
            return self._forward(self._site.names[dest_host], dest_port)
        if not self._site.tunnels:  # as OpenSSH with AllowTcpForwarding no
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "open failed")
        return self._forward(dest_host, dest_port) if self._site.tunnels is True else self._site.tunnels

    async def _forward(self, host, port):
        forwarder = await self._conn.forward_connection(host, port)
        self._site.forwarders.append(forwarder)
        return forwarder


@dataclass
class SshSite:
    """A server, and what a host needs to reach it.

    Args:
        tunnels: whether it makes connections to nodes, or what it does instead.
        names: host that it alone knows -> where it is.
    """

    folder: Path
    port: int = 0
    counts: Counts = field(default_factory=Counts)
    drops: int = 0
    tunnels: bool = True
    names: dict = field(default_factory=dict)
    open: set = field(default_factory=set)
    running: set = field(default_factory=set)
    forwarders: list = field(default_factory=list)
    host_key: object = None

    @property
    def known_hosts(self):
        return self.folder / "known_hosts"

    @property
    def key(self):
        return self.folder / "id_ed25519"

    def way(self, **more):
        return {
            "port": self.port,
            "user": "reconciler",
            "keys": [str(self.key)],
            "known_hosts": str(self.known_hosts),
        } | more

    def write_known_hosts(self, key=None):
        line = (key or self.host_key).export_public_key().decode().strip()
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {line}\n")

    def cut(self):
        """Break every connection, as a pulled cable does that a firewall then resets."""
        for conn in list(self.open):
            conn.abort()


_TICK = 0.002


async def _show(pipe, sink):
    """Pass output on; asyncio's own subprocesses would leave pipes open when a test ends in between."""
    with suppress(ConnectionError, asyncssh.Error):
        while True:
            try:
                data = os.read(pipe.fileno(), 65536)
            except BlockingIOError:
                await asyncio.sleep(_TICK)
                continue
            if not data:
                return
            sink.write(data)
            await sink.drain()


async def _feed(source, pipe):
    with suppress(ConnectionError, asyncssh.Error):
        while data := await source.read(65536):
            while data:
                try:
                    data = data[os.write(pipe.fileno(), data) :]
                except BlockingIOError:
                    await asyncio.sleep(_TICK)
        pipe.close()


async def run_command(process):
    """Run the line of a client with /bin/sh, as sshd does: a signal is for its whole group."""
    child = subprocess.Popen(
        ["/bin/sh", "-c", process.command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, start_new_session=True, bufsize=0,
    )  # fmt: skip

    def pass_on(name):
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.Signals[f"SIG{name}"])

    process.signal_received = pass_on
    for pipe in (child.stdin, child.stdout, child.stderr):
        os.set_blocking(pipe.fileno(), False)
    feeding = asyncio.create_task(_feed(process.stdin, child.stdin))
    showing = [
        asyncio.create_task(_show(*pair))
        for pair in ((child.stdout, process.stdout), (child.stderr, process.stderr))
    ]
    try:
        while (status := child.poll()) is None:
            await asyncio.sleep(_TICK)
        await asyncio.wait(showing, timeout=0.2)
        with suppress(OSError, asyncssh.Error):
            if status < 0:
                process.exit_with_signal(signal.Signals(-status).name.removeprefix("SIG"))
            else:
                process.exit(status)
    finally:
        for task in (feeding, *showing):
            task.cancel()
        pass_on("KILL")
        child.wait()
        for pipe in (child.stdin, child.stdout, child.stderr):
            pipe.close()


@asynccontextmanager
async def ssh_site(folder, *, run=None, host="127.0.0.1", **options):
    """A server on a free port of this machine, with a key that it accepts."""
    folder.mkdir(parents=True, exist_ok=True)
    key, host_key = asyncssh.generate_private_key("ssh-ed25519"), asyncssh.generate_private_key("ssh-ed25519")
    site = SshSite(folder, host_key=host_key)
    key.write_private_key(str(site.key))
    site.key.chmod(0o600)
    (folder / "authorized_keys").write_bytes(key.export_public_key())

    async def handle(process):
        site.counts.commands.append(process.command)
        site.running.add(asyncio.current_task())
        await (run or run_command)(process)

    settings = {"server_host_keys": [host_key], "authorized_client_keys": str(folder / "authorized_keys")}
    server = await asyncssh.create_server(
        lambda: Server(site), host, 0, process_factory=handle, encoding=None,
        **(settings | options),
    )  # fmt: skip
    site.port = server.sockets[0].getsockname()[1]
    site.write_known_hosts()
    try:
        yield site
    finally:
        connections = list(site.open)
        site.cut()
        for task in site.running:
            task.cancel()
        await asyncio.gather(*site.running, return_exceptions=True)
        server.close()
        await server.wait_closed()
        waits = [connection.wait_closed() for connection in connections]
        await asyncio.gather(*waits, return_exceptions=True)
        # asyncssh forgets the connection to a node that is made while that of the client ends; left open, it
        # is a warning in whatever test comes later.
        await asyncio.sleep(0.01)
        for forwarder in site.forwarders:
            forwarder.close()
        await asyncio.sleep(0.01)


@asynccontextmanager
async def machines_of(ways, *, environment=None, **more):
    """The machines of a host with some ways."""
    host = Host(HostConfig(ssh=ways, **more), Environment(environment or {"PATH": "/usr/bin:/bin"}))
    machines = HostMachines(host)
    try:
        yield machines
    finally:
        await machines.aclose()
