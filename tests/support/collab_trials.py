"""Trials of the example fleet of Collaboration Servers, at free addresses."""

import re
import shutil
from pathlib import Path

from reconciler.drivers.registry import DRIVERS
from reconciler.fault_trials.fault_schedule import draw_schedule
from reconciler.fault_trials.scenario import read_scenario
from reconciler.fault_trials.setup import prepare_trial
from reconciler.fault_trials.subprocess_runner import run_subprocess_trials
from reconciler.fault_trials.trial import run_trial
from reconciler.simulation.addresses import find_free_addresses

EXAMPLES = Path(__file__).parents[2] / "examples/faults"
BEFORE = "fleet: collab\nbefore: {fleet: collab-before, converged: true}\n"


class CollabTrials:
    """Runs scenarios on a copy of the example's fleets."""

    def __init__(self, folder):
        self.folder = folder
        ports = iter(str(place.port) for place in find_free_addresses(5))
        known = {}
        for name in ("collab", "collab-before"):
            shutil.copytree(EXAMPLES / name, folder / name)
            for file in sorted((folder / name).iterdir()):
                text = re.sub(
                    r"\b1008\d\b",
                    lambda found: known.get(found[0]) or known.setdefault(found[0], next(ports)),
                    file.read_text(),
                )
                file.write_text(text)

    def change(self, name, before, after):
        """Replace a text in a file of the fleet."""
        file = self.folder / name
        text = file.read_text()
        assert before in text
        file.write_text(text.replace(before, after))

    def read(self, text, before=BEFORE):
        """A scenario from its text, or from an example of this name."""
        path = self.folder / "scenario.yaml"
        is_example = "\n" not in text
        path.write_text((EXAMPLES / f"{text}.yaml").read_text() if is_example else f"name: x\n{before}{text}")
        return read_scenario(path)

    def play_killed(self, text):
        """The verdicts of a scenario whose reconciler is a process of its own."""
        script, verdicts = self.read(text), []
        run_subprocess_trials(script, prepare_trial(script), 1, verdicts.append)
        return verdicts

    def set_passwords(self, before, after):
        """Redis has a password that changes; values of references are made up."""
        for folder, name in (("collab-before", before), ("collab", after)):
            self.change(f"{folder}/config.json", "redis://", f"redis://:${{env:{name}}}@")
            self.change(f"{folder}/redis.json", "{", f'{{"requirepass": "${{env:{name}}}", ')
        return self

    def play(self, text, seed=None, *, drivers=DRIVERS, before=BEFORE):
        """The verdict of a scenario's schedule, or of the example of this name."""
        script = self.read(text, before)
        setup = prepare_trial(script)
        schedule = draw_schedule(script, setup.find_targets(), script.scenario.seed if seed is None else seed)
        return run_trial(setup, schedule, drivers)
