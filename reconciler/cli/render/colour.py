"""Colour that carries meaning only, and never alone: the words beside it say the same."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Tone(StrEnum):
    """What a colour means, as the terminal's code for it."""

    ADD = "32"
    CHANGE = "33"
    DANGER = "31"
    STRONG = "1"
    QUIET = "2"
    PLAIN = ""


@dataclass(frozen=True, slots=True)
class Palette:
    """Paints where colour is wanted, and leaves text alone where it is not."""

    on: bool = False

    def __call__(self, text: str, tone: Tone) -> str:
        """The text in a tone."""
        return f"\x1b[{tone}m{text}\x1b[0m" if self.on and tone and text else text
