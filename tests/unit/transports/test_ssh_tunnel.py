"""HTTP to nodes behind a bastion: through it, TLS with the node itself, within the networks of the host."""

import asyncio
import socket
import ssl
import subprocess

import asyncssh
import pytest
from support.ssh_servers import machines_of, ssh_site

from reconciler.core.observation import Liveness
from reconciler.errors import NodeUnidentified, NodeUnreachable
from reconciler.host.config import HostConfig
from reconciler.host.host import Host
from reconciler.transports import connection_pool
from reconciler.transports.http import HttpTransport
from reconciler.transports.machines import ssh_tunnel


@pytest.fixture
async def bastion(tmp_path):
    async with ssh_site(tmp_path / "bastion") as found:
        yield found


class Node:
    """An HTTP server that counts its connections."""

    def __init__(self, tls=None, body=b"hello"):
        self.tls, self.body, self.connections, self.writers = tls, body, 0, []

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0, ssl=self.tls)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def serve(self, reader, writer):
        self.connections += 1
        self.writers.append(writer)
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(self.body) + self.body)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def __aexit__(self, *_):
        for writer in self.writers:
            writer.close()
        self.server.close()
        await self.server.wait_closed()


def door(bastion, **more):
    return {"door": bastion.way(host="127.0.0.1", **more), "nodes": bastion.way()}


async def get(machines, url, via="door", *, tls=None, method="GET", networks=(), times=1):
    host = Host(HostConfig(networks=networks))
    async with HttpTransport(host, tls=tls, tunnels=machines) as http:
        for _ in range(times):
            answer = await http.through(via).send(method, url, node="n", timeout=5, connect=2)
        return answer


async def test_a_node_is_called_through_the_bastion_and_its_connection_is_kept(bastion):
    async with Node(body=b"x" * 3_000_000) as node, machines_of(door(bastion)) as machines:
        answer = await get(machines, f"http://127.0.0.1:{node.port}/", times=3)
        assert answer.body == b"x" * 3_000_000
        assert node.connections == 1
        assert bastion.counts.tunnels == [("127.0.0.1", node.port)]
        await get(machines, f"http://127.0.0.1:{node.port}/", times=2, method="POST")
        assert node.connections == 3
        assert bastion.counts.logins == 1


async def test_names_resolve_at_the_bastion(bastion):
    async with machines_of(door(bastion)) as machines:
        with pytest.raises(NodeUnreachable, match="no connection from there") as caught:
            await get(machines, "http://node-1.invalid:3000/")
    assert bastion.counts.tunnels == [("node-1.invalid", 3000)]
    assert not caught.value.is_lost


async def test_tls_ends_at_the_node(bastion, tmp_path):
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
            ),
            *("-days", "2", "-keyout", tmp_path / "key", "-out", tmp_path / "cert", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost"),
        ],
        check=True,
        capture_output=True,
    )
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    trusted = ssl.create_default_context(cafile=str(tmp_path / "cert"))
    async with Node(served) as node, machines_of(door(bastion)) as machines:
        answer = await get(machines, f"https://localhost:{node.port}/", tls=trusted)
        assert answer.body == b"hello"
        with pytest.raises(NodeUnidentified, match="certificate not trusted"):
            await get(machines, f"https://localhost:{node.port}/")
        with pytest.raises(NodeUnidentified, match="certificate not trusted"):
            await get(machines, f"https://127.0.0.1:{node.port}/", tls=trusted)


async def test_networks_hold_for_the_address_of_the_node(bastion):
    networks = ["192.0.2.0/24"]
    async with machines_of(door(bastion, names=["*.sora.internal"]), networks=networks) as machines:
        for url, words in (
            ("http://127.0.0.1:1/", "in none of the networks"),
            ("http://db.internal:1/", "resolves at the jump host"),
        ):
            with pytest.raises(NodeUnreachable, match=words):
                await get(machines, url, networks=networks)
        assert bastion.counts.connections == 0
        with pytest.raises(NodeUnreachable, match="no connection from there"):
            await get(machines, "http://n1.sora.internal:1/", networks=networks)


@pytest.mark.parametrize(
    ("via", "words"), [("other", "no way 'other'"), ("nodes", "leads to the nodes themselves")]
)
async def test_only_a_fixed_machine_of_the_host_configuration_is_a_bastion(bastion, via, words):
    async with machines_of(door(bastion)) as machines:
        with pytest.raises(NodeUnreachable, match=words):
            await get(machines, "http://127.0.0.1:1/", via)
    assert bastion.counts.connections == 0


