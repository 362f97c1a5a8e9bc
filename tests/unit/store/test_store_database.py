"""A store that cannot be used has a message and a remedy; an old one is migrated."""

import asyncio
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from support.driver import FakeDriver, Wish, World, cluster

from reconciler.core.observation import Observed
from reconciler.core.plan import Plan, Revision
from reconciler.errors import StateError
from reconciler.fault_trials.clock import run_skipping_waits
from reconciler.ports.store import RunStart
from reconciler.store.factory import open_store
from reconciler.store.sql import grouped_writes
from reconciler.store.sqlite import FILE, database, schema
from reconciler.store.sqlite.database import translate_sqlite_error

PLAN = Plan(Revision("/repo", "a", "a"), "0.1.0", ())


def plan_of_one_step() -> Plan:
    world = World({"a": "old"})
    planned = FakeDriver(world).plan(Wish(cluster("edge", {"a": "1"})), Observed({"a": world.answer("a")}))
    return Plan(PLAN.revision, "0", (planned,))


def test_a_file_that_is_not_a_database_is_not_changed(tmp_path):
    path = tmp_path / FILE
    path.write_bytes(b"this is a text about databases, and not one of them" * 100)
    with pytest.raises(StateError, match=r"state\.sqlite: it is not a database") as caught:
        open_store(tmp_path)
    assert "move it away" in caught.value.remedy
    assert path.read_bytes().startswith(b"this is a text")


def test_a_database_of_another_program_is_not_changed(tmp_path):
    with sqlite3.connect(tmp_path / FILE) as foreign:
        foreign.execute("CREATE TABLE photographs (name TEXT)")
    foreign.close()
    with pytest.raises(StateError, match="it belongs to another program"):
        open_store(tmp_path)
    with sqlite3.connect(tmp_path / FILE) as foreign:
        assert [row[0] for row in foreign.execute("SELECT name FROM sqlite_master")] == ["photographs"]
    foreign.close()


async def test_a_database_of_a_newer_program_is_not_changed(tmp_path):
    open_store(tmp_path).close()
    with sqlite3.connect(tmp_path / FILE) as newer:
        newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(StateError, match="a newer version of this program wrote it") as caught:
        open_store(tmp_path)
    assert "newer version" in caught.value.remedy


async def test_an_older_database_is_migrated_with_its_records(tmp_path, monkeypatch):
    with open_store(tmp_path) as store:
        run = await store.begin_run(RunStart("command", PLAN))
    newer = (*schema.MIGRATIONS, ("ALTER TABLE run ADD COLUMN wave INTEGER NOT NULL DEFAULT 7",))
    monkeypatch.setattr(database, "MIGRATIONS", newer)
    with open_store(tmp_path) as store:
        assert (await store.run(run)).summary.id == run
    with sqlite3.connect(tmp_path / FILE) as file:
        assert file.execute("SELECT wave FROM run").fetchall() == [(7,)]
        assert file.execute("PRAGMA user_version").fetchone() == (len(newer),)
    file.close()


def test_a_migration_that_fails_changes_nothing(tmp_path, monkeypatch):
    open_store(tmp_path).close()
    broken = (*schema.MIGRATIONS, ("CREATE TABLE extra (a)", "CREATE TABLE run (a)"))
    monkeypatch.setattr(database, "MIGRATIONS", broken)
    with pytest.raises(StateError):
        open_store(tmp_path)
    with sqlite3.connect(tmp_path / FILE) as file:
        assert file.execute("PRAGMA user_version").fetchone() == (len(schema.MIGRATIONS),)
        assert not file.execute("SELECT 1 FROM sqlite_master WHERE name = 'extra'").fetchall()
    file.close()


async def test_a_damaged_file_is_named(tmp_path):
    with open_store(tmp_path) as store:
        for _ in range(50):
            await store.begin_run(RunStart("command", PLAN))
    path = tmp_path / FILE
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    with pytest.raises(StateError, match=r"state\.sqlite: it is damaged"), open_store(tmp_path) as store:
        await store.runs()


def test_a_folder_that_cannot_be_created_is_named(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StateError, match="the state folder cannot be used") as caught:
        open_store(tmp_path / "file" / "state")
    assert "--state" in caught.value.remedy


def test_a_folder_in_place_of_the_file_is_refused(tmp_path):
    (tmp_path / FILE).mkdir()
    with pytest.raises(StateError, match="is not a regular file"):
        open_store(tmp_path)


async def test_a_full_disk_loses_no_record(tmp_path):
    with open_store(tmp_path) as store:
        run = await store.begin_run(RunStart("command", PLAN))
        await store._database.read(lambda connection: connection.execute("PRAGMA max_page_count = 20"))
        large = {f"key-{number}": "x" * 2000 for number in range(100)}
        with pytest.raises(StateError, match="the disk is full") as caught:
            await store.store_facts("edge", {"node": large})
        assert "free disk space" in caught.value.remedy
        assert [line.id for line in await store.runs()] == [run]
        assert (await store.read_memory()).facts == {}


def record_transactions(store):
    """The statements that SQLite gets from now on."""
    asked = []
    store._database._thread.submit(store._database._connection.set_trace_callback, asked.append).result()
    return asked


async def test_writes_that_wait_together_share_a_transaction(tmp_path):
    with open_store(tmp_path) as store:
        asked = record_transactions(store)
        await asyncio.gather(*(store.store_facts("edge", {f"n{one}": {"k": "v"}}) for one in range(50)))
        assert len((await store.read_memory()).facts["edge"]) == 50
        assert asked.count("BEGIN IMMEDIATE") <= 5


