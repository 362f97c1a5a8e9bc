"""What the fleet file allows a run to do: limits, budgets, and overrides with a reason and an expiry."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from pydantic import Field, StringConstraints

from reconciler.core.spec import Strict

Amount = Annotated[str, StringConstraints(pattern=r"^(\d{1,6}|\d{1,3}%)$")]
"""A number of nodes such as `3`, or a share of a cluster's nodes such as `25%`."""


def amount_of(amount: str, total: int) -> int:
    """How many of `total` nodes an amount is; a share is rounded down but is at least one."""
    if amount.endswith("%"):
        return max(1, total * int(amount[:-1]) // 100)
    return int(amount)


class Budget(Strict):
    """How much may be changed within a rolling window, over all runs."""

    nodes: Amount = Field(description="Nodes that may be changed within the window, a number or a share.")
    hours: Annotated[float, Field(gt=0, le=24 * 31)] = Field(description="Length of the window in hours.")


class Policy(Strict):
    """Limits of one cluster; the fleet file's own `policy` is the default for all of them."""

    max_changed: Amount = Field(default="100%", description="Nodes that one run may change.")
    max_risky: Amount = Field(
        default="34%",
        description="Nodes that one run may change by steps of high risk, or that restart or leave.",
    )
    max_shrink: Amount = Field(
        default="34%",
        description="Nodes that the desired state may lose at once, compared with the last applied one.",
    )
    budget: Budget | None = Field(default=None, description="A limit over a rolling window; none by default.")


class Override(Strict):
    """A guard set aside on purpose: in git, with a reviewer, and never for ever."""

    guard: str = Field(description="Code of the guard.", examples=["blast-radius"])
    target: str = Field(default="", description="A cluster or `cluster/node`; empty for the whole fleet.")
    until: date = Field(description="Last day on which it holds, as YYYY-MM-DD.")
    reason: str = Field(min_length=8, description="Why, for whoever reads it later.")

    def covers(self, code: str, target: str) -> bool:
        """Whether it speaks of a verdict with this code and target, expired or not."""
        inside = not self.target or target == self.target or target.startswith(f"{self.target}/")
        return self.guard == code and inside
