"""What is wrong, or worth knowing, and where: the one type for it, from the parser to the terminal."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from reconciler.text.one_line import bound_sentence


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in a source file; lines and columns count from 1, and 0 means the file as a whole."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


NOWHERE: Final = Position("")
"""The position of what stands in no file, or of which only the pointer is known yet."""


class Severity(StrEnum):
    """How much a problem weighs: an error stops the pass, the others are shown."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One thing that a person should know: wrong in a file, refused by a guard, found at a node.

    Args:
        code: stable name of the rule, such as `duplicate-key`, which `reconcile explain` knows and an
            override names.
        message: what is wrong, one sentence without a final stop.
        remedy: what to do, or what would be right; may be empty.
        position: where in a file the value or, for a missing one, its parent stands.
        pointer: JSON pointer within the file.
        target: the cluster, or `cluster/node`, that it speaks of; empty for one of a file alone.
        hold: of a guard: it says when, not whether. It ends by itself or by somebody's word, and holds up
            its own cluster alone.
        related: further positions that the message speaks of, such as where a name was defined first.
    """

    severity: Severity
    code: str
    message: str
    remedy: str = ""
    position: Position = field(default=NOWHERE, kw_only=True)
    pointer: str = field(default="", kw_only=True)
    target: str = field(default="", kw_only=True)
    hold: bool = field(default=False, kw_only=True)
    related: tuple[Position, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        # What speaks of a node may quote it: bounded here, before the journal or a message sees it.
        if self.target:
            object.__setattr__(self, "message", bound_sentence(self.message))

    @property
    def cluster(self) -> str:
        """The cluster that it speaks of; empty where it speaks of none."""
        return self.target.partition("/")[0]

    @property
    def where(self) -> str:
        """What it speaks of, for people: its position, else its target."""
        return str(self.position) if self.position.file else self.target

    @property
    def located(self) -> str:
        """The message, behind its position where it has one."""
        return f"{self.position}: {self.message}" if self.position.file else self.message

    def __str__(self) -> str:
        hint = f"; {self.remedy}" if self.remedy else ""
        return f"{self.where}: {self.severity}: {self.message}{hint} [{self.code}]"
