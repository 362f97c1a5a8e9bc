"""The plan file: a plan with all that it was made from, so that exactly it is applied later, or nothing.

It is written from the result of a plan pass, and compared with a fresh one before it is applied.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
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
from reconciler.core.selection import Selection, load_selection
from reconciler.core.waves import assign_waves
from reconciler.desired.fleet import Fleet
from reconciler.diagnostic import Diagnostic, Severity
from reconciler.documents.model_errors import describe_first_error
from reconciler.errors import UnreadableArguments, UsageError, WorldChanged
from reconciler.guards import change_control
from reconciler.guards.cluster_order import CODE as ORDER
from reconciler.planning.plan_pass import Drivers, PlanResult, check_guards
from reconciler.ports.driver import Driver
from reconciler.ports.source import Snapshot, SourceFiles
from reconciler.secrets.redaction import mask_content
from reconciler.text.one_line import join_some, make_one_line

EDITED = "plan-edited"
"""Code of a file that was changed after it was written."""

OUTDATED = "plan-outdated"
"""Code of a file that no longer fits the source, its signature or this program."""

CHANGED = "changed-since"
"""Code of the warning about a node that has changed since the plan was made."""

_AGAIN = "make a new plan with `reconcile --dry-run --out FILE`"
_SHOWN = 3

_PRINT = r"^(present [0-9a-f]{64}|stale [0-9a-f]{64}|absent|unauthorized|unidentified|unreachable)$"

Print = Annotated[str, StringConstraints(pattern=_PRINT)]
"""What a node answered, as `core.observation_digests` writes it."""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""A digest in hexadecimal."""


class PlanOrigin(StrictModel):
    """Where the desired state was read, as given on the command line; without secrets."""

    source: str = Field(
        description="Folder, git repository or tarball; without user, password and query. It is information "
        "for people: `reconcile apply` reads from the host's own source."
    )
    ref: str = Field(default="", description="The branch, tag or commit that was asked for.")
    path: str = Field(default="", description="The folder within the source.")
    only: str = Field(
        default="",
        description="The one cluster or node that was planned; or a list of what `--only` and one of what "
        "`--skip` named, as JSON; empty for all.",
    )
    whole: Flag = Field(default=True, description="Whether `source` is all of the address that was given.")

    @property
    def selection(self) -> Selection:
        """What was planned."""
        return load_selection(self.only)


class PlanFile(StrictModel):
    """A plan file of version 1."""

    format: Literal["reconcile-plan"] = Field(
        default="reconcile-plan", description="Marks the file as a plan file."
    )
    version: Annotated[Literal[1], BeforeValidator(require_whole_number)] = Field(
        default=1, description="Version of this format."
    )
    made: str = Field(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$",
        description="When the nodes were read, in UTC.",
    )
    origin: PlanOrigin = Field(description="Where the desired state was read.")
    files: dict[str, Sha256] = Field(
        description="Path -> SHA-256 of every file that the desired state is made of; what looks like a "
        "secret in plain text is masked before hashing."
    )
    observed: dict[str, dict[str, Print]] = Field(
        description="Cluster -> node -> its answer: `present` or `stale` with a SHA-256 of its content "
        "without secrets, or `absent`, `unauthorized`, `unidentified`, `unreachable`."
    )
    plan: dict[str, Any] = Field(
        description="The plan: its revision with the signer, the program's version, and the steps. Secrets "
        "are masked; the content for a node is made again from the revision."
    )
    inventory: dict[str, dict[str, str]] = Field(
        default_factory=dict,
        description="Cluster -> id of an instance -> its address, where an inventory gives nodes; missing if "
        "none does.",
    )
    digest: str = Field(
        default="",
        pattern=r"^([0-9a-f]{64})?$",
        description="SHA-256 of everything else: a changed file is refused.",
    )

    def seal(self) -> PlanFile:
        """The same file with its digest."""
        return self.model_copy(update={"digest": self.compute_digest()})

    def compute_digest(self) -> str:
        """SHA-256 of the canonical bytes of everything but `digest`."""
        return fingerprint(self._dump(exclude={"digest"}))

    def encode(self) -> bytes:
        """The file's bytes: indented JSON."""
        plain = self._dump()
        return (json.dumps(plain, indent=2, ensure_ascii=True) + "\n").encode()

    def _dump(self, exclude: AbstractSet[str] = frozenset()) -> dict[str, Any]:
        # Without the key, files of fleets without an inventory are what they always were, with their digest.
        return self.model_dump(mode="json", exclude={*exclude, *(() if self.inventory else ("inventory",))})

    def load_plan(self) -> Plan:
        """The plan, without payloads.

        Raises:
            UsageError: it is not a valid plan, although the digest matches.
        """
        try:
            plan = load_plan(self.plan)
        except ValidationError as error:
            raise UsageError(f"the plan in the file is not valid: {describe_first_error(error)}") from None
        # Anybody can seal an edited file with a matching digest, so its own claims do not count: with
        # `made_as`, it could use the approval of another plan.
        steps, clusters = list(plan.steps()), [own.cluster for own in plan.clusters]
        is_forged = any(step.cluster != own.cluster for own in plan.clusters for step in own.steps)
        is_forged |= any(own.made_as for own in plan.clusters)
        is_forged |= len({step.id for step in steps}) < len(steps) or len(set(clusters)) < len(clusters)
        if is_forged or fingerprint(plan.plain()) != fingerprint(self.plan):
            raise UsageError("the plan in the file is not valid: it has parts that a plan cannot have")
        return plan


