"""How the fleet file silences lints, the warnings that know the field."""

from __future__ import annotations

from pydantic import Field

from reconciler.core.fields import StrictModel


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