def change_key(bastion):
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(str(bastion.key))
    bastion.key.chmod(0o600)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda bastion: bastion.known_hosts.write_text(""), "host key is not known"),
        (change_key, "refuses the login"),
        (lambda bastion: bastion.key.unlink(), "does not exist"),
        (lambda bastion: setattr(bastion, "tunnels", False), "no connection from there"),
        (
            lambda bastion: setattr(bastion, "drops", 100),
            "closed the connection before the login|no way to it through `ssh.door` within 5 s",
        ),
    ],
)
async def test_what_is_wrong_with_a_bastion_says_nothing_about_the_nodes_behind_it(bastion, spoil, words):
    spoil(bastion)
    async with Node() as node, machines_of(door(bastion, timeouts={"login": 5})) as machines:
        with pytest.raises(NodeUnreachable, match=words) as caught:
            await get(machines, f"http://127.0.0.1:{node.port}/")
        assert node.connections == 0
    assert type(caught.value) is NodeUnreachable
    assert caught.value.sign == Liveness.UNASKED
    assert not caught.value.is_lost


async def test_a_bastion_that_is_down_or_stalls_is_no_sign_of_silent_nodes(bastion):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        ways = door(bastion) | {"down": bastion.way(host="127.0.0.1", port=probe.getsockname()[1])}
    ways["stalls"] = bastion.way(host="127.0.0.1", timeouts={"connect": 0.3})

    async def stall(*_):
        await asyncio.sleep(30)

    async with machines_of(ways) as machines:
        with pytest.raises(NodeUnreachable, match="connection refused") as caught:
            await get(machines, "http://192.0.2.1:1/", "down")
        assert caught.value.sign == Liveness.UNASKED
        bastion.tunnels = stall()
        with pytest.raises(NodeUnreachable, match=r"no connection from there within 0\.3 s") as caught:
            await get(machines, "http://192.0.2.1:1/", "stalls")
        assert caught.value.sign == Liveness.UNASKED


async def test_a_node_that_refuses_at_the_bastion_is_silent(bastion):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        async with machines_of(door(bastion)) as machines:
            with pytest.raises(NodeUnreachable, match="no connection from there") as caught:
                await get(machines, f"http://127.0.0.1:{probe.getsockname()[1]}/")
    assert caught.value.sign == Liveness.SILENT


async def test_a_bastion_that_breaks_in_a_call_leaves_its_effect_unknown(bastion):
    async def swallow(reader, writer):
        await reader.read(65536)
        bastion.cut()
        writer.close()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    async with machines_of(door(bastion)) as machines:
        with pytest.raises(NodeUnreachable) as caught:
            await get(machines, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", method="PUT")
    assert caught.value.is_lost
    assert caught.value.sign == Liveness.ALIVE
    server.close()
    await server.wait_closed()


async def test_kept_connections_leave_room_among_the_tunnels_at_once_through_one_bastion(
    bastion, monkeypatch
):
    monkeypatch.setattr(ssh_tunnel, "MOST_TUNNELS", 4)
    monkeypatch.setattr(connection_pool, "BEHIND_BASTION", 2)
    async with Node() as node, machines_of(door(bastion)) as machines:
        url, most = f"http://127.0.0.1:{node.port}/", 0
        async with HttpTransport(tunnels=machines) as http:

            async def ask(name):
                nonlocal most
                await http.through("door").send("GET", url, node=name, timeout=10)
                most = max(most, len(machines._tunnels._running))

            for _ in range(2):
                await asyncio.gather(*(ask(f"n{number}") for number in range(40)))
            assert node.connections == 78  # two of the second round use those that were kept
            assert 2 <= most <= 4
    assert bastion.counts.logins == 1


async def test_a_node_that_never_closes_keeps_no_place(bastion, monkeypatch):
    monkeypatch.setattr(ssh_tunnel, "MOST_TUNNELS", 1)
    monkeypatch.setattr(ssh_tunnel, "_LINGER", 0.1)
    done = asyncio.Event()

    async def stay(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        await done.wait()
        writer.close()

    server = await asyncio.start_server(stay, "127.0.0.1", 0)
    async with machines_of(door(bastion)) as machines:
        for _ in range(3):
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
            assert (await get(machines, url, method="POST")).body == b"hi"
    done.set()
    server.close()
    await server.wait_closed()
