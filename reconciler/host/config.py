"""The host configuration: all that this machine decides and a tree of desired state must not.

The models alone; `reconciler.cli.host_loader` finds and reads the file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Final, Literal, TypeAlias, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, create_model, field_validator
from pydantic_core import PydanticCustomError

from reconciler.core.fields import SomeTime, StrictModel
from reconciler.core.retention import KEPT_RUNS, MOST_KEPT_RUNS

CREDENTIALS: Final = "$CREDENTIALS_DIRECTORY"
"""Stands in the list of secret folders for the folder of a systemd unit's credentials."""

PREFIX: Final = "RECONCILE_SECRET_"
"""How the names of variables begin that `${env:NAME}` may read, unless the host says otherwise."""

NEVER: Final = ("/proc", "/dev", "/sys")
"""Folders of the kernel; no secret is read from them, whatever the host says."""

S = TypeVar("S", bound=StrictModel)

Network: TypeAlias = IPv4Network | IPv6Network

_COMMAND_NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9._\-]{0,63}$"
_PREFIX_FORM: Final = r"^[A-Za-z_][A-Za-z0-9_]{2,63}$"
_OWN: Final = "RECONCILE_"
_CIDR: Final = r"[0-9A-Fa-f.:]{2,45}(/[0-9]{1,3})?"
_LONGEST: Final = 4096


def _absolute(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    if not text.startswith("/") or ".." in PurePosixPath(text).parts or "\0" in text or len(text) > _LONGEST:
        raise PydanticCustomError("absolute_path", "a path begins with / and has no `..`")
    return Path("/" + text.lstrip("/"))  # pathlib keeps two leading slashes apart from one


def _network(text: Any) -> Any:
    try:
        if isinstance(text, str) and re.fullmatch(_CIDR, text):
            return ip_network(text)
    except ValueError:
        pass
    raise PydanticCustomError(
        "network", "a network is written as 192.0.2.0/24 or 2001:db8::/32, with its first address"
    )


def _secret_folder(path: Path | str) -> Path | str:
    if any(str(path) == place or str(path).startswith(f"{place}/") for place in NEVER):
        raise PydanticCustomError("kernel_folder", "no secret is read from /proc, /dev or /sys")
    return path


def _secret_prefix(prefix: str) -> str:
    """No prefix that the program's own credentials have, such as RECONCILE_GIT_TOKEN."""
    if (prefix.startswith(_OWN) and not prefix.startswith(PREFIX)) or _OWN.startswith(prefix):
        raise PydanticCustomError("own_prefix", "the program's own variables begin so")
    return prefix


def _secret_place(text: Any) -> Any:
    return text if text == CREDENTIALS else _absolute(text)


AbsolutePath = Annotated[
    Path,
    BeforeValidator(_absolute),
    WithJsonSchema({"type": "string", "pattern": r"^/", "maxLength": _LONGEST}),
]
"""A path that begins with `/`: a relative one would depend on where the program was started."""

Cidr = Annotated[
    IPv4Network | IPv6Network,
    BeforeValidator(_network),
    WithJsonSchema({"type": "string", "pattern": rf"^{_CIDR}$"}),
]
"""A network such as `192.0.2.0/24` or `2001:db8::/32`; an address alone is a network of one."""

SecretFolder = Annotated[
    Path | Literal["$CREDENTIALS_DIRECTORY"],
    BeforeValidator(_secret_place),
    AfterValidator(_secret_folder),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": r"^/", "maxLength": _LONGEST},
                {"const": CREDENTIALS},
            ]
        }
    ),
]

CommandName = Annotated[str, Field(pattern=_COMMAND_NAME)]
GroupName = Annotated[str, Field(pattern=r"^[a-z_A-Z][a-z_A-Z0-9.\-]{0,63}$")]
Argument = Annotated[str, Field(min_length=1, max_length=4096)]
VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]


class SecretSources(StrictModel):
    """Where references to secrets in a tree may be looked up."""

    folders: tuple[SecretFolder, ...] | None = Field(
        default=None,
        max_length=100,
        description="Folders below which `${file:…}` may read. The list replaces the default: "
        f"`{CREDENTIALS}`, `/etc/reconciler/secrets`, and `secrets` beside the user's host file.",
        examples=[[CREDENTIALS, "/etc/reconciler/secrets"]],
    )
    variables: Annotated[str, AfterValidator(_secret_prefix)] = Field(
        default=PREFIX,
        pattern=_PREFIX_FORM,
        description="How the names of environment variables begin that `${env:NAME}` may read.",
    )


