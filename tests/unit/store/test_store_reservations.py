"""The table of reservations does not grow without limit, and an open one is never dropped."""

import sqlite3
from contextlib import closing
from datetime import timedelta

from support.driver import NOON

from reconciler.core.actor import Actor
from reconciler.core.operations import Operation
from reconciler.core.reservations import ALLOW_STOP, Reservation
from reconciler.store.factory import back_up_store, open_store, restore_store
from reconciler.store.sql import reservations
from reconciler.store.sqlite import FILE


async def answer_yes(store, name):
    until = NOON + timedelta(minutes=15)
    actor = Actor("kim")
    operation = Operation(
        id=name, kind=ALLOW_STOP, cluster="c", targets=("a",), actor=actor, at=NOON, deadline=until
    )
    one = Reservation(id=name, cluster="c", node="a", actor=actor, at=NOON, until=until)
    assert await store.record_answer(operation, one, await store.see_cluster("c"))


async def test_ended_reservations_are_kept_up_to_a_number(tmp_path, monkeypatch):
    monkeypatch.setattr(reservations, "KEPT_RESERVATIONS", 2)
    with open_store(tmp_path) as store:
        await answer_yes(store, "open")
        for number in range(5):
            await answer_yes(store, f"ended-{number}")
            await store.end_reservations([f"ended-{number}"])
        assert [one.id for one in await store.reservations()] == ["open"]
    with closing(sqlite3.connect(tmp_path / FILE)) as file:
        kept = [row[0] for row in file.execute("SELECT id FROM reservation ORDER BY number")]
    assert kept == ["open", "ended-3", "ended-4"]


async def test_a_backup_has_them_and_a_restored_store_still_counts_them(tmp_path):
    """Too many nodes that count as away harm nobody; one too few may cost a majority."""
    state, backup = tmp_path / "state", tmp_path / "backup"
    with open_store(state, clock=lambda: NOON) as store:
        await answer_yes(store, "one")
    back_up_store(state, backup)
    with open_store(state, clock=lambda: NOON) as store:
        await store.end_reservations(["one"])
    restore_store(state, backup, prepare=lambda _: None, clock=lambda: NOON)
    with open_store(state, clock=lambda: NOON) as store:
        assert [one.id for one in await store.reservations("c")] == ["one"]
