"""The differences between live and rendered settings."""

import pytest

from reconciler.adopt.drift_edits import find_drift_edits
from reconciler.documents.edit import Edit


@pytest.mark.parametrize(("rendered", "shown"), [(1, 1.0), (1.0, 1), (0, -0.0), ({"a": [1.0]}, {"a": [1]})])
def test_a_number_in_another_notation_stays(rendered, shown):
    assert list(find_drift_edits({"n": rendered}, {"n": shown})) == []


@pytest.mark.parametrize(("rendered", "shown"), [(1, True), (0, False), (1, "1"), (1, 1.5), (1, None)])
def test_values_that_only_compare_equal_or_look_alike_differ(rendered, shown):
    assert list(find_drift_edits({"n": rendered}, {"n": shown})) == [Edit(("n",), shown)]
