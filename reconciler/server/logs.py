"""The log: one line per event, as text on a terminal and as JSON elsewhere."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias, cast

import orjson
import structlog
from structlog.typing import FilteringBoundLogger, Processor

from reconciler.core.defect import REPORT_LINE, list_error_frames, name_error
from reconciler.core.secret import mask
from reconciler.secrets.redaction import Redactor
from reconciler.server.throttle import Throttle
from reconciler.text.one_line import UNSEEN, escape_unseen

Log = FilteringBoundLogger
Event: TypeAlias = MutableMapping[str, Any]

LONGEST = 8_000
"""Characters of one text in a line; texts from nodes and repositories may be longer."""

MOST = 100
"""Items of one list or mapping in a line."""

LONGEST_LINE = 64_000
"""Characters of all texts in a line."""

MOST_OF_LINE = 2_000
"""Items of all lists and mappings in a line."""

DEEPEST = 10
"""Levels of lists and mappings in a line."""


class LogStream(Protocol):
    """Where log lines go."""

    def write(self, text: str, /) -> object:
        """Take one line."""

    def flush(self) -> object:
        """Called after every line."""

    def isatty(self) -> bool:
        """Whether this is a terminal."""


def open_log(stream: LogStream, *, form: str = "", secrets: Iterable[str] = (), colour: bool = True) -> Log:
    """A logger that writes to `stream`; no global configuration changes.

    Args:
        stream: where the lines go.
        form: `console`, `json`, or empty: console if the stream is a terminal.
        secrets: texts to mask in every event.
        colour: whether a terminal gets colours.
    """
    plain = form == "json" or (not form and not stream.isatty())
    shape: list[Processor] = (
        [_put_main_keys_first, structlog.processors.JSONRenderer(serializer=_json)]
        if plain
        else [
            _escape_event,
            structlog.dev.ConsoleRenderer(
                colors=colour and stream.isatty(), sort_keys=False, pad_event_to=24
            ),
        ]
    )
    # A terminal shows the time of its user; collected logs of several hosts need one time zone.
    stamp = structlog.processors.TimeStamper(fmt="iso" if plain else "%Y-%m-%d %H:%M:%S", utc=plain)
    logger = structlog.wrap_logger(
        _LineLogger(stream),
        processors=[
            structlog.processors.add_log_level,
            stamp,
            SafeProcessors([LogRedactor(secrets), *shape]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        context_class=dict,
    )
    return cast("Log", logger)


class _LineLogger:
    """Writes finished lines; those from a warning on as urgent ones, if the stream knows the difference."""

    def __init__(self, stream: LogStream) -> None:
        self._stream = stream
        self._write_urgent = getattr(stream, "write_urgent", stream.write)

    def msg(self, line: str) -> None:
        self._stream.write(f"{line}\n")
        self._stream.flush()

    debug = info = msg

    def urgent(self, line: str) -> None:
        self._write_urgent(f"{line}\n")
        self._stream.flush()

    warning = error = critical = exception = fatal = urgent


def log_defect(log: Log, event: str, error: BaseException, consequence: str = "", **fields: object) -> None:
    """Log an unexpected error with its frames, which hold no values and so no secrets."""
    remedy = f"{consequence}; {REPORT_LINE}" if consequence else REPORT_LINE
    log.error(event, **fields, message=name_error(error), remedy=remedy, trace=list_error_frames(error))


class SafeProcessors:
    """Runs processors; if one fails, gives a short line instead: logging must never raise into the caller.

    Args:
        processors: in order; the last one renders.
    """

    def __init__(self, processors: Sequence[Processor]) -> None:
        self._processors = processors

    def __call__(self, logger: Any, method: str, event: Event) -> str:
        """The line."""
        kept = {key: event.get(key) for key in ("timestamp", "level")}
        try:
            found: Any = event
            for processor in self._processors:
                found = processor(logger, method, found)
            return str(found)
        except Exception as error:  # noqa: BLE001  (values that a renderer cannot handle)
            message = f"cannot render a log line: {type(error).__name__}"
            return _json({**kept, "event": message, "remedy": "report it with the lines before and after it"})


_KEYS: Final = 200
"""Keys of events that are remembered with their masked form."""


class LogRedactor:
    """Masks secrets by type, known secrets by value and URLs by form; shortens what exceeds the limits."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._redactor = Redactor(secrets, shortest=1)
        self._keys: dict[str, str] = {}

    def __call__(self, _logger: Any, _method: str, event: Event) -> Event:
        """The event with secrets masked and long values shortened."""
        room = _Room()
        return {room.take(self._clean_key(key)): self._clean(value, room, 0) for key, value in event.items()}

    def _clean_key(self, key: str) -> str:
        """A key of the event, masked: nearly all are words of this program, which repeat in every line."""
        if key not in self._keys:
            if len(self._keys) >= _KEYS:
                return self._redactor.redact_text(key)
            self._keys[key] = self._redactor.redact_text(key)
        return self._keys[key]

    def _clean(self, value: Any, room: _Room, depth: int) -> Any:
        """A value, masked, within the space left in the line."""
        if isinstance(value, str):
            return room.take(self._redactor.redact_text(value))
        if not isinstance(value, Mapping | list | tuple):
            return self._clean(shown, room, depth) if (shown := mask(value)) is not value else value
        if depth >= DEEPEST:
            return "…"
        kept = list(value)[: room.items(len(value))]
        more = len(value) - len(kept)
        if isinstance(value, Mapping):
            return {self._clean(key, room, depth): self._clean(value[key], room, depth + 1) for key in kept}
        rest = [f"… ({more:,} more)"] if more > 0 else []
        return [*(self._clean(item, room, depth + 1) for item in kept), *rest]


