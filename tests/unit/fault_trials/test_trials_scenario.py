"""Scenario files: the page's example, the examples that are shipped, and what is refused."""

import re
from pathlib import Path

import pytest

from reconciler.errors import InputError
from reconciler.fault_trials.scenario import CLAIMS, Invariant, read_scenario

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/faults.md").read_text(encoding="utf-8")
EXAMPLES = sorted((ROOT / "examples/faults").glob("*.yaml"))


def scenario(tmp_path, text):
    path = tmp_path / "scenario.yaml"
    path.write_text(f"name: x\n{text}\n")
    return read_scenario(path).scenario


def test_the_example_of_the_page_is_a_scenario(tmp_path):
    (example,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    path = tmp_path / "scenario.yaml"
    path.write_text(example)
    found = read_scenario(path).scenario
    assert found.before.down == ("node-02@sora-02.example.com",)
    assert [entry.fault.value for entry in found.faults] == ["lost", "stale", "isolated", "error"]
    assert found.faults[2].at.moment == ("change", 1)
    assert found.drawn


def test_the_page_names_every_invariant():
    table = PAGE.partition("## The invariants")[2]
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| (.+) \|$", table, re.MULTILINE))
    assert list(rows) == [str(one) for one in Invariant]
    assert set(CLAIMS) == set(Invariant)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_a_scenario(path):
    found = read_scenario(path).scenario
    assert found.faults or found.random
    assert (path.parent / found.fleet / "fleet.yaml").is_file()


def test_fields_have_defaults(tmp_path):
    found = scenario(tmp_path, "faults: [{fault: lost, node: a}]")
    assert (found.seed, found.fleet, found.reruns, found.invariants) == (1, ".", 1, tuple(Invariant))
    assert (found.faults[0].count, found.faults[0].at, found.drawn) == (1, None, False)
    assert scenario(tmp_path, "faults: [{fault: lost}]").drawn
    assert scenario(tmp_path, "faults: [{fault: lost, node: a, count: null}]").faults[0].count is None


WRONG = {
    "{fault: sigkill, node: a, at: {journal: 1}}": "sigkill takes",
    "{fault: sigkill, at: {step: a/b/c}}": "sigkill takes",
    "{fault: lost, at: {}}": "one of request, change",
    "{fault: lost, at: {run: 1, to: a}}": "with `to` only for the first two",
    "{fault: lost, at: {change: 0}}": "must be at least 1",
    "{fault: lost, count: 0}": "must be at least 1",
    "{fault: lost, only: writes}": "`any`, `reads`, `changes`, `calls`, `files` or `commands`",
    "{fault: lost, at: {journal: 2}}, {fault: sigkill, at: {journal: 3}}": "in a scenario with sigkill",
}


@pytest.mark.parametrize(("faults", "words"), WRONG.items(), ids=WRONG)
def test_an_invalid_fault_is_refused_with_its_position(tmp_path, faults, words):
    with pytest.raises(InputError) as raised:
        scenario(tmp_path, f"faults: [{faults}]")
    assert words in str(raised.value)
    assert [problem for problem in raised.value.problems if problem.position.line != 2] == []


def test_drawn_crashes_and_sigkill_cannot_be_combined(tmp_path):
    with pytest.raises(InputError, match="draws crashes of the reconciler itself"):
        scenario(tmp_path, "faults: [{fault: sigkill, at: {change: 1}}]\nrandom: {}")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="cannot read the scenario: No such file"):
        read_scenario(tmp_path / "none.yaml")
