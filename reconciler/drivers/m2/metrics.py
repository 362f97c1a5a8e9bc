"""The parser of a node's `/metrics`: one number for each name; pure.

It replaces prometheus-client's parsers, which trust their input: one malformed line ends them with a KeyError
or an IndexError.
"""

from __future__ import annotations

import math
import re
from typing import Final

_PARTS: Final = ("_bucket", "_created")
"""Suffixes of names whose samples have no meaningful sum."""

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
"""A sample: name, labels, value; what follows (a time, an exemplar) is ignored. The quantifiers are
possessive, so that a node cannot make the match of a long line take quadratic time."""


def parse_metrics(body: bytes) -> dict[str, float]:
    """Name -> sum of the values of its samples; the text is OpenMetrics or Prometheus' older form.

    Left out are other lines, values that are not finite, names longer than `LONGEST_NAME` and, in the order
    of the text, names beyond `MOST_NAMES`.

    Raises:
        ValueError: it has more than `MOST_BYTES`, or no sample.
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
