"""Windows and freezes at given moments, above all where clocks are changed."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from reconciler.core.change_windows import (
    Freeze,
    Window,
    find_active_freeze,
    find_closing_time,
    find_opening_time,
)

BERLIN = "Europe/Berlin"


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def window(cron, duration="1h", timezone="UTC"):
    return Window(cron=cron, duration=duration, timezone=timezone)


@pytest.mark.parametrize(
    ("now", "end", "following"),
    [
        ("2026-11-24T01:59:59", None, "2026-11-24T02:00"),
        ("2026-11-24T02:00:00", "2026-11-24T04:00", "2026-11-25T02:00"),
        ("2026-11-24T03:59:59", "2026-11-24T04:00", "2026-11-25T02:00"),
        ("2026-11-24T04:00:00", None, "2026-11-25T02:00"),
        ("2026-11-26T12:00:00", None, "2026-12-01T02:00"),
    ],
)
def test_a_window_is_open_from_its_first_moment_to_its_end(now, end, following):
    nights = [window("0 2 * * TUE-THU", "2h")]
    assert find_closing_time(nights, at(now)) == (end and at(end))
    assert find_opening_time(nights, at(now)) == at(following)


@pytest.mark.parametrize("cron", ["30 2 * * *", "0 30 2 * * *"])
@pytest.mark.parametrize(
    ("now", "end", "following"),
    [
        # 29 March 2026: 02:30 does not exist; the window opens at 03:00 summer time, which is 01:00 UTC
        ("2026-03-29T00:59", None, "2026-03-29T01:00"),
        ("2026-03-29T01:00", "2026-03-29T02:00", "2026-03-30T00:30"),
        ("2026-03-29T02:01", None, "2026-03-30T00:30"),
        # 25 October 2026: 02:30 comes twice; the window opens at the first one only, 00:30 UTC
        ("2026-10-25T00:29", None, "2026-10-25T00:30"),
        ("2026-10-25T01:29", "2026-10-25T01:30", "2026-10-26T01:30"),
        ("2026-10-25T01:31", None, "2026-10-26T01:30"),
    ],
)
def test_each_wall_time_opens_a_window_once_when_clocks_are_changed(cron, now, end, following):
    nights = [window(cron, "1h", BERLIN)]
    assert find_closing_time(nights, at(now)) == (end and at(end))
    assert find_opening_time(nights, at(now)) == at(following)


def test_a_window_may_be_longer_than_the_time_between_its_openings():
    assert find_closing_time([window("0 * * * *", "90m")], at("2026-11-24T02:59")) == at("2026-11-24T03:30")


def test_the_window_that_closes_last_counts():
    both = [window("0 2 * * *", "1h"), window("30 2 * * *", "3h")]
    assert find_closing_time(both, at("2026-11-24T02:45")) == at("2026-11-24T05:30")
    assert find_opening_time(both, at("2026-11-24T02:10")) == at("2026-11-24T02:30")


def test_without_windows_nothing_is_open_and_nothing_opens():
    assert find_closing_time([], at("2026-11-24T00:00")) is None
    assert find_opening_time([], at("2026-11-24T00:00")) is None


@settings(max_examples=60, deadline=None)
@given(
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31)),  # noqa: DTZ001  (hypothesis wants it so)
    st.sampled_from(["0 * * * *", "30 2 * * *", "15 1,2,3 * * *", "0 0 2 * * SUN", "*/20 1-3 * * *"]),
    st.sampled_from(["UTC", BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Seoul"]),
    st.integers(1, 7200),
)
def test_open_at_a_moment_means_that_an_opening_lies_behind_it_within_the_duration(
    moment, cron, zone, length
):
    now, one = moment.replace(tzinfo=UTC), window(cron, length, zone)
    end = find_closing_time([one], now)
    following = find_opening_time([one], now)
    assert following is not None
    assert following > now
    assert find_closing_time([one], following) == following + timedelta(seconds=length)
    assert find_opening_time([one], following - timedelta(seconds=1)) == following
    if end is None:
        before = find_opening_time([one], now - timedelta(seconds=length))
        assert before is not None
        assert before > now
    else:
        assert now < end <= now + timedelta(seconds=length)
        assert find_closing_time([one], end - timedelta(seconds=length)) is not None


def test_a_freeze_of_days_holds_to_the_end_of_its_last_day_by_its_own_clock():
    holidays = Freeze.model_validate(
        {"from": "2026-12-20", "until": "2027-01-03", "timezone": BERLIN, "reason": "holidays"}
    )
    assert (holidays.begin, holidays.end) == (at("2026-12-19T23:00"), at("2027-01-03T23:00"))
    assert find_active_freeze([holidays], at("2026-12-19T22:59")) is None
    assert find_active_freeze([holidays], at("2027-01-03T22:59")) is holidays
    assert find_active_freeze([holidays], at("2027-01-03T23:00")) is None


def test_a_freeze_of_moments_ends_at_its_moment_and_the_longest_is_named():
    launch = Freeze.model_validate(
        {"from": "2026-11-24T08:00", "until": "2026-11-24T20:00", "reason": "launch"}
    )
    longer = Freeze.model_validate(
        {"from": "2026-11-24T09:00+01:00", "until": "2026-11-24T22:00Z", "reason": "longer"}
    )
    assert find_active_freeze([launch, longer], at("2026-11-24T08:30")) is longer
    assert find_active_freeze([launch], at("2026-11-24T20:00")) is None


@pytest.mark.parametrize(
    ("model", "value"),
    [
        (Window, {"cron": "61 * * * *", "duration": "1h"}),
        (Window, {"cron": "* * *", "duration": "1h"}),
        (Window, {"cron": "0 0 31 4 *", "duration": "1h"}),
        (Window, {"cron": "0 2 * * *", "duration": "1h", "timezone": "Europe/Berlinn"}),
        (Window, {"cron": "0 2 * * *", "duration": "1h", "timezone": "../../etc/passwd"}),
        (Window, {"cron": "0 2 * * *", "duration": "soon"}),
        (Window, {"cron": "0 2 * * *", "duration": 0}),
        (Window, {"cron": "0 2 * * *", "duration": -1}),
        (Freeze, {"from": "2026-12-02", "until": "2026-12-01", "reason": "backwards"}),
        (Freeze, {"from": "tomorrow", "until": "2026-12-01", "reason": "vague"}),
        (Freeze, {"from": "2026-12-01", "until": "2026-12-02"}),
    ],
)
def test_what_means_nothing_is_refused(model, value):
    with pytest.raises(ValidationError):
        model.model_validate(value)


@pytest.mark.parametrize(
    ("written", "seconds"), [(90, 90), ("90s", 90), ("30m", 1800), ("1h30m", 5400), ("2d", 172_800)]
)
def test_durations_are_seconds_or_text(written, seconds):
    assert window("0 2 * * *", written).duration == seconds


# 25 October 2026, Berlin: the hour from 02:00 to 03:00 comes twice, the second time from 01:00 to 02:00 UTC.
AGAIN = [at("2026-10-25T01:00"), at("2026-10-25T01:30"), at("2026-10-25T01:59:59")]


@pytest.mark.parametrize(
    "windows",
    [
        [window("0 * * * *", "1h", BERLIN)],
        [window("*/20 * * * *", "20m", BERLIN)],
        [window("0 0 * * *", "24h", BERLIN)],
        [window("0 0 * * SUN", "168h", BERLIN)],
        [window("0 0 * * *", "12h", BERLIN), window("0 12 * * *", "12h", BERLIN)],
        [window("0 22 * * *", "5h", BERLIN), window("0 3 * * *", "19h", BERLIN)],
    ],
)
def test_windows_without_a_gap_on_the_wall_clock_have_none_when_it_is_put_back(windows):
    hours = [at("2026-10-24T12:00") + timedelta(minutes=7 * step) for step in range(500)]
    closed = [moment for moment in [*AGAIN, *hours] if find_closing_time(windows, moment) is None]
    assert closed == []


@pytest.mark.parametrize(
    "windows", [[window("0 2 * * *", "59m", BERLIN)], [window("0 0 * * *", "2h", BERLIN)]]
)
def test_windows_with_a_gap_keep_it(windows):
    assert [find_closing_time(windows, moment) for moment in AGAIN] == [None, None, None]


@pytest.mark.parametrize("name", ["localtime", "posixrules", "Factory", "right/Europe/Berlin", "posix/UTC"])
def test_the_time_zone_of_a_machine_is_refused(name):
    with pytest.raises(ValidationError, match="another time on each machine"):
        window("0 2 * * *", "1h", name)


@pytest.mark.parametrize(
    ("zone", "words"),
    [
        ("Asia/Toyko", "did you mean `Asia/Tokyo`?"),
        ("europe/berlin", "did you mean `Europe/Berlin`?"),
        ("+09:00", "use the name of a place"),
        ("../../etc/passwd", "use the name of a place"),
    ],
)
def test_an_unknown_zone_names_the_nearest_one(zone, words):
    with pytest.raises(ValidationError, match=re.escape(words)):
        Window.model_validate({"cron": "0 3 * * *", "duration": "1h", "timezone": zone})
