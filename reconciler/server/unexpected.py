"""What is said of an unexpected error: enough to find it, and nothing that could quote a secret."""

from __future__ import annotations

import traceback
from collections.abc import Iterator

FRAMES = 24
"""Frames that are named of one error: the first few and the last ones."""

_FIRST = 8
_CAUSES = 4
"""Errors that are named of one chain or group."""

REPORT = "this is a defect of the program: report this line to its maintainers"


def name_error(error: BaseException) -> str:
    """The error's type and the place it came from, such as `KeyError at reconciler/core/plan.py:12`."""
    if isinstance(error, BaseExceptionGroup) and error.exceptions:
        return f"{type(error).__name__} of {len(error.exceptions)}: {name_error(error.exceptions[0])}"
    frames = _frames(error)
    return f"{type(error).__name__} at {frames[-1].partition(' ')[0] if frames else '?'}"


def trace_error(error: BaseException) -> list[str]:
    """The frames of an error and of what caused it, outermost first, as `file:line function`.

    Messages are left out: one of the depths may quote a value of the desired state.
    """
    lines: list[str] = []
    for number, one in enumerate(_chain(error)):
        if number == _CAUSES:
            lines.append("… and more")
            break
        lines.append(f"{type(one).__name__}:")
        frames = _frames(one)
        left_out = len(frames) - FRAMES
        if left_out > 0:  # endless recursion has a thousand frames, and the interesting ones are its ends
            frames = [*frames[:_FIRST], f"… {left_out} frames …", *frames[_FIRST + left_out :]]
        lines += frames
    return lines


def _chain(error: BaseException) -> Iterator[BaseException]:
    waiting, seen = [error], set[int]()
    while waiting:
        one = waiting.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions
        cause = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
        waiting += [cause] if cause else []


def _frames(error: BaseException) -> list[str]:
    return [
        f"{frame.f_code.co_filename.rpartition('site-packages/')[2]}:{line} {frame.f_code.co_name}"
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
