"""Which keys of a node's file came from the committed one, so that they can leave with it; pure.

A key that is committed no more: what a run has added is removed, so that the product's default counts again.
What was there before the first delivery stays as it was last delivered, because what stood in it is gone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, unquote

_ADDED: Final = "+"


@dataclass(frozen=True, slots=True)
class DeliveredKeys:
    """The keys that were delivered to one file, as a fact of its node keeps them.

    Args:
        keys: key -> whether a run has added it.
    """

    keys: Mapping[str, bool] = field(default_factory=dict)

    @classmethod
    def parse(cls, fact: str) -> DeliveredKeys:
        """The keys of a fact; none of an empty one."""
        words = ((word.removeprefix(_ADDED), word.startswith(_ADDED)) for word in fact.split())
        return cls({unquote(word, errors="surrogatepass"): is_added for word, is_added in words})

    def format_fact(self) -> str:
        """The fact: its keys are parted by spaces, so that those in a key are escaped."""
        words = {key: quote(key, safe="/~", errors="surrogatepass") for key in sorted(self.keys)}
        return " ".join(f"{_ADDED if self.keys[key] else ''}{word}" for key, word in words.items())

    def list_released(self, committed: Collection[str]) -> tuple[str, ...]:
        """The keys that a run has added and that are committed no more, sorted."""
        return tuple(sorted(key for key, added in self.keys.items() if added and key not in committed))

    def list_kept(self, committed: Collection[str], present: Collection[str]) -> tuple[str, ...]:
        """The keys that stay in the file although they are committed no more, sorted.

        Args:
            committed: all keys that are committed now.
            present: all keys of the file.
        """
        released = (key for key, added in self.keys.items() if not added and key not in committed)
        return tuple(sorted(key for key in released if key in present))

    def renew(self, committed: Iterable[str], present: Collection[str]) -> DeliveredKeys:
        """The same once the committed keys are delivered.

        Args:
            committed: all keys that are committed now.
            present: all keys of the file before that.
        """
        return DeliveredKeys({key: self.keys.get(key, key not in present) for key in committed})

    def extend(self, committed: Collection[str], present: Collection[str]) -> DeliveredKeys:
        """The same until the committed keys are delivered: those that are to leave are not forgotten."""
        leaving = {key: True for key in self.list_released(committed) if key in present}
        return DeliveredKeys({**self.renew(committed, present).keys, **leaving})
