"""References to secrets in files: `${env:NAME}`, `${file:PATH}`, `${age:BASE64}`, whole or within a text."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from reconciler.core.secret import Secret
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.documents.document import Document, ParsedDocument, parse_document
from reconciler.errors import InputError, SecretError
from reconciler.secrets.resolver import SecretResolver
from reconciler.text.json_pointer import make_pointer as pointer_of
from reconciler.text.json_pointer import split_pointer

MARK = "${"
"""What every reference begins with; a text of a file without it holds none."""

ENCRYPTED = ".age"
"""How the names of files end that are encrypted as a whole."""

_TOKEN = re.compile(r"\$\$\{|\$\{(?P<scheme>env|file|age):(?P<name>[^}]*)(?P<end>\}?)")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CIPHER = re.compile(r"\$\{age:[^}]{16,}?([^}]{8})\}")
"""A ciphertext, of which its end is enough to know it by."""

_DEEPEST, _MOST_PLACES, _PASSES = 100, 10_000, 8
"""Bounds on the places that moves lead to: a patch may move a place into itself, again and again."""

_OVERLAYS = frozenset({"overlays"})
_CLOSED = "secrets are not resolved here"
_FORM = "write ${env:RECONCILE_SECRET_NAME}, ${file:PATH} or ${age:BASE64}, or $${ for a literal ${"


class _BadReference(ValueError):
    """A reference that has not the form of one."""


class ReferenceMarker:
    """Replaces references by secrets and gathers what is wrong with them.

    Args:
        resolver: gives their values; without one they stay unknown.
    """

    def __init__(self, resolver: SecretResolver | None) -> None:
        self.resolver = resolver
        self.problems: list[Diagnostic] = []
        self._known: dict[str, Secret] = {}

    def document(self, document: Document) -> Document:
        """The same document with secrets in it; every value keeps its place."""
        if not isinstance(document, ParsedDocument) or MARK not in document.text:
            return document
        return replace(document, value=self.value(document.value, document, ()))

    def clear_texts(self) -> Iterator[str]:
        """The values that were looked up and are known here."""
        return (str(secret.value) for secret in self._known.values() if not secret.missing)

    def value(self, value: Any, document: Document, path: tuple[str | int, ...]) -> Any:
        """The same value with secrets in it; parts without any are the same objects.

        Args:
            value: plain.
            document: where it stands.
            path: its place in the document.
        """
        if isinstance(value, str):
            return self._text(value, document, path) if MARK in value else value
        if isinstance(value, Mapping):
            members = {key: self.value(item, document, (*path, key)) for key, item in value.items()}
            return members if any(members[key] is not item for key, item in value.items()) else value
        if isinstance(value, list):
            items = [self.value(item, document, (*path, index)) for index, item in enumerate(value)]
            return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
        return value

    def opened(self, files: Mapping[str, bytes]) -> tuple[dict[str, bytes], dict[str, str]]:
        """Files with those that end in `.age` decrypted, under their names without that ending.

        Beside them, name -> why, those that cannot be opened here.
        """
        found: dict[str, bytes] = {}
        missing: dict[str, str] = {}
        for path, data in files.items():
            name = path.removesuffix(ENCRYPTED)
            if name == path:
                found[path] = data
            elif self.resolver is None:
                missing[name] = _CLOSED
            else:
                try:
                    found[name] = self.resolver.opened(path, data)
                except SecretError as error:
                    missing[name] = _said(error)
        return {path: found[path] for path in sorted(found) if path not in missing}, missing

    def _text(self, text: str, document: Document, path: tuple[str | int, ...]) -> str | Secret:
        try:
            return self._resolved(text)
        except _BadReference as bad:
            where = pointer_of(path)
            self.problems.append(
                Diagnostic(
                    Severity.ERROR,
                    "bad-reference",
                    str(bad),
                    _FORM,
                    position=document.position(where),
                    pointer=where,
                )
            )
            return text

    def _resolved(self, text: str) -> str | Secret:
        """A text, or the secret that it is as a whole because a part of it is one."""
        clear, found, missing, last = [], False, "", 0
        for token in _TOKEN.finditer(text):
            clear.append(text[last : token.start()])
            last = token.end()
            if token["scheme"] is None:
                clear.append(MARK)
                continue
            secret = self._secret(token)
            found, missing = True, missing or secret.missing
            clear.append(str(secret.value))
        whole = "".join((*clear, text[last:]))
        if not found:
            return whole
        reference = _CIPHER.sub(r"${age:…\1}", text)
        return Secret(reference if missing else whole, reference, missing)

    def _secret(self, token: re.Match[str]) -> Secret:
        reference = token[0]
        if reference not in self._known:
            _check(token["scheme"], token["name"], closed=bool(token["end"]))
            self._known[reference] = self._looked_up(reference, token["scheme"], token["name"])
        return self._known[reference]

    def _looked_up(self, reference: str, scheme: str, name: str) -> Secret:
        if self.resolver is None:
            return Secret(reference, reference, _CLOSED)
        try:
            return Secret(self.resolver.clear(scheme, name), reference)
        except SecretError as error:
            return Secret(reference, reference, _said(error))


def list_reference_places(
    files: Iterable[tuple[str, bytes]], kept: Iterable[Document] = ()
) -> frozenset[tuple[str, ...]]:
    """Where settings, overlays and fleet files refer to secrets: places in the settings, without indices.

    A move or copy in a patch has the places that it leads to as well. What cannot be parsed has none: no
    revision with it was ever applied.

    Args:
        files: (name, content) of an earlier revision.
        kept: files that stay as they were then: their patches moved what the others referred to.
    """
    found: set[tuple[str, ...]] = set()
    moves: set[tuple[tuple[str, ...], tuple[str, ...]]] = set()
    for name, data in files:
        if MARK.encode() not in data and b"from" not in data:
            continue
        try:
            _gather(parse_document(name, data).value, (), found, moves)
        except InputError:
            continue
    if not found:
        return frozenset()
    for document in kept:
        _gather(document.value, (), set(), moves)
    for _ in range(_PASSES):  # one move may go on from where another leads to, whatever their order
        before = len(found)
        for source, goal in sorted(moves):
            led = {(*goal, *place[len(source) :]) for place in found if place[: len(source)] == source}
            found |= {place for place in led if len(place) <= _DEEPEST}
            if len(found) > _MOST_PLACES:
                return frozenset(found)
        if len(found) == before:
            break
    return frozenset(found)


def _gather(
    value: Any,
    path: tuple[str, ...],
    found: set[tuple[str, ...]],
    moves: set[tuple[tuple[str, ...], tuple[str, ...]]],
) -> None:
    """Add the places of references in a value, and the moves of patches in it."""
    if isinstance(value, str):
        if any(token["scheme"] for token in _TOKEN.finditer(value)):
            found.add(path)
    elif isinstance(value, Mapping):
        goal = value.get("path")
        is_operation = "op" in value and isinstance(goal, str)
        own = _named(split_pointer(str(goal))) if is_operation else path
        if is_operation and isinstance(source := value.get("from"), str):
            moves.add((_named(split_pointer(source)), own))
        for key, item in value.items():
            inlined = key == "merge" and "overlays" in path
            inner = () if inlined else own if is_operation else (*path, *_named([str(key)]))
            _gather(item, inner, found, moves)
    elif isinstance(value, list):
        for item in value:
            _gather(item, path, found, moves)


def _named(path: Iterable[str]) -> tuple[str, ...]:
    return tuple(part for part in path if part != "-" and not part.isdigit())


def find_misplaced_references(fleet: Document) -> list[Diagnostic]:
    """References in a fleet file outside its overlays, where nothing puts a value in their place."""
    if not isinstance(fleet, ParsedDocument) or MARK not in fleet.text:
        return []
    found = []
    for path, text in _texts(fleet.value, ()):
        token = next((token for token in _TOKEN.finditer(text) if token["scheme"]), None)
        if token is not None and _OVERLAYS.isdisjoint(path):
            where = pointer_of(path)
            said = f"a reference to a secret (`${{{token['scheme']}:`) is not allowed here"
            remedy = "use secret references in settings and overlays only"
            place = fleet.position(where)
            found.append(
                Diagnostic(Severity.ERROR, "misplaced-reference", said, remedy, position=place, pointer=where)
            )
    return found


def _texts(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, (*path, index))


def _said(error: SecretError) -> str:
    return "; ".join(filter(None, (error.message, error.remedy)))


def _check(scheme: str, name: str, *, closed: bool) -> None:
    if not closed:
        raise _BadReference(f"the reference ${{{scheme}: has no closing }}")
    if scheme == "env" and not _VARIABLE.fullmatch(name):
        raise _BadReference("${env: must name an environment variable")
    if scheme == "file" and (not name or ".." in PurePosixPath(name).parts or "\0" in name):
        raise _BadReference("${file: must give a path without `..`")
    if scheme == "age" and not _is_base64(name):
        raise _BadReference("${age: must contain base64, as `reconcile secrets encrypt` writes it")


def _is_base64(text: str) -> bool:
    try:
        return bool(b64decode(text, validate=True))
    except binascii.Error:
        return False
