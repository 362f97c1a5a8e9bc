"""Reads when nodes were started last, by a command of the host; for every product that restarts nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from reconciler.errors import NodeError
from reconciler.ports.transport import Commands
from reconciler.text.one_line import make_one_line

MOST_COMMANDS: Final = 16
"""Commands of one observation that run at the same time."""

UNREAD_START: Final = "not read"
"""What is remembered in place of the start of a process that did not show it when its file was changed."""

LONGEST_START: Final = 200
"""Characters that count of the text that a start is known by."""


async def read_starts(
    commands: Commands, command: str, values: Mapping[str, Mapping[str, str]]
) -> dict[str, str]:
    """Node -> the text of its last start; nodes without a readable one are left out.

    Args:
        commands: of the host.
        command: name of the reading command.
        values: node -> its placeholders.
    """
    slots = asyncio.Semaphore(MOST_COMMANDS)

    async def read_one(node: str) -> str:
        async with slots:
            try:
                return make_one_line(await commands.read(command, values[node], node=node), LONGEST_START)
            except NodeError:
                # Without it the node counts as neither started again nor still running as before.
                return ""

    texts = await asyncio.gather(*map(read_one, values))
    return {node: text for node, text in zip(values, texts, strict=True) if text}
