"""The files that a fleet file names: settings, each parsed once, and resources delivered with them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from reconciler.core.unmanaged import UnmanagedField
from reconciler.desired.clusters import ParsedCluster
from reconciler.desired.glob import is_pattern, match_names
from reconciler.desired.overlay_renderer import OverlayRenderer
from reconciler.diagnostic import Diagnostic, Position, Severity
from reconciler.documents.document import Document, make_diagnostic, parse_document
from reconciler.documents.model_errors import Path
from reconciler.errors import InputError, SourceError
from reconciler.ports.source import SourceFiles
from reconciler.secrets.references import ENCRYPTED, ReferenceMarker
from reconciler.secrets.resolver import SecretResolver
from reconciler.text.json_pointer import make_pointer as pointer_of
from reconciler.text.one_line import quote_text
from reconciler.text.suggestions import find_nearest

_DRIVE = re.compile(r"[A-Za-z]:")
_MOST_SHOWN = 3
# Each guess compares a path with all names: a thousand wrong paths would take minutes.
_MOST_GUESSES = 20
LARGEST_SCHEMA = 256 * 1024
"""Highest number of bytes of a JSON Schema: it is checked by a schema itself, which takes long."""

_NOT_WHOLE = "encrypt only the secret values in it, each as `${age:…}`: see `reconcile secrets encrypt`"


class FileLoader:
    """Reads the files that clusters name, each once, and collects their problems.

    Args:
        fleet: the fleet file, for the positions where files are named.
        files: all files of the revision.
        names: their names, sorted.
        resolver: gives the values of secrets; without it they stay unknown.
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
        self.renderer = OverlayRenderer(fleet, self._open_overlay, self.marker)
        self.files = files
        self.names = names
        self.known = frozenset(names)
        self.problems: list[Diagnostic] = []
        self._documents: dict[str, Document | None] = {}
        self._contents: dict[str, bytes | None] = {}
        self._schemas: dict[str, Document | None] = {}
        self._reported: set[tuple[str, str]] = set()

    def documents(self, cluster: ParsedCluster) -> dict[str, Document]:
        """Node -> its rendered settings; nodes with equal settings share one object."""
        found: dict[str, Document] = {}
        for node, place in cluster.members():
            path = cluster.entry.get_setting_path(node)
            if not path:
                continue
            document = self._open(path)
            if document is not None:
                rendered = self.renderer.render(document, cluster, node, place)
                found |= {node.name: rendered} if rendered is not None else {}
            elif problem := self._explain_missing(path):
                self._add_problem(_find_naming_pointer(cluster, path, place), path, *problem)
        return found

    def unmanaged(self, cluster: ParsedCluster) -> dict[str, tuple[UnmanagedField, ...]]:
        """Node -> the fields of its settings that are not ours; nodes without any are left out."""
        found = {
            node.name: self.renderer.list_unmanaged(cluster, node, place) for node, place in cluster.members()
        }
        return {node: fields for node, fields in found.items() if fields}

    def list_documents(self) -> list[Document]:
        """The fleet file and all settings and overlays that were read, each once and not rendered."""
        read = {document.name: document for document in self._documents.values() if document is not None}
        return list({self.fleet.name: self.fleet, **read}.values())

    def list_schemas(self) -> list[Document]:
        """The JSON Schemas that were read, by name, each once."""
        return [one for _, one in sorted(self._schemas.items()) if one is not None]

    def list_problems(self) -> list[Diagnostic]:
        """All problems of the files and of the places that name them."""
        return [*self.problems, *self.marker.problems, *self.renderer.problems]

    def open_schema(self, path: str) -> Document | tuple[str, str]:
        """A JSON Schema of the tree as it is stored, or what is wrong with its path and what to do."""
        if path.endswith(ENCRYPTED):
            return f"{quote_text(path)} is encrypted, and a schema is not", "name a plain file"
        if problem := _describe_outside(path) or self._explain_missing(path):
            return problem[1:]
        name = _normalize(path)
        data = self._read(name)
        if data is None:
            return "the file was removed while it was being read", "try again"
        if len(data) > LARGEST_SCHEMA:
            size = f"{LARGEST_SCHEMA // 1024} KiB"
            return f"{quote_text(path)} has more than {size}, the limit of a schema", "split it into several"
        if name not in self._schemas:
            try:
                self._schemas[name] = parse_document(name, data)
            except InputError as error:
                self.problems += error.problems
                self._schemas[name] = None
        found = self._schemas[name]
        return found if found is not None else (f"{quote_text(path)} cannot be read", "correct it first")

    def _open(self, path: str) -> Document | None:
        if path not in self._documents:
            self._documents[path] = self._load_document(path)
        return self._documents[path]

    def _open_overlay(self, path: str, pointer: str) -> Document | None:
        document = self._open(path)
        if document is None and (problem := self._explain_missing(path)):
            self._add_problem(pointer, path, *problem)
        return document

    def resources(self, cluster: ParsedCluster) -> tuple[dict[str, bytes], dict[str, str], dict[str, str]]:
        """The files that are delivered with a cluster's settings.

        Returns:
            Path -> bytes; path -> why an encrypted file cannot be opened on this host; path -> SHA-256 of
            every encrypted file as it is stored.
        """
        found: set[str] = set()
        for pattern in cluster.entry.list_resource_patterns():
            problem, matches = _describe_outside(pattern), frozenset[str]()
            if not problem:
                named = match_names(pattern, self.names) if is_pattern(pattern) else [_normalize(pattern)]
                matches = self.known.intersection(named)
                problem = () if matches else self._describe_missing(pattern)
            if problem:
                pointer = _find_naming_pointer(cluster, pattern, cluster.pointer)
                self._add_problem(pointer, pattern, *problem)
            found |= matches
        read = {path: data for path in sorted(found) if (data := self._read(path)) is not None}
        encrypted = {
            path.removesuffix(ENCRYPTED): hashlib.sha256(data).hexdigest()
            for path, data in read.items()
            if path.endswith(ENCRYPTED)
        }
        return *self.marker.decrypt(read), encrypted

    def _load_document(self, path: str) -> Document | None:
        name = _normalize(path)
        if _describe_outside(path) or path.endswith(ENCRYPTED) or name not in self.known:
            return None
        # `./a.json` is `a.json`: parsed once, so that all their nodes share one object.
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
        """The bytes of a file that was listed; it can be removed between the two, in a plain folder."""
        if path not in self._contents:
            try:
                self._contents[path] = self.files.read(path)
            except FileNotFoundError:
                self._contents[path] = None
                self.problems.append(make_missing_file_problem(path))
        return self._contents[path]

    def _explain_missing(self, path: str) -> tuple[str, str, str] | tuple[()]:
        """Code, message and remedy of a path that names no file; empty if it names one."""
        if path.endswith(ENCRYPTED):
            return "encrypted-settings", f"{quote_text(path)} is encrypted as a whole", _NOT_WHOLE
        return _describe_outside(path) or (
            () if _normalize(path) in self.known else self._describe_missing(path)
        )

    def _describe_missing(self, path: str) -> tuple[str, str, str]:
        inside = [name for name in self.names if name.startswith(f"{_normalize(path)}/")]
        if inside:
            remedy = f"name the file in it, such as `{inside[0]}`" if not is_pattern(path) else ""
            return "no-such-file", f"{quote_text(path)} is a folder", remedy
        if not is_pattern(path) and (closed := self._find_closed(path)):
            return "no-such-file", closed.message, closed.remedy
        shown = quote_text(path)
        message = f"no file matches {shown}" if is_pattern(path) else f"the file {shown} does not exist"
        return "no-such-file", message, self._suggest_path(path)

    def _find_closed(self, path: str) -> SourceError | None:
        """Why the source does not list a file that may be there, such as one in a submodule; None if not."""
        try:
            self.files.read(_normalize(path))
        except SourceError as error:
            return error
        except FileNotFoundError:
            pass
        return None

    def _suggest_path(self, path: str) -> str:
        if len(self.problems) >= _MOST_GUESSES:
            return ""
        if not is_pattern(path) and (meant := find_nearest(_normalize(path), self.names)):
            return f"did you mean `{meant}`?"
        folder = _normalize(path).rpartition("/")[0]
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

    def _add_problem(self, pointer: str, path: str, code: str, message: str, remedy: str) -> None:
        if (pointer, path) not in self._reported:
            self._reported.add((pointer, path))
            self.problems.append(make_diagnostic(self.fleet, pointer, code, message, remedy))


