"""The reconciler's process is killed while it changes a password of Redis, over real sockets."""

import pytest
from support.collab_trials import CollabTrials
from support.machine_trials import tell


@pytest.fixture
def trials(tmp_path):
    return CollabTrials(tmp_path).set_passwords("OLD_PASSWORD", "NEW_PASSWORD")


@pytest.mark.parametrize("change", [1, 3, 4, 10, 11])
def test_the_process_may_be_killed_when_a_change_arrives(trials, change):
    (verdict,) = trials.play_killed(f"faults:\n  - {{fault: sigkill, at: {{change: {change}}}}}\n")
    assert verdict.breaches == (), tell(verdict)
    assert verdict.died == 1
    assert any("change of Redis" in line for line in verdict.story)
