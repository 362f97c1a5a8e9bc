"""References to secrets in files: `${env:NAME}`, `${file:PATH}`, `${age:BASE64}`, whole or within a text."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from reconciler.core.secret import Secret
from reconciler.diagnostic import Diagnostic
from reconciler.documents.document import Document, ParsedDocument, make_diagnostic, parse_document
from reconciler.errors import InputError, SecretError
from reconciler.secrets.resolver import SecretResolver
from reconciler.text.json_pointer import make_pointer as pointer_of
from reconciler.text.json_pointer import split_pointer

MARK = "${"
"""Beginning of every reference; a file without it has none."""

ENCRYPTED = ".age"
"""Ending of files that are encrypted as a whole."""

# The escape comes first: `$${env:A}` is text and must not be taken for a reference after a dollar.
_TOKEN = re.compile(
    r"\$\$\{|\$\{(?P<scheme>env|file|age):(?P<name>[^}]*)(?P<end>\}?)"
    r"|\$\{(?P<word>\s{0,8}[A-Za-z]{2,11}\s{0,8}):(?P<rest>[^}]{0,200})"
    r"|\$\{(?P<bare>\s{0,8}RECONCILE_SECRET_\w{0,200}\s{0,8})\}"
)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CIPHER = re.compile(r"\$\{age:[^}]{16,}?([^}]{8})\}")
"""A ciphertext, which its last characters identify in messages."""

_DEEPEST, _MOST_PLACES, _PASSES = 100, 10_000, 8
"""Bounds on the places that moves lead to: a patch can move a place into itself again and again."""

_OVERLAYS = frozenset({"overlays"})
_CLOSED = "secrets are not resolved here"
_FORM = "write ${env:RECONCILE_SECRET_NAME}, ${file:PATH} or ${age:BASE64}, or $${ for a literal ${"


SCHEMES = ("env", "file", "age")
"""What a reference begins with, before its colon."""

_MISTAKEN = {"environ": "env", "environment": "env", "files": "file", "path": "file"}
"""What people write for a scheme, apart from typing errors -> what is meant."""


class _BadReference(ValueError):
    """A reference with an invalid form.

    Args:
        message: what is wrong.
        remedy: the right form.
    """

    def __init__(self, message: str, remedy: str = _FORM) -> None:
        super().__init__(message)
        self.remedy = remedy


class ReferenceMarker:
    """Replaces references by secrets, and collects invalid references.

    Args:
        resolver: gives the values; without one they stay unknown.
    """

    def __init__(self, resolver: SecretResolver | None) -> None:
        self.resolver = resolver
        self.problems: list[Diagnostic] = []
        self._known: dict[str, Secret] = {}

    def document(self, document: Document) -> Document:
        """The same document with secrets; every value keeps its position."""
        if not isinstance(document, ParsedDocument) or MARK not in document.text:
            return document
        return replace(document, value=self.value(document.value, document, ()))

    def clear_texts(self) -> Iterator[str]:
        """The resolved values that are known here."""
        return (str(secret.value) for secret in self._known.values() if not secret.missing)

    def value(self, value: Any, document: Document, path: tuple[str | int, ...]) -> Any:
        """The same value with secrets; parts without any are the same objects.

        Args:
            value: plain.
            document: that contains it.
            path: its place in the document.
        """
        if isinstance(value, str):
            return self._replace(value, document, path) if MARK in value else value
        if isinstance(value, Mapping):
            members = {key: self.value(item, document, (*path, key)) for key, item in value.items()}
            return members if any(members[key] is not item for key, item in value.items()) else value
        if isinstance(value, list):
            items = [self.value(item, document, (*path, index)) for index, item in enumerate(value)]
            return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
        return value

    def decrypt(self, files: Mapping[str, bytes]) -> tuple[dict[str, bytes], dict[str, str]]:
        """Files, those named `.age` decrypted and without the ending; and name -> why one stays encrypted."""
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
                    found[name] = self.resolver.decrypt(path, data)
                except SecretError as error:
                    missing[name] = _format_error(error)
        return {path: found[path] for path in sorted(found) if path not in missing}, missing

    def _replace(self, text: str, document: Document, path: tuple[str | int, ...]) -> str | Secret:
        try:
            return self._resolve(text)
        except _BadReference as bad:
            self.problems.append(
                make_diagnostic(document, pointer_of(path), "bad-reference", str(bad), bad.remedy)
            )
            return text

    def _resolve(self, text: str) -> str | Secret:
        """A text, or a secret if a part of it is one: then the whole text is masked."""
        clear, found, missing, last = [], False, "", 0
        for token in _TOKEN.finditer(text):
            clear.append(text[last : token.start()])
            last = token.end()
            if token["scheme"] is None:
                _refuse_mistaken(token)
                # Another word than a scheme is text: nginx and others have variables of this form.
                clear.append(token[0] if token["word"] else MARK)
                continue
            # Each reference is looked up once: a thousand nodes may share one, and decryption is slow.
            secret = self._known.get(token[0]) or self._look_up(token)
            found, missing = True, missing or secret.missing
            clear.append(str(secret.value))
        whole = "".join((*clear, text[last:]))
        if not found:
            return whole
        reference = _CIPHER.sub(r"${age:…\1}", text)
        # With one unknown part the whole is unknown. Half of it would be compared with the value of a node.
        return Secret(reference if missing else whole, reference, missing)

    def _look_up(self, token: re.Match[str]) -> Secret:
        reference, scheme, name = token[0], token["scheme"], token["name"]
        _check(scheme, name, closed=bool(token["end"]))
        try:
            if self.resolver is None:
                found = Secret(reference, reference, _CLOSED)
            else:
                found = Secret(self.resolver.resolve(scheme, name), reference)
        except SecretError as error:
            found = Secret(reference, reference, _format_error(error))
        self._known[reference] = found
        return found


def list_reference_places(
    files: Iterable[tuple[str, bytes]], kept: Iterable[Document] = ()
) -> frozenset[tuple[str, ...]]:
    """The places of secret references in settings, overlays and fleet files: keys without indices.

    The targets of moves and copies in patches are included. A file that cannot be parsed has no places: no
    revision with it was ever applied.

    Args:
        files: (name, content) of an earlier revision.
        kept: files that did not change since: their patches may move references of the others.
    """
    found: set[tuple[str, ...]] = set()
    moves: set[tuple[tuple[str, ...], tuple[str, ...]]] = set()
    for name, data in files:
        # Neither a reference nor a move of one: most files need no parsing.
        if MARK.encode() not in data and b"from" not in data:
            continue
        try:
            _collect(parse_document(name, data).value, (), found, moves)
        except InputError:
            continue
    if not found:
        return frozenset()
    for document in kept:
        _collect(document.value, (), set(), moves)
    for _ in range(_PASSES):  # a move may start where another one ends, in any order
        before = len(found)
        for source, goal in sorted(moves):
            led = {(*goal, *place[len(source) :]) for place in found if place[: len(source)] == source}
            found |= {place for place in led if len(place) <= _DEEPEST}
            if len(found) > _MOST_PLACES:
                return frozenset(found)
        if len(found) == before:
            break
    return frozenset(found)


def _collect(
    value: Any,
    path: tuple[str, ...],
    found: set[tuple[str, ...]],
    moves: set[tuple[tuple[str, ...], tuple[str, ...]]],
) -> None:
    """Add the places of references in a value, and the moves of its patches."""
    if isinstance(value, str):
        if any(token["scheme"] for token in _TOKEN.finditer(value)):
            found.add(path)
    elif isinstance(value, Mapping):
        goal = value.get("path")
        is_operation = "op" in value and isinstance(goal, str)
        own = _drop_indices(split_pointer(str(goal))) if is_operation else path
        if is_operation and isinstance(source := value.get("from"), str):
            moves.add((_drop_indices(split_pointer(source)), own))
        for key, item in value.items():
            inlined = key == "merge" and "overlays" in path
            inner = () if inlined else own if is_operation else (*path, *_drop_indices([str(key)]))
            _collect(item, inner, found, moves)
    elif isinstance(value, list):
        for item in value:
            _collect(item, path, found, moves)


def _drop_indices(path: Iterable[str]) -> tuple[str, ...]:
    return tuple(part for part in path if part != "-" and not part.isdigit())


def find_misplaced_references(fleet: Document) -> list[Diagnostic]:
    """References in a fleet file outside its overlays, where they are not resolved."""
    if not isinstance(fleet, ParsedDocument) or MARK not in fleet.text:
        return []
    found = []
    for path, text in _walk_texts(fleet.value, ()):
        token = next((token for token in _TOKEN.finditer(text) if token["scheme"]), None)
        if token is not None and _OVERLAYS.isdisjoint(path):
            message = f"a reference to a secret (`${{{token['scheme']}:`) is not allowed here"
            remedy = "use secret references in settings and overlays only"
            found.append(make_diagnostic(fleet, pointer_of(path), "misplaced-reference", message, remedy))
    return found


def _walk_texts(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _walk_texts(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _walk_texts(item, (*path, index))


def _format_error(error: SecretError) -> str:
    return "; ".join(filter(None, (error.message, error.remedy)))


def _refuse_mistaken(token: re.Match[str]) -> None:
    """Refuse what was meant as a reference: as text it would be delivered in place of the secret."""
    if token["bare"]:
        name = token["bare"].strip()
        raise _BadReference(
            f"${{{name}}} is not a reference, and would be sent as text", f"write ${{env:{name}}}"
        )
    if token["word"] is None:
        return
    word = token["word"].strip()
    # Other case, or two letters exchanged; not the nearest word, since `${page:…}` may be anything.
    swapped = {"".join(sorted(scheme)): scheme for scheme in SCHEMES}
    meant = _MISTAKEN.get(word.lower()) or swapped.get("".join(sorted(word.lower())), "")
    if meant:
        # What follows is not quoted whole: it may be a secret that somebody wrote in place of its name.
        rest = token["rest"].strip()
        name = (
            rest
            if meant == "env" and _VARIABLE.fullmatch(rest)
            else {"env": "NAME", "file": "PATH"}.get(meant, "BASE64")
        )
        raise _BadReference(
            f"${{{word}: is not a reference, and would be sent as text",
            f"write ${{{meant}:{name}}}; for the literal characters write $${{",
        )


def _check(scheme: str, name: str, *, closed: bool) -> None:
    if not closed:
        raise _BadReference(f"the reference ${{{scheme}: has no closing }}")
    if scheme == "env" and not _VARIABLE.fullmatch(name):
        raise _BadReference("${env: must name an environment variable")
    # The author of the desired state must not read files outside the folders that the host allows.
    if scheme == "file" and (not name or ".." in PurePosixPath(name).parts or "\0" in name):
        raise _BadReference("${file: must give a path without `..`")
    if scheme == "age":
        with suppress(ValueError):  # `binascii.Error`, or what is said of other characters than ASCII
            if b64decode(name, validate=True):
                return
        raise _BadReference("${age: must contain base64, as `reconcile secrets encrypt` writes it")
