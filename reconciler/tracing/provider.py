"""The library of OpenTelemetry: where spans wait, how they are sent, and what is said if they are not."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import unquote

from reconciler import __version__
from reconciler.host.credentials import find_key_file, list_known_credentials, read_key_text
from reconciler.host.environment import AUTHORITIES
from reconciler.host.host import Host
from reconciler.host.trace_rules import TraceRules
from reconciler.secrets.redaction import Redactor
from reconciler.text.one_line import make_one_line
from reconciler.tracing.delivery import SpanDelivery
from reconciler.tracing.library import export, otlp, requests, resources, sampling, sdk
from reconciler.tracing.spans import LONGEST, SpanTracer

QUEUE: Final = 8192
"""Ended spans that wait to be sent; of further ones, the oldest are dropped."""

SEND_SECONDS: Final = 5.0
"""Seconds for one attempt to send spans, with its repetitions; it delays only further spans."""

FLUSH_SECONDS: Final = 2.0
"""Seconds that the end of a process waits for spans on their way."""

_BATCH: Final = 512
_PAUSE_MS: Final = 1000
_MOST_FACTS: Final = 64
_MOST_ATTRIBUTES: Final = 50
_NAME: Final = "OTEL_SERVICE_NAME"
_ATTRIBUTES: Final = "OTEL_RESOURCE_ATTRIBUTES"
_LONGEST_REASON: Final = 300


@contextmanager
def open_provider(rules: TraceRules, host: Host, parent: str, delivery: SpanDelivery) -> Iterator[SpanTracer]:
    """The tracer whose spans go to the collector of the host configuration.

    Args:
        rules: where it is.
        host: has the files of headers and the names of this process.
        parent: the trace to continue; empty for none.
        delivery: counts the spans.

    Raises:
        UsageError: the library is not installed, or a file cannot be read.
    """
    headers = _read_headers(rules, host)
    redactor = Redactor(
        [*headers.values(), *list_known_credentials(host.environment, host.config.secrets.variables)]
    )
    _LastLine(delivery, redactor)
    exporter = CountingExporter(_make_exporter(rules, host, headers), delivery)
    processor = export.BatchSpanProcessor(
        exporter, max_queue_size=QUEUE, schedule_delay_millis=_PAUSE_MS, max_export_batch_size=_BATCH
    )
    provider = make_provider(rules.ratio, host.environment)
    provider.add_span_processor(processor)
    try:
        yield SpanTracer(provider.get_tracer("reconciler", __version__), delivery, redactor, parent)
    finally:
        # In a thread that nobody waits for: the library waits half a minute for a collector that hangs.
        end = threading.Thread(target=provider.shutdown, name="traces-end", daemon=True)
        end.start()
        end.join(FLUSH_SECONDS)


def make_provider(ratio: float, environment: Mapping[str, str]) -> Any:
    """The library's provider of tracers, whose spans are bounded and name this process.

    Args:
        ratio: share of the traces that are made.
        environment: of this process.
    """
    return sdk.TracerProvider(
        resource=_make_resource(environment),
        sampler=sampling.ParentBased(sampling.TraceIdRatioBased(ratio)),
        span_limits=sdk.SpanLimits(max_span_attributes=_MOST_FACTS, max_attribute_length=LONGEST),
        shutdown_on_exit=False,
    )


def _make_resource(environment: Mapping[str, str]) -> Any:
    """Who sends the spans, with what the standard variables say; they cannot say where spans go."""
    pairs = [pair.partition("=") for pair in environment.get(_ATTRIBUTES, "").split(",")[:_MOST_ATTRIBUTES]]
    found = {
        "service.name": "reconciler",
        "service.version": __version__,
        "host.name": socket.gethostname(),
        **{name.strip(): unquote(value.strip())[:LONGEST] for name, equals, value in pairs if equals},
    }
    if name := environment.get(_NAME, ""):
        found["service.name"] = name[:LONGEST]
    return resources.Resource.create(found)


def _read_headers(rules: TraceRules, host: Host) -> dict[str, str]:
    return {
        name.lower(): read_key_text(
            find_key_file(file, host.environment), f"the value of the header {name}"
        ).strip()
        for name, file in rules.headers.items()
    }


def _make_exporter(rules: TraceRules, host: Host, headers: Mapping[str, str]) -> Any:
    authorities = str(rules.ca) if rules.ca else host.environment.get(AUTHORITIES, "")
    return otlp.OTLPSpanExporter(
        endpoint=rules.endpoint,
        headers=dict(headers),
        timeout=SEND_SECONDS,
        certificate_file=authorities or None,
        session=_make_session(rules),
    )


def _make_session(rules: TraceRules) -> Any:
    """HTTP to the collector, of whose answers only the head is read."""
    session = requests.Session()
    send = session.request

    def request(*args: Any, **options: Any) -> Any:
        answer = send(*args, **options, stream=True)
        answer.close()
        return answer

    session.request = request
    # A proxy of an unencrypted connection would get the headers.
    session.trust_env = rules.endpoint.startswith("https:")
    session.auth = _keep_headers  # else the user's file of passwords would replace `authorization`
    return session


def _keep_headers(request: Any) -> Any:
    return request


class CountingExporter:
    """Hands spans to the library's exporter, and counts those that the collector has taken.

    Args:
        exporter: the library's.
        delivery: where they are counted.
    """

    def __init__(self, exporter: Any, delivery: SpanDelivery) -> None:
        self._exporter = exporter
        self._delivery = delivery

    def export(self, spans: Sequence[Any]) -> Any:
        """Send spans; called in the thread of the library."""
        result = self._exporter.export(spans)
        if result.name == "SUCCESS":
            self._delivery.note_sent(len(spans))
        else:
            self._delivery.note_refused(self._delivery.warning or "it did not take them")
        return result

    def shutdown(self) -> None:
        """End the connections."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002  (the library's parameter)
        """Nothing waits here."""
        return True


class _LastLine(logging.Handler):
    """Keeps the last warning of the library, which would otherwise be written to standard error."""

    def __init__(self, delivery: SpanDelivery, redactor: Redactor) -> None:
        super().__init__(logging.WARNING)
        self._delivery = delivery
        self._redactor = redactor
        log = logging.getLogger("opentelemetry")
        log.propagate = False
        log.handlers = [self]

    def emit(self, record: logging.LogRecord) -> None:
        text = self._redactor.redact_text(record.getMessage())
        self._delivery.warning = make_one_line(text, _LONGEST_REASON)
