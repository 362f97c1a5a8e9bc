"""A state is backed up while it is written, restored as a whole, and says what it does not know any more."""

import asyncio
import os
import sqlite3
import stat
from datetime import UTC, datetime, timedelta

import pytest
from support.commands import run_program
from support.offers import NOON, make_draft

from reconciler.core.actor import Actor
from reconciler.core.fleet_matching import FleetIdentity
from reconciler.core.offers import OfferFeed
from reconciler.core.plan import Plan, Revision
from reconciler.core.roles import AccessRole, Grant
from reconciler.ports.access_store import AccessToken, LoginSession
from reconciler.ports.node_store import CallRecord
from reconciler.ports.store import RunStart
from reconciler.store.factory import open_store
from reconciler.store.sqlite import FILE

ONE = "a1" * 32


class State:
    def __init__(self, folder, capsys):
        self.folder, self.capsys = folder / "state", capsys
        self.backup = folder / "backup"

    def run(self, *arguments, status=0):
        return run_program(self.capsys, *arguments, "--state", self.folder, status=status)

    def orders(self):
        with open_store(self.folder) as store:
            return asyncio.run(store.orders())


@pytest.fixture
def state(tmp_path, capsys):
    return State(tmp_path, capsys)


def test_a_backup_made_while_a_run_writes_is_whole_and_closed_to_others(state):
    with open_store(state.folder) as store:
        asyncio.run(store.suspend("edge", "it looks odd", Actor("kim")))
        assert "0 runs" in state.run("state", "backup", state.backup)
        asyncio.run(store.suspend("late", "after the backup", Actor("kim")))
    assert stat.S_IMODE(state.backup.stat().st_mode) == 0o600
    assert [one.name for one in state.backup.parent.iterdir() if "backup" in one.name] == ["backup"]
    assert ": no damage found; 0 runs" in state.run("state", "check", state.backup)
    assert ": no damage found; 0 runs" in state.run("state", "check")
    told = state.run("state", "restore", state.backup)
    assert "no longer known: suspension of cluster late: after the backup" in told
    assert {one.cluster for one in state.orders().suspensions} == {"", "edge"}


def test_a_restored_state_holds_everything_up_and_takes_no_approval_over(state):
    with open_store(state.folder) as store:
        asyncio.run(store.approve(ONE, Actor("kim"), "looked at it"))
    state.run("state", "backup", state.backup)
    told = state.run("state", "restore", state.backup)
    assert "All clusters are suspended, and all approvals are dropped." in told
    found = state.orders()
    assert found.approvals == ()
    (everywhere,) = found.suspensions
    assert "restored from a backup until" in everywhere.reason
    (aside,) = state.folder.glob("state-before-*.sqlite")
    aside.rename(state.folder / FILE)
    assert [one.digest for one in state.orders().approvals] == [ONE]


def test_no_token_and_no_session_of_a_backup_counts(state):
    now = datetime.now(UTC)
    grants = (Grant(AccessRole.LOOK, ("*",)),)
    token = AccessToken("ci", grants, now + timedelta(days=9), now, Actor("kim"))
    session = LoginSession("kim", "oidc", (), timedelta(hours=1), now + timedelta(hours=9))

    async def fill(store):
        await store.create_access_token("d1", token)
        await store.begin_session("d2", session)

    async def use(store):
        return await store.use_access_token("d1"), await store.use_session("d2")

    with open_store(state.folder) as store:
        asyncio.run(fill(store))
        assert None not in asyncio.run(use(store))
    state.run("state", "backup", state.backup)
    state.run("state", "restore", state.backup)
    with open_store(state.folder) as store:
        assert asyncio.run(use(store)) == (None, None)


def test_a_backup_is_restored_on_another_host(state):
    state.run("suspend", "edge", "--reason", "r")
    state.run("state", "backup", state.backup)
    state.folder = state.folder.with_name("elsewhere")
    assert "The state before" not in state.run("state", "restore", state.backup)
    assert {one.cluster for one in state.orders().suspensions} == {"", "edge"}
    assert stat.S_IMODE((state.folder / FILE).stat().st_mode) == 0o600


def test_a_state_that_is_in_use_is_not_replaced(state):
    state.run("suspend", "--reason", "r")
    state.run("state", "backup", state.backup)
    with open_store(state.folder) as store:
        assert "is in use by another process" in state.run("state", "restore", state.backup, status=1)
        asyncio.run(store.suspend("edge", "goes on", Actor("kim")))
    assert {one.cluster for one in state.orders().suspensions} == {"", "edge"}


def test_runs_that_a_backup_does_not_have_are_named(state):
    state.run("suspend", "--reason", "r")
    state.run("state", "backup", state.backup)
    with open_store(state.folder, name=lambda: "20261121-034455-k7fm") as store:
        asyncio.run(
            store.record_refused_run(
                RunStart("command", Plan(Revision("/repo", "a", "a"), "0.1.0", ())), "refused"
            )
        )
    assert "no longer known: run 20261121-034455-k7fm" in state.run("state", "restore", state.backup)


