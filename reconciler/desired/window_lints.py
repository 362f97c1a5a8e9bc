"""Lints of change windows: expressions that open a window at other times than their author means."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Final

from reconciler.core.change_windows import Window
from reconciler.core.cron import find_either_day, find_weekday_of_month
from reconciler.desired.clusters import ParsedCluster
from reconciler.desired.lints import LintWarning
from reconciler.diagnostic import Severity
from reconciler.documents.document import Document, make_diagnostic

EITHER_DAY: Final = "day-or-weekday"
"""Code of the lint of a window with a day of the month and a day of the week."""

_warn = partial(make_diagnostic, severity=Severity.WARNING)


def find_window_lints(
    fleet: Document, windows: Sequence[Window], clusters: Iterable[ParsedCluster]
) -> Iterator[LintWarning]:
    """Warnings about the fleet's windows and those of its clusters."""
    clusters = tuple(clusters)
    sharing = frozenset(cluster.entry.name for cluster in clusters if cluster.entry.windows is None)
    yield from _find_either_days(fleet, "/windows", windows, sharing)
    for cluster in clusters:
        place, own = f"{cluster.pointer}/windows", cluster.entry.windows or ()
        yield from _find_either_days(fleet, place, own, frozenset({cluster.entry.name}))


def _find_either_days(
    fleet: Document, place: str, windows: Sequence[Window], clusters: frozenset[str]
) -> Iterator[LintWarning]:
    for index, window in enumerate(windows):
        if found := find_either_day(window.cron):
            day, weekday = found
            message = (
                f"`{window.cron}` opens on each day `{day}` of the month and on each day `{weekday}` of the "
                "week, not only on days that are both"
            )
            meant = find_weekday_of_month(day, weekday)
            remedy = (
                f"for that weekday of the month only, write `* * {meant}` as its last three fields"
                if meant
                else "if only one of them is meant, write `*` for the other; if both, make two windows"
            )
            yield LintWarning(_warn(fleet, f"{place}/{index}/cron", EITHER_DAY, message, remedy), clusters)
