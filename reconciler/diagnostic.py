"""Diagnostics: what is wrong, or worth knowing, and where; the one type from the parser to the terminal."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
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
"""The position of what is not in a file, or of which only the pointer is known yet."""


class Severity(StrEnum):
    """How severe a diagnostic is: an error stops the pass, the others are only shown."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One problem or remark: about a file, a guard's violation, or a node.

    Args:
        code: stable name of the rule, such as `duplicate-key`, for `reconcile explain` and for overrides.
        message: what is wrong, one sentence without a final stop.
        remedy: what to do; may be empty.
        position: of the value in a file or, if it is missing, of its parent.
        pointer: JSON pointer within the file.
        target: the cluster, or `cluster/node`, that it is about; empty if it is about a file.
        hold: of a guard's violation: it delays the change. It ends by itself or by an operator's order, and
            affects only its own cluster.
        ends: of a hold: the moment at which it ends by itself, in UTC; None if that is not known.
        related: further positions that the message mentions, such as where a name was defined first.
    """

    severity: Severity
    code: str
    message: str
    remedy: str = ""
    position: Position = field(default=NOWHERE, kw_only=True)
    pointer: str = field(default="", kw_only=True)
    target: str = field(default="", kw_only=True)
    hold: bool = field(default=False, kw_only=True)
    ends: datetime | None = field(default=None, kw_only=True)
    related: tuple[Position, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        # A message about a node may quote what it sent, of any length: bounded before it is stored or sent.
        if self.target:
            object.__setattr__(self, "message", bound_sentence(self.message))

    @property
    def cluster(self) -> str:
        """The cluster that it is about; empty for none."""
        return self.target.partition("/")[0]

    @property
    def where(self) -> str:
        """What it is about, for people: its position, else its target."""
        return str(self.position) if self.position.file else self.target

    @property
    def located(self) -> str:
        """The message, after its position if it has one."""
        return f"{self.position}: {self.message}" if self.position.file else self.message

    def __str__(self) -> str:
        hint = f"; {self.remedy}" if self.remedy else ""
        return f"{self.where}: {self.severity}: {self.message}{hint} [{self.code}]"
