"""The trace of one command, if the host configuration asks for traces."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from reconciler.cli.run_options import RunOptions
from reconciler.cli.terminal import Terminal
from reconciler.descriptions.values import format_count
from reconciler.ports.tracer import Tracer
from reconciler.tracing.factory import PARENT, open_tracing


@contextmanager
def trace_command(options: RunOptions, terminal: Terminal) -> Iterator[Tracer]:
    """The tracer of a command, whose whole pass is one span; says at the end if spans were lost.

    Args:
        options: of the command.
        terminal: where that is said.

    Raises:
        UsageError: the library is not installed, or a file with the value of a header cannot be read.
    """

    def note_lost(lost: int, why: str) -> None:
        spans = format_count(lost, "span")
        terminal.remark(
            f"{spans} of the trace did not reach the collector: {why}. Nothing else is affected.\n"
        )

    parent = options.host.environment.get(PARENT, "")
    with (
        open_tracing(options.host, parent=parent, note_lost=note_lost) as tracer,
        tracer.open_span("pass", trigger=options.trigger),
    ):
        yield tracer