def test_a_write_takes_no_time_of_a_clock_that_skips_waits(tmp_path):
    async def work():
        bound = asyncio.create_task(asyncio.sleep(5))
        await asyncio.sleep(0)
        await store.write(lambda _: time.sleep(0.02))
        early = bound.done(), asyncio.get_running_loop().time()
        bound.cancel()
        return early

    store = database.SqliteDatabase(tmp_path / FILE)
    try:
        assert run_skipping_waits(work()) == (False, 0.0)
    finally:
        store.close()


async def test_long_writes_do_not_share_a_transaction_for_long(tmp_path, monkeypatch):
    monkeypatch.setattr(grouped_writes, "_HOLD", 0.0)
    with open_store(tmp_path) as store:
        asked = record_transactions(store)
        await asyncio.gather(*(store.store_facts("edge", {f"n{one}": {"k": "v"}}) for one in range(20)))
        assert asked.count("BEGIN IMMEDIATE") == 20
        assert len((await store.read_memory()).facts["edge"]) == 20
        await store.store_facts("edge", {"last": {"k": "v"}})
        assert not store._database._writes._pending


async def test_a_failed_write_undoes_none_of_those_beside_it(tmp_path):
    with open_store(tmp_path) as store:
        (step,) = plan_of_one_step().steps()
        works = [
            store.store_facts("edge", {"a": {"k": "v"}}),
            store.record_intent("gone", step, {"k": "w"}),
            store.store_facts("edge", {"b": {"k": "\ud800"}}),
            store.store_facts("edge", {"c": {"k": "v"}}),
        ]
        asked = record_transactions(store)
        first, intent, text, last = await asyncio.gather(*works, return_exceptions=True)
        assert (first, last) == (None, None)
        assert "no longer in the journal" in str(intent)
        assert "cannot store the text" in str(text)
        assert (await store.read_memory()).facts == {"edge": {"a": {"k": "v"}, "c": {"k": "v"}}}
        assert asked.count("BEGIN IMMEDIATE") <= 2


async def test_a_full_disk_fails_every_write_of_a_transaction(tmp_path):
    with open_store(tmp_path) as store:
        await store._database.read(lambda connection: connection.execute("PRAGMA max_page_count = 60"))
        large = {"key": "x" * 200_000}
        works = [
            store.store_facts("edge", {"a": {"k": "v"}}),
            store.store_facts("edge", {"b": {"k": "v"}}),
            store.store_facts("edge", {"c": large}),
            store.store_facts("edge", {"d": {"k": "v"}}),
        ]
        ends = await asyncio.gather(*works, return_exceptions=True)
        kept = set((await store.read_memory()).facts.get("edge", {}))
    assert isinstance(ends[2], StateError)
    assert kept == {node for node, end in zip("abcd", ends, strict=True) if end is None}


async def test_a_write_whose_caller_was_cancelled_before_its_turn_is_not_made(tmp_path):
    with open_store(tmp_path) as store:
        held = threading.Event()
        store._database._thread.submit(held.wait)
        task = asyncio.create_task(store.store_facts("edge", {"a": {"k": "v"}}))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        held.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await store.read_memory()).facts == {}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("SQLITE_READONLY_DBMOVED", "it cannot be written"),
        ("SQLITE_CANTOPEN_ISDIR", "it cannot be opened"),
        ("SQLITE_IOERR_FSYNC", "the disk reports an error"),
        ("SQLITE_BUSY", "another process kept it locked"),
        ("SQLITE_CORRUPT_INDEX", "it is damaged"),
        ("SQLITE_SCHEMA", "it cannot be used: strange"),
    ],
)
def test_every_error_of_sqlite_has_a_message_and_a_remedy(name, words):
    error = sqlite3.OperationalError("strange")
    error.sqlite_errorname = name
    told = translate_sqlite_error(Path("/state/state.sqlite"), error)
    assert words in told.message
    assert "/state/state.sqlite" in told.message
    assert told.remedy


def test_intents_are_on_disk_when_written(tmp_path):
    with open_store(tmp_path) as store:
        file = store._database._thread.submit(
            lambda: (
                store._database._connection.execute("PRAGMA synchronous").fetchone()[0],
                store._database._connection.execute("PRAGMA journal_mode").fetchone()[0],
            )
        )
        assert file.result() == (2, "wal")


def test_the_state_folder_is_private(tmp_path):
    folder = tmp_path / "state"
    open_store(folder).close()
    assert folder.stat().st_mode & 0o077 == 0


def test_processes_that_start_together_create_one_store(tmp_path):
    program = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from reconciler.core.plan import Plan, Revision\n"
        "from reconciler.ports.store import RunStart\n"
        "from reconciler.store.factory import open_store\n"
        "with open_store(Path(sys.argv[1])) as store:\n"
        "    plan = Plan(Revision('s', 'i', 'i'), 'p', ())\n"
        "    for _ in range(5): asyncio.run(store.begin_run(RunStart('command', plan)))\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "state")]) for _ in range(3)]
    assert [process.wait(timeout=60) for process in running] == [0, 0, 0]
    with sqlite3.connect(tmp_path / "state" / FILE) as file:
        assert file.execute("SELECT count(*) FROM run").fetchone() == (15,)
    file.close()
