"""`reconcile schemas`: JSON Schemas of all files and messages, for editors and other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reconciler.cli.options import add_command, make_app
from reconciler.errors import UsageError

app = make_app()


@add_command(app)
def run_schemas(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Schema to print; without it, all are listed.")
    ] = "",
    *,
    write: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write the schemas into this folder.")
    ] = None,
) -> int:
    """Print a JSON Schema (2020-12), or write all schemas.

    They are made from the models that read the files: an editor that uses them accepts and refuses the same
    as the program.
    """
    from reconciler.cli.file_writer import write_texts
    from reconciler.cli.schema_table import SCHEMAS, SUFFIX, format_schema
    from reconciler.cli.terminal import Terminal
    from reconciler.text.suggestions import find_similar, join_choices

    if name and name not in SCHEMAS:
        near = find_similar(name, SCHEMAS)
        remedy = f"did you mean {join_choices(near)}?" if near else "`reconcile schemas` lists all schemas"
        raise UsageError(f"unknown schema {name!r}", remedy=remedy)
    terminal = Terminal.here(for_people=False)
    if write is not None:
        written = [name] if name else list(SCHEMAS)
        write_texts(write, {f"{each}{SUFFIX}": format_schema(each) for each in written})
        terminal.say("".join(f"{write / each}{SUFFIX}\n" for each in written))
        return 0
    if name:
        terminal.say(format_schema(name))
        return 0
    width = max(map(len, SCHEMAS))
    terminal.say("".join(f"{each:<{width}}  {SCHEMAS[each]()['title']}\n" for each in SCHEMAS))
    return 0
