"""Trials with Go nodes: faults are survived, and what a wrong driver does is found."""

import re
import shutil
from pathlib import Path

import pytest
from support.machine_trials import list_breaches, tell

from reconciler.core.step_status import StepStatus, StepVerdict
from reconciler.drivers.gocluster.product import GoClusterDriver
from reconciler.drivers.gocluster.simulator.oracle import LISTENERS, QUORUM
from reconciler.drivers.registry import DRIVERS
from reconciler.fault_trials.fault_schedule import draw_schedule
from reconciler.fault_trials.scenario import CONVERGED, HISTORY_TRUE, read_scenario
from reconciler.fault_trials.setup import prepare_trial
from reconciler.fault_trials.trial import run_trial
from reconciler.simulation.addresses import find_free_addresses

EXAMPLES = Path(__file__).parents[2] / "examples/faults"
BEFORE = "fleet: mesh\nbefore: {fleet: mesh-before, converged: true}\n"


@pytest.fixture
def play(tmp_path):
    """A function: the verdict of a scenario's schedule, at free addresses; of the example without a text."""
    ports = [str(place.port) for place in find_free_addresses(4)]
    for name in ("mesh", "mesh-before"):
        shutil.copytree(EXAMPLES / name, tmp_path / name)
        file = tmp_path / name / "fleet.yaml"
        file.write_text(re.sub(r"\b1350(\d)\b", lambda found: ports[int(found[1]) - 1], file.read_text()))

    def run(text="", seed=None, *, drivers=DRIVERS):
        path = tmp_path / "scenario.yaml"
        path.write_text(f"name: x\n{BEFORE}{text}" if text else (EXAMPLES / "gocluster.yaml").read_text())
        script = read_scenario(path)
        setup = prepare_trial(script)
        schedule = draw_schedule(script, setup.find_targets(), script.scenario.seed if seed is None else seed)
        return run_trial(setup, schedule, drivers)

    return run


def test_the_example_holds(play):
    verdict = play()
    assert verdict.breaches == (), tell(verdict)
    assert sum("run the command restart-app" in line for line in verdict.story) >= 4


FAULTS = {
    "a full disk in every run": "{fault: full, node: node-2, count: null}",
    "a lost answer of a switch": "{fault: lost, node: node-1, at: {change: 2}, only: files}",
    "a restart that does not come back": "{fault: down, node: node-1}",
    "restarts without an answer": "{fault: lost, node: node-3, only: commands, count: 2}",
    "a node that dies during the run": "{fault: killed, node: node-4, at: {change: 2, to: node-1}}",
    "a node behind a login page": "{fault: garbage, node: node-2, count: 4}",
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_changed_settings_survive(play, fault):
    verdict = play(f"faults:\n  - {fault}\nreruns: 2\n")
    assert verdict.breaches == (), tell(verdict)


@pytest.mark.parametrize("choice", ["unknown_names=refuse", "unknown_manager=empty", "duplicate_name=first"])
def test_it_holds_whatever_the_documents_leave_open(play, choice):
    faults = "faults:\n  - {fault: down, node: node-2}\n"
    verdict = play(f"{faults}choices: ['gocluster.{choice}']\nreruns: 2\n")
    assert verdict.breaches == (), tell(verdict)


@pytest.mark.parametrize("seed", range(1, 5))
def test_random_faults_hold(play, seed):
    verdict = play("random: {faults: 6, kills: 2}\nreruns: 3\n", seed)
    assert verdict.breaches == (), tell(verdict)


class WrongDriver(GoClusterDriver):
    """A driver that does something else beside each restart."""

    def __init__(self, act):
        super().__init__()
        self._act = act

    def with_host_config(self, config):
        return self

    async def act(self, step, transports, payloads):
        if step.action == "restart":
            await self._act(step, transports)
        return await super().act(step, transports, payloads)


async def stop_another(step, ways):
    """Of four nodes two are left, and one of those that are left shows that."""
    if step.node == "node-1":
        await ways.commands.run("stop-app", {}, node="node-2")
        url = f"{step.arguments.apis['node-3']}/api/v1/cluster/node-3"
        await ways.http.send("GET", url, node="node-3", timeout=5)


def test_a_lost_quorum_is_found(play):
    verdict = play("faults: []\n", drivers={**DRIVERS, "gocluster": WrongDriver(stop_another)})
    assert QUORUM in list_breaches(verdict), tell(verdict)
    assert LISTENERS not in list_breaches(verdict)


def test_a_restart_that_never_was_is_found(play):

    class Sleepy(GoClusterDriver):
        judge = staticmethod(lambda step, seen: StepVerdict(StepStatus.DONE, ""))

        def with_host_config(self, config):
            return self

    verdict = play("faults: []\n", drivers={**DRIVERS, "gocluster": Sleepy()})
    assert list_breaches(verdict) & {CONVERGED, HISTORY_TRUE}, tell(verdict)
