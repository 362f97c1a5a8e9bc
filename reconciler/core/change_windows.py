"""When changes may be made: the fleet file's windows, freezes and suspensions at one moment."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import Annotated, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from cronsim import CronSim
from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from reconciler.core.cron import FIVE_OR_SIX_FIELDS, find_cron_error
from reconciler.core.fields import SomeTime, StrictModel
from reconciler.text.suggestions import find_nearest

SUSPENSION_HOLD: Final = "suspended"
"""Code of the hold on changes by a suspension."""

FREEZE_HOLD: Final = "frozen"
"""Code of the hold on changes by a freeze."""

_ZONE = r"^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$"
_OF_THE_MACHINE = re.compile(r"(localtime|posixrules|Factory)$|(posix|right)/")
"""Files beside the zones: the machine's own setting, a placeholder, copies with and without leap seconds."""

_DAY_OR_MOMENT = (
    r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    r"([T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?"
    r"(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])?)?$"
)
_HOW = "write a day as `2026-12-24`, or a moment as `2026-12-24T18:00`"
_MARGIN = timedelta(hours=26)
"""More than any clock was ever moved: Samoa skipped a whole day in 2011."""


def _check_cron(text: str) -> str:
    if wrong := find_cron_error(text):
        raise ValueError(f"it is not a cron expression of five fields, or of six with seconds first: {wrong}")
    return text


def _check_zone(text: str) -> str:
    if _OF_THE_MACHINE.match(text):
        raise ValueError(
            "this is another time on each machine; use the name of a place, such as `Europe/Berlin`, or `UTC`"
        )
    try:
        # The pattern first: ZoneInfo opens a file by this name.
        if re.fullmatch(_ZONE, text) and _load_zone(text):
            return text
    except (ZoneInfoNotFoundError, ValueError, OSError):  # a missing zone, an odd name, a name of a folder
        pass
    near = find_nearest(text, available_timezones(), cutoff=0.75)
    if near:
        raise ValueError(f"unknown time zone; did you mean `{near}`?")
    raise ValueError("unknown time zone; use the name of a place, such as `Europe/Berlin`, or `UTC`")


@cache
def _load_zone(text: str) -> ZoneInfo:
    return ZoneInfo(text)


def _check_day_or_moment(text: str) -> str:
    _parse_day_or_moment(text)
    return text


def _parse_day_or_moment(text: str) -> date | datetime:
    if not re.fullmatch(_DAY_OR_MOMENT, text):
        raise ValueError(_HOW)
    try:
        return datetime.fromisoformat(text) if len(text) > len("2026-12-01") else date.fromisoformat(text)
    except ValueError:
        raise ValueError(_HOW) from None


Cron = Annotated[str, AfterValidator(_check_cron), Field(json_schema_extra={"pattern": FIVE_OR_SIX_FIELDS})]
Zone = Annotated[str, AfterValidator(_check_zone), Field(json_schema_extra={"pattern": _ZONE})]
DayOrMoment = Annotated[
    str, AfterValidator(_check_day_or_moment), WithJsonSchema({"type": "string", "pattern": _DAY_OR_MOMENT})
]


class Window(StrictModel):
    """A repeated time in which changes may be made."""

    cron: Cron = Field(
        description="When it opens: five fields, or six with seconds first.", examples=["0 2 * * TUE-THU"]
    )
    duration: SomeTime = Field(description="How long it stays open.", examples=["2h"])
    timezone: Zone = Field(default="UTC", description="Time zone of `cron`.")


class Freeze(StrictModel):
    """A time in which nothing is changed."""

    from_: DayOrMoment = Field(
        alias="from", description="First day, or first moment.", examples=["2026-12-20"]
    )
    until: DayOrMoment = Field(description="Last day, or the moment at which it ends.")
    timezone: Zone = Field(default="UTC", description="Time zone of `from` and `until`.")
    reason: str = Field(min_length=3, description="Why, for those whose changes have to wait.")

    @model_validator(mode="after")
    def _check_order(self) -> Freeze:
        if self.begin >= self.end:
            raise ValueError("it ends before it begins")
        return self

    @property
    def begin(self) -> datetime:
        """Its first moment, in UTC."""
        return _to_moment(self.from_, self.timezone, days=0)

    @property
    def end(self) -> datetime:
        """The first moment after it, in UTC."""
        return _to_moment(self.until, self.timezone, days=1)


class Suspend(StrictModel):
    """Nothing is changed until this is removed from the fleet file."""

    reason: str = Field(min_length=3, description="Why, for those whose changes have to wait.")


