"""The reconciler is killed at writes of its journal and at changes, over HTTP with the real drivers."""

import json
import subprocess
import sys

import pytest
from support.killed_trials import EVERY, make_scenario_writer, play

from reconciler.cli.main import main


@pytest.fixture
def scenario(tmp_path):
    return make_scenario_writer(tmp_path)


def test_the_process_is_killed_when_a_change_has_come(scenario):
    (verdict,) = play(scenario("faults: [{fault: sigkill, at: {change: 2}}]"))
    assert verdict.breaches == ()
    assert verdict.died == 1
    assert verdict.changes == 2


def test_two_deaths_and_a_fault_of_a_node_in_one_schedule(scenario):
    faults = (
        "{fault: sigkill, at: {journal: 3}}, {fault: sigkill, at: {journal: 5}}, {fault: lost, node: edge-01}"
    )
    (verdict,) = play(scenario(f"faults: [{faults}]"))
    assert verdict.breaches == ()
    assert verdict.died == 2


def test_a_killed_process_is_really_killed(scenario):
    """The fork server gets a request as `ForkServer` sends it, and reports the killed process as null."""
    path = scenario(EVERY)
    with subprocess.Popen(
        [sys.executable, "-m", "reconciler.fault_trials.fork_server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        folders = {"fleet": str(path.parent), "state": str(path.parent / "state")}
        request = {**folders, "crashes": {"1": True}, "writes": 0, "earlier": {}, "ahead": 0.0}
        request["machines"] = ""
        program.stdin.write(json.dumps(request) + "\n")
        program.stdin.flush()
        assert json.loads(program.stdout.readline()) > 0
        assert json.loads(program.stdout.readline()) is None
        program.stdin.close()
        assert program.wait(timeout=30) == 0
        assert program.stderr.read() == "", "killed, not ended by an exception, which is null too"


def test_the_command_says_that_everything_held(scenario, capsys):
    path = scenario("random: {faults: 2}")
    assert main(["simulate", "--faults", str(path), "--runs", "3", "--seed", "5"]) == 0
    head, report = capsys.readouterr().out.splitlines()
    assert head == "Killed: 4 nodes of 2 clusters, seeds 5 to 7"
    assert report.startswith("passed: 3 schedules, ")


def test_the_command_tells_the_story_of_what_did_not_hold(scenario, capsys):
    path = scenario("before: {down: [edge-01]}")
    assert main(["simulate", "--faults", str(path)]) == 1
    told = capsys.readouterr().out
    lines = told.splitlines()
    assert "failed: 1 of 1 schedule" in told
    assert "  edge-01 has another setting than the fleet file gives it [converged]" in lines
    assert f"to reproduce: reconcile simulate --faults {path} --seed 1" in lines
    assert any(line.startswith("  run 9 ends: ") for line in lines), lines


def test_the_command_names_the_place_of_a_mistake(scenario, capsys):
    path = scenario("faults:\n- {fault: killd, node: edge-01}")
    assert main(["simulate", "--faults", str(path)]) == 1
    told = capsys.readouterr().err
    assert f"error: {path}:4:11: `fault` must be `slow`" in told
    assert "did you mean `killed`?" in told


def test_options_that_would_not_be_heeded_are_refused(scenario, tmp_path, capsys):
    assert main(["simulate", "--faults", str(scenario("seed: 3")), "--converged"]) == 1
    assert "the scenario file decides about nodes" in capsys.readouterr().err
    assert main(["simulate", str(tmp_path), "--seed", "3"]) == 1
    assert "--seed and --runs work only with --faults" in capsys.readouterr().err


def test_faults_with_another_fleet(scenario, tmp_path, capsys):
    path = scenario("fleet: nowhere")
    assert main(["simulate", "--faults", str(path)]) == 1
    assert "nowhere" in capsys.readouterr().err
    assert main(["simulate", str(tmp_path), "--faults", str(path)]) == 0
