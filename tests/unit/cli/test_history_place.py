"""The history of a server: page by page, and never cut without a word."""

from dataclasses import fields
from datetime import UTC, datetime

import pytest

from reconciler.api.answers import EntryAnswer, RunsAnswer
from reconciler.api.history_filter import HistoryFilter
from reconciler.cli.history_place import MOST_AT_ONCE, HistoryOfServer
from reconciler.core.actor import Actor
from reconciler.errors import UsageError
from reconciler.ports.store import JournalEntry, RunSummary


def make_run(number):
    at = datetime(2026, 12, 1, tzinfo=UTC)
    return RunSummary(
        f"{number:08}", "interval", "/repo", "a1", "a1", "", "1.0", "", at, at, 0, "", {}, Actor()
    )


class Server:
    """A server with a number of runs; a broken one gives the same page again and again."""

    def __init__(self, count, *, is_broken=False):
        self.runs, self.is_broken, self.limits = (
            [make_run(count - one) for one in range(count)],
            is_broken,
            [],
        )

    def read(self, path, kind, parameters):
        assert (path, kind) == ("/runs", RunsAnswer)
        limit, before = int(parameters["limit"]), "" if self.is_broken else parameters["before"]
        self.limits.append(limit)
        assert limit <= MOST_AT_ONCE
        page = [one for one in self.runs if not before or one.id < before][:limit]
        return RunsAnswer(tuple(page), page[-1].id if len(page) == limit else "")


@pytest.mark.parametrize(
    ("count", "limit"), [(2_500, 2_400), (1_500, 9_000), (9, 20), (1_000, 1_000), (0, 5)]
)
def test_runs_are_read_page_by_page(count, limit):
    found = HistoryOfServer(Server(count)).read_runs(HistoryFilter(limit=limit))
    assert [one.id for one in found] == [make_run(count - one).id for one in range(min(count, limit))]


def test_a_server_whose_pages_lead_nowhere_is_not_asked_for_ever():
    server = Server(1_000, is_broken=True)
    HistoryOfServer(server).read_runs(HistoryFilter(limit=100_000))
    assert len(server.limits) == 2


@pytest.mark.parametrize("name", ["read_orders", "read_operations"])
def test_a_list_that_would_be_cut_is_refused(name):
    with pytest.raises(UsageError, match="at most 1,000"):
        getattr(HistoryOfServer(Server(0)), name)(HistoryFilter(limit=MOST_AT_ONCE + 1))


def test_an_entry_of_an_answer_has_all_that_the_journal_has():
    assert [one.name for one in fields(EntryAnswer)] == [one.name for one in fields(JournalEntry)]
