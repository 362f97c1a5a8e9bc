"""Scenario files: what goes wrong in a simulated fleet while the reconciler runs, and what must hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationError, model_validator

from reconciler.core.fields import Flag, Number, Span, StrictModel, Whole
from reconciler.diagnostic import Diagnostic, Position, Severity
from reconciler.documents.document import Document, parse_document
from reconciler.documents.model_errors import find_model_errors, translate_model_errors
from reconciler.drivers.registry import DRIVERS, load_installed
from reconciler.errors import InputError
from reconciler.ports.simulator import FILES_KEPT
from reconciler.simulation.faults import FaultKind, FaultScope
from reconciler.simulation.products import list_simulated_kinds

SIGKILL: Final = "sigkill"
"""The one fault that is not of a node: the reconciler's own process is killed."""

_KINDS: Final = {kind.name: kind.value for kind in FaultKind}
What = StrEnum("What", {**_KINDS, "SIGKILL": SIGKILL})  # type: ignore[misc]
"""All faults of a scenario: those of simulated nodes, and the kill of the reconciler."""

ONCE: Final = "once"
NOTHING_LOST: Final = "nothing-lost"
HISTORY_TRUE: Final = "history-true"
IN_ORDER: Final = "offers-in-order"
MANAGEABLE: Final = "manageable"
CONVERGED: Final = "converged"


_SIMULATORS: Final = [DRIVERS[kind].simulator() for kind in list_simulated_kinds(load_installed())]

CLAIMS: Final[Mapping[str, str]] = {
    ONCE: "no change is sent twice, and no change is requested that is already done",
    NOTHING_LOST: "every change that reached a node is in the history, and every step has an outcome",
    HISTORY_TRUE: "the history of a step agrees with the node's own state",
    IN_ORDER: "each offer to a node has a later date than all before, and an intent in the history",
    FILES_KEPT: "no call loses lines of a file that are not ours, or leaves half a file",
    **{name: claim for one in _SIMULATORS if one for name, claim in one.invariants.items()},
    MANAGEABLE: "this host can still manage every node",
    CONVERGED: "after the faults end, the nodes become what the fleet file says",
}
"""Every invariant in one line, for the help and the report."""

Invariant = StrEnum(  # type: ignore[misc]
    "Invariant", {name.upper().replace("-", "_"): name for name in CLAIMS}
)
Invariant.__doc__ = "What has to hold in every schedule."


class FaultTime(StrictModel):
    """When a fault begins; one of these."""

    request: Annotated[Whole, Field(ge=1)] | None = Field(
        default=None, description="At this request to the node, counted from 1, reads included."
    )
    change: Annotated[Whole, Field(ge=1)] | None = Field(
        default=None, description="At this request to the node that changes something, counted from 1."
    )
    step: str | None = Field(
        default=None,
        description="When the intent of this step is written.",
        examples=["edge/edge-01/upload"],
    )
    journal: Annotated[Whole, Field(ge=1)] | Literal["every"] | None = Field(
        default=None,
        description="At this write of the journal, counted from 1; for sigkill also `every`.",
    )
    run: Annotated[Whole, Field(ge=1)] | None = Field(
        default=None, description="Before this run of the reconciler, counted from 1."
    )
    after: Span | None = Field(default=None, description="This long after the start.", examples=["5s"])

    to: str | None = Field(
        default=None,
        description="With `request` or `change`: the node or cluster whose requests count; "
        "default: that of the fault.",
    )

    @property
    def moment(self) -> tuple[str, Any]:
        """The one field that is set, and its value."""
        ((name, value),) = self.model_dump(exclude_none=True, exclude={"to"}).items()
        return name, value

    @model_validator(mode="after")
    def _check_one_moment(self) -> FaultTime:
        given = self.model_dump(exclude_none=True, exclude={"to"})
        if len(given) != 1 or (self.to and not {"request", "change"} & given.keys()):
            names = [name for name in type(self).model_fields if name != "to"]
            raise ValueError(f"it must be one of {', '.join(names)}, with `to` only for the first two")
        return self


class FaultEntry(StrictModel):
    """One thing that goes wrong."""

    fault: What = Field(description="What goes wrong.", examples=["lost", "stale", SIGKILL])
    node: str = Field(
        default="",
        description="A node, or a cluster for all of its nodes; default: a node drawn from the seed.",
    )
    at: FaultTime | None = Field(default=None, description="When it begins; default: before the first run.")
    argument: Number | None = Field(
        default=None, description="Seconds or an HTTP status, depending on the fault."
    )
    count: Annotated[Whole, Field(ge=1)] | None = Field(
        default=1, description="For how many requests; `null` for all until the faults end."
    )
    only: FaultScope | None = Field(default=None, description="Only for `reads`, or only for `changes`.")

    @property
    def kills(self) -> bool:
        """Whether it kills the reconciler."""
        return self.fault.value == SIGKILL

    @model_validator(mode="after")
    def _check_combination(self) -> FaultEntry:
        at = self.at or FaultTime(run=1)
        if self.kills and (self.node or at.to or not (at.journal or at.change)):
            raise ValueError("sigkill takes `at: {journal: …}` or `at: {change: …}`, and no node")
        if not self.kills and at.journal == "every":
            raise ValueError("`journal: every` is for sigkill alone")
        return self


