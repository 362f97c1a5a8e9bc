"""How revisions stand to each other, and the guards of where a revision comes from."""

from dataclasses import replace

import pytest
from support.driver import FakeDriver, Wish, World, cluster

from reconciler.core.guard import GuardContext
from reconciler.core.memory import ClusterMemory
from reconciler.core.observation import Observed
from reconciler.core.plan import Revision
from reconciler.core.policy import ChangeRules
from reconciler.core.revision import Ancestry, compare_revisions, shorten_commit
from reconciler.guards.provenance import refuse_older_revision, refuse_unsigned

A, B, C, D = (letter * 40 for letter in "abcd")
"""B descends from A, C from B; D is of another branch from A on."""
BEFORE = {A: frozenset({A}), B: frozenset({A, B}), C: frozenset({A, B, C}), D: frozenset({A, D})}
DIRTY = "+0123456789"


@pytest.mark.parametrize(
    ("revision", "applied", "found"),
    [
        (B, B, Ancestry.SAME),
        (C, B, Ancestry.NEWER),
        (C, A, Ancestry.NEWER),
        (A, C, Ancestry.OLDER),
        (D, C, Ancestry.DIVERGED),
        (B + DIRTY, B, Ancestry.UNKNOWN),
        (B, B + DIRTY, Ancestry.UNKNOWN),
        (B + DIRTY, A + DIRTY, Ancestry.NEWER),
        (A + DIRTY, B, Ancestry.OLDER),
        (B, "f" * 64, Ancestry.UNKNOWN),
    ],
)
def test_the_ancestors_decide(revision, applied, found):
    before, behind = BEFORE.get(revision[:40]), BEFORE.get(applied[:40])
    assert compare_revisions(revision, applied, before, behind) is found


def test_an_applied_commit_that_is_gone_was_rewritten_and_without_history_nothing_is_known():
    assert compare_revisions(C, "e" * 40, BEFORE[C], None) is Ancestry.DIVERGED
    assert compare_revisions(C, B, None, None) is Ancestry.UNKNOWN
    assert shorten_commit(C + DIRTY) == "c" * 12


def looked(cluster_memory=None, change_rules=None, signed="", steps=True):
    entry, world = cluster("edge", {"n": "1"}), World({"n": "0"})
    seen = Observed({"n": world.answer("n")})
    plan = FakeDriver(world).plan(Wish(entry), seen)
    return GuardContext(
        plan if steps else replace(plan, steps=()),
        entry,
        Wish(entry),
        seen,
        cluster_memory=cluster_memory or ClusterMemory(),
        change_rules=change_rules or ChangeRules(),
        revision=Revision("/r", B, B[:12], signed=signed, signer="ada" if signed else ""),
    )


@pytest.mark.parametrize("way", list(Ancestry))
def test_only_a_plan_with_steps_for_an_older_or_diverged_revision_is_refused(way):
    cluster_memory = ClusterMemory(applied=Revision("/r", C, C[:12]), ancestry=way)
    found = [violation.code for violation in refuse_older_revision(looked(cluster_memory))]
    assert found == (["older-revision"] if way in {Ancestry.OLDER, Ancestry.DIVERGED} else [])
    assert list(refuse_older_revision(looked(cluster_memory, steps=False))) == []


def test_a_fleet_file_that_asks_for_signatures_wants_one_of_that_kind():
    wants = ChangeRules(require_signed="ssh")
    assert [one.code for one in refuse_unsigned(looked(change_rules=wants))] == ["signature-required"]
    (other,) = refuse_unsigned(looked(change_rules=wants, signed="gpg"))
    assert "checked only a signature by gpg" in other.message
    assert list(refuse_unsigned(looked(change_rules=wants, signed="ssh"))) == []
    assert list(refuse_unsigned(looked(signed=""))) == []
    assert wants.of(looked().entry).require_signed == "ssh"
