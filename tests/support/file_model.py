"""The sample product with a file in the form that the model checker explores."""

from typing import NamedTuple

from reconciler.core.arguments import read_arguments
from reconciler.core.file_state import compute_file_digest
from reconciler.core.observation import Observed, Present
from reconciler.file_delivery.model import FileModel, ModelFile
from reconciler.file_delivery.steps import is_file_step
from support.file_product import ENTRY, FileDriver, FileWishes, Restart


class Machine(NamedTuple):
    """A node: its file, what its process has loaded, and how often it was started."""

    file: ModelFile
    loaded: bytes | None
    starts: int = 0


class FileProductModel:
    """The model; a world is the machines of the cluster's nodes."""

    files = FileModel

    def __init__(self, cluster):
        self.wanted = FileWishes(cluster)
        self.driver = FileDriver()
        self.names = [node.name for node in cluster.nodes]
        self.model = self.files()

    def _with(self, world, node, machine):
        place = self.names.index(node)
        return (*world[:place], machine, *world[place + 1 :])

    def _at(self, world, step):
        return world[self.names.index(step.node)]

    def list_faults(self, world):
        for name, machine in zip(self.names, world, strict=True):
            for story, file in self.model.list_faults(machine.file, f"{ENTRY} of {name}"):
                yield story, self._with(world, name, machine._replace(file=file))

    def list_returns(self, world):
        for name, machine in zip(self.names, world, strict=True):
            for story, file in self.model.list_returns(machine.file, f"{ENTRY} of {name}"):
                yield story, self._with(world, name, machine._replace(file=file))

    def observe(self, world):
        shown = {
            name: Present((machine.starts, compute_file_digest(machine.loaded)))
            for name, machine in zip(self.names, world, strict=True)
        }
        files = {name: {ENTRY: one.file.read()} for name, one in zip(self.names, world, strict=True)}
        return Observed(shown, files=files)

    def plan(self, world):
        return self.model.learn(self.driver.plan(self.wanted, self.observe(world)))

    def judge_step(self, world, step):
        return self.driver.judge(step, self.observe(world)).status

    def perform(self, world, step):
        machine = self._at(world, step)
        if is_file_step(step):
            return self._with(world, step.node, machine._replace(file=self.model.perform(machine.file, step)))
        starts = min(machine.starts + 1, 3)  # bounded, so that there is an end
        return self._with(world, step.node, machine._replace(loaded=machine.file.content, starts=starts))

    def list_partial_effects(self, world, step):
        machine = self._at(world, step)
        if is_file_step(step):
            for story, file in self.model.list_partial_effects(machine.file, step):
                yield story, self._with(world, step.node, machine._replace(file=file))

    def find_obstacle(self, world, step):
        return ""

    def find_broken_invariant(self, before, step, after):
        if not is_file_step(step):
            return ""
        return self.model.find_broken_invariant(self._at(before, step).file, step, self._at(after, step).file)

    def find_leftover(self, world, plan):
        found = (
            self.model.find_leftover(machine.file, name)
            for name, machine in zip(self.names, world, strict=True)
            if any(step.node == name for step in plan.steps)
        )
        return next(filter(None, found), "")

    def is_effective(self, world, step):
        machine = self._at(world, step)
        if is_file_step(step):
            return self.model.is_effective(machine.file, step)
        return compute_file_digest(machine.loaded) == read_arguments(step.arguments, Restart).digest