class _DuplicateKey(ValueError):
    pass


def parse_plan_file(data: bytes, name: str) -> PlanFile:
    """The plan file in some bytes, as it was written.

    Args:
        data: the content of the file.
        name: the file's name, for messages.

    Raises:
        UsageError: it is not a plan file, has another version, or was changed.
    """

    def make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        # Of a key that an object has twice, a reviewer might read the value that does not count.
        found = dict(pairs)
        if len(found) != len(pairs):
            raise _DuplicateKey
        return found

    try:
        value = json.loads(data, object_pairs_hook=make_object)
        version = value.get("version") if isinstance(value, dict) else None
        if isinstance(version, int) and version != 1 and value.get("format") == "reconcile-plan":
            raise UsageError(
                f"{name} is a plan file of version {version}; this program reads only version 1",
                remedy=_AGAIN,
            )
        found = PlanFile.model_validate(value)
        is_unchanged = found.digest == found.compute_digest()
    except ValidationError as error:
        raise UsageError(f"{name} is not a plan file: {describe_first_error(error)}", remedy=_AGAIN) from None
    except _DuplicateKey:
        raise UsageError(
            f"{name} was changed after it was written: an object has a key twice [{EDITED}]", remedy=_AGAIN
        ) from None
    except (ValueError, RecursionError):
        raise UsageError(f"{name} is not a plan file: it is not plain JSON", remedy=_AGAIN) from None
    if not is_unchanged:
        raise UsageError(
            f"{name} was changed after it was written: its digest does not match its content [{EDITED}]",
            remedy=_AGAIN,
        )
    return found


@dataclass(frozen=True, slots=True)
class FileDigests:
    """The files that were read from a source, by digest; filled while a fleet is loaded."""

    digests: dict[str, str] = field(default_factory=dict)

    def with_files(self, snapshot: Snapshot) -> Snapshot:
        """The same snapshot, which records the digest of each file that is read."""
        return replace(snapshot, files=_RecordedFiles(snapshot.files, self.digests))


@dataclass(frozen=True, slots=True)
class _RecordedFiles:
    files: SourceFiles
    digests: dict[str, str]

    def names(self) -> Iterable[str]:
        return self.files.names()

    def read(self, path: str) -> bytes:
        data = self.files.read(path)
        # A plan file may travel further than the repository: a digest over a password would let anybody try
        # guesses against it. The revision's id covers every other change.
        self.digests[path] = hashlib.sha256(mask_content(path, data)).hexdigest()
        return data


def make_plan_file(
    plan_result: PlanResult, origin: PlanOrigin, files: Mapping[str, str], made: datetime, drivers: Drivers
) -> PlanFile:
    """The file of a plan, refused or not: guards judge it again when it is applied."""
    return PlanFile(
        made=f"{made.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
        origin=origin,
        files=dict(sorted(files.items())),
        observed={
            context.plan.cluster: dict(
                drivers[context.plan.kind].fingerprint_observations(context.desired, context.observed)
            )
            for context in plan_result.guard_contexts
        },
        plan=plan_result.plan.plain(),
        inventory=_list_instances(plan_result.fleet),
    ).seal()


