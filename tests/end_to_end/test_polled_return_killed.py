"""Nodes that poll go back after a failed wave, and the pass is killed between any two writes of that."""

from contextlib import asynccontextmanager, suppress

import pytest
from support.driver import REVISION, Killed
from support.polled_nodes import PolledSite

from reconciler.core.rollout_rules import Rollout
from reconciler.errors import GuardRefusal
from reconciler.store.factory import open_store


class _Dies:
    """Kills the program before or after the nth write of a run."""

    def __init__(self):
        self.left, self.is_after = -1, False

    @asynccontextmanager
    async def __call__(self, step):
        self.left -= 1
        if self.left == 0 and not self.is_after:
            raise Killed
        yield
        if self.left == 0:
            raise Killed


@pytest.mark.parametrize("mode", ["return", "stop"])
async def test_a_kill_between_any_two_writes_of_going_back_is_finished_by_the_next_pass(tmp_path, mode):
    write, finished = 0, False
    while not finished:
        write += 1
        for is_after in (False, True):
            dies, sites = _Dies(), []
            folder = tmp_path / f"{write}-{is_after}"
            with open_store(folder, clock=lambda sites=sites: sites[0].time, around=dies) as store:
                site = PolledSite(store, rollout=Rollout(waves=3, on_failure=mode))
                sites.append(site)
                await store.enrol("barn", "fake", list("abcd"))
                for name in "abcd":
                    await site.poll(name)
                await site.apply()
                site.nodes["b"].fails = "no room"
                await site.later(5, *"ab")
                dies.left, dies.is_after = write, is_after
                try:
                    await site.apply()
                except Killed:
                    pass
                else:
                    finished = True
                dies.left = -1
                site.nodes["b"].fails = ""
                for _ in range(2):
                    with suppress(GuardRefusal):
                        await site.apply()
                await site.later(5, *"abcd")
                with suppress(GuardRefusal):
                    await site.apply()
                where = (write, is_after)
                if await site.rejected():
                    back = "old" if mode == "return" else "new"
                    assert site.values == {"a": back, "b": "old", "c": "old", "d": "old"}, where
                    memory = (await site.store.read_memory()).get_cluster_memory("barn")
                    assert memory.pending_returns == (), where
                assert await site.rejected() == [REVISION.short], where
                assert not any(run.finished is None for run in await site.store.runs()), where
    assert write > 5
