"""The files that a fleet file names: settings, parsed once each, and resources to deliver with them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from reconciler.desired.clusters import ParsedCluster
from reconciler.desired.glob import is_pattern, match_names
from reconciler.desired.overlay_renderer import OverlayRenderer
from reconciler.diagnostic import Diagnostic, Position, Severity
from reconciler.documents.document import Document, parse_document
from reconciler.documents.model_errors import Path
from reconciler.errors import InputError
from reconciler.ports.source import SourceFiles
from reconciler.secrets.references import ENCRYPTED, ReferenceMarker
from reconciler.secrets.resolver import SecretResolver
from reconciler.text.json_pointer import make_pointer as pointer_of
from reconciler.text.one_line import quote_text
from reconciler.text.suggestions import find_nearest

_DRIVE = re.compile(r"[A-Za-z]:")
_MOST_SHOWN = 3
_MOST_GUESSES = 20
_NOT_WHOLE = "encrypt only the secret values in it, each as `${age:…}`: see `reconcile secrets encrypt`"


class FileLoader:
    """Reads the files that clusters name, each once, and gathers what is wrong with them.

    Args:
        fleet: the fleet file, for the places where files are named.
        files: all files of the revision.
        names: their names, sorted.
        resolver: gives the values of secrets; without one they stay unknown.
    """

    def __init__(
        self,
        fleet: Document,
        files: SourceFiles,
        names: Sequence[str],
        resolver: SecretResolver | None = None,
    ) -> None:
        self.fleet = fleet
        self.marker = ReferenceMarker(resolver)
        self.layers = OverlayRenderer(fleet, self._overlay, self.marker)
        self.files = files
        self.names = names
        self.known = frozenset(names)
        self.problems: list[Diagnostic] = []
        self._documents: dict[str, Document | None] = {}
        self._contents: dict[str, bytes | None] = {}
        self._told: set[tuple[str, str]] = set()

    def documents(self, cluster: ParsedCluster) -> dict[str, Document]:
        """What each node of a cluster gets, by node name; nodes that get the same share one object."""
        found: dict[str, Document] = {}
        for node, place in cluster.members():
            path = cluster.entry.setting_of(node)
            if not path:
                continue
            document = self._opened(path)
            if document is not None:
                laid = self.layers.over(document, cluster, node, place)
                found |= {node.name: laid} if laid is not None else {}
            elif self._why_not(path):
                self._tell(_named(cluster, path, place), path, *self._why_not(path))
        return found

    def written(self) -> list[Document]:
        """The fleet file and all settings and overlays that were read, each once, as they stand in files."""
        read = {document.name: document for document in self._documents.values() if document is not None}
        return list({self.fleet.name: self.fleet, **read}.values())

    def wrong(self) -> list[Diagnostic]:
        """Everything wrong in the files and in where they are named."""
        return [*self.problems, *self.marker.problems, *self.layers.problems]

    def _opened(self, path: str) -> Document | None:
        if path not in self._documents:
            self._documents[path] = self._document(path)
        return self._documents[path]

    def _overlay(self, path: str, pointer: str) -> Document | None:
        document = self._opened(path)
        if document is None and self._why_not(path):
            self._tell(pointer, path, *self._why_not(path))
        return document

    def resources(self, cluster: ParsedCluster) -> tuple[dict[str, bytes], dict[str, str], dict[str, str]]:
        """The bytes of the files that go with a cluster's settings, by path.

        Beside them, path -> why, those that are encrypted and cannot be opened here, and path -> SHA-256 of
        the file as it lies there, all that are encrypted.
        """
        found: set[str] = set()
        for pattern in cluster.entry.packed():
            if outside := _outside(pattern):
                self._tell(_named(cluster, pattern, cluster.pointer), pattern, *outside)
                continue
            fits = (
                match_names(pattern, self.names) if is_pattern(pattern) else {_normal(pattern)} & self.known
            )
            if not fits:
                self._tell(_named(cluster, pattern, cluster.pointer), pattern, *self._missing(pattern))
            found.update(fits)
        read = {path: data for path in sorted(found) if (data := self._read(path)) is not None}
        encrypted = {
            path.removesuffix(ENCRYPTED): hashlib.sha256(data).hexdigest()
            for path, data in read.items()
            if path.endswith(ENCRYPTED)
        }
        return *self.marker.opened(read), encrypted

    def _document(self, path: str) -> Document | None:
        if _outside(path) or path.endswith(ENCRYPTED) or (name := _normal(path)) not in self.known:
            return None
        if name != path and name in self._documents:
            return self._documents[name]
        if name == self.fleet.name:
            return self.marker.document(self.fleet)
        data = self._read(name)
        if data is None:
            return None
        document: Document | None
        try:
            document = self.marker.document(parse_document(name, data))
        except InputError as error:
            self.problems += error.problems
            document = None
        self._documents[name] = document
        return document

    def _read(self, path: str) -> bytes | None:
        """The bytes of a file that was there when the names were listed."""
        if path not in self._contents:
            try:
                self._contents[path] = self.files.read(path)
            except FileNotFoundError:
                self._contents[path] = None
                self.problems.append(make_missing_file_problem(path))
        return self._contents[path]

    def _why_not(self, path: str) -> tuple[str, str, str] | tuple[()]:
        """Code, message and remedy of a path that names no file; nothing where it names one."""
        if path.endswith(ENCRYPTED):
            return "encrypted-settings", f"{quote_text(path)} is encrypted as a whole", _NOT_WHOLE
        return _outside(path) or (() if _normal(path) in self.known else self._missing(path))

    def _missing(self, path: str) -> tuple[str, str, str]:
        pattern = is_pattern(path)
        inside = [name for name in self.names if name.startswith(f"{_normal(path)}/")]
        if inside:
            message = f"{quote_text(path)} is a folder"
            remedy = f"name the file in it, such as `{inside[0]}`" if not pattern else ""
            return "no-such-file", message, remedy
        message = (
            f"no file matches {quote_text(path)}"
            if pattern
            else f"the file {quote_text(path)} does not exist"
        )
        return "no-such-file", message, self._hint(path)

    def _hint(self, path: str) -> str:
        if len(self.problems) >= _MOST_GUESSES:
            return ""
        if not is_pattern(path) and (meant := find_nearest(_normal(path), self.names)):
            return f"did you mean `{meant}`?"
        folder = _normal(path).rpartition("/")[0]
        if is_pattern(folder):
            return "correct the pattern, or write the file"
        beside = [name for name in self.names if name.rpartition("/")[0] == folder]
        if beside:
            more = ", …" if len(beside) > _MOST_SHOWN else ""
            where = f"the folder `{folder}` contains" if folder else "the folder of the fleet file contains"
            return f"{where} {', '.join(beside[:_MOST_SHOWN])}{more}"
        folders = {name.rpartition("/")[0] for name in self.names if "/" in name}
        meant = find_nearest(folder, folders)
        return f"the folder `{folder}` does not exist" + (f", did you mean `{meant}`?" if meant else "")

    def _tell(self, pointer: str, path: str, code: str, message: str, remedy: str) -> None:
        if (pointer, path) in self._told:
            return
        self._told.add((pointer, path))
        where = self.fleet.position(pointer)
        self.problems.append(
            Diagnostic(Severity.ERROR, code, message, remedy, position=where, pointer=pointer)
        )


def make_missing_file_problem(path: str) -> Diagnostic:
    """A file that went away between listing and reading."""
    message = "the file was removed while it was being read"
    return Diagnostic(Severity.ERROR, "file-vanished", message, "try again", position=Position(path))


def _outside(path: str) -> tuple[str, str, str] | tuple[()]:
    """What is wrong with a path that is outside the fleet file's folder; nothing where it stays inside."""
    inside = "name a file in the fleet file's folder or below it, with `/` between folders"
    if "\\" in path:
        return "path-outside", f"{quote_text(path)} contains a backslash", inside
    if path.startswith(("/", "~")) or _DRIVE.match(path):
        return "path-outside", f"{quote_text(path)} is an absolute path or starts at a home folder", inside
    if ".." in path.split("/"):
        return "path-outside", f"{quote_text(path)} is outside the fleet file's folder", inside
    return ()


def _normal(path: str) -> str:
    return str(PurePosixPath(path))


def _named(cluster: ParsedCluster, words: str, place: str) -> str:
    """The pointer of the text that names a file: in the node's own entry, or else in the cluster's."""
    index = place.removeprefix(f"{cluster.pointer}/nodes/")
    nodes = cluster.raw.get("nodes")
    if index.isdigit() and isinstance(nodes, list):
        own = _search(nodes[int(index)], words, ())
        if own is not None:
            return place + pointer_of(own)
    shared = {key: value for key, value in cluster.raw.items() if key != "nodes"}
    common = _search(shared, words, ())
    return place if common is None else cluster.pointer + pointer_of(common)


def _search(value: Any, words: str, path: Path) -> Path | None:
    if value == words and isinstance(value, str):
        return path
    inner: list[tuple[str | int, Any]] = []
    if isinstance(value, Mapping):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    for part, item in inner:
        found = _search(item, words, (*path, part))
        if found is not None:
            return found
    return None