def _list_instances(fleet: Fleet) -> dict[str, dict[str, str]]:
    """Cluster -> id -> address of the instances that are its nodes."""
    return {
        one.entry.name: {name: node.instance.address for name, node in sorted(one.inventory.items())}
        for one in sorted(fleet.cluster_inputs, key=lambda one: one.entry.name)
        if one.inventory
    }


def check_program(file: PlanFile) -> None:
    """Check that this version of the program made the file.

    Raises:
        WorldChanged: another version made it, and may mean something else by its steps.
    """
    made_by = file.load_plan().program
    if made_by != __version__:
        raise WorldChanged(
            f"program version {made_by} made the plan, but this is version {__version__} [{OUTDATED}]",
            remedy=_AGAIN,
        )


def check_revision(file: PlanFile, now: Revision) -> Revision:
    """The plan's revision as the host's source has it, if it still has it with the same signature.

    If the plan was made without checking signatures, and this host has checked one, that one counts.

    Raises:
        WorldChanged: the source has another revision, or another signer.
    """
    # All of it has to match, not the id alone: the short id is stamped into what is delivered, and title and
    # source go into the history. An edited file could otherwise put words there.
    planned = file.load_plan().revision
    if now.id != planned.id:
        raise WorldChanged(
            f"the plan was made from revision {make_one_line(planned.id, 80)}, but {now.source} has {now.id} "
            f"[{OUTDATED}]",
            remedy=f"{_AGAIN}, or name a source that still has that revision: `reconcile apply FILE SOURCE`",
        )
    if planned.signed and (planned.signer, planned.signed) != (now.signer, now.signed):
        found = f"here it is signed by {now.signer}" if now.signed else "this host does not check signatures"
        raise WorldChanged(
            f"the plan was made from a revision signed by {planned.signer}, but {found} [{OUTDATED}]",
            remedy="check signatures here as the plan's host did: --require-signed, --allowed-signers",
        )
    if (planned.short, planned.title) != (now.short, now.title):
        raise WorldChanged(
            f"revision {now.short} has another short id or title in the file than in its source [{OUTDATED}]",
            remedy=_AGAIN,
        )
    return now


def check_inventory(file: PlanFile, fleet: Fleet) -> None:
    """Check that the instances of a plan are still there, at the same addresses.

    New ones are no part of the plan. Clusters whose instances are not known now are refused by themselves.

    Raises:
        WorldChanged: an instance is gone, or has another address.
    """
    now = _list_instances(fleet)
    unread = {one.entry.name for one in fleet.cluster_inputs if one.unread is not None}
    changed = [
        f"{instance} of {cluster} had the address {address} and "
        + (f"has {now[cluster][instance]}" if instance in now.get(cluster, {}) else "is no longer listed")
        for cluster, planned in sorted(file.inventory.items())
        if cluster not in unread
        for instance, address in planned.items()
        if now.get(cluster, {}).get(instance) != address
    ]
    if changed:
        words = f"the inventory changed since the plan was made: {join_some(changed, _SHOWN)} [{OUTDATED}]"
        raise WorldChanged(words, remedy=_AGAIN)


def check_files(file: PlanFile, now: Mapping[str, str]) -> None:
    """Check that the desired state is made of the same files with the same content.

    Raises:
        WorldChanged: it is not.
    """
    differ = sorted(path for path in {*file.files, *now} if file.files.get(path) != now.get(path))
    if differ:
        words = f"changed since the plan was made: {join_some(differ, _SHOWN)} [{OUTDATED}]"
        raise WorldChanged(words, remedy=_AGAIN)


