"""The reconciler's process is killed at every write of its journal, over HTTP with the real drivers."""

import pytest
from support.killed_trials import EVERY, make_scenario_writer, play


@pytest.fixture
def scenario(tmp_path):
    return make_scenario_writer(tmp_path)


def test_nothing_is_done_twice_or_lost_wherever_the_process_is_killed(scenario):
    verdicts = play(scenario(EVERY))
    assert [str(breach) for verdict in verdicts for breach in verdict.breaches] == []
    assert len(verdicts) >= 2 * (1 + 2 + 2 + 1)  # the run, two intents, two outcomes, the end: each side
    assert {verdict.died for verdict in verdicts} == {1}
    assert {verdict.changes for verdict in verdicts} == {2}
    assert {verdict.runs for verdict in verdicts} >= {3}
