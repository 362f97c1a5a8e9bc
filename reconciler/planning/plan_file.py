"""The plan file: a plan with all that it was made from, so that exactly it is applied later, or nothing.

It is written from a survey, and held against a fresh one before it is applied.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints, ValidationError

from reconciler import __version__
from reconciler.core.canonical import fingerprint
from reconciler.core.fields import Flag, StrictModel, require_whole_number
from reconciler.core.guard import GuardContext
from reconciler.core.plan import (
    ClusterPlan,
    Effect,
    Plan,
    Revision,
    Step,
    StepShape,
    compute_plan_id,
    load_plan,
)
from reconciler.core.waves import assign_waves
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.documents.model_errors import describe_first_error
from reconciler.errors import UnreadableArguments, UsageError, WorldChanged
from reconciler.guards import change_control
from reconciler.planning.plan_pass import Drivers, PlanResult, judge_plans
from reconciler.ports.driver import Driver
from reconciler.ports.source import Snapshot, SourceFiles
from reconciler.secrets.redaction import mask_content
from reconciler.text.one_line import make_one_line

EDITED = "plan-edited"
"""Code of a file that is not as it was written."""

OUTDATED = "plan-outdated"
"""Code of a file that does not fit the source, its signature or this program any more."""

CHANGED = "changed-since"
"""Code of what is said of a node that is no longer as it was when the plan was made."""

_AGAIN = "make a plan anew with `reconcile --dry-run --out FILE`"
_SHOWN = 3

_PRINT = r"^(present [0-9a-f]{64}|stale [0-9a-f]{64}|absent|unauthorized|unidentified|unreachable)$"

Print = Annotated[str, StringConstraints(pattern=_PRINT)]
"""What a node answered, as `core.observation_digests` writes it."""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""A digest in hexadecimal."""


class PlanOrigin(StrictModel):
    """Where the desired state was read, as the command line said it; nothing secret is in it."""

    source: str = Field(
        description="Folder, git repository or tarball; without user, password and query. It tells people "
        "where the plan was made: `reconcile apply` reads from the host's own source."
    )
    ref: str = Field(default="", description="The branch, tag or commit that was asked for.")
    path: str = Field(default="", description="The folder within the source.")
    only: str = Field(default="", description="The one cluster or node that was planned; empty for all.")
    whole: Flag = Field(default=True, description="Whether `source` is all of the address that was given.")


class PlanFile(StrictModel):
    """A plan file of version 1."""

    format: Literal["reconcile-plan"] = Field(
        default="reconcile-plan", description="Tells what this file is."
    )
    version: Annotated[Literal[1], BeforeValidator(require_whole_number)] = Field(
        default=1, description="Version of this form."
    )
    made: str = Field(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$",
        description="When the nodes were read, in UTC.",
    )
    origin: PlanOrigin = Field(description="Where the desired state was read.")
    files: dict[str, Sha256] = Field(
        description="Path -> SHA-256 of every file that the desired state is made of; what looks like a "
        "secret in clear counts as a mask in it."
    )
    observed: dict[str, dict[str, Print]] = Field(
        description="Cluster -> node -> what it answered: `present` or `stale` with a SHA-256 of what it "
        "showed, in which secrets do not count, or `absent`, `unauthorized`, `unidentified`, `unreachable`."
    )
    plan: dict[str, Any] = Field(
        description="The plan: its revision with the signer, the program's version, and the steps. Secrets "
        "are masked; what is sent to a node is made again from the revision."
    )
    digest: str = Field(
        default="",
        pattern=r"^([0-9a-f]{64})?$",
        description="SHA-256 over all the rest: a changed file is refused.",
    )

    def sealed(self) -> PlanFile:
        """The same file with its digest."""
        return self.model_copy(update={"digest": self.own_digest()})

    def own_digest(self) -> str:
        """SHA-256 of the canonical bytes of everything but `digest`."""
        return fingerprint(self.model_dump(mode="json", exclude={"digest"}))

    def written(self) -> bytes:
        """The file's bytes: indented JSON."""
        plain = self.model_dump(mode="json")
        return (json.dumps(plain, indent=2, ensure_ascii=True) + "\n").encode()

    def loaded(self) -> Plan:
        """The plan, without payloads.

        Raises:
            UsageError: it is none, though its digest fits.
        """
        try:
            plan = load_plan(self.plan)
        except ValidationError as error:
            raise UsageError(f"the plan in the file is not whole: {describe_first_error(error)}") from None
        steps, clusters = list(plan.steps()), [own.cluster for own in plan.clusters]
        strange = any(step.cluster != own.cluster for own in plan.clusters for step in own.steps)
        strange |= any(own.made_as for own in plan.clusters)  # an id is told by the plan, not by its file
        strange |= len({step.id for step in steps}) < len(steps) or len(set(clusters)) < len(clusters)
        if strange or fingerprint(plan.plain()) != fingerprint(self.plan):
            raise UsageError("the plan in the file is not whole: it has parts that no plan has")
        return plan


