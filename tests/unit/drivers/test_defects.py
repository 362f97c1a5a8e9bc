"""A defect that one node's answer brings out is that node's alone: the others go on."""

import json
import logging

import pytest
from support import m2_wire as m2
from support.sora_clusters import TODAY, entry, full, verbs
from support.sora_clusters import WorldWire as SoraWire

from reconciler.core.defect import describe_defect
from reconciler.core.json_reader import JsonLimits, read_json
from reconciler.core.observation import Liveness, Present, Unreachable
from reconciler.core.step_status import StepStatus
from reconciler.drivers.m2 import client as m2_client
from reconciler.drivers.m2 import planner as m2_planner
from reconciler.drivers.m2.product import DRIVER
from reconciler.drivers.sora import client as sora_client
from reconciler.drivers.sora import observation
from reconciler.drivers.sora.product import SoraDriver
from reconciler.drivers.sora.schema import SoraDesired
from reconciler.drivers.sora.simulator.world import SoraWorld
from reconciler.errors import WriteRefused
from reconciler.ports.cluster_input import ClusterInput
from reconciler.ports.transport import Transports
from reconciler.rollout.polling import assess_step

NODES = ("edge-01", "edge-02", "edge-03")
DEFECTS = [KeyError, IndexError, RecursionError, TypeError, UnicodeError, OverflowError]
CHANGED = m2.setting(meta__version="B", env__management__cluster__balance={"mode": "hash"})


def break_for(monkeypatch, owner, name, is_chosen, error):
    """Let a function fail for what is chosen by its arguments."""
    sound = getattr(owner, name)

    def broken(*arguments, **more):
        if is_chosen(*arguments):
            raise error("hunter2")
        return sound(*arguments, **more)

    monkeypatch.setattr(owner, name, broken)


class M2Site:
    def __init__(self):
        self.wire = m2.WorldWire(m2.world(nodes=NODES))
        self.cluster_input: ClusterInput = m2.cluster_input(CHANGED, nodes=NODES)
        self.desired = DRIVER.desire(self.cluster_input)

    async def observe(self):
        return await DRIVER.observe(self.desired, Transports(self.wire))

    async def plan(self):
        return DRIVER.plan(self.desired, await self.observe())


@pytest.mark.parametrize("error", DEFECTS, ids=lambda error: error.__name__)
async def test_a_reader_of_m2_that_fails_at_one_node_leaves_the_others(monkeypatch, error):
    site = M2Site()
    chosen = lambda client, *_: client.node == "edge-02"  # noqa: E731
    break_for(monkeypatch, m2_client.Client, "_judge_setting", chosen, error)
    plan = await site.plan()
    assert [step.node for step in plan.steps] == ["edge-01", "edge-03"]
    (finding,) = plan.findings
    assert (finding.code, finding.target) == ("node-unreachable", "edge/edge-02")
    assert f"a defect of the program: {error.__name__} at " in finding.message
    assert "hunter2" not in finding.message
    assert "RECONCILE_DEBUG=1" in finding.remedy


@pytest.mark.parametrize("error", DEFECTS, ids=lambda error: error.__name__)
async def test_a_planner_of_m2_that_fails_at_one_node_leaves_the_others(monkeypatch, error):
    site = M2Site()
    chosen = lambda desired, target, *_: target.node == "edge-02"  # noqa: E731
    break_for(monkeypatch, m2_planner, "_make_step", chosen, error)
    plan = await site.plan()
    assert [step.node for step in plan.steps] == ["edge-01", "edge-03"]
    (finding,) = plan.findings
    assert "a defect of the program" in finding.message


async def test_metrics_that_bring_out_a_defect_are_left_out(monkeypatch):
    site = M2Site()
    chosen = lambda client: client.node == "edge-02"  # noqa: E731
    sound = m2_client.Client.metrics

    async def told(client):
        if chosen(client):
            raise KeyError
        return {"up": 1.0}

    assert sound is not told
    monkeypatch.setattr(m2_client.Client, "metrics", told)
    assert set(await DRIVER.health(site.desired, NODES, Transports(site.wire))) == {"edge-01", "edge-03"}


@pytest.mark.parametrize(("owner", "name"), [(m2_client.Client, "_read_delivered"), (type(DRIVER), "judge")])
async def test_a_step_whose_node_brings_out_a_defect_is_unknown(monkeypatch, owner, name):
    site = M2Site()
    step = (await site.plan()).steps[0]
    assert (await assess_step(step, DRIVER, Transports(site.wire))).status is StepStatus.READY
    break_for(monkeypatch, owner, name, lambda *_: True, KeyError)
    verdict = await assess_step(step, DRIVER, Transports(site.wire))
    assert verdict.status is StepStatus.UNKNOWN
    assert "a defect of the program: KeyError" in verdict.reason


