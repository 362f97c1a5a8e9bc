"""The library of OpenTelemetry, which the extra `otel` installs; to import this module is to load it.

Raises UsageError, with the command that installs it, where it is missing.
"""

from __future__ import annotations

from typing import Any

from reconciler.host.extras import import_extra


def _load(module: str) -> Any:
    return import_extra(module, "otel", "Traces")


api = _load("opentelemetry.trace")
context = _load("opentelemetry.context")
propagation = _load("opentelemetry.trace.propagation.tracecontext")
sdk = _load("opentelemetry.sdk.trace")
sampling = _load("opentelemetry.sdk.trace.sampling")
resources = _load("opentelemetry.sdk.resources")
export = _load("opentelemetry.sdk.trace.export")
otlp = _load("opentelemetry.exporter.otlp.proto.http.trace_exporter")
requests = _load("requests")
