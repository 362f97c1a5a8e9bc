"""Files and secrets as they would be once something is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from reconciler.ports.source import SourceFiles
from reconciler.secrets.resolver import SecretResolver


@dataclass(frozen=True, slots=True)
class OverlaidFiles:
    """Files with others laid over them; implements `ports.source.SourceFiles`."""

    below: SourceFiles | None
    texts: Mapping[str, str]

    def names(self) -> list[str]:
        """All files, sorted."""
        return sorted({*(self.below.names() if self.below else ()), *self.texts})

    def read(self, path: str) -> bytes:
        """What a file holds; FileNotFoundError where there is none."""
        if path in self.texts:
            return self.texts[path].encode()
        if self.below is None:
            raise FileNotFoundError(path)
        return self.below.read(path)

    def over(self, texts: Mapping[str, str]) -> OverlaidFiles:
        """The same with more files, of which a name that is there already gets a new text."""
        return replace(self, texts={**self.texts, **texts})


@dataclass(frozen=True, slots=True)
class PendingResolver:
    """A vault that also knows the secrets whose references are only about to be written."""

    resolver: SecretResolver
    named: Mapping[str, str]

    def clear(self, scheme: str, name: str) -> str:
        """The secret of a reference, as `secrets.resolver.SecretResolver` gives it."""
        return (
            self.named[name] if scheme == "env" and name in self.named else self.resolver.clear(scheme, name)
        )

    def opened(self, name: str, data: bytes) -> bytes:
        """A file in clear."""
        return self.resolver.opened(name, data)
