"""A fault planted into how nodes that poll are answered, or into a rollout of offers, is found."""

import pytest
from mutants_offers import OFFERS
from mutation import tried


@pytest.mark.parametrize("mutant", OFFERS, ids=lambda one: f"{one.what}, {one.fault}")
def test_a_planted_fault_is_found_and_nothing_else(mutant):
    result = tried(mutant)
    assert not result.held.broken
    assert result.held.complete
    assert result.found.broken
    assert result.found.story
