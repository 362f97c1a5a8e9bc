"""The last answer of an http(s) source, kept on disk with its ETag and date."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from reconciler.errors import StateError
from reconciler.host.atomic_write import write_atomically

KEYS = ("etag", "modified", "sha256")


@dataclass(frozen=True, slots=True)
class CachedAnswer:
    """A downloaded archive, with the ETag and the date that the server gave it."""

    body: bytes
    etag: str
    modified: str

    @property
    def sha256(self) -> str:
        """Digest of the archive, in hexadecimal."""
        return hashlib.sha256(self.body).hexdigest()


def find_cache_file(cache: Path, url: str) -> Path:
    """The cache file of a URL; its name does not reveal the URL, which may have a token in its query."""
    return cache / "tarball" / hashlib.sha256(url.encode()).hexdigest()[:32]


def read_cached_answer(file: Path) -> CachedAnswer | None:
    """The cached answer; None where there is none, or the file is incomplete.

    Raises:
        StateError: the file exists and cannot be read.
    """
    try:
        head, _, body = file.read_bytes().partition(b"\n")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateError(
            f"the cache file {file} cannot be read: {error.strerror}", remedy="check its permissions"
        ) from error
    try:
        etag, modified, digest = (str(json.loads(head)[key]) for key in KEYS)
    except (ValueError, KeyError, TypeError):
        return None
    found = CachedAnswer(body, etag, modified)
    # After a power cut the file may be incomplete; without an answer everything is downloaded again.
    return found if found.sha256 == digest else None


def write_cached_answer(file: Path, answer: CachedAnswer) -> None:
    """Write an answer; a reader sees the old one or the new one, never a part.

    Raises:
        StateError: the cache cannot be written.
    """
    head = json.dumps({"etag": answer.etag, "modified": answer.modified, "sha256": answer.sha256})
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomically(file, head.encode() + b"\n" + answer.body)
    except OSError as error:
        raise StateError(
            f"the cache folder {file.parent} cannot be written: {error.strerror}",
            remedy="check its permissions and the free disk space",
        ) from error
