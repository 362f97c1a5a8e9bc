"""Who belongs to a cluster, by name, and the numbers that the state machine has for the names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from reconciler.drivers.sora.cluster_state import State, find_leading_group, list_members, to_bits


@dataclass(frozen=True, slots=True)
class Membership:
    """The registered nodes of a cluster, up or down; each tuple is sorted."""

    regular: tuple[str, ...] = ()
    temporary: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All of them, sorted."""
        return tuple(sorted((*self.regular, *self.temporary)))

    def plain(self) -> dict[str, Any]:
        """As plain JSON, for a step's arguments."""
        return {"regular": list(self.regular), "temporary": list(self.temporary)}

    @classmethod
    def load(cls, value: Mapping[str, Any]) -> Membership:
        """What `plain` gave."""
        return cls(tuple(sorted(value["regular"])), tuple(sorted(value["temporary"])))

    def __str__(self) -> str:
        listed = [*self.regular, *(f"{name} (temporary)" for name in self.temporary)]
        return ", ".join(listed) or "nobody"


@dataclass(frozen=True, slots=True)
class NodeNumbers:
    """The names of a machine state's nodes, by number."""

    names: tuple[str, ...]

    def at(self, name: str) -> int:
        """The number of a name."""
        return self.names.index(name)

    def bits(self, names: Iterable[str]) -> int:
        """The bit set of some names."""
        return to_bits(self.at(name) for name in names)

    def list_names(self, bit_set: int) -> tuple[str, ...]:
        """The names of a bit set, by number."""
        return tuple(self.names[number] for number in list_members(bit_set))

    def membership(self, state: State) -> Membership:
        """What the leading group lists; empty where no node is in a cluster."""
        group = find_leading_group(state)
        if group is None:
            return Membership()
        regular, temporary = self.list_names(group.log.regular), self.list_names(group.log.temporary)
        return Membership(tuple(sorted(regular)), tuple(sorted(temporary)))
