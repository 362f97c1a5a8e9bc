"""Where live settings differ from written ones."""

import pytest

from reconciler.adopt.live_edits import find_drift_edits
from reconciler.documents.edit import Edit


@pytest.mark.parametrize(("rendered", "shown"), [(1, 1.0), (1.0, 1), (0, -0.0), ({"a": [1.0]}, {"a": [1]})])
def test_a_number_that_is_only_written_otherwise_stays(rendered, shown):
    assert list(find_drift_edits({"n": rendered}, {"n": shown})) == []


@pytest.mark.parametrize(("rendered", "shown"), [(1, True), (0, False), (1, "1"), (1, 1.5), (1, None)])
def test_what_only_compares_equal_or_looks_alike_is_a_difference(rendered, shown):
    assert list(find_drift_edits({"n": rendered}, {"n": shown})) == [Edit(("n",), shown)]
