"""Trials of nodes that are told by documents of Firestore: late, repeated and poisoned messages."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.drivers.registry import DRIVERS
from reconciler.fault_trials.fault_schedule import draw_schedule
from reconciler.fault_trials.scenario import read_scenario
from reconciler.fault_trials.setup import prepare_trial
from reconciler.fault_trials.trial import run_trial
from reconciler.fault_trials.trial_bus import TrialBus
from reconciler.simulation.addresses import find_free_addresses

EXAMPLES = Path(__file__).parents[2] / "examples/faults"


@pytest.fixture
def play(tmp_path):
    """Runs one schedule of the example, at free addresses."""
    places = find_free_addresses(3)
    for folder in ("firestore", "firestore-before"):
        shutil.copytree(EXAMPLES / folder, tmp_path / folder)
        file = tmp_path / folder / "fleet.yaml"
        text = file.read_text()
        for number, place in enumerate(places, 1):
            text = text.replace(f"127.0.0.1:1017{number}", str(place))
        file.write_text(text)
    shutil.copy(EXAMPLES / "firestore.yaml", tmp_path)

    def run(seed, *, calm=False):
        script = read_scenario(tmp_path / "firestore.yaml")
        setup = prepare_trial(script)
        schedule = draw_schedule(script, setup.find_targets(), seed)
        if calm:
            schedule = replace(schedule, faults=(), crashes=())
        return run_trial(setup, schedule, DRIVERS)

    return run


def said(verdict):
    return {breach.invariant for breach in verdict.breaches}


def test_each_node_is_told_once_where_nothing_happens(play):
    verdict = play(1, calm=True)
    assert said(verdict) == set(), "\n".join(verdict.story[-60:])
    assert sum("published offer" in line for line in verdict.story) == 3


@pytest.mark.parametrize("seed", range(1, 5))
def test_nodes_reach_the_commit_whatever_happens_to_messages(play, seed):
    verdict = play(seed)
    assert said(verdict) == set(), "\n".join(verdict.story[-60:])
    assert any("published offer" in line for line in verdict.story)


def test_a_bus_that_loses_what_it_acknowledged_is_found(play, monkeypatch):
    monkeypatch.setattr(TrialBus, "deliver", lambda self, simulation: [])
    assert "converged" in said(play(1, calm=True))
