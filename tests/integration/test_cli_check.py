"""`reconcile check` by the entry point, over simulated nodes and real HTTP."""

import json
import re

import pytest

from reconciler.cli.demo_fixtures import DemoNodes
from reconciler.cli.main import main
from reconciler.simulation.addresses import find_free_addresses

NUMBERS = range(1, 5)


@pytest.fixture
def folder(tmp_path):
    places = find_free_addresses(len(NUMBERS))
    lines = [
        f"      - {{name: n{number}@sora-{number}.example.com, api: 'http://{place}/'}}\n"
        for number, place in zip(NUMBERS, places, strict=True)
    ]
    fleet = tmp_path / "fleet"
    fleet.mkdir()
    head = "clusters:\n  - name: live\n    kind: sora\n    initialise: true\n    nodes:\n"
    (fleet / "fleet.yaml").write_text(head + "".join(lines))
    with DemoNodes() as served:
        served.serve(fleet)
        (fleet / "fleet.yaml").write_text(head + "".join(lines[:3]))
        yield fleet


def run(folder, *arguments):
    return main([*arguments, "--state", str(folder.parent / "state"), str(folder)])


def test_the_plan_of_a_new_cluster_is_explored_and_no_node_is_changed(folder, capsys):
    assert run(folder, "check", "--format", "json") == 0
    (live,) = json.loads(capsys.readouterr().out)["clusters"]
    assert live["complete"]
    assert not live["broken"]
    assert live["states"] > 20
    assert run(folder, "--dry-run", "--detailed-exitcode") == 2


def test_more_faults_make_more_states(folder, capsys):
    seen = []
    for faults in ("0", "1", "2"):
        assert run(folder, "check", "--faults", faults, "--format", "json") == 0
        seen.append(json.loads(capsys.readouterr().out)["clusters"][0]["states"])
    assert seen == sorted(set(seen))


def test_a_reached_limit_of_states_is_shown(folder, capsys):
    assert run(folder, "check", "--states", "5") == 0
    assert "not exhaustive" in capsys.readouterr().out


def test_an_empty_plan_is_not_explored(folder, capsys):
    assert run(folder, "--yes") == 0
    capsys.readouterr()
    assert run(folder, "check") == 0
    assert capsys.readouterr().out == "live: not explored: nothing is planned, all 3 nodes are as desired\n"


def test_the_comment_of_a_pull_request_says_what_was_explored(folder, capsys):
    assert run(folder, "--dry-run", "--format", "markdown") == 0
    output = capsys.readouterr().out
    assert (
        "**model checker** `live`: no execution with up to 1 fault and one kill of the reconciler" in output
    )
    assert run(folder, "--dry-run", "--format", "markdown", "--no-check") == 0
    assert "model checker" not in capsys.readouterr().out


def test_check_without_markdown_is_refused(folder, capsys):
    assert run(folder, "--dry-run", "--check") == 1
    assert "--check works only with --dry-run --format markdown" in capsys.readouterr().err


def test_a_plan_that_is_empty_or_refused_says_why_nothing_was_explored(folder, capsys):
    text, ports = (folder / "fleet.yaml").read_text(), iter(range(1, 4))  # nobody listens there
    (folder / "fleet.yaml").write_text(re.sub(r"(?<=127\.0\.0\.1:)\d+", lambda _: str(next(ports)), text))
    assert run(folder, "check") == 1
    shown = capsys.readouterr().out
    assert "live: not explored: nothing is planned, and 0 of 3 nodes are as desired\n" in shown
    assert "error: " in shown
    assert "[node-unreachable]" in shown
    run(folder, "check", "--format", "json")
    (live,) = json.loads(capsys.readouterr().out)["clusters"]
    assert {one["code"] for one in live["findings"]} >= {"node-unreachable"}
