"""A person's editor on a text that must not stay behind anywhere."""

from __future__ import annotations

import os
import shlex
import signal
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from reconciler.errors import UsageError
from reconciler.host.environment import TERMINAL, make_child_environment
from reconciler.host.subprocesses import ProgramMissing, run_at_terminal

_SCREEN = ("DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY")
"""Variables that lead an editor with windows to the person's screen."""

_IN_MEMORY = ("/dev/shm",)  # noqa: S108  (a private folder is made in it)


def edit_text(data: bytes, name: str, environment: Mapping[str, str]) -> bytes:
    """What a person makes of a text with $VISUAL or $EDITOR.

    Args:
        data: the text.
        name: of the file that the editor sees, whose ending tells it the language.
        environment: of the process; the editor gets what a program at a terminal needs of it.

    Raises:
        UsageError: there is no editor, it cannot be started, or it failed; nothing is to be changed.
    """
    command = shlex.split(environment.get("VISUAL") or environment.get("EDITOR") or "")
    if not command:
        raise UsageError("no editor is set", remedy="set EDITOR, for example EDITOR=vi")
    with _clean_end(), tempfile.TemporaryDirectory(prefix="reconcile-", dir=_place(environment)) as folder:
        path = Path(folder) / name
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
        try:
            own = make_child_environment(environment, *TERMINAL, *_SCREEN)
            status = run_at_terminal([*command, str(path)], environment=own)
            if status:
                why = f"the editor ended with status {status}: nothing was changed"
                raise UsageError(why, remedy="run the command again, and exit the editor without an error")
            return path.read_bytes()
        except ProgramMissing as error:
            raise UsageError(f"{command[0]}: {error}", remedy="correct EDITOR") from None
        except OSError as error:
            raise UsageError(f"{command[0]}: {error.strerror}", remedy="correct EDITOR") from None


def _place(environment: Mapping[str, str]) -> str | None:
    """A folder in memory, where the system has one for this user."""
    wanted = (environment.get("XDG_RUNTIME_DIR", ""), *_IN_MEMORY)
    return next((folder for folder in wanted if folder and os.access(folder, os.W_OK | os.X_OK)), None)


@contextmanager
def _clean_end() -> Iterator[None]:
    """Let a signal that would end the program end it in good order, so that the text is removed."""

    def leave(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, action in before.items():
            signal.signal(number, action)
