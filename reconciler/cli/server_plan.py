"""The plan of a watch elsewhere, in place of a dry run on this machine."""

from __future__ import annotations

from reconciler.api.answers import PlanAnswer
from reconciler.cli.dry_run import print_plan
from reconciler.cli.options import PlanFormat
from reconciler.cli.render.exit_report import report_plan_exit
from reconciler.cli.server_client import ServerClient
from reconciler.cli.terminal import Terminal
from reconciler.core.selection import Selection
from reconciler.descriptions.phrases import PlanView
from reconciler.planning.unread_limit import UnreadLimit


def show_plan_of_server(
    client: ServerClient,
    selection: Selection,
    terminal: Terminal,
    *,
    form: PlanFormat,
    detailed: bool,
    limit: UnreadLimit,
) -> int:
    """Let a watch elsewhere plan, from its own source, and show the plan; gives the exit status.

    Raises:
        ReconcilerError: it cannot be planned, or there is no valid answer.
    """
    terminal.remark(str(client))
    asked = {"only": selection.only, "skip": selection.skip}
    found = client.read("/plan", PlanAnswer, asked)
    view = PlanView(
        found.load(),
        found.violations,
        found.overridden,
        found.warnings,
        pins=found.pins,
        inventory=found.inventory,
    )
    ended = report_plan_exit(found.summary, detailed=detailed, limit=limit)
    print_plan(view, form, terminal, ended)
    return ended.status