class _Twice(ValueError):
    """A key stands twice."""


def parse_plan_file(data: bytes, name: str) -> PlanFile:
    """The plan file in some bytes, as it was written.

    Args:
        data: what stands in the file.
        name: the file's, for messages.

    Raises:
        UsageError: it is not a plan file, one of another version, or was changed.
    """
    remedy = "make a plan anew with `reconcile --dry-run --out FILE`"
    try:
        value = json.loads(data, object_pairs_hook=_once)
        told = value.get("version") if isinstance(value, dict) else None
        if isinstance(told, int) and told != 1 and value.get("format") == "reconcile-plan":
            raise UsageError(
                f"{name} is a plan file of version {told}, and only version 1 is known", remedy=remedy
            )
        found = PlanFile.model_validate(value)
        whole = found.digest == found.own_digest()
    except ValidationError as error:
        raise UsageError(f"{name} is not a plan file: {describe_first_error(error)}", remedy=remedy) from None
    except _Twice as error:
        raise UsageError(f"{name} is not as it was written: {error} [{EDITED}]", remedy=remedy) from None
    except (ValueError, RecursionError):
        raise UsageError(f"{name} is not a plan file: it is not plain JSON", remedy=remedy) from None
    if not whole:
        raise UsageError(
            f"{name} is not as it was written: its digest does not fit what stands in it [{EDITED}]",
            remedy=remedy,
        )
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys stand once each: of two, a person might read the one that does not count."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Twice("a key stands twice in one object")
    return found


@dataclass(frozen=True, slots=True)
class FileDigests:
    """Which files were read from a source, and what they held; filled while a fleet is loaded.

    A plan file may travel further than the repository. So that nobody can try guesses against it, a file with
    secrets in clear is known by what it holds besides; the revision tells of every other change.
    """

    digests: dict[str, str] = field(default_factory=dict)

    def over(self, snapshot: Snapshot) -> Snapshot:
        """The same snapshot, of which each file that is read is noted."""
        return replace(snapshot, files=_Noted(snapshot.files, self.digests))


@dataclass(frozen=True, slots=True)
class _Noted:
    files: SourceFiles
    digests: dict[str, str]

    def names(self) -> Iterable[str]:
        return self.files.names()

    def read(self, path: str) -> bytes:
        data = self.files.read(path)
        self.digests[path] = hashlib.sha256(mask_content(path, data)).hexdigest()
        return data


def make_plan_file(
    seen: PlanResult, origin: PlanOrigin, files: Mapping[str, str], made: datetime, drivers: Drivers
) -> PlanFile:
    """The file of a survey's plan, refused or not: guards judge again when it is applied."""
    return PlanFile(
        made=f"{made.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
        origin=origin,
        files=dict(sorted(files.items())),
        observed={
            case.plan.cluster: dict(drivers[case.plan.kind].shown_prints(case.desired, case.observed))
            for case in seen.cases
        },
        plan=seen.plan.plain(),
    ).sealed()


def check_program(file: PlanFile) -> None:
    """Nothing, where this version of the program made the file.

    Raises:
        WorldChanged: another one did, which might mean something else by its steps.
    """
    made_by = file.loaded().program
    if made_by != __version__:
        raise WorldChanged(
            f"version {made_by} of this program made the plan, this is version {__version__} [{OUTDATED}]",
            remedy=_AGAIN,
        )


def check_revision(file: PlanFile, now: Revision) -> Revision:
    """The plan's revision as the host's source gives it, where it still does and with the same signature.

    What the file says of it counts for nothing else: its short id is stamped into what is delivered, its
    title and source go into the history. Where the plan was made without a look at signatures and this host
    has checked one, that one counts.

    Raises:
        WorldChanged: the source gives another revision, or the signer is not the plan's.
    """
    planned = file.loaded().revision
    if now.id != planned.id:
        raise WorldChanged(
            f"the plan was made from revision {make_one_line(planned.id, 80)}, {now.source} gives {now.id} "
            f"[{OUTDATED}]",
            remedy=f"{_AGAIN}, or name the host's source that still has it: `reconcile apply FILE SOURCE`",
        )
    if planned.signed and (planned.signer, planned.signed) != (now.signer, now.signed):
        found = (
            f"its signature is {now.signer}'s here" if now.signed else "this host was not asked to check it"
        )
        raise WorldChanged(
            f"the plan was made from a revision signed by {planned.signer}, and {found} [{OUTDATED}]",
            remedy="check signatures here as where the plan was made: --require-signed, --allowed-signers",
        )
    if (planned.short, planned.title) != (now.short, now.title):
        raise WorldChanged(
            f"revision {now.short} has another short id or title in the file than in its source [{OUTDATED}]",
            remedy=_AGAIN,
        )
    return now


