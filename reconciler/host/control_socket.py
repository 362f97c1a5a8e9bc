"""The socket by which commands reach a running watch: where it is, who is at its other end, what is sent.

A request is one line of JSON, and so is the answer; the bytes of a file may follow it. The kernel says who
the other side is, in both directions: no password, and nobody on the network.
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
"""Where watches of this host are found, whatever state they use; its owner and root alone write there."""

VARIABLE: Final = "RUNTIME_DIRECTORY"
"""Set by systemd for a unit with `RuntimeDirectory=`."""

LARGEST: Final = 64 * 1024
"""Bytes of a request, and of the line of an answer."""

SECONDS: Final = 5.0
"""How long a side waits for the other one."""

MOST: Final = 32
"""Sockets of one folder that are asked: whoever may write there must not make an order wait for ever."""

WORKING: Final = b"\n"
"""What a watch sends from time to time as long as it works on an answer."""

LARGEST_COPY: Final = 4 * 1024**3

_PATTERN: Final = "watch-*.socket"
_SO_PEERGROUPS: Final = 59  # of Linux; the module `socket` has no name for it
_MOST_GROUPS: Final = 256  # Python takes no more than 1024 bytes
_CREDENTIALS: Final = struct.Struct("3i")


@dataclass(frozen=True, slots=True)
class Peer:
    """The process at the other end, as the kernel knows it.

    Args:
        groups: its own and all its further groups.
    """

    process: int
    user: int
    groups: frozenset[int]


@dataclass(frozen=True, slots=True)
class RunningWatch:
    """A watch that answers.

    Args:
        path: of its socket.
        process: its id.
        source: what it keeps the fleet as.
        state: its state folder.
        dry_run: whether it applies nothing.
    """

    path: Path
    process: int
    source: str
    state: str
    dry_run: bool = False

    def __str__(self) -> str:
        return f"process {self.process}, source {self.source}" + (", dry run" if self.dry_run else "")

    def uses(self, folder: Path) -> bool:
        """Whether this is the watch's state folder, however it is spelt."""
        return os.path.realpath(self.state) == os.path.realpath(folder)


def get_peer(connection: socket.socket) -> Peer:
    """Who is at the other end of a connected unix socket."""
    process, user, group = _CREDENTIALS.unpack(
        connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    )
    try:
        raw = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MOST_GROUPS * 4)
        further = struct.unpack(f"{len(raw) // 4}I", raw)
    except OSError:  # more than fit: only its own group counts
        further = ()
    return Peer(process, user, frozenset({group, *further}))


def find_shared_folder(environment: Mapping[str, str]) -> Path | None:
    """Where a watch is found by users who may not open its state; None where this user has no such folder.

    It is what systemd made for the unit, else `RUNTIME`: root makes it, and for another user an
    administrator does, who gives it to him.
    """
    if given := environment.get(VARIABLE, "").partition(":")[0]:
        return Path(given)
    try:
        if os.geteuid() == 0:
            if not RUNTIME.is_dir():
                RUNTIME.mkdir(exist_ok=True)
                RUNTIME.chmod(0o755)  # whatever umask root works with: operators look for sockets there
            return RUNTIME
        return RUNTIME if RUNTIME.stat().st_uid == os.geteuid() else None
    except OSError:
        return None


@contextmanager
def listen_on_socket(folder: Path, *, is_shared: bool) -> Iterator[socket.socket]:
    """A listening socket in a folder; its file is removed at the end, and those of watches that died now.

    Args:
        folder: exists.
        is_shared: whether users other than this one may connect; who they are is asked of the kernel.

    Raises:
        OSError: it cannot be made.
    """
    for left in folder.glob(_PATTERN):
        try:
            _connected(left).close()
        except ConnectionRefusedError:
            left.unlink(missing_ok=True)
        except OSError:  # busy, or not ours: left as it is
            continue
    name = f"watch-{os.getpid()}.socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as opened:
        (folder / name).unlink(missing_ok=True)
        with _short(folder) as place:
            opened.bind(f"{place}/{name}")
        try:
            (folder / name).chmod(0o666 if is_shared else 0o600)
            opened.listen(8)
            opened.setblocking(False)
            yield opened
        finally:
            (folder / name).unlink(missing_ok=True)


