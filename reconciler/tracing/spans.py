"""Spans of the parts and events of a pass. A span that is open is the parent of what begins in its tasks."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any, Final, TypeVar

from reconciler.core.defect import name_error
from reconciler.core.observation import Observed
from reconciler.core.outcome import Outcome, State
from reconciler.core.plan import ClusterPlan, Plan, Step
from reconciler.errors import ReconcilerError
from reconciler.ports.listener import PassListener
from reconciler.ports.tracer import Span, SpanFact, Tracer
from reconciler.ports.transport import Transports
from reconciler.secrets.redaction import Redactor
from reconciler.text.one_line import make_one_line
from reconciler.tracing.delivery import SpanDelivery
from reconciler.tracing.library import api, context, propagation
from reconciler.tracing.traced_transports import CallSpan, CallTimer, trace_transports

H = TypeVar("H")

PREFIX: Final = "reconciler."
"""Beginning of the names of attributes that no convention has."""

LONGEST: Final = 1024
"""Characters of a text in a span."""

MOST_CALLS: Final = 1000
"""Calls of one pass that get a span; of further ones, as many that failed do, and the others are counted."""

_FAILED: Final = frozenset({State.FAILED, State.UNKNOWN})


class _CallCount:
    """The calls of one trace."""

    def __init__(self) -> None:
        self.good = self.failed = self.left_out = 0

    def take(self, *, failed: bool) -> bool:
        """Whether one more call gets a span."""
        if self.good < MOST_CALLS:
            self.good += 1
            return True
        if failed and self.failed < MOST_CALLS:
            self.failed += 1
            return True
        self.left_out += 1
        return False


class RecordedSpan(Span):
    """A span of the library that has begun.

    Args:
        span: the library's.
        calls: of its trace.
        redactor: masks texts.
        delivery: counts it when it ends.
    """

    def __init__(self, span: Any, calls: _CallCount, redactor: Redactor, delivery: SpanDelivery) -> None:
        self.span = span
        self.calls = calls
        self._redactor = redactor
        self._delivery = delivery

    def note(self, **facts: SpanFact) -> None:
        """See `Span.note`; empty texts are left out."""
        for name, fact in facts.items():
            if fact != "":
                self.span.set_attribute(
                    f"{PREFIX}{name}", self._mask(fact) if isinstance(fact, str) else fact
                )

    def fail(self, why: str) -> None:
        """See `Span.fail`."""
        self.span.set_status(api.StatusCode.ERROR, self._mask(why))

    def record_error(self, error: BaseException) -> None:
        """Record what ended it; a request to stop is no failure."""
        if isinstance(error, ReconcilerError):
            self.fail(error.message)
        elif isinstance(error, Exception):
            # The type and the line only: the text of an unexpected exception may quote a secret.
            self.fail(f"an unexpected error: {name_error(error)}")
        elif isinstance(error, asyncio.CancelledError | KeyboardInterrupt):
            self.note(stopped=True)
            return
        self.span.set_attribute("error.type", type(error).__name__)

    def end(self) -> None:
        """It is over."""
        if self.span.is_recording():
            self.span.end()
            self._delivery.ended += 1

    def _mask(self, text: str) -> str:
        return self._redactor.redact_text(make_one_line(text, LONGEST))


_CURRENT: ContextVar[RecordedSpan | None] = ContextVar("span", default=None)


class SpanTracer(Tracer):
    """Makes spans with the library.

    Args:
        tracer: the library's.
        delivery: counts the spans.
        redactor: masks texts.
        parent: the trace to continue, as W3C Trace Context has it; empty for none.
    """

    def __init__(self, tracer: Any, delivery: SpanDelivery, redactor: Redactor, parent: str = "") -> None:
        self._tracer = tracer
        self._delivery = delivery
        self._redactor = redactor
        # Not the current span of the process: a program around this one may have its own.
        self._root = propagation.TraceContextTextMapPropagator().extract(
            {"traceparent": parent}, context.Context()
        )

    @contextmanager
    def open_span(self, name: str, **facts: SpanFact) -> Iterator[RecordedSpan]:
        """See `Tracer.open_span`."""
        span = self.begin(name, **facts)
        is_root, token = _CURRENT.get() is None, _CURRENT.set(span)
        try:
            yield span
        except BaseException as error:
            span.record_error(error)
            raise
        finally:
            _CURRENT.reset(token)
            if is_root and span.calls.left_out:
                span.note(calls_left_out=span.calls.left_out)
            span.end()

    @contextmanager
    def trace_events(self, listener: PassListener) -> Iterator[PassListener]:
        """See `Tracer.trace_events`."""
        traced = TracingListener(self, listener)
        try:
            yield traced
        finally:
            traced.close()

    def trace_calls(
        self, connect: Callable[[H], AbstractAsyncContextManager[Transports]]
    ) -> Callable[[H], AbstractAsyncContextManager[Transports]]:
        """See `Tracer.trace_calls`."""

        @asynccontextmanager
        async def open_traced(host: H) -> Any:
            async with connect(host) as transports:
                yield trace_transports(transports, CallTimer(self.record_call))

        return open_traced

    def begin(self, name: str, **facts: SpanFact) -> RecordedSpan:
        """A span that begins now, as a part of the current one of this task."""
        parent = _CURRENT.get()
        made = self._tracer.start_span(name, context=self._get_context(parent))
        calls = parent.calls if parent else _CallCount()
        span = RecordedSpan(made, calls, self._redactor, self._delivery)
        span.note(**facts)
        return span

    def record_call(self, call: CallSpan) -> None:
        """Record a call that has ended as a part of the current span of this task."""
        parent = _CURRENT.get()
        if parent is None or not parent.calls.take(failed=bool(call.error)):
            return
        span = self._tracer.start_span(
            call.name,
            context=self._get_context(parent),
            kind=api.SpanKind.CLIENT,
            attributes=call.attributes,
            start_time=call.began,
        )
        if call.error:
            span.set_attribute("error.type", call.error)
            span.set_status(api.StatusCode.ERROR)
        span.end(call.ended)
        self._delivery.ended += span.get_span_context().trace_flags.sampled

    def _get_context(self, parent: RecordedSpan | None) -> Any:
        return api.set_span_in_context(parent.span, context.Context()) if parent else self._root


class TracingListener(PassListener):
    """Makes spans of the events of a pass, and passes each event on.

    Args:
        tracer: makes the spans.
        listener: gets the events.
    """

    def __init__(self, tracer: SpanTracer, listener: PassListener) -> None:
        self._tracer = tracer
        self._listener = listener
        self._open: dict[Hashable, tuple[RecordedSpan, RecordedSpan | None]] = {}

    def close(self) -> None:
        """End the spans of what was interrupted."""
        for span, _ in self._open.values():
            span.note(stopped=True)
            span.end()
        self._open.clear()

    def on_step_settled(self, outcome: Outcome) -> None:
        """Pass it on."""
        self._listener.on_step_settled(outcome)

    def on_observing(self, cluster: str, nodes: int) -> None:
        """Reading the nodes of a cluster begins."""
        self._begin(("observe", cluster), "observe nodes", cluster=cluster, nodes=nodes)
        self._listener.on_observing(cluster, nodes)

    def on_observed(self, cluster: str, observed: Observed[Any]) -> None:
        """The nodes are read, and planning begins."""
        kinds = Counter(type(seen).__name__.lower() for seen in observed.nodes.values())
        self._end(("observe", cluster), {f"nodes.{kind}": count for kind, count in sorted(kinds.items())})
        self._begin(("plan", cluster), "plan cluster", cluster=cluster)
        self._listener.on_observed(cluster, observed)

    def on_cluster_planned(self, plan: ClusterPlan) -> None:
        """The steps of a cluster are planned."""
        self._end(("plan", plan.cluster), {"steps": len(plan.steps), "findings": len(plan.findings)})
        self._listener.on_cluster_planned(plan)

    def on_planned(self, plan: Plan) -> None:
        """Guards begin to check the plan."""
        self._begin("guards", "check guards", steps=sum(1 for _ in plan.steps()))
        self._listener.on_planned(plan)

    def on_guarded(self, plan: Plan, violations: int) -> None:
        """Guards have checked the plan."""
        self._end("guards", {"violations": violations})
        self._listener.on_guarded(plan, violations)

    def on_run_begun(self, run: str) -> None:
        """A run begins."""
        self._begin(("run", run), "run", run=run)
        self._listener.on_run_begun(run)

    def on_run_ended(self, run: str, exit_status: int) -> None:
        """A run ends."""
        self._end(("run", run), {"exit_status": exit_status})
        self._listener.on_run_ended(run, exit_status)

    def on_step_started(self, step: Step) -> None:
        """A step begins."""
        self._begin(
            ("step", step.id),
            f"step {step.action}",
            cluster=step.cluster,
            node=step.node,
            action=step.action,
            step=step.id,
            wave=step.wave,
            risk=step.risk.value,
        )
        self._listener.on_step_started(step)

    def on_step_ended(self, outcome: Outcome) -> None:
        """A step ends with what the history says about it; one that never began has no span."""
        failed = outcome.reason or outcome.state.value if outcome.state in _FAILED else ""
        self._end(("step", outcome.step.id), {"state": outcome.state.value, "reason": outcome.reason}, failed)
        self._listener.on_step_ended(outcome)

    def on_soaking(self, cluster: str, wave: int, seconds: float) -> None:
        """A wave soaks."""
        self._begin(("soak", cluster), "soak", cluster=cluster, wave=wave, seconds=seconds)
        self._listener.on_soaking(cluster, wave, seconds)

    def on_gated(self, cluster: str, wave: int, result: str) -> None:
        """The gates of a wave are evaluated."""
        self._end(("soak", cluster), {"gates": result})
        self._listener.on_gated(cluster, wave, result)

    def on_delivering(self, message: str, sink: str) -> None:
        """A message is sent to a sink."""
        self._begin(("message", message), "deliver feedback", message=message, sink=sink)
        self._listener.on_delivering(message, sink)

    def on_delivered(self, message: str, problem: str) -> None:
        """The sink has it, or not."""
        self._end(("message", message), {}, problem)
        self._listener.on_delivered(message, problem)

    def _begin(self, key: Hashable, name: str, **facts: SpanFact) -> None:
        span = self._tracer.begin(name, **facts)
        self._open[key] = span, _CURRENT.get()
        # Until it ends, what begins in this task, and in those that this task makes, is a part of it.
        _CURRENT.set(span)

    def _end(self, key: Hashable, facts: Mapping[str, SpanFact], failed: str = "") -> None:
        span, before = self._open.pop(key, (None, None))
        if span is None:
            return
        span.note(**facts)
        if failed:
            span.fail(failed)
        span.end()
        if _CURRENT.get() is span:
            _CURRENT.set(before)
