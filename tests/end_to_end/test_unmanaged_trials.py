"""Nodes that write counts of their own: random faults and kills, and every invariant of a trial holds."""

import json

import pytest
from support.m2_settings import MANAGEMENT

from reconciler.cli.main import main
from reconciler.simulation.addresses import find_free_addresses

TRIAL = """\
name: Nodes that count
fleet: wanted
before: {fleet: before, converged: true}
choices: [m2.takes=counts]
random: {faults: 4, kills: 2}
reruns: 4
"""


@pytest.mark.parametrize("rollout", [{}, {"rollout": {"waves": [1, "100%"]}}])
def test_random_faults_and_kills(tmp_path, capsys, rollout):
    places = find_free_addresses(3)
    nodes = [{"name": f"edge-0{number}", "address": str(place)} for number, place in enumerate(places, 1)]
    cluster = {
        "name": "edge",
        "kind": "m2",
        "setting": "s.json",
        "unmanaged": ["/hosting/*/stats"],
        "nodes": nodes,
    }
    for folder, origin in (("before", "198.51.100.1"), ("wanted", "198.51.100.2")):
        host = {"name": "www.example.com", "origin": {"address": [origin]}}
        (tmp_path / folder).mkdir()
        setting = {"meta": {"version": origin}, "env": {"management": MANAGEMENT}, "hosting": [host]}
        (tmp_path / folder / "s.json").write_text(json.dumps(setting), encoding="utf-8")
        fleet = {"clusters": [{**cluster, **rollout}]}
        (tmp_path / folder / "fleet.json").write_text(json.dumps(fleet), encoding="utf-8")
    (tmp_path / "trial.yaml").write_text(TRIAL, encoding="utf-8")
    status = main(["simulate", "--faults", str(tmp_path / "trial.yaml"), "--runs", "15"])
    assert status == 0, capsys.readouterr().out
