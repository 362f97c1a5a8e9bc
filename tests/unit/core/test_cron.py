"""A cron's pattern takes exactly what its reader takes, save for what no pattern can say."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.cron import FIVE_OR_SIX_FIELDS, SIX_FIELDS, find_cron_error

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
        assert "-" in text or wrong == "Bad day-of-month"


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