DRAWN: Final = tuple(
    kind for kind in FaultKind if kind not in {FaultKind.STARTED, FaultKind.REJOINED, FaultKind.WORKS}
)
"""What the seed draws from unless the scenario says otherwise; the others are ends of faults."""


class RandomFaults(StrictModel):
    """Faults that the seed draws."""

    faults: Annotated[Whole, Field(ge=0, le=20)] = Field(default=3, description="The most faults.")
    kinds: Annotated[tuple[FaultKind, ...], Field(min_length=1)] = Field(
        default=DRAWN, description="Kinds of fault; default: all that fit the nodes."
    )
    kills: Annotated[Whole, Field(ge=0, le=5)] = Field(
        default=1, description="The most crashes of the reconciler, each at a write of its journal."
    )


class InitialState(StrictModel):
    """State of the nodes at the start."""

    fleet: str = Field(
        default="", description="Folder with the fleet file of the nodes before the trial; default: `fleet`."
    )
    converged: Flag = Field(
        default=False, description="Whether the nodes already are as that fleet file says."
    )
    fresh: tuple[str, ...] = Field(
        default=(), description="With `converged`: nodes that are new nevertheless."
    )
    down: tuple[str, ...] = Field(default=(), description="Nodes that are down during the whole trial.")


class Scenario(StrictModel):
    """A scenario file's top level."""

    name: str = Field(min_length=1, description="Title for the report.")
    seed: Annotated[Whole, Field(ge=0)] = Field(default=1, description="Seed of everything that is drawn.")
    fleet: str = Field(default=".", description="Folder with the fleet file, relative to this file.")
    before: InitialState = Field(default=InitialState(), description="State of the nodes at the start.")
    choices: tuple[str, ...] = Field(
        default=(), description="How nodes behave where their documents say nothing.", examples=["m2.late=3"]
    )
    faults: tuple[FaultEntry, ...] = Field(default=(), description="What goes wrong.")
    random: RandomFaults | None = Field(default=None, description="Further faults, drawn from the seed.")
    reruns: Annotated[Whole, Field(ge=0, le=20)] = Field(
        default=1, description="How often the reconciler runs again before the faults end."
    )
    invariants: Annotated[tuple[Invariant, ...], Field(min_length=1)] = Field(
        default=tuple(Invariant), description="Invariants to check; default: all."
    )

    @property
    def drawn(self) -> bool:
        """Whether the seed matters."""
        return self.random is not None or any(not entry.node and not entry.kills for entry in self.faults)

    @property
    def kills(self) -> tuple[FaultEntry, ...]:
        """The kills of the reconciler's process."""
        return tuple(entry for entry in self.faults if entry.kills)


@dataclass(frozen=True, slots=True)
class ScenarioFile:
    """A scenario and its file."""

    scenario: Scenario
    path: Path
    document: Document

    def folder(self, name: str) -> Path:
        """The path of a folder that the scenario names relative to its file."""
        return self.path.parent / name

    def wrong(self, pointer: str, message: str, remedy: str = "") -> InputError:
        """The error for a problem at a JSON pointer of the file."""
        where = self.document.position(pointer)
        return InputError(
            [Diagnostic(Severity.ERROR, "bad-scenario", message, remedy, position=where, pointer=pointer)]
        )


def read_scenario(path: Path) -> ScenarioFile:
    """The scenario in a file.

    Raises:
        InputError: it cannot be read, or is not a valid scenario; with every problem.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        message = f"cannot read the scenario: {error.strerror or error}"
        where = Position(str(path))
        raise InputError([Diagnostic(Severity.ERROR, "no-scenario", message, position=where)]) from error
    document = parse_document(str(path), data)
    try:
        scenario = Scenario.model_validate(document.value)
    except ValidationError as error:
        errors = find_model_errors(error, Scenario, document.value)
        raise InputError(translate_model_errors(errors, document, "")) from error
    scenario_file = ScenarioFile(scenario, path, document)
    # With sigkill the reconciler runs in real time in another process: drawn crashes, and faults at a step or
    # a write, need hooks in the process whose journal they watch.
    if scenario.kills and scenario.random is not None:
        message = "`random` draws crashes of the reconciler itself and cannot be combined with sigkill"
        raise scenario_file.wrong("/random", message)
    for index, entry in enumerate(scenario.faults if scenario.kills else ()):
        if not entry.kills and entry.at and (entry.at.step or entry.at.journal):
            message = (
                "in a scenario with sigkill, a node's fault begins with a request, a change, a run or a time"
            )
            raise scenario_file.wrong(f"/faults/{index}/at", message)
    return scenario_file
