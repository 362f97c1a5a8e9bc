"""A diagnostic as plain JSON: in a plan and its report, as a guard's verdict, and as a problem of a file."""

from __future__ import annotations

from typing import Annotated, Final, NotRequired

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from reconciler.core.fields import Whole
from reconciler.core.timestamps import format_timestamp
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.text.one_line import bound_sentence

EXTENSIBLE: Final = ConfigDict(extra="allow", strict=True)
"""Configuration of the plain forms: a later version may add keys; none changes its meaning."""


@with_config(EXTENSIBLE)
class FindingShape(TypedDict):
    """A finding about a cluster or a node that is no step."""

    severity: Annotated[Severity, Field(description="How severe it is.")]
    code: Annotated[str, Field(description="Code for `reconcile explain`.", examples=["unreachable"])]
    target: Annotated[str, Field(description="A cluster, or `cluster/node`.")]
    message: Annotated[str, Field(description="One sentence.")]
    remedy: Annotated[str, Field(description="What to do about it; may be empty.")]


@with_config(EXTENSIBLE)
class ViolationShape(TypedDict):
    """A violation: why a plan is refused."""

    code: Annotated[str, Field(description="Code of the guard.", examples=["blast-radius"])]
    target: Annotated[str, Field(description="A cluster, or `cluster/node`.")]
    message: Annotated[str, Field(description="Target, number, limit and reason.")]
    remedy: Annotated[str, Field(description="What to do about it.")]
    hold: Annotated[
        bool,
        Field(description="Whether it only delays the change: it ends by itself or by an operator's order."),
    ]
    ends: NotRequired[
        Annotated[
            str, Field(description="When the hold ends by itself, in UTC; missing if that is not known.")
        ]
    ]


@with_config(EXTENSIBLE)
class PositionShape(TypedDict):
    """A position in a file."""

    file: Annotated[str, Field(description="Path of the file.")]
    line: Annotated[Whole, Field(description="From 1; 0 means the whole file.")]
    column: Annotated[Whole, Field(description="From 1; 0 means the whole file.")]


@with_config(EXTENSIBLE)
class ProblemShape(TypedDict):
    """A problem in the files of the desired state."""

    file: Annotated[str, Field(description="Path of the file.")]
    line: Annotated[Whole, Field(description="From 1; 0 means the whole file.")]
    column: Annotated[Whole, Field(description="From 1; 0 means the whole file.")]
    pointer: Annotated[str, Field(description="JSON pointer within the file.")]
    severity: Annotated[Severity, Field(description="How severe it is.")]
    code: Annotated[str, Field(description="Code for `reconcile explain`.")]
    message: Annotated[str, Field(description="What is wrong.")]
    remedy: Annotated[str, Field(description="What to do about it; may be empty.")]
    related: NotRequired[
        Annotated[
            list[PositionShape],
            Field(description="Further positions that the message mentions; missing if there are none."),
        ]
    ]


def to_plain_finding(finding: Diagnostic) -> FindingShape:
    """A finding as plain JSON."""
    # Plans have had these keys from the first version, and their digest covers them: so a position is part of
    # the message and has no key of its own.
    return {
        "severity": finding.severity,
        "code": finding.code,
        "target": finding.target,
        "message": bound_sentence(finding.located),
        "remedy": finding.remedy,
    }


def to_plain_violation(item: Diagnostic) -> ViolationShape:
    """A guard's violation as plain JSON."""
    plain: ViolationShape = {
        "code": item.code,
        "target": item.target,
        "message": item.message,
        "remedy": item.remedy,
        "hold": item.hold,
    }
    return {**plain, "ends": format_timestamp(item.ends)} if item.ends else plain


def to_plain_problem(problem: Diagnostic) -> ProblemShape:
    """A problem in a file, flat; lines and columns count from 1, 0 means the whole file."""
    found: ProblemShape = {
        "file": problem.position.file,
        "line": problem.position.line,
        "column": problem.position.column,
        "pointer": problem.pointer,
        "severity": problem.severity,
        "code": problem.code,
        "message": problem.message,
        "remedy": problem.remedy,
    }
    return {**found, "related": to_plain_related(problem)} if problem.related else found


def to_plain_related(problem: Diagnostic) -> list[PositionShape]:
    """The further positions that a problem mentions."""
    return [{"file": one.file, "line": one.line, "column": one.column} for one in problem.related]
