"""Lints, the warnings that know the field: what a product supplies, and how the fleet file silences one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from pydantic import Field

from reconciler.core.fields import Strict
from reconciler.diagnostic import Problem
from reconciler.ports.driver import Desk, Document


@dataclass(frozen=True, slots=True)
class Claim:
    """A member that a cluster's settings name.

    Args:
        name: the same for the same member in whichever cluster of the kind: an address, or an
            expression that stands for several.
        document: where it is named.
        pointer: its place there.
    """

    name: str
    document: Document
    pointer: str


@runtime_checkable
class Lints(Protocol):
    """What a driver also has that knows what is doubtful, though not wrong, in a cluster."""

    lint_codes: frozenset[str]
    """The codes that `lint` uses; each has a page under `reconciler/explanations`."""

    def lint(self, desk: Desk) -> Iterator[Problem]:
        """Warnings about one cluster, each place once; total, whatever the settings hold. Pure."""

    def claims(self, desk: Desk) -> Iterator[Claim]:
        """The members that the cluster's settings name, so that one in two clusters is noticed. Pure."""


class Ignore(Strict):
    """A lint silenced on purpose: in git, with a reviewer."""

    code: str = Field(description="Code of the lint.", examples=["unused-role"])
    target: str = Field(
        default="",
        description="A cluster, or the path of a file or a pattern such as `edge/*.json`; empty for the "
        "whole fleet.",
        examples=["edge-seoul"],
    )
    reason: str = Field(min_length=8, description="Why, for whoever reads it later.")


class Lint(Strict):
    """What is said of lints, the warnings that know the field; `reconcile explain` tells of each."""

    ignore: tuple[Ignore, ...] = Field(default=(), description="Lints that are silenced.")
