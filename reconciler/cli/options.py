"""What several commands take from the command line, and what their exit statuses mean."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.core.retention import KEPT_RUNS, MOST_KEPT_RUNS
from reconciler.errors import UsageError

if TYPE_CHECKING:
    from reconciler.host.host import Host
    from reconciler.planning.prior_revisions import MergeTarget
    from reconciler.sources.signatures.trust import Trust

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
"""How every command shows its help."""

STATUSES = {
    0: "done, or nothing to do",
    1: "an error; also a node that could not be read, or a plan answered with no",
    2: "changes are pending (only with --dry-run --detailed-exitcode)",
    3: "a guard refused the plan, or its revision is not signed as asked: nothing was done",
    4: "the nodes or the source changed since the plan was made: nothing was done",
    5: "applied in part: the report says what was not done and why",
    130: "stopped on request: 128 and the signal's number, so 143 after SIGTERM",
}
"""Exit statuses and what they mean."""

ENVIRONMENT = {
    "NO_COLOR": "no colours, like --no-color",
    "RECONCILE_STATE": "the state folder, like --state",
    "XDG_STATE_HOME": "parent of the user's own state folder; ~/.local/state where unset",
    "XDG_CACHE_HOME": "parent of copies of sources where no state folder is open; ~/.cache where unset",
    "RECONCILE_HOST_CONFIG": "the host configuration, like --host-config",
    "RECONCILE_REQUIRE_SIGNED": "gpg or ssh, like --require-signed",
    "RECONCILE_ALLOWED_SIGNERS": "whose signatures count, like --allowed-signers",
    "RECONCILE_REVOKED_SIGNERS": "whose no longer do, like --revoked-signers",
    "RECONCILE_AGE_IDENTITY": "age identities that open ${age:…} values and .age files, one a line",
    "RECONCILE_AGE_IDENTITY_FILE": "a file of such identities, instead",
    "RECONCILE_SOURCE": "the host's source, where `reconcile apply FILE` or `check FILE` names none",
    "RECONCILE_BASE": "what the revision is to be merged into, like --base",
    "RECONCILE_GIT_TOKEN": "the token for git over https; RECONCILE_GIT_TOKEN_FILE: a file of it instead",
    "RECONCILE_SOURCE_TOKEN": "the token for tarballs over https; RECONCILE_SOURCE_TOKEN_FILE likewise",
    "RECONCILE_SECRET_…": "what ${env:RECONCILE_SECRET_…} stands for in files of the desired state",
    "RECONCILE_DEBUG": "1 shows tracebacks with errors",
}
"""Environment variables that every command reads."""


CI_BASES = ("GITHUB_BASE_REF", "CI_MERGE_REQUEST_TARGET_BRANCH_NAME", "CI_MERGE_REQUEST_DIFF_BASE_SHA")
"""Variables by which GitLab CI and GitHub Actions tell what a merge or pull request goes into.

