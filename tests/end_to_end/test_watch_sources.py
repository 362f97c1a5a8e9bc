"""`reconcile watch` over a folder and a tarball, and its errors before anything starts."""

import io
import os
import socket
import subprocess
import sys
import tarfile

import pytest
from support.commands import run_process
from support.git_repositories import ALONE, Repository, git
from support.waiting import wait_until
from support.watch_process import fleet_file

from reconciler.cli.main import main
from reconciler.store.factory import open_store

LIVE = [f"live-{number}@127.0.0.1" for number in (1, 2, 3)]


def settled(states):
    return {name: one["state"] for name, one in states.items()} == {"live": "converged", "lab": "converged"}


async def test_saving_a_file_of_the_folder_is_enough(stage):
    folder = stage.folder / "plain"
    folder.mkdir()
    (folder / "fleet.yaml").write_text(fleet_file(stage.addresses))
    async with stage.watch("--interval", "1h", "--poll", "1h", source=str(folder)) as watch:
        await watch.until(settled)
        (folder / "fleet.yaml").write_text(fleet_file(stage.addresses, "block_new_session"))
        await watch.said("pass ended", cluster="live", result="applied", trigger="files")
        assert await stage.mode(LIVE[0]) == "block_new_session"
        changed = len(watch.lines)
        before = await same_looks(watch)
        (folder / "fleet.yaml").touch()  # the same content is the same revision
        await looked_again(watch, before)
        assert [line["event"] for line in watch.lines[changed:] if line["event"] != "pass ended"] == []


async def test_in_a_work_tree_the_commit_counts_and_not_what_is_saved(stage):
    folder = str(stage.repository.folder)
    async with stage.watch("--interval", "1h", "--poll", "0.2s", source=folder) as watch:
        assert f"the commit checked out in {folder}" in watch.lines[0]["follows"]
        await watch.until(settled)
        stage.repository.write({"fleet.yaml": fleet_file(stage.addresses, "block_new_session")})
        before = await same_looks(watch)
        await looked_again(watch, before + 1)
        assert stage.changes() == []
        commit = stage.repository.commit({}, "Now it counts")
        read = await watch.said("revision read", revision=commit[:12])
        await watch.said("pass ended", cluster="live", result="applied")
        assert read["trigger"] in {"files", "poll"}
        assert await stage.mode(LIVE[0]) == "block_new_session"


async def same_looks(watch):
    """How often the source had nothing new."""
    lines = (await watch.get("/metrics")).text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if 'source_looks_total{result="same"}' in line)


async def looked_again(watch, before):
    """Wait until the source had nothing new more often than before."""

    async def is_more():
        return await same_looks(watch) > before

    await wait_until(is_more, every=0.05)


async def test_a_commit_in_a_linked_work_tree_is_seen_without_polling(stage):
    git(stage.repository.folder, "worktree", "add", "--quiet", "-b", "side", str(stage.folder / "side"))
    side = Repository(stage.folder / "side")
    async with stage.watch("--interval", "1h", "--poll", "1h", source=str(side.folder)) as watch:
        await watch.until(settled)
        stage.repository.commit({"fleet.yaml": "clusters: []\n"}, "On another branch")
        side.commit({"fleet.yaml": fleet_file(stage.addresses, "block_new_session")}, "Here")
        applied = await watch.said("pass ended", cluster="live", result="applied", trigger="files")
        assert applied["steps"] > 0


async def test_what_is_saved_counts_where_the_command_line_says_so(stage):
    folder = str(stage.repository.folder)
    async with stage.watch("--interval", "1h", "--poll", "1h", "--uncommitted", source=folder) as watch:
        assert "the saved files in" in watch.lines[0]["follows"]
        await watch.until(settled)
        stage.repository.write({"fleet.yaml": fleet_file(stage.addresses, "block_new_session")})
        await watch.said("pass ended", cluster="live", result="applied", trigger="files")


def pack(path, text):
    data = text.encode()
    info = tarfile.TarInfo("fleet.yaml")
    info.size = len(data)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.addfile(info, io.BytesIO(data))
    new = path.with_suffix(".new")
    new.write_bytes(buffer.getvalue())
    new.rename(path)


async def test_a_tarball_is_polled(stage):
    path = stage.folder / "fleet.tar.gz"
    pack(path, fleet_file(stage.addresses))
    async with stage.watch("--interval", "1h", "--poll", "0.3s", source=str(path)) as watch:
        await watch.until(settled)
        pack(path, fleet_file(stage.addresses, "block_new_session"))
        await watch.said("pass ended", cluster="live", result="applied", trigger="poll")
        path.write_bytes(b"no archive")
        await watch.said("source failed")
        assert (await watch.get("/readyz")).json()["source"]["state"] == "invalid"
        pack(path, fleet_file(stage.addresses, "block_new_session"))
        await watch.said("source recovered")


