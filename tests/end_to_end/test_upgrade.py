"""The steps of docs/upgrade.md, from the tables of every earlier version: copied, migrated, used, undone."""

import sqlite3
from contextlib import closing

import pytest
from support.commands import run_program, write_files
from support.m2_settings import managed_setting

from reconciler.store.sqlite import rekeying, schema

FLEET = "clusters: [{name: edge, kind: m2, setting: s.json, nodes: [{name: n0, address: '127.0.0.1:1'}]}]\n"


def write_store(file, version):
    """The file that a program with this version of the tables left."""
    file.parent.mkdir(mode=0o700)
    with closing(sqlite3.connect(file)) as store:
        rekeying.define_functions(store, lambda: b"key")
        for statements in schema.MIGRATIONS[:version]:
            for statement in statements:
                store.execute(statement)
        store.execute(f"PRAGMA application_id = {schema.APPLICATION}")
        store.execute(f"PRAGMA user_version = {version}")
        store.commit()
    file.chmod(0o600)


def read_version(file):
    with closing(sqlite3.connect(file)) as store:
        return store.execute("PRAGMA user_version").fetchone()[0]


@pytest.mark.parametrize("version", range(1, len(schema.MIGRATIONS)))
def test_the_state_of_each_earlier_version_is_upgraded_as_the_page_says(version, tmp_path, capsys):
    state, newest = tmp_path / "state", len(schema.MIGRATIONS)
    write_store(state / "state.sqlite", version)
    fleet = write_files(tmp_path / "fleet", {"fleet.yaml": FLEET, "s.json": managed_setting("a.example")})
    examine = ("doctor", fleet, "--state", state)
    assert f"schema version {version}: this program will migrate it to {newest}" in " ".join(
        run_program(capsys, *examine, status=1).split()
    )
    assert read_version(state / "state.sqlite") == version
    run_program(capsys, "state", "backup", tmp_path / "before.sqlite", "--state", state)
    assert read_version(tmp_path / "before.sqlite") == version
    run_program(capsys, "history", "--state", state)
    assert read_version(state / "state.sqlite") == newest
    assert f"schema version {newest}, no fault" in run_program(capsys, *examine, status=1)
    # Back: the older program gets the copy, which this one can still read.
    run_program(capsys, "state", "restore", tmp_path / "before.sqlite", "--state", state)
    assert "no fault" in run_program(capsys, *examine, status=1)
