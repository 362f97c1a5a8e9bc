"""Trials: the real engine over real HTTP against simulated nodes, judged by the nodes' own record."""

import json
from dataclasses import replace

import pytest
from support.m2_settings import MANAGEMENT

from reconciler.core.outcome import State
from reconciler.drivers.m2.product import M2Driver
from reconciler.drivers.registry import DRIVERS
from reconciler.drivers.sora.arguments import InitArguments
from reconciler.drivers.sora.product import SoraDriver
from reconciler.errors import InputError, NodeUnreachable
from reconciler.fault_trials.fault_schedule import draw_schedule
from reconciler.fault_trials.scenario import Invariant, read_scenario
from reconciler.fault_trials.setup import prepare_trial
from reconciler.fault_trials.trial import run_trial
from reconciler.ports.simulator import SimulatedWorld
from reconciler.rollout.recovery import StepRecovery
from reconciler.simulation.addresses import find_free_addresses
from reconciler.simulation.node_host import Simulation
from reconciler.store.sqlite.store import SqliteStore

SORA = [f"node-0{number}@sora-0{number}.example.com" for number in range(1, 6)]


def setting(version, mode):
    management = {**MANAGEMENT, "cluster": {"balance": {"mode": mode}}}
    return {"meta": {"version": version}, "env": {"management": management}}


@pytest.fixture
def scene(tmp_path):
    """Writes a fleet of two M2 nodes and up to five Sora nodes, and scenarios for it."""
    places = [str(place) for place in find_free_addresses(7)]

    def write(scenario, *, sora=3, folder="fleet", version="2"):
        edge = [{"name": f"edge-0{one + 1}", "address": places[one]} for one in range(2)]
        live = [{"name": SORA[one], "api": f"http://{places[2 + one]}/"} for one in range(sora)]
        clusters = [
            {"name": "edge", "kind": "m2", "setting": "s.json", "concurrency": 1, "nodes": edge},
            {
                "name": "live",
                "kind": "sora",
                "initialise": True,
                "stop": {"command": "touch"},
                "nodes": live,
            },
        ]
        clusters[0]["timeouts"] = clusters[1]["timeouts"] = {"settle": 20}
        (tmp_path / folder).mkdir(exist_ok=True)
        fleet = {"feedback": {"url": "http://192.0.2.1/never"}, "clusters": clusters}
        (tmp_path / folder / "fleet.json").write_text(json.dumps(fleet))
        (tmp_path / folder / "s.json").write_text(json.dumps(setting(version, "rr")))
        path = tmp_path / "scenario.yaml"
        path.write_text(scenario)
        return read_scenario(path)

    return write


def model(script, seed=1, drivers=DRIVERS):
    stage = prepare_trial(script)
    return run_trial(stage, draw_schedule(script, stage.find_targets(), seed), drivers)


def said(verdict):
    return [str(breach) for breach in verdict.breaches]