@dataclass(slots=True)
class _Room:
    """Space left in a line. Limits of single values are not enough: nested lists multiply."""

    characters: int = LONGEST_LINE
    left: int = MOST_OF_LINE

    def take(self, text: str) -> str:
        """The text, or its beginning and the number of characters left out."""
        most = min(LONGEST, self.characters)
        self.characters -= min(len(text), most)
        more = len(text) - most
        return f"{text[:most]} … ({more:,} more characters)" if more > 0 else text

    def items(self, number: int) -> int:
        """How many of `number` items fit."""
        kept = min(number, MOST, self.left)
        self.left -= kept
        return kept


class LibraryLogBridge(logging.Handler):
    """Writes what libraries log through `logging` into this log, a few lines per minute."""

    def __init__(self, log: Log, *, level: int = logging.WARNING) -> None:
        super().__init__(level)
        self._log = log
        self._throttle = Throttle()

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record as one event, with the class and message of its error instead of the traceback."""
        try:
            self._forward(record)
        except Exception as error:  # noqa: BLE001  (a bad record must not end the library's call)
            self._log.warning("cannot read a library's log record", message=type(error).__name__)

    def _forward(self, record: logging.LogRecord) -> None:
        more = self._throttle.admit(f"{record.name} {record.msg!s:.100}")
        if more is None:
            return
        kind, error = record.exc_info[:2] if record.exc_info else (None, None)
        extra = {"error": f"{kind.__name__}: {error}"} if kind else {}
        self._log.log(record.levelno, record.getMessage(), library=record.name, **extra, **more)


def _put_main_keys_first(_logger: Any, _method: str, event: Event) -> Event:
    first = ("timestamp", "level", "event")
    return {**{key: event[key] for key in first if key in event}, **event}


def _escape_event(_logger: Any, _method: str, event: Event) -> Event:
    """The event for a terminal: escape sequences in foreign texts must not control it."""
    return {_escape(key): _escape(item) for key, item in event.items()}


def _escape(value: Any) -> Any:
    if isinstance(value, str):
        return escape_unseen(value)
    if isinstance(value, Mapping):
        return {_escape(key): _escape(item) for key, item in value.items()}
    return [_escape(item) for item in value] if isinstance(value, list | tuple) else value


def _json(value: Any, **_options: Any) -> str:
    try:
        text = orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
        # Escaped in JSON too: `less` or a web page would obey characters that reorder or hide text.
        return UNSEEN.sub(lambda found: f"\\u{ord(found.group()):04x}", text)
    except TypeError:  # lone surrogates, or integers beyond 64 bits
        return json.dumps(value, default=str)
