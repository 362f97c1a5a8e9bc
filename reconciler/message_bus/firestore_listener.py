"""Listens to documents and collections of a Firestore database, in a thread of its own.

Not the library's `on_snapshot`: it keeps all documents of a collection in memory, copies their table for each
one, and needs a stream and two threads for each path. Here one stream has all paths, and nothing is kept but
what waits to be taken.

Firestore says what changed up to a moment, over all paths. The changes of such a moment are sorted by the
time when they were committed, which is the offset of a message: it grows from one moment to the next. What
the server forgets or removes is no message, so that a database that was emptied says nothing.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

from reconciler.core.firestore_paths import find_path_problem, is_collection
from reconciler.host.extras import import_extra
from reconciler.host.firestore_client import EXTRA, PURPOSE, CallProblem, explain_error
from reconciler.host.firestore_config import MOST_KEPT
from reconciler.host.retry import make_growing_pauses
from reconciler.ports.message_bus import (
    LARGEST_MESSAGE,
    MOST_RECEIVED,
    MOST_RECEIVED_BYTES,
    BusMessage,
)
from reconciler.text.one_line import make_one_line

WINDOW: Final = 1000
"""Documents of a collection that are read at once where read ones are deleted: the next ones follow."""

IDLE_SECONDS: Final = 1.0
"""Seconds after which changes are given although the server has not said that their moment is complete.

