"""Trials of the example fleet whose nodes have files and commands, at free addresses."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

from reconciler.drivers.registry import DRIVERS
from reconciler.drivers.sora.simulator.machines import make_installed_conf
from reconciler.fault_trials.fault_schedule import draw_schedule
from reconciler.fault_trials.scenario import read_scenario
from reconciler.fault_trials.setup import prepare_trial
from reconciler.fault_trials.trial import run_trial
from reconciler.simulation.addresses import find_free_addresses

EXAMPLES = Path(__file__).parents[2] / "examples/faults"
BEFORE = "fleet: machines\nbefore: {fleet: machines-before, converged: true}\n"
FIRST, SECOND, THIRD = (f"node-0{number}@sora-0{number}.example.com" for number in (1, 2, 3))


def make_conf(node, committed):
    """The installed file of a node with the committed keys."""
    return make_installed_conf(node, temporary=False) + committed.encode()


class MachineTrials:
    """Runs scenarios on a copy of the example's fleets."""

    def __init__(self, folder):
        self.folder = folder
        places = iter(find_free_addresses(5))
        known = {}
        for name in ("machines", "machines-before"):
            shutil.copytree(EXAMPLES / name, folder / name)
            file = folder / name / "fleet.yaml"
            text = re.sub(
                r"127\.0\.0\.1:1007\d",
                lambda found: known.get(found[0]) or known.setdefault(found[0], str(next(places))),
                file.read_text(),
            )
            file.write_text(text)

    def without_upgrade(self):
        """Only the sora.conf changes: the nodes are restarted for it."""
        for name in ("machines", "machines-before"):
            file = self.folder / name / "fleet.yaml"
            file.write_text(re.sub(r"    (version|stop|upgrade|start): .*\n", "", file.read_text()))

    def expected_conf(self, node):
        """The sora.conf that a node is to get."""
        return make_conf(node, (self.folder / "machines/sora.conf").read_text())

    def read(self, text):
        """A scenario from its text, or from an example of this name."""
        path = self.folder / "scenario.yaml"
        is_example = "\n" not in text
        path.write_text((EXAMPLES / f"{text}.yaml").read_text() if is_example else f"name: x\n{BEFORE}{text}")
        return read_scenario(path)

    def play(self, text, seed=None, *, crashes=None, drivers=DRIVERS):
        """The verdict of a scenario's schedule."""
        script = self.read(text)
        setup = prepare_trial(script)
        schedule = draw_schedule(script, setup.find_targets(), script.scenario.seed if seed is None else seed)
        return run_trial(setup, schedule if crashes is None else replace(schedule, crashes=crashes), drivers)


def list_breaches(verdict):
    """The broken invariants."""
    return {breach.invariant for breach in verdict.breaches}


def tell(verdict):
    """What to show of a verdict that is not as expected."""
    return "\n".join([*map(str, verdict.breaches), *verdict.story[-80:]])
