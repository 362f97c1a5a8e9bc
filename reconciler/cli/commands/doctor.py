"""`reconcile doctor`: checks of this machine and of everything that it has to reach; it changes nothing."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler.cli.options import (
    CommonOptions,
    Format,
    OutputFormat,
    SignerOptions,
    Source,
    SourceOptions,
    State,
    add_command,
    make_app,
)

app = make_app()


@add_command(app)
def run_doctor(
    source: Source = ".",
    *,
    source_options: SourceOptions,
    format: Format = OutputFormat.TEXT,
    state: State = None,
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout", metavar="SECONDS", min=1.0, max=3600.0, help="Time for all checks together."
        ),
    ] = 60.0,
    signer_options: SignerOptions,
    common: CommonOptions,
) -> int:
    """Check this machine, and everything that it has to reach for SOURCE.

    Looks at versions, host configuration, permissions, disk, limits, the systemd unit, the store, the source
    and its signatures, proxies, names, nodes, certificates and clocks, and says what to do about each
    problem. It only reads: no file of the state changes, and nodes get reading calls only. Ends with 1 if
    there is an error; warnings, and what could not be checked here, change nothing of that.
    """
    from reconciler.cli.doctor_request import make_request
    from reconciler.cli.render.doctor import render_doctor_json, render_doctor_text
    from reconciler.doctor.examination import examine_host
    from reconciler.host import aio

    is_text = format is OutputFormat.TEXT
    terminal = common.open_terminal(for_people=is_text)
    request = make_request(source, source_options, state, signer_options, common, seconds=timeout)

    def announce(what: str) -> None:
        terminal.remark(f"checking {what} …\n")

    report = aio.run_until_signal(examine_host(request, announce))
    terminal.say(
        render_doctor_text(report, layout=terminal.layout) if is_text else render_doctor_json(report)
    )
    return report.exit_status
