"""What the model checker found, in words and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from reconciler.cli.render.values import format_count
from reconciler.planning.model_check import CheckResult
from reconciler.text.one_line import clean_line


def render_check_text(checked: Sequence[CheckResult], faults: int) -> str:
    """A line for each cluster, and the story of what breaks.

    Args:
        checked: what was found of each cluster.
        faults: how many could happen in each story.
    """
    return "".join(f"{line}\n" for one in checked for line in _lines(one, faults))


def render_check_json(checked: Sequence[CheckResult], faults: int) -> str:
    """The same as one JSON object."""
    value = {"faults": faults, "clusters": [_plain(one) for one in checked]}
    text = json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True)
    return text.encode(errors="backslashreplace").decode() + "\n"


def describe_check(one: CheckResult, faults: int) -> str:
    """What is known of one cluster's plan."""
    if one.explored is None:
        return f"not explored: {one.reason}"
    bounds = f"up to {format_count(faults, 'fault')} and one kill of the reconciler"
    states = format_count(one.explored.states, "state")
    part = f"; {one.words}" if one.words else ""
    if one.explored.broken:
        return f"broken after {format_count(len(one.explored.story), 'move')}: {one.explored.broken}"
    if not one.explored.complete:
        return f"no violation in {states}, {bounds}; not exhaustive, the bound on states was reached{part}"
    return f"all invariants hold in all {states}, {bounds}{part}"


def _lines(one: CheckResult, faults: int) -> Iterator[str]:
    yield clean_line(f"{one.cluster}: {describe_check(one, faults)}")
    if one.explored is not None and one.explored.broken:
        for number, move in enumerate(one.explored.story, 1):
            yield f"  {number}. {clean_line(move)}"


def _plain(one: CheckResult) -> dict[str, Any]:
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
