"""Secrets in plain text in files: keys that sound secret, private keys, tokens of known formats."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from reconciler.diagnostic import Diagnostic, Position, Severity
from reconciler.documents.document import Document, ParsedDocument, make_diagnostic
from reconciler.secrets.patterns import (
    SecretProspect,
    assess_prospect,
    can_key_mark_secret,
    find_private_key,
    find_secret,
    get_patched_key,
)
from reconciler.text.json_pointer import make_pointer as pointer_of

CODE: Final = "clear-secret"

REMEDY: Final = (
    "replace it with `${env:RECONCILE_SECRET_…}`, `${file:PATH}` or the output of "
    "`reconcile secrets encrypt`, and change the secret"
)
"""The secret has to be changed, because it stays in the history of git."""


def scan_document(document: Document) -> Iterator[Diagnostic]:
    """Warnings about secrets in plain text in one file as written; references are not reported."""
    text = document.text if isinstance(document, ParsedDocument) else ""
    worth = assess_prospect(text) if text else SecretProspect()
    if not worth.shapes and not worth.keys:
        return
    for path, what in _walk(document.value, shaped=worth.shapes):
        message = f"{what} is in plain text"
        yield make_diagnostic(document, pointer_of(path), CODE, message, REMEDY, severity=Severity.WARNING)


def scan_resource(path: str, data: bytes) -> Iterator[Diagnostic]:
    """A warning about a file that is delivered with the settings: a private key that is not encrypted."""
    if b"PRIVATE KEY" not in data:
        return
    text = data.decode("ascii", errors="replace")
    found = find_private_key(text)
    if found is not None:
        line = text.count("\n", 0, found.start()) + 1
        column = found.start() - text.rfind("\n", 0, found.start())
        remedy = f"encrypt it with `reconcile secrets encrypt --out {path}.age {path}`, and create a new key"
        message = "a private key is in plain text"
        yield Diagnostic(Severity.WARNING, CODE, message, remedy, position=Position(path, line, column))


def scan_value(value: Any) -> Iterator[str]:
    """JSON pointers of the texts in a plain value that look like secrets in plain text."""
    return (pointer_of(path) for path, _ in _walk(value, shaped=True))


def _walk(value: Any, *, shaped: bool) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """(path, what) of the texts in a value that look secret, unordered; `shaped`: whatever their key is."""
    # By exact types, which is faster than isinstance: a parsed file has no subclasses.
    rest: list[tuple[Any, tuple[str | int, ...], str]] = [(value, (), "")]
    while rest:
        part, path, key = rest.pop()
        members: Any = part.items() if type(part) is dict else enumerate(part) if type(part) is list else ()
        for name, item in members:
            kind = type(item)
            if kind is not str and kind is not dict and kind is not list:
                continue
            own = key if type(part) is list else name
            if name == "value" and (patched := get_patched_key(part)) is not None:
                own = patched
            if kind is not str:
                rest.append((item, (*path, name), own))
            elif (shaped or can_key_mark_secret(own)) and (what := find_secret(own, item)):
                yield (*path, name), what
