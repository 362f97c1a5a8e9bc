"""The status of a cluster as text, for the hosts that share its passes."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from reconciler.core.json_reader import JsonLimits, read_json
from reconciler.server.pass_result import PassSummary
from reconciler.server.watch_state import WatchedCluster
from reconciler.text.one_line import bound_sentence

MOST: Final = 500
FEWEST: Final = 20
"""Findings, nodes and the like of one pass that other hosts are told of; the fewer if they are long."""

LARGEST: Final = 1_000_000
"""Characters of one status."""

_LIMITS: Final = JsonLimits(size=4 * LARGEST, values=200_000, depth=12)


def encode_status(status: WatchedCluster) -> str:
    """The status as JSON in ASCII, with no more than `MOST` of each thing."""
    for most in (MOST, FEWEST, 0):
        # What the nodes show in full stays with the host that has read it.
        shown = replace(
            status, pass_summary=bound_summary(status.pass_summary, most), reading=None, progress=None
        )
        text = json.dumps(_adapter().dump_python(shown, mode="json"))
        if len(text) <= LARGEST:
            return text
    return ""


def decode_status(text: str) -> WatchedCluster | None:
    """What `encode_status` wrote; None for a text of a version that is not understood."""
    try:
        found = read_json(text.encode(), _LIMITS)
        status: WatchedCluster = _adapter().validate_python(found)
    except (ValidationError, ValueError):
        return None
    return status


def bound_summary(summary: PassSummary | None, most: int) -> PassSummary | None:
    """The summary with at most so many of each thing in it."""
    if summary is None:
        return None
    return replace(
        summary,
        message=bound_sentence(summary.message),
        unread_nodes=summary.unread_nodes[:most],
        waiting_for_restart=summary.waiting_for_restart[:most],
        violations=summary.violations[:most],
        findings=summary.findings[:most],
        held_nodes=summary.held_nodes[:most],
        unmanaged=dict(list(summary.unmanaged.items())[:most]),
        drift=summary.drift[:most],
        expiries=summary.expiries[:most],
        left_nodes=summary.left_nodes[:most],
        reading=None,
    )


@lru_cache(maxsize=1)
def _adapter() -> TypeAdapter[Any]:
    return TypeAdapter(WatchedCluster)
