"""Trials with files, restarts and upgrades: writes that break anywhere, kills at each write, many seeds."""

import pytest
from support.machine_trials import FIRST, MachineTrials, tell

from reconciler.fault_trials.fault_schedule import ScheduledCrash
from reconciler.fault_trials.setup import prepare_trial
from reconciler.fault_trials.subprocess_runner import run_subprocess_trials


@pytest.fixture
def trials(tmp_path):
    return MachineTrials(tmp_path)


def test_a_write_may_break_anywhere(trials):
    """Each byte of it: `tests/unit/simulation/test_machine_endpoint.py`; here whole runs for some of them."""
    trials.without_upgrade()
    size = len(trials.expected_conf(FIRST))
    for count in (*range(0, size, 9), size):
        verdict = trials.play(f"faults:\n  - {{fault: torn, node: '{FIRST}', argument: {count}}}\n")
        assert verdict.breaches == (), f"{count} bytes\n{tell(verdict)}"
        assert any(f"torn{f':{count}' if count else ''}@files" in line for line in verdict.story)


@pytest.mark.parametrize("is_upgraded", [True, False], ids=["upgrade", "restart"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_the_reconciler_may_die_at_each_write(trials, is_upgraded, after):
    if not is_upgraded:
        trials.without_upgrade()
    for write in range(1, 200):
        verdict = trials.play("faults: []\nreruns: 1\n", crashes=(ScheduledCrash(write, after),))
        assert verdict.breaches == (), f"write {write}\n{tell(verdict)}"
        if not verdict.died:
            break
    assert 20 < write < 199, "every write of the runs was met"


def test_the_process_may_be_killed_when_a_change_arrives(trials):
    for change in (1, 4, 8):
        script = trials.read(f"faults:\n  - {{fault: sigkill, at: {{change: {change}}}}}\n")
        verdicts = []
        run_subprocess_trials(script, prepare_trial(script), 1, verdicts.append)
        (verdict,) = verdicts
        assert verdict.breaches == (), tell(verdict)
        assert verdict.died == 1


@pytest.mark.parametrize("start", [100, 120])
def test_many_random_schedules_hold(trials, start):
    for seed in range(start, start + 20):
        verdict = trials.play("random: {faults: 8, kills: 3}\nreruns: 4\n", seed)
        assert verdict.breaches == (), f"seed {seed}\n{tell(verdict)}"
