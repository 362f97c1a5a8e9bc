"""Waves, approvals and status by the entry point, over simulated nodes and real HTTP."""

import json
import re

import pytest
from support.m2_settings import managed_setting

from reconciler.cli.demo_fixtures import DemoNodes
from reconciler.cli.main import main
from reconciler.simulation.addresses import find_free_addresses

FLEET = """\
rollout: {canary: 1, waves: 50%}
policy: {approve: [high], max_risky: 100%, max_cache_lost: 100%}
windows:
  - {cron: "* * * * * *", duration: 1h}
clusters:
  - name: edge
    kind: m2
    setting: s.json
    timeouts: {read: 5, settle: 5}
    nodes:
"""


@pytest.fixture
def folder(tmp_path):
    places = sorted(find_free_addresses(3), key=lambda place: place.port)
    nodes = "".join(
        f"      - {{name: n{number}, address: '{place}', domain: rack-{number}}}\n"
        for number, place in enumerate(places)
    )
    fleet = tmp_path / "fleet"
    fleet.mkdir()
    (fleet / "fleet.yaml").write_text(FLEET + nodes)
    (fleet / "s.json").write_text(managed_setting("a.example", version="1"))
    with DemoNodes() as served:
        served.serve(fleet)
        yield fleet


def run(folder, *arguments):
    return main([*arguments, "--state", str(folder.parent / "state"), str(folder)])


def test_a_plan_in_waves_waits_for_its_approval_and_is_applied_once(folder, capsys):
    state = ["--state", str(folder.parent / "state")]
    assert run(folder, "status", "--detailed-exitcode") == 2
    assert "n0  differs             unknown revision" in capsys.readouterr().out
    assert run(folder, "--yes") == 0
    (folder / "s.json").write_text(managed_setting("b.example", version="2"))
    capsys.readouterr()
    assert run(folder, "--dry-run", "--detailed-exitcode") == 2
    shown = capsys.readouterr().out
    assert ["wave 1 of 3: 1 change" in shown, "wave 3 of 3: 1 change" in shown] == [True, True]
    assert "[approval-needed]" in shown
    assert run(folder, "--yes") == 3
    assert main(["approve", "--list", *state]) == 0
    digest = re.search(r"^[0-9a-f]{8,}", capsys.readouterr().out, re.MULTILINE)[0]
    assert run(folder, "status", "--format", "json") == 0
    (edge,) = json.loads(capsys.readouterr().out)["clusters"]
    assert edge["waiting_for_approval"].startswith(digest)
    assert main(["approve", digest, "--by", "kim", *state]) == 0
    assert run(folder, "--yes") == 0
    capsys.readouterr()
    assert run(folder, "status", "--detailed-exitcode") == 0
    shown = capsys.readouterr().out
    assert "Converged: 3 nodes are as desired." in shown
    assert shown.count(" since 20") == 3
    assert main(["approve", "--list", *state]) == 0
    assert capsys.readouterr().out.startswith("No plan waits for approval.\n")


def test_a_suspension_holds_a_run_and_shows_in_the_status(folder, capsys):
    state = ["--state", str(folder.parent / "state")]
    (folder / "s.json").write_text(managed_setting("a.example", version="2"))
    assert main(["suspend", "edge", "--reason", "it looks odd", "--by", "kim", *state]) == 0
    assert run(folder, "--yes") == 3
    assert "[suspended]" in capsys.readouterr().out
    assert run(folder, "status", "--detailed-exitcode") == 2
    shown = capsys.readouterr().out
    assert "on behalf of kim (not checked) suspended changes of this" in " ".join(shown.split())
    assert "3 differ" in shown
    assert main(["resume", "edge", *state]) == 0
    assert run(folder, "--yes") == 0


def test_waves_are_in_the_comment_of_a_pull_request_and_in_its_json(folder, capsys):
    (folder / "s.json").write_text(managed_setting("a.example", version="2"))
    assert run(folder, "--dry-run", "--format", "markdown") == 0
    assert "- **wave 2 of 3: 1 change**" in capsys.readouterr().out
    assert run(folder, "--dry-run", "--format", "json") == 0
    steps = json.loads(capsys.readouterr().out)["plan"]["clusters"][0]["steps"]
    assert [step["wave"] for step in steps] == [1, 2, 3]


def test_a_window_of_the_fleet_file_is_wrong_at_its_place(folder, capsys):
    path = folder / "fleet.yaml"
    path.write_text(path.read_text().replace('"* * * * * *"', '"61 * * * *"'))
    assert run(folder, "--dry-run") == 1
    assert "fleet.yaml:4:12: `cron` is `61 * * * *`" in capsys.readouterr().err


def test_a_hold_on_one_cluster_lets_the_others_be_changed(tmp_path, capsys):
    fleet = tmp_path / "fleet"
    fleet.mkdir()
    clusters = [
        {
            "name": name,
            "kind": "m2",
            "setting": "s.json",
            "nodes": [{"name": f"{name}-1", "address": str(place)}],
            **({"suspend": {"reason": "the racks are moving"}} if name == "held" else {}),
        }
        for name, place in zip(("held", "open"), find_free_addresses(2), strict=True)
    ]
    (fleet / "fleet.json").write_text(json.dumps({"clusters": clusters}))
    (fleet / "s.json").write_text(managed_setting(version="1"))
    with DemoNodes() as served:
        simulation = served.serve(fleet)
        assert run(fleet, "--dry-run", "--detailed-exitcode") == 2
        shown = capsys.readouterr().out
        assert "on hold: held: the fleet file suspends changes: the racks are moving [suspended]" in shown
        assert "2 changes on 2 clusters; 1 cluster is on hold." in shown
        assert run(fleet, "--yes") == 5
        assert [call.node for call in simulation.calls(changes=True)] == ["open-1"]
        capsys.readouterr()
        assert run(fleet, "--yes") == 3
        assert [call.node for call in simulation.calls(changes=True)] == ["open-1"]
    capsys.readouterr()
    assert main(["history", "--format", "json", "--state", str(tmp_path / "state")]) == 0
    assert [entry["exit_status"] for entry in json.loads(capsys.readouterr().out)] == [3, 0, 3]


def test_no_member_of_a_cluster_that_does_not_exist_yet_is_as_desired(tmp_path, capsys):
    fleet = tmp_path / "fleet"
    fleet.mkdir()
    nodes = [
        {"name": f"n{number}@sora-{number}.example.com", "api": f"http://{place}/"}
        for number, place in enumerate(find_free_addresses(3))
    ]
    (fleet / "fleet.json").write_text(
        json.dumps({"clusters": [{"name": "live", "kind": "sora", "initialise": True, "nodes": nodes}]})
    )
    with DemoNodes() as served:
        served.serve(fleet)
        assert run(fleet, "status", "--detailed-exitcode") == 2
    output = capsys.readouterr().out
    assert "0 of 3 nodes as desired" in output
    assert "Not converged: 3 differ." in output
