"""Guard of host commands: what a step runs is defined on this host, which is known before the first write."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.core.guard import Guard, GuardContext, guard
from reconciler.diagnostic import Diagnostic, Severity


@guard("unknown-command")
def refuse_unknown_command(context: GuardContext) -> Iterator[Diagnostic]:
    """Every command of a step must be defined on this host, which is checked before the first write."""
    for step in context.plan.steps:
        if context.commands is None:
            continue
        for name in step.arguments.host_commands:
            if name in context.commands:
                continue
            known = ", ".join(sorted(context.commands))
            yield Diagnostic(
                Severity.ERROR,
                "unknown-command",
                f"{step.id} runs the command {name}, and this host has "
                f"{f'the commands {known}' if known else 'no commands'}",
                f"define {name} under `commands` in the host configuration, or correct `{step.action}` in "
                "the fleet file",
                target=f"{context.plan.cluster}/{step.node}",
            )


GUARDS: tuple[Guard, ...] = (refuse_unknown_command,)
"""Applied to every cluster."""
