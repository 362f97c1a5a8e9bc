"""The last known lists of instances, each in a file of the state folder; what is at rest is not trusted."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, ValidationError

from reconciler.core.canonical import fingerprint
from reconciler.core.fields import StrictModel
from reconciler.core.timestamps import format_timestamp, parse_timestamp
from reconciler.host.atomic_write import write_atomically
from reconciler.host.files import FileRefused, read_regular
from reconciler.ports.inventory import LARGEST, Instance, InventoryList
from reconciler.text.one_line import LONGEST_NAME, make_one_line

FOLDER: Final = "inventory"
"""Folder of the lists within the state folder."""

_LARGEST_FILE: Final = 8 * 1024 * 1024
_CLOCKS: Final = timedelta(minutes=1)
"""By how much the clock may have been ahead when a list was read."""

_FOLDER_MODE: Final = 0o700


class _StoredInstance(StrictModel):
    id: Annotated[str, Field(min_length=1, max_length=300, pattern=r"^[0-9A-Za-z][0-9A-Za-z._\-]*$")]
    address: Annotated[str, Field(max_length=45, pattern=r"^[0-9a-f.:]+$")]
    name: Annotated[str, Field(max_length=LONGEST_NAME)] = ""


class _StoredList(StrictModel):
    format: Literal["reconcile-inventory"] = "reconcile-inventory"
    version: Literal[1] = 1
    query: str
    read_at: Annotated[str, Field(max_length=40)]
    instances: Annotated[tuple[_StoredInstance, ...], Field(min_length=1, max_length=LARGEST)]


@dataclass(frozen=True, slots=True)
class InventoryCache:
    """The lists that were read last.

    Args:
        folder: the state folder.
        is_writable: whether new lists are kept; a dry run writes nothing.
    """

    folder: Path
    is_writable: bool = False

    def read(self, query: str, now: datetime) -> InventoryList | None:
        """The list that was kept last; None if there is none, or if it is not valid.

        Args:
            query: of which account, where, and for which instances.
            now: a list that claims to be of a later time does not count.
        """
        try:
            stored = _StoredList.model_validate_json(read_regular(self._get_path(query), limit=_LARGEST_FILE))
            read_at = parse_timestamp(stored.read_at)
        except (FileRefused, ValidationError, ValueError):
            return None
        if stored.query != query or read_at.tzinfo is None or read_at > now + _CLOCKS:
            return None
        found = {
            one.id: Instance(one.id, one.address, make_one_line(one.name, LONGEST_NAME))
            for one in stored.instances
        }
        return InventoryList(tuple(sorted(found.values())), read_at)

    def keep(self, query: str, found: InventoryList) -> None:
        """Keep a list for later; a full disk does not stop a pass."""
        if not self.is_writable:
            return
        stored = _StoredList(
            query=query,
            read_at=format_timestamp(found.read_at),
            instances=tuple(
                _StoredInstance(id=one.id, address=one.address, name=one.name) for one in found.instances
            ),
        )
        with suppress(OSError):
            (self.folder / FOLDER).mkdir(mode=_FOLDER_MODE, exist_ok=True)
            write_atomically(self._get_path(query), stored.model_dump_json(indent=1).encode())

    def _get_path(self, query: str) -> Path:
        return self.folder / FOLDER / f"{fingerprint(query)[:32]}.json"
