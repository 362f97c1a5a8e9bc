"""The secrets of a fleet's files, to be masked where nodes quote them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reconciler.core.secret import find_secrets
from reconciler.documents.document import Document
from reconciler.ports.cluster_input import ClusterInput
from reconciler.secrets.patterns import find_private_key
from reconciler.secrets.redaction import Redactor, hide_by_key
from reconciler.secrets.references import ReferenceMarker


class KnownSecrets:
    """Masks, in quoted texts, every secret that the files of a revision contain or refer to.

    The values are collected with the first text, because most passes quote nothing.

    Args:
        documents: the files of settings and overlays, each once, secrets in the place of references.
        marker: knows the values that were looked up.
        cluster_inputs: with the files that are delivered with settings.
        others: secrets of other revisions that are masked as well.
    """

    def __init__(
        self,
        documents: Sequence[Document] = (),
        marker: ReferenceMarker | None = None,
        cluster_inputs: Sequence[ClusterInput] = (),
        others: Sequence[KnownSecrets] = (),
    ) -> None:
        self.documents = tuple(documents)
        self._marker = marker
        self._cluster_inputs = cluster_inputs
        self._others = others
        self._redactor: Redactor | None = None

    def merge(self, other: KnownSecrets) -> KnownSecrets:
        """These secrets and those of another revision."""
        return KnownSecrets(self.documents, self._marker, self._cluster_inputs, (*self._others, other))

    def redact_text(self, text: str) -> str:
        """The text as it may be shown or written down."""
        if self._redactor is None:
            self._redactor = Redactor(frozenset(self.list_clear()))
        return self._redactor.redact_text(text)

    def list_clear(self) -> Iterator[str]:
        """The secrets themselves."""
        for other in self._others:
            yield from other.list_clear()
        if self._marker is not None:
            yield from self._marker.clear_texts()
        for document in self.documents:
            for _, secret in find_secrets(hide_by_key("", document.value)):
                if not secret.reference:  # what is referred to was looked up, and is no part of its text
                    yield str(secret.value)
        inputs = self._cluster_inputs
        for path, data in {part for cluster_input in inputs for part in cluster_input.resources.items()}:
            text = data.decode("utf-8", "replace")
            was_encrypted = any(path in cluster_input.encrypted for cluster_input in inputs)
            if was_encrypted or ("PRIVATE KEY" in text and find_private_key(text)):
                yield text
