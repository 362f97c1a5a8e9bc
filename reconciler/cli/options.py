"""What several commands take from the command line, and what their exit statuses mean."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
"""How every command shows its help."""

STATUSES = {
    0: "done, or nothing to do",
    1: "an error; also a node that could not be read, or a plan answered with no",
    2: "changes are pending (only with --dry-run --detailed-exitcode)",
    3: "a guard refused the plan: nothing was done",
    4: "the nodes changed since the plan was made: nothing was done",
    5: "applied in part: the report says what was not done and why",
    130: "stopped on request",
}
"""Exit statuses and what they mean."""

ENVIRONMENT = {
    "NO_COLOR": "no colours, like --no-color",
    "XDG_STATE_HOME": "parent of the state directory; ~/.local/state where unset",
    "RECONCILE_AGE_IDENTITY": "age identities that open ${age:…} values and .age files, one a line",
    "RECONCILE_AGE_IDENTITY_FILE": "a file of such identities, instead",
    "RECONCILE_DEBUG": "1 shows tracebacks with errors",
}
"""Environment variables that every command reads."""


class Format(StrEnum):
    """How a plan is written."""

    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"


class Shape(StrEnum):
    """How what is known is written."""

    TEXT = "text"
    JSON = "json"


State = Annotated[Path | None, typer.Option(metavar="DIR", help="Where the journal and the history are.")]
NoColor = Annotated[bool, typer.Option("--no-color", help="No colours.")]


def new_app() -> typer.Typer:
    """A command's app: no shell completion, plain help."""
    return typer.Typer(add_completion=False, rich_markup_mode=None, context_settings=SETTINGS)


def state_folder(given: Path | None) -> Path:
    """The state directory: the one given, or the user's own."""
    import platformdirs  # noqa: PLC0415  (--help stays quick)

    return given or platformdirs.user_state_path("reconciler")


def columns(rows: dict[str, str]) -> str:
    """Names and their explanations, aligned and indented, for a help text."""
    width = max(map(len, rows))
    return "\n".join(f"  {name:<{width}}  {text}" for name, text in rows.items())
