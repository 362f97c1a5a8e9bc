"""Git sources over ssh: keys, host keys, and what is said when one of them is wrong."""

from __future__ import annotations

import pytest
from support.git_repositories import Repository, alone, ssh_key, ssh_server

from reconciler.errors import SourceError, SourceUnreachable
from reconciler.sources.locate import locate_source


@pytest.fixture
def work(tmp_path, monkeypatch):
    alone(monkeypatch, tmp_path)
    return Repository.make(tmp_path / "work", {"fleet.yaml": "clusters: []\n"})


@pytest.fixture
async def server(tmp_path, monkeypatch, work):
    """A server, and a user whose git configuration names the ssh command for it."""
    async with ssh_server(tmp_path / "ssh") as running:
        (tmp_path / "gitconfig").write_text(f"[core]\n sshCommand = {running.command}\n")
        monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
        yield running


def source(server, work, tmp_path, **options):
    url = f"ssh://operator@127.0.0.1:{server.port}{work.folder}/.git"
    return locate_source(url, cache=tmp_path / "cache", **options)


async def test_known_host_and_right_key(server, work, tmp_path):
    server.trust()

    taken = await source(server, work, tmp_path, ref="main").snapshot()

    assert taken.revision.id == work.head
    assert taken.files.read("fleet.yaml") == b"clusters: []\n"
    assert taken.revision.source == f"ssh://127.0.0.1:{server.port}{work.folder}/.git"


async def test_command_of_the_environment_is_taken_as_it_is(server, work, tmp_path, monkeypatch):
    """Whoever sets GIT_SSH_COMMAND decides on host keys too."""
    monkeypatch.setenv("GIT_SSH_COMMAND", f"{server.command} -o StrictHostKeyChecking=no")

    assert (await source(server, work, tmp_path).snapshot()).revision.id == work.head


async def test_unknown_host_key_is_refused(server, work, tmp_path):
    with pytest.raises(SourceError, match="is unknown") as caught:
        await source(server, work, tmp_path).snapshot()
    assert f"ssh-keyscan -p {server.port} 127.0.0.1" in caught.value.remedy
    assert not (tmp_path / "ssh/known_hosts").exists(), "nothing was trusted on first use"


async def test_changed_host_key_is_refused(server, work, tmp_path):
    server.trust(key=ssh_key(tmp_path / "ssh" / "other"))

    with pytest.raises(SourceError, match="the ssh key of its host has changed") as caught:
        await source(server, work, tmp_path).snapshot()
    assert f"ssh-keygen -R '[127.0.0.1]:{server.port}'" in caught.value.remedy


async def test_wrong_key_is_refused(server, work, tmp_path):
    server.trust()
    server.use("stranger")

    with pytest.raises(SourceError, match="rejects the ssh key") as caught:
        await source(server, work, tmp_path).snapshot()
    assert "public key" in caught.value.remedy


async def test_missing_repository(server, work, tmp_path):
    server.trust()

    url = f"ssh://operator@127.0.0.1:{server.port}/nowhere.git"
    with pytest.raises(SourceError, match="the repository does not exist"):
        await locate_source(url, cache=tmp_path / "cache").snapshot()


async def test_nobody_listens(server, work, tmp_path):
    server.trust()
    refused = source(type(server)(1, server.folder), work, tmp_path)

    with pytest.raises(SourceUnreachable, match="cannot be reached"):
        await refused.snapshot()


async def test_short_form_of_the_address(server, work, tmp_path):
    server.trust()
    config = server.folder / "config"
    config.write_text(f"Host fleet\n  HostName 127.0.0.1\n  Port {server.port}\n" + config.read_text())
    text = config.read_text().replace("Host 127.0.0.1\n", "Host *\n")
    config.write_text(text)

    taken = await locate_source(f"git@fleet:{work.folder}/.git", cache=tmp_path / "cache").snapshot()

    assert taken.revision.id == work.head
    assert taken.revision.source == f"fleet:{work.folder}/.git"
