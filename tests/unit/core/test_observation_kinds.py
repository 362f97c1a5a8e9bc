"""Every kind of answer is known wherever answers are counted or written down."""

import re
from typing import get_args, get_origin

from reconciler.core.observation import (
    KINDS,
    Absent,
    Observation,
    Observed,
    Present,
    Stale,
    Unauthorized,
    Unidentified,
    Unreachable,
)
from reconciler.core.observation_digests import digest_observations
from reconciler.planning.plan_file import _PRINT
from reconciler.server.metrics import count_answers

OBSERVED = Observed(
    {
        "a": Present(1),
        "b": Absent("404"),
        "c": Unreachable("away"),
        "d": Unidentified("another"),
        "e": Unauthorized("403"),
        "f": Stale(1, "old"),
    }
)


def test_the_list_of_kinds_matches_the_type():
    assert {get_origin(kind) or kind for kind in get_args(Observation)} == set(KINDS)
    assert {type(answer) for answer in OBSERVED.nodes.values()} == set(KINDS)


def test_each_kind_is_counted_in_the_metrics_and_fits_a_plan_file():
    assert set(count_answers(OBSERVED).values()) == {1}
    assert [one for one in digest_observations(OBSERVED).values() if not re.fullmatch(_PRINT, one)] == []
