"""What a run writes down, in which order: the intent before the call, all of an outcome at once after it."""

from contextlib import asynccontextmanager

import pytest
from support.driver import NOWHERE, FakeDriver, World, cluster, fleet

from reconciler.core.entries import FeedbackEntry
from reconciler.core.outcome import State
from reconciler.errors import StateError
from reconciler.planning.plan_pass import run_plan_pass
from reconciler.ports.listener import SilentListener
from reconciler.rollout import run_log
from reconciler.rollout.apply_pass import run_apply_pass
from reconciler.store.factory import open_reader, open_store

STEP = "edge/a/set"


class Course(SilentListener):
    """All that happens in a run, in order, with what another process finds on disk at each call."""

    def __init__(self, url):
        self.url = url
        self.events = []

    @asynccontextmanager
    async def around(self, step):
        yield
        self.events.append(f"write intent of {step}" if step else "write")

    def begun(self, run):
        self.events.append("begun")

    def started(self, step):
        self.events.append("started")

    def ended(self, outcome):
        self.events.append(f"told {outcome.state}")

    async def called(self):
        self.events.append("call")
        ((entry,),) = [record.entries for record in await self.on_disk()]
        assert entry.intended is not None
        assert entry.state is None

    async def on_disk(self):
        with open_reader(self.url) as reader:
            return [await reader.run(line.id) for line in await reader.runs()]


class Called(FakeDriver):
    """Tells when a node is called."""

    def __init__(self, world, course):
        super().__init__(world)
        self.course = course

    async def act(self, step, transports, payloads):
        await self.course.called()
        return await super().act(step, transports, payloads)


async def run(course):
    drivers = {"fake": Called(World({"a": "old"}), course)}
    wanted = fleet(cluster("edge", {"a": "new"}), feedback=FeedbackEntry(url="http://sink.example/"))
    with open_store(course.url, around=course.around) as store:
        seen = await run_plan_pass(wanted, drivers=drivers, transports=NOWHERE)
        return await run_apply_pass(seen, drivers=drivers, transports=NOWHERE, journal=store, listener=course)


async def test_the_intent_is_on_disk_before_the_call_and_everybody_hears_after_the_outcome_is(tmp_path):
    course = Course(f"sqlite://{tmp_path}")
    assert (await run(course)).succeeded
    assert course.events == [
        "write",  # the run
        "begun",
        "started",
        f"write intent of {STEP}",
        "call",
        "write",  # its outcome, with facts and message
        "told done",
        "write",  # the end of the run
        "write",  # what the pass established
    ]
    ((entry,),) = [record.entries for record in await course.on_disk()]
    assert entry.state is State.DONE


async def test_an_outcome_its_facts_and_its_message_are_written_together_or_not_at_all(tmp_path, monkeypatch):
    whole, torn = Course(f"sqlite://{tmp_path}/whole"), Course(f"sqlite://{tmp_path}/torn")
    await run(whole)
    monkeypatch.setattr(run_log, "encode_canonical", lambda _: object())  # a message that no database takes
    with pytest.raises(StateError):
        await run(torn)
    assert torn.events[-1] == "call"
    found = {}
    for course in (whole, torn):
        (record,) = await course.on_disk()
        with open_reader(course.url) as reader:
            facts = (await reader.recall()).facts.values()
        learnt = {key for nodes in facts for own in nodes.values() for key in own} - {"attempt/set"}
        (entry,) = record.entries
        found[course] = (entry.state, bool(learnt), len(record.messages))
    assert found == {whole: (State.DONE, True, 1), torn: (None, False, 0)}
