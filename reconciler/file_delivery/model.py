"""Files in the form that the model checker explores: the effects of steps, and what must never happen; pure.

A product's model has a `ModelFile` for each of its files in its world, and asks `FileModel` for the effect of
file steps, the faults and the invariants. They are judged by the content itself, not by what a reading says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias

from reconciler.core.file_state import NO_FILE, FileState, compute_file_digest
from reconciler.core.observation import FileReading, Present
from reconciler.core.plan import ClusterPlan, Step
from reconciler.file_delivery.steps import (
    CONTENT,
    DiscardArguments,
    RestoreArguments,
    StageArguments,
    SwitchArguments,
    is_file_step,
    read_file_arguments,
)

BY_HAND: Final = b"# by hand\n"
"""What a person adds to a file."""

FileEdit: TypeAlias = Callable[[bytes], bytes]
"""Changes a content as a person does; what it has changed once stays the same."""


def add_comment(content: bytes) -> bytes:
    """A content with a line more."""
    return content if content.endswith(BY_HAND) else content + BY_HAND


COMMENT: Final[Mapping[str, FileEdit]] = MappingProxyType({"is changed by hand": add_comment})

PARTIAL: Final = b"\0"
"""A content that was written in part."""


class ModelFile(NamedTuple):
    """A file in a world.

    Args:
        content: None if there is no file.
        staged: what is written aside; None for nothing.
        is_checked: whether the check of the entry has accepted it.
        backup: what the last switch replaced.
        leftover: whether something lies beside it that was not finished.
        is_full: whether there is no room for another content.
        refuses: whether the check of the entry refuses every new content.
    """

    content: bytes | None
    staged: bytes | None = None
    is_checked: bool = False
    backup: bytes | None = None
    leftover: bool = False
    is_full: bool = False
    refuses: bool = False

    def read(self) -> FileReading:
        """What a reading shows."""
        staged, backup = compute_file_digest(self.staged), compute_file_digest(self.backup)
        return Present(FileState(self.content, staged, backup, self.leftover))


@dataclass(frozen=True, slots=True)
class FileModel:
    """The effects of file steps; knows the contents of plans by their digests."""

    _known: dict[str, bytes] = field(init=False, default_factory=dict)

    def learn(self, plan: ClusterPlan) -> ClusterPlan:
        """The same plan, whose contents are known from now on; for `ProductModel.plan`."""
        for step in plan.steps:
            if is_file_step(step) and step.payload in plan.payloads:
                self._known[read_file_arguments(step).after] = plan.payloads[step.payload].resources[CONTENT]
        return plan

    def perform(self, file: ModelFile, step: Step) -> ModelFile:
        """What the call of a step makes of the file, as the files transport describes it."""
        own = read_file_arguments(step)
        if isinstance(own, StageArguments):
            bare = file._replace(staged=None, is_checked=False, leftover=False)
            is_written = not (file.is_full or file.refuses)
            return bare._replace(staged=self._known[own.after], is_checked=True) if is_written else bare
        if isinstance(own, DiscardArguments):
            return file._replace(staged=None, is_checked=False, leftover=False)
        if compute_file_digest(file.content) != own.before:
            return file
        if isinstance(own, SwitchArguments) and compute_file_digest(file.staged) == own.after:
            return file._replace(content=file.staged, backup=file.content, staged=None, is_checked=False)
        if isinstance(own, RestoreArguments) and own.after in {NO_FILE, compute_file_digest(file.backup)}:
            is_new = own.after == NO_FILE
            return file._replace(content=None) if is_new else file._replace(content=file.backup, backup=None)
        return file

    def list_partial_effects(self, file: ModelFile, step: Step) -> Iterator[tuple[str, ModelFile]]:
        """Ways in which the call may break off."""
        own = read_file_arguments(step)
        if isinstance(own, StageArguments):
            bare = file._replace(staged=None, is_checked=False)
            yield f"the connection breaks while {own.entry} is written aside", bare._replace(leftover=True)
        if isinstance(own, SwitchArguments) and self.perform(file, step) is not file:
            yield (
                f"the connection breaks after the backup of {own.entry} was left",
                file._replace(backup=file.content),
            )
        if isinstance(own, DiscardArguments) and file.leftover and file.staged is not None:
            yield f"the connection breaks while {own.entry} is cleaned up", file._replace(leftover=False)

    def list_faults(
        self, file: ModelFile, name: str, edits: Mapping[str, FileEdit] = COMMENT
    ) -> Iterator[tuple[str, ModelFile]]:
        """What may happen to a file, one thing each: a sentence, and the file after it.

        Args:
            file: before that.
            name: of it, for the sentences.
            edits: what a person may do to its content, in words -> its new content.
        """
        content = file.content or b""
        for words, change in edits.items():
            if (changed := change(content)) != content:
                yield f"{name} {words}", file._replace(content=changed)
        if not file.is_full:
            yield f"the disk of {name} becomes full", file._replace(is_full=True)
        if not file.refuses:
            yield f"the check of {name} refuses what it is given", file._replace(refuses=True)
        if file.staged is not None:
            lost = file._replace(staged=None, is_checked=False)
            yield f"what is written aside of {name} is removed by hand", lost

    def list_returns(self, file: ModelFile, name: str) -> Iterator[tuple[str, ModelFile]]:
        """What may come back by itself."""
        if file.is_full:
            yield f"the disk of {name} has room again", file._replace(is_full=False)
        if file.refuses:
            yield f"the check of {name} accepts what it is given", file._replace(refuses=False)

    def find_broken_invariant(self, before: ModelFile, step: Step, after: ModelFile) -> str:
        """The invariant that a call breaks, a sentence; empty if all hold."""
        own = read_file_arguments(step)
        is_switch = isinstance(own, SwitchArguments)
        if after.content == PARTIAL:
            return f"{own.entry} has a content that was written in part"
        if after.content == before.content:
            return ""
        broken = {
            f"{step.id} replaces a content of {own.entry} that it was not planned for": (
                compute_file_digest(before.content) != own.before
            ),
            f"{step.id} gives {own.entry} another content than the plan says": (
                compute_file_digest(after.content) != own.after
            ),
            f"{step.id} puts a content in place that its check has not accepted": (
                is_switch and not before.is_checked
            ),
            f"{step.id} leaves no backup of {own.entry}": is_switch and after.backup != before.content,
        }
        return next((words for words, is_broken in broken.items() if is_broken), "")

    def find_leftover(self, file: ModelFile, name: str) -> str:
        """What a run whose steps all succeeded must not leave, a sentence; empty if there is none."""
        if file.staged is not None or file.leftover:
            return f"content lies beside {name} although nothing needs it"
        return ""

    def is_effective(self, file: ModelFile, step: Step) -> bool:
        """Whether the effect of a step is there, by the contents themselves."""
        own = read_file_arguments(step)
        has_content = compute_file_digest(file.content) == own.after
        match own:
            case StageArguments():
                is_staged = file.is_checked and compute_file_digest(file.staged) == own.after
                return has_content or is_staged
            case SwitchArguments() | RestoreArguments():
                return has_content
        return file.staged is None and not file.leftover