async def test_the_trace_is_logged_for_who_debugs(monkeypatch, caplog):
    site = M2Site()
    break_for(monkeypatch, m2_client.Client, "_judge_setting", lambda client, *_: True, KeyError)
    with caplog.at_level(logging.INFO, "reconciler"):
        await site.observe()
    assert caplog.records == []
    with caplog.at_level(logging.DEBUG, "reconciler"):
        await site.observe()
    assert len(caplog.records) == 3
    assert "Traceback" in caplog.text


@pytest.mark.parametrize("error", [WriteRefused, MemoryError], ids=lambda error: error.__name__)
async def test_what_is_no_defect_of_one_node_passes_the_net(monkeypatch, error):
    site = M2Site()
    break_for(monkeypatch, m2_client.Client, "_judge_setting", lambda *_: True, error)
    with pytest.raises(error):
        await site.observe()


class SoraSite:
    def __init__(self, words, *, present="", outside=""):
        self.desired = SoraDesired(entry(words))
        everyone = " ".join(dict.fromkeys([*words.split(), *present.split()]))
        self.world = SoraWorld.from_entry(entry(everyone), True, outside=[full(o) for o in outside.split()])
        self.wire = SoraWire(self.world)
        self.driver = SoraDriver(today=lambda: TODAY)

    async def observe(self):
        return await self.driver.observe(self.desired, Transports(self.wire))

    async def plan(self):
        return self.driver.plan(self.desired, await self.observe())


@pytest.mark.parametrize("error", DEFECTS, ids=lambda error: error.__name__)
@pytest.mark.parametrize(
    ("owner", "name", "chosen"),
    [
        (sora_client.Client, "nodes", lambda client: client.node == full("b")),
        (observation, "classify_view", lambda name, _: name == full("b")),
    ],
    ids=["reading", "judging the view"],
)
async def test_a_reader_of_sora_that_fails_at_one_node_leaves_the_others(
    monkeypatch, owner, name, chosen, error
):
    site = SoraSite("a b c d", outside="d")
    break_for(monkeypatch, owner, name, chosen, error)
    seen = await site.observe()
    assert {node for node, answer in seen.nodes.items() if isinstance(answer, Present)} >= {
        full("a"),
        full("c"),
    }
    answer = seen.nodes[full("b")]
    assert isinstance(answer, Unreachable)
    assert answer.liveness is Liveness.ALIVE
    assert f"a defect of the program: {error.__name__} at " in answer.reason
    assert verbs(await site.plan()) == ["register d"]


async def test_a_new_node_that_brings_out_a_defect_is_told_with_what_helps(monkeypatch):
    site = SoraSite("a b c d e", outside="d e")
    break_for(monkeypatch, sora_client.Client, "nodes", lambda client: client.node == full("d"), KeyError)
    plan = await site.plan()
    assert verbs(plan) == ["register e"]
    (finding,) = [one for one in plan.findings if one.target == f"live/{full('d')}"]
    assert finding.code == "node-unreachable"
    assert "a defect of the program: KeyError" in finding.message
    assert "RECONCILE_DEBUG=1" in finding.remedy


async def test_a_defect_never_counts_as_silence(monkeypatch):
    site = SoraSite("a b c", present="d")
    site.world.kill(full("d"))
    assert verbs(await site.plan()) == ["purge d"]
    break_for(monkeypatch, sora_client.Client, "nodes", lambda client: client.node == full("d"), KeyError)
    plan = await site.plan()
    assert verbs(plan) == ["stop d", "purge d"]
    verdict = await assess_step(plan.steps[-1], site.driver, Transports(site.wire))
    assert verdict.status is StepStatus.CHANGED


def test_the_place_of_a_defect_is_not_in_a_library():
    with pytest.raises(ValueError) as caught:
        json.loads("{")
    assert "/test_defects.py:" in describe_defect(caught.value)
    with pytest.raises(ValueError) as caught:
        read_json(b"{", JsonLimits(size=100, values=10))
    assert describe_defect(caught.value).startswith(
        "a defect of the program: JsonError at reconciler/core/json_reader.py:"
    )
    assert describe_defect(KeyError()) == "a defect of the program: KeyError at ?:0"
