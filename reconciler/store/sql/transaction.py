"""What the functions of this package work with: a transaction of either database, and what differs in SQL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol, TypeAlias

from reconciler.core.timestamps import format_timestamp

Row: TypeAlias = Any
"""A row: values by the names of their columns and by position."""


class SqlCursor(Protocol):
    """The result of one statement."""

    @property
    def rowcount(self) -> int:
        """Number of rows that the statement changed."""

    def fetchone(self) -> Row:
        """The next row; None after the last one."""

    def fetchall(self) -> list[Row]:
        """All rows that are left."""

    def __iter__(self) -> Iterator[Row]: ...


class SqlConnection(Protocol):
    """A connection in a transaction; parameters are `?` in order, or `?1`, `?2` … by number."""

    def execute(self, statement: str, values: Sequence[Any] = (), /) -> SqlCursor:
        """The result of one statement."""

    def executemany(self, statement: str, values: Sequence[Sequence[Any]], /) -> object:
        """Run a statement once for each of these values."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """The few queries that the two databases write differently; `{}` stands for a parameter with JSON.

    Args:
        texts: the texts of an array.
        numbers: the whole numbers of an array.
        polls: the rows of `node_polls`, from an array of arrays.
        known_tokens: digest, node and whether it is unused of each token in an array, as one JSON text.
        next_fleet: the number that the next new fleet gets.
    """

    texts: str
    numbers: str
    polls: str
    known_tokens: str
    next_fleet: str


@dataclass(frozen=True, slots=True)
class Transaction:
    """What each function of this package works with, as `tx`.

    Args:
        connection: in a transaction.
        fleet: number of the fleet that the work is about; `HOST` for the host, and to read all fleets.
        now: time of what is written.
        dialect: of the database.
    """

    connection: SqlConnection
    fleet: int
    now: datetime
    dialect: Dialect

    @property
    def timestamp(self) -> str:
        """`now` as it is stored."""
        return format_timestamp(self.now)

    def execute(self, statement: str, values: tuple[Any, ...] = ()) -> SqlCursor:
        """The result of one statement of SQL."""
        return self.connection.execute(statement, values)

    def execute_many(self, statement: str, values: Sequence[tuple[Any, ...]]) -> None:
        """Run a statement once for each of these values."""
        self.connection.executemany(statement, values)

    def texts(self, parameter: str) -> str:
        """A subquery with the texts of a JSON array.

        Args:
            parameter: that gives the array, such as `?1`.
        """
        return f"({self.dialect.texts.format(parameter)})"

    def numbers(self, parameter: str) -> str:
        """A subquery with the whole numbers of a JSON array; its parameter as for `texts`."""
        return f"({self.dialect.numbers.format(parameter)})"

    def for_fleet(self, number: int) -> Transaction:
        """The same transaction, for another fleet or the host."""
        return replace(self, fleet=number)
