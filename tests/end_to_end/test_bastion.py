"""Nodes behind a bastion by the real commands: what is read, what is written, and what a bad bastion does."""

import asyncio
import json
import os
import socket
import sys

import asyncssh
import pytest
import yaml
from support.git_repositories import ALONE, Repository
from support.m2_settings import MANAGEMENT
from support.ssh_servers import ssh_site
from support.waiting import wait_until
from support.watch_process import Stage


class Site(Stage):
    """Two clusters of three nodes, whose addresses lead to them at the bastion alone."""

    def __init__(self, folder, bastion):
        super().__init__(folder)
        self.bastion = bastion
        self.host = folder / "host.yaml"
        self.way = bastion.way(host="127.0.0.1", timeouts={"connect": 2, "login": 5})
        self.write_host(door=self.way)

    def hide(self):
        """Give the nodes addresses that lead nowhere from here."""
        text = (self.repository.folder / "fleet.yaml").read_text()
        for number, address in enumerate(self.addresses, 1):
            hidden = f"192.0.2.{number}"
            self.bastion.names[hidden] = address.host
            text = text.replace(f"http://{address}/", f"http://{hidden}:{address.port}/")
        text = text.replace("    kind: sora\n", "    kind: sora\n    via: door\n    timeouts: {connect: 2}\n")
        self.repository.commit({"fleet.yaml": text})

    def write_host(self, **ways):
        self.host.write_text(yaml.safe_dump({"ssh": ways}))

    def edit(self, old, new):
        text = (self.repository.folder / "fleet.yaml").read_text()
        assert old in text
        self.repository.commit({"fleet.yaml": text.replace(old, new)})

    async def run(self, *arguments, status=0, source=None, state=True):
        environment = {**os.environ, **ALONE, "HOME": str(self.folder), "NO_COLOR": "1", "COLUMNS": "2000"}
        place = str(source or self.repository.folder)
        more = ["--state", str(self.state)] if state else []
        command = [*map(str, arguments), place, *more, "--host-config", str(self.host)]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "reconciler.cli.main", *command,
            env=environment, cwd=self.folder, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, error = await process.communicate()
        assert process.returncode == status, (out + error).decode()
        return out.decode() if "json" in arguments else " ".join((out + error).decode().split())


@pytest.fixture
async def site(tmp_path):
    async with ssh_site(tmp_path / "bastion") as bastion, Site(tmp_path, bastion).nodes() as site:
        site.hide()
        yield site


SENTENCE = "could not be read: no way to it: reconciler@127.0.0.1:"


async def test_commands_reach_the_nodes_through_the_bastion_alone(site, tmp_path):
    assert "6 nodes are as desired" in await site.run("--yes")
    site.edit("lab-1@127.0.0.1, ", "lab-1@127.0.0.1, via: other, ")
    site.write_host(door=site.way, other=site.way)
    await site.drift("live-1@127.0.0.1")
    drifted = site.changes()
    await site.run("--dry-run")
    assert site.changes() == drifted
    await site.run("--yes")
    assert await site.mode("live-1@127.0.0.1") == "normal"
    assert "Converged: 6 nodes" in await site.run("status")
    answer = json.loads(await site.run("allow-stop", "live-2@127.0.0.1", "--format", "json", "--source"))
    assert answer["answer"] == "yes"
    # What the cluster shows as a node's own URL is asked in the network of the bastion, too.
    asked = {host for host, _ in site.bastion.counts.tunnels}
    assert asked == {f"192.0.2.{n}" for n in range(1, 7)} | {"127.0.0.1"}


async def test_an_import_reads_new_and_known_nodes_through_the_bastion(site, tmp_path):
    nodes = ",".join(f"http://192.0.2.{n}:{address.port}/" for n, address in enumerate(site.addresses[:3], 1))
    new, more = tmp_path / "new", ["--sora", f"hall={nodes}", "--yes"]
    told = await site.run("import", *more, "--via", "doors", source=new, state=False, status=1)
    assert "this host has no way `doors` to other machines; it has door" in told
    await site.run("import", *more, source=new, state=False, status=1)
    await site.run("import", *more, "--via", "door", source=new, state=False)
    written = (new / "fleet.yaml").read_text()
    assert "via: door" in written
    assert "Nothing to write" in await site.run("import", source=new, state=False)
    (new / "fleet.yaml").write_text(written.replace("via: door", "via: doors"))
    told = await site.run("import", source=new, state=False, status=1)
    assert "fleet.yaml:" in told
    assert "[unknown-entry]" in told


async def test_what_the_host_does_not_have_is_told_with_its_place_before_anything_starts(site):
    site.edit("    via: door\n", "    via: doors\n    stop: {command: stop-it}\n")
    for mode in ("--dry-run", "--yes"):
        told = await site.run(mode, status=3)
        sentence = "doors is not in `ssh` of the host configuration; it has door [unknown-entry]"
        assert f"fleet.yaml:4:10: {sentence}" in told
        assert "did you mean `door`?" in told
        assert "fleet.yaml:5:21: stop-it is not in `commands` of the host configuration" in told
    assert site.bastion.counts.tunnels == []


