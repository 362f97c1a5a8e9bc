"""The input of a driver for one cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.core.bus_channels import BusChannel
from reconciler.core.entries import ClusterEntry
from reconciler.core.plan import Revision
from reconciler.core.unmanaged import UnmanagedField
from reconciler.documents.document import Document
from reconciler.ports.inventory import Instance, InventoryQuery, UnreadInventory


@dataclass(frozen=True, slots=True)
class InventoryNode:
    """Where a node comes from that the fleet file does not name itself."""

    query: InventoryQuery
    instance: Instance


@dataclass(frozen=True, slots=True)
class NamedChannel:
    """A channel of a message bus as the settings file of a node names it.

    Args:
        is_feed: whether the node listens there; else it reports there.
        document: the settings file.
        places: pointer to the brokers or the project.
        pointer: to the topic or document.
        group: the consumer group with which it listens; empty for none.
    """

    node: str
    channel: BusChannel
    is_feed: bool
    document: Document
    places: str
    pointer: str
    group: str = ""


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
        node_pointers: place of each node of the entry in the fleet file, in the entry's order.
        inventory: node name -> where it comes from, for nodes that an inventory gives.
        unread: why its nodes are not known; then the entry has none, and nothing may be sent to any. None
            otherwise.
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
    node_pointers: tuple[str, ...] = ()
    inventory: Mapping[str, InventoryNode] = field(default_factory=dict)
    unread: UnreadInventory | None = None

    def get_node_pointer(self, index: int) -> str:
        """The place of a node of `nodes` in the fleet file; those of one inventory item share its place."""
        if index < len(self.node_pointers):
            return self.node_pointers[index]
        return f"{self.pointer}/nodes/{index}"
