"""The condition of a store, as it is found without opening it for writing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class ServerClock:
    """The clock of the server of a database.

    Args:
        now: what it showed.
        before: this machine's clock when it was asked.
        after: this machine's clock when the answer was there.
    """

    now: datetime
    before: datetime
    after: datetime


@dataclass(frozen=True, slots=True)
class StoreCondition:
    """What an inspection found in a store; everything else is as for a store that does not exist.

    Args:
        place: the file or the database, for people.
        is_present: whether it exists, with tables of this program.
        is_foreign: whether the file belongs to another program.
        version: of its tables; 0 without tables.
        supported: the newest version of tables that this program knows.
        readable_from: the oldest version of tables whose programs can use these.
        problems: faults of its content.
        is_whole: whether all of its content was examined; the time may have ended before.
        server: version of the database server; empty for a file.
        is_standby: whether the server only reads.
        missing_rights: what this user may not do there.
        holders: processes of this machine that hold locks of it, each with what it does.
        clock: of the server; None for a file.
    """

    place: str
    is_present: bool = False
    is_foreign: bool = False
    version: int = 0
    supported: int = 0
    readable_from: int = 0
    problems: tuple[str, ...] = ()
    is_whole: bool = True
    server: str = ""
    is_standby: bool = False
    missing_rights: tuple[str, ...] = ()
    holders: tuple[str, ...] = ()
    clock: ServerClock | None = None
