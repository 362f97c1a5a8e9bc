"""Nodes that another reconciler has changed are left unchanged."""

from datetime import date, timedelta

import pytest
from support.driver import NOON

from reconciler.core.memory import AppliedRevision, ClusterMemory, FleetMemory
from reconciler.core.plan import Revision
from reconciler.core.policy import Override
from reconciler.guards.foreign_changes import FOREIGN, find_foreign_changes, find_foreign_stamps

HERE, BEFORE, OURS, THEIRS = (letter * 12 for letter in "abcd")
"""The current revision, its ancestor, one that this host applied, and one of another reconciler."""
DIRTY = "+01234567"
REVISION = Revision("/r", HERE + "0" * 28, HERE)


def find_foreign_nodes(stamp, *, runs=None, overrides=(), **known):
    given = {"ancestors": frozenset({HERE, BEFORE}), "applied_revisions": ((OURS + "0" * 28, OURS),)} | known
    cluster_memory = ClusterMemory(shown_revisions={"n1": AppliedRevision(runs, NOON)} if runs else {})
    memory = FleetMemory(at=NOON, cluster_memory={"edge": cluster_memory}, **given)
    given = find_foreign_stamps("edge", {"n1": stamp}, memory, revision=REVISION, overrides=overrides)
    found = find_foreign_changes("edge", given, memory, revision=REVISION)
    return [one.target for one in found]


NO_STAMPS = ("", "2022-06-21-A", "d" * 11, "D" * 12)


@pytest.mark.parametrize("stamp", [HERE, BEFORE, BEFORE + DIRTY, HERE + DIRTY, OURS, *NO_STAMPS])
def test_a_stamp_of_this_host_or_of_an_ancestor_and_another_version_are_not_foreign(stamp):
    assert find_foreign_nodes(stamp) == []


@pytest.mark.parametrize("stamp", [THEIRS, THEIRS + DIRTY, OURS + DIRTY])
def test_any_other_stamp_is_foreign(stamp):
    assert find_foreign_nodes(stamp) == ["edge/n1"]


def test_a_stamp_that_this_host_saw_on_the_node_is_its_own_without_the_run():
    assert find_foreign_nodes(THEIRS, runs=THEIRS + "0" * 28) == []
    assert find_foreign_nodes(THEIRS + DIRTY, runs=THEIRS + "0" * 28) == []
    assert find_foreign_nodes(THEIRS, runs=OURS + "0" * 28) == ["edge/n1"]


def test_a_revision_that_is_no_ancestor_but_was_applied_here_is_not_foreign():
    """After a squash the revision descends from nothing that was applied."""
    assert find_foreign_nodes(OURS, ancestors=frozenset({HERE})) == []
    assert find_foreign_nodes(OURS, ancestors=frozenset({HERE}), applied_revisions=()) == ["edge/n1"]


def test_without_a_history_nothing_is_foreign():
    assert find_foreign_nodes(THEIRS, ancestors=None) == []


@pytest.mark.parametrize(("days", "left"), [(0, []), (1, []), (-1, ["edge/n1"])])
def test_an_override_counts_until_its_day_ends(days, left):
    until = NOON.date() + timedelta(days=days)
    aside = Override(guard=FOREIGN, target="edge/n1", until=until, reason="the old host is gone")
    assert find_foreign_nodes(THEIRS, overrides=(aside,)) == left
    other = Override(guard=FOREIGN, target="edge/n2", until=date(2999, 1, 1), reason="not this one")
    assert find_foreign_nodes(THEIRS, overrides=(other,)) == ["edge/n1"]
