"""What a plan and a status say of pinned clusters, for terminals, Markdown and JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any

from pydantic import Field, with_config
from typing_extensions import TypedDict

from reconciler.core.diagnostic_json import EXTENSIBLE
from reconciler.core.pins import ROLLED_BACK, PinEffect, PinState
from reconciler.core.plan import Revision
from reconciler.diagnostic import Diagnostic
from reconciler.text.one_line import clean_line


@with_config(EXTENSIBLE)
class PinShape(TypedDict):
    """A cluster that stays at the revision to which it was rolled back."""

    cluster: Annotated[str, Field(description="Its cluster.")]
    effect: Annotated[
        PinEffect,
        Field(description="Whether the revision of the plan leaves it in force or ends it, or it begins."),
    ]
    revision: Annotated[str | None, Field(description="Id of the revision where it stays, if it is known.")]
    short: Annotated[str | None, Field(description="The same, for people.")]
    since: Annotated[str, Field(description="When it was rolled back, as ISO 8601 in UTC.")]
    by: Annotated[str, Field(description="Who rolled back.")]
    reason: Annotated[str, Field(description="Why; may be empty.")]
    rolled_back_from: Annotated[list[str], Field(description="Ids of the revisions that were left.")]
    obstacle: Annotated[
        str,
        Field(description="Why it cannot be compared with that revision; then nothing is sent to it."),
    ]


def to_plain_pin(state: PinState) -> PinShape:
    """A pin as plain JSON."""
    plain: Any = {**state.pin.plain(), "effect": state.effect, "obstacle": state.obstacle}
    return plain  # type: ignore[no-any-return]  # the keys of `Pin.plain` and these two


_HEADS = {PinEffect.BEGINS: "pins", PinEffect.HOLDS: "pinned", PinEffect.ENDS: "ends a pin"}


def describe_pin(state: PinState, revision: Revision) -> tuple[str, str]:
    """A sentence and a remedy about a pin.

    Args:
        state: what the revision means for it.
        revision: of the plan.
    """
    pin, cluster = state.pin, clean_line(state.pin.cluster)
    newest, known = clean_line(revision.short or revision.id), clean_line(pin.describe())
    ends = f"`reconcile unpin {cluster}` ends the pin, and so does a commit that changes what {cluster} gets"
    if state.effect is PinEffect.BEGINS:
        words = (
            f"this rollback pins {cluster} at {clean_line(pin.place)}: what it is rolled back from "
            f"({clean_line(pin.left_names)}) is not applied to it again, by the watch either"
        )
    elif state.effect is PinEffect.ENDS:
        words = f"{cluster} is pinned {known}; when revision {newest} is applied to it, that pin ends"
        ends = ""
    elif state.obstacle:
        words = f"{cluster} is pinned {known}; nothing is sent to it: {clean_line(state.obstacle)}"
    elif pin.revision is not None and pin.revision.id == revision.id:
        words = f"{cluster} is pinned {known}"
    else:
        words = f"{cluster} is pinned {known}; revision {newest} is not applied to it"
    return f"{_HEADS[state.effect]}: {words}", ends


def select_pins(states: Iterable[PinState], violations: Sequence[Diagnostic]) -> Iterator[PinState]:
    """The pins that are not told by a violation already."""
    told = {one.cluster for one in violations if one.code == ROLLED_BACK}
    return (state for state in states if state.pin.cluster not in told)
