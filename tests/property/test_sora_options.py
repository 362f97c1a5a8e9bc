"""Whatever Sora's documents leave open, no cluster is founded twice: all options with each other."""

from dataclasses import fields, replace

import pytest
from options import REGULAR, combinations
from states import commits, explored

from reconciler.drivers.sora.choices import DEFAULTS, Choices, RepeatedInit, UndocumentedCall

EVERY = list(combinations())
READS = {"list_uninitialised", "list_without_majority", "statistics"}
WORST = {
    "repeated_init": RepeatedInit.RESET,
    "init_with_away": UndocumentedCall.ACCEPT,
    "init_with_temporary": UndocumentedCall.ACCEPT,
}
LOST = [one for one in commits(REGULAR, 0) if one.story.startswith("no node reaches another")]


def test_every_option_is_combined_with_every_other():
    total = 1
    for one in fields(Choices):
        total *= len(type(getattr(DEFAULTS, one.name)))
    assert len(EVERY) == len(set(EVERY)) == total == 13_824


@pytest.mark.parametrize("commit", LOST, ids=lambda one: one.story)
def test_a_cluster_without_a_majority_is_never_initialised_again(commit):
    ways = {replace(DEFAULTS, **{name: getattr(one, name) for name in READS}, **WORST) for one in EVERY}
    assert len(ways) == 24
    for choices in ways:
        assert not explored(commit, choices, faults=0, passes=1).broken


def test_a_sample_of_all_combinations_breaks_nothing():
    for choices in EVERY[::1997]:
        for commit in commits(REGULAR, 0):
            result = explored(commit, choices, faults=0, passes=1)
            assert not result.broken, (choices, result.story)
