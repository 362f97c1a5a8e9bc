"""How a cluster is changed in waves: sizes, soak, gates, what follows a failed gate, and stored progress."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from reconciler.core.fields import WAVE_FORM, Amount, Flag, Number, Span, StrictModel, WaveSize
from reconciler.core.plan import Revision


class MetricGate(StrictModel):
    """One metric that must not be worse on changed nodes than on unchanged ones."""

    name: str = Field(
        min_length=1,
        description="Name of the metric in the node's `/metrics`; the values of all labels are added.",
        examples=["m2_sys_setting_reload_total"],
    )
    compare: Literal["value", "rate"] = Field(
        default="rate",
        description="`value`: its value after the soak; `rate`: its growth per second of the soak.",
    )
    factor: Annotated[Number, Field(ge=1, le=1000)] = Field(
        default=2, description="Allowed factor between a changed node and the median of the unchanged nodes."
    )
    worse: Literal["higher", "lower"] = Field(
        default="higher", description="Whether higher or lower values are worse."
    )
    ignore: Annotated[Number, Field(ge=0)] = Field(
        default=0, description="Differences from the unchanged nodes up to this value are ignored."
    )


class ReportGate(StrictModel):
    """What changed nodes have to report to the node server of this host before the next wave."""

    heartbeat: Flag = Field(
        default=True,
        description="Each changed node must send a heartbeat with its new version after the wave.",
    )
    feedback: Flag = Field(
        default=False, description="Each changed node must report `ok` for its new content."
    )
    within: Span = Field(
        default=60, description="How long to wait for them after the soak.", examples=["45s"]
    )


class Gates(StrictModel):
    """Conditions after each wave, before the next one starts."""

    read_back: Flag = Field(
        default=True, description="Every node of the wave must still show its new content after the soak."
    )
    metrics: tuple[MetricGate, ...] = Field(
        default=(), description="Metrics of changed nodes, compared with those of unchanged nodes."
    )
    reports: ReportGate | None = Field(default=None, description="Reports that changed nodes must send.")


Sizes = Annotated[
    tuple[WaveSize, ...],
    Field(min_length=1),
    BeforeValidator(lambda value: [value] if isinstance(value, str | int | float) else value),
    WithJsonSchema({"anyOf": [WAVE_FORM, {"type": "array", "items": WAVE_FORM, "minItems": 1}]}),
]


class Rollout(StrictModel):
    """The waves of a cluster; without this key a plan is applied without waves, as `concurrency` allows."""

    canary: WaveSize | None = Field(
        default=None,
        description="Nodes of the first wave, as a number or a percentage of the nodes to change.",
    )
    waves: Sizes = Field(
        default=("100%",),
        description="Nodes of each further wave, as a number or a percentage of the nodes to change; the "
        "last item of a list applies to all remaining waves.",
        examples=["25%", ["1", "25%", "50%"]],
    )
    by: Literal["node", "domain"] = Field(
        default="node", description="`domain`: each wave has nodes of only one failure domain."
    )
    soak: Span = Field(
        default=0, description="Time to wait after each wave before its gates.", examples=["5m"]
    )
    gates: Gates = Field(default_factory=Gates, description="Conditions after each wave.")
    max_unknown: Amount = Field(
        default="0",
        description="Nodes of a wave that may be overdue or not heard, as a number or a percentage, while "
        "the wave still passes; for nodes that poll. By default, a wave waits for each of its nodes.",
    )
    on_failure: Literal["stop", "return"] = Field(
        default="stop", description="`stop` keeps the failed wave; `return` undoes it."
    )


@dataclass(frozen=True, slots=True)
class RolloutProgress:
    """A rollout that has started and not ended.

    Args:
        content: fingerprint of the cluster's desired content, without the stamp of the revision: another
            revision with the same content is the same rollout.
        number: how many waves have started.
        total: how many nodes the rollout changes in all; percentages are of these.
        wave: ids of the steps of the wave that has not passed its gates yet; empty between two waves.
        passed: nodes of the waves that have passed.
        runs: the runs that sent something to the open wave, the oldest first.
        performed: when the effect of the whole open wave was visible, as a timestamp; empty before that.
        begun: when the open wave was begun, as a timestamp.
        approved: ids of the steps that an approval allowed, which is for all runs of the rollout.
        digests: node -> short keyed fingerprint of its content; empty if the product gives none.
    """

    content: str
    number: int
    total: int
    wave: tuple[str, ...] = ()
    passed: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    performed: str = ""
    begun: str = ""
    approved: tuple[str, ...] = ()
    digests: Mapping[str, str] = field(default_factory=dict)

    @property
    def nodes(self) -> frozenset[str]:
        """The nodes of the open wave; a step's id is `cluster/node/action`."""
        return frozenset(filter(None, map(_get_node, self.wave)))

    def plain(self) -> str:
        """The fact's text."""
        return json.dumps({one.name: getattr(self, one.name) for one in fields(self)}, sort_keys=True)


