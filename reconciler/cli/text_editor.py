"""Run the user's editor on a text that must not remain anywhere."""

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
"""Variables that a graphical editor needs to reach the screen."""

_IN_MEMORY = ("/dev/shm",)  # noqa: S108  (a private folder is made in it)


def edit_text(data: bytes, name: str, environment: Mapping[str, str]) -> bytes:
    """Let the user edit a text with $VISUAL or $EDITOR; gives the new text.

    Args:
        data: the text.
        name: of the file that the editor sees; its suffix shows the language.
        environment: of the process; the editor gets the part that a program at a terminal needs.

    Raises:
        UsageError: there is no editor, it cannot be started, or it failed; the caller must change nothing.
    """
    command = shlex.split(environment.get("VISUAL") or environment.get("EDITOR") or "")
    if not command:
        raise UsageError("no editor is set", remedy="set EDITOR, for example EDITOR=vi")
    # In memory if possible: what was once written to a disk can be recovered after deletion.
    candidates = (environment.get("XDG_RUNTIME_DIR", ""), *_IN_MEMORY)
    parent = next((path for path in candidates if path and os.access(path, os.W_OK | os.X_OK)), None)
    with _remove_on_signal(), tempfile.TemporaryDirectory(prefix="reconcile-", dir=parent) as folder:
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


@contextmanager
def _remove_on_signal() -> Iterator[None]:
    """Turn signals that kill a program into an exception, so that the text is removed."""

    def leave(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, action in before.items():
            signal.signal(number, action)