async def test_a_cluster_that_somebody_else_changes_is_left_alone_until_they_are_done(stage):
    async with stage.watch("--interval", "0.3s") as watch:
        await watch.until(settled)
    with open_store(stage.state) as store:
        (fleet,) = await store.fleets()
        async with store.select_fleet(fleet.number).lock("live"), stage.watch("--interval", "0.3s") as watch:
            ended = await watch.said("pass ended", cluster="live")
            assert ended["result"] == "busy"
            assert str(os.getpid()) in ended["message"]
            await watch.said("pass ended", cluster="lab", result="converged")
        async with stage.watch("--interval", "0.3s") as watch:
            await watch.until(settled)


async def test_only_one_cluster(stage):
    stage.repository.commit({"fleet.yaml": fleet_file(stage.addresses, "block_new_session")})
    async with stage.watch("--interval", "0.3s", "--only", "lab") as watch:
        states = await watch.until(lambda states: states and states["lab"]["state"] == "converged")
        assert list(states) == ["lab"]
    assert stage.changes() == []


async def test_a_name_that_is_not_there_is_told_and_waited_for(stage):
    async with stage.watch("--only", "nobody") as watch:
        assert "nobody" in (await watch.said("source failed"))["message"]
        assert (await watch.get("/readyz")).status_code == 503


def test_the_console_form_is_for_people(tmp_path):
    folder = tmp_path / "fleet"
    folder.mkdir()
    (folder / "fleet.yaml").write_text("clusters: []\n")
    command = [
        sys.executable,
        "-m",
        "reconciler.cli.main",
        "watch",
        "--log-format",
        "console",
        "--listen",
        "off",
    ]
    process = subprocess.Popen(
        [*command, "--state", str(tmp_path / "state"), str(folder)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **ALONE, "HOME": str(tmp_path)},
    )
    with process:
        told = ""
        while "desired state rejected" not in told:
            line = process.stderr.readline()
            assert line, told
            told += line
        process.terminate()
        told += process.stderr.read()
    assert process.returncode == 0
    assert "fleet.yaml:1:11: error: the list of clusters is empty" in told
    assert "watch stopped" in told


@pytest.fixture
def refused(tmp_path, monkeypatch, capfd):
    """What a watch says that cannot begin, in a folder of its own."""
    (tmp_path / "source").mkdir()
    monkeypatch.chdir(tmp_path / "source")
    for name, value in {**ALONE, "HOME": str(tmp_path), "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)

    def begin(*arguments, **environment):
        given = ["watch", "--state", str(tmp_path / "state"), *arguments]
        assert main(given, {**os.environ, **environment}) == 1
        return capfd.readouterr().err

    return begin


def test_what_cannot_begin_says_why_at_once(tmp_path, refused):
    assert "'often' is not a duration" in refused("--interval", "often")
    assert "not an address and a port" in refused("--listen", "8642")
    assert "there is no folder" in refused("nowhere")
    assert "is not a regular file" in refused(RECONCILE_WEBHOOK_SECRET_FILE=os.devnull)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"cannot listen on 127.0.0.1:{port}" in refused("--listen", f"127.0.0.1:{port}")
    blocked = tmp_path / "blocked"
    blocked.write_text("")
    assert "state" in refused("--state", str(blocked))


def test_help_is_quick_to_ask_and_names_every_option():
    done = run_process(sys.executable, "-m", "reconciler.cli.main", "watch", "--help", check=True)
    for option in ("--ref", "--path", "--sha256", "--dry-run", "--only", "--interval", "--poll", "--listen"):
        assert option in done.stdout
    assert "RECONCILE_WEBHOOK_SECRET" in done.stdout
    script = "import sys, reconciler.cli.commands.watch; print(*sorted(sys.modules))"
    loaded = run_process(sys.executable, "-c", script, check=True).stdout.split()
    assert not {"starlette", "uvicorn", "structlog", "prometheus_client", "watchfiles", "git"} & set(loaded)


async def test_a_folder_whose_name_is_no_unicode_is_watched_as_any_other(stage):
    folder = stage.folder / os.fsdecode(b"fl\xffeet")
    folder.mkdir()
    (folder / "fleet.yaml").write_text(fleet_file(stage.addresses, "block_new_session"))
    async with stage.watch("--interval", "0.5s", "--poll", "0.5s", source=str(folder)) as watch:
        await watch.until(settled)
        assert (await watch.get("/readyz")).json()["source"]["revision"]["id"]
        assert 'fl\\\\udcffeet"' in (await watch.get("/metrics")).text
        assert await stage.mode(LIVE[0]) == "block_new_session"
        (folder / os.fsdecode(b"b\xfed.yaml")).write_text("x: [")
        (folder / "fleet.yaml").write_text("clusters: [\n")
        await watch.said("desired state rejected")
        assert (await watch.get("/readyz")).json()["source"]["state"] == "invalid"
    assert "unexpected" not in watch.log
