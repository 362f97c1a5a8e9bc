"""M2 nodes as the model checker walks them: small frozen data, one seat for each node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from reconciler.drivers.m2.schema import NodeTarget


class ModelNode(NamedTuple):
    """One node.

    Args:
        shape: the number of what it has.
        at: the URL at which it answers.
        far: whether this host does not reach it.
        ours: whether what it has is what the reconciler delivered.
        again: whether that was delivered once more.
    """

    shape: int
    at: str
    up: bool = True
    far: bool = False
    ours: bool = False
    again: bool = False


class ModelWorld(NamedTuple):
    """All nodes, and the number of the rules by which they behave."""

    rule: int
    model_nodes: tuple[ModelNode, ...]


@dataclass(frozen=True, slots=True)
class NodeConstants:
    """What does not change about a node.

    Args:
        hosts: the management hosts as it sees them; none where that is not known, and then this one is
            always let in.
        direct: whether the port at which it answers is its own, and not translated on the way.
        caller: what its answers say of this host's address.
    """

    target: NodeTarget
    hosts: tuple[str, ...]
    direct: bool
    caller: str = ""

    @property
    def name(self) -> str:
        """The node's name."""
        return self.target.node


def replace_node(world: ModelWorld, place: int, model_node: ModelNode) -> ModelWorld:
    """The world with another seat at one place."""
    return ModelWorld(world.rule, (*world.model_nodes[:place], model_node, *world.model_nodes[place + 1 :]))
