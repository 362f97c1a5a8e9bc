"""How many nodes may be unread without an error, as `--tolerate-unread` gives it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from reconciler.errors import UsageError
from reconciler.text.one_line import quote_text

_LIMIT: Final = re.compile(r"(?:0|[1-9][0-9]{0,6})(?:%)?")


@dataclass(frozen=True, slots=True)
class UnreadLimit:
    """How many nodes may be unread without an error.

    Args:
        amount: a number of nodes, or a percentage of all nodes that the command reads.
        is_share: whether it is a percentage.
    """

    amount: int = 0
    is_share: bool = False

    @classmethod
    def read(cls, text: str) -> UnreadLimit:
        """The limit of an option: `2`, or `5%`; empty for none.

        Raises:
            UsageError: it is neither.
        """
        if not text:
            return cls()
        if _LIMIT.fullmatch(text) is None or (text.endswith("%") and int(text[:-1]) > 100):  # noqa: PLR2004
            raise UsageError(
                f"--tolerate-unread {quote_text(text)}: expected a whole number of nodes, or a whole "
                "percentage from 0% to 100%",
                remedy="write for example --tolerate-unread 2 or --tolerate-unread 5%",
            )
        return cls(int(text.rstrip("%")), text.endswith("%"))

    def resolve(self, nodes: int) -> int:
        """The limit for so many nodes; a percentage is rounded down."""
        return nodes * self.amount // 100 if self.is_share else self.amount

    def __str__(self) -> str:
        return f"{self.amount}{'%' if self.is_share else ''}"


NO_UNREAD: Final = UnreadLimit()
"""Every unread node is an error."""
