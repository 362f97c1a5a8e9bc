"""A plan as data: frozen, ordered, serialisable, with a digest; apply takes it and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cache
from typing import Annotated, Any, NotRequired

from pydantic import Field, TypeAdapter, with_config
from typing_extensions import TypedDict

from reconciler.core.arguments import Arguments, RawArguments
from reconciler.core.canonical import encode_canonical, fingerprint
from reconciler.core.diagnostic_json import EXTENSIBLE, FindingShape, to_plain_finding
from reconciler.core.diff import Change, Op, limit_changes
from reconciler.core.fields import Number, Whole
from reconciler.core.secret import mask
from reconciler.diagnostic import Diagnostic
from reconciler.errors import SecretError
from reconciler.text.one_line import bound_sentence

IN_FLIGHT = 300.0
"""Seconds for which a call without an answer may still take effect, by default.

No product documents an upper bound, and a closed connection does not prove that the server stopped.
"""


UNDO = "/undo"
"""End of the id of a step that undoes another one; it follows that one's id."""


class Effect(StrEnum):
    """What a step does to a running node or cluster."""

    NONE = "none"
    HOT = "hot"
    RESTART = "restart"
    MEMBERSHIP = "membership"


class Risk(StrEnum):
    """How bad a step can turn out; `risk_reason` says why."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


@with_config(EXTENSIBLE)
class RevisionShape(TypedDict):
    """A revision of the desired state."""

    source: Annotated[str, Field(description="Its source.", examples=["https://git.example.com/fleet.git"])]
    id: Annotated[str, Field(description="Full id: a commit, or a digest of the files.")]
    short: Annotated[str, Field(description="Short id, for people.", examples=["4be6bbe"])]
    title: Annotated[str, Field(description="The first line of the commit message.")]
    signer: NotRequired[
        Annotated[str | None, Field(description="Who signed it; only if signatures are required.")]
    ]
    signed: NotRequired[Annotated[str | None, Field(description="Kind of the signature.", examples=["ssh"])]]


@with_config(EXTENSIBLE)
class InverseShape(TypedDict):
    """How a step is undone."""

    words: Annotated[
        str,
        Field(
            description="A sentence; for a step that cannot be undone it begins with `point of no return`."
        ),
    ]
    action: Annotated[str, Field(description="The action that undoes it; empty for a point of no return.")]
    arguments: Annotated[dict[str, Any], Field(description="Arguments of that action; product-specific.")]


@with_config(EXTENSIBLE)
class ChangeShape(TypedDict):
    """One place where observed and desired content of a node differ."""

    pointer: Annotated[str, Field(description="JSON pointer.", examples=["/env/management/api/port"])]
    op: Annotated[Op, Field(description="Kind of the change.")]
    old: Annotated[Any, Field(description="Observed value; secrets are masked.")]
    new: Annotated[Any, Field(description="Desired value; secrets are masked.")]


@with_config(EXTENSIBLE)
class StepShape(TypedDict):
    """One call, or one wait, for one node."""

    id: Annotated[
        str,
        Field(description="Unique in the plan and the same in every run.", examples=["edge/edge-01/upload"]),
    ]
    cluster: Annotated[str, Field(description="Its cluster.")]
    node: Annotated[str, Field(description="Its node.")]
    action: Annotated[str, Field(description="The product's action.", examples=["upload", "register"])]
    arguments: Annotated[dict[str, Any], Field(description="Arguments of the action; product-specific.")]
    reason: Annotated[str, Field(description="Why it is planned.")]
    effect: Annotated[Effect, Field(description="What it does to a running node or cluster.")]
    risk: Annotated[Risk, Field(description="How bad it can turn out.")]
    risk_reason: Annotated[str, Field(description="Why it has this risk.")]
    needs: Annotated[str, Field(description="What must be true when it starts.")]
    inverse: Annotated[InverseShape, Field(description="How it is undone.")]
    changes: Annotated[list[ChangeShape], Field(description="What changes on the node.")]
    after: Annotated[list[str], Field(description="Ids of steps that must succeed before it.")]
    waits_for_person: Annotated[bool, Field(description="Whether an operator has to act.")]
    settle: Annotated[Number, Field(description="Seconds in which its effect must become visible.")]
    wave: NotRequired[
        Annotated[Whole | None, Field(description="Its wave, from 1; missing if there is only one.")]
    ]
    in_flight: NotRequired[
        Annotated[
            Number,
            Field(
                description="Seconds for which a call without an answer may still take effect; missing if it "
                "is the default."
            ),
        ]
    ]


@with_config(EXTENSIBLE)
class ClusterShape(TypedDict):
    """The plan of one cluster."""

    cluster: Annotated[str, Field(description="Its name.")]
    kind: Annotated[str, Field(description="Its product.", examples=["m2", "sora"])]
    nodes: Annotated[Whole, Field(description="How many nodes are desired.")]
    unchanged: Annotated[Whole, Field(description="How many of them are as desired already.")]
    left_out: NotRequired[
        Annotated[
            Whole,
            Field(
                description="How many nodes were not looked at, because of --only or --skip; else missing."
            ),
        ]
    ]
    concurrency: Annotated[Whole, Field(description="How many steps may run at the same time.")]
    steps: Annotated[list[StepShape], Field(description="The steps, in order.")]
    findings: Annotated[list[FindingShape], Field(description="Findings about the cluster and its nodes.")]
    made_as: NotRequired[
        Annotated[str, Field(description="Id of the plan in a plan file, if this is the rest of that plan.")]
    ]
    revision: NotRequired[
        Annotated[
            RevisionShape,
            Field(description="Its own revision, if it is pinned to another one than that of the plan."),
        ]
    ]


@with_config(EXTENSIBLE)
class PlanShape(TypedDict):
    """What one pass would do."""

    revision: Annotated[RevisionShape, Field(description="The revision that it was made from.")]
    program: Annotated[str, Field(description="Version of the program that made the plan.")]
    clusters: Annotated[list[ClusterShape], Field(description="Every cluster, by name.")]


@dataclass(frozen=True, slots=True)
class Inverse:
    """How a step is undone.

    Args:
        words: one sentence; for a step that cannot be undone it begins with "point of no return".
        action: the product's action that undoes it, empty for a point of no return.
        arguments: of that action, plain.
    """

    words: str
    action: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "words", bound_sentence(self.words))

    @property
    def final(self) -> bool:
        """Whether the step cannot be undone."""
        return self.words.lower().startswith("point of no return")


@dataclass(frozen=True, slots=True)
class Step:
    """One call, or one wait, for one node.

    Args:
        id: unique in the plan and the same in every run: `cluster/node/action`, for a step about one of
            several files `cluster/node/action/entry`.
        action: the product's action: `upload`, `checkout`, `register`, `purge`, `wait` …
        arguments: all that the driver needs to perform and to judge it, of the product's own type.
        reason: why it is planned, one sentence.
        needs: what must be true when it starts, for people; the driver's own form is in `arguments`.
        changes: what differs, for people: bounded in number and size, see `diff.limit_changes`.
        after: ids of steps that must succeed before it.
        is_manual: the step is no call; it succeeds when a reading shows that an operator has acted.
        settle: seconds in which the effect must become visible in the nodes' answers.
        in_flight: seconds after the intent for which a call without an answer may still take effect.
        wave: its wave, from 1; 0 if all steps are one wave.
    """

    id: str
    cluster: str
    node: str
    action: str
    arguments: Arguments
    reason: str
    effect: Effect
    risk: Risk
    risk_reason: str
    needs: str
    inverse: Inverse
    changes: tuple[Change, ...] = ()
    after: tuple[str, ...] = ()
    is_manual: bool = False
    settle: float = 10.0
    wave: int = 0
    in_flight: float = IN_FLIGHT

    def __post_init__(self) -> None:
        for name in ("reason", "risk_reason", "needs"):
            object.__setattr__(self, name, bound_sentence(getattr(self, name)))
        object.__setattr__(self, "changes", limit_changes(self.changes))

    @property
    def payload(self) -> str:
        """Digest of the payload that it delivers; empty for none."""
        return self.arguments.payload_digest

    @property
    def is_undo(self) -> bool:
        """Whether it undoes a step of another run."""
        return self.id.endswith(UNDO)

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes that it concerns, its own first."""
        return (self.node, *(name for name in self.arguments.named_nodes if name != self.node))

    def plain(self) -> StepShape:
        """The step as plain JSON, secrets masked; `wave` and `in_flight` only if they are not the default."""
        found: StepShape = {
            "id": self.id,
            "cluster": self.cluster,
            "node": self.node,
            "action": self.action,
            "reason": self.reason,
            "effect": self.effect,
            "risk": self.risk,
            "risk_reason": self.risk_reason,
            "needs": self.needs,
            # Older than the name of the field: the key is part of each plan's id, to which approvals refer.
            "waits_for_person": self.is_manual,
            "settle": self.settle,
            "arguments": mask(self.arguments.plain()),
            "inverse": {
                "words": self.inverse.words,
                "action": self.inverse.action,
                "arguments": mask(self.inverse.arguments),
            },
            "changes": [
                {"pointer": each.pointer, "op": each.op, "old": mask(each.old), "new": mask(each.new)}
                for each in self.changes
            ],
            "after": list(self.after),
        }
        # The digest covers these keys: without them, a plan keeps its digest and approval of older versions.
        if self.wave:
            found["wave"] = self.wave
        if self.in_flight != IN_FLIGHT:
            found["in_flight"] = self.in_flight
        return found


