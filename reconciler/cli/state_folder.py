"""The state folder of a command: all commands find it in the same way."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from reconciler.errors import StateError, UsageError
from reconciler.host.database_url import is_database_url, parse_postgres_url
from reconciler.sources import CACHE_FOLDER

if TYPE_CHECKING:
    from reconciler.host.control_socket import RunningWatch
    from reconciler.host.host import Host
    from reconciler.store.factory import StoreDatabase, StorePlace

VARIABLE: Final = "RECONCILE_STATE"
"""Environment variable that names the state folder if `--state` is not given."""

SYSTEM: Final = Path("/var/lib/reconciler")
"""The host's state folder, if it exists and nothing names another one."""

OPTION: Final = "--state"
"""Origin of a folder that the command line names."""

_WITHOUT = "to plan without it: --dry-run --no-state"


@dataclass(frozen=True, slots=True)
class StateFolder:
    """The folder of the journal and the history.

    Args:
        path: absolute; may not exist yet.
        origin: what names it, such as `--state`.
        database: with the journal and the history in place of the folder, which keeps what belongs to this
            host alone; None for a store in the folder.
    """

    path: Path
    origin: str
    database: StoreDatabase | None = None

    def __str__(self) -> str:
        return f"{self.place} ({self.origin})"

    @property
    def store(self) -> StorePlace:
        """Where the store is."""
        return self.database or self.path

    @property
    def place(self) -> str:
        """The folder or the database, as people name it."""
        return str(self.store)

    def refusal(self) -> StateError | None:
        """Why this user cannot use the folder; None if the user can, or if it does not exist yet."""
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
            return self._refuse(error.strerror or type(error).__name__)
        if not stat.S_ISDIR(mode):
            return StateError(
                f"the state folder {self} is not a folder", remedy="name a folder, or move the file away"
            )
        # The kernel is asked, because mode bits know neither access lists nor a read-only file system.
        if not os.access(self.path, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
            return self._refuse("this user cannot read and write it")
        return None

    def _refuse(self, reason: str) -> StateError:
        return StateError(
            f"the state folder {self} cannot be used: {reason}",
            remedy=f"run the command as the folder's owner or as root; {_WITHOUT}",
        )


def find_state(host: Host, given: str | None) -> StateFolder:
    """The folder that a command uses; `require_state` checks whether it can.

    `--state`, else `RECONCILE_STATE`, else `state` of the host configuration, else `SYSTEM` if anything has
    that name, else the user's own folder.

    Args:
        host: its environment and configuration.
        given: value of `--state`.

    Raises:
        StateError: whether the system folder exists cannot be found out.
        UsageError: the URL of a database is not valid.
    """
    own = host.config.database
    for named, origin in (
        (given, OPTION),
        (host.environment.get(VARIABLE) or None, VARIABLE),
        (own.url if own else None, f"host configuration {host.file}"),
    ):
        if named is None:
            continue
        if not is_database_url(named):
            return StateFolder(Path(named).absolute(), origin)
        from reconciler.store.factory import make_access  # noqa: PLC0415  (--help stays quick)

        folder = _find_own_folder(host).path
        return StateFolder(folder, origin, make_access(parse_postgres_url(named), folder, host))
    return _find_own_folder(host)


def _find_own_folder(host: Host) -> StateFolder:
    """The folder for what belongs to this host, where neither an option nor a variable names a folder."""
    if host.config.state is not None:
        return StateFolder(host.config.state.absolute(), f"host configuration {host.file}")
    try:
        # An existing folder is taken even if this user cannot open it: with the user's own folder instead,
        # orders would be written where the watch does not read them.
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


def require_state(host: Host, given: str | None) -> StateFolder:
    """The folder that `find_state` finds, if this user can use it.

    Raises:
        StateError: this user cannot use the folder, or it cannot be found.
    """
    found = find_state(host, given)
    if (refused := found.refusal()) is not None:
        raise refused
    return found


def find_readable_state(host: Host, given: str | None, *, without: bool) -> StateFolder | None:
    """The folder for a command that only reads; None with `--no-state`.

    Args:
        host: its environment and configuration.
        given: value of `--state`.
        without: value of `--no-state`.

    Raises:
        UsageError: both options are given.
        StateError: as for `require_state`.
    """
    if not without:
        return find_state(host, given)  # a user who cannot open it may still read through the watch
    if given is not None:
        raise UsageError("--no-state and --state contradict each other", remedy="leave out one of them")
    return None


def find_watches(state: StateFolder) -> tuple[RunningWatch, ...]:
    """The running watches of this host that use a state, those that write first."""
    from reconciler.host import control_socket  # noqa: PLC0415  (--help stays quick)

    found = (
        *control_socket.find_running_watches(control_socket.RUNTIME),
        *control_socket.find_running_watches(state.path),
    )
    by_process = {one.process: one for one in found if one.uses(state.place)}
    return tuple(sorted(by_process.values(), key=lambda one: (one.dry_run, one.process)))


def find_source_cache(state: Path | None) -> Path:
    """The folder for copies of git repositories and tarballs; it may not exist yet."""
    # Below the state folder only if this user owns it: otherwise root would leave files there that the
    # user of the watch cannot replace.
    if state is not None:
        try:
            is_own = state.stat().st_uid == os.geteuid()
        except FileNotFoundError:  # this user will create it
            is_own = True
        except OSError:  # a folder above it is closed to this user
            is_own = False
        if is_own:
            return state / CACHE_FOLDER
    import platformdirs  # noqa: PLC0415  (--help stays quick)

    return platformdirs.user_cache_path("reconciler") / CACHE_FOLDER