def check_files(file: PlanFile, now: Mapping[str, str]) -> None:
    """Nothing, where the desired state is made of the same files with the same content.

    Raises:
        WorldChanged: it is not.
    """
    differ = sorted(path for path in {*file.files, *now} if file.files.get(path) != now.get(path))
    if differ:
        more = f" and {len(differ) - _SHOWN} more" if len(differ) > _SHOWN else ""
        raise WorldChanged(
            f"not as when the plan was made: {', '.join(differ[:_SHOWN])}{more} [{OUTDATED}]", remedy=_AGAIN
        )


def prepare_plan(file: PlanFile, fresh: PlanResult, drivers: Drivers) -> PlanResult:
    """The file's plan over fresh observations, its guards judged on the steps that are left.

    A step is left out where its node shows something else than it did, or where it would not be planned
    just so any more. Where steps change a membership, the cluster is one unit: a change anywhere in it
    leaves all of its steps out.

    Args:
        file: read by `parse_plan_file`.
        fresh: a survey of the same revision, narrowed as the file says.
        drivers: kind -> product, for the guards.

    Raises:
        UsageError: a step is none of its product's.
        WorldChanged: a cluster, or the waves of its plan, are not those of the revision.
    """
    found = fresh.fleet.revision
    plan = file.loaded()
    now = {case.plan.cluster: case for case in fresh.cases}
    for own in plan.clusters:
        _fit_cluster(own, now.get(own.cluster))
    plan = replace(
        plan,
        revision=found,
        clusters=tuple(_typed(own, drivers[own.kind], now[own.cluster].desired) for own in plan.clusters),
    )
    held = [
        _Held(own, now[own.cluster], file.observed.get(own.cluster, {}), drivers[own.kind])
        for own in plan.clusters
    ]
    cases = [one.case(found, plan.program) for one in held]
    left = [replace(case, plan=one.left()) for one, case in zip(held, cases, strict=True)]
    judged = judge_plans(fresh.fleet, left, drivers)
    return replace(
        fresh,
        plan=plan,
        cases=tuple(cases),
        violations=(*judged.in_force, *(one for one in fresh.violations if one.cluster not in now)),
        overridden=(*judged.overridden, *(one for one in fresh.overridden if one[0].cluster not in now)),
        stale={step: why for one in held for step, why in one.stale.items()},
        anew=replace(fresh.plan, clusters=tuple(one.anew() for one in held)),
    )


def _fit_cluster(own: ClusterPlan, now: GuardContext | None) -> None:
    """Nothing, where the file's cluster is one of the revision, and goes on in that one's waves."""
    if now is None or own.kind != now.plan.kind:
        raise WorldChanged(f"the plan is for {own.cluster}, which its revision does not have [{OUTDATED}]")
    bare = replace(own, steps=tuple(replace(step, wave=0) for step in own.steps))
    again = assign_waves(bare, now.entry, now.change_rules.rollout)
    if again.steps != own.steps:
        raise WorldChanged(f"the waves of {own.cluster} are not those of its revision [{OUTDATED}]")


def _typed(own: ClusterPlan, driver: Driver[Any, Any], desired: Any) -> ClusterPlan:
    """The file's steps as the product reads them.

    Raises:
        UsageError: they are none of the product's, though the file's digest fits.
    """
    try:
        return replace(own, steps=tuple(driver.completed(driver.typed(step), desired) for step in own.steps))
    except UnreadableArguments as error:
        raise UsageError(f"the plan in the file is not whole: {own.cluster}: {error.message}") from None


def restrict_plan(remaining: Plan, file: Plan) -> Plan:
    """Of what a later look plans, that which concerns the nodes that the file's plan changes."""
    touched = {(step.cluster, step.node) for step in file.steps()}
    return replace(
        remaining,
        clusters=tuple(
            replace(
                own,
                steps=tuple(step for step in own.steps if (own.cluster, step.node) in touched),
                findings=tuple(one for one in own.findings if _target(one) in touched),
            )
            for own in remaining.clusters
        ),
    )