class SigningRules(StrictModel):
    """Whose signature every revision must have; the command line's options take precedence."""

    required: Literal["gpg", "ssh"] = Field(description="How revisions must be signed.")
    allowed: AbsolutePath = Field(
        description="Whose signatures count: allowed signers as ssh-keygen reads them, or exported gpg keys.",
        examples=["/etc/reconciler/allowed_signers"],
    )
    revoked: AbsolutePath | None = Field(
        default=None, description="For ssh: keys that no longer count, a KRL or public keys."
    )


class HostCommand(StrictModel):
    """A program that a fleet file may ask for by its name."""

    run: tuple[Argument, ...] = Field(
        min_length=1,
        max_length=100,
        description="Program and arguments, without a shell. `{node}` is the node's name, `{host}` its host, "
        "and any other `{key}` comes from the `arguments` of the fleet file. A value is never split.",
        examples=[["ssh", "{host}", "sudo", "systemctl", "stop", "sora"]],
    )
    timeout: SomeTime = Field(default=60.0, description="How long the program may take until it is killed.")
    variables: tuple[VariableName, ...] = Field(
        default=(),
        max_length=100,
        description="Environment variables that the program gets beside PATH, HOME, USER, LANG and the like.",
        examples=[["SSH_AUTH_SOCK"]],
    )

    @field_validator("run")
    @classmethod
    def _own_program(cls, run: tuple[str, ...]) -> tuple[str, ...]:
        """The tree must not choose the program, not even a part of its name."""
        if "{" in run[0]:
            raise PydanticCustomError("own_program", "the program itself has no placeholder")
        return run


class HistoryRules(StrictModel):
    """How much this host remembers of what was done."""

    keep: int = Field(
        default=KEPT_RUNS,
        ge=1,
        le=MOST_KEPT_RUNS,
        description="Runs that the history keeps; older ones are forgotten once nothing needs them any more. "
        "`--keep` takes precedence.",
        examples=[5000],
    )


class HostConfig(StrictModel):
    """What this machine decides, whatever a tree of desired state says."""

    state: AbsolutePath | None = Field(
        default=None,
        description="Folder of the journal and the history. `--state` and `RECONCILE_STATE` take precedence; "
        "without any, `/var/lib/reconciler` where it exists, else the user's own state folder.",
        examples=["/var/lib/reconciler"],
    )
    operators: tuple[GroupName, ...] = Field(
        default=(),
        max_length=20,
        description="Groups of this host whose members may suspend, resume, approve, roll back and read the "
        "history through a running watch, without being root.",
        examples=[["fleet-operators"]],
    )
    history: HistoryRules = Field(
        default_factory=HistoryRules, description="How much is remembered of what was done."
    )
    secrets: SecretSources = Field(
        default_factory=SecretSources, description="Where references to secrets may be looked up."
    )
    networks: tuple[Cidr, ...] = Field(
        default=(),
        max_length=1000,
        description="Networks that nodes may be in; a node elsewhere is never asked. Without one, all are.",
        examples=[["192.0.2.0/24", "2001:db8::/32"]],
    )
    trusted_proxies: tuple[Cidr, ...] = Field(
        default=(),
        max_length=1000,
        description="Proxies before the watch's HTTP endpoints whose `X-Forwarded-For` counts.",
        examples=[["127.0.0.1/32"]],
    )
    signers: SigningRules | None = Field(
        default=None, description="Whose signature every revision must have; without it, none is asked for."
    )
    commands: Mapping[CommandName, HostCommand] = Field(
        default_factory=dict,
        description="Programs that a fleet file may ask for by name, such as Sora's `stop`.",
        examples=[{"stop-sora": {"run": ["ssh", "{host}", "sudo", "systemctl", "stop", "sora"]}}],
    )

    def section(self, kind: str, model: type[S]) -> S:
        """What the file says for one product; all at its default where it says nothing.

        Args:
            kind: the section's key, see `add_sections`.
            model: of the section.
        """
        found = dict(self).get(kind)
        return found if isinstance(found, model) else model()


def add_sections(sections: Mapping[str, tuple[str, type[StrictModel]]]) -> type[HostConfig]:
    """The configuration with a section for each of some products.

    Args:
        sections: kind -> the product's name, and the model of its section.
    """
    fields: dict[str, Any] = {
        kind: (model, Field(default_factory=model, description=f"What this host allows for {title}."))
        for kind, (title, model) in sections.items()
    }
    return create_model(HostConfig.__name__, __base__=HostConfig, __doc__=HostConfig.__doc__, **fields)
