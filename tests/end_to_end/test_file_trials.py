"""Trials of file delivery: passes under random faults, judged by the real content of a simulated machine."""

import asyncio
import tempfile
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from support.driver import Killed, fleet
from support.file_product import ENTRY, FileCluster, FileDriver, FileNode, FileWorld, machine

from reconciler.planning.plan_pass import run_plan_pass
from reconciler.rollout.apply_pass import RunContext, run_apply_pass
from reconciler.rollout.recovery import settle_open_runs
from reconciler.store.factory import open_store

OLD, NEW, NEXT, HAND = b"cluster = true\n", b"cluster = false\n", b"cluster = maybe\n", b"by hand\n"
DRIVERS = {"filed": FileDriver()}

CALLS = st.sampled_from(["stage", "switch", "discard"])
FAULTS = st.sampled_from(["lost", "nothing", "killed before", "killed after"])
EVENTS = st.one_of(
    st.tuples(st.just("call"), CALLS, FAULTS),
    st.tuples(st.sampled_from(["by hand", "full", "refuses", "half", "no start", "silent"])),
)


class Trial:
    """One machine, a store, and a clock that passes move on."""

    def __init__(self, folder):
        self.now = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
        self.store = open_store(Path(folder) / "state", clock=lambda: self.now)
        self.machine = machine(OLD)
        self.restart = self.machine.commands["restart"]
        self.world = FileWorld({"a": self.machine})
        self.file = self.machine.files[ENTRY]
        self.contents = [OLD]
        stage, switch = self.world.files.below.stage, self.world.files.below.switch

        async def watched_switch(place, *, before, after):
            replaced = self.file.content
            answer = await switch(place, before=before, after=after)
            assert self.file.backup == replaced, "what was replaced is the backup"
            assert self.file.content in {NEW, NEXT}, "only a whole desired content is put in place"
            return answer

        async def watched_stage(place, content):
            held = self.file.content
            try:
                return await stage(place, content)
            finally:
                assert self.file.content == held, "staging leaves the file as it is"

        self.world.files.below.switch, self.world.files.below.stage = watched_switch, watched_stage

    def strike(self, kind, *arguments):
        match kind:
            case "call":
                self.world.files.faults[arguments[0]] = arguments[1]
            case "by hand":
                self.file.content = HAND
            case "full":
                self.file.is_full = True
            case "refuses":
                self.world.files.below.check = lambda place, content: "no"
            case "half":
                self.file.broken = 3
            case "no start":
                self.machine.commands["restart"] = lambda own, values: "it says that it has restarted"
            case "silent":
                self.machine.is_silent = True

    def calm(self):
        self.world.files.faults.clear()
        self.file.is_full, self.file.broken, self.machine.is_silent = False, None, False
        self.world.files.below.check = lambda place, content: ""
        self.machine.commands["restart"] = self.restart

    async def run_pass(self, content):
        """One pass; gives whether nothing was left to do."""
        wanted = FileCluster(
            name="hall", nodes=(FileNode(name="a", text=content.decode()),), settle=0.001, in_flight=60.0
        )
        transports = self.world.transports
        self.now += timedelta(hours=1)
        with suppress(Killed):
            await settle_open_runs(self.store, DRIVERS, transports, clock=lambda: self.now)
            seen = await run_plan_pass(
                fleet(wanted), drivers=DRIVERS, transports=transports, recalled=await self.store.read_memory()
            )
            await run_apply_pass(
                seen,
                drivers=DRIVERS,
                transports=transports,
                journal=self.store,
                run_context=RunContext(clock=lambda: self.now),
            )
            return seen.plan.is_empty and not tuple(seen.plan.findings())
        return False


async def try_events(folder, events):
    trial = Trial(folder)
    try:
        for event in events:
            trial.strike(*event)
            await trial.run_pass(NEW)
            assert trial.file.content in {OLD, NEW, HAND}
        trial.calm()
        # Another content: a refusal of the last one ends its attempts until a commit changes it.
        passes = [await trial.run_pass(NEXT) for _ in range(4)]
        assert passes[-1], "it comes to rest"
        assert (trial.file.content, trial.machine.loaded[ENTRY]) == (NEXT, NEXT)
        assert (trial.file.staged, trial.file.leftover) == (None, None)
    finally:
        trial.store.close()


@given(st.lists(EVENTS, max_size=4))
@settings(max_examples=60)
def test_whatever_happens_the_file_is_whole_and_comes_to_what_is_desired(events):
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(try_events(folder, events))
