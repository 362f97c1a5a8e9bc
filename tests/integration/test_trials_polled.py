"""Trials of nodes that poll: their calls meet faults, and they are judged by what they really hold."""

import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reconciler.core import offers
from reconciler.core.step_status import StepStatus, StepVerdict
from reconciler.drivers.m2.product import M2Driver
from reconciler.drivers.registry import DRIVERS
from reconciler.fault_trials.breaches import TrialEvidence, find_breaches
from reconciler.fault_trials.fault_schedule import draw_schedule
from reconciler.fault_trials.recorder import ServedOffer, TrialRecorder
from reconciler.fault_trials.scenario import Invariant, read_scenario
from reconciler.fault_trials.setup import prepare_trial
from reconciler.fault_trials.trial import run_trial
from reconciler.simulation.addresses import find_free_addresses

EXAMPLES = Path(__file__).parents[2] / "examples/faults"


@pytest.fixture
def play(tmp_path):
    """Runs the example at free addresses."""
    for folder in ("polled", "polled-before"):
        shutil.copytree(EXAMPLES / folder, tmp_path / folder)
    places = find_free_addresses(3)
    for folder in ("polled", "polled-before"):
        file = tmp_path / folder / "fleet.yaml"
        text = file.read_text()
        for number, place in enumerate(places, 1):
            text = text.replace(f"127.0.0.1:1006{number}", str(place))
        file.write_text(text)
    shutil.copy(EXAMPLES / "polled.yaml", tmp_path)

    def run(seed=1, *, calm=False):
        script = read_scenario(tmp_path / "polled.yaml")
        setup = replace(prepare_trial(script), invariants=tuple(Invariant))
        schedule = draw_schedule(script, setup.find_targets(), seed)
        if calm:
            schedule = replace(schedule, faults=(), crashes=())
        return run_trial(setup, schedule, DRIVERS)

    return run


def said(verdict):
    return {breach.invariant for breach in verdict.breaches}


@pytest.mark.parametrize("seed", range(1, 7))
def test_nodes_that_poll_reach_the_commit_whatever_happens(play, seed):
    verdict = play(seed)
    assert said(verdict) == set(), "\n".join(verdict.story[-60:])
    assert any("calls package: answered 200" in line for line in verdict.story)


def test_a_server_that_never_answers_an_offer_is_found(monkeypatch, play):
    monkeypatch.setattr(offers.Offer, "is_visible", lambda *_: False)
    assert "converged" in said(play(calm=True))


def test_an_offer_that_counts_as_done_when_it_is_made_is_found(monkeypatch, play):
    monkeypatch.setattr(M2Driver, "judge", lambda *_: StepVerdict(StepStatus.DONE))
    assert said(play(calm=True)) & {"history-true", "converged"}


def test_what_a_node_is_offered_is_held_against_its_dates_and_the_history():
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    recorder = TrialRecorder(lambda: noon, {})
    recorder.served.append(ServedOffer("edge", "edge-01", "r1", "edge/edge-01/offer", noon, noon))
    found = find_breaches(TrialEvidence(recorder, [], noon))
    assert [breach.invariant for breach in found] == ["offers-in-order"] * 2
    assert "after" in found[0].words
    assert "no intent" in found[1].words
