"""The store's files: private, and nothing is written after they were replaced."""

import asyncio
import os
import shutil
import sqlite3
import stat
import threading
import time

import pytest

from reconciler.core.plan import Plan, Revision
from reconciler.errors import StateError
from reconciler.ports.store import RunStart
from reconciler.store.factory import open_store
from reconciler.store.sqlite import FILE, database

PLAN = Plan(Revision("/repo", "a", "a"), "0.1.0", ())
FILES = (FILE, f"{FILE}-wal", f"{FILE}-shm")


def modes(folder):
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir() if file.is_file()}


@pytest.fixture
def open_umask():
    before = os.umask(0)
    yield
    os.umask(before)


async def test_new_files_are_private_under_every_umask(tmp_path, open_umask, monkeypatch):
    seen = []
    real = sqlite3.connect

    def connect(path, **named):
        seen.append(modes(tmp_path / "state")[FILE])
        return real(path, **named)

    monkeypatch.setattr(database.sqlite3, "connect", connect)
    with open_store(tmp_path / "state") as store:
        await store.begin_run(RunStart("command", PLAN))
        assert modes(tmp_path / "state") == dict.fromkeys([*FILES, f"{FILE}.lock"], 0o600)
    assert seen == [0o600]
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


async def test_an_older_file_that_others_may_read_is_closed_to_them(tmp_path, open_umask):
    open_store(tmp_path).close()
    (tmp_path / FILE).chmod(0o644)
    with open_store(tmp_path) as store:
        await store.begin_run(RunStart("command", PLAN))
        assert set(modes(tmp_path).values()) == {0o600}


def test_a_link_that_leads_nowhere_and_a_fifo_are_no_state_files(tmp_path):
    (tmp_path / FILE).symlink_to(tmp_path / "nowhere")
    with pytest.raises(StateError, match="is a broken link"):
        open_store(tmp_path)
    (tmp_path / FILE).unlink()
    os.mkfifo(tmp_path / FILE)
    with pytest.raises(StateError, match="not a regular file"):
        open_store(tmp_path)


def remove(name):
    return lambda folder: (folder / name).unlink()


def replace(name):
    def replaced(folder):
        shutil.copy(folder / name, folder / "copy")
        (folder / "copy").rename(folder / name)

    return replaced


LOSSES = {
    **{f"{name} removed": remove(name) for name in FILES},
    **{f"{name} replaced": replace(name) for name in FILES},
    "the folder removed": shutil.rmtree,
    "the folder moved away": lambda folder: folder.rename(folder.with_name("away")),
}


@pytest.mark.parametrize("loss", LOSSES)
async def test_where_a_file_is_gone_or_another_one_nothing_is_written_and_no_lock_given(tmp_path, loss):
    folder = tmp_path / "state"
    with open_store(folder) as store:
        await store.begin_run(RunStart("command", PLAN))
        LOSSES[loss](folder)
        for work in (store.begin_run(RunStart("command", PLAN)), store.read_memory(), store.check_writable()):
            with pytest.raises(StateError, match="while it was in use") as caught:
                await work
            assert "nothing is sent without a record" in caught.value.remedy
        with pytest.raises(StateError):
            async with store.lock("edge"):
                pass
        assert not (folder / "locks").exists()


async def test_the_same_folder_back_in_its_place_is_used_again(tmp_path):
    folder = tmp_path / "state"
    with open_store(folder) as store:
        run = await store.begin_run(RunStart("command", PLAN))
        folder.rename(tmp_path / "away")
        with pytest.raises(StateError):
            await store.read_memory()
        (tmp_path / "away").rename(folder)
        assert (await store.run(run)).summary.id == run
        async with store.lock("edge"):
            await store.begin_run(RunStart("command", PLAN))
    with open_store(folder) as store:
        assert len(await store.runs()) == 2


async def test_a_store_behind_a_link_to_its_folder_is_used(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "state").symlink_to(tmp_path / "real")
    with open_store(tmp_path / "state") as store:
        await store.begin_run(RunStart("command", PLAN))


async def test_another_process_that_writes_is_waited_for(tmp_path):
    with open_store(tmp_path) as store:
        other = sqlite3.connect(tmp_path / FILE, isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        timer = threading.Timer(0.7, other.execute, ("COMMIT",))
        timer.start()
        await store.begin_run(RunStart("command", PLAN))
        timer.join()
        other.close()


async def test_a_process_that_never_ends_its_write_is_named_and_delays_no_close(tmp_path, monkeypatch):
    store = open_store(tmp_path)
    other = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    writing = asyncio.ensure_future(store.begin_run(RunStart("command", PLAN)))
    await asyncio.sleep(0.05)
    began = time.monotonic()
    await asyncio.to_thread(store.close)
    assert time.monotonic() - began < database.PATIENCE / 3
    with pytest.raises(StateError, match="another process kept it locked"):
        await writing
    other.close()


async def test_a_probe_writes_and_says_where_it_cannot(tmp_path):
    with open_store(tmp_path) as store:
        before = (tmp_path / f"{FILE}-wal").stat().st_size
        await store.check_writable()
        assert (tmp_path / f"{FILE}-wal").stat().st_size > before
    with sqlite3.connect(tmp_path / FILE) as file:
        assert file.execute("PRAGMA user_version").fetchone()[0] > 0
    file.close()


async def test_text_that_is_no_unicode_is_kept_escaped_or_named(tmp_path):
    plan = Plan(Revision("/srv/\udcff", "a", "a", "\ud800"), "0.1.0", ())
    with open_store(tmp_path) as store:
        run = await store.begin_run(RunStart("command", plan))
        assert (await store.run(run)).summary.source == "/srv/\\udcff"
        with pytest.raises(StateError, match="cannot store the text"):
            await store.store_facts("edge", {"n": {"key": "\ud800"}})
