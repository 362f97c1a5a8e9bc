"""Lints of `env.management.server`: backups by all nodes, and polls that overlap; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from reconciler.diagnostic import Diagnostic
from reconciler.drivers.m2.setting.check import CRON_FIELDS
from reconciler.drivers.m2.setting.connections import BACKUP, SERVER
from reconciler.drivers.m2.setting.diagnostics import get_named_items, get_object, suggest_known, warn

CODES: Final = frozenset(
    {
        "backup-without-hostname",
        "poll-outruns-timeout",
        "server-disabled",
        "deprecated-nodelist",
        "unknown-hosting",
    }
)

POLLING: Final = frozenset({"apiPolling", "tgzPolling"})
"""Types of feeds and feedbacks that send requests at intervals and wait for the answer."""

_SIDES: Final = (("setting", "feed"), ("purge", "feed"), ("heartbeat", "feedback"))
_BEGIN: Final = datetime(2000, 1, 1, tzinfo=UTC)
_MAX_GUESSES: Final = 12
_MAX_FIRES: Final = 128
_SPAN: Final = timedelta(days=1)
_MAX_TIMEOUT: Final = 1e9
"""Seconds to which a timeout is cut: a file may have integers that no float can hold."""


def lint_server(management: Mapping[str, Any]) -> Iterator[Diagnostic]:
    """The lints of an `env.management`, for what is enabled."""
    backup = get_object(management, "server", "events", "onSettingLoad", "backup")
    hostname = backup.get("hostname")
    if backup.get("enable") is True and (hostname is None or not str(hostname).strip()):
        message = (
            "the backup is enabled without a `hostname`, so every node with this setting uploads a backup"
        )
        path = (*BACKUP, "hostname" if "hostname" in backup else "enable")
        remedy = "set `hostname` to the one node that should upload it"
        yield warn(path, "backup-without-hostname", message, remedy)
    features: Mapping[str, Any] = get_object(management, "server", "features")
    enabled = [name for name in features if get_object(features, name).get("enable") is True]
    if enabled and get_object(management, "server").get("enable") is not True:
        are = "features are" if len(enabled) > 1 else "feature is"
        message = f"the {are} enabled ({', '.join(enabled)}) but `server` is not, so nothing is exchanged"
        remedy = "set `server.enable` to true, or the features' `enable` to false"
        yield warn((*SERVER, "features"), "server-disabled", message, remedy)
    if "nodelist" in enabled:
        message = "the feature `nodelist` is deprecated in M2"
        remedy = "list the addresses in the setting, or use a cloud expression where M2 accepts one"
        yield warn((*SERVER, "features", "nodelist", "enable"), "deprecated-nodelist", message, remedy)
    for feature, side in _SIDES:
        part: Mapping[str, Any] = get_object(management, "server", "features", feature)
        if part.get("enable") is True:
            yield from _lint_poll(feature, side, get_object(part, side))


def lint_updated_hostings(document: Mapping[str, Any]) -> Iterator[Diagnostic]:
    """Virtual hosts whose origins a list of nodes would replace, and that the setting does not have."""
    path = (*SERVER, "features", "nodelist")
    feature = get_object(document, *path)
    types = get_object(feature, "feedback").get("type")
    # A list that is only reported changes no virtual host.
    if feature.get("enable") is not True or (isinstance(types, str) and "setting" not in types.split(";")):
        return
    known = {name for _, name, _ in get_named_items(document, "hosting")}
    listed = (*path, "feedback", "info", "hosting")
    unknown = [item for item in get_named_items(document, *listed) if item[1] not in known]
    for number, (index, name, _) in enumerate(unknown):
        message = f'`nodelist` changes the virtual host "{name}", which is not defined'
        # The nearest of many names for each of many takes minutes: a file could stall the check.
        remedy = suggest_known(name, known, "virtual hosts") if number < _MAX_GUESSES else ""
        yield warn((*listed, index, "name"), "unknown-hosting", message, remedy)


def _lint_poll(feature: str, side: str, part: Mapping[str, Any]) -> Iterator[Diagnostic]:
    """Requests that begin again before the timeout of the previous one has passed."""
    info: Mapping[str, Any] = get_object(part, "info")
    schedule, timeout = info.get("schedule"), info.get("timeout")
    if not isinstance(schedule, str) or str(part.get("type")) not in POLLING:
        return
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        return
    gap, timeout = _compute_shortest_gap(schedule), min(timeout, _MAX_TIMEOUT)
    if 0 < gap < timeout:
        message = f"it polls every {gap:g} s but waits {timeout:g} s for an answer, so requests overlap"
        path = (*SERVER, "features", feature, side, "info", "schedule")
        remedy = f"set an interval of at least {timeout:g} s, or a timeout of less than {gap:g} s"
        yield warn(path, "poll-outruns-timeout", message, remedy)


@lru_cache(maxsize=1024)
def _compute_shortest_gap(schedule: str) -> float:
    """The shortest time between two firings on the schedule's first day, in seconds; 0 where it is invalid.

    At most the first 128 firings count: a schedule of every second has 86,400 a day.
    """
    from cronsim import CronSim, CronSimError  # noqa: PLC0415  (loaded only where a file has a schedule)

    if len(schedule.split()) != CRON_FIELDS:
        return 0
    try:
        moments = CronSim(schedule.upper(), _BEGIN)
        last = first = next(moments)
        shortest = timedelta.max
        for _ in range(_MAX_FIRES):
            moment = next(moments)
            shortest, last = min(shortest, moment - last), moment
            if last - first > _SPAN:
                break
    except (CronSimError, StopIteration):
        return 0
    return shortest.total_seconds()
