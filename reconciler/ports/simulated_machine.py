"""A simulated machine with files and commands, as plain data; pure.

A product on a machine has loaded a file as a real one does: when it was started.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from reconciler.core.file_state import FileState, compute_file_digest


@dataclass(slots=True)
class SimulatedFile:
    """One file of a simulated node, with what lies beside it.

    Args:
        content: None if there is no file.
        staged: written aside and checked.
        backup: what the last switch replaced.
        leftover: written aside in part, or not checked.
        is_full: whether there is no room for another content.
        broken: how many bytes of the next content are written before the connection breaks; None if it does
            not.
    """

    content: bytes | None = None
    staged: bytes | None = None
    backup: bytes | None = None
    leftover: bytes | None = None
    is_full: bool = False
    broken: int | None = None

    def state(self) -> FileState:
        """What a reading shows."""
        return FileState(
            self.content,
            compute_file_digest(self.staged),
            compute_file_digest(self.backup),
            self.leftover is not None,
        )


@dataclass(slots=True)
class SimulatedMachine:
    """A machine with files, and a product that loads them when it starts.

    Args:
        files: entry -> its file.
        commands: name -> what it does to this machine; gives its output.
        loaded: entry -> the content that the running product has loaded; empty while it is stopped.
        starts: how often the product was started.
        is_silent: whether the machine cannot be reached.
    """

    files: dict[str, SimulatedFile] = field(default_factory=dict)
    commands: dict[str, Callable[[SimulatedMachine, Mapping[str, str]], str]] = field(default_factory=dict)
    loaded: dict[str, bytes | None] = field(default_factory=dict)
    starts: int = 0
    is_silent: bool = False

    def start(self) -> None:
        """Start the product, or start it again."""
        self.loaded = {entry: file.content for entry, file in self.files.items()}
        self.starts += 1

    def stop(self) -> None:
        """Stop the product."""
        self.loaded = {}