Google's emulator does not say it of a document that is written while a path begins to be listened to.
"""

REFUSED_SECONDS: Final = 30.0
"""After which time a path that the server refused is asked for again."""

_DEPTH: Final = 32
"""Levels of a document; Firestore allows 20."""

_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 10.0
_DELETE_SECONDS: Final = 10.0
_TIE_BITS: Final = 12
_LONGEST: Final = 300


@dataclass(frozen=True, slots=True)
class FirestoreMessage(BusMessage):
    """A message with its document.

    Args:
        document: its path.
        updated: when it was written, as the library has it.
        is_removable: whether it is to be deleted once it is recorded.
    """

    document: str = ""
    updated: Any = None
    is_removable: bool = False

    @property
    def place(self) -> str:
        """For logs: the path of the document."""
        return make_one_line(self.document, _LONGEST)


class FirestoreListener:
    """Listens to paths; its thread begins with the first of them.

    Attributes:
        problem: why it is not connected; empty if it is.
        warning: what is wrong with some paths, while the others work; empty for nothing.

    Args:
        client: of the database.
        removes: whether documents of collections are deleted once they are acknowledged.
    """

    def __init__(self, client: Any, *, removes: bool) -> None:
        self.problem = self.warning = ""
        self._client = client
        self._removes = removes
        self._types = import_extra("google.cloud.firestore_v1.types", EXTRA, PURPOSE)
        self._prefix = f"{client._database_string}/documents/"  # noqa: SLF001
        self._channels: frozenset[str] = frozenset()
        self._lock = threading.Condition()
        self._stream: _Stream | None = None
        self._inbox: deque[FirestoreMessage] = deque()
        self._inbox_size = 0
        self._newest: dict[str, int] = {}
        self._token = b""
        self._refused: dict[str, float] = {}
        self._is_stopped = False
        self._thread: threading.Thread | None = None

    def listen(self, channels: frozenset[str]) -> None:
        """Listen to exactly these paths from now on."""
        with self._lock:
            if channels == self._channels:
                return
            # A token is of the moment up to which the former paths are known: new ones are read whole.
            if channels - self._channels:
                self._token = b""
            self._channels = channels
            self._refused.clear()
            self._restart()
            if self._thread is None and channels:
                self._thread = threading.Thread(target=self._run, name="firestore listener", daemon=True)
                self._thread.start()

    def take(self, seconds: float) -> Sequence[BusMessage]:
        """The next messages; none if none came within so many seconds. Blocks."""
        found: list[BusMessage] = []
        size = 0
        with self._lock:
            if any(until <= time.monotonic() for until in self._refused.values()):
                self._refused.clear()
                self._token = b""
                self._restart()
            stream = self._stream
        if stream is not None and stream.is_idle():
            self._put_early(stream)
        with self._lock:
            self._lock.wait_for(lambda: self._inbox or self._is_stopped, seconds)
            while self._inbox and len(found) < MOST_RECEIVED and size < MOST_RECEIVED_BYTES:
                message = self._inbox.popleft()
                found.append(message)
                size += len(message.body)
            self._inbox_size -= size
            self._lock.notify_all()
        return found

    def remove(self, message: FirestoreMessage) -> None:
        """Delete the document of a message, unless it was written again meanwhile."""
        option = self._client.write_option(last_update_time=message.updated)
        reference = self._client.document(message.document)
        try:
            reference.delete(option=option, retry=None, timeout=_DELETE_SECONDS)
        except Exception as error:
            # Deleted or changed by somebody else: what it has now is a message of its own.
            if explain_error(error)[0] is not CallProblem.CHANGED:
                raise

    def stop(self) -> None:
        """End the stream and the thread; what was not taken is given again to the next listener."""
        with self._lock:
            self._is_stopped = True
            self._restart()
            self._lock.notify_all()

    def join(self, seconds: float) -> None:
        """Wait for the end of the thread."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _restart(self) -> None:
        if self._stream is not None:
            self._stream.end()
        self._lock.notify_all()

    def _run(self) -> None:
        pauses = make_growing_pauses(_FIRST_PAUSE, _LONGEST_PAUSE)
        while True:
            stream = self._begin()
            if stream is None:
                return
            try:
                self._follow(stream)
            except Exception as error:  # noqa: BLE001  (raised again unless the library means it as an answer)
                if stream.is_ended:  # by this side
                    continue
                self.problem = explain_error(error)[1]
            finally:
                stream.end()
            if stream.is_proven:
                pauses = make_growing_pauses(_FIRST_PAUSE, _LONGEST_PAUSE)
            elif stream.token:
                self._token = b""  # perhaps the server does not know it any more
            with self._lock:
                self._lock.wait_for(lambda: self._is_stopped, next(pauses))

    def _begin(self) -> _Stream | None:
        """A stream for the paths of this moment; None once the listener is stopped."""
        with self._lock:
            self._stream = None
            self._lock.wait_for(lambda: self._is_stopped or self._channels - self._refused.keys())
            if self._is_stopped:
                return None
            wrong = {one: find_path_problem(one) for one in self._channels}
            for channel, problem in wrong.items():
                if problem:
                    self._refuse(channel, f"the path {problem}")
            channels = sorted(self._channels - self._refused.keys())
            targets = dict(enumerate(channels, 1))
            self._stream = _Stream(targets, self._token)
            return self._stream

    def _follow(self, stream: _Stream) -> None:
        """Take over what the server says until the stream ends."""
        requests = stream.send_requests(self._make_request(stream, number) for number in stream.targets)
        client = self._client
        call = client._firestore_api.transport.listen(requests, metadata=client._rpc_metadata)  # noqa: SLF001
        stream.open(call)
        for response in call:
            kind = response._pb.WhichOneof("response_type")  # noqa: SLF001  (its own way to ask for it)
            if kind == "document_change":
                self._note_document(stream, response.document_change)
            elif kind == "target_change":
                self._note_target(stream, response.target_change)

    def _make_request(self, stream: _Stream, number: int) -> Any:
        channel = stream.targets[number]
        target: dict[str, Any] = {"target_id": number}
        if is_collection(channel):
            parent, _, name = channel.rpartition("/")
            query = {"from_": [{"collection_id": name}], "limit": WINDOW if self._removes else MOST_KEPT}
            target["query"] = {"parent": f"{self._prefix}{parent}".rstrip("/"), "structured_query": query}
        else:
            target["documents"] = {"documents": [f"{self._prefix}{channel}"]}
        if stream.token:
            target["resume_token"] = stream.token
        return self._types.ListenRequest(database=self._prefix.removesuffix("/documents/"), add_target=target)

    def _note_document(self, stream: _Stream, change: Any) -> None:
        channels = [stream.targets[number] for number in change.target_ids if number in stream.targets]
        document = change.document
        path = document.name.removeprefix(self._prefix)
        for channel in channels:
            if channel in (path, path.rpartition("/")[0]):
                message = self._read(channel, path, document)
                stream.hold(message)
        if stream.size > MOST_RECEIVED_BYTES:
            self._put_early(stream)  # too much for memory at once

    def _note_target(self, stream: _Stream, change: Any) -> None:
        kinds = self._types.TargetChange.TargetChangeType
        kind, numbers = change.target_change_type, list(change.target_ids)
        if kind == kinds.REMOVE:
            words = f"code {change.cause.code}: {make_one_line(change.cause.message, _LONGEST)}"
            for number in numbers:
                if channel := stream.targets.get(number):
                    with self._lock:
                        self._refuse(channel, f"the server refused it ({words})")
        elif kind == kinds.RESET:
            stream.drop(
                {stream.targets[number] for number in numbers or stream.targets if number in stream.targets}
            )
        elif kind == kinds.NO_CHANGE and not numbers and change.read_time:
            # The moment up to which all changes have been told.
            self._put(self._select_new(stream.release()))
            with self._lock:
                if not stream.is_ended:  # else it is of other paths
                    self._token = change.resume_token
            stream.is_proven = True
            self.problem = ""
            if not self._refused:
                self.warning = self._find_overflow(stream)

    def _refuse(self, channel: str, problem: str) -> None:
        self._refused[channel] = time.monotonic() + REFUSED_SECONDS
        self.warning = f"{make_one_line(channel, _LONGEST)}: {problem}"

    def _find_overflow(self, stream: _Stream) -> str:
        if self._removes or not (full := stream.find_full(MOST_KEPT)):
            return ""
        return (
            f"the collection {full} has more than {MOST_KEPT} documents, and no further ones are read: "
            "delete old ones, or set `consume` in the entry of the host configuration"
        )

    def _select_new(self, messages: list[FirestoreMessage]) -> list[FirestoreMessage]:
        """The messages that were not given before, of those in the order in which they were written."""
        found: list[FirestoreMessage] = []
        before = dict(self._newest)
        for message in messages:
            assert message.offset is not None
            if message.offset <= before.get(message.channel, -1):
                continue
            # Two documents of one write may have one offset: the second comes without, and is not dropped.
            is_tie = message.offset == self._newest.get(message.channel)
            self._newest[message.channel] = message.offset
            found.append(replace(message, offset=None) if is_tie else message)
        return found

    def _put_early(self, stream: _Stream) -> None:
        """Let what is kept be taken before its moment is complete."""
        # Without offsets: what follows may have been written before it.
        self._put([replace(one, offset=None) for one in stream.release()])

    def _put(self, messages: list[FirestoreMessage]) -> None:
        """Let messages be taken; waits while too many are not."""
        for message in messages:
            with self._lock:
                self._lock.wait_for(lambda: self._inbox_size < MOST_RECEIVED_BYTES or self._is_stopped)
                self._inbox.append(message)
                self._inbox_size += len(message.body)
                self._lock.notify_all()

    def _read(self, channel: str, path: str, document: Any) -> FirestoreMessage:
        updated = document.update_time
        at = datetime.fromtimestamp(updated.timestamp(), UTC).replace(microsecond=updated.microsecond)
        body, defect, is_report = b"", "", True
        if document._pb.ByteSize() > LARGEST_MESSAGE:  # noqa: SLF001
            defect = "it is too large"
        else:
            try:
                value = _read_map(document._pb.fields, 0)  # noqa: SLF001
                body = json.dumps(value, ensure_ascii=False).encode()
                # Feeds have no `node`: where a node listens and reports at one path, those are not deleted.
                is_report = isinstance(value.get("node"), dict)
            except (ValueError, RecursionError) as error:
                defect = str(error) if isinstance(error, UnreadableValue) else "it cannot be written as JSON"
        return FirestoreMessage(
            channel,
            0,
            _make_offset(at, path),
            at,
            body,
            defect,
            path,
            updated,
            is_removable=self._removes and is_collection(channel) and (is_report or bool(defect)),
        )


