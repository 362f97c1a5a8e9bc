"""Overrides without effect: for an unknown guard or cluster, or expired."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from functools import partial

from reconciler.core.policy import Override
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.documents.document import Document, make_diagnostic
from reconciler.guards.removed_clusters import CODE as VANISHED
from reconciler.text.one_line import quote_text
from reconciler.text.suggestions import find_nearest

_warn = partial(make_diagnostic, severity=Severity.WARNING)


def find_idle_overrides(
    document: Document, overrides: Sequence[Override], clusters: Sequence[str], guards: Sequence[str]
) -> Iterator[Diagnostic]:
    """Warnings of overrides that name no known guard, or no cluster of the file.

    Args:
        document: the fleet file.
        overrides: its overrides, in its order.
        clusters: names of its clusters, sorted.
        guards: the codes of all guards, sorted.
    """
    for index, override in enumerate(overrides):
        if override.guard not in guards:
            meant = find_nearest(override.guard, guards)
            message = f"{quote_text(override.guard)} is not a guard, so the override has no effect"
            remedy = f"did you mean `{meant}`?" if meant else f"the guards are {', '.join(guards)}"
            yield _warn(document, f"/overrides/{index}/guard", "unknown-guard", message, remedy)
        name = override.target.partition("/")[0]
        # An override for a cluster that left the file is the way to say that this is intended.
        if name and name not in clusters and override.guard != VANISHED:
            meant = find_nearest(name, clusters)
            message = f"the override is for {quote_text(name)}, which is not a cluster of this file"
            remedy = f"did you mean `{meant}`?" if meant else f"the clusters are {', '.join(clusters)}"
            yield _warn(document, f"/overrides/{index}/target", "unknown-target", message, remedy)


def find_expired_overrides(
    document: Document, overrides: Sequence[Override], today: date
) -> Iterator[Diagnostic]:
    """Warnings of expired overrides."""
    remedy = "remove it; if it is still needed, write a later date and the reason"
    for index, override in enumerate(overrides):
        if override.until < today:
            message = f"the override of {quote_text(override.guard)} expired on {override.until}"
            yield _warn(document, f"/overrides/{index}/until", "expired-override", message, remedy)
