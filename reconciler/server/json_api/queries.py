"""Parameters of the reads of the API, bounded and checked."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final

from pydantic import BaseModel, ConfigDict, Field
from pydantic.types import Strict

from reconciler.core.selection import Selection
from reconciler.planning.node_conditions import NodeCondition
from reconciler.text.one_line import LONGEST_NAME

MOST_LISTED: Final = 1_000
"""Records of one answer at most."""

Word = Annotated[str, Field(max_length=LONGEST_NAME, pattern=r"^[^\x00-\x1f\x7f]*$")]
Choice = Annotated[str, Field(min_length=1, max_length=2 * LONGEST_NAME + 1, pattern=r"^[^\x00-\x1f\x7f]+$")]
Choices = Annotated[
    tuple[Choice, ...],
    Strict(False),
    Field(max_length=100, description="Cluster, node, CLUSTER/NODE, kind:KIND or LABEL=VALUE."),
]
Limit = Annotated[int, Strict(False), Field(ge=1, le=MOST_LISTED, description="Number of records at most.")]


class Query(BaseModel):
    """Parameters of a read; unknown ones are refused.

    `lists` are those that may be given more than once.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    lists: ClassVar[frozenset[str]] = frozenset()


class SelectionQuery(Query):
    """What a new reading is restricted to."""

    lists = frozenset({"only", "skip"})

    only: Choices = ()
    skip: Choices = ()

    @property
    def selection(self) -> Selection:
        """The selection; everything if no parameter is given."""
        return Selection(self.only, self.skip)


class HistoryQuery(Query):
    """What of the history is asked for."""

    limit: Limit = 20
    cluster: Annotated[Word, Field(description="Only what is about this cluster.")] = ""
    user: Annotated[Word, Field(description="Only what this person asked for.")] = ""
    since: Annotated[
        Word, Field(description="Only since then: 2h, 7d, today, or 2026-12-24T18:00 (UTC).")
    ] = ""


class RunsQuery(HistoryQuery):
    """Which runs are asked for."""

    before: Annotated[Word, Field(description="Id of a run: only older ones, for the next page.")] = ""


class PageQuery(Query):
    """A page of a list that is sorted by name."""

    limit: Limit = 100
    after: Annotated[Word, Field(description="A name: only later ones, for the next page.")] = ""
    search: Annotated[Word, Field(description="Part of the name, whatever its case.")] = ""


class NodesQuery(PageQuery):
    """Which nodes of a cluster are asked for."""

    state: Annotated[NodeCondition | None, Strict(False), Field(description="Only nodes in this state.")] = (
        None
    )
