"""Connections over SSH: who is trusted, which are kept, how many there are, and what each failure says."""

import asyncio
import os
import socket
import subprocess
from pathlib import Path

import asyncssh
import pytest
from support.ssh_servers import NODE, machines_of, ssh_site

from reconciler.errors import NodeUnauthorized, NodeUnidentified, NodeUnreachable
from reconciler.transports.machines import ssh_pool
from reconciler.transports.machines.machine import (
    LoginRefused,
    MachineUnidentified,
    MachineUnreachable,
    make_node_error,
)


@pytest.fixture
async def site(tmp_path):
    async with ssh_site(tmp_path / "site") as found:
        yield found


async def run(machines, name="far", *, values=NODE, program=("echo", "here")):
    return (await machines.find(name, values=values).run(program, seconds=10)).out.decode().strip()


async def fail(ways, expected, name="far", **more):
    async with machines_of(ways, **more) as machines:
        with pytest.raises(expected) as caught:
            await run(machines, name)
    assert not caught.value.sent
    assert f"`ssh.{name}`" in str(caught.value)
    return f"{caught.value}; {caught.value.remedy}", make_node_error(caught.value, "n", "the command x")


async def test_an_unknown_host_key_is_refused_with_its_fingerprint_and_the_line_to_add(site):
    site.known_hosts.write_text("")
    told, error = await fail({"far": site.way()}, MachineUnidentified)
    assert type(error) is NodeUnidentified
    assert f"not known: ssh-ed25519 {site.host_key.get_fingerprint()}" in told
    line = f"[127.0.0.1]:{site.port} " + " ".join(site.host_key.export_public_key().decode().split()[:2])
    assert told.endswith(line)
    assert "/etc/ssh/ssh_host_ed25519_key.pub" in told
    site.known_hosts.write_text(line + "\n")
    async with machines_of({"far": site.way()}) as machines:
        assert await run(machines) == "here"


async def test_a_changed_host_key_is_refused_with_both_fingerprints(site):
    other = asyncssh.generate_private_key("ssh-ed25519")
    site.write_known_hosts(other)
    told, _ = await fail({"far": site.way()}, MachineUnidentified)
    assert "CHANGED" in told
    assert other.get_fingerprint() in told
    assert site.host_key.get_fingerprint() in told
    assert "-R" in told


async def test_a_revoked_host_key_is_refused(site):
    line = site.known_hosts.read_text()
    site.known_hosts.write_text(line + "@revoked * " + line.split(maxsplit=1)[1])
    told, _ = await fail({"far": site.way()}, MachineUnidentified)
    assert "revoked" in told


async def test_the_files_of_the_user_are_not_read(site, tmp_path, monkeypatch):
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh/known_hosts").write_text(site.known_hosts.read_text())
    (home / ".ssh/id_ed25519").write_bytes(site.key.read_bytes())
    (home / ".ssh/config").write_text("Host *\n  Port 1\n  User nobody\n  ProxyCommand false\n")
    monkeypatch.setenv("HOME", str(home))
    async with machines_of({"far": site.way()}) as machines:
        assert await run(machines) == "here"
    other = tmp_path / "other"
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(str(other))
    other.chmod(0o600)
    await fail({"far": site.way(keys=[str(other)])}, LoginRefused)
    site.known_hosts.write_text("")
    await fail({"far": site.way()}, MachineUnidentified)


async def test_a_refused_login_names_the_user_and_the_keys(site, tmp_path):
    other = tmp_path / "other"
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(str(other))
    other.chmod(0o600)
    told, error = await fail({"far": site.way(keys=[str(other)], user="joe")}, LoginRefused)
    assert type(error) is NodeUnauthorized
    assert f"refuses the login of joe with {other} ({key.get_fingerprint()})" in told
    assert "authorized_keys" in told
    assert "PRIVATE" not in told


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda key: key.unlink(), "does not exist"),
        (lambda key: key.chmod(0o644), "can be read by every user"),
        (lambda key: key.write_text("no key"), "not a private key"),
        (
            lambda key: subprocess.run(
                ["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", key], check=True
            ),
            "has a password",
        ),
        (lambda key: key.with_name("id_ed25519-cert.pub").write_text("x"), "certificate"),
    ],
)
async def test_a_key_that_cannot_be_used_is_named(site, change, words):
    change(site.key)
    told, _ = await fail({"far": site.way()}, LoginRefused)
    assert words in told
    assert str(site.key) in told


async def test_known_hosts_that_cannot_be_used_are_named(site):
    site.known_hosts.write_text("nonsense\n")
    told, _ = await fail({"far": site.way()}, MachineUnidentified)
    assert "known_hosts has an error" in told
    site.known_hosts.unlink()
    told, _ = await fail({"far": site.way()}, MachineUnidentified)
    assert "cannot be read" in told


async def test_a_key_may_be_a_credential_of_the_unit(site):
    ways = {"far": site.way(keys=["$CREDENTIALS_DIRECTORY/id_ed25519"])}
    told, _ = await fail(ways, LoginRefused)
    assert "LoadCredential=id_ed25519:PATH" in told
    environment = {"PATH": "/usr/bin:/bin", "CREDENTIALS_DIRECTORY": str(site.folder)}
    async with machines_of(ways, environment=environment) as machines:
        assert await run(machines) == "here"


