"""Calls to 200 nodes behind one bastion in one pass, against bare asyncssh tunnels in the same run.

    python benchmarks/bastion.py [--nodes 200] [--at-once 128]

The bastion (asyncssh's server) and the nodes (an HTTP server at an address each, 127.0.K.L) are a process of
their own. A pass logs in at the bastion and reads each node twice, as a plan does. Bare asyncssh does so
over one connection, with a tunnel for each node that both reads use, and with the same number at once. The
second pass uses the tunnels of the first one again, as far as they are kept.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import asyncssh

from reconciler.host.config import HostConfig
from reconciler.host.environment import Environment
from reconciler.host.host import Host
from reconciler.transports.http import HttpTransport
from reconciler.transports.machines.host_machines import HostMachines

BODY = b"x" * 4096
"""What each node answers."""

READS = 2
FACTOR = 3.0
"""The goal: a pass takes at most this many times as long as bare asyncssh."""


class Bastion(asyncssh.SSHServer):
    """Passes everything on."""

    def connection_requested(self, *_: object) -> bool:  # type: ignore[override]
        return True


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY)
    except (OSError, asyncio.IncompleteReadError):
        writer.close()


async def serve(folder: Path) -> None:
    """The bastion and the nodes, until the end of the input."""
    nodes = await asyncio.start_server(answer, "0.0.0.0", 0, backlog=1000)
    bastion = await asyncssh.create_server(
        Bastion, "127.0.0.1", 0, server_host_keys=[str(folder / "host")],
        authorized_client_keys=str(folder / "id.pub"),
    )  # fmt: skip
    print(nodes.sockets[0].getsockname()[1], bastion.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


async def measure_bare(folder: Path, urls: list[tuple[str, int]], port: int, at_once: int) -> float:
    gate = asyncio.Semaphore(at_once)

    async def ask(host: str, node_port: int) -> None:
        async with gate:
            reader, writer = await connection.open_connection(host, node_port, encoding=None)
            for _ in range(READS):
                writer.write(b"GET / HTTP/1.1\r\nHost: %s\r\n\r\n" % host.encode())
                await reader.readuntil(b"\r\n\r\n")
                assert await reader.readexactly(len(BODY)) == BODY
            writer.close()

    begun = time.perf_counter()
    async with asyncssh.connect(
        "127.0.0.1", port, username="jump", client_keys=[str(folder / "id")],
        known_hosts=str(folder / "known_hosts"), config=None, agent_path=None,
    ) as connection:  # fmt: skip
        await asyncio.gather(*(ask(*url) for url in urls))
    return time.perf_counter() - begun


async def measure_pass(http: HttpTransport, urls: list[tuple[str, int]]) -> float:
    async def ask(host: str, port: int) -> None:
        for _ in range(READS):
            found = await http.through("door").send("GET", f"http://{host}:{port}/", node=host, timeout=30)
            assert found.body == BODY

    begun = time.perf_counter()
    await asyncio.gather(*(ask(*url) for url in urls))
    return time.perf_counter() - begun


async def measure(folder: Path, urls: list[tuple[str, int]], port: int, at_once: int) -> bool:
    bare = min([await measure_bare(folder, urls, port, at_once) for _ in range(3)])
    print(f"bare asyncssh, {len(urls)} nodes, {at_once} at once: {bare:.2f} s")
    way = {
        "host": "127.0.0.1", "port": port, "user": "jump", "keys": [str(folder / "id")],
        "known_hosts": str(folder / "known_hosts"),
    }  # fmt: skip
    host = Host(HostConfig(ssh={"door": way}), Environment({"PATH": "/bin"}))
    firsts, seconds = [], []
    for _ in range(3):
        machines = HostMachines(host)
        async with HttpTransport(host, concurrency=at_once, tunnels=machines) as http:
            firsts.append(await measure_pass(http, urls))
            seconds.append(await measure_pass(http, urls))
        await machines.aclose()
    print(f"pass 1: {min(firsts):.2f} s, {min(firsts) / bare:.2f} times bare asyncssh")
    print(f"pass 2: {min(seconds):.2f} s, {min(seconds) / bare:.2f} times bare asyncssh")
    return min(firsts) <= FACTOR * bare


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--at-once", type=int, default=128)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(serve(arguments.serve))
        return
    folder = Path(tempfile.mkdtemp(prefix="bastion-"))
    try:
        for name in ("host", "id"):
            key = asyncssh.generate_private_key("ssh-ed25519")
            key.write_private_key(str(folder / name))
            (folder / name).chmod(0o600)
            key.write_public_key(str(folder / f"{name}.pub"))
        with subprocess.Popen(
            [sys.executable, __file__, "--serve", folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as far:
            assert far.stdin is not None
            assert far.stdout is not None
            node_port, port = map(int, far.stdout.readline().split())
            (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}")
            urls = [(f"127.0.{1 + n // 200}.{1 + n % 200}", node_port) for n in range(arguments.nodes)]
            try:
                is_good = asyncio.run(measure(folder, urls, port, arguments.at_once))
            finally:
                far.stdin.close()
                far.terminate()
    finally:
        shutil.rmtree(folder)
    if not is_good:
        raise SystemExit(f"more than {FACTOR} times bare asyncssh")


if __name__ == "__main__":
    main()
