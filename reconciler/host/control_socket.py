"""The socket through which commands reach a running watch: its place, its peer, its messages.

A request is one line of JSON, and so is the answer; the bytes of a file may follow each. Both sides ask the
kernel for the identity of the other: there is no password and no network access.
"""

from __future__ import annotations

import json
import os
import socket
import stat
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from reconciler.errors import ReconcilerError, StateError

RUNTIME: Final = Path("/run/reconciler")
"""Folder with the sockets of this host's watches; only its owner and root may write there."""

VARIABLE: Final = "RUNTIME_DIRECTORY"
"""Set by systemd for a unit with `RuntimeDirectory=`."""

LARGEST: Final = 64 * 1024
"""Largest request, and largest first line of an answer, in bytes."""

LARGEST_BODY: Final = 64 * 1024 * 1024
"""Largest body after a request, in bytes."""

SECONDS: Final = 5.0
"""Seconds that one side waits for the other."""

MOST: Final = 32
"""Sockets tried in one folder: a user who may write there must not delay an order without limit."""

WORKING: Final = b"\n"
"""Sent repeatedly by a watch while it prepares an answer."""

LARGEST_COPY: Final = 4 * 1024**3

_PATTERN: Final = "watch-*.socket"
_SO_PEERGROUPS: Final = 59  # of Linux; the module `socket` has no name for it
_MOST_GROUPS: Final = 256  # Python takes no more than 1024 bytes
_CREDENTIALS: Final = struct.Struct("3i")


@dataclass(frozen=True, slots=True)
class Peer:
    """The process at the other end, according to the kernel.

    Args:
        groups: its primary and supplementary groups.
    """

    process: int
    user: int
    groups: frozenset[int]


@dataclass(frozen=True, slots=True)
class RunningWatch:
    """A watch that answers at its socket.

    Args:
        path: of its socket.
        process: its process id.
        source: of its desired state; a local path is absolute.
        state: its state folder, or the URL of its database.
        dry_run: whether it only plans.
        ref: branch, tag or commit of its source; empty for the default.
        within: folder within its source; empty for the whole.
    """

    path: Path
    process: int
    source: str
    state: str
    dry_run: bool = False
    ref: str = ""
    within: str = ""

    def __str__(self) -> str:
        return f"process {self.process}, source {self.source}" + (", dry run" if self.dry_run else "")

    def uses(self, place: str) -> bool:
        """Whether a folder, also through links, or a database has the watch's state."""
        if "://" in self.state or "://" in place:
            return self.state == place
        return os.path.realpath(self.state) == os.path.realpath(place)


def get_peer(connection: socket.socket) -> Peer:
    """The process at the other end of a connected unix socket."""
    process, user, group = _CREDENTIALS.unpack(
        connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    )
    try:
        raw = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MOST_GROUPS * 4)
        further = struct.unpack(f"{len(raw) // 4}I", raw)
    except OSError:  # too many groups for the buffer: only the primary group counts
        further = ()
    return Peer(process, user, frozenset({group, *further}))


def find_shared_folder(environment: Mapping[str, str]) -> Path | None:
    """The folder for sockets that users without access to the state folder can reach; None without one.

    The `RuntimeDirectory` of a systemd unit, else `RUNTIME`, which root creates; for another user an
    administrator creates it and makes this user its owner.
    """
    if given := environment.get(VARIABLE, "").partition(":")[0]:
        return Path(given)
    try:
        if os.geteuid() == 0:
            if not RUNTIME.is_dir():
                RUNTIME.mkdir(exist_ok=True)
                RUNTIME.chmod(0o755)  # independent of the umask: operators must be able to list it
            return RUNTIME
        return RUNTIME if RUNTIME.stat().st_uid == os.geteuid() else None
    except OSError:
        return None


@contextmanager
def listen_on_socket(folder: Path, *, is_shared: bool) -> Iterator[socket.socket]:
    """A listening socket in a folder; its file is removed at the end.

    Args:
        folder: must exist.
        is_shared: whether other users may connect; the kernel then names them.

    Raises:
        OSError: it cannot be created.
    """
    # A killed watch leaves its socket file behind: a refused connection means that nobody listens any more.
    for left in folder.glob(_PATTERN):
        try:
            _connect(left).close()
        except ConnectionRefusedError:
            left.unlink(missing_ok=True)
        except OSError:  # busy, or of another user
            continue
    name = f"watch-{os.getpid()}.socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as opened:
        (folder / name).unlink(missing_ok=True)
        with _shorten_path(folder) as place:
            opened.bind(f"{place}/{name}")
        try:
            # Before `listen`: until then no one can connect.
            (folder / name).chmod(0o666 if is_shared else 0o600)
            opened.listen(8)
            opened.setblocking(False)
            yield opened
        finally:
            (folder / name).unlink(missing_ok=True)


