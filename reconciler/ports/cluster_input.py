"""What a product is given to make its desired state from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.core.entries import ClusterEntry
from reconciler.core.plan import Revision
from reconciler.documents.document import Document


@dataclass(frozen=True, slots=True)
class ClusterInput:
    """What a product is given to make its desired state from: pure data.

    Args:
        entry: the cluster's entry of the fleet file, of the product's own model.
        where: the entry's place in the fleet file; values inside it by `fleet.position`.
        documents: node name -> its settings file, rendered for that node; nodes that get the same
            share one object. Empty for products without such files.
        resources: path -> bytes of the files to pack beside the settings.
        missing: path -> why, of files to pack that are encrypted and cannot be opened here.
        encrypted: path -> SHA-256 of the encrypted file, of all that are encrypted.
    """

    entry: ClusterEntry
    fleet: Document
    pointer: str
    revision: Revision
    documents: Mapping[str, Document] = field(default_factory=dict)
    resources: Mapping[str, bytes] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    encrypted: Mapping[str, str] = field(default_factory=dict)
