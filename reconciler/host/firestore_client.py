"""Opens clients of Firestore databases of the host configuration, and says what their errors mean.

Shared by the sink of feedback and by the message bus. Only what the entry says counts: neither
`FIRESTORE_EMULATOR_HOST` nor the credentials of the machine's user, which the library would look for.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from enum import Enum, auto
from typing import Any, Final

from reconciler.errors import UsageError
from reconciler.host.credentials import find_key_file, read_key_file
from reconciler.host.extras import import_extra
from reconciler.host.firestore_config import FirestoreProject
from reconciler.text.one_line import make_one_line

EXTRA: Final = "firestore"
PURPOSE: Final = "Firestore databases"

_LONGEST: Final = 300

_LARGEST_ANSWER: Final = 4 * 1024 * 1024
"""Bytes of one message of the server; a document has at most 1 MiB."""

_CHANNEL: Final = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.max_receive_message_length", _LARGEST_ANSWER),
    # By default, connections of one process share their pauses after failures, which grow to two minutes: a
    # sink that is back would still count as away.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)


class CallProblem(Enum):
    """What an error of a call means."""

    EXISTS = auto()
    """The document exists already."""

    REFUSED = auto()
    """The content is refused: the same call would be refused again."""

    CHANGED = auto()
    """The document is not there, or not as the call expects it."""

    OTHER = auto()
    """The way to the database: the same call may succeed later."""


def open_firestore(name: str, entry: FirestoreProject, environment: Mapping[str, str]) -> Any:
    """A `google.cloud.firestore.Client`; it connects with its first call. Slow: imports the library.

    Args:
        name: of the entry, for errors.
        entry: of the host configuration.
        environment: of the process.

    Raises:
        UsageError: the library is not installed, or the credentials cannot be used.
    """
    # gRPC writes lines of its own to standard error, which belongs to the program.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    firestore = import_extra("google.cloud.firestore", EXTRA, PURPOSE)
    if entry.emulator is not None:
        credentials: Any = import_extra("google.auth.credentials", EXTRA, PURPOSE).AnonymousCredentials()
    else:
        credentials = _read_credentials(name, entry, environment)
    client = firestore.Client(project=entry.project, database=entry.database, credentials=credentials)
    _connect(client, str(entry.emulator) if entry.emulator else "")
    return client


def _connect(client: Any, emulator: str) -> None:
    """Give a client a channel with limits; the library has no parameters for them.

    Args:
        client: that has no channel yet.
        emulator: address of an emulator; empty for Google's servers.
    """
    services = import_extra("google.cloud.firestore_v1.services.firestore", EXTRA, PURPOSE)
    grpc = import_extra("grpc", EXTRA, PURPOSE)
    transport = services.FirestoreClient.get_transport_class("grpc")
    if emulator:
        channel = grpc.insecure_channel(emulator, options=_CHANNEL)
    else:
        channel = transport.create_channel(client._target, credentials=client._credentials, options=_CHANNEL)  # noqa: SLF001
    # Set in any case: the library takes it from the environment, which must not redirect calls.
    client._emulator_host = emulator or None  # noqa: SLF001
    client._transport = transport(host=client._target, channel=channel)  # noqa: SLF001
    client._firestore_api_internal = services.FirestoreClient(transport=client._transport)  # noqa: SLF001


def close_firestore(client: Any) -> None:
    """End the connections and threads of a client; its own `close` leaves them."""
    client._transport.close()  # noqa: SLF001


def _read_credentials(name: str, entry: FirestoreProject, environment: Mapping[str, str]) -> Any:
    service_account = import_extra("google.oauth2.service_account", EXTRA, PURPOSE)
    assert entry.credentials is not None
    what = f"the file of `firestore.{name}.credentials`,"
    path = find_key_file(entry.credentials, environment)
    data = read_key_file(path, what)
    try:
        found = json.loads(data)
        # Other kinds of credentials may name programs to run and places to ask for a token.
        if not isinstance(found, dict) or found.get("type") != "service_account":
            raise ValueError("it is not the key of a service account")  # noqa: TRY301
        return service_account.Credentials.from_service_account_info(found)
    except ValueError:  # its text could have parts of the key
        raise UsageError(
            f"{what} {path} is not the key of a service account in JSON",
            remedy="create a key of the service account in Google Cloud, and write its file there",
        ) from None


def explain_error(error: Exception) -> tuple[CallProblem, str]:
    """What an exception of a call means, and its words on one line.

    Raises:
        Exception: the same, if it is a defect and no answer of the library.
    """
    exceptions = import_extra("google.api_core.exceptions", EXTRA, PURPOSE)
    auth = import_extra("google.auth.exceptions", EXTRA, PURPOSE)
    if isinstance(error, import_extra("grpc", EXTRA, PURPOSE).RpcError):
        error = exceptions.from_grpc_error(error)
    if isinstance(error, exceptions.AlreadyExists):
        return CallProblem.EXISTS, "the document exists already"
    if isinstance(error, exceptions.InvalidArgument | exceptions.OutOfRange):
        return CallProblem.REFUSED, f"it answered {_format_answer(error)}"
    if isinstance(error, exceptions.FailedPrecondition | exceptions.NotFound):
        return CallProblem.CHANGED, f"it answered {_format_answer(error)}"
    if isinstance(error, exceptions.ServiceUnavailable | exceptions.DeadlineExceeded | exceptions.RetryError):
        return CallProblem.OTHER, f"it does not answer: {_format_answer(error)}"
    if isinstance(error, exceptions.GoogleAPIError):
        return CallProblem.OTHER, f"it answered {_format_answer(error)}"
    if isinstance(error, auth.GoogleAuthError):
        return CallProblem.OTHER, f"the login failed: {make_one_line(str(error), _LONGEST)}"
    raise error


def _format_answer(error: Any) -> str:
    status = getattr(getattr(error, "grpc_status_code", None), "name", type(error).__name__)
    message = getattr(error, "message", None) or str(error)
    return f"{status}: {make_one_line(str(message), _LONGEST)}"