@dataclass(frozen=True, slots=True)
class Payload:
    """The content of an upload; output has only its digest.

    Args:
        document: the JSON document; may hold `Secret` values.
        resources: path in the package -> bytes.
        missing: name of a secret in it that is not known here -> why; such a payload is never sent.
    """

    document: Any
    resources: Mapping[str, bytes] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)


def refuse_missing_secrets(payload: Payload) -> None:
    """Check that a payload may be sent.

    Raises:
        SecretError: a secret in it is not known here.
    """
    # The placeholder would overwrite the secret that the node has.
    for name, why in payload.missing.items():
        raise SecretError(f"the secret {name} is not known here: {why}")


@dataclass(frozen=True, slots=True)
class ClusterPlan:
    """The steps of one cluster, in an order that respects `after`.

    Args:
        nodes: how many nodes the desired state names.
        unchanged: how many of them are as desired already.
        concurrency: how many steps of this cluster may run at the same time.
        payloads: digest -> payload of the steps; not part of the plan's bytes.
        made_as: id of the plan in a plan file, if this is the rest of that plan; else empty.
        left_out: how many of the nodes were not looked at, because the command was restricted to others.
        revision: of its desired state, if the cluster is pinned to another one than the plan's; else None.
    """

    cluster: str
    kind: str
    nodes: int
    unchanged: int
    steps: tuple[Step, ...] = ()
    findings: tuple[Diagnostic, ...] = ()
    concurrency: int = 1
    payloads: Mapping[str, Payload] = field(default_factory=dict, compare=False)
    made_as: str = ""
    left_out: int = 0
    revision: Revision | None = None

    @property
    def seen(self) -> int:
        """How many of its nodes the plan is about."""
        return self.nodes - self.left_out

    def plain(self) -> ClusterShape:
        """The cluster's plan as plain JSON; `made_as` and `revision` only if they say something."""
        found: ClusterShape = {
            "cluster": self.cluster,
            "kind": self.kind,
            "nodes": self.nodes,
            "unchanged": self.unchanged,
            "concurrency": self.concurrency,
            "steps": [step.plain() for step in self.steps],
            "findings": [to_plain_finding(finding) for finding in self.findings],
        }
        # The digest covers these keys: without them, a plan keeps its digest and approval of older versions.
        if self.left_out:
            found["left_out"] = self.left_out
        if self.made_as:
            found["made_as"] = self.made_as
        if self.revision is not None:
            found["revision"] = self.revision.plain()
        return found


