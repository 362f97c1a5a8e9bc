"""Files of simulated nodes: the state that the files transport describes, as plain data.

Simulators, fault trials and tests share it. A node's own program reads `SimulatedFile.content`, as a real one
reads its file when it starts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass

from reconciler.core.file_state import FilePlace, FileState, compute_file_digest
from reconciler.errors import NodeUnreachable
from reconciler.ports.transport import Files, refuse_file


@dataclass(slots=True)
class SimulatedFile:
    """One file of a simulated node, with what lies beside it.

    Args:
        content: None if there is no file.
        staged: written aside and checked.
        backup: what the last switch replaced.
        leftover: written aside in part, or not checked.
        is_full: whether there is no room for another content.
        is_silent: whether the node cannot be reached.
        broken: how many bytes of the next content are written before the connection breaks; None if it does
            not.
    """

    content: bytes | None = None
    staged: bytes | None = None
    backup: bytes | None = None
    leftover: bytes | None = None
    is_full: bool = False
    is_silent: bool = False
    broken: int | None = None

    def state(self) -> FileState:
        """What a reading shows."""
        return FileState(
            self.content,
            compute_file_digest(self.staged),
            compute_file_digest(self.backup),
            self.leftover is not None,
        )


FileCheck = Callable[[FilePlace, bytes], str]
"""What the check of an entry says against a content; empty if it is good."""


def _accept(place: FilePlace, content: bytes) -> str:  # noqa: ARG001
    return ""


class SimulatedFiles(Files):
    """The files transport to simulated nodes.

    Args:
        files: node -> entry -> its file.
        check: of every entry.
    """

    def __init__(
        self, files: Mapping[str, MutableMapping[str, SimulatedFile]], *, check: FileCheck = _accept
    ) -> None:
        self.files = files
        self.check = check

    async def read(self, place: FilePlace) -> FileState:
        return self._find(place).state()

    async def stage(self, place: FilePlace, content: bytes) -> str:
        file = self._find(place)
        file.staged = None
        if file.broken is not None:
            file.leftover, file.broken = content[: file.broken], None
            raise NodeUnreachable(place.node, f"the connection broke while {place.entry} was written")
        if file.is_full:
            file.leftover = None
            raise refuse_file(place, "cannot be written aside: No space left on device")
        if words := self.check(place, content):
            file.leftover = None
            raise refuse_file(place, f"is refused by its check: {words}", again=False)
        file.staged, file.leftover = content, None
        return f"{place.entry} is written aside and checked"

    async def switch(self, place: FilePlace, *, before: str, after: str) -> str:
        file = self._find(place)
        state = file.state()
        if state.digest != before:
            raise refuse_file(place, "is another one than when it was read")
        if state.staged != after:
            raise refuse_file(place, "has not the content beside it that is to take its place")
        file.backup, file.content, file.staged = file.content, file.staged, None
        return f"{place.entry} is in place"

    async def restore(self, place: FilePlace, *, before: str, after: str) -> str:
        file = self._find(place)
        state = file.state()
        if state.digest != before:
            raise refuse_file(place, "is another one than when it was switched")
        if after and state.backup != after:
            raise refuse_file(place, "has no backup of what it was")
        file.content, file.backup = (file.backup if after else None), None
        return f"{place.entry} is as before"

    async def discard(self, place: FilePlace) -> str:
        file = self._find(place)
        file.staged = file.leftover = None
        return f"nothing lies beside {place.entry}"

    def _find(self, place: FilePlace) -> SimulatedFile:
        entries = self.files.get(place.node, {})
        if place.entry not in entries:
            raise refuse_file(place, "is not in `files` of the host configuration")
        if entries[place.entry].is_silent:
            raise NodeUnreachable(place.node, "no connection", sign="silent", sent=False)
        return entries[place.entry]
