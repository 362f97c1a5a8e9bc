"""Trials of a small fleet whose reconciler is killed: one M2 node and three Sora nodes."""

import json

from reconciler.fault_trials.scenario import read_scenario
from reconciler.fault_trials.setup import prepare_trial
from reconciler.fault_trials.subprocess_runner import run_subprocess_trials
from reconciler.simulation.addresses import find_free_addresses
from support.m2_settings import managed_setting

EVERY = "faults: [{fault: sigkill, at: {journal: every}}]"


def make_scenario_writer(folder):
    """Writes the fleet; gives what writes a scenario for it, and gives its path."""
    places = [str(place) for place in find_free_addresses(4)]
    edge = [{"name": "edge-01", "address": places[0]}]
    live = [{"name": f"n{one}@s{one}.example.com", "api": f"http://{places[one]}/"} for one in range(1, 4)]
    clusters = [
        {"name": "edge", "kind": "m2", "setting": "s.json", "concurrency": 1, "nodes": edge},
        {"name": "live", "kind": "sora", "initialise": True, "nodes": live},
    ]
    (folder / "fleet.json").write_text(json.dumps({"clusters": clusters}))
    (folder / "s.json").write_text(managed_setting())

    def write(text):
        path = folder / "scenario.yaml"
        path.write_text(f"name: Killed\nreruns: 0\n{text}\n")
        return path

    return write


def play(path):
    """The verdicts of a scenario."""
    script = read_scenario(path)
    verdicts = []
    run_subprocess_trials(script, prepare_trial(script), 1, verdicts.append)
    return verdicts
