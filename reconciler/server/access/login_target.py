"""The page to show after a login (pure)."""

from __future__ import annotations

import re
from typing import Final

HOME: Final = "/"
"""The page without another one."""

_LOCAL: Final = re.compile(r"/(?![/\\])[A-Za-z0-9_\-./~%?=&+,:@*]{0,500}")


def read_next_page(text: str | None) -> str:
    """The path in the parameter `next`; `HOME` if it could lead away from this server."""
    # A browser takes `//host`, `/\host` and `/<tab>/host` for another server: whoever sends a link to
    # our login could have it end on a page of theirs that looks like ours.
    if text is None or not _LOCAL.fullmatch(text) or re.match(r"/log(in|out)\b", text):
        return HOME
    return text
