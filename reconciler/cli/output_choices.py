"""How much a command says, and whether in colours: options that every command has, with one meaning."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OutputChoices:
    """What a person chose for the output of one command.

    Args:
        quiet: show only the result, questions and errors.
        verbose: also show what is read, and when each step begins.
        no_color: use no colours and no animation.
    """

    quiet: bool = False
    verbose: bool = False
    no_color: bool = False

    def add(self, *, quiet: bool, verbose: bool, no_color: bool) -> OutputChoices:
        """These together with others, which may stand before or after a subcommand."""
        return OutputChoices(self.quiet or quiet, self.verbose or verbose, self.no_color or no_color)


CHOICES: ContextVar[OutputChoices] = ContextVar("output_choices", default=OutputChoices())  # noqa: B039
"""The choices of the command that runs; `main` begins each command without any."""