Of the branch, GitLab may not fetch more than the commit where the merge request left it.
"""


class PlanFormat(StrEnum):
    """How a plan is written."""

    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"


class OutputFormat(StrEnum):
    """How what is known is written."""

    TEXT = "text"
    JSON = "json"


Source = Annotated[
    str, typer.Argument(metavar="SOURCE", help="Folder, git URL or path, or tarball as a path or URL.")
]
Ref = Annotated[str, typer.Option(metavar="REF", help="Branch, tag or commit of a git source.")]
Within = Annotated[str, typer.Option(metavar="FOLDER", help="Folder within the source.")]
Sha256 = Annotated[str, typer.Option(metavar="HEX", help="What a tarball's SHA-256 has to be.")]
BaseRef = Annotated[
    str,
    typer.Option(
        "--base",
        metavar="REF",
        help="Branch, tag or commit that the revision is to be merged into. Default: what GitHub Actions or "
        "GitLab CI names, else the first parent.",
    ),
]
Only = Annotated[str, typer.Option(metavar="NAME", help="Only this cluster, or only this node.")]
State = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Where the journal and the history are. Default: RECONCILE_STATE, else as the host configuration"
        " says, else /var/lib/reconciler where it exists, else the user's own.",
        show_default=False,
        readable=False,  # who may not read it asks the watch
    ),
]
NoState = Annotated[
    bool,
    typer.Option("--no-state", help="Open no state folder: nothing of earlier runs and orders is known."),
]
Keep = Annotated[
    int | None,
    typer.Option(
        metavar="RUNS",
        min=1,
        max=MOST_KEPT_RUNS,
        help=f"How many runs the history keeps. Default: as the host configuration says, else {KEPT_RUNS}.",
        show_default=False,
    ),
]
HostConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--host-config",
        metavar="FILE",
        help="What this host decides. Default: /etc/reconciler/host.yaml, else the user's own.",
        show_default=False,
    ),
]
By = Annotated[
    str, typer.Option(metavar="NAME", help="Whose word it is; kept beside the user who runs this.")
]
Why = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for the history.")]
NoColor = Annotated[bool, typer.Option("--no-color", help="No colours.")]


class SignatureKind(StrEnum):
    """How revisions are signed."""

    GPG = "gpg"
    SSH = "ssh"


RequireSigned = Annotated[
    SignatureKind | None,
    typer.Option(
        "--require-signed",
        help="Take only what is signed so: a commit, its tag, or a tarball beside its signature.",
        show_default=False,
    ),
]
AllowedSigners = Annotated[
    Path | None,
    typer.Option(
        "--allowed-signers",
        metavar="FILE",
        help="Whose signatures count: allowed signers as ssh-keygen reads them, or exported gpg keys.",
    ),
]
RevokedSigners = Annotated[
    Path | None,
    typer.Option(
        "--revoked-signers",
        metavar="FILE",
        help="For ssh: keys that count no longer, a KRL or public keys.",
    ),
]


def read_trust(
    host: Host, required: SignatureKind | None, allowed: Path | None, revoked: Path | None
) -> Trust | None:
    """Whose signature every revision has to have; none where nothing asks for one.

    An option takes precedence over its environment variable, and that over the host configuration. The
    host's signers count only for the kind of signature that the host names.

    Args:
        host: its environment and configuration.
        required: as `--require-signed` says.
        allowed: as `--allowed-signers` says.
        revoked: as `--revoked-signers` says.

    Raises:
        UsageError: one setting lacks another, or a file is not there.
    """
    rules = host.config.signers
    required = required or _signing(host.environment.get("RECONCILE_REQUIRE_SIGNED", ""))
    allowed = allowed or _file(host.environment.get("RECONCILE_ALLOWED_SIGNERS", ""))
    revoked = revoked or _file(host.environment.get("RECONCILE_REVOKED_SIGNERS", ""))
    if rules is not None:
        required = required or SignatureKind(rules.required)
        if required == rules.required:
            allowed, revoked = allowed or rules.allowed, revoked or rules.revoked
    if required is None:
        if allowed or revoked:
            raise UsageError(
                "signers are named, but no signature is asked for", remedy="add --require-signed ssh, or gpg"
            )
        return None
    if allowed is None:
        raise UsageError(
            "--require-signed needs to know whose signatures count", remedy="name a file: --allowed-signers"
        )
    if revoked and required is SignatureKind.GPG:
        raise UsageError(
            "--revoked-signers is for ssh", remedy="import the revocation and export the gpg key again"
        )
    for option, file in (("--allowed-signers", allowed), ("--revoked-signers", revoked)):
        if file is not None and not file.is_file():
            raise UsageError(f"{option}: there is no file {file}", remedy="correct the path")
    from reconciler.sources.signatures.trust import Trust  # noqa: PLC0415  (--help stays quick)

    return Trust(required.value, allowed.absolute(), revoked.absolute() if revoked else None)


def read_merge_target(host: Host, given: str) -> MergeTarget:
    """What the revision is to be merged into: as the option says, else the environment or the CI system.

    Args:
        host: its environment.
        given: as `--base` says; empty where it is not given.
    """
    from reconciler.planning.prior_revisions import NO_BASE, MergeTarget  # noqa: PLC0415  (--help stays quick)

    if own := given or host.environment.get("RECONCILE_BASE", ""):
        return MergeTarget(own)
    found = NO_BASE
    for name in reversed(CI_BASES):
        if ref := host.environment.get(name, ""):
            found = MergeTarget(ref, name, found)
    return found


def _signing(text: str) -> SignatureKind | None:
    try:
        return SignatureKind(text) if text else None
    except ValueError:
        raise UsageError("RECONCILE_REQUIRE_SIGNED is neither gpg nor ssh", remedy="set gpg or ssh") from None


def _file(text: str) -> Path | None:
    return Path(text) if text else None


def make_app() -> typer.Typer:
    """A command's app: no shell completion, plain help."""
    return typer.Typer(add_completion=False, rich_markup_mode=None, context_settings=SETTINGS)


def read_kept_runs(host: Host, given: int | None) -> int:
    """How many runs the history keeps: as `--keep` says, else as the host configuration does."""
    return host.config.history.keep if given is None else given


def format_columns(rows: dict[str, str]) -> str:
    """Names and their explanations, aligned and indented, for a help text."""
    width = max(map(len, rows))
    return "\n".join(f"  {name:<{width}}  {text}" for name, text in rows.items())
