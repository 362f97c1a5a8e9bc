"""A small stand-in for Firestore and its library, in memory: what the program uses of it, and no more.

It is no proof that the library works like this: the component tests run the same calls against an emulator.
"""

import queue
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

from reconciler.host import firestore_client
from reconciler.message_bus import firestore_listener


class GoogleAPIError(Exception):
    """Any answer of the library that is an error."""

    name = "UNKNOWN"

    def __init__(self, message=""):
        super().__init__(message)
        self.message = message
        self.grpc_status_code = SimpleNamespace(name=self.name)


def make_error(base, name):
    return type(name, (base,), {"name": name})


class RpcError(Exception):
    """An error of gRPC itself."""


EXCEPTIONS = SimpleNamespace(
    GoogleAPIError=GoogleAPIError,
    from_grpc_error=lambda error: error.args[0],
    **{
        name: make_error(GoogleAPIError, name)
        for name in (
            *("AlreadyExists", "InvalidArgument", "OutOfRange", "ServiceUnavailable", "DeadlineExceeded"),
            *("RetryError", "PermissionDenied", "NotFound", "FailedPrecondition"),
        )
    },
)
AUTH = SimpleNamespace(GoogleAuthError=type("GoogleAuthError", (Exception,), {}))


@dataclass
class MemoryFirestore:
    """The documents of one database, and the faults that tests ask for.

    Args:
        faults: exceptions of the next calls, in order; None for a call that succeeds.
        lost: how many of the next writes take effect without an answer.
        is_incomplete: whether streams tell changes without their end.
    """

    documents: dict = field(default_factory=dict)
    faults: list = field(default_factory=list)
    lost: int = 0
    calls: int = 0
    clients: list = field(default_factory=list)
    streams: list = field(default_factory=list)
    forbidden: set = field(default_factory=set)
    is_down: bool = False
    is_incomplete: bool = False
    lock: threading.RLock = field(default_factory=threading.RLock)
    now: datetime = datetime(2026, 11, 30, 12, tzinfo=UTC)

    def write(self, path, data, *, new):
        with self.lock:
            self.calls += 1
            if self.is_down:
                raise EXCEPTIONS.ServiceUnavailable("connection refused")
            if self.faults and (fault := self.faults.pop(0)):
                raise fault
            if new and path in self.documents:
                raise EXCEPTIONS.AlreadyExists("it exists")
            self.now += timedelta(milliseconds=1)
            self.documents[path] = (data, self.now)
            for stream in self.streams:
                stream.tell([path])
            if self.lost:
                self.lost -= 1
                raise EXCEPTIONS.DeadlineExceeded("no answer")

    def delete(self, path, option):
        with self.lock:
            self.calls += 1
            if path not in self.documents:
                raise EXCEPTIONS.NotFound(path)
            if option != self.documents[path][1]:
                raise EXCEPTIONS.FailedPrecondition(path)
            del self.documents[path]

    def cut(self):
        """End all streams as a server that is gone."""
        with self.lock:
            for stream in self.streams:
                stream.queue.put(RpcError(EXCEPTIONS.ServiceUnavailable("connection refused")))
            self.streams.clear()

    def listen(self, requests, metadata):
        del metadata
        if self.is_down:
            raise RpcError(EXCEPTIONS.ServiceUnavailable("connection refused"))
        with self.lock:
            stream = StandInStream(self, requests)
            self.streams.append(stream)
        return stream

    def open(self, *arguments):
        """What takes the place of `open_firestore`."""
        self.clients.append(StandInClient(self))
        return self.clients[-1]


class StandInClient:
    """The part of a client that the program uses."""

    def __init__(self, database):
        self.database = database
        self.is_closed = False
        self._transport = SimpleNamespace(close=self._close, listen=database.listen)
        self._firestore_api = SimpleNamespace(transport=self._transport)
        self._database_string = "projects/p/databases/(default)"
        self._rpc_metadata = []

    def _close(self):
        self.is_closed = True

    def collection(self, path):
        return SimpleNamespace(document=lambda name: self.document(f"{path}/{name}"))

    def document(self, path):
        return StandInDocument(self.database, path)

    def write_option(self, *, last_update_time):
        return last_update_time


PREFIX = "projects/p/databases/(default)/documents/"


