"""The process's environment as a frozen value, read once at the entry point and passed down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping


class Environment(Mapping[str, str]):
    """Environment variables; their values are never part of its `repr`.

    Args:
        variables: name -> value; copied.
    """

    __slots__ = ("_variables",)

    def __init__(self, variables: Mapping[str, str] | None = None) -> None:
        self._variables = dict(variables or {})

    def __getitem__(self, name: str) -> str:
        return self._variables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)

    def __repr__(self) -> str:
        return f"Environment(of {len(self)} variables)"
