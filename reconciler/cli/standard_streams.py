"""Standard streams that are closed at the start, or whose reader goes away."""

from __future__ import annotations

import codecs
import errno
import io
import json
import os
import sys
from pathlib import Path
from typing import Final, TextIO, cast

DISK_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What a write gives whose disk is full."""

_ERRORS: Final = "reconciler"
"""Name of the error handler of the standard streams."""

_SIGNS: Final = {
    "→": "->", "←": "<-", "…": "...", "≥": ">=", "≤": "<=", "\u2013": "-", "\u2014": "-",
    # No quotation mark: within the text of a JSON document it would end the text.
    "\u201c": "'", "\u201d": "'", "\u2018": "'", "\u2019": "'",
}  # fmt: skip


def release_streams() -> None:
    """Send what is still buffered to the null device, so that the interpreter's flush at exit cannot fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def replace_closed_streams() -> None:
    """Open the null device for each standard stream that was closed at the start."""
    # Otherwise the next file or socket gets number 0, 1 or 2, and text for a person is written into it:
    # into the store, or to a node.
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:  # open() returns the lowest free number, which is this one
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdin = sys.stdin or _null_device("r")
    sys.stdout = sys.stdout or _null_device("w")
    sys.stderr = sys.stderr or _null_device("w")


def escape_unencodable() -> None:
    """Let text with characters that a stream's encoding lacks be written, and never end a run."""
    codecs.register_error(_ERRORS, _replace_unencodable)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ERRORS)


def _replace_unencodable(error: UnicodeError) -> tuple[str, int]:
    """Signs of this program's sentences as ASCII, every other character as JSON escapes it."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    # Escaped in the form of JSON, whose readers then still get every character; `\xfc` would be no JSON.
    found = error.object[error.start : error.end]
    return "".join(_SIGNS.get(sign) or json.dumps(sign)[1:-1] for sign in found), error.end


def _null_device(mode: str) -> TextIO:
    return cast("TextIO", Path(os.devnull).open(mode, encoding="utf-8"))  # stays open as long as the process