async def test_an_agent_logs_in(site, tmp_path):
    ways = {"far": site.way(keys=[], agent=True)}
    told, _ = await fail(ways, LoginRefused)
    assert "SSH_AUTH_SOCK is not set" in told
    told, _ = await fail(ways, LoginRefused, environment={"SSH_AUTH_SOCK": str(tmp_path / "none")})
    assert "does not answer" in told
    place = f"/tmp/agent-{os.getpid()}-{site.port}"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", place], stdout=subprocess.DEVNULL)
    environment = {"PATH": "/usr/bin:/bin", "SSH_AUTH_SOCK": place}
    try:
        while not Path(place).exists():
            await asyncio.sleep(0.01)
        told, _ = await fail(ways, LoginRefused, environment=environment)
        assert "has no key" in told
        subprocess.run(["ssh-add", "-q", site.key], env=environment, check=True)
        async with machines_of(ways, environment=environment) as machines:
            assert await run(machines) == "here"
    finally:
        agent.terminate()
        agent.wait()


async def test_certificates_of_user_and_host_are_verified_by_their_authorities(tmp_path):
    authority = asyncssh.generate_private_key("ssh-ed25519")
    host_key = asyncssh.generate_private_key("ssh-ed25519")
    good = authority.generate_host_certificate(host_key, "n1", principals=["127.0.0.1"])
    late = authority.generate_host_certificate(
        host_key, "n1", principals=["127.0.0.1"], valid_before="-1d", valid_after="-2d"
    )
    (tmp_path / "ca.pub").write_bytes(authority.export_public_key())
    (tmp_path / "authorities").write_text("cert-authority " + authority.export_public_key().decode())
    for certificate, works in ((good, True), (late, False)):
        async with ssh_site(
            tmp_path / f"site-{works}",
            server_host_keys=[(host_key, certificate)],
            authorized_client_keys=str(tmp_path / "authorities"),
        ) as site:
            site.known_hosts.write_text(f"@cert-authority * {authority.export_public_key().decode()}")
            key = asyncssh.read_private_key(str(site.key))
            if not works:
                told, _ = await fail({"far": site.way()}, MachineUnidentified)
                assert "ertificate" in told
                continue
            await fail({"far": site.way()}, LoginRefused)
            signed = authority.generate_user_certificate(key, "me", principals=["reconciler"])
            signed.write_certificate(str(site.key) + "-cert.pub")
            async with machines_of({"far": site.way()}) as machines:
                assert await run(machines) == "here"
            asyncssh.generate_private_key("ssh-ed25519").write_private_key(str(site.key))
            told, _ = await fail({"far": site.way()}, LoginRefused)
            assert "is of another key" in told
            key.write_private_key(str(site.key))
            site.known_hosts.write_text("")
            told, _ = await fail({"far": site.way()}, MachineUnidentified)
            assert "@cert-authority" in told
            assert authority.get_fingerprint() in told


async def test_nothing_outside_the_networks_is_connected_to(site):
    told, error = await fail({"far": site.way()}, MachineUnreachable, networks=["192.0.2.0/24"])
    assert "127.0.0.1 is in none of the networks" in told
    assert type(error) is NodeUnreachable
    assert site.counts.connections == 0
    async with machines_of({"far": site.way()}, networks=["127.0.0.0/8"]) as machines:
        assert await run(machines) == "here"
        with pytest.raises(MachineUnreachable, match="does not resolve"):
            await run(machines, values=NODE | {"host": "nowhere.invalid"})


async def test_silence_and_refusal_are_told_apart(site, unused_tcp_port):
    told, _ = await fail({"far": site.way(port=unused_tcp_port)}, MachineUnreachable)
    assert "connection refused" in told
    async with DeafServer() as port:
        ways = {"far": site.way(port=port, timeouts={"login": 0.3})}
        told, _ = await fail(ways, MachineUnreachable)
        assert "did not end within 0.3 s" in told


@pytest.fixture
def unused_tcp_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class DeafServer:
    async def __aenter__(self):
        self.writers = []
        self.server = await asyncio.start_server(
            lambda _, writer: self.writers.append(writer), "127.0.0.1", 0
        )
        return self.server.sockets[0].getsockname()[1]

    async def __aexit__(self, *_):
        for writer in self.writers:
            writer.close()
        self.server.close()
        await self.server.wait_closed()


async def test_one_connection_serves_many_commands(site):
    async with machines_of({"far": site.way()}) as machines:
        found = await asyncio.gather(*(run(machines, program=("echo", str(n))) for n in range(30)))
        assert found == [str(n) for n in range(30)]
        assert site.counts.logins == 1
    assert site.counts.connections == 1


