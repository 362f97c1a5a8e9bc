"""Lints of `env.management.server`: backups of all nodes, and polls that overtake each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from reconciler.diagnostic import Diagnostic, Severity
from reconciler.drivers.m2.setting.check import BACKUP, CRON_FIELDS, SERVER
from reconciler.drivers.m2.setting.diagnostics import get_object
from reconciler.text.json_pointer import make_pointer

CODES: Final = frozenset({"backup-without-hostname", "poll-outruns-timeout"})

POLLING: Final = frozenset({"apiPolling", "tgzPolling"})
"""Types of feeds and feedbacks that ask, or tell, at intervals and wait for an answer."""

_SIDES: Final = (("setting", "feed"), ("purge", "feed"), ("heartbeat", "feedback"))
_BEGIN: Final = datetime(2000, 1, 1, tzinfo=UTC)
_MOST_FIRES: Final = 128
_SPAN: Final = timedelta(days=1)


_FOREVER: Final = 1e9
"""Seconds beyond which a timeout is none; a file may hold numbers that no float can."""


def lint_server(management: Mapping[str, Any]) -> Iterator[Diagnostic]:
    """All lints of this kind in an `env.management`, of what is enabled."""
    yield from _backup(get_object(management, "server", "events", "onSettingLoad", "backup"))
    for feature, side in _SIDES:
        part: Mapping[str, Any] = get_object(management, "server", "features", feature)
        if part.get("enable") is True:
            yield from _poll(feature, side, get_object(part, side))


def _backup(backup: Mapping[str, Any]) -> Iterator[Diagnostic]:
    hostname = backup.get("hostname")
    if backup.get("enable") is not True or (hostname is not None and str(hostname).strip()):
        return
    said = "the backup is enabled without a `hostname`, so every node that gets this setting uploads it"
    path = (*BACKUP, "hostname" if "hostname" in backup else "enable")
    remedy = "name the one node that is to do it"
    yield Diagnostic(Severity.WARNING, "backup-without-hostname", said, remedy, pointer=make_pointer(path))


def _poll(feature: str, side: str, part: Mapping[str, Any]) -> Iterator[Diagnostic]:
    """Requests at intervals that begin anew before the last one has to be over."""
    info: Mapping[str, Any] = get_object(part, "info")
    schedule, timeout = info.get("schedule"), info.get("timeout")
    if not isinstance(schedule, str) or str(part.get("type")) not in POLLING:
        return
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        return
    gap, timeout = _shortest(schedule), min(timeout, _FOREVER)
    if 0 < gap < timeout:
        said = f"it polls every {gap:g} s but waits {timeout:g} s for an answer, so that requests pile up"
        path = (*SERVER, "features", feature, side, "info", "schedule")
        remedy = f"poll at least {timeout:g} s apart, or wait for less than {gap:g} s"
        yield Diagnostic(Severity.WARNING, "poll-outruns-timeout", said, remedy, pointer=make_pointer(path))


@lru_cache(maxsize=1024)
def _shortest(schedule: str) -> float:
    """The shortest time between two of a schedule's first moments, in seconds; 0 where it is none."""
    from cronsim import CronSim, CronSimError  # noqa: PLC0415  (loaded only where a schedule stands)

    if len(schedule.split()) != CRON_FIELDS:
        return 0
    try:
        moments = CronSim(schedule.upper(), _BEGIN)
        last = first = next(moments)
        shortest = timedelta.max
        for _ in range(_MOST_FIRES):
            moment = next(moments)
            shortest, last = min(shortest, moment - last), moment
            if last - first > _SPAN:
                break
    except (CronSimError, StopIteration):
        return 0
    return shortest.total_seconds()