class Hold(StrictModel):
    """Nothing is sent to a node for a while."""

    until: DayOrMoment = Field(
        description="Last day, or the moment at which it ends.", examples=["2026-12-24", "2026-12-24T18:00"]
    )
    timezone: Zone = Field(default="UTC", description="Time zone of `until`.")
    reason: str = Field(min_length=3, description="Why, for those whose changes have to wait.")

    @property
    def end(self) -> datetime:
        """The first moment after it, in UTC."""
        return parse_end(self.until, self.timezone)


def parse_end(text: str, zone: str = "UTC") -> datetime:
    """The first moment after a day, or a moment itself, in UTC.

    Raises:
        ValueError: it is neither.
    """
    return _to_moment(text, zone, days=1)


def find_closing_time(windows: Sequence[Window], now: datetime) -> datetime | None:
    """When the last of the windows that are open at `now` closes, in UTC; None if all are closed.

    Each local wall time opens a window once: its first occurrence if the clock is put back, and the first
    moment that exists if the clock is put forward over it. Windows that follow one another without a gap on
    the wall clock have none when the clock is put back either: the earlier one stays open until the next.
    """
    following = find_opening_time(windows, now)
    ends = []
    for window in windows:
        begin = next((one for one in _list_begins(window, now, backwards=True) if one <= now), None)
        if begin is None:
            continue
        length = timedelta(seconds=window.duration)
        end, wall_end = begin + length, _tell_wall_time(begin, window) + length
        if following is not None and _tell_wall_time(following, window) <= wall_end:
            end = max(end, following)
        if now < end:
            ends.append(end)
    return max(ends, default=None)


def find_opening_time(windows: Sequence[Window], now: datetime) -> datetime | None:
    """When the next window opens after `now`, in UTC; None if no window ever opens."""
    found = [
        next((begin for begin in _list_begins(window, now, backwards=False) if begin > now), None)
        for window in windows
    ]
    return min((begin for begin in found if begin is not None), default=None)


def find_next_hold(windows: Sequence[Window], freezes: Iterable[Freeze], now: datetime) -> datetime | None:
    """When the open windows close or the next freeze begins, whichever comes first; None for neither."""
    begins = [freeze.begin for freeze in freezes if freeze.begin > now]
    closing = find_closing_time(windows, now)
    return min([*begins, closing] if closing else begins, default=None)


def find_active_freeze(freezes: Iterable[Freeze], now: datetime) -> Freeze | None:
    """The freeze in force at `now`, the one that ends last."""
    holding = [freeze for freeze in freezes if freeze.begin <= now < freeze.end]
    return max(holding, key=lambda freeze: freeze.end, default=None)


def _list_begins(window: Window, now: datetime, *, backwards: bool) -> Iterator[datetime]:
    """The moments at which a window opens, in UTC, from `now` on or back from it, perhaps a few too many."""
    zone = _load_zone(window.timezone)
    # Wall times may be out of order around a change of the clock: start as far away as the clock is moved.
    near = [(now + side).astimezone(zone).utcoffset() for side in (-_MARGIN, timedelta(0), _MARGIN)]
    offsets = [offset for offset in near if offset is not None]
    shift = max(offsets) - min(offsets) + timedelta(seconds=1)
    # Naive wall times: with a time zone, CronSim would give those twice that the clock passes twice.
    local = now.astimezone(zone).replace(tzinfo=None)
    for start in CronSim(window.cron, local + shift if backwards else local - shift, reverse=backwards):
        yield _to_utc(start, zone)


def _tell_wall_time(moment: datetime, window: Window) -> datetime:
    """What a clock on the wall shows at this moment in the window's time zone."""
    return moment.astimezone(_load_zone(window.timezone)).replace(tzinfo=None)


def _to_utc(wall: datetime, zone: ZoneInfo) -> datetime:
    """The moment of a wall time, in UTC."""
    # A wall time that the clock skips does not survive the way to UTC and back: take the next one that does.
    while True:
        moment = wall.replace(tzinfo=zone).astimezone(UTC)
        if moment.astimezone(zone).replace(tzinfo=None) == wall:
            return moment
        wall = wall.replace(second=0) + timedelta(minutes=1)


def _to_moment(text: str, timezone: str, *, days: int) -> datetime:
    value = _parse_day_or_moment(text)
    if isinstance(value, datetime):
        return value.astimezone(UTC) if value.tzinfo else _to_utc(value, _load_zone(timezone))
    return _to_utc(datetime.combine(value + timedelta(days=days), time()), _load_zone(timezone))