def make_missing_file_problem(path: str) -> Diagnostic:
    """The problem of a file that was removed between listing and reading."""
    message = "the file was removed while it was being read"
    return Diagnostic(Severity.ERROR, "file-vanished", message, "try again", position=Position(path))


def _describe_outside(path: str) -> tuple[str, str, str] | tuple[()]:
    """Code, message and remedy of a path outside the fleet file's folder; empty if it is inside."""
    # Others than the host's operator may write the fleet file: it must not deliver the host's own files.
    inside = "name a file in the fleet file's folder or below it, with `/` between folders"
    if "\\" in path:
        return "path-outside", f"{quote_text(path)} contains a backslash", inside
    if path.startswith(("/", "~")) or _DRIVE.match(path):
        return "path-outside", f"{quote_text(path)} is an absolute path or starts at a home folder", inside
    if ".." in path.split("/"):
        return "path-outside", f"{quote_text(path)} is outside the fleet file's folder", inside
    return ()


def _normalize(path: str) -> str:
    return str(PurePosixPath(path))


def _find_naming_pointer(cluster: ParsedCluster, words: str, place: str) -> str:
    """The pointer of the text that names a file: in the entry of the node, or else of the cluster."""
    index = place.removeprefix(f"{cluster.pointer}/nodes/")
    nodes = cluster.raw.get("nodes")
    if index.isdigit() and isinstance(nodes, list):
        own = _find_text(nodes[int(index)], words, ())
        if own is not None:
            return place + pointer_of(own)
    shared = {key: value for key, value in cluster.raw.items() if key != "nodes"}
    common = _find_text(shared, words, ())
    return place if common is None else cluster.pointer + pointer_of(common)


def _find_text(value: Any, words: str, path: Path) -> Path | None:
    if value == words and isinstance(value, str):
        return path
    inner: Any = enumerate(value) if isinstance(value, list) else ()
    for part, item in value.items() if isinstance(value, Mapping) else inner:
        found = _find_text(item, words, (*path, part))
        if found is not None:
            return found
    return None
