"""Shows texts without the names of clusters and nodes that somebody may not look at (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

from reconciler.core.entries import ClusterEntry
from reconciler.core.roles import AccessRole
from reconciler.diagnostic import Diagnostic
from reconciler.errors import InputError, ReconcilerError
from reconciler.guards.place_conflicts import ELSEWHERE
from reconciler.server.access.identity import Identity

_WORD: Final = re.compile(r"[0-9A-Za-z._@\-]+")
"""What could be a name: the characters that names have."""

_MASK: Final = "(hidden)"
_WHY: Final = "the reason names clusters that you may not look at"
_REMEDY: Final = "ask somebody who may look at all clusters"


@dataclass(frozen=True, slots=True)
class HiddenNames:
    """The names that somebody may not see.

    Args:
        names: of clusters and their nodes.
        is_empty: whether somebody may look at everything; then each text is shown as it is.
    """

    names: frozenset[str] = frozenset()
    is_empty: bool = True

    @classmethod
    def find(
        cls, identity: Identity, entries: Iterable[ClusterEntry], clusters: Iterable[str] = ()
    ) -> HiddenNames:
        """What is hidden from somebody.

        Args:
            identity: who looks.
            entries: the clusters of the fleet, with their nodes.
            clusters: names of others, such as those of an earlier revision.
        """
        if identity.allows(AccessRole.LOOK):
            return cls()
        hidden: set[str] = set()
        shown: set[str] = set()
        for entry in entries:
            own = shown if identity.allows(AccessRole.LOOK, entry.name) else hidden
            own.update((entry.name, *(node.name for node in entry.members())))
        for name in clusters:
            (shown if identity.allows(AccessRole.LOOK, name) else hidden).add(name)
        # Two clusters may call a node alike: a name that somebody sees anyway tells nothing of the other.
        return cls(frozenset(hidden - shown), is_empty=False)

    def mask_text(self, text: str) -> str:
        """A text with a mask in place of each name."""
        if self.is_empty:
            return text
        return _WORD.sub(lambda found: self._mask_word(found[0]), text)

    def mask_diagnostics(self, found: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
        """Diagnostics with another sentence where one names what is hidden, or another fleet of the host."""
        return tuple(
            replace(one, message=_WHY, remedy=_REMEDY, related=()) if self._is_about(one) else one
            for one in found
        )

    def mask_error(self, error: ReconcilerError) -> ReconcilerError:
        """An error as somebody sees it: problems in files are about any file of the fleet."""
        if self.is_empty:
            return error
        if isinstance(error, InputError):
            masked = InputError(())
            masked.message = "the files of this revision are not valid"
            masked.remedy = f"{_REMEDY}, or run `reconcile validate` on a copy of the files"
            return masked
        error.message, error.remedy = self.mask_text(error.message), self.mask_text(error.remedy)
        return error

    @contextmanager
    def masking(self) -> Iterator[None]:
        """Lets errors out as somebody sees them."""
        try:
            yield
        except ReconcilerError as error:
            masked = self.mask_error(error)
            if masked is error:
                raise
            raise masked from None

    def _is_about(self, one: Diagnostic) -> bool:
        if self.is_empty:
            return False
        text = f"{one.message} {one.remedy} {one.position.file}"
        return one.code == ELSEWHERE or self.mask_text(text) != text

    def _mask_word(self, word: str) -> str:
        # A sentence may end with a name, or have it before a colon.
        name = word.rstrip(".-")
        return f"{_MASK}{word[len(name) :]}" if name in self.names else word
