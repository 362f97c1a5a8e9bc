"""A cron's pattern takes exactly what its reader takes, save for what no pattern can say."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.cron import (
    FIVE_OR_SIX_FIELDS,
    NEVER,
    SIX_FIELDS,
    find_cron_error,
    find_either_day,
    find_weekday_of_month,
)

FIVE, SIX = re.compile(FIVE_OR_SIX_FIELDS), re.compile(SIX_FIELDS)
PIECES = (
    "* / , - # L W LW l 0 1 5 7 8 12 13 23 24 31 32 59 60 SUN mon JAN dec 007 */5 1-5 5L 5#2 /0".split(" ")  # noqa: SIM905
)
FIELD = st.just("*") | st.lists(st.sampled_from(PIECES), min_size=1, max_size=4).map("".join)


@given(st.lists(FIELD, min_size=4, max_size=7), st.sampled_from([" ", "  ", "\t"]))
def test_pattern_and_reader_agree(fields, blank):
    text = blank.join(fields)
    wrong = find_cron_error(text)
    if not wrong:
        assert FIVE.fullmatch(text)
        assert bool(SIX.fullmatch(text)) is (len(text.split()) == 6)
    elif FIVE.fullmatch(text):
        assert "goes backwards; write `" in wrong or wrong == NEVER


@pytest.mark.parametrize(
    ("text", "five", "six"),
    [
        ("*/15 * * * * *", True, True),
        ("0 2 * * TUE-THU", True, False),
        ("0 2 * * tue,fri", True, False),
        (" 0 0 3 LW * 5#2 ", True, True),
        ("0 0 0 1 1 *", True, True),
        ("* * * *", False, False),
        ("60 * * * * *", False, False),
        ("* * 24 * * *", False, False),
        ("* * * 0 * *", False, False),
        ("* * * * 13 *", False, False),
        ("* * * * * 8", False, False),
        ("*/0 * * * * *", False, False),
        ("* * * * * *\n", False, False),
        ("* * * * * \u017fun", False, False),
        ("\u0660 * * * * *", False, False),
        ("", False, False),
    ],
)
def test_one_expression(text, five, six):
    assert (bool(FIVE.fullmatch(text)), bool(SIX.fullmatch(text))) == (five, six)
    assert (find_cron_error(text) == "") is five


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("@daily", "`@daily` is a name for `0 0 * * *`; write that"),
        ("@Yearly", "`@Yearly` is a name for `0 0 1 1 *`; write that"),
        ("@reboot", "it has 1 field"),
        ("0 3 ? * MON", "`?` as day of the month is not known here; write `*`"),
        ("0 2 * * FRI-SUN", "the day of the week `FRI-SUN` goes backwards; write `5-7`"),
        ("0 2 * * fri-mon", "the day of the week `FRI-MON` goes backwards; write `5-7,1`"),
        ("0 2 * * 1,5-0", "the day of the week `5-0` goes backwards; write `5-7`"),
        ("0 22-2 * * *", "the hour `22-2` goes backwards; write `22-23,0-2`"),
        ("0 22-2/2 * * *", "the hour `22-2/2` goes backwards; write `22-23/2,0-2/2`"),
        ("0 0 * NOV-FEB *", "the month `NOV-FEB` goes backwards; write `11-12,1-2`"),
        ("0 0 31-1 * *", "the day of the month `31-1` goes backwards; write `31,1`"),
        ("0 25 * * *", "`25` is no hour; it is 0 to 23"),
        ("0 0 * * TUESDAY", "`TUESDAY` is no day of the week; it is 0 to 7, or SUN to SAT"),
        ("0 0 30 2 *", NEVER),
        ("* * * *", "it has 4 fields"),
    ],
)
def test_an_error_names_the_field_and_what_to_write(text, wrong):
    assert find_cron_error(text) == wrong
    if "write `" in wrong:
        bad, good = wrong.split("`")[1], wrong.split("`")[3]
        assert find_cron_error(text.upper().replace(bad, good)) == ""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0 2 1-7 * TUE", ("1-7", "TUE")),
        ("0 0 2 1-7 * tue", ("1-7", "TUE")),
        ("0 2 * * TUE", None),
        ("0 2 1-7 * *", None),
        ("0 2 */2 * TUE", None),  # a field that begins with a star: both must match
    ],
)
def test_an_expression_with_both_kinds_of_day_is_for_either(text, found):
    assert find_either_day(text) == found


def test_the_weekday_of_a_month_is_written_with_its_number():
    assert [find_weekday_of_month(days, "TUE") for days in ("1-7", "8-14", "15-21", "22-28", "1-8")] == [
        "TUE#1",
        "TUE#2",
        "TUE#3",
        "TUE#4",
        "",
    ]
    assert find_weekday_of_month("1-7", "TUE,FRI") == ""
