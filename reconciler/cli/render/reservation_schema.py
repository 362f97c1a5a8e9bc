"""The shape of the answer of `reconcile allow-stop` in JSON, for scripts."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field, with_config
from typing_extensions import TypedDict

from reconciler.core.diagnostic_json import EXTENSIBLE, FindingShape
from reconciler.core.fields import Whole
from reconciler.core.json_schema import Schema, SchemaTitle, make_schema
from reconciler.core.reservations import StopAnswer


@with_config(EXTENSIBLE)
class AnswerShape(TypedDict):
    """The answer about one node; after `--release` without reasons, facts and findings."""

    cluster: Annotated[str, Field(description="Its cluster.")]
    node: Annotated[str, Field(description="The node.")]
    operation: Annotated[
        str, Field(description="Id of the record in the history; empty if a release found nothing.")
    ]
    until: Annotated[str | None, Field(description="End of the reservation of a yes; else null.")]
    released: Annotated[Whole, Field(description="Reservations that `--release` ended.")]
    answer: Annotated[StopAnswer | None, Field(description="The answer; null after `--release`.")]
    reasons: Annotated[list[str], Field(description="Why.")]
    facts: Annotated[list[str], Field(description="What whoever stops it should know.")]
    findings: Annotated[list[FindingShape], Field(description="Findings about the cluster.")]
    exit_status: Annotated[Whole, Field(description="Exit status of the command.", examples=[0, 6, 7])]


ALLOW_STOP_OUTPUT: Final = SchemaTitle(
    "allow-stop", "Answer whether a node may be stopped", "Output of `reconcile allow-stop --format json`."
)


def make_answer_schema() -> Schema:
    """The schema of the output of `--format json`."""
    return make_schema(AnswerShape, ALLOW_STOP_OUTPUT)
