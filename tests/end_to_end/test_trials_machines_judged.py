"""Trials with files, restarts and upgrades: faults are survived, and what a wrong driver does is found."""

import pytest
from support.machine_trials import FIRST, SECOND, THIRD, MachineTrials, list_breaches, tell

from reconciler.core.step_status import StepStatus, StepVerdict
from reconciler.drivers.registry import DRIVERS
from reconciler.drivers.sora import conf_delivery, judge
from reconciler.drivers.sora.arguments import RestartArguments, read_cluster_arguments
from reconciler.drivers.sora.product import SoraDriver
from reconciler.drivers.sora.simulator.oracle import MAJORITY
from reconciler.errors import InputError
from reconciler.fault_trials.fault_schedule import draw_schedule
from reconciler.fault_trials.scenario import CONVERGED, HISTORY_TRUE, ONCE
from reconciler.fault_trials.setup import prepare_trial
from reconciler.file_delivery.content import WholeFile
from reconciler.file_delivery.steps import is_file_step
from reconciler.ports.driver import StepAnswer
from reconciler.ports.simulator import FILES_KEPT


@pytest.fixture
def trials(tmp_path):
    return MachineTrials(tmp_path)


@pytest.mark.parametrize("example", ["sora-conf", "sora-upgrade", "m2-restart"])
def test_the_examples_hold(trials, example):
    verdict = trials.play(example)
    assert verdict.breaches == (), tell(verdict)
    assert any("gets run the command" in line for line in verdict.story)


FAULTS = {
    "a connection that breaks before the first byte": f"{{fault: torn, node: '{FIRST}'}}",
    "a connection that breaks at the last byte": f"{{fault: torn, node: '{FIRST}', argument: 150}}",
    "a full disk in every run": f"{{fault: full, node: '{SECOND}', count: null}}",
    "a check that refuses": f"{{fault: refuse, node: '{FIRST}', only: files}}",
    "a lost answer of a switch": f"{{fault: lost, node: '{FIRST}', at: {{change: 2}}, only: files}}",
    "a change by hand": f"{{fault: edited, node: '{FIRST}', at: {{change: 2}}}}",
    "a restart that does not come back": f"{{fault: down, node: '{FIRST}'}}",
    "a command without an answer": f"{{fault: lost, node: '{THIRD}', only: commands, count: 2}}",
    "a command that takes long": f"{{fault: works, node: '{FIRST}', only: commands, argument: 45}}",
    "a node that dies before another is restarted": (
        f"{{fault: killed, node: '{SECOND}', at: {{change: 2, to: '{FIRST}'}}}}"
    ),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_file_and_its_restarts_survive(trials, fault):
    trials.without_upgrade()
    verdict = trials.play(f"faults:\n  - {fault}\n")
    assert verdict.breaches == (), tell(verdict)
    assert any("run the command restart-sora" in line for line in verdict.story), "or nothing was tried"


@pytest.mark.parametrize("seed", range(1, 6))
def test_random_faults_hold(trials, seed):
    verdict = trials.play("random: {faults: 6, kills: 2}\nreruns: 3\n", seed)
    assert verdict.breaches == (), tell(verdict)


class WrongDriver(SoraDriver):
    """A driver that does something else at a restart."""

    def __init__(self, act):
        super().__init__()
        self._act = act

    def with_host_config(self, config):
        return self

    async def act(self, step, transports, payloads):
        if not is_file_step(step):
            own = read_cluster_arguments(step)
            if isinstance(own, RestartArguments):
                await self._act(own, transports)
        return await super().act(step, transports, payloads)


async def restart_twice(own, ways):
    await ways.commands.run(own.command, own.values, node=own.target)


async def restart_another(own, ways):
    if own.target == FIRST:
        await ways.commands.run(own.command, own.values, node=SECOND)


WRONG = {
    "a second restart": (restart_twice, ONCE),
    "a restart of another node": (restart_another, "nothing-lost"),
}


@pytest.mark.parametrize(("act", "invariant"), WRONG.values(), ids=WRONG)
def test_a_wrong_restart_is_found(trials, act, invariant):
    trials.without_upgrade()
    verdict = trials.play("faults: []\n", drivers={**DRIVERS, "sora": WrongDriver(act)})
    assert invariant in list_breaches(verdict), tell(verdict)


def make_reckless_driver(*, with_reading):
    """One that takes another node down before its restart."""

    async def act(own, ways):
        if own.target == FIRST:
            await ways.commands.run(own.command, own.values, node=SECOND)
            if with_reading:
                headers = {"x-sora-target": "Sora_20211215.ListClusterNodes"}
                await ways.http.send("POST", own.witnesses[THIRD], node=THIRD, timeout=5, headers=headers)

    return {**DRIVERS, "sora": WrongDriver(act)}


@pytest.mark.parametrize("with_reading", [True, False])
def test_a_restart_that_costs_the_majority_is_found(trials, with_reading):
    """Unless nobody could know that the other node had failed."""
    trials.without_upgrade()
    faults = f"faults:\n  - {{fault: down, node: '{SECOND}'}}\n"
    verdict = trials.play(faults, drivers=make_reckless_driver(with_reading=with_reading))
    assert (MAJORITY in list_breaches(verdict)) is with_reading, tell(verdict)


def test_lost_lines_are_found(trials, monkeypatch):
    whole = WholeFile(("cluster_relay = false\n",))
    monkeypatch.setattr(conf_delivery, "make_content", lambda *_: whole)
    verdict = trials.play("faults: []\n")
    assert FILES_KEPT in list_breaches(verdict), tell(verdict)


def test_a_restart_that_never_was_is_found(trials):
    trials.without_upgrade()

    class Sleepy(SoraDriver):
        def with_host_config(self, config):
            return self

        @staticmethod
        def judge(step, observed):
            if is_file_step(step) or not isinstance(read_cluster_arguments(step), RestartArguments):
                return judge.judge(step, observed)
            return StepVerdict(StepStatus.DONE, "")

        async def act(self, step, transports, payloads):
            if is_file_step(step) or not isinstance(read_cluster_arguments(step), RestartArguments):
                return await super().act(step, transports, payloads)
            return StepAnswer("it says so")

    verdict = trials.play("faults: []\n", drivers={**DRIVERS, "sora": Sleepy()})
    assert {HISTORY_TRUE, CONVERGED} <= list_breaches(verdict), tell(verdict)


@pytest.mark.parametrize("fault", ["{fault: torn, node: edge-01}", "{fault: edited, node: edge}"])
def test_a_fault_of_files_needs_files(trials, fault):
    script = trials.read(f"faults:\n  - {fault}\n")
    with pytest.raises(InputError, match="no file or command of the fleet file is for edge"):
        draw_schedule(script, prepare_trial(script).find_targets(), 1)
