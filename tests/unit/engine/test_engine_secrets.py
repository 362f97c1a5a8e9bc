"""A step whose payload lacks a secret is not performed, and what a node quotes of one is masked."""

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

from support_driver import NOWHERE, FakeDriver, FakeNode, Wish, World, cluster, set_of

from reconciler.core.diff import Change, Op
from reconciler.core.history import Memory
from reconciler.core.observation import Observed, Present
from reconciler.core.outcome import State
from reconciler.core.plan import Payload
from reconciler.core.secret import MASK, Secret
from reconciler.errors import NodeRefused
from reconciler.planning.withheld import withhold
from reconciler.rollout.step_executor import Bench, perform
from reconciler.secrets.redact import Redactor


class Quoting(FakeDriver):
    """A product whose node quotes what it was sent."""

    async def act(self, step, transports, payloads):
        clear = payloads["p"].document["key"].value
        raise NodeRefused(step.node, f"it does not like {clear}", status=400, code="E1")


def _prepared(payload):
    world = World({"n": "old"})
    driver = Quoting(world)
    plan = driver.plan(
        Wish(cluster("c", {"n": FakeNode(name="n", value="new")})), Observed({"n": Present("old")})
    )
    (step,) = plan.steps
    step = replace(step, arguments=replace(set_of(step), payload="p"))
    intents = []

    async def intend(step):
        intents.append(step.id)

    log = SimpleNamespace(intend=intend)
    return world, step, Bench(driver, NOWHERE, {"p": payload}, log, asyncio.Event()), intents


async def test_what_lacks_a_secret_is_neither_intended_nor_sent():
    payload = Payload({}, missing={"${env:A} at /key": "A is not set; set A"})
    world, step, bench, intents = _prepared(payload)
    ending = await perform(step, bench)
    assert ending.outcome.state is State.SKIPPED
    assert "${env:A} at /key" in ending.outcome.reason
    assert "set A" in ending.outcome.reason
    assert (intents, world.acts) == ([], [])


async def test_a_node_that_quotes_a_secret_is_not_quoted():
    _, step, bench, _ = _prepared(Payload({"key": Secret("clear-text", "${env:A}")}))
    ending = await perform(step, bench)
    assert ending.outcome.state is State.FAILED
    assert f"it does not like {MASK}" in ending.outcome.reason
    assert "clear-text" not in ending.outcome.reason + ending.answer


def test_scrubbing_takes_the_longest_first_and_leaves_parts_of_words():
    assert Redactor(["abcd", "abcd-efgh", "a", ""]).text("abcd-efgh abcd a") == f"{MASK} {MASK} a"


async def test_what_a_node_had_at_the_place_of_a_secret_is_not_quoted_either():
    _, step, bench, _ = _prepared(Payload({"key": Secret("old-clear-text", "${env:A}")}))
    step = replace(step, changes=(Change("/key", Op.REMOVE, old=Secret("old-clear-text")),))
    bench = replace(bench, payloads={"p": Payload({"key": Secret("old-clear-text")})})
    ending = await perform(step, bench)
    assert "old-clear" not in ending.outcome.reason + ending.answer


async def test_what_is_remembered_of_a_try_cannot_be_guessed_without_the_key_of_the_host():
    world = World({"n": "old"})
    wish = Wish(cluster("c", {"n": FakeNode(name="n", value="new")}))
    driver, observed = FakeDriver(world), Observed({"n": Present("old")})
    plan = driver.plan(wish, observed)
    kept = []
    for key in (b"", b"one", b"two"):
        memory = Memory(at=datetime(2026, 1, 1, tzinfo=UTC), key=key)
        found = withhold(plan, wish, observed, driver, memory=memory, content="c", in_waves=False)
        kept.append(json.loads(next(iter(found.attempts[plan.steps[0].id].values())))["aim"])
    assert len(set(kept)) == 3
    assert kept[0] == driver.aim(plan.steps[0], driver.contents(wish))