@dataclass(frozen=True, slots=True)
class Revision:
    """A revision of the desired state: full `id`, `short` for people, `title` the first line of the message.

    Args:
        signer: who signed it, for people; empty if no signature was required.
        signed: kind of the signature that was checked, `gpg` or `ssh`; empty if none was.
    """

    source: str
    id: str
    short: str
    title: str = ""
    signer: str = ""
    signed: str = ""

    def __post_init__(self) -> None:
        # Paths and commits may hold bytes that are not Unicode, which store, metrics and JSON refuse.
        for name in self.__dataclass_fields__:
            text = getattr(self, name)
            if not text.isascii():
                object.__setattr__(self, name, text.encode("utf-8", "backslashreplace").decode())

    def plain(self) -> RevisionShape:
        """The revision as plain JSON; without the keys of a signature if none was checked."""
        found: RevisionShape = {
            "source": self.source,
            "id": self.id,
            "short": self.short,
            "title": self.title,
        }
        return {**found, "signer": self.signer, "signed": self.signed} if self.signed else found


@dataclass(frozen=True, slots=True)
class Plan:
    """What one pass would do, for all clusters, sorted by name."""

    revision: Revision
    program: str
    clusters: tuple[ClusterPlan, ...]

    def steps(self) -> Iterator[Step]:
        """All steps of all clusters."""
        for cluster in self.clusters:
            yield from cluster.steps

    def findings(self) -> Iterator[Diagnostic]:
        """All findings of all clusters."""
        for cluster in self.clusters:
            yield from cluster.findings

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not any(cluster.steps for cluster in self.clusters)

    def plain(self) -> PlanShape:
        """The plan as plain JSON with secrets masked and payloads left out; `load_plan` is its inverse."""
        return {
            "revision": self.revision.plain(),
            "program": self.program,
            "clusters": [cluster.plain() for cluster in self.clusters],
        }

    def encode(self) -> bytes:
        """The plan's canonical bytes: the same inputs give the same bytes."""
        return encode_canonical(self.plain())

    @property
    def digest(self) -> str:
        """SHA-256 over the canonical bytes, in hexadecimal."""
        return fingerprint(self.plain())

    @property
    def ids(self) -> dict[str, str]:
        """Cluster -> the id of its plan, for people; a plan of several clusters has no id."""
        return {
            own.cluster: own.made_as or compute_plan_id(own, self.revision, self.program)
            for own in self.clusters
        }