def find_running_watches(folder: Path) -> tuple[RunningWatch, ...]:
    """The watches that answer in a folder, by process; only those that its owner or root runs."""
    found = []
    try:
        paths = sorted(folder.glob(_PATTERN))[:MOST]
    except OSError:
        return ()
    for path in paths:
        try:
            said, _ = send_request(path, {"do": "hello"})
        except (OSError, ReconcilerError):
            continue
        try:
            found.append(_watch_of(path, said))
        except (KeyError, TypeError, ValueError):  # another version of the program
            continue
    return tuple(sorted(found, key=lambda one: one.process))


def _watch_of(path: Path, said: Mapping[str, Any]) -> RunningWatch:
    return RunningWatch(
        path, int(said["process"]), str(said["source"]), str(said["state"]), said.get("dry_run") is True
    )


def find_access_refusal(folder: Path) -> StateError | None:
    """Why a watch in a folder does not answer this user, though one is there; None where that is not so."""
    try:
        paths = sorted(folder.glob(_PATTERN))[:MOST]
    except OSError:
        return None
    for path in paths:
        try:
            send_request(path, {"do": "hello"})
        except PermissionError:
            return StateError(
                f"the watch at {path} takes orders of root and its own user alone",
                remedy="name a group of this user by `operators` in the host configuration of the watch, and "
                "start it again; or run the command as root",
            )
        except StateError as error:
            return error
        except OSError:
            continue
    return None


def send_request(
    path: Path, request: Mapping[str, Any], into: Path | None = None
) -> tuple[dict[str, Any], int]:
    """What a watch answers to one request, and how many bytes of a file came after it.

    Args:
        path: the socket.
        request: `do` names what is asked for.
        into: where the bytes that follow the answer are written.

    Raises:
        OSError: nothing answers, or not in time.
        StateError: the watch refuses, or what answers is not to be trusted.
    """
    with _connected(path) as connection:
        owner = path.parent.stat()
        if get_peer(connection).user not in {0, owner.st_uid} or owner.st_mode & stat.S_IWOTH:
            raise StateError(
                f"what listens at {path} is not run by the owner of its folder", remedy="look at who runs it"
            )
        with suppress(BrokenPipeError, ConnectionResetError):  # it refuses this user before it reads
            connection.sendall(json.dumps(dict(request)).encode() + b"\n")
        with connection.makefile("rb") as answer:
            while (line := answer.readline(LARGEST)) == WORKING:
                continue  # it is at work, and each such line is another while to wait
            said = json.loads(line or b"{}")
            if not isinstance(said, dict) or "error" in said or not said.get("ok"):
                words = said.get("error") if isinstance(said, dict) else ""
                raise StateError(
                    f"the watch refuses: {words or 'no answer'}",
                    remedy=str(said.get("remedy", "")) if words else "look at the log of the watch",
                )
            return said, _received(answer, int(said.get("bytes", 0)), into)


def _received(answer: Any, size: int, into: Path | None) -> int:
    if into is None or not 0 < size <= LARGEST_COPY:
        return 0
    left = size
    with into.open("wb") as file:
        while left and (piece := answer.read(min(left, 1024 * 1024))):
            file.write(piece)
            left -= len(piece)
    if left:
        raise StateError("the watch sent its state in part", remedy="run the command again")
    return size


def _connected(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(SECONDS)
    try:
        with _short(path.parent) as place:
            connection.connect(f"{place}/{path.name}")
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def _short(folder: Path) -> Iterator[str]:
    """Another name of a folder, for as long as the block lasts: an address has room for 107 bytes."""
    descriptor = os.open(folder, getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
