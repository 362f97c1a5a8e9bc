"""The history by cluster, person and time, and in terminals of every width."""

from datetime import UTC, datetime

import pytest

from reconciler.cli.history_filter import HistoryFilter, parse_since
from reconciler.cli.render.table import list_table_lines
from reconciler.cli.render.text import TerminalLayout
from reconciler.core.actor import Actor
from reconciler.errors import UsageError

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
RECORDS = [
    (Actor("kim"), datetime(2026, 11, 30, 11, tzinfo=UTC), "edge"),
    (Actor("root", claim="Lee"), datetime(2026, 11, 29, 11, tzinfo=UTC), "live"),
    (Actor("kim", claim="lee"), datetime(2026, 11, 1, tzinfo=UTC), ""),
]


def select(**chosen):
    return [RECORDS.index(one) for one in HistoryFilter(**chosen).select(RECORDS, lambda one: one)]


@pytest.mark.parametrize(
    ("chosen", "found"),
    [
        ({}, [0, 1, 2]),
        ({"limit": 1}, [0]),
        ({"user": "kim"}, [0, 2]),
        ({"user": "LEE"}, [1, 2]),
        ({"user": "ki"}, []),
        ({"cluster": "edge"}, [0, 2]),
        ({"since": parse_since("2d", NOW)}, [0, 1]),
        ({"since": parse_since("today", NOW), "user": "lee"}, []),
    ],
)
def test_records_are_selected(chosen, found):
    assert select(**chosen) == found


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("", None),
        ("2h", datetime(2026, 11, 30, 10, tzinfo=UTC)),
        ("today", datetime(2026, 11, 30, tzinfo=UTC)),
        ("yesterday", datetime(2026, 11, 29, tzinfo=UTC)),
        ("2026-11-28", datetime(2026, 11, 28, tzinfo=UTC)),
        ("2026-11-28T18:00", datetime(2026, 11, 28, 18, tzinfo=UTC)),
        ("2026-11-28T18:00+09:00", datetime(2026, 11, 28, 9, tzinfo=UTC)),
    ],
)
def test_a_time_is_read_in_utc(text, moment):
    assert parse_since(text, NOW) == moment


@pytest.mark.parametrize("text", ["soon", "-1h", "2026-13-01", "12"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(UsageError, match="is no time"):
        parse_since(text, NOW)


ROWS = [
    ("id", "when (UTC)", "trigger", "revision", "result"),
    ("20261130-104346-vt7f", "2026-11-30 10:43:46", "plan file", "6d873b16f57a", "done: 1 change"),
    (
        "20261130-104343-fq45",
        "2026-11-30 10:43:43",
        "command",
        "6d873b16f57a",
        "refused: " + "one word " * 30,
    ),
]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120])
def test_a_table_fits_the_terminal_and_loses_nothing(width):
    lines = list(list_table_lines(ROWS, TerminalLayout(width=width)))
    assert max(map(len, lines)) <= width
    words = " ".join(lines).split()
    assert [one for row in ROWS[1:] for cell in row for one in cell.split() if one not in words] == []
    assert words.count("word") == 30
