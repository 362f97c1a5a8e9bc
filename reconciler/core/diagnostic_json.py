"""A diagnostic as plain JSON: in a plan and its report, as a guard's verdict, and as a problem of a file."""

from __future__ import annotations

from typing import Annotated, Final, NotRequired

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from reconciler.core.fields import Whole
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.text.one_line import bound_sentence

EXTENSIBLE: Final = ConfigDict(extra="allow", strict=True)
"""Of the plain forms: keys may be added in a later version, and none changes its meaning."""


@with_config(EXTENSIBLE)
class FindingShape(TypedDict):
    """Something a person should know that is no step."""

    severity: Annotated[Severity, Field(description="How much it weighs.")]
    code: Annotated[str, Field(description="What `reconcile explain` explains.", examples=["unreachable"])]
    target: Annotated[str, Field(description="A cluster, or `cluster/node`.")]
    message: Annotated[str, Field(description="What it is, one sentence.")]
    remedy: Annotated[str, Field(description="What to do about it; may be empty.")]


@with_config(EXTENSIBLE)
class ViolationShape(TypedDict):
    """Why a plan is refused."""

    code: Annotated[str, Field(description="The guard.", examples=["blast-radius"])]
    target: Annotated[str, Field(description="A cluster, or `cluster/node`.")]
    message: Annotated[str, Field(description="Target, number, limit and reason.")]
    remedy: Annotated[str, Field(description="What a person can do.")]
    hold: Annotated[
        bool, Field(description="Whether it says when, not whether: it ends by itself or by a word.")
    ]


@with_config(EXTENSIBLE)
class PositionShape(TypedDict):
    """A place in a file."""

    file: Annotated[str, Field(description="Which file.")]
    line: Annotated[Whole, Field(description="From 1; 0 is the file as a whole.")]
    column: Annotated[Whole, Field(description="From 1; 0 is the file as a whole.")]


@with_config(EXTENSIBLE)
class ProblemShape(TypedDict):
    """Something about the files of the desired state."""

    file: Annotated[str, Field(description="Which file.")]
    line: Annotated[Whole, Field(description="From 1; 0 is the file as a whole.")]
    column: Annotated[Whole, Field(description="From 1; 0 is the file as a whole.")]
    pointer: Annotated[str, Field(description="JSON pointer within the file.")]
    severity: Annotated[Severity, Field(description="How much it weighs.")]
    code: Annotated[str, Field(description="What `reconcile explain` explains.")]
    message: Annotated[str, Field(description="What is wrong.")]
    remedy: Annotated[str, Field(description="What would be right; may be empty.")]
    related: NotRequired[
        Annotated[
            list[PositionShape],
            Field(description="Further places that the message speaks of; missing where there are none."),
        ]
    ]


def to_plain_finding(finding: Diagnostic) -> FindingShape:
    """A finding as plans have always held it: the digest is over these keys, so a position is in the text."""
    return {
        "severity": finding.severity,
        "code": finding.code,
        "target": finding.target,
        "message": bound_sentence(finding.located),
        "remedy": finding.remedy,
    }


def to_plain_violation(item: Diagnostic) -> ViolationShape:
    """What a guard found, as programs read it."""
    return {
        "code": item.code,
        "target": item.target,
        "message": item.message,
        "remedy": item.remedy,
        "hold": item.hold,
    }


def to_plain_problem(problem: Diagnostic) -> ProblemShape:
    """A problem of a file, flat; lines and columns count from 1, 0 means the file as a whole."""
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
    """The further places that a problem speaks of."""
    return [{"file": one.file, "line": one.line, "column": one.column} for one in problem.related]
