"""The actor of a run or an order: what the operating system knows of the caller, and what it claims."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from reconciler.text.one_line import make_one_line

LONGEST = 200
"""Characters of each part that are kept."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asked for something.

    Args:
        user: by the operating system; empty if it is not known.
        host: the machine of the caller.
        terminal: of the caller; empty for none, as in a service or a job.
        claim: on whose behalf, from the option `--by`; it is not checked.
        why: the reason that the caller gives.
    """

    user: str = ""
    host: str = ""
    terminal: str = ""
    claim: str = ""
    why: str = ""

    def __post_init__(self) -> None:
        # The caller chooses these texts, and they are shown in terminals and on pages: control characters
        # could forge what an operator sees there.
        for name in self.__dataclass_fields__:
            object.__setattr__(self, name, make_one_line(getattr(self, name), LONGEST))

    @property
    def description(self) -> str:
        """For people: `kim on ops-1 at pts/3, on behalf of lee (not checked)`."""
        place = (f" on {self.host}" if self.host else "") + (f" at {self.terminal}" if self.terminal else "")
        known = f"{self.user or 'somebody'}{place}" if self.user or place else ""
        if not self.claim:
            return known
        return f"{known}, on behalf of {self.claim} (not checked)" if known else self.claim

    def encode(self) -> str:
        """As the store keeps it."""
        return json.dumps(asdict(self), sort_keys=True)


def load_actor(text: str) -> Actor:
    """What `plain` wrote; an empty actor if nothing was written, or another version wrote it."""
    try:
        return Actor(**json.loads(text))
    except (ValueError, TypeError):
        return Actor()