class _Held:
    """One cluster of the file beside the same cluster now."""

    def __init__(
        self, own: ClusterPlan, now: GuardContext, then: Mapping[str, str], driver: Driver[Any, Any]
    ) -> None:
        self.own = own
        self.now = now
        fresh = driver.shown_prints(now.desired, now.observed)
        self.differs = {
            node: _words(node, then.get(node, ""), fresh.get(node, ""))
            for node in sorted({*then, *fresh})
            if then.get(node) != fresh.get(node)
        }
        self.steps = {step.id: step for step in now.plan.steps}
        self.unit = any(step.effect is Effect.MEMBERSHIP for step in (*own.steps, *now.plan.steps))
        self.stale = self._stale()

    def _stale(self) -> dict[str, str]:
        found = {step.id: why for step in self.own.steps if (why := self._against(step))}
        if self.unit and (self.differs or found):
            why = self._what_changed() or next(iter(found.values()))
            words = f"the membership of {self.own.cluster} is decided as a whole, and {why}"
            return {step.id: words for step in self.own.steps}
        return found

    def _what_changed(self) -> str:
        """What differs since the plan; empty where nothing does.

        Members show each other, so that one node that fails changes what all of them show: where a node
        answers now and did not, or no longer does, it is that one.
        """
        telling = [words for node, words in self.differs.items() if words != _changed(node)]
        if telling:
            return telling[0]
        nodes = sorted(self.differs)
        if len(nodes) < 2:  # noqa: PLR2004  (one alone is the one)
            return next(iter(self.differs.values()), "")
        more = f" and {len(nodes) - _SHOWN} more" if len(nodes) > _SHOWN else ""
        return f"{', '.join(nodes[:_SHOWN])}{more} show something else than when the plan was made"

    def _against(self, step: Step) -> str:
        """Why a step must not be taken; empty where it may."""
        if step.node in self.differs:
            return self.differs[step.node]
        fresh = self.steps.get(step.id)
        return "" if fresh and _same(fresh, step) else f"{step.node} would no longer be changed just so"

    def case(self, revision: Revision, program: str) -> GuardContext:
        """The fresh case with the file's plan, and what its steps deliver."""
        steps = tuple(self._live(step) for step in self.own.steps)
        is_asked = change_control.may_need_approval(self.own, self.now.policy)
        id_ = compute_plan_id(self.own, revision, program)
        plan = replace(self.now.plan, steps=steps, findings=(*self.now.plan.findings, *self._said()))
        if compute_plan_id(plan, revision, program) != id_:
            plan = replace(plan, made_as=id_)
        return replace(self.now, plan=plan, digest=id_ if is_asked else "")

    def _live(self, step: Step) -> Step:
        """A step as it was planned now, in the place that the file gives it; secrets are no masks then."""
        fresh = self.steps.get(step.id)
        return (
            replace(fresh, after=step.after, wave=step.wave) if fresh and step.id not in self.stale else step
        )

    def _said(self) -> Iterable[Diagnostic]:
        """Of nodes that differ now and that the file does not change: so that nobody believes they do not."""
        planned = {step.node for step in self.own.steps}
        for step in self.now.plan.steps:
            if step.node not in planned:
                words = f"{step.node} has changed since the plan was made, and the plan leaves it alone"
                yield Diagnostic(Severity.WARNING, CHANGED, words, target=f"{step.cluster}/{step.node}")

    def left(self) -> ClusterPlan:
        """What is to be done of the file's plan."""
        steps = tuple(self._live(step) for step in self.own.steps if step.id not in self.stale)
        return replace(self.now.plan, steps=steps)

    def anew(self) -> ClusterPlan:
        """What is planned now for what the file's plan leaves out."""
        nodes = {step.node for step in self.own.steps if step.id in self.stale} | self.differs.keys()
        steps = tuple(step for step in self.now.plan.steps if self.unit or step.node in nodes)
        return replace(self.now.plan, steps=steps if nodes else (), findings=tuple(self._said()))


def _same(fresh: Step, step: Step) -> bool:
    """Whether a step of the file is the one that is planned now, and comes after all that this one does."""
    return _bare(fresh) == _bare(step) and set(fresh.after) <= set(step.after)


def _bare(step: Step) -> StepShape:
    return replace(step, after=(), wave=0).plain()


def _words(node: str, then: str, now: str) -> str:
    if not then or not now:
        return f"{node} was not asked when the plan was made" if now else f"{node} is not known any more"
    answers = ("present", "stale", "absent")
    if then.startswith(answers) and not now.startswith(answers):
        return f"{node} answered when the plan was made and does not now"
    if now.startswith(answers) and not then.startswith(answers):
        return f"{node} did not answer when the plan was made and does now"
    return _changed(node)


def _changed(node: str) -> str:
    return f"{node} has changed since the plan was made"


def _target(finding: Diagnostic) -> tuple[str, str]:
    cluster, _, node = finding.target.partition("/")
    return cluster, node
