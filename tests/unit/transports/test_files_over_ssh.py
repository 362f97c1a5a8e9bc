"""Files on another machine over SSH: the same life, and a connection cut at any byte of a write."""

from pathlib import Path

import pytest
import yaml
from support.ssh_servers import NODE, machines_of, run_command, ssh_site

from reconciler.core.file_state import FilePlace, FileState, compute_file_digest
from reconciler.errors import NodeUnreachable
from reconciler.host.config import HostConfig
from reconciler.host.environment import Environment
from reconciler.host.host import Host
from reconciler.transports.files import FileTransport
from reconciler.transports.sudoers import render_sudoers

PLACE = FilePlace("conf", NODE["node"], NODE["host"])
OLD, NEW = b"cluster = true\n", b"cluster = false\nlicense = s3cret-value\n"
BEFORE, AFTER = compute_file_digest(OLD), compute_file_digest(NEW)


@pytest.fixture
def conf(tmp_path):
    path = tmp_path / "a folder's" / "sora.conf"
    path.parent.mkdir()
    path.write_bytes(OLD)
    return path


def open_files(machines, path):
    config = HostConfig(files={"conf": {"path": str(path), "check": ["test", "-s", "{file}"]}})
    files = {"conf": config.files["conf"].model_copy(update={"ssh": "sora"})}
    return FileTransport(Host(config.model_copy(update={"files": files}), Environment()), machines)


async def test_a_file_of_another_machine_is_delivered_and_taken_back(conf, tmp_path):
    async with ssh_site(tmp_path / "ssh") as site, machines_of({"sora": site.way()}) as machines:
        files = open_files(machines, conf)
        assert await files.read(PLACE) == FileState(OLD)
        await files.stage(PLACE, NEW)
        await files.switch(PLACE, before=BEFORE, after=AFTER)
        assert await files.read(PLACE) == FileState(NEW, backup=BEFORE)
        await files.restore(PLACE, before=AFTER, after=BEFORE)
        assert await files.read(PLACE) == FileState(OLD)
        assert site.counts.connections == 1
        assert not any("s3cret" in command for command in site.counts.commands)


@pytest.mark.parametrize("cut", [0, 1, len(NEW) // 2, len(NEW) - 1])
async def test_a_connection_cut_at_a_byte_of_the_write_leaves_the_file_and_is_finished_later(
    conf, tmp_path, cut
):
    class Cut:
        """The input of a program, whose connection breaks after some bytes."""

        def __init__(self, source):
            self.source, self.left, self.is_cut = source, cut, False

        def at_eof(self):
            return self.is_cut or self.source.at_eof()

        async def read(self, size):
            if not self.left:
                site.cut()
                self.is_cut = True
                return b""
            data = await self.source.read(min(size, self.left))
            self.left -= len(data)
            return data

    cuts = [1]

    async def run(process):
        if "oflag=nofollow" in process.command and cuts:
            cuts.pop()

            class Broken:
                def __getattr__(self, name):
                    return getattr(process, name)

                stdin = Cut(process.stdin)

            await run_command(Broken())
        else:
            await run_command(process)

    async with ssh_site(tmp_path / "ssh", run=run) as site, machines_of({"sora": site.way()}) as machines:
        files = open_files(machines, conf)
        with pytest.raises(NodeUnreachable) as caught:
            await files.stage(PLACE, NEW)
        assert caught.value.is_lost
        state = await files.read(PLACE)
        assert (state.content, state.staged) == (OLD, "")
        await files.stage(PLACE, NEW)
        await files.switch(PLACE, before=BEFORE, after=AFTER)
        assert await files.read(PLACE) == FileState(NEW, backup=BEFORE)


def test_the_page_about_files_has_the_lines_that_sudo_needs():
    page = (Path(__file__).parents[3] / "docs/files.md").read_text(encoding="utf-8")
    entry = yaml.safe_load(page.split("```yaml\n")[1].split("```")[0])["files"]["sora-conf"]
    del entry["ssh"]
    config = HostConfig.model_validate({"files": {"sora-conf": entry}})
    lines = render_sudoers("sora-conf", config.files["sora-conf"], user="reconciler")
    assert page.split("```text\n")[1].split("```")[0] == lines


def test_a_file_of_sudoers_has_no_wildcard_and_escapes_what_it_would_read_itself():
    entry = HostConfig(
        files={"conf": {"path": "/etc/a,b/{node}.conf", "sudo": True, "owner": "sora:sora"}}
    ).files["conf"]
    text = render_sudoers("conf", entry, user="reconciler", node="node01@node01.example.com")
    lines = text.splitlines()[1:]
    assert all(line.startswith("reconciler ALL=(root) NOPASSWD: /usr/bin/") for line in lines)
    assert any(r"--owner\=sora --group\=sora" in line for line in lines)
    assert r"/etc/a\,b/node01@node01.example.com.conf" in text
    assert "*" not in text
