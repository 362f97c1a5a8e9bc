"""Every execution of a delivery: kills, lost and stuck calls, changes by hand; planted faults are seen."""

import pytest
from support.file_model import FileProductModel, Machine
from support.file_product import FileCluster, FileNode

from reconciler.core.file_state import compute_file_digest
from reconciler.core.step_status import StepStatus
from reconciler.file_delivery import steps
from reconciler.file_delivery.model import PARTIAL, FileModel, ModelFile
from reconciler.file_delivery.steps import StageArguments, SwitchArguments, read_file_arguments
from reconciler.modelcheck.executor_model import ExecutorModel
from reconciler.modelcheck.explore import explore_states
from reconciler.modelcheck.state_table import StateTable

OLD, NEW = b"cluster = true\n", b"cluster = false\n"
WHOLE = FileNode(name="a", text=NEW.decode())
KEYS = FileNode(name="a", values={"cluster": False})


def explore(model, *files, faults=1, most=200_000):
    world = tuple(Machine(file, file.content) for file in files)
    checker = ExecutorModel(StateTable(model, lambda plan, observed: True, single_node=True))
    return explore_states([checker.begin(world, faults=faults)], checker.moves, most=most)


def hall(*nodes):
    return FileCluster(name="hall", nodes=nodes)


@pytest.mark.parametrize("node", [WHOLE, KEYS], ids=["whole", "keys"])
@pytest.mark.parametrize("content", [OLD, None], ids=["other", "absent"])
def test_no_execution_breaks_an_invariant(node, content):
    found = explore(FileProductModel(hall(node)), ModelFile(content), faults=2)
    assert (found.broken, found.complete) == ("", True), found.story
    assert found.states > 500


def test_a_leftover_of_a_killed_run_is_handled_in_every_execution():
    left = ModelFile(OLD, staged=NEW, is_checked=True, leftover=True)
    found = explore(FileProductModel(hall(WHOLE)), left)
    assert (found.broken, found.complete) == ("", True), found.story


class Blind(FileModel):
    """A switch that does not compare what it replaces."""

    def perform(self, file, step):
        own = read_file_arguments(step)
        if isinstance(own, SwitchArguments) and file.staged is not None:
            return file._replace(content=file.staged, backup=file.content, staged=None)
        return FileModel.perform(self, file, step)


class Trusting(FileModel):
    """What the check refuses is staged all the same."""

    def perform(self, file, step):
        own = read_file_arguments(step)
        if isinstance(own, StageArguments):
            return file._replace(staged=self._known[own.after], is_checked=not file.refuses)
        return FileModel.perform(self, file, step)

    def is_effective(self, file, step):
        return FileModel.is_effective(self, file._replace(is_checked=True), step)


class InPlace(FileModel):
    """A switch that writes the file itself."""

    def list_partial_effects(self, file, step):
        if isinstance(read_file_arguments(step), SwitchArguments):
            yield "the connection breaks", file._replace(content=PARTIAL)


class Careless(FileModel):
    """A switch that leaves no backup."""

    def perform(self, file, step):
        done = FileModel.perform(self, file, step)
        if isinstance(read_file_arguments(step), SwitchArguments):
            return done._replace(backup=None)
        return done


class Untidy(FileModel):
    """A switch by copy, which leaves the staged content."""

    def perform(self, file, step):
        done = FileModel.perform(self, file, step)
        if isinstance(read_file_arguments(step), SwitchArguments) and done is not file:
            return done._replace(staged=file.staged, is_checked=True)
        return done


class Wrong(FileModel):
    """A stage that writes something else, and a switch that takes whatever is there."""

    def perform(self, file, step):
        own = read_file_arguments(step)
        if isinstance(own, SwitchArguments) and compute_file_digest(file.content) == own.before:
            return file._replace(content=b"something else", backup=file.content, staged=None)
        return FileModel.perform(self, file, step)


@pytest.mark.parametrize(
    ("planted", "broken"),
    [
        (Blind, "replaces a content of conf that it was not planned for"),
        (Trusting, "that its check has not accepted"),
        (InPlace, "written in part"),
        (Careless, "leaves no backup"),
        (Untidy, "although nothing needs it"),
        (Wrong, "another content than the plan says"),
    ],
)
def test_a_planted_fault_of_the_transport_is_seen(planted, broken):
    class Planted(FileProductModel):
        files = planted

    found = explore(Planted(hall(WHOLE)), ModelFile(OLD), faults=2)
    assert broken in found.broken
    assert found.story


def judge_by_leftover(self, world, step):
    """A judge that takes half a content for the whole."""
    file = self._at(world, step).file
    if step.action == steps.STAGE and file.leftover:
        return StepStatus.DONE
    return FileProductModel.judge_step(self, world, step)


def judge_by_answer(self, world, step):
    """A judge that believes that a switch worked."""
    if step.action == steps.SWITCH and self._at(world, step).file.staged is None:
        return StepStatus.DONE
    return FileProductModel.judge_step(self, world, step)


@pytest.mark.parametrize("judge", [judge_by_leftover, judge_by_answer])
def test_a_planted_fault_of_the_judge_is_seen(judge):
    planted = type("Planted", (FileProductModel,), {"judge_step": judge})
    found = explore(planted(hall(WHOLE)), ModelFile(OLD), faults=2)
    assert "is done, and it is not" in found.broken
