"""Go clusters are changed under random faults and kills: as desired at the end, no quorum lost by a call."""

import pytest
from support.gocluster_trials import GoTrials
from support.machine_trials import tell

CHANGES = {
    "one joins two": lambda trials: trials.join(2, 1),
    "one joins three": lambda trials: trials.join(3, 1),
    "two join three": lambda trials: trials.join(3, 2),
    "one leaves three": lambda trials: trials.leave(3, 1),
    "one leaves four": lambda trials: trials.leave(4, 1),
    "one leaves five": lambda trials: trials.leave(5, 1),
    "other settings": lambda trials: trials.change(5, ping="4s"),
    "another secret": lambda trials: trials.change(secret="${env:RECONCILE_SECRET_B}"),
    "another certificate": lambda trials: trials.change(tlsCertificate="b.pem"),
    "TLS": lambda trials: trials.change(tls=True),
}
COMMANDS = ("run the command restart-app", "run the command start-app", "run the command stop-app")


@pytest.fixture
def trials(tmp_path):
    return GoTrials(tmp_path)


def list_commands(verdict):
    found = (word for line in verdict.story for word in COMMANDS if word in line)
    return [word.rpartition(" ")[2].removesuffix("-app") for word in found]


@pytest.mark.parametrize(
    ("change", "commands"),
    [
        ("one joins three", ["start", *["restart"] * 3]),
        ("one leaves four", ["restart", "restart", "stop", "restart"]),
        ("one leaves five", ["stop", *["restart"] * 4]),
        ("another secret", [*["stop"] * 4, *["start"] * 4]),
        ("another certificate", [*["stop"] * 4, *["start"] * 4]),
    ],
)
def test_without_faults_each_change_has_its_order(trials, change, commands):
    CHANGES[change](trials)
    verdict = trials.play("faults: []\n")
    assert verdict.breaches == (), tell(verdict)
    assert list_commands(verdict) == commands


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("change", CHANGES)
def test_each_change_survives_random_faults_and_kills(trials, change, seed):
    CHANGES[change](trials)
    verdict = trials.play(seed=seed)
    assert verdict.breaches == (), tell(verdict)


def test_nodes_that_are_stopped_for_another_secret_are_started_after_a_kill(trials):
    CHANGES["another secret"](trials)
    for number in range(2, 11):
        verdict = trials.play(f"faults:\n  - {{fault: sigkill, at: {{change: {number}}}}}\nreruns: 2\n")
        assert verdict.breaches == (), tell(verdict)
