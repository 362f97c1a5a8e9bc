"""Options that several commands share, and the meaning of exit statuses and environment variables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import StrEnum
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import typer

from reconciler.cli.output_choices import CHOICES
from reconciler.core.retention import KEPT_RUNS, MOST_KEPT_RUNS
from reconciler.errors import UsageError
from reconciler.exit_status import MEANINGS, SIGNALS

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from reconciler.cli.order_place import OrderPlace
    from reconciler.cli.server_client import ServerClient
    from reconciler.cli.state_access import StateAccess
    from reconciler.cli.terminal import Terminal
    from reconciler.core.selection import Selection
    from reconciler.host.environment import Environment
    from reconciler.host.host import Host
    from reconciler.planning.prior_revision_reader import MergeTarget
    from reconciler.ports.source import Source as ReadableSource
    from reconciler.sources.signatures.trust import Trust

_Run = TypeVar("_Run", bound=Callable[..., Any])

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
"""Settings of click for every command."""

STATUSES = {**{int(status): text for status, text in MEANINGS.items()}, **SIGNALS}
"""Exit statuses and what they mean."""

PRECEDENCE = (
    "If several apply, the first of these counts: 3, then 2, then 1. The key `exit` of `--format json` has "
    "all of them: pending steps, unread nodes and how many of them `--tolerate-unread` allows, other errors, "
    "refusals, and clusters on hold."
)
"""Which status counts first."""

ENVIRONMENT = {
    "NO_COLOR": "no colours, like --no-color",
    "RECONCILE_STATE": "the state folder or database, like --state",
    "XDG_STATE_HOME": "parent of the user's own state folder; default ~/.local/state",
    "XDG_CACHE_HOME": "parent of cached sources when no state folder is open; default ~/.cache",
    "RECONCILE_SERVER": "URL of a watch that answers instead of this host, like --server",
    "RECONCILE_TOKEN_FILE": "a file with the token for it, like --token-file",
    "RECONCILE_HOST_CONFIG": "the host configuration, like --host-config",
    "RECONCILE_REQUIRE_SIGNED": "gpg or ssh, like --require-signed",
    "RECONCILE_ALLOWED_SIGNERS": "file of accepted signers, like --allowed-signers",
    "RECONCILE_REVOKED_SIGNERS": "file of revoked keys, like --revoked-signers",
    "RECONCILE_AGE_IDENTITY": "age identities that decrypt ${age:…} values and .age files, one per line",
    "RECONCILE_AGE_IDENTITY_FILE": "a file with such identities",
    "RECONCILE_SOURCE": "this host's source, for `reconcile apply FILE` and `reconcile check FILE`",
    "RECONCILE_BASE": "what the revision will be merged into, like --base",
    "RECONCILE_GIT_TOKEN": "token for git over https; or RECONCILE_GIT_TOKEN_FILE: a file with it",
    "RECONCILE_SOURCE_TOKEN": "token for tarballs over https; or RECONCILE_SOURCE_TOKEN_FILE: a file with it",
    "RECONCILE_FORGE_TOKEN": "token for comments and commit statuses; or RECONCILE_FORGE_TOKEN_FILE",
    "RECONCILE_AWS_…": "keys for AWS: ACCESS_KEY_ID, SECRET_ACCESS_KEY, SESSION_TOKEN; or each with _FILE",
    "RECONCILE_SECRET_…": "value of ${env:RECONCILE_SECRET_…} in files of the desired state",
    "RECONCILE_DEBUG": "1 shows tracebacks of errors",
}
"""Environment variables that every command reads."""


FIRESTORE_EMULATOR = "FIRESTORE_EMULATOR_HOST"
"""Variable with the address of a Firestore emulator, which only simulated nodes use."""

CI_BASES = ("GITHUB_BASE_REF", "CI_MERGE_REQUEST_TARGET_BRANCH_NAME", "CI_MERGE_REQUEST_DIFF_BASE_SHA")
"""Variables in which GitHub Actions and GitLab CI name the target of a pull or merge request."""


class PlanFormat(StrEnum):
    """Output formats of a plan."""

    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"


class OutputFormat(StrEnum):
    """Output formats of lists and records."""

    TEXT = "text"
    JSON = "json"


Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="Where the desired state is: a folder, or the path or URL of a git repository or tarball.",
    ),
]
Ref = Annotated[str, typer.Option(metavar="REF", help="Branch, tag or commit of a git source.")]
WatchedSource = Annotated[
    str,
    typer.Option(
        "--source",
        metavar="SOURCE",
        help="Where the desired state is. Default: that of the running watch, else this folder.",
        show_default=False,
    ),
]
Within = Annotated[str, typer.Option(metavar="FOLDER", help="Folder within the source.")]
Sha256 = Annotated[str, typer.Option(metavar="HEX", help="Required SHA-256 of the tarball.")]
BaseRef = Annotated[
    str,
    typer.Option(
        "--base",
        metavar="REF",
        help="Branch, tag or commit that the revision will be merged into. Default: RECONCILE_BASE, else the "
        "target that GitHub Actions or GitLab CI names, else the first parent.",
    ),
]
TolerateUnread = Annotated[
    str,
    typer.Option(
        "--tolerate-unread",
        metavar="N|N%",
        help="Nodes that may be unread without an error, of all nodes that the command reads; a percentage "
        "is rounded down. Never all nodes of a cluster, and none of a cluster that is planned as a whole and "
        "is not as desired. Guards are not affected.",
        show_default=False,
    ),
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        metavar="NAME",
        help="Work on this cluster or node only: a name, CLUSTER/NODE, kind:KIND or LABEL=VALUE, with `*` "
        "for parts of names. May be given more than once.",
    ),
]
Skip = Annotated[
    list[str] | None,
    typer.Option(
        "--skip",
        metavar="NAME",
        help="Leave this cluster or node out; as --only. May be given more than once.",
    ),
]
AllOrNothing = Annotated[
    bool,
    typer.Option(
        "--all-or-nothing",
        help="Apply nothing if a guard refuses the plan of one cluster. Default: the others are applied.",
    ),
]
State = Annotated[
    str | None,
    typer.Option(
        metavar="DIR",
        help="State folder, with journal and history, or postgresql://… for several hosts. Default: "
        "RECONCILE_STATE, else the host configuration, else /var/lib/reconciler if it exists, else the "
        "user's own folder.",
        show_default=False,
    ),
]
SourceState = Annotated[
    Path | None,
    typer.Option(
        "--state",
        metavar="DIR",
        help="State folder whose copies of git repositories and tarballs are used, and nothing else.",
        show_default=False,
        readable=False,
    ),
]
NoState = Annotated[
    bool,
    typer.Option("--no-state", help="Use no state folder: earlier runs and orders are not known."),
]
Keep = Annotated[
    int | None,
    typer.Option(
        metavar="RUNS",
        min=1,
        max=MOST_KEPT_RUNS,
        help=f"Number of runs to keep in the history. Default: the host configuration, else {KEPT_RUNS}.",
        show_default=False,
    ),
]
By = Annotated[
    str, typer.Option(metavar="NAME", help="Who asks for this; recorded together with the user who runs it.")
]
Why = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Reason, recorded in the history.")]
ReportFormat = Annotated[
    PlanFormat, typer.Option("--format", help="Output format of the plan and the report.")
]
Format = Annotated[OutputFormat, typer.Option("--format", help="Output format.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Apply without asking.")]
Full = Annotated[
    bool,
    typer.Option("--full", help="Show every node, change and value in text, however many there are."),
]
_OUTPUT: dict[str, Any] = {
    "quiet": Annotated[
        bool, typer.Option("--quiet", "-q", help="Show only the result, questions and errors.")
    ],
    "verbose": Annotated[
        bool, typer.Option("--verbose", "-v", help="Also show what is read, and when each step begins.")
    ],
    "no_color": Annotated[bool, typer.Option("--no-color", help="Use no colours and no animation.")],
}
"""The options of every command; see `output_choices`."""


class SignatureKind(StrEnum):
    """Kinds of signatures."""

    GPG = "gpg"
    SSH = "ssh"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostOptions:
    """Options of every command that reads the configuration of this host."""

    context: typer.Context
    host_config: Annotated[
        Path | None,
        typer.Option(
            "--host-config",
            metavar="FILE",
            help="Configuration of this host. Default: RECONCILE_HOST_CONFIG, else "
            "/etc/reconciler/host.yaml, else the user's own file.",
            show_default=False,
        ),
    ] = None

    def read_host(self, source: str = "") -> Host:
        """The host of the command; see `host_loader.read_host`."""
        from reconciler.cli.host_loader import read_host  # noqa: PLC0415  (--help stays quick)

        return read_host(self.context, self.host_config, source)

    def read_environment(self) -> Environment:
        """The environment of the command; see `host_loader.read_environment`."""
        from reconciler.cli.host_loader import read_environment  # noqa: PLC0415  (--help stays quick)

        return read_environment(self.context)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """Options of commands that a watch elsewhere can answer."""

    server: Annotated[
        str,
        typer.Option(
            "--server",
            metavar="URL",
            help="Ask the watch at this URL instead of the state of this host. Default: RECONCILE_SERVER.",
            show_default=False,
        ),
    ] = ""
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file",
            metavar="FILE",
            help="File with the token for --server, which only this user can read. Default: "
            "RECONCILE_TOKEN_FILE.",
            show_default=False,
        ),
    ] = None

    def find_client(self, common: HostOptions, **others: object) -> ServerClient | None:
        """The client of the server that is named; None if the command works on this host.

        Args:
            common: of the command; its environment may name the server.
            others: options of the command that choose something on this host, by their names.

        Raises:
            UsageError: the server cannot be used, or an option contradicts it.
        """
        environment = common.read_environment()
        given = [name for name, value in others.items() if value]
        if given and not self.server:  # an option counts more than a variable
            return None
        from reconciler.cli.server_client import VARIABLE, find_server  # noqa: PLC0415  (--help stays quick)

        if not self.server and not environment.get(VARIABLE) and self.token_file is None:
            return None
        client = find_server(self.server, self.token_file, environment)
        if client is not None and given:
            raise UsageError(
                f"--{given[0].replace('_', '-')} and --server contradict each other",
                remedy="the server has its own source, state and options; leave one of them out",
            )
        return client


@dataclass(frozen=True, slots=True, kw_only=True)
class CommonOptions(HostOptions):
    """Options of nearly all commands."""

    def open_terminal(self, *, for_people: bool = True, full: bool = False) -> Terminal:
        """The terminal of this process; see `Terminal.here`."""
        from reconciler.cli.terminal import Terminal  # noqa: PLC0415  (--help stays quick)

        return Terminal.here(for_people=for_people, full=full)

    def open_state(self, given: str | None) -> AbstractContextManager[StateAccess]:
        """The state of the command; see `state_access.open_writable_state`."""
        from reconciler.cli.state_access import open_writable_state  # noqa: PLC0415  (--help stays quick)
        from reconciler.cli.state_folder import find_state  # noqa: PLC0415

        return open_writable_state(find_state(self.read_host(), given))

    def open_orders(self, state: str | None, server: ServerOptions) -> AbstractContextManager[OrderPlace]:
        """Where the orders of the command are written; see `order_place.open_order_place`."""
        from reconciler.cli.order_place import OrdersByServer, open_order_place  # noqa: PLC0415  (--help stays quick)

        if (client := server.find_client(self, state=state)) is not None:
            return nullcontext(OrdersByServer(client))
        return open_order_place(self.read_host(), state)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions:
    """Options that choose a revision of a source, and a folder within it."""

    ref: Ref = ""
    path: Within = ""
    sha256: Sha256 = ""

    def locate(self, source: str, host: Host, state: Path | None = None) -> ReadableSource:
        """The source of a command that reads no state.

        Args:
            source: as given.
            host: this machine.
            state: a state folder whose copies of sources are used; None for this user's own copies.

        Raises:
            ReconcilerError: there is no such source, or an option does not fit it.
        """
        from reconciler.cli.state_folder import find_source_cache  # noqa: PLC0415  (--help stays quick)
        from reconciler.sources.locate import locate_source  # noqa: PLC0415

        return locate_source(
            source,
            ref=self.ref,
            path=self.path,
            sha256=self.sha256,
            cache=find_source_cache(state.expanduser().absolute() if state else None),
            environment=host.environment,
            accounts=host.config.aws,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerOptions:
    """Options about the signatures that every revision must have."""

    require_signed: Annotated[
        SignatureKind | None,
        typer.Option(
            "--require-signed",
            help="Accept only a signed commit, a signed tag, or a tarball with a signature file.",
            show_default=False,
        ),
    ] = None
    allowed_signers: Annotated[
        Path | None,
        typer.Option(
            "--allowed-signers",
            metavar="FILE",
            help="Accepted signers: an allowed-signers file of ssh-keygen, or exported gpg keys.",
        ),
    ] = None
    revoked_signers: Annotated[
        Path | None,
        typer.Option(
            "--revoked-signers", metavar="FILE", help="For ssh: revoked keys, as a KRL or as public keys."
        ),
    ] = None

    def read_trust(self, host: Host) -> Trust | None:
        """Whose signature every revision must have; None if no signature is required.

        An option takes precedence over its environment variable, and the variable over the host
        configuration. The host's signers apply only to the kind of signature that the host configuration
        names.

        Raises:
            UsageError: an option needs another one, or a file does not exist.
        """
        text, rules = host.environment.get("RECONCILE_REQUIRE_SIGNED", ""), host.config.signers
        try:
            required = self.require_signed or (SignatureKind(text) if text else None)
        except ValueError:
            raise UsageError(
                "RECONCILE_REQUIRE_SIGNED must be gpg or ssh", remedy="correct the variable"
            ) from None
        allowed = self.allowed_signers or _find_file(host, "RECONCILE_ALLOWED_SIGNERS")
        revoked = self.revoked_signers or _find_file(host, "RECONCILE_REVOKED_SIGNERS")
        if rules is not None:
            required = required or SignatureKind(rules.required)
            # A file of ssh signers is no gpg keyring: the host's files serve only the kind that it names.
            if required == rules.required:
                allowed, revoked = allowed or rules.allowed, revoked or rules.revoked
        if required is None:
            if allowed or revoked:
                raise UsageError(
                    "signers are given, but no signature is required",
                    remedy="add --require-signed ssh or --require-signed gpg",
                )
            return None
        if allowed is None:
            raise UsageError(
                "--require-signed needs a file of accepted signers", remedy="add --allowed-signers FILE"
            )
        if revoked and required is SignatureKind.GPG:
            raise UsageError(
                "--revoked-signers works only with ssh",
                remedy="import the revocation into gpg and export the key again",
            )
        for option, file in (("--allowed-signers", allowed), ("--revoked-signers", revoked)):
            if file is not None and not file.is_file():
                raise UsageError(f"{option}: there is no file {file}", remedy="correct the path")
        from reconciler.sources.signatures.trust import Trust  # noqa: PLC0415  (--help stays quick)

        return Trust(required.value, allowed.absolute(), revoked.absolute() if revoked else None)


def _find_file(host: Host, variable: str) -> Path | None:
    name = host.environment.get(variable, "")
    return Path(name) if name else None


def read_merge_target(host: Host, given: str) -> MergeTarget:
    """What the revision will be merged into, by the option, the environment or the CI system.

    Args:
        host: its environment.
        given: value of `--base`; empty if it is not given.
    """
    from reconciler.planning.prior_revision_reader import NO_BASE, MergeTarget  # noqa: PLC0415  (--help stays quick)

    if own := given or host.environment.get("RECONCILE_BASE", ""):
        return MergeTarget(own)
    # Each variable falls back to the next one: GitLab may fetch only the commit from which the merge request
    # started, not the target branch.
    found = NO_BASE
    for name in reversed(CI_BASES):
        if ref := host.environment.get(name, ""):
            found = MergeTarget(ref, name, found)
    return found


def make_app() -> typer.Typer:
    """The app of a command: plain help, no shell completion."""
    return typer.Typer(add_completion=False, rich_markup_mode=None, context_settings=SETTINGS)


def add_command(
    app: typer.Typer, name: str | None = None, *, epilog: str | None = None
) -> Callable[[_Run], _Run]:
    """Register a function as a command of an app; a parameter may be a group of options.

    Args:
        app: from `make_app`.
        name: of a subcommand; None if it is the only command of the app.
        epilog: shown after the options.
    """

    def register(run: _Run) -> _Run:
        app.command(name, context_settings=SETTINGS, epilog=epilog)(expand_groups(run))
        return run

    return register


def expand_groups(run: Callable[..., Any]) -> Callable[..., Any]:
    """A function as typer needs it: each option of a group is a parameter of its own."""
    # Typer knows no groups. Without them each command would declare and pass on ten options one by one.
    hints, groups = get_type_hints(run, include_extras=True), dict[str, type[Any]]()
    parameters: list[Parameter] = []
    for one in signature(run).parameters.values():
        kind = hints[one.name]
        if not (isinstance(kind, type) and is_dataclass(kind)):
            parameters.append(one.replace(annotation=kind))
            continue
        groups[one.name], types = kind, get_type_hints(kind, include_extras=True)
        parameters += [
            Parameter(
                field.name,
                Parameter.KEYWORD_ONLY,
                default=Parameter.empty if field.default is MISSING else field.default,
                annotation=types[field.name],
            )
            for field in fields(kind)
        ]

    parameters += [
        Parameter(name, Parameter.KEYWORD_ONLY, default=False, annotation=annotation)
        for name, annotation in _OUTPUT.items()
    ]

    def expanded(**given: Any) -> Any:
        CHOICES.set(CHOICES.get().add(**{name: given.pop(name) for name in _OUTPUT}))
        for name, group in groups.items():
            given[name] = group(**{field.name: given.pop(field.name) for field in fields(group)})
        return run(**given)

    set_signature(expanded, parameters)
    expanded.__name__, expanded.__doc__ = run.__name__, run.__doc__
    return expanded


def set_signature(run: Callable[..., Any], parameters: list[Parameter]) -> None:
    """Give a function the parameters that typer makes options of; it reads signature and annotations."""
    vars(run)["__signature__"] = Signature(parameters)
    run.__annotations__ = {one.name: one.annotation for one in parameters}


def read_kept_runs(host: Host, given: int | None) -> int:
    """The number of runs to keep: value of `--keep`, else of the host configuration."""
    return host.config.history.keep if given is None else given


def format_columns(rows: dict[str, str]) -> str:
    """Rows of a help text: names and meanings in two aligned columns."""
    width = max(map(len, rows))
    return "\n".join(f"  {name:<{width}}  {text}" for name, text in rows.items())


def read_selection(only: Sequence[str] | None, skip: Sequence[str] | None) -> Selection:
    """What a command is restricted to.

    Raises:
        UsageError: an entry is empty.
    """
    from reconciler.core.selection import Selection  # noqa: PLC0415  (every command imports this module)

    if not all((*(only or ()), *(skip or ()))):
        raise UsageError(
            "--only and --skip need a name", remedy="name a cluster or a node, or leave them out"
        )
    return Selection(tuple(only or ()), tuple(skip or ()))