FAULTS = {
    "a lost answer": "{fault: lost, node: edge-01}",
    "a lost answer of an initialisation": "{fault: lost, node: live}",
    "a change that comes twice": "{fault: duplicate, node: live}",
    "a stale node": "{fault: stale, node: edge-01, at: {change: 1}, count: 4}",
    "a node that never answers": "{fault: silent, node: edge-02, count: 3}",
    "a slow node": "{fault: slow, node: edge-02, argument: 25, count: 2}",
    "a node that is cut off": f"{{fault: isolated, node: {SORA[1]}, at: {{change: 1, to: live}}}}",
    "a restart in the middle": "{fault: restarted, node: edge-01, argument: 5, at: {change: 1}}",
    "a node that goes down": f"{{fault: killed, node: {SORA[2]}, at: {{step: edge/edge-01/upload}}}}",
    "garbage late in a run": "{fault: garbage, node: edge, at: {journal: 4}, count: 2}",
    "errors after a while": "{fault: error, node: live, at: {after: 1s}, argument: 503, count: 3}",
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_every_invariant_holds_under_one_fault(scene, fault):
    verdict = model(scene(f"name: x\nfleet: fleet\nfaults: [{fault}]\n"))
    assert said(verdict) == [], "\n".join(verdict.story)
    assert any("fault: " in line for line in verdict.story), verdict.story
    assert verdict.changes >= 3


def test_the_choices_of_a_product_reach_its_nodes(scene):
    script = scene("name: x\nfleet: fleet\nchoices: [m2.late=4]\nfaults: [{fault: lost, node: edge}]\n")
    late, plain = model(script), model(scene("name: x\nfleet: fleet\nfaults: [{fault: lost, node: edge}]\n"))
    assert said(late) == [], "\n".join(late.story)
    assert late.requests > plain.requests


def test_the_table_of_joined_products_is_what_their_worlds_are(scene):
    stage = prepare_trial(scene("name: x\nfleet: fleet\n"))
    simulation = Simulation(stage.machines, DRIVERS)
    for cluster_input in stage.machines.cluster_inputs:
        own = type(simulation.world(cluster_input.entry.name)).isolate is not SimulatedWorld.isolate
        assert own == DRIVERS[cluster_input.entry.kind].simulator().has_peer_links


def test_waiting_costs_nothing_and_takes_its_time(scene):
    """The node shows old answers for good, so that the whole settle time passes, by the trial's clock."""
    fault = "{fault: stale, node: edge-01, at: {change: 1}, count: null}"
    verdict = model(scene(f"name: x\nfleet: fleet\nfaults: [{fault}]\n"))
    assert said(verdict) == [], "\n".join(verdict.story)
    assert any("1 failed" in line for line in verdict.story), verdict.story


def test_a_cluster_grows_and_a_dead_node_is_replaced(scene, tmp_path):
    before = f"{{fleet: before, converged: true, fresh: [{SORA[3]}], down: [{SORA[1]}]}}"
    scene("name: before", sora=4, folder="before", version="1")
    script = scene(f"name: x\nfleet: fleet\nbefore: {before}\n", sora=4)
    fleet = tmp_path / "fleet/fleet.json"
    plain = json.loads(fleet.read_text())
    plain["clusters"][1]["nodes"] = [
        node for node in plain["clusters"][1]["nodes"] if node["name"] != SORA[1]
    ]
    fleet.write_text(json.dumps(plain))
    verdict = model(script)
    assert said(verdict) == [], "\n".join(verdict.story)
    asked = "\n".join(verdict.story)
    assert "RegisterClusterNode: changes it" in asked
    assert "PurgeClusterNode: changes it" in asked


def test_a_command_that_stops_a_node_is_performed_by_the_simulated_machine_and_nothing_is_run_here(
    scene, tmp_path
):
    scene("name: before", sora=5, folder="before", version="2")
    verdict = model(scene("name: x\nfleet: fleet\nbefore: {fleet: before, converged: true}\n", sora=4))
    assert said(verdict) == [], "\n".join(verdict.story)
    assert any(f"{SORA[4]} gets run the command" in line for line in verdict.story), verdict.story
    assert not (tmp_path / "ran").exists()


RANDOM = "name: x\nfleet: fleet\nrandom: {faults: 4, kills: 2}\n"


def test_a_seed_gives_the_same_schedule_and_the_same_course(scene):
    script = scene(RANDOM)
    one, two = model(script, seed=7), model(script, seed=7)
    assert list(one.schedule.lines()) == list(two.schedule.lines())
    assert one.story == two.story
    assert list(model(script, seed=8).schedule.lines()) != list(one.schedule.lines())


def test_random_schedules_hold(scene):
    script = scene(RANDOM)
    verdicts = [model(script, seed=seed) for seed in range(20)]
    assert [said(verdict) for verdict in verdicts if verdict.breaches] == []
    assert sum(verdict.died for verdict in verdicts) > 10


class SendsAgain(M2Driver):
    """A defect: no answer is taken for no effect."""

    async def act(self, step, transports, payloads):
        try:
            return await super().act(step, transports, payloads)
        except NodeUnreachable:
            return await super().act(step, transports, payloads)


class BelievesTheAnswer(M2Driver):
    """A defect: what does not show is said to be done, once it was sent."""

    sent = False

    async def act(self, step, transports, payloads):
        self.sent = True
        return await super().act(step, transports, payloads)

    def judge(self, step, seen):
        verdict = super().judge(step, seen)
        return replace(verdict, status="done") if self.sent else verdict


class Forgets(SoraDriver):
    """A defect: nodes that show the membership are said not to."""

    def judge(self, step, seen):
        verdict = super().judge(step, seen)
        return replace(verdict, status="changed") if verdict.status == "done" else verdict


DEFECTS = {
    "send again": (SendsAgain, "m2", Invariant.ONCE),
    "believe the answer": (BelievesTheAnswer, "m2", Invariant.HISTORY_TRUE),
    "deny what shows": (Forgets, "sora", Invariant.HISTORY_TRUE),
}


@pytest.mark.parametrize(("defect", "kind", "invariant"), DEFECTS.values(), ids=DEFECTS)
def test_random_schedules_find_a_planted_defect(scene, defect, kind, invariant):
    script = scene("name: x\nfleet: fleet\nrandom: {faults: 4, kills: 0, kinds: [lost, cut, error]}\n")
    verdicts = (model(script, seed=seed, drivers={**DRIVERS, kind: defect()}) for seed in range(30))
    assert any(breach.invariant == invariant for verdict in verdicts for breach in verdict.breaches)


def test_a_call_without_an_intent_is_found(scene, monkeypatch):
    async def nothing(self, run, step, facts=None):
        """The intent is not written."""

    monkeypatch.setattr(SqliteStore, "record_intent", nothing)
    found = {breach.invariant for breach in model(scene("name: x\nfleet: fleet\n")).breaches}
    assert Invariant.NOTHING_LOST in found


def test_a_run_that_is_settled_without_reading_is_found(scene, monkeypatch):
    async def believed(self, entry, record):
        return State.DONE, "it was on its way", None, True

    monkeypatch.setattr(StepRecovery, "_read_state", believed)
    script = scene("name: x\nfleet: fleet\nrandom: {faults: 0, kills: 2}\n")
    verdicts = (model(script, seed=seed) for seed in range(20))
    assert any(one.invariant == Invariant.HISTORY_TRUE for verdict in verdicts for one in verdict.breaches)


def test_a_second_initialisation_is_found(scene):
    class Init(SoraDriver):
        """A defect: a node that is to be registered is initialised."""

        async def act(self, step, transports, payloads):
            plain = {**step.arguments.plain(), "names": [step.node], "spends": "", "single": []}
            plain |= {"word": {"name": "initialise", "reason": "", "until": ""}, "clear": True, "anew": False}
            plain |= {"knowledge": "known", "earlier": [], "intent_facts": {}}
            for key in ("target", "contact", "again", "temporary"):
                del plain[key]
            arguments = InitArguments.load(plain)
            return await super().act(replace(step, action="init", arguments=arguments), transports, payloads)

    before = f"{{converged: true, fresh: [{SORA[3]}]}}"
    script = scene(f"name: x\nfleet: fleet\nbefore: {before}\n", sora=4)
    assert model(script).breaches == ()
    breaches = model(script, drivers={**DRIVERS, "sora": Init()}).breaches
    assert Invariant.INIT_ONCE in {breach.invariant for breach in breaches}


def test_an_invariant_that_is_not_asked_for_is_not_judged(scene):
    fault = f"{{fault: killed, node: {SORA[0]}, at: {{run: 2}}}}"
    down = scene(f"name: x\nfleet: fleet\nbefore: {{down: [edge-01]}}\nfaults: [{fault}]\n")
    assert [breach.invariant for breach in model(down).breaches] == [Invariant.CONVERGED]
    asked = scene("name: x\nfleet: fleet\nbefore: {down: [edge-01]}\ninvariants: [once, majority]\n")
    assert model(asked).breaches == ()


BAD = {
    "faults: [{fault: lots, node: edge-01}]": (3, "did you mean `lost`?"),
    "faults: [{fault: lost, node: edge-09}]": (3, "there is no node or cluster 'edge-09'"),
    "faults: [{fault: lost, node: edge-01, at: {change: 1, run: 2}}]": (3, "one of request, change"),
    "faults: [{fault: halfway, node: edge-01}]": (3, "do not talk to each other"),
    "faults: [{fault: error, argument: 200, node: edge-01}]": (3, "invalid argument"),
    "faults: [{fault: sigkill}]": (3, "sigkill takes"),
    "faults:\n- {fault: lost, node: edge-01, at: {journal: every}}": (4, "for sigkill alone"),
    "before: {down: [edge-07]}": (3, "there is no node 'edge-07'"),
    "choices: [m2.lateness=3]": (3, "unknown choice 'lateness'"),
    "sead: 3": (3, "did you mean `seed`?"),
}


@pytest.mark.parametrize(("text", "line", "words"), [(text, *rest) for text, rest in BAD.items()], ids=BAD)
def test_a_mistake_is_named_with_its_place(scene, text, line, words):
    with pytest.raises(InputError) as raised:
        model(scene(f"name: x\nfleet: fleet\n{text}\n"))
    (problem,) = raised.value.problems
    assert (problem.position.line, problem.position.file.rpartition("/")[2]) == (line, "scenario.yaml")
    assert words in f"{problem.message} {problem.remedy}"
