"""The reference is the program's own: every command, every option, every status."""

import re
from importlib import import_module

import typer

from reconciler.cli.command_table import COMMANDS, DEFAULT
from reconciler.cli.options import STATUSES
from tools.cli_reference import cli_reference


def test_every_command_and_option_is_in_the_reference():
    told = cli_reference()
    for name, module in {"": DEFAULT.module, **{name: one.module for name, one in COMMANDS.items()}}.items():
        command = typer.main.get_command(import_module(module).app)
        assert f"## `{f'reconcile {name}'.strip()}`\n" in told
        for param in command.params:
            if param.param_type_name == "option" and not getattr(param, "hidden", False):
                assert any(re.search(rf"^\| `[^|]*{option}\b", told, re.MULTILINE) for option in param.opts)


def test_every_status_has_its_meaning():
    told = cli_reference()
    assert all(f"| `{status}` | {meaning} |" in told for status, meaning in STATUSES.items())


def test_no_table_row_is_broken_by_a_choice():
    rows = [line for line in cli_reference().splitlines() if line.startswith("|")]
    assert rows
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 3 for row in rows)
