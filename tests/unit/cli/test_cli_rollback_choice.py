"""Which revision a rollback goes back to when none is named."""

from datetime import UTC, datetime

import pytest

from reconciler.cli.commands.rollback import find_previous_commit
from reconciler.errors import UsageError
from reconciler.ports.store import RunSummary

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OLD, MIDDLE, NEW = (outbox_message * 40 for outbox_message in "abc")


def line(revision, status=0, **counts):
    return RunSummary("id", "command", "s", revision, "", "", "1", "", NOW, NOW, status, "", counts)


def test_a_partial_apply_is_current_but_never_rolled_back_to():
    assert (
        find_previous_commit(
            [line(NEW, 5, done=1, failed=1), line(MIDDLE, 5, done=1, failed=1), line(OLD, done=2)]
        )
        == OLD
    )


def test_a_refused_run_changed_nothing_and_does_not_count():
    assert find_previous_commit([line(NEW, 3), line(MIDDLE, done=1), line(OLD, done=1)]) == OLD


def test_only_commits_can_be_rolled_back_to():
    with pytest.raises(UsageError):
        find_previous_commit([line(NEW, done=1), line(f"{OLD}+abc", done=1)])
