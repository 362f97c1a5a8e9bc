"""Run the fleet file's command that stops a node: no shell, bounded in time, its last words kept."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from reconciler.errors import NodeRefused, NodeUnreachable

KEPT: Final = 300
"""Characters of the command's output that are kept."""

_CHUNK: Final = 4096


async def run(node: str, argv: Sequence[str], limit: float) -> str:
    """Run a command to its end; what comes back are its last words.

    Args:
        node: the node it is for, for errors.
        argv: the program and its arguments.
        limit: seconds after which it is killed.

    Raises:
        NodeRefused: the program is missing, or ended with another status than 0.
        NodeUnreachable: it did not end in time; whether it stopped the node is not known.
    """
    try:
        child = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        remedy = "correct `stop` in the fleet file; it runs where reconcile was started"
        raise NodeRefused(
            node, f"{argv[0]} cannot be run: {why}", status=0, code="STOP", remedy=remedy
        ) from error
    try:
        tail, status = await asyncio.wait_for(_ended(child), limit)
    except TimeoutError as error:
        raise NodeUnreachable(node, f"{argv[0]} did not end within {limit:g} s and was killed") from error
    finally:
        if child.returncode is None:
            with suppress(ProcessLookupError):
                child.kill()
            await child.wait()
    if status != 0:
        said = f": {tail}" if tail else ""
        why = f"{argv[0]} ended with status {status}{said}"
        raise NodeRefused(node, why, status=status, code="STOP", again=True)  # as when a host is away
    return f"{argv[0]} ended well{f': {tail}' if tail else ''}"


async def _ended(child: asyncio.subprocess.Process) -> tuple[str, int]:
    assert child.stdout is not None
    tail = b""
    while chunk := await child.stdout.read(_CHUNK):
        tail = (tail + chunk)[-_CHUNK:]
    status = await child.wait()
    words = " ".join("".join(c if c.isprintable() else " " for c in tail.decode("utf-8", "replace")).split())
    return words if len(words) <= KEPT else f"…{words[-KEPT:]}", status
