"""What the fleet file allows: limits, budgets, overrides, silenced lints, and how clusters may change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field

from reconciler.core.change_windows import Freeze, Hold, Suspend, Window
from reconciler.core.entries import ClusterEntry
from reconciler.core.fields import Amount, Day, Number, StrictModel
from reconciler.core.rollout_rules import Rollout

Mark = Literal["high", "restart", "membership", "point-of-no-return"]
"""A property of a step that makes a plan wait for an approval."""


class Budget(StrictModel):
    """How much may be changed within a rolling window, over all runs."""

    nodes: Amount = Field(
        description="Nodes that may be changed within the window, as a number or a percentage."
    )
    hours: Annotated[Number, Field(gt=0, le=24 * 31)] = Field(description="Length of the window in hours.")


class Policy(StrictModel):
    """Limits of one cluster; the fleet file's own `policy` is the default for all of them."""

    shares: ClassVar[tuple[str, ...]] = ("max_risky", "max_shrink")
    """Limits whose default is a percentage of the nodes; a product with limits of its own adds them."""

    max_changed: Amount = Field(default="100%", description="Nodes that one run may change.")
    max_risky: Amount = Field(
        default="34%",
        description="Nodes that one run may change by steps of high risk. A restart has a high risk only "
        "where no other node serves what it interrupts.",
    )
    max_shrink: Amount = Field(
        default="34%",
        description="Nodes that may disappear from the desired state at once, compared with the one applied "
        "last.",
    )
    max_domains: Amount | None = Field(
        default=None,
        description="Failure domains that may be changed in one wave. Default: one for steps of high risk, "
        "no limit for others.",
    )
    max_of_domain: Amount = Field(
        default="100%",
        description="Nodes of one failure domain that may be changed by steps of high risk in one run.",
    )
    budget: Budget | None = Field(default=None, description="Limit over a rolling window; none by default.")
    approve: tuple[Mark, ...] = Field(
        default=(),
        description="Which steps need `reconcile approve`: steps of high risk, steps that restart a node, "
        "steps that change the membership, steps that cannot be undone.",
        examples=[["high", "point-of-no-return"]],
    )

    @classmethod
    def unlimited(cls) -> Self:
        """Limits for a few nodes that represent many: a percentage of them means nothing."""
        return cls(**dict.fromkeys(cls.shares, "100%"))


class Override(StrictModel):
    """Sets a guard aside on purpose: in git, with a reviewer, and with an expiry."""

    guard: str = Field(description="Code of the guard.", examples=["blast-radius"])
    target: str = Field(default="", description="A cluster or `cluster/node`; empty for the whole fleet.")
    until: Day = Field(description="Last day on which it applies, as YYYY-MM-DD.")
    reason: str = Field(min_length=8, description="Why, for later readers.")

    def covers(self, code: str, target: str) -> bool:
        """Whether it names a violation with this code and target, expired or not."""
        # With the slash: an override for `edge-1` must not cover `edge-10`.
        inside = not self.target or target == self.target or target.startswith(f"{self.target}/")
        return self.guard == code and inside


@dataclass(frozen=True, slots=True)
class ChangeRules:
    """How and when a cluster may be changed.

    Args:
        rollout: its waves; None if a plan is applied without waves.
        windows: when changes may be made; empty means at any time.
        freezes: when nothing is changed, also inside a window.
        suspend: nothing is changed at all.
        require_signed: how a revision has to be signed, `gpg` or `ssh`; empty if it does not have to be.
        holds: node -> until when nothing is sent to it.
        keeps_drift: whether changes behind our back are only reported.
    """

    rollout: Rollout | None = None
    windows: tuple[Window, ...] = ()
    freezes: tuple[Freeze, ...] = ()
    suspend: Suspend | None = None
    require_signed: str = ""
    holds: Mapping[str, Hold] = field(default_factory=dict)
    keeps_drift: bool = False

    def of(self, entry: ClusterEntry) -> ChangeRules:
        """The rules of one cluster, given those of the fleet.

        Keys that a cluster's rollout does not have come from the fleet's; its windows replace the fleet's;
        freezes and suspensions of both apply.
        """
        rollout = entry.rollout or self.rollout
        if entry.rollout is not None and self.rollout is not None:
            own = {name: getattr(entry.rollout, name) for name in entry.rollout.model_fields_set}
            rollout = self.rollout.model_copy(update=own)
        return ChangeRules(
            rollout=rollout,
            windows=self.windows if entry.windows is None else entry.windows,
            freezes=(*self.freezes, *entry.freeze),
            suspend=self.suspend or entry.suspend,
            require_signed=self.require_signed,
            holds={node.name: node.hold for node in entry.members() if node.hold is not None},
            keeps_drift=self.keeps_drift if entry.drift is None else entry.drift == "report",
        )


class Ignore(StrictModel):
    """Silences one lint on purpose, in git and with a reviewer."""

    code: str = Field(description="Code of the lint.", examples=["unused-role"])
    target: str = Field(
        default="",
        description="A cluster, or the path of a file or a pattern such as `edge/*.json`; empty for the "
        "whole fleet.",
        examples=["edge-seoul"],
    )
    reason: str = Field(min_length=8, description="Why, for later readers.")


class Lint(StrictModel):
    """Settings of lints: warnings about probable mistakes. `reconcile explain CODE` explains each."""

    ignore: tuple[Ignore, ...] = Field(default=(), description="Lints that are silenced.")
