"""The shape of operations in JSON, for other programs."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field, with_config
from typing_extensions import TypedDict

from reconciler.core.diagnostic_json import EXTENSIBLE, ViolationShape
from reconciler.core.fields import Number, Whole
from reconciler.core.json_schema import Schema, SchemaTitle, make_schema
from reconciler.core.operations import OperationState


@with_config(EXTENSIBLE)
class ActorShape(TypedDict):
    """Who asked for an operation."""

    user: Annotated[str, Field(description="User by the operating system; empty if it is not known.")]
    host: Annotated[str, Field(description="The machine of the caller.")]
    terminal: Annotated[str, Field(description="Of the caller; empty for none, as in a job.")]
    claim: Annotated[str, Field(description="On whose behalf, as the caller says; unchecked.")]
    why: Annotated[str, Field(description="The reason that the caller gives.")]


@with_config(EXTENSIBLE)
class OperationResultShape(TypedDict):
    """What one node reported."""

    node: Annotated[str, Field(description="Its node.")]
    state: Annotated[OperationState, Field(description="How far it is.")]
    reason: Annotated[str, Field(description="Why it failed; else empty.")]
    totals: Annotated[
        dict[str, Number], Field(description="Numbers that the node reported.", examples=[{"count": 3}])
    ]
    at: Annotated[str | None, Field(description="When this was known; null if nothing was sent.")]


@with_config(EXTENSIBLE)
class PlannedShape(TypedDict):
    """An operation on one cluster."""

    id: Annotated[str, Field(description="Its id; of one that is only planned, empty.")]
    kind: Annotated[str, Field(description="What it is.", examples=["purge"])]
    cluster: Annotated[str, Field(description="Its cluster.")]
    targets: Annotated[list[str], Field(description="What it is about.", examples=[["www.example.com/*"]])]
    actor: Annotated[ActorShape, Field(description="Who asked for it.")]
    at: Annotated[str, Field(description="When it was asked for.", examples=["2026-11-30T12:00:00.000000Z"])]
    deadline: Annotated[str, Field(description="When nodes without a result are overdue.")]
    direct: Annotated[bool, Field(description="Whether nodes that poll are called, too.")]
    waves: Annotated[list[list[str]], Field(description="Its nodes, in the order in which they get it.")]
    results: Annotated[list[OperationResultShape], Field(description="The state at each node.")]


@with_config(EXTENSIBLE)
class OperationShape(PlannedShape):
    """A recorded operation with its counts."""

    is_over: Annotated[bool, Field(description="Whether every node has a final state.")]
    counts: Annotated[dict[OperationState, Whole], Field(description="State -> number of nodes.")]
    totals: Annotated[dict[str, Number], Field(description="Sums of what nodes reported.")]


@with_config(EXTENSIBLE)
class OperationTargetShape(TypedDict):
    """A target of an operation."""

    target: Annotated[str, Field(description="The target.")]
    extent: Annotated[
        str, Field(description="How much it covers, if that is at least a whole host; else empty.")
    ]


@with_config(EXTENSIBLE)
class PlannedOperationShape(TypedDict):
    """What would be done on one cluster."""

    id: Annotated[str, Field(description="Id for an approval.")]
    operation: Annotated[PlannedShape, Field(description="The operation.")]
    remarks: Annotated[list[str], Field(description="What is odd about it.")]
    violations: Annotated[list[ViolationShape], Field(description="What holds it back.")]
    approved: Annotated[bool, Field(description="Whether somebody approved it.")]


@with_config(EXTENSIBLE)
class OperationPlanShape(TypedDict):
    """What an operation would do."""

    kind: Annotated[str, Field(description="What it is.", examples=["purge"])]
    targets: Annotated[list[OperationTargetShape], Field(description="What it is about.")]
    high_risk: Annotated[bool, Field(description="Whether a target covers at least a whole host.")]
    id: Annotated[str, Field(description="Id of the whole.")]
    clusters: Annotated[list[PlannedOperationShape], Field(description="Every cluster, by name.")]


@with_config(EXTENSIBLE)
class OperationsOutput(TypedDict):
    """The output of the command that asked for operations."""

    plan: Annotated[OperationPlanShape, Field(description="What was planned.")]
    operations: Annotated[list[OperationShape], Field(description="What was recorded.")]
    exit_status: Annotated[Whole, Field(description="Exit status of the command.", examples=[0, 5])]


OPERATIONS: Final = SchemaTitle(
    "operations",
    "Operations as JSON",
    "Output of `reconcile purge --format json`; a list is that of `reconcile history operations`.",
)


def make_operations_schema() -> Schema:
    """The schema of the output of `--format json`."""
    return make_schema(OperationsOutput | list[OperationShape], OPERATIONS)