class UnreadableValue(ValueError):
    """A value of a document that no message has."""


class _Stream:
    """One stream of the server, with the changes that it has told since the last complete moment.

    Args:
        targets: number of a target -> its path.
        token: of an earlier moment, from which the server goes on; empty for everything.
    """

    def __init__(self, targets: dict[int, str], token: bytes) -> None:
        self.targets = targets
        self.token = token
        self.is_proven = False
        self.is_ended = False
        self.size = 0
        self._held: dict[tuple[str, str], FirestoreMessage] = {}
        self._held_at = 0.0
        self._counts: dict[str, int] = {}
        self._ended = threading.Event()
        self._call: Any = None
        self._lock = threading.Lock()

    def send_requests(self, requests: Iterator[Any]) -> Iterator[Any]:
        """The requests, and then nothing until the end: the server ends a stream whose requests end."""
        yield from requests
        self._ended.wait()

    def open(self, call: Any) -> None:
        """Take the call, which may be ended already."""
        with self._lock:
            self._call = call
        if self.is_ended:
            call.cancel()

    def end(self) -> None:
        """End it, from any thread."""
        self.is_ended = True
        self._ended.set()
        with self._lock:
            call = self._call
        if call is not None:
            call.cancel()

    def hold(self, message: FirestoreMessage) -> None:
        """Keep a change until its moment is complete; a document has its newest one only."""
        place = (message.channel, message.document)
        with self._lock:
            if (former := self._held.get(place)) is not None:
                self.size -= len(former.body)
            if not self.is_proven:
                self._counts[message.channel] = self._counts.get(message.channel, 0) + 1
            self._held[place] = message
            self._held_at = time.monotonic()
            self.size += len(message.body)

    def is_idle(self) -> bool:
        """Whether changes are kept, and nothing has been told for a while."""
        with self._lock:
            return bool(self._held) and time.monotonic() - self._held_at > IDLE_SECONDS

    def release(self) -> list[FirestoreMessage]:
        """All changes that were kept, in the order in which they were written."""
        with self._lock:
            found, self._held, self.size = list(self._held.values()), {}, 0
        return sorted(found, key=lambda one: one.offset or 0)

    def drop(self, channels: set[str]) -> None:
        """Forget what was told of some paths: the server begins anew."""
        with self._lock:
            self._held = {place: one for place, one in self._held.items() if place[0] not in channels}
            self.size = sum(len(one.body) for one in self._held.values())

    def find_full(self, most: int) -> str:
        """A collection that had as many documents at the beginning as are read; empty for none."""
        return next((channel for channel, count in sorted(self._counts.items()) if count >= most), "")


