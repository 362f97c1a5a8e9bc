"""A command of the host as the fleet file names it: a name and data, never a command line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from reconciler.core.fields import StrictModel
from reconciler.core.host_entries import ONLY_READS, EntryKind, NamesEntry

GIVEN: Final = ("node", "host", "version")
"""Placeholders that the program itself fills."""


def _refuse_given_name(name: str) -> str:
    if name in GIVEN:
        raise PydanticCustomError("given_argument", "the program sets `node`, `host` and `version` itself")
    return name


def refuse_command_line(value: Any) -> Any:
    """Refuse a command line, as older fleet files have it; a validator before that of the model."""
    # Who can merge into the repository could otherwise run any program on the management host.
    if not isinstance(value, list | str):
        return value
    shown = json.dumps(value, ensure_ascii=False, default=str)[:200]
    raise PydanticCustomError(
        "command_line",
        "a fleet file names a host command, not a command line",
        {
            "remedy": f"write `{{command: NAME}}` here, and into the host configuration "
            f"`commands: {{NAME: {{run: {shown}}}}}`; see `reconcile explain host`"
        },
    )


_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._\-]{0,63}$")]

EntryName = Annotated[_Name, NamesEntry(EntryKind.FILES)]
"""Name of an entry of `files` of the host configuration."""

ArgumentName = Annotated[
    str,
    AfterValidator(_refuse_given_name),
    Field(pattern=r"^[a-z][a-z0-9_]{0,31}$", json_schema_extra={"not": {"enum": list(GIVEN)}}),
]


class NamedCommand(StrictModel):
    """A command of the host; the host configuration says what it runs."""

    command: Annotated[_Name, NamesEntry(EntryKind.COMMANDS)] = Field(
        description="Its name under `commands` of the host configuration.", examples=["stop-sora"]
    )
    arguments: Mapping[
        ArgumentName,
        # No leading `-`, no space: the text becomes one argument of a host command, and never an option.
        Annotated[str, Field(pattern=r"^[0-9A-Za-z_.:@+][0-9A-Za-z_.:@+=,%\-]{0,255}$")],
    ] = Field(
        default_factory=dict,
        max_length=20,
        description="Data for the command's own placeholders, in addition to `{node}` and `{host}`.",
        examples=[{"unit": "sora"}],
    )


CommandReference = Annotated[NamedCommand, BeforeValidator(refuse_command_line)]
"""`{command: NAME, arguments: {…}}` in the fleet file."""

ReadingReference = Annotated[CommandReference, ONLY_READS]
"""The same for a command that must only read."""


class RestartCommand(NamedCommand):
    """A command of the host that restarts a node, and one that shows that it was started again."""

    started: ReadingReference = Field(
        description="The host's command that prints a text which is new after each start of the node, such "
        "as `systemctl show --property InvocationID sora`: nothing in the node's API shows a restart. The "
        "host configuration must mark it with `reads: true`.",
        examples=[{"command": "node-started"}],
    )


RestartReference = Annotated[RestartCommand, BeforeValidator(refuse_command_line)]
"""`{command: NAME, started: {command: NAME}}` in the fleet file."""


def fill_node_command(command: NamedCommand, node: str, host: str) -> dict[str, str]:
    """Placeholder -> text, for a command on one node."""
    # `node` and `host` come last: the fleet file must not replace the host on which the command acts.
    return {**command.arguments, "node": node, "host": host}
