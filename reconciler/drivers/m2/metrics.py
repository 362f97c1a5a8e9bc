"""What a node's `/metrics` says, as one number for each name; pure."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Final

_PARTS: Final = ("_bucket", "_created")
"""Ends of names whose samples do not add up to anything."""


def parsed(body: bytes) -> dict[str, float]:
    """Name of a sample -> its value, summed over its labels; OpenMetrics, or Prometheus' older form.

    Raises:
        ValueError: it is neither.
    """
    from prometheus_client.openmetrics.parser import text_string_to_metric_families as openly  # noqa: PLC0415
    from prometheus_client.parser import text_string_to_metric_families as plainly  # noqa: PLC0415

    text = body.decode("utf-8", "replace")
    parse = openly if text.rstrip().endswith("# EOF") else plainly
    found: dict[str, float] = defaultdict(float)
    for family in parse(text):
        for sample in family.samples:
            if math.isfinite(sample.value) and not sample.name.endswith(_PARTS):
                found[sample.name] += float(sample.value)
    return dict(found)
