"""The one place where things that depend on each other are put in order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter


class DependencyCycle(ValueError):
    """Things wait for each other; `members` names them in a circle."""

    def __init__(self, members: Iterable[str]) -> None:
        self.members = tuple(members)
        super().__init__(" → ".join(self.members))


def sort_by_dependency(after: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """Names so that each comes behind all that it waits for; ties in the mapping's own order.

    Args:
        after: name -> names it waits for; every name is a key.

    Raises:
        Cycle: where names wait for each other.
    """
    rank = {name: index for index, name in enumerate(after)}
    sorter = TopologicalSorter({name: tuple(names) for name, names in after.items()})
    try:
        sorter.prepare()
    except CycleError as error:
        raise DependencyCycle(error.args[1]) from error
    result: list[str] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=rank.__getitem__)
        result += ready
        sorter.done(*ready)
    return tuple(result)
