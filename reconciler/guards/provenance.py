"""Guards of where a revision comes from: who signed it, and that it does not lead back unasked."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.core.guard import Guard, GuardContext, guard
from reconciler.core.revision import Ancestry
from reconciler.diagnostic import Diagnostic, Severity


@guard("signature-required")
def refuse_unsigned(case: GuardContext) -> Iterator[Diagnostic]:
    """Where the fleet file asks for signatures, this host has to have checked one of that kind.

    The file can only ask for more: what the host itself asks for is checked before the file is read.
    """
    wanted = case.change_rules.require_signed
    if not wanted or not case.plan.steps or (case.revision is not None and case.revision.signed == wanted):
        return
    found = case.revision.signed if case.revision is not None else ""
    checked = f"checked a signature of {found} only" if found else "has checked none"
    yield Diagnostic(
        Severity.ERROR,
        "signature-required",
        f"{case.plan.cluster}: the fleet file asks for signatures of {wanted}, and this host {checked}",
        f"run with --require-signed {wanted} and --allowed-signers FILE",
        target=case.plan.cluster,
    )


@guard("older-revision")
def refuse_older_revision(case: GuardContext) -> Iterator[Diagnostic]:
    """What was applied last is not taken back, unless a rollback names the revision."""
    applied, revision = case.cluster_memory.applied, case.revision
    if not case.plan.steps or applied is None or revision is None:
        return
    names = (
        f"revision {revision.short or revision.id}",
        f"{applied.short or applied.id}, which was applied last",
    )
    if case.cluster_memory.ancestry is Ancestry.OLDER:
        words = f"{names[0]} is older than {names[1]}"
    elif case.cluster_memory.ancestry is Ancestry.DIVERGED:
        words = (
            f"{names[0]} does not descend from {names[1]}, and none of the commits that it comes from has "
            "the content that was applied: the history was rewritten, or it is another branch"
        )
    else:
        return
    yield Diagnostic(
        Severity.ERROR,
        "older-revision",
        f"{case.plan.cluster}: {words}",
        f"if that is meant, name it: `reconcile rollback {revision.short or revision.id} SOURCE`; "
        "else go forward",
        target=case.plan.cluster,
    )


GUARDS: tuple[Guard, ...] = (refuse_unsigned, refuse_older_revision)
"""Applied to every cluster."""
