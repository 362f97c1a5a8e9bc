"""What a node showed, as one digest: two are equal exactly when the product's own values are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from datetime import date
from typing import Any

from pydantic import BaseModel

from reconciler.core.canonical import encode_canonical, fingerprint
from reconciler.core.observation import FileReading, Observation, Observed, Present, Stale
from reconciler.core.secret import Secret


def digest_observations(
    observed: Observed[Any], *, redact_text: Callable[[str], str] | None = None
) -> dict[str, str]:
    """Node -> the digest of its answer, sorted by node; of further addresses under `NODE at ADDRESS`.

    Args:
        observed: what was read.
        redact_text: masks the secrets of files, which are under `NODE file ENTRY`. Without it, only whether
            there is a file counts: a digest of the content would let its reader test guesses of a secret.
    """
    found = {node: digest_observation(answer) for node, answer in observed.nodes.items()}
    for node, answers in observed.elsewhere.items():
        found |= {f"{node} at {address}": digest_observation(answer) for address, answer in answers.items()}
    for node, files in observed.files.items():
        found |= {f"{node} file {entry}": _digest_file(one, redact_text) for entry, one in files.items()}
    return dict(sorted(found.items()))


def digest_observation(answer: Observation[Any]) -> str:
    """`present SHA-256` or `stale SHA-256` of what it showed, or one word for an answer that shows nothing.

    The reason for a missing answer is not part of it: its words differ from one try to the next.
    """
    # Plan files contain these words: a renamed type must keep its old word here.
    kind = type(answer).__name__.lower()
    return f"{kind} {fingerprint(_plain(answer.value))}" if isinstance(answer, Present | Stale) else kind


def _digest_file(reading: FileReading, redact_text: Callable[[str], str] | None) -> str:
    if not isinstance(reading, Present):
        return type(reading).__name__.lower()
    content = reading.value.content
    if content is None:
        return "absent"
    if redact_text is None:
        return "present"
    return f"present {fingerprint(redact_text(content.decode(errors='replace')))}"


def _plain(value: Any) -> Any:
    """A value as plain JSON, by what its type compares; one that has a `fingerprint` is known by that."""
    found = value
    if isinstance(known := getattr(value, "fingerprint", None), str):
        found = known
    elif isinstance(value, Secret):
        found = _plain(value.value)
    elif isinstance(value, BaseModel):
        found = value.model_dump(mode="json")
    elif is_dataclass(value):
        found = {field.name: _plain(getattr(value, field.name)) for field in fields(value) if field.compare}
    elif isinstance(value, Mapping):
        found = {str(key): _plain(item) for key, item in value.items()}
    elif isinstance(value, AbstractSet):
        found = sorted((_plain(item) for item in value), key=encode_canonical)
    elif isinstance(value, list | tuple):
        found = [_plain(item) for item in value]
    elif isinstance(value, date):
        found = value.isoformat()
    return found
