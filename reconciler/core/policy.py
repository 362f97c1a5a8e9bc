"""What the fleet file allows a run to do: limits, budgets, and overrides with a reason and an expiry."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field

from reconciler.core.fields import Amount, Day, Number, StrictModel, resolve_amount

__all__ = ["Amount", "Budget", "Override", "Policy", "resolve_amount"]

Mark = Literal["high", "restart", "membership", "point-of-no-return"]
"""What about a step makes a plan wait for somebody's approval."""


class Budget(StrictModel):
    """How much may be changed within a rolling window, over all runs."""

    nodes: Amount = Field(description="Nodes that may be changed within the window, a number or a share.")
    hours: Annotated[Number, Field(gt=0, le=24 * 31)] = Field(description="Length of the window in hours.")


class Policy(StrictModel):
    """Limits of one cluster; the fleet file's own `policy` is the default for all of them."""

    shares: ClassVar[tuple[str, ...]] = ("max_risky", "max_shrink")
    """Limits whose default is a share of the nodes; a product with limits of its own adds them."""

    max_changed: Amount = Field(default="100%", description="Nodes that one run may change.")
    max_risky: Amount = Field(
        default="34%",
        description="Nodes that one run may change by steps of high risk, or that restart or leave.",
    )
    max_shrink: Amount = Field(
        default="34%",
        description="Nodes that the desired state may lose at once, compared with the last applied one.",
    )
    max_domains: Amount | None = Field(
        default=None,
        description="Failure domains that may be changed at once, in one wave; without it, one by steps of "
        "high risk, and any number by others.",
    )
    max_of_domain: Amount = Field(
        default="100%",
        description="Nodes of one failure domain that may be changed by steps of high risk in one run.",
    )
    budget: Budget | None = Field(default=None, description="A limit over a rolling window; none by default.")
    approve: tuple[Mark, ...] = Field(
        default=(),
        description="Steps with which a plan waits for `reconcile approve`: of high risk, that restart, "
        "that change the membership, or that cannot be undone.",
        examples=[["high", "point-of-no-return"]],
    )

    @classmethod
    def unlimited(cls) -> Self:
        """Limits for a few nodes that stand for many, of which a share says nothing."""
        return cls(**dict.fromkeys(cls.shares, "100%"))


class Override(StrictModel):
    """A guard set aside on purpose: in git, with a reviewer, and never for ever."""

    guard: str = Field(description="Code of the guard.", examples=["blast-radius"])
    target: str = Field(default="", description="A cluster or `cluster/node`; empty for the whole fleet.")
    until: Day = Field(description="Last day on which it holds, as YYYY-MM-DD.")
    reason: str = Field(min_length=8, description="Why, for whoever reads it later.")

    def covers(self, code: str, target: str) -> bool:
        """Whether it speaks of a verdict with this code and target, expired or not."""
        inside = not self.target or target == self.target or target.startswith(f"{self.target}/")
        return self.guard == code and inside
