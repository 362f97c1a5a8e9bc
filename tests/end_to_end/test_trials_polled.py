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
from reconciler.fault_trials import trial
from reconciler.fault_trials.breaches import TrialEvidence, find_breaches
from reconciler.fault_trials.fault_schedule import FaultMoment, ScheduledFault, draw_schedule
from reconciler.fault_trials.recorder import ServedOffer, TrialRecorder
from reconciler.fault_trials.scenario import read_scenario
from reconciler.fault_trials.setup import prepare_trial
from reconciler.fault_trials.subprocess_runner import run_subprocess_trials
from reconciler.fault_trials.trial import run_trial
from reconciler.simulation.addresses import find_free_addresses
from reconciler.simulation.faults import Fault, FaultKind, FaultScope
from reconciler.simulation.node_host import Simulation

EXAMPLES = Path(__file__).parents[2] / "examples/faults"


@pytest.fixture
def folder(tmp_path):
    """The example, at free addresses."""
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
    return tmp_path


@pytest.fixture
def play(folder):
    """Runs one schedule of the example."""

    def run(seed=1, *, calm=False, faults=()):
        script = read_scenario(folder / "polled.yaml")
        setup = prepare_trial(script)
        schedule = draw_schedule(script, setup.find_targets(), seed)
        if calm or faults:
            schedule = replace(schedule, faults=tuple(faults), crashes=())
        return run_trial(setup, schedule, DRIVERS)

    return run


def said(verdict):
    return {breach.invariant for breach in verdict.breaches}


@pytest.mark.parametrize("seed", range(1, 7))
def test_nodes_that_poll_reach_the_commit_whatever_happens(play, seed):
    verdict = play(seed)
    assert said(verdict) == set(), "\n".join(verdict.story[-60:])
    assert any("calls package: answered 200" in line for line in verdict.story)


def test_a_commit_that_a_node_refused_is_tried_again_after_the_faults(monkeypatch, play):
    verdict = play(65)
    assert said(verdict) == set(), "\n".join(verdict.story[-60:])
    assert any("an operator tries the rejected revision again" in line for line in verdict.story)
    monkeypatch.setattr(trial, "RETRIES", 0)
    assert said(play(65)) == {"converged"}


def test_commits_that_are_rejected_again_and_again_are_found(monkeypatch, play):
    monkeypatch.setattr(Simulation, "clear", lambda _: None)
    refusal = Fault(FaultKind.REFUSE, on=FaultScope.CHANGES)
    verdict = play(faults=[ScheduledFault("edge-01", refusal, FaultMoment("run"))])
    assert said(verdict) == {"converged"}
    tried = [line for line in verdict.story if "an operator tries the rejected revision again" in line]
    assert len(tried) == trial.RETRIES


def test_a_killed_reconciler_applies_what_is_tried_again(folder):
    scenario = folder / "killed.yaml"
    scenario.write_text(
        "name: Killed\nfleet: polled\nbefore: {fleet: polled-before, converged: true}\n"
        "faults: [{fault: refuse, node: edge-03}, {fault: sigkill, at: {journal: 5}}]\nreruns: 4\n"
    )
    script, verdicts = read_scenario(scenario), []
    run_subprocess_trials(script, prepare_trial(script), 1, verdicts.append)
    assert [said(one) for one in verdicts] == [set()]
    assert any("an operator tries the rejected revision again" in line for line in verdicts[0].story)


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
