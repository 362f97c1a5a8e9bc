"""Hostile SSH servers: what they send is bounded and masked, and what this host has is not given to them."""

import asyncio
import time

import asyncssh
import pytest
from support.ssh_servers import NODE, machines_of, ssh_site

from reconciler.errors import NodeRefused
from reconciler.host.config import HostConfig
from reconciler.host.environment import Environment
from reconciler.host.host import Host
from reconciler.host.subprocesses import OutputTooLarge
from reconciler.transports.command import CommandTransport
from reconciler.transports.machines.machine import (
    LoginRefused,
    MachineError,
    MachineUnidentified,
    MachineUnreachable,
)


async def run(machines, *program, **more):
    return await machines.find("far", values=NODE).run(program, seconds=5, **more)


async def test_neither_the_agent_nor_the_environment_of_this_host_gets_there(tmp_path, monkeypatch):
    seen = []

    async def look(process):
        seen.append((process.channel.get_agent_path(), dict(process.env)))
        process.exit(0)

    for name in ("LC_ALL", "LC_SECRET", "RECONCILE_SECRET_X"):
        monkeypatch.setenv(name, "C")
    environment = {"PATH": "/usr/bin", "LC_ALL": "C", "SSH_AUTH_SOCK": "/nowhere"}
    async with (
        ssh_site(tmp_path, run=look) as site,
        machines_of({"far": site.way()}, environment=environment) as machines,
    ):
        await run(machines, "x")
    assert seen == [(None, {})]


@pytest.mark.parametrize(
    "greeting", [b"x" * 100_000, b"\x1b]0;owned\x07\r\n" * 5000, b"password=hunter2secret\r\n"]
)
async def test_what_speaks_before_ssh_is_bounded_and_not_repeated(tmp_path, greeting):
    greeting_tasks = []

    async def greet(_, writer):
        greeting_tasks.append(asyncio.current_task())
        try:
            while True:
                writer.write(greeting)
                await writer.drain()
                await asyncio.sleep(0.001)
        except OSError:
            writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with ssh_site(tmp_path) as site:
        ways = {"far": site.way(port=port, timeouts={"login": 1})}
        async with machines_of(ways) as machines:
            begun = time.monotonic()
            with pytest.raises(MachineUnreachable) as caught:
                await run(machines, "x")
    # The connection was closed here: the other side finds nobody to talk to.
    await asyncio.wait_for(asyncio.gather(*greeting_tasks), 5)
    server.close()
    assert time.monotonic() - begun < 20
    told = f"{caught.value} {caught.value.remedy}"
    assert "hunter2" not in told
    assert "\x1b" not in told
    assert len(told) < 1000


async def test_a_banner_of_the_login_is_not_shown(tmp_path):
    class Loud(asyncssh.SSHServer):
        def connection_made(self, conn):
            self.conn = conn

        def begin_auth(self, username):
            self.conn.send_auth_banner("\x1b[2Jpassword=hunter2secret\r\n" * 1000)
            return True

    async with ssh_site(tmp_path) as site:
        server = await asyncssh.create_server(Loud, "127.0.0.1", 0, server_host_keys=[site.host_key])
        port = server.sockets[0].getsockname()[1]
        site.known_hosts.write_text(site.known_hosts.read_text().replace(str(site.port), str(port)))
        async with machines_of({"far": site.way(port=port)}) as machines:
            with pytest.raises(LoginRefused) as caught:
                await run(machines, "x")
        server.close()
    assert "hunter2" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


async def test_endless_output_ends_the_program_on_both_streams(tmp_path):
    async with ssh_site(tmp_path) as site, machines_of({"far": site.way()}) as machines:
        with pytest.raises(OutputTooLarge):
            await run(machines, "yes", limit=10_000)
        done = await run(machines, "sh", "-c", "yes x | head -c 3000000 >&2; exit 3", limit=10)
        assert done.status == 3
        assert len(done.error) < 100_000


async def test_a_secret_at_the_bound_and_marks_of_a_terminal_are_not_shown(tmp_path):
    async with ssh_site(tmp_path) as site:
        text = "printf 'AKIA%s \\033[31mpassword=hunter2secret' ABCDEFGHIJKLMNOP; exit 4"
        config = HostConfig(
            ssh={"far": site.way()}, commands={"c": {"ssh": "far", "run": ["sh", "-c", text]}}
        )
        async with machines_of({"far": site.way()}) as machines:
            with pytest.raises(NodeRefused) as caught:
                await CommandTransport(Host(config, Environment()), machines).run("c", NODE, node="n")
    assert "hunter2" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("node", ["$(touch x)", "a;b", "a b", "-oProxyCommand=x", "a\nb", "`id`"])
async def test_the_name_of_a_node_is_no_code_for_the_shell_there(tmp_path, node):
    async with ssh_site(tmp_path / "site") as site:
        config = HostConfig(
            ssh={"far": site.way()}, commands={"c": {"ssh": "far", "run": ["echo", "{node}"]}}
        )
        async with machines_of({"far": site.way()}) as machines:
            with pytest.raises(NodeRefused, match="the value of node"):
                await CommandTransport(Host(config, Environment()), machines).run(
                    "c", NODE | {"node": node}, node="n"
                )
        assert site.counts.commands == []


async def test_certificates_that_expired_or_are_of_another_are_refused_with_what_to_do(tmp_path):
    authority, host_key = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    line = f"@cert-authority * {authority.export_public_key().decode()}"
    other = authority.generate_host_certificate(host_key, "n", principals=["other.example.com"])
    async with ssh_site(tmp_path / "host", server_host_keys=[(host_key, other)]) as site:
        site.known_hosts.write_text(line)
        async with machines_of({"far": site.way()}) as machines:
            with pytest.raises(MachineUnidentified) as caught:
                await run(machines, "x")
        assert "principal" in str(caught.value).lower() or "certificate" in str(caught.value).lower()
        assert "check the key of the machine" in caught.value.remedy
    trusted = tmp_path / "authorities"
    trusted.write_text("cert-authority " + authority.export_public_key().decode())
    async with ssh_site(tmp_path / "user", authorized_client_keys=str(trusted)) as site:
        key = asyncssh.read_private_key(str(site.key))
        signed = authority.generate_user_certificate(
            key, "me", principals=["reconciler"], valid_after="-2d", valid_before="-1d"
        )
        signed.write_certificate(f"{site.key}-cert.pub")
        async with machines_of({"far": site.way()}) as machines:
            with pytest.raises(MachineError) as caught:
                await run(machines, "x")
        assert "with its certificate" in str(caught.value) or "xpired" in str(caught.value)
