"""A polled rollout that is killed before or after any of its writes goes on with the same wave."""

from contextlib import asynccontextmanager

import pytest
from support.driver import NOON, Killed
from support.polled_nodes import PolledSite, make_revision

from reconciler.core.rollout_rules import Rollout
from reconciler.errors import GuardRefusal
from reconciler.store.factory import open_store

NEXT = make_revision("1111111")


class Strike:
    """Kills the run on one side of its write of a given number; counts the writes."""

    def __init__(self):
        self.left, self.after, self.writes = -1, False, 0

    @asynccontextmanager
    async def __call__(self, step):
        self.writes += 1
        due = self.left == 0
        self.left -= 1
        if due and not self.after:
            raise Killed
        yield
        if due:
            raise Killed


class Killable:
    """A site whose store is opened anew after a kill."""

    def __init__(self, folder, **rollout):
        self.folder, self.rollout = folder, rollout
        self.strike = Strike()
        self.site = None

    @asynccontextmanager
    async def opened(self):
        sites = []
        with open_store(self.folder, clock=lambda: sites[0].time, around=self.strike) as store:
            before = self.site
            self.site = PolledSite(
                store, rollout=Rollout(**self.rollout), time=before.time if before else NOON
            )
            sites.append(self.site)
            if before:
                self.site.nodes = before.nodes
            yield self.site


async def run_until_killed(place, wanted, passes, **more):
    """Passes with polls in between; whether one was killed."""
    async with place.opened() as site:
        for _ in range(passes):
            try:
                await site.apply(wanted(site), **more)
            except Killed:
                return True
            strike, place.strike.left = place.strike.left, -1
            await site.later(5, *"abcd")
            place.strike.left = strike
    return False


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_rollout_that_is_killed_at_any_write_reaches_every_node_canary_first(tmp_path, after):
    for number in range(200):
        place = Killable(tmp_path / str(number), canary=1, waves=["100%"])
        async with place.opened() as site:
            await site.store.enrol("barn", "fake", list("abcd"))
            for name in "abcd":
                await site.poll(name)
        place.strike.left, place.strike.after = number, after
        killed = await run_until_killed(place, lambda site: site.wanted(), 4)
        place.strike.left = -1
        if place.site.values["b"] == "new":
            assert place.site.values["a"] == "new"
        assert not await run_until_killed(place, lambda site: site.wanted(), 5)
        assert place.site.values == dict.fromkeys("abcd", "new"), f"write {number}"
        async with place.opened() as site:
            assert await site.rejected() == []
            assert await site.progress() is None
            assert not await site.store.is_open("barn")
        if not killed:
            assert number > 20
            return
    raise AssertionError("the rollout has more writes than expected")


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_newer_commit_that_is_killed_at_any_write_never_leaves_the_older_offer_to_a_later_wave(
    tmp_path, after
):
    for number in range(200):
        place = Killable(tmp_path / str(number), waves=2)
        async with place.opened() as site:
            await site.store.enrol("barn", "fake", list("abcd"))
            for name in "abcd":
                await site.poll(name)
            await site.apply()  # a and b are offered `new`, and have not taken it
        place.strike.left, place.strike.after = number, after
        killed = await run_until_killed(place, lambda site: site.wanted("newer"), 4, revision=NEXT)
        place.strike.left = -1
        assert not await run_until_killed(place, lambda site: site.wanted("newer"), 6, revision=NEXT)
        assert place.site.values == dict.fromkeys("abcd", "newer"), f"write {number}"
        if not killed:
            return
    raise AssertionError("the rollout has more writes than expected")


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_way_back_that_is_killed_at_any_write_never_goes_forward_again(tmp_path, after):
    returned = 0
    for number in range(200):
        place = Killable(tmp_path / str(number), waves=2, on_failure="return")
        async with place.opened() as site:
            await site.store.enrol("barn", "fake", list("abcd"))
            for name in "abcd":
                await site.poll(name)
            await site.apply()
            site.nodes["b"].fails = "no room"
            await site.later(5, *"abcd")
        place.strike.left, place.strike.after = number, after
        killed, refused = False, 0
        for left in (number, -1, -1):
            place.strike.left = left
            async with place.opened() as site:
                try:
                    await site.apply()
                except Killed:
                    killed = True
                except GuardRefusal:  # the revision is rejected
                    refused += 1
                place.strike.left = -1
                site.nodes["b"].fails = ""
                await site.later(5, *"abcd")
                assert site.values["c"] == site.values["d"] == "old"
                assert site.values["b"] == "old"
        returned += place.site.values["a"] == "old"
        assert refused
        if not killed:
            assert place.site.values["a"] == "old"
            return
    raise AssertionError("the way back has more writes than expected")
