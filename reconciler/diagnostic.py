"""Where something stands in a file, and what is wrong with it there."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in a source file; lines and columns count from 1, and 0 means the file as a whole."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


class Severity(StrEnum):
    """How much a problem weighs: an error stops the pass, the others are shown."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong at one place of the desired state.

    Args:
        position: where the value or, for a missing one, its parent stands.
        pointer: JSON pointer within the file.
        code: stable name of the rule, such as `duplicate-key` or `unknown-role`.
        message: what is wrong, one sentence without a final stop.
        remedy: what would be right; may be empty.
    """

    position: Position
    pointer: str
    severity: Severity
    code: str
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        hint = f"; {self.remedy}" if self.remedy else ""
        return f"{self.position}: {self.severity}: {self.message}{hint} [{self.code}]"
