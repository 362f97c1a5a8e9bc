"""The history by cluster, person and time, and in terminals of every width."""

from datetime import UTC, datetime

import pytest

from reconciler.api.history_filter import HistoryFilter, parse_since
from reconciler.cli.main import main
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


@pytest.mark.parametrize(
    "text",
    ["soon", "-1h", "2026-13-01", "12", "999999999d", "0001-01-01T00:00+14:00", "9999-12-31T23:00-12:00"],
)
def test_what_is_no_time_is_refused(text):
    with pytest.raises(UsageError, match="is no time"):
        parse_since(text, NOW)


@pytest.mark.parametrize("text", ["2026-11-30T12:01", "2027-01-01", "2026-11-30T12:00-01:00"])
def test_a_time_to_come_is_refused_for_nothing_can_be_found_since_then(text):
    with pytest.raises(UsageError, match=r"is later than now, 2026-11-30 12:00:00 UTC"):
        parse_since(text, NOW)


@pytest.fixture
def history(tmp_path, capsys):
    """`reconcile history …` over orders of two people about two clusters; what it says, and its status."""
    state = ["--state", str(tmp_path / "state")]
    for cluster, person in (("edge", "kim"), ("live", "kim"), ("edge", "lee")):
        assert main(["suspend", cluster, "--by", person, "--reason", f"{person} on {cluster}", *state]) == 0
    capsys.readouterr()

    def ask(*arguments):
        status = main(["history", *arguments, *state])
        return status, "".join(capsys.readouterr())

    return ask


@pytest.mark.parametrize("is_before", [False, True])
@pytest.mark.parametrize(
    ("options", "found"),
    [
        ([], ["kim on edge", "kim on live", "lee on edge"]),
        (["--cluster", "edge"], ["kim on edge", "lee on edge"]),
        (["--user", "kim"], ["kim on edge", "kim on live"]),
        (["--user", "kim", "--cluster", "live"], ["kim on live"]),
        (["--limit", "1"], ["lee on edge"]),
        (["--limit", "1", "--user", "kim"], ["kim on live"]),
        (["--since", "1h", "--cluster", "live"], ["kim on live"]),
    ],
)
def test_orders_are_filtered_wherever_the_options_stand(history, options, found, is_before):
    """Whether the options stand before or after the name of the subcommand."""
    status, output = history(*options, "orders") if is_before else history("orders", *options)
    assert status == 0
    assert {one for one in ("kim on edge", "kim on live", "lee on edge") if one in output} == set(found)


@pytest.mark.parametrize("subcommand", ["orders", "operations"])
def test_nothing_found_says_what_was_asked_for(history, subcommand):
    status, output = history(subcommand, "--cluster", "core", "--user", "max")
    assert (status, output) == (0, f"No {subcommand} of cluster `core` by `max`.\n")


def test_the_latest_run_of_a_cluster_that_has_none_is_an_error(history):
    status, output = history("latest", "--cluster", "core")
    assert status == 1
    assert output.startswith("error: there are no runs of cluster `core`\n")


@pytest.mark.parametrize(
    "options", [["--cluster", "edge"], ["--user", "kim"], ["--since", "2h"], ["--limit", "3"]]
)
def test_a_named_run_takes_no_filter(history, options):
    status, output = history(*options, "show", "latest")
    assert status == 1
    assert f"takes no {options[0]}" in output


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
