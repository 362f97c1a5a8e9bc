"""Secrets that stand in files in clear: keys that sound secret, private keys, tokens of known forms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from reconciler.diagnostic import Diagnostic, Position, Severity
from reconciler.documents.document import Document, ParsedDocument
from reconciler.secrets.patterns import (
    SecretProspect,
    assess_prospect,
    find_private_key,
    find_secret,
    may_tell_secret,
)
from reconciler.text.json_pointer import make_pointer as pointer_of
from reconciler.text.json_pointer import split_pointer

CODE: Final = "clear-secret"

REMEDY: Final = (
    "replace it with `${env:RECONCILE_SECRET_…}`, `${file:PATH}` or the output of "
    "`reconcile secrets encrypt`, and change the secret"
)
"""The secret has to be changed, because it stays in the history of git."""


def scan_document(document: Document) -> Iterator[Diagnostic]:
    """Warnings about the values of one file as it was written; what is a reference is none of them."""
    text = document.text if isinstance(document, ParsedDocument) else ""
    worth = assess_prospect(text) if text else SecretProspect()
    if not worth.shapes and not worth.keys:
        return
    for path, what in _walk(document.value, shaped=worth.shapes):
        place = pointer_of(path)
        said = f"{what} is in plain text"
        yield Diagnostic(
            Severity.WARNING, CODE, said, REMEDY, position=document.position(place), pointer=place
        )


def scan_resource(path: str, data: bytes) -> Iterator[Diagnostic]:
    """Warnings about a file that is delivered with the settings: a private key that is not encrypted."""
    if b"PRIVATE KEY" not in data:
        return
    text = data.decode("ascii", errors="replace")
    found = find_private_key(text)
    if found is not None:
        line = text.count("\n", 0, found.start()) + 1
        column = found.start() - text.rfind("\n", 0, found.start())
        remedy = f"encrypt it with `reconcile secrets encrypt --out {path}.age {path}`, and create a new key"
        said = "a private key is in plain text"
        yield Diagnostic(Severity.WARNING, CODE, said, remedy, position=Position(path, line, column))


def scan_value(value: Any) -> Iterator[str]:
    """The JSON pointers of the texts in a plain value that look like secrets in clear."""
    return (pointer_of(path) for path, _ in _walk(value, shaped=True))


def looks_secret(key: str, text: str) -> bool:
    """Whether a text under a key looks like a secret in clear."""
    return bool(find_secret(key, text))


def _walk(value: Any, *, shaped: bool) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """(path, what) of the texts in a value that look secret, in no order; `shaped`: whatever their key is.

    A parsed file holds plain types and nothing derived from them, and it is the exact type that is quick.
    """
    rest: list[tuple[Any, tuple[str | int, ...], str]] = [(value, (), "")]
    while rest:
        part, path, key = rest.pop()
        members: Any = part.items() if type(part) is dict else enumerate(part) if type(part) is list else ()
        for name, item in members:
            kind = type(item)
            if kind is not str and kind is not dict and kind is not list:
                continue
            own = key if type(part) is list else _patched(part) if name == "value" else name
            if kind is not str:
                rest.append((item, (*path, name), own))
            elif (shaped or may_tell_secret(own)) and (what := find_secret(own, item)):
                yield (*path, name), what


def _patched(value: Mapping[str, Any]) -> str:
    """The key that an operation of a JSON Patch gives its `value` to; that word where the object is none."""
    place = value.get("path")
    if not isinstance(place, str) or "op" not in value:
        return "value"
    return next((part for part in reversed(split_pointer(place)) if part != "-" and not part.isdigit()), "")
