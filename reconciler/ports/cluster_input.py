"""The input of a driver for one cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.core.entries import ClusterEntry
from reconciler.core.plan import Revision
from reconciler.core.unmanaged import UnmanagedField
from reconciler.documents.document import Document


@dataclass(frozen=True, slots=True)
class ClusterInput:
    """All from which a driver makes the desired state of one cluster; pure data.

    Args:
        entry: of the fleet file, in the product's model.
        fleet: the fleet file.
        pointer: place of the entry in the fleet file.
        documents: node name -> its rendered settings; nodes with equal settings share one object. Empty for
            products without settings files.
        resources: path -> bytes of the files to pack with the settings.
        missing: path -> reason, for encrypted files that cannot be decrypted here.
        encrypted: path -> SHA-256 of the encrypted file, for all encrypted files.
        unmanaged: node name -> the fields of its settings that keep what the node shows, each once.
    """

    entry: ClusterEntry
    fleet: Document
    pointer: str
    revision: Revision
    documents: Mapping[str, Document] = field(default_factory=dict)
    resources: Mapping[str, bytes] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    encrypted: Mapping[str, str] = field(default_factory=dict)
    unmanaged: Mapping[str, tuple[UnmanagedField, ...]] = field(default_factory=dict)
