"""The data that a command of the host gets for one node; pure."""

from __future__ import annotations

from reconciler.core.command_reference import NamedCommand, fill_node_command


def get_host(node: str) -> str:
    """The host in the name of a node, after the `@`."""
    return node.rpartition("@")[2]


def fill_command(command: NamedCommand, node: str) -> dict[str, str]:
    """Placeholder -> text, for a command on one node."""
    return fill_node_command(command, node, get_host(node))
