"""`reconcile validate`: all errors in all files of the desired state, without reading a node."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.options import HostOptions, Source, SourceOptions, SourceState, add_command, make_app

if TYPE_CHECKING:
    from reconciler.desired.validation import ValidationResult

app = make_app()


class ProblemFormat(StrEnum):
    """Output formats of problems."""

    TEXT = "text"
    JSON = "json"
    GITHUB = "github"
    SARIF = "sarif"
    CODEQUALITY = "codequality"


@add_command(app)
def run_validate(
    source: Source = ".",
    *,
    format: Annotated[
        ProblemFormat,
        typer.Option(
            "--format",
            help="Output format: text for people, json for programs, github for workflow commands, "
            "sarif for SARIF 2.1.0, or codequality for GitLab.",
        ),
    ] = ProblemFormat.TEXT,
    strict: Annotated[
        bool, typer.Option("--strict", help="Warnings are errors; silenced lints stay silent.")
    ] = False,
    source_options: SourceOptions,
    state: SourceState = None,
    host_options: HostOptions,
) -> int:
    """Show all errors and warnings of all files at once; read no node, resolve no secret.

    Ends with 0 if there is no error, with or without warnings, and with 1 otherwise; with --strict also
    with 1 if there is a warning.
    """
    from reconciler.cli.terminal import Terminal
    from reconciler.desired.validation import validate_files
    from reconciler.drivers.registry import select_drivers
    from reconciler.host import aio

    host = host_options.read_host(source)
    snapshot = aio.run_until_signal(source_options.locate(source, host, state).snapshot())
    found = validate_files(snapshot, select_drivers(host.config))
    found = found.make_strict() if strict else found
    terminal = Terminal.here(for_people=format is ProblemFormat.TEXT)
    terminal.say(_render(found, format, find_path_prefix(source, source_options.path)))
    return 0 if found.valid else 1


def find_path_prefix(source: str, path: str) -> str:
    """The path of the source from the current folder, with `/` at its end; empty if it is not below it.

    CI systems find annotated files by their path from the top of the repository, where their jobs run.
    """
    here, folder = Path.cwd(), (Path(source) / path).resolve()
    if not folder.is_dir() or here == folder or not folder.is_relative_to(here):
        return ""
    return f"{folder.relative_to(here).as_posix()}/"


def _render(found: ValidationResult, form: ProblemFormat, folder: str) -> str:
    from reconciler.cli.render import problems

    match form:
        case ProblemFormat.TEXT:
            return problems.render_problems_text(found)
        case ProblemFormat.JSON:
            return problems.render_problems_json(found.problems)
        case ProblemFormat.GITHUB:
            return problems.render_problems_github(found, folder)
        case ProblemFormat.SARIF:
            from reconciler.cli.render import sarif

            return sarif.render_sarif(found.problems, folder)
        case ProblemFormat.CODEQUALITY:
            from reconciler.cli.render import code_quality

            return code_quality.render_code_quality(found.problems, folder)
