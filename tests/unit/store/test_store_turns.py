"""Writers of one process take turns: nobody overtakes, and nobody waits for a sleep of SQLite."""

import asyncio
import gc
import subprocess
import sys
import threading
import time
import weakref

import pytest

from reconciler.store.factory import open_store
from reconciler.store.sqlite.turns import Turns, share_turns


def test_turns_are_taken_in_the_order_of_asking():
    turns, order, threads = Turns(), [], []

    def write(name):
        with turns.take():
            order.append(name)

    with turns.take():
        for name in range(5):
            thread = threading.Thread(target=write, args=(name,))
            thread.start()
            while len(turns._waiting) <= name:
                pass
            threads.append(thread)
    for thread in threads:
        thread.join(5)
    assert order == [0, 1, 2, 3, 4]
    assert not turns._is_taken


def test_a_turn_ends_with_an_error_too():
    turns = Turns()
    with pytest.raises(ValueError, match="x"), turns.take():
        raise ValueError("x")
    with turns.take():
        pass


def test_turns_are_those_of_one_file_as_long_as_it_is_open(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    own = share_turns(tmp_path / "state")
    assert share_turns(tmp_path / "link" / "state") is own
    assert share_turns(tmp_path / "other") is not own
    gone = weakref.ref(own)
    del own
    gc.collect()
    assert gone() is None


async def test_two_stores_of_one_process_write_alternately(tmp_path):
    order = []

    async def write(store, name):
        for number in range(20):
            await store.store_facts("edge", {name: {"k": str(number)}})
            order.append(name)

    with open_store(tmp_path) as first, open_store(tmp_path) as second:
        await asyncio.gather(write(first, "a"), write(second, "b"))
    assert max(len(run) for run in "".join(order).replace("ab", "a b").replace("ba", "b a").split()) <= 12


OTHER = """
import sys, time
from pathlib import Path
from reconciler.store.sqlite.turns import share_turns
turns, end = share_turns(Path(sys.argv[1])), time.monotonic() + 20
while time.monotonic() < end:
    with turns.take():
        print(".", end="", flush=True)
        time.sleep(0.005)
"""


def test_a_process_that_writes_again_and_again_leaves_every_second_turn_to_others(tmp_path):
    (tmp_path / "state.lock").touch()
    turns = share_turns(tmp_path / "state")
    other = subprocess.Popen([sys.executable, "-c", OTHER, tmp_path / "state"], stdout=subprocess.PIPE)
    with other, other.stdout:
        try:
            other.stdout.read(1)
            for _ in range(20):
                before = time.monotonic()
                with turns.take():
                    assert time.monotonic() - before < 1
        finally:
            other.kill()
    before = time.monotonic()
    with turns.take():  # a killed process has no turn
        assert time.monotonic() - before < 1


def test_turns_of_one_process_go_on_without_a_lock_file(tmp_path):
    with share_turns(tmp_path / "nowhere" / "state").take():
        pass
