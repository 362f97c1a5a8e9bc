"""Where words go: the output, what a person at a terminal sees besides, and the answer to a question."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from typing import Self, TextIO

from reconciler.cli.render.text import PLAIN, TerminalLayout
from reconciler.cli.standard_streams import release_streams
from reconciler.errors import StateError

_NARROW, _WIDE = 60, 120
_AGREED = frozenset({"y", "yes"})


@dataclass(frozen=True, slots=True)
class Terminal:
    """The process's streams with what is known of them.

    Args:
        out: for what was asked for: the plan, the report.
        aside: for progress, questions and remarks: `out` where that is for people, else standard error.
        layout: how `out` wants its text.
        live: whether `aside` can show progress that moves.
        answers: whether a person can be asked.
    """

    out: TextIO
    aside: TextIO
    layout: TerminalLayout = PLAIN
    live: bool = False
    answers: bool = False

    @classmethod
    def here(cls, *, no_color: bool = False, for_people: bool = True) -> Self:
        """This process's terminal.

        Args:
            no_color: no colours even where they could be shown.
            for_people: whether `out` gets text for people rather than a document for a program.
        """
        aside = sys.stdout if for_people else sys.stderr
        colour = _colours(sys.stdout) and for_people and not no_color
        return cls(
            out=sys.stdout,
            aside=aside,
            layout=TerminalLayout(width=_width(), colour=colour),
            live=_moves(aside) and not no_color,
            answers=sys.stdin is not None and sys.stdin.isatty(),
        )

    def say(self, text: str) -> None:
        """Write what was asked for.

        Raises:
            BrokenPipeError: nobody reads it any more.
            StateError: it cannot be written.
        """
        try:
            self.out.write(text)
            self.out.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            release_streams()
            raise StateError(
                f"cannot write to standard output: {error.strerror or error}",
                remedy="`reconcile history` shows what was done, if anything",
            ) from error

    def remark(self, text: str) -> None:
        """Write something besides; nobody reading it any more is no reason to stop."""
        try:
            self.aside.write(text)
            self.aside.flush()
        except OSError:
            return  # the terminal is gone; the journal and the history still tell

    def confirm(self, question: str) -> bool:
        """Whether a person says yes; the end of the input, or an empty line, means no."""
        self.remark(f"{question} [y/N] ")
        answer = sys.stdin.readline()
        if not answer:
            self.remark("\n")
        return answer.strip().lower() in _AGREED


def _moves(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM", "") != "dumb"


def _colours(stream: TextIO) -> bool:
    return _moves(stream) and not os.environ.get("NO_COLOR")


def _width() -> int:
    return min(max(shutil.get_terminal_size((100, 24)).columns, _NARROW), _WIDE)
