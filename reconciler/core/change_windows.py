"""When changes may be made: windows, freezes and suspensions of the fleet file, judged at one moment."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim
from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from reconciler.core.cron import FIVE_OR_SIX_FIELDS, find_cron_error
from reconciler.core.fields import SomeTime, StrictModel

_ZONE = r"^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$"
_DAY_OR_MOMENT = (
    r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    r"([T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?"
    r"(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])?)?$"
)
_HOW = "a day has the form `2026-12-24`, a moment `2026-12-24T18:00`"
_MARGIN = timedelta(hours=26)
"""More than any clock was ever put forward or back, Samoa's skipped day included."""


def _cron(text: str) -> str:
    if wrong := find_cron_error(text):
        raise ValueError(f"this is no cron expression of five fields, or of six with seconds first: {wrong}")
    return text


def _zone(text: str) -> str:
    if not _is_zone(text):
        raise ValueError("no time zone of this name is known here, such as `Europe/Berlin`")
    return text


def _is_zone(text: str) -> bool:
    try:
        return bool(re.fullmatch(_ZONE, text) and _zone_of(text))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False


@cache
def _zone_of(text: str) -> ZoneInfo:
    return ZoneInfo(text)


def _day_or_moment(text: str) -> str:
    _parsed(text)
    return text


def _parsed(text: str) -> date | datetime:
    if not re.fullmatch(_DAY_OR_MOMENT, text):
        raise ValueError(_HOW)
    try:
        return datetime.fromisoformat(text) if len(text) > len("2026-12-01") else date.fromisoformat(text)
    except ValueError:
        raise ValueError(_HOW) from None


Cron = Annotated[str, AfterValidator(_cron), Field(json_schema_extra={"pattern": FIVE_OR_SIX_FIELDS})]
Zone = Annotated[str, AfterValidator(_zone), Field(json_schema_extra={"pattern": _ZONE})]
DayOrMoment = Annotated[
    str,
    AfterValidator(_day_or_moment),
    WithJsonSchema({"type": "string", "pattern": _DAY_OR_MOMENT}),
]


class Window(StrictModel):
    """A time in which changes may be made, again and again."""

    cron: Cron = Field(
        description="When it opens: five fields, or six with seconds first.", examples=["0 2 * * TUE-THU"]
    )
    duration: SomeTime = Field(description="How long it stays open.", examples=["2h"])
    timezone: Zone = Field(default="UTC", description="Whose clock the cron speaks of.")


class Freeze(StrictModel):
    """A time in which nothing is changed."""

    from_: DayOrMoment = Field(alias="from", description="First day, or moment.", examples=["2026-12-20"])
    until: DayOrMoment = Field(description="Last day, or the moment at which it ends.")
    timezone: Zone = Field(default="UTC", description="Whose days and moments these are.")
    reason: str = Field(min_length=3, description="Why, for whoever is held up by it.")

    @model_validator(mode="after")
    def _forwards(self) -> Freeze:
        if self.begin >= self.end:
            raise ValueError("it ends before it begins")
        return self

    @property
    def begin(self) -> datetime:
        """The first moment of it, in UTC."""
        return _moment(self.from_, self.timezone, days=0)

    @property
    def end(self) -> datetime:
        """The first moment after it, in UTC."""
        return _moment(self.until, self.timezone, days=1)


class Suspend(StrictModel):
    """Nothing is changed until this is taken out of the fleet file again."""

    reason: str = Field(min_length=3, description="Why, for whoever is held up by it.")


def find_closing_time(windows: Iterable[Window], now: datetime) -> datetime | None:
    """When the last of the windows that are open at `now` closes, in UTC; none where all are closed.

    Each local wall time opens a window once: the first time where the clock is put back, and the first
    moment that exists where a clock put forward skips it.
    """
    ends = [end for window in windows if (end := _end(window, now)) is not None]
    return max(ends, default=None)


def find_opening_time(windows: Iterable[Window], now: datetime) -> datetime | None:
    """When the next window opens after `now`, in UTC; none where no window ever does."""
    found = [begin for window in windows if (begin := _next(window, now)) is not None]
    return min(found, default=None)


def find_active_freeze(freezes: Iterable[Freeze], now: datetime) -> Freeze | None:
    """The freeze that holds at `now`, the one that ends last."""
    holding = [freeze for freeze in freezes if freeze.begin <= now < freeze.end]
    return max(holding, key=lambda freeze: freeze.end, default=None)


def _end(window: Window, now: datetime) -> datetime | None:
    zone, length = _zone_of(window.timezone), timedelta(seconds=window.duration)
    local = now.astimezone(zone).replace(tzinfo=None)
    for start in _starts(window.cron, local + _skipped(zone, now), backwards=True):
        begin = _instant(start, zone)
        if begin <= now:
            return begin + length if now < begin + length else None
    return None


def _next(window: Window, now: datetime) -> datetime | None:
    zone = _zone_of(window.timezone)
    local = now.astimezone(zone).replace(tzinfo=None)
    for start in _starts(window.cron, local - _skipped(zone, now), backwards=False):
        begin = _instant(start, zone)
        if begin > now:
            return begin
    return None


def _skipped(zone: ZoneInfo, now: datetime) -> timedelta:
    """How far wall times may be from the order of moments around `now`: nothing, except near a change."""
    near = [(now + side).astimezone(zone).utcoffset() for side in (-_MARGIN, timedelta(0), _MARGIN)]
    offsets = [offset for offset in near if offset is not None]
    return max(offsets) - min(offsets) + timedelta(seconds=1)


def _starts(cron: str, local: datetime, *, backwards: bool) -> Iterable[datetime]:
    """Wall times at which a cron fires, from one on; naive, so that each occurs once."""
    course: Any = CronSim(cron, local, reverse=backwards)
    return course  # type: ignore[no-any-return]


def _instant(wall: datetime, zone: ZoneInfo) -> datetime:
    """The moment of a wall time, in UTC."""
    while True:
        moment = wall.replace(tzinfo=zone).astimezone(UTC)
        if moment.astimezone(zone).replace(tzinfo=None) == wall:
            return moment
        wall = wall.replace(second=0) + timedelta(minutes=1)


def _moment(text: str, timezone: str, *, days: int) -> datetime:
    value = _parsed(text)
    if isinstance(value, datetime):
        return value.astimezone(UTC) if value.tzinfo else _instant(value, _zone_of(timezone))
    return _instant(datetime.combine(value + timedelta(days=days), time()), _zone_of(timezone))