def prepare_plan(file: PlanFile, fresh: PlanResult, drivers: Drivers) -> PlanResult:
    """The file's plan over fresh observations, with the guards' violations for the steps that are left.

    A step is left out if its node has changed, or if it would now be planned differently. If steps change a
    membership, the cluster is one unit: a change anywhere in it leaves all of its steps out.

    Args:
        file: read by `parse_plan_file`.
        fresh: the result of a plan pass of the same revision, restricted as the file says.
        drivers: kind -> product, for the guards.

    Raises:
        UsageError: the product cannot read a step.
        WorldChanged: a cluster, or the waves of its plan, are not those of the revision.
    """
    revision, plan = fresh.fleet.revision, file.load_plan()
    now = {context.plan.cluster: context for context in fresh.guard_contexts}
    for own in plan.clusters:
        _check_cluster(own, now.get(own.cluster))
    clusters = tuple(_type_steps(own, drivers[own.kind], now[own.cluster].desired) for own in plan.clusters)
    plan = replace(plan, revision=revision, clusters=clusters)
    compared = [
        _ComparedCluster(own, now[own.cluster], file.observed.get(own.cluster, {}), drivers[own.kind])
        for own in plan.clusters
    ]
    contexts = [one.build_context(revision, plan.program) for one in compared]
    left = [
        replace(context, plan=one.list_remaining()) for one, context in zip(compared, contexts, strict=True)
    ]
    judged = check_guards(fresh.fleet, left, drivers)

    def is_kept(violation: Diagnostic) -> bool:
        """Whether it is about more than the plan of one cluster."""
        return violation.cluster not in now or violation.code == ORDER

    return replace(
        fresh,
        plan=plan,
        guard_contexts=tuple(contexts),
        violations=(*judged.in_force, *(one for one in fresh.violations if is_kept(one))),
        overridden=(*judged.overridden, *(one for one in fresh.overridden if is_kept(one[0]))),
        stale={step: why for one in compared for step, why in one.stale.items()},
        new_plan=replace(fresh.plan, clusters=tuple(one.plan_again() for one in compared)),
    )


def _check_cluster(own: ClusterPlan, now: GuardContext | None) -> None:
    """Check that the file's cluster is one of the revision, and that its steps are in the same waves."""
    if now is None or own.kind != now.plan.kind:
        raise WorldChanged(f"the plan is for {own.cluster}, which its revision does not have [{OUTDATED}]")
    # Computed again, because an edited file could put all steps into one wave and so skip the gates.
    bare = replace(own, steps=tuple(replace(step, wave=0) for step in own.steps))
    again = assign_waves(bare, now.entry, now.change_rules.rollout)
    if again.steps != own.steps:
        raise WorldChanged(f"the waves of {own.cluster} differ from those of its revision [{OUTDATED}]")


def _type_steps(own: ClusterPlan, driver: Driver[Any, Any], desired: Any) -> ClusterPlan:
    """The file's steps with the product's own arguments.

    Raises:
        UsageError: they are not the product's, although the file's digest matches.
    """
    try:
        return replace(
            own, steps=tuple(driver.complete_step(driver.load_step(step), desired) for step in own.steps)
        )
    except UnreadableArguments as error:
        raise UsageError(f"the plan in the file is not valid: {own.cluster}: {error.message}") from None


def restrict_plan(remaining: Plan, file: Plan) -> Plan:
    """The part of a later plan that concerns the nodes which the file's plan changes."""
    touched = {(step.cluster, step.node) for step in file.steps()}
    clusters = []
    for own in remaining.clusters:
        steps = tuple(step for step in own.steps if (own.cluster, step.node) in touched)
        about = ((one, (one.cluster, one.target.partition("/")[2])) for one in own.findings)
        findings = tuple(one for one, place in about if place in touched)
        clusters.append(replace(own, steps=steps, findings=findings))
    return replace(remaining, clusters=tuple(clusters))


