"""`reconcile notify`: send a test message to a recipient of the host configuration."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli.options import CommonOptions, add_command, make_app
from reconciler.errors import UsageError

app = make_app()


@add_command(app)
def run_notify(
    *,
    test: Annotated[
        str, typer.Option("--test", metavar="RECIPIENT", help="Name in `notifications.recipients`.")
    ],
    common: CommonOptions,
) -> int:
    """Send a test message to every address of a recipient, and say what came of each.

    Addresses are never shown, only where they are. Nothing is taken from or put into the outbox.
    """
    from reconciler.exit_status import ExitStatus
    from reconciler.host import aio
    from reconciler.notifications.notice_sender import try_recipient
    from reconciler.text.one_line import join_some, quote_text

    host, terminal = common.read_host(), common.open_terminal()
    rules = host.config.notifications
    known = sorted(rules.recipients) if rules is not None else []
    if rules is None or test not in known:
        raise UsageError(
            f"this host has no recipient {quote_text(test)}",
            remedy=f"the entries of `notifications.recipients` are {join_some(known, 10) or 'none'}",
        )
    results = aio.run_until_signal(try_recipient(rules, host.environment, test))
    for address, problem in results.items():
        terminal.say(f"{address}: {f'not delivered: {problem}' if problem else 'delivered'}\n")
    return ExitStatus.ERROR if any(results.values()) else ExitStatus.DONE
