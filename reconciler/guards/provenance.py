"""Guards of where a revision comes from: its signature, and that it does not go back by accident."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.core.guard import Guard, GuardContext, guard
from reconciler.core.revision import Ancestry
from reconciler.diagnostic import Diagnostic


@guard("signature-required")
def refuse_unsigned(case: GuardContext) -> Iterator[Diagnostic]:
    """If the fleet file requires signatures, this host must have checked one of that kind.

    The file can only require more than the host: the host checks its own rule before it reads the file.
    """
    required = case.change_rules.require_signed
    if (
        not required
        or not case.plan.steps
        or (case.revision is not None and case.revision.signed == required)
    ):
        return
    found = case.revision.signed if case.revision is not None else ""
    checked = f"checked only a signature by {found}" if found else "checked none"
    yield case.violation(
        "signature-required",
        f"the fleet file requires signatures by {required}, and this host {checked}",
        f"run with --require-signed {required} and --allowed-signers FILE",
    )


@guard("older-revision")
def refuse_older_revision(case: GuardContext) -> Iterator[Diagnostic]:
    """A revision must descend from the one applied last, unless a rollback names it."""
    applied, revision = case.cluster_memory.applied, case.revision
    if not case.plan.steps or applied is None or revision is None:
        return
    names = (
        f"revision {revision.short or revision.id}",
        f"{applied.short or applied.id}, which was applied last",
    )
    if case.cluster_memory.ancestry is Ancestry.OLDER:
        problem = f"{names[0]} is older than {names[1]}"
    elif case.cluster_memory.ancestry is Ancestry.DIVERGED:
        problem = (
            f"{names[0]} does not descend from {names[1]}, and none of its ancestors has the content that "
            "was applied: the history was rewritten, or it is another branch"
        )
    else:  # newer, the same, or of a source without an order, such as a folder
        return
    yield case.violation(
        "older-revision",
        problem,
        "apply a newer revision; to go back on purpose, run "
        f"`reconcile rollback {revision.short or revision.id} SOURCE`",
    )


GUARDS: tuple[Guard, ...] = (refuse_unsigned, refuse_older_revision)
"""Applied to every cluster."""
