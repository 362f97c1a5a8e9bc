"""The cache of a simulated node: files by URL, which a purge removes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

SIZE: Final = 1024
"""Size of each file in bytes."""


class NodeCache:
    """The files of one node.

    Args:
        hosts: names of its virtual hosts.
        count: number of files of each virtual host: `/1.jpg`, `/2.jpg`, …
    """

    def __init__(self, hosts: Iterable[str] = (), count: int = 0) -> None:
        self.files = {f"{host}/{number}.jpg": SIZE for host in hosts for number in range(1, count + 1)}

    def purge(self, targets: str, *, keeps: bool = False) -> tuple[int, int]:
        """How many files were removed, and their bytes.

        Args:
            targets: URLs with or without scheme, separated by `|`; `*` stands for any characters.
            keeps: whether the files only expire.
        """
        matched = {
            name
            for target in targets.split("|")
            for name in self.files
            if make_pattern(target).fullmatch(name)
        }
        size = sum(self.files[name] for name in matched)
        for name in () if keeps else matched:
            del self.files[name]
        return len(matched), size


def make_pattern(target: str) -> re.Pattern[str]:
    """The pattern of the URLs that a target names, without their scheme."""
    plain = urlsplit(target)._replace(scheme="").geturl().removeprefix("//") if "://" in target else target
    return re.compile(".*".join(re.escape(part) for part in plain.split("*")), re.DOTALL)