def test_what_is_damaged_foreign_newer_or_missing_is_neither_sound_nor_restored(state, tmp_path):
    state.run("suspend", "--reason", "r")
    state.run("state", "backup", state.backup)
    whole = state.backup.read_bytes()
    files = {"damaged": whole[:4096] + os.urandom(len(whole) - 4096), "cut": whole[: len(whole) // 2]}
    files |= {"foreign": b"no database", "empty": b""}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    for name, statement in (
        ("newer", "PRAGMA user_version = 99"),
        ("trigger", "CREATE TRIGGER t AFTER DELETE ON fact BEGIN DELETE FROM run; END"),
    ):
        (tmp_path / name).write_bytes(whole)
        with sqlite3.connect(tmp_path / name) as connection:
            connection.execute(statement)
        connection.close()
    before = (state.folder / FILE).read_bytes()
    for name in (*files, "newer", "trigger", "missing"):
        assert "→" in state.run("state", "check", tmp_path / name, status=1)
        state.run("state", "restore", tmp_path / name, status=1)
    assert (state.folder / FILE).read_bytes() == before


def test_a_record_that_no_version_wrote_is_found_and_told_without_a_trace(state):
    state.run("suspend", "edge", "--reason", "r")
    for key, value in (("nodes", "many"), ("applied", "{"), ("suspended", "{}")):
        state.run("state", "backup", state.backup)
        for file in (state.folder / FILE, state.backup):
            with sqlite3.connect(file) as connection:
                row = (0, "edge", "", key, value, "2026-11-21T12:00:00Z")
                connection.execute("INSERT OR REPLACE INTO fact VALUES (?, ?, ?, ?, ?, ?)", row)
            connection.close()
        told = state.run("state", "check", status=1)
        assert f"the state file {state.folder / FILE} has a record that cannot be read" in told, key
        assert "has a record that cannot be read" in state.run("state", "check", state.backup, status=1)
        assert "has a record that cannot be read" in state.run("state", "restore", state.backup, status=1)
        with sqlite3.connect(state.folder / FILE) as connection:
            connection.execute("DELETE FROM fact WHERE key = ?", (key,))
        connection.close()
        state.backup.unlink()


def test_an_emptied_state_is_no_new_one(state):
    state.run("suspend", "--reason", "r")
    with open_store(state.folder) as store:
        assert asyncio.run(store.read_memory()).key
    for beside in state.folder.glob(f"{FILE}*"):
        beside.write_bytes(b"")
    for command in (("suspend", "--reason", "r"), ("history",), ("state", "check")):
        assert "→" in state.run(*command, status=1)
    assert "its records are lost" in state.run("history", status=1)


def test_a_damaged_state_is_found_and_can_be_replaced_by_a_backup(state):
    state.run("suspend", "edge", "--reason", "r")
    state.run("state", "backup", state.backup)
    file = state.folder / FILE
    file.write_bytes(file.read_bytes()[:4096] + os.urandom(8192))
    assert "damaged" in state.run("state", "check", status=1)
    state.run("state", "backup", state.backup.with_name("second"), status=1)
    assert not state.backup.with_name("second").exists()
    state.run("state", "restore", state.backup)
    assert ": no damage found" in state.run("state", "check")


def test_a_backup_replaces_nothing_and_needs_a_state(state):
    assert "there is no state file" in state.run("state", "backup", state.backup, status=1)
    state.run("suspend", "--reason", "r")
    state.backup.symlink_to("nowhere")
    assert "already exists" in state.run("state", "backup", state.backup, status=1)
    missing = state.backup.parent / "missing/backup"
    assert "cannot be written" in state.run("state", "backup", missing, status=1)


def test_records_of_nodes_that_the_key_of_this_host_does_not_decrypt_are_told(state):
    async def fill(store):
        own = await store.enter_fleet(FleetIdentity("/srv/ours"))
        await own.enrol("c", "m2", ["a", "b"])
        await own.offer(make_draft("a", b"setting"), "run", "revision")
        await own.record_calls(
            [
                CallRecord(fleet=1, cluster="c", node="b", at=NOON, kind="heartbeat.feedback", body=b"{}"),
                CallRecord(fleet=1, cluster="c", node="b", at=NOON, feed=OfferFeed.SETTING),
            ]
        )

    with open_store(state.folder) as store:
        asyncio.run(fill(store))
    assert ": no damage found" in state.run("state", "check")
    state.run("state", "backup", state.backup)
    (state.folder / "host.key").unlink()
    assert ": no damage found" in state.run("state", "check", state.backup), "the key is not part of it"
    told = state.run("state", "check", status=1)
    assert "2 records of nodes that poll cannot be decrypted with the key of this host" in told
    assert "restore host.key" in told
