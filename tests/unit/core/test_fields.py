"""Numbers, flags, days and spans of the fleet file: each is read from what it is, and nothing else."""

from datetime import date

import pytest
from pydantic import TypeAdapter, ValidationError

from reconciler.core.fields import Amount, Day, Flag, Number, SomeTime, Span, Whole, resolve_amount
from reconciler.core.rollout_rules import Rollout, Sizes


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


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(
            ("canary", value)
            for value in (0, "0", "0%", -1, 1.5, "1.5", "101%", "01", " 1", "1e3", True, [], "٣")
        ),
        *(("waves", [value]) for value in (0, "0%", "200%", False, None)),
        *(("max_unknown", value) for value in (-1, 0.5, "101%", True)),
    ],
)
def test_a_number_of_nodes_is_a_whole_number_or_a_share_of_all(key, value):
    with pytest.raises(ValidationError):
        Rollout.model_validate({key: value})


@pytest.mark.parametrize(("value", "text"), [(1, "1"), (2.0, "2"), ("100%", "100%"), (1e3, "1000")])
def test_a_number_of_nodes_is_kept_as_text(value, text):
    assert Rollout.model_validate({"canary": value}).canary == text


def test_nothing_but_zero_percent_is_none():
    assert [resolve_amount(amount, 3) for amount in ("0", "0%", "1%", "50%", "100%")] == [0, 0, 1, 1, 3]