async def test_connections_are_bounded_and_the_longest_unused_gives_way(tmp_path):
    async with ssh_site(tmp_path, host="0.0.0.0") as site:
        site.known_hosts.write_text(site.known_hosts.read_text().replace("[127.0.0.1]", "[127.0.0.*]"))
        async with machines_of({"far": site.way(connections=3)}) as machines:
            values = [{"node": "n", "host": f"127.0.0.{n}"} for n in range(1, 16)]
            assert await asyncio.gather(*(run(machines, values=one) for one in values)) == ["here"] * 15
            assert site.counts.most <= 3
            await run(machines, values=values[0])
            await run(machines, values=values[1])
            made = site.counts.connections
            assert await run(machines, values=values[0]) == "here"
            assert site.counts.connections == made


async def test_an_unused_connection_is_closed_after_its_time(site):
    async with machines_of({"far": site.way(timeouts={"idle": 0.2})}) as machines:
        await run(machines)
        await asyncio.sleep(0.1)
        await run(machines)
        assert site.counts.now == 1
        await asyncio.sleep(0.5)
        assert site.counts.now == 0
        assert await run(machines) == "here"
        assert site.counts.connections == 2


async def test_changed_files_of_a_way_end_its_connections(site):
    async with machines_of({"far": site.way()}) as machines:
        await run(machines)
        known = site.known_hosts.read_text()
        site.known_hosts.write_text("")
        with pytest.raises(MachineUnidentified):
            await run(machines)
        site.known_hosts.write_text(known)
        assert await run(machines) == "here"
        assert site.counts.logins == 2


async def test_a_login_that_the_server_drops_is_tried_again(site, monkeypatch):
    monkeypatch.setattr(ssh_pool, "_LONGEST_PAUSE", 0.05)
    monkeypatch.setattr(ssh_pool, "_FIRST_PAUSE", 0.01)
    site.drops = 3
    async with machines_of({"far": site.way()}) as machines:
        assert await run(machines) == "here"
    assert site.counts.connections == 4
    site.drops = 100
    told, _ = await fail({"far": site.way()}, MachineUnreachable)
    assert "closed the connection before the login" in told
    assert "MaxStartups" in told


async def test_a_kept_connection_that_the_server_closed_is_replaced(site):
    async with machines_of({"far": site.way()}) as machines:
        await run(machines)
        site.cut()
        assert await run(machines) == "here"
        assert site.counts.logins == 2


async def test_a_caller_that_gives_up_leaves_no_connection(site):
    async with DeafServer() as port, machines_of({"far": site.way(port=port)}) as machines:
        task = asyncio.ensure_future(run(machines))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0.1)
        assert machines._pool._open == set()


@pytest.fixture
async def bastion(tmp_path):
    async with ssh_site(tmp_path / "bastion") as found:
        yield found


def behind(site, bastion, **more):
    door = bastion.way(host="127.0.0.1", user="jump")
    return {"door": door, "far": site.way(jump="door", **more)}


async def test_a_machine_behind_a_jump_host_is_reached_with_its_own_keys(site, bastion):
    async with machines_of(behind(site, bastion)) as machines:
        assert await run(machines) == "here"
        assert await run(machines) == "here"
    assert bastion.counts.tunnels == [("127.0.0.1", site.port)]
    assert (bastion.counts.logins, site.counts.logins) == (1, 1)


async def test_each_of_two_failing_machines_is_named(site, bastion, unused_tcp_port):
    bastion.known_hosts.write_text("")
    told, _ = await fail(behind(site, bastion), MachineUnidentified)
    assert "the jump host of reconciler@" in told
    assert f"jump@127.0.0.1:{bastion.port} (`ssh.door`)" in told
    bastion.write_known_hosts()
    told, _ = await fail(behind(site, bastion, port=unused_tcp_port), MachineUnreachable)
    assert "the jump host `ssh.door` cannot connect to it" in told
    site.known_hosts.write_text("")
    told, _ = await fail(behind(site, bastion), MachineUnidentified)
    assert f"reconciler@127.0.0.1:{site.port} (`ssh.far`)" in told
    bastion.tunnels = False
    told, _ = await fail(behind(site, bastion), MachineUnreachable)
    assert "AllowTcpForwarding" in told


async def test_networks_hold_behind_a_jump_host_too(site, bastion):
    ways, networks = behind(site, bastion), ["192.0.2.0/24"]
    told, _ = await fail(ways, MachineUnreachable, networks=networks)
    assert "in none of the networks" in told
    ways["far"]["host"] = "n1.sora.internal"
    told, _ = await fail(ways, MachineUnreachable, networks=networks)
    assert "resolves at the jump host" in told
    assert bastion.counts.tunnels == []
    ways["far"]["names"] = ["*.sora.internal"]
    told, _ = await fail(ways, MachineUnreachable, networks=networks)
    assert "cannot connect to it" in told
    assert bastion.counts.tunnels == [("n1.sora.internal", site.port)]


async def test_a_jump_host_that_breaks_ends_what_runs_behind_it(site, bastion):
    async with machines_of(behind(site, bastion)) as machines:
        await run(machines)
        bastion.cut()
        await asyncio.sleep(0.1)
        assert await run(machines) == "here"
    assert (bastion.counts.logins, site.counts.logins) == (2, 2)