class Value:
    """A value in the form of the library's protocol."""

    def __init__(self, value):
        kinds = {
            type(None): "null_value",
            bool: "boolean_value",
            int: "integer_value",
            float: "double_value",
            str: "string_value",
            bytes: "bytes_value",
        }
        self.kind = kinds.get(type(value)) or ("map_value" if isinstance(value, dict) else "array_value")
        if isinstance(value, dict):
            value = SimpleNamespace(fields={key: Value(item) for key, item in value.items()})
        elif isinstance(value, list):
            value = SimpleNamespace(values=[Value(item) for item in value])
        setattr(self, self.kind, value)

    def WhichOneof(self, _):  # noqa: N802
        return self.kind


class Response:
    """What a stream gives."""

    def __init__(self, kind, value):
        self._pb = SimpleNamespace(WhichOneof=lambda _: kind)
        setattr(self, kind, value)


CHANGES = SimpleNamespace(REMOVE="REMOVE", RESET="RESET", NO_CHANGE="NO_CHANGE")


class StandInStream:
    """A stream that a server answers to the targets of some requests."""

    def __init__(self, database, requests):
        self.database = database
        self.queue = queue.Queue()
        self.targets = {}
        threading.Thread(target=self._read, args=(requests,), daemon=True).start()

    def _read(self, requests):
        for request in requests:
            target = request.add_target
            if "query" in target:
                place = target["query"]
                name = place["structured_query"]["from_"][0]["collection_id"]
                path = f"{place['parent']}/{name}".removeprefix(PREFIX)
            else:
                path = target["documents"]["documents"][0].removeprefix(PREFIX)
            with self.database.lock:
                if path in self.database.forbidden:
                    cause = SimpleNamespace(code=7, message="not yours")
                    self._change("REMOVE", [target["target_id"]], cause=cause)
                    continue
                self.targets[path] = target["target_id"]
                since = target.get("resume_token", b"").decode()
                self.tell(
                    [
                        one
                        for one, (_, at) in self.database.documents.items()
                        if path in (one, one.rpartition("/")[0]) and at.isoformat() > since
                    ]
                )

    def tell(self, paths):
        for path in paths:
            data, at = self.database.documents[path]
            numbers = [
                number for place, number in self.targets.items() if place in (path, path.rpartition("/")[0])
            ]
            if numbers:
                fields = {key: Value(value) for key, value in data.items()}
                pb = SimpleNamespace(fields=fields, ByteSize=lambda data=data: len(str(data)))
                document = SimpleNamespace(name=PREFIX + path, update_time=at, _pb=pb)
                change = SimpleNamespace(document=document, target_ids=numbers)
                self.queue.put(Response("document_change", change))
        if not self.database.is_incomplete:
            self._change("NO_CHANGE", [])

    def _change(self, kind, numbers, cause=None):
        change = SimpleNamespace(
            target_change_type=kind,
            target_ids=numbers,
            cause=cause,
            read_time=self.database.now,
            resume_token=self.database.now.isoformat().encode(),
        )
        self.queue.put(Response("target_change", change))

    def __iter__(self):
        while True:
            found = self.queue.get()
            if isinstance(found, RpcError):
                raise found
            yield found

    def cancel(self):
        self.queue.put(RpcError(EXCEPTIONS.DeadlineExceeded("cancelled")))


@dataclass
class StandInDocument:
    database: MemoryFirestore
    path: str

    def create(self, data, *, retry, timeout):
        assert retry is None
        assert timeout > 0
        self.database.write(self.path, data, new=True)

    def delete(self, *, option, retry, timeout):
        assert retry is None
        assert timeout > 0
        self.database.delete(self.path, option)

    def set(self, data, *, retry, timeout):
        assert retry is None
        assert timeout > 0
        self.database.write(self.path, data, new=False)


def stand_in(monkeypatch):
    """Put the stand-in in the place of the library's exceptions."""
    modules = {
        "google.api_core.exceptions": EXCEPTIONS,
        "google.auth.exceptions": AUTH,
        "grpc": SimpleNamespace(RpcError=RpcError),
        "google.cloud.firestore_v1.types": SimpleNamespace(
            ListenRequest=SimpleNamespace,
            TargetChange=SimpleNamespace(TargetChangeType=CHANGES),
        ),
    }
    for module in (firestore_client, firestore_listener):
        monkeypatch.setattr(module, "import_extra", lambda name, *_: modules[name])
    return MemoryFirestore()
