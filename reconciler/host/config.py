"""The host configuration: what this machine decides, and what desired state must not decide.

Only the models; `reconciler.cli.host_loader` finds and reads the file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import (
    Field,
    ValidationError,
    create_model,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from reconciler.core.endpoint import LAST_PORT
from reconciler.core.fields import Flag, Size, SomeTime, StrictModel
from reconciler.core.retention import KEPT_RUNS, MOST_KEPT_RUNS
from reconciler.host.access_rules import AccessRules
from reconciler.host.aws_accounts import AwsAccount
from reconciler.host.commit_status_config import CommitStatusRules
from reconciler.host.config_database import DatabaseAccess
from reconciler.host.config_fields import (
    CREDENTIALS,
    PREFIX,
    AbsolutePath,
    AccountName,
    Argument,
    AuthorityName,
    BusName,
    Cidr,
    CommandName,
    FilePath,
    GroupName,
    HostPattern,
    KeyFile,
    ListenAddress,
    SecretFolder,
    SecretPrefix,
    SshHost,
    SshName,
    SshUser,
    VariableName,
)
from reconciler.host.firestore_config import FirestoreProject
from reconciler.host.kafka_clusters import KafkaCluster
from reconciler.host.notification_rules import NotificationRules
from reconciler.host.oci_accounts import OciAccount
from reconciler.host.trace_rules import TraceRules

S = TypeVar("S", bound=StrictModel)

_FILE_LIMIT: Final = 1024 * 1024
_FILE_MOST: Final = 64 * 1024 * 1024
_MODE: Final = r"^0?[0-7]{3}$"
_OWNER: Final = r"^[A-Za-z_0-9][A-Za-z_0-9.\-]{0,63}(:[A-Za-z_0-9][A-Za-z_0-9.\-]{0,63})?$"

_TWO_ACCOUNTS: Final = PydanticCustomError("two_accounts", "another account of `aws` has this bucket too")
_TWO_CLUSTERS: Final = PydanticCustomError("two_clusters", "another entry of `kafka` has this broker too")
_TWO_DATABASES: Final = PydanticCustomError(
    "two_databases",
    "another entry of `firestore` has this project too, and may have the same paths: write `paths` into "
    "both, none of them in common",
)
_UNKNOWN_WAY: Final = PydanticCustomError("unknown_way", "it names no entry of `ssh`")
_JUMP_CIRCLE: Final = PydanticCustomError("jump_circle", "its jump hosts lead back to it")
_JUMP_HOST: Final = PydanticCustomError(
    "jump_host", "the `host` of a jump host must be one fixed machine, without a placeholder"
)


class SecretSources(StrictModel):
    """Sources of secrets on this host."""

    folders: tuple[SecretFolder, ...] | None = Field(
        default=None,
        max_length=100,
        description="Folders in which `${file:…}` may read, with subfolders. The list replaces the default: "
        f"`{CREDENTIALS}`, `/etc/reconciler/secrets`, and `secrets` next to the user's host file.",
        examples=[[CREDENTIALS, "/etc/reconciler/secrets"]],
    )
    variables: SecretPrefix = Field(
        default=PREFIX,
        description="Prefix of the environment variables that `${env:NAME}` may read.",
    )


class SigningRules(StrictModel):
    """Required signatures of revisions; options of the command line take precedence."""

    required: Literal["gpg", "ssh"] = Field(description="Kind of signature that every revision must have.")
    allowed: AbsolutePath = Field(
        description="Accepted signers: an `allowed_signers` file of ssh-keygen, or exported gpg keys.",
        examples=["/etc/reconciler/allowed_signers"],
    )
    revoked: AbsolutePath | None = Field(
        default=None, description="Only for ssh: file of revoked keys, a KRL or public keys."
    )


class SshTimeouts(StrictModel):
    """How long a way waits."""

    connect: SomeTime = Field(default=10.0, description="For the TCP connection.")
    login: SomeTime = Field(
        default=30.0, description="For the exchange of keys and the login, after the connection."
    )
    alive: SomeTime = Field(
        default=15.0,
        description="Time between two signs of life of an open connection; after three without an answer it "
        "counts as broken.",
    )
    idle: SomeTime = Field(
        default=300.0,
        description="How long an unused connection is kept for later commands, also of later passes.",
    )


class SshWay(StrictModel):
    """A way to machines over SSH."""

    host: SshHost = Field(
        default="{host}",
        description="Name or address of the machine. `{host}` is the node's own host, `{node}` its name; a "
        "jump host has neither.",
        examples=["{host}", "bastion.example.com"],
    )
    port: int = Field(default=22, ge=1, le=LAST_PORT, description="Port of its SSH server.")
    user: SshUser = Field(description="User who logs in.", examples=["reconciler"])
    keys: tuple[KeyFile, ...] = Field(
        default=(),
        max_length=20,
        description="Files of private keys without a password, tried in this order. A certificate is "
        "in `NAME-cert.pub` next to it. `$CREDENTIALS_DIRECTORY/NAME` is a credential of the systemd unit.",
        examples=[["/etc/reconciler/ssh/id_ed25519"]],
    )
    agent: Flag = Field(
        default=False, description="Whether the keys of the agent at `SSH_AUTH_SOCK` are tried too."
    )
    known_hosts: AbsolutePath = Field(
        description="File of the host keys that are accepted, as OpenSSH writes it; `@cert-authority` and "
        "`@revoked` count. No other file of known hosts is read.",
        examples=["/etc/reconciler/ssh/known_hosts"],
    )
    jump: SshName | None = Field(
        default=None,
        description="Another entry of `ssh` to go through, with its own user, keys and known hosts.",
        examples=["bastion"],
    )
    names: tuple[HostPattern, ...] = Field(
        default=(),
        max_length=100,
        description="Behind a jump host, names resolve there, and their addresses cannot be compared with "
        "`networks`. If that has entries, only addresses in them and names of this list are allowed.",
        examples=[["*.sora.internal"]],
    )
    sudo: Flag = Field(default=False, description="Whether each program runs with `sudo -n` in front.")
    connections: int = Field(
        default=64,
        ge=1,
        le=1000,
        description="Connections of this way that are open at once, unused ones included.",
    )
    timeouts: SshTimeouts = Field(default_factory=SshTimeouts, description="How long it waits.")

    @model_validator(mode="after")
    def _require_key(self) -> SshWay:
        if not self.keys and not self.agent:
            raise PydanticCustomError("no_key", "`keys` or `agent: true` is needed; nothing else logs in")
        return self


class HostCommand(StrictModel):
    """A program that a fleet file may name."""

    run: tuple[Argument, ...] = Field(
        min_length=1,
        max_length=100,
        description="Program and arguments, without a shell. `{node}` is the node's name, `{host}` its host. "
        "Other `{key}` come from `arguments` of the fleet file. A value always stays one argument.",
        examples=[["systemctl", "stop", "sora"]],
    )
    timeout: SomeTime = Field(default=60.0, description="Time after which the program is killed.")
    variables: tuple[VariableName, ...] = Field(
        default=(),
        max_length=100,
        description="Variables that the program gets in addition to PATH, HOME, USER, LANG and similar ones. "
        "Only without `ssh`.",
        examples=[["SSH_AUTH_SOCK"]],
    )
    ssh: SshName | None = Field(
        default=None,
        description="Entry of `ssh`: the program runs on the node's machine. Without it, on this machine.",
        examples=["sora"],
    )
    sudo: Flag = Field(default=False, description="Whether the program runs with `sudo -n` in front.")
    reads: Flag = Field(
        default=False,
        description="Whether it only reads. Only such a command is used to observe nodes, also in a dry run.",
    )

    @field_validator("run")
    @classmethod
    def _refuse_placeholder(cls, run: tuple[str, ...]) -> tuple[str, ...]:
        """Refuse a placeholder in the program: desired state must not choose what this host runs."""
        if "{" in run[0]:
            raise PydanticCustomError("own_program", "the program must not contain a placeholder")
        return run

    @model_validator(mode="after")
    def _refuse_variables(self) -> HostCommand:
        if self.ssh and self.variables:
            raise PydanticCustomError("far_variables", "`ssh` passes no `variables` on")
        return self


class HostFile(StrictModel):
    """A file that a fleet file may name; desired state gives its content, never its path."""

    path: FilePath = Field(
        description="Absolute path. `{node}` is the node's name; nothing else of the fleet file is part of a "
        "path.",
        examples=["/etc/sora/sora.conf"],
    )
    ssh: CommandName | None = Field(
        default=None,
        description="Name in `ssh` of the way to the machine that has the file. Default: this machine.",
        examples=["sora"],
    )
    sudo: Flag = Field(
        default=False,
        description="Read and write it with `sudo -n`.",
    )
    follow: Flag = Field(
        default=False,
        description="Whether `path` may be a symbolic link; then the file at its end is read and replaced, "
        "and the link stays. Otherwise a link is refused: with sudo it could lead to any file.",
    )
    check: tuple[Argument, ...] = Field(
        default=(),
        max_length=100,
        description="Program and arguments that test new content before it is put in place; status 0 means "
        "good. `{file}` is the content that is written aside, in the same folder. Default: no test.",
        examples=[["/opt/sora/bin/sora", "check", "{file}"]],
    )
    reload: CommandName | None = Field(
        default=None,
        description="Name in `commands` of the command that makes a running product read the file again, for "
        "products that can.",
        examples=["reload-nginx"],
    )
    limit: Size = Field(
        default=_FILE_LIMIT,
        ge=1,
        le=_FILE_MOST,
        description="Largest size; a larger file is neither read nor written.",
        examples=["1MiB"],
    )
    mode: Annotated[str, Field(pattern=_MODE)] = Field(
        default="0600",
        description="Permissions of a file that does not exist yet. An existing file keeps its own.",
        examples=["0640"],
    )
    owner: Annotated[str, Field(pattern=_OWNER)] | None = Field(
        default=None,
        description="Owner, or owner and group, of a file that does not exist yet. Default: the user who "
        "writes it.",
        examples=["sora:sora"],
    )
    timeout: SomeTime = Field(
        default=60.0, description="Time after which each program that reads, writes or tests it is killed."
    )

    @field_validator("check")
    @classmethod
    def _require_file(cls, check: tuple[str, ...]) -> tuple[str, ...]:
        """Require that the check names the content that it tests, and a program of its own."""
        if check and not any("{file}" in argument for argument in check[1:]):
            raise PydanticCustomError("check_file", "one of its arguments must have the placeholder {file}")
        if any(re.search(r"[{}]", argument.replace("{file}", "")) for argument in check) or (
            check and "{" in check[0]
        ):
            raise PydanticCustomError("check_placeholder", "the only placeholder of its arguments is {file}")
        return check


class NodeServerRules(StrictModel):
    """The server that nodes of `deliver: poll` call, part of `reconcile watch`."""

    listen: ListenAddress = Field(
        description="Where it listens, apart from the endpoints for operators.", examples=["0.0.0.0:8643"]
    )
    certificate: AbsolutePath | None = Field(
        default=None,
        description="Certificate with its chain, in PEM; together with `key`. A renewed file is read again. "
        "Without both, the server speaks plain HTTP: the URL of a node contains its token, so that a proxy "
        "in front must speak TLS.",
        examples=["/etc/reconciler/nodes.pem"],
    )
    key: AbsolutePath | None = Field(
        default=None,
        description="Key of the certificate, in PEM, without a password.",
        examples=["/etc/reconciler/nodes.key"],
    )
    allow: tuple[Cidr, ...] = Field(
        default=(),
        max_length=1000,
        description="Networks of callers. Without an entry all may call.",
        examples=[["192.0.2.0/24"]],
    )
    proxies: tuple[Cidr, ...] = Field(
        default=(),
        max_length=1000,
        description="Proxies in front of it whose `X-Forwarded-For` and `X-Forwarded-Proto` are trusted.",
        examples=[["127.0.0.1/32"]],
    )
    rate: int = Field(
        default=120,
        ge=1,
        le=100_000,
        description="Polls and reports of one node per minute; further ones are answered with 429. Downloads "
        "are never refused.",
    )
    downloads: int = Field(
        default=64,
        ge=1,
        le=10_000,
        description="Downloads at the same time, at most two of one node; further ones wait for their turn.",
    )

    @model_validator(mode="after")
    def _require_both(self) -> NodeServerRules:
        if (self.certificate is None) != (self.key is None):
            raise PydanticCustomError("half_tls", "`certificate` and `key` belong together")
        return self


class HistoryRules(StrictModel):
    """How many runs this host remembers."""

    keep: int = Field(
        default=KEPT_RUNS,
        ge=1,
        le=MOST_KEPT_RUNS,
        description="Number of runs in the history; older ones are deleted when nothing needs them. "
        "`--keep` takes precedence.",
        examples=[5000],
    )


class HostConfig(StrictModel):
    """What this machine decides, whatever the desired state says."""

    state: AbsolutePath | None = Field(
        default=None,
        description="Folder of the journal and the history. `--state` and `RECONCILE_STATE` take precedence. "
        "Default: `/var/lib/reconciler` if it exists, else the user's state folder.",
        examples=["/var/lib/reconciler"],
    )
    database: DatabaseAccess | None = Field(
        default=None,
        description="A database that has the journal and the history in place of the state folder, for "
        "several hosts; the folder keeps copies of sources. `--state` and `RECONCILE_STATE` take precedence.",
        examples=[{"url": "postgresql://reconciler@db.example.com/reconciler"}],
    )
    operators: tuple[GroupName, ...] = Field(
        default=(),
        max_length=20,
        description="Groups of this host. Their members may suspend, resume, approve, roll back and read the "
        "history through a running watch without root rights.",
        examples=[["fleet-operators"]],
    )
    history: HistoryRules = Field(default_factory=HistoryRules, description="How many runs are remembered.")
    secrets: SecretSources = Field(
        default_factory=SecretSources, description="Where references to secrets are resolved."
    )
    networks: tuple[Cidr, ...] = Field(
        default=(),
        max_length=1000,
        description="Networks of nodes; nothing connects to others. Without an entry all are allowed.",
        examples=[["192.0.2.0/24", "2001:db8::/32"]],
    )
    trusted_proxies: tuple[Cidr, ...] = Field(
        default=(),
        max_length=1000,
        description="Proxies in front of the watch's HTTP endpoints whose `X-Forwarded-For` is trusted.",
        examples=[["127.0.0.1/32"]],
    )
    access: AccessRules = Field(
        default_factory=AccessRules,
        description="Who may look at the watch's pages and act there, apart from users of this machine.",
    )
    notifications: NotificationRules | None = Field(
        default=None,
        description="Whom the watch tells what, by Slack, Teams, mail and the like. Without this key nobody.",
        examples=[
            {
                "recipients": {"on-call": {"addresses": ["$CREDENTIALS_DIRECTORY/slack"]}},
                "rules": [{"recipients": ["on-call"], "severity": "warning"}],
            }
        ],
    )
    nodes: NodeServerRules | None = Field(
        default=None,
        description="The server for nodes that poll. Without this key no node can poll this host.",
        examples=[{"listen": "0.0.0.0:8643"}],
    )
    commit_statuses: tuple[CommitStatusRules, ...] = Field(
        default=(),
        max_length=100,
        description="Forges at which a watch of a source writes the status of its newest commit. Without an "
        "entry for its source it writes none.",
        examples=[
            [
                {
                    "source": "https://github.com/operations/fleet.git",
                    "forge": "github",
                    "repository": "operations/fleet",
                    "token": "$CREDENTIALS_DIRECTORY/forge-token",
                }
            ]
        ],
    )
    signers: SigningRules | None = Field(
        default=None,
        description="Required signatures of revisions. Without this key, signatures are not required.",
    )
    traces: TraceRules | None = Field(
        default=None,
        description="Where traces of passes are sent. Without this key none are made.",
        examples=[{"endpoint": "https://otel.example.com:4318/v1/traces"}],
    )
    commands: Mapping[CommandName, HostCommand] = Field(
        default_factory=dict,
        description="Programs that a fleet file may name, such as for Sora's `stop`.",
        examples=[{"stop-sora": {"run": ["systemctl", "stop", "sora"], "ssh": "sora", "sudo": True}}],
    )
    ssh: Mapping[SshName, SshWay] = Field(
        default_factory=dict,
        description="Ways to machines over SSH, which `commands` and other ways name.",
        examples=[
            {
                "sora": {
                    "user": "reconciler",
                    "keys": ["/etc/reconciler/ssh/id_ed25519"],
                    "known_hosts": "/etc/reconciler/ssh/known_hosts",
                }
            }
        ],
    )

    authorities: Mapping[AuthorityName, AbsolutePath] = Field(
        default_factory=dict,
        description="Files in PEM with the certificates of your own authorities. A cluster or a node of the "
        "fleet file names the one that signs its certificates (`authority`).",
        examples=[{"office": "/etc/reconciler/office-ca.pem"}],
    )

    aws: Mapping[AccountName, AwsAccount] = Field(
        default_factory=dict,
        description="Accounts of AWS, and of servers with its protocols, which this host may use. Keys in "
        "settings are those of nodes, and never used here.",
        examples=[{"backups": {"region": "eu-central-1", "s3": {"buckets": ["m2-backups"]}}}],
    )

    oci: Mapping[AccountName, OciAccount] = Field(
        default_factory=dict,
        description="Accounts of Oracle Cloud Infrastructure which this host may use.",
    )

    kafka: Mapping[BusName, KafkaCluster] = Field(
        default_factory=dict,
        description="Kafka clusters by which nodes with `kafkaSub` and `kafkaPub` in their settings are "
        "told of offers, and report. A setting may only name brokers of an entry.",
        examples=[{"prod": {"brokers": ["kafka-1.example.com:9092"], "tls": {}}}],
    )

    @model_validator(mode="after")
    def _require_one_cluster(self) -> HostConfig:
        """Require that a broker belongs to one Kafka cluster: it alone says which one a setting means."""
        seen: dict[str, str] = {}
        wrong = []
        for name, cluster in self.kafka.items():
            for index, broker in enumerate(cluster.brokers):
                if seen.setdefault(broker, name) != name:
                    place: tuple[str | int, ...] = ("kafka", name, "brokers", index)
                    wrong.append(_make_wrong_entry(_TWO_CLUSTERS, place, broker))
        if wrong:
            raise ValidationError.from_exception_data(type(self).__name__, wrong)
        return self

    @model_validator(mode="after")
    def _require_one_account(self) -> HostConfig:
        """Require that a bucket belongs to one account: its name alone says where it is read."""
        seen: dict[str, str] = {}
        wrong = []
        for name, account in self.aws.items():
            for index, bucket in enumerate(account.s3.buckets if account.s3 else ()):
                if seen.setdefault(bucket, name) != name:
                    place: tuple[str | int, ...] = ("aws", name, "s3", "buckets", index)
                    wrong.append(_make_wrong_entry(_TWO_ACCOUNTS, place, bucket))
        if wrong:
            raise ValidationError.from_exception_data(type(self).__name__, wrong)
        return self

    firestore: Mapping[CommandName, FirestoreProject] = Field(
        default_factory=dict,
        description="Firestore databases that a fleet file may name, for feedback. A fleet file gives only "
        "the name of an entry and the path of a collection.",
        examples=[
            {"m2live": {"project": "m2live-prod", "credentials": "$CREDENTIALS_DIRECTORY/firestore.json"}}
        ],
    )

    @model_validator(mode="after")
    def _require_one_database(self) -> HostConfig:
        """Require that paths say which database a setting means: it names the project alone."""
        seen: dict[str, set[str]] = {}
        wrong = []
        for name, database in self.firestore.items():
            earlier, own = seen.setdefault(database.project, set()), {*(database.paths or ("*",))}
            if earlier and ("*" in earlier | own or earlier & own):
                place: tuple[str | int, ...] = ("firestore", name, "project")
                wrong.append(_make_wrong_entry(_TWO_DATABASES, place, database.project))
            earlier |= own
        if wrong:
            raise ValidationError.from_exception_data(type(self).__name__, wrong)
        return self

    @model_validator(mode="after")
    def _check_ways(self) -> HostConfig:
        """Check what entries name: an unknown way would otherwise be found only when a node needs it."""
        wrong = [
            _make_wrong_entry(_UNKNOWN_WAY, ("commands", name, "ssh"), command.ssh)
            for name, command in self.commands.items()
            if command.ssh is not None and command.ssh not in self.ssh
        ]
        for name, way in self.ssh.items():
            if way.jump is None:
                continue
            place = ("ssh", name, "jump")
            if way.jump not in self.ssh:
                wrong.append(_make_wrong_entry(_UNKNOWN_WAY, place, way.jump))
            elif name in self.list_jumps(name):
                wrong.append(_make_wrong_entry(_JUMP_CIRCLE, place, way.jump))
            elif "{" in self.ssh[way.jump].host:
                wrong.append(_make_wrong_entry(_JUMP_HOST, place, way.jump))
        if wrong:
            raise ValidationError.from_exception_data(type(self).__name__, wrong)
        return self

    def list_jumps(self, name: str) -> tuple[str, ...]:
        """The entries of `ssh` that a way goes through, the one next to the machine first."""
        found: dict[str, None] = {}
        way = self.ssh.get(name)
        while way is not None and way.jump is not None and way.jump not in found:
            found[way.jump] = None
            way = self.ssh.get(way.jump)
        return tuple(found)

    files: Mapping[CommandName, HostFile] = Field(
        default_factory=dict,
        description="Files of this machine or of nodes that a fleet file may name, such as a `sora.conf`.",
        examples=[{"sora-conf": {"path": "/etc/sora/sora.conf", "ssh": "sora", "sudo": True}}],
    )

    @model_validator(mode="after")
    def _require_named_entries(self) -> HostConfig:
        """Require that what an entry names exists; the errors stand at the names."""
        known = {"reload": self.commands, "ssh": self.ssh}
        missing = [
            InitErrorDetails(
                type=PydanticCustomError(
                    "unknown_entry",
                    "`{section}` has no such entry",
                    {"section": "commands" if key == "reload" else key},
                ),
                loc=("files", name, key),
                input=named,
            )
            for name, file in self.files.items()
            for key, entries in known.items()
            if (named := getattr(file, key)) is not None and named not in entries
        ]
        if missing:
            raise ValidationError.from_exception_data(type(self).__name__, missing)
        return self

    def section(self, kind: str, model: type[S]) -> S:
        """The section of one product, or its defaults if the file has none.

        Args:
            kind: the section's key, see `add_sections`.
            model: of the section.
        """
        found = dict(self).get(kind)
        return found if isinstance(found, model) else model()


def make_default_config() -> HostConfig:
    """The configuration of a host without a file, equal to `HostConfig()`."""
    # Defaults are not validated, and to build what validates every entry takes as long as to read tens of
    # nodes.
    return HostConfig.model_construct()


def _make_wrong_entry(
    error: PydanticCustomError, place: tuple[str | int, ...], value: Any
) -> InitErrorDetails:
    return InitErrorDetails(type=error, loc=place, input=value)


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
