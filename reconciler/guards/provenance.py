"""Guards of where a revision comes from: its signature, and that it does not go back by accident."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.core.guard import Guard, GuardContext, guard
from reconciler.core.revision import Ancestry
from reconciler.diagnostic import Diagnostic


@guard("signature-required")
def refuse_unsigned(context: GuardContext) -> Iterator[Diagnostic]:
    """If the fleet file requires signatures, this host must have checked one of that kind.

    The file can only require more than the host: the host checks its own rule before it reads the file.
    """
    required = context.change_rules.require_signed
    if (
        not required
        or not context.plan.steps
        or (context.revision is not None and context.revision.signed == required)
    ):
        return
    found = context.revision.signed if context.revision is not None else ""
    checked = f"checked only a signature by {found}" if found else "checked none"
    yield context.violation(
        "signature-required",
        f"the fleet file requires signatures by {required}, and this host {checked}",
        f"run with --require-signed {required} and --allowed-signers FILE",
    )


@guard("older-revision")
def refuse_older_revision(context: GuardContext) -> Iterator[Diagnostic]:
    """A revision must descend from the one applied last, unless a rollback names it."""
    applied, revision = context.cluster_memory.applied, context.revision
    if not context.plan.steps or applied is None or revision is None:
        return
    names = (
        f"revision {revision.short or revision.id}",
        f"{applied.short or applied.id}, which was applied last",
    )
    if context.cluster_memory.ancestry is Ancestry.OLDER:
        problem = f"{names[0]} is older than {names[1]}"
    elif context.cluster_memory.ancestry is Ancestry.DIVERGED:
        problem = (
            f"{names[0]} does not descend from {names[1]}, and none of its ancestors has the content that "
            "was applied: the history was rewritten, or it is another branch"
        )
    else:  # newer, the same, or of a source without an order, such as a folder
        return
    yield context.violation(
        "older-revision",
        problem,
        "apply a newer revision; to go back on purpose, run "
        f"`reconcile rollback {revision.short or revision.id} SOURCE`",
    )


GUARDS: tuple[Guard, ...] = (refuse_unsigned, refuse_older_revision)
"""Applied to every cluster."""
