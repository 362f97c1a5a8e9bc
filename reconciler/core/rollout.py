"""How a change goes through a cluster: waves, soak, health gates, and what a failed gate leads to."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from reconciler.core.fields import AMOUNT_FORM, Amount, Flag, Number, Span, StrictModel


class MetricGate(StrictModel):
    """One metric of changed nodes that may not be worse than that of unchanged ones."""

    name: str = Field(
        min_length=1,
        description="The metric's name as the node's `/metrics` has it; its labels are summed up.",
        examples=["m2_sys_setting_reload_total"],
    )
    compare: Literal["value", "rate"] = Field(
        default="rate", description="Its value after the soak, or how much it grew in a second of the soak."
    )
    factor: Annotated[Number, Field(ge=1, le=1000)] = Field(
        default=2, description="How many times the unchanged nodes' median is still good."
    )
    worse: Literal["higher", "lower"] = Field(default="higher", description="Which way is the bad one.")
    ignore: Annotated[Number, Field(ge=0)] = Field(
        default=0, description="Differences from the unchanged nodes up to this much never count."
    )


class ReportGate(StrictModel):
    """What changed nodes have to report by themselves, to this host, before the next wave."""

    listen: Annotated[str, Field(pattern=r"^(\[[0-9A-Fa-f:.]+\]|[^\s:\[\]]+):[0-9]{1,5}$")] = Field(
        description="`host:port` at which this host takes reports while a rollout goes on; the nodes' own "
        "settings name it as the URL of their heartbeat or feedback.",
        examples=["192.0.2.5:9600"],
    )
    heartbeat: Flag = Field(
        default=True,
        description="After the wave, each changed node has sent a heartbeat of what it was given.",
    )
    feedback: Flag = Field(
        default=False, description="Each changed node has reported `ok` for what it was given."
    )
    within: Span = Field(
        default=60, description="How long to wait for them after the soak.", examples=["45s"]
    )


class Gates(StrictModel):
    """What has to hold after each wave, before the next one begins."""

    read_back: Flag = Field(
        default=True, description="Every node of the wave still shows, after the soak, what was delivered."
    )
    metrics: tuple[MetricGate, ...] = Field(
        default=(), description="Metrics of changed nodes against those of unchanged ones."
    )
    reports: ReportGate | None = Field(default=None, description="What changed nodes report by themselves.")


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str | int | float) else value


Sizes = Annotated[
    tuple[Amount, ...],
    Field(min_length=1),
    BeforeValidator(_as_list),
    WithJsonSchema({"anyOf": [AMOUNT_FORM, {"type": "array", "items": AMOUNT_FORM, "minItems": 1}]}),
]


class Rollout(StrictModel):
    """The waves of a cluster; without this key a plan is applied in one go, as `concurrency` allows."""

    canary: Amount | None = Field(
        default=None, description="Nodes of the first wave, a number or a share of the nodes to change."
    )
    waves: Sizes = Field(
        default=("100%",),
        description="Nodes of each further wave, a number or a share of the nodes to change; of a list "
        "the last one holds for all waves that are left.",
        examples=["25%", ["1", "25%", "50%"]],
    )
    by: Literal["node", "domain"] = Field(
        default="node", description="`domain`: no wave has nodes of two failure domains."
    )
    soak: Span = Field(
        default=0, description="Time to wait after each wave before its gates.", examples=["5m"]
    )
    gates: Gates = Field(default_factory=Gates, description="What has to hold after each wave.")
    on_failure: Literal["stop", "return"] = Field(
        default="stop",
        description="`stop` leaves the failed wave as it is; `return` gives its nodes back what they had.",
    )


@dataclass(frozen=True, slots=True)
class RolloutProgress:
    """A rollout that has begun and not ended.

    Args:
        content: fingerprint of all that the cluster is to get, without the stamp of the revision: another
            revision with the same content is the same rollout.
        number: how many waves have begun.
        total: how many nodes the rollout set out to change; shares are of these.
        wave: ids of the steps of the wave that has not passed its gates yet; empty between two waves.
        passed: nodes of the waves that have.
        runs: the runs that sent something to the open wave, the oldest first.
        performed: when all of the open wave had its effect, as a stamp; empty before that.
    """

    content: str
    number: int
    total: int
    wave: tuple[str, ...] = ()
    passed: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    performed: str = ""

    @property
    def nodes(self) -> frozenset[str]:
        """The nodes of the open wave; a step's id is `cluster/node/action`."""
        return frozenset(name.split("/")[1] for name in self.wave if name.count("/") > 1)

    def plain(self) -> str:
        """The fact's text."""
        return json.dumps(asdict(self), sort_keys=True)


def rename_progress(progress: RolloutProgress, former: str, name: str) -> RolloutProgress:
    """The same progress of a cluster that has another name now."""
    start = f"{former}/"
    wave = tuple(
        f"{name}/{id_.removeprefix(start)}" if id_.startswith(start) else id_ for id_ in progress.wave
    )
    return replace(progress, wave=wave)


def load_progress(text: str) -> RolloutProgress | None:
    """The progress that a fact tells of; none where another version of this program wrote it."""
    try:
        value = json.loads(text)
        lists = {key: tuple(map(str, value[key])) for key in ("wave", "passed", "runs")}
        return RolloutProgress(**{**value, **lists})
    except (ValueError, TypeError, KeyError):
        return None
