"""Results of the model checker, as text and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reconciler.cli.render.json import format_json
from reconciler.cli.render.values import format_count
from reconciler.planning.model_check import CheckResult
from reconciler.text.one_line import clean_line


def render_check_text(checked: Sequence[CheckResult], faults: int) -> str:
    """A line for each cluster, and the counterexample if an invariant is violated.

    Args:
        checked: the result for each cluster.
        faults: how many faults an execution may have.
    """
    lines: list[str] = []
    for one in checked:
        lines.append(clean_line(f"{one.cluster}: {describe_check(one, faults)}"))
        if one.explored is not None and one.explored.broken:
            lines += [f"  {number}. {clean_line(move)}" for number, move in enumerate(one.explored.story, 1)]
    return "".join(f"{line}\n" for line in lines)


def render_check_json(checked: Sequence[CheckResult], faults: int) -> str:
    """The results as one JSON object."""
    return format_json({"faults": faults, "clusters": [_to_plain_check(one) for one in checked]})


def describe_check(one: CheckResult, faults: int) -> str:
    """The result for one cluster in a sentence."""
    if one.explored is None:
        return f"not explored: {one.reason}"
    bounds = f"up to {format_count(faults, 'fault')} and one kill of the reconciler"
    states = format_count(one.explored.states, "state")
    part = f"; {one.words}" if one.words else ""
    if one.explored.broken:
        return f"violation after {format_count(len(one.explored.story), 'transition')}: {one.explored.broken}"
    if not one.explored.complete:
        return f"no violation in {states}, {bounds}; not exhaustive: the limit of states was reached{part}"
    return f"all invariants hold in all {states}, {bounds}{part}"


def _to_plain_check(one: CheckResult) -> dict[str, Any]:
    found = one.explored
    if found is None:
        return {"cluster": one.cluster, "reason": one.reason}
    return {
        "cluster": one.cluster,
        "states": found.states,
        "complete": found.complete,
        "broken": found.broken,
        "stands_for": one.words,
        "story": list(found.story),
    }
