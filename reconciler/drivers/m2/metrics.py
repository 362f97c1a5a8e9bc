"""What a node's `/metrics` says, as one number for each name; pure.

The text is read line by line and not by prometheus-client's parsers, which are made for what a
program trusts: one odd line ends them with a KeyError or an IndexError.
"""

from __future__ import annotations

import math
import re
from typing import Final

_PARTS: Final = ("_bucket", "_created")
"""Ends of names whose samples do not add up to anything."""

MOST_BYTES: Final = 4 * 1024 * 1024
MOST_NAMES: Final = 5_000
LONGEST_NAME: Final = 200

_SAMPLE: Final = re.compile(
    r"""([a-zA-Z_:][a-zA-Z0-9_:]*+)
        (?:\{(?:[^"{}]|"(?:[^"\\\n]|\\.)*+")*+\})?+
        [ \t]+([-+]?(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][-+]?[0-9]++)?)
        (?=[ \t]|\Z)""",
    re.VERBOSE,
)
"""A sample: name, labels, value; what may follow (a time, an exemplar) is not looked at. Possessive, so
that no line takes more steps than it has characters."""


def parse_metrics(body: bytes) -> dict[str, float]:
    """Name of a sample -> its value, summed over its labels; OpenMetrics, or Prometheus' older form.

    A line that is neither is left out, as are values that are not finite, names longer than
    `LONGEST_NAME` and, in the order of the text, names beyond `MOST_NAMES`.

    Raises:
        ValueError: it has more than `MOST_BYTES`, or not one sample.
    """
    if len(body) > MOST_BYTES:
        raise ValueError(f"it has more than {MOST_BYTES:,} bytes")
    found: dict[str, float] = {}
    for line in body.decode("utf-8", "replace").split("\n"):
        sample = _SAMPLE.match(line.removesuffix("\r").lstrip(" \t"))
        if sample is None:
            continue
        name, value = sample[1], float(sample[2])
        known = name in found or (len(found) < MOST_NAMES and len(name) <= LONGEST_NAME)
        if known and math.isfinite(value) and not name.endswith(_PARTS):
            found[name] = found.get(name, 0.0) + value
    if not found:
        raise ValueError("it has no samples")
    return {name: value for name, value in found.items() if math.isfinite(value)}
