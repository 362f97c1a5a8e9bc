"""Where the program itself failed, told without what it was working on; pure."""

from __future__ import annotations

from typing import Final

REPORT: Final = "run it again with RECONCILE_DEBUG=1 to see all of it, and report that, without secrets"
"""What to do about a defect."""

_OURS: Final = "/reconciler/"


def place_of(error: BaseException) -> str:
    """File and line of the innermost function that is not a library's, else of whatever raised the error."""
    places, trace = [("?", 0)], error.__traceback__
    while trace is not None:
        places.append((trace.tb_frame.f_code.co_filename.replace("\\", "/"), trace.tb_lineno))
        trace = trace.tb_next
    file, line = next((place for place in reversed(places) if not _is_library(place[0])), places[-1])
    if _OURS in file:
        return f"reconciler/{file.rpartition(_OURS)[2]}:{line}"
    return f"{file.rpartition('site-packages/')[2]}:{line}"


def _is_library(file: str) -> bool:
    return _OURS not in file and (file.startswith("<") or "/lib/python" in file)


def defect_words(error: BaseException) -> str:
    """Type and place only: a message of the depths may quote a secret."""
    return f"a defect of the program: {type(error).__name__} at {place_of(error)}"
