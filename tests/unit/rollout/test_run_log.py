"""The order of the journal: the intent before the call, the whole outcome in one write after it."""

from contextlib import asynccontextmanager

import pytest
from support.driver import NOWHERE, FakeDriver, World, cluster, fleet

from reconciler.core.entries import FeedbackEntry
from reconciler.core.outcome import State
from reconciler.errors import StateError
from reconciler.planning.plan_pass import run_plan_pass
from reconciler.ports.listener import PassListener
from reconciler.rollout import run_log
from reconciler.rollout.apply_pass import run_apply_pass
from reconciler.store.factory import open_reader, open_store

STEP = "edge/a/set"


class Events(PassListener):
    """The events of a run, in order; at each call another reader finds the intent on disk."""

    def __init__(self, url):
        self.url = url
        self.log = []

    @asynccontextmanager
    async def around(self, step):
        yield
        self.log.append(f"write intent of {step}" if step else "write")

    def on_run_begun(self, run):
        self.log.append("begun")

    def on_step_started(self, step):
        self.log.append("started")

    def on_step_ended(self, outcome):
        self.log.append(f"announced {outcome.state}")

    async def called(self):
        self.log.append("call")
        ((entry,),) = [record.entries for record in await self.on_disk()]
        assert entry.intended is not None
        assert entry.state is None

    async def on_disk(self):
        with open_reader(self.url) as reader:
            return [await reader.run(line.id) for line in await reader.runs()]


class Called(FakeDriver):
    """Records when a node is called."""

    def __init__(self, world, events):
        super().__init__(world)
        self.events = events

    async def act(self, step, transports, payloads):
        await self.events.called()
        return await super().act(step, transports, payloads)


async def run(events):
    drivers = {"fake": Called(World({"a": "old"}), events)}
    wanted = fleet(cluster("edge", {"a": "new"}), feedback=FeedbackEntry(url="http://sink.example/"))
    with open_store(events.url, around=events.around) as store:
        seen = await run_plan_pass(wanted, drivers=drivers, transports=NOWHERE)
        return await run_apply_pass(seen, drivers=drivers, transports=NOWHERE, journal=store, listener=events)


async def test_the_intent_is_on_disk_before_the_call_and_the_outcome_before_it_is_announced(tmp_path):
    events = Events(f"sqlite://{tmp_path}")
    assert (await run(events)).is_success
    assert events.log == [
        "write",  # the run
        "begun",
        "started",
        f"write intent of {STEP}",
        "call",
        "write",  # its outcome, with facts and message
        "announced done",
        "write",  # the end of the run
        "write",  # what the pass established
    ]
    ((entry,),) = [record.entries for record in await events.on_disk()]
    assert entry.state is State.DONE


async def test_an_outcome_its_facts_and_its_message_are_written_together_or_not_at_all(tmp_path, monkeypatch):
    whole, torn = Events(f"sqlite://{tmp_path}/whole"), Events(f"sqlite://{tmp_path}/torn")
    await run(whole)
    monkeypatch.setattr(run_log, "encode_canonical", lambda _: object())  # a message that no database takes
    with pytest.raises(StateError):
        await run(torn)
    assert torn.log[-1] == "call"
    found = {}
    for events in (whole, torn):
        (record,) = await events.on_disk()
        with open_reader(events.url) as reader:
            facts = (await reader.read_memory()).facts.values()
        learned = {key for nodes in facts for own in nodes.values() for key in own} - {"attempt/set"}
        (entry,) = record.entries
        found[events] = (entry.state, bool(learned), len(record.messages))
    assert found == {whole: (State.DONE, True, 1), torn: (None, False, 0)}
