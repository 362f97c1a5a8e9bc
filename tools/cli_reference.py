"""The reference of the command line in Markdown, generated from the commands.

`python -m tools.cli_reference` prints it.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import typer

from reconciler.cli.command_table import COMMANDS, DEFAULT
from reconciler.cli.options import ENVIRONMENT, PRECEDENCE, STATUSES
from reconciler.cli.render.markdown import format_code

_INTRODUCTION = """# Command line

**For** whoever looks up a command, an option or an exit status.

Generated from the program; `reconcile --help` and `reconcile COMMAND --help` show the same.

If the first argument is not a command, it is a SOURCE: `reconcile examples/demo` plans and applies. For a folder with
the name of a command, write its path: `reconcile ./history`."""


def cli_reference() -> str:
    """All commands with their arguments and options, the exit statuses and the environment, as Markdown.

    Raises:
        ImportError: a command of the table has no module.
    """
    parts = [_INTRODUCTION, *_command("reconcile", load_command(DEFAULT.module))]
    for name, command in sorted(COMMANDS.items()):
        parts += _command(f"reconcile {name}", load_command(command.module))
    parts += [
        "## Exit status",
        _table(("status", "meaning"), {str(key): text for key, text in STATUSES.items()}),
        PRECEDENCE,
    ]
    parts += ["## Environment", _table(("variable", "meaning"), ENVIRONMENT)]
    return "\n\n".join(parts) + "\n"


def load_command(module: str) -> Any:
    """The command of a module of the command table, as click knows it."""
    return typer.main.get_command(import_module(module).app)


def _command(name: str, command: Any) -> Iterator[str]:
    """A command, followed by its subcommands."""
    with command.make_context(name, [], resilient_parsing=True) as context:
        usage = " ".join(command.collect_usage_pieces(context))
        records = [
            (param.param_type_name, param.get_help_record(context)) for param in command.get_params(context)
        ]
        yield f"## `{name}`"
        yield f"```text\n{name} {usage}\n```"
        yield inspect.cleandoc(command.help or "")
        for kind, title in (("argument", "argument"), ("option", "option")):
            rows = {record[0]: record[1] for found, record in records if found == kind and record}
            if rows:
                yield _table((title, "meaning"), rows)
        for sub, below in sorted(getattr(command, "commands", {}).items()):
            yield from _command(f"{name} {sub}", below)


def _table(heads: tuple[str, str], rows: Mapping[str, str]) -> str:
    lines = [f"| {heads[0]} | {heads[1]} |", "|---|---|"]
    lines += [
        f"| {format_code(name)} | {' '.join(text.split()).replace('|', chr(92) + '|')} |"
        for name, text in rows.items()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(cli_reference())
