"""Paths in a Firestore database: an odd number of segments is a collection, an even one a document."""

from __future__ import annotations

import re
from typing import Final

LONGEST: Final = 1000
"""Most characters of a path; Firestore allows 6 KiB."""

COLLECTION_FORM: Final = r"^[^/]+(/[^/]+/[^/]+)*$"
"""The form of the path of a collection."""

_RESERVED: Final = re.compile(r"\.\.?|__.*__", re.DOTALL)
_LONGEST_SEGMENT: Final = 1500


def is_collection(path: str) -> bool:
    """Whether a path is that of a collection, in which messages are documents."""
    return path.count("/") % 2 == 0


def find_collection(path: str) -> str:
    """The collection that a document is in; empty for the path of a collection."""
    return "" if is_collection(path) else path.rpartition("/")[0]


def find_path_problem(path: str) -> str:
    """Why Firestore refuses a path, to follow its name; empty if it does not."""
    if not path or len(path) > LONGEST:
        return f"must have 1 to {LONGEST} characters"
    segments = path.split("/")
    if not all(segments):
        return "must not have an empty segment, and must neither begin nor end with a slash"
    if wrong := next(filter(_RESERVED.fullmatch, segments), ""):
        return f"must not have the segment `{wrong}`, which Firestore reserves"
    if any(len(one.encode("utf-8", "replace")) > _LONGEST_SEGMENT for one in segments):
        return f"must not have a segment of more than {_LONGEST_SEGMENT} bytes"
    if any(ord(mark) < ord(" ") or mark == "\x7f" for mark in path):
        return "must not have control characters"
    return ""
