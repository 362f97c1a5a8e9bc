"""Overrides without effect: for an unknown guard or cluster, or expired."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date

from reconciler.core.policy import Override
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.documents.document import Document
from reconciler.guards.removed_clusters import CODE as VANISHED
from reconciler.text.one_line import quote_text
from reconciler.text.suggestions import find_nearest


def find_idle_overrides(
    document: Document, overrides: Sequence[Override], clusters: Sequence[str], guards: Sequence[str]
) -> list[Diagnostic]:
    """Warnings of overrides that name no known guard, or no cluster of the file.

    Args:
        document: the fleet file.
        overrides: its overrides, in its order.
        clusters: names of its clusters, sorted.
        guards: the codes of all guards, sorted.
    """
    return [
        *_find_unknown_guards(document, overrides, guards),
        *_find_unknown_targets(document, overrides, clusters),
    ]


def find_expired_overrides(
    document: Document, overrides: Sequence[Override], today: date
) -> list[Diagnostic]:
    """Warnings of expired overrides."""
    found = []
    for index, override in enumerate(overrides):
        if override.until < today:
            message = f"the override of {quote_text(override.guard)} expired on {override.until}"
            remedy = "remove it; if it is still needed, write a later date and the reason"
            found.append(
                _make_warning(document, f"/overrides/{index}/until", "expired-override", message, remedy)
            )
    return found


def _find_unknown_guards(
    document: Document, overrides: Sequence[Override], known: Sequence[str]
) -> Iterator[Diagnostic]:
    for index, override in enumerate(overrides):
        if override.guard not in known:
            meant = find_nearest(override.guard, known)
            message = f"{quote_text(override.guard)} is not a guard, so the override has no effect"
            remedy = f"did you mean `{meant}`?" if meant else f"the guards are {', '.join(known)}"
            yield _make_warning(document, f"/overrides/{index}/guard", "unknown-guard", message, remedy)


def _find_unknown_targets(
    document: Document, overrides: Sequence[Override], clusters: Sequence[str]
) -> Iterator[Diagnostic]:
    for index, override in enumerate(overrides):
        name = override.target.partition("/")[0]
        if not name or name in clusters or override.guard == VANISHED:
            continue
        meant = find_nearest(name, clusters)
        message = f"the override is for {quote_text(name)}, which is not a cluster of this file"
        remedy = f"did you mean `{meant}`?" if meant else f"the clusters are {', '.join(clusters)}"
        yield _make_warning(document, f"/overrides/{index}/target", "unknown-target", message, remedy)


def _make_warning(document: Document, pointer: str, code: str, message: str, remedy: str) -> Diagnostic:
    return Diagnostic(
        Severity.WARNING, code, message, remedy, position=document.position(pointer), pointer=pointer
    )
