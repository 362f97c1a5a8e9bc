"""What the fleet file allows a run to do: limits, budgets, and overrides with a reason and an expiry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field

from reconciler.core.change_windows import Freeze, Suspend, Window
from reconciler.core.entries import ClusterEntry
from reconciler.core.fields import Amount, Day, Number, StrictModel, resolve_amount
from reconciler.core.rollout import Rollout

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


@dataclass(frozen=True, slots=True)
class ChangeRules:
    """What the fleet file says of the way in which a cluster is changed.

    Args:
        rollout: its waves; none where a plan is applied in one go.
        windows: when changes may be made; none means at any time.
        freezes: when nothing is changed, whatever the windows say.
        suspend: nothing is changed at all.
        require_signed: how a revision has to be signed, `gpg` or `ssh`; empty where it need not be.
    """

    rollout: Rollout | None = None
    windows: tuple[Window, ...] = ()
    freezes: tuple[Freeze, ...] = ()
    suspend: Suspend | None = None
    require_signed: str = ""

    def of(self, entry: ClusterEntry) -> ChangeRules:
        """The conduct of one cluster, where this is the fleet's own.

        A cluster's rollout is filled up, key by key, from the fleet's; its windows take the place of
        the fleet's; freezes and suspensions of both hold.
        """
        return ChangeRules(
            rollout=_filled(entry.rollout, self.rollout),
            windows=self.windows if entry.windows is None else entry.windows,
            freezes=(*self.freezes, *entry.freeze),
            suspend=self.suspend or entry.suspend,
            require_signed=self.require_signed,
        )


def _filled(own: Rollout | None, default: Rollout | None) -> Rollout | None:
    if own is None or default is None:
        return own or default
    said = {name: getattr(own, name) for name in own.model_fields_set}
    return default.model_copy(update=said)


class Ignore(StrictModel):
    """A lint silenced on purpose: in git, with a reviewer."""

    code: str = Field(description="Code of the lint.", examples=["unused-role"])
    target: str = Field(
        default="",
        description="A cluster, or the path of a file or a pattern such as `edge/*.json`; empty for the "
        "whole fleet.",
        examples=["edge-seoul"],
    )
    reason: str = Field(min_length=8, description="Why, for whoever reads it later.")


class Lint(StrictModel):
    """What is said of lints, the warnings that know the field; `reconcile explain` tells of each."""

    ignore: tuple[Ignore, ...] = Field(default=(), description="Lints that are silenced.")
