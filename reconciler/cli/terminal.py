"""The process's terminal: output, remarks, questions, and the signal that asks to stop."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Self, TextIO

from reconciler.cli.output_choices import CHOICES
from reconciler.cli.render.text import PLAIN, TerminalLayout
from reconciler.cli.standard_streams import release_streams
from reconciler.errors import StateError, UsageError
from reconciler.host.aio import defer_first_signal

_NARROW, _WIDE = 40, 120
"""Columns that text is wrapped at, at least and at most: wider lines are hard to read."""

_USUAL = 100
"""Columns where there is no terminal."""

_AGREED = frozenset({"y", "yes"})


@dataclass(frozen=True, slots=True)
class Terminal:
    """The streams of the process and what they can show.

    Args:
        out: for the result of the command: a plan, a report.
        aside: for progress, questions and remarks: `out` if that is for people, else standard error.
        layout: width and colours of text on `out`.
        live: whether `aside` can show animated progress.
        can_prompt: whether a person can answer questions.
        quiet: show no progress and no remarks.
        verbose: also show what is read, and when each step begins.
    """

    out: TextIO
    aside: TextIO
    layout: TerminalLayout = PLAIN
    live: bool = False
    can_prompt: bool = False
    quiet: bool = False
    verbose: bool = False

    @classmethod
    def here(cls, *, for_people: bool = True, full: bool = False) -> Self:
        """The terminal of this process.

        Args:
            for_people: whether `out` gets text for people, not a document for a program.
            full: whether text shows every node, change and value.
        """
        aside = sys.stdout if for_people else sys.stderr
        choices = CHOICES.get()
        columns = _find_columns()
        return cls(
            out=sys.stdout,
            aside=aside,
            layout=TerminalLayout(
                width=min(max(columns, _NARROW), _WIDE),
                colour=for_people and may_colour() and sys.stdout.isatty(),
                full=full,
            ),
            live=_is_smart_terminal(aside) and not choices.no_color and not choices.quiet,
            quiet=choices.quiet,
            verbose=choices.verbose,
            can_prompt=sys.stdin is not None and sys.stdin.isatty(),
        )

    def say(self, text: str) -> None:
        """Write the result of the command.

        Raises:
            BrokenPipeError: the reader has closed the stream.
            StateError: it cannot be written.
        """
        try:
            self.out.write(text)
            self.out.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            release_streams()  # or the flush at exit fails too, and hides this error
            raise StateError(
                f"cannot write to standard output: {error.strerror or error}",
                remedy="`reconcile history` shows what was done, if anything",
            ) from error

    def detail(self, text: str) -> None:
        """Write a line that only somebody wants who asks for more."""
        if self.verbose:
            self.remark(f"{text}\n")

    def remark(self, text: str, *, is_asked: bool = False) -> None:
        """Write progress or a remark; a closed terminal is no reason to stop a run.

        Args:
            text: with its line break.
            is_asked: it is a question, or what is asked about: shown in any case.
        """
        if self.quiet and not is_asked:
            return
        try:
            self.aside.write(text)
            self.aside.flush()
        except OSError:
            return  # the journal and the history have it all the same

    def confirm(self, question: str) -> bool:
        """Ask a yes/no question; an empty line or the end of the input means no."""
        self.remark(f"{question} [y/N] ", is_asked=True)
        answer = sys.stdin.readline()
        if not answer:
            self.remark("\n", is_asked=True)
        return answer.strip().lower() in _AGREED

    def get_consent(self, question: str, *, verb: str, remedy: str) -> bool:
        """Ask a yes/no question before something is done.

        Args:
            question: such as `Apply 2 changes?`.
            verb: what is to be done, such as `apply`.
            remedy: the options for a run that nobody watches.

        Raises:
            UsageError: nobody can answer.
        """
        if not self.can_prompt:
            raise UsageError(
                f"cannot ask whether to {verb} this: standard input is not a terminal", remedy=remedy
            )
        return self.confirm(question)


def may_colour() -> bool:
    """Whether colours are welcome: not with `--no-color`, `NO_COLOR`, or on a dumb terminal."""
    refused = CHOICES.get().no_color or os.environ.get("NO_COLOR")
    return not refused and os.environ.get("TERM", "") != "dumb"


def _find_columns() -> int:
    """The width of the terminal, which may be behind standard error: `reconcile … | less`."""
    given = os.environ.get("COLUMNS", "")
    if given.isascii() and given.isdigit() and int(given[:6]) > 0:
        return int(given[:6])
    for stream in (sys.__stdout__, sys.__stderr__, sys.__stdin__):
        with suppress(OSError, ValueError, AttributeError):
            if columns := os.get_terminal_size(stream.fileno()).columns:  # type: ignore[union-attr]
                return columns
    return _USUAL


def _is_smart_terminal(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM", "") != "dumb"


@contextmanager
def catch_stop_signal(on_stop: Callable[[], None]) -> Iterator[asyncio.Event]:
    """An event that the first signal sets, after which a run stops between steps; the second signal cancels.

    Works within `host.aio.run_until_signal` only.

    Args:
        on_stop: called with the first signal, to inform the person.
    """
    stop = asyncio.Event()

    def handle() -> None:
        stop.set()
        on_stop()

    with defer_first_signal(handle):
        yield stop
