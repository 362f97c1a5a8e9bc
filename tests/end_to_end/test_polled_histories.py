"""Any history of polls, commits, delays, suspensions and kills ends with every node at the newest commit."""

import asyncio
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.driver import Killed
from support.polled_nodes import LASTS, Polled, PolledSite, make_revision

from reconciler.core.actor import Actor
from reconciler.core.rollout_rules import Rollout
from reconciler.errors import GuardRefusal
from reconciler.store.factory import open_store

NAMES = "abc"

EVENTS = st.one_of(
    st.tuples(st.just("poll"), st.sampled_from(NAMES)),
    st.tuples(st.just("take and be late"), st.sampled_from(NAMES)),
    st.tuples(st.just("load late"), st.sampled_from(NAMES)),
    st.tuples(st.just("look"), st.just("")),
    st.tuples(st.just("be killed"), st.sampled_from(NAMES)),
    st.tuples(st.just("commit"), st.sampled_from(["v1", "v2", "v3"])),
    st.tuples(st.just("wait"), st.sampled_from([1.0, LASTS / 2, LASTS + 1.0])),
    st.tuples(st.just("suspend"), st.just("")),
    st.tuples(st.just("resume"), st.just("")),
)


class Dying(Polled):
    """Killed in the offer to one node."""

    def __init__(self, node):
        super().__init__()
        self.node = node

    async def act(self, step, transports, payloads):
        if step.node == self.node:
            raise Killed
        return await super().act(step, transports, payloads)


class History:
    """A site, and what was committed and offered so far."""

    def __init__(self, site):
        self.site, self.value, self.number = site, "v1", 0
        self.is_suspended = False
        self.late = {}

    async def run(self, driver=None):
        site = self.site
        site.driver = driver or Polled()
        try:
            await site.apply(site.wanted(self.value), revision=make_revision(f"{self.number:07x}"))
        except (GuardRefusal, Killed):
            pass
        else:
            if not self.is_suspended:
                # Whatever can be taken now is of the newest commit.
                found = await self._find_open()
                assert set(found.values()) <= {self.value}, f"{found} is open after {self.value}"
        site.driver = Polled()

    async def _find_open(self):
        changes = await self.site.store.read_changes(0)
        open_ones = {}
        for (_, _, node), feeds in changes.offers.items():
            for current, _ in feeds.values():
                if current.taken is None and current.is_visible(self.site.time):
                    open_ones[node] = (await self.site.store.parts(current))[0].decode()
        return open_ones

    async def happen(self, what, value):
        await getattr(self, what.replace(" ", "_"))(value)

    async def poll(self, node):
        taken = await self.site.poll(node)
        assert not (taken and self.is_suspended), "a suspended offer was taken"

    async def take_and_be_late(self, node):
        taken = await self.site.poll(node, loads=False)
        if taken:
            self.late[node] = (await self.site.store.parts(taken))[0].decode()

    async def load_late(self, node):
        if node in self.late:
            self.site.nodes[node].value = self.late.pop(node)

    async def look(self, _):
        await self.run()

    async def be_killed(self, node):
        await self.run(Dying(node))

    async def commit(self, value):
        self.value, self.number = value, self.number + 1

    async def wait(self, seconds):
        await self.site.later(seconds)

    async def suspend(self, _):
        await self.site.store.suspend("barn", "night", Actor())
        self.is_suspended = True

    async def resume(self, _):
        if self.is_suspended:
            await self.site.store.resume("barn", Actor())
        self.is_suspended = False


async def play(folder, events):
    sites = []
    with open_store(Path(folder), clock=lambda: sites[0].time) as store:
        site = PolledSite(store, names=NAMES, rollout=Rollout(canary=1, waves=["100%"]))
        sites.append(site)
        await store.enrol("barn", "fake", list(NAMES))
        for name in NAMES:
            await site.poll(name)
        history = History(site)
        for what, value in events:
            await history.happen(what, value)
        await history.happen("resume", "")
        for name in NAMES:
            await history.happen("load late", name)
        for _ in range(12):
            await site.later(LASTS / 3, *NAMES)
            await history.run()
        assert site.values == dict.fromkeys(NAMES, history.value)
        assert await site.rejected() == []
        assert not await store.is_open("barn")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(EVENTS, max_size=14))
def test_any_history_ends_with_every_node_at_the_newest_commit(events):
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(folder, events))