def find_running_watches(folder: Path) -> tuple[RunningWatch, ...]:
    """The watches that answer in a folder, sorted by process id; only those of its owner and of root."""
    found = []
    for path, answer in _greet(folder):
        if isinstance(answer, Exception):
            continue
        try:
            found.append(
                RunningWatch(
                    path,
                    int(answer["process"]),
                    str(answer["source"]),
                    str(answer["state"]),
                    dry_run=answer.get("dry_run") is True,
                    ref=str(answer.get("ref", "")),
                    within=str(answer.get("path", "")),
                )
            )
        except (KeyError, TypeError, ValueError):  # another version of the program
            continue
    return tuple(sorted(found, key=lambda one: one.process))


def find_access_refusal(folder: Path) -> StateError | None:
    """Why a watch in a folder refuses this user; None if no watch there does."""
    for path, answer in _greet(folder):
        if isinstance(answer, PermissionError):
            return StateError(
                f"the watch at {path} accepts orders only from root and its own user",
                remedy="add a group of this user to `operators` in the host configuration of the watch and "
                "restart it, or run the command as root",
            )
        if isinstance(answer, StateError):
            return answer
    return None


def _greet(folder: Path) -> Iterator[tuple[Path, dict[str, Any] | Exception]]:
    """Each socket in a folder, with the answer of its watch or the reason why there is none."""
    try:
        paths = sorted(folder.glob(_PATTERN))[:MOST]
    except OSError:
        return
    for path in paths:
        try:
            yield path, send_request(path, {"do": "hello"})[0]
        except (OSError, ReconcilerError) as error:
            yield path, error


def send_request(
    path: Path, request: Mapping[str, Any], into: Path | None = None, *, body: bytes = b""
) -> tuple[dict[str, Any], int]:
    """The answer of a watch to one request, and the number of bytes received after it.

    Args:
        path: the socket.
        request: `do` names the order.
        into: file for the bytes that follow the answer.
        body: sent after the request, at most `LARGEST_BODY` bytes.

    Raises:
        OSError: no answer, or not in time.
        StateError: the watch refuses, or its process is not to be trusted.
    """
    with _connect(path) as connection:
        # An attacker who can create sockets in the folder could take orders, or send a forged store.
        owner = path.parent.stat()
        if get_peer(connection).user not in {0, owner.st_uid} or owner.st_mode & stat.S_IWOTH:
            raise StateError(
                f"the process at {path} does not belong to the owner of the folder",
                remedy="check which user runs it",
            )
        with suppress(BrokenPipeError, ConnectionResetError):  # it may refuse this user before reading
            sized = {**request, "bytes": str(len(body))} if body else dict(request)
            connection.sendall(json.dumps(sized).encode() + b"\n" + body)
        with connection.makefile("rb") as stream:
            while (line := stream.readline(LARGEST)) == WORKING:
                continue  # each such line starts the timeout again
            answer = json.loads(line or b"{}")
            if not isinstance(answer, dict) or "error" in answer or not answer.get("ok"):
                words = answer.get("error") if isinstance(answer, dict) else ""
                raise StateError(
                    f"the watch refuses: {words or 'no answer'}",
                    remedy=str(answer.get("remedy", "")) if words else "check the log of the watch",
                )
            return answer, _receive_file(stream, int(answer.get("bytes", 0)), into)


def _receive_file(stream: Any, size: int, into: Path | None) -> int:
    if into is None or not 0 < size <= LARGEST_COPY:
        return 0
    left = size
    with into.open("wb") as file:
        while left and (piece := stream.read(min(left, 1024 * 1024))):
            file.write(piece)
            left -= len(piece)
    if left:
        raise StateError("the watch sent an incomplete copy of its store", remedy="run the command again")
    return size


def _connect(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(SECONDS)
    try:
        with _shorten_path(path.parent) as place:
            connection.connect(f"{place}/{path.name}")
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def _shorten_path(folder: Path) -> Iterator[str]:
    """A short path of a folder while the block lasts: a unix socket address holds only 107 bytes."""
    descriptor = os.open(folder, getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
