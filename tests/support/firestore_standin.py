"""A small stand-in for Firestore and its library, in memory: what the program uses of it, and no more.

It is no proof that the library works like this: the component tests run the same calls against an emulator.
"""

import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

from reconciler.host import firestore_client


class GoogleAPIError(Exception):
    """Any answer of the library that is an error."""

    name = "UNKNOWN"

    def __init__(self, message=""):
        super().__init__(message)
        self.message = message
        self.grpc_status_code = SimpleNamespace(name=self.name)


def make_error(base, name):
    return type(name, (base,), {"name": name})


EXCEPTIONS = SimpleNamespace(
    GoogleAPIError=GoogleAPIError,
    **{
        name: make_error(GoogleAPIError, name)
        for name in (
            *("AlreadyExists", "InvalidArgument", "OutOfRange", "ServiceUnavailable", "DeadlineExceeded"),
            *("RetryError", "PermissionDenied", "NotFound"),
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
    """

    documents: dict = field(default_factory=dict)
    faults: list = field(default_factory=list)
    lost: int = 0
    calls: int = 0
    clients: list = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)
    now: datetime = datetime(2026, 11, 30, 12, tzinfo=UTC)

    def write(self, path, data, *, new):
        with self.lock:
            self.calls += 1
            if self.faults and (fault := self.faults.pop(0)):
                raise fault
            if new and path in self.documents:
                raise EXCEPTIONS.AlreadyExists("it exists")
            self.now += timedelta(milliseconds=1)
            self.documents[path] = (data, self.now)
            if self.lost:
                self.lost -= 1
                raise EXCEPTIONS.DeadlineExceeded("no answer")

    def open(self, *arguments):
        """What takes the place of `open_firestore`."""
        self.clients.append(StandInClient(self))
        return self.clients[-1]


class StandInClient:
    """The part of a client that the program uses."""

    def __init__(self, database):
        self.database = database
        self.is_closed = False
        self._transport = SimpleNamespace(close=self._close)

    def _close(self):
        self.is_closed = True

    def collection(self, path):
        return SimpleNamespace(document=lambda name: self.document(f"{path}/{name}"))

    def document(self, path):
        return StandInDocument(self.database, path)


@dataclass
class StandInDocument:
    database: MemoryFirestore
    path: str

    def create(self, data, *, retry, timeout):
        assert retry is None
        assert timeout > 0
        self.database.write(self.path, data, new=True)

    def set(self, data, *, retry, timeout):
        assert retry is None
        assert timeout > 0
        self.database.write(self.path, data, new=False)


def stand_in(monkeypatch):
    """Put the stand-in in the place of the library's exceptions."""
    modules = {"google.api_core.exceptions": EXCEPTIONS, "google.auth.exceptions": AUTH}
    monkeypatch.setattr(firestore_client, "import_extra", lambda name, *_: modules[name])
    return MemoryFirestore()
