"""Logs to stderr, one line an event: for a person on a terminal, as JSON for everything else."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any, TextIO, TypeAlias, cast

import orjson
import structlog
from structlog.typing import FilteringBoundLogger, Processor

from reconciler.core.secret import MASK, mask

Log = FilteringBoundLogger
Event: TypeAlias = MutableMapping[str, Any]
FORMATS = ("console", "json")

_USERINFO = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/@]+@", re.IGNORECASE)


def open_log(stream: TextIO, *, form: str = "", secrets: Iterable[str] = ()) -> Log:
    """A logger of its own that writes to `stream`; nothing global is touched.

    Args:
        stream: where the lines go.
        form: `console`, `json`, or empty: console where the stream is a terminal.
        secrets: texts that must never be seen, whatever event holds them.
    """
    plain = form == "json" or (not form and not stream.isatty())
    shape: list[Processor] = (
        [_ordered, structlog.processors.JSONRenderer(serializer=_json)]
        if plain
        else [structlog.dev.ConsoleRenderer(colors=stream.isatty(), sort_keys=False, pad_event_to=24)]
    )
    stamp = structlog.processors.TimeStamper(fmt="iso" if plain else "%Y-%m-%d %H:%M:%S", utc=plain)
    logger = structlog.wrap_logger(
        structlog.PrintLogger(stream),
        processors=[structlog.processors.add_log_level, stamp, Redaction(secrets), *shape],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        context_class=dict,
    )
    return cast("Log", logger)


class Redaction:
    """A processor that masks secrets by type, known texts by value, and user names in URLs by form."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = sorted({text for text in secrets if text}, key=lambda text: (-len(text), text))

    def __call__(self, _logger: Any, _method: str, event: Event) -> Event:
        """The event as it may be seen."""
        return {key: self._clean(value) for key, value in mask(event).items()}

    def _clean(self, value: Any) -> Any:
        if isinstance(value, str):
            for text in self._secrets:
                value = value.replace(text, MASK)
            return _USERINFO.sub(r"\1", value)
        if isinstance(value, Mapping):
            return {key: self._clean(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._clean(item) for item in value]
        return value


class Bridge(logging.Handler):
    """Brings what libraries log the standard way into the same stream and form."""

    def __init__(self, log: Log, *, level: int = logging.WARNING) -> None:
        super().__init__(level)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """One library record as one event; its traceback shrinks to the error's class and words."""
        kind, error = record.exc_info[:2] if record.exc_info else (None, None)
        extra = {"error": f"{kind.__name__}: {error}"} if kind else {}
        self._log.log(record.levelno, record.getMessage(), library=record.name, **extra)


def _ordered(_logger: Any, _method: str, event: Event) -> Event:
    first = ("timestamp", "level", "event")
    return {**{key: event[key] for key in first if key in event}, **event}


def _json(value: Any, **_options: Any) -> str:
    return orjson.dumps(value, default=str).decode()
