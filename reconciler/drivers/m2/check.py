"""Everything wrong in one `setting.json`: types, limits, names and addresses, each with its position."""

from __future__ import annotations

from reconciler.core.ports import Document
from reconciler.core.problem import Problem
from reconciler.core.secret import mask
from reconciler.drivers.m2 import features, rules, shape
from reconciler.drivers.m2.fault import positioned


def problems_of(document: Document) -> list[Problem]:
    """All problems of one file, errors and warnings, in the order of their positions.

    Secrets count as text; what would be wrong with their values cannot be known here.
    """
    value = mask(document.value)
    return positioned(document, [*shape.faults(value), *rules.faults(value), *features.faults(value)])