def continue_rollout(
    progress: RolloutProgress, content: str, digests: Mapping[str, str], members: AbstractSet[str]
) -> RolloutProgress | None:
    """The rollout with the members that the cluster has now; None if the content is another one.

    It is the same rollout as long as no node that stays is to get other content: nodes that join come in its
    further waves, and nodes that leave drop out of its counts.

    Args:
        progress: as stored.
        content: fingerprint of the cluster's desired content now.
        digests: node -> fingerprint of its content now.
        members: all nodes of the cluster now.
    """
    if progress.content == content:
        return progress
    stays = progress.digests.keys() & digests.keys()
    if not stays or any(progress.digests[node] != digests[node] for node in stays):
        return None
    joined, left = digests.keys() - progress.digests.keys(), progress.digests.keys() - digests.keys()
    return replace(
        progress,
        content=content,
        # At least one: percentages of the waves are of this number.
        total=max(1, progress.total + len(joined) - len(left)),
        wave=tuple(name for name in progress.wave if _get_node(name) in members),
        passed=tuple(node for node in progress.passed if node in members),
        digests=dict(digests),
    )


def _get_node(step: str) -> str:
    return step.split("/")[1] if step.count("/") > 1 else ""


def rename_progress(progress: RolloutProgress, former: str, name: str) -> RolloutProgress:
    """The same progress, of a cluster that has another name now."""
    start = f"{former}/"
    wave = tuple(
        f"{name}/{id_.removeprefix(start)}" if id_.startswith(start) else id_ for id_ in progress.wave
    )
    approved = tuple(
        f"{name}/{id_.removeprefix(start)}" if id_.startswith(start) else id_ for id_ in progress.approved
    )
    return replace(progress, wave=wave, approved=approved)


def load_progress(text: str) -> RolloutProgress | None:
    """The progress in a fact; None if another version of this program wrote it."""
    try:
        value = json.loads(text)
        lists = {key: tuple(map(str, value[key])) for key in ("wave", "passed", "runs")}
        lists["approved"] = tuple(map(str, value.get("approved", ())))
        return RolloutProgress(**{**value, **lists})
    except (ValueError, TypeError, KeyError):
        return None


@dataclass(frozen=True, slots=True)
class PendingReturn:
    """What is still to do for the offers of a failed wave; stored together with its rejection.

    Args:
        run: that rejected the revision.
        revision: that was rejected.
        offers: node -> ids of the wave's offers to it, taken or not.
        goes_back: whether nodes that took their offer are offered what they had before; otherwise offers that
            were not taken are withdrawn, and that is all.
    """

    run: str
    revision: Revision
    offers: Mapping[str, tuple[str, ...]]
    goes_back: bool = False

    def plain(self) -> str:
        """The fact's text."""
        value = {one.name: getattr(self, one.name) for one in fields(self)}
        return json.dumps({**value, "revision": self.revision.plain()}, sort_keys=True)


def format_returns(pending: Sequence[PendingReturn]) -> str:
    """The text of the fact with what is still to do for the offers of failed waves; empty for nothing."""
    return f"[{', '.join(one.plain() for one in pending)}]" if pending else ""


def load_returns(text: str) -> tuple[PendingReturn, ...]:
    """What is to do by a fact, oldest first; empty if this version cannot read it."""
    try:
        found = json.loads(text)
        # A state from before a second wave could wait has that of one wave alone.
        return tuple(_load_return(one) for one in ([found] if isinstance(found, dict) else found))
    except (ValueError, TypeError, KeyError, AttributeError):
        return ()


def replace_return(
    known: Sequence[PendingReturn], run: str, pending: PendingReturn | None
) -> tuple[PendingReturn, ...]:
    """What is to do, with the part of one run replaced; None if all of that is done."""
    others = [one for one in known if one.run != run]
    place = next((index for index, one in enumerate(known) if one.run == run), len(others))
    return (*others[:place], *([pending] if pending else []), *others[place:])


def _load_return(value: Mapping[str, Any]) -> PendingReturn:
    offers = {str(node): tuple(map(str, ids)) for node, ids in value["offers"].items()}
    return PendingReturn(**{**value, "offers": offers, "revision": Revision(**value["revision"])})
