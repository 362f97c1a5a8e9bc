"""How much of the history a management host keeps."""

from __future__ import annotations

from typing import Final

KEPT_RUNS: Final = 1_000
"""Runs that the history keeps, by default."""

COUNTED = KEPT_RUNS
"""Runs that stay, however few are to be kept, while budgets count their changes."""

MOST_KEPT_RUNS: Final = 100_000
"""The most that may be configured."""