async def test_a_bad_bastion_is_one_sentence_for_each_cluster_and_no_node_is_absent(site, unused_tcp_port):
    await site.run("--yes")
    bastion = site.bastion

    async def fail(*words):
        told = await site.run("--dry-run", status=1)
        for word in words:
            assert told.count(word) == 2, told
        assert "(3 nodes) could not be read" in told
        assert "Nothing planned: 6 of 6 nodes could not be read" in told
        assert "absent" not in told
        told = await site.run("--yes", status=1)
        told = await site.run("status", source=site.repository.folder, status=1)
        assert told.count(words[-1]) == 2, told
        assert "live-1@127.0.0.1, live-2@127.0.0.1, live-3@127.0.0.1 (3 nodes): " in told
        answer = await site.run("allow-stop", "live-2@127.0.0.1", "--source", status=7)
        assert "unknown" in answer or "could not" in answer
        assert site.changes() == []

    bastion.known_hosts.write_text("")
    await fail(SENTENCE, "its host key is not known")
    bastion.write_known_hosts(asyncssh.generate_private_key("ssh-ed25519"))
    await fail(SENTENCE, "its host key CHANGED")
    bastion.write_known_hosts()
    bastion.names.clear()
    bastion.tunnels = False
    await fail("AllowTcpForwarding")
    site.write_host(door=site.way | {"port": unused_tcp_port})
    await fail(SENTENCE, "connection refused")


@pytest.fixture
def unused_tcp_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def test_the_watch_keeps_one_connection_to_the_bastion_and_comes_back_after_it_broke(site):
    options = ["--host-config", str(site.host), "--interval", "0.5s", "--poll", "0.5s"]
    async with site.watch(*options) as watch:
        await watch.until(lambda states: all(one["state"] == "converged" for one in states.values()))
        await site.drift("live-1@127.0.0.1")
        await wait_until(lambda: _is_normal(site))
        assert site.bastion.counts.logins == 1
        site.bastion.cut()
        await site.drift("lab-1@127.0.0.1")
        await wait_until(lambda: _is_normal(site, "lab-1@127.0.0.1"))
        assert site.bastion.counts.logins == 2


async def _is_normal(site, node="live-1@127.0.0.1"):
    return await site.mode(node) == "normal"


class CacheSite(Site):
    """A cluster of three M2 nodes behind the bastion, whose setting lets its callers purge."""

    def __init__(self, folder, bastion):
        super().__init__(folder, bastion)
        permissions = {"enableSetting": True, "enableGet": True, "enablePurge": True}
        management = {**MANAGEMENT, "roles": [{"name": "admin", "permissions": permissions}]}
        hosting = [{"name": "a.example", "listen": "*:80"}]
        setting = {"env": {"management": management}, "hosting": hosting}
        nodes = "".join(
            f"      - {{name: n{number}, address: '{address}'}}\n"
            for number, address in enumerate(self.addresses[:3], 1)
        )
        fleet = f"clusters:\n  - name: edge\n    kind: m2\n    setting: s.json\n    nodes:\n{nodes}"
        files = {"fleet.yaml": fleet, "s.json": json.dumps(setting)}
        self.repository = Repository.make(folder / "caches", files)

    def hide(self):
        for number, address in enumerate(self.addresses[:3], 1):
            self.bastion.names[f"192.0.2.{number}"] = address.host
            self.edit(f"'{address}'", f"'192.0.2.{number}:{address.port}'")
        self.edit("    kind: m2\n", "    kind: m2\n    via: door\n    timeouts: {connect: 2}\n")


async def test_a_purge_goes_through_the_bastion_once_for_each_node_and_a_bad_one_is_told(tmp_path):
    async with ssh_site(tmp_path / "bastion") as bastion, CacheSite(tmp_path, bastion).nodes() as site:
        site.hide()
        assert "3 nodes are as desired" in await site.run("--yes")
        before = len(site.changes())
        purge = ["purge", "a.example/x.jpg", "--yes", "--format", "json", "--source"]
        (found,) = json.loads(await site.run(*purge))["operations"]
        assert found["counts"] == {"done": 3}
        assert sorted(site.changes()[before:]) == ["n1", "n2", "n3"]
        assert {host for host, _ in bastion.counts.tunnels} == {"192.0.2.1", "192.0.2.2", "192.0.2.3"}
        bastion.known_hosts.write_text("")
        told = await site.run("purge", "a.example/y.jpg", "--yes", "--source", status=1)
        assert told.count("its host key is not known") == 1, told
        assert len(site.changes()) == before + 3
