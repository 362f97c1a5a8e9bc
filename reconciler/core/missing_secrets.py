"""Findings about secrets that are not available on this host: what they belong to is not compared; pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Final

from reconciler.diagnostic import Diagnostic, Severity
from reconciler.text.one_line import join_some

CODE: Final = "secret-unavailable"

_MAX_NAMED: Final = 8


def is_told_by_nodes(finding: Diagnostic, reasons: Collection[str]) -> bool:
    """Whether a finding of `report_missing_secrets` gives a reason that findings about nodes give too.

    Args:
        finding: of a plan.
        reasons: why secrets are not available, as nodes that nothing is sent to say it.
    """
    is_about_cluster = finding.code == CODE and finding.severity is Severity.WARNING
    return is_about_cluster and any(finding.message.endswith(f": {why}") for why in reasons)


def report_missing_secrets(cluster: str, places: Iterable[tuple[str, str]]) -> Iterator[Diagnostic]:
    """What is not compared; one finding for each reason.

    Args:
        cluster: its name.
        places: where a secret belongs, and why it is not available.
    """
    by_reason: dict[str, dict[str, None]] = {}
    for place, why in places:
        by_reason.setdefault(why, {})[place] = None
    for why, found in sorted(by_reason.items()):
        shown = join_some(list(found), _MAX_NAMED)
        message = f"{shown}: not compared, because the secret is not available here: {why}"
        remedy = "provide it where changes are applied; without it nothing is sent to these nodes"
        yield Diagnostic(Severity.WARNING, CODE, message, remedy, target=cluster)