class _ComparedCluster:
    """One cluster of the file, compared with the same cluster now."""

    def __init__(
        self, own: ClusterPlan, now: GuardContext, then: Mapping[str, str], driver: Driver[Any, Any]
    ) -> None:
        self.own = own
        self.now = now
        fresh = driver.fingerprint_observations(now.desired, now.observed)
        self.differs = {
            node: _explain_change(node, then.get(node, ""), fresh.get(node, ""))
            for node in sorted({*then, *fresh})
            if then.get(node) != fresh.get(node)
        }
        self.steps = {step.id: step for step in now.plan.steps}
        self.unit = any(step.effect is Effect.MEMBERSHIP for step in (*own.steps, *now.plan.steps))
        self.stale = self._find_stale_steps()

    def _find_stale_steps(self) -> dict[str, str]:
        """Step -> why it must not be performed."""
        found: dict[str, str] = {}
        for step in self.own.steps:
            fresh = self.steps.get(step.id)
            is_same = (
                fresh and _strip_order(fresh) == _strip_order(step) and set(fresh.after) <= set(step.after)
            )
            if step.node in self.differs:
                found[step.id] = self.differs[step.node]
            elif not is_same:
                found[step.id] = self._explain_withheld(step) or (
                    f"a new plan would change {step.node} differently"
                )
        if self.unit and (self.differs or found):
            why = self._explain_changes() or next(iter(found.values()))
            words = f"the membership of {self.own.cluster} is planned as a whole, and {why}"
            return {step.id: words for step in self.own.steps}
        return found

    def _explain_withheld(self, step: Step) -> str:
        """Why nothing is sent to a step's node now; empty if something else is planned for it."""
        if step.node not in self.now.withheld_nodes:
            return ""
        about = f"{step.cluster}/{step.node}"
        found = next((one.message for one in self.now.plan.findings if one.target == about), "")
        return found.removeprefix(f"{step.node}: ")

    def _explain_changes(self) -> str:
        """What differs since the plan; empty if nothing does."""
        # Members show each other, so that one node that fails changes what all of them show. The cause is
        # then the node that no longer answers, or answers again.
        causes = [words for node, words in self.differs.items() if words != _say_changed(node)]
        if causes:
            return causes[0]
        nodes = sorted(self.differs)
        if len(nodes) < 2:  # noqa: PLR2004  (a single node has its own sentence)
            return next(iter(self.differs.values()), "")
        return f"{join_some(nodes, _SHOWN)} have changed since the plan was made"

    def build_context(self, revision: Revision, program: str) -> GuardContext:
        """The fresh guard context with the file's plan, and what its steps deliver."""
        steps = tuple(self._refresh(step) for step in self.own.steps)
        needs_approval = change_control.may_need_approval(self.own, self.now.policy)
        # The approval was given for the plan in the file, so its id counts, however much of it is left.
        id_ = compute_plan_id(self.own, revision, program)
        plan = replace(self.now.plan, steps=steps, findings=(*self.now.plan.findings, *self._list_findings()))
        if compute_plan_id(plan, revision, program) != id_:
            plan = replace(plan, made_as=id_)
        return replace(self.now, plan=plan, digest=id_ if needs_approval else "")

    def _refresh(self, step: Step) -> Step:
        # The fresh step, in the file's order: the file's own has masks in place of secrets.
        fresh = self.steps.get(step.id)
        return (
            replace(fresh, after=step.after, wave=step.wave) if fresh and step.id not in self.stale else step
        )

    def _list_findings(self) -> Iterable[Diagnostic]:
        """A warning for each node that differs now and that the file's plan does not change."""
        planned = {step.node for step in self.own.steps}
        for step in self.now.plan.steps:
            if step.node not in planned:
                words = f"{step.node} has changed since the plan was made, and the plan does not change it"
                yield Diagnostic(Severity.WARNING, CHANGED, words, target=f"{step.cluster}/{step.node}")

    def list_remaining(self) -> ClusterPlan:
        """What is left to do of the file's plan."""
        steps = tuple(self._refresh(step) for step in self.own.steps if step.id not in self.stale)
        return replace(self.now.plan, steps=steps)

    def plan_again(self) -> ClusterPlan:
        """What is planned now for the steps that are left out."""
        nodes = {step.node for step in self.own.steps if step.id in self.stale} | self.differs.keys()
        steps = tuple(step for step in self.now.plan.steps if self.unit or step.node in nodes)
        return replace(self.now.plan, steps=steps if nodes else (), findings=tuple(self._list_findings()))


def _strip_order(step: Step) -> StepShape:
    return replace(step, after=(), wave=0).plain()


def _explain_change(node: str, then: str, now: str) -> str:
    if not then or not now:
        return f"{node} was not read when the plan was made" if now else f"{node} is no longer known"
    answers = ("present", "stale", "absent")
    if then.startswith(answers) and not now.startswith(answers):
        return f"{node} answered when the plan was made, but does not answer now"
    if now.startswith(answers) and not then.startswith(answers):
        return f"{node} did not answer when the plan was made, but answers now"
    return _say_changed(node)


def _say_changed(node: str) -> str:
    return f"{node} has changed since the plan was made"
