"""Where the program itself failed, without the values that it was working on; pure."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from typing import Final

REPORT: Final = "run it again with RECONCILE_DEBUG=1 to see all of it, and report that, without secrets"
"""What to do about a defect of a command."""

REPORT_LINE: Final = "this is a defect of the program: report this line to its maintainers"
"""What to do about a defect that a log shows with its trace."""

FRAMES: Final = 24
"""Frames that are named of one error: the first few and the last ones."""

_FIRST: Final = 8
_CAUSES: Final = 4
"""Errors that are named of one chain or group."""

_OURS: Final = "/reconciler/"


def locate_error(error: BaseException) -> str:
    """File and line of the innermost function that is not a library's, else of whatever raised the error."""
    places, trace = [("?", 0)], error.__traceback__
    while trace is not None:
        places.append((trace.tb_frame.f_code.co_filename.replace("\\", "/"), trace.tb_lineno))
        trace = trace.tb_next
    own_places = (
        place
        for place in reversed(places)
        if _OURS in place[0] or not (place[0].startswith("<") or "/lib/python" in place[0])
    )
    file, line = next(own_places, places[-1])
    if _OURS in file:
        return f"reconciler/{file.rpartition(_OURS)[2]}:{line}"
    return f"{file.rpartition('site-packages/')[2]}:{line}"


def name_error(error: BaseException) -> str:
    """The error's type and the place it came from, such as `KeyError at reconciler/core/plan.py:12`.

    The message is left out, here and in a trace: a message of a library may quote a secret.
    """
    if isinstance(error, BaseExceptionGroup) and error.exceptions:
        return f"{type(error).__name__} of {len(error.exceptions)}: {name_error(error.exceptions[0])}"
    return f"{type(error).__name__} at {locate_error(error)}"


def describe_defect(error: BaseException) -> str:
    """The reason for a node whose answer the program cannot read."""
    return f"a defect of the program: {name_error(error)}"


def list_error_frames(error: BaseException) -> list[str]:
    """The frames of an error and of what caused it, outermost first, as `file:line function`.

    Messages are left out, as in `name_error`.
    """
    lines: list[str] = []
    for number, one in enumerate(_chain(error)):
        if number == _CAUSES:
            lines.append("… and more")
            break
        lines.append(f"{type(one).__name__}:")
        frames = [
            f"{frame.f_code.co_filename.rpartition('site-packages/')[2]}:{line} {frame.f_code.co_name}"
            for frame, line in traceback.walk_tb(one.__traceback__)
        ]
        left_out = len(frames) - FRAMES
        if left_out > 0:  # endless recursion has a thousand frames, and the interesting ones are its ends
            frames = [*frames[:_FIRST], f"… {left_out} frames …", *frames[_FIRST + left_out :]]
        lines += frames
    return lines


def _chain(error: BaseException) -> Iterator[BaseException]:
    waiting, seen = [error], set[int]()
    while waiting:
        one = waiting.pop(0)
        # Causes can form a circle, and a group can contain one error twice.
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions
        cause = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
        waiting += [cause] if cause else []
