"""Numbers, flags, days and spans of the fleet file: each is read from what it is, and nothing else."""

from datetime import date

import pytest
from pydantic import TypeAdapter, ValidationError

from reconciler.core.fields import Amount, Day, Flag, Number, SomeTime, Span, Whole
from reconciler.core.rollout_rules import Sizes


def read(kind, value):
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError:
        return "refused"


@pytest.mark.parametrize(
    ("kind", "value", "meant"),
    [
        (Whole, 3, 3),
        (Whole, 3.0, 3),
        (Whole, 3.5, "refused"),
        (Whole, "3", "refused"),
        (Whole, True, "refused"),
        (Whole, float("inf"), "refused"),
        (Number, 3, 3.0),
        (Number, "3", "refused"),
        (Number, True, "refused"),
        (Flag, True, True),
        (Flag, 1, "refused"),
        (Flag, "yes", "refused"),
        (Amount, 3, "3"),
        (Amount, 3.0, "3"),
        (Amount, "25%", "25%"),
        (Amount, True, "refused"),
        (Amount, -1, "refused"),
        (Amount, "\u0663", "refused"),
        (Sizes, "25%", ("25%",)),
        (Sizes, 2.0, ("2",)),
        (Sizes, [1, "50%"], ("1", "50%")),
        (Sizes, [], "refused"),
        (Sizes, True, "refused"),
        (Day, "2026-12-24", date(2026, 12, 24)),
        (Day, "2026-02-30", "refused"),
        (Day, "20261224", "refused"),
        (Day, 1_797_000_000, "refused"),
        (Span, "1h30m", 5400.0),
        (Span, 90, 90.0),
        (Span, 0, 0.0),
        (Span, " 5m", "refused"),
        (Span, "5m\n", "refused"),
        (Span, "", "refused"),
        (Span, "9999d", "refused"),
        (Span, True, "refused"),
        (SomeTime, "2h", 7200.0),
        (SomeTime, "0s", "refused"),
        (SomeTime, 0, "refused"),
    ],
)
def test_one_value(kind, value, meant):
    found = read(kind, value)
    assert found == meant
    assert type(found) is type(meant)
