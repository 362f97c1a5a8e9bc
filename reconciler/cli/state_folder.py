"""The state folder of a command: found in one way by all of them, and refused where it may not be used."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from reconciler.errors import StateError, UsageError

if TYPE_CHECKING:
    from reconciler.host.control_socket import RunningWatch
    from reconciler.host.host import Host

VARIABLE: Final = "RECONCILE_STATE"
"""Environment variable that names the state folder, where `--state` does not."""

SYSTEM: Final = Path("/var/lib/reconciler")
"""The host's state folder where nothing names another one and this one exists."""

OPTION: Final = "--state"
"""What names a folder that the command line gives."""

COPIES: Final = "sources"
"""Folder below the state folder, and below the user's cache folder, where copies of sources are kept."""

_WITHOUT = "to plan without it: --dry-run --no-state"


@dataclass(frozen=True, slots=True)
class StateFolder:
    """Where the journal and the history are, and what says so.

    Args:
        path: absolute; it need not exist yet.
        origin: what names it, such as `--state`.
    """

    path: Path
    origin: str

    def __str__(self) -> str:
        return f"{self.path} ({self.origin})"

    def refusal(self) -> StateError | None:
        """Why this user may not use the folder; None where he may, or where it is still to be made."""
        try:
            mode = self.path.stat().st_mode
        except FileNotFoundError:
            if self.path.is_symlink():
                return StateError(
                    f"the state folder {self} is a broken symbolic link",
                    remedy="restore the folder that it points to, or remove the link",
                )
            return None
        except OSError as error:
            return self._closed(error.strerror or type(error).__name__)
        if not stat.S_ISDIR(mode):
            return StateError(
                f"the state folder {self} is not a folder", remedy="name a folder, or move the file away"
            )
        if not os.access(self.path, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
            return self._closed("this user cannot read and write it")
        return None

    def _closed(self, why: str) -> StateError:
        return StateError(
            f"the state folder {self} cannot be used: {why}",
            remedy=f"run the command as the folder's owner or as root; {_WITHOUT}",
        )


def find_state(host: Host, given: Path | None) -> StateFolder:
    """Which folder a command uses; whether it may is another question.

    `--state`, else `RECONCILE_STATE`, else `state` of the host configuration, else `SYSTEM` where there is
    anything of that name, else the user's own folder. A folder that exists is never passed over for the
    next one: an order would be written where the watch does not read it.

    Args:
        host: its environment and configuration.
        given: as `--state` says.

    Raises:
        StateError: whether there is a system folder cannot be found out.
    """
    if given is not None:
        return StateFolder(given.absolute(), OPTION)
    if named := host.environment.get(VARIABLE, ""):
        return StateFolder(Path(named).absolute(), VARIABLE)
    if host.config.state is not None:
        return StateFolder(host.config.state.absolute(), f"host configuration {host.file}")
    try:
        SYSTEM.lstat()
    except (FileNotFoundError, NotADirectoryError):
        import platformdirs  # noqa: PLC0415  (--help stays quick)

        return StateFolder(platformdirs.user_state_path("reconciler"), "this user's own")
    except OSError as error:
        raise StateError(
            f"cannot find out whether the state folder {SYSTEM} exists: {error.strerror}",
            remedy=f"give the user who runs reconcile access to {SYSTEM.parent}, or choose a folder: --state",
        ) from None
    return StateFolder(SYSTEM, "system folder")


def require_state(host: Host, given: Path | None) -> StateFolder:
    """The folder that `find_state` finds, which this user may use.

    Raises:
        StateError: the folder exists and this user may not use it, or it cannot be looked for.
    """
    found = find_state(host, given)
    if (refused := found.refusal()) is not None:
        raise refused
    return found


def find_readable_state(host: Host, given: Path | None, *, without: bool) -> StateFolder | None:
    """The folder for a command that only reads; None where it is to plan without what is remembered.

    Args:
        host: its environment and configuration.
        given: as `--state` says.
        without: as `--no-state` says.

    Raises:
        UsageError: both options are given.
        StateError: as for `require_state`.
    """
    if not without:
        return find_state(host, given)  # who may not open it may ask a watch: found out where it is read
    if given is not None:
        raise UsageError("--no-state and --state contradict each other", remedy="leave out one of them")
    return None


def find_watches(state: Path) -> tuple[RunningWatch, ...]:
    """The watches of this host that answer and use a state folder."""
    from reconciler.host import control_socket  # noqa: PLC0415  (--help stays quick)

    found = (
        *control_socket.find_running_watches(control_socket.RUNTIME),
        *control_socket.find_running_watches(state),
    )
    by_process = {one.process: one for one in found if one.uses(state)}
    return tuple(sorted(by_process.values(), key=lambda one: (one.dry_run, one.process)))


def find_source_cache(state: Path | None) -> Path:
    """Where copies of git repositories and tarballs are kept; made when needed.

    They are below the state folder where it is this user's; else below his own cache folder, so that
    nobody leaves files in another user's folder which that user cannot replace.
    """
    if state is not None:
        try:
            is_own = state.stat().st_uid == os.geteuid()
        except FileNotFoundError:  # this user makes it
            is_own = True
        except OSError:  # behind a folder that is closed to this user
            is_own = False
        if is_own:
            return state / COPIES
    import platformdirs  # noqa: PLC0415  (--help stays quick)

    return platformdirs.user_cache_path("reconciler") / COPIES