def _make_offset(at: datetime, path: str) -> int:
    """The time of a change in microseconds; changes of one moment differ by their path."""
    microseconds = int(at.replace(microsecond=0).timestamp()) * 1_000_000 + at.microsecond
    tie = int.from_bytes(sha256(path.encode()).digest()[:2], "big") % (1 << _TIE_BITS)
    return (microseconds << _TIE_BITS) + tie


def _read_map(fields: Any, depth: int) -> dict[str, Any]:
    return {name: _read_value(value, depth + 1) for name, value in fields.items()}


def _read_value(value: Any, depth: int) -> Any:
    """A value of Firestore as one of JSON."""
    if depth > _DEPTH:
        raise UnreadableValue("it is nested too deeply")
    kind = value.WhichOneof("value_type")
    match kind:
        case "null_value":
            return None
        case "boolean_value" | "integer_value" | "string_value":
            return getattr(value, kind)
        case "double_value":
            number = value.double_value
            if not math.isfinite(number):
                raise UnreadableValue("it has a number that JSON has not")
            return int(number) if number.is_integer() and abs(number) < 1 << 53 else number
        case "timestamp_value":
            return value.timestamp_value.ToJsonString()
        case "array_value":
            return [_read_value(one, depth + 1) for one in value.array_value.values]
        case "map_value":
            return _read_map(value.map_value.fields, depth)
    raise UnreadableValue("it has a value that JSON has not, such as bytes or a reference")
