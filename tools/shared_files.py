"""The files that a package installs below `share/`: the manual page and the completions of three shells.

`python -m tools.shared_files` writes them to `distribution/share`, from where the wheel takes them.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from reconciler.cli.command_table import COMMANDS, DEFAULT
from reconciler.cli.options import ENVIRONMENT, PRECEDENCE, STATUSES
from reconciler.cli.shell_completion import SCRIPTS
from tools.cli_reference import load_command

SHARE = Path(__file__).parents[1] / "distribution/share"

_SPECIAL = str.maketrans({"\\": "\\e", "-": "\\-", "`": "", "…": "...", "→": "\\(->"})


def make_shared_files() -> dict[str, str]:
    """Path below `share/` -> text."""
    return {
        "man/man1/reconcile.1": make_manual_page(),
        "bash-completion/completions/reconcile": SCRIPTS["bash"],
        "zsh/site-functions/_reconcile": SCRIPTS["zsh"],
        "fish/vendor_completions.d/reconcile.fish": SCRIPTS["fish"],
    }


def make_manual_page() -> str:
    """The page of section 1 with all commands, in the language of man(7)."""
    lines = [
        '.\\" Generated from the program by tools/shared_files.py.',
        '.TH RECONCILE 1 "" "reconciler"',
        ".SH NAME",
        "reconcile \\- keep fleets of clustered nodes as a git repository describes them",
        ".SH SYNOPSIS",
        ".B reconcile",
        "[\\fIOPTIONS\\fR] [\\fISOURCE\\fR]",
        ".br",
        ".B reconcile",
        "\\fICOMMAND\\fR [\\fIOPTIONS\\fR] [\\fIARGUMENTS\\fR]",
        ".SH DESCRIPTION",
        *_list_command("reconcile", load_command(DEFAULT.module), with_title=False),
        ".SH COMMANDS",
    ]
    for name, command in sorted(COMMANDS.items()):
        lines += _list_command(f"reconcile {name}", load_command(command.module))
    lines += [".SH EXIT STATUS", *_list_rows({str(number): text for number, text in STATUSES.items()})]
    lines += [".SH ENVIRONMENT", _escape(PRECEDENCE), *_list_rows(ENVIRONMENT)]
    lines += [
        ".SH FILES",
        *_list_rows(
            {
                "/etc/reconciler/host.yaml": "The configuration of this host.",
                "/var/lib/reconciler": "The state: journal, history, and copies of sources.",
            }
        ),
        ".SH SEE ALSO",
        ".BR git (1),",
        ".BR systemd.service (5)",
    ]
    return "\n".join(lines) + "\n"


def _list_command(name: str, command: Any, *, with_title: bool = True) -> Iterator[str]:
    """A command, followed by its subcommands."""
    with command.make_context(name, [], resilient_parsing=True) as context:
        if with_title:
            yield f".SS {_escape(name)} {_escape(' '.join(command.collect_usage_pieces(context)))}"
        paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(command.help or ""))
        for number, text in enumerate(paragraphs):
            yield from [".PP"] if number else []
            yield _escape(text)
        records = [param.get_help_record(context) for param in command.get_params(context)]
        yield from _list_rows({record[0]: record[1] for record in records if record})
        for sub, below in sorted(getattr(command, "commands", {}).items()):
            yield from _list_command(f"{name} {sub}", below)


def _list_rows(rows: Mapping[str, str]) -> Iterator[str]:
    for name, text in rows.items():
        yield ".TP"
        yield f"\\fB{_escape(name)}\\fR"
        yield _escape(text) or "\\&"


def _escape(text: str) -> str:
    """A text on one line; a dot or a quotation mark at its start would be a request."""
    line = " ".join(text.split()).translate(_SPECIAL)
    return f"\\&{line}" if line.startswith((".", "'")) else line


if __name__ == "__main__":
    for path, text in make_shared_files().items():
        (SHARE / path).parent.mkdir(parents=True, exist_ok=True)
        (SHARE / path).write_text(text, encoding="utf-8")
