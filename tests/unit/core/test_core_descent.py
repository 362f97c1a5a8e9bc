"""How revisions stand to each other, and the guards of where a revision comes from."""

from dataclasses import replace

import pytest
from support_driver import FakeDriver, Wish, World, cluster

from reconciler.core.change_rules import Conduct
from reconciler.core.guard import Case
from reconciler.core.history import Past
from reconciler.core.observation import Observed
from reconciler.core.plan import Revision
from reconciler.core.revision import Descent, descent, short
from reconciler.guards.provenance import older_revision, signature_required

A, B, C, D = (letter * 40 for letter in "abcd")
"""B descends from A, C from B; D is of another branch from A on."""
BEFORE = {A: frozenset({A}), B: frozenset({A, B}), C: frozenset({A, B, C}), D: frozenset({A, D})}
DIRTY = "+0123456789"


@pytest.mark.parametrize(
    ("revision", "applied", "found"),
    [
        (B, B, Descent.SAME),
        (C, B, Descent.NEWER),
        (C, A, Descent.NEWER),
        (A, C, Descent.OLDER),
        (D, C, Descent.DIVERGED),
        (B + DIRTY, B, Descent.UNKNOWN),
        (B, B + DIRTY, Descent.UNKNOWN),
        (B + DIRTY, A + DIRTY, Descent.NEWER),
        (A + DIRTY, B, Descent.OLDER),
        (B, "f" * 64, Descent.UNKNOWN),
    ],
)
def test_the_ancestors_decide(revision, applied, found):
    before, behind = BEFORE.get(revision[:40]), BEFORE.get(applied[:40])
    assert descent(revision, applied, before, behind) is found


def test_an_applied_commit_that_is_gone_was_rewritten_and_without_history_nothing_is_known():
    assert descent(C, "e" * 40, BEFORE[C], None) is Descent.DIVERGED
    assert descent(C, B, None, None) is Descent.UNKNOWN
    assert short(C + DIRTY) == "c" * 12


def looked(past=None, conduct=None, signed="", steps=True):
    entry, world = cluster("edge", {"n": "1"}), World({"n": "0"})
    seen = Observed({"n": world.answer("n")})
    plan = FakeDriver(world).plan(Wish(entry), seen)
    return Case(
        plan if steps else replace(plan, steps=()),
        entry,
        Wish(entry),
        seen,
        past=past or Past(),
        conduct=conduct or Conduct(),
        revision=Revision("/r", B, B[:12], signed=signed, signer="ada" if signed else ""),
    )


@pytest.mark.parametrize("way", list(Descent))
def test_only_what_leads_back_is_refused_and_only_where_something_would_be_done(way):
    past = Past(applied=Revision("/r", C, C[:12]), descent=way)
    found = [violation.code for violation in older_revision(looked(past))]
    assert found == (["older-revision"] if way in {Descent.OLDER, Descent.DIVERGED} else [])
    assert list(older_revision(looked(past, steps=False))) == []


def test_a_fleet_file_that_asks_for_signatures_wants_one_of_that_kind():
    wants = Conduct(require_signed="ssh")
    assert [one.code for one in signature_required(looked(conduct=wants))] == ["signature-required"]
    (other,) = signature_required(looked(conduct=wants, signed="gpg"))
    assert "checked a signature of gpg only" in other.message
    assert list(signature_required(looked(conduct=wants, signed="ssh"))) == []
    assert list(signature_required(looked(signed=""))) == []
    assert wants.of(looked().entry).require_signed == "ssh"
