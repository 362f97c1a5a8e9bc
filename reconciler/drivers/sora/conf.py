"""sora.conf: read with positions, checked against what the clustering documents say, and written back.

A line is `key = value`; strings have no quotes, a number and its unit are parted by a space (`30 s`),
`#` begins a comment line. Comments, order and unknown keys survive a change.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from reconciler.core.fields import Whole
from reconciler.core.json_schema import Schema, SchemaTitle, make_schema
from reconciler.diagnostic import Diagnostic, Position, Severity
from reconciler.documents.model_errors import find_model_errors, translate_model_errors
from reconciler.errors import InputError
from reconciler.text.json_pointer import split_pointer

Scalar = bool | int | str
Port = Annotated[Whole, Field(ge=1, le=65_535)]
NodeName = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9A-Za-z_\-]+@[0-9A-Za-z][0-9A-Za-z\-]*(\.[0-9A-Za-z\-]+)+$"),
]

_LINE = re.compile(r"^\s*(?P<key>[0-9A-Za-z_.\-]+)\s*=\s*(?P<value>.*?)\s*$")
_INTEGER = re.compile(r"^-?(0|[1-9]\d{0,17})$")

_REQUIRED = ("node_name", "external_signaling_url", "external_api_url")
_CLUSTERED: dict[str, Any] = {
    "if": {"properties": {"cluster": {"const": True}}, "required": ["cluster"]},
    "then": {"properties": {key: {"type": "string"} for key in _REQUIRED}, "required": list(_REQUIRED)},
}
"""What a schema says of a clustered node, as `_whole` does."""

CONF: Final = SchemaTitle(
    "sora-conf",
    "sora.conf as JSON",
    "The keys of a sora.conf that the clustering documents describe; every other key passes through.",
    beyond=("cluster_listen_min_port is not above cluster_listen_max_port",),
)


class SoraConf(BaseModel):
    """The keys that the clustering documents describe; every other key passes through."""

    model_config = ConfigDict(
        extra="allow", frozen=True, strict=True, title="sora.conf", json_schema_extra=_CLUSTERED
    )

    cluster: bool = Field(default=False, description="Use the cluster feature.")
    node_name: NodeName | None = Field(
        default=None,
        description="Unique in the cluster; after the @ comes a domain name or an IP address with a dot.",
        examples=["node01@node01.example.com"],
    )
    external_signaling_url: str | None = Field(
        default=None,
        description="Where clients are redirected to.",
        examples=["wss://node1.example.com/signaling"],
    )
    external_api_url: str | None = Field(
        default=None,
        description="Where API calls are redirected to.",
        examples=["https://node1.example.com/api"],
    )
    cluster_relay: bool = Field(default=True, description="Relay media between nodes.")
    default_cluster_affinity: bool = Field(default=True, description="Gather a session on one node.")
    cluster_affinity_threshold: Whole | None = Field(
        default=None, ge=1, description="Connections of a session on a node above which others are used."
    )
    cluster_temporary_node: bool = Field(default=False, description="Erased from the cluster when stopped.")
    cluster_listen_min_port: Port = Field(
        default=49_010, description="Lowest port of the node's own traffic."
    )
    cluster_listen_max_port: Port = Field(
        default=49_020, description="Highest port of the node's own traffic."
    )
    api_port: Port = Field(default=3000, description="Port of the HTTP API.")
    license_file: str | None = Field(default=None, description="Path of the licence file.")

    @model_validator(mode="after")
    def _whole(self) -> SoraConf:
        missing = [key for key in _REQUIRED if self.cluster and getattr(self, key) is None]
        if missing:
            raise ValueError(f"a clustered node needs {', '.join(missing)}")
        if self.cluster_listen_min_port > self.cluster_listen_max_port:
            raise ValueError("cluster_listen_min_port is above cluster_listen_max_port")
        return self


def make_conf_schema() -> Schema:
    """The schema of a sora.conf's keys."""
    return make_schema(SoraConf, CONF)


@dataclass(frozen=True, slots=True)
class ConfFile:
    """The lines of a sora.conf, and each key's value with its place."""

    name: str
    lines: tuple[str, ...]
    value: Mapping[str, Scalar]
    places: Mapping[str, tuple[int, int]]

    def position(self, pointer: str, *, key: bool = False) -> Position:
        """The position of the value (or the key) of `/key`; the file as a whole for anything else."""
        name = next(iter(split_pointer(pointer)), "")
        if name not in self.places:
            return Position(self.name)
        line, column = self.places[name]
        start = len(self.lines[line - 1]) - len(self.lines[line - 1].lstrip()) + 1
        return Position(self.name, line, start if key else column)

    def changed(self, values: Mapping[str, Scalar]) -> str:
        """The text with these values: known lines are rewritten in place, new keys come at the end."""
        lines = list(self.lines)
        for key, value in values.items():
            if key not in self.places:
                lines.append(f"{key} = {format_scalar(value)}")
            # `1 == True` in Python, but `1` and `true` differ in the file.
            elif self.value[key] != value or isinstance(self.value[key], bool) is not isinstance(value, bool):
                lines[self.places[key][0] - 1] = f"{key} = {format_scalar(value)}"
        return "".join(line + "\n" for line in lines)


def parse_conf(name: str, data: bytes) -> ConfFile:
    """The file's keys and values.

    Raises:
        InputError: with every line that has another form and every repeated key.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        where = Position(name, data.count(b"\n", 0, error.start) + 1, 1)
        raise InputError(
            [Diagnostic(Severity.ERROR, "encoding", "not UTF-8 text", position=where)]
        ) from error
    lines = tuple(text.splitlines())
    value: dict[str, Scalar] = {}
    places: dict[str, tuple[int, int]] = {}
    problems: list[Diagnostic] = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.match(line)
        if match is None:
            where, remedy = Position(name, number, 1), "write `key = value`"
            problems.append(Diagnostic(Severity.ERROR, "syntax", "not `key = value`", remedy, position=where))
            continue
        key = match["key"]
        if key in places:
            problems.append(
                Diagnostic(
                    Severity.ERROR,
                    "duplicate-key",
                    f"duplicate key {key}, first in line {places[key][0]}",
                    "keep one of them",
                    position=Position(name, number, match.start("key") + 1),
                    pointer=f"/{key}",
                    related=(Position(name, *places[key]),),
                )
            )
            continue
        value[key] = parse_scalar(match["value"])
        places[key] = (number, match.start("value") + 1)
    if problems:
        raise InputError(problems)
    return ConfFile(name, lines, value, places)


def read_conf_model(conf: ConfFile) -> SoraConf:
    """The file's keys as a model.

    Raises:
        InputError: with every value that does not fit, at its place.
    """
    try:
        return SoraConf.model_validate(dict(conf.value))
    except ValidationError as error:
        raise InputError(
            translate_model_errors(find_model_errors(error, SoraConf, conf.value), conf, "")
        ) from error


def parse_scalar(text: str) -> Scalar:
    """What a value's text means: `true` and `false`, whole numbers, else the text itself."""
    if text in ("true", "false"):
        return text == "true"
    return int(text) if _INTEGER.match(text) else text


def format_scalar(value: Any) -> str:
    """A value as text of the file; `parse_scalar` is the inverse."""
    return str(value).lower() if isinstance(value, bool) else str(value)
