"""Secrets of the settings that a polled node has, had or was offered: its reports may quote them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from reconciler.core.json_reader import JsonError, read_json
from reconciler.core.secret import find_secrets
from reconciler.drivers.m2.central_server.offered_parts import UnreadableParts, read_package
from reconciler.drivers.m2.content import ContentTooLarge
from reconciler.drivers.m2.schema import Content
from reconciler.drivers.m2.setting.check import LIMITS
from reconciler.drivers.m2.shared_contents import SharedContents
from reconciler.ports.transport import NodeMail
from reconciler.secrets.redaction import Redactor, hide_by_key

_KEPT: Final = 16
"""Redactors that are kept: most nodes have one setting, but each may have secrets of its own."""


def list_mail_secrets(mail: NodeMail) -> frozenset[str]:
    """The secrets in all settings of a mail."""
    found: set[str] = set()
    for body in _list_settings(mail):
        try:
            found |= list_document_secrets(read_json(body, LIMITS))
        except JsonError:
            continue
    return frozenset(found)


@dataclass(slots=True)
class MailRedactors:
    """Redactors of the mails of one cluster.

    Args:
        contents: what nodes showed; those that differ only in a token are looked through once.
    """

    contents: SharedContents
    _secrets: dict[int, tuple[Any, frozenset[str]]] = field(init=False, default_factory=dict, repr=False)
    _made: dict[frozenset[str], Redactor] = field(init=False, default_factory=dict, repr=False)

    def take(self, mail: NodeMail) -> Redactor:
        """The redactor of a mail; mails with the same secrets share it. Tokens are masked elsewhere."""
        known: frozenset[str] = frozenset()
        for body in _list_settings(mail):
            try:
                content = self.contents.read(body)
            except ContentTooLarge:
                known |= list_mail_secrets(mail)
                break
            except ValueError:
                continue
            known |= self._list_secrets(content)
        return self._make(known)

    def take_setting(self, content: Content) -> Redactor:
        """The redactor of the one setting that a node has."""
        return self._make(self._list_secrets(content))

    def _list_secrets(self, content: Content) -> frozenset[str]:
        own = content.common or content
        if id(own) not in self._secrets:
            self._secrets[id(own)] = own, list_document_secrets(own.document)
        return self._secrets[id(own)][1]

    def _make(self, known: frozenset[str]) -> Redactor:
        if known not in self._made:
            if len(self._made) >= _KEPT:
                del self._made[next(iter(self._made))]
            self._made[known] = Redactor(known)
        return self._made[known]


@dataclass(slots=True)
class LateRedactor:
    """Masks the secrets of a mail; they are looked for when a text is quoted, which is seldom."""

    mail: NodeMail
    redactors: MailRedactors

    def redact_text(self, text: str) -> str:
        """A text with the secrets masked."""
        return self.redactors.take(self.mail).redact_text(text) if text else text


def _list_settings(mail: NodeMail) -> Iterator[bytes]:
    """The settings that the node was offered, those that it had before, and the one that it reported."""
    for one in mail.offers:
        for parts in (one.parts, one.former):
            try:
                yield read_package(parts).setting()
            except UnreadableParts:
                continue
    if mail.content is not None:
        yield mail.content.body


def list_document_secrets(document: Any) -> frozenset[str]:
    """The secrets in a setting."""
    found = find_secrets(hide_by_key("", document))
    return frozenset(str(secret.value) for _, secret in found if isinstance(secret.value, str | int | float))
