"""What a simulated application takes from its configuration file, whatever the form of its template; pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from reconciler.drivers.gocluster.desired_state import NodeFile, list_authentication


@dataclass(frozen=True, slots=True)
class LoadedFile:
    """What a process was started with.

    Args:
        peers: nodes whose address stands in the file, but for itself.
        auth: which secret, and whether TLS: equal for nodes that talk to each other.
    """

    peers: frozenset[str]
    auth: int


class UnusableFile(ValueError):
    """A file with which the application does not start; the text says why."""


def load_file(
    content: bytes | None, node: str, addresses: Mapping[str, str], wanted: Iterable[NodeFile]
) -> LoadedFile:
    """What the application of a node takes from a file.

    Args:
        content: of the file.
        node: the node.
        addresses: of all nodes that there are.
        wanted: the files that fleet files want the node to have; they show where the secret stands.

    Raises:
        UnusableFile: the application does not start with it.
    """
    if not content:
        raise UnusableFile("there is no configuration")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise UnusableFile("the configuration is no UTF-8 text") from None
    if "\0" in text:
        raise UnusableFile("the configuration has a zero byte")
    peers = (
        name
        for name, address in addresses.items()
        if name != node and re.search(rf"(?<![0-9A-Za-z.\-]){re.escape(address)}(?![0-9])", text)
    )
    found: list[str] = []
    for file in wanted:
        found += list_authentication(text, file)
    digest = hashlib.sha256("\n".join(sorted(set(found))).encode()).digest()
    return LoadedFile(frozenset(peers), int.from_bytes(digest[:6], "big") if found else 0)
