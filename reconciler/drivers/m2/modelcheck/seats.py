"""M2 nodes as the model checker walks them: small frozen data, one seat for each node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from reconciler.drivers.m2.schema import Target


class Seat(NamedTuple):
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


class World(NamedTuple):
    """All nodes, and the number of the rules by which they behave."""

    rule: int
    seats: tuple[Seat, ...]


@dataclass(frozen=True, slots=True)
class Player:
    """What does not change about a node.

    Args:
        hosts: the management hosts as it sees them; none where that is not known, and then this one is
            always let in.
        direct: whether the port at which it answers is its own, and not translated on the way.
        caller: what its answers say of this host's address.
    """

    target: Target
    hosts: tuple[str, ...]
    direct: bool
    caller: str = ""

    @property
    def name(self) -> str:
        """The node's name."""
        return self.target.node


def seated(world: World, place: int, seat: Seat) -> World:
    """The world with another seat at one place."""
    return World(world.rule, (*world.seats[:place], seat, *world.seats[place + 1 :]))