def compute_plan_id(plan: ClusterPlan, revision: Revision, program: str) -> str:
    """The id of one cluster's plan: what an approval is bound to.

    It is a digest of the plan of this cluster alone, so that it is the same in a run over all clusters, over
    this one, and in the watch.
    """
    # Without source and signer: the check of a pull request reads another clone and checks no signature, and
    # its id has to be the one that the host asks an approval for.
    bare = replace(plan.revision or revision, source="", signer="", signed="")
    return Plan(bare, program, (replace(plan, revision=None),)).digest


def restore_exact_arguments(plan: Plan, exact: Mapping[str, Mapping[str, Any]]) -> Plan:
    """A plan that was read back, with the values that are masked in the plain form of its steps.

    Args:
        plan: from `load_plan`.
        exact: step -> its arguments' `exact`.
    """

    def restore(step: Step) -> Step:
        if step.id not in exact:
            return step
        return replace(step, arguments=RawArguments({**step.arguments.plain(), **exact[step.id]}))

    clusters = (replace(own, steps=tuple(map(restore, own.steps))) for own in plan.clusters)
    return replace(plan, clusters=tuple(clusters))


def load_plan(value: Mapping[str, Any]) -> Plan:
    """The plan written by `Plan.plain`, without payloads: from the journal, or from a plan file.

    Raises:
        pydantic.ValidationError: it is not a plan.
    """
    return _reader().validate_python(value)


@cache
def _reader() -> TypeAdapter[Plan]:
    return TypeAdapter(Plan)


def list_earlier_steps(step: Step, steps: Iterable[Step]) -> tuple[Step, ...]:
    """The steps of the same node that have to succeed before a step, near and far, in the given order."""
    steps = tuple(steps)
    by_id = {one.id: one for one in steps}
    found: set[str] = set()
    queue = list(step.after)
    while queue:
        name = queue.pop()
        if name in by_id and name not in found:
            found.add(name)
            queue += by_id[name].after
    return tuple(one for one in steps if one.id in found and one.node == step.node)
