"""`reconcile validate`: everything wrong in all files of the desired state, without asking a node."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.options import HostConfigFile, Ref, Sha256, Source, Within, new_app

if TYPE_CHECKING:
    from reconciler.desired.validate import Validity

app = new_app()


class Report(StrEnum):
    """How problems are written."""

    TEXT = "text"
    JSON = "json"
    GITHUB = "github"
    SARIF = "sarif"


@app.command()
def validate(
    context: typer.Context,
    source: Source = ".",
    *,
    format: Annotated[  # noqa: A002  (the option's name)
        Report,
        typer.Option(
            "--format",
            help="How to write what is found: for people, as a list for programs, as GitHub's workflow "
            "commands, or as SARIF 2.1.0.",
        ),
    ] = Report.TEXT,
    ref: Ref = "",
    path: Within = "",
    sha256: Sha256 = "",
    host_config: HostConfigFile = None,
) -> int:
    """Show every error and warning of all files at once; no node is asked, no secret looked up.

    Ends with 0 where there is no error, be there warnings or not, and with 1 otherwise.
    """
    from reconciler.cli.host import read_host  # noqa: PLC0415
    from reconciler.cli.state_folder import copies_of_sources  # noqa: PLC0415
    from reconciler.cli.terminal import Terminal  # noqa: PLC0415
    from reconciler.desired.validate import validate as validated  # noqa: PLC0415
    from reconciler.drivers.registry import drivers_for  # noqa: PLC0415
    from reconciler.host import aio  # noqa: PLC0415
    from reconciler.sources.locate import locate  # noqa: PLC0415

    host = read_host(context, host_config, source)
    cache = copies_of_sources(None)
    place = locate(source, ref=ref, path=path, sha256=sha256, cache=cache, environment=host.environment)
    found = validated(aio.run(place.snapshot()), drivers_for(host.config))
    terminal = Terminal.here(for_people=format is Report.TEXT)
    terminal.say(_written(found, format, prefix(source, path)))
    return 0 if found.valid else 1


def prefix(source: str, path: str) -> str:
    """The folder of the files as seen from the current one, which is a repository's top where CI runs.

    Empty where that says nothing: for a source that is not a folder below the current one.
    """
    here, there = Path.cwd(), (Path(source) / path).resolve()
    if not there.is_dir() or here == there or not there.is_relative_to(here):
        return ""
    return f"{there.relative_to(here).as_posix()}/"


def _written(found: Validity, form: Report, folder: str) -> str:
    from reconciler.cli.render import problems  # noqa: PLC0415  (--help stays quick)

    match form:
        case Report.TEXT:
            return problems.render_text(found)
        case Report.JSON:
            return problems.render_json(found.problems)
        case Report.GITHUB:
            return problems.render_github(found, folder)
        case Report.SARIF:
            from reconciler.cli.render import sarif  # noqa: PLC0415

            return sarif.render_sarif(found.problems, folder)
