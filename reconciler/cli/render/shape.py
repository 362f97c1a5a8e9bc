"""What plans and runs look like as JSON, as models: for the schema that programs read them by.

Keys may be added in a later version; none changes its meaning.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from reconciler.core.diff import Op
from reconciler.core.fields import Number, Whole
from reconciler.core.json_schema import Schema, Title, schema_of
from reconciler.core.outcome import State
from reconciler.core.plan import Effect, Risk
from reconciler.diagnostic import Severity


class Shape(BaseModel):
    """A part of the output."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)


class RevisionShape(Shape):
    """Which desired state."""

    source: str = Field(description="Where it came from.", examples=["https://git.example.com/fleet.git"])
    id: str = Field(description="In full: a commit, or a digest of the files.")
    short: str = Field(description="For people.", examples=["4be6bbe"])
    title: str = Field(description="The first line of the commit.")
    signer: str | None = Field(default=None, description="Who signed it; where signatures are asked for.")
    signed: str | None = Field(default=None, description="How that was checked.", examples=["ssh"])


class InverseShape(Shape):
    """How a step is undone."""

    words: str = Field(
        description="For people; for a step that cannot be undone it begins with `point of no return`."
    )
    action: str = Field(description="The verb that undoes it; empty for a point of no return.")
    arguments: dict[str, Any] = Field(description="What that verb needs; the product's own.")


class ChangeShape(Shape):
    """One place where what a node shows and what it is to have differ."""

    pointer: str = Field(description="JSON pointer.", examples=["/env/management/api/port"])
    op: Op = Field(description="What happens there.")
    old: Any = Field(description="What the node shows; secrets are masked.")
    new: Any = Field(description="What it is to have; secrets are masked.")


class StepShape(Shape):
    """One call, or one wait, on behalf of one node."""

    id: str = Field(
        description="Unique in the plan and the same in every run.", examples=["edge/edge-01/upload"]
    )
    cluster: str = Field(description="Its cluster.")
    node: str = Field(description="Its node.")
    action: str = Field(description="The product's verb.", examples=["upload", "register"])
    arguments: dict[str, Any] = Field(description="What the verb needs; the product's own.")
    reason: str = Field(description="Why it is planned.")
    effect: Effect = Field(description="What it does to a running node or cluster.")
    risk: Risk = Field(description="How bad it can turn out.")
    risk_reason: str = Field(description="Why.")
    needs: str = Field(description="What has to be true when it starts.")
    inverse: InverseShape = Field(description="How it is undone.")
    changes: list[ChangeShape] = Field(description="What changes on the node.")
    after: list[str] = Field(description="Ids of steps that must have succeeded before.")
    waits_for_person: bool = Field(description="Whether somebody has to act.")
    settle: Number = Field(description="Seconds within which its effect has to show.")
    wave: Whole | None = Field(default=None, description="Its wave, from 1; missing where there is one only.")


class FindingShape(Shape):
    """Something a person should know that is no step."""

    severity: Severity = Field(description="How much it weighs.")
    code: str = Field(description="What `reconcile explain` explains.", examples=["unreachable"])
    target: str = Field(description="A cluster, or `cluster/node`.")
    message: str = Field(description="What it is, one sentence.")
    remedy: str = Field(description="What to do about it; may be empty.")


class ClusterShape(Shape):
    """The plan of one cluster."""

    cluster: str = Field(description="Its name.")
    kind: str = Field(description="Its product.", examples=["m2", "sora"])
    nodes: Whole = Field(description="How many nodes are desired.")
    unchanged: Whole = Field(description="How many of them already are as desired.")
    concurrency: Whole = Field(description="How many steps may run at once.")
    steps: list[StepShape] = Field(description="What would be done, in this order.")
    findings: list[FindingShape] = Field(description="What a person should know.")


class PlanShape(Shape):
    """What one pass would do."""

    revision: RevisionShape = Field(description="What it was made from.")
    program: str = Field(description="Version of the program that made the plan.")
    clusters: list[ClusterShape] = Field(description="Every cluster, by name.")


class ViolationShape(Shape):
    """Why a plan is refused."""

    code: str = Field(description="The guard.", examples=["blast-radius"])
    target: str = Field(description="A cluster, or `cluster/node`.")
    message: str = Field(description="Target, number, limit and reason.")
    remedy: str = Field(description="What a person can do.")
    hold: bool = Field(description="Whether it says when, not whether: it ends by itself or by a word.")


class OverriddenShape(ViolationShape):
    """A violation that an override of the fleet file sets aside."""

    until: str = Field(description="The last day of the override.", examples=["2026-12-01"])
    reason: str = Field(description="Why it was overridden.")


class ProblemShape(Shape):
    """Something about the files of the desired state."""

    file: str = Field(description="Which file.")
    line: Whole = Field(description="From 1; 0 is the file as a whole.")
    column: Whole = Field(description="From 1; 0 is the file as a whole.")
    pointer: str = Field(description="JSON pointer within the file.")
    severity: Severity = Field(description="How much it weighs.")
    code: str = Field(description="What `reconcile explain` explains.")
    message: str = Field(description="What is wrong.")
    remedy: str = Field(description="What would be right; may be empty.")


class OutcomeShape(Shape):
    """What became of a step."""

    step: str = Field(description="Id of the step.")
    state: State = Field(description="How it ended.")
    reason: str = Field(description="Why, where it did not succeed.")
    seconds: Number = Field(description="How long it took.")
    waiting_for_restart: list[str] = Field(description="Fields that wait for a restart of the node.")


class ReportShape(Shape):
    """What became of a run."""

    run: str = Field(description="What `reconcile history` knows it by; empty where nothing was to do.")
    succeeded: bool = Field(description="Whether every step has its effect.")
    exit_status: Whole = Field(description="What the command ended with.", examples=[0, 5])
    outcomes: list[OutcomeShape] = Field(description="One for each step.")
    findings: list[FindingShape] = Field(description="What a person should know of the run.")


class Output(Shape):
    """What `--format json` prints."""

    digest: str = Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of the plan's canonical bytes.")
    plan: PlanShape = Field(description="What would be done.")
    violations: list[ViolationShape] = Field(description="Why it is refused; empty where it is not.")
    overridden: list[OverriddenShape] = Field(description="What overrides set aside.")
    warnings: list[ProblemShape] = Field(description="What is doubtful in the files.")
    report: ReportShape | None = Field(default=None, description="What was done; not in a dry run.")
    remaining: PlanShape | None = Field(
        default=None, description="What a second look would still plan; not in a dry run."
    )


PLAN: Final = Title(
    "plan",
    "Plan as JSON",
    "What `reconcile --dry-run --format json` prints, and with a report what a run does.",
)


def plan_schema() -> Schema:
    """The schema of what `--format json` prints."""
    return schema_of(Output, PLAN)
