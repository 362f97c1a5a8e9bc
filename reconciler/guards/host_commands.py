"""Guards of host entries: what a plan needs of this host is defined there, known before the first write."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from reconciler.core.guard import Guard, GuardContext, guard
from reconciler.core.host_entries import EntryKind
from reconciler.diagnostic import NOWHERE, Diagnostic, Severity

UNKNOWN: Final = "unknown-command"
"""Code of a command that this host does not have."""

ENTRY: Final = "unknown-entry"
"""Code of a way or a file that this host does not have."""


@guard(UNKNOWN)
def refuse_unknown_command(context: GuardContext) -> Iterator[Diagnostic]:
    """Every command of a step must be defined on this host, which is checked before the first write."""
    for step in context.plan.steps:
        if context.commands is None:
            continue
        for name in step.arguments.host_commands:
            if name in context.commands:
                continue
            known = ", ".join(sorted(context.commands))
            placed = context.unknown_entries.get((EntryKind.COMMANDS, name))
            where = f" ({placed.position})" if placed else ""
            yield Diagnostic(
                Severity.ERROR,
                UNKNOWN,
                f"{step.id} runs the command {name}{where}, and this host has "
                f"{f'the commands {known}' if known else 'no commands'}",
                f"define {name} under `commands` in the host configuration, or correct `{step.action}` in "
                "the fleet file",
                target=f"{context.plan.cluster}/{step.node}",
            )


@guard(ENTRY)
def refuse_unknown_entry(context: GuardContext) -> Iterator[Diagnostic]:
    """Every way and file that the cluster names must be defined on this host: nothing works without them."""
    for told in context.unknown_entries.values():
        if told.code == ENTRY:  # in the message alone: the JSON of a violation has no position
            yield replace(told, message=told.located, position=NOWHERE)


GUARDS: tuple[Guard, ...] = (refuse_unknown_command, refuse_unknown_entry)
"""Applied to every cluster."""
