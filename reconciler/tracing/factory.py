"""Opens the tracer that the host configuration asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from reconciler.host.host import Host
from reconciler.ports.tracer import NO_TRACER, Tracer
from reconciler.tracing.delivery import SpanDelivery

PARENT: Final = "TRACEPARENT"
"""The variable with the trace that a command continues, in the form of W3C Trace Context."""


@contextmanager
def open_tracing(
    host: Host,
    *,
    parent: str = "",
    delivery: SpanDelivery | None = None,
    note_lost: Callable[[int, str], None] | None = None,
) -> Iterator[Tracer]:
    """The tracer of this process; its last spans are sent at the end, within a fixed time.

    Args:
        host: its configuration says whether and where traces are sent.
        parent: the trace to continue, as W3C Trace Context has it; empty for a trace of each pass.
        delivery: counts the spans.
        note_lost: called at the end with how many spans the collector has not taken, and why.

    Raises:
        UsageError: the library is not installed, or a file with the value of a header cannot be read.
    """
    rules = host.config.traces
    if rules is None:
        yield NO_TRACER
        return
    from reconciler.tracing.provider import open_provider  # noqa: PLC0415  (only for those who trace)

    counts = delivery or SpanDelivery(lambda _: None)
    try:
        with open_provider(rules, host, parent, counts) as tracer:
            yield tracer
    finally:
        if note_lost is not None and counts.ended > counts.sent:
            note_lost(
                counts.ended - counts.sent, counts.problem or counts.warning or "it did not answer in time"
            )
