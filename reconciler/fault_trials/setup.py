"""Prepares the trials of a scenario file: loads and checks the fleets that it names."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from reconciler.desired.fleet import Fleet, load_fleet
from reconciler.drivers.registry import DRIVERS
from reconciler.errors import UsageError
from reconciler.fault_trials.scenario import ScenarioFile
from reconciler.fault_trials.trial import TrialSetup
from reconciler.simulation.products import parse_choices
from reconciler.sources.folder import FolderSource


class FakeResolver:
    """Made-up values for the references of a fleet; implements `secrets.resolver.SecretResolver`."""

    # A trial must not see real secrets: it sends them to simulated nodes, and prints its events.
    def resolve(self, scheme: str, name: str) -> str:
        """The same text for the same reference."""
        return f"made-up-for-{scheme}-{name}"[:100]  # fits into a URL, too

    def decrypt(self, name: str, data: bytes) -> bytes:  # noqa: ARG002  (the contract's parameter)
        """The same bytes for the same file."""
        return f"made up for {name}".encode()


def prepare_trial(scenario_file: ScenarioFile, folder: Path | None = None) -> TrialSetup:
    """The setup of a scenario's trials; `folder` replaces the scenario's own folder of the fleet file.

    Raises:
        SourceError: a folder cannot be read.
        InputError: a fleet file is wrong, or the scenario does not fit it.
    """
    scenario, before = scenario_file.scenario, scenario_file.scenario.before
    place = folder or scenario_file.folder(scenario.fleet)
    fleet = load_trial_fleet(place)
    machines = load_trial_fleet(scenario_file.folder(before.fleet)) if before.fleet else fleet
    try:
        choices = parse_choices(scenario.choices, DRIVERS)
    except UsageError as error:
        raise scenario_file.wrong("/choices", error.message, error.remedy) from error
    setup = TrialSetup(
        fleet,
        machines,
        converged=before.converged,
        fresh=before.fresh,
        down=before.down,
        choices=choices,
        runs=1 + scenario.reruns,
        invariants=scenario.invariants,
        folder=place,
    )
    _check_nodes(scenario_file, setup)
    return setup


def load_trial_fleet(folder: Path) -> Fleet:
    """The fleet in a folder, without its feedback sink, so that only simulated nodes are called."""
    snapshot = asyncio.run(FolderSource(folder).snapshot())
    fleet = load_fleet(snapshot, DRIVERS, FakeResolver())
    return replace(fleet, feedback=None)


def _check_nodes(scenario_file: ScenarioFile, setup: TrialSetup) -> None:
    """Check that the nodes of the scenario and of the fleet are among those before the trial."""
    served = setup.clusters
    for pointer, names in (("/before/fresh", setup.fresh), ("/before/down", setup.down)):
        for index, name in enumerate(names):
            if name not in served:
                known = ", ".join(sorted(served))
                raise scenario_file.wrong(
                    f"{pointer}/{index}", f"there is no node {name!r}", f"the nodes are {known}"
                )
    for cluster_input in setup.fleet.cluster_inputs:
        for node in cluster_input.entry.members():
            if served.get(node.name) != cluster_input.entry.name:
                raise scenario_file.wrong(
                    "/before/fleet",
                    f"{node.name} of {cluster_input.entry.name} is in the fleet file, but not among "
                    "the nodes before the trial",
                    "add it to the fleet file of `before`, and to `fresh` if it is new",
                )
